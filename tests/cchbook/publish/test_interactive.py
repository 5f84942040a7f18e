"""Interactive figures: what they draw is what the library computes, and they work in a
browser without a network.
"""

import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import sync_playwright

from cchbook.data import image
from cchbook.publish import interactive
from cchbook.publish.slides import FLAGS, find_chromium

CHROMIUM = find_chromium()
in_browser = pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on this machine (Debian: apt-get install chromium)",
)

RNG = np.random.default_rng(0)
DIGITS = np.round(255 * RNG.random((8, 28, 28)) ** 3) / 255
PATCHES = np.round(255 * RNG.random((8, 28, 28))) / 255
CONDITIONS = pd.DataFrame(
    [(a, g) for a in (0.2, 0.5) for g in (0.0, 1.5, 3.5)], columns=["alpha", "gamma"]
)
ACCURACY = CONDITIONS.assign(
    student=0.8 + CONDITIONS.alpha / 10,
    student_kd=0.9 - CONDITIONS.gamma / 10,
    student_kd_se=0.004,
    gain_se=0.003,
)
MI = CONDITIONS.assign(i_ts=2 - CONDITIONS.gamma / 2, i_sl=1.1, gap_se=0.1)
BIAS = pd.DataFrame(
    [
        (p, m, n, t, t - b / np.sqrt(n), 0.01)
        for p, t in (("Gaussian", 0.5), ("images", 0.693))
        for m, b in (("latent", 3.0), ("ksg", 6.0))
        for n in (100, 1000, 10_000)
    ],
    columns=["problem", "method", "n", "truth", "estimate", "std_error"],
)

ARMS = pd.DataFrame(
    {
        "set": ["films", "films", "plants"],
        "pair": ["a → b", "b → a", "c → d"],
        "regime": ["all labels", "all labels", "20% of the labels"],
        "unit": ["accuracy", "accuracy", "squared error over Var y"],
        "scores": [[0.5, 0.6, 0.65], [0.7, None, 0.71], [0.4, 0.3, 0.2]],
        "control": [1, 0, 1],
        "gain": [0.05, 0.01, 0.1],
        "std_error": [0.01, 0.02, 0.03],
        "verdict": ["helps", "undecided", "helps"],
        "gap": [-0.2, 0.3, 1.0],
        "saturated": [False, False, True],
    }
)


def figures():
    return {
        "mnistm": interactive.mnistm_explorer(DIGITS, PATCHES, ACCURACY, MI),
        "arms": interactive.arms_explorer(ARMS, ["student", "itself", "distilled"]),
        "bias": interactive.bias_explorer(BIAS),
    }


@pytest.mark.parametrize("name", ["mnistm", "bias", "arms"])
def test_light_self_contained_and_labelled(name):
    html = figures()[name]
    assert len(html.encode()) < (40_000 if name == "mnistm" else 15_000)
    assert not re.search(
        r"(?:src|href)\s*=|url\(|import\s|fetch\(|https?://(?!www\.w3\.org/2000/svg)",
        html,
    )

    class Labels(HTMLParser):
        inside, controls = 0, 0

        def handle_starttag(self, tag, attributes):
            self.inside += tag == "label"
            self.controls += tag in ("input", "select")
            assert tag not in ("input", "select") or self.inside, (
                "a control without a label"
            )

        def handle_endtag(self, tag):
            self.inside -= tag == "label"

    labels = Labels()
    labels.feed(html)
    assert (
        labels.controls >= 2
        and 'aria-live="polite"' in html
        and 'role="group" aria-label=' in html
    )


def test_text_of_a_table_cannot_end_the_script():
    html = interactive.bias_explorer(
        BIAS.replace({"problem": {"Gaussian": "</script><b>"}})
    )
    assert html.count("</script>") == 1


@pytest.mark.parametrize(
    "change, named",
    [
        (dict(digits=DIGITS[:, :14]), "digits"),
        (dict(digits=2 * DIGITS), "digits"),
        (dict(patches=PATCHES[:3]), "patches"),
        (dict(accuracy_table=ACCURACY.drop(columns="student")), "student"),
        (dict(mi_table=MI[1:]), "`mi_table`"),
        (dict(mi_table=MI.assign(i_ts=np.nan)), "mi_table.i_ts"),
        (dict(threshold=2), "threshold"),
        (
            dict(
                digits=np.tile(DIGITS, (10, 1, 1)), patches=np.tile(PATCHES, (10, 1, 1))
            ),
            "bytes",
        ),
    ],
)
def test_bad_arguments_of_the_explorer(change, named):
    good = dict(digits=DIGITS, patches=PATCHES, accuracy_table=ACCURACY, mi_table=MI)
    with pytest.raises(ValueError, match=named):
        interactive.mnistm_explorer(**(good | change))


