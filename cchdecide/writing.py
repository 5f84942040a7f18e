"""Files that are there whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


def expanded(path: str | os.PathLike) -> Path:
    """The path, `~` as the home folder."""
    return Path(path).expanduser()


def distinct_places(read: Iterable[Path], **written: Path | None) -> None:
    """Refuse to write over what is read, or two things to one place."""
    taken = {path.resolve(): "is read" for path in read}
    for name, path in written.items():
        if path is None:
            continue
        place = path.resolve()
        if place in taken:
            raise ValueError(
                f"`{name}` must be a file of its own, got {path}, which {taken[place]}"
            )
        taken[place] = f"`{name}` is written to"


@contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """A place beside `path` to write to, renamed to it at the end.

    Where the writing fails, `path` is as it was and nothing is left beside it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f"{os.getpid()}-{threading.get_ident()}"
    part = path.with_name(f".{path.name}.{own}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
