"""Pairs of known information that look like the data: what does an estimator say of
them?

An estimate has a bias that depends on n, on the widths, on how the columns are spread
and on where in them the information sits. The truth of the data isn't known, but pairs
can be made whose information is known and whose blocks are the data's own:

- `Factor`: both blocks keep their rows, whatever their distribution (ties, heavy tails,
  low rank). Only who stands beside whom is drawn anew: rows are matched by one score of
  each block, through a Gaussian copula of correlation ρ. X - a - b - Y is a Markov
  chain with a a function of X and b one of Y, so that I = -½ log(1 - ρ²).
- `Matched`: the same with several scores, for information that lies in several
  directions of blocks that are not Gaussian.
- `Spread`: the information is spread over several pairs of principal components, drawn
  as Gaussian with the data's spectrum and then given the data's marginals, column by
  column, which is a one-to-one map.
- `Channel`: for classes. The block keeps its rows; the labels are drawn from a
  softmax of scores of the row, so that I = H(E p) - E H(p).

`curve` estimates the mean answer of an estimator on such pairs at a few levels of
information, and `Curve.truth` reads it backwards: the information at which this
estimator would give this answer. At level 0 it is the estimator's null distribution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import cast

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.special import entr, ndtri, softmax
from sklearn.linear_model import LogisticRegression

from cchlib import check

#: no level beyond this many nats: a correlation of 1 - 1e-8
MOST = 9.0
#: principal components that canonical directions are searched in
MOST_COMPONENTS = 30
#: standard errors from which on a held-out canonical correlation counts as seen
SEEN = 3.0
#: scores that rows are matched by at most
MOST_SCORES = 8
#: rows that are assigned to each other at a time
BLOCK = 500
#: keeps the noise of the surrogates apart from data that was drawn with the same seed
STREAM = 0x5CC4
#: how far a label's draw may thin out a class
LEAST_IN_CLASS = 10

Pair = tuple[np.ndarray, np.ndarray]
EstimateMany = Callable[[Sequence[Pair]], np.ndarray]


def _normal_scores(values: np.ndarray) -> np.ndarray:
    """Normal quantiles of the ranks, (n,)."""
    ranks = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return ndtri((ranks + 0.5) / len(values))


def _correlation(level: float, pairs: int = 1) -> float:
    """The correlation of each of `pairs` Gaussian pairs with `level` nats in all."""
    return float(np.sqrt(-np.expm1(-2 * level / pairs)))


@dataclass(frozen=True)
class Components:
    """Principal components of standardised columns: scores (n, r) of unit variance,
    loadings (r, p) that hold the spectrum.
    """

    scores: np.ndarray
    loadings: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray) -> Components:
        """Of the rows of x, (n, p)."""
        x = x[:, check.varies(x)]
        centred = x - x.mean(0)
        centred = centred / centred.std(0)
        u, s, loadings = np.linalg.svd(centred, full_matrices=False)
        kept = s > 1e-8 * s[0]
        scale = np.sqrt(len(x))
        return cls(u[:, kept] * scale, s[kept, None] * loadings[kept] / scale)

    @property
    def effective_rank(self) -> float:
        """(Σ λ)² / Σ λ², the participation ratio of the spectrum."""
        variances = (self.loadings**2).sum(1)
        return float(variances.sum() ** 2 / (variances**2).sum())


@dataclass(frozen=True)
class Factor:
    """Rows of x beside rows of y, matched by one score of each.

    `starts` are the rows at which a subject's rows begin, sorted by subject: the rows
    of one stay together, and the subjects are matched.
    """

    x: np.ndarray
    y: np.ndarray
    x_score: np.ndarray
    y_score: np.ndarray
    starts: np.ndarray | None = None

    def draw(self, level: float, rng: np.random.Generator) -> Pair:
        """One pair of `level` nats."""
        rho = _correlation(level)
        starts = np.arange(len(self.x)) if self.starts is None else self.starts
        units = np.split(np.arange(len(self.x)), starts[1:])
        sizes = np.array([len(unit) for unit in units])
        noise = rng.standard_normal(len(units))
        x_score = _normal_scores(np.add.reduceat(self.x_score, starts) / sizes)
        y_score = np.add.reduceat(self.y_score, starts) / sizes
        x_order = np.argsort(rho * x_score + np.sqrt(1 - rho**2) * noise)
        y_order = np.argsort(y_score, kind="stable")
        x_rows = np.concatenate([units[i] for i in x_order])
        y_rows = np.concatenate([units[i] for i in y_order])
        # matched rows lie sorted by their score, which no estimator should see
        order = rng.permutation(len(x_rows))
        return self.x[x_rows[order]], self.y[y_rows[order]]


@dataclass(frozen=True)
class Matched:
    """Rows of x beside rows of y, matched by several scores of each, (n, m).

    As `Factor`, but no order matches rows in several scores at once: within blocks of
    rows they are assigned so that the scores of y are near a noisy copy of those of x.
    What that leaves of the correlations is measured, and so is the level.
    """

    x: np.ndarray
    y: np.ndarray
    x_scores: np.ndarray
    y_scores: np.ndarray

    def draw(self, level: float, rng: np.random.Generator) -> Pair:
        """One pair of about `level` nats: see `level_of`."""
        x_rows, y_rows = self._rows(level, rng)
        return self.x[x_rows], self.y[y_rows]

    def level_of(self, level: float, rng: np.random.Generator) -> float:
        """The information that `draw` gives the scores when asked for `level`, nats."""
        if level == 0:
            return 0.0
        x_rows, y_rows = self._rows(level, rng)
        both = np.hstack([self.x_scores[x_rows], self.y_scores[y_rows]])
        n, m = self.x_scores.shape
        covariance = np.cov(both.T)
        logs = [
            np.linalg.slogdet(part)[1]
            for part in (covariance[:m, :m], covariance[m:, m:], covariance)
        ]
        return float(max((logs[0] + logs[1] - logs[2]) / 2 - m**2 / (2 * n), 0.0))

    def _rows(
        self, level: float, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        n, m = self.x_scores.shape
        rho = _correlation(level, m)
        x_rows, y_rows = rng.permutation(n), rng.permutation(n)
        noise = rng.standard_normal((n, m))
        if level == 0:
            return x_rows, y_rows
        wanted = rho * self.x_scores[x_rows] + np.sqrt(1 - rho**2) * noise
        found = []
        for rows in np.array_split(np.arange(n), -(-n // BLOCK)):
            cost = cdist(wanted[rows], self.y_scores[y_rows[rows]], "sqeuclidean")
            found.append(y_rows[rows][linear_sum_assignment(cost)[1]])
        return x_rows, np.concatenate(found)


@dataclass(frozen=True)
class Spread:
    """Gaussian components with the data's spectrum, the first `pairs` of them
    correlated, under the data's marginals.

    `alike` is the correlation of two rows of one subject; 0 without subjects.
    """

    blocks: tuple[np.ndarray, np.ndarray]
    components: tuple[Components, Components]
    pairs: int
    starts: np.ndarray | None = None
    alike: float = 0.0

    def draw(self, level: float, rng: np.random.Generator) -> Pair:
        """One pair of `level` nats."""
        rho = _correlation(level, self.pairs)
        u, v = (self._rows(len(c.loadings), rng) for c in self.components)
        shared = u[:, : self.pairs]
        own = v[:, : self.pairs]
        v[:, : self.pairs] = rho * shared + np.sqrt(1 - rho**2) * own
        both = tuple(
            _with_marginals(latent @ components.loadings, block, components)
            for latent, block, components in zip(
                (u, v), self.blocks, self.components, strict=True
            )
        )
        return cast(Pair, both)

    def _rows(self, rank: int, rng: np.random.Generator) -> np.ndarray:
        n = len(self.blocks[0])
        rows = rng.standard_normal((n, rank))
        if self.starts is None or self.alike == 0:
            return rows
        sizes = np.diff([*self.starts, n])
        subjects = rng.standard_normal((len(sizes), rank)).repeat(sizes, axis=0)
        return np.sqrt(self.alike) * subjects + np.sqrt(1 - self.alike) * rows


def _with_marginals(
    drawn: np.ndarray, block: np.ndarray, components: Components
) -> np.ndarray:
    """`drawn` (n, p) with each column's values replaced by the block's, rank by rank.

    Ties would lose information where there are few columns to a component: there the
    columns stay as drawn.
    """
    block = block[:, check.varies(block)]
    tied = any(len(np.unique(column)) < 0.95 * len(column) for column in block.T)
    if tied and block.shape[1] < 2 * len(components.loadings):
        return drawn
    order = np.argsort(drawn, axis=0)
    found = np.empty_like(drawn)
    np.put_along_axis(found, order, np.sort(block, axis=0), axis=0)
    return found


@dataclass(frozen=True)
class Channel:
    """Rows of x with labels drawn from a softmax of `scores` (n, K); `starts` as in
    `Factor`, where the rows of one subject have one label.
    """

    x: np.ndarray
    codes: np.ndarray
    scores: np.ndarray
    starts: np.ndarray | None = None
    drawn: dict[float, np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def _slopes(self) -> tuple[np.ndarray, np.ndarray]:
        """Slopes of the softmax, and the information at each, (m,) and rising."""
        slopes = np.concatenate([[0.0], np.geomspace(0.1, 1e3, 24)])
        found = [self._information(self._softmax(slope)) for slope in slopes]
        return slopes, np.maximum.accumulate(found)

    def probabilities(self, level: float) -> np.ndarray:
        """Probabilities (n, K) with the data's class shares and
        H(E p) - E H(p) = level.
        """
        slopes, information = self._slopes
        after = int(np.clip(np.searchsorted(information, level), 1, len(slopes) - 1))
        low, high = slopes[after - 1], slopes[after]
        for _ in range(8):
            middle = (low + high) / 2
            if self._information(self._softmax(middle)) < level:
                low = middle
            else:
                high = middle
        return self._softmax((low + high) / 2)

    def _softmax(self, slope: float) -> np.ndarray:
        shares = np.bincount(self.codes) / len(self.codes)
        log_shares = offset = np.log(shares)
        logits = slope * self.scores
        for _ in range(15):
            p = softmax(logits + offset, axis=1)
            offset = offset + log_shares - np.log(np.maximum(p.mean(0), 1e-12))
        return softmax(logits + offset, axis=1)

    @staticmethod
    def _information(p: np.ndarray) -> float:
        return float(entr(p.mean(0)).sum() - entr(p).sum(1).mean())

    def draw(self, level: float, rng: np.random.Generator) -> Pair:
        """One pair of `level` nats."""
        if level not in self.drawn:
            self.drawn[level] = self.probabilities(level)
        p = self.drawn[level]
        if self.starts is not None:
            sizes = np.diff([*self.starts, len(p)])
            p = np.add.reduceat(p, self.starts, axis=0) / sizes[:, None]
        codes = (p.cumsum(1) < rng.random((len(p), 1))).sum(1)
        codes = np.minimum(codes, p.shape[1] - 1)
        if self.starts is not None:
            codes = codes.repeat(sizes)
            p = p.repeat(sizes, axis=0)
        return self.x, _filled(codes, p, np.bincount(self.codes))


def _filled(codes: np.ndarray, p: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`codes` with at least LEAST_IN_CLASS of each class (or what the data have): the
    likeliest rows are given to a class that was drawn too seldom.
    """
    codes = codes.copy()
    for c, wanted in enumerate(np.minimum(counts, LEAST_IN_CLASS)):
        for row in np.argsort(-p[:, c], kind="stable"):
            drawn = np.bincount(codes, minlength=len(counts))
            if drawn[c] >= wanted:
                break
            own = codes[row]
            if own != c and drawn[own] > min(counts[own], LEAST_IN_CLASS):
                codes[row] = c
    return codes


