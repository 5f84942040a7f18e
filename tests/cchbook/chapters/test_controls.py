"""Controls: each takes away what the teacher says, and nothing else."""

import numpy as np
import pandas as pd
import pytest
import torch

from cchbook.chapters import controls


def test_shuffled_keeps_the_answers_and_loses_the_samples():
    outputs = torch.arange(40.0).reshape(2, 10, 2)
    mixed = controls.shuffled(outputs)
    for row, original in zip(mixed, outputs):
        assert sorted(row[:, 0].tolist()) == original[:, 0].tolist()
        torch.testing.assert_close(row[:, 1] - row[:, 0], torch.ones(10))
        assert not torch.equal(row, original)
    assert torch.equal(mixed, controls.shuffled(outputs))
    assert not torch.equal(mixed, controls.shuffled(outputs, seeds=[5, 6]))


@pytest.mark.parametrize("temperature", [1.0, 4.5])
def test_smoothing_is_as_sure_as_the_teacher_and_right(temperature):
    outputs = 3 * torch.randn(2, 50, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(50) % 4
    smooth = controls.smoothing(outputs, labels, temperature)
    told, said = ((z / temperature).softmax(-1) for z in (smooth, outputs))
    assert (told.argmax(-1) == labels).all()
    sure = said.amax(-1).mean(-1, keepdim=True).expand(2, 50)
    torch.testing.assert_close(told.amax(-1), sure)
    rest = told.sort(-1).values[..., :-1]
    torch.testing.assert_close(rest, rest[..., :1].expand_as(rest))


def test_smoothing_of_a_certain_and_of_a_clueless_teacher_is_finite():
    labels = torch.tensor([0, 1])
    for outputs in (torch.tensor([[[99.0, 0], [0, 99.0]]]), torch.zeros(1, 2, 2)):
        assert controls.smoothing(outputs, labels, 1.0).isfinite().all()
    with pytest.raises(ValueError, match="temperature"):
        controls.smoothing(torch.zeros(1, 2, 2), labels, 0.0)


def scores(**values):
    return pd.DataFrame(
        [
            {"level": 0.2, "control": name, "seed": seed, "value": value}
            for name, each in values.items()
            for seed, value in enumerate(each)
        ]
    ).replace({"control": {"kd": ""}})


def gains_of(lower_is_better=False, **values):
    """A row a seed, a column a gain."""
    found = controls.gains(scores(**values), ["level"], lower_is_better=lower_is_better)
    found = found[found["metric"] != "gain_over"]
    return found.pivot(index="seed", columns="metric", values="value")


def test_gains_by_hand():
    found = gains_of(
        plain=[0.5, 0.6], kd=[0.7, 0.7], zero=[0.6, 0.7], shuffled=[0, 0.9]
    )
    assert np.allclose(found["gain"], [0.2, 0.1])
    assert np.allclose(found["gain_over_control"], [0.1, 0.0])


def test_of_errors_the_smaller_is_the_better():
    values = dict(plain=[1.0, 1.0], kd=[0.8, 0.6], zero=[0.7, 0.9])
    found = gains_of(lower_is_better=True, **values)
    assert np.allclose(found["gain"], [0.2, 0.4])
    assert np.allclose(found["gain_over_control"], [-0.1, 0.3])


def test_the_control_is_the_one_named_beforehand_and_never_the_best():
    """Shuffled outputs are the best control here, and the plain student better still:
    the gain is over label smoothing all the same.
    """
    values = dict(plain=[0.9], kd=[0.8], smoothing=[0.6], shuffled=[0.7])
    assert np.isclose(gains_of(**values)["gain_over_control"].item(), 0.2)
    with_itself = values | dict(self_distillation=[0.5])
    assert np.isclose(gains_of(**with_itself)["gain_over_control"].item(), 0.3)


def test_without_a_named_control_there_is_no_gain_over_one():
    assert set(gains_of(plain=[0.9], kd=[0.8])) == {"gain"}
    assert set(gains_of(plain=[0.9], kd=[0.8], shuffled=[0.1])) == {"gain"}


def test_a_control_may_be_named_with_what_it_was_made_of():
    found = controls.gains(
        scores(plain=[0.5], kd=[0.9], **{"smoothing 0.0": [0.8]}), ["level"]
    )
    found = found[found["metric"] == "gain_over_control"]
    assert np.allclose(found["value"], [0.1]) and found["control"].isna().all()


def test_what_an_older_run_chose_itself_is_replaced():
    older = controls.gains(scores(plain=[0.5], kd=[0.9], zero=[0.8]), ["level"])
    chosen = older["metric"] == "gain_over_control"
    older.loc[chosen, "value"] = 9.0
    found = controls.over_named_control(older)
    found = found[found["metric"] == "gain_over_control"]
    assert np.allclose(found["value"], [0.1])
