"""`cchlib.gaussian`: arguments, closed forms worked by hand, high-precision references,
invariances.
"""

from __future__ import annotations

import time

import mpmath
import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cchlib import gaussian
from cchlib.gaussian import (
    JointGaussian,
    RiskCoefficients,
    additive_lambda,
    cch_holds,
    correlation_condition,
    distillation_helps,
    effective_ridge,
    excess_risk,
    expected_excess_risk,
    mixing_weight,
    model_of_parts,
    optimal_lambda,
    optimal_teacher,
    random_model,
    risk_coefficients,
    risk_slope,
    simulate_excess_risk,
)


def blocks(**changed):
    """A covariance with p1 = 2, p2 = 3."""
    sound = {
        "S11": np.eye(2),
        "S12": np.full((2, 3), 0.1),
        "S13": np.array([0.3, -0.2]),
        "S22": np.diag([1.0, 2.0, 3.0]),
        "S23": np.array([0.5, 0.1, 0.0]),
        "S33": 1.0,
    }
    return sound | changed


# ---- the model


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("S11", np.ones((2, 3)), "`S11` .*square"),
        ("S11", np.array([[1.0, 0.5], [0.2, 1.0]]), "`S11` .*symmetric"),
        ("S11", np.array([[1.0, 2.0], [2.0, 1.0]]), "S11.*positive semi-definite"),
        ("S11", np.array([[1.0, np.nan], [np.nan, 1.0]]), "`S11` .*NaN"),
        ("S11", np.diag([1.0, -1.0]), "S11.*positive semi-definite"),
        ("S12", np.zeros((3, 2)), r"`S12`.*\(2, 3\), got \(3, 2\)"),
        ("S12", np.full((2, 3), 1.0), "S12.*positive semi-definite"),
        ("S12", np.full((2, 3), np.inf), "`S12` .*infinite"),
        ("S13", np.zeros(3), r"`S13`.*got \(3,\)"),
        ("S13", np.array([0.9, 0.9]), "S13.*positive semi-definite"),
        ("S22", np.diag([1.0, 2.0, -1e-3]), "S22.*positive semi-definite"),
        ("S22", np.eye(3) + np.eye(3, k=1), "`S22` .*symmetric"),
        ("S22", np.ones((3, 3)), "`S22` must be invertible"),
        ("S22", np.diag([1.0, 2.0, 0.0]), "S22"),
        ("S23", np.zeros((3, 1)), r"`S23`.*got \(3, 1\)"),
        ("S23", np.array([1.1, 0.0, 0.0]), "S23.*positive semi-definite"),
        ("S23", "abc", "`S23` must"),
        ("S33", -1.0, "S33.*positive semi-definite"),
        ("S33", np.nan, "`S33` .*NaN"),
        ("S33", np.ones(2), "`S33`.*shape"),
    ],
)
def test_bad_blocks_are_refused_by_name(name, value, said):
    with pytest.raises(ValueError, match=said):
        JointGaussian(**blocks(**{name: value}))


def test_pairs_that_are_fine_alone_but_not_together():
    # corr(x1, x2) = corr(x2, y) = .9 and corr(x1, y) = −.9
    with pytest.raises(ValueError, match="S12, S13 and S23 together"):
        JointGaussian([[1.0]], [[0.9]], [-0.9], [[1.0]], [0.9], 1.0)


def test_singular_whole_with_invertible_s22_is_accepted_but_not_singular_s22():
    JointGaussian([[1.0]], [[0.5]], [1.0], [[1.0]], [0.5], 1.0)  # x1 = y
    x2 = np.array(
        [[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]]
    )  # the third feature is the sum of the first two
    with pytest.raises(ValueError, match="`S22` must be invertible"):
        JointGaussian(
            np.eye(2), np.zeros((2, 3)), np.zeros(2), x2.T @ x2, np.zeros(3), 1.0
        )


