"""Labels and outputs of networks, brought to one form for `pilot` and `decide`.

This is the one place that decides what an array of outputs is: logits, probabilities or
predictions, and which column is which class.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import gammaln

from cchlib import check
from cchlib.criterion.cch import _labels
from cchlib.names import categories_of, column_names, groups_of, listed, word

#: probabilities below this are taken for it where a logarithm is wanted
LEAST_PROBABILITY = 1e-7
#: rows of probabilities sum to 1 within this (half precision)
SUM_TOLERANCE = 5e-3
#: and lie in [0, 1] within this
SLACK = 1e-4
#: what `outputs` may say
FORMS = ("probabilities", "logits")
#: another order of the columns that is right so much more often is a mistake
FAR_BETTER = 0.25


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
    checks : list of str
        What was found about the labels and the outputs, a sentence each.
    """

    y: np.ndarray
    codes: np.ndarray | None
    names: list
    checks: list[str] = field(default_factory=list, compare=False)

    @property
    def discrete(self) -> bool:
        """Whether the labels are classes."""
        return self.codes is not None

    def note(self, sentence: str) -> None:
        """Say it once."""
        if sentence not in self.checks:
            self.checks.append(sentence)


def target_of(
    labels: Any, columns: int | None = None, classes: Sequence[Any] | None = None
) -> Target:
    """The labels as a `Target` for outputs with so many `columns`.

    The classes of the columns are those of `classes`, or the categories of a pandas
    Categorical. Without either, whole numbers in [0, columns) are columns of the
    outputs; otherwise the classes in sorted order are, and there must be as many.
    """
    values, discrete = _labels(labels)
    if not discrete:
        if classes is not None:
            raise ValueError(
                f"`classes` must be None for a regression target, got {classes!r}"
            )
        if columns not in (None, values.shape[1]):
            raise ValueError(
                f"`labels` must have the {columns} columns of the outputs, got a "
                f"target of {values.shape[1]} (classes are whole numbers or text)"
            )
        target = Target(values, None, list(range(values.shape[1])))
        target.note(f"Labels: a regression target of {values.shape[1]} columns.")
        return target
    source = "`classes`"
    if classes is None:
        classes, source = categories_of(labels), "the labels' categories"
    if classes is not None:
        return _by_name(values, list(classes), columns, source)

    names, codes = np.unique(values, return_inverse=True)
    # one column serves for two classes; of more, `outputs_of` asks for all of them
    width = len(names) if columns in (None, 1) else columns
    if len(names) < width / 2:
        raise ValueError(
            f"`labels` must hold most of the {width} classes of the outputs' columns, "
            f"got {len(names)} ({listed(names)}): features of a network without a "
            "head? Where classes are absent, name them all by `classes`"
        )
    by_position = values.dtype.kind in "biu"
    if by_position and int(values.min()) >= 0 and int(values.max()) < width:
        codes, names = values.astype(int), np.arange(width)
        how = "each is the place of its column"
    elif len(names) != width:
        raise ValueError(
            f"`labels` must hold {width} classes, one a column of the outputs, got "
            f"{len(names)} ({listed(names)}): name the columns' classes by `classes`"
        )
    else:
        how = "the columns are theirs in sorted order"
        if columns not in (None, 1):
            _one_order(names, codes)
    target = Target(np.eye(width)[codes], codes, list(names))
    target.note(f"Labels: {len(np.unique(codes))} classes; {how} ({listed(names)}).")
    return target


def _by_name(
    values: np.ndarray, classes: list, columns: int | None, source: str
) -> Target:
    """Labels whose classes have a given order."""
    words = [word(name) for name in classes]
    if len(set(words)) != len(words):
        raise ValueError(f"`classes` must be names that differ, got {classes!r}")
    if columns not in (None, len(words)) and (columns, len(words)) != (1, 2):
        raise ValueError(
            f"`classes` must name the {columns} columns of the outputs, got "
            f"{len(words)} ({listed(words)})"
        )
    place = {name: k for k, name in enumerate(words)}
    said = [word(value) for value in values.tolist()]
    strangers = sorted({name for name in said if name not in place})
    if not strangers:
        codes = np.array([place[name] for name in said])
    elif values.dtype.kind in "iu" and 0 <= values.min() and values.max() < len(words):
        codes = values.astype(int)  # places in the list of names
    else:
        raise ValueError(
            f"`labels` must be among {source} ({listed(words)}), got "
            f"{listed(strangers)}"
        )
    target = Target(np.eye(len(words))[codes], codes, classes)
    count = len(np.unique(codes))
    target.note(f"Labels: {count} classes; the columns are named ({listed(words)}).")
    return target


