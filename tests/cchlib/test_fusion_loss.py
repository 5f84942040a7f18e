"""fusion_distillation_loss against a value worked out by hand, and in its limits."""

import math

import pytest
import torch

from cchlib.losses import cross_entropy, distillation_loss, fusion_distillation_loss
from cchlib.models import FusionNetwork
from cchlib.training import Stack, fit


def hand_worked() -> tuple[torch.Tensor, torch.Tensor, float]:
    """One sample, two classes, λ = 0.25, T = 2, w = 0.5, label 1.

    joint (0, ln 3): softmax (1/4, 3/4), CE = ln(4/3). teacher (0, 2 ln 4): softmax
    (1/17, 16/17), CE = ln(17/16), at T = 2 (1/5, 4/5). student (0, 0): CE = ln 2, at
    any T (1/2, 1/2). KL = 1/5 ln(2/5) + 4/5 ln(8/5).
    """
    logits = torch.tensor(
        [[[0.0, math.log(3)], [0.0, 2 * math.log(4)], [0.0, 0.0]]], dtype=torch.float64
    )
    kl = 0.2 * math.log(0.4) + 0.8 * math.log(1.6)
    ce = math.log(4 / 3) + 0.5 * (math.log(17 / 16) + math.log(2))
    return logits, torch.tensor([1]), 0.75 * ce + 0.25 * 4 * kl


def test_the_value_worked_out_by_hand():
    logits, labels, value = hand_worked()
    assert fusion_distillation_loss(
        logits, labels, 0.25, 2.0, 0.5
    ).item() == pytest.approx(value, rel=1e-12)


def test_a_mean_over_the_batch():
    logits, labels, value = hand_worked()
    loss = fusion_distillation_loss(
        logits.repeat(7, 1, 1), labels.repeat(7), 0.25, 2.0, 0.5
    )
    assert loss.item() == pytest.approx(value, rel=1e-12)


def test_without_teacher_it_is_direct_fusion():
    logits, labels = (
        torch.randn(20, 3, 4, generator=torch.manual_seed(0)),
        torch.arange(20) % 4,
    )
    direct = fusion_distillation_loss(logits, labels, 0.0, 3.0, head_weight=0.0)
    assert torch.equal(direct, cross_entropy(logits[:, 0], labels))


def test_equal_joint_and_student_logits_give_equation_2():
    logits, labels = (
        torch.randn(20, 3, 4, generator=torch.manual_seed(1)),
        torch.arange(20) % 4,
    )
    logits[:, 0] = logits[:, 2]
    loss = fusion_distillation_loss(logits, labels, 0.3, 2.0, head_weight=0.0)
    torch.testing.assert_close(
        loss, distillation_loss(logits[:, 2], logits[:, 1], labels, 0.3, 2.0)
    )


def test_no_gradient_of_the_imitation_reaches_the_teachers_head():
    logits = torch.randn(9, 3, 2, generator=torch.manual_seed(2)).requires_grad_()
    fusion_distillation_loss(logits, torch.arange(9) % 2, 1.0, 2.0).backward()
    assert torch.equal(logits.grad[:, :2], torch.zeros(9, 2, 2))
    assert logits.grad[:, 2].abs().sum() > 0


def test_a_stack_with_its_own_parameters_equals_the_loop():
    logits = torch.randn(
        3, 8, 3, 4, generator=torch.manual_seed(3), dtype=torch.float64
    )
    labels = (torch.arange(24) % 4).reshape(3, 8)
    lam, temperature, weight = torch.tensor(
        [[0.0, 0.5, 1.0], [1.0, 4.0, 2.0], [0.0, 1.0, 0.3]]
    )
    stack = fusion_distillation_loss(logits, labels, lam, temperature, weight)
    loop = [
        fusion_distillation_loss(
            logits[s], labels[s], lam[s].item(), temperature[s].item(), weight[s].item()
        )
        for s in range(3)
    ]
    torch.testing.assert_close(stack, torch.stack(loop), rtol=1e-6, atol=0)


def test_it_trains_the_fusion_network_in_a_stack():
    generator = torch.manual_seed(4)
    x = torch.randn(60, 7, generator=generator)
    labels = (x[:, 0] + x[:, 5] > 0).long()
    networks = [FusionNetwork(4, 3, 2, seed=seed) for seed in range(2)]
    lam = torch.tensor([0.0, 0.5])
    history = fit(
        networks,
        x,
        labels,
        lambda out, y: fusion_distillation_loss(out, y, lam.to(out), 2.0),
        epochs=40,
        lr=0.01,
        seeds=[0, 1],
        device="cpu",
    )
    assert (history.loss[-1] < history.loss[0] / 2).all()
    assert Stack(networks)(x).shape == (2, 60, 3, 2)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"logits": torch.zeros(5, 2)}, "logits"),
        ({"logits": torch.zeros(5, 2, 2)}, "logits"),
        ({"logits": torch.full((5, 3, 2), float("nan"))}, "logits"),
        ({"labels": torch.full((5,), 2)}, "labels"),
        ({"lam": 1.1}, "lam"),
        ({"lam": -0.1}, "lam"),
        ({"temperature": 0.0}, "temperature"),
        ({"head_weight": -1.0}, "head_weight"),
        ({"head_weight": float("nan")}, "head_weight"),
    ],
)
def test_bad_input_is_named(change, named):
    good = {
        "logits": torch.zeros(5, 3, 2),
        "labels": torch.zeros(5, dtype=torch.long),
        "lam": 0.5,
        "temperature": 1.0,
    }
    with pytest.raises(ValueError, match=named):
        fusion_distillation_loss(**(good | change))
