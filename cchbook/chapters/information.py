"""Mutual information by the name that an estimator has on the pages."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from cchbook.runs.records import Measurements
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


#: a network's representations (seeds, n, h) under the conditions that it has
Represented = Sequence[tuple[Mapping[str, Any], Any]]


def log_information(
    run: Measurements,
    estimator: str,
    teachers: Represented,
    students: Represented,
    labels: Any,
    *,
    runs: int = 1,
    device: str = "auto",
) -> None:
    """Estimate and log I(H1;Y), I(H2;Y), I(H1;H2) and the gap I(H1;H2) − I(H2;Y) of
    every teacher with every student, seed by seed.

    Parameters
    ----------
    run
        Where `i_tl`, `i_sl`, `i_ts` and `gap` are logged, in nats.
    teachers, students
        Representations of the same n samples, (seeds, n, h), with their conditions.
    labels : (n,)
    estimator, runs, device
        Of `estimates`.
    """
    seeds = range(len(students[0][1]))
    # The package's settings are slow, and the paper prints I(H1;Y) of one teacher only
    alone = teachers[:1] if estimator == "package" else teachers

    asked: dict[Hashable, tuple[Any, Any]] = {}
    conditions: dict[Hashable, dict[str, Any]] = {}
    for seed in seeds:
        for number, (where, h1) in enumerate(alone):
            asked["i_tl", number, None, seed] = (h1[seed], labels)
            conditions["i_tl", number, None, seed] = dict(where)
        for number, (where, h2) in enumerate(students):
            asked["i_sl", None, number, seed] = (h2[seed], labels)
            conditions["i_sl", None, number, seed] = dict(where)
        for one, (where, h1) in enumerate(teachers):
            for two, (also, h2) in enumerate(students):
                asked["i_ts", one, two, seed] = (h1[seed], h2[seed])
                conditions["i_ts", one, two, seed] = {**where, **also}

    found = estimates(asked, estimator, runs=runs, device=device)
    for key, estimate in found.items():
        metric, _, student, seed = key
        where = dict(conditions[key], estimator=estimator)
        run.log(metric, estimate.value, "nats", seed, **where)
        if metric == "i_ts":
            of_label = found["i_sl", None, student, seed]
            run.log("gap", estimate.value - of_label.value, "nats", seed, **where)
