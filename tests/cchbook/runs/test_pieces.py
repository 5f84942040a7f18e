"""A run in pieces: the same rows as the run made whole, one record, and one piece lost
at most.
"""

import os
import signal
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toy_checkout import CCH, alive, complete, heed_interrupts, run, wait_until
from typer.testing import CliRunner

from cchbook.publish.build import finished_runs
from cchbook.runs import batch, recording, records
from cchbook.runs.store import Store
from cchdecide.cli import app

CHECKOUT = Path(__file__).parents[3]
PARAMETERS = """seeds: int = 3  # repetitions
first_seed: int = 0  # number of the first
lams: list = [0.5, 0.1]  # weights
mi_seeds: int = 3  # repetitions that are looked at
runs: int = 6  # spread over the repetitions
i: int = 0  # of the trace
wait: float = 0.0  # of the trace"""
MEASURE = """import random
repeats = range(first_seed, first_seed + seeds)
run.log("chance", 0.1)
drawn = {lam: [random.Random(f"{s} {lam}").random() for s in repeats] for lam in lams}
for position, seed in enumerate(repeats):
    for lam in lams:
        run.log("drawn", drawn[lam][position], seed=position, lam=lam)
for position in range(min(mi_seeds - first_seed, seeds)):
    run.log("looked", drawn[lams[0]][position], "nats", seed=position, lam=lams[0])
run.log_frame(run.frame("drawn").assign(metric="twice", value=lambda t: 2 * t["value"]))
run.log("runs_each", runs // seeds)"""
SPLIT = {
    "seeds": {"first": "first_seed", "covered_by": ["mi_seeds"], "shared": ["runs"]},
    "lams": {},
}


def add(toy, *code, name="01_toy"):
    return toy.add(
        name,
        MEASURE,
        *code,
        cch={"split": SPLIT, "reads": ["data/recorded/*/*"]},
        parameters=PARAMETERS,
        paper={},
    )


def in_order(metrics):
    """Rows in an order of their own, whatever the order in which they were logged."""
    conditions = sorted(c for c in metrics if c != "value")
    return metrics[[*conditions, "value"]].sort_values(conditions, ignore_index=True)


def by_status(outcomes):
    return sorted((o.status, bool(o.job.piece)) for o in outcomes)


def test_a_run_in_pieces_has_the_rows_of_the_whole_run(toy):
    # `looked` is of the first weight alone
    code = MEASURE.replace("lam=lams[0])", "lam=lams[0]) if lams[0] == 0.5 else 0")
    two = PARAMETERS.replace("seeds: int = 3", "seeds: int = 2")
    toy.add("01_toy", code, cch={"split": SPLIT}, parameters=two)
    (outcome,) = run()
    (whole,) = complete(toy).values()
    os.rename(toy.root / "_build", toy.root / "whole")
    whole = records.Record(
        toy.root / "whole/runs/01_toy" / whole.path.name, whole.record
    )

    along = ["seeds", "lams"]
    assert by_status(run(split=along)) == [("done", False)] + 4 * [("done", True)]
    folder = toy.root / "_build/runs/01_toy" / outcome.job.key
    together = records.read(folder)
    pd.testing.assert_frame_equal(in_order(together.metrics), in_order(whole.metrics))
    # metrics in the order in which the notebook logs them, and seeds in theirs
    assert list(together.metrics["metric"].unique()) == list(
        whole.metrics["metric"].unique()
    )
    drawn = together.metrics.query("metric == 'drawn'")
    assert list(drawn["seed"]) == [0, 0, 1, 1]
    assert list(drawn["lam"]) == [0.5, 0.1] * 2

    # its record is that of the run made whole, and says of what it was put together
    same = (
        "notebook",
        "profile",
        "overrides",
        "parameters",
        "seeds",
        "packages",
        "key",
    )
    assert {k: together.record[k] for k in same} == {k: whole.record[k] for k in same}
    listed = together.record["pieces"]
    assert [tuple(p["of"].values()) for p in listed] == [
        *((0, 0.5), (0, 0.1), (1, 0.5), (1, 0.1))
    ]
    every = complete(toy)
    assert set(every) == {outcome.job.key, *(p["key"] for p in listed)}
    assert all(p["host"] and every[p["key"]].record["piece"] == p["of"] for p in listed)
    seconds = [every[p["key"]].record["seconds"] for p in listed]
    assert together.record["seconds"] == pytest.approx(sum(seconds))
    assert [p["seconds"] for p in listed] == seconds
    # nothing is left to do, neither for the pieces nor for the run
    assert [o.status for o in run(split=along)] == ["kept"]
    assert [o.status for o in run()] == ["kept"]


