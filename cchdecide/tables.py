"""What a file of arrays holds: .npz by the names of its arrays, tables by the names of
their columns, .h5ad by those of `obsm` and `obs`.
"""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from cchdecide.outputs import _natural
from cchdecide.writing import expanded
from cchlib import check
from cchlib.names import MISSING, listed, missing

WANTED = {
    ".npz": "arrays teacher (or teacher_NAME, one a candidate), student and labels",
    ".csv": "columns teacher.* (or teacher_NAME.*), student.* and label (or label.*)",
    ".parquet": "columns teacher.* (or teacher_NAME.*), student.* and label",
    ".h5ad": "obsm entries teacher (or teacher_NAME), student, and obs column label",
}
#: what an array's name says of its numbers
FORMS = {
    "output": None,
    "logits": "logits",
    "probs": "probabilities",
    "proba": "probabilities",
    "probabilities": "probabilities",
}
#: names that are no teacher's, though they begin with teacher_
ASIDE = ("id", "ids", "name", "names", "index", "label", "labels", "group", "groups")
#: columns such as teacher_0, teacher1: those of one array
NUMBERED = re.compile(r"(teacher|student|teacher_output|student_output)_?(\d+)")
#: what ends the name of an array of rows that nobody labelled
UNLABELLED = "_unlabelled"
OUTPUT = re.compile(rf"(teacher|student)_({'|'.join(FORMS)})(?:_(.+))?")


@dataclass(frozen=True)
class Contents:
    """What a file holds: features and outputs by teachers' names.

    `pairs` are the teachers' outputs by name, the student's features and its outputs
    (or None) on rows without a label, or None. `classes` are those of the outputs'
    columns, `outputs` what the teachers' and the student's were said to be, `ignored`
    the names of what was left alone.
    """

    teachers: dict[str, np.ndarray]
    student: np.ndarray
    labels: Any
    teacher_outputs: dict[str, Any]
    student_output: Any
    groups: Any
    pairs: tuple[dict[str, Any], Any, Any] | None = None
    classes: list | None = None
    outputs: tuple[str | None, str | None] = (None, None)
    ignored: list[str] = field(default_factory=list)


def read(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], np.ndarray, Any]:
    """Teachers by name, the student and the labels: see `read_contents`."""
    held = read_contents(path)
    return held.teachers, held.student, held.labels


def read_contents(path: str | os.PathLike) -> Contents:
    """What a .npz, .csv, .parquet or .h5ad file holds.

    An .npz holds arrays ``teacher`` (or ``teacher_NAME``, several), ``student`` and
    ``labels``, and if at hand ``teacher_output`` (or ``teacher_output_NAME``),
    ``student_output``, ``groups`` and ``classes`` (of the outputs' columns); it is read
    without pickle. In place of ``_output``, ``_logits`` and ``_probs`` say what the
    outputs are. Rows that nobody labelled are ``teacher_output_unlabelled`` (or
    ``teacher_output_NAME_unlabelled``), ``student_unlabelled`` and if at hand
    ``student_output_unlabelled``.

    A table has one row a subject and columns ``teacher.*`` (or ``teacher_NAME.*``),
    ``student.*`` and ``label``, and if at hand ``teacher_output.*``
    (``teacher_output_NAME.*``), ``student_output.*`` and ``group``; ``teacher_0``,
    ``teacher_1``, … are columns of one teacher. Columns of outputs that are named by
    classes or numbers are matched to them. Labels that are whole numbers or text are
    classes; ``01`` is text. Columns ``label.*`` are a regression target, whatever their
    numbers. Semicolons and tabs are read as well as commas.

    An .h5ad holds the arrays of an .npz in ``obsm``, and ``label`` and ``group`` in
    ``obs``. Other arrays and columns are left alone, and named in `ignored`.

    Raises
    ------
    ValueError
        On a file that is not of that form: with row and column where there is one; on
        a .parquet or .h5ad without the package that reads it.
    FileNotFoundError
    """
    path = expanded(path)
    suffix = path.suffix.lower()
    if suffix not in WANTED:
        hint = ": save the sheet as .csv" if suffix in (".xlsx", ".xls", ".ods") else ""
        raise ValueError(
            f"`path` must be a .npz, .csv, .parquet or .h5ad file, got {path.name}"
            f"{hint}"
        )
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    readers = {".npz": _read_npz, ".csv": _read_csv, ".parquet": _read_parquet}
    arrays, ignored = readers.get(suffix, _read_h5ad)(path)
    return _contents(path, arrays, ignored)


