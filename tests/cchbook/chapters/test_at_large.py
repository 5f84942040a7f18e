"""Chapter 11: the protocol's numbers from frames worked by hand."""

from __future__ import annotations

import hashlib

import numpy as np
import pandas as pd
import pytest

from cchbook.chapters import at_large
from cchbook.runs import records


def scores(gain, *, name="a", hidden=0.0, teacher="one", student="two", splits=4):
    """Accuracies of one pair whose distilled student gains `gain` over its control."""
    arms = {"student": 0.5, "self-distillation": 0.6, "distilled": 0.6 + gain}
    if hidden:
        arms |= {"self-training": 0.6, "distilled on pairs": 0.6 + gain}
    where = dict(set=name, hidden=hidden, teacher=teacher, student=student)
    rows = []
    for seed in range(splits):
        for arm, value in arms.items():
            noise = 0.001 * (-1) ** seed if arm.startswith("distilled") else 0.0
            rows.append(
                dict(arm=arm, seed=seed, metric="accuracy", value=value + noise)
            )
            rows.append(dict(arm=arm, seed=seed, metric="log_loss", value=1 - value))
    return pd.DataFrame(rows).assign(**where)


def criterion(values, metric, **where):
    where = dict(set="a", hidden=0.0, teacher="one", student="two") | where
    return pd.DataFrame(
        [dict(seed=s, metric=metric, value=v) for s, v in enumerate(values)]
    ).assign(arm=None, **where)


def test_gains_are_over_the_control_of_the_regime():
    metrics = pd.concat([scores(0.1), scores(-0.05, hidden=0.8)])
    each = at_large.gains(metrics)
    means = each.groupby("hidden")[["gain", "over_student", "log_loss"]].mean()
    assert means.loc[0.0].tolist() == pytest.approx([0.1, 0.2, 0.1])
    assert means.loc[0.8].tolist() == pytest.approx([-0.05, 0.05, -0.05])


def test_a_regression_gains_where_its_error_falls():
    metrics = scores(-0.1)
    metrics = metrics[metrics["metric"] == "accuracy"].assign(metric="error")
    each = at_large.gains(metrics)
    assert set(each["kind"]) == {"regression"}
    assert each["gain"].mean() == pytest.approx(0.1)


def test_benefit_counts_the_gain_where_the_rule_says_distil():
    back = dict(teacher="two", student="one")
    metrics = pd.concat(
        [
            scores(0.1),
            scores(-0.2, **back),
            criterion([1.0, 0.5], "cch_latent"),
            criterion([-1.0, -0.5], "cch_latent", **back),
            criterion([0.0, 0.0], "saturated_latent"),
            criterion([0.0, 0.0], "saturated_latent", **back),
        ]
    )
    table = at_large.pairs(metrics)
    (row,) = at_large.benefits(table, {"CCH": "cch_latent"}).to_dict("records")
    assert row["CCH"] == pytest.approx(0.05)
    assert row["always"] == pytest.approx(-0.05)
    assert row["never"] == 0.0


def test_a_saturated_criterion_does_not_distil():
    metrics = pd.concat(
        [
            scores(0.1),
            criterion([1.0, 0.5, 0.7], "cch_latent"),
            criterion([1.0, 1.0, 0.0], "saturated_latent"),
        ]
    )
    table = at_large.pairs(metrics)
    assert at_large.says(table, {"CCH": "cch_latent"})["CCH"].tolist() == [0.0]


def test_a_rule_must_beat_both_always_and_never():
    sets = [f"s{k}" for k in range(8)]
    noise = np.linspace(-0.001, 0.001, 8)
    benefit = pd.DataFrame({"hidden": 0.0, "set": sets, "never": 0.0})
    benefit["always"] = 0.02 + noise
    benefit["constant yes"] = benefit["always"]
    benefit["sees all"] = 0.05 - noise
    tests = at_large.rule_tests(benefit).set_index("rule")
    assert tests.loc["constant yes", "p_value"] == 1.0
    assert tests.loc["constant yes", "p_never"] < 1e-6
    assert tests.loc["sees all", "p_value"] < 1e-6
    # all eight signs the same: 1 in 256 flips reaches as far
    assert tests.loc["sees all", "flipped"] == pytest.approx(1 / 256, rel=0.3)


def test_each_outcome_is_tested_on_the_sets_that_have_it():
    table = pd.DataFrame(
        {
            "hidden": 0.0,
            "set": ["a", "a", "b", "b", "c", "c"],
            "gain": [0.2, -0.1, 0.4, -0.3, 0.1, -0.2],
            "over_student": [0.0, -0.1, 0.2, -0.1, 0.1, -0.3],
            "log_loss": [0.3, -0.1, 0.1, -0.1, np.nan, np.nan],
            "cch_latent": [1.0, -1.0] * 3,
            "saturated_latent": 0.0,
        }
    )
    tests = at_large.outcomes(table).set_index("outcome")
    gain = tests.loc["gain over the control"]
    assert gain["over_always"] == pytest.approx(0.1)  # (.05 + .15 + .1) / 3
    # deviations -.05, .05, 0: standard deviation .05
    assert gain["error_always"] == pytest.approx(0.05 / np.sqrt(3))
    loss = tests.loc["log loss, over the control"]
    assert loss["sets"] == 2
    assert loss["B"] == pytest.approx(0.1)  # (.15 + .05) / 2


def test_holm_by_hand():
    adjusted = at_large.holm(pd.Series([0.04, 0.01, 0.03]))
    assert adjusted.tolist() == pytest.approx([0.06, 0.03, 0.06])


def test_auc_within_sets_skips_sets_of_one_sign():
    table = pd.DataFrame(
        {
            "hidden": 0.0,
            "set": ["a", "a", "a", "b", "b"],
            "gain": [0.1, -0.1, 0.2, 0.1, 0.2],
            "cch_latent": [2.0, 1.0, 0.5, 1.0, 2.0],
        }
    )
    (row,) = at_large.within_set_auc(table, "cch_latent").to_dict("records")
    assert row["set"] == "a"
    assert row["auc"] == 0.5


def test_the_recorded_profile_names_the_protocol_that_was_committed():
    root = records.repository()
    page = (root / "book/protocol.md").read_bytes()
    profile = (root / "notebooks/profiles/11_at_large.paper.yaml").read_text()
    assert f"protocol: {hashlib.sha256(page).hexdigest()}" in profile
