"""Several teachers at once: which mixture of their imitators and the student is best.
Public names are in `cchlib.gaussian`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import nnls

from cchlib import check
from cchlib.gaussian.model import JointGaussian

Array = NDArray[np.float64]


def mixture_moments(model: JointGaussian, w1: ArrayLike, n: int) -> Array:
    """E⟨a_j, a_k⟩ of the errors of the student and of each teacher's imitator.

    The student of Eq. 4 with a term λ_k Σ(wᵀx2 − T_k)² a teacher is a mixture of them
    with the weights (1, λ_1, …, λ_K)/(1 + Σλ), and its expected excess risk is the
    quadratic form of these moments in the weights: exact for n > p2 + 1.

    Parameters
    ----------
    w1 : array_like (K, p1)
        Teachers.
    n : int > p2 + 1
        Training rows, the same for all.

    Returns
    -------
    ndarray (K + 1, K + 1)
        Row and column 0 are the student's.

    Raises
    ------
    ValueError
        On teachers of another shape, or n ≤ p2 + 1.
    """
    w1 = model._teachers(w1)
    if w1.ndim != 2:
        raise ValueError(f"`w1` must have shape (K, {model.p1}), got {w1.shape}")
    n = check.integer("n", n, model.p2 + 2)
    spread = model.p2 / (n - model.p2 - 1)
    imitators = model._imitator(w1)  # (K, p2)
    biases = np.vstack([np.zeros(model.p2), imitators - model._student])
    # what x2 leaves of the label and of the teachers
    residuals = np.empty((len(w1) + 1, len(w1) + 1))
    residuals[0, 0] = model.noise_variance
    residuals[0, 1:] = residuals[1:, 0] = model.teacher_moments(w1).with_residual
    residuals[1:, 1:] = w1 @ model.S11 @ w1.T - imitators @ imitators.T
    return biases @ biases.T + spread * residuals


def best_mixture(moments: ArrayLike) -> Array:
    """The weights t ≥ 0 with Σt = 1 and the least tᵀ·moments·t.

    Parameters
    ----------
    moments : array_like (K + 1, K + 1)
        Second moments E[r_j r_k] of errors: those of `mixture_moments`, or of held-out
        residuals y − prediction of the student (first) and of the imitators. As Σt = 1
        the noise that all residuals share changes nothing.

    Returns
    -------
    ndarray (K + 1,)
        The share of each; λ_k = t_k/t_0. Where several are best, one of them.

    Raises
    ------
    ValueError
        On moments that are not symmetric and positive semi-definite.
    """
    moments = check.finite("moments", moments)
    if moments.ndim != 2 or moments.shape[0] != moments.shape[1] or not moments.size:
        raise ValueError(
            f"`moments` must be a square matrix, got shape {moments.shape}"
        )
    scale = np.abs(moments).max()
    if scale == 0:
        return np.eye(len(moments))[0]
    if np.abs(moments - moments.T).max() > 1e-10 * scale:
        raise ValueError("`moments` must be symmetric")
    values, vectors = np.linalg.eigh((moments + moments.T) / (2 * scale))
    if values[0] < -1e-10 * len(values):
        raise ValueError(
            "`moments` must be positive semi-definite, got the eigenvalue "
            f"{values[0] * scale:.3g}"
        )
    # Least squares with weights ≥ 0 of ‖root t‖² + (Σt − 1)². Along a ray the first is
    # a multiple of (Σt)², so the best direction is that of the best t with Σt = 1.
    root = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    stacked = np.vstack([root, np.ones(len(moments))])
    weights, _ = nnls(stacked, np.r_[np.zeros(len(moments)), 1.0])
    return weights / weights.sum()
