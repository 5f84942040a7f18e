"""MINE (Belghazi et al., 2018): a network T(x, y) that maximises the Donsker-Varadhan
bound on I(x; y).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cchlib import check
from cchlib.mi._common import is_discrete, normal_scores, one_hot, standard
from cchlib.mi.networks import AdamW, Encoders
from cchlib.training import resolve_device


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

    ``I(x; y) ≥ E_joint T - log E_product exp T`` (Eq. 10 of the reference). The gradient of the logarithm is
    biased in small batches; its denominator is therefore a moving average over batches
    (Eq. 12). The bound is evaluated on the fold that the network did not learn from, so
    it is a bound in expectation; training stops where a part of the *training* samples,
    as large as a fold, says so.

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
    n = len(samples[0][0])
    size = n // folds
    if size < 8:
        raise ValueError(f"x has {n} samples, too few for {folds} folds of at least 8")
    where = resolve_device(device)
    p, y = samples[0][0].shape[1], samples[0][1]
    width_in = p + (y.max() + 1 if is_discrete(y) else y.shape[1])
    blocks = np.empty((len(samples) * runs * folds, size * folds, width_in), np.float32)
    seeds: list[int] = []
    for x, y in samples:
        inputs = np.hstack(
            [
                normal_scores(x),
                standard(one_hot(y)) if is_discrete(y) else normal_scores(y),
            ]
        )
        for run in range(runs):
            order = (
                np.random.default_rng([seed, run])
                .permutation(n)[: size * folds]
                .reshape(folds, size)
            )
            for fold in range(folds):
                blocks[len(seeds)] = inputs[
                    np.roll(order, -fold, 0).reshape(-1)
                ]  # test fold, validation fold, training
                seeds.append(
                    int(np.random.SeedSequence([seed, run, fold]).generate_state(1)[0])
                )
    data = torch.from_numpy(blocks).to(where)
    all_x, all_y = data[..., :p], data[..., p:]
    parts = [slice(2 * size, None), slice(size, 2 * size), slice(0, size)]
    train, validation, test = [(all_x[:, part], all_y[:, part]) for part in parts]
    streams = [torch.Generator().manual_seed(s) for s in seeds]
    network = Encoders(
        np.zeros((len(seeds), data.shape[-1], 1)),
        [data.shape[-1], width, width],
        seeds,
        where,
    )
    _fit(
        network,
        train,
        validation,
        streams,
        epochs,
        patience,
        lr,
        batch_size,
        decay,
        shuffles,
    )
    with torch.no_grad():
        values = _bound(network, *test, streams, shuffles).double().cpu().numpy()
    return values.reshape(len(samples), runs, folds).mean(-1).tolist()


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
    parameters = network.parameters
    optimizer = AdamW([network], lr, lr)
    size, n = train[0].shape[:2]
    batch = min(batch_size, n)
    average = torch.ones(size, device=train[0].device)  # T starts at 0, so E exp T at 1
    best = [p.detach().clone() for p in parameters]
    highest = torch.zeros(size, device=train[0].device)  # T = 0 gives the bound 0
    since = torch.zeros_like(highest)
    for _ in range(epochs):
        order = _permutations(streams, n, train[0].device)
        for low in range(0, n - batch + 1, batch):
            x, y = (_rows(v, order[:, low : low + batch]) for v in train)
            other = _rows(y, _permutations(streams, batch, y.device))
            joint, product = _score(network, x, y), _score(network, x, other)
            mean = product.exp().mean(1)
            average = decay * average + (1 - decay) * mean.detach()
            optimizer.step((mean / average - joint.mean(1)).sum())
        with torch.no_grad():
            now = _bound(network, *validation, streams, shuffles)
            better = now > highest
            for kept, p in zip(best, parameters):
                kept[better] = p[better]
            highest, since = (
                torch.where(better, now, highest),
                torch.where(better, 0.0, since + 1),
            )
        if bool((since >= patience).all()):
            break
    with torch.no_grad():
        for kept, p in zip(best, parameters):
            p.copy_(kept)


def _score(network: Encoders, x: Tensor, y: Tensor) -> Tensor:
    """T(x, y), (S, n); |T| ≤ 20 by a soft clip, so that one pair cannot overflow the
    mean of exp T.
    """
    return 20 * torch.tanh(network(torch.cat([x, y], -1)).squeeze(-1) / 20)


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
    product = [
        _score(network, x, _rows(y, _permutations(streams, n, y.device)))
        for _ in range(shuffles)
    ]
    return joint - torch.cat(product, 1).logsumexp(1) + np.log(n * shuffles)


def _permutations(
    streams: list[torch.Generator], n: int, device: torch.device
) -> Tensor:
    return torch.stack([torch.randperm(n, generator=stream) for stream in streams]).to(
        device
    )


def _rows(v: Tensor, index: Tensor) -> Tensor:
    return v[torch.arange(len(v), device=v.device)[:, None], index]
