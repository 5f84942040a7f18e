"""A pilot distillation: linear heads on the student's frozen features.

Every head of a teacher's pilot (each λ, temperature, fold, and the plain student) sees
the same features, so that all are one stack: one matrix product a step.

**Classes.** Softmax heads with a ridge on the weights minimise Eq. 2,
``(1 − λ) CE(y, z) + λT² KL(softmax(t/T) ‖ softmax(z/T))``, by gradient steps in the
metric of the Hessian as a Kronecker product (classes times features, in principal
coordinates), with Nesterov's momentum and a restart of it, head by head, where it
points uphill.

**Regression.** Ridge heads; least squares is linear in its labels, so that two heads,
of the label and of the teacher, give all λ exactly: ŵ_λ = (1 − λ)ŵ_y + λŵ_T, with λ the
weight of Eq. 2's form, λ/(1 − λ) that of Eq. 4.

**What a gain is over.** *The plain student*: λ = 0, with the ridge that suits the plain
student best, kept for all. *Label smoothing at matched confidence*: the same λ and T,
with the teacher's soft target replaced by its mean over the subjects of the same class
(regression: by its regression on the label). That keeps what the teacher says of the
classes, and how confident it is, and takes away all that it knows of a subject.

**Pairs.** Rows that nobody labelled are seen by every head that has a soft target:
``(1 − λ)`` times the mean over labelled rows and λ times the mean over all, so that the
λ of the book's sum over rows is λ/((1 − λ)r) with r = (n + m)/n. They measure nothing,
and the plain student does not see them. A control that needs a label there takes what
the plain head of the same training part says: label smoothing what follows from that,
and a student that is its own teacher, where its outputs are not given, that itself,
which is self-training. The interval holds for the pairs at hand.

**Honesty.** λ and T are chosen inside every training part, by heads that leave out one
more fold, so that the gain at the chosen pair is measured on subjects that had no say
in the choice. The variance of the mean over folds is corrected for the overlap of
their training parts (Nadeau & Bengio, 2003): s²(1/J + n_test/n_train), Student's t with
J − 1 degrees of freedom, J = folds × repeats. Whole groups are held out together.

References
----------
- C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52
  (2003) 239–281.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from torch import Tensor

from cchdecide.outputs import (
    Target,
    checked_groups,
    classes_in_headers,
    columns_of,
    folds_of,
    forms_of,
    outputs_of,
    predictions_of,
    target_of,
)
from cchdecide.unlabelled import Labelled, pairs_of
from cchlib import check
from cchlib.ambient import own_state
from cchlib.components import principal_components
from cchlib.mi.repeats import records_of
from cchlib.names import joined, match_rows
from cchlib.training import resolve_device

LAMS = (0.1, 0.3, 0.5, 0.7, 0.9)
TEMPERATURES = (1.0, 3.0)
#: ridges that the plain student chooses from, per subject and for standardised features
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
#: a head is done where a step would lower its loss by less than this, in nats
TOLERANCE = 1e-6
MOST_STEPS = 200
#: of the intercept
LEAST_RIDGE = 1e-6
#: gains below this share of the plain student's error are rounding, and count as 0
RESOLUTION = 1e-4
#: logits held at a time: stacks that need more are fitted in parts
MOST_LOGITS = 2e7


@dataclass(frozen=True)
class Gain:
    """A mean over folds with its interval; `p_value` is one-sided, small where > 0."""

    mean: float
    low: float
    high: float
    p_value: float
    std_error: float
    by_fold: np.ndarray = field(repr=False, compare=False)


@dataclass(frozen=True)
class Pilot:
    """What the heads on the student's frozen features gained from one teacher.

    Errors are Brier scores for classes (squared error of the probabilities, summed over
    the classes, in [0, 2]) and mean squared errors for a regression.

    Attributes
    ----------
    gain, over_smoothing : Gain
        The plain student's error, and that of label smoothing at matched confidence,
        less the distilled one's, at a λ and T chosen without the subjects that measure.
    over_itself : Gain or None
        The error of a student taught by its own outputs at the same λ and T, less the
        distilled one's; None without `student_output` and pairs.
    accuracy_gain : Gain or None
        Over the plain student, at the same λ and T; None for a regression.
    lam, temperature : float
        With the least error over all folds; λ in [0, 1] as in Eq. 2.
    plain_error : float
    table : DataFrame
        A row for each λ and T: gain, low, high, accuracy_gain. Not corrected for a
        choice among them.
    n_samples, n_pairs : int
        Subjects with a label, and without.
    plain, imitator : ndarray (n, K)
        Held-out predictions of heads fitted to the labels alone, and to the teacher
        alone (T = 1): what `predicted_gain` takes.
    """

    gain: Gain
    over_smoothing: Gain
    over_itself: Gain | None
    accuracy_gain: Gain | None
    lam: float
    temperature: float
    plain_error: float
    ridge: float
    n_samples: int
    n_pairs: int
    folds: int
    repeats: int
    confidence: float
    table: pd.DataFrame = field(repr=False, compare=False)
    plain: np.ndarray = field(repr=False, compare=False)
    imitator: np.ndarray = field(repr=False, compare=False)

    def __repr__(self) -> str:
        g, s = self.gain, self.over_smoothing
        kind = "Brier score" if self.accuracy_gain else "squared error"
        return (
            f"Pilot: {kind} {self.plain_error:.4g} of the plain student, λ = "
            f"{self.lam:g}, T = {self.temperature:g}\n"
            f"  gain {g.mean:+.4f} ({g.low:+.4f} to {g.high:+.4f}) "
            "over the plain student\n"
            f"  gain {s.mean:+.4f} ({s.low:+.4f} to {s.high:+.4f}) "
            "over label smoothing"
        )


@own_state()
def pilot(
    student_features: Any,
    labels: Any,
    teacher_outputs: Any,
    *,
    lams: Sequence[float] = LAMS,
    temperatures: Sequence[float] = TEMPERATURES,
    student_output: Any = None,
    pairs: tuple[Any, ...] | None = None,
    folds: int = 5,
    repeats: int = 2,
    groups: Any = None,
    classes: Sequence[Any] | None = None,
    outputs: str | Sequence[str | None] | None = None,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[float], None] | None = None,
) -> Pilot | dict[str, Pilot]:
    """Distil into linear heads on the student's frozen features: see the module's text.

    Parameters
    ----------
    student_features : array (n, p)
        Held out from the student's training.
    labels : array (n,)
        Classes, or a regression target, as for `assess`.
    teacher_outputs : array (n, K), or a mapping of names to them
        Logits or probabilities, a column a class; predictions for a regression.
        Teachers of a mapping share folds, so that their gains are paired.
    lams : sequence of floats in (0, 1]
        Weights of the teacher, Eq. 2.
    temperatures : sequence of floats > 0
        Not used by a regression.
    student_output : array (n, K), optional
        What the student says itself, in the form of `teacher_outputs`: for the gain
        over a student that is its own teacher.
    pairs : (array (m, K), array (m, p)), optional
        Of m further rows that nobody labelled: the teacher's outputs (for a mapping of
        teachers, a mapping of the same names) and the student's features; a third array
        (m, K) are the student's own outputs, beside `student_output`. Those that repeat
        a labelled row are left out.
    folds, repeats : int
        The folds, and how often they are drawn anew.
    groups : array (n,), optional
        Subjects' groups (patients, speakers): whole ones are held out. So are rows
        that repeat one another.
    classes : sequence, optional
        The classes of the outputs' columns, where neither their headers nor the labels'
        categories name them and they are not in sorted order.
    outputs : {"probabilities", "logits"}, or (teacher's, student's), optional
        What the outputs are, where it can't be seen.
    confidence : float in (0, 1)
    seed : int
    device : str
    progress : callable(share in [0, 1]), optional

    Returns
    -------
    Pilot, or dict of name -> Pilot

    Raises
    ------
    ValueError
        On NaN or infinity, unequal lengths, outputs that are not of the labels'
        classes, a class too rare for the folds, numbers out of range.
    """
    single = not isinstance(teacher_outputs, Mapping)
    teachers = {"teacher_outputs": teacher_outputs} if single else dict(teacher_outputs)
    if not teachers:
        raise ValueError("`teacher_outputs` must hold at least one teacher, got none")
    lams = [float(check.within("lams", lam, 0.0, 1.0, open_low=True)) for lam in lams]
    temperatures = [
        float(check.within("temperatures", t, 0.0, open_low=True)) for t in temperatures
    ]
    if not lams or not temperatures:
        raise ValueError(
            "`lams` and `temperatures` must hold at least one each, got none"
        )
    folds = check.integer("folds", folds, 3)
    repeats = check.integer("repeats", repeats, 1)
    if np.ndim(confidence) or not 0 < check.within("confidence", confidence) < 1:
        raise ValueError(f"`confidence` must be in (0, 1), got {confidence!r}")

    first = next(iter(teachers.values()))
    rows = match_rows(
        student_features=student_features,
        labels=labels,
        student_output=student_output,
        groups=groups,
        **{_asked(name): value for name, value in teachers.items()},
    )
    labels, student_output = rows["labels"], rows["student_output"]
    teachers = {name: rows[_asked(name)] for name in teachers}
    if classes is None:
        classes = classes_in_headers(labels, *teachers.values(), student_output)
    target = target_of(labels, columns_of(first), classes)
    form, own_form = forms_of(outputs)
    said = {name: outputs_of(name, t, target, form) for name, t in teachers.items()}
    x = check.features("student_features", rows["student_features"])
    n = check.same_length(student_features=x, labels=target.y)
    own = None
    if student_output is not None:
        own = outputs_of("student_output", student_output, target, own_form)
    groups = checked_groups(rows["groups"], n, folds)
    member = records_of([x, target.y, *said.values()])
    if member is not None:
        groups = checked_groups(joined(groups, member), n, folds)
    further = None
    if pairs is not None:  # heads are told of all rows at once
        known = Labelled(x, teachers, said, student_output, target)
        new = pairs_of(pairs, single, known, (form, own_form))
        further = new.features
        said, own = new.after(said, own)
    design = _Design.of(x, resolve_device(device), further)
    rng = np.random.default_rng(check.integer("seed", seed))
    parts = _Parts.draw(target, folds, repeats, groups, rng)
    kind = _Softmax if target.discrete else _Ridge
    heads = kind(design, target, parts)

    found = {}
    for index, (name, output) in enumerate(said.items()):

        def share(done: float, before: int = index) -> None:
            if progress is not None:
                progress((before + done) / len(said))

        found[name] = _pilot_of(
            heads, output, own, lams, temperatures, confidence, share
        )
    return found["teacher_outputs"] if single else found


def _asked(name: str) -> str:
    """What an error calls a teacher's outputs."""
    return name if name == "teacher_outputs" else f"teacher_outputs {name}"


