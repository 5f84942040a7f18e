"""The same blows to Snakemake, DVC and `cch run`: would one of them do instead?

Four jobs of a few seconds, each a parameterised notebook that papermill executes. Each
runner is killed by SIGKILL when its first job is complete and another one runs; then
the same command is given once more, at once. Counted are what outlives the kill,
complete jobs that are executed again, and whether that command goes on. Then, from
nothing, the command is given twice at the same time, and last
a result is cut off to half.

`python benchmarks/other_runners.py --bin FOLDER` takes `snakemake` and `dvc` from that
folder, an environment of its own (`pip install snakemake dvc`), and makes
`book/other_runners.md`, the table of the contributors' page.
"""

from __future__ import annotations

import argparse
import os
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

from toy_checkout import CCH, Toy, wait_until, write_notebook  # noqa: E402

from cchbook.runs import records  # noqa: E402

JOBS = 4
SECONDS = 10.0  # of a job
PATIENCE = 600
TRACE = """import time
with open({trace!r}, "a") as stream:
    stream.write(f"{{i}}\\n")
time.sleep({seconds})"""
RESULT = "import json\njson.dump({'twice': 2 * i, 'of': 'a number'}, open(out, 'w'))"
PAPERMILL = "papermill --no-progress-bar toy.ipynb"
SNAKEFILE = f"""
rule all:
    input: expand("runs/{{i}}.json", i=range({JOBS}))
rule piece:
    input: "toy.ipynb"
    output: note="runs/{{i}}.ipynb", record="runs/{{i}}.json"
    shell: "{PAPERMILL} {{output.note}} -p i {{wildcards.i}} -p out {{output.record}}"
"""
DVC = f"""
stages:
  piece:
    foreach: {list(range(JOBS))}
    do:
      cmd: {PAPERMILL} runs/${{item}}.ipynb -p i ${{item}} -p out runs/${{item}}.json
      deps: [toy.ipynb]
      outs:
      - runs/${{item}}.ipynb
      - runs/${{item}}.json
"""


class Runner:
    """A folder with four jobs, and the command that runs them."""

    name = ""
    again = ""  # what the second command needs beyond the first

    def __init__(self, folder: Path, tools: Path):
        self.folder, self.tools = folder, tools
        self.trace = folder / "trace.txt"
        self.env = {**os.environ, "CCH_ROOT": str(folder)}
        self.env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        self.prepare()

    def prepare(self) -> None:
        write_notebook(
            self.folder / "toy.ipynb",
            [
                "i = 0\nout = ''",
                TRACE.format(trace=str(self.trace), seconds=SECONDS),
                RESULT,
            ],
        )
        (self.folder / "runs").mkdir()

    def command(self) -> list[str]:
        raise NotImplementedError

    def results(self) -> dict[int, Path]:
        """The file with what a job found, by job."""
        files = (self.folder / "runs").glob("*.json")
        return {int(p.stem): p for p in files}

    def executions(self) -> Counter:
        lines = self.trace.read_text().split() if self.trace.is_file() else []
        return Counter(map(int, lines))

    def start(self) -> subprocess.Popen:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        return subprocess.Popen(self.command(), cwd=self.folder, env=self.env, **quiet)


class Snakemake(Runner):
    """Two jobs at once."""

    name = "Snakemake"

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "Snakefile").write_text(SNAKEFILE)

    def command(self) -> list[str]:
        return [str(self.tools / "snakemake"), "--cores", "2"]


class Dvc(Runner):
    """One job at a time: `dvc repro` knows no other way."""

    name = "DVC"

    def prepare(self) -> None:
        super().prepare()
        (self.folder / "dvc.yaml").write_text(DVC)
        subprocess.run(["git", "init", "-q"], cwd=self.folder, check=True)
        start = [str(self.tools / "dvc"), "init", "-q"]
        subprocess.run(start, cwd=self.folder, check=True)

    def command(self) -> list[str]:
        return [str(self.tools / "dvc"), "repro"]


class Cch(Runner):
    """Two jobs at once."""

    name = "cch run"

    def prepare(self) -> None:
        self.toy = Toy(self.folder)
        self.toy.add("01_toy", "run.log('twice', 2 * i)")
        grid = f"01_toy: {{i: {list(range(JOBS))}, wait: [{SECONDS}]}}"
        (self.folder / "grid.yaml").write_text(grid)

    def command(self) -> list[str]:
        return [*CCH, "run", "--sweep", "grid.yaml", "--workers", "2"]

    def results(self) -> dict[int, Path]:
        found = {}
        for file in (self.folder / "_build/runs/01_toy").glob("*/metrics.csv"):
            record = records.read(file.parent)
            found[record.record["parameters"]["i"]] = file
        return found

    def executions(self) -> Counter:
        return Counter(int(line.split()[1]) for line in self.toy.executions())


def blows(kind: type[Runner], tools: Path) -> dict[str, str]:
    """A row of the table."""
    with tempfile.TemporaryDirectory(prefix="cch-runner-") as folder:
        runner = kind(Path(folder), tools)
        killed = runner.start()
        wait_until(lambda: len(runner.executions()) > len(runner.results()) > 0, 240)
        before = set(runner.results())
        ran = runner.executions()
        children = psutil.Process(killed.pid).children(recursive=True)
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        time.sleep(3)  # a kernel looks for its parent once a second
        outlived = sum(child.is_running() for child in children)
        ended = runner.start().wait(timeout=PATIENCE)
        doubled = sum((runner.executions() - ran)[i] for i in before)
        for child in children:
            if child.is_running():
                child.wait(timeout=60)
    with tempfile.TemporaryDirectory(prefix="cch-runner-") as folder:
        runner = kind(Path(folder), tools)
        first = runner.start()
        wait_until(lambda: runner.executions(), 240)
        second = runner.start()
        codes = [process.wait(timeout=PATIENCE) for process in (first, second)]
        more = sum(runner.executions().values()) - JOBS
        cut = runner.results()[0]
        whole = cut.read_bytes()
        cut.unlink()  # DVC's may be a link to its cache
        cut.write_bytes(whole[: len(whole) // 2])
        runner.start().wait(timeout=PATIENCE)
        mended = runner.results()[0].read_bytes() == whole
    return {
        "runner": kind.name,
        "processes that outlive SIGKILL": str(outlived),
        "complete jobs executed again": f"{doubled} of {len(before)}",
        "same command at once goes on": _yes(ended == 0),
        "two commands at once both end well": _yes(codes == [0, 0]),
        "jobs executed twice by them": str(more),
        "a result cut off is mended": _yes(mended),
    }


def _yes(said: bool) -> str:
    return "yes" if said else "no"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--bin", type=Path, required=True)
    tools = options.parse_args().bin.absolute()
    rows = []
    for kind in (Snakemake, Dvc, Cch):
        rows.append(blows(kind, tools))
        print(rows[-1], flush=True)
    versions = []
    for tool in ("snakemake", "dvc"):
        command = [str(tools / tool), "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True)
        versions.append(f"{tool} {said.stdout.strip()}")
    heads = list(rows[0])
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---|' * (len(heads) - 1)}"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    day = time.strftime("%Y-%m-%d")
    note = (
        f"Measured by `benchmarks/other_runners.py` on {day} ({', '.join(versions)}): "
        f"{JOBS} notebooks of {SECONDS:.0f} s by papermill."
    )
    text = "\n".join([*lines, "", note, ""])
    print(text)
    records.write_text(ROOT / "book" / "other_runners.md", text)


if __name__ == "__main__":
    main()
