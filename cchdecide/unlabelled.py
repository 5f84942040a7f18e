"""Pairs: rows that nobody labelled, on which the teacher answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cchdecide.outputs import Target, unlabelled_outputs_of
from cchlib import check
from cchlib.mi.repeats import records_of
from cchlib.names import listed, match_rows

#: what errors call the arrays
OUTPUT, FEATURES = "teacher_output_unlabelled", "student_unlabelled"
OWN_OUTPUT = "student_output_unlabelled"


@dataclass(frozen=True)
class Labelled:
    """What is known of the labelled rows: the student's features, the networks' outputs
    as they were given, by name, and what was made of the teachers'.
    """

    features: np.ndarray
    teachers: Mapping[str, Any]
    said: Mapping[str, np.ndarray]
    student_output: Any
    target: Target


@dataclass(frozen=True)
class Unlabelled:
    """The same of m rows without a label: outputs (m, K) by teacher, the student's
    features (m, p), and its outputs, or None.
    """

    told: dict[str, np.ndarray]
    features: np.ndarray
    own: np.ndarray | None

    def after(
        self, said: Mapping[str, np.ndarray], own: np.ndarray | None
    ) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Outputs on labelled rows, followed by those on the rows here."""
        every = {name: np.vstack([said[name], t]) for name, t in self.told.items()}
        if own is None or self.own is None:
            return every, own
        return every, np.vstack([own, self.own])


def pairs_of(
    pairs: Any, single: bool, labelled: Labelled, forms: tuple[str | None, str | None]
) -> Unlabelled:
    """Check `pairs` as `pilot` takes them, and leave out rows that repeat a labelled
    one: a head would be told of a subject on whom it is measured.

    Parameters
    ----------
    pairs : (outputs, features) or (outputs, features, student's outputs)
    single : bool
        Whether `outputs` is one teacher's, and no mapping.
    labelled : Labelled
    forms
        Of the teachers' outputs and the student's, as `forms_of` gives them.

    Raises
    ------
    ValueError
        On anything but arrays of equal length, on names, numbers of columns or forms
        that are not those of the labelled rows, and where nothing is left.
    """
    outputs, features, own = arrays_of(pairs)
    teachers = labelled.teachers
    if single:
        outputs = dict.fromkeys(teachers, outputs)
    if not isinstance(outputs, Mapping) or set(outputs) != set(teachers):
        got = listed(outputs) if isinstance(outputs, Mapping) else "one array"
        raise ValueError(
            f"`{OUTPUT}` must be a mapping of the teachers' names "
            f"({listed(teachers)}), got {got}"
        )
    if own is not None and labelled.student_output is None:
        raise ValueError(f"`{OWN_OUTPUT}` must come with `student_output`, got none")
    asked = {name: OUTPUT if single else f"{OUTPUT} {name}" for name in teachers}
    given = {FEATURES: features, OWN_OUTPUT: own}
    given |= {asked[name]: outputs[name] for name in teachers}
    rows = match_rows(**given)
    features = check.features(FEATURES, rows[FEATURES])
    width = labelled.features.shape[1]
    if features.shape[1] != width:
        raise ValueError(
            f"`{FEATURES}` must have {width} columns, as the student's features, got "
            f"{features.shape[1]}"
        )

    def read(name: str, known: Any, form: str | None) -> np.ndarray:
        found = unlabelled_outputs_of(name, rows[name], known, labelled.target, form)
        check.same_length(**{FEATURES: features, name: found})
        return found

    told = {name: read(asked[name], teachers[name], forms[0]) for name in teachers}
    if own is not None:
        own = read(OWN_OUTPUT, labelled.student_output, forms[1])
    new = _new(labelled, features, told)
    if not new.any():
        raise ValueError(
            f"`{FEATURES}` must hold rows that are not among the labelled ones, got "
            f"{len(new)} that all repeat them"
        )
    kept = {name: array[new] for name, array in told.items()}
    return Unlabelled(kept, features[new], None if own is None else own[new])


def arrays_of(pairs: Any) -> tuple[Any, Any, Any]:
    """The teacher's outputs, the student's features, and its outputs or None."""
    listing = isinstance(pairs, (tuple, list))
    if not listing or len(pairs) not in (2, 3):
        got = f"{len(pairs)}" if listing else type(pairs).__name__
        raise ValueError(
            f"`pairs` must be ({OUTPUT}, {FEATURES}) or those and {OWN_OUTPUT}, got "
            f"{got}"
        )
    outputs, features, own = (*pairs, None)[:3]
    return outputs, features, own


def _new(
    labelled: Labelled, features: np.ndarray, told: Mapping[str, np.ndarray]
) -> np.ndarray:
    """(m,): which rows are no copies of labelled ones."""
    known = labelled.features
    outputs = [np.vstack([labelled.said[name], told[name]]) for name in told]
    member = records_of([np.vstack([known, features]), *outputs])
    if member is None:
        return np.ones(len(features), bool)
    return ~np.isin(member[len(known) :], member[: len(known)])
