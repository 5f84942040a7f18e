"""The losses against values worked out by hand, against PyTorch's own, and on bad
input.
"""

import math

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from cchlib.losses import (
    cross_entropy,
    distillation_loss,
    fusion_distillation_loss,
    regression_distillation_loss,
    squared_error,
)

LN2, LN3 = math.log(2), math.log(3)


def test_distillation_loss_by_hand():
    """Two classes, logits that are multiples of ln 3, so that every probability is a
    fraction.

    Student (0, 0): softmax (1/2, 1/2) at every T. Teacher (2 ln 3, 0): at T = 2 softmax
    (3/4, 1/4). Label 0. CE = ln 2. KL = 3/4 ln(3/2) + 1/4 ln(1/2) = 3/4 ln 3 - ln 2.
    Second sample: teacher (0, 0), KL = 0, CE = ln 2.
    """
    student = torch.zeros(2, 2, dtype=torch.float64)
    teacher = torch.tensor([[2 * LN3, 0.0], [0.0, 0.0]], dtype=torch.float64)
    loss = distillation_loss(
        student, teacher, torch.tensor([0, 1]), lam=0.25, temperature=2.0
    )
    by_hand = 0.75 * LN2 + 0.25 * 4 * (0.75 * LN3 - LN2) / 2
    assert loss.item() == pytest.approx(by_hand, rel=1e-12)


def test_distillation_loss_ends():
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)
    labels = torch.tensor([0, 1, 2, 3, 0, 1, 2])
    assert distillation_loss(
        student, teacher, labels, 0.0, 3.0
    ).item() == pytest.approx(F.cross_entropy(student, labels).item(), rel=1e-12)
    kl = F.kl_div(
        F.log_softmax(student / 3, -1),
        F.softmax(teacher / 3, -1),
        reduction="batchmean",
    )
    assert distillation_loss(
        student, teacher, labels, 1.0, 3.0
    ).item() == pytest.approx(9 * kl.item(), rel=1e-12)
    assert distillation_loss(
        teacher, teacher, labels, 1.0, 1.0
    ).item() == pytest.approx(0, abs=1e-12)


def test_no_gradient_reaches_the_teacher():
    student, teacher = (torch.ones(3, 2, requires_grad=True) for _ in range(2))
    distillation_loss(
        student, teacher * 2, torch.tensor([0, 1, 0]), 0.5, 2.0
    ).backward()
    assert teacher.grad is None
    regression_distillation_loss(student, teacher, torch.zeros(3, 2), 0.5).backward()
    assert teacher.grad is None


@given(st.integers(0, 2**20), st.lists(st.floats(0, 1), min_size=3, max_size=3))
def test_a_stack_of_losses_is_the_losses(seed, lams):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 4, (3, 5), generator=generator)
    heat = torch.tensor([1.0, 2.0, 4.5], dtype=torch.float64)
    lam = torch.tensor(lams, dtype=torch.float64)
    each = [
        distillation_loss(student[i], teacher[i], labels[i], lams[i], heat[i])
        for i in range(3)
    ]
    torch.testing.assert_close(
        distillation_loss(student, teacher, labels, lam, heat), torch.stack(each)
    )
    target = torch.randn(3, 5, 4, generator=generator, dtype=torch.float64)
    for form in ("additive", "convex"):
        each = [
            regression_distillation_loss(
                student[i], teacher[i], target[i], lams[i], form
            )
            for i in range(3)
        ]
        torch.testing.assert_close(
            regression_distillation_loss(student, teacher, target, lam, form),
            torch.stack(each),
        )


