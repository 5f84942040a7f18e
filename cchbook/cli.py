"""`cch run`, `build`, `slides`, `pdf` and `data`: the making of the book."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

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

from cchdecide.commands import plainly

app = typer.Typer()  # its commands are put into that of `cchdecide.cli`
data_app = typer.Typer(
    no_args_is_help=True,
    help="The data sets: which there are, fetch them, verify them.",
)
app.add_typer(data_app, name="data")


def _name_checkout() -> None:
    """Say which checkout is meant where it isn't the one around."""
    from cchbook.runs import places

    root = places.repository()
    if root is not None and "CCH_ROOT" not in os.environ:
        if root != Path.cwd() and root not in Path.cwd().parents:
            print(f"cch: in the checkout {root}", file=sys.stderr)


def _everything_below(context: typer.Context, folder: Path | None) -> Path | None:
    """Say where everything goes while the command runs."""
    _name_checkout()
    if folder is not None:
        before = os.environ.get("CCH_BUILD_DIR")
        os.environ["CCH_BUILD_DIR"] = str(folder.absolute())

        @context.call_on_close  # for callers within a process
        def restore() -> None:
            del os.environ["CCH_BUILD_DIR"]
            os.environ.update({"CCH_BUILD_DIR": before} if before else {})

    return folder


