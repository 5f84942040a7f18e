"""One function for every estimator."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

import numpy as np

from cchlib import check
from cchlib.ambient import own_state
from cchlib.mi import repeats
from cchlib.mi._common import continuous, entropy, is_discrete, variable
from cchlib.mi.estimators import ESTIMATORS
from cchlib.names import match_rows
from cchlib.training import resolve_device

AT_ONCE = 2**30  # numbers that a stack may hold: 4 GB
#: Neighbours where a method has no k of its own: a class needs one sample more.
NEIGHBOURS = 3
#: Share of the ceiling from which on an estimate counts as saturated. Nearest
#: neighbours on one Gaussian pair (n = 200 and 1,000) miss .2 to .3 nats of the truth
#: where they say three quarters of their ceiling, and 1.4 to 1.8 where they say nine
#: tenths; in more dimensions they miss more at the same share.
SATURATED = 0.75
#: The same where the ceiling is H(Y), which bounds the truth and not only the estimate.
SATURATED_ENTROPY = 0.95


@dataclass(frozen=True, repr=False)
class MIEstimate:
    """An estimate of mutual information.

    Attributes
    ----------
    value : float
        In nats; the mean over the runs. May be negative: it is an estimate.
    std_error : float
        Random estimators: standard deviation over runs / √runs, nan for one run; it
        holds the estimator's randomness, not the sampling of the data. Deterministic
        ones: by subsampling, of the data's sampling. nan where it can't be had.
    runs : int
        1 for the deterministic estimators, whatever was asked.
    method : str
    n_samples : int
        Different ones: rows that repeat another in every variable are counted once.
    seconds : float
        Wall time; of a stack of pairs, its share.
    options : dict
        Every option of the method, with its value.
    values : tuple of float
        One value a run.
    ceiling : float
        Nats: what the estimator could say at most here. Nearest neighbours on m points
        say at most ψ(m) - ψ(k) (all of them for "ksg", those of one fold for "latent",
        of a half for "lmi"), a Donsker-Varadhan bound on a fold of m at most ln m
        (McAllester and Stratos, 2020), and of a discrete y nothing knows more than
        H(Y). inf where nothing bounds it.
    saturated : bool
        The value is so near the ceiling that it says little about the truth but that
        it is no smaller: from `SATURATED` of it on, `SATURATED_ENTROPY` where the
        ceiling is H(Y).
    trusted : bool
        Nothing in the data speaks against what the method supposes of them, as far as
        it can tell; `notes` says what does.
    notes : tuple of str
        What was found in the data, in sentences.
    """

    value: float
    std_error: float
    runs: int
    method: str
    n_samples: int
    seconds: float
    options: dict[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] = ()
    ceiling: float = float("inf")
    saturated: bool = False
    trusted: bool = True
    notes: tuple[str, ...] = ()

    @property
    def bits(self) -> float:
        """The value in bits."""
        return self.value / float(np.log(2))

    def _lines(self) -> list[str]:
        error = ""
        if np.isfinite(self.std_error):
            error = f", standard error {self.std_error:.3f}"
        bound = f"at most {self.ceiling:.3f} nats could be said here"
        if self.saturated:
            bound = f"saturated: {bound}, so that it bounds the truth from below only"
        elif not np.isfinite(self.ceiling):
            bound = "nothing bounds what could be said here"
        runs = f"{self.runs} run{'' if self.runs == 1 else 's'}"
        return [
            f"mutual information {self.value:.3f} nats ({self.bits:.3f} bits){error}",
            f"by {self.method} on {self.n_samples} samples, {runs}, "
            f"{self.seconds:.2g} s; see .options",
            bound,
            *self.notes,
        ]

    def __repr__(self) -> str:
        return "\n".join(self._lines())

    def _repr_html_(self) -> str:
        first, *rest = (escape(line) for line in self._lines())
        return f"<p><strong>{first}</strong><br>{'<br>'.join(rest)}</p>"


@own_state()
def estimate_mi(
    x: Any,
    y: Any,
    method: str = "latent",
    *,
    given: Any = None,
    runs: int = 1,
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> MIEstimate:
    """Mutual information I(x; y), or I(x; y | given), in nats.

    Parameters
    ----------
    x : array (n,) or (n, p)
        Continuous, whatever its type.
    y : array (n,) or (n, q)
        Integer, boolean or string: discrete (rows of a matrix are classes, so one-hot
        integers are labels). Float: continuous, however few its values.
    method : {"latent", "lmi", "ksg", "mine", "gaussian"}
        "latent": our own estimator, nearest neighbours on learned functions of x and of
        y, see `cchlib.mi.latent`. "lmi": latent mutual information as published (Gowri
        et al., 2024), at the settings of the authors' package. "ksg": k nearest
        neighbours (Kraskov et al., 2004; Ross, 2014), k = 3. "mine": MINE (Belghazi et
        al., 2018). "gaussian": the Gaussian closed form.
    given : array (n,) or (n, r), optional
        Condition on it; continuous or discrete as y. "ksg" only.
    runs : int
        Independent runs of the random estimators ("latent", "lmi", "mine").
    seed : int
        The same seed gives the same value, to the bit on a CPU.
    device : str
        "auto" (the GPU where there is one), "cpu", "cuda"…; for the estimators that
        train networks.
    **options
        Of the method: the keyword arguments of `cchlib.mi.latent.latent`, `lmi.lmi`,
        `ksg.ksg`, `mine.mine` and `gaussian.gaussian`.

    Returns
    -------
    MIEstimate

    Raises
    ------
    ValueError
        NaN or infinity, unequal lengths, too few samples for k neighbours, a block of
        constant features, a single class, a class of k samples or fewer (k = 3 where
        the method has none), an unknown method or option, `given` for a
        method without a conditional form.
    """
    return estimate_mi_many(
        [(x, y)],
        method,
        given=None if given is None else [given],
        runs=runs,
        seed=seed,
        device=device,
        **options,
    )[0]


@own_state()
def estimate_mi_many(
    pairs: Sequence[tuple[Any, Any]],
    method: str = "latent",
    *,
    given: Sequence[Any] | None = None,
    runs: int = 1,
    seed: int = 0,
    device: str = "auto",
    **options: Any,
) -> list[MIEstimate]:
    """`estimate_mi` of every pair (x, y), with the same seed: pairs of equal shapes are
    trained as one stack.

    `given` holds one variable a pair. Everything else is as in `estimate_mi`.
    """
    estimator = ESTIMATORS[check.one_of("method", method, ESTIMATORS)]
    runs, seed = check.integer("runs", runs, 1), check.integer("seed", seed)
    resolve_device(device)  # refused whatever the method
    reported = _settings(method, options)
    if given is not None and not estimator.conditional:
        conditional = [name for name, one in ESTIMATORS.items() if one.conditional]
        raise ValueError(
            f"given is not available with method {method!r}; conditional information "
            f"is estimated by {', '.join(map(repr, conditional))}"
        )
    samples: list[tuple[np.ndarray, ...]] = []
    notes: list[list[str]] = []
    for i, (x, y) in enumerate(pairs):
        condition = None if given is None else given[i]
        matched = match_rows(x=x, y=y, given=condition)
        sample, note = _read(**matched, k=reported.get("k", NEIGHBOURS))
        samples.append(sample)
        notes.append([note] if note else [])

    if estimator.random:
        found = _random(method, samples, reported, runs, seed, device)
    else:
        found = _deterministic(method, samples, reported, seed)
    return [
        _examined(estimate, sample, said)
        for estimate, sample, said in zip(found, samples, notes)
    ]


def _examined(
    estimate: MIEstimate, sample: tuple[np.ndarray, ...], notes: list[str]
) -> MIEstimate:
    """The estimate with what is to be said of its sample."""
    doubt = ESTIMATORS[estimate.method].doubt
    reason = doubt(*sample, estimate.options) if doubt is not None else ""
    if reason:
        notes = [*notes, reason]
    return replace(estimate, trusted=not reason, notes=tuple(notes))


def bare_values(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]],
    method: str,
    *,
    seed: int,
    device: str,
) -> list[float]:
    """One value a pair, without its standard error and without a look for copies and
    for what speaks against the method: for splits, and surrogates, of a sample that was
    examined. Columns are taken on the scale that they have.
    """
    estimator = ESTIMATORS[method]
    chosen = {**estimator.keep_scale, **estimator.without_error}
    options = _settings(method, chosen)
    samples = []
    for x, y in pairs:
        sample = _variables(x, y, None)
        _enough_of_classes(sample, options.get("k", NEIGHBOURS))
        samples.append(tuple(sample.values()))
    if estimator.random:
        found = _random(method, samples, options, 1, seed, device)
    else:
        found = _deterministic(method, samples, options, seed)
    return [estimate.value for estimate in found]


def _settings(method: str, options: dict[str, Any]) -> dict[str, Any]:
    """All options of a method, the defaults included."""
    known = ESTIMATORS[method].defaults
    for name in options:
        if name not in known:
            raise ValueError(
                f"{name} is not an option of method {method!r}, which has "
                f"{', '.join(known)}"
            )
    return known | options


def _random(
    method: str,
    samples: list[tuple[np.ndarray, ...]],
    options: dict[str, Any],
    runs: int,
    seed: int,
    device: str,
) -> list[MIEstimate]:
    """Estimates by networks, trained as stacks; the error is that of the runs."""
    compute = ESTIMATORS[method].compute

    def estimate(group: list) -> list[list[float]]:
        return compute(group, runs=runs, seed=seed, device=device, **options)

    start = time.perf_counter()
    values = _by_shape(samples, runs, estimate)
    seconds = (time.perf_counter() - start) / max(1, len(samples))
    found = []
    for sample, one in zip(samples, values):
        error = float(np.std(one, ddof=1) / np.sqrt(runs)) if runs > 1 else np.nan
        found.append(_estimate(method, sample, one, error, seconds, options))
    return found


def _deterministic(
    method: str,
    samples: list[tuple[np.ndarray, ...]],
    options: dict[str, Any],
    seed: int,
) -> list[MIEstimate]:
    """Estimates in closed form or by counting, one after the other."""
    compute = ESTIMATORS[method].compute
    found = []
    for sample in samples:
        start = time.perf_counter()
        value, error = compute(*sample, seed=seed, **options)
        seconds = time.perf_counter() - start
        found.append(_estimate(method, sample, [value], error, seconds, options))
    return found


def _estimate(
    method: str,
    sample: tuple[np.ndarray, ...],
    values: Sequence[float],
    error: float,
    seconds: float,
    options: dict[str, Any],
) -> MIEstimate:
    value = float(np.mean(values))
    most = ESTIMATORS[method].ceiling(len(sample[0]), options)
    known = entropy(sample[1]) if is_discrete(sample[1]) else np.inf
    ceiling = float(min(most, known))
    share = SATURATED_ENTROPY if known < most else SATURATED
    return MIEstimate(
        value=value,
        std_error=float(error),
        runs=len(values),
        method=method,
        n_samples=len(sample[0]),
        seconds=seconds,
        options=options,
        values=tuple(float(one) for one in values),
        ceiling=ceiling,
        saturated=bool(value >= share * ceiling),
    )


def limit(method: str, n: int, **options: Any) -> float:
    """The most, in nats, that a method with these options can say of n pairs of two
    continuous variables.
    """
    return ESTIMATORS[method].ceiling(n, _settings(method, options))


def _read(x: Any, y: Any, given: Any, k: int) -> tuple[tuple[np.ndarray, ...], str]:
    """The variables with each different row once, and a sentence where some repeat."""
    sample = _variables(x, y, given)
    n = check.same_length(**sample)
    rows = repeats.distinct_rows(list(sample.values()))
    said = ""
    if rows is not None:
        said = repeats.told(n, rows)
        sample = {name: value[rows] for name, value in sample.items()}
    _enough_of_classes(sample, k)
    return tuple(sample.values()), said


def _variables(x: Any, y: Any, given: Any) -> dict[str, np.ndarray]:
    sample = {"x": continuous("x", x), "y": variable("y", y)}
    if given is not None:
        sample["given"] = variable("given", given)
    return sample


def _enough_of_classes(sample: Mapping[str, np.ndarray], k: int) -> None:
    for name, value in sample.items():
        if is_discrete(value) and len(value) > k:
            _enough_of_each(name, value, k)


def _enough_of_each(name: str, codes: np.ndarray, k: int) -> None:
    """Refuse classes of k samples or fewer, whatever the method: they hold no estimate,
    and integers that are measurements are all such classes.
    """
    counts = np.bincount(codes)
    if counts.min() > k:
        return
    raise ValueError(
        f"{name} has {len(counts)} classes, of which the rarest is a class of "
        f"{counts.min()} samples; expected at least {k + 1} samples in each: merge "
        "rare classes or leave them out; and if these integers are measurements, give "
        f"them as floats ({name}.astype(float)), which are read as continuous"
    )


def _by_shape(samples, runs: int, estimate) -> list:
    """Estimate groups of samples of equal shapes and types together, as large as fits;
    results in the order of `samples`.
    """
    groups: dict[tuple, list[int]] = {}
    for i, (x, y) in enumerate(samples):
        shape = y.shape
        if is_discrete(y):
            shape = ("classes", int(y.max()) + 1)
        alike = groups.setdefault((x.shape, shape), [])
        alike.append(i)
    results: list = [None] * len(samples)
    for ((n, p), (_, q)), members in groups.items():
        each = 5 * runs * n * (p + q)  # numbers that one sample's folds hold
        at_once = max(1, AT_ONCE // each)
        for low in range(0, len(members), at_once):
            part = members[low : low + at_once]
            found = estimate([samples[i] for i in part])
            for i, values in zip(part, found):
                results[i] = values
    return results
