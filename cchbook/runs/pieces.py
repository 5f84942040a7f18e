"""A long run in pieces: cut a run along a parameter, and put its pieces together again.

A notebook declares in its metadata along which parameters it may be cut, where that
changes nothing but the grouping::

    "cch": {"split": {"seeds": {"first": "first_seed", "covered_by": ["mi_seeds"]},
                      "sigma12s": {}}}

A list is cut into its values, a number that counts repetitions into single ones: a
piece has `seeds = 1`, and says in `first` which repetition it is. What else counts
repetitions is named too: `covered_by` are parameters that must reach as far as the cut
one (a piece alone could not tell that it has none), `shared` are totals of which every
piece does its share.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from cchbook.runs.notebook import Notebook
from cchbook.runs.predictions import Predictions
from cchbook.runs.records import COLUMNS, Record

# Two pieces may measure the same thing, as a value that does not depend on the seed; it
# is one row where they agree so far, relative to its size
AGREE = 1e-9


def cut(
    notebook: Notebook, parameters: Mapping[str, Any], along: Sequence[str]
) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The pieces of a run: for each what it is of the run, and all its parameters.

    Parameters
    ----------
    notebook, parameters
        What runs, with which final parameters.
    along
        Parameters to cut along; several give every combination.

    Raises
    ------
    ValueError
        A parameter that the notebook does not declare in `cch.split`, or a run that
        can't be cut along it.
    """
    axes = [_values(notebook, parameters, name) for name in along]
    pieces = []
    for point in itertools.product(*axes):
        what = dict(zip(along, point))
        of_piece = dict(parameters)
        for name, value in what.items():
            rule = notebook.split[name]
            if "first" not in rule:
                of_piece[name] = [value]
                continue
            of_piece[name] = 1
            of_piece[rule["first"]] = value
            for total in rule.get("shared", []):
                of_piece[total] = max(1, parameters[total] // parameters[name])
        pieces.append((what, of_piece))
    return pieces


def _values(notebook: Notebook, parameters: Mapping[str, Any], name: str) -> list[Any]:
    """What a run is cut into along one parameter: numbers of repetitions, or values."""
    if name not in notebook.split:
        declared = ", ".join(notebook.split) or "none"
        raise ValueError(
            f"`split` must be a parameter along which {notebook.name} may be cut "
            f"(it declares {declared}), got {name!r}"
        )
    rule, value = notebook.split[name], parameters[name]
    if "first" not in rule:
        if not isinstance(value, list) or not value:
            raise ValueError(
                f"`{name}`, along which {notebook.name} is split, must be a list with "
                f"values, got {value!r}"
            )
        return value
    if value < 1:
        raise ValueError(
            f"`{name}`, along which {notebook.name} is split, must be ≥ 1, got "
            f"{value!r}"
        )
    for other in rule.get("covered_by", []):
        if parameters[other] < value:
            raise ValueError(
                f"`{other}` must be ≥ {name} = {value}, along which {notebook.name} is "
                f"split, got {parameters[other]}: a piece beyond it would have nothing "
                "to estimate"
            )
    first = parameters[rule["first"]]
    return list(range(first, first + value))


def put_together(
    whole: Mapping[str, Any], pieces: Sequence[tuple[Mapping[str, Any], Record]]
) -> tuple[dict, pd.DataFrame]:
    """One record, and its metrics, of the pieces of a run.

    Rows come in the order in which the notebook logs its metrics, and for each metric
    in the order of the pieces. A row that several pieces have is there once.

    Parameters
    ----------
    whole
        What the record says of the run: notebook, profile, overrides, parameters, key.
    pieces
        What each piece is of the run, and its record, in the run's order.

    Raises
    ------
    ValueError
        Two pieces have different values of one measurement: the run is more than its
        pieces.
    """
    metrics = _rows([record for _, record in pieces], whole["notebook"])
    found = [record.record for _, record in pieces]
    data = {
        json.dumps(source, sort_keys=True): source
        for r in found
        for source in r["data"]
    }
    listed = []
    for what, record in pieces:
        kept = ("key", "seconds", "host", "device", "start", "commit")
        listed.append(
            {"of": dict(what)} | {name: record.record.get(name) for name in kept}
        )
        if "kept" in record.record:
            listed[-1]["kept"] = record.record["kept"]
    seeds = sorted({seed for record in found for seed in record["seeds"]})
    together = {
        **whole,
        "seeds": seeds,
        "packages": found[0]["packages"],
        "commit": _one_or_all(r["commit"] for r in found),
        "device": _one_or_all(r["device"] for r in found),
        "data": list(data.values()),
        "start": min(r["start"] for r in found),
        "seconds": round(sum(r["seconds"] for r in found), 2),
        "pieces": listed,
    }
    if any(r["packages"] != found[0]["packages"] for r in found):
        for entry, record in zip(listed, found):
            entry["packages"] = record["packages"]
    return together, metrics


def predictions_of(records: Sequence[Record]) -> Predictions:
    """What the networks of all pieces said."""
    return sum((record.predictions for record in records), start=Predictions())


def _one_or_all(said: Any) -> str | None:
    """What all pieces say, or all that they say."""
    different = list(dict.fromkeys(said))
    return different[0] if len(different) == 1 else ", ".join(map(str, different))


def _rows(records: Sequence[Record], notebook: str) -> pd.DataFrame:
    """The rows of all pieces, those that several have once."""
    frames = []
    for record in records:
        frame = record.metrics
        what = [c for c in frame if c != "value"]
        # a notebook may log the same thing twice: that is its own affair
        times = frame.groupby(what, dropna=False, sort=False).cumcount()
        frames.append(frame.assign(_time=times))
    conditions = dict.fromkeys(c for frame in frames for c in frame if c not in COLUMNS)
    every = pd.concat(frames, ignore_index=True)[[*conditions, *COLUMNS]]

    # metric by metric, in the order in which the notebook logs them
    order = {metric: place for place, metric in enumerate(every["metric"].unique())}
    every = every.sort_values("metric", key=lambda m: m.map(order), kind="stable")

    what = [c for c in every if c != "value"]
    groups = every.groupby(what, dropna=False, sort=False)["value"]
    spread = groups.transform("max") - groups.transform("min")
    differs = spread > AGREE * groups.transform(lambda values: values.abs().max())
    if differs.any():
        row = every[differs].iloc[0].drop(["value", "_time"])
        said = ", ".join(
            f"{k} = {v}" for k, v in row.items() if pd.notna(v) and v != ""
        )
        raise ValueError(
            f"the pieces of {notebook} have different values where {said}: "
            "this is measured of the whole run"
        )
    every = every[~every.duplicated(what)].drop(columns="_time").reset_index(drop=True)
    return every