BuildDir = Annotated[
    Path | None,
    typer.Option(
        callback=_everything_below,
        help="Where everything goes (default: CCH_BUILD_DIR, or _build).",
    ),
]
Profile = Annotated[str, typer.Option(help="quick, paper or smoke.")]
Output = Annotated[
    str | None,
    typer.Option(
        help="Folder or URL (s3://, gs://) of the runs (default: runs in the build "
        "folder)."
    ),
]
Runs = Annotated[
    str | None,
    typer.Option(
        help="Folder or URL of the runs that the book is made of, the --output of "
        "their `cch run` (default: runs in the build folder)."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help=(
            "Override a parameter (NOTEBOOK.NAME=VALUE for one notebook); "
            "may be repeated."
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
            help="Processes at once, each with its share of the cores (default: as "
            "many as there are cores; one where there is a GPU).",
        ),
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Address of a Dask scheduler to hand the jobs to."),
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="A YAML grid.")
    ] = None,
    output: Output = None,
    timeout: Annotated[
        float | None, typer.Option(min=0, help="Seconds that a job may take.")
    ] = None,
    cell_timeout: Annotated[
        int | None, typer.Option(min=1, help="Seconds that a cell may take.")
    ] = None,
    retries: Annotated[
        int,
        typer.Option(
            min=0,
            help="How often a job that its machine killed is tried again; one whose "
            "notebook failed never is.",
        ),
    ] = 0,
    again: Annotated[
        bool, typer.Option("--again", help="Also run what is complete.")
    ] = False,
    plain: Annotated[
        bool,
        typer.Option("--plain", help="Take notebooks that keep no record, too."),
    ] = False,
    build_dir: BuildDir = None,
) -> None:
    """Execute notebooks, leaving out runs that are complete; exit code 1 where one
    fails.
    """
    with plainly():
        from cchbook.runs import batch, plan
        from cchbook.runs.job import Limits

        if cluster and workers:
            raise ValueError(
                "one of --workers and --cluster must be given, got both: a cluster "
                "brings its own workers"
            )
        grid = plan.read_sweep(sweep) if sweep else None
        settings = settings or []
        for said in plan.readings(settings):
            print(f"cch: {said}", file=sys.stderr)
        limits = Limits(timeout, cell_timeout, again)
        asked = (notebooks or [], profile, settings, grid, output, split or [], plain)
        todo = batch.Batch(*asked, limits, retries)
        console = Console(soft_wrap=not sys.stdout.isatty())
        outcomes, began = [], time.perf_counter()
        # the end of a batch job's time, and a plain kill, are told as interruptions
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            if cluster:
                pool = batch.cluster(cluster)
            else:
                # asked for two processes, one alone leaves half of the cores to others
                left = todo.left()
                share = workers or min(_workers(), max(1, left))
                pool = batch.local(share, at_once=min(share, left))
            with pool as workers_at_hand, _bar(console) as bar:
                task = bar.add_task("runs", total=len(todo))
                for outcome in todo.run(workers_at_hand):
                    outcomes.append(outcome)
                    bar.advance(task)
                    _show(console, outcome, f"[{len(outcomes)}/{len(todo)}]")
        finally:  # also of a batch that was broken off
            signal.signal(signal.SIGTERM, before)
            outcomes += todo.broken_off()
            spent = time.perf_counter() - began
            _summary(console, outcomes, len(todo), spent, todo.store.url)
    if any(outcome.status == "failed" for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def record(
    keys: Annotated[list[str], typer.Argument(help="Keys of complete runs.")],
    output: Output = None,
    build_dir: BuildDir = None,
) -> None:
    """Put finished runs under data/recorded, with a line in its README."""
    with plainly():
        from cchbook.runs import recording

        for key in keys:
            print(recording.record(key, output))


@app.command()
def export(
    keys: Annotated[
        list[str], typer.Argument(help="Keys of complete or recorded runs.")
    ],
    to: Annotated[
        Path, typer.Option("--ro-crate", metavar="ZIP", help="The zip to write.")
    ],
    output: Output = None,
    build_dir: BuildDir = None,
) -> None:
    """Pack finished runs with their notebooks, parameters, data checksums and versions
    as a Process Run Crate, which others' tools read.
    """
    with plainly():
        from cchbook.publish import crate

        print(crate.export(keys, to, output))


@app.command()
def status(
    batch: Annotated[
        str | None, typer.Argument(help="Name of a batch (default: the newest).")
    ] = None,
    output: Output = None,
    build_dir: BuildDir = None,
) -> None:
    """Say what of a batch is done, failed or missing, and what runs; works while it
    runs, from any machine that sees its --output.
    """
    with plainly():
        from cchbook.runs import watch
        from cchbook.runs.store import Store

        store = Store(output)
        began, lines = watch.status(store, batch)
        counts = Counter(line.state for line in lines)
        words = ("done", "running", "failed", "missing")
        said = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
        print(f"{said} of {len(lines)}; {began}; runs are below {store.url}")
        # plain lines, with full paths: they are read by eyes and by grep
        for line in lines:
            changed = " ".join(f"{k}={v}" for k, v in line.overrides.items())
            words = (line.state, line.notebook, line.key, changed, line.said)
            print(" ".join(word for word in words if word))


@app.command()
def collect(
    notebook: Annotated[
        str | None, typer.Argument(help="Of this notebook (default: of all).")
    ] = None,
    to: Annotated[
        Path, typer.Option("-o", "--to", help="The table: .csv or .parquet.")
    ] = Path("all.csv"),
    sweep: Annotated[
        Path | None,
        typer.Option(exists=True, dir_okay=False, help="Only the runs of this grid."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option(help="Only runs of this profile.")
    ] = None,
    settings: Settings = None,
    output: Output = None,
    build_dir: BuildDir = None,
) -> None:
    """Put the metrics of complete runs into one tidy table, with their parameters as
    columns.
    """
    with plainly():
        from cchbook.data.files import write_bytes
        from cchbook.runs import batch, plan
        from cchbook.runs.store import collect as collected

        if to.suffix not in (".csv", ".parquet"):
            raise ValueError(f"-o must end in .csv or .parquet, got {to}")
        if to.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise ValueError(
                f"-o must end in .csv where pyarrow is not installed, got {to}: "
                "pip install pyarrow"
            )
        if sweep:
            names, grid = [notebook] if notebook else [], plan.read_sweep(sweep)
            planned = batch.Batch(
                names, profile or "quick", settings or [], grid, output
            )
            done = planned.complete()
            jobs = [*planned.first, *planned.late(done)]
            if missing := sum(job.run not in done for job in jobs):
                said = f"cch: {missing} of {len(jobs)} runs are missing"
                print(said, file=sys.stderr)
            table = collected(notebook, output, [job.key for job in jobs])
        else:
            table = collected(notebook, output, None, profile, settings or [])
        if to.suffix == ".csv":
            content = table.to_csv(index=False).encode()
        else:
            content = table.to_parquet(None, index=False, engine="pyarrow")
        write_bytes(to, content)
        print(f"{to}: {len(table)} rows of {table['key'].nunique()} runs")


@app.command()
def build(
    profile: Profile = "quick",
    settings: Settings = None,
    runs: Runs = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder that the HTML pages go to (default: html in the build folder)."
        ),
    ] = None,
    build_dir: BuildDir = None,
) -> None:
    """Build the HTML book from complete runs, without executing anything."""
    with plainly():
        from cchbook.publish.build import build as build_book
        from cchbook.publish.slides import of_book

        began = time.perf_counter()
        path, built = build_book(profile, settings or [], out, runs)
        of_book(path)
        said = (
            f"built in {time.perf_counter() - began:.0f} s"
            if built
            else "nothing has changed since it was built"
        )
        print(f"{path / 'index.html'}: {said}")


@app.command()
def slides(
    chapters: Annotated[
        list[str] | None,
        typer.Argument(help="Of these, from their own runs alone (default: of all)."),
    ] = None,
    profile: Profile = "quick",
    settings: Settings = None,
    runs: Runs = None,
    as_pdf: Annotated[
        bool, typer.Option("--pdf", help="Also print them, one slide a page.")
    ] = False,
    build_dir: BuildDir = None,
) -> None:
    """Make slides of each chapter from its page; they work without a network. Those of
    the whole book lie in its folder `slides`, where `cch build` puts them.
    """
    with plainly():
        from cchbook.publish import slides as publish

        made = publish.slides(profile, settings or [], runs, chapters or ())
        if as_pdf:
            made += [publish.print_slides(path) for path in made]
        print(*made, sep="\n")


