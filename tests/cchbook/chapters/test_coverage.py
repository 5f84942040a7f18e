"""The coverage study: cases whose truths are what they say,
and what is made of them.
"""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from sklearn.cluster import KMeans

from cchbook.chapters import coverage
from cchbook.chapters.panel import logistic_information
from cchlib.criterion import assess, decision_information
from cchlib.mi import estimate_mi


class Log:
    """As much of a run as `study` needs."""

    def __init__(self):
        self.rows = []

    def log(self, metric, value, unit, **where):
        self.rows.append({"metric": metric, "value": value, "unit": unit, **where})


def test_halves_hold_the_same_families_and_other_sizes():
    cases = list(coverage.CASES.values())
    tune, report = ([c for c in cases if c.half == half] for half in ("tune", "report"))
    assert len(tune) == len(report)
    assert {c.view for c in tune} == {c.view for c in report} == set(coverage.VIEWS)
    assert not {(c.n, c.columns) for c in tune} & {(c.n, c.columns) for c in report}
    sizes = [c.n for c in cases]
    assert (min(sizes), max(sizes)) == (100, 5000)
    widths = [c.columns for c in cases]
    assert (min(widths), max(widths)) == (1, 768)
    assert max(c.i_ts for c in cases) == 7


def test_a_label_has_the_information_it_is_said_to_have():
    plain = coverage.Case("a", "tune", 1, 1, 1, 0.0, strength=2.0)
    assert plain.i_sl == pytest.approx(logistic_information(2.0), abs=1e-6)
    assert coverage.CASES["noise 8"].i_sl == 0
    target = coverage.CASES["one pair in 8"]
    assert target.i_sl == pytest.approx(-0.5 * np.log(0.75))

    # by simulation: the mean of log p(y|row) / p(y), subjects' labels included
    case = coverage.Case("b", "tune", 60000, 1, 1, 0.3, offset=-1.0, rows=3)
    _, student, label, groups = case.draw(0)
    assert len(np.unique(groups)) == 20000
    turn = np.sign(np.corrcoef(student[:, 0], label)[0, 1])
    odds = case._odds(turn * student[:, 0])
    share = label.mean()
    gain = np.where(label, np.log(odds / share), np.log((1 - odds) / (1 - share)))
    assert gain.mean() == pytest.approx(case.i_sl, abs=0.01)


@pytest.mark.parametrize("name", ["few subjects 150", "five nats", "subjects 60 x 5"])
def test_the_terms_of_a_draw_are_the_case_s(name):
    case = coverage.CASES[name]
    teacher, student, label, groups = case.draw(3)
    assert teacher.shape == student.shape == (case.n, case.columns)
    assert len(label) == len(groups) == case.n
    again = case.draw(3)
    np.testing.assert_array_equal(again[1], student)
    found = estimate_mi(teacher, student, "gaussian", repeats=0).value
    assert found == pytest.approx(case.i_ts, abs=0.25)
    if case.rows > 1:
        constant = [len(np.unique(label[groups == g])) for g in np.unique(groups)]
        assert set(constant) == {1}


def test_views_lose_nothing_of_the_latents():
    """A linear map finds the latents of "plain" again; "heavy" is invertible."""
    case = coverage.CASES["heavy tails 6"]
    teacher, student, *_ = case.draw(0)
    undone = [np.arcsinh(block) / 1.2 for block in (teacher, student)]
    found = estimate_mi(*undone, "gaussian", repeats=0).value
    assert found == pytest.approx(case.i_ts, abs=0.15)


def test_study_logs_coverage_and_verdicts():
    run = Log()
    coverage.study(run, ["few subjects 100", "many columns 32"], ["gaussian"], 2)
    frame = pd.DataFrame(run.rows)
    assert set(frame["metric"]) >= {"coverage_refused", "coverage_covers"}
    found = coverage.rates(frame)
    assert list(found["draws"]) == [2, 2]
    assert found["covers"].dropna().between(0, 1).all()
    assert len(coverage.table(frame)) == 2 and coverage.table(frame, "report").empty
    with pytest.raises(ValueError, match="`coverage_cases`.*got 'magic'"):
        coverage.study(run, ["magic"], ["gaussian"], 1)