def _one_order(names: np.ndarray, codes: np.ndarray) -> None:
    """Refuse texts with numbers of several digits: sorted as text or by number?"""
    if names.dtype.kind not in "SU":
        return
    by_number = sorted(names.tolist(), key=_natural)
    if by_number != names.tolist():
        raise ValueError(
            f"`labels` must have one order: sorted as text they are {listed(names)}, "
            f"by their numbers {listed(by_number)}; say the columns' classes by "
            "`classes`"
        )


def _natural(name: Any) -> list:
    """A key that sorts numbers within a text as numbers."""
    parts = re.split(r"(\d+)", str(name))
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def classes_in_headers(labels: Any, *outputs: Any) -> list[str] | None:
    """The headers of the first table of outputs that names every class; None where
    none does.
    """
    values, discrete = _labels(labels)
    if not discrete:
        return None
    said = {word(value) for value in np.unique(values).tolist()}
    for output in outputs:
        names = column_names(output)
        if names is not None and said <= set(names):
            ordered = sorted(names, key=_natural)
            numbers = all(name.isdigit() for name in names)
            return ordered if numbers else names
    return None


def outputs_of(
    name: str, value: Any, target: Target, form: str | None = None
) -> np.ndarray:
    """Outputs as log-probabilities (n, K) for classes, as predictions (n, q) otherwise.

    Logits and probabilities both serve; which they are is seen from all rows together,
    and asked where it can't be seen, or said by `form`. Columns with the names of
    classes are matched to them. A single column of two classes is the second's.
    """
    check.same_length(**{name: check.features(name, value), "labels": target.y})
    found, said = _converted(name, value, target, form)
    if target.discrete:
        right = _plausible(name, found, target)
        target.note(f"{name}: {said}; {right:.0%} of the subjects right.")
    return found


def unlabelled_outputs_of(
    name: str, value: Any, labelled: Any, target: Target, form: str | None = None
) -> np.ndarray:
    """The outputs of a network on rows without a label, in the form of those that it
    has on the `labelled` ones.
    """
    found, said = _converted(name, value, target, form)
    _, like = _converted(name, labelled, target, form)
    kinds = [text.startswith("logits") for text in (said, like)]
    if target.discrete and kinds[0] != kinds[1]:
        raise ValueError(
            f"`{name}` must be of one form with and without labels, got {said} where "
            f'there is none and {like} where there is one; say outputs="probabilities" '
            'or "logits"'
        )
    return found


def _converted(
    name: str, value: Any, target: Target, form: str | None
) -> tuple[np.ndarray, str]:
    """Log-probabilities or predictions (rows, K), and what they were."""
    headers = column_names(value)
    array = check.features(name, value)
    width = target.y.shape[1]
    if not target.discrete:
        if array.shape[1] != width:
            raise ValueError(
                f"`{name}` must have {width} columns, as the target, got "
                f"{array.shape[1]}"
            )
        return array, "predictions"
    if array.shape[1] == 1 and width == 2:
        array = _two_columns(name, array, form)
        headers = None
    if array.shape[1] != width:
        raise ValueError(
            f"`{name}` must have one column for each of the {width} classes "
            f"({listed(target.names)}), got {array.shape[1]}"
        )
    order, how = _order(name, headers, target)
    array = array[:, order]
    shares, kind = _probabilities(name, array, form)
    if shares is not None:
        array = np.log(np.maximum(shares, LEAST_PROBABILITY))
    array = array - array.max(1, keepdims=True)
    found = array - np.log(np.exp(array).sum(1, keepdims=True))
    return found, f"{kind}; columns {how}"


