"""The tables and the figure of the scorecard's page, a call each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from cchbook.chapters import gains, plots, replication, scorecard
from cchbook.chapters.metrics import mean_se_over_splits
from cchbook.runs.records import Record, paper

CHAPTERS = {
    "02_synthetic": "synthetic",
    "03_image": "images",
    "04_sentiment": "sentiment",
    "05_cancer": "cancer",
    "06_fusion": "fusion",
}
GAIN_LABELS = {
    "02_synthetic": "gain (squared units of y)",
    "03_image": "gain (test accuracy)",
}
CRITERIA = {
    "gap": "CCH: I(H1;H2) − I(H2;Y)",
    "i_ts": "I(H1;H2) alone",
    "teacher_information": "I(H1;Y) − I(H2;Y)",
    "teacher_advantage": "teacher better than student",
    "residual_test": "residual test E[(y−S)(y−T)]",
    "variance_test": "Var(y|S) − Var(T|S)",
    "predicted_gain": "predicted gain, from two fits",
    "shared_information": "share of label information that both hold",
    "label_information_of_both": "label information that both hold (nats)",
    "decision_information": "I of the two decisions (nats)",
    "agreement": "teacher–student agreement",
    "cka": "linear CKA",
    "slope_test": "theory: slope test, 1 − c/σ²",
    "shrinkage_test": "theory: shrinkage test, ρ(T, S | y)",
    "teacher_score": "the teacher's own accuracy, F1 or −MSE",
    "teacher_size": "the teacher's size (parameters)",
    "logme": "LogME of the teacher",
}
#: the teacher's own score, as the chapters log it, with the sign that makes more better
TEACHER_SCORES = {"teacher_accuracy": 1, "teacher_f1": 1, "teacher_mse": -1}
#: criteria whose zero is meant to part help from harm; the others only rank
WITH_ZERO = (
    "gap",
    "teacher_information",
    "teacher_advantage",
    "residual_test",
    "variance_test",
    "predicted_gain",
    "slope_test",
    "shrinkage_test",
)
Runs = Mapping[str, Record]


def runs_behind(kinds: Mapping[str, Mapping[str, Sequence[Record]]]) -> pd.DataFrame:
    """A row a run: chapter, kind, key, settings, data."""
    rows = []
    for kind, found in kinds.items():
        for name, run in ((name, run) for name, runs in found.items() for run in runs):
            about = run.record
            changed = [f"{k} = {v}" for k, v in about["overrides"].items()]
            data = [f"{d['name']} ({d['kind']})" for d in about["data"]]
            rows.append(
                {
                    "chapter": CHAPTERS[name],
                    "run": kind,
                    "key": about["key"],
                    "profile": about["profile"] or "by hand",
                    "changed": ", ".join(changed) or "–",
                    "seeds": len(about["seeds"]),
                    "data": ", ".join(data) or "simulated by formula",
                    "seconds": f"{about['seconds']:.0f}",
                }
            )
    return pd.DataFrame(rows)


def counts_of_cells(cells: pd.DataFrame) -> pd.DataFrame:
    """Of the distinct printed numbers how many have each verdict, recorded and live
    runs apart.
    """
    cells = cells[cells["distinct"]]
    rows = []
    for kind in ("recorded", "live"):
        own = cells[cells["run"] == kind]["verdict"].value_counts()
        rows.append({"our number": kind, **own})
    none = cells[cells["run"] == "–"]["verdict"].value_counts()
    rows.append({"our number": "none", **none})
    rows.append({"our number": "all", **cells["verdict"].value_counts()})
    columns = ["our number", *replication.VERDICTS]
    table = pd.DataFrame(rows, columns=columns).fillna(0)
    table[list(replication.VERDICTS)] = table[list(replication.VERDICTS)].astype(int)
    return table.assign(numbers=table[list(replication.VERDICTS)].sum(axis=1))


def counts_by_table(cells: pd.DataFrame) -> pd.DataFrame:
    """The verdicts of each printed table, every cell counted, and its distinct
    numbers.
    """
    groups = cells.groupby("table", sort=False)["verdict"]
    counts = groups.value_counts().unstack(fill_value=0)
    counts = counts.reindex(columns=list(replication.VERDICTS), fill_value=0)
    of_table = cells.groupby("table", sort=False)
    counts["distinct"] = of_table["distinct"].sum()
    return counts.reset_index().rename_axis(columns=None)


def all_cells(cells: pd.DataFrame, confidence: float) -> dict[str, pd.DataFrame]:
    """For each printed table every cell: the paper's value, ours, interval, verdict.

    What is the same in all cells of a table stands in its name.
    """
    half = stats.t.isf((1 - confidence) / 2, cells["df"]) * cells["our_error"]
    intervals = [
        f"{value - h:.3g} to {value + h:.3g}" if np.isfinite(h) else "–"
        for value, h in zip(cells["ours"], half)
    ]
    ratios = [
        f"{ratio:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(ratio) else "–"
        for ratio, low, high in zip(
            cells["ratio"], cells["ratio_low"], cells["ratio_high"]
        )
    ]
    hidden = ["paper_error", "paper_spread", "our_error", "df", "key", "informs"]
    hidden += ["signed", "same_data", "p_value", "half_width"]
    hidden += ["ratio_low", "ratio_high"]
    shown = cells.drop(columns=hidden).assign(
        paper=[plots.pm(*v) for v in zip(cells["paper"], cells["paper_error"])],
        ours=[plots.pm(*v) for v in zip(cells["ours"], cells["our_error"])],
        ratio=ratios,
        close=np.where(cells["close"], "close", ""),
        distinct=np.where(cells["distinct"], "", "printed twice or follows"),
    )
    shown.insert(list(shown).index("ours") + 1, f"{confidence:.0%} interval", intervals)
    names = {
        "data": "our data",
        "verdict_bits": "read as bits",
        "q_value": "q of the difference",
        "ratio": "ours / paper",
        "other_readings": "other readings of the noise",
    }
    shown = shown.rename(columns=names)
    tables = {}
    for table, part in shown.groupby("table", sort=False):
        part = part.replace("", np.nan).dropna(axis=1, how="all")
        part = part.drop(columns="table").fillna("–")
        same = [c for c in part if len(part) > 1 and part[c].nunique() == 1]
        same = [c for c in same if c not in ("quantity", "paper", "ours", "verdict")]
        known = {column: part[column].iloc[0] for column in same}
        told = ", ".join(f"{k} {v}" for k, v in known.items() if v != "–")
        name = f"{table} ({told})" if told else str(table)
        tables[name] = part.drop(columns=same)
    return tables


def conditions_of(
    found: Runs, gain: str = "gain", estimator: str | None = None
) -> pd.DataFrame:
    """All conditions of the chapters' runs under which a gain was measured, with its
    verdict and the criteria measured there.

    `gain` names the target: "gain" over the plain student, or "gain_over_control" over
    the control named beforehand. Verdicts are those of `gains.judged`: of all
    conditions together, whether or not a gap was measured. `estimator` is "first" (each
    run's first, the paper's where it has that) or "last"; by default the first.
    """
    wanted = ["i_ts", "i_sl", "i_tl", *scorecard.rivals.NAMES, *TEACHER_SCORES]
    verdicts = gains.judged(found, gain)
    if verdicts.empty:
        return pd.DataFrame()
    parts = []
    for name, run in found.items():
        metrics = gains.measured(run)
        if gain not in set(metrics["metric"]):
            continue
        known = scorecard.estimators(metrics)
        chosen = known[-1] if known and estimator == "last" else None
        part = scorecard.conditions(
            metrics,
            wanted,
            gain,
            parameters=run.record["parameters"],
            student=gains.student_of(name),
            estimator=chosen,
        )
        # two builds of one cohort share most patients: one student, not two
        baseline = part["baseline"].replace(gains.ONE_DATA_SET, regex=True)
        part["baseline"] = name + ": " + baseline
        parts.append(part.assign(notebook=name))
    frame = pd.concat(parts, ignore_index=True)
    frame["teacher_information"] = frame["i_tl"] - frame["i_sl"]
    scores = [sign * frame[name] for name, sign in TEACHER_SCORES.items()]
    frame["teacher_score"] = pd.concat(scores, axis=1).bfill(axis=1).iloc[:, 0]
    told = verdicts.rename(columns={"chapter": "notebook", "std_error": "gain_se"})
    told = told[["notebook", "condition", "gain_se", "df", "q_value", "verdict"]]
    frame = frame.drop(columns="gain_se")
    return frame.merge(told, how="left", on=["notebook", "condition"])


def signs(frames: Mapping[str, pd.DataFrame], **settings) -> pd.DataFrame:
    """Sign of the gap against sign of the gain, a row a chapter, over all decided gains
    that have a gap and over those whose gap is decided too, with "always distil" and
    "never" beside. `settings` are those of `sign_counts`.
    """
    rows = []
    for kind, frame in frames.items():
        frame = scorecard.called(frame)
        parts = {CHAPTERS[name]: part for name, part in frame.groupby("notebook")}
        for label, part in {**parts, "all": frame}.items():
            counts = scorecard.sign_counts(part, **settings)
            rows.append(
                {
                    "chapter": label if kind == "recorded" else f"{label}, {kind}",
                    "conditions": counts["conditions"],
                    "helps, harms": f"{counts['helps']}, {counts['harms']}",
                    "of these with a gap": counts["gain_decided"],
                    "“always”, “never” right": _always_never(
                        counts["helped"], counts["gain_decided"]
                    ),
                    "CCH right": _with_interval(
                        counts["right"], counts["right_interval"]
                    ),
                    "gap decided too: “always”, “never”": _always_never(
                        counts["decided_helped"], counts["decided"]
                    ),
                    "CCH right then": _with_interval(
                        counts["agree"], counts["interval"]
                    ),
                }
            )
    return pd.DataFrame(rows)


def _always_never(helped: int, of: int) -> str:
    return f"{helped}, {of - helped} of {of}"


def _with_interval(right: int, interval: tuple[float, float]) -> str:
    return f"{right} ({_interval(interval)})"


def _interval(share: tuple[float, float]) -> str:
    low, high = share
    return "–" if np.isnan(low) else f"{_percent(low)} to {_percent(high)}"


def answer(frames: Mapping[str, pd.DataFrame], **settings) -> str:
    """The central count in words, of the recorded runs where there are any."""
    if not frames:
        return "No run measured gains."
    recorded = "recorded" in frames
    where = "In the recorded runs" if recorded else "In the runs made with these pages"
    frame = scorecard.called(frames["recorded" if recorded else "live"])
    counts = scorecard.sign_counts(frame, **settings)
    clear = counts["gain_decided"]
    if not counts["helps"] + counts["harms"]:
        return (
            f"{where}, no gain of {counts['conditions']} conditions is decided: their "
            "seeds or splits are too few."
        )
    said = (
        f"**{where} distilling helps in {counts['helps']} and harms in "
        f"{counts['harms']} of {counts['conditions']} conditions; the others are "
        "undecided.** "
    )
    if not clear:
        return said + "No gap was measured under those that are decided."
    said += (
        f"A gap was measured in {clear} of the decided ones, and **has the gain's sign "
        f"in {counts['right']}** ({_interval(counts['right_interval'])}); “always "
        f"distil” is right in {counts['helped']} of the same, “never” in "
        f"{clear - counts['helped']}"
    )
    decided = frame[frame["gain_called"] & frame["gap"].notna()]
    for name in ("teacher_advantage", "predicted_gain"):
        known = decided[decided[name].notna()]
        if len(known):
            hits = int(((known[name] > 0) == (known["gain"] > 0)).sum())
            said += f", “{CRITERIA[name]}” in {hits} of {len(known)}"
    if not counts["decided"]:
        return said + ". No gap is decided there."
    return said + (
        f". Where the gap is decided too, it has the gain's sign in "
        f"{counts['agree']} of {counts['decided']} "
        f"({_interval(counts['interval'])}), “always distil” in "
        f"{counts['decided_helped']}, and “never” in "
        f"{counts['decided'] - counts['decided_helped']}."
    )


def headline(frames: Mapping[str, pd.DataFrame], **settings) -> dict[str, int | str]:
    """The recorded runs' counts that the front page cites; dashes where none are."""
    names = ("conditions", "helps", "harms", "gain_decided", "right", "helped")
    names = (*names, "decided", "agree", "decided_helped")
    if "recorded" not in frames:
        return dict.fromkeys([*names, "harmed", "interval"], "–")
    frame = scorecard.called(frames["recorded"])
    counts = scorecard.sign_counts(frame, **settings)
    return {name: counts[name] for name in names} | {
        "harmed": counts["gain_decided"] - counts["helped"],
        "interval": _interval(counts["right_interval"]),
    }


