"""Rows without a label: heads against their loss, controls, what is refused, rates."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console

from cchdecide import decide, decide_teachers, pilot
from cchdecide.files import decide_file
from cchdecide.heads import _Design, _Parts, _Ridge, _Softmax
from cchdecide.outputs import outputs_of, target_of
from cchdecide.tables import read_contents
from cchlib.criterion import pairs_slope_test, shrinkage_test

FAST = dict(lams=(0.3, 0.7), temperatures=(1.0,), device="cpu")


def drawn(n, m, kind="regression", teacher="oracle", p=8, seed=0):
    """Features, labels, a teacher's outputs, and pairs: the law of the label, or
    nothing.
    """
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n + m, p))
    if kind == "regression":
        said = x[:, :3].sum(1)
        y = said[:n] + rng.standard_normal(n)
    else:
        said = x @ rng.standard_normal((p, 3))
        odds = np.exp(said[:n])
        y = np.array([rng.choice(3, p=row / row.sum()) for row in odds])
    if teacher == "independent":
        said = said[rng.permutation(n + m)]
    return x[:n], y, said[:n], (said[n:], x[n:])


@pytest.mark.parametrize("lam, temperature", [(0.4, 1.0), (0.8, 3.0), (1.0, 1.0)])
@pytest.mark.parametrize("kind", [_Softmax, _Ridge])
def test_heads_are_where_the_gradient_of_the_loss_is_zero(kind, lam, temperature):
    """(1 − λ) times the mean over labelled training rows, and λ times the mean over
    those and the pairs.
    """
    name = "regression" if kind is _Ridge else "classes"
    x, y, said, (told, further) = drawn(40, 25, name, p=4)
    target = target_of(y, None if kind is _Ridge else 3)
    parts = _Parts.draw(target, 3, 1, None, np.random.default_rng(0))
    design = _Design.of(x, torch.device("cpu"), further)
    heads = kind(design, target, parts)
    output = np.vstack([outputs_of("t", said, target), told.reshape(len(told), -1)])
    soft = heads.soft(output, temperature)
    every = np.arange(len(parts))
    fitted = heads.fit(soft, np.full(len(every), lam), temperature, every)
    scores = design.scores.double()
    for part, weights in zip(every, fitted.double()):
        kept = torch.tensor(parts.train[part] > 0)
        weights = weights.clone().requires_grad_()
        ridge = heads.ridge / 2 * (weights[:-1] ** 2).sum()
        made = scores @ weights
        both = torch.cat([kept, torch.ones(len(further), dtype=bool)])
        if kind is _Ridge:
            label = ((made[:40] - torch.tensor(target.y)) ** 2).sum(1)[kept].mean() / 2
            taught = ((made - soft) ** 2).sum(1)[both].mean() / 2
        else:
            codes = torch.tensor(target.codes)[kept]
            label = torch.nn.functional.cross_entropy(made[:40][kept], codes)
            log_q = (made / temperature).log_softmax(1)
            taught = -(temperature**2) * (soft * log_q).sum(1)[both].mean()
        loss = (1 - lam) * label + lam * taught + ridge
        (gradient,) = torch.autograd.grad(loss, weights)
        # the decrement of a step is 1e-6 nats; with the least ridge, 1e-4
        assert abs(gradient[:-1]).max() < (1e-5 if kind is _Ridge else 5e-3)


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_the_plain_student_does_not_see_the_pairs(kind):
    x, y, said, pairs = drawn(60, 50, kind)
    without = pilot(x, y, said, **FAST)
    found = pilot(x, y, said, pairs=pairs, **FAST)
    assert found.n_pairs == 50 and without.n_pairs == 0
    # the softmax heads stop within 1e-6 nats of the least loss
    np.testing.assert_allclose(found.plain, without.plain, atol=5e-3)
    assert without.over_itself is None and found.over_itself is not None
    assert abs(found.imitator - without.imitator).max() > 1e-3


def test_a_noisy_teacher_gains_more_on_pairs():
    """Its noise is averaged over more rows."""
    more = []
    for seed in range(5):
        x, y, said, (told, further) = drawn(80, 400, p=30, seed=seed)
        rng = np.random.default_rng(seed)
        said = said + rng.standard_normal(80)
        told = told + rng.standard_normal(400)
        without = pilot(x, y, said, **FAST).gain.mean
        more.append(pilot(x, y, said, pairs=(told, further), **FAST).gain.mean)
        more[-1] -= without
    assert np.mean(more) > 2 * np.std(more, ddof=1) / np.sqrt(5)


def test_pairs_of_ever_smaller_number_change_ever_less():
    """With one pair it is nearly the pilot without."""
    x, y, said, (told, further) = drawn(60, 40)
    without = pilot(x, y, said, **FAST)
    gains = [
        pilot(x, y, said, pairs=(told[:m], further[:m]), **FAST).gain.mean
        for m in (1, 40)
    ]
    near, far = (abs(gain - without.gain.mean) for gain in gains)
    assert near < 0.2 * far


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_a_teacher_that_says_what_the_controls_say_gains_nothing_over_them(kind):
    """A copy of the student on all rows; the label's mean on labelled rows."""
    x, y, own, pairs = drawn(90, 60, kind)
    found = pilot(x, y, own, student_output=own, pairs=(*pairs, pairs[0]), **FAST)
    assert found.over_itself.mean == 0
    decision = decide(
        x,
        x,
        y,
        teacher_output=own,
        student_output=own,
        pairs=(*pairs, pairs[0]),
        cch=False,
        **FAST,
    )
    assert decision.code != "distil" and not decision.not_asked[:-1]


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_an_independent_teacher_is_recommended_at_most_at_the_nominal_rate(kind):
    """2.5 %: of 30 draws at most 3, of 12 at most 2: exceeded in 1 of 120, of 300."""
    draws, most = (30, 3) if kind == "regression" else (12, 2)
    passed = 0
    for seed in range(draws):
        x, y, said, pairs = drawn(50, 100, kind, "independent", p=3, seed=seed)
        found = decide(x, x, y, teacher_output=said, pairs=pairs, cch=False, **FAST)
        passed += found.code == "distil"
    assert passed <= most


