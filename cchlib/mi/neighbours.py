"""Exact neighbour counts in the maximum metric, the one costly step of the
nearest-neighbour estimators.

Two ways to the same integers: k-d trees, and all distances block by block. Trees win
where the data has few intrinsic dimensions, the blocks elsewhere; a probe of the tree
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.neighbors import KDTree

BLOCK = 150_000  # distances at once: they stay in the cache
VISITS = 0.15  # share of all pairs that a tree may visit before the blocks are faster

Counts = tuple[np.ndarray, ...]
Spaces = Sequence[tuple[int, ...]]


def neighbour_counts(
    variables: Sequence[np.ndarray],
    marginals: Spaces,
    k: int,
    tolerance: float | None = None,
) -> Counts:
    """Neighbours in the joint space and, nearer than the k-th, in each marginal space.

    Parameters
    ----------
    variables : float arrays (n, p), or class codes (n,)
        The samples of a class are at distance 0, ∞ from the others.
    marginals : for each wanted marginal space, the positions of its variables
    k : int
    tolerance : float, optional
        Distances tie, and those that differ by no more than this are equal.

    Returns
    -------
    found : (n,) int
        Neighbours: k, fewer where a class is smaller.
    counts : (n,) int, one for each marginal
        Samples nearer than the furthest of these neighbours, the sample itself
        included. With `tolerance` two for each space, of which the first is the joint
        one: samples nearer than that neighbour, and samples as near as it or nearer. No
        sample, not even itself, is nearer than a neighbour at distance 0.
    """
    variables = [np.ascontiguousarray(v) for v in variables]
    continuous = [v for v in variables if v.ndim == 2]
    joint = np.hstack(continuous)
    n = len(joint)
    tree = KDTree(joint, metric="chebyshev")
    probes = joint[:: max(1, n // 50)]
    tree.query(probes, k=min(k + 1, n))
    if tree.get_n_calls() < VISITS * n * len(probes):
        return _with_trees(variables, marginals, k, tolerance, joint)

    def work(rows: np.ndarray) -> Counts:
        return _in_rows(variables, marginals, k, tolerance, rows)

    pieces = np.array_split(np.arange(n), min(_threads(), n))
    return _joined(work, pieces)


def _spaces(variables: Sequence, marginals: Spaces, tolerance: float | None) -> Spaces:
    """The spaces in which samples are counted."""
    if tolerance is None:
        return marginals
    return [tuple(range(len(variables))), *marginals]


def _radii(radius: np.ndarray, tolerance: float | None) -> list[np.ndarray]:
    """Radii (n,) within which samples are counted: nearer than these."""
    if tolerance is None:
        return [radius]
    return [radius - tolerance, np.nextafter(radius + tolerance, np.inf)]


def _threads() -> int:
    return torch.get_num_threads()


def _joined(work: Callable[..., Counts], pieces: Sequence) -> Counts:
    """Piecewise work on as many threads as torch uses, results concatenated."""
    if _threads() == 1 or len(pieces) == 1:
        results = [work(piece) for piece in pieces]
    else:
        with ThreadPoolExecutor(_threads()) as pool:
            results = list(pool.map(work, pieces))
    return tuple(np.concatenate(column) for column in zip(*results))


# ---------------------------------------------------------------- all distances


def _in_rows(
    variables: Sequence[np.ndarray],
    marginals: Spaces,
    k: int,
    tolerance: float | None,
    rows: np.ndarray,
) -> Counts:
    """The counts for consecutive rows, in blocks that share their memory."""
    n = len(variables[0])
    step = min(max(1, BLOCK // n), len(rows))
    memory = _Memory.of(len(variables), step, n)
    spaces = _spaces(variables, marginals, tolerance)
    each = 1 if tolerance is None else 2
    result = np.empty((1 + each * len(spaces), len(rows)), int)
    for low in range(0, len(rows), step):
        part = rows[low : low + step]
        here = slice(low, low + len(part))
        counts = _in_block(
            variables, spaces, k, tolerance, part, memory.first(len(part))
        )
        for row, count in zip(result, counts):
            row[here] = count
    return tuple(result)


class _Memory(NamedTuple):
    """What a block of b rows writes to: memory that is asked for once is faster."""

    distances: np.ndarray  # (variables, b, n): of each variable by itself
    joint: np.ndarray  # (b, n): the largest of them
    marginal: np.ndarray  # (b, n): the largest of some of them
    near: np.ndarray  # (b, n) bool

    @classmethod
    def of(cls, variables: int, rows: int, n: int) -> _Memory:
        return cls(
            distances=np.empty((variables, rows, n)),
            joint=np.empty((rows, n)),
            marginal=np.empty((rows, n)),
            near=np.empty((rows, n), bool),
        )

    def first(self, rows: int) -> _Memory:
        """Of a block of so many rows."""
        return _Memory(
            distances=self.distances[:, :rows],
            joint=self.joint[:rows],
            marginal=self.marginal[:rows],
            near=self.near[:rows],
        )


def _in_block(
    variables: Sequence[np.ndarray],
    spaces: Spaces,
    k: int,
    tolerance: float | None,
    rows: np.ndarray,
    memory: _Memory,
) -> list[np.ndarray]:
    """The counts for so few rows that all their distances fit into the memory."""
    block = slice(rows[0], rows[-1] + 1)
    for v, distance in zip(variables, memory.distances):
        if v.ndim == 1:
            distance[:] = np.where(v[block, None] == v, 0.0, np.inf)
        else:
            cdist(v[block], v, "chebyshev", out=distance)
    _largest(list(memory.distances), memory.joint)

    classes = any(v.ndim == 1 for v in variables)
    memory.marginal[:] = memory.joint  # `_kth` overwrites what it reads
    found, radius = _kth(memory.marginal, k, classes)

    counts = [found]
    for axes in spaces:
        distance = memory.distances[axes[0]]
        if len(axes) > 1:
            distance = memory.marginal
            _largest([memory.distances[axis] for axis in axes], distance)
        for within in _radii(radius, tolerance):
            np.less(distance, within[:, None], out=memory.near)
            # faster than axis=1
            count = [np.count_nonzero(row) for row in memory.near]
            counts.append(np.array(count))
    return counts


def _largest(distances: Sequence[np.ndarray], out: np.ndarray) -> None:
    """The largest of at least two, into `out`."""
    np.maximum(distances[0], distances[1], out=out)
    for distance in distances[2:]:
        np.maximum(out, distance, out=out)


def _kth(distances: np.ndarray, k: int, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours found, at most k, and the distance to the last of them; overwrites
    `distances`, (b, n).
    """
    every = np.arange(len(distances))
    last = min(k, distances.shape[1] - 1)
    reached = np.full(len(distances), last)
    if classes:
        reached = np.minimum(np.isfinite(distances).sum(1) - 1, k)
    if k > 8:
        distances.partition(last, axis=1)
        nearest = np.sort(distances[:, : k + 1], axis=1)
        return reached, nearest[every, reached]
    radius = np.empty(len(distances))
    for found in range(last + 1):  # a few minima are much cheaper than a partition
        nearest = distances.argmin(1)
        here = reached == found
        radius[here] = distances[every[here], nearest[here]]
        distances[every, nearest] = np.inf
    return reached, radius


