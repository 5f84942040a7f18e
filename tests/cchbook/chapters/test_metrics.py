"""classification_metrics: scikit-learn's numbers, for a stack in one call."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score

from cchbook.chapters.metrics import (
    METRICS,
    by_draw,
    classification_metrics,
    resampled_f1,
    resamples,
    rule_hits,
    with_test_error,
    wrong_signs,
)


def by_scikit_learn(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    predicted, scores = logits.argmax(-1), softmax(logits, -1)
    auc = (
        roc_auc_score(labels, scores[:, 1])
        if scores.shape[1] == 2
        else roc_auc_score(
            labels,
            scores,
            multi_class="ovr",
            average="macro",
            labels=range(scores.shape[1]),
        )
    )
    return {
        "accuracy": accuracy_score(labels, predicted),
        "auc": auc,
        "macro_f1": f1_score(labels, predicted, average="macro", zero_division=0),
        "weighted_f1": f1_score(labels, predicted, average="weighted", zero_division=0),
        "log_loss": log_loss(
            labels, softmax(logits, -1), labels=range(logits.shape[1])
        ),
    }


@settings(max_examples=25, deadline=None)
@given(
    classes=st.integers(2, 5),
    n=st.integers(1, 40),
    seed=st.integers(0, 10**6),
    rounded=st.booleans(),
)
def test_every_metric_equals_scikit_learns(classes, n, seed, rounded):
    random = np.random.default_rng(seed)
    labels = np.concatenate(
        (np.arange(classes), random.integers(0, classes, n))
    )  # AUC there wants every class
    logits = random.normal(size=(3, 2, labels.size, classes))
    if rounded:  # ties, which both count half
        logits = logits.round()
    ours = classification_metrics(logits, labels)
    assert tuple(ours) == (*METRICS, "log_loss")
    for index in np.ndindex(3, 2):
        for metric, value in by_scikit_learn(logits[index], labels).items():
            assert ours[metric][index] == pytest.approx(value, abs=1e-12), metric


@pytest.mark.parametrize("labels", [[0, 0, 1], [0, 2, 2], [1, 1, 1]])
def test_classes_that_do_not_occur(labels):
    labels, logits = np.array(labels), np.random.default_rng(0).normal(size=(3, 4))
    ours = classification_metrics(logits, labels)
    predicted = logits.argmax(-1)
    assert ours["macro_f1"] == pytest.approx(
        f1_score(labels, predicted, average="macro", zero_division=0)
    )
    present = [c for c in np.unique(labels) if 0 < (labels == c).sum() < 3]
    areas = [roc_auc_score(labels == c, softmax(logits, -1)[:, c]) for c in present]
    assert ours["auc"] == pytest.approx(
        np.mean(areas) if areas else np.nan, nan_ok=True
    )


def test_labels_of_each_network_and_tensors():
    random = torch.manual_seed(0)
    logits, labels = (
        torch.randn(4, 30, 3, generator=random),
        torch.randint(0, 3, (4, 30), generator=random),
    )
    stack = classification_metrics(logits, labels)
    for s in range(4):
        one = classification_metrics(logits[s], labels[s])
        assert all(
            one[metric] == pytest.approx(stack[metric][s], abs=1e-15)
            for metric in METRICS
        )


def test_a_perfect_and_a_hopeless_classifier():
    labels = np.arange(12) % 3
    perfect = classification_metrics(10.0 * np.eye(3)[labels], labels)
    assert perfect.pop("log_loss") == pytest.approx(2 * np.exp(-10), rel=1e-3)
    assert all(value == 1 for value in perfect.values())
    hopeless = classification_metrics(np.zeros((12, 3)), labels)
    assert hopeless["auc"] == 0.5 and hopeless["accuracy"] == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("logits", "labels", "named"),
    [
        (np.zeros(3), np.zeros(3, int), "logits"),
        (np.zeros((3, 1)), np.zeros(3, int), "logits"),
        (np.zeros((0, 2)), np.zeros(0, int), "logits"),
        (np.full((3, 2), np.nan), np.zeros(3, int), "logits"),
        (np.zeros((3, 2)), np.zeros(4, int), "labels"),
        (np.zeros((3, 2)), np.zeros(3), "labels"),
        (np.zeros((3, 2)), np.full(3, 2), "labels"),
        (np.zeros((3, 2)), np.full(3, -1), "labels"),
    ],
)
def test_bad_input_is_named(logits, labels, named):
    with pytest.raises(ValueError, match=named):
        classification_metrics(logits, labels)


def test_wrong_signs_by_hand():
    gains = pd.DataFrame(
        {"pair": "a", "seed": range(4), "value": [3.0, 3.0, -1.0, -1.0]}
    )
    found = wrong_signs(gains, ["pair"], 2, runs=1, resamples=4000).iloc[0]
    assert found["one_split"] == 0.5
    assert found["any_runs"] == pytest.approx(0.5, abs=0.03)
    sure = wrong_signs(gains.assign(value=1.0), ["pair"], 2, runs=3, resamples=9)
    assert sure.loc[0, ["any_runs", "one_split"]].tolist() == [0, 0]


def test_rule_hits_by_hand():
    rule = pd.DataFrame(
        {
            "gap": [0.1, -0.1, 0.2, -0.2],
            "gain": [0.3, 0.1, -0.1, 0.0],
            "clear": [True, False, False, False],
        }
    )
    hits = rule_hits(rule)
    assert hits["add KD when I(TS) > I(SL)", "all pairs"][:2] == (1, 3)
    assert hits["always add KD", "all pairs"][:2] == (2, 3)
    assert hits["never add KD", "gain called"][:2] == (0, 1)
    low, high = hits["always add KD", "gain called"][2:]
    assert low == pytest.approx(1 / (1 + 1.959964**2)) and high == pytest.approx(1)


def test_f1_of_resamples_is_that_of_the_drawn_samples():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(2, 30, 3)), np.arange(30) % 3
    weights = resamples(30, 4, seed=1)
    assert weights.shape == (4, 30) and (weights.sum(1) == 30).all()
    found = resampled_f1(logits, labels, weights)
    for b, row in enumerate(weights):
        drawn = np.repeat(np.arange(30), row)
        expected = classification_metrics(logits[:, drawn], labels[drawn])
        assert np.allclose(found[b], expected["weighted_f1"])


def test_the_error_over_samples_is_the_binomials():
    labels = np.zeros(400, int)
    logits = np.where(np.arange(400)[:, None] < 100, [[0, 1.0]], [[1.0, 0]])[None]
    hits = (resamples(400, 2000) * (logits[0].argmax(-1) == labels)).mean(1)
    assert hits.std() == pytest.approx(np.sqrt(0.25 * 0.75 / 400), rel=0.06)


def test_the_error_over_test_samples_is_what_all_networks_share():
    rng = np.random.default_rng(0)
    moved = rng.normal(size=(20, 3)) + rng.normal(size=(20, 1))  # draws, networks
    where = {"metric": "gain_drawn", "teacher": "text", "unit": ""}
    whole = by_draw(moved).assign(**where)
    assert whole.loc[whole["draw"] == 4, "value"].tolist() == moved[4].tolist()
    gains = pd.DataFrame({"metric": "gain", "seed": [0, 1], "value": [0.1, 0.2]})
    metrics = pd.concat([gains, whole], ignore_index=True)
    found = with_test_error(metrics)
    (error,) = found[found["metric"] == "gain_test_se"].to_dict("records")
    covariance = np.cov(moved.T)
    between = covariance[~np.eye(3, dtype=bool)].mean()
    assert error["value"] == pytest.approx(np.sqrt(between))
    assert error["teacher"] == "text" and len(found) == len(metrics) + 1
    # a run in pieces of one network each has the same rows, and so the same error
    pieces = [by_draw(moved[:, [r]]).assign(**where) for r in range(3)]
    for number, piece in enumerate(pieces):
        piece["seed"] += number
    again = with_test_error(pd.concat(pieces, ignore_index=True))
    value = again.loc[again["metric"] == "gain_test_se", "value"]
    assert value.tolist() == pytest.approx([error["value"]])
    # an older run's own rows stay
    old = gains.assign(metric="gain_test_se")
    assert with_test_error(old) is old
