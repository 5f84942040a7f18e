"""What the book adds to the paper: the exact law of the risk, and shrinkage."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from cchlib.gaussian import (
    JointGaussian,
    beats_shrinkage,
    cch_holds,
    expected_excess_risk,
    model_of_parts,
    random_model,
    risk_coefficients,
    sample_excess_risk,
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
    with pytest.raises(ValueError, match="n is 3; a whole number ≥ 4 is wanted"):
        sample_excess_risk(model, w1, 1.0, 3, 10, 0)
    with pytest.raises(ValueError, match="lam is -1"):
        sample_excess_risk(model, w1, -1.0, 9, 10, 0)
    with pytest.raises(ValueError, match="one number and one teacher"):
        sample_excess_risk(model, [w1, w1], 1.0, 9, 10, 0)
    with pytest.raises(ValueError, match="size is 0"):
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
