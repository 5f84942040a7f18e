"""What the book adds to the paper: the exact law of the risk, and shrinkage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize, minimize_scalar

from cchlib.gaussian import (
    JointGaussian,
    RiskCoefficients,
    additive_lambda,
    beats_shrinkage,
    best_mixture,
    cch_holds,
    distillation_helps,
    effective_ridge,
    excess_risk,
    expected_excess_risk,
    mixture_moments,
    model_of_parts,
    optimal_lambda,
    optimal_teacher,
    random_model,
    risk_coefficients,
    sample_excess_risk,
    simulate_excess_risk,
    unlabelled_factor,
)

# ---- N1: the exact law -------------------------------------------------------------


def fitted_risks(model, w1, lam, n, trials, seed):
    """Risks (trials,) of students that are fitted by least squares to Eq. 9's label."""
    rng = np.random.default_rng(seed)
    risks = np.empty(trials)
    for trial in range(trials):
        x1, x2, y = model.sample(n, rng)
        label = (y + lam * x1 @ w1) / (1 + lam)
        error = np.linalg.lstsq(x2, label, rcond=None)[0] - model.w_star
        risks[trial] = error @ model.S22 @ error
    return risks


@pytest.mark.parametrize("n, p2, lam", [(5, 4, 0.5), (12, 4, 2.0), (40, 1, 1.0)])
def test_law_of_the_risk_is_that_of_fits(n, p2, lam):
    model, w1 = random_model(3, p1=2, p2=p2)
    fits = fitted_risks(model, w1, lam, n, 3000, 1)
    draws = sample_excess_risk(model, w1, lam, n, 3000, 2)
    assert draws.shape == (3000,)
    assert stats.ks_2samp(fits, draws).pvalue > 0.01


def test_law_tells_neighbouring_laws_apart():
    # The same comparison finds a law with one degree of freedom too few.
    model, w1 = random_model(3, p1=2, p2=4)
    fits = fitted_risks(model, w1, 0.5, 8, 3000, 1)
    assert (
        stats.ks_2samp(fits, sample_excess_risk(model, w1, 0.5, 8, 3000, 2))[1] > 0.01
    )
    assert (
        stats.ks_2samp(fits, sample_excess_risk(model, w1, 0.5, 7, 3000, 2))[1] < 1e-6
    )


@pytest.mark.parametrize("lam", [0.0, 0.7, np.inf])
def test_mean_of_the_law_is_the_expected_risk(lam):
    model, w1 = random_model(5, p1=3, p2=6)
    draws = sample_excess_risk(model, w1, lam, 30, 40000, 0)
    error = draws.std() / 200
    assert abs(draws.mean() - expected_excess_risk(model, w1, lam, 30)) < 4 * error


def test_law_refuses():
    model, w1 = random_model(0, p1=2, p2=3)
    with pytest.raises(ValueError, match="`n` must be an integer ≥ 4, got 3"):
        sample_excess_risk(model, w1, 1.0, 3, 10, 0)
    with pytest.raises(ValueError, match="`lam`.*got -1"):
        sample_excess_risk(model, w1, -1.0, 9, 10, 0)
    with pytest.raises(
        ValueError, match="`lam` must be one number and `w1` one teacher"
    ):
        sample_excess_risk(model, [w1, w1], 1.0, 9, 10, 0)
    with pytest.raises(ValueError, match="`size`.*got 0"):
        sample_excess_risk(model, w1, 1.0, 9, 0, 0)


# ---- N2: against shrinkage ---------------------------------------------------------


def best_mix(model, w1, spread):
    """Least risk of a ŵ_y + b ŵ_T over a, b ≥ 0, a + b ≤ 1, and over a alone; searched.

    `spread` is p/(n − p − 1). Every such pair is a (λ, μ) of the penalised Eq. 4.
    """
    found = risk_coefficients(model, w1, 1 + 1 / spread)
    length = model.w_star @ model.S22 @ model.w_star
    towards = model.teacher_moments(w1).with_student
    imitator = np.linalg.solve(model.S22, model.S12.T @ w1)
    # second moments of the two fits, from those of their errors a and b
    yy = length + found.delta
    tt = imitator @ model.S22 @ imitator + spread * model.teacher_moments(w1).given_x2
    yt = towards + found.beta

    def risk(mix):
        a, b = mix
        square = a * a * yy + 2 * a * b * yt + b * b * tt
        return square - 2 * a * length - 2 * b * towards + length

    alone = risk((length / yy, 0.0))
    searched = minimize(
        risk,
        (length / yy, 0.0),
        bounds=[(0, 1), (0, 1)],
        constraints={"type": "ineq", "fun": lambda mix: 1 - mix.sum()},
        method="SLSQP",
        options={"ftol": 1e-15},
    )
    return searched.fun, alone


