"""Should this student learn from that teacher? The practitioner's tool.

`collect` records what two networks say, `pilot` distils heads on frozen features, and
`decide` asks every criterion and answers by one rule; `cch assess` does it for a file.
`study` distils for real, and answers by what happened.

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
    from cchdecide.studies import study, study_views
    from cchdecide.study_report import Study
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
    "Study": "study_report",
    "study": "studies",
    "study_views": "studies",
    "logme": "transfer",
}

__all__ = [
    "Decision",
    "Gain",
    "Pilot",
    "Ranking",
    "Representations",
    "Study",
    "collect",
    "decide",
    "decide_teachers",
    "logme",
    "pilot",
    "study",
    "study_views",
]


def __getattr__(name: str) -> Any:
    if name in _NAMES:
        return getattr(importlib.import_module(f"cchdecide.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'cchdecide' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
