"""Imports are light, and old names lead to the new places."""

import importlib
import subprocess
import sys

import pytest

import cchlib


def loaded_after(code: str) -> set[str]:
    """Top-level modules that a fresh interpreter has loaded after `code`."""
    said = (
        f"{code}\nimport sys\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


@pytest.mark.parametrize("code", ["import cchlib", "import cchlib.gaussian"])
def test_closed_forms_load_no_torch(code):
    assert not loaded_after(code) & {"torch", "pandas", "matplotlib", "sklearn"}


def test_the_criterion_loads_nothing_of_the_book():
    heavy = {
        "cchbook",
        "papermill",
        "IPython",
        "pooch",
        "jinja2_time",
        "fsspec",
        "h5py",
    }
    assert not loaded_after("from cchlib import assess; import cchlib.cli") & (
        heavy - {"cchbook", "fsspec"}  # torch brings fsspec, the command names cchbook
    )
    assert "cchbook" not in loaded_after("from cchlib import assess, rank_teachers")


def test_dir_shows_the_design_card():
    card = {"models", "losses", "training", "gaussian", "mi", "criterion", "assess"}
    assert card <= set(dir(cchlib))


@pytest.mark.parametrize(
    "old, new",
    [
        ("cchlib.datasets", "cchbook.data"),
        ("cchlib.datasets.sentiment", "cchbook.data.sentiment"),
        ("cchlib.datasets.image", "cchbook.data.image"),
        ("cchlib.records", "cchbook.runs.records"),
        ("cchlib.batch", "cchbook.runs.batch"),
        ("cchlib.plots", "cchbook.chapters.plots"),
        ("cchlib.mi.panel", "cchbook.chapters.panel"),
        ("cchlib.assess_file", "cchlib.criterion.files"),
    ],
)
def test_old_names_are_the_same_modules(old, new):
    module = importlib.import_module(old)
    assert module is importlib.import_module(new)
    assert module.__name__ == new == module.__spec__.name


def test_old_names_as_attributes():
    from cchlib.datasets.sentiment import load_mosei

    from cchlib import plots, records

    assert (
        records.__name__ == "cchbook.runs.records" and plots.pm(1.0, 0.1) == "1.0 ± 0.1"
    )
    assert load_mosei is importlib.import_module("cchbook.data.sentiment").load_mosei
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = cchlib.nothing
