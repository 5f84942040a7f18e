"""The criterion as a tool: known truths, the interval's calibration, refusals."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from cchlib.criterion import assess, assess_teachers, rank_teachers, surrogates
from cchlib.criterion import cch as criterion


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


@settings(max_examples=15, deadline=None)
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


def test_calibration_of_the_gaussian_method():
    """Nominal 95 %: with 40 draws the binomial standard error is 3.4 points."""
    truth = nats(0.7) - nats(0.5)
    found = [assess(*chain(300, 0.7, 0.5, seed), "gaussian") for seed in range(40)]
    cover = np.mean([a.gap_interval[0] <= truth <= a.gap_interval[1] for a in found])
    assert cover >= 0.95 - 3 * 0.034
    spread = np.std([a.gap for a in found])
    ratio = np.sqrt(np.mean([a.std_error**2 for a in found])) / spread
    assert 0.8 < ratio < 1.5


def test_calibration_of_ksg():
    """At a true gap of zero a wrong verdict may come in 5 % of the draws."""
    found = [assess(*chain(250, 0.6, 0.6, seed), "ksg") for seed in range(20)]
    assert np.mean([a.verdict == "undecided" for a in found]) >= 0.95 - 3 * 0.049


def test_nearest_neighbours_in_eight_dimensions_cover_the_truth():
    """Their own answer is .6 nats too low there."""
    truth = nats(0.9) - nats(0.5)
    found = [assess(*chain(400, 0.9, 0.5, seed, p=8), "ksg") for seed in range(4)]
    assert all(a.gap_interval[0] <= truth <= a.gap_interval[1] for a in found)
    own = np.mean([a.i_ts.values[0] - a.i_sl.values[0] for a in found])
    assert own < truth - 0.4  # here; corrected it is nearer
    assert abs(np.mean([a.gap for a in found]) - truth) < truth - own


def independent(seed, n=500, latents=8, columns=60):
    """Two blocks of `columns` that follow `latents` each, and a label: all of them
    independent.
    """
    rng = np.random.default_rng(seed)
    blocks = [
        np.tanh(
            rng.standard_normal((n, latents)) @ rng.standard_normal((latents, columns))
        )
        for _ in range(2)
    ]
    return *blocks, rng.integers(0, 2, n)


@pytest.mark.parametrize("method", ["gaussian", "ksg"])
def test_independent_blocks_of_low_rank_are_not_to_be_distilled(method):
    for seed in range(2):
        found = assess(*independent(seed), method)
        assert found.verdict != "distil" and found.gap_interval[0] <= 0


def test_halves_of_fewer_columns_do_not_narrow_the_interval():
    """64 + 64 components of 500 rows, of which the halves can take some 26 each: their
    spread is half of the estimate's, whose standard deviation over draws is .10.
    """
    blocks = [
        criterion._leading("block", criterion._rescaled(block, "columns"), 64)[0]
        for block in independent(0, columns=300)[:2]
    ]
    task = criterion._Task("gaussian", 1, 0, "cpu", 0.95, True, None)
    splits = criterion._halves(None, 500, task.splits, 0)
    on_halves = criterion._on_halves(*blocks, "gaussian", splits, (0, 1), "cpu")
    assert criterion._half_sample_error(on_halves, 500) < 0.07
    term = task.term(*blocks, splits)
    assert criterion._half_sample_error(term.own_halves, 500) == pytest.approx(
        0.1, abs=0.01
    )


def test_a_term_at_its_floor_does_not_decide():
    """An interval cut off at 0 is no evidence, however the halves' errors go along."""
    cut = np.array([[0.3, 0.1], [0.1, 0.3], [0.2, 0.0]])
    assert criterion._together(cut, cut) == pytest.approx(1.0)
    estimate = assess(*chain(100, 0.5, 0.5, 0), "gaussian").i_ts
    term = criterion._Term(
        estimate, 0.127, 0.127, 0.166, 0.0, 0.4, cut, cut, 0.0, False
    )
    label = criterion._Term(estimate, 0.0, 0.0, 0.0, 0.0, 0.016, cut, cut, 0.0, False)
    task = criterion._Task("gaussian", 1, 0, "cpu", 0.95, True, None)
    found = criterion._assessment(term, label, -np.inf, None, np.nan, task)
    assert found.gap_interval[0] <= 0 and found.verdict == "undecided"


