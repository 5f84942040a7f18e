"""The synthetic data of Section 4.1 and Appendix B, and the covariance of Eq. 7.

Appendix B and Eq. 7 are two different distributions under the same names σ12, σ13, σ23:
`sample_appendix_b` draws the first exactly as printed, `equation7_covariance` writes
down the second (which is not a covariance for the paper's own numbers), and
`scaled_covariance` is Eq. 7 with its cross terms divided by √p, which is one.
"""

from __future__ import annotations

import numpy as np

from cchlib import check

READINGS = ("appendix_b", "scaled")


def appendix_b_coefficients(
    sigma12: float, sigma13: float, sigma23: float
) -> tuple[float, float, float]:
    """a, b and v of Appendix B: X1 | X2, Y ~ N(a X2 + b Y, v I).

    With x2 and y of one coordinate jointly Gaussian, unit variances and correlations
    σ12, σ13, σ23, these are the regression coefficients of x1 on (x2, y) and its
    residual variance.

    Raises
    ------
    ValueError
        Where ``|σ23| ≥ 1`` or v ≤ 0: no such Gaussian exists.
    """
    sigma12, sigma13, sigma23 = _correlations(sigma12, sigma13, sigma23)
    phi = 1 - sigma23**2
    if phi <= 0:
        raise ValueError(f"`sigma23` must be a correlation in (-1, 1), got {sigma23}")
    a = (sigma12 - sigma13 * sigma23) / phi
    b = (sigma13 - sigma12 * sigma23) / phi
    v = 1 - (sigma12**2 + sigma13**2 - 2 * sigma12 * sigma13 * sigma23) / phi
    if v <= 0:
        raise ValueError(
            "`sigma12`, `sigma13` and `sigma23` must leave a residual variance v > 0, "
            f"got {sigma12}, {sigma13} and {sigma23} with v = {v:.4g}; try a smaller "
            "|sigma12 - sigma13 * sigma23|"
        )
    return a, b, v


