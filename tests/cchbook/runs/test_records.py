"""What a run leaves behind, and the key that says whether it has to be run again."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from toy_checkout import Toy, write_notebook

from cchbook.runs import places, records
from cchbook.runs.notebook import Notebook


@dataclass
class Source:
    name: str
    kind: str
    sha256: str | None = "ab" * 32
    path: str | None = None
    note: str = ""


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_ROOT", str(tmp_path))
    for name in ("CCH_BUILD_DIR", "CCH_RUN_DIR", "CCH_JOB"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Toy(tmp_path)


# Writing ------------------------------------------------------------------------------


def test_a_finished_run_reads_back_as_it_was_logged(toy):
    run = records.start(
        "02_toy",
        {
            "seeds": 2,
            "lam": [0.1, 0.5],
            "device": "cpu",
            "np": np,
            "In": ["x"],
            "_": 3,
            "METRICS": ["f1"],
        },
    )
    run.log("mse", np.float32(0.5), seed=0, lam=0.1)
    run.log("mi", 1.25, "nats", seed=1, gamma="high")
    run.log_frame(
        pd.DataFrame({"metric": "mse", "value": [1, 2], "seed": [0, 1], "lam": 0.5})
    )
    run.finish()
    read = records.read(run.folder)
    assert read.record["parameters"] == {"seeds": 2, "lam": [0.1, 0.5], "device": "cpu"}
    assert (
        read.record["seeds"] == [0, 1]
        and read.record["key"] == run.key == run.folder.name
    )
    assert read.record["packages"]["numpy"] == np.__version__ and read.record[
        "device"
    ].startswith("cpu (")
    wanted = {
        "notebook",
        "profile",
        "overrides",
        "parameters",
        "seeds",
        "packages",
        "commit",
        "device",
        "data",
        "start",
        "seconds",
        "host",
        "key",
    }
    assert set(read.record) == wanted
    assert list(read.metrics) == ["lam", "gamma", "seed", "metric", "value", "unit"]
    assert read.metrics.value.tolist() == [
        0.5,
        1.25,
        1.0,
        2.0,
    ] and read.metrics.unit.tolist() == ["", "nats", "", ""]
    assert read.metrics.seed.tolist() == [0, 1, 0, 1]
    assert list(run.frame("mi")) == ["gamma", "seed", "metric", "value", "unit"]
    assert sorted(p.name for p in run.folder.iterdir()) == [
        "metrics.csv",
        "record.json",
    ]


def test_a_single_seed_is_recorded_too(toy):
    run = records.start("02_toy", {"seed": 7})
    run.log("mse", 0.5)
    run.finish()
    assert records.read(run.folder).record["seeds"] == [7]


def test_folder_is_where_cch_run_says_or_below_the_build_folder(
    toy, tmp_path, monkeypatch
):
    assert (
        records.start("02_toy", {}).folder.parent
        == tmp_path / "_build" / "runs" / "02_toy"
    )
    monkeypatch.setenv("CCH_BUILD_DIR", str(tmp_path / "else"))
    assert (
        records.start("02_toy", {}).folder.parent
        == tmp_path / "else" / "runs" / "02_toy"
    )
    monkeypatch.setenv("CCH_RUN_DIR", str(tmp_path / "here"))
    monkeypatch.setenv(
        "CCH_JOB",
        json.dumps(
            {"key": "k", "profile": "paper", "overrides": {"a": 1}, "after": []}
        ),
    )
    run = records.start("02_toy", {})
    run.finish()
    record = records.read(tmp_path / "here").record
    assert (record["key"], record["profile"], record["overrides"]) == (
        "k",
        "paper",
        {"a": 1},
    )


def test_outside_of_a_checkout_the_working_directory_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("CCH_ROOT", raising=False)
    monkeypatch.delenv("CCH_BUILD_DIR", raising=False)
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "site-packages" / "cchbook")
    monkeypatch.chdir(tmp_path)
    assert records.repository() is None and records.build_dir() == tmp_path / "_build"
    assert records.recorded("02_toy") == [] and records.commit() is None


def test_what_is_not_real_is_said_on_the_page_and_in_the_record(toy, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "IPython.display.display", lambda data, raw: shown.append(data["text/html"])
    )
    run = records.start("02_toy", {})
    small = Source("mosi", "embedded", note="a <small> set")
    run.uses(Source("mnist", "real"), small, Source("toy", "simulated", None))
    run.uses(Source("mosi", "embedded"))
    run.finish()
    assert len(shown) == 2 and all("admonition" in text for text in shown)
    assert (
        "Embedded stand-in" in shown[0]
        and "a &lt;small&gt; set" in shown[0]
        and "Simulated" in shown[1]
    )
    assert [
        (d["name"], d["kind"]) for d in records.read(run.folder).record["data"]
    ] == [("mnist", "real"), ("mosi", "embedded"), ("toy", "simulated")]


def test_a_run_killed_while_it_writes_leaves_no_record(toy, monkeypatch):
    first = records.start("02_toy", {})
    first.log("a", 1)
    first.finish()
    second = records.start("02_toy", {})
    second.log("a", 2)
    monkeypatch.setattr(
        records, "write_json", lambda *_: 1 / 0
    )  # after metrics.csv, before the record
    with pytest.raises(ZeroDivisionError):
        second.finish()
    assert not (second.folder / "record.json").exists()
    with pytest.raises(FileNotFoundError):
        records.read(second.folder)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (
            lambda run: run.log("a", "many"),
            "value of 'a' must be one number, got 'many'",
        ),
        (lambda run: run.log("a", [1, 2]), "one number"),
        (lambda run: run.log("a", 1, value=3), "multiple values"),
        (
            lambda run: run.log("a", 1, **{"metric ": 1}) or run.frame("b"),
            r"`metric` must be one of \['a'\], got 'b'",
        ),
        (
            lambda run: run.log_frame(pd.DataFrame({"value": [1]})),
            r"`frame` must have columns metric and value, got no \['metric'\]",
        ),
    ],
)
def test_bad_measurements_are_refused(toy, call, said):
    with pytest.raises((ValueError, TypeError), match=said):
        call(records.start("02_toy", {}))


# Reading ------------------------------------------------------------------------------


def test_recorded_and_live_runs_are_found(toy, tmp_path, monkeypatch):
    for key, start in (("b", "2026-01-01"), ("a", "2026-01-02")):
        for base in ("data/recorded", "_build/runs"):
            folder = tmp_path / base / "02_toy" / key
            records.write_text(
                folder / "metrics.csv", "seed,metric,value,unit\n,x,1,\n"
            )
            record = {
                "notebook": "02_toy",
                "key": key,
                "start": start,
                "parameters": {},
            }
            records.write_json(folder / "record.json", record)
    assert [r.record["key"] for r in records.recorded("02_toy")] == ["b", "a"]
    assert [r.record["key"] for r in records.live("02_toy")] == [
        "a"
    ]  # by hand: the newest
    after = [str(tmp_path / "_build/runs/02_toy/b")]
    monkeypatch.setenv("CCH_JOB", json.dumps({"after": after}))
    assert [r.record["key"] for r in records.live("02_toy")] == [
        "b"
    ]  # in a batch: exactly what it comes after
    assert records.live("03_other") == [] and records.live("02_toy")[
        0
    ].metrics.value.tolist() == [1]


def test_paper_reads_tables_and_names_them(tmp_path, monkeypatch):
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "cchbook")
    text = "table,gamma,quantity,value,std_error\n1,0.5,accuracy,0.9,0.01\n"
    records.write_text(tmp_path / "data/paper/table_1.csv", text)
    assert records.paper("table_1").value.tolist() == [0.9]
    with pytest.raises(
        ValueError, match="`table` must be one of table_1, got 'table_2'"
    ):
        records.paper("table_2")


# Circumstances ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limit", "most"),
    [("max 100000", 10**6), ("150000 100000", 1), ("50000 100000", 1)],
)
def test_quota_of_a_container_bounds_the_cores(monkeypatch, tmp_path, limit, most):
    (tmp_path / "cpu.max").write_text(limit)
    monkeypatch.setattr(records, "QUOTA", tmp_path / "cpu.max")
    assert 1 <= records.cores() <= most


# The notebook's declarations ----------------------------------------------------------

CELL = """seeds: int = 2  # how many, é
lam: list[float] = [
    0.1, 0.5]  # weights