def families(
    x: np.ndarray, y: np.ndarray, starts: np.ndarray | None = None, seed: int = 0
) -> Sequence[Factor | Matched | Spread]:
    """Where the information may sit in two continuous blocks; the likeliest first.

    Held-out canonical correlations say over how many pairs it is spread. The families
    are that many, one pair, and more pairs than were seen; where no linear relation
    is seen, as many as the spectra allow. Subjects of several rows keep the correlation
    of their rows, and the information is between rows.
    """
    components = Components.of(x), Components.of(y)
    most = int(round(min(c.effective_rank for c in components)))
    most = max(1, min(most, len(x) // 4))
    rng = np.random.default_rng((STREAM, seed))
    scores, seen = _canonical(components, rng)
    alike = min(_alike(c.scores[:, 0], starts) for c in components)
    likely = min(max(seen, 1), most)
    upper = most if seen == 0 else min(most, 2 * seen + 1)
    spread = [
        Spread((x, y), components, pairs, starts, alike)
        for pairs in sorted({1, likely, upper})
    ]
    single = Factor(x, y, scores[0][:, 0], scores[1][:, 0], starts)
    if starts is not None:
        # whole subjects beside each other keep what their rows look like; but the rows
        # have no partners there, so that the likeliest is another
        return [*sorted(spread, key=lambda family: family.pairs != likely), single]
    if likely == 1:
        return [single, *spread[1:]]
    few = min(likely, MOST_SCORES)
    ranked = [np.column_stack([_normal_scores(v) for v in s.T[:few]]) for s in scores]
    return [Matched(x, y, *ranked), *spread[1:], single]


def _canonical(components: tuple[Components, Components], rng: np.random.Generator):
    """Scores of the canonical pairs, (n, m) each, and the number of pairs that hold up
    on held-out rows (the participation ratio of their information).
    """
    n = len(components[0].scores)
    most = max(1, min(MOST_COMPONENTS, n // 10))
    zx, zy = (c.scores[:, :most] for c in components)
    u, _, vt = np.linalg.svd(zx.T @ zy)
    pairs = min(zx.shape[1], zy.shape[1])
    scores = zx @ u[:, :pairs], zy @ vt[:pairs].T

    order = rng.permutation(n)
    halves = order[: n // 2], order[n // 2 :]
    information = []
    for learn, test in (halves, halves[::-1]):
        u, _, vt = np.linalg.svd(zx[learn].T @ zy[learn])
        left = zx[test] @ u[:, :pairs]
        right = zy[test] @ vt[:pairs].T
        left, right = left - left.mean(0), right - right.mean(0)
        norms = np.sqrt((left**2).sum(0) * (right**2).sum(0))
        rho = (left * right).sum(0) / norms
        rho = np.where(rho > SEEN / np.sqrt(len(test)), np.minimum(rho, 1 - 1e-9), 0)
        information.append(-0.5 * np.log(1 - rho**2))
    information = np.mean(information, 0)
    if not information.any():
        return scores, 0
    return scores, int(round(information.sum() ** 2 / (information**2).sum()))


def _alike(values: np.ndarray, starts: np.ndarray | None) -> float:
    """Intraclass correlation of `values` (n,) of unit variance within subjects."""
    if starts is None:
        return 0.0
    sizes = np.diff([*starts, len(values)])
    if sizes.max() < 2:
        return 0.0
    means = (np.add.reduceat(values, starts) / sizes).repeat(sizes)
    within = ((values - means) ** 2).sum() / max(len(values) - len(sizes), 1)
    return float(np.clip(1 - within / values.var(), 0, 0.999))


def label_families(
    x: np.ndarray, codes: np.ndarray, starts: np.ndarray | None = None
) -> list[Channel]:
    """Where what x says of the classes may sit: in a linear probe's scores, or in the
    leading principal components.
    """
    components = Components.of(x)
    classes = codes.max() + 1
    rank = min(components.scores.shape[1], MOST_COMPONENTS, max(1, len(x) // 10))
    leading = components.scores[:, :rank]
    probe = LogisticRegression(C=1.0, max_iter=2000).fit(leading, codes)
    linear = leading @ probe.coef_.T
    if classes == 2:
        linear = np.hstack([np.zeros_like(linear), linear])
    # the class means of a simplex, or evenly spaced along one component
    axes = min(rank, classes - 1)
    corners = np.linalg.qr(np.eye(classes) - 1 / classes)[0][:, :axes]
    if axes < classes - 1:
        corners = np.linspace(-1, 1, classes)[:, None] * np.eye(1, axes)
    principal = components.scores[:, :axes] @ corners.T
    one_label = starts
    if starts is not None:
        sizes = np.diff([*starts, len(codes)])
        if (codes != codes[starts].repeat(sizes)).any():
            one_label = None
    found = []
    for scores in (linear, principal):
        if check.varies(scores).any():
            centred = scores - scores.mean(0)
            found.append(Channel(x, codes, centred / centred.std(), one_label))
    return found


@dataclass
class Curve:
    """Mean answers of an estimator at levels of information, made monotone."""

    levels: np.ndarray
    answers: np.ndarray

    def truth(self, answer: float) -> float:
        """The level that gives `answer`: 0 below the curve, inf above it."""
        answers = np.maximum.accumulate(self.answers)
        if answer <= answers[0]:
            return 0.0
        if answer > answers[-1]:
            return float("inf")
        after = int(np.searchsorted(answers, answer))
        low, high = answers[after - 1], answers[after]
        share = (answer - low) / (high - low)
        return float(
            self.levels[after - 1]
            + share * (self.levels[after] - self.levels[after - 1])
        )


def curve(
    family: Factor | Matched | Spread | Channel,
    levels: Sequence[float] | np.ndarray,
    answer: float,
    reach: float,
    most: float,
    estimate: EstimateMany,
    seed: int,
    draws: int,
) -> Curve:
    """What `estimate` says of the family's pairs.

    Parameters
    ----------
    levels : nats, rising from 0
    answer, reach : float
        The answer to be explained and how far around it the curve is wanted: levels
        are added up to `most` until it is reached.
    draws : int
        At the level that explains the answer, which shift the curve there; 0 leaves
        the one draw a level (the same noise at all of them).
    """

    def at(level: float, draw: int) -> Pair:
        return family.draw(level, np.random.default_rng((STREAM, seed, draw)))

    measured = getattr(family, "level_of", None)
    levels = [level for level in levels if level <= most]
    answers = list(estimate([at(level, 0) for level in levels]))
    while draws and max(answers) < answer + reach and levels[-1] < most:
        levels.append(min(1.6 * levels[-1], most))
        answers += list(estimate([at(levels[-1], 0)]))
    found = Curve(np.array(levels), np.array(answers, float))
    level = min(found.truth(answer), levels[-1])
    if measured is not None:
        held = [
            measured(asked, np.random.default_rng((STREAM, seed, 0)))
            for asked in levels
        ]
        found.levels = np.maximum.accumulate(held)
    if not draws:
        return found
    again = np.mean(estimate([at(level, draw) for draw in range(1, draws + 1)]))
    expected = np.interp(level, levels, np.maximum.accumulate(found.answers))
    found.answers = found.answers + (again - expected)
    return found