def test_equation_7_is_not_a_covariance_once_sigma23_exceeds_one_over_root_p():
    p = 100
    JointGaussian(
        np.eye(p), 0.5 * np.eye(p), np.zeros(p), np.eye(p), np.full(p, 0.08), 1.0
    )
    with pytest.raises(ValueError, match="S23"):
        JointGaussian(
            np.eye(p), 0.5 * np.eye(p), np.zeros(p), np.eye(p), np.full(p, 0.11), 1.0
        )


def test_attributes_by_hand():
    # x2 = (a, b) with variances 1 and 4, y = 2a + b + e, Var e = 3; x1 = a + e.
    model = JointGaussian(
        [[4.0]], [[1.0, 0.0]], [5.0], np.diag([1.0, 4.0]), [2.0, 4.0], 4 + 4 + 3
    )
    assert model.w_star == pytest.approx(
        [2, 1]
    ) and model.noise_variance == pytest.approx(3)
    assert model.teacher_star == pytest.approx([5 / 4])
    teacher = model.teacher_moments([2.0])  # T = 2a + 2e
    assert teacher == pytest.approx((16, 4, 6, 16 - 16 / 8, 12))
    assert model.teacher_student_mi([2.0]) == pytest.approx(
        -0.5 * np.log(1 - 16 / (16 * 8))
    )
    assert model.student_label_mi() == pytest.approx(0.5 * np.log(11 / 3))
    assert (
        not cch_holds(model, [2.0])
        and not distillation_helps(model, [2.0])
        and distillation_helps(model, [0.9])
    )


def test_mutual_information_at_its_ends():
    determined = JointGaussian(
        [[1.0]], [[1.0]], [1.0], [[1.0]], [1.0], 1.0
    )  # x1 = x2 = y
    assert (
        determined.student_label_mi() == np.inf
        and determined.teacher_student_mi([-3.0]) == np.inf
    )
    assert not cch_holds(determined, [1.0])  # inf > inf is a tie
    unrelated = JointGaussian([[1.0]], [[0.0]], [0.0], [[1.0]], [0.0], 1.0)
    assert unrelated.student_label_mi() == 0 and unrelated.teacher_student_mi(
        [[1.0], [0.0]]
    ) == pytest.approx([0, 0])
    constant = JointGaussian([[1.0]], [[0.5]], [0.0], [[1.0]], [0.0], 0.0)
    assert constant.student_label_mi() == 0


def test_teacher_that_is_the_label_is_a_tie_everywhere():
    for seed in range(20):
        model, w1 = model_of_parts(0.3 + seed / 40, 1.0, 1.0, p1=3, p2=3, seed=seed)
        assert (
            not cch_holds(model, w1)
            and not distillation_helps(model, w1)
            and not correlation_condition(model, w1)
        )
        assert optimal_lambda(model, w1, [0.5, 2.0])[1] == 0


def test_label_that_x2_determines_leaves_nothing_to_help():
    for seed in range(20):
        model, w1 = model_of_parts(1.0, 0.7, 0.3, 0.2, 0.5, p1=3, p2=4, seed=seed)
        assert model.noise_variance == 0 and model.student_label_mi() == np.inf
        assert (
            not cch_holds(model, w1)
            and not distillation_helps(model, w1)
            and optimal_lambda(model, w1, 2.0) == 0
        )


def test_a_variance_that_underflows_is_no_error():
    model, w1 = model_of_parts(0.5, 0.0, 0.0, noise=1e-160)
    assert (
        model.teacher_student_mi(w1) == 0
        and distillation_helps(model, w1)
        and not cch_holds(model, w1)
    )


def test_samples_have_the_covariance_and_repeat():
    model, _ = random_model(3, 2, 3)
    x1, x2, y = model.sample(200_000, 0)
    assert (
        x1.shape == (200_000, 2) and x2.shape == (200_000, 3) and y.shape == (200_000,)
    )
    drawn = np.c_[x1, x2, y]
    scale = np.sqrt(np.diag(model.covariance))
    assert (
        np.abs(
            (drawn.T @ drawn / len(y) - model.covariance) / np.outer(scale, scale)
        ).max()
        < 0.015
    )
    assert all(
        (a == b).all()
        for a, b in zip(model.sample(5, 7), model.sample(5, 7), strict=True)
    )
    x1, x2, y = JointGaussian([[4.0]], [[1.0]], [2.0], [[1.0]], [0.5], 1.0).sample(
        100, 0
    )  # x1 = 2y
    assert np.allclose(x1[:, 0], 2 * y, atol=1e-6)


