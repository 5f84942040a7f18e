"""Controls of a distillation experiment: what any soft target, or none, would have
done.

The gain of a distilled student over a plain one has three parts: what the teacher says
of a sample, what any soft target does, and what a smaller weight on the label does to
the optimiser. Each control keeps one of the last two and takes the teacher away.

===========  =========================================================================
scaled_ce    the cross-entropy alone, times 1 − λ
smoothing    labels smoothed to the teacher's mean confidence: says nothing new
shuffled     the teacher's outputs, given to other samples: knows nothing of this one
zero         regression: a teacher that says 0, which shrinks
===========  =========================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cchbook.runs.best_control import over_best_control
from cchlib import check

CLASSIFICATION = ("scaled_ce", "smoothing", "shuffled")
REGRESSION = ("zero", "shuffled")


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
    """Gain over the plain student and over the best control, paired by seed.

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
        the best of these (`over_best_control`).
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
    return over_best_control(pd.concat(frames, ignore_index=True))
