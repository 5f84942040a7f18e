"""Exact neighbour counts in the maximum metric, the one costly step of the
nearest-neighbour estimators.

Two ways to the same integers: k-d trees, and all distances block by block. Trees win
where the data has few intrinsic dimensions, the blocks elsewhere; a probe of the tree
decides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.neighbors import KDTree

BLOCK = 150_000  # distances at once: they stay in the cache
VISITS = 0.15  # share of all pairs that a tree may visit before the blocks are faster
TINY = np.finfo(float).tiny

Counts = tuple[np.ndarray, ...]


def neighbour_counts(
    variables: Sequence[np.ndarray], marginals: Sequence[tuple[int, ...]], k: int
) -> Counts:
    """Neighbours in the joint space and, nearer than the k-th, in each marginal space.

    Parameters
    ----------
    variables : float arrays (n, p), or class codes (n,) whose samples are 0 from their class, ∞ from the others
    marginals : for each wanted marginal space, the positions of its variables
    k : int

    Returns
    -------
    k_i : (n,) int
        Neighbours found: k, fewer where a class is smaller, more where they are all at
        distance 0 (then every such sample is a neighbour, as in Gao et al., 2017).
    counts : one (n,) int for each marginal
        Samples strictly nearer than the k-th joint neighbour, the sample itself
        included.
    """
    variables = [v if v.ndim == 1 else np.ascontiguousarray(v) for v in variables]
    joint = np.hstack([v for v in variables if v.ndim == 2])
    n = len(joint)
    tree = KDTree(joint, metric="chebyshev")
    probes = joint[:: max(1, n // 50)]
    tree.query(probes, k=min(k + 1, n))
    if tree.get_n_calls() < VISITS * n * len(probes):
        return _with_trees(variables, marginals, k, joint)
    return _joined(
        lambda rows: _in_rows(variables, marginals, k, rows),
        np.array_split(np.arange(n), min(_threads(), n)),
    )


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
    marginals: Sequence[tuple[int, ...]],
    k: int,
    rows: np.ndarray,
) -> Counts:
    """The counts for consecutive rows, in blocks that share their memory."""
    n, classes = len(variables[0]), any(v.ndim == 1 for v in variables)
    step = min(max(1, BLOCK // n), len(rows))
    memory = np.empty((len(variables) + 2, step, n))
    near = np.empty((step, n), bool)
    result = np.empty((1 + len(marginals), len(rows)), int)
    for low in range(0, len(rows), step):
        block = slice(rows[low], rows[min(low + step, len(rows)) - 1] + 1)
        *distances, joint, work = memory[:, : block.stop - block.start]
        for v, d in zip(variables, distances):
            if v.ndim == 1:
                d[:] = np.where(v[block, None] == v, 0.0, np.inf)
            else:
                cdist(v[block], v, "chebyshev", out=d)
        _largest(distances, joint)
        work[:] = joint
        k_i, radius = _kth(work, k, classes)
        tied = radius == 0
        k_i[tied] = (joint[tied] == 0).sum(1) - 1
        radius[tied] = TINY
        result[0, low : low + len(joint)] = k_i
        for count, axes in zip(result[1:], marginals):
            np.less(
                _largest([distances[axis] for axis in axes], work),
                radius[:, None],
                out=near[: len(joint)],
            )
            count[low : low + len(joint)] = [
                np.count_nonzero(row) for row in near[: len(joint)]
            ]  # faster than axis=1
    return tuple(result)


def _largest(distances: list[np.ndarray], out: np.ndarray) -> np.ndarray:
    if len(distances) == 1:
        return distances[0]
    np.maximum(distances[0], distances[1], out=out)
    for d in distances[2:]:
        np.maximum(out, d, out=out)
    return out


def _kth(distances: np.ndarray, k: int, classes: bool) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours found, at most k, and the distance to the last of them; overwrites
    `distances`, (b, n).
    """
    last = min(k, distances.shape[1] - 1)
    reached = (
        np.minimum(np.isfinite(distances).sum(1) - 1, k)
        if classes
        else np.full(len(distances), last)
    )
    if k > 8:
        distances.partition(last, axis=1)
        return reached, np.sort(distances[:, : k + 1], axis=1)[
            np.arange(len(distances)), reached
        ]
    every = np.arange(len(distances))
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
    marginals: Sequence[tuple[int, ...]],
    k: int,
    joint: np.ndarray,
) -> Counts:
    n = len(joint)
    everything = tuple(range(len(variables)))
    k_i, radius = np.empty(n, int), np.empty(n)
    for members in _classes(variables, everything, n):
        reached = min(k, len(members) - 1)
        k_i[members] = reached
        tree, members = _tree(joint, members)
        (radius[members],) = _joined(
            lambda rows, tree=tree, reached=reached: (
                tree.query(joint[rows], k=reached + 1)[0][:, -1],
            ),
            _pieces(members),
        )
    tied = radius == 0
    radius[tied] = TINY
    if tied.any():
        k_i[tied] = _within(variables, everything, radius)[tied] - 1
    return k_i, *(_within(variables, axes, radius) for axes in marginals)


def _within(
    variables: Sequence[np.ndarray], axes: tuple[int, ...], radius: np.ndarray
) -> np.ndarray:
    """Samples nearer than `radius` (n,) in the space of the variables `axes`, itself
    included.
    """
    counts = np.empty(len(radius), int)
    continuous = [variables[axis] for axis in axes if variables[axis].ndim == 2]
    points = np.hstack(continuous) if continuous else None
    inside = np.nextafter(radius, 0)  # a tree counts ≤, we want <
    for members in _classes(variables, axes, len(radius)):
        if points is None:
            counts[members] = len(members)
            continue
        tree, members = _tree(points, members)
        (counts[members],) = _joined(
            lambda rows, tree=tree: (
                tree.query_radius(points[rows], inside[rows], count_only=True),
            ),
            _pieces(members),
        )
    return counts


def _tree(points: np.ndarray, members: np.ndarray) -> tuple[KDTree, np.ndarray]:
    """A tree of the members, and the members in its order: queries in that order find
    their nodes in the cache.
    """
    tree = KDTree(points[members], metric="chebyshev")
    return tree, members[np.asarray(tree.get_arrays()[1])]


def _classes(
    variables: Sequence[np.ndarray], axes: tuple[int, ...], n: int
) -> list[np.ndarray]:
    """Rows of each combination of the discrete variables among `axes`; all rows where
    there is none.
    """
    discrete = [variables[axis] for axis in axes if variables[axis].ndim == 1]
    if not discrete:
        return [np.arange(n)]
    group = np.unique(np.stack(discrete, 1), axis=0, return_inverse=True)[1].reshape(-1)
    return [np.flatnonzero(group == c) for c in range(group.max() + 1)]


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
    return np.array_split(rows, min(4 * _threads(), max(1, len(rows) // 100)))
