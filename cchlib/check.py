"""What every room checks about its arguments, said one way.

Each function raises ``ValueError`` with the argument's name, what it must be, and what
was given: "`lam` must be in [0, 1], got 1.5".

scikit-learn's `check_array` says part of this. It reads dates, text and what a mask
hides as numbers, takes no tensor that requires a gradient, and is slower to load than
the closed forms are to compute.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Hashable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

if TYPE_CHECKING:
    import torch


# torch's types of real numbers that have arithmetic, or that NumPy can read
NUMBERS = {
    "bool",
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
    *("float16", "bfloat16", "float32", "float64"),
}


_LOOKING = ContextVar("_LOOKING", default=True)


@contextmanager
def values_known() -> Iterator[None]:
    """Within it no tensor's values are looked at, which would wait for the device: for
    whoever has had them checked once and calls the same function on them again.
    """
    token = _LOOKING.set(False)
    try:
        yield
    finally:
        _LOOKING.reset(token)


def looks_at(value: Any) -> bool:
    """Whether the values of an array or tensor are to be checked."""
    return _LOOKING.get() or not is_tensor(value)


def is_tensor(value: Any) -> TypeGuard[torch.Tensor]:
    """Whether `value` is a tensor; without loading torch, which then it can't be."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def as_array(name: str, value: Any) -> np.ndarray:
    """NumPy view of an array-like or tensor (detached, on the CPU): numbers, or text.

    Refused, because NumPy would read something else than what is meant: masked entries
    (their fill value), dates and durations (their count of nanoseconds), complex
    numbers, sparse matrices, records and other objects. Nullable columns of pandas are
    read as numbers, a gap in them as NaN.
    """
    if is_tensor(value):
        # NumPy has no bfloat16 and no 8-bit floating point
        value = _plain_tensor(name, value.detach()).cpu()
        narrow = value.is_floating_point() and value.dtype.itemsize < 4
        return (value.float() if narrow else value).numpy()
    if _has_masked(value):
        raise ValueError(
            f"`{name}` must not be masked: its masked entries would be read as data; "
            "fill them in or leave them out first"
        )
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise ValueError(
            f"`{name}` must be a dense array, got a sparse one; use {name}.toarray()"
        )
    try:
        array = np.asarray(_from_pandas(name, value))
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"`{name}` must be an array of numbers, and cannot be read as one: {error}"
        ) from None
    if array.dtype.kind == "T":
        return array.astype(str)
    if array.dtype == object and array.size:
        if all(isinstance(entry, str) for entry in array.flat):
            return array.astype(str)  # as pandas hands strings over
    if array.dtype == object:
        raise ValueError(
            f"`{name}` must be an array of numbers, got ragged rows, objects or "
            "missing entries"
        )
    if array.dtype.kind not in "biufSU":
        raise ValueError(f"`{name}` must hold real numbers, got {array.dtype.name}")
    return array


def _has_masked(value: Any) -> bool:
    """Whether an array, or one of a list of them, has masked entries."""
    if isinstance(value, np.ma.MaskedArray):
        return bool(np.ma.getmaskarray(value).any())
    if not isinstance(value, (list, tuple)):
        return False
    nested = (list, tuple, np.ma.MaskedArray)
    return any(_has_masked(entry) for entry in value if isinstance(entry, nested))


def _from_pandas(name: str, value: Any) -> Any:
    """Numbers out of columns that NumPy would make objects of: nullable types, and
    frames of several types. Anything else as it is.
    """
    pandas = sys.modules.get("pandas")
    if pandas is None or not isinstance(value, (pandas.DataFrame, pandas.Series)):
        return value
    kinds = {value.dtype} if value.ndim == 1 else set(value.dtypes)
    types = pandas.api.types
    numeric = [
        types.is_numeric_dtype(kind) and not types.is_complex_dtype(kind)
        for kind in kinds
    ]
    if not all(numeric):
        return value
    only: Any = kinds.pop() if len(kinds) == 1 else None
    if isinstance(only, np.dtype):
        return value
    if hasattr(only, "numpy_dtype") and not value.isna().to_numpy().any():
        return value.to_numpy(dtype=only.numpy_dtype)  # whole numbers stay whole
    return value.to_numpy(dtype=np.float64, na_value=np.nan)


