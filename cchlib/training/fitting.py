"""Training: epochs, batches, random streams, validation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from cchlib import check
from cchlib.training.checkpoints import Checkpoint, digest
from cchlib.training.inputs import (
    Data,
    PerNetwork,
    Read,
    first_samples,
    moved,
    read,
    sample_count,
    take,
    validation_data,
)
from cchlib.training.networks import (
    as_before,
    as_list,
    derive,
    distinct,
    reproducible,
)
from cchlib.training.stack import Stack, resolve_device, stack_of
from cchlib.training.steps import Autograd, WrittenOut
from cchlib.training.stopping import BestEpoch

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")


@dataclass(frozen=True)
class History:
    """What a fit leaves.

    `loss`: the mean training loss of each epoch, (epochs, S); with `patience` a network
    that was done has NaN from then on. `validation`: the validation loss after each
    epoch, (epochs, S), and `best_epoch`, (S,), whose weights the networks have; None
    without validation, or without patience. `observed`: what `on_epoch` returned, by
    epoch, where it returned something.
    """

    loss: Tensor
    seconds: float
    device: str
    validation: Tensor | None = None
    best_epoch: Tensor | None = None
    observed: dict[int, Any] = field(default_factory=dict)


@torch.inference_mode(False)
@torch.enable_grad()
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
    on_epoch: Callable[[int, Tensor], Any] | None = None,
    validation: Sequence[Data] | None = None,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1,
) -> History:
    """Train the networks, in place, each on its own random stream; parameters that are
    frozen stay as they are, and so do the modules that a network in training mode has
    in evaluation mode (BatchNorm).

    Where vmap can't compute the networks as one (recurrent layers, spectral norm), they
    are called one after another. On any error they are as they were.

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
        What it returns is kept in the history's `observed`.
    checkpoint : path, optional
        Of a file that holds the state after every `checkpoint_every` epochs and at the
        end: weights, buffers, optimiser, random streams, history; or of a folder that
        is there, for many fits. Where the file exists, a fit with the same inputs goes
        on from it, to the same bits. The loss is known by its values on the first
        samples. What `on_epoch` returned is kept too: tensors, numbers, strings,
        tuples, lists and dicts of these.

    Returns
    -------
    History

    Raises
    ------
    ValueError
        On NaN or infinity, inputs that the networks don't take, unequal numbers of
        samples or networks, an unknown optimiser or schedule, numbers out of range; a
        network given twice, or one with layers whose noise `seeds` don't decide; a loss
        or weights that become NaN or infinite; a checkpoint of other inputs. The
        networks are then as they were.
    """
    networks = as_list(networks)
    distinct(networks)
    reproducible(networks)
    if not callable(loss):
        raise ValueError(
            f"`loss` must be a function of the output and the targets, got {loss!r}"
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
    data = read(networks, x=x, targets=wanted)
    size, n = len(networks), sample_count(data, len(networks))
    held_out = validation_data(networks, validation, patience, len(wanted))
    batch_size = (
        n if batch_size is None else min(check.integer("batch_size", batch_size, 1), n)
    )
    seeds = _seeds(seeds, size)
    checkpoint_every = check.integer("checkpoint_every", checkpoint_every, 1)

    start = time.perf_counter()
    where = resolve_device(device)
    with as_before(networks):
        stack = stack_of(networks, data[0], where, training=True)
        learning = [leaf for leaf in stack.leaves.values() if leaf.requires_grad]
        if not learning:
            raise ValueError(
                "`networks` must have a parameter that requires a gradient, got "
                "frozen ones only"
            )
        rule = dict(lr=lr, momentum=momentum, weight_decay=weight_decay)
        step: Autograd | WrittenOut
        if WrittenOut.applies(stack):
            step = WrittenOut(stack, optimizer, **rule)
        else:
            step = Autograd(stack, learning, optimizer, **rule)
        streams = [torch.Generator().manual_seed(seed) for seed in seeds]
        data = [moved(item, where) for item in data]
        watch = None
        if held_out:
            held_out = [moved(item, where) for item in held_out]
            watch = _Validation(stack, held_out, loss, patience)
        passes = _Passes(stack, data, loss, step, streams, watch, epochs)
        if checkpoint is not None:
            settings = dict(
                rule,
                epochs=epochs,
                optimizer=optimizer,
                schedule=schedule,
                batch_size=batch_size,
                seeds=seeds,
                patience=patience,
                device=where.type,
                architecture=str(stack.template),
                loss=_probe(stack, data, loss),
            )
            given = [*data, *held_out]
            tensors = [d.tensor if isinstance(d, PerNetwork) else d for d in given]
            weights = [*stack.leaves.values(), *stack.buffers.values()]
            inputs = digest(settings, [*tensors, *weights])
            passes.resume(Checkpoint(checkpoint, checkpoint_every, inputs))
        passes.run(lr, schedule, batch_size, on_epoch)
        if watch is not None:
            watch.finish()
        _weights_finite(stack)
        stack.unstack()
        derive(networks, first_samples(data[0], 1))
    return History(
        loss=passes.history[: passes.epoch],
        seconds=time.perf_counter() - start,
        device=str(where),
        validation=None if watch is None else torch.stack(watch.history),
        best_epoch=None if watch is None else watch.best_epoch,
        observed=passes.observed,
    )


class _Passes:
    """All epochs of `fit`, and how far they are."""

    def __init__(
        self,
        stack: Stack,
        data: list[Read],
        loss: Callable[..., Tensor],
        step: Autograd | WrittenOut,
        streams: list[torch.Generator],
        watch: _Validation | None,
        epochs: int,
    ):
        self.stack, self.data, self.loss = stack, data, loss
        self.step, self.streams, self.watch = step, streams, watch
        self.epochs = epochs
        self.epoch = 0  # passes that are done
        self.seen = False  # whether the loss has had every sample, and checked it
        self.ended = False  # early, by the validation
        on_cpu: dict[str, Any] = dict(dtype=torch.float32, device="cpu")
        self.history = torch.empty(epochs, len(stack), **on_cpu)
        self.observed: dict[int, Any] = {}
        self.checkpoint: Checkpoint | None = None

    def run(
        self,
        lr: float,
        schedule: str,
        batch_size: int,
        on_epoch: Callable[[int, Tensor], Any] | None,
    ) -> None:
        """Go on to the last epoch, or to where the validation ends it."""
        while self.epoch < self.epochs and not self.ended:
            if schedule == "cosine":
                turn = math.pi * self.epoch / self.epochs
                self.step.set_rate(lr * (1 + math.cos(turn)) / 2)
            losses = self._one_epoch(batch_size)
            if on_epoch is not None:
                self.stack.unstack()  # what is called may look at the networks
                observed = on_epoch(self.epoch, losses)
                if observed is not None:
                    self.observed[self.epoch] = observed
            if self.watch is not None:
                self.ended = self.watch(self.epoch)
            self.epoch += 1
            self._keep()

    def _one_epoch(self, batch_size: int) -> Tensor:
        """One pass over the data; the mean training losses (S,)."""
        size, n = len(self.stack), sample_count(self.data, len(self.stack))
        total = torch.zeros(size, dtype=torch.float32, device=self.stack.device)
        for index in _batches(self.streams, n, batch_size):
            batch = [take(d, index, size) for d in self.data]
            width = n if index is None else index.shape[1]
            inputs = self.data[0] if index is None else PerNetwork(batch[0])

            def losses(output):
                # noqa below: it is called at once
                with check.values_known() if self.seen else nullcontext():
                    values = _values(self.loss, output, batch[1:], size)  # noqa: B023
                if not values.requires_grad:
                    raise ValueError(
                        "`loss` must be a differentiable function of the output, got "
                        "values without a gradient"
                    )
                return values

            noise = _noise(self.stack, self.streams, width, batch[0])
            total += self.step(inputs, noise, losses) * width

        self.seen = True
        means = (total / n).cpu()
        if self.watch is not None:
            means[self.watch.done] = torch.nan
            learning = means[~self.watch.done]
        else:
            learning = means
        if not bool(torch.isfinite(learning).all()):
            raise ValueError(
                f"the training loss became NaN or infinite in epoch {self.epoch}; "
                "try a smaller `lr`"
            )
        self.history[self.epoch] = means
        return means

    def resume(self, checkpoint: Checkpoint) -> None:
        """Keep the state there from now on, and go on from the state that is there."""
        self.checkpoint = checkpoint
        state = checkpoint.read()
        if state is None:
            return
        self.epoch, self.ended = state["epoch"], state["ended"]
        self.history[: self.epoch] = state["history"]
        self.observed = state["observed"]
        with torch.no_grad():
            for name, leaf in self.stack.leaves.items():
                leaf.copy_(state["leaves"][name])
            for name, buffer in self.stack.buffers.items():
                buffer.copy_(state["buffers"][name])
        self.step.load_state(state["step"])
        for stream, kept in zip(self.streams, state["streams"]):
            stream.set_state(kept)
        if self.watch is not None:
            self.watch.load_state(state["watch"])

    def _keep(self) -> None:
        last = self.ended or self.epoch == self.epochs
        if self.checkpoint is None:
            return
        if self.epoch % self.checkpoint.every != 0 and not last:
            return
        leaves = {name: leaf.detach() for name, leaf in self.stack.leaves.items()}
        self.checkpoint.write(
            {
                "epoch": self.epoch,
                "ended": self.ended,
                "history": self.history[: self.epoch],
                "observed": self.observed,
                "leaves": leaves,
                "buffers": self.stack.buffers,
                "step": self.step.state(),
                "streams": [stream.get_state() for stream in self.streams],
                "watch": None if self.watch is None else self.watch.state(),
            }
        )


@torch.no_grad()
def _probe(stack: Stack, data: list[Read], loss: Callable[..., Tensor]) -> list[str]:
    """The loss on the first samples, of each network: two losses differ there."""
    size = len(stack)
    first = torch.arange(min(64, sample_count(data, size))).expand(size, -1)
    inputs, *targets = [take(item, first, size) for item in data]
    with stack.evaluating():
        output = stack(PerNetwork(inputs))
    values = _values(loss, output, targets, size)
    # what rounding in another order changes is no other loss
    return [f"{value:.3e}" for value in values.tolist()]


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
            "the networks' outputs became NaN or infinite; try a smaller `lr`"
        ) from None
    if not isinstance(values, Tensor):
        raise ValueError(
            f"`loss` must return a tensor with one value a network, ({size},), got "
            f"{type(values).__name__}"
        )
    if values.shape != (size,):
        raise ValueError(
            f"`loss` must return one value a network, shape ({size},), got "
            f"{tuple(values.shape)}"
        )
    return values


def _batches(streams, n: int, batch_size: int):
    """Index tensors (S, b) of one epoch, drawn from each network's stream; None stands
    for the full batch.
    """
    if batch_size >= n:
        yield None
        return
    drawn = [torch.randperm(n, generator=stream, device="cpu") for stream in streams]
    order = torch.stack(drawn)
    edges = list(range(0, n, batch_size)) + [n]
    if n - edges[-2] == 1 and len(edges) > 2:
        del edges[-2]
    for low, high in zip(edges, edges[1:]):
        yield order[:, low:high]


def _noise(stack: Stack, streams, width: int, like: Tensor) -> Tensor | None:
    """Uniform numbers (S, b, widths) for the dropout layers, from each network's
    stream.
    """
    if not stack.dropouts:
        return None
    total = sum(module.width for module in stack.dropouts.values())
    on_cpu: dict[str, Any] = dict(dtype=torch.float32, device="cpu")
    noise = torch.empty(len(streams), width, total, **on_cpu)
    for part, stream in zip(noise, streams):
        torch.rand(width, total, generator=stream, out=part, **on_cpu)
    return noise.to(like.device)


class _Validation:
    """The validation loss after each epoch, and the weights that it was lowest with."""

    def __init__(
        self, stack: Stack, data: list[Read], loss: Callable, patience: int | None
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
            return torch.zeros(len(self.stack), dtype=torch.bool, device="cpu")
        return self.best.done.cpu()

    @property
    def best_epoch(self) -> Tensor | None:
        """Of each network, (S,); None without patience."""
        return None if self.best is None else self.best.epoch.cpu()

    def state(self) -> dict[str, Any]:
        """All that changes from epoch to epoch."""
        best = None if self.best is None else self.best.state()
        return {"history": self.history, "best": best}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take back what `state` gave."""
        self.history = list(state["history"])
        if self.best is not None:
            self.best.load_state(state["best"])

    @torch.no_grad()
    def __call__(self, epoch: int) -> bool:
        """Take the losses after `epoch`; whether training ends here."""
        size = len(self.stack)
        with self.stack.evaluating():
            output = self.stack(self.data[0])
        targets = [take(item, None, size) for item in self.data[1:]]
        values = _values(self.loss, output, targets, size)
        learning = ~self.done.to(values.device)
        if not bool(torch.isfinite(values[learning]).all()):
            raise ValueError(
                f"the validation loss became NaN or infinite in epoch {epoch}; check "
                "that `validation` is finite, or try a smaller `lr`"
            )
        values = torch.where(learning, values, torch.nan)
        self.history.append(values.cpu())
        return self.best is not None and self.best.see(values, epoch)

    def finish(self) -> None:
        """Give every network the weights of its best epoch."""
        if self.best is not None:
            self.best.restore()


def _weights_finite(stack: Stack) -> None:
    """Refuse what a step too far has made of the weights, also after the last one."""
    for name, value in (stack.leaves | stack.buffers).items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise ValueError(
                f"the weights became NaN or infinite ({name}); try a smaller `lr`"
            )


def _seeds(seeds: int | Iterable[int], size: int) -> list[int]:
    """One seed a network."""
    several = isinstance(seeds, Iterable) and getattr(seeds, "ndim", 1) > 0
    chosen = list(cast(Iterable[int], seeds)) if several else [cast(int, seeds)] * size
    if len(chosen) != size:
        raise ValueError(
            f"`seeds` must have one entry a network, {size}, got {len(chosen)}"
        )
    return [check.seed("seeds", seed) for seed in chosen]
