"""The algebra of Appendix A again, by SymPy, for two features a modality (and any
covariance).
"""

from __future__ import annotations

import pytest
import sympy as sp

P = 2
LAM, KAPPA = sp.symbols("lambda kappa", positive=True)
S11, S22 = (
    sp.Matrix(
        P, P, lambda i, j, k=k: sp.Symbol(f"s{k}_{min(i, j)}{max(i, j)}", real=True)
    )
    for k in (11, 22)
)
S12 = sp.Matrix(P, P, lambda i, j: sp.Symbol(f"s12_{i}{j}", real=True))
S13, S23, W1 = (
    sp.Matrix(P, 1, lambda i, _, k=k: sp.Symbol(f"{k}_{i}", real=True))
    for k in ("s13", "s23", "w")
)
S33 = sp.Symbol("s33", positive=True)
INVERSE = S22.adjugate() / S22.det()
W_STAR = INVERSE * S23
UNEXPLAINED = S11 - S12 * INVERSE * S12.T


def zero(expression) -> bool:
    return sp.expand(sp.numer(sp.together(expression))) == 0


def form(matrix, vector):
    return (vector.T * matrix * vector)[0]


SIGMA2 = S33 - form(S22, W_STAR)
C = (W1.T * (S13 - S12 * W_STAR))[0]
U = INVERSE * S12.T * W1 - W_STAR
EQ_13 = (
    LAM**2 * form(S22, U)
    + (SIGMA2 + 2 * LAM * C + LAM**2 * form(UNEXPLAINED, W1)) / (KAPPA - 1)
) / (1 + LAM) ** 2


def test_eq_4_to_8_the_label_is_a_mixture():
    y, s, t = sp.symbols("y s t")
    mixed = (y + LAM * t) / (1 + LAM)
    rest = (y - s) ** 2 + LAM * (s - t) ** 2 - (1 + LAM) * (s - mixed) ** 2
    assert not sp.simplify(rest).has(s)
    assert zero(rest - LAM / (1 + LAM) * (y - t) ** 2)


def test_eq_8_to_13():
    # (x1, x2, y) enter only through their covariances: E[ȳ²] and Cov(x2, ȳ) of ȳ = (y +
    # λ w1ᵀx1)/(1 + λ).
    second_moment = (S33 + 2 * LAM * (W1.T * S13)[0] + LAM**2 * form(S11, W1)) / (
        1 + LAM
    ) ** 2
    w_tilde = INVERSE * (S23 + LAM * S12.T * W1) / (1 + LAM)  # Eq. 10
    sigma_tilde2 = second_moment - form(S22, w_tilde)  # Eq. 11
    first_line = form(S22, w_tilde - W_STAR) + sigma_tilde2 / (KAPPA - 1)
    assert zero(first_line - EQ_13)
    assert zero(
        sigma_tilde2 * (1 + LAM) ** 2
        - (SIGMA2 + 2 * LAM * C + LAM**2 * form(UNEXPLAINED, W1))
    )  # Eq. 30


def test_eq_13_to_14_with_the_transposes():
    gradient = (
        sp.Matrix([sp.diff(EQ_13, w) for w in W1])
        * (1 + LAM) ** 2
        * (KAPPA - 1)
        / (2 * LAM)
    )

    def residual(curvature, aligned):
        return LAM * ((KAPPA - 1) * curvature + UNEXPLAINED) * W1 - (
            LAM * (KAPPA - 1) * aligned - (S13 - S12 * W_STAR)
        )

    corrected = residual(S12 * INVERSE * S12.T, S12 * W_STAR)
    printed = residual(S12.T * INVERSE * S12, S12.T * W_STAR)
    assert all(zero(a - b) for a, b in zip(gradient, corrected, strict=True))
    assert not any(zero(a - b) for a, b in zip(gradient, printed, strict=True))


def test_eq_14_to_15_with_the_transpose():
    independent = dict(
        zip(S13, S12 * W_STAR, strict=True)
    )  # x1 and y independent given x2
    # (κ − 1)·[Eq. 14's matrix]·w1 = (κ − 1)Σ12w*, whatever λ.
    matrix = S11 + (KAPPA - 2) * S12 * INVERSE * S12.T
    gradient = (
        sp.Matrix([sp.diff(EQ_13, w) for w in W1]).subs(independent)
        * (1 + LAM) ** 2
        * (KAPPA - 1)
        / 2
    )
    claimed = LAM**2 * (matrix * W1 - (KAPPA - 1) * S12 * W_STAR)
    assert all(zero(a - b) for a, b in zip(gradient, claimed, strict=True))


