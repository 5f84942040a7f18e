"""k-nearest-neighbour estimators: Kraskov et al. (2004), Ross (2014), Frenzel and Pompe (2007).

All three are one formula. Take the distance ε_i from sample i to its k-th neighbour in the joint space,
the maximum metric over the variables; count the samples nearer than ε_i in each marginal space. A
discrete variable is a space too, in which a sample is at distance 0 from its own class and ∞ from the others:
with it Kraskov's first estimator *is* Ross's, and conditioning on a class is averaging over classes.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.special import digamma
from sklearn.neighbors import KDTree

from cchlib import _check
from cchlib.mi._common import is_discrete, subsampling_error

RESCALE = ("none", "columns", "whiten")


def ksg(x: np.ndarray, y: np.ndarray, given: np.ndarray | None = None, *, seed: int = 0, k: int = 3,
        rescale: str = "none", parts: int = 10) -> tuple[float, float]:
    """I(x; y) or I(x; y | given) in nats, and its standard error.

    Parameters
    ----------
    x, y, given : arrays as `_common.variable` returns them
    k : int
        Neighbours. Larger k: less variance, more (downward) bias.
    rescale : {"none", "columns", "whiten"}
        "columns" brings every column to unit variance, as scikit-learn does; "whiten" makes the
        estimate invariant to invertible affine maps of each continuous variable.
    parts : int
        Disjoint parts for the standard error; 0 for none (nan).
    """
    _check.integer("k", k, 1)
    _check.one_of("rescale", rescale, RESCALE)
    _check.integer("parts", parts)
    variables = [v if is_discrete(v) else _rescaled(v, rescale) for v in (x, y, given) if v is not None]
    _enough(variables, k)
    codes = next((v for v in variables if is_discrete(v)), None)
    value = _estimate(variables, k)
    if not parts:
        return value, float("nan")
    error = subsampling_error(lambda rows: _estimate([v[rows] for v in variables], k), len(x), parts, 1, seed, codes)
    return value, error


def _rescaled(x: np.ndarray, how: str) -> np.ndarray:
    if how == "none":
        return x
    x = (x - x.mean(0)) / x.std(0)
    if how == "columns":
        return x
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, s > 1e-10 * s[0]] * np.sqrt(len(x))


def _enough(variables: list[np.ndarray], k: int) -> None:
    n = len(variables[0])
    if n <= k:
        raise ValueError(f"x has {n} samples, too few for k = {k} neighbours; more than k are wanted")
    for name, v in zip(("x", "y", "given"), variables):
        smallest = np.bincount(v).min() if is_discrete(v) else n
        if smallest <= k:
            raise ValueError(f"{name} has a class of {smallest} samples, too few for k = {k} neighbours; more than k in "
                             "each class are wanted (a float array is read as continuous)")


def _estimate(variables: list[np.ndarray], k: int) -> float:
    return float(pointwise(variables, k).mean())


def pointwise(variables: list[np.ndarray], k: int) -> np.ndarray:
    """Contributions (n',) whose mean is the estimate; samples that are alone in their class are left out."""
    if len(variables) == 3 and is_discrete(variables[2]):
        x, y, given = variables
        groups = [np.flatnonzero(given == c) for c in np.unique(given)]
        return np.concatenate([pointwise([x[rows], y[rows]], k) for rows in groups if len(rows) > 1])
    if is_discrete(variables[1]):  # only a subsample may hold a class of one: it has no neighbour
        counts = np.bincount(variables[1])[variables[1]]
        variables = [v[counts > 1] for v in variables]
    n = len(variables[0])
    if len(variables) == 2:
        k_i, (n_x, n_y) = neighbour_counts(variables, [(0,), (1,)], k)
        return digamma(n) + digamma(k_i) - digamma(n_x) - digamma(n_y)
    k_i, (n_xz, n_yz, n_z) = neighbour_counts(variables, [(0, 2), (1, 2), (2,)], k)
    return digamma(k_i) - digamma(n_xz) - digamma(n_yz) + digamma(n_z)


def neighbour_counts(variables: list[np.ndarray], marginals: list[tuple[int, ...]], k: int,
                     block: int = 200_000) -> tuple[np.ndarray, list[np.ndarray]]:
    """Neighbours used and points nearer than the k-th joint neighbour, itself included, in each marginal space."""
    n = len(variables[0])
    spaces = [torch.from_numpy(v if is_discrete(v) else np.ascontiguousarray(v.T)) for v in variables]
    counts = [torch.empty(n, dtype=torch.long) for _ in marginals]
    used = torch.empty(n, dtype=torch.long)
    rows = max(1, block // n)
    work = torch.empty(len(spaces) + 1, min(rows, n), n, dtype=torch.float64)
    for low in range(0, n, rows):
        high = min(low + rows, n)
        distances = [_chebyshev(space, low, high, out, work[-1]) for space, out in zip(spaces, work)]
        joint = distances[0]
        if len(distances) > 1:
            joint = torch.maximum(distances[0], distances[1], out=work[-1][: high - low])
            for d in distances[2:]:
                torch.maximum(joint, d, out=joint)
        near = joint.topk(min(k + 1, n), dim=1, largest=False).values
        k_i = near.isfinite().sum(1) - 1  # fewer than k in a small class
        radius = near.gather(1, k_i[:, None])
        tied = radius == 0
        if bool(tied.any()):  # k samples at distance 0: all of them are neighbours (Gao et al., 2017)
            k_i = torch.where(tied[:, 0], (joint == 0).sum(1) - 1, k_i)
            radius = torch.where(tied, torch.finfo(torch.float64).tiny, radius)
        used[low:high] = k_i
        for count, axes in zip(counts, marginals):
            d = distances[axes[0]]
            for axis in axes[1:]:
                d = torch.maximum(d, distances[axis])
            count[low:high] = (d < radius).sum(1)
    return used.numpy(), [c.numpy() for c in counts]


def _chebyshev(space: torch.Tensor, low: int, high: int, out: torch.Tensor, work: torch.Tensor) -> torch.Tensor:
    """Distances from rows low:high to all, (high - low, n), written to `out`; classes are at 0 or ∞."""
    out, work = out[: high - low], work[: high - low]
    if space.ndim == 1:
        return out.copy_(torch.where(space[low:high, None] == space, 0.0, torch.inf))
    for c, column in enumerate(space):
        d = work if c else out
        torch.sub(column[low:high, None], column, out=d)
        d.abs_()
        if c:
            torch.maximum(out, d, out=out)
    return out
