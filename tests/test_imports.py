"""The plan of the house: imports go down only, files stay short, notebooks are parameterised and bare."""

import ast
import re
from pathlib import Path

import pytest
import yaml

from cchlib.notebook import Notebook, source

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "cchlib").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What a room may import of cchlib besides itself and the private helpers (`_check`, …). Rooms that
# are not listed import nothing: gaussian, losses, models, training, datasets, plots, metrics, …
DOWN = {
    "mi": {"training"},
    "criterion": {"mi", "training"},
    "rivals": {"gaussian", "mi"},
    "scorecard": {"records", "plots", "rivals"},
    "replication": {"records", "scorecard"},
    "records": {"notebook", "datasets"},
    "job": {"notebook", "store", "records"},
    "batch": {"notebook", "store", "records", "job"},
    "build": {"notebook", "store", "records", "job", "batch"},
    "publish": {"records", "build"},
    "assess_file": {"criterion", "mi", "plots"},
    "cli": {"records", "batch", "build", "publish", "assess_file", "datasets"},
}
TEXT = {".py", ".md", ".ipynb", ".toml", ".yaml", ".yml", ".csv", ".json", ".txt", ".cff", ".bib", ".sh", ""}
UNSHIPPED = {".git", ".venv", "_build", "__pycache__", ".pytest_cache", ".hypothesis", ".ipynb_checkpoints",
             ".jupyter_cache"}
SOMEONES_MACHINE = re.compile(r"(?<![\w.~-])/(?:work|root|Users|private)/\w|/home/(?!jovyan|runner)\w|[A-Z]:\\Users")


def name(path):
    return path.relative_to(ROOT).as_posix()


def room(module):
    """`cchlib.mi.ksg` -> `mi`."""
    return module.split(".")[1] if "." in module else ""


def imported(path):
    """The rooms of cchlib that a module imports, wherever in it the import stands."""
    package = name(path.parent).replace("/", ".").split(".")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(package[:len(package) - node.level + 1]) if node.level else ""
            module = ".".join(part for part in (above, node.module) if part)
            modules = [f"{module}.{alias.name}" for alias in node.names] if module == "cchlib" else [module]
        else:
            continue
        yield from (room(module) for module in modules if module.partition(".")[0] == "cchlib")


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path):
    here = path.relative_to(ROOT / "cchlib").parts[0].removesuffix(".py")
    found = {other for other in imported(path) if other and other != here}
    private = {other for other in found if other.startswith("_")}
    assert found - private <= DOWN.get(here, set())


def test_the_plan_has_no_circle():
    below = dict(DOWN)
    while below:
        free = {room for room, others in below.items() if not others & below.keys()}
        assert free, f"these rooms import each other: {sorted(below)}"
        below = {room: others for room, others in below.items() if room not in free}


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_file_fits_in_the_head(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_bare(path):
    code = [cell for cell in Notebook.read(path).content["cells"] if cell["cell_type"] == "code"]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_parameters_are_declared_with_type_and_comment(path):
    for parameter, declared in Notebook.read(path).parameters.items():
        assert declared.comment, f"{parameter} has no comment"
        assert declared.accepts(declared.default), f"{parameter}: {declared.type} is {declared.default!r}"


@pytest.mark.parametrize("profile", ["paper", "smoke"])
@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_profile_sets_declared_parameters_only(path, profile):
    declared = Notebook.read(path).parameters
    text = (path.parent / "profiles" / f"{path.stem}.{profile}.yaml").read_text(encoding="utf-8")
    for parameter, value in (yaml.safe_load(text) or {}).items():
        assert parameter in declared, f"{parameter} is not in the parameters cell"
        assert declared[parameter].accepts(value), f"{parameter}: {declared[parameter].type} is given {value!r}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_the_experiment_is_not_hidden_in_functions(path):
    for cell in Notebook.read(path).code_cells:
        for node in ast.walk(ast.parse(re.sub(r"^[%!].*", "pass", source(cell), flags=re.M))):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert node.end_lineno - node.lineno < 10, f"{node.name} has more than a few lines"


def test_every_profile_has_its_notebook():
    known = {path.stem for path in NOTEBOOKS}
    found = {path.name.split(".")[0] for path in (ROOT / "notebooks" / "profiles").glob("*.yaml")}
    assert found == known


def test_no_path_of_someones_machine():
    found = [f"{name(path)}:{number}: {match.group()}" for path in ROOT.rglob("*")
             if path.suffix in TEXT and not UNSHIPPED & set(path.relative_to(ROOT).parts) and path.is_file()
             for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
             for match in SOMEONES_MACHINE.finditer(line) if path != Path(__file__)]
    assert not found, "\n".join(found)
