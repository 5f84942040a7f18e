"""Should I distil? The CCH, and the tests that the theory adds to it.

Nothing is loaded before it is asked for: the tests of the theory need no torch.
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
    from cchlib.criterion.pairs import (
        PairsEstimate,
        estimate_pairs,
        pairs_shrinkage_test,
        pairs_slope_test,
    )
    from cchlib.criterion.shared import (
        SharedInformation,
        decision_information,
        shared_label_information,
    )
    from cchlib.criterion.slope import HypothesisTest, shrinkage_test, slope_test

_NAMES = {
    "Assessment": "cch",
    "assess": "cch",
    "assess_teachers": "cch",
    "rank_teachers": "cch",
    "HypothesisTest": "slope",
    "PairsEstimate": "pairs",
    "estimate_pairs": "pairs",
    "pairs_shrinkage_test": "pairs",
    "pairs_slope_test": "pairs",
    "SharedInformation": "shared",
    "decision_information": "shared",
    "shared_label_information": "shared",
    "shrinkage_test": "slope",
    "slope_test": "slope",
}

__all__ = [
    "Assessment",
    "HypothesisTest",
    "PairsEstimate",
    "SharedInformation",
    "assess",
    "assess_teachers",
    "decision_information",
    "estimate_pairs",
    "pairs_shrinkage_test",
    "pairs_slope_test",
    "rank_teachers",
    "shared_label_information",
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
