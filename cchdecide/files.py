"""`cch assess FILE`: the criteria on arrays in a file, as tables, a verdict with
reasons, a figure and a page.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cchdecide.decision import Decision, Ranking, decide_teachers
from cchdecide.figures import draw, pm
from cchdecide.report import ranking_rich
from cchdecide.writing import written_beside
from cchlib.criterion import Assessment, assess_teachers
from cchlib.criterion.cch import between

WANTED = {
    ".npz": "arrays teacher (or teacher_NAME, one a candidate), student and labels",
    ".csv": "columns teacher.* (or teacher_NAME.*), student.* and label (or label.*)",
}
#: what R, pandas and spreadsheets write for a label that is missing
MISSING = {"", "NA", "N/A", "NaN", "nan", "NULL", "null", "None", "none", "?", "."}
#: columns such as teacher_0, teacher1: those of one array
NUMBERED = re.compile(r"(teacher|student|teacher_output|student_output)_?(\d+)")


@dataclass(frozen=True)
class Contents:
    """What a file holds: features and outputs by teachers' names."""

    teachers: dict[str, np.ndarray]
    student: np.ndarray
    labels: np.ndarray
    teacher_outputs: dict[str, np.ndarray]
    student_output: np.ndarray | None
    groups: np.ndarray | None


def decide_file(
    path: str | os.PathLike,
    *,
    html: str | os.PathLike | None = None,
    figure: str | os.PathLike | None = None,
    console: Console | None = None,
    **options: Any,
) -> Ranking:
    """Decide about the teachers of a file; print the first answer, then all of it.

    Parameters
    ----------
    path : path of an .npz or .csv file
        As `read_contents` takes it.
    html : path, optional
        Where a page with figures goes.
    figure : path, optional
        Where the figure of the CCH goes; by default beside the file, as NAME.cch.png.
    console : rich.console.Console, optional
        Where to print.
    **options
        As for `decide`.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        On a file that is not of the form wanted, and as `decide`.
    FileNotFoundError
    """
    path, console = Path(path), console or Console()
    target = (
        Path(figure) if figure is not None else path.with_name(f"{path.stem}.cch.png")
    )
    with_cch = options.get("cch", True)
    if with_cch:
        _check_target("figure", target)
    if html is not None:
        html = Path(html)
        if html.suffix.lower() not in (".html", ".htm"):
            raise ValueError(f"html is {html.name}; a name ending in .html is wanted")
        _check_target("html", html, any_format=True)
    held = read_contents(path)
    if options.get("groups") is None and held.groups is not None:
        options["groups"] = held.groups

    with _bar(console) as progress:

        def first(name: str, decision: Decision) -> None:
            if with_cch:
                text = f"[bold]{escape(name)}[/bold], before the CCH: "
                console.print(text + escape(decision.verdict), highlight=False)

        ranking = decide_teachers(
            held.teachers,
            held.student,
            held.labels,
            teacher_outputs=held.teacher_outputs,
            student_output=held.student_output,
            progress=progress,
            on_first=first,
            **options,
        )
    title = f"{path.name}: {len(held.labels)} subjects"
    console.print(f"[bold]{escape(title)}[/bold]", highlight=False)
    for name, decision in ranking.decisions.items():
        console.rule(escape(name))
        console.print(decision)
    if len(ranking.decisions) > 1:
        console.rule("all teachers")
        console.print(ranking_rich(ranking))
    found = {
        name: decision.assessment
        for name, decision in ranking.decisions.items()
        if decision.assessment is not None
    }
    if found:
        _print_cch(found, console, options.get("confidence", 0.95))
        _draw_to(found, target)
        console.print(f"Figure: {escape(str(target))}", highlight=False)
    if html is not None:
        ranking.save_html(html, title=title)
        console.print(f"Report: {escape(str(html))}", highlight=False)
    return ranking


