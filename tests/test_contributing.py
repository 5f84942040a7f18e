"""What the contributors' page shows can be done as it stands: each piece is put into a
copy of the project and used.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "contributing.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```\{code-block\} (\w+)\n:caption: (\S+)\n\n(.*?)```", re.DOTALL)
SECTIONS = {
    title: BLOCK.findall(body)
    for title, body in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    if BLOCK.search(body)
}


@pytest.mark.parametrize("title", SECTIONS)
def test_under_30_lines_of_diff(title):
    changed = [
        line
        for kind, _, text in SECTIONS[title]
        for line in text.splitlines()
        if kind != "diff" or line[:1] in "+-"
    ]
    assert len(changed) < 30


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The library and its data, with all pieces of the page put in;
    notebooks/11_numerals.py as plain Python.
    """
    root = tmp_path_factory.mktemp("checkout")
    for package in ("cchlib", "cchdecide", "cchbook"):
        shutil.copytree(
            ROOT / package, root / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    (root / "data").mkdir()
    for name in ("catalogue.toml", "SHA256SUMS"):
        shutil.copy(ROOT / "data" / name, root / "data" / name)
    for kind, name, text in (block for blocks in SECTIONS.values() for block in blocks):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "diff":
            for hunk in text.split("@@\n"):
                before, after = (
                    "".join(
                        line[1:] for line in hunk.splitlines(True) if line[0] in keep
                    )
                    for keep in (" -", " +")
                )
                assert path.read_text(encoding="utf-8").count(before) == 1, (
                    f"{name} has changed: {before}"
                )
                path.write_text(
                    path.read_text(encoding="utf-8").replace(before, after),
                    encoding="utf-8",
                )
        else:
            with open(
                path, "a" if path.suffix == ".toml" else "x", encoding="utf-8"
            ) as file:
                file.write(("\n" if path.suffix == ".toml" else "") + text)
    mfeat = root / "home" / "mfeat"
    mfeat.mkdir(parents=True)
    draw = np.random.default_rng(0)
    for view, columns in (("fou", 76), ("mor", 6)):
        np.savetxt(mfeat / f"mfeat-{view}", draw.normal(size=(40, columns)))
    return root


def run(root, code, **settings):
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "CCH_BUILD_DIR": str(root / "_build"),
        **settings,
    }
    environment.pop("CCH_DATA", None) if "CCH_DATA" not in settings else None
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_estimator_is_one_of_the_methods(copy):
    """Of exp(x) and y³, jointly Gaussian with correlation 0.8 before: -½ log(1 - 0.64)
    = 0.5108 nats.
    """
    value = run(
        copy,
        """
import numpy as np
from cchlib import criterion, mi
x, e = np.random.default_rng(0).normal(size=(2, 20000))
found = mi.estimate_mi(np.exp(x), (0.8 * x + 0.6 * e) ** 3, "copula")
assert found.ceiling == np.inf and not found.saturated
print(found.value)
criterion.assess(x[:200], e[:200], x[:200] > 0, "copula")""",
    )
    assert float(value) == pytest.approx(0.5108, abs=0.02)


def test_the_data_set_is_read_or_stood_in_for(copy):
    said = run(
        copy,
        """
import os
from cchbook.data import numerals
x1, x2, y, data = numerals.load()
print(data.kind, x1.shape, x2.shape, y[3], y[4])
x1, x2, y, data = numerals.load("embedded")
print(data.kind, x1.shape, x2.shape, len(y))""",
        CCH_DATA=str(copy / "home"),
    )
    assert said.splitlines() == [
        "real (40, 76) (40, 6) 0 1",
        "embedded (1797, 32) (1797, 32) 1797",
    ]


def test_the_chapter_leaves_a_record(copy):
    chapter = (copy / "notebooks" / "11_numerals.py").read_text(encoding="utf-8")
    run(copy, chapter.replace("epochs: int = 100", "epochs: int = 2"))
    (record,) = (copy / "_build" / "runs" / "11_numerals").glob("*/record.json")
    metrics = (record.parent / "metrics.csv").read_text(encoding="utf-8")
    assert metrics.count("accuracy") == 2 and metrics.count("gap") == 1
