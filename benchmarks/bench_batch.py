"""What a batch costs: overhead per job, speed-up with two workers, and ten thousand
jobs at once.

Writes the table and the figure of the book's page on many machines. Run on a machine
that does nothing else: `python benchmarks/bench_batch.py` (about four minutes on two
cores).
"""

from __future__ import annotations

import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import psutil

from cchbook.runs import batch, records
from cchbook.runs import job as jobs
from cchbook.runs.job import Job, Outcome
from cchbook.runs.store import Store

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

BOOK = Path(__file__).resolve().parents[1] / "book"
MANY = 10_000
WORK = (
    "t = 0\nfor k in range(steps): t += k"  # one core's, whatever the number of threads
)


def main() -> None:
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["CCH_ROOT"] = folder
        checkout(Path(folder))
        rows, lines = [], []
        for row in itertools.chain(overhead(Path(folder)), speed_up(), many()):
            what, value, unit, digits = row
            rows.append(row)
            lines.append(f"| {what} | {value:,.{digits}f} {unit} |")
            print(lines[-1], flush=True)
    where = (
        f"{platform.machine()}, {records.cores()} cores, "
        f"load {busy:.1f} before it began"
    )
    today = time.strftime("%Y-%m-%d")
    note = f"Measured by `benchmarks/bench_batch.py` on {today} ({where})."
    text = "\n".join(["| what | measured |", "|---|---:|", *lines, "", note, ""])
    records.write_text(BOOK / "bench_batch.md", text)
    draw(
        {what: value for what, value, *_ in rows}, BOOK / "_static" / "bench_batch.svg"
    )


