"""What one torch module makes of a batch: its representation and its output, through
forward hooks.

**The head** is the layer whose output *is* the module's output, up to a function that
keeps the order of the logits (softmax, a temperature), the choice of one token, or a
mean over tokens; the representation is the head's input. Where no layer's output is,
that is said: the last layer that was called need not be it.

**Axes** of a representation with more than two are known by the kind of the layer that
made it (a convolution's channels come second, a linear layer's last), or asked.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from cchlib import check
from cchlib.names import listed

#: arguments of a forward by which tokens are kept (1) or padding is marked (True)
KEPT = ("attention_mask", "input_mask")
PADDED = ("src_key_padding_mask", "key_padding_mask", "padding_mask")
#: entries of a forward's result that are its output, in this order
OUTPUT_NAMES = ("logits", "logit", "prediction", "predictions", "pred", "output", "out")
#: so many numbers whose order agrees do not do so by chance
ENOUGH = 12

#: layers that leave the axes of their input, and have their channels second or last
CHANNELS_SECOND = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
)
CHANNELS_LAST = (nn.Linear, nn.Embedding, nn.LayerNorm)
SEQUENCES = (
    nn.RNNBase,
    nn.MultiheadAttention,
    nn.TransformerEncoder,
    nn.TransformerEncoderLayer,
    nn.TransformerDecoder,
    nn.TransformerDecoderLayer,
    nn.Transformer,
)


class Axes(NamedTuple):
    """Which axis counts the rows, and which the channels."""

    rows: int
    channels: int


class Call(NamedTuple):
    """One call of a layer: what it was given and what it gave."""

    given: Tensor
    gave: Tensor


@dataclass(frozen=True)
class Read:
    """Representation (b, p) and output (b, K) of a batch."""

    features: np.ndarray
    output: np.ndarray | None


class TorchReader:
    """Reads one module.

    Parameters
    ----------
    name : {"teacher", "student"}
    network : nn.Module
    layer : str or None
        A module's name for its output; with ".input" at the end, for its input; None
        for the head's input.
    channels : int or None
        The axis of the channels, for a layer whose kind does not say it.
    """

    def __init__(
        self, name: str, network: nn.Module, layer: str | None, channels: int | None
    ):
        self.name, self.channels = name, channels
        self.network = getattr(network, "_orig_mod", network)  # a compiled one's own
        self.notes: list[str] = []
        self.head: str | None = None
        self.key: str | None = None  # the place of the output in the forward's result
        self.axes: Axes | None = None
        self.planned = False
        self._readable()
        self.modules = {
            _plain(own): module for own, module in self.network.named_modules()
        }
        self.layer, self.at_input = self._named(layer)

    def _readable(self) -> None:
        for module in self.network.modules():
            if isinstance(module, torch.jit.ScriptModule):
                raise ValueError(
                    f"`{self.name}` must be a Python module, whose layers can be read, "
                    "got one of TorchScript; give the module that it was made from, or "
                    "arrays to `decide`"
                )
        for parameter in self.network.parameters():
            if nn.parameter.is_lazy(parameter):
                raise ValueError(
                    f"`{self.name}` must be trained, got lazy layers, whose weights "
                    "are not there yet"
                )
            if parameter.is_meta:
                raise ValueError(
                    f"`{self.name}` must hold numbers, got parameters on the meta "
                    "device"
                )

    def _named(self, layer: str | None) -> tuple[str | None, bool]:
        """The module's name, and whether its input is asked for."""
        if layer is None:
            return None, False
        plain = _plain(layer)
        if plain and plain in self.modules:
            return plain, False
        base = plain.removesuffix(".input")
        if base and base != plain and base in self.modules:
            return base, True
        near = difflib.get_close_matches(plain, self.modules, n=3, cutoff=0.3)
        near = near or [key for key in self.modules if key][-3:]
        raise ValueError(
            f"`layer` must be a module of the {self.name}, such as {', '.join(near)}, "
            f"got {layer!r}"
        )

    @contextmanager
    def reading(self, where: torch.device) -> Iterator[None]:
        """Evaluation mode, no gradients, and the device; undone afterwards."""
        modes = {module: module.training for module in self.network.modules()}
        tensors = [*self.network.parameters(), *self.network.buffers()]
        homes = {tensor.device for tensor in tensors}
        move = len(homes) == 1
        self.device = where if move or not homes else tensors[0].device
        floats = [t.dtype for t in tensors if t.is_floating_point()]
        self.dtype = floats[0] if floats else torch.float32
        with ExitStack() as state:
            try:
                self.network.eval()
                if move:
                    self.network.to(where)
                if any(map(_is_compiled, modes)):
                    state.enter_context(_eager(self.name))
                state.enter_context(torch.no_grad())
                yield
            finally:
                if move:
                    self.network.to(homes.pop())
                for module, mode in modes.items():
                    module.training = mode

    def __call__(self, batch: Any, place: Any, rows: int) -> Read:
        """Representation and output of a batch of so many rows."""
        if not self.planned:
            self._plan(batch, place, rows)
            self.planned = True
        args, kwargs = self._inputs(batch, place)
        mask = self._mask(args, kwargs)
        watched = [own for own in (self.head, self.layer) if own is not None]
        with self._watching(watched) as calls:
            said = self._forward(args, kwargs)
        output = self._output(said, rows)

        if self.layer is not None:
            features = self._of_layer(calls[self.layer], mask)
            found = None if output is None else self._pooled_output(output, mask)
        elif self.head is not None:
            assert output is not None  # as the head made it
            layer = self.modules[self.head]
            match = _matched(calls[self.head], layer, output, mask, enough=1)
            if match is None:
                raise ValueError(
                    f"`{self.name}` must make all its outputs by one layer, got a "
                    f"batch where {self.head} did not; name a layer by `layer`"
                )
            features, found = match
        else:
            hidden = dict(_flat(said))["last_hidden_state"]
            features, found = self._pooled(hidden, _of_hidden(hidden), mask), None
        numbers = _numbers(self.name, features)
        if found is None:
            return Read(numbers, None)
        return Read(numbers, _numbers(f"{self.name}_output", found))

    # What the first batch shows: where the output is, which layer is the head, and the
    # axes of a named layer.

    def _plan(self, batch: Any, place: Any, rows: int) -> None:
        args, kwargs = self._inputs(batch, place)
        with _Layout(self.network) as layout:
            said = self._forward(args, kwargs)
        if self.layer is not None:
            self.axes = layout.of(self.modules[self.layer], self.at_input)
        candidates = self._candidates(said, rows)
        if not candidates:
            if self.layer is None and "last_hidden_state" not in dict(_flat(said)):
                raise ValueError(
                    f"`{self.name}` must return one row for each of the {rows} "
                    f"labels, got {_described(said)}"
                )
            return
        if self.layer is not None and len(candidates) == 1:
            self.key = next(iter(candidates))
            return
        self._find_head(batch, place, candidates)

    def _find_head(self, batch: Any, place: Any, candidates: dict[str, Tensor]) -> None:
        """The output among several tensors, and the layer that makes it."""
        widths = {size for tensor in candidates.values() for size in tensor.shape[1:]}
        widths |= {1 for tensor in candidates.values() if tensor.ndim == 1}
        heads = [
            own for own, module in self.modules.items() if _width(module) in widths
        ]
        args, kwargs = self._inputs(batch, place)
        mask = self._mask(args, kwargs)
        with self._watching(heads) as calls:
            self._forward(args, kwargs)
        made: dict[str, str] = {}
        inputs: list[Tensor] = []
        for key, tensor in candidates.items():
            for own in reversed(heads):
                match = _matched(calls[own], self.modules[own], tensor, mask)
                if match is not None:
                    made[key] = own
                    inputs.append(match[0])
                    break
        # what feeds the head of another is its features
        fed = [
            key
            for key in made
            if any(_close(candidates[key].float(), given) for given in inputs)
        ]
        outputs = [key for key in made if key not in fed] or list(made)
        if outputs:
            self.key = outputs[0]
            if self.layer is None:
                self.head = made[self.key]
                self.notes.append(
                    f"{self.name}: the representation is the input of {self.head}, "
                    "which makes the output."
                )
            return
        if self.layer is not None:
            self.key = next(iter(candidates))
            return
        several = [own for own in heads if len(calls[own]) > 1]
        often = (
            f" ({several[0]} is called {len(calls[several[0]])} times)"
            if several
            else ""
        )
        linear = [own for own, m in self.modules.items() if own and _width(m)]
        near = (linear or [own for own in self.modules if own] or ["…"])[-3:]
        raise ValueError(
            f"layer is None and no layer's output is the {self.name}'s output{often}, "
            f"which leaves the {self.name} without a representation; `layer` must name "
            "a module that its forward calls (for its output, or with .input at the "
            f"end for its input), such as {listed(near)}"
        )

    def _candidates(self, said: Any, rows: int) -> dict[str, Tensor]:
        """Tensors of a result that may be its output, by their place in it."""
        flat = dict(_flat(said))
        for name in (*OUTPUT_NAMES, *(key for key in flat if key.endswith("logits"))):
            if name in flat:
                return self._of_rows({name: flat[name]}, rows)
        if "last_hidden_state" in flat:
            return {}
        return self._of_rows(flat, rows)

    def _of_rows(self, flat: dict[str, Tensor], rows: int) -> dict[str, Tensor]:
        found = {
            key: tensor
            for key, value in flat.items()
            if (tensor := _by_rows(value, rows)) is not None
        }
        floats = {k: t for k, t in found.items() if t.is_floating_point()}
        if found and not floats:
            raise ValueError(
                f"`{self.name}` must return logits, probabilities or predictions, got "
                f"{next(iter(found.values())).dtype}, as of labels"
            )
        return floats

    def _output(self, said: Any, rows: int) -> Tensor | None:
        """The output of a later batch, by its place."""
        if self.key is None:
            return None
        value = dict(_flat(said)).get(self.key)
        tensor = None if value is None else _by_rows(value, rows)
        if tensor is None:
            raise ValueError(
                f"unequal numbers of rows: labels {rows}, and the {self.name} returns "
                f"{_described(said)}"
            )
        return tensor

    def _of_layer(self, calls: list[Call], mask: Tensor | None) -> Tensor:
        layer = self.modules[self.layer or ""]
        if not calls:
            raise ValueError(
                f"`layer` must be a module that the forward of the {self.name} calls, "
                f"got {self.layer!r}, which was not called"
            )
        if len(calls) > 1 and not isinstance(layer, nn.RNNCellBase):
            raise ValueError(
                f"`layer` must name a module that is called once, got {self.layer!r} "
                f"of the {self.name}, which is called {len(calls)} times: which call "
                "is meant can't be known"
            )
        value = calls[-1].given if self.at_input else calls[-1].gave
        axes = self.axes
        if self.channels is not None:
            axes = Axes(axes.rows if axes else 0, self.channels)
        if value.ndim > 2 and axes is None:
            raise ValueError(
                f"`channels` must say which axis of layer {self.layer!r} of the "
                f"{self.name} holds the channels, as its kind does not: its shape is "
                f"{tuple(value.shape)}"
            )
        return self._pooled(value, axes, mask)

    def _pooled_output(self, output: Tensor, mask: Tensor | None) -> Tensor:
        if output.ndim < 3:
            return output.float()[:, None] if output.ndim == 1 else output.float()
        raise ValueError(
            f"`{self.name}` must return (b, K), got {tuple(output.shape)}, of which it "
            "is not known which axis holds the classes"
        )

    def _pooled(self, value: Tensor, axes: Axes | None, mask: Tensor | None) -> Tensor:
        """(b, p), the mean over all other axes; of tokens, over those that are kept."""
        value = value.float()
        if value.ndim <= 1:
            return value.reshape(len(value) if value.ndim else 1, 1)
        rows, channels = axes or Axes(0, 1)
        rows, channels = rows % value.ndim, channels % value.ndim
        value = value.movedim((rows, channels), (0, -1))
        if value.ndim == 2:
            return value
        if mask is not None and value.ndim == 3:
            mask = self._of_positions(mask, value.shape[1])
            self._note_mean(f"the {value.shape[1]} positions that the mask keeps")
            weight = mask.to(value.dtype)[..., None]
            return (value * weight).sum(1) / weight.sum(1)
        self._note_mean("all positions")
        return value.flatten(1, -2).mean(1)

    def _note_mean(self, over: str) -> None:
        words = f"{self.name}: the representation is a mean over "
        if not any(note.startswith(words) for note in self.notes):
            self.notes.append(f"{words}{over}.")

    def _of_positions(self, mask: Tensor, count: int) -> Tensor:
        """The mask (b, count) of positions, by the network's own way where it has other
        numbers of inputs and positions.
        """
        if mask.shape[1] != count:
            for module in self.network.modules():
                own = getattr(module, "_get_feature_vector_attention_mask", None)
                if callable(own):
                    mask = own(count, mask.long()).bool()
                    break
        if mask.shape[1] != count:
            raise ValueError(
                f"`{self.name}_input` holds a mask of {mask.shape[1]} inputs for a "
                f"representation of {count} positions, so that padding can't be left "
                "out; name a layer whose output is (b, p)"
            )
        if not bool(mask.any(1).all()):
            row = int((~mask.any(1)).nonzero()[0])
            raise ValueError(
                f"`{self.name}_input` must keep a token of every subject, got a mask "
                f"that keeps none of row {row + 1} of a batch"
            )
        return mask

    # Calls and their arguments.

    @contextmanager
    def _watching(self, names: Sequence[str]) -> Iterator[dict[str, list[Call]]]:
        """Every call of the modules, copied before anything can change it in place."""
        calls: dict[str, list[Call]] = {own: [] for own in names}
        given: dict[str, list[Tensor]] = {own: [] for own in names}

        def before(own: str):
            def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
                tensor = _first_tensor([*args, *kwargs.values()])
                empty = torch.empty(0)
                given[own].append(empty if tensor is None else tensor.detach().clone())

            return hook

        def after(own: str):
            def hook(module: nn.Module, args: tuple, output: Any) -> None:
                tensor = _first_tensor([output])
                if tensor is not None:
                    calls[own].append(Call(given[own].pop(), tensor.detach().clone()))

            return hook

        with ExitStack() as hooks:
            for own in set(names):
                module = self.modules[own]
                handle = module.register_forward_pre_hook(before(own), with_kwargs=True)
                hooks.callback(handle.remove)
                hooks.callback(module.register_forward_hook(after(own)).remove)
            yield calls

    def _forward(self, args: list, kwargs: dict) -> Any:
        try:
            return self.network(*args, **kwargs)
        except TypeError as error:
            parameters = self._parameters()
            first = parameters[0] if parameters else "batch"
            raise ValueError(
                f"`{self.name}_input` must fit the {self.name}'s forward("
                f"{', '.join(parameters)}), got {len(args)} places and the names "
                f"{listed(kwargs)} ({error}); a forward that takes one dict is given "
                f"it by {{{first!r}: [keys of the batch]}}"
            ) from None

    def _parameters(self) -> list[str]:
        """The names of the forward's parameters."""
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        signature = inspect.signature(self.network.forward)
        return [p.name for p in signature.parameters.values() if p.kind not in kinds]

    def _mask(self, args: list, kwargs: dict) -> Tensor | None:
        """Which tokens (b, tokens) are kept, of the mask that the forward is given."""
        named = dict(zip(self._parameters(), args)) | kwargs
        for name in (*KEPT, *PADDED):
            mask = named.get(name)
            if isinstance(mask, Tensor):
                return _kept(f"{self.name}_input", name, mask)
        return None

    def _inputs(self, batch: Any, place: Any) -> tuple[list, dict]:
        argument = f"{self.name}_input"

        def given(key: Any) -> Any:
            if isinstance(key, list):
                return {own: given(own) for own in key}
            return self._tensors(argument, key, part_of(batch, key, argument))

        if isinstance(place, Mapping):
            return [], {name: given(key) for name, key in place.items()}
        if isinstance(place, (list, tuple)):
            args = [given(key) for key in place if not isinstance(key, str)]
            return args, {key: given(key) for key in place if isinstance(key, str)}
        value = given(place)
        if isinstance(value, dict) and set(value) <= set(self._parameters()):
            return [], value
        return [value], {}

    def _tensors(self, argument: str, place: Any, value: Any) -> Any:
        """A copy on the device, in the network's precision: what the network does to it
        is not done to the batch.
        """
        if isinstance(value, Mapping):
            return {k: self._tensors(argument, place, v) for k, v in value.items()}
        if isinstance(value, (list, tuple)) and any(np.ndim(v) for v in value[:1]):
            if isinstance(value[0], (Tensor, np.ndarray)):
                raise ValueError(
                    f"`{argument}` must name one array of a batch, got {place!r}, "
                    f"which holds {len(value)}; batches (x1, x2, y) are read, as from "
                    "((x1, x2, y) for (x1, x2), y in loader)"
                )
        tensor = check.as_tensor(argument, value)
        kind = self.dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self.device, kind, copy=True)