def assess_file(
    path: str | os.PathLike,
    method: str = "latent",
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    figure: str | os.PathLike | None = None,
    console: Console | None = None,
) -> dict[str, Assessment]:
    """Assess the teachers of a file by the CCH alone; print a table, the verdict and
    its reasons, and save a figure.

    Parameters
    ----------
    path : path of an .npz or .csv file
        As `read` takes it.
    method, runs, confidence, seed, device
        As for `cchlib.criterion.assess`.
    figure : path, optional
        Where the figure goes, in the format of its suffix; by default beside the file,
        as NAME.cch.png.
    console : rich.console.Console, optional
        Where to print.

    Returns
    -------
    dict of name -> Assessment, best first

    Raises
    ------
    ValueError
        On a file that is not of the form wanted, and as `cchlib.criterion.assess`.
    FileNotFoundError
    """
    path, console = Path(path), console or Console()
    target = (
        Path(figure) if figure is not None else path.with_name(f"{path.stem}.cch.png")
    )
    _check_target("figure", target)
    teachers, student, labels = read(path)
    found = assess_teachers(
        teachers,
        student,
        labels,
        method,
        runs=runs,
        confidence=confidence,
        seed=seed,
        device=device,
    )
    title = (
        f"{path.name}: {len(labels)} subjects, mutual information by {method}, in nats"
    )
    console.print(f"[bold]{escape(title)}[/bold]", highlight=False)
    _print_cch(found, console, confidence)
    _draw_to(found, target)
    console.print(f"Figure: {escape(str(target))}", highlight=False)
    return found


def _print_cch(
    found: Mapping[str, Assessment], console: Console, confidence: float
) -> None:
    """The table of both informations, and each verdict with its reasons."""
    table = Table(title="The CCH, mutual information in nats")
    for column in (
        "teacher",
        "I(teacher; student)",
        "I(student; label)",
        "gap",
        f"{confidence:.0%} interval",
        "verdict",
    ):
        table.add_column(
            column, justify="left" if column in ("teacher", "verdict") else "right"
        )
    for name, a in found.items():
        table.add_row(
            escape(name),
            pm(a.i_ts.value, a.i_ts.std_error),
            pm(a.i_sl.value, a.i_sl.std_error),
            f"{a.gap:+.3f}",
            between(*a.gap_interval, "+.3f"),
            a.verdict,
        )
    console.print(table)
    for name, a in found.items():
        console.print(f"[bold]{escape(name)}: {a.verdict}[/bold]")
        for reason in a.reasons:
            console.print(f"  - {escape(reason)}", highlight=False)


def _draw_to(found: Mapping[str, Assessment], target: Path) -> None:
    drawn = draw(found)
    try:
        _save(drawn, target)
    finally:
        plt.close(drawn)


class _bar:
    """A bar with the time left, told what is done by `progress(what, share)`."""

    def __init__(self, console: Console):
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self.bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self.tasks: dict[str, Any] = {}

    def __enter__(self):
        self.bar.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.bar.stop()

    def __call__(self, what: str, share: float) -> None:
        if what not in self.tasks:
            # of the estimators it is not known how far they are
            total = 1.0 if "pilot" in what else None
            self.tasks[what] = self.bar.add_task(what, total=total)
        self.bar.update(self.tasks[what], completed=share)
        if share >= 1:
            self.bar.update(self.tasks[what], total=1.0, completed=1.0)


