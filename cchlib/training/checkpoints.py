"""A fit that can be broken off: what it needs to go on, in one file."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


class Checkpoint:
    """The file in which a fit keeps its state.

    Parameters
    ----------
    path : str or Path
        Of the file, whose folder is made where it is missing; or of a folder that is
        there, in which the file is named by the inputs.
    every : int
        Epochs between two writings.
    inputs : str
        Digest of all that the fit depends on (`digest`): a file that was written for
        other inputs is refused.
    """

    def __init__(self, path: str | Path, every: int, inputs: str):
        path = Path(path).expanduser()
        self.path = path / f"{inputs[:32]}.pt" if path.is_dir() else path
        self.every = every
        self.inputs = inputs

    def read(self) -> dict[str, Any] | None:
        """The state in the file; None where there is no file.

        Raises
        ------
        ValueError
            The file is no checkpoint, or one of another fit.
        """
        if not self.path.is_file():
            return None
        try:
            state = torch.load(self.path, weights_only=True)
            inputs = state["inputs"]
        except (RuntimeError, EOFError, KeyError, TypeError, pickle.UnpicklingError):
            raise ValueError(
                f"`checkpoint` must be a file that `fit` wrote, got {self.path}"
            ) from None
        if inputs != self.inputs:
            raise ValueError(
                f"`checkpoint` must belong to a fit with the same networks, data and "
                f"settings, got {self.path}, which belongs to another one; remove it "
                "or name another file"
            )
        return state

    def write(self, state: dict[str, Any]) -> None:
        """Write beside, then rename: the file is always whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = self.path.with_name(f"{self.path.name}.{os.getpid()}.part")
        try:
            torch.save({"inputs": self.inputs, **state}, part)
            part.replace(self.path)
        finally:
            part.unlink(missing_ok=True)


def digest(settings: dict[str, Any], tensors: Iterable[Tensor]) -> str:
    """SHA-256 of a fit's settings, data and initial weights."""
    sha = hashlib.sha256(repr(sorted(settings.items())).encode())
    for tensor in tensors:
        described = f"{tuple(tensor.shape)} {tensor.dtype}"
        sha.update(described.encode())
        values = tensor.detach().cpu().contiguous()
        sha.update(values.flatten().view(torch.uint8).numpy().data)
    return sha.hexdigest()
