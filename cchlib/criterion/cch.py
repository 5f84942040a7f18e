"""The criterion as a tool: should this student learn from that teacher?

The Cross-modal Complementarity Hypothesis (CCH) says that distillation helps where
I(H1; H2) > I(H2; Y): where the teacher's representation shares more with the student's
than the student's shares with the label. `assess` estimates both, their gap, and an
interval for it.

**The interval.** Subjects are split at random into two halves, and the gap is estimated
on each. Two disjoint halves of an i.i.d. sample are independent, so that for halves of
m and n - m subjects

    v = (gap_A - gap_B)² m (n - m) / n²

has the expectation σ²/n of the variance of the gap on all n wherever the variance of an
estimate falls like σ²/size. It holds the sampling of the subjects and, for a random
estimator, at least the noise of two averaged runs. `v` is averaged over several splits;
each is, given the data, close to a χ² with one degree of freedom, hence Student's t
with as many degrees as splits. This is subsampling without replacement (Politis &
Romano, 1994) with its finite-population correction m/(n - m), or the delete-d jackknife
(Shao & Wu, 1989), at m = n/2, where both corrections are 1. Duplicates, which the
bootstrap makes, would be nearest neighbours at distance zero. Both terms of the gap are
estimated on the same half, so that what they share cancels.

**Bias.** An estimator's bias depends on n, on the widths, and on where in the columns
the information sits. `surrogates` makes pairs of *known* information from the data's
own blocks: at the same n and widths, with the same marginals and spectrum. The estimate
is read against what the method says of them, so that its value is the information at
which this method would have given this answer, and 0 where the method answers as much
on independent pairs. Where the information sits is not known. Several places are tried,
and the interval is as wide as they disagree. The two terms' own intervals are put
together by the rule of Zou and Donner (2008). All of this takes the data's dependence
to be like the surrogates' (a Gaussian copula, a softmax): another kind can be harder or
easier to see, and then the interval is too narrow. Features on a curved manifold of few
dimensions are easier: they spread over many components, and a nearest-neighbour method
follows the few. Hence two continuous blocks are never said to share more, at the lower
end, than the method itself found. The chapter on mutual information measures how often
the interval holds.

**What is known** comes before the difference: 0 ≤ I(H2; Y) ≤ H(Y), I(H1; H2) ≥ 0, a
held-out linear probe's bound from below on I(H2; Y), and, since
I(H1; H2) - I(H2; Y) ≥ -H(Y | H1), the same probe of the teacher as a bound on the gap.

**Repeated rows.** A row that repeats another in the teacher, the student and the label
is the same subject again, and is counted once (`cchlib.mi.repeats`).

**Doubt.** Where something in the data speaks against what the method supposes
(`MIEstimate.trusted`), its term decides nothing: the interval is open on both sides as
far as what is known of the term leaves it.

**Saturation.** An estimate that has reached what the method could say at most at this n
bounds its term from below only. The interval is open on the side where that leaves it.

References
----------
- D. N. Politis and J. P. Romano, "Large sample confidence regions based on subsamples
  under minimal assumptions", Annals of Statistics 22 (1994) 2031–2050.
- J. Shao and C. F. J. Wu, "A general theory for jackknife variance estimation", Annals
  of Statistics 17 (1989) 1176–1197.
- G. Y. Zou and A. Donner, "Construction of confidence limits about effect measures: a
  general approach", Statistics in Medicine 27 (2008) 1693–1702.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from scipy.linalg import hadamard

from cchlib import check, names
from cchlib.ambient import own_state
from cchlib.components import principal_components
from cchlib.criterion import surrogates
from cchlib.mi import (
    ESTIMATORS,
    Estimator,
    MIEstimate,
    estimate_mi,
    probe_bound,
    repeats,
)
from cchlib.mi.interface import bare_values

#: float labels with at most so many distinct values, each seen twice or more on
#: average, are refused
FEW_VALUES = 20
#: fewer subjects than this are refused: two halves of 10 tell nothing
FEWEST_SUBJECTS = 20
#: subjects that each class needs in each half: a neighbour search with k = 3 takes
#: four, five folds take five
FEWEST_IN_CLASS = 5
#: splits into halves where the estimator is deterministic and cheap
CHEAP_SPLITS = 25
#: random splits drawn for each one that has every class in both halves
MOST_TRIES = 2000
#: draws that place a cheap method's curve at the estimate
CALIBRATION_DRAWS = 5
#: levels of information, in units of the estimate, that a curve begins with
LEVELS = {True: (0, 1, 2), False: (0, 0.5, 1, 1.5, 2.5)}
#: and of classes, in units of H(Y)
CLASS_LEVELS = {True: (0, 0.4, 0.75, 0.97), False: (0, 0.25, 0.5, 0.75, 0.9, 0.99)}
#: nats that double precision can tell apart: -½ log(2⁻⁵²), for a pair of columns
MOST_NATS = 18.02
#: how blocks may be brought to a common scale
RESCALE = ("columns", "block", "none")
#: fewer subjects with several rows than this are refused
FEWEST_GROUPS = 8


def between(low: float, high: float, form: str) -> str:
    """An interval in words, its ends written by the format `form`; one that is open
    says so.
    """
    if np.isinf(low) and np.isinf(high):
        return "without bounds"
    if np.isinf(high):
        return f"{low:{form}} or more"
    if np.isinf(low):
        return f"{high:{form}} or less"
    return f"{low:{form}} to {high:{form}}"


@dataclass(frozen=True, repr=False)
class Assessment:
    """What `assess` says of one teacher. Mutual information in nats.

    Attributes
    ----------
    i_ts, i_sl : MIEstimate
        I(teacher; student) and I(student; label) on all subjects. `value` is corrected
        for the bias found on surrogates and kept within what is known; `values` are the
        method's own answers, one a run.
    gap_interval : (float, float)
        At `confidence`; contains `gap`. See the module's text for what it accounts for.
    std_error : float
        Of the gap: sampling of the subjects and the estimator's randomness, without its
        bias.
    drift : float
        What doubling the sample did to the method's own gap. Without calibration the
        interval reaches so much further on that side.
    confidence : float
    label_entropy : float
        H(Y) of the labels given, the ceiling of I(student; label); nan for a regression
        target.
    bias_ts, bias_sl : float
        What was taken off the method's answers; nan without calibration.
    notes : tuple of str
        What was known, and what was saturated.
    half_gaps : array (splits, 2)
        The gap on both halves of every split.
    """

    i_ts: MIEstimate
    i_sl: MIEstimate
    gap_interval: tuple[float, float]
    std_error: float
    drift: float
    confidence: float
    label_entropy: float
    half_gaps: np.ndarray = field(repr=False, compare=False)
    bias_ts: float = float("nan")
    bias_sl: float = float("nan")
    notes: tuple[str, ...] = ()

    @property
    def gap(self) -> float:
        """I(teacher; student) - I(student; label)."""
        return self.i_ts.value - self.i_sl.value

    @property
    def verdict(self) -> str:
        """Either "distil" or "do not distil"; "undecided" exactly when the interval
        contains 0.
        """
        low, high = self.gap_interval
        return "distil" if low > 0 else "do not distil" if high < 0 else "undecided"

    @property
    def reasons(self) -> list[str]:
        """Why the verdict is what it is, and what should give pause, in sentences."""
        low, high = self.gap_interval
        place = {
            "distil": "above 0",
            "do not distil": "below 0",
            "undecided": "on both sides of 0",
        }[self.verdict]
        sign = "more" if self.gap > 0 else "less"
        said = [
            f"The teacher shares {abs(self.gap):.3f} nats {sign} with the student "
            f"({self.i_ts.value:.3f}) than the student shares with the label "
            f"({self.i_sl.value:.3f}).",
            f"The {self.confidence:.0%} interval of the gap, "
            f"{between(low, high, '.3f')}, lies {place}.",
        ]
        if np.isfinite([self.bias_ts, self.bias_sl]).all():
            if abs(self.bias_ts - self.bias_sl) > self.std_error:
                said.append(
                    f"On pairs of known information like these {self.i_ts.method} is "
                    f"off by {self.bias_ts:+.3f} and {self.bias_sl:+.3f} nats, "
                    "which was taken off."
                )
        elif abs(self.drift) > self.std_error:
            said.append(
                "The estimate still moves with the sample: twice the subjects changed "
                f"the gap by {self.drift:+.3f} (standard error {self.std_error:.3f}); "
                "more would move it further."
            )
        said.extend(self.notes)
        if self.verdict == "do not distil":
            said.append(
                "No sample can prove that two representations share little: this holds "
                "as far as their dependence is of the kind that the method sees."
            )
        if self.verdict == "undecided":
            said.append(
                "More subjects narrow the interval; so do fewer, better feature "
                "dimensions."
            )
        return said

    def _lines(self) -> list[str]:
        low, high = self.gap_interval
        return [
            f"{self.verdict}: the gap is {self.gap:+.3f} nats, "
            f"{self.confidence:.0%} interval {between(low, high, '+.3f')}",
            f"I(teacher; student) = {self.i_ts.value:.3f}, "
            f"I(student; label) = {self.i_sl.value:.3f} nats",
            f"by {self.i_ts.method} on {self.i_ts.n_samples} subjects; "
            "see .reasons for why",
        ]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        first, *rest = (escape(line) for line in self._lines())
        return f"<p><strong>{first}</strong><br>{'<br>'.join(rest)}</p>"


@own_state()
def assess(
    teacher: Any,
    student: Any,
    labels: Any,
    method: str = "latent",
    *,
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    groups: Any = None,
    rescale: str = "columns",
    calibrate: bool = True,
    components: int | None = None,
) -> Assessment:
    """Assess a teacher for a student by the CCH, before distilling.

    Parameters
    ----------
    teacher, student : array (n,) or (n, p)
        Representations of the same n subjects, one row a subject, of networks trained
        *without* distillation, computed on subjects that neither was trained on.
    labels : array (n,)
        Classes (integers, booleans or strings) or a regression target (floats). Floats
        with at most 20 distinct values could be either and are refused; a target that
        has so few is given as a column, (n, 1).
    method : {"latent", "lmi", "ksg", "mine", "gaussian"}
        See `cchlib.mi.estimate_mi`.
    runs : int
        Independent runs of a random estimator, and splits into halves. The
        deterministic methods need one run, and take 25 splits or `runs`, whichever is
        more.
    confidence : float
        Of the interval, in (0, 1).
    seed : int
    device : str
        "auto" (the GPU where there is one), "cpu", "cuda"…; for the estimators that
        train networks.
    groups : array (n,), optional
        The subject of each row where a subject has several: they stay together in a
        half. The intervals then need at least 8 subjects, and better 30.
    rescale : {"columns", "block", "none"}
        "columns" brings every column to mean 0 and unit variance, so that units and
        offsets don't matter; "block" only the whole block, which keeps its columns'
        proportions; "none" takes the features as they are.
    calibrate : bool
        Read the estimates against surrogates of known information. Costs as much again
        as the halves do.
    components : int, optional
        Wider blocks are reduced to so many leading principal components: to the largest
        power of two that is neither more than this nor more than half of the subjects.
        Both terms are then those of the reduced blocks, which `notes` says.
        None: all columns, whatever they cost.

    Returns
    -------
    Assessment

    Raises
    ------
    ValueError
        On NaN or infinity, unequal lengths, fewer than 20 subjects (50 with "latent"),
        a constant block, a single class, a class with fewer than 10 subjects, ambiguous
        float labels, fewer than 8 groups, an unknown method or rescale, runs < 1,
        components < 1 or a confidence outside (0, 1).
    """
    return assess_teachers(
        {"teacher": teacher},
        student,
        labels,
        method,
        runs=runs,
        confidence=confidence,
        seed=seed,
        device=device,
        groups=groups,
        rescale=rescale,
        calibrate=calibrate,
        components=components,
    )["teacher"]


@own_state()
def rank_teachers(
    teachers: Mapping[str, Any],
    student: Any,
    labels: Any,
    method: str = "latent",
    *,
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    groups: Any = None,
    rescale: str = "columns",
    calibrate: bool = True,
    components: int | None = None,
) -> pd.DataFrame:
    """Order candidate teachers for one student, by the gap; arguments as for `assess`.

    All teachers are judged on the same splits and against the same I(student; label),
    so that the order is that of I(teacher; student) and the differences between
    teachers are paired.

    Returns
    -------
    DataFrame, best first
        Columns teacher, i_ts, i_sl, gap, low, high (nats), verdict, behind_best and
        behind_best_se: how far the gap is behind the first row's, and the standard
        error of that difference. A teacher less than two standard errors behind can't
        be told from the best.
    """
    found = assess_teachers(
        teachers,
        student,
        labels,
        method,
        runs=runs,
        confidence=confidence,
        seed=seed,
        device=device,
        groups=groups,
        rescale=rescale,
        calibrate=calibrate,
        components=components,
    )
    best = next(iter(found.values()))
    rows = []
    for name, a in found.items():
        low, high = a.gap_interval
        behind = best.half_gaps - a.half_gaps
        rows.append(
            {
                "teacher": name,
                "i_ts": a.i_ts.value,
                "i_sl": a.i_sl.value,
                "gap": a.gap,
                "low": low,
                "high": high,
                "verdict": a.verdict,
                "behind_best": best.gap - a.gap,
                "behind_best_se": _half_sample_error(behind, a.i_ts.n_samples),
            }
        )
    return pd.DataFrame(rows)


@own_state()
def assess_teachers(
    teachers: Mapping[str, Any],
    student: Any,
    labels: Any,
    method: str = "latent",
    *,
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    groups: Any = None,
    rescale: str = "columns",
    calibrate: bool = True,
    components: int | None = None,
) -> dict[str, Assessment]:
    """The `Assessment` of every teacher, best first;
    arguments as for `rank_teachers`.
    """
    runs, seed = check.integer("runs", runs, 1), check.integer("seed", seed)
    if np.ndim(confidence) or not 0 < check.within("confidence", confidence) < 1:
        raise ValueError(
            f"`confidence` must be in (0, 1), such as 0.95, got {confidence!r}"
        )
    if not isinstance(teachers, Mapping) or not teachers:
        raise ValueError(
            "`teachers` must be a mapping {name: representation} of at least one, "
            f"got {type(teachers).__name__}"
        )
    given = {f"teacher {name}": value for name, value in teachers.items()}
    given = names.match_rows(**given, student=student, labels=labels, groups=groups)
    teachers = {name: given[f"teacher {name}"] for name in teachers}
    student, labels, groups = given["student"], given["labels"], given["groups"]
    teachers = {
        name: _representation(
            "teacher" if name == "teacher" else f"teacher {name}", value
        )
        for name, value in teachers.items()
    }
    student, (labels, discrete) = _representation("student", student), _labels(labels)
    n = check.same_length(
        **{f"teacher {name}": value for name, value in teachers.items()},
        student=student,
        labels=labels,
    )
    estimator = ESTIMATORS[check.one_of("method", method, ESTIMATORS)]
    rows, repeated = _different_subjects(
        [*teachers.values(), student], labels, discrete
    )
    teachers = {name: value[rows] for name, value in teachers.items()}
    student, labels = student[rows], labels[rows]
    # what the method needs it needs in each half
    fewest = max(FEWEST_SUBJECTS, 2 * estimator.fewest(estimator.defaults))
    if len(rows) < fewest:
        raise ValueError(
            f"`teacher`, `student` and `labels` must hold at least {fewest} subjects "
            f"with method {method!r}, got {len(rows)}"
        )

    check.one_of("rescale", rescale, RESCALE)
    starts = None
    if groups is not None:
        order, starts = _by_group(groups, n, rows)
        teachers = {name: value[order] for name, value in teachers.items()}
        student, labels = student[order], labels[order]
    teachers = {name: _rescaled(value, rescale) for name, value in teachers.items()}
    student = _rescaled(student, rescale)
    if components is not None:
        components = check.integer("components", components, 1)
    reduced = {}
    for name, value in teachers.items():
        teachers[name], reduced[name] = _leading("teacher", value, components)
    student, reduced_student = _leading("student", student, components)
    task = _Task(method, runs, seed, device, float(confidence), calibrate, starts)
    splits = _halves(labels if discrete else None, len(rows), task.splits, seed, starts)
    if discrete:
        labels = np.unique(labels, return_inverse=True)[1]
    else:
        labels = _rescaled(labels, "none" if rescale == "none" else "columns")
    i_sl = task.term(student, labels, splits)
    label_entropy = float("nan")
    floor = None
    if discrete:
        label_entropy = float(stats.entropy(np.bincount(labels)))
        floor = _probe_floor(student, labels, task)
    i_sl = i_sl.within(floor or 0.0, label_entropy if discrete else np.inf)
    found = {}
    for name, teacher in teachers.items():
        i_ts = task.term(teacher, student, splits).within(0.0, np.inf)
        least = -np.inf
        if discrete:
            # I(H1; H2) - I(H2; Y) ≥ -H(Y | H1) = I(H1; Y) - H(Y)
            teacher_floor = _probe_floor(teacher, labels, task)
            least = -label_entropy
            if teacher_floor is not None:
                least += max(teacher_floor, 0.0)
            i_ts = i_ts.within(i_sl.value + least, np.inf)
        assessed = _assessment(i_ts, i_sl, least, floor, label_entropy, task)
        said = [repeated, reduced[name], reduced_student]
        found[name] = replace(assessed, notes=(*filter(None, said), *assessed.notes))
    return dict(sorted(found.items(), key=lambda item: -item[1].gap))


@dataclass(frozen=True)
class _Term:
    """One term of the gap: its value, what is not known of its bias (`least` to
    `most`), and the interval (`low`, `high`) that sampling adds to that.
    """

    estimate: MIEstimate
    value: float
    least: float
    most: float
    low: float
    high: float
    halves: np.ndarray  # (splits, 2), on the scale of the value
    own_halves: np.ndarray  # (splits, 2), as the method answers
    bias: float
    saturated: bool  # as the method tells, or as `beyond`
    beyond: bool = False  # above all that pairs of known information give

    def within(self, floor: float, ceiling: float) -> _Term:
        """The term with what is known of it: it lies between `floor` and `ceiling`."""
        names = ("value", "least", "most", "low", "high")
        clipped: dict[str, Any] = {
            name: float(np.clip(getattr(self, name), floor, ceiling)) for name in names
        }
        return replace(self, **clipped)


@dataclass(frozen=True)
class _Task:
    """How the terms are estimated."""

    method: str
    runs: int
    seed: int
    device: str
    confidence: float
    calibrate: bool
    starts: np.ndarray | None

    @property
    def estimator(self) -> Estimator:
        return ESTIMATORS[self.method]

    @property
    def random(self) -> bool:
        return self.estimator.random

    @property
    def splits(self) -> int:
        return self.runs if self.random else max(self.runs, CHEAP_SPLITS)

    @property
    def quantile(self) -> float:
        """Of Student's t, with as many degrees as splits, or as subjects allow."""
        degrees = self.splits
        if self.starts is not None:
            degrees = min(degrees, len(self.starts) - 1)
        return float(stats.t.ppf((1 + self.confidence) / 2, degrees))

    def answers(self, pairs: Sequence[tuple]) -> np.ndarray:
        """One run of the method on each pair, without an error of its own."""
        found = _values(pairs, self.method, self.seed, self.device)
        return np.array(
            [_finite(value, *pair) for value, pair in zip(found, pairs, strict=True)]
        )

    def term(self, x: np.ndarray, y: np.ndarray, splits: list) -> _Term:
        """I(x; y) on all rows and on the halves, read against surrogates."""
        raw = estimate_mi(
            x,
            y,
            self.method,
            runs=self.runs if self.random else 1,
            seed=self.seed,
            device=self.device,
            **self.estimator.keep_scale,
        )
        answer = _finite(raw.value, x, y)
        seeds = np.random.SeedSequence(self.seed).generate_state(2)
        halves = _on_halves(
            x, y, self.method, splits, (int(seeds[0]), int(seeds[1])), self.device
        )
        error = _half_sample_error(halves, len(x))
        if self.estimator.null_error is not None and y.ndim == 2:
            # halves may have been given fewer columns than the whole
            least = self.estimator.null_error(x, y)
            if 0 < error < least:
                halves = halves.mean() + (halves - halves.mean()) * (least / error)
                error = least
        saturated = bool(getattr(raw, "saturated", False)) or not np.isfinite(raw.value)
        if not self.calibrate:
            reach = self.quantile * error
            term = _Term(
                raw, answer, answer, answer, answer - reach, answer + reach,
                halves, halves, float("nan"), saturated,
            )  # fmt: skip
        else:
            term = self._calibrated(x, y, raw, answer, halves, error, saturated)
        if not raw.trusted:
            return replace(term, least=-np.inf, low=-np.inf, most=np.inf, high=np.inf)
        return replace(term, high=np.inf) if term.saturated else term

    def _calibrated(
        self,
        x: np.ndarray,
        y: np.ndarray,
        raw: MIEstimate,
        answer: float,
        halves: np.ndarray,
        error: float,
        saturated: bool,
    ) -> _Term:
        draws = 0 if self.random else CALIBRATION_DRAWS
        if self.starts is None:  # the same surrogates whatever the order of the rows
            order = np.lexsort((x[:, 0], y if y.ndim == 1 else y[:, 0]))
            x, y = x[order], y[order]
        # the curve is an average of so many draws, each with the estimate's own error
        error *= np.sqrt(1 + 1 / max(draws, 1))
        reach = self.quantile * error
        families: Sequence[
            surrogates.Factor
            | surrogates.Matched
            | surrogates.Spread
            | surrogates.Channel
        ]
        if y.ndim == 1:
            families = surrogates.label_families(x, y, self.starts)
            families = families[:1] if self.random else families
            most = 0.999 * float(stats.entropy(np.bincount(y)))
            levels = np.array(CLASS_LEVELS[self.random]) * most
        else:
            families = surrogates.families(x, y, self.starts, self.seed)
            if self.random and len(families) > 2:
                families = [families[0], families[-1]]
            most = surrogates.MOST
            levels = np.array(LEVELS[self.random]) * np.clip(answer, 0.1, 4.0)
        curves = [
            surrogates.curve(
                family, levels, answer, reach, most, self.answers, self.seed, draws
            )
            for family in families
        ]
        if self.starts is not None:
            # one that gives this answer at no level explains nothing:
            # it comes last, and leaves the interval open above
            curves.sort(key=lambda one: np.isinf(one.truth(answer)))
        tops = np.array([one.levels[-1] for one in curves])
        at, low, high = (
            np.array([one.truth(value) for one in curves])
            for value in (answer, answer - reach, answer + reach)
        )
        beyond = bool(np.isinf(at[0]))
        value = float(min(at[0], tops[0]))
        ends = [
            min(curves[0].truth(answer + side * error), tops[0]) for side in (-1, 1)
        ]
        slope = (ends[1] - ends[0]) / (2 * error) if error > 0 else 1.0
        # what the step from Gaussian blocks to the data's own rows changed, the step to
        # the data's own dependence may change again
        unlike = 0.0
        if isinstance(families[0], surrogates.Matched) and np.isfinite(at[:2]).all():
            unlike = abs(at[0] - at[1])
        least = float(np.minimum(at, tops).min()) - unlike
        lowest = float(np.minimum(low, tops).min()) - unlike
        if y.ndim == 2:
            # no surer that something is shared than the method itself is
            least = min(least, answer)
            lowest = min(lowest, answer - reach)
        return _Term(
            raw,
            value,
            least,
            float(at.max()) + unlike,
            lowest,
            float(high.max()) + unlike,
            value + slope * (halves - halves.mean()),
            halves,
            answer - value,
            saturated or beyond,
            beyond and not saturated,
        )


