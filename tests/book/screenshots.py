"""`make screenshots`: the front page, all chapters and the proofs, at desktop width
(light and dark) and on a phone, below _build/screenshots.
"""

from pathlib import Path

from playwright.sync_api import sync_playwright

from cchbook.publish.slides import FLAGS, find_chromium

HTML = Path("_build/html").absolute()
OUT = Path("_build/screenshots")
CHAPTERS = sorted(path.stem for path in Path("notebooks").glob("*.ipynb"))
PAGES = (
    "book/index",
    "book/proofs",
    "book/cluster",
    *(f"notebooks/{name}" for name in CHAPTERS),
)
LOOKS = {
    "light": ("light", 1280, 900),
    "dark": ("dark", 1280, 900),
    "phone": ("light", 390, 844),
}

OUT.mkdir(parents=True, exist_ok=True)
with sync_playwright() as play:
    browser = play.chromium.launch(executable_path=find_chromium(), args=FLAGS)
    for look, (theme, width, height) in LOOKS.items():
        context = browser.new_context(
            offline=True,
            viewport={"width": width, "height": height},
            color_scheme=theme,
        )
        context.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); "
            f"localStorage.setItem('theme', '{theme}')"
        )
        for name in PAGES:
            page = context.new_page()
            page.goto((HTML / f"{name}.html").as_uri())
            page.wait_for_timeout(2500)
            target = OUT / f"{name.replace('/', '-')}.{look}.png"
            page.screenshot(path=target, full_page=True)
            print(target)
            page.close()
    browser.close()
