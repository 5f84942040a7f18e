"""What is known of each estimator, in one record: whoever adds one writes a record."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cchlib.mi import gaussian, ksg, latent, lmi, mine

Options = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """An estimator and its traits.

    Attributes
    ----------
    compute : callable
        Deterministic: ``compute(x, y, *, seed, **options) -> (value, std_error)`` of
        variables as `_common.variable` returns them, nats. Random: ``compute(samples,
        *, runs, seed, device, **options)`` -> `runs` values of each of the samples,
        pairs (x, y) of equal shapes. Its keyword arguments are its options.
    random : bool
        It trains networks: a run is one random split and initialisation.
    ceiling : callable
        ``ceiling(n, options)``: what it can say at most, in nats, of n pairs of two
        continuous variables. `unbounded` where nothing bounds it.
    fewest : callable
        ``fewest(options)``: samples that it takes at least.
    conditional : bool
        It takes a third variable, `given`.
    without_error : mapping
        Options that spare a deterministic one the time for its standard error.
    keep_scale : mapping
        Options that take the columns on the scale that they have.
    doubt : callable, optional
        ``doubt(x, y, options)``: what in a sample speaks against what the method
        supposes, in a sentence; empty where nothing does.
    null_error : callable, optional
        ``null_error(x, y)``: standard deviation of its estimate of two independent
        continuous variables, where theory gives it.
    """

    compute: Callable[..., Any]
    random: bool
    ceiling: Callable[[int, Options], float]
    fewest: Callable[[Options], int]
    conditional: bool = False
    without_error: Options = field(default_factory=dict)
    keep_scale: Options = field(default_factory=dict)
    doubt: Callable[..., str] | None = None
    null_error: Callable[[np.ndarray, np.ndarray], float] | None = None

    @property
    def defaults(self) -> dict[str, Any]:
        """Its options with their defaults."""
        return {
            name: parameter.default
            for name, parameter in inspect.signature(self.compute).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY
            and name not in ("runs", "seed", "device")
        }


def unbounded(n: int, options: Options) -> float:
    """The ceiling of an estimator that can say any number."""
    return float("inf")


ESTIMATORS: dict[str, Estimator] = {
    "latent": Estimator(
        compute=latent.latent,
        random=True,
        ceiling=latent.ceiling,
        fewest=latent.fewest,
    ),
    "lmi": Estimator(
        compute=lmi.lmi,
        random=True,
        ceiling=lmi.ceiling,
        fewest=lmi.fewest,
    ),
    "ksg": Estimator(
        compute=ksg.ksg,
        random=False,
        ceiling=ksg.ceiling,
        fewest=ksg.fewest,
        conditional=True,
        without_error={"parts": 0},
        keep_scale={"rescale": "none"},
    ),
    "mine": Estimator(
        compute=mine.mine,
        random=True,
        ceiling=mine.ceiling,
        fewest=mine.fewest,
    ),
    "gaussian": Estimator(
        compute=gaussian.gaussian,
        random=False,
        ceiling=unbounded,
        fewest=gaussian.fewest,
        without_error={"repeats": 0},
        doubt=gaussian.doubt,
        null_error=gaussian.null_error,
    ),
}