def test_eq_16_to_17():
    eq_16 = SIGMA2 / ((KAPPA - 1) * (1 + LAM) ** 2) + 2 * LAM / (KAPPA - 1) * C
    remainder = sp.diff(EQ_13 - eq_16, LAM).subs(LAM, 0)
    assert zero(remainder) and zero((EQ_13 - eq_16).subs(LAM, 0))
    assert zero(
        sp.diff(EQ_13, LAM).subs(LAM, 0) - 2 / (KAPPA - 1) * (C - SIGMA2)
    )  # negative exactly when Eq. 17 holds


def test_eq_17_to_21_and_22():
    # Cov(S, y) = Var S, so all of Eq. 17 and 21 is in sd T, sd S, sd y, ρ(T, S) and
    # ρ(T, y).
    sd_t, sd_y, rho_ts, rho_ty = sp.symbols("sd_t sd_y rho_ts rho_ty", positive=True)
    rho_sy = sp.Symbol("rho_sy", positive=True)
    sd_s = rho_sy * sd_y  # Eq. 20
    covariance_form = sd_y**2 * (1 - rho_sy**2) - (
        rho_ty * sd_t * sd_y - rho_ts * sd_t * sd_s
    )  # σ² − c
    correlation_form = rho_ts - (
        rho_ty / rho_sy - (1 - rho_sy**2) / rho_sy * sd_y / sd_t
    )
    assert zero(
        covariance_form - sd_t * sd_s * correlation_form
    )  # equal up to a positive factor
    assert zero(
        rho_sy - (1 / rho_sy - (1 - rho_sy**2) / rho_sy)
    )  # the equality in Eq. 22
    # Eq. 19's printed denominator sd_t·sd_s gives ρ(T, y)/ρ(S, y), with which Eq. 21
    # would not follow.
    printed = correlation_form.subs(rho_ty, rho_ty / rho_sy)
    assert not zero(covariance_form - sd_t * sd_s * printed)


def test_plain_form_of_eq_17_is_a_residual_moment():
    # E[(y − S)(y − T)] = E[y²] − E[yT] − E[Sy] + E[ST]
    moment = S33 - (W1.T * S13)[0] - (W_STAR.T * S23)[0] + (W1.T * S12 * W_STAR)[0]
    assert zero(moment - (SIGMA2 - C))


def test_best_lambda_and_its_gain():
    alpha, beta, delta = sp.symbols("alpha beta delta", real=True)
    risk = (alpha * LAM**2 + 2 * beta * LAM + delta) / (1 + LAM) ** 2
    best = (delta - beta) / (alpha - beta)
    assert zero(sp.diff(risk, LAM).subs(LAM, best))
    assert zero(
        delta - risk.subs(LAM, best) - (delta - beta) ** 2 / (alpha - 2 * beta + delta)
    )
    assert zero((risk - delta).subs(LAM, 2 * (delta - beta) / (alpha - delta)))
    assert zero(
        sp.diff(risk, LAM)
        - 2 * ((alpha - beta) * LAM - (delta - beta)) / (1 + LAM) ** 3
    )  # one sign change
    assert sp.limit(risk, LAM, sp.oo) == alpha


def test_eq_28_is_the_same_rational_form():
    # Σ22 = diag(D), which a rotation of x2 gives; τ and Ω as they are.
    tau, omega, d = sp.symbols("tau Omega d", positive=True)
    sigma2, c = sp.symbols("sigma2 c", real=True)
    eigen = sp.symbols("D0:2", positive=True)
    w_star, v = (sp.Matrix(sp.symbols(f"{name}0:2", real=True)) for name in ("a", "v"))
    sigma, inverse = sp.diag(*eigen), sp.diag(*(1 / (e + tau) for e in eigen))
    bar2 = (sigma2 + 2 * LAM * c + LAM**2 * d) / (1 + LAM) ** 2  # Eq. 30
    # ratio = σ̄/σ enters 28 through ratio·w_s, ratio² and ratio; a square root SymPy
    # need not know.
    ratio = sp.Symbol("ratio", positive=True)
    w_s = (w_star + LAM * v) / ((1 + LAM) * ratio)  # Eq. 29
    rest = sigma + tau * sp.eye(2) - ratio * sigma
    step = w_s - w_star
    eq_28 = (
        ratio**2 * form(sigma**3 * inverse**2, step)
        + omega
        / (1 - omega)
        * (bar2 + ratio**2 * tau**2 * form(sigma * inverse**2, w_s))
        - 2 * ratio * (w_star.T * sigma**2 * inverse**2 * rest * step)[0]
        + form(rest**2 * inverse**2 * sigma, w_star)
    )
    keep, lost, spread = inverse * sigma, tau * inverse, omega / (1 - omega)
    imitator, student = keep * v - w_star, -lost * w_star
    alpha = form(sigma, imitator) + spread * (d + form(sigma, lost * v))
    beta = (student.T * sigma * imitator)[0] + spread * (
        c + (w_star.T * lost * sigma * lost * v)[0]
    )
    delta = form(sigma, student) * (1 + spread) + spread * sigma2
    ours = (alpha * LAM**2 + 2 * beta * LAM + delta) / (1 + LAM) ** 2
    assert zero(eq_28 - ours)


