"""Finished runs as a Process Run Crate: what others' tools read of provenance.

A crate is a zip with the notebooks, their metrics and records, and a description of
what made what of what (https://www.researchobject.org/workflow-run-crate, profile
Process Run Crate 0.5): for each run an action, its parameters and data sets with their
checksums, the notebook as its instrument, and the packages that it ran with.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from cchbook.runs import files, records
from cchbook.runs.records import Record
from cchbook.runs.store import Store

PROFILE = "https://w3id.org/ro/wfrun/process/0.5"
SUFFIXES = {".csv": "text/csv", ".json": "application/json"}
SUFFIXES[".ipynb"] = "application/x-ipynb+json"


def export(keys: Sequence[str], to: Path, output: str | None = None) -> Path:
    """Write finished runs to a zip.

    Parameters
    ----------
    keys
        Of complete runs, or their first digits. A run that is not in the store is taken
        from `data/recorded`.
    to
        The zip.
    output
        URL of the store; by default `runs` in the build folder.

    Raises
    ------
    ValueError
        A key of no run, or of several; a run whose files are not what was written.
    ImportError
        The package `rocrate` is not installed.
    """
    from rocrate.model.contextentity import ContextEntity
    from rocrate.rocrate import ROCrate

    if to.suffix != ".zip":
        raise ValueError(f"to is {to}; a name that ends in .zip is wanted")
    store = Store(output)
    root = records.repository()
    with tempfile.TemporaryDirectory(prefix="cch-") as scratch:
        found = [_find(key, store, Path(scratch)) for key in keys]
        crate = ROCrate(version="1.1")
        crate.name = (
            f"Runs of {', '.join(dict.fromkeys(r.record['notebook'] for r in found))}"
        )
        crate.description = (
            "Parameters, data and measurements of notebooks of the book on information-"
            "theoretic criteria for knowledge distillation"
        )
        licence = ContextEntity(
            crate,
            "https://spdx.org/licenses/MIT",
            {"@type": "CreativeWork", "name": "MIT License"},
        )
        profile = {
            "@type": "CreativeWork",
            "name": "Process Run Crate",
            "version": "0.5",
        }
        crate.root_dataset["license"] = crate.add(licence)
        crate.root_dataset["conformsTo"] = crate.add(
            ContextEntity(crate, PROFILE, profile)
        )
        for run in found:
            crate.root_dataset.append_to("mentions", _action(crate, run, root))
        to.parent.mkdir(parents=True, exist_ok=True)
        beside = Path(scratch) / "crate.zip"
        crate.write_zip(beside)
        files.write_bytes(to, beside.read_bytes())
    return to


def _find(key: str, store: Store, scratch: Path) -> Record:
    """A whole run of the store, else a recorded one."""
    shipped = [r for r in records.recorded("*") if r.record["key"].startswith(key)]
    try:
        run = records.read(store.fetch(*store.find(key), scratch))
    except ValueError:
        if len(shipped) != 1:
            raise
        run = shipped[0]
    if wrong := run.changed():
        raise ValueError(
            f"{', '.join(wrong)} of run {key} is not what was written; a run that is "
            "whole is wanted"
        )
    return run


def _action(crate: Any, run: Record, root: Path | None) -> Any:
    """One run as an action, with what it was made of and what it made."""
    from rocrate.model.contextentity import ContextEntity

    record = run.record
    name, key = record["notebook"], record["key"]
    began = datetime.fromisoformat(record["start"])
    about = {
        "@type": "CreateAction",
        "name": f"Run of {name} with key {key}",
        "description": f"profile {record['profile']}, commit {record['commit']}",
        "startTime": began.isoformat(),
        "endTime": (began + timedelta(seconds=record["seconds"])).isoformat(),
        "actionStatus": "http://schema.org/CompletedActionStatus",
    }
    action = crate.add(ContextEntity(crate, f"#run-{key}", about))
    action["instrument"] = _notebook(crate, run, root)
    inputs = [_parameter(crate, key, *item) for item in record["parameters"].items()]
    action["object"] = [*inputs, *(_data(crate, source) for source in record["data"])]
    action["result"] = _results(crate, run)
    return action


def _notebook(crate: Any, run: Record, root: Path | None) -> Any:
    """The notebook, with the packages that it ran with."""
    name = run.record["notebook"]
    identifier = f"notebooks/{name}.ipynb"
    if crate.dereference(identifier):
        return crate.dereference(identifier)
    source = root / identifier if root else Path(identifier)
    about = {
        "@type": ["File", "SoftwareSourceCode"],
        "name": name,
        "description": f"Notebook {name}, as it is now; "
        "the run's commit is in its action",
        "encodingFormat": SUFFIXES[".ipynb"],
        "programmingLanguage": "Python",
        "softwareRequirements": [
            _package(crate, *p) for p in run.record["packages"].items()
        ],
    }
    if not source.is_file():
        raise ValueError(f"notebook {source} is not here; the checkout is wanted")
    return crate.add_file(source, identifier, properties=about)


def _package(crate: Any, name: str, version: str) -> Any:
    from rocrate.model.contextentity import ContextEntity

    about = {
        "@type": "SoftwareApplication",
        "name": name,
        "softwareVersion": version,
        "url": f"https://pypi.org/project/{name}/{version}/",
    }
    if name == "python":
        about["url"] = (
            "https://www.python.org/downloads/release/"
            f"python-{version.replace('.', '')}/"
        )
    return crate.add(ContextEntity(crate, f"#{name}-{version}", about))


def _parameter(crate: Any, key: str, name: str, value: Any) -> Any:
    from rocrate.model.contextentity import ContextEntity

    text = value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
    about = {"@type": "PropertyValue", "name": name, "value": text}
    return crate.add(ContextEntity(crate, f"#{key}-{name}", about))


def _data(crate: Any, source: dict) -> Any:
    """A data set: named and with its checksum, not in the crate."""
    from rocrate.model.contextentity import ContextEntity

    about = {
        "@type": "PropertyValue",
        "name": f"data set {source['name']} ({source['kind']})",
        "propertyID": "https://en.wikipedia.org/wiki/SHA-2",
        "value": f"sha256 {source['sha256'] or 'not known'}",
    }
    identifier = (
        f"#data-{source['name']}-{source['kind']}-{(source['sha256'] or '')[:12]}"
    )
    return crate.add(ContextEntity(crate, identifier, about))


def _results(crate: Any, run: Record) -> list[Any]:
    name, key = run.record["notebook"], run.record["key"]
    told = {
        "metrics.csv": "Measurements, one a row",
        "record.json": "Record of the run",
        f"{name}.ipynb": "Executed copy of the notebook",
    }
    found = []
    for file, description in told.items():
        source = run.path / file if file == "record.json" else run.file(file)
        if source.is_file():
            about = {
                "name": f"{file} of {name} {key}",
                "description": description,
                "encodingFormat": SUFFIXES[source.suffix],
                "contentSize": str(source.stat().st_size),
            }
            place = f"runs/{name}/{key}/{file}"
            found.append(crate.add_file(source, place, properties=about))
    return found
