"""Other forms of the built book: slides of each chapter, and a PDF of the whole.

Both are made from the pages of the HTML book. There every number that is pasted into
the prose, every reference and every citation has been resolved already, which no
converter of notebooks does for MyST: slides, PDF and book say the same to the letter,
and no notebook has to be marked up for slides.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from bs4 import BeautifulSoup, Tag

from cchbook.publish.build import build, build_chapters, toc_files
from cchbook.publish.build import chapters as chapters_of
from cchbook.runs import records
from cchdecide.writing import written_beside

TEMPLATES = Path(__file__).parent / "templates"
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NOT_PRINTED = (
    "a.headerlink, button, nav, "
    "details.above-input, details.below-input, article > script"
)
# on slides: code, solutions, what is folded of a table
NOT_SHOWN = ".cell_input, .solution, .toctree-wrapper, .cch-more"
PICTURES = "img, table, svg, canvas, iframe"
PAGE_NUMBER = (
    '<div style="font-size: 8px; width: 100%; text-align: center">'
    '<span class="pageNumber"></span></div>'
)
BOOK_PAPER = {
    "format": "A4",
    "outline": True,
    "tagged": True,
    "display_header_footer": True,
    "margin": {"top": "18mm", "bottom": "18mm", "left": "17mm", "right": "17mm"},
    "header_template": "<span></span>",
    "footer_template": PAGE_NUMBER,
}
SLIDE_PAPER = {"prefer_css_page_size": True}
CROWDED = 900  # characters of text on one slide; more go on below


# Slides -------------------------------------------------------------------------------


def find_chromium() -> str | None:
    """The browser's program, or None where this machine has none; start it with
    `FLAGS`.
    """
    return next(filter(None, map(shutil.which, CHROMIUM)), None)


def slides(
    profile: str = "quick",
    settings: Sequence[str] = (),
    runs: str | None = None,
    chapters: Sequence[str] = (),
) -> list[Path]:
    """Slides of each chapter that is a notebook: `slides/NN.html` beside the book's
    pages, or in the build folder for the `chapters` named, which need no network.

    A heading of level 1 or 2 starts a slide; what does not fit on it, and each figure
    or table, goes below. Code and solutions are left out. Of the whole book where no
    `chapters` are named: it is built first where it has to be (see `build`), and links
    lead to its pages. Else of these alone, from their own runs.

    Raises
    ------
    FileNotFoundError
        A notebook has no complete run.
    ValueError
        There is no such chapter.
    RuntimeError
        The Sphinx build failed, or reveal.js is not installed.
    """
    if not chapters:
        pages, _ = build(profile, settings, runs=runs)
        return of_book(pages)
    with tempfile.TemporaryDirectory(prefix="cch-") as scratch:
        pages = Path(scratch).resolve() / "html"
        build_chapters(chapters, pages, profile, settings, runs)
        return _written(pages, records.build_dir() / "slides", chapters, linked=False)


def of_book(pages: Path) -> list[Path]:
    """Slides of every chapter of the book at `pages`, in its folder `slides`; those
    that are there are of these pages, since a book takes the place of the last whole.
    """
    names = chapters_of(records.repository())
    made = [pages / "slides" / _file_of(name) for name in names]
    if not all(path.is_file() for path in made):
        _written(pages, pages / "slides", names, linked=True)
    return made


def _file_of(chapter: str) -> str:
    return f"{chapter.split('_')[0]}.html"


def _written(
    pages: Path, out: Path, chapters: Sequence[str], linked: bool
) -> list[Path]:
    """Slides of these pages in `out`, with all that they show."""
    package = Path(_package("sphinx_revealjs"))  # which brings reveal.js
    reveal = package / "_static" / "revealjs" / "dist"
    (out / "_static").mkdir(parents=True, exist_ok=True)
    for name in ("reveal.js", "reveal.css"):
        shutil.copy(reveal / name, out / "_static")
    if not linked:
        mathjax = pages / "_static" / "mathjax"
        shutil.copytree(mathjax, out / "_static" / "mathjax", dirs_exist_ok=True)
    made = []
    for name in chapters:
        path = out / _file_of(name)
        text = slides_of(pages, f"notebooks/{name}", out, linked)
        records.write_text(path, text)
        made.append(path)
    return made


def slides_of(pages: Path, file: str, out: Path, linked: bool = True) -> str:
    """The slides of one page; where the book stays (`linked`) its pictures, MathJax and
    other pages are where they lie, else they are copied, and links are left out.
    """

    def beside(path: Path) -> str:
        return Path(os.path.relpath(path, out)).as_posix()

    def picture(path: Path) -> str:
        if linked:
            return beside(path)
        place = Path("_static") / path.relative_to(pages)
        (out / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, out / place)
        return place.as_posix()

    def link(path: Path, anchor: str) -> str | None:
        return beside(path) + anchor if linked else None

    static = beside(pages / "_static") if linked else "_static"
    page = _read(pages, file)
    article = _article(
        page, pages / f"{file}.html", picture, link, f"{NOT_PRINTED}, {NOT_SHOWN}"
    )
    mathjax = "\n".join(map(str, _mathjax(page, f"{static}/{{}}".format)))
    shown = "\n".join(_stack(heading, blocks) for heading, blocks in _slides(article))
    return _template("slides.html").format(
        title=escape(article.h1.get_text()), mathjax=mathjax, slides=shown
    )


def _slides(article: Tag) -> Iterator[tuple[str, list[Tag]]]:
    """What stands below each heading of level 1 or 2, without the sections below it
    that start slides of their own.
    """
    for section in article.find_all("section"):
        heading = section.find(["h1", "h2"], recursive=False)
        if heading is not None:
            yield heading.decode_contents(), list(_blocks(section))


def _blocks(section: Tag) -> Iterator[Tag]:
    for block in section.find_all(True, recursive=False):
        if block.name == "section" and block.find("h2", recursive=False) is None:
            yield from _blocks(block)
        elif block.name not in ("section", "h1", "h2") and (
            block.get_text(strip=True) or block.select_one(PICTURES)
        ):
            # within a slide a section would be a slide of its own
            for inner in block.find_all("section"):
                inner.name = "div"
            yield block


def _stack(heading: str, blocks: list[Tag]) -> str:
    """One slide, or several below each other: a picture is alone with its caption, text
    is broken where it crowds.
    """
    groups, size = [[]], 0
    for block in blocks:
        picture = block.select_one(
            PICTURES
        ) is not None or block.name in PICTURES.split(", ")
        length = CROWDED if picture else len(block.get_text())
        if groups[-1] and size + length > CROWDED:
            groups.append([])
            size = 0
        groups[-1].append(str(block))
        size += length
    below = [
        f"<section><h2>{heading}</h2>\n" + "\n".join(group) + "</section>"
        for group in groups
    ]
    return (
        below[0] if len(below) == 1 else "<section>" + "\n".join(below) + "</section>"
    )


def print_slides(path: Path) -> Path:
    """The slides in a file as a PDF beside it, one slide a page, printed by Chromium.

    Raises
    ------
    FileNotFoundError
        No Chromium on this machine.
    RuntimeError
        As `pdf`.
    """
    chromium = _chromium()
    _package("playwright")
    out = path.with_suffix(".pdf")
    with written_beside(out) as part:
        _print(chromium, f"{path.as_uri()}?view=print", part, **SLIDE_PAPER)
    return out


# PDF ----------------------------------------------------------------------------------


def pdf(
    profile: str = "quick", settings: Sequence[str] = (), runs: str | None = None
) -> Path:
    """The whole book as one document with bookmarks and links within: `book.pdf` in the
    build folder.

    Headless Chromium prints it, once MathJax has typeset every formula; no network is
    needed. The book is built first where it has to be (see `build`).

    Raises
    ------
    FileNotFoundError
        No Chromium on this machine, or a notebook has no complete run.
    RuntimeError
        The Sphinx build failed, Playwright is not installed, a formula was not typeset
        or a picture is missing.
    """
    chromium = _chromium()
    _package("playwright")
    pages, _ = build(profile, settings, runs=runs)
    source = records.build_dir() / "book.print.html"
    out = records.build_dir() / "book.pdf"
    records.write_text(source, one_page(pages, toc_files(records.repository())))
    try:
        with written_beside(out) as part:
            _print(chromium, source.as_uri(), part, **BOOK_PAPER)
    finally:
        source.unlink()
    return out


def one_page(pages: Path, files: Sequence[str]) -> str:
    """All pages in one, each an article that starts a sheet of paper.

    Links between them become links within. Identifiers that several pages have get the
    page's name.
    """
    read = {file: _read(pages, file) for file in files}
    where = {(pages / f"{file}.html").resolve(): file for file in files}
    ids = {
        file: {tag["id"] for tag in page.article.find_all(id=True)}
        for file, page in read.items()
    }
    shared = {
        name
        for name, count in Counter(
            name for names in ids.values() for name in names
        ).items()
        if count > 1
    }

    def here(file: str, name: str) -> str:
        return (
            f"{file.replace('/', '-')}--{name}" if name in shared or not name else name
        )

    def link(path: Path, anchor: str) -> str | None:
        return f"#{here(where[path], anchor[1:])}" if path in where else None

    articles, contents = [], []
    for file, page in read.items():
        article = _article(page, pages / f"{file}.html", Path.as_uri, link, NOT_PRINTED)
        for tag in article.find_all(id=True):
            tag["id"] = here(file, tag["id"])
        for details in article.find_all("details"):
            details["open"] = ""
        article["id"] = here(file, "")
        articles.append(str(article))
        contents.append(
            f'<li><a href="#{article["id"]}">{article.h1.decode_contents()}</a></li>'
        )
    first = read[files[0]]
    styles = first.head.find_all("link", rel="stylesheet")
    for style in styles:
        style["href"] = _beside(pages / f"{files[0]}.html", style["href"]).as_uri()
    head = "\n".join(
        map(
            str,
            [
                *styles,
                *_mathjax(first, lambda path: (pages / "_static" / path).as_uri()),
            ],
        )
    )
    return _template("book.html").format(
        title=escape(first.h1.get_text().rstrip("#")),
        head=head,
        first=articles[0],
        contents="\n".join(contents[1:]),
        rest="\n".join(articles[1:]),
    )


def _chromium() -> str:
    found = find_chromium()
    if found is None:
        raise FileNotFoundError(
            f"no Chromium on this machine ({', '.join(CHROMIUM)}), "
            "which prints the PDF; install it (Debian: apt-get install chromium)"
        )
    return found


def _print(chromium: str, address: str, out: Path, **paper: Any) -> None:
    """Print a page to `out`, once MathJax has typeset its formulas."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
        page = browser.new_context(offline=True, color_scheme="light").new_page()
        page.set_default_timeout(300_000)
        page.goto(address, wait_until="load")
        page.evaluate("window.MathJax?.startup.promise")  # a promise is waited for
        page.evaluate("window.laidOut")  # of slides
        left = page.evaluate("""() => {
            const count = what => document.querySelectorAll(what).length;
            return Math.max(0, count('.math') - count('mjx-container'))
                + count('mjx-merror'); }""")
        missing = page.evaluate(
            "[...document.images].filter(i => !i.naturalWidth)"
            ".map(i => i.src.slice(0, 200))"
        )
        if left or missing:
            raise RuntimeError(
                f"no PDF was made: {left} formulas were not typeset, "
                f"{len(missing)} pictures are missing {' '.join(missing)}"
            )
        page.pdf(path=out, print_background=True, **paper)
        browser.close()


