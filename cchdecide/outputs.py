"""Labels and outputs of networks, brought to one form for `pilot` and `decide`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cchlib import check
from cchlib.criterion.cch import _labels

#: probabilities below this are taken for it where a logarithm is wanted
LEAST_PROBABILITY = 1e-7
#: rows of probabilities sum to 1 within this (half precision)
SUM_TOLERANCE = 5e-3


@dataclass(frozen=True)
class Target:
    """The labels as what a squared error is taken to.

    Attributes
    ----------
    y : ndarray (n, K)
        One-hot classes, or a regression target.
    codes : ndarray (n,) int, or None
        Classes as columns of the outputs; None for a regression.
    names : list
        Of the K columns.
    """

    y: np.ndarray
    codes: np.ndarray | None
    names: list

    @property
    def discrete(self) -> bool:
        """Whether the labels are classes."""
        return self.codes is not None


def target_of(labels: Any, columns: int | None = None) -> Target:
    """The labels as a `Target` for outputs with so many `columns`.

    Whole numbers in [0, columns) are columns of the outputs; otherwise the classes in
    sorted order are, and there must be as many.
    """
    values, discrete = _labels(labels)
    if not discrete:
        if columns not in (None, values.shape[1]):
            raise ValueError(
                f"labels is a target of {values.shape[1]} columns and the outputs have "
                f"{columns}; equal numbers are wanted "
                "(classes are whole numbers or text)"
            )
        return Target(values, None, list(range(values.shape[1])))
    names, codes = np.unique(values, return_inverse=True)
    width = len(names) if columns in (None, 1) and len(names) == 2 else columns
    width = len(names) if width is None else width
    by_position = values.dtype.kind in "biu"
    if by_position and int(values.min()) >= 0 and int(values.max()) < width:
        codes, names = values.astype(int), np.arange(width)
    elif len(names) != width:
        raise ValueError(
            f"labels holds {len(names)} classes ({_some(names)}) and the outputs have "
            f"{width} columns; one column a class, in sorted order, is wanted"
        )
    return Target(np.eye(width)[codes], codes, list(names))


def outputs_of(name: str, value: Any, target: Target) -> np.ndarray:
    """Outputs as log-probabilities (n, K) for classes, as predictions (n, q) otherwise.

    Logits and probabilities both serve; rows of numbers in [0, 1] that sum to 1 are
    probabilities. A single column of two classes is the second's.
    """
    array = check.features(name, value)
    check.same_length(**{name: array, "labels": target.y})
    width = target.y.shape[1]
    if not target.discrete:
        if array.shape[1] != width:
            raise ValueError(
                f"{name} has {array.shape[1]} columns; "
                f"{width}, as the target, is wanted"
            )
        return array
    inside = bool(((array >= 0) & (array <= 1)).all())
    if array.shape[1] == 1 and width == 2:
        array = np.hstack([1 - array, array] if inside else [0 * array, array])
    if array.shape[1] != width:
        raise ValueError(
            f"{name} has {array.shape[1]} columns for {width} classes "
            f"({_some(target.names)}); one column a class is wanted"
        )
    sums = array.sum(1)
    if inside and bool((abs(sums - 1) < SUM_TOLERANCE).all()):
        array = np.log(np.maximum(array, LEAST_PROBABILITY))
    array = array - array.max(1, keepdims=True)
    return array - np.log(np.exp(array).sum(1, keepdims=True))


def predictions_of(outputs: np.ndarray, target: Target) -> np.ndarray:
    """What a squared error compares with `target.y`: probabilities or predictions."""
    return np.exp(outputs) if target.discrete else outputs


def columns_of(value: Any) -> int:
    """How many columns an output has."""
    array = check.as_array("teacher_outputs", value)
    return array.shape[1] if array.ndim == 2 else 1


def folds_of(
    target: Target, folds: int, groups: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """A fold for every row (n,): at random, stratified by class,
    whole groups together.
    """
    n = len(target.y)
    if groups is None and target.discrete:
        assert target.codes is not None  # as the target is discrete
        # deal every class out in turn, from where the last class left off
        order = rng.permutation(n)
        order = order[np.argsort(target.codes[order], kind="stable")]
        found = np.empty(n, int)
        found[order] = np.arange(n) % folds
        return rng.permutation(folds)[found]
    if groups is None:
        return rng.permutation(np.arange(n) % folds)
    # the largest groups first, each to the fold that is smallest by then
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    filled, place = np.zeros(folds), np.empty(len(names), int)
    for group in order:
        place[group] = filled.argmin()
        filled[place[group]] += sizes[group]
    return place[member]


def checked_groups(groups: Any, n: int, folds: int) -> np.ndarray | None:
    """Groups (n,) of which there are at least as many as folds."""
    if groups is None:
        return None
    array = check.as_array("groups", groups)
    if array.ndim != 1 or len(array) != n:
        raise ValueError(
            f"groups has shape {array.shape}; one group a subject, ({n},), is wanted"
        )
    count = len(np.unique(array))
    if count < 2 * folds:
        raise ValueError(
            f"groups holds {count} groups for {folds} folds; "
            f"at least {2 * folds} groups or fewer folds are wanted"
        )
    return array


def _some(names: Any) -> str:
    shown = [str(name) for name in names[:4]]
    return ", ".join(shown) + (", …" if len(names) > 4 else "")
