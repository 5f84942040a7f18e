"""The criterion as a tool: should this student learn from that teacher?

The Cross-modal Complementarity Hypothesis (CCH) says that distillation helps where
I(H1; H2) > I(H2; Y): where the teacher's representation shares more with the student's
than the student's shares with the label. `assess` estimates both, their gap, and an
interval for it.

**The interval.** Subjects are split at random into two halves, and the gap is estimated on each. Two
disjoint halves of an i.i.d. sample are independent, so that for halves of m and n - m
subjects

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

Halves say something about bias too: for a linear statistic the mean over the two halves
*is* the full-sample value, so that ``drift`` = gap - mean of the half-sample gaps is
what doubling the sample did to the estimator's bias. Where the bias falls like 1/size,
the same amount is still to come. The interval is widened by it on that side, and only
there. A bias that doesn't move with n (a Gaussian formula on data that isn't, ksg in
many dimensions) can't be seen from the data: the chapter on mutual information measures
it.

References
----------
- D. N. Politis and J. P. Romano, "Large sample confidence regions based on subsamples
  under minimal assumptions", Annals of Statistics 22 (1994) 2031–2050.
- J. Shao and C. F. J. Wu, "A general theory for jackknife variance estimation", Annals
  of Statistics 17 (1989) 1176–1197.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cchlib import check
from cchlib.mi import MIEstimate, estimate_mi, estimate_mi_many
from cchlib.mi.interface import RANDOM
from cchlib.mi.lmi import PRESETS

#: float labels with at most so many distinct values, each seen twice or more on
#: average, are refused
FEW_VALUES = 20
#: fewer subjects than this are refused: two halves of 10 tell nothing
FEWEST_SUBJECTS = 20
#: and fewer than these, where the method itself needs more in each half
FEWEST_OF_METHOD = {
    "lmi": 2 * PRESETS["default"]["folds"] * (PRESETS["default"]["k"] + 2)
}
#: subjects that each class needs in each half: a neighbour search with k = 3 takes
#: four, five folds take five
FEWEST_IN_CLASS = 5
#: splits into halves where the estimator is deterministic and cheap
CHEAP_SPLITS = 25
#: random splits drawn for each one that has every class in both halves
MOST_TRIES = 2000
#: options that spare the deterministic methods a standard error of their own
WITHOUT_ERROR = {"ksg": {"parts": 0}, "gaussian": {"repeats": 0}}


@dataclass(frozen=True)
class Assessment:
    """What `assess` says of one teacher. Mutual information in nats.

    Attributes
    ----------
    i_ts, i_sl : MIEstimate
        I(teacher; student) and I(student; label) on all subjects.
    gap_interval : (float, float)
        At `confidence`; contains `gap`. See the module's text for what it accounts for.
    std_error : float
        Of the gap: sampling of the subjects and the estimator's randomness, without its
        bias.
    drift : float
        What doubling the sample did to the gap; the interval reaches so much further on
        that side.
    confidence : float
    label_entropy : float
        H(Y) of the labels given, the ceiling of I(student; label); nan for a regression
        target.
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

    @property
    def gap(self) -> float:
        """I(teacher; student) - I(student; label)."""
        return self.i_ts.value - self.i_sl.value

    @property
    def verdict(self) -> str:
        """Either "distil" or "do not distil"; "undecided" exactly when the interval contains
        0.
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
            f"({self.i_ts.value:.3f}) than the student shares with the label ({self.i_sl.value:.3f}).",
            f"The {self.confidence:.0%} interval of the gap, {low:.3f} to {high:.3f}, lies {place}.",
        ]
        if abs(self.drift) > self.std_error:
            said.append(
                "The estimate still moves with the sample: twice the subjects changed the gap by "
                f"{self.drift:+.3f} (standard error {self.std_error:.3f}); more would move it further."
            )
        if self.i_sl.value > self.label_entropy:
            said.append(
                f"I(student; label) exceeds its ceiling H(Y) = {self.label_entropy:.3f}: "
                "the estimate of it is too high."
            )
        if self.i_ts.value < 0 or self.i_sl.value < 0:
            said.append(
                "A negative estimate of a quantity that can't be negative: read it as zero within its error."
            )
        if self.verdict == "undecided":
            said.append(
                "More subjects narrow the interval; so do fewer, better feature dimensions."
            )
        return said


def assess(
    teacher: Any,
    student: Any,
    labels: Any,
    method: str = "lmi",
    *,
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
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
    method : {"lmi", "ksg", "mine", "gaussian"}
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

    Returns
    -------
    Assessment

    Raises
    ------
    ValueError
        On NaN or infinity, unequal lengths, fewer than 20 subjects (50 with "lmi"), a
        constant block, a single class, a class with fewer than 10 subjects, ambiguous
        float labels, an unknown method, runs < 1 or a confidence outside (0, 1).
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
    )["teacher"]


def rank_teachers(
    teachers: Mapping[str, Any],
    student: Any,
    labels: Any,
    method: str = "lmi",
    *,
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
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
    )
    best = next(iter(found.values()))
    return pd.DataFrame(
        [
            {
                "teacher": name,
                "i_ts": a.i_ts.value,
                "i_sl": a.i_sl.value,
                "gap": a.gap,
                "low": a.gap_interval[0],
                "high": a.gap_interval[1],
                "verdict": a.verdict,
                "behind_best": best.gap - a.gap,
                "behind_best_se": _half_sample_error(
                    best.half_gaps - a.half_gaps, a.i_ts.n_samples
                ),
            }
            for name, a in found.items()
        ]
    )


def assess_teachers(
    teachers: Mapping[str, Any],
    student: Any,
    labels: Any,
    method: str = "lmi",
    *,
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
) -> dict[str, Assessment]:
    """The `Assessment` of every teacher, best first; arguments as for `rank_teachers`."""
    runs, seed = check.integer("runs", runs, 1), check.integer("seed", seed)
    if np.ndim(confidence) or not 0 < check.within("confidence", confidence) < 1:
        raise ValueError(
            f"confidence is {confidence!r}; a number between 0 and 1 is wanted, such as 0.95"
        )
    if not isinstance(teachers, Mapping) or not teachers:
        raise ValueError(
            "teachers is empty or no mapping; {name: representation}, at least one, is wanted"
        )
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
    if n < (fewest := FEWEST_OF_METHOD.get(method, FEWEST_SUBJECTS)):
        raise ValueError(
            f"teacher, student and labels hold {n} subjects; at least {fewest} are wanted with method {method!r}"
        )

    random = method in RANDOM
    splits = _halves(
        labels if discrete else None,
        n,
        runs if random else max(runs, CHEAP_SPLITS),
        seed,
    )
    seeds = tuple(int(s) for s in np.random.SeedSequence(seed).generate_state(2))
    full_runs = runs if random else 1
    ceiling = (
        float(stats.entropy(np.unique(labels, return_counts=True)[1]))
        if discrete
        else float("nan")
    )

    i_sl = estimate_mi(
        student, labels, method, runs=full_runs, seed=seed, device=device
    )
    sl_halves = _on_halves(student, labels, method, splits, seeds, device)
    found = {}
    for name, teacher in teachers.items():
        i_ts = estimate_mi(
            teacher, student, method, runs=full_runs, seed=seed, device=device
        )
        half_gaps = (
            _on_halves(teacher, student, method, splits, seeds, device) - sl_halves
        )
        gap = i_ts.value - i_sl.value
        error, drift = _half_sample_error(half_gaps, n), float(gap - half_gaps.mean())
        reach = stats.t.ppf((1 + confidence) / 2, len(splits)) * error
        interval = (
            float(gap - reach + min(drift, 0)),
            float(gap + reach + max(drift, 0)),
        )
        if np.isnan(
            interval
        ).any():  # an infinite estimate: one representation determines the other, say
            interval = (-np.inf, np.inf)
        found[name] = Assessment(
            i_ts, i_sl, interval, error, drift, float(confidence), ceiling, half_gaps
        )
    return dict(sorted(found.items(), key=lambda item: -item[1].gap))


def _half_sample_error(values: np.ndarray, n: int) -> float:
    """Standard error on all n subjects of a quantity with `values` (splits, 2) on
    halves of them.
    """
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
    sides = [
        estimate_mi_many(
            [(x[split[side]], y[split[side]]) for split in splits],
            method,
            seed=seeds[side],
            device=device,
            **WITHOUT_ERROR.get(method, {}),
        )
        for side in (0, 1)
    ]
    return np.array([[estimate.value for estimate in side] for side in sides]).T


def _halves(
    classes: np.ndarray | None, n: int, splits: int, seed: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Random splits of n subjects into two halves, each with FEWEST_IN_CLASS subjects
    of every class.

    Not stratified: the shares of the classes are part of the sampling.
    """
    rng = np.random.default_rng(seed)
    if classes is None:
        return [tuple(np.split(rng.permutation(n), [n // 2])) for _ in range(splits)]
    names, codes, counts = np.unique(classes, return_inverse=True, return_counts=True)
    rare = f"class {names[counts.argmin()]!s} has {counts.min()} subjects"
    if counts.min() < 2 * FEWEST_IN_CLASS:
        raise ValueError(
            f"labels: {rare}; at least {2 * FEWEST_IN_CLASS} are wanted, {FEWEST_IN_CLASS} in each half: "
            "merge the class with another or leave it out (a regression target is given as floats)"
        )
    found = []
    for _ in range(MOST_TRIES * splits):
        split = tuple(np.split(rng.permutation(n), [n // 2]))
        if all(
            np.bincount(codes[half], minlength=len(names)).min() >= FEWEST_IN_CLASS
            for half in split
        ):
            found.append(split)
        if len(found) == splits:
            return found
    raise ValueError(
        f"labels: {len(names)} classes, of which {rare}, are too rare to be split into halves with "
        f"{FEWEST_IN_CLASS} subjects of each: merge rare classes or leave them out"
    )


def _representation(name: str, value: Any) -> np.ndarray:
    array = check.features(name, value)
    if (array == array[0]).all():
        raise ValueError(
            f"{name} is constant: every subject has the same features; features that vary are wanted"
        )
    return array


def _labels(value: Any) -> tuple[np.ndarray, bool]:
    """The labels and whether they are classes: (n,) integers, booleans or strings are."""
    array = check.as_array("labels", value)
    if array.ndim == 0 or array.size == 0:
        raise ValueError(
            f"labels has shape {array.shape}; one label a subject, (n,), is wanted"
        )
    if array.dtype.kind in "biuUS":
        array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
        if array.ndim != 1:
            raise ValueError(
                f"labels has shape {array.shape}; classes as (n,), not one-hot, are wanted"
            )
        if len(np.unique(array)) < 2:
            raise ValueError(
                f"labels holds a single class, {array[0]!s}; at least two are wanted"
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
            "labels is one-hot; classes as integers (n,), labels.argmax(1), are wanted"
        )
    if values == 1:
        raise ValueError(
            "labels is constant; a regression target that varies is wanted"
        )
    if array.ndim == 1 and values <= FEW_VALUES and values <= len(target) / 2:
        raise ValueError(
            f"labels are floats with only {values} distinct values: classes or a regression target? "
            "Say which: integers or strings, labels.astype(int), are classes; "
            "a column (n, 1), labels[:, None], is a target"
        )
    return target, False
