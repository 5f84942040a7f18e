"""Small files in the formats of UCSC Xena's GDC hub, for tests that have no network."""

import gzip
from pathlib import Path

import numpy as np
import pandas as pd

GDC = {
    "mRNA": "TCGA-{project}.star_counts.tsv.gz",
    "CNV": "TCGA-{project}.gene-level_ascat3.tsv.gz",
    "RPPA": "TCGA-{project}.protein.tsv.gz",
}
FEATURES = {"mRNA": 40, "CNV": 30, "RPPA": 20}
PAM50 = ("LumA", "LumB", "Basal", "Her2", "Normal")
# patients of each project; KIPAN is the three kidney projects
PATIENTS = {
    "BRCA": range(80),
    "KIRC": range(100, 140),
    "KIRP": range(140, 170),
    "KICH": range(170, 190),
    "LIHC": range(200, 260),
}


def barcode(patient: int, tissue: str = "01", vial: str = "A") -> str:
    """The barcode of a sample, 16 characters."""
    return f"TCGA-AB-{patient:04d}-{tissue}{vial}"


def write_matrix(path, barcodes, values, features=None):
    """A table as Xena publishes it; `values` is (features, samples)."""
    features = features or [f"ENSG{i:011d}.1" for i in range(len(values))]
    lines = ["\t".join(["Ensembl_ID", *barcodes])]
    for name, row in zip(features, values):
        cells = ["" if np.isnan(value) else f"{value:.6g}" for value in row]
        lines.append("\t".join([name, *cells]))
    with gzip.open(path, "wt") if path.suffix == ".gz" else open(path, "w") as stream:
        stream.write("\n".join(lines) + "\n")


def write_all(home: Path) -> None:
    """All files of ``tcga_brca``, ``tcga_kipan`` and ``tcga_lihc`` below `home`.

    Every modality says something about the class, some copy numbers and protein levels
    are missing, and each project has a normal sample that doesn't count.
    """
    folder = home / "tcga" / "xena"
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    for project, patients in PATIENTS.items():
        barcodes = [barcode(i) for i in patients] + [barcode(patients[0], "11")]
        classes = np.array([i % 5 for i in patients] + [0])
        if project in ("KIRC", "KIRP", "KICH"):
            classes[:] = len(project) + ord(project[-1]) % 5
        for modality, name in GDC.items():
            direction = random.normal(size=(FEATURES[modality], 1))
            noise = random.normal(size=(FEATURES[modality], len(barcodes)))
            values = direction * classes + noise
            if modality != "mRNA":
                values[random.random(values.shape) < 0.03] = np.nan
            write_matrix(folder / name.format(project=project), barcodes, values)
    clinical = pd.DataFrame(
        {
            "sampleID": [barcode(i)[:15] for i in PATIENTS["BRCA"]],
            "PAM50Call_RNAseq": [PAM50[i % 5] for i in PATIENTS["BRCA"]],
        }
    )
    clinical.to_csv(folder / "BRCA_clinicalMatrix", sep="\t", index=False)
    subtypes = pd.DataFrame(
        {
            "sampleID": [barcode(i)[:15] for i in PATIENTS["LIHC"]],
            "Subtype_Selected": [
                f"LIHC.iCluster:{1 + i % 3}" for i in PATIENTS["LIHC"]
            ],
        }
    )
    file = folder / "TCGASubtype.20170308.tsv.gz"
    subtypes.to_csv(file, sep="\t", index=False)