class _Layout:
    """The axes of what the layers of a network give, seen in one forward."""

    def __init__(self, network: nn.Module):
        self.network = network
        self.marks: WeakTensorKeyDictionary = WeakTensorKeyDictionary()
        self.gave: dict[nn.Module, tuple[torch.Size, Axes | None]] = {}
        self.got: dict[nn.Module, Axes | None] = {}

    def __enter__(self) -> _Layout:
        self.handles = [
            module.register_forward_hook(self._seen, with_kwargs=True)
            for module in self.network.modules()
        ]
        return self

    def __exit__(self, *error: Any) -> None:
        for handle in self.handles:
            handle.remove()

    def _seen(self, module: nn.Module, args: tuple, kwargs: dict, output: Any) -> None:
        given = _first_tensor([*args, *kwargs.values()])
        gave = _first_tensor([output])
        if gave is None:
            return
        before = None if given is None else self.marks.get(given)
        axes = _axes_of(module, gave, before)
        if axes is None:
            axes = self.marks.get(gave)
        if axes is None and given is not None and given.shape == gave.shape:
            axes = before
        if axes is not None:
            self.marks[gave] = axes
        self.gave[module] = (gave.shape, axes)
        self.got[module] = before

    def of(self, module: nn.Module, at_input: bool) -> Axes | None:
        """Axes of what a module gives, by itself or by all its parts that give the same
        shape; None where neither says.
        """
        if at_input:
            if isinstance(module, nn.Linear):
                return self.got.get(module) or Axes(0, -1)
            return self.got.get(module)
        shape, axes = self.gave.get(module, (None, None))
        if axes is not None or shape is None:
            return axes
        inside = {
            Axes(own.rows, own.channels % len(shape))
            for part in module.modules()
            for size, own in [self.gave.get(part, (None, None))]
            if own is not None and size == shape
        }
        return inside.pop() if len(inside) == 1 else None


