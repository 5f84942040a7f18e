"""Files that are there whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never a
    half; where it can't be written (a full disk) nothing of it stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}")
    try:
        beside.write_bytes(content)
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


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
