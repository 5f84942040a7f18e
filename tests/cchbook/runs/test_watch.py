"""Batches that one can watch, stop and put together: real processes, real signals."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from toy_checkout import (
    CCH,
    alive,
    complete,
    heed_interrupts,
    wait_until,
    write_notebook,
)
from typer.testing import CliRunner

from cchbook.runs import batch, files, leases, records, watch
from cchbook.runs.job import Limits
from cchbook.runs.store import Store
from cchdecide.cli import app


def run(*args, workers=2, **kwargs):
    with batch.local(workers) as pool:
        return list(batch.Batch(*args, **kwargs).run(pool))


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
    out, err = one.communicate(timeout=120)
    assert one.returncode == 130, out + err
    assert "2 interrupted, 1 not run" in out and "failed" not in out
    assert "interrupted; what is complete is kept" in err and "Traceback" not in err
    wait_until(lambda: not any(map(alive, toy.processes())), 10)
    assert list((toy.root / "_build/runs/01_toy").iterdir()) == []
    assert list((toy.root / "_build/runs/.partial").iterdir()) == []


# Watching -----------------------------------------------------------------------------


def test_status_from_another_terminal_while_it_runs_and_afterwards(toy):
    toy.add("01_toy", "time.sleep(60 if i == 1 else 0)", "1 / (i - 2)")
    path = toy.root / "notebooks/01_toy.ipynb"
    content = json.loads(path.read_text())
    heading = {
        "cell_type": "markdown",
        "id": "h",
        "metadata": {},
        "source": "## Long wait",
    }
    content["cells"].insert(4, heading)
    path.write_text(json.dumps(content))
    (toy.root / "s.yaml").write_text("01_toy: {i: [0, 1, 2, 3]}")
    command = ["run", "--sweep", toy.root / "s.yaml", "--workers", "1"]
    assert "there is nothing" in cch("status").stderr
    first = run(sweep={"01_toy": [{"i": 2}]}, workers=1)
    one = started(*command)

    wait_until(lambda: re.search("i=1 .*Long wait", cch("status").stdout))
    said = cch("status").stdout.splitlines()
    assert said[0].startswith(
        "1 done, 1 running, 1 failed, 1 missing of 4; runs since "
    )
    assert f"(process {one.pid})" in said[0]
    states = [line.split()[0] for line in said[1:]]
    assert states == ["done", "running", "failed", "missing"]  # as the grid has them
    clock = r"\d\d:\d\d:\d\d"
    assert re.search(rf"i=1 on \S+, since {clock}, cell 4 of 6, “Long wait”", said[2])
    # a path as it is, and the first line of the error
    assert said[3].endswith(
        f"ZeroDivisionError: division by zero (see {first[0].copy})"
    )
    one.kill()
    one.communicate()
    wait_until(lambda: not any(map(alive, toy.processes())), 10)
    assert "ended since" in cch("status").stdout.splitlines()[0]
    assert "1 done, 1 failed, 2 missing" in cch("status").stdout


def test_progress_is_told_in_lines_where_there_is_no_terminal(toy, monkeypatch):
    monkeypatch.setattr("cchbook.cli.TELL", 0.5)
    toy.add("01_toy")
    cch("run", "01_toy", "--workers", 1)  # from which the next is estimated
    done = cch("run", "01_toy", "--set", "wait=4", "--set", "i=1", "--workers", 1)
    told = [line for line in done.stdout.splitlines() if line.startswith("  01_toy")]
    assert any(
        re.search(r"cell 3 of 4, “01_toy”, \d+ s of about \d+ s$", t) for t in told
    )
    assert "\x1b" not in done.stdout


def test_collect_makes_one_tidy_table_with_parameters_as_columns(toy):
    toy.add("01_toy", "run.log('twice', 2 * i, seed=0, device='mine')")
    toy.add("02_other", "run.log('once', i)")
    run(sweep={"01_toy": [{"i": 3}, {"i": 5}], "02_other": [{"i": 7}]})
    table = records.collect("01_toy")
    assert sorted(zip(table["i"], table["value"])) == [(3, 6), (5, 10)]
    assert set(table["parameter.device"]) == {"cpu"} and set(table["device"]) == {
        "mine"
    }
    assert list(table.columns[-4:]) == ["seed", "metric", "value", "unit"]
    assert len(records.collect()) == 3

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
    began = time.monotonic()
    (job,) = run(settings=["wait=60"], limits=Limits(job=15))
    (cell,) = run(settings=["wait=60"], limits=Limits(cell=1))
    assert time.monotonic() - began < 55
    assert (job.status, job.why) == ("failed", "took longer than 15 s (--timeout)")
    assert cell.status == "failed" and cell.why.startswith(
        "a cell took longer than 1 s"
    )
    assert not any(map(alive, toy.processes()))


def test_what_its_machine_killed_is_tried_again_and_an_exception_is_not(toy):
    died = toy.root / "died"
    dies = (
        f"if not os.path.exists({str(died)!r}):\n    open({str(died)!r}, 'w').close()"
    )
    toy.add("01_dies", f"{dies}\n    os.kill(os.getppid(), 9)\n    time.sleep(60)")
    toy.add("02_fails", "1 / 0")
    toy.add("03_always", "os.kill(os.getpid(), 9)")
    outcomes = {o.job.notebook: o for o in run(retries=2)}
    assert [o.status for _, o in sorted(outcomes.items())] == [
        "done",
        "failed",
        "failed",
    ]
    assert outcomes["01_dies"].why == "(attempt 2)"
    counts = pd.Series(toy.executions()).value_counts()
    assert counts.to_dict() == {"01_dies 0": 2, "02_fails 0": 1, "03_always 0": 3}


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
    assert "parameter 'wiat' is not declared by 01_toy; one of i, wait" in done.stderr
    done = subprocess.run(
        [*map(str, command), "i", "1"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("x=Infinity", "parameter 'x' is inf; finite numbers are wanted"),
        ("x=NaN", "parameter 'x' is nan; finite"),
        ("x=-.inf", "parameter 'x' is -inf; finite"),
        ("d={1: 2}", r"parameter 'd' has the key 1; a text is wanted \(\"1\"\)"),
        ('d={"a": {2020-01-01: 2}}', "has the key datetime.date"),
        ("xs=[1, .nan]", "parameter 'xs' is nan"),
        ("xs=[2020-01-01]", "of type date; a number, text"),
    ],
)
def test_what_a_record_can_not_hold_is_refused_while_planning(toy, setting, said):
    toy.add("01_toy", parameters="x: float = 1.0\nd: dict = {}\nxs: list = []")
    with pytest.raises(ValueError, match=said):
        batch.Batch(settings=[setting])


def test_a_number_that_is_read_as_another_is_said(toy):
    toy.add("01_toy")
    assert batch.readings(["i=10", "x=1e-3", "name=word", "xs=[a, b]", "f=true"]) == []
    done = cch("run", "--set", "i=010", "--workers", 1)
    assert "--set i=010 is read as 8" in done.stderr and toy.executions() == [
        "01_toy 8"
    ]
    assert batch.readings(["a=on"]) == [
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


def test_a_scheduler_that_is_not_there_is_told_in_ten_seconds(toy):
    pytest.importorskip("distributed")
    toy.add("01_toy")
    one = started("run", "--cluster", "tcp://127.0.0.1:9", "--output", toy.root / "o")
    began = time.monotonic()
    _, err = one.communicate(timeout=60)
    assert time.monotonic() - began < 30 and one.returncode == 1
    assert "no scheduler answers at tcp://127.0.0.1:9 within 10 s" in err


def test_help_takes_half_a_second_of_the_processor():
    code = (
        "import resource, sys; from cchdecide.cli import main\ntry: main()\nfinally:\n"
    )
    code += " print(resource.getrusage(resource.RUSAGE_SELF).ru_utime, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"], capture_output=True, text=True
    )
    assert "status" in done.stdout and float(done.stderr.strip()) < 0.5


# Whole or not at all ------------------------------------------------------------------


@pytest.mark.parametrize("name", ["record.json", "metrics.csv", "01_toy.ipynb"])
@pytest.mark.parametrize("cut", [0, 20])
def test_a_run_that_is_broken_is_said_set_aside_and_made_again(toy, name, cut):
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
    with store.workplace("n", "k") as place:
        (place.folder / "n.ipynb").write_text('{"cells": [')  # where the disk was full
        assert store.keep_failure(place.folder, "n", "k", why="no space") == ""
    assert [p.name for p in (tmp_path / "n").iterdir()] == ["k.failed.json"]

    def full(self, content):
        with open(self, "wb") as stream:
            stream.write(content[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        files.write_text(tmp_path / "x" / "file", "content")
    assert list((tmp_path / "x").iterdir()) == []


# Leases -------------------------------------------------------------------------------


def test_only_what_nobody_holds_is_swept(tmp_path):
    store = Store(tmp_path)
    now = time.time()
    long_ago = now - 2 * leases.SILENCE
    elsewhere = {
        **leases.mine(),
        "space": "pid:[1]",
    }  # a container: its ids say nothing
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    held = {
        "mine": leases.mine(),
        "ended": {**leases.mine(), "pid": dead.pid},
        "reborn": {**leases.mine(), "started": 1.0},  # the id was given again
        "other": {**elsewhere, "pid": dead.pid, "beat": now},
        "silent": {**elsewhere, "beat": long_ago},
        "rebooted": {**leases.mine(), "boot": "before", "beat": long_ago},
    }
    for name, lease in held.items():
        files.write_json(
            tmp_path / ".partial" / f"{name}.json", {**lease, "since": now}
        )
        (tmp_path / ".partial" / name).mkdir()
    store.sweep()
    left = {path.stem for path in (tmp_path / ".partial").iterdir()}
    assert left == {"mine", "other"}
    assert len(store.running()) == 2


def test_a_lease_beats_tells_and_is_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "BEAT", 0.05)
    store = Store(tmp_path)
    with store.workplace("n", "k", overrides={"i": 1}) as place:
        (first,) = store.running()
        place.tell(cell=2, of=7, heading="Here")
        wait_until(lambda: store.running()[0].get("cell") == 2, 5)
        (later,) = store.running()
        assert later["beat"] > first["beat"] and later["since"] == first["since"]
        assert "cell 3 of 7, “Here”" in watch.progress(later, 60.0)
    assert store.running() == [] and list((tmp_path / ".partial").iterdir()) == []


# Object stores ------------------------------------------------------------------------


def test_two_machines_that_finish_one_run_at_one_moment_do_not_mix_its_files(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    put = MemoryFileSystem.put_file
    store = Store("memory://bucket/runs")

    def folder(name):
        place = tmp_path / name
        for file in ("metrics.csv", "n.ipynb"):
            files.write_text(place / file, f'"{name}"')
        listed = files.inventory(place, ["metrics.csv", "n.ipynb"])
        files.write_json(place / "record.json", {"by": name, "files": listed})
        return place

    def and_the_other_too(self, source, target, **kwargs):
        put(self, source, target, **kwargs)
        if target.endswith("metrics.csv"):
            monkeypatch.setattr(MemoryFileSystem, "put_file", put)
            assert Store("memory://bucket/runs").publish(folder("two"), "n", "k")

    monkeypatch.setattr(MemoryFileSystem, "put_file", and_the_other_too)
    assert store.publish(folder("one"), "n", "k") and store.complete("n", "k")
    found = records.read(store.fetch("n", "k", tmp_path / "copy"))
    names = {found.file(name).read_text() for name in ("metrics.csv", "n.ipynb")}
    assert names == {f'"{found.record["by"]}"'} and found.changed() == []


def test_leases_batches_and_failures_lie_in_the_object_store_too(toy, monkeypatch):
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    toy.add("01_toy", "1 / (i - 1)", "seen = os.environ['CCH_JOB']")
    url = "memory://bucket/runs"
    run(sweep={"01_toy": [{"i": 0}, {"i": 1}]}, output=url)
    said = cch("status", "--output", url).stdout.splitlines()
    assert said[0].startswith("1 done, 1 failed of 2")
    assert said[2].endswith(
        "(see /bucket/runs/01_toy/" + said[2].split()[2] + ".failed.ipynb)"
    )
    assert Store(url).running() == []
    assert not any("/.partial/" in name for name in MemoryFileSystem.store)
