"""The scorecard's statistics against values by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import stats

from cchbook.chapters import metrics as metrics_of
from cchbook.chapters import scorecard, worth

NAN = float("nan")


def log(metric, value, seed=None, **where):
    return {"metric": metric, "value": value, "seed": seed, "unit": ""} | where


METRICS = pd.DataFrame(
    [
        log("gain", 1.0, 0, alpha=0.2, gamma=0),
        log("gain", 3.0, 1, alpha=0.2, gamma=0),
        log("gain", -1.0, 0, alpha=0.2, gamma=2),
        log("gain", -1.0, 1, alpha=0.2, gamma=2),
        log("i_ts", 0.5, 0, alpha=0.2, gamma=0),
        log("i_ts", 0.7, 1, alpha=0.2, gamma=0),
        log("i_ts", 0.1, 0, alpha=0.2, gamma=2),
        log("i_sl", 0.2, 0, alpha=0.2),
        log("i_sl", 0.4, 1, alpha=0.2),
        log("agreement", 0.9, 0, gamma=0),
        log("agreement", 0.3, 0, gamma=2),
        log("other", 5.0, 0, split="train"),
    ]
)


def test_conditions_by_hand():
    table = scorecard.conditions(
        METRICS, ["i_ts", "i_sl", "agreement", "cka"]
    ).set_index("gamma")
    assert table.loc[0, ["gain", "gain_se", "gain_n"]].tolist() == pytest.approx(
        [2.0, 1.0, 2]
    )
    assert table.loc[0, ["i_ts", "i_sl"]].tolist() == pytest.approx([0.6, 0.3])
    assert table.loc[0, ["gap", "gap_se"]].tolist() == pytest.approx(
        [0.3, 0.0], abs=1e-12
    )  # paired by seed: .3 and .3
    assert table.loc[2, "gap"] == pytest.approx(-0.1) and np.isnan(
        table.loc[2, "gap_se"]
    )
    assert table["agreement"].tolist() == [0.9, 0.3] and table["cka"].isna().all()
    assert table["baseline"].nunique() == 1


def test_the_finest_level_counts():
    metrics = pd.concat(
        [METRICS, pd.DataFrame([log("i_tl", 1.0), log("i_tl", 2.0, gamma=0)])],
        ignore_index=True,
    )
    assert scorecard.conditions(metrics, ["i_tl", "i_ts", "i_sl"])["i_tl"].tolist() == [
        2.0,
        1.0,
    ]


def test_no_gain_is_an_error():
    with pytest.raises(ValueError, match="gain"):
        scorecard.conditions(METRICS[METRICS.metric != "gain"], ["i_ts"])


def test_seeds_that_are_runs_on_splits():
    """Gains 1, 1 on one split and 3, 3 on another: two observations, not four, whose
    test samples overlap.
    """
    metrics = pd.DataFrame(
        [log("gain", v, s, student="a") for s, v in enumerate((1.0, 1.0, 3.0, 3.0))]
    )
    table = scorecard.conditions(
        metrics,
        ["i_ts", "i_sl"],
        parameters={"seeds": 2, "test_fraction": 0.1, "mi_fraction": 0.5},
    )
    assert table["gain_se"].item() == pytest.approx(1.0 * np.sqrt(1 + 2 / 9))
    assert scorecard.conditions(metrics, ["i_ts", "i_sl"])[
        "gain_se"
    ].item() == pytest.approx(1 / np.sqrt(3))
    assert table["gain_n"].item() == 2
    # information on repeated halves: 1, 2, 3 nats against 0 on each, √(1 + 3 · ½ / ½) =
    # 2 times the plain error
    halves = pd.DataFrame(
        [
            log(m, v * (m == "i_ts"), s, student="a")
            for m in ("i_ts", "i_sl")
            for s, v in enumerate((1, 2, 3))
        ]
    )
    protocol = {"seeds": 2, "test_fraction": 0.1, "mi_fraction": 0.5}
    table = scorecard.conditions(
        pd.concat([metrics, halves]), ["i_ts", "i_sl"], parameters=protocol
    )
    assert table[["gap", "gap_se", "gap_n"]].to_numpy() == pytest.approx(
        np.array([[2.0, 2 / np.sqrt(3), 3]])
    )
    assert scorecard.measured(
        halves, "i_ts", {"student": "a"}, protocol
    ) == pytest.approx((2.0, 2 / np.sqrt(3), 3))


FRAME = pd.DataFrame(
    {
        "gap": [0.1, 0.2, -0.1, -0.3, 0.4],
        "gain": [1.0, 2.0, -1.0, 0.5, -2.0],
        "gain_se": [0.1, 1.5, 0.1, 0.1, NAN],
        "baseline": list("aabbc"),
        "notebook": "x",
    }
)


def test_hits_and_ranks_by_hand():
    assert scorecard.hit_rate(FRAME) == pytest.approx(3 / 5)
    # gap of the helped {.1, .2, -.3} against the others {-.1, .4}: 2 of 6 pairs in
    # order
    assert scorecard.auc(FRAME, "gap") == pytest.approx(2 / 6)
    assert np.isnan(scorecard.auc(FRAME[FRAME.gain > 0], "gap"))
    # a second chapter with larger gaps, where all were helped: no pair within it
    other = FRAME[FRAME.gain > 0].assign(gap=9.0, notebook="y")
    assert scorecard.auc(pd.concat([FRAME, other]), "gap") == pytest.approx(2 / 6)
    assert scorecard.auc(
        pd.concat([FRAME, other]), "gap", within=None
    ) == pytest.approx(8 / 12)
    assert scorecard.rank_correlation(FRAME, "gain") == pytest.approx(1)


def test_clusters_widen_an_interval():
    """100 copies of one condition are one observation when they share a baseline."""
    rng = np.random.default_rng(0)
    hits = rng.random(16) < 0.5
    frame = pd.DataFrame(
        {
            "gap": 1.0,
            "gain": np.where(np.repeat(hits, 100), 1.0, -1.0),
            "baseline": np.repeat(np.arange(16), 100),
            "row": np.arange(1600),
            "notebook": "x",
        }
    )
    clustered = scorecard.cluster_interval(frame, scorecard.hit_rate, resamples=200)
    alone = scorecard.cluster_interval(
        frame, scorecard.hit_rate, cluster="row", resamples=200
    )
    assert np.diff(clustered) > 4 * np.diff(alone)
    few = frame[frame.baseline < scorecard.FEW_CLUSTERS - 1]
    assert np.isnan(scorecard.cluster_interval(few, scorecard.hit_rate)).all()


def test_share_interval_by_hand():
    """Four equal clusters are four trials, whatever their size: Wilson's interval."""
    hits = pd.Series([True] * 30 + [False] * 10)
    clusters = pd.Series(np.repeat(list("abcd"), 10))
    wilson = stats.binomtest(3, 4).proportion_ci(method="wilson")
    assert scorecard.share_interval(hits, clusters) == pytest.approx(tuple(wilson))
    assert np.isnan(scorecard.share_interval(hits[:0], clusters[:0])).all()


