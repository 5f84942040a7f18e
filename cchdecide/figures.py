"""The figure of `cch assess`, and the colours and number format that the book shares
with it.

Colours are Okabe and Ito's, which colour-blind readers can tell apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from cchlib.criterion.cch import Assessment

COLORS = {
    "teacher": "#009E73",
    "no_kd": "#0072B2",
    "kd": "#D55E00",
    "i_ts": "#D55E00",
    "i_sl": "#0072B2",
    "i_tl": "#009E73",
    "paper": "#555555",
    "truth": "#000000",
    "gap": "#CC79A7",
    "other": "#E69F00",
}
MARKERS = {
    "teacher": "D",
    "no_kd": "s",
    "kd": "o",
    "i_ts": "o",
    "i_sl": "s",
    "i_tl": "D",
    "paper": "x",
}
LABELS = {
    "teacher": "teacher",
    "no_kd": "student without KD",
    "kd": "student with KD",
    "i_ts": r"$I(H_1;H_2)$",
    "i_sl": r"$I(H_2;Y)$",
    "i_tl": r"$I(H_1;Y)$",
    "paper": "paper",
}


def pm(mean: float, se: float | None = None, *, digits: int = 1) -> str:
    """A value as "0.812 ± 0.004", rounded to `digits` significant digits of its
    uncertainty.
    """
    if mean is None or not math.isfinite(mean):
        return "–"
    if se is None or not math.isfinite(se):
        return f"{mean:.3g}"
    # what rounding leaves of equal values is no spread
    if abs(se) <= 1e-12 * abs(mean):
        return f"{mean:.4g} ± 0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(se))))
    return f"{mean:.{places}f} ± {se:.{places}f}"


def plain_text(name: object) -> str:
    """A name as matplotlib shows it letter by letter: "$" begins no formula."""
    return str(name).replace("$", r"\$")


def draw(assessments: Mapping[str, Assessment]) -> Figure:
    """The two terms of each teacher, left, and their gap with its interval against
    zero, right; an arrow where the interval has no end.
    """
    height = 1.7 + 0.45 * len(assessments)
    figure, (terms, gaps) = plt.subplots(
        1, 2, figsize=(8.0, height), layout="constrained", sharey=True
    )
    rows = range(len(assessments))[::-1]
    drawn = [0.0, *(a.gap for a in assessments.values())]
    drawn += [end for a in assessments.values() for end in a.gap_interval]
    known = [value for value in drawn if math.isfinite(value)]
    beyond = 0.12 * (max(known) - min(known)) or 1.0
    edges = min(known) - beyond, max(known) + beyond
    for row, a in zip(rows, assessments.values()):
        for kind, estimate in (("i_ts", a.i_ts), ("i_sl", a.i_sl)):
            terms.plot(
                estimate.value,
                row,
                MARKERS[kind],
                color=COLORS[kind],
                label=LABELS[kind] if row == 0 else None,
            )
        (low, high), color = (
            a.gap_interval,
            {
                "distil": COLORS["kd"],
                "do not distil": COLORS["no_kd"],
                "undecided": "0.45",
            }[a.verdict],
        )
        shown = max(low, edges[0]), min(high, edges[1])
        gaps.plot(shown, [row, row], color=color, lw=2)
        for end, place, arrow in zip((low, high), shown, "<>"):
            if math.isinf(end):
                gaps.plot(place, row, arrow, color=color)
        gaps.plot(a.gap, row, "o", color=color)
        gaps.annotate(
            a.verdict,
            (a.gap, row),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    gaps.axvline(0, color="0.2", lw=0.8)
    terms.axvline(0, color="0.85", lw=0.8)
    terms.set(
        xlabel="mutual information (nats)",
        yticks=list(rows),
        yticklabels=[plain_text(name) for name in assessments],
        ylim=(-0.6, len(assessments) - 0.4),
    )
    figure.legend(
        *terms.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=2,
        frameon=False,
    )
    gaps.set(xlabel=r"gap $I(H_1;H_2)-I(H_2;Y)$ (nats)")
    return figure
