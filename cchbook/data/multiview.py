"""Samples that were seen several ways: `multiview/NAME.npz` below the data home.

A file holds plain arrays: `view_NAME` (n, p), two or more of them, `label` (n,), which
is whole numbers for classes and floats for a regression, and where the source has them
`group` (n,) and `split` (n,), 0 for training and 1 for test rows. Whatever files lie
there are found; pickled ones are refused.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn import datasets

from cchbook.data import catalogue
from cchbook.data.catalogue import DataSource, data_home
from cchbook.data.download import sha256_of
from cchbook.data.multiview_originals import MADE_FROM
from cchdecide.views import read_views
from cchlib import check

FOLDER = "multiview"
SOURCES = Path(__file__).with_name("multiview.csv")
#: as many sets are taken where none are named
SMALLEST = 2


@dataclass(frozen=True)
class MultiView:
    """One set of samples.

    Attributes
    ----------
    views : dict of name -> array (n, p)
    labels : (n,) whole numbers, or (n, 1) floats of a regression
    groups, split : (n,) int, or None
    """

    name: str
    views: dict[str, np.ndarray] = field(repr=False)
    labels: np.ndarray = field(repr=False)
    groups: np.ndarray | None = field(repr=False)
    split: np.ndarray | None = field(repr=False)
    source: DataSource

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All ordered pairs of views: who teaches, who learns."""
        return list(permutations(self.views, 2))


def sources() -> pd.DataFrame:
    """Where the sets of chapter 11 come from: set, views, original (its citation),
    licence (as far as stated), repository (with the commit and the file), split. Their
    checksums are the catalogue's.
    """
    return pd.read_csv(SOURCES)


def found() -> list[str]:
    """Names of the sets at hand: those of few views first, then small files."""
    files = (data_home() / FOLDER).glob("*.npz")
    return [path.stem for path in sorted(files, key=_size)]


def load(name: str) -> MultiView:
    """One set at hand.

    Raises
    ------
    FileNotFoundError
        It is not there; the message says what is.
    """
    path = data_home() / FOLDER / f"{name}.npz"
    if not path.is_file():
        at_hand = ", ".join(found()) or "none"
        raise FileNotFoundError(f"no set {name!r} in {path.parent}; at hand: {at_hand}")
    return MultiView(name, **read_views(path), source=_source(name, path))


def _source(name: str, path: Path) -> DataSource:
    """The collection where all of it is as published, else the file alone."""
    published = catalogue.get(FOLDER)
    made = {file.stem for file in path.parent.glob("*.npz") if _made(file)}
    whole = published.present and not made
    if whole and f"{FOLDER}/{name}.npz" in published.files:
        sha256 = catalogue.verify(FOLDER)
        return DataSource(FOLDER, "real", sha256, path.parent, published.note)
    note = "made from its public original" if name in made else "a set of the user's"
    return DataSource(f"{FOLDER}/{name}", "real", sha256_of(path), path.parent, note)


def _made(path: Path) -> bool:
    """Whether `multiview_originals.make` wrote the file."""
    with zipfile.ZipFile(path) as stored:
        return f"{MADE_FROM}.npy" in stored.namelist()


def load_sets(names: Sequence[str] = (), source: str = "auto") -> list[MultiView]:
    """The sets named, all at hand for ["all"], the two smallest for none.

    Where none is named and none is at hand, or for source "embedded", the sets that
    scikit-learn ships (of these, the ones named).
    """
    check.one_of("source", source, catalogue.SOURCES)
    at_hand = [] if source == "embedded" else found()
    if source == "embedded" or (not at_hand and not names and source == "auto"):
        return [one for one in shipped() if not names or one.name in names]
    if list(names) == ["all"]:
        names = at_hand
    return [load(name) for name in names or at_hand[:SMALLEST]]


def shipped() -> list[MultiView]:
    """Sets that scikit-learn brings: two halves of digits, three kinds of measures of
    tumours, acids and colours of wine.
    """
    digits = datasets.load_digits()
    images = digits.data.reshape(-1, 8, 8)
    tumours = datasets.load_breast_cancer()
    wine = datasets.load_wine()
    named = {
        "digits_left_right": (
            {
                "left": images[:, :, :4].reshape(-1, 32),
                "right": images[:, :, 4:].reshape(-1, 32),
            },
            digits.target,
        ),
        "tumours_mean_error_worst": (
            {
                "mean": tumours.data[:, :10],
                "error": tumours.data[:, 10:20],
                "worst": tumours.data[:, 20:],
            },
            tumours.target,
        ),
        "wine_acids_colours": (
            {"acids": wine.data[:, :5], "colours": wine.data[:, 5:]},
            wine.target,
        ),
    }
    sets = []
    for name, (views, labels) in named.items():
        payload = b"".join(np.ascontiguousarray(v).tobytes() for v in views.values())
        origin = catalogue.embedded(name, payload, "shipped with scikit-learn")
        sets.append(MultiView(name, views, labels, None, None, origin))
    return sets


def _size(path: Path) -> tuple[int, int]:
    with zipfile.ZipFile(path) as stored:
        views = sum(name.startswith("view_") for name in stored.namelist())
    return views, path.stat().st_size
