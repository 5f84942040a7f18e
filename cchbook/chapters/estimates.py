"""The tables and figures of the chapter on mutual information, one call each, and the
printed values that it holds against their bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from cchbook.chapters import panel, plots
from cchbook.chapters.metrics import mean_se
from cchbook.chapters.panel import Problem
from cchbook.runs import records

COLOURS = {
    "latent": plots.COLORS["kd"],
    "ksg": plots.COLORS["no_kd"],
    "mine": plots.COLORS["other"],
    "gaussian": plots.COLORS["teacher"],
}
#: whose printed I(H; Y) is which table's: table, quantity, conditions
COHORTS = (
    ("table5", "BRCA mRNA", "i_tl", {}),
    ("table6", "KIPAN mRNA", "i_tl", {}),
    ("table7", "LIHC mRNA", "i_tl", {}),
    ("table8", "KIPAN RPPA", "i_tl", {"teacher": "RPPA"}),
    ("table20", "BRCA RPPA", "i_tl", {"teacher": "RPPA"}),
    ("table5", "BRCA CNV", "i_sl", {"noise_level": 0}),
    ("table6", "KIPAN CNV", "i_sl", {"noise_level": 0}),
    ("table7", "LIHC CNV", "i_sl", {"noise_level": 0}),
)


# The panel ----------------------------------------------------------------------------


def draw_panel(
    estimates: pd.DataFrame,
    seconds: pd.DataFrame,
    problems: Mapping[str, Problem],
    n: int,
) -> Figure:
    """Left: what each method answers beside the truth; right: the seconds it took.

    `estimates` and `seconds` have columns problem, method, value.
    """
    names = sorted(problems, key=lambda name: -problems[name].truth)
    rows = {name: row for row, name in enumerate(names)}
    largest = max(p.truth for p in problems.values())
    height = 0.32 * len(rows) + 1.2
    figure, (answers, clock) = plt.subplots(
        1, 2, figsize=(9, height), sharey=True, width_ratios=[2, 1]
    )
    shown = estimates.assign(value=estimates["value"].clip(upper=2 * largest))
    for place, method in enumerate(dict.fromkeys(estimates["method"])):
        for axis, frame in ((answers, shown), (clock, seconds)):
            part = frame[frame["method"] == method]
            axis.plot(
                part["value"],
                part["problem"].map(rows) + 0.15 * (place - 1),
                "osD^v"[place],
                color=COLOURS[method],
                label=method,
                alpha=0.8,
            )
    for name, row in rows.items():
        truth = problems[name].truth
        answers.plot([truth] * 2, [row - 0.4, row + 0.4], color=plots.COLORS["truth"])
    answers.axvline(0, color="0.8", lw=0.8)
    answers.set(
        yticks=list(rows.values()),
        yticklabels=list(rows),
        xlabel=f"mutual information (nats), n = {n}",
    )
    clock.set(xscale="log", xlabel="seconds")
    answers.legend(loc="lower right")
    return figure


def errors(frame: pd.DataFrame, problems: Mapping[str, Problem]) -> pd.DataFrame:
    """Error of each method on each problem, mean ± standard error over draws."""
    found = mean_se(frame, ["problem", "method"]).set_index(["problem", "method"])
    rows = []
    for name in sorted(problems, key=lambda name: -problems[name].truth):
        row = {"problem": name, "truth": f"{problems[name].truth:.3f}"}
        for method in dict.fromkeys(frame["method"]):
            row[method] = plots.pm(*found.loc[(name, method), ["mean", "se"]])
        rows.append(row)
    return pd.DataFrame(rows)


def mean_error(frame: pd.DataFrame, absolute: bool = False, **where: str) -> float:
    """Mean of `value`, or of its size, under conditions; nan where there is none."""
    for name, value in where.items():
        frame = frame[frame[name] == value]
    values = frame["value"].abs() if absolute else frame["value"]
    return float(values.mean())


def contenders(
    error: pd.DataFrame, seconds: pd.DataFrame, problems: Mapping[str, Problem]
) -> pd.DataFrame:
    """Mean error and seconds by problem (a row) and contender (two columns)."""
    rows = []
    for name in dict.fromkeys(error["problem"]):
        row = {"problem": name, "truth": f"{problems[name].truth:.3f}"}
        for estimator in ("latent", "lmi", "mine"):
            where = {"problem": name, "estimator": estimator}
            row[f"{estimator}: error"] = f"{mean_error(error, **where):+.3f}"
            row[f"{estimator}: seconds"] = f"{mean_error(seconds, **where):.2f}"
        rows.append(row)
    return pd.DataFrame(rows)


def draw_curves(curve: pd.DataFrame, problems: Mapping[str, Problem]) -> Figure:
    """Estimates against the number of samples, with the truth as a horizontal line."""
    names = list(dict.fromkeys(curve["problem"]))
    sizes = sorted(set(curve["size"]))
    figure, axes = plt.subplots(1, len(names), figsize=(7.5, 3), squeeze=False)
    for axis, name in zip(axes[0], names):
        truth = problems[name].truth
        axis.axhline(truth, color=plots.COLORS["truth"], lw=1)
        own = curve[curve["problem"] == name]
        for method, part in own.groupby("method", sort=False):
            colour = COLOURS[method]
            plots.errorbar(axis, part, "size", label=method, color=colour)
        bottom = min(0, axis.get_ylim()[0])
        axis.set(title=name, xscale="log", xlabel="samples", ylabel="nats")
        axis.set(ylim=(bottom, 1.3 * truth))
        axis.set_xticks(sizes, sizes)
        axis.minorticks_off()
    axes[0, 0].legend()
    return figure


def scales(frame: pd.DataFrame) -> pd.DataFrame:
    """What ksg says by the units of the noise column (a row) and `rescale`."""
    found = frame.pivot(index="stretch", columns="rescale", values="value")
    found = found[["none", "columns", "whiten"]].map("{:.3f}".format).reset_index()
    return found.rename(columns={"stretch": "noise column times"})


def images(frame: pd.DataFrame) -> pd.DataFrame:
    """Answers on the resampled images by crossover probability, beside the truth."""
    found = mean_se(frame, ["flip", "method"]).set_index(["flip", "method"])
    rows = []
    for flip in dict.fromkeys(frame["flip"]):
        row = {"flip": flip, "truth": f"{panel.channel_information(flip):.3f}"}
        for method in dict.fromkeys(frame["method"]):
            row[method] = plots.pm(*found.loc[(flip, method), ["mean", "se"]])
        rows.append(row)
    return pd.DataFrame(rows)


def bounds(
    frame: pd.DataFrame, problems: Mapping[str, Problem], methods: Sequence[str]
) -> pd.DataFrame:
    """The estimates of labelled problems between their floor and their ceiling."""
    found = mean_se(frame[frame["metric"] == "estimate"], ["problem", "method"])
    found = found.set_index(["problem", "method"])
    rows = []
    for name, problem in problems.items():
        floor = mean_error(frame, metric="floor", problem=name)
        ceiling = mean_error(frame, metric="ceiling", problem=name)
        row = {"problem": name, "floor (probe)": f"{floor:.3f}"}
        row["truth"] = f"{problem.truth:.3f}"
        for method in methods:
            row[method] = plots.pm(*found.loc[(name, method), ["mean", "se"]])
        rows.append(row | {"ceiling H(Y)": f"{ceiling:.3f}"})
    return pd.DataFrame(rows)


# The gap ------------------------------------------------------------------------------


def calibration(frame: pd.DataFrame) -> pd.DataFrame:
    """What `assess` said by method, p and true gap: mean, std, count, std_error,
    covers, says_distil, says_not.
    """
    keys = ["method", "p", "true_gap"]

    def mean(metric: str) -> pd.Series:
        rows = frame[frame["metric"] == metric]
        return rows.groupby(keys, sort=False)["value"].mean()

    gaps = frame[frame["metric"] == "gap"].groupby(keys, sort=False)["value"]
    found = gaps.agg(["mean", "std", "count"])
    found["std_error"] = mean("gap_std_error")
    for metric in ("covers", "says_distil", "says_not"):
        found[metric] = mean(metric)
    return found.reset_index()


def calibration_table(found: pd.DataFrame) -> pd.DataFrame:
    """`calibration` for readers."""
    return pd.DataFrame(
        {
            "method": found["method"],
            "p": found["p"],
            "true gap": found["true_gap"].map("{:+.2f}".format),
            "estimate": found["mean"].map("{:+.3f}".format),
            "spread": found["std"].map("{:.3f}".format),
            "its own error": found["std_error"].map("{:.3f}".format),
            "interval covers": found["covers"].map("{:.0%}".format),
            "says distil": found["says_distil"].map("{:.0%}".format),
            "says do not": found["says_not"].map("{:.0%}".format),
            "draws": found["count"],
        }
    )


def rate(found: pd.DataFrame, column: str, where: str) -> float:
    """A share over all draws of `calibration` that fit a query; nan where none do."""
    rows = found.query(where)
    return (
        float(np.average(rows[column], weights=rows["count"]))
        if len(rows)
        else (float("nan"))
    )


def samples_needed(error: float, n: int, gap: float) -> float:
    """Samples that tell `gap` from zero four times out of five, where n give a standard
    error of `error`: 2.8 of them are wanted (1.96 of the interval, 0.84 of the power).
    """
    if not np.isfinite(error):
        return float("nan")
    return int(np.ceil(n * (2.8 * error / gap) ** 2))


def needed_table(
    found: pd.DataFrame, n: int, gaps: Sequence[float] = (0.01, 0.02, 0.1, 0.4)
) -> pd.DataFrame:
    """`samples_needed` by method and p, a column a gap."""
    rows = []
    errors = found.groupby(["method", "p"], sort=False)["std_error"].mean()
    for (method, p), error in errors.items():
        row = {"method": method, "p": p}
        for gap in gaps:
            row[f"gap {gap}"] = f"{samples_needed(error, n, gap):,}"
        rows.append(row)
    return pd.DataFrame(rows)


# The printed values -------------------------------------------------------------------


def binary_entropy(e: float) -> float:
    """Entropy of a coin, in nats."""
    return float(-e * np.log(e) - (1 - e) * np.log(1 - e))


def printed(table: str, quantity: str, **where: object) -> float:
    """One number that the paper prints."""
    frame = records.paper(table)
    for column, value in where.items():
        frame = frame[frame[column] == value]
    return float(frame.loc[frame["quantity"] == quantity, "value"].iloc[0])


def class_shares() -> dict[str, pd.Series]:
    """Of Table 16: the share of each class, by cohort."""
    counts = records.paper("table16").groupby("cohort")["value"]
    return {cohort: rows / rows.sum() for cohort, rows in counts}


def label_entropies() -> dict[str, float]:
    """H(Y) in nats of Table 16's classes, by cohort."""
    return {
        cohort: float(-(shares * np.log(shares)).sum())
        for cohort, shares in class_shares().items()
    }


