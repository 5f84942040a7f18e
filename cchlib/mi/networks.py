"""Stacks of small networks, and their optimiser: what `latent` and `mine` train.

Tensors have a leading axis S, one entry a network, so that one batched matrix product
serves all. Networks that are done leave the stack while the others go on. The optimiser
is written out: PyTorch's loads its compiler at the first step, seconds for estimates
that take less, and can't let a network go.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

DECAY = 1e-2  # of the layers' weights, decoupled, in units of the learning rate


class Encoders:
    """S encoders ``x -> x A + MLP(x)``; the MLP's last layer starts at zero.

    Parameters
    ----------
    linear : array (S, p, r)
        Where A starts.
    widths : sequence of int
        Of the MLP's input and of its hidden layers; it sees the first so many columns
        of x. Without a hidden layer there is no MLP.
    seeds : one int a network
    """

    def __init__(
        self,
        linear: np.ndarray,
        widths: Sequence[int],
        seeds: Sequence[int],
        device: torch.device,
    ):
        self.linear = torch.from_numpy(linear).float().to(device).requires_grad_()
        self.layers: list[Tensor] = []
        self.seen = widths[0]
        if len(widths) == 1:
            return
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        sizes = [*widths, linear.shape[-1]]
        last = len(sizes) - 2
        for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
            bound = (6 / (a + b)) ** 0.5
            if i == last:
                bound = 0.0
            draws = [torch.rand(a, b, generator=g) for g in generators]
            weight = torch.stack(draws)
            weight = weight.mul_(2).sub_(1).mul_(bound).to(device)
            bias = torch.zeros(len(seeds), 1, b, device=device)
            self.layers.append(weight.requires_grad_())
            self.layers.append(bias.requires_grad_())

    def __call__(self, x: Tensor) -> Tensor:
        """The codes (S, n, r) of a stack of inputs (S, n, p)."""
        out = torch.bmm(x, self.linear)
        if not self.layers:
            return out
        h = x[..., : self.seen]
        for i in range(0, len(self.layers), 2):
            if i > 0:
                h = torch.nn.functional.silu(h)
            h = torch.baddbmm(self.layers[i + 1], h, self.layers[i])
        return out + h

    @property
    def parameters(self) -> list[Tensor]:
        """The linear part, then the layers."""
        return [self.linear, *self.layers]


class AdamW:
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019) for encoders; the
    linear part has a learning rate of its own and doesn't decay.
    """

    def __init__(self, encoders: Sequence[Encoders], lr: float, lr_linear: float):
        self.parameters: list[Tensor] = []
        self.rates: list[float] = []
        self.decays: list[float] = []
        for encoder in encoders:
            for p in encoder.parameters:
                linear = p is encoder.linear
                self.parameters.append(p)
                self.rates.append(lr_linear if linear else lr)
                self.decays.append(0.0 if linear else DECAY)
        self.first = [torch.zeros_like(p) for p in self.parameters]
        self.second = [torch.zeros_like(p) for p in self.parameters]
        self.steps = 0

    @torch.no_grad()
    def step(self, loss: Tensor) -> None:
        """Of every network down the gradient of its own term of the sum `loss`."""
        gradients = torch.autograd.grad(loss, self.parameters)
        self.steps += 1
        unbiased = 1 - 0.9**self.steps
        unbiased_root = (1 - 0.999**self.steps) ** 0.5
        for i, (p, gradient) in enumerate(zip(self.parameters, gradients)):
            first, second = self.first[i], self.second[i]
            rate = self.rates[i]
            if self.decays[i]:
                p.mul_(1 - rate * self.decays[i])
            first.lerp_(gradient, 0.1)
            second.mul_(0.999)
            second.addcmul_(gradient, gradient, value=0.001)
            root = second.sqrt().div_(unbiased_root)
            root.add_(1e-8)
            p.addcdiv_(first, root, value=-rate / unbiased)

    def keep(self, members: Tensor) -> None:
        """Let go of all networks but `members` (a mask)."""
        for state in (self.first, self.second):
            state[:] = [one[members] for one in state]
        for p in self.parameters:
            p.data = p.data[members]