def test_a_piece_that_fails_is_run_again_alone_and_the_others_are_kept(toy):
    mended = toy.root / "mended"
    add(toy, f"assert first_seed != 1 or os.path.exists({str(mended)!r})")
    assert by_status(run(split=["seeds"])) == [
        ("done", True),
        ("done", True),
        ("failed", False),
        ("failed", True),
    ]
    mended.touch()
    assert by_status(run(split=["seeds"])) == [
        ("done", False),
        ("done", True),
        ("kept", True),
        ("kept", True),
    ]


def test_more_seeds_later_cost_only_those(toy):
    toy.add(
        "01_toy",
        MEASURE,
        cch={"split": {"seeds": {"first": "first_seed"}}},
        parameters=PARAMETERS,
    )
    run(settings=["seeds=2"], split=["seeds"])
    outcomes = run(settings=["seeds=3"], split=["seeds"])
    assert by_status(outcomes) == [
        ("done", False),
        ("done", True),
        ("kept", True),
        ("kept", True),
    ]


def test_what_is_measured_of_the_whole_run_is_refused(toy):
    add(toy, "run.log('mean', sum(drawn[0.5]) / seeds, lam=0.5)")
    failed = [o for o in run(split=["seeds"]) if o.status == "failed"]
    assert [bool(o.job.piece) for o in failed] == [False]
    assert "different values where lam = 0.5, metric = mean" in failed[0].why
    assert failed[0].why.endswith("this is measured of the whole run")


@pytest.mark.parametrize(
    ("settings", "split", "said"),
    [
        ([], ["wait"], r"`split` must be .*\(it declares seeds, lams\), got 'wait'"),
        (["lams=[]"], ["lams"], "`lams`, .* must be a list with values, got \\[]"),
        (["seeds=0"], ["seeds"], "`seeds`, .* must be ≥ 1, got 0"),
        (["mi_seeds=2"], ["seeds"], "`mi_seeds` must be ≥ seeds = 3, .* got 2"),
    ],
)
def test_a_split_that_can_not_be_is_refused_while_planning(toy, settings, split, said):
    add(toy)
    with pytest.raises(ValueError, match=said):
        batch.Batch(["01_toy"], settings=settings, split=split)


def test_notebooks_that_declare_nothing_run_whole_where_none_is_named(toy):
    add(toy)
    toy.add("02_other")
    planned = batch.Batch(split=["seeds"])
    assert [len(found) for found in planned.pieces.values()] == [3] and len(
        planned
    ) == 5
    with pytest.raises(ValueError, match="`split` .* 02_other may be cut"):
        batch.Batch(["01_toy", "02_other"], split=["seeds"])


def test_a_piece_keeps_its_key_when_another_run_is_recorded(toy):
    add(toy)
    before = batch.Batch(["01_toy"], "paper", split=["seeds"])
    other = toy.root / "data/recorded/01_toy/0123456789abcdef"
    records.write_json(
        other / "record.json",
        {"notebook": "01_toy", "key": other.name, "parameters": {"i": 9}, "start": ""},
    )
    after = batch.Batch(["01_toy"], "paper", split=["seeds"])
    assert before.first[0].key != after.first[0].key
    (one,), (two,) = before.pieces.values(), after.pieces.values()
    assert [p.key for p in one] == [p.key for p in two]