def test_a_gap_that_the_method_cannot_see_is_not_denied():
    """p = 32 against 32, n = 200, a true gap of +1.29."""
    for seed in range(3):
        rng = np.random.default_rng(seed)
        teacher, student = rng.standard_normal((2, 200, 32))
        rho = np.sqrt(1 - np.exp(-2 * 1.52 / 4))
        teacher[:, :4] = rho * student[:, :4] + np.sqrt(1 - rho**2) * teacher[:, :4]
        label = (rng.random(200) < 1 / (1 + np.exp(-2 * student[:, 0]))).astype(int)
        found = assess(teacher, student, label, "gaussian")
        assert found.verdict != "do not distil" and found.gap_interval[1] > 1


def test_what_is_known_comes_before_the_difference():
    rng = np.random.default_rng(1)
    teacher, student = rng.standard_normal((2, 300, 8))
    noise = assess(teacher, student, rng.integers(0, 3, 300), "gaussian")
    assert np.mean(noise.i_sl.values) < 0  # which no information is
    assert noise.i_sl.value == 0 and noise.verdict == "undecided"
    assert any("read as zero" in reason for reason in noise.reasons)

    rare = np.repeat([0, 1, 2], [950, 40, 10])
    student = rare + 0.01 * rng.standard_normal(1000)
    sure = assess(rng.standard_normal(1000), student, rare, "ksg")
    shares = np.array([0.95, 0.04, 0.01])
    assert sure.label_entropy == pytest.approx(-(shares * np.log(shares)).sum())
    assert sure.i_sl.value <= sure.label_entropy
    assert any("read it as H(Y)" in reason for reason in sure.reasons)
    assert sure.gap_interval[0] >= -sure.label_entropy


def test_a_teacher_that_knows_the_label_bounds_the_gap(classes):
    """I(H1; H2) - I(H2; Y) ≥ -H(Y | H1), whatever the estimates say."""
    _, student, labels = classes
    knows = labels + 0.01 * np.random.default_rng(0).standard_normal(600)
    found = assess(knows, student, labels, "gaussian")
    assert found.gap_interval[0] > -0.05
    assert found.verdict != "do not distil"


def test_a_saturated_term_decides_in_one_direction_only():
    teacher, student, target = chain(200, 0.5, 0.5, seed=0)
    for method in ("ksg", "gaussian"):
        same = assess(student, student, target, method)
        assert same.verdict == "distil" and same.gap_interval[1] == np.inf
        assert any("bound" in r and "from below only" in r for r in same.reasons)
        # the student determines the target: that it shares less can't be said
        certain = assess(teacher, student, student, method)
        assert certain.gap_interval[0] == -np.inf
        assert certain.verdict == "do not distil"
        assert any("nothing bounds it above" in r for r in certain.reasons)
        both = assess(student, student, student, method)
        assert both.verdict == "undecided" and np.isfinite(both.gap)


@pytest.mark.parametrize("method", ["gaussian", "ksg", "latent", "mine"])
def test_units_and_offsets_do_not_matter(method):
    teacher, student, target = chain(120, 0.7, 0.5, seed=3, p=2)
    quick = dict(runs=1, calibrate=False)
    plain = assess(teacher, student, target, method, **quick)
    scaled = assess(
        8 + 1024 * teacher, student * [0.125, 64.0], 4 * target - 2, method, **quick
    )
    assert scaled.gap == pytest.approx(plain.gap, abs=1e-3)
    assert scaled.gap_interval == pytest.approx(plain.gap_interval, abs=1e-2)


def test_scales_are_kept_for_who_knows_better():
    teacher, student, target = chain(200, 0.7, 0.5, seed=3, p=2)
    stretched = student * [1.0, 100.0]
    kept, block, columns = (
        assess(teacher, stretched, target, "ksg", rescale=how, calibrate=False).gap
        for how in ("none", "block", "columns")
    )
    plain = assess(teacher, student, target, "ksg", calibrate=False).gap
    assert columns == pytest.approx(plain, abs=1e-9)
    assert len({kept, block, columns}) == 3
    with pytest.raises(ValueError, match="`rescale`.*got 'unit'"):
        assess(teacher, student, target, "ksg", rescale="unit")


def test_a_good_teacher_in_other_units_stays_ahead():
    teacher, student, target = chain(300, 0.9, 0.5, seed=1, p=2)
    weak = teacher + 2 * np.random.default_rng(2).standard_normal(teacher.shape)
    teachers = {"weak": weak, "good": 1000 * teacher}
    table = rank_teachers(teachers, student, target, "ksg", calibrate=False)
    assert list(table.teacher) == ["good", "weak"]


