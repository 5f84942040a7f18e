"""What chapter 7 makes of its measurements, and of the paper's printed values."""

import numpy as np
import pandas as pd
import pytest

from cchbook.chapters import estimates


def test_floors_and_promises_of_a_coin():
    assert estimates.binary_entropy(0.5) == pytest.approx(np.log(2))
    # a binary channel attains Fano's bound
    floor = estimates.fano_floor(np.log(2), 2, 0.9)
    assert floor == pytest.approx(np.log(2) - estimates.binary_entropy(0.1))


def test_printed_values_are_read_in_both_units():
    values = pd.DataFrame(
        {
            "where": ["Table 8", "Table 0"],
            "quantity": ["I(KIPAN RPPA; Y)", "I(H; Y)"],
            "value": [1.1609, 0.30],
            "entropy": [np.log(3), np.log(2)],
            "classes": [3, 2],
            "accuracy": [np.nan, 0.9],
        }
    )
    found = estimates.possible(values).set_index(["where", "read_as"])
    # more than ln 3 nats, less than log2 3 bits
    assert found.loc[("Table 8", "nats"), "verdict"] == "above the ceiling"
    assert found.loc[("Table 8", "bits"), "verdict"] == "possible"
    assert found.loc[("Table 0", "nats"), "verdict"] == "below the floor"
    told = estimates.possible_table(estimates.possible(values))
    assert list(told["in nats"]) == ["above the ceiling", "below the floor"]
    assert list(told["floor"]) == ["–", "0.368"]


def test_all_printed_informations_are_there():
    values = estimates.printed_values()
    assert len(values) == 14 and values["value"].between(0, 3).all()
    assert values["accuracy"].notna().sum() == 6
    found = estimates.possible(values)
    impossible = found[found["verdict"] != "possible"]["read_as"].value_counts()
    assert dict(impossible) == {"nats": 6, "bits": 3}


def test_samples_needed_fall_with_the_square_of_the_gap():
    assert estimates.samples_needed(0.05, 400, 0.14) == 400
    assert estimates.samples_needed(0.05, 400, 0.014) == 40_000
    assert np.isnan(estimates.samples_needed(float("nan"), 400, 0.1))


def test_rates_weigh_cases_by_their_draws():
    found = pd.DataFrame({"covers": [1.0, 0.5], "count": [30, 10], "p": [2, 16]})
    assert estimates.rate(found, "covers", "p > 0") == 0.875
    assert np.isnan(estimates.rate(found, "covers", "p > 99"))