# ---------------------------------------------------------------- trees


def _with_trees(
    variables: Sequence[np.ndarray],
    marginals: Spaces,
    k: int,
    tolerance: float | None,
    joint: np.ndarray,
) -> Counts:
    n = len(joint)
    everything = tuple(range(len(variables)))
    found, radius = np.empty(n, int), np.empty(n)
    for members in _classes(variables, everything, n):
        reached = min(k, len(members) - 1)
        found[members] = reached
        tree, members = _tree(joint, members)

        def furthest(rows, tree=tree, reached=reached):
            distances, _ = tree.query(joint[rows], k=reached + 1)
            return (distances[:, -1],)

        (radius[members],) = _joined(furthest, _pieces(members))
    counts = [found]
    for axes in _spaces(variables, marginals, tolerance):
        for within in _radii(radius, tolerance):
            counts.append(_within(variables, axes, within))
    return tuple(counts)


def _within(
    variables: Sequence[np.ndarray], axes: tuple[int, ...], radius: np.ndarray
) -> np.ndarray:
    """Samples nearer than `radius` (n,) in the space of the variables `axes`, itself
    included.
    """
    counts = np.empty(len(radius), int)
    continuous = [variables[axis] for axis in axes if variables[axis].ndim == 2]
    points = np.hstack(continuous) if continuous else None
    inside = np.nextafter(radius, -np.inf)  # a tree counts ≤, we want <
    for members in _classes(variables, axes, len(radius)):
        if points is None:
            counts[members] = np.where(radius[members] > 0, len(members), 0)
            continue
        tree, members = _tree(points, members)

        def inner(rows, tree=tree):
            found = tree.query_radius(points[rows], inside[rows], count_only=True)
            return (found,)

        (counts[members],) = _joined(inner, _pieces(members))
    return counts


def _tree(points: np.ndarray, members: np.ndarray) -> tuple[KDTree, np.ndarray]:
    """A tree of the members, and the members in its order: queries in that order find
    their nodes in the cache.
    """
    tree = KDTree(points[members], metric="chebyshev")
    _, order, _, _ = tree.get_arrays()
    return tree, members[np.asarray(order)]


def _classes(
    variables: Sequence[np.ndarray], axes: tuple[int, ...], n: int
) -> list[np.ndarray]:
    """Rows of each combination of the discrete variables among `axes`; all rows where
    there is none.
    """
    chosen = [variables[axis] for axis in axes]
    discrete = [v for v in chosen if v.ndim == 1]
    if not discrete:
        return [np.arange(n)]
    combined = np.stack(discrete, 1)
    _, group = np.unique(combined, axis=0, return_inverse=True)
    group = group.reshape(-1)
    return [np.flatnonzero(group == c) for c in range(group.max() + 1)]


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
    worth_it = max(1, len(rows) // 100)
    return np.array_split(rows, min(4 * _threads(), worth_it))