def _plain_tensor(name: str, value: torch.Tensor) -> torch.Tensor:
    """A dense tensor of real numbers that holds its data, in a type that has
    arithmetic.
    """
    import torch

    if value.is_complex():
        raise ValueError(f"`{name}` must hold real numbers, got {value.dtype}")
    if value.is_nested or value.layout != torch.strided:
        raise ValueError(
            f"`{name}` must be a dense tensor, got a sparse or nested one; use "
            f"{name}.to_dense()"
        )
    if value.is_meta:
        raise ValueError(f"`{name}` must hold data, got a tensor on the meta device")
    if value.dtype.itemsize == 1 and value.dtype.is_floating_point:
        try:
            value = value.float()  # 8-bit numbers have a type and no arithmetic
        except RuntimeError:
            pass  # packed: refused below
    if str(value.dtype).removeprefix("torch.") not in NUMBERS:
        raise ValueError(
            f"`{name}` must have a dtype of real numbers, got {value.dtype}"
        )
    return value.resolve_neg()


def as_tensor(
    name: str, value: Any, device: torch.device | None = None
) -> torch.Tensor:
    """A tensor as it is, anything else by way of NumPy; what `as_array` refuses, and
    text, is refused.

    Unsigned integers, which torch computes little with, become int64; long doubles
    float64.
    """
    import torch

    if is_tensor(value):
        value = _plain_tensor(name, value)
        if value.dtype in (torch.uint16, torch.uint32, torch.uint64):
            signed = value.to(torch.int64)
            if value.dtype == torch.uint64 and bool((signed < 0).any()):
                raise ValueError(_too_large(name))
            value = signed
        return value.to(device) if device is not None else value

    array = as_array(name, value)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"`{name}` must hold numbers, got {array.dtype.name}")
    kind = array.dtype.newbyteorder("=")
    if array.dtype.kind == "u":
        if array.size and array.max() > np.iinfo(np.int64).max:
            raise ValueError(_too_large(name))
        kind = np.dtype(np.int64)
    elif array.dtype.kind == "f" and array.dtype.itemsize > 8:
        kind = np.dtype(np.float64)
    plain = array.flags.c_contiguous and array.flags.writeable and array.dtype == kind
    # a copy where it must be: views may run backwards, files may be read-only
    value = torch.from_numpy(array if plain else array.astype(kind, order="C"))
    return value.to(device) if device is not None else value


def _too_large(name: str) -> str:
    return f"`{name}` must hold whole numbers up to 2⁶³ − 1, got a larger one"


def finite(name: str, value: Any) -> np.ndarray:
    """`value` as a float64 array without NaN or infinity, of any shape."""
    array = as_array(name, value)
    if array.dtype.kind in "SU":
        raise ValueError(f"`{name}` must hold numbers, got text ({array.dtype.name})")
    with np.errstate(over="ignore"):  # beyond float64: infinite, and refused as that
        array = array.astype(np.float64)
    bad = ~np.isfinite(array)
    if bad.any():
        raise ValueError(
            f"`{name}` must be finite, got {int(bad.sum())} NaN or infinite entries"
        )
    return array


def all_finite(name: str, value: np.ndarray | torch.Tensor, hint: str = "") -> None:
    """Refuse NaN and infinity in an array or tensor, which stays where and as it is."""
    if not looks_at(value):
        return
    finite = value.isfinite() if is_tensor(value) else np.isfinite(value)
    if not bool(finite.all()):
        raise ValueError(f"`{name}` must be finite, got NaN or infinity{hint}")


