"""Rounding to uncertainty and the summaries behind tables, against values by hand."""

import re

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


def test_folded_columns_stand_in_a_table_below_and_empty_ones_nowhere(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    frame = pd.DataFrame({"pair": ["a", "b"], "gain": ["1", "2"], "F1": ["3", "4"]})
    frame = frame.assign(live=["–", "–"], AUC=[None, "5"]).rename_axis(columns="stray")
    plots.show_table(frame, "what", folded=["F1", "AUC", "live", "absent"], keys=1)
    heads = [re.findall("<th>(.*?)</th>", one.data) for one in shown]
    assert heads == [["pair", "gain"], ["pair", "F1", "AUC"]]
    cells = re.findall("<td>(.*?)</td>", shown[1].data)
    assert cells == ["a", "3", "–", "b", "4", "5"]
    assert shown[1].data.startswith("<details")
    plots.show_table(frame[["pair", "gain"]], folded=["F1"])
    assert len(shown) == 3