def test_rates_are_means_over_draws_that_were_not_refused():
    def row(seed, metric, value, case="noise 12"):
        return {
            "metric": f"coverage_{metric}",
            "value": value,
            "case": case,
            "half": "report",
            "method": "ksg",
            "seed": seed,
        }

    rows = [row(0, "refused", 1.0)]
    for seed, covers, wrong in ((1, 1.0, 0.0), (2, 1.0, 0.0), (3, 0.0, 1.0)):
        rows += [row(seed, "refused", 0.0), row(seed, "covers", covers)]
        rows += [row(seed, "wrong", wrong), row(seed, "decided", wrong)]
        rows += [row(seed, "error", 0.1)]
    frame = pd.DataFrame(rows)
    found = coverage.rates(frame).iloc[0]
    assert found["covers"] == pytest.approx(2 / 3)
    assert found["wrong"] == pytest.approx(1 / 3)
    assert found["refused"] == 0.25 and found["draws"] == 4
    told = coverage.summary(frame)
    assert told["wrong"] == pytest.approx(1 / 3) and told["lowest"] == told["covers"]
    assert told["decided"] == told["wrong"]
    assert (told["cases"], told["sets"]) == (1, 3)
    p = told["wrong_at_most"]  # with it 1 of 3 or fewer has a chance of 5 %
    assert (1 - p) ** 3 + 3 * p * (1 - p) ** 2 == pytest.approx(0.05)
    figure = coverage.draw(frame)
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["noise 12*"]


def test_pieces_recorded_apart_are_told_together(monkeypatch):
    def record(key, rows):
        names = ["case", "method", "metric", "value"]
        metrics = pd.DataFrame(rows, columns=names).assign(half="report", seed=0)
        return SimpleNamespace(metrics=metrics, record={"key": key})

    old = record(
        "old",
        [
            ("noise 12", "ksg", "coverage_covers", 0.0),
            ("noise 12", "latent", "coverage_covers", 1.0),
            ("noise 12", "ksg", "mae", 0.5),
        ],
    )
    new = record(
        "new",
        [
            ("noise 12", "ksg", "coverage_covers", 1.0),
            ("noise 12", "ksg", "coverage_covers", 1.0),
        ],
    )
    less = record("less", [("noise 12", "ksg", "coverage_covers", 0.0)])
    live = SimpleNamespace(frame=lambda: "live")
    monkeypatch.setattr(coverage.records, "recorded", lambda name: [])
    assert coverage.told(live) == ("live", "the run of this page")
    monkeypatch.setattr(coverage.records, "recorded", lambda name: [old, new, less])
    frame, about = coverage.told(live)
    assert set(frame["metric"]) == {"coverage_covers"}
    assert frame["value"].tolist() == [1.0, 1.0, 1.0]
    assert sorted(frame["method"]) == ["ksg", "ksg", "latent"]
    assert about == "the recorded runs new, old"


@pytest.mark.parametrize("draw", [1, 12])
def test_the_lower_end_claims_no_more_than_the_method_found(draw):
    """64 ReLU features of 4 latents spread over many components, and nearest neighbours
    lose less than surrogates of that spectrum say: the interval lay above the truth. In
    the other draw the probe of a dead unit made it nan.
    """
    case = coverage.CASES["ReLU 64"]
    teacher, student, label, _ = case.draw(draw)
    found = assess(teacher, student, label, "ksg", runs=2)
    low, high = found.gap_interval
    assert low <= case.gap <= high
    assert low <= found.gap <= high


def test_a_shared_class_is_the_channel_between_the_classes():
    case = coverage.CASES["shared class 3"]
    teacher, student, label, _ = dataclasses.replace(case, n=6000).draw(0)
    known = KMeans(3, n_init=3, random_state=0).fit_predict(teacher)
    value, error = decision_information(known, label)
    assert case.i_ts == pytest.approx(value, abs=3 * error)
    assert case.i_sl == pytest.approx(np.log(3))


def test_copies_and_rounding_change_no_case():
    copied = coverage.CASES["copies 6"]
    once = dataclasses.replace(copied, copies=1).draw(0)
    for part, alone in zip(copied.draw(0), once):
        assert np.array_equal(part[:: copied.copies], alone)
    rounded = coverage.CASES["rounded 6"]
    plain = dataclasses.replace(rounded, view="plain").draw(0)[0]
    apart = np.abs(rounded.draw(0)[0] - plain)
    assert apart.max() <= coverage.STEP / 2 + 1e-12
