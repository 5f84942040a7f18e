"""Give recorded runs the names that estimators have today.

    python benchmarks/rename_estimators.py FOLDER...

A FOLDER holds a `record.json` and its `metrics.csv`, of a run of an older commit. Until
version 0.3 our own estimator was called "lmi", and that of Gowri et al. (2024) at the
settings of their package "package" (in one column "lmi, package", in another "default"
and "package"). They are "latent" and "lmi" now. Values stay as they are. `record.json`
says that names were rewritten (`renamed`). A record that says so, or that knows
"latent", is left alone.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parents[1] / "data" / "recorded"
RENAMED = {"lmi": "latent", "package": "lmi", "lmi, package": "lmi"}
#: Of chapter 7's comparison of three contenders, whose names stood in a column of its
#: own.
CONTENDERS = {"default": "latent", "package": "lmi", "mine": "mine"}
COLUMNS = ("estimator", "method")


def rename(folder: Path) -> bool:
    """Rewrite one record; whether there was anything to do.

    Raises
    ------
    ValueError
        `metrics.csv` is not what `record.json` says was written.
    """
    record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    metrics = (folder / "metrics.csv").read_bytes()
    if (
        "renamed" in record
        or '"latent"' in json.dumps(record)
        or b",latent," in metrics
    ):
        return False
    said = record["files"]["metrics.csv"]
    if hashlib.sha256(metrics).hexdigest() != said["sha256"]:
        raise ValueError(f"{folder}/metrics.csv is not what its record says")

    rewritten = _metrics(metrics.decode()).encode()
    for part in ("parameters", "overrides"):
        record[part] = _values(record[part])
    for piece in record.get("pieces", []):
        piece["of"] = _values(piece["of"])
    said["bytes"] = len(rewritten)
    said["sha256"] = hashlib.sha256(rewritten).hexdigest()
    record["renamed"] = (
        'estimators: "lmi" is now "latent", "package" is now "lmi" '
        "(benchmarks/rename_estimators.py); all values are as they were"
    )
    _write(folder / "metrics.csv", rewritten)
    text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
    _write(folder / "record.json", text.encode())
    return True


def _values(value: Any) -> Any:
    """Settings with the names of estimators in them replaced."""
    if isinstance(value, dict):
        return {name: _values(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_values(one) for one in value]
    if isinstance(value, str):
        return RENAMED.get(value, value)
    return value


def _metrics(text: str) -> str:
    """The table with its columns of estimators renamed, all else as it was written."""
    newline = "\r\n" if "\r\n" in text else "\n"
    header, *rows = csv.reader(io.StringIO(text, newline=""))
    names = [header.index(name) for name in COLUMNS if name in header]
    for row in rows:
        for i in names:
            row[i] = RENAMED.get(row[i], row[i])
    if "preset" in header:
        i, metric = header.index("preset"), header.index("metric")
        header[i] = "estimator"
        for row in rows:
            row[i] = CONTENDERS.get(row[i], row[i])
            if row[metric] == "preset_error":
                row[metric] = "contender_error"
    written = io.StringIO(newline="")
    csv.writer(written, lineterminator=newline).writerows([header, *rows])
    return written.getvalue()


def _readme(key: str) -> None:
    """The names in the record's line of the README."""
    path = RECORDED / "README.md"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for i, line in enumerate(lines):
        if f"`{key}`" in line:
            line = line.replace("'lmi'", "'latent'")
            lines[i] = line.replace("'package'", "'lmi'")
    _write(path, "".join(lines).encode())


def _write(path: Path, content: bytes) -> None:
    """Beside the file first: it is whole at any time."""
    beside = path.with_name(path.name + ".new")
    beside.write_bytes(content)
    os.replace(beside, path)


def main() -> None:
    """Rewrite the records in the folders that are named."""
    if not sys.argv[1:]:
        sys.exit(__doc__)
    for folder in map(Path, sys.argv[1:]):
        done = rename(folder)
        if done and RECORDED in folder.resolve().parents:
            _readme(folder.resolve().name)
        print(f"{folder}: {'rewritten' if done else 'has the names of today'}")


if __name__ == "__main__":
    main()
