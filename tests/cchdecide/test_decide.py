"""The verdict: against cases whose truth is known, and what must not change it."""

import numpy as np
import pytest

from cchdecide import Representations, decide, decide_teachers
from cchdecide.decision import _subjects_wanted
from cchdecide.heads import Gain
from cchdecide.worth import worth_of, worth_table
from cchlib.criterion.cch import _leading

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
    """The label without its noise; in 18 of the first 20 seeds of the regression and
    all of the classes'. benchmarks/decide_rates.py counts it on more.
    """
    found = ask(*regression(150, p=50))
    assert found.code == "distil" and found.verdict.startswith("distil with λ ≈")
    assert found.additive_lam == pytest.approx(found.lam / (1 - found.lam))
    again = [ask(*regression(150, p=50, seed=s)).code for s in range(1, 9)]
    assert again.count("distil") >= 6
    again = [ask(*classes(400, p=40, seed=s)).code for s in range(4)]
    assert again.count("distil") >= 3


@pytest.mark.parametrize("kind", [regression, classes])
def test_the_label_itself_gains_exactly_nothing(kind):
    """(1 − λ)y + λy = y, and the verdict says so."""
    for seed in range(3):
        found = ask(*kind(300, "label", seed))
        assert found.code == "do not distil"
        assert "says the label itself" in found.verdict
        resolution = 1e-3 if kind is classes else 0.0  # of the softmax heads' fit
        assert abs(found.pilot.gain.mean) <= resolution * found.pilot.plain_error
    # the classes, but less sure; the target, in other units
    x, y, _ = kind(300)
    softer = 0.5 * y - 2 if kind is regression else 2.0 * np.eye(3)[y]
    found = ask(x, y, softer)
    assert found.code == "do not distil"
    assert "label smoothing, and the gain over that is exactly 0" in found.verdict
    assert found.pilot.over_smoothing.mean == 0


@pytest.mark.parametrize("kind", [regression, classes])
def test_a_copy_of_the_student_is_not_recommended(kind):
    """It tells the student what it says."""
    x, y, own = kind(300, "oracle", p=40)
    found = ask(x, y, own, student_output=own)
    assert found.code != "distil"
    assert found.pilot.over_itself.mean == 0


@pytest.mark.parametrize("kind", [regression, classes])
@pytest.mark.parametrize("features_only", [False, True])
def test_an_independent_teacher_is_recommended_at_most_at_the_nominal_rate(
    kind, features_only
):
    """2.5 %: of 40 draws at most 4, of 20 at most 3: exceeded in 1 of 270, of 770."""
    draws, most = (20, 3) if features_only else (40, 4)
    passed = 0
    for seed in range(draws):
        x, y, said = kind(80, "independent", seed)
        alone = np.random.default_rng(seed + 999).standard_normal((80, 3))
        if features_only:
            found = decide(alone, x, y, method="gaussian", runs=1, seed=seed)
        else:
            found = ask(x, y, said, features=alone, seed=seed)
        passed += found.code == "distil"
    assert passed <= most


def test_outputs_decide_where_both_are_given():
    """The rates of outputs alone are those of both: the CCH is beside the verdict."""
    for seed in range(3):
        x, y, said = regression(80, "independent", seed)
        alone = ask(x, y, said, seed=seed)
        both = ask(x, y, said, seed=seed, cch=True, method="gaussian", runs=1)
        assert both.code == alone.code and both.assessment is not None


def test_wide_representations_are_reduced_and_it_is_said():
    """768 columns of 100 subjects once gave 96 nats and "distil"."""
    rng = np.random.default_rng(0)
    wide = rng.standard_normal((100, 768))
    y = rng.integers(0, 2, 100)
    found = decide(wide, wide[:, :20], y, method="ksg", runs=1)
    assert found.code != "distil"
    assert found.assessment.i_ts.value < 5
    assert any("768 columns the 32 leading" in note for note in found.notes)
    assert not any("20 columns" in note for note in found.notes)
    with pytest.raises(ValueError, match="`components`.*got 0"):
        decide(wide, wide, y, method="gaussian", components=0)


