"""Training as the chapters do it, as one stack, against a plain PyTorch loop over the
networks, in one run.

    python benchmarks/bench_training.py

Writes the table of the book's page on speed: seconds a step of all networks, their
ratio, and the share of this machine's matrix-product speed that the stack attains, by
one job of all threads and by one job of one thread a core. The loop is what a script
would do, less its data loader: `nn.Sequential`, `torch.optim`, whole tensors indexed by
a permutation.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cchbook.runs import records
from cchlib.losses import cross_entropy, squared_error
from cchlib.models import MLP
from cchlib.training import fit

TABLE = Path(__file__).resolve().parents[1] / "book" / "bench_training.md"


@dataclass(frozen=True)
class Case:
    """A chapter's networks: widths, how many in the stack, samples, batch (0: all)."""

    sizes: tuple[int, ...]
    count: int
    samples: int
    batch: int
    activation: type[nn.Module] = nn.ReLU
    options: dict[str, Any] = field(default_factory=dict)  # of the network
    rule: dict[str, Any] = field(default_factory=lambda: {"optimizer": "adam"})

    @property
    def width(self) -> int:
        """Samples a step."""
        return self.batch or self.samples

    @property
    def epochs(self) -> int:
        """Some twenty steps."""
        return max(1, 20 * self.width // self.samples)

    @property
    def steps(self) -> int:
        """Of all epochs."""
        return self.epochs * -(-self.samples // self.width)

    @property
    def operations(self) -> int:
        """Of one step of all networks: forward, gradients of the weights, gradients of
        all inputs but the data.
        """
        weights = [a * b for a, b in zip(self.sizes, self.sizes[1:])]
        return (6 * sum(weights) - 2 * weights[0]) * self.width * self.count

    def data(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Random inputs, and targets or labels."""
        n, outputs = self.samples, self.sizes[-1]
        y = torch.randn(n, 1) if outputs == 1 else torch.randint(outputs, (n,))
        return torch.randn(n, self.sizes[0]), y


CASES = {
    "synthetic, Table 9": Case((100, 64, 1), 21, 2000, 0),
    "images, Table 11": Case(
        (784, 1024, 256, 10),
        14,
        1600,
        32,
        nn.LeakyReLU,
        rule={"optimizer": "sgd", "momentum": 0.9},
    ),
    "sentiment, Table 14": Case(
        (300, 256, 128, 2),
        30,
        1280,
        128,
        options={"batch_norm": True, "dropout": 0.3},
    ),
    "cancer, Table 9 with 5 classes": Case((100, 64, 5), 240, 570, 0),
}


def plain(case: Case) -> nn.Sequential:
    """The network as a script would write it."""
    layers: list[nn.Module] = []
    for wide, narrow in zip(case.sizes[:-2], case.sizes[1:-1]):
        layers += [nn.Linear(wide, narrow), case.activation()]
        if case.options:
            layers += [nn.BatchNorm1d(narrow), nn.Dropout(case.options["dropout"])]
    return nn.Sequential(*layers, nn.Linear(*case.sizes[-2:]))


def loop(case: Case, networks: list[nn.Module], x: torch.Tensor, y: torch.Tensor):
    """Train one network after the other."""
    loss = nn.MSELoss() if case.sizes[-1] == 1 else nn.CrossEntropyLoss()
    rule = dict(case.rule)
    kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[rule.pop("optimizer")]
    for network in networks:
        optimizer = kind(network.parameters(), lr=1e-3, **rule)
        for _ in range(case.epochs):
            for index in torch.randperm(len(x)).split(case.width):
                optimizer.zero_grad()
                loss(network(x[index]), y[index]).backward()
                optimizer.step()


def stacked(name: str, threads: int) -> float:
    """Seconds a step of a case's stack."""
    torch.set_num_threads(threads)
    case = CASES[name]
    x, y = case.data()
    seeds = range(case.count)
    networks = [MLP(case.sizes, case.activation, seed=s, **case.options) for s in seeds]
    loss = squared_error if case.sizes[-1] == 1 else cross_entropy

    def work():
        fit(
            networks,
            x,
            y,
            loss,
            epochs=case.epochs,
            lr=1e-3,
            batch_size=case.batch or None,
            seeds=seeds,
            device="cpu",
            **case.rule,
        )

    return seconds(work) / case.steps


def seconds(work: Callable[[], object]) -> float:
    """The least of three."""
    spent = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return min(spent)


def main() -> None:
    cores = records.cores()
    torch.set_num_threads(cores)
    a = torch.randn(2000, 2000)
    speed = 2 * 2000**3 / seconds(lambda: a @ a)
    lines = [
        "| networks | as one stack, ms a step | plain loop, ms a step | ratio | "
        "GFLOP/s "
        "| of matrix-product speed | as one job a core, of one thread |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, case in CASES.items():
        ours = stacked(name, cores)
        x, y = case.data()
        peers = [plain(case) for _ in range(case.count)]
        theirs = seconds(lambda: loop(case, peers, x, y)) / case.steps  # noqa: B023
        with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
            alone = list(pool.map(stacked, [name] * cores, [1] * cores))
        attained = case.operations / ours
        together = sum(case.operations / each for each in alone)
        lines.append(
            f"| {name}: {case.count}, batch {case.width} | {1e3 * ours:.1f} "
            f"| {1e3 * theirs:.1f} | {ours / theirs:.2f} | {attained / 1e9:.0f} "
            f"| {attained / speed:.0%} | {together / speed:.0%} |"
        )
        print(lines[-1], flush=True)
    lines += [
        "",
        f"Measured by `benchmarks/bench_training.py` on {time.strftime('%Y-%m-%d')} "
        f"({platform.machine()}, {cores} cores; product of two 2000 × 2000 matrices: "
        f"{speed / 1e9:.0f} GFLOP/s).",
        "",
    ]
    records.write_text(TABLE, "\n".join(lines))


if __name__ == "__main__":
    main()