def _contents(path: Path, arrays: dict[str, Any], ignored: list[str]) -> Contents:
    """Arrays by their roles."""
    further = {
        name.removesuffix(UNLABELLED): arrays.pop(name)
        for name in list(arrays)
        if name.endswith(UNLABELLED)
    }
    labels = one_of(path, arrays, "labels", "label")
    groups = one_of(path, arrays, "groups", "group")
    classes = arrays.pop("classes", None)
    student = arrays.pop("student", None)
    if {"teacher", "teacher_teacher"} <= arrays.keys():
        raise ValueError(
            f"{path.name} must hold teachers of different names, got teacher and "
            "teacher_teacher"
        )
    teachers: dict[str, np.ndarray] = {}
    outputs: dict[str, dict[str, Any]] = {"teacher": {}, "student": {}}
    forms: dict[str, set] = {"teacher": set(), "student": set()}
    for name, value in arrays.items():
        if match := OUTPUT.fullmatch(name):
            role, form, own = match[1], match[2], match[3] or match[1]
            if own in outputs[role]:
                raise ValueError(
                    f"{path.name} must hold one output a network, got several of "
                    f"{own}, one of them {name}"
                )
            outputs[role][own] = value
            forms[role].add(FORMS[form])
        else:
            teachers[name.removeprefix("teacher_")] = value
    if len(teachers) == 1 and list(outputs["teacher"]) == ["teacher"]:
        outputs["teacher"] = {next(iter(teachers)): outputs["teacher"]["teacher"]}
    _complete(path, teachers, student, labels, ignored)
    strangers = [name for name in outputs["teacher"] if name not in teachers]
    if strangers:
        raise ValueError(
            f"{path.name} must hold outputs of its own teachers, got "
            f"teacher_output_{strangers[0]} and no teacher_{strangers[0]}"
        )
    if strangers := [name for name in outputs["student"] if name != "student"]:
        raise ValueError(
            f"{path.name} must hold one student, got student_output_{strangers[0]}"
        )
    for role, said in forms.items():
        if len(said) > 1:
            raise ValueError(
                f"{path.name} must hold outputs of one form for {role}, got several"
            )
    pairs = _pairs(path, further, list(teachers), forms)
    said_forms = [next(iter(forms[role]), None) for role in ("teacher", "student")]
    return Contents(
        teachers,
        student,
        labels,
        outputs["teacher"],
        outputs["student"].get("student"),
        groups,
        pairs,
        None if classes is None else np.asarray(classes).tolist(),
        (said_forms[0], said_forms[1]),
        ignored,
    )


def _pairs(
    path: Path,
    further: dict[str, Any],
    teachers: list[str],
    forms: Mapping[str, set],
) -> tuple[dict[str, Any], Any, Any] | None:
    """Outputs by teacher, the student's features, and its outputs or None, of rows
    without a label.
    """
    if not further:
        return None
    if path.suffix.lower() != ".npz":
        raise ValueError(
            f"{path.name} must be an .npz to hold rows without a label, whose arrays "
            f"differ in length, got {next(iter(further))}{UNLABELLED}"
        )
    features = further.pop("student", None)
    outputs: dict[str, Any] = {}
    own = None
    for name, value in further.items():
        match = cast(re.Match, OUTPUT.fullmatch(name))  # as `_role` let it in
        if FORMS[match[2]] not in forms[match[1]]:
            raise ValueError(
                f"{path.name} must hold {name} of the labelled rows beside "
                f"{name}{UNLABELLED}, got none"
            )
        if match[1] == "student":
            own = value
            continue
        outputs[match[3] or (teachers[0] if len(teachers) == 1 else "teacher")] = value
    if features is None or not outputs:
        there = [f"{name}{UNLABELLED}" for name in further] or [f"student{UNLABELLED}"]
        raise ValueError(
            f"{path.name} must hold student{UNLABELLED} and teacher_output{UNLABELLED} "
            f"of rows without a label, got {listed(there)} alone"
        )
    return outputs, features, own


