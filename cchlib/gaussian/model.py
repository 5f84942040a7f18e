"""The joint Gaussian model of Section 3 (Eq. 3), and random draws of it. Public names
are in `cchlib.gaussian`.
"""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular

from cchlib import check

Array = NDArray[np.float64]
_EPS = float(np.finfo(np.float64).eps)
# relative: two quantities closer than this are a tie, and strict inequalities between
# them are false
ROUNDING = 1e-12


class TeacherMoments(NamedTuple):
    """What the theory needs of a teacher's output T = w1ᵀx1; S = w*ᵀx2 and e = y − S.
    Each of shape (...).
    """

    variance: Array  # Var T
    with_student: Array  # Cov(T, S)
    with_residual: Array  # c = Cov(T, e) = w1ᵀ(Σ13 − Σ12 w*)
    given_student: Array  # Var(T | S)
    given_x2: Array  # d = Var(T | x2) = w1ᵀ(Σ11 − Σ12 Σ22⁻¹ Σ12ᵀ) w1


class JointGaussian:
    """x1 (teacher's modality), x2 (student's modality) and y, jointly Gaussian with
    mean zero (Eq. 3).

    Parameters
    ----------
    S11 : array_like (p1, p1)
    S12 : array_like (p1, p2)
    S13 : array_like (p1,)
    S22 : array_like (p2, p2)
        Must be invertible.
    S23 : array_like (p2,)
    S33 : float
        Blocks of the covariance matrix. The whole may be singular (a label that x1
        determines, for one).

    Raises
    ------
    ValueError
        Naming the block that is mis-shaped, not finite, not symmetric or not positive
        semi-definite (if each diagonal block is, the off-diagonal block that no joint
        distribution allows; otherwise all three together), or a singular S22.
        "Semi-definite" and "singular" are judged after scaling to unit variances, to
        within rounding.
    """

    def __init__(
        self,
        S11: ArrayLike,
        S12: ArrayLike,
        S13: ArrayLike,
        S22: ArrayLike,
        S23: ArrayLike,
        S33: ArrayLike,
    ):
        blocks = (S11, S12, S13, S22, S23, S33)
        self._narrow = any(
            str(getattr(block, "dtype", "")) in ("float16", "float32")
            for block in blocks
        )
        self.S11, self.S22 = _square("S11", S11), _square("S22", S22)
        self.p1, self.p2 = len(self.S11), len(self.S22)
        self.S12 = _shaped("S12", S12, (self.p1, self.p2))
        self.S13 = _shaped("S13", S13, (self.p1,))
        self.S23 = _shaped("S23", S23, (self.p2,))
        self.S33 = float(_shaped("S33", S33, ()))
        self._root = self._checked_root()
        self._cholesky = np.linalg.cholesky(self.S22)
        # In the coordinates Lᵀw (Σ22 = LLᵀ) the inner product aᵀΣ22b is the plain one,
        # and w* is L⁻¹Σ23: whatever can be said in them loses half as many digits to an
        # ill-conditioned Σ22 as a solve with Σ22 itself.
        self._student = solve_triangular(self._cholesky, self.S23, lower=True)
        self._student_variance = float(self._student @ self._student)

    @property
    def covariance(self) -> Array:
        """The whole covariance matrix, (p1 + p2 + 1, p1 + p2 + 1)."""
        x1_y, x2_y = self.S13[:, None], self.S23[:, None]
        return np.block(
            [
                [self.S11, self.S12, x1_y],
                [self.S12.T, self.S22, x2_y],
                [x1_y.T, x2_y.T, self.S33],
            ]
        )

    @cached_property
    def _largest_deviation(self) -> float:
        """Of a feature of x1."""
        return float(np.sqrt(np.diag(self.S11).max()))

    @cached_property
    def w_star(self) -> Array:
        """w* = Σ22⁻¹Σ23 (p2,), the best linear student."""
        return solve_triangular(self._cholesky, self._student, lower=True, trans="T")

    @cached_property
    def noise_variance(self) -> float:
        """σ² = Var(y | x2) = Σ33 − w*ᵀΣ22w*."""
        return float(_positive_part(self.S33 - self._student_variance, self.S33))

    @cached_property
    def teacher_star(self) -> Array:
        """Σ11⁻¹Σ13 (p1,), the best linear predictor of y from x1.

        Of least norm in standardised x1 where Σ11 is singular.
        """
        return solve_semidefinite(self.S11, self.S13)

    def teacher_moments(self, w1: ArrayLike) -> TeacherMoments:
        """Second moments of T = w1ᵀx1 for teachers w1 of shape (..., p1).

        Raises ValueError, here and wherever a w1 is taken, if it is not finite or of
        another length than p1.
        """
        w1 = self._teachers(w1)
        imitator = self._imitator(w1)
        variance = np.maximum(((w1 @ self.S11) * w1).sum(-1), 0.0)
        with_student = imitator @ self._student
        explained = (
            with_student**2 / self._student_variance
            if self._student_variance > 0
            else 0.0
        )
        given_x2 = _positive_part(variance - (imitator**2).sum(-1), variance)
        bound = np.sqrt(
            given_x2 * self.noise_variance
        )  # Cauchy–Schwarz, which rounding may not break
        return TeacherMoments(
            variance=variance,
            with_student=with_student,
            with_residual=np.clip(w1 @ self.S13 - with_student, -bound, bound),
            given_student=_positive_part(variance - explained, variance),
            given_x2=given_x2,
        )

    def teacher_student_mi(self, w1: ArrayLike) -> Array | float:
        """I(w1ᵀx1; w*ᵀx2) in nats, −½ log(1 − ρ²), for w1 (..., p1); shape (...).

        0 where either is constant, inf where they determine each other (``|ρ| = 1`` to
        within rounding).
        """
        teacher = self.teacher_moments(w1)
        return _mutual_information(teacher.given_student, teacher.variance)

    def student_label_mi(self) -> float:
        """I(w*ᵀx2; y) = ½ log(Σ33 / σ²) in nats; 0 for a constant label, inf for one
        that x2 determines.
        """
        return float(_mutual_information(self.noise_variance, self.S33))

    def sample(
        self, n: int, seed: int | np.random.Generator
    ) -> tuple[Array, Array, Array]:
        """`n` independent draws, x1 (n, p1), x2 (n, p2), y (n,); ValueError unless n is
        a whole number ≥ 1.
        """
        n = check.integer("n", n, 1)
        rows = (
            check.generator("seed", seed).standard_normal((n, len(self._root)))
            @ self._root.T
        )
        return rows[:, : self.p1], rows[:, self.p1 : -1], rows[:, -1]

    def _teachers(self, w1: ArrayLike) -> Array:
        w1 = check.finite("w1", w1)
        if w1.ndim == 0 or w1.shape[-1] != self.p1:
            raise ValueError(
                f"`w1` must have shape ({self.p1},) or (..., {self.p1}), got {w1.shape}"
            )
        # Var(T)² has to be a number too
        length = np.abs(w1).max(initial=0.0) * self._largest_deviation * self.p1
        if length > np.finfo(np.float64).max ** 0.25:
            raise ValueError(
                "`w1` must give an output w1ᵀx1 whose squared variance is finite, got "
                f"weights up to {np.abs(w1).max():.3g}"
            )
        return w1

    def _imitator(self, w1: Array) -> Array:
        """Lᵀv (..., p2) for v = Σ22⁻¹ Σ12ᵀ w1,
        the best student of the teacher alone.
        """
        flat = solve_triangular(
            self._cholesky, self.S12.T @ w1.reshape(-1, self.p1).T, lower=True
        )
        return flat.T.reshape(*w1.shape[:-1], self.p2)

    @cached_property
    def _spectrum(self) -> tuple[Array, Array]:
        """Eigenvalues D (p2,) of Σ22, and U with LᵀL = U diag(D) Uᵀ; by the SVD of L,
        for the digits of the small D.
        """
        _, singular, rotation = np.linalg.svd(self._cholesky)
        return singular**2, rotation.T

    def _checked_root(self) -> Array:
        """F with Σ = FFᵀ, once Σ is known to be a covariance
        and Σ22 to be invertible.
        """
        covariance = self.covariance
        scale = _unit_scale(covariance)
        correlation = covariance / scale / scale[:, None]
        of_x2 = slice(self.p1, self.p1 + self.p2)
        of_s22 = np.linalg.eigvalsh(correlation[of_x2, of_x2])
        if _semidefinite(of_s22) and of_s22[0] <= 10 * self.p2 * _EPS:
            raise ValueError(
                f"`S22` must be invertible, got the least eigenvalue {of_s22[0]:.3g} "
                "at unit variances: drop the features of x2 that the others determine"
            )
        values, vectors = np.linalg.eigh(correlation)
        if not _semidefinite(values):
            raise ValueError(self._blame(correlation))
        return scale[:, None] * vectors * np.sqrt(np.maximum(values, 0.0))

    def _blame(self, correlation: Array) -> str:
        """Which block keeps this from being a covariance: the first whose smallest
        principal minor is at fault.
        """
        of_x1, of_x2 = np.arange(self.p1), self.p1 + np.arange(self.p2)
        of_y = np.array([self.p1 + self.p2])
        parts = {
            "S11": of_x1,
            "S22": of_x2,
            "S33": of_y,
            "S12": np.r_[of_x1, of_x2],
            "S13": np.r_[of_x1, of_y],
            "S23": np.r_[of_x2, of_y],
            "S12, S13 and S23": np.arange(len(correlation)),
        }
        for name, part in parts.items():  # noqa: B007  (the last one is blamed)
            values = np.linalg.eigvalsh(correlation[np.ix_(part, part)])
            if not _semidefinite(values):
                break
        among = (
            ""
            if name in ("S11", "S22", "S33")
            else " together with the diagonal blocks"
        )
        hint = ""
        if self._narrow and values[0] > -1e-4:
            hint = " computed in float64: rounding to float32 can do this"
        return (
            f"{name}{among} must be positive semi-definite, blocks of one covariance "
            f"matrix{hint}, got the least eigenvalue {values[0]:.3g} at unit variances"
        )


