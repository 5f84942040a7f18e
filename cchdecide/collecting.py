"""From two trained networks and a data loader
to the arrays that the criterion reads.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from cchdecide.writing import written_beside
from cchlib import check
from cchlib.training import resolve_device

#: keys under which a batch that is a dict may hold its parts without being asked
TEACHER_KEYS = ("teacher", "teacher_input", "x1")
STUDENT_KEYS = ("student", "student_input", "x2")
LABEL_KEYS = ("label", "labels", "y", "target")
#: probabilities nearer to 0 than this are taken for it in log-odds
LEAST_PROBABILITY = 1e-6


@dataclass(frozen=True)
class Representations:
    """What two networks make of the same n subjects.

    Attributes
    ----------
    teacher, student : ndarray (n, p) float32
        Representations, H1 and H2.
    labels : ndarray (n,), or (n, q)
        Classes (n,), or a regression target; floats that come as a column (n, 1) stay
        one, so that `decide` takes a few values for a target too, but 0 and 1 don't.
    teacher_output, student_output : ndarray (n, K) float32, or None
        Logits or probabilities, or predictions of a regression; None where a network
        gives representations only.
    """

    teacher: np.ndarray
    student: np.ndarray
    labels: np.ndarray
    teacher_output: np.ndarray | None = None
    student_output: np.ndarray | None = None

    def __repr__(self) -> str:
        outputs = [
            f"{name} {array.shape}"
            for name, array in (
                ("teacher_output", self.teacher_output),
                ("student_output", self.student_output),
            )
            if array is not None
        ]
        return (
            f"Representations of {len(self.labels)} subjects\n"
            f"  teacher {self.teacher.shape}, student {self.student.shape}, "
            f"labels {self.labels.dtype} {self.labels.shape}\n"
            f"  {', '.join(outputs) or 'no outputs'}"
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by the keys of an .npz for `cch assess`."""
        return {name: value for name, value in vars(self).items() if value is not None}

    def save(self, path: str | os.PathLike) -> Path:
        """Write an .npz that `cch assess` reads; first beside it, then renamed.

        Raises
        ------
        ValueError
            On a name that does not end in .npz.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise ValueError(f"path is {path.name}; a name ending in .npz is wanted")
        with written_beside(path) as part, part.open("wb") as file:
            arrays: dict[str, Any] = self.arrays()
            np.savez(file, **arrays)
        return path


def collect(
    teacher: Any,
    student: Any,
    loader: Iterable[Any],
    *,
    layer: str | Sequence[str | None] | None = None,
    teacher_input: Any = None,
    student_input: Any = None,
    label: Any = None,
    device: str = "auto",
    progress: bool = True,
) -> Representations:
    """Representations and outputs of two networks on the subjects of a loader.

    Parameters
    ----------
    teacher, student : nn.Module, or a fitted scikit-learn model
        Trained *without* distillation. A module's output may be a tensor, a tuple
        whose first entry is one, or hold ``.logits`` or ``.last_hidden_state`` as
        those of Hugging Face do. Of a scikit-learn model the output is
        ``predict_proba`` and the representation its log-odds; ``predict`` where it is
        a regression.
    loader : iterable of batches, such as a DataLoader
        Of subjects that neither network was trained on. A batch is a tuple, a list or a
        dict of tensors or arrays.
    layer : str, or (teacher's, student's), optional
        Dotted name of the module whose *output* is the representation, as in
        ``named_modules()``. By default it is the *input* of the Linear layer that is
        called last; of a network without outputs, its ``last_hidden_state``.
    teacher_input, student_input : int, str, list or dict, optional
        Where a batch holds what each network reads: a position or key; a list of them
        (positions go in that order, keys by their names); or a dict from the
        network's argument to the batch's key. By default (teacher's, student's,
        label) for a batch of three, (of both, label) for a batch of two, and for a
        dict the keys ``teacher``, ``student``, ``label`` and the like.
    label : int or str, optional
        Where a batch holds the labels.
    device : str
        "auto" (the GPU where there is one), "cpu", "cuda"…; the networks come back to
        where they were. A network spread over several devices stays there.
    progress : bool
        A bar with the time left, on the error stream.

    Returns
    -------
    Representations
        Half precision as float32. Representations with more than two axes are means
        over tokens (of those that ``attention_mask`` keeps) or over pixels.

    Raises
    ------
    ValueError
        On a loader without batches, parts that a batch does not hold, a layer that is
        not there or is not called, unequal numbers of rows, NaN or infinity.

    Notes
    -----
    Both networks are in evaluation mode and without gradients for the time being, and
    every one of their modules is in its own mode again afterwards.
    """
    first, second = _two("layer", layer)
    readers = {
        "teacher": _reader("teacher", teacher, first),
        "student": _reader("student", student, second),
    }
    where = resolve_device(device)
    size = _subjects(loader)
    kept: dict[str, _Rows] = {}
    batches = _tracked(loader, progress)

    with ExitStack() as restored:
        for reader in readers.values():
            restored.enter_context(reader.reading(where))
        for number, batch in enumerate(batches):
            places = _places(batch, teacher_input, student_input, label)
            labels = _label_array(_part(batch, places["label"], "label"))
            found = {"labels": labels}
            for name, reader in readers.items():
                features, output = reader(batch, places[name])
                found[name] = features
                if output is not None:
                    found[f"{name}_output"] = output
            _agree(found, number)
            for name, rows in found.items():
                kept.setdefault(name, _Rows(size)).append(name, rows)
    if not kept:
        raise ValueError("loader gave no batch; at least one is wanted")
    arrays = {name: rows.array() for name, rows in kept.items()}
    labels = arrays["labels"]
    if labels.shape[1:] == (1,) and np.isin(labels, (0, 1)).all():
        # what a binary cross-entropy wants: most likely classes, so let `decide` ask
        arrays["labels"] = labels[:, 0]
    return Representations(**arrays)


class _Rows:
    """Rows that arrive batch by batch, in one array: of the loader's size where it is
    known, otherwise growing by half.
    """

    def __init__(self, size: int | None):
        self.size = size
        self.rows: np.ndarray | None = None
        self.n = 0

    def append(self, name: str, rows: np.ndarray) -> None:
        if self.rows is None:
            room = max(self.size or 0, len(rows))
            self.rows = np.empty((room, *rows.shape[1:]), rows.dtype)
        if rows.shape[1:] != self.rows.shape[1:]:
            raise ValueError(
                f"{name} has shape {rows.shape[1:]} a subject in one batch and "
                f"{self.rows.shape[1:]} in another; one shape is wanted"
            )
        kind = np.result_type(self.rows, rows)  # a longer text, say
        end = self.n + len(rows)
        if end > len(self.rows) or kind != self.rows.dtype:
            room = max(end, len(self.rows) if end <= len(self.rows) else end * 3 // 2)
            grown = np.empty((room, *self.rows.shape[1:]), kind)
            grown[: self.n] = self.rows[: self.n]
            self.rows = grown
        self.rows[self.n : end] = rows
        self.n = end

    def array(self) -> np.ndarray:
        return cast(np.ndarray, self.rows)[: self.n]


class _TorchReader:
    """Reads representation and output of one module through a forward hook."""

    def __init__(self, name: str, network: nn.Module, layer: str | None):
        self.name, self.network, self.layer = name, network, layer
        self.caught: Tensor | None = None
        modules = dict(network.named_modules())
        if layer is not None and (layer not in modules or not layer):
            near = difflib.get_close_matches(layer, modules, n=3, cutoff=0.3)
            near = near or [key for key in modules if key][-3:]
            raise ValueError(
                f"layer is {layer!r}, which the {name} has not; one of its modules is "
                f"wanted, such as {', '.join(near)}"
            )
        self.linears = [m for m in modules.values() if isinstance(m, nn.Linear)]

    @contextmanager
    def reading(self, where: torch.device) -> Iterator[None]:
        """Evaluation mode, no gradients, hooks, and the device; undone afterwards."""
        modes = {module: module.training for module in self.network.modules()}
        tensors = [*self.network.parameters(), *self.network.buffers()]
        homes = {tensor.device for tensor in tensors}
        move = len(homes) == 1
        self.device = where if move or not homes else tensors[0].device
        floats = [t.dtype for t in tensors if t.is_floating_point()]
        self.dtype = floats[0] if floats else torch.float32
        hooks = []
        try:
            self.network.eval()
            if move:
                self.network.to(where)
            if self.layer is not None:
                module = self.network.get_submodule(self.layer)
                hooks.append(module.register_forward_hook(self._catch_output))
            else:
                for module in self.linears:
                    hooks.append(module.register_forward_hook(self._catch_input))
            with torch.no_grad():
                yield
        finally:
            for hook in hooks:
                hook.remove()
            if move:
                self.network.to(homes.pop())
            for module, mode in modes.items():
                module.training = mode
            self.caught = None

    def _catch_output(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        self.caught = _tensor_of(output)

    def _catch_input(self, module: nn.Module, inputs: tuple, output: Any) -> None:
        if inputs:
            self.caught = inputs[0]

    def __call__(self, batch: Any, place: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """Representation (b, p) and output (b, K) of a batch."""
        args, kwargs = self._inputs(batch, place)
        self.caught = None
        said = self.network(*args, **kwargs)
        output = _logits(said)
        hidden = _attribute(said, "last_hidden_state")
        mask = kwargs.get("attention_mask")
        if self.layer is None and output is None and hidden is not None:
            features = hidden
        else:
            features = self.caught
        if features is None:
            wanted = (
                f"layer is {self.layer!r}, which was not called and"
                if self.layer
                else "layer is None and no Linear layer was called, which"
            )
            raise ValueError(
                f"{wanted} leaves the {self.name} without a representation; the name "
                "of a module that its forward calls is wanted"
            )
        found = _numbers(self.name, _pooled(features, mask))
        if output is None:
            return found, None
        if output.ndim == 1:
            output = output[:, None]
        return found, _numbers(f"{self.name}_output", _pooled(output, mask))

    def _inputs(self, batch: Any, place: Any) -> tuple[list, dict]:
        argument = f"{self.name}_input"

        def given(key: Any) -> Any:
            value = check.as_tensor(argument, _part(batch, key, argument))
            kind = self.dtype if value.is_floating_point() else value.dtype
            return value.to(self.device, kind)

        if isinstance(place, Mapping):
            return [], {name: given(key) for name, key in place.items()}
        if isinstance(place, (list, tuple)):
            args = [given(key) for key in place if not isinstance(key, str)]
            return args, {key: given(key) for key in place if isinstance(key, str)}
        return [given(place)], {}


class _SklearnReader:
    """Reads the outputs of a fitted scikit-learn model."""

    def __init__(self, name: str, model: Any):
        self.name, self.model = name, model

    @contextmanager
    def reading(self, where: torch.device) -> Iterator[None]:
        yield

    def __call__(self, batch: Any, place: Any) -> tuple[np.ndarray, np.ndarray | None]:
        argument = f"{self.name}_input"
        if isinstance(place, (list, tuple, Mapping)):
            raise ValueError(
                f"{argument} is {place!r}; a scikit-learn model reads one array, and "
                "one position or key is wanted"
            )
        x = check.features(argument, _part(batch, place, argument))
        if not hasattr(self.model, "predict_proba"):
            output = check.features(self.name, self.model.predict(x))
            return output.astype(np.float32), output.astype(np.float32)
        output = np.asarray(self.model.predict_proba(x), np.float64)
        if output.ndim != 2:
            raise ValueError(f"{self.name} has several outputs; a single one is wanted")
        clipped = np.maximum(output, LEAST_PROBABILITY)
        odds = np.log(clipped[:, 1:] / clipped[:, :1])
        return odds.astype(np.float32), output.astype(np.float32)


def _reader(name: str, model: Any, layer: str | None) -> _TorchReader | _SklearnReader:
    if isinstance(model, nn.Module):
        return _TorchReader(name, model, layer)
    if hasattr(model, "predict_proba") or hasattr(model, "predict"):
        if layer is not None:
            raise ValueError(
                f"layer is {layer!r}, and the {name} is no torch module; None is wanted"
            )
        return _SklearnReader(name, model)
    raise ValueError(
        f"{name} is {type(model).__name__}; a torch module or a fitted scikit-learn "
        "model is wanted"
    )


def _two(name: str, value: Any) -> tuple[Any, Any]:
    if value is None or isinstance(value, str):
        return value, value
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        raise ValueError(
            f"{name} is {value!r}; a dotted name, or the teacher's and the student's, "
            "is wanted"
        )
    return value[0], value[1]


def _subjects(loader: Any) -> int | None:
    """How many subjects a loader promises, where it says so."""
    try:
        return len(loader.dataset)
    except (AttributeError, TypeError):
        return None


def _tracked(loader: Iterable[Any], progress: bool) -> Iterable[Any]:
    if not progress:
        return loader
    try:
        total = len(loader)  # type: ignore[arg-type]
    except TypeError:
        total = None
    return track(
        loader,
        "Reading both networks",
        total=total,
        console=Console(file=sys.stderr),
        transient=True,
    )


def _places(batch: Any, teacher: Any, student: Any, label: Any) -> dict[str, Any]:
    """Where a batch holds the two inputs and the labels."""
    wanted = {"teacher": teacher, "student": student, "label": label}
    if all(place is not None for place in wanted.values()):
        return wanted
    if isinstance(batch, Mapping):
        usual = {
            "teacher": TEACHER_KEYS,
            "student": STUDENT_KEYS,
            "label": LABEL_KEYS,
        }
        for name, keys in usual.items():
            if wanted[name] is None:
                there = [key for key in keys if key in batch]
                wanted[name] = there[0] if there else None
        missing = [name for name, place in wanted.items() if place is None]
        if missing:
            arguments = [m if m == "label" else f"{m}_input" for m in missing]
            raise ValueError(
                f"{' and '.join(arguments)} not given, and a batch holds "
                f"{', '.join(map(str, batch))}; its keys are wanted"
            )
        return wanted
    if not isinstance(batch, (list, tuple)) or len(batch) < 2:
        raise ValueError(
            f"loader gives batches of type {type(batch).__name__}; tuples (teacher's "
            "input, student's input, label) or dicts are wanted"
        )
    if len(batch) > 3:
        missing = [name for name, place in wanted.items() if place is None]
        raise ValueError(
            f"loader gives batches of {len(batch)} parts; teacher_input, student_input "
            f"and label say which is which, and {', '.join(missing)} is not given"
        )
    usual_places = {"teacher": 0, "student": len(batch) - 2, "label": len(batch) - 1}
    return {
        name: usual_places[name] if place is None else place
        for name, place in wanted.items()
    }


def _part(batch: Any, place: Any, argument: str) -> Any:
    try:
        return batch[place]
    except (KeyError, IndexError, TypeError):
        held = list(batch) if isinstance(batch, Mapping) else f"{len(batch)} parts"
        raise ValueError(
            f"{argument} is {place!r}, and a batch holds {held}; one of them is wanted"
        ) from None


def _label_array(value: Any) -> np.ndarray:
    array = check.as_array("label", value)
    if array.ndim == 0:
        raise ValueError("label is a single value a batch; one a subject is wanted")
    if array.dtype.kind == "f":
        check.all_finite("label", array)
    column_of_classes = array.shape[1:] == (1,) and array.dtype.kind != "f"
    return array[:, 0] if column_of_classes else array


def _attribute(said: Any, name: str) -> Any:
    if isinstance(said, Mapping):
        return said.get(name)
    return getattr(said, name, None)


def _logits(said: Any) -> Tensor | None:
    """The output of a forward: a tensor, .logits, or the first entry; None for hidden
    states alone.
    """
    logits = _attribute(said, "logits")
    if isinstance(logits, Tensor):
        return logits
    if _attribute(said, "last_hidden_state") is not None:
        return None
    return _tensor_of(said)


def _tensor_of(said: Any) -> Tensor | None:
    """The tensor that a module's output is, or that its first entry is."""
    if isinstance(said, Tensor):
        return said
    hidden = _attribute(said, "last_hidden_state")
    if isinstance(hidden, Tensor):
        return hidden
    if isinstance(said, Mapping):
        said = list(said.values())
    if isinstance(said, (list, tuple)) and said:
        return _tensor_of(said[0])
    return None


def _pooled(value: Tensor, mask: Tensor | None) -> Tensor:
    """(b, p) from (b, p), (b, tokens, p) or (b, channels, height, width)."""
    value = value.float()
    if value.ndim == 3:
        if mask is None or mask.shape != value.shape[:2]:
            return value.mean(1)
        weight = mask.to(value.dtype)[..., None]
        return (value * weight).sum(1) / weight.sum(1).clamp(min=1)
    if value.ndim > 3:
        return value.flatten(2).mean(2)
    return value[:, None] if value.ndim == 1 else value


def _numbers(name: str, value: Tensor) -> np.ndarray:
    check.all_finite(name, value)
    return value.cpu().numpy()


def _agree(found: Mapping[str, np.ndarray], number: int) -> None:
    """Refuse a batch whose parts have unequal numbers of rows."""
    lengths = {name: len(rows) for name, rows in found.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(
            f"unequal numbers of rows in batch {number}: {said}; "
            "one a subject is wanted"
        )
