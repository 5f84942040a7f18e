"""Rows that have names are matched by them."""

import numpy as np
import pandas as pd
import pytest

from cchlib import estimate_mi
from cchlib.gaussian import predicted_gain
from cchlib.mi.repeats import records_of
from cchlib.names import (
    check_entries,
    column_names,
    groups_of,
    joined,
    match_rows,
    missing,
)

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((60, 2))
Y = X[:, :1] + 0.5 * RANDOM.standard_normal((60, 1))
IDS = [f"P{i:02d}" for i in range(60)]
ORDER = RANDOM.permutation(60)
TABLE = pd.DataFrame(X, index=IDS)


@pytest.mark.parametrize("index", [IDS, list(range(5, 65)), ORDER.tolist()])
def test_the_same_rows_in_another_order_are_the_same_rows(index):
    x, y = pd.DataFrame(X, index=index), pd.DataFrame(Y, index=index)
    wanted = estimate_mi(X, Y, "ksg").value
    assert estimate_mi(x, y.iloc[ORDER], "ksg").value == pytest.approx(wanted)
    assert estimate_mi(x, Y, "ksg").value == pytest.approx(wanted)
    gains = predicted_gain(x[0], y.iloc[ORDER][0], x[1], 0.5)
    assert gains == pytest.approx(predicted_gain(X[:, 0], Y[:, 0], X[:, 1], 0.5))


def test_a_counted_index_names_nothing_unless_it_is_permuted():
    plain = pd.DataFrame(Y)
    assert match_rows(x=TABLE, y=plain)["y"] is plain
    shuffled = pd.DataFrame(Y).iloc[ORDER]
    found = match_rows(x=shuffled, y=pd.DataFrame(X))
    np.testing.assert_array_equal(found["y"].to_numpy(), X[ORDER])


@pytest.mark.parametrize(
    "values, message",
    [
        (dict(y=TABLE.set_axis([f"Q{i}" for i in range(60)])), "`y` .* 0 of 60 names"),
        (dict(y=TABLE.set_axis(["a"] * 60)), "names that are there twice"),
        (dict(y=TABLE.iloc[ORDER], z=Y), "`z` must have an index"),
    ],
)
def test_rows_that_names_do_not_match_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        match_rows(x=TABLE, **values)


def test_what_is_missing_is_missing_in_every_type():
    text = np.array(["NA", "n/a", " ", "[Not Available]", "NAB", "0"])
    assert missing(text).tolist() == [True] * 4 + [False] * 2
    assert missing(np.array([1.0, np.nan])).tolist() == [False, True]
    assert not missing(np.array([0, -1])).any()


def test_column_names():
    assert column_names(pd.DataFrame(X)) is None and column_names(X) is None
    assert column_names(pd.DataFrame(X, columns=[1.0, "b "])) == ["1", "b"]


def test_repeats_join_groups():
    again = np.r_[np.arange(60), 3, 3, 7]
    member = records_of([X[again], Y[again]])
    assert member[3] == member[60] == member[61] and member[7] == member[62]
    assert len(np.unique(member)) == 60 and records_of([X]) is None
    groups = joined(np.arange(63) // 2, member)
    assert groups[2] == groups[3] == groups[60] == groups[61] != groups[4]
    assert groups[62] == groups[6]


def test_a_blank_makes_no_class_and_no_group():
    words = np.array(["a", "b", "a "])
    with pytest.raises(ValueError, match="labels.* one spelling of each, got 'a'"):
        check_entries("labels", words)
    with pytest.raises(ValueError, match="groups.* one spelling"):
        groups_of(words, 3)
    check_entries("labels", np.array(["a ", "b ", "A "]))
