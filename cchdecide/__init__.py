"""Should this student learn from that teacher? The practitioner's tool.

`collect` records what two networks say, `pilot` distils heads on frozen features, and
`decide` asks every criterion and answers by one rule; `cch assess` does it for a file.

Nothing is loaded before it is asked for. No module of this package is named like a
function of it: the module would hide the function.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cchdecide.collecting import Representations, collect
    from cchdecide.decision import decide, decide_teachers
    from cchdecide.heads import Gain, Pilot, pilot
    from cchdecide.report import Decision, Ranking
    from cchdecide.transfer import logme

_NAMES = {
    "Representations": "collecting",
    "collect": "collecting",
    "decide": "decision",
    "decide_teachers": "decision",
    "Gain": "heads",
    "Pilot": "heads",
    "pilot": "heads",
    "Decision": "report",
    "Ranking": "report",
    "logme": "transfer",
}

__all__ = [
    "Decision",
    "Gain",
    "Pilot",
    "Ranking",
    "Representations",
    "collect",
    "decide",
    "decide_teachers",
    "logme",
    "pilot",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"cchdecide.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'cchdecide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