def test_the_rows_of_the_theory_are_the_tests_with_pairs():
    x, y, said, pairs = drawn(60, 120)
    found = decide(
        x,
        x,
        y,
        teacher_output=said,
        student_output=said,
        pairs=pairs,
        cch=False,
        **FAST,
    )
    rows = found.table.set_index("criterion")
    slope = pairs_slope_test(x, y, said, 120, intercept=True)
    assert rows.loc["slope_test", "estimate"] == pytest.approx(slope.estimate)
    assert rows.loc["slope_test", "p_value"] == pytest.approx(slope.p_value)
    assert rows.loc["slope_test", "unit"] == "r_eff − c/σ²"
    assert any("on the pairs" in why for why in found.not_asked)

    alone = decide(x, x, y, teacher_output=said, pairs=pairs, cch=False, **FAST)
    wanted = shrinkage_test(alone.pilot.plain, y, said, r=3.0)
    estimate = alone.table.set_index("criterion").loc["shrinkage_test", "estimate"]
    assert estimate == pytest.approx(wanted.estimate)
    assert set(alone.table["worth"]) == {"not known with pairs"}


def test_r_is_said_everywhere(tmp_path):
    x, y, said, pairs = drawn(60, 90)
    found = decide(
        said, x, y, teacher_output=said, pairs=pairs, method="gaussian", runs=1, **FAST
    )
    assert found.r == 2.5 and found.n_pairs == 90
    assert found.to_dict()["r"] == 2.5
    assert "r = (n + m)/n = 2.5" in repr(found) and "r = 2.5" in found.verdict
    assert any("r = (n + m)/n = 2.5" in words for words in found.checks)
    assert any("bar is too high" in note for note in found.notes)
    assert "r = (n + m)/n = 2.5" in found.save_html(tmp_path / "a.html").read_text()
    console = Console(record=True, width=200)
    console.print(found)
    assert "r = (n + m)/n = 2.5" in console.export_text()
    assert "r = (n + m)/n" not in repr(
        decide(x, x, y, teacher_output=said, cch=False, **FAST)
    )


def test_a_pair_that_repeats_a_labelled_row_is_left_out():
    x, y, said, (told, further) = drawn(60, 90)
    again = (np.r_[told, said[:20]], np.vstack([further, x[:20]]))
    found = decide(x, x, y, teacher_output=said, pairs=again, cch=False, **FAST)
    assert found.n_pairs == 90
    assert any("20 that repeat a labelled row" in words for words in found.checks)
    once = pilot(x, y, said, pairs=(told, further), **FAST)
    assert found.pilot.gain.mean == pytest.approx(once.gain.mean)
    with pytest.raises(ValueError, match="90 that all repeat|60 that all repeat"):
        pilot(x, y, said, pairs=(said, x), **FAST)


def test_rows_of_pairs_are_matched_by_name():
    x, y, said, (told, further) = drawn(60, 40)
    names = [f"r{i}" for i in range(40)]
    by_name = (
        pd.Series(told, names).iloc[::-1],
        pd.DataFrame(further, names),
    )
    found = pilot(x, y, said, pairs=by_name, **FAST)
    wanted = pilot(x, y, said, pairs=(told, further), **FAST)
    assert found.gain.mean == pytest.approx(wanted.gain.mean)


