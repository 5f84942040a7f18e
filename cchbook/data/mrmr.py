"""Minimum-redundancy maximum-relevance feature selection (Ding & Peng, 2005).

Features are chosen one after the other: the most relevant first, then each time the one
whose relevance to the label is greatest against its mean redundancy with those chosen
already. The four variants of Ding & Peng are F-statistic or mutual information, as a
difference or a quotient. One pick costs one matrix-vector product over all features, so
60,660 of them need no prefilter.
"""

from __future__ import annotations

import numpy as np

from cchlib import check

RELEVANCE = ("f", "mi")
SCHEMES = ("quotient", "difference")
# A redundancy of exactly 0 would make any quotient infinite, whatever the relevance.
SMALLEST = 1e-12


def numbers(name: str, value) -> np.ndarray:
    """Numbers in their own precision, float64 where that is rarer."""
    array = check.as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must hold numbers, got {array.dtype.name}")
    usual = array.dtype.kind in "iu" or array.dtype in (np.float32, np.float64)
    kind = array.dtype.newbyteorder("=") if usual else np.dtype(np.float64)
    return array.astype(kind, copy=False)


def select(
    x: np.ndarray, y: np.ndarray, k: int, relevance: str = "f", scheme: str = "quotient"
) -> np.ndarray:
    """Indices of at most `k` features, in the order in which they were chosen.

    Parameters
    ----------
    x : array (n, p)
        The training samples, and only those: a selection that has seen the test labels
        leaks them.
    y : array (n,)
        Class labels.
    k : int
        Fewer come back only where fewer than `k` features vary.
    relevance : {"f", "mi"}
        "f": relevance is the F-statistic of the classes, redundancy the mean absolute
        Pearson correlation. "mi": both are mutual information, in nats, of features
        discretised to three states at their mean ± half their standard deviation (the
        discretisation of Ding & Peng).
    scheme : {"quotient", "difference"}
        How redundancy weighs against relevance. With "f" the two have different scales,
        and a difference is all but the F-statistic alone.

    Returns
    -------
    integer array (≤ k,)

    Raises
    ------
    ValueError
        NaN or infinity, unequal lengths, a single class, no feature that varies, an
        unknown variant.

    References
    ----------
    C. Ding, H. Peng (2005). Minimum redundancy feature selection from microarray gene
    expression data. Journal of Bioinformatics and Computational Biology 3(2), 185-205.
    """
    x = numbers("x", x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"`x` must have shape (n, p) with n, p ≥ 1, got {x.shape}")
    if bad := int((~np.isfinite(x)).sum()):
        raise ValueError(f"`x` must be finite, got {bad} NaN or infinite entries")
    y = check.as_array("y", y)
    if y.ndim != 1:
        raise ValueError(f"`y` must have shape (n,), one label a sample, got {y.shape}")
    check.same_length(x=x, y=y)
    if y.dtype.kind == "f":
        check.all_finite("y", y)
    check.integer("k", k, 1)
    check.one_of("relevance", relevance, RELEVANCE)
    check.one_of("scheme", scheme, SCHEMES)
    classes, labels = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"`y` must have at least two classes, got {len(classes)}")
    varying = np.flatnonzero(x.max(0) > x.min(0))
    if varying.size == 0:
        raise ValueError("`x` must have a feature that varies, got constant ones")
    score = (
        _Correlation(x[:, varying], labels)
        if relevance == "f"
        else _Discrete(x[:, varying], labels)
    )

    chosen: list[int] = []
    free = np.ones(varying.size, bool)
    redundancy = np.zeros(varying.size)
    for _ in range(min(k, varying.size)):
        value = score.relevance
        if chosen:
            redundancy += score.redundancy(chosen[-1])
            mean = redundancy / len(chosen)
            value = (
                value - mean
                if scheme == "difference"
                else value / np.maximum(mean, SMALLEST)
            )
        best = int(np.argmax(np.where(free, value, -np.inf)))
        chosen.append(best)
        free[best] = False
    return varying[chosen]


class _Correlation:
    """Relevance by the F-statistic, redundancy by the absolute correlation."""

    def __init__(self, x: np.ndarray, labels: np.ndarray):
        deviation = x - x.mean(
            0, dtype=np.float64
        )  # in double precision: an offset may be large against the spread
        norm, counts = np.linalg.norm(deviation, axis=0), np.bincount(labels)
        means = np.eye(len(counts))[labels].T @ deviation / counts[:, None]
        between = counts @ means**2
        within = np.maximum(norm**2 - between, 0)
        with np.errstate(
            divide="ignore", invalid="ignore"
        ):  # a feature that is the label has an infinite F: it comes first
            f = (between / (len(counts) - 1)) / (within / (len(x) - len(counts)))
        self.relevance = np.nan_to_num(f, posinf=np.inf)
        self.unit = np.divide(
            deviation, norm, out=np.zeros_like(deviation), where=norm > 0
        ).astype(np.float32)

    def redundancy(self, feature: int) -> np.ndarray:
        return np.abs(self.unit[:, feature] @ self.unit)


class _Discrete:
    """Both by the mutual information of three-state features.

    The indicators of a state s in {-1, 0, 1} are linear in (1, s, s²), so every joint
    count is a linear function of the moments Σ sᵃ tᵇ: two matrix products give the
    tables of one feature with all. Sums of ±1 are exact in float32 up to 2²⁴ samples.
    """

    # rows: the indicators of -1, 0 and 1 as combinations of 1, s, s²
    INDICATORS = np.array([[0.0, -0.5, 0.5], [1.0, 0.0, -1.0], [0.0, 0.5, 0.5]])

    def __init__(self, x: np.ndarray, labels: np.ndarray):
        mean, half = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64) / 2
        self.state = (x > mean + half).astype(np.float32) - (x < mean - half).astype(
            np.float32
        )
        self.square = np.abs(self.state)
        self.relevance = self._information(
            np.eye(labels.max() + 1, dtype=np.float32)[labels]
        )

    def redundancy(self, feature: int) -> np.ndarray:
        s = self.state[:, feature]
        moments = np.stack((np.ones_like(s), s, s * s))
        return self._information((self.INDICATORS @ moments).T.astype(np.float32))

    def _information(self, indicators: np.ndarray) -> np.ndarray:
        """MI (nats) of every feature with a variable given by its indicators (n,
        states).
        """
        n = len(indicators)
        total = np.broadcast_to(
            indicators.sum(0)[:, None], (indicators.shape[1], self.state.shape[1])
        )
        moments = np.stack(
            (total, indicators.T @ self.state, indicators.T @ self.square)
        ).astype(np.float64)
        joint = np.einsum("sm,mcp->csp", self.INDICATORS, moments) / n
        product = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        positive = joint > 0
        ratio = np.divide(joint, product, out=np.ones_like(joint), where=positive)
        return (joint * np.log(ratio)).sum((0, 1))