def one_of(path: Path, arrays: dict[str, Any], *names: str) -> Any:
    """What is there under one of several names."""
    there = [name for name in names if name in arrays]
    if len(there) > 1:
        raise ValueError(
            f"{path.name} must hold one of {' and '.join(there)}, got both"
        )
    return arrays.pop(there[0]) if there else None


def _complete(
    path: Path, teachers: Mapping, student: Any, labels: Any, ignored: list[str]
) -> None:
    """Refuse a file that lacks something, and name what it holds beside it."""
    held = {"teacher": teachers, "student": student, "labels": labels}
    lacking = [name for name, value in held.items() if value is None or not len(value)]
    if not lacking:
        return
    beside = f" (but {listed(ignored, 8)}, which are not read)" if ignored else ""
    raise ValueError(
        f"{path.name} must hold {WANTED[path.suffix.lower()]}, got no "
        f"{' and no '.join(lacking)}{beside}; cch assess --example writes a file of "
        "this form"
    )


def _role(name: str) -> bool:
    """Whether an array is a network's, by its name."""
    if name.endswith(UNLABELLED):
        base = name.removesuffix(UNLABELLED)
        return base == "student" or OUTPUT.fullmatch(base) is not None
    if name in ("teacher", "student") or OUTPUT.fullmatch(name):
        return True
    return name.startswith("teacher_") and name.removeprefix("teacher_") not in (
        "",
        *ASIDE,
    )


def _read_npz(path: Path) -> tuple[dict[str, Any], list[str]]:
    aside = ("labels", "label", "groups", "group", "classes")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {
                name: file[name] for name in file.files if _role(name) or name in aside
            }
            ignored = [name for name in file.files if name not in arrays]
        if scalar := [name for name, array in arrays.items() if array.ndim == 0]:
            raise ValueError(f"{scalar[0]} is a single value")
    except Exception as error:  # NumPy tells what is no .npz by a dozen kinds of errors
        raise ValueError(
            f"{path.name} must be an .npz of plain arrays, numbers or fixed-width "
            f"strings, and could not be read: {error}"
        ) from None
    return arrays, ignored