def printed_values() -> pd.DataFrame:
    """Every I(H; Y) that the paper prints: where, quantity, value, entropy (H(Y),
    nats), classes, accuracy (of the network's own head; nan where it is not printed).
    """
    mnist, mosei = (np.log(10), 10), (np.log(2), 2)
    rows = []
    for table in ("figure2", "table13"):
        where = {"figure2": "Figure 2", "table13": "Table 13"}[table]
        value = printed(table, "i_tl")
        accuracy = printed(table, "teacher_accuracy")
        rows.append((where, "I(MNIST; Y)", value, *mnist, accuracy))
    value = printed("table13", "i_sl", gamma=0)
    accuracy = printed("table13", "accuracy_no_kd", gamma=0)
    rows.append(("Table 13", "I(MNIST-M; Y)", value, *mnist, accuracy))

    value = printed("table3", "i_tl")
    accuracy = printed("table3", "teacher_accuracy")
    rows.append(("Table 3", "I(text; Y)", value, *mosei, accuracy))
    for student in ("vision", "audio"):
        value = printed("table3", "i_sl", student=student)
        accuracy = printed("table3", "accuracy_no_kd", student=student)
        rows.append(("Table 3", f"I({student}; Y)", value, *mosei, accuracy))

    entropies, shares = label_entropies(), class_shares()
    for table, what, quantity, where in COHORTS:
        cohort = what.split()[0]
        value = printed(table, quantity, **where)
        known = (entropies[cohort], len(shares[cohort]), np.nan)
        number = table.removeprefix("table")
        rows.append((f"Table {number}", f"I({what}; Y)", value, *known))
    columns = ["where", "quantity", "value", "entropy", "classes", "accuracy"]
    return pd.DataFrame(rows, columns=columns)


