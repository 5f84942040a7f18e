"""Every public function of cchlib, fuzzed: see tests/fuzzing.py."""

import numpy as np
import pytest
import torch
from fuzzing import Case, fuzz

from cchlib import losses, models, training


def normal(random, *shape):
    return random.standard_normal(shape)


# Losses.


def logits(random):
    return {
        "student_logits": normal(random, 6, 3),
        "teacher_logits": normal(random, 6, 3),
        "labels": random.integers(0, 3, 6),
        "lam": 0.25,
        "temperature": 2.0,
    }


def outputs(random):
    drawn = {name: normal(random, 6, 2) for name in ("student", "teacher", "target")}
    return drawn | {"lam": 0.5, "form": "convex"}


LOSSES = [
    Case(
        losses.distillation_loss,
        logits,
        {
            "student_logits": "rows",
            "teacher_logits": "rows",
            "labels": "labels",
            "lam": "number",
            "temperature": "number",
        },
        bad={
            "lam": [-0.1, 1.1, [0.5, 0.5]],
            "temperature": [0.0, -1.0, np.ones(3)],
            "labels": [
                np.full(6, 3),
                np.full(6, -1),
                np.zeros(6),
                np.zeros((6, 1), int),
            ],
            "teacher_logits": [np.zeros((6, 2)), np.zeros(6)],
        },
        also={"student_logits": "labels teacher_logits"},
    ),
    Case(
        losses.cross_entropy,
        lambda random: {
            "logits": normal(random, 6, 3),
            "labels": random.integers(0, 3, 6),
        },
        {"logits": "rows", "labels": "labels"},
        also={"logits": "student_logits labels"},
    ),
    Case(
        losses.squared_error,
        lambda random: {"output": normal(random, 6, 2), "target": normal(random, 6, 2)},
        {"output": "rows", "target": "rows"},
        bad={"target": [np.zeros(6), np.zeros((6, 1))]},
    ),
    Case(
        losses.regression_distillation_loss,
        outputs,
        {
            "student": "rows",
            "teacher": "rows",
            "target": "rows",
            "lam": "number",
            "form": "choice",
        },
        bad={
            "lam": [-0.1, 1.1, [0.5, 0.5]],
            "target": [np.zeros(6), np.zeros((6, 1))],
            "teacher": [np.zeros(6), np.zeros((6, 1)), 0.0],
        },
    ),
    Case(
        losses.fusion_distillation_loss,
        lambda random: {
            "logits": normal(random, 6, 3, 2),
            "labels": random.integers(0, 2, 6),
            "lam": 0.25,
            "temperature": 2.0,
            "head_weight": 0.5,
        },
        {
            "logits": "rows",
            "labels": "labels",
            "lam": "number",
            "temperature": "number",
            "head_weight": "number",
        },
        bad={"lam": [1.1], "temperature": [0.0], "head_weight": [-1.0]},
        also={"logits": "labels student_logits"},
    ),
]


# Networks and their training.


def weights(network):
    return torch.cat([p.detach().flatten() for p in network.parameters()])


def made(maker):
    def make(**arguments):
        return weights(maker(**arguments))

    make.__name__ = maker.__name__
    return make


def trained(targets, **arguments):
    """The weights after a fit; where it is refused they are what they were."""
    network = models.tabular_network(3, 2).double()
    before = weights(network).clone()
    try:
        training.fit(
            network,
            targets=[targets],  # a list alone would be several targets
            loss=losses.cross_entropy,
            device="cpu",
            epochs=2,
            **arguments,
        )
    except ValueError:
        assert torch.equal(weights(network), before), "half trained"
        raise
    return weights(network)


def predicted(**arguments):
    return training.predict(models.tabular_network(3, 2), device="cpu", **arguments)


def represented(**arguments):
    return training.features(models.tabular_network(3, 2), device="cpu", **arguments)


def of_fit(random):
    return {
        "x": normal(random, 9, 3),
        "targets": random.integers(0, 2, 9),
        "lr": 0.125,
        "momentum": 0.5,
        "weight_decay": 0.0,
        "optimizer": "sgd",
        "schedule": "cosine",
        "batch_size": 4,
        "seeds": 3,
    }


def of_predict(random):
    return {"x": normal(random, 9, 3), "batch_size": 4}


NETWORKS = [
    Case(
        made(models.MLP),
        lambda random: {"sizes": [3, 4, 2], "dropout": 0.25, "seed": 1},
        {"dropout": "number", "seed": "seed"},
        bad={"dropout": [-0.1, 1.5, [0.5]], "seed": [2**64]},
    ),
    Case(
        made(models.tabular_network),
        lambda random: {"inputs": 3, "outputs": 2, "seed": 1},
        {"inputs": "whole", "outputs": "whole", "seed": "seed"},
        bad={"inputs": [0], "outputs": [0], "seed": [2**64]},
        also={"inputs": "sizes", "outputs": "sizes"},
    ),
    Case(
        made(models.sentiment_network),
        lambda random: {"inputs": 3, "classes": 2, "seed": 1},
        {"inputs": "whole", "classes": "whole", "seed": "seed"},
        bad={"inputs": [0], "classes": [0]},
        also={"inputs": "sizes", "classes": "sizes"},
    ),
    Case(
        made(models.image_network),
        lambda random: {"inputs": 3, "classes": 2, "seed": 1},
        {"inputs": "whole", "classes": "whole", "seed": "seed"},
        also={"inputs": "sizes", "classes": "sizes"},
        cost=4,
    ),
    Case(
        made(models.FusionNetwork),
        lambda random: {
            "inputs1": 3,
            "inputs2": 2,
            "classes": 2,
            "width": 4,
            "dropout": 0.25,
            "seed": 1,
        },
        {
            "inputs1": "whole",
            "inputs2": "whole",
            "classes": "whole",
            "width": "whole",
            "dropout": "number",
            "seed": "seed",
        },
        bad={"classes": [1], "width": [0], "dropout": [2.0]},
    ),
    Case(
        trained,
        of_fit,
        {
            "x": "rows",
            "targets": "labels",
            "lr": "number",
            "momentum": "number",
            "weight_decay": "number",
            "optimizer": "choice",
            "schedule": "choice",
            "batch_size": "whole",
            "seeds": "seed",
        },
        bad={
            "x": [np.zeros((9, 2)), np.zeros(9), np.zeros((9, 3), int)],
            "targets": [np.full(9, 2), np.zeros((9, 2), int), None],
            "lr": [0.0, -1.0, [0.1], 1e300],
            "seeds": [2**64, [1, 2], [2**64]],
        },
        # labels are the loss's name for its target
        also={"targets": "labels", "x": "samples", "lr": "lr"},
        tolerance=1e-8,
        cost=4,
    ),
    Case(
        predicted,
        of_predict,
        {"x": "array", "batch_size": "whole"},
        bad={"x": [np.zeros((9, 2)), np.zeros(9), np.zeros((0, 3))], "batch_size": [0]},
        tolerance=1e-6,
    ),
    Case(
        represented,
        of_predict,
        {"x": "array", "batch_size": "whole"},
        tolerance=1e-6,
    ),
]


@pytest.mark.parametrize("case", LOSSES + NETWORKS, ids=lambda case: case.call.__name__)
def test_losses_networks_and_training(case):
    fuzz(case)
