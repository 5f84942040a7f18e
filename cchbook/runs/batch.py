"""Many papermill runs: plan them, leave out what is complete, hand the rest to Dask.

A job is one notebook with one set of parameters (`plan.Job`); `job.execute` runs it on
a Dask worker of this machine or of a cluster. What is complete is known by its key, so
that the same batch goes on after whatever broke it off.
"""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cchbook.runs import files, keys, pieces, plan, predictions, records
from cchbook.runs import job as jobs
from cchbook.runs.job import Limits, Outcome
from cchbook.runs.notebook import Notebook
from cchbook.runs.places import HOST
from cchbook.runs.plan import Job
from cchbook.runs.store import Store

if TYPE_CHECKING:
    from distributed import Client, Future

ANSWER = 10  # seconds within which a scheduler answers
NO_WORKERS = "5 minutes"  # without a worker of this machine: its jobs fail


class Batch:
    """Jobs with their keys, planned; raises ValueError before anything runs.

    Parameters
    ----------
    names
        Notebooks, by name or path; all of the checkout's (or of the sweep's) where none
        is named.
    profile
        "quick", "paper" or "smoke".
    settings
        `name=value` overrides, as on the command line.
    sweep
        Of `plan.read_sweep`.
    output
        URL of the store; by default `runs` in the build folder.
    split
        Parameters along which runs are cut into pieces, each a job: see
        `cchbook.runs.pieces`. Where no notebook is named those that declare none of
        them run whole.
    plain
        Take notebooks that keep no record of their own, too: they get a bare one.
    limits
        Of each job's time, and whether complete runs are made again.
    retries
        How often a job that failed of its machine is tried again.
    """

    def __init__(
        self,
        names: Sequence[str] = (),
        profile: str = "quick",
        settings: Sequence[str] = (),
        sweep: Mapping[str, list[dict]] | None = None,
        output: str | None = None,
        split: Sequence[str] = (),
        plain: bool = False,
        limits: Limits = Limits(),
        retries: int = 0,
    ):
        chosen = plan.notebooks(names or list(sweep or ()))
        for notebook in () if plain else chosen:
            plan.refuse_without_record(notebook)
        stamp = time.strftime("%Y%m%dT%H%M%S")
        self.name = f"{stamp}-{HOST}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
        self.limits = replace(limits, batch=self.name)
        self.retries = retries
        self.store = Store(output)
        self.profile = profile
        given = plan.overrides(settings, chosen)
        if stray := set(sweep or ()) - {notebook.name for notebook in chosen}:
            raise ValueError(
                f"sweep names {sorted(stray)}, not among the notebooks of this batch"
            )
        planned = {}
        for n in chosen:
            grid = (sweep or {}).get(n.name, [{}])
            points = [{**given[n.name], **point} for point in grid]
            planned[n.name] = plan.jobs(n, profile, points, plain)
        first = [job for n in chosen if not n.after for job in planned[n.name]]
        # a sweep may name a point twice
        self.first = list({job.run: job for job in first}.values())
        self.pieces: dict[tuple[str, str], list[Job]] = {}
        for n in chosen if split else ():
            along = [name for name in split if names or name in n.split]
            for job in planned[n.name] if along else ():
                self.pieces[job.run] = plan.in_pieces(n, job, along)
        self._late = [
            (job, self._read_by(n))
            for n in chosen
            if n.after
            for job in planned[n.name]
        ]

    def __len__(self) -> int:
        of_pieces = {p.run for found in self.pieces.values() for p in found}
        return len(self.first) + len(self._late) + len(of_pieces)

    def late(self, done: set[tuple[str, str]]) -> list[Job]:
        """The jobs that read others' records, given the complete runs: what they read
        is part of their key.
        """
        ready = []
        for job, read in self._late:
            after = tuple(other.run for other in read if other.run in done)
            known = keys.ingredients(Notebook.read(job.path))
            key = keys.run_key(known, job.parameters, [key for _, key in after])
            ready.append(replace(job, key=key, after=after))
        return ready

    def complete(self) -> set[tuple[str, str]]:
        """The complete runs, (notebook, key), of all notebooks that matter here."""
        read = [job for _, others in self._late for job in others]
        late = [job for job, _ in self._late]
        return self.store.all_complete(j.notebook for j in (*self.first, *read, *late))

    def _kept(self) -> set[tuple[str, str]]:
        return set() if self.limits.again else self.complete()

    def _parts(self, jobs: Sequence[Job]) -> list[Job]:
        """Jobs with the pieces of those that are cut in their places; a piece that two
        runs share is one job.
        """
        parts = [part for job in jobs for part in self.pieces.get(job.run, [job])]
        return list({part.run: part for part in parts}.values())

    def left(self) -> int:
        """How many jobs may run at once."""
        kept = self._kept()
        wanted = [job for job in self.first if job.run not in kept]
        missing = [job for job in self._parts(wanted) if job.run not in kept]
        return max(len(missing), len(self._late))

    def run(self, pool: Pool) -> Iterator[Outcome]:
        """Run what is missing; yields one outcome a job, in the order in which they
        end.

        Raises
        ------
        ConnectionError
            The cluster's scheduler went away. What is complete is kept: the same batch
            goes on from there.
        """
        self.store.sweep()
        kept = self._kept()
        wanted = [job for job in self.first if job.run not in kept]
        todo = self._parts(wanted)
        known = {job.run: job for job in (*self.first, *todo)}
        yield from (Outcome(job, "kept") for run, job in known.items() if run in kept)
        self._note(pool)
        cut = [job for job in wanted if job.run in self.pieces]
        yield from self._executed([j for j in todo if j.run not in kept], cut, pool)
        if self._late:  # what they read is there now, or will not be
            late = self.late(self.complete())
            self._note(pool, late)
            kept = self._kept()
            yield from (Outcome(job, "kept") for job in late if job.run in kept)
            yield from self._executed([j for j in late if j.run not in kept], [], pool)

    def _executed(
        self, todo: list[Job], cut: list[Job], pool: Pool
    ) -> Iterator[Outcome]:
        """Hand jobs to the workers; their outcomes, as they end, and those of the runs
        that are cut, as their last pieces do.
        """
        from distributed import as_completed

        submitted = {
            pool.client.submit(
                jobs.execute,
                job,
                self.store.url,
                pool.slots,
                self.limits,
                key=f"{job.notebook}~{job.key}~{self.name}",
                retries=self.retries,
                priority=-place,  # what is submitted at once has no order else
            ): job
            for place, job in enumerate(todo)
        }
        left = {job.run for job in todo}
        ended: Iterator[Future] = as_completed(list(submitted), loop=pool.client.loop)
        while True:
            for job in cut:
                if left.isdisjoint(p.run for p in self.pieces[job.run]):
                    yield self._put_together(job)
            cut = [
                job
                for job in cut
                if not left.isdisjoint(p.run for p in self.pieces[job.run])
            ]
            if not left:
                return
            future = next(ended)
            job = submitted[future]
            left.discard(job.run)
            yield self._outcome(job, future, pool)

    def _outcome(self, job: Job, future: Future, pool: Pool) -> Outcome:
        """What became of a job that has ended."""
        if future.cancelled():
            raise ConnectionError(
                f"{pool.name} went away; what is complete is kept, "
                "and the same command goes on from there"
            )
        error = future.exception()
        if error is not None:  # the machine's or the store's: the others go on
            kind = type(error).__name__
            known = {
                "KilledWorker": "its workers were killed one after the other "
                "(out of memory?)",
                "MachineFailure": str(error),
                "NoWorkerError": "no worker is left on this machine",
            }
            told = self.store.failures(job.notebook).get(job.key, {})
            why = known.get(kind, f"{kind}: {error}")
            return Outcome(job, "failed", why=why, copy=told.get("copy", ""))
        outcome = future.result()
        if outcome.status == "done" and not self.store.complete(*job.run):
            why = (
                f"its run is not at {self.store.url} as this machine sees it; --output "
                "must be a place that it shares with the workers"
            )
            return replace(outcome, status="failed", why=why)
        return outcome

    def broken_off(self) -> list[Outcome]:
        """Of a batch that was left early: the jobs that had begun."""
        known = [*self.first, *(p for found in self.pieces.values() for p in found)]
        late = [job for job, _ in self._late]
        found = []
        for notebook, key in self.store.begun(self.name):
            like = [job for job in known if job.run == (notebook, key)]
            like += [job for job in late if job.notebook == notebook]
            found.append(Outcome(replace(like[0], key=key), "interrupted"))
        self.store.sweep()
        return found

    def _note(self, pool: Pool, late: Sequence[Job] | None = None) -> None:
        """Write down what is to run, for `cch status`: all jobs in the order of the
        grid, each run before its pieces. Those that read others' records have no key
        until these are there.
        """
        found = []
        for job in self.first:
            found += [job, *self.pieces.get(job.run, [])]
        found += [job for job, _ in self._late] if late is None else late
        unknown = {id(job) for job, _ in self._late} if late is None else set()
        told = {
            "host": HOST,
            "pid": os.getpid(),
            "since": time.time(),
            "scheduler": pool.client.scheduler.address,
            "jobs": [
                {
                    "notebook": job.notebook,
                    "key": None if id(job) in unknown else job.key,
                    "overrides": job.overrides,
                    "piece": job.piece,
                }
                for job in found
            ],
        }
        self.store.put_batch(self.name, told)

    def _put_together(self, job: Job) -> Outcome:
        """Make the record of a run whose pieces are complete."""
        of_run = self.pieces[job.run]
        missing = [p for p in of_run if not self.store.complete(*p.run)]
        if missing:
            why = f"{len(missing)} of its {len(of_run)} pieces failed"
            return Outcome(job, "failed", why=why)
        whole = {
            "notebook": job.notebook,
            "profile": job.profile,
            "overrides": job.overrides,
            "parameters": job.parameters,
            "key": job.key,
        }
        try:
            with self.store.workplace(self.name, *job.run) as place:
                fetched = [self.store.fetch(*p.run, into=place) for p in of_run]
                found = [(p.piece, records.read(f)) for p, f in zip(of_run, fetched)]
                folder = place / "run"
                record, metrics = pieces.put_together(whole, found)
                files.write_text(folder / "metrics.csv", metrics.to_csv(index=False))
                names = ["metrics.csv"]
                said = pieces.predictions_of([record for _, record in found])
                if len(said):
                    names.append(predictions.NAME)
                    files.write_bytes(folder / predictions.NAME, said.to_bytes())
                record["files"] = files.inventory(folder, names)
                files.write_json(folder / "record.json", record)
                again = self.limits.again
                published = self.store.publish(folder, *job.run, again=again)
        except (OSError, ValueError) as error:
            return Outcome(job, "failed", why=str(error))
        if not published:
            return Outcome(job, "kept")
        why = f"put together of {len(of_run)} pieces"
        return Outcome(job, "done", record["seconds"], why)

    def _read_by(self, notebook: Notebook) -> list[Job]:
        """Jobs whose records `notebook` reads: this batch's, else those of the same
        profile as it stands.
        """
        everyone = notebook.after == "all"
        mine = {job.notebook for job in self.first}
        others = {n.name: n for n in plan.notebooks() if not n.after}
        names = list(dict.fromkeys([*others, *mine])) if everyone else notebook.after
        found = []
        for name in names:
            if name in mine:
                found += [job for job in self.first if job.notebook == name]
            elif name in others:
                found += plan.jobs(others[name], self.profile, [{}])
            else:
                raise ValueError(
                    f"`cch.after` of {notebook.name} must be of {', '.join(others)}, "
                    f"which read no records themselves, got {name!r}"
                )
        return found


