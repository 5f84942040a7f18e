"""The tables of the chapters, one call each: they lay out what a run has logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cchbook.chapters import evidence as evidences
from cchbook.chapters import plots
from cchbook.chapters.evidence import Evidence
from cchbook.runs import records

YES = {True: "yes", False: "no"}


# Of several chapters ------------------------------------------------------------------


def beside(
    evidence: Sequence[Evidence],
    by: Mapping[str, str],
    metrics: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    keep: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
) -> pd.DataFrame:
    """One row a condition, and a column for each metric of each run: mean ± error.

    Parameters
    ----------
    evidence
        Of `evidence.of`: the recorded run first.
    by : mapping of condition to header
    metrics : mapping of header to (metric, conditions)
    keep : callable, optional
        Picks rows of the table of conditions.
    """
    table = None
    for one in evidence:
        own = None
        for header, (metric, where) in metrics.items():
            found = one.mean(metric, list(by), **where)
            found[f"{header}, {one.name}"] = [
                plots.pm(m, e) for m, e in zip(found["mean"], found["se"])
            ]
            found = found.drop(columns=["mean", "se", "n"])
            own = found if own is None else own.merge(found, how="left", on=list(by))
        table = own if table is None else table.merge(own, how="outer", on=list(by))
    columns = [
        f"{header}, {one.name}"
        for header in metrics
        for one in evidence
        if f"{header}, {one.name}" in table
    ]
    table = keep(table.sort_values(list(by), kind="stable"))[[*by, *columns]]
    constant = [name for name in by if table[name].nunique(dropna=False) == 1]
    told = table.drop(columns=constant if len(table) > 1 else [])
    return told.fillna("–").rename(columns=dict(by))


def gains(
    evidence: Sequence[Evidence],
    by: Mapping[str, str],
    caption: str,
    *,
    estimators: Sequence[str],
    where: Mapping[str, Any] | None = None,
) -> None:
    """Show both gains and the gap of each condition, of every run.

    `where` picks conditions of the gains; gaps depend on fewer.
    """
    where = dict(where or {})
    wanted: dict[str, tuple[str, Mapping[str, Any]]] = {
        "gain": ("gain", where),
        "gain over the control": ("gain_over_control", where),
    }
    for estimator in estimators:
        wanted[f"gap by {estimator} (nats)"] = ("gap", {"estimator": estimator})
    plots.show_table(beside(evidence, by, wanted), evidences.caption(evidence, caption))


# Chapter 2 ----------------------------------------------------------------------------


def least_squares(table: pd.DataFrame, lam: float, seeds: int) -> None:
    """What each criterion says of a condition, and what hundreds of students did."""
    shown = pd.DataFrame(
        {
            "reading": table["reading"].map(plots.named),
            "σ12": table["sigma12"],
            "gain": _pm(table, "gain"),
            "CCH says": np.where(table["cch"], "distil", "don't"),
            "right?": _right(table, "cch", "gain"),
            "Eq. 17 says": np.where(table["eq17"], "distil", "don't"),
            "teacher added to the best shrunken student": _pm(table, "beyond"),
            "ρ(T,S) > ρ(T,y) ρ(S,y)": np.where(table["shrinkage"], "yes", "no"),
            "right? ": _right(table, "shrinkage", "beyond"),
        }
    )
    plots.show_table(
        shown,
        f"{seeds} least-squares students a row, λ = {lam}; squared units of y, mean ± "
        "standard error. “?”: within two standard errors of 0.",
        folded=["Eq. 17 says"],
    )


def _pm(table: pd.DataFrame, name: str) -> list[str]:
    return [plots.pm(m, e) for m, e in zip(table[name], table[f"{name}_se"])]


def _right(table: pd.DataFrame, says: str, gain: str) -> np.ndarray:
    """Whether the sign was foretold, "?" where nobody knows it."""
    agrees = table[says].astype(bool) == (table[gain] > 0)
    clear = table[gain].abs() > 2 * table[f"{gain}_se"]
    return np.where(~clear, "?", np.where(agrees, "yes", "no"))


def synthetic_signs(evidence: Sequence[Evidence], lam: float) -> pd.DataFrame:
    """Show, of the leading run, whether the sign of the gap is that of the gain."""
    first = evidence[0]
    by = ["reading", "batch_size", "sigma12"]
    table = first.mean("gain", by, lam=lam)
    beyond = first.mean("gain_over_control", by, lam=lam)
    if len(beyond):
        table = table.merge(beyond, how="left", on=by, suffixes=("", "_beyond"))
    estimator = evidences.leading_estimator(first)
    gap = evidences.gaps(first, by, estimator)
    table = table.merge(gap[[*by, "gap"]], how="left", on=by)
    theory = first.mean("linear_helps", ["reading", "sigma12"])
    table = table.merge(
        theory.rename(columns={"mean": "eq17"})[["reading", "sigma12", "eq17"]],
        how="left",
        on=["reading", "sigma12"],
    )
    table["agrees"] = (table["gap"] > 0) == (table["mean"] > 0)
    table["clear"] = evidences.called(first, table, by, lam=lam)
    shown = table[["reading", "sigma12"]].rename(columns={"sigma12": "σ12"})
    shown["reading"] = shown["reading"].map(plots.named)
    shown.insert(1, "batch", [batch_name(size) for size in table["batch_size"]])
    shown["gain"] = [plots.pm(m, e) for m, e in zip(table["mean"], table["se"])]
    if len(beyond):
        shown["over the control"] = [
            plots.pm(m, e) for m, e in zip(table["mean_beyond"], table["se_beyond"])
        ]
    if first is not evidence[-1]:
        live = evidence[-1].mean("gain", by, lam=lam).set_index(by)[["mean", "se"]]
        keys = table[by].itertuples(index=False, name=None)
        shown[f"gain, {evidence[-1].name}"] = [
            plots.pm(*live.loc[key]) if key in live.index else "–" for key in keys
        ]
    shown["gap (nats)"] = table["gap"].map("{:+.3f}".format)
    shown["signs agree"] = table["agrees"].map(YES)
    shown["gain called"] = table["clear"].map(YES)
    shown["Eq. 17, linear"] = np.where(table["eq17"] > 0, "helps", "never helps")
    plots.show_table(
        shown,
        f"λ = {lam}; gain in squared units of y, mean ± standard error over seeds; gap "
        f"by {estimator}. From {first.about}.",
        folded=[f"gain, {evidence[-1].name}", "Eq. 17, linear"],
        keys=3,
    )
    return table


def early_stopping(evidence: Sequence[Evidence], lam: float) -> None:
    """Show what early stopping makes of the student's error and of both gains, beside
    the paper's training, at full batch, of every run that has it.
    """
    by = ["reading", "sigma12"]
    quantities = {
        "error without KD": ("test_mse", {"lam": 0.0, "control": None}),
        "gain": ("gain", {"lam": lam}),
        "gain over the control": ("gain_over_control", {"lam": lam}),
    }
    parts = []
    for one in evidence:
        if one.rows("gain", stopping="early").empty:
            continue
        columns = {}
        for name, (metric, where) in quantities.items():
            for stopping, how in (("none", "the paper's way"), ("early", "stopped")):
                found = one.only(stopping=stopping).mean(
                    metric, by, batch_size=0, **where
                )
                shown = [plots.pm(*v) for v in found[["mean", "se"]].to_numpy()]
                index = pd.MultiIndex.from_frame(found[by])
                columns[f"{name}, {how}"] = pd.Series(shown, index, dtype=object)
        table = pd.DataFrame(columns).rename_axis(by).reset_index()
        parts.append(table.assign(run=one.name))
    if not parts:
        return
    shown = pd.concat(parts, ignore_index=True).fillna("–")
    shown["reading"] = shown["reading"].map(plots.named) + ", " + shown.pop("run")
    plots.show_table(
        shown.rename(columns={"sigma12": "σ12"}),
        f"Early stopping at full batch, λ = {lam}; squared units of y, mean ± standard "
        "error over seeds. Saying 0 has an error of 1.",
    )


def batch_name(size: float) -> str:
    """A batch size for readers: 0 is the full batch."""
    return f"{size:.0f}" if size else "full"


# Chapters 5 and 6 ---------------------------------------------------------------------


def patients(data: Mapping[str, Any], real: bool) -> None:
    """Show Table 16 beside the cohorts at hand, and what each loader's steps cost."""
    rows = [
        {
            "cohort": cohort.name,
            "patients": len(cohort),
            "classes": ", ".join(f"{c} {n}" for c, n in cohort.class_counts().items()),
            "features": ", ".join(
                f"{modality} {x.shape[1]}" for modality, x in cohort.modalities.items()
            ),
        }
        for cohort in data.values()
    ]
    for name, part in records.paper("table16").groupby("cohort") if real else ():
        classes = zip(part["subtype"], part["value"])
        rows.append(
            {
                "cohort": f"{name}, the paper",
                "patients": int(part["value"].sum()),
                "classes": ", ".join(f"{c} {n:.0f}" for c, n in classes),
                "features": "mRNA 60660, CNV 60623, RPPA 487",
            }
        )
    said = "Table 16 beside ours." if real else "The stand-in's classes."
    plots.show_table(pd.DataFrame(rows), said)
    steps = pd.concat([c.steps.assign(cohort=c.name) for c in data.values()])
    plots.show_table(
        steps[["cohort", "step", "modality", "count"]],
        "Patients surviving each step of the loaders.",
    )


