"""Train one network, or a stack of independent networks of one architecture at once.

The stack is PyTorch's model ensembling (`torch.func.stack_module_state`,
`functional_call`, `vmap`): the weights of S networks lie in tensors with a leading axis
S, one matrix product serves all, and the optimisers, being elementwise, keep them
independent. Every network has a random stream of its own for batches and dropout, so a
stack equals the loop over its networks.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from cchlib import check
from cchlib.models import MLP, Dropout

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
NARROW = 16  # outputs of a layer, from which on its matrix lies turned
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")


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
                f"tensors have shapes {shapes}; at least one, all of one shape, are "
                "wanted"
            )
        return PerNetwork(torch.stack(parts))


Data = Tensor | np.ndarray | PerNetwork
_Read = Tensor | PerNetwork  # the data once `_read` has seen it


@dataclass(frozen=True)
class History:
    """What a fit leaves.

    `loss`: the mean training loss of each epoch, (epochs, S); with `patience` a network
    that was done has NaN from then on. `validation`: the validation loss after each
    epoch, (epochs, S), and `best_epoch`, (S,), whose weights the networks have; None
    without validation, or without patience.
    """

    loss: Tensor
    seconds: float
    device: str
    validation: Tensor | None = None
    best_epoch: Tensor | None = None


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


class BestEpoch:
    """Early stopping of a stack: it keeps the weights of each network's best epoch.

    A network is done once `patience` epochs in a row brought no loss that is lower by
    more than `margin` than its lowest. What the others' training does to its weights
    after that counts no more, so that a stack equals the loop over its networks; one
    that is done may also leave the stack (`keep`).

    Parameters
    ----------
    tensors : sequence of Tensor (S, ...)
        What is kept, and put back in place by `restore`.
    patience : int
    margin : float
    start : float
        The loss that the tensors have as they are, for the first epoch to beat.
    """

    def __init__(
        self,
        tensors: Iterable[Tensor],
        patience: int,
        *,
        margin: float = 0.0,
        start: float = math.inf,
    ):
        self.tensors = list(tensors)
        self.patience = check.integer("patience", patience, 1)
        self.margin = check.number("margin", margin, 0.0)
        self.kept = [tensor.detach().clone() for tensor in self.tensors]
        like = self.tensors[0]
        size = len(like)
        self.lowest = torch.full((size,), float(start), device=like.device)
        self.since = torch.zeros(size, dtype=torch.int64, device=like.device)
        self.epoch = torch.full((size,), -1, device=like.device)
        self.members = torch.arange(size, device=like.device)  # still in the stack

    @property
    def done(self) -> Tensor:
        """Which networks of the stack are, (S,) bool."""
        return self.since >= self.patience

    @torch.no_grad()
    def see(self, losses: Tensor, epoch: int) -> bool:
        """Take note of the losses (S,) after `epoch`; whether all networks are done."""
        lower = losses < self.lowest - self.margin
        better = lower & ~self.done
        own = self.members[better]
        for kept, tensor in zip(self.kept, self.tensors):
            kept[own] = tensor.detach()[better]
        self.lowest = torch.where(better, losses.to(self.lowest), self.lowest)
        self.epoch[own] = epoch
        self.since = torch.where(better, 0, self.since + 1)
        return bool(self.done.all())

    def keep(self, going: Tensor) -> None:
        """Follow a stack that lets go of all networks but `going` (S,), a mask; it
        shrinks the tensors themselves.
        """
        self.members = self.members[going]
        self.lowest = self.lowest[going]
        self.since = self.since[going]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the best weights of all networks back in place."""
        for kept, tensor in zip(self.kept, self.tensors):
            if len(tensor) == len(kept):
                tensor.copy_(kept)
            else:
                tensor.data = kept


class Stack:
    """S networks of one architecture as one: parameters and buffers carry a leading
    axis S.
    """

    def __init__(
        self, networks: Sequence[nn.Module], device: str | torch.device = "cpu"
    ):
        networks = _as_list(networks)
        _alike(networks)
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


