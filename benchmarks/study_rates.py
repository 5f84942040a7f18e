"""What `study` says where the answer is known: a teacher that knows nothing, and one
that knows the law of the label.

    python benchmarks/study_rates.py [--draws 40]

The two teachers of the file that `cch assess --example` writes are asked once each.
Every draw is a row of benchmarks/results/study_rates.csv as soon as it is done, and
draws that stand there are not made again. Chapter 11 shows the counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from cchdecide import study
from cchdecide.files import write_example

RESULTS = Path(__file__).parent / "results" / "study_rates.csv"
SAMPLES = 400
TEACHERS = ("nothing", "law")
#: of the example's file, by their names there
EXAMPLE = ("good", "poor")
#: share of hidden labels: none, and four fifths
HIDDEN = (0.0, 0.8)


def planted(teacher: str, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The teacher's view, the student's, and the label of three classes.

    The student sees the six variables behind the label through noise of their own
    size. The teacher that knows the law sees them as they are; the other sees noise.
    """
    if teacher in EXAMPLE:
        return example(teacher)
    rng = np.random.default_rng([seed, 30])
    latent = rng.standard_normal((SAMPLES, 6))
    labels = (latent[:, :3] + 0.7 * rng.standard_normal((SAMPLES, 3))).argmax(1)
    student = latent + rng.standard_normal((SAMPLES, 6))
    if teacher == "nothing":
        return rng.standard_normal((SAMPLES, 6)), student, labels
    return latent, student, labels


def example(teacher: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Representations of a teacher and the student, and labels, of `write_example`."""
    with tempfile.TemporaryDirectory() as folder:
        with np.load(write_example(Path(folder) / "example.npz")) as stored:
            names = (f"teacher_{teacher}", "student", "labels")
            return tuple(stored[name] for name in names)


def missing(draws: int) -> Iterator[tuple[int, str, float]]:
    """Draw, teacher and share of hidden labels of what is not in the table."""
    done = set()
    if RESULTS.is_file():
        table = pd.read_csv(RESULTS)
        done = set(zip(table["draw"], table["teacher"], table["hidden"]))
    planned = [*product(range(1), EXAMPLE, HIDDEN)]
    planned += product(range(draws), TEACHERS, HIDDEN)
    for one in planned:
        if one not in done:
            yield one


def main() -> None:
    """Make the draws that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=40)
    for draw, teacher, hidden in missing(parser.parse_args().draws):
        begun = time.process_time()
        views = planted(teacher, draw)
        found = study(*views, pairs=hidden or None, seed=draw, estimates=0)
        row = {
            "draw": draw,
            "teacher": teacher,
            "hidden": hidden,
            "verdict": found.verdict,
            "gain": round(found.gain, 5),
            "low": round(found.interval[0], 5),
            "high": round(found.interval[1], 5),
            "processor_seconds": round(time.process_time() - begun, 1),
        }
        frame = pd.DataFrame([row])
        frame.to_csv(RESULTS, mode="a", header=not RESULTS.is_file(), index=False)
        print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
