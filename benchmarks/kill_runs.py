"""Kill batches at random moments, and count what is lost and what is doubled.

Each round starts a batch of short jobs and, at a moment drawn at random, kills one of
its processes by SIGKILL: the client, a Dask worker (the process that runs papermill) or
a kernel. Then the same command goes on, without being killed, until it says that all is
done. Lost is a run that is missing or not whole afterwards, or a run that was complete
when the kill came and is no longer what it was; doubled is a run that was complete at
the kill and was executed again, or that stands there twice. Left over are processes
that are there a minute after a batch, and working folders after the one that went on.

`python benchmarks/kill_runs.py 60` adds each round to
`benchmarks/results/kill_runs.csv` and makes `book/kill_runs.md` of all that stand
there, the table of the page on many machines (about half an hour on two cores). The
moments are drawn from a seed. `--overhead` measures instead what a job costs beside
plain papermill in a loop, and writes `book/bench_batch.md`.
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

from toy_checkout import CCH, Toy  # noqa: E402

from cchbook.runs import records  # noqa: E402
from cchbook.runs.store import Store  # noqa: E402

ROUNDS = ROOT / "benchmarks" / "results" / "kill_runs.csv"
JOBS = 4
VICTIMS = ("client", "worker", "kernel")
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
    options.add_argument("--overhead", action="store_true", help="measure that alone")
    given = options.parse_args()
    if given.overhead:
        return overhead()
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
        return killed(victim, draw, toy, [*command, "--workers", "2"], env)


def killed(victim, draw, toy, command, env) -> Counter:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    client = subprocess.Popen(command, env=env, **quiet)
    # a moment between the first process of a job and the end of the last one
    began = time.monotonic()
    wanted, moment = draw.randrange(JOBS), draw.uniform(0.0, 4.0)
    started: set[psutil.Process] = set()
    while client.poll() is None:
        started |= descendants(client.pid)
        if any(map(is_worker, started)) and len(whole(toy)) >= wanted:
            break
        time.sleep(0.05)
    time.sleep(moment)
    started |= descendants(client.pid)
    before = whole(toy)
    ran = Counter(toy.executions())
    hit = strike(victim, client.pid, draw)
    found = Counter(kills=int(hit), complete=len(before) if hit else 0)
    if victim == "client":
        client.wait(timeout=60)
    try:
        client.wait(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        found["hung"] += 1
        client.kill()
        client.wait()
    found["left over"] += settle(started)

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
    found["left over"] += settle({p for p in map(process, toy.processes()) if p})
    found["left over"] += len(list((toy.root / "_build/runs/.partial").glob("*")))
    found["seconds"] += round(time.monotonic() - began)
    return found


def descendants(client: int) -> set[psutil.Process]:
    """All processes that a command has started."""
    try:
        return set(psutil.Process(client).children(recursive=True))
    except psutil.NoSuchProcess:
        return set()


def process(pid: int) -> psutil.Process | None:
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        return None


def is_worker(process: psutil.Process) -> bool:
    """Whether it runs papermill: it has a kernel."""
    try:
        return any("ipykernel" in " ".join(c.cmdline()) for c in process.children())
    except psutil.NoSuchProcess:
        return False


def strike(victim: str, client: int, draw: random.Random) -> bool:
    """Kill one process; False where none of its kind runs at that moment."""
    workers = [p for p in descendants(client) if is_worker(p)]
    if victim == "client":
        chosen = [client]
    elif victim == "worker":
        chosen = [worker.pid for worker in workers]
    else:
        chosen = [kernel.pid for worker in workers for kernel in worker.children()]
    if not chosen:
        return False
    try:
        os.kill(draw.choice(sorted(chosen)), signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


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


def settle(started: set[psutil.Process]) -> int:
    """Wait until what was started has ended, a minute at most; how many have not."""
    _, left = psutil.wait_procs(list(started), timeout=60)
    return len(left)


def overhead(count: int = 16) -> None:
    """Seconds a job of a batch with one worker, and of papermill in a loop, for a
    notebook that does nothing; what they differ by, with what the batch costs once.
    """
    import papermill

    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="cch-kill-") as folder:
        toy = Toy(Path(folder))
        path = toy.add("01_toy")
        env = {**os.environ, "CCH_ROOT": folder}
        env.pop("CCH_BUILD_DIR", None)
        seconds = {}
        for jobs in (1, count + 1):
            sweep = toy.root / "sweep.yaml"
            sweep.write_text(f"01_toy: {{i: {list(range(jobs))}, wait: [0]}}")
            command = [*CCH, "run", "--sweep", str(sweep), "--workers", "1", "--again"]
            began = time.perf_counter()
            subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL)
            seconds[jobs] = time.perf_counter() - began
        os.environ["CCH_ROOT"] = folder
        began = time.perf_counter()
        for i in range(count):
            out = str(toy.root / f"out{i}.ipynb")
            options = {"i": i, "wait": 0.0}
            papermill.execute_notebook(str(path), out, options, progress_bar=False)
        plain = (time.perf_counter() - began) / count
    each = (seconds[count + 1] - seconds[1]) / count
    rows = (
        ("papermill in a loop, a job", plain),
        ("`cch run --workers 1`, a job", each),
        ("overhead of the batch, a job", each - plain),
        ("a batch of one job, start and end included", seconds[1]),
    )
    lines = [f"| {what} | {value:.2f} s |" for what, value in rows]
    note = (
        f"Measured by `benchmarks/kill_runs.py --overhead` on "
        f"{time.strftime('%Y-%m-%d')} ({platform.machine()}, {records.cores()} cores, "
        f"load {busy:.1f} before it began): {count} notebooks that do nothing."
    )
    text = "\n".join(["| what | measured |", "|---|---:|", *lines, "", note, ""])
    print(text)
    records.write_text(ROOT / "book" / "bench_batch.md", text)


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
