"""A Process Run Crate of finished runs, as others' tools read it."""

import json
import zipfile
from importlib import resources
from pathlib import Path

import pytest
from toy_checkout import complete, run
from typer.testing import CliRunner

from cchdecide.cli import app

pytest.importorskip("rocrate")
CHECKOUT = Path(__file__).parents[3]
RECORDED = min(
    (CHECKOUT / "data/recorded/02_synthetic").glob("*/record.json")
).parent.name


@pytest.fixture
def validate(monkeypatch):
    """The findings of roc-validator, without a network.

    The one document that it looks up, the vocabulary, comes with `rocrate`.
    """
    pytest.importorskip("rocrate_validator")
    import requests
    from rocrate_validator import services

    text = resources.files("rocrate.data").joinpath("ro-crate.jsonld").read_text()

    def vocabulary(self, method, url, **_):
        assert url.startswith("https://w3id.org/ro/crate/"), url
        found = requests.Response()
        found.status_code, found.url, found._content = 200, url, text.encode()
        found.headers["Content-Type"] = "application/ld+json"
        return found

    monkeypatch.setattr(requests.Session, "request", vocabulary)

    def findings(crate):
        settings = services.ValidationSettings(
            rocrate_uri=str(crate),
            profile_identifier="process-run-crate-0.5",
            requirement_severity="REQUIRED",
            skip_availability_check=True,
        )
        return [issue.message for issue in services.validate(settings).get_issues()]

    return findings


def entities(path):
    with zipfile.ZipFile(path) as archive:
        text = archive.read("ro-crate-metadata.json")
        return {e["@id"]: e for e in json.loads(text)["@graph"]}, archive.namelist()


def test_a_recorded_run_is_a_valid_process_run_crate(tmp_path, monkeypatch, validate):
    monkeypatch.setenv("CCH_ROOT", str(CHECKOUT))
    monkeypatch.setenv("CCH_BUILD_DIR", str(tmp_path / "none"))
    to = tmp_path / "out.zip"
    done = CliRunner().invoke(app, ["export", RECORDED, "--ro-crate", str(to)])
    assert done.exit_code == 0, done.output
    assert validate(to) == []

    # and the validator does see what is wrong
    found, _ = entities(to)
    del found[f"#run-{RECORDED}"]["instrument"]
    broken = tmp_path / "broken"
    with zipfile.ZipFile(to) as archive:
        archive.extractall(broken)
    content = json.loads((broken / "ro-crate-metadata.json").read_text())
    content["@graph"] = list(found.values())
    (broken / "ro-crate-metadata.json").write_text(json.dumps(content))
    assert validate(broken) != []


def test_what_made_what_of_what(toy, tmp_path):
    toy.add("01_toy", "run.log('twice', 2 * i)")
    run(settings=["i=4"])
    ((key, made_by),) = complete(toy).items()
    to = tmp_path / "out.zip"
    done = CliRunner().invoke(app, ["export", key[:8], "--ro-crate", str(to)])
    assert done.exit_code == 0, done.output
    found, names = entities(to)
    action = found[f"#run-{key}"]
    assert action["instrument"]["@id"] == "notebooks/01_toy.ipynb"
    given = [found[one["@id"]] for one in action["object"]]
    assert {e["name"]: e["value"] for e in given} == made_by.record["parameters"]
    made = sorted(one["@id"] for one in action["result"])
    below = f"runs/01_toy/{key}"
    assert made == [
        f"{below}/{n}" for n in ("01_toy.ipynb", "metrics.csv", "record.json")
    ]
    assert set(made) <= set(names)
    needs = found["notebooks/01_toy.ipynb"]["softwareRequirements"]
    versions = {found[one["@id"]]["name"]: found[one["@id"]] for one in needs}
    assert versions["numpy"]["softwareVersion"] == made_by.record["packages"]["numpy"]

    (made_by.path / "metrics.csv").write_text(
        "x" * (made_by.path / "metrics.csv").stat().st_size
    )
    done = CliRunner().invoke(app, ["export", key, "--ro-crate", str(to)])
    assert done.exit_code == 2 and "metrics.csv of run" in done.stderr
    done = CliRunner().invoke(app, ["export", "ffff", "--ro-crate", str(to)])
    assert done.exit_code == 2 and "no complete run" in done.stderr


def test_zenodo_and_citation_say_the_same():
    """What an archive shows is what one is asked to cite."""
    import yaml

    zenodo = json.loads((CHECKOUT / ".zenodo.json").read_text())
    cited = yaml.safe_load((CHECKOUT / "CITATION.cff").read_text())
    assert zenodo["title"] == cited["title"] and zenodo["license"] == cited["license"]
    assert zenodo["keywords"] == cited["keywords"]
    names = [{"name": author["name"]} for author in cited["authors"]]
    assert zenodo["creators"] == names and zenodo["upload_type"] == cited["type"]
