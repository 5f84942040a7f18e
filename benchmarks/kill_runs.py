"""Kill batches at random moments, and count what is lost and what is doubled.

Each round starts a batch of short jobs and, at a moment drawn at random, kills one of
its processes by SIGKILL: the client, a driver (the process that runs papermill), a
kernel, or on a Dask cluster a worker. Then the same command goes on, without being
killed, until it says that all is done. Lost is a run that is missing or not whole
afterwards, or a run that was complete when the kill came and is no longer what it was;
doubled is a run that was complete at the kill and was executed again, or that stands
there twice. Leftovers are processes that outlive the batch, and workplaces that nobody
holds.

`python benchmarks/kill_runs.py 100` adds each round to
`benchmarks/results/kill_runs.csv` and makes `book/kill_runs.md` of all that stand
there, the table of the page on many machines (about an hour on two cores). The moments
are drawn from a seed.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from toy_checkout import CCH, Toy, alive  # noqa: E402

from cchbook.runs import records  # noqa: E402
from cchbook.runs.store import Store  # noqa: E402

ROUNDS = ROOT / "benchmarks" / "results" / "kill_runs.csv"
JOBS = 4
VICTIMS = ("client", "driver", "kernel", "worker")
#: of each round; `kills` is 0 where no such process ran at the moment
COUNTED = (
    "kills",
    "complete",
    "lost",
    "doubled",
    "left over",
    "not finished",
    "hung",
)
# generous: the machine may have other work
PATIENCE = 600  # seconds until a command counts as hung


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("rounds", type=int, nargs="?", default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--minutes", type=float, help="begin no round after these")
    options.add_argument(
        "--victims", nargs="+", choices=VICTIMS, default=VICTIMS, help="in turn"
    )
    options.add_argument("--page", action="store_true", help="make the table alone")
    given = options.parse_args()
    draw = random.Random(given.seed)
    began = time.monotonic()
    for number in range(0 if given.page else given.rounds):
        if given.minutes and time.monotonic() - began > 60 * given.minutes:
            break
        victim = given.victims[number % len(given.victims)]
        found = one_round(victim, draw)
        note(found, given.seed, number + 1, victim)
        print(number + 1, victim, dict(found), flush=True)
    text = page()
    print(text)
    records.write_text(ROOT / "book" / "kill_runs.md", text)


def note(found: Counter, seed: int, number: int, victim: str) -> None:
    """Add one round to those that stand."""
    row = [time.strftime("%Y-%m-%d"), seed, number, victim]
    with open(ROUNDS, "a", encoding="utf-8") as stream:
        csv.writer(stream).writerow([*row, *(found[name] for name in COUNTED)])


def one_round(victim: str, draw: random.Random) -> Counter:
    """One batch that is killed and goes on: what there is to count of it."""
    with tempfile.TemporaryDirectory(prefix="cch-kill-") as folder:
        toy = Toy(Path(folder))
        toy.add("01_toy", "run.log('twice', 2 * i)")
        sweep = toy.root / "sweep.yaml"
        points = list(range(JOBS))
        sweep.write_text(f"01_toy: {{i: {points}, wait: [0.3]}}")
        env = {**os.environ, "CCH_ROOT": folder}
        env.pop("CCH_BUILD_DIR", None)
        command = [*CCH, "run", "--sweep", str(sweep), "--retries", "2"]
        cluster = Dask(toy.root, env) if victim == "worker" else None
        try:
            if cluster:
                command += ["--cluster", cluster.address]
                command += ["--output", str(toy.root / "_build/runs")]
            else:
                command += ["--workers", "2"]
            return killed(victim, draw, toy, command, env, cluster)
        finally:
            if cluster:
                cluster.end()


def killed(victim, draw, toy, command, env, cluster) -> Counter:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    client = subprocess.Popen(command, env=env, **quiet)
    # a moment between the first process of a job and the end of the last one
    begins = time.monotonic()
    wanted, moment = draw.randrange(JOBS), draw.uniform(0.0, 4.0)
    while client.poll() is None:
        if drivers(client.pid, cluster) and len(whole(toy)) >= wanted:
            break
        time.sleep(0.05)
    time.sleep(moment)
    before = whole(toy)
    ran = Counter(toy.executions())
    hit = strike(victim, client.pid, cluster, draw)
    found = Counter(kills=int(hit), complete=len(before) if hit else 0)
    if victim == "client":
        client.wait(timeout=60)
    try:
        client.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        found["hung"] += 1
        client.kill()
        client.wait()
    settle(toy)

    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=PATIENCE
    )
    after = whole(toy)
    found["not finished"] += done.returncode != 0
    found["lost"] += JOBS - len(after)
    found["lost"] += sum(after.get(key) != text for key, text in before.items())
    runs_again = Counter(toy.executions()) - ran
    keys = {f"01_toy {i}" for i in finished(before)}
    found["doubled"] += sum(count for name, count in runs_again.items() if name in keys)
    folders = [p for p in (toy.root / "_build/runs/01_toy").iterdir() if p.is_dir()]
    found["doubled"] += len(folders) - len(after)
    # a worker that lives keeps its driver for the next job
    kept = {driver.pid for driver in drivers(client.pid, cluster)}
    found["left over"] += sum(map(alive, set(toy.processes()) - kept))
    found["left over"] += len(list((toy.root / "_build/runs/.partial").glob("*")))
    found["seconds"] += round(time.monotonic() - begins)
    return found


def drivers(client: int, cluster: Dask | None) -> list[psutil.Process]:
    """The processes that run papermill."""
    found = []
    for pid in {client} | workers(cluster):
        try:
            children = psutil.Process(pid).children()
            found += [c for c in children if "cchbook.runs.job" in c.cmdline()]
        except psutil.NoSuchProcess:
            continue
    return found


def strike(victim: str, client: int, cluster: Dask | None, draw: random.Random) -> bool:
    """Kill one process; False where none of its kind runs at that moment."""
    if victim == "client":
        chosen = [client]
    elif victim == "worker":
        chosen = sorted(workers(cluster))
    elif victim == "driver":
        chosen = [driver.pid for driver in drivers(client, cluster)]
    else:
        chosen = [
            kernel.pid for d in drivers(client, cluster) for kernel in d.children()
        ]
    if not chosen:
        return False
    try:
        os.kill(draw.choice(chosen), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def workers(cluster: Dask | None) -> set[int]:
    return {worker.pid for worker in cluster.workers} if cluster else set()


def whole(toy: Toy) -> dict[str, bytes]:
    """{key: its record} of the complete runs."""
    store = Store(toy.root / "_build/runs")
    found = {}
    for name, key in store.all_complete(["01_toy"]):
        run = records.read(store.where(name, key))
        assert run.changed() == [] and len(run.metrics) == 1
        found[key] = (run.path / "record.json").read_bytes()
    return found


def finished(before: dict[str, bytes]) -> list[int]:
    """Which of the grid's points were complete."""
    return [json.loads(text)["parameters"]["i"] for text in before.values()]


