"""The whole book, built once at `smoke` in a place of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def cch(*words, build_dir, **environment):
    command = [sys.executable, "-c", "from cchlib.cli import main; main()", *words, "--build-dir", str(build_dir)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment)


@pytest.fixture(scope="session")
def build_dir(tmp_path_factory):
    """A build folder with every notebook run and the book made of them; CCH_TEST_BUILD keeps it between runs."""
    folder = Path(os.environ.get("CCH_TEST_BUILD") or tmp_path_factory.mktemp("book"))
    before = sorted(path.name for path in (ROOT / "_build" / "html").glob("*")) if (ROOT / "_build").exists() else None
    ran = cch("run", "--profile", "smoke", "--workers", "2", build_dir=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    built = cch("build", "--profile", "smoke", build_dir=folder)
    assert built.returncode == 0, built.stdout + built.stderr
    after = sorted(path.name for path in (ROOT / "_build" / "html").glob("*")) if (ROOT / "_build").exists() else None
    assert before == after, "the tests touched _build/html"
    return folder


@pytest.fixture(scope="session")
def html(build_dir):
    return build_dir / "html"


@pytest.fixture(scope="session")
def pages(html):
    """Every page of the book, without Sphinx's own (search, index, code)."""
    found = sorted(p for p in html.rglob("*.html") if p.parent.name in ("book", "notebooks", "api"))
    assert found
    return found
