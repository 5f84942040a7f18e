"""A checkout with trivial notebooks, for tests of the running of things."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

import yaml

from cchbook.runs import batch, records
from cchbook.runs.store import Store

CCH = [sys.executable, "-c", "from cchdecide.cli import main; main()"]

PARAMETERS = "i: int = 0  # a number\nwait: float = 0.0  # seconds\ndevice: str = 'cpu'"
# Every execution leaves a line in a file: what was run twice stands there twice.
TRACE = """import os, time
with open({trace!r}, "a") as stream:
    stream.write(f"{{run.notebook}} {{i}} {{os.getpid()}} {{os.getppid()}}\\n")
time.sleep(wait)"""


class Toy:
    """Notebooks under `root`; every execution is noted in `.trace`."""

    def __init__(self, root: Path):
        self.root, self.trace = root, root / "trace.txt"
        (root / "notebooks" / "profiles").mkdir(parents=True)

    def add(
        self,
        name: str,
        *code: str,
        cch: dict | None = None,
        parameters: str = PARAMETERS,
        kernel: str = "python3",
        **profiles: dict,
    ) -> Path:
        start = (
            "from cchbook.runs import records\n"
            f"run = records.start({name!r}, globals())"
        )
        cells = [
            parameters,
            start,
            TRACE.format(trace=str(self.trace)),
            *code,
            "run.finish()",
        ]
        path = self.root / "notebooks" / f"{name}.ipynb"
        write_notebook(path, cells, cch, kernel)
        for profile, values in profiles.items():
            (path.parent / "profiles" / f"{name}.{profile}.yaml").write_text(
                yaml.safe_dump(values)
            )
        return path

    def _words(self) -> list[list[str]]:
        text = self.trace.read_text() if self.trace.is_file() else ""
        return [line.split() for line in text.splitlines()]

    def executions(self) -> list[str]:
        """ "notebook i" of every execution so far."""
        return [" ".join(words[:2]) for words in self._words()]

    def processes(self) -> list[int]:
        """Process ids of the kernels of every execution so far,
        and of their parents.
        """
        return [int(pid) for words in self._words() for pid in words[2:]]


def write_notebook(
    path: Path, code: list[str], cch: dict | None = None, kernel: str = "python3"
) -> None:
    cells = [
        {
            "cell_type": "markdown",
            "id": "title",
            "metadata": {},
            "source": f"# {path.stem}",
        }
    ]
    for number, text in enumerate(code):
        cells.append(
            {
                "cell_type": "code",
                "id": f"cell-{number}",
                "source": text,
                "outputs": [],
                "execution_count": None,
                "metadata": {"tags": ["parameters"]} if number == 0 else {},
            }
        )
    metadata = {
        "kernelspec": {"name": kernel, "display_name": kernel, "language": "python"},
        "cch": cch or {},
    }
    path.write_text(
        json.dumps(
            {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}
        )
    )


_pools = contextlib.ExitStack()
unshared = batch.local  # for tests that kill a worker


@functools.cache
def _started(workers):
    return _pools.enter_context(unshared(workers, workers))


def pool(workers=2):
    """Workers for all tests of a process, since starting them takes seconds; in the
    environment that the test has now.
    """
    found, here = _started(workers), dict(os.environ)

    def move():
        os.environ.clear()
        os.environ.update(here)

    found.client.run(move)
    return found


@contextlib.contextmanager
def shared(workers, at_once):
    """What `batch.local` gives, from the workers for all tests."""
    yield replace(pool(max(1, at_once)), slots=workers)


def close_pools():
    _started.cache_clear()
    _pools.close()


def run(*args, workers=2, **kwargs):
    """Outcomes of a batch, as they come."""
    return list(batch.Batch(*args, **kwargs).run(pool(workers)))


def wait_until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.2)


def complete(toy, notebook="01_toy"):
    """The records of a notebook's complete runs, by key."""
    store = Store(toy.root / "_build/runs")
    return {
        key: records.read(store.where(notebook, key))
        for _, key in store.all_complete([notebook])
    }


def heed_interrupts():
    """For `preexec_fn`: a shell's background jobs, and what they start,
    ignore SIGINT.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
