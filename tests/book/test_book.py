"""The built book: complete, without errors, on the data that were at hand."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
import yaml

from cchbook.data import catalogue
from cchbook.runs import records

sys.path.insert(0, str(Path(__file__).parent))
from conftest import ROOT, cch  # noqa: E402

NOTEBOOKS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def runs(build_dir):
    return {
        path.parents[1].name: records.read(path.parent)
        for path in (build_dir / "runs").glob("*/*/record.json")
    }


def test_every_notebook_left_a_record_and_no_cell_failed(build_dir):
    found = runs(build_dir)
    assert sorted(found) == NOTEBOOKS
    for name, run in found.items():
        assert len(run.metrics) > 0, name
        executed = json.loads((run.path / f"{name}.ipynb").read_text())
        errors = [
            o
            for c in executed["cells"]
            for o in c.get("outputs", [])
            if o["output_type"] == "error"
        ]
        assert not errors, name


def test_real_data_at_hand_stand_in_the_records(build_dir):
    """Embedded stand-ins can't pass for real data unseen: a set that is at hand was
    read as it is, or not at all.
    """
    about = {
        name: json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text())[
            "metadata"
        ]["cch"]
        for name in NOTEBOOKS
    }
    every = {data for one in about.values() for data in one["datasets"]}
    for name, run in runs(build_dir).items():
        declared = about[name]["datasets"]
        if "after" in about[name]:  # it names the stand-ins of those that it counts
            declared = every if run.record["data"] else []
        used = {data["name"] for data in run.record["data"]}
        assert not declared or used & set(declared), name
        for data in run.record["data"]:
            known = data["name"] in {
                entry.name for entry in catalogue.sets()
            }  # else it ships with a package
            assert data["name"] in declared or not known, (name, data["name"])
            if known and catalogue.get(data["name"]).present:
                assert data["kind"] == "real" and data["sha256"] == catalogue.verify(
                    data["name"]
                ), (name, data["name"])


@pytest.mark.skipif(
    "CCH_DATA" not in os.environ,
    reason="CCH_DATA is not set: no real data are claimed to be at hand",
)
def test_every_set_at_hand_is_used_by_some_notebook(build_dir):
    sums = {
        data["sha256"]
        for run in runs(build_dir).values()
        for data in run.record["data"]
    }
    # a set may be used as a part of another
    used = {entry.name for entry in catalogue.sets() if entry.sha256 in sums}
    parts = {part for name in used for part in catalogue.get(name).parts}
    for entry in catalogue.sets():
        if entry.present and entry.name not in parts:
            assert catalogue.verify(entry.name) in sums, entry.name


def test_a_second_run_and_build_do_nothing(build_dir):
    again = cch("run", "--profile", "smoke", "--workers", "2", build_dir=build_dir)
    assert again.returncode == 0 and f"{len(NOTEBOOKS)} kept" in again.stdout, (
        again.stdout
    )
    assert (
        "nothing has changed"
        in cch("build", "--profile", "smoke", build_dir=build_dir).stdout
    )


def test_every_page_of_the_contents_is_there(html):
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    files = [toc["root"]] + re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text())
    for file in files:
        assert (html / f"{file}.html").is_file(), file
    assert (html / "index.html").is_file()


def test_no_page_shows_a_traceback_a_raw_directive_or_a_parameter_cell_of_papermill(
    pages,
):
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for trace in (
            "Traceback (most recent call last)",
            "```{",
            "{glue:",
            "injected-parameters",
            "{ref}`",
            "{cite:",
        ):
            body = re.sub(r"<(pre|code)\b.*?</\1>", "", text, flags=re.S)
            assert trace not in body, (page.name, trace)


def test_links_inside_the_book_lead_somewhere(pages, html):
    ids = {}
    for page in pages:
        for link in re.findall(
            r'href="([^"#]*)(#[^"]*)?"', page.read_text(encoding="utf-8")
        ):
            target, anchor = link[0].split("?")[0], link[1]
            if "//" in target or target.startswith(("mailto:", "data:", "javascript:")):
                continue
            path = (page.parent / target).resolve() if target else page
            assert path.exists(), (page.name, target)
            if anchor and path.suffix == ".html" and anchor != "#":
                if path not in ids:
                    ids[path] = set(
                        re.findall(r'id="([^"]+)"', path.read_text(encoding="utf-8"))
                    )
                assert anchor[1:] in ids[path], (page.name, target + anchor)


def test_every_picture_has_alt_text(pages):
    for page in pages:
        for tag in re.findall(r"<img\b[^>]*>", page.read_text(encoding="utf-8")):
            alt = re.search(r'alt="([^"]*)"', tag)
            assert alt and alt[1].strip() and not alt[1].endswith(".png"), (
                page.name,
                tag[:200],
            )