def _assessment(
    i_ts: _Term,
    i_sl: _Term,
    least: float,
    floor: float | None,
    label_entropy: float,
    task: _Task,
) -> Assessment:
    """The difference of two terms, with its interval; the gap is at least `least`."""
    n = i_ts.estimate.n_samples
    gap = i_ts.value - i_sl.value
    half_gaps = i_ts.halves - i_sl.halves
    own_half_gaps = i_ts.own_halves - i_sl.own_halves
    own_gap = i_ts.estimate.value - i_sl.estimate.value
    drift = float(own_gap - own_half_gaps.mean())

    # what is not known of the bias adds up; sampling adds in squares (Zou and Donner)
    together = _together(i_ts.halves, i_sl.halves)
    unnarrowed = min(together, 0.0)
    if task.splits < CHEAP_SPLITS:
        together = unnarrowed  # too few splits to narrow the interval by
    # nor by a term whose own interval was cut off at the least that it can be: what is
    # left of its reach is not what sampling gave it
    cut_ts = i_ts.low <= 0.0
    cut_sl = i_sl.low <= max(floor or 0.0, 0.0)
    low = (
        i_ts.least
        - i_sl.most
        - _reach(
            i_ts.least - i_ts.low,
            i_sl.high - i_sl.most,
            unnarrowed if cut_ts else together,
        )
    )
    high = (
        i_ts.most
        - i_sl.least
        + _reach(
            i_ts.high - i_ts.most,
            i_sl.least - i_sl.low,
            unnarrowed if cut_sl else together,
        )
    )
    if not task.calibrate and np.isfinite(drift):
        low, high = low + min(drift, 0), high + max(drift, 0)
    low = min(max(low, least), gap)
    high = max(high, gap)

    name = f"H(Y) = {label_entropy:.3f}"
    notes = []
    for what, term in (("teacher; student", i_ts), ("student; label", i_sl)):
        if not term.estimate.trusted:
            reason = " ".join(term.estimate.notes)
            notes.append(f"I({what}) decides nothing. {reason}")
    if i_ts.beyond:
        notes.append(
            "I(teacher; student) is bounded from below only: no pair of known "
            "information made of these arrays gives the method as high an answer."
        )
    elif i_ts.saturated:
        notes.append(
            "I(teacher; student) is saturated: it is what the method can say at most "
            "on so many subjects, and bounds the truth from below only."
        )
    if i_sl.saturated:
        upper = (
            f"only {name} bounds it above"
            if np.isfinite(label_entropy)
            else ("nothing bounds it above")
        )
        notes.append(f"I(student; label) is saturated: {upper}.")
    own = float(np.mean(i_sl.estimate.values)) if i_sl.estimate.values else np.nan
    if own >= label_entropy - 1e-9:
        notes.append(
            f"The method's I(student; label), {own:.3f}, is at or above its ceiling "
            f"{name}: read it as H(Y)."
        )
    if min(own, i_ts.estimate.value) < 0:
        notes.append(
            "A negative answer to a quantity that can't be negative was read as zero "
            "within its error."
        )
    if floor is not None and i_sl.value == floor > 0:
        notes.append(
            "A held-out linear probe shows that I(student; label) is at least "
            f"{floor:.3f}."
        )
    return Assessment(
        replace(i_ts.estimate, value=i_ts.value),
        replace(i_sl.estimate, value=i_sl.value),
        (float(low), float(high)),
        _half_sample_error(half_gaps, n)
        * (np.sqrt(1 + 1 / CALIBRATION_DRAWS) if task.calibrate else 1.0),
        drift,
        task.confidence,
        label_entropy,
        half_gaps,
        i_ts.bias,
        i_sl.bias,
        tuple(notes),
    )


