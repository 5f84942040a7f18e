"""Mutual information by the name that an estimator has on the pages."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from cchlib import check
from cchlib.mi import estimate_mi_many
from cchlib.mi.interface import SATURATED, MIEstimate, limit

#: name on the page -> method of `estimate_mi` and its options
ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "package": ("lmi", {"preset": "package"}),
    "lmi": ("lmi", {}),
    "ksg": ("ksg", {}),
    "mine": ("mine", {}),
    "gaussian": ("gaussian", {}),
}


def estimates(
    pairs: Mapping[Hashable, tuple[Any, Any]],
    estimator: str,
    *,
    runs: int = 1,
    device: str = "auto",
) -> dict[Hashable, MIEstimate]:
    """The estimate of each pair (x, y) under its key; pairs of equal shapes are one
    stack.

    Parameters
    ----------
    pairs : mapping of key to (x, y)
        As of `estimate_mi`.
    estimator : str
        A key of `ESTIMATORS`: ``package`` is the paper's (latent MI with the settings
        of the package of Gowri et al., 2024), ``lmi`` ours.
    runs, device
        Of `estimate_mi_many`.

    Raises
    ------
    ValueError
        As `estimate_mi`, and on an unknown estimator.
    """
    method, options = ESTIMATORS[check.one_of("estimator", estimator, ESTIMATORS)]
    if not pairs:
        return {}
    found = estimate_mi_many(
        list(pairs.values()), method, runs=runs, device=device, **options
    )
    return dict(zip(pairs, found))


def saturation(estimator: str, n: int) -> float:
    """From here on, in nats, an estimate of two continuous blocks from n pairs bounds
    the truth from below only (`MIEstimate.saturated`).
    """
    method, options = ESTIMATORS[check.one_of("estimator", estimator, ESTIMATORS)]
    return SATURATED * limit(method, n, **options)


def sample_size(parameters: Mapping[str, Any], estimator: str) -> int:
    """Samples from which a run of the synthetic chapter estimated information."""
    n = parameters[f"n_{parameters['mi_split']}"]
    return min(n, parameters["package_samples"]) if estimator == "package" else n
