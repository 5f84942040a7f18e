"""TCGA matrices as UCSC Xena publishes them: read in bounded memory, and joined by
patient.

A matrix is a tab-separated table, features × samples, gzipped or not: a header of TCGA
barcodes, a line a feature. Characters 1-12 of a barcode name the patient, 14-15 the
kind of tissue (01 primary tumour, 11 normal), the sixteenth the vial. Only the wanted
samples are ever parsed, some hundred features at a time.
"""

from __future__ import annotations

import gzip
import io
import itertools
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from cchbook.data import tables
from cchlib import check
from cchlib.names import listed, missing

PATIENT = re.compile(r"TCGA-\w{2}-\w{4}")
BARCODE = re.compile(r"TCGA-\w{2}-\w{4}-\d{2}[A-Z]?\w*")
PRIMARY_TUMOUR = "01"
CHUNK = 500  # features parsed at a time

PROJECTS = {"BRCA": ("BRCA",), "KIPAN": ("KIRC", "KIRP", "KICH"), "LIHC": ("LIHC",)}
# PAM50 calls by their short and long names, as Table 16 spells them
PAM50 = {
    short: long
    for long, shorts in {
        "Normal-like": ("Normal", "Normal-like"),
        "Basal-like": ("Basal", "Basal-like"),
        "HER2-enriched": ("Her2", "HER2-enriched"),
        "Luminal A": ("LumA", "Luminal A"),
        "Luminal B": ("LumB", "Luminal B"),
    }.items()
    for short in shorts
}


@dataclass
class Joined:
    """Modalities of the same patients: arrays (n, p) in the order of `patients`; NaN
    where missing.
    """

    patients: list[str]
    labels: list[str]
    modalities: dict[str, np.ndarray]
    features: dict[str, list[str]]
    steps: list[tuple[str, str, int]] = field(default_factory=list)


def join(
    path: str | Path,
    cohort: str,
    files: Mapping[str, str],
    labels: pd.Series | None,
    max_missing: float,
) -> Joined:
    """Patients of `cohort` who have a label and a primary tumour in every modality.

    Parameters
    ----------
    path : folder of the matrices
    cohort : {"BRCA", "KIPAN", "LIHC"}
    files : {modality: file name with {project} in it}
    labels : Series of labels by patient, or None: the project that a patient belongs to
    max_missing : float in [0, 1]
        Features missing in a larger share of the joined patients are dropped.

    Returns
    -------
    Joined
        With the number of samples, patients or features that each step leaves.

    Raises
    ------
    FileNotFoundError, ValueError
        A file is missing or of another form (it is named), a step leaves nobody (with
        the counts).
    """
    check.within("max_missing", max_missing, 0.0, 1.0)
    path, projects = Path(path), PROJECTS[check.one_of("cohort", cohort, PROJECTS)]
    where = {
        modality: [path / name.format(project=project) for project in projects]
        for modality, name in files.items()
    }
    steps: list[tuple[str, str, int]] = []
    # modality -> patient -> (index of the project, column of the sample)
    columns = {
        modality: _patients(modality, paths, steps) for modality, paths in where.items()
    }
    if labels is None:
        labels = pd.Series(
            {
                patient: projects[at]
                for chosen in columns.values()
                for patient, (at, _) in chosen.items()
            }
        )
    steps.append(("patients with a label", "label", len(labels)))

    common = set.intersection(*(set(chosen) for chosen in columns.values()))
    steps.append(("patients in every modality", "all", len(common)))
    common &= set(labels.index)
    steps.append(("of these with a label", "all", len(common)))
    patients = sorted(common)
    if not patients:
        counts = ", ".join(
            f"{modality} {len(chosen)}" for modality, chosen in columns.items()
        )
        raise ValueError(
            f"cohort {cohort}: the tables must be of one cohort, but no patient is in "
            f"every modality and labelled (patients with a primary tumour: {counts}; "
            f"with a label: {len(labels)})"
        )
    read = {
        modality: _read_projects(
            where[modality], [columns[modality][patient] for patient in patients]
        )
        for modality in files
    }

    measured = np.all([~np.isnan(values).all(1) for _, values in read.values()], axis=0)
    steps.append(
        ("of these with a value in every modality", "all", int(measured.sum()))
    )
    if not measured.any():
        raise ValueError(
            f"cohort {cohort}: none of the {len(patients)} joined patients has a value "
            "in every modality"
        )
    patients = [patient for patient, keep in zip(patients, measured) if keep]
    modalities, features = {}, {}
    for modality in files:
        names, values = read.pop(modality)
        values = values if measured.all() else values[measured]
        keep = np.isnan(values).mean(0) <= max_missing
        steps += [
            ("features in the file", modality, len(names)),
            ("features kept", modality, int(keep.sum())),
        ]
        if not keep.any():
            raise ValueError(
                f"{modality}: every feature is missing in more than {max_missing:.0%} "
                f"of the {len(patients)} joined patients; try a larger `max_missing`"
            )
        modalities[modality] = values if keep.all() else values[:, keep]
        features[modality] = [name for name, kept in zip(names, keep) if kept]
    return Joined(
        patients,
        [str(labels[patient]) for patient in patients],
        modalities,
        features,
        steps,
    )


