"""What data say of distilling with unlabelled pairs: two t-tests, and unbiased
estimates of the numbers that the risk is made of.

There are n labelled rows (x2, y, T) and m pairs (x2, T) without a label. S, e, σ², c
and d are as in `slope_test`; r = (n + m)/n. Proofs: the book's chapter on unlabelled
pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cchlib import check
from cchlib.ambient import own_state
from cchlib.criterion.slope import (
    HypothesisTest,
    _basis,
    _label_coefficient,
    _norm,
    _outputs,
    _residual,
    _test,
)
from cchlib.gaussian import pairs_coefficients, unlabelled_factor

Array = NDArray[np.float64]


@own_state()
def pairs_slope_test(
    features: ArrayLike,
    target: ArrayLike,
    teacher: ArrayLike,
    m: int,
    *,
    intercept: bool = False,
) -> HypothesisTest:
    """H0: with m further pairs no λ beats the labels alone (c ≥ σ²·r_eff).

    The regression of r_eff·y − T on (x2, y), on the labelled rows, and the one-sided
    t-test of the coefficient of y, r_eff − c/σ². r_eff =
    1 + m(n − 1)/[(n − p)(n − p − 3)]; with m = 0 it is `slope_test`.

    Parameters
    ----------
    features : array_like (n,) or (n, p)
        Of the labelled rows, n > p + 3.
    target : array_like (n,)
    teacher : array_like (n,)
        The outputs of a fixed teacher on the labelled rows.
    m : int ≥ 0
        Pairs without a label.
    intercept : bool
        As for `slope_test`: the student and this regression have one, features may have
        any mean, and r_eff is that of `unlabelled_factor` with an intercept.

    Returns
    -------
    HypothesisTest
        df = n − p − 1, or n − p − 2 with an intercept.

    Notes
    -----
    The size is exact for c ≥ σ²·r_eff under the conditions of `slope_test`. That
    r_eff is where the mean slope changes sign needs Gaussian features too, of mean 0
    without an intercept. That no larger λ helps where a small one does not is proved
    without an intercept only.

    Raises
    ------
    ValueError
        As for `slope_test`, and on n ≤ p + 3 (p + 4 with an intercept).
    """
    n, p = check.features("features", features).shape
    m = check.integer("m", m)
    spare = 4 if intercept else 3
    if n <= p + spare:
        raise ValueError(
            f"`features` must have more than p + {spare} = {p + spare} rows, got {n}"
        )
    worth = unlabelled_factor(n, p, m, "additive", intercept=bool(intercept))
    return _label_coefficient(features, target, teacher, worth, bool(intercept))


@own_state()
def pairs_shrinkage_test(
    features: ArrayLike,
    target: ArrayLike,
    unlabelled_features: ArrayLike,
    unlabelled_teacher: ArrayLike,
) -> HypothesisTest:
    """H0: distilling on the pairs is no better than shrinking (Cov(v'x2, S) ≤ 0).

    v is the teacher's imitator, fitted to the pairs alone. The test is the one-sided
    t-test of the slope of y on v'x2 through the origin, on the labelled rows. It uses
    no answer of the teacher on a labelled row, so that c plays no part.

    Parameters
    ----------
    features : array_like (n,) or (n, p)
    target : array_like (n,)
        The labelled rows.
    unlabelled_features : array_like (m,) or (m, p)
    unlabelled_teacher : array_like (m,)
        The pairs, m ≥ p.

    Returns
    -------
    HypothesisTest
        `estimate` is the slope; df = n − 1.

    Notes
    -----
    For Gaussian (x2, y) of mean 0 the size is exact for the imitator v at hand. v is
    unbiased for the best imitation m_T, but for Cov(T, S) = Cov(m_T'x2, S) ≤ 0, a
    statement about m_T, the test rejects too often where m is small beside n: the
    deviation of v is not in the standard error.

    Raises
    ------
    ValueError
        On bad arrays; unequal numbers of features; m < p; pairs whose features
        determine one another; an imitator that is 0.
    """
    x, y = check.features("features", features), _outputs("target", target)[:, 0]
    n = check.same_length(features=x, target=y)
    new, told = _pairs(x, unlabelled_features, unlabelled_teacher)
    if n < 2:
        raise ValueError("`features` must have at least two rows, got 1")
    imitator = _least_squares("unlabelled_features", new, told)
    output = x @ imitator
    length = _norm(output)
    if not length > 0:
        raise ValueError(
            "`unlabelled_teacher` must be a function of the features in part, got an "
            "imitator that always says 0"
        )
    estimate = (output @ y) / length**2
    left = _residual(y, output[:, None] / length)
    std_error = np.sqrt(left @ left / (n - 1)) / length
    return _test(estimate, std_error, n - 1)


@dataclass(frozen=True)
class PairsEstimate:
    """Unbiased estimates of what the risk with unlabelled pairs is made of.

    Attributes
    ----------
    n, m, p : int
    noise_variance : float
        σ² = Var e.
    with_residual : float
        c = Cov(T, e).
    given_x2 : float
        d = Var(T | x2).
    student_variance : float
        Δ0 = Var S.
    imitator_variance : float
        Q = Var(m_T'x2), of the teacher's best imitation.
    with_student : float
        Cov(T, S) = Cov(m_T'x2, S).
    """

    n: int
    m: int
    p: int
    noise_variance: float
    with_residual: float
    given_x2: float
    student_variance: float
    imitator_variance: float
    with_student: float

    @property
    def r(self) -> float:
        """All rows over the labelled ones."""
        return (self.n + self.m) / self.n

    @property
    def distance(self) -> float:
        """Δ = Var((m_T − w*)'x2)."""
        return self._distance(1.0)

    def _distance(self, scale: float) -> float:
        towards = scale * self.imitator_variance - 2 * self.with_student
        return scale * towards + self.student_variance

    def risk(
        self, lam: ArrayLike, scale: float = 1.0, *, kind: str = "exact"
    ) -> Array | float:
        """The expected excess risk of the student distilled at λ from `scale`·T.

        Parameters
        ----------
        lam : array_like
            λ in [0, ∞].
        scale : float
            0 is shrinking.
        kind : str
            As for `cchlib.gaussian.pairs_excess_risk`.

        Returns
        -------
        ndarray of lam's shape (float for a number)
            In squared units of y. It is linear in the estimates, so unbiased for each
            λ and scale given beforehand (for "exact", and Gaussian features); it may
            be negative. At the λ that makes it least it is too low.

        Raises
        ------
        ValueError
            As for `cchlib.gaussian.pairs_excess_risk`.
        """
        scale = check.number("scale", scale)
        found = pairs_coefficients(self.p, lam, self.n, self.m, kind=kind)
        return (
            self._distance(scale) * found.bias
            + self.noise_variance * found.label
            + 2 * scale * self.with_residual * found.cross
            + scale**2 * self.given_x2 * found.teacher
        )


@own_state()
def estimate_pairs(
    features: ArrayLike,
    target: ArrayLike,
    teacher: ArrayLike,
    unlabelled_features: ArrayLike,
    unlabelled_teacher: ArrayLike,
) -> PairsEstimate:
    """Unbiased estimates of σ², c, d, Var S, Var(m_T'x2) and Cov(T, S).

    From the student of the n labels, the imitator of all n + m rows, and what they
    leave. Products of the two fits are taken in the Gram matrix of all rows, and the
    share of their noise in them is taken off.

    Parameters
    ----------
    features : array_like (n,) or (n, p)
        n > p.
    target, teacher : array_like (n,)
        The label, and the outputs of a fixed teacher.
    unlabelled_features : array_like (m,) or (m, p)
    unlabelled_teacher : array_like (m,)

    Returns
    -------
    PairsEstimate

    Notes
    -----
    Unbiased for any law of x2 of mean 0 under which what x2 leaves of y and T has mean
    0 and one covariance whatever x2 is. An estimate of a variance may be negative.

    Raises
    ------
    ValueError
        On bad arrays, unequal numbers of features, n ≤ p, or features that determine
        one another.
    """
    x, y, told = (
        check.features("features", features),
        _outputs("target", target)[:, 0],
        _outputs("teacher", teacher)[:, 0],
    )
    n = check.same_length(features=x, target=y, teacher=told)
    new, told_there = _pairs(x, unlabelled_features, unlabelled_teacher)
    m, p = len(new), x.shape[1]
    if n <= p:
        raise ValueError(f"`features` must have more than p = {p} rows, got {n}")
    every, all_told = np.vstack([x, new]), np.r_[told, told_there]
    student = _least_squares("features", x, y)
    imitator = _least_squares("features", every, all_told)
    basis = _basis(x)
    left_y, left_told = _residual(y, basis), _residual(told, basis)
    noise = left_y @ left_y / (n - p)
    c = left_y @ left_told / (n - p)
    left_all = all_told - every @ imitator
    d = left_all @ left_all / (n + m - p)
    # tr(W A⁻¹), A of the labelled rows and W of all
    spread = (_basis_coordinates(x, every) ** 2).sum()
    of_student, of_imitator = every @ student, every @ imitator
    rows = n + m
    return PairsEstimate(
        n=n,
        m=m,
        p=p,
        noise_variance=float(noise),
        with_residual=float(c),
        given_x2=float(d),
        student_variance=float((of_student @ of_student - noise * spread) / rows),
        imitator_variance=float((of_imitator @ of_imitator - d * p) / rows),
        with_student=float((of_student @ of_imitator - c * p) / rows),
    )


def _basis_coordinates(x: Array, rows: Array) -> Array:
    """rows·R⁻¹ for x = QR: tr(W A⁻¹) is the sum of their squares."""
    _, triangle = np.linalg.qr(x)
    return np.linalg.solve(triangle.T, rows.T)


def _pairs(x: Array, features: ArrayLike, teacher: ArrayLike) -> tuple[Array, Array]:
    new = check.features("unlabelled_features", features)
    told = _outputs("unlabelled_teacher", teacher)[:, 0]
    check.same_length(unlabelled_features=new, unlabelled_teacher=told)
    if new.shape[1] != x.shape[1]:
        raise ValueError(
            f"`unlabelled_features` must have {x.shape[1]} columns like `features`, "
            f"got {new.shape[1]}"
        )
    return new, told


def _least_squares(name: str, x: Array, y: Array) -> Array:
    rank = np.linalg.matrix_rank(x / np.maximum(np.sqrt((x**2).sum(0)), 1e-300))
    if rank < x.shape[1]:
        raise ValueError(
            f"`{name}` must have linearly independent columns, got rank {rank} of "
            f"{x.shape[1]} columns and {len(x)} rows"
        )
    return np.asarray(np.linalg.lstsq(x, y, rcond=None)[0], np.float64)