def rivals_table(
    frame: pd.DataFrame, confidence: float, resamples: int, seed: int
) -> pd.DataFrame:
    """Criteria against each other, and against "always" and "never".

    Right: the share of decided gains whose sign the criterion's own zero tells. AUC
    over pairs within chapters.
    """
    clear = frame[frame["verdict"] != "undecided"]
    helped = float((clear["gain"] > 0).mean()) if len(clear) else np.nan
    rows = [
        {"criterion": "always distil", "right": _percent(helped)},
        {"criterion": "never distil", "right": _percent(1 - helped)},
    ]
    for name, label in CRITERIA.items():
        known = clear[clear[name].notna()]
        row = {"criterion": label, "conditions": len(known)}
        if frame[name].isna().all():
            rows.append(row | {"right": "not measured"})
            continue
        if name in WITH_ZERO:
            row["right"] = _percent(scorecard.hit_rate(known, name))
        pairs = scorecard.auc_by_chapter(known, name)["pairs"].sum()
        row["AUC (pairs)"] = f"{_two(scorecard.auc(known, name))} ({pairs})"
        everything = frame.loc[frame[name].notna()]
        rho = _two(scorecard.rank_correlation(everything, name))
        low, high = scorecard.cluster_interval(
            everything,
            lambda some, name=name: scorecard.rank_correlation(some, name),
            confidence=confidence,
            resamples=min(resamples, 200),
            seed=seed,
        )
        between = f" ({_two(low)} to {_two(high)})" if np.isfinite(low) else ""
        row[f"ρ ({confidence:.0%} interval)"] = rho + between
        rows.append(row)
    table = pd.DataFrame(rows)
    table["conditions"] = [
        "–" if pd.isna(v) else f"{v:.0f}" for v in table["conditions"]
    ]
    order = ["criterion", "conditions", "right"]
    return table[[*order, *table.columns.difference(order, sort=False)]].fillna("–")


