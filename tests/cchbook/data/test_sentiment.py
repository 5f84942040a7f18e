"""The published format is read to the letter, nothing in a pickle is run, and bad files
are refused.
"""

import os
import pickle
import tracemalloc

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cchbook.data import sentiment
from cchbook.data.sentiment import load_mosei
from cchbook.data.sentiment._pickle import StoredArray, read
from cchlib import models

WIDTHS = {"text": 3, "audio": 2, "vision": 5}


def published(n=6, steps=8, seed=0, widths=WIDTHS, labels=None):
    """A split as MultiBench publishes it: padded with zeros on the left, one utterance
    without text.
    """
    rng = np.random.default_rng(seed)
    start = rng.integers(0, steps, n)
    split = {
        name: rng.normal(size=(n, steps, width)).astype(np.float32)
        for name, width in widths.items()
    }
    for array in split.values():
        array[np.arange(steps) < start[:, None]] = 0
    split["text"][1] = 0
    split["audio"][2, -1, 0] = -np.inf
    split["labels"] = (
        rng.integers(-3, 4, (n, 1)).astype(float) if labels is None else labels
    )
    split["id"] = [f"video[{i}]" for i in range(n)]
    return split


def file_of(tmp_path, protocol=4, **splits):
    content = {
        "train": published(seed=1),
        "valid": published(seed=2),
        "test": published(seed=3),
    } | splits
    path = tmp_path / "mosei_raw.pkl"
    path.write_bytes(pickle.dumps(content, protocol))
    return path, content


def algorithm_2(split, length):
    """The steps of Algorithm 2, one utterance at a time."""
    kept = [i for i, text in enumerate(split["text"]) if np.any(text)]
    out = {
        name: np.zeros((len(kept), length, split[name].shape[2]), np.float32)
        for name in WIDTHS
    }
    for row, i in enumerate(kept):
        first = np.flatnonzero(split["text"][i].any(1))[0]
        for name in WIDTHS:
            steps = np.where(np.isneginf(split[name][i]), 0, split[name][i])[first:][
                :length
            ]
            out[name][row, : len(steps)] = steps
    scores = np.asarray(split["labels"]).reshape(len(split["labels"]), -1)[kept, 0]
    return out | {"labels": (scores > 0).astype(int)}


def same(split, wanted):
    for name, array in wanted.items():
        np.testing.assert_array_equal(getattr(split, name), array)


@pytest.mark.parametrize("length", [5, 50])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_mosei_is_algorithm_2(tmp_path, protocol, length):
    path, content = file_of(tmp_path, protocol)
    data = load_mosei(path, length=length, cache=tmp_path)
    assert list(data) == ["train", "valid", "test"]
    for name, split in data.items():
        same(split, algorithm_2(content[name], length))
        assert (
            len(split) == 5
            and split.labels.dtype == np.int64
            and split.vision.dtype == np.float32
        )


@settings(max_examples=25, deadline=None)
@given(
    text=hnp.arrays(np.float32, (4, 6, 2), elements=st.sampled_from([0, 0, 1, -1])),
    length=st.integers(1, 8),
)
def test_mosei_property(tmp_path_factory, text, length):
    text[0, -1] = 1  # one utterance at least
    part = published(4, 6, widths={"text": 2, "audio": 2, "vision": 2}) | {"text": text}
    folder = tmp_path_factory.mktemp("mosei")
    path, _ = file_of(folder, train=part, valid=part, test=part)
    same(
        load_mosei(path, length=length, cache=folder)["train"],
        algorithm_2(part, length),
    )


def test_neutral_is_negative_and_the_first_column_counts(tmp_path):
    labels = np.array([[-1.0, 9], [9, 9], [0, 9], [1 / 3, 9], [3, -9], [0, 9]])
    for shape in (labels, labels[:, None, :]):
        path, _ = file_of(tmp_path, train=published(labels=shape))
        assert load_mosei(path, cache=tmp_path)["train"].labels.tolist() == [
            0,
            0,
            1,
            1,
            0,
        ]  # row 1 has no text


