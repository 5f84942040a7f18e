"""Each converter on a small file of its format, and what becomes of it."""

from __future__ import annotations

from functools import partial

import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from cchbook.data import catalogue, download, multiview
from cchbook.data import multiview_originals as originals

LABELS = np.array([[3], [1], [3], [2]])


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    monkeypatch.setattr(catalogue, "cache_home", lambda: tmp_path / "cache")
    return tmp_path / "multiview"


def cell_array(*views):
    stored = np.empty((len(views), 1), object)
    for place, view in enumerate(views):
        stored[place, 0] = view
    return stored


def test_cells_of_matlab(tmp_path):
    words, links = np.eye(4, 3, dtype=np.uint8), np.arange(8.0).reshape(4, 2)
    savemat(tmp_path / "a.mat", {"X": cell_array(words, links, links), "y": LABELS})
    made = originals.cells(tmp_path, "a.mat", ("words", "links"))
    assert sorted(made) == ["label", "view_links", "view_words"]
    assert made["view_words"].dtype == np.uint8
    assert made["view_links"].dtype == np.float32
    np.testing.assert_array_equal(made["view_links"], links)
    assert made["label"].tolist() == [2, 0, 2, 1]

    savemat(tmp_path / "b.mat", {"data": cell_array(words.T), "truth": LABELS})
    turned = originals.cells(tmp_path, "b.mat", ("words",), "data", "truth", True)
    np.testing.assert_array_equal(turned["view_words"], words)


def test_the_test_file_of_wikipedia_is_the_end(tmp_path):
    views = np.arange(8.0).reshape(4, 2), np.arange(4.0).reshape(4, 1)
    last = tuple(view[3:] for view in views)
    every, test = tmp_path / "Wikipedia.mat", tmp_path / "Wikipedia-test.mat"
    savemat(every, {"X": cell_array(*views), "y": LABELS})
    savemat(test, {"X": cell_array(*last), "y": LABELS[3:]})
    made = originals.wikipedia(tmp_path)
    assert made["split"].tolist() == [0, 0, 0, 1]
    assert made["view_image_sift"].shape == (4, 2)


def test_one_matrix_a_file(tmp_path):
    matrices = {"HSI_TrSet": np.eye(4), "LiDAR_TrSet": np.ones((4, 2))}
    for name, matrix in (matrices | {"TrLabel": LABELS}).items():
        savemat(tmp_path / f"{name}.mat", {name: matrix})
    made = originals.houston(tmp_path)
    np.testing.assert_array_equal(made["view_hsi"], np.eye(4))
    assert made["label"].tolist() == [2, 0, 2, 1]


def test_six_tables_with_the_class_last(tmp_path):
    for width, name in enumerate(("fou", "fac", "kar", "pix", "zer", "mor"), 1):
        table = pd.DataFrame(np.full((3, width), width)).assign(last=[0, 2, 1])
        table.to_csv(tmp_path / f"mfeat-{name}.csv", index=False)
    made = originals.digits(tmp_path)
    assert made["view_mor"].tolist() == [[6.0] * 6] * 3
    assert made["label"].tolist() == [0, 2, 1]


def test_sensors_of_a_room(tmp_path):
    pd.DataFrame(
        {
            "Date": ["2017/12/22", "2017/12/22", "2017/12/23"],
            "Time": ["10:49:41", "10:50:12", "00:00:01"],
            "S1_Temp": [24.9, 25.0, 25.1],
            "S1_Light": [1, 2, 3],
            "S1_Sound": [0.1, 0.2, 0.3],
            "S5_CO2": [390, 391, 392],
            "S6_PIR": [0, 0, 1],
            "Room_Occupancy_Count": [1, 1, 0],
        }
    ).to_csv(tmp_path / "Occupancy_Estimation.csv", index=False)
    made = originals.occupancy(tmp_path)
    assert made["group"].tolist() == [0, 0, 1]
    assert made["seconds"].tolist() == [38981, 39012, 86401]
    assert made["view_co2"].tolist() == [[390], [391], [392]]
    assert made["label"].tolist() == [1, 1, 0]


def test_hours_of_bicycles(tmp_path):
    table = {
        "dteday": ["2011-01-01", "2011-01-08"],
        "yr": 0,
        "mnth": 1,
        "hr": [0, 23],
        "holiday": [0, 1],
        "weekday": 6,
        "workingday": 0,
        "weathersit": [1, 4],
        "temp": [3, 2],
        "atemp": [3, 1],
        "hum": [81, 80],
        "windspeed": 0,
        "cnt": [16, 0],
    }
    pd.DataFrame(table).to_csv(tmp_path / "hour.csv", index=False)
    made = originals.bikes(tmp_path)
    on = [np.flatnonzero(row).tolist() for row in made["view_calendar"]]
    # 3 flags, 24 hours, 7 days of a week, 12 months
    assert on == [[3, 33, 34], [1, 26, 33, 34]]
    assert made["view_weather"].tolist() == [
        [3, 3, 81, 0, 1, 0, 0, 0],
        [2, 1, 80, 0, 0, 0, 0, 1],
    ]
    assert made["label"].tolist() == pytest.approx([np.log(17), 0])
    assert made["group"].tolist() == [0, 1]


