"""What runs where since when: read from the leases and plans in a store, so that any
terminal or machine that sees the store can ask.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from cchbook.runs import leases, records
from cchbook.runs.store import Store


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


def status(store: Store, name: str | None = None) -> tuple[dict, list[Line]]:
    """The plan of a batch (the newest, where none is named) and its jobs as they stand,
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
            f"batch is {name or 'the newest'!r}, of which there is nothing below "
            f"{store.url}; one of a `cch run` with this --output is wanted ({known})"
        )
    plan = plans[name or list(plans)[-1]]
    names = {job["notebook"] for job in plan["jobs"]}
    complete = store.all_complete(names)
    running = {(lease["notebook"], lease["key"]): lease for lease in store.running()}
    failed = {(n, key): told for n in names for key, told in store.failures(n).items()}
    lines = []
    for job in plan["jobs"]:
        run = (job["notebook"], job["key"])
        state, said = "missing", ""
        if job["key"] is None:
            said = "waits for those whose records it reads"
        elif run in complete:
            state, said = "done", _done(store.seen[run])
        elif run in running:
            state, said = "running", progress(running[run])
        elif run in failed:
            state, said = "failed", failed[run]["why"]
            if failed[run]["copy"]:
                said += f" (see {failed[run]['copy']})"
        elif run in store.broken:
            said = f"{store.broken[run]}; will be set aside and run again"
        key = job["key"] or ""
        line = Line(job["notebook"], key, job["overrides"], state, said, job["piece"])
        lines.append(line)
    return plan, lines


def client(plan: Mapping[str, Any]) -> str:
    """Who runs a batch, and whether he still does."""
    began = _clock(plan["since"])
    if not leases.alive({**plan, "beat": time.time()}):
        return f"begun {began} on {plan['host']}, ended since"
    here = plan["boot"] == leases.mine()["boot"]
    runs = "runs" if here else "was begun, and may run on another machine"
    return f"{runs} since {began} on {plan['host']} (process {plan['pid']})"


def progress(lease: Mapping[str, Any], expected: float | None = None) -> str:
    """One running job in words: where, since when, how far.

    `expected` are the seconds that it may take, by earlier runs.
    """
    elapsed = time.time() - lease["since"]
    words = [f"on {lease['host']}", f"since {_clock(lease['since'])}"]
    if "cell" in lease:
        words.append(f"cell {lease['cell'] + 1} of {lease['of']}")
        if lease["heading"]:
            words.append(f"“{lease['heading']}”")
    words.append(duration(elapsed))
    if expected is not None:
        words[-1] += f" of about {duration(expected)}"
    silent = time.time() - lease["beat"]
    if silent > 3 * leases.BEAT_FAR:
        words.append(f"silent for {duration(silent)}")
    return ", ".join(words)


def expectations(
    store: Store, kinds: Iterable[tuple[str, bool]], profile: str
) -> dict[tuple[str, bool], float]:
    """{(notebook, is a piece): seconds} by earlier runs of the same profile, of this
    store and recorded ones. What was never run so is left out.
    """
    found = {}
    for notebook, piece in set(kinds):
        store.all_complete([notebook])
        known = [r for (n, _), r in store.seen.items() if n == notebook]
        known += [run.record for run in records.recorded(notebook)]
        seconds = [
            r["seconds"]
            for r in known
            if r.get("profile") == profile
            and bool(r.get("piece")) == piece
            and "pieces" not in r
        ]
        if seconds:
            found[notebook, piece] = statistics.median(seconds)
    return found


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
