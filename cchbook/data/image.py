"""MNIST and MNIST-M as Section 4.2 and Appendix C make them.

An MNIST-M image is ``α · binarised digit + (1 − α) · greyscale photograph patch``. Test
images take their patches from photographs that training images never used.
"""

from __future__ import annotations

import gzip
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from cchbook.data import catalogue, tables
from cchlib import check

SIDE = 28
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, what Pillow's "L" uses


@dataclass(frozen=True)
class Digits:
    """Greyscale digits in [0, 1], (n, 28, 28) float32, and their labels (n,) int64."""

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    source: catalogue.DataSource

    def subset(self, n_train: int, n_test: int) -> Digits:
        """The first `n_train` and `n_test` images (the published files are in random
        order).
        """
        for name, wanted, images in (
            ("n_train", n_train, self.train_images),
            ("n_test", n_test, self.test_images),
        ):
            check.within(name, check.integer(name, wanted, 1), 1, len(images))
        return Digits(
            self.train_images[:n_train],
            self.train_labels[:n_train],
            self.test_images[:n_test],
            self.test_labels[:n_test],
            self.source,
        )


@dataclass(frozen=True)
class Photographs:
    """Greyscale photographs in [0, 1], each (height, width) float32; `test` shares none
    with `train`.
    """

    train: list[np.ndarray]
    test: list[np.ndarray]
    source: catalogue.DataSource


def load(
    source: str = "auto", n_train: int | None = None, n_test: int | None = None
) -> tuple[Digits, Photographs]:
    """MNIST and BSDS500 where both are at hand, otherwise stand-ins from scikit-learn
    for both.

    Parameters
    ----------
    source : {"auto", "real", "embedded"}
    n_train, n_test : int, optional
        At most so many digits to train and to test on, the first ones; all by default.

    Raises
    ------
    FileNotFoundError
        With source "real" and a set absent; it names the command that fetches it.
    """
    found = [catalogue.resolve(name, source) for name in ("mnist", "bsds500")]
    if all(item.kind == "real" for item in found):
        digits, photographs = _mnist(found[0]), _bsds500(found[1])
    else:
        digits, photographs = _embedded_digits(), _embedded_photographs()
    train, test = len(digits.train_images), len(digits.test_images)
    kept = digits.subset(
        train if n_train is None else min(n_train, train),
        test if n_test is None else min(n_test, test),
    )
    return kept, photographs


def blend(
    digits: np.ndarray, patches: np.ndarray, alpha: float, threshold: float = 0.5
) -> np.ndarray:
    """MNIST-M of Appendix C: α · 1[digit > threshold] + (1 − α) · patch.

    Parameters
    ----------
    digits, patches : (n, 28, 28) arrays in [0, 1], or (..., h, w) of any size
    alpha : float in [0, 1]
        Prominence of the digit over its background.
    threshold : float in [0, 1]
        Of the binarisation, which the paper leaves open.

    Returns
    -------
    float32 array of their shape, in [0, 1]
    """
    alpha = check.number("alpha", alpha, 0.0, 1.0)
    threshold = check.number("threshold", threshold, 0.0, 1.0)
    digits, patches = _images("digits", digits), _images("patches", patches)
    if digits.shape != patches.shape:
        raise ValueError(
            f"`patches` must have the shape of `digits`, {digits.shape}, got "
            f"{patches.shape}"
        )
    return (alpha * (digits > threshold) + (1 - alpha) * patches).astype(np.float32)


def random_patches(photographs: list[np.ndarray], n: int, seed: int) -> np.ndarray:
    """`n` patches (n, 28, 28): a photograph drawn uniformly, then a place in it drawn
    uniformly.
    """
    n = check.integer("n", n, 1)
    photographs = [_images("photographs", photo) for photo in photographs]
    if not photographs or any(
        np.ndim(photo) != 2 or min(np.shape(photo)) < SIDE for photo in photographs
    ):
        raise ValueError(
            "photographs must be a non-empty list of grey images (height, width) of "
            f"at least {SIDE} × {SIDE} pixels"
        )
    rng = check.generator("seed", seed)
    which = rng.integers(len(photographs), size=n)
    place = rng.random((n, 2))
    patches = np.empty((n, SIDE, SIDE), np.float32)
    for i, (photo, (u, v)) in enumerate(zip(which, place)):
        height, width = photographs[photo].shape
        top, left = int(u * (height - SIDE + 1)), int(v * (width - SIDE + 1))
        patches[i] = photographs[photo][top : top + SIDE, left : left + SIDE]
    return patches


def gaussian_blur(images: np.ndarray, gamma: float) -> np.ndarray:
    """Blur (..., h, w) with a Gaussian of standard deviation γ pixels, cut at 4γ, edges
    mirrored; γ = 0 is the identity.
    """
    gamma = check.number("gamma", gamma, 0.0)
    images = _images("images", images)
    return (
        images
        if gamma == 0
        else ndimage.gaussian_filter(images, gamma, mode="reflect", axes=(-2, -1))
    )


