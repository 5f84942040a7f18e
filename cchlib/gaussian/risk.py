"""Section 3 and Appendix A: the joint Gaussian model, its distillation risk, and the
conditions on it.

The student minimises Eq. 4; its label is in effect ȳ = (y + λT)/(1 + λ), T = w1ᵀx1 (Eq.
9). Write S = w*ᵀx2, e = y − S, m = Σ22⁻¹Σ12ᵀw1 (the best student of the teacher alone),
c = Cov(T, e), d = Var(T | x2), and ⟨a, b⟩ = aᵀΣ22b. In both regimes the excess risk is
one rational function of λ,

    R(λ) = (αλ² + 2βλ + δ) / (1 + λ)²,

    P = (Σ22 + τI)⁻¹Σ22,  Q = I − P,  r = Ω / (1 − Ω),  Ω = tr P² / n,
    α = ‖Pm − w*‖² + r (d + ‖Qm‖²),
    β = −⟨Qw*, Pm − w*⟩ + r (c + ⟨Qw*, Qm⟩),
    δ = ‖Qw*‖² + r (σ² + ‖Qw*‖²).

For κ < 1 the τ is that of n = tr P, and this is Eq. 28 without its division by σ̄. For
κ > 1 τ is 0, P = I and r = 1/(κ − 1), which is Eq. 13; at finite n it is exact with
r = p/(n − p − 1). In t = λ/(1 + λ), the teacher's weight in the label,
it is a parabola:

    R = δ − 2(δ − β)t + (α − 2β + δ)t²,   α − 2β + δ ≥ 0, as β² ≤ αδ.

Everything else follows: the slope at 0 is 2(β − δ); if β ≥ δ (for κ > 1: if Eq. 17
fails) no λ > 0 helps; otherwise exactly t < 2t* helps, with
t* = (δ − β)/(α − 2β + δ), best λ = (δ − β)/(α − β), ∞ where α ≤ β.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cchlib import check
from cchlib.gaussian.held_out import (
    mixing_weight,
)
from cchlib.gaussian.model import (
    ROUNDING,
    JointGaussian,
    solve_semidefinite,
)

Array = NDArray[np.float64]


class RiskCoefficients(NamedTuple):
    """R(λ) = (αλ² + 2βλ + δ)/(1 + λ)², and what follows from it. Coefficients of one
    shape (...).

    α is the risk of the imitator (λ = ∞), δ that without distillation, β how their
    errors go together. A tie between β and δ to within rounding counts as β ≥ δ.
    """

    alpha: Array | float
    beta: Array | float
    delta: Array | float

    def risk(self, lam: ArrayLike) -> Array | float:
        """R(λ) for λ in [0, ∞], broadcast against the coefficients."""
        weight = mixing_weight(lam)
        check.broadcast(lam=weight.shape, coefficients=np.shape(self.alpha))
        rest = 1 - weight
        return (
            self.alpha * weight**2
            + 2 * self.beta * weight * rest
            + self.delta * rest**2
        )[()]

    @property
    def slope(self) -> Array | float:
        """dR/dλ at λ = 0, 2(β − δ)."""
        return 2 * (self.beta - self.delta)

    @property
    def helps(self) -> NDArray[np.bool_] | bool:
        """Whether some λ > 0 has R(λ) < R(0): β < δ."""
        return _exceeds(self.delta, self.beta)

    @property
    def optimal_lambda(self) -> Array | float:
        """The λ in [0, ∞] with the least risk.

        0 if β ≥ δ; (δ − β)/(α − β) if β < δ and β < α; inf if β < δ and α ≤ β (the
        imitator alone).
        """
        return self._where_helpful(self.delta - self.beta, self.alpha, self.beta)

    @property
    def gain(self) -> Array | float:
        """R(0) − R(optimal_lambda): (δ − β)²/(α − 2β + δ) for a finite best λ > 0, δ −
        α for ∞, 0 for 0.
        """
        return self.delta - self.risk(self.optimal_lambda)

    @property
    def helpful_below(self) -> Array | float:
        """λ > 0 helps exactly below this: 0 if β ≥ δ; 2(δ − β)/(α − δ) if β < δ < α;
        inf if β < δ and α ≤ δ.
        """
        return self._where_helpful(2 * (self.delta - self.beta), self.alpha, self.delta)

    def _where_helpful(
        self, numerator: ArrayLike, left: ArrayLike, right: ArrayLike
    ) -> Array | float:
        """Numerator / (left − right), inf where that is not positive; 0 where no λ
        helps.
        """
        inside = _exceeds(left, right)
        ratio = numerator / np.where(inside, np.subtract(left, right), 1.0)
        return np.where(self.helps, np.where(inside, ratio, np.inf), 0.0)[()]


def effective_ridge(
    model: JointGaussian, kappa: ArrayLike, ridge: float = 0.0
) -> Array | float:
    """τ of Eq. 26, for a student with or without a ridge penalty.

    n = tr((Σ22 + τI)⁻¹Σ22) for κ = n/p2 < 1, and 0 for κ > 1: minimum-norm
    interpolation shrinks, on average over x2, as a penalty τ would. With a penalty of
    its own, n·ridge·‖w‖² on the sum of squares, τ = ridge + τ tr((Σ22 + τI)⁻¹Σ22)/n.

    Parameters
    ----------
    kappa : array_like
        κ = n/p2 > 0; 1 with a ridge only.
    ridge : float ≥ 0

    Returns
    -------
    ndarray of kappa's shape (float for a number)

    Raises
    ------
    ValueError
        On κ ≤ 0, κ = 1 without a ridge, or ridge < 0.
    """
    ridge = check.number("ridge", ridge, 0.0)
    kappa = _kappa(kappa, ridge)
    spectrum, _ = model._spectrum
    asked = kappa if ridge else np.minimum(kappa, 1.0)  # without one, 0 for all κ ≥ 1
    distinct, where = np.unique(asked, return_inverse=True)
    # Were all eigenvalues equal, τ would be the root of a quadratic. It rises with the
    # eigenvalue, so that the extreme ones bracket τ; bisection in log τ from there.
    with np.errstate(divide="ignore"):
        low, high = (
            np.log(_ridge_of_white(eigenvalue, distinct, ridge))
            for eigenvalue in (spectrum.min(), spectrum.max())
        )
    for _ in range(64):
        middle = (low + high) / 2
        tau = np.exp(middle)[:, None]
        trace = (spectrum / (spectrum + tau)).mean(-1)
        with np.errstate(invalid="ignore", divide="ignore"):
            wanted = distinct * (1 - ridge / tau[:, 0]) if ridge else distinct
        too_small = trace > wanted
        low, high = np.where(too_small, middle, low), np.where(too_small, high, middle)
    return np.exp((low + high) / 2)[where].reshape(kappa.shape)[()]


def _ridge_of_white(eigenvalue: float, kappa: Array, ridge: float) -> Array:
    """τ for Σ22 = eigenvalue · I: the root τ ≥ 0 of τ² − 2hτ − ridge · eigenvalue."""
    half = (eigenvalue * (1 / kappa - 1) + ridge) / 2
    root = np.hypot(half, np.sqrt(ridge * eigenvalue))
    with np.errstate(divide="ignore", invalid="ignore"):
        small = ridge * eigenvalue / (root - half)  # for h < 0, without a difference
    return np.where(half >= 0, half + root, small)


def risk_coefficients(
    model: JointGaussian,
    w1: ArrayLike,
    kappa: ArrayLike | None = None,
    *,
    n: ArrayLike | None = None,
    ridge: float = 0.0,
    unlabelled: int = 0,
) -> RiskCoefficients:
    """α, β, δ of R(λ) = (αλ² + 2βλ + δ)/(1 + λ)²: see the head of the module.

    Parameters
    ----------
    model : JointGaussian
    w1 : array_like (p1,) or (..., p1)
        Teachers.
    kappa : array_like, or None
        κ = n/p2 > 0: Eq. 13's coefficients for κ > 1, Eq. 28's for κ < 1; 1 with a
        ridge only. Broadcasts with w1's (...).
    n : array_like of integers > p2 + 1, in place of kappa
        The coefficients of the exact expected risk.
    ridge : float ≥ 0, with kappa only
        A penalty (1 + λ)·n·ridge·‖w‖² on Eq. 4, under which the student stays a
        mixture of two fits, of labels and of teacher, each with n·ridge·‖w‖².
    unlabelled : int ≥ 0, with n only
        Further rows (x1, x2), on which the teacher answers and nobody else. The
        imitator is fitted to all rows, and mixed with the student in the shares 1 and
        λ (which is not Eq. 4 on all rows: that weighs by the rows).

    Returns
    -------
    RiskCoefficients
        Of the broadcast shape.

    Raises
    ------
    ValueError
        On κ ≤ 0, κ = 1 without a ridge, n ≤ p2 + 1, teachers of another length than
        p1, or a ridge with n, or unlabelled rows with kappa.
    """
    if (kappa is None) == (n is None):
        raise ValueError(
            "exactly one of `kappa` and `n` must be given, got both or neither"
        )
    unlabelled = check.integer("unlabelled", unlabelled)
    ridge = check.number("ridge", ridge, 0.0)
    if n is not None and ridge:
        raise ValueError(
            f"`ridge` must be given with `kappa`, not with `n`, got {ridge}"
        )
    if kappa is not None and unlabelled:
        raise ValueError(
            f"`unlabelled` must be given with `n`, not with `kappa`, got {unlabelled}"
        )
    if n is not None:
        n = _samples(n, model.p2)
        keep, lost = np.ones(1), np.zeros(1)
        spread = model.p2 / (n - model.p2 - 1)
        spread_imitator = model.p2 / (n + unlabelled - model.p2 - 1)
    else:
        assert kappa is not None  # as exactly one of the two is given
        keep, lost, spread = _shrinkage(model, kappa, ridge)
        spread_imitator = spread
    teacher = model.teacher_moments(w1)
    check.broadcast(
        w1=teacher.variance.shape, **{"kappa" if n is None else "n": np.shape(spread)}
    )
    # In coordinates where ⟨·,·⟩ is the plain product and P, Q are diagonal
    _, rotation = model._spectrum
    imitator = model._imitator(model._teachers(w1)) @ rotation
    student = model._student @ rotation
    # Errors of the mean weights, and what the spread of the rows adds
    of_imitator = keep * imitator - student
    of_student = -lost * student
    alpha = (of_imitator**2).sum(-1) + spread_imitator * (
        teacher.given_x2 + ((lost * imitator) ** 2).sum(-1)
    )
    beta = (of_student * of_imitator).sum(-1) + spread_imitator * (
        teacher.with_residual + (lost**2 * student * imitator).sum(-1)
    )
    delta = (of_student**2).sum(-1) * (1 + spread) + spread * model.noise_variance
    return RiskCoefficients(
        *(array[()] for array in np.broadcast_arrays(alpha, beta, delta))
    )


def excess_risk(
    model: JointGaussian, w1: ArrayLike, lam: ArrayLike, kappa: ArrayLike
) -> Array | float:
    """Asymptotic excess risk R̄(λ, w1): Eq. 13 for κ > 1, Eq. 28 (minimum-norm student)
    for κ < 1.

    Parameters
    ----------
    model : JointGaussian
    w1 : array_like (p1,) or (..., p1)
        Teachers.
    lam : array_like
        λ ≥ 0; inf is a student of the teacher alone.
    kappa : array_like
        κ = n/p2 > 0, not 1. lam, kappa and w1's (...) broadcast.

    Returns
    -------
    ndarray of the broadcast shape (float for scalars)
        E[(y − ŵᵀx2)²] − σ², in squared units of y, as n, p → ∞ at fixed κ; off by
        O(1/p) at finite p.

    Raises
    ------
    ValueError
        On λ < 0, κ ≤ 0, κ = 1 (where the risk diverges), or teachers of another length
        than p1.
    """
    return risk_coefficients(model, w1, kappa).risk(lam)


def expected_excess_risk(
    model: JointGaussian, w1: ArrayLike, lam: ArrayLike, n: ArrayLike
) -> Array | float:
    """E R(λ, w1) over training samples of size n, exact for any n > p2 + 1.

    As `excess_risk`, with E[(X2ᵀX2)⁻¹] = Σ22⁻¹/(n − p2 − 1) (inverse Wishart) in place
    of its limit, so the variance is σ̃² p2/(n − p2 − 1), Eqs. 10 and 11. It is exact
    because the model is Gaussian: the label's residual is then independent of x2.

    Parameters
    ----------
    w1 : array_like (p1,) or (..., p1)
    lam : array_like
        λ in [0, ∞].
    n : array_like of whole numbers > p2 + 1
        lam, n and w1's (...) broadcast.

    Returns
    -------
    ndarray of the broadcast shape (float for scalars)

    Raises
    ------
    ValueError
        On λ < 0, or n ≤ p2 + 1: from p2 − 1 to p2 + 1 the mean is infinite, and below
        it has a closed form for Σ22 ∝ I only.
    """
    return risk_coefficients(model, w1, n=n).risk(lam)


def risk_slope(model: JointGaussian, w1: ArrayLike, kappa: ArrayLike) -> Array | float:
    """dR̄/dλ at λ = 0: 2(c − σ²)/(κ − 1) for κ > 1 (from Eq. 16), 2(β − δ) in both
    regimes.

    Shape of kappa broadcast with the (...) of w1 (..., p1); ValueError as for
    `risk_coefficients`.
    """
    return risk_coefficients(model, w1, kappa).slope


def optimal_lambda(
    model: JointGaussian, w1: ArrayLike, kappa: ArrayLike
) -> Array | float:
    """The best λ in [0, ∞], in closed form (see `RiskCoefficients.optimal_lambda`).

    Shape of kappa broadcast with the (...) of w1 (..., p1); ValueError as for
    `risk_coefficients`.

    For κ > 1, with A = ‖m − w*‖²: 0 where c ≥ σ² (Eq. 17 fails), else (σ² − c)/((κ −
    1)A + d − c), or inf where that denominator is not positive. It falls as 1/κ: the
    more labelled data, the less a teacher is worth, unless the imitator is itself the
    best student (A = 0).
    """
    return risk_coefficients(model, w1, kappa).optimal_lambda


def optimal_teacher(model: JointGaussian, lam: ArrayLike, kappa: ArrayLike) -> Array:
    """The teacher w1 with the least R̄(λ, ·): Eq. 14 (corrected) for κ > 1, the
    minimiser of Eq. 28 for κ < 1.

    With B = Σ22⁻¹Σ12ᵀ, C = Σ11 − Σ12B and s = Σ13 − Σ12w*, it solves

        [Bᵀ(PᵀΣ22P + rQᵀΣ22Q)B + rC] w1 = BᵀPᵀΣ22w* + (1/λ)[BᵀPᵀΣ22Qw* − r(s +
        BᵀQᵀΣ22Qw*)],

    for κ > 1, λ[Σ12B + C/(κ − 1)] w1 = λΣ12w* − s/(κ − 1). It is affine in 1/λ; where s
    = 0 and κ > 1 it does not depend on λ (Eq. 15). R̄ is convex in w1, so it is a
    minimum; where Σ11 is singular, the one of least norm in standardised x1.

    Parameters
    ----------
    lam, kappa : array_like
        λ > 0, finite; κ as in `excess_risk`. They broadcast.

    Returns
    -------
    ndarray (p1,), or (..., p1) for lam and kappa of shape (...)

    Raises
    ------
    ValueError
        On λ ≤ 0 (at λ = 0 the risk does not depend on the teacher), κ ≤ 0 or κ = 1.
    """
    lam = check.finite("lam", check.within("lam", lam, 0.0, open_low=True))
    kappa = _kappa(kappa)
    check.broadcast(lam=lam.shape, kappa=kappa.shape)
    distinct, where = np.unique(kappa, return_inverse=True)
    keeps, losts, spreads = _shrinkage(model, distinct)
    _, rotation = model._spectrum
    student, imitators = (
        model._student @ rotation,
        model._imitator(np.eye(model.p1)) @ rotation,
    )  # (p2,), (p1, p2)
    unexplained = model.S11 - imitators @ imitators.T
    residual = model.S13 - imitators @ student
    solutions = []
    for keep, lost, spread in zip(keeps, losts, spreads, strict=True):
        curvature = (
            imitators * (keep**2 + spread * lost**2)
        ) @ imitators.T + spread * unexplained
        at_infinity = imitators @ (keep * student)
        per_inverse = (
            imitators @ ((keep - spread * lost) * lost * student) - spread * residual
        )
        solutions.append(
            solve_semidefinite(curvature, np.stack([at_infinity, per_inverse], 1))
        )
    affine = np.stack(solutions)[where].reshape(*kappa.shape, model.p1, 2)
    return affine[..., 0] + affine[..., 1] / lam[..., None]


def cch_holds(model: JointGaussian, w1: ArrayLike) -> NDArray[np.bool_] | bool:
    """The hypothesis, I(w1ᵀx1; w*ᵀx2) > I(w*ᵀx2; y), for w1 (..., p1). Ties, to within
    rounding, are False.
    """
    return _exceeds(model.teacher_student_mi(w1), model.student_label_mi())


def distillation_helps(model: JointGaussian, w1: ArrayLike) -> NDArray[np.bool_] | bool:
    """Eq. 17 (with w1 for its ŵ), c < σ²; equivalently E[(y − S)(y − T)] > 0.

    For κ > 1 it holds exactly when R(λ, w1) < R(0, ·) for some λ > 0, and then for all
    small ones: whatever κ, and also for the exact risk at finite n. For κ < 1 the same
    is true if Σ22 ∝ I; otherwise see `risk_coefficients(...).helps`. A teacher that
    always says 0 helps in this sense, by shrinking: `beats_shrinkage` asks for more.
    w1 (..., p1); ties, to within rounding, are False.
    """
    return _exceeds(model.noise_variance, model.teacher_moments(w1).with_residual)


def beats_shrinkage(model: JointGaussian, w1: ArrayLike) -> NDArray[np.bool_] | bool:
    """ρ(T, S) > ρ(T, y) ρ(S, y), that is Cov(T, S | y) > 0: teacher and best student
    agree beyond the label.

    Let the student minimise Eq. 4 plus μ Σ(wᵀx2)². For n > p2 + 1 (and for κ > 1, and
    for κ < 1 where Σ22 ∝ I) it holds exactly when some λ > 0, at its best μ ≥ 0, has a
    lower risk than λ = 0 at its own best μ; n does not enter. It may then take both: a
    teacher with c ≥ σ² helps at no λ without μ. Where S or e is constant it is False,
    and nothing beats the best shrinkage (whose risk is then 0, but for a constant e
    below κ = 1). w1 (..., p1); ties, to within rounding, are False.
    """
    teacher = model.teacher_moments(w1)
    # Cov(T, S) σ² > Var(S) c; a difference is rounding on the scale of what it is made
    # of
    beyond = (
        teacher.with_student * model.noise_variance
        - model._student_variance * teacher.with_residual
    )
    scale = np.sqrt(teacher.variance * model._student_variance) * model.S33
    answer = beyond > ROUNDING * scale
    return answer if answer.ndim else bool(answer)


def unlabelled_factor(
    n: int, p: int, unlabelled: int, form: str = "mixture", *, intercept: bool = False
) -> float:
    """With rows on which only the teacher answers, a little helps where c < factor ·
    σ².

    Parameters
    ----------
    n, p, unlabelled : int
        Labelled rows, the student's features, rows without a label.
    form : str
        "mixture": the imitator of all rows mixed with the student of the labelled ones;
        (n + N − p − 1)/(n − p − 1). "additive": Eq. 4 whose second sum runs over all
        rows; 1 + N (n − 1)/((n − p)(n − p − 3)).
    intercept : bool
        For "additive": the student has an intercept, and the features any mean. With A
        the Gram matrix of the n rows with a column of ones, in coordinates in which the
        features have mean 0 and covariance I, it is 1 + N E tr A⁻² / E tr A⁻¹.

    Returns
    -------
    float
        The factor, 1 without further rows.

    Raises
    ------
    ValueError
        On n ≤ p + 1 (p + 3 for "additive", p + 4 with an intercept), or another form.
    """
    check.one_of("form", form, ("mixture", "additive"))
    if intercept and form == "mixture":
        raise ValueError('`intercept` must be False for form="mixture", got True')
    p = check.integer("p", p, 1)
    n = check.integer("n", n, p + (2 if form == "mixture" else 4 + intercept))
    unlabelled = check.integer("unlabelled", unlabelled)
    if intercept:
        # A⁻¹ in blocks: S of the centred rows is Wishart with n − 1 degrees of freedom
        # and independent of their mean x̄, and x̄ᵀS⁻¹x̄ is a ratio of two χ²
        first, third = n - p - 2, n - p - 4
        inverse = 1 / n + (1 + 1 / n) * p / first
        square = (1 + 2 * p / first + p * (p + 2) / (first * third)) / n**2
        square += (1 + 2 / n) * p * (n - 2) / ((n - p - 1) * first * third)
        return 1 + unlabelled * square / inverse
    if form == "mixture":
        return (n + unlabelled - p - 1) / (n - p - 1)
    return 1 + unlabelled * (n - 1) / ((n - p) * (n - p - 3))


def correlation_condition(
    model: JointGaussian, w1: ArrayLike
) -> NDArray[np.bool_] | bool:
    """Eq. 21, Eq. 17 in correlations: ρ(T,S) > ρ(T,y)/ρ(S,y) − (1 − ρ(S,y)²)/ρ(S,y) ·
    sd(y)/sd(T).

    Raises
    ------
    ValueError
        Where T or S is constant: the correlations do not exist; `distillation_helps`
        does.
    """
    teacher = model.teacher_moments(w1)
    if not model._student_variance > 0 or not np.all(teacher.variance > 0):
        raise ValueError(
            "`w1` must give a teacher that varies, and S23 a student, or Eq. 21's "
            "correlations do not exist; distillation_helps says the same in "
            "covariances"
        )
    sd_teacher, sd_student, sd_label = (
        np.sqrt(teacher.variance),
        np.sqrt(model._student_variance),
        np.sqrt(model.S33),
    )
    teacher_student = teacher.with_student / (sd_teacher * sd_student)
    teacher_label = (teacher.with_student + teacher.with_residual) / (
        sd_teacher * sd_label
    )
    student_label = sd_student / sd_label
    rest = model.noise_variance / model.S33 / student_label * sd_label / sd_teacher
    return _exceeds(teacher_student + rest, teacher_label / student_label)


def variance_condition(model: JointGaussian, w1: ArrayLike) -> NDArray[np.bool_] | bool:
    """Var(T | S) < Var(y | S): sufficient for Eq. 17, as c ≤ sd(T | S)·σ, with no
    assumption on w1 (..., p1).

    Implied by the CCH with Var T ≤ Var y, whatever the sign of w1ᵀΣ13.
    """
    return _exceeds(model.noise_variance, model.teacher_moments(w1).given_student)


def conditional_variance_condition(
    model: JointGaussian, w1: ArrayLike
) -> NDArray[np.bool_] | bool:
    """Var(T | x2) < Var(y | x2): sufficient for Eq. 17, as c ≤ √d·σ; wider than
    `variance_condition`. w1 (..., p1).
    """
    return _exceeds(model.noise_variance, model.teacher_moments(w1).given_x2)


def sample_excess_risk(
    model: JointGaussian,
    w1: ArrayLike,
    lam: float,
    n: int,
    size: int,
    seed: int | np.random.Generator,
) -> Array:
    """Draws from the exact law of the excess risk of one fit, without fitting.

    For n > p2 the risk of one training sample is distributed as ‖t√A u + σ̃ g/√V‖²,
    with t = λ/(1 + λ), A = ‖m − w*‖², σ̃² = (1 − t)²σ² + 2t(1 − t)c + t²d, u a unit
    vector, and g ~ N(0, I) and V ~ χ²(n − p2 + 1) independent. Its mean is
    `expected_excess_risk`.

    Parameters
    ----------
    w1 : array_like (p1,)
        One teacher.
    lam : float
        λ in [0, ∞].
    n : int > p2
        Training rows.
    size : int ≥ 1
        Draws.
    seed : int or Generator

    Returns
    -------
    ndarray (size,)
        In squared units of y.

    Raises
    ------
    ValueError
        On λ < 0, n ≤ p2, size < 1, or more than one teacher or λ.
    """
    weight, w1 = mixing_weight(lam), model._teachers(w1)
    if weight.ndim or w1.ndim != 1:
        raise ValueError(
            f"`lam` must be one number and `w1` one teacher ({model.p1},), got shapes "
            f"{weight.shape} and {w1.shape}"
        )
    n, size = check.integer("n", n, model.p2 + 1), check.integer("size", size, 1)
    teacher = model.teacher_moments(w1)
    bias = weight * np.linalg.norm(model._imitator(w1) - model._student)
    noise = (
        (1 - weight) ** 2 * model.noise_variance
        + 2 * weight * (1 - weight) * teacher.with_residual
        + weight**2 * teacher.given_x2
    )
    noise = np.maximum(noise, 0.0)  # 0, but for rounding, where T undoes the noise of y
    # g is turned so that its first coordinate lies along u: the others add their length
    rng = check.generator("seed", seed)
    along = rng.standard_normal(size)
    across = rng.chisquare(model.p2 - 1, size) if model.p2 > 1 else np.zeros(size)
    shrink = noise / rng.chisquare(n - model.p2 + 1, size)
    return (bias + np.sqrt(shrink) * along) ** 2 + shrink * across


def simulate_excess_risk(
    model: JointGaussian,
    w1: ArrayLike,
    lam: ArrayLike,
    n: int,
    trials: int,
    seed: int | np.random.Generator,
) -> tuple[Array | float, Array | float]:
    """Monte Carlo of Eqs. 4 and 5: draw n samples, fit (least norm where n < p2), take
    the excess risk; `trials` times.

    The risk of each fitted ŵ is exact, (ŵ − w*)ᵀΣ22(ŵ − w*). lam and w1's (...)
    broadcast, and share their draws.

    Returns
    -------
    mean, std_error : ndarray of the broadcast shape (float for scalars)
        Over the trials. The standard error means little within a few samples of n = p2,
        where the risk's variance (``|n − p2| ≤ 3``) or mean (≤ 1) is infinite.

    Raises
    ------
    ValueError
        On λ < 0, n < 1, trials < 2.
    """
    n, trials = check.integer("n", n, 1), check.integer("trials", trials, 2)
    weight, w1 = mixing_weight(lam), model._teachers(w1)
    weight = np.broadcast_to(
        weight, check.broadcast(lam=weight.shape, w1=w1.shape[:-1])
    )
    rng = check.generator("seed", seed)
    risks = np.empty((trials, weight.size))
    for trial in range(trials):
        x1, x2, y = model.sample(n, rng)
        teacher = (
            np.broadcast_to(x1 @ w1[..., None], (*weight.shape, n, 1)).reshape(-1, n).T
        )
        labels = (1 - weight.ravel()) * y[:, None] + weight.ravel() * teacher
        error = np.linalg.lstsq(x2, labels, rcond=None)[0] - model.w_star[:, None]
        risks[trial] = ((model._cholesky.T @ error) ** 2).sum(0)
    mean, std_error = risks.mean(0), risks.std(0, ddof=1) / np.sqrt(trials)
    return mean.reshape(weight.shape)[()], std_error.reshape(weight.shape)[()]


def _shrinkage(
    model: JointGaussian, kappa: ArrayLike, ridge: float = 0.0
) -> tuple[Array, Array, Array]:
    """The diagonals of P and Q, (..., p2), and r (...) for kappa (...)."""
    kappa = _kappa(kappa, ridge)
    spectrum, _ = model._spectrum
    tau = np.asarray(effective_ridge(model, kappa, ridge))[..., None]
    keep, lost = spectrum / (spectrum + tau), tau / (spectrum + tau)
    # r = tr P²/(n − tr P²), where n − tr P² = tr PQ + n·ridge/τ has no difference
    square, mixed = (keep**2).mean(-1), (keep * lost).mean(-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if ridge:
            spread = square / (mixed + kappa * ridge / tau[..., 0])
        else:
            spread = np.where(kappa > 1, 1 / (kappa - 1), square / mixed)
    return keep, lost, spread


def _exceeds(left: ArrayLike, right: ArrayLike) -> NDArray[np.bool_] | bool:
    """Left > right by more than rounding."""
    left, right = np.asarray(left, float), np.asarray(right, float)
    finite = np.isfinite(left) & np.isfinite(right)
    slack = ROUNDING * np.where(finite, np.maximum(np.abs(left), np.abs(right)), 0.0)
    with np.errstate(invalid="ignore"):
        answer = np.where(finite, left - right > slack, left > right)
    return answer if answer.ndim else bool(answer)


def _kappa(kappa: ArrayLike, ridge: float = 0.0) -> Array:
    kappa = np.asarray(check.finite("kappa", kappa))
    if (kappa < np.finfo(np.float64).tiny).any():  # 1/κ is finite from there on
        raise ValueError(f"`kappa` must be n/p > 0, got {kappa}")
    if not ridge and (kappa == 1).any():
        raise ValueError(f"`kappa` must not be 1, where the risk diverges, got {kappa}")
    return kappa


def _samples(n: ArrayLike, p2: int) -> Array:
    array = check.finite("n", n)
    if (array != np.round(array)).any() or (array <= p2 + 1).any():
        raise ValueError(
            f"`n` must be whole numbers above p2 + 1 = {p2 + 1}, where the mean is "
            f"infinite, got {array}"
        )
    return array