def test_beats_shrinkage_is_whether_a_search_beats_it():
    said = []
    for seed in range(120):
        model, w1 = random_model(seed, p1=2, p2=3)
        for spread in (0.05, 2.0):
            best, alone = best_mix(model, w1, spread)
            gains = alone - best > 1e-9 * alone
            assert gains == beats_shrinkage(model, w1)
        said.append(gains)
    assert 30 < sum(said) < 90


def test_threshold_of_figure_1_is_the_product_of_the_other_correlations():
    eye, one = np.eye(5), np.full(5, 5**-0.5)
    for s12, wanted in ((0.35, False), (0.36, False), (0.3601, True), (0.5, True)):
        model = JointGaussian(eye, s12 * eye, 0.9 * one, eye, 0.4 * one, 1.0)
        assert beats_shrinkage(model, model.teacher_star) is wanted


def test_under_the_cch_only_the_sign_of_teacher_and_student_matters():
    count = 0
    for seed in range(400):
        model, w1 = random_model(seed, p1=1, p2=2)
        if not cch_holds(model, w1):
            continue
        count += 1
        positive = bool(model.teacher_moments(w1).with_student > 0)
        assert beats_shrinkage(model, w1) is positive
    assert count > 80


def test_shrinkage_by_hand_and_at_the_ends():
    # T = a S + b e beats shrinkage exactly where a > b
    for a, b in ((0.5, 0.4), (0.4, 0.5), (-0.5, -0.6), (0.5, 0.5), (0.0, 0.0)):
        model, w1 = model_of_parts(0.3, a, b, noise=0.7)
        assert beats_shrinkage(model, w1) is (a > b)
    silent, w1 = model_of_parts(0.0, 1.0, 0.5, elsewhere=1.0)  # S constant
    assert beats_shrinkage(silent, w1) is False
    certain, w1 = model_of_parts(1.0, 1.0, 0.5)  # σ² = 0
    assert beats_shrinkage(certain, w1) is False
    many = beats_shrinkage(model, np.stack([w1, -w1]))
    assert many.shape == (2,)


def test_with_three_correlations_signs_count_beside_the_product():
    # ρ(T, S) = ±σ12, ρ(T, y) = |σ13|, ρ(S, y) = |σ23|;
    # σ12 > σ13σ23 is for positive ones
    eye, one = np.eye(5), np.full(5, 5**-0.5)
    for s12, s13, s23 in ((-0.3, -0.9, 0.4), (-0.5, -0.9, 0.4), (0.3, -0.3, -0.4)):
        model = JointGaussian(eye, s12 * eye, s13 * one, eye, s23 * one, 1.0)
        sign = np.sign(s13 * s23)
        wanted = sign * s12 > abs(s13 * s23)
        assert beats_shrinkage(model, model.teacher_star) is bool(wanted)
    assert beats_shrinkage(model, model.teacher_star) != (s12 < s13 * s23)


def test_a_teacher_that_knows_nothing_of_the_label():
    # T = r, all of which x2 sees and none of which is in y: T and x2 share infinite
    # information, a little helps (c = 0), no more than shrinking does.
    noise, w1 = model_of_parts(0.4, 0.0, 0.0, elsewhere=1.0, p2=2)
    assert w1 @ noise.S13 == pytest.approx(0, abs=1e-12)
    assert distillation_helps(noise, w1) and not beats_shrinkage(noise, w1)
    zero = risk_coefficients(noise, 0 * w1, n=20)
    assert risk_coefficients(noise, w1, n=20).gain < zero.gain
    # T = S − (V/σ²)e is as uncorrelated with y. It agrees with S, and what is more the
    # hypothesis holds: such a teacher does help.
    model, w1 = model_of_parts(0.4, 1.0, -0.4 / 0.6)
    assert w1 @ model.S13 == pytest.approx(0, abs=1e-12)
    assert cch_holds(model, w1) and beats_shrinkage(model, w1)


def test_beyond_shrinkage_and_yet_at_no_lambda_alone():
    # T = aS + be with a > b ≥ 1: with its own size it does harm, shrunk it helps.
    model, w1 = model_of_parts(0.5, 2.0, 1.5, noise=0.3)
    assert beats_shrinkage(model, w1) and not distillation_helps(model, w1)
    best, alone = best_mix(model, w1, 0.5)
    assert best < 0.99 * alone


def test_controls_at_one_lambda_are_not_the_best_shrinkage():
    # At λ = 0.3 the teacher beats the undistilled student and the zero teacher, and
    # still it does not beat shrinking.
    model, w1 = model_of_parts(0.8, 0.8, 0.9)
    found = risk_coefficients(model, w1, n=12)
    zero = risk_coefficients(model, 0 * w1, n=12)
    assert found.risk(0.3) < 0.995 * min(found.risk(0.0), zero.risk(0.3))
    assert found.risk(0.3) > zero.risk(zero.optimal_lambda)
    assert not beats_shrinkage(model, w1)


