"""Early stopping of a stack."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from cchlib import check


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

    CHANGES = ("kept", "lowest", "since", "epoch", "members")

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

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch."""
        return {name: getattr(self, name) for name in self.CHANGES}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        for name in self.CHANGES:
            setattr(self, name, state[name])

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