def sample_appendix_b(
    n: int, p: int, sigma12: float, sigma13: float, sigma23: float, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Appendix B's sampler, as printed: y ~ N(0, 1), x2 | y, x1 | x2, y coordinate by
    coordinate.

    Given y, the coordinates are independent, so Cov(x1) = (1 − c) I + c 11ᵀ with c =
    σ13², not the identity of Eq. 7.

    Returns
    -------
    x1 (n, p), x2 (n, p), y (n,) : float64 arrays
    """
    n, p = check.integer("n", n, 1), check.integer("p", p, 1)
    a, b, v = appendix_b_coefficients(sigma12, sigma13, sigma23)
    sigma23 = check.number("sigma23", sigma23)
    rng = check.generator("seed", seed)
    y = rng.standard_normal(n)
    x2 = sigma23 * y[:, None] + np.sqrt(1 - sigma23**2) * rng.standard_normal((n, p))
    x1 = a * x2 + b * y[:, None] + np.sqrt(v) * rng.standard_normal((n, p))
    return x1, x2, y


def appendix_b_covariance(
    p: int, sigma12: float, sigma13: float, sigma23: float
) -> np.ndarray:
    """Covariance of (x1, x2, y) under `sample_appendix_b`, (2p + 1, 2p + 1).

    Within a coordinate it has unit variances and correlations σ12, σ13, σ23; across
    coordinates y is what they share, which adds σ13², σ13 σ23 and σ23² off the
    diagonals of Σ11, Σ12 and Σ22.
    """
    p = check.integer("p", p, 1)
    appendix_b_coefficients(sigma12, sigma13, sigma23)
    sigma12, sigma13, sigma23 = _correlations(sigma12, sigma13, sigma23)
    eye, ones = np.eye(p), np.ones((p, p))
    s11 = eye + sigma13**2 * (ones - eye)
    s12 = sigma12 * eye + sigma13 * sigma23 * (ones - eye)
    s22 = eye + sigma23**2 * (ones - eye)
    return _assemble(s11, s12, np.full(p, sigma13), s22, np.full(p, sigma23))


def equation7_covariance(
    p: int, sigma12: float, sigma13: float, sigma23: float
) -> np.ndarray:
    """The matrix of Eq. 7, (2p + 1, 2p + 1), as printed, whether or not it is a
    covariance.

    It is positive semi-definite exactly when p (σ13² + σ23² − 2 σ12 σ13 σ23) ≤ 1 − σ12²
    (Schur complement of the block of x1 and x2).
    """
    p = check.integer("p", p, 1)
    sigma12, sigma13, sigma23 = _correlations(sigma12, sigma13, sigma23)
    eye = np.eye(p)
    return _assemble(eye, sigma12 * eye, np.full(p, sigma13), eye, np.full(p, sigma23))


def scaled_covariance(
    p: int, sigma12: float, sigma13: float, sigma23: float
) -> np.ndarray:
    """Eq. 7 with σ13 1/√p and σ23 1/√p for its last column: a covariance for every p if
    it is for p = 1.

    The label then has correlations σ13 and σ23 with the means of x1 and of x2, and w* =
    σ23 1/√p.
    """
    root = np.sqrt(check.integer("p", p, 1))
    sigma12, sigma13, sigma23 = _correlations(sigma12, sigma13, sigma23)
    return equation7_covariance(p, sigma12, sigma13 / root, sigma23 / root)


def sample_gaussian(
    covariance: np.ndarray, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x1 (n, p), x2 (n, p), y (n,) from N(0, covariance), the covariance (2p + 1, 2p +
    1).

    Raises
    ------
    ValueError
        Where the matrix is not symmetric, or not positive semi-definite (with its
        smallest eigenvalue).
    """
    check.integer("n", n, 1)
    covariance = check.finite("covariance", covariance)
    if (
        covariance.ndim != 2
        or covariance.shape[0] != covariance.shape[1]
        or covariance.shape[0] % 2 == 0
    ):
        raise ValueError(
            f"`covariance` must have shape (2p + 1, 2p + 1), got {covariance.shape}"
        )
    if not np.allclose(covariance, covariance.T, rtol=1e-9, atol=1e-12):
        raise ValueError(
            "`covariance` must be symmetric, got entries that differ by up to "
            f"{np.abs(covariance - covariance.T).max():.4g}"
        )
    try:
        factor = np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(covariance)
        if values[0] < -1e-10 * values[-1]:
            raise ValueError(
                "`covariance` must be positive semi-definite, got the smallest "
                f"eigenvalue {values[0]:.4g}"
            ) from None
        factor = vectors * np.sqrt(values.clip(0))
    rng = check.generator("seed", seed)
    z = rng.standard_normal((n, len(covariance))) @ factor.T
    p = len(covariance) // 2
    return z[:, :p], z[:, p : 2 * p], z[:, -1]


def _correlations(
    sigma12: float, sigma13: float, sigma23: float
) -> tuple[float, float, float]:
    """The three of them, each a number in [-1, 1]."""
    return (
        check.number("sigma12", sigma12, -1.0, 1.0),
        check.number("sigma13", sigma13, -1.0, 1.0),
        check.number("sigma23", sigma23, -1.0, 1.0),
    )


def _assemble(s11, s12, s13, s22, s23, s33: float = 1.0) -> np.ndarray:
    return np.block(
        [
            [s11, s12, s13[:, None]],
            [s12.T, s22, s23[:, None]],
            [s13[None], s23[None], np.array([[s33]])],
        ]
    )


def draw(
    reading: str,
    n: int,
    p: int,
    sigma12: float,
    sigma13: float,
    sigma23: float,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x1 (n, p), x2 (n, p), y (n,) under one of the two readings of Section 4.1:
    Appendix B, or Eq. 7 scaled.
    """
    if check.one_of("reading", reading, READINGS) == "appendix_b":
        return sample_appendix_b(n, p, sigma12, sigma13, sigma23, seed)
    return sample_gaussian(scaled_covariance(p, sigma12, sigma13, sigma23), n, seed)


def blocks(covariance: np.ndarray) -> tuple[np.ndarray, ...]:
    """S11, S12, S13, S22, S23, S33 of a (2p + 1, 2p + 1) covariance, as
    `cchlib.gaussian.JointGaussian` takes them.
    """
    p = len(covariance) // 2
    one, two = slice(0, p), slice(p, 2 * p)
    return (
        covariance[one, one],
        covariance[one, two],
        covariance[one, -1],
        covariance[two, two],
        covariance[two, -1],
        float(covariance[-1, -1]),
    )


def reading_covariance(
    reading: str, p: int, sigma12: float, sigma13: float, sigma23: float
) -> np.ndarray:
    """The covariance (2p + 1, 2p + 1) that `draw` samples from."""
    build = (
        appendix_b_covariance
        if check.one_of("reading", reading, READINGS) == "appendix_b"
        else scaled_covariance
    )
    return build(p, sigma12, sigma13, sigma23)
