"""The first code cell of every chapter: what Colab has to install.

`python -m cchbook.publish.colab` writes it into the notebooks of the checkout; a test
holds them equal to it.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from cchbook.runs import records
from cchbook.runs.files import write_text
from cchbook.runs.notebook import source, tags

CELL = """import os
import sys

# Colab only: install, then start Python again; run all cells again after that
if "google.colab" in sys.modules:
    if not os.path.isdir("/content/cch"):
        os.system(
            "git clone -q --depth 1 "
            "{address} /content/cch && "
            f"{{sys.executable}} -m pip install -q -e '/content/cch[book]'"
        )
        os.kill(os.getpid(), 9)
    os.chdir("/content/cch")"""


def cell(root: Path) -> str:
    """The cell's text, with the repository's address of `_config.yml`."""
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    return CELL.format(address=config["repository"]["url"])


def write(path: Path, text: str) -> None:
    """Put the cell in the place of the notebook's cell tagged `install`."""
    content = json.loads(path.read_text(encoding="utf-8"))
    for each in content["cells"]:
        if "install" in tags(each) and source(each) != text:
            each["source"] = text.splitlines(keepends=True)
            written = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
            write_text(path, written)


if __name__ == "__main__":
    here = records.repository()
    if here is None:
        raise SystemExit("no checkout here; its folder is wanted")
    for notebook in sorted((here / "notebooks").glob("*.ipynb")):
        write(notebook, cell(here))
