"""One style for every figure and table of the book, and the few that several chapters
share.

Colours are Okabe and Ito's, which colour-blind readers can tell apart; lines differ in
marker and dash too.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from cchbook.chapters.information import sample_size, saturation
from cchbook.chapters.metrics import mean_se
from cchdecide.figures import COLORS, LABELS, MARKERS, pm

__all__ = [
    "COLORS",
    "LABELS",
    "MARKERS",
    "errorbar",
    "gap_and_gain",
    "pm",
    "show_table",
    "use_style",
]


MANY_COLUMNS = 8  # of a table; beyond them it is set in smaller type
#: the synthetic chapter's two readings of one setting
READINGS = {"appendix_b": "App. B", "scaled": "Eq. 7 scaled"}


def named(reading: str) -> str:
    """A reading of Section 4.1's setting in words, as figures and tables name it."""
    return READINGS.get(reading, reading)


def use_style() -> None:
    """Apply the book's matplotlib style."""
    mpl.rcParams.update(
        {
            "figure.figsize": (7.0, 3.2),
            "figure.dpi": 110,
            "savefig.dpi": 150,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "white",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.alpha": 0.25,
            "grid.linewidth": 0.6,
            "font.size": 9.5,
            "axes.titlesize": 10,
            "axes.labelsize": 9.5,
            "legend.frameon": False,
            "legend.fontsize": 8.5,
            "lines.linewidth": 1.6,
            "lines.markersize": 4.5,
            "axes.prop_cycle": mpl.cycler(
                color=["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9"]
            ),
            "image.cmap": "cividis",
            "svg.fonttype": "path",
        }
    )


def errorbar(
    ax: Axes,
    frame: pd.DataFrame,
    x: str,
    y: str = "mean",
    err: str = "se",
    *,
    kind: str | None = None,
    label: str | None = None,
    color: str | None = None,
    **options,
) -> None:
    """A line with error bars; `kind` (a key of COLORS) sets
    colour, marker and label.
    """
    frame = frame.sort_values(x)
    options = {
        "color": color or COLORS.get(kind),
        "marker": MARKERS.get(kind, "o"),
        "label": label if label is not None else LABELS.get(kind),
        "capsize": 2.5,
    } | options
    ax.errorbar(
        frame[x],
        frame[y],
        yerr=frame[err].fillna(0) if err in frame else None,
        **options,
    )


def show_table(
    frame: pd.DataFrame, caption: str = "", *, folded: Sequence[str] = (), keys: int = 2
) -> None:
    """Display a frame as a plain HTML table with a caption and no index.

    Parameters
    ----------
    frame : DataFrame
        A column without any entry is left out. With more than `MANY_COLUMNS` columns
        the table is set smaller; an error may stand below its number.
    caption : str, optional
    folded : sequence of str, optional
        Columns that a reader may skip. They stand in a second table, which is folded,
        beside the first `keys` columns. Names that the frame lacks are ignored.
    keys : int, optional
        Leading columns that say which row it is.
    """
    from IPython.display import HTML, display

    if len(frame):
        blank = frame.isna() | frame.isin(["–", ""])
        frame = frame.loc[:, ~blank.all()]
    rest = [name for name in frame.columns[keys:] if name in folded]
    display(HTML(_html(frame.drop(columns=rest), caption)))
    if rest:
        more = _html(frame[[*frame.columns[:keys], *rest]], "")
        summary = "<summary>More columns of this table</summary>"
        display(HTML(f'<details class="cch-more">{summary}{more}</details>'))


def _html(frame: pd.DataFrame, caption: str) -> str:
    shown = frame.rename_axis(columns=None)
    for name in shown.select_dtypes("floating"):
        shown[name] = [_four_digits(value) for value in shown[name]]
    table = shown.to_html(
        index=False,
        border=0,
        classes="table cch-table",
        na_rep="–",
        justify="left",
    )
    table = table.replace(" ± ", " ±&nbsp;")
    if caption:
        head, rest = table.split(">", 1)
        table = f"{head}>\n<caption>{caption}</caption>{rest}"
    columns = frame.shape[1]
    wide = " wide" if columns > MANY_COLUMNS else ""
    return f'<div class="cch-table-wrap{wide}">{table}</div>'


def _four_digits(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.4g}"


