"""One job: one notebook with one set of parameters, executed by papermill in a process
of its own.

`execute` is what a local thread and a cluster's worker both call. It starts this module
as a process (the driver), which runs papermill, which starts a kernel for the job. When
whoever started the driver dies, even by SIGKILL, its standard input ends, and it ends
its kernel and itself: no run goes on unowned.
"""

from __future__ import annotations

import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cchbook.runs import files, guard, keys, predictions, records
from cchbook.runs.leases import HOST
from cchbook.runs.notebook import Notebook, injected
from cchbook.runs.store import Store, Workplace

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# Where the user has not said otherwise.
#
# glibc would give every large tensor back to the system and fetch it anew, page by
# page, in each step of training: a third of the time of a stack at full batch. The
# memory stays with the job's process instead, which ends with the job.
#
# A thread that waits for another by turning in a loop takes the core that the other
# needs, as soon as something else runs too: training on two threads took five to ten
# times as long there. Alone on the machine it is up to a tenth faster. OpenBLAS, which
# NumPy brings, knows no other way to wait, and the chapters' decompositions are small.
SETTINGS = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": "2000000000",
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
}
# attempts at starting a kernel: its ports are chosen before they are bound, and may be
# taken meanwhile
STARTS = 5


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


@dataclass(frozen=True)
class Limits:
    """How a job is run: seconds that it, and each of its cells, may take (None: as long
    as it likes), and whether it is run `again` where it is complete.

    `batch` names who asks: what another batch works on is left to it.
    """

    job: float | None = None
    cell: float | None = None
    again: bool = False
    batch: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done", "kept" (was complete before), "elsewhere" (another
    batch works on it), "interrupted" or "failed", and then why and where it shows.

    `machine` says that it failed of its machine (it was killed, a kernel did not start,
    the store was gone) and not of its notebook.
    """

    job: Job
    status: str
    seconds: float = 0.0
    why: str = ""
    copy: str = ""
    machine: bool = False
    worker: str = field(default_factory=lambda: f"{HOST}:{os.getpid()}")


class Interrupted(Exception):
    """The batch was stopped while this job ran."""


def execute(
    job: Job, output: str, slots: int | Mapping[str, int], limits: Limits = Limits()
) -> Outcome:
    """Run a job and publish its folder in the store `output`.

    Parameters
    ----------
    job, output
        What to run, and the store's URL.
    slots
        How many jobs run on this machine at once, or {host: jobs} on a cluster: each
        gets its share of the cores.
    limits
        Of its time.

    Returns
    -------
    Outcome
        A notebook that fails is an outcome, no exception.
    """
    began, store = time.perf_counter(), Store(output)
    # a worker that was thought dead, or another batch, may have come first
    if store.complete(*job.run) and not limits.again:
        return Outcome(job, "kept")
    path = _here(job.path)
    if why := _differs(job, path):
        return Outcome(job, "failed", 0.0, why)

    said = ""
    if job.run in store.broken:
        aside = store.set_aside(*job.run)
        said = f"again: {store.broken[job.run]}; set aside as {aside}"
    slots = slots.get(HOST, 1) if isinstance(slots, Mapping) else slots
    threads = max(1, records.cores() // slots)
    told = {
        "overrides": job.overrides,
        "piece": job.piece,
        "profile": job.profile,
        "batch": limits.batch,
    }
    with store.workplace(*job.run, **told) as place:
        if not limits.again:
            if store.in_other_hands(place):
                return Outcome(job, "elsewhere")
            if store.complete(*job.run):  # since the first look
                return Outcome(job, "kept")
        try:
            why, machine = _run(job, path, store, place, threads, limits)
        except Interrupted:
            spent = time.perf_counter() - began
            return Outcome(job, "interrupted", spent)
        seconds = time.perf_counter() - began
        if why:
            kept = store.keep_failure(
                place.folder,
                *job.run,
                why=why,
                host=HOST,
                seconds=seconds,
                overrides=job.overrides,
            )
            return Outcome(job, "failed", seconds, why, kept, machine)
        mine = store.publish(place.folder, *job.run, again=limits.again)
        return Outcome(job, "done" if mine else "kept", seconds, said)


def _run(
    job: Job,
    path: Path,
    store: Store,
    place: Workplace,
    threads: int,
    limits: Limits,
) -> tuple[str, bool]:
    """Run a job in its workplace; returns why it failed, or "", and whether it failed
    of its machine.
    """
    started = datetime.now(UTC)
    declared = Notebook.read(path).parameters
    changed = {k: v for k, v in job.parameters.items() if v != declared[k].default}
    with tempfile.TemporaryDirectory(prefix="cch-") as scratch:
        reads = [str(store.fetch(*run, into=Path(scratch))) for run in job.after]
        profile = Path(scratch) / "ipython" / "profile_default"
        profile.mkdir(parents=True)
        # which a kernel loads before any code
        shutil.copy(guard.__file__, profile / "ipython_kernel_config.py")
        notes = Path(scratch) / "opened"
        task = {
            "path": str(path),
            "copy": str(place.folder / f"{job.notebook}.ipynb"),
            "parameters": changed,
            "folder": str(place.folder),
            "env": {
                **_environment(job, path, place.folder, scratch, reads, threads),
                "CCH_GUARD": os.pathsep.join(map(str, [notes, *keys.guarded()])),
            },
            "cell_limit": limits.cell,
        }
        why, machine = _drive(task, limits.job, place.tell)
        if why:
            return why, machine
        opened = notes.read_text(encoding="utf-8").split("\0")[:-1]
        kept = records.build_dir() / "checkpoints" / job.notebook
        own = [place.folder, scratch, kept, *reads]
        beyond = keys.uncovered(opened, Notebook.read(path), job.parameters, own)
    if beyond:
        return (
            f"read {beyond}, which its key does not cover: `cch.reads` in "
            "the notebook's metadata declares what it reads, as paths in the checkout",
            False,
        )
    record = place.folder / "record.json"
    if job.plain and not record.is_file():
        records.bare(job, place.folder, started)
    if not record.is_file():
        return (
            "left no record: records.start(...) after the parameters and run.finish() "
            "at the end are wanted",
            False,
        )
    _seal(job, place.folder)
    return "", False


def _seal(job: Job, folder: Path) -> None:
    """List in the record what belongs to the run, by which one tells it whole."""
    content = json.loads((folder / "record.json").read_text(encoding="utf-8"))
    names = ["metrics.csv", f"{job.notebook}.ipynb"]
    if (folder / predictions.NAME).is_file():
        names.append(predictions.NAME)
    content["files"] = files.inventory(folder, names)
    files.write_json(folder / "record.json", content)


def _here(path: str) -> Path:
    """The notebook on this machine: at the client's path, or in this machine's own
    checkout.
    """
    root = records.repository()
    if not Path(path).is_file() and root is not None:
        return root / "notebooks" / Path(path).name
    return Path(path)


def _differs(job: Job, path: Path) -> str:
    """Why a run here would not be the run that was planned, or "": its key would be
    another one.
    """
    if not path.is_file():
        return f"no notebook {path} on {HOST}"
    here = keys.ingredients(Notebook.read(path))
    if job.piece:
        here = keys.of_piece(here)
    if keys.run_key(here, job.parameters, [key for _, key in job.after]) == job.key:
        return ""
    return (
        f"the notebook, cchlib or the data on {HOST} are not those that the batch was "
        "planned with (edited meanwhile, or another version on this worker): "
        "nothing was run"
    )


def _environment(
    job: Job, path: Path, folder: Path, scratch: str, reads: list[str], threads: int
) -> dict[str, str]:
    told = {
        "path": str(path),
        "key": job.key,
        "profile": job.profile,
        "overrides": job.overrides,
        "after": reads,
        "piece": job.piece,
    }
    env = {
        **dict.fromkeys(THREADS, str(threads)),
        **{name: os.environ.get(name, value) for name, value in SETTINGS.items()},
        "CCH_RUN_DIR": str(folder),
        "CCH_JOB": json.dumps(told),
        # no shared history, no user's start-up files
        "IPYTHONDIR": f"{scratch}/ipython",
        "JUPYTER_RUNTIME_DIR": f"{scratch}/runtime",
    }
    if (root := records.repository()) is not None:
        env["CCH_ROOT"] = str(root)
    if "CCH_DATA" in os.environ:  # seen from another working directory
        env["CCH_DATA"] = os.path.abspath(os.path.expanduser(os.environ["CCH_DATA"]))
    return env


# The driver, seen from outside --------------------------------------------------------


class Driver:
    """A process that runs papermill, one job after the other: importing it takes longer
    than a small run.
    """

    def __init__(self) -> None:
        self.noise = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "cchbook.runs.job"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.noise,
            text=True,
            # Ctrl-C in a terminal goes to the whole group: this process decides
            start_new_session=True,
        )
        _drivers.add(self)

    def run(
        self, task: dict, limit: float | None, tell: Callable[..., None]
    ) -> tuple[str, bool]:
        """Run one job to its end.

        Parameters
        ----------
        task
            Of `_papermill`.
        limit
            Seconds that it may take, or None.
        tell
            Is called with the progress: cell, of, heading.

        Returns
        -------
        (why, machine)
            Why it failed, or "", and whether it failed of its machine.
        """
        expired = threading.Event()
        clock = threading.Timer(limit or 0, self._expire, [expired])
        if limit is not None:
            clock.start()
        try:
            # it may have ended, or `stop` may have closed the pipe: told below
            with suppress(BrokenPipeError, ValueError):
                self.process.stdin.write(json.dumps(task) + "\n")
                self.process.stdin.flush()
            for line in self.process.stdout:
                said = json.loads(line)
                if "why" in said:
                    return said["why"], said["machine"]
                tell(**said)
        finally:
            clock.cancel()
        code = self.process.wait()
        if _stopping.is_set():
            raise Interrupted
        if expired.is_set():
            return f"took longer than {limit:g} s (--timeout)", False
        self.noise.seek(0)
        last = (self.noise.read().strip().splitlines() or [""])[-1]
        ended = (
            f"was killed by signal {-code} (out of memory?)"
            if code < 0
            else f"ended with code {code}"
        )
        return f"its process {ended} {last}".strip(), True

    def end(self) -> None:
        """End it and what it runs, now: at the end of its input it does."""
        self.process.stdin.close()

    def _expire(self, expired: threading.Event) -> None:
        expired.set()
        self.end()


_drivers: set[Driver] = set()
_thread = threading.local()
_stopping = threading.Event()


def _drive(
    task: dict, limit: float | None, tell: Callable[..., None]
) -> tuple[str, bool]:
    """Run one job in this thread's driver."""
    driver = getattr(_thread, "driver", None)
    if driver is None or driver.process.poll() is not None:
        _drivers.discard(driver)
        driver = _thread.driver = Driver()
    if _stopping.is_set():  # since the driver was started, or before
        driver.end()
        raise Interrupted
    return driver.run(task, limit, tell)


