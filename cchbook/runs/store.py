"""Where the folders of finished runs lie: `<store>/<notebook>/<key>/`, on a disk or an
object store.

A run is complete when its folder holds `record.json` and the executed copy. On a disk
the folder is made in `.partial/` and renamed; an object store has no rename, so there
`record.json` is uploaded last.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

HOST = socket.gethostname()
PARTIAL = ".partial"
# in the folder of a run that was put together of pieces: it has no executed copy
TOGETHER = "pieces.txt"


class Store:
    """Runs below `url`, any path that fsspec knows (`_build/runs`, `s3://bucket/runs`,
    `gs://...`).
    """

    def __init__(self, url: str | Path):
        self.fs, base = url_to_fs(str(url))
        self.local = isinstance(self.fs, LocalFileSystem)
        self.base = os.path.abspath(base) if self.local else base.rstrip("/")
        self.url = self.base if self.local else str(url).rstrip("/")

    def where(self, notebook: str, key: str) -> str:
        """The place of a run."""
        return f"{self.base}/{notebook}/{key}"

    def complete(self, notebook: str, key: str) -> bool:
        """Whether a run has its record and its executed copy."""
        folder = self.where(notebook, key)
        self.fs.invalidate_cache(folder)
        return self.fs.exists(f"{folder}/record.json") and (
            self.fs.exists(f"{folder}/{notebook}.ipynb")
            or self.fs.exists(f"{folder}/{TOGETHER}")
        )

    def all_complete(self, notebooks: Iterable[str]) -> set[tuple[str, str]]:
        """The (notebook, key) of every complete run of these notebooks, with one
        listing a notebook.
        """
        found = set()
        for notebook in set(notebooks):
            self.fs.invalidate_cache()
            files = set(self.fs.find(f"{self.base}/{notebook}", maxdepth=2))
            keys = (
                file.rsplit("/", 2)[1]
                for file in files
                if file.endswith("/record.json")
            )
            found |= {
                (notebook, k)
                for k in keys
                if f"{self.where(notebook, k)}/{notebook}.ipynb" in files
                or f"{self.where(notebook, k)}/{TOGETHER}" in files
            }
        return found

    def find(self, key: str) -> tuple[str, str]:
        """The (notebook, key) of the one complete run whose key begins so.

        Raises
        ------
        ValueError
            There is none, or several.
        """
        if not re.fullmatch(r"[0-9a-f]+", key):
            raise ValueError(f"key is {key!r}; hexadecimal digits are wanted")
        self.fs.invalidate_cache()
        found = self.fs.glob(f"{self.base}/*/{key}*/record.json")
        runs = sorted(tuple(path.split("/")[-3:-1]) for path in found)
        runs = [run for run in runs if self.complete(*run)]
        if len(runs) != 1:
            said = ", ".join(f"{name}/{k}" for name, k in runs) or "no complete run"
            raise ValueError(
                f"key is {key!r}, of which there is {said} below {self.url}; "
                "that of one complete run is wanted"
            )
        return runs[0]

    @contextmanager
    def workplace(self, notebook: str, key: str) -> Iterator[Path]:
        """A new folder for one run to work in, gone afterwards unless it was published."""
        if self.local:
            parent = (
                Path(self.base) / PARTIAL
            )  # on the disk of the finished runs, to be renamed
            parent.mkdir(parents=True, exist_ok=True)
            (Path(self.base) / notebook).mkdir(exist_ok=True)
            _sweep(parent)
        else:
            parent = Path(tempfile.gettempdir())
        # threads of one process may work on the same run: two clients share a scheduler
        folder = Path(
            tempfile.mkdtemp(prefix=f"{HOST}~{os.getpid()}~{key}~", dir=parent)
        )
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, folder: Path, notebook: str, key: str) -> bool:
        """Make `folder` the run's folder; False where another worker's complete one
        already is.
        """
        target = self.where(notebook, key)
        if not self.local:
            if self.complete(notebook, key):
                return False
            files = sorted(
                (p for p in folder.rglob("*") if p.is_file()),
                key=lambda p: p.name == "record.json",
            )
            for file in files:
                self.fs.put_file(
                    str(file), f"{target}/{file.relative_to(folder).as_posix()}"
                )
            self._forget_failure(notebook, key)
            return True
        while True:
            try:
                os.rename(
                    folder, target
                )  # an empty or absent target only: never over another's run
                self._forget_failure(notebook, key)
                return True
            except OSError:
                if not os.path.isdir(target):
                    raise
                if self.complete(notebook, key):
                    return False
            # a record by plain papermill, without its executed copy: set it aside
            aside = f"{folder}.old"
            os.rename(target, aside)
            shutil.rmtree(aside)

    def keep_failure(self, copy: Path, notebook: str, key: str) -> str:
        """Keep the executed copy of a run that failed; returns its place."""
        target = f"{self.where(notebook, key)}.failed.ipynb"
        if self.local:
            os.replace(copy, target)
        else:
            self.fs.put_file(str(copy), target)
        return target

    def fetch(self, notebook: str, key: str, into: Path) -> Path:
        """A local folder with the record of a complete run, copied below `into` from an
        object store.
        """
        folder = self.where(notebook, key)
        if self.local:
            return Path(folder)
        local = into / notebook / key
        local.mkdir(parents=True)
        for name in ("record.json", "metrics.csv", f"{notebook}.ipynb"):
            if self.fs.exists(f"{folder}/{name}"):  # a run put together has no copy
                self.fs.get_file(f"{folder}/{name}", str(local / name))
        return local

    def _forget_failure(self, notebook: str, key: str) -> None:
        failed = f"{self.where(notebook, key)}.failed.ipynb"
        if self.fs.exists(failed):
            self.fs.rm_file(failed)


def _sweep(parent: Path) -> None:
    """Remove what killed runs of this machine have left."""
    for stale in parent.glob(f"{HOST}~*"):
        try:
            os.kill(int(stale.name.split("~")[1]), 0)
        except ProcessLookupError:
            shutil.rmtree(stale, ignore_errors=True)
        except PermissionError:  # alive, another user's
            pass
