"""Latent mutual information (Gowri et al., 2024): nearest neighbours on learned, low-dimensional representations.

Encoders x -> z_x and y -> z_y are trained so that each representation predicts the *other* variable; then the
KSG estimator is applied to (z_x, z_y) on samples that the networks have not seen. By the data-processing
inequality I(z_x; z_y) ≤ I(x; y): what the networks miss is missing from the estimate.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cchlib import _check
from cchlib.mi import ksg as nearest
from cchlib.mi._common import is_discrete, one_hot
from cchlib.training import resolve_device

PRESETS: dict[str, dict[str, Any]] = {
    # as latentmi 0.1.3 does it, which is what the paper used
    "package": {"width": 1024, "latents": 8, "epochs": 300, "patience": 30, "lr": 1e-4, "batch_size": 512, "k": 3},
    "default": {"width": 256, "latents": 8, "epochs": 300, "patience": 8, "lr": 1e-3, "batch_size": 256, "k": 3},
}


def lmi(samples: Sequence[tuple[np.ndarray, np.ndarray]], *, runs: int = 1, seed: int = 0, device: str = "auto",
        preset: str = "default", latents: int | None = None, epochs: int | None = None, patience: int | None = None,
        lr: float | None = None, batch_size: int | None = None, k: int | None = None) -> list[list[float]]:
    """I(x; y) in nats for every sample (x, y), `runs` values each; all trained as one stack."""
    _check.one_of("preset", preset, PRESETS)
    given = {"latents": latents, "epochs": epochs, "patience": patience, "batch_size": batch_size, "k": k}
    given = {name: _check.integer(name, value, 1) for name, value in given.items() if value is not None}
    if lr is not None:
        given["lr"] = _check.within("lr", lr, 0.0, open_low=True)
    settings = PRESETS[preset] | given
    where = resolve_device(device)
    n = len(samples[0][0])
    if n // 2 <= settings["k"]:
        raise ValueError(f"x has {n} samples, too few for k = {settings['k']} neighbours in each half")
    if preset == "package":
        return [[_package(x, y, settings, seed + run, where) for run in range(runs)] for x, y in samples]
    return _default(samples, settings, runs, seed, where)


# ---------------------------------------------------------------- preset "package"

def _package(x: np.ndarray, y: np.ndarray, settings: dict[str, Any], seed: int, device: torch.device) -> float:
    """One run as the `latentmi` package does it; in nats, seeded, silent, without its data loader."""
    from latentmi.models import AECross

    y = one_hot(y) if is_discrete(y) else y
    x, y = (torch.from_numpy(np.clip((v - v.mean(0)) / v.std(0), -10, 10)).float().to(device) for v in (x, y))
    n = len(x)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    train, held_out = order[: n // 2], order[n // 2:]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = AECross(x.shape[1], y.shape[1], settings["latents"]).to(device)
        train_like_package(model, x[train], y[train], x[held_out], y[held_out], _shuffled(settings["batch_size"]),
                           settings["lr"], settings["epochs"], settings["patience"])
    with torch.no_grad():
        latents = [z.double().cpu().numpy() for z in model.eval().encode(x[held_out], y[held_out])]
    return nearest.ksg(*latents, k=settings["k"], parts=0)[0]


def _shuffled(batch_size: int) -> Callable[[int], Sequence[Tensor]]:
    return lambda n: torch.randperm(n).split(batch_size)


def train_like_package(model: nn.Module, x: Tensor, y: Tensor, x_val: Tensor, y_val: Tensor,
                       batches: Callable[[int], Sequence[Tensor]], lr: float, epochs: int, patience: int) -> list[float]:
    """`latentmi.lmi.train` on whole tensors: its batches, its loss, its stopping. Returns the validation losses.

    Kept as it is there: validation happens with dropout on, and the weights returned are the *last* epoch's
    (its "best state" is an alias of the live weights). `batches(n)` gives the index tensors of one pass.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, eps=1e-7)
    model.train()
    losses: list[float] = []
    best, since = float("inf"), 0
    for _ in range(epochs):
        for index in batches(len(x)):
            loss = model.learning_loss(x[index], y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(float(np.mean([model.learning_loss(x_val[i], y_val[i]).item() for i in batches(len(x_val))])))
        best, since = (losses[-1], 0) if losses[-1] < best else (best, since + 1)
        if since >= patience:
            break
    return losses


# ---------------------------------------------------------------- preset "default"

class _Networks:
    """S copies of encoders and cross-decoders as tensors with a leading axis S."""

    def __init__(self, sizes: dict[str, list[int]], seeds: list[int], device: torch.device):
        self.layers: dict[str, list[tuple[Tensor, Tensor]]] = {}
        generators = [torch.Generator().manual_seed(s) for s in seeds]
        for name, widths in sizes.items():
            self.layers[name] = []
            for a, b in zip(widths[:-1], widths[1:]):
                bound = (6 / (a + b)) ** 0.5
                w = torch.stack([torch.rand(a, b, generator=g) for g in generators]).mul_(2 * bound).sub_(bound)
                self.layers[name].append((w.to(device).requires_grad_(),
                                          torch.zeros(len(seeds), 1, b, device=device).requires_grad_()))

    def parameters(self) -> list[Tensor]:
        return [p for layers in self.layers.values() for layer in layers for p in layer]

    def __call__(self, name: str, x: Tensor, last_active: bool = False) -> Tensor:
        layers = self.layers[name]
        for i, (w, b) in enumerate(layers):
            x = torch.baddbmm(b, x, w)
            if i < len(layers) - 1 or last_active:
                x = F.leaky_relu(x, 0.2)
        return x


def _default(samples, settings, runs: int, seed: int, device: torch.device) -> list[list[float]]:
    n, width, latents = len(samples[0][0]), settings["width"], settings["latents"]
    discrete = is_discrete(samples[0][1])
    standard = []
    for x, y in samples:
        y = one_hot(y) if discrete else y
        standard.append([torch.from_numpy(np.clip((v - v.mean(0)) / v.std(0), -10, 10)).float() for v in (x, y)])
    orders = [np.random.default_rng([seed, run]).permutation(n) for run in range(runs)]
    jobs = [(s, run, fold) for s in range(len(samples)) for run in range(runs) for fold in range(2)]
    halves = {(run, fold): np.sort(orders[run][fold::2]) for run in range(runs) for fold in range(2)}
    size = n // 2
    rows = [(halves[run, fold][:size], halves[run, 1 - fold][:size]) for _, run, fold in jobs]
    data = [[torch.stack([standard[s][v][rows[j][part]] for j, (s, _, _) in enumerate(jobs)]).to(device)
             for v in range(2)] for part in range(2)]
    seeds = [int(np.random.SeedSequence([seed, run, fold]).generate_state(1)[0]) for _, run, fold in jobs]
    p, q = data[0][0].shape[-1], data[0][1].shape[-1]
    networks = _Networks({"x": [p, width, width // 2, latents], "y": [q, width, width // 2, latents],
                          "xy": [latents, width // 2, width, q], "yx": [latents, width // 2, width, p],
                          "xx": [latents, width // 2, width, p], "yy": [latents, width // 2, width, q]}, seeds, device)

    def loss(x, y):
        zx, zy = networks("x", x, True), networks("y", y, True)
        return sum((networks(name, z) - t).square().mean((1, 2))
                   for name, z, t in (("xy", zx, y), ("yx", zy, x), ("xx", zx, x), ("yy", zy, y)))

    best = _fit(networks, loss, data, settings, seeds)
    with torch.no_grad():
        for p_, b in zip(networks.parameters(), best):
            p_.copy_(b)
        zx, zy = networks("x", data[1][0], True).double().cpu().numpy(), networks("y", data[1][1], True).double().cpu().numpy()
    result: list[list[float]] = [[0.0] * runs for _ in samples]
    for j, (s, run, _) in enumerate(jobs):
        other = samples[s][1][rows[j][1]] if discrete else zy[j]
        result[s][run] += nearest.ksg(zx[j], other, k=settings["k"], parts=0)[0] / 2
    return result


def _fit(networks, loss, data, settings, seeds) -> list[Tensor]:
    (x, y), (xv, yv) = data
    parameters = networks.parameters()
    optimizer = torch.optim.Adam(parameters, lr=settings["lr"], fused=True)
    generators = [torch.Generator().manual_seed(s + 1) for s in seeds]
    size = len(x)
    best = [p.detach().clone() for p in parameters]
    lowest = torch.full((size,), float("inf"), device=x.device)
    since = torch.zeros(size, device=x.device)
    net = torch.arange(size, device=x.device)[:, None]
    for _ in range(settings["epochs"]):
        order = torch.stack([torch.randperm(x.shape[1], generator=g) for g in generators]).to(x.device)
        for index in order.split(settings["batch_size"], 1):
            optimizer.zero_grad()
            loss(x[net, index], y[net, index]).sum().backward()
            optimizer.step()
        with torch.no_grad():
            now = loss(xv, yv)
            better = now < lowest
            for b, p in zip(best, parameters):
                b[better] = p[better]
            lowest = torch.where(better, now, lowest)
            since = torch.where(better, 0, since + 1)
        if bool((since >= settings["patience"]).all()):
            break
    return best
