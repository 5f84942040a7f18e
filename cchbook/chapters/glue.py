"""Numbers of a run in the prose of a page: `glue` under a name
that text can refer to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def glue(name: str, value: Any, display: bool = False) -> None:
    """Keep `value` under `name` for {glue:text}`name`.

    Numbers of NumPy become Python's, which are written without their type's name.
    """
    from myst_nb import glue as keep

    keep(name, value.item() if isinstance(value, np.generic) else value, display)


def glue_all(values: Mapping[str, Any]) -> None:
    """`glue` each entry; write the keys as literals, so that a search finds them."""
    for name, value in values.items():
        glue(name, value)
