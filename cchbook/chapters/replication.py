"""The paper's printed cells beside our own numbers,
found in run records by code alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from cchbook.chapters import scorecard
from cchbook.chapters.metrics import with_test_error
from cchbook.runs import batch, records
from cchbook.runs.notebook import Notebook
from cchbook.runs.records import Record
from cchdecide.figures import pm

SHARP, CLEAN = {"gamma": 0.0}, {"noise": "none", "level": 0.0}
OMICS = {
    "mi_gap": "gap",
    "teacher_weighted_f1": "teacher_f1",
    "weighted_f1_no_kd": "student_f1",
    "weighted_f1_kd": "student_f1_kd",
    "weighted_f1_difference": "gain",
}
IMAGE = {
    "mi_gap": "gap",
    "accuracy_difference": "gain",
    "accuracy_kd": "student_accuracy_kd",
    "accuracy_no_kd": "student_accuracy",
}
# Table 4's headers, by Table 3's
SWAPPED = {
    "weighted_f1_kd": "weighted_f1_no_kd",
    "weighted_f1_no_kd": "weighted_f1_kd",
}
# Of a notebook's parameters those that change how much is run or looked at, not what
COUNTS = frozenset(
    {
        "curve_every",
        "device",
        "first_seed",
        "imitators",
        "mi_repetitions",
        "mi_runs",
        "mi_seeds",
        "resamples",
        "seeds",
        "source",
        "splits",
    }
)
#: table -> notebook, quantities that it logs under another name, conditions that the
#: table implies
TABLES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "figure2": ("03_image", {}, SHARP),
    "table1": ("03_image", IMAGE, {}),
    "table13": ("03_image", IMAGE, {"temperature": 3.0}),
    "table2": ("04_sentiment", {}, {"split": "held-out"}),
    "table3": ("04_sentiment", {}, CLEAN),
    "table4": ("04_sentiment", SWAPPED, CLEAN | {"noise": "relative"}),
    "table5": ("05_cancer", OMICS, {}),
    "table6": ("05_cancer", OMICS, {}),
    "table7": ("05_cancer", OMICS, {}),
    "table16": ("05_cancer", {}, {}),
    "table8": ("06_fusion", {}, {}),
    "table20": ("06_fusion", {}, {}),
}
WITHOUT_ERRORS = ("table5", "table6", "table7", "table8", "table16", "table20")
#: the paper's own data (no public table has LIHC's labels), ...
PAPERS = frozenset({"mnist", "bsds500", "mosei", "tcga_brca", "tcga_kipan"})
#: ... and what stands in for a cohort of it, the nearest first
SUBSTITUTES = {
    "BRCA": ("tcga_brca", "joined:BRCA", "brca705"),
    "KIPAN": ("tcga_kipan", "joined:KIPAN", "firehose:KIPAN"),
    "LIHC": ("tcga_lihc", "firehose:LIHC"),
}
Runs = Mapping[str, Sequence[Record]]
_NOT_CONDITIONS = ("table", "quantity", "value", "std_error", "note")


def printed_cells(recorded: Runs, live: Runs) -> pd.DataFrame:
    """Every printed cell of `TABLES` with our number for it and the verdict.

    Parameters
    ----------
    recorded, live : mapping of notebook -> records
        Oldest first. The number comes from a recorded run, or else from a live one; of
        the runs that measured this very cell, from the one whose settings differ from
        the paper's in the fewest names; of equals the one with the most seeds, of these
        the newest. Runs with a stand-in among their data are not looked at.

    Returns
    -------
    DataFrame
        ``table``, the cell's conditions, ``quantity``, ``paper`` and ``paper_error``;
        ``ours``, ``our_error``, ``seeds`` (or splits) behind it and their number in
        effect, ``n`` (`scorecard.combined_error`), ``data``, ``run`` ("recorded",
        "live" or "–"), ``key`` of that run, ``verdict`` (`scorecard.verdict`), for
        information ``verdict_bits`` (the same with our number in bits, in case the
        paper printed those), ``other_readings`` of the noise, and ``remark``: why there
        is no number, or what differs from the paper's settings.
    """
    rows = []
    for table in TABLES:
        for _, cell in records.paper(table).iterrows():
            rows.append(_row(table, cell, recorded, live))
    return pd.DataFrame(rows)


def _row(
    table: str,
    cell: pd.Series,
    recorded: Runs,
    live: Runs,
) -> dict[str, Any]:
    """One printed cell, our number and the verdict.

    Table 2's ± is a standard deviation over runs on one data set; they are not
    independent, so it is not divided by their root.
    """
    _, renamed, _ = TABLES[table]
    metric = renamed.get(cell["quantity"], cell["quantity"])
    own = _ours(table, cell, recorded, live)
    informs = metric in (*scorecard.INFORMATION, "mutual_information")
    rule = {
        "n": max(own["n"], 1),
        "same_data": set(own["data"].split(", ")) <= PAPERS,
        "same_settings": own["remark"] == "",
        "signed": metric in ("gap", "gain"),
        "margin": scorecard.MARGINS["information" if informs else "score"],
    }
    paper, paper_error = cell["value"], cell["std_error"]

    # one training says nothing of others, whatever its error over the test samples
    our_error = own["our_error"] if own["seeds"] > 1 else np.nan

    def said(unit: float) -> str:
        return scorecard.verdict(
            paper, paper_error, own["ours"] / unit, our_error / unit, **rule
        )

    return {
        "table": table,
        **_conditions(cell),
        "quantity": cell["quantity"],
        "paper": paper,
        "paper_error": paper_error,
        **own,
        "verdict": said(1.0),
        "verdict_bits": said(float(np.log(2))) if informs else "",
    }


def _conditions(cell: pd.Series) -> dict[str, Any]:
    return {
        name: value
        for name, value in cell.items()
        if name not in _NOT_CONDITIONS and pd.notna(value)
    }


def _ours(
    table: str,
    cell: pd.Series,
    recorded: Runs,
    live: Runs,
) -> dict[str, Any]:
    """Our number for a printed cell, by the rule of `printed_cells`."""
    notebook, renamed, _ = TABLES[table]
    metric = renamed.get(cell["quantity"], cell["quantity"])
    nothing = {
        "ours": np.nan,
        "our_error": np.nan,
        "n": 0,
        "seeds": 0,
        "data": "–",
        "run": "–",
        "key": "–",
        "remark": "no run on real data",
        "other_readings": "",
    }
    for kind, runs in (("recorded", recorded), ("live", live)):
        measured = []
        for run in reversed(runs.get(notebook, ())):  # the newest first
            if any(data["kind"] != "real" for data in run.record["data"]):
                continue
            found, known = _measured(run, table, cell, metric)
            if np.isfinite(found["ours"]):
                measured.append((differences(run, metric), found | {"run": kind}))
            elif nothing["remark"] != "not at this condition":
                remark = "not at this condition" if known else "not measured"
                nothing |= {"data": found["data"], "remark": remark}
        if measured:
            # of equals `min` takes the first
            changed, found = min(
                measured, key=lambda one: (len(one[0]), -one[1]["seeds"])
            )
            return found | {"remark": "; ".join(changed)}
    return nothing


def _measured(
    run: Record, table: str, cell: pd.Series, metric: str
) -> tuple[dict[str, Any], bool]:
    """What one run says of a printed cell, and whether it knows the metric at all."""
    where, data = counterpart(table, cell, run.record)
    # the paper's estimator where the run has it, else its own
    metrics = scorecard.of_estimator(with_test_error(run.metrics))
    found = {
        **_value(run, metrics, metric, where),
        "data": ", ".join(sorted(data)),
        "key": run.record["key"],
        "other_readings": "",
    }
    said = []
    for name, (other, at) in _other_readings(metric, where).items():
        read = _value(run, metrics, other, at)
        if np.isfinite(read["ours"]):
            said.append(f"{name}: {pm(read['ours'], read['our_error'])}")
    found["other_readings"] = "; ".join(said)
    return found, metric in set(metrics["metric"])


def _value(
    run: Record, metrics: pd.DataFrame, metric: str, where: Mapping[str, Any]
) -> dict[str, Any]:
    """A metric's mean under conditions, with its error over seeds and test samples."""
    parameters = run.record["parameters"]
    value, error, n = scorecard.measured(metrics, metric, where, parameters)
    over_samples = scorecard.sampling_error(metrics, metric, where, parameters, value)
    error, effective = scorecard.combined_error(error, n, over_samples)
    return {
        "ours": value,
        "our_error": float(error),
        "n": float(effective),
        "seeds": n,
    }


