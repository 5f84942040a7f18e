"""What trained networks say."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cchlib import check
from cchlib.training.inputs import Data, PerNetwork, Read, moved, read
from cchlib.training.networks import as_list
from cchlib.training.stack import resolve_device, stack_of


def predict(
    networks: nn.Module | Sequence[nn.Module],
    x: Data,
    *,
    device: str = "auto",
    batch_size: int = 8192,
) -> Tensor:
    """Outputs in evaluation mode, on the CPU: (n, ...) for one network, (S, n, ...) for
    a sequence.
    """
    return _evaluate(networks, x, "forward", device, batch_size)


def features(
    networks: nn.Module | Sequence[nn.Module],
    x: Data,
    *,
    device: str = "auto",
    batch_size: int = 8192,
) -> Tensor:
    """Representations H in evaluation mode, on the CPU: (n, h) for one network, (S, n,
    h) for a sequence.
    """
    return _evaluate(networks, x, "features", device, batch_size)


@torch.no_grad()
def _evaluate(networks, x: Data, method: str, device: str, batch_size: int) -> Tensor:
    single = isinstance(networks, nn.Module)
    networks = as_list(networks)
    batch_size = check.integer("batch_size", batch_size, 1)
    if not callable(getattr(networks[0], method, None)):
        raise ValueError(
            f"`networks` must have a method {method!r}, as those of cchlib.models, got "
            f"{type(networks[0]).__name__}"
        )
    (data,) = read(networks, x=x, targets=[])
    where = resolve_device(device)
    stack = stack_of(networks, data, where, training=False, method=method)
    rows = max(1, batch_size // len(networks))
    batches: Sequence[Read]
    if isinstance(data, PerNetwork):
        batches = [PerNetwork(part) for part in data.tensor.split(rows, 1)]
    else:
        batches = list(data.split(rows))
    outputs = []
    for batch in batches:
        output = stack(moved(batch, where), method=method)
        outputs.append(output.cpu())
    result = torch.cat(outputs, 1)
    return result[0] if single else result
