"""The paper's printed cells beside our own numbers, found in run records by code alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from cchbook.chapters import scorecard
from cchbook.runs import records
from cchbook.runs.records import Record

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
SWAPPED = {
    "weighted_f1_kd": "weighted_f1_no_kd",
    "weighted_f1_no_kd": "weighted_f1_kd",
}  # Table 4's headers, by Table 3's
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
#: the paper's own data, and what stands in for a cohort of it
PAPERS = frozenset(
    {"mnist", "bsds500", "mosei", "tcga_brca", "tcga_kipan", "tcga_lihc"}
)
SUBSTITUTES = {"BRCA": "brca705", "KIPAN": "firehose:KIPAN", "LIHC": "firehose:LIHC"}
RUNS_OF_TABLE_2 = 50  # whose standard deviation stands behind its ±
_NOT_CONDITIONS = ("table", "quantity", "value", "std_error", "note")


def printed_cells(
    recorded: Mapping[str, Record], live: Mapping[str, Record]
) -> pd.DataFrame:
    """Every printed cell of `TABLES` with our number for it and the verdict.

    Parameters
    ----------
    recorded, live : mapping of notebook -> Record
        The number is the recorded run's, or else the live one's. Runs with a stand-in
        among their data are not looked at.

    Returns
    -------
    DataFrame
        ``table``, the cell's conditions, ``quantity``, ``paper`` and ``paper_error``; ``ours``, ``our_error``, ``n`` (seeds or
        splits behind it), ``data``, ``run`` ("recorded", "live" or "–"), ``verdict``
        (`scorecard.verdict`) and ``remark``: why there is no number, or that it comes
        from smaller settings than the paper's.
    """
    rows = []
    for table, (_, renamed, _) in TABLES.items():
        for _, cell in records.paper(table).iterrows():
            own = _ours(table, cell, recorded, live)
            deviation = any(
                words in str(cell.get("note", ""))
                for words in ("standard deviation", "as in Table 2")
            )
            paper_error = (
                cell["std_error"] / np.sqrt(RUNS_OF_TABLE_2)
                if deviation
                else cell["std_error"]
            )
            said = scorecard.verdict(
                cell["value"],
                paper_error,
                own["ours"],
                own["our_error"],
                n=max(own["n"], 1),
                same_data=set(own["data"].split(", ")) <= PAPERS,
                signed=renamed.get(cell["quantity"], cell["quantity"])
                in ("gap", "gain"),
            )
            rows.append(
                {
                    "table": table,
                    **_conditions(cell),
                    "quantity": cell["quantity"],
                    "paper": cell["value"],
                    "paper_error": paper_error,
                    **own,
                    "verdict": said,
                }
            )
    return pd.DataFrame(rows)


def _conditions(cell: pd.Series) -> dict[str, Any]:
    return {
        name: value
        for name, value in cell.items()
        if name not in _NOT_CONDITIONS and pd.notna(value)
    }


def _ours(
    table: str,
    cell: pd.Series,
    recorded: Mapping[str, Record],
    live: Mapping[str, Record],
) -> dict[str, Any]:
    notebook, renamed, _ = TABLES[table]
    found = {
        "ours": np.nan,
        "our_error": np.nan,
        "n": 0,
        "data": "–",
        "run": "–",
        "remark": "no run on real data",
    }
    for kind, runs in (("recorded", recorded), ("live", live)):
        about = runs[notebook].record if notebook in runs else None
        if about is None or any(data["kind"] != "real" for data in about["data"]):
            continue
        where, data = counterpart(table, cell, about)
        metric = renamed.get(cell["quantity"], cell["quantity"])
        metrics = scorecard.one_estimator(runs[notebook].metrics, "package")
        value, error, n = scorecard.measured(
            metrics, metric, where, about["parameters"]
        )
        known = metric in set(metrics["metric"])
        found |= {
            "data": ", ".join(sorted(data)),
            "remark": "not at this condition" if known else "not measured",
        }
        if np.isfinite(value):
            smaller = about["profile"] != "paper" or bool(about["overrides"])
            return found | {
                "ours": value,
                "our_error": error,
                "n": n,
                "run": kind,
                "remark": "smaller settings" if smaller else "",
            }
    return found


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
    if cell["quantity"] in (
        "teacher_accuracy",
        "teacher_weighted_f1",
        "i_tl",
    ):  # captions speak of clean inputs
        where = {"03_image": SHARP, "05_cancer": {"noise_level": 0.0}}.get(
            notebook, {}
        ) | where
    if notebook == "04_sentiment":
        where["data"] = next(
            (name for name in ("mosei", "mosi") if name in names), "mmmo"
        )
        if "noise_level" in where:
            where |= {"level": where["noise_level"]} | (
                {"noise": "none"} if where["noise_level"] == 0 else {}
            )
    if where.get("estimator") == "latentmi":
        where["estimator"] = "package"
    if where.get("cohort") in SUBSTITUTES:
        own = f"tcga_{where['cohort'].lower()}"
        where["cohort"] = (
            own
            if own in about["parameters"].get("cohorts", ())
            else SUBSTITUTES[where["cohort"]]
        )
    return where, {where[name] for name in ("cohort", "data") if name in where} or names