def settle(toy: Toy) -> None:
    """Wait until what was started has ended, 30 s at most."""
    end = time.monotonic() + 30
    processes = toy.processes() if toy.trace.is_file() else []
    while any(map(alive, processes)) and time.monotonic() < end:
        time.sleep(0.05)


class Dask:
    """A scheduler and two workers."""

    def __init__(self, folder: Path, env: dict[str, str]):
        file = folder / "scheduler.json"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        start = [sys.executable, "-m"]
        options = ["--scheduler-file", str(file), "--no-dashboard"]
        port = ["--host", "127.0.0.1", "--port", "0"]
        scheduler = [*start, "distributed.cli.dask_scheduler", *options, *port]
        worker = [*start, "distributed.cli.dask_worker", *options, "--nthreads", "1"]
        worker += ["--no-nanny", "--local-directory", str(folder)]
        self.scheduler = subprocess.Popen(scheduler, env=env, cwd=folder, **quiet)
        while not file.is_file():
            time.sleep(0.05)
        self.workers = [
            subprocess.Popen(worker, env=env, cwd=folder, **quiet) for _ in range(2)
        ]
        from distributed import Client

        with Client(scheduler_file=str(file), timeout=PATIENCE) as client:
            client.wait_for_workers(2, timeout=PATIENCE)
            self.address = client.scheduler_info()["address"]

    def end(self) -> None:
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


def page() -> str:
    """The table of the page, of all rounds that stand in the results."""
    with open(ROUNDS, encoding="utf-8", newline="") as stream:
        rounds = list(csv.DictReader(stream))
    heads = ("killed", "times", "runs complete by then", *COUNTED[2:])
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for victim in (*VICTIMS, "all"):
        own = [row for row in rounds if victim in (row["victim"], "all")]
        sums = [sum(int(row[name]) for row in own) for name in COUNTED]
        lines.append(f"| {victim} | {' | '.join(map(str, sums))} |")
    days = sorted({row["date"] for row in rounds})
    where = f"{platform.machine()}, {records.cores()} cores beside other work"
    note = (
        f"Measured by `benchmarks/kill_runs.py` on {', '.join(days)} ({where}; "
        f"each round is in `benchmarks/results/kill_runs.csv`): {JOBS} jobs a batch, "
        "two at once, SIGKILL at a random moment, then the same command once more."
    )
    return "\n".join([*lines, "", note, ""])


if __name__ == "__main__":
    main()
