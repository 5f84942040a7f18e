"""One rule for gains: by hand, against closed forms, and by simulation from what the
recorded runs look like.
"""

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.special import polygamma

from cchbook.chapters import inference
from cchbook.chapters.metrics import classification_metrics
from cchbook.runs import predictions

KEYS = ["chapter", "baseline", "condition"]


def rows(gains, condition="c", baseline="b", chapter="x", **more):
    return pd.DataFrame(
        {
            "chapter": chapter,
            "baseline": baseline,
            "condition": condition,
            "seed": range(len(gains)),
            "gain": gains,
        }
        | more
    )


# By hand ------------------------------------------------------------------------------


def test_one_condition_is_students_t():
    found = inference.judge(rows([0.1, 0.2, 0.3])).iloc[0]
    test = stats.ttest_1samp([0.1, 0.2, 0.3], 0)
    assert found[["mean", "std_error", "df"]].tolist() == pytest.approx(
        [0.2, 0.1 / np.sqrt(3), 2]
    )
    assert found["p_value"] == pytest.approx(test.pvalue)
    assert found["q_value"] == found["p_value"] and found["verdict"] == "undecided"


def test_the_luck_of_the_test_samples_is_added_once_and_raises_no_df():
    found = inference.judge(rows([0.1, 0.2, 0.3], sample_error=0.05)).iloc[0]
    error = np.sqrt(0.01 / 3 + 0.05**2)
    assert found["std_error"] == pytest.approx(error)
    assert found["df"] == 2
    assert found["p_value"] == pytest.approx(2 * stats.t.sf(0.2 / error, 2))


def test_splits_that_overlap_are_nadeau_and_bengios():
    found = inference.judge(rows([0.1, 0.2, 0.3], test_share=0.1)).iloc[0]
    assert found["std_error"] == pytest.approx(0.1 * np.sqrt(1 / 3 + 1 / 9))


def test_the_false_discovery_rate_is_held_over_all_chapters():
    """p of a t with one degree of freedom: |mean| / error = cot(π p / 2)."""
    p = [0.01, 0.02, 0.04, 0.6]
    parts = []
    for number, value in enumerate(p):
        mean = 1 / np.tan(np.pi * value / 2)
        # two values one error of 1 apart on each side
        parts.append(rows([mean - 1, mean + 1], chapter=str(number)))
    found = inference.judge(pd.concat(parts))
    assert found["p_value"].to_numpy() == pytest.approx(p)
    # ranks 1 to 4: 4 p, 2 p, 4/3 p, p; each no larger than the next
    assert found["q_value"].to_numpy() == pytest.approx([0.04, 0.04, 0.16 / 3, 0.6])
    assert found["verdict"].tolist() == ["helps", "helps", *["undecided"] * 2]
    assert (inference.judge(pd.concat(parts), 0.01)["verdict"] == "undecided").all()
    lower = pd.concat(parts).assign(gain=lambda f: -f["gain"])
    assert inference.judge(lower)["verdict"].tolist()[:2] == ["harms", "harms"]


def test_a_single_seed_has_no_error_and_takes_no_part_in_the_family():
    both = pd.concat([rows([0.1, 0.2, 0.3]), rows([9.0], "single")])
    found = inference.judge(both).set_index("condition")
    alone = inference.judge(rows([0.1, 0.2, 0.3])).iloc[0]
    single = found.loc["single"]
    assert single[["std_error", "df", "p_value", "q_value"]].isna().all()
    assert single["mean"] == 9.0 and single["verdict"] == "undecided"
    assert found.loc["c", "q_value"] == pytest.approx(alone["q_value"])


def test_what_never_varied_is_undecided():
    found = inference.judge(rows([0.1, 0.1, 0.1])).iloc[0]
    assert found["std_error"] == 0 and found["verdict"] == "undecided"


