"""What networks are given: data that all see, or one set a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from cchlib import check
from cchlib.training.networks import copied


@dataclass(frozen=True)
class PerNetwork:
    """Data of shape (S, n, ...) of which network s sees row s; a plain tensor (n, ...)
    is seen by all.
    """

    tensor: Any  # a tensor or an array

    @staticmethod
    def stack(tensors: Sequence[Tensor | np.ndarray]) -> PerNetwork:
        """One tensor a network, stacked; ValueError where their shapes differ."""
        parts = [check.as_tensor("tensors", tensor) for tensor in tensors]
        shapes = sorted({tuple(part.shape) for part in parts})
        if len(shapes) != 1:
            raise ValueError(
                f"`tensors` must be at least one, all of one shape, got shapes {shapes}"
            )
        return PerNetwork(torch.stack(parts))


#: numbers of a sample from which on whole rows are copied, three times as fast as
#: reading entry by entry
WIDE_ROW = 16

Data = Tensor | np.ndarray | PerNetwork
Read = Tensor | PerNetwork  # the data once `read` has seen it


def read(networks: list[nn.Module], x: Data, targets: Sequence[Data]) -> list[Read]:
    """Inputs and targets as tensors, once the networks take the inputs."""
    data = [_tensors("x", x, networks)]
    data += [_tensors("targets", item, networks) for item in targets]
    sample_count(data, len(networks))
    _accepts(networks, data[0])
    return data


def validation_data(
    networks: list[nn.Module],
    validation: Sequence[Data] | None,
    patience: int | None,
    targets: int,
) -> list[Read]:
    """Inputs and targets of the validation, as tensors; empty without one."""
    if patience is not None:
        check.integer("patience", patience, 1)
    if validation is None:
        if patience is not None:
            raise ValueError(
                "`patience` needs `validation`, data held out, got "
                f"patience={patience} alone"
            )
        return []
    if not isinstance(validation, (list, tuple)) or len(validation) != 1 + targets:
        raise ValueError(
            f"`validation` must be a tuple of x and {targets} targets, as `fit` was "
            "given"
        )
    try:
        return read(networks, x=validation[0], targets=validation[1:])
    except ValueError as error:
        raise ValueError(f"`validation`: {error}") from None


def moved(item: Read, where: torch.device) -> Read:
    """The data on the device."""
    if isinstance(item, PerNetwork):
        return PerNetwork(item.tensor.to(where))
    return item.to(where)


def _tensors(name: str, item: Data, networks: Sequence[nn.Module]) -> Read:
    """As finite tensors, floating-point ones in the networks' precision."""
    if isinstance(item, PerNetwork):
        tensor = cast(Tensor, _tensors(name, item.tensor, networks))
        if tensor.ndim < 2:
            raise ValueError(
                f"`{name}` must have shape (S, n, ...), one row a network, as a "
                f"PerNetwork, got {tuple(tensor.shape)}"
            )
        return PerNetwork(tensor)
    tensor = check.as_tensor(name, item)
    if tensor.ndim == 0:
        raise ValueError(f"`{name}` must have one row a sample, got a single number")
    check.all_finite(name, tensor)
    if tensor.is_inference():
        tensor = tensor.clone()  # autograd takes none that inference mode made
    kind = next(
        (p.dtype for network in networks for p in network.parameters()), tensor.dtype
    )
    return tensor.to(kind) if tensor.is_floating_point() else tensor


@torch.no_grad()
def _accepts(networks: Sequence[nn.Module], x: Read) -> None:
    """Show one sample to a copy of one network: what it can't read is refused here, by
    name.
    """
    sample = first_samples(x, 1)
    network = copied(networks[0]).eval()
    where = next((p.device for p in network.parameters()), sample.device)
    try:
        output = network(sample.to(where))
    except Exception as error:  # whatever a forward raises
        raise ValueError(
            f"`x` must be what the networks take as input, got {sample.dtype} with "
            f"samples of shape {tuple(sample.shape[1:])} ({error})"
        ) from None
    if not isinstance(output, Tensor):
        raise ValueError(
            f"`networks` must return one tensor, got {type(output).__name__}"
        )


def first_samples(x: Read, count: int) -> Tensor:
    """So many samples of the first network, (count, ...)."""
    return x.tensor[0, :count] if isinstance(x, PerNetwork) else x[:count]


def sample_count(data: Sequence[Read], size: int) -> int:
    """The number of samples n of all data; a PerNetwork must hold `size` networks."""
    lengths = []
    for item in data:
        if isinstance(item, PerNetwork):
            if len(item.tensor) != size:
                raise ValueError(
                    f"`x` and `targets` must have one row for each of {size} networks, "
                    f"got {len(item.tensor)}"
                )
            lengths.append(item.tensor.shape[1])
        else:
            lengths.append(len(item))
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(
            f"inconsistent numbers of samples: `x` and `targets` have {lengths}, and "
            "must have equally many, at least 1"
        )
    return lengths[0]


def take(item: Read, index: Tensor | None, size: int) -> Tensor:
    """Rows `index` (S, b) of the data, (S, b, ...)."""
    if index is None:
        return (
            item.tensor
            if isinstance(item, PerNetwork)
            else item.unsqueeze(0).expand(size, *item.shape)
        )
    if not isinstance(item, PerNetwork):
        return _rows(item, index.to(item.device))
    tensor = item.tensor
    index = index.to(tensor.device)
    network = torch.arange(size, device=tensor.device)[:, None]
    if not tensor.is_contiguous():
        return tensor[network, index]
    return _rows(tensor.flatten(0, 1), network * tensor.shape[1] + index)


def _rows(tensor: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (S, b) of a tensor (n, ...)."""
    if tensor[:1].numel() < WIDE_ROW:
        return tensor[index]
    return tensor.index_select(0, index.flatten()).unflatten(0, index.shape)
