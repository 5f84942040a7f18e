"""k-nearest-neighbour estimators: Kraskov et al. (2004), Ross (2014), Frenzel and Pompe
(2007); ties in the manner of Gao et al. (2017), see `cchlib.mi.ties`.

All three are one formula. Take the distance ε_i from sample i to its k-th neighbour in
the joint space, the maximum metric over the variables; count the samples nearer than
ε_i in each marginal space. A discrete variable is a space too, in which a sample is at
distance 0 from its own class and ∞ from the others: with it Kraskov's first estimator
*is* Ross's, and conditioning on a class is averaging over classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import digamma

from cchlib import check
from cchlib.mi import ties
from cchlib.mi._common import (
    enough,
    is_discrete,
    nearest_ceiling,
    standard,
    subsampling_error,
)
from cchlib.mi.neighbours import neighbour_counts

RESCALE = ("auto", "none", "columns", "whiten")
#: Columns are left on their own scales while the largest standard deviation is no more
#: than this times the smallest: a Gaussian pair of .51 nats is then missed by .02.
SAME_UNITS = 2.0


def ksg(
    x: np.ndarray,
    y: np.ndarray,
    given: np.ndarray | None = None,
    *,
    seed: int = 0,
    k: int = 3,
    rescale: str = "auto",
    parts: int = 10,
) -> tuple[float, float]:
    """I(x; y) or I(x; y | given) in nats, and its standard error.

    Parameters
    ----------
    x, y, given : arrays as `_common.variable` returns them
    k : int
        Neighbours. Larger k: less variance, more (downward) bias.
    rescale : {"auto", "none", "columns", "whiten"}
        The distance compares columns with each other, so that their units matter.
        "columns" brings every column to unit variance, as scikit-learn does; "auto"
        does so where the standard deviations of the columns differ by more than a
        factor of two, and else leaves them as they are, as "none" does always; "whiten"
        makes the estimate invariant to invertible affine maps of each continuous
        variable.
    parts : int
        Disjoint parts for the standard error; 0 for none (nan).
    """
    check.integer("k", k, 1)
    check.one_of("rescale", rescale, RESCALE)
    check.integer("parts", parts)
    variables = [v for v in (x, y, given) if v is not None]
    columns = [v for v in variables if not is_discrete(v)]
    if rescale == "auto":
        rescale = "none" if _same_units(columns) else "columns"
    variables = [v if is_discrete(v) else _rescaled(v, rescale) for v in variables]
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


def _same_units(variables: list[np.ndarray]) -> bool:
    """Whether the standard deviations of all columns are within `SAME_UNITS`."""
    spreads = []
    for x in variables:
        largest = np.abs(x).max(0)  # squares of 1e200 are no numbers
        spreads.append(largest * (x / np.where(largest > 0, largest, 1.0)).std(0))
    spread = np.concatenate(spreads)
    return bool(spread.max() <= SAME_UNITS * spread[spread > 0].min(initial=np.inf))


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
                parts.append(pointwise([x[own], y[own]], k))
        return np.concatenate(parts)
    if is_discrete(variables[1]):
        # only a subsample may hold a class of one: it has no neighbour
        classes = variables[1]
        counts = np.bincount(classes)[classes]
        variables = [v[counts > 1] for v in variables]
        if len(variables[0]) == 0:
            # one sample of each class: nothing to compare, nothing found
            return np.zeros(1)

    marginals: list[tuple[int, ...]] = [(0,), (1,)]
    signs = [-1, -1]
    constant = digamma(len(variables[0]))
    if len(variables) == 3:
        marginals = [(0, 2), (1, 2), (2,)]
        signs = [-1, -1, 1]
        constant = 0.0
    if not ties.any_tie(variables):
        searched = neighbour_counts(variables, marginals, k)
        return constant + _signed(digamma(searched[0]), searched[1:], signs)

    variables = [ties.atoms_apart(v) for v in variables]
    searched = neighbour_counts(variables, marginals, k, ties.tolerance(variables))
    found, inside, within = searched[:3]
    nearer, as_near = searched[3::2], searched[4::2]
    share = ties.mass_ratio(nearer, as_near, signs)
    ball = ties.log_mass(found, inside, within, share)
    tied = constant + _signed(ball, as_near, signs)
    # one neighbour at the distance, in no marginal space more than one: no tie
    alone = within - inside == 1
    for few, many in zip(nearer, as_near):
        alone &= (many - few <= 1) & (few > 0)
    untied = constant + _signed(
        digamma(found), [np.maximum(few, 1) for few in nearer], signs
    )
    return np.where(alone, untied, tied)


def _signed(
    joint: np.ndarray, marginals: Sequence[np.ndarray], signs: Sequence[int]
) -> np.ndarray:
    """The joint term and, added or subtracted, those of the marginal counts, (n,)."""
    for sign, count in zip(signs, marginals):
        joint = joint + sign * digamma(count)
    return joint
