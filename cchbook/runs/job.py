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
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cchbook.runs import records
from cchbook.runs.notebook import Notebook
from cchbook.runs.store import HOST, Store

THREADS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
)
# glibc would give every large tensor back to the system and fetch it anew, page by
# page, in each step of training: a third of the time of a stack at full batch. The
# memory stays with the job's process instead, which ends with the job.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2000000000"}
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

    @property
    def run(self) -> tuple[str, str]:
        """(notebook, key), by which a run is filed."""
        return self.notebook, self.key


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done", "kept" (was complete before) or "failed", and then
    why and where it shows.
    """

    job: Job
    status: str
    seconds: float = 0.0
    why: str = ""
    copy: str = ""
    worker: str = field(default_factory=lambda: f"{HOST}:{os.getpid()}")


def execute(job: Job, output: str, slots: int | Mapping[str, int]) -> Outcome:
    """Run a job and publish its folder in the store `output`.

    Parameters
    ----------
    job, output
        What to run, and the store's URL.
    slots
        How many jobs run on this machine at once, or {host: jobs} on a cluster: each
        gets its share of the cores.

    Returns
    -------
    Outcome
        A notebook that fails is an outcome, no exception.
    """
    began, store = time.perf_counter(), Store(output)
    if store.complete(
        *job.run
    ):  # a worker that was thought dead, or another batch, came first
        return Outcome(job, "kept")
    path = _here(job.path)
    if why := _differs(job, path):
        return Outcome(job, "failed", 0.0, why)
    with (
        store.workplace(*job.run) as folder,
        tempfile.TemporaryDirectory(prefix="cch-") as scratch,
    ):
        reads = [str(store.fetch(*run, into=Path(scratch))) for run in job.after]
        slots = slots.get(HOST, 1) if isinstance(slots, Mapping) else slots
        copy = folder / f"{job.notebook}.ipynb"
        declared = Notebook.read(path).parameters
        changed = {k: v for k, v in job.parameters.items() if v != declared[k].default}
        env = _environment(
            job, folder, scratch, reads, threads=max(1, records.cores() // slots)
        )
        why = _drive(
            {
                "path": str(path),
                "copy": str(copy),
                "parameters": changed,
                "folder": str(folder),
                "env": env,
            }
        )
        if not why and not (folder / "record.json").is_file():
            why = "left no record: records.start(...) after the parameters and run.finish() at the end are wanted"
        seconds = time.perf_counter() - began
        if why:
            kept = store.keep_failure(copy, *job.run) if copy.is_file() else ""
            return Outcome(job, "failed", seconds, why, kept)
        return Outcome(
            job, "done" if store.publish(folder, *job.run) else "kept", seconds
        )


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
    here = {
        **_data_here(str(path), path.stat().st_mtime_ns),
        "library": records.library_digest(),
    }
    if job.piece:
        here["recorded"] = []  # see `batch._pieces`
    if records.run_key(here, job.parameters, [key for _, key in job.after]) == job.key:
        return ""
    return (
        f"the notebook, cchlib or the data on {HOST} are not those that the batch was planned with "
        "(edited meanwhile, or another version on this worker): nothing was run"
    )


@lru_cache(maxsize=64)
def _data_here(path: str, modified: int) -> dict:
    """`records.ingredients` once for a worker's many jobs: checksums of data take their
    time.
    """
    return records.ingredients(Notebook.read(path))


def _environment(
    job: Job, folder: Path, scratch: str, reads: list[str], threads: int
) -> dict[str, str]:
    told = {
        "key": job.key,
        "profile": job.profile,
        "overrides": job.overrides,
        "after": reads,
        "piece": job.piece,
    }
    env = {
        **dict.fromkeys(THREADS, str(threads)),
        **{name: os.environ.get(name, value) for name, value in MALLOC.items()},
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
        )
        _drivers.add(self)

    def run(self, task: dict) -> str:
        """Run one job to its end; returns why it failed, or ""."""
        try:
            self.process.stdin.write(json.dumps(task) + "\n")
            self.process.stdin.flush()
            said = self.process.stdout.readline()
        except (
            BrokenPipeError,
            ValueError,
        ):  # it has ended, or `stop` has closed the pipe
            said = ""
        if said:
            return json.loads(said)["why"]
        code = self.process.wait()
        self.noise.seek(0)
        last = (self.noise.read().strip().splitlines() or [""])[-1]
        ended = (
            f"was killed by signal {-code} (out of memory?)"
            if code < 0
            else f"ended with code {code}"
        )
        return f"its process {ended} {last}".strip()


_drivers: set[Driver] = set()
_thread = threading.local()


def _drive(task: dict) -> str:
    """Run one job in this thread's driver."""
    driver = getattr(_thread, "driver", None)
    if driver is None or driver.process.poll() is not None:
        _drivers.discard(driver)
        driver = _thread.driver = Driver()
    return driver.run(task)


def stop() -> None:
    """End all drivers of this process and what they run, now."""
    while _drivers:
        driver = _drivers.pop()
        driver.process.stdin.close()
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
    tasks: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_read, args=(tasks, psutil.Process()), daemon=True).start()
    while True:
        answers.write(json.dumps({"why": _papermill(tasks.get())}) + "\n")
        answers.flush()


def _papermill(task: dict) -> str:
    """Execute a notebook; returns why it failed, or ""."""
    # jsonschema's optional check of addresses: its grammar takes a second to compile,
    # and no notebook needs it
    sys.modules.setdefault("rfc3987_syntax", None)
    import papermill
    from papermill.exceptions import PapermillExecutionError

    os.environ.update(task["env"])  # which the kernel inherits
    for attempt in range(1, STARTS + 1):
        try:
            papermill.execute_notebook(
                task["path"],
                task["copy"],
                task["parameters"],
                cwd=task["folder"],
                progress_bar=False,
                start_timeout=120,
            )
            return ""
        except PapermillExecutionError as error:
            return (
                f"cell [{error.exec_count}] {error.ename}: {error.evalue}".splitlines()[
                    0
                ]
            )
        except RuntimeError as error:  # the kernel, not the code
            if _ran(task["copy"]):
                return f"the kernel died in mid-run ({error})"
            why = f"the kernel did not start in {attempt} attempts ({error})"
            time.sleep(random.uniform(0.2, 0.6) * 2**attempt)
        except (
            Exception
        ) as error:  # of papermill's own: a broken file, an unknown kernel
            return f"{type(error).__name__}: {error}"
    return why


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
