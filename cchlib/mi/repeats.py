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


def distinct_rows(variables: Sequence[np.ndarray]) -> np.ndarray | None:
    """The first of each of the rows that are equal in all variables, (m,) and rising;
    None where no row is the copy of another.

    Rows that are equal are copies if one of the variables is continuous, which means
    that no two different samples have its value. A row that holds nothing but zeros and
    extremes of its columns is none: units are dead, and values clipped, in several
    samples at once.

    Parameters
    ----------
    variables : float arrays (n, p), or class codes (n,)
    """
    continuous = [v for v in variables if v.ndim == 2]
    if any(_all_different(column) for v in continuous for column in v.T):
        return None
    joint = np.column_stack([v.astype(float) for v in variables]) + 0.0  # no -0.0
    _, first, _, counts = _groups(joint)
    if counts.max() == 1:
        return None

    different = np.sort(first)
    if len(different) < np.sqrt(len(joint)):
        return None  # few values of a discrete variable, not copies of many samples
    if not any(_is_continuous(v[different]) for v in continuous):
        return None
    columns = np.hstack(continuous)
    lowest, highest = columns.min(0), columns.max(0)
    clipped = (columns == 0) | (columns == lowest) | (columns == highest)
    kept = clipped.all(1)
    kept[first] = True
    rows = np.flatnonzero(kept)
    return None if len(rows) == len(joint) else rows


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
    *_, counts = _groups(x + 0.0)
    return bool(np.count_nonzero(counts == 1) >= CONTINUOUS * len(x))


def _groups(x: np.ndarray) -> tuple[np.ndarray, ...]:
    """`numpy.unique` of whole rows, which compares bytes and not numbers."""
    rows = np.ascontiguousarray(x)
    as_bytes = rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1])))
    return np.unique(
        as_bytes.ravel(), return_index=True, return_inverse=True, return_counts=True
    )
