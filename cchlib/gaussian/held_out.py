"""What held-out predictions say about distillation, for any student. Public names are
in `cchlib.gaussian`.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cchlib import check
from cchlib.names import match_rows

Array = NDArray[np.float64]


def mixing_weight(lam: ArrayLike) -> Array:
    """The teacher's share t = λ / (1 + λ), for λ in [0, ∞]; 1 for λ = ∞."""
    lam = check.as_array("lam", lam)
    if lam.dtype.kind not in "biuf":
        raise ValueError(f"`lam` must be a number ≥ 0, got dtype {lam.dtype}")
    lam = lam.astype(np.float64)
    if not (lam >= 0).all():
        raise ValueError(f"`lam` must be ≥ 0, got {lam}")
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(lam), 1.0, lam / (1.0 + lam))


def additive_lambda(weight: ArrayLike) -> Array | float:
    """λ = t / (1 − t), Eq. 4's λ for weights t in [0, 1] of the teacher in Eq. 2, an
    array of their shape (a float for a number); inf for 1. Undoes `mixing_weight`.
    """
    share = np.asarray(check.within("weight", weight, 0.0, 1.0), np.float64)
    with np.errstate(divide="ignore"):
        lam = share / (1 - share)
    return lam if lam.ndim else float(lam)


def predicted_gain(
    y: ArrayLike, student: ArrayLike, imitator: ArrayLike, lam: ArrayLike
) -> tuple[Array | float, Array | float]:
    """What distilling at λ gains on held-out data, from two fits that did not use λ.

    ``mean[(y − S)² − (y − M)²]`` with ``M = (S + λG)/(1 + λ)``: S is a student fitted
    to the labels alone, G the *imitator*, a student fitted to the teacher's outputs
    alone. Least squares is linear in its labels, so the student of Eq. 4 is exactly
    ŵ_λ = (ŵ_y + λŵ_T)/(1 + λ) for the same rows and features (both regimes, the
    minimum-norm solution for κ < 1) and M is what it predicts. For networks M is an
    ensemble that stands for the distilled network: a heuristic.

    Parameters
    ----------
    y : array_like (n,) or (n, K)
        Held-out labels; (n, K) one-hot, or several targets.
    student, imitator : array_like of y's shape
        Predictions for the same rows; squares are summed over K.
    lam : float or array_like
        λ ≥ 0; inf is the imitator alone.

    Returns
    -------
    gain, std_error : float, or arrays of lam's shape
        In squared units of y; positive where distillation helps. The standard error is
        over the held-out rows for these two fits: it does not hold the variation of
        another training sample.

    Raises
    ------
    ValueError
        On NaN or infinite predictions, unequal shapes, fewer than two rows, λ < 0.
    """
    y, student, imitator = _predictions(y=y, student=student, imitator=imitator)
    weight = mixing_weight(lam)
    # (y − S)² − (y − S − th)² = t(2(y − S)h − th²) with h = G − S: exactly 0 at λ = 0.
    step = imitator - student
    towards, length = ((y - student) * step).sum(1), (step**2).sum(1)
    gains = weight[..., None] * (2 * towards - weight[..., None] * length)
    return _mean_and_error(gains)


def best_mixing_weight(
    y: ArrayLike, student: ArrayLike, imitator: ArrayLike
) -> tuple[float, float]:
    """The t = λ/(1 + λ) with the least held-out error: the coefficient of y − S
    regressed on G − S.

    Where it is in (0, 1) the best λ is t/(1 − t); at or below 0 no λ > 0 helps; at or
    above 1 the imitator alone is best (λ = ∞). Distillation helps, on these rows,
    exactly for shares in (0, 2t).

    Parameters
    ----------
    y, student, imitator
        As for `predicted_gain`.

    Returns
    -------
    weight, std_error : float
        Not clipped to [0, 1]; heteroscedasticity-robust standard error over the
        held-out rows.

    Raises
    ------
    ValueError
        As for `predicted_gain`, and where student and imitator predict the same on
        every row.
    """
    y, student, imitator = _predictions(y=y, student=student, imitator=imitator)
    step = imitator - student
    length = (step**2).sum()
    if length == 0:
        raise ValueError(
            "`imitator` must differ from `student`, got the same predictions on every "
            "row"
        )
    weight = ((y - student) * step).sum() / length
    scores = ((y - student - weight * step) * step).sum(1)
    return float(weight), float(np.sqrt((scores**2).sum()) / length)


def residual_correlation(
    y: ArrayLike, student: ArrayLike, teacher: ArrayLike
) -> tuple[float, float]:
    """Estimate of E[(y − S)(y − T)], which is positive exactly when Eq. 17 holds, for S
    = w*ᵀx2.

    E[(y − S)(y − T)] = E[e(y − T)] = σ² − c, as E[ey] = σ². For a fitted S the rows
    must be held out from the training of both networks. Over test rows alone the
    interval is too short: to cover the population's value it has to be taken over
    refits (other training samples).

    Parameters
    ----------
    y, student, teacher
        As for `predicted_gain`; `teacher` is the teacher's output, not the imitator's.

    Returns
    -------
    value, std_error : float
        In squared units of y (a moment, not scaled to [−1, 1]), and the standard error
        over the rows.

    Raises
    ------
    ValueError
        As for `predicted_gain`.
    """
    y, student, teacher = _predictions(y=y, student=student, teacher=teacher)
    rows = ((y - student) * (y - teacher)).sum(1)
    return cast(tuple[float, float], _mean_and_error(rows))


def _predictions(**arrays: ArrayLike) -> list[Array]:
    arrays = match_rows(**arrays)
    shapes = {name: check.finite(name, array).shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            "`y`, `student` and the rest must have equal shapes, (n,) or (n, K), got "
            f"{said}"
        )
    checked = [check.features(name, array) for name, array in arrays.items()]
    if len(checked[0]) < 2:
        raise ValueError("`y` must have at least two held-out rows, got a single one")
    return checked


def _mean_and_error(rows: Array) -> tuple[Array | float, Array | float]:
    """Mean over the last axis, and its standard error."""
    return rows.mean(-1)[()], (rows.std(-1, ddof=1) / np.sqrt(rows.shape[-1]))[()]
