"""What a page has to show: the recorded run, which leads,
and the live one beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from cchbook.chapters import gains, plots, scorecard
from cchbook.chapters.metrics import mean_se, mean_se_over_splits, with_test_error
from cchbook.runs import records


@dataclass(frozen=True)
class Evidence:
    """One run's measurements.

    Attributes
    ----------
    name : str
        "recorded", "this run" or "this run, of a stand-in": a record is of real data.
    metrics : DataFrame
        Of the record; a condition that the run did not know has the value that it ran
        with.
    parameters : dict
    about : str
        The run in words, for a caption.
    defaults : dict
        What such conditions are.
    notebook : str
        Whose run it is.
    under : dict
        Conditions to which it was narrowed (`only`).
    """

    name: str
    metrics: pd.DataFrame
    parameters: dict[str, Any]
    about: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    notebook: str = ""
    under: Mapping[str, Any] = field(default_factory=dict)

    @property
    def recorded(self) -> bool:
        """Whether this is the committed run."""
        return self.name == "recorded"

    def rows(self, metric: str, **where: Any) -> pd.DataFrame:
        """The rows of a metric under conditions; None means: not named there."""
        rows = self.metrics[self.metrics["metric"] == metric]
        for name, value in where.items():
            if name not in rows:
                told = self.defaults.get(name)
                rows = rows if value is None or value == told else rows[:0]
            elif value is None:
                rows = rows[rows[name].isna()]
            else:
                rows = rows[rows[name] == value]
        return rows

    def only(self, **where: Any) -> Evidence:
        """The same run, of its rows those that name these conditions or none."""
        metrics = self.metrics
        for name, value in where.items():
            if name in metrics:
                kept = metrics[name].isna() | (metrics[name] == value)
                metrics = metrics[kept].drop(columns=name)
            elif self.defaults.get(name, value) != value:
                metrics = metrics[:0]
        return replace(self, metrics=metrics, under={**self.under, **where})

    def verdicts(
        self, by: str | Sequence[str], target: str = "gain", **where: Any
    ) -> pd.DataFrame:
        """What is called of each gain, "helps", "harms" or "undecided": columns `by`,
        verdict.

        Of a committed run that leads its chapter with all conditions of all chapters
        judged together (`gains.called`), of any other by itself.
        """
        if self.recorded:
            table = gains.called(target)
            table = table[table["chapter"] == self.notebook]
        else:
            own = gains.seeds(self.metrics, self.parameters, self.notebook, target)
            table = gains.judged_seeds([own])
        by = [by] if isinstance(by, str) else list(by)
        for name in by:
            if name not in table:
                table = table.assign(**{name: self.defaults.get(name)})
        for name, value in {**self.under, **where}.items():
            if name in table and table[name].notna().any():
                table = table[table[name] == value]
        return table[[*by, "verdict"]]

    def mean(self, metric: str, by: str | Sequence[str], **where: Any) -> pd.DataFrame:
        """Mean, standard error over seeds and their number: columns `by`, mean, se, n.

        Where splits are repeated, over splits that share patients
        (`mean_se_over_splits`).
        """
        rows = self.rows(metric, **where)
        by = [by] if isinstance(by, str) else list(by)
        lacking = {name: self.defaults.get(name) for name in by if name not in rows}
        rows = rows.assign(**lacking)
        runs, held_out = scorecard._protocol(metric, self.parameters)
        if not held_out:
            # several values of a seed, of runs of an estimator say, are one repetition
            each = rows.groupby([*by, "seed"], sort=False, dropna=False)["value"]
            return mean_se(each.mean().reset_index(), by)
        return mean_se_over_splits(rows, by, seeds=runs, test_fraction=held_out)

    def text(self, metric: str, **where: Any) -> str:
        """One condition's mean ± standard error; "–" where it was not measured."""
        found = self.mean(metric, "metric", **where)
        return plots.pm(*found.loc[0, ["mean", "se"]]) if len(found) else "–"


def of(run: records.Measurements, **defaults: Any) -> list[Evidence]:
    """The committed run that leads the same notebook (`records.leading`), if there is
    one, then this run.

    Parameters
    ----------
    run : Measurements
        The live run; one that belongs to no chapter stands alone.
    **defaults
        Conditions that older records lack, with what they were run with, such as
        ``estimator="latent"``.
    """
    found = []
    record = records.leading(run.notebook) if run.notebook else None
    if record is not None:
        about, parameters = record.record, record.record["parameters"]
        changed = [f"{name} = {value}" for name, value in about["overrides"].items()]
        told = "; ".join([f"profile {about['profile'] or 'by hand'}", *changed])
        minutes = about["seconds"] / 60
        words = f"the run recorded on {about['start'][:10]} ({told}; {minutes:.0f} min)"
        known = _known(parameters, defaults)
        metrics = _told_by(gains.measured(record), known.get("estimator"))
        notebook = run.notebook or ""
        lead = Evidence("recorded", metrics, parameters, words, known, notebook)
        found.append(lead)
    metrics = with_test_error(run.frame())
    name = "this run, of a stand-in" if run.stand_in else "this run"
    told = "the run of this page"
    live = Evidence(name, metrics, run.parameters, told, notebook=run.notebook or "")
    return [*found, live]


