"""The risk on a grid of 50 λ × 50 κ (both sides of 1) × 100 teachers at p = 100,
against the naive loop.

``python benchmarks/bench_gaussian.py``. The loop evaluates Eqs. 13 and 28 as printed
(transposes corrected) with explicit inverses, one grid point at a time; it is timed on
a random part of the grid, on which the two must agree, and scaled up.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.optimize import brentq

from cchlib.gaussian import JointGaussian, excess_risk


def grid_model(p: int, teachers: int, seed: int) -> tuple[JointGaussian, np.ndarray]:
    rng = np.random.default_rng(seed)
    factor = rng.standard_normal((2 * p + 1, 4 * p)) / np.sqrt(4 * p)
    total = factor @ factor.T
    x1, x2 = slice(p), slice(p, 2 * p)
    model = JointGaussian(
        total[x1, x1],
        total[x1, x2],
        total[x1, -1],
        total[x2, x2],
        total[x2, -1],
        total[-1, -1],
    )
    return model, rng.standard_normal((teachers, p)) / np.sqrt(p)


def naive_risk(m: JointGaussian, w1: np.ndarray, lam: float, kappa: float) -> float:
    """Eqs. 13 and 28, each term where the paper has it."""
    inverse = np.linalg.inv(m.S22)
    w_star = inverse @ m.S23
    noise = m.S33 - w_star @ m.S22 @ w_star
    unexplained = m.S11 - m.S12 @ inverse @ m.S12.T
    noise_bar = (
        noise + 2 * lam * w1 @ (m.S13 - m.S12 @ w_star) + lam**2 * w1 @ unexplained @ w1
    )
    if kappa > 1:
        u = inverse @ m.S12.T @ w1 - w_star
        return (lam**2 * u @ m.S22 @ u + noise_bar / (kappa - 1)) / (1 + lam) ** 2
    identity = np.eye(m.p2)

    def excess_trace(log_tau: float) -> float:
        return (
            np.trace(np.linalg.solve(m.S22 + np.exp(log_tau) * identity, m.S22)) / m.p2
            - kappa
        )

    tau = np.exp(brentq(excess_trace, -20, 20))
    ridge = np.linalg.inv(m.S22 + tau * identity)
    omega = np.trace(ridge @ ridge @ m.S22 @ m.S22) / (kappa * m.p2)
    ratio = np.sqrt(noise_bar / noise) / (1 + lam)
    w_s = (w_star + lam * inverse @ m.S12.T @ w1) / ((1 + lam) * ratio)
    step, rest = w_s - w_star, m.S22 + tau * identity - ratio * m.S22
    variance = noise + tau**2 * w_s @ ridge @ m.S22 @ ridge @ w_s
    return (
        ratio**2 * step @ m.S22 @ m.S22 @ m.S22 @ ridge @ ridge @ step
        + ratio**2 * omega * variance / (1 - omega)
        - 2 * ratio * w_star @ m.S22 @ m.S22 @ ridge @ ridge @ rest @ step
        + w_star @ rest @ rest @ ridge @ ridge @ m.S22 @ w_star
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--repeats", type=int, default=5, help="the best of so many is taken"
    )
    parser.add_argument(
        "--points", type=int, default=200, help="grid points on which the loop is timed"
    )
    arguments = parser.parse_args()
    lam, kappa = (
        np.linspace(0, 5, 50),
        np.r_[np.linspace(0.1, 0.9, 25), np.linspace(1.2, 8, 25)],
    )
    seconds = []
    for repeat in range(arguments.repeats):
        model, w1 = grid_model(
            100, 100, repeat
        )  # a new model each time: nothing cached is reused
        start = time.perf_counter()
        risk = excess_risk(model, w1, lam[:, None, None], kappa[:, None])
        seconds.append(time.perf_counter() - start)
    rng = np.random.default_rng(0)
    points = np.stack(
        [rng.integers(size, size=arguments.points) for size in risk.shape], 1
    )
    start = time.perf_counter()
    naive = np.array([naive_risk(model, w1[t], lam[i], kappa[j]) for i, j, t in points])
    per_point = (time.perf_counter() - start) / len(points)
    difference = np.abs(naive / risk[tuple(points.T)] - 1).max()
    print("| | seconds | a point |\n|---|---|---|")
    print(
        f"| one call, {' × '.join(map(str, risk.shape))} = {risk.size} points (best of "
        f"{arguments.repeats}) | "
        f"{min(seconds):.3f} | {min(seconds) / risk.size * 1e6:.2f} µs |"
    )
    print(
        f"| naive loop, scaled up from {len(points)} points | "
        f"{per_point * risk.size:.0f} | "
        f"{per_point * 1e6:.0f} µs |"
    )
    print(f"| ratio | {per_point * risk.size / min(seconds):.0f} | |")
    print(f"\nLargest relative difference between the two: {difference:.1e}")
    if difference > 1e-9:
        raise SystemExit("the loop and the call disagree: the ratio means nothing")


if __name__ == "__main__":
    main()