def read(
    path: str | os.PathLike,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Teachers by name, the student and the labels: see `read_contents`."""
    held = read_contents(path)
    return held.teachers, held.student, held.labels


def read_contents(path: str | os.PathLike) -> Contents:
    """What an .npz or .csv file holds.

    An .npz holds arrays ``teacher`` (or ``teacher_NAME``, several), ``student`` and
    ``labels``, and if at hand ``teacher_output`` (or ``teacher_output_NAME``),
    ``student_output`` and ``groups``; it is read without pickle.

    A .csv has one row a subject and columns ``teacher.*`` (or ``teacher_NAME.*``),
    ``student.*`` and ``label``, and if at hand ``teacher_output.*``
    (``teacher_output_NAME.*``), ``student_output.*`` and ``group``; ``teacher_0``,
    ``teacher_1``, … are columns of one teacher. Other arrays and columns are left
    alone. Labels that are whole numbers or text are classes; ``01`` is text. Columns
    ``label.*`` are a regression target, whatever their numbers.

    Raises
    ------
    ValueError
        On a file that is not of that form: with row and column where there is one.
    FileNotFoundError
    """
    path = Path(path)
    if path.suffix.lower() not in WANTED:
        raise ValueError(f"path is {path.name}; a .npz or .csv file is wanted")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    arrays, labels, groups = (
        _read_npz(path) if path.suffix.lower() == ".npz" else _read_csv(path)
    )
    if {"teacher", "teacher_teacher"} <= arrays.keys():
        raise ValueError(
            f"{path.name} holds teacher and teacher_teacher; "
            "names that differ are wanted"
        )
    student = arrays.pop("student", None)
    student_output = arrays.pop("student_output", None)
    outputs = {
        name.removeprefix("teacher_output").removeprefix("_") or "teacher": arrays[name]
        for name in list(arrays)
        if name == "teacher_output" or name.startswith("teacher_output_")
    }
    teachers = {
        name.removeprefix("teacher_"): value
        for name, value in arrays.items()
        if name != "teacher_output" and not name.startswith("teacher_output_")
    }
    if len(teachers) == 1 and list(outputs) == ["teacher"]:
        outputs = {next(iter(teachers)): outputs["teacher"]}
    missing = [
        name
        for name, value in (
            ("teacher", teachers),
            ("student", student),
            ("labels", labels),
        )
        if value is None or len(value) == 0
    ]
    if missing:
        raise ValueError(
            f"{path.name} holds no {' and no '.join(missing)}; "
            f"{WANTED[path.suffix.lower()]} are wanted (cch assess --example writes a "
            "file of this form)"
        )
    strangers = [name for name in outputs if name not in teachers]
    if strangers:
        raise ValueError(
            f"{path.name} holds teacher_output_{strangers[0]} and no "
            f"teacher_{strangers[0]}; outputs of teachers that it holds are wanted"
        )
    assert student is not None  # or it is among the missing
    return Contents(teachers, student, labels, outputs, student_output, groups)


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], Any, Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                name: file[name]
                for name in file.files
                if _role(name) or name in ("labels", "groups")
            }
        if scalar := [name for name, array in arrays.items() if array.ndim == 0]:
            raise ValueError(f"{scalar[0]} is a single value")
    except Exception as error:  # NumPy tells what is no .npz by a dozen kinds of errors
        raise ValueError(
            f"{path.name} could not be read ({error}); an .npz of plain arrays, "
            "numbers or fixed-width strings, is wanted"
        ) from None
    return arrays, arrays.pop("labels", None), arrays.pop("groups", None)


def _read_csv(path: Path) -> tuple[dict[str, np.ndarray], Any, Any]:
    header = _checked_header(path)
    groups: dict[str, list[str]] = {}
    for column in header:
        role, dot, _ = column.partition(".")
        if dot and (_role(role) or role == "label"):
            groups.setdefault(role, []).append(column)
    for role in ("teacher", "student", "teacher_output", "student_output"):
        numbered = [
            column
            for column in header
            if (match := NUMBERED.fullmatch(column)) and match[1] == role
        ]
        if numbered and role in groups:
            raise ValueError(
                f"{path.name} holds columns {groups[role][0]} and {numbered[0]}; one "
                f"way to name the columns of {role} is wanted, such as {role}.0"
            )
        if numbered:
            groups[role] = numbered
    try:
        frame = pd.read_csv(
            path,
            index_col=False,
            encoding="utf-8-sig",
            dtype={"label": str, "group": str},
            keep_default_na=False,
            na_values={column: sorted(MISSING) for column in sum(groups.values(), [])},
            low_memory=False,
        )
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path.name} could not be read as a table ({error})"
        ) from None
    arrays = {role: _numbers(frame[columns], path) for role, columns in groups.items()}
    labels = arrays.pop("label", None)
    if "label" in frame:
        if labels is not None:
            raise ValueError(
                f"{path.name} holds columns label and {groups['label'][0]}; label "
                "(classes, or a target of many values) or label.* (a target) is wanted"
            )
        labels = _labels(frame["label"], path)
    subjects = frame["group"].to_numpy(str) if "group" in frame else None
    return arrays, labels, subjects


def _checked_header(path: Path) -> list[str]:
    """The header; refuse rows with more or fewer cells than it has."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.reader(file)
            header = next(rows, [])
            for row in rows:
                if row and len(row) != len(header):
                    raise ValueError(_ragged(row, header, rows.line_num))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(
            f"{path.name} could not be read as a table ({error}); "
            "UTF-8 text with commas is wanted"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path.name}, {error}") from None
    if not header:
        raise ValueError(f"{path.name} could not be read as a table (it is empty)")
    seen: set[str] = set()
    for column in header:
        if column in seen and column:
            raise ValueError(
                f"{path.name} holds two columns {column}; names that differ are wanted"
            )
        seen.add(column)
    return header


def _ragged(row: list[str], header: list[str], line: int) -> str:
    said = f"line {line}: {len(row)} cells under {len(header)} column names"
    if len(row) > len(header) and row[-1] == "":
        return f"{said}, as the row ends in a comma; a row without it is wanted"
    last = header[len(row) - 1] if len(row) < len(header) else header[-1]
    return f"{said}, the last of them {last}; one cell a column is wanted"


def _labels(column: pd.Series, path: Path) -> np.ndarray:
    """Whole numbers, numbers, or text as it stands."""
    text = column.to_numpy(str)
    empty = np.flatnonzero(np.char.strip(text) == "")
    if len(empty):
        raise ValueError(
            f"column label of {path.name} has {len(empty)} empty cells, "
            f"the first in row {empty[0] + 1}; a label a subject is wanted"
        )
    absent = np.isin(text, sorted(MISSING))
    there = pd.to_numeric(pd.Series(text[~absent]), errors="coerce")
    numeric = len(there) > 0 and bool(there.notna().all())
    if not numeric:
        return text
    if absent.any():
        first = int(absent.argmax())
        raise ValueError(
            f"{path.name}, row {first + 1}, column label: {text[first]} among numbers "
            f"({int(absent.sum())} such rows); a label a subject is wanted: "
            "leave out the subjects without one, or name the classes by words"
        )
    if any(re.fullmatch(r"\s*[+-]?0\d+\s*", entry) for entry in text):
        return text  # 01 is a name
    whole = all(re.fullmatch(r"\s*[+-]?\d+\s*", entry) for entry in text)
    return np.array([int(entry) for entry in text]) if whole else there.to_numpy(float)


def _numbers(frame: pd.DataFrame, path: Path) -> np.ndarray:
    for column in frame:
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values) and values.notna().all():
            continue
        bad = int(pd.to_numeric(values, errors="coerce").isna().to_numpy().argmax())
        entry = values.iloc[bad]
        said = "is empty or missing" if pd.isna(entry) else f"holds text, {entry!r}"
        raise ValueError(
            f"{path.name}, row {bad + 1}: column {column} {said}; a number is wanted"
        )
    return frame.to_numpy(dtype=float)


