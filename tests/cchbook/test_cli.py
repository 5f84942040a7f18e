"""The `cch` command and the book that it builds,
on a checkout with trivial notebooks.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from toy_checkout import run
from typer.testing import CliRunner

from cchbook.publish import build as building
from cchbook.runs import batch, files, records
from cchbook.runs.notebook import Notebook
from cchdecide.cli import app

BOOK = {
    "_config.yml": "title: Toy\nauthor: A\nonly_build_toc_files: true\n"
    "execute: {execute_notebooks: force}\n",
    "_toc.yml": "format: jb-book\nroot: book/index\nchapters:\n"
    "- file: notebooks/01_toy\n- file: book/runs.md\n",
    "book/index.md": "# Toy\n\nSee {ref}`runs`.\n",
    "book/runs.md": "(runs)=\n# Runs\n\n```{include} runs_table.md\n```\n",
    "book/runs_table.md": "Made by `cch build`.\n",
}


def cch(*arguments):
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert done.exception is None or isinstance(done.exception, SystemExit), (
        done.exception
    )
    return done


def write_book(root):
    for name, text in BOOK.items():
        records.write_text(root / name, text)


def test_run_shows_a_line_a_job_and_a_summary_and_says_so_when_one_fails(
    toy,  # noqa: F811
):
    toy.add("01_toy")
    toy.add(
        "02_fails", "raise RuntimeError('[red]too hot[/red]')"
    )  # brackets that rich would take for colours
    done = cch(
        "run", "--set", "i=3", "--workers", 2, "--build-dir", toy.root / "elsewhere"
    )
    assert done.exit_code == 1
    assert re.search(r"\[\d/2\] 01_toy \w{16} i=3 done [\d.]+ s\n", done.stdout)
    assert (
        "RuntimeError: [red]too hot[/red]" in done.stdout
        and "1 done, 1 failed in" in done.stdout
    )
    assert not (toy.root / "_build").exists() and list(
        (toy.root / "elsewhere/runs/02_fails").glob("*.failed.ipynb")
    )
    again = cch("run", "01_toy", "--set", "i=3", "--build-dir", toy.root / "elsewhere")
    assert (
        again.exit_code == 0
        and "1 kept in" in again.stdout
        and len(toy.executions()) == 2
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--set", "sigma=1"], "must be one of i, wait, device, got 'sigma'"),
        (["run", "04_none"], "'04_none'"),
        (["run", "--set", "i=[1"], "neither JSON nor YAML"),
        (["build", "--out", "."], "holds something else"),
        (["run", "--profile", "fast"], "'fast'"),
        (["run", "--workers", "2", "--cluster", "tcp://x:1"], "got both"),
        (["build"], "with a _toc.yml"),
        (["data", "fetch", "no_such_set"], "no_such_set"),
        (["assess", "absent.npz"], "absent.npz is not there"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(toy, arguments, said):  # noqa: F811
    toy.add("01_toy")
    done = cch(*arguments)
    assert (
        done.exit_code == 2 and done.stderr.startswith("cch: ") and said in done.stderr
    )
    assert "Traceback" not in done.output


def test_a_book_is_built_from_runs_only_and_only_when_something_changed(
    toy, monkeypatch
):  # noqa: F811
    noise = "import sys\nprint('noise', file=sys.stderr)\nprint('result', i)"
    path = toy.add("01_toy", noise)
    toy.add("02_not_in_the_book", "1 / 0")
    write_book(toy.root)
    missing = cch("build", "--set", "i=7")
    assert (
        missing.exit_code == 2
        and "cch run 01_toy --profile quick --set i=7" in missing.stderr
    )
    assert cch("run", "01_toy", "--set", "i=7").exit_code == 0
    # prose written after the run is what the book shows, without running anything
    path.write_text(path.read_text().replace("# 01_toy", "# Better said"))
    done = cch("build", "--set", "i=7")
    assert done.exit_code == 0 and "built in" in done.stdout, done.output
    pages = toy.root / "_build/html"
    page = (pages / "notebooks/01_toy.html").read_text()
    assert (
        "Better said" in page
        and "result 7" in page
        and "noise</span>" not in page.split("result 7")[1]
    )
    assert "Settings of this run" in page and "injected-parameters" not in page
    table = (pages / "book/runs.html").read_text()
    (record,) = [
        records.read(p.parent)
        for p in (toy.root / "_build/runs/01_toy").glob("*/record.json")
    ]
    assert (
        "quick (i=7)" in table
        and record.record["key"] in table
        and record.record["packages"]["numpy"] in table
    )
    assert (toy.root / "book/runs_table.md").read_text() == BOOK[
        "book/runs_table.md"
    ]  # the checkout is only read

    with monkeypatch.context() as patch:
        patch.setattr(
            building,
            "_sphinx",
            lambda *_: pytest.fail("Sphinx was run though nothing had changed"),
        )
        assert "nothing has changed" in cch("build", "--set", "i=7").stdout
    records.write_text(
        toy.root / "book/index.md", "# Toy\n\n{ref}`nowhere`\n"
    )  # a warning is an error
    broken = cch("build", "--set", "i=7")
    assert (
        broken.exit_code == 1
        and "nowhere" in broken.stderr
        and "nothing was published" in broken.stderr
    )
    assert (pages / "book/index.html").is_file() and toy.executions() == ["01_toy 7"]


def test_a_staged_notebook_is_the_authors_with_the_runs_outputs(tmp_path):
    def cell(text, outputs=(), **metadata):
        ran = {"outputs": list(outputs), "execution_count": 1}
        return {"cell_type": "code", "source": text, "metadata": metadata, **ran}

    def notebook(*cells):
        return Notebook(tmp_path / "n.ipynb", {"cells": list(cells), "metadata": {}})

    prose = {"cell_type": "markdown", "source": "as written", "metadata": {}}
    good = {"output_type": "stream", "name": "stdout", "text": "1"}
    noise = {"output_type": "stream", "name": "stderr", "text": "warning"}
    written = notebook(prose, cell("i: int = 1", tags=["parameters"]), cell("print(i)"))
    run = notebook(
        cell("banner", tags=["papermill-error-cell-tag"]),
        cell("i: int = 1", tags=["parameters"]),
        cell("i = 2", tags=["injected-parameters"]),
        cell("print(i)", [noise, good]),
    )
    page = building.executed(written, run, {"i": 2})
    assert [c["source"] for c in page["cells"]] == [
        "as written",
        "i: int = 2",
        "print(i)",
    ]
    assert page["cells"][1]["metadata"]["tags"] == ["hide-input", "parameters"]
    assert page["cells"][2]["outputs"] == [good]
    assert (
        written.content["cells"][1]["source"] == "i: int = 1"
    )  # the author's is left alone
    with pytest.raises(ValueError, match="has other code than its executed copy"):
        building.executed(written, notebook(cell("x")), {"i": 2})


def test_runs_table_escapes_and_names_what_it_lists(tmp_path):
    record = {
        "notebook": "n",
        "profile": None,
        "overrides": {},
        "device": "cpu | 2",
        "seconds": 3.4,
        "commit": None,
        "key": "k",
        "data": [{"name": "mnist", "kind": "real", "sha256": "ab" * 32}],
        "packages": {"numpy": "1"},
    }
    table = building.runs_table([records.Record(tmp_path, record)])
    assert (
        "| n | by hand | mnist: real `abababababab` | cpu \\| 2 | 3 | `none` | `k` |"
        in table
        and "numpy 1" in table
    )
    assert building.runs_table([]) == "None.\n"


@dataclass
class Entry:
    name: str = "toy"
    present: bool = True
    size: int = 2_000_000
    licence: str = "CC0"
    title: str = "A [toy] set"


def test_data_commands_call_the_catalogue(toy, monkeypatch):  # noqa: F811
    from cchbook.data import catalogue

    def verify(name):
        if name == "bad":
            raise ValueError("bad differs from what was published")
        return "ab"

    def fetch(name, progress):
        progress(1, None)
        return SimpleNamespace(path=toy.root, sha256="ab")

    monkeypatch.setattr(catalogue, "sets", lambda: [Entry(), Entry("away", False)])
    monkeypatch.setattr(catalogue, "get", lambda name: Entry(name))
    monkeypatch.setattr(catalogue, "verify", verify)
    monkeypatch.setattr(catalogue, "fetch", fetch)
    listed = cch("data", "list").stdout
    assert "toy" in listed and "2.0 MB" in listed and "[toy]" in listed
    assert f"{toy.root} sha256 ab" in cch("data", "fetch", "toy").stdout
    assert cch("data", "verify").stdout == "toy: sha256 ab\n"  # those that are here
    monkeypatch.setattr(catalogue, "sets", lambda: [Entry("away", False)])
    assert "none of the 1 data sets is in" in cch("data", "verify").stdout
    wrong = cch("data", "verify", "toy", "bad")
    assert (
        wrong.exit_code == 1
        and "bad differs" in wrong.stderr
        and "cch:" not in wrong.stderr
    )


def test_an_interrupted_batch_ends_what_runs(toy, monkeypatch):  # noqa: F811
    toy.add("01_toy")

    def interrupted(*_):
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(batch.Batch, "run", interrupted)
    done = cch("run")
    assert (
        done.exit_code == 130
        and "goes on from there" in done.stderr
        and "1 not run" in done.stdout
    )


# What users have met ------------------------------------------------------------------


def keep_run(root, key, profile, i, rows=1):
    """The folder of a complete run, as `cch run` leaves it."""
    folder = root / "_build/runs/01_toy" / key
    frame = pd.DataFrame({"seed": 0, "metric": "m", "value": range(rows), "unit": ""})
    records.write_text(folder / "metrics.csv", frame.to_csv(index=False))
    records.write_text(folder / "01_toy.ipynb", "{}")
    record = {"notebook": "01_toy", "key": key, "profile": profile, "start": key}
    record |= {"parameters": {"i": i}, "seconds": 1.0}
    listed = files.inventory(folder, ["metrics.csv", "01_toy.ipynb"])
    records.write_json(folder / "record.json", record | {"files": listed})


def test_collect_takes_the_runs_of_a_profile_and_of_settings(toy):
    to = toy.root / "all.csv"
    keep_run(toy.root, "aa", "quick", 1)
    keep_run(toy.root, "bb", "paper", 1, rows=3)
    keep_run(toy.root, "cc", "paper", 2, rows=5)

    def rows(*options):
        done = cch("collect", "-o", to, *options)
        assert done.exit_code == 0, done.output
        return len(pd.read_csv(to))

    assert rows() == 9
    assert rows("--profile", "paper") == 8
    assert rows("--set", "i=1") == 4
    assert rows("--profile", "paper", "--set", "01_toy.i=2") == 5
    for wrong in (["--profile", "nonsense"], ["--set", "i"], ["--set", "i=7"]):
        assert cch("collect", "-o", to, *wrong).exit_code == 2
    assert len(pd.read_csv(to)) == 5


def test_collect_leaves_an_earlier_table_where_the_disk_is_full(toy, monkeypatch):
    to = toy.root / "all.csv"
    keep_run(toy.root, "aa", "quick", 1)
    assert cch("collect", "-o", to).exit_code == 0
    before = to.read_bytes()
    keep_run(toy.root, "bb", "quick", 2)

    def full(self, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    done = cch("collect", "-o", to)
    assert done.exit_code == 1 and "No space left" in done.stderr
    assert to.read_bytes() == before
    assert [p.name for p in toy.root.iterdir() if "all" in p.name] == ["all.csv"]


def test_what_writes_parquet_is_named_where_it_is_missing(toy, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    refused = cch("collect", "-o", toy.root / "t.parquet")
    assert refused.exit_code == 2 and "pip install pyarrow" in refused.stderr


def test_collect_says_that_no_run_has_metrics(toy):
    keep_run(toy.root, "aa", "quick", 1, rows=0)
    done = cch("collect", "-o", toy.root / "all.csv")
    assert done.exit_code == 2 and "has metrics" in done.stderr


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"cells": 3}', "\ufeff{"])
def test_a_notebook_that_can_not_be_read_is_named(toy, text):
    path = toy.root / "mine.ipynb"
    path.write_text(text, encoding="utf-8")
    done = cch("run", path, "--plain")
    assert done.exit_code == 2 and f"notebook {path} must be of format 4" in done.stderr


def test_a_byte_order_mark_is_no_part_of_a_notebook(toy):
    path = toy.add("01_toy")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert Notebook.read(path).name == "01_toy"
    assert set(Notebook.read(path).parameters) == {"i", "wait", "device"}


def test_a_date_is_the_text_that_it_was(toy):
    toy.add("01_toy", parameters="b: str = 'x'\nn: int = 1")
    for text in ("2024-01-01", "2024-01-01 10:00:00"):
        (job,) = batch.Batch(settings=[f"b={text}"]).first
        assert job.parameters["b"] == text
    with pytest.raises(ValueError, match="parameter 'n' of 01_toy .* got '2024-01-01'"):
        batch.Batch(settings=["n=2024-01-01"])
    for value, kind in (("!!binary aGk=", "bytes"), ("!!set {x, y}", "set")):
        told = cch("run", "01_toy", "--set", f"b={value}")
        assert told.exit_code == 2 and f"of type {kind}" in told.stderr


def test_braces_in_a_path_are_only_braces(toy):
    toy.add("01_toy")
    outcomes = run(output=str(toy.root / "out {i} {z} [q]"))
    assert [outcome.status for outcome in outcomes] == ["done"], outcomes[0].why
    (record,) = (toy.root / "out {i} {z} [q]").glob("01_toy/*/record.json")
    assert (record.parent / "01_toy.ipynb").is_file()


def test_nothing_to_verify_is_said(toy, monkeypatch):
    monkeypatch.setenv("CCH_DATA", str(toy.root / "none"))
    done = cch("data", "verify")
    assert done.exit_code == 0 and str(toy.root / "none") in done.stdout


def test_a_chapter_is_not_replaced_by_its_students_notebook(toy):
    path = toy.add("01_toy")
    before = path.read_bytes()
    done = cch("student", "01_toy", "-o", path)
    assert done.exit_code == 2 and str(path) in done.stderr
    assert path.read_bytes() == before


def test_slides_outside_of_a_checkout_say_what_build_says(toy):
    build, slides = cch("build"), cch("slides", "01_toy")
    assert build.stderr == slides.stderr and "with a _toc.yml" in slides.stderr
    assert slides.exit_code == 2


def test_a_checkout_from_elsewhere_is_named(toy, monkeypatch):
    """An editable install finds its own checkout: what is written there is said."""
    monkeypatch.delenv("CCH_ROOT")
    monkeypatch.chdir(toy.root.parent)
    done = cch("collect", "--build-dir", toy.root / "out")
    assert f"cch: in the checkout {records.repository()}" in done.stderr
    monkeypatch.chdir(records.repository() / "tests")
    assert "in the checkout" not in cch("collect", "--build-dir", toy.root).stderr
