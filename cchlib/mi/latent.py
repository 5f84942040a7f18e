"""The default latent estimator: a linear start, a stack of small networks, and a
calibrated KSG.

What the `latentmi` package loses, and what is done about it here:

1. It learns on half of the samples, by reconstruction, and n / 2 samples do not teach
  wide networks a weak dependence. Here K-fold cross-fitting learns on (K-1)/K of them,
  and the encoders start from the shrunk canonical variates, which is all there is to
  learn in the Gaussian case; a small network adds what isn't linear as far as held-out
  samples confirm it.
2. It spends its latents on reconstructing noise. Here they are the functions f(x), g(y)
  whose product f·g is the best fit, in squares, to the density ratio p(x, y) / p(x)
  p(y) - 1 (the maximal correlations; Wang et al., 2019), so they come sorted, and only
  as many pairs are used as raise the held-out estimate.
3. KSG itself is biased downward in several dimensions (on four true Gaussian latents of
  2.04 nats, n = 1000, it says 1.6). Here its bias is measured on Gaussian pairs of the
  same correlations and number, and removed.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cchlib import check
from cchlib.components import principal_components
from cchlib.mi._common import (
    enough,
    is_discrete,
    nearest_ceiling,
    normal_scores,
    one_hot,
    standard,
)
from cchlib.mi.ksg import pointwise
from cchlib.mi.networks import AdamW, Encoders
from cchlib.training import BestEpoch, resolve_device

SHRINKAGE = (1e-3, 1e-2, 0.03, 0.1, 0.3, 0.6, 1.0)
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)  # numbers of pairs that are tried
FEWEST = 8  # latents to begin with
MOST = 64  # latents at the end
EACH = 20  # samples that a latent needs
SEEN = 128  # columns that a network sees; the linear part sees all
CHUNK = 2048  # rows encoded at once
SURE = 3.0  # standard errors of a held-out correlation that counts as one
REPEATED = 0.1  # share of the information that pairs may have in common


@dataclass
class Task:
    """One run on one sample.

    Attributes
    ----------
    x, y : arrays (n, p), (n, q)
        What the encoders see of the sample.
    labels : array (n,) or None
        The classes of a discrete y.
    rows : array (folds, size)
        The samples of each fold.
    seed : list of int
    linear : int
        Pairs of linear latents that are correlated on held-out samples.
    value : float
        The estimate.
    """

    x: np.ndarray
    y: np.ndarray
    labels: np.ndarray | None
    rows: np.ndarray
    seed: list[int]
    linear: int = 0
    value: float = 0.0

    def outside(self, fold: int) -> np.ndarray:
        """The samples that are not in the fold."""
        return np.concatenate(np.delete(self.rows, fold, 0))

    def seeds(self) -> list[int]:
        """One a fold."""
        found = []
        for fold in range(len(self.rows)):
            sequence = np.random.SeedSequence([*self.seed, fold])
            found.append(int(sequence.generate_state(1)[0]))
        return found


def latent(
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    runs: int = 1,
    seed: int = 0,
    device: str = "auto",
    latents: int | None = None,
    epochs: int = 60,
    patience: int = 6,
    lr: float = 2e-3,
    batch_size: int = 256,
    k: int = 3,
    width: int = 128,
    folds: int = 5,
    surrogates: int = 4,
) -> list[list[float]]:
    """I(x; y) in nats of each sample, `runs` values each.

    Samples x runs x folds networks are one stack. It begins with few latents; where the
    last of them still helps, the run is done again with twice as many. The defaults
    were chosen on one half of the problems in `cchbook.chapters.panel` ("tune").

    Parameters
    ----------
    samples : pairs of arrays as `_common.variable` returns them, of equal shapes
    latents : int or None
        Dimensions of each representation; for a discrete y no more than its classes
        less one. None: 8, and while all of them are correlated on held-out samples,
        twice as many: up to min(p, q, n / 20, 64). There is a warning where more would
        still help.
    epochs, patience, lr, batch_size
        AdamW; at most `epochs`, until `patience` of them brought no better held-out
        loss.
    k : int
        Neighbours.
    width : int
        Hidden units of each encoder.
    folds : int
        Of the cross-fitting, at least 2.
    surrogates : int
        Gaussian samples that measure KSG's bias (0: uncorrected).
    """
    least = {"folds": 2, "surrogates": 0}
    settings = {
        "latents": latents,
        "epochs": epochs,
        "patience": patience,
        "batch_size": batch_size,
        "k": k,
        "width": width,
        "folds": folds,
        "surrogates": surrogates,
    }
    for name, value in settings.items():
        if name != "latents" or value is not None:
            check.integer(name, value, least.get(name, 1))
    settings["lr"] = check.within("lr", lr, 0.0, open_low=True)
    enough(
        len(samples[0][0]),
        fewest(settings),
        f"k = {k} neighbours in each of {folds} folds",
    )
    where = resolve_device(device)
    return _estimate(list(samples), settings, runs, seed, where)


def ceiling(n: int, options: Mapping[str, Any]) -> float:
    """What nearest neighbours can say at most on one fold."""
    return nearest_ceiling(n // options["folds"], options["k"])


def fewest(options: Mapping[str, Any]) -> int:
    """Every fold has k neighbours and two samples to tell them apart."""
    return int(options["folds"] * (options["k"] + 2))


def _estimate(
    samples: list[tuple[np.ndarray, np.ndarray]],
    settings: dict[str, Any],
    runs: int,
    seed: int,
    device: torch.device,
) -> list[list[float]]:
    tasks = _tasks(samples, settings["folds"], runs, seed)
    latents, most = _numbers_of_latents(tasks[0], settings["latents"])
    pending = tasks
    while True:
        codes = _held_out_codes(pending, latents, settings, device)
        again = []
        for task, pairs in zip(pending, codes):
            task.value, helps = evaluate(
                pairs, task, settings["k"], settings["surrogates"]
            )
            if helps:
                again.append(task)
        if not again or latents == most:
            break
        latents, pending = min(2 * latents, most), again

    narrower = min(tasks[0].x.shape[1], tasks[0].y.shape[1])
    if again and tasks[0].labels is None and most < narrower:
        warnings.warn(
            f"latent: the last of {latents} latents still raised the estimate in "
            f"{len(again)} of {len(tasks)} runs; it is likely too low, and more "
            "samples allow more latents",
            stacklevel=2,
        )
    values = [task.value for task in tasks]
    return [values[low : low + runs] for low in range(0, len(values), runs)]


def _tasks(
    samples: list[tuple[np.ndarray, np.ndarray]], folds: int, runs: int, seed: int
) -> list[Task]:
    tasks = []
    for x, y in samples:
        discrete = is_discrete(y)
        seen_x = _inputs(x)
        seen_y = standard(one_hot(y)) if discrete else _inputs(y)
        n = len(x)
        size = n // folds  # equal folds: up to folds - 1 samples are left out
        for run in range(runs):
            order = np.random.default_rng([seed, run]).permutation(n)
            rows = order[: size * folds].reshape(folds, size)
            labels = y if discrete else None
            tasks.append(Task(seen_x, seen_y, labels, rows, [seed, run]))
    return tasks


def _numbers_of_latents(task: Task, asked: int | None) -> tuple[int, int]:
    """To begin with, and at most."""
    if task.labels is not None:
        most = task.y.shape[1] - 1
        begin = min(asked or FEWEST, most)
        if asked:
            return begin, begin
        return begin, max(begin, min(most, MOST))
    if asked:
        return asked, asked
    narrower = min(task.x.shape[1], task.y.shape[1])
    affordable = len(task.x) // EACH
    most = min(narrower, affordable, MOST)
    return FEWEST, max(FEWEST, most)


# ---------------------------------------------------------------- inputs


def _inputs(x: np.ndarray) -> np.ndarray:
    """Normal scores of the columns; where they are many, all principal components of
    these, no more than samples, the strongest first.
    """
    x = normal_scores(x)
    if x.shape[1] <= SEEN:
        return x
    turned, _ = principal_components(x, 1e-9)
    return turned / turned[:, :SEEN].std()  # what a network sees has variance 1


# ---------------------------------------------------------------- linear start


def linear_starts(
    x: np.ndarray, y: np.ndarray, rows: np.ndarray, latents: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], int]:
    """For each fold, shrunk canonical directions (p, latents), (q, latents) of the
    samples outside it; and how many pairs are surely correlated inside the folds.

    Directions are scaled so that f·g fits the density ratio: variances are the
    correlations. One shrinkage towards equal variances serves all folds: the one of the
    largest held-out squared correlations.
    """
    folds, size = rows.shape
    held_out = [_moments(x[fold], y[fold]) for fold in rows]
    total = [sum(moments) for moments in zip(*held_out)]
    outside = size * (folds - 1)
    problems = []
    for moments in held_out:
        train = []
        for whole, part in zip(total, moments):
            train.append((whole - part) / outside)
        problems.append(_Canonical(*train))

    # the shrinkage of the largest held-out squared correlations
    best: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    best_rho = np.zeros(0)
    highest = -np.inf
    for shrinkage in SHRINKAGE:
        solved, correlations = [], []
        for problem, moments in zip(problems, held_out):
            a, b, s = problem.directions(shrinkage, latents)
            solved.append((a, b, s))
            correlations.append(_correlations(a, b, *moments))
        rho = np.array(correlations)  # (folds, r)
        score = float((np.sign(rho) * np.square(rho)).sum())
        if score > highest:
            highest, best, best_rho = score, solved, rho

    threshold = SURE / np.sqrt(rows.size)
    correlated = int((best_rho.mean(0) > threshold).sum())
    starts = []
    for a, b, s in best:
        scale = np.sqrt(np.minimum(s, 0.99))
        start_x = _pad(a * scale, latents)
        start_y = _pad(b * scale, latents)
        starts.append((start_x, start_y))
    return starts, correlated


def _moments(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...]:
    return x.T @ x, y.T @ y, x.T @ y


def _correlations(
    a: np.ndarray, b: np.ndarray, xx: np.ndarray, yy: np.ndarray, xy: np.ndarray
) -> np.ndarray:
    """Of the columns of x a with those of y b, (r,), about their means of 0."""

    def paired(left: np.ndarray, middle: np.ndarray, right: np.ndarray) -> np.ndarray:
        return (left * (middle @ right)).sum(0)

    covariance = paired(a, xy, b)
    variances = paired(a, xx, a) * paired(b, yy, b)
    entries = len(xx) * len(yy)
    least = 1e-12 * np.trace(xx) * np.trace(yy) / entries
    return covariance / np.sqrt(variances + least)


class _Canonical:
    """Canonical directions of given moments, at several shrinkages."""

    def __init__(self, xx: np.ndarray, yy: np.ndarray, xy: np.ndarray):
        self.values_x, self.axes_x = np.linalg.eigh(xx)
        self.values_y, self.axes_y = np.linalg.eigh(yy)
        self.cross = self.axes_x.T @ xy @ self.axes_y

    def directions(
        self, shrinkage: float, latents: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Directions (p, r), (q, r) of unit variance, and their correlations (r,)."""
        root_x = _inverse_root(self.values_x, shrinkage)
        root_y = _inverse_root(self.values_y, shrinkage)
        whitened = root_x[:, None] * self.cross * root_y
        u, s, v = _leading(whitened, latents)
        a = self.axes_x @ (root_x[:, None] * u)
        b = self.axes_y @ (root_y[:, None] * v)
        return a, b, s