def selection(leak: pd.DataFrame, cohort: str, chance: float) -> None:
    """Show what selecting on all patients does, with true labels and with random ones.

    `leak` has columns metric, labels, modality, select_on, mean, se.
    """
    names = {"selection_weighted_f1": "weighted F1", "selection_auc": "AUC"}
    shown = leak.assign(
        text=[plots.pm(m, s) for m, s in zip(leak["mean"], leak["se"])],
        column=[
            f"{names[metric]}, selected on {seen}"
            for metric, seen in zip(leak["metric"], leak["select_on"])
        ],
    ).pivot(index=["labels", "modality"], columns="column", values="text")
    plots.show_table(
        shown.sort_index(level=0, ascending=False)
        .reset_index()
        .rename_axis(columns=None),
        f"{cohort}: networks on one modality, without distillation. Chance is weighted "
        f"F1 {chance:.2f}, AUC 0.5.",
    )


def cohort_names(
    evidence: Sequence[Evidence], data: Mapping[str, Any]
) -> dict[str, str]:
    """The cohorts of this run by name, and those that only the recorded run has. A
    recorded cohort is called a stand-in nowhere, though this run may have one for it.
    """
    names = {key: cohort.name for key, cohort in data.items()}
    for one in evidence:
        for key in one.rows("gain")["cohort"].unique():
            if key not in data or (one.recorded and data[key].source.kind != "real"):
                names[key] = key
    return names


