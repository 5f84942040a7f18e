"""`cch assess FILE`: the criterion on arrays in a file, as a table, a verdict with
reasons, and a figure.
"""

from __future__ import annotations

import os
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from cchlib.criterion import Assessment, assess_teachers
from cchlib.criterion.figures import draw, pm

WANTED = {
    ".npz": "arrays teacher (or teacher_NAME, one a candidate), student and labels",
    ".csv": "columns teacher.* (or teacher_NAME.*), student.* and label",
}


def assess_file(
    path: str | os.PathLike,
    method: str = "lmi",
    runs: int = 5,
    confidence: float = 0.95,
    seed: int = 0,
    device: str = "auto",
    figure: str | os.PathLike | None = None,
    console: Console | None = None,
) -> dict[str, Assessment]:
    """Assess the teachers of a file; print a table, the verdict and its reasons, and
    save a figure.

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
    _check_figure(target)
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
    table = Table(
        title=f"{path.name}: {len(labels)} subjects, mutual information by {method}, in nats"
    )
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
            name,
            pm(a.i_ts.value, a.i_ts.std_error),
            pm(a.i_sl.value, a.i_sl.std_error),
            f"{a.gap:+.3f}",
            "{:+.3f} to {:+.3f}".format(*a.gap_interval),
            a.verdict,
        )
    console.print(table)
    for name, a in found.items():
        console.print(f"[bold]{name}: {a.verdict}[/bold]")
        for reason in a.reasons:
            console.print(f"  - {reason}", highlight=False)
    drawn = draw(found)
    try:
        _save(drawn, target)
    finally:
        plt.close(drawn)
    console.print(f"Figure: {target}", highlight=False)
    return found


def read(
    path: str | os.PathLike,
) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Teachers by name, the student and the labels of an .npz or .csv file.

    An .npz holds arrays ``teacher`` (or ``teacher_NAME``, several), ``student`` and
    ``labels``; it is read without pickle. A .csv has one row a subject and columns
    ``teacher.*`` (or ``teacher_NAME.*``), ``student.*`` and
    ``label``. Other arrays and columns are left alone. Labels that are whole numbers or text are classes.
    """
    path = Path(path)
    if path.suffix.lower() not in WANTED:
        raise ValueError(f"path is {path.name}; a .npz or .csv file is wanted")
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    arrays, labels = (
        _read_npz(path) if path.suffix.lower() == ".npz" else _read_csv(path)
    )
    teachers = {
        name.removeprefix("teacher_"): value
        for name, value in arrays.items()
        if name.startswith("teacher")
    }
    if {"teacher", "teacher_teacher"} <= arrays.keys():
        raise ValueError(
            f"path: {path.name} holds teacher and teacher_teacher; names that differ are wanted"
        )
    missing = [
        name
        for name, value in (
            ("teacher", teachers),
            ("student", arrays.get("student")),
            ("labels", labels),
        )
        if value is None or len(value) == 0
    ]
    if missing:
        raise ValueError(
            f"path: {path.name} holds no {' and no '.join(missing)}; "
            f"{WANTED[path.suffix.lower()]} are wanted"
        )
    return teachers, arrays["student"], labels


def _read_npz(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                name: file[name]
                for name in file.files
                if _role(name) or name == "labels"
            }
        if scalar := [name for name, array in arrays.items() if array.ndim == 0]:
            raise ValueError(f"{scalar[0]} is a single value")
    except Exception as error:  # NumPy tells what is no .npz by a dozen kinds of errors
        raise ValueError(
            f"path: {path.name} could not be read ({error}); an .npz of plain arrays, "
            "numbers or fixed-width strings, is wanted"
        ) from None
    return arrays, arrays.pop("labels", None)


def _read_csv(path: Path) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
    try:
        frame = pd.read_csv(path)
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"path: {path.name} could not be read as a table ({error})"
        ) from None
    groups: dict[str, list[str]] = {}
    for column in frame.columns:
        role, dot, _ = column.partition(".")
        if dot and _role(role):
            groups.setdefault(role, []).append(column)
    if (
        "label" in frame and frame["label"].isna().any()
    ):  # empty, or a class called "NA" or "None", which pandas takes for it
        frame["label"] = pd.read_csv(
            path, usecols=["label"], keep_default_na=False, na_values=[""]
        )["label"]
    if "label" in frame and frame["label"].isna().any():
        raise ValueError(
            f"path: column label of {path.name} has {int(frame['label'].isna().sum())} empty cells; "
            "a label a subject is wanted"
        )
    return (
        {role: _numbers(frame[columns], path) for role, columns in groups.items()},
        frame["label"].to_numpy() if "label" in frame else None,
    )


def _numbers(frame: pd.DataFrame, path: Path) -> np.ndarray:
    text = [
        column for column in frame if not pd.api.types.is_numeric_dtype(frame[column])
    ]
    if text:
        raise ValueError(
            f"path: column {text[0]} of {path.name} holds text; numbers are wanted"
        )
    return frame.to_numpy(dtype=float)


def _role(name: str) -> bool:
    return (
        name in ("teacher", "student")
        or name.startswith("teacher_")
        and len(name) > len("teacher_")
    )


def _check_figure(target: Path) -> None:
    """Refuse a place for the figure before anything is estimated, not after."""
    if (
        target.suffix.lstrip(".") or "png"
    ).lower() not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(
            f"figure is {target.name}; a name that ends in .png, .pdf or .svg is wanted"
        )
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    if target.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(
            f"figure is {target}, where nothing can be written; a file in a folder of yours is wanted (--figure)"
        )


def _save(figure: Figure, target: Path) -> None:
    """Written beside, then renamed: no half a figure."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        figure.savefig(part, format=target.suffix.lstrip(".") or "png", dpi=150)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
