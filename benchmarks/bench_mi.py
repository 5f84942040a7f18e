"""Mutual information against its peers: accuracy on known truth, and seconds as ratios,
in one run.

    python benchmarks/bench_mi.py [--half report|tune] [--samples 2000] [--problems 3]

Writes benchmarks/results/mi.csv, one row a comparison: ours and the peer's value
(nats), error, seconds and their ratio, and from it the table of the book's page on
speed. `lmi` (both presets) against the `latentmi` package with its defaults; `ksg`
against `latentmi.ksg.mi` and scikit-learn.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import platform
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from latentmi import ksg as peer_ksg
from latentmi import lmi as peer_lmi
from sklearn.feature_selection import mutual_info_regression

from cchbook.runs import records
from cchlib.mi import estimate_mi, panel

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).resolve().parents[1] / "book" / "bench_mi.md"


def clock(work, repeats: int = 1) -> tuple[float, float]:
    """Value and the least seconds of `repeats`."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        value = work()
        seconds.append(time.perf_counter() - start)
    return float(value), min(seconds)


def package(x: np.ndarray, y: np.ndarray) -> float:
    """`latentmi.lmi.estimate` with its defaults, in nats."""
    np.random.seed(0)  # noqa: NPY002  (the peer draws from it)
    torch.manual_seed(0)
    y = np.eye(y.max() + 1)[y] if y.dtype.kind == "i" else y.reshape(len(y), -1)
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # it divides by the zero deviation of constant columns
        return np.nanmean(peer_lmi.estimate(x, y)[0]) * np.log(2)


def row(
    case: str,
    peer: str,
    n: int,
    truth: float,
    ours: tuple[float, float],
    theirs: tuple[float, float],
) -> dict:
    result = {
        "case": case,
        "peer": peer,
        "n": n,
        "truth": truth,
        "ours": ours[0],
        "theirs": theirs[0],
        "error": abs(ours[0] - truth),
        "peer_error": abs(theirs[0] - truth),
        "seconds": ours[1],
        "peer_seconds": theirs[1],
        "ratio": ours[1] / theirs[1],
    }
    print(
        f"{case:28s} {peer:20s} truth {truth:6.3f}  ours {ours[0]:6.3f}  theirs {theirs[0]:6.3f}  "
        f"seconds {ours[1]:7.2f} / {theirs[1]:7.2f} = {result['ratio']:.3f}",
        flush=True,
    )
    return result


def latent_cases(half: str, n: int, problems: int | None) -> list[dict]:
    rows = []
    for problem in panel.problems(half)[:problems]:
        x, y = problem.sample(n)
        ours = clock(lambda: estimate_mi(x, y, device="cpu").value)
        rows.append(
            row(
                problem.name,
                "latentmi",
                n,
                problem.truth,
                ours,
                clock(lambda: package(x, y)),
            )
        )
    return rows


def matmul_share(n: int = 2000) -> dict:
    """The share of this machine's matrix-product speed that training attains, on the
    64-64 problem.
    """
    from cchlib.mi import latent

    done = 0

    def counted(function):
        def call(*tensors):
            nonlocal done
            a, b = tensors[-2:]
            done += (
                2
                * a.shape[0]
                * a.shape[1]
                * a.shape[2]
                * b.shape[-1]
                * (3 if torch.is_grad_enabled() else 1)
            )
            return function(*tensors)

        return call

    a = torch.randn(2000, 2000)
    a @ a
    _, seconds = clock(lambda: (a @ a)[0, 0], 5)
    speed = 2 * 2000**3 / seconds
    x, y = panel.problems("tune")[2].sample(n)
    saved, fit, spent = (torch.bmm, torch.baddbmm), latent.fit, []

    def timed(*arguments):
        start = time.perf_counter()
        result = fit(*arguments)
        spent.append(time.perf_counter() - start)
        return result

    try:
        torch.bmm, torch.baddbmm, latent.fit = (
            counted(torch.bmm),
            counted(torch.baddbmm),
            timed,
        )
        estimate_mi(x, y, device="cpu")
    finally:
        (torch.bmm, torch.baddbmm), latent.fit = saved, fit
    share = done / spent[0] / speed
    print(
        f"training attains {share:.0%} of the matrix-product speed ({speed / 1e9:.0f} GFLOP/s)",
        flush=True,
    )
    return {
        "case": "training speed",
        "peer": "matrix product",
        "n": n,
        "ours": done / spent[0] / 1e9,
        "theirs": speed / 1e9,
        "ratio": share,
    }


