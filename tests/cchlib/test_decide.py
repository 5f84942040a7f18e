"""The verdict: against cases whose truth is known, and what must not change it."""

import numpy as np
import pandas as pd
import pytest

import cchlib
from cchlib import decide
from cchlib.criterion import Representations, decide_teachers, logme
from cchlib.criterion.decision import _subjects_wanted
from cchlib.criterion.heads import Gain
from cchlib.criterion.worth import TABLE, worth_of

FAST = dict(cch=False, lams=(0.3, 0.7), temperatures=(1.0,), device="cpu")


def regression(n, teacher="oracle", seed=0, p=6, noise=1.0):
    """Features, target and a teacher's predictions: its law, nothing, or the target."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    y = x[:, 0] + noise * rng.standard_normal(n)
    said = {
        "oracle": x[:, 0],
        "independent": rng.standard_normal(n),
        "label": y,
        "noisy label": y + 0.5 * rng.standard_normal(n),
    }[teacher]
    return x, y, said


def classes(n, teacher="oracle", seed=0, p=6, width=3):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    logits = x @ rng.standard_normal((p, width))
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    y = np.array([rng.choice(width, p=row) for row in odds])
    said = {
        "oracle": logits,
        "independent": logits[rng.permutation(n)],
        "label": 50.0 * np.eye(width)[y],
    }[teacher]
    return x, y, said


def ask(x, y, said, features=None, **options):
    features = x if features is None else features
    return decide(features, x, y, teacher_output=said, **(FAST | options))


def test_a_teacher_that_knows_the_law_is_recommended():
    found = ask(*regression(150, p=50))
    assert found.code == "distil" and found.verdict.startswith("distil with λ ≈")
    assert found.additive_lam == pytest.approx(found.lam / (1 - found.lam))
    assert ask(*classes(400, p=40)).code == "distil"


@pytest.mark.parametrize("kind", [regression, classes])
def test_the_label_itself_and_a_copy_of_the_student_are_not(kind):
    """(1 − λ)y + λy = y gains nothing; a copy tells the student what it says."""
    assert ask(*kind(300, "label")).code == "do not distil"
    x, y, own = kind(300, "oracle", p=40)
    found = ask(x, y, own, student_output=own)
    assert found.code != "distil"
    assert found.pilot.over_itself.mean == 0


@pytest.mark.parametrize("kind", [regression, classes])
@pytest.mark.parametrize("features_only", [False, True])
def test_an_independent_teacher_is_recommended_at_most_at_the_nominal_rate(
    kind, features_only
):
    """2.5 %: of 40 draws at most 4, which a true 2.5 % exceeds in 1 of 270."""
    passed = 0
    for seed in range(40):
        x, y, said = kind(80, "independent", seed)
        alone = np.random.default_rng(seed + 999).standard_normal((80, 3))
        if features_only:
            found = decide(alone, x, y, method="gaussian", runs=1, seed=seed)
        else:
            found = ask(x, y, said, features=alone, seed=seed)
        passed += found.code == "distil"
    assert passed <= 4


def test_units_order_and_names_change_nothing():
    x, y, said = classes(200)
    reference = ask(x, y, said)

    def same(other, tolerance):
        assert other.code == reference.code
        ours = other.table.set_index("criterion")["estimate"]
        theirs = reference.table.set_index("criterion")["estimate"]
        for name in (
            "teacher_better",
            "slope_test",
            "shrinkage_test",
            "predicted_gain",
        ):
            assert ours[name] == pytest.approx(theirs[name], abs=tolerance)

    same(ask(1e4 * x + 3, y, said), 2e-3)
    same(ask(x, np.array(["a", "b", "c"])[y], said - 9.0), 1e-6)
    order = np.array([2, 0, 1])
    same(ask(x, np.argsort(order)[y], said[:, order]), 0.02)
    shuffled = np.random.default_rng(1).permutation(200)
    same(ask(x[shuffled], y[shuffled], said[shuffled]), 0.02)


def test_rows_questions_and_first_answer():
    x, y, said = classes(120)
    first = []
    found = decide(
        Representations(said, x, y, said, said + 0.1 * x[:, :3]),
        method="gaussian",
        runs=1,
        on_first=first.append,
        **(FAST | {"cch": True}),
    )
    assert list(found.table["criterion"]) == [
        "teacher_better",
        "slope_test",
        "shrinkage_test",
        "predicted_gain",
        "pilot",
        "pilot_over_smoothing",
        "pilot_over_itself",
        "pilot_accuracy",
        "cch",
    ]
    assert list(first[0].table["criterion"]) == list(found.table["criterion"])[:-1]
    assert not found.not_asked and "the CCH" in found.verdict
    assert len(repr(found).splitlines()) == 3 and "<table>" in found._repr_html_()
    assert set(found.table["answer"]) <= {"yes", "no", "undecided"}
    told = found.to_dict()
    assert told["code"] == found.code and told["rows"][-1]["p_value"] is None
    assert (found.curve["low"] <= found.curve["gain"]).all()


def test_predicted_gain_is_that_of_the_formula():
    from cchlib.gaussian import predicted_gain

    x, y, said = regression(100)
    found = ask(x, y, said)
    plain, imitator = found.pilot.plain, found.pilot.imitator
    gain, _ = predicted_gain(y[:, None], plain, imitator, found.curve["lam"])
    np.testing.assert_allclose(found.curve["gain"], gain, rtol=1e-9, atol=1e-12)


def test_without_outputs_it_says_what_it_could_not_ask():
    x, y, _ = classes(120)
    found = decide(x[:, :2], x, y, method="gaussian", runs=1)
    assert "by the CCH alone" in found.verdict and found.pilot is None
    assert any("teacher_output" in why for why in found.not_asked)
    assert found.code == found.assessment.verdict and np.isnan(found.lam)


def test_how_many_more_subjects():
    """An interval of 0.02 ± 0.04 is above 0 at four times the subjects."""

    def gain(mean, reach):
        return Gain(mean, mean - reach, mean + reach, 0.5, 0.0, np.zeros(2))

    assert "about 300 more" in _subjects_wanted([gain(0.02, 0.04)], 0.001, 100)
    assert "about 300 more" in _subjects_wanted([gain(-0.01, 0.04)], 0.01, 100)
    assert "more than 100 times" in _subjects_wanted([gain(0.0, 1.0)], 0.001, 100)


def test_several_teachers_are_ranked_paired_and_mixed():
    x, y, said = regression(150, p=40)
    other = np.random.default_rng(5).standard_normal(150)
    found = decide_teachers(
        {"noise": x[:, :1], "law": x[:, 1:3], "silent": x},
        x,
        y,
        teacher_outputs={"noise": other, "law": said},
        **FAST,
    )
    assert list(found.decisions) == ["law", "noise", "silent"]
    assert found.table["behind_best"][0] == 0 < found.table["behind_best"][1]
    shares = found.mixture
    assert sum(shares.values()) == pytest.approx(1) and shares["law"] > shares["noise"]
    assert found.verdict.startswith("law: ") and "<table>" in found._repr_html_()
    with pytest.raises(ValueError, match="teacher_outputs holds stranger"):
        decide_teachers({"a": x}, x, y, teacher_outputs={"stranger": said})


def test_logme_is_the_evidence_by_hand():
    """At its α and β it is log N(y; 0, I/β + FFᵀ/α) / n, and no other pair is better."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    rng = np.random.default_rng(0)
    x = rng.standard_normal((30, 4))
    y = x[:, 0] + 0.5 * rng.standard_normal(30)

    def against(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(30) / beta + x @ x.T / alpha
        return -multivariate_normal.logpdf(y, np.zeros(30), covariance) / 30

    best = -minimize(against, [0.0, 0.0], method="Nelder-Mead", tol=1e-10).fun
    assert logme(x, y) == pytest.approx(best, abs=1e-6)
    wide = rng.standard_normal((10, 40))
    assert np.isfinite(logme(wide, np.arange(10) % 2))


def test_worth_is_counted_from_the_records():
    from cchbook.chapters.worth import counts

    pd.testing.assert_frame_equal(counts(), pd.read_csv(TABLE))
    assert worth_of("pilot", True) == "not known"
    assert "always distil" in worth_of("cch", False)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(student=None), "student is not given"),
        (dict(labels=None), "labels is not given"),
        (dict(smallest=2), "smallest is 2"),
        (dict(teacher_output=np.zeros((60, 2))), "labels holds 3 classes"),
        (dict(student_output=np.zeros((60, 5))), "student_output has 5 columns"),
        (dict(teacher_output=np.full((60, 3), np.nan)), "holds 180 NaN"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    x, y, said = classes(60)
    arguments = dict(teacher=x, student=x, labels=y, teacher_output=said) | FAST
    with pytest.raises(ValueError, match=message):
        decide(**(arguments | change))
    held = Representations(x, x, y)
    with pytest.raises(ValueError, match="beside Representations"):
        decide(held, x)


def test_the_card():
    assert {"assess", "collect", "decide", "pilot"} <= set(dir(cchlib))
