"""Ties between distances, as rounded, counted and clipped features have them.

Where values lie on a grid, many samples are exactly as far away as the k-th neighbour.
Counts of the samples that are strictly nearer leave out all of them while k stays, and
the estimate is too large by whole nats. Here k is raised to all that tie, at whatever
distance, and they are counted in the marginal spaces, too: the balls are closed. At
distance 0 that is the estimator of Gao et al. (2017) for mixtures of continuous and
discrete laws.

A closed ball is then the first one that holds k samples or more, and the logarithm of
its probability has to be estimated without the bias of that choice. To spread each of
the tied values evenly over a cell of its own changes no information and breaks all
ties; the k-th neighbour then lies inside the tied shell, at mass S of the ball's A.
ψ(k) - ψ(n) estimates log S, as in Kraskov et al., and log(A / S) is added. Given m
samples nearer than the shell and c in the ball, S / A = a + (1 - a) B with B ~
Beta(k - m, c - k + 1) and a the share of the mass that is nearer than the shell, which
the marginal counts tell: in so small a ball the density ratio is constant. On a
discrete law (m = a = 0) the sum is ψ(c + 1): the plug-in estimate less its first-order
bias.

References
----------
- W. Gao, S. Kannan, S. Oh, P. Viswanath, "Estimating mutual information for
  discrete-continuous mixtures", NeurIPS 30 (2017).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import digamma

from cchlib.mi._common import is_discrete

#: Distances are equal within this many standard deviations of the widest column: single
#: precision leaves a tenth of it.
EQUAL = 1e-6
#: An atom holds at least this share of the samples, ...
ATOM = 0.05
#: ... and so many times as many as any other value of its column.
ABOVE_OTHERS = 10
#: Ranges of its column by which an atom is set apart.
APART = 10.0


def any_tie(variables: Sequence[np.ndarray]) -> bool:
    """Whether a column of a continuous variable repeats values or is a grid."""
    return any(_tied(v) for v in variables if not is_discrete(v))


def _tied(x: np.ndarray) -> bool:
    ordered = np.sort(x, axis=0)
    gaps = np.diff(ordered, axis=0)
    if (gaps == 0).any():
        return True
    # without repeated values: ranks, or time steps
    if len(gaps) < 2:
        return False
    steps = gaps / gaps.min(0)
    return bool((np.abs(steps - np.rint(steps)) < 1e-3).all(0).any())


def tolerance(variables: Sequence[np.ndarray]) -> float:
    """Distances that differ by no more are equal: rounding left 0.3 - 0.2 and 0.2 - 0.1
    apart.
    """
    widest = max(float(v.std(0).max()) for v in variables if not is_discrete(v))
    return EQUAL * widest


def atoms_apart(x: np.ndarray) -> np.ndarray:
    """The variable with the atom of its one zero-inflated column set far apart.

    That is one-to-one, so that it changes no information. Where the atom stays, the
    balls of the samples beside it are swollen by it in one space and not in the other.
    Of several such columns every row would be apart from almost all others, so that
    they are left as they are.
    """
    if is_discrete(x):
        return x
    atoms = [_atom(column) for column in x.T]
    inflated = [i for i, atom in enumerate(atoms) if atom is not None]
    if len(inflated) != 1:
        return x
    (i,) = inflated
    x = x.copy()
    away = x[:, i].min() - APART * np.ptp(x[:, i])
    x[x[:, i] == atoms[i], i] = away
    return x


def _atom(column: np.ndarray) -> float | None:
    """The value of a column (n,) that far more samples have than any other."""
    values, counts = np.unique(column, return_counts=True)
    if len(values) < 3:
        return None
    second, first = np.sort(counts)[-2:]
    if first < max(ATOM * len(column), ABOVE_OTHERS * second):
        return None
    return float(values[counts.argmax()])


def mass_ratio(
    nearer: Sequence[np.ndarray], as_near: Sequence[np.ndarray], signs: Sequence[int]
) -> np.ndarray:
    """Share (n,) of the joint ball's mass that is nearer than the shell, where the
    density ratio is constant: the product of those of the marginal balls (sign -1),
    over that of the condition's (sign 1).
    """
    log_share = np.zeros(len(nearer[0]))
    none = np.zeros(len(nearer[0]), bool)
    for few, many, sign in zip(nearer, as_near, signs):
        none |= few == 0
        log_share -= sign * np.log(np.maximum(few, 1) / many)
    return np.where(none, 0.0, np.exp(np.minimum(log_share, 0.0)))


def log_mass(
    found: np.ndarray, inside: np.ndarray, within: np.ndarray, share: np.ndarray
) -> np.ndarray:
    """ψ(k) + E log(A / S), (n,): the estimate of the log-mass of the closed ball, in
    units of one sample's.

    `inside` and `within` count the sample itself where it is at a distance > 0 from the
    shell, as `neighbour_counts` returns them. S / A is taken for a Beta variable of the
    same mean and variance, which is exact for a = 0.
    """
    m = np.maximum(inside - 1, 0)
    alpha = (found - m).astype(float)
    beta = (within - found).astype(float)  # c - k + 1, where c = within - 1
    mean = share + (1 - share) * alpha / (alpha + beta)
    variance = (1 - share) ** 2 * alpha * beta
    variance /= (alpha + beta) ** 2 * (alpha + beta + 1)
    # a shell without mass, and so without a tie, has nothing to add
    some = variance > 0
    size = mean * (1 - mean) / np.where(some, variance, 1.0) - 1
    size = np.where(some, size, 1.0)
    reached = digamma(np.where(some, mean * size, size)) - digamma(size)
    return digamma(found) - reached
