"""Should I distil? All criteria in one table, and a verdict by one fixed rule.

**The rows.** The pilot (it is the thing itself, on the student's frozen features); the
tests of the theory and the predicted gain; whether the teacher knows more; and the CCH.
The column `worth` says what each was worth where whole networks were distilled (chapter
11 of the book).

**The rule.** With outputs of the teacher the pilot decides. One unit is the plain
student's held-out error; `smallest` is the gain, as a share of it, below which
distilling is not worth the trouble (1 %).

- *do not distil*, where the upper end of the pilot's interval is below `smallest`: over
  the plain student, or over label smoothing at matched confidence, or, if the
  student's own outputs are given, over a student that is its own teacher.
- otherwise *distil*, where the pilot says so: p ≤ (1 − confidence)/4 over the plain
  student **and** over label smoothing; or where the theory says so: the shrinkage test
  **and** the predicted gain have p ≤ (1 − confidence)/4 and the pilot's estimate over
  label smoothing is positive. In both cases the estimate over a student that is its own
  teacher has to be positive too.
- otherwise *undecided*, with the number of subjects at which an interval that shrinks
  like 1/√n around the same estimates would decide.

So a teacher that is not better than label smoothing is recommended in at most (1 −
confidence)/2 of the cases, a quarter of 1 − confidence by either way. The other rows
are reported beside it. The verdict is of *heads on frozen features*, and says so: on
real networks no row did more good than both always and never distilling. `study` trains
the networks. Without outputs, of the rows only the CCH can be asked, and its
verdict is the verdict, and said to be of features alone.

**Pairs.** With rows that nobody labelled (`pairs`) the question is whether to distil on
those too, and the rule is the same: the pilot's heads and its controls see them
(`cchdecide.heads`), a student that is its own teacher is self-training on them and is
always asked, and the theory's two rows are the tests at r = (n + m)/n, all rows over
the labelled ones. The CCH and `worth` know nothing of pairs, and it is said so.

**What can't be recommended.** A teacher that *is* the label: (1 − λ)y + λy = y, so that
exactly nothing is gained; the verdict says so. One that says no more than follows from
the label: that is label smoothing, and over it exactly nothing is gained. A copy of the
student: what it says the student says already. A teacher that knows the *law* of the
label, the probabilities or the mean from which it is drawn, is another matter: it takes
the label's noise out of what the student learns from, and is recommended where that
noise costs the student more than `smallest`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pandas as pd
from scipy import stats

from cchdecide.collecting import Representations
from cchdecide.heads import LAMS, TEMPERATURES, Gain, Pilot, _over_folds, pilot
from cchdecide.outputs import (
    Target,
    classes_in_headers,
    columns_of,
    forms_of,
    outputs_of,
    predictions_of,
    target_of,
)
from cchdecide.report import Decision, Ranking
from cchdecide.transfer import logme
from cchdecide.unlabelled import OUTPUT, arrays_of
from cchdecide.worth import worth_of
from cchlib import check
from cchlib.ambient import own_state
from cchlib.criterion.cch import Assessment, assess, assess_teachers, between
from cchlib.criterion.pairs import pairs_slope_test
from cchlib.criterion.slope import HypothesisTest, shrinkage_test, slope_test
from cchlib.gaussian import additive_lambda, best_mixture
from cchlib.mi import ESTIMATORS
from cchlib.mi.repeats import records_of
from cchlib.names import groups_of, has_row_names, joined, match_rows

#: share of the plain student's error below which a gain is not worth having
SMALLEST = 0.01
#: a teacher so near to the label, in its standard deviations, says the label itself
SAME = 1e-6
#: wider representations are reduced to so many principal components for the CCH
COMPONENTS = 64
#: the reason of the row that was not asked for
LEFT_OUT = "the CCH: it was left out"
#: what the verdict is of: a whole network may do what its last layer cannot
OF_HEADS = "; this is of linear heads on the student's frozen features."
#: an undecided answer names no number of subjects beyond this multiple of those given
MOST_TIMES = 100

QUESTIONS = {
    "teacher_better": "Does the teacher know more than the student?",
    "slope_test": "Theory: does a little distilling help (Eq. 17)?",
    "shrinkage_test": "Theory: does it help beyond shrinking?",
    "predicted_gain": "How much, at the best λ, by two heads?",
    "pilot": "Pilot: gain over the plain student",
    "pilot_over_smoothing": "Pilot: gain over label smoothing",
    "pilot_over_itself": "Pilot: gain over the student as its own teacher",
    "pilot_accuracy": "Pilot: gain in accuracy over the plain student",
    "cch": "CCH: I(H1;H2) − I(H2;Y)",
}
#: what they are where rows without a label are heard too
WITH_PAIRS = QUESTIONS | {
    "slope_test": "Theory: does a little distilling help, with the pairs?",
    "shrinkage_test": "Theory: does it help beyond shrinking, with the pairs?",
    "pilot_over_smoothing": "Pilot: gain over label smoothing with the pairs",
    "pilot_over_itself": "Pilot: gain over self-training on the pairs",
}


@own_state()
def decide(
    teacher: Any,
    student: Any = None,
    labels: Any = None,
    *,
    teacher_output: Any = None,
    student_output: Any = None,
    pairs: tuple[Any, ...] | None = None,
    method: str = "latent",
    runs: int = 5,
    cch: bool = True,
    components: int | None = COMPONENTS,
    lams: Any = LAMS,
    temperatures: Any = TEMPERATURES,
    folds: int = 5,
    repeats: int = 2,
    groups: Any = None,
    classes: Sequence[Any] | None = None,
    outputs: str | Sequence[str | None] | None = None,
    confidence: float = 0.95,
    smallest: float = SMALLEST,
    seed: int = 0,
    device: str = "auto",
    progress: Callable[[str, float], None] | None = None,
    on_first: Callable[[Decision], None] | None = None,
) -> Decision:
    """Should this student learn from that teacher? See the module's text for the rule.

    Parameters
    ----------
    teacher, student : array (n, p)
        Representations of the same n subjects, as for `assess`: of networks trained
        without distillation, on subjects that neither was trained on. In their place,
        and that of the labels and outputs, one `Representations` of `collect`.
    labels : array (n,)
        Classes or a regression target.
    teacher_output, student_output : array (n, K), optional
        Logits or probabilities, a column a class; predictions of a regression. Without
        the teacher's only the CCH is asked.
    pairs : (array (m, K), array (m, p)), optional
        Of m further rows that nobody labelled, the teacher's outputs and the student's
        features: (teacher_output_unlabelled, student_features_unlabelled), and as a
        third array the student's own outputs, if at hand. They need `teacher_output`.
    method, runs
        Of the CCH's estimator, as for `assess`.
    cch : bool
        False leaves out the slow row.
    components : int or None
        Of the CCH: see `assess`. The rows above it use all columns.
    lams, temperatures, folds, repeats
        Of the pilot.
    groups : array (n,), optional
        Subjects' groups (patients, speakers), for the pilot, the standard errors of
        rows 1 and 3, and the CCH. The tests of row 2 take rows for independent. Rows
        that repeat one another are put into one group.
    classes, outputs
        Of the outputs' columns and their form, as for `pilot`.
    confidence : float
    smallest : float
        Gain, as a share of the plain student's error, that is worth having.
    seed : int
    device : str
    progress : callable(what, share), optional
    on_first : callable(Decision), optional
        Given the answer of rows 1 to 4 before the CCH is asked.

    Returns
    -------
    Decision

    Raises
    ------
    ValueError
        As `assess` and `pilot`.
    """
    notes: tuple[str, ...] = ()
    if isinstance(teacher, Representations):
        notes = teacher.notes
        if student is not None or labels is not None:
            raise ValueError(
                "`student` and `labels` must not be given beside Representations, "
                "which hold them"
            )
        held = teacher
        teacher, student, labels = held.teacher, held.student, held.labels
        teacher_output = (
            held.teacher_output if teacher_output is None else teacher_output
        )
        student_output = (
            held.student_output if student_output is None else student_output
        )
        classes = held.classes if classes is None else classes
    if student is None or labels is None:
        missing = "student" if student is None else "labels"
        raise ValueError(f"`{missing}` must be given, an array with a subject a row")
    check.within("smallest", smallest, 0.0, 1.0)
    if cch:  # which is asked last, after minutes
        check.one_of("method", method, ESTIMATORS)
        check.integer("runs", runs, 1)
    tell = progress or (lambda what, share: None)
    given = dict(
        teacher=teacher,
        student=student,
        labels=labels,
        teacher_output=teacher_output,
        student_output=student_output,
        groups=groups,
    )
    matched = match_rows(**given)
    checks = [*notes, rows_words(given)]
    teacher, student, labels = (matched[n] for n in ("teacher", "student", "labels"))
    teacher_output, student_output = (
        matched["teacher_output"],
        matched["student_output"],
    )
    groups = matched["groups"]
    if classes is None:
        classes = classes_in_headers(labels, teacher_output, student_output)
    forms = forms_of(outputs)
    groups = together(groups, _tables(student, teacher, labels), labels, checks)
    shape = _Shape(confidence, smallest, groups)

    _check_pairs(pairs, teacher_output)

    rows: list[dict] = []
    not_asked: list[str] = []
    found: Pilot | None = None
    n = _subjects(teacher, labels)
    curve = None
    said_by_label = ""
    if teacher_output is None:
        not_asked.append(
            "rows 1 to 4 (does the teacher know more, the theory's tests, "
            "the predicted gain, the pilot): they need teacher_output"
        )
    else:
        target = target_of(labels, columns_of(teacher_output), classes)
        one = pilot(
            student,
            labels,
            teacher_output,
            student_output=student_output,
            pairs=pairs,
            lams=lams,
            temperatures=temperatures,
            folds=folds,
            repeats=repeats,
            groups=groups,
            classes=classes,
            outputs=forms,
            confidence=confidence,
            seed=seed,
            device=device,
            progress=lambda share: tell("pilot", share),
        )
        found = cast(Pilot, one)  # as one teacher was given, not several
        told = outputs_of("teacher_output", teacher_output, target, forms[0])
        said = predictions_of(told, target)
        said_by_label = _said_by_label(said, target)
        own = found.plain
        shape = replace(shape, n_pairs=found.n_pairs)
        checks += _pairs_words(shape, n, pairs)
        if student_output is None:
            not_asked.append(
                "whether the teacher adds to what the trained student says: "
                "it needs student_output; "
                "a linear head on its features stands in for rows 1 and 2"
            )
        else:
            not_asked += _own_on_pairs(pairs)
            mine = outputs_of("student_output", student_output, target, forms[1])
            own = predictions_of(mine, target)
        checks += target.checks
        rows.append(_teacher_better(said, own, target, shape))
        rows += _theory(student, said, own, target, shape, not_asked)
        row, curve = _predicted(found, target, shape)
        rows.append(row)
        rows += _pilot_rows(found)

    kind = found is not None and target.discrete
    table = _table(rows, shape.n_pairs)
    code, verdict = _verdict(found, table, shape, n, said_by_label)
    if found is not None and not said_by_label:
        verdict = verdict.removesuffix(".") + OF_HEADS
    first = Decision(
        code=code,
        verdict=verdict,
        table=table,
        lam=found.lam if found else float("nan"),
        temperature=found.temperature if found else float("nan"),
        n_samples=n,
        n_pairs=shape.n_pairs,
        discrete=kind,
        confidence=float(confidence),
        smallest=float(smallest),
        curve=curve,
        pilot=found,
        assessment=None,
        not_asked=not_asked,
        checks=checks,
    )
    if found is not None and on_first is not None:
        on_first(first)
    if not cch:
        return replace(first, not_asked=[*not_asked, LEFT_OUT])
    tell("mutual information", 0.0)
    extra: dict[str, Any] = {} if groups is None else {"groups": groups}
    assessment = assess(
        teacher,
        student,
        labels,
        method,
        runs=runs,
        confidence=confidence,
        seed=seed,
        device=device,
        components=components,
        **extra,
    )
    tell("mutual information", 1.0)
    return _with_cch(first, assessment)


def _with_cch(first: Decision, assessment: Assessment) -> Decision:
    """The decision with the CCH's row and what it says; the verdict's code is the
    CCH's only where there was nothing else to ask.
    """
    kind = first.discrete
    words = _cch_words(assessment)
    code, verdict = first.code, first.verdict.removesuffix(".") + f"; {words}."
    if first.pilot is None:
        kind = bool(np.isfinite(assessment.label_entropy))
        code, verdict = assessment.verdict, f"{assessment.verdict}, by the CCH alone: "
        verdict += words
        if code == "undecided":
            verdict += "; outputs of the teacher would let four more questions be asked"
        verdict += "."
    row = _table([_cch_row(assessment)], first.n_pairs)
    return replace(
        first,
        code=code,
        verdict=verdict,
        table=row
        if first.table.empty
        else pd.concat([first.table, row], ignore_index=True),
        discrete=kind,
        assessment=assessment,
        not_asked=[why for why in first.not_asked if why != LEFT_OUT],
    )


def _check_pairs(pairs: Any, teacher_output: Any) -> None:
    if pairs is None:
        return
    arrays_of(pairs)
    if teacher_output is None:
        raise ValueError("`pairs` must come with `teacher_output`, got none")


def _own_on_pairs(pairs: Any) -> list[str]:
    """What is not known where the student answers on labelled rows alone."""
    if pairs is None or arrays_of(pairs)[2] is not None:
        return []
    return [
        "whether the teacher adds on the pairs to what the trained student says there: "
        "it needs student_output_unlabelled; a linear head stands in, so that a copy "
        "of the student may pass"
    ]


def _pairs_words(shape: _Shape, n: int, pairs: Any) -> list[str]:
    """What the rows without a label are, and what of them was left out."""
    if pairs is None:
        return []
    words = (
        f"Pairs: {shape.n_pairs} rows without a label beside {n} with one, r = (n + m)"
        f"/n = {shape.r(n):.3g}"
    )
    again = len(pairs[1]) - shape.n_pairs
    left = f"; {again} that repeat a labelled row were left out" if again else ""
    return [f"{words}{left}."]


def rows_words(given: Mapping[str, Any]) -> str:
    """How the rows of the arrays were put side by side."""
    named = [name for name, value in given.items() if has_row_names(value)]
    if len(named) > 1:
        return f"Rows: matched by the index of {', '.join(named)}."
    return "Rows: taken in the order in which they stand."


def together(
    groups: Any, tables: list[np.ndarray], labels: Any, checks: list[str]
) -> np.ndarray | None:
    """The groups with rows that repeat one another in one group; None where nothing
    goes together.
    """
    codes = np.unique(check.as_array("labels", labels), axis=0, return_inverse=True)[1]
    groups = None if groups is None else groups_of(groups, len(codes))
    said = "none; rows are taken for independent"
    if groups is not None:
        said = f"{len(np.unique(groups))}, each held out whole"
    checks.append(f"Groups: {said}.")
    member = records_of([*tables, codes])
    if member is None:
        checks.append("Repeated rows: none.")
        return groups
    again = len(member) - len(np.unique(member))
    checks.append(
        f"Repeated rows: {again} of {len(member)} repeat others; equal rows are held "
        "out together and count once in the errors."
    )
    return joined(groups, member)


def _tables(student: Any, teacher: Any, labels: Any) -> list[np.ndarray]:
    """The features (n, p) of both networks."""
    both = {"student": student, "teacher": teacher}
    tables = {name: check.features(name, block) for name, block in both.items()}
    check.same_length(**tables, labels=check.as_array("labels", labels))
    return list(tables.values())


@dataclass(frozen=True)
class _Shape:
    """What all rows share: how sure, how much, and what goes together."""

    confidence: float
    smallest: float
    groups: Any
    n_pairs: int = 0

    def r(self, n: int) -> float:
        """All rows over the n labelled ones."""
        return (n + self.n_pairs) / n

    def mean(self, values: np.ndarray) -> tuple[float, float, int]:
        """Mean over subjects, its standard error (by group where there are groups), and
        degrees of freedom.
        """
        if self.groups is None:
            n = len(values)
            return float(values.mean()), float(values.std(ddof=1) / np.sqrt(n)), n - 1
        member = np.unique(self.groups, return_inverse=True)[1]
        left = values - values.mean()
        sums = np.bincount(member, left)
        count = len(sums)
        error = np.sqrt((sums**2).sum() * count / (count - 1)) / len(values)
        return float(values.mean()), float(error), count - 1

    def interval(self, mean: float, error: float, df: int) -> tuple[float, float]:
        reach = stats.t.ppf((1 + self.confidence) / 2, df) * error
        return mean - reach, mean + reach


def _row(criterion, estimate, low, high, p_value, unit) -> dict:
    answer = "yes" if low > 0 else "no" if high < 0 else "undecided"
    return {
        "criterion": criterion,
        "question": QUESTIONS[criterion],
        "estimate": float(estimate),
        "low": float(low),
        "high": float(high),
        "p_value": float(p_value),
        "unit": unit,
        "answer": answer,
    }


def _one_sided(mean: float, error: float, df: int) -> float:
    if error > 0:
        return float(stats.t.sf(mean / error, df))
    return 0.0 if mean > 0 else 1.0


def _teacher_better(said, own, target: Target, shape: _Shape) -> dict:
    """Row 1: held-out accuracy, or squared error, of both, paired."""
    if target.discrete:
        right = [(p.argmax(1) == target.codes).astype(float) for p in (said, own)]
        values, unit = right[0] - right[1], "accuracy"
    else:
        errors = [((p - target.y) ** 2).sum(1) for p in (said, own)]
        values, unit = errors[1] - errors[0], "squared error"
    mean, error, df = shape.mean(values)
    low, high = shape.interval(mean, error, df)
    return _row("teacher_better", mean, low, high, _one_sided(mean, error, df), unit)


def _theory(student, said, own, target: Target, shape: _Shape, not_asked) -> list[dict]:
    """Row 2: the two tests. The slope test goes column by column, by Bonferroni."""
    rows = []
    x = independent_columns(check.features("student", student))
    columns = list(range(target.y.shape[1]))
    if target.discrete:
        columns = [k for k in columns if 0 < target.y[:, k].mean() < 1]
        columns = columns[1:] if len(columns) == 2 else columns  # mirrors of each other
    n, width = x.shape
    least = width + (4 if shape.n_pairs else 2)
    if n <= least:
        not_asked.append(
            f"the slope test: it needs more than {least} subjects for {width} columns, "
            "or fewer columns"
        )
    else:
        tests = []
        for k in columns:
            try:
                tests.append(_slope_test(x, target.y[:, k], said[:, k], shape.n_pairs))
            except ValueError as error:
                not_asked.append(f"the slope test of {target.names[k]}: {error}")
        if tests:
            best = min(tests, key=lambda test: test.p_value)
            count = len(tests)
            level = 1 - (1 - shape.confidence) / count
            reach = stats.t.ppf((1 + level) / 2, best.df) * best.std_error
            rows.append(
                _row(
                    "slope_test",
                    best.estimate,
                    best.estimate - reach,
                    best.estimate + reach,
                    min(1.0, count * best.p_value),
                    ("r_eff − c/σ²" if shape.n_pairs else "1 − c/σ²")
                    + (f", clearest of {count} classes" if count > 1 else ""),
                )
            )
    try:
        test = shrinkage_test(own, target.y, said, r=shape.r(n))
    except ValueError as error:
        not_asked.append(f"the shrinkage test: {error}")
        return rows
    low, high = shape.interval(test.estimate, test.std_error, test.df)
    rows.append(
        _row(
            "shrinkage_test",
            test.estimate,
            low,
            high,
            test.p_value,
            "Cov(T,S)/Var S − (c/σ²)/r" if shape.n_pairs else "partial correlation",
        )
    )
    return rows


def _slope_test(
    x: np.ndarray, y: np.ndarray, said: np.ndarray, n_pairs: int
) -> HypothesisTest:
    """Claim of the theory for one column of the label; `x` spans the centred features.

    Turned to an orthonormal basis, they need no other scale: the test does not see it.
    """
    if n_pairs:
        return pairs_slope_test(x, y, said, n_pairs, intercept=True)
    return slope_test(x, y, said, intercept=True)


def independent_columns(x: np.ndarray) -> np.ndarray:
    """An orthonormal basis of what the centred columns span, (n, rank)."""
    x = x / np.where((top := abs(x).max(0)) > 0, top, 1.0)
    x = x - x.mean(0)
    scale = np.sqrt((x**2).mean(0))
    x = x[:, scale > 1e-9] / scale[scale > 1e-9]
    left, singular, _ = np.linalg.svd(x, full_matrices=False)
    return left[:, singular > 1e-6 * singular[0]]


def _predicted(
    found: Pilot, target: Target, shape: _Shape
) -> tuple[dict, pd.DataFrame]:
    """Row 3: the gain for every λ, a parabola in the weight μ, with Scheffé's band.

    gain(μ) = 2μa − μ²b with a = E[(y − S)·(G − S)] and b = E‖G − S‖²: some μ > 0 helps
    exactly where a > 0.
    """
    step = found.imitator - found.plain
    towards = ((target.y - found.plain) * step).sum(1)
    length = (step**2).sum(1)
    weights = np.linspace(0, 1, 41)[1:]
    rows = []
    a, _, df = shape.mean(towards)
    factor = np.sqrt(2 * stats.f.ppf(shape.confidence, 2, df))
    for weight in weights:
        mean, error, _ = shape.mean(2 * weight * towards - weight**2 * length)
        rows.append(
            {
                "weight": weight,
                "lam": additive_lambda(weight),
                "gain": mean,
                "low": mean - factor * error,
                "high": mean + factor * error,
            }
        )
    curve = pd.DataFrame(rows)
    best = curve.loc[curve["gain"].idxmax()]
    mean, error, df = shape.mean(towards)
    unit = "Brier score" if target.discrete else "squared error"
    row = _row(
        "predicted_gain",
        best["gain"],
        best["low"],
        best["high"],
        _one_sided(mean, error, df),
        f"{unit}, at λ = {best['weight']:.2g} (Eq. 2), {best['lam']:.2g} (Eq. 4)",
    )
    return row, curve


def _pilot_rows(found: Pilot) -> list[dict]:
    """Row 4."""
    unit = "Brier score" if found.accuracy_gain else "squared error"
    gains: dict[str, Gain | None] = {
        "pilot": found.gain,
        "pilot_over_smoothing": found.over_smoothing,
        "pilot_over_itself": found.over_itself,
        "pilot_accuracy": found.accuracy_gain,
    }
    return [
        _row(
            name,
            gain.mean,
            gain.low,
            gain.high,
            gain.p_value,
            "accuracy" if name == "pilot_accuracy" else unit,
        )
        for name, gain in gains.items()
        if gain is not None
    ]


def _cch_row(assessment: Assessment) -> dict:
    """Row 5."""
    low, high = assessment.gap_interval
    return _row("cch", assessment.gap, low, high, np.nan, "nats")


def _table(rows: list[dict], n_pairs: int) -> pd.DataFrame:
    table = pd.DataFrame(
        rows,
        columns=[
            "criterion",
            "question",
            "estimate",
            "low",
            "high",
            "p_value",
            "unit",
            "answer",
        ],
    )
    if n_pairs:
        table = table.assign(question=table["criterion"].map(WITH_PAIRS))
        # what the criteria are worth was measured on labelled rows alone
        return table.assign(worth="not known with pairs")
    table["worth"] = [worth_of(name) for name in table["criterion"]]
    return table


def _verdict(
    found: Pilot | None,
    table: pd.DataFrame,
    shape: _Shape,
    n: int,
    said_by_label: str,
) -> tuple[str, str]:
    """The rule of the module's text. `said_by_label`: see `_said_by_label`."""
    if found is None:
        return "undecided", "undecided: nothing could be asked of features alone."
    gains = {
        "the plain student": found.gain,
        "label smoothing": found.over_smoothing,
    }
    if found.over_itself is not None:
        itself = "self-training" if found.n_pairs else "the student as its own teacher"
        gains[itself] = found.over_itself
    worth_having = shape.smallest * found.plain_error
    unit = "Brier score" if found.accuracy_gain else "squared error"
    small = {name: g for name, g in gains.items() if g.high < worth_having}
    if said_by_label:
        return "do not distil", f"do not distil: {said_by_label}."
    if small:
        name, gain = min(small.items(), key=lambda item: item[1].high)
        return "do not distil", (
            f"do not distil: at best {gain.high:+.3g} in {unit} over {name} (expected "
            f"{gain.mean:+.3g}), less than {shape.smallest:.0%} of the error."
        )
    by = _sure_by(found, table, (1 - shape.confidence) / 4)
    if by and (found.over_itself is None or found.over_itself.mean > 0):
        mean, low, high = found.gain.mean, found.gain.low, found.gain.high
        if by != "the pilot":
            row = table.set_index("criterion").loc["predicted_gain"]
            mean, low, high = row["estimate"], row["low"], row["high"]
        temperature = f", T = {found.temperature:g}" if found.accuracy_gain else ""
        pairs, over = "", ""
        if found.over_itself is not None and found.n_pairs:
            pairs = f" on the {found.n_pairs} pairs too (r = {shape.r(n):.3g})"
            over = f", {found.over_itself.mean:+.3g} over self-training on the pairs"
        return "distil", (
            f"distil{pairs} with λ ≈ {found.lam:g}{temperature}: expected gain "
            f"{mean:+.3g} ({low:.3g} to {high:.3g}) in {unit} over the "
            f"plain student, {found.over_smoothing.mean:+.3g} over label smoothing"
            f"{over}, by {by}."
        )
    more = _subjects_wanted(list(gains.values()), worth_having, n)
    return "undecided", (
        f"undecided: {more}; the pilot's gain is {found.gain.mean:+.3g} "
        f"({found.gain.low:.3g} to {found.gain.high:.3g}) in {unit} over the plain "
        f"student, {found.over_smoothing.mean:+.3g} over label smoothing"
        f"{_leaning(table)}."
    )