def test_sizes_are_inferred_and_the_second_call_only_opens(tmp_path):
    path, _ = file_of(
        tmp_path,
        **{
            s: published(widths=WIDTHS | {"vision": 7})
            for s in ("train", "valid", "test")
        },
    )
    data = load_mosei(path, cache=tmp_path / "cache")
    assert data["train"].vision.shape == (5, 50, 7)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")}
    again = load_mosei(path, cache=tmp_path / "cache")
    assert (
        isinstance(again["train"].text, np.memmap)
        and not again["train"].text.flags.writeable
    )
    assert before == {p: p.stat().st_mtime_ns for p in (tmp_path / "cache").rglob("*")}


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12.0).reshape(3, 4),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)),
        np.arange(6, dtype=">i4"),
        np.array(["a", "bcd"]),
        np.array(["a", 3.5], object),
        np.array([True, False]),
        np.arange(40000.0).reshape(400, 100),
    ],
)
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_stored_arrays(tmp_path, array, protocol):
    (tmp_path / "a.pkl").write_bytes(
        pickle.dumps({"x": array, "y": [np.float32(2.5), (1, "z")]}, protocol)
    )
    content = read(tmp_path / "a.pkl")
    assert content["y"] == [2.5, (1, "z")] and isinstance(content["x"], StoredArray)
    np.testing.assert_array_equal(content["x"].rows(), array)
    np.testing.assert_array_equal(content["x"].rows(1, 3), array[1:3])


def test_numpy_2_names_are_admitted(tmp_path):
    for protocol in (4, 5):
        written = pickle.dumps(np.arange(5.0), protocol)
        for old, new in (
            (b"\x15numpy.core.m", b"\x16numpy._core.m"),
            (b"\x12numpy.core.n", b"\x13numpy._core.n"),
        ):
            written = written.replace(old, new)
        assert b"numpy._core" in written
        (tmp_path / "a.pkl").write_bytes(
            written
        )  # frames are a byte too short now: the reader doesn't need them
        np.testing.assert_array_equal(read(tmp_path / "a.pkl").rows(), np.arange(5.0))


class Command:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_would_run_a_command_does_not(tmp_path, protocol):
    trace = tmp_path / "trace"
    path, _ = file_of(tmp_path, protocol, id=Command(os.system, f"touch {trace}"))
    with pytest.raises(pickle.UnpicklingError, match=r"posix\.system"):
        load_mosei(path, cache=tmp_path)
    assert not trace.exists() and list(tmp_path.iterdir()) == [path]
    pickle.loads(path.read_bytes())  # the file is a real one
    assert trace.exists()


def other_attacks():
    g = pickle.GLOBAL
    numpy_dtype, reconstruct = (
        g + b"numpy\ndtype\n",
        g + b"numpy.core.multiarray\n_reconstruct\n",
    )
    return {
        "eval": (g + b"builtins\neval\n(V1\ntR.", r"builtins\.eval"),
        "getattr": (g + b"builtins\ngetattr\n.", r"builtins\.getattr"),
        "a submodule of numpy": (
            g + b"numpy.testing._private.utils\nrunstring\n.",
            "runstring",
        ),
        "numpy.load": (g + b"numpy\nload\n.", r"numpy\.load"),
        "dotted name": (
            pickle.PROTO + b"\x04\x8c\x05numpy\x8c\x0cndarray.fill\x93.",
            "ndarray.fill",
        ),
        "old-style instance": (b"(" + pickle.INST + b"os\nsystem\n.", r"os\.system"),
        "state of a stand-in's class": (
            reconstruct + b"}b.",
            "sets the state of a function",
        ),
        "state of a dictionary": (b"}}b.", "sets the state of a dict"),
        "copyreg extension": (pickle.EXT1 + b"\x01.", "extension 1"),
        "persistent id": (b"Pfoo\n.", "persistent"),
        "another codec": (g + b"_codecs\nencode\n(Vx\nVzip\ntR.", "zip"),
        "structured type": (numpy_dtype + b"(VV16\ntR.", "V16"),
    }


@pytest.mark.parametrize("attack", other_attacks())
def test_everything_else_is_refused(tmp_path, attack):
    written, said = other_attacks()[attack]
    (tmp_path / "a.pkl").write_bytes(written)
    with pytest.raises((pickle.UnpicklingError, ValueError), match=said):
        read(tmp_path / "a.pkl")


def test_truncated(tmp_path):
    path, _ = file_of(tmp_path)
    whole = path.read_bytes()
    for size in {0, 1, 20, *range(50, len(whole), 150), len(whole) - 1}:
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="truncated.*fetch it again"):
            load_mosei(path, cache=tmp_path)
    assert [
        p for p in tmp_path.iterdir() if p.is_dir()
    ] == []  # no half conversion is left


def without(split, *names):
    return {name: array for name, array in split.items() if name not in names}


def longer(name):
    split = published()
    return split | {name: np.concatenate([split[name], split[name][:1]])}


