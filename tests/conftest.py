"""One thread a test process (they run two at once), and hypothesis seeded and without a
clock.
"""

import os

# Before NumPy is imported, which reads them once. What the tests start inherits them: a
# thread that waits for another by turning in a loop takes the core that the other needs
# as soon as something else runs too, and what takes 25 seconds of processor takes 150.
# A job's share of the cores is still its own (`cchbook.runs.job`).
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# What the tests start reads our modules as they were compiled once.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

from pathlib import Path  # noqa: E402

import hypothesis  # noqa: E402
import matplotlib  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

matplotlib.use("Agg")
torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "cch", deadline=None, derandomize=True, max_examples=50
)
hypothesis.settings.load_profile("cch")

# Files that take minutes, in the order in which workers take them; all others follow.
# One worker makes the book while the other runs what needs no book.
FIRST = (
    "tests/book/test_book.py",
    "tests/cchbook/runs/test_pieces.py",
    "tests/cchbook/publish/test_student.py",
    "tests/cchbook/runs/",
    "tests/notebooks/",
    "tests/book/",
)


def pytest_collection_modifyitems(items):
    """Put long files first, lest one worker begins one when the other is at its end."""

    def place(item):
        at = (n for n, path in enumerate(FIRST) if item.nodeid.startswith(path))
        return next(at, len(FIRST))

    items.sort(key=place)


@pytest.fixture(autouse=True)
def seeded():
    """The same weights and draws of torch whatever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def shared_build(tmp_path_factory, worker_id):
    """A build folder of all workers. Runs of the chapters at `smoke` that lie in it are
    the book's: whoever wants one first makes it, as two batches at once share the work.

    CCH_TEST_BUILD keeps it between runs of the tests.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    folder = Path(os.environ.get("CCH_TEST_BUILD") or shared / "book")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
