"""A checkout with trivial notebooks, for tests of the running of things."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

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

    def add(self, name: str, *code: str, cch: dict | None = None, parameters: str = PARAMETERS,
            kernel: str = "python3", **profiles: dict) -> Path:
        start = f"from cchlib import records\nrun = records.start({name!r}, globals())"
        cells = [parameters, start, TRACE.format(trace=str(self.trace)), *code, "run.finish()"]
        path = self.root / "notebooks" / f"{name}.ipynb"
        write_notebook(path, cells, cch, kernel)
        for profile, values in profiles.items():
            (path.parent / "profiles" / f"{name}.{profile}.yaml").write_text(yaml.safe_dump(values))
        return path

    def executions(self) -> list[str]:
        """"notebook i" of every execution so far."""
        lines = self.trace.read_text().splitlines() if self.trace.is_file() else []
        return [" ".join(line.split()[:2]) for line in lines]

    def processes(self) -> list[int]:
        """Process ids of the kernels of every execution so far, and of their parents."""
        return [int(pid) for line in self.trace.read_text().splitlines() for pid in line.split()[2:]]


def write_notebook(path: Path, code: list[str], cch: dict | None = None, kernel: str = "python3") -> None:
    cells = [{"cell_type": "markdown", "id": "title", "metadata": {}, "source": f"# {path.stem}"}]
    for number, text in enumerate(code):
        cells.append({"cell_type": "code", "id": f"cell-{number}", "source": text, "outputs": [],
                      "execution_count": None, "metadata": {"tags": ["parameters"]} if number == 0 else {}})
    metadata = {"kernelspec": {"name": kernel, "display_name": kernel, "language": "python"}, "cch": cch or {}}
    path.write_text(json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}))