def test_zero_spread_among_others_is_taken_for_luck():
    rng = np.random.default_rng(0)
    parts = [rows(rng.normal(0, 0.01, 5), str(number)) for number in range(8)]
    parts.append(rows([0.001] * 5, "still"))
    found = inference.judge(pd.concat(parts)).set_index("condition").loc["still"]
    assert found["std_error"] > 0 and found["verdict"] == "undecided"


def test_order_and_scale_change_nothing():
    rng = np.random.default_rng(1)
    parts = [
        rows(rng.normal(0.02 * number, 0.02, 4), str(number), baseline=str(number % 2))
        for number in range(10)
    ]
    frame = pd.concat(parts)
    found = inference.judge(frame)
    assert list(found) == [
        *KEYS,
        "mean",
        "std_error",
        "df",
        "p_value",
        "q_value",
        "verdict",
    ]
    assert found["condition"].tolist() == [str(number) for number in range(10)]
    mixed = inference.judge(frame.sample(frac=1, random_state=0))
    again = mixed.set_index(KEYS).loc[pd.MultiIndex.from_frame(found[KEYS])]
    pd.testing.assert_frame_equal(again.reset_index(), found)
    larger = inference.judge(frame.assign(gain=100 * frame["gain"]))
    assert larger["p_value"].to_numpy() == pytest.approx(found["p_value"].to_numpy())


@pytest.mark.parametrize(
    "change, said",
    [
        (lambda f: f.drop(columns="baseline"), "baseline"),
        (lambda f: f.assign(gain=[0.1, np.nan, 0.3]), "gain"),
        (lambda f: f.assign(gain=[0.1, np.inf, 0.3]), "gain"),
        (lambda f: f.assign(seed=[0, 0, 1]), "one row a seed"),
        (lambda f: f.assign(seed=[0, None, 1]), "seed"),
        (lambda f: f.assign(sample_error=[0.1, 0.2, 0.1]), "sample_error"),
        (lambda f: f.assign(sample_error=-0.1), "sample_error"),
        (lambda f: f.assign(sample_error=np.nan), "sample_error"),
        (lambda f: f.assign(test_share=1.0), "test_share"),
    ],
)
def test_bad_input_is_refused(change, said):
    with pytest.raises(ValueError, match=said):
        inference.judge(change(rows([0.1, 0.2, 0.3])))
    with pytest.raises(ValueError, match="rate"):
        inference.judge(rows([0.1, 0.2]), rate=0.0)


def test_no_rows_are_no_verdicts():
    assert inference.judge(rows([])).empty


# Moderation against Smyth's own terms -------------------------------------------------


@pytest.mark.parametrize("y", [0.01, 0.3, 1.0, 7.5, 1e4])
def test_trigamma_is_inverted(y):
    assert inference.inverse_trigamma(float(polygamma(1, y))) == pytest.approx(y)


def test_the_prior_by_hand():
    """Of two variances with 2 degrees of freedom each, log s² = ±h, the sampling
    variance is ψ′(1) = π²/6; with h² = π²/6 the other half, 2 h² / 1 − π²/6 = π²/6, is
    the prior's, so d₀ = 2, and s₀² is 1: ψ(1) cancels.
    """
    h = np.pi / np.sqrt(6)
    location, prior_df = inference.moderation_prior(np.exp([h, -h]), 2)
    assert prior_df == pytest.approx(2.0)
    assert location == pytest.approx([1.0, 1.0])


def test_the_prior_is_found_again():
    """Variances drawn by the model: s² = σ² χ²_d / d with σ² = s₀² d₀ / χ²_d₀, each
    stratum with an s₀² of its own.
    """
    rng = np.random.default_rng(0)
    size, df, prior = 40_000, 4, 6.0
    strata = np.arange(size) % 2
    truth = np.where(strata == 0, 1.0, 25.0)
    sigma = truth * prior / rng.chisquare(prior, size)
    variances = sigma * rng.chisquare(df, size) / df
    location, prior_df = inference.moderation_prior(variances, df, strata)
    assert prior_df == pytest.approx(prior, rel=0.03)
    assert location[:2] == pytest.approx([1.0, 25.0], rel=0.03)


