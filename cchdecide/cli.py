"""The `cch` command: whatever commands the installed packages bring.

A package brings its own by an entry point of the group `cch.commands`, a `typer.Typer`,
so that no package knows a later one.
"""

from __future__ import annotations

import os
from importlib.metadata import entry_points

import typer

# Before OpenMP is loaded: a thread that waits in a loop takes the core that the other
# needs, and where something else runs, too, ten seconds become minutes.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A paper one can run: execute its notebooks, build its book, "
    "use its criterion.",
)

for _point in entry_points(group="cch.commands"):
    _commands = _point.load()
    app.registered_commands += _commands.registered_commands
    app.registered_groups += _commands.registered_groups


def main() -> None:
    """Entry point of `cch`."""
    app()