def fit(
    networks: nn.Module | Sequence[nn.Module],
    x: Data,
    targets: Data | Sequence[Data],
    loss: Callable[..., Tensor],
    *,
    epochs: int,
    lr: float,
    optimizer: str = "adam",
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    schedule: str = "constant",
    batch_size: int | None = None,
    seeds: int | Sequence[int] = 0,
    device: str = "auto",
    on_epoch: Callable[[int, Tensor], None] | None = None,
    validation: Sequence[Data] | None = None,
    patience: int | None = None,
) -> History:
    """Train the networks, in place, each on its own random stream; parameters that are
    frozen stay as they are.

    Parameters
    ----------
    networks : nn.Module or sequence of S nn.Module
    x : array or Tensor (n, ...) seen by all, or PerNetwork (S, n, ...)
        Floating-point numbers are brought to the networks' precision.
    targets : the same, or a sequence of such data
        What the loss takes beside the output: labels, teacher outputs. Batched along
        with `x`.
    loss : callable(output, targets...) -> (S,)
        Of output (S, b, ...) and targets (S, b, ...): one value a network, as
        `cchlib.losses` gives.
    epochs, lr, momentum, weight_decay
        `lr` is constant or falls along a cosine to 0 at the last epoch (`schedule`);
        `momentum` is SGD's.
    optimizer : {"adam", "adamw", "sgd"}
    batch_size : int or None
        None is the full batch. Otherwise each epoch visits a fresh permutation; a last
        batch of one sample joins the one before it (BatchNorm can't take it).
    seeds : int or sequence of S int
        Of batches and dropout.
    device : str
        "auto", "cpu", "cuda"…; the networks come back on the device where they were.
    on_epoch : callable(epoch, loss (S,)), optional
        Called when the networks hold the weights of that epoch: it may evaluate them.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        On NaN or infinity, inputs that the networks don't take, unequal numbers of
        samples or networks, an unknown optimiser or schedule, numbers out of range; a
        network given twice, or one with layers whose noise `seeds` don't decide; a loss
        or weights that become NaN or infinite. The networks are then as they were.
    """
    networks = _as_list(networks)
    _distinct(networks)
    _reproducible(networks)
    if not callable(loss):
        raise ValueError(
            f"loss is {loss!r}; a function of the output and the targets is wanted"
        )
    wanted: list[Data] = (
        list(targets) if isinstance(targets, (list, tuple)) else [cast(Data, targets)]
    )
    epochs = check.integer("epochs", epochs, 1)
    lr = check.number("lr", lr, 0.0, open_low=True)
    momentum = check.number("momentum", momentum, 0.0, 1.0)
    weight_decay = check.number("weight_decay", weight_decay, 0.0)
    check.one_of("optimizer", optimizer, OPTIMIZERS)
    check.one_of("schedule", schedule, SCHEDULES)
    data = _read(networks, x=x, targets=wanted)
    size, n = len(networks), _samples(data, len(networks))
    held_out = _validation_data(networks, validation, patience, len(wanted))
    batch_size = (
        n if batch_size is None else min(check.integer("batch_size", batch_size, 1), n)
    )
    seeds = _seeds(seeds, size)

    start = time.perf_counter()
    where = resolve_device(device)
    with _mode(networks, training=True):
        stack = Stack(networks, where)
        learning = [leaf for leaf in stack.leaves.values() if leaf.requires_grad]
        if not learning:
            raise ValueError(
                "networks have frozen parameters only; at least one that requires a "
                "gradient is wanted"
            )
        rule = dict(lr=lr, momentum=momentum, weight_decay=weight_decay)
        step: _Autograd | _WrittenOut
        if _WrittenOut.applies(stack):
            step = _WrittenOut(stack, optimizer, **rule)
        else:
            step = _Autograd(stack, learning, optimizer, **rule)
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        data = [_to(item, where) for item in data]
        watch = None
        if held_out:
            held_out = [_to(item, where) for item in held_out]
            watch = _Validation(stack, held_out, loss, patience)
        history = _passes(
            stack,
            data,
            loss,
            step,
            streams,
            epochs,
            lr,
            schedule,
            batch_size,
            on_epoch,
            watch,
        )
        if watch is not None:
            watch.finish()
        _weights_finite(stack)
        stack.unstack()
    seconds = time.perf_counter() - start
    if watch is None:
        return History(history, seconds, str(where))
    best = None if watch.best is None else watch.best.epoch.cpu()
    return History(history, seconds, str(where), torch.stack(watch.history), best)