def test_equal_variances_have_an_endless_prior_and_one_has_none():
    location, prior_df = inference.moderation_prior([2.0, 2.0, 2.0], 3)
    assert prior_df == np.inf
    # the median of χ²₃ / 3 in logs: the variances are as likely low as high
    assert location == pytest.approx(2 * np.exp(np.log(1.5) - polygamma(0, 1.5)))
    assert inference.moderation_prior([2.0], 3)[1] == 0.0


def test_effective_degrees_of_freedom():
    rng = np.random.default_rng(0)
    one = rng.standard_normal((6, 1))
    assert inference.effective_df(one) == pytest.approx(5)
    assert inference.effective_df(one * [1, 2, 3, 4]) == pytest.approx(5)
    # independent columns: r² is 1/(n − 1) on average, 90 pairs · 1/3 beside the ten
    drawn = [
        1 / inference.effective_df(rng.standard_normal((4, 10))) for _ in range(2000)
    ]
    assert np.mean(drawn) == pytest.approx((10 + 90 / 3) / (3 * 100), rel=0.02)
    # by what it is meant to be: 2 / df is the variance of the mean of the variances
    mixing = np.linalg.cholesky(np.full((5, 5), 0.6) + 0.4 * np.eye(5)).T
    pooled = [
        (rng.standard_normal((40, 5)) @ mixing).var(0, ddof=1).mean()
        for _ in range(4000)
    ]
    many = rng.standard_normal((4000, 5)) @ mixing
    truth = inference.effective_df(many) / 3999 * 39
    assert 2 / np.var(pooled) == pytest.approx(truth, rel=0.1)


def test_no_condition_has_more_degrees_of_freedom_than_its_baseline():
    """Ten copies of one condition are one condition."""
    gains = [0.1, 0.2, 0.3, 0.2]
    copies = pd.concat([rows(gains, str(number)) for number in range(10)])
    found = inference.judge(copies)
    assert found["df"].to_numpy() == pytest.approx(3.0)
    assert found["std_error"].to_numpy() == pytest.approx(
        np.std(gains, ddof=1) / np.sqrt(4)
    )


def test_moderation_by_hand():
    """Three conditions of uncorrelated gains with variances 1, e^h and e^−h."""
    pattern = np.array(
        [
            [1.0, 1, 1, -1, -1, -1, 1, -1],
            [1.0, -1, 1, -1, 1, -1, -1, 1],
            [1.0, 1, -1, -1, 1, 1, -1, -1],
        ]
    )
    pattern /= pattern.std(axis=1, ddof=1, keepdims=True)
    variances = np.exp([0.0, 2.0, -2.0])
    parts = [rows(0.5 + np.sqrt(v) * row, str(v)) for v, row in zip(variances, pattern)]
    frame = pd.concat(parts)
    wide = frame.pivot(index="seed", columns="condition", values="gain").to_numpy()
    location, prior_df = inference.moderation_prior(variances, 7)
    prior_df = min(prior_df, inference.effective_df(wide) - 7)
    expected = (prior_df * location + 7 * variances) / (prior_df + 7)
    found = inference.judge(frame)
    assert found["df"].to_numpy() == pytest.approx(7 + prior_df)
    assert found["std_error"].to_numpy() == pytest.approx(np.sqrt(expected / 8))


# What test samples share --------------------------------------------------------------


def test_shared_error_by_hand():
    """Two seeds whose differences are (1, 0, 0, −1) and (1, 0, −1, 0): the covariance
    over samples is 1/3, so the variance that they share is 1/12.
    """
    moved = np.array([[1, 0, 0, -1], [1, 0, -1, 0]])
    assert inference.shared_sample_error(moved) == pytest.approx(np.sqrt(1 / 12))
    opposite = [[1, 0, 0, -1], [-1, 0, 0, 1]]
    assert inference.shared_sample_error(opposite) == 0.0
    alone = inference.shared_sample_error(moved[0])
    assert alone == pytest.approx(np.std(moved[0], ddof=1) / 2)
    with pytest.raises(ValueError, match="2 samples"):
        inference.shared_sample_error([[1.0]])


