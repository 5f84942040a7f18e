"""Groups: what a key's networks learn does not depend on the other keys."""

import pytest
import torch

from cchbook.chapters.groups import Groups, Shared
from cchlib.losses import regression_distillation_loss, squared_error
from cchlib.models import tabular_network
from cchlib.training import PerNetwork, fit, predict

SETTINGS = {"epochs": 3, "lr": 0.01, "batch_size": 8, "device": "cpu"}


@pytest.fixture
def data():
    random = torch.Generator().manual_seed(0)
    x = torch.randn(2, 20, 4, generator=random)
    teacher = torch.randn(2, 20, 1, generator=random)
    return x, teacher, x.sum(-1, keepdim=True)


def networks():
    return [tabular_network(4, seed=seed) for seed in (0, 1)]


def test_a_key_learns_as_it_would_alone(data):
    x, teacher, y = data
    groups = Groups({"plain": networks(), ("kd", 0.5): networks()})
    weights = {"lam": {"plain": 0.0, ("kd", 0.5): 0.5}}
    groups.fit(
        x, [teacher, y], regression_distillation_loss, weights=weights, **SETTINGS
    )
    answers = groups.predict(x)
    assert list(answers) == ["plain", ("kd", 0.5)]
    for key, lam in weights["lam"].items():
        alone = networks()
        fit(
            alone,
            PerNetwork(x),
            [PerNetwork(teacher), PerNetwork(y)],
            lambda out, t, y, lam=lam: regression_distillation_loss(out, t, y, lam),
            seeds=[0, 1],
            **SETTINGS,
        )
        torch.testing.assert_close(answers[key], predict(alone, PerNetwork(x)))


def test_each_key_may_see_other_data(data):
    x, _, y = data
    groups = Groups({"x": networks(), "2x": networks()})
    seen = {"x": x, "2x": 2 * x}
    groups.fit(seen, [{"x": y, "2x": -y}], squared_error, **SETTINGS)
    h = groups.features(seen)
    assert h["x"].shape == (2, 20, 64)
    one = predict(groups["2x"], PerNetwork(2 * x))
    torch.testing.assert_close(groups.predict(seen)["2x"], one)


def test_each_key_stops_on_its_own_held_out_goal(data):
    x, _, y = data
    groups = Groups({"y": networks(), "-y": networks()})
    goal = {"y": y, "-y": -y}
    settings = SETTINGS | {"epochs": 40, "patience": 3}
    groups.fit(x, [goal], squared_error, validation=[x, goal], **settings)
    alone = networks()
    seen = [PerNetwork(x), PerNetwork(-y)]
    fit(
        alone,
        PerNetwork(x),
        PerNetwork(-y),
        squared_error,
        seeds=[0, 1],
        validation=seen,
        **settings,
    )
    torch.testing.assert_close(groups.predict(x)["-y"], predict(alone, PerNetwork(x)))


def test_a_key_without_data_or_weight_is_named(data):
    x, _, y = data
    groups = Groups({"a": networks(), "b": networks()})
    with pytest.raises(ValueError, match="'b'"):
        groups.fit({"a": x}, [y], squared_error, **SETTINGS)
    with pytest.raises(ValueError, match="lam"):
        groups.fit(x, [y], squared_error, weights={"lam": {"a": 1}}, **SETTINGS)


def test_shared_data_are_those_that_every_repetition_has():
    x = torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    y = x.sum(-1, keepdim=True)
    once, copied = (Groups({"a": networks(), "b": networks()}) for _ in range(2))
    once.fit(Shared(x), [Shared(y)], squared_error, **SETTINGS)
    copied.fit(x.expand(2, -1, -1), [y.expand(2, -1, -1)], squared_error, **SETTINGS)
    answers = once.predict(Shared(x))
    for key, other in copied.predict(x.expand(2, -1, -1)).items():
        torch.testing.assert_close(answers[key], other)
