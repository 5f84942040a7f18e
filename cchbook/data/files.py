"""Write a file whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path


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
