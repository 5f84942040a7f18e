"""Two t-tests that the Gaussian theory gives: does a little distilling help, and does
it help beyond shrinking?

Write S = w*ᵀx2 for the best linear student, e = y − S with variance σ², T for the
teacher's output and c = Cov(T, e).

`slope_test`. Some λ > 0 lowers the risk of least squares exactly where c < σ² (Eq. 17).
Given x2 and y, the mean of y − T is linear in (x2, y), and the coefficient of y is
1 − c/σ²: the sign of one regression coefficient decides, and its t-test is exact on the
very rows that the student is fitted to.

`shrinkage_test`. A teacher that always says 0 passes that test, as it shrinks the
student. Some λ > 0 beats the best shrunken student exactly where T and S agree beyond
the label, Cov(T, S | y) > 0: the sign of a partial correlation. With unlabelled pairs,
r rows in all for each labelled one, it does to first order exactly where
Cov(T, S)/Var S > (c/σ²)/r: the sign of a contrast of the two coefficients in the
regression of T on (S, e).

Proofs: the book's chapter on the criterion.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from cchlib import check, names
from cchlib.ambient import own_state

Array = NDArray[np.float64]

#: what is left of a regression counts as nothing below this share of what was there
NOTHING = 1e-10


@dataclass(frozen=True)
class HypothesisTest:
    """A one-sided t-test of "it does not help"; a small p-value says that it helps.

    Attributes
    ----------
    estimate : float
        Positive where it helps. `slope_test`: 1 − c/σ². `shrinkage_test`: the partial
        correlation of teacher and student given the label.
    std_error : float
    statistic : float
        estimate / std_error; ±inf where the error is 0.
    df : int
        Degrees of freedom of Student's t.
    p_value : float
        P(t ≥ statistic).
    """

    estimate: float
    std_error: float
    statistic: float
    df: int
    p_value: float


@own_state()
def slope_test(
    features: ArrayLike,
    target: ArrayLike,
    teacher: ArrayLike,
    *,
    intercept: bool = False,
) -> HypothesisTest:
    """H0: no small λ helps (c ≥ σ²). Exact, on the rows that the student is trained on.

    The regression of y − T on (x2, y) by least squares, and the one-sided t-test of the
    coefficient of y, 1 − c/σ², against 0.

    Parameters
    ----------
    features : array_like (n,) or (n, p)
        What the linear student sees; the frozen features of a network, for one.
    target : array_like (n,)
        A number to predict, y.
    teacher : array_like (n,)
        The outputs of a fixed teacher: one that was fitted to other rows.
    intercept : bool
        False: the student has no intercept, as in Eq. 3, where all means are 0; data
        are to be centred by what is known beforehand. True: the student and this
        regression have one, which takes one degree of freedom.

    Returns
    -------
    HypothesisTest
        df = n − p − 1, or n − p − 2 with an intercept.

    Notes
    -----
    The level is exact where, given x2, (y, T) is Gaussian with means linear in x2 and
    a constant covariance; x2 itself may have any distribution. Otherwise it is
    approximate for large n, if the covariance is constant. Centring at the sample's own
    means is the same as `intercept=True` with one degree of freedom too many.

    Raises
    ------
    ValueError
        On bad arrays; n ≤ p + 1 (p + 2 with an intercept); features that determine one
        another, or the target.
    """
    return _label_coefficient(features, target, teacher, 1.0, intercept)


def _label_coefficient(
    features: ArrayLike,
    target: ArrayLike,
    teacher: ArrayLike,
    worth: float,
    intercept: bool,
) -> HypothesisTest:
    """The t-test of the coefficient of y, worth − c/σ², in the regression of
    worth·y − T on (x2, y).
    """
    rows = names.match_rows(features=features, target=target, teacher=teacher)
    x, y, told = (
        check.features("features", rows["features"]),
        _outputs("target", rows["target"])[:, 0],
        _outputs("teacher", rows["teacher"])[:, 0],
    )
    n = check.same_length(features=x, target=y, teacher=told)
    if intercept:
        x = np.column_stack([np.ones(n), x])
    regressors = x.shape[1]
    if n <= regressors + 1:
        raise ValueError(
            f"`features` must have more than {regressors + 1} rows for {regressors} "
            f"columns (an intercept counts as one), got {n}"
        )
    # Frisch–Waugh: clear y and worth·y − T of x2, then one regression through the
    # origin.
    basis = _basis(x)
    left_y = _residual(y, basis)
    if not left_y.any():
        raise ValueError(
            "`target` must hold noise that a teacher could average away, got a linear "
            "function of `features`"
        )
    scale = np.hypot(worth * _norm(y), _norm(told))
    left_gap = _residual(worth * y - told, basis, scale=scale)
    df = n - regressors - 1
    length = left_y @ left_y
    estimate = (left_y @ left_gap) / length
    noise = _residual(left_gap, left_y[:, None] / np.sqrt(length))
    std_error = np.sqrt(noise @ noise / df / length)
    return _test(estimate, std_error, df)


@own_state()
def shrinkage_test(
    student: ArrayLike, target: ArrayLike, teacher: ArrayLike, *, r: float = 1.0
) -> HypothesisTest:
    """H0: distilling is no better than shrinking the student. From held-out outputs.

    The one-sided t-test of the partial correlation of teacher and student given the
    label, ρ(T, S | y), against 0. Its sign is that of ρ(T, S) − ρ(T, y) ρ(S, y).

    With pairs (r > 1) it is that of a contrast. With e what S leaves of y, the
    coefficients of T on S and on e are Cov(T, S)/Var S and c/σ²; tested is the first,
    for S in the units in which its slope on y is 1, less 1/r times the second.

    Parameters
    ----------
    student, target, teacher : array_like (n,) or (n, K)
        Outputs of the student and of the teacher and the target, for rows that neither
        was fitted to. (n, K): several targets, or one-hot labels and probabilities.
    r : float ≥ 1
        All rows on which the teacher answers over the labelled ones, (n + m)/n, of the
        training that is asked about.

    Returns
    -------
    HypothesisTest
        df = n − 3. Means are removed. For r > 1 `estimate` is the contrast.

    Notes
    -----
    For (n,) and Gaussian outputs the level is exact for H0: Cov(T, S | y) ≤ 0 with S
    the output of the student at hand. The theorem speaks of the best student w*ᵀx2. The
    covariance is linear in the student's weights, so over refits of an unbiased student
    it averages to that of the best, but one fit's own deviation is not in the standard
    error.

    For r > 1 the level is approximate, as the slope of y on S is estimated as well; the
    bar is that of n and m large at fixed p.

    For (n, K) the sum over the columns of the covariances is tested, for one λ and one
    shrinkage common to all; the standard error is then the sandwich one with a row as
    a cluster, which is right for large n only.

    Raises
    ------
    ValueError
        On bad arrays, unequal shapes, fewer than four rows, a constant target, a
        student or teacher that is a linear function of the target, r < 1, or, for
        r > 1, a student whose slope on the target is not positive.
    """
    r = check.within("r", check.number("r", r), 1.0)
    rows = names.match_rows(student=student, target=target, teacher=teacher)
    outputs = {
        name: _outputs(name, value, columns=True) for name, value in rows.items()
    }
    n = check.same_length(**outputs)
    shapes = {array.shape for array in outputs.values()}
    if len(shapes) > 1:
        said = ", ".join(f"{name} {array.shape}" for name, array in outputs.items())
        raise ValueError(
            "`student`, `target` and `teacher` must have equal shapes, (n,) or (n, "
            f"K), got {said}"
        )
    if n < 4:
        raise ValueError(f"`student` must have at least four rows, got {n}")
    centred = {}
    for name, array in outputs.items():
        centred[name] = array - array.mean(0)
        if _norm(centred[name]) <= NOTHING * _norm(array):
            raise ValueError(f"`{name}` must vary, got a constant")
    # One slope on the target for all columns: they are stacked.
    y = centred["target"].ravel()
    along_y = y[:, None] / _norm(y)
    left = {}
    for name in ("student", "teacher"):
        left[name] = _residual(centred[name].ravel(), along_y)
        if not left[name].any():
            raise ValueError(
                f"`{name}` must not be a linear function of the target, which leaves "
                "nothing beyond the label"
            )
    if r > 1:
        return _contrast(centred, r)
    size_student, size_teacher = _norm(left["student"]), _norm(left["teacher"])
    unit_student = left["student"] / size_student
    unit_teacher = left["teacher"] / size_teacher
    estimate = unit_student @ unit_teacher
    df = n - 3
    noise = _residual(unit_teacher, unit_student[:, None])
    if outputs["target"].shape[1] == 1:
        std_error = np.sqrt(noise @ noise / df)
    else:
        scores = (unit_student * noise).reshape(n, -1).sum(1)
        std_error = np.sqrt(scores @ scores * n / df)
    return _test(estimate, std_error, df)


def _contrast(centred: dict[str, Array], r: float) -> HypothesisTest:
    """Cov(T, S)/Var S − (c/σ²)/r, from centred outputs (n, K): see `shrinkage_test`."""
    n, width = centred["target"].shape
    student, y, teacher = (
        centred[name].ravel() for name in ("student", "target", "teacher")
    )
    slope = (student @ y) / (student @ student)
    if not slope > 0:
        raise ValueError(
            "`student` must have a positive slope on the target for r > 1, got one "
            "whose best multiple is 0"
        )
    student = slope * student
    error = y - student  # uncorrelated with the student, so that each has its own slope
    regressors = [student / (student @ student), error / (error @ error)]
    along_student, along_error = (each @ teacher for each in regressors)
    left = teacher - along_student * student - along_error * error
    weights = regressors[0] - regressors[1] / r
    # the student's slope on y is estimated too, without which there is no e
    carried = along_error * (1 - 1 / r) * regressors[0]
    df = n - 3
    if width == 1:
        squares = (weights @ weights) * (left @ left) / df
        squares += (carried @ carried) * (error @ error) / (n - 2)
    else:  # a row is a cluster
        scores = (weights * left + carried * error).reshape(n, width).sum(1)
        squares = scores @ scores * n / df
    std_error = np.sqrt(squares)
    return _test(along_student - along_error / r, std_error, df)


def _outputs(name: str, value: ArrayLike, *, columns: bool = False) -> Array:
    """(n,) as (n, 1); (n, K) as it is where `columns`, else refused for K > 1."""
    array = check.features(name, value)
    if array.shape[1] > 1 and not columns:
        raise ValueError(f"`{name}` must have shape (n,), got {array.shape}")
    return array


def _basis(x: Array) -> Array:
    """Orthonormal columns (n, p) that span those of x; refused where they have less
    than p dimensions.
    """
    scale = np.sqrt((x**2).sum(0))
    left, singular, _ = np.linalg.svd(
        x / np.where(scale > 0, scale, 1.0), full_matrices=False
    )
    if singular[-1] <= NOTHING * singular[0]:
        raise ValueError(
            "`features` must have linearly independent columns (an intercept counts "
            f"as one), got {x.shape[1]} that determine one another"
        )
    return left


def _residual(values: Array, basis: Array, scale: float | None = None) -> Array:
    """What orthonormal `basis` (n, p) leaves of `values` (n,): exactly 0 where that is
    rounding, at `scale` (default: the norm of values).
    """
    left = values - basis @ (basis.T @ values)
    left = left - basis @ (basis.T @ left)  # once more, for the digits
    if _norm(left) <= NOTHING * (_norm(values) if scale is None else scale):
        return np.zeros_like(left)
    return left


def _norm(values: Array) -> float:
    return float(np.sqrt((values**2).sum()))


def _test(estimate: Any, std_error: Any, df: int) -> HypothesisTest:
    # both are numbers; NumPy's stubs take v @ v for an array
    if std_error > 0:
        statistic = estimate / std_error
    elif abs(estimate) > NOTHING:
        statistic = np.copysign(np.inf, estimate)  # known without an error
    else:
        statistic = -np.inf  # a tie, which is H0
    return HypothesisTest(
        estimate=float(estimate),
        std_error=float(std_error),
        statistic=float(statistic),
        df=df,
        p_value=float(stats.t.sf(statistic, df)),
    )
