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


def described(content: bytes) -> dict:
    """{bytes, sha256} of a file's content, as a record lists it."""
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def inventory(folder: Path, names: list[str]) -> dict[str, dict]:
    """{name: {bytes, sha256}} of files in `folder`, as a record lists them."""
    return {name: described((folder / name).read_bytes()) for name in names}