# ---- arguments of the risk


def test_broadcasting_and_types():
    model, _ = random_model(0, 3, 4)
    w1 = np.random.default_rng(0).standard_normal((5, 3))
    lam, kappa = (
        np.array([0.0, 0.5, np.inf])[:, None, None],
        np.array([0.4, 0.9, 1.2, 7.0])[:, None],
    )
    risk = excess_risk(model, w1, lam, kappa)
    assert risk.shape == (3, 4, 5)
    for i, j, k in np.ndindex(risk.shape):
        one = excess_risk(model, w1[k], float(lam[i, 0, 0]), float(kappa[j, 0]))
        assert isinstance(one, float) and one == pytest.approx(risk[i, j, k], rel=1e-12)
    assert excess_risk(model, w1.reshape(5, 1, 3), 0.1, 2.0).shape == (5, 1)
    assert expected_excess_risk(model, w1, 0.3, np.array([[10], [20]])).shape == (2, 5)
    assert (
        optimal_lambda(model, w1, kappa).shape
        == risk_slope(model, w1, kappa).shape
        == (4, 5)
    )
    assert optimal_teacher(model, 1.0, 2.0).shape == (3,)
    assert optimal_teacher(model, [[0.1], [1.0]], [0.5, 2.0, 3.0]).shape == (2, 3, 3)
    assert cch_holds(model, w1).dtype == bool and isinstance(
        distillation_helps(model, w1[0]), bool
    )
    assert model.teacher_student_mi(w1).shape == (5,) and isinstance(
        model.teacher_student_mi(w1[0]), float
    )
    assert isinstance(optimal_lambda(model, w1[0], 2.0), float) and isinstance(
        effective_ridge(model, 0.5), float
    )


@pytest.mark.parametrize(
    "call, said",
    [
        (lambda m, w: excess_risk(m, w, -0.1, 2.0), "lam"),
        (lambda m, w: excess_risk(m, w, [0.1, np.nan], 2.0), "lam"),
        (lambda m, w: excess_risk(m, w, "much", 2.0), "lam"),
        (lambda m, w: excess_risk(m, w, 0.1, [0.5, 1.0]), "kappa. must not be 1"),
        (lambda m, w: excess_risk(m, w, 0.1, 0.0), "kappa"),
        (lambda m, w: excess_risk(m, w, 0.1, np.nan), "kappa"),
        (lambda m, w: excess_risk(m, w[:1], 0.1, 2.0), "`w1`.*shape"),
        (
            lambda m, w: excess_risk(m, np.array([1.0, np.inf]), 0.1, 2.0),
            "`w1` .*infinite",
        ),
        (lambda m, w: expected_excess_risk(m, w, 0.1, 4), "`n`.*got 4"),
        (lambda m, w: expected_excess_risk(m, w, 0.1, 9.5), "`n`.*got 9.5"),
        (lambda m, w: risk_coefficients(m, w), "exactly one"),
        (lambda m, w: risk_slope(m, w, 1.0), "kappa"),
        (lambda m, w: optimal_lambda(m, w, 1.0), "kappa"),
        (lambda m, w: optimal_teacher(m, 0.0, 2.0), "lam"),
        (lambda m, w: optimal_teacher(m, 0.1, 1.0), "kappa"),
        (lambda m, w: m.teacher_student_mi(np.ones(3)), "`w1`.*shape"),
        (lambda m, w: correlation_condition(m, 0 * w), "distillation_helps"),
        (lambda m, w: simulate_excess_risk(m, w, 0.1, 10, 1, 0), "trials"),
        (lambda m, w: m.sample(0, 0), "`n`.*got 0"),
        (
            lambda m, w: excess_risk(m, w, np.ones(3), np.full(2, 2.0)),
            r"`lam` \(3,\), `coefficients` \(2,\)",
        ),
        (
            lambda m, w: excess_risk(m, np.stack([w, w]), 0.1, np.full(3, 2.0)),
            r"`w1` \(2,\), `kappa` \(3,\)",
        ),
        (
            lambda m, w: optimal_teacher(m, np.ones(3), np.full(2, 2.0)),
            r"`lam` \(3,\), `kappa` \(2,\)",
        ),
        (
            lambda m, w: simulate_excess_risk(
                m, np.stack([w, w]), np.ones(3), 10, 2, 0
            ),
            r"`lam` \(3,\), `w1` \(2,\)",
        ),
        (lambda m, w: additive_lambda(1.1), "weight"),
        (lambda m, w: model_of_parts(1.5, 1, 1), "share"),
    ],
)
def test_bad_arguments_are_refused_by_name(call, said):
    model, w1 = random_model(0, 2, 3)
    with pytest.raises(ValueError, match=said):
        call(model, w1)


