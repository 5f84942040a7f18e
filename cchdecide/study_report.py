"""`Study`, and how it is shown: in a terminal, a notebook, and a page of its own."""

from __future__ import annotations

import html
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from cchdecide.figures import COLORS, plain_text
from cchdecide.report import STYLE, _html_table, _image, _list, _plain
from cchdecide.writing import written_beside

#: criteria in plain words; the others are in `.criteria` and not shown
WORDS = {
    "cch_latent": "CCH: I(H1;H2) above I(H2;Y), by latent",
    "teacher_advantage": "The teacher is better on validation rows",
    "predicted_gain": "An imitator of the teacher promises a gain",
    "slope_test": "A little distilling helps a linear head",
    "shrinkage_test": "Distilling beats shrinking a linear head",
    "pilot": "Heads on frozen features gain (pilot)",
    "decide_verdict": "`decide`, for heads on frozen features",
}
RIGHTLY = {
    "helps": "It helps.",
    "harms": "It harms.",
    "undecided": "Undecided: it may help or harm.",
}


@dataclass(frozen=True)
class Study:
    """What distilling one view into another did.

    Attributes
    ----------
    teacher, student : str
        Names of the views.
    table : DataFrame
        A row an arm: `arm`, `accuracy` and `log_loss` (nats) or `error` (squared error
        over Var y), means over the repeats on test rows; `gain`: what the distilled
        student has over this arm, in accuracy or in error, positive where distilling
        is better; `std_error` of the gain.
    gain, std_error : float
        Over `control`, the arm named beforehand.
    interval : (float, float)
        Of the gain, at `confidence`.
    p_value : float
        Two-sided.
    verdict : {"helps", "harms", "undecided"}
    lam, temperature : float
        With the least validation loss over all repeats; each repeat took its own.
        Temperature is nan for a regression.
    criteria : DataFrame
        A row a criterion: `criterion`, `value` (mean over the first repeats),
        `std_error` (over them), `estimates` (their number), `says` ("distil", "do not
        distil", "undecided"; "" for a criterion without a zero).
    by_repeat : DataFrame
        Columns repeat, arm, and the scores.
    criteria_by_repeat : DataFrame
        Columns repeat, criterion, value.
    outputs : dict of arm -> list of arrays (n_test, K), one a repeat
        Logits on the test rows, or predictions in the labels' units.
    test_rows : list of arrays (n_test,)
    checks : list of str
        What was found about the arrays, a sentence each.
    """

    teacher: str
    student: str
    table: pd.DataFrame = field(repr=False)
    gain: float
    std_error: float
    interval: tuple[float, float]
    p_value: float
    verdict: str
    lam: float
    temperature: float
    criteria: pd.DataFrame = field(repr=False)
    by_repeat: pd.DataFrame = field(repr=False)
    criteria_by_repeat: pd.DataFrame = field(repr=False)
    outputs: dict[str, list[np.ndarray]] = field(repr=False)
    test_rows: list[np.ndarray] = field(repr=False)
    distilled: str
    control: str
    n_samples: int
    repeats: int
    pairs: float | None
    confidence: float
    discrete: bool
    seconds: float
    checks: list[str] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        return f"{sentence(self)}\n{arm_rows(self).to_string(index=False)}"

    def _repr_html_(self) -> str:
        return study_html(self)

    def __rich__(self) -> Any:
        return study_rich(self)

    def save_html(self, path: str | os.PathLike) -> Path:
        """Write a page that needs no other file; returns its path."""
        return save_study(path, {self.student: self})

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, ready for JSON."""
        return to_dict(self)


def sentence(study: Study) -> str:
    """The answer in a sentence."""
    low, high = study.interval
    unit = "accuracy" if study.discrete else "squared error over Var y"
    hidden = ""
    if study.pairs:
        hidden = f" with {study.pairs:.0%} of the training labels hidden"
    return (
        f"{RIGHTLY[study.verdict]} Distilling {study.teacher} into {study.student}"
        f"{hidden} gains {study.gain:+.3f} in {unit} over {study.control} "
        f"({study.confidence:.0%} interval {low:+.3f} to {high:+.3f}; "
        f"{study.repeats} splits of {study.n_samples} samples)."
    )


def advice(study: Study) -> str:
    """What λ and T to take, and what would decide an open answer."""
    heat = "" if np.isnan(study.temperature) else f", T = {study.temperature:g}"
    text = f"Least validation loss at λ = {study.lam:g}{heat}."
    if study.verdict != "undecided":
        return text
    half = (study.interval[1] - study.interval[0]) / 2
    return (
        f"{text} To narrow the interval takes more samples, not more splits of these: "
        f"its half-width, {half:.3f}, falls about as 1/√n, so that four times as many "
        "halve it."
    )


def arm_rows(study: Study) -> pd.DataFrame:
    """The table as texts."""
    table = study.table
    shown = {"arm": table["arm"]}
    for score in ("accuracy", "error", "log_loss"):
        if score in table:
            shown[score.replace("_", " ")] = [f"{v:.3f}" for v in table[score]]
    gains = []
    for mean, error in zip(table["gain"], table["std_error"]):
        gains.append("–" if np.isnan(mean) else f"{mean:+.3f} ± {error:.3f}")
    shown["distilled gains"] = gains
    return pd.DataFrame(shown)


def criteria_rows(study: Study) -> pd.DataFrame:
    """What was known before distilling, at most a row a criterion in plain words."""
    rows = []
    for row in study.criteria.itertuples():
        if row.criterion in WORDS:
            value = "–" if np.isnan(row.value) else f"{row.value:+.3g}"
            rows.append((WORDS[row.criterion], value, row.says))
    return pd.DataFrame(rows, columns=["before distilling", "value", "says"])


def study_rich(study: Study) -> Group:
    """The answer, the arms, the criteria; within 80 columns."""
    parts: list[Any] = [Text(sentence(study), style="bold"), Text(advice(study))]
    for frame in (arm_rows(study), criteria_rows(study)):
        if not len(frame):
            continue
        table = Table(box=box.SIMPLE_HEAD)
        for number, column in enumerate(frame):
            table.add_column(column, justify="left" if number == 0 else "right")
        for values in frame.itertuples(index=False):
            table.add_row(*[Text(str(value)) for value in values])
        parts.append(table)
    parts += [Text(f"Checked: {found}", style="dim") for found in study.checks]
    return Group(*parts)


def study_html(study: Study) -> str:
    """The same as a part of a page."""
    parts = [
        f"<p class='verdict'>{html.escape(sentence(study))}</p>",
        f"<p>{html.escape(advice(study))}</p>",
        f"<div class='wide'>{_html_table(arm_rows(study))}</div>",
    ]
    criteria = criteria_rows(study)
    if len(criteria):
        parts.append(
            "<details><summary>What was known before distilling</summary>"
            "<p>Chapter 11 of the book says what each of these is worth as a rule, on "
            "public data sets.</p>"
            f"<div class='wide'>{_html_table(criteria)}</div></details>"
        )
    checked = _list("Checked", study.checks)
    parts.append(f"<details><summary>The arrays</summary>{checked}</details>")
    return "".join(parts)


def draw_study(study: Study) -> Figure:
    """The gain over every arm, with its interval."""
    from scipy import stats

    table = study.table.dropna(subset=["gain"])
    reach = stats.t.ppf((1 + study.confidence) / 2, study.repeats - 1)
    figure, ax = plt.subplots(
        figsize=(6.0, 1.0 + 0.35 * len(table)), layout="constrained"
    )
    places = range(len(table))[::-1]
    for place, row in zip(places, table.itertuples()):
        named = row.arm == study.control
        color = COLORS["kd"] if named else COLORS["no_kd"]
        ax.errorbar(
            row.gain, place, xerr=reach * row.std_error, fmt="o", color=color, capsize=3
        )
    ax.axvline(0, color="0.2", lw=0.8)
    unit = "accuracy" if study.discrete else "squared error over Var y"
    ax.set(
        xlabel=f"gain of {plain_text(study.distilled)} in {unit} over …",
        yticks=list(places),
        yticklabels=list(table["arm"]),
    )
    return figure


def to_dict(study: Study) -> dict[str, Any]:
    """Plain numbers and texts, ready for JSON (nan as None)."""
    frames = {"table": study.table, "criteria": study.criteria}
    plain = {
        name: [
            {key: _plain(value) for key, value in row.items()}
            for row in frame.to_dict("records")
        ]
        for name, frame in frames.items()
    }
    return {
        "teacher": study.teacher,
        "student": study.student,
        "verdict": study.verdict,
        "gain": _plain(study.gain),
        "std_error": _plain(study.std_error),
        "interval": [_plain(end) for end in study.interval],
        "p_value": _plain(study.p_value),
        "over": study.control,
        "lam": _plain(study.lam),
        "temperature": _plain(study.temperature),
        "pairs": study.pairs,
        "repeats": study.repeats,
        "n_samples": study.n_samples,
        "checks": study.checks,
        **plain,
    }


def overview(studies: Mapping[Any, Study]) -> pd.DataFrame:
    """A row a pair, as texts."""
    rows = []
    for study in studies.values():
        low, high = study.interval
        rows.append(
            (
                study.teacher,
                study.student,
                study.verdict,
                f"{study.gain:+.3f}",
                f"{low:+.3f} to {high:+.3f}",
            )
        )
    return pd.DataFrame(
        rows, columns=["teacher", "student", "distilling", "gain", "interval"]
    )


def save_study(
    path: str | os.PathLike,
    studies: Mapping[Any, Study],
    title: str = "Should this modality teach that one?",
) -> Path:
    """Write a page that needs no other file."""
    parts = [f"<h1>{html.escape(title)}</h1>"]
    if len(studies) > 1:
        parts.append(f"<div class='wide'>{_html_table(overview(studies))}</div>")
    for study in studies.values():
        if len(studies) > 1:
            name = f"{study.teacher} → {study.student}"
            parts.append(f"<h2>{html.escape(name)}</h2>")
        alt = "Gain of the distilled student over each arm: " + "; ".join(
            f"{row.arm} {row.gain:+.3f}"
            for row in study.table.dropna(subset=["gain"]).itertuples()
        )
        parts += [study_html(study), _image(draw_study(study), alt)]
    style = STYLE + "div.wide { overflow-x: auto; }"
    text = (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{style}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )
    path = Path(path)
    with written_beside(path) as part:
        part.write_text(text, encoding="utf-8")
    return path
