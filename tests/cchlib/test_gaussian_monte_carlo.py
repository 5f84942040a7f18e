"""`cchlib.gaussian` against simulation: both regimes of the risk, and what held-out
predictions say.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from cchlib.gaussian import (
    JointGaussian,
    best_mixing_weight,
    excess_risk,
    expected_excess_risk,
    model_of_parts,
    optimal_teacher,
    predicted_gain,
    random_model,
    residual_correlation,
    simulate_excess_risk,
)

KAPPAS = [0.3, 0.6, 1.5, 3.0, 8.0]
LAMS = np.array([0.0, 0.3, 1.0])


@pytest.fixture(scope="module")
def simulated():
    """{κ: (mean, std_error)} over LAMS and two teachers at p2 = 40."""
    model, w1 = random_model(7, 6, 40)
    teachers = np.stack([w1, model.teacher_star])
    return (
        model,
        teachers,
        {
            kappa: simulate_excess_risk(
                model,
                teachers,
                LAMS[:, None],
                round(40 * kappa),
                150 if kappa < 5 else 60,
                11,
            )
            for kappa in KAPPAS
        },
    )


@pytest.mark.parametrize("kappa", [kappa for kappa in KAPPAS if kappa > 1])
def test_simulation_agrees_with_the_exact_expectation(simulated, kappa):
    model, teachers, runs = simulated
    mean, std_error = runs[kappa]
    exact = expected_excess_risk(model, teachers, LAMS[:, None], round(40 * kappa))
    assert (np.abs(mean - exact) < 4 * std_error).all()


@pytest.mark.parametrize("kappa", KAPPAS)
def test_simulation_agrees_with_equations_13_and_28(simulated, kappa):
    model, teachers, runs = simulated
    mean, std_error = runs[kappa]
    limit = excess_risk(model, teachers, LAMS[:, None], kappa)
    assert (np.abs(mean - limit) < 4 * std_error + 3 / 40 * limit).all()


@pytest.mark.parametrize("kappa", [0.5, 3.0])
def test_best_teacher_is_best_in_simulation(kappa):
    # The same training sets for all teachers: the best, the zero teacher, two beside.
    p = 40
    model, _ = random_model(1, 2, p)
    best = optimal_teacher(model, 1.0, kappa)
    step = 0.5 * np.linalg.norm(best)
    teachers = np.stack([best, 0 * best, best + [step, 0], best - [0, step]])
    rng = np.random.default_rng(0)
    trials = 300
    differences = np.empty((trials, 3))
    for trial in range(trials):
        risks, _ = simulate_excess_risk(model, teachers, 1.0, int(kappa * p), 2, rng)
        differences[trial] = risks[1:] - risks[0]
    error = differences.std(0) / np.sqrt(trials)
    expected = excess_risk(model, teachers, 1.0, kappa)
    assert (differences.mean(0) > 4 * error).all()
    off = np.abs(differences.mean(0) - (expected[1:] - expected[0]))
    assert (off < 4 * error + 3 / p * expected[1:]).all()


def test_equation_13_is_two_per_cent_off_at_p_100_kappa_1_5():
    model, w1 = random_model(0, 2, 100)
    off = (
        expected_excess_risk(model, w1, 0.0, 150) / excess_risk(model, w1, 0.0, 1.5) - 1
    )
    assert off == pytest.approx(1 / 49)


def growing(p):
    """Models of one spectrum and signal, with more and more features: at every κ their
    risk has a limit.
    """
    spectrum = np.linspace(0.2, 2.0, p)
    w_star = np.ones(p) / np.sqrt(p)
    S23 = spectrum * w_star
    teacher_label = 0.3 * S23 @ w_star + 0.2
    return JointGaussian(
        [[1.0]],
        0.3 * S23[None],
        [teacher_label],
        np.diag(spectrum),
        S23,
        S23 @ w_star + 1.0,
    )


def test_risk_converges_as_n_and_p_grow_together():
    # Below κ = 1 there is no exact mean: simulated, at p = 8 and ten times that.
    gaps = []
    for p, trials in ((8, 8000), (80, 300)):
        model = growing(p)
        limit = excess_risk(model, [1.0], 0.3, 0.5)
        mean, std_error = simulate_excess_risk(model, [1.0], 0.3, p // 2, trials, 5)
        gaps.append((abs(mean / limit - 1), std_error / limit))
    (wide, wide_error), (narrow, narrow_error) = gaps
    assert wide > 4 * wide_error  # off at p = 8 …
    assert narrow < wide / 10 + 4 * narrow_error  # … and ten times less at p = 80
    # Above it the exact mean tells: p times the error of the limit tends to a constant.
    scaled = []
    for p in (100, 1000):
        exact = expected_excess_risk(growing(p), [1.0], 0.3, 2 * p)
        limit = excess_risk(growing(p), [1.0], 0.3, 2.0)
        scaled.append(p * abs(exact / limit - 1))
    assert scaled[0] == pytest.approx(scaled[1], rel=0.02)


# ---- held-out predictions


def fits(model, w1, n, rng):
    """A student of the labels, the imitator, and what is needed to fit more."""
    x1, x2, y = model.sample(n, rng)
    solve = np.linalg.pinv(x2)
    return solve, y, x1 @ w1, solve @ y, solve @ (x1 @ w1)


@pytest.mark.parametrize("n", [4, 30])
def test_distilled_student_is_the_mixture_of_two_fits(n):
    model, w1 = random_model(0, 3, 8)
    rng = np.random.default_rng(0)
    solve, y, teacher, of_labels, of_teacher = fits(model, w1, n, rng)
    _, x2, label = model.sample(500, rng)
    for lam in (0.0, 0.3, 2.0):
        if n > 8:  # Eq. 4 as it stands: two weighted regressions stacked
            root = np.sqrt(lam)
            x_train = np.linalg.pinv(solve)
            direct = np.linalg.lstsq(
                np.r_[x_train, root * x_train], np.r_[y, root * teacher], rcond=None
            )[0]
        else:  # Eq. 23
            direct = solve @ ((y + lam * teacher) / (1 + lam))
        assert direct == pytest.approx((of_labels + lam * of_teacher) / (1 + lam))
        gain, _ = predicted_gain(label, x2 @ of_labels, x2 @ of_teacher, lam)
        assert gain == pytest.approx(
            np.mean((label - x2 @ of_labels) ** 2 - (label - x2 @ direct) ** 2)
        )


def test_predicted_gain_has_the_expected_gain_on_average_and_honest_errors():
    model, w1 = random_model(8, 3, 10)
    rng = np.random.default_rng(2)
    lam, n = np.array([0.2, 1.0]), 30
    gains, inside = [], []
    for _ in range(400):
        _, _, _, of_labels, of_teacher = fits(model, w1, n, rng)
        _, x2, y = model.sample(200, rng)
        gain, std_error = predicted_gain(y, x2 @ of_labels, x2 @ of_teacher, lam)
        mixed = (of_labels + lam[:, None] * of_teacher) / (
            1 + lam[:, None]
        ) - model.w_star
        base = of_labels - model.w_star
        true = base @ model.S22 @ base - np.einsum(
            "li,ij,lj->l", mixed, model.S22, mixed
        )
        gains.append(gain)
        inside.append(np.abs(gain - true) < 1.96 * std_error)
    expected = expected_excess_risk(model, w1, 0.0, n) - expected_excess_risk(
        model, w1, lam, n
    )
    gains = np.array(gains)
    assert (
        np.abs(gains.mean(0) - expected) < 4 * gains.std(0) / np.sqrt(len(gains))
    ).all()
    assert (np.mean(inside, 0) > 0.9).all()


def test_predicted_gain_by_hand_and_one_hot():
    gain, std_error = predicted_gain(
        [1.0, 0.0], [0.0, 0.0], [1.0, 1.0], 1.0
    )  # M = ½: gains 1 − ¼ and 0 − ¼
    assert gain == pytest.approx(0.25) and std_error == pytest.approx(
        np.std([0.75, -0.25], ddof=1) / np.sqrt(2)
    )
    assert predicted_gain([1.0, 0.0], [0.0, 0.0], [1.0, 1.0], np.inf)[
        0
    ] == pytest.approx(0.0)
    assert predicted_gain([1.0, 0.0], [0.3, 0.1], [1.0, 0.7], 0.0) == (0.0, 0.0)
    rng = np.random.default_rng(0)
    y = np.eye(3)[rng.integers(3, size=50)]
    student, imitator = rng.random((2, 50, 3))
    gain, std_error = predicted_gain(y, student, imitator, [0.5, 2.0])
    assert gain.shape == std_error.shape == (2,)
    mixed = (student + 2 * imitator) / 3
    rows = ((y - student) ** 2 - (y - mixed) ** 2).sum(1)
    assert gain[1] == pytest.approx(rows.mean()) and std_error[1] == pytest.approx(
        rows.std(ddof=1) / np.sqrt(50)
    )
    assert isinstance(predicted_gain(y, student, imitator, 0.5)[0], float)


def test_best_mixing_weight_is_where_the_predicted_gain_is_largest():
    model, w1 = model_of_parts(
        0.5, 0.5, 0.3, seed=0
    )  # a teacher that says half of what the student should
    rng = np.random.default_rng(0)
    _, _, _, of_labels, of_teacher = fits(model, w1, 10, rng)
    _, x2, y = model.sample(400, rng)
    student, imitator = x2 @ of_labels, x2 @ of_teacher
    weight, std_error = best_mixing_weight(y, student, imitator)
    search = minimize_scalar(
        lambda mu: -predicted_gain(y, student, imitator, mu / (1 - mu))[0],
        bounds=(0, 0.9999),
        method="bounded",
        options={"xatol": 1e-9},
    )
    assert (
        0 < weight < 1
        and weight == pytest.approx(search.x, abs=1e-6)
        and 0 < std_error < 0.3
    )
    # Robust standard error against its definition by the bootstrap.
    picks = rng.integers(400, size=(400, 400))
    boots = [best_mixing_weight(y[i], student[i], imitator[i])[0] for i in picks]
    assert std_error == pytest.approx(np.std(boots), rel=0.2)


def test_residual_correlation_estimates_the_margin_of_eq_17():
    for seed in range(5):
        model, w1 = random_model(seed, 2, 3, margin=0.3)
        x1, x2, y = model.sample(20_000, seed)
        value, std_error = residual_correlation(y, x2 @ model.w_star, x1 @ w1)
        margin = model.noise_variance - model.teacher_moments(w1).with_residual
        assert abs(value - margin) < 4 * std_error


@pytest.mark.parametrize(
    "arguments, said",
    [
        (([1.0, 2.0], [1.0, 2.0], [[1.0], [2.0]]), "equal shapes"),
        (([1.0, np.nan], [1.0, 2.0], [1.0, 2.0]), "`y`"),
        (([1.0, 2.0], [1.0, np.inf], [1.0, 2.0]), "`student`"),
        (([1.0], [1.0], [2.0]), "`y`.*single"),
        (([], [], []), "shape"),
    ],
)
def test_bad_predictions_are_refused(arguments, said):
    for call in (
        lambda *a: predicted_gain(*a, 0.5),
        best_mixing_weight,
        residual_correlation,
    ):
        with pytest.raises(ValueError, match=said):
            call(*arguments)
    with pytest.raises(ValueError, match="lam"):
        predicted_gain([1.0, 2.0], [1.0, 1.0], [2.0, 2.0], -1.0)
    with pytest.raises(ValueError, match="imitator"):
        best_mixing_weight([1.0, 2.0], [1.0, 1.0], [1.0, 1.0])
