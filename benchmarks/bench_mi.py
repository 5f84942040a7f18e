"""Mutual information against its peers on known truth: error and seconds, in one run.

    python benchmarks/bench_mi.py [--half report|tune] [--samples 2000] [--tasks NAME …]

Peers that are not installed are left out; `pip install --no-deps --target DIR
latentmi==0.1.3 infomeasure` and PYTHONPATH=DIR bring the two that fit into this
environment. Writes benchmarks/results/mi.csv, one row for each task and estimator
(nats, seconds of the processor), and from it the table of the book's page on speed,
which begins with our losses.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from cchbook.chapters import panel
from cchbook.runs import records
from cchlib.mi import estimate_mi

RESULTS = Path(__file__).parent / "results" / "mi.csv"
PAGE = Path(__file__).resolve().parents[1] / "book" / "bench_mi.md"
OURS = ("lmi", "ksg", "gaussian", "mine")

Estimator = Callable[[np.ndarray, np.ndarray], float]


# ---------------------------------------------------------------- tasks of bmi


def multinormal(covariance: np.ndarray, p: int, warp: Callable = lambda z: z):
    """Task of Czyż et al. (2023): p and the other columns of a Gaussian, each column
    warped invertibly; and its truth.
    """

    def logdet(part: np.ndarray) -> float:
        return float(np.linalg.slogdet(part)[1])

    truth = (
        logdet(covariance[:p, :p]) + logdet(covariance[p:, p:]) - logdet(covariance)
    ) / 2
    root = np.linalg.cholesky(covariance)

    def sample(n: int, rng: np.random.Generator):
        z = warp(rng.standard_normal((n, len(root))) @ root.T)
        return z[:, :p], z[:, p:]

    return truth, sample


def dense(p: int, rho: float = 0.5) -> np.ndarray:
    """All correlations equal."""
    return rho + (1 - rho) * np.eye(2 * p)


def sparse(p: int, pairs: int = 2, rho: float = 0.8) -> np.ndarray:
    """A few correlated pairs."""
    covariance = np.eye(2 * p)
    for i in range(pairs):
        covariance[i, p + i] = covariance[p + i, i] = rho
    return covariance


def half_cube(z: np.ndarray) -> np.ndarray:
    return np.sign(z) * np.abs(z) ** 1.5


def wiggly(z: np.ndarray) -> np.ndarray:
    return z + 0.4 * np.sin(z) + 0.2 * np.sin(1.7 * z + 1) + 0.03 * np.sin(3.3 * z)


def student(dof: float, p: int, warp: Callable = lambda z: z):
    """Two pairs of correlation .8 over a common Student scale."""
    rho = np.r_[0.8, 0.8, np.zeros(p - 2)][:p]
    truth = -0.5 * np.log1p(-(rho**2)).sum() + panel.student_excess(dof, p, p)

    def sample(n: int, rng: np.random.Generator):
        u, v = rng.standard_normal((2, n, p))
        v = rho * u + np.sqrt(1 - rho**2) * v
        scale = np.sqrt(rng.chisquare(dof, (n, 1)) / dof)
        return warp(u / scale), warp(v / scale)

    return float(truth), sample


def bmi_tasks() -> dict[str, tuple[float, Callable]]:
    return {
        "bmi normal 1-1": multinormal(sparse(1, 1, 0.75), 1),
        "bmi half-cube 1-1": multinormal(sparse(1, 1, 0.75), 1, half_cube),
        "bmi wiggly 1-1": multinormal(sparse(1, 1, 0.75), 1, wiggly),
        "bmi dense 5-5": multinormal(dense(5), 5),
        "bmi dense 25-25": multinormal(dense(25), 25),
        "bmi sparse 5-5": multinormal(sparse(5), 5),
        "bmi sparse 25-25": multinormal(sparse(25), 25),
        "bmi half-cube sparse 25-25": multinormal(sparse(25), 25, half_cube),
        "bmi student 2, 5-5": student(2, 5),
        "bmi asinh student 2, 5-5": student(2, 5, np.arcsinh),
    }


def tasks(half: str) -> dict[str, tuple[float, Callable]]:
    own = {p.name: (p.truth, p.sampler) for p in panel.problems(half)}
    return bmi_tasks() | own


# ---------------------------------------------------------------- estimators


def ours(method: str, **options) -> Estimator:
    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        return estimate_mi(x, y, method, device="cpu", **options).value

    return estimate


def latentmi(model: str) -> Estimator:
    """`latentmi.lmi.estimate` with its defaults, in nats."""
    np.NaN = np.nan  # noqa: NPY201  (it uses the old name, which NumPy 2 has not)
    from latentmi import lmi

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        np.random.seed(0)  # noqa: NPY002  (the peer draws from it)
        torch.manual_seed(0)
        y = np.eye(y.max() + 1)[y] if y.dtype.kind == "i" else y.reshape(len(y), -1)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # constant columns, divided by 0
            bits = lmi.estimate(x, y, regularizer=f"models.{model}")[0]
        return float(np.nanmean(bits) * np.log(2))

    return estimate


def infomeasure() -> Estimator:
    """Its nearest neighbours, for two continuous variables."""
    import infomeasure as im

    im.mutual_information([0.0, 1.0, 2.5, 3.0], [1.0, 0.0, 2.0, 4.0], approach="ksg")

    def estimate(x: np.ndarray, y: np.ndarray) -> float:
        if y.dtype.kind == "i":
            return float("nan")
        return float(im.mutual_information(x, y, approach="ksg", k=3))

    return estimate


def scikit_learn(x: np.ndarray, y: np.ndarray) -> float:
    """Of one column each; it has no estimate of more."""
    if x.shape[1] > 1 or (y.ndim == 2 and y.shape[1] > 1):
        return float("nan")
    function = mutual_info_classif if y.dtype.kind == "i" else mutual_info_regression
    return float(function(x, y.reshape(-1), n_neighbors=3, random_state=0)[0])


def peers() -> dict[str, Estimator]:
    """Those that are installed."""
    found: dict[str, Estimator] = {"scikit-learn": scikit_learn}
    makers = {
        f"latentmi {model}": lambda model=model: latentmi(model)
        for model in ("AECross", "AEMINE", "AEInfoNCE")
    }
    for name, make in (makers | {"infomeasure": infomeasure}).items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"left out: {name} ({error})", flush=True)
    return found


# ---------------------------------------------------------------- the run


def measure(name: str, truth: float, sampler, n: int, estimators: dict) -> list[dict]:
    x, y = sampler(n, np.random.default_rng(0))
    rows = []
    for who, estimate in estimators.items():
        start = time.process_time()
        try:
            value = estimate(x, y)
        except ValueError as error:  # refused, which is an answer
            print(f"{name}: {who} refused: {error}", flush=True)
            continue
        if np.isnan(value):
            continue
        rows.append(
            {
                "task": name,
                "n": n,
                "truth": truth,
                "estimator": who,
                "value": value,
                "error": value - truth,
                "seconds": time.process_time() - start,
                "date": time.strftime("%Y-%m-%d"),
            }
        )
        print(
            f"{name:26s} truth {truth:6.3f}  {who:20s} {value:7.3f}  "
            f"{rows[-1]['seconds']:8.2f} s",
            flush=True,
        )
    return rows


def comparison(frame: pd.DataFrame) -> pd.DataFrame:
    """One row a task: `lmi`, the best of our others, the best peer;
    our losses first.
    """
    rows = []
    for (name, _), group in frame.groupby(["task", "n"], sort=False):
        if "lmi" not in set(group.estimator):
            continue
        group = group.assign(size=group.error.abs())
        own = group[group.estimator == "lmi"].iloc[0]
        theirs = group[~group.estimator.isin(OURS)]
        other = group[group.estimator.isin(OURS[1:])]
        if theirs.empty:
            continue
        peer = theirs.loc[theirs["size"].idxmin()]
        best = other.loc[other["size"].idxmin()] if len(other) else own
        rows.append(
            {
                "task": name,
                "n": own.n,
                "truth": own.truth,
                "lmi": own.value,
                "other": f"{best.value:.3f} ({best.estimator})",
                "peer": f"{peer.value:.3f} ({peer.estimator})",
                "loss": own["size"] - peer["size"],
                "ratio": own.seconds / peer.seconds,
            }
        )
    return pd.DataFrame(rows).sort_values("loss", ascending=False)


def page(frame: pd.DataFrame) -> str:
    lines = [
        "| task | n | truth | `lmi` | best of our others | best peer | "
        "`lmi` behind by | time to peer's |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    table = comparison(frame)
    for _, r in table.iterrows():
        lines.append(
            f"| {r.task} | {r.n:,} | {r.truth:.3f} | {r.lmi:.3f} | {r.other} | "
            f"{r.peer} | {r.loss:+.3f} | {r.ratio:.3f} |"
        )
    dates = sorted(set(frame.date))
    behind = int((table.loss > 0.02).sum())
    means = frame.groupby("estimator").agg(
        error=("error", lambda e: e.abs().mean()),
        seconds=("seconds", "mean"),
        tasks=("task", "size"),
    )
    said = [
        f"| {name} | {r.tasks:.0f} | {r.error:.3f} | {r.seconds:.2f} |"
        for name, r in means.sort_values("error").iterrows()
    ]
    return "\n".join(
        [
            f"`lmi` is behind the best peer by more than .02 nats in {behind} of "
            f"{len(table)} tasks; they come first. The best peer is chosen knowing the "
            "truth.",
            "",
            *lines,
            "",
            "| estimator | tasks | mean absolute error | processor seconds a task |",
            "|---|---:|---:|---:|",
            *said,
            "",
            f"Measured by `benchmarks/bench_mi.py` on {', '.join(dates)} "
            f"({platform.machine()}, {records.cores()} cores; the date of each row is "
            "in `benchmarks/results/mi.csv`).",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", default="report", choices=("report", "tune"))
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--tasks", nargs="*", help="names; all where left out")
    parser.add_argument("--methods", nargs="*", default=OURS, choices=OURS)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", UserWarning)
    estimators = {method: ours(method) for method in arguments.methods} | peers()
    options = {"ksg": {"parts": 0}, "gaussian": {"repeats": 0}}
    for method, chosen in options.items():
        if method in estimators:
            estimators[method] = ours(method, **chosen)
    # what a process loads on first use is no task's time
    rng = np.random.default_rng(0)
    for estimate in estimators.values():
        estimate(rng.standard_normal((100, 1)), rng.standard_normal((100, 1)))

    # what was measured before and isn't now stays, with its date: a peer takes an hour
    before = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame()
    rows: list[dict] = []
    for name, (truth, sampler) in tasks(arguments.half).items():
        if arguments.tasks and name not in arguments.tasks:
            continue
        rows += measure(name, truth, sampler, arguments.samples, estimators)
        frame = pd.concat([pd.DataFrame(rows), before])
        frame = frame.drop_duplicates(["task", "n", "estimator"])
        RESULTS.parent.mkdir(exist_ok=True)
        # after each task: a run that is broken off leaves what it has
        records.write_text(RESULTS, frame.to_csv(index=False, float_format="%.6g"))
        if not comparison(frame).empty:
            records.write_text(PAGE, page(frame))
    print(page(frame))


if __name__ == "__main__":
    main()
