"""What teacher and student share, in quantities that stay finite.

The paper compares I(H1; H2) with I(H2; Y). The second is at most H(Y); the first has no
bound where both networks compute deterministic functions of the same input: they share
which picture it is, and an estimate of it says what its method can say at most. Two
quantities ask the same question at the resolution of the label: how much both networks
know of *it*, and how much their decisions agree. They stand beside the paper's
criterion and never in its place.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from cchlib import check
from cchlib.mi import ESTIMATORS, estimate_mi_many, repeats


@dataclass(frozen=True)
class SharedInformation:
    """Information about the label that two representations both hold, in nats.

    Attributes
    ----------
    value : float
        The co-information I(H1; Y) + I(H2; Y) - I(H1, H2; Y): what both hold less what
        only both together hold. Below 0 where the latter is more.
    low, high : float
        Of what both hold, whatever way it is defined so that a part of it is no less
        than 0 (Williams and Beer, 2010): at least max(0, `value`), at most
        min(I(H1; Y), I(H2; Y)).
    i_tl, i_sl, i_both : float
        I(H1; Y), I(H2; Y), and I(H1, H2; Y).
    std_error : float
        Of `value`, by random halves; nan for methods that train networks.
    method : str
    """

    value: float
    low: float
    high: float
    i_tl: float
    i_sl: float
    i_both: float
    std_error: float = field(default=float("nan"))
    method: str = "gaussian"


def shared_label_information(
    teacher: Any,
    student: Any,
    labels: Any,
    method: str = "gaussian",
    *,
    splits: int = 10,
    seed: int = 0,
    **options: Any,
) -> SharedInformation:
    """Information about the label that teacher and student both hold.

    Parameters
    ----------
    teacher, student : array (n,) or (n, p)
        Representations of the same n held-out samples.
    labels : array (n,)
        Classes (integers, booleans or strings), or a regression target (floats).
    method : str
        Of `cchlib.mi.estimate_mi`. All three terms are by the same method, whose
        bias cancels in part. With "gaussian" and classes each is a bound from below.
    splits : int
        Random halves for the standard error; 0 for none (nan).
    seed : int
    **options
        Of the method.

    Returns
    -------
    SharedInformation

    Raises
    ------
    ValueError
        As `estimate_mi`.
    """
    check.integer("splits", splits)
    h1 = check.features("teacher", teacher)
    h2 = check.features("student", student)
    y = check.as_array("labels", labels)
    n = check.same_length(teacher=h1, student=h2, labels=y)
    codes = y if y.dtype.kind == "f" else np.unique(y, return_inverse=True)[1]
    rows = repeats.distinct_rows([h1, h2, codes.reshape(n, -1).astype(float)])
    if rows is not None:
        h1, h2, y = h1[rows], h2[rows], y[rows]

    def three(chosen: list[np.ndarray], **also: Any) -> np.ndarray:
        """I(H1; Y), I(H2; Y) and I(H1, H2; Y) on each of the chosen rows, (m, 3)."""
        pairs = []
        for part in chosen:
            one, two = h1[part], h2[part]
            for block in (one, two, np.hstack([one, two])):
                pairs.append((block, y[part]))
        found = estimate_mi_many(pairs, method, seed=seed, **options, **also)
        return np.array([one.value for one in found]).reshape(-1, 3)

    i_tl, i_sl, i_both = three([np.arange(len(h1))])[0]
    value = i_tl + i_sl - i_both
    return SharedInformation(
        value=float(value),
        low=float(max(value, 0.0)),
        high=float(max(min(i_tl, i_sl), value, 0.0)),
        i_tl=float(i_tl),
        i_sl=float(i_sl),
        i_both=float(i_both),
        std_error=_halves_error(three, len(h1), method, splits, seed),
        method=method,
    )


def _halves_error(three: Any, n: int, method: str, splits: int, seed: int) -> float:
    """Standard error of the co-information: two disjoint halves differ by twice the
    error that all samples have (as in `cchlib.criterion.assess`).
    """
    estimator = ESTIMATORS[method]
    if not splits or estimator.random or n < 4 * estimator.fewest(estimator.defaults):
        return float("nan")
    rng = np.random.default_rng(seed)
    parts = []
    for _ in range(splits):
        order = rng.permutation(n)
        parts += [order[: n // 2], order[n // 2 :]]
    try:
        found = three(parts, **estimator.without_error)
    except ValueError:  # a class that is too rare for its half
        return float("nan")
    halves = (found[:, 0] + found[:, 1] - found[:, 2]).reshape(splits, 2)
    return float(np.sqrt(np.mean((halves[:, 0] - halves[:, 1]) ** 2) / 4))


def decision_information(
    teacher_output: Any, student_output: Any
) -> tuple[float, float]:
    """I(H1; H2) at the resolution of the label: of the classes that both decide for.

    The plug-in estimate from their table of K × K counts, less its first-order bias
    (r - 1)(c - 1) / 2n with the r and c classes that are decided for (Miller, 1955); at
    most ln K.

    Parameters
    ----------
    teacher_output, student_output : (n, K) logits or probabilities, or (n,) classes
        Of the same n held-out samples.

    Returns
    -------
    value, std_error : float
        Nats; the error is that of the mean over samples (0 to the first order where
        the decisions are independent).

    Raises
    ------
    ValueError
        Unequal numbers of samples, fewer than 2, NaN or infinity.
    """
    decided = []
    for name, output in (
        ("teacher_output", teacher_output),
        ("student_output", student_output),
    ):
        array = check.as_array(name, output)
        if array.ndim == 2 and array.shape[1] > 1:
            array = check.finite(name, array).argmax(1)
        elif array.dtype.kind == "f":
            raise ValueError(
                f"`{name}` must be logits (n, K) or classes (n,), got floats of shape "
                f"{array.shape}"
            )
        decided.append(np.unique(array.reshape(len(array)), return_inverse=True)[1])
    n = check.same_length(teacher_output=decided[0], student_output=decided[1])
    if n < 2:
        raise ValueError(f"`teacher_output` must hold at least 2 samples, got {n}")
    one, two = decided
    table = np.zeros((one.max() + 1, two.max() + 1))
    np.add.at(table, (one, two), 1 / n)
    independent = table.sum(1)[one] * table.sum(0)[two]
    ratio = np.log(table[one, two] / independent)
    bias = (len(table) - 1) * (table.shape[1] - 1) / (2 * n)
    return float(ratio.mean() - bias), float(ratio.std(ddof=1) / np.sqrt(n))
