"""The tables and figures of the chapter on what decides, one call each.

A *condition* of its first part is a teacher after an intervention: the blur of what it
sees (``gamma``), how many classes it has exchanged (``swapped``), and whether its
outputs are shuffled within classes (``shuffled``). A *setting* of its second part is a
choice of split, layer, estimator, number of samples and training. An estimate near
the most that its estimator can say bounds the truth from below: ``saturated``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from cchbook.chapters import plots
from cchbook.chapters.scorecard import auc, conditions, hit_rate

#: criteria that are held against the gain
SCORES = (
    "gap",
    "teacher_advantage",
    "residual_test",
    "variance_test",
    "agreement",
    "cka",
)
#: those of them without a natural zero
RANKED_ONLY = ("agreement", "cka")
SETTING = ["split", "layer", "method", "samples", "batch_size", "epochs"]
#: name on the page -> what is chosen
FACTORS = {
    "blur γ": "gamma",
    "split": "split",
    "layer": "layer",
    "estimator": "method",
    "samples": "samples",
    "training": "training",
}


# Part 1: two interventions ------------------------------------------------------------


def measured(metrics: pd.DataFrame) -> pd.DataFrame:
    """All that was measured, a row a condition and training."""
    information = ["i_ts", "i_sl", "i_ts_outputs", "i_tl_outputs"]
    near = [f"{name}_saturated" for name in ("i_ts", "i_ts_outputs")]
    wanted = ["teacher_accuracy", *SCORES[1:], *information, *near]
    table = conditions(metrics, wanted)
    return table.assign(saturated=table["i_ts_saturated"] > 0)


def bounded(
    values: Iterable[float], near: Iterable[bool], form: str = ".2f"
) -> list[str]:
    """Numbers in words, "≥ 4.37" where one is saturated."""
    return [
        f"≥ {value:{form}}" if saturated else f"{value:{form}}"
        for value, saturated in zip(values, near)
    ]


def interventions(table: pd.DataFrame, batch_size: int, epochs: int) -> pd.DataFrame:
    """The conditions of one training, with the intervention's name in ``arm``."""
    part = table.query("batch_size == @batch_size and epochs == @epochs").copy()
    part["arm"] = np.select(
        [part["swapped"] > 0, part["shuffled"] > 0],
        ["classes exchanged", "shuffled within classes"],
        "blur",
    )
    return part


def condition(part1: pd.DataFrame, **where: Any) -> pd.Series:
    """The first condition of which all this is true."""
    for name, value in where.items():
        part1 = part1[part1[name] == value]
    return part1.iloc[0]


def interventions_table(part1: pd.DataFrame, n: int, seeds: int) -> None:
    """What each intervention does to information, accuracy and gain."""
    names = {
        "arm": "intervention",
        "i_ts": "I(H₁;H₂)",
        "gap": "gap (nats)",
        "i_ts_outputs": "of outputs",
        "i_tl_outputs": "I(outputs;Y)",
        "teacher_accuracy": "teacher's accuracy",
    }
    ordered = part1.sort_values(["shuffled", "swapped", "gamma"])
    gains = ordered[["gain", "gain_se"]].to_numpy()
    shown = ordered[list(names)].rename(columns=names)
    shown["intervention"] = [
        f"{row.swapped:g} {row.arm}" if row.swapped else f"{row.arm}, γ = {row.gamma}"
        for row in ordered.itertuples()
    ]
    full = ordered["saturated"]
    shown["I(H₁;H₂)"] = bounded(ordered["i_ts"], full)
    shown["gap (nats)"] = bounded(ordered["gap"], full, "+.2f")
    near = ordered["i_ts_outputs_saturated"] > 0
    shown["of outputs"] = bounded(ordered["i_ts_outputs"], near)
    shown["gain"] = [plots.pm(*gain) for gain in gains]
    plots.show_table(
        shown,
        f"The two interventions: information in nats on {n} test images, gain in test "
        f"accuracy (mean ± standard error over {seeds} seeds). I(H₂;Y) is "
        f"{part1['i_sl'].iloc[0]:.2f} nats throughout. ≥: saturated, a lower bound.",
    )


def draw_interventions(part1: pd.DataFrame) -> None:
    """The gains against the gap, and against the teacher's advantage in accuracy."""
    figure, (left, right) = plt.subplots(1, 2, sharey=True)
    plots.gap_and_gain(part1, by="arm", ax=left)
    plots.gap_and_gain(
        part1,
        by="arm",
        gap="teacher_advantage",
        gap_se="teacher_advantage_se",
        ax=right,
        gain_label="",
    )
    right.set(xlabel="teacher's accuracy less the student's")
    right.get_legend().remove()
    plt.show()


def rank_correlation(part1: pd.DataFrame, score: str) -> float:
    """Spearman's, of a criterion with the gain."""
    return part1[score].corr(part1["gain"], method="spearman")


