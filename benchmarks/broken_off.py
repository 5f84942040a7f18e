"""Break off a long run three times, and see what of it is lost.

The image chapter at the paper's settings, cut to a size that ends within an hour beside
other work, split by seeds: in a clone of this checkout `cch run` is killed in the
middle of its second piece (SIGKILL), interrupted there (SIGINT), loses that piece's
kernel (SIGKILL), and then runs to the end. The run that is put together is recorded
there with `cch record`, and the scorecard must count cells by it. Nothing of this
checkout changes but `book/broken_off.md`, a table of the page on many machines.

`python benchmarks/broken_off.py` runs what is committed, not what is edited; `--set
seeds=5 n_test=10000` makes it larger, and the blows fall in later pieces.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from toy_checkout import CCH, heed_interrupts  # noqa: E402

from cchbook.runs import records  # noqa: E402
from cchbook.runs.store import Store  # noqa: E402

NOTEBOOK = "03_image"
SIZE = {
    "n_train": "2000",
    "n_test": "1000",
    "epochs": "1",
    "seeds": "2",
    "mi_seeds": "2",
    "mi_estimators": "[ksg]",
    "mi_samples": "1000",
}
AT_LAST = 20.0  # seconds of a piece after which a blow falls
BLOWS = ("SIGKILL of the command", "SIGINT", "SIGKILL of the kernel")


@dataclass
class Told:
    """What one start of the command left."""

    ended: str
    seconds: float
    complete: int
    lost: float  # seconds of work that no record holds


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--set", nargs="*", default=[], help="name=value beyond SIZE")
    options.add_argument("--no-page", action="store_true", help="leave book/ alone")
    given = options.parse_args()
    size = SIZE | dict(text.split("=", 1) for text in given.set)
    with tempfile.TemporaryDirectory(prefix="cch-broken-off-") as folder:
        clone = Path(folder) / "checkout"
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        env = {**os.environ, "CCH_ROOT": str(clone), "PYTHONPATH": str(clone)}
        env.pop("CCH_BUILD_DIR", None)
        told, key = broken_off(clone, env, size)
        text = page(told, size, shown(clone, env, key))
    print(text)
    if not given.no_page:
        records.write_text(ROOT / "book" / "broken_off.md", text)


def broken_off(
    clone: Path, env: dict[str, str], size: dict[str, str]
) -> tuple[list[Told], str]:
    """Start the command four times; what each left, and the key of the whole run."""
    store = Store(clone / "_build/runs")
    command = [*CCH, "run", NOTEBOOK, "--profile", "paper", "--split", "seeds"]
    command += ["--workers", "1"]
    for name, value in size.items():
        command += ["--set", f"{name}={value}"]
    told, seeds = [], int(size["seeds"])
    for number, blow in enumerate((*BLOWS, "")):
        began = time.monotonic()
        process = subprocess.Popen(
            command,
            env=env,
            cwd=clone,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=heed_interrupts,
        )
        lost = 0.0
        if blow:
            lease = in_the_middle(store, process, min(number + 1, seeds - 1))
            strike(blow, process.pid)
            lost = time.time() - lease["since"]
        said, _ = process.communicate()
        print(said, flush=True)
        wanted = {"": 0, BLOWS[0]: -signal.SIGKILL, BLOWS[1]: 130, BLOWS[2]: 1}[blow]
        assert process.returncode == wanted, f"it ended with {process.returncode}"
        seconds = time.monotonic() - began
        pieces = [k for k, piece in complete(store).items() if piece]
        told.append(Told(blow or "nothing: it ran to the end", seconds, 0, lost))
        told[-1].complete = len(pieces)
        print(told[-1], flush=True)
    (key,) = (key for key, piece in complete(store).items() if not piece)
    return told, key


def in_the_middle(store: Store, process: subprocess.Popen, pieces: int) -> dict:
    """The lease of the next piece, when so many are complete and it is on its way."""
    while process.poll() is None:
        time.sleep(0.2)
        known = complete(store)
        running = [lease for lease in store.running() if lease["key"] not in known]
        if len(known) < pieces or not running:
            continue
        # a third of a piece; less, where the machine has become faster meanwhile
        third = min(store.seen[NOTEBOOK, key]["seconds"] for key in known) / 3
        if time.time() - running[0]["since"] > min(third, AT_LAST):
            return running[0]
    raise AssertionError(f"it ended by itself: {process.stdout.read()}")


def complete(store: Store) -> dict[str, dict | None]:
    """{key: what it is a piece of, if it is one} of the complete runs."""
    runs = store.all_complete([NOTEBOOK])
    return {key: store.seen[NOTEBOOK, key].get("piece") for _, key in runs}


def strike(blow: str, client: int) -> None:
    if blow == "SIGINT":
        return os.kill(client, signal.SIGINT)
    if blow == BLOWS[0]:
        return os.kill(client, signal.SIGKILL)
    below = psutil.Process(client).children(recursive=True)
    (kernel,) = (p for p in below if "ipykernel_launcher" in " ".join(p.cmdline()))
    return kernel.kill()


def shown(clone: Path, env: dict[str, str], key: str) -> str:
    """Record the run in the clone, run the scorecard there: what it says of the run.

    A printed cell is told by the recorded run that is nearest to the paper's settings:
    the others of this chapter are taken away there.
    """
    shutil.rmtree(clone / "data" / "recorded" / NOTEBOOK)
    subprocess.run([*CCH, "record", key], env=env, cwd=clone, check=True)
    scorecard = [*CCH, "run", "09_scorecard", "--profile", "smoke", "--workers", "1"]
    subprocess.run(scorecard, env=env, cwd=clone, check=True)
    counted = subprocess.run(
        [sys.executable, "-c", CELLS, key],
        env=env,
        cwd=clone,
        check=True,
        capture_output=True,
        text=True,
    )
    (copy,) = (clone / "_build/runs/09_scorecard").glob("*/09_scorecard.ipynb")
    assert f"n_train = {SIZE['n_train']}" in copy.read_text(), "not on the page"
    return counted.stdout.strip()


# As the scorecard's notebook does, in the clone.
CELLS = """
import sys
from cchbook.chapters import replication
from cchbook.runs import records
newest = records.recorded("03_image")[-1]
assert newest.record["key"] == sys.argv[1], "another run is shown"
cells = replication.printed_cells({"03_image": [newest]}, {})
own = cells[cells["run"] == "recorded"]
assert len(own), "no cell of the paper is counted by this run"
names = own["table"].value_counts().sort_index()
print(", ".join(f"{count} of {name}" for name, count in names.items()))
"""


def page(told: list[Told], size: dict[str, str], cells: str) -> str:
    """The table of the page."""
    heads = ("ended by", "after s", "pieces complete", "work lost, s")
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---:|' * (len(heads) - 1)}"]
    for one in told:
        numbers = f"{one.seconds:.0f} | {one.complete} | {one.lost:.0f}"
        lines.append(f"| {one.ended} | {numbers} |")
    settings = ", ".join(f"`{name}={value}`" for name, value in size.items())
    where = f"{platform.machine()}, {records.cores()} cores beside other work"
    note = (
        f"Measured by `benchmarks/broken_off.py` on {time.strftime('%Y-%m-%d')} "
        f"({where}): `{NOTEBOOK}` at `paper` with {settings}, "
        "`--split seeds --workers 1`, the same command four times, the last one "
        "putting the pieces together. After `cch record` "
        f"the scorecard counts printed cells by this run: {cells}."
    )
    return "\n".join([*lines, "", note, ""])


if __name__ == "__main__":
    main()
