"""What belongs together is matched by name where there are names, and what is missing
is missing everywhere alike.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

from cchlib import check

#: what R, pandas and spreadsheets write for an entry that is missing, in lower case;
#: entries in brackets, such as TCGA's "[Not Available]", are missing too
MISSING = {"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "."}
#: codes by which programs mark subjects without a label
UNLABELLED = (-1, -100)


def missing(values: Any) -> np.ndarray:
    """Which entries (n,) stand for a value that is not there."""
    array = np.asarray(values)
    if array.dtype.kind == "f":
        return np.isnan(array)
    if array.dtype.kind not in "SU":
        return np.zeros(array.shape, bool)
    text = np.char.lower(np.char.strip(array.astype(str)))
    bracketed = np.char.startswith(text, "[") & np.char.endswith(text, "]")
    return np.isin(text, sorted(MISSING)) | bracketed


def check_entries(name: str, values: np.ndarray) -> None:
    """Refuse entries (n,) that stand for a missing value, and one word in two
    spellings: with blanks around it and without.
    """
    gone = missing(values)
    if gone.any():
        first = int(gone.argmax())
        raise ValueError(
            f"`{name}` must be there for every subject, got {int(gone.sum())} missing "
            f"entries, the first in row {first + 1} ({str(values[first])!r}): leave "
            "these subjects out, or call the class by another word"
        )
    if values.dtype.kind not in "SU":
        return
    words = np.unique(values)
    bare, counts = np.unique(np.char.strip(words), return_counts=True)
    if counts.max() > 1:
        twice = str(bare[counts.argmax()])
        raise ValueError(
            f"`{name}` must have one spelling of each, got {twice!r} with blanks "
            "around it and without"
        )


def all_labelled(values: np.ndarray) -> None:
    """Refuse whole-number labels among which a negative one says "no label".

    {−1, 1} and {−1, 0, 1} are classes.
    """
    if values.dtype.kind != "i" or values.max(initial=0) < 2:
        marks: tuple[int, ...] = (-100,) if values.dtype.kind == "i" else ()
    else:
        marks = UNLABELLED
    for mark in marks:
        gone = values == mark
        if gone.any():
            raise ValueError(
                f"`labels` must be there for every subject, got {mark} in "
                f"{int(gone.sum())} rows, the first of them {int(gone.argmax()) + 1}: "
                "leave the unlabelled out, or write the classes as text"
            )


def groups_of(groups: Any, n: int) -> np.ndarray:
    """The group of every row (n,), none of them missing."""
    array = check.as_array("groups", groups)
    if array.shape != (n,):
        raise ValueError(
            f"`groups` must have shape ({n},), one group a row, got {array.shape}"
        )
    check_entries("groups", array)
    return array


def match_rows(**values: Any) -> dict[str, Any]:
    """The values, those of pandas with their rows in one order.

    The order is that of the first that has an index of its own; a `RangeIndex` from 0
    names no rows unless it holds the same names. Values of other lengths stay as they
    are, for `check.same_length` to refuse.

    Raises
    ------
    ValueError
        Where two hold different rows, or the same in different orders while a third
        has no index that could say which of the two it follows.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return values
    indexed = {
        name: value.index
        for name, value in values.items()
        if isinstance(value, (pandas.DataFrame, pandas.Series)) and len(value)
    }
    named = [name for name, index in indexed.items() if not _counted(index)]
    if not named or len(indexed) < 2:
        return values
    first = named[0]
    rows = indexed[first]

    matched, nameless, moved = dict(values), [], []
    for name, value in values.items():
        index = indexed.get(name)
        if value is None or name == first:
            continue
        if index is None or len(index) != len(rows):
            nameless.append(name)
        elif index.equals(rows):
            continue
        elif not (index.is_unique and rows.is_unique):
            if not _counted(index):
                raise ValueError(
                    f"`{name}` must have the index of `{first}`, got another one, with "
                    "names that are there twice"
                )
            nameless.append(name)
        elif (there := index.isin(rows)).all():
            matched[name] = value.loc[rows]
            moved.append(name)
        elif _counted(index):
            nameless.append(name)
        else:
            raise ValueError(
                f"`{name}` must have the rows of `{first}`, got an index of which "
                f"{int(there.sum())} of {len(rows)} names are there"
            )
    if moved and nameless:
        raise ValueError(
            f"`{nameless[0]}` must have an index, as `{first}` and `{moved[0]}` hold "
            "the same rows in different orders: which order it follows can't be known"
        )
    return matched


def has_row_names(value: Any) -> bool:
    """Whether a value is a table of pandas with an index of its own."""
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, (pandas.DataFrame, pandas.Series)):
        return False
    return not _counted(value.index)


def _counted(index: Any) -> bool:
    """Whether an index only counts the rows."""
    kind = type(index).__name__ == "RangeIndex"
    return kind and index.start == 0 and index.step == 1


def column_names(value: Any) -> list[str] | None:
    """The names of a table's columns; None where they only count them, or there are
    none.
    """
    columns = getattr(value, "columns", None)
    if columns is None or getattr(value, "ndim", 2) != 2 or callable(columns):
        return None
    if _counted(columns):
        return None
    return [word(name) for name in columns]


def word(name: Any) -> str:
    """A name as text; whole numbers alike, whatever their type."""
    if isinstance(name, (bool, np.bool_)):
        return str(bool(name))
    if isinstance(name, (int, float, np.number)) and float(name).is_integer():
        return str(int(name))
    return str(name).strip()


def categories_of(labels: Any) -> list | None:
    """The order of pandas' categories; None of anything else."""
    pandas = sys.modules.get("pandas")
    if pandas is None:
        return None
    kind = getattr(labels, "dtype", None)
    if not isinstance(kind, pandas.CategoricalDtype):
        return None
    return list(kind.categories)


def joined(groups: np.ndarray | None, member: np.ndarray) -> np.ndarray:
    """Groups in which also the rows of one record are together."""
    if groups is None:
        return member
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes = np.unique(groups, return_inverse=True)[1]
    size = codes.max() + 1
    links = (codes, size + member)
    both = size + member.max() + 1
    graph = coo_array((np.ones(len(codes)), links), shape=(both, both))
    return connected_components(graph, directed=False)[1][codes]


def listed(names: Iterable[Any], most: int = 4) -> str:
    """The first few names."""
    shown = [str(name) for name in names]
    return ", ".join(shown[:most]) + (", …" if len(shown) > most else "")
