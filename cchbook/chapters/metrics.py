"""Classification scores of a whole stack of networks at once.

The same numbers as scikit-learn's, which scores one network a call: seeds × conditions
× splits are thousands of calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import log_softmax, softmax
from scipy.stats import binomtest, rankdata

from cchbook.chapters.inference import shared_error_of_draws
from cchlib import check

METRICS = ("accuracy", "auc", "macro_f1", "weighted_f1")


def classification_metrics(logits: Any, labels: Any) -> dict[str, np.ndarray]:
    """Accuracy, AUC, macro F1, weighted F1 (in [0, 1]) and log loss of every network.

    Parameters
    ----------
    logits : array or Tensor (..., n, K)
        Outputs before the softmax.
    labels : integer array or Tensor (n,) or (..., n)
        Class indices in [0, K); (n,) is shared by all networks.

    Returns
    -------
    dict of str to array (...)
        ``accuracy``; ``macro_f1``, a mean over the classes that occur in the labels or
        the predictions; ``weighted_f1``, a mean weighted by the labels' counts;
        ``auc``, the area under the ROC curve of the softmax: of class 1 for K = 2,
        otherwise one class against the rest, averaged over the classes that occur in
        the labels. AUC is NaN where the labels hold one class only. ``log_loss``, nats,
        is the mean of −ln of the true class's probability.

    Raises
    ------
    ValueError
        On NaN or infinite logits, labels outside [0, K), or shapes that do not agree.
    """
    logits = check.finite("logits", logits)
    labels = check.as_array("labels", labels)
    if logits.ndim < 2 or logits.shape[-1] < 2 or logits.shape[-2] < 1:
        raise ValueError(
            "`logits` must have shape (..., n, K) with n ≥ 1 and K ≥ 2, got "
            f"{logits.shape}"
        )
    if labels.dtype.kind not in "iu" or labels.shape not in (
        logits.shape[:-1],
        logits.shape[-2:-1],
    ):
        raise ValueError(
            f"`labels` must be class indices of shape {logits.shape[:-1]} or "
            f"{logits.shape[-2:-1]}, got {labels.dtype} of shape {labels.shape}"
        )
    classes = logits.shape[-1]
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(
            f"`labels` must be class indices in [0, {classes}), got one outside"
        )

    identity = np.eye(classes, dtype=bool)
    true = np.broadcast_to(identity[labels], logits.shape)
    predicted = identity[logits.argmax(-1)]
    hits = (true & predicted).sum(-2)
    support, claims = true.sum(-2), predicted.sum(-2)
    f1 = 2 * hits / np.maximum(support + claims, 1)
    return {
        "accuracy": (true & predicted).any(-1).mean(-1),
        "auc": _auc(logits, true),
        "macro_f1": f1.sum(-1) / (support + claims > 0).sum(-1),
        "weighted_f1": (f1 * support).sum(-1) / support.sum(-1),
        "log_loss": -(log_softmax(logits, -1) * true).sum(-1).mean(-1),
    }


def resampled_f1(logits: Any, labels: Any, weights: np.ndarray) -> np.ndarray:
    """Weighted F1 of every network on every resample of the test samples.

    Parameters
    ----------
    logits : array or Tensor (R, n, K)
    labels : integer array or Tensor (n,)
    weights : array (B, n)
        How often each sample is in a resample; see `resamples`.

    Returns
    -------
    array (B, R)
    """
    logits, labels = check.finite("logits", logits), check.as_array("labels", labels)
    identity = np.eye(logits.shape[-1])
    true, predicted = identity[labels], identity[logits.argmax(-1)]
    hits = np.einsum("bn,nk,rnk->brk", weights, true, predicted, optimize=True)
    support = weights @ true  # (B, K)
    claims = np.einsum("bn,rnk->brk", weights, predicted)
    f1 = 2 * hits / np.maximum(support[:, None] + claims, 1)
    return (f1 * support[:, None]).sum(-1) / support.sum(-1, keepdims=True)


def resamples(n: int, number: int, seed: int = 0) -> np.ndarray:
    """Bootstrap: how often each of n samples is drawn in each resample, (number, n)."""
    check.integer("n", n, 1)
    rng = np.random.default_rng(seed)
    return rng.multinomial(n, np.full(n, 1 / n), check.integer("number", number, 1))


def paired_error(right: Any, also_right: Any) -> float:
    """Standard error, over test samples, of a difference of two accuracies.

    McNemar's, from the samples on which the two disagree; of several seeds that share
    the samples, of their mean difference.

    Parameters
    ----------
    right, also_right : boolean arrays (n,) or (seeds, n)
    """
    moved = np.atleast_2d(np.asarray(right, float) - np.asarray(also_right, float))
    by_sample = moved.mean(0)
    return float(by_sample.std() / np.sqrt(by_sample.size))


def by_draw(values: np.ndarray) -> pd.DataFrame:
    """Values (B, R) of B resamples and R networks as rows for `Run.log_frame`: columns
    draw, seed, value.
    """
    draws, networks = np.indices(values.shape)
    return pd.DataFrame(
        {"draw": draws.ravel(), "seed": networks.ravel(), "value": values.ravel()}
    )


def with_test_error(metrics: pd.DataFrame) -> pd.DataFrame:
    """A run's metrics with ``gain_test_se``: the error of the mean gain that comes from
    the test samples which all networks share (`shared_error_of_draws`).

    It is made here and not in the run: a run in pieces (`cch run --split seeds`) has
    all networks only when put together.

    Parameters
    ----------
    metrics : DataFrame
        As `Run.frame` and `Record.metrics` give them. Rows of ``gain_test_se`` that an
        older run logged itself stay as they are.
    """
    drawn = metrics[metrics["metric"] == "gain_drawn"]
    if drawn.empty:
        return metrics
    apart = {"draw", "seed", "value", "unit"}
    by = [c for c in drawn.columns.difference(apart) if drawn[c].notna().any()]
    wide = drawn.pivot_table(index=[*by, "seed"], columns="draw", values="value")
    error = pd.Series(
        {
            where: shared_error_of_draws(rows.to_numpy())
            for where, rows in wide.groupby(by)
        }
    )
    error = error.rename_axis(by).rename("value").reset_index()
    error = error.assign(metric="gain_test_se", seed=0)
    return pd.concat([metrics, error], ignore_index=True)


def wrong_signs(
    gains: pd.DataFrame,
    by: Sequence[str],
    seeds: int,
    *,
    runs: int,
    resamples: int,
    seed: int = 0,
) -> pd.DataFrame:
    """How often the mean of a few runs has the sign opposite to that of all.

    Parameters
    ----------
    gains : DataFrame
        Columns `by`, value, and seed, which is split · `seeds` + run.
    seeds, runs, resamples : int
        Runs a split; runs that are averaged; how often so many are drawn.

    Returns
    -------
    DataFrame
        Columns `by`, ``any_runs`` (the share of draws, with replacement, from all runs)
        and ``one_split`` (the share of splits, each by the mean of its runs).
    """
    rng, rows = np.random.default_rng(seed), []
    for key, part in gains.groupby(list(by), sort=False):
        values = part.sort_values("seed")["value"].to_numpy()
        sign = np.sign(values.mean())
        drawn = rng.choice(values, (resamples, runs)).mean(1)
        of_splits = values.reshape(-1, seeds).mean(1)
        rows.append((*key, *((v * sign < 0).mean() for v in (drawn, of_splits))))
    return pd.DataFrame(rows, columns=[*by, "any_runs", "one_split"])


def rule_hits(rule: pd.DataFrame) -> dict[tuple[str, str], tuple]:
    """How often the design rule for fusion, always and never have the sign of the gain.

    Parameters
    ----------
    rule : DataFrame
        Columns gap (nats), gain, and clear (whether the gain is called).

    Returns
    -------
    dict of (rule, pairs) to (hits, count, low, high)
        Over all pairs but those without any gain, and over the clear ones; with
        Wilson's 95 % interval.
    """
    says = {
        "add KD when I(TS) > I(SL)": rule["gap"] > 0,
        "always add KD": rule["gap"].notna() | True,
        "never add KD": rule["gap"].notna() & False,
    }
    which = {"all pairs": rule["gain"] != 0, "gain called": rule["clear"]}
    hits = {}
    for name, positive in says.items():
        for pairs, chosen in which.items():
            hit = int(((rule["gain"] > 0) == positive)[chosen].sum())
            count = int(chosen.sum())
            interval = (0.0, 1.0)
            if count:
                interval = binomtest(hit, count).proportion_ci(method="wilson")
            hits[name, pairs] = (hit, count, *interval)
    return hits


def _auc(logits: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Mann-Whitney's U over its maximum, ties counted half; (..., n, K) -> (...)."""
    scores = softmax(logits, -1)
    if logits.shape[-1] == 2:
        scores, true = scores[..., 1:], true[..., 1:]
    positive = true.sum(-2)
    negative = true.shape[-2] - positive
    ranks = (rankdata(scores, axis=-2) * true).sum(-2)
    pairs = positive * negative
    area = (ranks - positive * (positive + 1) / 2) / np.maximum(pairs, 1)
    defined = pairs > 0
    count = defined.sum(-1)
    return np.where(count > 0, (area * defined).sum(-1) / np.maximum(count, 1), np.nan)


