"""`cch assess FILE`: the criteria on arrays in a file, as tables, a verdict with
reasons, a figure and a page.
"""

from __future__ import annotations

import json as notation
import os
from collections.abc import Mapping
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
from cchdecide.tables import read, read_contents
from cchdecide.writing import distinct_places, expanded, written_beside
from cchlib.criterion import Assessment, assess_teachers
from cchlib.criterion.cch import between
from cchlib.names import listed


def decide_file(
    path: str | os.PathLike,
    *,
    html: str | os.PathLike | None = None,
    figure: str | os.PathLike | None = None,
    json: str | os.PathLike | None = None,
    console: Console | None = None,
    **options: Any,
) -> Ranking:
    """Decide about the teachers of a file; print the first answer, then all of it.

    Parameters
    ----------
    path : path of a .npz, .csv, .parquet or .h5ad file
        As `read_contents` takes it.
    html : path, optional
        Where a page with figures goes.
    figure : path, optional
        Where the figure of the CCH goes; by default beside the file, as NAME.cch.png.
    json : path, optional
        Where the numbers go.
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
        On a file of another form, on a place for a result that is the
        file's own or another result's, and as `decide`.
    FileNotFoundError
    """
    path, console = expanded(path), console or Console()
    with_cch = options.get("cch", True)
    target = _figure_beside(path, figure)
    html = None if html is None else expanded(html)
    json = None if json is None else expanded(json)
    _check_places(path, figure=target if with_cch else None, html=html, json=json)
    held = read_contents(path)
    given = {"groups": held.groups, "classes": held.classes}
    given["outputs"] = held.outputs if any(held.outputs) else None
    for name, value in given.items():
        if options.get(name) is None and value is not None:
            options[name] = value

    with _bar(console) as progress:

        def first(name: str, decision: Decision) -> None:
            if with_cch and console.is_terminal:
                text = f"[bold]{escape(name)}[/bold], before the CCH: "
                console.print(text + escape(decision.verdict), highlight=False)

        ranking = decide_teachers(
            held.teachers,
            held.student,
            held.labels,
            teacher_outputs=held.teacher_outputs,
            student_output=held.student_output,
            pairs=held.pairs,
            progress=progress,
            on_first=first,
            **options,
        )
    title = f"{path.name}: {ranking.decisions[ranking.best].rows}"
    console.print(f"[bold]{escape(title)}[/bold]", highlight=False)
    if held.ignored:
        left = f"Left alone in the file: {listed(held.ignored, 8)}"
        console.print(escape(left), highlight=False)
    if len(ranking.decisions) > 1:
        console.print(ranking_rich(ranking))
    for name, decision in ranking.decisions.items():
        console.rule(escape(name))
        console.print(decision)
    found = {
        name: decision.assessment
        for name, decision in ranking.decisions.items()
        if decision.assessment is not None
    }
    if found:
        _draw_to(found, target)
        console.print(f"Figure: {escape(str(target))}", highlight=False)
    if html is not None:
        ranking.save_html(html, title=title)
        console.print(f"Report: {escape(str(html))}", highlight=False)
    if json is not None:
        text = notation.dumps(ranking.to_dict(), indent=1, ensure_ascii=False)
        with written_beside(json) as part:
            part.write_text(text + "\n", encoding="utf-8")
    return ranking


def _check_places(path: Path, **written: Path | None) -> None:
    """Refuse places for results before anything is estimated."""
    distinct_places([path], **written)
    html = written["html"]
    if html is not None and html.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"`html` must end in .html, got {html.name}")
    for name, place in written.items():
        if place is not None:
            _check_target(name, place, any_format=name != "figure")


def _figure_beside(path: Path, figure: str | os.PathLike | None) -> Path:
    """Where the figure goes: beside the file, unless a place is named."""
    beside = path.with_name(f"{path.stem}.cch.png")
    return beside if figure is None else expanded(figure)


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
        On a file of another form, and as `cchlib.criterion.assess`.
    FileNotFoundError
    """
    path, console = expanded(path), console or Console()
    target = _figure_beside(path, figure)
    distinct_places([path], figure=target)
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
    """The table of both terms, and each verdict with its reasons."""
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


def write_example(path: str | os.PathLike) -> Path:
    """Write a file that `assess_file` reads, .npz or .csv: 300 subjects, two classes,
    two teachers of which one knows something.

    Raises
    ------
    ValueError
        On another suffix, or where there is a file already.
    """
    path = expanded(path)
    if path.suffix.lower() not in (".npz", ".csv"):
        raise ValueError(f"`path` must be a .npz or .csv file, got {path.name}")
    if path.exists():
        raise ValueError(f"`path` must be a new name, got {path}, which is there")
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


__all__ = ["assess_file", "decide_file", "read", "read_contents", "write_example"]


def _check_target(name: str, target: Path, any_format: bool = False) -> None:
    """Refuse a place for a file before anything is estimated, not after."""
    suffix = (target.suffix.lstrip(".") or "png").lower()
    if not any_format and suffix not in FigureCanvasBase.get_supported_filetypes():
        raise ValueError(f"`{name}` must end in .png, .pdf or .svg, got {target.name}")
    folder = next(parent for parent in target.absolute().parents if parent.exists())
    taken = target.exists() and not target.is_file()
    if taken or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ValueError(
            f"`{name}` must be a file in a folder of yours (--{name}), got {target}, "
            "where nothing can be written"
        )


def _save(figure: Figure, target: Path) -> None:
    """Written beside, then renamed: no half a figure."""
    with written_beside(target) as part:
        figure.savefig(part, format=target.suffix.lstrip(".") or "png", dpi=150)
