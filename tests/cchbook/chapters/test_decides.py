"""The sums of the chapter on what decides, on frames that one can work by hand."""

from itertools import product

import pandas as pd
import pytest

from cchbook.chapters import decides

SETTING = {
    "split": "test",
    "layer": "last hidden",
    "method": "ksg",
    "samples": 100,
    "batch_size": 32,
    "epochs": 1,
}


def logged(rows):
    """As `Run.frame` gives a metric."""
    return pd.DataFrame([SETTING | row for row in rows])


@pytest.fixture
def choices():
    """Two layers, two blurs; the blur turns the sign at one layer of the two."""
    values = {
        ("last hidden", 0.0): 1.5,
        ("last hidden", 2.5): 0.5,
        ("logits", 0.0): 1.4,
        ("logits", 2.5): 1.2,
    }
    i_ts = logged(
        {"layer": layer, "gamma": gamma, "seed": seed, "value": value + shift}
        for (layer, gamma), value in values.items()
        for seed, shift in ((0, -0.1), (1, 0.1))
    )
    i_sl = logged(
        {"layer": layer, "seed": 0, "value": 1.0} for layer in ("last hidden", "logits")
    )
    table = pd.DataFrame(
        {
            "batch_size": 32,
            "epochs": 1,
            "gamma": [0.0, 2.5, 0.0],
            "swapped": [0, 0, 10],
            "shuffled": [0, 0, 0],
            "gain": [0.02, 0.01, -0.5],
            "gain_se": 0.001,
        }
    )
    return decides.choices(i_ts, i_sl, table)


def test_gap_and_gain_of_every_choice(choices):
    found = choices.set_index(["layer", "gamma"])
    assert found["gap"].to_dict() == pytest.approx(
        {
            ("last hidden", 0.0): 0.5,
            ("last hidden", 2.5): -0.5,
            ("logits", 0.0): 0.4,
            ("logits", 2.5): 0.2,
        }
    )
    # of the plain teacher, not of the one with exchanged classes
    assert found["gain"]["logits", 0.0] == 0.02
    assert found["agrees"].tolist() == [True, False, True, True]
    assert set(found["training"]) == {"32 a batch, 1 epochs"}


def test_how_often_one_choice_turns_the_sign(choices):
    turned = decides.turns(choices)
    assert turned.index.tolist() == ["blur γ", "layer"]
    assert turned["pairs"].tolist() == [2, 2]
    assert turned["turned"].tolist() == [0.5, 0.5]
    # three of the four settings are positive
    assert turned["by_chance"].tolist() == pytest.approx([0.375, 0.375])
    assert turned["relative"].tolist() == pytest.approx([4 / 3, 4 / 3])
    assert turned["moves"].tolist() == pytest.approx([0.6, 0.4])


def test_shuffling_costs_what_the_same_seed_lost():
    gains = pd.DataFrame(
        [
            {"gamma": 0.0, "shuffled": shuffled, "seed": seed, "value": value}
            for (shuffled, seed), value in zip(
                product((0, 1), range(3)), (0.1, 0.2, 0.3, 0.0, 0.1, 0.1)
            )
        ]
    ).assign(batch_size=32, epochs=1, swapped=0)
    other = gains.assign(epochs=9, value=1.0)
    cost = decides.cost_of_shuffling(pd.concat([gains, other]), 32, 1)
    assert cost["mean"][0.0] == pytest.approx(-0.4 / 3)
    assert cost["sem"][0.0] == pytest.approx(0.1 / 3)


def test_arms_of_the_interventions():
    table = pd.DataFrame(
        {
            "batch_size": [32, 32, 32, 128],
            "epochs": 1,
            "swapped": [0, 10, 0, 0],
            "shuffled": [0, 0, 1, 0],
        }
    )
    part = decides.interventions(table, 32, 1)
    assert part["arm"].tolist() == [
        "blur",
        "classes exchanged",
        "shuffled within classes",
    ]
    assert decides.condition(part, shuffled=1).name == 2


def test_a_saturated_gap_bounds_from_below(choices):
    """It is marked, and says no where it is not positive: nothing."""
    assert decides.bounded([1.234, -0.5], [True, False]) == ["≥ 1.23", "-0.50"]
    near = choices.assign(saturated=[False, True, True, False])
    assert decides.signed(near)["gap"].tolist() == pytest.approx([0.5, 0.4, 0.2])


def test_every_choice_in_a_table_that_fits(choices, monkeypatch):
    shown = []
    monkeypatch.setattr(
        decides.plots, "show_table", lambda frame, *_, **__: shown.append(frame)
    )
    decides.choices_table(choices.assign(saturated=[True, False, False, False]))
    (table,) = shown
    assert table.shape == (2, 7) and table.columns.name is None
    assert table["images"].tolist() == ["100 test", "100 test"]
    assert table["gap, γ = 0.0"].tolist() == ["≥ +0.50", "+0.40"]
    assert table["signs agree"].tolist() == ["1 of 2", "2 of 2"]