def cancer(
    evidence: Sequence[Evidence], names: Mapping[str, str], *, real: bool
) -> None:
    """Show Tables 5 to 7: mRNA → CNV of each cohort, or its first pair without mRNA.

    The paper's numbers stand beside recorded ones, and beside this run's where its data
    are `real`.
    """
    for key, name in names.items():
        lead = evidences.first_with(evidence, "gain", cohort=key)
        known = lead.rows("gain", cohort=key)[["teacher", "student"]]
        known = list(dict.fromkeys(known.itertuples(index=False, name=None)))
        if not known:
            continue
        pair = ("mRNA", "CNV") if ("mRNA", "CNV") in known else known[0]
        table = None
        if (real or lead.recorded) and pair == ("mRNA", "CNV"):
            table = "table5" if "BRCA" in name or "brca" in key else "table6"
        noise_levels(evidence, key, pair, name, table)


def noise_levels(
    evidence: Sequence[Evidence],
    cohort: str,
    pair: tuple[str, str],
    title: str,
    table: str | None = None,
) -> None:
    """Show rows of the form of Tables 5 to 7,
    with what the paper prints beside them.
    """
    at = {"cohort": cohort, "teacher": pair[0], "student": pair[1]}
    lead = evidences.first_with(evidence, "gain", **at)
    live = evidence[-1]
    levels = sorted(lead.rows("gain", **at)["noise_level"].unique())
    estimator = evidences.leading_estimator(lead, **at)
    said = None
    if table is not None:
        said = records.paper(table).pivot_table(
            index="noise_level", columns="quantity", values="value"
        )
    rows = []
    for level in levels:
        here = at | {"noise_level": level}
        row = {"noise": f"{level:.0%}"}
        for metric, header in (
            ("i_ts", "I(H₁;H₂)"),
            ("i_sl", "I(H₂;Y)"),
            ("gap", "gap"),
        ):
            row[header] = lead.text(metric, estimator=estimator, **here)
        row["F1 with KD"] = lead.text("student_f1_kd", control=None, **here)
        row["F1 without"] = lead.text("student_f1", **here)
        row["gain"] = lead.text("gain", **here)
        row["gain over the control"] = lead.text("gain_over_control", **here)
        if lead is not live:
            row[f"gain, {live.name}"] = live.text("gain", **here)
        if said is not None and level in said.index:
            row["paper: gap"] = f"{said.loc[level, 'mi_gap']:+.4f}"
            gain = said.loc[level].get("weighted_f1_difference", np.nan)
            row["paper: gain"] = f"{gain:+.4f}" if np.isfinite(gain) else "–"
        rows.append(row)
    plots.show_table(
        pd.DataFrame(rows).fillna("–"),
        f"{title}, {' → '.join(pair)}. Weighted F1; "
        f"information in nats by {estimator}; "
        f"mean ± standard error over splits. From {lead.about}.",
        folded=["I(H₁;H₂)", "I(H₂;Y)", "F1 with KD", f"gain, {live.name}"],
        keys=1,
    )


