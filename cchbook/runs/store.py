"""Where the folders of finished runs lie: `<store>/<notebook>/<key>/`, on a disk or an
object store.

A run is complete when its folder holds a `record.json` that can be read, and all files
that it lists, each as long as it says. On a disk the folder is made in `.partial/` and
renamed; what a killed worker leaves there is swept by the next batch, which tells by a
file lock that nobody works in it. An object store has no rename: there every attempt
has a folder of its own, and `record.json`, put last, says which (`at`), so that two
machines that finish one run at one moment never mix their files.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from cchbook.runs import files, places, plan, records
from cchlib import check

PARTIAL = ".partial"
BATCHES = ".batches"
FRESH = 60.0  # seconds


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

    def __init__(self, url: str | Path | None = None):
        url = url or places.build_dir() / "runs"
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
        # a record that lists nothing: by plain papermill, or an older one
        except KeyError:
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
        if self.local:  # its path may hold characters that mean something to `cat`
            return [_read(path) for path in paths]
        found = self.fs.cat(paths, on_error="return") if paths else {}
        return [found[path] for path in paths]

    def _told(self, folder: str, suffix: str) -> dict[str, dict]:
        """{name: content} of the JSON files of a folder of the store, by what comes
        before the suffix.
        """
        self.fs.invalidate_cache()
        found = self.fs.find(f"{self.base}/{folder}", maxdepth=1)
        paths = [path for path in found if path.endswith(suffix)]
        return {
            path.rsplit("/", 1)[1].removesuffix(suffix): json.loads(text)
            for path, text in zip(paths, self._read_all(paths))
            if isinstance(text, bytes)  # another process may have removed it
        }

    def find(self, key: str) -> tuple[str, str]:
        """The (notebook, key) of the one complete run whose key begins so.

        Raises
        ------
        ValueError
            There is none, or several.
        """
        if not re.fullmatch(r"[0-9a-f]+", key):
            raise ValueError(f"`key` must be hexadecimal digits, got {key!r}")
        complete = sorted(self.all_complete(self.notebooks()))
        runs = [run for run in complete if run[1].startswith(key)]
        if len(runs) != 1:
            said = ", ".join(f"{name}/{k}" for name, k in runs) or "no complete run"
            raise ValueError(
                f"`key` must begin that of one complete run, got {key!r}, of which "
                f"there is {said} below {self.url}"
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

    @property
    def _partial(self) -> Path:
        """Where workplaces are: on the disk of the finished runs, to be renamed."""
        if self.local:
            return Path(self.base) / PARTIAL
        return Path(tempfile.gettempdir()) / f"cch-{getpass.getuser()}"

    @contextmanager
    def workplace(self, batch: str, notebook: str, key: str) -> Iterator[Path]:
        """A new folder for one run to work in, whose `run` is to be published; gone
        afterwards.
        """
        if self.local:
            (Path(self.base) / notebook).mkdir(parents=True, exist_ok=True)
        name = f"{batch}~{notebook}~{key}~{uuid.uuid4().hex[:8]}"
        new = self._partial / f".{name}"
        (new / "run").mkdir(parents=True)
        with FileLock(new / "lock"):
            # held before it has a name by which `sweep` sees it
            folder = new.rename(self._partial / name)
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def begun(self, batch: str) -> list[tuple[str, str]]:
        """(notebook, key) of the runs that a batch works on, or worked on when it was
        broken off.
        """
        found = [path.name.split("~") for path in self._partial.glob(f"{batch}~*")]
        return [("~".join(words[1:-2]), words[-2]) for words in found]

    def sweep(self) -> None:
        """Remove what killed workers have left."""
        for folder in self._partial.glob("*") if self._partial.is_dir() else ():
            # a moment passes until one without a name has its lock
            fresh = time.time() - folder.stat().st_mtime < FRESH
            if folder.name.startswith(".") and fresh:
                continue
            try:
                with FileLock(folder / "lock", timeout=0):
                    shutil.rmtree(folder, ignore_errors=True)
            except (Timeout, OSError):  # someone works there, or swept it just now
                continue

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
            try:
                os.rename(target, aside)
            except FileNotFoundError:  # another worker has
                continue
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
        return self._told(notebook, ".failed.json")

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
        found = self._told(BATCHES, ".json")
        return dict(sorted(found.items(), key=lambda item: item[1]["since"]))

    def _put(self, name: str, content: str) -> None:
        """A small file below the store, whole or not at all."""
        if self.local:
            files.write_text(Path(self.base) / name, content)
        else:
            self.fs.pipe_file(f"{self.base}/{name}", content.encode())

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


def collect(
    notebook: str | None = None,
    output: str | None = None,
    keys: Iterable[str] | None = None,
    profile: str | None = None,
    settings: Sequence[str] = (),
) -> pd.DataFrame:
    """The metrics of all complete runs as one tidy table.

    Parameters
    ----------
    notebook
        Of one notebook only.
    output
        URL of the store; by default `runs` in the build folder.
    keys, profile
        Of these runs, or of those of this profile, only.
    settings
        Of runs with these parameters only, `name=value` as on the command line.

    Returns
    -------
    DataFrame
        A row a measurement: notebook, key, the parameters of its run, then the columns
        of metrics.csv. A parameter that is a list is its JSON; one with the name of a
        condition is `parameter.NAME`. Pieces of a run that was put together are left
        out: their rows are its.

    Raises
    ------
    ValueError
        There is no complete run, or none with measurements; an unknown profile.
    """
    if profile is not None:
        check.one_of("profile", profile, plan.PROFILES)
    given = [plan.parsed(setting) for setting in settings]
    store = Store(output)
    names = [notebook] if notebook else store.notebooks()
    runs = store.all_complete(names)
    of_pieces = {p["key"] for run in runs for p in store.seen[run].get("pieces", [])}
    asked = set(keys if keys is not None else (key for _, key in runs)) - of_pieces

    def fits(name: str, about: Mapping[str, Any]) -> bool:
        values = about["parameters"]
        return profile in (None, about.get("profile")) and all(
            values.get(n) == value for only, n, value in given if only in ("", name)
        )

    frames = []
    with tempfile.TemporaryDirectory(prefix="cch-") as scratch:
        for run in sorted(runs, key=lambda run: (run[0], store.seen[run]["start"])):
            if run[1] in asked and fits(run[0], store.seen[run]):
                folder = store.fetch(*run, Path(scratch))
                frames.append(_with_parameters(records.read(folder)))
    if not frames:
        said = f" of profile {profile}" if profile else ""
        said += f" with {', '.join(settings)}" if settings else ""
        raise ValueError(
            f"no complete run of {notebook or 'any notebook'}{said} below {store.url}; "
            "cch run makes one"
        )
    every = pd.concat(frames, ignore_index=True)
    if every.empty:
        raise ValueError(
            f"no run of {notebook or 'any notebook'} below {store.url} has metrics; "
            "run.log(...) and run.finish() leave them"
        )
    return every[[c for c in every if c not in records.COLUMNS] + list(records.COLUMNS)]


def _with_parameters(run: records.Record) -> pd.DataFrame:
    """The metrics of a run, with what it was run with as columns in front."""
    front = {"notebook": run.record["notebook"], "key": run.record["key"]}
    for name, value in run.record["parameters"].items():
        taken = name in run.metrics or name in front
        text = json.dumps(value) if isinstance(value, (list, dict)) else value
        front[f"parameter.{name}" if taken else name] = text
    columns = {name: [value] * len(run.metrics) for name, value in front.items()}
    return pd.concat([pd.DataFrame(columns), run.metrics], axis=1)
