"""One job: one notebook with one set of parameters, executed by papermill in a folder
of its own, which is renamed into place.

`execute` is what a Dask worker calls, on this machine or another. When the worker dies,
even by SIGKILL, its kernel ends too: ipykernel watches its parent.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from cchbook.runs import files, guard, keys, places, predictions, records
from cchbook.runs.notebook import Notebook
from cchbook.runs.places import HOST
from cchbook.runs.plan import Job
from cchbook.runs.store import Store

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


@dataclass(frozen=True)
class Limits:
    """How a job is run: seconds that it, and each of its cells, may take (None: as long
    as it likes), and whether it is run `again` where it is complete.

    `batch` names who asks.
    """

    job: float | None = None
    cell: float | None = None
    again: bool = False
    batch: str = ""


@dataclass(frozen=True)
class Outcome:
    """What became of a job: "done", "kept" (was complete before), "interrupted" or
    "failed", and then why and where it shows.
    """

    job: Job
    status: str
    seconds: float = 0.0
    why: str = ""
    copy: str = ""


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

    Raises
    ------
    MachineFailure, OSError
        It failed of its machine or the store, and may be tried again.
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
    with store.workplace(limits.batch, *job.run) as place:
        try:
            why = _run(job, path, store, place, _threads(slots), limits)
        except (OSError, RuntimeError) as error:
            store.keep_failure(place / "run", *job.run, why=str(error))
            raise
        seconds = time.perf_counter() - began
        if why:
            copy = store.keep_failure(place / "run", *job.run, why=why)
            return Outcome(job, "failed", seconds, why, copy)
        mine = store.publish(place / "run", *job.run, again=limits.again)
        return Outcome(job, "done" if mine else "kept", seconds, said)


def _threads(slots: int | Mapping[str, int]) -> int:
    """A job's share of the cores of this machine."""
    if isinstance(slots, Mapping):
        from distributed import get_worker

        slots = slots.get(urlsplit(get_worker().address).hostname or "", 1)
    return max(1, records.cores() // slots)


def _run(
    job: Job, path: Path, store: Store, place: Path, threads: int, limits: Limits
) -> str:
    """Run a job in its workplace; returns why it failed, or ""."""
    # imports papermill, which a client has no use for; jsonschema's optional check of
    # addresses takes a second to compile, and no notebook needs it
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    from cchbook.runs import kernel

    started, notebook = datetime.now(UTC), Notebook.read(path)
    declared = notebook.parameters
    changed = {k: v for k, v in job.parameters.items() if v != declared[k].default}
    reads = [str(store.fetch(*run, into=place)) for run in job.after]
    folder, notes = place / "run", place / "opened"
    copy = folder / f"{job.notebook}.ipynb"
    env = _environment(job, path, place, reads, threads)
    env["CCH_GUARD"] = os.pathsep.join(map(str, [notes, *keys.guarded()]))
    why = kernel.execute(path, copy, changed, env, limits.job, limits.cell)
    if why:
        return why

    if beyond := _beyond(job, notebook, [str(place), *reads], notes, copy):
        return beyond
    if job.plain and not (folder / "record.json").is_file():
        records.bare(job, folder, started)
    if not (folder / "record.json").is_file():
        return (
            "left no record: there must be records.start(...) after the parameters "
            "and run.finish() at the end"
        )
    _seal(job, folder)
    return ""


def _beyond(
    job: Job, notebook: Notebook, own: list[str], notes: Path, copy: Path
) -> str:
    """What a run read that its key does not cover, as a reason to fail, or ""."""
    if not notes.is_file():
        language = Notebook.read(copy).content["metadata"].get("language_info", {})
        return (
            "the guard of what it reads did not start in its kernel"
            if language.get("name") == "python"
            else ""  # of another language, which imports nothing of ours
        )
    opened = notes.read_bytes().split(b"\0")[:-1]
    own = [*own, str(places.build_dir() / "checkpoints" / job.notebook)]
    found = keys.uncovered(map(os.fsdecode, opened), notebook, job.parameters, own)
    return (
        f"read {found}, which its key does not cover: `cch.reads` in the notebook's "
        "metadata declares what it reads, as paths in the checkout"
        if found
        else ""
    )


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
    root = places.repository()
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
        f"the notebook, our packages, what it reads or the data on {HOST} are not "
        "those that the batch was planned with (edited meanwhile, or another version "
        "on this worker): nothing was run"
    )


def _environment(
    job: Job, path: Path, place: Path, reads: list[str], threads: int
) -> dict[str, str]:
    told = {
        "path": str(path),
        "key": job.key,
        "profile": job.profile,
        "overrides": job.overrides,
        "after": reads,
        "piece": job.piece,
    }
    # loaded by a kernel before any code, and no part of its namespace
    profile = place / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    shutil.copy(guard.__file__, profile / "ipython_kernel_config.py")
    env = {
        **dict.fromkeys(THREADS, str(threads)),
        **{name: os.environ.get(name, value) for name, value in SETTINGS.items()},
        "CCH_RUN_DIR": str(place / "run"),
        "CCH_JOB": json.dumps(told),
        # no shared history, no user's start-up files
        "IPYTHONDIR": str(place / "ipython"),
    }
    if (root := places.repository()) is not None:
        env["CCH_ROOT"] = str(root)
    if "CCH_DATA" in os.environ:  # seen from another working directory
        env["CCH_DATA"] = os.path.abspath(os.path.expanduser(os.environ["CCH_DATA"]))
    return env