def pairs(
    evidence: Sequence[Evidence],
    cohorts: Mapping[str, str],
    metric: str = "weighted F1",
    *,
    level: float = 0.0,
) -> None:
    """Show every ordered pair of every cohort (key to name): both gains and the gap."""
    rows = []
    for key, name in cohorts.items():
        lead = evidences.first_with(evidence, "gain", cohort=key, noise_level=level)
        live = evidence[-1]
        where = {"cohort": key, "noise_level": level}
        estimator = evidences.leading_estimator(lead, **where)
        known = lead.rows("gain", **where)[["teacher", "student"]].drop_duplicates()
        for teacher, student in known.itertuples(index=False):
            at = where | {"teacher": teacher, "student": student}
            rows.append(
                {
                    "cohort": name,
                    "pair": f"{teacher} → {student}",
                    "gap (nats)": lead.text("gap", estimator=estimator, **at),
                    "gain": lead.text("gain", **at),
                    "gain over the control": lead.text("gain_over_control", **at),
                    f"gain, {live.name}": live.text("gain", **at)
                    if lead is not live
                    else "–",
                    "run": lead.name,
                }
            )
    shown = pd.DataFrame(rows)
    beside = f"gain, {evidence[-1].name}"
    if (shown[beside] == "–").all():
        shown = shown.drop(columns=beside)
    plots.show_table(
        shown,
        f"All pairs, noise {level:.0%}. Gains in {metric}, mean ± standard error. "
        + evidences.caption(evidence, ""),
    )


def wrong_signs(
    wrong: pd.DataFrame, cohort: str, pair: tuple[str, str], about: str
) -> None:
    """Show how often a few runs have the other sign than all of them.

    `wrong` has the conditions, any_runs, one_split (shares), mean and se.
    """
    chosen = (wrong["cohort"] == cohort) & (wrong["teacher"] == pair[0])
    part = wrong[chosen & (wrong["student"] == pair[1])]
    shown = pd.DataFrame(
        {
            "noise": [f"{level:.0%}" for level in part["noise_level"]],
            "difference": [plots.pm(m, e) for m, e in zip(part["mean"], part["se"])],
            "wrong sign, a few runs on any split": part["any_runs"].map(
                "{:.0%}".format
            ),
            "wrong sign, the runs on one split": part["one_split"].map("{:.0%}".format),
        }
    )
    plots.show_table(shown, f"{cohort}, {' → '.join(pair)}. From {about}.")


