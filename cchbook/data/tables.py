"""Read a file whole, or say which one it was that couldn't be."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

# What gzip, zip and the parsers raise where a file is broken or of another form.
BROKEN = (ValueError, EOFError, OSError, KeyError, zlib.error, zipfile.BadZipFile)


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Errors of reading `path` become a ValueError that begins with it; a file that is
    missing stays a FileNotFoundError.
    """
    try:
        yield
    except FileNotFoundError:
        raise
    except BROKEN as error:
        if str(error).startswith(str(path)):
            raise
        raise ValueError(
            f"{path}: could not be read ({type(error).__name__}: {error}); expected "
            "the whole file, as published"
        ) from error


def read(path: Path, wanted: tuple[str, ...] = (), **options) -> pd.DataFrame:
    """A delimited table, packed or not.

    A row with a value too many is refused: pandas would shift or cut the others.

    Raises
    ------
    ValueError
        The file is broken or ragged, or lacks one of the columns `wanted`; it names
        the file.
    """
    options = {"index_col": False, "low_memory": False} | options
    if options.get("engine") == "python":
        del options["low_memory"]
    with named(path), warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            table = pd.read_csv(path, **options)
        except pd.errors.ParserWarning as warning:
            raise ValueError(f"rows of unequal length: {warning}") from None
    if lacking := [column for column in wanted if column not in table.columns]:
        raise ValueError(f"{path}: lacks column {lacking[0]!r}")
    return table
