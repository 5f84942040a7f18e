"""The plan of the house: imports go down only, notebooks are parameterised and bare."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import cchdecide
import cchlib
from cchbook.runs.notebook import Notebook, source

ROOT = Path(__file__).parents[1]
# In the order of the street: each may import those before it
PACKAGES = ("cchlib", "cchdecide", "cchbook")
MODULES = sorted(
    path for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
# What everything may import
BASICS = {"cchlib.check", "cchlib.ambient", "cchlib.components", "cchlib.names"}
# What a room of cchlib or cchbook may import of its own package, besides itself; rooms
# that are not listed import nothing there. cchdecide is one room.
DOWN = {
    "cchlib.training": {"cchlib.models"},
    "cchlib.mi": {"cchlib.training"},
    "cchlib.criterion": {"cchlib.gaussian", "cchlib.mi"},
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


def is_module(dotted):
    place = ROOT.joinpath(*dotted.split("."))
    return place.is_dir() or place.with_suffix(".py").is_file()


def imports(text):
    """The modules of our packages that a text imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            package = node.module in PACKAGES
            modules = [n if package or is_module(n) else node.module for n in names]
        else:
            continue
        for module in modules:
            if module.partition(".")[0] in PACKAGES:
                yield module


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_imports_go_down(path):
    package, part = path.relative_to(ROOT).with_suffix("").parts[:2]
    if part == "__init__":
        return  # of a package: names, which are loaded when they are asked for
    here = f"{package}.{part}"
    packages = PACKAGES[: PACKAGES.index(package)]
    if package == "cchdecide":
        packages += (package,)
    allowed = {here, *BASICS, *DOWN.get(here, ())}
    for other in map(room, imports(path.read_text(encoding="utf-8"))):
        if other.partition(".")[0] not in packages:
            assert other in allowed, f"{name(path)} imports {other}"


def test_no_modules_import_each_other():
    """By way of any others, wherever the imports stand."""
    below = {}
    for path in MODULES:
        if path.name != "__init__.py":  # which loads names when they are asked for
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            below[module] = set(imports(path.read_text(encoding="utf-8")))
    graphlib.TopologicalSorter(below).prepare()  # raises CycleError


# Problems with a known truth, which NumPy and SciPy are enough for
PANEL = "cchbook.chapters.panel"


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_go_down_too(package):
    """So that a package can be tested without those that build on it."""
    above = PACKAGES[PACKAGES.index(package) + 1 :]
    for path in (ROOT / "tests" / package).rglob("*.py"):
        for module in imports(path.read_text(encoding="utf-8")):
            above_it = module.startswith(above) and module != PANEL
            assert not above_it, f"{name(path)} imports {module}"


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_modules_are_imported_from_where_they_are(path):
    """And not by way of names that a package loads when asked for: what a module needs
    is in its imports.
    """
    for module in imports(path.read_text(encoding="utf-8")):
        if room(module) == module and "." in module:
            assert is_module(module), f"{name(path)} imports {module}"


def loaded_after(code):
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    shown = "print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys\n{shown}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import cchlib, cchdecide, cchbook, cchdecide.cli",
        "import cchlib.gaussian",
        "from cchlib.criterion import slope_test, shrinkage_test",
    ],
)
def test_what_needs_no_torch_loads_none(code):
    heavy = {"torch"}
    if "criterion" not in code:
        heavy |= {"pandas", "matplotlib", "sklearn"}
    assert not loaded_after(code) & heavy


@pytest.mark.parametrize(
    ("code", "above"),
    [
        ("from cchlib import assess, rank_teachers, estimate_mi", {"cchdecide"}),
        ("from cchdecide import collect, decide, pilot; import cchdecide.files", set()),
    ],
)
def test_nothing_of_a_later_package_is_loaded(code, above):
    book = {"cchbook", "papermill", "IPython", "pooch", "sphinx", "h5py"}
    assert not loaded_after(code) & (book | above)


def test_dir_shows_the_design_card():
    card = {"models", "losses", "training", "gaussian", "mi", "criterion", "assess"}
    assert card <= set(dir(cchlib))
    assert {"collect", "decide", "pilot"} <= set(dir(cchdecide))
    for package in (cchlib, cchdecide):
        for public in package.__all__:
            assert getattr(package, public) is not None
        with pytest.raises(AttributeError, match="no attribute 'nothing'"):
            _ = package.nothing


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_notebook_is_bare(path):
    code = [
        cell
        for cell in Notebook.read(path).content["cells"]
        if cell["cell_type"] == "code"
    ]
    assert code and not any(cell["outputs"] or cell["execution_count"] for cell in code)


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