def _together(one: np.ndarray, other: np.ndarray) -> float:
    """Correlation of the errors of two terms, by their values on halves (splits, 2); 0
    where one of these is infinite.
    """
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return 0.0
    left, right = one[:, 0] - one[:, 1], other[:, 0] - other[:, 1]
    norm = np.sqrt((left**2).sum() * (right**2).sum())
    return float((left * right).sum() / norm) if norm > 0 else 0.0


def _reach(left: float, right: float, together: float) -> float:
    """√(a² + b² - 2rab), inf where a or b is."""
    if not np.isfinite([left, right]).all():
        return float("inf")
    return float(np.sqrt(max(left**2 + right**2 - 2 * together * left * right, 0.0)))


def _probe_floor(x: np.ndarray, codes: np.ndarray, task: _Task) -> float | None:
    """What I(x; codes) is at least, by a held-out linear probe; None with groups, whose
    rows its folds would tear apart.
    """
    if task.starts is not None:
        return None
    bound, error = probe_bound(x, codes, seed=task.seed)
    return float(bound - task.quantile * error)


def _finite(value: float, x: np.ndarray, y: np.ndarray) -> float:
    """`value`, or what double precision can tell at most where it is infinite."""
    columns = 1 if y.ndim == 1 else min(x.shape[1], y.shape[1])
    return float(min(value, MOST_NATS * columns))