def ready() -> None:
    """Jobs may run in this process: the opposite of `stop`."""
    _stopping.clear()


def stop() -> None:
    """End all drivers of this process and what they run, now."""
    _stopping.set()
    while _drivers:
        driver = _drivers.pop()
        driver.end()
        driver.process.wait()


# The driver, seen from inside ---------------------------------------------------------


def _read(tasks: queue.SimpleQueue, this: Any) -> None:
    """Pass tasks on; at the end of standard input end the kernel and this process."""
    for line in sys.stdin:
        tasks.put(json.loads(line))
    for child in this.children(recursive=True):
        child.kill()
    os._exit(0)


def _main() -> None:
    import psutil

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the kernel inherits 1: what it prints there is no answer

    def say(**words: Any) -> None:
        answers.write(json.dumps(words) + "\n")
        answers.flush()

    tasks: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks, psutil.Process()), daemon=True).start()
    while True:
        why, machine = _papermill(tasks.get(), say)
        say(why=why, machine=machine)


def _papermill(task: dict, say: Callable[..., None]) -> tuple[str, bool]:
    """Execute a notebook; returns why it failed, or "", and whether it failed of its
    machine.
    """
    # jsonschema's optional check of addresses: its grammar takes a second to compile,
    # and no notebook needs it
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from papermill.exceptions import PapermillExecutionError

    _register_engine(say)
    os.environ.update(task["env"])  # which the kernel inherits
    for attempt in range(1, STARTS + 1):
        try:
            papermill.execute_notebook(
                task["path"],
                task["copy"],
                task["parameters"],
                cwd=task["folder"],
                engine_name="cch",
                progress_bar=False,
                start_timeout=120,
                execution_timeout=task["cell_limit"],
            )
            return "", False
        except PapermillExecutionError as error:
            said = f"cell [{error.exec_count}] {error.ename}: {error.evalue}"
            return said.splitlines()[0], False
        except CellTimeoutError:
            return f"a cell took longer than {task['cell_limit']:g} s", False
        except RuntimeError as error:  # the kernel, not the code
            if _ran(task["copy"]):
                return f"the kernel died in mid-run ({error})", True
            why = f"the kernel did not start in {attempt} attempts ({error})"
            time.sleep(random.uniform(0.2, 0.6) * 2**attempt)
        except OSError as error:  # a full disk
            return f"{type(error).__name__}: {error}", True
        except Exception as error:  # papermill's own: a broken file, an unknown kernel
            return f"{type(error).__name__}: {error}", False
    return why, True