def _other_readings(
    metric: str, where: Mapping[str, Any]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """The metric and conditions of the other readings of the noise, of which the paper
    does not say what a level is a fraction of.
    """
    if where.get("noise") == "relative":
        return {
            name: (metric, {**where, "noise": name}) for name in ("convex", "absolute")
        }
    if where.get("noise_level"):
        return {"convex": (f"{metric}_convex", dict(where))}
    return {}


def differences(run: Record, metric: str) -> list[str]:
    """What of a run's settings is not the paper's, as far as `metric` depends on it.

    The paper's settings are the notebook's `paper` profile: printed values, and where
    nothing is printed the book's choice (see the page on choices). Grids and counts may
    be smaller; an information must come from the paper's estimator.
    """
    about = run.record
    found = []
    for name, value in paper_settings(about["notebook"]).items():
        own = about["parameters"].get(name, value)
        single = not isinstance(value, (list, dict))
        informs = metric in (*scorecard.INFORMATION, "mutual_information")
        matters = name not in COUNTS and (informs or not name.startswith("mi_"))
        if single and matters and own != value:
            found.append(f"{name} = {own} (the paper: {value})")
    if metric in scorecard.INFORMATION:
        used = scorecard.estimators(run.metrics)
        if used[:1] != ["lmi"]:
            found.append("another estimator than the paper's")
    return found


@cache
def paper_settings(notebook: str) -> dict[str, Any]:
    """All parameters of a chapter's `paper` profile; empty outside of a checkout."""
    root = records.repository()
    path = root / "notebooks" / f"{notebook}.ipynb" if root else None
    if path is None or not path.is_file():
        return {}
    return batch.parameters(Notebook.read(path), "paper", {})


def counterpart(
    table: str, cell: pd.Series, about: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """The conditions under which a run logs what a printed cell says, and the data sets
    that the number then speaks of.

    `about` is the run's record: the paper's own data go before what stands in for them,
    where the run had both.
    """
    notebook, _, implied = TABLES[table]
    where = implied | _conditions(cell)
    names = {data["name"] for data in about["data"]}
    if cell["quantity"] in ("teacher_accuracy", "teacher_weighted_f1", "i_tl"):
        # captions speak of clean inputs
        clean = {"03_image": SHARP, "05_cancer": {"noise_level": 0.0}}
        where = clean.get(notebook, {}) | where
    if notebook == "04_sentiment":
        where["data"] = next(
            (name for name in ("mosei", "mosi") if name in names), "mmmo"
        )
        if "noise_level" in where:
            where |= {"level": where["noise_level"]} | (
                {"noise": "none"} if where["noise_level"] == 0 else {}
            )
    if where.get("estimator") == "latentmi":
        where["estimator"] = "lmi"
    if where.get("cohort") in SUBSTITUTES:
        known = SUBSTITUTES[where["cohort"]]
        there = about["parameters"].get("cohorts", ())
        where["cohort"] = next((name for name in known if name in there), known[-1])
    return where, {where[name] for name in ("cohort", "data") if name in where} or names