class _Validation:
    """The validation loss after each epoch, and the weights that it was lowest with."""

    def __init__(
        self, stack: Stack, data: list[_Read], loss: Callable, patience: int | None
    ):
        self.stack, self.data, self.loss = stack, data, loss
        self.history: list[Tensor] = []
        self.best = None
        if patience is not None:
            state = [*stack.leaves.values(), *stack.buffers.values()]
            self.best = BestEpoch(state, patience)

    @property
    def done(self) -> Tensor:
        """Which networks are, (S,) bool."""
        if self.best is None:
            return torch.zeros(len(self.stack), dtype=torch.bool)
        return self.best.done.cpu()

    @torch.no_grad()
    def __call__(self, epoch: int) -> bool:
        """Take the losses after `epoch`; whether training ends here."""
        size = len(self.stack)
        self.stack.train(False)
        output = self.stack(self.data[0])
        targets = [_take(item, None, size) for item in self.data[1:]]
        values = _values(self.loss, output, targets, size)
        self.stack.train(True)
        learning = ~self.done.to(values.device)
        if not bool(torch.isfinite(values[learning]).all()):
            raise ValueError(
                f"the validation loss became NaN or infinite in epoch {epoch}; finite "
                "validation data and a smaller lr are wanted"
            )
        values = torch.where(learning, values, torch.nan)
        self.history.append(values.cpu())
        return self.best is not None and self.best.see(values, epoch)

    def finish(self) -> None:
        """Give every network the weights of its best epoch."""
        if self.best is not None:
            self.best.restore()


def _passes(
    stack: Stack,
    data: list[_Read],
    loss,
    step: _Autograd | _WrittenOut,
    streams,
    epochs: int,
    lr: float,
    schedule: str,
    batch_size: int,
    on_epoch,
    watch: _Validation | None = None,
) -> Tensor:
    """All epochs of `fit`; the mean loss of each, (epochs, S)."""
    size, where, n = len(stack), stack.device, _samples(data, len(stack))
    history = torch.empty(epochs, size)
    for epoch in range(epochs):
        if schedule == "cosine":
            step.set_rate(lr * (1 + math.cos(math.pi * epoch / epochs)) / 2)
        total = torch.zeros(size, device=where)
        for index in _batches(streams, n, batch_size):
            batch = [_take(d, index, size) for d in data]
            width = n if index is None else index.shape[1]
            inputs = data[0] if index is None else PerNetwork(batch[0])

            def losses(output):
                # noqa below: it is called at once
                values = _values(loss, output, batch[1:], size)  # noqa: B023
                if not values.requires_grad:
                    raise ValueError(
                        "loss returned values without a gradient; a differentiable "
                        "function of the output is wanted"
                    )
                return values

            noise = _noise(stack, streams, width, batch[0])
            total += step(inputs, noise, losses) * width
        history[epoch] = (total / n).cpu()
        done = torch.zeros(size, dtype=torch.bool) if watch is None else watch.done
        history[epoch][done] = torch.nan
        if not bool(torch.isfinite(history[epoch][~done]).all()):
            raise ValueError(
                f"the training loss became NaN or infinite in epoch {epoch}; a smaller "
                "lr is wanted"
            )
        if on_epoch is not None:
            stack.unstack()  # what is called may look at the networks
            on_epoch(epoch, history[epoch])
        if watch is not None and watch(epoch):
            return history[: epoch + 1]
    return history


def _values(
    loss: Callable, output: Tensor, targets: Sequence[Tensor], size: int
) -> Tensor:
    """The loss of each of the `size` networks, (S,)."""
    try:
        values = loss(output, *targets)
    except ValueError:
        if bool(output.isfinite().all()):
            raise
        raise ValueError(
            "the networks' outputs became NaN or infinite; a smaller lr is wanted"
        ) from None
    if not isinstance(values, Tensor):
        raise ValueError(
            f"loss returned {type(values).__name__}; a tensor with one value a "
            f"network, ({size},), is wanted"
        )
    if values.shape != (size,):
        raise ValueError(
            f"loss returned shape {tuple(values.shape)}; one value a network, "
            f"({size},), is wanted"
        )
    return values


def _weights_finite(stack: Stack) -> None:
    """Refuse what a step too far has made of the weights, also after the last one."""
    for name, value in (stack.leaves | stack.buffers).items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(
                f"the weights became NaN or infinite ({name}); a smaller lr is wanted"
            )


