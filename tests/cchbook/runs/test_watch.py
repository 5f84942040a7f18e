"""Batches that one can watch, stop and put together: real processes, real signals."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from toy_checkout import (
    CCH,
    alive,
    complete,
    heed_interrupts,
    run,
    wait_until,
    write_notebook,
)
from typer.testing import CliRunner

from cchbook.runs import batch, files, plan, records
from cchbook.runs.job import Limits
from cchbook.runs.store import Store, collect
from cchdecide.cli import app


def cch(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def started(*arguments):
    """`cch` in a process of its own, in a session of its own as a terminal gives it."""
    return subprocess.Popen(
        [*CCH, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_interrupts,
    )


# Stopping -----------------------------------------------------------------------------


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_a_batch_that_is_stopped_says_interrupted_and_leaves_no_failure(toy, told):
    toy.add("01_toy")
    (toy.root / "s.yaml").write_text("01_toy: {i: [0, 1, 2], wait: [60]}")
    one = started("run", "--sweep", toy.root / "s.yaml", "--workers", 2)
    wait_until(lambda: len(toy.executions()) == 2)
    os.killpg(one.pid, told)  # as Ctrl-C in a terminal does: to the whole group
    out, err = one.communicate(timeout=300)
    assert one.returncode == 130, out + err
    assert "2 interrupted, 1 not run" in out and "failed" not in out
    assert "interrupted; what is complete is kept" in err and "Traceback" not in err
    wait_until(lambda: not any(map(alive, toy.processes())))
    assert list((toy.root / "_build/runs/01_toy").iterdir()) == []
    assert list((toy.root / "_build/runs/.partial").iterdir()) == []


# Watching -----------------------------------------------------------------------------


def test_status_from_another_terminal_while_it_runs_and_afterwards(toy):
    toy.add("01_toy", "time.sleep(600 if i == 1 else 0)", "1 / (i - 2)")
    (toy.root / "s.yaml").write_text("01_toy: {i: [0, 1, 2, 3]}")
    command = ["run", "--sweep", toy.root / "s.yaml", "--workers", "1"]
    assert "there is nothing" in cch("status").stderr
    first = run(sweep={"01_toy": [{"i": 2}]})
    pool = toy.processes()  # the tests' own workers go on
    one = started(*command)

    wait_until(lambda: "01_toy 1" in toy.executions())
    said = cch("status").stdout.splitlines()
    assert re.match(
        r"1 done, 1 running, 1 failed, 1 missing of 4; begun \d\d:\d\d:\d\d on", said[0]
    )
    assert f"(process {one.pid})" in said[0]
    states = [line.split()[0] for line in said[1:]]
    assert states == ["done", "running", "failed", "missing"]  # as the grid has them
    # a path as it is, and the first line of the error
    assert said[3].endswith(
        f"ZeroDivisionError: division by zero (see {first[0].copy})"
    )
    one.kill()
    one.communicate()
    wait_until(lambda: not any(map(alive, set(toy.processes()).difference(pool))))
    said = cch("status").stdout
    assert "no scheduler answers" in said.splitlines()[0]
    assert "1 done, 1 failed, 2 missing" in said


def test_collect_makes_one_tidy_table_with_parameters_as_columns(toy):
    toy.add("01_toy", "run.log('twice', 2 * i, seed=0, device='mine')")
    toy.add("02_other", "run.log('once', i)")
    run(sweep={"01_toy": [{"i": 3}, {"i": 5}], "02_other": [{"i": 7}]})
    table = collect("01_toy")
    assert sorted(zip(table["i"], table["value"])) == [(3, 6), (5, 10)]
    assert set(table["parameter.device"]) == {"cpu"} and set(table["device"]) == {
        "mine"
    }
    assert list(table.columns[-4:]) == ["seed", "metric", "value", "unit"]
    assert len(collect()) == 3

    grid = toy.root / "s.yaml"
    grid.write_text("01_toy: {i: [5, 9]}")
    to = toy.root / "all.csv"
    said = cch("collect", "--sweep", grid, "-o", to)
    assert said.exit_code == 0 and "1 of 2 runs are missing" in said.stderr, said.output
    assert pd.read_csv(to)["value"].tolist() == [10]
    assert cch("collect", "-o", toy.root / "all.xls").exit_code == 2
    assert "no complete run" in cch("collect", "03_none", "-o", to).stderr


# Limits -------------------------------------------------------------------------------


def test_time_limits_of_jobs_and_cells(toy):
    toy.add("01_toy")
    (job,) = run(settings=["wait=6000"], limits=Limits(job=5))
    (cell,) = run(settings=["wait=6000"], limits=Limits(cell=1))
    assert (job.status, job.why) == ("failed", "took longer than 5 s (--timeout)")
    assert cell.status == "failed" and cell.why.startswith(
        "a cell took longer than 1 s"
    )
    wait_until(lambda: not any(map(alive, toy.processes()[::2])))  # their kernels


def test_what_its_machine_killed_is_tried_again_and_an_exception_is_not(toy):
    toy.add("02_fails", "1 / 0")
    toy.add("03_always", "os.kill(os.getpid(), 9)")
    outcomes = {o.job.notebook: o for o in run(retries=2)}
    assert {o.status for o in outcomes.values()} == {"failed"}
    assert outcomes["03_always"].why.startswith("the kernel died in mid-run")
    assert Path(outcomes["03_always"].copy).is_file()
    counts = pd.Series(toy.executions()).value_counts()
    assert counts.to_dict() == {"02_fails 0": 1, "03_always 0": 3}


def test_again_runs_what_is_complete_and_replaces_it(toy):
    toy.add("01_toy", "run.log('now', time.time())")
    run()
    (before,) = complete(toy).values()
    assert [o.status for o in run(limits=Limits(again=True))] == ["done"]
    (after,) = complete(toy).values()
    assert before.path == after.path and len(toy.executions()) == 2
    assert after.metrics["value"][0] > json.loads(json.dumps(before.record))["seconds"]


# What is given ------------------------------------------------------------------------


def test_a_misspelt_parameter_of_plain_papermill_is_refused(toy):
    path = toy.add("01_toy")
    command = [sys.executable, "-m", "papermill", path, toy.root / "out.ipynb", "-p"]
    done = subprocess.run(
        [*map(str, command), "wiat", "1"], capture_output=True, text=True
    )
    assert done.returncode != 0
    assert (
        "parameter of 01_toy must be one of i, wait, device, got 'wiat'" in done.stderr
    )
    done = subprocess.run(
        [*map(str, command), "i", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("x=Infinity", "parameter 'x' must be finite, got inf"),
        ("x=NaN", "parameter 'x' must be finite, got nan"),
        ("x=-.inf", "parameter 'x' must be finite, got -inf"),
        ("d={1: 2}", r"keys of parameter 'd' must be texts.*\(\"1\"\), got 1"),
        ('d={"a": {2020-01-01: 2}}', "keys .* got datetime.date"),
        ("xs=[1, .nan]", "parameter 'xs' must be finite, got nan"),
        ("xs=[2020-01-01]", "must be a number, text.* of type date"),
    ],
)
def test_what_a_record_can_not_hold_is_refused_while_planning(toy, setting, said):
    toy.add("01_toy", parameters="x: float = 1.0\nd: dict = {}\nxs: list = []")
    with pytest.raises(ValueError, match=said):
        batch.Batch(settings=[setting])


def test_a_number_that_is_read_as_another_is_said(toy):
    toy.add("01_toy")
    assert plan.readings(["i=10", "x=1e-3", "name=word", "xs=[a, b]", "f=true"]) == []
    done = cch("run", "--set", "i=010", "--workers", 1)
    assert "--set i=010 is read as 8" in done.stderr and toy.executions() == [
        "01_toy 8"
    ]
    assert plan.readings(["a=on"]) == [
        "--set a=on is read as true; a='\"on\"' would be the text"
    ]


def test_a_notebook_without_a_record_is_told_while_planning_and_runs_plainly(toy):
    path = toy.root / "notebooks/01_mine.ipynb"
    write_notebook(path, ["i: int = 3", "print(2 * i)"])
    told = cch("run", path)
    assert (
        told.exit_code == 2
        and '  run = records.start("01_mine", globals())' in told.stderr
    )
    done = cch("run", path, "--plain", "--set", "i=4", "--workers", 1)
    assert done.exit_code == 0, done.output
    (record,) = complete(toy, "01_mine").values()
    assert record.record["parameters"] == {"i": 4} and record.record["seconds"] > 0
    assert (
        len(record.metrics) == 0 and "8\\n" in record.file("01_mine.ipynb").read_text()
    )
    assert "1 kept" in cch("run", path, "--plain", "--set", "i=4").stdout


def test_help_loads_nothing_heavy():
    code = "import sys\nfrom cchdecide.cli import main\ntry: main()\nfinally:\n"
    code += " print(*{m.partition('.')[0] for m in sys.modules}, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True
    )
    heavy = {"torch", "papermill", "distributed", "pandas", "matplotlib", "sklearn"}
    assert "status" in done.stdout and not heavy & set(done.stderr.split())


# Whole or not at all ------------------------------------------------------------------


def finished(place, by="me"):
    """The folder of a run, ready to be published."""
    for file in ("metrics.csv", "n.ipynb"):
        files.write_text(place / file, f'"{by}"')
    listed = files.inventory(place, ["metrics.csv", "n.ipynb"])
    files.write_json(place / "record.json", {"by": by, "files": listed})
    return place


@pytest.mark.parametrize("name", ["record.json", "metrics.csv", "n.ipynb"])
@pytest.mark.parametrize("cut", [0, 3])
def test_a_run_that_is_broken_is_not_complete(tmp_path, name, cut):
    store = Store(tmp_path / "runs")
    (tmp_path / "runs/n").mkdir(parents=True)
    assert store.publish(finished(tmp_path / "made"), "n", "k")
    assert store.complete("n", "k") and not store.broken
    os.truncate(tmp_path / "runs/n/k" / name, cut)
    assert not store.complete("n", "k")
    assert store.broken["n", "k"].startswith(f"{tmp_path}/runs/n/k")
    assert name in store.broken["n", "k"]


def test_a_run_that_is_broken_is_said_set_aside_and_made_again(toy):
    name, cut = "metrics.csv", 20
    toy.add("01_toy")
    run()
    (record,) = complete(toy).values()
    os.truncate(record.path / name, cut)
    done = cch("run", "--workers", 1)
    assert done.exit_code == 0 and re.search(
        rf"1 done|again: {record.path}", done.stdout
    )
    assert f"{record.path}/{name}" in done.stdout and "set aside as" in done.stdout
    assert list(complete(toy)) == [record.path.name] and len(toy.executions()) == 2
    (aside,) = record.path.parent.glob("*.broken-*")
    assert (aside / name).stat().st_size == cut


def test_a_record_that_can_not_be_read_is_named(tmp_path):
    (tmp_path / "record.json").write_text('{"half": ')
    with pytest.raises(ValueError, match=f"{tmp_path}/record.json can't be read"):
        records.read(tmp_path)


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    store = Store(tmp_path)
    with store.workplace("b", "n", "k") as place:
        (place / "run/n.ipynb").write_text('{"cells": [')  # where the disk was full
        assert store.keep_failure(place / "run", "n", "k", why="no space") == ""
    assert [p.name for p in (tmp_path / "n").iterdir()] == ["k.failed.json"]

    def full(self, content):
        with open(self, "wb") as stream:
            stream.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(tmp_path / "x" / "file", "content")
    assert list((tmp_path / "x").iterdir()) == []


def test_only_what_nobody_works_in_is_swept(tmp_path):
    store = Store(tmp_path)
    code = (
        "import os, sys, time\n"
        "from cchbook.runs.store import Store\n"
        f"with Store({str(tmp_path)!r}).workplace('b', 'n~1', sys.argv[1]):\n"
        "    print('works', flush=True)\n"
        "    time.sleep(600)"
    )
    dead, lives = [
        subprocess.Popen([sys.executable, "-c", code, k], stdout=subprocess.PIPE)
        for k in ("dead", "lives")
    ]
    for one in (dead, lives):
        assert one.stdout.readline() == b"works\n"
    dead.kill()
    dead.wait()
    assert sorted(store.begun("b")) == [("n~1", "dead"), ("n~1", "lives")]
    store.sweep()
    assert store.begun("b") == [("n~1", "lives")]
    lives.kill()
    lives.wait()
    new, old = (tmp_path / ".partial" / name for name in (".new", ".old"))
    for folder in (new, old):
        folder.mkdir()
    os.utime(old, (1, 1))
    store.sweep()
    # whoever is at making one has a moment for it
    assert list((tmp_path / ".partial").iterdir()) == [new]


# Object stores ------------------------------------------------------------------------


def test_two_machines_that_finish_one_run_at_one_moment_do_not_mix_its_files(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    put = MemoryFileSystem.put_file
    store = Store("memory://bucket/runs")

    def and_the_other_too(self, source, target, **kwargs):
        put(self, source, target, **kwargs)
        if target.endswith("metrics.csv"):
            monkeypatch.setattr(MemoryFileSystem, "put_file", put)
            assert Store("memory://bucket/runs").publish(
                finished(tmp_path / "two", "two"), "n", "k"
            )

    monkeypatch.setattr(MemoryFileSystem, "put_file", and_the_other_too)
    assert store.publish(
        finished(tmp_path / "one", "one"), "n", "k"
    ) and store.complete("n", "k")
    found = records.read(store.fetch("n", "k", tmp_path / "copy"))
    names = {found.file(name).read_text() for name in ("metrics.csv", "n.ipynb")}
    assert names == {f'"{found.record["by"]}"'} and found.changed() == []


def test_batches_and_failures_lie_in_the_object_store_too(toy, monkeypatch, inside):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    toy.add("01_toy", "1 / (i - 1)", "seen = os.environ['CCH_JOB']")
    url = "memory://bucket/runs"
    inside(sweep={"01_toy": [{"i": 0}, {"i": 1}]}, output=url)
    said = cch("status", "--output", url).stdout.splitlines()
    assert said[0].startswith("1 done, 1 failed of 2")
    assert said[2].endswith(
        "(see /bucket/runs/01_toy/" + said[2].split()[2] + ".failed.ipynb)"
    )
    assert not any("/.partial/" in name for name in MemoryFileSystem.store)
