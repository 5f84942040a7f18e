"""Latent mutual information (Gowri et al., 2024): nearest neighbours on learned, low-dimensional representations.

Encoders x -> z_x and y -> z_y are trained so that each representation predicts the *other* variable; then the
KSG estimator is applied to (z_x, z_y) on samples that the networks have not seen. By the data-processing
inequality I(z_x; z_y) ≤ I(x; y): what the networks miss is missing from the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cchlib import _check
from cchlib.mi import ksg as nearest
from cchlib.mi import latent
from cchlib.mi._common import is_discrete, one_hot
from cchlib.training import resolve_device

PRESETS: dict[str, dict[str, Any]] = {
    # as latentmi 0.1.3 does it, which is what the paper used
    "package": {"width": 1024, "latents": 8, "epochs": 300, "patience": 30, "lr": 1e-4, "batch_size": 512, "k": 3},
    "default": {"width": (128,), "latents": 8, "epochs": 60, "patience": 6, "lr": 2e-3, "batch_size": 256, "k": 3,
                "folds": 5, "surrogates": 4},
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
    return latent.estimate(samples, settings, runs, seed, where)


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
