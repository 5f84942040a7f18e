"""Should this modality teach that one? Answered by distilling, on splits of the data.

**Splits.** Each repeat draws training, validation and test rows (60/20/20), stratified
by class; whole groups stay together. Where an official split is given, its test rows
are the test rows of every repeat and never train anything; training and validation rows
are drawn from the others, three to one. Columns are standardised on the training rows,
and wider views reduced to principal components of them.

**Arms.** All are networks of the same shape on the same rows, from the same initial
weights, stopped early by the validation rows' label loss.

===================  =================================================================
teacher              the teacher's view, from the labels
student              the student's view, from the labels
label smoothing      soft labels that are as sure as the teacher and know nothing else
self-distillation    the student taught by the plain student
distilled            the student taught by the teacher
self-training        with `pairs`: self-distillation that also sees the rows without
                     a label
distilled on pairs   with `pairs`: the same with the teacher
===================  =================================================================

Every arm is the best of the same number of fits by the validation loss: over (λ, T)
where there is a soft target, over learning rates and initial weights where there is
none. The learning rate that suits the plain student is used for all that imitate.

**Rows without labels.** With `pairs` a share of the training rows loses its label. The
teacher learns from the labelled rows alone: one that had seen the hidden labels would
hand them on.

**Verdict.** The gain is the accuracy of the distilled student less that of
self-distillation (with pairs: of self-training), which had the same choices; for a
regression the difference of squared errors over Var y. Repeats overlap in their
training rows, so that the variance of the mean is s² (1/J + n_test/n_train) with
Student's t of J - 1 degrees of freedom (Nadeau & Bengio, 2003). An official split has
one test part: its rows' sampling error is added, and the overlap counts the validation
rows in the place of the test rows. "helps" and "harms" are where the interval leaves
out 0.

References
----------
- G. Hinton, O. Vinyals, J. Dean, "Distilling the knowledge in a neural network" (2015).
- S. Gupta, J. Hoffman, J. Malik, "Cross modal distillation for supervision transfer",
  CVPR 2016.
- T. Furlanello et al., "Born-again neural networks", ICML 2018.
- C. Nadeau and Y. Bengio, "Inference for the generalization error", Machine Learning 52
  (2003) 239-281.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
import torch
from scipy import stats
from scipy.special import log_softmax, softmax
from sklearn.utils.extmath import randomized_svd
from torch import Tensor, nn

from cchdecide.decision import decide, rows_words, together
from cchdecide.heads import Gain
from cchdecide.outputs import Target, target_of
from cchdecide.rivals import rival_criteria
from cchdecide.study_report import Study
from cchlib import check
from cchlib.ambient import own_state
from cchlib.gaussian import predicted_gain
from cchlib.gaussian.held_out import additive_lambda
from cchlib.mi import MIEstimate, estimate_mi, estimate_mi_many
from cchlib.models import MLP
from cchlib.names import groups_of, listed, match_rows
from cchlib.training import PerNetwork, fit

LAMS = (0.3, 0.8)
TEMPERATURES = (1.0, 3.0)
LEARNING_RATES = (0.003, 0.01)
#: principal components that stand for a wider view
COMPONENTS = 64
HIDDEN = (64,)
EPOCHS = 30
PATIENCE = 5
#: rows of a batch; fewer where the training rows make less than four batches of it
BATCH = 128
FEWEST_IN_BATCH = 16
#: rows of training and validation parts (and the test part they imply) drawn a repeat
#: from larger data, and the most test rows
MOST_ROWS = 10_000
MOST_TEST_ROWS = 5_000
#: standardised values beyond this are cut off: a column that hardly varies among the
#: training rows can be anything elsewhere
FURTHEST = 10.0
#: numbers that the inputs of a stack hold
AT_ONCE = 2e6
#: group draws in which every part has two classes are looked for so often
MOST_TRIES = 500
VALIDATION, TEST = 0.2, 0.2

TEACHER, STUDENT, SMOOTHED = "teacher", "student", "label smoothing"
ITSELF, DISTILLED = "self-distillation", "distilled"
ITSELF_ON_PAIRS, ON_PAIRS = "self-training", "distilled on pairs"


@dataclass(frozen=True)
class Settings:
    """What a study's networks are and how they learn; the same for every arm."""

    lams: tuple[float, ...] = LAMS
    temperatures: tuple[float, ...] = TEMPERATURES
    learning_rates: tuple[float, ...] = LEARNING_RATES
    hidden: tuple[int, ...] = HIDDEN
    components: int = COMPONENTS
    epochs: int = EPOCHS
    patience: int = PATIENCE
    batch_size: int = BATCH
    max_rows: int = MOST_ROWS
    max_test_rows: int = MOST_TEST_ROWS
    device: str = "auto"

    def __post_init__(self) -> None:
        for name in ("lams", "temperatures", "learning_rates", "hidden"):
            value = getattr(self, name)
            if np.ndim(value) != 1 or not len(value):
                raise ValueError(f"`{name}` must be a non-empty sequence, got {value}")
        for lam in self.lams:
            if not 0 < check.within("lams", lam, 0.0, 1.0) < 1:
                raise ValueError(f"`lams` must be in (0, 1), got {lam}")
        for name in ("temperatures", "learning_rates"):
            for value in getattr(self, name):
                check.within(name, value, 0.0, open_low=True)
        for width in self.hidden:
            check.integer("hidden", width, 1)
        for name in ("components", "epochs", "patience", "batch_size"):
            check.integer(name, getattr(self, name), 1)
        check.integer("max_rows", self.max_rows, 20)
        check.integer("max_test_rows", self.max_test_rows, 10)

    @property
    def grid(self) -> list[tuple[float, float]]:
        """(λ, T) of every fit of an arm with a soft target."""
        return list(itertools.product(self.lams, self.temperatures))

    def plain_grid(self) -> list[tuple[float, int]]:
        """(learning rate, initialisation) of as many fits without one."""
        rates = itertools.cycle(self.learning_rates)
        return [(next(rates), start) for start in range(len(self.grid))]


