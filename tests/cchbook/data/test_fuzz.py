"""Every function of the loaders that takes arrays or numbers, fuzzed: see
tests/fuzzing.py.
"""

import numpy as np
import pytest
from fuzzing import Case, fuzz

from cchbook.data import image, mrmr, omics, synthetic
from cchbook.data.sentiment import _split


def grey(random, *shape):
    return random.integers(0, 9, shape) / 8


def correlations(**more):
    return lambda random: {"sigma12": 0.5, "sigma13": 0.25, "sigma23": 0.25} | more


SIGMAS = dict.fromkeys(("sigma12", "sigma13", "sigma23"), "number")
ANY_SIGMA = {name: "sigma12 sigma13 sigma23 covariance" for name in SIGMAS}
BEYOND = {name: [1.5, -2.0] for name in SIGMAS}


def labelled(random):
    labels = np.arange(24) % 3
    return random.standard_normal((24, 5)) + labels[:, None], labels


def of_mrmr(random):
    x, y = labelled(random)
    return {"x": x, "y": y, "k": 3, "relevance": "f", "scheme": "quotient"}


def of_top(random):
    x, labels = labelled(random)
    return {
        "x": x,
        "labels": labels,
        "train": np.arange(18),
        "k": 3,
        "relevance": "f",
        "scheme": "difference",
        "select_on": "train",
    }


def patches_of(photograph, **arguments):
    return image.random_patches([photograph], **arguments)


CASES = [
    Case(
        image.blend,
        lambda random: {
            "digits": grey(random, 2, 3, 4),
            "patches": grey(random, 2, 3, 4),
            "alpha": 0.25,
            "threshold": 0.5,
        },
        {
            "digits": "array",
            "patches": "array",
            "alpha": "number",
            "threshold": "number",
        },
        bad={"alpha": [-0.1, 1.1, [0.5]], "patches": [np.zeros((2, 3, 5))]},
    ),
    Case(
        image.gaussian_blur,
        lambda random: {"images": grey(random, 2, 5, 6), "gamma": 1.5},
        {"images": "array", "gamma": "number"},
        bad={"gamma": [-1.0], "images": [np.zeros(3)]},
        tolerance=1e-6,
    ),
    Case(
        patches_of,
        lambda random: {"photograph": grey(random, 30, 31), "n": 3, "seed": 1},
        {"photograph": "array", "n": "whole", "seed": "seed"},
        bad={"photograph": [np.zeros((27, 40)), np.zeros((3, 30, 30))], "n": [0]},
        also={"photograph": "photographs"},
    ),
    Case(
        image.as_inputs,
        lambda random: {"images": grey(random, 2, 5, 6), "channels": 3},
        {"images": "array", "channels": "whole"},
        bad={"channels": [0]},
        tolerance=1e-6,
    ),
    Case(
        synthetic.sample_appendix_b,
        correlations(n=4, p=2, seed=1),
        SIGMAS | {"n": "whole", "p": "whole", "seed": "seed"},
        bad=BEYOND,
        also=ANY_SIGMA,
    ),
    Case(
        synthetic.reading_covariance,
        correlations(reading="scaled", p=2),
        SIGMAS | {"reading": "choice", "p": "whole"},
        bad=BEYOND,
        also=ANY_SIGMA,
    ),
    Case(
        synthetic.sample_gaussian,
        lambda random: {"covariance": np.eye(5), "n": 4, "seed": 1},
        {"covariance": "array", "n": "whole", "seed": "seed"},
        bad={
            "covariance": [np.diag([1, 1, -1.0]), np.eye(4), np.triu(np.ones((3, 3)))]
        },
    ),
    Case(
        mrmr.select,
        of_mrmr,
        {
            "x": "rows",
            "y": "labels",
            "k": "whole",
            "relevance": "choice",
            "scheme": "choice",
        },
        bad={"x": [np.zeros((24, 5))], "y": [np.zeros(24, int)], "k": [0]},
        also={"x": "x y samples", "y": "x y samples"},
    ),
    Case(
        omics.top_features,
        of_top,
        {
            "x": "rows",
            "labels": "labels",
            "train": "other",
            "k": "whole",
            "relevance": "choice",
            "scheme": "choice",
            "select_on": "choice",
        },
        bad={"train": [np.arange(30), [-1, 0], np.zeros(24), [], [True]], "k": [0]},
        also={"labels": "y x", "x": "labels"},
        gaps=("x",),
        tolerance=1e-5,
    ),
    Case(
        _split.pool,
        lambda random: {"sequences": random.standard_normal((4, 3, 2))},
        {"sequences": "array"},
        bad={"sequences": [np.zeros(3), np.zeros((2, 2, 2, 2))]},
        tolerance=1e-6,
    ),
    Case(
        _split.add_noise,
        lambda random: {
            "x": random.standard_normal((4, 3)),
            "level": 0.5,
            "definition": "convex",
            "seed": 1,
        },
        {"x": "array", "level": "number", "definition": "choice", "seed": "seed"},
        bad={"level": [-0.1, 1.5, [0.1, 0.2]]},
        tolerance=1e-6,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.call.__name__)
def test_loaders(case):
    fuzz(case)
