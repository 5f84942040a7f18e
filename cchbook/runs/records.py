"""What a run leaves behind: a folder with `metrics.csv` and, written last,
`record.json`.

A notebook opens its run in the first cell after its parameters and closes it in its
last one::

    run = records.start("02_synthetic", globals())
    run.uses(source)
    run.log("test_mse", 0.31, seed=0, lam=0.5)
    run.finish()

The folder is named by the *key* of the run, a hash of all that the result depends on,
so that a folder that is complete never needs to be computed again.
"""

from __future__ import annotations

import html
import io
import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cchbook.data.files import write_bytes
from cchbook.runs import keys, places, predictions
from cchbook.runs.files import described, inventory, write_json, write_text
from cchbook.runs.notebook import Notebook
from cchbook.runs.places import build_dir, repository
from cchbook.runs.predictions import Predictions

# of metrics.csv, after the condition columns
COLUMNS = ("seed", "metric", "value", "unit")
# of a container: "max 100000", or microseconds of CPU in so many of time
QUOTA = Path("/sys/fs/cgroup/cpu.max")
NO_CODE: dict = {"cells": [], "metadata": {}}  # of a notebook that can't be seen
NOTICES = {
    "embedded": "Embedded stand-in, not the real data",
    "simulated": "Simulated data",
}


# Reading ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Record:
    """A finished run: `.path` its folder, `.record` the dict of record.json, `.metrics`
    a DataFrame.
    """

    path: Path
    record: dict

    @cached_property
    def metrics(self) -> pd.DataFrame:
        """The rows of metrics.csv."""
        frame = pd.read_csv(
            self.file("metrics.csv"),
            dtype={"seed": "Int64", "unit": str},
            low_memory=False,  # a condition may begin late in a long file
        )
        return frame.fillna({"unit": ""})

    @cached_property
    def predictions(self) -> Predictions:
        """What each network said of each test sample; empty where the run kept none."""
        path = self.file(predictions.NAME)
        return Predictions.read(path) if path.is_file() else Predictions()

    def file(self, name: str) -> Path:
        """Where a file of the run lies: an object store has it in a folder more."""
        return self.path / self.record.get("at", "") / name

    def changed(self) -> list[str]:
        """Names of the files that are not what was written: those that the record lists
        with another checksum, or that are gone.
        """
        wrong = []
        for name, about in self.record.get("files", {}).items():
            there = self.file(name).is_file()
            if not there or inventory(self.file(name).parent, [name])[name] != about:
                wrong.append(name)
        return wrong


def read(path: str | Path) -> Record:
    """The record in a run's folder.

    Raises
    ------
    FileNotFoundError
        There is none, or only a half.
    ValueError
        It can't be read.
    """
    path = Path(path)
    text = (path / "record.json").read_bytes()
    try:
        record = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{path / 'record.json'} can't be read as a run's record ({error})"
        ) from None
    return Record(path, record)


def recorded(notebook: str) -> list[Record]:
    """The committed records of a notebook ("*": of all), `data/recorded/<notebook>/*/`,
    oldest first.
    """
    root = repository()
    found = root.glob(f"data/recorded/{notebook}/*/record.json") if root else ()

    def age(run: Record) -> tuple:
        return tuple(run.record[name] for name in ("notebook", "start", "key"))

    return sorted((read(path.parent) for path in found), key=age)


def leading(notebook: str) -> Record | None:
    """The committed record that speaks for a notebook: the one with the most
    conditions, of equals with the most repetitions, of these the newest; None where
    nothing is recorded.

    So a newer record of a part of the conditions doesn't hide the whole. A single
    printed number has a rule of its own (`chapters.replication.printed_cells`).
    """
    found = recorded(notebook)
    if not found:
        return None
    return max(reversed(found), key=lambda run: count_conditions(run.metrics))


def count_conditions(metrics: pd.DataFrame) -> tuple[int, int]:
    """Under how many conditions a run measured a gain, and how many gains in all; where
    it measured none, of all that it measured. Controls are no conditions.
    """
    rows = metrics[metrics["metric"] == "gain"]
    rows = rows if len(rows) else metrics
    if "control" in rows:
        rows = rows[rows["control"].isna()]
    beside = (*COLUMNS, "run", "control")
    named = [name for name in rows if name not in beside]
    return len(rows[named].drop_duplicates()), len(rows)


def live(notebook: str) -> list[Record]:
    """The records of this batch's runs of another notebook, oldest first.

    Inside `cch run` these are exactly the runs that the reading notebook comes after
    (its metadata's `cch.after`); run by hand, the newest one under the build folder, if
    any.
    """
    job = _job()
    if "after" in job:
        found = [read(path) for path in job["after"]]
        return [r for r in found if r.record["notebook"] == notebook]
    below = (build_dir() / "runs" / notebook).glob("*/record.json")
    found = [read(path.parent) for path in below]
    whole = [record for record in found if not record.record.get("piece")]
    return sorted(whole, key=lambda r: r.record["start"])[-1:]


