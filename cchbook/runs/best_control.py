"""The gain over the best control: what no piece of a run can tell alone."""

from __future__ import annotations

import pandas as pd


def over_best_control(metrics: pd.DataFrame) -> pd.DataFrame:
    """`metrics` with ``gain_over_control`` as its rows of ``gain_over`` have it.

    The best control of a condition is the one with the best mean over all seeds, the
    plain student among them: choosing it by the same seeds makes ``gain_over_control``
    a little too small rather than too large. Seeds that ran apart have each chosen
    their own, so that it is chosen again where pieces are put together.
    """
    each = metrics[metrics["metric"] == "gain_over"]
    if each.empty:
        return metrics
    apart = {"seed", "value", "control", "unit"}
    conditions = [c for c in each.columns.difference(apart) if each[c].notna().any()]
    over = each.groupby([*conditions, "control"], dropna=False, sort=False)["value"]
    means = over.mean().reset_index()
    # the control that distilling beats by least
    least = means.groupby(conditions, dropna=False)["value"].idxmin()
    best = means.loc[least, [*conditions, "control"]]
    found = each.merge(best, on=[*conditions, "control"])
    found = found.assign(metric="gain_over_control", control=None)
    kept = metrics[metrics["metric"] != "gain_over_control"]
    return pd.concat([kept, found], ignore_index=True)