def test_ranks_are_numbers_where_the_student_determines_the_target():
    teacher, student, _ = chain(200, 0.9, 0.5, seed=1)
    weak = teacher + np.random.default_rng(2).standard_normal(teacher.shape)
    table = rank_teachers(
        {"weak": weak, "same": student, "good": teacher}, student, student, "gaussian"
    )
    assert list(table.teacher) == ["same", "good", "weak"]
    numeric = table[["i_ts", "i_sl", "gap", "low", "high", "behind_best"]]
    assert not numeric.isna().any(axis=None)
    assert not table.behind_best_se.isna().any()


def repeated(seed, subjects=40, rows=5):
    """Independent subjects with nearly equal rows, and a label a subject."""
    rng = np.random.default_rng(seed)
    blocks = rng.standard_normal((2, subjects, 2)).repeat(rows, axis=1)
    teacher, student = blocks + 0.05 * rng.standard_normal(blocks.shape)
    labels = rng.permutation(np.arange(subjects) % 2).repeat(rows)
    order = rng.permutation(subjects * rows)
    groups = np.arange(subjects).repeat(rows)
    return teacher[order], student[order], labels[order], groups[order]


def test_rows_of_a_subject_stay_together():
    *data, groups = repeated(0)
    order, starts = criterion._by_group(groups, 200, np.arange(200))
    for one, other in criterion._halves(data[2][order], 200, 5, 0, starts):
        assert sorted(np.concatenate([one, other])) == list(range(200))
        ids = groups[order]
        assert not set(ids[one]) & set(ids[other])
    with pytest.raises(
        ValueError, match="`groups` must hold at least 8 subjects, got 2"
    ):
        assess(*data, "gaussian", groups=groups % 2)
    with pytest.raises(ValueError, match=r"`groups`.*got \(3,\)"):
        assess(*data, "gaussian", groups=groups[:3])


def test_rows_of_a_subject_are_no_evidence():
    """Nearly equal rows are each other's neighbours in both blocks, which looks like
    dependence.
    """
    for seed in range(3):
        *data, groups = repeated(seed)
        blind = assess(*data, "ksg")
        aware = assess(*data, "ksg", groups=groups)
        assert blind.i_ts.value > aware.i_ts.value + 1
        assert blind.verdict == "distil" and aware.verdict != "distil"
        assert aware.gap_interval[0] <= 0 <= aware.gap_interval[1]


def test_an_assessment_prints_as_three_lines():
    found = assess(*chain(200, 0.9, 0.5, seed=1), "gaussian")
    lines = repr(found).splitlines()
    assert len(lines) == 3 and lines[0].startswith("distil: the gap is +0.")
    assert "I(teacher; student) = " in lines[1] and "200 subjects" in lines[2]
    assert found._repr_html_().count("<br>") == 2


# surrogates: the information that they are said to have


def test_matched_rows_have_the_information_they_are_said_to_have():
    rng = np.random.default_rng(0)
    x, y = rng.exponential(size=(2, 4000, 3))
    family = surrogates.Factor(x, y, x[:, 0], y[:, 1])
    for level in (0.0, 0.3, 1.0):
        drawn_x, drawn_y = family.draw(level, np.random.default_rng(1))
        assert sorted(drawn_x[:, 2]) == sorted(x[:, 2])  # the rows are the data's
        rank = [np.argsort(np.argsort(v)) for v in (drawn_x[:, 0], drawn_y[:, 1])]
        rho = np.corrcoef(ndtri((np.array(rank) + 0.5) / 4000))[0, 1]
        assert nats(rho) == pytest.approx(level, abs=0.05)


def test_spread_pairs_have_the_data_s_marginals_and_the_information():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 3000, 4))
    families = surrogates.families(x, y)
    spread = families[-1]
    assert isinstance(families[0], surrogates.Factor) and spread.pairs == 4
    drawn_x, drawn_y = spread.draw(0.8, np.random.default_rng(1))
    np.testing.assert_array_equal(np.sort(drawn_x, 0), np.sort(x, 0))
    joint = np.linalg.slogdet(np.corrcoef(drawn_x.T, drawn_y.T))[1]
    blocks = [np.linalg.slogdet(np.corrcoef(v.T))[1] for v in (drawn_x, drawn_y)]
    assert (sum(blocks) - joint) / 2 == pytest.approx(0.8, abs=0.06)