# Chapter 6 ----------------------------------------------------------------------------

SCORES = {
    "accuracy": "acc",
    "auc": "AUC",
    "macro_f1": "macro F1",
    "weighted_f1": "weighted F1",
}
PAIR = ["cohort", "teacher", "student"]


def printed_fusion() -> pd.DataFrame:
    """Tables 8 and 20: one row a cohort, teacher and student, one column a quantity."""
    said = pd.concat([records.paper("table8"), records.paper("table20")])
    said = said.pivot(index=PAIR, columns="quantity", values="value")
    return said.rename_axis(columns=None)


def fusion(
    evidence: Sequence[Evidence], names: Mapping[str, str], said: pd.DataFrame | None
) -> None:
    """Show Tables 8 and 20, which are `said`, and their form on every ordered pair."""
    rows = []
    for (cohort, teacher, student), row in said.iterrows() if said is not None else ():
        shown = {"cohort": f"{cohort}, the paper", "pair": f"{teacher} → {student}"}
        shown |= {name: f"{row[name]:.3f}" for name in ("i_tl", "i_ts", "i_sl")}
        for metric, label in SCORES.items():
            shown[f"{label}, fusion"] = f"{row[f'{metric}_fusion']:.4f}"
            shown[f"{label}, +KD"] = f"{row[f'{metric}_fusion_kd']:.4f}"
        rows.append(shown)
    for key, name in names.items():
        lead = evidences.first_with(evidence, "gain", cohort=key)
        estimator = evidences.leading_estimator(lead, cohort=key)
        known = lead.rows("gain", cohort=key)[PAIR].drop_duplicates()
        for at in known.to_dict("records"):
            shown = {"cohort": _of_run(name, lead)}
            shown["pair"] = f"{at['teacher']} → {at['student']}"
            for metric in ("i_tl", "i_ts", "i_sl"):
                shown[metric] = lead.text(metric, estimator=estimator, **at)
            for metric, label in SCORES.items():
                shown[f"{label}, fusion"] = lead.text(f"{metric}_fusion", **at)
                shown[f"{label}, +KD"] = lead.text(f"{metric}_fusion_kd", **at)
            rows.append(shown)
    heads = {"i_tl": "I(TL)", "i_ts": "I(TS)", "i_sl": "I(SL)"}
    plots.show_table(
        pd.DataFrame(rows).rename(columns=heads),
        "Tables 8 and 20, and their form on every ordered pair; information in nats. "
        + evidences.caption(evidence, ""),
        folded=[
            f"{label}, {how}"
            for metric, label in SCORES.items()
            for how in ("fusion", "+KD")
            if metric != "weighted_f1"
        ],
    )


def _of_run(cohort: str, one: Evidence) -> str:
    return f"{cohort} ({'recorded' if one.recorded else 'this run'})"


def patients_tested(one: Evidence, tested: Mapping[str, int]) -> dict[str, int]:
    """Test patients of each cohort of a run: of this run's as counted here, of a
    recorded run's from its accuracies.
    """
    counted = {}
    for cohort, part in one.rows("accuracy_fusion").groupby("cohort", sort=False):
        if cohort in tested and not one.recorded:
            counted[cohort] = tested[cohort]
            continue
        values = part["value"].to_numpy()
        counted[cohort] = next(
            n
            for n in range(2, 501)
            if np.allclose(values * n, (values * n).round(), atol=1e-3)
        )
    return counted