def _pilot_of(heads, output, itself, lams, temperatures, confidence, progress) -> Pilot:
    """The pilot of one teacher, given the stack's plain heads."""
    parts, target = heads.parts, heads.target
    if not target.discrete:
        temperatures = [1.0]
    soft = {t: heads.soft(output, t) for t in temperatures}
    combos = list(itertools.product(lams, temperatures))
    every = np.arange(len(parts))

    # errors[c, s, f]: error at combination c, trained on part s, of the rows of fold f
    errors = np.empty((len(combos), len(parts), parts.folds))
    wrong = np.empty_like(errors)
    for done, temperature in enumerate(temperatures):
        here = [c for c, combo in enumerate(combos) if combo[1] == temperature]
        shares = np.repeat([combos[c][0] for c in here], len(parts))
        which = np.tile(every, len(here))
        fitted = heads.fit(soft[temperature], shares, temperature, which)
        square, missed = heads.errors(fitted, which)
        errors[here] = square.reshape(len(here), len(parts), -1)
        wrong[here] = missed.reshape(len(here), len(parts), -1)
        progress((done + 1) / (len(temperatures) + 2))
    plain, plain_wrong = heads.plain_errors

    # the choice for a fold: heads that left out it and one more fold, on that one
    outer = parts.outer
    chosen = np.array([errors[:, *parts.inner[s]].argmin() for s in outer])
    at = (outer, parts.held_out[outer])  # each part's own held-out fold
    own = errors[:, *at]
    distilled = own[chosen, np.arange(len(outer))]

    def with_target(of: Callable[[float, np.ndarray], Tensor]) -> np.ndarray:
        """Errors at the chosen λ and T with another target than the teacher's, which
        is asked for a T and parts.
        """
        found = np.empty(len(outer))
        for c in np.unique(chosen):
            lam, temperature = combos[c]
            which = np.flatnonzero(chosen == c)
            parts_here = outer[which]
            fitted = heads.fit(
                of(temperature, parts_here),
                np.full(len(which), lam),
                temperature,
                parts_here,
            )
            loss = heads.errors(fitted, parts_here)[0]
            found[which] = loss[np.arange(len(which)), parts.held_out[parts_here]]
        return found

    smoothed = with_target(lambda t, which: heads.without_subjects(soft[t], which))
    itself_taught = None
    if itself is not None or heads.pairs:
        itself_taught = with_target(lambda t, which: heads.itself(itself, t, which))
    progress((len(temperatures) + 1) / (len(temperatures) + 2))

    imitators = heads.fit(heads.soft(output, 1.0), np.ones(len(outer)), 1.0, outer)
    scale = float(plain[at].mean())
    share = parts.share

    def gain(values: np.ndarray, size: float) -> Gain:
        return _over_folds(values, size * RESOLUTION, share, confidence)

    rows = []
    for (lam, temperature), loss, miss in zip(combos, own, wrong[:, *at]):
        g = gain(plain[at] - loss, scale)
        row = {"lam": lam, "temperature": temperature}
        row |= {"gain": g.mean, "low": g.low, "high": g.high}
        if target.discrete:
            row["accuracy_gain"] = float((plain_wrong[at] - miss).mean())
        rows.append(row)
    best = int(own.mean(1).argmin())
    accuracy = None
    if target.discrete:
        miss = wrong[:, *at][chosen, np.arange(len(outer))]
        accuracy = gain(plain_wrong[at] - miss, 0.0)
    progress(1.0)
    return Pilot(
        gain=gain(plain[at] - distilled, scale),
        over_smoothing=gain(smoothed - distilled, scale),
        over_itself=None
        if itself_taught is None
        else gain(itself_taught - distilled, scale),
        accuracy_gain=accuracy,
        lam=combos[best][0],
        temperature=combos[best][1],
        plain_error=scale,
        ridge=heads.ridge,
        n_samples=len(target.y),
        n_pairs=heads.pairs,
        folds=parts.folds,
        repeats=parts.repeats,
        confidence=float(confidence),
        table=pd.DataFrame(rows),
        plain=heads.held_out(heads.plain[outer], outer),
        imitator=heads.held_out(imitators, outer),
    )