def _told_by(metrics: pd.DataFrame, estimator: str | None) -> pd.DataFrame:
    """Information that an older record gives without its estimator, with it."""
    if estimator is None:
        return metrics
    blank = pd.Series(None, index=metrics.index, dtype=object)
    named = metrics.get("estimator", blank).astype(object)
    silent = metrics["metric"].isin(scorecard.INFORMATION) & named.isna()
    return metrics.assign(estimator=named.mask(silent, estimator))


def _known(parameters: Mapping, defaults: Mapping) -> dict[str, Any]:
    """A record's own parameter goes before the default for a condition of that name."""
    return {
        name: parameters[name] if name in parameters else value
        for name, value in defaults.items()
    }


def first_with(evidence: Sequence[Evidence], metric: str, **where: Any) -> Evidence:
    """The first run that measured a metric under conditions;
    the last where none did.
    """
    for one in evidence:
        if len(one.rows(metric, **where)):
            return one
    return evidence[-1]


def caption(evidence: Sequence[Evidence], what: str) -> str:
    """`what`, and which mark or column is which run."""
    first = evidence[0]
    if first.recorded:
        return f"{what} First {first.about}, beside it the smaller run of this page."
    return f"{what} No larger run is recorded: the run of this page alone."


def called(
    one: Evidence,
    table: pd.DataFrame,
    by: Sequence[str],
    target: str = "gain",
    **where: Any,
) -> np.ndarray:
    """Of the rows of a table with columns `by`, which gains are called: bool, by
    `Evidence.verdicts`.
    """
    verdicts = one.verdicts(by, target, **where)
    found = table[list(by)].merge(verdicts, how="left", on=list(by))["verdict"]
    if len(found) != len(table):
        raise ValueError(f"`by` must name one condition a row, got {list(by)}")
    return found.isin(["helps", "harms"]).to_numpy()


def sign_counts(one: Evidence, target: str = "gain", **where: Any) -> dict[str, int]:
    """The counts that a chapter shares with the scorecard and the front page.

    Parameters
    ----------
    one : Evidence
        As the run is, not narrowed by `Evidence.only`.
    target : str
        "gain" or "gain_over_control".
    **where
        Conditions to count under.

    Returns
    -------
    dict
        ``conditions``, of which ``helps``, ``harms`` and ``undecided``, by
        `Evidence.verdicts`; ``with_gap``, the decided ones under which a gap was
        measured, and in how many of these the gap (``cch``), "always distil"
        (``always``) and "never" (``never``) have the gain's sign.
    """
    student = gains.student_of(one.notebook)
    frame = scorecard.conditions(
        one.metrics,
        ["i_ts", "i_sl"],
        target,
        parameters=one.parameters,
        student=student,
    )
    verdicts = one.verdicts("condition", target)
    frame = frame.merge(verdicts, how="left", on="condition", validate="1:1")
    for name, value in where.items():
        if name in frame:
            frame = frame[frame[name] == value]
        elif one.defaults.get(name, value) != value:
            frame = frame[:0]
    told = frame["verdict"].value_counts()
    decided = frame[frame["verdict"].isin(["helps", "harms"]) & frame["gap"].notna()]
    helped = decided["gain"] > 0
    return {
        "conditions": len(frame),
        **{name: int(told.get(name, 0)) for name in ("helps", "harms", "undecided")},
        "with_gap": len(decided),
        "cch": int(((decided["gap"] > 0) == helped).sum()),
        "always": int(helped.sum()),
        "never": int((~helped).sum()),
    }


def leading_estimator(one: Evidence, **where: Any) -> str:
    """The paper's estimator where the run has it there, else the first that it has."""
    if "estimator" not in one.metrics:
        return str(one.defaults.get("estimator", "latent"))
    names = one.rows("i_ts", **where)["estimator"].dropna().unique()
    return "lmi" if "lmi" in names or not len(names) else str(names[0])


def gaps(
    one: Evidence, by: Sequence[str], estimator: str | None = None
) -> pd.DataFrame:
    """I(H1;H2) − I(H2;Y), mean over seeds under each condition: columns `by`, gap,
    gap_se (if the run logged differences).
    """
    estimator = estimator or leading_estimator(one)
    if len(one.rows("gap")):
        found = one.mean("gap", by, estimator=estimator)
        return found.rename(columns={"mean": "gap", "se": "gap_se"}).drop(columns="n")
    terms = {
        metric: one.mean(metric, by, estimator=estimator) for metric in ("i_ts", "i_sl")
    }
    both = terms["i_ts"].merge(terms["i_sl"], on=list(by), suffixes=("", "_sl"))
    both["gap"] = both["mean"] - both["mean_sl"]
    return both[[*by, "gap"]]