def fusion_in_patients(
    evidence: Sequence[Evidence],
    names: Mapping[str, str],
    tested: Mapping[str, int],
    said: pd.DataFrame | None,
) -> None:
    """Show accuracies as numbers of test patients."""
    rows = []
    counts = records.paper("table16").groupby("cohort")["value"].sum()
    for (cohort, teacher, student), row in said.iterrows() if said is not None else ():
        of = round(counts[cohort] / 10)
        before, after = (row[f"accuracy_{how}"] * of for how in ("fusion", "fusion_kd"))
        rows.append(
            {
                "cohort": f"{cohort}, the paper",
                "pair": f"{teacher} → {student}",
                "test patients": of,
                "right by fusion": f"{before:.2f}",
                "right by Fusion+KD": f"{after:.2f}",
                "difference, patients": f"{after - before:+.1f}",
            }
        )
    for key, name in names.items():
        lead = evidences.first_with(evidence, "gain", cohort=key)
        of = patients_tested(lead, tested)[key]
        columns = {
            metric: lead.mean(metric, PAIR, cohort=key).set_index(PAIR)
            for metric in ("accuracy_fusion", "accuracy_fusion_kd", "gain_accuracy")
        }
        for at, gain in columns["gain_accuracy"].iterrows():
            before, after = (
                columns[metric].loc[at, "mean"] * of
                for metric in ("accuracy_fusion", "accuracy_fusion_kd")
            )
            rows.append(
                {
                    "cohort": _of_run(name, lead),
                    "pair": f"{at[1]} → {at[2]}",
                    "test patients": of,
                    "right by fusion": f"{before:.2f}",
                    "right by Fusion+KD": f"{after:.2f}",
                    "difference, patients": plots.pm(
                        gain["mean"] * of, gain["se"] * of
                    ),
                }
            )
    plots.show_table(pd.DataFrame(rows), "Accuracy in patients.")


def fusion_rules(
    rule: pd.DataFrame, hits: Mapping[tuple[str, str], tuple], about: str
) -> None:
    """Show how often each rule has the sign, and the rule pair by pair."""
    rows = {}
    for (name, pairs), (hit, count, low, high) in hits.items():
        row = rows.setdefault(name, {"rule": name})
        row[f"hits, {pairs}"] = f"{hit} of {count}"
        row[f"95 %, {pairs}"] = f"{low:.0%} – {high:.0%}"
    followed = {
        "add KD when I(TS) > I(SL)": rule["gain"].where(rule["gap"] > 0, 0).mean(),
        "always add KD": rule["gain"].mean(),
        "never add KD": 0.0,
    }
    for name, row in rows.items():
        row["mean gain if followed"] = f"{followed[name]:+.4f}"
    plots.show_table(
        pd.DataFrame(rows.values()),
        "Rules against the sign of the gain in weighted F1; "
        f"pairs with a gain of 0 left out. From {about}.",
    )
    errors = rule["gap_se"] if "gap_se" in rule else [np.nan] * len(rule)
    shown = pd.DataFrame(
        {
            "cohort": rule["cohort"],
            "pair": rule["teacher"] + " → " + rule["student"],
            "gap (nats)": [plots.pm(m, e) for m, e in zip(rule["gap"], errors)],
            "gain in weighted F1": [
                plots.pm(m, e) for m, e in zip(rule["gain"], rule["gain_se"])
            ],
            "rule says": np.where(rule["gap"] > 0, "add KD", "don't"),
            "best": np.select(
                [rule["gain"] > 0, rule["gain"] < 0], ["add KD", "don't"], "either"
            ),
            "gain called": np.where(rule["clear"], "yes", "no"),
        }
    )
    plots.show_table(shown, f"The rule, pair by pair. From {about}.")


# Chapter 4 ----------------------------------------------------------------------------


def utterances(sets: Mapping[str, Mapping[str, Any]]) -> None:
    """Show the size of every split and the shape of every modality, and the paper's."""
    rows = []
    for name, parts in sets.items():
        for split, data in parts.items():
            row = {"data": name, "split": split, "utterances": len(data)}
            row["positive"] = f"{data.labels.mean():.3f}"
            for modality, array in data.modalities().items():
                row[modality] = "×".join(map(str, array.shape[1:]))
            rows.append(row)
    said = records.paper("settings").query("notebook == '04_sentiment'")
    said = said.set_index("setting")["value"]
    row = {"data": "mosei, as the paper states it", "split": "all"}
    row |= {"utterances": said["annotated segments"], "positive": "–"}
    for modality in ("text", "audio", "vision"):
        row[modality] = f"{said['length']}×{said[f'{modality} features']}"
    plots.show_table(
        pd.DataFrame([*rows, row]).fillna("–"),
        "Steps × features of each modality, as found in the files.",
    )