def as_inputs(images: np.ndarray, channels: int = 1) -> Tensor:
    """(n, 28, 28) -> float32 tensor (n, channels · 784), the grey image replicated
    across `channels`.
    """
    check.integer("channels", channels, 1)
    images = _images("images", images)
    flat = torch.from_numpy(np.ascontiguousarray(images, dtype=np.float32)).flatten(1)
    return flat.repeat(1, channels) if channels > 1 else flat


def _images(name: str, value: np.ndarray) -> np.ndarray:
    """Finite images (..., h, w) in floating point: blurred in their own type, binary
    ones would be rounded.
    """
    images = check.as_array(name, value)
    if images.ndim < 2 or images.dtype.kind not in "biuf":
        raise ValueError(
            f"`{name}` must hold numbers of shape (..., height, width), got "
            f"{images.dtype.name} of shape {images.shape}"
        )
    check.all_finite(name, images)
    if images.dtype in (np.float32, np.float64):
        return images.astype(images.dtype.newbyteorder("="), copy=False)
    wide = images.dtype.kind == "f" and images.dtype.itemsize > 8
    return images.astype(np.float64 if wide else np.float32)


def _mnist(source: catalogue.DataSource) -> Digits:
    folder = Path(source.path) / "MNIST" / "raw"
    parts = {}
    for split, count in (("train", 60000), ("t10k", 10000)):
        images = read_idx(folder / f"{split}-images-idx3-ubyte.gz")
        labels = read_idx(folder / f"{split}-labels-idx1-ubyte.gz")
        if images.shape != (count, SIDE, SIDE) or labels.shape != (count,):
            raise ValueError(
                f"{folder}: {split} must have {count} images of {SIDE} × {SIDE} pixels "
                f"and as many labels, got {images.shape} and {labels.shape}"
            )
        parts[f"{split}_images"] = images.astype(np.float32) / 255
        parts[f"{split}_labels"] = labels.astype(np.int64)
    return Digits(
        parts["train_images"],
        parts["train_labels"],
        parts["t10k_images"],
        parts["t10k_labels"],
        source,
    )


def read_idx(path: str | Path) -> np.ndarray:
    """The uint8 array in a packed IDX file, the format of MNIST.

    It is read from the very file that the catalogue verified: an unpacked one beside it
    may hold anything.

    Raises
    ------
    ValueError
        The file is broken, or of another form.
    """
    path = Path(path)
    with tables.named(path), gzip.open(path) as stream:
        content = stream.read()
    # two zeros, the type (8: unsigned bytes), the number of axes, each axis' length
    axes = content[3] if content[:3] == b"\0\0\x08" and len(content) > 3 else 0
    start = 4 + 4 * axes
    shape = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if axes == 0 or len(content) != start + math.prod(shape):
        raise ValueError(
            f"{path} must be an IDX array of unsigned bytes, as published, got "
            f"{len(content)} bytes that are none"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _bsds500(source: catalogue.DataSource) -> Photographs:
    from PIL import Image

    def read(*folders: str) -> list[np.ndarray]:
        # those that were verified, and no other file of the folders
        files = [
            file
            for folder in folders
            for file in catalogue.get("bsds500").files
            if file.startswith(f"bsds500/images/{folder}/")
        ]
        grey = (Image.open(catalogue.data_home() / file).convert("L") for file in files)
        return [np.asarray(image, np.float32) / 255 for image in grey]

    train, test = read("train", "val"), read("test")
    if (len(train), len(test)) != (300, 200):
        raise ValueError(
            f"BSDS500 in {source.path} must have 300 + 200 photographs, got "
            f"{len(train)} + {len(test)}"
        )
    return Photographs(train, test, source)


def _embedded_digits() -> Digits:
    """1,797 handwritten digits of 8 × 8 pixels (UCI, shipped by scikit-learn), enlarged
    to 28 × 28.
    """
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    source = catalogue.embedded(
        "mnist",
        images.tobytes() + labels.tobytes(),
        "scikit-learn's 1,797 digits of 8 × 8 pixels, enlarged to 28 × 28, stand in "
        "for MNIST",
    )
    large = (
        ndimage.zoom(images.reshape(-1, 8, 8) / 16, (1, SIDE / 8, SIDE / 8), order=1)
        .clip(0, 1)
        .astype(np.float32)
    )
    order = np.random.default_rng(0).permutation(
        len(large)
    )  # the file is ordered by writer
    train, test = order[:1397], order[1397:]
    return Digits(
        large[train],
        labels[train].astype(np.int64),
        large[test],
        labels[test].astype(np.int64),
        source,
    )


def _embedded_photographs() -> Photographs:
    """The two photographs that scikit-learn ships: one for training images, the other
    for test images.
    """
    from sklearn.datasets import load_sample_images

    photos = load_sample_images().images
    source = catalogue.embedded(
        "bsds500",
        b"".join(photo.tobytes() for photo in photos),
        "scikit-learn's two sample photographs stand in for the 500 of BSDS500",
    )
    grey = [(photo / 255 @ np.array(LUMINANCE)).astype(np.float32) for photo in photos]
    return Photographs(grey[:1], grey[1:], source)