def mean_se(
    frame: pd.DataFrame, by: str | Sequence[str], value: str = "value"
) -> pd.DataFrame:
    """Mean, standard error over the rows of each group, and their number: columns `by`,
    mean, se, n.

    The standard error is the sample standard deviation over √n; NaN for a single row.
    """
    groups = frame.groupby(by, sort=False, dropna=False)[value]
    table = groups.agg(mean="mean", se="sem", n="count").reset_index()
    return table


def mean_se_over_splits(
    frame: pd.DataFrame, by: str | Sequence[str], *, seeds: int, test_fraction: float
) -> pd.DataFrame:
    """`mean_se` for repeated splits into training and test samples, which share samples
    and so are not independent.

    The runs of a split are averaged first; the standard error over the J splits is then
    widened by ``√(1 + J · n_test / n_train)``, the corrected resampled error of Nadeau
    & Bengio (2003).

    Parameters
    ----------
    frame : DataFrame
        Columns `by`, ``value`` and ``seed``, which is split · `seeds` + run.
    seeds : int
        Runs on each split.
    test_fraction : float
        Share of the samples that tests, in (0, 1).
    """
    by = [by] if isinstance(by, str) else [*by]
    each = frame.assign(split=frame["seed"].astype(int) // seeds)
    table = mean_se(
        each.groupby([*by, "split"], sort=False, dropna=False)["value"]
        .mean()
        .reset_index(),
        by,
    )
    return table.assign(
        se=table["se"] * np.sqrt(1 + table["n"] * test_fraction / (1 - test_fraction))
    )