def _axes_of(module: nn.Module, gave: Tensor, before: Axes | None) -> Axes | None:
    """The axes that the kind of a layer gives its output."""
    rows = before.rows if before is not None else 0
    if isinstance(module, SEQUENCES):
        return Axes(0 if _batch_first(module) else 1, -1)
    if isinstance(module, CHANNELS_SECOND):
        return Axes(0, 1)
    if type(module) in CHANNELS_LAST:
        return Axes(rows, -1)
    width = _width(module) or next(iter(getattr(module, "normalized_shape", [])), None)
    axes = [axis for axis, size in enumerate(gave.shape) if axis and size == width]
    return Axes(rows, axes[0]) if len(axes) == 1 else None


def _batch_first(module: nn.Module) -> bool:
    found = [m.batch_first for m in module.modules() if hasattr(m, "batch_first")]
    return bool(found and found[0])


def _of_hidden(hidden: Tensor) -> Axes:
    """Those of a last_hidden_state: (b, tokens, p), or (b, p, height, width)."""
    return Axes(0, 1 if hidden.ndim == 4 else -1)


def _width(module: nn.Module) -> int | None:
    """How many outputs a linear layer or a convolution has; None of other layers."""
    if isinstance(module, nn.modules.conv._ConvNd):
        return module.out_channels
    width = getattr(module, "out_features", None)
    inputs = getattr(module, "in_features", None)
    return width if isinstance(width, int) and isinstance(inputs, int) else None