def single_modalities(
    evidence: Sequence[Evidence], larger: Mapping[str, float]
) -> None:
    """Show each modality's accuracy; `larger` is the share of the larger class."""
    by = {"data": "data", "modality": "modality"}
    wanted = {
        "accuracy, train": ("accuracy", {"split": "train"}),
        "accuracy, test": ("accuracy", {"split": "test"}),
    }
    shown = beside(evidence, by, wanted)
    if "data" in shown:
        share = shown["data"].map(larger)
        shown["always the larger class"] = [
            f"{one:.3f}" if one == one else "–" for one in share
        ]
    plots.show_table(
        shown,
        evidences.caption(
            evidence, "Networks trained on the labels alone, mean ± standard error."
        ),
    )


def sentiment_information(evidence: Sequence[Evidence], *, with_paper: bool) -> None:
    """Show Table 2: what the representations of each pair share, by every estimator."""
    by = ["data", "estimator", "x", "y"]
    parts = []
    for one in evidence:
        found = one.mean("mutual_information", by)
        found = found[~found["x"].str.contains(" ")]  # the other text is Table 3's
        parts.append(found.assign(data=found["data"] + f", {one.name}"))
    if with_paper:
        said = records.paper("table2").query("quantity == 'mutual_information'")
        said = said.rename(columns={"value": "mean", "std_error": "se"})
        parts.append(said.assign(data="mosei: the paper"))
    table = pd.concat(parts)
    table["text"] = [plots.pm(m, e) for m, e in zip(table["mean"], table["se"])]
    table["pair"] = "I(" + table["x"] + "; " + table["y"].replace("label", "Y") + ")"
    order = list(dict.fromkeys(table["pair"]))
    shown = table.pivot(index=["data", "estimator"], columns="pair", values="text")
    plots.show_table(
        shown[order].fillna("–").reset_index().rename_axis(columns=None),
        "Table 2, in nats: mean ± standard error over networks. "
        "The paper's estimator is “lmi”, ours “latent”. "
        "The paper: mean ± standard deviation over 50 runs. "
        + evidences.caption(evidence, ""),
    )


DISTILLED = {
    "accuracy_no_kd": "accuracy, no KD",
    "accuracy_kd": "accuracy, KD",
    "weighted_f1_no_kd": "F1, no KD",
    "weighted_f1_kd": "F1, KD",
    "gain": "gain",
    "gain_over_control": "gain over the control",
}


def sentiment_distillation(evidence: Sequence[Evidence], *, with_paper: bool) -> None:
    """Show Table 3: every direction without noise."""
    rows = []
    for one in evidence:
        estimator = evidences.leading_estimator(one)
        known = one.rows("gain", level=0.0)[["data", "teacher", "student"]]
        for at in known.drop_duplicates().to_dict("records"):
            where = at | {"level": 0.0}
            row = {"data": f"{at['data']}, {one.name}"}
            row["pair"] = f"{at['teacher']} → {at['student']}"
            for metric in ("i_ts", "i_sl", "gap"):
                row[metric] = one.text(metric, estimator=estimator, **where)
            for metric, header in DISTILLED.items():
                row[header] = one.text(metric, control=None, **where)
            row["± over utterances"] = one.text("gain_test_se", **where)
            rows.append(row)
    if with_paper:
        said = records.paper("table3").dropna(subset="student")
        for (teacher, student), part in said.groupby(["teacher", "student"]):
            cells = part.set_index("quantity")
            row = {"data": "mosei: the paper", "pair": f"{teacher} → {student}"}
            for metric, header in {"i_ts": "i_ts", "i_sl": "i_sl", **DISTILLED}.items():
                if metric in cells.index:
                    row[header] = plots.pm(*cells.loc[metric, ["value", "std_error"]])
            rows.append(row)
    heads = {"i_ts": "I(H₁;H₂)", "i_sl": "I(H₂;Y)"}
    plots.show_table(
        pd.DataFrame(rows).rename(columns=heads).fillna("–"),
        "Table 3, every direction: nats, accuracy and weighted F1 on the test split; "
        "mean ± standard error over seeds. " + evidences.caption(evidence, ""),
        folded=[*heads.values(), "accuracy, no KD", "accuracy, KD"],
    )


