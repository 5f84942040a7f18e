"""A file that is broken or ragged is named, in every loader."""

import gzip
import zipfile

import numpy as np
import pytest
from xena_files import barcode, write_matrix

from cchbook.data import omics, tables, xena
from cchbook.data.sentiment import load_mmmo, load_mosi

BARCODES = [barcode(i) for i in range(4)]
HEADER = "\t".join(["id", *BARCODES]) + "\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2,9\n3,4,9\n", "unequal length"),  # pandas would shift the columns
        ("a,b\n1,2\n3,4,5\n", "Expected 2 fields"),
        ("", "EmptyDataError"),
        ('a,b\n"1,2\n', "EOF inside string"),
        ("a,b\n\xff,2\n", "utf-8"),
    ],
)
def test_ragged_and_odd_tables(tmp_path, text, said):
    file = tmp_path / "table.csv"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"table.csv: could not be read.*{said}"):
        tables.read(file)


def test_a_whole_table(tmp_path):
    file = tmp_path / "table.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n1,2\n3,4\n"))
    assert tables.read(file).to_numpy().tolist() == [[1, 2], [3, 4]]
    file.write_bytes(gzip.compress(b"a,b\n1,2,\n3,4,\n"))  # nothing is shifted
    assert tables.read(file)["a"].tolist() == [1, 3]
    with pytest.raises(ValueError, match="table.csv.gz: lacks column 'c'"):
        tables.read(file, wanted=("a", "c"))
    with pytest.raises(FileNotFoundError):
        tables.read(tmp_path / "none.csv")


def broken(whole: bytes) -> dict[str, bytes]:
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    return {
        "cut": whole[: len(whole) // 2],
        "without its end": whole[:-5],
        "flipped": bytes(flipped),
        "plain": b"plain text",
    }


@pytest.mark.parametrize("how", broken(bytes(10)))
def test_broken_matrices_are_named(tmp_path, how):
    file = tmp_path / "matrix.tsv.gz"
    values = np.random.default_rng(0).normal(size=(400, 4))
    write_matrix(file, BARCODES, values)
    file.write_bytes(broken(file.read_bytes())[how])
    with pytest.raises(ValueError, match="matrix.tsv.gz: could not be read"):
        xena.read_matrix(file, [0, 1])


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("A\t1\t2\t3\t4\nB\t1\t2\t3\t4\t5\n", "line 3 has another number of cells"),
        ("A\t1\t2\t3\t4\nB\t1\t2\n", "line 3 has another number of cells"),
        ("A\t1\t2\t3\t4\nB\t1\t2\t3\t4", "it ends within line 3"),
        ("A\t1\t2\t3\t4\n\nB\t1\t2\t3\t4\n", "line 3 has another number of cells"),
    ],
)
def test_ragged_and_truncated_matrices_are_named(tmp_path, rows, said):
    file = tmp_path / "matrix.tsv"
    file.write_text(HEADER + rows)
    with pytest.raises(ValueError, match=f"matrix.tsv: .*{said}"):
        xena.read_matrix(file, [0, 3])


def test_a_header_without_its_first_cell_is_refused(tmp_path):
    """As R writes it: every sample would get its neighbour's values."""
    file = tmp_path / "matrix.tsv"
    file.write_text("\t".join(BARCODES) + "\nA\t1\t2\t3\t4\n")
    with pytest.raises(ValueError, match="line 2 has another number of cells"):
        xena.read_matrix(file, [0])


def test_lines_that_end_as_on_windows(tmp_path):
    file = tmp_path / "matrix.tsv"
    file.write_bytes(
        (HEADER + "A\t1\t2\t3\t\nB\t1\t2\t\t4\n").encode().replace(b"\n", b"\r\n")
    )
    names, values = xena.read_matrix(file, [0, 3])
    assert names == ["A", "B"]
    np.testing.assert_array_equal(values, [[1, 1], [np.nan, 4]])


@pytest.mark.parametrize("how", broken(bytes(10)))
def test_broken_archives_of_arrays_are_named(tmp_path, how):
    file = tmp_path / "KIPAN_cnv_rppa.npz"
    np.savez_compressed(file, patient=["a"], cnv=np.random.default_rng(0).random(500))
    file.write_bytes(broken(file.read_bytes())[how])
    with pytest.raises(ValueError, match="KIPAN_cnv_rppa.npz: "):
        omics.load_firehose(tmp_path)


def test_a_broken_zip_of_a_table_is_named(tmp_path):
    file = tmp_path / "brca_data_w_subtypes.csv.zip"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.csv", "a,b\n1,2\n")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(ValueError, match="csv.zip: could not be read"):
        omics.load_brca705(tmp_path)


def test_broken_label_tables_are_named(tmp_path):
    file = tmp_path / "TCGASubtype.20170308.tsv.gz"
    file.write_bytes(gzip.compress(b"sampleID\tSubtype_Selected\n" * 50)[:-9])
    with pytest.raises(ValueError, match="TCGASubtype.* could not be read"):
        omics.load_xena(tmp_path, "LIHC")
    mine = tmp_path / "mine.csv"
    mine.write_text("patient,subtype\nTCGA-AB-0001,a\nTCGA-AB-0002,b,c\n")
    with pytest.raises(ValueError, match="mine.csv: could not be read"):
        xena.label_table(mine)


def test_sentiment_files_that_are_broken_are_named(tmp_path):
    (tmp_path / "audio_train.h5").write_bytes(b"no hdf5")
    with pytest.raises(ValueError, match="audio_train.h5: could not be read"):
        load_mmmo(tmp_path)
    (tmp_path / "transcripts.csv").write_text("1,2\n1,2,3\n")
    with pytest.raises(ValueError, match="transcripts.csv: could not be read"):
        load_mosi(tmp_path)
