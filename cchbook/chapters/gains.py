"""The gains of all chapters, a row a seed, and what the one rule calls of them.

A gain is called together with all others (`inference.judge` holds the share of false
calls over all conditions), so that each chapter, the scorecard, the front page and the
table that the tool ships take their verdicts from `called`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from cchbook.chapters import inference, scorecard
from cchbook.chapters.controls import over_named_control
from cchbook.chapters.metrics import with_test_error
from cchbook.runs import records
from cchbook.runs.predictions import Predictions
from cchbook.runs.records import Record

#: the chapters that measure gains
CHAPTERS = (
    "02_synthetic",
    "03_image",
    "04_sentiment",
    "05_cancer",
    "06_fusion",
)
#: what is called: the gain over the plain student, and over the named control
TARGETS = ("gain", "gain_over_control")
#: two builds of one cohort, of which most patients are the same: one data set
ONE_DATA_SET = {
    "brca705": "BRCA",
    "joined:BRCA": "BRCA",
    "tcga_brca": "BRCA",
    "kipan198": "KIPAN",
    "joined:KIPAN": "KIPAN",
    "firehose:KIPAN": "KIPAN",
    "tcga_kipan": "KIPAN",
    "firehose:LIHC": "LIHC",
    "tcga_lihc": "LIHC",
}


def measured(record: Record) -> pd.DataFrame:
    """A record's metrics as the chapters read them: with the error over test samples,
    and the gain over the named control, which older runs lack.
    """
    return over_named_control(with_test_error(record.metrics))


def student_of(notebook: str) -> list[str]:
    """The conditions that name the undistilled students of a chapter."""
    return ["cohort"] if notebook == "06_fusion" else list(scorecard.STUDENT)


def seeds(
    metrics: pd.DataFrame,
    parameters: Mapping[str, Any] | None,
    notebook: str,
    target: str = "gain",
) -> pd.DataFrame:
    """A row a condition and seed (or split), as `inference.judge` reads them.

    Parameters
    ----------
    metrics : DataFrame
        Of a run, as `measured` gives them.
    parameters : mapping
        Of the run; with a ``test_fraction`` its seeds are runs on repeated splits,
        those of a split are averaged.
    notebook : str
    target : str
        Of `TARGETS`.

    Returns
    -------
    DataFrame
        ``chapter``, ``baseline``, ``condition`` (all of its conditions in words),
        ``seed``, ``gain``, ``sample_error``, ``test_share``, and the conditions, a
        column each. Empty where the run has no such gain.
    """
    parameters = parameters or {}
    runs, held_out = scorecard._protocol(target, parameters)
    parts = []
    for columns, rows in scorecard._levels(metrics, target):
        each = rows.assign(seed=rows["seed"].astype(int) // runs)
        each = each.groupby([*columns, "seed"], sort=False)["value"].mean()
        each = each.rename("gain").reset_index()
        table = each.groupby(columns, sort=False)["gain"].mean().reset_index()
        table["sample_error"] = np.nan_to_num(
            scorecard.sampling_errors(metrics, parameters, columns, table, target)
        )
        each = each.merge(table.drop(columns="gain"), on=columns)
        student = [c for c in student_of(notebook) if c in columns]
        each["baseline"] = scorecard.in_words(each, student)
        each["condition"] = scorecard.in_words(each, columns)
        parts.append(each)
    if not parts:
        return pd.DataFrame(columns=[*inference.COLUMNS, "sample_error", "test_share"])
    every = pd.concat(parts, ignore_index=True)
    return every.assign(chapter=notebook, test_share=held_out)


def judged(found: Mapping[str, Record], target: str = "gain") -> pd.DataFrame:
    """The verdict of each condition of these runs, all judged together.

    Returns
    -------
    DataFrame
        As `inference.judge` gives it, with ``n`` (seeds or splits), and the conditions,
        a column each.
    """
    frames = []
    for name, run in found.items():
        rows = seeds(measured(run), run.record["parameters"], name, target)
        if (name, target) == ("03_image", "gain"):
            rows = with_kept_predictions(rows, run.predictions)
        frames.append(rows)
    return judged_seeds(frames)


def with_kept_predictions(rows: pd.DataFrame, kept: Predictions) -> pd.DataFrame:
    """The gains in accuracy of `seeds` with the error that the test samples give all
    their seeds, exactly, where a run kept what each network said.

    A distilled network is told by its conditions, which hold ``student`` "distilled"
    and those of the gain; the plain one of its seed by "plain" and its ``alpha``.
    """
    plain = {
        (each.conditions.get("alpha"), each.conditions["seed"]): each.right.astype(int)
        for each in kept.of(student="plain")
    }
    distilled = list(kept.of(student="distilled"))
    known: dict[str, float] = {}
    for condition, part in rows.groupby("condition", sort=False):
        apart = [*inference.COLUMNS, "sample_error", "test_share"]
        where = part.iloc[0].drop(apart, errors="ignore").dropna().to_dict()
        own = [
            each
            for each in distilled
            if all(each.conditions.get(name) == value for name, value in where.items())
        ]
        moved = [
            each.right - plain[each.conditions.get("alpha"), each.conditions["seed"]]
            for each in own
        ]
        if moved:
            known[condition] = inference.shared_sample_error(np.array(moved))
    error = rows["condition"].map(known)
    return rows.assign(sample_error=error.fillna(rows["sample_error"]))


def judged_seeds(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """`judged`, of frames that `seeds` gave."""
    frames = [frame for frame in frames if len(frame)]
    if not frames:
        return pd.DataFrame(columns=[*inference.KEYS, "mean", "std_error", "verdict"])
    every = pd.concat(frames, ignore_index=True)
    told = ["seed", "gain", "sample_error", "test_share"]
    where = every.drop(columns=told).drop_duplicates(inference.KEYS)
    count = every.groupby(inference.KEYS, sort=False).size().rename("n").reset_index()
    table = inference.judge(every).merge(count, on=inference.KEYS)
    return table.merge(where, on=inference.KEYS)


def leading() -> dict[str, Record]:
    """The committed run that speaks for each chapter."""
    found = {name: records.leading(name) for name in CHAPTERS}
    return {name: run for name, run in found.items() if run is not None}


def called(target: str = "gain") -> pd.DataFrame:
    """`judged`, of the committed runs that lead the chapters."""
    found = leading()
    where = tuple(str(run.path) for run in found.values())
    return _called(target, where).copy()


@cache
def _called(target: str, where: tuple[str, ...]) -> pd.DataFrame:
    return judged(leading(), target)