@app.command()
def student(
    notebook: Annotated[str, typer.Argument(help="Name of a chapter's notebook.")],
    to: Annotated[
        Path | None,
        typer.Option("-o", "--to", help="The file (default: student_NOTEBOOK.ipynb)."),
    ] = None,
    profile: Profile = "quick",
    settings: Settings = None,
) -> None:
    """Make a student's notebook of a chapter: the experiment and the exercises, without
    solutions, records and the numbers in the text.
    """
    _name_checkout()
    with plainly():
        from cchbook.publish import student as publish

        out = to or Path(f"student_{notebook}.ipynb")
        print(publish.write(notebook, out, profile, settings or []))


@app.command()
def pdf(
    profile: Profile = "quick",
    settings: Settings = None,
    runs: Runs = None,
    build_dir: BuildDir = None,
) -> None:
    """Print the built book as one PDF, with headless Chromium."""
    with plainly():
        from cchbook.publish import slides as publish

        print(publish.pdf(profile, settings or [], runs))


@data_app.command("list")
def data_list() -> None:
    """Every data set, whether it is here, its size and licence."""
    with plainly():
        from cchbook.data import catalogue

        title = f"data below {catalogue.data_home()}"
        table = Table("name", "here", "size", "licence", "what", title=title)
        for entry in catalogue.sets():
            here, size = "yes" if entry.present else "no", entry.size / 1e6
            words = (entry.name, here, f"{size:,.1f} MB", entry.licence)
            table.add_row(*words, escape(entry.title))
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
    with plainly():
        from cchbook.data import catalogue

        # no download before all names are known
        for name in [catalogue.get(name).name for name in names]:
            with _bar(Console(stderr=True)) as bar:
                task = bar.add_task(name, total=None)

                def show(done: int, total: int | None, update=bar.update, task=task):
                    update(task, completed=done, total=total)

                found = catalogue.fetch(name, show)
            print(f"{name}: {found.path} sha256 {found.sha256}")
            if not catalogue.get(name).present:
                print(found.note)


@data_app.command("verify")
def data_verify(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names (default: all that are here).")
    ] = None,
) -> None:
    """Compare data sets with the published checksums; exit code 1 where one differs or
    is not here.
    """
    with plainly():
        from cchbook.data import catalogue

        wrong = 0
        here = names or [entry.name for entry in catalogue.sets() if entry.present]
        if not here:
            print(
                f"none of the {len(catalogue.sets())} data sets is in "
                f"{catalogue.data_home()}: see `cch data list`, `cch data fetch NAME`"
            )
        for name in here:
            try:
                print(f"{name}: sha256 {catalogue.verify(name)}")
            except (FileNotFoundError, ValueError) as error:
                wrong += 1
                print(error, file=sys.stderr)
        if wrong:
            raise typer.Exit(1)


@data_app.command("describe")
def data_describe(
    name: Annotated[str, typer.Argument(help="A data set of `cch data list`.")],
    to: Annotated[
        Path | None, typer.Option("-o", "--to", help="A file (default: shown).")
    ] = None,
) -> None:
    """Describe a data set as Croissant (JSON-LD), which others' tools read: addresses,
    checksums, formats, licence, citation, columns.
    """
    with plainly():
        import json

        from cchbook.data import croissant
        from cchbook.data.files import write_bytes

        text = json.dumps(croissant.describe(name), indent=2, ensure_ascii=False) + "\n"
        if to is None:
            return print(text, end="")
        write_bytes(to, text.encode())
        print(to)


def _workers() -> int:
    """One for each core; one where there is a GPU,
    whose memory the jobs would share.
    """
    from cchbook.runs import records

    if shutil.which("nvidia-smi"):
        import torch

        return 1 if torch.cuda.is_available() else records.cores()
    return records.cores()


# What is shown ------------------------------------------------------------------------


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _show(console: Console, outcome: Any, count: str) -> None:
    """A line for each job that ends, and where to look where it failed."""
    if outcome.status == "kept":
        return
    job, seconds = outcome.job, f"{outcome.seconds:.1f} s"
    changed = [f"{name}={value}" for name, value in job.overrides.items()]
    see = f"(see {outcome.copy})" if outcome.copy else ""
    words = [count, job.notebook, job.key, *changed, outcome.status, seconds]
    line = " ".join(word for word in (*words, outcome.why, see) if word)
    console.print(escape(line), highlight=False)


def _summary(
    console: Console, outcomes: list, total: int, seconds: float, store: str
) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    counts["not run"] = max(0, total - len(outcomes))
    words = ("done", "kept", "failed", "interrupted", "not run")
    said = ", ".join(f"{counts[word]} {word}" for word in words if counts[word])
    told = f"{said or 'nothing to run'} in {seconds:.1f} s; runs are below {store}"
    console.print(escape(told), highlight=False)