def test_all_is_public():
    assert all(hasattr(gaussian, name) for name in gaussian.__all__)


# ---- closed forms


def test_one_feature_by_hand():
    # x2 ~ N(0,1), y = x2 + e, T = x1 = 2 x2 + e/2 + ν, Var e = Var ν = 1: A = 1, c =
    # 1/2, d = 5/4, σ² = 1.
    model = JointGaussian([[4 + 0.25 + 1]], [[2.0]], [2.5], [[1.0]], [1.0], 2.0)
    assert risk_coefficients(model, [1.0], 3.0) == pytest.approx(
        (1 + 1.25 / 2, 0.25, 0.5)
    )
    assert excess_risk(model, [1.0], 1.0, 3.0) == pytest.approx((1.625 + 0.5 + 0.5) / 4)
    assert expected_excess_risk(model, [1.0], 1.0, 4) == pytest.approx(
        (1 + (1 + 1 + 1.25) / 2) / 4
    )
    assert risk_slope(model, [1.0], 3.0) == pytest.approx(-0.5)
    assert optimal_lambda(model, [1.0], 3.0) == pytest.approx(0.25 / 1.375)


def test_lambda_in_every_case():
    def found(alpha, beta, delta):
        c = RiskCoefficients(alpha, beta, delta)
        return c.optimal_lambda, c.gain, c.helpful_below

    assert found(3.0, 0.5, 1.0) == pytest.approx(
        (0.2, 0.25 / 3, 0.5)
    )  # inside, up to a limit
    assert found(0.8, 0.5, 1.0) == pytest.approx(
        (0.5 / 0.3, 0.25 / 0.8, np.inf)
    )  # inside, every λ helps
    assert found(0.5, 0.6, 1.0) == pytest.approx(
        (np.inf, 0.5, np.inf)
    )  # the imitator alone
    assert found(0.5, 0.5, 1.0) == pytest.approx((np.inf, 0.5, np.inf))
    assert found(2.0, 1.2, 1.0) == (0, 0, 0)  # Eq. 17 fails
    assert found(1.0, 1.0, 1.0) == (0, 0, 0)  # constant in λ
    assert found(4.0, 0.0, 0.0) == (0, 0, 0)  # nothing to gain
    many = RiskCoefficients(
        *np.array([[3.0, 0.5, 1.0], [0.5, 0.6, 1.0], [2.0, 1.2, 1.0]]).T
    )
    assert many.optimal_lambda == pytest.approx([0.2, np.inf, 0])


