"""Unlabelled pairs: n labelled rows, and m rows (x1, x2) on which only the teacher
answers. Public names are in `cchlib.gaussian`.

The student minimises Σ_labelled (y − wᵀx2)² + λ Σ_all (T − wᵀx2)². Let N = n + m,
q = N − p − 1 > 0, and in coordinates with Σ22 = I let W be the Gram matrix of all rows
and H = W^(−1/2) A W^(−1/2) the part of it that is labelled. H has the law of a block of
a random rotation and is independent of W, whose inverse has the mean I/q. So with
F = λ(H + λI)⁻¹, the share of the teacher along each eigenvector of H,

    E R = Δ·bias + σ²·label + 2c·cross + d·teacher,
    bias = E[(N − 1) tr F² − (tr F)²] / (pq),     label = E tr[H(H + λI)⁻²] / q,
    teacher = E tr F² / q,                        cross = E tr[F(I − F)] / q,

where Δ = ‖m_T − w*‖² is the squared distance of the teacher's best imitation from the
best student. Neither the spectrum of Σ22 nor the direction of anything matters. To
first order H is n/N. Proofs: the book's chapter on unlabelled pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar

from cchlib import check
from cchlib.gaussian.held_out import mixing_weight
from cchlib.gaussian.model import ROUNDING, JointGaussian
from cchlib.gaussian.risk import RiskCoefficients, _exceeds, expected_excess_risk

Array = NDArray[np.float64]
KINDS = ("exact", "first_order", "proportional")
# λ among which the best is looked for, before it is refined
_GRID = np.geomspace(1e-7, 1e7, 281)


class PairsCoefficients(NamedTuple):
    """E R = Δ·bias + σ²·label + 2c·cross + d·teacher; each of one shape (...)."""

    bias: Array | float
    label: Array | float
    cross: Array | float
    teacher: Array | float


def pairs_coefficients(
    p: int,
    lam: ArrayLike,
    n: ArrayLike,
    m: ArrayLike,
    *,
    kind: str = "exact",
    draws: int | None = None,
    seed: int | np.random.Generator = 0,
) -> PairsCoefficients:
    """What the risk with unlabelled pairs makes of Δ, σ², c and d: four numbers of p,
    n, m and λ alone.

    Parameters
    ----------
    p : int
        Features of the student.
    lam, n, m, kind, draws, seed
        As for `pairs_excess_risk`.

    Returns
    -------
    PairsCoefficients
        Of the shape that lam, n and m broadcast to.

    Raises
    ------
    ValueError
        As for `pairs_excess_risk`.
    """
    p = check.integer("p", p, 1)
    means, _ = _moments(p, *_checked(p, lam, n, m, kind), kind, draws, seed)
    return PairsCoefficients(*(means[..., part][()] for part in range(4)))


def pairs_excess_risk(
    model: JointGaussian,
    w1: ArrayLike,
    lam: ArrayLike,
    n: ArrayLike,
    m: ArrayLike,
    *,
    kind: str = "exact",
    draws: int | None = None,
    seed: int | np.random.Generator = 0,
    return_error: bool = False,
) -> Any:
    """E R over training samples of n labelled rows and m further pairs (x1, x2).

    Parameters
    ----------
    model : JointGaussian
    w1 : array_like (p1,) or (..., p1)
        Teachers.
    lam : array_like
        λ in [0, ∞], the weight of (T − wᵀx2)² on all n + m rows beside that of
        (y − wᵀx2)² on the n. For n < p2 − 1 the value at 0 is the limit from above: of
        all students that fit the labels exactly, the one nearest the teacher on the
        pairs.
    n, m : array_like of whole numbers
        n ≥ 1, m ≥ 0 and n + m > p2 + 1. lam, n, m and w1's (...) broadcast.
    kind : str
        "exact": the expectation at finite n, m and p2. It is a closed form for m = 0
        (that of `expected_excess_risk`), for λ = 0 and for λ = ∞; otherwise a mean over
        `draws` of the eigenvalues of H (a real Jacobi ensemble), with the traces of H
        and H⁻¹, whose means are known, as control variates.
        "first_order": n and m large at fixed p2. With a = λr/(1 + λr), r = (n + m)/n,
        it is a²Δ + (p2/n) [(1 − a)²σ² + (2a(1 − a)c + a²d)/r].
        "proportional": n, m and p2 large in proportion. For m = 0 it is `excess_risk`
        at κ = n/p2 > 1. Its relative error is about 1/(n + m − p2 − 1): slow where
        n + m is hardly larger than p2.
    draws : int ≥ 10, optional
        For "exact"; the default falls with p2, as eigenvalues fluctuate less the more
        there are, for a relative standard error of about 0.1 %. It is larger for λ
        below 0.1 where n is within a few rows of p2: ask for it.
    seed : int or Generator
        For "exact". All λ and all teachers share the draws.
    return_error : bool
        Return (risk, Monte Carlo standard error); the error is 0 for a closed form.

    Returns
    -------
    ndarray of the broadcast shape (float for scalars), or two of them
        E[(y − ŵᵀx2)²] − σ², in squared units of y.

    Raises
    ------
    ValueError
        On λ < 0; n + m ≤ p2 + 1, or λ = 0 and n within 1 of p2, where the mean is
        infinite (but to first order); another kind.

    References
    ----------
    A. Edelman, B. D. Sutton, The beta-Jacobi matrix model, the CS decomposition, and
    generalized singular value problems, Found. Comput. Math. 8 (2008), for the draws.
    """
    parts = _parts(model, w1)  # (..., 4)
    lam, n, m = _checked(model.p2, lam, n, m, kind)
    shape = check.broadcast(w1=parts.shape[:-1], lam=lam.shape, n=n.shape, m=m.shape)
    means, covariance = _moments(model.p2, lam, n, m, kind, draws, seed)
    risk = (parts * means).sum(-1)
    if kind == "exact" and (m == 0).any():
        # the same number to the last digit; the n of the others is of no account
        known = expected_excess_risk(model, w1, lam, np.where(m == 0, n, model.p2 + 2))
        risk = np.where(m == 0, known, risk)
    risk = np.broadcast_to(risk, shape)[()]
    if not return_error:
        return risk
    variance = np.einsum("...i,...ij,...j->...", parts, covariance, parts)
    error = np.sqrt(np.maximum(variance, 0.0))
    return risk, np.broadcast_to(error, shape)[()]


def optimal_pairs_lambda(
    model: JointGaussian,
    w1: ArrayLike,
    n: ArrayLike,
    m: ArrayLike,
    *,
    kind: str = "exact",
    draws: int | None = None,
    seed: int | np.random.Generator = 0,
) -> Array | float:
    """The λ in [0, ∞] with the least `pairs_excess_risk`.

    0 where none helps, inf where the imitator alone is best. "first_order" is a closed
    form: a/(r(1 − a)) with a = τ(σ² − c/r)/[Δ + τ(σ² − 2c/r + d/r)], τ = p2/n; so is
    m = 0 (that of `optimal_lambda`, at finite n). The others are searched for, to a
    relative 1e-6 for the draws at hand.

    Parameters
    ----------
    model, w1, n, m, kind, draws, seed
        As for `pairs_excess_risk`; n, m and w1's (...) broadcast.

    Returns
    -------
    ndarray of the broadcast shape (float for scalars)

    Raises
    ------
    ValueError
        As for `pairs_excess_risk`.
    """
    check.one_of("kind", kind, KINDS)
    n, m = _rows(model.p2, n, m)
    parts = _parts(model, w1)
    shape = check.broadcast(w1=parts.shape[:-1], n=n.shape, m=m.shape)
    if kind == "first_order":
        r = (n + m) / n
        found = _parabola(parts, model.p2 / n, r).optimal_lambda
        return np.broadcast_to(found / r, shape)[()]

    parts = np.broadcast_to(parts, (*shape, 4))
    n, m = np.broadcast_to(n, shape), np.broadcast_to(m, shape)
    best = np.zeros(shape)
    # at finite n the slope at 0 is known, so that 0 is no matter of the draws
    decided = (kind == "exact") & (n > model.p2 + 1)
    some = np.ones(shape, bool)
    some[decided] = _exceeds(
        _labels_are_worth(model, n, m)[decided], parts[decided][:, 2] / 2
    )
    for rows, pairs in sorted({*zip(n.flat, m.flat)}):
        here = (n == rows) & (m == pairs) & some
        if kind == "exact" and pairs == 0:
            spread = model.p2 / (rows - model.p2 - 1)
            best[here] = _parabola(parts[here], spread, np.ones(())).optimal_lambda
            continue
        law = _law(model.p2, int(rows), int(pairs), kind, draws, seed)
        # where the slope has decided, λ = 0 is not the best
        open_at_0 = abs(rows - model.p2) > 1 and not decided[here].any()
        best[here] = [_best_lambda(law, own, bool(open_at_0)) for own in parts[here]]
    return best[()]


def helps_with_pairs(
    model: JointGaussian, w1: ArrayLike, n: ArrayLike, m: ArrayLike
) -> NDArray[np.bool_] | bool:
    """Whether some λ > 0 beats the student of the n labels alone: c < σ²·r_eff.

    r_eff = 1 + m(n − 1)/[(n − p2)(n − p2 − 3)], the factor that `unlabelled_factor`
    gives for "additive"; infinite for n ≤ p2 + 3 and m > 0. Where it holds every small
    λ helps, and where it does not none does: exact at finite n, m and p2. For m = 0 it
    is `distillation_helps`. As there a teacher that always says 0 helps, by shrinking.

    Parameters
    ----------
    model : JointGaussian
    w1 : array_like (p1,) or (..., p1)
    n, m : array_like of whole numbers
        n > p2 + 1, m ≥ 0; n, m and w1's (...) broadcast.

    Returns
    -------
    ndarray of bool of the broadcast shape (bool for scalars)
        Ties, to within rounding, are False.

    Raises
    ------
    ValueError
        On n ≤ p2 + 1, where the labels alone have no finite mean risk (or, far below
        p2, one with a closed form for Σ22 ∝ I only).
    """
    n, m = _rows(model.p2, n, m)
    if (n <= model.p2 + 1).any():
        raise ValueError(f"`n` must be above p2 + 1 = {model.p2 + 1}, got {n}")
    c = model.teacher_moments(w1).with_residual
    check.broadcast(w1=c.shape, n=n.shape, m=m.shape)
    return _exceeds(_labels_are_worth(model, n, m), c)


def beats_shrinkage_with_pairs(
    model: JointGaussian,
    w1: ArrayLike,
    n: ArrayLike,
    m: ArrayLike,
    *,
    kind: str = "first_order",
    draws: int | None = None,
    seed: int | np.random.Generator = 0,
) -> NDArray[np.bool_] | bool:
    """Whether distilling, at its best λ and scale of the teacher, beats the best
    shrinkage: Cov(T, S)/Var S > (c/σ²)/r, with r = (n + m)/n.

    Equivalently (1/r)·Cov(T, S | y) + (1 − 1/r)(1 − R²)·Cov(T, S) > 0, with
    R² = Var S/Var y. Shrinking is distilling from a teacher that always says 0, on the
    same rows. With m = 0 it is `beats_shrinkage`, and with ever more pairs it asks for
    Cov(T, S) > 0 alone.

    Parameters
    ----------
    model : JointGaussian
    w1 : array_like (p1,) or (..., p1)
    n, m : array_like of whole numbers
        n ≥ 1, m ≥ 0 and n + m > p2 + 1; n, m and w1's (...) broadcast.
    kind : str
        "first_order": the law of n and m large at fixed p2. "exact": at finite n and m
        r is Var S·bias/(σ²·cross) of `pairs_coefficients` at the best shrinkage; it is
        not below (n + m)/n, and reaches the r_eff of `helps_with_pairs` where the best
        shrinkage is small. "proportional": the same in that limit.
    draws, seed
        For "exact", as for `pairs_excess_risk`.

    Returns
    -------
    ndarray of bool of the broadcast shape (bool for scalars)
        Ties, to within rounding, are False; so is all where S or e is constant.

    Raises
    ------
    ValueError
        On n + m ≤ p2 + 1, or another kind.
    """
    check.one_of("kind", kind, KINDS)
    n, m = _rows(model.p2, n, m)
    teacher = model.teacher_moments(w1)
    check.broadcast(w1=teacher.variance.shape, n=n.shape, m=m.shape)
    share = n / (n + m)  # 1/r
    if kind != "first_order" and model._student_variance * model.noise_variance > 0:
        share = _share_at_best_shrinkage(model, n, m, kind, draws, seed)
    beyond = (
        teacher.with_student * model.noise_variance
        - model._student_variance * teacher.with_residual * share
    )
    # a difference is rounding on the scale of what it is made of
    scale = np.sqrt(teacher.variance * model._student_variance) * model.S33
    answer = beyond > ROUNDING * scale
    return answer if answer.ndim else bool(answer)


def _share_at_best_shrinkage(
    model: JointGaussian,
    n: Array,
    m: Array,
    kind: str,
    draws: int | None,
    seed: int | np.random.Generator,
) -> Array:
    """σ²·cross/(Var S·bias) where the teacher that says 0 is best; 1 for m = 0."""
    n, m = np.broadcast_arrays(n, m)
    shares = np.ones(n.shape)
    silent = np.array([model._student_variance, model.noise_variance, 0.0, 0.0])
    for rows, pairs in sorted({*zip(n.flat, m.flat)}):
        if pairs == 0:
            continue
        law = _law(model.p2, int(rows), int(pairs), kind, draws, seed)
        lam = _best_lambda(law, silent, labels_alone=False)
        bias, _, cross, _ = law(np.array([lam]))[0][0]
        share = model.noise_variance * cross / (model._student_variance * bias)
        shares[(n == rows) & (m == pairs)] = share
    return shares


def _parts(model: JointGaussian, w1: ArrayLike) -> Array:
    """Δ, σ², 2c and d, (..., 4): what the coefficients are multiplied by."""
    w1 = model._teachers(w1)
    teacher = model.teacher_moments(w1)
    distance = ((model._imitator(w1) - model._student) ** 2).sum(-1)
    noise = np.broadcast_to(model.noise_variance, distance.shape)
    return np.stack(
        [distance, noise, 2 * teacher.with_residual, teacher.given_x2], axis=-1
    )


def _labels_are_worth(model: JointGaussian, n: Array, m: Array) -> Array:
    """σ²·r_eff, what c has to stay below; for n > p2 + 1."""
    p = model.p2
    with np.errstate(divide="ignore"):
        infinite = (n <= p + 3) & (m > 0) & (model.noise_variance > 0)
        room = np.where(n > p + 3, (n - p) * (n - p - 3), 1.0)
        factor = 1 + np.where(n > p + 3, m * (n - 1) / room, 0.0)
    return np.where(infinite, np.inf, model.noise_variance * factor)


def _rows(p: int, n: ArrayLike, m: ArrayLike) -> tuple[Array, Array]:
    counts = []
    for name, value, least in (("n", n, 1), ("m", m, 0)):
        array = check.finite(name, value)
        if (array != np.round(array)).any() or (array < least).any():
            raise ValueError(f"`{name}` must be whole numbers ≥ {least}, got {array}")
        counts.append(array)
    n, m = counts
    check.broadcast(n=n.shape, m=m.shape)
    if (n + m <= p + 1).any():
        raise ValueError(
            f"`n` + `m` must be above p2 + 1 = {p + 1} (up to there the mean risk is "
            f"infinite), got {n} and {m}"
        )
    return n, m


def _checked(
    p: int, lam: ArrayLike, n: ArrayLike, m: ArrayLike, kind: str
) -> tuple[Array, Array, Array]:
    check.one_of("kind", kind, KINDS)
    n, m = _rows(p, n, m)
    weight = mixing_weight(lam)
    lam = check.as_array("lam", lam).astype(np.float64)
    check.broadcast(lam=lam.shape, n=n.shape, m=m.shape)
    if kind != "first_order" and ((weight == 0) & (np.abs(n - p) <= 1)).any():
        raise ValueError(
            f"`lam` must be above 0 where n is within 1 of p2 = {p} (the student of "
            f"the labels alone has an infinite mean risk there), got {lam} and n = {n}"
        )
    return lam, n, m


def _moments(
    p: int,
    lam: Array,
    n: Array,
    m: Array,
    kind: str,
    draws: int | None,
    seed: int | np.random.Generator,
) -> tuple[Array, Array]:
    """The coefficients (..., 4), and the covariance (..., 4, 4) of their errors."""
    lam, n, m = np.broadcast_arrays(lam, n, m)
    means, covariance = np.empty((*lam.shape, 4)), np.empty((*lam.shape, 4, 4))
    for rows, pairs in sorted({*zip(n.flat, m.flat)}):
        here = (n == rows) & (m == pairs)
        law = _law(p, int(rows), int(pairs), kind, draws, seed)
        means[here], covariance[here] = law(lam[here])
    return means, covariance


def _law(
    p: int,
    n: int,
    m: int,
    kind: str,
    draws: int | None,
    seed: int | np.random.Generator,
) -> Callable[[Array], tuple[Array, Array]]:
    """λ (L,) ↦ coefficients (L, 4) and the covariance (L, 4, 4) of their errors."""
    if kind == "exact" and m > 0:
        return _Ensemble(p, n, m, draws, check.generator("seed", seed)).moments
    known = {
        "exact": _without_pairs,
        "first_order": _first_order,
        "proportional": _proportional,
    }[kind]

    def law(lam: Array) -> tuple[Array, Array]:
        return known(p, n, m, lam), np.zeros((len(lam), 4, 4))

    return law


def _without_pairs(p: int, n: int, m: int, lam: Array) -> Array:
    share, spread = mixing_weight(lam), p / (n - p - 1)
    return _of_shares(share, spread, 1.0)


def _first_order(p: int, n: int, m: int, lam: Array) -> Array:
    r = (n + m) / n
    return _of_shares(mixing_weight(lam * r), p / n, r)


def _of_shares(share: Array, spread: float, r: float) -> Array:
    """Coefficients (L, 4) where the teacher has one `share` along all directions."""
    rest = 1 - share
    columns = [
        share**2,
        spread * rest**2,
        spread * share * rest / r,
        spread * share**2 / r,
    ]
    return np.stack(columns, axis=-1)


def _proportional(p: int, n: int, m: int, lam: Array) -> Array:
    """The limit, with α = p/N, ν = n/N and t = λ/(1 + λ): f = tr F/p is the positive
    root of

    αf² + ((1 − t)(ν − α) + t(1 − 2α))f − t(1 − α) = 0,

    and tr F(I − F)/p = λ df/dλ = t(1 − t) df/dt.
    """
    alpha, nu = p / (n + m), n / (n + m)
    t = mixing_weight(lam)
    linear = (1 - t) * (nu - alpha) + t * (1 - 2 * alpha)
    constant = t * (1 - alpha)
    root = np.sqrt(linear**2 + 4 * alpha * constant)
    # the quotient without a difference, whatever the sign of the linear term
    with np.errstate(divide="ignore", invalid="ignore"):
        f = np.where(
            linear > 0, 2 * constant / (linear + root), (root - linear) / (2 * alpha)
        )
    slope = (1 - alpha - (1 - alpha - nu) * f) / root  # df/dt
    mixed = t * (1 - t) * slope
    scale = 1 / (1 - alpha)
    columns = [
        scale * (f - mixed - alpha * f**2),
        scale * alpha * (1 - t) ** 2 * slope,
        scale * alpha * mixed,
        scale * alpha * (f - mixed),
    ]
    return np.stack(columns, axis=-1)


class _Ensemble:
    """Draws of the eigenvalues of H, and the moments that follow from them."""

    def __init__(
        self, p: int, n: int, m: int, draws: int | None, rng: np.random.Generator
    ):
        self.p, self.n, self.N, self.q = p, n, n + m, n + m - p - 1
        if draws is None:
            draws = max(200, min(10_000, 40_000 // p))
        draws = check.integer("draws", draws, 10)
        self.theta = _jacobi_eigenvalues(p, n, m, draws, rng)
        self.controls = self._controls()

    def _controls(self) -> Array:
        """(draws, 1 or 2): traces of H and of its (pseudo-)inverse, less their means.

        The second only where its variance is finite.
        """
        p, n, N = self.p, self.n, self.N
        columns = [self.theta.sum(1) - p * n / N]
        if n > p + 3:
            columns.append((1 / self.theta).sum(1) - p * self.q / (n - p - 1))
        elif n < p - 3:
            positive = self.theta[:, p - n :]
            columns.append((1 / positive).sum(1) - n * (N - n - 1) / (p - n - 1))
        return np.stack(columns, axis=1)

    def moments(self, lam: Array) -> tuple[Array, Array]:
        means, covariances = [], []
        for each in lam:
            mean, covariance = self._at(float(each))
            means.append(mean)
            covariances.append(covariance)
        return np.array(means), np.array(covariances)

    def _at(self, lam: float) -> tuple[Array, Array]:
        p, n, N, q = self.p, self.n, self.N, self.q
        closed = np.zeros((4, 4))
        if np.isinf(lam):
            return np.array([1.0, 0.0, 0.0, p / q]), closed
        if lam == 0 and n > p:
            return np.array([0.0, p / (n - p - 1), 0.0, 0.0]), closed
        if lam == 0:
            # F is 1 where H is 0, and 0 elsewhere
            unseen = p - n
            bias = unseen * (N - 1 - unseen) / (p * q)
            label = n * (N - n - 1) / ((unseen - 1) * q)
            return np.array([bias, label, 0.0, unseen / q]), closed

        share = lam / (self.theta + lam)
        rest = self.theta / (self.theta + lam)
        square = (share**2).sum(1)
        mixed = (share * rest).sum(1)
        drawn = np.stack(
            [
                ((N - 1) * square - share.sum(1) ** 2) / (p * q),
                mixed / (lam * q),
                mixed / q,
                square / q,
            ],
            axis=1,
        )
        # regression on the control variates; its constant is the mean at their means
        draws = len(drawn)
        design = np.column_stack([np.ones(draws), self.controls])
        solution = np.linalg.lstsq(design, drawn, rcond=None)[0]
        left = drawn - design @ solution
        covariance = left.T @ left / (draws - design.shape[1]) / draws
        return solution[0], covariance


def _jacobi_eigenvalues(
    p: int, n: int, m: int, draws: int, rng: np.random.Generator
) -> Array:
    """Eigenvalues (draws, p) of H, the smallest first in each draw.

    H = QᵀQ for the n × p corner Q of a random rotation of n + m dimensions. For n < p
    there are p − n zeros, for m < p there are p − m ones; the rest are squares of the
    singular values of a bidiagonal matrix of independent beta variables (Edelman and
    Sutton 2008, β = 1).
    """
    zeros, ones = max(0, p - n), max(0, p - m)
    size = p - zeros - ones
    theta = np.zeros((draws, p))
    theta[:, p - ones :] = 1.0
    if size == 0:
        return theta
    a, b = abs(n - p), abs(m - p)
    falling = np.arange(size, 0, -1)
    cosines = rng.beta((a + falling) / 2, (b + falling) / 2, (draws, size))
    falling = falling[1:]
    turns = rng.beta(falling / 2, (a + b + 1 + falling) / 2, (draws, size - 1))
    # squares of the diagonal and of what stands above it
    diagonal = cosines.copy()
    diagonal[:, 1:] *= 1 - turns
    above = (1 - cosines[:, :-1]) * turns
    matrix = np.zeros((draws, size, size))
    at = np.arange(size)
    matrix[:, at, at] = np.sqrt(diagonal)
    matrix[:, at[:-1], at[1:]] = -np.sqrt(above)
    singular = np.linalg.svd(matrix, compute_uv=False)
    theta[:, zeros : zeros + size] = np.minimum(singular[:, ::-1] ** 2, 1.0)
    return theta


def _parabola(parts: Array, spread: ArrayLike, r: ArrayLike) -> RiskCoefficients:
    """The risk as a function of λr where the teacher has one share a = λr/(1 + λr)."""
    distance, noise, twice_c, d = np.moveaxis(parts, -1, 0)
    spread, r = np.asarray(spread), np.asarray(r)
    return RiskCoefficients(
        alpha=distance + spread * d / r,
        beta=spread * twice_c / (2 * r),
        delta=spread * noise,
    )


def _best_lambda(
    law: Callable[[Array], tuple[Array, Array]], parts: Array, labels_alone: bool
) -> float:
    """The λ with the least risk: on a grid with ∞, and with 0 if `labels_alone` has a
    risk; then between its neighbours there.
    """

    def risk(lam: Array) -> Array:
        return law(lam)[0] @ parts

    candidates = np.r_[0.0, _GRID, np.inf] if labels_alone else np.r_[_GRID, np.inf]
    at = int(risk(candidates).argmin())
    if candidates[at] in (0.0, np.inf):
        return float(candidates[at])
    inside = candidates[(candidates > 0) & np.isfinite(candidates)]
    at = int(np.searchsorted(inside, candidates[at]))
    low, high = inside[max(at - 1, 0)], inside[min(at + 1, len(inside) - 1)]
    found = minimize_scalar(
        lambda log: risk(np.exp([log]))[0],
        bounds=(np.log(low), np.log(high)),
        method="bounded",
        options={"xatol": 1e-7},
    )
    return float(np.exp(found.x))
