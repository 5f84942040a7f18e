"""Criteria that compete with the CCH, computed on the same held-out outputs and
representations.

Each is a number that is meant to be positive where distillation helps, so that all can
be set against the gain in the same way; `shared_information`, `agreement`, `cka`,
`logme`, `teacher_size`, `label_information_of_both` and `decision_information` have no
natural zero and are only ranked. None but the tests
of the theory chapter is a theorem, and those only for least squares.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cchdecide.decision import independent_columns
from cchdecide.transfer import logme
from cchlib import check
from cchlib.criterion import (
    decision_information,
    shared_label_information,
    shrinkage_test,
    slope_test,
)
from cchlib.gaussian import predicted_gain, residual_correlation
from cchlib.mi import probe_bound

#: logged since 2026-11-26; older records lack them
LATER = (
    "slope_test",
    "shrinkage_test",
    "logme",
    "teacher_size",
    "label_information_of_both",
    "decision_information",
)
NAMES = (
    "teacher_advantage",
    "residual_test",
    "variance_test",
    "predicted_gain",
    "shared_information",
    "agreement",
    "cka",
    *LATER,
)


def rival_criteria(
    teacher_output: Any,
    student_output: Any,
    labels: Any,
    teacher_features: Any,
    student_features: Any,
    *,
    imitator_output: Any = None,
    lam: float = 1.0,
    teacher_network: Any = None,
) -> dict[str, float]:
    """All rivals of the CCH for one teacher and one student trained without it, on
    held-out samples.

    Parameters
    ----------
    teacher_output, student_output, imitator_output : arrays
        Logits (n, K), or predictions (n,) or (n, 1). Of the teacher on what it sees
        while distilling (blurred, noised), of the student trained from labels alone,
        and of a student trained from the teacher's outputs alone (optional).
    labels : (n,) integers for logits, floats for predictions
    teacher_features, student_features : (n, h)
    lam : float
        Weight for `predicted_gain`: λ ≥ 0 of Eq. 4. For Eq. 2's λ pass
        `gaussian.additive_lambda(λ)`.
    teacher_network : torch module, optional
        For ``teacher_size``.

    Returns
    -------
    dict
        ``teacher_advantage``: accuracy of the teacher less the student's; for
        regression the student's mean squared error less the teacher's.
        ``residual_test``: mean of (y − S)·(y − T), traced over one-hot residuals for
        classes (Eq. 17 in its plainest form).
        ``variance_test``: tr Var(y | S) − tr Var(T | S), each from the linear
        regression on S. ``predicted_gain`` (nan without an imitator).
        ``shared_information``: of what the two outputs together say about the label,
        the share that each says alone (`shared_label_fraction`).
        ``agreement``: share of samples on which both decide alike, or the outputs'
        correlation; ``cka``: linear centred kernel alignment of the representations
        (Kornblith et al., 2019), in [0, 1]. The theory's two tests as `decide` puts
        them: ``slope_test``, the estimate 1 − c/σ² for a linear head on the
        student's features, of the clearest class; ``shrinkage_test``, the partial
        correlation of the outputs given the label; nan where they can't be had.
        ``logme`` of the teacher's features for the label (You et al., 2021).
        ``teacher_size``: the number of the teacher's parameters (nan without a
        network). The two finite quantities beside I(H1; H2), in nats
        (`cchlib.criterion.shared`): ``label_information_of_both``, of the
        representations and the label; ``decision_information``, of the classes that
        both decide for (nan for regression).

    Raises
    ------
    ValueError
        On unequal numbers of samples, NaN or infinity, or labels that are not classes
        of the logits.
    """
    teacher = check.features("teacher_output", teacher_output)
    student = check.features("student_output", student_output)
    h1 = check.features("teacher_features", teacher_features)
    h2 = check.features("student_features", student_features)
    y = check.as_array("labels", labels)
    check.same_length(
        teacher_output=teacher,
        student_output=student,
        labels=y,
        teacher_features=h1,
        student_features=h2,
    )
    imitator = None
    if imitator_output is not None:
        imitator = check.features("imitator_output", imitator_output)
    if teacher.shape[1] > 1:
        whole = np.issubdtype(y.dtype, np.integer)
        if not whole or y.min() < 0 or y.max() >= teacher.shape[1]:
            raise ValueError(
                f"labels must be classes in [0, {teacher.shape[1]}) of the logits; "
                f"{y.dtype} was given"
            )
        by_teacher = teacher.argmax(1)
        by_student = student.argmax(1)
        advantage = (by_teacher == y).mean() - (by_student == y).mean()
        agreement = (by_teacher == by_student).mean()
        decided, _ = decision_information(by_teacher, by_student)
        y = np.eye(teacher.shape[1])[y]
        teacher = _softmax(teacher)
        student = _softmax(student)
        if imitator is not None:
            imitator = _softmax(imitator)
    else:
        y = check.features("labels", y)
        advantage = ((y - student) ** 2).mean() - ((y - teacher) ** 2).mean()
        agreement = np.nan
        decided = np.nan
        if check.varies(teacher).all() and check.varies(student).all():
            agreement = np.corrcoef(teacher[:, 0], student[:, 0])[0, 1]
    gain = np.nan
    if imitator is not None:
        gain = float(predicted_gain(y, student, imitator, lam)[0])
    residual, _ = residual_correlation(y, student, teacher)
    shared = shared_label_fraction(teacher_output, student_output, labels)
    size = np.nan
    if teacher_network is not None:
        size = float(sum(part.numel() for part in teacher_network.parameters()))
    return {
        "teacher_advantage": float(advantage),
        "residual_test": float(residual),
        "variance_test": _unexplained(y, student) - _unexplained(teacher, student),
        "predicted_gain": float(gain),
        "shared_information": shared,
        "agreement": float(agreement),
        "cka": linear_cka(h1, h2),
        "slope_test": _slope(h2, y, teacher),
        "shrinkage_test": _beyond_shrinkage(student, y, teacher),
        "logme": _evidence(h1, labels),
        "teacher_size": size,
        "label_information_of_both": _known_to_both(h1, h2, labels),
        "decision_information": decided,
    }


def _slope(features: np.ndarray, y: np.ndarray, teacher: np.ndarray) -> float:
    """The estimate of the slope test of the class where it is clearest."""
    x = independent_columns(features)
    columns = range(1 if y.shape[1] == 2 else y.shape[1])  # two classes are one
    tests = []
    for k in columns:
        try:
            tests.append(slope_test(x, y[:, k], teacher[:, k], intercept=True))
        except ValueError:  # too few samples, or a class that isn't there
            continue
    if not tests:
        return float("nan")
    return float(min(tests, key=lambda test: test.p_value).estimate)


def _known_to_both(h1: np.ndarray, h2: np.ndarray, labels: Any) -> float:
    try:
        return shared_label_information(h1, h2, labels, splits=0, repeats=0).value
    except ValueError:  # too few samples, of a class or for so many columns
        return float("nan")


def _evidence(features: np.ndarray, labels: Any) -> float:
    labels = check.as_array("labels", labels)
    try:
        return logme(features, labels.reshape(len(labels), -1)[:, 0])
    except ValueError:  # a single class
        return float("nan")


def _beyond_shrinkage(student: np.ndarray, y: np.ndarray, teacher: np.ndarray) -> float:
    try:
        return float(shrinkage_test(student, y, teacher).estimate)
    except ValueError:  # an output that is constant, or determined by the label
        return float("nan")


def shared_label_fraction(
    teacher_output: Any, student_output: Any, labels: Any
) -> float:
    """Of the label information that teacher and student hold together, the share that
    both hold.

    ``(I(T;Y) + I(S;Y) − I(T,S;Y)) / I(T,S;Y)``, the quantity behind the modality
    focusing hypothesis (Xue et al., 2023, who split features by hand) written with
    co-information: 1 where each knows what the other knows, 0 where they know different
    things, below 0 where only together they know anything.

    Parameters
    ----------
    teacher_output, student_output : (n, K) logits, or (n,) or (n, 1) predictions
        Held out.
    labels : (n,) integers for logits, floats for predictions

    Returns
    -------
    float
        For classes each information is the bound of a logistic regression on the
        outputs' log-probabilities (`probe_bound`, two folds); for one number it is −½
        ln(1 − R²), the Gaussian's. nan where the outputs together say nothing that
        could be measured, or a class has a single sample.

    Raises
    ------
    ValueError
        As `rival_criteria`.
    """
    teacher = check.features("teacher_output", teacher_output)
    student = check.features("student_output", student_output)
    y = check.as_array("labels", labels)
    check.same_length(teacher_output=teacher, student_output=student, labels=y)
    if teacher.shape[1] == 1:
        y = check.features("labels", y)

        def known(given: np.ndarray) -> float:
            return -0.5 * np.log(_unexplained(y, given) / y.var())
    else:
        _, counts = np.unique(y, return_counts=True)
        if counts.min() < 2:
            return float("nan")
        teacher = np.log(_softmax(teacher) + 1e-12)
        student = np.log(_softmax(student) + 1e-12)

        def known(given: np.ndarray) -> float:
            bound, _ = probe_bound(given, y, folds=2)
            return bound

    both = known(np.hstack((teacher, student)))
    if both <= 0:
        return float("nan")
    return float((known(teacher) + known(student) - both) / both)


def linear_cka(x: Any, y: Any) -> float:
    """Linear centred kernel alignment of (n, p) with (n, q): ‖xᵀy‖² / (‖xᵀx‖ ‖yᵀy‖),
    columns centred.

    Kornblith et al. (2019), Eq. 2. Invariant to rotations and to one scale; nan for
    constant features.
    """
    x = check.features("x", x)
    y = check.features("y", y)
    check.same_length(x=x, y=y)
    if not (check.varies(x).any() and check.varies(y).any()):
        return float("nan")
    x = x - x.mean(0)
    y = y - y.mean(0)
    scale = np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y)
    return float(np.linalg.norm(x.T @ y) ** 2 / scale)


def _softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _unexplained(target: np.ndarray, given: np.ndarray) -> float:
    """Tr Var(target | given): mean square of the residuals of the linear regression
    with intercept.
    """
    design = np.column_stack((np.ones(len(given)), given))
    weights, _, _, _ = np.linalg.lstsq(design, target, rcond=None)
    residual = target - design @ weights
    return float((residual**2).sum(1).mean())
