"""CMU-MOSEI as MultiBench publishes it, prepared as the paper's Algorithm 2 says."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path

import numpy as np
import pooch

from cchbook.data.sentiment._pickle import StoredArray, read
from cchbook.data.sentiment._split import MODALITIES, Split
from cchlib import check

SPLITS = ("train", "valid", "test")
CHUNK = 16 * 2**20  # bytes read at a time
VERSION = 1  # of the converted arrays; another one converts again


def load_mosei(
    path: str | Path, *, length: int = 50, cache: str | Path | None = None
) -> dict[str, Split]:
    """CMU-MOSEI from MultiBench's pickle, as maps of files in the cache.

    The file holds ``{"train", "valid", "test"} -> {"text", "audio", "vision", "labels",
    "id"}``, each modality an array (n, steps, d) that is padded with zeros on the left.
    In this order (Algorithm 2 of the paper, and MultiBench's own loader): utterances
    whose text is all zero are dropped; −∞ in audio becomes 0; every modality is cropped
    at the first step where *text* isn't all zero; then it is cut, or padded with zeros
    on the right, to `length`. The label is 1 where the sentiment score (the first
    column, where there are several) is > 0, so that neutral counts as negative. Feature
    sizes are the file's.

    The first call converts the file; later ones only open the result. Both take little
    memory, whatever the size of the file: it is read 16 MiB at a time.

    Parameters
    ----------
    path : str or Path
        Untrusted: nothing in it is run, see `cchbook.data.sentiment._pickle`.
    length : int
        L, steps an utterance.
    cache : str or Path, optional
        Folder for the converted arrays; by default a cache of this user's.

    Returns
    -------
    dict of Split
        "train", "valid" and "test"; text, audio and vision (n, length, d) float32,
        labels (n,) int64.

    Raises
    ------
    pickle.UnpicklingError
        The pickle names something else than NumPy arrays and plain containers.
    ValueError
        It is truncated, lacks a split or a modality, its modalities differ in
        utterances or steps, or it holds NaN labels, or NaN or infinite features other
        than −∞ in audio.
    FileNotFoundError
        There is no such file.
    """
    path = Path(path)
    check.integer("length", length, 1)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; run `cch data fetch mosei`")
    home = (
        Path(cache) if cache is not None else Path(pooch.os_cache("cchlib")) / "mosei"
    )
    stat = path.stat()
    key = f"{path.resolve()} {stat.st_size} {stat.st_mtime_ns} {length} {VERSION}"
    folder = home / hashlib.sha256(key.encode()).hexdigest()[:16]
    if not folder.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as beside:
            _convert(path, Path(beside) / "arrays", length)
            try:
                os.rename(Path(beside) / "arrays", folder)
            except OSError:
                if not folder.is_dir():  # otherwise another process was faster
                    raise
    return {
        split: Split(
            **{
                name: np.load(folder / f"{split}-{name}.npy", mmap_mode="r")
                for name in MODALITIES
            },
            labels=np.load(folder / f"{split}-labels.npy"),
        )
        for split in SPLITS
    }


def _convert(path: Path, folder: Path, length: int) -> None:
    folder.mkdir()
    content = _checked(path, read(path))
    about: dict = {"source": str(path), "length": length}
    for split, arrays in content.items():
        where = f"{path}, split {split!r}"
        starts = _starts(arrays["text"])
        keep = np.flatnonzero(starts >= 0)
        if len(keep) == 0:
            raise ValueError(
                f"{where}: the text of every utterance is all zero; fetch the file "
                "again"
            )
        scores = arrays["labels"].rows().reshape(len(starts), -1)[keep, 0]
        if not np.isfinite(scores).all():
            bad = keep[~np.isfinite(scores)]
            raise ValueError(
                f"{where}: {len(bad)} labels are NaN or infinite (first: row "
                f"{bad[0]}); "
                "remove these rows or fetch the file again"
            )
        np.save(folder / f"{split}-labels.npy", (scores > 0).astype(np.int64))
        replaced = {
            name: _crop(
                arrays[name],
                folder / f"{split}-{name}.npy",
                starts,
                keep,
                length,
                f"{where}, {name}",
                minus_infinity=name == "audio",
            )
            for name in MODALITIES
        }
        about[split] = {
            "utterances": len(keep),
            "dropped": int(len(starts) - len(keep)),
            "minus_infinity_replaced": replaced["audio"],
        }
    (folder / "about.json").write_text(json.dumps(about, indent=1) + "\n")


def _checked(path: Path, content: object) -> dict[str, dict[str, StoredArray]]:
    """The splits and arrays that are wanted, their shapes in agreement."""

    def entry(container: object, name: str, where: str) -> object:
        if not isinstance(container, dict) or name not in container:
            has = (
                sorted(map(str, container))
                if isinstance(container, dict)
                else type(container).__name__
            )
            raise ValueError(
                f"{where} must be MultiBench's file, with train, valid and test and in "
                f"each text, audio, vision and labels, but has no {name!r} (it has "
                f"{has})"
            )
        return container[name]

    checked = {}
    for split in SPLITS:
        where = f"{path}, split {split!r}"
        part = entry(content, split, str(path))
        arrays = checked[split] = {
            name: entry(part, name, where) for name in (*MODALITIES, "labels")
        }
        for name, array in arrays.items():
            if not isinstance(array, StoredArray) or array.dtype.kind not in "fiub":
                raise ValueError(f"{where}: {name} must be an array of numbers")
            if name == "labels" and (array.shape == () or 0 in array.shape):
                raise ValueError(
                    f"{where}: labels must have shape (n,) or (n, columns), with the "
                    f"sentiment first, got {array.shape}"
                )
            if name != "labels" and (len(array.shape) != 3 or 0 in array.shape):
                raise ValueError(
                    f"{where}: {name} must have shape (n, steps, features), got "
                    f"{array.shape}"
                )
        try:
            check.same_length(**arrays)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        steps = {name: arrays[name].shape[1] for name in MODALITIES}
        if len(set(steps.values())) > 1:
            raise ValueError(
                f"{where} must be word-aligned, or text can't say where the others "
                f"begin, but its modalities have unequal numbers of steps, {steps}"
            )
    for name in MODALITIES:
        sizes = {split: checked[split][name].shape[2] for split in SPLITS}
        if len(set(sizes.values())) > 1:
            raise ValueError(
                f"{path}: {name} must have one number of features, got {sizes}"
            )
    return checked


def _chunks(array: StoredArray):
    width = max(1, array.dtype.itemsize * int(np.prod(array.shape[1:])))
    rows = max(1, CHUNK // width)
    for low in range(0, len(array), rows):
        yield low, array.rows(low, low + rows)


def _starts(text: StoredArray) -> np.ndarray:
    """First step of each utterance where text isn't all zero, (n,); −1 where it is
    throughout.
    """
    starts = np.full(len(text), -1)
    for low, rows in _chunks(text):
        spoken = (rows != 0).any(2)
        starts[low : low + len(rows)] = np.where(spoken.any(1), spoken.argmax(1), -1)
    return starts


def _crop(
    array: StoredArray,
    target: Path,
    starts: np.ndarray,
    keep: np.ndarray,
    length: int,
    where: str,
    *,
    minus_infinity: bool,
) -> int:
    """Write the kept utterances from their starts on, (n, length, d); the number of −∞
    that became 0.
    """
    replaced, features = 0, array.shape[2]
    with open(target, "wb") as file:
        np.lib.format.write_array_header_1_0(
            file,
            {
                "descr": "<f4",
                "fortran_order": False,
                "shape": (len(keep), length, features),
            },
        )
        for low, rows in _chunks(array):
            rows = rows.astype(np.float32)
            if minus_infinity:
                infinite = rows == -np.inf
                replaced += int(infinite.sum())
                rows[infinite] = 0
            kept = keep[(keep >= low) & (keep < low + len(rows))]
            if not np.isfinite(rows[kept - low]).all():
                raise ValueError(
                    f"{where}: NaN or infinite features near row {low} (only −∞ in "
                    "audio is known to "
                    "occur, and becomes 0); fetch the file again"
                )
            block = np.zeros((len(kept), length, features), np.float32)
            for i, row in enumerate(kept):
                spoken = rows[row - low, starts[row] : starts[row] + length]
                block[i, : len(spoken)] = spoken
            file.write(block.data)
    return replaced
