"""The wheel alone, outside of a checkout and without the book's extras, answers."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
# Extras of the book that an import of cchlib must not need
FORBIDDEN = ["papermill", "IPython", "pooch", "h5py", "jinja2", "psutil", "filelock"]
BLOCK = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {forbidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's files, unpacked as pip would, in a folder of their own."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*build, "--quiet", "-w", str(folder), str(ROOT)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("cchlib-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(installed, code, cwd):
    """Run `code` with the wheel in front and the book's extras out of reach."""
    environment = os.environ | {"PYTHONPATH": str(installed)}
    environment.pop("CCH_ROOT", None)
    done = subprocess.run(
        [sys.executable, "-c", BLOCK.format(forbidden=FORBIDDEN) + code],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )
    return done


def test_what_the_wheel_holds(installed):
    assert (installed / "cchlib" / "py.typed").is_file()
    assert (installed / "cchdecide" / "worth.csv").is_file()
    assert (installed / "cchbook" / "_data" / "catalogue.toml").is_file()
    assert list((installed / "cchbook" / "_data" / "paper").glob("*.csv"))


def test_from_cchlib_import_assess(installed, tmp_path):
    code = """
import cchlib, numpy as np
from cchlib import assess
assert "site" in cchlib.__file__, cchlib.__file__
x = np.random.default_rng(0).normal(size=(300, 3))
y = x[:, 0] + 1e-3
print(assess(x, x + x[:, ::-1], y, "gaussian").verdict)
"""
    done = run(installed, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[0] in ("distil", "do", "undecided")


def test_cch_assess(installed, tmp_path):
    rng = np.random.default_rng(0)
    student = rng.normal(size=(200, 2))
    np.savez(
        tmp_path / "mine.npz",
        teacher=student + 0.1 * rng.normal(size=(200, 2)),
        student=student,
        labels=(rng.normal(size=200) > 0).astype(int),
    )
    code = """
import sys
sys.argv = ["cch", "assess", "mine.npz", "--method", "gaussian"]
from cchdecide.cli import main
main()
"""
    done = run(installed, code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "distil" in done.stdout


def test_the_book_says_what_it_needs(installed, tmp_path):
    code = """
import sys
sys.argv = ["cch", "data", "list"]
from cchdecide.cli import main
main()
"""
    done = run(installed, code, tmp_path)
    assert done.returncode == 1
    assert "pip install 'cchlib[book]'" in done.stderr
    assert "Traceback" not in done.stderr
