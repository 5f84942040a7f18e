"""Latent mutual information (Gowri et al., 2024): nearest neighbours on learned,
low-dimensional representations.

Encoders x -> z_x and y -> z_y are trained so that each representation tells about the
*other* variable; then the KSG estimator is applied to (z_x, z_y) on samples that the
networks have not learned from. By the data-processing inequality I(z_x; z_y) ≤ I(x; y):
what the networks miss is missing from the estimate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cchlib import check
from cchlib.mi import ksg as nearest
from cchlib.mi import latent
from cchlib.mi._common import is_discrete, one_hot
from cchlib.mi.cross import CrossAutoencoder
from cchlib.training import resolve_device

PRESETS: dict[str, dict[str, Any]] = {
    # latentmi 0.1.3, which is what the paper used; its widths are 1024, 512, 256
    "package": {
        "latents": 8,
        "epochs": 300,
        "patience": 30,
        "lr": 1e-4,
        "batch_size": 512,
        "k": 3,
    },
    # chosen on `panel.problems("tune")`
    "default": {
        "latents": None,  # as many as the data asks for
        "epochs": 60,
        "patience": 6,
        "lr": 2e-3,
        "batch_size": 256,
        "k": 3,
        "width": 128,
        "folds": 5,
        "surrogates": 4,
    },
}


def lmi(
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    runs: int = 1,
    seed: int = 0,
    device: str = "auto",
    preset: str = "default",
    latents: int | None = None,
    epochs: int | None = None,
    patience: int | None = None,
    lr: float | None = None,
    batch_size: int | None = None,
    k: int | None = None,
    width: int | None = None,
    folds: int | None = None,
    surrogates: int | None = None,
) -> list[list[float]]:
    """I(x; y) in nats of each sample, `runs` values each.

    Parameters
    ----------
    samples : pairs of arrays as `_common.variable` returns them, of equal shapes
    preset : {"default", "package"}
        "default": see `cchlib.mi.latent`; samples, runs and folds are trained as one
        stack. "package": what the `latentmi` package does, in nats, run after run. An
        option left at None is the preset's. The package's networks cost some 35 GFLOP
        an epoch at 2,000 samples (half a second on one core, three quarters of its
        matrix-product speed, so that a stack would save nothing there), for up to 300
        epochs.
    latents : int or None
        Dimensions of each representation; for a discrete y no more than its classes
        less one ("default"). None: 8, and while all of them are correlated on held-out
        samples, twice as many: up to min(p, q, n / 20, 64). There is a warning where
        more would still help.
    epochs, patience, lr, batch_size
        Adam; at most `epochs`, until `patience` of them brought no better held-out
        loss.
    k : int
        Neighbours.
    width, folds, surrogates : int
        "default" only: hidden units; cross-fitting; Gaussian samples that measure KSG's
        bias (0: uncorrected).
    """
    chosen = settings(
        preset,
        latents=latents,
        epochs=epochs,
        patience=patience,
        lr=lr,
        batch_size=batch_size,
        k=k,
        width=width,
        folds=folds,
        surrogates=surrogates,
    )
    where = resolve_device(device)
    n, parts = len(samples[0][0]), chosen.get("folds", 2)
    if n // parts <= chosen["k"] + 1:
        raise ValueError(
            f"x has {n} samples, too few for k = {chosen['k']} neighbours in each of "
            f"{parts} folds; at "
            f"least {parts * (chosen['k'] + 2)} are wanted"
        )
    if preset == "package":
        return [
            [_package(x, y, chosen, seed + run, where) for run in range(runs)]
            for x, y in samples
        ]
    return latent.estimate(list(samples), chosen, runs, seed, where)


def settings(preset: str = "default", **options: Any) -> dict[str, Any]:
    """The preset with the options that are not None in their place, checked."""
    chosen = dict(PRESETS[check.one_of("preset", preset, PRESETS)])
    for name, value in options.items():
        if value is None:
            continue
        if name not in chosen:
            raise ValueError(
                f"{name} is not an option of preset {preset!r}; one of "
                f"{', '.join(chosen)} is wanted"
            )
        if name == "lr":
            chosen[name] = check.within(name, value, 0.0, open_low=True)
        else:
            chosen[name] = check.integer(
                name, value, {"surrogates": 0, "folds": 2}.get(name, 1)
            )
    return chosen


# ---------------------------------------------------------------- preset "package"


def _package(
    x: np.ndarray,
    y: np.ndarray,
    chosen: dict[str, Any],
    seed: int,
    device: torch.device,
) -> float:
    """One run as the `latentmi` package does it; in nats, seeded, silent, without its
    data loader.
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
        model = CrossAutoencoder(a.shape[1], b.shape[1], chosen["latents"]).to(device)
        train_like_package(
            model,
            a[train],
            b[train],
            a[held_out],
            b[held_out],
            _shuffled(chosen["batch_size"]),
            chosen["lr"],
            chosen["epochs"],
            chosen["patience"],
        )
    with torch.no_grad():
        latents = [
            z.double().cpu().numpy()
            for z in model.eval().encode(a[held_out], b[held_out])
        ]
    return nearest.ksg(*latents, k=chosen["k"], parts=0)[0]


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
