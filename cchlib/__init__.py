"""cchlib: the Cross-modal Complementarity Hypothesis as code one can run.

Mutual information is in nats everywhere. See the book for the theory and the results.
Nothing is loaded before it is asked for: the closed forms of `cchlib.gaussian` need no
torch.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.3.0"

_MODULES = ("criterion", "gaussian", "losses", "mi", "models", "training")
_NAMES = {
    "assess": "criterion",
    "rank_teachers": "criterion",
    "slope_test": "criterion",
    "shrinkage_test": "criterion",
    "estimate_mi": "mi",
}

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"cchlib.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"cchlib.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'cchlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
