"""One thread a test process (they run two at once), and hypothesis seeded and without a
clock.
"""

import hypothesis
import matplotlib
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)
hypothesis.settings.register_profile(
    "cch", deadline=None, derandomize=True, max_examples=50
)
hypothesis.settings.load_profile("cch")