def test_leading_components_keep_what_they_hold():
    """Turned, they have the inner products of the components, in rows of any order."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 3)) @ rng.standard_normal((3, 70))
    reduced, said = _leading("student", x, 8)
    centred = x - x.mean(0)
    np.testing.assert_allclose(reduced @ reduced.T, centred @ centred.T, atol=1e-8)
    assert reduced.shape == (90, 8) and "100% of the variance" in said
    np.testing.assert_allclose(reduced.std(0), reduced.std(), rtol=1e-9)
    noisy = x + 0.1 * rng.standard_normal(x.shape)
    order = rng.permutation(90)
    again, _ = _leading("student", noisy[order], 64)
    np.testing.assert_allclose(
        again, _leading("student", noisy, 64)[0][order], atol=1e-8
    )
    assert _leading("student", x[:, :8], 8)[1] == ""


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


def test_groups_widen_what_copies_make_narrow():
    """Four copies of every subject, named as groups: the error of row 1 doubles."""
    x, y, said = regression(60)
    again = [np.concatenate([a] * 4) for a in (x, y, said)]
    again[0] = again[0] + 1e-6 * np.arange(240)[:, None] / 240  # almost the same
    groups = np.tile(np.arange(60), 4)
    own = 0.5 * again[0][:, 0]
    alone = ask(*again, student_output=own).table.set_index("criterion")
    grouped = ask(*again, student_output=own, groups=groups)
    grouped = grouped.table.set_index("criterion")
    widths = [t["high"] - t["low"] for t in (alone, grouped)]
    ratio = widths[1]["teacher_better"] / widths[0]["teacher_better"]
    assert ratio == pytest.approx(2, rel=0.05)
    with_cch = ask(*again, groups=groups, cch=True, method="gaussian", runs=1)
    low, high = with_cch.assessment.gap_interval
    assert low <= with_cch.assessment.gap <= high


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
    assert list(found.table["width"]) == [2, 1, 40]
    shares = found.mixture
    assert sum(shares.values()) == pytest.approx(1) and shares["law"] > shares["noise"]
    assert found.verdict.startswith("law: ") and "<table>" in found._repr_html_()
    with pytest.raises(ValueError, match="`teacher_outputs`.*got stranger"):
        decide_teachers({"a": x}, x, y, teacher_outputs={"stranger": said})


def test_the_cch_of_several_is_asked_once_and_last():
    """And is that of each alone."""
    x, y, said = classes(100)
    other = np.random.default_rng(5).standard_normal((100, 2))
    told, options = [], dict(method="gaussian", runs=1, confidence=0.9)
    found = decide_teachers(
        {"law": said, "features": other},
        x,
        y,
        teacher_outputs={"law": said},
        progress=lambda what, share: told.append(what),
        on_first=lambda name, decision: told.append(f"{name}!"),
        **(FAST | options | {"cch": True}),
    )
    assert told.count("law!") == 1 and "features!" not in told
    assert told[-2:] == ["mutual information"] * 2
    alone = ask(x, y, said, **(options | {"cch": True}))
    assert found.decisions["law"].code == alone.code
    features = decide(other, x, y, **options)
    assert found.decisions["features"].verdict == features.verdict
    assert "by the CCH alone" in features.verdict
    for decision in found.decisions.values():
        assert list(decision.table["criterion"])[-1] == "cch"
        assert not any("left out" in why for why in decision.not_asked)


def test_the_worth_is_said_where_it_is_known():
    assert worth_of("pilot_accuracy") == "not known"
    assert "“always”" in worth_of("cch")


def test_no_row_carries_a_verdict_of_networks():
    """Else the rule of `decide`, which speaks of heads alone, has to hear it."""
    assert (worth_table()["p_value"] > 0.05).all()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(student=None), "`student` must be given"),
        (dict(labels=None), "`labels` must be given"),
        (dict(smallest=2), "`smallest`.*got 2"),
        (dict(teacher_output=np.zeros((60, 2))), "labels. must hold 2 classes"),
        (dict(student_output=np.zeros((60, 5))), "student_output. must .* got 5"),
        (dict(teacher_output=np.full((60, 3), np.nan)), "got 180 NaN"),
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


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"teacher": "text"}, "`teacher` must"),
        ({"teacher": np.zeros((59, 2))}, "`teacher` 59, `labels` 60"),
        ({"labels": 1}, "labels"),
    ],
)
def test_what_the_rows_of_outputs_never_read_is_looked_at(given, said):
    x, y, logits = classes(60)
    arguments = {"teacher": x, "student": x, "labels": y} | given
    with pytest.raises(ValueError, match=said):
        decide(**arguments, teacher_output=logits, **FAST)
