"""The statistics of the scorecard: conditions of a chapter, which gaps are decided, hit
rates and rankings. Gains are called in `inference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cchbook.chapters.inference import false_discovery
from cchbook.chapters.information import sample_size, saturation
from cchbook.chapters.metrics import mean_se_over_splits
from cchdecide import rivals
from cchlib import check

NOT_CONDITIONS = ("seed", "run", "metric", "value", "unit")
# conditions that name the undistilled student
STUDENT = ("reading", "batch_size", "alpha", "data", "cohort", "student")
INFORMATION = ("i_ts", "i_sl", "i_tl", "gap", "saturated")
# on held-out shares of the samples, where splits are repeated
ESTIMATED = (*INFORMATION, *rivals.NAMES)
#: fewer repetitions than this say too little of an estimate's own spread
FEWEST_ESTIMATES = 3
#: fewer clusters than this say too little of their own spread for resampling them
FEW_CLUSTERS = 15
#: metrics that are shares of the test samples, or differences of such
SHARES = ("accuracy", "weighted_f1", "f1")
#: the accuracy with distillation, as the chapters name it
DISTILLED = ("student_accuracy_kd", "accuracy_kd")
#: test samples of sets whose number stands in no record
TEST_SAMPLES = {"mosi": 752, "mmmo": 80}


def conditions(
    metrics: pd.DataFrame,
    wanted: Sequence[str],
    gain: str = "gain",
    *,
    parameters: Mapping[str, Any] | None = None,
    student: Sequence[str] = STUDENT,
    estimator: str | None = None,
) -> pd.DataFrame:
    """One row for each condition under which a gain was measured, with what else was
    measured there.

    A chapter logs a metric with the conditions that it depends on: the gain with all of
    them, I(H2;Y) with those of the student alone. So a metric belongs to each gain
    whose conditions include its own; where several of its levels of detail do, the
    finest counts. Means and standard errors are over seeds.

    Parameters
    ----------
    metrics : DataFrame
        Of a run record: condition columns, seed, metric, value, unit.
    wanted : sequence of str
        Metrics to set beside the gain; one that was not logged becomes a column of nan.
    parameters : mapping
        Of the run. Without a ``test_fraction`` all seeds share their test samples,
        whose luck is then part of the gain's error (`sampling_errors`). With one its
        seeds are runs on repeated splits which share samples, and standard errors are
        over splits and widened (Nadeau & Bengio, as `mean_se_over_splits`); with
        ``mi_fraction`` those of what is estimated on repeated held-out shares likewise.
    student : sequence of str
        Conditions that name the undistilled students.
    estimator : str, optional
        Of the information, where several were used: "lmi" (the paper's), "latent", …
        By default the first of these that was.

    Returns
    -------
    DataFrame
        Condition columns, ``condition`` (the same in words), ``gain``, ``gain_se``
        (over seeds and shared test samples), ``gain_n`` (seeds, or splits), each wanted
        metric and its ``_se``, ``gap``, ``gap_se`` and ``gap_n`` (of i_ts − i_sl,
        paired by seed where both have it), ``saturated`` (a term of the gap is near the
        most that its estimator could say), and ``baseline``, the conditions in
        `student`: gains that share it were measured against the same undistilled
        students.

    Raises
    ------
    ValueError
        No gain was logged.
    """
    estimator = estimator or next(iter(estimators(metrics)), None)
    metrics = of_estimator(metrics, estimator)
    levels = _levels(metrics, gain)
    if not levels:
        raise ValueError(
            f"`metrics` must hold rows of {gain!r}, of a run that measured gains"
        )
    parts = []
    for columns, rows in levels:
        table = _summary(rows, columns, "gain", _protocol(gain, parameters)).rename(
            columns={"n": "gain_n"}
        )
        over_samples = sampling_errors(metrics, parameters, columns, table, gain)
        both = np.hypot(table["gain_se"].fillna(0), np.nan_to_num(over_samples))
        alone = np.isfinite(over_samples) | table["gain_se"].notna()
        table["gain_se"] = both.where(alone)
        for metric in wanted:
            table = table.join(
                _matched(metrics, metric, columns, table, _protocol(metric, parameters))
            )
        table["baseline"] = in_words(table, [c for c in student if c in columns])
        table["condition"] = in_words(table, columns)
        table = table.join(
            _paired_gap(metrics, columns, table, _protocol("gap", parameters))
        )
        if {"i_ts", "i_sl"} <= set(table):
            table["gap"] = table["gap"].fillna(table["i_ts"] - table["i_sl"])
        table["saturated"] = _saturated(
            metrics, columns, table, parameters or {}, estimator
        )
        parts.append(table)
    return pd.concat(parts, ignore_index=True)


def in_words(frame: pd.DataFrame, columns: Sequence[str]) -> pd.Series:
    """Each row's conditions: "cohort = a, level = 0.2"; "all" for none."""
    if not columns:
        return pd.Series("all", index=frame.index)
    words = [f"{name} = " + frame[name].map(str) for name in columns]
    return pd.concat(words, axis=1).agg(", ".join, axis=1)


def _saturated(
    metrics: pd.DataFrame,
    columns: list[str],
    table: pd.DataFrame,
    parameters: Mapping[str, Any],
    estimator: str | None,
) -> pd.Series:
    """Whether a term of the gap is saturated, as the run logged it; of the synthetic
    chapter's older runs, which did not, by what their estimator could say at most.
    """
    logged = _matched(metrics, "saturated", columns, table, (1, 0.0))["saturated"]
    near = logged > 0.5
    if (
        logged.isna().all()
        and estimator
        and f"n_{parameters.get('mi_split')}" in (parameters)
    ):
        most = saturation(estimator, sample_size(parameters, estimator))
        near = _matched(metrics, "i_ts", columns, table, (1, 0.0))["i_ts"] >= most
    return near


def estimators(metrics: pd.DataFrame) -> list[str]:
    """The estimators by which a run's information was estimated, the paper's first;
    empty where the run names none.
    """
    if "estimator" not in metrics:
        return []
    rows = metrics[metrics["metric"].isin(INFORMATION)]
    return sorted(rows["estimator"].dropna().unique(), key=lambda e: (e != "lmi", e))


def of_estimator(metrics: pd.DataFrame, estimator: str | None = None) -> pd.DataFrame:
    """The metrics with the information of one estimator only,
    no longer a condition.
    """
    known = estimators(metrics)
    if not known:
        return metrics
    chosen = estimator or known[0]
    check.one_of("estimator", chosen, known)
    informs = metrics["metric"].isin(INFORMATION)
    other = informs & metrics["estimator"].notna() & (metrics["estimator"] != chosen)
    kept = metrics[~other].copy()
    kept.loc[kept["metric"].isin(INFORMATION), "estimator"] = np.nan
    return kept


def _protocol(metric: str, parameters: Mapping[str, Any] | None) -> tuple[int, float]:
    """Runs a split and the share of samples held out, where a metric comes from
    repeated splits; else (1, 0).
    """
    if "test_fraction" not in (parameters or {}):
        return 1, 0.0
    return (
        (1, parameters["mi_fraction"])
        if metric in ESTIMATED
        else (parameters["seeds"], parameters["test_fraction"])
    )


def shared_test_samples(
    parameters: Mapping[str, Any] | None, where: Mapping[str, Any]
) -> float:
    """How many test samples all seeds of a run share; nan where splits are repeated, or
    where it isn't known.
    """
    parameters = parameters or {}
    if "test_fraction" in parameters:
        return float("nan")
    if where.get("data") in TEST_SAMPLES:
        return float(TEST_SAMPLES[where["data"]])
    return float(parameters.get("n_test", np.nan))


def paired_bound(accuracy: Any, other: Any, n: Any) -> Any:
    """The largest that `paired_error` can be for two accuracies on n samples.

    Where they disagree one of them is wrong, and one is right: that is at most the sum
    of their error rates, and of their accuracies.
    """
    accuracy, other = np.asarray(accuracy, float), np.asarray(other, float)
    wrong, right = 2 - accuracy - other, accuracy + other
    disagree = np.minimum(wrong, right).clip(0, 1)
    square = (disagree - (accuracy - other) ** 2).clip(0)
    return np.sqrt(square / n)


def binomial_error(accuracy: Any, n: Any) -> Any:
    """Standard error of an accuracy on n test samples."""
    return np.sqrt(np.clip(accuracy * (1 - accuracy), 0, None) / n)


def sampling_errors(
    metrics: pd.DataFrame,
    parameters: Mapping[str, Any] | None,
    columns: list[str],
    table: pd.DataFrame,
    gain: str = "gain",
) -> np.ndarray:
    """Of each gain in `table` the standard error over the test samples that all seeds
    share.

    As the run measured it (``gain_test_se``, of the gain over the plain student); else,
    for shares of the test samples, the `paired_bound` of the accuracy with distillation
    and the same less the gain. nan where neither is known.
    """
    samples = [shared_test_samples(parameters, row) for _, row in table.iterrows()]
    error = np.full(len(table), np.nan)
    for name in DISTILLED:
        reached = _matched(metrics, name, columns, table, (1, 0.0))[name]
        bound = paired_bound(reached, reached - table["gain"], np.array(samples))
        error = np.where(np.isfinite(error), error, bound)
    if gain == "gain":
        own = _matched(metrics, "gain_test_se", columns, table, (1, 0.0))
        error = own["gain_test_se"].fillna(pd.Series(error, index=table.index))
    return np.asarray(error)


def sampling_error(
    metrics: pd.DataFrame,
    metric: str,
    where: Mapping[str, Any],
    parameters: Mapping[str, Any] | None,
    value: float,
) -> float:
    """Standard error over the shared test samples of one number, as `sampling_errors`
    and `binomial_error` have it; nan where it isn't known.
    """
    n = shared_test_samples(parameters, where)
    if metric.removesuffix("_kd").removesuffix("_no").endswith(SHARES):
        return float(binomial_error(value, n))
    if metric != "gain":
        return float("nan")
    own = measured(metrics, "gain_test_se", where, parameters)[0]
    if np.isfinite(own):
        return own
    for name in DISTILLED:
        reached = measured(metrics, name, where, parameters)[0]
        if np.isfinite(reached):
            return float(paired_bound(reached, reached - value, n))
    return float("nan")


def _levels(metrics: pd.DataFrame, metric: str) -> list[tuple[list[str], pd.DataFrame]]:
    """The rows of a metric by the set of conditions that they name, the most detailed
    first.
    """
    rows = metrics[metrics["metric"] == metric]
    if "control" in rows:  # what was measured of a control is no condition's number
        rows = rows[rows["control"].isna()]
    names = [c for c in metrics.columns if c not in NOT_CONDITIONS]
    there = rows[names].notna().to_numpy()
    patterns, of_row = np.unique(there, axis=0, return_inverse=True)
    groups = [
        ([c for c, known in zip(names, pattern) if known], rows[of_row == number])
        for number, pattern in enumerate(patterns)
    ]
    return sorted(groups, key=lambda group: -len(group[0]))


def _summary(
    rows: pd.DataFrame, by: list[str], name: str, protocol: tuple[int, float] = (1, 0.0)
) -> pd.DataFrame:
    """Mean over seeds (or splits), its standard error, and their number; values of one
    seed or split are averaged first.
    """
    runs, held_out = protocol
    rows = rows.assign(
        seed=rows["seed"].astype("Float64").fillna(-1).astype(int), all=0
    )  # all: `by` may be empty
    table = mean_se_over_splits(rows, [*by, "all"], seeds=runs, test_fraction=held_out)
    return table.drop(columns="all").rename(columns={"mean": name, "se": f"{name}_se"})


def _matched(
    metrics: pd.DataFrame,
    metric: str,
    columns: list[str],
    table: pd.DataFrame,
    protocol: tuple[int, float],
) -> pd.DataFrame:
    found = pd.DataFrame(np.nan, index=table.index, columns=[metric, f"{metric}_se"])
    for own, rows in _levels(metrics, metric):
        if set(own) <= set(columns):
            summary = _summary(rows, own, metric, protocol).drop(columns="n")
            values = (
                table[own].merge(summary, on=own, how="left")
                if own
                else pd.concat([summary] * len(table))
            )
            values.index = table.index
            found = found.fillna(values[found.columns])
    return found


def _paired_gap(
    metrics: pd.DataFrame,
    columns: list[str],
    table: pd.DataFrame,
    protocol: tuple[int, float],
) -> pd.DataFrame:
    """Mean, standard error and number of i_ts − i_sl where both were estimated for the
    same seed.
    """
    fits = [
        [level for level in _levels(metrics, metric) if set(level[0]) <= set(columns)]
        for metric in ("i_ts", "i_sl")
    ]
    if not all(fits):
        return pd.DataFrame(
            np.nan, index=table.index, columns=["gap", "gap_se", "gap_n"]
        )
    (on_ts, ts), (on_sl, sl) = fits[0][0], fits[1][0]
    shared = [*(c for c in on_sl if c in on_ts), "seed"]
    ts = (
        ts.groupby([*on_ts, "seed"], sort=False)["value"]
        .mean()
        .rename("ts")
        .reset_index()
    )
    sl = (
        sl.groupby([*on_sl, "seed"], sort=False)["value"]
        .mean()
        .rename("sl")
        .reset_index()
    )
    both = (
        ts.merge(sl[[*shared, "sl"]], on=shared)
        if set(on_sl) <= set(on_ts)
        else ts.merge(sl, on=shared)
    )
    keys = [c for c in dict.fromkeys([*on_ts, *on_sl])]
    gap = _summary(
        both.assign(value=both["ts"] - both["sl"]), keys, "gap", protocol
    ).rename(columns={"n": "gap_n"})
    merged = table[columns].merge(gap, on=keys, how="left")
    merged.index = table.index
    return merged[["gap", "gap_se", "gap_n"]]


def cluster_interval(
    frame: pd.DataFrame,
    statistic: Callable[[pd.DataFrame], float],
    cluster: str = "baseline",
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a statistic, resampling whole clusters.

    Conditions that share a student baseline share its luck, so they are drawn together
    (Cameron, Gelbach & Miller, 2008). (nan, nan) for fewer than `FEW_CLUSTERS`, where
    such intervals are too short: with clusters of 20, 19 and seven of 1 to 3 those of
    95 % covered 80 to 87 %. `share_interval` holds there, for shares.
    """
    check.within("confidence", confidence, 0.0, 1.0)
    groups = list(frame.groupby(cluster, sort=True).indices.values())  # row numbers
    if len(groups) < FEW_CLUSTERS:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        chosen = rng.integers(len(groups), size=len(groups))
        rows = np.concatenate([groups[i] for i in chosen])
        value = statistic(frame.iloc[rows])
        if np.isfinite(value):
            drawn.append(value)
    if not drawn:
        return float("nan"), float("nan")
    low, high = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def share_interval(
    hits: pd.Series, clusters: pd.Series, confidence: float = 0.95
) -> tuple[float, float]:
    """Wilson's interval of a share, with as many trials as there are clusters in
    effect.

    Each cluster counts as one trial, unequal ones as Kish's effective number
    ``(Σ size)² / Σ size²`` of them: the share within a cluster may be all or nothing.
    It covers at least as often as it says (simulated in the tests, with few and unequal
    clusters of any correlation within), and pays for it in width. (nan, nan) without
    hits to count.
    """
    check.within("confidence", confidence, 0.0, 1.0)
    if len(hits) == 0:
        return float("nan"), float("nan")
    sizes = clusters.value_counts().to_numpy(float)
    trials = sizes.sum() ** 2 / (sizes**2).sum()
    share = float(hits.mean())
    z = stats.norm.ppf((1 + confidence) / 2)
    centre = (share + z**2 / (2 * trials)) / (1 + z**2 / trials)
    spread = np.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    half = z * spread / (1 + z**2 / trials)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def hit_rate(frame: pd.DataFrame, score: str = "gap", threshold: float = 0.0) -> float:
    """Share of conditions in which ``score > threshold`` and ``gain > 0`` agree; nan
    for no condition.
    """
    rows = frame[frame[score].notna()]
    return (
        float(((rows[score] > threshold) == (rows["gain"] > 0)).mean())
        if len(rows)
        else float("nan")
    )


def called(frame: pd.DataFrame, rate: float = 0.05) -> pd.DataFrame:
    """`frame` with columns ``gain_called``, by its ``verdict``, and ``gap_called``
    (`gap_decided`).

    Parts of it, chapters for example, then add up to the whole.
    """
    return frame.assign(
        gain_called=frame["verdict"] != "undecided",
        gap_called=gap_decided(frame, rate),
    )


def gap_decided(frame: pd.DataFrame, rate: float = 0.05) -> pd.Series:
    """Which gaps can be told from 0.

    By Student's t over seeds or held-out halves, with the false discovery rate of all
    gaps in `frame` held at `rate`. A gap from fewer than `FEWEST_ESTIMATES`
    repetitions has no error worth the name and decides nothing, nor does one of which a
    term is ``saturated``.
    """
    known = (frame["gap_n"] >= FEWEST_ESTIMATES) & (frame["gap_se"] > 0)
    known &= ~frame["saturated"]
    told = frame[known]
    statistic = told["gap"].abs() / told["gap_se"]
    p = pd.Series(np.nan, index=frame.index)
    p[known] = 2 * stats.t.sf(statistic, told["gap_n"].astype(float) - 1)
    return false_discovery(p) <= rate


def sign_counts(
    frame: pd.DataFrame,
    *,
    confidence: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> dict:
    """How often the sign of the gap was that of the gain, over rows of `called`.

    Returns
    -------
    dict
        ``conditions`` (all), and those whose gain ``helps`` or ``harms``. Of these with
        a gap, ``gain_decided``, the ``helped`` and the ``right``, in which the gap,
        whatever its error, has the sign of the gain, with ``right_interval``. Of those
        whose gap is decided too (``decided``, of which ``decided_helped``) the number
        that ``agree``, and their share, ``hit_rate``, with its ``interval``. Intervals
        are of shares, by resampling baselines, or, with fewer than `FEW_CLUSTERS`, by
        `share_interval`.
    """
    clear = frame[frame["gain_called"] & frame["gap"].notna()]
    both = clear[clear["gap_called"]]
    right = (clear["gap"] > 0) == (clear["gain"] > 0)
    agree = right[both.index]

    def interval(rows: pd.DataFrame, hits: pd.Series) -> tuple[float, float]:
        if rows["baseline"].nunique() >= FEW_CLUSTERS and 0 < hits.mean() < 1:
            return cluster_interval(
                rows, hit_rate, confidence=confidence, resamples=resamples, seed=seed
            )
        return share_interval(hits, rows["baseline"], confidence)

    return {
        "conditions": len(frame),
        "helps": int((frame["verdict"] == "helps").sum()),
        "harms": int((frame["verdict"] == "harms").sum()),
        "gain_decided": len(clear),
        "helped": int((clear["gain"] > 0).sum()),
        "right": int(right.sum()),
        "right_interval": interval(clear, right),
        "decided": len(both),
        "decided_helped": int((both["gain"] > 0).sum()),
        "agree": int(agree.sum()),
        "hit_rate": hit_rate(both),
        "interval": interval(both, agree),
    }


def auc_by_chapter(frame: pd.DataFrame, score: str) -> pd.DataFrame:
    """The AUC of `score` in each chapter, with what it rests on.

    Returns
    -------
    DataFrame
        notebook, helped, others, pairs (their product), auc (nan without a pair).
    """
    rows = []
    for name, part in frame[frame[score].notna()].groupby("notebook", sort=False):
        helped = int((part["gain"] > 0).sum())
        others = len(part) - helped
        rows.append(
            {
                "notebook": name,
                "helped": helped,
                "others": others,
                "pairs": helped * others,
                "auc": auc(part, score),
            }
        )
    columns = ["notebook", "helped", "others", "pairs", "auc"]
    return pd.DataFrame(rows, columns=columns)


def auc(frame: pd.DataFrame, score: str, within: str | None = "notebook") -> float:
    """Area under the ROC curve of `score` for ``gain > 0``: the chance that it ranks a
    helped condition above another.

    Only pairs of one chapter count (`within`): scores of two chapters may have
    different units, and a score that is larger where distillation helps more often
    would be called good for that alone. All pairs without such a column, or with None.
    """
    won = pairs = 0.0
    for _, part in frame.groupby(within) if within in frame else [(None, frame)]:
        rows = part[part[score].notna()]
        helped = (rows["gain"] > 0).to_numpy()
        up = helped.sum()
        won += (
            stats.rankdata(rows[score])[helped].sum() - up * (up + 1) / 2
        )  # Mann and Whitney's U
        pairs += up * (len(helped) - up)
    return float(won / pairs) if pairs else float("nan")


def rank_correlation(
    frame: pd.DataFrame, score: str, within: str = "notebook"
) -> float:
    """Spearman's ρ of score and gain, averaged over chapters (their gains have
    different units), weighted by size.
    """
    found = [
        (
            len(rows),
            np.corrcoef(stats.rankdata(rows[score]), stats.rankdata(rows["gain"]))[
                0, 1
            ],
        )
        for _, part in frame.groupby(within)
        for rows in [part[part[score].notna()]]
        if len(rows) > 2 and rows[score].nunique() > 1 and rows["gain"].nunique() > 1
    ]
    return (
        float(np.average([rho for _, rho in found], weights=[n for n, _ in found]))
        if found
        else float("nan")
    )


def measured(
    metrics: pd.DataFrame,
    metric: str,
    where: dict,
    parameters: Mapping[str, Any] | None = None,
) -> tuple[float, float, int]:
    """Mean over seeds of a metric, its standard error and the number of seeds, or of
    splits where `parameters` say that they are repeated (as in `conditions`), under
    those conditions of `where` that the metric depends on.

    (nan, nan, 0) where it was not measured there, or where `where` leaves open which of
    several values is meant.
    """
    for own, rows in _levels(metrics, metric):
        for name in set(own) & set(where):
            rows = rows[rows[name] == where[name]]
        rest = [name for name in own if name not in where]
        if len(rows) and (
            not rest or np.ptp(rows.groupby(rest)["value"].mean()) < 1e-9
        ):
            one = _summary(rows, [], metric, _protocol(metric, parameters)).iloc[0]
            return float(one[metric]), float(one[f"{metric}_se"]), int(one["n"])
    return float("nan"), float("nan"), 0
