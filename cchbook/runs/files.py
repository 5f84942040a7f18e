"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from cchbook.data.files import write_bytes


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of a text."""
    write_bytes(path, text.encode("utf-8"))


def write_json(path: Path, value: Any) -> None:
    """`write_text` of a value as JSON, NaN and infinity refused."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def inventory(folder: Path, names: list[str]) -> dict[str, dict]:
    """{name: {bytes, sha256}} of files in `folder`, as a record lists them."""
    listed = {}
    for name in names:
        content = (folder / name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        listed[name] = {"bytes": len(content), "sha256": sha256}
    return listed
