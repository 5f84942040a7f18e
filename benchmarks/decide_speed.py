"""Processor seconds and peak memory of `decide` on wide arrays.

    python benchmarks/decide_speed.py [--subjects 2000] [--columns 256] [--no-cch]

Ten classes; 12 latents that teacher and student share, under ReLU and noise. Prints the
seconds until the first answer (rows 1 to 4), until the last, and the most memory that
the process held.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch

from cchdecide import decide

CLASSES = 10


def arrays(subjects: int, columns: int, seed: int = 0) -> dict:
    """The arguments of `decide`: representations, labels, and outputs of both."""
    rng = np.random.default_rng(seed)
    shared, own = rng.standard_normal((2, subjects, 12))
    logits = shared[:, :8] @ rng.standard_normal((8, CLASSES)) / 2**0.5
    odds = np.exp(logits - logits.max(1, keepdims=True))
    odds /= odds.sum(1, keepdims=True)
    labels = (odds.cumsum(1) < rng.random((subjects, 1))).sum(1).clip(max=CLASSES - 1)

    def represented(seen: np.ndarray, others: np.ndarray) -> np.ndarray:
        mixed = np.hstack([seen, others]) @ rng.standard_normal((24, columns)) / 5
        return np.maximum(mixed + 0.3 * rng.standard_normal(mixed.shape), 0)

    blurred = shared + 0.7 * rng.standard_normal(shared.shape)
    return {
        "teacher": represented(shared, 0.5 * own),
        "student": represented(blurred, rng.standard_normal(own.shape)),
        "labels": labels,
        "teacher_output": odds,
        "student_output": logits + 0.8 * rng.standard_normal(logits.shape),
    }


def main() -> None:
    """Time one answer."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--subjects", type=int, default=2000)
    parser.add_argument("--columns", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--no-cch", dest="cch", action="store_false")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    given = arrays(asked.subjects, asked.columns)
    start = time.process_time()

    def first(_) -> None:
        print(f"first answer after {time.process_time() - start:.1f} processor seconds")

    found = decide(**given, cch=asked.cch, on_first=first)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"all of it after {time.process_time() - start:.1f}; {peak:.2f} GB at most")
    print(found)


if __name__ == "__main__":
    main()
