"""How often is `assess` wrong? Cases of known gap, and a study of the interval's
coverage and the verdict's errors on them.

A case is a population of (teacher, student, label) whose two terms are known: k pairs
of Gaussian latents with I(teacher; student) = `i_ts` between them, seen through a view
that loses nothing (a rotation among columns of noise, random tanh or ReLU features of
few latents, a warp with heavy tails), and a label that depends on one student latent.
Half of the cases ("tune") may be looked at while `assess` is made; the other half
("report") has other sizes, widths and truths and is for reporting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats
from scipy.special import entr, expit

from cchbook.chapters import plots
from cchbook.chapters.panel import correlations
from cchbook.runs import records
from cchlib import check
from cchlib.criterion import assess

#: nodes of the quadrature over a latent
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(120)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
VIEWS = ("plain", "tanh", "relu", "sparse", "heavy", "rounded")
#: to which the columns of "rounded" are, in their standard deviations; what that costs
#: is of the order of its square
STEP = 0.1
#: of a sample that a method does not take, as its error says it
REFUSALS = ("too few", "too many", "must hold")


@dataclass(frozen=True)
class Case:
    """A population with a known gap.

    Attributes
    ----------
    name : str
    half : "tune" or "report"
    n, columns : int
        Rows, and columns of each block.
    pairs, i_ts : int and float
        Latent pairs, and I(teacher; student) in nats, spread evenly over them.
    view : {"plain", "tanh", "relu", "sparse", "heavy", "rounded"}
        How latents become columns; "sparse" is "relu" with five of six entries 0.
    label : {"target", "classes"}
        A regression target of correlation `strength` with a student latent, or a class
        of log-odds `offset` + `strength` times it.
    rows : int
        Rows of a subject; above 1 they share half of their variance and their label.
    copies : int
        How often each row is there: oversampling, which changes no truth.
    """

    name: str
    half: str
    n: int
    columns: int
    pairs: int
    i_ts: float
    view: str = "plain"
    label: str = "classes"
    strength: float = 2.0
    offset: float = 0.0
    rows: int = 1
    copies: int = 1

    @property
    def i_sl(self) -> float:
        """I(student; label), nats."""
        if self.strength == 0:
            return 0.0
        if self.label == "target":
            return float(-0.5 * np.log1p(-(self.strength**2)))
        odds = self._odds(NODES)
        share = float(WEIGHTS @ odds)
        unknown = float(WEIGHTS @ (entr(odds) + entr(1 - odds)))
        return float(entr(share) + entr(1 - share)) - unknown

    @property
    def gap(self) -> float:
        """The truth that `assess` estimates, nats."""
        return self.i_ts - self.i_sl

    def _odds(self, latent: np.ndarray) -> np.ndarray:
        """P(label = 1 | a row's latent), of the subject's share of it
        where rows > 1.
        """
        if self.rows == 1:
            return expit(self.offset + self.strength * latent)
        subject = np.sqrt(0.5) * (latent[:, None] + NODES)
        return expit(self.offset + self.strength * subject) @ WEIGHTS

    def draw(self, seed: int) -> tuple[np.ndarray, ...]:
        """Teacher (n, columns), student (n, columns), label (n,), groups (n,)."""
        rng = np.random.default_rng(check.integer("seed", seed))
        groups = np.arange(self.n) // self.rows
        few = self.view in ("tanh", "relu", "sparse")
        latents = self.pairs if few else self.columns
        subject = rng.standard_normal((2, groups[-1] + 1, latents))
        rho = np.zeros(latents)
        rho[: self.pairs] = correlations(self.i_ts, self.pairs)

        def coupled(pair: np.ndarray) -> np.ndarray:
            return np.stack([rho * pair[1] + np.sqrt(1 - rho**2) * pair[0], pair[1]])

        subject = coupled(subject)
        both = subject[:, groups]
        if self.rows > 1:
            own = coupled(rng.standard_normal((2, self.n, latents)))
            both = np.sqrt(0.5) * both + np.sqrt(0.5) * own
        label = self._label(subject[1][:, 0], both[1][:, 0], groups, rng)
        drawn = (self._view(both[0], 1), self._view(both[1], 2), label, groups)
        return tuple(part.repeat(self.copies, axis=0) for part in drawn)

    def _label(
        self,
        subject: np.ndarray,
        row: np.ndarray,
        groups: np.ndarray,
        rng: np.random.Generator,
    ) -> np.ndarray:
        if self.label == "target":
            noise = rng.standard_normal(self.n)
            return self.strength * row + np.sqrt(1 - self.strength**2) * noise
        odds = expit(self.offset + self.strength * subject)
        return (rng.random(len(odds)) < odds).astype(int)[groups]

    def _view(self, latents: np.ndarray, side: int) -> np.ndarray:
        """Columns of one block; the maps are the population's, whatever the draw."""
        fixed = np.random.default_rng((side, self.columns, self.pairs))
        if self.view in ("tanh", "relu", "sparse"):
            weights = fixed.standard_normal((latents.shape[1], self.columns))
            summed = latents @ weights / np.sqrt(latents.shape[1])
            shift = fixed.standard_normal(self.columns)
            if self.view == "tanh":
                return np.tanh(summed + 0.3 * shift)
            if self.view == "sparse":
                return np.maximum(summed - 1, 0.0)
            return np.maximum(summed + shift, 0.0)
        turn = np.linalg.qr(fixed.standard_normal((self.columns, self.columns)))[0]
        turned = latents @ turn
        if self.view == "rounded":
            return np.round(turned / STEP) * STEP
        return np.sinh(1.2 * turned) if self.view == "heavy" else turned


@dataclass(frozen=True)
class SharedClass(Case):
    """Both networks see one of `pairs` classes, in clusters far apart, and the label is
    the student's. The student's class is the teacher's, but for the share `drawn_anew`.
    """

    drawn_anew: float = 0.0

    @classmethod
    def of(
        cls, name: str, half: str, n: int, columns: int, classes: int, drawn_anew: float
    ) -> SharedClass:
        """With the information of the channel between the classes."""
        other = drawn_anew / classes
        same = 1 - drawn_anew + other
        unknown = entr(same) + (classes - 1) * entr(other)
        i_ts = float(np.log(classes) - unknown)
        return cls(name, half, n, columns, classes, i_ts, drawn_anew=drawn_anew)

    @property
    def i_sl(self) -> float:
        """I(student; label), nats: the student knows its class."""
        return float(np.log(self.pairs))

    def draw(self, seed: int) -> tuple[np.ndarray, ...]:
        """As of any case."""
        rng = np.random.default_rng(check.integer("seed", seed))
        fixed = np.random.default_rng((3, self.columns, self.pairs))
        means = 6 * fixed.standard_normal((2, self.pairs, self.columns))
        one = rng.integers(self.pairs, size=self.n)
        anew = rng.random(self.n) < self.drawn_anew
        two = np.where(anew, rng.integers(self.pairs, size=self.n), one)
        noise = rng.standard_normal((2, self.n, self.columns))
        teacher, student = means[0][one] + noise[0], means[1][two] + noise[1]
        return teacher, student, two, np.arange(self.n)


def _cases() -> list[Case]:
    tune, report = "tune", "report"
    weak = {"strength": 0.0}
    target = {"label": "target"}
    return [
        Case("few subjects 100", tune, 100, 1, 1, 0.5),
        Case("few subjects 150", report, 150, 2, 1, 0.7),
        Case("noise 8", tune, 300, 8, 1, 0.0, **weak),
        Case("noise 12", report, 400, 12, 1, 0.0, **weak),
        Case("low rank, independent 300", tune, 500, 300, 8, 0.0, "tanh", **weak),
        Case("low rank, independent 200", report, 600, 200, 6, 0.0, "tanh", **weak),
        Case("low rank 64", tune, 500, 64, 6, 1.2, "tanh"),
        Case("low rank 96", report, 800, 96, 5, 0.9, "tanh"),
        Case("many columns 32", tune, 200, 32, 4, 1.52),
        Case("many columns 40", report, 250, 40, 3, 1.2),
        Case("one pair in 8", tune, 500, 8, 1, 0.83, **target, strength=0.5),
        Case("one pair in 6", report, 600, 6, 1, 0.7, **target, strength=0.6),
        Case("seven nats", tune, 1000, 4, 4, 7.0, **target, strength=0.9),
        Case("five nats", report, 2000, 5, 5, 5.0, **target, strength=0.8),
        Case("heavy tails 6", tune, 500, 6, 2, 0.8, "heavy"),
        Case("heavy tails 4", report, 700, 4, 2, 0.6, "heavy"),
        Case("ReLU 64", tune, 500, 64, 4, 1.0, "relu"),
        Case("ReLU 128", report, 800, 128, 3, 0.8, "relu"),
        Case("rare class 8", tune, 600, 8, 2, 0.4, offset=-3.5),
        Case("rare class 6", report, 1000, 6, 2, 0.3, offset=-4.0),
        Case("label beats teacher 2", tune, 5000, 2, 1, 0.1, strength=3.5),
        Case("label beats teacher 3", report, 3000, 3, 1, 0.05, strength=3.0),
        Case("wide, independent 768", tune, 2000, 768, 30, 0.0, "tanh", **weak),
        Case("wide, independent 512", report, 1500, 512, 20, 0.0, "tanh", **weak),
        Case("subjects 80 x 5", tune, 400, 3, 1, 0.5, rows=5),
        Case("subjects 60 x 5", report, 300, 2, 1, 0.6, rows=5),
        Case("subjects, noise 60 x 5", tune, 300, 3, 1, 0.0, rows=5, **weak),
        Case("subjects, noise 80 x 4", report, 320, 4, 1, 0.0, rows=4, **weak),
        Case("rounded 8", tune, 500, 8, 1, 0.83, "rounded", **target, strength=0.5),
        Case("rounded 6", report, 600, 6, 1, 0.7, "rounded", **target, strength=0.6),
        Case("rounded, noise 8", tune, 300, 8, 1, 0.0, "rounded", **weak),
        Case("rounded, noise 12", report, 400, 12, 1, 0.0, "rounded", **weak),
        Case("sparse, noise 8", tune, 500, 8, 8, 0.0, "sparse", **weak),
        Case("sparse, noise 12", report, 600, 12, 12, 0.0, "sparse", **weak),
        Case("sparse 64", tune, 500, 64, 4, 1.0, "sparse"),
        Case("sparse 128", report, 800, 128, 3, 0.8, "sparse"),
        Case("copies 8", tune, 150, 8, 1, 0.0, copies=4, **weak),
        Case("copies 6", report, 200, 6, 1, 0.6, copies=3, strength=1.5),
        SharedClass.of("shared class 2", tune, 500, 4, 2, 0.2),
        SharedClass.of("shared class 3", report, 600, 5, 3, 0.3),
    ]


CASES = {case.name: case for case in _cases()}


def study(
    run: Any,
    cases: Sequence[str],
    methods: Sequence[str],
    draws: int,
    *,
    runs: int = 2,
    device: str = "auto",
) -> None:
    """Assess `draws` draws of each case by each method, and log into `run` what came
    out.

    Logged, each with case, half, method and seed: `coverage_refused` (1 where the
    method takes no sample of this shape, and then nothing else), `coverage_covers`
    (the 95 % interval holds the true gap), `coverage_wrong` (a decided verdict that is
    not the truth's), `coverage_decided`, `coverage_error` (nats).

    Raises
    ------
    ValueError
        An unknown case.
    """
    for name in cases:
        case = CASES[check.one_of("coverage_cases", name, CASES)]
        for method in methods:
            for seed in range(draws):
                where = dict(case=name, half=case.half, method=method, seed=seed)
                found = one_draw(case, method, seed, runs=runs, device=device)
                for metric, value in found.items():
                    unit = "nats" if metric == "error" else "1"
                    run.log(f"coverage_{metric}", float(value), unit, **where)


def one_draw(
    case: Case, method: str, seed: int, *, runs: int = 2, device: str = "auto"
) -> dict[str, float]:
    """What `study` logs of one draw."""
    teacher, student, label, groups = case.draw(seed)
    options = {"groups": groups} if case.rows > 1 else {}
    try:
        found = assess(
            teacher, student, label, method, runs=runs, device=device, **options
        )
    except ValueError as error:
        if not any(words in str(error) for words in REFUSALS):
            raise
        return {"refused": 1.0}
    low, high = found.gap_interval
    wrong = {
        "distil": case.gap <= 0,
        "do not distil": case.gap >= 0,
        "undecided": False,
    }
    return {
        "refused": 0.0,
        "covers": low <= case.gap <= high,
        "wrong": wrong[found.verdict],
        "decided": found.verdict != "undecided",
        "error": found.gap - case.gap,
    }


def told(run: records.Measurements) -> tuple[pd.DataFrame, str]:
    """The study as far as it is recorded, and which runs that is in words; the live
    `run` where nothing is.

    It takes hours and comes in pieces: all draws of a case by a method are those of the
    committed run that has the most, of equals the newest.
    """
    cells: dict[Any, pd.DataFrame] = {}
    for record in records.recorded("07_mutual_information"):
        rows = record.metrics
        rows = rows[rows["metric"].str.startswith("coverage_")]
        for cell, draws in rows.groupby(["case", "method"]) if len(rows) else ():
            if cell not in cells or len(draws) >= len(cells[cell]):
                cells[cell] = draws.assign(run=record.record["key"])
    if not cells:
        return run.frame(), "the run of this page"
    frame = pd.concat(cells.values(), ignore_index=True)
    keys = list(dict.fromkeys(frame["run"]))
    runs = "runs" if len(keys) > 1 else "run"
    return frame.drop(columns="run"), f"the recorded {runs} {', '.join(keys)}"


def rates(frame: pd.DataFrame) -> pd.DataFrame:
    """Means over draws by case and method: columns covers, wrong, decided, refused,
    error and draws, with the case's half, n, columns and true gap.
    """
    frame = frame[frame["metric"].str.startswith("coverage_")]
    frame = frame.assign(metric=frame["metric"].str.removeprefix("coverage_"))
    keys = ["half", "case", "method"]
    table = frame.pivot_table("value", keys, "metric", sort=False)
    for metric in ("covers", "wrong", "decided", "error", "refused"):
        if metric not in table:
            table[metric] = np.nan
    drawn = frame[frame["metric"] == "refused"].groupby(keys, sort=False)["value"]
    table["draws"] = drawn.size()
    table = table.reset_index()
    for header in ("n", "columns", "gap"):
        table[header] = [getattr(CASES[name], header) for name in table["case"]]
    return table


def table(frame: pd.DataFrame, half: str | None = None) -> pd.DataFrame:
    """`rates` for readers, the lowest coverage first; one half of the cases or both."""
    found = rates(frame)
    if half is not None:
        found = found[found["half"] == half]
    found = found.sort_values(["covers", "wrong"], ascending=[True, False])

    def share(values: Iterable[float]) -> list[str]:
        return ["–" if np.isnan(v) else f"{v:.0%}" for v in values]

    return pd.DataFrame(
        {
            "case": found["case"],
            "half": found["half"],
            "n": found["n"],
            "columns": found["columns"],
            "true gap": found["gap"].map("{:+.2f}".format),
            "method": found["method"],
            "interval covers": share(found["covers"]),
            "wrong verdicts": share(found["wrong"]),
            "decided": share(found["decided"]),
            "refused": share(found["refused"]),
            "mean error": found["error"].map("{:+.2f}".format).replace("+nan", "–"),
            "draws": found["draws"],
        }
    )


def summary(frame: pd.DataFrame, half: str = "report") -> dict[str, float]:
    """Shares over all draws of one half that weren't refused.

    Returns
    -------
    dict
        ``covers``, ``wrong`` and ``decided``; ``lowest``, the coverage of the worst
        cell; ``cases``; ``sets``, the data sets behind it (methods share them), and
        ``wrong_at_most``, the exact one-sided 95 % bound on the share of data sets
        about which some method is wrong (Clopper & Pearson, 1934).
    """
    found = rates(frame).query("half == @half and refused < 1")
    if found.empty:
        names = ("covers", "wrong", "decided", "lowest", "wrong_at_most")
        return {**dict.fromkeys(names, np.nan), "cases": 0, "sets": 0}
    weights = found["draws"] * (1 - found["refused"])
    rows = frame[(frame["metric"] == "coverage_wrong") & (frame["half"] == half)]
    wrong = rows.groupby(["case", "seed"])["value"].max()
    hits = int(wrong.sum())
    return {
        "covers": float(np.average(found["covers"], weights=weights)),
        "wrong": float(np.average(found["wrong"], weights=weights)),
        "decided": float(np.average(found["decided"], weights=weights)),
        "lowest": float(found["covers"].min()),
        "cases": found["case"].nunique(),
        "sets": len(wrong),
        "wrong_at_most": float(stats.beta.ppf(0.95, hits + 1, len(wrong) - hits)),
    }


def draw(frame: pd.DataFrame) -> Figure:
    """Coverage, left, and the share of wrong verdicts, right,
    of each case by method.
    """
    found = rates(frame)
    found = found[found["refused"] < 1]
    names = [name for name in CASES if name in set(found["case"])][::-1]
    figure, axes = plt.subplots(
        1, 2, figsize=(8.5, 0.28 * len(names) + 1.4), sharey=True, layout="constrained"
    )
    colours = dict(zip(("latent", "ksg", "gaussian", "mine"), plots.COLORS.values()))
    for axis, metric, wanted in ((axes[0], "covers", 0.95), (axes[1], "wrong", 0.05)):
        axis.axvline(wanted, color=plots.COLORS["truth"], lw=0.8)
        methods = list(dict.fromkeys(found["method"]))
        for place, method in enumerate(methods):
            part = found[found["method"] == method]
            shift = 0.18 * (place - (len(methods) - 1) / 2)
            rows = np.array([names.index(name) for name in part["case"]]) + shift
            decided = (part["draws"] * (1 - part["refused"])).round()
            hits = (part[metric] * decided).round()
            low = np.nan_to_num(stats.beta.ppf(0.025, hits, decided - hits + 1))
            high = stats.beta.ppf(0.975, hits + 1, decided - hits)
            axis.hlines(rows, low, np.nan_to_num(high, nan=1.0), color="0.8", lw=2)
            axis.plot(
                part[metric],
                rows,
                "osD^"[place % 4],
                color=colours.get(method, "0.4"),
                label=method,
                ms=4,
            )
        axis.set(xlim=(-0.03, 1.03))
    halves = {name: CASES[name].half for name in names}
    axes[0].set(
        xlabel="share of intervals that hold the true gap",
        yticks=range(len(names)),
        yticklabels=[
            f"{name}*" if halves[name] == "report" else name for name in names
        ],
    )
    axes[1].set(xlabel="share of wrong verdicts")
    axes[0].legend(loc="lower left")
    return figure