def checkout(root: Path) -> None:
    """One notebook that does nothing or works for a while."""
    (root / "notebooks" / "profiles").mkdir(parents=True)
    code = [
        "i: int = 0\nsteps: int = 0",
        "from cchbook.runs import records\nrun = records.start('01_toy', globals())",
        WORK,
        "run.log('t', t)\nrun.finish()",
    ]
    cells = [
        {
            "cell_type": "code",
            "id": f"c{n}",
            "source": text,
            "outputs": [],
            "execution_count": None,
            "metadata": {"tags": ["parameters"]} if n == 0 else {},
        }
        for n, text in enumerate(code)
    ]
    kernel = {
        "kernelspec": {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
    }
    path = root / "notebooks" / "01_toy.ipynb"
    path.write_text(
        json.dumps(
            {"cells": cells, "metadata": kernel, "nbformat": 4, "nbformat_minor": 5}
        )
    )


def clocked(planned: batch.Batch, pool: batch.Pool) -> float:
    """Seconds that a batch takes; every job has to succeed."""
    began = time.perf_counter()
    outcomes = list(planned.run(pool))
    assert all(outcome.status == "done" for outcome in outcomes), next(
        o for o in outcomes if o.status != "done"
    )
    return time.perf_counter() - began


def overhead(root: Path, count: int = 8) -> Iterator[tuple]:
    """A trivial job's seconds in a batch, against one call of the `papermill` command
    each.
    """
    with batch.local(1) as pool:
        clocked(
            batch.Batch(settings=["i=-1"]), pool
        )  # the worker's papermill is imported once
        ours = (
            clocked(
                batch.Batch(sweep={"01_toy": [{"i": i} for i in range(count)]}), pool
            )
            / count
        )
    began = time.perf_counter()
    for i in range(3):
        command = [
            sys.executable,
            "-m",
            "papermill",
            root / "notebooks/01_toy.ipynb",
            root / f"out{i}.ipynb",
        ]
        subprocess.run(
            [*command, "-p", "i", str(1000 + i)],
            check=True,
            capture_output=True,
            cwd=root,
        )
    theirs = (time.perf_counter() - began) / 3
    yield "overhead per job: a trivial notebook", ours, "s", 2
    yield "the same by one `papermill` command a notebook", theirs, "s", 2
    yield "ratio", ours / theirs, "", 2


def speed_up(count: int = 6, steps: int = 150_000_000) -> Iterator[tuple]:
    """Jobs of some ten seconds of one core, with one and two workers, here and on a
    cluster.
    """
    for place in ("local processes", "Dask workers"):
        seconds = {}
        for workers in (1, 2):
            kind = ["local processes", "Dask workers"].index(place)
            sweep = {
                "01_toy": [
                    {"i": 100 * workers + 1000 * kind + i, "steps": steps}
                    for i in range(count)
                ]
            }
            warm = batch.Batch(
                sweep={
                    "01_toy": [
                        {"i": -9 - 100 * workers - 1000 * kind - n}
                        for n in range(workers)
                    ]
                }
            )
            with dask(workers) if kind else batch.local(workers) as pool:
                clocked(warm, pool)
                seconds[workers] = clocked(batch.Batch(sweep=sweep), pool)
            yield f"{count} jobs, {workers} {place}", seconds[workers], "s", 1
        yield f"speed-up with 2 {place}", seconds[1] / seconds[2], "", 2


def many() -> Iterator[tuple]:
    """A batch of trivial jobs whose execution is simulated: what is left is the batch
    itself.
    """
    execute, jobs.execute = jobs.execute, simulated
    sweep = {"01_toy": [{"i": i, "steps": 1} for i in range(MANY)]}
    me, seconds = psutil.Process(), {}
    try:
        for place in ("local", "Dask"):
            shutil.rmtree(records.build_dir(), ignore_errors=True)
            with dask(2) if place == "Dask" else batch.local(2) as pool:
                before, began = me.memory_info().rss, time.perf_counter()
                planned = batch.Batch(sweep=sweep)
                seconds["plan"] = time.perf_counter() - began
                clocked_seconds = clocked(planned, pool)
                yield (
                    f"{MANY:,} simulated jobs, 2 {place} workers, per job",
                    1e3 * clocked_seconds / MANY,
                    "ms",
                    2,
                )
                yield (
                    f"client's memory for them ({place})",
                    (me.memory_info().rss - before) / 2**20,
                    "MiB",
                    0,
                )
        yield f"plan {MANY:,} jobs", seconds["plan"], "s", 2
        shutil.rmtree(planned.store.where(*planned.first[77].run))
        began = time.perf_counter()
        with batch.local(2) as pool:
            outcomes = list(batch.Batch(sweep=sweep).run(pool))
        assert (
            sum(outcome.status == "done" for outcome in outcomes) == 1
            and len(outcomes) == MANY
        )
        yield (
            f"resume with {MANY - 1:,} done (plan, look, run one)",
            time.perf_counter() - began,
            "s",
            2,
        )
    finally:
        jobs.execute = execute


def simulated(job: Job, output: str, slots: object, limits: object = None) -> Outcome:
    """What `job.execute` does around papermill: work in a folder of its own, publish
    it.
    """
    store = Store(output)
    if store.complete(*job.run):
        return Outcome(job, "kept")
    with store.workplace(*job.run) as place:
        folder = place.folder
        for name in (f"{job.notebook}.ipynb", "metrics.csv", "record.json"):
            (folder / name).write_text("{}")
        return Outcome(job, "done" if store.publish(folder, *job.run) else "kept")


@contextmanager
def dask(workers: int) -> Iterator[batch.Pool]:
    """A scheduler and single-threaded worker processes on this machine."""
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address=None
    ) as cluster:
        with batch.cluster(cluster.scheduler_address) as pool:
            yield pool


def draw(measured: dict[str, float], target: Path) -> None:
    """Seconds with one and two workers, and the overhead against the plain command."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    bars = {
        what: value
        for what, value in measured.items()
        if " jobs, " in what and "simulated" not in what
    }
    left.barh(
        [what.split(", ")[1] for what in bars],
        bars.values(),
        color=["#7a9cc6", "#2f5d8c"] * 2,
    )
    left.set(xlabel="seconds", title="six jobs of one core each")
    costs = {what: value for what, value in measured.items() if "notebook" in what}
    right.barh(
        ["in a batch", "`papermill` command"], costs.values(), color=["#2f5d8c", "0.7"]
    )
    right.set(xlabel="seconds per job", title="a trivial notebook")
    for axes in (left, right):
        axes.invert_yaxis()
        axes.spines[["top", "right"]].set_visible(False)
    beside = target.with_name(f".{target.name}")
    figure.savefig(beside, format="svg", metadata={"Date": None})
    os.replace(beside, target)


if __name__ == "__main__":
    main()