@pytest.mark.parametrize("kappa", [0.4, 1.7])
def test_slope_and_best_lambda_against_a_numerical_search(kappa):
    for seed in range(10):
        model, w1 = random_model(seed, 3, 4)
        step = 1e-6
        numeric = (
            excess_risk(model, w1, step, kappa) - excess_risk(model, w1, 0.0, kappa)
        ) / step
        assert risk_slope(model, w1, kappa) == pytest.approx(
            numeric, rel=1e-3, abs=1e-5 * model.S33
        )
        search = minimize_scalar(
            lambda mu: excess_risk(model, w1, mu / (1 - mu), kappa),  # noqa: B023
            bounds=(0, 1 - 1e-9),
            method="bounded",
            options={"xatol": 1e-10},
        )
        best = optimal_lambda(model, w1, kappa)
        assert excess_risk(model, w1, best, kappa) <= search.fun * (1 + 1e-12)
        assert (1 if np.isinf(best) else best / (1 + best)) == pytest.approx(
            search.x, abs=1e-5
        )


@pytest.mark.parametrize("kappa", [0.5, 1.2, 4.0])
@pytest.mark.parametrize("lam", [0.2, 2.0])
def test_optimal_teacher_is_the_stationary_minimum(lam, kappa):
    model, _ = random_model(2, 3, 3)
    best = optimal_teacher(model, lam, kappa)
    around = best + 1e-2 * np.random.default_rng(0).standard_normal((200, 3))
    risk = excess_risk(model, best, lam, kappa)
    assert (excess_risk(model, around, lam, kappa) > risk).all()
    steps = 1e-4 * np.r_[np.eye(3), -np.eye(3)]
    ahead, behind = np.split(excess_risk(model, best + steps, lam, kappa), 2)
    assert np.abs(ahead - behind).max() < 1e-9
    # Affine in 1/λ.
    one, two, four = optimal_teacher(model, [1.0, 2.0, 4.0], kappa)
    assert two - four == pytest.approx((one - two) / 2, abs=1e-9)


def test_equations_14_and_15_need_their_transposes():
    model, _ = random_model(3, 3, 3)
    lam, kappa = 0.5, 2.5
    inverse = np.linalg.inv(model.S22)
    unexplained = model.S11 - model.S12 @ inverse @ model.S12.T
    residual = model.S13 - model.S12 @ model.w_star

    def solution(curvature, aligned):
        return np.linalg.solve(
            lam * (curvature + unexplained / (kappa - 1)),
            lam * aligned - residual / (kappa - 1),
        )

    corrected = solution(model.S12 @ inverse @ model.S12.T, model.S12 @ model.w_star)
    printed = solution(model.S12.T @ inverse @ model.S12, model.S12.T @ model.w_star)
    assert optimal_teacher(model, lam, kappa) == pytest.approx(corrected)
    assert excess_risk(model, printed, lam, kappa) > excess_risk(
        model, corrected, lam, kappa
    )
    independent = JointGaussian(
        model.S11, model.S12, model.S12 @ model.w_star, model.S22, model.S23, model.S33
    )
    eq_15 = (kappa - 1) * np.linalg.solve(
        model.S11 + (kappa - 2) * model.S12 @ inverse @ model.S12.T,
        model.S12 @ model.w_star,
    )
    assert optimal_teacher(independent, [0.1, 1.0, 9.0], kappa) == pytest.approx(
        np.tile(eq_15, (3, 1))
    )


def test_optimal_teacher_with_a_redundant_feature():
    model, _ = random_model(1, 2, 3)
    twice = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    doubled = JointGaussian(
        twice @ model.S11 @ twice.T,
        twice @ model.S12,
        twice @ model.S13,
        model.S22,
        model.S23,
        model.S33,
    )
    for kappa in (0.5, 2.0):
        split = optimal_teacher(doubled, 0.7, kappa)
        assert split[0] == pytest.approx(split[2])
        assert split @ twice == pytest.approx(optimal_teacher(model, 0.7, kappa))
    assert doubled.teacher_star @ twice == pytest.approx(model.teacher_star)


