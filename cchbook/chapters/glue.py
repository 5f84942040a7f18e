"""Numbers of a run in the prose of a page: `glue` under a name
that text can refer to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from IPython.core import formatters
from IPython.display import display as show

HIDDEN = "application/papermill.record/"  # before the type of what a page does not show


def glue(name: str, value: Any, display: bool = False) -> None:
    """Keep `value` under `name` for {glue:text}`name`, as `myst_nb.glue` does.

    That one brings Sphinx with it, which takes each kernel a second of the processor.
    Numbers of NumPy become Python's, which are written without their type's name.
    """
    value = value.item() if isinstance(value, np.generic) else value
    shown, about = formatters.format_display_data(value)
    prefix = "" if display else HIDDEN
    about["scrapbook"] = {"name": name, "mime_prefix": prefix}
    kept = {prefix + kind: content for kind, content in shown.items()}
    show(kept, raw=True, metadata=about)


def glue_all(values: Mapping[str, Any]) -> None:
    """`glue` each entry; write the keys as literals, so that a search finds them."""
    for name, value in values.items():
        glue(name, value)