def criteria_table(part1: pd.DataFrame) -> None:
    """How each criterion ranks the conditions, and how often its sign is the gain's."""
    rows = []
    for score in SCORES:
        signs = "no natural zero"
        if score not in RANKED_ONLY:
            signs = f"{hit_rate(part1, score):.0%}"
        rows.append(
            {
                "criterion": score,
                "rank correlation with the gain": rank_correlation(part1, score),
                "area under ROC": auc(part1, score),
                "signs agree": signs,
            }
        )
    plots.show_table(
        pd.DataFrame(rows),
        f"Criteria on the {len(part1)} conditions of part 1. They share their "
        "students: no interval would be honest here.",
    )


def cost_of_shuffling(
    gains: pd.DataFrame, batch_size: int, epochs: int
) -> pd.DataFrame:
    """What shuffling within classes does to the gain, paired by seed: the same student,
    the same batches, the same accuracy of the teacher.

    Parameters
    ----------
    gains : DataFrame
        The metric ``gain``, as `Run.frame` gives it.

    Returns
    -------
    DataFrame
        Columns mean and sem, a row a blur.
    """
    own = gains.query(
        "batch_size == @batch_size and epochs == @epochs and swapped == 0"
    )
    each = own.pivot_table(index=["gamma", "seed"], columns="shuffled", values="value")
    cost = each[1] - each[0]
    return cost.groupby("gamma").agg(["mean", "sem"])


def shuffling_table(part1: pd.DataFrame, cost: pd.DataFrame, seeds: int) -> None:
    """Accuracy held, information taken away: gaps and what it costs, a row a blur."""
    rows = []
    for gamma, (mean, error) in cost.iterrows():
        as_is = condition(part1, gamma=gamma, swapped=0, shuffled=0)
        mixed = condition(part1, gamma=gamma, swapped=0, shuffled=1)
        rows.append(
            {
                "γ": gamma,
                "teacher's accuracy": as_is["teacher_accuracy"],
                "gap, plain": bounded([as_is["gap"]], [as_is["saturated"]])[0],
                "gap, shuffled": bounded([mixed["gap"]], [mixed["saturated"]])[0],
                "gain, shuffled − plain": plots.pm(mean, error),
            }
        )
    plots.show_table(
        pd.DataFrame(rows),
        "Accuracy held, information taken away: what it does to the gain (paired over "
        f"{seeds} seeds).",
    )


# Part 2: every choice -----------------------------------------------------------------


