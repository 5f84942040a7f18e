"""What a page of a published book offers: the repository's buttons, and in each
chapter's notebook the cell that Colab needs.

All of it follows from one setting, `repository: {url: …}` in `_config.yml`, which is
not set: an address that nobody holds would lead nowhere, or to whoever takes it.
"""

from __future__ import annotations

from typing import Any

CELL = """import os
import sys

# Colab only: install, then start Python again; run all cells again after that
if "google.colab" in sys.modules:
    if not os.path.isdir("/content/cch"):
        os.system(
            "git clone -q --depth 1 "
            "{address} /content/cch && "
            f"{{sys.executable}} -m pip install -q -e '/content/cch[book]'"
        )
        os.kill(os.getpid(), 9)
    os.chdir("/content/cch")"""


def address(config: dict[str, Any]) -> str | None:
    """The repository's address in `_config.yml`; None where it names none."""
    return (config.get("repository") or {}).get("url") or None


def with_buttons(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration of a book whose repository has an address: buttons to it, to
    its issues, and to Binder.
    """
    if address(config) is None:
        return config
    html = config.get("html", {})
    buttons = {"use_issues_button": True, "use_repository_button": True}
    launch = {
        "binderhub_url": "https://mybinder.org",
        "notebook_interface": "jupyterlab",
    }
    return {**config, "html": {**html, **buttons}, "launch_buttons": launch}


def with_install_cell(page: dict[str, Any], repository: str) -> dict[str, Any]:
    """A chapter's notebook, as it is downloaded from its page, with the cell that
    installs the project on Colab before the first code cell.
    """
    cell = {
        "cell_type": "code",
        "id": "install",
        "metadata": {"tags": ["install", "remove-cell"]},
        "execution_count": None,
        "outputs": [],
        "source": CELL.format(address=repository),
    }
    code = [each["cell_type"] == "code" for each in page["cells"]]
    first = code.index(True) if any(code) else len(code)
    cells = [*page["cells"][:first], cell, *page["cells"][first:]]
    return {**page, "cells": cells}