def _rescaled(array: np.ndarray, how: str) -> np.ndarray:
    """Columns, or the block, at mean 0 and unit variance, to single precision.

    Single precision hides the last bits, in which the same data in other units differ.
    """
    if how == "none":
        return array
    array = np.where(check.varies(array), array - array.mean(0), 0.0)
    scale = array.std(0) if how == "columns" else array.std()
    return (array / np.where(scale > 0, scale, 1.0)).astype(np.float32).astype(float)


def _leading(name: str, array: np.ndarray, most: int | None) -> tuple[np.ndarray, str]:
    """The leading principal components of a wide block, and a sentence that says so.

    They are turned by a Hadamard matrix: no information goes, and every column has the
    same variance, so that an estimator that standardises columns keeps the proportions
    of the components.
    """
    n, p = array.shape
    if most is None or p <= (most := min(most, n // 2)):
        return array, ""
    kept = 2 ** (most.bit_length() - 1)
    centred = array - array.mean(0)
    scores = principal_components(centred, -1.0)[0][:, :kept]
    share = (scores**2).sum() / (centred**2).sum()
    scores = scores * np.where((scores**3).sum(0) < 0, -1.0, 1.0)  # eigh takes either
    turned = scores @ hadamard(kept) / np.sqrt(kept)
    return turned, (
        f"Of the {name}'s {p} columns the {kept} leading principal components were "
        f"taken, {share:.0%} of the variance: what the others share is not counted."
    )


def _different_subjects(
    blocks: Sequence[np.ndarray], labels: np.ndarray, discrete: bool
) -> tuple[np.ndarray, str]:
    """The rows (m,) that repeat no other in all blocks and the label, and a sentence
    where some do.
    """
    if discrete:
        labels = np.unique(labels, return_inverse=True)[1]
    rows = repeats.distinct_rows([*blocks, labels])
    if rows is None:
        return np.arange(len(labels)), ""
    return rows, repeats.told(len(labels), rows)


def _by_group(groups: Any, n: int, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """An order that brings the chosen rows (m,) of one group together, and where each
    group starts in it; `groups` has one entry for each of all n rows.
    """
    groups = names.groups_of(groups, n)
    found, codes = np.unique(groups[rows], return_inverse=True)
    if len(found) < FEWEST_GROUPS:
        raise ValueError(
            f"`groups` must hold at least {FEWEST_GROUPS} subjects, got {len(found)}"
        )
    order = np.argsort(codes, kind="stable")
    return order, np.searchsorted(codes[order], np.arange(len(found)))


def _half_sample_error(values: np.ndarray, n: int) -> float:
    """Standard error on all n subjects of a quantity with `values` (splits, 2) on
    halves of them; nan where one of these is infinite.
    """
    if not np.isfinite(values).all():
        return float("nan")
    share = (n // 2) * (n - n // 2) / n**2
    return float(np.sqrt(np.mean((values[:, 0] - values[:, 1]) ** 2) * share))


def _on_halves(
    x: np.ndarray,
    y: np.ndarray,
    method: str,
    splits: list,
    seeds: tuple[int, int],
    device: str,
) -> np.ndarray:
    """Estimates (splits, 2) on both halves of every split; the halves of a split differ
    in the estimator's seed too.
    """
    sides = []
    for side in (0, 1):
        pairs = [(x[split[side]], y[split[side]]) for split in splits]
        sides.append(_values(pairs, method, seeds[side], device))
    values = np.array(sides).T
    columns = 1 if y.ndim == 1 else min(x.shape[1], y.shape[1])
    return np.minimum(values, MOST_NATS * columns)


def _values(pairs: Sequence[tuple], method: str, seed: int, device: str) -> list[float]:
    """Estimates, without an error of their own, of pairs like those that `method`
    took.
    """
    try:
        return bare_values(pairs, method, seed=seed, device=device)
    except ValueError as error:
        raise ValueError(
            "`teacher`, `student` and `labels` must hold more subjects for method "
            f"{method!r}: it takes all of them, but not their halves, or no pairs like "
            f"them, by which its error is judged ({error})"
        ) from error


def _halves(
    classes: np.ndarray | None,
    n: int,
    splits: int,
    seed: int,
    starts: np.ndarray | None = None,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random splits of n subjects into two halves, each with FEWEST_IN_CLASS subjects
    of every class.

    Not stratified: the shares of the classes are part of the sampling. The rows of one
    subject, from one of `starts` to the next, stay together.
    """
    rng = np.random.default_rng(seed)
    units = [] if starts is None else np.split(np.arange(n), starts[1:])

    def split() -> tuple[np.ndarray, np.ndarray]:
        if starts is None:
            order = rng.permutation(n)
            return order[: n // 2], order[n // 2 :]
        drawn = [units[i] for i in rng.permutation(len(units))]
        ends = np.cumsum([len(unit) for unit in drawn])
        at = int(np.abs(ends[:-1] - n / 2).argmin()) + 1
        return np.concatenate(drawn[:at]), np.concatenate(drawn[at:])

    if classes is None:
        return [split() for _ in range(splits)]
    names, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    rare = f"class {names[counts.argmin()]!s} has {counts.min()} subjects"
    if counts.min() < 2 * FEWEST_IN_CLASS:
        raise ValueError(
            f"`labels` must have at least {2 * FEWEST_IN_CLASS} of each class, "
            f"{FEWEST_IN_CLASS} in each half, got {rare}: merge the class with another "
            "or leave it out (a regression target is given as floats)"
        )
    found = []
    for _ in range(MOST_TRIES * splits):
        halves = split()
        if all(
            np.bincount(codes[half], minlength=len(names)).min() >= FEWEST_IN_CLASS
            for half in halves
        ):
            found.append(halves)
        if len(found) == splits:
            return found
    raise ValueError(
        f"`labels` must have {FEWEST_IN_CLASS} subjects of each class in both halves, "
        f"got {len(names)} classes, of which {rare} are too rare: merge rare classes "
        "or leave them out"
    )


def _representation(name: str, value: Any) -> np.ndarray:
    array = check.features(name, value)
    if (array == array[0]).all():
        raise ValueError(f"`{name}` must vary, got the same features for every subject")
    return array


def _labels(value: Any) -> tuple[np.ndarray, bool]:
    """The labels and whether they are classes: (n,) integers, booleans or strings are;
    a column (n, 1) of numbers is a target.
    """
    array = check.as_array("labels", value)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"`labels` must have shape (n,), one label a subject, got {array.shape}"
        )
    column = array.shape[1:] == (1,)
    if array.dtype.kind in "bUS" or (array.dtype.kind in "iu" and not column):
        array = array[:, 0] if column else array
        if array.ndim != 1:
            raise ValueError(
                "`labels` must be classes of shape (n,), not one-hot, got "
                f"{array.shape}"
            )
        names.check_entries("labels", array)
        names.all_labelled(array)
        if len(np.unique(array)) < 2:
            raise ValueError(
                f"`labels` must hold at least two classes, got {array[0]!s} alone"
            )
        return array, True
    target = check.features("labels", array)
    values = len(np.unique(target, axis=0))
    if (
        target.shape[1] > 1
        and np.isin(target, (0, 1)).all()
        and (target.sum(1) == 1).all()
    ):
        raise ValueError(
            "`labels` must be classes as integers (n,), got one-hot rows; use "
            "labels.argmax(1)"
        )
    if values == 1:
        raise ValueError("`labels` must vary, got a constant regression target")
    if array.ndim == 1 and values <= FEW_VALUES and values <= len(target) / 2:
        raise ValueError(
            "`labels` must say whether they are classes or a regression target, got "
            f"floats with only {values} distinct values: integers or strings, "
            "labels.astype(int), are classes; a column (n, 1), labels[:, None], or "
            "label.0 in a .csv file, is a target"
        )
    return target, False