def _over_folds(
    values: np.ndarray, resolution: float, share: float, confidence: float
) -> Gain:
    """Mean over J overlapping training parts; `share` is n_test/n_train."""
    values = np.where(abs(values) < resolution, 0.0, values)
    count, mean = len(values), float(values.mean())
    error = float(np.sqrt(values.var(ddof=1) * (1 / count + share)))
    reach = stats.t.ppf((1 + confidence) / 2, count - 1) * error
    if error > 0:
        p_value = float(stats.t.sf(mean / error, count - 1))
    else:
        p_value = 0.0 if mean > 0 else 1.0
    return Gain(mean, mean - reach, mean + reach, p_value, error, values)


@dataclass(frozen=True)
class _Parts:
    """The training parts of all repeats: without one fold (outer), without two (inner).

    Attributes
    ----------
    fold : (parts, n)
        The fold of every row in the part's repeat.
    left_out : list of tuples of folds, one a part
    """

    fold: np.ndarray
    left_out: list[tuple[int, ...]]
    folds: int
    repeats: int

    @classmethod
    def draw(
        cls,
        target: Target,
        folds: int,
        repeats: int,
        groups: np.ndarray | None,
        rng: np.random.Generator,
    ) -> _Parts:
        singles: list[tuple[int, ...]] = [(f,) for f in range(folds)]
        pairs: list[tuple[int, ...]] = [(f, (f + 1) % folds) for f in range(folds)]
        drawn, left_out = [], []
        for _ in range(repeats):
            fold = folds_of(target, folds, groups, rng)
            drawn += [fold] * (len(singles) + len(pairs))
            left_out += singles + pairs
        parts = cls(np.array(drawn), left_out, folds, repeats)
        if target.discrete:
            _check_classes(target, parts)
        return parts

    def __len__(self) -> int:
        return len(self.left_out)

    @property
    def train(self) -> np.ndarray:
        """(parts, n): 1 where a row is trained on."""
        return np.array(
            [~np.isin(f, out) for f, out in zip(self.fold, self.left_out)], float
        )

    @property
    def outer(self) -> np.ndarray:
        """The parts that leave out a single fold."""
        return np.array([s for s, out in enumerate(self.left_out) if len(out) == 1])

    @property
    def held_out(self) -> np.ndarray:
        """(parts,): the first fold that a part leaves out;
        all of it for an outer one.
        """
        return np.array([out[0] for out in self.left_out])

    @property
    def inner(self) -> dict[int, tuple[int, int]]:
        """For each outer part: the part without its fold and the next, and the next."""
        found = {}
        for s in self.outer:
            found[s] = (s + self.folds, (self.left_out[s][0] + 1) % self.folds)
        return found

    @property
    def share(self) -> float:
        """n_test / n_train of the outer parts."""
        return 1 / (self.folds - 1)


