"""The two t-tests of the theory: against plain regression,
and their level and power.
"""

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

import cchlib
from cchlib import gaussian
from cchlib.criterion import HypothesisTest, shrinkage_test, slope_test


def ordinary_least_squares(x, y, column):
    """Coefficient, standard error and degrees of freedom,
    by the textbook's formulas.
    """
    inverse = np.linalg.inv(x.T @ x)
    weights = inverse @ x.T @ y
    df = len(x) - x.shape[1]
    noise = ((y - x @ weights) ** 2).sum() / df
    return weights[column], np.sqrt(noise * inverse[column, column]), df


@pytest.fixture
def data():
    model, w1 = gaussian.model_of_parts(0.5, 0.7, 0.4, 0.3, 0.5, p1=3, p2=5, seed=1)
    x1, x2, y = model.sample(40, 2)
    return x2, y, x1 @ w1


@pytest.mark.parametrize("intercept", [False, True])
def test_slope_is_the_coefficient_of_y_in_a_regression(data, intercept):
    x, y, teacher = data
    constant = np.ones((len(y), 1 if intercept else 0))
    regressors = np.column_stack([constant, x, y])
    estimate, std_error, df = ordinary_least_squares(regressors, y - teacher, -1)
    found = slope_test(x, y, teacher, intercept=intercept)
    assert found.df == df == 40 - 5 - 1 - intercept
    assert found.estimate == pytest.approx(estimate)
    assert found.std_error == pytest.approx(std_error)
    assert found.statistic == pytest.approx(estimate / std_error)
    assert found.p_value == pytest.approx(stats.t.sf(estimate / std_error, df))


def test_shrinkage_is_the_partial_correlation(data):
    x, y, teacher = data
    student = x @ np.ones(5)
    regressors = np.column_stack([np.ones(40), y, student])
    slope, std_error, df = ordinary_least_squares(regressors, teacher, -1)
    found = shrinkage_test(student, y, teacher)
    r = np.corrcoef([teacher, student, y])
    of_three = (r[0, 1] - r[0, 2] * r[1, 2]) / np.sqrt(
        (1 - r[0, 2] ** 2) * (1 - r[1, 2] ** 2)
    )
    assert found.df == df == 37
    assert found.estimate == pytest.approx(of_three)
    assert found.statistic == pytest.approx(slope / std_error)
    assert found.p_value == pytest.approx(stats.t.sf(slope / std_error, df))


def test_units_do_not_matter(data):
    x, y, teacher = data
    mixed = x @ (np.eye(5) + 0.3 * np.ones((5, 5))) * 1e6
    for scale in (1e-9, 1e9):
        found = slope_test(mixed, y * scale, teacher * scale)
        assert found.p_value == pytest.approx(slope_test(x, y, teacher).p_value)
        found = shrinkage_test(1 + x[:, 0] * scale, 7 * y - 2, 3 * teacher + 5)
        wanted = shrinkage_test(x[:, 0], y, teacher)
        assert found.p_value == pytest.approx(wanted.p_value, rel=1e-5)


def test_teachers_that_say_the_label_or_nothing(data):
    x, y, _ = data
    assert slope_test(x, y, y).p_value == 1.0  # c = σ²: no λ helps
    silent = slope_test(x, y, 0 * y)
    assert silent.estimate == pytest.approx(1) and silent.p_value == 0  # it shrinks
    for constant in (0 * y, 0 * y + 3):
        with pytest.raises(ValueError, match="`teacher` must vary"):
            shrinkage_test(x[:, 0], y, constant)


def rejections(along_residual, n, p, trials, seed):
    """Share of training samples on which slope_test rejects at 5 %; c = part · σ²."""
    model, w1 = gaussian.model_of_parts(
        0.5, 0.8, along_residual, 0.2, 0.5, p1=2, p2=p, seed=seed
    )
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(trials):
        x1, x2, y = model.sample(n, rng)
        count += slope_test(x2, y, x1 @ w1).p_value <= 0.05
    return count / trials


@pytest.mark.parametrize("n, p", [(8, 5), (25, 20), (60, 30)])
def test_slope_test_has_its_level_where_the_slope_is_zero(n, p):
    trials = 3000
    error = np.sqrt(0.05 * 0.95 / trials)
    assert abs(rejections(1.0, n, p, trials, 3) - 0.05) < 3.3 * error


def test_slope_test_is_below_its_level_where_distilling_harms():
    assert rejections(1.3, 60, 20, 1000, 4) < 0.02


def test_slope_test_finds_what_helps():
    assert rejections(0.6, 60, 30, 150, 5) > 0.5
    assert rejections(0.0, 60, 30, 150, 5) > 0.95