def test_the_information_of_rows_matched_by_several_scores_is_measured():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, 1000, 3))
    family = surrogates.Matched(x, y, x, y)
    levels = []
    for asked in (0.0, 0.5, 2.0):
        levels.append(family.level_of(asked, np.random.default_rng(1)))
        drawn = family.draw(asked, np.random.default_rng(1))
        joint = np.linalg.slogdet(np.corrcoef(*[v.T for v in drawn]))[1]
        blocks = [np.linalg.slogdet(np.corrcoef(v.T))[1] for v in drawn]
        assert (sum(blocks) - joint) / 2 == pytest.approx(levels[-1], abs=0.03)
        np.testing.assert_array_equal(np.sort(drawn[1], 0), np.sort(y, 0))
    assert levels[0] == 0 < levels[1] < levels[2] < 2


def test_curved_features_of_few_latents_are_not_counted_twice():
    """tanh features hold a latent's powers too, whose correlations the Gaussian formula
    adds up.
    """
    rng = np.random.default_rng(0)
    maps = rng.standard_normal((2, 6, 40)) / np.sqrt(6)
    u, v = rng.standard_normal((2, 400, 6))
    rho = np.sqrt(1 - np.exp(-2 * 1.2 / 6))
    v = rho * u + np.sqrt(1 - rho**2) * v
    label = rng.integers(0, 2, 400)
    found = assess(np.tanh(u @ maps[0]), np.tanh(v @ maps[1]), label, "gaussian")
    assert found.i_ts.values[0] > 1.6 > found.i_ts.value
    assert found.gap_interval[0] <= 1.2 <= found.gap_interval[1]


@pytest.mark.parametrize("classes", [2, 4])
def test_drawn_labels_have_the_information_they_are_said_to_have(classes):
    rng = np.random.default_rng(0)
    codes = np.minimum(rng.geometric(0.5, 4000), classes) - 1
    x = rng.standard_normal((4000, 3)) + codes[:, None]
    family = surrogates.label_families(x, codes)[0]
    shares = np.bincount(codes) / 4000
    for level in (0.1, 0.4):
        p = family.probabilities(level)
        np.testing.assert_allclose(p.mean(0), shares, atol=1e-3)
        drawn = family.draw(level, np.random.default_rng(1))[1]
        gain = np.log(p / shares)[np.arange(4000), drawn]
        assert gain.mean() == pytest.approx(level, abs=4 * gain.std() / np.sqrt(4000))


def test_a_curve_is_read_backwards():
    found = surrogates.Curve(np.array([0.0, 1.0, 2.0]), np.array([0.5, 0.7, 0.6]))
    assert found.truth(0.2) == found.truth(0.5) == 0
    assert found.truth(0.6) == pytest.approx(0.5)
    assert found.truth(0.71) == np.inf


def test_a_random_estimator_is_averaged_split_and_reproducible():
    data = chain(120, 0.6, 0.4, seed=0)
    first, again, other = (
        assess(*data, "latent", runs=2, seed=seed) for seed in (3, 3, 4)
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
        list(map(int, labels)),
    ):
        assert numbers(assess(teacher, student, same, "ksg")) == numbers(reference)
    # a column is a target, as the help says
    target = assess(teacher, student, labels[:, None], "ksg")
    assert np.isnan(target.label_entropy)


def test_the_subjects_order_does_not_matter_to_the_gap(classes):
    order = np.random.default_rng(1).permutation(600)
    shuffled = assess(*(part[order] for part in classes), "ksg")
    assert shuffled.gap == pytest.approx(assess(*classes, "ksg").gap, abs=1e-9)


