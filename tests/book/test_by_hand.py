"""The tools that readers know, without `cch`: papermill on a notebook, jupyter-book on
the checkout.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cchbook.runs import records

sys.path.insert(0, str(Path(__file__).parent))
from conftest import ROOT  # noqa: E402

TOC = """\
format: jb-book
root: book/glossary
chapters:
  - file: notebooks/01_gaussian_theory
"""


@pytest.fixture
def checkout(tmp_path):
    """A checkout as `make` leaves one, with an environment in it that holds documents
    and notebooks of others.
    """
    copy = tmp_path / "checkout"
    shutil.copytree(
        ROOT,
        copy,
        ignore=lambda folder, names: {
            n for n in names if n.startswith(".") or n == "_build"
        },
    )
    (copy / ".venv").mkdir()
    foreign = json.loads(
        (ROOT / "notebooks" / "01_gaussian_theory.ipynb").read_text(encoding="utf-8")
    )
    foreign["metadata"]["kernelspec"]["name"] = "python2"
    (copy / ".venv" / "foreign.ipynb").write_text(json.dumps(foreign), encoding="utf-8")
    return copy


def run(checkout, *words):
    environment = os.environ | {"CCH_BUILD_DIR": str(checkout / "_build")}
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_papermill(checkout):
    run(
        checkout,
        "papermill",
        "notebooks/01_gaussian_theory.ipynb",
        "out.ipynb",
        "-f",
        "notebooks/profiles/01_gaussian_theory.smoke.yaml",
    )
    executed = json.loads((checkout / "out.ipynb").read_text(encoding="utf-8"))
    outputs = [out for cell in executed["cells"] for out in cell.get("outputs", ())]
    assert outputs and not [out for out in outputs if out["output_type"] == "error"]
    (folder,) = (checkout / "_build" / "runs" / "01_gaussian_theory").iterdir()
    assert len(records.read(folder).metrics) > 10


def test_jupyter_book(checkout):
    """One chapter, executed with its defaults;
    nothing is read that is not of the book.
    """
    (checkout / "_toc.yml").write_text(TOC, encoding="utf-8")
    done = run(checkout, "jupyter-book", "build", ".")
    page = (
        checkout / "_build" / "html" / "notebooks" / "01_gaussian_theory.html"
    ).read_text(encoding="utf-8")
    assert page.count("cch-table-wrap") > 3 and "traceback" not in page
    assert "foreign" not in done.stdout + done.stderr
