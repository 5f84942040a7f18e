"""Rows that are there several times: oversampled classes, subjects listed twice.

A row and its copy are nearest neighbours at distance 0 and stand on both sides of every
split, so that independent variables seem to share much, with a small standard error.
Equal rows of a discrete law are no copies, and have to be told from them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: A variable is continuous where this share of the different samples have a value of it
#: for themselves.
CONTINUOUS = 0.95


def records_of(variables: Sequence[np.ndarray]) -> np.ndarray | None:
    """The number of the record that every row holds, (n,); None where no row is the
    copy of another.

    Rows that are equal are copies if one of the variables is continuous, which means
    that no two different samples have its value. A row that holds nothing but zeros and
    extremes of its columns is none: units are dead, and values clipped, in several
    samples at once.

    Parameters
    ----------
    variables : arrays (n, p), or class codes (n,)
    """
    continuous = [v for v in variables if v.ndim == 2]
    if any(_all_different(column) for v in continuous for column in v.T):
        return None
    _, first, member, counts = _groups(np.hstack([_bytes(v) for v in variables]))
    if counts.max() == 1:
        return None

    different = np.sort(first)
    if len(different) < np.sqrt(len(member)):
        return None  # few values of a discrete variable, not copies of many samples
    if not any(_is_continuous(v[different]) for v in continuous):
        return None
    columns = np.hstack(continuous)
    lowest, highest = columns.min(0), columns.max(0)
    clipped = ((columns == 0) | (columns == lowest) | (columns == highest)).all(1)
    member[clipped] = len(first) + np.arange(clipped.sum())
    return None if len(np.unique(member)) == len(member) else member


def distinct_rows(variables: Sequence[np.ndarray]) -> np.ndarray | None:
    """The first row of every record, (m,) and rising; None where no row is the copy of
    another: see `records_of`.
    """
    member = records_of(variables)
    return None if member is None else np.sort(np.unique(member, return_index=True)[1])


def told(n: int, rows: np.ndarray) -> str:
    """A sentence about what was done."""
    return (
        f"Of {n} rows {n - len(rows)} repeat another in every variable; each different "
        "row was counted once."
    )


def _all_different(column: np.ndarray) -> bool:
    ordered = np.sort(column)
    return bool((ordered[1:] > ordered[:-1]).all())


def _is_continuous(x: np.ndarray) -> bool:
    """Whether nearly all of different rows have a value of x (n, p) for themselves."""
    *_, counts = _groups(_bytes(x))
    return bool(np.count_nonzero(counts == 1) >= CONTINUOUS * len(x))


def _bytes(x: np.ndarray) -> np.ndarray:
    """Rows as bytes (n, bytes of a row), which are equal where the numbers are."""
    return np.ascontiguousarray(x.reshape(len(x), -1) + 0).view(np.uint8)  # no -0.0


def _groups(rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """`numpy.unique` of whole rows of bytes."""
    whole = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}")
    return np.unique(
        whole.ravel(), return_index=True, return_inverse=True, return_counts=True
    )