def test_float_labels_with_few_values_must_say_what_they_are(classes):
    teacher, student, labels = classes
    with pytest.raises(
        ValueError,
        match=r"`labels` must say whether they are classes or a regression target",
    ):
        assess(teacher, student, labels.astype(float), "gaussian")
    scores = np.round(student).clip(-1, 3) + 1
    assert np.isnan(assess(teacher, student, scores[:, None], "gaussian").label_entropy)
    assert assess(teacher, student, scores.astype(int), "gaussian").label_entropy > 0


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(teacher=np.nan), "`teacher`.*got 1 NaN or infinite"),
        (dict(student=np.inf), "`student`.*got 1 NaN or infinite"),
        (dict(labels=np.nan), "`labels`.*got 1 NaN or infinite"),
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
        (dict(teacher=np.zeros((99, 2))), "`teacher` must vary"),
        (dict(teacher=np.ones((40, 2))), "`teacher` must vary"),
        (
            dict(student=np.random.default_rng(0).random((40, 2))),
            "inconsistent numbers of samples.*`student` 40",
        ),
        (dict(student=np.ones((100, 3, 3))), r"`student`.*got \(100, 3, 3\)"),
        (dict(labels=np.zeros(100, int)), "`labels`.*got 0 alone"),
        (dict(labels=np.zeros(100)), "`labels` must vary"),
        (
            dict(labels=np.array([1] * 5 + [0] * 95)),
            "`labels` must have at least 10 .*got class 1 has 5",
        ),
        (dict(labels=np.eye(2, dtype=int)[[0, 1] * 50]), "not one-hot"),
        (
            dict(labels=np.array(["a", None] * 50, dtype=object)),
            "`labels`.*ragged",
        ),
        (dict(labels=3), "`labels`.*shape"),
        (dict(method="magic"), "`method`.*got 'magic'"),
        (dict(runs=0), "`runs`.*got 0"),
        (dict(runs=2.5), "`runs`.*got 2.5"),
        (dict(confidence=95), "`confidence`.*got 95"),
        (dict(confidence=1.0), "`confidence`.*got 1.0"),
        (dict(confidence=[0.9]), "confidence"),
        (dict(teacher=np.zeros(100, complex) + np.arange(100)), "teacher.*complex"),
        (dict(seed=-1), "`seed`.*got -1"),
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
    with pytest.raises(ValueError, match="at least 20 subjects .*got 19"):
        assess(teacher, student, labels, "gaussian")
    with pytest.raises(
        ValueError, match="at least 50 subjects with method 'latent', got 49"
    ):
        assess(*chain(49, 0.5, 0.5, 0))
    with pytest.raises(ValueError, match="`teachers`"):
        rank_teachers({}, student, labels, "gaussian")


def test_rare_classes_keep_subjects_in_both_halves():
    labels = np.array([0] * 10 + [1] * 11 + [2] * 79)
    for halves in criterion._halves(labels, 100, 30, seed=0):
        assert sorted(np.concatenate(halves)) == list(range(100))
        assert all(np.bincount(labels[half], minlength=3).min() >= 5 for half in halves)
    with pytest.raises(ValueError, match="too rare"):
        criterion._halves(np.repeat(np.arange(12), 10), 120, 5, seed=0)


def test_teachers_are_ranked_on_the_same_splits():
    teacher, student, labels = chain(800, 0.85, 0.65, seed=5)
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


def test_one_hot_labels_are_refused(classes):
    teacher, student, labels = classes
    with pytest.raises(ValueError, match="one-hot"):
        assess(teacher, student, np.eye(2)[labels], "gaussian")


@pytest.mark.parametrize(
    ("low", "high", "said"),
    [
        (-0.1, 0.25, "-0.10 to 0.25"),
        (1.65, np.inf, "1.65 or more"),
        (-np.inf, 0.5, "0.50 or less"),
        (-np.inf, np.inf, "without bounds"),
    ],
)
def test_open_intervals_are_put_into_words(low, high, said):
    assert criterion.between(low, high, ".2f") == said


def test_a_method_that_does_not_trust_itself_decides_nothing():
    """Both networks see the class in well separated clusters, and the label is theirs:
    I(H1;H2) = I(H2;Y), where a Gaussian says twice as much of the first.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(2, size=400)
    teacher, student = 8 * labels[:, None] + rng.standard_normal((2, 400, 3))
    found = assess(teacher, student, labels, "gaussian", calibrate=False)
    assert found.verdict == "undecided" and not found.i_ts.trusted
    assert any("decides nothing" in note for note in found.notes)


def test_subjects_that_are_there_several_times_count_once():
    teacher, student, labels = chain(150, 0.7, 0.5, 0)
    alone = assess(teacher, student, labels, "ksg", calibrate=False)
    rows = np.repeat(np.arange(150), 4)
    several = [part[rows] for part in (teacher, student, labels)]
    found = assess(*several, "ksg", calibrate=False)
    assert found.gap_interval == alone.gap_interval
    assert found.i_ts.n_samples == 150 and "450 repeat another" in found.notes[0]
    grouped = assess(*several, "ksg", calibrate=False, groups=rows)
    assert grouped.i_ts.n_samples == 150