def gap_and_gain(
    frame: pd.DataFrame,
    *,
    gap: str = "gap",
    gain: str = "gain",
    gap_se: str = "gap_se",
    gain_se: str = "gain_se",
    by: str | None = None,
    ax: Axes | None = None,
    gain_label: str = "gain of distillation",
) -> Axes:
    """The hypothesis in one picture: MI gap (nats) against gain; the CCH predicts the
    shaded quadrants. A triangle marks lower bounds, by a column ``saturated``.
    """
    ax = ax or plt.gca()
    for i, (name, part) in enumerate(
        frame.groupby(by, sort=False) if by else [(None, frame)]
    ):
        bars = {
            k: part[c].fillna(0) if c in part else None
            for k, c in (("xerr", gap_se), ("yerr", gain_se))
        }
        ax.errorbar(
            part[gap],
            part[gain],
            **bars,
            fmt="osD^vP"[i % 6],
            capsize=2,
            label=name,
            alpha=0.85,
        )
    if gap == "gap" and "saturated" in frame and frame["saturated"].any():
        bounds = frame[frame["saturated"].astype(bool)]
        ax.plot(
            bounds[gap],
            bounds[gain],
            ">",
            ms=10,
            mfc="none",
            mec="0.25",
            label="saturated: at least",
        )
    spans = [np.array(limits) for limits in (ax.get_xlim(), ax.get_ylim())]
    (x0, x1), (y0, y1) = [(min(s[0], -0.02), max(s[1], 0.02)) for s in spans]
    ax.fill_between([0, x1], 0, y1, color=COLORS["teacher"], alpha=0.08, zorder=0)
    ax.fill_between([x0, 0], y0, 0, color=COLORS["teacher"], alpha=0.08, zorder=0)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.axvline(0, color="0.4", lw=0.8)
    ax.set(
        xlim=(x0, x1),
        ylim=(y0, y1),
        xlabel=r"MI gap $I(H_1;H_2)-I(H_2;Y)$ (nats)",
        ylabel=gain_label,
    )
    if by:
        ax.legend()
    return ax


# Chapter 2 ----------------------------------------------------------------------------


def least_squares(table: pd.DataFrame, lam: float) -> None:
    """Gain over the plain student, and over the best shrunken one, against σ12.

    Marks are means of simulated students with two standard errors, lines the exact
    expectation; shaded where the criterion says that it helps.
    """
    readings = list(dict.fromkeys(table["reading"]))
    figure, axes = plt.subplots(
        len(readings), 2, figsize=(7.4, 2.7 * len(readings)), squeeze=False
    )
    panels = (
        ("gain", "cch", f"gain, λ = {lam}"),
        ("beyond", "shrinkage", "added to the best shrunken student"),
    )
    for row, reading in zip(axes, readings):
        part = table[table["reading"] == reading].sort_values("sigma12")
        for ax, (value, says, title) in zip(row, panels):
            ax.errorbar(
                part["sigma12"],
                part[value],
                2 * part[f"{value}_se"],
                fmt="o",
                color=COLORS["kd"],
                capsize=2.5,
                label="students, ± 2 s.e.",
            )
            ax.plot(
                part["sigma12"],
                part[f"{value}_exact"],
                color=COLORS["truth"],
                lw=1,
                label="expected, exactly",
            )
            ax.axhline(0, color="0.4", lw=0.8)
            ax.fill_between(
                part["sigma12"],
                *ax.get_ylim(),
                where=part[says].astype(bool),
                color=COLORS["teacher"],
                alpha=0.12,
                lw=0,
                zorder=0,
                label="CCH says: distil" if says == "cch" else "ρ(T,S) > ρ(T,y) ρ(S,y)",
            )
            ax.set(xlabel=r"$\sigma_{12}$", title=f"{named(reading)}: {title}")
        row[0].set_ylabel("squared units of y")
    for ax in axes[0]:
        ax.legend()
    plt.show()


def two_runs(
    ax: Axes, evidence: Sequence, metric: str, x: str, *, kind: str, label: str, **where
) -> None:
    """The recorded run as a line, the live one as hollow marks."""
    for i, one in enumerate(evidence):
        table = one.mean(metric, x, **where)
        if not len(table):
            continue
        look = (
            {"label": label}
            if i == 0
            else {
                "linestyle": "",
                "markerfacecolor": "white",
                "alpha": 0.8,
                "label": "_live",
            }
        )
        errorbar(ax, table, x, kind=kind, **look)


