"""The tables and figures of the image chapter, one call each.

They show a recorded run first, the live one beside it, and what the paper prints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from torch import Tensor

from cchbook.chapters import controls as control
from cchbook.chapters import evidence as evidences
from cchbook.chapters import plots, scorecard
from cchbook.chapters.evidence import Evidence
from cchbook.chapters.metrics import mean_se, paired_error
from cchbook.runs import records
from cchbook.runs.records import Measurements

#: what a distilled student's rows name, and a control's do not leave out
DISTILLED = {"control": None}
#: quantity that the paper prints -> the metric that it is, and the paper's estimator
PRINTED = {
    "mi_gap": ("gap", {"estimator": "lmi"}),
    "i_ts": ("i_ts", {"estimator": "lmi"}),
    "i_sl": ("i_sl", {"estimator": "lmi"}),
    "i_tl": ("i_tl", {"estimator": "lmi", "gamma": 0.0}),
    "teacher_accuracy": ("teacher_accuracy", {"gamma": 0.0}),
    "accuracy_kd": ("student_accuracy_kd", DISTILLED),
    "accuracy_no_kd": ("student_accuracy", {}),
    "accuracy_difference": ("gain", {}),
}


#: the conditions that a kind of student depends on, besides α and λ
DEPENDS_ON = {
    "plain": (),
    "scaled_ce": (),
    "smoothing": ("temperature",),
    "self_distillation": ("temperature",),
    "shuffled": ("gamma", "temperature"),
    "imitator": ("gamma", "temperature"),
    "teacher": ("gamma", "temperature"),
}


def log_students(
    run: Measurements,
    outputs: Mapping[tuple[str, float, float], Tensor],
    labels: Tensor,
    curves: Mapping[int, Mapping[tuple, Tensor]],
    *,
    alpha: float,
    lam: float,
    temperature: float,
    gammas: Sequence[float],
) -> None:
    """Log what the students of one α reach, and what the distilled ones gain.

    Parameters
    ----------
    run
    outputs : {(kind, blur, temperature): (seeds, n, 10)}
        Logits on the test images.
    labels : (n,)
    curves : {epoch: {student: (seeds,)}}
        Test accuracies on the way.
    alpha, lam, temperature, gammas
        Blending, weight of distillation, and at which temperature and blurs a student
        is compared with the controls.
    """
    plain = next(name for name in outputs if name[0] == "plain")
    distilled = [name for name in outputs if name[0] == "teacher"]
    hits = {name: logits.argmax(-1) == labels for name, logits in outputs.items()}
    scores = []
    for name, logits in outputs.items():
        kind, gamma, heat = name
        weight = {"plain": 0.0, "imitator": 1.0}.get(kind, lam)
        own = {"gamma": gamma, "temperature": heat}
        where = {"alpha": alpha, "lam": weight}
        where |= {condition: own[condition] for condition in DEPENDS_ON[kind]}
        metric = {"plain": "student_accuracy", "imitator": "imitator_accuracy"}
        reached = metric.get(kind, "student_accuracy_kd")
        if kind not in ("plain", "imitator", "teacher"):
            where["control"] = kind

        # under which conditions, and as what, its accuracy enters the gains
        role = "distilled" if kind == "teacher" else kind
        compared = {
            "plain": [("plain", *at) for _, *at in distilled],
            "teacher": [("", gamma, heat)],
            "imitator": [],
        }
        at_figure2 = [(f"{kind} {gamma}", blur, temperature) for blur in gammas]
        accuracies = hits[name].float().mean(-1)
        for seed, accuracy in enumerate(accuracies.tolist()):
            run.log(reached, accuracy, seed=seed, **where)
            for epoch, then in curves.items():
                known = {"seed": seed, "epoch": epoch + 1}
                run.log("accuracy_by_epoch", then[name][seed], **known, **where)
            run.log_predictions(logits[seed], labels, seed, student=role, **where)
            for each in compared.get(kind, at_figure2):
                scores.append((*each, seed, accuracy))
        if kind == "teacher":
            error = paired_error(hits[name], hits[plain])
            run.log("gain_test_se", error, seed=0, **where)
    columns = ["control", "gamma", "temperature", "seed", "value"]
    gains = control.gains(pd.DataFrame(scores, columns=columns), columns[1:3])
    run.log_frame(gains.assign(alpha=alpha, lam=lam))


def printed(table: str, quantity: str, **where: Any) -> str:
    """What the paper prints, as printed; "–" where it prints nothing."""
    rows = records.paper(table).query("quantity == @quantity")
    for name, value in where.items():
        rows = rows[rows[name] == value]
    if not len(rows):
        return "–"
    value, error = rows[["value", "std_error"]].iloc[0]
    return plots.pm(value, error) if np.isfinite(error) else f"{value:g}"


def samples(rows: Mapping[str, np.ndarray]) -> None:
    """Figure 5: a line of pictures (n, 28, 28) under each name."""
    count = len(next(iter(rows.values())))
    figure, axes = plt.subplots(len(rows), count, figsize=(6.4, 0.85 * len(rows)))
    for line, (name, images) in zip(axes, rows.items()):
        for ax, picture in zip(line, images):
            ax.imshow(picture, cmap="gray", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        line[0].set_ylabel(name, rotation=0, ha="right", va="center")
    plt.show()


def figure2(told: Sequence[Evidence], alpha: float, temperature: float) -> None:
    """Accuracies and mutual information against the blur, at one α and T."""
    figure, (left, right) = plt.subplots(1, 2)
    where = {"alpha": alpha, "temperature": temperature, **DISTILLED}
    name = "student_accuracy_kd"
    plots.two_runs(
        left, told, name, "gamma", kind="kd", label=plots.LABELS["kd"], **where
    )
    label = "teacher, of what it sees"
    plots.two_runs(left, told, "teacher_accuracy", "gamma", kind="teacher", label=label)
    _level(left, told, "student_accuracy", "no_kd", "student without KD", alpha=alpha)
    left.set(xlabel="blur γ (pixels)", ylabel="test accuracy")
    left.legend()

    estimator = evidences.leading_estimator(told[0])
    found = {"alpha": alpha, "estimator": estimator}
    label = f"{plots.LABELS['i_ts']}, {estimator}"
    plots.two_runs(right, told[:1], "i_ts", "gamma", kind="i_ts", label=label, **found)
    _level(right, told[:1], "i_sl", "i_sl", plots.LABELS["i_sl"], **found)
    right.axhline(np.log(10), color="0.6", lw=0.8, label="H(Y) = ln 10")
    right.set(xlabel="blur γ (pixels)", ylabel="mutual information (nats)")
    right.legend()
    plt.show()


def _level(
    ax: plt.Axes, told: Sequence[Evidence], metric: str, kind: str, label: str, **where
) -> None:
    """What does not depend on the blur: a band for the first run,
    a line for the next.
    """
    for i, one in enumerate(told):
        table = one.mean(metric, "metric", **where)
        if not len(table):
            continue
        mean, error = table.loc[0, "mean"], np.nan_to_num(table.loc[0, "se"])
        color = plots.COLORS[kind]
        style = dict(ls=":", lw=1) if i else dict(ls="--", label=label)
        ax.axhline(mean, color=color, **style)
        if not i:
            ax.axhspan(mean - error, mean + error, color=color, alpha=0.15)


def explored(one: Evidence, temperature: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What one run found at each α and γ, for the figure in which these move.

    Returns
    -------
    (accuracy, information)
        As `publish.interactive.mnistm_explorer` takes them, the same conditions in
        both; the errors of the differences are paired by seed.
    """
    by = ["alpha", "gamma"]
    hot = {"temperature": temperature, **DISTILLED}
    of = {"estimator": evidences.leading_estimator(one)}

    def found(metric: str, name: str, on: list[str], **where: Any) -> pd.DataFrame:
        named = {"mean": name, "se": f"{name}_se"}
        return one.mean(metric, on, **where).rename(columns=named).drop(columns="n")

    accuracy = found("student_accuracy_kd", "student_kd", by, **hot)
    accuracy = accuracy.merge(found("student_accuracy", "student", ["alpha"]))
    accuracy = accuracy.merge(found("gain", "gain", by, temperature=temperature))
    information = found("i_ts", "i_ts", by, **of)
    information = information.merge(found("i_sl", "i_sl", ["alpha"], **of))
    information = information.merge(found("gap", "gap", by, **of))
    # conditions of which both are known
    accuracy = accuracy.merge(information[by])
    information = information.merge(accuracy[by])
    return accuracy, information


