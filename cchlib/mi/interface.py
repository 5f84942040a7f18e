"""One function, four estimators."""

from __future__ import annotations

import inspect
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cchlib import check
from cchlib.mi._common import continuous, is_discrete, variable
from cchlib.mi.gaussian import gaussian
from cchlib.mi.ksg import ksg
from cchlib.mi.lmi import lmi
from cchlib.mi.lmi import settings as lmi_settings
from cchlib.mi.mine import mine
from cchlib.training import resolve_device

METHODS = {"lmi": lmi, "ksg": ksg, "mine": mine, "gaussian": gaussian}
AT_ONCE = 2**30  # numbers that a stack may hold: 4 GB
RANDOM = (
    "lmi",
    "mine",
)  # these train networks: a run is one random split and initialisation


@dataclass(frozen=True)
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
    seconds : float
        Wall time; of a stack of pairs, its share.
    options : dict
        Every option of the method, with its value.
    values : tuple of float
        One value a run.
    """

    value: float
    std_error: float
    runs: int
    method: str
    n_samples: int
    seconds: float
    options: dict[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] = ()

    @property
    def bits(self) -> float:
        """The value in bits."""
        return self.value / float(np.log(2))


def estimate_mi(
    x: Any,
    y: Any,
    method: str = "lmi",
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
    method : {"lmi", "ksg", "mine", "gaussian"}
        Latent MI (Gowri et al., 2024); k nearest neighbours (Kraskov et al., 2004;
        Ross, 2014); MINE (Belghazi et al., 2018); the Gaussian closed form.
    given : array (n,) or (n, r), optional
        Condition on it; continuous or discrete as y. "ksg" only.
    runs : int
        Independent runs of the random estimators ("lmi", "mine"), trained as one stack.
    seed : int
        The same seed gives the same value, to the bit on a CPU.
    device : str
        "auto" (the GPU where there is one), "cpu", "cuda"…; for the estimators that
        train networks.
    **options
        Of the method: see `cchlib.mi.ksg.ksg`, `lmi.lmi`, `mine.mine`,
        `gaussian.gaussian`.

    Returns
    -------
    MIEstimate

    Raises
    ------
    ValueError
        NaN or infinity, unequal lengths, too few samples for k neighbours, a block of
        constant features, a single class, an unknown method or option, `given` for a
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


def estimate_mi_many(
    pairs: Sequence[tuple[Any, Any]],
    method: str = "lmi",
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
    function = METHODS[check.one_of("method", method, METHODS)]
    runs, seed = check.integer("runs", runs, 1), check.integer("seed", seed)
    resolve_device(device)  # refused whatever the method
    known = {
        name: p.default
        for name, p in inspect.signature(function).parameters.items()
        if p.kind is p.KEYWORD_ONLY and name not in ("runs", "seed", "device")
    }
    for name in options:
        if name not in known:
            raise ValueError(
                f"{name} is not an option of {method!r}; one of {', '.join(known)} is wanted"
            )
    if given is not None and method != "ksg":
        raise ValueError(
            f'given is not available with method {method!r}; "ksg" estimates conditional information'
        )
    reported = known | options
    if method == "lmi":  # what is None there is the preset's
        reported = {"preset": reported["preset"]} | lmi_settings(**reported)
    samples = [
        _read(x, y, None if given is None else given[i])
        for i, (x, y) in enumerate(pairs)
    ]

    start = time.perf_counter()
    if method in RANDOM:
        values = _by_shape(
            samples,
            runs,
            lambda group: function(
                group, runs=runs, seed=seed, device=device, **options
            ),
        )
        errors = [
            float(np.std(v, ddof=1) / np.sqrt(runs)) if runs > 1 else float("nan")
            for v in values
        ]
        seconds = [(time.perf_counter() - start) / len(samples)] * len(samples)
    else:
        values, errors, seconds, runs = [], [], [], 1
        for sample in samples:
            start = time.perf_counter()
            value, error = function(*sample, seed=seed, **options)
            (
                values.append([value]),
                errors.append(error),
                seconds.append(time.perf_counter() - start),
            )
    return [
        MIEstimate(
            float(np.mean(v)),
            error,
            runs,
            method,
            len(sample[0]),
            took,
            reported,
            tuple(float(one) for one in v),
        )
        for sample, v, error, took in zip(samples, values, errors, seconds)
    ]


def _read(x: Any, y: Any, given: Any) -> tuple[np.ndarray, ...]:
    sample = {"x": continuous("x", x), "y": variable("y", y)} | (
        {} if given is None else {"given": variable("given", given)}
    )
    check.same_length(**sample)
    return tuple(sample.values())


def _by_shape(samples, runs: int, estimate) -> list:
    """Estimate groups of samples of equal shapes and types together, as large as fits;
    results in the order of `samples`.
    """
    groups: dict[tuple, list[int]] = {}
    for i, (x, y) in enumerate(samples):
        width = ("classes", int(y.max()) + 1) if is_discrete(y) else y.shape
        groups.setdefault((x.shape, width), []).append(i)
    results: list = [None] * len(samples)
    for (shape, width), members in groups.items():
        each = (
            5 * runs * shape[0] * (shape[1] + width[1])
        )  # numbers that one sample's folds hold
        at_once = max(1, AT_ONCE // each)
        for part in (
            members[low : low + at_once] for low in range(0, len(members), at_once)
        ):
            for i, values in zip(part, estimate([samples[i] for i in part])):
                results[i] = values
    return results