def test_several_teachers_each_hear_their_pairs():
    x, y, said, (told, further) = drawn(60, 60)
    rng = np.random.default_rng(0)
    outputs = {"good": said, "poor": rng.standard_normal(60)}
    there = {"good": told, "poor": rng.standard_normal(60)}
    ranking = decide_teachers(
        {"good": x, "poor": x},
        x,
        y,
        teacher_outputs=outputs,
        pairs=(there, further),
        cch=False,
        **FAST,
    )
    assert ranking.best == "good"
    assert {d.r for d in ranking.decisions.values()} == {2.0}
    both = pilot(x, y, outputs, pairs=(there, further), **FAST)
    gain = ranking.decisions["good"].pilot.gain.mean
    assert both["good"].gain.mean == pytest.approx(gain)
    for told_here in ({"good": told}, told):
        with pytest.raises(ValueError, match="must be a mapping of the teachers"):
            decide_teachers(
                {"good": x, "poor": x},
                x,
                y,
                teacher_outputs=outputs,
                pairs=(told_here, further),
                cch=False,
                **FAST,
            )


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t, f: t, "`pairs` must be"),
        (lambda t, f: (t,), "`pairs` must be .* got 1"),
        (lambda t, f: (t, f[:-1]), "inconsistent numbers of samples"),
        (lambda t, f: (t, f[:, :-1]), "`student_unlabelled` must have 8 columns"),
        (lambda t, f: (t * np.nan, f), "teacher_output_unlabelled.*NaN"),
        (
            lambda t, f: (t[:, :2], f),
            "`teacher_output_unlabelled` must have one column",
        ),
        (lambda t, f: (t, f, t), "`student_output_unlabelled` must come with"),
        (
            lambda t, f: (np.exp(t) / np.exp(t).sum(1, keepdims=True), f),
            "must be of one form with and without labels",
        ),
    ],
)
def test_bad_pairs_are_refused(change, message):
    x, y, said, (told, further) = drawn(60, 30, "classes")
    with pytest.raises(ValueError, match=message):
        pilot(x, y, said, pairs=change(told, further), **FAST)


def test_pairs_need_outputs():
    x, y, _, pairs = drawn(30, 30)
    with pytest.raises(ValueError, match="`pairs` must come with `teacher_output`"):
        decide(x, x, y, pairs=pairs, cch=False)


def held(tmp_path, **changes):
    x, y, said, (told, further) = drawn(60, 90, "classes")
    arrays = {
        "teacher": said,
        "student": x,
        "labels": y,
        "teacher_output": said,
        "teacher_output_unlabelled": told,
        "student_unlabelled": further,
    } | changes
    path = tmp_path / "pairs.npz"
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return path


def test_a_file_holds_pairs(tmp_path):
    path = held(tmp_path, teacher_unlabelled=np.ones((90, 2)))
    contents = read_contents(path)
    assert contents.ignored == ["teacher_unlabelled"] and list(contents.teachers) == [
        "teacher"
    ]
    console = Console(record=True, width=200)
    report = tmp_path / "report.html"
    ranking = decide_file(
        path,
        html=report,
        json=tmp_path / "out.json",
        console=console,
        cch=False,
        **FAST,
    )
    said = console.export_text()
    assert "60 subjects and 90 pairs without a label, r = (n + m)/n = 2.5" in said
    assert "r = (n + m)/n = 2.5" in report.read_text()
    numbers = json.loads((tmp_path / "out.json").read_text())
    assert numbers["teachers"]["teacher"]["n_pairs"] == 90
    x, y, told, pairs = drawn(60, 90, "classes")
    wanted = pilot(x, y, told, pairs=pairs, **FAST).gain.mean
    assert ranking.decisions["teacher"].pilot.gain.mean == pytest.approx(wanted)


def test_pairs_of_several_teachers_and_the_student_in_a_file(tmp_path):
    x, y, said, (told, further) = drawn(60, 90, "classes")
    path = held(
        tmp_path,
        teacher=None,
        teacher_output=None,
        teacher_output_unlabelled=None,
        teacher_a=said,
        teacher_b=said,
        teacher_logits_a=said,
        teacher_logits_b=-said,
        teacher_logits_a_unlabelled=told,
        teacher_logits_b_unlabelled=-told,
        student_logits=said,
        student_logits_unlabelled=told,
    )
    outputs, features, own = read_contents(path).pairs
    assert list(outputs) == ["a", "b"]
    np.testing.assert_array_equal(outputs["b"], -told)
    np.testing.assert_array_equal(features, further)
    np.testing.assert_array_equal(own, told)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"student_unlabelled": None}, "teacher_output_unlabelled alone"),
        ({"teacher_output_unlabelled": None}, "student_unlabelled alone"),
        (
            {"teacher_output_unlabelled": None, "teacher_probs_unlabelled": np.eye(3)},
            "must hold teacher_probs of the labelled rows",
        ),
    ],
)
def test_half_of_the_pairs_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        read_contents(held(tmp_path, **changes))


def test_a_table_holds_no_pairs(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "teacher.0,student.0,student_unlabelled.0,label\n1,2,3,0\n2,1,4,1\n"
    )
    with pytest.raises(
        ValueError, match="must be an .npz to hold rows without a label"
    ):
        read_contents(path)
