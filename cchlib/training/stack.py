"""Networks of one architecture as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from cchlib.models import Dropout
from cchlib.training.inputs import Data, PerNetwork
from cchlib.training.networks import alike, as_list

NARROW = 16  # outputs of a layer, from which on its matrix lies turned


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The torch device; "auto" is the GPU where there is one, else the CPU.

    Raises
    ------
    ValueError
        torch knows no such device, it is not there, or it holds no data ("meta").
    """
    if isinstance(device, str) and device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise ValueError(
            f'device is {device!r}; "auto", "cpu", "cuda" or another torch device is '
            "wanted"
        ) from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device is {device!r}, and torch finds {torch.cuda.device_count()} GPUs; "
            '"auto", "cpu" or a GPU '
            "that is there is wanted"
        )
    try:
        there = not torch.zeros(1, device=found).is_meta
    except (RuntimeError, AssertionError, ImportError):  # torch's ways to say so
        there = False
    if not there:
        raise ValueError(
            f'device is {device!r}, which is not there; "auto", "cpu" or a device that '
            "holds data is wanted"
        )
    return found


class Stack:
    """S networks of one architecture as one: parameters and buffers carry a leading
    axis S.
    """

    def __init__(
        self, networks: Sequence[nn.Module], device: str | torch.device = "cpu"
    ):
        networks = as_list(networks)
        alike(networks)
        self.networks = networks
        self.device = torch.device(device)
        parameters, buffers = stack_module_state(networks)
        # Matrices lie as (S, in, out), the order in which autograd leaves their
        # gradients: in PyTorch's own (out, in) each step would first copy every
        # gradient across, half of the time of a step. Those of few outputs lie as
        # they are, and are multiplied three times as fast.
        self.turned = {
            k for k, p in parameters.items() if p.ndim == 3 and p.shape[1] >= NARROW
        }
        self.leaves = {
            k: self._turn(k, p.detach())
            .to(self.device)
            .contiguous()
            .requires_grad_(p.requires_grad)
            for k, p in parameters.items()
        }
        self.buffers = {k: b.detach().to(self.device) for k, b in buffers.items()}
        self.template = networks[0]
        self.dropouts = {
            name: module
            for name, module in self.template.named_modules()
            if isinstance(module, Dropout) and module.p > 0
        }

    def __len__(self) -> int:
        return len(self.networks)

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Views of `leaves` in the networks' own shapes, each behind the axis S."""
        return {k: self._turn(k, leaf) for k, leaf in self.leaves.items()}

    def _turn(self, name: str, tensor: Tensor) -> Tensor:
        """From a network's own shape to a leaf's, and back."""
        return tensor.mT if name in self.turned else tensor

    def __call__(
        self, x: Data, noise: Tensor | None = None, method: str = "forward"
    ) -> Tensor:
        """Outputs (or features) of every network: (S, n, ...). `noise` (S, n, widths)
        feeds the dropout.
        """
        stacked = isinstance(x, PerNetwork)
        tensor = x.tensor if isinstance(x, PerNetwork) else x
        call = _Method(self.template, method)

        def one(parameters, buffers, inputs, noise):
            state = parameters | buffers
            if noise is not None:
                widths = [module.width for module in self.dropouts.values()]
                for name, part in zip(self.dropouts, noise.split(widths, -1)):
                    state[f"{name}.noise" if name else "noise"] = part
            state = {f"network.{name}": value for name, value in state.items()}
            return functional_call(call, state, (inputs,))

        return torch.vmap(
            one,
            in_dims=(0, 0, 0 if stacked else None, None if noise is None else 0),
            randomness="different",
        )(self.parameters, self.buffers, tensor, noise)

    def train(self, mode: bool = True) -> None:
        """Put all networks in training or evaluation mode."""
        for network in self.networks:
            network.train(mode)

    @torch.no_grad()
    def unstack(self) -> None:
        """Write the weights back into the networks."""
        for s, network in enumerate(self.networks):
            own = dict(network.named_parameters()) | dict(network.named_buffers())
            for name, value in (self.parameters | self.buffers).items():
                own[name].copy_(value[s])


class _Method(nn.Module):
    """`functional_call` calls a module's forward; this makes another method callable
    the same way.
    """

    def __init__(self, network: nn.Module, method: str):
        super().__init__()
        self.network, self.method = network, method

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.network, self.method)(x)
