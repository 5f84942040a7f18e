"""`cch assess` and `cch study`, and how every command says what went wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()  # its commands are put into that of `cchdecide.cli`


ASSESS = """Should this student learn from that teacher? All criteria on your arrays.

\b
FILE is .npz (arrays), .csv or .parquet (columns) or .h5ad (obsm, obs), a
row a subject that no network was trained on:
  .npz             .csv
  teacher          teacher.*           its representation
  student          student.*           trained without distillation
  labels           label               whole numbers or text: classes
  labels (n, 1)    label.*             a regression target, whatever its values
  teacher_output   teacher_output.*    logits or probabilities
  student_output   student_output.*    the same of the student
  groups           group               patients, speakers
  classes          .NAME of outputs    which column is which class
  *_unlabelled     (.npz alone)        rows that nobody labelled: of
                                       teacher_output and student, and
                                       student_output if at hand
In place of _output, _logits and _probs say what the outputs are.
Several teachers: teacher_NAME and teacher_output_NAME (and, of rows
without a label, teacher_output_NAME_unlabelled). The last five are
optional; without outputs only the CCH can be asked.

\b
Example:
  cch assess --example                 writes example.npz
  cch assess example.npz --html report.html

\b
Exit code: 0 answered, whatever the answer; 2 the file or an option is not
as wanted; 1 the machine failed (disk, memory, a package); 130 interrupted.
"""


@app.command(help=ASSESS)
def assess(
    file: Annotated[Path | None, typer.Argument(help="A .npz or .csv file.")] = None,
    method: Annotated[
        str, typer.Option(help="latent, lmi, ksg, mine or gaussian.")
    ] = "latent",
    runs: Annotated[int, typer.Option(min=1, help="Estimates behind each value.")] = 5,
    confidence: Annotated[float, typer.Option(help="Of all intervals.")] = 0.95,
    smallest: Annotated[
        float, typer.Option(help="Share of the student's error worth gaining.")
    ] = 0.01,
    cch: Annotated[bool, typer.Option(help="Ask the CCH too, the slow row.")] = True,
    components: Annotated[
        int,
        typer.Option(min=0, help="Of wider blocks, for the CCH; 0: all columns."),
    ] = 64,
    outputs: Annotated[
        str | None, typer.Option(help="What they are: probabilities or logits.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Of the outputs' columns: a,b,c.")
    ] = None,
    seed: int = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    figure: Annotated[Path | None, typer.Option(help="Where the figure goes.")] = None,
    html: Annotated[Path | None, typer.Option(help="Where a report goes.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where the numbers go.")] = None,
    example: Annotated[
        bool, typer.Option("--example", help="Write an example to FILE and stop.")
    ] = False,
) -> None:
    """All criteria on the arrays of a file."""
    with plainly():
        from cchdecide.files import decide_file, write_example

        if example:
            print(f"Wrote {write_example(file or 'example.npz')}")
            print("The book's chapter 11 says what distilling its teachers gave.")
            return
        if file is None:
            raise ValueError(
                "FILE must be given, a .npz or .csv file (cch assess --example writes "
                "one)"
            )
        decide_file(
            file,
            json=json,
            html=html,
            figure=figure,
            method=method,
            runs=runs,
            confidence=confidence,
            smallest=smallest,
            cch=cch,
            components=components or None,
            seed=seed,
            device=device,
            outputs=outputs,
            classes=None if classes is None else classes.split(","),
        )


STUDY = """Should this modality teach that one? By distilling, on repeated splits.

\b
FILE is .npz, a row a sample:
  view_NAME        two or more of them: features of the sample, (n, p)
  label            whole numbers or text: classes; floats: a regression
  group            people, days: whole ones are held out together
  split            0 training, 1 test: an official split, kept

\b
Example:
  cch study two_senses.npz --teacher image --student text
  cch study two_senses.npz --html report.html     all ordered pairs

\b
Exit code: as for cch assess.
"""


@app.command(help=STUDY)
def study(
    file: Annotated[Path, typer.Argument(help="A .npz file.")],
    teacher: Annotated[str | None, typer.Option(help="The view that teaches.")] = None,
    student: Annotated[str | None, typer.Option(help="The view that learns.")] = None,
    pairs: Annotated[
        float | None,
        typer.Option(help="Share of the training rows whose label is hidden."),
    ] = None,
    repeats: Annotated[int, typer.Option(min=3, help="Splits.")] = 20,
    estimates: Annotated[
        int, typer.Option(min=0, help="Splits on which criteria are computed.")
    ] = 10,
    seed: int = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    html: Annotated[Path | None, typer.Option(help="Where a report goes.")] = None,
    json: Annotated[Path | None, typer.Option(help="Where the numbers go.")] = None,
) -> None:
    """Distil views of a file into one another, for real."""
    with plainly():
        from cchdecide.views import study_file

        study_file(
            file,
            teacher=teacher,
            student=student,
            html=html,
            json=json,
            pairs=pairs,
            repeats=repeats,
            estimates=estimates,
            seed=seed,
            device=device,
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
            "cch: interrupted; what is complete is kept, and the same command goes on "
            "from there",
            file=sys.stderr,
        )
        raise typer.Exit(130) from None
