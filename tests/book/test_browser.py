"""The built pages in headless Chromium with the network off: pictures, formulas,
console, phone width.
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import sync_playwright

from cchbook.publish.slides import FLAGS, find_chromium

CHROMIUM = find_chromium()
pytestmark = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on this machine (Debian: apt-get install chromium)",
)

HERE = Path(__file__).parent
# what is hard to read, with its contrast
FAINT = (HERE / "faint.js").read_text(encoding="utf-8")
# words in tables that don't stand in one line
SPLIT = (HERE / "split_words.js").read_text(encoding="utf-8")


# Code, tables and equations that are wider than their box: a reader sees a part of
# them. Cells that are folded are opened first, which sets their tables.
CUT = """async () => {
    document.querySelectorAll('article details').forEach(node => { node.open = true; });
    await new Promise(done => setTimeout(done, 100));
    const wide =
        'article pre, .cch-table-wrap, article table, mjx-container[display="true"]';
    return [...document.querySelectorAll(wide)]
        .filter(node => node.checkVisibility()
            && node.scrollWidth > node.clientWidth + 2)
        .map(node =>
            [node.scrollWidth, node.clientWidth, node.innerText.slice(0, 80)]); }"""


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visits(browser, pages):
    """Each page seen once at desktop width and once at a phone's: what went wrong, and
    what it measured.
    """
    context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
    found = {}
    for path in pages:
        page, wrong, asked = context.new_page(), [], []
        page.on(
            "console",
            lambda message, wrong=wrong: (
                wrong.append(message.text) if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", timeout=20_000, state="attached")
            page.wait_for_function(
                "document.querySelectorAll('mjx-container').length "
                ">= document.querySelectorAll('.math').length"
            )
        seen = page.evaluate("""() => ({
            broken: [...document.images]
                .filter(i => i.loading !== 'lazy' && !i.naturalWidth).map(i => i.src),
            bad_math: [...document.querySelectorAll('mjx-merror')]
                .map(e => e.textContent),
            math: document.querySelectorAll('.math').length,
            typeset: document.querySelectorAll('mjx-container').length,
            pictures: [...new Set([...document.images].map(i => i.src))]})""")
        page.add_style_tag(content="* { transition: none !important; }")
        page.keyboard.press(
            "Tab"
        )  # the first stop leads past the navigation, and can be seen
        seen["skip"] = page.evaluate("""() => {
            const at = document.activeElement, box = at.getBoundingClientRect();
            return at.getAttribute('href') === '#main-content'
                && box.height > 0 && box.top >= 0; }""")
        for theme in ("light", "dark"):
            page.evaluate(
                "theme => { document.documentElement.dataset.theme = theme; }", theme
            )
            seen[f"faint_{theme}"] = page.evaluate(FAINT)
        seen["cut"] = page.evaluate(CUT)
        seen["split"] = page.evaluate(SPLIT)
        page.set_viewport_size({"width": 390, "height": 844})
        seen["overflow"] = page.evaluate(
            "document.documentElement.scrollWidth "
            "- document.documentElement.clientWidth"
        )
        seen["text"] = page.evaluate(
            "parseFloat(getComputedStyle("
            "document.querySelector('article p') ?? document.body).fontSize)"
        )
        files = [
            Path(unquote(urlsplit(url).path))
            for url in seen["pictures"]
            if url.startswith("file:")
        ]
        seen["bytes"] = sum(
            file.stat().st_size for file in [path, *files] if file.is_file()
        )
        found[path.name] = seen | {
            "wrong": wrong,
            "outside": [
                url for url in asked if not url.startswith(("file:", "data:", "blob:"))
            ],
        }
        page.close()
    context.close()
    return found


def broken(visits, what):
    return {name: seen[what] for name, seen in visits.items() if seen[what]}


def test_no_error_in_the_console(visits):
    assert not broken(visits, "wrong")


def test_pages_ask_for_nothing_outside(visits):
    assert not broken(visits, "outside")


def test_pictures_load(visits):
    assert not broken(visits, "broken")


def test_formulas_are_typeset(visits):
    assert not broken(visits, "bad_math")
    assert sum(seen["math"] for seen in visits.values()) > 100
    assert all(seen["typeset"] >= seen["math"] for seen in visits.values())


def test_nothing_is_cut_off(visits):
    """At 1280 px no code, no table and no equation is wider than its box."""
    assert not broken(visits, "cut")


def test_words_in_tables_stay_whole(visits):
    assert not broken(visits, "split")


def test_readable_on_a_phone(visits):
    assert not {
        name: seen["overflow"] for name, seen in visits.items() if seen["overflow"] > 1
    }
    assert all(seen["text"] >= 14 for seen in visits.values())


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_and_links_stand_out(visits, theme):
    assert not broken(visits, f"faint_{theme}")


def test_the_keyboard_can_skip_the_navigation(visits):
    assert not [name for name, seen in visits.items() if not seen["skip"]]


def test_pages_are_light(visits):
    """The page itself and its pictures; scripts and styles are the book's and come
    once.
    """
    assert not {
        name: seen["bytes"] for name, seen in visits.items() if seen["bytes"] > 6e6
    }


def test_search_finds_the_hypothesis(browser, html):
    page = browser.new_context(offline=True).new_page()
    page.goto((html / "search.html").as_uri() + "?q=complementarity")
    page.wait_for_selector("#search-results li", timeout=20_000)
    assert page.locator("#search-results li").count() >= 1


@pytest.mark.parametrize(
    "asked", ["install", "your own data", "when should I distil", "how many samples"]
)
def test_search_leads_a_newcomer_to_start_here(browser, html, asked):
    page = browser.new_context(offline=True).new_page()
    page.goto((html / "search.html").as_uri() + "?q=" + asked.replace(" ", "+"))
    page.wait_for_selector("#search-results li", timeout=20_000)
    page.wait_for_timeout(500)  # the last results come a moment later
    found = page.locator("#search-results li > a").all_inner_texts()
    assert any(title.startswith("Start here") for title in found[:3]), found[:5]
