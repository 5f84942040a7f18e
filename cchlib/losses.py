"""Distillation losses: Eq. 2 (classification) and Eq. 4 (regression).

Every loss takes its samples along the last axis but one, so that a stack of networks is
one more leading axis: (n, K) gives a scalar, (S, n, K) gives S losses, one a network.
Arrays are tensors or NumPy's; losses are tensors. `lam` and `temperature` may be
numbers or tensors of the leading shape, one value a network. Half precision is computed
in float32: T² alone leaves float16 at T = 256.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from cchlib import check

FEW_CLASSES = 16


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    lam: float | Tensor,
    temperature: float | Tensor,
) -> Tensor:
    """Cross-modal distillation loss, Eq. 2 of the paper (Hinton et al., 2015).

    ``(1 - λ) CE(y, softmax(s)) + λ T² KL(softmax(t / T) ‖ softmax(s / T))``, each term
    a mean over the batch and in nats; the KL divergence sums over the classes.

    Parameters
    ----------
    student_logits, teacher_logits : Tensor (..., n, K)
        Pre-softmax outputs. No gradient flows into the teacher.
    labels : integer Tensor (..., n)
        Class indices in [0, K).
    lam : float or Tensor (...)
        λ in [0, 1], the weight of the teacher.
    temperature : float or Tensor (...)
        T > 0.

    Returns
    -------
    Tensor (...)
        One loss for each leading index; a scalar for (n, K).

    Raises
    ------
    ValueError
        On shapes that do not agree, an empty batch, NaN or infinite logits, labels
        outside [0, K), λ outside [0, 1], T ≤ 0, or one of these two of another shape
        than the leading one.
    """
    check.within("lam", lam, 0.0, 1.0)
    check.within("temperature", temperature, 0.0, open_low=True)
    ce = cross_entropy(student_logits, labels)
    kl = _soft_target_divergence(student_logits, teacher_logits, temperature, ce)
    lam, temperature = _like("lam", lam, ce), _like("temperature", temperature, ce)
    return _weighted(1 - lam, ce) + _weighted(lam * temperature**2, kl)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """CE(y, softmax(z)) in nats, mean over the samples: logits (..., n, K), labels
    (..., n) -> (...).
    """
    logits = _finite("student_logits", logits)
    labels = check.as_tensor("labels", labels, logits.device)
    if logits.ndim < 2:
        raise ValueError(
            f"`student_logits` must have shape (..., n, K), got {tuple(logits.shape)}"
        )
    if labels.is_floating_point() or labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"`labels` must be class indices of shape {tuple(logits.shape[:-1])}, got "
            f"{labels.dtype} of shape {tuple(labels.shape)}"
        )
    classes = logits.shape[-1]
    if check.looks_at(labels) and not bool(((labels >= 0) & (labels < classes)).all()):
        raise ValueError(
            f"`labels` must be class indices in [0, {classes}), got one outside"
        )
    picked = _log_softmax(logits).gather(-1, labels.long().unsqueeze(-1))
    return -picked.squeeze(-1).mean(-1)


def squared_error(output: Tensor, target: Tensor) -> Tensor:
    """‖output − target‖², mean over the samples; shapes as in
    `regression_distillation_loss`.
    """
    return _mean_square(_equal("output", output, "target", target))


def regression_distillation_loss(
    student: Tensor,
    teacher: Tensor,
    target: Tensor,
    lam: float | Tensor,
    form: str = "additive",
) -> Tensor:
    """Regression distillation loss, Eq. 4 of the paper, as a mean over the samples.

    ``additive``: ``mean ‖y − s‖² + λ mean ‖s − t‖²`` with λ ≥ 0, as printed;
    ``convex``: ``(1 − λ) mean ‖y − s‖² + λ mean ‖s − t‖²`` with λ in [0, 1], as
    Eq. 2.
    The convex form at λ' = λ / (1 + λ) is the additive form at λ divided by 1 + λ.

    Parameters
    ----------
    student, teacher, target : Tensor (n,), (n, q) or (..., n, q)
        Outputs of the student and of the teacher, and the regression target, of equal
        shapes: (n, 1) with (n,) would broadcast to (n, n) and is refused.
    lam : float or Tensor (...)
    form : {"additive", "convex"}

    Returns
    -------
    Tensor (...)
        In squared units of the target.

    Raises
    ------
    ValueError
        On unequal shapes, NaN or infinity, λ out of range, an unknown form.
    """
    check.one_of("form", form, ("additive", "convex"))
    most = 1.0 if form == "convex" else float("inf")
    check.within("lam", lam, 0.0, most)
    frozen = _tensor("teacher", teacher).detach()
    label = _mean_square(_equal("student", student, "target", target))
    imitation = _mean_square(_equal("student", student, "teacher", frozen))
    lam = _like("lam", lam, label)
    if form == "convex":
        label = (1 - lam) * label
    return label + lam * imitation


def fusion_distillation_loss(
    logits: Tensor,
    labels: Tensor,
    lam: float | Tensor,
    temperature: float | Tensor,
    head_weight: float | Tensor = 1.0,
) -> Tensor:
    """Loss of Fusion+KD (Figure 3, Table 18), which the paper draws but doesn't write
    down.

    ``(1 - λ) [CE(y, joint) + w (CE(y, teacher) + CE(y, student))]
    + λ T² KL(softmax(t / T) ‖ softmax(s / T))``: Eq. 2 with the fused prediction in the
    place of the student's, and t, s the logits of the two modality heads. Both encoders
    train together; the heads learn from the labels (w), the student's from the
    teacher's as well. Direct fusion is λ = 0: with the same w the two differ in the
    distillation alone, with w = 0 it is the cross-entropy of the joint head.

    Parameters
    ----------
    logits : Tensor (..., n, 3, K)
        As `models.FusionNetwork` gives them: joint, teacher's head, student's head. No
        gradient of the KL term flows into the teacher's head.
    labels : integer Tensor (..., n)
    lam : float or Tensor (...)
        λ in [0, 1].
    temperature : float or Tensor (...)
        T > 0.
    head_weight : float or Tensor (...)
        w ≥ 0. With w = 0 and λ > 0 the student would imitate a head that nothing
        teaches.

    Returns
    -------
    Tensor (...)
        In nats, a mean over the samples.

    Raises
    ------
    ValueError
        On logits without the three blocks, and as `distillation_loss` does.
    """
    check.within("lam", lam, 0.0, 1.0)
    check.within("temperature", temperature, 0.0, open_low=True)
    check.within("head_weight", head_weight, 0.0)
    logits = _tensor("logits", logits)
    if logits.ndim < 3 or logits.shape[-2] != 3:
        raise ValueError(
            "`logits` must have shape (..., n, 3, K), the joint, the teacher's and "
            f"the student's, got {tuple(logits.shape)}"
        )
    joint, teacher, student = logits.unbind(-2)
    ce = cross_entropy(joint, labels)
    heads = cross_entropy(teacher, labels) + cross_entropy(student, labels)
    kl = _soft_target_divergence(student, teacher, temperature, ce)
    lam = _like("lam", lam, ce)
    temperature = _like("temperature", temperature, ce)
    head_weight = _like("head_weight", head_weight, ce)
    labelled = ce + _weighted(head_weight, heads)
    return _weighted(1 - lam, labelled) + _weighted(lam * temperature**2, kl)


def _soft_target_divergence(
    student_logits: Tensor,
    teacher_logits: Tensor,
    temperature: float | Tensor,
    losses: Tensor,
) -> Tensor:
    """KL(softmax(t / T) ‖ softmax(s / T)) in nats, summed over classes, mean over
    samples; one value for each of the `losses`.
    """
    # as it was given: once it is on the device of the losses, one waits for that
    cold = bool((check.as_array("temperature", temperature) < 1).any())
    temperature = _like("temperature", temperature, losses)
    student_logits = _tensor("student_logits", student_logits)
    teacher_logits = _finite(
        "teacher_logits", teacher_logits, student_logits.device
    ).detach()
    if teacher_logits.shape != student_logits.shape:
        raise ValueError(
            "`teacher_logits` must have the shape of `student_logits`, "
            f"{tuple(student_logits.shape)}, got {tuple(teacher_logits.shape)}"
        )
    log_p = _tempered(teacher_logits, temperature, cold)
    log_q = _tempered(student_logits, temperature, cold)
    p = log_p.exp()
    terms = p * (log_p - log_q)
    # 0 log 0 = 0: a class that is masked with the lowest number may have log p = -inf
    terms = torch.where(p > 0, terms, torch.zeros_like(terms))
    return terms.sum(-1).mean(-1)


def _log_softmax(logits: Tensor) -> Tensor:
    """Along the classes. Torch's kernel for the last axis takes one sample at a time,
    which for a handful of classes is up to ten times as slow as going along the
    samples.
    """
    if logits.shape[-1] < FEW_CLASSES and logits.device.type == "cpu":
        return F.log_softmax(logits.mT, -2).mT
    return F.log_softmax(logits, -1)


def _tempered(logits: Tensor, temperature: Tensor, cold: bool) -> Tensor:
    """The log of softmax(z / T), also where z / T is beyond the largest number, as it
    may be where a temperature is `cold`, below 1.
    """
    scale = temperature[..., None, None] if temperature.ndim else temperature
    if cold:
        logits = logits - logits.amax(-1, keepdim=True)
    return _log_softmax(logits / scale)


def _weighted(weight: Tensor, value: Tensor) -> Tensor:
    """Weight × value, where a weight of 0 leaves nothing of an infinite value."""
    return torch.where(weight == 0, torch.zeros_like(value), weight * value)


def _like(name: str, value: float | Tensor, losses: Tensor) -> Tensor:
    """`value` as a number, or one for each of the `losses`."""
    value = torch.as_tensor(value, dtype=losses.dtype, device=losses.device)
    if value.ndim and value.shape != losses.shape:
        raise ValueError(
            f"`{name}` must be a number, or one a network, {tuple(losses.shape)}, got "
            f"shape {tuple(value.shape)}"
        )
    return value


def _tensor(name: str, value: Tensor, device: torch.device | None = None) -> Tensor:
    """A tensor of floating-point numbers, from NumPy's arrays and from integers as
    well, in float32 at least.
    """
    value = check.as_tensor(name, value, device)
    if not value.is_floating_point():
        return value.to(torch.get_default_dtype())
    return value.float() if value.dtype.itemsize < 4 else value


def _finite(name: str, value: Tensor, device: torch.device | None = None) -> Tensor:
    value = _tensor(name, value, device)
    if value.numel() == 0:
        raise ValueError(
            f"`{name}` must have at least one sample, got shape {tuple(value.shape)}"
        )
    check.all_finite(name, value, " (has training diverged?)")
    return value


def _equal(name: str, value: Tensor, other_name: str, other: Tensor) -> Tensor:
    """Value − other, refusing to broadcast."""
    value = _tensor(name, value)
    other = _tensor(other_name, other, value.device)
    if value.shape != other.shape:
        raise ValueError(
            f"`{other_name}` must have the shape of `{name}`, {tuple(value.shape)}, "
            f"got {tuple(other.shape)}"
        )
    if value.ndim == 0:
        raise ValueError(
            f"`{name}` must have shape (n,) or (..., n, q), got a single number"
        )
    _finite(name, value)
    _finite(other_name, other)
    return value - other


def _mean_square(residual: Tensor) -> Tensor:
    """(n,) or (..., n, q) -> (...): squares summed over the outputs, mean over the
    samples.
    """
    square = residual.square()
    return square.mean() if square.ndim == 1 else square.sum(-1).mean(-1)
