"""Controls of a distillation experiment: what any soft target, or none, would have
done.

The gain of a distilled student over a plain one has three parts: what the teacher says
of a sample, what any soft target does, and what a smaller weight on the label does to
the optimiser. Each control keeps one of the last two and takes the teacher away.

=================  ====================================================================
scaled_ce          the cross-entropy alone, times 1 − λ; with SGD only: Adam divides by
                   the size of the gradient, so that the plain student would be left
smoothing          labels smoothed to the teacher's mean confidence: says nothing new
self_distillation  the plain student's own outputs: knows nothing of the other modality
shuffled           the teacher's outputs, given to other samples: knows nothing of this
zero               regression: a teacher that says 0, which shrinks
=================  ====================================================================

What is called a gain over a control is over one of them, named beforehand in `NAMED`;
the best of several on the same seeds would be chosen by their luck.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cchlib import check

#: the control that a gain is held against: of these the first that a run has
NAMED = ("self_distillation", "smoothing", "zero")


def shuffled(outputs: Tensor, seeds: Sequence[int] | None = None) -> Tensor:
    """The outputs (R, n, ...) in a random order over all n samples, one order a row.

    Their distribution stays, what they say of a sample goes.
    """
    seeds = range(len(outputs)) if seeds is None else seeds
    orders = [
        np.random.default_rng(seed).permutation(outputs.shape[1]) for seed in seeds
    ]
    return torch.stack([row[torch.as_tensor(o)] for row, o in zip(outputs, orders)])


def smoothing(outputs: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Logits (R, n, K) of smoothed labels, as sure at `temperature` as the outputs are.

    With c the mean over samples of the outputs' largest softmax(z / T), the smoothed
    label gives its class c and every other class (1 − c)/(K − 1). Label smoothing
    (Szegedy et al., 2016) at matched confidence.

    Parameters
    ----------
    outputs : Tensor (R, n, K)
        The teacher's logits.
    labels : integer Tensor (R, n) or (n,)
    temperature : float > 0
    """
    check.within("temperature", temperature, 0.0, open_low=True)
    classes = outputs.shape[-1]
    sure = (outputs / temperature).softmax(-1).amax(-1).mean(-1)  # (R,)
    # as logits 1/K and 1 have no finite difference from the others, or none at all
    sure = sure.clamp(1 / classes + 1e-6, 1 - 1e-6)
    height = temperature * torch.log(sure * (classes - 1) / (1 - sure))
    hot = torch.nn.functional.one_hot(labels, classes).to(outputs)
    return height[:, None, None] * hot.expand_as(outputs)


def gains(
    scores: pd.DataFrame, conditions: Sequence[str], *, lower_is_better: bool = False
) -> pd.DataFrame:
    """Gain over the plain student, and over each control, paired by seed.

    Parameters
    ----------
    scores : DataFrame
        Columns `conditions`, ``seed``, ``value``, and ``control``: "plain" (no
        distillation), "" (distilled) or the control's name.
    conditions : sequence of str
        Every condition has its own plain student, distilled one and controls.
    lower_is_better : bool
        Of an error; a gain is positive where distilling is better all the same.

    Returns
    -------
    DataFrame
        Columns `conditions`, ``seed``, ``metric``, ``control``, ``value``: ``gain`` is
        over the plain student; where there are controls, ``gain_over`` has a row for
        the plain student and one for each of them, and ``gain_over_control`` is over
        the one named beforehand (`over_named_control`).
    """
    sign = -1.0 if lower_is_better else 1.0
    frames = []
    for key, part in scores.groupby(list(conditions), sort=False):
        wide = sign * part.pivot(index="seed", columns="control", values="value")
        rivals = list(wide.columns.drop(""))
        against = [("gain", "plain", None)]
        if len(rivals) > 1:
            against += [("gain_over", rival, rival) for rival in rivals]
        for metric, rival, named in against:
            difference = (wide[""] - wide[rival]).rename("value").reset_index()
            where = dict(zip(conditions, key), metric=metric, control=named)
            frames.append(difference.assign(**where))
    return over_named_control(pd.concat(frames, ignore_index=True))


def over_named_control(metrics: pd.DataFrame) -> pd.DataFrame:
    """`metrics` with ``gain_over_control`` as its rows of ``gain_over`` have it.

    It is over the first of `NAMED` that the run has, the same for all its conditions.
    A control may be named with what it was made of ("smoothing 0.0"). Runs made before
    2026-12 logged a gain over the best of their controls under this name; without a
    named one their rows are dropped.
    """
    each = metrics[metrics["metric"] == "gain_over"]
    kept = metrics[metrics["metric"] != "gain_over_control"]
    if each.empty:
        return kept
    kinds = each["control"].astype(str).str.split().str[0]
    named = next((name for name in NAMED if name in set(kinds)), None)
    found = each[kinds == named].assign(metric="gain_over_control", control=None)
    return pd.concat([kept, found], ignore_index=True)
