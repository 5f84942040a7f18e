"""k-nearest-neighbour estimators: Kraskov et al. (2004), Ross (2014), Frenzel and Pompe
(2007).

All three are one formula. Take the distance ε_i from sample i to its k-th neighbour in
the joint space, the maximum metric over the variables; count the samples nearer than
ε_i in each marginal space. A discrete variable is a space too, in which a sample is at
distance 0 from its own class and ∞ from the others: with it Kraskov's first estimator
*is* Ross's, and conditioning on a class is averaging over classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.special import digamma

from cchlib import check
from cchlib.mi._common import (
    enough,
    is_discrete,
    nearest_ceiling,
    standard,
    subsampling_error,
)
from cchlib.mi.neighbours import neighbour_counts

RESCALE = ("none", "columns", "whiten")


def ksg(
    x: np.ndarray,
    y: np.ndarray,
    given: np.ndarray | None = None,
    *,
    seed: int = 0,
    k: int = 3,
    rescale: str = "none",
    parts: int = 10,
) -> tuple[float, float]:
    """I(x; y) or I(x; y | given) in nats, and its standard error.

    Parameters
    ----------
    x, y, given : arrays as `_common.variable` returns them
    k : int
        Neighbours. Larger k: less variance, more (downward) bias.
    rescale : {"none", "columns", "whiten"}
        "columns" brings every column to unit variance, as scikit-learn does; "whiten"
        makes the estimate invariant to invertible affine maps of each continuous
        variable.
    parts : int
        Disjoint parts for the standard error; 0 for none (nan).
    """
    check.integer("k", k, 1)
    check.one_of("rescale", rescale, RESCALE)
    check.integer("parts", parts)
    variables = []
    for v in (x, y, given):
        if v is not None:
            variables.append(v if is_discrete(v) else _rescaled(v, rescale))
    enough(len(x), fewest({"k": k}), f"k = {k} neighbours")
    codes = next((v for v in variables if is_discrete(v)), None)
    value = _estimate(variables, k)
    if not parts:
        return value, float("nan")

    def estimate(rows: np.ndarray) -> float:
        return _estimate([v[rows] for v in variables], k)

    return value, subsampling_error(estimate, len(x), parts, 1, seed, codes)


def ceiling(n: int, options: Mapping[str, Any]) -> float:
    """What k nearest neighbours can say at most."""
    return nearest_ceiling(n, options["k"])


def fewest(options: Mapping[str, Any]) -> int:
    """One sample more than neighbours."""
    return int(options["k"]) + 1


def _rescaled(x: np.ndarray, how: str) -> np.ndarray:
    if how == "none":
        return x
    x = standard(x)
    if how == "columns":
        return x
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    return u[:, s > 1e-10 * s[0]] * np.sqrt(len(x))


def _estimate(variables: list[np.ndarray], k: int) -> float:
    return float(pointwise(variables, k).mean())


def pointwise(variables: list[np.ndarray], k: int) -> np.ndarray:
    """Contributions (n',) whose mean is the estimate; samples that are alone in their
    class are left out.
    """
    if len(variables) == 3 and is_discrete(variables[2]):
        x, y, given = variables
        parts = []
        for c in np.unique(given):
            own = given == c
            if own.sum() > 1:
                within = [x[own], y[own]]
                parts.append(pointwise(within, k))
        return np.concatenate(parts)
    if is_discrete(variables[1]):
        # only a subsample may hold a class of one: it has no neighbour
        classes = variables[1]
        counts = np.bincount(classes)[classes]
        variables = [v[counts > 1] for v in variables]
        if len(variables[0]) == 0:
            # one sample of each class: nothing to compare, nothing found
            return np.zeros(1)
    if len(variables) == 2:
        n = len(variables[0])
        k_i, n_x, n_y = neighbour_counts(variables, [(0,), (1,)], k)
        return digamma(n) + digamma(k_i) - digamma(n_x) - digamma(n_y)
    marginals: list[tuple[int, ...]] = [(0, 2), (1, 2), (2,)]
    k_i, n_xz, n_yz, n_z = neighbour_counts(variables, marginals, k)
    return digamma(k_i) - digamma(n_xz) - digamma(n_yz) + digamma(n_z)
