"""Controls: each takes away what the teacher says, and nothing else."""

import numpy as np
import pandas as pd
import pytest
import torch

from cchbook.chapters import controls
from cchbook.runs.best_control import over_best_control


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
    assert np.allclose(found["gain_over_control"], [0.1, 0.0])  # zero has the best mean


def test_of_errors_the_smaller_is_the_better():
    values = dict(plain=[1.0, 1.0], kd=[0.8, 0.6], zero=[0.7, 0.9])
    found = gains_of(lower_is_better=True, **values)
    assert np.allclose(found["gain"], [0.2, 0.4])
    assert np.allclose(found["gain_over_control"], [-0.1, 0.3])


def test_no_control_beats_none_and_none_is_a_control():
    found = gains_of(plain=[0.9, 0.9], kd=[0.8, 0.8], zero=[0.1, 0.1]).mean()
    assert np.isclose(found["gain_over_control"], found["gain"])
    assert set(gains_of(plain=[0.9], kd=[0.8])) == {"gain"}


def test_the_best_control_is_that_of_all_seeds_though_they_ran_apart():
    # of each seed alone another control is the best
    values = dict(plain=[0.5, 0.5], kd=[0.9, 0.9], zero=[0.8, 0.2], shuffled=[0.3, 0.6])
    table = scores(**values)
    pieces = [controls.gains(part, ["level"]) for _, part in table.groupby("seed")]
    apart = pd.concat(pieces)
    of_each = apart[apart["metric"] == "gain_over_control"]["value"]
    assert np.allclose(of_each, [0.1, 0.3])
    found = over_best_control(apart)
    found = found[found["metric"] == "gain_over_control"]
    assert np.allclose(found["value"], [0.1, 0.7]) and found["control"].isna().all()


def test_conditions_each_have_their_own_best_control():
    one = scores(plain=[0.5], kd=[0.9], zero=[0.8])
    other = scores(plain=[0.7], kd=[0.9], zero=[0.1]).assign(level=0.4)
    found = controls.gains(pd.concat([one, other]), ["level"])
    found = found[found["metric"] == "gain_over_control"].set_index("level")["value"]
    assert np.isclose(found[0.2], 0.1) and np.isclose(found[0.4], 0.2)


def test_what_an_older_run_chose_itself_stays():
    older = pd.DataFrame({"metric": ["gain_over_control"], "value": [0.1], "seed": [0]})
    pd.testing.assert_frame_equal(over_best_control(older), older)
