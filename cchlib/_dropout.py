"""Dropout with its noise as an argument, shared by the networks and by the trainer of stacks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cchlib import _check


class Dropout(nn.Module):
    """Dropout whose noise can be handed in, so that a stack of networks equals the loop over them.

    While training it zeroes an entry where `noise` < p. `cchlib.training` fills `noise` from
    each network's own generator; used by hand (``noise is None``) it draws from torch's global one.
    """

    def __init__(self, p: float, width: int):
        super().__init__()
        self.p = float(_check.within("dropout", p, 0.0, 1.0))
        self.width = width
        self.noise: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        noise = torch.rand_like(x) if self.noise is None else self.noise
        return x * (noise >= self.p) / (1 - self.p if self.p < 1 else 1)
