"""What to run: notebooks, profiles, overrides and sweeps, as jobs with their keys."""

from __future__ import annotations

import datetime
import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml

from cchbook.runs import keys, pieces, places
from cchbook.runs.notebook import Notebook, source
from cchlib import check

PROFILES = ("quick", "paper", "smoke")


@dataclass(frozen=True)
class Job:
    """A notebook, all its parameters with final values, and the key of the run that
    they make.
    """

    notebook: str
    path: str
    profile: str
    overrides: dict[str, Any]
    parameters: dict[str, Any]
    key: str
    # (notebook, key) of the runs whose records it reads
    after: tuple[tuple[str, str], ...] = ()
    # what it is of a longer run: {"seeds": 3}
    piece: dict[str, Any] = field(default_factory=dict)
    # a notebook that keeps no record of its own gets a bare one
    plain: bool = False

    @property
    def run(self) -> tuple[str, str]:
        """(notebook, key), by which a run is filed."""
        return self.notebook, self.key


def notebooks(names: Iterable[str] = ()) -> list[Notebook]:
    """The named notebooks (stems or paths), or all of the checkout's, in order."""
    root = places.repository()
    here = sorted((root / "notebooks").glob("*.ipynb")) if root else []
    stems = {path.stem: path for path in here}
    found = []
    for name in names or stems:
        path = stems.get(name, Path(name).absolute())
        if not (path.suffix == ".ipynb" and path.is_file()):
            raise ValueError(
                "notebook must be a file or one of "
                f"{', '.join(stems) or '(none here)'}, got {name!r}"
            )
        found.append(Notebook.read(path))
    found = list({notebook.path: notebook for notebook in found}.values())
    by_name = {notebook.name: notebook for notebook in found}  # as runs are filed
    for notebook in found:
        if (other := by_name[notebook.name]) is not notebook:
            raise ValueError(
                "notebooks must have different names, got "
                f"{notebook.path} and {other.path}"
            )
    if not found:
        raise ValueError(
            "no notebooks/ in this folder or above it: go to the checkout, or give a "
            "notebook's path"
        )
    return found


def overrides(
    settings: Sequence[str], chosen: Sequence[Notebook]
) -> dict[str, dict[str, Any]]:
    """`name=value` and `NOTEBOOK.name=value` as {notebook: {name: value}}; values are
    JSON or YAML.
    """
    found: dict[str, dict[str, Any]] = {notebook.name: {} for notebook in chosen}
    for setting in settings:
        only, name, value = parsed(setting)
        if only and only not in found:
            raise ValueError(
                f"--set must name one of {', '.join(found)}, got {setting!r}"
            )
        for notebook in [only] if only else found:
            found[notebook][name] = value
    return found


def parsed(setting: str) -> tuple[str, str, Any]:
    """`name=value` or `NOTEBOOK.name=value` as (notebook or "", name, value)."""
    name, equals, text = setting.partition("=")
    if not equals:
        raise ValueError(f"--set must be name=value, got {setting!r}")
    only, _, name = name.strip().rpartition(".")
    return only, name, _value(text)