def _unit_scale(matrix: Array) -> Array:
    """Standard deviations, with 1 for a variance of 0 or one that has underflowed (and
    has no digits to scale).
    """
    variance = np.diag(matrix)
    return np.sqrt(np.where(variance > np.finfo(np.float64).tiny / _EPS, variance, 1.0))


def _semidefinite(eigenvalues: NDArray[np.floating]) -> bool:
    return bool(eigenvalues[0] >= -100 * len(eigenvalues) * _EPS)


def solve_semidefinite(matrix: Array, rhs: Array) -> Array:
    """X with matrix·x = rhs for a positive semi-definite matrix: scaled to unit
    diagonal, least norm where singular.
    """
    scale = _unit_scale(matrix)
    rows = scale.reshape(-1, *[1] * (rhs.ndim - 1))
    return (
        np.linalg.lstsq(matrix / scale / scale[:, None], rhs / rows, rcond=None)[0]
        / rows
    )


def model_of_parts(
    share: float,
    along_student: float,
    along_residual: float,
    elsewhere: float = 0.0,
    noise: float = 0.0,
    *,
    p1: int = 1,
    p2: int = 2,
    seed: int | np.random.Generator = 0,
) -> tuple[JointGaussian, Array]:
    """A model and a teacher whose every condition can be read off five numbers.

    Var y = 1, y = S + e with S = w*ᵀx2 and e independent of x2, and the teacher's
    output is ``T = along_student·S + along_residual·e + elsewhere·z + noise·ν``, with z
    a unit-variance part of x2 that is independent of S, and ν independent of all else.
    So σ² = 1 − share, c = along_residual·σ², Var(T | x2) = along_residual²·σ² + noise²,
    Var(T | S) = that + elsewhere², and Eq. 17 says ``along_residual < 1``. Coordinates
    of x1 and x2 are mixed at random (`seed`).

    Parameters
    ----------
    share : float in [0, 1]
        Var S = ρ(S, y)², the part of the label's variance that x2 explains.
    along_student, along_residual, elsewhere, noise : float
    p1, p2 : int
        Features of x1 and x2; p2 ≥ 2 where `elsewhere` is not 0.

    Returns
    -------
    (JointGaussian, ndarray (p1,))
        The model, and w1.

    Raises
    ------
    ValueError
        On a share outside [0, 1], and where the parts make Var T so much larger than
        Var(T | x2) that no covariance matrix in double precision could hold both.
    """
    share = check.number("share", share, 0.0, 1.0)
    along_student = check.number("along_student", along_student)
    along_residual = check.number("along_residual", along_residual)
    elsewhere = check.number("elsewhere", elsewhere)
    noise = check.number("noise", noise)
    p1, p2 = check.integer("p1", p1, 1), check.integer("p2", p2, 2 if elsewhere else 1)
    given_x2 = along_residual**2 * (1 - share) + noise**2
    variance = along_student**2 * share + elsewhere**2 + given_x2
    # A covariance of exactly 0, or one that is nothing beside Var y, need not be held.
    if ROUNDING < given_x2 < ROUNDING * variance:
        raise ValueError(
            "`along_student` and `elsewhere` must be within a factor of 1e6, got "
            f"{along_student:g} and {elsewhere:g}, so that Var T is {variance:.3g} and "
            f"Var(T | x2) {given_x2:.3g}: a covariance matrix has no digits for both"
        )
    rng = check.generator("seed", seed)
    # Independent unit-variance factors: z_1 … z_p2 of x2 (z_1 ∝ S), e/σ, ν, and p1 − 1
    # that only x1 has.
    label = np.zeros(p2 + p1 + 1)
    label[0], label[p2] = np.sqrt(share), np.sqrt(1 - share)
    teacher = np.zeros_like(label)
    teacher[0], teacher[p2], teacher[p2 + 1] = (
        along_student * label[0],
        along_residual * label[p2],
        noise,
    )
    if elsewhere:
        teacher[1] = elsewhere
    others = rng.standard_normal((p1 - 1, len(label))) / np.sqrt(len(label))
    mix1, mix2 = (
        np.eye(p) + 0.3 * rng.standard_normal((p, p)) / np.sqrt(p)
        if p > 1
        else np.eye(1)
        for p in (p1, p2)
    )
    x1 = mix1 @ np.vstack([teacher, others])
    x2 = mix2 @ np.eye(p2, len(label))
    model = JointGaussian(
        x1 @ x1.T, x1 @ x2.T, x1 @ label, x2 @ x2.T, x2 @ label, label @ label
    )
    return model, np.linalg.solve(mix1.T, np.eye(p1)[0])