def _inverse_root(values: np.ndarray, shrinkage: float) -> np.ndarray:
    """(p,) of eigenvalues shrunk towards their mean."""
    if len(values) > 1:
        values = (1 - shrinkage) * values + shrinkage * values.mean()
    return np.maximum(values, 1e-6 * values[-1]) ** -0.5


def _leading(m: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leading singular triplets: exactly for small matrices, else by subspace iteration
    from a fixed start (Halko et al., 2011), which is all that a start needs.
    """
    if min(m.shape) <= 4 * rank:
        u, s, vt = np.linalg.svd(m, full_matrices=False)
    else:
        basis = _range(m, 2 * rank)
        u, s, vt = np.linalg.svd(basis.T @ m, full_matrices=False)
        u = basis @ u
    largest = np.maximum(s[:rank], 1e-6)
    return u[:, :rank], largest, vt[:rank].T


def _range(m: np.ndarray, columns: int) -> np.ndarray:
    """An orthonormal basis of about what the largest singular vectors span."""
    rng = np.random.default_rng(0)
    start = rng.standard_normal((m.shape[1], columns))
    basis, _ = np.linalg.qr(m @ start)
    for _ in range(6):
        powered = m @ (m.T @ basis)
        basis, _ = np.linalg.qr(powered)
    return basis


def _pad(a: np.ndarray, columns: int) -> np.ndarray:
    return np.pad(a, ((0, 0), (0, columns - a.shape[1])))


# ---------------------------------------------------------------- networks


@dataclass
class Stack:
    """The data of S networks: each looks at its own rows of its own sample.

    Attributes
    ----------
    x, y : tensors (samples, n, p), (samples, n, q)
    sample : tensor (S, 1)
    train, held_out : tensors (S, rows)
    """

    x: Tensor
    y: Tensor
    sample: Tensor
    train: Tensor
    held_out: Tensor

    def rows(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """The rows `which` (S, b) of x and of y, (S, b, p) and (S, b, q)."""
        return self.x[self.sample, which], self.y[self.sample, which]

    def keep(self, members: Tensor) -> Stack:
        """Without the networks that aren't `members` (a mask)."""
        return replace(
            self,
            sample=self.sample[members],
            train=self.train[members],
            held_out=self.held_out[members],
        )


def _held_out_codes(
    tasks: list[Task], latents: int, settings: dict[str, Any], device: torch.device
) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """For every task and fold, the canonical latents of the fold, by networks trained
    outside of it.
    """
    seeds: list[int] = []
    starts_x: list[np.ndarray] = []
    starts_y: list[np.ndarray] = []
    for task in tasks:
        seeds += task.seeds()
        starts, task.linear = linear_starts(task.x, task.y, task.rows, latents)
        for a, b in starts:
            starts_x.append(a)
            starts_y.append(b)

    width = settings["width"]
    p = tasks[0].x.shape[1]
    q = tasks[0].y.shape[1]
    widths_x = [min(p, SEEN), width]
    widths_y = [min(q, SEEN), width]
    if tasks[0].labels is not None:
        widths_y = [q]  # classes are read as they are
    f = Encoders(np.stack(starts_x), widths_x, seeds, device)
    g = Encoders(np.stack(starts_y), widths_y, seeds, device)

    stack = _stack(tasks, device)
    fit(f, g, stack, settings, seeds)
    train = _encode(f, g, stack, stack.train)
    held_out = _encode(f, g, stack, stack.held_out)
    pairs = [canonical(*codes) for codes in zip(*train, *held_out)]
    folds = settings["folds"]
    return [pairs[low : low + folds] for low in range(0, len(pairs), folds)]


def _stack(tasks: list[Task], device: torch.device) -> Stack:
    """The runs of a sample share its data."""
    samples: list[Task] = []
    sample, train, held_out = [], [], []
    for task in tasks:
        if not samples or samples[-1].x is not task.x:
            samples.append(task)
        for fold, rows in enumerate(task.rows):
            sample.append([len(samples) - 1])
            train.append(task.outside(fold))
            held_out.append(rows)
    x = np.stack([task.x for task in samples]).astype(np.float32)
    y = np.stack([task.y for task in samples]).astype(np.float32)
    return Stack(
        x=torch.from_numpy(x).to(device),
        y=torch.from_numpy(y).to(device),
        sample=torch.tensor(sample).to(device),
        train=torch.from_numpy(np.stack(train)).to(device),
        held_out=torch.from_numpy(np.stack(held_out)).to(device),
    )


@torch.no_grad()
def _encode(
    f: Encoders, g: Encoders, stack: Stack, rows: Tensor
) -> tuple[np.ndarray, np.ndarray]:
    """The codes (S, b, r) of the rows (S, b) of x and of y."""
    codes_x, codes_y = [], []
    for part in rows.split(CHUNK, dim=1):
        x, y = stack.rows(part)
        codes_x.append(f(x))
        codes_y.append(g(y))
    both_x = torch.cat(codes_x, 1).double()
    both_y = torch.cat(codes_y, 1).double()
    return both_x.cpu().numpy(), both_y.cpu().numpy()


def correlation_loss(f: Tensor, g: Tensor) -> Tensor:
    """-E f·g + ½ tr(cov f cov g), (S, n, r) -> (S,): least squares of f·g to the
    density ratio, minus 1.
    """
    n = f.shape[1]
    f = f - f.mean(1, keepdim=True)
    g = g - g.mean(1, keepdim=True)
    cov_f = f.transpose(1, 2) @ f / n
    cov_g = g.transpose(1, 2) @ g / n
    product = f * g
    product = product.sum(2).mean(1)
    penalty = cov_f * cov_g
    penalty = penalty.sum((1, 2))
    return -product + 0.5 * penalty


def fit(
    f: Encoders, g: Encoders, stack: Stack, settings: dict[str, Any], seeds: list[int]
) -> int:
    """Train in place; every network ends at its own best epoch on held-out samples, at
    worst the linear start.

    `cchlib.training.fit` can't serve here without losing speed: the folds of a sample
    read its one copy by their rows, two networks meet in one loss, the linear part has
    a learning rate of its own, and networks that are done leave the stack. What both
    share is `BestEpoch`.

    Returns the number of epochs.
    """
    optimizer = AdamW([f, g], settings["lr"], settings["lr"] / 10)
    best = BestEpoch(optimizer.parameters, settings["patience"], margin=1e-4)
    streams = [torch.Generator().manual_seed(seed) for seed in seeds]
    device = stack.x.device
    n = stack.train.shape[1]
    batch = min(settings["batch_size"], n)
    for epoch in range(settings["epochs"] + 1):
        with torch.no_grad():
            x, y = stack.rows(stack.held_out)
            losses = correlation_loss(f(x), g(y))
        all_done = best.see(losses, epoch)
        if epoch == settings["epochs"] or all_done:
            break
        going = ~best.done
        if not bool(going.all()):
            stack = stack.keep(going)
            optimizer.keep(going)
            best.keep(going)

        # whole batches only: the loss holds covariances
        members = best.members.tolist()
        orders = [torch.randperm(n, generator=streams[i]) for i in members]
        rows = stack.train.gather(1, torch.stack(orders).to(device))
        for low in range(0, n - batch + 1, batch):
            x, y = stack.rows(rows[:, low : low + batch])
            # not kept under a name: its graph would remember networks that leave
            optimizer.step(correlation_loss(f(x), g(y)).sum())
    best.restore()
    return epoch


# ---------------------------------------------------------------- evaluation


def canonical(
    f: np.ndarray, g: np.ndarray, f_out: np.ndarray, g_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Held-out latents in the canonical coordinates of the training latents, strongest
    pair first.
    """
    mean_f = f.mean(0)
    mean_g = g.mean(0)
    white_f = _whitening(f)
    white_g = _whitening(g)
    a = (f - mean_f) @ white_f
    b = (g - mean_g) @ white_g
    u, _, vt = np.linalg.svd(a.T @ b, full_matrices=False)
    a_out = (f_out - mean_f) @ white_f
    b_out = (g_out - mean_g) @ white_g
    return a_out @ u, b_out @ vt.T


def _whitening(z: np.ndarray) -> np.ndarray:
    """(r, r') that gives the latents unit covariance, without those that don't vary."""
    covariance = np.atleast_2d(np.cov(z.T))
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-6 * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept])


def evaluate(
    pairs: list[tuple[np.ndarray, np.ndarray]], task: Task, k: int, surrogates: int
) -> tuple[float, bool]:
    """KSG on held-out latents, averaged over folds, and whether the last of the latents
    still helps; each fold uses as many pairs as were best on the others.
    """
    most = min(u.shape[1] for u, _ in pairs)
    if most == 0:
        # a latent that doesn't vary outside of some fold: nothing was learned from it
        return 0.0, False
    tried = {r for r in RANKS if r < most} | {most}
    if task.labels is None and 0 < task.linear < most:
        # all pairs that are surely linear, however many: five are not read as four
        tried.add(task.linear)
    ranks = sorted(tried)
    last = len(ranks) - 1
    if task.labels is None:
        pairs = [(normal_scores(u), normal_scores(v)) for u, v in pairs]
    raw = _raw(pairs, task, ranks, k)

    # every fold: the number that was best on the others
    chosen = []
    for fold in range(len(pairs)):
        others = np.delete(raw, fold, 1)
        chosen.append(int(np.argmax(others.mean(1))))
    found = [raw[i, fold] for fold, i in enumerate(chosen)]
    if task.labels is not None:
        best = int(np.argmax(raw.mean(1)))
        return float(np.mean(found)), best == last

    rng = np.random.default_rng(task.seed)
    for fold, (u, v) in enumerate(pairs):
        r = ranks[chosen[fold]]
        bias = gaussian_bias(u[:, :r], v[:, :r], k, surrogates, rng)
        found[fold] -= bias

    # neighbours lose more with each dimension than a weak pair brings, so that the best
    # number is too small where many pairs are linear: then all of these
    linear = 0
    for i, r in enumerate(ranks):
        if r <= task.linear:
            linear = i
    first = max(ranks[i] for i in chosen)
    if surrogates and ranks[linear] > first:
        more = _with_linear(
            pairs, raw[linear], first, ranks[linear], k, surrogates, rng
        )
        if more is not None:
            found = more
            chosen = [linear] * len(pairs)

    # beyond what neighbours can say the correction is all there is: no estimate
    ceiling = nearest_ceiling(len(pairs[0][0]), k)
    helps = task.linear >= most and max(chosen) == last
    return float(np.mean(np.minimum(found, ceiling))), helps


def _raw(
    pairs: list[tuple[np.ndarray, np.ndarray]], task: Task, ranks: list[int], k: int
) -> np.ndarray:
    """KSG of the first so many latents in each fold, (ranks, folds)."""
    raw = np.empty((len(ranks), len(pairs)))
    for fold, (u, v) in enumerate(pairs):
        for i, r in enumerate(ranks):
            other = v[:, :r]
            if task.labels is not None:
                other = task.labels[task.rows[fold]]
            found = pointwise([u[:, :r], other], k)
            raw[i, fold] = found.mean()
    return raw


def _with_linear(
    pairs: list[tuple[np.ndarray, np.ndarray]],
    raw: np.ndarray,
    first: int,
    r: int,
    k: int,
    surrogates: int,
    rng: np.random.Generator,
) -> list[float] | None:
    """The estimates of the folds from r pairs in place of `first`; None where the pairs
    repeat one another: functions of the same few latents.
    """
    more, expected, repeated = [], [], []
    for value, (u, v) in zip(raw, pairs):
        u, v = u[:, :r], v[:, :r]
        bias = gaussian_bias(u, v, k, surrogates, rng)
        more.append(value - bias)
        expected.append(_linear_information(u, v))
        for z in (u, v):
            repeated.append(_shared(z[:, :first], z[:, first:], k, rng))
    allowed = REPEATED * np.mean(expected)
    missed = np.mean(expected) - np.mean(more)
    if np.mean(repeated) < allowed and missed < allowed:
        return more
    return None


def _shared(u: np.ndarray, v: np.ndarray, k: int, rng: np.random.Generator) -> float:
    """KSG of u and v, less what it says of these samples made independent."""
    order = rng.permutation(len(u))
    together = pointwise([u, v], k)
    apart = pointwise([u[order], v], k)
    return float(together.mean() - apart.mean())


def _linear_information(u: np.ndarray, v: np.ndarray) -> float:
    """Of independent Gaussian pairs with the correlations of (u_i, v_i), debiased."""
    rho = _paired_correlations(standard(u), standard(v))
    return float(_gaussian_information(rho) - len(rho) / (2 * len(u)))


def _paired_correlations(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Of the standardised columns of u with those of v, (r,), short of 1: latents may
    determine each other, and rounding put their correlation above it.
    """
    limit = 1 - 1e-9
    return (u * v).mean(0).clip(-limit, limit)


def _gaussian_information(rho: np.ndarray) -> float:
    """Of independent Gaussian pairs, nats."""
    return -0.5 * np.log1p(-(rho**2)).sum()


def gaussian_bias(
    u: np.ndarray, v: np.ndarray, k: int, surrogates: int, rng: np.random.Generator
) -> float:
    """KSG's mean error on Gaussian pairs with the correlations of (u_i, v_i), as many
    samples, known information; where values are mostly tied, as of units that are
    nearly dead, on these samples made independent.
    """
    if not surrogates:
        return 0.0
    errors = []
    if min(len(np.unique(z[:, 0])) for z in (u, v)) < len(u) / 2:
        for _ in range(surrogates):
            shuffled = u[rng.permutation(len(u))]
            apart = pointwise([shuffled, v], k)
            errors.append(apart.mean())
        return float(np.mean(errors))

    rho = _paired_correlations(standard(u), standard(v))
    for _ in range(surrogates):
        a, b = _pairs_of(rho, len(u), rng)
        a = normal_scores(a)
        b = normal_scores(b)
        rho_drawn = _paired_correlations(a, b)
        truth = _gaussian_information(rho_drawn)
        together = pointwise([a, b], k)
        errors.append(together.mean() - truth)
    return float(np.mean(errors))


def _pairs_of(
    rho: np.ndarray, n: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    a, b = rng.standard_normal((2, n, len(rho)))
    return a, rho * a + np.sqrt(1 - rho**2) * b
