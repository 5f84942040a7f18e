"""How often `decide` recommends teachers of whom the right answer is known.

    python benchmarks/decide_rates.py [CASE …] [--sets 500] [--piece 50]

A piece is so many simulated data sets of a case; each is a row of
benchmarks/results/decide_rates.csv as soon as it is done, and pieces that stand there
are not run again. Chapter 8 shows the table. A data set takes from .03 (`outputs`) to
some 10 processor seconds (`low rank latent`), if OMP_NUM_THREADS is 1.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from datetime import date
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from cchdecide import decide

RESULTS = Path(__file__).parent / "results" / "decide_rates.csv"


class Case(NamedTuple):
    """A teacher, what `decide` is given of it, and the size of a data set."""

    teacher: str  # "independent", "law" (of the label), "label", or "copy"
    given: str  # "outputs", "features" or "both"
    method: str  # of the CCH; "" where it is not asked
    subjects: int
    columns: int
    slope: float = 1.0  # of the label on the student's columns
    latents: int = 0  # behind the columns of teacher and student, where they are few


CASES = {
    "outputs": Case("independent", "outputs", "", 80, 6),
    # both terms are 0, and so is the gap: the hardest case for the CCH
    "features gaussian": Case("independent", "features", "gaussian", 80, 6, slope=0),
    "features latent": Case("independent", "features", "latent", 120, 6, slope=0),
    "features ksg": Case("independent", "features", "ksg", 80, 6, slope=0),
    "features mine": Case("independent", "features", "mine", 80, 6, slope=0),
    # in which a covariance sees dependence where there is none
    "low rank gaussian": Case("independent", "features", "gaussian", 500, 300, 0, 8),
    "low rank ksg": Case("independent", "features", "ksg", 500, 300, 0, 8),
    "low rank latent": Case("independent", "features", "latent", 500, 300, 0, 8),
    "both": Case("independent", "both", "gaussian", 80, 6),
    "copy": Case("copy", "outputs", "", 80, 6),
    "label": Case("label", "outputs", "", 150, 50),
    "law": Case("law", "outputs", "", 150, 50),
}


def data_set(case: Case, labels: str, seed: int) -> dict:
    """The arguments of `decide`: a label that depends on two of the student's columns,
    with noise.
    """
    rng = np.random.default_rng(seed)
    if case.latents:
        student = embedding(case, 2, rng)
    else:
        student = rng.standard_normal((case.subjects, case.columns))
    score = case.slope * (student[:, 0] + 0.5 * student[:, 1])
    if labels == "regression":
        y = score + rng.standard_normal(case.subjects)
        law = score
        itself = y
    else:
        odds = 1 / (1 + np.exp(-2 * score))
        y = (rng.random(case.subjects) < odds).astype(int)
        law = np.column_stack([1 - odds, odds])
        itself = np.eye(2)[y]
    output = {
        "independent": law[rng.permutation(case.subjects)],
        "law": law,
        "label": itself,
        "copy": law,
    }[case.teacher]
    if case.latents:
        features = embedding(case, 1, rng)
    else:
        features = rng.standard_normal((case.subjects, 3))
    arguments = {"teacher": features, "student": student, "labels": y}
    if case.given != "features":
        arguments["teacher_output"] = output
    if case.teacher == "copy":
        arguments["student_output"] = output
    return arguments


def embedding(case: Case, side: int, rng: np.random.Generator) -> np.ndarray:
    """Few latents (subjects, latents) through random weights, the population's, and
    tanh into columns.
    """
    weights = np.random.default_rng(side).standard_normal((case.latents, case.columns))
    return np.tanh(rng.standard_normal((case.subjects, case.latents)) @ weights)


def piece(name: str, labels: str, first: int, sets: int) -> dict:
    """The answers to `sets` data sets from seed `first` on."""
    case = CASES[name]
    start = time.process_time()
    answers: Counter = Counter()
    for seed in range(first, first + sets):
        options = {"cch": False} if not case.method else {"method": case.method}
        if case.method == "gaussian":
            options["runs"] = 1
        found = decide(
            **data_set(case, labels, seed), seed=seed, device="cpu", **options
        )
        answers[found.code] += 1
    return {
        "case": name,
        "labels": labels,
        "subjects": case.subjects,
        "columns": case.columns,
        "first": first,
        "sets": sets,
        "distil": answers["distil"],
        "do not distil": answers["do not distil"],
        "undecided": answers["undecided"],
        "processor_seconds": round(time.process_time() - start, 1),
        "date": date.today().isoformat(),
    }


def main() -> None:
    """Run the pieces that are missing."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("cases", nargs="*", default=list(CASES), metavar="CASE")
    parser.add_argument("--sets", type=int, default=500)
    parser.add_argument("--piece", type=int, default=50)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.cases:
        for labels in ("regression", "classes"):
            for first in range(0, asked.sets, asked.piece):
                there = pd.read_csv(RESULTS) if RESULTS.exists() else pd.DataFrame()
                key = ["case", "labels", "first"]
                if len(there):
                    same = there[key] == [name, labels, first]
                    if same.all(axis=1).any():
                        continue
                row = pd.DataFrame([piece(name, labels, first, asked.piece)])
                every = pd.concat([there, row], ignore_index=True)
                every.sort_values(key).to_csv(RESULTS, index=False)
                print(row.to_string(index=False, header=False), flush=True)


if __name__ == "__main__":
    main()