device = "auto"
T: float | None = None"""


def test_declarations_are_read_and_rewritten(tmp_path):
    path = tmp_path / "n.ipynb"
    write_notebook(path, [CELL])
    notebook = Notebook.read(path)
    found = notebook.parameters
    assert list(found) == ["seeds", "lam", "device", "T"]
    assert (found["seeds"].default, found["seeds"].type, found["seeds"].comment) == (
        2,
        "int",
        "how many, é",
    )
    assert (found["lam"].default, found["lam"].comment, found["device"].type) == (
        [0.1, 0.5],
        "weights",
        "str",
    )
    assert notebook.with_values(
        {"seeds": 5, "lam": [1], "device": "auto", "T": 3.0}
    ) == (
        "seeds: int = 5  # how many, é\nlam: list[float] = [1]  # weights\n"
        'device = "auto"\nT: float | None = 3.0'
    )
    assert [found["T"].accepts(v) for v in (None, 1, 1.5, True, "x")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert [found["seeds"].accepts(v) for v in (1, 1.5, True)] == [True, False, False]


@pytest.mark.parametrize("cell", ["n: int = len('ab')", "import os", "a[0] = 1"])
def test_declarations_that_are_no_literals_are_refused(tmp_path, cell):
    write_notebook(tmp_path / "n.ipynb", [cell])
    with pytest.raises(ValueError, match="name: type = literal"):
        Notebook.read(tmp_path / "n.ipynb").parameters


def test_a_notebook_needs_one_parameters_cell(tmp_path):
    write_notebook(tmp_path / "n.ipynb", [])
    with pytest.raises(ValueError, match="one cell tagged `parameters`, got 0"):
        Notebook.read(tmp_path / "n.ipynb").parameters


def test_the_record_with_the_most_conditions_leads(tmp_path, monkeypatch):
    """A newer record of a part of the conditions doesn't hide the whole; of equals the
    one with the most repetitions leads, then the newer. Seeds, controls and other
    metrics are no conditions.
    """
    monkeypatch.setenv("CCH_ROOT", str(tmp_path))

    def keep(key, start, rows):
        folder = tmp_path / "data/recorded/02_toy" / key
        folder.mkdir(parents=True)
        about = {"notebook": "02_toy", "key": key, "start": start}
        (folder / "record.json").write_text(json.dumps(about))
        columns = ["lam", "control", "seed", "metric", "value", "unit"]
        pd.DataFrame(rows, columns=columns).to_csv(folder / "metrics.csv", index=False)

    def gain(lam, seed=0, control=None, metric="gain"):
        return [lam, control, seed, metric, 1.0, ""]

    assert records.leading("02_toy") is None
    keep("whole", "2026-01-01", [gain(0.1), gain(0.2), gain(0.3)])
    part = [gain(0.1, seed) for seed in range(4)]
    part += [gain(0.1, control="zero"), gain(0.2, metric="gap")]
    keep("part", "2026-01-02", [*part, gain(0.3)])
    assert records.leading("02_toy").record["key"] == "whole"
    keep("again", "2026-01-03", [gain(0.1), gain(0.2), gain(0.4)])
    assert records.leading("02_toy").record["key"] == "again"
    twice = [gain(lam, seed) for lam in (0.1, 0.2, 0.3) for seed in range(2)]
    keep("twice", "2026-01-02", twice)
    assert records.leading("02_toy").record["key"] == "twice"


def test_without_gains_all_conditions_count():
    frame = pd.DataFrame(
        {
            "lam": [0.1, 0.2, 0.2],
            "seed": [0, 0, 1],
            "metric": "risk",
            "value": 1.0,
            "unit": "",
        }
    )
    assert records.count_conditions(frame) == (2, 3)