#: what stands for a number on the front page that no recorded run gives
UNKNOWN = "–"
#: data sets of the front page, on unmodified inputs: name -> chapter, conditions
CLEAN = {
    "brca705": ("05_cancer", {"cohort": "brca705", "noise_level": 0.0}),
    "brca": ("05_cancer", {"cohort": "joined:BRCA", "noise_level": 0.0}),
    "kipan": ("05_cancer", {"cohort": "joined:KIPAN", "noise_level": 0.0}),
    "mosi": ("04_sentiment", {"data": "mosi", "noise": "none"}),
    "digits": ("03_image", {"gamma": 0.0, "temperature": 3.0}),
}


def usable(found: Runs) -> dict[str, str | int]:
    """What the front page says, from the recorded runs: the mean gain on unmodified
    inputs, how gains move, and who tells their sign; dashes where no run says it.
    """
    said: dict[str, str | int] = {}
    for target, suffix in (("gain", ""), ("gain_over_control", "_over_control")):
        for name, (notebook, where) in CLEAN.items():
            said[f"clean_{name}{suffix}"] = _mean_gain(
                found.get(notebook), notebook, target, where
            )
    for name, (notebook, along, up) in MOVES.items():
        moved, count = _moves(found.get(notebook), notebook, along, up)
        said[f"moves_{name}"], said[f"moves_{name}_of"] = moved, count
    return said | _tellers(found)