def _check_classes(target: Target, parts: _Parts) -> None:
    """Refuse a class of which some part would train on nobody."""
    counts = parts.train @ target.y
    present = target.y.sum(0) > 0
    short = (counts == 0).any(0) & present
    if short.any():
        rare = target.names[int(short.argmax())]
        total = int(target.y[:, int(short.argmax())].sum())
        raise ValueError(
            "`labels` must have subjects (or groups) of every class in every part of "
            f"{parts.folds} folds, got class {rare!s} with {total}: merge it with "
            "another, leave it out, or take fewer folds"
        )


@dataclass(frozen=True)
class _Design:
    """Standardised features in principal coordinates, with a column of ones last.

    A ridge does not see a rotation, and min(N, p) coordinates hold all there is. The
    labelled rows alone say what standard is: the plain heads are the same with pairs
    and without.
    """

    scores: Tensor  # (N, q + 1): labelled rows, then pairs
    spectrum: Tensor  # (q + 1,): mean squares of the columns

    @classmethod
    def of(
        cls, x: np.ndarray, device: torch.device, further: np.ndarray | None = None
    ) -> _Design:
        every = x if further is None else np.vstack([x, further])
        n = len(x)
        # first by the largest entry, so that no square over- or underflows
        largest = abs(x).max(0)
        every = every[:, largest > 0] / largest[largest > 0]
        every = every - every[:n].mean(0)
        spread = every[:n].std(0)
        varies = spread > 1e-9
        if not varies.any():
            raise ValueError(
                "`student_features` must vary, got the same features for every subject"
            )
        every = every[:, varies] / spread[varies]
        scores, values = principal_components(every, 1e-10)
        scores = np.column_stack([scores, np.ones(len(every))])
        spectrum = np.append(values / len(every), 1.0)
        as_tensor: dict[str, Any] = dict(dtype=torch.float32, device=device)
        return cls(
            torch.tensor(scores, **as_tensor), torch.tensor(spectrum, **as_tensor)
        )