# Where it runs ------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Dask workers, and how many jobs share this machine, or each of {host: jobs}."""

    name: str
    client: Client
    slots: int | Mapping[str, int]


@contextmanager
def local(workers: int, at_once: int) -> Iterator[Pool]:
    """Processes of this machine, `at_once` of them, each with one thread and its share
    of the cores, as if there were `workers`; leaving early ends those that run.
    """
    import dask
    from distributed import Client, LocalCluster

    # a task that waits at a busy worker would be one that neither runs nor can move
    config = {
        "distributed.scheduler.worker-saturation": 1.0,
        # a worker that was not replaced fails its jobs; none that come wait for ever
        "distributed.scheduler.no-workers-timeout": NO_WORKERS,
        "distributed.admin.tick.limit": "1h",  # a full machine is no news
        # of jobs of minutes; else idle workers take a seventh of a core
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "5s",
        "distributed.worker.profile.enabled": False,
    }
    with (
        tempfile.TemporaryDirectory(prefix="cch-") as scratch,
        dask.config.set(config),
        LocalCluster(
            n_workers=at_once,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=":0",
            memory_limit=0,
            silence_logs=logging.CRITICAL,
            local_directory=scratch,
        ) as cluster,
        Client(cluster) as client,
    ):
        client.run(_quiet)
        try:
            yield Pool("this machine", client, workers)
        finally:
            for nanny in cluster.workers.values():
                nanny.close_gracefully()  # or it would start the next one
                with suppress(ProcessLookupError, TypeError):
                    os.kill(nanny.pid, signal.SIGKILL)


def _quiet() -> None:
    """What kernels print past the notebook is not this command's to say."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


@contextmanager
def cluster(address: str) -> Iterator[Pool]:
    """The workers of a Dask scheduler; a job whose worker dies is run again on another
    one.
    """
    from distributed import Client

    try:
        client = Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no scheduler answers at {address} within {ANSWER} s ({error}); the "
            "address must be as `dask scheduler` prints it (tcp://host:8786)"
        ) from None
    with client:
        slots: dict[str, int] = {}
        for worker, about in client.scheduler_info()["workers"].items():
            host = urlsplit(worker).hostname or ""
            slots[host] = slots.get(host, 0) + about["nthreads"]
        yield Pool(f"the scheduler at {address}", client, slots)
