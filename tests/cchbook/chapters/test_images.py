"""The image chapter's tables say what the runs measured and the paper prints."""

from dataclasses import replace

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from cchbook.chapters import images
from cchbook.chapters.evidence import Evidence


def row(metric, value, seed, **where):
    return {**where, "seed": seed, "metric": metric, "value": value, "unit": ""}


def run(name="recorded"):
    """Two seeds of two blurs at α = 0.2:
    gains and gaps of opposite signs at γ = 2.5.
    """
    rows = []
    for seed in (0, 1):
        small = 0.001 * seed
        rows.append(row("student_accuracy", 0.8 + small, seed, alpha=0.2, lam=0.0))
        rows.append(row("i_sl", 1.5, seed, alpha=0.2, estimator="lmi"))
        rows.append(row("i_tl", 2.1, seed, gamma=0.0, estimator="lmi"))
        control = {"alpha": 0.2, "lam": 0.5, "control": "scaled_ce"}
        rows.append(row("student_accuracy_kd", 0.81, seed, **control))
        for gamma, gain, gap in ((0.0, 0.03, 0.4), (2.5, -0.02, 0.1)):
            at = {"alpha": 0.2, "gamma": gamma}
            hot = at | {"temperature": 3.0, "lam": 0.5}
            rows.append(row("teacher_accuracy", 0.98 - gamma / 5, seed, gamma=gamma))
            rows.append(row("student_accuracy_kd", 0.8 + gain, seed, **hot))
            rows.append(row("gain", gain + small, seed, **hot))
            rows.append(row("gain_over_control", gain - 0.01, seed, **hot))
            rows.append(row("i_ts", 1.5 + gap, seed, **at, estimator="lmi"))
            rows.append(row("gap", gap, seed, **at, estimator="lmi"))
            for epoch in (1, 2):
                late = hot | {"epoch": epoch}
                rows.append(row("accuracy_by_epoch", 0.4 * epoch, seed, **late))
        for epoch in (1, 2):
            plain = {"alpha": 0.2, "lam": 0.0, "epoch": epoch}
            rows.append(row("accuracy_by_epoch", 0.39 * epoch, seed, **plain))
    frame = pd.DataFrame(rows).astype({"seed": "Int64"})
    return Evidence(name, frame, {"alphas": [0.2]}, "a run", {"estimator": "latent"})


@pytest.fixture
def shown(monkeypatch):
    tables = []
    monkeypatch.setattr(
        images.plots, "show_table", lambda frame, caption="", **_: tables.append(frame)
    )
    monkeypatch.setattr(plt, "show", lambda: None)
    yield tables
    plt.close("all")


def test_printed_is_as_printed():
    cell = {"alpha": 0.2, "gamma": 0.0}
    assert images.printed("table1", "mi_gap", **cell) == "0.4399"
    gain = images.printed("table1", "accuracy_difference", temperature=3, **cell)
    assert gain.replace("\xa0", " ").replace("&nbsp;", " ") == "0.032 ± 0.004"
    assert images.printed("table1", "mi_gap", alpha=0.3, gamma=0.0) == "–"


def test_signs_by_hand():
    table = images.signs(run("this run"), 0.2).set_index("gamma")
    assert table["agrees"].to_dict() == {0.0: True, 2.5: False}
    assert table["gain"].to_dict() == pytest.approx({0.0: 0.0305, 2.5: -0.0195})
    assert table["over_control"].to_dict() == pytest.approx({0.0: 0.02, 2.5: -0.03})
    assert table["clear"].all()  # 0.0005 of standard error, by two seeds
    assert set(table["estimator"]) == {"lmi"} and set(table["i_sl"]) == {1.5}


def test_one_seed_has_the_error_of_its_test_images(shown):
    """Accuracies 0.83 and 0.80 on 10,000 disagree on at most 37 %: ± 0.006. That says
    nothing of other trainings: no gain is called.
    """
    both = run()
    alone = both.metrics[both.metrics["seed"] == 0]
    one = Evidence("recorded", alone, {"n_test": 10_000}, "a run", both.defaults)
    by_itself = replace(one, name="this run")
    assert images.signs(by_itself, 0.2)["clear"].tolist() == [False, False]
    images.table1([one], 0.2, real=False)
    assert shown[0]["gain, recorded"].tolist()[0] == "0.030 ± 0.006"


def test_table1_sets_both_runs_beside_the_paper(shown):
    images.table1([run(), run("this run")], 0.2, real=True)
    gains, gaps = shown
    assert list(gains["γ"]) == [0.0, 2.5] and list(gains["T"]) == [3.0, 3.0]
    assert {"gain, recorded", "gain, this run", "paper's gain"} <= set(gains)
    assert "over the control, recorded" in gains
    assert list(gaps["paper's gap"]) == ["0.4399", "-0.0032"]
    assert "gap by lmi, recorded" in gaps


def test_the_moving_figure_has_the_errors_of_paired_differences():
    """Gains differ by 0.001 between two seeds, though both accuracies do by as much."""
    accuracy, information = images.explored(run(), 3)
    assert list(accuracy["gamma"]) == list(information["gamma"]) == [0.0, 2.5]
    assert accuracy["student"].tolist() == pytest.approx([0.8005] * 2)
    assert accuracy["student_kd"].tolist() == pytest.approx([0.83, 0.78])
    assert accuracy["gain_se"].tolist() == pytest.approx([0.0005] * 2)
    assert information["gap_se"].tolist() == [0.0, 0.0]
    assert information["i_sl"].tolist() == [1.5, 1.5]


def test_no_paper_beside_stand_ins(shown):
    images.table1([run("this run")], 0.2, real=False)
    images.unblurred([run("this run")], [0.2], real=False)
    assert not any("paper" in name or "prints" in name for t in shown for name in t)


def test_only_the_package_stands_beside_the_captions(shown):
    images.unblurred([run()], [0.2], real=True)
    told = shown[0].set_index("quantity")
    assert told.loc["I(H1;Y), nats, lmi", "Figure 2 prints"] == "2.0485"
    assert told.loc["teacher's accuracy", "Figure 2 prints"] == "0.981"


def test_controls_are_not_taken_for_distilled_students(shown):
    images.controls([run()], [0.2])
    told = shown[0].set_index("student")["recorded"]
    assert told["plain"].startswith("0.80") and told["scaled_ce"].startswith("0.81")
    images.table13([run()], 0.2, 3, real=False)
    reached = shown[1]["accuracy with KD, recorded"]
    assert [text[:4] for text in reached] == ["0.83", "0.78"]  # a row a blur


def test_figures_draw_what_there_is(shown, monkeypatch):
    monkeypatch.setattr(images.records, "recorded", lambda notebook: [])
    images.figure2([run(), run("this run")], 0.2, 3)
    images.curves([run(), run("this run")], 0.2, 3)
    lines = plt.gcf().axes[0].get_lines()
    drawn = [list(line.get_ydata()) for line in lines if len(line.get_ydata()) == 2]
    assert [0.4, 0.8] in [pytest.approx(line) for line in drawn]
