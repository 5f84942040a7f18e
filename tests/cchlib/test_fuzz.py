"""Every public function of cchlib, fuzzed: see tests/fuzzing.py."""

import numpy as np
import pytest
import torch
from fuzzing import Case, fuzz

from cchlib import criterion, gaussian, losses, mi, models, training


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
            "batch_size": "other",  # None is the full batch
            "seeds": "other",  # one seed in a list is one a network
        },
        bad={
            "x": [np.zeros((9, 2)), np.zeros(9), np.zeros((9, 3), int)],
            "targets": [np.full(9, 2), np.zeros((9, 2), int), None],
            "lr": [0.0, -1.0, [0.1], 1e300],
            "batch_size": [0, -1, 1.5, "3", True, [4], {}],
            "seeds": [2**64, [1, 2], [2**64], None, -1, 1.5, "3", True, {}],
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


# The joint Gaussian.

MODEL, W1 = gaussian.random_model(3, 2, 3)


def of_risk(random):
    return {"w1": normal(random, 2), "lam": 0.5, "kappa": 1.75}


def drawing(random):
    return {"w1": normal(random, 2), "lam": 0.5, "n": 9, "seed": 4}


def with_model(function):
    """`function` of one fixed model; what is fuzzed are its other arguments."""

    def call(**arguments):
        return function(MODEL, **arguments)

    call.__name__ = function.__name__
    return call


def blocks(**arguments):
    model = gaussian.JointGaussian(**arguments)
    return [model.w_star, model.noise_variance, model.teacher_star]


def of_blocks(random):
    factor = normal(random, 6, 9)
    total = factor @ factor.T
    return {
        "S11": total[:2, :2],
        "S12": total[:2, 2:5],
        "S13": total[:2, 5],
        "S22": total[2:5, 2:5],
        "S23": total[2:5, 5],
        "S33": float(total[5, 5]),
    }


def of_outputs(random):
    drawn = normal(random, 3, 30)
    return dict(zip(("y", "student", "imitator"), drawn)) | {"lam": 0.5}


def two_of(*names):
    def make(random):
        drawn = of_outputs(random)
        return {name: drawn[name] for name in names}

    return make


LAM = {"lam": [-0.1]}
KAPPA = {"kappa": [1.0, 0.0, -2.0]}
RISKS = {"w1": "array", "lam": "number", "kappa": "number"}
OF_W1 = (
    "beats_shrinkage",
    "cch_holds",
    "conditional_variance_condition",
    "correlation_condition",
    "distillation_helps",
    "variance_condition",
)
GAUSSIAN = [
    Case(
        blocks,
        of_blocks,
        dict.fromkeys(("S11", "S12", "S13", "S22", "S23"), "array") | {"S33": "number"},
        bad={"S33": [-1.0], "S11": [np.diag([1.0, -1.0]), np.eye(3)]},
        also={"S12": "S11 S22", "S13": "S11 S33", "S23": "S22 S33", "S22": "S11"},
        tolerance=1e-7,
    ),
    Case(
        with_model(gaussian.excess_risk),
        of_risk,
        RISKS,
        bad=LAM | KAPPA,
        infinite=("lam",),
    ),
    Case(
        with_model(gaussian.optimal_teacher),
        lambda random: {"lam": 0.5, "kappa": 1.75},
        {"lam": "number", "kappa": "number"},
        bad=LAM | KAPPA,
        infinite=("lam",),
    ),
    Case(
        with_model(gaussian.risk_slope),
        lambda random: {"w1": normal(random, 2), "kappa": 1.75},
        {"w1": "array", "kappa": "number"},
        bad=KAPPA,
    ),
    Case(
        with_model(gaussian.optimal_lambda),
        lambda random: {"w1": normal(random, 2), "kappa": 1.75},
        {"w1": "array", "kappa": "number"},
        bad=KAPPA,
    ),
    Case(
        with_model(gaussian.expected_excess_risk),
        lambda random: {"w1": normal(random, 2), "lam": 0.5, "n": 9},
        {"w1": "array", "lam": "number", "n": "number"},
        bad=LAM | {"n": [3, 0]},
        infinite=("lam",),
    ),
    Case(
        with_model(gaussian.sample_excess_risk),
        lambda random: drawing(random) | {"size": 5},
        {"w1": "array", "lam": "number", "n": "whole", "size": "whole", "seed": "seed"},
        bad=LAM | {"n": [3]},
        infinite=("lam",),
    ),
    Case(
        with_model(gaussian.simulate_excess_risk),
        lambda random: drawing(random) | {"trials": 3},
        {
            "w1": "array",
            "lam": "number",
            "n": "whole",
            "trials": "whole",
            "seed": "seed",
        },
        bad=LAM,
        infinite=("lam",),
    ),
    Case(
        with_model(gaussian.mixture_moments),
        lambda random: {"w1": normal(random, 4, 2), "n": 9},
        {"w1": "array", "n": "whole"},
    ),
    *(
        Case(
            with_model(getattr(gaussian, name)),
            lambda random: {"w1": normal(random, 2)},
            {"w1": "array"},
            bad={"w1": [np.zeros(3), 1.0]},
            cost=2,
        )
        for name in OF_W1
    ),
    Case(
        gaussian.predicted_gain,
        of_outputs,
        dict.fromkeys(("y", "student", "imitator"), "rows") | {"lam": "number"},
        bad=LAM,
        infinite=("lam",),
    ),
    Case(
        gaussian.best_mixing_weight,
        two_of("y", "student", "imitator"),
        dict.fromkeys(("y", "student", "imitator"), "rows"),
    ),
    Case(
        gaussian.residual_correlation,
        lambda random: dict(zip(("y", "student", "teacher"), normal(random, 3, 30))),
        dict.fromkeys(("y", "student", "teacher"), "rows"),
    ),
    Case(
        gaussian.mixing_weight,
        lambda random: {"lam": 0.5},
        {"lam": "number"},
        bad=LAM,
        infinite=("lam",),
    ),
    Case(
        gaussian.additive_lambda,
        lambda random: {"weight": 0.5},
        {"weight": "number"},
        bad={"weight": [-0.1, 1.1]},
    ),
    Case(
        gaussian.unlabelled_factor,
        lambda random: {"n": 20, "p": 3, "unlabelled": 9, "form": "mixture"},
        {"n": "whole", "p": "whole", "unlabelled": "whole", "form": "choice"},
        also={"n": "n p", "p": "n p"},
    ),
]


# Mutual information and the criterion.


def of_mi(random):
    x = normal(random, 60, 2)
    return {"x": x, "y": x[:, :1] + normal(random, 60, 1), "seed": 0, "runs": 1}


def classes_of(x, random):
    return (x[:, 0] + 0.5 * normal(random, len(x)) > 0).astype(int)


def by(method, **options):
    """`estimate_mi` by one method, its value."""

    def estimate(**arguments):
        return mi.estimate_mi(
            method=method, device="cpu", **(options | arguments)
        ).value

    estimate.__name__ = f"estimate_mi_{method}"
    return estimate


def assessed(**arguments):
    found = criterion.assess(method="gaussian", runs=2, device="cpu", **arguments)
    return [found.gap, *found.gap_interval]


def piloted(**arguments):
    return criterion.pilot(folds=3, repeats=1, device="cpu", **arguments).gain.mean


def of_assess(random):
    x = normal(random, 60, 2)
    return {
        "teacher": x + normal(random, 60, 2),
        "student": x,
        "labels": classes_of(x, random),
        "seed": 0,
        "confidence": 0.875,
    }


def of_pilot(random):
    x = normal(random, 60, 2)
    return {
        "student_features": x,
        "labels": classes_of(x, random),
        "teacher_outputs": normal(random, 60, 2),
        "seed": 0,
    }


def of_slope(random):
    x = normal(random, 30, 2)
    target = x[:, 0] + normal(random, 30)
    return {"features": x, "target": target, "teacher": target + normal(random, 30)}


def outcome_of(function):
    def call(**arguments):
        found = function(**arguments)
        return [found.estimate, found.std_error, found.p_value]

    call.__name__ = function.__name__
    return call


MI_KINDS = {"x": "rows", "y": "rows", "seed": "seed", "runs": "whole"}
ASSESS_KINDS = {
    "teacher": "rows",
    "student": "rows",
    "labels": "labels",
    "seed": "seed",
    "confidence": "number",
}
SAMPLES = {"x": "x y samples", "y": "x y samples"}
ESTIMATORS = [
    Case(by("gaussian"), of_mi, MI_KINDS, also=SAMPLES, cost=2),
    Case(by("ksg"), of_mi, MI_KINDS, also=SAMPLES, cost=2),
    Case(by("mine", epochs=2), of_mi, MI_KINDS, also=SAMPLES, cost=20, tolerance=1e-4),
    Case(by("lmi", epochs=2), of_mi, MI_KINDS, also=SAMPLES, cost=20, tolerance=1e-4),
    Case(
        mi.probe_bound,
        lambda random: {
            "x": (x := normal(random, 60, 2)),
            "y": classes_of(x, random),
            "regularisation": 1.0,
            "seed": 0,
        },
        {"x": "rows", "y": "labels", "regularisation": "number", "seed": "seed"},
        bad={"regularisation": [0.0, -1.0]},
        also=SAMPLES,
        cost=5,
        tolerance=1e-6,
    ),
    Case(
        assessed,
        of_assess,
        ASSESS_KINDS,
        bad={"confidence": [0.0, 1.0, 2.0]},
        cost=10,
        tolerance=1e-6,
    ),
    Case(
        piloted,
        of_pilot,
        {
            "student_features": "rows",
            "labels": "labels",
            "teacher_outputs": "rows",
            "seed": "seed",
        },
        cost=20,
        tolerance=1e-4,
    ),
    Case(
        outcome_of(criterion.slope_test),
        of_slope,
        dict.fromkeys(("features", "target", "teacher"), "rows"),
        tolerance=1e-7,
    ),
    Case(
        outcome_of(criterion.shrinkage_test),
        lambda random: dict(
            zip(("student", "target", "teacher"), normal(random, 3, 30))
        ),
        dict.fromkeys(("student", "target", "teacher"), "rows"),
        tolerance=1e-7,
    ),
]


@pytest.mark.parametrize("case", GAUSSIAN, ids=lambda case: case.call.__name__)
def test_gaussian(case):
    fuzz(case)


@pytest.mark.parametrize("case", ESTIMATORS, ids=lambda case: case.call.__name__)
def test_estimators_and_criterion(case):
    fuzz(case)