def random_model(
    seed: int | np.random.Generator,
    p1: int = 2,
    p2: int = 2,
    *,
    margin: float | None = None,
) -> tuple[JointGaussian, Array]:
    """A random model and teacher, anywhere or close to where the theorems' conditions
    change.

    Parameters
    ----------
    seed : int or Generator
    p1, p2 : int
    margin : float ≥ 0, optional
        None: a Wishart-like covariance with random scales, and a random teacher.
        Otherwise a draw of `model_of_parts` with each part independently free or within
        about `margin` of its boundary: the teacher ``|T| = |y|``
        (``along_student = ±1``, ``along_residual = 1``, nothing else), where the CCH,
        Eq. 17, Var T ≤ Var y and Var(T | x2) < Var(y | x2) are all ties. A theorem that
        is false by a little is false here.

    Returns
    -------
    (JointGaussian, ndarray (p1,))
        The model, and w1.
    """
    rng = check.generator("seed", seed)
    if margin is None:
        size = p1 + p2 + 1
        factor = rng.standard_normal((size, size + 1)) * rng.lognormal(
            sigma=0.7, size=(size, 1)
        )
        total = factor @ factor.T / size
        s1, s2 = slice(p1), slice(p1, p1 + p2)
        model = JointGaussian(
            total[s1, s1],
            total[s1, s2],
            total[s1, -1],
            total[s2, s2],
            total[s2, -1],
            total[-1, -1],
        )
        return model, rng.standard_normal(p1) * np.sqrt(model.S33 / np.trace(model.S11))
    margin = check.number("margin", margin, 0.0)
    free = rng.random(4) < 0.25
    near = margin * rng.standard_normal(4)
    sign = rng.choice([-1.0, 1.0])
    parts = {
        "along_student": rng.normal(scale=2.0) if free[0] else sign * (1 + near[0]),
        "along_residual": rng.normal(scale=2.0) if free[1] else 1 + near[1],
        "elsewhere": 0.0 if p2 == 1 else rng.normal() if free[2] else near[2],
        "noise": rng.normal() if free[3] else near[3],
    }
    return model_of_parts(rng.uniform(0.02, 0.98), **parts, p1=p1, p2=p2, seed=rng)


