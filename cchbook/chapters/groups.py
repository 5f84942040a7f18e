"""Networks under keys, trained and evaluated as one stack.

A chapter's experiment has R repetitions of each of its conditions: "the student that
listens to the teacher with λ = 0.3", five seeds of it. `Groups` keeps them under the
condition's name, so that a notebook reads like the algorithm, and hands all of them to
`cchlib.training` at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cchlib.training import History, PerNetwork, features, fit, predict


@dataclass(frozen=True)
class Shared:
    """Data (n, ...) that all repetitions of all keys see: kept once, not once a
    network.
    """

    tensor: Tensor


#: what every key sees (R, n, ...), or what each key sees, or what all networks see
Seen = Tensor | Mapping[Hashable, Tensor] | Shared


class Groups(dict[Hashable, list[nn.Module]]):
    """R networks under each key, all of one architecture."""

    @property
    def repetitions(self) -> int:
        """R."""
        return len(next(iter(self.values())))

    def fit(
        self,
        x: Seen,
        targets: Sequence[Seen],
        loss: Callable[..., Tensor],
        *,
        weights: Mapping[str, Mapping[Hashable, float]] | None = None,
        seeds: Sequence[int] | Mapping[Hashable, Sequence[int]] | None = None,
        validation: Sequence[Seen] | None = None,
        **settings,
    ) -> History:
        """Train all of them, repetition r of every key on the random stream `seeds[r]`.

        Parameters
        ----------
        x, targets : Tensor (R, n, ...), or one a key, or Shared
            As of `cchlib.training.fit`; labels are a target too.
        loss : callable(output, *targets, **weights) -> (keys · R,)
        weights : mapping {name: {key: number}}, optional
            What the loss takes one number a network of, λ for example.
        seeds : sequence of R int, or one a key
            0 to R − 1 if not given.
        validation : sequence of x and the targets, optional
            Held out, to stop on (`patience`).
        **settings
            Of `cchlib.training.fit`.

        Raises
        ------
        ValueError
            As `cchlib.training.fit`, and where a key has no data or no weight.
        """
        seeds = range(self.repetitions) if seeds is None else seeds
        if not isinstance(seeds, Mapping):
            seeds = dict.fromkeys(self, seeds)
        self._all_there("seeds", seeds)
        numbers = {
            name: self._one_a_network(name, of) for name, of in (weights or {}).items()
        }

        held_out = None
        if validation is not None:
            held_out = [self._stacked("validation", part) for part in validation]

        def weighted(output: Tensor, *seen: Tensor) -> Tensor:
            own = {name: value.to(output) for name, value in numbers.items()}
            return loss(output, *seen, **own)

        return fit(
            [network for group in self.values() for network in group],
            self._stacked("x", x),
            [self._stacked("targets", target) for target in targets],
            weighted,
            seeds=[seed for key in self for seed in seeds[key]],
            validation=held_out,
            **settings,
        )

    def predict(self, x: Seen, **options) -> dict[Hashable, Tensor]:
        """Outputs (R, n, ...) of each key."""
        return self._evaluated(predict, x, options)

    def features(self, x: Seen, **options) -> dict[Hashable, Tensor]:
        """Representations H (R, n, h) of each key."""
        return self._evaluated(features, x, options)

    def _evaluated(self, evaluate, x: Seen, options) -> dict[Hashable, Tensor]:
        networks = [network for group in self.values() for network in group]
        result = evaluate(networks, self._stacked("x", x), **options)
        return dict(zip(self, result.split(self.repetitions)))

    def _stacked(self, name: str, seen: Seen) -> PerNetwork | Tensor:
        """The data of all networks, in their order, (keys · R, n, ...)."""
        if isinstance(seen, Shared):
            return seen.tensor
        if not isinstance(seen, Mapping):
            seen = dict.fromkeys(self, seen)
        self._all_there(name, seen)
        return PerNetwork(torch.cat([seen[key] for key in self]))

    def _one_a_network(self, name: str, of: Mapping[Hashable, float]) -> Tensor:
        self._all_there(name, of)
        each = torch.tensor([float(of[key]) for key in self])
        return each.repeat_interleave(self.repetitions)

    def _all_there(self, name: str, of: Mapping) -> None:
        if missing := [key for key in self if key not in of]:
            raise ValueError(
                f"`{name}` must have something for each of the {len(self)} keys, and "
                f"has nothing for {missing[0]!r}"
            )