def shrinkage_rejections(extra, n, trials, seed):
    """Share of samples rejected at 5 %, with Cov(T, S | y) = extra."""
    share = 0.4
    noise = 1 - share
    # T = a S + b e has Cov(T, S) σ² − V c = V σ² (a − b) with V = share
    a = 0.5 + extra / share
    model, w1 = gaussian.model_of_parts(share, a, 0.5, 0.3, 0.4, p1=2, p2=3, seed=seed)
    beyond = share * a - share * (share * a + 0.5 * noise)
    assert beyond == pytest.approx(extra * noise)
    assert gaussian.beats_shrinkage(model, w1) == (extra > 0)
    rng = np.random.default_rng(seed)
    count = 0
    for _ in range(trials):
        x1, x2, y = model.sample(n, rng)
        count += shrinkage_test(x2 @ model.w_star, y, x1 @ w1).p_value <= 0.05
    return count / trials


@pytest.mark.parametrize("n", [6, 50])
def test_shrinkage_test_has_its_level(n):
    trials = 3000
    error = np.sqrt(0.05 * 0.95 / trials)
    assert abs(shrinkage_rejections(0.0, n, trials, 6) - 0.05) < 3.3 * error
    assert shrinkage_rejections(-0.1, 50, 500, 6) < 0.02


def test_shrinkage_test_finds_what_beats_it():
    assert shrinkage_rejections(0.2, 200, 300, 7) > 0.95


def test_columns_are_summed_and_rows_are_clusters(data):
    x, y, teacher = data
    student = x[:, 0]
    one = shrinkage_test(student, y, teacher)
    twice = shrinkage_test(
        np.column_stack([student, student]),
        np.column_stack([y, y]),
        np.column_stack([teacher, teacher]),
    )
    # the same column twice tells nothing new; the errors differ as sandwich and plain
    # do
    assert twice.estimate == pytest.approx(one.estimate)
    assert 0.6 < twice.std_error / one.std_error < 1.6


def test_level_with_one_hot_labels_and_dependent_columns():
    rng = np.random.default_rng(8)
    trials, n, k = 1500, 200, 3
    count = 0
    for _ in range(trials):
        label = np.eye(k)[rng.integers(k, size=n)]
        noise_s, noise_t = rng.standard_normal((2, n, 1))
        student = 0.5 * label + noise_s * np.array([1.0, 1.0, -2.0])
        teacher = 0.8 * label + noise_t * np.array([1.0, 1.0, -2.0])
        count += shrinkage_test(student, label, teacher).p_value <= 0.05
    assert abs(count / trials - 0.05) < 3.3 * np.sqrt(0.05 * 0.95 / trials)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"features": np.ones((7, 6))}, "more than 7 rows for 6 columns"),
        ({"features": np.ones((20, 2))}, "determine one another"),
        ({"target": np.full(20, np.nan)}, "`target`.*got 20 NaN"),
        ({"teacher": np.ones(19)}, "inconsistent numbers of samples"),
        ({"target": np.ones((20, 2))}, r"`target`.*got \(20, 2\)"),
        ({"target": np.arange(20.0), "features": np.arange(20.0)}, "linear function"),
    ],
)
def test_slope_test_refuses(change, message):
    rng = np.random.default_rng(0)
    arguments = {
        "features": rng.standard_normal((20, 2)),
        "target": rng.standard_normal(20),
        "teacher": rng.standard_normal(20),
    }
    if "7 rows" in message:
        arguments = {name: array[:7] for name, array in arguments.items()}
    with pytest.raises(ValueError, match=message):
        slope_test(**(arguments | change))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"student": np.ones(20)}, "`student` must vary"),
        ({"target": np.ones(20)}, "`target` must vary"),
        ({"teacher": np.ones((20, 2))}, "equal shapes"),
        ({"teacher": "copy"}, "`teacher`.*linear function of the target"),
        ({"student": np.full(20, np.inf)}, "`student`.*got 20 NaN or infinite"),
    ],
)
def test_shrinkage_test_refuses(change, message):
    student, target, teacher = np.random.default_rng(0).standard_normal((3, 20))
    arguments = {"student": student, "target": target, "teacher": teacher} | change
    if isinstance(arguments["teacher"], str):
        arguments["teacher"] = 1 - 2 * target
    with pytest.raises(ValueError, match=message):
        shrinkage_test(**arguments)
    with pytest.raises(ValueError, match="`student`.*got 3"):
        shrinkage_test(student[:3], target[:3], teacher[:3])


def test_exported_and_light():
    assert cchlib.slope_test is slope_test and cchlib.shrinkage_test is shrinkage_test
    assert isinstance(
        slope_test([1.0, 2, 3, 5], [1.0, 3, 2, 4], np.arange(4.0)), HypothesisTest
    )
    code = (
        "import sys; from cchlib import slope_test, shrinkage_test; "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