def table1(told: Sequence[Evidence], alpha: float, real: bool) -> None:
    """Gains of all blurs and temperatures, and the gap of each blur, at one α."""
    by = {"gamma": "γ", "temperature": "T"}
    where = {"alpha": alpha}
    gains = {
        "gain": ("gain", where),
        "over the control": ("gain_over_control", where),
    }
    table = _beside(told, by, gains)
    if real and len(table):
        table["paper's gain"] = [
            printed(
                "table1", "accuracy_difference", alpha=alpha, gamma=g, temperature=t
            )
            for g, t in zip(table["γ"], table["T"])
        ]
    caption = (
        f"Table 1, α = {alpha}: gain in test accuracy, "
        "mean ± standard error over seeds and test images."
    )
    plots.show_table(table, evidences.caption(told, caption))

    informed = _beside(told, {"gamma": "γ"}, _informations(told, "gap", where))
    if real and len(informed):
        informed["paper's gap"] = [
            printed("table1", "mi_gap", alpha=alpha, gamma=g) for g in informed["γ"]
        ]
    caption = (
        f"Table 1, α = {alpha}: the gap I(H1;H2) − I(H2;Y) in nats, by estimator "
        "(lmi: the paper's)."
    )
    plots.show_table(informed, evidences.caption(told, caption))


