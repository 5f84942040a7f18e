"""Networks of one architecture as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import functional_call

from cchlib.models import MLP, Dropout, FusionNetwork
from cchlib.training.inputs import Data, PerNetwork, Read, first_samples
from cchlib.training.networks import (
    alike,
    as_list,
    copied,
    in_mode,
    noise_is_ours,
    set_mode,
    write,
)

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
            "`device` must be 'auto', 'cpu', 'cuda' or another torch device, got "
            f"{device!r}"
        ) from None
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"`device` must be 'auto', 'cpu' or one of the {torch.cuda.device_count()} "
            f"GPUs that torch finds, got {device!r}"
        )
    try:
        there = not torch.zeros(1, device=found).is_meta
    except (RuntimeError, AssertionError, ImportError):  # torch's ways to say so
        there = False
    if not there:
        raise ValueError(
            "`device` must be 'auto', 'cpu' or a device that holds data, got "
            f"{device!r}"
        )
    return found


class Stack:
    """S networks of one architecture as one: parameters and buffers carry a leading
    axis S. What is computed is computed by a copy; the networks themselves are only
    read, and written to by `unstack`.
    """

    def __init__(
        self, networks: Sequence[nn.Module], device: str | torch.device = "cpu"
    ):
        networks = as_list(networks)
        alike(networks)
        self.networks = networks
        self.device = torch.device(device)
        parameters = _stacked([dict(net.named_parameters()) for net in networks])
        buffers = _stacked([dict(net.named_buffers()) for net in networks])
        self.turned = self._turned(parameters)
        self.leaves = {
            k: self._turn(k, p)
            .to(self.device)
            .contiguous()
            .requires_grad_(own.requires_grad)
            for (k, p), own in zip(parameters.items(), networks[0].parameters())
        }
        self.buffers = {k: b.to(self.device) for k, b in buffers.items()}
        self.template = copied(networks[0]).to(self.device)
        self.dropouts = {
            name: module
            for name, module in self.template.named_modules()
            if isinstance(module, Dropout) and module.p > 0
        }

    def __len__(self) -> int:
        return len(self.networks)

    @staticmethod
    def _turned(parameters: dict[str, Tensor]) -> set[str]:
        """Matrices that lie as (S, in, out), the order in which autograd leaves their
        gradients: in PyTorch's own (out, in) each step would first copy every gradient
        across, half of the time of a step. Those of few outputs lie as they are, and
        are multiplied three times as fast.
        """
        return {
            k for k, p in parameters.items() if p.ndim == 3 and p.shape[1] >= NARROW
        }

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
            for name, part in self._noises(noise).items():
                state[f"{name}.noise" if name else "noise"] = part
            state = {f"network.{name}": value for name, value in state.items()}
            return functional_call(call, state, (inputs,))

        return torch.vmap(
            one,
            in_dims=(0, 0, 0 if stacked else None, None if noise is None else 0),
            randomness="different",
        )(self.parameters, self.buffers, tensor, noise)

    def _noises(self, noise: Tensor | None) -> dict[str, Tensor]:
        """The noise (b, widths) of each dropout layer."""
        if noise is None:
            return {}
        widths = [module.width for module in self.dropouts.values()]
        return dict(zip(self.dropouts, noise.split(widths, -1)))

    def collect_gradients(self) -> None:
        """Bring the gradients to the leaves, where autograd has not."""

    @property
    def computing(self) -> list[nn.Module]:
        """The copies that compute."""
        return [self.template]

    def train(self, mode: bool = True) -> None:
        """Training or evaluation mode; what is frozen in evaluation mode stays so."""
        for network in self.computing:
            set_mode(network, mode)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Evaluation mode for the time being."""
        with in_mode(self.computing, training=False):
            yield

    def unstack(self) -> None:
        """Write the weights back into the networks."""
        for s, network in enumerate(self.networks):
            held = self.parameters | self.buffers
            write(network, {name: value[s] for name, value in held.items()})


