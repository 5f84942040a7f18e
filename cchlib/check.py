"""What every room checks about its arguments, said one way.

Each function raises ``ValueError`` with the argument's name, what was wrong, and what
is wanted.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch


def is_tensor(value: Any) -> bool:
    """Whether `value` is a tensor; without loading torch, which then it can't be."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(name: str, value: Any) -> np.ndarray:
    """NumPy view of an array-like or tensor (detached, on the CPU)."""
    if is_tensor(value):
        import torch

        value = value.detach().cpu()
        # NumPy has no bfloat16
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    array = np.asarray(value)
    if (
        array.dtype == object
        and array.size
        and all(isinstance(entry, str) for entry in array.flat)
    ):
        return array.astype(str)  # as pandas hands strings over
    if array.dtype == object:
        raise ValueError(
            f"{name} is ragged or holds objects; an array of numbers is wanted"
        )
    return array


def as_tensor(
    name: str, value: Any, device: torch.device | None = None
) -> torch.Tensor:
    """A tensor as it is, anything else by way of NumPy; text, objects and complex
    numbers are refused.
    """
    import torch

    if not is_tensor(value):
        array = as_array(name, value)
        if array.dtype.kind not in "biuf":
            raise ValueError(f"{name} holds {array.dtype.name}; numbers are wanted")
        kind = (
            np.int64 if array.dtype.kind == "u" else array.dtype.newbyteorder("=")
        )  # torch knows few unsigned types
        plain = (
            array.flags.c_contiguous and array.flags.writeable and array.dtype == kind
        )
        value = torch.from_numpy(
            array if plain else array.astype(kind, order="C")
        )  # views may run backwards
    if value.is_complex():
        raise ValueError(f"{name} holds {value.dtype}; real numbers are wanted")
    return value.to(device) if device is not None else value


def finite(name: str, value: Any) -> np.ndarray:
    """`value` as a float64 array without NaN or infinity, of any shape."""
    try:
        array = as_array(name, value)
        if array.dtype.kind == "c":
            raise ValueError("they are complex")
        array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} could not be read as numbers ({error}); an array of numbers is wanted"
        ) from None
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(
            f"{name} holds {int(bad.sum())} NaN or infinite entries; only finite numbers are wanted"
        )
    return array


def all_finite(name: str, value: np.ndarray | torch.Tensor, hint: str = "") -> None:
    """Refuse NaN and infinity in an array or tensor, which stays where and as it is."""
    finite = value.isfinite() if is_tensor(value) else np.isfinite(value)
    if not bool(finite.all()):
        raise ValueError(
            f"{name} holds NaN or infinity; finite numbers are wanted{hint}"
        )


def features(name: str, value: Any) -> np.ndarray:
    """`value`, (n,) or (n, p), as a finite float64 array (n, p)."""
    array = finite(name, value)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"{name} has shape {array.shape}; (n,) or (n, p) with n, p ≥ 1 is wanted"
        )
    return array


def same_length(**arrays: Any) -> int:
    """The common first dimension of the named arrays."""
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(
            f"unequal numbers of samples: {said}; one row a sample in each is wanted"
        )
    return next(iter(lengths.values()))


def broadcast(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the named shapes broadcast to."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        said = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(
            f"shapes do not broadcast: {said}; shapes that agree, or a number, are wanted"
        ) from None


def one_of(name: str, value: Any, options: Iterable[Any]) -> Any:
    """`value`, which is one of `options`."""
    options = list(options)
    if value not in options:
        raise ValueError(
            f"{name} is {value!r}; one of {', '.join(map(repr, options))} is wanted"
        )
    return value


def integer(name: str, value: Any, minimum: int = 0) -> int:
    """`value` as an int, at least `minimum`; booleans are refused."""
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or value < minimum
    ):
        raise ValueError(f"{name} is {value!r}; a whole number ≥ {minimum} is wanted")
    return int(value)


def within(
    name: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
) -> Any:
    """`value` (number, array or tensor) with every entry finite and in [low, high]
    ((low, high] if `open_low`).
    """
    if isinstance(value, (str, bytes)):
        raise ValueError(f"{name} is {value!r}, a text; a number is wanted")
    array = value.detach() if is_tensor(value) else finite(name, value)
    above = array > low if open_low else array >= low
    if not bool((above & (array <= high) & (abs(array) < np.inf)).all()):
        interval = f"{'(' if open_low or low == -np.inf else '['}{low:g}, {high:g}{')' if high == np.inf else ']'}"
        raise ValueError(f"{name} is {value!r}; a number in {interval} is wanted")
    return value