def test_air_in_the_order_of_time_without_missing_rows(tmp_path):
    sensors = {f"PT08_S{k}_{gas}": k for k, gas in enumerate("abcde", 1)}
    table = {
        "Date": ["11/23/2004", "11/16/2004", "11/16/2004", "11/16/2004"],
        "Time": ["19:00:00", "18:00:00", "19:00:00", "20:00:00"],
        "CO_GT": [11.9, 1.5, -200, 2.5],
        **sensors,
        "NMHC_GT": -200,
        "T": 12.5,
        "RH": 74.5,
        "AH": 1.0,
    }
    pd.DataFrame(table).to_csv(tmp_path / "AirQualityUCI.csv", index=False)
    made = originals.air(tmp_path)
    assert made["label"].tolist() == pytest.approx([1.5, 2.5, 11.9])
    assert made["hours"].tolist() == [0, 2, 169]
    assert made["group"].tolist() == [0, 0, 1]
    # temperature, humidities, hour as an angle (18:00 is three quarters), a Tuesday
    first = [12.5, 74.5, 1, -1, 0, 0, 1, 0, 0, 0, 0, 0]
    assert made["view_weather_time"][0].tolist() == pytest.approx(first, abs=1e-6)


@pytest.fixture
def tiny(home, tmp_path, monkeypatch):
    """A set whose original is a file of this machine."""
    source = tmp_path / "source" / "a.mat"
    source.parent.mkdir()
    arrays = {"X": cell_array(np.eye(4), np.ones((4, 2))), "y": LABELS}
    savemat(source, arrays)

    def bring(address, path, *, sha256, progress=None):
        assert sha256 == "said"
        path.write_bytes(source.read_bytes())

    monkeypatch.setattr(download, "download", bring)
    reader = partial(originals.cells, file="a.mat", views=("a", "b"))
    monkeypatch.setattr(originals, "READERS", {"cora_text_links": reader})
    expected = originals.checksum(reader(source.parent))
    table = tmp_path / "files.csv"
    monkeypatch.setattr(originals, "FILES", table)

    def publish(arrays):
        row = ["cora_text_links", "https://host/a.mat", "said", arrays]
        columns = ["set", "address", "sha256", "arrays"]
        pd.DataFrame([row], columns=columns).to_csv(table, index=False)

    publish(expected)
    return publish


def test_fetch_makes_what_can_be_made(home, tiny):
    source = catalogue.fetch("multiview")
    assert [path.name for path in home.iterdir()] == ["cora_text_links.npz"]
    assert source.note.startswith("not made: airquality_mox_weather, bdgp")
    assert "cora" not in source.note
    one = multiview.load("cora_text_links")
    assert one.pairs == [("a", "b"), ("b", "a")]
    assert one.source.note == "made from its public original"
    before = (home / "cora_text_links.npz").stat().st_mtime_ns
    catalogue.fetch("multiview")
    assert (home / "cora_text_links.npz").stat().st_mtime_ns == before


def test_an_original_that_gives_other_arrays_is_refused(home, tiny):
    tiny("0" * 64)
    with pytest.raises(ValueError, match="cora_text_links.*does not give the arrays"):
        originals.make("cora_text_links")
    assert not list(home.iterdir())
    with pytest.raises(ValueError, match="`name` must be one of"):
        originals.make("wheat")


def test_every_converter_has_its_files():
    files = pd.read_csv(originals.FILES)
    assert set(files["set"]) == set(originals.READERS)
    assert files["arrays"].str.len().eq(64).all()
    known = set(multiview.sources()["set"])
    assert set(originals.READERS) <= known


@pytest.mark.parametrize("name", originals.READERS)
def test_the_checksum_is_of_what_chapter_11_read(name):
    if name not in multiview.found():
        pytest.skip("no real data at hand")
    with np.load(catalogue.data_home() / "multiview" / f"{name}.npz") as stored:
        arrays = {k: stored[k] for k in stored.files if k != originals.MADE_FROM}
    files = pd.read_csv(originals.FILES).set_index("set")["arrays"]
    assert {originals.checksum(arrays)} == set(files.loc[[name]])
