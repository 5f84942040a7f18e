"""The samplers against the covariances that they state, and Eq. 7 against what a
covariance is.
"""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cchbook.data import synthetic

PAPER = dict(sigma13=0.9, sigma23=0.4)


def within_sampling_error(samples, covariance):
    """Every entry of the empirical covariance within 5 standard errors of the stated
    one (zero means).
    """
    n = len(samples)
    empirical = samples.T @ samples / n
    spread = np.sqrt(
        (np.outer(np.diag(covariance), np.diag(covariance)) + covariance**2) / n
    )
    return (
        np.abs(empirical - covariance).max() < 5 * spread.max()
        and np.mean(np.abs(empirical - covariance) < 3 * spread) > 0.98
    )


@pytest.mark.parametrize("reading", synthetic.READINGS)
@pytest.mark.parametrize("sigma12", [0.0, 0.3, 0.7])
def test_samples_have_the_stated_covariance(reading, sigma12):
    x1, x2, y = synthetic.draw(reading, 40_000, 6, sigma12, **PAPER, seed=3)
    assert x1.shape == x2.shape == (40_000, 6) and y.shape == (40_000,)
    covariance = synthetic.reading_covariance(reading, 6, sigma12, **PAPER)
    assert within_sampling_error(np.column_stack((x1, x2, y)), covariance)


def test_the_check_above_can_fail():
    x1, x2, y = synthetic.draw("appendix_b", 40_000, 6, 0.3, **PAPER, seed=3)
    assert not within_sampling_error(
        np.column_stack((x1, x2, y)), synthetic.scaled_covariance(6, 0.3, **PAPER)
    )


def test_appendix_b_by_hand():
    """σ12 = .5, σ13 = .8, σ23 = .5: φ = .75, a = .1/.75, b = .55/.75, v = 1 − (.25 +
    .64 − .4)/.75.
    """
    a, b, v = synthetic.appendix_b_coefficients(0.5, 0.8, 0.5)
    assert (a, b, v) == pytest.approx((0.1 / 0.75, 0.55 / 0.75, 1 - 0.49 / 0.75))


@given(st.floats(-0.99, 0.99), st.floats(-0.99, 0.99), st.floats(-0.99, 0.99))
def test_v_is_positive_exactly_where_three_correlations_are_possible(s12, s13, s23):
    smallest = np.linalg.eigvalsh([[1, s12, s13], [s12, 1, s23], [s13, s23, 1]])[0]
    assume(abs(smallest) > 1e-9)
    if smallest > 0:
        assert synthetic.appendix_b_coefficients(s12, s13, s23)[2] > 0
    else:
        with pytest.raises(ValueError, match="residual variance"):
            synthetic.appendix_b_coefficients(s12, s13, s23)


@pytest.mark.parametrize("sigma12", np.linspace(0, 0.7, 8))
def test_equation_7_is_no_covariance_for_the_papers_numbers(sigma12):
    assert (
        np.linalg.eigvalsh(synthetic.equation7_covariance(100, sigma12, **PAPER))[0]
        < -8
    )
    assert np.linalg.eigvalsh(synthetic.scaled_covariance(100, sigma12, **PAPER))[0] > 0
    with pytest.raises(ValueError, match="smallest eigenvalue"):
        synthetic.sample_gaussian(
            synthetic.equation7_covariance(100, sigma12, **PAPER), 5, seed=0
        )


@given(
    st.integers(1, 6), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9), st.floats(-0.9, 0.9)
)
def test_the_stated_condition_for_equation_7(p, s12, s13, s23):
    margin = 1 - s12**2 - p * (s13**2 + s23**2 - 2 * s12 * s13 * s23)
    assume(abs(margin) > 1e-6)
    assert (
        np.linalg.eigvalsh(synthetic.equation7_covariance(p, s12, s13, s23))[0] > 0
    ) == (margin > 0)


def test_seeds():
    draws = [
        synthetic.draw("scaled", 10, 3, 0.3, **PAPER, seed=seed) for seed in (0, 0, 1)
    ]
    assert np.array_equal(draws[0][0], draws[1][0]) and not np.array_equal(
        draws[0][0], draws[2][0]
    )


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(n=0), "`n`.*got 0"),
        (dict(p=0), "`p`.*got 0"),
        (dict(sigma23=1.0), "sigma23"),
        (dict(sigma12=1.5), "sigma12"),
        (dict(sigma13=np.nan), "sigma13"),
        (dict(sigma12=-0.9), "residual variance"),
        (dict(reading="eq7"), "reading"),
    ],
)
def test_refuses(change, said):
    with pytest.raises(ValueError, match=said):
        synthetic.draw(
            **(
                dict(reading="appendix_b", n=5, p=2, sigma12=0.3, **PAPER, seed=0)
                | change
            )
        )


def test_blocks_fit_together():
    s11, s12, s13, s22, s23, s33 = synthetic.blocks(
        synthetic.scaled_covariance(4, 0.3, **PAPER)
    )
    assert (
        np.array_equal(s11, np.eye(4))
        and np.array_equal(s12, 0.3 * np.eye(4))
        and s33 == 1.0
    )
    assert (
        s13 == pytest.approx(np.full(4, 0.45))
        and s23 == pytest.approx(np.full(4, 0.2))
        and s22.shape == (4, 4)
    )


@pytest.mark.parametrize(
    "covariance",
    [
        synthetic.equation7_covariance,
        synthetic.scaled_covariance,
        synthetic.appendix_b_covariance,
    ],
)
@pytest.mark.parametrize(
    "arguments, said",
    [
        ((0, 0.3, 0.9, 0.4), "`p`.*got 0"),
        ((2.5, 0.3, 0.9, 0.4), "`p`.*got 2.5"),
        ((2, 0.3, np.nan, 0.4), "sigma13"),
        ((2, 0.3, 0.9, 3.0), "sigma23"),
    ],
)
def test_covariances_refuse(covariance, arguments, said):
    with pytest.raises(ValueError, match=said):
        covariance(*arguments)


def test_a_covariance_of_rank_one_is_sampled_and_an_asymmetric_one_refused():
    x1, x2, y = synthetic.sample_gaussian(np.ones((3, 3)), 50, seed=0)
    np.testing.assert_allclose(x1[:, 0], y, atol=1e-7)
    np.testing.assert_allclose(x2[:, 0], y, atol=1e-7)
    with pytest.raises(ValueError, match="symmetric"):
        synthetic.sample_gaussian([[1, 0.5, 0.2], [0.1, 1, 0.3], [0.2, 0.3, 1]], 10, 0)
