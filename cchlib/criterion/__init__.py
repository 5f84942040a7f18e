"""Should I distil? The CCH, and the criteria that the theory adds to it.

Nothing is loaded before it is asked for: the tests of the theory need no torch. No
module of this package is named like a function of it: the module would hide the
function.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cchlib.criterion.cch import (
        Assessment,
        assess,
        assess_teachers,
        rank_teachers,
    )
    from cchlib.criterion.collecting import Representations, collect
    from cchlib.criterion.decision import (
        Decision,
        Ranking,
        decide,
        decide_teachers,
    )
    from cchlib.criterion.heads import Gain, Pilot, pilot
    from cchlib.criterion.slope import Test, shrinkage_test, slope_test
    from cchlib.criterion.transfer import logme

_NAMES = {
    "Assessment": "cch",
    "assess": "cch",
    "assess_teachers": "cch",
    "rank_teachers": "cch",
    "Representations": "collecting",
    "collect": "collecting",
    "Decision": "decision",
    "Ranking": "decision",
    "decide": "decision",
    "decide_teachers": "decision",
    "Gain": "heads",
    "Pilot": "heads",
    "pilot": "heads",
    "Test": "slope",
    "shrinkage_test": "slope",
    "slope_test": "slope",
    "logme": "transfer",
}

__all__ = [
    "Assessment",
    "Decision",
    "Gain",
    "Pilot",
    "Ranking",
    "Representations",
    "Test",
    "assess",
    "assess_teachers",
    "collect",
    "decide",
    "decide_teachers",
    "logme",
    "pilot",
    "rank_teachers",
    "shrinkage_test",
    "slope_test",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        module = importlib.import_module(f"cchlib.criterion.{_NAMES[name]}")
        return getattr(module, name)
    raise AttributeError(f"module 'cchlib.criterion' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
