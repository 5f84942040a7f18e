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

from cchlib.criterion.figures import COLORS, LABELS, MARKERS, pm

__all__ = [
    "COLORS",
    "LABELS",
    "MARKERS",
    "errorbar",
    "gap_and_gain",
    "mean_se",
    "mean_se_over_splits",
    "pm",
    "show_table",
    "use_style",
]


MANY_COLUMNS = 8  # of a table; beyond them it is set in smaller type


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
    widened by
    ``√(1 + J · n_test / n_train)``, the corrected resampled error of Nadeau & Bengio (2003).

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
    """A line with error bars; `kind` (a key of COLORS) sets colour, marker and label."""
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


def show_table(frame: pd.DataFrame, caption: str = ""):
    """Display a frame as a plain HTML table with a caption and no index.

    One with more than `MANY_COLUMNS` columns is set smaller, and a number stays on one
    line with its error.
    """
    from IPython.display import HTML, display

    shown = frame.copy()
    for name in shown.select_dtypes("floating"):
        shown[name] = [_four_digits(value) for value in shown[name]]
    table = shown.to_html(
        index=False,
        border=0,
        classes="table cch-table",
        na_rep="–",
        justify="left",
    )
    table = table.replace(" ± ", "&nbsp;±&nbsp;")
    if caption:
        head, rest = table.split(">", 1)
        table = f"{head}>\n<caption>{caption}</caption>{rest}"
    wide = " wide" if frame.shape[1] > MANY_COLUMNS else ""
    display(HTML(f'<div class="cch-table-wrap{wide}">{table}</div>'))


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
    shaded quadrants.
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