def _role(name: str) -> bool:
    return name in ("teacher", "student", "student_output") or (
        name.startswith("teacher_") and len(name) > len("teacher_")
    )


def write_example(path: str | os.PathLike) -> Path:
    """Write a file of the form wanted, .npz or .csv: 300 subjects, two classes, two
    teachers of which one knows something.

    Raises
    ------
    ValueError
        On another suffix, or where there is a file already.
    """
    path = Path(path)
    if path.suffix.lower() not in WANTED:
        raise ValueError(f"path is {path.name}; a .npz or .csv file is wanted")
    if path.exists():
        raise ValueError(f"path is {path}, which is there; a new name is wanted")
    rng = np.random.default_rng(0)
    n = 300
    labels = rng.integers(0, 2, n)
    shared = (2 * labels - 1)[:, None] + rng.standard_normal((n, 2))
    student = np.hstack([shared, rng.standard_normal((n, 4))])
    student = student + 0.5 * rng.standard_normal(student.shape)
    good = np.hstack([shared, rng.standard_normal((n, 1))])
    poor = rng.standard_normal((n, 3))

    def logits(score: np.ndarray) -> np.ndarray:
        return np.column_stack([-score, score]).round(4)

    arrays: dict[str, Any] = {
        "teacher_good": good.round(4),
        "teacher_poor": poor.round(4),
        "student": student.round(4),
        "teacher_output_good": logits(shared.sum(1)),
        "teacher_output_poor": logits(poor[:, 0]),
        "student_output": logits(student[:, :2].sum(1) / 1.5),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".npz":
        np.savez(path, **arrays, labels=labels)
        return path
    columns = {
        f"{name}.{j}": array[:, j]
        for name, array in arrays.items()
        for j in range(array.shape[1])
    }
    pd.DataFrame(columns | {"label": labels}).to_csv(path, index=False)
    return path


def _check_target(name: str, target: Path, any_format: bool = False) -> None:
    """Refuse a place for a file before anything is estimated, not after."""
    suffix = (target.suffix.lstrip(".") or "png").lower()
    if not any_format and suffix not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(
            f"{name} is {target.name}; a name that ends in .png, .pdf or .svg is wanted"
        )
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(
            f"{name} is {target}, where nothing can be written; a file in a folder of "
            f"yours is wanted (--{name})"
        )


def _save(figure: Figure, target: Path) -> None:
    """Written beside, then renamed: no half a figure."""
    with written_beside(target) as part:
        figure.savefig(part, format=target.suffix.lstrip(".") or "png", dpi=150)
