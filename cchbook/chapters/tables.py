"""The tables of the chapters, one call each: they lay out what a run has logged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from cchbook.chapters import evidence as evidences
from cchbook.chapters import plots
from cchbook.chapters.evidence import Evidence

YES = {True: "yes", False: "no"}


# Of several chapters ------------------------------------------------------------------


def beside(
    evidence: Sequence[Evidence],
    by: Mapping[str, str],
    metrics: Mapping[str, tuple[str, Mapping[str, Any]]],
    *,
    keep: Callable[[pd.DataFrame], pd.DataFrame] = lambda table: table,
) -> pd.DataFrame:
    """One row a condition, and a column for each metric of each run: mean ± error.

    Parameters
    ----------
    evidence
        Of `evidence.of`: the recorded run first.
    by : mapping of condition to header
    metrics : mapping of header to (metric, conditions)
    keep : callable, optional
        Picks rows of the table of conditions.
    """
    table = None
    for one in evidence:
        own = None
        for header, (metric, where) in metrics.items():
            found = one.mean(metric, list(by), **where)
            found[f"{header}, {one.name}"] = [
                plots.pm(m, e) for m, e in zip(found["mean"], found["se"])
            ]
            found = found.drop(columns=["mean", "se", "n"])
            own = found if own is None else own.merge(found, how="left", on=list(by))
        table = own if table is None else table.merge(own, how="outer", on=list(by))
    columns = [
        f"{header}, {one.name}"
        for header in metrics
        for one in evidence
        if f"{header}, {one.name}" in table
    ]
    table = keep(table.sort_values(list(by), kind="stable"))[[*by, *columns]]
    constant = [name for name in by if table[name].nunique(dropna=False) == 1]
    told = table.drop(columns=constant if len(table) > 1 else [])
    return told.fillna("–").rename(columns=dict(by))


def gains(
    evidence: Sequence[Evidence],
    by: Mapping[str, str],
    caption: str,
    *,
    estimators: Sequence[str],
    where: Mapping[str, Any] | None = None,
) -> None:
    """Show both gains and the gap of each condition, of every run.

    `where` picks conditions of the gains; gaps depend on fewer.
    """
    where = dict(where or {})
    wanted: dict[str, tuple[str, Mapping[str, Any]]] = {
        "gain": ("gain", where),
        "gain over the best control": ("gain_over_control", where),
    }
    for estimator in estimators:
        wanted[f"gap by {estimator} (nats)"] = ("gap", {"estimator": estimator})
    plots.show_table(beside(evidence, by, wanted), evidences.caption(evidence, caption))


# Chapter 2 ----------------------------------------------------------------------------


def least_squares(table: pd.DataFrame, lam: float, seeds: int) -> None:
    """What each criterion says of a condition, and what hundreds of students did."""
    shown = pd.DataFrame(
        {
            "reading": table["reading"],
            "σ12": table["sigma12"],
            "gain": _pm(table, "gain"),
            "CCH says": np.where(table["cch"], "distil", "don't"),
            "right?": _right(table, "cch", "gain"),
            "Eq. 17 says": np.where(table["eq17"], "distil", "don't"),
            "gain beyond the best shrinkage": _pm(table, "beyond"),
            "ρ(T,S) > ρ(T,y) ρ(S,y)": np.where(table["shrinkage"], "yes", "no"),
            "right? ": _right(table, "shrinkage", "beyond"),
        }
    )
    plots.show_table(
        shown,
        f"{seeds} least-squares students a row, λ = {lam}; squared units of y, mean ± "
        "standard error. “?”: within two standard errors of 0.",
    )


def _pm(table: pd.DataFrame, name: str) -> list[str]:
    return [plots.pm(m, e) for m, e in zip(table[name], table[f"{name}_se"])]


def _right(table: pd.DataFrame, says: str, gain: str) -> np.ndarray:
    """Whether the sign was foretold, "?" where nobody knows it."""
    agrees = table[says].astype(bool) == (table[gain] > 0)
    clear = table[gain].abs() > 2 * table[f"{gain}_se"]
    return np.where(~clear, "?", np.where(agrees, "yes", "no"))


def synthetic_signs(evidence: Sequence[Evidence], lam: float) -> pd.DataFrame:
    """Show, of the leading run, whether the sign of the gap is that of the gain."""
    first = evidence[0]
    by = ["reading", "batch_size", "sigma12"]
    table = first.mean("gain", by, lam=lam)
    beyond = first.mean("gain_over_control", by, lam=lam)
    if len(beyond):
        table = table.merge(beyond, how="left", on=by, suffixes=("", "_beyond"))
    estimator = leading_estimator(first)
    gap = gaps(first, by, estimator).rename(columns={"mean": "gap"})
    table = table.merge(gap[[*by, "gap"]], how="left", on=by)
    theory = first.mean("linear_helps", ["reading", "sigma12"])
    table = table.merge(
        theory.rename(columns={"mean": "eq17"})[["reading", "sigma12", "eq17"]],
        how="left",
        on=["reading", "sigma12"],
    )
    table["agrees"] = (table["gap"] > 0) == (table["mean"] > 0)
    table["clear"] = evidences.decided(table)
    shown = table[["reading", "sigma12"]].rename(columns={"sigma12": "σ12"})
    shown.insert(1, "batch", [batch_name(size) for size in table["batch_size"]])
    shown["gain"] = [plots.pm(m, e) for m, e in zip(table["mean"], table["se"])]
    if len(beyond):
        shown["over the best control"] = [
            plots.pm(m, e) for m, e in zip(table["mean_beyond"], table["se_beyond"])
        ]
    shown["gap (nats)"] = table["gap"].map("{:+.3f}".format)
    shown["signs agree"] = table["agrees"].map(YES)
    shown["gain beyond 2 s.e."] = table["clear"].map(YES)
    shown["Eq. 17, linear"] = np.where(table["eq17"] > 0, "helps", "never helps")
    plots.show_table(
        shown,
        f"λ = {lam}; gain in squared units of y, mean ± standard error over seeds; gap "
        f"by {estimator}. From {first.about}.",
    )
    return table


def leading_estimator(one: Evidence) -> str:
    """The paper's estimator where the run has it, else the first that it has."""
    if "estimator" not in one.metrics:
        return str(one.defaults.get("estimator", "lmi"))
    names = one.rows("i_ts")["estimator"].dropna().unique()
    return "package" if "package" in names or not len(names) else str(names[0])


def gaps(one: Evidence, by: Sequence[str], estimator: str) -> pd.DataFrame:
    """I(H1;H2) − I(H2;Y), mean over seeds under each condition: columns `by`, mean."""
    terms = {
        metric: one.mean(metric, by, estimator=estimator) for metric in ("i_ts", "i_sl")
    }
    both = terms["i_ts"].merge(terms["i_sl"], on=list(by), suffixes=("", "_sl"))
    both["mean"] -= both["mean_sl"]
    return both[[*by, "mean"]]


def batch_name(size: float) -> str:
    """A batch size for readers: 0 is the full batch."""
    return f"{size:.0f}" if size else "full"