NAN_LABELS = published(
    labels=np.array([[1.0], [np.nan], [0], [np.nan], [1], [2]])
)  # row 1 is dropped, row 3 isn't
NAN_VISION = published() | {"vision": np.full((6, 8, 5), np.nan, np.float32)}
BAD = {
    "missing split": ({"test": None}, "has no 'test'"),
    "missing modality": (
        {"train": without(published(), "audio")},
        "split 'train' must be .*has no 'audio'",
    ),
    "no labels": (
        {"valid": without(published(), "labels")},
        "split 'valid' must be .*has no 'labels'",
    ),
    "unequal utterances": (
        {"train": longer("vision")},
        "split 'train'.*inconsistent numbers of samples.*`vision` 7",
    ),
    "unequal steps": (
        {"train": published() | {"audio": np.zeros((6, 20, 2), np.float32)}},
        "unequal numbers of steps",
    ),
    "unequal features": (
        {"test": published(widths=WIDTHS | {"text": 4})},
        "text must have one number of features",
    ),
    "flat": (
        {"train": published() | {"text": np.zeros((6, 3), np.float32)}},
        r"text must have shape .*got \(6, 3\)",
    ),
    "strings": (
        {"train": published() | {"text": np.full((6, 8, 3), "a")}},
        "text must be an array of numbers",
    ),
    "no array": (
        {"train": published() | {"text": [[1.0]]}},
        "text must be an array of numbers",
    ),
    "no text at all": (
        {"valid": published() | {"text": np.zeros((6, 8, 3))}},
        "text of every utterance is all zero",
    ),
    "labels without an axis": (
        {"train": published() | {"labels": np.array(1.0)}},
        r"labels must have shape \(n,\) or .*got \(\)",
    ),
    "labels without a column": (
        {"train": published(labels=np.zeros((6, 0)))},
        r"labels.*got \(6, 0\)",
    ),
    "NaN labels": (
        {"train": NAN_LABELS},
        r"1 labels are NaN.*first: row 3.*remove these rows",
    ),
    "NaN features": ({"test": NAN_VISION}, "split 'test', vision: NaN or infinite"),
    "infinity in text": (
        {"test": published() | {"text": np.full((6, 8, 3), -np.inf)}},
        "text: NaN or infinite",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_say_what_to_do(tmp_path, case):
    splits, said = BAD[case]
    path, content = file_of(tmp_path, **splits)
    path.write_bytes(
        pickle.dumps(
            {name: split for name, split in content.items() if split is not None}
        )
    )
    with pytest.raises(ValueError, match=said):
        load_mosei(path, cache=tmp_path)
    assert [p for p in tmp_path.iterdir() if p.is_dir()] == []


def test_absent_file_names_the_command(tmp_path):
    with pytest.raises(FileNotFoundError, match="cch data fetch mosei"):
        load_mosei(tmp_path / "mosei_raw.pkl")


def test_memory_is_bounded(tmp_path):
    """160 MB are converted, and pooled, in less than half of that; the reader alone
    takes next to nothing.
    """
    widths = {"text": 300, "audio": 74, "vision": 626}
    train = {
        name: np.ones((800, 50, width), np.float32) for name, width in widths.items()
    }
    small = published(4, 50, widths=widths)
    path, _ = file_of(
        tmp_path, train=train | {"labels": np.ones((800, 1))}, valid=small, test=small
    )
    del train
    tracemalloc.start()
    try:
        content = read(path)
        assert tracemalloc.get_traced_memory()[1] < 1e6
        data = load_mosei(path, cache=tmp_path)
        means = sentiment.pool(data["train"].vision)
        assert tracemalloc.get_traced_memory()[1] < 80e6
    finally:
        tracemalloc.stop()
    assert (
        path.stat().st_size > 159e6 and means.shape == (800, 626) and (means == 1).all()
    )
    assert content["train"]["vision"].shape == (800, 50, 626)


# What happens to the data afterwards --------------------------------------------------


def test_pooling_first_is_what_the_network_does():
    x = np.random.default_rng(0).normal(size=(7, 20, 4)).astype(np.float32)
    network = models.sentiment_network(4).eval()
    pooled = sentiment.pool(x, rows=3)
    torch.testing.assert_close(
        network(torch.from_numpy(x)), network(torch.from_numpy(pooled))
    )
    assert sentiment.pool(pooled) is pooled
    with pytest.raises(ValueError, match="`sequences`.*shape"):
        sentiment.pool(np.zeros(3))


def test_standardise_uses_training_statistics_only():
    rng = np.random.default_rng(0)
    train, test = rng.normal(3, 5, (200, 4, 3)), rng.normal(0, 1, (50, 4, 3))
    train[..., 2], test[..., 2] = 0.1, 7
    scaled, other = sentiment.standardise(train, test)
    np.testing.assert_allclose(scaled[..., :2].mean((0, 1)), 0, atol=1e-6)
    np.testing.assert_allclose(scaled[..., :2].std((0, 1)), 1, atol=1e-6)
    assert (scaled[..., 2] == 0).all() and (other[..., 2] == 0).all()
    np.testing.assert_allclose(
        other[..., 0],
        (test[..., 0] - train[..., 0].mean()) / train[..., 0].std(),
        rtol=1e-4,
    )


def test_noise_definitions():
    x = np.random.default_rng(1).normal(size=(20000, 2))
    for definition in sentiment.NOISES:
        np.testing.assert_allclose(
            sentiment.add_noise(x, 0.0, definition), x.astype(np.float32)
        )
    unit = np.array([1.0, 10.0])
    spread = {
        d: (
            sentiment.add_noise(x, 0.6, d, unit=unit, seed=3)
            - (0.4 if d == "convex" else 1) * x
        ).std(0)
        for d in sentiment.NOISES
    }
    np.testing.assert_allclose(spread["relative"], [0.6, 0.6], rtol=0.03)
    np.testing.assert_allclose(spread["convex"], [0.6, 0.6], rtol=0.03)
    np.testing.assert_allclose(spread["absolute"], [0.6, 6], rtol=0.03)
    gone = sentiment.add_noise(x, 1.0, "convex")
    assert abs(np.corrcoef(gone[:, 0], x[:, 0])[0, 1]) < 0.03
    np.testing.assert_array_equal(gone, sentiment.add_noise(x, 1.0, "convex"))
    for level, definition, said in (
        (-0.1, "relative", "level"),
        (1.1, "convex", "level"),
        (0, "white", "definition"),
    ):
        with pytest.raises(ValueError, match=said):
            sentiment.add_noise(x, level, definition)


# The other data -----------------------------------------------------------------------


@pytest.fixture
def mosi(tmp_path):
    """CMU-MOSI in small: 8 utterances, 6 of them for training."""
    words = [
        f"{word} {rest}"
        for rest in ("film", "plot very", "actors film", "zebra")
        for word in ("good", "bad")
    ]
    labels, rows = np.array([1, 0] * 4), {"train": [5, 0, 1, 2, 3, 4], "test": [6, 7]}
    lines = [
        f'"v{i}_1","{word}","8","{label}"\n'
        for i, (word, label) in enumerate(zip(words, labels))
    ]
    (tmp_path / "transcripts.csv").write_text("".join(lines))
    rng = np.random.default_rng(0)
    for name, width in (("text", 5), ("audio", 3), ("video", 4)):
        (tmp_path / name).mkdir()
        for split, index in rows.items():
            table = np.column_stack(
                (rng.normal(size=(len(index), width)), labels[index])
            )
            (tmp_path / name / f"{name}_{split}0.csv").write_text(
                "".join(",".join(f'"{value}"' for value in row) + "\n" for row in table)
            )
    for split, index in rows.items():
        (tmp_path / f"text_{split}.csv").write_text(
            "".join(f'"{i}","0.5"\n' for i in index)
        )
    return tmp_path


def test_mosi(mosi):
    shipped, clean = (
        sentiment.load_mosi(mosi, "shipped"),
        sentiment.load_mosi(mosi, "clean", dimensions=2),
    )
    assert [array.shape for array in shipped["train"].modalities().values()] == [
        (6, 5),
        (6, 3),
        (6, 4),
    ]
    assert clean["train"].labels.tolist() == [0, 1, 0, 1, 0, 1] and clean[
        "test"
    ].text.shape == (2, 2)
    np.testing.assert_array_equal(clean["train"].audio, shipped["train"].audio)
    assert not np.isnan(clean["test"].text).any()


def test_clean_text_never_sees_test_transcripts(mosi):
    before = sentiment.load_mosi(mosi, dimensions=2)["train"].text
    words = (mosi / "transcripts.csv").read_text().replace("zebra", "film film plot")
    (mosi / "transcripts.csv").write_text(words)
    np.testing.assert_array_equal(
        sentiment.load_mosi(mosi, dimensions=2)["train"].text, before
    )


def test_tokens_are_words_in_the_order_spoken(mosi):
    train, test = (
        sentiment.load_mosi(mosi, "tokens", dimensions=2)[split].text
        for split in ("train", "test")
    )
    assert train.shape == (6, 50, 2) and test.shape == (2, 50, 2)
    # rows 5, 0, 1, 2, ...: "bad actors film", "good film", "bad film", "good plot very"
    film, good, bad = train[0, 2], train[1, 0], train[0, 0]
    np.testing.assert_array_equal(train[1, :2], [good, film])
    np.testing.assert_array_equal(train[2, :2], [bad, film])
    assert not np.allclose(good, film)
    assert not train[1, 2:].any()  # padding
    # "good zebra": the second word is in no training transcript
    np.testing.assert_array_equal(test[0, 0], good)
    assert not test[0, 1:].any()


def test_mosi_refuses_labels_that_disagree(mosi):
    path = mosi / "audio" / "audio_test0.csv"
    path.write_text(path.read_text().replace('"1.0"', '"0.0"'))
    with pytest.raises(ValueError, match="labels of audio, test"):
        sentiment.load_mosi(mosi)
    path.unlink()
    with pytest.raises(FileNotFoundError, match="audio_test0.csv"):
        sentiment.load_mosi(mosi)
    with pytest.raises(ValueError, match="`text`.*got 'leaky'"):
        sentiment.load_mosi(mosi, "leaky")


def test_mmmo(tmp_path):
    for split, n in (("train", 3), ("valid", 2), ("test", 2)):
        for name, width in (("audio", 74), ("video", 36)):
            with h5py.File(tmp_path / f"{name}_{split}.h5", "w") as file:
                file["d1"] = np.ones((n, 20, width))
        with h5py.File(tmp_path / f"y_{split}.h5", "w") as file:
            file["d1"] = np.array([3.0, 3.5, 1.0])[:n]
        if split != "train":
            with h5py.File(tmp_path / f"text_{split}_emb.h5", "w") as file:
                file["d1"] = np.ones((n, 20, 300))
    data = sentiment.load_mmmo(tmp_path)
    assert data["train"].labels.tolist() == [0, 1, 0] and data["train"].text is None
    assert data["valid"].text.shape == (2, 20, 300) and data["test"].vision.shape == (
        2,
        20,
        36,
    )
    with h5py.File(tmp_path / "y_test.h5", "w") as file:
        file["d1"] = np.ones(3)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        sentiment.load_mmmo(tmp_path)


def test_the_stand_in():
    data = sentiment.simulate((60, 4, 40), seed=1)
    shapes = {name: array.shape for name, array in data["train"].modalities().items()}
    assert shapes == {
        "text": (60, 50, 300),
        "audio": (60, 50, 74),
        "vision": (60, 50, 713),
    }
    again = sentiment.simulate((60, 4, 40), seed=1)
    assert [s.digest() for s in data.values()] == [s.digest() for s in again.values()]
    assert (
        sentiment.simulate((60, 4, 40), seed=2)["test"].digest()
        != data["test"].digest()
    )
    silent = {
        name: (array == 0).all(2) for name, array in data["train"].modalities().items()
    }
    assert (silent["text"] == silent["vision"]).all() and (
        silent["text"] == silent["audio"]
    ).all()
    assert (np.diff(silent["text"].astype(int)) >= 0).all() and not silent["text"][
        :, :10
    ].any()  # padding at the end
    with pytest.raises(ValueError, match="sizes"):
        sentiment.simulate((1, 2, 3))


def test_load_says_what_it_ran_on(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    source, data = sentiment.load("auto", sizes=(4, 2, 2))
    assert (
        source.kind == "embedded"
        and len(source.sha256) == 64
        and "simulated" in source.note
    )
    assert len(data["train"]) == 4
    for name in ("real", "mosei"):
        with pytest.raises(FileNotFoundError, match="cch data fetch mosei"):
            sentiment.load(name)
    for name in ("mosi", "mmmo"):
        with pytest.raises(FileNotFoundError, match=name):
            sentiment.load(name)
    with pytest.raises(ValueError, match="`source`.*got 'cmu'"):
        sentiment.load("cmu")


def test_load_prefers_the_papers_data(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "mosei").mkdir()
    _, content = file_of(tmp_path / "mosei")
    source, data = sentiment.load("auto")
    assert (source.name, source.kind) == ("mosei", "real")
    same(data["test"], algorithm_2(content["test"], 50))