def test_a_run_put_together_is_recorded_with_its_line_and_has_no_page(toy, monkeypatch):
    add(toy)
    run(profile="paper", split=["seeds"])
    (key,) = (k for k, r in complete(toy).items() if "pieces" in r.record)
    said = CliRunner().invoke(app, ["record", key[:10]])
    assert said.exit_code == 0, said.output
    folder = toy.root / "data/recorded/01_toy" / key
    assert sorted(p.name for p in folder.iterdir()) == ["metrics.csv", "record.json"]
    (found,) = records.recorded("01_toy")
    assert found.record["key"] == key and len(found.metrics) == 17
    assert {p["host"] for p in found.record["pieces"]} == {"machine 1"}
    recording.record(key)  # once more changes nothing
    readme = (toy.root / "data/recorded/README.md").read_text()
    assert readme.count(key) == 1 and "put together of 3 pieces" in readme
    assert "| 01_toy |" in readme
    # a recorded run is on a page, and so in the key of others, not in its own
    assert batch.Batch(["01_toy"], "paper").first[0].key == key

    piece = records.read(folder).record["pieces"][0]["key"]
    with pytest.raises(ValueError, match="must be of a whole run"):
        recording.record(piece)
    with pytest.raises(ValueError, match="no complete run"):
        recording.record("ffff")
    (toy.root / "_toc.yml").write_text("root: notebooks/01_toy\n")
    with pytest.raises(FileNotFoundError, match="put together of pieces"):
        finished_runs(toy.root, "paper")

    def on_a_stand_in(path):
        run = read(path)
        run.record["data"] = [{"name": "mosi", "kind": "embedded", "sha256": None}]
        return run

    read = records.read
    monkeypatch.setattr(recording.records, "read", on_a_stand_in)
    with pytest.raises(ValueError, match="one on stand-ins for mosi"):
        recording.record(key)


@pytest.mark.parametrize(
    ("name", "along"),
    [
        ("02_synthetic", ["seeds"]),
        ("02_synthetic", ["readings", "sigma12s"]),
        ("04_sentiment", ["seeds"]),
    ],
)
def test_a_chapter_in_pieces(tmp_path, monkeypatch, shared_build, name, along):
    """Values differ by the last digits of float32: networks train in other stacks.

    The whole run is the one that the book of the tests is made of.
    """
    monkeypatch.setenv("CCH_ROOT", str(CHECKOUT))
    monkeypatch.setenv("CCH_BUILD_DIR", str(tmp_path))
    whole, together = shared_build / "runs", tmp_path / "pieces"
    run([name], "smoke", output=str(whole))
    outcomes = run([name], "smoke", output=str(together), split=along)
    assert {o.status for o in outcomes} == {"done"}
    (job,) = batch.Batch([name], "smoke").first
    one, other = (
        in_order(records.read(Store(place).where(*job.run)).metrics)
        for place in (whole, together)
    )
    rows = [c for c in one if c != "value"]
    assert set(rows) == set(other.columns) - {"value"}
    pd.testing.assert_frame_equal(one[rows], other[rows], check_dtype=False)
    np.testing.assert_allclose(one["value"], other["value"], rtol=2e-3, atol=2e-3)


def test_a_split_run_that_is_stopped_loses_a_piece_at_most(toy):
    """As one that takes hours is, by Ctrl-C; and on to the end."""
    add(toy)
    command = [*CCH, "run", "--split", "seeds", "--set", "wait=3", "--workers", "1"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    one = subprocess.Popen(command, preexec_fn=heed_interrupts, **quiet)
    # in the middle of the second piece
    wait_until(lambda: complete(toy) and len(toy.executions()) == 2)
    one.send_signal(signal.SIGINT)
    out, err = one.communicate(timeout=300)
    assert one.returncode == 130 and "1 interrupted" in out, out + err
    wait_until(lambda: not any(map(alive, toy.processes())))
    assert len(complete(toy)) == 1

    done = CliRunner().invoke(app, command[len(CCH) :])
    assert done.exit_code == 0 and "put together of 3 pieces" in done.stdout
    assert len(toy.executions()) == 4  # three pieces, one of which was lost once
    assert len(complete(toy)) == 4
