"""Figures that a reader can move, as HTML that needs no server, no network and no
library.

Each function returns one string for `IPython.display.HTML`: style, controls, pictures
drawn in the browser, and a sentence that says the same for those who don't see them. A
page of the book carries the numbers within it.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cchlib import check

HEAVIEST = 150_000  # bytes of one figure
PARTS = Path(__file__).parent / "figures"


def mnistm_explorer(
    digits: np.ndarray,
    patches: np.ndarray,
    accuracy_table: pd.DataFrame,
    mi_table: pd.DataFrame,
    threshold: float = 0.5,
) -> str:
    """What teacher and student see as the blending α and the blur γ are moved, and what
    a run found there.

    The browser blends and blurs as `datasets.image` does; accuracy and mutual
    information are those of the computed condition that is nearest, which the figure
    names.

    Parameters
    ----------
    digits, patches : (k, 28, 28) arrays in [0, 1]
        Real samples; about 8 are wanted.
    accuracy_table : DataFrame
        One row for each computed condition: alpha, gamma (pixels), student, student_kd
        (test accuracy without and with distillation), and where known their standard
        errors student_se, student_kd_se, and that of their difference, gain_se.
    mi_table : DataFrame
        alpha, gamma, i_ts, i_sl in nats, and where known i_ts_se, i_sl_se and, of their
        difference, gap_se; the same conditions.
    threshold : float
        Of the binarisation of the digit.

    Raises
    ------
    ValueError
        Wrong shapes, numbers outside [0, 1], a missing column, tables of different
        conditions, or too many samples for a light page.
    """
    pictures = {}
    for name, images in (("digits", digits), ("patches", patches)):
        images = check.within(name, check.finite(name, images), 0, 1)
        if images.ndim != 3 or images.shape[1:] != (28, 28) or not len(images):
            raise ValueError(
                f"`{name}` must have shape (k, 28, 28) with k ≥ 1, got {images.shape}"
            )
        pictures[name] = base64.b64encode(
            np.rint(255 * images).astype(np.uint8).tobytes()
        ).decode()
    count = check.same_length(digits=digits, patches=patches)
    keys, found = ["alpha", "gamma"], []
    for name, table, columns, difference in (
        ("accuracy_table", accuracy_table, ("student", "student_kd"), "gain"),
        ("mi_table", mi_table, ("i_ts", "i_sl"), "gap"),
    ):
        uncertain = [f"{column}_se" for column in (*columns, difference)]
        found.append(_columns(name, table, keys, columns, uncertain))
    rows = found[0].merge(found[1], on=keys)
    if not len(rows) == len(found[0]) == len(found[1]):
        raise ValueError(
            "`accuracy_table` and `mi_table` must hold the same (alpha, gamma), each "
            "once"
        )
    data = {
        **pictures,
        "count": count,
        "threshold": float(check.within("threshold", threshold, 0, 1)),
        "rows": _json_rows(rows.sort_values(keys)),
    }
    return _figure("MNIST-M explorer", "mnistm", data)


def bias_explorer(frame: pd.DataFrame) -> str:
    """Bias of estimators of mutual information against the number of samples, on
    problems of known truth.

    Parameters
    ----------
    frame : DataFrame
        One row for each problem, method and n: problem (what is drawn from), method, n
        (samples), truth and estimate (nats), and where known std_error (of the mean
        estimate).

    Raises
    ------
    ValueError
        A missing column, numbers that are not finite, a problem with several truths, or
        too many rows.
    """
    rows = _columns(
        "frame", frame, ["problem", "method"], ["n", "truth", "estimate"], ["std_error"]
    )
    if (rows.groupby("problem")["truth"].nunique() > 1).any():
        raise ValueError("`frame` must have one truth a problem, got one with several")
    if rows.duplicated(["problem", "method", "n"]).any():
        raise ValueError(
            "`frame` must have one row a (problem, method, n), means over repetitions"
        )
    return _figure(
        "Bias explorer",
        "bias",
        {"rows": _json_rows(rows.sort_values(["problem", "method", "n"]))},
    )


def arms_explorer(rows: pd.DataFrame, arms: Sequence[str]) -> str:
    """What every network scored, for a data set, a pair of views and a regime.

    Parameters
    ----------
    rows : DataFrame
        One row a study: set, pair, regime, unit (of the scores), scores (a list, one an
        arm, None for one that was not trained), control (place of the arm that the gain
        is over), gain, std_error, verdict, gap (nats), saturated.
    arms : sequence of str
        Names of the arms.

    Raises
    ------
    ValueError
        A missing column, or too many rows.
    """
    keys = ["set", "pair", "regime", "unit", "scores", "control", "verdict"]
    numbers = ["gain", "std_error", "gap"]
    missing = [name for name in (*keys, *numbers, "saturated") if name not in rows]
    if missing:
        raise ValueError(f"`rows` must have the columns {', '.join(missing)}")
    shown = rows[[*keys, *numbers, "saturated"]]
    data = {"arms": list(arms), "rows": _json_rows(shown)}
    return _figure("Arms explorer", "arms", data)


# Parts --------------------------------------------------------------------------------


def _columns(
    name: str,
    table: pd.DataFrame,
    keys: Sequence[str],
    numbers: Sequence[str],
    uncertain: Sequence[str],
) -> pd.DataFrame:
    """The wanted columns; those of standard errors are added as missing where the table
    has none.
    """
    missing = [column for column in (*keys, *numbers) if column not in table]
    if missing or not len(table):
        wanted = ", ".join((*keys, *numbers))
        raise ValueError(
            f"`{name}` must have the columns {wanted}, and lacks "
            f"{', '.join(missing) or 'rows'}"
        )
    for column in (*keys, *numbers):
        if column not in ("problem", "method"):
            check.finite(f"{name}.{column}", table[column])
    return table.reindex(columns=[*keys, *numbers, *uncertain]).reset_index(drop=True)


def _json_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records", double_precision=5))


def _part(file: str) -> str:
    return (PARTS / file).read_text(encoding="utf-8")


def _figure(label: str, kind: str, data: dict[str, Any]) -> str:
    """One figure: the shared style and plotting, its own controls and script
    (`figures/KIND.html`, `KIND.js`), its numbers.
    """
    text = json.dumps(data, separators=(",", ":"), ensure_ascii=False).replace(
        "</", "<\\/"
    )
    controls, script = _part(f"{kind}.html"), _part(f"{kind}.js")

    # several can stand on a page
    digest = hashlib.sha256((controls + script + text).encode()).hexdigest()
    name = f"cch-{digest[:10]}"
    page = f"""<style>
{_part("style.css")}</style>
<div class="cch-live" id="{name}" role="group" aria-label="{label}">
{controls}<p class="says" aria-live="polite"></p>
</div>
<script>(function () {{
"use strict";
const root = document.getElementById("{name}"), data = {text};
{_part("plot.js")}{script}}})();</script>"""
    weight = len(page.encode())
    if weight > HEAVIEST:
        raise ValueError(
            f"the figure must weigh at most {HEAVIEST} bytes, got {weight}: take fewer "
            "samples or rows"
        )
    return page