class _Autograd:
    """One step of any network: torch's graph and torch's optimiser."""

    def __init__(self, stack: Stack, learning: list[Tensor], optimizer: str, **rule):
        self.stack = stack
        self.stepper = _optimizer(optimizer, learning, **rule)

    def set_rate(self, lr: float) -> None:
        for group in self.stepper.param_groups:
            group["lr"] = lr

    def __call__(self, inputs: _Read, noise: Tensor | None, losses) -> Tensor:
        values = losses(self.stack(inputs, noise))
        self.stepper.zero_grad(set_to_none=True)
        values.sum().backward()
        self.stepper.step()
        return values.detach()


class _WrittenOut:
    """One step of perceptrons as `cchlib.models.MLP` makes them, with the gradients
    written out.

    Autograd serves the loss alone, from the outputs on. Under SGD the momentum is part
    of the product that makes a gradient: V <- μ V + Hᵀ D is one call, where autograd
    writes the gradient, reads it, and writes V. And each layer keeps its memory: what
    is asked for anew comes page by page, which takes longer than the product.
    """

    def __init__(self, stack: Stack, optimizer: str, **rule):
        rate = _Rate(**rule)
        self.rate = rate
        self.pool_time = cast(MLP, stack.template).pool_time
        self.layers = [
            _layer(stack, name, module, rate)
            for name, module in stack.template.named_modules()
            if not any(module.children())
        ]
        self.layers[0].is_first = True
        self.dropouts = [layer for layer in self.layers if isinstance(layer, _Drop)]

        # .grad holds SGD's velocity, or the gradients that torch's Adam reads
        leaves = list(stack.leaves.values())
        for leaf in leaves:
            leaf.grad = torch.zeros_like(leaf)
        self.stepper = None
        if optimizer != "sgd":
            self.stepper = _optimizer(
                optimizer, leaves, rate.lr, 0.0, rate.weight_decay
            )
            rate.at_once = False

    @staticmethod
    def applies(stack: Stack) -> bool:
        """Whether the networks are such perceptrons, all of whose weights learn."""
        network = stack.template
        if type(network) is not MLP or type(network.body[0]) is not nn.Linear:
            return False
        for module in network.modules():
            if module._forward_hooks or module._forward_pre_hooks:
                return False
        parts = [*network.body, network.head]
        return all(_can_be_written_out(module) for module in parts) and all(
            leaf.requires_grad for leaf in stack.leaves.values()
        )

    def set_rate(self, lr: float) -> None:
        self.rate.lr = lr
        for group in self.stepper.param_groups if self.stepper else []:
            group["lr"] = lr

    def __call__(self, inputs: _Read, noise: Tensor | None, losses) -> Tensor:
        x = inputs.tensor if isinstance(inputs, PerNetwork) else inputs[None]
        if self.pool_time and x.ndim == 4:
            x = x.mean(2)
        size = len(self.layers[0].leaf)
        if noise is not None:
            widths = [layer.width for layer in self.dropouts]
            for layer, part in zip(self.dropouts, noise.split(widths, -1)):
                layer.noise = part

        with torch.no_grad():
            output = x.flatten(2).expand(size, -1, -1)  # (S, b, p)
            for layer in self.layers:
                output = layer.forward(output)

        output = output.detach().requires_grad_()
        with torch.enable_grad():
            values = losses(output)
            (error,) = torch.autograd.grad(values.sum(), output)  # (S, b, K)

        with torch.no_grad():
            for layer in reversed(self.layers):
                error = layer.backward(error)
            if self.stepper:
                self.stepper.step()
        return values.detach()


@dataclass
class _Rate:
    """SGD's numbers; `at_once` where each layer goes its step as soon as it can."""

    lr: float
    momentum: float
    weight_decay: float
    at_once: bool = True

    @property
    def kept(self) -> float:
        """The share of .grad that stays when a gradient is added."""
        return self.momentum if self.at_once else 0.0

    def step(self, leaf: Tensor) -> None:
        if not self.at_once:
            return
        grad = cast(Tensor, leaf.grad)
        if self.weight_decay:
            grad.add_(leaf, alpha=self.weight_decay)
        leaf.add_(grad, alpha=-self.lr)

    def learn(self, leaf: Tensor, gradient: Tensor) -> None:
        cast(Tensor, leaf.grad).mul_(self.kept).add_(gradient)
        self.step(leaf)


