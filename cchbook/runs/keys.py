"""The key of a run: a hash of all that its page depends on.

That is the notebook's code, its parameters, its data's checksums, the closure of its
imports within our packages with the data files that lie there, the files of the
checkout that it declares to read (metadata `cch.reads`), and the runs whose records it
reads. Imports are found by parsing, never listed by hand; `cch run` holds every run to
it: one that opens another file of the checkout fails (`cchbook.runs.guard`).
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from cchbook.runs import places
from cchbook.runs.notebook import Notebook, source

PACKAGES = ("cchlib", "cchdecide", "cchbook")
NAMED = 5  # of the files that a message lists


# The closure of imports ---------------------------------------------------------------


@dataclass(frozen=True)
class _Module:
    """Names that a module imports or takes from what it imported, all as written out
    ("cchlib.mi.estimate_mi"), and its tables {name: module} of what it loads late.
    """

    names: frozenset[str]
    late: Mapping[str, str]


def closure(notebook: Notebook) -> set[Path]:
    """The files of our packages that a notebook's code depends on: each module that it
    imports, at the top or within a function, the modules that these import, the
    packages around them, and the data files beside them.
    """
    todo = [name for text in _python(notebook) for name in _module(text).names]
    seen: set[str] = set()
    found: set[Path] = set()
    while todo:
        name = todo.pop()
        if name in seen or name.partition(".")[0] not in PACKAGES:
            continue
        seen.add(name)
        parent, _, attribute = name.rpartition(".")
        if parent:
            todo.append(parent)
        if file := _file(name):
            found.add(file)
            package = name if file.name == "__init__.py" else parent
            todo += _module_of(file, package).names
        elif (file := _file(parent)) and (
            late := _module_of(file, parent).late.get(attribute)
        ):
            todo += [f"{parent}.{late}", f"{parent}.{late}.{attribute}", late]
    folders = {file.parent for file in found}
    return found | {file for folder in folders for file in _data_files(folder)}


def _python(notebook: Notebook) -> Iterator[str]:
    """Its cells as Python; one that is none, as by `%%bash`, imports nothing."""
    for cell in notebook.code_cells:
        lines = source(cell).splitlines()
        text = "\n".join(x for x in lines if not x.lstrip().startswith(("%", "!")))
        try:
            ast.parse(text)
        except SyntaxError:
            continue
        yield text


def _file(name: str) -> Path | None:
    """The file of a module of ours, by its full name; None where it is no module."""
    path = places.PACKAGE.parent.joinpath(*name.split("."))
    for file in (path / "__init__.py", path.with_name(f"{path.name}.py")):
        if file.is_file():
            return file
    return None


def _module_of(file: Path, package: str) -> _Module:
    return _parsed(str(file), file.stat().st_mtime_ns, package)


@lru_cache(maxsize=1024)
def _parsed(file: str, modified: int, package: str) -> _Module:
    return _module(Path(file).read_text(encoding="utf-8"), package)


def _module(text: str, package: str = "") -> _Module:
    names: set[str] = set()
    bound: dict[str, str] = {}
    late: dict[str, str] = {}
    nodes = list(_executed(ast.parse(text)))
    for node in nodes:
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
            bound |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                module = importlib.util.resolve_name("." * node.level + module, package)
            full = {a.asname or a.name: f"{module}.{a.name}" for a in node.names}
            names |= {module, *full.values()}
            bound |= full
        elif isinstance(node, ast.Dict):
            pairs = [(ast.unparse(k), v) for k, v in zip(node.keys, node.values) if k]
            late |= {
                ast.literal_eval(key): value.value
                for key, value in pairs
                if key[0] in "'\"" and isinstance(getattr(value, "value", None), str)
            }
    for node in nodes:  # `criterion.assess` after `from cchlib import criterion`
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            of = bound.get(node.value.id, node.value.id)
            names.add(f"{of}.{node.attr}")
    ours = {name for name in names if name.partition(".")[0] in PACKAGES}
    return _Module(frozenset(ours), late)


def _executed(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those that only a type checker sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _executed(node)


def _data_files(folder: Path) -> Iterator[Path]:
    """Files beside the modules of a package, and in its folders that hold no module."""
    for entry in folder.iterdir():
        if entry.name.startswith((".", "__pycache__")):
            continue
        if entry.is_file() and entry.suffix != ".py":
            yield entry
        elif entry.is_dir() and not any(entry.glob("*.py")):
            yield from _data_files(entry)


# What a run depends on ----------------------------------------------------------------


def reads(notebook: Notebook) -> dict[str, Path]:
    """{path in the checkout: file} of what the notebook declares to read
    (`cch.reads`): globs, of which one that names a folder means all below.
    """
    root = places.repository()
    found = {}
    for pattern in notebook.reads if root else ():
        for path in root.glob(pattern):
            files = path.rglob("*") if path.is_dir() else [path]
            found |= {f.relative_to(root).as_posix(): f for f in files if f.is_file()}
    return found


def ingredients(notebook: Notebook) -> dict:
    """All that a run of `notebook` depends on besides its parameters and the runs that
    it comes after.
    """
    sums, entries = {}, {}
    if notebook.datasets:
        from cchbook.data import catalogue  # loads more than a run without data needs

        for name in notebook.datasets:
            sums[name] = catalogue.resolve(name).sha256 or "absent"
            entries[name] = repr(catalogue.get(name))
    declared = reads(notebook)
    recorded = f"data/recorded/{notebook.name}/"
    own = [
        name
        for name in declared
        if name.startswith(recorded) and name.endswith("/record.json")
    ]
    base = places.PACKAGE.parent
    modules = closure(notebook)
    return {
        "notebook": notebook.name,
        "code": _code(notebook),
        "modules": {file.relative_to(base).as_posix(): _sum(file) for file in modules},
        "data": sums,
        "catalogue": entries,
        "files": notebook.files,
        "reads": {name: _sum(file) for name, file in declared.items()},
        "own": {
            name.removesuffix("record.json"): _record(declared[name])["parameters"]
            for name in own
        },
    }


def of_piece(known: Mapping) -> dict:
    """The ingredients of a piece of a run.

    What was recorded earlier is on a page, and so in its key, but changes no number: a
    piece, which is no page, stays what it is when another run is recorded meanwhile.
    """
    kept = {
        name: digest
        for name, digest in known["reads"].items()
        if not name.startswith("data/recorded/")
    }
    return {**known, "reads": kept}


def run_key(
    ingredients: Mapping, parameters: Mapping, after: Iterable[str] = ()
) -> str:
    """The key of a run, 16 hexadecimal digits.

    Parameters
    ----------
    ingredients
        Of `ingredients(notebook)`: computed once for the many runs of one notebook.
    parameters
        All declared parameters with their final values.
    after
        Keys of the runs whose records this run reads.
    """
    named = {
        name: Path(parameters[name])
        for name in ingredients["files"]
        if parameters[name]
    }
    # Data at hand don't matter to a run that was told not to look, nor a run's own
    # result to itself.
    embedded = parameters.get("source") == "embedded"
    own = tuple(
        folder
        for folder, used in ingredients["own"].items()
        if _plain(used) == _plain(parameters)
    )
    parts = {
        **ingredients,
        "data": {
            name: "embedded" if embedded else sha
            for name, sha in ingredients["data"].items()
        },
        "files": {
            name: _sum(path) if path.is_file() else "absent"
            for name, path in named.items()
        },
        "reads": {
            name: sha
            for name, sha in ingredients["reads"].items()
            if not name.startswith(own)
        },
        "own": None,
        "parameters": _plain(parameters),
        "after": sorted(after),
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def guarded() -> list[Path]:
    """The folders whose files count when a run opens them: checkout and packages."""
    root = places.repository()
    base = places.PACKAGE.parent
    return [*([root] if root else []), *(base / name for name in PACKAGES)]


def uncovered(
    opened: Iterable[str],
    notebook: Notebook,
    parameters: Mapping,
    own: Iterable[str | Path] = (),
) -> str:
    """Of the files that a run opened those that its key does not cover, in words, ""
    where it covers all.

    `own` are folders in which it may read what it likes: its working folder, those of
    the runs that it comes after, the data.
    """
    covered = {notebook.path, *closure(notebook), *reads(notebook).values()}
    covered |= {Path(parameters[name]) for name in notebook.files}
    own = [*own]
    if notebook.datasets:
        from cchbook.data import catalogue

        own.append(catalogue.data_home())
        # of which its own entries are in the key
        covered |= {catalogue.shipped(n) for n in ("catalogue.toml", "SHA256SUMS")}
    covered = {os.path.join(os.path.realpath(f.parent), f.name) for f in covered}
    folders = tuple(os.path.join(os.path.realpath(folder), "") for folder in own)
    found = []
    for path in opened:
        if path.endswith(".pyc"):
            path = importlib.util.source_from_cache(path)
        if path not in covered and not path.startswith(folders):
            found.append(path)
    root = os.path.join(os.path.realpath(places.repository() or "/"), "")
    said = [path.removeprefix(root) for path in sorted(found)]
    more = [f"{len(said) - NAMED} more"] if len(said) > NAMED else []
    return ", ".join([*said[:NAMED], *more])


def _plain(value: Any) -> Any:
    """1.0 as 1: a YAML file and a notebook may write the same number differently."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(v) for v in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _code(notebook: Notebook) -> str:
    cells = [source(cell) for cell in notebook.code_cells]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _sum(file: Path) -> str:
    """The checksum of a file; of a notebook that of its code, since prose computes
    nothing.
    """
    stat = file.stat()
    return _summed(str(file), stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _summed(file: str, modified: int, size: int) -> str:
    if file.endswith(".ipynb"):
        return _code(Notebook.read(file))
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _record(file: Path) -> dict:
    return json.loads(file.read_text(encoding="utf-8"))