def fano_floor(entropy: float, classes: int, accuracy: float) -> float:
    """I(H; Y) is at least so many nats where a head of this accuracy reads H."""
    error = 1 - accuracy
    return entropy - binary_entropy(error) - error * np.log(classes - 1)


def possible(values: pd.DataFrame) -> pd.DataFrame:
    """`printed_values` read in nats and in bits: two rows a value, with read_as, nats,
    floor, verdict ("possible", "above the ceiling", "below the floor") and promise, the
    accuracy that one can reach at least (Hellman and Raviv; nan where nothing is
    known).
    """
    rows = []
    for row in values.to_dict("records"):
        known = np.isfinite(row["accuracy"])
        floor = -np.inf
        if known:
            floor = fano_floor(row["entropy"], row["classes"], row["accuracy"])
        for unit, factor in (("nats", 1.0), ("bits", np.log(2))):
            nats = row["value"] * factor
            verdict, promise = "possible", np.nan
            if nats > row["entropy"]:
                verdict = "above the ceiling"
            elif nats < floor:
                verdict = "below the floor"
            elif known:
                promise = 1 - (row["entropy"] - nats) / (2 * np.log(2))
            found = dict(read_as=unit, nats=nats, floor=floor)
            rows.append(row | found | dict(verdict=verdict, promise=promise))
    return pd.DataFrame(rows)


