"""What a run keeps of each test sample, and what follows from it."""

import numpy as np
import pytest

from cchbook.runs import predictions, records
from cchbook.runs.predictions import Predictions


def test_logits_become_the_class_and_the_probability_of_the_true_one():
    # softmax(ln 3, 0) = (3/4, 1/4)
    logits = np.log([[3.0, 1.0], [1.0, 3.0], [1.0, 1.0]])
    kept = predictions.network(logits, [0, 0, 1], {"seed": 0})
    assert kept.predicted.tolist() == [0, 1, 0]
    assert kept.right.tolist() == [True, False, False]
    assert kept.probability.tolist() == [0.75, 0.25, 0.5]
    assert kept.probability.dtype == np.float16
    assert kept.predicted.dtype == np.uint8


def test_they_are_read_as_they_were_written(tmp_path):
    rng = np.random.default_rng(0)
    y, other = rng.integers(0, 300, 40), rng.integers(0, 3, 25)
    said = [
        predictions.network(rng.normal(size=(40, 300)), y, {"seed": 0, "lam": 0.5}),
        predictions.network(rng.normal(size=(25, 3)), other, {"seed": 0}),
        predictions.network(rng.normal(size=(40, 300)), y, {"seed": 1, "lam": 0.5}),
        predictions.network(rng.normal(size=9), np.arange(9.0), {"seed": None}),
    ]
    path = tmp_path / "predictions.npz"
    path.write_bytes(Predictions(said).to_bytes())
    read = Predictions.read(path)
    assert len(read) == 4
    for each in said:
        (found,) = [r for r in read if r.conditions == each.conditions]
        assert np.array_equal(found.truth, each.truth)
        assert np.array_equal(found.predicted, each.predicted)
        if each.probability is None:
            assert found.probability is None
        else:
            assert np.array_equal(found.probability, each.probability)
    assert len(read.of(lam=0.5)) == 2
    assert len(read + read) == 4


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="outputs"):
        predictions.network(np.zeros((4, 2)), np.zeros(3, int), {})
    with pytest.raises(ValueError, match="finite"):
        predictions.network(np.full((4, 2), np.nan), np.zeros(4, int), {})


def test_a_run_keeps_them_and_names_what_it_kept_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_RUN_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("CCH_BUILD_DIR", str(tmp_path / "build"))
    run = records.Run("toy", {"first_seed": 3}, tmp_path / "run", {"key": "k"})
    logits = np.array([[2.0, 0.0], [0.0, 2.0]])
    run.log("accuracy", 0.5, seed=0)
    run.log_predictions(logits, [0, 0], seed=0, lam=0.5)
    run.keep("representations", {"h1": np.ones((2, 4))})
    run.finish()
    record = records.read(tmp_path / "run")
    (said,) = record.predictions
    assert said.conditions == {"seed": 3, "lam": 0.5}
    assert said.right.mean() == record.metrics["value"].item()
    ((name, about),) = record.record["kept"].items()
    content = np.load(tmp_path / "build" / name)
    assert content["h1"].dtype == np.float16
    assert about["bytes"] == (tmp_path / "build" / name).stat().st_size
