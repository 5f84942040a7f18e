"""The caller's state of torch and NumPy, kept out of what is computed."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np


@contextmanager
def own_state() -> Iterator[None]:
    """Gradients on, float32 and the CPU the defaults, floating-point errors no
    exceptions; afterwards all is again as the caller had it. Also a decorator.

    A value must not depend on whether it is asked for under ``torch.no_grad()``,
    ``torch.inference_mode()``, another default dtype or device, or
    ``np.errstate(all="raise")``.
    """
    torch = sys.modules.get("torch")  # before it is loaded it has no state
    with ExitStack() as state:
        state.enter_context(np.errstate(**_quiet(np.geterr())))
        if torch is not None:
            state.enter_context(torch.inference_mode(False))
            state.enter_context(torch.enable_grad())
            if torch.get_default_device() != torch.device("cpu"):
                state.enter_context(torch.device("cpu"))
            dtype = torch.get_default_dtype()
            if dtype != torch.float32:
                torch.set_default_dtype(torch.float32)
                state.callback(torch.set_default_dtype, dtype)
        yield


def _quiet(errors: Mapping[str, Any]) -> dict[str, Any]:
    """NumPy's ways of reporting, without those that interrupt."""
    quiet = {
        kind: "ignore" if how == "ignore" else "warn" for kind, how in errors.items()
    }
    return quiet | {"under": "ignore"}