@pytest.mark.parametrize("share", [0.5, 0.7, 0.9])
@pytest.mark.parametrize("correlation", [0.05, 0.3, 0.8])
def test_share_interval_covers_with_few_unequal_clusters(share, correlation):
    """Clusters of 20, 19 and seven of 1 to 3, as the recorded runs have them."""
    sizes = np.array([20, 19, 3, 3, 2, 2, 1, 1, 1])
    rng = np.random.default_rng(0)
    concentration = (1 - correlation) / correlation
    chances = rng.beta(
        share * concentration, (1 - share) * concentration, (1000, len(sizes))
    )
    names = pd.Series(np.repeat(np.arange(len(sizes)), sizes))
    covered = []
    for row in rng.binomial(sizes, chances):
        hits = pd.Series(
            np.concatenate([np.arange(n) < hit for n, hit in zip(sizes, row)])
        )
        low, high = scorecard.share_interval(hits, names)
        covered.append(low <= share <= high)
    assert np.mean(covered) >= 0.94


def test_each_chapters_auc_with_its_pairs():
    other = FRAME[FRAME.gain > 0].assign(gap=9.0, notebook="y")
    table = scorecard.auc_by_chapter(pd.concat([FRAME, other]), "gap")
    assert table["pairs"].tolist() == [6, 0]
    assert table["auc"][0] == pytest.approx(2 / 6) and np.isnan(table["auc"][1])