#: how the paper says that a gain moves: name -> chapter, along what, whether upwards
MOVES = {
    "blur": ("03_image", "gamma", False),
    "noise": ("05_cancer", "noise_level", False),
    "sigma": ("02_synthetic", "sigma12", True),
}


def _mean_gain(
    run: Record | None, notebook: str, target: str, where: Mapping[str, object]
) -> str:
    """Mean over the conditions of a data set, ± standard error over seeds or splits."""
    if run is None:
        return UNKNOWN
    parameters = run.record["parameters"]
    rows = gains.seeds(gains.measured(run), parameters, notebook, target)
    for name, value in where.items():
        rows = rows[rows[name] == value] if name in rows else rows[:0]
    if rows.empty:
        return UNKNOWN
    each = rows.groupby("seed")["gain"].mean().rename("value").reset_index()
    share = rows["test_share"].iloc[0]
    one = mean_se_over_splits(each.assign(all=0), "all", seeds=1, test_fraction=share)
    mean, error = one[["mean", "se"]].iloc[0]
    return f"{mean:+.3f} ± {error:.3f}".replace("-", "−")


def _moves(
    run: Record | None, notebook: str, along: str, up: bool
) -> tuple[int | str, int | str]:
    """In how many series the gain moves as the paper says: a least-squares slope along
    a condition, all others held; series of one weight λ's student count once.
    """
    if run is None:
        return UNKNOWN, UNKNOWN
    rows = gains.seeds(gains.measured(run), run.record["parameters"], notebook)
    beside = {"gain", "seed", "sample_error", "test_share", "chapter", "baseline"}
    others = [c for c in rows.columns.difference({*beside, "condition", along, "lam"})]
    slopes = []
    for _, series in rows.groupby(others, dropna=False) if others else [((), rows)]:
        means = series.groupby(along)["gain"].mean()
        if len(means) > 1:
            slopes.append(np.polyfit(means.index.astype(float), means, 1)[0])
    right = [slope > 0 if up else slope < 0 for slope in slopes]
    return int(sum(right)), len(right)