@pytest.mark.parametrize("eigenvalue", [1, sp.Rational(5, 2)])
def test_isotropic_x2_has_eq_17_in_both_regimes(eigenvalue):
    # P = κI, Q = (1 − κ)I, r = κ/(1 − κ): the mean errors cancel from the slope, and
    # r(c − σ²) is left.
    tau = eigenvalue * (1 - KAPPA) / KAPPA
    keep, lost = eigenvalue / (eigenvalue + tau), tau / (eigenvalue + tau)
    spread = keep**2 / (keep * lost)
    assert zero(keep - KAPPA) and zero(keep - spread * lost)


def test_slope_in_the_teachers_share_at_the_best_shrinkage():
    # E‖a ŵ_y + b ŵ_T − w*‖², whose moments follow from ŵ_y = w* + X⁺e, ŵ_T = m + X⁺f
    a, b, s, v, sigma2, d, m2 = sp.symbols("a b s V sigma2 d m2", positive=True)
    ts, c = sp.symbols("Cov_TS c", real=True)
    risk = (
        a**2 * (v + s * sigma2)
        + 2 * a * b * (ts + s * c)
        + b**2 * (m2 + s * d)
        - 2 * a * v
        - 2 * b * ts
        + v
    )
    best = v / (v + s * sigma2)
    assert zero(sp.diff(risk, a).subs({a: best, b: 0}))
    slope = sp.diff(risk, b).subs({a: best, b: 0})
    assert zero(slope - 2 * s * (v * c - sigma2 * ts) / (v + s * sigma2))
    # The same in covariances with y = S + e: Cov(T, S)·Var y − Cov(T, y)·Cov(S, y)
    assert zero(ts * (v + sigma2) - (ts + c) * v - (sigma2 * ts - v * c))


def test_white_ridge_student_at_its_best_penalty():
    # Σ22 = I: P = kI, r = k²/(κ − k²). At the k of least δ the slope has N2's sign.
    k, v, sigma2 = sp.symbols("k V sigma2", positive=True)
    ts, c = sp.symbols("Cov_TS c", real=True)
    q, r = 1 - k, k**2 / (KAPPA - k**2)
    delta = q**2 * v * (1 + r) + r * sigma2
    beta = -q * (k * ts - v) + r * (c + q**2 * ts)
    at_best = {sigma2: v * (1 - k) * (KAPPA - k) / k}
    assert zero(sp.diff(delta, k).subs(at_best))
    claimed = k**2 / (KAPPA - k**2) * (c - sigma2 * ts / v)
    assert zero((beta - delta - claimed).subs(at_best))
    assert zero(delta - (q**2 * v * KAPPA + k**2 * sigma2) / (KAPPA - k**2))


def test_moments_of_the_law_of_the_risk():
    # R = (√B + σ̃ g1/√V)² + σ̃² χ²/V; moments of 1/V for V ~ χ²(ν), ν = n − p + 1
    n, p, bias, noise = sp.symbols("n p B noise", positive=True)
    inverse = 1 / (n - p - 1)
    inverse_square = inverse / (n - p - 3)
    mean = bias + noise * p * inverse
    given_v = 4 * bias * noise * inverse + 2 * p * noise**2 * inverse_square
    of_means = noise**2 * p**2 * (inverse_square - inverse**2)
    claimed = 4 * bias * noise * inverse + 2 * p * (n - 1) * noise**2 * inverse**2 / (
        n - p - 3
    )
    assert zero(given_v + of_means - claimed)
    assert zero(mean - bias - noise * p / (n - p - 1))


def test_factor_of_unlabelled_rows_in_eq_4():
    n, p, extra, c, sigma2 = sp.symbols("n p N c sigma2", positive=True)
    trace = p / (n - p - 1)  # E tr W⁻¹
    square = p * (n - 1) / ((n - p) * (n - p - 1) * (n - p - 3))  # E tr W⁻²
    slope = c * trace - sigma2 * (trace + extra * square)
    factor = 1 + extra * (n - 1) / ((n - p) * (n - p - 3))
    assert zero(slope - trace * (c - factor * sigma2))