def table13(
    told: Sequence[Evidence], alpha: float, temperature: float, real: bool
) -> None:
    """The table of the other α: information, accuracy and gain of each blur."""
    where = {"alpha": alpha}
    hot = where | {"temperature": temperature}
    wanted = {
        **_informations(told, "i_ts", where),
        **_informations(told, "gap", where),
        "accuracy with KD": ("student_accuracy_kd", hot | DISTILLED),
        "gain": ("gain", hot),
        "over the control": ("gain_over_control", hot),
    }
    table = _beside(told, {"gamma": "γ"}, wanted)
    if real and len(table):
        for name, quantity in (
            ("I(H1;H2)", "i_ts"),
            ("gap", "mi_gap"),
            ("accuracy", "accuracy_kd"),
            ("gain", "accuracy_difference"),
        ):
            table[f"paper's {name}"] = [
                printed("table13", quantity, alpha=alpha, gamma=g) for g in table["γ"]
            ]
    caption = (
        f"Table 13: with a teacher on blurred digits, T = {temperature:g}, α = {alpha}."
    )
    information = [name for name in table if "I(H1;H2)" in name]
    plots.show_table(
        table, evidences.caption(told, caption), folded=information, keys=1
    )


def unblurred(told: Sequence[Evidence], alphas: Sequence[float], real: bool) -> None:
    """What no blur changes: the teacher on sharp digits, the students without it."""
    estimators = _estimators(told)
    quantities = [("teacher's accuracy", "teacher_accuracy", {"gamma": 0.0}, None)]
    for estimator in estimators:
        named = {"estimator": estimator, "gamma": 0.0}
        quantities.append((f"I(H1;Y), nats, {estimator}", "i_tl", named, None))
    for alpha in alphas:
        where = {"alpha": alpha}
        without = f"accuracy without KD, α = {alpha}"
        quantities.append((without, "student_accuracy", where, alpha))
        for estimator in estimators:
            named = where | {"estimator": estimator}
            text = f"I(H2;Y), nats, {estimator}, α = {alpha}"
            quantities.append((text, "i_sl", named, alpha))
    rows = []
    for text, metric, where, alpha in quantities:
        row = {"quantity": text}
        for one in told:
            row[one.name] = one.text(metric, **where)
        if real:
            row |= _captions(metric, where, alpha)
        rows.append(row)
    caption = "What does not depend on the blur."
    plots.show_table(pd.DataFrame(rows), evidences.caption(told, caption))


