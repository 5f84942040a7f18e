"""Training as the chapters do it, as one stack, against a plain PyTorch loop over the
networks, in one run.

    python benchmarks/bench_training.py

Writes the table of the book's page on speed: seconds a step of all networks, their
ratio, and the share of this machine's matrix-product speed that the stack attains. The
loop is what a script would do, less its data loader: `nn.Sequential`, `torch.optim`,
whole tensors indexed by a permutation.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from cchbook.runs import records
from cchlib.losses import cross_entropy, squared_error
from cchlib.models import MLP
from cchlib.training import fit

TABLE = Path(__file__).resolve().parents[1] / "book" / "bench_training.md"
# chapter and network: widths, networks of the stack, samples, batch (0: all), options
# of the network
CASES = {
    "synthetic, Table 9": ((100, 64, 1), 21, 2000, 0, {}),
    "images, Table 11": ((784, 1024, 256, 10), 14, 1600, 32, {}),
    "sentiment, Table 14": (
        (300, 256, 128, 2),
        30,
        1280,
        128,
        {"batch_norm": True, "dropout": 0.3},
    ),
    "cancer, Table 9 with 5 classes": ((100, 64, 5), 240, 570, 0, {}),
}


def plain(
    sizes: tuple[int, ...], options: dict, activation: type[nn.Module]
) -> nn.Sequential:
    layers: list[nn.Module] = []
    for wide, narrow in zip(sizes[:-2], sizes[1:-1]):
        layers += [nn.Linear(wide, narrow), activation()]
        layers += (
            [nn.BatchNorm1d(narrow), nn.Dropout(options["dropout"])] if options else []
        )
    return nn.Sequential(*layers, nn.Linear(sizes[-2], sizes[-1]))


def loop(
    networks: list[nn.Module],
    x: torch.Tensor,
    y: torch.Tensor,
    loss: Callable,
    epochs: int,
    batch: int,
) -> None:
    for network in networks:
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        for _ in range(epochs):
            for index in torch.randperm(len(x)).split(batch or len(x)):
                optimizer.zero_grad()
                loss(network(x[index]), y[index]).backward()
                optimizer.step()


def seconds(work: Callable[[], object]) -> float:
    """The least of three."""
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


def operations(sizes: tuple[int, ...]) -> int:
    """Of one sample's step: forward, gradients of the weights, gradients of all inputs
    but the data.
    """
    weights = [a * b for a, b in zip(sizes, sizes[1:])]
    return 6 * sum(weights) - 2 * weights[0]


def main() -> None:
    a = torch.randn(2000, 2000)
    speed = 2 * 2000**3 / seconds(lambda: a @ a)
    lines = [
        "| networks | as one stack, ms a step | plain loop, ms a step | ratio | GFLOP/s | of matrix-product speed |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, (sizes, count, n, batch, options) in CASES.items():
        regression, activation = (
            sizes[-1] == 1,
            nn.LeakyReLU if len(sizes) == 4 and not options else nn.ReLU,
        )
        x = torch.randn(n, sizes[0])
        y = torch.randn(n, 1) if regression else torch.randint(sizes[-1], (n,))
        epochs = max(1, 20 * (batch or n) // n)
        steps = epochs * -(-n // (batch or n))
        stack = [MLP(sizes, activation, seed=s, **options) for s in range(count)]
        ours = (
            seconds(
                lambda: fit(
                    stack,
                    x,
                    y,
                    squared_error if regression else cross_entropy,
                    epochs=epochs,
                    lr=1e-3,
                    batch_size=batch or None,
                    seeds=range(count),
                    device="cpu",
                )
            )
            / steps
        )
        peers = [plain(sizes, options, activation) for _ in range(count)]
        theirs = (
            seconds(
                lambda: loop(
                    peers,
                    x,
                    y,
                    nn.MSELoss() if regression else nn.CrossEntropyLoss(),
                    epochs,
                    batch,
                )
            )
            / steps
        )
        attained = operations(sizes) * (batch or n) * count / ours
        lines.append(
            f"| {name}: {count}, batch {batch or n} | {1e3 * ours:.1f} | {1e3 * theirs:.1f} | {ours / theirs:.2f} | "
            f"{attained / 1e9:.0f} | {attained / speed:.0%} |"
        )
        print(lines[-1], flush=True)
    lines += [
        "",
        f"Measured by `benchmarks/bench_training.py` on {time.strftime('%Y-%m-%d')} ({platform.machine()}, "
        f"{records.cores()} cores; product of two 2000 × 2000 matrices: {speed / 1e9:.0f} GFLOP/s).",
        "",
    ]
    records.write_text(TABLE, "\n".join(lines))


if __name__ == "__main__":
    main()
