"""What an array of outputs is, and which of its columns is which class."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.special import softmax

from cchdecide import decide, pilot
from cchdecide.outputs import classes_in_headers, folds_of, outputs_of, target_of

RANDOM = np.random.default_rng(0)
NAMES = np.array(["normal", "benign", "malignant", "other"])
MEANS = 2 * RANDOM.standard_normal((4, 3))
CODES = RANDOM.integers(0, 4, 300)
SHARED = MEANS[CODES] + RANDOM.standard_normal((300, 3))
LOGITS = -((SHARED[:, None] - MEANS) ** 2).sum(2) / 2
LAW = softmax(LOGITS, 1)
STUDENT = SHARED + RANDOM.standard_normal((300, 3))


def said(value, form=None, labels=CODES, classes=None):
    target = target_of(labels, 4, classes)
    return np.exp(outputs_of("teacher_output", value, target, form)), target


def one_row(change):
    table = LAW.copy()
    table[7] = [0.25, 0.75, 0, 0]
    table[7] = change(table[7])
    return table


@pytest.mark.parametrize(
    "value, words",
    [
        (LOGITS, "logits"),
        (np.log(LAW), "logits"),
        (LAW.astype(np.float16), "probabilities"),
        (100 * LAW, "percentages, divided by 100"),
        (one_row(lambda row: row - 1e-5), r"cut to \[0, 1\]"),
    ],
)
def test_forms_are_seen_and_mended_openly(value, words):
    found, target = said(value)
    others = np.arange(300) != 7  # the row that `one_row` changes
    np.testing.assert_allclose(found[others], LAW[others], atol=2e-3)
    assert re.search(f"^teacher_output: .*{words}", target.checks[-1])


@pytest.mark.parametrize("decimals", [1, 2, 3])
def test_rounded_probabilities_stay_probabilities(decimals):
    """Their rows sum to 0.99 or 1.01, and a few rows are no reason for logits."""
    found, target = said(LAW.round(decimals))
    np.testing.assert_allclose(found.sum(1), 1)
    np.testing.assert_allclose(found, LAW, atol=2.5 * 10.0**-decimals)
    if decimals < 3:
        assert f"rounded to {decimals} decimals" in target.checks[-1]


@pytest.mark.parametrize(
    "value, message",
    [
        (one_row(lambda row: 0 * row), "299 of 300 rows .* row 8, which sums to 0;"),
        (one_row(lambda row: 0.99 * row), "row 8, which sums to 0.99"),
        (1 / (1 + np.exp(-LOGITS)), "teacher_output.* probabilities or logits"),
        (np.log10(LAW), "logarithms to base 10"),
        (np.log2(LAW), "logarithms to base 2"),
    ],
)
def test_what_may_be_either_is_asked(value, message):
    with pytest.raises(ValueError, match=message):
        said(value)


def test_a_form_can_be_said():
    inside = 1 / (1 + np.exp(-LOGITS))  # one against the rest
    found, _ = said(inside, "probabilities")
    np.testing.assert_allclose(found, inside / inside.sum(1, keepdims=True), atol=1e-6)
    found, _ = said(LAW, "logits")
    np.testing.assert_allclose(found, softmax(LAW, 1))
    for value, message in ((LOGITS, "probabilities in"), (0 * LAW, "sum to 1, got 0")):
        with pytest.raises(ValueError, match=message):
            said(value, "probabilities")
    for forms in ("odds", ("logits",)):
        with pytest.raises(ValueError, match="outputs"):
            pilot(STUDENT, CODES, LOGITS, outputs=forms)


@pytest.mark.parametrize(
    "labels, classes",
    [
        (CODES, None),
        (CODES + 1, None),
        (CODES, NAMES),
        (NAMES[CODES], NAMES),
        (pd.Series(pd.Categorical(NAMES[CODES], categories=NAMES)), None),
        ([f"class {k + 8}" for k in CODES], [f"class {k}" for k in range(8, 12)]),
    ],
)
def test_labels_find_their_columns(labels, classes):
    target = target_of(labels, 4, classes)
    assert target.codes.tolist() == CODES.tolist()


def test_columns_are_matched_by_their_names():
    order = [2, 0, 3, 1]
    table = pd.DataFrame(LOGITS[:, order], columns=NAMES[order])
    labels = NAMES[CODES]
    target = target_of(labels, 4, classes_in_headers(labels, table))
    assert target.names == NAMES[order].tolist()
    other = pd.DataFrame(LOGITS, columns=NAMES)
    one, two = (outputs_of("teacher_output", t, target) for t in (table, other))
    np.testing.assert_allclose(one, two)
    # by number, not by text, and not by place
    numbered = pd.DataFrame(LOGITS[:, order], columns=[f"logit_{9 + k}" for k in order])
    np.testing.assert_allclose(said(numbered)[0], LAW)
    some = pd.DataFrame(LOGITS, columns=["normal", "benign", "a", "b"])
    with pytest.raises(ValueError, match="columns named by the classes"):
        said(some, labels=labels)


def test_another_order_that_fits_far_better_is_an_error():
    wrong = LOGITS[:, [1, 2, 3, 0]]
    with pytest.raises(ValueError, match="another order is right for ..%"):
        said(wrong)
    with pytest.raises(ValueError, match="teacher_output.*another order"):
        said(LOGITS, labels=NAMES[CODES])  # in the order of a list, not sorted
    said(RANDOM.standard_normal((300, 4)))  # who knows nothing is no mistake
    found, target = said(LOGITS)
    share = (found.argmax(1) == CODES).mean()
    assert f"{share:.0%} of the subjects right" in target.checks[-1]


@pytest.mark.parametrize(
    "labels, message",
    [
        (np.where(CODES == 3, -1, CODES), "got -1 in"),
        (
            np.where(np.arange(300) < 5, -100, CODES),
            "got -100 in 5 rows, the first .* 1",
        ),
        (np.where(CODES == 0, "[Not Available]", NAMES[CODES]), "missing entries"),
        (np.where(CODES == 0, "NA", NAMES[CODES]), "missing entries"),
        ([str(8 + code) for code in CODES], "one order: sorted as text .* 10, 11, 8"),
        (CODES[:, None], "got a target of 1"),
    ],
)
def test_labels_that_are_missing_or_may_be_two_things(labels, message):
    with pytest.raises(ValueError, match=message):
        target_of(labels, 4)


@pytest.mark.parametrize(
    "classes, message",
    [
        (["a", "b"], "must name the 4 columns"),
        (["a", "b", "c", "a"], "names that differ"),
        (["a", "b", "c", "d"], "labels.* must be among `classes`"),
    ],
)
def test_classes_are_checked(classes, message):
    with pytest.raises(ValueError, match=message):
        target_of(NAMES[CODES], 4, classes)


QUICK = dict(cch=False, folds=3, repeats=1, lams=(0.5,), temperatures=(1.0,))


def test_rows_are_matched_by_their_index_and_the_checks_are_told():
    ids = [f"P{i:03d}" for i in range(300)]
    order = RANDOM.permutation(300)
    student = pd.DataFrame(STUDENT, index=ids)
    tables = dict(
        labels=pd.Series(NAMES[CODES], index=ids).iloc[order],
        teacher_output=pd.DataFrame(LAW, index=ids, columns=NAMES).iloc[order[::-1]],
    )
    found = decide(pd.DataFrame(SHARED, index=ids), student, **tables, **QUICK)
    wanted = decide(SHARED, STUDENT, CODES, teacher_output=LAW, **QUICK)
    assert found.pilot.gain.mean == pytest.approx(wanted.pilot.gain.mean, abs=1e-3)
    assert found.checks[0].startswith("Rows: matched by the index of teacher, student")
    assert any("columns by their names" in check for check in found.checks)
    assert found.to_dict()["checks"] == found.checks
    assert "columns by their names" in found._repr_html_()
    with pytest.raises(ValueError, match="0 of 300 names are there"):
        decide(SHARED, student, tables["labels"].set_axis(range(1, 301)), **QUICK)


def test_repeated_rows_are_held_out_together_and_count_once():
    """Each subject four times: nothing is known that was not known before."""
    once = np.arange(100)
    again = np.repeat(once, 4)
    y, x = RANDOM.integers(0, 2, 100), RANDOM.standard_normal((100, 30))
    teacher, output = RANDOM.standard_normal((100, 5)), RANDOM.standard_normal((100, 2))

    def asked(rows, **options):
        return decide(
            teacher[rows],
            x[rows],
            y[rows],
            teacher_output=output[rows],
            **QUICK,
            **options,
        )

    alone, several = asked(once), asked(again)
    assert several.code != "distil"
    told = "Repeated rows: 300 of 400 repeat others"
    assert any(check.startswith(told) for check in several.checks)
    errors = [
        found.table.set_index("criterion").loc["teacher_better"]
        for found in (alone, several)
    ]
    widths = [row["high"] - row["low"] for row in errors]
    assert widths[1] == pytest.approx(widths[0], rel=0.35)  # not half of it
    fold = folds_of(target_of(y[again]), 5, again, np.random.default_rng(0))
    assert all(len(set(fold[again == subject])) == 1 for subject in once)
    counts = np.array([np.bincount(y[again][fold == k], minlength=2) for k in range(5)])
    assert np.ptp(counts, axis=0).max() <= 4  # and every class is spread evenly


def test_values_that_agree_by_chance_are_no_repeats():
    y = RANDOM.integers(0, 2, 200)
    x = RANDOM.integers(0, 3, (200, 2)).astype(float)
    found = decide(x, x, y, teacher_output=np.eye(2)[y] + 0.1 * x, **QUICK)
    assert "Repeated rows: none." in found.checks


def test_groups_that_are_missing_are_refused():
    groups = np.where(np.arange(300) < 3, np.nan, np.arange(300) // 2)
    with pytest.raises(
        ValueError, match="groups.* 3 missing entries, the first in row 1"
    ):
        pilot(STUDENT, CODES, LOGITS, groups=groups)


@pytest.mark.parametrize("output", [np.zeros(300), np.zeros((300, 3, 3))])
def test_class_numbers_and_tokens_are_no_outputs(output):
    with pytest.raises(ValueError, match="teacher_output.* must have"):
        decide(SHARED, STUDENT, CODES, teacher_output=output, **QUICK)
