"""MINE (Belghazi et al., 2018): a network T(x, y) that maximises the Donsker-Varadhan
bound on I(x; y).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cchlib import check
from cchlib.mi._common import (
    enough,
    is_discrete,
    normal_scores,
    one_hot,
    standard,
)
from cchlib.mi.networks import AdamW, Encoders
from cchlib.training import BestEpoch, resolve_device

FEWEST_IN_FOLD = 8


def mine(
    samples: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    runs: int = 1,
    seed: int = 0,
    device: str = "auto",
    width: int = 128,
    epochs: int = 60,
    patience: int = 8,
    lr: float = 2e-3,
    batch_size: int = 256,
    decay: float = 0.99,
    folds: int = 5,
    shuffles: int = 20,
) -> list[list[float]]:
    """I(x; y) in nats of each sample, `runs` values each; samples x runs x folds
    networks are one stack.

    ``I(x; y) ≥ E_joint T - log E_product exp T`` (Eq. 10 of the reference). The
    gradient of the logarithm is biased in small batches; its denominator is therefore a
    moving average over batches (Eq. 12). The bound is evaluated on the fold that the
    network did not learn from, so it is a bound in expectation; training stops where a
    part of the *training* samples, as large as a fold, says so.

    Parameters
    ----------
    samples : pairs of arrays as `_common.variable` returns them, of equal shapes
    width : int
        Of the two hidden layers of T.
    epochs, patience, lr, batch_size
        AdamW; at most `epochs`, until `patience` of them brought no better validation
        bound.
    decay : float
        Of the moving average of E_product exp T.
    folds : int
        Cross-fitting: the estimate is the mean over folds; at least 3.
    shuffles : int
        Permutations of y that stand for the product of the marginals in an evaluation.
    """
    for name, value in (
        ("width", width),
        ("epochs", epochs),
        ("patience", patience),
        ("batch_size", batch_size),
        ("shuffles", shuffles),
    ):
        check.integer(name, value, 1)
    check.integer("folds", folds, 3)
    check.within("lr", lr, 0.0, open_low=True)
    check.within("decay", decay, 0.0, 1.0)
    n, p = samples[0][0].shape
    enough(n, fewest({"folds": folds}), f"{folds} folds of at least {FEWEST_IN_FOLD}")
    size = n // folds
    where = resolve_device(device)
    blocks: list[np.ndarray] = []
    seeds: list[int] = []
    for x, y in samples:
        inputs = _inputs(x, y)
        for run in range(runs):
            order = np.random.default_rng([seed, run]).permutation(n)
            rows = order[: size * folds].reshape(folds, size)
            for fold in range(folds):
                # test fold, validation fold, training
                turned = np.roll(rows, -fold, 0).reshape(-1)
                blocks.append(inputs[turned])
                sequence = np.random.SeedSequence([seed, run, fold])
                seeds.append(int(sequence.generate_state(1)[0]))
    data = torch.from_numpy(np.stack(blocks)).to(where)
    test, validation, train = data.split([size, size, (folds - 2) * size], dim=1)
    streams = [torch.Generator().manual_seed(s) for s in seeds]
    width_in = data.shape[-1]
    start = np.zeros((len(seeds), width_in, 1))
    network = Encoders(start, [width_in, width, width], seeds, where)
    _fit(
        network,
        _apart(train, p),
        _apart(validation, p),
        streams,
        epochs,
        patience,
        lr,
        batch_size,
        decay,
        shuffles,
    )
    with torch.no_grad():
        values = _bound(network, *_apart(test, p), streams, shuffles)
    each = values.double().cpu().numpy().reshape(len(samples), runs, folds)
    return each.mean(-1).tolist()


def ceiling(n: int, options: Mapping[str, Any]) -> float:
    """A Donsker-Varadhan bound on m samples says ln m at most (McAllester and Stratos,
    2020).
    """
    return float(np.log(n // options["folds"]))


def fewest(options: Mapping[str, Any]) -> int:
    """So many that no fold is too small for a mean of exponentials."""
    return FEWEST_IN_FOLD * int(options["folds"])


def _inputs(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """What T reads of the pairs, (n, p + q) float32."""
    seen_x = normal_scores(x)
    if is_discrete(y):
        seen_y = standard(one_hot(y))
    else:
        seen_y = normal_scores(y)
    return np.hstack([seen_x, seen_y]).astype(np.float32)


def _apart(data: Tensor, p: int) -> tuple[Tensor, Tensor]:
    """X (S, n, p) and y (S, n, q) of the pairs."""
    return data[..., :p], data[..., p:]


def _fit(
    network: Encoders,
    train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor],
    streams: list[torch.Generator],
    epochs: int,
    patience: int,
    lr: float,
    batch_size: int,
    decay: float,
    shuffles: int,
) -> None:
    """Train in place; every network ends at its own best epoch, at worst at T = 0.

    `cchlib.training.fit` takes a loss of one output; here a network meets joint pairs
    and shuffled ones in each batch, and the loss remembers the batches before. What
    both share is `BestEpoch`.
    """
    optimizer = AdamW([network], lr, lr)
    best = BestEpoch(network.parameters, patience, start=0.0)  # T = 0 bounds by 0
    x, y = train
    size, n = x.shape[:2]
    batch = min(batch_size, n)
    average = torch.ones(size, device=x.device)  # T starts at 0, so E exp T at 1
    for epoch in range(epochs):
        order = _permutations(streams, n, x.device)
        for low in range(0, n - batch + 1, batch):
            rows = order[:, low : low + batch]
            own, paired = _rows(x, rows), _rows(y, rows)
            other = _rows(paired, _permutations(streams, batch, x.device))
            joint = _score(network, own, paired)
            product = _score(network, own, other)
            mean = product.exp().mean(1)
            average = decay * average + (1 - decay) * mean.detach()
            loss = mean / average - joint.mean(1)
            optimizer.step(loss.sum())
        with torch.no_grad():
            bound = _bound(network, *validation, streams, shuffles)
        if best.see(-bound, epoch):
            break
    best.restore()


def _score(network: Encoders, x: Tensor, y: Tensor) -> Tensor:
    """T(x, y), (S, n); |T| ≤ 20 by a soft clip, so that one pair cannot overflow the
    mean of exp T.
    """
    pairs = torch.cat([x, y], -1)
    raw = network(pairs).squeeze(-1)
    return 20 * torch.tanh(raw / 20)


def _bound(
    network: Encoders,
    x: Tensor,
    y: Tensor,
    streams: list[torch.Generator],
    shuffles: int,
) -> Tensor:
    """The Donsker-Varadhan bound of every network, (S,), with the mean over products
    from several shuffles of y.
    """
    n = x.shape[1]
    joint = _score(network, x, y).mean(1)
    product = []
    for _ in range(shuffles):
        other = _rows(y, _permutations(streams, n, y.device))
        product.append(_score(network, x, other))
    summed = torch.cat(product, 1).logsumexp(1)
    return joint - summed + np.log(n * shuffles)


def _permutations(
    streams: list[torch.Generator], n: int, device: torch.device
) -> Tensor:
    orders = [torch.randperm(n, generator=stream) for stream in streams]
    return torch.stack(orders).to(device)


def _rows(v: Tensor, index: Tensor) -> Tensor:
    return v[torch.arange(len(v), device=v.device)[:, None], index]