def _matched(
    calls: list[Call],
    layer: nn.Module,
    output: Tensor,
    mask: Tensor | None,
    enough: int = ENOUGH,
) -> tuple[Tensor, Tensor] | None:
    """Representation (b, p) and output (b, K), where one of the calls made the output;
    None otherwise. Of fewer than `enough` numbers the order says nothing.
    """
    for call in reversed(calls):
        given, gave = call.given.float(), call.gave.float()
        if isinstance(layer, nn.modules.conv._ConvNd):
            given, gave = given.movedim(1, -1), gave.movedim(1, -1)
        if given.shape[:-1] != gave.shape[:-1] or gave.ndim < 2:
            continue  # a wider kernel: the output is not of one position
        for axis in (0, 1) if gave.ndim == 3 else (0,):  # or time first
            if gave.shape[axis] != len(output):
                continue
            by_row = [_positions(part.movedim(axis, 0)) for part in (given, gave)]
            found = _of_call(by_row[0], by_row[1], output.float(), mask, enough)
            if found is not None:
                return found
    return None


def _positions(value: Tensor) -> Tensor:
    """(b, positions, ·) of (b, ·) or (b, ..., ·)."""
    return value.flatten(1, -2) if value.ndim > 2 else value[:, None]


def _of_call(
    given: Tensor, gave: Tensor, output: Tensor, mask: Tensor | None, enough: int
) -> tuple[Tensor, Tensor] | None:
    """The same of one call, all positions (b, positions, ·) of it."""
    rows, positions, width = gave.shape
    if output.ndim == 1:
        output = output[:, None]
    if output.ndim == 2 and output.shape[1] == width:
        if positions == 1:
            same = _follows(gave[:, 0], output, enough)
            return (given[:, 0], output) if same else None
        away = (gave - output[:, None]).abs().amax(-1)  # (b, positions)
        near = away <= 1e-4 * output.abs().amax(-1, keepdim=True) + 1e-6
        if bool(near.any(1).all()):
            # the first token of all, the last of all, or each subject's own
            everywhere = near.all(0)
            if bool(everywhere[0]):
                place = torch.zeros(rows, dtype=torch.long, device=near.device)
            elif bool(everywhere[-1]):
                place = torch.full((rows,), positions - 1, device=near.device)
            else:
                place = near.int().argmax(1)
            return given[torch.arange(rows, device=near.device), place], output
        for weight in _weights(mask, gave):
            if _close((gave * weight).sum(1), output):
                return (given * weight).sum(1), output
        return None
    if output.ndim < 3:
        return None
    # classes last, or second
    for flat in (output.flatten(1, -2), output.flatten(2).mT):
        if flat.shape == gave.shape and _follows(gave, flat, enough):
            weight = _weights(mask, gave)[0]
            return (given * weight).sum(1), (flat * weight).sum(1)
    return None