def _captions(metric: str, where: Mapping, alpha: float | None) -> dict[str, str]:
    """What Figure 2's and Table 13's captions and columns say of a quantity."""
    if where.get("estimator", "lmi") != "lmi":
        return {}
    quantity = {"student_accuracy": "accuracy_no_kd"}.get(metric, metric)
    of = {} if alpha is None else {"alpha": alpha}
    return {
        "Figure 2 prints": printed("figure2", quantity, **of),
        "Table 13 prints": printed("table13", quantity, **of),
    }


def controls(told: Sequence[Evidence], alphas: Sequence[float]) -> None:
    """The accuracy of the plain student and of each control, of every run."""
    kinds = {
        "plain": ("student_accuracy", {}),
        "scaled_ce": ("student_accuracy_kd", {"control": "scaled_ce"}),
        "smoothing": ("student_accuracy_kd", {"control": "smoothing"}),
        "self-distillation": (
            "student_accuracy_kd",
            {"control": "self_distillation"},
        ),
    }
    rows = []
    for alpha in alphas:
        for kind, (metric, where) in kinds.items():
            row = {"α": alpha, "student": kind}
            for one in told:
                row[one.name] = one.text(metric, alpha=alpha, **where)
            rows.append(row)
        shuffled = {"alpha": alpha, "control": "shuffled"}
        seen = [one.rows("student_accuracy_kd", **shuffled) for one in told]
        for gamma in sorted(
            {g for rows_ in seen if "gamma" in rows_ for g in rows_.gamma}
        ):
            row = {"α": alpha, "student": f"shuffled, γ = {gamma:g}"}
            for one in told:
                row[one.name] = one.text("student_accuracy_kd", gamma=gamma, **shuffled)
            rows.append(row)
    caption = "Test accuracy of the students that no teacher helps."
    plots.show_table(pd.DataFrame(rows), evidences.caption(told, caption))


def signs(one: Evidence, alpha: float) -> pd.DataFrame:
    """Of each condition at one α: gain, gap by the leading estimator, and who agrees.

    Returns
    -------
    DataFrame
        Columns gamma, temperature, ``gain``, ``over_control``, ``gap``, ``i_sl``,
        ``i_tl`` (of the sharp teacher), ``estimator``; ``agrees``: gap and gain have
        one sign; ``clear``: the gain is called by `Evidence.verdicts`.
    """
    by = ["gamma", "temperature"]
    table = one.mean("gain", by, alpha=alpha)
    table["clear"] = evidences.called(one, table, by, alpha=alpha)
    table = table.rename(columns={"mean": "gain"})
    over = one.mean("gain_over_control", by, alpha=alpha)
    over = over.rename(columns={"mean": "over_control"})
    table = table.merge(over[[*by, "over_control"]], how="left", on=by)
    estimator = evidences.leading_estimator(one)
    of = {"estimator": estimator}
    gap = one.mean("gap", "gamma", alpha=alpha, **of).rename(columns={"mean": "gap"})
    table = table.merge(gap[["gamma", "gap"]], how="left", on="gamma")
    table["estimator"] = estimator
    table["agrees"] = (table["gap"] > 0) == (table["gain"] > 0)
    table["i_sl"] = one.mean("i_sl", "metric", alpha=alpha, **of)["mean"].mean()
    table["i_tl"] = one.mean("i_tl", "metric", gamma=0.0, **of)["mean"].mean()
    return table


