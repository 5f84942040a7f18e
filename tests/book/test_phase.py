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
