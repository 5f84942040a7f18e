"""Which networks can be trained, and as one."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn

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
    """The networks as a list, at least one, all of them networks; of a compiled one,
    the network that was compiled.
    """
    if isinstance(networks, nn.Module) or not isinstance(networks, Iterable):
        networks = [networks]
    networks = [getattr(network, "_orig_mod", network) for network in networks]
    if not networks:
        raise ValueError("`networks` must hold at least one network, got none")
    for network in networks:
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"`networks` must be torch modules, got {type(network).__name__}"
            )
        if any(nn.parameter.is_lazy(p) for p in network.parameters()):
            raise ValueError(
                "`networks` must know their shapes, got lazy layers; call each "
                "network once before"
            )
        if any(p.is_meta for p in network.parameters()):
            raise ValueError(
                "`networks` must hold numbers, got parameters on the meta device"
            )
    return networks


def alike(networks: list[nn.Module]) -> None:
    """Refuse networks that can't be computed as one."""
    first = _architecture(networks[0])
    if any(_architecture(other) != first for other in networks[1:]):
        raise ValueError(
            "`networks` must have one architecture: equal layers, and parameters of "
            "equal names, shapes, types and devices, frozen or not"
        )


def _architecture(network: nn.Module) -> tuple:
    """What networks of a stack have in common: layers as they print themselves, and
    what their parameters and buffers are.
    """
    described = [
        (name, t.shape, t.dtype, t.device, t.requires_grad)
        for name, t in _tensors(network).items()
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
                    f"`networks` must have weights of their own, got {first} and {s}, "
                    f"which are one network or share {name}"
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
                "`networks` must have no noise that `seeds` don't decide, got "
                f"nn.{type(module).__name__} ({name or 'itself'}); use "
                "cchlib.models.Dropout(p, width), or a layer without noise"
            )


@contextmanager
def noise_is_ours(network: nn.Module) -> Iterator[None]:
    """Refuse a forward that draws from torch's global generators."""
    generators = [torch.default_generator, *torch.cuda.default_generators]
    before = [generator.get_state() for generator in generators]
    yield
    for generator, state in zip(generators, before):
        if not torch.equal(generator.get_state(), state):
            raise ValueError(
                "`networks` must have no noise that `seeds` don't decide, got a "
                f"{type(network).__name__} whose forward draws from torch's state; use "
                "cchlib.models.Dropout(p, width), or a forward without noise"
            )


def copied(network: nn.Module) -> nn.Module:
    """A copy that shares nothing with the network."""
    # torch copies no tensor that has a graph, such as what a hook makes of weights
    without_graph = {
        id(value): value.detach().clone()
        for module in network.modules()
        for value in vars(module).values()
        if isinstance(value, Tensor) and not value.is_leaf
    }
    return copy.deepcopy(network, cast(dict, without_graph))


def set_mode(network: nn.Module, training: bool) -> None:
    """Training or evaluation mode. Parts that a network in training mode has in
    evaluation mode (frozen BatchNorms) stay there.
    """
    frozen = [module for module in network.modules() if not module.training]
    was_training = network.training
    network.train(training)
    if training and was_training:
        for module in frozen:
            module.training = False


@contextmanager
def in_mode(networks: Iterable[nn.Module], training: bool) -> Iterator[None]:
    """All networks in training or in evaluation mode, and afterwards each of their
    modules in its own again.
    """
    networks = list(networks)
    modes = {
        module: module.training for network in networks for module in network.modules()
    }
    try:
        for network in networks:
            set_mode(network, training)
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def as_before(networks: list[nn.Module]) -> Iterator[None]:
    """On any error the networks hold again what they held."""
    before = [
        {name: value.detach().clone() for name, value in _tensors(network).items()}
        for network in networks
    ]
    try:
        yield
    except BaseException:
        for network, held in zip(networks, before):
            write(network, held)
        raise


def write(network: nn.Module, held: dict[str, Tensor]) -> None:
    """Write parameters and buffers into a network, in place."""
    own = _tensors(network)
    for name, value in held.items():
        # one that was made in inference mode can be written to in that mode only
        with torch.inference_mode(own[name].is_inference()), torch.no_grad():
            own[name].copy_(value)


@torch.no_grad()
def derive(networks: list[nn.Module], sample: Tensor) -> None:
    """Let hooks that make weights of parameters before each call (pruning) do so for
    the new parameters.
    """
    for network in networks:
        if any(module._forward_pre_hooks for module in network.modules()):
            with in_mode([network], training=False):
                place = next(network.parameters()).device
                network(sample.to(place))


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name."""
    return dict(network.named_parameters()) | dict(network.named_buffers())