def neighbour_cases() -> list[dict]:
    rows = []
    for n in (5000, 20000):
        for latents, name in ((8, "ksg 8 + 8"), (3, "ksg 3 latents in 8 + 8")):
            sampler = (
                panel.gaussian_pairs(panel.correlations(1.2, 8), 8, 8)
                if latents == 8
                else panel.feature_pairs(panel.correlations(1.2, 3), 8, 8)
            )
            x, y = sampler(n, np.random.default_rng(0))
            ours = clock(lambda: estimate_mi(x, y, "ksg", parts=0).value, 3)
            theirs = clock(lambda: peer_ksg.mi(x, y).mean() * np.log(2), 3)
            rows.append(row(name, "latentmi.ksg", n, 1.2, ours, theirs))
        x, y = panel.gaussian_pairs(panel.correlations(0.5), 1, 1)(
            n, np.random.default_rng(0)
        )
        ours = clock(
            lambda: estimate_mi(x, y, "ksg", rescale="columns", parts=0).value, 3
        )
        theirs = clock(
            lambda: mutual_info_regression(x, y[:, 0], n_neighbors=3, random_state=0)[
                0
            ],
            3,
        )
        rows.append(row("ksg 1 + 1", "scikit-learn", n, 0.5, ours, theirs))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", default="report", choices=("report", "tune"))
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument(
        "--problems",
        type=int,
        default=None,
        help="only the first so many problems of the panel",
    )
    arguments = parser.parse_args()
    rows = (
        neighbour_cases()
        + [matmul_share()]
        + latent_cases(arguments.half, arguments.samples, arguments.problems)
    )
    frame = pd.DataFrame(rows)
    RESULTS.mkdir(exist_ok=True)
    records.write_text(
        RESULTS / "mi.csv", frame.to_csv(index=False, float_format="%.6g")
    )
    records.write_text(PAGE, page(frame))
    print(page(frame))


def page(frame: pd.DataFrame) -> str:
    lines = [
        "| case | peer | n | truth | ours | theirs | our seconds | their seconds | ratio |",
        "|---|---|---:|" + "---:|" * 6,
    ]
    for _, r in frame[frame.peer != "matrix product"].iterrows():
        lines.append(
            f"| {r.case} | {r.peer} | {r.n:,} | {r.truth:.3f} | {r.ours:.3f} | {r.theirs:.3f} | {r.seconds:.2f} | "
            f"{r.peer_seconds:.2f} | {r.ratio:.3f} |"
        )
    latents, speed = (
        frame[frame.peer == "latentmi"],
        frame[frame.peer == "matrix product"].iloc[0],
    )
    return "\n".join(
        [
            *lines,
            "",
            (
                f"Over the {len(latents)} problems of `lmi` the mean absolute error is {latents.error.mean():.3f} nats against the package's "
                f"{latents.peer_error.mean():.3f}, in {latents.seconds.sum() / latents.peer_seconds.sum():.3f} of its time. Training the "
                f"estimator attains {speed.ours:.0f} of the {speed.theirs:.0f} GFLOP/s of a large matrix product here ({speed.ratio:.0%}). "
                f"Measured by `benchmarks/bench_mi.py` on {time.strftime('%Y-%m-%d')} ({platform.machine()}, {records.cores()} cores)."
            ),
            "",
        ]
    )


if __name__ == "__main__":
    main()
