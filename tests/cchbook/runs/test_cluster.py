"""The same batch on a real Dask scheduler with worker processes, some of which die."""

import os
import signal
import subprocess
import sys
import threading

import pytest
from toy_checkout import CCH, PARAMETERS, alive, complete, run, wait_until

from cchbook.runs import batch, plan, records


@pytest.fixture
def dask(tmp_path):
    """`start()` returns (address, scheduler, [workers]); all are ended afterwards."""
    started = []

    def process(what, *arguments):
        command = [
            sys.executable,
            "-m",
            f"distributed.cli.dask_{what}",
            "--no-dashboard",
            *arguments,
        ]
        started.append(
            subprocess.Popen(
                command,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=tmp_path,
            )
        )
        return started[-1]

    def start(workers=2):
        file = tmp_path / "scheduler.json"
        scheduler = process(
            "scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--scheduler-file",
            str(file),
        )
        wait_until(file.is_file)
        options = (
            "--scheduler-file",
            str(file),
            "--nthreads",
            "1",
            "--no-nanny",
            "--local-directory",
            str(tmp_path),
        )
        found = [process("worker", *options) for _ in range(workers)]
        from distributed import Client

        with Client(scheduler_file=str(file), timeout=300) as client:
            client.wait_for_workers(workers, timeout=300)
            return client.scheduler_info()["address"], scheduler, found

    yield start
    for one in started:
        one.kill()
        one.wait()


def test_jobs_of_a_worker_that_dies_run_elsewhere_and_are_recorded_once(
    toy,  # noqa: F811
    dask,
):
    toy.add("01_toy", "run.log('threads', int(os.environ['OMP_NUM_THREADS']))")
    toy.add("02_fails", "1 / 0")
    toy.add(
        "03_reads",
        "run.log('seen', len(records.live('01_toy')))",
        cch={"after": ["01_toy"]},
    )
    address, _, workers = dask()
    sweep = {
        "01_toy": [{"i": i, "wait": 1.5} for i in range(3)],
        "02_fails": [{}],
        "03_reads": [{}],
    }
    victims = []

    def kill_one():
        wait_until(lambda: toy.executions())
        kernel, worker = toy.processes()[:2]
        victims.append((worker, kernel))
        os.kill(worker, signal.SIGKILL)

    with batch.cluster(address) as pool:
        assert list(pool.slots.values()) == [
            2
        ]  # both workers are on this host and share its cores
        planned = batch.Batch(sweep=sweep)
        killer = threading.Thread(target=kill_one)
        killer.start()
        outcomes = list(planned.run(pool))
        killer.join()
    assert victims[0][0] in {worker.pid for worker in workers}
    assert not any(map(alive, victims[0]))  # its kernel went with it
    assert sorted((o.job.notebook, o.status) for o in outcomes) == [
        *[("01_toy", "done")] * 3,
        ("02_fails", "failed"),
        ("03_reads", "done"),
    ]
    assert (
        next(o for o in outcomes if o.status == "failed").why
        == "cell [4] ZeroDivisionError: division by zero"
    )
    ran = toy.executions()
    assert (
        ran.count(ran[0]) == 2 and len(ran) == 6
    )  # the lost one twice, all others once
    runs = complete(toy).values()
    assert sorted(r.record["parameters"]["i"] for r in runs) == [0, 1, 2]
    assert {r.metrics.value[0] for r in runs} == {max(1, records.cores() // 2)}
    assert [r.metrics.value.tolist() for r in complete(toy, "03_reads").values()] == [
        [3]
    ]


def test_a_batch_whose_scheduler_goes_away_goes_on_later(
    toy,  # noqa: F811
    dask,
    tmp_path,
):
    toy.add("01_toy")
    address, scheduler, workers = dask(workers=1)
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text("01_toy: {i: [0, 1, 2], wait: [1.0]}")
    client = subprocess.Popen(
        [*CCH, "run", "--sweep", str(sweep), "--cluster", address],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: complete(toy) and len(toy.executions()) >= 2)
    scheduler.kill()
    said, complaint = client.communicate(timeout=300)
    assert (
        client.returncode == 1 and f"the scheduler at {address} went away" in complaint
    ), said + complaint
    workers[0].kill()
    workers[0].wait()
    wait_until(lambda: not any(map(alive, toy.processes())))
    outcomes = run(sweep=plan.read_sweep(sweep))
    assert {o.status for o in outcomes} == {"done", "kept"} and len(outcomes) == 3
    assert sorted(r.record["parameters"]["i"] for r in complete(toy).values()) == [
        0,
        1,
        2,
    ]


def test_no_scheduler_is_one_plain_message(toy):  # noqa: F811
    toy.add("01_toy")
    done = subprocess.run(
        [*CCH, "run", "--cluster", "tcp://127.0.0.1:9"],
        capture_output=True,
        text=True,
        env={**os.environ, "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2s"},
    )
    assert (
        done.returncode == 1
        and "no scheduler answers at tcp://127.0.0.1:9" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_a_split_run_loses_one_piece_to_a_dead_worker_and_is_one_record(toy, dask):
    code = (
        "repeats = range(first_seed, first_seed + seeds)\n"
        "for position, s in enumerate(repeats):\n"
        "    run.log('square', s * s, seed=position)"
    )
    parameters = f"seeds: int = 4\nfirst_seed: int = 0\n{PARAMETERS}"
    split = {"seeds": {"first": "first_seed"}}
    trace = f"\nopen({str(toy.root / 'seeds.txt')!r}, 'a').write(f'{{first_seed}}\\n')"
    toy.add("01_toy", code + trace, cch={"split": split}, parameters=parameters)
    address, _, _ = dask()

    def kill_one():
        wait_until(lambda: len(toy.executions()) >= 2)
        os.kill(toy.processes()[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill_one)
    killer.start()
    with batch.cluster(address) as pool:
        planned = batch.Batch(settings=["wait=2"], split=["seeds"])
        outcomes = list(planned.run(pool))
    killer.join()
    assert [o.status for o in outcomes] == ["done"] * 5
    ran = (toy.root / "seeds.txt").read_text().split()
    assert set(ran) == set("0123") and len(toy.executions()) <= 5  # one piece twice
    (whole,) = [r for r in complete(toy).values() if "pieces" in r.record]
    assert whole.metrics["value"].tolist() == [0, 1, 4, 9]
    assert whole.metrics["seed"].tolist() == [0, 1, 2, 3] == whole.record["seeds"]
