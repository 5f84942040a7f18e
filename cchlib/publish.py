"""Other forms of the built book: slides of each chapter, and a PDF of the whole.

Both are made from the pages of the HTML book. There every number that is pasted into the prose, every reference
and every citation has been resolved already, which no converter of notebooks does for MyST; so slides, PDF and book
say the same, to the letter, and no notebook is marked up for slides.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import posixpath
import re
import shutil
from collections.abc import Sequence
from html import escape
from pathlib import Path
from urllib.parse import unquote

from bs4 import BeautifulSoup, Tag

from cchlib import records
from cchlib.build import build, toc_files

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
         "--disable-sync"]
# Of a page of the book, what neither a slide nor paper has a use for.
OFF_PAPER = "a.headerlink, button, .cell_input, .tag_hide-input > details.above-input, .thebe-launch-button, nav"
PICTURES = "img, table, svg, iframe, canvas, figure"
MATHJAX = "mathjax/tex-chtml.js"


# Slides --------------------------------------------------------------------------------------------


def slides(profile: str = "quick", settings: Sequence[str] = ()) -> list[Path]:
    """Slides of each chapter of the book that is a notebook: `slides/NN.html` in the build folder.

    A heading of level 1 or 2 starts a slide; each figure, table or other picture that a cell left is a slide below
    it. Code is left out. The pages work without a network.

    Raises
    ------
    FileNotFoundError
        As for `build`.
    RuntimeError
        The Sphinx build failed, or reveal.js is not installed.
    """
    pages, _ = build(profile, settings)
    out, made = records.build_dir() / "slides", []
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(_reveal() / "dist", out / "_static" / "reveal", ignore=shutil.ignore_patterns("*.map", "*.esm.js", "theme"))
    shutil.copytree(pages / "_static" / "mathjax", out / "_static" / "mathjax")
    for file in toc_files(records.repository()):
        if file.startswith("notebooks/"):
            path = out / f"{Path(file).name.split('_')[0]}.html"
            records.write_text(path, slides_of(pages, file, out))
            made.append(path)
    return made


def slides_of(pages: Path, file: str, out: Path) -> str:
    """The slides of one page, `file` relative to `pages` without suffix, to be put into `out` with its pictures."""
    page = _page(pages, file)
    article = _article(page, pages, file, lambda path: _carried(path, pages, out))
    return SLIDES.format(title=escape(article.h1.get_text()), mathjax=_mathjax(page),
                         slides="\n".join(_stack(blocks) for blocks in _sections(article)))
