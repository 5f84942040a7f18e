"""One thread a test process (they run two at once), and hypothesis seeded and without a clock."""

import hypothesis
import matplotlib
import pytest
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)
hypothesis.settings.register_profile("cch", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("cch")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in its own hook
def pytest_collection_modifyitems(items):
    """With `--dist loadgroup`: a file stays on one worker, and all tests of the book share the one that builds it."""
    for item in items:
        group = "book" if item.path.parent.name == "book" else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
