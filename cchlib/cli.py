"""The `cch` command: `cch assess`, and where the book is installed `cch
run|build|data`.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A paper one can run: execute its notebooks, build its book, use its criterion.",
)


@app.command()
def assess(
    file: Annotated[
        Path, typer.Argument(help=".npz or .csv with teacher, student and labels.")
    ],
    method: Annotated[str, typer.Option(help="lmi, ksg, mine or gaussian.")] = "lmi",
    runs: Annotated[int, typer.Option(min=1, help="Estimates behind each value.")] = 5,
    confidence: Annotated[
        float, typer.Option(help="Of the interval around the gap.")
    ] = 0.95,
    seed: int = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    figure: Annotated[Path | None, typer.Option(help="Where the figure goes.")] = None,
) -> None:
    """Say whether distilling a teacher into a student would help: the CCH on your own
    representations.
    """
    with plainly():
        from cchlib.criterion.files import assess_file

        assess_file(
            file,
            method=method,
            runs=runs,
            confidence=confidence,
            seed=seed,
            device=device,
            figure=figure,
        )


@contextmanager
def plainly() -> Iterator[None]:
    """Errors that a user can mend are one message, no traceback."""
    try:
        yield
    except typer.Exit:  # a RuntimeError too
        raise
    except (ValueError, FileNotFoundError) as error:
        print(f"cch: {error}", file=sys.stderr)
        raise typer.Exit(2) from None
    except (OSError, RuntimeError) as error:  # a full disk, a broken network
        print(f"cch: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except ImportError as error:  # an extra that is not installed, s3fs
        print(
            f"cch: {error}; pip install 'cchlib[book]' brings what the book needs",
            file=sys.stderr,
        )
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print(
            "cch: interrupted; what is complete is kept, and the same command goes on from there",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None


def main() -> None:
    """Entry point of `cch`."""
    app()


if importlib.util.find_spec("cchbook"):
    from cchbook.cli import app as _book

    app.registered_commands += _book.registered_commands
    app.registered_groups += _book.registered_groups