def curves(
    told: Sequence[Evidence], alpha: float, temperature: float
) -> dict[str, float | str]:
    """Test accuracy by epoch: plain, and with each blur; a panel a run that looked.

    These are recorded runs of each length, not the leading one alone: a longer one of
    few conditions says what more epochs change.

    Returns
    -------
    dict
        Of the longest: `long_epochs`, its epochs; and the gains of the least and of the
        most blurred teacher, `gain_sharp_…` and `gain_blurred_…`, `early`, where the
        leading run ends, and `late`, at its own end; with `long_blur`, that blur. Of
        all its blurs, in words: `long_gains`, what the paper prints (`long_printed`)
        and the gains over the control (`long_over`).
    """
    panels: dict[int, pd.DataFrame] = {}
    metrics: dict[int, pd.DataFrame] = {}
    for one in records.recorded("03_image"):
        rows = _by_epoch(one.metrics, alpha, temperature)
        epochs = one.record["parameters"]["epochs"]
        if len(rows) > len(panels.get(epochs, ())):  # the most seeds and conditions
            panels[epochs] = rows
            metrics[epochs] = one.metrics
    drawn = {f"recorded, {n} epochs": panels[n] for n in sorted(panels)}
    live = _by_epoch(told[-1].metrics, alpha, temperature)
    if len(live):
        drawn[told[-1].name] = live
    figure, axes = plt.subplots(
        1,
        len(drawn),
        figsize=(9, 3.4),
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    blurs = sorted(set().union(*(rows["gamma"].dropna() for rows in drawn.values())))
    shades = dict(zip(blurs, plt.get_cmap("viridis")(np.linspace(0, 0.9, len(blurs)))))
    lines = {}
    for ax, (title, rows) in zip(axes[0], drawn.items()):
        plain = rows[rows["lam"] == 0]
        plots.errorbar(ax, mean_se(plain, "epoch"), "epoch", kind="no_kd")
        for gamma, part in rows[rows["lam"] > 0].groupby("gamma"):
            table = mean_se(part, "epoch").sort_values("epoch")
            name = f"with KD, γ = {gamma:g}"
            ax.plot(table["epoch"], table["mean"], label=name, color=shades[gamma])
        ax.set(xlabel="epoch", title=title)
        lines |= dict(zip(*reversed(ax.get_legend_handles_labels()), strict=True))
    axes[0][0].set(ylabel="test accuracy")
    figure.legend(lines.values(), lines.keys(), loc="outside right upper")
    plt.show()
    if not panels:
        return {}
    longest = panels[max(panels)]
    gains = _gains_by_epoch(longest)
    early = min(told[0].parameters["epochs"], max(panels))
    sharp, blurred = gains.columns.min(), gains.columns.max()
    over = metrics[max(panels)].query("metric == 'gain_over_control'")
    over = over[(over["alpha"] == alpha) & (over["temperature"] == temperature)]
    printed = records.paper("table1").query(
        f"quantity == 'accuracy_difference' and temperature == {temperature}"
    )
    return {
        "long_gains": _in_words(gains.loc[max(panels)]),
        "long_printed": _in_words(printed.set_index("gamma")["value"]),
        "long_over": _in_words(over.groupby("gamma")["value"].mean()),
        "long_epochs": max(panels),
        "long_seeds": longest["seed"].nunique(),
        "long_blur": blurred,
        "early_epochs": early,
        "gain_sharp_early": gains.loc[early, sharp],
        "gain_sharp_late": gains.loc[max(panels), sharp],
        "gain_blurred_early": gains.loc[early, blurred],
        "gain_blurred_late": gains.loc[max(panels), blurred],
    }


def _in_words(by_blur: pd.Series) -> str:
    """A value a blur: "+0.006 (γ = 0), …"."""
    return ", ".join(f"{v:+.3f} (γ = {g:g})" for g, v in by_blur.sort_index().items())


def _by_epoch(metrics: pd.DataFrame, alpha: float, temperature: float) -> pd.DataFrame:
    """The accuracies by epoch of the plain students and of those with a teacher."""
    rows = metrics[metrics["metric"] == "accuracy_by_epoch"]
    if rows.empty:
        return rows
    rows = rows[(rows["alpha"] == alpha) & (rows["lam"] < 1)]
    if "control" in rows:
        rows = rows[rows["control"].isna()]
    return rows[(rows["lam"] == 0) | (rows["temperature"] == temperature)]


def _gains_by_epoch(rows: pd.DataFrame) -> pd.DataFrame:
    """Mean gain over the seeds: a row an epoch, a column a blur."""
    plain = rows[rows["lam"] == 0].groupby("epoch")["value"].mean()
    distilled = rows[rows["lam"] > 0]
    with_teacher = distilled.pivot_table("value", "epoch", "gamma")
    return with_teacher.sub(plain, axis=0)


def by_size(told: Sequence[Evidence]) -> None:
    """I(H1;H2) and I(H2;Y) of one pair of networks by the number of images."""
    metric = "i_ts_by_size"
    one = evidences.first_with(told, metric)
    names = {"i_ts": "I(H1;H2)", "i_sl": "I(H2;Y)"}
    figure, axes = plt.subplots(1, 2, figsize=(7.5, 3.2), sharey=True)
    for ax, estimator in zip(axes, ("latent", "ksg")):
        for name, label in names.items():
            table = one.mean(f"{name}_by_size", "images", estimator=estimator)
            line = ax.plot(table["images"], table["mean"], "o-", label=label)[0]
            ends = one.mean(f"{name}_ceiling", "images", estimator=estimator)
            ends = ends[np.isfinite(ends["mean"])]
            ax.plot(
                ends["images"],
                ends["mean"],
                ":",
                color=line.get_color(),
                label=f"the most it can say of {label}",
            )
        ax.set(xscale="log", xlabel="images", title=estimator)
        ax.set_xticks(table["images"], [f"{n:.0f}" for n in table["images"]])
        ax.minorticks_off()
    axes[0].set(ylabel="nats", ylim=(0, None))
    axes[0].legend(fontsize="small")
    plt.show()


def _estimators(told: Sequence[Evidence]) -> list[str]:
    """Those of all runs, the paper's first."""
    found = {}
    for one in told:
        default = one.defaults.get("estimator", "latent")
        rows = one.rows("i_sl")
        names = rows["estimator"].dropna() if "estimator" in rows else [default]
        found |= dict.fromkeys(names)
    return sorted(found, key=lambda name: name != "lmi")


def _informations(
    told: Sequence[Evidence], metric: str, where: Mapping[str, Any]
) -> dict[str, tuple[str, dict[str, Any]]]:
    label = {"i_ts": "I(H1;H2)", "gap": "gap"}[metric]
    return {
        f"{label} by {name}": (metric, {**where, "estimator": name})
        for name in _estimators(told)
    }


def _over_samples(
    one: Evidence, metric: str, found: pd.DataFrame, by: Sequence[str], **where: Any
) -> pd.DataFrame:
    """The table of a metric with the luck of the test images, which all seeds share, in
    its errors; so that a run of one seed has one.
    """
    images = scorecard.shared_test_samples(one.parameters, where)
    if metric in ("student_accuracy", "student_accuracy_kd"):
        error = scorecard.binomial_error(found["mean"], images)
    elif metric in ("gain", "gain_over_control"):
        reached = one.mean("student_accuracy_kd", by, **{**where, **DISTILLED})
        reached = found[by].merge(reached, how="left", on=by)["mean"]
        error = scorecard.paired_bound(reached, reached - found["mean"], images)
        own = one.mean("gain_test_se", by, **where)
        if metric == "gain" and len(own):
            known = found[by].merge(own, how="left", on=by)["mean"].to_numpy()
            error = np.where(np.isfinite(known), known, error)
    else:
        return found
    se = np.hypot(found["se"].fillna(0), np.nan_to_num(error))
    return found.assign(se=se.where(np.isfinite(error), found["se"]))


def _beside(
    told: Sequence[Evidence],
    by: Mapping[str, str],
    wanted: Mapping[str, tuple[str, Mapping[str, Any]]],
) -> pd.DataFrame:
    """One row a condition, a column for each metric of each run that measured it."""
    table = pd.DataFrame(columns=list(by))
    for header, (metric, where) in wanted.items():
        for one in told:
            found = one.mean(metric, list(by), **where)
            found = _over_samples(one, metric, found, list(by), **where)
            name = f"{header}, {one.name}"
            found[name] = [plots.pm(*v) for v in zip(found["mean"], found["se"])]
            if len(found):
                table = table.merge(found[[*by, name]], how="outer", on=list(by))
    return table.sort_values(list(by)).fillna("–").rename(columns=dict(by))
