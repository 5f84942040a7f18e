"""What every loader returns, and what happens to it before a network sees it."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from cchlib import check

MODALITIES = ("text", "audio", "vision")
NOISES = ("relative", "convex", "absolute")


@dataclass(frozen=True, eq=False)
class Split:
    """Utterances with their label: each modality (n, L, d), or (n, d) where there is no
    time axis.

    `labels` (n,) int64 is 1 for a positive sentiment and 0 otherwise: neutral counts as
    negative. A modality that a data set lacks is None. Arrays may be read-only maps of
    files.
    """

    text: np.ndarray | None
    audio: np.ndarray
    vision: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        check.same_length(labels=self.labels, **self.modalities())

    def __len__(self) -> int:
        return len(self.labels)

    def modalities(self) -> dict[str, np.ndarray]:
        """{name: array} of the modalities that there are."""
        return {
            name: getattr(self, name)
            for name in MODALITIES
            if getattr(self, name) is not None
        }

    def digest(self) -> bytes:
        """sha256 of all arrays."""
        sha = hashlib.sha256()
        for array in (*self.modalities().values(), self.labels):
            sha.update(np.ascontiguousarray(array).data)
        return sha.digest()


def pool(sequences: np.ndarray, rows: int = 256) -> np.ndarray:
    """Temporal mean, the first layer of Table 14: (n, L, d) -> (n, d) float32; (n, d)
    passes unchanged.

    The layer has no weights and nothing comes before it, so that taking the mean once
    gives every network the input that it would compute in every epoch, in a fiftieth of
    the memory. Reads `rows` utterances at a time; the mean is over all L steps, padding
    included, as printed.
    """
    if not isinstance(sequences, np.memmap):
        sequences = check.as_array("sequences", sequences)
    if sequences.dtype.kind not in "biuf":
        raise ValueError(f"`sequences` must hold numbers, got {sequences.dtype.name}")
    if sequences.ndim == 2:
        check.all_finite("sequences", sequences)
        return np.asarray(sequences, np.float32)
    if sequences.ndim != 3:
        raise ValueError(
            f"`sequences` must have shape (n, L, d) or (n, d), got {sequences.shape}"
        )
    means = np.empty((len(sequences), sequences.shape[2]), np.float32)
    for low in range(0, len(sequences), rows):
        means[low : low + rows] = sequences[low : low + rows].mean(1, dtype=np.float64)
        if (mapped := getattr(sequences, "_mmap", None)) is not None and hasattr(
            mmap, "MADV_DONTNEED"
        ):
            mapped.madvise(
                mmap.MADV_DONTNEED
            )  # pages that were read would stay until someone else wants the memory
    check.all_finite("sequences", means)
    return means


def standardise(train: np.ndarray, *others: np.ndarray) -> list[np.ndarray]:
    """`train` and `others` (…, d) with zero mean and unit variance in `train`, feature
    by feature, as float32.

    The statistics are those of `train`, over everything but the last axis. A feature
    that is constant there becomes 0 in all of them: nothing can be learnt from it, and
    a rare value must not explode.
    """
    flat = train.reshape(-1, train.shape[-1]).astype(np.float64)
    mean, std = flat.mean(0), flat.std(0)
    keep = std > 1e-9 * np.maximum(1, np.abs(mean))
    scale = np.where(keep, 1 / np.where(keep, std, 1), 0)
    return [((array - mean) * scale).astype(np.float32) for array in (train, *others)]


def add_noise(
    x: np.ndarray,
    level: float,
    definition: str,
    *,
    unit: np.ndarray | float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """Gaussian noise of a given level on standardised features; what a level means the
    paper doesn't say.

    ``relative``: ``x + level · ε``, the noise as a fraction of each feature's standard
    deviation; ``convex``: ``(1 − level) · x + level · ε``, only noise at level 1;
    ``absolute``: ``x + level · unit · ε``, in the units of the published features.

    Parameters
    ----------
    x : array (n, …, d)
        Zero mean and unit variance a feature, see `standardise`.
    level : float
        0.2 for "20 %"; ≥ 0, and ≤ 1 for "convex".
    definition : {"relative", "convex", "absolute"}
    unit : array (d,) or float
        One unit of the published features on the scale of x: 1/(their standard
        deviation).
    seed : int

    Returns
    -------
    array like x, float32
    """
    check.one_of("definition", definition, NOISES)
    highest = 1.0 if definition == "convex" else np.inf
    level = check.number("level", level, 0.0, highest)
    x = check.as_array("x", x)
    if x.dtype.kind not in "biuf":
        raise ValueError(f"`x` must hold numbers, got {x.dtype.name}")
    check.all_finite("x", x)
    noise = check.generator("seed", seed).standard_normal(x.shape, np.float32)
    signal = 1 - level if definition == "convex" else 1
    return (
        signal * x + level * (unit if definition == "absolute" else 1) * noise
    ).astype(np.float32)


def all_finite(name: str, splits: Mapping[str, Split]) -> None:
    """ValueError naming the split and the modality of the first NaN or infinity."""
    for split, data in splits.items():
        for modality, array in (*data.modalities().items(), ("labels", data.labels)):
            check.finite(f"{name}: {modality} of {split!r}", array)