def samples(path: Path) -> list[str]:
    """The barcodes in a matrix's header, in the order of its columns."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist; `cch data fetch` brings the files of a set"
        )
    with tables.named(path), _open(path) as stream:
        header = stream.readline().decode().rstrip("\r\n").split("\t")[1:]
    strange = [name for name in header if not BARCODE.fullmatch(name)]
    if not header or strange:
        raise ValueError(
            f"{path} must be features × samples, tab-separated, but {len(strange)} of "
            f"{len(header)} columns are no TCGA barcode (first: "
            f"{next(iter(strange), None)!r})"
        )
    return header


def read_matrix(path: Path, columns: Sequence[int]) -> tuple[list[str], np.ndarray]:
    """Features and values of the samples at `columns` (0 is the first sample): names
    (p,), float32 (n, p).

    Holds the result and some hundred lines; float32 keeps 7 digits, more than any of
    these assays.
    """
    order = np.argsort(columns)
    back = np.argsort(order)
    names: list[str] = []
    parts: list[np.ndarray] = []
    wanted = [0, *(int(columns[i]) + 1 for i in order)]
    width = (
        len(samples(path)) + 1
    )  # columns go by number: a barcode may occur twice in a header
    try:
        for lines in _lines(path, width):
            chunk = pd.read_csv(
                io.BytesIO(b"".join(lines)),
                sep="\t",
                header=None,
                names=range(width),
                usecols=wanted,
                index_col=0,
                dtype={0: str} | dict.fromkeys(wanted[1:], np.float32),
            )
            names += chunk.index.astype(str).tolist()
            parts.append(chunk.to_numpy()[:, back])
    except tables.BROKEN as error:
        raise ValueError(
            f"{path}: could not be read after {len(names)} features ({error}); "
            "expected numbers or empty cells, tab-separated"
        ) from error
    if not names:
        raise ValueError(f"{path} must have a line a feature, got none")
    if repeated := len(names) - len(set(names)):
        raise ValueError(
            f"{path} must have one line a feature, but {repeated} features have a name "
            "that occurred before"
        )
    values = np.empty((len(columns), len(names)), np.float32)
    start = 0
    while parts:  # freed as they are copied: the peak is one matrix and a half, not two
        part = parts.pop(0)
        values[:, start : start + len(part)] = part.T
        start += len(part)
    if np.isinf(values).any():
        raise ValueError(
            f"{path} must hold numbers or empty cells, got infinite values"
        )
    return names, values


def label_table(
    table: str | Path | pd.DataFrame,
    patient: str | None = None,
    label: str | None = None,
) -> pd.Series:
    """Labels by patient (12 characters) out of a table of patients or samples.

    Parameters
    ----------
    table : path (tab- or comma-separated) or DataFrame
    patient, label : str, optional
        Names of the two columns; the first and the second where left out. Of samples,
        only primary tumours count; rows without a label, or with what says that there
        is none (NA, [Not Available], …), are left out.

    Raises
    ------
    ValueError
        A column is missing, an entry is no TCGA barcode, a patient has two labels, or
        nobody has one.
    """
    source = "labels" if isinstance(table, pd.DataFrame) else str(table)
    if not isinstance(table, pd.DataFrame):
        table = tables.read(
            Path(table), sep=None, engine="python", dtype=str, keep_default_na=False
        )
    if table.shape[1] < 2:
        raise ValueError(
            f"{source} must have the columns patient and label, got {table.shape[1]} "
            "column"
        )
    patient, label = patient or table.columns[0], label or table.columns[1]
    if lacking := [name for name in (patient, label) if name not in table.columns]:
        raise ValueError(
            f"{source}: lacks column {lacking[0]!r} (has "
            f"{', '.join(map(str, table.columns[:8]))}…)"
        )
    rows = table[[patient, label]].dropna().astype(str)
    absent = missing(rows.to_numpy(str)).any(1)
    if words := sorted(set(rows[label][absent].str.strip()) - {""}):
        warnings.warn(
            f"{source}: {int(absent.sum())} rows count as unlabelled, among them those "
            f"that say {listed(words)}; call a class by another word",
            stacklevel=2,
        )
    rows = rows[~absent]
    barcodes = rows[patient].str.strip()
    if strange := [
        code for code in barcodes if not code.startswith("TCGA-") or len(code) < 12
    ]:
        raise ValueError(
            f"{source}: {len(strange)} entries of {patient!r} are no TCGA barcode "
            f"(first: {strange[0]!r})"
        )
    tumour = (barcodes.str.len() < 15) | (barcodes.str[13:15] == PRIMARY_TUMOUR)
    found = pd.Series(
        rows[label].str.strip()[tumour].to_numpy(), index=barcodes[tumour].str[:12]
    )
    twice = found.groupby(level=0).nunique()
    if (twice > 1).any():
        raise ValueError(
            f"{source}: {int((twice > 1).sum())} patients have two labels (first: "
            f"{twice.idxmax()})"
        )
    if found.empty:
        raise ValueError(f"{source}: no primary tumour has a label in column {label!r}")
    return found[~found.index.duplicated()]


def _patients(
    modality: str, paths: list[Path], steps: list
) -> dict[str, tuple[int, int]]:
    """One primary tumour a patient: that of the first barcode in alphabetical order
    (vial A before B).
    """
    total = tumours = 0
    chosen: dict[str, tuple[int, int]] = {}
    for project, path in enumerate(paths):
        barcodes = samples(path)
        primary = sorted(
            (code, column)
            for column, code in enumerate(barcodes)
            if code[13:15] == PRIMARY_TUMOUR
        )
        total, tumours = total + len(barcodes), tumours + len(primary)
        own: dict[str, tuple[int, int]] = {}
        for code, column in primary:
            own.setdefault(code[:12], (project, column))
        if both := chosen.keys() & own.keys():
            raise ValueError(
                f"{path}: each patient must be in one project, but {len(both)} (first: "
                f"{min(both)}) are in {paths[0].name} or another project too"
            )
        chosen |= own
    steps += [
        ("samples in the file", modality, total),
        ("primary tumours", modality, tumours),
        ("patients", modality, len(chosen)),
    ]
    return chosen


def _read_projects(
    paths: list[Path], places: list[tuple[int, int]]
) -> tuple[list[str], np.ndarray]:
    """Values of the patients at `places`, (project, column) each, in the features that
    all projects have.
    """
    tables = {}
    for project in sorted({project for project, _ in places}):
        tables[project] = read_matrix(
            paths[project], [column for at, column in places if at == project]
        )
    if len(tables) == 1:
        return next(iter(tables.values()))
    shared = set.intersection(*(set(names) for names, _ in tables.values()))
    names = [name for name in next(iter(tables.values()))[0] if name in shared]
    if not names:
        raise ValueError(
            f"the tables must be of one kind, but {paths[0].name} and its other "
            "projects share no feature"
        )
    values = np.empty((len(places), len(names)), np.float32)
    for project, (own, table) in tables.items():
        position = {name: at for at, name in enumerate(own)}
        rows = [row for row, (at, _) in enumerate(places) if at == project]
        values[rows] = table[:, [position[name] for name in names]]
    return names, values


def _lines(path: Path, width: int) -> Iterator[list[bytes]]:
    """The lines below the header, `CHUNK` at a time, all of them with `width` cells."""
    number = 1
    with _open(path) as stream:
        stream.readline()
        while lines := list(itertools.islice(stream, CHUNK)):
            for line in lines:
                number += 1
                if line.count(b"\t") != width - 1:
                    raise ValueError(
                        f"line {number} has another number of cells than the "
                        f"header, {width}"
                    )
            # a packed file has a checksum at its end, a plain one only its last line
            if path.suffix != ".gz" and not lines[-1].endswith(b"\n"):
                raise ValueError(f"it ends within line {number}")
            yield lines


def _open(path: Path):
    return gzip.open(path) if path.suffix == ".gz" else open(path, "rb")
