"""Glue is MyST-NB's, without Sphinx."""

import subprocess
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core import formatters
from myst_nb.ext import glue as theirs

from cchbook.chapters import glue as ours


@pytest.mark.parametrize("display", [False, True])
@pytest.mark.parametrize(
    "value",
    [1, 0.25, "text", True, None, [1, 2], pd.DataFrame({"a": [1]}), plt.Figure()],
    ids=lambda value: type(value).__name__,
)
def test_what_is_kept_is_what_myst_nb_keeps(monkeypatch, value, display):
    kept = []
    formatter = formatters.DisplayFormatter()
    monkeypatch.setattr(formatters, "format_display_data", formatter.format)
    for module, name in ((theirs, "ipy_display"), (ours, "show")):
        monkeypatch.setattr(
            module, name, lambda *words, **more: kept.append((words, more))
        )
        module.glue("here", value, display)
    assert kept[0] == kept[1] and kept[0][0][0]


def test_numbers_of_numpy_are_written_without_their_type(monkeypatch):
    kept = []
    formatter = formatters.DisplayFormatter()
    monkeypatch.setattr(formatters, "format_display_data", formatter.format)
    monkeypatch.setattr(ours, "show", lambda shown, **more: kept.append(shown))
    ours.glue_all({"here": np.float64(0.25)})
    assert kept == [{"application/papermill.record/text/plain": "0.25"}]


def test_sphinx_is_not_loaded():
    said = "import sys, cchbook.chapters.glue; print('sphinx' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", said], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