def test_effective_ridge_solves_its_equation():
    model, _ = random_model(0, 2, 30)
    kappa = np.array([1e-3, 0.3, 0.999999, 2.0])
    tau = effective_ridge(model, kappa)
    trace = [
        np.trace(np.linalg.solve(model.S22 + t * np.eye(30), model.S22)) for t in tau
    ]
    assert trace == pytest.approx(30 * np.minimum(kappa, 1), rel=1e-10) and tau[-1] == 0
    isotropic = JointGaussian(
        [[1.0]], np.zeros((1, 4)), [0.0], 3 * np.eye(4), np.zeros(4), 1.0
    )
    assert effective_ridge(isotropic, 0.25) == pytest.approx(3 * 0.75 / 0.25)


def test_risk_rises_to_a_peak_at_kappa_1_from_both_sides():
    model, w1 = random_model(0, 3, 20)
    for lam in (0.0, 0.3, 1.0):
        peak = excess_risk(
            model, w1, lam, np.array([0.9, 0.99, 0.999, 1.001, 1.01, 1.1])
        )
        assert (np.diff(peak[:3]) > 0).all() and (np.diff(peak[3:]) < 0).all()
        assert peak[2] == pytest.approx(peak[3], rel=0.05)
        assert peak[2] > 5 * excess_risk(model, w1, lam, 0.5) > 0
    simulated, _ = simulate_excess_risk(model, w1, 0.0, 20, 100, 0)
    assert simulated > 3 * max(
        simulate_excess_risk(model, w1, 0.0, n, 100, 0)[0] for n in (8, 50)
    )


# ---- numerics


def reference_risk(model, w1, lam, kappa):
    """Eqs. 13 and 28 (unified) in 60 digits, from the same float64 blocks."""
    with mpmath.workdps(60):
        S11, S12, S22 = (
            mpmath.matrix(block.tolist()) for block in (model.S11, model.S12, model.S22)
        )
        S13, S23, w = (mpmath.matrix(v.tolist()) for v in (model.S13, model.S23, w1))
        inverse = S22**-1
        w_star, v = inverse * S23, inverse * S12.T * w
        noise = mpmath.mpf(model.S33) - (w_star.T * S23)[0]
        c = (w.T * S13)[0] - (w.T * S12 * w_star)[0]
        d = (w.T * S11 * w)[0] - (w.T * S12 * v)[0]
        identity = mpmath.eye(model.p2)
        if kappa > 1:
            keep, spread = identity, 1 / (mpmath.mpf(kappa) - 1)
        else:

            def ridged(tau):
                return (S22 + tau * identity) ** -1 * S22

            def trace(matrix):
                return sum(matrix[i, i] for i in range(model.p2))

            tau = mpmath.findroot(
                lambda t: trace(ridged(t)) - mpmath.mpf(kappa) * model.p2,
                mpmath.mpf(effective_ridge(model, kappa)),
            )
            keep = ridged(tau)
            omega = trace(keep * keep) / (mpmath.mpf(kappa) * model.p2)
            spread = omega / (1 - omega)
        lost = identity - keep
        mean = (w_star + lam * v) / (1 + mpmath.mpf(lam))
        noise_bar = (noise + 2 * lam * c + mpmath.mpf(lam) ** 2 * d) / (
            1 + mpmath.mpf(lam)
        ) ** 2
        off, shrunk = keep * mean - w_star, lost * mean
        return float(
            (off.T * S22 * off)[0] + spread * (noise_bar + (shrunk.T * S22 * shrunk)[0])
        )


@pytest.mark.parametrize("kappa", [0.5, 2.0])
@pytest.mark.parametrize("condition", [1e2, 1e6, 1e12])
def test_ill_conditioned_covariances_keep_their_digits(condition, kappa):
    rng = np.random.default_rng(0)
    p = 6
    rotation = np.linalg.qr(rng.standard_normal((p, p)))[0]
    root = rotation * np.logspace(0, -np.log10(condition) / 2, p)
    to_x1, to_y = rng.standard_normal((3, p)) / 3, rng.standard_normal(p) / 3
    S22 = root @ root.T
    model = JointGaussian(
        to_x1 @ to_x1.T + 0.5 * np.eye(3),
        to_x1 @ root.T,
        to_x1 @ to_y + 0.2,
        (S22 + S22.T) / 2,
        root @ to_y,
        to_y @ to_y + 1.0,
    )
    w1 = rng.standard_normal(3)
    for lam in (0.0, 0.7):
        # The blocks, rounded to float64, fix the answer to no better than about
        # condition·ε.
        tolerance = max(1e-13, condition * np.finfo(float).eps)
        assert excess_risk(model, w1, lam, kappa) == pytest.approx(
            reference_risk(model, w1, lam, kappa), rel=tolerance
        )


