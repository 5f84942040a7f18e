"""From executed copies to the HTML book: stage everything together, let Sphinx build
it, publish it.

Staging keeps the checkout's paths. A staged notebook is the author's file as it stands
now with the outputs of its run, so prose can change without another execution; its
parameters cell shows the values of the run. The book is built anew whenever anything
staged has changed, and not otherwise: an incremental build would keep old sidebars and
swallow the warnings of pages that did not change.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock

from cchbook.publish import colab
from cchbook.runs import records
from cchbook.runs.batch import Batch
from cchbook.runs.notebook import Notebook, source, tags
from cchbook.runs.plan import Job
from cchbook.runs.records import Record
from cchlib import check

GLUED = re.compile(r"\{glue:\w+\}`([^`]*)`")
PLACE = """```{{table}} Not run.
:name: {name}

| {blank} |
|---|
| {blank} |
```"""  # of a figure whose run was not asked for
BLANK = "…"  # in the place of a number whose run was not asked for
BARS = {  # tag of a folded cell -> what its bar says
    "parameters": "Settings of this run",
    "setup": "Imports and data",
    "computes": "How this is computed",
    "checks": "How this is checked",
    "at-once": "The same for all seeds and conditions",
    "presents": "Source of this ",
}
STAMP = ".stage"  # in the published folder: the hash of what it was built from
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"  # it has no `python -m`


def build(
    profile: str = "quick",
    settings: Sequence[str] = (),
    out: str | Path | None = None,
    runs: str | None = None,
) -> tuple[Path, bool]:
    """Build the book from the complete runs of `profile` (with the overrides that `cch
    run` was given) below `runs`, a folder or URL (by default `runs` in the build
    folder).

    Returns
    -------
    (path, built)
        The folder of the HTML pages, by default `html` in the build folder, and whether
        it was built now: False where nothing had changed.

    Raises
    ------
    FileNotFoundError
        No `_toc.yml`, or a notebook of it has no complete run; the message names the
        command.
    ValueError
        `out` holds something else than an earlier book, which takes its place.
    RuntimeError
        The Sphinx build failed or warned.
    """
    if (
        out is not None
        and Path(out).exists()
        and not (Path(out) / STAMP).is_file()
        and (not Path(out).is_dir() or any(Path(out).iterdir()))
    ):
        raise ValueError(
            "`out` must be a new or empty folder, or that of an earlier book, since "
            f"its content is replaced, got {out}, which holds something else"
        )
    root = _checkout()
    out = Path(out or records.build_dir() / "html").absolute()
    folder = records.build_dir()
    folder.mkdir(parents=True, exist_ok=True)
    # the places between are shared: two builds at once would mix them
    with FileLock(folder / ".build.lock"):
        return _build(root, out, profile, settings, runs)


def _checkout() -> Path:
    root = records.repository()
    if root is None or not (root / "_toc.yml").is_file():
        raise FileNotFoundError(
            "there must be a checkout of the book here or above, with a _toc.yml"
        )
    return root


def _build(
    root: Path, out: Path, profile: str, settings: Sequence[str], runs: str | None
) -> tuple[Path, bool]:
    """Stage the book and build it, unless what is staged was built before."""
    stage = records.build_dir() / "stage"
    shutil.rmtree(stage, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="cch-") as scratch:
        found = finished_runs(root, profile, settings, runs, Path(scratch))
        stage_book(root, stage, found)
    stamp = _stamp(stage)
    if (out / STAMP).is_file() and (out / STAMP).read_text() == stamp:
        return out, False
    work = records.build_dir() / "sphinx"
    pages = _sphinx(stage, work)
    (pages / STAMP).write_text(stamp)
    _publish(pages, out)
    shutil.rmtree(work)
    return out, True


def build_chapters(
    names: Sequence[str],
    out: Path,
    profile: str = "quick",
    settings: Sequence[str] = (),
    runs: str | None = None,
) -> Path:
    """Pages of some chapters, from their runs alone, in the new folder `out`.

    The book's other pages are built as text, so that references lead somewhere; numbers
    of runs that were not asked for are left open there.

    Raises
    ------
    FileNotFoundError
        A chapter has no complete run; the message names the command.
    ValueError
        There is no such chapter.
    RuntimeError
        The Sphinx build failed or warned.
    """
    root = _checkout()
    known = chapters(root)
    for name in names:
        check.one_of("chapter", name, known)
    with tempfile.TemporaryDirectory(prefix="cch-") as scratch:
        place = Path(scratch)
        (place / "runs").mkdir()
        found = finished_runs(root, profile, settings, runs, place / "runs", names)
        stage_book(root, place / "stage", found)
        pages = _sphinx(place / "stage", place / "sphinx")
        shutil.move(pages, out)
    return out


def chapters(root: Path) -> list[str]:
    """Names of the book's notebooks, in order."""
    return [
        Path(file).stem for file in toc_files(root) if file.startswith("notebooks/")
    ]


