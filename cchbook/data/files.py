"""Write a file whole or not at all."""

from __future__ import annotations

from pathlib import Path

from cchdecide.writing import written_beside


def write_bytes(path: Path, content: bytes) -> None:
    """Write beside, then rename: a reader sees the old file or the new one, never a
    half; where it can't be written (a full disk) nothing of it stays.
    """
    with written_beside(path) as part:
        part.write_bytes(content)
