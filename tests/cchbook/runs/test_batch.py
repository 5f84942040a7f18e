"""Many runs at once: nothing lost, nothing twice, nothing half; one failure stops
nobody else.
"""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import toy_checkout
from fsspec.implementations.memory import MemoryFileSystem
from toy_checkout import CCH, PARAMETERS, alive, complete, wait_until
from typer.testing import CliRunner

from cchbook.runs import batch, files, keys, plan, records
from cchbook.runs.store import Store
from cchdecide.cli import app


def cch(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def run(*args, **kwargs):
    """Outcomes of a batch, in the order of its jobs."""
    outcomes = toy_checkout.run(*args, **kwargs)
    return sorted(outcomes, key=lambda o: (o.job.notebook, o.job.key))


# Running ------------------------------------------------------------------------------

ENVIRONMENT = """from pathlib import Path
Path("left_here.txt").write_text("x")
run.log("threads", int(os.environ["OMP_NUM_THREADS"]))"""


def test_a_job_gets_its_share_of_the_cores(toy):
    """Of the jobs at once; where --workers says how many, whether or not there are."""
    toy.add("01_first", ENVIRONMENT)
    shares = []
    for options in ((), ("--workers", 2)):
        done = cch("run", *options, "--again")
        assert done.exit_code == 0, done.output
        (found,) = complete(toy, "01_first").values()
        shares += found.metrics.value.tolist()
    cores = records.cores()
    assert shares == [cores, max(1, cores // 2)]


def test_a_batch_runs_skips_and_runs_again_what_changed(toy):
    """One story, since every execution takes a second: first run, nothing to do, then
    one change after another.
    """
    first = toy.add("01_first", ENVIRONMENT)
    toy.add("02_fails", "1 / 0")
    toy.add(
        "03_reads",
        "run.log('seen', len(records.live('01_first')))",
        cch={"after": "all"},
    )

    outcomes = run()
    assert [o.status for o in outcomes] == ["done", "failed", "done"]
    failed = json.loads(Path(outcomes[1].copy).read_text())  # kept, with the traceback
    assert any(
        out.get("ename") == "ZeroDivisionError"
        for cell in failed["cells"]
        for out in cell.get("outputs", [])
    )
    assert outcomes[1].why == "cell [4] ZeroDivisionError: division by zero"
    assert toy.executions()[-1] == "03_reads 0"  # after the others
    folder = toy.root / "_build/runs" / "01_first" / outcomes[0].job.key
    assert sorted(p.name for p in folder.iterdir()) == [
        "01_first.ipynb",
        "left_here.txt",
        "metrics.csv",
        "record.json",
    ]
    assert (
        records.read(folder).record["profile"] == "quick"
        and records.read(folder).record["key"] == folder.name
    )
    assert records.read(
        toy.root / "_build/runs/03_reads" / outcomes[2].job.key
    ).metrics.value.tolist() == [1]

    assert [o.status for o in run(["01_first", "03_reads"])] == ["kept", "kept"]
    assert len(toy.executions()) == 3

    # a parameter changes: it runs again, and so does what reads it
    assert [
        o.status for o in run(["01_first", "03_reads"], settings=["01_first.i=1"])
    ] == ["done", "done"]
    # prose changes: nothing does
    content = json.loads(first.read_text())
    content["cells"][0]["source"] = "# Better said"
    first.write_text(json.dumps(content))
    assert [o.status for o in run(["01_first", "03_reads"])] == ["kept", "kept"]
    # code changes: again
    content["cells"][3]["source"] += "\npass"
    first.write_text(json.dumps(content))
    assert [o.status for o in run(["01_first"])] == ["done"]
    assert not any((toy.root / "_build/runs/.partial").iterdir())


def test_a_killed_batch_goes_on_and_nothing_is_lost_or_run_twice(toy, tmp_path):
    toy.add("01_toy")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("01_toy: {i: [0, 1, 2, 3, 4], wait: [0.7]}")
    command = [*CCH, "run", "--sweep", str(sweep), "--workers", "2"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: complete(toy) and len(toy.executions()) >= 3)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    wait_until(
        lambda: not any(map(alive, toy.processes())), 60
    )  # drivers and kernels die with the batch
    before, done = (
        toy.executions(),
        {r.record["parameters"]["i"] for r in complete(toy).values()},
    )
    assert 1 <= len(done) < 5

    second = cch(*command[len(CCH) :])
    assert second.exit_code == 0, second.output
    assert f"{5 - len(done)} done, {len(done)} kept" in second.stdout
    again = [int(line.split()[1]) for line in toy.executions()[len(before) :]]
    assert sorted(again) == sorted(set(range(5)) - done)
    assert {r.record["parameters"]["i"] for r in complete(toy).values()} == set(
        range(5)
    )
    assert len(list((toy.root / "_build/runs/01_toy").iterdir())) == 5
    assert not any(
        (toy.root / "_build/runs/.partial").iterdir()
    )  # what the kill had left is swept


def test_two_batches_at_once_do_not_damage_what_both_make(toy, tmp_path):
    """They may do a job twice: the second finds the first's record, drops its own."""
    toy.add("01_toy", "run.log('who', os.getpid())")
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("01_toy: {i: [0, 1], wait: [2]}")
    command = [*CCH, "run", "--sweep", str(sweep), "--workers", "1"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    both = [subprocess.Popen(command, **quiet) for _ in range(2)]
    told = [batch.communicate()[0] for batch in both]
    assert [batch.returncode for batch in both] == [0, 0], told
    runs = complete(toy)
    assert len(runs) == 2 and all(run.changed() == [] for run in runs.values())
    assert 2 <= len(toy.executions()) <= 4
    assert len(list((toy.root / "_build/runs/01_toy").iterdir())) == 2
    assert not any((toy.root / "_build/runs/.partial").iterdir())


def test_a_kernel_that_does_not_start_is_tried_again_and_one_that_dies_is_not(
    toy, tmp_path, monkeypatch
):
    spec = tmp_path / "jupyter/kernels/flaky"
    spec.mkdir(parents=True)
    script = (
        "import os, sys, runpy\n"
        f"if not os.path.exists({str(tmp_path / 'tried')!r}):\n"
        f"    open({str(tmp_path / 'tried')!r}, 'w').close(); "
        "sys.exit('Address already in use')\n"
        "sys.argv = ['kernel', *sys.argv[1:]]; "
        "runpy.run_module('ipykernel_launcher', run_name='__main__')"
    )
    (spec / "start.py").write_text(script)
    argv = [sys.executable, str(spec / "start.py"), "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(
        json.dumps({"argv": argv, "display_name": "flaky", "language": "python"})
    )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    toy.add("01_flaky", kernel="flaky")
    toy.add("02_dies", "os.kill(os.getpid(), 9)")
    outcomes = run()
    assert [o.status for o in outcomes] == ["done", "failed"] and (
        tmp_path / "tried"
    ).exists()
    assert (
        "the kernel died in mid-run" in outcomes[1].why
        and Path(outcomes[1].copy).is_file()
    )
    assert sorted(toy.executions()) == ["01_flaky 0", "02_dies 0"]


def test_what_was_edited_since_it_was_planned_is_not_run_under_the_old_key(toy):
    path = toy.add("01_toy")
    planned = batch.Batch()
    path.write_text(
        path.read_text().replace("time.sleep(wait)", "time.sleep(2 * wait)")
    )
    (outcome,) = planned.run(toy_checkout.pool())
    assert (
        outcome.status == "failed"
        and "are not those that the batch was planned with" in outcome.why
    )
    assert toy.executions() == []


def test_a_notebook_that_leaves_no_record_has_failed(toy):
    path = toy.add("01_toy")
    path.write_text(path.read_text().replace("run.finish()", "pass"))
    (outcome,) = run()
    assert outcome.status == "failed" and outcome.why.startswith("left no record")
    assert Store(toy.root / "_build/runs").all_complete(["01_toy"]) == set()


# Stores -------------------------------------------------------------------------------


def test_an_object_store_gets_the_record_last_and_half_an_upload_is_not_a_run(
    toy, monkeypatch, inside
):
    run = inside
    monkeypatch.setattr(MemoryFileSystem, "store", {})
    toy.add("01_toy")
    toy.add(
        "02_reads",
        "run.log('seen', len(records.live('01_toy')))",
        cch={"after": ["01_toy"]},
    )
    put = MemoryFileSystem.put_file

    def breaks(self, source, target, **kwargs):
        if target.endswith("metrics.csv"):
            raise OSError("connection lost")
        put(self, source, target, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "put_file", breaks)
    (outcome,) = run(["01_toy"], output="memory://bucket/runs")
    assert outcome.status == "failed" and "connection lost" in outcome.why
    assert MemoryFileSystem.store and not any(
        name.endswith("record.json") for name in MemoryFileSystem.store
    )

    order = []
    monkeypatch.setattr(
        MemoryFileSystem,
        "put_file",
        lambda self, s, t, **k: (order.append(t), put(self, s, t, **k)),
    )
    assert [o.status for o in run(output="memory://bucket/runs")] == ["done", "done"]
    assert (
        order[2].endswith("record.json")
        and order[-1].endswith("record.json")
        and len(order) == 6
    )
    assert [o.status for o in run(output="memory://bucket/runs")] == ["kept", "kept"]
    store = Store("memory://bucket/runs")
    (key,) = (key for name, key in store.all_complete(["02_reads"]))
    assert records.read(
        store.fetch("02_reads", key, toy.root / "copy")
    ).metrics.value.tolist() == [1]
    assert not (toy.root / "_build").exists()


def folder_with(path, **files):
    path.mkdir(parents=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)
    return path


def whole_run(path, content="whole"):
    """The folder of a run that is ready to be published."""
    folder_with(path, metrics__csv=content, n__ipynb="{}")
    listed = files.inventory(path, ["metrics.csv", "n.ipynb"])
    files.write_json(path / "record.json", {"files": listed})
    return path


def test_a_complete_run_is_never_replaced_and_a_bare_record_is(tmp_path):
    store, run = Store(tmp_path / "runs"), tmp_path / "runs" / "n" / "k"
    folder_with(run, record__json='{"by": "plain papermill"}')
    assert not store.complete("n", "k") and not store.broken
    assert store.publish(whole_run(tmp_path / "mine", "mine"), "n", "k")
    assert not store.publish(whole_run(tmp_path / "late", "late"), "n", "k")
    assert (run / "metrics.csv").read_text() == "mine"
    assert store.all_complete(["n", "m"]) == {("n", "k")}


def test_failures_are_forgotten_once_a_run_succeeds(tmp_path):
    store = Store(tmp_path / "runs")
    with store.workplace("b", "n", "k") as place:
        (place / "run/n.ipynb").write_text('"traceback"')
        kept = Path(store.keep_failure(place / "run", "n", "k", why="it broke"))
    assert kept.read_text() == '"traceback"' and not place.exists()
    assert store.failures("n") == {"k": {"why": "it broke", "copy": str(kept)}}
    store.publish(whole_run(tmp_path / "mine"), "n", "k")
    assert not kept.exists() and store.failures("n") == {}


# Planning -----------------------------------------------------------------------------


def test_profiles_and_overrides_make_the_parameters(toy):
    toy.add("01_toy", paper={"i": 100, "wait": 1.5}, smoke={"i": 1})
    toy.add(
        "02_other", parameters="i: int = 0\nlr: float = 0.1\nnames: list[str] = ['a']"
    )
    found = batch.Batch(["01_toy"], "paper", ["i=7"]).first[0]
    assert found.parameters == {
        "i": 7,
        "wait": 1.5,
        "device": "cpu",
    } and found.overrides == {"i": 7}
    both = batch.Batch(
        [], "quick", ["i=7", "02_other.lr=1e-3", '02_other.names=["x", "y"]']
    ).first
    assert both[0].parameters["i"] == 7 and both[1].parameters == {
        "i": 7,
        "lr": 0.001,
        "names": ["x", "y"],
    }
    assert (
        batch.Batch(["01_toy"], "smoke").first[0].key
        != batch.Batch(["01_toy"]).first[0].key
    )


def test_a_file_of_ones_own_is_part_of_the_key_and_found_from_anywhere(
    toy, monkeypatch
):
    toy.add(
        "01_own",
        "assert open(file).read()",
        cch={"files": ["file"]},
        parameters=f"file: str = ''\n{PARAMETERS}",
    )
    monkeypatch.chdir(toy.root)
    (toy.root / "mine.csv").write_text("a")
    planned = batch.Batch(["01_own"], settings=["file=mine.csv"])
    assert planned.first[0].parameters["file"] == str(toy.root / "mine.csv")
    assert [
        outcome.status for outcome in run(["01_own"], settings=["file=mine.csv"])
    ] == ["done"]
    (toy.root / "mine.csv").write_text("b")
    assert (
        batch.Batch(["01_own"], settings=["file=mine.csv"]).first[0].key
        != planned.first[0].key
    )


def test_a_sweep_is_every_combination_and_a_point_named_twice_runs_once(toy, tmp_path):
    toy.add("01_toy")
    (tmp_path / "s.yaml").write_text(
        "01_toy:\n- {i: [1, 2], wait: [0.5, 1.0]}\n- {i: [1, 3], wait: [0.5]}\n"
    )
    sweep = plan.read_sweep(tmp_path / "s.yaml")
    assert len(sweep["01_toy"]) == 6 and sweep["01_toy"][0] == {"i": 1, "wait": 0.5}
    planned = batch.Batch(sweep=sweep)
    assert len(planned) == 5 and len({job.key for job in planned.first}) == 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            {"settings": ["sigma=1"]},
            "parameter of 01_toy must be one of i, wait, device, got 'sigma'",
        ),
        (
            {"settings": ["i=many"]},
            "parameter 'i' of 01_toy must be of type int, got 'many'",
        ),
        ({"settings": ["i=true"]}, "must be of type int, got True"),
        ({"settings": ["i"]}, "must be name=value, got 'i'"),
        ({"settings": ["09_x.i=1"]}, "--set must name one of 01_toy, got '09_x.i=1'"),
        ({"names": ["07_none"]}, "must be a file or one of 01_toy, got '07_none'"),
        ({"profile": "fast"}, "one of 'quick', 'paper', 'smoke', got 'fast'"),
        ({"profile": "paper"}, "01_toy has no profile 'paper'"),
        ({"profile": "smoke"}, "must be one of i, wait, device, got 'gamma'"),
        ({"sweep": {"01_toy": [{"q": 1}]}}, "must be one of i, wait, device, got 'q'"),
        ({"names": ["01_toy"], "sweep": {"02_x": [{}]}}, r"sweep names \['02_x'\]"),
    ],
)
def test_bad_plans_are_refused_before_anything_runs(toy, arguments, said):
    toy.add("01_toy", smoke={"gamma": 1})
    with pytest.raises(ValueError, match=said):
        batch.Batch(**arguments)


@pytest.mark.parametrize(
    "text", ["[1, 2]", "01_toy: 3", "01_toy: {i: 3}", "01_toy: {i: [3"]
)
def test_bad_sweeps_are_refused(tmp_path, text):
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(ValueError, match="must be|not YAML"):
        plan.read_sweep(tmp_path / "s.yaml")


def test_notebooks_of_one_name_are_refused_and_one_named_twice_is_one(toy, tmp_path):
    path = toy.add("01_toy")
    (tmp_path / "q").mkdir()
    shutil.copy(path, tmp_path / "q")
    with pytest.raises(ValueError, match="must have different names"):
        batch.Batch([str(path), str(tmp_path / "q" / "01_toy.ipynb")])
    assert len(batch.Batch(["01_toy", "01_toy"])) == 1


def test_records_may_be_read_of_runs_that_read_none(toy):
    toy.add("01_toy")
    toy.add("02_a", cch={"after": ["01_toy"]})
    toy.add("03_b", cch={"after": ["02_a"]})
    with pytest.raises(ValueError, match="`cch.after` of 03_b must be .*got '02_a'"):
        batch.Batch(["03_b"])
    late = batch.Batch(["02_a"])  # alone: it reads the run of 01_toy if there is one
    run = (late._late[0][1][0]).run
    assert late.late(set())[0].after == () and late.late({run})[0].after == (run,)
    assert late.late(set())[0].key != late.late({run})[0].key


def test_many_jobs_of_a_notebook_are_planned_with_one_look_at_what_they_share(
    toy, monkeypatch
):
    toy.add("01_toy")
    looks = []
    look = keys.ingredients
    monkeypatch.setattr(keys, "ingredients", lambda n: looks.append(n) or look(n))
    planned = batch.Batch(sweep={"01_toy": [{"i": i} for i in range(1000)]})
    assert len({job.key for job in planned.first}) == 1000
    assert len(looks) == 1


def test_jobs_fail_where_no_worker_is_left(toy, monkeypatch):
    monkeypatch.setattr(batch, "NO_WORKERS", "1s")
    toy.add("01_toy")
    with toy_checkout.unshared(1, 1) as pool:
        pool.client.retire_workers()
        (outcome,) = batch.Batch().run(pool)
    assert (outcome.status, outcome.why) == (
        "failed",
        "no worker is left on this machine",
    )


def test_a_worker_that_is_killed_is_replaced_and_its_job_run_again(toy):
    once = toy.root / "once"
    toy.add(
        "01_toy",
        f"if not os.path.exists({str(once)!r}):\n    open({str(once)!r}, 'w').close()\n"
        "    os.kill(os.getppid(), 9)\n    time.sleep(60)",
    )
    toy.add("02_toy")
    with toy_checkout.unshared(1, 1) as pool:
        outcomes = list(batch.Batch().run(pool))
    assert [o.status for o in outcomes] == ["done", "done"]
    assert toy.executions().count("01_toy 0") == 2
    wait_until(lambda: not any(map(alive, toy.processes())))
