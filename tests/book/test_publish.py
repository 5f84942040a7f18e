"""Slides and PDF: made from the pages of the book, complete, and at home without a
network.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from playwright.sync_api import sync_playwright

from cchbook.publish import slides as publish

sys.path.insert(0, str(Path(__file__).parent))
from conftest import ROOT, cch  # noqa: E402

needs_chromium = pytest.mark.skipif(
    publish.find_chromium() is None,
    reason="no Chromium on this machine (Debian: apt-get install chromium)",
)
HEAD = (
    "<script>window.MathJax = {}</script>"
    '<script src="../_static/mathjax/tex-chtml.js?v=1"></script>'
    '<link rel="stylesheet" href="../_static/cch.css?v=2">'
)
PAGE = f"""<html><head>{HEAD}</head><body><article class="bd-article"><section id="one">
<h1>One<a class="headerlink" href="#one">#</a></h1>
<p>Claim, <a href="../book/two.html#found">see there</a>,
<a href="https://example.org">far</a>.</p>
<div class="cell"><div class="cell_input">secret_code()</div></div>
<section id="data"><h2>Data</h2><p>Text.</p>
<section id="deep"><h3>Deep</h3><p>Detail.</p></section>
<div class="exercise"><section><p>Try this.</p></section></div>
<div class="cell"><details class="above-input">secret_code()</details>
<div class="cell_output"><img src="../_images/a%20b.png" alt="x"></div></div>
</section><section id="found"><h2>Found</h2><p>{"Much. " * 200}</p><p>More.</p>
</section></section></article></body>"""
OTHER = f"""<html><head>{HEAD}</head><body><article><section id="two"><h1>Two</h1>
<section id="found"><h2>Found</h2>
<a href="#found">here</a> <a href="../notebooks/01_one.html">one</a>
<a href="../genindex.html">index</a>
</section></section></article>"""


@pytest.fixture
def small(tmp_path):
    pages = tmp_path.resolve() / "html"
    for name, text in (
        ("notebooks/01_one.html", PAGE),
        ("book/two.html", OTHER),
        ("_images/a b.png", "picture"),
    ):
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_text(text)
    return pages


def test_headings_start_slides_and_code_is_left_out(small, tmp_path):
    soup = BeautifulSoup(
        publish.slides_of(small, "notebooks/01_one", tmp_path / "slides"), "html.parser"
    )
    slides = soup.select_one(".slides").find_all("section", recursive=False)
    assert [slide.h2.get_text(strip=True) for slide in slides] == [
        "One",
        "Data",
        "Found",
    ]
    assert [len(slide.find_all("section")) for slide in slides] == [
        0,
        2,
        2,
    ]  # picture, and what crowds, below
    assert "Detail." in slides[1].section.get_text() and "secret_code" not in str(soup)
    assert "Try this." in slides[1].section.get_text()
    assert (tmp_path / "slides" / soup.img["src"]).resolve().read_text() == "picture"
    assert slides[0].a["href"] == "../html/book/two.html#found"
    assert [script["src"] for script in soup.head.find_all("script", src=True)] == [
        "../html/_static/mathjax/tex-chtml.js"
    ]


def test_links_between_pages_become_links_within_one(small):
    soup = BeautifulSoup(
        publish.one_page(small, ["notebooks/01_one", "book/two"]), "html.parser"
    )
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids)) and {
        "one",
        "notebooks-01_one--found",
        "book-two--found",
    } <= set(ids)
    links = {
        a.get_text(): a["href"]
        for a in soup.article.find_all("a") + soup.find_all("article")[1].find_all("a")
    }
    assert links == {
        "see there": "#book-two--found",
        "far": "https://example.org",
        "here": "#book-two--found",
        "one": "#notebooks-01_one--",
    }
    assert {link[1:] for link in links.values() if link[0] == "#"} <= set(ids)
    assert soup.link["href"] == (small / "_static/cch.css").as_uri()


def test_a_missing_chromium_is_named(build_dir):
    said = cch("pdf", "--profile", "smoke", build_dir=build_dir, PATH="")
    assert (
        said.returncode == 2
        and "Chromium" in said.stderr
        and "Traceback" not in said.stderr
    )


@needs_chromium
def test_slides_of_each_chapter(build_dir, html):
    made = cch("slides", "--profile", "smoke", build_dir=build_dir)
    assert made.returncode == 0, made.stderr
    notebooks = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    files = {name: html / "slides" / f"{name[:2]}.html" for name in notebooks}
    assert made.stdout.split() == [str(path) for path in files.values()]
    for path in files.values():
        assert not re.search(
            r"(?:src|href)=\"(?:https?:)?//[^\"]*\.(?:js|css)|cell_input",
            path.read_text(),
        )
    name, wrong, asked = "02_synthetic", [], []
    with sync_playwright() as play:
        browser = play.chromium.launch(
            executable_path=publish.find_chromium(), args=publish.FLAGS
        )
        page = browser.new_context(offline=True).new_page()
        page.on(
            "console",
            lambda message: (
                wrong.append(message.text) if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(files[name].as_uri())
        page.wait_for_selector(".reveal.ready", timeout=60_000)
        chapter = BeautifulSoup(
            (html / f"notebooks/{name}.html").read_text(), "html.parser"
        ).article
        headings = chapter.select("section > h1, section > h2")
        assert page.evaluate("Reveal.getHorizontalSlides().length") == len(headings)
        assert (
            page.evaluate("[...document.images].every(image => image.naturalWidth)")
            and page.locator("img").count()
        )
        assert (
            page.locator("mjx-container").count() >= page.locator(".math").count() > 0
        )
        before = page.locator("section.present h2:visible").first.inner_text()
        page.keyboard.press("ArrowRight")
        assert page.locator("section.present h2:visible").first.inner_text() != before
        browser.close()
    assert not wrong and all(
        url.startswith(("file:", "data:", "blob:")) for url in asked
    )


@needs_chromium
def test_slides_of_one_chapter_need_its_run_alone(build_dir, tmp_path):
    name = "02_synthetic"
    shutil.copytree(build_dir / "runs" / name, tmp_path / "runs" / name)
    made = cch("slides", name, "--pdf", "--profile", "smoke", build_dir=tmp_path)
    assert made.returncode == 0, made.stderr
    page, paper = tmp_path / "slides" / "02.html", tmp_path / "slides" / "02.pdf"
    assert made.stdout.split() == [str(page), str(paper)]
    # the book is not there for a link to lead to, and other chapters' numbers are open
    text = page.read_text(encoding="utf-8")
    assert "html/notebooks" not in text and "The Gaussian theory" in text
    count = len(re.findall(rb"/Type\s*/Page\b", paper.read_bytes()))
    assert count >= len(re.findall("<section>", text)) / 2
    assert not (tmp_path / "html").exists()


@needs_chromium
def test_one_command_prints_the_whole_book(build_dir, pages):
    made = cch("pdf", "--profile", "smoke", build_dir=build_dir)
    assert made.returncode == 0, made.stderr
    assert (
        made.stdout.strip() == str(build_dir / "book.pdf")
        and not (build_dir / "book.print.html").exists()
    )
    pdf = (build_dir / "book.pdf").read_bytes()
    assert pdf.startswith(b"%PDF-") and pdf.rstrip().endswith(b"%%EOF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) >= len(pages)
    assert b"/Outlines" in pdf and b"file://" not in pdf and len(pdf) < 60e6
