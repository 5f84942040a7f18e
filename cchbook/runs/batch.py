"""Many papermill runs: plan them, leave out what is complete, hand the rest to workers.

A job is one notebook with one set of parameters. Where jobs run is the executor's
business: threads of this process, each waiting for a process of its own, or a Dask
cluster; both call `job.execute`. Notebooks that read the records of others (metadata
`cch.after`) come after all that do not.
"""

from __future__ import annotations

import itertools
import json
import math
import os
import queue
import re
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
)
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from cchbook.runs import files, keys, leases, pieces, predictions, records
from cchbook.runs import job as jobs
from cchbook.runs.job import Job, Limits, Outcome
from cchbook.runs.notebook import Notebook, source
from cchbook.runs.store import Store

ANSWER = 10  # seconds within which a scheduler answers
PAUSE = 2.0  # seconds between two looks at what another batch works on
PROFILES = ("quick", "paper", "smoke")


# What to run --------------------------------------------------------------------------


def notebooks(names: Iterable[str] = ()) -> list[Notebook]:
    """The named notebooks (stems or paths), or all of the checkout's, in order."""
    root = records.repository()
    here = sorted((root / "notebooks").glob("*.ipynb")) if root else []
    stems = {path.stem: path for path in here}
    found = []
    for name in names or stems:
        path = stems.get(name, Path(name).absolute())
        if not (path.suffix == ".ipynb" and path.is_file()):
            raise ValueError(
                f"notebook is {name!r}; "
                f"a file or one of {', '.join(stems) or '(none here)'} is wanted"
            )
        found.append(Notebook.read(path))
    for notebook in found:  # runs are filed by name
        if clash := next(
            (
                other
                for other in found
                if other.name == notebook.name and other.path != notebook.path
            ),
            None,
        ):
            raise ValueError(
                f"notebooks {clash.path} and {notebook.path} share a name; "
                "names that differ are wanted"
            )
    found = list({notebook.name: notebook for notebook in found}.values())
    if not found:
        raise ValueError(
            "no notebooks/ in this folder or above it; "
            "the checkout or a notebook's path is wanted"
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
        name, equals, text = setting.partition("=")
        if not equals:
            raise ValueError(f"--set is {setting!r}; name=value is wanted")
        only, _, name = name.strip().rpartition(".")
        if only and only not in found:
            raise ValueError(
                f"--set {setting!r} names notebook {only!r}; "
                f"one of {', '.join(found)} is wanted"
            )
        for notebook in [only] if only else found:
            found[notebook][name] = _value(text)
    return found


def _value(text: str) -> Any:
    """A value of the command line: JSON (which reads 1e-3 as a number), else YAML."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:  # a bare word, or YAML's own way to write a list
        return _yaml(text)


def _yaml(text: str) -> Any:
    try:
        return yaml.safe_load(text)
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
        value = _value(text)
        plain = isinstance(value, str) or json.dumps(value) == text
        if isinstance(value, (bool, int, float)) and not plain and not _number(text):
            told = f"--set {setting} is read as {json.dumps(value)}"
            said.append(f"{told}; {name}='\"{text}\"' would be the text")
    return said


def _number(text: str) -> bool:
    """Whether JSON reads a text as a number, or as true or false."""
    try:
        return isinstance(json.loads(text), (bool, int, float))
    except json.JSONDecodeError:
        return False


def _refuse_odd(name: str, value: Any) -> None:
    """Refuse what a record, which is JSON, can't hold."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"parameter {name!r} is {value}; finite numbers are wanted")
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(
                    f"parameter {name!r} has the key {key!r}; a text is wanted "
                    f'("{key}"), as JSON has no other keys'
                )
            _refuse_odd(name, inner)
    elif isinstance(value, list):
        for inner in value:
            _refuse_odd(name, inner)
    elif value is not None and not isinstance(value, (bool, int, float, str)):
        raise ValueError(
            f"parameter {name!r} is {value!r} of type {type(value).__name__}; "
            "a number, text, true, false, null, or lists and mappings of them "
            f"are wanted (a date as text: '\"{value}\"')"
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
    if profile not in PROFILES:
        raise ValueError(
            f"profile is {profile!r}; one of {', '.join(PROFILES)} is wanted"
        )
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
                f"parameter {name!r} is not declared by {notebook.name}; "
                f"one of {', '.join(final)} is wanted"
            )
        _refuse_odd(name, value)
        if not notebook.parameters[name].accepts(value):
            raise ValueError(
                f"parameter {name!r} of {notebook.name} is {value!r}; "
                f"a value of type {notebook.parameters[name].type} is wanted"
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
            f"sweep {path} holds no mapping; "
            "`notebook: {parameter: [values]}` is wanted"
        )
    sweep = {}
    for notebook, grids in content.items():
        sweep[notebook] = []
        for grid in grids if isinstance(grids, list) else [grids]:
            if not isinstance(grid, dict) or not all(
                isinstance(values, list) for values in grid.values()
            ):
                raise ValueError(
                    f"sweep of {notebook} is {grid!r}; "
                    "`parameter: [values]`, each a list, is wanted"
                )
            sweep[notebook] += [
                dict(zip(grid, point)) for point in itertools.product(*grid.values())
            ]
    return sweep


# The batch ----------------------------------------------------------------------------


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
        Of `read_sweep`.
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
        chosen = notebooks(names or list(sweep or ()))
        for notebook in () if plain else chosen:
            _refuse_without_record(notebook)
        stamp = time.strftime("%Y%m%dT%H%M%S")
        self.name = f"{stamp}-{leases.HOST}-{os.getpid()}-{uuid.uuid4().hex[:4]}"
        self.limits = replace(limits, batch=self.name)
        self.retries = retries
        self._left: dict[Future, Job] = {}
        self.store = Store(output or str(records.build_dir() / "runs"))
        self.profile = profile
        given = overrides(settings, chosen)
        if stray := set(sweep or ()) - {notebook.name for notebook in chosen}:
            raise ValueError(
                f"sweep names {sorted(stray)}, not among the notebooks of this batch"
            )
        grid = {
            notebook.name: (sweep or {}).get(notebook.name, [{}]) for notebook in chosen
        }
        planned = {
            n.name: _plan(
                n,
                profile,
                [{**given[n.name], **point} for point in grid[n.name]],
                plain,
            )
            for n in chosen
        }
        first = [job for n in chosen if not n.after for job in planned[n.name]]
        # a sweep may name a point twice
        self.first = list({job.run: job for job in first}.values())
        self.pieces: dict[tuple[str, str], list[Job]] = {}
        for n in chosen if split else ():
            along = [name for name in split if names or name in n.split]
            for job in planned[n.name] if along else ():
                self.pieces[job.run] = _pieces(n, job, along)
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

    def run(self, pool: Pool) -> Iterator[Outcome]:
        """Run what is missing; yields one outcome a job, in the order in which they
        end.

        Raises
        ------
        ConnectionError
            The cluster's scheduler went away. What is complete is kept: the same batch
            goes on from there.
        """
        plan = {**leases.mine(), "since": time.time(), "profile": self.profile}
        self.store.sweep()
        self.store.put_batch(self.name, {**plan, "jobs": self.plan()})
        yield from self._stage(self.first, pool)
        if self._late:
            late = self.late(self.complete())
            self.store.put_batch(self.name, {**plan, "jobs": self.plan(late)})
            yield from self._stage(late, pool)

    def plan(self, late: Sequence[Job] | None = None) -> list[dict]:
        """All jobs in the order of the grid, each run before its pieces.

        Those that read others' records have no key until these are there, and they are
        given as `late`.
        """
        found = []
        for job in self.first:
            found += map(_told, [job, *self.pieces.get(job.run, [])])
        if late is not None:
            return [*found, *map(_told, late)]
        return [*found, *({**_told(job), "key": None} for job, _ in self._late)]

    def _stage(self, asked: list[Job], pool: Pool) -> Iterator[Outcome]:
        complete = set() if self.limits.again else self.complete()
        yield from (Outcome(job, "kept") for job in asked if job.run in complete)
        wanted = [job for job in asked if job.run not in complete]

        # pieces that two runs share are one job
        in_pieces = [job for job in wanted if job.run in self.pieces]
        of_pieces = {p.run: p for job in in_pieces for p in self.pieces[job.run]}
        yield from (Outcome(p, "kept") for p in of_pieces.values() if p.run in complete)
        whole = [job for job in wanted if job.run not in self.pieces]
        todo = [*whole, *(p for p in of_pieces.values() if p.run not in complete)]

        done = complete & set(of_pieces)
        for job in in_pieces:
            if done.issuperset(p.run for p in self.pieces[job.run]):
                yield self._put_together(job)
        for outcome in self._executed(todo, pool):
            yield outcome
            if (
                outcome.status not in ("done", "kept")
                or outcome.job.run not in of_pieces
            ):
                continue
            done.add(outcome.job.run)
            for job in in_pieces:
                runs = [piece.run for piece in self.pieces[job.run]]
                if outcome.job.run in runs and done.issuperset(runs):
                    yield self._put_together(job)
        for job in in_pieces:
            missing = [p for p in self.pieces[job.run] if p.run not in done]
            if missing:
                why = f"{len(missing)} of its {len(self.pieces[job.run])} pieces failed"
                yield Outcome(job, "failed", why=why)

    def _executed(self, todo: list[Job], pool: Pool) -> Iterator[Outcome]:
        """Hand jobs to the workers; their outcomes, as they end.

        What another batch works on is asked for again until that one is done with it.
        """
        slots = pool.slots
        if isinstance(slots, int) and not pool.fixed:
            slots = min(slots, len(todo))
        ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
        waiting: dict[Future, Job] = {}
        elsewhere: list[Job] = []
        tries = dict.fromkeys((job.run for job in todo), 1)

        def submit(job: Job) -> None:
            task = (jobs.execute, job, self.store.url, slots, self.limits)
            future = pool.executor.submit(*task)
            waiting[future] = job
            future.add_done_callback(ended.put)

        try:
            for job in todo:
                submit(job)
            while waiting or elsewhere:
                try:
                    future = ended.get(timeout=PAUSE if elsewhere else None)
                except queue.Empty:
                    for job in elsewhere:
                        submit(job)
                    elsewhere = []
                    continue
                job = waiting[future]
                outcome = self._outcome(job, future, pool)
                del waiting[future]
                if outcome.status == "elsewhere":
                    elsewhere.append(job)
                    continue
                if outcome.machine and tries[job.run] <= self.retries:
                    tries[job.run] += 1
                    submit(job)
                    continue
                if tries[job.run] > 1:
                    why = f"{outcome.why} (attempt {tries[job.run]})".strip()
                    outcome = replace(outcome, why=why)
                yield outcome
        finally:  # what is left has been broken off: see `broken_off`
            self._left = dict(waiting)

    def _outcome(self, job: Job, future: Future, pool: Pool) -> Outcome:
        """What became of a job that has ended."""
        try:
            outcome = future.result()
        except CancelledError:
            raise ConnectionError(
                f"{pool.name} went away; what is complete is kept, "
                "and the same command goes on from there"
            ) from None
        except Exception as error:  # the worker's or the store's: the others go on
            why = f"{type(error).__name__}: {error}"
            return Outcome(job, "failed", why=why, machine=True)
        if outcome.status == "done" and not self.store.complete(*job.run):
            why = (
                f"its run is not at {self.store.url} as this machine sees it: "
                "an --output that it shares with the workers is wanted"
            )
            return replace(outcome, status="failed", why=why)
        return outcome

    def broken_off(self) -> list[Outcome]:
        """Of a batch that was left early: what became of the jobs that had begun."""
        ended = [future for future in self._left if future.done()]
        told = [f for f in ended if not f.cancelled() and f.exception() is None]
        return [future.result() for future in told]

    def _put_together(self, job: Job) -> Outcome:
        """Make the record of a run whose pieces are complete."""
        of_run = self.pieces[job.run]
        whole = {
            "notebook": job.notebook,
            "profile": job.profile,
            "overrides": job.overrides,
            "parameters": job.parameters,
            "key": job.key,
        }
        try:
            with (
                self.store.workplace(*job.run, overrides=job.overrides) as place,
                tempfile.TemporaryDirectory(prefix="cch-") as scratch,
            ):
                found = [
                    (p.piece, records.read(self.store.fetch(*p.run, Path(scratch))))
                    for p in of_run
                ]
                folder = place.folder
                record, metrics = pieces.put_together(whole, found)
                files.write_text(folder / "metrics.csv", metrics.to_csv(index=False))
                names = ["metrics.csv"]
                said = pieces.predictions_of([record for _, record in found])
                if len(said):
                    names.append(predictions.NAME)
                    files.write_bytes(folder / predictions.NAME, said.to_bytes())
                record["files"] = files.inventory(folder, names)
                files.write_json(folder / "record.json", record)
                published = self.store.publish(
                    folder, *job.run, again=self.limits.again
                )
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
        others = {n.name: n for n in notebooks() if not n.after}
        names = list(dict.fromkeys([*others, *mine])) if everyone else notebook.after
        found = []
        for name in names:
            if name in mine:
                found += [job for job in self.first if job.notebook == name]
            elif name in others:
                found += _plan(others[name], self.profile, [{}])
            else:
                raise ValueError(
                    f"notebook {notebook.name} comes after {name!r}; "
                    "notebooks that read no records themselves are wanted: "
                    f"{', '.join(others)}"
                )
        return found


def _told(job: Job) -> dict:
    """A job as the plan of a batch lists it."""
    return {
        "notebook": job.notebook,
        "key": job.key,
        "overrides": job.overrides,
        "piece": job.piece,
    }


def _refuse_without_record(notebook: Notebook) -> None:
    code = "\n".join(source(cell) for cell in notebook.code_cells)
    if "records" in code and re.search(r"\bstart\(", code):
        return
    raise ValueError(
        f"notebook {notebook.name} keeps no record; three lines are wanted:\n"
        "  from cchbook.runs import records\n"
        f'  run = records.start("{notebook.name}", globals())'
        "    # after the parameters\n"
        "  run.finish()    # in the last cell\n"
        "or --plain, with which it gets a bare record (parameters, seconds, copy)"
    )


def _plan(
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
        found.append(
            Job(
                notebook.name,
                path,
                profile,
                dict(changes),
                final,
                keys.run_key(known, final),
                plain=plain,
            )
        )
    return found


def _pieces(notebook: Notebook, whole: Job, along: Sequence[str]) -> list[Job]:
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


# Where it runs ------------------------------------------------------------------------


@dataclass(frozen=True)
class Pool:
    """Workers: an executor, and how many jobs run at once on this machine, or on each
    of {host: jobs}; where that is `fixed`, a job's share of the cores stays as small
    when there are fewer.
    """

    name: str
    executor: Executor
    slots: int | Mapping[str, int]
    fixed: bool = False


@contextmanager
def local(workers: int, fixed: bool = False) -> Iterator[Pool]:
    """Processes of this machine, `workers` at once;
    leaving early ends those that run.
    """
    executor = ThreadPoolExecutor(workers, thread_name_prefix="cch-job")
    jobs.ready()
    try:
        yield Pool("this machine", executor, workers, fixed)
    finally:
        executor.shutdown(wait=False, cancel_futures=True)
        jobs.stop()
        executor.shutdown(wait=True)


@contextmanager
def cluster(address: str) -> Iterator[Pool]:
    """The workers of a Dask scheduler; a job whose worker dies is run again on another
    one.
    """
    try:
        from distributed import Client
    except ImportError:
        raise ValueError(
            "--cluster needs dask.distributed: pip install 'cchlib[cluster]'"
        ) from None
    try:
        client = Client(address, timeout=ANSWER)
    except (OSError, ValueError) as error:
        raise ConnectionError(
            f"no scheduler answers at {address} within {ANSWER} s ({error}); "
            "the address that `dask scheduler` prints is wanted (tcp://host:8786)"
        ) from None
    with client:
        slots: dict[str, int] = {}
        # each worker's own host name: addresses are not names that a worker knows
        # itself by
        for host, threads in client.run(_host_and_threads).values():
            slots[host] = slots.get(host, 0) + threads
        executor = client.get_executor(pure=False)
        try:
            yield Pool(f"the scheduler at {address}", executor, slots)
        finally:
            executor.shutdown(wait=False)


def _host_and_threads(dask_worker: Any) -> tuple[str, int]:
    # HOST is that of the machine on which this is called
    return leases.HOST, dask_worker.state.nthreads