def test_one_estimator_at_a_time():
    """The paper's estimator goes first; the gap is of one estimator, never mixed."""
    both = METRICS.assign(estimator=np.nan).astype({"estimator": object})
    informs = both["metric"].isin(["i_ts", "i_sl"])
    ours = both[informs].assign(estimator="latent", value=both["value"] + 10)
    theirs = both[informs].assign(estimator="lmi")
    metrics = pd.concat([both[~informs], ours, theirs], ignore_index=True)
    assert scorecard.estimators(metrics) == ["lmi", "latent"]
    table = scorecard.conditions(metrics, ["i_ts", "i_sl"]).set_index("gamma")
    assert table.loc[0, ["i_ts", "gap"]].tolist() == pytest.approx([0.6, 0.3])
    table = scorecard.conditions(metrics, ["i_ts", "i_sl"], estimator="latent")
    assert table["i_ts"].tolist() == pytest.approx([10.6, 10.1])
    with pytest.raises(ValueError, match="estimator"):
        scorecard.conditions(metrics, ["i_ts"], estimator="ksg")


def test_measured_by_hand():
    assert scorecard.measured(
        METRICS, "i_ts", {"alpha": 0.2, "gamma": 0, "temperature": 3}
    ) == pytest.approx((0.6, 0.1, 2))
    assert scorecard.measured(METRICS, "gain", {"gamma": 2})[0] == -1
    assert np.isnan(scorecard.measured(METRICS, "gain", {"gamma": 9})[:2]).all()
    assert np.isnan(scorecard.measured(METRICS, "nothing", {})[:2]).all()
    assert np.isnan(
        scorecard.measured(METRICS, "i_ts", {"alpha": 0.2})[:2]
    ).all()  # which blur?


CALLED = FRAME.assign(
    verdict=["helps", "undecided", "harms", "helps", "undecided"],
    gap_se=[0.001, 0.001, 0.001, 1.0, 0.001],
    gap_n=[5, 5, 5, 5, 5],
    saturated=False,
)


def test_sign_counts_by_hand():
    counts = scorecard.sign_counts(scorecard.called(CALLED))
    names = ("conditions", "helps", "harms", "gain_decided", "helped", "right")
    assert [counts[name] for name in names] == [5, 2, 1, 3, 2, 2]
    assert [counts[name] for name in ("decided", "agree")] == [2, 2]
    assert counts["hit_rate"] == 1.0 and counts["decided_helped"] == 1
    # two baselines, a and b
    wilson = stats.binomtest(2, 2).proportion_ci(method="wilson")
    assert counts["interval"] == pytest.approx(tuple(wilson))


def test_a_decided_gain_without_a_gap_counts_as_decided_but_not_for_the_gap():
    without = CALLED.assign(gap=[0.1, 0.2, NAN, -0.3, 0.4])
    counts = scorecard.sign_counts(scorecard.called(without))
    assert [counts[n] for n in ("helps", "harms", "gain_decided")] == [2, 1, 2]


def test_a_gap_of_few_estimates_or_near_its_ceiling_decides_nothing():
    assert scorecard.gap_decided(CALLED).tolist() == [True, True, True, False, True]
    few = CALLED.assign(gap_n=2)
    assert not scorecard.gap_decided(few).any()
    near = CALLED.assign(saturated=[True, False, False, False, False])
    assert scorecard.gap_decided(near).tolist() == [False, True, True, False, True]


def test_gaps_share_one_false_discovery_rate():
    """p = .01, .03 and .2 of Student's t with two degrees of freedom: adjusted .03,
    .045 and .2.
    """
    p = np.array([0.01, 0.03, 0.2])
    frame = pd.DataFrame(
        {"gap": stats.t.isf(p / 2, 2), "gap_se": 1.0, "gap_n": 3, "saturated": False}
    )
    assert scorecard.gap_decided(frame, 0.05).tolist() == [True, True, False]
    assert scorecard.gap_decided(frame, 0.04).tolist() == [True, False, False]


def test_a_runs_own_word_on_saturation_counts():
    rows = [
        log("gain", 1.0, 0, gamma=0.0),
        log("gain", 1.0, 0, gamma=2.0),
        log("i_ts", 3.0, 0, gamma=0.0, estimator="lmi"),
        log("saturated", 1.0, 0, gamma=0.0, estimator="lmi"),
        log("saturated", 0.0, 0, gamma=2.0, estimator="lmi"),
        log("saturated", 1.0, 0, gamma=2.0, estimator="ksg"),
        log("i_ts", 3.0, 0, gamma=2.0, estimator="ksg"),
    ]
    table = scorecard.conditions(pd.DataFrame(rows), ["i_ts"], estimator="lmi")
    assert table["saturated"].tolist() == [True, False]


