"""`Decision` and `Ranking`, and how they are shown: a table in a terminal, in a
notebook, and a page of its own.
"""

from __future__ import annotations

import base64
import html
import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from rich.console import Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cchdecide.figures import COLORS, draw, plain_text
from cchdecide.heads import Pilot
from cchdecide.worth import worth_of
from cchdecide.writing import expanded, written_beside
from cchlib.criterion.cch import Assessment, between
from cchlib.gaussian import additive_lambda

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto;
       padding: 0 1rem; color: #222; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 1rem 0;
        display: block; max-width: 100%; overflow-x: auto; }
th, td { border-bottom: 1px solid #ccc; padding: 0.3rem 0.6rem; text-align: left; }
@media (max-width: 30rem) { th, td { padding: 0.25rem 0.3rem; font-size: 0.78rem; } }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
p.verdict { font-size: 1.15rem; font-weight: 600; border-left: 4px solid #0072B2;
            padding-left: 0.8rem; }
img { max-width: 100%; height: auto; }
details { margin: 1rem 0; overflow-x: auto; }
summary { cursor: pointer; color: #0072B2; }
"""
#: the rows that matter, in plain words
PLAIN = {
    "predicted_gain": "heads: gain at the best λ, predicted ({unit})",
    "pilot": "heads: gain over the plain student, tried",
    "pilot_over_smoothing": "heads: gain over label smoothing",
    "pilot_over_itself": "heads: gain over the student as its own teacher",
    "cch": "CCH: I(H1;H2) − I(H2;Y) ({unit})",
}
PLAIN_WITH_PAIRS = {
    "pilot_over_smoothing": "heads: gain over label smoothing with the pairs",
    "pilot_over_itself": "heads: gain over self-training on the pairs",
}
#: whose worth is told in a sentence
WORTHY = {
    "predicted_gain": "the predicted gain",
    "pilot": "the pilot",
    "cch": "the CCH",
}
#: what the pilot's gains are over, and their colours
BASELINES = {
    "gain": ("the plain student", COLORS["no_kd"]),
    "over_smoothing": ("label smoothing", COLORS["kd"]),
    "over_itself": ("itself as teacher", COLORS["teacher"]),
}


@dataclass(frozen=True)
class Decision:
    """What `decide` says of one teacher.

    Attributes
    ----------
    code : {"distil", "do not distil", "undecided"}
    verdict : str
        A sentence with its reason.
    table : DataFrame
        A row a criterion: criterion, question, estimate, low, high, p_value, unit,
        answer ("yes", "no", "undecided"), worth.
    lam, temperature : float
        Of the pilot, λ as in Eq. 2; nan without one.
    n_samples, n_pairs : int
        Subjects with a label, and rows without one that were heard.
    curve : DataFrame or None
        Predicted gain for every λ of Eq. 4 and its weight λ/(1 + λ) in Eq. 2, with a
        band that holds for all λ together.
    pilot : Pilot or None
    assessment : Assessment or None
        Of the CCH.
    not_asked : list of str
        Questions that the arrays could not answer, and what they lack.
    checks : list of str
        What was found about the arrays: how rows and columns were matched, the form of
        the outputs, repeated rows, groups.
    """

    code: str
    verdict: str
    table: pd.DataFrame = field(repr=False, compare=False)
    lam: float
    temperature: float
    n_samples: int
    n_pairs: int
    discrete: bool
    confidence: float
    smallest: float
    curve: pd.DataFrame | None = field(repr=False, compare=False)
    pilot: Pilot | None = field(repr=False, compare=False)
    assessment: Assessment | None = field(repr=False, compare=False)
    not_asked: list[str] = field(repr=False, compare=False)
    checks: list[str] = field(default_factory=list, repr=False, compare=False)

    @property
    def additive_lam(self) -> float:
        """λ of Eq. 4 that weighs the two losses as `lam` does in Eq. 2."""
        return float(additive_lambda(self.lam)) if np.isfinite(self.lam) else np.nan

    @property
    def r(self) -> float:
        """All rows over the labelled ones, (n + m)/n; 1 without pairs."""
        return (self.n_samples + self.n_pairs) / self.n_samples

    @property
    def rows(self) -> str:
        """How many rows were heard, in words."""
        if not self.n_pairs:
            return f"{self.n_samples} subjects"
        return (
            f"{self.n_samples} subjects and {self.n_pairs} pairs without a label, "
            f"r = (n + m)/n = {self.r:.3g}"
        )

    @property
    def reasons(self) -> list[str]:
        """What the rows say, a sentence each, and what was not asked."""
        said = [_sentence(row) for _, row in self.table.iterrows()]
        return said + self.notes

    @property
    def notes(self) -> list[str]:
        """What was known of the CCH's terms, and what was not asked."""
        said = [] if self.assessment is None else list(self.assessment.notes)
        if self.assessment is not None and self.n_pairs:
            said.append(
                f"it asks of labelled rows alone; with r = {self.r:.3g} rows for each "
                "of them its bar is too high by the theory, I(T;S) > I(S; S + r·e)."
            )
        return [f"The CCH: {note}" for note in said] + [
            f"Not asked: {why}." for why in self.not_asked
        ]

    def __repr__(self) -> str:
        rows = self.table.set_index("criterion")["answer"]
        answers = ", ".join(f"{name} {answer}" for name, answer in rows.items())
        return (
            f"{self.verdict}\n{self.rows}; {answers}\n"
            ".table, .reasons and .save_html(path) say more"
        )

    def __str__(self) -> str:
        return self.verdict

    def _repr_html_(self) -> str:
        return decision_html(self)

    def __rich__(self):
        return decision_rich(self)

    def save_html(self, path: str | os.PathLike, title: str = "Should I distil?"):
        """Write a page that needs no other file; returns its path."""
        return save_page(path, {"teacher": self}, title=title)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, ready for JSON (nan and infinity as None)."""
        return {
            "code": self.code,
            "verdict": self.verdict,
            "lam": _plain(self.lam),
            "additive_lam": _plain(self.additive_lam),
            "temperature": _plain(self.temperature),
            "n_samples": self.n_samples,
            "n_pairs": self.n_pairs,
            "r": self.r,
            "classes": self.discrete,
            "confidence": self.confidence,
            "smallest": self.smallest,
            "rows": [
                {key: _plain(value) for key, value in row.items()}
                for row in self.table.to_dict("records")
            ],
            "not_asked": list(self.not_asked),
            "checks": list(self.checks),
        }


@dataclass(frozen=True)
class Ranking:
    """What `decide_teachers` says of several teachers.

    Attributes
    ----------
    decisions : dict of name -> Decision, best first
    table : DataFrame, best first
        teacher, code, pilot_gain, low, high, behind_best with behind_low and
        behind_high (paired over folds), predicted_gain, logme and width (number of
        columns), which know nothing of the student, gap.
    mixture : dict of name -> share, or None
        The best mixture by held-out residuals, "label" among the names; their ratios to
        the label's are Eq. 4's λ.
    """

    decisions: dict[str, Decision]
    table: pd.DataFrame = field(repr=False)
    mixture: dict[str, float] | None

    @property
    def best(self) -> str:
        """The name of the first teacher."""
        return next(iter(self.decisions))

    @property
    def verdict(self) -> str:
        """The best teacher's, by name."""
        return f"{self.best}: {self.decisions[self.best].verdict}"

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {d.verdict}" for name, d in self.decisions.items())

    def _repr_html_(self) -> str:
        return ranking_html(self)

    def __rich__(self):
        return ranking_rich(self)

    def save_html(self, path: str | os.PathLike, title: str = "Which teacher?"):
        """Write a page that needs no other file; returns its path."""
        return save_page(path, self.decisions, title=title, ranking=self)

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and texts, ready for JSON."""
        return {
            "best": self.best,
            "mixture": self.mixture,
            "teachers": {name: d.to_dict() for name, d in self.decisions.items()},
        }


def _sentence(row: Any) -> str:
    p = f", p = {row['p_value']:.2g}" if np.isfinite(row["p_value"]) else ""
    return (
        f"{row['question']} {row['answer']}: {row['estimate']:+.3g} "
        f"({between(row['low'], row['high'], '.3g')}) {row['unit']}{p}; "
        f"worth on real networks: {row['worth']}"
    )


def _plain(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value


def number(value: float, signed: bool = True) -> str:
    """Three digits, with a sign; "–" for nan."""
    if not np.isfinite(value):
        return "–" if np.isnan(value) else ("∞" if value > 0 else "−∞")
    return f"{value:+.3g}" if signed else f"{value:.2g}"


def _intervals(table: pd.DataFrame) -> list[str]:
    return [
        "–" if np.isnan(low) else f"{number(low)} to {number(high)}"
        for low, high in zip(table["low"], table["high"])
    ]


def decision_rows(decision: Decision) -> pd.DataFrame:
    """The table as texts, for a terminal or a page."""
    table = decision.table
    return pd.DataFrame(
        {
            "question": table["question"],
            "estimate": [number(v) for v in table["estimate"]],
            f"{decision.confidence:.0%} interval": _intervals(table),
            "p": [number(v, signed=False) for v in table["p_value"]],
            "unit": table["unit"],
            "answer": table["answer"],
            "worth on real networks": table["worth"],
        }
    )


def plain_rows(decision: Decision) -> pd.DataFrame:
    """The rows that matter, five at most, in plain words."""
    table = decision.table.set_index("criterion")
    words = PLAIN | (PLAIN_WITH_PAIRS if decision.n_pairs else {})
    shown = table.loc[[name for name in words if name in table.index]]
    return pd.DataFrame(
        {
            "what": [
                words[name].format(unit=unit.partition(",")[0])
                for name, unit in shown["unit"].items()
            ],
            "estimate": [number(v) for v in shown["estimate"]],
            f"{decision.confidence:.0%} interval": _intervals(shown),
            "above 0?": shown["answer"].to_numpy(),
        }
    )


def ranking_rows(ranking: Ranking) -> pd.DataFrame:
    """A row a teacher, in plain words."""
    table = ranking.table
    shown = {"teacher": table["teacher"].astype(str), "verdict": table["code"]}
    if "pilot_gain" in table:
        shown["gain of heads"] = table["pilot_gain"].map(number)
        shown["interval"] = _intervals(table)
    if "gap" in table:
        shown["CCH, nats"] = table["gap"].map(number)
    return pd.DataFrame(shown)


def worth_words(decision: Decision) -> str:
    """What the rows were worth where whole networks were distilled."""
    if decision.n_pairs:
        return (
            "What the rows are worth on real networks is not known with pairs. `cch "
            "study --pairs SHARE` trains the networks themselves."
        )
    told = [
        f"{what} {worth_of(name)}"
        for name, what in WORTHY.items()
        if name in set(decision.table["criterion"])
    ]
    return (
        "Worth on real networks, as a rule for when to distil: "
        f"{'; '.join(told)}. `cch study` trains the networks themselves."
    )


def _rich_table(frame: pd.DataFrame) -> Table:
    """Fits 80 columns; numbers are never broken."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in frame.columns:
        broken = column in ("what", "teacher")
        table.add_column(escape(str(column)), no_wrap=not broken, overflow="fold")
    for row in frame.itertuples(index=False):
        table.add_row(*[escape(str(cell)) for cell in row])
    return table


def decision_rich(decision: Decision) -> Group:
    """The verdict, the rows that matter, and the notes."""
    notes = [Text(note) for note in (worth_words(decision), *decision.notes)]
    notes.append(Text("Checked: " + " ".join(decision.checks), style="dim"))
    heard = [Text(f"Heard: {decision.rows}.")] if decision.n_pairs else []
    rows = _rich_table(plain_rows(decision))
    return Group(Text(decision.verdict, style="bold"), *heard, rows, *notes)


def ranking_rich(ranking: Ranking) -> Group:
    """The teachers in their order, and the best mixture."""
    parts: list[Table | Text] = [_rich_table(ranking_rows(ranking))]
    if ranking.mixture:
        parts.append(Text(mixture_words(ranking.mixture)))
    return Group(*parts)


def mixture_words(mixture: Mapping[str, float]) -> str:
    """The best mixture in a sentence."""
    said = ", ".join(f"{name} {share:.2f}" for name, share in mixture.items())
    return f"Best mixture by held-out residuals: {said}."


def _html_table(frame: pd.DataFrame) -> str:
    head = "".join(f"<th scope='col'>{html.escape(str(c))}</th>" for c in frame)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>"
        for row in frame.itertuples(index=False)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def decision_html(decision: Decision) -> str:
    """The verdict and the rows that matter; everything else is folded."""
    return (
        f"<p class='verdict'>{html.escape(decision.verdict)}</p>"
        + (f"<p>Heard: {html.escape(decision.rows)}.</p>" if decision.n_pairs else "")
        + f"{_html_table(plain_rows(decision))}"
        f"<p>{html.escape(worth_words(decision))}</p>{_folded(decision)}"
    )


def _folded(decision: Decision) -> str:
    """All rows, the curves, the CCH, the notes and what was checked."""
    parts = [_html_table(decision_rows(decision))]
    if decision.pilot is not None:
        parts.append(_image(draw_decision(decision), _curve_alt(decision)))
    if (a := decision.assessment) is not None:
        alt = (
            f"I(teacher; student) {a.i_ts.value:.3f} and I(student; label) "
            f"{a.i_sl.value:.3f} nats; their gap {a.gap:+.3f}, interval "
            f"{between(*a.gap_interval, '.3f')}."
        )
        parts += [_image(draw({"teacher": a}), alt), _list("The CCH", a.reasons)]
    parts += [_list("Notes", decision.notes), _list("Checked", decision.checks)]
    return f"<details><summary>All criteria</summary>{''.join(parts)}</details>"


def _list(title: str, items: list[str]) -> str:
    said = "".join(f"<li>{html.escape(item)}</li>" for item in items)
    return f"<h3>{title}</h3><ul>{said}</ul>" if said else ""


def ranking_html(ranking: Ranking) -> str:
    """The teachers in their order, and the best mixture, as a part of a page."""
    said = html.escape(mixture_words(ranking.mixture)) if ranking.mixture else ""
    return f"{_html_table(ranking_rows(ranking))}<p>{said}</p>"


def draw_gains(decisions: Mapping[str, Decision]) -> Figure:
    """What heads gain by each teacher over each baseline, with intervals."""
    asked = {name: d.pilot for name, d in decisions.items() if d.pilot is not None}
    figure, ax = plt.subplots(
        figsize=(6.5, 1.1 + 0.75 * len(asked)), layout="constrained"
    )
    for place, one in enumerate(asked.values()):
        for step, (name, (label, color)) in enumerate(BASELINES.items()):
            gain = getattr(one, name)
            if gain is None:
                continue
            reach = [[gain.mean - gain.low], [gain.high - gain.mean]]
            ax.errorbar(
                gain.mean,
                -place - 0.22 * (step - 1),
                xerr=reach,
                fmt="o",
                ms=4,
                capsize=2,
                color=color,
                label=label if place == 0 else None,
            )
    ax.axvline(0, color="0.2", lw=0.8)
    ax.set(
        xlabel="expected gain of heads on the student's features",
        yticks=[-place for place in range(len(asked))],
        yticklabels=[plain_text(str(name)) for name in asked],
        ylim=(-len(asked) + 0.4, 0.6),
    )
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    return figure


def _gains_alt(decisions: Mapping[str, Decision]) -> str:
    said = [
        f"{name} over {label} {gain.mean:+.3g} ({gain.low:.3g} to {gain.high:.3g})"
        for name, decision in decisions.items()
        for baseline, (label, _) in BASELINES.items()
        if (gain := getattr(decision.pilot, baseline, None)) is not None
    ]
    return f"Expected gains of heads with their intervals: {'; '.join(said)}."


def _shown(decision: Decision) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The curve and the pilot's table of a decision that had a pilot."""
    return cast(pd.DataFrame, decision.curve), cast(Pilot, decision.pilot).table


def draw_decision(decision: Decision) -> Figure:
    """The predicted gain for every λ, left,
    and the pilot's for every λ and T, right.
    """
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(8.0, 3.2), layout="constrained", sharey=True
    )
    curve, table = _shown(decision)
    left.fill_between(
        curve["weight"],
        curve["low"],
        curve["high"],
        color=COLORS["kd"],
        alpha=0.2,
        lw=0,
    )
    left.plot(curve["weight"], curve["gain"], color=COLORS["kd"])
    left.set(
        title="predicted by two heads",
        xlabel=r"$\lambda$ of Eq. 2",
        ylabel="gain over the plain student",
    )
    styles = ["-", "--", ":", "-."]
    for style, (temperature, part) in zip(styles * 9, table.groupby("temperature")):
        label = f"T = {temperature:g}" if decision.discrete else None
        right.plot(part["lam"], part["gain"], style, color=COLORS["no_kd"], label=label)
        right.fill_between(
            part["lam"],
            part["low"],
            part["high"],
            color=COLORS["no_kd"],
            alpha=0.1,
            lw=0,
        )
    right.set(title="measured by the pilot", xlabel=r"$\lambda$ of Eq. 2")
    if decision.discrete:
        right.legend(frameon=False)
    for ax in (left, right):
        ax.axhline(0, color="0.2", lw=0.8)
    return figure


def _image(figure: Figure, alt: str) -> str:
    held = io.BytesIO()
    try:
        figure.savefig(held, format="png", dpi=120)
    finally:
        plt.close(figure)
    data = base64.b64encode(held.getvalue()).decode("ascii")
    alt = html.escape(alt, quote=True)
    return f'<img alt="{alt}" src="data:image/png;base64,{data}">'


def _curve_alt(decision: Decision) -> str:
    curve, rows = _shown(decision)
    best = curve.loc[curve["gain"].idxmax()]
    top = rows.loc[rows["gain"].idxmax()]
    return (
        "Two curves of the gain over the plain student against lambda. "
        f"Predicted by two heads: highest, {best['gain']:+.3g} "
        f"({best['low']:.3g} to {best['high']:.3g}), at {best['weight']:.2g}. "
        f"Measured by the pilot: highest, {top['gain']:+.3g} "
        f"({top['low']:.3g} to {top['high']:.3g}), at {top['lam']:.2g}."
    )


def page(
    decisions: Mapping[str, Decision], title: str, ranking: Ranking | None = None
) -> str:
    """A page that needs no other file: the verdicts, one picture, the rows that matter,
    everything else folded.
    """
    parts = [f"<h1>{html.escape(title)}</h1>"]
    several = ranking is not None and len(decisions) > 1
    if several:
        parts += [
            f"<p class='verdict'>{html.escape(f'{name}: {decision.verdict}')}</p>"
            for name, decision in decisions.items()
        ]
    picture = ""
    if any(decision.pilot is not None for decision in decisions.values()):
        picture = _image(draw_gains(decisions), _gains_alt(decisions))
    if ranking is not None and several:
        parts += [picture, ranking_html(ranking)]
    for name, decision in decisions.items():
        if several:
            parts.append(
                f"<h2>{html.escape(str(name))}</h2>"
                f"{_html_table(plain_rows(decision))}{_folded(decision)}"
            )
        else:
            verdict = html.escape(decision.verdict)
            parts += [f"<p class='verdict'>{verdict}</p>", picture]
            parts += [_html_table(plain_rows(decision)), _folded(decision)]
    first = next(iter(decisions.values()))
    parts.append(
        f"<h2>How to read this</h2><p>{html.escape(worth_words(first))}</p><p>Gains "
        "are of held-out squared error, of probabilities for classes (Brier score), "
        "lower is better, of linear heads on the student's frozen features. λ "
        "weighs the teacher as in Eq. 2 of the paper. Without outputs of the teacher "
        "the verdict is the CCH's.</p>"
    )
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head>"
        f"<body>{''.join(parts)}</body></html>\n"
    )


def save_page(
    path: str | os.PathLike,
    decisions: Mapping[str, Decision],
    *,
    title: str,
    ranking: Ranking | None = None,
) -> Path:
    """Write `page`, first beside its place, then renamed."""
    path = expanded(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"`path` must end in .html, got {path.name}")
    with written_beside(path) as part:
        part.write_text(page(decisions, title, ranking), encoding="utf-8")
    return path
