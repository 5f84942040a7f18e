"""Papermill on one notebook, in a kernel with an environment and a time of its own."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import CellTimeoutError
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from cchbook.runs.notebook import Notebook

START = 120  # seconds that a kernel may take to answer
# attempts at starting one: its ports are chosen before they are bound, and may be taken
# meanwhile
STARTS = 5


class MachineFailure(RuntimeError):
    """A job failed of its machine, not of its notebook: it may be tried again."""


class _Engine(NBClientEngine):
    """Papermill's own engine; the kernel gets an environment, a folder, and a time."""

    @classmethod
    def execute_managed_notebook(
        cls, manager, kernel_name, *, env, folder, cell_limit, clock, **_
    ):
        client = PapermillNotebookClient(
            manager,
            kernel_name=kernel_name,
            timeout=cell_limit,
            startup_timeout=START,
            iopub_timeout=START,
        )
        clock.client = client
        return client.execute(env=env, cwd=folder)


papermill_engines.register("cch", _Engine)


class _Clock:
    """Ends the kernel of a client when its time is up."""

    client: Any = None

    def __init__(self, limit: float | None):
        self.limit, self.expired = limit, False
        self._ended = threading.Event()
        if limit is not None:
            threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        self.expired = not self._ended.wait(self.limit)
        while self.expired and not self._ended.wait(0.1):
            manager = self.client and self.client.km
            if manager and manager.provisioner and manager.provisioner.pid:
                os.killpg(manager.provisioner.pid, signal.SIGKILL)
                return

    def stop(self) -> None:
        self._ended.set()


def execute(
    path: Path,
    copy: Path,
    parameters: Mapping[str, Any],
    env: Mapping[str, str],
    limit: float | None,
    cell_limit: float | None,
) -> str:
    """Execute the notebook `path` in the folder of `copy`, which is left behind.

    Parameters
    ----------
    path, copy
        The notebook, and the executed one.
    parameters
        Those that differ from the notebook's own.
    env
        The kernel's environment variables, besides this process's.
    limit, cell_limit
        Seconds that all of it, and each cell, may take; None: as long as it likes.

    Returns
    -------
    str
        Why the notebook failed, or "".

    Raises
    ------
    MachineFailure
        The kernel was killed or did not start; the disk is full.
    """
    clock = _Clock(limit)
    try:
        for attempt in range(1, STARTS + 1):
            try:
                papermill.execute_notebook(
                    # where papermill would put parameters in
                    _without_braces(path),
                    _without_braces(copy),
                    parameters,
                    engine_name="cch",
                    progress_bar=False,
                    env={**os.environ, **env},
                    folder=str(copy.parent),
                    cell_limit=cell_limit,
                    clock=clock,
                )
                return ""
            except PapermillExecutionError as error:
                said = f"cell [{error.exec_count}] {error.ename}: {error.evalue}"
                return said.splitlines()[0]
            except CellTimeoutError:
                return f"a cell took longer than {cell_limit:g} s"
            except RuntimeError as error:  # the kernel, not the code
                if clock.expired:
                    return f"took longer than {limit:g} s (--timeout)"
                if _began(copy):
                    why = f"the kernel died in mid-run ({error})"
                    raise MachineFailure(why) from None
                why = f"the kernel did not start in {attempt} attempts ({error})"
                time.sleep(random.uniform(0.2, 0.6) * 2**attempt)
            except OSError as error:  # a full disk
                raise MachineFailure(f"{type(error).__name__}: {error}") from None
            except Exception as error:  # papermill's own: an unknown kernel
                return f"{type(error).__name__}: {error}"
        raise MachineFailure(why)
    finally:
        clock.stop()


def _without_braces(path: Path) -> str:
    return str(path).replace("{", "{{").replace("}", "}}")


def _began(copy: Path) -> bool:
    """Whether any cell was begun: only the start of a kernel is tried again, never a
    run.
    """
    cells = Notebook.read(copy).content["cells"] if copy.is_file() else []
    times = (cell["metadata"].get("papermill", {}).get("start_time") for cell in cells)
    return any(times)