def _said_by_label(said: np.ndarray, target: Target) -> str:
    """Why nothing can be gained from a teacher who says the label, or what follows from
    it; "" of any other.
    """
    scale = np.sqrt(((target.y - target.y.mean(0)) ** 2).mean())
    if abs(said - target.y).max() <= SAME * scale:
        return (
            "the teacher says the label itself, so that every mixture of both is the "
            "label, (1 − λ)y + λy = y, and the gain over the plain student is exactly 0"
        )
    design = np.column_stack([np.ones(len(said)), target.y])
    line = np.linalg.lstsq(design, said, rcond=None)[0]
    if abs(said - design @ line).max() <= SAME * scale:
        return (
            "what the teacher says follows from the label, which is label smoothing, "
            "and the gain over that is exactly 0"
        )
    return ""


def _sure_by(found: Pilot, table: pd.DataFrame, level: float) -> str:
    """Which way leads to "distil": the pilot, the theory, or none ("")."""
    if max(found.gain.p_value, found.over_smoothing.p_value) <= level:
        return "the pilot"
    p_values = table.set_index("criterion")["p_value"]
    theory = [p_values.get("shrinkage_test", 1.0), p_values["predicted_gain"]]
    if max(theory) <= level and found.over_smoothing.mean > 0:
        return "the tests of the theory"
    return ""