def test_regression_loss_by_hand():
    """student (1, 2), teacher (3, 2), target (0, 4): label term (1 + 4)/2, imitation (4
    + 0)/2.
    """
    student, teacher, target = (
        torch.tensor(v) for v in ([1.0, 2.0], [3.0, 2.0], [0.0, 4.0])
    )
    assert regression_distillation_loss(
        student, teacher, target, 0.3
    ).item() == pytest.approx(2.5 + 0.3 * 2)
    assert regression_distillation_loss(
        student, teacher, target, 0.3, form="convex"
    ).item() == pytest.approx(0.7 * 2.5 + 0.6)
    assert regression_distillation_loss(
        *(v[:, None] for v in (student, teacher, target)), 3.0
    ).item() == pytest.approx(8.5)
    assert squared_error(student, target).item() == pytest.approx(2.5)


@given(st.floats(0, 50))
def test_convex_form_is_the_additive_one_rescaled(lam):
    generator = torch.Generator().manual_seed(1)
    student, teacher, target = torch.randn(
        3, 6, generator=generator, dtype=torch.float64
    )
    additive = regression_distillation_loss(student, teacher, target, lam)
    convex = regression_distillation_loss(
        student, teacher, target, lam / (1 + lam), form="convex"
    )
    torch.testing.assert_close(convex * (1 + lam), additive)


LOGITS = torch.zeros(3, 2)
LABELS = torch.tensor([0, 1, 0])


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((LOGITS, LOGITS, LABELS, -0.1, 1.0), "lam"),
        ((LOGITS, LOGITS, LABELS, 1.1, 1.0), "lam"),
        ((LOGITS, LOGITS, LABELS, np.nan, 1.0), "lam"),
        ((LOGITS, LOGITS, LABELS, 0.5, 0.0), "temperature"),
        ((LOGITS, LOGITS, LABELS, 0.5, -1.0), "temperature"),
        ((LOGITS, LOGITS[:, :1], LABELS, 0.5, 1.0), "teacher_logits"),
        ((LOGITS, LOGITS[:2], LABELS, 0.5, 1.0), "teacher_logits"),
        ((LOGITS, LOGITS, LABELS[:2], 0.5, 1.0), "labels"),
        ((LOGITS, LOGITS, LABELS.float(), 0.5, 1.0), "labels"),
        ((LOGITS, LOGITS, LABELS + 1, 0.5, 1.0), "labels"),
        ((LOGITS * np.nan, LOGITS, LABELS, 0.5, 1.0), "student_logits"),
        ((LOGITS, LOGITS + np.inf, LABELS, 0.5, 1.0), "teacher_logits"),
        ((LOGITS[0], LOGITS[0], LABELS, 0.5, 1.0), "student_logits"),
        ((LOGITS[:0], LOGITS[:0], LABELS[:0], 0.5, 1.0), "student_logits"),
        ((LOGITS, LOGITS, LABELS, torch.full((3,), 0.5), 1.0), "`lam`.*shape"),
        ((LOGITS, LOGITS, LABELS, 0.5, torch.tensor(np.inf)), "temperature"),
        ((LOGITS, LOGITS, LABELS, "0.5", 1.0), "lam"),
        ((LOGITS, LOGITS, ["a", "b", "a"], 0.5, 1.0), "`labels`.*str"),
        ((None, LOGITS, LABELS, 0.5, 1.0), "student_logits"),
        (
            (LOGITS, LOGITS.numpy() * 1j, LABELS, 0.5, 1.0),
            "`teacher_logits`.*complex",
        ),
        ((LOGITS * 1j, LOGITS, LABELS, 0.5, 1.0), "`student_logits`.*complex"),
    ],
)
def test_distillation_loss_refuses(arguments, said):
    with pytest.raises(ValueError, match=said):
        distillation_loss(*arguments)