# ------------------------------------------------------------------------ splits


@dataclass(frozen=True)
class Part:
    """Rows of one repeat. `labelled` marks the training rows whose label is known."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    labelled: np.ndarray


def draw_parts(
    target: Target,
    *,
    groups: np.ndarray | None = None,
    split: np.ndarray | None = None,
    pairs: float | None = None,
    repeats: int = 20,
    max_rows: int = MOST_ROWS,
    max_test_rows: int = MOST_TEST_ROWS,
    seed: int = 0,
) -> list[Part]:
    """Training, validation and test rows of every repeat: see the module's text."""
    parts = []
    for repeat in range(repeats):
        rng = np.random.default_rng([seed, repeat])
        for _ in range(MOST_TRIES):
            part = _one_part(target, groups, split, max_rows, max_test_rows, rng)
            poor = _poor(target, part)
            if poor is None:
                break
            if groups is None:  # another draw would be as poor
                break
        if poor is not None:
            raise ValueError(
                f"labels: the {poor} rows of a repeat hold a single class; at least "
                "two in each part are wanted"
                + (" (of groups)" if groups is not None else "")
            )
        hidden = _hidden(target, part.train, pairs, rng)
        parts.append(replace(part, labelled=~hidden))
    return parts


def _one_part(target, groups, split, max_rows, max_test_rows, rng) -> Part:
    every = np.arange(len(target.y))
    if split is None:
        rest, test = _cut(every, TEST, target, groups, rng)
        share = VALIDATION / (1 - TEST)
    else:
        rest, test = every[split == 0], every[split == 1]
        share = 0.25
    train, validation = _cut(rest, share, target, groups, rng)
    most = int(max_rows * (1 - VALIDATION - TEST))
    train = _at_most(train, most, target, rng)
    validation = _at_most(validation, int(max_rows * VALIDATION), target, rng)
    if split is not None:  # one test part for all repeats
        rng = np.random.default_rng(0)
    test = _at_most(test, max_test_rows, target, rng)
    return Part(train, validation, test, np.ones(len(train), bool))