def finished_runs(
    root: Path,
    profile: str,
    settings: Sequence[str] = (),
    runs: str | None = None,
    scratch: Path | None = None,
    names: Sequence[str] = (),
) -> dict[str, tuple[Job, Record]]:
    """The complete run of each notebook in `_toc.yml`, or of those in `names`, by name,
    in the order of the book.

    `runs` is where they lie, `scratch` a folder for copies of those that lie in an
    object store.
    """
    names = [name for name in chapters(root) if not names or name in names]
    if not names:
        return {}
    batch = Batch(names, profile, settings, output=runs)
    if not batch.store.local and scratch is None:
        raise ValueError(f"`runs` must be a folder to copy from there to, got {runs}")
    done = batch.complete()
    found = {job.notebook: job for job in (*batch.first, *batch.late(done))}
    missing = [name for name in names if found[name].run not in done]
    if missing:
        said = "".join(f" --set {setting}" for setting in settings)
        said += f" --output {runs}" if runs else ""
        raise FileNotFoundError(
            f"no complete {profile} run of {', '.join(missing)}; make it: "
            f"cch run {' '.join(missing)} --profile {profile}{said}"
        )
    ready = {}
    for name in names:
        folder = batch.store.fetch(*found[name].run, scratch)
        ready[name] = (found[name], records.read(folder))
    for name, (job, record) in ready.items():
        if "pieces" in record.record:
            raise FileNotFoundError(
                f"the {profile} run {job.key} of {name} was put together of pieces: it "
                f"has numbers and no page. Record it (cch record {job.key}), and the "
                "chapter shows it beside a shorter run"
            )
    return ready


