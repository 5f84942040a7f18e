"""The interactive diagram computes what the library computes."""

from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import sync_playwright

from cchbook.publish.slides import FLAGS, find_chromium
from cchlib import gaussian

PAGE = Path(__file__).parents[2] / "book" / "_static" / "phase.html"
CHROMIUM = find_chromium()


@pytest.mark.skipif(
    CHROMIUM is None,
    reason="no Chromium on this machine (Debian: apt-get install chromium)",
)
def test_formulas_of_the_diagram():
    eye, one = np.eye(20), np.full(20, 20**-0.5)
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.goto(PAGE.as_uri())
        for s12, s13, s23 in ((0.3, 0.9, 0.4), (-0.2, 0.3, 0.5), (0.6, 0.5, 0.7)):
            model = gaussian.JointGaussian(
                eye, s12 * eye, s13 * one, eye, s23 * one, 1.0
            )
            for kappa in (0.4, 3.0, 100.0):
                shown = page.evaluate(
                    f"cchPhase.coefficients({s12}, {s13}, {s23}, {kappa})"
                )
                true = gaussian.risk_coefficients(model, model.teacher_star, kappa)
                assert [shown[k] for k in ("alpha", "beta", "delta")] == pytest.approx(
                    list(true), rel=1e-9
                )
        browser.close()
