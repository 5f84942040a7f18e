"""Peers of `cchlib.mi`, each with its own defaults; nats.

Some fit into no environment of ours. This file needs NumPy alone, so that another
interpreter can run it beside the peer that is installed there:

    PYTHON benchmarks/peers.py                  which peers that interpreter has
    PYTHON benchmarks/peers.py NAME PAIR.npz    value and processor seconds of one

Both answer in JSON, on the last line.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import numpy as np

Estimator = Callable[[np.ndarray, np.ndarray], float]

# the columns from which on a peer takes half a minute a task or more
SLOW_FROM = {
    "latentmi AECross": 1,
    "latentmi AEMINE": 1,
    "latentmi AEInfoNCE": 1,
    "infomeasure KSG": 500,
}


def scikit_learn() -> Estimator:
    """Of one column each; it has no estimate of more."""
    from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        if x.shape[1] > 1 or y[0].size > 1:
            return float("nan")
        labels = y.dtype.kind == "i"
        function = mutual_info_classif if labels else mutual_info_regression
        return float(function(x, y.reshape(-1), random_state=0)[0])

    return estimate


def latentmi(model: str) -> Estimator:
    """`latentmi.lmi.estimate`."""
    np.NaN = np.nan  # noqa: NPY201  (it uses the old name, which NumPy 2 has not)
    import torch
    from latentmi import lmi

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        np.random.seed(0)  # noqa: NPY002  (the peer draws from it)
        torch.manual_seed(0)
        bits = lmi.estimate(x, columns(y), regularizer=f"models.{model}")[0]
        return float(np.nanmean(bits) * np.log(2))

    return estimate


def infomeasure() -> Estimator:
    """Nearest neighbours of two continuous variables."""
    import infomeasure as im

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        if y.dtype.kind == "i":
            return float("nan")
        np.random.seed(0)  # noqa: NPY002  (the peer draws from it)
        return float(im.mutual_information(x, y, approach="ksg"))

    return estimate


def torch_mist() -> Estimator:
    """`torch_mist.estimate_mi`, whose default is SMILE."""
    import torch
    from torch_mist import estimate_mi

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        np.random.seed(0)  # noqa: NPY002  (the peer may draw from it)
        torch.manual_seed(0)
        pair = {"x": x.astype(np.float32), "y": columns(y).astype(np.float32)}
        return float(estimate_mi(pair, verbose=False, logger=False))

    return estimate


def benchmark_mi(name: str) -> Estimator:
    """KSG and MINE of Czyż et al. (2023). Not its InfoNCE, whose cost grows with the
    width: 10 s at 32 + 1 columns, 54 s at 128 + 128.
    """
    import jax
    from bmi import estimators

    jax.numpy.zeros(1).block_until_ready()  # starts the backend, which is no task's
    maker = getattr(estimators, name)

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        neural = "verbose" in maker.__init__.__code__.co_varnames
        if y.dtype.kind == "i" and not neural:
            return float("nan")
        options = {"verbose": False} if neural else {}
        return float(maker(**options).estimate(x, columns(y)))

    return estimate


def columns(y: np.ndarray) -> np.ndarray:
    """(n, q), of labels one column a class."""
    return np.eye(y.max() + 1)[y] if y.dtype.kind == "i" else y.reshape(len(y), -1)


# name: (distribution, what makes the estimator)
PEERS: dict[str, tuple[str, Callable[[], Estimator]]] = {
    "scikit-learn": ("scikit-learn", scikit_learn),
    "infomeasure KSG": ("infomeasure", infomeasure),
    "benchmark-mi KSG": (
        "benchmark-mi",
        lambda: benchmark_mi("KSGEnsembleFirstEstimator"),
    ),
    "benchmark-mi MINE": ("benchmark-mi", lambda: benchmark_mi("MINEEstimator")),
    "torch-mist SMILE": ("torch-mist", torch_mist),
    "latentmi AECross": ("latentmi", lambda: latentmi("AECross")),
    "latentmi AEMINE": ("latentmi", lambda: latentmi("AEMINE")),
    "latentmi AEInfoNCE": ("latentmi", lambda: latentmi("AEInfoNCE")),
}


def installed() -> tuple[dict[str, str], dict[str, str]]:
    """The version of each peer that works here, and why each other doesn't."""
    found, left_out = {}, {}
    for name, (distribution, make) in PEERS.items():
        try:
            quiet(make)
            found[name] = f"{distribution} {metadata.version(distribution)}"
        except Exception as error:  # a peer may fail in its own ways
            left_out[name] = f"{type(error).__name__}: {error}"
    return found, left_out


def quiet(function: Callable, *arguments):
    """Without what the peers print and warn of."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments)


def measure(estimate: Estimator, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """The value and the processor seconds that it took."""
    start = time.process_time()
    value = quiet(estimate, x, y)
    return value, time.process_time() - start


def elsewhere(python: str | Path, *arguments: str | Path) -> dict:
    """What another interpreter answers."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [str(python), __file__, *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    if len(sys.argv) == 1:
        found, left_out = installed()
        print(json.dumps({"found": found, "left_out": left_out}))
        return
    _, name, path = sys.argv
    with np.load(path) as pair:
        x, y = pair["x"], pair["y"]
    value, seconds = measure(quiet(PEERS[name][1]), x, y)
    print(json.dumps({"value": value, "seconds": seconds}))


if __name__ == "__main__":
    main()