def toc_files(root: Path) -> list[str]:
    """Pages that `_toc.yml` names, with their suffixes left out, in order."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            yield from (
                re.sub(r"\.(ipynb|md)$", "", node[key])
                for key in ("root", "file")
                if key in node
            )
            for value in node.values():
                yield from walk(value)
        elif isinstance(node, list):
            for value in node:
                yield from walk(value)

    return list(walk(yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))))


# Staging ------------------------------------------------------------------------------


def stage_book(root: Path, stage: Path, runs: dict[str, tuple[Job, Record]]) -> None:
    """Put together in `stage` what Sphinx reads; `root` is only read."""
    stage.mkdir(parents=True)
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    config.setdefault("execute", {})["execute_notebooks"] = "off"
    repository = colab.address(config)
    config = colab.with_buttons(config)
    records.write_text(
        stage / "_config.yml",
        yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
    )
    shutil.copy(root / "_toc.yml", stage)
    for folder in ("book", "notebooks/profiles"):
        if (root / folder).is_dir():
            shutil.copytree(
                root / folder,
                stage / folder,
                ignore=shutil.ignore_patterns("_build", ".*"),
            )
    for name, (job, record) in runs.items():
        page = executed(
            Notebook.read(root / "notebooks" / f"{name}.ipynb"),
            Notebook.read(record.file(f"{name}.ipynb")),
            job.parameters,
        )
        if repository is not None:
            page = colab.with_install_cell(page, repository)
        records.write_json(stage / "notebooks" / f"{name}.ipynb", page)
        refresh_pictures(page, stage / "book" / "_static")
    for name in chapters(root):
        if name not in runs:
            page = text_only(Notebook.read(root / "notebooks" / f"{name}.ipynb"))
            records.write_json(stage / "notebooks" / f"{name}.ipynb", page)
    leave_open(stage, set(runs))
    records.write_text(
        stage / "book" / "runs_table.md",
        runs_page([record for _, record in runs.values()]),
    )


def text_only(written: Notebook) -> dict:
    """A chapter without its run: its text, with all numbers of runs left open."""
    page = {**copy.deepcopy(written.content), "cells": []}
    for cell in written.content["cells"]:
        figure = cell["metadata"].get("mystnb", {}).get("figure", {})
        if cell["cell_type"] == "markdown":
            text = GLUED.sub(BLANK, source(cell))
        elif "name" in figure:  # what refers to it must find something
            text = PLACE.format(name=figure["name"], blank=BLANK)
        else:
            continue
        words = {"cell_type": "markdown", "id": cell["id"], "metadata": {}}
        page["cells"].append(words | {"source": text})
    return page


def leave_open(stage: Path, known: set[str]) -> None:
    """Leave open, on all staged pages, the numbers of chapters other than `known`."""

    def number(match: re.Match) -> str:
        path, there, _ = match[1].partition("::")
        return match[0] if not there or Path(path).stem in known else BLANK

    for path in (stage / "book").rglob("*.md"):
        text = path.read_text(encoding="utf-8")
        if GLUED.search(text):
            records.write_text(path, GLUED.sub(number, text))


def refresh_pictures(page: dict, folder: Path) -> None:
    """Replace the pictures in `folder` by those of this run that were glued under their
    names.

    Glue can't carry a picture to another page, so the front page shows a file; the
    committed one serves a build that executes the notebooks itself.
    """
    for output in (
        output for cell in page["cells"] for output in cell.get("outputs", [])
    ):
        name = output.get("metadata", {}).get("scrapbook", {}).get("name")
        png = next(
            (
                value
                for kind, value in output.get("data", {}).items()
                if kind.endswith("image/png")
            ),
            None,
        )
        if name and png and (folder / f"{name}.png").is_file():
            (folder / f"{name}.png").write_bytes(base64.b64decode(png))


def executed(written: Notebook, run: Notebook, parameters: dict[str, Any]) -> dict:
    """The author's notebook with the outputs of its run, and the run's values in its
    parameters cell.

    What papermill put in is left out, and so is what cells wrote to standard error
    (progress bars, warnings of other packages).
    """
    if list(map(source, written.code_cells)) != list(map(source, run.code_cells)):
        raise ValueError(
            f"notebook {written.name} has other code than its executed copy {run.path}"
        )
    page = copy.deepcopy(written.content)
    cells = Notebook(written.path, page).code_cells
    for cell, ran in zip(cells, run.code_cells):
        cell["outputs"] = [
            output for output in ran["outputs"] if output.get("name") != "stderr"
        ]
        cell["execution_count"] = ran["execution_count"]
        if "parameters" in tags(cell):
            cell["source"] = written.with_values(parameters)
            cell["metadata"]["tags"] = sorted({*tags(cell), "hide-input"})
        _name_bar(cell)
    return page


def _name_bar(cell: dict) -> None:
    """Say what is folded away: above its output, or, where a cell only presents, below
    it as a link (`cch.css`). With the tag `hide-cell` the output is folded, too.
    """
    kind = next((tag for tag in BARS if tag in tags(cell)), None)
    if kind is None:
        return
    what = BARS[kind]
    if kind == "presents":
        shown = "".join(json.dumps(output) for output in cell["outputs"])
        made = "figure" if '"image/png"' in shown else "table"
        folded = "hide-cell" in tags(cell)
        what = f"The {made} in full" if folded else what + made
    prompts = {"code_prompt_show": what, "code_prompt_hide": f"Hide: {what}"}
    cell["metadata"].setdefault("mystnb", {}).update(prompts)


def runs_page(live: Sequence[Record]) -> str:
    """The run records behind the pages, and apart from them the recorded ones that ship
    with the checkout.
    """
    shipped = records.recorded("*")
    parts = ["## Of this build", runs_table(live)]
    return "\n\n".join(
        parts
        + (
            ["## Recorded earlier, shown beside them", runs_table(shipped)]
            if shipped
            else []
        )
    )


def runs_table(found: Sequence[Record]) -> str:
    """Run records as a MyST table, and the versions of what they ran with."""
    if not found:
        return "None.\n"
    lines = [
        "| notebook | profile | data | device | seconds | commit | key |",
        "|---|---|---|---|---:|---|---|",
    ]
    for record in (run.record for run in found):
        changed = ", ".join(
            f"{name}={value}" for name, value in record["overrides"].items()
        )
        profile = record["profile"] or "by hand"
        data = "<br>".join(
            f"{d['name']}: {d['kind']} `{(d['sha256'] or 'no checksum')[:12]}`"
            for d in record["data"]
        )
        cells = [
            record["notebook"],
            f"{profile} ({changed})" if changed else profile,
            data or "none",
            record["device"],
            f"{record['seconds']:.0f}",
            f"`{record['commit'] or 'none'}`",
            f"`{record['key']}`",
        ]
        lines.append(
            "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        )
    packages = sorted(
        {
            f"{name} {version}"
            for run in found
            for name, version in run.record["packages"].items()
        }
    )
    return "\n".join([*lines, "", f"Run with {', '.join(packages)}.", ""])


def _stamp(stage: Path) -> str:
    """Hash of all staged files and of what turns them into pages."""
    sha = hashlib.sha256(
        f"{metadata.version('jupyter-book')} {metadata.version('sphinx')}".encode()
    )
    for file in sorted(path for path in stage.rglob("*") if path.is_file()):
        sha.update(f"\n{file.relative_to(stage).as_posix()} ".encode())
        sha.update(hashlib.sha256(file.read_bytes()).digest())
    return sha.hexdigest()


# Sphinx -------------------------------------------------------------------------------


def _sphinx(stage: Path, work: Path) -> Path:
    """The HTML pages of a staged book; a warning is an error,
    once all have been shown.
    """
    shutil.rmtree(work, ignore_errors=True)
    command = [
        sys.executable,
        "-c",
        JUPYTER_BOOK,
        "build",
        str(stage),
        "--path-output",
        str(work),
    ]
    command += ["-W", "--keep-going"]
    done = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    pages = work / "_build" / "html"
    if done.returncode != 0 or not (pages / "index.html").is_file():
        log = records.build_dir() / "sphinx.log"
        records.write_text(log, done.stdout)
        told = [
            line
            for line in done.stdout.splitlines()
            if re.search(r"WARNING|ERROR|Error", line)
        ]
        first, last = (
            "the book was not built; nothing was published",
            f"all of it: {log}",
        )
        raise RuntimeError("\n".join([first, *told[:20], last]))
    return pages


def _publish(pages: Path, out: Path) -> None:
    """Move the pages beside `out`, then rename: readers see the old book or the new
    one.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    new, old = (
        out.with_name(f".{out.name}.{what}-{os.getpid()}") for what in ("new", "old")
    )
    shutil.move(pages, new)
    if out.exists():
        os.rename(out, old)
    os.rename(new, out)
    shutil.rmtree(old, ignore_errors=True)
