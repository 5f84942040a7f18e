"""What the estimators share: what a variable is, and the error of a deterministic
estimate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import digamma, ndtri
from scipy.stats import rankdata

from cchlib import check


def continuous(name: str, value: Any) -> np.ndarray:
    """`value`, (n,) or (n, p), as float64 (n, p') without its constant columns, which
    carry no information.
    """
    array = check.features(name, value)
    varies = (array != array[0]).any(0)
    if not varies.any():
        raise ValueError(
            f"{name} is constant in all of its {array.shape[1]} columns; expected at "
            "least one that varies"
        )
    return array if varies.all() else array[:, varies]


def variable(name: str, value: Any) -> np.ndarray:
    """A continuous variable as float64 (n, p), a discrete one (integer, boolean,
    string) as codes, int64 (n,).

    Rows of a discrete (n, p) array are classes, so a one-hot integer matrix is read as
    its labels.
    """
    array = check.as_array(name, value)
    if array.dtype.kind not in "biuUS":
        return continuous(name, array)
    if array.ndim not in (1, 2) or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}, expected (n,) or (n, p) with n, p ≥ 1"
        )
    classes, codes = np.unique(array, axis=0, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"{name} has a single class, expected at least two")
    return codes.reshape(-1).astype(np.int64)


def enough(n: int, fewest: int, what: str) -> None:
    """Refuse fewer samples than `what` needs."""
    if n < fewest:
        raise ValueError(
            f"x has {n} samples, too few for {what}; expected at least {fewest}"
        )


def is_discrete(v: np.ndarray) -> bool:
    """Whether `variable` read it as class codes."""
    return v.ndim == 1


def one_hot(codes: np.ndarray) -> np.ndarray:
    """(n,) codes -> (n, K) zeros and ones."""
    return np.eye(codes.max() + 1)[codes]


def standard(x: np.ndarray) -> np.ndarray:
    """Columns (n, p) with mean 0 and standard deviation 1, whatever their units: they
    are scaled before they are squared, since 1e200² and 1e-200² are no numbers. A
    column that doesn't vary becomes 0.
    """
    largest = np.abs(x).max(0)
    x = x / np.where(largest > 0, largest, 1.0)
    x = x - x.mean(0)
    largest = np.abs(x).max(0)
    x = x / np.where(largest > 1e-15, largest, np.inf)
    deviation = x.std(0)
    return x / np.where(deviation > 0, deviation, 1.0)


def normal_scores(x: np.ndarray) -> np.ndarray:
    """Every column by its ranks to a standard normal: invertible, and no tail is heavy
    after it; ties share a rank.
    """
    ranks = rankdata(x, axis=0)
    shares = (ranks - 0.5) / len(x)
    return standard(ndtri(shares))


def with_prior(log_posterior: np.ndarray, log_prior: np.ndarray, n: int) -> np.ndarray:
    """Log-probabilities with one part in n of the prior mixed in: no sample is
    impossible, and none decides an average alone. They stay probabilities, so that a
    bound made of them stays one.
    """
    return np.logaddexp(log_posterior + np.log1p(-1 / n), log_prior - np.log(n))


def entropy(codes: np.ndarray) -> float:
    """Plug-in entropy of the class frequencies, in nats."""
    p = np.bincount(codes) / len(codes)
    p = p[p > 0]
    surprise = -np.log(p)
    return float((p * surprise).sum())


def nearest_ceiling(n: int, k: int) -> float:
    """The most, in nats, that k nearest neighbours among n samples can say: each sample
    contributes ψ(n) + ψ(k) - ψ(n_x) - ψ(n_y), and both counts are k or more.
    """
    return float(digamma(n) - digamma(k))


def subsampling_error(
    estimate: Callable[[np.ndarray], float],
    n: int,
    parts: int,
    repeats: int,
    seed: int,
    codes: np.ndarray | None = None,
) -> float:
    """Standard error of `estimate(rows)` at n samples, from disjoint parts of the data
    (no row twice).

    The variance of such estimates falls as 1/n (Holmes and Nemenman, 2019), so the
    spread over `parts` disjoint parts divided by √parts is the error of the whole;
    averaged over `repeats` partitions. Sampling is without replacement because
    duplicates wreck nearest neighbours. Parts are stratified by `codes`. nan where the
    data is too small for two parts of 20.
    """
    parts = min(parts, n // 20)
    if parts < 2:
        return float("nan")
    rng = np.random.default_rng(seed)
    variances = []
    for _ in range(repeats):
        order = rng.permutation(n)
        if codes is not None:  # deal the classes out like cards
            order = order[np.argsort(codes[order], kind="stable")]
        values = [estimate(order[part::parts]) for part in range(parts)]
        variances.append(np.var(values, ddof=1))
    return float(np.sqrt(np.mean(variances) / parts))
