"""The criterion as a tool: known truths, the interval's calibration, refusals, and
files.
"""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cchlib.criterion import assess, assess_teachers, rank_teachers
from cchlib.criterion import cch as criterion
from cchlib.criterion.files import assess_file, read


def chain(n, ts, sl, seed, p=1):
    """Teacher, student (n, p) and target (n,), Gaussian: corr(T_1, S_1) = ts, corr(S_1,
    y) = sl, the rest noise.
    """
    rng = np.random.default_rng(seed)
    student, noise = rng.standard_normal((2, n, p))
    teacher = noise.copy()
    teacher[:, 0] = ts * student[:, 0] + np.sqrt(1 - ts**2) * noise[:, 0]
    return (
        teacher,
        student,
        sl * student[:, 0] + np.sqrt(1 - sl**2) * rng.standard_normal(n),
    )


def nats(correlation):
    return -0.5 * np.log(1 - correlation**2)


def numbers(found):
    """All of an assessment but the seconds."""
    return (
        found.i_ts.values,
        found.i_sl.values,
        found.gap_interval,
        found.half_gaps.tolist(),
        str(found.label_entropy),
    )


@pytest.fixture(scope="module")
def classes():
    """Two Gaussian classes 2 apart, seen by the student with noise and by the teacher
    through the student.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    student = 2.0 * labels + rng.standard_normal(600)
    return student + 0.3 * rng.standard_normal(600), student, labels


@pytest.mark.parametrize("method", ["ksg", "gaussian"])
@pytest.mark.parametrize(
    "ts, sl, verdict",
    [(0.9, 0.5, "distil"), (0.5, 0.9, "do not distil"), (0.7, 0.7, "undecided")],
)
def test_verdict_and_values_against_the_closed_form(method, ts, sl, verdict):
    found = assess(*chain(2000, ts, sl, seed=1), method)
    assert found.verdict == verdict
    assert found.i_ts.value == pytest.approx(nats(ts), abs=0.06)
    assert found.i_sl.value == pytest.approx(nats(sl), abs=0.06)
    assert found.gap == found.i_ts.value - found.i_sl.value
    assert np.isnan(found.label_entropy) and found.half_gaps.shape == (
        criterion.CHEAP_SPLITS,
        2,
    )


@settings(max_examples=25, deadline=None)
@given(
    ts=st.floats(-0.95, 0.95),
    sl=st.floats(-0.95, 0.95),
    n=st.integers(20, 120),
    runs=st.integers(1, 30),
    confidence=st.floats(0.5, 0.999),
    seed=st.integers(0, 2**31),
)
def test_interval_contains_the_gap_and_decides_the_verdict(
    ts, sl, n, runs, confidence, seed
):
    found = assess(
        *chain(n, ts, sl, seed), "gaussian", runs=runs, confidence=confidence, seed=seed
    )
    low, high = found.gap_interval
    assert low <= found.gap <= high
    assert found.verdict == (
        "distil" if low > 0 else "do not distil" if high < 0 else "undecided"
    )
    assert all(isinstance(reason, str) for reason in found.reasons)


def test_standard_error_is_that_of_the_mean_for_a_mean():
    """For a sample mean, the average of (mean_A - mean_B)²/4 over all halvings is
    exactly s²/n.
    """
    x = np.random.default_rng(0).exponential(size=8)
    from itertools import combinations

    halves = [
        (x[list(c)].mean(), np.delete(x, list(c)).mean())
        for c in combinations(range(8), 4)
    ]
    assert criterion._half_sample_error(np.array(halves), 8) == pytest.approx(
        x.std(ddof=1) / np.sqrt(8)
    )
    odd = [
        (x[list(c)][:7].mean(), np.delete(x[:7], list(c)).mean())
        for c in combinations(range(7), 3)
    ]
    assert criterion._half_sample_error(np.array(odd), 7) == pytest.approx(
        x[:7].std(ddof=1) / np.sqrt(7)
    )


@pytest.mark.parametrize("ts, sl", [(0.6, 0.6), (0.7, 0.5)])
def test_calibration_of_the_gaussian_method(ts, sl):
    """Nominal 95 %: with 100 draws the binomial standard error is 2.2 points; four of
    them below is a failure.
    """
    truth = nats(ts) - nats(sl)
    found = [assess(*chain(300, ts, sl, seed), "gaussian") for seed in range(100)]
    cover = np.mean([a.gap_interval[0] <= truth <= a.gap_interval[1] for a in found])
    assert cover >= 0.95 - 4 * 0.022
    spread = np.std([a.gap for a in found])
    assert np.sqrt(np.mean([a.std_error**2 for a in found])) == pytest.approx(
        spread, rel=0.25
    )
    if truth == 0:
        assert np.mean([a.verdict == "distil" for a in found]) <= 0.025 + 4 * 0.016


def test_calibration_of_ksg():
    """At a true gap of zero a wrong "distil" may come in 2.5 % of the draws."""
    found = [assess(*chain(250, 0.6, 0.6, seed), "ksg") for seed in range(40)]
    assert np.mean([a.verdict == "undecided" for a in found]) >= 0.95 - 4 * 0.034
    spread = np.std([a.gap for a in found])
    assert np.sqrt(np.mean([a.std_error**2 for a in found])) == pytest.approx(
        spread, rel=0.35
    )


def test_interval_is_widened_on_the_side_of_the_drift():
    found = assess(*chain(400, 0.999, 0.0, seed=2, p=2), "ksg")
    low, high = found.gap_interval
    assert (
        found.drift > found.std_error > 0
    )  # ksg says 1.5 of 3.1 nats here, and rises with n
    assert (high - found.gap) - (found.gap - low) == pytest.approx(found.drift)
    assert any("still moves" in reason for reason in found.reasons)


def test_a_random_estimator_is_averaged_split_and_reproducible():
    data = chain(120, 0.6, 0.4, seed=0)
    first, again, other = (
        assess(*data, "lmi", runs=2, seed=seed) for seed in (3, 3, 4)
    )
    assert first.i_ts.runs == first.i_sl.runs == 2 and first.half_gaps.shape == (2, 2)
    assert numbers(first) == numbers(again)
    assert first.gap != other.gap


def test_kinds_of_labels_are_the_same_classes(classes):
    teacher, student, labels = classes
    reference = assess(teacher, student, labels, "ksg")
    assert reference.label_entropy == pytest.approx(np.log(2), abs=0.01)
    named = np.where(labels == 1, "sick", "healthy")
    for same in (
        labels.astype(bool),
        named,
        pd.Series(named),
        torch.from_numpy(labels),
        labels[:, None],
        list(map(int, labels)),
    ):
        assert numbers(assess(teacher, student, same, "ksg")) == numbers(reference)


def test_the_subjects_order_does_not_matter_to_the_gap(classes):
    order = np.random.default_rng(1).permutation(600)
    shuffled = assess(*(part[order] for part in classes), "ksg")
    assert shuffled.gap == pytest.approx(assess(*classes, "ksg").gap, abs=1e-9)


def test_float_labels_with_few_values_must_say_what_they_are(classes):
    teacher, student, labels = classes
    with pytest.raises(
        ValueError,
        match=r"labels are floats with only 2 distinct values: classes or a regression",
    ):
        assess(teacher, student, labels.astype(float), "gaussian")
    scores = np.round(student).clip(-1, 3)
    assert np.isnan(assess(teacher, student, scores[:, None], "gaussian").label_entropy)
    assert assess(teacher, student, scores.astype(int), "gaussian").label_entropy > 0


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(teacher=np.nan), "teacher holds 1 NaN or infinite"),
        (dict(student=np.inf), "student holds 1 NaN or infinite"),
        (dict(labels=np.nan), "labels holds 1 NaN or infinite"),
    ],
)
def test_non_finite_numbers_are_refused(change, message):
    data = dict(zip(("teacher", "student", "labels"), chain(100, 0.5, 0.5, 0)))
    for name, value in change.items():
        data[name].flat[3] = value
    with pytest.raises(ValueError, match=message):
        assess(**data, method="gaussian")


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(teacher=np.zeros((99, 2))), "teacher is constant"),
        (dict(teacher=np.ones((40, 2))), "teacher is constant"),
        (
            dict(student=np.random.default_rng(0).random((40, 2))),
            "unequal numbers of samples.*student 40",
        ),
        (dict(student=np.ones((100, 3, 3))), r"student has shape \(100, 3, 3\)"),
        (dict(labels=np.zeros(100, int)), "labels holds a single class, 0"),
        (dict(labels=np.zeros(100)), "labels is constant"),
        (
            dict(labels=np.array([1] * 5 + [0] * 95)),
            "labels: class 1 has 5 subjects; at least 10",
        ),
        (dict(labels=np.eye(2, dtype=int)[[0, 1] * 50]), "not one-hot"),
        (
            dict(labels=np.array(["a", None] * 50, dtype=object)),
            "labels is ragged or holds objects",
        ),
        (dict(labels=3), "labels has shape"),
        (dict(method="magic"), "method is 'magic'"),
        (dict(runs=0), "runs is 0"),
        (dict(runs=2.5), "runs is 2.5"),
        (dict(confidence=95), "confidence is 95"),
        (dict(confidence=1.0), "confidence is 1.0"),
        (dict(confidence=[0.9]), "confidence"),
        (dict(teacher=np.zeros(100, complex) + np.arange(100)), "teacher.*complex"),
        (dict(seed=-1), "seed is -1"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    arguments = (
        dict(
            zip(("teacher", "student", "labels"), chain(100, 0.5, 0.5, 0)),
            method="gaussian",
        )
        | change
    )
    with pytest.raises(ValueError, match=message):
        assess(**arguments)


def test_too_few_subjects_and_no_teacher_are_refused():
    teacher, student, labels = chain(19, 0.5, 0.5, 0)
    with pytest.raises(ValueError, match="hold 19 subjects; at least 20"):
        assess(teacher, student, labels, "gaussian")
    with pytest.raises(
        ValueError, match="hold 49 subjects; at least 50 are wanted with method 'lmi'"
    ):
        assess(*chain(49, 0.5, 0.5, 0))
    with pytest.raises(ValueError, match="teachers is empty"):
        rank_teachers({}, student, labels, "gaussian")


def test_rare_classes_keep_subjects_in_both_halves():
    labels = np.array([0] * 10 + [1] * 11 + [2] * 79)
    for halves in criterion._halves(labels, 100, 30, seed=0):
        assert sorted(np.concatenate(halves)) == list(range(100))
        assert all(np.bincount(labels[half], minlength=3).min() >= 5 for half in halves)
    with pytest.raises(ValueError, match="too rare to be split"):
        criterion._halves(np.repeat(np.arange(12), 10), 120, 5, seed=0)


def test_teachers_are_ranked_on_the_same_splits():
    teacher, student, labels = chain(800, 0.8, 0.5, seed=5)
    noise = np.random.default_rng(6).standard_normal((2, *teacher.shape))
    teachers = {
        "worst": teacher + 3 * noise[0],
        "best": teacher,
        "middle": teacher + 0.7 * noise[1],
    }
    table = rank_teachers(teachers, student, labels, "ksg", seed=7)
    assert (
        list(table.teacher)
        == ["best", "middle", "worst"]
        == list(assess_teachers(teachers, student, labels, "ksg"))
    )
    assert (table.gap.diff().dropna() < 0).all() and table.i_sl.nunique() == 1
    assert table.behind_best[0] == 0 and table.behind_best_se[0] == 0
    assert (table.behind_best[1:] > 3 * table.behind_best_se[1:]).all()
    alone = assess(teacher, student, labels, "ksg", seed=7)
    assert (table.gap[0], table.low[0], table.high[0]) == (
        alone.gap,
        *alone.gap_interval,
    )
    assert (
        table.verdict[0] == alone.verdict == "distil"
        and table.verdict[2] == "do not distil"
    )


# files


@pytest.fixture
def npz(tmp_path, classes):
    teacher, student, labels = classes
    np.savez(
        tmp_path / "mine.npz",
        teacher_mrna=teacher,
        teacher_rppa=teacher[::-1],
        student=student,
        labels=labels,
        patient=np.arange(600),
    )
    return tmp_path / "mine.npz"


def test_assess_file_prints_a_verdict_and_saves_a_figure(npz, classes, capsys):
    found = assess_file(npz, method="ksg", runs=1)
    assert list(found) == ["mrna", "rppa"] and numbers(found["mrna"]) == numbers(
        assess(*classes, "ksg")
    )
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "mrna: distil" in said
        and "rppa: do not distil" in said
        and "95% interval" in said
        and "in nats" in said
    )
    assert npz.with_name("mine.cch.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in npz.parent.iterdir()) == [
        "mine.cch.png",
        "mine.npz",
    ]
    assess_file(npz, method="gaussian", figure=npz.parent / "out" / "gap.svg")
    assert b"<svg" in (npz.parent / "out" / "gap.svg").read_bytes()
    with pytest.raises(ValueError, match="figure is gap.doc"):
        assess_file(npz, method="gaussian", figure=npz.parent / "out" / "gap.doc")
    assert sorted(path.name for path in (npz.parent / "out").iterdir()) == ["gap.svg"]


def test_csv_columns_are_grouped_by_prefix(tmp_path, npz, classes):
    teacher, student, labels = classes
    frame = pd.DataFrame(
        {
            "id": range(600),
            "teacher_mrna.a": teacher,
            "teacher_mrna.b.c": teacher**2,
            "student.x": student,
            "label": np.where(labels == 1, "sick", "healthy"),
            "teachers": 0,
        }
    )
    frame.to_csv(tmp_path / "mine.csv", index=False)
    teachers, found, named = read(tmp_path / "mine.csv")
    assert (
        list(teachers) == ["mrna"]
        and teachers["mrna"].shape == (600, 2)
        and found.shape == (600, 1)
    )
    assert set(named) == {"sick", "healthy"}
    assert assess_file(tmp_path / "mine.csv", method="ksg")["mrna"].verdict == "distil"
    assert list(read(npz)[0]) == ["mrna", "rppa"]


def test_a_class_may_be_called_na(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "teacher.a,student.a,label\n1,1,NA\n2,1,None\n3,1,NA\n"
    )
    assert list(read(tmp_path / "mine.csv")[2]) == ["NA", "None", "NA"]


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            dict(student=np.ones(30), labels=np.ones(30)),
            "holds no teacher; arrays teacher",
        ),
        (dict(teacher=np.ones(30), labels=np.ones(30)), "holds no student"),
        (dict(teacher=np.ones(30), student=np.ones(30)), "holds no labels"),
        (
            dict(teacher=np.ones(30), student=np.ones(30), labels=np.array([{}] * 30)),
            "could not be read.*plain arrays",
        ),
        (
            dict(teacher=np.ones(30), student=np.ones(30), labels=np.array(1)),
            "labels is a single value",
        ),
        (
            dict(
                teacher=np.ones(30),
                teacher_teacher=np.ones(30),
                student=np.ones(30),
                labels=np.ones(30),
            ),
            "teacher_teacher",
        ),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        assess_file(tmp_path / "bad.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "could not be read as a table"),
        (
            "a,b\n1,2\n",
            "holds no teacher and no student and no labels; columns teacher",
        ),
        (
            "teacher.a,student.a,label\nx,1,0\n",
            "bad.csv, row 1: column teacher.a holds text",
        ),
        (
            "teacher.a,student.a,label\n1,1,0\n1,1,\n",
            "column label of bad.csv has 1 empty cell",
        ),
    ],
)
def test_csv_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        assess_file(tmp_path / "bad.csv")


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "plain.npy", np.ones(3))
    for content in (
        b"PK not a zip",
        b"",
        b"\x93NUMPY\x01\x00\x05\x00((((\n",
        (tmp_path / "plain.npy").read_bytes(),
    ):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(ValueError, match="could not be read"):
            assess_file(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError):
        assess_file(tmp_path / "nowhere" / "absent.npz")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ValueError, match="path is a.parquet; a .npz or .csv file"):
        assess_file(tmp_path / "a.parquet")
    with pytest.raises(FileNotFoundError, match="none.npz is not there"):
        assess_file(tmp_path / "none.npz")


def test_one_hot_labels_are_refused_and_an_infinite_gap_is_undecided(classes):
    teacher, student, labels = classes
    with pytest.raises(ValueError, match="one-hot"):
        assess(teacher, student, np.eye(2)[labels], "gaussian")
    with np.errstate(all="ignore"):
        found = assess(student, student, labels, "gaussian")
    assert (
        found.gap_interval == (-np.inf, np.inf) and found.verdict == "undecided"
    )  # of 17 nats, or of infinitely many
