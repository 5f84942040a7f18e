"""What each network of a run said of each test sample: `predictions.npz`.

Beside `metrics.csv` a run keeps, for each seed, condition and control, the predicted
class of every test sample and the probability of the true one (regression: the
prediction). McNemar's table of two students, the log loss, and a bootstrap over samples
follow from it exactly.

The file holds `networks`, a JSON list with a dict of conditions a network, and for each
set k of test samples `truth_k` (n,), `predicted_k` (S, n), and for classes
`probability_k` (S, n) in half floats: row j belongs to the j-th network whose
`samples` is k.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

NAME = "predictions.npz"


@dataclass(frozen=True)
class Network:
    """What one network said of a set of test samples.

    Attributes
    ----------
    conditions : dict
        Seed, conditions, control: what tells it from the others.
    truth : (n,) classes, or values of a regression
    predicted : (n,) the same
    probability : (n,) float16 of the true class; None for a regression
    """

    conditions: dict[str, Any]
    truth: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray | None = None

    @property
    def right(self) -> np.ndarray:
        """Which samples it has right, (n,) bool."""
        return self.predicted == self.truth


def network(outputs: Any, truth: Any, conditions: dict[str, Any]) -> Network:
    """A network's outputs, logits (n, K) or values (n,), as they are kept.

    Raises
    ------
    ValueError
        Outputs and truth don't fit together, or are not finite.
    """
    outputs, truth = np.asarray(outputs, dtype=float), np.asarray(truth)
    if len(outputs) != len(truth) or truth.ndim != 1 or outputs.ndim not in (1, 2):
        raise ValueError(
            "`outputs` must be (n, K) logits or (n,) values for (n,) `truth`, got "
            f"{outputs.shape} and {truth.shape}"
        )
    if not np.isfinite(outputs).all():
        raise ValueError("`outputs` must be finite, got NaN or infinity")
    if outputs.ndim == 1:
        half = outputs.astype(np.float16)
        return Network(conditions, truth.astype(np.float32), half)
    classes = outputs.shape[1]
    kind = np.min_scalar_type(classes - 1)
    logits = outputs - outputs.max(1, keepdims=True)
    of_truth = np.take_along_axis(logits, truth[:, None].astype(int), 1)[:, 0]
    log_probability = of_truth - np.log(np.exp(logits).sum(1))
    return Network(
        conditions,
        truth.astype(kind),
        outputs.argmax(1).astype(kind),
        np.exp(log_probability).astype(np.float16),
    )


class Predictions:
    """Networks, and what they said; iterates over `Network`."""

    def __init__(self, networks: Iterable[Network] = ()):
        self.networks = list(networks)

    def __len__(self) -> int:
        return len(self.networks)

    def __iter__(self) -> Iterator[Network]:
        return iter(self.networks)

    def of(self, **conditions: Any) -> Predictions:
        """The networks under these conditions; None stands for a missing one."""
        return Predictions(
            each
            for each in self
            if all(each.conditions.get(k) == v for k, v in conditions.items())
        )

    def frame(self) -> pd.DataFrame:
        """Conditions, a row a network."""
        return pd.DataFrame([each.conditions for each in self])

    def __add__(self, other: Predictions) -> Predictions:
        """Both; a network that is in both counts once."""
        known = {_identity(each) for each in self}
        new = [each for each in other if _identity(each) not in known]
        return Predictions([*self, *new])

    def to_bytes(self) -> bytes:
        """The content of `predictions.npz`."""
        sets: dict[bytes, list[Network]] = {}
        for each in self:
            key = each.truth.tobytes() + each.predicted.dtype.str.encode()
            sets.setdefault(key, []).append(each)
        listed = []
        arrays: dict[str, np.ndarray] = {}
        for k, members in enumerate(sets.values()):
            listed += [{**each.conditions, "samples": k} for each in members]
            arrays[f"truth_{k}"] = members[0].truth
            arrays[f"predicted_{k}"] = np.stack([each.predicted for each in members])
            known = [e.probability for e in members if e.probability is not None]
            if known:
                arrays[f"probability_{k}"] = np.stack(known)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, networks=np.array(json.dumps(listed)), **arrays)
        return buffer.getvalue()

    @classmethod
    def read(cls, path: str | Path) -> Predictions:
        """Of a file that `to_bytes` made."""
        with np.load(path, allow_pickle=False) as content:
            arrays = dict(content)
        rows: dict[int, int] = {}
        networks = []
        for conditions in json.loads(str(arrays["networks"])):
            k = conditions.pop("samples")
            row = rows.get(k, 0)
            rows[k] = row + 1
            probability = arrays.get(f"probability_{k}")
            networks.append(
                Network(
                    conditions,
                    arrays[f"truth_{k}"],
                    arrays[f"predicted_{k}"][row],
                    None if probability is None else probability[row],
                )
            )
        return cls(networks)


def _identity(each: Network) -> tuple[str, bytes]:
    return json.dumps(each.conditions, sort_keys=True), each.truth.tobytes()
