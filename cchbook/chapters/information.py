"""Mutual information of many pairs, and from where on an estimate is saturated."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from cchbook.runs.records import Measurements
from cchlib import check
from cchlib.mi import ESTIMATORS, estimate_mi_many
from cchlib.mi.interface import SATURATED, MIEstimate, limit


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
        A method of `estimate_mi`: ``lmi`` is the paper's (Gowri et al., 2024, at the
        settings of their package), ``latent`` ours.
    runs, device
        Of `estimate_mi_many`.

    Raises
    ------
    ValueError
        As `estimate_mi`, and on an unknown estimator.
    """
    check.one_of("estimator", estimator, ESTIMATORS)
    if not pairs:
        return {}
    found = estimate_mi_many(list(pairs.values()), estimator, runs=runs, device=device)
    return dict(zip(pairs, found))


def saturation(estimator: str, n: int) -> float:
    """From here on, in nats, an estimate of two continuous blocks from n pairs bounds
    the truth from below only (`MIEstimate.saturated`).
    """
    check.one_of("estimator", estimator, ESTIMATORS)
    return SATURATED * limit(estimator, n)


def sample_size(parameters: Mapping[str, Any], estimator: str) -> int:
    """Samples from which a run of the synthetic chapter estimated information."""
    n = parameters[f"n_{parameters['mi_split']}"]
    most = parameters.get("package_samples", n)  # older runs had no such limit
    return min(n, most) if estimator == "lmi" else n


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
        Where `i_tl`, `i_sl`, `i_ts` and `gap` are logged, in nats, and `saturated`, 1
        where one of the gap's terms is near the most that its estimator can say.
    teachers, students
        Representations of the same n samples, (seeds, n, h), with their conditions.
    labels : (n,)
    estimator, runs, device
        Of `estimates`.
    """
    seeds = range(len(students[0][1]))
    # The published algorithm is slow, and the paper prints I(H1;Y) of one teacher only
    alone = teachers[:1] if estimator == "lmi" else teachers

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
            near = estimate.saturated or of_label.saturated
            run.log("saturated", near, seed=seed, **where)
