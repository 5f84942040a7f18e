"""pyproject.toml, constraints.txt, environment.yml and the installation
say the same.
"""

import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))[
    "project"
]
# `latentmi` wants NumPy < 2: never installed with the others
EXTRAS = {
    name: lines
    for name, lines in PROJECT["optional-dependencies"].items()
    if name != "latentmi"
}
REQUIRED = [
    Requirement(line)
    for group in (PROJECT["dependencies"], *EXTRAS.values())
    for line in group
]


def pins():
    """[(name, version)] of constraints.txt; a line that is no exact pin fails."""
    found = []
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        line = line.partition("#")[0].strip()
        if line:
            name, exact, number = line.partition(";")[0].strip().partition("==")
            assert exact and "*" not in number, (
                f"constraints.txt: {line!r} is not name==version"
            )
            found.append((canonicalize_name(name), Version(number)))
    return found


def test_each_package_is_pinned_once():
    names = [name for name, _ in pins()]
    assert len(names) == len(set(names))
    assert canonicalize_name(PROJECT["name"]) not in names


@pytest.mark.parametrize(
    "requirement", REQUIRED, ids=lambda requirement: requirement.name
)
def test_requirement_is_pinned_within_its_bounds_and_installed_so(requirement):
    pinned = dict(pins()).get(canonicalize_name(requirement.name))
    assert pinned is not None, (
        f"{requirement.name} of pyproject.toml is missing from constraints.txt"
    )
    assert requirement.specifier.contains(pinned, prereleases=True), (
        f"{pinned} is not {requirement.specifier}"
    )
    try:
        installed = Version(version(requirement.name))
    except PackageNotFoundError:
        return  # an extra that this installation was made without
    assert installed.public == pinned.public


def test_all_that_is_installed_with_them_is_pinned_too():
    """The closure on this version of Python and this platform: what pip would take
    without asking the lock.
    """
    locked, waiting, seen = (
        dict(pins()),
        [(r.name, frozenset(r.extras)) for r in REQUIRED],
        set(),
    )
    while waiting:
        name, extras = waiting.pop()
        if (name := canonicalize_name(name), extras) in seen:
            continue
        seen.add((name, extras))
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            continue  # an extra that this installation was made without
        assert name in locked, (
            f"{name} {version(name)} is installed and not in constraints.txt"
        )
        for requirement in map(Requirement, lines):
            if requirement.marker is None or any(
                requirement.marker.evaluate({"extra": e}) for e in extras or {""}
            ):
                waiting.append((requirement.name, frozenset(requirement.extras)))
    assert len(seen) > len(REQUIRED)


def test_conda_installs_the_same():
    parts = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))[
        "dependencies"
    ]
    (python,) = [
        Requirement(part)
        for part in parts
        if isinstance(part, str) and part.startswith("python")
    ]
    assert python.specifier == SpecifierSet(PROJECT["requires-python"])
    assert "pip" in parts
    (through_pip,) = [part["pip"] for part in parts if isinstance(part, dict)]
    assert "-c constraints.txt" in through_pip
    (install,) = [line for line in through_pip if line.startswith("-e ")]
    assert Requirement("cchlib" + install.removeprefix("-e .")).extras == set(EXTRAS)


def test_citation_names_this_version():
    from cchlib import __version__

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert (citation["version"], citation["license"]) == (
        __version__,
        PROJECT["license"],
    )


def test_workflow_runs_what_the_readme_promises():
    workflow = yaml.safe_load(
        (ROOT / ".github" / "workflows" / "book.yml").read_text(encoding="utf-8")
    )
    commands = {
        step["run"]
        for job in workflow["jobs"].values()
        for step in job["steps"]
        if "run" in step
    }
    assert {"make test", "make book"} <= commands
    for number in workflow["jobs"]["test"]["strategy"]["matrix"]["python-version"]:
        assert SpecifierSet(PROJECT["requires-python"]).contains(number)