def features(name: str, value: Any) -> np.ndarray:
    """`value`, (n,) or (n, p), as a finite float64 array (n, p)."""
    array = finite(name, value)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or 0 in array.shape:
        raise ValueError(
            f"`{name}` must have shape (n,) or (n, p) with n, p ≥ 1, got {array.shape}"
        )
    return array


def varies(x: np.ndarray) -> np.ndarray:
    """Which columns (p,) of x (n, p) vary by more than rounding, and so that they can
    be divided by their standard deviation. That of a constant column need not be 0: the
    mean of many 0.1 is not quite 0.1.
    """
    with np.errstate(over="ignore"):
        spread = x.std(0)
    return (np.ptp(x, axis=0) > 1e-14 * np.abs(x).max(0)) & (spread > 0)


def same_length(**arrays: Any) -> int:
    """The common first dimension of the named arrays."""
    lengths = {}
    for name, array in arrays.items():
        if np.ndim(array) == 0 and not hasattr(array, "__len__"):
            raise ValueError(f"`{name}` must have a row a sample, got a single entry")
        try:
            lengths[name] = len(array)
        except TypeError:  # an array, or a tensor, without axes
            raise ValueError(
                f"`{name}` must have a row a sample, got a single entry"
            ) from None
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"`{name}` {length}" for name, length in lengths.items())
        raise ValueError(f"inconsistent numbers of samples: {counts}")
    return next(iter(lengths.values()))


def broadcast(**shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that the named shapes broadcast to."""
    try:
        return np.broadcast_shapes(*shapes.values())
    except ValueError:
        given = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes cannot be broadcast together: {given}") from None


def one_of(name: str, value: Any, options: Iterable[Any]) -> Any:
    """`value`, which is one of `options`."""
    options = list(options)
    # an array would be compared entry by entry
    if not isinstance(value, Hashable) or is_tensor(value) or value not in options:
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, options))}, got {value!r}"
        )
    return value


def integer(name: str, value: Any, minimum: int = 0) -> int:
    """`value` as an int, at least `minimum`; booleans are refused."""
    if (
        isinstance(value, bool)
        or not isinstance(value, numbers.Integral)
        or value < minimum
    ):
        raise ValueError(f"`{name}` must be an integer ≥ {minimum}, got {value!r}")
    return int(value)


def seed(name: str, value: Any) -> int:
    """`value` as an int in [0, 2⁶⁴), what torch's and NumPy's generators take."""
    if integer(name, value) >= 2**64:
        raise ValueError(f"`{name}` must be an integer in [0, 2⁶⁴), got {value!r}")
    return int(value)


def generator(name: str, value: Any) -> np.random.Generator:
    """NumPy's generator of a seed, or the one that was given."""
    if isinstance(value, np.random.Generator):
        return value
    return np.random.default_rng(integer(name, value))


def number(
    name: str,
    value: Any,
    low: float = -np.inf,
    high: float = np.inf,
    *,
    open_low: bool = False,
) -> float:
    """`value` as one finite float in [low, high]; arrays are refused, 0-d ones are
    not.
    """
    if np.ndim(value):
        raise ValueError(
            f"`{name}` must be a single number, got shape {np.shape(value)}"
        )
    return float(within(name, value, low, high, open_low=open_low))


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
        raise ValueError(f"`{name}` must be a number, got {value!r}")
    if not looks_at(value):
        return value
    array: Any
    if is_tensor(value):
        array = as_tensor(name, value.detach()).double()
    else:
        array = finite(name, value)
    above = array > low if open_low else array >= low
    if not bool((above & (array <= high) & (abs(array) < np.inf)).all()):
        opening = "(" if open_low or low == -np.inf else "["
        closing = ")" if high == np.inf else "]"
        raise ValueError(
            f"`{name}` must be in {opening}{low:g}, {high:g}{closing}, got {value!r}"
        )
    return value