@pytest.mark.parametrize(
    "frame, named",
    [
        (BIAS.drop(columns="truth"), "truth"),
        (BIAS[:0], "rows"),
        (pd.concat([BIAS, BIAS]), "one row a"),
        (BIAS.assign(truth=np.arange(len(BIAS)) / 7), "one truth a problem"),
        (BIAS.assign(estimate=np.inf), "estimate"),
    ],
)
def test_bad_frames(frame, named):
    with pytest.raises(ValueError, match=named):
        interactive.bias_explorer(frame)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Both figures on one page, opened with the network off; leaving it asserts that
    nothing went wrong.
    """
    path, wrong = tmp_path_factory.mktemp("live") / "page.html", []
    head = "<!DOCTYPE html><html lang='en'><meta charset='utf-8'><title>t</title>"
    path.write_text(head + "".join(figures().values()), encoding="utf-8")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(offline=True).new_page()
        page.on(
            "console",
            lambda message: (
                wrong.append(message.text) if message.type == "error" else None
            ),
        )
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.goto(path.as_uri())
        yield page
        browser.close()
    assert not wrong


def move(page, name, value):
    page.evaluate(
        """([name, value]) => {
        const input = document.querySelector(`[name=${name}]`); input.value = value;
        input.dispatchEvent(new Event('input', { bubbles: true })); }""",
        [name, value],
    )


def pixels(page, who):
    """What a canvas shows, as (8, 28, 28): 8 pictures in a row with a pixel between
    them.
    """
    shown = np.array(
        page.evaluate(
            """who => { const c = document.querySelector('canvas.' + who);
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]; }""",
            who,
        )
    )
    row = shown.reshape(28, -1, 4)[:, :, 0]
    return np.stack([row[:, 29 * k : 29 * k + 28] for k in range(8)])


@in_browser
@pytest.mark.parametrize(
    "alpha, gamma", [(0.2, 0.0), (0.2, 1.5), (0.75, 3.5), (1.0, 0.3)]
)
def test_the_browser_blends_and_blurs_as_the_library_does(page, alpha, gamma):
    move(page, "alpha", alpha)
    move(page, "gamma", gamma)
    assert (
        np.abs(
            pixels(page, "student") - 255 * image.blend(DIGITS, PATCHES, alpha)
        ).max()
        <= 1
    )
    assert (
        np.abs(pixels(page, "teacher") - 255 * image.gaussian_blur(DIGITS, gamma)).max()
        <= 1
    )


@in_browser
def test_the_nearest_condition_is_told(page):
    says = page.locator(".says").first
    move(page, "alpha", 0.24)
    move(page, "gamma", 0.3)
    assert (
        "α = 0.2, γ = 0. " in says.inner_text()
        and "2.000 nats > I(H₂;Y) = 1.100 nats, a difference of +0.900 ± 0.100: the "
        "hypothesis says distil"
        in says.inner_text()
    )
    assert (
        "0.820 without distillation, 0.900 ± 0.004 with it (+0.080 ± 0.003)"
        in says.inner_text()
    )
    move(page, "gamma", 3.4)
    assert (
        "γ = 3.5. " in says.inner_text()
        and "0.250 nats ≤" in says.inner_text()
        and "(−0.270 ± 0.003)" in says.inner_text()
    )
    # a gap within two standard errors says nothing
    move(page, "gamma", 1.6)
    assert "+0.150 ± 0.100: the hypothesis can't tell" in says.inner_text()


@in_browser
def test_the_keyboard_moves_it(page):
    page.locator("[name=gamma]").focus()
    before, text = (
        pixels(page, "teacher"),
        page.locator("[name=gamma]").get_attribute("aria-valuetext"),
    )
    page.keyboard.press("Home")
    assert (pixels(page, "teacher") != before).any()
    assert page.locator("[name=gamma]").get_attribute("aria-valuetext") == "0.0" != text
    assert (
        page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        == "solid"
    )


@in_browser
def test_bias_is_estimate_minus_truth(page):
    says = page.locator(".says").last
    told = (
        "n = 10000: ksg 0.440 ± 0.010 nats, 0.060 ± 0.010 too low; "
        "latent 0.470 ± 0.010 nats, 0.030 ± 0.010 too low."
    )
    assert told in says.inner_text()
    before = page.locator("svg").last.inner_html()
    page.locator("[name=problem]").select_option("images")
    page.locator("[name=method]").select_option("ksg")
    move(page, "n", 0)
    assert (
        "information: 0.693 nats. "
        "At n = 100: ksg 0.093 ± 0.010 nats, 0.600 ± 0.010 too low."
        in says.inner_text()
    )
    assert page.locator("svg").last.inner_html() != before


@in_browser
def test_every_pair_can_be_chosen(page):
    figure = page.get_by_label("Arms explorer")
    says = figure.locator(".says")
    assert "Over itself distilling gains +0.050 ± 0.010: helps." in says.inner_text()
    assert "gap is −0.200 nats: the hypothesis says do not distil" in says.inner_text()
    figure.locator("[name=pair]").select_option("b → a")
    cells = figure.locator("td").all_inner_texts()
    assert cells == ["student", "0.700", "distilled", "0.710"]
    figure.locator("[name=set]").select_option("plants")
    assert "at its ceiling" in says.inner_text()


@in_browser
def test_readable_in_both_themes_and_on_a_phone(page):
    contrast = """() => [...document.querySelectorAll(
        '.cch-live .says, .cch-live .views p, .cch-live label')].map(e => {
        const light = c => { const [r, g, b] = c.match(/[\\d.]+/g)
            .map(v => (v /= 255) <= 0.04045 ? v/12.92 : ((v + 0.055)/1.055)**2.4);
            return 0.2126*r + 0.7152*g + 0.0722*b; };
        const style = e => getComputedStyle(e), [p, q] = [light(style(e).color),
            light(style(e.closest('.cch-live')).backgroundColor)];
        return (Math.max(p, q) + 0.05)/(Math.min(p, q) + 0.05); })"""
    page.set_viewport_size({"width": 390, "height": 844})
    for theme in ("light", "dark"):
        page.emulate_media(color_scheme=theme)
        assert min(page.evaluate(contrast)) >= 4.5
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