def _swept(evidence: Sequence, name: str) -> list:
    """The values of a parameter in the leading run."""
    parameters = evidence[0].parameters
    return parameters.get(name) or evidence[-1].parameters[name]


def synthetic_errors(evidence: Sequence, lam: float) -> None:
    """Figure 1's left side: test error against σ12,
    a panel a reading and batch size.
    """
    readings, batch_sizes = (_swept(evidence, n) for n in ("readings", "batch_sizes"))
    figure, axes = plt.subplots(
        len(readings),
        len(batch_sizes),
        figsize=(max(4.6, 2.7 * len(batch_sizes) + 0.4), 2.7 * len(readings)),
        sharey="row",
        squeeze=False,
    )
    for row, reading in zip(axes, readings):
        for ax, size in zip(row, batch_sizes):
            where = {"reading": reading, "batch_size": size}
            plain = {"lam": 0.0, "control": None}
            two_runs(
                ax,
                evidence,
                "test_mse",
                "sigma12",
                kind="no_kd",
                label=LABELS["no_kd"],
                **where,
                **plain,
            )
            told = {"lam": lam, "control": None}
            two_runs(
                ax,
                evidence,
                "test_mse",
                "sigma12",
                kind="kd",
                label=f"with KD, λ = {lam}",
                **where,
                **told,
            )
            shrunk = {"lam": lam, "control": "zero"}
            two_runs(
                ax,
                evidence,
                "test_mse",
                "sigma12",
                kind="other",
                label="teacher says 0",
                **where,
                **shrunk,
            )
            two_runs(
                ax,
                evidence,
                "teacher_mse",
                "sigma12",
                kind="teacher",
                label="teacher",
                **where,
            )
            if reading == "scaled":
                ax.axhline(1, color="0.4", lw=0.8, ls=":")
            ax.set(
                xlabel=r"$\sigma_{12}$",
                title=f"{named(reading)}, batch {f'{size}' if size else 'full'}",
            )
        row[0].set_ylabel("test error (squared units of y)")
    axes[0, 0].legend()
    plt.show()


def synthetic_information(evidence: Sequence, batch_size: int = 0) -> None:
    """Figure 1's right side: information between hidden layers,
    a panel an estimator; dashed from where on a run's estimates are saturated, where
    some are.
    """
    readings = _swept(evidence, "readings")
    estimators = _swept(evidence, "mi_estimators")
    figure, axes = plt.subplots(
        len(readings),
        len(estimators),
        figsize=(max(4.6, 3.6 * len(estimators)), 2.7 * len(readings)),
        sharey="row",
        squeeze=False,
    )
    for row, reading in zip(axes, readings):
        for ax, estimator in zip(row, estimators):
            where = {
                "reading": reading,
                "batch_size": batch_size,
                "estimator": estimator,
            }
            for metric in ("i_ts", "i_sl"):
                two_runs(
                    ax,
                    evidence,
                    metric,
                    "sigma12",
                    kind=metric,
                    label=LABELS[metric],
                    **where,
                )
                exact = evidence[0].mean(f"linear_{metric}", "sigma12", reading=reading)
                ax.plot(
                    exact["sigma12"], exact["mean"], color=COLORS[metric], lw=1, ls=":"
                )
            for one in evidence:
                n = sample_size(one.parameters, estimator)
                most = saturation(estimator, n)
                shown = one.mean("i_ts", "sigma12", **where)
                if (shown["mean"] >= most).any():
                    told = f"saturated above ({one.name})"
                    ax.axhline(most, color="0.5", lw=0.8, ls="--", label=told)
                    ax.legend()
            ax.set(xlabel=r"$\sigma_{12}$", title=f"{named(reading)}, by {estimator}")
        row[0].set_ylabel("mutual information (nats)")
    axes[0, 0].legend()
    plt.show()