def _two_columns(name: str, array: np.ndarray, form: str | None) -> np.ndarray:
    """The column of the second of two classes, with that of the first."""
    inside = bool(((array >= -SLACK) & (array <= 1 + SLACK)).all())
    if form == "probabilities" and not inside:
        raise ValueError(f"`{name}` must hold probabilities in [0, 1], got others")
    if inside and form != "logits":
        array = array.clip(0, 1)
        return np.hstack([1 - array, array])
    return np.hstack([0 * array, array])


def _order(
    name: str, headers: list[str] | None, target: Target
) -> tuple[np.ndarray, str]:
    """Which column of an output is each class's, and how that is known."""
    count = len(target.names)
    if headers is None:
        return np.arange(count), "by their places"
    words = [word(known) for known in target.names]
    both = set(words) & set(headers)
    if both == set(words):
        return np.array([headers.index(known) for known in words]), "by their names"
    if both and not all(header.isdigit() for header in headers):
        raise ValueError(
            f"`{name}` must have columns named by the classes ({listed(words)}), got "
            f"{listed(headers)}"
        )
    # teacher_output.0 … .10, logit_1 … logit_12: in the order of their numbers
    ends = [re.search(r"(\d+)$", header) for header in headers]
    numbers = [int(end[1]) for end in ends if end]
    if len(set(numbers)) == count:
        return np.argsort(numbers, kind="stable"), "in the order of their numbers"
    return np.arange(count), f"by their places (no class is called {headers[0]})"


def _probabilities(
    name: str, array: np.ndarray, form: str | None
) -> tuple[np.ndarray | None, str]:
    """Probabilities whose rows sum to 1, None for logits; and what they were."""
    if form == "logits":
        return None, "logits, as was said"
    words = "probabilities"
    hundreds = array.max() > 1 + SLACK and array.min() >= -SLACK
    if hundreds and bool((abs(array.sum(1) - 100) < 1).all()):
        array, words = array / 100, "percentages, divided by 100"
    inside = np.asarray(((array >= -SLACK) & (array <= 1 + SLACK)).all(1))
    sums = array.clip(0, 1).sum(1)
    decimals = _decimals(array)
    rounding = 0.5 * 10.0**-decimals * array.shape[1] if decimals else 0.0
    whole = np.asarray(abs(sums - 1) <= max(SUM_TOLERANCE, rounding))
    if form is None and not (inside & whole).all():
        _not_asked_here(name, array, inside, np.asarray(inside & whole), sums)
        return None, "logits"

    if not inside.all():
        row = int((~inside).argmax())
        raise ValueError(
            f"`{name}` must hold probabilities in [0, 1], got "
            f"{array[row].min():.3g} to {array[row].max():.3g} in row {row + 1}"
        )
    if (sums <= 0).any():
        row = int((sums <= 0).argmax())
        raise ValueError(
            f"`{name}` must hold probabilities that sum to 1, got 0 in row {row + 1}"
        )
    if abs(sums - 1).max() > SUM_TOLERANCE:
        rounded = f", rounded to {decimals} decimals" if decimals else ""
        words += (
            f"{rounded}, whose rows sum to {sums.min():.3g} to {sums.max():.3g} and "
            "were brought to 1"
        )
    if array.min() < 0 or array.max() > 1:
        words += ", cut to [0, 1]"
    if np.isin(array, (0, 1)).all():
        words += " of 0 and 1 only: hard labels"
    shares = array.clip(0, 1)
    return shares / shares.sum(1, keepdims=True), words


def _not_asked_here(
    name: str,
    array: np.ndarray,
    inside: np.ndarray,
    alike: np.ndarray,
    sums: np.ndarray,
) -> None:
    """Refuse what may be probabilities and may be logits, and logarithms of another
    base.
    """
    if alike.mean() > 0.5 or inside.all():
        row = int((~alike).argmax())
        raise ValueError(
            f"`{name}` must be probabilities or logits, got {int(alike.sum())} of "
            f"{len(array)} rows in [0, 1] that sum to 1, and others, such as row "
            f"{row + 1}, which sums to {array[row].sum():.3g}; say which they are: "
            'outputs="probabilities" (each row is brought to sum 1) or "logits"'
        )
    if (array <= 0).all():
        for base in (2, 10):
            if (abs((float(base) ** array).sum(1) - 1) < SUM_TOLERANCE).all():
                raise ValueError(
                    f"`{name}` must hold natural logarithms, got logarithms to base "
                    f"{base} of probabilities"
                )


