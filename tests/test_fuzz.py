"""Every public function of cchlib, fuzzed: see tests/fuzzing.py."""

import inspect

import numpy as np
import pytest
import torch
from fuzzing import Case, fuzz

import cchdecide
import cchlib
from cchlib import criterion, gaussian, losses, mi, models, training


def named(case):
    name = case.call.__name__
    return name if name != "<lambda>" else case.name


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


def trained_together(targets, **arguments):
    """The weights of two networks of one stack, each on its own stream."""
    networks = [models.tabular_network(3, 2, seed=seed).double() for seed in (0, 1)]
    before = [weights(network).clone() for network in networks]
    try:
        training.fit(
            networks,
            targets=[targets],
            loss=losses.cross_entropy,
            device="cpu",
            epochs=2,
            **arguments,
        )
    except ValueError:
        assert all(map(torch.equal, map(weights, networks), before)), "half trained"
        raise
    return [weights(network) for network in networks]


def folded(**arguments):
    return weights(models.fold_channels(models.MLP([6, 4, 2]), **arguments))


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
        of="fit",
    ),
    Case(
        trained_together,
        lambda random: of_fit(random) | {"seeds": [3, 4]},
        {
            "x": "rows",
            "targets": "labels",
            "lr": "number",
            "batch_size": "other",
            "seeds": "other",  # one a network
        },
        bad={
            "x": [np.zeros((9, 2)), np.zeros(9), np.zeros((2, 9, 3))],
            "targets": [np.full(9, 2), np.zeros((9, 2), int), None],
            "lr": [0.0, -1.0, [0.1, 0.1], 1e300],
            "batch_size": [0, -1, 1.5, "3", True, [4], {}],
            "seeds": [[1], [1, 2, 3], [1, 2**64], [1, -1], None, -1, 1.5, "34", {}],
        },
        also={"targets": "labels", "x": "samples"},
        tolerance=1e-8,
        cost=4,
        of="fit",
    ),
    Case(
        folded,
        lambda random: {"channels": 3},
        {"channels": "whole"},
        bad={"channels": [0, 4, 7]},
        also={"channels": "channels"},
        of="fold_channels",
    ),
    Case(
        lambda device: training.resolve_device(device).type == "cpu",
        lambda random: {"device": "cpu"},
        {"device": "choice"},
        bad={"device": ["cuda:99", "tpu", "cpu:x"]},
        of="resolve_device",
    ),
    Case(
        predicted,
        of_predict,
        {"x": "array", "batch_size": "whole"},
        bad={"x": [np.zeros((9, 2)), np.zeros(9), np.zeros((0, 3))], "batch_size": [0]},
        tolerance=1e-6,
        of="predict",
    ),
    Case(
        represented,
        of_predict,
        {"x": "array", "batch_size": "whole"},
        tolerance=1e-6,
        of="features",
    ),
]


@pytest.mark.parametrize("case", LOSSES + NETWORKS, ids=named)
def test_losses_networks_and_training(case):
    fuzz(case)


# The joint Gaussian.

MODEL, W1 = gaussian.random_model(3, 2, 3)


def of_risk(random):
    return {"w1": normal(random, 2), "lam": 0.5, "kappa": 1.75}


def of_pairs(random):
    return {"w1": normal(random, 2), "n": 9, "m": 4}


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
OF_PAIRS = {"w1": "array", "n": "number", "m": "number"}
OF_W1 = (
    "beats_shrinkage",
    "cch_holds",
    "conditional_variance_condition",
    "correlation_condition",
    "distillation_helps",
    "variance_condition",
)


def coefficients(**arguments):
    found = gaussian.risk_coefficients(MODEL, **arguments)
    return [found.alpha, found.beta, found.delta]


def of_parts(random):
    names = ("along_student", "along_residual", "elsewhere", "noise")
    drawn = dict(zip(names, map(float, normal(random, 4))))
    return drawn | {"share": 0.25, "p1": 2, "p2": 3, "seed": 4}


def model_from(maker):
    def make(**arguments):
        model, w1 = maker(**arguments)
        return [model.w_star, model.noise_variance, model.teacher_star, w1]

    make.__name__ = maker.__name__
    return make


def of_moments(random):
    factor = normal(random, 3, 5)
    return {"moments": factor @ factor.T}


