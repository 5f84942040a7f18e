"""Closed forms: exact for jointly Gaussian variables, a fast screen elsewhere."""

from __future__ import annotations

import numpy as np
from scipy.special import digamma, logsumexp
from sklearn.covariance import ledoit_wolf_shrinkage

from cchlib import check
from cchlib.mi._common import entropy, is_discrete, subsampling_error

LEAST = 1e-5  # standard deviation within classes, in units of that of all


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

    Continuous y: ``-½ Σ log(1 - ρ²)`` over the canonical correlations ρ. Without
    shrinkage the exact finite-sample bias of the Gaussian case (sample
    log-determinants, e.g. Cai et al., 2015) is subtracted.

    Discrete y: Gaussian classes of a common covariance (linear discriminant analysis).
    The mutual information of that mixture has no closed form, so the posterior is
    closed-form and the average of
    ``log p(y|x) / p(y)`` is taken over held-out samples (`folds`): H(Y) minus the cross-entropy, a
    lower bound whatever the data, tight where the classes are Gaussian. The posterior
    is mixed with 1/n of the prior, which leaves it a bound and keeps a single sample,
    where x all but tells the class, from deciding the average.

    Parameters
    ----------
    shrinkage : "auto" or float in [0, 1]
        Of the correlation matrix towards the identity. "auto" is 0 from five samples a
        column on, and below that Ledoit and Wolf's (2004).
    repeats : int
        Partitions into halves for the standard error; 0 for none (nan).
    """
    if shrinkage != "auto":
        if isinstance(shrinkage, str):
            raise ValueError(
                f'shrinkage is {shrinkage!r}; "auto" or a number in [0, 1] is wanted'
            )
        check.within("shrinkage", shrinkage, 0.0, 1.0)
    check.integer("folds", folds, 2)
    check.integer("repeats", repeats)
    codes = y if is_discrete(y) else None
    if codes is not None and np.bincount(codes).min() < folds:
        raise ValueError(
            f"y has a class of {np.bincount(codes).min()} samples, too few for {folds} folds; at least "
            f"{folds} in each class are wanted"
        )
    if len(x) < 3:
        raise ValueError(f"x has {len(x)} samples; at least 3 are wanted")
    # chosen once for the whole sample, so that the halves of the standard error are
    # estimated alike
    if shrinkage == "auto":
        shrinkage = _shrinkage(
            np.hstack([x, y]) if codes is None else _centred(x, codes)
        )

    def estimate(rows: np.ndarray) -> float:
        if codes is None:
            return _canonical(x[rows], y[rows], shrinkage)
        return _discriminant(x[rows], y[rows], shrinkage, folds)

    if (
        codes is not None
    ):  # stratified folds: position within the class, in an order of the seed's
        order = np.random.default_rng(seed).permutation(len(x))
        x, y = x[order], y[order]
    value = estimate(np.arange(len(x)))
    half = len(x) // 2
    too_wide = (
        x.shape[1] + y.shape[1] >= half
        if codes is None
        else _too_wide(x, y, half, folds)
    )
    if not repeats or not np.isfinite(value) or shrinkage == 0.0 and too_wide:
        return value, float("nan")
    return value, subsampling_error(
        estimate, len(x), 2, repeats, seed, y if codes is not None else None
    )


def _shrinkage(data: np.ndarray) -> float:
    n, p = data.shape
    return 0.0 if n >= 5 * p else float(ledoit_wolf_shrinkage(_standard(data)))


def _standard(data: np.ndarray) -> np.ndarray:
    data = data - data.mean(0)
    scale = data.std(0)
    return data / np.where(scale > 0, scale, 1.0)


def _centred(x: np.ndarray, codes: np.ndarray) -> np.ndarray:
    means = np.stack([x[codes == c].mean(0) for c in range(codes.max() + 1)])
    return x - means[codes]


def _canonical(x: np.ndarray, y: np.ndarray, shrinkage: float) -> float:
    n = len(x)
    if shrinkage == 0.0:
        # orthonormal bases of the column spaces: cosines of their angles are the
        # canonical correlations
        bases = [_basis(v) for v in (x, y)]
        rho = np.linalg.svd(bases[0].T @ bases[1], compute_uv=False)
        p, q = bases[0].shape[1], bases[1].shape[1]
        bias = (
            _log_det_bias(p, n) + _log_det_bias(q, n) - _log_det_bias(p + q, n)
            if p + q < n
            else np.nan
        )
        if not np.isfinite(bias):
            raise ValueError(
                f"x and y have {p} + {q} columns and only {n} samples; a shrinkage > 0 is wanted"
            )
        bias /= 2
    else:
        joint = np.hstack([_standard(x), _standard(y)])
        p = x.shape[1]
        s = (1 - shrinkage) * joint.T @ joint / n + shrinkage * np.eye(joint.shape[1])
        lx, ly = np.linalg.cholesky(s[:p, :p]), np.linalg.cholesky(s[p:, p:])
        rho = np.linalg.svd(
            np.linalg.solve(ly, np.linalg.solve(lx, s[:p, p:]).T), compute_uv=False
        )
        bias = 0.0
    with np.errstate(divide="ignore"):
        return float(
            -0.5 * np.log(np.maximum(1 - rho**2, 0)).sum() - bias
        )  # inf where one determines the other


def _basis(x: np.ndarray) -> np.ndarray:
    u, s, _ = np.linalg.svd(_standard(x), full_matrices=False)
    return u[:, s > 1e-10 * s[0]]


def _log_det_bias(p: int, n: int) -> float:
    """E log det of a sample covariance (n samples, mean estimated) minus the log det of
    the truth.
    """
    return float(digamma((n - np.arange(1, p + 1)) / 2).sum() - p * np.log((n - 1) / 2))


def _too_wide(x: np.ndarray, codes: np.ndarray, n: int, folds: int) -> bool:
    """Whether the columns leave the covariance within classes singular in the largest
    fold's complement of n samples.
    """
    return x.shape[1] > n - -(-n // folds) - (codes.max() + 1)


def _discriminant(
    x: np.ndarray, codes: np.ndarray, shrinkage: float, folds: int
) -> float:
    n, classes = len(x), codes.max() + 1
    if shrinkage == 0.0 and _too_wide(x, codes, n, folds):
        raise ValueError(
            f"x has {x.shape[1]} columns and only {n} samples; a shrinkage > 0 is wanted"
        )
    fold = np.empty(n, int)
    for c in range(classes):
        rows = np.flatnonzero(codes == c)
        fold[rows] = np.arange(len(rows)) % folds
    log_prior = np.log(np.bincount(codes) / n)
    log_posterior = np.empty(n)
    for f in range(folds):
        train, test = fold != f, fold == f
        spread = x[train].std(0)
        seen = x[:, spread > 0] / spread[spread > 0]
        means = np.stack([seen[train & (codes == c)].mean(0) for c in range(classes)])
        residual = seen[train] - means[codes[train]]
        # where x tells the class exactly nothing is left within classes: a little, so
        # that it counts as nearly that
        scale = np.maximum(residual.std(0), LEAST)
        residual = residual / scale
        s = (1 - shrinkage) * residual.T @ residual / (len(residual) - classes)
        white = np.linalg.inv(s + (shrinkage + LEAST**2) * np.eye(len(s)))
        offset = (seen[test][:, None] - means) / scale
        logits = log_prior - 0.5 * np.einsum(
            "ncp,pq,ncq->nc", offset, white, offset, optimize=True
        )
        own = codes[test]
        log_posterior[test] = logits[np.arange(len(own)), own] - logsumexp(logits, 1)
    log_posterior = np.logaddexp(
        log_posterior + np.log1p(-1 / n), log_prior[codes] - np.log(n)
    )
    return entropy(codes) + float(log_posterior.mean())
