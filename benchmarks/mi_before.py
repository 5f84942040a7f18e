"""`latent` of an earlier commit against today's, on both halves of the panel.

    git worktree add DIR COMMIT
    python benchmarks/mi_before.py DIR [--samples 2000]

The two take turns on each task: a machine that slows down slows both. Writes
benchmarks/results/mi_before.csv (nats, seconds of the processor) and the book's table.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd

from cchbook.chapters import panel
from cchbook.runs import records

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "mi_before.csv"
PAGE = ROOT / "book" / "mi_before.md"

# a process for each checkout: reads the name of a pair, answers value and seconds
ESTIMATE = """
import sys, time
import numpy as np
from cchlib.mi import estimate_mi

def run(x, y):
    start = time.process_time()
    value = estimate_mi(x, y, device="cpu").value
    print(value, time.process_time() - start, flush=True)

rng = np.random.default_rng(0)
run(rng.standard_normal((100, 1)), rng.standard_normal((100, 1)))  # first use
for line in sys.stdin:
    with np.load(line.strip()) as pair:
        run(pair["x"], pair["y"])
"""


def start(checkout: Path) -> subprocess.Popen:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", ESTIMATE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": str(checkout)},
    )
    process.stdout.readline()
    return process


def page(frame: pd.DataFrame, commit: str, n: int) -> str:
    size = frame.assign(size=(frame.value - frame.truth).abs())
    means = size.groupby(["half", "code"])[["size", "seconds"]].mean()
    lines = [
        f"| half of the panel | mean absolute error at {commit} | today | seconds at "
        f"{commit} | today | times faster |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for half in ("tune", "report"):
        before, now = means.loc[half, "before"], means.loc[half, "today"]
        lines.append(
            f"| {half} | {before['size']:.3f} | {now['size']:.3f} | "
            f"{before.seconds:.2f} | {now.seconds:.2f} | "
            f"{before.seconds / now.seconds:.1f} |"
        )
    lines += [
        "",
        f"`latent` with its defaults, one pair a call, {n:,} samples, one thread, "
        "seconds of the processor a task.",
        "",
        f"Measured by `benchmarks/mi_before.py` on {frame.date.max()} "
        f"({platform.machine()}).",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--samples", type=int, default=2000)
    arguments = parser.parse_args()
    checkout = arguments.checkout.resolve()
    commit = subprocess.check_output(
        ["git", "-C", checkout, "rev-parse", "--short=7", "HEAD"], text=True
    ).strip()
    codes = {"before": start(checkout), "today": start(ROOT)}
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        pair = Path(folder) / "pair.npz"
        for problem in panel.problems():
            x, y = problem.sample(arguments.samples)
            np.savez(pair, x=x, y=y)
            for code, process in codes.items():
                print(pair, file=process.stdin, flush=True)
                value, seconds = map(float, process.stdout.readline().split())
                rows.append(
                    {
                        "half": problem.half,
                        "task": problem.name,
                        "truth": problem.truth,
                        "code": code,
                        "value": value,
                        "seconds": seconds,
                        "date": time.strftime("%Y-%m-%d"),
                    }
                )
                print(f"{problem.name:24s} {code:8s} {value:7.3f} {seconds:7.2f} s")
    for process in codes.values():
        process.stdin.close()
    frame = pd.DataFrame(rows)
    records.write_text(RESULTS, frame.to_csv(index=False, float_format="%.6g"))
    records.write_text(PAGE, page(frame, commit, arguments.samples))
    print(page(frame, commit, arguments.samples))


if __name__ == "__main__":
    main()
