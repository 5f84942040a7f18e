"""Data sets of the catalogue as Croissant, the JSON-LD in which others' tools read what
a data set is (https://docs.mlcommons.org/croissant): addresses, checksums, formats,
licence, citation, and the columns of tables.
"""

from __future__ import annotations

import csv
import re
import urllib.parse
from pathlib import Path
from typing import Any

import pandas as pd

from cchbook.data import catalogue
from cchbook.data.catalogue import DataSet

VERSION = "http://mlcommons.org/croissant/1.0"
#: formats by how a file's name ends; what ends otherwise is bytes
FORMATS = {
    ".csv": "text/csv",
    ".gz": "application/gzip",
    ".h5": "application/x-hdf5",
    ".jpg": "image/jpeg",
    ".npz": "application/x-npz",
    ".pkl": "application/x-pickle",
    ".zip": "application/zip",
    "Matrix": "text/tab-separated-values",
}
#: a licence as the catalogue says it -> its page, where it is a known one
LICENCES = {
    "MIT": "https://spdx.org/licenses/MIT.html",
    "CC BY-SA 3.0": "https://spdx.org/licenses/CC-BY-SA-3.0.html",
}
#: what a column holds, by the kind of its NumPy type; others are text
TYPES = {"b": "sc:Boolean", "i": "sc:Integer", "f": "sc:Float"}
ROWS = 1000  # of a table, by which its columns' types are told
# the specification's, word by word: readers compare it
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}


def describe(name: str) -> dict[str, Any]:
    """The Croissant description of a set of the catalogue.

    Files with an address of their own are named by it, others (those of an archive, and
    those of which no public address is known) by their path below the data folder: put
    there, the description finds them. Checksums are the published ones; of a set
    without them they are those of the copy at hand. Columns are told of the tables that
    are here and have a line of names.

    Parameters
    ----------
    name : str
        One of the catalogue's names.

    Returns
    -------
    dict
        To be written as JSON.

    Raises
    ------
    ValueError
        An unknown name, or a set without published checksums that is not here, as
        Croissant knows no file without one.
    """
    entry = catalogue.get(name)
    checksums = _checksums(entry)
    files = [
        _file(catalogue._owner(entry, file), file, checksums[file])
        for file in entry.files
    ]
    description = f"{entry.title}. {entry.note}"
    if entry.sha256:
        description += (
            f" The sha256 of the sorted lines “sha256  path” of its files is "
            f"{entry.sha256}."
        )
    about: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": entry.name,
        "description": description,
        "license": LICENCES.get(entry.licence, entry.licence),
        "citeAs": _reference(entry.citation),
        "distribution": files,
    }
    if entry.address:
        about["url"] = entry.address[0]
    home = catalogue.data_home()
    tables = [_record_set(file, home / file) for file in entry.files]
    if any(tables):
        about["recordSet"] = [table for table in tables if table]
    return about


def _checksums(entry: DataSet) -> dict[str, str]:
    """{file: sha256}."""
    known = catalogue._checksums()
    if all(file in known for file in entry.files):
        return {file: known[file] for file in entry.files}
    if missing := entry.missing():
        raise ValueError(
            "`name` must be a set with published checksums, or one that is here, got "
            f"{entry.name!r}: {missing[0]} is not in {catalogue.data_home()}"
        )
    return catalogue._file_checksums(entry)


def _file(owner: DataSet, file: str, sha256: str) -> dict[str, Any]:
    """One file: where it is from, its format, its checksum."""
    base = Path(file).name
    if base in owner.at:
        address = owner.at[base]
    elif owner.how == "link":
        address = owner.address[0]
    elif owner.how == "files":
        address = owner.address[0] + urllib.parse.quote(base)
    else:
        address = file
    return {
        "@type": "cr:FileObject",
        "@id": file,
        "name": base,
        "contentUrl": address,
        "encodingFormat": _format(base),
        "sha256": sha256,
    }


def _format(base: str) -> str:
    endings = [ending for ending in FORMATS if base.endswith(ending)]
    return FORMATS[endings[0]] if endings else "application/octet-stream"


def _record_set(file: str, path: Path) -> dict[str, Any] | None:
    """The columns of a table that is here; None where there is no line of names."""
    if path.suffix != ".csv" or not path.is_file():
        return None
    with open(path, encoding="utf-8", newline="") as stream:
        names = next(csv.reader(stream), [])
    if len(names) < 2 or any(_is_number(name) for name in names):
        return None
    rows = pd.read_csv(path, nrows=ROWS, index_col=False)
    fields = []
    for name, column in zip(names, rows.columns):
        # a first column without a name holds the names of the rows,
        # which can't be asked
        if name:
            kind = TYPES.get(rows[column].dtype.kind, "sc:Text")
            fields.append(_field(file, name, kind))
    return {
        "@type": "cr:RecordSet",
        "@id": f"{file}/table",
        "name": Path(file).stem,
        "field": fields,
    }


def _field(file: str, column: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"{file}/table/{column}",
        "name": column,
        "dataType": kind,
        "source": {"fileObject": {"@id": file}, "extract": {"column": column}},
    }


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _reference(key: str) -> str:
    """The BibTeX entry of a reference."""
    package = Path(__file__).resolve().parents[1]
    places = (package / "_data", package.parent / "book")
    (file, *_) = [
        p / "references.bib" for p in places if (p / "references.bib").exists()
    ]
    found = re.search(
        rf"^@\w+\{{{re.escape(key)},.*?^\}}",
        file.read_text(encoding="utf-8"),
        flags=re.MULTILINE | re.DOTALL,
    )
    if found is None:
        raise ValueError(f"`citation` must be a key of {file}, got {key!r}")
    return found[0]