def _subjects_wanted(gains: list[Gain], worth_having: float, n: int) -> str:
    """At how many more subjects intervals around the same estimates would decide.

    "Distil" needs every interval above 0, "do not" needs one below what is worth
    having; each at n·(reach/distance)².
    """

    def wanted(distance: float, reach: float) -> float:
        return n * (reach / distance) ** 2 if distance > 0 else np.inf

    yes = max(wanted(g.mean, g.high - g.mean) for g in gains)
    no = min(wanted(worth_having - g.mean, g.high - g.mean) for g in gains)
    least = min(yes, no)
    if not np.isfinite(least) or least > MOST_TIMES * n:
        return f"more than {MOST_TIMES} times as many subjects would be wanted"
    more = max(least - n, 0.1 * n)
    digits = -int(np.floor(np.log10(more)))
    return f"about {round(more, digits):.0f} more subjects would do"


def _leaning(table: pd.DataFrame) -> str:
    """What the theory's rows say where the pilot does not decide."""
    answers = table.set_index("criterion")["answer"]
    names = {"shrinkage_test": "the shrinkage test", "predicted_gain": "predicted gain"}
    yes = [names[name] for name in names if answers.get(name) == "yes"]
    no = [names[name] for name in names if answers.get(name) == "no"]
    said = (
        [f"{' and '.join(yes)} say yes" if len(yes) > 1 else f"{yes[0]} says yes"]
        if yes
        else []
    )
    if no:
        said.append(f"{' and '.join(no)} say{'' if len(no) > 1 else 's'} no")
    return f"; {', '.join(said)}" if said else ""


