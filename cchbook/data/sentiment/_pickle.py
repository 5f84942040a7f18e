"""Read arrays from a pickle that can't be trusted, without running it and without
loading it.

Unpickling may call anything that the file names. Here it can name nothing: the few
globals with which NumPy writes an array are replaced by the stand-ins below, which only
note where the array lies in the file, and every other name is refused. The arrays'
bytes are skipped, not read, so that a file of many gigabytes opens in a moment;
`StoredArray.rows` reads as many rows as are asked for.
"""

from __future__ import annotations

import math
import os
import pickle
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np


class RefusedGlobal(pickle.UnpicklingError):
    """The pickle names something else than NumPy's arrays."""


def read(path: Path) -> Any:
    """The pickle's containers, with a `StoredArray` wherever it holds an array.

    Raises
    ------
    pickle.UnpicklingError
        The pickle names a global other than those of NumPy arrays; the message says
        which.
    ValueError
        It ends early, or is no pickle at all.
    """
    with open(path, "rb") as file:
        try:
            return _Reader(file, path).load()
        except RefusedGlobal:
            raise
        except Exception as error:  # the opcodes of a damaged file can fail in any way
            raise ValueError(
                f"{path} can't be read at byte {file.tell():,} of "
                f"{path.stat().st_size:,} "
                f"({type(error).__name__}: {error}): it is truncated or not a pickle "
                "of NumPy arrays; "
                "remove it and fetch it again"
            ) from error


class _Block:
    """Bytes that were left in the file."""

    def __init__(self, path: Path, offset: int, size: int):
        self.path, self.offset, self.size = path, offset, size

    def read(self) -> bytes:
        with open(self.path, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class StoredArray:
    """An array in a pickle: its `shape`, its `dtype`, and `rows` to read it."""

    def __init__(self):
        self.shape: tuple[int, ...] = ()
        self.dtype = np.dtype(float)
        self.data: _Block | bytes | list = b""
        self.order = "C"

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, data = state
        self._fill(shape, dtype, "F" if fortran else "C", data)

    def _fill(self, shape, dtype: _DType, order: str, data: Any) -> StoredArray:
        self.shape, self.dtype, self.order, self.data = (
            tuple(map(int, shape)),
            dtype.numpy(),
            order,
            data,
        )
        if self.dtype.hasobject:
            found, wanted = len(data), math.prod(self.shape)
        else:
            found = data.size if isinstance(data, _Block) else len(data)
            wanted = math.prod(self.shape) * self.dtype.itemsize
        if found != wanted:
            raise ValueError(
                f"an array of shape {self.shape} and type {self.dtype} has {found} "
                f"entries, not {wanted}"
            )
        return self

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, low: int = 0, high: int | None = None) -> np.ndarray:
        """Rows low…high of the array, read from the file."""
        low, high, _ = slice(low, high).indices(len(self))
        shape = (max(0, high - low), *self.shape[1:])
        if isinstance(self.data, _Block) and self.order == "C":
            width = math.prod(self.shape[1:])
            start = self.data.offset + low * width * self.dtype.itemsize
            return np.fromfile(
                self.data.path, self.dtype, math.prod(shape), offset=start
            ).reshape(shape)
        if isinstance(self.data, _Block):  # columns first: rows lie all over the file
            whole = np.memmap(
                self.data.path, self.dtype, "r", self.data.offset, self.shape, "F"
            )
            return np.array(whole[low:high])
        if self.dtype.hasobject:
            whole = np.empty(math.prod(self.shape), object)
            whole[:] = self.data
        else:
            whole = np.frombuffer(self.data, self.dtype)
        return whole.reshape(self.shape, order=self.order)[low:high].copy()


class _DType:
    """numpy.dtype: letter and size of a number, a string, or object; its byte order
    comes with the state.
    """

    def __init__(self, name: str, align: bool = False, copy: bool = False):
        if not (isinstance(name, str) and re.fullmatch(r"[biufSUO]\d*", name)):
            raise ValueError(
                f"arrays must hold numbers or strings, got the type {name!r}"
            )
        self.name, self.order = name, "="

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]

    def numpy(self) -> np.dtype:
        return np.dtype(self.name).newbyteorder(self.order)


def _reconstruct(kind: type, shape: tuple, typecode: Any) -> StoredArray:
    return StoredArray()


def _frombuffer(
    data: Any, dtype: _DType, shape: tuple, order: str, *axes: Any
) -> StoredArray:
    return StoredArray()._fill(shape, dtype, order, data)


def _scalar(dtype: _DType, data: _Block | bytes) -> Any:
    return np.frombuffer(
        data.read() if isinstance(data, _Block) else data, dtype.numpy(), 1
    )[0]


def _latin1(text: str, encoding: str) -> bytes:
    """codecs.encode, as protocol 2 writes bytes."""
    if encoding != "latin1":
        raise RefusedGlobal(
            f"the pickle encodes text as {encoding!r}; only NumPy's own 'latin1' is "
            "admitted"
        )
    return text.encode("latin1")


# numpy.core became numpy._core in NumPy 2: files of both are about
_ADMITTED = {
    ("numpy", "ndarray"): StoredArray,
    ("numpy", "dtype"): _DType,
    ("_codecs", "encode"): _latin1,
}
for _core in ("numpy.core", "numpy._core"):
    _ADMITTED |= {
        (f"{_core}.multiarray", "_reconstruct"): _reconstruct,
        (f"{_core}.multiarray", "scalar"): _scalar,
        (f"{_core}.numeric", "_frombuffer"): _frombuffer,
    }


class _Reader(pickle._Unpickler):
    """The standard library's unpickler in Python, with the opcodes for bytes skipping
    over them.
    """

    dispatch = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, path: Path):
        super().__init__(file)
        self.file, self.path, self.size = file, path, os.fstat(file.fileno()).st_size

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ADMITTED:
            raise RefusedGlobal(
                f"{self.path} names {module}.{name}, which is no NumPy array or plain "
                "container: "
                "refused, nothing was run. Fetch the file from its publisher again"
            )
        return _ADMITTED[module, name]

    def get_extension(self, code: int) -> None:
        raise RefusedGlobal(
            f"{self.path} names extension {code} of this machine's copyreg; refused"
        )

    def load_build(self) -> None:
        # without this a state could be set on anything, on the stand-ins' own classes
        # too
        if not isinstance(self.stack[-2], (StoredArray, _DType)):
            raise RefusedGlobal(
                f"{self.path} sets the state of a {type(self.stack[-2]).__name__}; "
                "refused"
            )
        state = self.stack.pop()
        self.stack[-1].__setstate__(state)

    def load_frame(self) -> None:
        self.read(
            8
        )  # frames are a hint for reading ahead: here they would read gigabytes

    def _skip(self, width: int) -> None:
        size = int.from_bytes(self.read(width), "little")
        offset = self.file.tell()
        if offset + size > self.size:
            raise EOFError(
                f"an array of {size:,} bytes begins at byte {offset:,}, "
                f"{self.size - offset:,} are left"
            )
        self.file.seek(size, os.SEEK_CUR)
        self.append(_Block(self.path, offset, size))

    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BINBYTES[0]] = lambda self: self._skip(4)
    dispatch[pickle.BINBYTES8[0]] = lambda self: self._skip(8)
    dispatch[pickle.BYTEARRAY8[0]] = lambda self: self._skip(8)
