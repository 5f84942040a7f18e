"""`cch run`, `build`, `slides`, `pdf` and `data`: the making of the book."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

app = typer.Typer()  # its commands are put beside those of `cchlib.cli`
data_app = typer.Typer(
    no_args_is_help=True,
    help="The data sets: which there are, fetch them, verify them.",
)
app.add_typer(data_app, name="data")

ROWS = 40  # of the summary: beyond it only what failed is listed

BuildDir = Annotated[
    Path | None,
    typer.Option(help="Where everything goes (default: CCH_BUILD_DIR, or _build)."),
]
Profile = Annotated[str, typer.Option(help="quick, paper or smoke.")]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=(
            "Override a parameter (NOTEBOOK.NAME=VALUE for one notebook); may be repeated."
        ),
    ),
]


@app.command()
def run(
    notebooks: Annotated[
        list[str] | None,
        typer.Argument(help="Names or paths (default: all of notebooks/)."),
    ] = None,
    profile: Profile = "quick",
    settings: Settings = None,
    split: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PARAMETER",
            help=(
                "Cut runs along this parameter into pieces, each a job with a record, "
                "and put these together; may be repeated."
            ),
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes at once (default: the number of cores; one where there is a GPU).",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler to hand the jobs to."),
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A YAML grid.")
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="Folder or URL (s3://, gs://) for the runs.")
    ] = None,
    build_dir: BuildDir = None,
) -> None:
    """Execute notebooks, leaving out runs that are complete; exit code 1 where one
    fails.
    """
    with _plainly(build_dir):
        from cchbook.runs import batch

        if cluster and workers:
            raise ValueError(
                "--workers is for this machine, --cluster brings its own workers; one of them is wanted"
            )
        grid = batch.read_sweep(sweep) if sweep else None
        todo = batch.Batch(
            notebooks or [], profile, settings or [], grid, output, split or []
        )
        pool = batch.cluster(cluster) if cluster else batch.local(workers or _workers())
        console, outcomes, began = (
            Console(soft_wrap=not sys.stdout.isatty()),
            [],
            time.perf_counter(),
        )
        try:
            with pool as workers_at_hand:
                for outcome in _shown(todo.run(workers_at_hand), len(todo), console):
                    outcomes.append(outcome)
        finally:  # also of a batch that was broken off
            _summary(
                console,
                outcomes,
                len(todo),
                time.perf_counter() - began,
                todo.store.url,
            )
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def record(
    keys: Annotated[list[str], typer.Argument(help="Keys of complete runs.")],
    output: Annotated[
        str | None, typer.Option(help="Folder or URL of the runs, as of `cch run`.")
    ] = None,
    build_dir: BuildDir = None,
) -> None:
    """Put finished runs under data/recorded, with a line in its README."""
    with _plainly(build_dir):
        from cchbook.runs import recording

        for key in keys:
            print(recording.record(key, output))


@app.command()
def build(
    profile: Profile = "quick",
    settings: Settings = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder of the HTML pages (default: html in the build folder)."
        ),
    ] = None,
    build_dir: BuildDir = None,
) -> None:
    """Build the HTML book from complete runs, without executing anything."""
    with _plainly(build_dir):
        from cchbook.publish.build import build as build_book

        began = time.perf_counter()
        path, built = build_book(profile, settings or [], out)
        said = (
            f"built in {time.perf_counter() - began:.0f} s"
            if built
            else "nothing has changed since it was built"
        )
        print(f"{path / 'index.html'}: {said}")


@app.command()
def slides(
    profile: Profile = "quick", settings: Settings = None, build_dir: BuildDir = None
) -> None:
    """Make slides of each chapter from the built book; they work without a network."""
    with _plainly(build_dir):
        from cchbook.publish import slides as publish

        print(*publish.slides(profile, settings or []), sep="\n")


@app.command()
def pdf(
    profile: Profile = "quick", settings: Settings = None, build_dir: BuildDir = None
) -> None:
    """Print the built book as one PDF, with headless Chromium."""
    with _plainly(build_dir):
        from cchbook.publish import slides as publish

        print(publish.pdf(profile, settings or []))


@data_app.command("list")
def data_list() -> None:
    """Every data set, whether it is here, its size and licence."""
    with _plainly():
        from cchbook.data import catalogue

        table = Table(
            "name",
            "here",
            "size",
            "licence",
            "what",
            title=f"data below {catalogue.data_home()}",
        )
        for entry in catalogue.sets():
            size = f"{entry.size / 1e6:,.1f} MB"
            table.add_row(
                entry.name,
                "yes" if entry.present else "no",
                size,
                entry.licence,
                escape(entry.title),
            )
        Console().print(table)


@data_app.command("fetch")
def data_fetch(
    names: Annotated[
        list[str], typer.Argument(help="Data sets to download and verify.")
    ],
) -> None:
    """Download data sets into the data folder; what has arrived is not downloaded
    again.
    """
    with _plainly():
        from cchbook.data import catalogue

        for name in [
            catalogue.get(name).name for name in names
        ]:  # no download before all names are known
            with _bar(Console(stderr=True)) as bar:
                task = bar.add_task(name, total=None)
                found = catalogue.fetch(
                    name,
                    lambda done, total, bar=bar, task=task: bar.update(
                        task, completed=done, total=total
                    ),
                )
            print(f"{name}: {found.path} sha256 {found.sha256}")


@data_app.command("verify")
def data_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names (default: all that are here).")
    ] = None,
) -> None:
    """Compare data sets with the published checksums; exit code 1 where one differs or
    is not here.
    """
    with _plainly():
        from cchbook.data import catalogue

        wrong = 0
        for name in names or [
            entry.name for entry in catalogue.sets() if entry.present
        ]:
            try:
                print(f"{name}: sha256 {catalogue.verify(name)}")
            except (FileNotFoundError, ValueError) as error:
                wrong += 1
                print(error, file=sys.stderr)
        if wrong:
            raise typer.Exit(1)


def _workers() -> int:
    """One for each core; one where there is a GPU, whose memory the jobs would share."""
    from cchbook.runs import records

    if shutil.which("nvidia-smi"):
        import torch

        return 1 if torch.cuda.is_available() else records.cores()
    return records.cores()


# What is shown ------------------------------------------------------------------------


@contextmanager
def _plainly(build_dir: Path | None = None) -> Iterator[None]:
    """As `cchlib.cli.plainly`, with everything below `build_dir` for the time being."""
    from cchlib.cli import plainly

    before = os.environ.get("CCH_BUILD_DIR")
    with plainly():
        try:
            if build_dir is not None:
                os.environ["CCH_BUILD_DIR"] = str(build_dir.absolute())
            yield
        finally:  # for callers within a process
            if build_dir is not None:
                os.environ.pop("CCH_BUILD_DIR")
                os.environ.update({"CCH_BUILD_DIR": before} if before else {})


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def _shown(outcomes: Iterable, total: int, console: Console) -> Iterator:
    """Pass the outcomes on: a bar on a terminal, a line for each elsewhere."""
    with _bar(console) if console.is_terminal else _no_bar() as bar:
        task = bar.add_task("runs", total=total) if bar else None
        for count, outcome in enumerate(outcomes, 1):
            if bar:
                bar.advance(task)
            if outcome.status == "failed" or not bar and outcome.status == "done":
                words = (
                    f"[{count}/{total}]",
                    outcome.job.notebook,
                    outcome.job.key,
                    outcome.status,
                    f"{outcome.seconds:.1f} s",
                    outcome.why,
                )
                console.print(escape(" ".join(words).rstrip()), highlight=False)
            yield outcome


@contextmanager
def _no_bar() -> Iterator[None]:
    yield None


def _summary(
    console: Console, outcomes: list, total: int, seconds: float, store: str
) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    counts["not run"] = total - len(outcomes)
    said = ", ".join(
        f"{counts[status]} {status}"
        for status in ("done", "kept", "failed", "not run")
        if counts[status]
    )
    rows = (
        outcomes
        if total <= ROWS
        else [outcome for outcome in outcomes if outcome.status == "failed"]
    )
    if rows:
        table = Table("notebook", "overrides", "key", "status", "seconds", "why")
        for outcome in sorted(rows, key=lambda o: (o.job.notebook, o.job.key)):
            changed = " ".join(
                f"{name}={value}" for name, value in outcome.job.overrides.items()
            )
            why = f"{outcome.why} (see {outcome.copy})" if outcome.copy else outcome.why
            spent = "" if outcome.status == "kept" else f"{outcome.seconds:.1f}"
            table.add_row(
                *map(
                    escape,
                    (
                        outcome.job.notebook,
                        changed,
                        outcome.job.key,
                        outcome.status,
                        spent,
                        why,
                    ),
                )
            )
        console.print(table)
    console.print(
        escape(
            f"{said or 'nothing to run'} in {seconds:.1f} s; runs are below {store}"
        ),
        highlight=False,
    )