def test_units_of_x1_x2_and_y():
    model, w1 = random_model(4, 2, 3)
    rng = np.random.default_rng(1)
    to1, to2, unit = (
        np.diag([1e4, 1e-4]) @ rng.standard_normal((2, 2)),
        np.diag([1e5, 1.0, 1e-5]),
        1e3,
    )
    other = JointGaussian(
        to1 @ model.S11 @ to1.T,
        to1 @ model.S12 @ to2,
        to1 @ model.S13 * unit,
        to2 @ model.S22 @ to2,
        to2 @ model.S23 * unit,
        model.S33 * unit**2,
    )
    w_other = np.linalg.solve(to1.T, w1) * unit
    assert excess_risk(other, w_other, 0.3, 2.0) == pytest.approx(
        unit**2 * excess_risk(model, w1, 0.3, 2.0), rel=1e-8
    )
    assert other.teacher_student_mi(w_other) == pytest.approx(
        model.teacher_student_mi(w1), rel=1e-8
    )
    assert optimal_lambda(other, w_other, 2.0) == pytest.approx(
        optimal_lambda(model, w1, 2.0), rel=1e-8
    )
    # The minimum-norm student knows lengths in x2: only rotations and a common scale
    # leave it as it was.
    turn = 7 * np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turned = JointGaussian(
        model.S11,
        model.S12 @ turn.T,
        model.S13,
        turn @ model.S22 @ turn.T,
        turn @ model.S23,
        model.S33,
    )
    assert excess_risk(turned, w1, 0.3, 0.5) == pytest.approx(
        excess_risk(model, w1, 0.3, 0.5)
    )


def test_grid_of_a_quarter_million_in_under_a_second():
    model, _ = random_model(0, 100, 100)
    w1 = np.random.default_rng(0).standard_normal((100, 100))
    kappa = np.r_[np.linspace(0.1, 0.9, 25), np.linspace(1.1, 8, 25)]
    lam = np.linspace(0, 5, 50)[:, None, None]
    seconds = []
    for _ in range(3):  # the best of three, of processor time: the machine may be busy
        start = time.thread_time()
        risk = excess_risk(model, w1, lam, kappa[:, None])
        seconds.append(time.thread_time() - start)
    assert risk.shape == (50, 50, 100)
    assert min(seconds) < 1.0


@pytest.mark.parametrize(
    "weight, lam", [(0.0, 0.0), (0.2, 0.25), (0.5, 1.0), (1.0, np.inf)]
)
def test_additive_lambda_undoes_mixing_weight(weight, lam):
    assert additive_lambda(weight) == pytest.approx(lam) and mixing_weight(
        lam
    ) == pytest.approx(weight)


@pytest.mark.parametrize(
    "name", ["share", "along_student", "along_residual", "elsewhere", "noise"]
)
@pytest.mark.parametrize("value", [None, "0.5", np.nan, np.inf, [0.5]])
def test_a_part_of_a_model_that_is_no_number_is_named(name, value):
    parts = {"share": 0.5, "along_student": 1.0, "along_residual": 0.5}
    with pytest.raises(ValueError, match=f"`{name}`"):
        gaussian.model_of_parts(**parts | {name: value})


def test_a_margin_that_is_no_number_is_named():
    with pytest.raises(ValueError, match="`margin`.*shape"):
        gaussian.random_model(0, margin=[0.1])