def _value(text: str) -> Any:
    """A value of the command line: JSON (which reads 1e-3 as a number), else YAML."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        pass  # a bare word, or YAML's own way to write a list
    try:
        value = yaml.safe_load(text)
        # a date, which no parameter can be, is the text that it was
        return value if not isinstance(value, datetime.date) else text
    except yaml.YAMLError as error:
        raise ValueError(
            f"--set has the value {text!r}, which is neither JSON nor YAML ({error})"
        ) from None


def readings(settings: Sequence[str]) -> list[str]:
    """What to say of settings that are read as something else than they look: `010` is
    8 in YAML, `on` is true.
    """
    said = []
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            json.loads(text)
        except json.JSONDecodeError:
            value = _value(text)
            if isinstance(value, (bool, int, float)):
                told = f"--set {setting} is read as {json.dumps(value)}"
                said.append(f"{told}; {name}='\"{text}\"' would be the text")
    return said


def _refuse_odd(name: str, value: Any) -> None:
    """Refuse what a record, which is JSON, can't hold."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"parameter {name!r} must be finite, got {value}")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(
                    f"keys of parameter {name!r} must be texts, as JSON has no others "
                    f'("{key}"), got {key!r}'
                )
            _refuse_odd(name, inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_odd(name, inner)
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(
            f"parameter {name!r} must be a number, text, true, false, null, or lists "
            f"and mappings of them (a date as text: '\"{value}\"'), got {value!r} of "
            f"type {type(value).__name__}"
        )


def parameters(
    notebook: Notebook, profile: str, changes: Mapping[str, Any]
) -> dict[str, Any]:
    """All parameters of a run: the notebook's own values (`quick`), the profile's, then
    `changes`.

    Raises
    ------
    ValueError
        An unknown profile, a parameter that the notebook does not declare, or a value
        of another type.
    """
    check.one_of("profile", profile, PROFILES)
    given = {}
    if profile != "quick":
        file = notebook.path.parent / "profiles" / f"{notebook.name}.{profile}.yaml"
        if not file.is_file():
            raise ValueError(
                f"notebook {notebook.name} has no profile {profile!r}: "
                f"there is no {file}"
            )
        given = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    final = {name: parameter.default for name, parameter in notebook.parameters.items()}
    for name, value in {**given, **changes}.items():
        if name not in final:
            raise ValueError(
                f"parameter of {notebook.name} must be one of {', '.join(final)}, got "
                f"{name!r}"
            )
        _refuse_odd(name, value)
        if not notebook.parameters[name].accepts(value):
            raise ValueError(
                f"parameter {name!r} of {notebook.name} must be of type "
                f"{notebook.parameters[name].type}, got {value!r}"
            )
        final[name] = (
            str(Path(value).absolute()) if name in notebook.files and value else value
        )
    return final


def read_sweep(path: str | Path) -> dict[str, list[dict[str, Any]]]:
    """A sweep file as {notebook: [overrides, ...]}.

    The file maps each notebook to a grid, {parameter: [values]}, of which every
    combination is a job, or to a list of such grids.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"sweep {path} is not YAML: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(
            f"sweep {path} must be `notebook: {{parameter: [values]}}`, got no mapping"
        )
    sweep = {}
    for notebook, grids in content.items():
        sweep[notebook] = []
        for grid in grids if isinstance(grids, list) else [grids]:
            if not isinstance(grid, dict) or not all(
                isinstance(values, list) for values in grid.values()
            ):
                raise ValueError(
                    f"sweep of {notebook} must be `parameter: [values]`, each a list, "
                    f"got {grid!r}"
                )
            sweep[notebook] += [
                dict(zip(grid, point)) for point in itertools.product(*grid.values())
            ]
    return sweep


def refuse_without_record(notebook: Notebook) -> None:
    """Say what a notebook wants to keep a record, by ValueError where it keeps none."""
    code = "\n".join(source(cell) for cell in notebook.code_cells)
    if "records" in code and re.search(r"\bstart\(", code):
        return
    raise ValueError(
        f"notebook {notebook.name} keeps no record; it needs\n"
        "  from cchbook.runs import records\n"
        f'  run = records.start("{notebook.name}", globals())'
        "    # after the parameters\n"
        "  run.finish()    # in the last cell\n"
        "or --plain, with which it gets a bare record (parameters, seconds, copy)"
    )


def jobs(
    notebook: Notebook,
    profile: str,
    points: Iterable[Mapping[str, Any]],
    plain: bool = False,
) -> list[Job]:
    """Jobs of one notebook; what they share is hashed once."""
    known = keys.ingredients(notebook)
    path = str(notebook.path.absolute())
    found = []
    for changes in points:
        final = parameters(notebook, profile, changes)
        key = keys.run_key(known, final)
        of_run = (notebook.name, path, profile, dict(changes), final, key)
        found.append(Job(*of_run, plain=plain))
    return found


def in_pieces(notebook: Notebook, whole: Job, along: Sequence[str]) -> list[Job]:
    """The jobs that a run is cut into.

    What was recorded earlier is on a page, and so in its key, but changes no number: a
    piece, which is no page, stays what it is when another run is recorded meanwhile.
    """
    known = keys.of_piece(keys.ingredients(notebook))
    found = []
    for what, final in pieces.cut(notebook, whole.parameters, along):
        key = keys.run_key(known, final)
        overrides = {**whole.overrides, **what}
        found.append(
            replace(whole, key=key, parameters=final, overrides=overrides, piece=what)
        )
    return found
