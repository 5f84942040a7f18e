"""A search for counterexamples: to each theorem as stated, and to each with an
assumption dropped.

Plain random covariances seldom come near the place where the theorems' conditions
change together (|T| = |y|), so a claim that is false by two per cent survives them. The
strategies here aim there, and must find such planted falsehoods.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from cchlib.gaussian import (
    JointGaussian,
    cch_holds,
    conditional_variance_condition,
    correlation_condition,
    distillation_helps,
    excess_risk,
    expected_excess_risk,
    model_of_parts,
    optimal_teacher,
    random_model,
    risk_coefficients,
    variance_condition,
)

Case = tuple[JointGaussian, np.ndarray]
EFFORT = settings(
    max_examples=300,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
HUNT = settings(EFFORT, max_examples=3000, phases=[Phase.generate])


def near(*values: float) -> st.SearchStrategy[float]:
    """A number close to one of the values, or (one in three) anywhere."""
    close = [
        st.floats(value - 0.03, value + 0.03) for value in values for _ in range(2)
    ]
    return st.one_of(*close, *[st.floats(-3, 3) for _ in values])


AIMED: st.SearchStrategy[Case] = st.builds(
    model_of_parts,
    st.floats(0.02, 0.98),
    near(1, -1),
    near(1),
    near(0),
    near(0),
    p1=st.integers(1, 3),
    p2=st.integers(2, 4),
    seed=st.integers(0, 2**32 - 1),
)
DRAWN: st.SearchStrategy[Case] = st.builds(
    random_model,
    st.integers(0, 2**32 - 1),
    st.integers(1, 3),
    st.integers(2, 4),
    margin=st.sampled_from([None, 0.003, 0.03, 0.3]),
)
CASES = AIMED | DRAWN


def information_beats(model: JointGaussian, w1: np.ndarray) -> bool:
    """I(T; x2) > I(y; x2), as Var(T | x2)/Var T < Var(y | x2)/Var y,
    clear of rounding.
    """
    teacher = model.teacher_moments(w1)
    return bool(
        teacher.given_x2 * model.S33
        < (1 - 1e-9) * model.noise_variance * teacher.variance
    )


def no_louder(model: JointGaussian, w1: np.ndarray, slack: float = 0.0) -> bool:
    """w1ᵀΣ11w1 ≤ Σ33."""
    return bool(model.teacher_moments(w1).variance <= (1 + slack) * model.S33)


def not_misleading(model: JointGaussian, w1: np.ndarray) -> bool:
    """w1ᵀΣ13 ≥ 0."""
    return bool(w1 @ model.S13 >= 0)


def paper(model: JointGaussian, w1: np.ndarray) -> bool:
    return cch_holds(model, w1) and no_louder(model, w1) and not_misleading(model, w1)


def counterexample(
    hypothesis: Callable[..., bool],
    conclusion: Callable[..., bool] = distillation_helps,
    cases: st.SearchStrategy[Case] = CASES,
) -> Case | None:
    try:
        return find(
            cases,
            lambda case: bool(hypothesis(*case)) and not conclusion(*case),
            settings=HUNT,
        )
    except NoSuchExample:
        return None


TRUE = {
    "theorem 1": paper,
    "theorem 1 without w1ᵀΣ13 ≥ 0": lambda m, w: cch_holds(m, w) and no_louder(m, w),
    "Var(T|S) < Var(y|S)": variance_condition,
    "Var(T|x2) < Var(y|x2)": conditional_variance_condition,
    "I(T;x2) > I(y;x2), Var T ≤ Var y": lambda m, w: (
        information_beats(m, w) and no_louder(m, w)
    ),
}
FALSE = {  # each is false; those that say "two per cent" only close to the boundary
    "theorem 1 without Var T ≤ Var y": lambda m, w: (
        cch_holds(m, w) and not_misleading(m, w)
    ),
    "theorem 1 without the CCH": lambda m, w: no_louder(m, w) and not_misleading(m, w),
    "theorem 1, Var T two per cent too large": lambda m, w: (
        cch_holds(m, w) and no_louder(m, w, 0.02)
    ),
    "Var(T|S) < Var(y|S), two per cent too large": lambda m, w: (
        m.teacher_moments(w).given_student < 1.02 * m.noise_variance
    ),
    "Var(T|x2) < Var(y|x2), two per cent too large": lambda m, w: (
        m.teacher_moments(w).given_x2 < 1.02 * m.noise_variance
    ),
    "I(T;x2) > I(y;x2) alone": information_beats,
    "I(T;x2) > I(y;x2), Var T two per cent too large": lambda m, w: (
        information_beats(m, w) and no_louder(m, w, 0.02)
    ),
}


STEPS = [  # the first of each pair implies the second, and is strictly narrower
    ("theorem 1", "theorem 1 without w1ᵀΣ13 ≥ 0"),
    ("theorem 1 without w1ᵀΣ13 ≥ 0", "Var(T|S) < Var(y|S)"),
    ("Var(T|S) < Var(y|S)", "Var(T|x2) < Var(y|x2)"),
    ("theorem 1 without w1ᵀΣ13 ≥ 0", "I(T;x2) > I(y;x2), Var T ≤ Var y"),
    ("I(T;x2) > I(y;x2), Var T ≤ Var y", "Var(T|x2) < Var(y|x2)"),
    ("Var(T|x2) < Var(y|x2)", "Eq. 17"),
]


@settings(EFFORT, max_examples=4000)
@given(CASES)
def test_no_counterexample_to_what_is_proved(case):
    holds = {name: claim(*case) for name, claim in TRUE.items()} | {
        "Eq. 17": distillation_helps(*case)
    }
    for name, held in holds.items():
        assert not held or holds["Eq. 17"], name
    for narrow, wide in STEPS:
        assert not holds[narrow] or holds[wide], f"{narrow} → {wide}"


@pytest.mark.parametrize("narrow, wide", STEPS)
def test_each_sufficient_condition_is_strictly_wider_than_the_one_before(narrow, wide):
    claims = TRUE | {"Eq. 17": distillation_helps}
    assert counterexample(claims[wide], claims[narrow]) is not None


@pytest.mark.parametrize("name", FALSE)
def test_planted_falsehoods_are_found(name):
    found = counterexample(FALSE[name])
    assert found is not None and not distillation_helps(*found)


def test_plain_draws_miss_what_aimed_draws_find():
    def false_by_little(model, w1):
        return (
            cch_holds(model, w1)
            and no_louder(model, w1, 0.02)
            and not distillation_helps(model, w1)
        )

    assert not any(false_by_little(*random_model(seed)) for seed in range(1500))
    assert any(
        false_by_little(*random_model(seed, margin=0.01)) for seed in range(1500)
    )


def test_paper_proof_needs_a_sign_that_does_not_follow():
    # Under all of Theorem 1's assumptions Eq. 22's first inequality, ρ(T, S) > ρ(S, y),
    # fails; the theorem does not.
    model, w1 = model_of_parts(0.2, -1.0, 0.3)
    assert (
        paper(model, w1)
        and model.teacher_moments(w1).with_student < 0
        and distillation_helps(model, w1)
    )


def test_neither_form_holds_for_another_student_than_w_star():
    # x2 = (s, n), Var e = .1, y = s + e, T = 2e + .3n; the student S' = .2s + n.
    variance_t, variance_s, variance_y, noise = 4 * 0.1 + 0.09, 1.04, 1.1, 0.1
    rho_ts2, rho_sy2 = (
        0.3**2 / (variance_t * variance_s),
        0.2**2 / (variance_s * variance_y),
    )
    model = JointGaussian(
        [[variance_t]], [[0.0, 0.3]], [0.2], np.eye(2), [1.0, 0.0], variance_y
    )
    assert model.noise_variance == pytest.approx(noise)
    assert (
        rho_ts2 > rho_sy2
        and no_louder(model, np.ones(1))
        and not_misleading(model, np.ones(1))
    )
    assert variance_t * (1 - rho_ts2) < variance_y * (1 - rho_sy2)
    assert not distillation_helps(model, [1.0])


@EFFORT
@given(CASES, st.floats(1.05, 20.0), st.integers(0, 40))
def test_eq_17_is_necessary_and_sufficient_for_some_lambda_to_help(case, kappa, spare):
    model, w1 = case
    n = model.p2 + 2 + spare
    for risk, found in (
        (
            lambda lam: excess_risk(model, w1, lam, kappa),
            risk_coefficients(model, w1, kappa),
        ),
        (
            lambda lam: expected_excess_risk(model, w1, lam, n),
            risk_coefficients(model, w1, n=n),
        ),
    ):
        assert found.helps == distillation_helps(model, w1)
        anywhere = np.r_[np.logspace(-6, 6, 49), np.inf]
        if not found.helps:
            assert (risk(anywhere) >= risk(0.0) * (1 - 1e-9)).all()
            assert found.optimal_lambda == found.helpful_below == 0
            continue
        limit = found.helpful_below
        inside = anywhere[anywhere < 0.999 * limit]
        assert (risk(inside) <= risk(0.0) * (1 + 1e-12)).all()
        assert (
            risk(anywhere[anywhere > 1.001 * limit]) >= risk(0.0) * (1 - 1e-12)
        ).all()
        assert 0 < found.optimal_lambda <= limit


@EFFORT
@given(CASES)
def test_covariance_and_correlation_forms_agree(case):
    model, w1 = case
    teacher = model.teacher_moments(w1)
    clear = abs(model.noise_variance - teacher.with_residual) > 1e-9 * np.sqrt(
        teacher.variance * model.S33
    )
    if teacher.variance > 1e-6 * model.S33 and clear:
        assert correlation_condition(model, w1) == distillation_helps(model, w1)


@EFFORT
@given(CASES, st.floats(0.05, 8.0).filter(lambda kappa: abs(kappa - 1) > 0.02))
def test_best_lambda_is_best_in_both_regimes(case, kappa):
    model, w1 = case
    found = risk_coefficients(model, w1, kappa)
    assert found.beta**2 <= found.alpha * found.delta * (1 + 1e-9) + 1e-30
    grid = excess_risk(model, w1, np.r_[0.0, np.logspace(-5, 5, 201), np.inf], kappa)
    best = excess_risk(model, w1, found.optimal_lambda, kappa)
    assert best <= grid.min() * (1 + 1e-9)
    assert found.gain == pytest.approx(found.delta - best, abs=1e-12)
    assert found.slope == pytest.approx(2 * (found.beta - found.delta))


def test_over_parametrised_students_need_more_than_theorem_1():
    # κ < 1 changes the condition (except for isotropic x2): Theorem 1's hypotheses do
    # not give a negative slope there.
    def small_lambda_helps(model, w1):
        return risk_coefficients(model, w1, 0.5).helps

    found = counterexample(paper, small_lambda_helps)
    assert found is not None and distillation_helps(*found)


@EFFORT
@given(CASES, st.floats(0.05, 0.95))
def test_isotropic_x2_has_eq_17_below_kappa_1_too(case, kappa):
    model, w1 = case
    whiten = np.linalg.inv(np.linalg.cholesky(model.S22))
    white = JointGaussian(
        model.S11,
        model.S12 @ whiten.T,
        model.S13,
        np.eye(model.p2),
        whiten @ model.S23,
        model.S33,
    )
    teacher, found = white.teacher_moments(w1), risk_coefficients(white, w1, kappa)
    expected = 2 * kappa / (1 - kappa) * (teacher.with_residual - white.noise_variance)
    assert found.slope == pytest.approx(
        expected, rel=1e-7, abs=1e-9 * (abs(found.beta) + found.delta)
    )


@EFFORT
@given(DRAWN, st.floats(0.05, 5.0), st.sampled_from([0.2, 0.7, 1.5, 2.0, 6.0]))
def test_theorems_2_and_3_a_teacher_beats_none_at_the_same_lambda(case, lam, kappa):
    model, _ = case
    best = optimal_teacher(model, lam, kappa)
    at_best, at_none = excess_risk(model, np.stack([best, 0 * best]), lam, kappa)
    assert at_best <= at_none * (1 + 1e-9)
    if np.abs(best).max() > 1e-3:
        assert at_best < at_none


def test_theorems_2_and_3_need_a_teacher_that_is_correlated_with_something():
    useless = JointGaussian(
        np.eye(2), np.zeros((2, 2)), np.zeros(2), np.eye(2), [0.5, 0.2], 1.0
    )
    for kappa in (0.5, 2.0):
        assert (optimal_teacher(useless, [0.1, 1.0, 3.0], kappa) == 0).all()


def test_the_zero_teacher_helps_so_shrinking_alone_does():
    # Why R(λ, 0), the baseline of Theorems 2 and 3, is not the undistilled student R(0,
    # ·).
    model, w1 = model_of_parts(0.5, 1.0, 0.5, seed=1)
    assert distillation_helps(model, 0 * w1)
    with_teacher, shrunk, undistilled = excess_risk(
        model, np.stack([w1, 0 * w1, w1]), [1.0, 1.0, 0.0], 2.0
    )
    assert shrunk < with_teacher < undistilled
    assert excess_risk(model, w1, 5.0, 2.0) < excess_risk(model, 0 * w1, 5.0, 2.0)
