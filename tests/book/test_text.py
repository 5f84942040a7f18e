"""The text of the pages, before and after they are built."""

import json
import os
import re
from pathlib import Path

import pytest

from cchbook.runs.notebook import Notebook, source

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "book").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")])
CODE = re.compile(r"^(`{3,})(python|bash|\{raw\}|\{math\}).*?^\1", re.M | re.S)
MATH = re.compile(r"\$\$.*?\$\$|\$[^$]*\$|`[^`]*`", re.S)
TWICE = re.compile(r"\b([A-Za-z]+)\s+\1\b", re.I)


def prose(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = Notebook.read(path).content["cells"]
        text = "\n\n".join(source(c) for c in cells if c["cell_type"] == "markdown")
    return MATH.sub("·", CODE.sub("", text))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_no_word_stands_twice(path):
    assert not [match[0] for match in TWICE.finditer(prose(path))]


def test_a_word_that_stands_twice_is_found():
    assert TWICE.search("in Background: The\nThe scorecard")


def glued(build_dir, name):
    """What a built chapter keeps for the text of all pages, as text."""
    (path,) = (build_dir / "runs" / name).glob(f"*/{name}.ipynb")
    values = {}
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            key = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for kind, value in output.get("data", {}).items():
                if key and kind.endswith("text/plain"):
                    values[key] = "".join(value)
    return values


@pytest.mark.skipif(
    "CCH_DATA" not in os.environ,
    reason="without real data chapters tell of stand-ins, which the scorecard leaves",
)
def test_pages_count_the_same(build_dir):
    """Conditions, and how many of them distilling helps and harms: the sums of the
    chapters are the scorecard's, which the front page cites.
    """
    names = ("conditions", "helps", "harms")
    sums = dict.fromkeys(names, 0)
    synthetic = glued(build_dir, "02_synthetic")
    for name in names:
        for reading in ("appendix_b", "scaled"):
            sums[name] += int(synthetic[f"{name}_{reading}"])
    images = glued(build_dir, "03_image")
    for name, there in zip(names, ("conditions", "clear_helped", "clear_harmed")):
        sums[name] += int(images[there])
    for chapter in ("04_sentiment", "05_cancer", "06_fusion"):
        found = glued(build_dir, chapter)
        for name in names:
            sums[name] += int(found[name])
    whole = glued(build_dir, "09_scorecard")
    assert sums == {name: int(whole[f"recorded_{name}"]) for name in names}