def _cch_words(assessment: Assessment) -> str:
    low, high = assessment.gap_interval
    said = {
        "distil": "the CCH says yes",
        "do not distil": "the CCH says no",
        "undecided": "the CCH is undecided",
    }[assessment.verdict]
    words = f"{said} (gap {assessment.gap:+.2f} nats, {between(low, high, '.2f')})"
    if getattr(assessment.i_ts, "saturated", False):
        words += " but is saturated"
    return words


# several teachers


def _subjects(teacher: Any, labels: Any) -> int:
    """How many there are; the rows of outputs never look at the teacher's features."""
    labels = check.as_array("labels", labels)
    return check.same_length(teacher=check.features("teacher", teacher), labels=labels)


@own_state()
def decide_teachers(
    teachers: Mapping[str, Any],
    student: Any,
    labels: Any,
    *,
    teacher_outputs: Mapping[str, Any] | None = None,
    student_output: Any = None,
    pairs: tuple[Any, ...] | None = None,
    cch: bool = True,
    method: str = "latent",
    runs: int = 5,
    components: int | None = COMPONENTS,
    progress: Callable[[str, float], None] | None = None,
    on_first: Callable[[str, Decision], None] | None = None,
    **options: Any,
) -> Ranking:
    """Several teachers for one student: ranked by the pilot, paired, and mixed.

    Parameters
    ----------
    teachers : mapping of names to arrays (n, p)
    student, labels, student_output
        As for `decide`.
    teacher_outputs : mapping of the same names to arrays (n, K), optional
        Where some are missing those teachers come last, by the CCH's gap.
    pairs : (mapping of the same names to arrays (m, K), array (m, p)), optional
        Of rows without a label, as for `decide`: every teacher that has outputs has
        them there too. A third array are the student's own outputs.
    cch, method, runs, components
        As for `decide`. The CCH is asked of all teachers together, after the rest:
        I(student; label) is one for all.
    progress : callable(what, share), optional
    on_first : callable(name, Decision), optional
    **options
        As for `decide`.

    Returns
    -------
    Ranking
    """
    if not isinstance(teachers, Mapping) or not teachers:
        raise ValueError(
            "`teachers` must be a mapping {name: representation} of at least one, "
            f"got {type(teachers).__name__}"
        )
    if cch:
        check.one_of("method", method, ESTIMATORS)
        check.integer("runs", runs, 1)
    outputs = dict(teacher_outputs or {})
    strangers = [name for name in outputs if name not in teachers]
    if strangers:
        raise ValueError(
            f"`teacher_outputs` must have names among {', '.join(map(str, teachers))}, "
            f"got {', '.join(map(str, strangers))}"
        )
    rows = match_rows(
        **{f"teacher {name}": value for name, value in teachers.items()},
        **{f"teacher_output {name}": value for name, value in outputs.items()},
        student=student,
        labels=labels,
        student_output=student_output,
        groups=options.get("groups"),
    )
    teachers = {name: rows[f"teacher {name}"] for name in teachers}
    outputs = {name: rows[f"teacher_output {name}"] for name in outputs}
    student, labels, student_output = (
        rows[name] for name in ("student", "labels", "student_output")
    )
    heard = _pairs_of_each(pairs, outputs)
    options["groups"] = rows["groups"]
    if options.get("classes") is None:
        options["classes"] = classes_in_headers(
            labels, *outputs.values(), student_output
        )
    found = {}
    for name, features in teachers.items():
        found[name] = decide(
            features,
            student,
            labels,
            teacher_output=outputs.get(name),
            student_output=student_output,
            pairs=heard.get(name),
            cch=False,
            progress=None if progress is None else _telling(progress, name),
            on_first=None if on_first is None else _announcing(on_first, name),
            **options,
        )
    if cch:
        tell = progress or (lambda what, share: None)
        tell("mutual information", 0.0)
        shared = ("confidence", "seed", "device")
        first = next(iter(teachers.values()))
        tables = _tables(student, first, labels)
        assessed = assess_teachers(
            teachers,
            student,
            labels,
            method,
            runs=runs,
            components=components,
            groups=together(rows["groups"], tables, labels, []),
            **{name: options[name] for name in shared if name in options},
        )
        tell("mutual information", 1.0)
        found = {name: _with_cch(d, assessed[name]) for name, d in found.items()}
    found = dict(sorted(found.items(), key=lambda item: _merit(item[1]), reverse=True))
    best = next(iter(found.values()))
    ranked = []
    for name, decision in found.items():
        row: dict[str, Any] = {"teacher": name, "code": decision.code}
        if decision.pilot is not None:
            gain = decision.pilot.gain
            row |= {"pilot_gain": gain.mean, "low": gain.low, "high": gain.high}
            # the best has a pilot where any has one: see `_merit`
            row |= _behind(cast(Pilot, best.pilot), decision.pilot)
            at_best = decision.table.set_index("criterion")["estimate"]
            row["predicted_gain"] = at_best["predicted_gain"]
        row["logme"] = logme(teachers[name], labels)
        row["width"] = check.features("teacher", teachers[name]).shape[1]
        if decision.assessment is not None:
            row["gap"] = decision.assessment.gap
        ranked.append(row)
    mixture = _mixture(found, labels, options["classes"])
    return Ranking(found, pd.DataFrame(ranked), mixture)


