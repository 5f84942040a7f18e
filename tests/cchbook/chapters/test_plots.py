"""Rounding to uncertainty and the summaries behind tables, against values by hand."""

import numpy as np
import pandas as pd
import pytest

from cchbook.chapters import plots
from cchbook.chapters.metrics import mean_se


@pytest.mark.parametrize(
    "value, error, said",
    [
        (0.81234, 0.00412, "0.812 ± 0.004"),
        (0.81234, 0.0412, "0.81 ± 0.04"),
        (12.3, 4.0, "12 ± 4"),
        (-0.01234, 0.00096, "-0.0123 ± 0.0010"),
        (0.5, float("nan"), "0.5"),
        (float("nan"), 0.1, "–"),
        (0.25, 0.0, "0.25 ± 0"),
        (-14 / 570, 3.5e-18, "-0.02456 ± 0"),  # equal values, rounded
        (0.0, 0.0, "0 ± 0"),
    ],
)
def test_pm(value, error, said):
    assert plots.pm(value, error) == said


def test_mean_se_by_hand():
    frame = pd.DataFrame({"g": ["a", "a", "a", "b"], "value": [1.0, 2.0, 3.0, 5.0]})
    table = mean_se(frame, "g").set_index("g")
    assert table.loc["a", ["mean", "se", "n"]].tolist() == pytest.approx(
        [2.0, 1 / np.sqrt(3), 3]
    )
    assert table.loc["b", "mean"] == 5 and np.isnan(table.loc["b", "se"])


def test_table_is_html_with_caption_and_no_index(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    plots.show_table(pd.DataFrame({"a": [0.123456], "b": [None]}), "what it holds")
    html = shown[0].data
    assert (
        "<caption>what it holds</caption>" in html
        and "0.1235" in html
        and "<th></th>" not in html
    )