class Loop(Stack):
    """The same for networks that vmap can't compute as one, such as those with
    recurrent layers: copies of all of them, which hold views of `leaves` and `buffers`,
    are called one after another.
    """

    def __init__(
        self, networks: Sequence[nn.Module], device: str | torch.device = "cpu"
    ):
        super().__init__(networks, device)
        self.copies = [copied(network).to(self.device) for network in self.networks]
        for s, network in enumerate(self.copies):
            for name, parameter in network.named_parameters():
                parameter.data = self.leaves[name].data[s]
            self._hold_buffers(network, s)

    @staticmethod
    def _turned(parameters: dict[str, Tensor]) -> set[str]:
        return set()

    def _hold_buffers(self, network: nn.Module, s: int) -> None:
        """What a forward put in the place of a buffer is written into the stack's."""
        for name, buffer in dict(network.named_buffers()).items():
            view = self.buffers[name][s]
            if buffer.data_ptr() != view.data_ptr():
                view.copy_(buffer)
            path, _, own = name.rpartition(".")
            network.get_submodule(path)._buffers[own] = view

    def __call__(
        self, x: Data, noise: Tensor | None = None, method: str = "forward"
    ) -> Tensor:
        """Outputs (or features) of every network: (S, n, ...)."""
        outputs = []
        for s, network in enumerate(self.copies):
            inputs = x.tensor[s] if isinstance(x, PerNetwork) else x
            own = None if noise is None else noise[s]
            noises = self._noises(own)
            dropouts = {n: cast(Dropout, network.get_submodule(n)) for n in noises}
            for name, module in dropouts.items():
                module.noise = noises[name]
            outputs.append(getattr(network, method)(inputs))
            for module in dropouts.values():
                module.noise = None
            with torch.no_grad():
                self._hold_buffers(network, s)
        return torch.stack(outputs)

    def collect_gradients(self) -> None:
        """Bring the copies' gradients to the leaves."""
        own = [dict(network.named_parameters()) for network in self.copies]
        for name, leaf in self.leaves.items():
            gradients = [parameters[name].grad for parameters in own]
            leaf.grad = None
            if any(gradient is not None for gradient in gradients):
                leaf.grad = torch.stack(
                    [
                        torch.zeros_like(leaf[s]) if part is None else part.to_dense()
                        for s, part in enumerate(gradients)
                    ]
                )
            for parameters in own:
                parameters[name].grad = None

    @property
    def computing(self) -> list[nn.Module]:
        """The copies that compute."""
        return self.copies


def stack_of(
    networks: list[nn.Module],
    x: Read,
    device: torch.device,
    *,
    training: bool,
    method: str = "forward",
) -> Stack:
    """A `Stack` where vmap gives what the plain loop gives, tried on a network and two
    samples; a `Loop` otherwise.

    Raises
    ------
    ValueError
        Where the networks differ, or draw noise that no seed decides.
    """
    one, sample = networks[:1], first_samples(x, 2).to(device)
    if not _by_vmap(networks[0]) and (len(sample) == 2 or not training):
        with torch.random.fork_rng(devices=[]):
            wanted = _tried(Loop(one, device), sample, training, method)
            try:
                found = _tried(Stack(one, device), sample, training, method)
            except Exception:  # vmap has as many ways to say no as there are functions
                found = []
        same = len(found) == len(wanted) and all(map(_close, found, wanted))
        if not same:
            loop = Loop(networks, device)
            loop.train(training)
            return loop
    stack = Stack(networks, device)
    stack.train(training)
    return stack


def _by_vmap(network: nn.Module) -> bool:
    """Networks of `cchlib.models`, of which it is known that vmap takes them; and those
    of TorchScript, whose parameters no view can stand in for.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return True
    hooks = any(
        module._forward_hooks or module._forward_pre_hooks
        for module in network.modules()
    )
    return type(network) in (MLP, FusionNetwork) and not hooks


def _tried(stack: Stack, sample: Tensor, training: bool, method: str) -> list[Tensor]:
    """Outputs, buffers and gradients on a sample."""
    stack.train(training)
    noise = None
    if training and stack.dropouts:
        width = sum(module.width for module in stack.dropouts.values())
        noise = torch.linspace(0, 1, len(sample) * width, device=stack.device)
        noise = noise.reshape(1, len(sample), width)
    with noise_is_ours(stack.template):
        output = stack(sample, noise, method)
    found = [output.detach(), *stack.buffers.values()]
    if training and output.requires_grad:
        output.float().square().mean().backward()
        stack.collect_gradients()
        for name, leaf in stack.leaves.items():
            gradient = torch.zeros_like(leaf) if leaf.grad is None else leaf.grad
            found.append(stack._turn(name, gradient))
    return found


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are one, but for the rounding of half precision."""
    if one.shape != other.shape:
        return False
    one, other = one.double(), other.double()
    size = float(other.abs().max()) if other.numel() else 0.0
    return bool(torch.allclose(one, other, rtol=0.02, atol=0.02 * size))


def _stacked(held: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """One tensor (S, ...) a name."""
    return {
        name: torch.stack([tensors[name].detach() for tensors in held])
        for name in held[0]
    }


class _Method(nn.Module):
    """`functional_call` calls a module's forward; this makes another method callable
    the same way.
    """

    def __init__(self, network: nn.Module, method: str):
        super().__init__()
        self.network, self.method = network, method

    def forward(self, x: Tensor) -> Tensor:
        return getattr(self.network, self.method)(x)
