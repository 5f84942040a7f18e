"""cchlib: the Cross-modal Complementarity Hypothesis as code one can run.

Mutual information is in nats everywhere. See the book for the theory and the results.
Nothing is loaded before it is asked for: the closed forms of `cchlib.gaussian` need no
torch.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

__version__ = "0.2.0"

_MODULES = ("criterion", "gaussian", "losses", "mi", "models", "training")
_NAMES = {
    "assess": "criterion",
    "collect": "criterion",
    "decide": "criterion",
    "pilot": "criterion",
    "rank_teachers": "criterion",
    "slope_test": "criterion",
    "shrinkage_test": "criterion",
    "estimate_mi": "mi",
}
# Names of before the book became a package of its own
_MOVED = {
    "datasets": "cchbook.data",
    "records": "cchbook.runs.records",
    "notebook": "cchbook.runs.notebook",
    "job": "cchbook.runs.job",
    "batch": "cchbook.runs.batch",
    "store": "cchbook.runs.store",
    "plots": "cchbook.chapters.plots",
    "metrics": "cchbook.chapters.metrics",
    "rivals": "cchbook.chapters.rivals",
    "scorecard": "cchbook.chapters.scorecard",
    "replication": "cchbook.chapters.replication",
    "build": "cchbook.publish.build",
    "publish": "cchbook.publish.slides",
    "interactive": "cchbook.publish.interactive",
    "assess_file": "cchlib.criterion.files",
    "mi.panel": "cchbook.chapters.panel",
}

__all__ = [*_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"cchlib.{_NAMES[name]}"), name)
    if name in _MODULES or name in _MOVED:
        return importlib.import_module(f"cchlib.{name}")
    raise AttributeError(f"module 'cchlib' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


class _Moved(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """`import cchlib.records` is `import cchbook.runs.records`: the same module."""

    def find_spec(self, fullname: str, path: Any = None, target: Any = None):
        if self._new_name(fullname) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        name = self._new_name(spec.name)
        assert name is not None  # or `find_spec` had not answered
        module = importlib.import_module(name)
        self._own_spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own_spec  # which the import system has overwritten

    @staticmethod
    def _new_name(fullname: str) -> str | None:
        for old, new in _MOVED.items():
            if fullname == f"cchlib.{old}" or fullname.startswith(f"cchlib.{old}."):
                return new + fullname.removeprefix(f"cchlib.{old}")
        return None


# first, since the old package has the new one's path, where the next finder would look
sys.meta_path.insert(0, _Moved())