def possible_table(found: pd.DataFrame) -> pd.DataFrame:
    """`possible` for readers: a row a value."""

    def told(value: float) -> str:
        return f"{value:.3f}" if np.isfinite(value) else "–"

    rows = []
    for (where, quantity), both in found.groupby(["where", "quantity"], sort=False):
        first = both.iloc[0]
        row = {"where": where, "quantity": quantity, "printed": f"{first['value']:.4f}"}
        row |= {"H(Y)": told(first["entropy"]), "floor": told(first["floor"])}
        for one in both.to_dict("records"):
            row[f"in {one['read_as']}"] = one["verdict"]
            row[f"promises, {one['read_as']}"] = told(one["promise"])
        rows.append(row | {"accuracy": told(first["accuracy"])})
    return pd.DataFrame(rows)


#: What two networks hold of a label of two bits: I(H1;Y) = I(H2;Y) = ln 2 in all rows,
#: and what both hold of it.
SHARED = {"the same bit": np.log(2), "another bit each": 0.0}


def shared_bits(case: str, n: int, seed: int) -> tuple[np.ndarray, ...]:
    """Teacher (n, 3), student (n, 3) and label (n,) of a case of `SHARED`.

    Each network shows one bit of the label in a column. Both also hold one continuous
    column that has nothing to do with the label, exactly the same: which picture it is.
    """
    rng = np.random.default_rng(seed)
    bits = rng.integers(2, size=(2, n))
    picture = rng.standard_normal(n)
    own = rng.standard_normal((2, 2, n))
    seen = (bits[0], bits[0] if case == "the same bit" else bits[1])
    blocks = []
    for bit, noise in zip(seen, own):
        blocks.append(np.column_stack([6.0 * bit + noise[0], noise[1], picture]))
    return blocks[0], blocks[1], 2 * bits[0] + bits[1]
