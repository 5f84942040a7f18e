"""Put a finished run under version control: `data/recorded/<notebook>/<key>/`."""

from __future__ import annotations

import copy
import re
import shutil
import tempfile
from pathlib import Path

from cchbook.runs import predictions, records
from cchbook.runs.records import Record
from cchbook.runs.store import Store

TABLE = "| notebook | key | what |\n|---|---|---|\n"


def record(key: str, output: str | None = None) -> Path:
    """Copy the record and the metrics of a finished run, whole or put together, to
    `data/recorded`, and describe it in a line of the README there.

    Parameters
    ----------
    key
        Of the run, or its first digits where no other run begins so.
    output
        URL of the store; by default `runs` in the build folder.

    Returns
    -------
    Path
        The folder of the recorded run.

    Raises
    ------
    ValueError
        No such run, several, a piece of one, one on stand-ins for real data, or none
        of a checkout's profile.
    """
    root = records.repository()
    if root is None:
        raise ValueError("no checkout in this folder or above it: go to one")
    store = Store(output)
    notebook, key = store.find(key)
    with tempfile.TemporaryDirectory(prefix="cch-") as scratch:
        run = records.read(store.fetch(notebook, key, Path(scratch)))
        if run.record.get("piece"):
            raise ValueError(
                "`key` must be of a whole run, got that of a piece "
                f"({_said(run.record['piece'])})"
            )
        page = root / "notebooks" / f"{notebook}.ipynb"
        if run.record.get("plain") or not page.is_file():
            raise ValueError(
                f"`key` must be of a run of the book's notebooks, got {key} of "
                f"{notebook}, which keeps no record or is not in {page.parent}"
            )
        if wrong := run.changed():
            raise ValueError(
                f"{', '.join(wrong)} of {notebook}/{key} is not what was written"
            )
        made_up = [d["name"] for d in run.record["data"] if d["kind"] == "embedded"]
        if made_up:
            raise ValueError(
                "`key` must be of a run on real data, got one on stand-ins for "
                f"{', '.join(made_up)}"
            )
        target = root / "data" / "recorded" / notebook / key
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.file("metrics.csv"), target / "metrics.csv")
        if run.file(predictions.NAME).is_file():
            shutil.copyfile(run.file(predictions.NAME), target / predictions.NAME)
        # last: without it there is no run
        records.write_json(target / "record.json", _unnamed(run.record))
    _describe(root / "data" / "recorded" / "README.md", records.read(target))
    return target


def _unnamed(record: dict) -> dict:
    """A record that tells machines apart and does not name them."""
    parts = [record, *record.get("pieces", [])]
    hosts = list(dict.fromkeys(part["host"] for part in parts if part.get("host")))
    record = copy.deepcopy(record)
    for part in (record, *record.get("pieces", [])):
        if part.get("host"):
            part["host"] = f"machine {hosts.index(part['host']) + 1}"
    return record


def _describe(readme: Path, run: Record) -> None:
    """Put the run's line into the README's table, in order, once."""
    text = readme.read_text(encoding="utf-8") if readme.is_file() else ""
    head, table, rest = text.partition(TABLE)
    if not table:
        head, rest = f"{head.rstrip()}\n\n".lstrip(), ""
    lines = re.findall(r"^\|.*\|$", rest, flags=re.MULTILINE)
    after = rest[sum(len(line) + 1 for line in lines) :]
    others = [line for line in lines if f"`{run.record['key']}`" not in line]
    told = "\n".join(sorted([*others, _line(run)]))
    records.write_text(readme, f"{head}{TABLE}{told}\n{after}")


def _line(run: Record) -> str:
    """A run in a line: notebook, key, and under what circumstances."""
    record = run.record
    words = [f"`{record['profile'] or 'by hand'}`"]
    if record["overrides"]:
        words.append(f"with {_said(record['overrides'])}")
    kinds = dict.fromkeys(f"{d['name']} ({d['kind']})" for d in record["data"])
    words.append(f"on {', '.join(kinds)}" if kinds else "without data")
    words.append(f"{record['seconds'] / 3600:.1f} h of {record['device']}")
    if "pieces" in record:
        words.append(f"put together of {len(record['pieces'])} pieces")
    words.append(f"commit `{record['commit'] or 'none'}`")
    what = ", ".join(words).replace("|", "\\|")
    return f"| {record['notebook']} | `{record['key']}` | {what} |"


def _said(values: dict) -> str:
    return ", ".join(f"{name} = {value}" for name, value in values.items())
