"""Evidence: what a record lacks, and which run leads."""

import json

import numpy as np
import pandas as pd
import pytest

from cchbook.chapters import evidence, information, scorecard, tables
from cchbook.runs import records


def rows(metric, values, **conditions):
    return [
        {**conditions, "seed": seed, "metric": metric, "value": value}
        for seed, value in enumerate(values)
    ]


@pytest.fixture
def told(monkeypatch, tmp_path):
    """An older record without batch sizes, and a live run with them and controls."""
    monkeypatch.setenv("CCH_ROOT", str(tmp_path))
    folder = tmp_path / "data" / "recorded" / "02_synthetic" / "a"
    folder.mkdir(parents=True)
    about = {
        "notebook": "02_synthetic",
        "key": "a",
        "start": "2026-01-01T00:00:00",
        "seconds": 120,
        "profile": "paper",
        "overrides": {"seeds": 2},
        "parameters": {"batch_size": 64, "seeds": 2},
    }
    (folder / "record.json").write_text(json.dumps(about))
    frame = rows("gain", [0.1, 0.3], lam=0.3) + rows("i_ts", [0.5, 0.5], lam=0.3)
    frame += rows("mutual_information", [0.5, 0.5], estimator="ksg")
    frame = pd.DataFrame(frame).assign(unit="")
    frame.to_csv(folder / "metrics.csv", index=False)

    class Run:
        notebook, parameters = "02_synthetic", {"seeds": 2}
        stand_in = False

        def frame(self):
            return pd.DataFrame(
                rows("gain", [0.0, 0.2], lam=0.3, batch_size=32)
                + rows("test_mse", [1.0, 1.0], lam=0.3, batch_size=32)
                + rows("test_mse", [2.0, 2.0], lam=0.3, batch_size=32, control="zero")
            )

    return evidence.of(Run(), batch_size=0, estimator="latent")


def test_the_record_leads_and_knows_what_it_ran_with(told):
    recorded, live = told
    assert recorded.recorded and not live.recorded
    table = recorded.mean("gain", ["batch_size", "lam"])
    assert table.loc[0, ["batch_size", "lam", "mean"]].tolist() == [64, 0.3, 0.2]
    assert len(recorded.rows("gain", batch_size=64)) == 2
    assert recorded.rows("gain", batch_size=32).empty
    assert recorded.text("i_ts", estimator="latent") == "0.5 ± 0"
    assert evidence.leading_estimator(recorded) == "latent"
    assert "seeds = 2" in recorded.about and "2026-01-01" in recorded.about


def test_none_is_what_was_not_named(told):
    live = told[1]
    assert live.text("test_mse", control=None) == "1 ± 0"
    assert live.text("test_mse", control="zero") == "2 ± 0"
    assert live.text("accuracy") == "–"


def test_beside_has_a_column_a_run_and_a_row_a_condition(told):
    shown = tables.beside(told, {"batch_size": "batch"}, {"gain": ("gain", {})})
    assert shown["batch"].tolist() == [32, 64]
    assert shown["gain, recorded"].tolist() == ["–", "0.2 ± 0.1"]
    assert shown["gain, this run"].tolist() == ["0.1 ± 0.1", "–"]


def test_a_live_run_is_judged_by_itself():
    gains = rows("gain", [0.10, 0.11, 0.12, 0.10], lam=0.3, reading="a")
    gains += rows("gain", [0.1, -0.1, 0.2, -0.2], lam=0.8, reading="a")
    one = evidence.Evidence("this run", pd.DataFrame(gains), {}, "", notebook="x")
    verdicts = one.verdicts("lam")
    assert verdicts["verdict"].tolist() == ["helps", "undecided"]
    table = one.mean("gain", "lam")
    assert evidence.called(one, table, ["lam"]).tolist() == [True, False]
    assert one.verdicts("lam", lam=0.8)["verdict"].tolist() == ["undecided"]


def test_the_leading_record_is_judged_with_all_conditions(told):
    recorded = told[0]
    (verdict,) = recorded.verdicts(["lam", "batch_size"])["verdict"]
    assert verdict == "undecided" and recorded.notebook == "02_synthetic"


def test_only_keeps_what_names_a_condition_so_or_not_at_all():
    frame = pd.DataFrame(
        rows("gain", [1.0], stopping="none")
        + rows("gain", [2.0], stopping="early")
        + rows("linear_helps", [3.0])
    )
    one = evidence.Evidence("this run", frame, {}, "")
    assert one.only(stopping="early").metrics["value"].tolist() == [2.0, 3.0]
    older = evidence.Evidence(
        "recorded",
        frame.drop(columns="stopping"),
        {},
        "",
        {"stopping": "none"},
    )
    assert len(older.only(stopping="none").metrics) == 3
    assert older.only(stopping="early").metrics.empty


def test_an_estimator_is_known_by_its_name_on_the_page():
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 1))
    y = 0.8 * x + 0.6 * random.standard_normal((200, 1))
    found = information.estimates({"a": (x, y), "b": (y, x)}, "gaussian")
    assert found["a"].value == pytest.approx(found["b"].value)
    assert found["a"].value == pytest.approx(-0.5 * np.log(1 - 0.64), abs=0.15)
    assert information.estimates({}, "ksg") == {}
    with pytest.raises(ValueError, match="estimator"):
        information.estimates({"a": (x, y)}, "latentmi")


def test_conditions_are_told_by_the_papers_estimator_and_not_by_controls():
    metrics = pd.DataFrame(
        rows("gain", [1.0, 2.0], data="a", lam=0.3)
        + rows("gain_over_control", [0.5, 0.5], data="a", lam=0.3)
        + rows("i_ts", [1.0, 1.0], data="a", estimator="latent")
        + rows("i_ts", [3.0, 3.0], data="a", estimator="lmi")
        + rows("i_sl", [0.5, 0.5], data="a", estimator="latent")
        + rows("i_sl", [1.0, 1.0], data="a", estimator="lmi")
        + rows("mse", [4.0, 4.0], data="a", lam=0.3)
        + rows("mse", [9.0, 9.0], data="a", lam=0.3, control="zero")
    )
    (row,) = scorecard.conditions(metrics, ["i_ts", "mse"]).to_dict("records")
    assert row["i_ts"] == 3 and row["gap"] == 2 and row["mse"] == 4
    assert scorecard.measured(metrics, "mse", {"data": "a", "lam": 0.3})[0] == 4
    ours = scorecard.of_estimator(metrics, "latent")
    assert scorecard.measured(ours, "i_ts", {"data": "a"})[0] == 1
    assert records.recorded("no such notebook") == []