GAUSSIAN = [
    Case(
        gaussian.best_mixture,
        of_moments,
        {"moments": "array"},
        bad={
            "moments": [
                np.diag([1.0, -1.0, 1.0]),
                np.triu(np.ones((3, 3))),
                np.ones((2, 3)),
                np.ones(3),
                np.zeros((0, 0)),
            ]
        },
    ),
    Case(
        with_model(gaussian.effective_ridge),
        lambda random: {"kappa": 0.75, "ridge": 0.5},
        {"kappa": "number", "ridge": "number"},
        bad={"kappa": [0.0, -2.0], "ridge": [-0.5]},
    ),
    Case(
        coefficients,
        lambda random: {"w1": normal(random, 2), "kappa": 1.75},
        {"w1": "array", "kappa": "number"},
        bad=KAPPA | {"w1": [np.zeros(3), 1.0]},
        of="risk_coefficients",
    ),
    Case(
        model_from(gaussian.model_of_parts),
        of_parts,
        {
            "share": "number",
            "along_student": "number",
            "along_residual": "number",
            "elsewhere": "number",
            "noise": "number",
            "p1": "whole",
            "p2": "whole",
            "seed": "seed",
        },
        bad={"share": [-0.1, 1.1], "p1": [0], "p2": [0]},
        tolerance=1e-6,
    ),
    Case(
        model_from(gaussian.random_model),
        lambda random: {"seed": 4, "p1": 2, "p2": 3, "margin": 0.25},
        {"seed": "seed", "p1": "whole", "p2": "whole", "margin": "other"},
        bad={"p1": [0], "p2": [0], "margin": [-0.1, np.nan, "0.1", [0.1], {}]},
        tolerance=1e-6,
    ),
    Case(
        blocks,
        of_blocks,
        dict.fromkeys(("S11", "S12", "S13", "S22", "S23"), "array") | {"S33": "number"},
        bad={"S33": [-1.0], "S11": [np.diag([1.0, -1.0]), np.eye(3)]},
        also={"S12": "S11 S22", "S13": "S11 S33", "S23": "S22 S33", "S22": "S11"},
        tolerance=1e-7,
        of="JointGaussian",
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
        with_model(gaussian.pairs_excess_risk),
        lambda random: of_pairs(random) | {"lam": 0.5, "kind": "exact", "seed": 3},
        OF_PAIRS | {"lam": "number", "kind": "choice", "seed": "seed"},
        bad=LAM | {"n": [0, -3]},
        infinite=("lam",),
        also={"n": "n m", "m": "n m"},
        cost=2,
    ),
    Case(
        gaussian.pairs_coefficients,
        lambda random: {"p": 3, "lam": 0.5, "n": 9, "m": 4, "kind": "proportional"},
        {"p": "whole", "lam": "number", "n": "number", "m": "number", "kind": "choice"},
        bad=LAM,
        infinite=("lam",),
        also={"p": "p n m", "n": "n m", "m": "n m"},
    ),
    Case(
        with_model(gaussian.optimal_pairs_lambda),
        lambda random: of_pairs(random) | {"kind": "proportional"},
        OF_PAIRS | {"kind": "choice"},
        bad={"n": [0, -3]},
        also={"n": "n m", "m": "n m"},
        cost=4,
    ),
    Case(
        with_model(gaussian.helps_with_pairs),
        of_pairs,
        OF_PAIRS,
        bad={"n": [0, 3, -3]},
        also={"n": "n m", "m": "n m"},
    ),
    Case(
        with_model(gaussian.beats_shrinkage_with_pairs),
        of_pairs,
        OF_PAIRS,
        bad={"n": [0, -3]},
        also={"n": "n m", "m": "n m"},
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
        named=("y", "student", "imitator"),
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


def of_many(random):
    drawn = of_mi(random)
    return drawn | {"other": normal(random, 60, 2)}


def estimated_together(x, y, other, **arguments):
    pairs = [(x, y), (other, y)]
    found = mi.estimate_mi_many(pairs, "ksg", device="cpu", **arguments)
    return [estimate.value for estimate in found]


def collected(x1, x2, labels):
    """Of two networks, on one batch."""
    teacher, student = models.tabular_network(3, 2), models.tabular_network(2, 2)
    found = cchdecide.collect(
        teacher, student, [(x1, x2, labels)], device="cpu", progress=False
    )
    return [found.teacher, found.student, found.labels, found.teacher_output]


def of_collect(random):
    return {
        "x1": normal(random, 12, 3).astype(np.float32),
        "x2": normal(random, 12, 2).astype(np.float32),
        "labels": random.integers(0, 2, 12),
    }


GAUSSIANLY = {"method": "gaussian", "runs": 2, "device": "cpu"}


def assessed_teachers(teacher, other, **arguments):
    teachers = {"teacher": teacher, "other": other}
    found = criterion.assess_teachers(teachers, **GAUSSIANLY, **arguments)
    return [found[name].gap for name in teachers]


def ranked(teacher, other, **arguments):
    teachers = {"teacher": teacher, "other": other}
    return criterion.rank_teachers(teachers, **GAUSSIANLY, **arguments)


QUICKLY = {"cch": False, "lams": (0.5,), "temperatures": (1.0,), "device": "cpu"}


def decided(**arguments):
    found = cchdecide.decide(folds=3, repeats=1, **QUICKLY, **arguments)
    return found.table[["estimate", "low", "high"]].fillna(-1.0)


def decided_teachers(teacher, other, teacher_output, **arguments):
    found = cchdecide.decide_teachers(
        {"teacher": teacher, "other": other},
        teacher_outputs={"teacher": teacher_output},
        folds=3,
        repeats=1,
        **QUICKLY,
        **arguments,
    )
    return found.table.select_dtypes("number").fillna(-1.0)


def of_teachers(random):
    drawn = of_assess(random)
    return drawn | {"other": normal(random, 60, 2)}


def mixed_forms():
    """Probabilities among which a few rows are none."""
    shares = np.full((60, 2), 0.5)
    shares[:, 0] = np.linspace(0.1, 0.9, 60)
    shares[:, 1] = 1 - shares[:, 0]
    for row in ([0.0, 0.0], [0.5, 0.4], [1.5, -0.5], [50.0, 50.0]):
        table = shares.copy()
        table[7] = row
        yield table


MIXED = list(mixed_forms())


def of_decide(random):
    drawn = of_assess(random)
    names = ("teacher", "student", "labels", "seed", "confidence")
    kept = {name: drawn[name] for name in names}
    outputs = normal(random, 2, 60, 2)
    return kept | dict(zip(("teacher_output", "student_output"), outputs))


def assessed(**arguments):
    found = criterion.assess(method="gaussian", runs=2, device="cpu", **arguments)
    return [found.gap, *found.gap_interval]


def piloted(**arguments):
    return cchdecide.pilot(folds=3, repeats=1, device="cpu", **arguments).gain.mean


def studied(**arguments):
    """Two views distilled for real, the scores of every arm and repeat."""
    shape = dict(lams=(0.5,), temperatures=(1.0,), learning_rates=(0.05,), hidden=(3,))
    found = cchdecide.study(
        repeats=3, estimates=0, epochs=2, device="cpu", **shape, **arguments
    )
    return found.by_repeat


def of_study(random):
    x = normal(random, 60, 2)
    return {
        "teacher_view": x + normal(random, 60, 2),
        "student_view": x,
        "labels": classes_of(x, random),
        "groups": np.arange(60) // 3,
        "seed": 0,
    }


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


def of_slope_and_pairs(random):
    pairs = normal(random, 12, 2)
    told = pairs[:, 1] + normal(random, 12)
    more = {"unlabelled_features": pairs, "unlabelled_teacher": told}
    return of_slope(random) | more


def estimated_pairs(**arguments):
    found = criterion.estimate_pairs(**arguments)
    return [found.noise_variance, found.distance, found.risk(0.5, kind="first_order")]


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


SLOPE_AND_PAIRS = dict.fromkeys(
    ("features", "target", "teacher", "unlabelled_features", "unlabelled_teacher"),
    "rows",
)
MI_KINDS = {"x": "rows", "y": "rows", "seed": "seed", "runs": "whole"}
ASSESS_KINDS = {
    "teacher": "rows",
    "student": "rows",
    "labels": "labels",
    "seed": "seed",
    "confidence": "number",
}
SAMPLES = {"x": "x y samples", "y": "x y samples"}
# whichever of them does not fit the others is named
SUBJECTS = dict.fromkeys(
    ("teacher", "other", "student", "labels"), "teacher other student labels"
)
OUTPUTS = (
    "teacher_output teacher_outputs student_output student_features labels student"
)
SLOWLY = {"also": SAMPLES, "cost": 20, "tolerance": 1e-4, "of": "estimate_mi"}
ESTIMATORS = [
    *(
        Case(
            by(method),
            of_mi,
            MI_KINDS,
            also=SAMPLES,
            named=("x", "y"),
            cost=2,
            of="estimate_mi",
        )
        for method in ("gaussian", "ksg")
    ),
    Case(by("mine", epochs=2), of_mi, MI_KINDS, **SLOWLY),
    Case(by("latent", epochs=2), of_mi, MI_KINDS, **SLOWLY),
    Case(
        estimated_together,
        of_many,
        MI_KINDS | {"other": "rows"},
        also=SAMPLES | {"other": "x y samples"},
        cost=4,
        of="estimate_mi_many",
    ),
    Case(
        cchdecide.logme,
        lambda random: {
            "features": (x := normal(random, 60, 2)),
            "labels": classes_of(x, random),
        },
        {"features": "rows", "labels": "labels"},
        also={"features": "features labels", "labels": "features labels"},
        tolerance=1e-6,
    ),
    Case(
        collected,
        of_collect,
        # labels may be texts
        {"x1": "array", "x2": "array", "labels": "other"},
        bad={
            "x1": [np.zeros((11, 3), np.float32), np.zeros((0, 3), np.float32)],
            "x2": [np.zeros((11, 2), np.float32), np.zeros((0, 2), np.float32)],
            "labels": [
                None,
                3,
                {},
                np.zeros(11, int),
                np.full(12, np.nan),
                np.full(12, "NaT", "M8[s]"),
                np.ma.masked_array(np.zeros(12), np.eye(12)[0]),
            ],
        },
        also={
            "x1": "teacher_input teacher labels",
            "x2": "student_input student labels",
            "labels": "label",
        },
        tolerance=1e-6,
        cost=4,
        of="collect",
    ),
    *(
        Case(
            asked,
            of_teachers,
            ASSESS_KINDS | {"other": "rows"},
            bad={"confidence": [0.0, 1.0, 2.0]},
            also=SUBJECTS,
            cost=20,
            tolerance=1e-6,
            of=name,
        )
        for asked, name in (
            (assessed_teachers, "assess_teachers"),
            (ranked, "rank_teachers"),
        )
    ),
    Case(
        decided,
        of_decide,
        ASSESS_KINDS | {"teacher_output": "outputs", "student_output": "outputs"},
        bad={
            "confidence": [0.0, 1.0, 2.0],
            "teacher_output": [
                np.zeros((60, 3)),
                np.zeros((59, 2)),
                "text",
                1j,
                *MIXED,
            ],
            "student_output": [np.zeros((60, 3)), np.zeros((59, 2)), "text", 1j],
        },
        also=dict.fromkeys(
            ("student", "labels", "teacher_output", "student_output"), OUTPUTS
        ),
        cost=20,
        tolerance=1e-4,
        of="decide",
    ),
    Case(
        decided_teachers,
        lambda random: of_decide(random) | {"other": normal(random, 60, 2)},
        ASSESS_KINDS | {"other": "rows", "teacher_output": "outputs"},
        bad={
            "confidence": [0.0, 1.0, 2.0],
            "teacher_output": [np.zeros((60, 3)), np.zeros((59, 2)), "text", 1j],
        },
        also=dict.fromkeys(("student", "labels", "teacher_output"), OUTPUTS)
        | {"teacher": "teacher features", "other": "teacher features"},
        cost=40,
        tolerance=1e-4,
        of="decide_teachers",
    ),
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
        named=("teacher", "student", "labels"),
        cost=10,
        tolerance=1e-6,
        of="assess",
    ),
    Case(
        piloted,
        of_pilot,
        {
            "student_features": "rows",
            "labels": "labels",
            "teacher_outputs": "outputs",
            "seed": "seed",
        },
        bad={"teacher_outputs": [np.zeros((60, 3)), np.zeros((59, 2)), "text", *MIXED]},
        also={"teacher_outputs": OUTPUTS},
        named=("student_features", "labels", "teacher_outputs"),
        cost=20,
        tolerance=1e-4,
        of="pilot",
    ),
    Case(
        studied,
        of_study,
        {
            "teacher_view": "rows",
            "student_view": "rows",
            "labels": "labels",
            "groups": "other",
            "seed": "seed",
        },
        bad={"groups": [np.zeros(60), np.arange(59), np.full(60, np.nan), 3, "text"]},
        also={
            "teacher_view": "teacher labels",
            "student_view": "student labels",
            "labels": "teacher",
        },
        named=("teacher_view", "student_view", "labels", "groups"),
        cost=20,
        tolerance=1e-4,
        of="study",
    ),
    Case(
        outcome_of(criterion.slope_test),
        of_slope,
        dict.fromkeys(("features", "target", "teacher"), "rows"),
        named=("features", "target", "teacher"),
        tolerance=1e-7,
    ),
    Case(
        outcome_of(criterion.pairs_slope_test),
        lambda random: of_slope(random) | {"m": 12},
        dict.fromkeys(("features", "target", "teacher"), "rows") | {"m": "whole"},
        tolerance=1e-7,
    ),
    Case(
        outcome_of(criterion.pairs_shrinkage_test),
        lambda random: without(of_slope_and_pairs(random), "teacher"),
        without(SLOPE_AND_PAIRS, "teacher"),
        also={"features": "features unlabelled_features"},
        tolerance=1e-7,
    ),
    Case(
        estimated_pairs,
        of_slope_and_pairs,
        SLOPE_AND_PAIRS,
        also={"features": "features unlabelled_features"},
        tolerance=1e-7,
        of="estimate_pairs",
    ),
    Case(
        outcome_of(criterion.shrinkage_test),
        lambda random: dict(
            zip(("student", "target", "teacher"), normal(random, 3, 30))
        ),
        dict.fromkeys(("student", "target", "teacher"), "rows"),
        named=("student", "target", "teacher"),
        tolerance=1e-7,
    ),
]


@pytest.mark.parametrize("case", GAUSSIAN, ids=named)
def test_gaussian(case):
    fuzz(case)


@pytest.mark.parametrize("case", ESTIMATORS, ids=named)
def test_estimators_and_criterion(case):
    fuzz(case)


# What is public and not fuzzed, and why.
RESULTS = "a result: what makes it is fuzzed"
NOT_FUZZED = {
    "Assessment": RESULTS,
    "BestEpoch": "the part of `fit` that stops early; tests/cchlib/test_training.py",
    "Decision": RESULTS,
    "Dropout": "a layer, of which `MLP` is made",
    "Gain": RESULTS,
    "History": RESULTS,
    "MIEstimate": RESULTS,
    "ESTIMATORS": "a table of records",
    "Estimator": "a record; tests/cchlib/mi/test_estimators.py",
    "PairsCoefficients": RESULTS,
    "PairsEstimate": RESULTS,
    "PerNetwork": "a mark on a tensor; `fit` checks what is in it",
    "Pilot": RESULTS,
    "Ranking": RESULTS,
    "Representations": "holds arrays as they are; `collect` and `decide` check them",
    "RiskCoefficients": RESULTS,
    "SharedInformation": RESULTS,
    "decision_information": "a table of counts; tests/cchlib/test_shared.py",
    "shared_label_information": "three times `estimate_mi`, which is fuzzed",
    "Study": RESULTS,
    "study_views": "`study` of all pairs; tests/cchdecide/test_study.py",
    "Stack": "the part of `fit` that holds networks; tests/cchlib/test_training.py",
    "TeacherMoments": RESULTS,
    "HypothesisTest": RESULTS,
}


def public(module):
    """Names of a module's own functions and classes, or those that it lists."""
    if hasattr(module, "__all__"):
        return set(module.__all__)
    own = vars(module).items()
    return {
        name
        for name, value in own
        if (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
        and not name.startswith("_")
    }


def test_every_public_function_is_fuzzed_or_has_a_reason():
    modules = (cchlib, cchdecide, gaussian, mi, criterion, losses, models, training)
    names = set().union(*map(public, modules))
    names -= {module.__name__.rpartition(".")[2] for module in modules}
    fuzzed = {case.name for case in (*LOSSES, *NETWORKS, *GAUSSIAN, *ESTIMATORS)}
    assert names - fuzzed == set(NOT_FUZZED)
    assert fuzzed <= names