class _Heads:
    """What both kinds of heads share: the parts, the errors, the plain students."""

    plain: Tensor | None

    def __init__(self, design: _Design, target: Target, parts: _Parts):
        self.design, self.target, self.parts = design, target, parts
        device = design.scores.device
        as_tensor: dict[str, Any] = dict(dtype=torch.float32, device=device)
        self.y = torch.tensor(target.y, **as_tensor)
        self.train = torch.tensor(parts.train, **as_tensor)
        self.labelled = slice(0, len(self.y))
        self.pairs = len(design.scores) - len(self.y)
        self.ridge = self._best_ridge()
        every = np.arange(len(parts))
        self.plain = self.fit(self.y, np.zeros(len(parts)), 1.0, every)
        self.plain_errors = self.errors(self.plain, every)

    def _best_ridge(self) -> float:
        """The ridge with the least held-out error of the plain student."""
        outer, losses = self.parts.outer, []
        for ridge in RIDGES:
            self.ridge = ridge
            fitted = self.fit(self.y, np.zeros(len(outer)), 1.0, outer)
            loss = self.errors(fitted, outer)[0]
            losses.append(
                loss[np.arange(len(outer)), self.parts.held_out[outer]].mean()
            )
        return RIDGES[int(np.argmin(losses))]

    def soft(self, output: np.ndarray, temperature: float) -> Tensor:
        """The teacher's target (n, K) at a temperature."""
        raise NotImplementedError

    def from_label(self, soft: Tensor) -> Callable[[Tensor], Tensor]:
        """What of a target (n, K) follows from the label: a function of labels, or of
        what is taken for them, (..., K).
        """
        raise NotImplementedError

    def without_subjects(self, soft: Tensor, which: np.ndarray) -> Tensor:
        """What of a target follows from the label alone, (n, K); with pairs
        (S, n + m, K), where the plain heads of the parts `which` say the label.
        """
        follows = self.from_label(soft[self.labelled])
        known = follows(self.y)
        if not self.pairs:
            return known
        guessed = follows(self.predict(self._plain(which), self._further))
        return torch.cat([known.expand(len(which), -1, -1), guessed], 1)

    def itself(
        self, output: np.ndarray | None, temperature: float, which: np.ndarray
    ) -> Tensor:
        """The target of a student that is its own teacher: its outputs, and with pairs
        those of the plain heads where it has none, (S, n + m, K).
        """
        own = self.y[:0] if output is None else self.soft(output, temperature)
        if len(own) == len(self.design.scores):
            return own
        said = self.predict(self._plain(which), slice(None), temperature)
        said[:, : len(own)] = own
        return said

    def _plain(self, which: np.ndarray) -> Tensor:
        assert self.plain is not None  # fitted before any target is made of them
        return self.plain[which]

    @property
    def _further(self) -> slice:
        return slice(len(self.y), None)

    def fit(self, soft: Tensor, lam: np.ndarray, temperature: float, which) -> Tensor:
        """Heads (S, q + 1, K) for the parts `which`, one λ each.

        `soft` is (rows, K), or (S, rows, K) of a target that differs by part; its rows
        are the labelled ones, or those and the pairs.
        """
        raise NotImplementedError

    def predict(
        self, weights: Tensor, rows: slice | None = None, temperature: float = 1.0
    ) -> Tensor:
        """Predictions (S, rows, K), by default on the labelled rows."""
        raise NotImplementedError

    def errors(self, weights: Tensor, which: np.ndarray) -> tuple:
        """Squared errors and shares of wrong decisions, (S, folds) each."""
        size = self._at_once()
        square, wrong = [], []
        fold = torch.tensor(self.parts.fold[which], device=self.y.device)
        member = torch.nn.functional.one_hot(fold, self.parts.folds).float()
        member /= member.sum(1, keepdim=True).clamp(min=1)
        for start in range(0, len(which), size):
            piece = slice(start, start + size)
            said = self.predict(weights[piece])
            loss = ((said - self.y) ** 2).sum(-1)
            square.append(torch.einsum("sn,snf->sf", loss, member[piece]).cpu())
            if self.target.discrete:
                miss = (said.argmax(-1) != self.y.argmax(-1)).float()
                wrong.append(torch.einsum("sn,snf->sf", miss, member[piece]).cpu())
        squares = torch.cat(square).double().numpy()
        missed = torch.cat(wrong).double().numpy() if wrong else np.zeros_like(squares)
        return squares, missed

    def held_out(self, weights: Tensor, which: np.ndarray) -> np.ndarray:
        """Predictions (n, K) for every row by heads that did not train on it, averaged
        over the repeats.
        """
        total = np.zeros(self.target.y.shape)
        for weight, part in zip(weights, which):
            rows = self.parts.fold[part] == self.parts.held_out[part]
            total[rows] += self.predict(weight[None])[0].double().cpu().numpy()[rows]
        return total / self.parts.repeats

    def _at_once(self) -> int:
        rows, width = len(self.design.scores), self.target.y.shape[1]
        return max(1, int(MOST_LOGITS / (rows * width)))


