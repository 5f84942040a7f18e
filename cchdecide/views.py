"""A file of samples that were seen several ways, and `cch study` on it."""

from __future__ import annotations

import json as notation
import zipfile
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cchdecide.tables import one_of
from cchdecide.writing import distinct_places, expanded, written_beside
from cchlib import check
from cchlib.names import listed

if TYPE_CHECKING:
    from cchdecide.study_report import Study


def read_views(path: str | Path) -> dict[str, Any]:
    """The arrays of one file: `views` (a dict), `labels`, `groups`, `split`.

    Raises
    ------
    ValueError
        Not such a file: fewer than two views, no label, lengths that differ, pickled
        objects.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if _read(name)}
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path.name} could not be read: {error}") from None
    views = {k[5:]: v for k, v in arrays.items() if k.startswith("view_")}
    labels = one_of(path, arrays, "label", "labels")
    groups = one_of(path, arrays, "group", "groups")
    if len(views) < 2 or labels is None:
        raise ValueError(
            f"{path.name} must hold at least two arrays view_NAME and one label, got "
            f"{sorted(arrays)}"
        )
    views = {k: v[:, None] if v.ndim == 1 else v for k, v in views.items()}
    if labels.dtype.kind == "f":
        # said to be a regression by its type, however few its values
        labels = labels.reshape(len(labels), -1)
    split = arrays.get("split")
    extras = {"groups": groups, "split": split}
    there = {name: value for name, value in extras.items() if value is not None}
    named = {f"view_{name}": view for name, view in views.items()}
    check.same_length(**named, labels=labels, **there)
    return {"views": views, "labels": labels, **extras}


def _read(name: str) -> bool:
    """Whether an array of a file is read, by its name."""
    roles = ("label", "labels", "group", "groups", "split")
    return name in roles or len(name) > 5 and name.startswith("view_")


def study_file(
    path: str | Path,
    *,
    teacher: str | None = None,
    student: str | None = None,
    html: Path | None = None,
    json: Path | None = None,
    **options: Any,
) -> dict[tuple[str, str], Study]:
    """`study_views` of a file, said in the terminal: the pair named, all ordered pairs
    where none is, or all with the one view that is named.

    `html` and `json` are where the report and the numbers go; `options` those of
    `cchdecide.study`.
    """
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import Progress

    from cchdecide.studies import study_views
    from cchdecide.study_report import save_study

    path = expanded(path)
    html = None if html is None else expanded(html)
    json = None if json is None else expanded(json)
    distinct_places([path], html=html, json=json)
    found = read_views(path)
    views = found["views"]
    for name, view in (("teacher", teacher), ("student", student)):
        if view is not None:
            check.one_of(name, view, views)
    which = [
        pair
        for pair in permutations(views, 2)
        if teacher in (None, pair[0]) and student in (None, pair[1])
    ]
    if not which:
        raise ValueError(
            f"`teacher` and `student` must differ, got {teacher!r} for both"
        )
    for target in (html, json):
        if target is not None and not target.parent.is_dir():
            raise ValueError(f"{target}: there is no folder {target.parent}")
    console = Console(highlight=False)
    with np.load(path) as stored:
        ignored = [name for name in stored.files if not _read(name)]
    if ignored:
        console.print(escape(f"Left alone in the file: {listed(ignored, 8)}"))
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(f"{len(which)} pair(s)", total=1.0)
        studies = study_views(
            views,
            found["labels"],
            groups=found["groups"],
            split=found["split"],
            which=which,
            progress=lambda share: bar.update(task, completed=share),
            **options,
        )
    for one in studies.values():
        console.print(one)
    if html is not None:
        console.print(f"Wrote {save_study(html, studies)}")
    if json is not None:
        text = notation.dumps([one.to_dict() for one in studies.values()], indent=1)
        with written_beside(json) as part:
            part.write_text(text + "\n", encoding="utf-8")
        console.print(f"Wrote {json}")
    return studies