def _paper_folder() -> Path:
    """In a checkout the numbers lie in data/, in an installed package beside its
    modules.
    """
    checkout = places.PACKAGE.parent / "data" / "paper"
    return checkout if checkout.is_dir() else places.PACKAGE / "_data" / "paper"


def paper(table: str) -> pd.DataFrame:
    """The paper's printed numbers, `data/paper/<table>.csv`: table, conditions,
    quantity, value, std_error.
    """
    path = _paper_folder() / f"{table}.csv"
    if not path.is_file():
        names = ", ".join(p.stem for p in sorted(path.parent.glob("*.csv")))
        raise ValueError(f"`table` must be one of {names}, got {table!r}")
    return pd.read_csv(path)


# Writing ------------------------------------------------------------------------------


def _job() -> dict:
    """What `cch run` tells the notebook about its job: key, profile, overrides, folders
    of the runs that it reads.
    """
    return json.loads(os.environ.get("CCH_JOB", "{}"))


def _is_json(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_json, value))
    if isinstance(value, dict):
        return all(isinstance(k, str) and _is_json(v) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float, str))


def parameters_of(names: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON-typed names of a notebook's globals; IPython's own and constants, in
    capitals, are left out.
    """
    public = {
        k: v
        for k, v in sorted(names.items())
        if not (k.startswith("_") or k.isupper() or k in ("In", "Out")) and _is_json(v)
    }
    return json.loads(json.dumps(public))


def start(notebook: str, names: Mapping[str, Any]) -> Run:
    """Open the run of `notebook`; `names` is the notebook's `globals()`, right after
    its parameters.

    The folder is `CCH_RUN_DIR`, set by `cch run`; under plain papermill it is
    `_build/runs/<notebook>/<key>` of the checkout, or of the working directory outside
    of one.

    Raises
    ------
    ValueError
        A name that the notebook's parameters cell does not declare, as papermill puts
        one in by `-p` where it is misspelt.
    """
    parameters = parameters_of(names)
    job = _job()
    file = _own_file(notebook, job)
    if file is not None:
        _refuse_undeclared(Notebook.read(file), parameters)
    if "CCH_RUN_DIR" in os.environ:
        return Run(notebook, parameters, Path(os.environ["CCH_RUN_DIR"]), job)
    # far from a checkout the kernel can't see its own code
    own = Notebook.read(file) if file else Notebook(Path(f"{notebook}.ipynb"), NO_CODE)
    job = {**job, "key": keys.run_key(keys.ingredients(own), parameters)}
    return Run(notebook, parameters, build_dir() / "runs" / notebook / job["key"], job)


def measurements(names: Mapping[str, Any]) -> Measurements:
    """A table for what a notebook measures that leaves no record; `names` is its
    `globals()`, right after its parameters.
    """
    return Measurements(parameters_of(names))


def _own_file(notebook: str, job: Mapping) -> Path | None:
    """The file of the notebook that runs; a kernel far from a checkout can't see it."""
    if "path" in job:
        return Path(job["path"])
    root = repository()
    path = root / "notebooks" / f"{notebook}.ipynb" if root else None
    return path if path and path.is_file() else None


def _refuse_undeclared(notebook: Notebook, parameters: Mapping[str, Any]) -> None:
    declared = notebook.parameters
    for name in parameters:
        if name not in declared:
            raise ValueError(
                f"parameter of {notebook.name} must be one of {', '.join(declared)}, "
                f"got {name!r} (what is none has a name in capitals, or an underscore "
                "before it)"
            )


class Measurements:
    """What a notebook measures, as a table in memory.

    Attributes
    ----------
    notebook, parameters
        What runs (None where nothing is recorded), with which final parameters.
    folder
        Where files may go.
    """

    notebook: str | None = None

    def __init__(self, parameters: dict, folder: Path = Path()):
        self.parameters, self.folder = parameters, folder
        self._sources: dict[str, Any] = {}
        self._frames: list[pd.DataFrame] = []
        self._rows: list[dict] = []
        self._networks: list[predictions.Network] = []
        self._kept: dict[str, dict[str, np.ndarray]] = {}

    @property
    def stand_in(self) -> bool:
        """Whether some of its data stand in for real ones."""
        return any(data.kind == "embedded" for data in self._sources.values())

    def uses(self, *sources: Any) -> None:
        """Note the data sets (`DataSource`) behind this run, with a visible notice for
        each that is not real.
        """
        for data in sources:
            if data.kind != "real" and data.name not in self._sources:
                _notice(data)
            self._sources[data.name] = data

    def log(
        self,
        metric: str,
        value: Any,
        unit: str = "",
        seed: int | None = None,
        **conditions: Any,
    ) -> None:
        """Log one measurement: one row with its conditions, seed, metric, value and
        unit ("nats", ...).
        """
        number = _number(metric, value)
        measured = dict(seed=seed, metric=metric, value=number, unit=unit)
        self._rows.append(conditions | measured)

    def log_frame(self, frame: pd.DataFrame) -> None:
        """Log many measurements: columns metric and value, if known seed and unit; all
        others are conditions.
        """
        missing = {"metric", "value"} - set(frame.columns)
        if missing:
            raise ValueError(
                f"`frame` must have columns metric and value, got no {sorted(missing)}"
            )
        self._flush()
        numbers = [_number(m, v) for m, v in zip(frame.metric, frame.value)]
        rest = {c: d for c, d in (("seed", None), ("unit", "")) if c not in frame}
        self._frames.append(frame.reset_index(drop=True).assign(value=numbers, **rest))

    def log_predictions(
        self, outputs: Any, truth: Any, seed: int | None = None, **conditions: Any
    ) -> None:
        """Keep what a network said of each test sample.

        Parameters
        ----------
        outputs : (n, K) logits, or (n,) values of a regression
        truth : (n,) integer classes, or values
        seed, conditions
            What tells the network from the others, as in `log`.
        """
        named = {**conditions, "seed": seed}
        self._networks.append(predictions.network(outputs, truth, named))

    def keep(self, name: str, arrays: Mapping[str, Any]) -> None:
        """Keep arrays beside the runs, in half floats: what is too large for a record
        and dear to compute again. The record names the file, `kept/…` in the build
        folder, and its checksum.
        """
        self._kept[name] = {
            k: np.asarray(v).astype(np.float16) for k, v in arrays.items()
        }

    def frame(self, metric: str | None = None) -> pd.DataFrame:
        """All that has been logged so far, or the rows of one metric: conditions, seed,
        metric, value, unit.
        """
        self._flush()
        parts = [p.astype({"seed": "Int64"}) for p in self._frames]
        full = (
            pd.concat(parts, ignore_index=True)
            if parts
            else pd.DataFrame(columns=list(COLUMNS))
        )
        full = full[[c for c in full.columns if c not in COLUMNS] + list(COLUMNS)]
        if metric is None:
            return full
        if metric not in set(full["metric"]):
            raise ValueError(
                f"`metric` must be one of {sorted(set(full['metric']))}, got {metric!r}"
            )
        # conditions that only other metrics have would be columns of nothing here
        rows = full[full["metric"] == metric].reset_index(drop=True)
        return rows.drop(
            columns=[c for c in rows if c not in COLUMNS and rows[c].isna().all()]
        )

    def _flush(self) -> None:
        """Rows logged one by one become a frame of their own,
        in order with the others.
        """
        if self._rows:
            self._frames.append(pd.DataFrame(self._rows))
            self._rows = []


class Run(Measurements):
    """One execution of a notebook, from `start` to `finish`.

    Attributes
    ----------
    notebook, parameters, folder, key
        What runs, with which final parameters, where its record goes, and the hash that
        names it.
    """

    def __init__(self, notebook: str, parameters: dict, folder: Path, job: Mapping):
        super().__init__(parameters, folder)
        self.notebook = notebook
        self.key = job.get("key")
        self._job = job
        self._start = datetime.now(UTC)

    @property
    def checkpoints(self) -> Path:
        """The folder for the checkpoints of the notebook's fits (`fit`)."""
        folder = build_dir() / "checkpoints" / str(self.notebook)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def finish(self) -> None:
        """Write metrics.csv, then record.json: a folder with a record.json is a
        finished run. One of `cch run` stays.
        """
        if (
            "CCH_RUN_DIR" not in os.environ
            and (self.folder / f"{self.notebook}.ipynb").is_file()
        ):
            return print(
                f"{self.folder} holds a complete run with these settings; "
                "it is left as it is"
            )
        self._write()

    def _write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # of an earlier run: never beside other metrics
        (self.folder / "record.json").unlink(missing_ok=True)
        frame = self.frame()
        # a notebook counts its repetitions from 0, a piece of a longer run begins later
        first = self.parameters.get("first_seed", 0)
        frame["seed"] += first
        write_text(self.folder / "metrics.csv", frame.to_csv(index=False))
        if self._networks:
            for network in self._networks:
                if network.conditions["seed"] is not None:
                    network.conditions["seed"] += first
            content = Predictions(self._networks).to_bytes()
            write_bytes(self.folder / predictions.NAME, content)
        seeds = sorted({int(s) for s in frame["seed"].dropna()})
        if not seeds and isinstance(self.parameters.get("seeds"), int):
            seeds = list(range(first, first + self.parameters["seeds"]))
        if not seeds and isinstance(self.parameters.get("seed"), int):
            seeds = [self.parameters["seed"]]
        write_json(
            self.folder / "record.json",
            {
                "notebook": self.notebook,
                "profile": self._job.get("profile"),
                "overrides": self._job.get("overrides", {}),
                "parameters": self.parameters,
                "seeds": seeds,
                "packages": package_versions(),
                "commit": commit(),
                "device": device(self.parameters.get("device", "cpu")),
                "data": [
                    {"name": s.name, "kind": s.kind, "sha256": s.sha256}
                    for s in self._sources.values()
                ],
                "start": self._start.isoformat(timespec="seconds"),
                "seconds": round((datetime.now(UTC) - self._start).total_seconds(), 2),
                "host": places.HOST,
                "key": self.key,
                **({"kept": self._keep_all()} if self._kept else {}),
                **{k: self._job[k] for k in ("piece", "plain") if self._job.get(k)},
            },
        )

    def _keep_all(self) -> dict[str, dict]:
        """Write what `keep` was given; what the record says of it."""
        folder = build_dir() / "kept" / str(self.notebook) / str(self.key)
        folder.mkdir(parents=True, exist_ok=True)
        listed = {}
        for name, arrays in self._kept.items():
            buffer = io.BytesIO()
            np.savez(buffer, **arrays)
            content = buffer.getvalue()
            write_bytes(folder / f"{name}.npz", content)
            at = f"kept/{self.notebook}/{self.key}/{name}.npz"
            listed[at] = described(content)
        return listed


def bare(job: Any, folder: Path, started: datetime) -> None:
    """Leave a record without metrics, of a notebook that keeps none of its own."""
    run = Run(job.notebook, job.parameters, folder, asdict(job))
    run._start = started
    run._write()


def _number(metric: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(
            f"value of {metric!r} must be one number, got {value!r}"
        ) from None


def _notice(data: Any) -> None:
    """Say on the page that the numbers below come from other than real data."""
    from IPython.display import display

    title = NOTICES.get(data.kind, data.kind)
    text = f"{data.name}: {data.note}" if data.note else data.name
    close = "Numbers from it are never compared with the paper's."
    page = (
        '<div class="admonition warning" role="note">'
        f'<p class="admonition-title">{html.escape(title)}</p>'
        f"<p><strong>{html.escape(data.name)}</strong>"
        f"{': ' + html.escape(data.note) if data.note else ''}. {close}</p></div>"
    )
    display({"text/html": page, "text/plain": f"{title}. {text}. {close}"}, raw=True)


# Circumstances ------------------------------------------------------------------------


def package_versions() -> dict[str, str]:
    """Versions of Python, of cchlib, and of what cchlib requires."""
    required = [r for r in metadata.requires("cchlib") or [] if "extra ==" not in r]
    names = {"cchlib", *(re.match(r"[\w.-]+", r)[0] for r in required)}
    versions = {name: metadata.version(name) for name in sorted(names)}
    return {"python": platform.python_version(), **versions}


def commit() -> str | None:
    """The checkout's commit, with "+" where tracked files differ from it; None outside
    of git or before a commit.
    """
    root = repository()
    if root is None:
        return None

    def git(*words: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *words], capture_output=True, text=True
            )
        except FileNotFoundError:  # no git on this machine
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    head = git("rev-parse", "--short=12", "HEAD")
    changed = head and git("status", "--porcelain", "--untracked-files=no")
    return f"{head}+" if changed else head


def device(wanted: str = "auto") -> str:
    """The device that a notebook with `device=wanted` computed on, with its name: "cuda
    (NVIDIA H100)".
    """
    torch = sys.modules.get("torch")  # without it a notebook computed on the CPU
    asked_for = wanted.startswith(("auto", "cuda"))
    if torch is not None and asked_for and torch.cuda.is_available():
        asked = None if wanted in ("auto", "cuda") else wanted
        return f"cuda ({torch.cuda.get_device_name(asked)})"
    return f"cpu ({platform.machine()}, {cores()} cores)"


def cores() -> int:
    """CPU cores that this process may use: those it is bound to, within the quota of
    its container.
    """
    bound = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        bound = len(os.sched_getaffinity(0))
    quota, period = QUOTA.read_text().split() if QUOTA.is_file() else ("max", "1")
    return bound if quota == "max" else max(1, min(bound, int(quota) // int(period)))