class _Softmax(_Heads):
    """Softmax heads: see the module's text."""

    plain: Tensor | None = None

    def soft(self, output: np.ndarray, temperature: float) -> Tensor:
        scaled = torch.tensor(output / temperature, device=self.y.device)
        return scaled.softmax(-1).to(self.y.dtype)

    def from_label(self, soft: Tensor) -> Callable[[Tensor], Tensor]:
        counts = self.y.sum(0).clamp(min=1)[:, None]
        means = self.y.T @ soft / counts  # a row a class
        return lambda label: label @ means

    def predict(
        self, weights: Tensor, rows: slice | None = None, temperature: float = 1.0
    ) -> Tensor:
        logits = self._logits(weights, self.labelled if rows is None else rows)
        return (logits / temperature).softmax(-1)

    def _logits(self, weights: Tensor, rows: slice) -> Tensor:
        size, q, width = weights.shape
        flat = weights.transpose(0, 1).reshape(q, size * width)
        logits = self.design.scores[rows] @ flat
        return logits.reshape(-1, size, width).transpose(0, 1)

    def fit(self, soft: Tensor, lam: np.ndarray, temperature: float, which) -> Tensor:
        size = self._at_once()
        pieces = [
            self._fit_piece(
                soft if soft.ndim == 2 else soft[start : start + size],
                lam[start : start + size],
                temperature,
                part,
            )
            for start in range(0, len(which), size)
            if len(part := which[start : start + size])
        ]
        return torch.cat(pieces)

    def _fit_piece(
        self, soft: Tensor, lam: np.ndarray, temperature: float, which: np.ndarray
    ) -> Tensor:
        """All heads at once; those that are done leave the stack."""
        of_label, of_teacher = self._weights(which, soft.shape[-2])
        share = torch.as_tensor(lam, dtype=self.y.dtype, device=self.y.device)
        share = share[:, None, None]
        penalty = torch.full_like(self.design.spectrum, self.ridge)
        penalty[-1] = LEAST_RIDGE  # the intercept is all but free
        penalty = penalty[:, None]

        weights = self._start(which)
        rows = slice(0, soft.shape[-2])
        basis, curvature = self._curvature(weights, rows, share, temperature, penalty)
        done = weights.clone()
        active = torch.arange(len(which), device=self.y.device)
        ahead = weights
        momentum = torch.ones(len(which), device=self.y.device)
        best = torch.full_like(momentum, torch.inf)
        stride = torch.ones_like(momentum)
        for _ in range(MOST_STEPS):
            pull = self._pull(ahead, soft, share, temperature, of_label, of_teacher)
            gradient = self._gradient(pull) + penalty * ahead
            move = (gradient @ basis / curvature) @ basis.mT
            decrement = (move * gradient).sum((1, 2))

            going = decrement > 2 * TOLERANCE
            done[active[~going]] = ahead[~going]
            if not bool(going.any()):
                return done
            # a step that was too long for a head is halved, and its momentum forgotten
            worse = decrement > 4 * best
            stride = torch.where(worse, stride / 2, stride)
            best = torch.where(worse, decrement, torch.minimum(best, decrement))

            new = ahead - stride[:, None, None] * move
            uphill = (gradient * (new - weights)).sum((1, 2)) > 0
            momentum = torch.where(uphill | worse, torch.ones_like(momentum), momentum)
            grown = (1 + (1 + 4 * momentum**2).sqrt()) / 2
            carry = ((momentum - 1) / grown)[:, None, None]
            ahead, weights, momentum = new + carry * (new - weights), new, grown
            if not bool(going.all()):
                active, ahead, weights = active[going], ahead[going], weights[going]
                momentum, best, stride = momentum[going], best[going], stride[going]
                share = share[going]
                of_label, of_teacher = of_label[going], of_teacher[going]
                soft = soft if soft.ndim == 2 else soft[going]
                basis, curvature = basis[going], curvature[going]
        done[active] = weights
        return done

    def _start(self, which: np.ndarray) -> Tensor:
        """The plain heads of the parts, where they are known."""
        if self.plain is not None:
            return self.plain[which].clone()
        shape = (len(which), len(self.design.spectrum), self.y.shape[1])
        return torch.zeros(shape, device=self.y.device)

    def _weights(self, which: np.ndarray, rows: int) -> tuple[Tensor, Tensor]:
        """Weights (S, n, 1) of the label's terms, and (S, rows, 1) of the teacher's,
        each of a mean over its own training rows.
        """
        train = self.train[which]
        further = train.new_ones(len(train), rows - train.shape[1])
        answered = torch.cat([train, further], 1)
        means = [each / each.sum(1, keepdim=True) for each in (train, answered)]
        return means[0][..., None], means[1][..., None]

    def _curvature(
        self, weights, rows, share, temperature, penalty
    ) -> tuple[Tensor, Tensor]:
        """The Hessian as a Kronecker product, mean of diag(p) − ppᵀ times the features'
        Gram matrix: eigenvectors (S, K, K) and eigenvalues (S, q + 1, K).
        """
        logits = self._logits(weights, rows)

        def spread(said: Tensor) -> Tensor:
            outer = said.mT @ said / said.shape[1]
            return torch.diag_embed(said.mean(1)) - outer

        matrix = (1 - share) * spread(logits.softmax(-1))
        matrix = matrix + share * spread((logits / temperature).softmax(-1))
        values, vectors = torch.linalg.eigh(matrix)
        values = values.clamp(min=0)[:, None]
        return vectors, self.design.spectrum[:, None] * values + penalty

    def _gradient(self, pull: Tensor) -> Tensor:
        """From that in the logits (S, rows, K), without the ridge."""
        size, rows, width = pull.shape
        flat = pull.transpose(0, 1).reshape(rows, size * width)
        gradient = self.design.scores[:rows].T @ flat
        return gradient.reshape(-1, size, width).transpose(0, 1)

    def _pull(self, weights, soft, share, temperature, of_label, of_teacher) -> Tensor:
        """Gradient of Eq. 2 in the logits, (S, rows, K)."""
        logits = self._logits(weights, slice(0, soft.shape[-2]))
        said = logits.softmax(-1)
        label = said[:, self.labelled] - self.y
        if temperature != 1.0:
            said = (logits / temperature).softmax(-1)
        pull = (share * temperature * of_teacher) * (said - soft)
        pull[:, self.labelled] += ((1 - share) * of_label) * label
        return pull