def _tellers(found: Runs) -> dict[str, str | int]:
    """How often the gap, by each run's first and last estimator, and the better teacher
    tell the sign of the same decided gains, and "always" and "never" beside.
    """
    names = ["told_of", "told_gap", "told_last", "told_teacher"]
    names += ["told_always", "told_never"]
    nothing = dict.fromkeys(names, UNKNOWN)
    frame = conditions_of(found)
    if frame.empty:
        return nothing
    last = conditions_of(found, estimator="last")
    key = ["notebook", "condition"]
    frame = frame.merge(
        last[[*key, "gap"]], on=key, suffixes=("", "_last"), validate="1:1"
    )
    told = frame[frame["verdict"] != "undecided"]
    told = told.dropna(subset=["gap", "gap_last", "teacher_advantage"])
    helped = told["gain"] > 0
    columns = {"gap": "gap", "last": "gap_last", "teacher": "teacher_advantage"}
    hits = {
        f"told_{name}": int(((told[column] > 0) == helped).sum())
        for name, column in columns.items()
    }
    always = int(helped.sum())
    return hits | {
        "told_of": len(told),
        "told_always": always,
        "told_never": len(told) - always,
    }


def gap_and_gain(frame: pd.DataFrame) -> Figure:
    """The hypothesis in one picture: a panel a chapter, two in a row, small enough that
    a phone shows its letters.
    """
    chapters = list(dict.fromkeys(frame["notebook"]))
    lines = -(-len(chapters) // 2)
    figure, axes = plt.subplots(
        lines, 2, figsize=(6.0, 2.5 * lines), squeeze=False, layout="constrained"
    )
    for ax in axes.flat[len(chapters) :]:
        ax.axis("off")
    for ax, name in zip(axes.flat, chapters):
        part = frame[frame["notebook"] == name]
        label = GAIN_LABELS.get(name, "gain (weighted F1)")
        plots.gap_and_gain(part, ax=ax, gain_label=label)
        ax.set(title=CHAPTERS[name], xlabel="gap (nats)")
    return figure


def paper_conditions() -> pd.DataFrame:
    """The paper's own printed gains with their gaps: table, gain, gain_se, gap.

    Table 4 is left out: its first row is Table 3's, and read by Table 3's header its
    other gains are within two standard errors of zero.
    """
    tables = {
        "table1": None,
        "table13": None,
        "table3": ("weighted_f1_kd", "weighted_f1_no_kd"),
        "table5": None,
        "table6": None,
        "table7": None,
        "table8": ("weighted_f1_fusion_kd", "weighted_f1_fusion"),
        "table20": ("weighted_f1_fusion_kd", "weighted_f1_fusion"),
    }
    parts = [_printed(name, pair) for name, pair in tables.items()]
    return pd.concat(parts, ignore_index=True)


def _printed(table: str, pair: tuple[str, str] | None) -> pd.DataFrame:
    """Gains and gaps of one printed table; `pair` names F1 with and without."""
    rows = paper(table)
    beside = ("quantity", "value", "std_error", "note")
    keys = [column for column in rows if column not in beside]
    rows = rows.fillna({key: "–" for key in keys})

    def wide(column: str) -> pd.DataFrame:
        pivot = rows.pivot_table(
            index=keys, columns="quantity", values=column, dropna=False
        )
        return pivot.reset_index()

    value, error = wide("value"), wide("std_error")
    if pair:
        distilled, plain = pair
        gain = value[distilled] - value[plain]
        known = distilled in error
        spread = np.hypot(error[distilled], error[plain]) if known else np.nan
    else:
        name = next(c for c in value if c.endswith("_difference"))
        gain = value[name]
        spread = error[name] if name in error else np.nan
    gap = value["mi_gap"] if "mi_gap" in value else value["i_ts"] - value["i_sl"]
    part = value[keys].assign(gain=gain, gain_se=spread, gap=gap)
    if table == "table1":
        # its gap is printed once a blur, its gains once a temperature
        by_blur = part.dropna(subset="gap").groupby("gamma")["gap"].first()
        part["gap"] = part["gamma"].map(by_blur)
    return part.dropna(subset=["gain", "gap"]).assign(notebook=table)


def _percent(share: float) -> str:
    return f"{share:.0%}" if np.isfinite(share) else "–"


def _two(value: float) -> str:
    return f"{value:.2f}" if np.isfinite(value) else "–"