def sentiment_noise(
    evidence: Sequence[Evidence], at: Mapping[str, str], *, with_paper: bool
) -> None:
    """Show Table 4 under every reading of a noise level, beside the paper's columns."""
    lead = evidences.first_with(evidence, "gain", **at)
    live = evidence[-1]
    estimator = evidences.leading_estimator(lead)
    known = lead.rows("gain", **at)[["noise", "level"]].drop_duplicates()
    said = records.paper("table4").set_index(["quantity", "noise_level"])
    said = said[["value", "std_error"]]
    rows = []
    for noise, level in known.itertuples(index=False):
        where = {**at, "noise": noise, "level": level}
        row = {"noise is": noise if level else "–", "level": f"{level:.0%}"}
        row["I(H₁;H₂)"] = lead.text("i_ts", estimator=estimator, **where)
        row["gap"] = lead.text("gap", estimator=estimator, **where)
        row["teacher's accuracy on it"] = lead.text("teacher_accuracy", **where)
        for metric in (
            "weighted_f1_no_kd",
            "weighted_f1_kd",
            "gain",
            "gain_over_control",
        ):
            row[DISTILLED[metric]] = lead.text(metric, control=None, **where)
        if lead is not live:
            row[f"gain, {live.name}"] = live.text("gain", **where)
        for quantity, header in (
            ("i_ts", "paper: I(H₁;H₂)"),
            ("weighted_f1_kd", "paper: “KD F1”"),
            ("weighted_f1_no_kd", "paper: “No-KD F1”"),
        ):
            if with_paper and (quantity, level) in said.index:
                row[header] = plots.pm(*said.loc[(quantity, level)])
        rows.append(row)
    plots.show_table(
        pd.DataFrame(rows).fillna("–"),
        f"Table 4, all readings: {at['teacher']} teaches {at['student']} on "
        f"{at['data']}; nats by {estimator}. From {lead.about}.",
        folded=[
            "I(H₁;H₂)",
            "F1, no KD",
            "F1, KD",
            f"gain, {live.name}",
            "paper: I(H₁;H₂)",
        ],
    )


def sentiment_by_split(
    evidence: Sequence[Evidence], verdicts: Mapping[tuple[str, str], str], what: str
) -> None:
    """Show the same networks' information on training and on held-out utterances."""
    by = {"teacher": "teacher", "split": "split"}
    wanted = {
        "I(H₁;Y)": ("i_tl_by_split", {}),
        "I(H₁;H₂)": ("i_ts_by_split", {}),
        "I(H₂;Y)": ("i_sl_by_split", {}),
    }
    shown = beside(evidence, by, wanted)
    if {"teacher", "split"} <= set(shown):
        keys = zip(shown["teacher"], shown["split"])
        shown["verdict, first network"] = [verdicts.get(key, "–") for key in keys]
    live = f", {evidence[-1].name}"
    plots.show_table(
        shown,
        evidences.caption(evidence, f"{what}, nats."),
        folded=[name + live for name in wanted] if len(evidence) > 1 else (),
    )


def conditions(one: Evidence, by: Sequence[str]) -> pd.DataFrame:
    """Gap and gain of every condition.

    Where a run resampled its test samples, that error is part of the gain's.
    """
    gain = one.mean("gain", by)
    over_samples = one.mean("gain_test_se", by)[[*by, "mean"]]
    gain = gain.merge(over_samples, how="left", on=list(by), suffixes=("", "_test"))
    gain["se"] = np.hypot(gain["se"], gain["mean_test"].fillna(0))
    gap = one.mean("gap", by, estimator=evidences.leading_estimator(one))
    table = gain.merge(gap, how="left", on=list(by), suffixes=("", "_gap"))
    names = {"mean": "gain", "se": "gain_se", "mean_gap": "gap", "se_gap": "gap_se"}
    return table.rename(columns=names).drop(columns=["n", "n_gap", "mean_test"])
