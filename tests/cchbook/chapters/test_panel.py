"""The panel's truths, by other ways than its own."""

import numpy as np
import pytest
from scipy.stats import multivariate_t, t

from cchbook.chapters import panel
from cchlib.mi import estimate_mi


@pytest.mark.parametrize("problem", panel.problems(), ids=lambda p: p.name)
def test_samples(problem):
    x, y = problem.sample(50, seed=3)
    again = problem.sample(50, seed=3)
    assert len(x) == len(y) == 50 and np.isfinite(x).all() and np.isfinite(y).all()
    assert np.array_equal(x, again[0]) and np.array_equal(y, again[1])
    assert not np.array_equal(x, problem.sample(50, seed=4)[0])
    assert problem.truth >= 0


def test_halves_are_disjoint_and_of_the_same_families():
    tune, report = panel.problems("tune"), panel.problems("report")
    assert len(tune) + len(report) == len(panel.problems())
    assert {p.family for p in tune} == {p.family for p in report}
    assert not {p.name for p in tune} & {p.name for p in report}
    with pytest.raises(ValueError, match="half"):
        panel.problems("test")


def test_gaussian_truth():
    rho = panel.correlations(1.3, 3)
    assert -0.5 * np.log(1 - rho**2).sum() == pytest.approx(1.3)
    x, y = panel.gaussian_pairs(rho, 6, 5)(50_000, np.random.default_rng(0))
    assert estimate_mi(x, y, "gaussian", repeats=0).value == pytest.approx(
        1.3, abs=0.02
    )


def test_student_truth_by_monte_carlo():
    dof, rho = 3.0, 0.6
    shape = np.array([[1, rho], [rho, 1]])
    z = multivariate_t(shape=shape, df=dof, seed=0).rvs(200_000)
    log_ratio = multivariate_t(shape=shape, df=dof).logpdf(z) - t(dof).logpdf(z).sum(1)
    truth = -0.5 * np.log(1 - rho**2) + panel.student_excess(dof, 1, 1)
    assert log_ratio.mean() == pytest.approx(
        truth, abs=4 * log_ratio.std() / np.sqrt(len(z))
    )


def test_channel_truth():
    joint = np.full((4, 4), 0.3 / 3 / 4) + np.eye(4) * (0.7 - 0.1) / 4
    assert panel.channel_information(0.3, 4) == pytest.approx(
        (joint * np.log(joint * 16)).sum()
    )
    assert panel.channel_information(0.5) == pytest.approx(0)
    assert panel.channel_information(0.0) == pytest.approx(np.log(2))


def test_one_dimensional_truths_by_ksg():
    rng = np.random.default_rng(0)
    x, y = panel.logistic_label(3.5, 1)(6_000, rng)
    assert estimate_mi(x, y, "ksg", parts=0).value == pytest.approx(
        panel.logistic_information(3.5), abs=0.04
    )
    x, y = panel.regression_pair(np.abs, 0.3, 1)(6_000, rng)
    assert estimate_mi(x, y, "ksg", parts=0).value == pytest.approx(
        panel.regression_information(np.abs, 0.3), abs=0.05
    )


def test_resampled_images():
    labels = np.arange(40) % 4
    images = np.where(labels == 0, 1.0, 2.0)[:, None, None] * np.ones((40, 3, 3))
    x, y = panel.resampled_images(images, labels, 0.1)(20_000, np.random.default_rng(0))
    assert x.shape == (20_000, 9) and set(np.unique(x)) == {1.0, 2.0}
    assert (x[:, 0] != y[:, 0]).mean() == pytest.approx(0.1, abs=0.01)