def _decimals(array: np.ndarray) -> int:
    """To how many decimals, 1 to 3, the entries are rounded; 0 where they are not."""
    for decimals in (1, 2, 3):
        if abs(array - array.round(decimals)).max() < 1e-9:
            return decimals
    return 0


def _plausible(name: str, outputs: np.ndarray, target: Target) -> float:
    """The share of subjects whose label is the largest output; refuse where another
    order of the columns is right far more often than chance could make it.

    With n subjects the most that some of the K! orders gains over the right one by
    chance is below √(2 log(10⁶ K!)/n), but for one sample in a million (Hoeffding).
    """
    n, width = target.y.shape
    codes = target.codes
    assert codes is not None  # as the target is discrete
    counts = np.zeros((width, width))
    np.add.at(counts, (outputs.argmax(1), codes), 1)
    said, meant = linear_sum_assignment(-counts)
    right, best = np.trace(counts) / n, counts[said, meant].sum() / n
    chance = np.sqrt(2 * (gammaln(width + 1) + np.log(1e6)) / n)
    if best - right > max(FAR_BETTER, chance):
        raise ValueError(
            f"`{name}` must have its columns in the order of the classes "
            f"({listed(target.names)}), got one in which {right:.0%} of the subjects "
            f"are right, where another order is right for {best:.0%}: name the "
            "columns, or give `classes` in their order"
        )
    return float(right)


def forms_of(outputs: Any) -> tuple[str | None, str | None]:
    """What the teacher's outputs and the student's were said to be."""
    forms = (
        (outputs, outputs) if outputs is None or isinstance(outputs, str) else outputs
    )
    if not isinstance(forms, (tuple, list)) or len(forms) != 2:
        raise ValueError(
            f"`outputs` must be one of {FORMS} or two of them, the teacher's and the "
            f"student's, got {outputs!r}"
        )
    for form in forms:
        if form is not None:
            check.one_of("outputs", form, FORMS)
    return forms[0], forms[1]


def predictions_of(outputs: np.ndarray, target: Target) -> np.ndarray:
    """What a squared error compares with `target.y`: probabilities or predictions."""
    return np.exp(outputs) if target.discrete else outputs


def columns_of(value: Any) -> int:
    """How many columns an output has."""
    return check.features("teacher_outputs", value).shape[1]


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
    # the largest groups first, each to the fold that has fewest of its class, or of
    # all where it holds several, by then
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    order = rng.permutation(len(names))
    order = order[np.argsort(-sizes[order], kind="stable")]
    kind = _class_of_groups(target, member, len(names))
    filled = np.zeros((kind.max() + 1, folds))
    place = np.empty(len(names), int)
    for group in order:
        own = filled[kind[group]]
        place[group] = np.lexsort((filled.sum(0), own))[0]
        own[place[group]] += sizes[group]
    return place[member]


def _class_of_groups(target: Target, member: np.ndarray, count: int) -> np.ndarray:
    """The class of every group whose rows share one, and one number for all others."""
    if target.codes is None:
        return np.zeros(count, int)
    held = np.zeros((count, target.y.shape[1]))
    np.add.at(held, member, target.y)
    several = (held > 0).sum(1) > 1
    return np.where(several, target.y.shape[1], held.argmax(1))


def checked_groups(groups: Any, n: int, folds: int) -> np.ndarray | None:
    """Groups (n,) of which there are at least as many as folds."""
    if groups is None:
        return None
    array = groups_of(groups, n)
    count = len(np.unique(array))
    if count < 2 * folds:
        raise ValueError(
            f"`groups` must hold at least {2 * folds} groups for {folds} folds, got "
            f"{count}"
        )
    return array
