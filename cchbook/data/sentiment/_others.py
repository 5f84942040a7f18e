"""Data of the paper's kind: CMU-MOSI, ICT-MMMO, and a simulated stand-in."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

from cchbook.data import tables
from cchbook.data.sentiment._split import Split, all_finite
from cchlib import check

WIDTHS = {
    "text": 300,
    "audio": 74,
    "vision": 713,
}  # of the stand-in: the paper's, Algorithm 2
FOLDERS = ("text", "audio", "video")
LENGTH = 50  # steps that Algorithm 2 keeps


def load_mosi(
    path: str | Path, text: str = "clean", *, dimensions: int = 300
) -> dict[str, Split]:
    """CMU-MOSI, 2,199 utterances of 93 videos, as (n, d) features without a time axis.

    Parameters
    ----------
    path : str or Path
        Folder with ``{text,audio,video}/*_{train,test}0.csv``,
        ``text_{train,test}.csv``, ``transcripts.csv``.
    text : {"clean", "tokens", "shipped"}
        "shipped" are the published 100 features, which look trained on the training
        labels; "clean" are made here from the transcripts: TF-IDF of the words, reduced
        to `dimensions` by a truncated SVD (latent semantic analysis), both fitted to
        the training transcripts and never to a label; "tokens" is the text path of
        Algorithm 2, one token a step: each word's vector of that analysis (the paper's
        are pretrained), in the order spoken, cut or padded with zeros to 50 steps.
    dimensions : int
        Of the clean features; 300 is the width of the paper's word vectors.

    Returns
    -------
    dict of Split
        "train" (1,447 utterances) and "test" (752), without a speaker in common.

    Raises
    ------
    FileNotFoundError, ValueError
        Files are missing, or disagree about utterances or labels.
    """
    path = Path(path)
    check.one_of("text", text, ("clean", "tokens", "shipped"))
    words, index = _table(path / "transcripts.csv"), {}
    tables: dict[str, dict[str, np.ndarray]] = {}
    for split in ("train", "test"):
        part = {
            name: _table(path / name / f"{name}_{split}0.csv").to_numpy(float)
            for name in FOLDERS
        }
        index[split] = _table(path / f"text_{split}.csv")[0].to_numpy(int)
        check.same_length(**part, transcripts=index[split])
        labels = words[3].to_numpy()[index[split]]
        for name, table in part.items():
            if not (table[:, -1] == labels).all():
                raise ValueError(
                    f"{path}: labels of {name}, {split}, are not those of the "
                    "transcripts; "
                    "fetch the files again"
                )
        tables[split] = {name: table[:, :-1] for name, table in part.items()} | {
            "labels": labels
        }
    if text != "shipped":
        spoken = {split: words[1].iloc[rows] for split, rows in index.items()}
        of_words = TfidfVectorizer(min_df=2, sublinear_tf=True)
        reduced = TruncatedSVD(dimensions, random_state=0)
        embed = make_pipeline(of_words, reduced)
        tables["train"]["text"] = embed.fit_transform(spoken["train"])
        tables["test"]["text"] = embed.transform(spoken["test"])
        if text == "tokens":
            vectors = reduced.components_.T * of_words.idf_[:, None]
            for split, part in tables.items():
                part["text"] = _word_by_word(spoken[split], of_words, vectors)
    splits = {
        split: Split(
            *(part[name].astype(np.float32) for name in FOLDERS),
            labels=part["labels"].astype(np.int64),
        )
        for split, part in tables.items()
    }
    all_finite("CMU-MOSI", splits)
    return splits


def _word_by_word(
    spoken: pd.Series, of_words: TfidfVectorizer, vectors: np.ndarray
) -> np.ndarray:
    """(n, 50, d): the vector of each known word (V, d), 0 where there is none."""
    split_up, number = of_words.build_analyzer(), of_words.vocabulary_
    sequences = np.zeros((len(spoken), LENGTH, vectors.shape[1]), np.float32)
    for sequence, utterance in zip(sequences, spoken):
        for step, word in enumerate(split_up(utterance)[:LENGTH]):
            if word in number:
                sequence[step] = vectors[number[word]]
    return sequences


def load_mmmo(path: str | Path) -> dict[str, Split]:
    """ICT-MMMO, 340 videos as word-aligned sequences of 20 steps; positive is a
    sentiment > 3 of 1–5.

    Parameters
    ----------
    path : str or Path
        Folder with ``{audio,video,y}_{train,valid,test}.h5`` and
        ``text_{valid,test}_emb.h5``.

    Returns
    -------
    dict of Split
        "train", "valid", "test" of 220, 40 and 80; audio (n, 20, 74), vision (n, 20,
        36), text (n, 20, 300) or, in "train", None: it isn't published.
    """
    path, splits = Path(path), {}
    for split in ("train", "valid", "test"):
        text = None if split == "train" else _h5(path / f"text_{split}_emb.h5")
        splits[split] = Split(
            text,
            _h5(path / f"audio_{split}.h5"),
            _h5(path / f"video_{split}.h5"),
            labels=(_h5(path / f"y_{split}.h5") > 3).astype(np.int64),
        )
    all_finite("ICT-MMMO", splits)
    return splits


def simulate(
    sizes: tuple[int, int, int] = (600, 100, 300), *, length: int = 50, seed: int = 0
) -> dict[str, Split]:
    """A stand-in of the paper's shape: sequences of `length` steps with 300, 74 and 713
    features.

    An utterance has a sentiment s ~ N(0, 1), its label is s > 0, and a manner of eight
    numbers that has nothing to do with it. Text knows s well, vision and audio a
    little; all three know the manner, each through its own random matrix and under
    noise at every step. Utterances have 10 to `length` steps, then zeros.

    Returns
    -------
    dict of Split
        "train", "valid", "test" with `sizes` utterances.
    """
    for size in sizes:
        check.integer("sizes", size, 2)
    check.integer("length", length, 1)
    rng = np.random.default_rng(seed)
    sentiment_share = {"text": 1.0, "audio": 0.35, "vision": 0.45}
    mixing = {
        name: rng.standard_normal((9, width)).astype(np.float32) / 3
        for name, width in WIDTHS.items()
    }
    splits = {}
    for split, n in zip(("train", "valid", "test"), sizes):
        sentiment = rng.standard_normal(n)
        manner = rng.standard_normal((n, 8))
        spoken = (
            np.arange(length) < rng.integers(min(10, length), length + 1, n)[:, None]
        )
        arrays = {}
        for name, width in WIDTHS.items():
            private = rng.standard_normal(n)
            share = sentiment_share[name]
            heard = share * sentiment + np.sqrt(1.05 - share**2) * private
            utterance = (
                np.column_stack((heard, manner)).astype(np.float32) @ mixing[name]
            )
            steps = rng.standard_normal((n, length, width), np.float32)
            steps += utterance[:, None]
            arrays[name] = steps * spoken[:, :, None]
        splits[split] = Split(**arrays, labels=(sentiment > 0).astype(np.int64))
    return splits


def _table(path: Path) -> pd.DataFrame:
    return tables.read(_present(path), header=None)


def _h5(path: Path) -> np.ndarray:
    with tables.named(path), h5py.File(_present(path)) as file:
        return file["d1"][:].astype(np.float32)


def _present(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there; the files of the set are those that data/SHA256SUMS "
            "lists"
        )
    return path