def _register_engine(say: Callable[..., None]) -> None:
    """Papermill's own engine, which also says what cell it is at."""
    from papermill.engines import NBClientEngine, papermill_engines

    class Telling(NBClientEngine):
        @classmethod
        def execute_managed_notebook(cls, manager, kernel_name, **settings):
            begin, cells = manager.cell_start, manager.nb.cells

            def cell_start(cell, cell_index=None, **more):
                if cell.cell_type == "code":
                    code = [c.cell_type == "code" and not injected(c) for c in cells]
                    done, heading = sum(code[:cell_index]), _heading(cells[:cell_index])
                    say(cell=done, of=sum(code), heading=heading)
                return begin(cell, cell_index, **more)

            manager.cell_start = cell_start
            return super().execute_managed_notebook(manager, kernel_name, **settings)

    papermill_engines.register("cch", Telling)


def _heading(cells: list) -> str:
    """The last heading of the text in these cells, "" where there is none."""
    for cell in reversed(cells):
        if cell.cell_type == "markdown":
            found = re.findall(r"^#{1,6} +(.+)$", cell.source, flags=re.MULTILINE)
            if found:
                return found[-1].strip()
    return ""


def _ran(copy: str) -> bool:
    """Whether any cell was begun: only the start of a kernel is tried again, never a
    run.
    """
    cells = Notebook.read(copy).content["cells"] if os.path.isfile(copy) else []
    return any(
        cell["metadata"].get("papermill", {}).get("start_time") for cell in cells
    )


if __name__ == "__main__":
    _main()
