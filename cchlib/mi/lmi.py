"""Latent mutual information as published (Gowri et al., 2024), at the settings of the
authors' package: nearest neighbours on learned, low-dimensional representations.

Encoders x -> z_x and y -> z_y are trained so that each representation tells about the
*other* variable; then the KSG estimator is applied to (z_x, z_y) on samples that the
networks have not learned from. By the data-processing inequality I(z_x; z_y) ≤ I(x; y):
what the networks miss is missing from the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cchlib import check
from cchlib.mi import ksg as nearest
from cchlib.mi._common import enough, is_discrete, nearest_ceiling, one_hot
from cchlib.mi.cross import CrossAutoencoder
from cchlib.training import resolve_device


def lmi(
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    runs: int = 1,
    seed: int = 0,
    device: str = "auto",
    latents: int = 8,
    epochs: int = 300,
    patience: int = 30,
    lr: float = 1e-4,
    batch_size: int = 512,
    k: int = 3,
) -> list[list[float]]:
    """I(x; y) in nats of each sample, `runs` values each, one after the other.

    The defaults are those of latentmi 0.1.3, which is what the paper used; its hidden
    layers are 1024, 512 and 256 wide. They cost some 35 GFLOP an epoch at 2,000 samples
    (half a second on one core, three quarters of its matrix-product speed, so that a
    stack would save nothing), for up to 300 epochs.

    Parameters
    ----------
    samples : pairs of arrays as `_common.variable` returns them, of equal shapes
    latents : int
        Dimensions of each representation.
    epochs, patience, lr, batch_size
        Adam; at most `epochs`, until `patience` of them brought no better held-out
        loss.
    k : int
        Neighbours.
    """
    for name, value in (
        ("latents", latents),
        ("epochs", epochs),
        ("patience", patience),
        ("batch_size", batch_size),
        ("k", k),
    ):
        check.integer(name, value, 1)
    lr = check.within("lr", lr, 0.0, open_low=True)
    enough(
        len(samples[0][0]),
        fewest({"k": k}),
        f"k = {k} neighbours in a half",
    )
    where = resolve_device(device)

    def estimate(x: np.ndarray, y: np.ndarray, run_seed: int) -> float:
        codes = _held_out_codes(
            x, y, run_seed, where, latents, epochs, patience, lr, batch_size
        )
        return nearest.ksg(*codes, k=k, parts=0, rescale="none")[0]

    return [[estimate(x, y, seed + run) for run in range(runs)] for x, y in samples]


def ceiling(n: int, options: Mapping[str, Any]) -> float:
    """What nearest neighbours can say at most on the half that is not learned from."""
    return nearest_ceiling(n - n // 2, options["k"])


def fewest(options: Mapping[str, Any]) -> int:
    """A half has k neighbours and two samples to tell them apart."""
    return 2 * (int(options["k"]) + 2)


def _held_out_codes(
    x: np.ndarray,
    y: np.ndarray,
    seed: int,
    device: torch.device,
    latents: int,
    epochs: int,
    patience: int,
    lr: float,
    batch_size: int,
) -> list[np.ndarray]:
    """Codes of x and of y on the held-out half, (n / 2, latents) each: one run as the
    `latentmi` package does it, seeded, silent, without its data loader.
    """
    y = one_hot(y) if is_discrete(y) else y
    a, b = (
        torch.from_numpy(np.clip((v - v.mean(0)) / v.std(0), -10, 10))
        .float()
        .to(device)
        for v in (x, y)
    )
    n = len(a)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(n))
    train, held_out = order[: n // 2], order[n // 2 :]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        model = CrossAutoencoder(a.shape[1], b.shape[1], latents).to(device)
        train_like_package(
            model,
            a[train],
            b[train],
            a[held_out],
            b[held_out],
            _shuffled(batch_size),
            lr,
            epochs,
            patience,
        )
    with torch.no_grad():
        codes = model.eval().encode(a[held_out], b[held_out])
    return [code.double().cpu().numpy() for code in codes]


def _shuffled(batch_size: int) -> Callable[[int], Sequence[Tensor]]:
    return lambda n: torch.randperm(n).split(batch_size)


def train_like_package(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    x_val: Tensor,
    y_val: Tensor,
    batches: Callable[[int], Sequence[Tensor]],
    lr: float,
    epochs: int,
    patience: int,
) -> list[float]:
    """`latentmi.lmi.train` on whole tensors: its batches, its loss, its stopping.
    Returns the validation losses.

    Kept as it is there: validation happens with dropout on, and the weights returned
    are the *last* epoch's (its "best state" is an alias of the live weights).
    `batches(n)` gives the index tensors of one pass.
    """
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, eps=1e-7)
    model.train()
    learning_loss = cast(Callable[[Tensor, Tensor], Tensor], model.learning_loss)
    losses: list[float] = []
    best, since = float("inf"), 0
    for _ in range(epochs):
        for index in batches(len(x)):
            loss = learning_loss(x[index], y[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            losses.append(
                float(
                    np.mean(
                        [
                            learning_loss(x_val[i], y_val[i]).item()
                            for i in batches(len(x_val))
                        ]
                    )
                )
            )
        best, since = (losses[-1], 0) if losses[-1] < best else (best, since + 1)
        if since >= patience:
            break
    return losses