def _weights(mask: Tensor | None, value: Tensor) -> list[Tensor]:
    """Weights (b, positions, 1) of the masked mean, where the mask fits, and of the
    plain one.
    """
    plain = torch.full_like(value[..., :1], 1 / value.shape[1])
    if mask is None or value.shape[1] == 1:
        return [plain]
    if mask.shape != value.shape[:2] or not bool(mask.any(1).all()):
        raise ValueError(
            f"a mask must keep some of the {value.shape[1]} positions of every "
            f"subject, got one of {mask.shape[1]}, or none kept; name a layer whose "
            "output is (b, p)"
        )
    weight = mask.to(value.dtype)[..., None]
    return [weight / weight.sum(1, keepdim=True), plain]


def _follows(logits: Tensor, output: Tensor, enough: int) -> bool:
    """Whether the output is the logits, or keeps their order entry by entry (a
    temperature, a sigmoid), or row by row (softmax and its logarithm).
    """
    if _close(logits, output):
        return True
    if logits.numel() < enough or not bool(output.isfinite().all()):
        return False
    flat = output.flatten()[logits.flatten().argsort()]
    steps = flat.diff()
    varies = len(flat) == 1 or float(steps.abs().max()) > 0
    if bool((steps >= 0).all() | (steps <= 0).all()) and varies:
        return True
    logs = [output] if not bool((output > 0).all()) else [output.log(), output]
    for values in logs:
        shift = values - logits
        if _close(shift, shift[..., :1].expand_as(shift)):
            return True
    return False


