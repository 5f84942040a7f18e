"""The interactive diagram computes what the library computes."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from cchbook.publish.slides import FLAGS, find_chromium
from cchlib import gaussian

PAGE = Path(__file__).parents[2] / "book" / "_static" / "phase.html"
CHROMIUM = find_chromium()
# σ12, σ13, σ23: blue, sand, orange, pink and grey on the map
POINTS = {
    (0.6, 0.5, 0.55): "both",
    (0.3, 0.9, 0.4): "shrinks",
    (0.38, 0.9, 0.4): "missed",
    (-0.6, 0.3, 0.5): "misled",
    (0.6, 0.9, 0.8): "never",
}


def white(s12, s13, s23):
    eye, one = np.eye(20), np.full(20, 20**-0.5)
    return gaussian.JointGaussian(eye, s12 * eye, s13 * one, eye, s23 * one, 1.0)


def moments_with_zero(model, w1, kappa):
    """Products of the errors of student, imitator and a student that says 0."""
    own = gaussian.risk_coefficients(model, w1, kappa)
    nothing = gaussian.risk_coefficients(model, 0 * w1, kappa)
    keep = min(kappa, 1.0)
    length = model.w_star @ model.S22 @ model.w_star
    towards = model.teacher_moments(w1).with_student
    imitator_zero = length - keep * towards
    return np.array(
        [
            [own.delta, own.beta, nothing.beta],
            [own.beta, own.alpha, imitator_zero],
            [nothing.beta, imitator_zero, length],
        ]
    )


@pytest.fixture(scope="module")
def page():
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(PAGE.as_uri())
        yield page
        browser.close()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("kappa", [0.4, 3.0, 100.0])
def test_formulas_of_the_diagram(page, point, kappa):
    model = white(*point)
    w1 = model.teacher_star
    s12, s13, s23 = point
    call = f"coefficients({s12}, {s13}, {s23}, {kappa})"
    shown = page.evaluate(f"cchPhase.{call}")
    true = gaussian.risk_coefficients(model, w1, kappa)
    assert [shown[k] for k in ("alpha", "beta", "delta")] == pytest.approx(
        list(true), rel=1e-9
    )
    moments = moments_with_zero(model, w1, kappa)
    weights = gaussian.best_mixture(moments)
    together = page.evaluate(f"cchPhase.together(cchPhase.{call})")
    assert together == pytest.approx(weights @ moments @ weights, rel=1e-7)
    pair = moments[np.ix_([0, 2], [0, 2])]
    weights = gaussian.best_mixture(pair)
    shrunk = page.evaluate(f"cchPhase.shrunk(cchPhase.{call})")
    assert shrunk == pytest.approx(weights @ pair @ weights, rel=1e-7)
    assert (together < shrunk * (1 - 1e-9)) == gaussian.beats_shrinkage(model, w1)


def test_colours_of_the_diagram(page):
    for (s12, s13, s23), kind in POINTS.items():
        assert page.evaluate(f"cchPhase.kind({s12}, {s13}, {s23}, 3)") == kind
    # Figure 1's line: the colour changes at σ12 = σ13σ23 = 0.36, then at the CCH's 0.4
    kinds = [
        page.evaluate(f"cchPhase.kind({s12}, 0.9, 0.4, 3)")
        for s12 in (0.1, 0.359, 0.361, 0.399, 0.401, 0.6)
    ]
    assert kinds == ["shrinks", "shrinks", "missed", "missed", "both", "both"]


# κ, r, and whole numbers that give them for 20 features: n = 20κ, m = (r − 1)n
WITH_PAIRS = {(2.5, 3.0): (50, 100), (0.8, 5.0): (16, 64), (1.2, 1.5): (24, 12)}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("rows", WITH_PAIRS)
def test_formulas_of_the_diagram_with_pairs(page, point, rows):
    model = white(*point)
    w1 = model.teacher_star
    n, m = WITH_PAIRS[rows]
    arguments = ", ".join(map(str, (*point, *rows)))
    for lam in (0.0, 0.3, 4.0, np.inf):
        said = str(lam).replace("inf", "Infinity")
        shown = page.evaluate(f"cchPhase.view({arguments}).risk({said})")
        true = gaussian.pairs_excess_risk(model, w1, lam, n, m, kind="proportional")
        assert shown == pytest.approx(true, rel=1e-9)
    best = page.evaluate(f"1 / cchPhase.view({arguments}).best")
    true = gaussian.optimal_pairs_lambda(model, w1, n, m, kind="proportional")
    assert best == pytest.approx(1 / true, rel=2e-3)
    view = f"cchPhase.view({arguments})"
    low, shrunk, together = page.evaluate(
        f"(v => [v.low, v.shrunk, v.together])({view})"
    )
    scales = np.linspace(0, 4, 401)[:, None] * w1
    lams = np.r_[0.0, np.geomspace(1e-4, 1e4, 600), np.inf][:, None]
    searched = gaussian.pairs_excess_risk(
        model, scales, lams, n, m, kind="proportional"
    )
    assert shrunk == pytest.approx(searched[:, 0].min(), rel=1e-3)
    assert low == pytest.approx(searched[:, 100].min(), rel=1e-3)
    assert together <= min(shrunk, low) * (1 + 1e-9)
    if searched.min(0).argmin() < 400:
        assert together == pytest.approx(searched.min(), rel=1e-3)
    beats = page.evaluate(
        f"cchPhase.beyond({point[0]}, {point[1]}, {point[2]}, {rows[1]})"
    )
    assert beats == gaussian.beats_shrinkage_with_pairs(model, w1, n, m)


def test_boundary_moves_away_from_the_cch_with_pairs(page):
    # Figure 1's teacher turns at σ12 = 0.36 / (0.84 r + 0.16), the CCH at 0.4
    for r in (1, 2, 10):
        turn = 0.36 / (0.84 * r + 0.16)
        kinds = [
            page.evaluate(f"cchPhase.kind({s12}, 0.9, 0.4, 3, {r})")
            for s12 in (turn - 0.001, turn + 0.001, 0.399, 0.401)
        ]
        assert kinds == ["shrinks", "missed", "missed", "both"]

    # and the slider draws it: the solid line goes left, the dashed ones stay
    def drawn():
        return [
            page.locator(f"#cch-phase path.{name}").first.get_attribute("d")
            for name in ("beyond-line", "cch-line")
        ]

    def slide(value):
        page.locator("#cch-phase input[name=r]").evaluate(
            "(node, value) => { node.value = value;"
            " node.dispatchEvent(new Event('input', { bubbles: true })); }",
            value,
        )

    solid, dashed = drawn()
    assert page.locator("#cch-phase path.pairs-line").count() == 0
    slide(0.7)
    moved, stayed = drawn()
    assert moved != solid and stayed == dashed
    assert page.locator("#cch-phase path.pairs-line").count() >= 1
    assert "r_eff" in page.locator("#cch-phase .says").inner_text()
    slide(0)
    assert drawn() == [solid, dashed]