def _cut(
    rows: np.ndarray,
    share: float,
    target: Target,
    groups: np.ndarray | None,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The rows in two parts, of which the second has about `share`."""
    wanted = share * len(rows)
    if groups is None:
        second = _drawn(rows, int(round(wanted)), target, rng)
        return np.setdiff1d(rows, second), second
    names, member, sizes = np.unique(
        groups[rows], return_inverse=True, return_counts=True
    )
    taken: list[int] = []
    size = 0
    for group in rng.permutation(len(names))[:-1]:
        nearer = abs(size + sizes[group] - wanted) < abs(size - wanted)
        if nearer or not taken:
            taken.append(int(group))
            size += sizes[group]
    inside = np.isin(member, taken)
    return rows[~inside], rows[inside]


def _drawn(
    rows: np.ndarray, size: int, target: Target, rng: np.random.Generator
) -> np.ndarray:
    """So many of the rows, each class in its proportion."""
    order = rng.permutation(rows)
    if target.codes is not None:
        order = order[np.argsort(target.codes[order], kind="stable")]
    # every (n / size)-th of the rows in the order of the classes
    edges = (np.arange(size) + rng.random()) * len(rows) / max(size, 1)
    return np.sort(order[edges.astype(int) % len(rows)])


def _at_most(rows, most, target, rng) -> np.ndarray:
    return rows if len(rows) <= most else _drawn(rows, most, target, rng)


def _hidden(
    target: Target, train: np.ndarray, pairs: float | None, rng: np.random.Generator
) -> np.ndarray:
    """Which training rows lose their label; every class keeps one at least."""
    if not pairs:
        return np.zeros(len(train), bool)
    known = _drawn(train, max(2, round((1 - pairs) * len(train))), target, rng)
    if target.codes is not None:
        missing = np.setdiff1d(target.codes[train], target.codes[known])
        first = [train[target.codes[train] == code][0] for code in missing]
        known = np.union1d(known, np.array(first, int))
    return ~np.isin(train, known)


def _poor(target: Target, part: Part) -> str | None:
    """The part whose rows have a single class."""
    if target.codes is None:
        return None
    for name in ("train", "validation", "test"):
        if len(np.unique(target.codes[getattr(part, name)])) < 2:
            return {"train": "training"}.get(name, name)
    return None


# ------------------------------------------------------------------------ inputs


@dataclass(frozen=True)
class Seen:
    """A view as the networks of one repeat see it."""

    train: Tensor
    validation: Tensor
    test: Tensor


def _seen(view: np.ndarray, parts: list[Part], components: int, seed: int):
    """The view's rows of every part, standardised on its training rows."""
    most = min(len(part.train) for part in parts)
    width = min(components, view.shape[1], most)
    found = []
    for number, part in enumerate(parts):
        train = view[part.train].astype(np.float32)
        centre, spread = train.mean(0), train.std(0)
        spread[spread < 1e-6 * np.maximum(abs(centre), 1e-6)] = np.inf
        # a column that is constant here is 0 everywhere

        def standard(rows: np.ndarray, centre=centre, spread=spread) -> np.ndarray:
            x = (view[rows].astype(np.float32) - centre) / spread
            return np.clip(x, -FURTHEST, FURTHEST)

        blocks = [standard(r) for r in (part.train, part.validation, part.test)]
        if width < view.shape[1]:
            _, values, axes = randomized_svd(
                blocks[0], width, n_iter=2, random_state=seed + number
            )
            # one scale for all components: their mean variance is 1
            scale = np.sqrt((values**2).mean() / len(part.train))
            turn = axes.T / max(float(scale), 1e-12)
            blocks = [block @ turn for block in blocks]
        found.append(Seen(*(torch.from_numpy(np.ascontiguousarray(b)) for b in blocks)))
    return found


# ------------------------------------------------------------------------ fits


@dataclass(frozen=True)
class _Job:
    """One network to be trained. `rows` of the training part, as positions in it;
    `soft` (rows, K) and `soft_validation` are probabilities, or predictions.
    """

    key: tuple
    part: int
    rows: np.ndarray
    start: int
    rate: float
    lam: float = 0.0
    temperature: float = 1.0
    soft: Tensor | None = None
    soft_validation: Tensor | None = None


@dataclass(frozen=True)
class _Fitted:
    network: nn.Module
    loss: float


class _Data:
    """What all arms share: the rows, the labels of the training part, one shape of
    networks.
    """

    def __init__(
        self, target: Target, parts: list[Part], settings: Settings, seed: int
    ):
        self.target, self.parts, self.settings, self.seed = (
            target,
            parts,
            settings,
            seed,
        )
        self.y: list[Tensor] = []
        self.y_validation: list[Tensor] = []
        self.units: list[tuple[np.ndarray, np.ndarray]] = []
        for part in parts:
            if target.codes is not None:
                self.y.append(torch.from_numpy(target.codes[part.train]).long())
                own = torch.from_numpy(target.codes[part.validation]).long()
                self.y_validation.append(own)
                continue
            known = target.y[part.train][part.labelled]
            centre, spread = known.mean(0), known.std(0)
            spread = np.where(spread > 0, spread, 1.0)
            self.units.append((centre, spread))
            for rows, into in (
                (part.train, self.y),
                (part.validation, self.y_validation),
            ):
                scaled = (target.y[rows] - centre) / spread
                into.append(torch.from_numpy(scaled).float())

    @property
    def outputs(self) -> int:
        return self.target.y.shape[1]

    def train(self, view: list[Seen], jobs: Sequence[_Job]) -> dict[tuple, _Fitted]:
        """All the networks, in as few stacks as memory allows."""
        found: dict[tuple, _Fitted] = {}
        kinds: dict[tuple, list[_Job]] = {}
        for job in jobs:
            # a stack has one rate; batches are drawn for the number of its rows
            kinds.setdefault((job.rate, job.lam > 0), []).append(job)
        for (rate, softly), group in kinds.items():
            group = sorted(group, key=lambda job: len(job.rows))
            longest = len(group[-1].rows)
            each = longest * (view[0].train.shape[1] + 2 * self.outputs)
            size = max(1, int(AT_ONCE / each))
            # stacks of equal size rather than a last one that is nearly empty
            size = int(np.ceil(len(group) / np.ceil(len(group) / size)))
            for first in range(0, len(group), size):
                stack = group[first : first + size]
                found |= self._stack(view, stack, rate, softly)
        return found

    def _stack(self, view, jobs, rate, softly) -> dict[tuple, _Fitted]:
        settings = self.settings
        width = view[0].train.shape[1]
        sizes = (width, *settings.hidden, self.outputs)
        networks = [MLP(sizes, seed=_seed(self.seed, j.part, j.start)) for j in jobs]
        longest = max(len(job.rows) for job in jobs)
        most = max(len(self.parts[job.part].validation) for job in jobs)
        x, y, known, soft, told = [], [], [], [], []
        vx, vy, vknown, vsoft, vtold = [], [], [], [], []
        for job in jobs:
            p, rows = job.part, torch.from_numpy(job.rows)
            labelled = torch.from_numpy(self.parts[p].labelled[job.rows]).float()
            x.append(_padded(view[p].train[rows], longest))
            y.append(_padded(self.y[p][rows], longest))
            # each term is a mean over its own rows, whatever the padding
            known.append(_padded(labelled * (longest / labelled.sum()), longest))
            count = len(self.y_validation[p])
            ones = torch.ones(count) * (most / count)
            vx.append(_padded(view[p].validation, most))
            vy.append(_padded(self.y_validation[p], most))
            imitates = job.soft_validation is not None
            vknown.append(_padded(0 * ones if imitates else ones, most))
            if not softly:
                continue
            equal = torch.ones(len(rows)) * (longest / len(rows))
            soft.append(_padded(job.soft, longest))
            told.append(_padded(equal, longest))
            blank = torch.zeros(count, self.outputs)
            vsoft.append(_padded(job.soft_validation if imitates else blank, most))
            vtold.append(_padded(ones if imitates else 0 * ones, most))
        lam = torch.tensor([job.lam for job in jobs])
        temperature = torch.tensor([job.temperature for job in jobs])
        loss = _class_loss if self.target.discrete else _square_loss
        n = min(len(job.rows) for job in jobs)
        batch = int(np.clip(n // 4, FEWEST_IN_BATCH, settings.batch_size))
        with_soft = [soft, told] if softly else []
        v_with_soft = [vsoft, vtold] if softly else []

        def weighted(output: Tensor, *seen: Tensor) -> Tensor:
            where = output.device
            return loss(output, *seen, lam=lam.to(where), t=temperature.to(where))

        history = fit(
            networks,
            PerNetwork(torch.stack(x)),
            [PerNetwork(torch.stack(item)) for item in (y, known, *with_soft)],
            weighted,
            epochs=settings.epochs,
            lr=rate,
            batch_size=batch,
            seeds=[_seed(self.seed, j.part, j.start) for j in jobs],
            device=settings.device,
            validation=tuple(
                PerNetwork(torch.stack(item)) for item in (vx, vy, vknown, *v_with_soft)
            ),
            patience=settings.patience,
        )
        lowest = np.nanmin(cast(Tensor, history.validation).double().numpy(), 0)
        found = {}
        for job, network, low in zip(jobs, networks, lowest):
            share = 1 - job.lam if job.soft_validation is None else 1.0
            found[job.key] = _Fitted(network, float(low) / share)
        return found

    def soft(self, output: Tensor, temperature: float) -> Tensor:
        """The target that these outputs make of an imitator."""
        if not self.target.discrete:
            return output
        return (output / temperature).softmax(-1)


def _seed(seed: int, part: int, start: int) -> int:
    return int(np.random.SeedSequence([seed, part, start]).generate_state(1)[0])


def _padded(rows: Tensor, length: int) -> Tensor:
    """Rows of 0 behind, up to `length`; they count with weight 0."""
    missing = length - len(rows)
    if not missing:
        return rows
    return torch.cat([rows, rows.new_zeros(missing, *rows.shape[1:])])


def _class_loss(output, labels, known, soft=None, told=None, *, lam, t) -> Tensor:
    """Eq. 2 with a weight a row for each term, (S,), up to the soft targets' entropy.
    Logits (S, b, K), labels, known, told (S, b), soft (S, b, K).
    """
    log_q = output.mT.log_softmax(-2)  # (S, K, b): fast where classes are few
    picked = log_q.gather(-2, labels[:, None]).squeeze(-2)
    label = -(picked * known).mean(-1)
    if soft is None:
        return label
    log_q = (output / t[:, None, None]).mT.log_softmax(-2)
    taught = -((soft.mT * log_q).sum(-2) * told).mean(-1)
    return (1 - lam) * label + lam * t**2 * taught


def _square_loss(output, labels, known, soft=None, told=None, *, lam, t) -> Tensor:
    """Eq. 4 in its convex form, with a weight a row for each term, (S,)."""
    label = ((output - labels).square().sum(-1) * known).mean(-1)
    if soft is None:
        return label
    taught = ((output - soft).square().sum(-1) * told).mean(-1)
    return (1 - lam) * label + lam * taught


# ------------------------------------------------------------------------ arms


@dataclass(frozen=True)
class _Arm:
    """What the chosen fit of every part says: outputs (n, K) on its rows."""

    networks: list[nn.Module]
    train: list[Tensor]
    validation: list[Tensor]
    test: list[Tensor]
    rates: list[float]
    losses: np.ndarray  # (parts, choices): validation losses

    @property
    def chosen(self) -> np.ndarray:
        """(parts,): the choice with the least validation loss."""
        return self.losses.argmin(1)


class _Bench:
    """The arms of every pair of views. What belongs to one view alone is done once."""

    def __init__(self, views: Mapping[str, np.ndarray], data: _Data, pairs: bool):
        self.views, self.data, self.pairs = views, data, pairs
        self.settings = data.settings
        parts = range(len(data.parts))
        self.labelled = [np.flatnonzero(part.labelled) for part in data.parts]
        self.every = [np.arange(len(part.train)) for part in data.parts]
        self.parts = parts
        self._seen: dict[str, list[Seen]] = {}
        self._plain: dict[str, _Arm] = {}
        self._itself: dict[tuple, _Arm] = {}

    def seen(self, name: str) -> list[Seen]:
        if name not in self._seen:
            self._seen[name] = _seen(
                self.views[name],
                self.data.parts,
                self.settings.components,
                self.data.seed,
            )
        return self._seen[name]

    def plain(self, name: str) -> _Arm:
        """From the labels alone."""
        if name not in self._plain:
            jobs = [
                _Job((p, c), p, self.labelled[p], start, rate)
                for p in self.parts
                for c, (rate, start) in enumerate(self.settings.plain_grid())
            ]
            self._plain[name] = self._chosen(name, jobs)
        return self._plain[name]

    def itself(self, name: str, pairs: bool) -> _Arm:
        """The view's plain student as its own teacher."""
        if (name, pairs) not in self._itself:
            self._itself[name, pairs] = self.imitating(
                name, self.plain(name).train, pairs
            )
        return self._itself[name, pairs]

    def imitating(self, name: str, outputs: list[Tensor], pairs: bool) -> _Arm:
        """With a soft target made of `outputs` (training rows, K), one a part."""
        rows = self.every if pairs else self.labelled
        rates = self.plain(name).rates
        jobs = [
            _Job(
                (p, c),
                p,
                rows[p],
                c,
                rates[p],
                lam,
                temperature,
                self.data.soft(outputs[p][rows[p]], temperature),
            )
            for p in self.parts
            for c, (lam, temperature) in enumerate(self.settings.grid)
        ]
        return self._chosen(name, jobs)

    def smoothed(self, name: str, teacher: _Arm) -> _Arm:
        """With soft labels as sure as the teacher is on the labelled rows."""
        rates = self.plain(name).rates
        jobs = [
            _Job(
                (p, c),
                p,
                self.labelled[p],
                c,
                rates[p],
                lam,
                temperature,
                self._smooth(teacher.train[p], p, temperature),
            )
            for p in self.parts
            for c, (lam, temperature) in enumerate(self.settings.grid)
        ]
        return self._chosen(name, jobs)

    def _smooth(self, output: Tensor, p: int, temperature: float) -> Tensor:
        """Soft targets (labelled rows, K) that follow from the label alone."""
        rows = self.labelled[p]
        y, soft = self.data.y[p][rows], self.data.soft(output[rows], temperature)
        if not self.data.target.discrete:
            # the teacher's regression on the label
            design = torch.cat([torch.ones_like(y[:, :1]), y], 1).double()
            line = torch.linalg.lstsq(design, soft.double()).solution
            return (design @ line).float()
        classes = soft.shape[1]
        sure = soft.amax(1).mean().clamp(1 / classes, 1.0)
        rest = (1 - sure) / (classes - 1)
        hot = torch.nn.functional.one_hot(y, classes).float()
        return hot * (sure - rest) + rest

    def imitators(self, name: str, teacher: _Arm) -> _Arm:
        """From the teacher alone, λ = 1; with pairs on all training rows."""
        rows = self.every if self.pairs else self.labelled
        rates = self.plain(name).rates
        soft = self.data.soft
        jobs = [
            _Job(
                (p, 0),
                p,
                rows[p],
                0,
                rates[p],
                1.0,
                1.0,
                soft(teacher.train[p][rows[p]], 1.0),
                soft(teacher.validation[p], 1.0),
            )
            for p in self.parts
        ]
        return self._chosen(name, jobs)

    def _chosen(self, name: str, jobs: list[_Job]) -> _Arm:
        seen = self.seen(name)
        fitted = self.data.train(seen, jobs)
        choices = 1 + max(job.key[1] for job in jobs)
        losses = np.array(
            [[fitted[p, c].loss for c in range(choices)] for p in self.parts]
        )
        best = losses.argmin(1)
        rates = {job.key: job.rate for job in jobs}
        networks = [fitted[p, best[p]].network for p in self.parts]
        said = {
            rows: [_said(net, getattr(x, rows)) for net, x in zip(networks, seen)]
            for rows in ("train", "validation", "test")
        }
        return _Arm(
            networks,
            **said,
            rates=[rates[p, best[p]] for p in self.parts],
            losses=losses,
        )

    def arms(self, teacher: str, student: str) -> dict[str, _Arm]:
        """All arms of one pair, by name."""
        taught_by = self.plain(teacher)
        arms = {
            TEACHER: taught_by,
            STUDENT: self.plain(student),
            SMOOTHED: self.smoothed(student, taught_by),
            ITSELF: self.itself(student, False),
            DISTILLED: self.imitating(student, taught_by.train, False),
        }
        if self.pairs:
            arms[ITSELF_ON_PAIRS] = self.itself(student, True)
            arms[ON_PAIRS] = self.imitating(student, taught_by.train, True)
        return arms


@torch.no_grad()
def _said(network: nn.Module, x: Tensor, method: str = "forward") -> Tensor:
    network.eval()
    return getattr(network, method)(x)


# ------------------------------------------------------------------------ criteria

#: the estimator of the CCH that speaks for it: the default of `assess`
CCH_METHOD = "latent"
OTHER_METHODS = ("gaussian", "ksg")
WITHOUT_ERROR: dict[str, dict[str, Any]] = {
    "gaussian": {"repeats": 0},
    "ksg": {"parts": 0},
}
#: a class of fewer validation rows is left out of the estimates of information
FEWEST_IN_CLASS = 5
ESTIMATES = 10
#: the criteria that are ranked only: they have no zero
WITHOUT_ZERO = (
    "agreement",
    "cka",
    "decision_information",
    "label_information_of_both",
    "logme",
    "shared_information",
)


class _Criteria:
    """What is known before distilling, from training and validation rows alone: of the
    plain networks of both views on the validation rows of the first repeats.
    """

    def __init__(self, bench: _Bench, estimates: int, decisions: int):
        self.bench, self.data = bench, bench.data
        self.count = min(estimates, len(bench.parts))
        self.decisions = min(decisions, self.count)
        self._label_information: dict[str, dict[str, list[MIEstimate | None]]] = {}

    def of(self, teacher: str, student: str) -> pd.DataFrame:
        """Columns repeat, criterion, value, in long form."""
        taught_by = self.bench.plain(teacher)
        plain = self.bench.plain(student)
        imitators = self.bench.imitators(student, taught_by)
        rows: list[dict] = []
        for p in range(self.count):
            values = self._rivals(p, teacher, student, taught_by, plain, imitators)
            if p < self.decisions:
                values |= self._decided(p, teacher, student, taught_by, plain)
            rows += [dict(repeat=p, criterion=k, value=v) for k, v in values.items()]
        rows += self._informations(teacher, student)
        return pd.DataFrame(rows)

    def features(self, name: str, p: int) -> np.ndarray:
        """The representation H of the view's plain network on the validation rows."""
        network = self.bench.plain(name).networks[p]
        x = self.bench.seen(name)[p].validation
        return _said(network, x, "features").double().numpy()

    def labels(self, p: int) -> np.ndarray:
        return self.data.y_validation[p].numpy()

    def _rivals(self, p, teacher, student, taught_by, plain, imitators) -> dict:
        # the best of the λ that the study tries, as the additive λ of Eq. 4
        lams = [additive_lambda(lam) for lam in self.data.settings.lams]
        labels = self.labels(p)
        of_teacher = taught_by.validation[p].double().numpy()
        of_student = plain.validation[p].double().numpy()
        h1, h2 = self.features(teacher, p), self.features(student, p)
        found = rival_criteria(
            of_teacher,
            of_student,
            labels,
            h1,
            h2,
            imitator_output=imitators.validation[p].double().numpy(),
            lam=float(lams[0]),
        )
        found.pop("teacher_size")
        target, said = np.asarray(labels, float), of_student
        told = imitators.validation[p].double().numpy()
        if self.data.target.discrete:
            target = np.eye(said.shape[1])[labels]
            said, told = (softmax(logits, 1) for logits in (said, told))
        gains, _ = predicted_gain(target, said, told, np.array(lams))
        return found | {"predicted_gain": float(np.max(gains))}

    def _decided(self, p, teacher, student, taught_by, plain) -> dict:
        """`decide` on the validation rows: its verdict as 1, 0, -1, and its pilot."""
        settings = self.data.settings
        try:
            decision = decide(
                self.features(teacher, p),
                self.features(student, p),
                self.labels(p),
                teacher_output=taught_by.validation[p].double().numpy(),
                student_output=plain.validation[p].double().numpy(),
                cch=False,
                lams=settings.lams,
                temperatures=settings.temperatures,
                repeats=1,
                seed=self.data.seed,
                device=settings.device,
            )
        except ValueError:  # a class too rare for the pilot's folds
            return {}
        verdict = {"distil": 1.0, "do not distil": -1.0}.get(decision.code, 0.0)
        found = {"decide_verdict": verdict}
        if decision.pilot is not None:
            found["pilot"] = decision.pilot.gain.mean
            found["pilot_over_smoothing"] = decision.pilot.over_smoothing.mean
            if decision.pilot.over_itself is not None:
                found["pilot_over_itself"] = decision.pilot.over_itself.mean
        return found

    def _informations(self, teacher: str, student: str) -> list[dict]:
        """The CCH by every estimator: both terms, the gap, saturation as 0 or 1."""
        count = range(self.count)
        features = {
            name: [self.features(name, p) for p in count] for name in (teacher, student)
        }
        shared = _estimates(list(zip(features[teacher], features[student])))
        if student not in self._label_information:
            of_label = [_enough(features[student][p], self.labels(p)) for p in count]
            self._label_information[student] = _estimates(of_label)
        known = self._label_information[student]
        rows = []
        for method in (CCH_METHOD, *OTHER_METHODS):
            for p in count:
                i_ts, i_sl = shared[method][p], known[method][p]
                if i_ts is None or i_sl is None:
                    continue
                values = {
                    "i_ts": i_ts.value,
                    "i_sl": i_sl.value,
                    "cch": i_ts.value - i_sl.value,
                    "saturated": float(i_ts.saturated),
                }
                rows += [
                    dict(repeat=p, criterion=f"{name}_{method}", value=value)
                    for name, value in values.items()
                ]
        return rows


def _estimates(samples: list[tuple]) -> dict[str, list[MIEstimate | None]]:
    """Every method's estimate of every sample; None where it has none."""
    found: dict[str, list[MIEstimate | None]] = {}
    for method in (CCH_METHOD, *OTHER_METHODS):
        options = WITHOUT_ERROR.get(method, {})
        try:
            found[method] = list(estimate_mi_many(samples, method, **options))
            continue
        except ValueError:
            found[method] = []
        for sample in samples:  # one that can't be estimated spoils no other
            try:
                x, y = sample
                found[method].append(estimate_mi(x, y, method, **options))
            except ValueError:
                found[method].append(None)
    return found


def _enough(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Without classes that are too rare for an estimate."""
    if labels.dtype.kind != "i":
        return features, labels
    counts = np.bincount(labels)
    kept = counts[labels] >= FEWEST_IN_CLASS
    _, codes = np.unique(labels[kept], return_inverse=True)
    return features[kept], codes


# ------------------------------------------------------------------------ the answer


def study(
    teacher_view: Any,
    student_view: Any,
    labels: Any,
    *,
    groups: Any = None,
    split: Any = None,
    pairs: float | None = None,
    repeats: int = 20,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[float], None] | None = None,
    confidence: float = 0.95,
    estimates: int = ESTIMATES,
    decisions: int = 1,
    **settings: Any,
) -> Study:
    """Distil one view into another for real: see the module's text.

    Parameters
    ----------
    teacher_view, student_view : array (n,) or (n, p)
        Two views of the same n samples: features, pixels, counts.
    labels : array (n,)
        Classes (integers, booleans, strings), or a regression target (floats).
    groups : array (n,), optional
        Samples of one group (a person, a day) stay on one side of every split.
    split : array (n,) of 0 and 1, optional
        An official split: 1 marks the test rows.
    pairs : float in (0, 1), optional
        The share of the training rows whose label is hidden.
    repeats : int
        Splits drawn, at least 3.
    seed : int
    device : str
    progress : callable(share in [0, 1]), optional
    confidence : float in (0, 1)
    estimates : int
        Repeats on which the criteria are computed; 0 for none.
    decisions : int
        Of these, repeats on which `decide` is asked as well.
    **settings
        lams, temperatures, learning_rates, hidden, components, epochs, patience,
        batch_size, max_rows, max_test_rows: see `Settings`.

    Returns
    -------
    Study

    Raises
    ------
    ValueError
        On NaN or infinity, views of unequal length, fewer than three groups, a part
        of a split that holds a single class, numbers out of range.
    """
    views = {"teacher": teacher_view, "student": student_view}
    (found,) = study_views(
        views,
        labels,
        groups=groups,
        split=split,
        pairs=pairs,
        repeats=repeats,
        seed=seed,
        device=device,
        progress=progress,
        confidence=confidence,
        estimates=estimates,
        decisions=decisions,
        which=[("teacher", "student")],
        **settings,
    ).values()
    return found


@own_state()
def study_views(
    views: Mapping[str, Any],
    labels: Any,
    *,
    which: Iterable[tuple[str, str]] | None = None,
    groups: Any = None,
    split: Any = None,
    pairs: float | None = None,
    repeats: int = 20,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[float], None] | None = None,
    confidence: float = 0.95,
    estimates: int = ESTIMATES,
    decisions: int = 1,
    **settings: Any,
) -> dict[tuple[str, str], Study]:
    """`study` of several pairs (teacher's view, student's view) on the same splits;
    what belongs to one view alone is trained once.

    Parameters
    ----------
    views : mapping of names to arrays (n, p)
    which : iterable of (teacher, student), optional
        Default: all ordered pairs.

    Everything else, and what is raised, as for `study`.
    """
    try:
        chosen = Settings(device=device, **settings)
    except TypeError as error:
        raise ValueError(f"settings: {error}") from None
    repeats = check.integer("repeats", repeats, 3)
    seed = check.seed("seed", seed)
    estimates = check.integer("estimates", estimates)
    decisions = check.integer("decisions", decisions)
    check.number("confidence", confidence, 0.0, 1.0, open_low=True)
    if pairs is not None:
        pairs = check.number("pairs", pairs, 0.0, 1.0, open_low=True)
        if pairs == 1:
            raise ValueError("`pairs` must be below 1, got 1: no label would be left")
    given = {f"view_{name}": view for name, view in views.items()}
    given |= {"labels": labels, "groups": groups, "split": split}
    rows = match_rows(**given)
    arrays = {name: _view(name, rows[f"view_{name}"]) for name in views}
    target = target_of(rows["labels"])
    n = check.same_length(**arrays, labels=target.y)
    groups, split = _checked_groups(rows["groups"], rows["split"], n)
    checks = [rows_words(given)]
    known = target.y if target.codes is None else target.codes
    groups = together(groups, list(arrays.values()), known, checks)
    if target.discrete:
        checks.append(f"Labels: {len(target.names)} classes ({listed(target.names)}).")
    else:
        checks += target.checks
    ordered = list(itertools.permutations(arrays, 2) if which is None else which)
    for pair in ordered:
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(arrays):
            raise ValueError(
                f"`which` must hold pairs of two of {', '.join(arrays)}, got {pair}"
            )
    parts = draw_parts(
        target,
        groups=groups,
        split=split,
        pairs=pairs,
        repeats=repeats,
        max_rows=chosen.max_rows,
        max_test_rows=chosen.max_test_rows,
        seed=seed,
    )
    bench = _Bench(arrays, _Data(target, parts, chosen, seed), pairs is not None)
    criteria = _Criteria(bench, estimates, decisions)
    found = {}
    for number, (teacher, student) in enumerate(ordered):
        start = time.perf_counter()
        arms = bench.arms(teacher, student)
        if progress is not None:
            progress((number + 0.7) / len(ordered))
        known = criteria.of(teacher, student) if estimates else pd.DataFrame()
        found[teacher, student] = _answer(
            teacher,
            student,
            bench,
            arms,
            known,
            split is not None,
            confidence,
            start,
            checks,
        )
        if progress is not None:
            progress((number + 1) / len(ordered))
    return found


def _view(name: str, view: Any) -> np.ndarray:
    """(n, p) finite numbers in their own type: large ones aren't copied."""
    array = check.as_array(name, view)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or array.dtype.kind not in "biuf" or not array.size:
        raise ValueError(
            f"{name} is {array.dtype} of shape {array.shape}; numbers, (n,) or (n, p), "
            "are wanted"
        )
    check.all_finite(name, array)
    return array


def _checked_groups(groups: Any, split: Any, n: int):
    if split is not None:
        split = check.as_array("split", split)
        if split.shape != (n,) or not np.array_equal(np.unique(split), [0, 1]):
            raise ValueError(
                f"split must be ({n},) of 0 (training) and 1 (test), both there; got "
                f"shape {split.shape} with {np.unique(split)[:5]}"
            )
        split = split.astype(int)
    if groups is None:
        return None, split
    groups = groups_of(groups, n)
    _, groups = np.unique(groups, return_inverse=True)
    count = len(np.unique(groups if split is None else groups[split == 0]))
    fewest = 3 if split is None else 2
    if count < fewest:
        raise ValueError(
            f"groups holds {count} group(s) to draw from; at least {fewest}, one for "
            "each part of a split, are wanted"
        )
    if split is not None and set(groups[split == 0]) & set(groups[split == 1]):
        raise ValueError("split has groups on both sides; whole groups are wanted")
    return groups, split


def _answer(
    teacher: str,
    student: str,
    bench: _Bench,
    arms: dict[str, _Arm],
    known: pd.DataFrame,
    official: bool,
    confidence: float,
    start: float,
    checks: list[str],
) -> Study:
    data, parts = bench.data, bench.data.parts
    target = data.target
    rows = []
    outputs = {}
    for name, arm in arms.items():
        outputs[name] = [_in_units(data, p, arm.test[p]) for p in bench.parts]
        for p, output in enumerate(outputs[name]):
            rows.append(dict(repeat=p, arm=name, **_score(data, p, output)))
    by_repeat = pd.DataFrame(rows)
    control, distilled = ITSELF, DISTILLED
    if bench.pairs:
        control, distilled = ITSELF_ON_PAIRS, ON_PAIRS

    score = "accuracy" if target.discrete else "error"
    sign = 1.0 if target.discrete else -1.0
    wide = by_repeat.pivot(index="repeat", columns="arm", values=score)
    table, tests = [], {}
    for name in arms:
        mean = by_repeat[by_repeat["arm"] == name].mean(numeric_only=True)
        row = dict(arm=name, **mean.drop("repeat"))
        if name != distilled:
            gains = (sign * (wide[distilled] - wide[name])).to_numpy()
            sampling = 0.0
            if official:
                sampling = _row_variance(data, outputs[distilled], outputs[name])
            tests[name] = _resampled(gains, parts, official, sampling, confidence)
            row |= {"gain": tests[name].mean, "std_error": tests[name].std_error}
        table.append(row)
    test = tests[control]
    verdict = "helps" if test.low > 0 else "harms" if test.high < 0 else "undecided"
    best = int(arms[distilled].losses.mean(0).argmin())
    lam, temperature = data.settings.grid[best]
    return Study(
        teacher=teacher,
        student=student,
        table=pd.DataFrame(table),
        gain=test.mean,
        std_error=test.std_error,
        interval=(test.low, test.high),
        p_value=test.p_value,
        verdict=verdict,
        lam=lam,
        temperature=temperature if target.discrete else float("nan"),
        criteria=_summary(known),
        by_repeat=by_repeat,
        criteria_by_repeat=known,
        outputs=outputs,
        test_rows=[part.test for part in parts],
        distilled=distilled,
        control=control,
        n_samples=len(target.y),
        repeats=len(parts),
        pairs=_share(parts) if bench.pairs else None,
        confidence=float(confidence),
        discrete=target.discrete,
        seconds=time.perf_counter() - start,
        checks=checks,
    )


def _share(parts: list[Part]) -> float:
    return float(np.mean([1 - part.labelled.mean() for part in parts]))


def _in_units(data: _Data, p: int, output: Tensor) -> np.ndarray:
    """Logits as they are, predictions in the labels' units."""
    if data.target.discrete:
        return output.numpy()
    centre, spread = data.units[p]
    return output.double().numpy() * spread + centre


def _score(data: _Data, p: int, output: np.ndarray) -> dict[str, float]:
    """Scores on the test rows."""
    target, rows = data.target, data.parts[p].test
    if target.codes is None:
        square = ((output - target.y[rows]) ** 2).sum(1).mean()
        return {"error": float(square / target.y.var(0).sum())}
    codes = target.codes[rows]
    log_p = log_softmax(output.astype(float), 1)
    return {
        "accuracy": float((output.argmax(1) == codes).mean()),
        "log_loss": float(-log_p[np.arange(len(rows)), codes].mean()),
    }


def _row_variance(data: _Data, ours: list, theirs: list) -> float:
    """Variance of the mean gain over the one test part's rows."""
    rows = data.parts[0].test
    if data.target.codes is not None:
        codes = data.target.codes[rows]
        right = [
            [output.argmax(1) == codes for output in arm] for arm in (ours, theirs)
        ]
        each = np.mean(right[0], axis=0) - np.mean(right[1], axis=0)
    else:
        y = data.target.y[rows]
        gains = [((b - y) ** 2 - (a - y) ** 2).sum(1) for a, b in zip(ours, theirs)]
        each = np.mean(gains, axis=0) / data.target.y.var(0).sum()
    return float(each.var(ddof=1) / len(rows))


def _resampled(
    gains: np.ndarray,
    parts: list[Part],
    official: bool,
    sampling: float,
    confidence: float,
) -> Gain:
    """The corrected resampled t-test of a mean gain over repeats, two-sided."""
    held_out = "validation" if official else "test"
    ratios = [len(getattr(part, held_out)) / len(part.train) for part in parts]
    # the overlap of training rows is that of the shares drawn, also where a large
    # test part is kept whole
    share = min(float(np.mean(ratios)), 1 / 3)
    count, mean = len(gains), float(gains.mean())
    error = float(np.sqrt(gains.var(ddof=1) * (1 / count + share) + sampling))
    reach = stats.t.ppf((1 + confidence) / 2, count - 1) * error
    p_value = 1.0 if mean == 0 else 0.0
    if error > 0:
        p_value = float(2 * stats.t.sf(abs(mean) / error, count - 1))
    return Gain(mean, mean - reach, mean + reach, p_value, error, gains)


def _summary(known: pd.DataFrame) -> pd.DataFrame:
    columns = ["criterion", "value", "std_error", "estimates", "says"]
    rows = []
    if not len(known):
        return pd.DataFrame(columns=columns)
    for name, values in known.groupby("criterion", sort=False)["value"]:
        values = values[np.isfinite(values)]
        error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
        rows.append((name, values.mean(), error, len(values), ""))
    table = pd.DataFrame(rows, columns=columns)
    table["says"] = [_says(name, table) for name in table["criterion"]]
    return table


def _says(name: str, table: pd.DataFrame) -> str:
    """What the sign of a criterion's mean advises."""
    value = table.set_index("criterion")["value"]
    if name in WITHOUT_ZERO or name.startswith(("i_ts", "i_sl", "saturated")):
        return ""
    if not np.isfinite(value[name]) or value[name] == 0:
        return "undecided"
    if name.startswith("cch_") and value[f"saturated_{name[4:]}"] > 0.5:
        return "undecided"  # the estimate bounds I(H1; H2) from below only
    return "distil" if value[name] > 0 else "do not distil"