def test_chapters_add_up_to_the_whole():
    """One false-discovery rate over all rows, whichever part is counted."""
    rng = np.random.default_rng(0)
    n = 60
    frame = pd.DataFrame(
        {
            "gain": rng.normal(0, 5, n),
            "verdict": rng.choice(["helps", "harms", "undecided"], n),
            "gap": rng.normal(0, 5, n),
            "gap_se": 1.0,
            "gap_n": 4,
            "saturated": False,
            "notebook": ["a", "b", "c"] * (n // 3),
            "baseline": [str(i // 4) for i in range(n)],
        }
    )
    called = scorecard.called(frame)
    whole = scorecard.sign_counts(called)
    parts = [scorecard.sign_counts(part) for _, part in called.groupby("notebook")]
    for name in ("helps", "harms", "gain_decided", "helped", "right", "decided"):
        assert 0 < sum(part[name] for part in parts) == whole[name]


# Errors over test samples -------------------------------------------------------------


def test_paired_error_is_mcnemars():
    """Right alone in 3 and 1 of 20 samples: √(3 + 1 − (3 − 1)²/20) / 20."""
    first = np.zeros(20, bool)
    second = np.zeros(20, bool)
    first[:3], second[3:4] = True, True
    first[4:10], second[4:10] = True, True
    expected = np.sqrt(3 + 1 - 4 / 20) / 20
    assert metrics_of.paired_error(first, second) == pytest.approx(expected)
    # a seed that moves nothing halves the mean difference, and its error
    both = metrics_of.paired_error([first, first], [second, first])
    assert both == pytest.approx(expected / 2)


def test_the_bound_is_reached_where_they_disagree_as_much_as_they_can():
    """Accuracies 0.7 and 0.6 on ten samples: at most 7 of them can be told apart."""
    first = np.array([True] * 7 + [False] * 3)
    second = np.array([True] * 3 + [False] * 4 + [True] * 3)
    bound = scorecard.paired_bound(0.7, 0.6, 10)
    assert metrics_of.paired_error(first, second) == pytest.approx(bound)
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b = rng.random((2, 10)) < rng.random((2, 1))
        most = scorecard.paired_bound(a.mean(), b.mean(), 10)
        assert metrics_of.paired_error(a, b) <= most + 1e-12


def test_a_run_of_one_seed_has_the_error_of_its_test_samples():
    """Accuracies 0.9 and 0.8 on 100: disagreement of at most 0.3,
    √((0.3 − 0.01)/100).
    """
    rows = [
        log("student_accuracy", 0.8, 0, alpha=0.2, lam=0.0),
        log("student_accuracy_kd", 0.9, 0, alpha=0.2, gamma=1.0, lam=0.5),
        log("gain", 0.1, 0, alpha=0.2, gamma=1.0, lam=0.5),
        log("i_ts", 0.5, 0, alpha=0.2, gamma=1.0),
        log("i_sl", 0.2, 0, alpha=0.2),
    ]
    metrics = pd.DataFrame(rows)
    of = {"n_test": 100}
    table = scorecard.conditions(metrics, ["i_ts"], parameters=of)
    bound = np.sqrt((0.3 - 0.01) / 100)
    assert table["gain_se"].item() == pytest.approx(bound)
    where = {"alpha": 0.2, "gamma": 1.0}
    error = scorecard.sampling_error(metrics, "gain", where, of, 0.1)
    assert error == pytest.approx(bound)
    error = scorecard.sampling_error(metrics, "student_accuracy_kd", where, of, 0.9)
    assert error == pytest.approx(0.03)  # √(0.9 · 0.1 / 100)
    # what the run itself resampled goes before the bound
    known = log("gain_test_se", 0.01, 0, alpha=0.2, gamma=1.0, lam=0.5)
    metrics = pd.DataFrame([*rows, known])
    table = scorecard.conditions(metrics, ["i_ts"], parameters=of)
    assert table["gain_se"].item() == pytest.approx(0.01)
    assert scorecard.sampling_error(metrics, "gain", where, of, 0.1) == 0.01
    # repeated splits have test samples of their own
    splits = of | {"test_fraction": 0.1, "mi_fraction": 0.5, "seeds": 1}
    metrics = pd.DataFrame(rows)
    assert np.isnan(scorecard.sampling_error(metrics, "gain", where, splits, 0.1))


def test_the_front_pages_figure_is_of_the_leading_records():
    """`python -m cchbook.chapters.worth` makes it."""
    with Image.open(Path(__file__).parents[3] / worth.FIGURE) as picture:
        assert picture.text["Source"] == worth.sources()