def synthetic_weights(evidence: Sequence, batch_size: int = 0) -> None:
    """Figure 4: test error against σ12, a panel a reading and λ."""
    readings, lams = (_swept(evidence, name) for name in ("readings", "lams"))
    lams = [lam for lam in lams if lam != 0.3] or lams
    figure, axes = plt.subplots(
        len(readings),
        len(lams),
        figsize=(max(4.6, 2.2 * len(lams) + 0.6), 2.6 * len(readings)),
        sharey="row",
        squeeze=False,
    )
    for row, reading in zip(axes, readings):
        for ax, lam in zip(row, lams):
            where = {"reading": reading, "batch_size": batch_size, "control": None}
            two_runs(
                ax,
                evidence,
                "test_mse",
                "sigma12",
                kind="no_kd",
                label=LABELS["no_kd"],
                lam=0.0,
                **where,
            )
            two_runs(
                ax,
                evidence,
                "test_mse",
                "sigma12",
                kind="kd",
                label=LABELS["kd"],
                lam=lam,
                **where,
            )
            ax.set(title=f"{named(reading)}, λ = {lam}", xlabel=r"$\sigma_{12}$")
        row[0].set_ylabel("test error (squared units of y)")
    axes[0, 0].legend()
    plt.show()


# Chapter 5 ----------------------------------------------------------------------------


def cancer_noise(
    one, cohort: str, pair: tuple[str, str], table: str | None = None
) -> None:
    """Information, the teacher's F1 and the gain against the noise, by definition.

    Crosses are the paper's, of `table`.
    """
    at = {"cohort": cohort, "teacher": pair[0], "student": pair[1]}
    definitions = dict.fromkeys(
        [one.parameters["noise_definition"], *one.parameters["noise_definitions"]]
    )
    figure, axes = plt.subplots(1, 3, figsize=(8.4, 2.9))
    panels = {
        "i_ts": r"$I(H_1;H_2)$ (nats)",
        "teacher_f1": "F1 of the teacher",
        "gain": "difference in weighted F1",
    }
    for i, definition in enumerate(definitions):
        for ax, (metric, label) in zip(axes, panels.items()):
            names = [metric, f"{metric}_{definition}"] if i else [metric]
            rows = one.metrics[one.metrics["metric"].isin(names)]
            for name, value in at.items():
                rows = rows[rows[name] == value]
            if i:  # without noise all definitions are one
                rows = rows[(rows["metric"] != metric) | (rows["noise_level"] == 0)]
            if "estimator" in rows and metric == "i_ts":
                told = rows["estimator"].dropna().unique()
                chosen = "lmi" if "lmi" in told else next(iter(told), None)
                rows = rows[rows["estimator"].isna() | (rows["estimator"] == chosen)]
            rows = rows[rows["control"].isna()] if "control" in rows else rows
            told = type(one)(one.name, rows.assign(metric=metric), one.parameters, "")
            errorbar(
                ax,
                told.mean(metric, "noise_level"),
                "noise_level",
                label=definition,
                marker="osD"[i % 3],
            )
            ax.set(xlabel="noise level", ylabel=label)
    i_sl = one.mean("i_sl", "noise_level", **at)["mean"]
    axes[0].axhline(i_sl.iloc[0], color=COLORS["i_sl"], ls="--", label=LABELS["i_sl"])
    axes[2].axhline(0, color="0.4", lw=0.8)
    if table is not None:
        from cchbook.runs import records

        said = records.paper(table)
        said = said.pivot_table(index="noise_level", columns="quantity", values="value")
        for ax, quantity in ((axes[0], "i_ts"), (axes[2], "weighted_f1_difference")):
            ax.plot(
                said.index, said[quantity], "x", color=COLORS["paper"], label="paper"
            )
    axes[0].legend()
    plt.show()


# Chapter 6 ----------------------------------------------------------------------------


