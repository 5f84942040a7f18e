"""The built pages in headless Chromium with the network off: pictures, formulas, console, phone width."""

import shutil

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine (Debian: apt-get install chromium)")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync"]


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def visits(browser, pages):
    """Each page seen once at desktop width and once at a phone's: what went wrong, and what it measured."""
    context = browser.new_context(offline=True, viewport={"width": 1200, "height": 900})
    found = {}
    for path in pages:
        page, wrong, asked = context.new_page(), [], []
        page.on("console", lambda message, wrong=wrong: wrong.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error, wrong=wrong: wrong.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_load_state("load")
        if page.locator(".math").count():
            page.wait_for_selector("mjx-container", timeout=20_000, state="attached")
            page.wait_for_function("document.querySelectorAll('mjx-container').length >= document.querySelectorAll('.math').length")
        seen = page.evaluate("""() => ({
            broken: [...document.images].filter(i => i.loading !== 'lazy' && !i.naturalWidth).map(i => i.src),
            bad_math: [...document.querySelectorAll('mjx-merror')].map(e => e.textContent),
            math: document.querySelectorAll('.math').length,
            typeset: document.querySelectorAll('mjx-container').length})""")
        page.set_viewport_size({"width": 390, "height": 844})
        seen["overflow"] = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        seen["text"] = page.evaluate("parseFloat(getComputedStyle(document.querySelector('article p') ?? document.body).fontSize)")
        found[path.name] = seen | {"wrong": wrong, "outside": [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]}
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


def test_readable_on_a_phone(visits):
    assert not {name: seen["overflow"] for name, seen in visits.items() if seen["overflow"] > 1}
    assert all(seen["text"] >= 14 for seen in visits.values())


def test_search_finds_the_hypothesis(browser, html):
    page = browser.new_context(offline=True).new_page()
    page.goto((html / "search.html").as_uri() + "?q=complementarity")
    page.wait_for_selector("#search-results li", timeout=20_000)
    assert page.locator("#search-results li").count() >= 1
