"""The whole book, built once at `smoke` in a place of its own."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def cch(*words, build_dir, **environment):
    command = [
        sys.executable,
        "-c",
        "from cchdecide.cli import main; main()",
        *words,
        "--build-dir",
        str(build_dir),
    ]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | environment
    )


@pytest.fixture(scope="session")
def build_dir(shared_build):
    """A build folder with every notebook run and the book made of them, made by the
    first worker that wants it.
    """
    folder = shared_build
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _published()
        for words in (
            ("run", "--profile", "smoke", "--workers", "2"),
            ("build", "--profile", "smoke"),
        ):
            done = cch(*words, build_dir=folder)
            assert done.returncode == 0, done.stdout + done.stderr
        assert _published() == before, "the tests touched _build/html"
    return folder


def _published():
    """What lies in the reader's own build: names and times."""
    return sorted(
        (path.name, path.stat().st_mtime_ns)
        for path in (ROOT / "_build" / "html").glob("*")
    )


@pytest.fixture(scope="session")
def html(build_dir):
    return build_dir / "html"


@pytest.fixture(scope="session")
def pages(html):
    """Every page of the book, without Sphinx's own (search, index, code)."""
    found = sorted(
        p for p in html.rglob("*.html") if p.parent.name in ("book", "notebooks", "api")
    )
    assert found
    return found
