"""Text, audio and vision with a binary sentiment, as Section 4.3 and Appendix D take
them.

CMU-MOSEI is the paper's data; CMU-MOSI and ICT-MMMO are other data of the same kind,
`simulate` is a stand-in of the paper's shape. Each comes as `Split` objects, so that a
chapter runs on any of them.
"""

from cchbook.data import catalogue
from cchbook.data.catalogue import DataSource
from cchbook.data.sentiment._mosei import load_mosei
from cchbook.data.sentiment._others import load_mmmo, load_mosi, simulate
from cchbook.data.sentiment._split import (
    MODALITIES,
    NOISES,
    Split,
    add_noise,
    pool,
    standardise,
)
from cchlib import check

__all__ = [
    "MODALITIES",
    "NOISES",
    "Split",
    "add_noise",
    "load",
    "load_mmmo",
    "load_mosei",
    "load_mosi",
    "pool",
    "simulate",
    "standardise",
]

SOURCES = ("auto", "real", "mosei", "mosi", "mmmo", "embedded")


def load(
    source: str = "auto",
    *,
    text: str = "clean",
    sizes: tuple[int, int, int] = (600, 100, 300),
    seed: int = 0,
) -> tuple[DataSource, dict[str, Split]]:
    """The data set that `source` names, and where it came from.

    Parameters
    ----------
    source : {"auto", "real", "mosei", "mosi", "mmmo", "embedded"}
        "auto" is MOSEI where it is at hand, else MOSI, else the stand-in; "real" the
        same without the stand-in.
    text : {"clean", "tokens", "shipped"}
        MOSI's text features, see `load_mosi`; the others have one kind.
    sizes, seed
        Of the stand-in.

    Raises
    ------
    FileNotFoundError
        A set that was asked for is absent; the message says how to get it.
    """
    check.one_of("source", source, SOURCES)
    if source in ("auto", "real"):
        source = next(
            (name for name in ("mosei", "mosi") if catalogue.get(name).present),
            "embedded" if source == "auto" else "mosei",
        )
    if source == "embedded":
        splits = simulate(sizes, seed=seed)
        payload = b"".join(split.digest() for split in splits.values())
        note = (
            "simulated sequences of the paper's shape: 50 steps of 300 (text), 74 (audio) and 713 (vision) "
            "features; text knows the label best"
        )
        return catalogue.embedded("mosei", payload, note), splits
    found = catalogue.resolve(source, "real")
    if source == "mosei":
        return found, load_mosei(found.path / "mosei_raw.pkl")
    return found, load_mosi(found.path, text) if source == "mosi" else load_mmmo(
        found.path
    )