@pytest.mark.parametrize(
    "arguments, said",
    [
        ((torch.zeros(3, 1), torch.zeros(3, 1), torch.zeros(3), 0.5), "target"),
        ((torch.zeros(3), torch.zeros(3, 1), torch.zeros(3), 0.5), "teacher"),
        ((torch.zeros(3), torch.zeros(3), torch.zeros(3), -0.5), "lam"),
        ((torch.zeros(0, 1), torch.zeros(0, 1), torch.zeros(0, 1), 0.5), "student"),
        ((torch.zeros(3), torch.zeros(3), torch.zeros(3), 1.5, "convex"), "lam"),
        ((torch.zeros(3), torch.zeros(3), torch.zeros(3), 0.5, "product"), "form"),
        ((torch.full((3,), np.nan), torch.zeros(3), torch.zeros(3), 0.5), "student"),
    ],
)
def test_regression_loss_refuses(arguments, said):
    with pytest.raises(ValueError, match=said):
        regression_distillation_loss(*arguments)


def test_cross_entropy_equals_torch():
    generator = torch.Generator().manual_seed(2)
    logits, labels = (
        torch.randn(9, 5, generator=generator),
        torch.randint(0, 5, (9,), generator=generator),
    )
    torch.testing.assert_close(
        cross_entropy(logits, labels), F.cross_entropy(logits, labels)
    )


def test_numpy_arrays_are_read_like_tensors():
    rng = np.random.default_rng(0)
    student, teacher, labels = (
        rng.standard_normal((6, 3)),
        rng.standard_normal((6, 3)),
        rng.integers(0, 3, 6),
    )
    tensors = [torch.from_numpy(part) for part in (student, teacher, labels)]
    assert float(distillation_loss(student, teacher, labels, 0.5, 2.0)) == float(
        distillation_loss(*tensors, 0.5, 2.0)
    )
    assert float(
        regression_distillation_loss(student, teacher, student + 1, 0.5)
    ) == pytest.approx(3 + 0.5 * ((student - teacher) ** 2).sum(1).mean())
    turned = [
        np.ascontiguousarray(part[::-1])[::-1] for part in (student, teacher, labels)
    ]  # views that run backwards
    assert float(distillation_loss(*turned, 0.5, 2.0)) == float(
        distillation_loss(*tensors, 0.5, 2.0)
    )
    frames = (
        pd.DataFrame(student),
        pd.DataFrame(teacher),
        pd.Series(labels.astype(np.uint16)),
    )
    assert float(distillation_loss(*frames, 0.5, 2.0)) == float(
        distillation_loss(*tensors, 0.5, 2.0)
    )
    whole = np.arange(6).reshape(3, 2)
    assert float(distillation_loss(whole, whole, [0, 1, 0], 0.5, 1.0)) == float(
        distillation_loss(
            torch.tensor(whole).float(),
            torch.tensor(whole).float(),
            torch.tensor([0, 1, 0]),
            0.5,
            1.0,
        )
    )
    with pytest.raises(ValueError, match="student_logits"):
        distillation_loss(np.full((6, 3), np.nan), teacher, labels, 0.5, 2.0)


HALF = (torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2)
KINDS = (*HALF, torch.float32, torch.float64, np.float16, np.longdouble)


def in_kind(values, kind):
    """`values` (float64) rounded to a type of torch's or NumPy's."""
    if isinstance(kind, torch.dtype):
        return values.to(kind)
    return values.numpy().astype(kind)


def in_float64(values):
    if isinstance(values, torch.Tensor):
        return values.double()
    return torch.from_numpy(values.astype(np.float64))


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0, 20.0, 300.0])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_type_gives_what_float64_gives(kind, temperature):
    """The truth is the same loss of the same (rounded) numbers in float64."""
    generator = torch.Generator().manual_seed(0)
    draw = 3 * torch.randn(4, 50, 10, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, 10, (50,), generator=generator)
    student, teacher, target, joint = (in_kind(part, kind) for part in draw)
    wide = [in_float64(part) for part in (student, teacher, target, joint)]
    # float32 loses in log p - log q what a high temperature makes them agree in
    tolerance = max(1e-6, 2e-6 * temperature)

    loss = distillation_loss(student, teacher, labels, 0.5, temperature)
    truth = distillation_loss(*wide[:2], labels, 0.5, temperature)
    assert loss.item() == pytest.approx(truth.item(), rel=tolerance)
    assert loss.dtype in (torch.float32, torch.float64)

    loss = regression_distillation_loss(student, teacher, target, 0.5)
    truth = regression_distillation_loss(*wide[:3], 0.5)
    assert loss.item() == pytest.approx(truth.item(), rel=1e-6)

    if isinstance(kind, torch.dtype):
        blocks = torch.stack([in_float64(joint), wide[1], wide[0]], 1)
        loss = fusion_distillation_loss(blocks.to(kind), labels, 0.5, temperature)
        truth = fusion_distillation_loss(blocks, labels, 0.5, temperature)
        assert loss.item() == pytest.approx(truth.item(), rel=tolerance)


