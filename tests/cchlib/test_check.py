"""What is no plain number is refused by name; what is one keeps its value."""

import datetime
import fractions

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import torch

from cchlib import check

MASKED = np.ma.array([1.0, 2.0, 3.0], mask=[False, True, False])
DATES = np.array(["2020-01-01", "NaT"], "M8[ns]")


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (MASKED, "masked"),
        ([MASKED, MASKED], "masked"),
        ([[1.0, 2.0], [MASKED]], "masked"),
        (DATES, "datetime64"),
        (DATES - DATES[:1], "timedelta64"),
        (pd.Series(DATES), "datetime64"),
        (pd.DataFrame({"a": DATES, "b": [1.0, 2.0]}), "objects"),
        (pd.date_range("2020", periods=2, tz="UTC"), "objects"),
        ([datetime.datetime(2020, 1, 1)], "objects"),
        ([pd.NaT, pd.NaT], "objects|datetime64"),
        (np.array([1j]), "complex128"),
        ([1j, 2.0], "complex128"),
        (pd.DataFrame({"a": [1.0], "b": [1j]}), "complex"),
        ([[1.0], [1.0, 2.0]], "`x` must"),
        ([1.0, None], "objects or missing"),
        ([fractions.Fraction(1, 2)], "objects"),
        ({"a": 1}, "objects"),
        (np.zeros(2, dtype=[("a", float), ("b", int)]), "void"),
        (scipy.sparse.eye(3), "sparse"),
        (torch.eye(3).to_sparse(), "sparse"),
        (torch.ones(2, device="meta"), "meta"),
        (torch.ones(2, dtype=torch.complex64), "complex64"),
    ],
)
def test_what_is_no_plain_number_is_refused_by_every_reader(value, said):
    for read in (check.finite, check.features, check.as_tensor, check.within):
        with pytest.raises(ValueError, match=said) as caught:
            read("x", value)
        assert str(caught.value).startswith("`x` must ")


@pytest.mark.parametrize(
    "value",
    [
        np.ma.array([1.0, 2.0]),  # nothing is masked
        pd.Series([1.0, 2.0], dtype="Float64"),
        pd.Series([1, 2], dtype="Int64"),
        pd.Series([1, 2], dtype="Sparse[int]"),
        pd.array([1.0, 2.0], dtype="Float64"),
        pd.Series(pd.Categorical([1, 2])),
        np.array([1, 2], np.longdouble),
        np.array([1, 2], np.float16),
        np.array([1, 2], ">f4"),
        np.array([1, 2], np.uint64),
        torch.tensor([1.0, 2.0], dtype=torch.float8_e4m3fn),
        torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
        torch.tensor([1, 2], dtype=torch.uint16),
        torch.tensor([1.0, 2.0], requires_grad=True),
        torch.tensor([1 - 1j, 2 - 2j]).conj().imag,  # a view with its sign held back
        (1, np.float32(2)),
    ],
)
def test_numbers_in_every_dress_keep_their_value(value):
    assert check.finite("x", value).tolist() == [1.0, 2.0]
    assert check.as_tensor("x", value).double().tolist() == [1.0, 2.0]


def test_frames_of_several_types_are_numbers():
    frame = pd.DataFrame({"a": [True, False], "b": [0.5, 2.0]})
    assert check.features("x", frame).tolist() == [[1.0, 0.5], [0.0, 2.0]]
    frame["c"] = pd.array([1, 2], dtype="Int64")
    assert check.features("x", frame).tolist() == [[1.0, 0.5, 1.0], [0.0, 2.0, 2.0]]


@pytest.mark.parametrize("kind", ["Float64", "Int64", "boolean"])
def test_a_gap_in_a_nullable_column_is_a_gap(kind):
    with pytest.raises(ValueError, match="`x`.*got 1 NaN"):
        check.finite("x", pd.Series([1, None], dtype=kind))


def test_whole_numbers_stay_whole():
    for value in (pd.Series([1, 2], dtype="Int64"), torch.tensor([1, 2]), [1, 2]):
        assert check.as_array("labels", value).dtype.kind == "i"
    texts = pd.Series(["a", "b"], dtype="string")
    assert check.as_array("labels", texts).tolist() == ["a", "b"]


def test_text_is_no_number():
    for value in (["1", "2"], np.array([b"1"]), "1"):
        with pytest.raises(ValueError, match="`x` must"):
            check.finite("x", value)


def test_numbers_beyond_their_type_are_refused():
    with pytest.raises(ValueError, match="`x`.*got 1 NaN or infinite"):
        check.finite("x", np.array([1, "1e400"], np.longdouble))
    for value in (
        np.array([2**63], np.uint64),
        torch.tensor([2**63], dtype=torch.uint64),
    ):
        with pytest.raises(ValueError, match="`x`.*2⁶³"):
            check.as_tensor("x", value)


@pytest.mark.parametrize("value", [-1, 2**64, 1.0, True, "1", None, np.array([1])])
def test_seeds(value):
    with pytest.raises(ValueError, match="`seed` must be an integer"):
        check.seed("seed", value)


def test_the_largest_seed():
    assert check.seed("seed", 2**64 - 1) == 2**64 - 1
    assert check.seed("seed", np.uint64(2**63)) == 2**63


@pytest.mark.parametrize(
    "value", [[0.1], np.array([0.1, 0.2]), torch.ones(1), "0.1", None, np.nan, -1.0]
)
def test_a_number_is_one_number(value):
    with pytest.raises(ValueError, match="`lr`"):
        check.number("lr", value, 0.0)


def test_a_number_in_every_dress():
    for value in (0.5, np.float32(0.5), np.array(0.5), torch.tensor(0.5)):
        assert check.number("lr", value, 0.0) == 0.5


@pytest.mark.parametrize("value", [["ksg"], np.array(["ksg"]), {"ksg"}, None, 3])
def test_one_of(value):
    with pytest.raises(ValueError, match="`method` must be one of 'ksg'"):
        check.one_of("method", value, ("ksg",))


@pytest.mark.parametrize("value", [np.array(1.0), torch.tensor(1.0), 3.0])
def test_one_row_a_sample(value):
    with pytest.raises(ValueError, match="`x`.*single"):
        check.same_length(y=[1, 2], x=value)


def test_columns_that_vary_by_more_than_rounding():
    drawn = np.random.default_rng(0).standard_normal((50, 1))
    columns = {
        "constant": (np.full((50, 1), 0.1), False),
        "zero": (np.zeros((50, 1)), False),
        "far out": (drawn + 1e10, True),
        "small": (1e-100 * drawn, True),
        "too small to square": (1e-200 * drawn, False),
        "large": (1e200 * drawn, True),
    }
    found = check.varies(np.hstack([column for column, _ in columns.values()]))
    assert found.tolist() == [wanted for _, wanted in columns.values()]