def _square(name: str, value: ArrayLike) -> Array:
    matrix = check.finite(name, value)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not matrix.size:
        raise ValueError(f"`{name}` must be a square matrix, got shape {matrix.shape}")
    asymmetry = np.abs(matrix - matrix.T).max()
    if asymmetry > 1e-10 * np.abs(matrix).max():
        raise ValueError(
            f"`{name}` must be symmetric, got entries that differ by up to "
            f"{asymmetry:.3g}"
        )
    return (matrix + matrix.T) / 2


def _shaped(name: str, value: ArrayLike, shape: tuple[int, ...]) -> Array:
    array = check.finite(name, value)
    if array.shape != shape:
        raise ValueError(
            f"`{name}` must have shape {shape}, got {array.shape} (p1 and p2 are those "
            "of S11 and S22)"
        )
    return array


def _positive_part(variance: ArrayLike, scale: ArrayLike) -> Array:
    """A difference of variances, with what is only rounding at `scale` put to the 0
    that it stands for.
    """
    variance = np.asarray(variance)
    return np.where(variance > ROUNDING * np.asarray(scale) / 10, variance, 0.0)


def _mutual_information(unexplained: ArrayLike, total: ArrayLike) -> Array | float:
    unexplained, total = np.asarray(unexplained, float), np.asarray(total, float)
    constant = total <= 0
    with np.errstate(divide="ignore"):
        ratio = np.where(constant, 1.0, unexplained / np.where(constant, 1.0, total))
        return np.maximum(-0.5 * np.log(ratio), 0.0)[()]
