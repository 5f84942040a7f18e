"""Which networks can be trained, and as one."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import contextmanager

from torch import nn

# Layers that draw from torch's global generator while they train, which no seed of
# `fit` reaches.
RANDOM = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.MultiheadAttention,
    nn.RNNBase,
)


def as_list(networks: nn.Module | Iterable[nn.Module]) -> list[nn.Module]:
    """The networks as a list, at least one, all of them networks."""
    if isinstance(networks, nn.Module) or not isinstance(networks, Iterable):
        networks = [networks]
    networks = list(networks)
    if not networks:
        raise ValueError("networks is empty; at least one network is wanted")
    for network in networks:
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"networks holds {type(network).__name__}; torch modules are wanted"
            )
        if any(nn.parameter.is_lazy(p) for p in network.parameters()):
            raise ValueError(
                "networks hold lazy layers, whose shapes are not known yet; call each "
                "network once before"
            )
    return networks


def alike(networks: list[nn.Module]) -> None:
    """Refuse networks that can't be computed as one."""
    if len({net.training for net in networks}) > 1:
        raise ValueError(
            "networks are partly in training and partly in evaluation mode; one mode "
            "is wanted"
        )
    first = _architecture(networks[0])
    if any(_architecture(other) != first for other in networks[1:]):
        raise ValueError(
            "networks differ in architecture; a stack needs equal layers, and "
            "parameters of equal names, shapes, types and devices, frozen or not"
        )


def _architecture(network: nn.Module) -> tuple:
    """What networks of a stack have in common: layers as they print themselves, and
    what their parameters and buffers are.
    """
    tensors = [*network.named_parameters(), *network.named_buffers()]
    described = [
        (name, t.shape, t.dtype, t.device, t.requires_grad) for name, t in tensors
    ]
    return str(network), described


def distinct(networks: list[nn.Module]) -> None:
    """Refuse a network, or a parameter, that is in the stack twice: one of the two
    trainings would be lost.
    """
    owner: dict[int, int] = {}
    for s, network in enumerate(networks):
        for name, parameter in network.named_parameters():
            first = owner.setdefault(id(parameter), s)
            if first != s:
                raise ValueError(
                    f"networks {first} and {s} are one network, or share {name}; "
                    "networks with weights of their own are wanted"
                )


def reproducible(networks: list[nn.Module]) -> None:
    """Refuse layers whose noise the seeds don't decide."""
    for name, module in networks[0].named_modules():
        if not isinstance(module, RANDOM):
            continue
        always = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)
        if isinstance(module, always):
            noisy = True
        elif isinstance(module, (nn.MultiheadAttention, nn.RNNBase)):
            noisy = module.dropout > 0
        else:
            noisy = module.p > 0
        if noisy:
            raise ValueError(
                f"networks holds nn.{type(module).__name__} ({name or 'itself'}), "
                "whose noise `seeds` don't decide; cchlib.models.Dropout(p, width), "
                "or a layer without noise, is wanted"
            )


@contextmanager
def in_mode(networks: list[nn.Module], training: bool):
    """All networks in training or in evaluation mode, and afterwards each in its own
    again.
    """
    before = [network.training for network in networks]
    try:
        for network in networks:
            network.train(training)
        yield
    finally:
        for network, mode in zip(networks, before):
            network.train(mode)