def _read_parquet(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        frame = pd.read_parquet(path)
    except ImportError:
        try:
            import polars  # type: ignore[import-not-found]
        except ImportError:
            raise ValueError(
                f"{path.name} can be read where pyarrow or polars is installed, which "
                "neither is: pip install pyarrow, or save it as .csv"
            ) from None
        table = polars.read_parquet(path)
        frame = pd.DataFrame({name: table[name].to_numpy() for name in table.columns})
    except (ValueError, OSError) as error:
        raise ValueError(f"{path.name} could not be read ({error})") from None
    frame.columns = [str(column).strip() for column in frame.columns]
    return _arrays_of(frame, path, _columns(path, list(frame.columns)))


def _read_h5ad(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        import anndata  # type: ignore[import-not-found]
    except ImportError:
        raise ValueError(
            f"{path.name} can be read where anndata is installed, which it is not: pip "
            "install anndata, or save its arrays as .npz"
        ) from None
    try:
        held = anndata.read_h5ad(path)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path.name} could not be read ({error})") from None
    arrays: dict[str, Any] = {}
    for name, value in held.obsm.items():
        if _role(name):
            arrays[name] = value.toarray() if hasattr(value, "toarray") else value
    arrays |= {
        name: held.obs[name]
        for name in ("label", "labels", "group", "groups")
        if name in held.obs
    }
    ignored = [name for name in (*held.obsm, *held.obs) if name not in arrays]
    return arrays, ignored


def _read_csv(path: Path) -> tuple[dict[str, Any], list[str]]:
    text, separator, skipped = _text(path)
    header = _checked_header(path, text, separator, skipped)
    groups = _columns(path, header)
    try:
        frame = pd.read_csv(
            io.StringIO(text),
            index_col=False,
            sep=separator,
            decimal="," if _decimal_commas(text, separator) else ".",
            skipinitialspace=True,
            dtype={"label": str, "labels": str, "group": str, "groups": str},
            keep_default_na=False,
            na_values={
                column: sorted({*MISSING, *map(str.upper, MISSING), "NaN", "None"})
                for column in sum(groups.values(), [])
            },
            low_memory=False,
        )
    except (ValueError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise ValueError(
            f"{path.name} could not be read as a table ({error})"
        ) from None
    if frame.empty:
        raise ValueError(
            f"{path.name} must hold a row a subject, got column names and no rows"
        )
    frame.columns = header
    return _arrays_of(frame, path, groups)


def _text(path: Path) -> tuple[str, str, int]:
    """The table as text, what separates its cells, and the lines before its header."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path.name} could not be read as a table ({error}); it must be UTF-8 "
            "text with commas"
        ) from None
    first, _, rest = text.partition("\n")
    if match := re.fullmatch(r"sep=(.)\r?", first):  # as Excel writes it
        return rest, match[1], 1
    if first.startswith("#"):
        raise ValueError(
            f"{path.name} must have the column names in its first line, got a comment"
        )
    counts = {mark: first.count(mark) for mark in (",", ";", "\t")}
    return text, max(counts, key=lambda mark: counts[mark]), 0


def _decimal_commas(text: str, separator: str) -> bool:
    """Whether a table of semicolons or tabs writes 0,5."""
    if separator == ",":
        return False
    lines = text.splitlines()[1:50]
    cells = [cell for line in lines for cell in line.split(separator)]
    with_comma = [bool(re.fullmatch(r"\s*[+-]?\d+,\d+\s*", cell)) for cell in cells]
    return any(with_comma) and not any(re.fullmatch(r"[+-]?\d*\.\d+", c) for c in cells)


def _columns(path: Path, header: list[str]) -> dict[str, list[str]]:
    """The columns of each array."""
    groups: dict[str, list[str]] = {}
    for column in header:
        role, dot, _ = column.partition(".")
        if dot and (_role(role) or role == "label"):
            groups.setdefault(role, []).append(column)
    for role in ("teacher", "student", "teacher_output", "student_output"):
        numbered = [
            column
            for column in header
            if (match := NUMBERED.fullmatch(column)) and match[1] == role
        ]
        if numbered and role in groups:
            raise ValueError(
                f"{path.name} must name the columns of {role} in one way, such as "
                f"{role}.0, got {groups[role][0]} and {numbered[0]}"
            )
        if numbered:
            groups[role] = numbered
    return groups


def _arrays_of(
    frame: pd.DataFrame, path: Path, groups: dict[str, list[str]]
) -> tuple[dict[str, Any], list[str]]:
    """The arrays of a table, their columns in the order of the names."""
    arrays: dict[str, Any] = {}
    for role, columns in groups.items():
        columns = sorted(columns, key=_natural)
        numbers = _numbers(frame[columns], path)
        if OUTPUT.fullmatch(role):
            ends = [
                column.removeprefix(f"{role}.").removeprefix(role).removeprefix("_")
                for column in columns
            ]
            arrays[role] = pd.DataFrame(numbers, columns=ends)
        else:
            arrays[role] = numbers
    one = [name for name in ("label", "labels") if name in frame]
    if one and "label" in arrays:
        raise ValueError(
            f"{path.name} must hold label (classes, or a target of many values) or "
            f"label.* (a target), got columns {one[0]} and {groups['label'][0]}"
        )
    for name in one:
        arrays[name] = _labels(frame[name], path)
    for name in ("group", "groups"):
        if name in frame:
            values = frame[name]
            text = values.astype(object).where(values.notna(), "")
            arrays[name] = text.astype(str).to_numpy(str)
    used = {column for columns in groups.values() for column in columns}
    used |= {"label", "labels", "group", "groups"}
    ignored = [column for column in frame.columns if column not in used and column]
    return arrays, ignored


def _checked_header(path: Path, text: str, separator: str, skipped: int) -> list[str]:
    """The header; refuse rows with more or fewer cells than it has."""
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header = [column.strip() for column in next(rows, [])]
        for row in rows:
            if row and len(row) != len(header):
                raise ValueError(_ragged(row, header, rows.line_num + skipped))
    except csv.Error as error:
        raise ValueError(
            f"{path.name} could not be read as a table ({error}); it must be UTF-8 "
            "text with commas"
        ) from None
    except ValueError as error:
        raise ValueError(f"{path.name}, {error}") from None
    if not header:
        raise ValueError(f"{path.name} could not be read as a table (it is empty)")
    seen: set[str] = set()
    for column in header:
        if column in seen and column:
            raise ValueError(
                f"{path.name} must have columns of different names, got two {column}"
            )
        seen.add(column)
    return header


def _ragged(row: list[str], header: list[str], line: int) -> str:
    said = f"line {line}: {len(row)} cells under {len(header)} column names"
    if len(row) > len(header) and row[-1] == "":
        return f"{said}, as the row ends in a comma: leave it out"
    last = header[len(row) - 1] if len(row) < len(header) else header[-1]
    return f"{said}, the last of them {last}; there must be one cell a column"


def _labels(column: pd.Series, path: Path) -> Any:
    """Whole numbers, numbers, or text as it stands."""
    if not pd.api.types.is_string_dtype(column.dtype) and column.dtype != object:
        if isinstance(column.dtype, pd.CategoricalDtype):
            return column
        return check.as_array("labels", column)  # of a typed table
    text = column.astype(object).where(column.notna(), "").to_numpy(str)
    empty = np.flatnonzero(np.char.strip(text) == "")
    if len(empty):
        raise ValueError(
            f"column label of {path.name} must hold a label a subject, got "
            f"{len(empty)} empty cells, the first in row {empty[0] + 1}"
        )
    absent = missing(text)
    there = pd.to_numeric(pd.Series(text[~absent]), errors="coerce")
    numeric = len(there) > 0 and bool(there.notna().all())
    if not numeric:
        return text
    if absent.any():
        first = int(absent.argmax())
        raise ValueError(
            f"{path.name}, row {first + 1}, column label: {text[first]} among numbers "
            f"({int(absent.sum())} such rows); there must be a label a subject: "
            "leave out the subjects without one, or name the classes by words"
        )
    if any(re.fullmatch(r"\s*[+-]?0\d+\s*", entry) for entry in text):
        return text  # 01 is a name
    if not all(re.fullmatch(r"\s*[+-]?\d+\s*", entry) for entry in text):
        return there.to_numpy(float)
    whole = [int(entry) for entry in text]
    return text if max(map(abs, whole)) > 2**63 - 1 else np.array(whole)


def _numbers(frame: pd.DataFrame, path: Path) -> np.ndarray:
    for column in frame:
        values = frame[column]
        if pd.api.types.is_numeric_dtype(values) and values.notna().all():
            continue
        bad = int(pd.to_numeric(values, errors="coerce").isna().to_numpy().argmax())
        entry = values.iloc[bad]
        said = "is empty or missing" if pd.isna(entry) else f"holds text, {entry!r}"
        raise ValueError(
            f"{path.name}, row {bad + 1}: column {column} must hold numbers, and {said}"
        )
    return frame.to_numpy(dtype=float)