def test_draws_of_a_mean_say_the_same_as_its_samples():
    rng = np.random.default_rng(0)
    common = rng.normal(0, 1, 400)
    moved = common + rng.normal(0, 1, (3, 400))
    weights = rng.multinomial(400, np.full(400, 1 / 400), 4000) / 400
    drawn = inference.shared_error_of_draws(moved @ weights.T)
    assert drawn == pytest.approx(inference.shared_sample_error(moved), rel=0.05)
    assert drawn == pytest.approx(1 / 20, rel=0.15)


def test_the_luck_of_shared_samples_and_of_seeds_make_the_whole_error():
    """Over test samples and seeds drawn again, the mean gain varies by what is given
    to `judge`: the spread over seeds and the shared error, each once.
    """
    rng = np.random.default_rng(1)
    means, spread, shared = [], [], []
    for _ in range(2000):
        difficulty = rng.normal(0, 1, 100)
        moved = difficulty + rng.normal(0, 2, (4, 100)) + rng.normal(0, 0.2, (4, 1))
        gains = moved.mean(1)
        means.append(gains.mean())
        spread.append(gains.var(ddof=1) / 4)
        shared.append(inference.shared_sample_error(moved) ** 2)
    assert np.mean(spread) + np.mean(shared) == pytest.approx(np.var(means), rel=0.1)


def test_mcnemar_and_log_loss_by_hand():
    right = [True] * 8 + [False] * 4
    other = [True] * 5 + [False] * 3 + [True] + [False] * 3
    found = inference.mcnemar(right, other)
    assert found == (3, 1, pytest.approx(2 * (1 + 4) / 16))
    assert inference.mcnemar(right, right) == (0, 0, 1.0)
    assert inference.log_loss([0.5, 0.25]) == pytest.approx(1.5 * np.log(2))
    assert np.isfinite(inference.log_loss([0.0, 1.0]))
    with pytest.raises(ValueError, match="probabilities"):
        inference.log_loss([1.5])


def test_what_a_run_kept_gives_its_scores_again(tmp_path):
    """From the file of predictions: accuracy, log loss, McNemar's table, and the error
    that all seeds share, as from the logits themselves.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 500)
    hint = 2 * np.eye(3)[labels] + rng.normal(size=(500, 3))
    logits = {who: hint + rng.normal(size=(2, 500, 3)) for who in ("plain", "")}
    kept = [
        predictions.network(logits[who][seed], labels, {"control": who, "seed": seed})
        for who in logits
        for seed in range(2)
    ]
    path = tmp_path / predictions.NAME
    path.write_bytes(predictions.Predictions(kept).to_bytes())

    read = predictions.Predictions.read(path)
    networks = {
        who: sorted(read.of(control=who), key=lambda each: each.conditions["seed"])
        for who in logits
    }
    right = {w: np.array([n.right for n in found]) for w, found in networks.items()}
    for who, found in networks.items():
        scores = classification_metrics(logits[who], labels)
        assert right[who].mean(1) == pytest.approx(scores["accuracy"])
        loss = inference.log_loss([each.probability for each in found])
        assert loss == pytest.approx(scores["log_loss"], rel=1e-3)

    hits = {who: said.argmax(-1) == labels for who, said in logits.items()}
    only, other, p = inference.mcnemar(right[""][0], right["plain"][0])
    assert only == (hits[""][0] & ~hits["plain"][0]).sum()
    assert other == (~hits[""][0] & hits["plain"][0]).sum()
    assert p == pytest.approx(stats.binomtest(only, only + other).pvalue)
    moved = right[""].astype(int) - right["plain"]
    expected = np.cov(moved)[0, 1] / 500
    shared = inference.shared_sample_error(moved)
    assert shared == pytest.approx(np.sqrt(max(expected, 0)))