def _close(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    known = other[other.isfinite()]  # what is not is refused by name, later
    size = float(known.abs().max()) if known.numel() else 0.0
    near = dict(rtol=1e-3, atol=1e-4 * size + 1e-6)
    return bool(torch.allclose(one, other, equal_nan=True, **near))


def _kept(argument: str, name: str, mask: Tensor) -> Tensor:
    """The mask as (b, tokens) bool, True where a token is kept."""
    if mask.ndim == 4 and mask.shape[1:3] == (1, 1):
        mask = mask[:, 0, 0]
    elif mask.ndim == 3 and mask.shape[1] == 1:
        mask = mask[:, 0]
    if mask.ndim != 2:
        raise ValueError(
            f"`{argument}` must hold {name} of shape (b, tokens), got "
            f"{tuple(mask.shape)}"
        )
    if mask.is_floating_point() and (name in PADDED or bool((mask < 0).any())):
        return mask == 0  # added to the scores: 0 keeps, −10⁴ or −∞ does not
    return ~mask.bool() if name in PADDED else mask > 0


def _by_rows(value: Tensor, rows: int) -> Tensor | None:
    """The tensor with one row a subject; None where it has another number of them."""
    if rows == 1 and value.ndim < 2:
        return value.reshape(1, -1)  # the batch's axis was squeezed away
    return value if value.ndim and len(value) == rows else None


def _flat(said: Any, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors of a forward's result, by their place. Of an object its attributes
    count, but not those of objects within.
    """
    if isinstance(said, np.ndarray):
        said = torch.from_numpy(said)
    if isinstance(said, Tensor):
        if not said.is_nested:  # of a fast path within a transformer
            yield key, said
        return
    if isinstance(said, Mapping):
        parts = [(str(name), part) for name, part in said.items()]
    elif hasattr(said, "_asdict"):
        parts = list(said._asdict().items())
    elif isinstance(said, (list, tuple)):
        parts = [(str(place), part) for place, part in enumerate(said)]
    elif not key and hasattr(said, "__dict__"):
        parts = list(vars(said).items())
    else:
        parts = []
    for name, part in parts:
        yield from _flat(part, f"{key}.{name}" if key else name)


def _first_tensor(values: Sequence[Any]) -> Tensor | None:
    """The first floating-point tensor among values, or the first."""
    found = [tensor for value in values for _, tensor in _flat(value, "of")]
    floats = [tensor for tensor in found if tensor.is_floating_point()]
    chosen = floats or found
    return chosen[0] if chosen else None


def _described(said: Any) -> str:
    """The shapes of a forward's result."""
    shapes = [f"{key} {tuple(t.shape)}".strip() for key, t in _flat(said)]
    return listed(shapes) or type(said).__name__


def _plain(name: str) -> str:
    """A module's name without what compiling adds to it."""
    return ".".join(part for part in name.split(".") if part != "_orig_mod")


def _eager(name: str) -> Any:
    """Compiled code calls no hooks: let it run as it was written."""
    stance = getattr(torch.compiler, "set_stance", None)
    if stance is None:
        raise ValueError(
            f"`{name}` must not be compiled, which this torch can't undo for a while; "
            "give the module that torch.compile was given"
        )
    return stance("force_eager")


def _is_compiled(module: nn.Module) -> bool:
    called = getattr(module, "_compiled_call_impl", None) is not None
    return called or hasattr(module, "_orig_mod")


def _numbers(name: str, value: Tensor) -> np.ndarray:
    check.all_finite(name, value)
    return value.detach().float().cpu().numpy()


def part_of(batch: Any, place: Any, argument: str) -> Any:
    """What a batch holds at a place."""
    try:
        return batch[place]
    except (KeyError, IndexError, TypeError):
        held = list(batch) if isinstance(batch, Mapping) else f"{len(batch)} parts"
        raise ValueError(
            f"`{argument}` must be one of {held}, which a batch holds, got {place!r}"
        ) from None