# Pages --------------------------------------------------------------------------------


def _read(pages: Path, file: str) -> BeautifulSoup:
    return BeautifulSoup(
        (pages / f"{file}.html").read_text(encoding="utf-8"), "html.parser"
    )


def _article(
    page: BeautifulSoup,
    path: Path,
    picture: Callable[[Path], str],
    link: Callable[[Path, str], str | None],
    dropped: str,
) -> Tag:
    """The text of the page at `path`, with addresses of pictures and of other pages as
    `picture` and `link` say.

    A link for which `link` has no answer keeps its text only.
    """
    article = page.article
    for tag in article.select(dropped):
        tag.decompose()
    for tag in article.find_all(src=True):
        tag.attrs.pop("loading", None)
        if _local(tag["src"]):
            tag["src"] = picture(_beside(path, tag["src"]))
    for tag in article.find_all("a", href=True):
        if _local(tag["href"]):
            target, hash_, anchor = tag["href"].partition("#")
            address = link(
                _beside(path, target) if target else path.resolve(), hash_ + anchor
            )
            if address is None:
                tag.unwrap()
            else:
                tag["href"] = address
    return article


def _mathjax(page: BeautifulSoup, address: Callable[[str], str]) -> list[Tag]:
    """The scripts in a page's head that set MathJax up and load it; `address` of its
    path below `_static`.
    """
    scripts = [
        tag
        for tag in page.head.find_all("script")
        if "MathJax" in tag.text or "mathjax" in tag.get("src", "")
    ]
    for tag in scripts:
        if tag.get("src"):
            tag["src"] = address(re.sub(r"^.*?_static/|\?.*$", "", tag["src"]))
    return scripts


def _local(address: str) -> bool:
    return not re.match(r"[a-z][a-z0-9+.-]*:|//", address)


def _beside(path: Path, address: str) -> Path:
    """The file that an address on the page at `path` means."""
    return (path.parent / unquote(re.sub(r"[?#].*", "", address))).resolve()


def _package(name: str) -> str:
    """Where an optional package is installed."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise RuntimeError(
            f"{name} is not installed; python -m pip install 'cchlib[book]' brings it"
        )
    return os.path.dirname(spec.origin)


def _template(file: str) -> str:
    """A page with fields, for `str.format`."""
    return (TEMPLATES / file).read_text(encoding="utf-8")
