"""The plan of the house: imports go down only, notebooks are parameterised and bare."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from cchbook.publish import colab
from cchbook.runs.notebook import Notebook, source, tags

ROOT = Path(__file__).parents[1]
PACKAGES = ("cchlib", "cchbook")
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What a room may import besides itself, `cchlib.check` and, from cchbook, all of
# cchlib. Rooms that are not listed import nothing.
DOWN = {
    "cchlib.training": {"cchlib.models"},
    "cchlib.mi": {"cchlib.training"},
    "cchlib.criterion": {
        "cchlib.gaussian",
        "cchlib.losses",
        "cchlib.mi",
        "cchlib.training",
    },
    "cchlib.cli": {"cchlib.criterion"},
    "cchbook.runs": {"cchbook.data"},
    "cchbook.chapters": {"cchbook.runs", "cchbook.data"},
    "cchbook.publish": {"cchbook.runs", "cchbook.data", "cchbook.chapters"},
    "cchbook.cli": {"cchbook.runs", "cchbook.publish", "cchbook.data"},
}
TEXT = {
    ".py",
    ".md",
    ".ipynb",
    ".toml",
    ".yaml",
    ".yml",
    ".csv",
    ".json",
    ".txt",
    ".cff",
    ".bib",
    ".sh",
    "",
}
UNSHIPPED = {
    ".git",
    ".venv",
    "_build",
    "__pycache__",
    ".pytest_cache",
    ".hypothesis",
    ".ruff_cache",
    ".ipynb_checkpoints",
    ".jupyter_cache",
}
SOMEONES_MACHINE = re.compile(
    r"(?<![\w.~-])/(?:work|root|Users|private)/\w"
    r"|/home/(?!jovyan|runner)\w|[A-Z]:\\Users"
)


def name(path):
    return path.relative_to(ROOT).as_posix()


def room(module):
    """`cchlib.mi.ksg` -> `cchlib.mi`."""
    return ".".join(module.split(".")[:2])


def imported(path):
    """The rooms that a module imports, wherever in it the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name(path)}: a relative import"
            modules = [node.module]
            if node.module in PACKAGES:
                modules = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for module in modules:
            if module.partition(".")[0] in PACKAGES:
                yield room(module)


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path):
    parts = path.relative_to(ROOT).with_suffix("").parts[:2]
    here = ".".join(parts)
    package = parts[0]
    allowed = {here, "cchlib.check", *DOWN.get(here, ())}
    for other in imported(path):
        if package == "cchbook" and other.startswith("cchlib"):
            continue
        # the one place where the book is added to the command
        if path == ROOT / "cchlib" / "cli.py" and other == "cchbook.cli":
            continue
        assert other in allowed, f"{name(path)} imports {other}"


def test_the_plan_has_no_circle():
    below = dict(DOWN)
    while below:
        free = {room for room, others in below.items() if not others & below.keys()}
        assert free, f"these rooms import each other: {sorted(below)}"
        below = {room: others for room, others in below.items() if room not in free}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_bare(path):
    code = [
        cell
        for cell in Notebook.read(path).content["cells"]
        if cell["cell_type"] == "code"
    ]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_the_install_cell_is_the_generated_one(path):
    (install,) = [c for c in Notebook.read(path).code_cells if "install" in tags(c)]
    assert source(install) == colab.cell(ROOT)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_parameters_are_declared_with_type_and_comment(path):
    for parameter, declared in Notebook.read(path).parameters.items():
        assert declared.comment, f"{parameter} has no comment"
        assert declared.accepts(declared.default), (
            f"{parameter}: {declared.type} is {declared.default!r}"
        )


@pytest.mark.parametrize("profile", ["paper", "smoke"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_profile_sets_declared_parameters_only(path, profile):
    declared = Notebook.read(path).parameters
    text = (path.parent / "profiles" / f"{path.stem}.{profile}.yaml").read_text(
        encoding="utf-8"
    )
    for parameter, value in (yaml.safe_load(text) or {}).items():
        assert parameter in declared, f"{parameter} is not in the parameters cell"
        assert declared[parameter].accepts(value), (
            f"{parameter}: {declared[parameter].type} is given {value!r}"
        )


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_the_experiment_is_not_hidden_in_functions(path):
    for cell in Notebook.read(path).code_cells:
        for node in ast.walk(
            ast.parse(re.sub(r"^[%!].*", "pass", source(cell), flags=re.M))
        ):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                statements = sum(isinstance(n, ast.stmt) for n in ast.walk(node))
                # one idea a statement: a dense five-liner is no shorter
                assert statements <= 15, f"{node.name} has more than a few statements"


def test_every_profile_has_its_notebook():
    known = {path.stem for path in NOTEBOOKS}
    found = {
        path.name.split(".")[0]
        for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")
    }
    assert found == known


def test_no_path_of_someones_machine():
    found = [
        f"{name(path)}:{number}: {match.group()}"
        for path in ROOT.rglob("*")
        if path.suffix in TEXT
        and not UNSHIPPED & set(path.relative_to(ROOT).parts)
        and path.is_file()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in SOMEONES_MACHINE.finditer(line)
        if path != Path(__file__)
    ]
    assert not found, "\n".join(found)
