"""The rivals of the CCH against hand-worked values and closed forms."""

import numpy as np
import pytest

from cchdecide.rivals import (
    NAMES,
    linear_cka,
    rival_criteria,
    shared_label_fraction,
)
from cchlib.models import tabular_network

RNG = np.random.default_rng(0)


def test_classes_by_hand():
    """Logits so far apart that the probabilities are one-hot: teacher right on 3 of 4,
    student on 2, alike on 3.
    """
    labels = np.array([0, 1, 0, 1])
    teacher, student = 100.0 * np.eye(2)[[0, 1, 0, 0]], 100.0 * np.eye(2)[[0, 1, 1, 0]]
    found = rival_criteria(
        teacher, student, labels, teacher, student, imitator_output=teacher, lam=np.inf
    )
    assert tuple(found) == NAMES
    assert found["teacher_advantage"] == pytest.approx(0.25) and found[
        "agreement"
    ] == pytest.approx(0.75)
    # (y − S)·(y − T): only the last sample is wrong for both, with residual (−1, 1)
    # each
    assert found["residual_test"] == pytest.approx(2 / 4)
    # the imitator alone: the student's squared error 2 · 2/4 less the teacher's 2 · 1/4
    assert found["predicted_gain"] == pytest.approx(0.5)


def test_regression_closed_form():
    """y = S + e, T = S/2 + f: Var(y | S) = Var e, Var(T | S) = Var f, E[(y − S)(y − T)]
    = Var e for f independent.
    """
    n = 200_000
    s, e, f = RNG.standard_normal((3, n))
    y, t = s + 0.5 * e, 0.5 * s + 0.2 * f
    found = rival_criteria(t, s, y, t, s)
    assert found["variance_test"] == pytest.approx(0.25 - 0.04, abs=0.005)
    assert found["residual_test"] == pytest.approx(0.25, abs=0.005)
    assert found["teacher_advantage"] == pytest.approx(
        0.25 - (0.25 + 0.25 + 0.04), abs=0.01
    )
    assert np.isnan(found["predicted_gain"])


def test_shared_label_fraction_of_gaussians():
    """y = a + b: of two that see a, all is shared; of one that sees a and one that sees
    b, (2·½ln2 − I) / I, I → ½ln(3/σ²).
    """
    n = 100_000
    a, b, e = RNG.standard_normal((3, n))
    y = a + b + e
    assert shared_label_fraction(a, 2 * a, y) == pytest.approx(1, abs=1e-6)
    alone, both = 0.5 * np.log(3 / 2), 0.5 * np.log(3)
    assert shared_label_fraction(a, b, y) == pytest.approx(
        (2 * alone - both) / both, abs=0.02
    )


def test_shared_label_fraction_of_classes():
    """A label of two fair bits: both outputs show the first bit, or each shows one of
    them.
    """
    first, second = RNG.integers(0, 2, (2, 2_000))
    y = 2 * first + second
    shows_first, shows_second = (
        5.0 * np.eye(2)[bit][:, [0, 0, 1, 1] if bit is first else [0, 1, 0, 1]]
        for bit in (first, second)
    )
    assert shared_label_fraction(shows_first, shows_first, y) == pytest.approx(
        1, abs=0.02
    )
    assert shared_label_fraction(shows_first, shows_second, y) == pytest.approx(
        0, abs=0.02
    )
    assert np.isnan(
        shared_label_fraction(shows_first[:3], shows_first[:3], np.array([0, 0, 1]))
    )


def test_cka_is_what_it_is_known_for():
    x = RNG.standard_normal((500, 4))
    turn = np.linalg.qr(RNG.standard_normal((4, 4)))[0]
    assert linear_cka(x, 3 * x @ turn + 1) == pytest.approx(1)
    assert linear_cka(x, RNG.standard_normal((500, 4))) < 0.05
    assert np.isnan(linear_cka(x, np.ones(500)))


@pytest.mark.parametrize(
    "change, said",
    [
        (dict(labels=np.array([0, 1, 2])), "labels"),
        (dict(labels=np.array([0.0, 1.0, 0.0])), "labels"),
        (dict(labels=np.array([0, 1])), "samples"),
        (dict(teacher_features=np.full((3, 2), np.nan)), "teacher_features"),
    ],
)
def test_refuses(change, said):
    fine = dict(
        teacher_output=np.eye(3, 2),
        student_output=np.eye(3, 2),
        labels=np.array([0, 1, 0]),
        teacher_features=np.eye(3),
        student_features=np.eye(3),
    )
    with pytest.raises(ValueError, match=said):
        rival_criteria(**(fine | change))


def test_the_theorys_tests_and_logme_are_the_librarys():
    from cchdecide import logme
    from cchlib.criterion import shrinkage_test, slope_test

    n = 400
    h2 = RNG.standard_normal((n, 3))
    s = h2 @ [0.5, 0.2, 0.0]
    common = RNG.standard_normal(n)
    y = s + common
    t = s + 0.5 * common + RNG.standard_normal(n)
    h1 = np.column_stack([t, RNG.standard_normal(n)])
    network = tabular_network(4, seed=0)
    found = rival_criteria(t, s, y, h1, h2, teacher_network=network)
    assert found["logme"] == pytest.approx(logme(h1, y))
    assert found["shrinkage_test"] == pytest.approx(shrinkage_test(s, y, t).estimate)
    expected = slope_test(h2, y, t, intercept=True).estimate
    assert found["slope_test"] == pytest.approx(expected)
    # c = Cov(y − S, y − T) against σ²: half of the noise is the teacher's too
    assert found["slope_test"] == pytest.approx(0.5, abs=0.2)
    assert found["teacher_size"] == sum(p.numel() for p in network.parameters())


def test_what_the_tests_cannot_have_is_nan():
    """Features of as many columns as samples; a teacher that is the label."""
    y = np.tile([0, 1], 20)
    logits = RNG.standard_normal((40, 2))
    found = rival_criteria(np.eye(2)[y], logits, y, np.eye(40), np.eye(40))
    assert np.isnan(found["slope_test"]) and np.isnan(found["shrinkage_test"])
    assert np.isnan(found["teacher_size"])
