"""Closed forms: exact for jointly Gaussian variables, a fast screen elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import digamma, logsumexp
from scipy.stats import beta
from sklearn.covariance import ledoit_wolf_shrinkage

from cchlib import check
from cchlib.mi._common import (
    enough,
    entropy,
    is_discrete,
    nearest_ceiling,
    standard,
    subsampling_error,
    with_prior,
)
from cchlib.mi.ksg import pointwise

#: Standard deviation within classes, in units of that of all.
LEAST = 1e-5
#: All columns of x and y are used up to so many a sample, ...
ALL_COLUMNS = 1 / 2
#: ... beyond that the leading principal components with this share of the variance, ...
VARIANCE = 0.95
#: ... of which so many a sample are the most: at two thirds the standard deviation of
#: the estimate is .4 nats at 32 + 32 columns, and grows without bound towards 1.
MOST_COLUMNS = 2 / 3
#: 1 - ρ² below this is rounding: one variable determines the other.
ROUNDING = 1e-12
#: A sample of more than this leverage, of 1 at most, is all that its direction has.
CARRIED = 0.9
#: Nats by which the leading pairs of canonical variates may share less than Gaussian
#: ones, beside the noise of finding out, ...
EXCESS = 0.05
#: ... so many pairs each by itself, and the first so many together, on so many samples
#: at most and at least: of Gaussian samples 1 to 2 % are doubted from 50 on, but of
#: heavy tails too many at 150.
PAIRS_TESTED = 10
TESTED_TOGETHER = (2, 4)
MOST_TESTED = 2000
FEWEST_TESTED = 200
#: Permutations of y that measure the bias under an explicit shrinkage.
PERMUTATIONS = 20


def gaussian(
    x: np.ndarray,
    y: np.ndarray,
    *,
    seed: int = 0,
    shrinkage: str | float = "auto",
    folds: int = 5,
    repeats: int = 20,
) -> tuple[float, float]:
    """I(x; y) in nats of the Gaussian with the data's covariance, and its standard
    error.

    Continuous y: ``-½ Σ log(1 - ρ²)`` over the canonical correlations ρ, less the exact
    finite-sample bias of the Gaussian case (sample log-determinants, e.g. Cai et al.,
    2015). To the first order that bias, p q / 2n, is the same for all independent
    variables, so that nothing is found where there is nothing; but only while no sample
    weighs much more than others. Samples that lie further out than Gaussian ones would
    are therefore drawn in, in each variable for itself (`_drawn_in`).

    Many columns: with more than one column for two samples, x and y are represented by
    their leading principal components, which hold 95 % of the variance of the
    standardised columns. What the others share is then missing. Where even these are
    more than two for three samples, no estimate holds, and there is an error.

    Discrete y: Gaussian classes of a common covariance (linear discriminant analysis).
    The mutual information of that mixture has no closed form, so the posterior is
    closed-form and the average of ``log p(y|x) / p(y)`` is taken over held-out samples
    (`folds`): H(Y) minus the cross-entropy, a lower bound whatever the data, tight
    where the classes are Gaussian. The posterior is mixed with 1/n of the prior, which
    leaves it a bound and keeps a single sample, where x all but tells the class, from
    deciding the average.

    Parameters
    ----------
    shrinkage : "auto" or float in [0, 1]
        Of the correlation matrix towards the identity. Continuous y: "auto" is what
        stands above; 0 is all columns, whatever their number; above 0 the bias is
        measured on permutations of y. Discrete y: "auto" is 0 from five samples a
        column on, and below that Ledoit and Wolf's (2004).
    repeats : int
        Partitions into halves for the standard error; 0 for none (nan).

    Raises
    ------
    ValueError
        Fewer than 3 samples, a class of fewer samples than folds, more columns than an
        estimate can hold.
    """
    if shrinkage != "auto":
        if isinstance(shrinkage, str):
            raise ValueError(
                f'`shrinkage` must be "auto" or in [0, 1], got {shrinkage!r}'
            )
        check.within("shrinkage", shrinkage, 0.0, 1.0)
    check.integer("folds", folds, 2)
    check.integer("repeats", repeats)
    enough(len(x), fewest({}), "a covariance")
    if is_discrete(y):
        return _of_classes(x, y, shrinkage, folds, repeats, seed)
    return _of_columns(x, y, shrinkage, repeats, seed)


def fewest(options: Mapping[str, Any]) -> int:
    """A correlation takes three samples."""
    return 3


# ---------------------------------------------------------------- continuous y


def _of_columns(
    x: np.ndarray, y: np.ndarray, shrinkage: str | float, repeats: int, seed: int
) -> tuple[float, float]:
    n = len(x)
    if shrinkage == "auto":
        # chosen once for the whole sample, so that the halves of the standard error
        # are estimated alike
        x, y = _few_columns(x, y)

    def estimate(rows: np.ndarray) -> float:
        if shrinkage == "auto":
            return _debiased(x[rows], y[rows], draw_in=True)
        if shrinkage == 0.0:
            return _debiased(x[rows], y[rows], draw_in=False)
        return _shrunk(x[rows], y[rows], float(shrinkage), seed)

    value = estimate(np.arange(n))
    columns = x.shape[1] + y.shape[1]
    too_wide = False
    if shrinkage == "auto":
        too_wide = columns >= MOST_COLUMNS * (n // 2)
    elif shrinkage == 0.0:
        too_wide = columns >= n // 2
    if not repeats or too_wide or not np.isfinite(value):
        return value, float("nan")
    return value, subsampling_error(estimate, n, 2, repeats, seed)


def null_error(x: np.ndarray, y: np.ndarray) -> float:
    """Standard deviation of the estimate of x and y, both continuous, where they are
    independent; of dependent ones it is larger.

    For Gaussian columns, p and q of them after `_few_columns`, it is
    ``√(½ log (m - p)(m - q) / (m (m - p - q)))`` with m = n - 1, in the limit of many
    (the variance of log-determinants; Cai et al., 2015): half-samples tell less where
    they are given fewer columns. nan where p + q is not below m.
    """
    x, y = _few_columns(x, y)
    p, q, m = x.shape[1], y.shape[1], len(x) - 1
    if p + q >= m:
        return float("nan")
    return float(np.sqrt(0.5 * np.log((m - p) * (m - q) / (m * (m - p - q)))))


def doubt(x: np.ndarray, y: np.ndarray, options: Mapping[str, Any]) -> str:
    """What speaks against Gaussian variables, in a sentence; empty where nothing does,
    and for classes, of which the estimate is a bound whatever the law. Who asks for a
    shrinkage of their own has judged for themselves.

    The leading pairs of canonical variates are independent Gaussian pairs of their
    correlations where x and y are Gaussian, and nearest neighbours find as much in them
    as in such pairs. They find less where the variates are mixtures, as of classes that
    x and y share, or where a few samples make the correlation. A test of normality
    itself (Mardia's) would refuse heavy tails, too, which do not make the estimate too
    large.
    """
    if is_discrete(y) or len(x) < FEWEST_TESTED or options["shrinkage"] != "auto":
        return ""
    n = len(x)
    u, v = (_drawn_in(_basis(z)[0]) for z in _few_columns(x, y))
    a, rho, b = np.linalg.svd(u.T @ v, full_matrices=False)
    rows = np.linspace(0, n - 1, min(n, MOST_TESTED)).astype(int)
    u, v = standard((u @ a)[rows]), standard((v @ b.T)[rows])
    rho = np.minimum(rho, np.sqrt(1 - ROUNDING))

    noise = 1.4 / np.sqrt(len(rows))  # two standard errors of one pair
    missing = [0.0]
    pairs = min(len(rho), PAIRS_TESTED)
    each = []
    tellable = 0.75 * nearest_ceiling(len(rows), 3)  # beyond it neighbours saturate
    for i in range(pairs):
        gaussian_pair = -0.5 * np.log1p(-(rho[i] ** 2))
        if gaussian_pair < tellable:
            found = pointwise([u[:, [i]], v[:, [i]]], 3).mean()
            each.append(gaussian_pair - found)
    if each:
        missing += [max(each), sum(each) - EXCESS - noise * (np.sqrt(pairs) - 1)]
    for together in TESTED_TOGETHER:
        if together <= len(rho):
            found = pointwise([u[:, :together], v[:, :together]], 3).mean()
            missing.append(_of_gaussian_pairs(rho[:together], len(rows)) - found)
    if max(missing) <= EXCESS + noise:
        return ""
    return (
        "The leading canonical variates are not Gaussian, as where x and y share a "
        f"class: nearest neighbours find {max(missing):.2f} nats less in them than "
        "their correlations say, so that the estimate is too large."
    )


def _of_gaussian_pairs(rho: np.ndarray, n: int) -> float:
    """What nearest neighbours say of n samples of independent Gaussian pairs, which in
    several dimensions is not their information; the mean of two draws.

    Canonical variates have these very correlations in the sample and no others, and so
    have the draws: by chance alone the others would add len(rho)²/2n nats.
    """
    rng = np.random.default_rng(0)
    found = []
    for _ in range(2):
        drawn = rng.standard_normal((n, 2 * len(rho)))
        exact = np.sqrt(n) * np.linalg.qr(drawn - drawn.mean(0))[0]
        x, noise = np.hsplit(exact, 2)
        found.append(pointwise([x, rho * x + np.sqrt(1 - rho**2) * noise], 3).mean())
    return float(np.mean(found))


def _few_columns(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns (n, r) and (n, s) that stand for x and y; refuses where they are too
    many.
    """
    n = len(x)
    basis_x, scale_x = _basis(x)
    basis_y, scale_y = _basis(y)
    scores_x = basis_x * scale_x
    scores_y = basis_y * scale_y
    if scores_x.shape[1] + scores_y.shape[1] <= ALL_COLUMNS * n:
        return scores_x, scores_y

    # what x, or y, alone says decides its columns: independent stays independent
    r = _leading(scale_x)
    s = _leading(scale_y)
    if r + s > MOST_COLUMNS * n:
        raise ValueError(
            f"x and y have {x.shape[1]} + {y.shape[1]} columns, {VARIANCE:.0%} of "
            "whose "
            f"variance lies in {r} + {s} directions: too many for {n} samples; at "
            "least "
            f"{int(np.ceil((r + s) / MOST_COLUMNS))} samples, or no more than "
            f"{int(MOST_COLUMNS * n)} columns in all, are needed (with a shrinkage > 0 "
            "there is a value whatever their number)"
        )
    return scores_x[:, :r], scores_y[:, :s]


def _leading(scale: np.ndarray) -> int:
    """How many of the components with these standard deviations hold `VARIANCE`."""
    variances = scale**2
    share = np.cumsum(variances) / np.sum(variances)
    return int(np.searchsorted(share, VARIANCE)) + 1


def _basis(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Orthonormal basis (n, r) of the standardised columns, and their singular values
    (r,).
    """
    u, s, _ = np.linalg.svd(standard(x), full_matrices=False)
    kept = s > 1e-10 * s[0]
    return u[:, kept], s[kept]


def _debiased(x: np.ndarray, y: np.ndarray, draw_in: bool) -> float:
    n = len(x)
    u, _ = _basis(x)
    v, _ = _basis(y)
    p, q = u.shape[1], v.shape[1]
    if p + q >= n:
        raise ValueError(
            f"x and y have {p} + {q} columns and only {n} samples, which needs a "
            "shrinkage > 0"
        )
    if draw_in:
        u = _drawn_in(u)
        v = _drawn_in(v)
        p, q = u.shape[1], v.shape[1]
    bias = _log_det_bias(p, n) + _log_det_bias(q, n) - _log_det_bias(p + q, n)
    return _information(u.T @ v) - bias / 2


def _shrunk(x: np.ndarray, y: np.ndarray, shrinkage: float, seed: int) -> float:
    """With the correlation matrix ``(1 - shrinkage) R + shrinkage I``, in the bases of
    x and of y, which are no more than n; less the mean over permutations of y.
    """

    def weighted(z: np.ndarray) -> np.ndarray:
        basis, s = _basis(z)
        own = (1 - shrinkage) * s**2 / len(z)
        share = own / (own + shrinkage)
        return basis * np.sqrt(share)

    u = weighted(x)
    v = weighted(y)
    rng = np.random.default_rng(seed)
    nothing = []
    for _ in range(PERMUTATIONS):
        permuted = v[rng.permutation(len(v))]
        nothing.append(_information(u.T @ permuted))
    return _information(u.T @ v) - float(np.mean(nothing))


def _information(cross: np.ndarray) -> float:
    """``-½ Σ log(1 - ρ²)`` over the singular values ρ; inf where one is 1."""
    rho = np.linalg.svd(cross, compute_uv=False)
    if not len(rho):
        return 0.0
    left = 1 - np.minimum(rho, 1.0) ** 2
    if left.min() < ROUNDING:
        return float("inf")
    return float(-0.5 * np.log(left).sum())


def _log_det_bias(p: int, n: int) -> float:
    """E log det of a sample covariance (n samples, mean estimated) minus the log det of
    the truth.
    """
    degrees = n - np.arange(1, p + 1)
    expected = digamma(degrees / 2).sum()
    return float(expected - p * np.log((n - 1) / 2))


def _drawn_in(u: np.ndarray, rounds: int = 20) -> np.ndarray:
    """A basis (n, r) whose samples lie no further out than the furthest of n Gaussian
    ones.

    The squared length of a row (its leverage) is, for Gaussian samples, Beta(r/2,
    (n-1-r)/2). Rows beyond the 1 - 0.01/n quantile are scaled down to it, which leaves
    Gaussian samples as they are; what is left is made orthonormal, and again. Lengths
    are the same in every basis of the columns, so the estimate stays invariant to
    invertible linear maps.
    """
    n, r = u.shape
    while 0 < r < n - 2:
        furthest = beta.ppf(1 - 0.01 / n, r / 2, (n - 1 - r) / 2)
        for _ in range(rounds):
            length = (u**2).sum(1)
            if length.max() <= 1.01 * furthest:
                return u
            scale = np.sqrt(furthest / np.maximum(length, furthest))
            u = u * scale[:, None]
            u = np.linalg.qr(u - u.mean(0))[0]

        # a direction that few samples carry, a pixel that is lit in one image, comes
        # back with every basis: it tells of them, and of no covariance
        carriers = np.flatnonzero((u**2).sum(1) > CARRIED)
        if not len(carriers):
            return u
        _, s, carried = np.linalg.svd(u[carriers])
        u = u @ carried[np.count_nonzero(s > 0.1) :].T
        r = u.shape[1]
    return u


# ---------------------------------------------------------------- discrete y


def _of_classes(
    x: np.ndarray,
    codes: np.ndarray,
    shrinkage: str | float,
    folds: int,
    repeats: int,
    seed: int,
) -> tuple[float, float]:
    n, smallest = len(x), np.bincount(codes).min()
    if smallest < folds:
        raise ValueError(
            f"y has a class of {smallest} samples, too few for {folds} folds; expected "
            f"at least {folds} in each class (a float array is read as continuous)"
        )
    x = standard(x)
    if shrinkage == "auto":
        shrinkage = _ledoit_wolf(x, codes)

    def estimate(rows: np.ndarray) -> float:
        return _discriminant(x[rows], codes[rows], float(shrinkage), folds)

    # stratified folds: position within the class, in an order of the seed's
    order = np.random.default_rng(seed).permutation(n)
    x, codes = x[order], codes[order]
    value = estimate(np.arange(n))
    half_too_wide = shrinkage == 0.0 and _too_wide(x, codes, n // 2, folds)
    if not repeats or not np.isfinite(value) or half_too_wide:
        return value, float("nan")
    return value, subsampling_error(estimate, n, 2, repeats, seed, codes)


def _ledoit_wolf(x: np.ndarray, codes: np.ndarray) -> float:
    n, p = x.shape
    if n >= 5 * p:
        return 0.0
    means = np.stack([x[codes == c].mean(0) for c in range(codes.max() + 1)])
    within = x - means[codes]
    varies = within.std(0) > LEAST  # x has unit columns
    if not varies.any():  # x tells the class
        return 1.0
    return float(ledoit_wolf_shrinkage(standard(within[:, varies])))


def _too_wide(x: np.ndarray, codes: np.ndarray, n: int, folds: int) -> bool:
    """Whether the columns leave the covariance within classes singular in the largest
    fold's complement of n samples.
    """
    largest_fold = int(np.ceil(n / folds))
    classes = codes.max() + 1
    return x.shape[1] > n - largest_fold - classes


def _discriminant(
    x: np.ndarray, codes: np.ndarray, shrinkage: float, folds: int
) -> float:
    n, classes = len(x), codes.max() + 1
    if shrinkage == 0.0 and _too_wide(x, codes, n, folds):
        raise ValueError(
            f"x has {x.shape[1]} columns and only {n} samples, which needs a "
            "shrinkage > 0"
        )
    fold = np.empty(n, int)
    for c in range(classes):
        rows = np.flatnonzero(codes == c)
        fold[rows] = np.arange(len(rows)) % folds

    log_prior = np.log(np.bincount(codes) / n)
    log_posterior = np.empty(n)
    for f in range(folds):
        train, test = fold != f, fold == f
        scores = _class_scores(x[train], codes[train], x[test], shrinkage)
        if np.isnan(scores).any():
            return float("nan")
        logits = log_prior + scores
        own = codes[test]
        of_own = logits[np.arange(len(own)), own]
        log_posterior[test] = of_own - logsumexp(logits, 1)
    log_posterior = with_prior(log_posterior, log_prior[codes], n)
    return entropy(codes) + float(log_posterior.mean())


def _class_scores(
    x: np.ndarray, codes: np.ndarray, x_out: np.ndarray, shrinkage: float
) -> np.ndarray:
    """Log densities (m, K) of `x_out` (m, p) in Gaussian classes with the means and the
    common covariance of (x, codes), less what all classes have in common.

    That is linear in `x_out`, so that K systems of p equations do for any m. nan where
    nothing is left to vary within classes, or a class has no sample.
    """
    classes = codes.max() + 1
    if len(x) <= classes or np.bincount(codes, minlength=classes).min() == 0:
        return np.full((len(x_out), classes), np.nan)
    varies = check.varies(x)
    if not varies.any():
        return np.zeros((len(x_out), classes))
    x = x[:, varies]
    spread = x.std(0)
    x = x / spread
    x_out = x_out[:, varies] / spread
    means = np.stack([x[codes == c].mean(0) for c in range(classes)])
    residual = x - means[codes]
    # where x tells the class exactly nothing is left within classes: a little, so that
    # it counts as nearly that
    scale = np.maximum(residual.std(0), LEAST)
    residual = residual / scale
    ridge = shrinkage + LEAST**2
    centre = means.mean(0)
    offset = (means - centre) / scale  # (K, p)

    # with more columns than samples: all that the residuals say lies in their span,
    # and outside of it the covariance is the ridge
    if residual.shape[1] > len(residual):
        span = np.linalg.qr(residual.T)[0]  # (p, samples)
        inside = offset @ span
        outside = offset - inside @ span.T
        solved = _whitened(residual @ span, classes, shrinkage, ridge, inside)
        weights = solved @ span.T + outside / ridge
    else:
        weights = _whitened(residual, classes, shrinkage, ridge, offset)
    return (x_out - centre) / scale @ weights.T - 0.5 * (offset * weights).sum(1)


def _whitened(
    residual: np.ndarray,
    classes: int,
    shrinkage: float,
    ridge: float,
    offset: np.ndarray,
) -> np.ndarray:
    """Rows of `offset` (K, p) times the inverse of the regularised covariance."""
    share = (1 - shrinkage) / (len(residual) - classes)
    covariance = share * (residual.T @ residual)
    covariance[np.diag_indices_from(covariance)] += ridge
    return cho_solve(cho_factor(covariance), offset.T).T