class _Ridge(_Heads):
    """Ridge heads: exact, and linear in their labels."""

    def soft(self, output: np.ndarray, temperature: float) -> Tensor:
        return torch.tensor(output, dtype=self.y.dtype, device=self.y.device)

    def from_label(self, soft: Tensor) -> Callable[[Tensor], Tensor]:
        def design(label: Tensor) -> Tensor:
            return torch.cat([torch.ones_like(label[..., :1]), label], -1).double()

        line = torch.linalg.lstsq(design(self.y), soft.double()).solution
        return lambda label: (design(label) @ line).to(soft.dtype)

    def predict(
        self, weights: Tensor, rows: slice | None = None, temperature: float = 1.0
    ) -> Tensor:
        rows = self.labelled if rows is None else rows
        return (self.design.scores[rows].double() @ weights).float()

    def fit(self, soft: Tensor, lam: np.ndarray, temperature: float, which) -> Tensor:
        weight = torch.tensor(lam, dtype=torch.float64, device=soft.device)
        weight = weight[:, None, None]
        if soft.ndim == 2 and len(soft) == len(self.y):
            # of every part two heads, of the label and of the teacher, give all λ
            parts, place = np.unique(which, return_inverse=True)
            targets = torch.cat([self.y, soft], 1)
            heads = [self._solved(*self._normal(part, targets)) for part in parts]
            of_label, of_teacher = torch.stack(heads)[place].chunk(2, dim=-1)
            return of_label + weight * (of_teacher - of_label)

        # with pairs the two means are over different rows, and their Gram matrices mix
        labelled = {part: self._normal(part, self.y) for part in np.unique(which)}
        heads = []
        for item, part in enumerate(which):
            target = soft if soft.ndim == 2 else soft[item]
            both = zip(labelled[part], self._normal(part, target))
            mixed = [mine + weight[item] * (told - mine) for mine, told in both]
            heads.append(self._solved(*mixed))
        return torch.stack(heads)

    def _normal(self, part: int, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The normal equations of the mean over a part's training rows, and over the
        pairs where the targets have them.
        """
        kept = self.train[part] > 0
        kept = torch.cat([kept, kept.new_ones(len(targets) - len(kept))])
        inside = self.design.scores[: len(targets)][kept].double()
        moments = inside.T @ targets[kept].double() / len(inside)
        return inside.T @ inside / len(inside), moments

    def _solved(self, gram: Tensor, moments: Tensor) -> Tensor:
        penalty = torch.full_like(self.design.spectrum, self.ridge).double()
        penalty[-1] = 0.0
        return torch.linalg.lstsq(gram + penalty.diag(), moments).solution


__all__ = ["Gain", "Pilot", "pilot", "predictions_of"]