def test_losing_to_the_best_shrinkage_decides_nothing():
    # A student that is distilled and not shrunk as well may lose to the best shrinkage
    # although the teacher beats it; if it wins the teacher does.
    lost = won = 0
    for seed in range(300):
        model, w1 = random_model(seed, p1=2, p2=3)
        found = risk_coefficients(model, w1, n=12)
        control = risk_coefficients(model, 0 * w1, n=12)
        if found.gain > control.gain * (1 + 1e-9):
            assert beats_shrinkage(model, w1)
            won += 1
        elif beats_shrinkage(model, w1):
            lost += 1
    assert won > 50 and lost > 20


def test_label_without_noise_below_kappa_1():
    # White x2: κV + 0 is all that shrinking can do; its risk is not 0, and no teacher
    # helps.
    p = 4
    one = np.full(p, p**-0.5)
    white = JointGaussian(np.eye(p), 0.5 * np.eye(p), 0.5 * one, np.eye(p), one, 1.0)
    assert white.noise_variance == 0
    assert not beats_shrinkage(white, one)
    found = risk_coefficients(white, 0 * one, 0.5)
    assert found.delta == pytest.approx(0.5) and found.optimal_lambda == 0
    assert risk_coefficients(white, one, 0.5).optimal_lambda == 0
    # Not white: Eq. 17 is false for every teacher, and yet most help.
    helped = 0
    for seed in range(100):
        model, w1 = random_model(seed, 2, 4)
        exact = JointGaussian(
            model.S11,
            model.S12,
            model.S12 @ model.w_star,
            model.S22,
            model.S23,
            model.w_star @ model.S22 @ model.w_star,
        )
        assert not distillation_helps(exact, w1)
        helped += risk_coefficients(exact, w1, 0.5).helps
    assert 60 < helped < 100


# ---- the exception of Theorems 2 and 3 ---------------------------------------------


def test_teacher_inputs_uncorrelated_with_label_and_student_help_below_kappa_1():
    # Σ12 w* = 0 and Σ13 = 0, the exception for κ > 1, is none for κ < 1.
    model = JointGaussian(
        [[1.5]], [[0.5, -0.5]], [0.0], np.diag([4.0, 0.25]), [4.0, 0.25], 5.25
    )
    assert model.noise_variance == pytest.approx(1.0)
    assert model.S12 @ model.w_star == pytest.approx(0.0)
    for lam in (0.3, 1.0, 3.0):
        assert optimal_teacher(model, lam, 3.0) == pytest.approx(0.0)
    best = optimal_teacher(model, 1.0, 0.5)
    assert best == pytest.approx([0.395], abs=5e-4)
    risks = excess_risk(model, np.stack([best, 0 * best]), 1.0, 0.5)
    assert risks == pytest.approx([2.251, 2.344], abs=5e-4)


@pytest.mark.parametrize("seed", range(6))
def test_exception_below_kappa_1_is_the_corollarys(seed):
    # Σ13 and Σ12 made to meet both equations: then 0 is best for every λ.
    kappa = 0.5
    model, _ = random_model(seed, p1=2, p2=4)
    tau = effective_ridge(model, kappa)
    keep = np.linalg.solve(model.S22 + tau * np.eye(4), model.S22)
    lost = np.eye(4) - keep
    spread = np.trace(keep @ keep) / (kappa * 4 - np.trace(keep @ keep))
    w = model.w_star
    away = keep @ w
    S12 = 0.1 * (model.S12 - np.outer(model.S12 @ away, away) / (away @ away))
    S13 = S12 @ keep @ lost @ w / spread + S12 @ w - S12 @ lost @ lost @ w
    mended = JointGaussian(model.S11, S12, S13, model.S22, model.S23, model.S33 + 9)
    teachers = optimal_teacher(mended, [0.1, 1.0, 10.0], kappa)
    assert np.abs(teachers).max() < 1e-9
    moved = JointGaussian(
        model.S11, S12, S13 + 0.1, model.S22, model.S23, model.S33 + 9
    )
    assert np.abs(optimal_teacher(moved, 1.0, kappa)).max() > 1e-3


# ---- N1: concentration, and where the limit is none --------------------------------


def test_variance_of_the_risk_is_the_proofs():
    model, w1 = random_model(2, p1=2, p2=10)
    n, lam, p = 40, 0.8, 10
    t = lam / (1 + lam)
    found = risk_coefficients(model, w1, n=n)
    teacher = model.teacher_moments(w1)
    spread = p / (n - p - 1)
    bias = t * t * (found.alpha - spread * teacher.given_x2)
    noise = (
        (1 - t) ** 2 * model.noise_variance
        + 2 * t * (1 - t) * teacher.with_residual
        + t * t * teacher.given_x2
    )
    variance = 4 * bias * noise / (n - p - 1) + 2 * p * (n - 1) * noise**2 / (
        (n - p - 1) ** 2 * (n - p - 3)
    )
    draws = sample_excess_risk(model, w1, lam, n, 400_000, 0)
    assert draws.var() == pytest.approx(variance, rel=0.03)


