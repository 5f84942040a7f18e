"""Where things lie: the checkout, the packages in it, and what runs leave."""

from __future__ import annotations

import os
import socket
from pathlib import Path

HOST = socket.gethostname()
PACKAGE = Path(__file__).resolve().parents[1]  # cchbook; the others lie beside it


def repository() -> Path | None:
    """The checkout: `CCH_ROOT`, else the nearest folder upwards with
    `notebooks/profiles`, else the package's own.
    """
    if "CCH_ROOT" in os.environ:
        return Path(os.environ["CCH_ROOT"]).resolve()
    here = Path.cwd()
    for folder in (here, *here.parents, PACKAGE.parent):
        if (folder / "notebooks" / "profiles").is_dir():
            return folder
    return None


def build_dir() -> Path:
    """Where everything that a run leaves goes: `CCH_BUILD_DIR`, else `_build` in the
    checkout or working directory.
    """
    return Path(
        os.environ.get("CCH_BUILD_DIR") or (repository() or Path.cwd()) / "_build"
    ).absolute()