def choices(
    i_ts: pd.DataFrame,
    i_sl: pd.DataFrame,
    table: pd.DataFrame,
    near: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """The gap under each setting and blur beside the gain that it ought to predict.

    Parameters
    ----------
    i_ts, i_sl : DataFrame
        The metrics ``i_ts_choice`` and ``i_sl_choice``, as `Run.frame` gives them.
    table : DataFrame
        As `measured` gives it.
    near : DataFrame, optional
        The metric ``i_ts_choice_saturated``.

    Returns
    -------
    DataFrame
        Columns of `SETTING`, gamma, training (its name), i_ts, i_sl, gap, gain,
        gain_se, agrees, saturated.
    """
    shared = i_ts.groupby([*SETTING, "gamma"], sort=False)["value"].mean()
    own = i_sl.groupby(SETTING, sort=False)["value"].mean()
    found = shared.rename("i_ts").reset_index().drop_duplicates()
    settings = pd.MultiIndex.from_frame(found[SETTING])
    found["i_sl"] = own.reindex(settings).to_numpy()
    found["gap"] = found["i_ts"] - found["i_sl"]
    found["saturated"] = False
    if near is not None:
        keys = [*SETTING, "gamma"]
        share = near.groupby(keys, sort=False)["value"].mean()
        conditions_ = pd.MultiIndex.from_frame(found[keys])
        found["saturated"] = share.reindex(conditions_).to_numpy() > 0
    found = found.join(_plain_gains(table), on=["batch_size", "epochs", "gamma"])
    found["agrees"] = (found["gap"] > 0) == (found["gain"] > 0)
    whole = ["samples", "batch_size", "epochs"]
    found[whole] = found[whole].astype(int)
    trained = zip(found["batch_size"], found["epochs"])
    found["training"] = [f"{size} a batch, {many} epochs" for size, many in trained]
    return found


def signed(found: pd.DataFrame) -> pd.DataFrame:
    """The `choices` whose gap has a sign: a saturated one bounds the truth from below,
    so that it says nothing where it is not positive.
    """
    return found[(found["gap"] > 0) | ~found["saturated"]]


def _plain_gains(table: pd.DataFrame) -> pd.DataFrame:
    """Gain and its error without an intervention, by training and blur."""
    plain = table.query("swapped == 0 and shuffled == 0")
    return plain.set_index(["batch_size", "epochs", "gamma"])[["gain", "gain_se"]]


def choices_table(found: pd.DataFrame) -> None:
    """The gap at each blur, a row a setting."""
    words = found.assign(gap=bounded(found["gap"], found["saturated"], "+.2f"))
    wide = words.pivot(index=SETTING, columns="gamma", values="gap")
    wide = wide.reindex(pd.MultiIndex.from_frame(found[SETTING].drop_duplicates()))
    shown = wide.rename(columns=lambda gamma: f"gap, γ = {gamma}")
    shown = shown.rename_axis(columns=None).reset_index(drop=True)
    groups = found.groupby(SETTING)
    own = groups["i_sl"].first().reindex(wide.index)
    agreed = groups["agrees"].agg(lambda each: f"{each.sum()} of {len(each)}")
    shown.insert(0, "I(H₂;Y)", own.round(2).to_numpy())
    shown["signs agree"] = agreed.reindex(wide.index).to_numpy()
    setting = wide.index.to_frame(index=False)
    trained = zip(setting["batch_size"], setting["epochs"])
    training = [f"{size} a batch, {many} epochs" for size, many in trained]
    shown.insert(0, "training", training)
    shown.insert(0, "images", setting["samples"].astype(str) + " " + setting["split"])
    shown.insert(0, "layer, estimator", setting["layer"] + ", " + setting["method"])
    plots.show_table(
        shown,
        "The gap in nats under every choice, and at how many blurs its sign is that of "
        "the gain. ≥: I(H₁;H₂) is saturated, so that the gap is a lower bound.",
    )


def gains_table(
    table: pd.DataFrame,
    trainings: Iterable[Sequence[int]],
    gammas: Sequence[float],
    seeds: int,
) -> None:
    """The gain at each blur, a row a training."""
    plain = _plain_gains(table)
    rows = []
    for batch_size, epochs in trainings:
        row = {"batch size": batch_size, "epochs": epochs}
        for gamma in gammas:
            gain = plain.loc[(batch_size, epochs, gamma)]
            row[f"gain, γ = {gamma}"] = plots.pm(*gain)
        rows.append(row)
    plots.show_table(
        pd.DataFrame(rows),
        "The gains that it ought to predict (mean ± standard error over "
        f"{seeds} seeds).",
    )


def pairs_of(found: pd.DataFrame, factor: str) -> pd.DataFrame:
    """All pairs of settings that differ in this factor alone; the second one's columns
    end in ``_b``.
    """
    others = [other for other in FACTORS.values() if other != factor]
    pairs = found.merge(found, on=others, suffixes=("", "_b"))
    return pairs[pairs[factor] < pairs[f"{factor}_b"]]


def turns(found: pd.DataFrame) -> pd.DataFrame:
    """How often the gap's sign turns where one factor changes and all others stay.

    Returns
    -------
    DataFrame
        A row a factor that takes two values somewhere: name, pairs, turned, by_chance
        (the share among two of its settings drawn at random), relative (the one to the
        other; 0 where the sign never differs), moves (nats, median).
    """
    rows = []
    for name, factor in FACTORS.items():
        pairs = pairs_of(found, factor)
        if pairs.empty:
            continue
        before, after = pairs["gap"], pairs["gap_b"]
        turned = ((before > 0) != (after > 0)).mean()
        positive = (pd.concat([before, after]) > 0).mean()
        by_chance = 2 * positive * (1 - positive)
        rows.append(
            {
                "name": name,
                "pairs": len(pairs),
                "turned": turned,
                "by_chance": by_chance,
                "relative": turned / by_chance if by_chance else 0.0,
                "moves": (before - after).abs().median(),
            }
        )
    return pd.DataFrame(rows).set_index("name", drop=False)


def turns_table(turned: pd.DataFrame) -> None:
    """`turns` for readers."""
    shown = {
        "what changes": turned["name"],
        "pairs of settings": turned["pairs"],
        "the sign turns in": turned["turned"].map("{:.0%}".format),
        "in two of them drawn at random": turned["by_chance"].map("{:.0%}".format),
        "the gap moves by (nats, median)": turned["moves"],
    }
    plots.show_table(pd.DataFrame(shown), "What turns the sign of the gap.")


def levels_table(found: pd.DataFrame) -> None:
    """The settings of each level of each factor, summed up."""
    summary = {
        "settings": ("gap", "size"),
        "I(H₁;H₂), median": ("i_ts", "median"),
        "I(H₂;Y), median": ("i_sl", "median"),
        "saturated": ("saturated", lambda near: f"{near.mean():.0%}"),
        "gap > 0": ("gap", lambda gap: f"{(gap > 0).mean():.0%}"),
        "signs agree": ("agrees", lambda agrees: f"{agrees.mean():.0%}"),
    }
    parts = []
    for name, factor in FACTORS.items():
        part = found.groupby(factor).agg(**summary)
        part = part.reset_index(names="level")
        part.insert(0, "choice", name)
        parts.append(part)
    plots.show_table(pd.concat(parts), "The same, level by level.")