def _pairs_of_each(
    pairs: Any, outputs: Mapping[str, Any]
) -> dict[str, tuple[Any, Any, Any]]:
    """The pairs of every teacher that has outputs."""
    if pairs is None:
        return {}
    told, features, own = arrays_of(pairs)
    if not isinstance(told, Mapping) or set(told) != set(outputs):
        names = ", ".join(map(str, outputs)) or "none"
        got = ", ".join(map(str, told)) if isinstance(told, Mapping) else type(told)
        raise ValueError(
            f"`{OUTPUT}` must be a mapping of the teachers that have outputs ({names})"
            f", got {got}"
        )
    return {name: (told[name], features, own) for name in told}


def _telling(
    progress: Callable[[str, float], Any], name: str
) -> Callable[[str, float], None]:
    """`progress` of one teacher among several."""
    return lambda what, share: progress(f"{name}: {what}", share)


def _announcing(
    on_first: Callable[[str, Decision], Any], name: str
) -> Callable[[Decision], None]:
    """`on_first` of one teacher among several."""
    return lambda decision: on_first(name, decision)


def _merit(decision: Decision) -> tuple:
    if decision.pilot is not None:
        return (1, decision.pilot.gain.mean)
    gap = decision.assessment.gap if decision.assessment is not None else -np.inf
    return (0, gap)


def _behind(best: Pilot, other: Pilot) -> dict[str, float]:
    """How far the other's gain is behind, paired over the same folds."""
    values = best.gain.by_fold - other.gain.by_fold
    gain = _over_folds(values, 0.0, 1 / (best.folds - 1), best.confidence)
    return {
        "behind_best": gain.mean,
        "behind_low": gain.low,
        "behind_high": gain.high,
    }


def _mixture(
    found: Mapping[str, Decision], labels: Any, classes: Sequence[Any] | None
) -> dict[str, float] | None:
    """The best mixture of the label and all teachers, from held-out residuals."""
    pilots = {name: d.pilot for name, d in found.items() if d.pilot is not None}
    if len(pilots) < 2:
        return None
    first = next(iter(pilots.values()))
    target = target_of(labels, first.plain.shape[1], classes)
    predictions = [first.plain, *(p.imitator for p in pilots.values())]
    residuals = np.array([(target.y - p).ravel() for p in predictions])
    shares = best_mixture(residuals @ residuals.T / len(target.y))
    return dict(zip(["label", *pilots], map(float, shares)))