def fusion_diagram() -> None:
    """Figure 3: direct fusion and Fusion+KD."""
    boxes = {
        "modality 1\n(teacher)": (0, 2),
        "modality 2\n(student)": (0, 0),
        "encoder 1": (1.4, 2),
        "encoder 2": (1.4, 0),
        "head 1": (2.9, 2),
        "head 2": (2.9, 0),
        "joint head": (4.1, 1),
        "CE with y": (5.5, 1),
    }
    arrows = [
        ("modality 1\n(teacher)", "encoder 1"),
        ("modality 2\n(student)", "encoder 2"),
        ("encoder 1", "head 1"),
        ("encoder 2", "head 2"),
        ("encoder 1", "joint head"),
        ("encoder 2", "joint head"),
        ("head 1", "CE with y"),
        ("joint head", "CE with y"),
        ("head 2", "CE with y"),
    ]
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 2.7))
    for ax, title in zip(axes, ("direct fusion", "Fusion+KD")):
        for label, (a, b) in boxes.items():
            color = (
                COLORS["teacher"]
                if "1" in label
                else COLORS["no_kd"]
                if "2" in label
                else "0.4"
            )
            ax.add_patch(
                FancyBboxPatch(
                    (a - 0.5, b - 0.26),
                    1,
                    0.52,
                    boxstyle="round,pad=0.03",
                    fc="white",
                    ec=color,
                    lw=1.4,
                )
            )
            ax.text(a, b, label, ha="center", va="center", fontsize=7.5)
        if title == "Fusion+KD":
            ax.annotate(
                "",
                (2.9, 0.32),
                (2.9, 1.68),
                arrowprops={"arrowstyle": "->", "color": COLORS["kd"], "lw": 2},
            )
            ax.text(
                2.9,
                1,
                "λ T² KL",
                color=COLORS["kd"],
                fontsize=8,
                ha="center",
                va="center",
                bbox={"fc": "white", "ec": "none", "pad": 1},
            )
        for (a, b), (c, d) in ((boxes[start], boxes[end]) for start, end in arrows):
            ax.annotate(
                "",
                (c - 0.55, d),
                (a + 0.55, b),
                arrowprops={"arrowstyle": "->", "color": "0.4", "lw": 0.9},
            )
        ax.set(xlim=(-0.7, 6.2), ylim=(-0.5, 2.5), title=title)
        ax.axis("off")
    plt.show()


def fusion_patients(one, tested: dict[str, int]) -> None:
    """Fusion+KD less direct fusion in test patients: a dot a run, bars are means."""
    rows = one.rows("gain_accuracy")
    groups = list(rows.groupby(["cohort", "teacher", "student"], sort=False))
    figure, ax = plt.subplots(figsize=(7.0, 0.24 * len(groups) + 0.8))
    rng = np.random.default_rng(0)
    for row, ((cohort, teacher, student), part) in enumerate(groups):
        patients = part["value"] * tested[cohort]
        place = row + rng.uniform(-0.25, 0.25, len(part))
        ax.plot(patients, place, ".", color=COLORS["kd"], alpha=0.5)
        ax.plot([patients.mean()] * 2, [row - 0.35, row + 0.35], color="black")
        ax.text(
            -0.01,
            row,
            f"{cohort}: {teacher} → {student}",
            transform=ax.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=7.5,
        )
    ax.axvline(0, color="0.4", lw=0.8)
    ax.set(
        xlabel="difference in correctly classified test patients",
        yticks=[],
        ylim=(len(groups) - 0.5, -0.5),
    )
    plt.show()


# Chapter 4 ----------------------------------------------------------------------------


def sentiment_noise(one, at: dict[str, str]) -> None:
    """Information and gain against the noise level, a line a reading of the level."""
    rows = one.rows("gain", **at)
    readings = [name for name in rows["noise"].unique() if name != "none"]
    estimator = None
    if "estimator" in one.metrics:
        told = one.rows("i_ts", **at)["estimator"].dropna().unique()
        estimator = "lmi" if "lmi" in told else next(iter(told), None)
    figure, (left, right) = plt.subplots(1, 2)
    for i, reading in enumerate(readings):
        for ax, metric, more in (
            (left, "i_ts", {"estimator": estimator} if estimator else {}),
            (right, "gain", {}),
        ):
            parts = [one.rows(metric, noise=n, **at, **more) for n in ("none", reading)]
            table = mean_se(pd.concat(parts), "level")
            errorbar(ax, table, "level", label=reading, marker="osD"[i % 3])
    i_sl = one.rows("i_sl", level=0.0, **at, **more)["value"].mean()
    left.axhline(i_sl, color=COLORS["i_sl"], ls="--", label=LABELS["i_sl"])
    right.axhline(0, color="0.4", lw=0.8)
    left.set(xlabel="noise level", ylabel=r"$I(H_1;H_2)$ (nats)")
    right.set(xlabel="noise level", ylabel="gain in weighted F1")
    left.legend()
    plt.show()


def all_conditions(table: pd.DataFrame, by: str, gain_label: str) -> None:
    """`gap_and_gain` of a table of all conditions, in a figure of its own."""
    _, ax = plt.subplots(figsize=(5.6, 3.5))
    gap_and_gain(table, by=by, ax=ax, gain_label=gain_label)
    plt.show()