def test_limit_below_kappa_1_needs_a_bounded_spectrum():
    # Σ22 = diag(2^-i) has bounded norm, as Eq. 3 asks, and Eq. 28 stays off.
    off = []
    for p in (40, 80):
        spectrum = 0.5 ** np.arange(p)
        model = JointGaussian(
            [[1.0]],
            np.zeros((1, p)),
            [0.0],
            np.diag(spectrum),
            np.zeros(p),
            1.0,
        )
        mean, error = simulate_excess_risk(model, [0.0], 0.0, p // 2, 600, 0)
        ratio = mean / excess_risk(model, [0.0], 0.0, 0.5)
        assert ratio - 1 > 3 * error / mean
        off.append(ratio)
    assert min(off) > 1.1


# ---- N2: aimed search --------------------------------------------------------------


def test_search_against_shrinkage_finds_a_planted_falsehood():
    # T = a S + b e: the truth is a > b. "Eq. 17", "a > 0" and "the CCH" are planted.
    rng = np.random.default_rng(0)
    wrong = dict.fromkeys(("Eq. 17", "Cov(T, S) > 0", "CCH", "two per cent"), 0)
    for _ in range(400):
        b = rng.uniform(-0.5, 1.5)
        a = b + rng.normal(scale=0.02)
        model, w1 = model_of_parts(rng.uniform(0.1, 0.9), a, b, noise=0.3)
        truth = a > b
        assert beats_shrinkage(model, w1) == truth
        teacher = model.teacher_moments(w1)
        wrong["Eq. 17"] += distillation_helps(model, w1) != truth
        wrong["Cov(T, S) > 0"] += (teacher.with_student > 0) != truth
        wrong["CCH"] += cch_holds(model, w1) != truth
        wrong["two per cent"] += (1.02 * a > b) != truth
    assert min(wrong.values()) > 0


# ---- N4: ridge students ------------------------------------------------------------


def ridge_risks(model, w1, lams, n, penalty, trials, seed):
    """Risks (trials, lams) of Eq. 4 with (1 + λ)·n·penalty·‖w‖²."""
    rng = np.random.default_rng(seed)
    risks = np.empty((trials, len(lams)))
    for trial in range(trials):
        x1, x2, y = model.sample(n, rng)
        labels = [(y + lam * x1 @ w1) / (1 + lam) for lam in lams]
        gram = x2.T @ x2 + n * penalty * np.eye(model.p2)
        weights = np.linalg.solve(gram, x2.T @ np.stack(labels, 1))
        error = weights - model.w_star[:, None]
        risks[trial] = (error * (model.S22 @ error)).sum(0)
    return risks


@pytest.mark.parametrize("kappa", [0.5, 1.0, 2.0])
def test_ridge_students_have_the_same_coefficients(kappa):
    rng = np.random.default_rng(1)
    p = 80
    spectrum = np.linspace(0.3, 2.0, p)
    w_star = rng.standard_normal(p) / np.sqrt(p)
    S23 = spectrum * w_star
    S12 = (0.5 * S23 + 0.3 * spectrum * rng.standard_normal(p) / np.sqrt(p))[None]
    model = JointGaussian(
        [[2.0]],
        S12,
        [0.5 * S23 @ w_star + 0.4],
        np.diag(spectrum),
        S23,
        S23 @ w_star + 1,
    )
    lams = np.array([0.0, 0.7, 3.0])
    n = int(kappa * p)
    risks = ridge_risks(model, [1.0], lams, n, 0.3, 150, 2)
    limit = risk_coefficients(model, [1.0], kappa, ridge=0.3).risk(lams)
    error = risks.std(0) / np.sqrt(len(risks))
    assert (np.abs(risks.mean(0) - limit) < 4 * error + 1.5 / p * limit).all()


def test_ridge_ends_at_no_ridge_and_at_no_student():
    model, w1 = random_model(4, p1=2, p2=5)
    for kappa in (0.4, 3.0):
        plain = risk_coefficients(model, w1, kappa)
        almost = risk_coefficients(model, w1, kappa, ridge=1e-10)
        assert tuple(almost) == pytest.approx(tuple(plain), rel=1e-6)
        heavy = risk_coefficients(model, w1, kappa, ridge=1e12)
        nothing = model.w_star @ model.S22 @ model.w_star
        assert tuple(heavy) == pytest.approx((nothing,) * 3)
        tau = effective_ridge(model, kappa, 0.2)
        trace = np.trace(np.linalg.solve(model.S22 + tau * np.eye(5), model.S22))
        assert tau == pytest.approx(0.2 + tau * trace / (kappa * 5))


def test_ridge_student_has_no_peak_at_kappa_1():
    model, w1 = random_model(4, p1=2, p2=5)
    kappas = np.array([1 - 1e-6, 1.0, 1 + 1e-6])
    for coefficient in risk_coefficients(model, w1, kappas, ridge=0.3):
        assert coefficient[1] == pytest.approx(coefficient[::2].mean(), rel=1e-9)
    for call in (risk_coefficients, excess_risk):
        with pytest.raises(ValueError, match="kappa. must not be 1"):
            call(model, w1, *([1.0, 1.0] if call is excess_risk else [1.0]))


def test_two_fits_need_the_penalty_to_grow_with_lambda():
    model, w1 = random_model(6, p1=2, p2=5)
    x1, x2, y = model.sample(12, 0)
    lam, mu = 1.0, 20.0

    def fit(label, weight, penalty):
        gram = weight * x2.T @ x2 + penalty * np.eye(5)
        return np.linalg.solve(gram, weight * x2.T @ label)

    mixed = (fit(y, 1, mu) + lam * fit(x1 @ w1, 1, mu)) / (1 + lam)
    label = (y + lam * x1 @ w1) / (1 + lam)
    as_added = fit(label, 1 + lam, mu)
    assert as_added == pytest.approx(fit(label, 1, mu / (1 + lam)))
    assert fit(label, 1 + lam, (1 + lam) * mu) == pytest.approx(mixed)
    assert np.linalg.norm(as_added - mixed) > 0.1 * np.linalg.norm(mixed)


@pytest.mark.parametrize("kappa", [0.5, 2.0])
def test_white_ridge_student_at_its_best_penalty_helps_as_against_shrinkage(kappa):
    agreed, planted = [], 0
    for seed in range(40):
        parts = np.random.default_rng(seed).uniform(-1, 1, 4)
        model, w1 = model_of_parts(0.5, *parts, p1=2, p2=4, seed=seed)
        whiten = np.linalg.inv(np.linalg.cholesky(model.S22))
        white = JointGaussian(
            model.S11,
            model.S12 @ whiten.T,
            model.S13,
            np.eye(4),
            whiten @ model.S23,
            model.S33,
        )
        law = white, w1, kappa
        best = minimize_scalar(
            lambda u: risk_coefficients(*law, ridge=np.exp(u)).delta,  # noqa: B023
            bounds=(-12, 12),
            method="bounded",
            options={"xatol": 1e-9},
        )
        found = risk_coefficients(*law, ridge=np.exp(best.x))
        clear = abs(found.slope) > 1e-5 * found.delta
        if clear:
            assert (found.slope < 0) == beats_shrinkage(white, w1)
            agreed.append(found.slope < 0)
            planted += (found.slope < 0) != distillation_helps(white, w1)
    assert 5 < sum(agreed) < len(agreed) - 5
    assert planted > 0  # Eq. 17 is not the condition here


# ---- N5: any features; N6: linear smoothers ----------------------------------------


def test_heads_on_features_that_are_not_gaussian():
    # Features of a random network with a skewed input; the design is held fixed.
    rng = np.random.default_rng(3)
    n, p, trials, lams = 40, 12, 20_000, np.array([0.0, 0.2, 1.0, 4.0])
    inner = rng.standard_normal((3, p))

    def network(rows):
        return np.maximum(rng.exponential(size=(rows, 3)) @ inner + 0.3, 0) + 0.1

    x = network(n)
    large = network(200_000)
    second = large.T @ large / len(large)
    w_star, m = rng.standard_normal((2, p)) / p
    mixing = np.array([[0.8, 0.0], [0.4, 0.5]])  # e and f from one Laplace pair
    covariance = mixing @ mixing.T
    noise = rng.laplace(scale=0.5**0.5, size=(trials, n, 2)) @ mixing.T
    of_labels = noise[..., 0] @ np.linalg.pinv(x).T
    of_teacher = noise[..., 1] @ np.linalg.pinv(x).T + m - w_star
    spread = np.trace(second @ np.linalg.inv(x.T @ x))
    bias = (m - w_star) @ second @ (m - w_star)
    exact = RiskCoefficients(
        bias + spread * covariance[1, 1],
        spread * covariance[0, 1],
        spread * covariance[0, 0],
    )
    for lam in lams:
        error = (of_labels + lam * of_teacher) / (1 + lam)
        risks = ((error @ second) * error).sum(1)
        wide = risks.std() / np.sqrt(trials)
        assert abs(risks.mean() - exact.risk(lam)) < 4 * wide


def test_slope_of_a_linear_smoother_in_sample():
    rng = np.random.default_rng(4)
    n, trials = 30, 40_000
    grid = np.linspace(0, 1, n)
    kernel = np.exp(-((grid[:, None] - grid) ** 2) / 0.02)
    smoother = kernel @ np.linalg.inv(kernel + 0.5 * np.eye(n))
    f0 = np.sin(7 * grid)
    step = 1e-3
    signs = set()
    for h, c in ((0.5 * f0, 0.3), (1.5 * f0, 0.3), (f0, 0.3), (f0, 1.2)):
        sigma2, d = 0.5, 4.0
        root = np.linalg.cholesky([[sigma2, c], [c, d]])
        noise = rng.standard_normal((trials, n, 2)) @ root.T
        of_labels = (f0 + noise[..., 0]) @ smoother.T - f0
        of_teacher = (h + noise[..., 1]) @ smoother.T - f0
        # dR/dt at t = 0 is 2 E⟨a − b, b⟩
        products = 2 * ((of_teacher - of_labels) * of_labels).sum(1)
        claimed = 2 * (
            np.trace(smoother.T @ smoother) * (c - sigma2)
            - (f0 - smoother @ f0) @ smoother @ (h - f0)
        )
        error = products.std() / np.sqrt(trials)
        assert abs(products.mean() - claimed) < 4 * error
        assert abs(claimed) > 4 * error
        signs.add(claimed > 0)
        mixed = of_labels + step * (of_teacher - of_labels)
        moved = ((mixed**2).sum(1) - (of_labels**2).sum(1)).mean() / step
        assert moved == pytest.approx(products.mean(), rel=0.02, abs=0.05)
    assert signs == {True, False}


# ---- N7: unlabelled data -----------------------------------------------------------


def test_unlabelled_rows_in_a_mixture():
    model, w1 = random_model(8, p1=2, p2=5)
    n, extra, trials, lams = 15, 25, 4000, np.array([0.0, 0.5, 3.0])
    rng = np.random.default_rng(0)
    risks = np.empty((trials, len(lams)))
    for trial in range(trials):
        x1, x2, y = model.sample(n + extra, rng)
        student = np.linalg.lstsq(x2[:n], y[:n], rcond=None)[0]
        imitator = np.linalg.lstsq(x2, x1 @ w1, rcond=None)[0]
        mixed = (student + lams[:, None] * imitator) / (1 + lams[:, None])
        error = mixed - model.w_star
        risks[trial] = ((error @ model.S22) * error).sum(1)
    exact = risk_coefficients(model, w1, n=n, unlabelled=extra).risk(lams)
    assert (np.abs(risks.mean(0) - exact) < 4 * risks.std(0) / np.sqrt(trials)).all()


def additive_slope(model, w1, n, extra, trials, seed):
    """dE R/dλ at 0, and its error, of Eq. 4 whose second sum runs over all rows."""
    rng = np.random.default_rng(seed)
    slopes = np.empty(trials)
    for trial in range(trials):
        x1, x2, y = model.sample(n + extra, rng)
        gram = x2[:n].T @ x2[:n]
        student = np.linalg.solve(gram, x2[:n].T @ y[:n])
        towards = np.linalg.solve(gram, x2.T @ (x1 @ w1 - x2 @ student))
        slopes[trial] = 2 * towards @ model.S22 @ (student - model.w_star)
    return slopes.mean(), slopes.std() / np.sqrt(trials)


@pytest.mark.parametrize("part", [1.5, 3.0])
def test_unlabelled_rows_in_eq_4(part):
    # With rows to spare even c > σ² helps, up to the factor; beyond it harms.
    model, w1 = model_of_parts(0.5, 0.9, part, noise=0.2, p1=1, p2=4, seed=1)
    n, extra = 20, 8
    slope, error = additive_slope(model, w1, n, extra, 6000, 2)
    factor = unlabelled_factor(n, 4, extra, "additive")
    assert 1.5 < factor < 3.0
    exact = 2 * 4 / (n - 5) * model.noise_variance * (part - factor)
    assert abs(slope - exact) < 4 * error and abs(exact) > 4 * error


def test_unlabelled_factor_is_where_the_slope_changes_sign():
    assert unlabelled_factor(20, 4, 0) == unlabelled_factor(20, 4, 0, "additive") == 1
    for extra in (1, 10, 1000):
        factor = unlabelled_factor(20, 4, extra)
        for part, helps in ((0.99 * factor, True), (1.01 * factor, False)):
            model, w1 = model_of_parts(0.5, 0.9, part, noise=0.2, p2=4)
            found = risk_coefficients(model, w1, n=20, unlabelled=extra)
            assert found.helps is helps
    with pytest.raises(ValueError, match="`n`.*got 7"):
        unlabelled_factor(7, 4, 1, "additive")
    with pytest.raises(ValueError, match="`form`.*got 'sum'"):
        unlabelled_factor(20, 4, 1, "sum")
    with pytest.raises(ValueError, match="`unlabelled` must be given with `n`"):
        risk_coefficients(model, w1, 3.0, unlabelled=2)
    with pytest.raises(ValueError, match="`ridge` must be given with `kappa`"):
        risk_coefficients(model, w1, n=20, ridge=0.1)


# ---- N8: several teachers ----------------------------------------------------------


def test_one_teacher_is_the_parabola():
    model, w1 = random_model(1, p1=3, p2=4)
    for scale in (0.1, 1.0, -1.0):
        moments = mixture_moments(model, [scale * w1], 12)
        found = risk_coefficients(model, scale * w1, n=12)
        assert moments == pytest.approx(
            np.array([[found.delta, found.beta], [found.beta, found.alpha]])
        )
        share = found.optimal_lambda / (1 + found.optimal_lambda)
        assert best_mixture(moments) == pytest.approx([1 - share, share])


def test_best_mixture_is_what_a_search_finds():
    for seed in range(20):
        model, _ = random_model(seed, p1=4, p2=4)
        teachers = np.random.default_rng(seed).standard_normal((3, 4))
        moments = mixture_moments(model, teachers, 10)
        weights = best_mixture(moments)
        assert weights.min() >= 0 and weights.sum() == pytest.approx(1)
        searched = min(
            (
                minimize(
                    lambda t: t @ moments @ t,  # noqa: B023
                    start,
                    bounds=[(0, 1)] * 4,
                    constraints={"type": "eq", "fun": lambda t: t.sum() - 1},
                    method="SLSQP",
                    options={"ftol": 1e-14, "maxiter": 500},
                )
                for start in np.eye(4) * 0.7 + 0.075
            ),
            key=lambda found: found.fun,
        )
        assert weights @ moments @ weights <= searched.fun * (1 + 1e-7)
        # optimality on the simplex: no vertex lies downhill
        slope = moments @ weights
        assert slope.min() > weights @ slope - 1e-9 * np.abs(moments).max()


def test_some_mixture_helps_exactly_where_some_teacher_does():
    said, planted = [], 0
    for seed in range(60):
        model, w1 = random_model(seed, p1=2, p2=3, margin=0.3)
        teachers = np.stack([w1, 0.5 * w1])
        moments = mixture_moments(model, teachers, 12)
        weights = best_mixture(moments)
        helps = weights @ moments @ weights < moments[0, 0] * (1 - 1e-10)
        assert helps == distillation_helps(model, teachers).any()
        said.append(helps)
        planted += helps != distillation_helps(model, teachers).all()
    assert 10 < sum(said) < 60
    assert planted > 0  # it is enough that one helps


def test_some_mixture_beats_shrinkage_exactly_where_some_teacher_does():
    said, planted = [], 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        model, w1 = random_model(rng, p1=3, p2=3)
        teachers = np.stack([w1, rng.standard_normal(3)])
        silent = np.zeros((1, 3))
        moments = mixture_moments(model, np.vstack([teachers, silent]), 12)
        shares = best_mixture(moments)
        alone = moments[np.ix_([0, 3], [0, 3])]
        shrunk = best_mixture(alone)
        beats = shares @ moments @ shares < shrunk @ alone @ shrunk * (1 - 1e-9)
        each = beats_shrinkage(model, teachers)
        assert beats == each.any()
        said.append(beats)
        planted += beats != each.all()
    assert 10 < sum(said) < 70
    assert planted > 10


def test_held_out_residuals_give_the_same_weights():
    model, w1 = model_of_parts(0.5, 0.6, 0.2, 0.3, 0.5, p1=3, p2=6, seed=2)
    teachers = np.stack([w1, w1 + [0.0, 0.5, 0.0]])
    rng = np.random.default_rng(1)
    total = np.zeros((3, 3))
    refits = 1500
    for _ in range(refits):
        x1, x2, y = model.sample(20, rng)
        fits = np.linalg.lstsq(x2, np.c_[y, x1 @ teachers.T], rcond=None)[0]
        _, new, label = model.sample(50, rng)
        residuals = label[:, None] - new @ fits
        total += residuals.T @ residuals / 50
    estimated = best_mixture(total / refits)
    exact = best_mixture(mixture_moments(model, teachers, 20))
    assert estimated == pytest.approx(exact, abs=0.05)


@pytest.mark.parametrize(
    "moments, message",
    [
        (np.ones((2, 3)), "shape"),
        ([[1.0, 0.0], [0.5, 1.0]], "symmetric"),
        ([[1.0, 2.0], [2.0, 1.0]], "eigenvalue -1"),
        ([[np.nan]], "NaN"),
    ],
)
def test_mixtures_refuse(moments, message):
    with pytest.raises(ValueError, match=message):
        best_mixture(moments)
    model, w1 = random_model(0)
    with pytest.raises(ValueError, match=r"`w1` must have shape \(K, 2\)"):
        mixture_moments(model, w1, 9)
    assert best_mixture(np.zeros((3, 3))) == pytest.approx([1, 0, 0])


def test_parts_that_a_covariance_cannot_hold_are_refused():
    with pytest.raises(ValueError, match="`along_student`.*got 1e.07"):
        model_of_parts(0.5, 1e7, 2.0)
    model, w1 = model_of_parts(0.5, 1e4, 2.0)
    assert not distillation_helps(model, w1)


# ---- classification: squared loss on labels that are not Gaussian ------------------


def class_moments(points, chances, teacher):
    """n·(δ − β) to leading order, its part without the bias term, and E‖x‖² e(e − f);
    for x on `points` with equal chance and labels 0/1 of probability `chances`.
    """
    second = points.T @ points / len(points)
    w_star = np.linalg.solve(second, points.T @ chances / len(points))
    m = np.linalg.solve(second, points.T @ teacher / len(points))
    length = (points * np.linalg.solve(second, points.T).T).sum(1)
    left, f = chances - points @ w_star, teacher - points @ m
    variance = chances * (1 - chances) + left**2  # E[e² | x]
    plain = (length * (variance - left * f)).mean()
    return plain, plain + (length * left * (points @ (m - w_star))).mean(), w_star, m


@pytest.mark.parametrize("linear", [True, False])
def test_squared_loss_on_classes(linear):
    # x = (1, z); where P(y = 1 | x) is not linear in x the imitator's bias joins in.
    rng = np.random.default_rng(5)
    z = np.array([-1.0, 0.0, 3.0])
    points = np.column_stack([np.ones(3), z])
    chances = 0.4 + 0.15 * z if linear else np.array([0.9, 0.1, 0.8])
    teacher = np.array([0.7, 0.1, 0.2])
    plain, full, w_star, m = class_moments(points, chances, teacher)
    second = points.T @ points / 3
    n, trials = 400, 20_000
    at = rng.integers(3, size=(trials, n))
    counts = np.stack([(at == k).sum(1) for k in range(3)], 1)
    ones = rng.binomial(counts, chances)
    gram = np.einsum("tk,ki,kj->tij", counts, points, points)

    def fits(sums):
        return np.linalg.solve(gram, (sums @ points)[..., None])[..., 0]

    b = fits(ones) - w_star
    a = fits(counts * teacher) - w_star
    # what is linear in the noise has mean zero: taken off, it leaves a smaller error
    linear_part = (ones - counts * (points @ w_star)) @ points @ (w_star - m)
    products = n * (((b - a) @ second) * b).sum(1) - linear_part
    error = products.std() / np.sqrt(trials)
    assert abs(products.mean() - full) < 4 * error + 3 / n * abs(full)
    if linear:
        assert plain == pytest.approx(full)
    else:
        assert abs(products.mean() - plain) > 8 * error


# ---- arguments that are no single number, and numbers at the end of the range --------


def test_weights_broadcast_and_a_ridge_is_one_number():
    np.testing.assert_array_equal(additive_lambda([0, 0.5, 1]), [0, 1, np.inf])
    assert additive_lambda(0.5) == 1.0
    model, w1 = random_model(0)
    for call in (
        lambda: risk_coefficients(model, w1, 2.0, ridge=[0.1]),
        lambda: effective_ridge(model, 2.0, np.array([0.1, 0.2])),
    ):
        with pytest.raises(ValueError, match="ridge.* single number"):
            call()


def test_almost_no_samples_leave_the_risk_of_predicting_nothing():
    """At κ → 0 the fitted weights vanish: R = w*ᵀΣ22w*, whatever λ is."""
    model, w1 = random_model(0)
    nothing = model.w_star @ model.S22 @ model.w_star
    for kappa in (1e-12, 1e-300):
        assert excess_risk(model, w1, 0.5, kappa) == pytest.approx(nothing, rel=1e-9)
    with pytest.raises(ValueError, match="kappa"):
        excess_risk(model, w1, 0.5, 1e-310)


def test_a_teacher_beyond_the_range_is_refused():
    model, w1 = random_model(0)
    with pytest.raises(ValueError, match="w1.*1e\\+200"):
        optimal_lambda(model, np.full_like(w1, 1e200), 2.0)


def test_a_covariance_rounded_to_float32_says_so():
    z = np.random.default_rng(0).standard_normal((6, 12)).astype(np.float32)
    total = np.cov(z.T.astype(float))
    x1, x2 = slice(5), slice(5, 8)
    parts = [(x1, x1), (x1, x2), (x1, -1), (x2, x2), (x2, -1), (-1, -1)]
    JointGaussian(*(total[part] for part in parts))  # of rank 5 only, and a covariance
    with pytest.raises(ValueError, match="float64: rounding to float32"):
        JointGaussian(*(total.astype(np.float32)[part] for part in parts))
