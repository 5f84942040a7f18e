"""Where the folders of finished runs lie: `<store>/<notebook>/<key>/`, on a disk or an
object store.

A run is complete when its folder holds a `record.json` that can be read, and all files
that it lists, each as long as it says. On a disk the folder is made in `.partial/` and
renamed. An object store has no rename: there every attempt has a folder of its own, and
`record.json`, put last, says which (`at`), so that two machines that finish one run at
one moment never mix their files.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from cchbook.runs import files, leases
from cchbook.runs.leases import HOST

PARTIAL = ".partial"
BATCHES = ".batches"


class Workplace:
    """A folder for one run to work in, and the lease that says who does.

    Attributes
    ----------
    folder
        Where to work: gone afterwards unless it was published.
    name, lease
        What it is called, and who works in it since when.
    """

    def __init__(self, store: Store, folder: Path, told: Mapping[str, Any]):
        self.folder = folder
        self._store = store
        self.name = folder.name
        self.lease = {**leases.mine(), **told, "since": time.time()}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._write()
        self._heart = threading.Thread(target=self._beat, daemon=True)
        self._heart.start()

    def tell(self, **progress: Any) -> None:
        """Put progress into the lease, to be seen at its next beat."""
        with self._lock:
            self.lease.update(progress)

    def close(self) -> None:
        """Give the lease back."""
        self._ended.set()
        self._heart.join()
        self._store._forget(self.name)

    def _beat(self) -> None:
        every = leases.BEAT if self._store.local else leases.BEAT_FAR
        while not self._ended.wait(every):
            try:
                self._write()
            except OSError:  # a full disk, a broken line: the next beat may get through
                continue

    def _write(self) -> None:
        with self._lock:
            self.lease["beat"] = time.time()
            content = json.dumps(self.lease)
        self._store._put(f"{PARTIAL}/{self.name}.json", content)


class Store:
    """Runs below `url`, any path that fsspec knows (`_build/runs`, `s3://bucket/runs`,
    `gs://...`).

    Attributes
    ----------
    seen
        {(notebook, key): record} of the complete runs that were looked at last.
    broken
        {(notebook, key): why} of those whose files are not what their record says.
    """

    def __init__(self, url: str | Path):
        self.fs, base = url_to_fs(str(url))
        self.local = isinstance(self.fs, LocalFileSystem)
        self.base = os.path.abspath(base) if self.local else base.rstrip("/")
        self.url = self.base if self.local else str(url).rstrip("/")
        self.seen: dict[tuple[str, str], dict] = {}
        self.broken: dict[tuple[str, str], str] = {}

    def where(self, notebook: str, key: str) -> str:
        """The place of a run."""
        return f"{self.base}/{notebook}/{key}"

    # What is there --------------------------------------------------------------------

    def complete(self, notebook: str, key: str) -> bool:
        """Whether a run has its record, and all that the record lists."""
        return (notebook, key) in self._look(notebook, key)

    def all_complete(self, notebooks: Iterable[str]) -> set[tuple[str, str]]:
        """The (notebook, key) of every complete run of these notebooks, with one
        listing a notebook.
        """
        found = set()
        for notebook in set(notebooks):
            found |= self._look(notebook)
        return found

    def _look(self, notebook: str, key: str = "") -> set[tuple[str, str]]:
        """The complete runs of a notebook, or whether one is."""
        below = self.where(notebook, key) if key else f"{self.base}/{notebook}"
        self.fs.invalidate_cache()
        sizes: dict[str, dict[str, int]] = {}
        depth = 2 if key else 3
        for path, about in self.fs.find(below, maxdepth=depth, detail=True).items():
            of_run, _, name = path.removeprefix(f"{self.base}/{notebook}/").partition(
                "/"
            )
            sizes.setdefault(of_run, {})[name] = about["size"]

        keys = [k for k, names in sizes.items() if "record.json" in names]
        texts = self._read_all([f"{self.where(notebook, k)}/record.json" for k in keys])
        found = set()
        for k, text in zip(keys, texts):
            run = (notebook, k)
            record, why = self._judge(notebook, k, text, sizes[k])
            self.broken.pop(run, None)
            if why:
                self.broken[run] = why
            elif record is not None:
                found.add(run)
                self.seen[run] = record
        return found

    def _judge(
        self, notebook: str, key: str, text: bytes | Exception, sizes: Mapping[str, int]
    ) -> tuple[dict | None, str]:
        """The record of a run, if it is complete, or why it is broken.

        One by plain papermill, which has no executed copy in its folder, is neither.
        """
        place = f"{self.where(notebook, key)}/record.json"
        try:
            record = json.loads(text)
            at = record.get("at", "")
            listed = {name: about["bytes"] for name, about in record["files"].items()}
        except (
            KeyError
        ):  # a record that lists nothing: by plain papermill, or an older one
            copy = f"{notebook}.ipynb"
            if copy not in sizes:
                return None, ""
            listed = {"metrics.csv": None, copy: None}
        except (TypeError, ValueError, AttributeError) as error:
            return None, f"{place} can't be read ({error or type(error).__name__})"
        for name, wanted in listed.items():
            size = sizes.get(f"{at}/{name}" if at else name)
            if size is None:
                return None, f"{self.where(notebook, key)} has no {name}"
            if size == 0 or wanted not in (None, size):
                said = f"{size} bytes where {wanted or 'some'} were written"
                return None, f"{self.where(notebook, key)}/{name} has {said}"
        return record, ""

    def _read_all(self, paths: list[str]) -> list[bytes | Exception]:
        """Contents of files, or why one can't be read; many at once from an object
        store.
        """
        if not paths:
            return []
        if self.local:
            return [_read(path) for path in paths]
        found = self.fs.cat(paths, on_error="return")
        return [found[path] for path in paths]

    def _glob(self, pattern: str) -> list[str]:
        """Paths of the files below the store that match `pattern`."""
        if self.local:  # its own path may hold characters that mean something to glob
            return sorted(map(str, Path(self.base).glob(pattern)))
        self.fs.invalidate_cache()
        return self.fs.glob(f"{self.base}/{pattern}")

    def find(self, key: str) -> tuple[str, str]:
        """The (notebook, key) of the one complete run whose key begins so.

        Raises
        ------
        ValueError
            There is none, or several.
        """
        if not re.fullmatch(r"[0-9a-f]+", key):
            raise ValueError(f"key is {key!r}; hexadecimal digits are wanted")
        found = self._glob(f"*/{key}*/record.json")
        runs = sorted(tuple(path.split("/")[-3:-1]) for path in found)
        runs = [run for run in runs if self.complete(*run)]
        if len(runs) != 1:
            said = ", ".join(f"{name}/{k}" for name, k in runs) or "no complete run"
            raise ValueError(
                f"key is {key!r}, of which there is {said} below {self.url}; "
                "that of one complete run is wanted"
            )
        return runs[0]

    def notebooks(self) -> list[str]:
        """Names of the notebooks of which there are runs."""
        self.fs.invalidate_cache()
        if not self.fs.isdir(self.base):
            return []
        places = [
            e for e in self.fs.ls(self.base, detail=True) if e["type"] == "directory"
        ]
        names = (place["name"].rstrip("/").rsplit("/", 1)[1] for place in places)
        return sorted(name for name in names if not name.startswith("."))

    # Work -----------------------------------------------------------------------------

    def in_other_hands(self, place: Workplace) -> bool:
        """Whether another batch works on the run of `place`, and began before it.

        A batch does not wait for itself: what its lost worker had begun begins anew.
        """
        mine = place.lease
        what = ("notebook", "key")
        for name, lease in self.leases().items():
            same = all(lease.get(k) == mine[k] for k in what)
            stranger = lease.get("batch") != mine["batch"]
            earlier = (lease["since"], name) < (mine["since"], place.name)
            if same and stranger and earlier and leases.alive(lease):
                return True
        return False

    @contextmanager
    def workplace(self, notebook: str, key: str, **told: Any) -> Iterator[Workplace]:
        """A new folder for one run to work in, gone afterwards unless it was published.

        `told` stands in its lease, beside who works.
        """
        # threads of one process may work on the same run: two clients share a scheduler
        name = f"{HOST}~{os.getpid()}~{key}~{uuid.uuid4().hex[:8]}"
        if self.local:
            # on the disk of the finished runs, to be renamed
            parent = Path(self.base) / PARTIAL
            (Path(self.base) / notebook).mkdir(parents=True, exist_ok=True)
        else:
            parent = Path(tempfile.gettempdir())
        self.sweep()
        place = Workplace(
            self, parent / name, {"notebook": notebook, "key": key, **told}
        )
        try:
            place.folder.mkdir(parents=True)
            yield place
        finally:
            shutil.rmtree(place.folder, ignore_errors=True)
            place.close()

    def leases(self) -> dict[str, dict]:
        """All leases, by the names of their workplaces, oldest first."""
        paths = self._glob(f"{PARTIAL}/*.json")
        found = {}
        for path, text in zip(paths, self._read_all(paths)):
            # what vanished meanwhile was given back
            if not isinstance(text, Exception):
                name = path.rsplit("/", 1)[1].removesuffix(".json")
                found[name] = json.loads(text)
        return dict(sorted(found.items(), key=lambda item: item[1]["since"]))

    def running(self) -> list[dict]:
        """Leases of those who work now."""
        return [lease for lease in self.leases().values() if leases.alive(lease)]

    def sweep(self) -> None:
        """Remove what killed runs have left."""
        held = self.leases()
        for name, lease in held.items():
            if not leases.alive(lease):
                if self.local:
                    shutil.rmtree(Path(self.base) / PARTIAL / name, ignore_errors=True)
                self._forget(name)
        if not self.local or not os.path.isdir(f"{self.base}/{PARTIAL}"):
            return
        for path in (Path(self.base) / PARTIAL).iterdir():  # of no lease: half-written
            if path.name.removesuffix(".json") not in held:
                _remove_if_old(path)

    def publish(
        self, folder: Path, notebook: str, key: str, again: bool = False
    ) -> bool:
        """Make `folder` the run's folder; False where another worker's complete one
        already is, unless it is made `again`.
        """
        if not self.local:
            return self._upload(folder, notebook, key, again)
        target = self.where(notebook, key)
        while True:
            try:
                # an empty or absent target only: never over another's run
                os.rename(folder, target)
                self._forget_failure(notebook, key)
                return True
            except OSError:
                if not os.path.isdir(target):
                    raise
            if self.complete(notebook, key) and not again:
                return False
            if (notebook, key) in self.broken:
                self.set_aside(notebook, key)
                continue
            # a record by plain papermill, without its executed copy, or one made again
            aside = f"{folder}.old"
            os.rename(target, aside)
            shutil.rmtree(aside)

    def _upload(self, folder: Path, notebook: str, key: str, again: bool) -> bool:
        """Publish to an object store: into a folder of its own, then the record."""
        if self.complete(notebook, key) and not again:
            return False
        target = self.where(notebook, key)
        attempt = f"attempt-{uuid.uuid4().hex[:12]}"
        record = json.loads((folder / "record.json").read_text(encoding="utf-8"))
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = file.relative_to(folder).as_posix()
            if name != "record.json":
                self.fs.put_file(str(file), f"{target}/{attempt}/{name}")
        files.write_json(folder / "record.json", {**record, "at": attempt})
        self.fs.put_file(str(folder / "record.json"), f"{target}/record.json")
        self._forget_failure(notebook, key)
        return True

    def set_aside(self, notebook: str, key: str) -> str:
        """Keep a broken run under another name; returns its place."""
        target = self.where(notebook, key)
        aside = f"{target}.broken-{uuid.uuid4().hex[:6]}"
        if self.local:
            try:
                os.rename(target, aside)
            except FileNotFoundError:  # another worker has
                return ""
        else:
            self.fs.mv(f"{target}/record.json", f"{aside}/record.json")
        return aside

    def keep_failure(self, folder: Path, notebook: str, key: str, **told: Any) -> str:
        """Keep the executed copy of a run that failed, and what is told of it; returns
        the copy's place, "" where there is none that can be read.
        """
        told["copy"] = ""
        copy = folder / f"{notebook}.ipynb"
        if copy.is_file() and _is_json(copy):  # a full disk leaves half a file
            told["copy"] = f"{self.where(notebook, key)}.failed.ipynb"
            if self.local:
                os.replace(copy, told["copy"])
            else:
                self.fs.put_file(str(copy), told["copy"])
        self._put(f"{notebook}/{key}.failed.json", json.dumps(told))
        return told["copy"]

    def failures(self, notebook: str) -> dict[str, dict]:
        """{key: what was told} of runs that failed and were not made since."""
        paths = self._glob(f"{notebook}/*.failed.json")
        found = {}
        for path, text in zip(paths, self._read_all(paths)):
            if not isinstance(text, Exception):
                key = path.rsplit("/", 1)[1].removesuffix(".failed.json")
                found[key] = json.loads(text)
        return found

    def fetch(self, notebook: str, key: str, into: Path) -> Path:
        """A local folder with the record of a complete run, copied below `into` from an
        object store.
        """
        folder = self.where(notebook, key)
        if self.local:
            return Path(folder)
        local = into / notebook / key
        record = json.loads(self.fs.cat_file(f"{folder}/record.json"))
        at = record.pop("at", "")
        copy = f"{notebook}.ipynb"
        listed = record.get("files", {"metrics.csv": {}, copy: {}})
        for name in listed:
            source = f"{folder}/{at}/{name}" if at else f"{folder}/{name}"
            files.write_bytes(local / name, self.fs.cat_file(source))
        files.write_json(local / "record.json", record)
        return local

    # Batches --------------------------------------------------------------------------

    def put_batch(self, name: str, plan: Mapping[str, Any]) -> None:
        """Write down what a batch is to run, for whoever asks for its status."""
        self._put(f"{BATCHES}/{name}.json", json.dumps(plan))

    def batches(self) -> dict[str, dict]:
        """The plans of all batches, by name, oldest first."""
        paths = self._glob(f"{BATCHES}/*.json")
        found = zip(paths, self._read_all(paths))
        plans = {p: json.loads(text) for p, text in found if isinstance(text, bytes)}
        named = {
            path.rsplit("/", 1)[1].removesuffix(".json"): plans[path] for path in plans
        }
        return dict(sorted(named.items(), key=lambda item: item[1]["since"]))

    def _put(self, name: str, content: str) -> None:
        """A small file below the store, whole or not at all."""
        if self.local:
            files.write_text(Path(self.base) / name, content)
        else:
            self.fs.pipe_file(f"{self.base}/{name}", content.encode())

    def _forget(self, name: str) -> None:
        """Remove a lease."""
        if self.local:
            (Path(self.base) / PARTIAL / f"{name}.json").unlink(missing_ok=True)
            return
        path = f"{self.base}/{PARTIAL}/{name}.json"
        try:
            self.fs.rm_file(path)
        except FileNotFoundError:  # another machine has swept it
            return

    def _forget_failure(self, notebook: str, key: str) -> None:
        for kind in ("ipynb", "json"):
            failed = f"{self.where(notebook, key)}.failed.{kind}"
            if self.fs.exists(failed):
                self.fs.rm_file(failed)


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_bytes())
    except ValueError:
        return False
    return True


def _read(path: str) -> bytes | OSError:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        return error


def _remove_if_old(path: Path) -> None:
    try:
        if time.time() - path.stat().st_mtime < leases.SILENCE:
            return
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    except FileNotFoundError:  # another worker was quicker
        return
