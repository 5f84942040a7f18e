"""Scores of transfer learning that people use in place of a criterion."""

from __future__ import annotations

from typing import Any

import numpy as np

from cchdecide.outputs import target_of
from cchlib import check
from cchlib.ambient import own_state
from cchlib.names import match_rows

MOST_ROUNDS = 100


@own_state()
def logme(features: Any, labels: Any) -> float:
    """LogME (You et al., 2021): log evidence a subject of a Bayesian linear head.

    The evidence of y = Fw + noise with w ~ N(0, I/α) and noise of precision β, at the α
    and β that maximise it (MacKay's fixed point), averaged over the classes as one-hot
    targets, or over the columns of a regression target.

    Parameters
    ----------
    features : array (n, p)
    labels : array (n,)

    Returns
    -------
    float
        In nats a subject; larger is better. A unit that all features share does not
        matter, the proportions of their columns do.

    Raises
    ------
    ValueError
        On features or labels that don't vary, NaN or infinity, unequal lengths.

    References
    ----------
    K. You, Y. Liu, J. Wang, M. Long, "LogME: Practical Assessment of Pre-trained Models
    for Transfer Learning", ICML 2021, Algorithm 1.
    """
    rows = match_rows(features=features, labels=labels)
    features, labels = rows["features"], rows["labels"]
    x = check.features("features", features)
    target = target_of(labels)
    n, p = x.shape
    check.same_length(features=x, labels=target.y)
    if not check.varies(x).any():
        raise ValueError("`features` must vary, got constant columns only")
    # the largest evidence is the same for any unit, in which sums stay finite
    left, singular, _ = np.linalg.svd(x / abs(x).max(), full_matrices=False)
    singular = singular / singular[0]
    squares = singular**2
    scores = []
    for y in target.y.T:
        along = (left.T @ y) ** 2  # what each direction holds of y
        outside = max(float(y @ y - along.sum()), 0.0)
        alpha, beta = 1.0, 1.0
        for _ in range(MOST_ROUNDS):
            kept = beta * squares / (alpha + beta * squares)
            weight = (kept**2 * along / np.maximum(squares, 1e-300)).sum()
            error = outside + ((1 - kept) ** 2 * along).sum()
            gamma = kept.sum()
            new_alpha = gamma / max(weight, 1e-12)
            new_beta = (n - gamma) / max(error, 1e-12)
            settled = abs(np.log(new_alpha / alpha)) + abs(np.log(new_beta / beta))
            alpha, beta = new_alpha, new_beta
            if settled < 1e-8:
                break
        kept = beta * squares / (alpha + beta * squares)
        weight = (kept**2 * along / np.maximum(squares, 1e-300)).sum()
        error = outside + ((1 - kept) ** 2 * along).sum()
        log_det = np.log(alpha + beta * squares).sum() + (p - len(squares)) * np.log(
            alpha
        )
        evidence = n * np.log(beta) + p * np.log(alpha) - n * np.log(2 * np.pi)
        evidence -= beta * error + alpha * weight + log_det
        scores.append(evidence / 2 / n)
    return float(np.mean(scores))