def test_the_gradient_comes_back_in_the_students_own_type():
    student = torch.tensor([[1.0, -1.0]], dtype=torch.float16, requires_grad=True)
    distillation_loss(
        student, torch.zeros(1, 2), torch.tensor([0]), 0.5, 300
    ).backward()
    p = torch.softmax(torch.tensor([1.0, -1.0]), -1)
    q = torch.softmax(torch.tensor([1.0, -1.0]) / 300, -1)
    by_hand = 0.5 * (p - torch.tensor([1.0, 0.0])) + 0.5 * 300 * (q - 0.5)
    assert student.grad.dtype == torch.float16
    torch.testing.assert_close(student.grad[0].float(), by_hand, rtol=2e-3, atol=0)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
@pytest.mark.parametrize(
    "kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_classes_masked_with_the_lowest_number_count_nothing(kind, temperature):
    """A masked class has probability 0, so the loss is that without it: 0 log 0 = 0."""
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 30, 5, generator=generator).to(kind)
    labels = torch.randint(0, 4, (30,), generator=generator)
    without = distillation_loss(
        student[:, :4], teacher[:, :4], labels, 0.5, temperature
    )
    lowest = torch.finfo(kind).min
    for masked in (student, teacher):
        masked[:, 4] = lowest
    student.requires_grad_()
    loss = distillation_loss(student, teacher, labels, 0.5, temperature)
    assert loss.item() == pytest.approx(without.item(), rel=1e-5)
    loss.backward()
    assert bool(student.grad.isfinite().all()) and not student.grad[:, 4].any()


def test_a_weight_of_zero_leaves_nothing_of_an_infinite_term():
    """The student rules out what the teacher is sure of: KL is beyond float32."""
    lowest = torch.finfo(torch.float32).min
    student = torch.tensor([[0.0, lowest]])
    teacher = torch.tensor([[lowest, 0.0]])
    labels = torch.tensor([0])
    assert distillation_loss(student, teacher, labels, 1.0, 0.5).item() == math.inf
    assert distillation_loss(student, teacher, labels, 0.0, 0.5).item() == 0.0


MASKED = np.ma.array(np.zeros((3, 2)), mask=np.eye(3, 2))


@pytest.mark.parametrize("place", range(5))
def test_masked_arrays_are_refused_by_name(place):
    names = ("student_logits", "teacher_logits", "labels", "lam", "temperature")
    arguments = [LOGITS, LOGITS, LABELS, 0.5, 1.0]
    arguments[place] = MASKED if place != 2 else np.ma.array([0, 1, 0], mask=[1, 0, 0])
    with pytest.raises(ValueError, match=f"`{names[place]}` must not be masked"):
        distillation_loss(*arguments)


def test_dates_and_single_numbers_are_refused_by_name():
    dates = np.array(["2020-01-01", "NaT", "2020-01-02"], "M8[ns]")
    with pytest.raises(ValueError, match="`target`.*datetime64"):
        regression_distillation_loss(torch.zeros(3), torch.zeros(3), dates, 0.5)
    with pytest.raises(ValueError, match="`student`.*single number"):
        regression_distillation_loss(1.0, 1.0, 1.0, 0.5)
