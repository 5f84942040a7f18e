"""From two trained networks and a data loader
to the arrays that the criterion reads.
"""

from __future__ import annotations

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
from torch import nn

from cchdecide.reading import Read, TorchReader, part_of
from cchdecide.writing import expanded, written_beside
from cchlib import check
from cchlib.names import listed, word
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
    classes : tuple, or None
        Of the outputs' columns, where they are known by name.
    notes : tuple of str
        How the representations were read.
    """

    teacher: np.ndarray
    student: np.ndarray
    labels: np.ndarray
    teacher_output: np.ndarray | None = None
    student_output: np.ndarray | None = None
    classes: tuple | None = None
    notes: tuple[str, ...] = ()

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
            + "".join(f"\n  {note}" for note in self.notes)
        )

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays that are there, by the keys of an .npz for `cch assess`."""
        held = {
            name: value
            for name, value in vars(self).items()
            if value is not None and name != "notes"
        }
        if self.classes is not None:
            held["classes"] = np.array([str(name) for name in self.classes])
        return held

    def save(self, path: str | os.PathLike) -> Path:
        """Write an .npz that `cch assess` reads; first beside it, then renamed.

        Raises
        ------
        ValueError
            On a name that does not end in .npz.
        """
        path = expanded(path)
        if path.suffix.lower() != ".npz":
            raise ValueError(f"`path` must end in .npz, got {path.name}")
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
    channels: int | Sequence[int | None] | None = None,
    teacher_input: Any = None,
    student_input: Any = None,
    label: Any = None,
    classes: Sequence[Any] | None = None,
    device: str = "auto",
    progress: bool = True,
) -> Representations:
    """Representations and outputs of two networks on the subjects of a loader.

    Parameters
    ----------
    teacher, student : nn.Module, or a fitted scikit-learn model
        Trained *without* distillation. A module's output may be a tensor, or one among
        several in a tuple, a dict or an object: ``.logits``, or what the head makes.
        Of a scikit-learn model the output is ``predict_proba`` and the representation
        its log-odds, or both are ``decision_function``, or ``predict`` where it is a
        regression.
    loader : iterable of batches, such as a DataLoader
        Of subjects that neither network was trained on. A batch is a tuple, a list or a
        dict of tensors or arrays.
    layer : str, or (teacher's, student's), optional
        Dotted name of the module whose *output* is the representation, as in
        ``named_modules()``, or with ``.input`` at the end whose *input*. By default it
        is the input of the head, the layer whose output is the network's; of a network
        without outputs, its ``last_hidden_state``.
    channels : int, or (teacher's, student's), optional
        The axis of a layer's channels, where it has more than two axes and its kind
        does not say which.
    teacher_input, student_input : int, str, list or dict, optional
        Where a batch holds what each network reads: a position or key; a list of them
        (positions go in that order, keys by their names); or a dict from the
        network's argument to the batch's key, or to a list of keys, which it is given
        as a dict. By default (teacher's, student's,
        label) for a batch of three, (of both, label) for a batch of two, and for a
        dict the keys ``teacher``, ``student``, ``label`` and the like.
    label : int or str, optional
        Where a batch holds the labels.
    classes : sequence, optional
        The classes in the order of the networks' columns, and of labels that are
        numbers. A scikit-learn model's ``classes_`` are matched to them.
    device : str
        "auto" (the GPU where there is one), "cpu", "cuda"…; the networks come back to
        where they were. A network spread over several devices stays there.
    progress : bool
        A bar with the time left, on the error stream.

    Returns
    -------
    Representations
        Half precision as float32. Representations with more than two axes are means
        over tokens (of those that ``attention_mask`` keeps, or that
        ``src_key_padding_mask`` does not leave out) or over pixels.

    Raises
    ------
    ValueError
        On a loader without batches, parts that a batch does not hold, a layer that is
        not there, or is called never or several times, an output that no layer makes,
        a mask that does not fit, unequal numbers of rows, NaN or infinity.

    Notes
    -----
    Both networks are in evaluation mode and without gradients for the time being, and
    every one of their modules is in its own mode again afterwards.
    """
    layers, axes = _two("layer", layer), _two("channels", channels)
    readers = {
        "teacher": _reader("teacher", teacher, layers[0], axes[0]),
        "student": _reader("student", student, layers[1], axes[1]),
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
            labels = _label_array(part_of(batch, places["label"], "label"))
            found = {"labels": labels}
            for name, reader in readers.items():
                read = reader(batch, places[name], len(labels))
                found[name] = read.features
                if read.output is not None:
                    found[f"{name}_output"] = read.output
            _agree(found, number)
            for name, rows in found.items():
                kept.setdefault(name, _Rows(size)).append(name, rows)
    if not kept:
        raise ValueError("`loader` must give at least one batch, got none")
    arrays = {name: rows.array() for name, rows in kept.items()}
    labels = arrays["labels"]
    _no_index(labels, arrays.get("teacher_output"))
    if labels.shape[1:] == (1,) and np.isin(labels, (0, 1)).all():
        # what a binary cross-entropy wants: most likely classes, so let `decide` ask
        arrays["labels"] = labels[:, 0]
    order = _in_one_order(arrays, readers, classes)
    notes = tuple(note for reader in readers.values() for note in reader.notes)
    return Representations(**arrays, classes=order, notes=notes)


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
                f"`{name}` must have one shape a subject, got {self.rows.shape[1:]} in "
                f"one batch and {rows.shape[1:]} in another"
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


class _SklearnReader:
    """Reads the outputs of a fitted scikit-learn model."""

    def __init__(self, name: str, model: Any):
        self.name, self.model = name, model
        self.notes: list[str] = []
        classes = getattr(model, "classes_", None)
        if isinstance(classes, list):
            raise ValueError(f"`{name}` must have one output, got several")
        self.classes = None if classes is None else np.asarray(classes)

    @contextmanager
    def reading(self, where: torch.device) -> Iterator[None]:
        """Nothing to prepare."""
        yield

    def __call__(self, batch: Any, place: Any, rows: int) -> Read:
        """Representation and output of a batch."""
        argument = f"{self.name}_input"
        if isinstance(place, (list, tuple, Mapping)):
            raise ValueError(
                f"`{argument}` must be one position or key, since a scikit-learn model "
                f"reads one array, got {place!r}"
            )
        x = check.features(argument, part_of(batch, place, argument))
        if hasattr(self.model, "predict_proba"):
            output = np.asarray(self.model.predict_proba(x), np.float64)
            if output.ndim != 2:
                raise ValueError(
                    f"`{self.name}` must have a single output, got several"
                )
            clipped = np.maximum(output, LEAST_PROBABILITY)
            odds = np.log(clipped[:, 1:] / clipped[:, :1])
            return Read(odds.astype(np.float32), output.astype(np.float32))
        if hasattr(self.model, "decision_function"):
            scores = check.features(self.name, self.model.decision_function(x))
            kind = type(self.model).__name__
            self.notes = [
                f"{self.name}: decision_function of {kind}, uncalibrated scores read "
                "as logits."
            ]
            return Read(scores.astype(np.float32), scores.astype(np.float32))
        if self.classes is not None:
            raise ValueError(
                f"`{self.name}` must give probabilities or scores, got a "
                f"{type(self.model).__name__}, which gives labels only"
            )
        output = check.features(self.name, self.model.predict(x)).astype(np.float32)
        return Read(output, output)


def _reader(
    name: str, model: Any, layer: str | None, channels: int | None
) -> TorchReader | _SklearnReader:
    if isinstance(model, nn.Module):
        return TorchReader(name, model, layer, channels)
    methods = ("predict_proba", "decision_function", "predict")
    if any(hasattr(model, method) for method in methods):
        if layer is not None:
            raise ValueError(
                f"`layer` must be None, since the {name} is no torch module, got "
                f"{layer!r}"
            )
        return _SklearnReader(name, model)
    raise ValueError(
        f"`{name}` must be a torch module or a fitted scikit-learn model, got "
        f"{type(model).__name__}"
    )


def _two(argument: str, value: Any) -> tuple[Any, Any]:
    """Of the teacher and of the student."""
    if value is None or isinstance(value, (str, int)):
        return value, value
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise ValueError(
            f"`{argument}` must be one, or the teacher's and the student's, got "
            f"{value!r}"
        )
    return value[0], value[1]


def _in_one_order(
    arrays: dict[str, np.ndarray],
    readers: Mapping[str, TorchReader | _SklearnReader],
    classes: Sequence[Any] | None,
) -> tuple | None:
    """Bring the columns of scikit-learn models into one order of the classes, and
    return it; None where only places are known.
    """
    own = {
        name: [word(c) for c in reader.classes.tolist()]
        for name, reader in readers.items()
        if isinstance(reader, _SklearnReader) and reader.classes is not None
    }
    if not own:
        return None if classes is None else tuple(classes)
    labels = arrays["labels"]
    order = _class_order(own, labels, classes, _widths(arrays, own))
    for name, names in own.items():
        output = arrays[f"{name}_output"]
        if strangers := [known for known in names if known not in order]:
            raise ValueError(
                f"`{name}` must be of the classes {listed(order)}, got classes_ "
                f"{listed(strangers)}: give `classes`, the names in the order of the "
                "labels and of the other model's columns"
            )
        if output.shape[1] == 1:  # the score of the second of two classes
            output = np.hstack([0 * output, output])
        if output.shape[1] != len(names):
            raise ValueError(
                f"`{name}` must give one column a class, got {output.shape[1]} for "
                f"{len(names)} classes (one against one?)"
            )
        model = getattr(readers[name], "model", None)
        if len(names) < len(order) and not hasattr(model, "predict_proba"):
            raise ValueError(
                f"`{name}` must know all classes {listed(order)}, got scores for "
                f"{listed(names)} only"
            )
        table = np.zeros((len(output), len(order)), output.dtype)
        table[:, [order.index(known) for known in names]] = output
        arrays[f"{name}_output"] = table
    return tuple(order)


def _widths(arrays: dict[str, np.ndarray], own: Mapping[str, list]) -> list[int]:
    """How many columns the outputs of the other models have."""
    return [
        arrays[f"{name}_output"].shape[1]
        for name in ("teacher", "student")
        if name not in own and f"{name}_output" in arrays
    ]


def _class_order(
    own: Mapping[str, list[str]],
    labels: np.ndarray,
    classes: Sequence[Any] | None,
    widths: list[int],
) -> list[str]:
    """The order of the classes, from their names."""
    if classes is not None:
        return [word(name) for name in classes]
    if labels.ndim != 1:
        raise ValueError("`labels` must be classes (n,) for a classifier's outputs")
    known = {name for names in own.values() for name in names}
    said = {word(label) for label in np.unique(labels).tolist()}
    if said.isdisjoint(known):
        raise ValueError(
            f"`label` must hold the classes of the models ({listed(sorted(known))}), "
            f"got {listed(sorted(said))}: give `classes`, the names in the order of "
            "the labels and columns"
        )
    numbers = all(name.isdigit() for name in known | said)
    places = [str(k) for k in range(max(widths, default=0))]
    if numbers and known | said <= set(places):
        return places  # of the columns of the other model
    return sorted(known | said, key=int if numbers else str)


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
                f"`{'` and `'.join(arguments)}` must be keys of a batch, which holds "
                f"{', '.join(map(str, batch))}, got none"
            )
        return wanted
    if not isinstance(batch, (list, tuple)) or len(batch) < 2:
        raise ValueError(
            "`loader` must give tuples (teacher's input, student's input, label) or "
            f"dicts, got batches of type {type(batch).__name__}"
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


def _label_array(value: Any) -> np.ndarray:
    array = check.as_array("label", value)
    if array.ndim == 0:
        raise ValueError("`label` must be one a subject, got a single value a batch")
    if array.dtype.kind == "f":
        check.all_finite("label", array)
    column_of_classes = array.shape[1:] == (1,) and array.dtype.kind != "f"
    return array[:, 0] if column_of_classes else array


def _no_index(labels: np.ndarray, output: np.ndarray | None) -> None:
    """Refuse the numbers of the subjects where labels are expected."""
    classes = 20 if output is None else max(output.shape[1], 2)
    whole = labels.ndim == 1 and labels.dtype.kind in "iu"
    if whole and len(labels) > classes and len(np.unique(labels)) == len(labels):
        raise ValueError(
            f"`label` must name classes, got {len(labels)} whole numbers of which no "
            "two are equal, as of an index: `teacher_input`, `student_input` and "
            "`label` say which part of a batch is which"
        )


def _agree(found: Mapping[str, np.ndarray], number: int) -> None:
    """Refuse a batch whose parts have unequal numbers of rows."""
    lengths = {name: len(rows) for name, rows in found.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(
            f"a batch must hold one row a subject, got unequal numbers in batch "
            f"{number}: {said}"
        )
