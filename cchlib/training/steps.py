"""One step of training a stack: of any networks, by torch's graph, or of perceptrons,
with the gradients written out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from cchlib.models import MLP, Dropout
from cchlib.training.inputs import PerNetwork, Read
from cchlib.training.stack import Stack


class Autograd:
    """One step of any network: torch's graph and torch's optimiser."""

    def __init__(self, stack: Stack, learning: list[Tensor], optimizer: str, **rule):
        self.stack = stack
        self.stepper = _optimizer(optimizer, learning, **rule)

    def set_rate(self, lr: float) -> None:
        """Take the rate `lr` from now on."""
        for group in self.stepper.param_groups:
            group["lr"] = lr

    def state(self) -> dict[str, Any]:
        """The optimiser's."""
        return self.stepper.state_dict()

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.stepper.load_state_dict(state)

    def __call__(self, inputs: Read, noise: Tensor | None, losses) -> Tensor:
        """Go one step on a batch; `losses` makes (S,) of outputs (S, b, ...)."""
        values = losses(self.stack(inputs, noise))
        self.stepper.zero_grad(set_to_none=True)
        values.sum().backward()
        self.stack.collect_gradients()
        self.stepper.step()
        return values.detach()


class WrittenOut:
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
        self.leaves = stack.leaves
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
            if not module.training:  # a frozen BatchNorm
                return False
        parts = [*network.body, network.head]
        return all(_can_be_written_out(module) for module in parts) and all(
            leaf.requires_grad for leaf in stack.leaves.values()
        )

    def set_rate(self, lr: float) -> None:
        """Take the rate `lr` from now on."""
        self.rate.lr = lr
        for group in self.stepper.param_groups if self.stepper else []:
            group["lr"] = lr

    def state(self) -> dict[str, Any]:
        """The optimiser's: SGD's velocities are the leaves' .grad."""
        if self.stepper:
            return self.stepper.state_dict()
        return {name: leaf.grad for name, leaf in self.leaves.items()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        if self.stepper:
            self.stepper.load_state_dict(state)
            return
        for name, leaf in self.leaves.items():
            cast(Tensor, leaf.grad).copy_(state[name])

    def __call__(self, inputs: Read, noise: Tensor | None, losses) -> Tensor:
        """Go one step on a batch; `losses` makes (S,) of outputs (S, b, ...)."""
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
            raise ValueError("BatchNorm needs batches of at least 2 samples, got 1")
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
    running = (
        stack.buffers[f"{name}.running_mean"],
        stack.buffers[f"{name}.running_var"],
        stack.buffers[f"{name}.num_batches_tracked"],
    )
    return _Norm(weight, bias, running, cast(nn.BatchNorm1d, module), rate)


def _optimizer(
    name: str, parameters: list[Tensor], lr: float, momentum: float, weight_decay: float
):
    if name == "sgd":
        return torch.optim.SGD(
            parameters, lr=lr, momentum=momentum, weight_decay=weight_decay, fused=True
        )
    kind = torch.optim.Adam if name == "adam" else torch.optim.AdamW
    return kind(parameters, lr=lr, weight_decay=weight_decay, fused=True)