class _Layer:
    """A layer of all networks. `forward` takes its inputs (S, b, in), `backward` the
    loss's gradient by its outputs; this moves the weights and gives the gradient by the
    inputs. Both may write over what they are given.
    """

    def __init__(self) -> None:
        self.rooms: dict[tuple, Tensor] = {}

    def room(self, name: str, like: Tensor, *shape: int) -> Tensor:
        """Memory for a result, the same in every step."""
        key = (name, *shape)
        if key not in self.rooms:
            self.rooms[key] = like.new_empty(shape)
        return self.rooms[key]

    def forward(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def backward(self, error: Tensor) -> Tensor:
        raise NotImplementedError


class _Linear(_Layer):
    def __init__(self, weight: Tensor, bias: Tensor, turned: bool, rate: _Rate):
        super().__init__()
        self.leaf = weight  # (S, in, out) where turned, else (S, out, in)
        self.bias = bias
        self.turned = turned
        self.rate = rate
        self.is_first = False

    @property
    def weight(self) -> Tensor:
        """(S, in, out)."""
        return self.leaf if self.turned else self.leaf.mT

    def forward(self, x: Tensor) -> Tensor:
        self.x = x
        out = self.room("out", x, *x.shape[:2], self.bias.shape[1])
        return torch.baddbmm(self.bias[:, None], x, self.weight, out=out)

    def backward(self, error: Tensor) -> Tensor:
        below = error
        if not self.is_first:  # nobody asks for the gradient by the data
            below = self.room("below", error, *self.x.shape)
            torch.bmm(error, self.weight.mT, out=below)  # before W moves
        grad = cast(Tensor, self.leaf.grad)
        if self.turned:
            grad.baddbmm_(self.x.mT, error, beta=self.rate.kept)
        else:
            grad.baddbmm_(error.mT, self.x, beta=self.rate.kept)
        self.rate.step(self.leaf)
        self.rate.learn(self.bias, error.sum(1))
        return below


class _Leaky(_Layer):
    """ReLU, or LeakyReLU of a slope that is not negative."""

    def __init__(self, slope: float):
        super().__init__()
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        self.out = nn.functional.leaky_relu_(x, self.slope)
        return self.out

    def backward(self, error: Tensor) -> Tensor:
        # out > 0 exactly where x > 0, also once dropout has been at it: where that
        # made a 0, the error is 0
        backward = torch.ops.aten.leaky_relu_backward.grad_input
        return backward(error, self.out, self.slope, False, grad_input=error)


class _Norm(_Layer):
    """BatchNorm1d in training mode (Ioffe & Szegedy, 2015)."""

    def __init__(
        self,
        weight: Tensor,
        bias: Tensor,
        running: tuple[Tensor, Tensor, Tensor],
        module: nn.BatchNorm1d,
        rate: _Rate,
    ):
        super().__init__()
        self.weight, self.bias = weight, bias  # (S, h)
        self.mean, self.variance, self.seen = running  # (S, h), (S, h), (S,)
        self.eps = module.eps
        self.momentum = cast(float, module.momentum)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        b = x.shape[1]
        if b == 1:
            raise ValueError(
                "BatchNorm was given a batch of 1 sample; at least 2 samples are wanted"
            )
        mean = x.mean(1)
        self.centred = self.room("centred", x, *x.shape)
        torch.sub(x, mean[:, None], out=self.centred)
        self.out = self.room("out", x, *x.shape)
        variance = torch.mul(self.centred, self.centred, out=self.out).mean(1)
        self.mean.lerp_(mean, self.momentum)
        self.variance.lerp_(variance * (b / (b - 1)), self.momentum)
        self.seen.add_(1)

        self.scale = (variance + self.eps).rsqrt()
        slope = self.weight * self.scale
        return torch.addcmul(
            self.bias[:, None], self.centred, slope[:, None], out=self.out
        )

    def backward(self, error: Tensor) -> Tensor:
        b = error.shape[1]
        # what was given out has been used
        along = torch.mul(error, self.centred, out=self.out).sum(1) * self.scale
        total = error.sum(1)
        error.addcmul_(self.centred, (along * self.scale)[:, None], value=-1 / b)
        error.sub_(total[:, None] / b).mul_((self.weight * self.scale)[:, None])
        self.rate.learn(self.weight, along)
        self.rate.learn(self.bias, total)
        return error


class _Drop(_Layer):
    def __init__(self, module: Dropout):
        super().__init__()
        self.p = module.p
        self.width = module.width
        self.noise = torch.empty(0)  # (S, b, width), handed in for every step

    def forward(self, x: Tensor) -> Tensor:
        share = 1 - self.p if self.p < 1 else 1
        self.kept = self.noise.to(x.dtype).ge_(self.p).div_(share)
        return x.mul_(self.kept)

    def backward(self, error: Tensor) -> Tensor:
        return error.mul_(self.kept)


def _can_be_written_out(module: nn.Module) -> bool:
    """Whether `_layer` knows it."""
    if type(module) is nn.Linear:
        return module.bias is not None
    if type(module) is nn.LeakyReLU:
        return module.negative_slope >= 0
    if type(module) is nn.BatchNorm1d:
        counts = module.track_running_stats and module.momentum is not None
        return counts and module.affine
    return type(module) is nn.ReLU or (type(module) is Dropout and module.p > 0)


def _layer(stack: Stack, name: str, module: nn.Module, rate: _Rate) -> Any:
    """The module of that name, of all networks."""
    if isinstance(module, Dropout):
        return _Drop(module)
    if isinstance(module, (nn.ReLU, nn.LeakyReLU)):
        return _Leaky(getattr(module, "negative_slope", 0.0))
    weight, bias = stack.leaves[f"{name}.weight"], stack.leaves[f"{name}.bias"]
    if isinstance(module, nn.Linear):
        return _Linear(weight, bias, f"{name}.weight" in stack.turned, rate)
    running = ("running_mean", "running_var", "num_batches_tracked")
    buffers = [stack.buffers[f"{name}.{part}"] for part in running]
    return _Norm(weight, bias, tuple(buffers), cast(nn.BatchNorm1d, module), rate)


@contextmanager
def _mode(networks: list[nn.Module], training: bool):
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
    networks = _as_list(networks)
    batch_size = check.integer("batch_size", batch_size, 1)
    if not callable(getattr(networks[0], method, None)):
        raise ValueError(
            f"networks holds a {type(networks[0]).__name__}, which has no method "
            f"{method!r}; cchlib.models' networks have"
        )
    (read,) = _read(networks, x=x, targets=[])
    _samples([read], len(networks))
    where = resolve_device(device)
    with _mode(networks, training=False):
        stack = Stack(networks, where)
        rows = max(1, batch_size // len(networks))
        batches: Sequence[_Read]
        if isinstance(read, PerNetwork):
            batches = [PerNetwork(part) for part in read.tensor.split(rows, 1)]
        else:
            batches = list(read.split(rows))
        outputs = []
        for batch in batches:
            output = stack(_to(batch, where), method=method)
            outputs.append(output.cpu())
    result = torch.cat(outputs, 1)
    return result[0] if single else result


def _as_list(networks: nn.Module | Iterable[nn.Module]) -> list[nn.Module]:
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


def _alike(networks: list[nn.Module]) -> None:
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


def _distinct(networks: list[nn.Module]) -> None:
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


def _reproducible(networks: list[nn.Module]) -> None:
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


def _seeds(seeds: int | Iterable[int], size: int) -> list[int]:
    """One seed a network."""
    several = isinstance(seeds, Iterable) and getattr(seeds, "ndim", 1) > 0
    chosen = list(cast(Iterable[int], seeds)) if several else [cast(int, seeds)] * size
    if len(chosen) != size:
        raise ValueError(
            f"seeds has {len(chosen)} entries for {size} networks; one a network is "
            "wanted"
        )
    return [check.seed("seeds", seed) for seed in chosen]


def _read(networks: list[nn.Module], x: Data, targets: Sequence[Data]) -> list[_Read]:
    """Inputs and targets as tensors, once the networks take the inputs."""
    data = [_tensors("x", x, networks)]
    data += [_tensors("targets", item, networks) for item in targets]
    _samples(data, len(networks))
    _accepts(networks, data[0])
    return data


def _validation_data(
    networks: list[nn.Module],
    validation: Sequence[Data] | None,
    patience: int | None,
    targets: int,
) -> list[_Read]:
    """Inputs and targets of the validation, as tensors; empty without one."""
    if patience is not None:
        check.integer("patience", patience, 1)
    if validation is None:
        if patience is not None:
            raise ValueError(
                f"patience is {patience} without validation; held-out data is wanted"
            )
        return []
    if not isinstance(validation, (list, tuple)) or len(validation) != 1 + targets:
        raise ValueError(
            f"validation must be a tuple of x and {targets} targets, as fit was given"
        )
    try:
        return _read(networks, x=validation[0], targets=validation[1:])
    except ValueError as error:
        raise ValueError(f"validation: {error}") from None


def _to(item: _Read, where: torch.device) -> _Read:
    if isinstance(item, PerNetwork):
        return PerNetwork(item.tensor.to(where))
    return item.to(where)


def _tensors(name: str, item: Data, networks: Sequence[nn.Module]) -> _Read:
    """As finite tensors, floating-point ones in the networks' precision."""
    if isinstance(item, PerNetwork):
        tensor = cast(Tensor, _tensors(name, item.tensor, networks))
        if tensor.ndim < 2:
            raise ValueError(
                f"{name} is a PerNetwork of shape {tuple(tensor.shape)}; (S, n, ...), "
                "one row a network, is wanted"
            )
        return PerNetwork(tensor)
    tensor = check.as_tensor(name, item)
    if tensor.ndim == 0:
        raise ValueError(f"{name} is a single number; one row a sample is wanted")
    check.all_finite(name, tensor)
    kind = next(
        (p.dtype for network in networks for p in network.parameters()), tensor.dtype
    )
    return tensor.to(kind) if tensor.is_floating_point() else tensor


@torch.no_grad()
def _accepts(networks: Sequence[nn.Module], x: _Read) -> None:
    """Show one sample to one network: what it can't read is refused here, by name."""
    sample = x.tensor[0, :1] if isinstance(x, PerNetwork) else x[:1]
    for network in networks[:1]:
        where = next((p.device for p in network.parameters()), sample.device)
        with _mode([network], training=False):
            try:
                network(sample.to(where))
            except (RuntimeError, IndexError, TypeError, ValueError) as error:
                raise ValueError(
                    f"x is {sample.dtype} with samples of shape "
                    f"{tuple(sample.shape[1:])}, which the networks "
                    f"don't take ({error}); their inputs are wanted"
                ) from None


def _samples(data: Sequence[_Read], size: int) -> int:
    """The number of samples n of all data; a PerNetwork must hold `size` networks."""
    lengths = []
    for item in data:
        if isinstance(item, PerNetwork):
            if len(item.tensor) != size:
                raise ValueError(
                    f"x or targets is for {len(item.tensor)} networks and was given to "
                    f"{size}; one row a network is wanted"
                )
            lengths.append(item.tensor.shape[1])
        else:
            lengths.append(len(item))
    if len(set(lengths)) > 1 or lengths[0] == 0:
        raise ValueError(
            f"x and targets have {lengths} samples; equal numbers, at least 1, are "
            "wanted"
        )
    return lengths[0]


def _batches(streams, n: int, batch_size: int):
    """Index tensors (S, b) of one epoch, drawn from each network's stream; None stands
    for the full batch.
    """
    if batch_size >= n:
        yield None
        return
    order = torch.stack([torch.randperm(n, generator=stream) for stream in streams])
    edges = list(range(0, n, batch_size)) + [n]
    if n - edges[-2] == 1 and len(edges) > 2:
        del edges[-2]
    for low, high in zip(edges, edges[1:]):
        yield order[:, low:high]


def _take(item: _Read, index: Tensor | None, size: int) -> Tensor:
    """Rows `index` (S, b) of the data, (S, b, ...)."""
    if index is None:
        return (
            item.tensor
            if isinstance(item, PerNetwork)
            else item.unsqueeze(0).expand(size, *item.shape)
        )
    tensor = item.tensor if isinstance(item, PerNetwork) else item
    index = index.to(tensor.device)
    if isinstance(item, PerNetwork):
        return tensor[torch.arange(size, device=tensor.device)[:, None], index]
    return tensor[index]


def _noise(stack: Stack, streams, width: int, like: Tensor) -> Tensor | None:
    """Uniform numbers (S, b, widths) for the dropout layers, from each network's
    stream.
    """
    if not stack.dropouts:
        return None
    total = sum(module.width for module in stack.dropouts.values())
    noise = torch.empty(len(streams), width, total)
    for part, stream in zip(noise, streams):
        torch.rand(width, total, generator=stream, out=part)
    return noise.to(like.device)


def _optimizer(
    name: str, parameters: list[Tensor], lr: float, momentum: float, weight_decay: float
):
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
        )
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)
