"""What of a batch is done, failed or missing, from any terminal or machine that sees
the store; and what runs, where the scheduler can be reached.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cchbook.runs.store import Store

ANSWER = 5  # seconds within which a scheduler answers


@dataclass(frozen=True)
class Line:
    """One job of a batch: its state ("done", "running", "failed" or "missing") and what
    there is to say of it.
    """

    notebook: str
    key: str
    overrides: dict[str, Any]
    state: str
    said: str = ""
    piece: dict[str, Any] = field(default_factory=dict)


def status(store: Store, name: str | None = None) -> tuple[str, list[Line]]:
    """Who runs a batch (the newest, where none is named), and its jobs as they stand,
    in the order of the grid.

    Raises
    ------
    ValueError
        There is no such batch.
    """
    plans = store.batches()
    if not plans or name is not None and name not in plans:
        known = ", ".join(plans) or "none"
        raise ValueError(
            f"`batch` must be one of a `cch run` with this --output ({known}), got "
            f"{name or 'the newest'!r}, of which there is nothing below {store.url}"
        )
    name = name or list(plans)[-1]
    plan = plans[name]
    names = {job["notebook"] for job in plan["jobs"]}
    complete = store.all_complete(names)
    failed = {(n, key): told for n in names for key, told in store.failures(n).items()}
    open_ = [j for j in plan["jobs"] if (j["notebook"], j["key"]) not in complete]
    running = _running(plan["scheduler"], name) if open_ else set()
    lines = []
    for job in plan["jobs"]:
        run = (job["notebook"], job["key"])
        state, said = "missing", ""
        if job["key"] is None:
            said = "waits for those whose records it reads"
        elif run in complete:
            state, said = "done", _done(store.seen[run])
        elif run in (running or ()):
            state = "running"
        elif run in failed:
            state, said = "failed", failed[run]["why"]
            if failed[run]["copy"]:
                said += f" (see {failed[run]['copy']})"
        elif run in store.broken:
            said = f"{store.broken[run]}; will be set aside and run again"
        key = job["key"] or ""
        line = Line(job["notebook"], key, job["overrides"], state, said, job["piece"])
        lines.append(line)
    began = f"begun {_clock(plan['since'])} on {plan['host']} (process {plan['pid']})"
    if running is None:
        began += f"; no scheduler answers at {plan['scheduler']}, so nothing runs there"
    return began, lines


def _running(scheduler: str, batch: str) -> set[tuple[str, str]] | None:
    """(notebook, key) of what the workers of a batch execute; None where its scheduler
    does not answer.
    """
    from distributed import Client

    try:
        with Client(scheduler, timeout=ANSWER, set_as_default=False) as client:
            stacks = client.call_stack() or {}  # of what is executed just now
            tasks = [task for found in stacks.values() for task in found or ()]
    except OSError:
        return None
    parts = [task.split("~") for task in tasks if task.endswith(f"~{batch}")]
    return {("~".join(words[:-2]), words[-2]) for words in parts}


def _done(record: Mapping[str, Any]) -> str:
    if "pieces" in record:
        return f"of {len(record['pieces'])} pieces, {duration(record['seconds'])}"
    where = f", on {record['host']}" if record.get("host") else ""
    return duration(record["seconds"]) + where


def duration(seconds: float) -> str:
    """12 s, 3 min, 2 h 05 min."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02} min"


def _clock(since: float) -> str:
    """The time of the day, and the day where it is another."""
    then, now = time.localtime(since), time.localtime()
    form = "%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M:%S"
    return time.strftime(form, then)
