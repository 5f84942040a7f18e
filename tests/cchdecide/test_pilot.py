"""The pilot: heads against their loss, gains against worked cases, honest rates."""

import numpy as np
import pytest
import torch
from scipy import stats

from cchdecide import pilot
from cchdecide.heads import _Design, _over_folds, _Parts, _Softmax
from cchdecide.outputs import folds_of, outputs_of, target_of
from cchlib.losses import distillation_loss

FAST = dict(lams=(0.3, 0.7), temperatures=(1.0,), device="cpu")


def classes(n, teacher="oracle", seed=0, p=4, width=3):
    """Features (n, p), labels drawn from a softmax of them, and a teacher's logits."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    logits = x @ rng.standard_normal((p, width))
    odds = np.exp(logits)
    odds /= odds.sum(1, keepdims=True)
    y = np.array([rng.choice(width, p=row) for row in odds])
    said = {
        "oracle": logits,
        "label": 50.0 * np.eye(width)[y],
        "independent": logits[rng.permutation(n)],
    }[teacher]
    return x, y, said


def stack(x, y, teacher):
    target = target_of(y, 3)
    parts = _Parts.draw(target, 3, 1, None, np.random.default_rng(0))
    heads = _Softmax(_Design.of(x, torch.device("cpu")), target, parts)
    return heads, outputs_of("teacher", teacher, target)


@pytest.mark.parametrize("lam, temperature", [(0.0, 1.0), (0.4, 1.0), (0.8, 3.0)])
def test_heads_are_where_the_gradient_of_eq_2_is_zero(lam, temperature):
    x, y, teacher = classes(80)
    heads, output = stack(x, y, teacher)
    every = np.arange(len(heads.parts))
    fitted = heads.fit(
        heads.soft(output, temperature), np.full(len(every), lam), temperature, every
    )
    scores = heads.design.scores.double()
    for part, weights in zip(every, fitted.double()):
        rows = torch.tensor(heads.parts.train[part] > 0)
        weights = weights.clone().requires_grad_()

        def loss(w, rows=rows):
            ridge = heads.ridge / 2 * (w[:-1] ** 2).sum()
            logits = (scores @ w)[rows]
            soft = torch.tensor(output)[rows]
            label = torch.tensor(y)[rows]
            return distillation_loss(logits, soft, label, lam, temperature) + ridge

        optimum = weights.detach().clone().requires_grad_()
        solver = torch.optim.LBFGS([optimum], max_iter=500, tolerance_grad=1e-10)

        def closure(optimum=optimum, solver=solver, loss=loss):
            solver.zero_grad()
            value = loss(optimum)
            value.backward()
            return value

        solver.step(closure)
        assert float((loss(weights) - loss(optimum)).detach()) < 1e-5


def test_regression_is_least_squares_by_hand():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((90, 3))
    y = x @ [1.0, -1.0, 0.5] + rng.standard_normal(90)
    teacher = x @ [1.0, -1.0, 0.5]
    found = pilot(x, y, teacher, lams=[0.4], folds=3, repeats=1, device="cpu")
    fold = folds_of(target_of(y), 3, None, np.random.default_rng(0))
    gains = []
    for f in range(3):
        train, test = fold != f, fold == f
        z = (x - x.mean(0)) / x.std(0)
        design = np.column_stack([z, np.ones(90)])
        penalty = np.diag([found.ridge * train.sum()] * 3 + [0])
        inside = design[train]

        def head(target, inside=inside, penalty=penalty, train=train):
            gram = inside.T @ inside + penalty
            return np.linalg.solve(gram, inside.T @ target[train])

        plain, mixed = head(y), head(0.6 * y + 0.4 * teacher)
        before, after = (((y - design @ w)[test] ** 2).mean() for w in (plain, mixed))
        gains.append(before - after)
    np.testing.assert_allclose(found.gain.by_fold, gains, rtol=1e-3)
    assert found.gain.mean == pytest.approx(np.mean(gains), rel=1e-3)
    assert found.accuracy_gain is None and found.temperature == 1.0


def test_interval_by_hand():
    """Nadeau and Bengio: s²(1/J + n_test/n_train), t with J − 1 degrees of freedom."""
    values = np.array([1.0, 2.0, 3.0, 6.0])
    found = _over_folds(values, 0.0, 0.25, 0.9)
    error = np.sqrt(values.var(ddof=1) * (1 / 4 + 0.25))
    assert found.std_error == pytest.approx(error)
    assert found.high == pytest.approx(3 + stats.t.ppf(0.95, 3) * error)
    assert found.p_value == pytest.approx(stats.t.sf(3 / error, 3))
    assert _over_folds(np.zeros(4), 0.0, 0.25, 0.9).p_value == 1.0


def test_a_teacher_that_is_the_label_is_label_smoothing():
    """(1 − λ)y + λy = y: nothing over the plain student, nor over smoothing."""
    found = pilot(*classes(200, "label"), **FAST)
    assert abs(found.gain.mean) < 2e-3 * found.plain_error
    assert (found.over_smoothing.by_fold == 0).all()
    rng = np.random.default_rng(1)
    x = rng.standard_normal((100, 3))
    y = x[:, 0] + rng.standard_normal(100)
    same = pilot(x, y, y, device="cpu")
    assert (same.gain.by_fold == 0).all() and (same.over_smoothing.by_fold == 0).all()


def test_a_copy_of_the_student_adds_nothing_to_the_student():
    x, y, own = classes(150)
    found = pilot(x, y, own, student_output=own, **FAST)
    assert (found.over_itself.by_fold == 0).all()
    assert pilot(x, y, own, **FAST).over_itself is None


def test_a_teacher_that_knows_the_law_is_worth_it():
    found = pilot(*classes(400, "oracle", p=60), **FAST)
    assert found.gain.low > 0 and found.over_smoothing.low > 0
    assert "over label smoothing" in repr(found)
    assert list(found.table) == ["lam", "temperature", "gain", "low", "high"] + [
        "accuracy_gain"
    ]
    rng = np.random.default_rng(0)
    x = rng.standard_normal((400, 100))
    truth = x[:, 0]
    y = truth + rng.standard_normal(400)
    found = pilot(x, y, truth, device="cpu")
    assert found.gain.low > 0 and found.over_smoothing.low > 0 and found.lam == 0.9


@pytest.mark.parametrize("kind", ["classes", "regression"])
def test_an_independent_teacher_passes_at_most_at_the_nominal_rate(kind):
    """2.5 % one-sided: of 40 draws at most 4,
    which a true 2.5 % exceeds in 1 of 270.
    """
    passed = 0
    for seed in range(40):
        if kind == "classes":
            found = pilot(*classes(90, "independent", seed), seed=seed, **FAST)
        else:
            rng = np.random.default_rng(seed)
            x = rng.standard_normal((60, 5))
            y = x[:, 0] + rng.standard_normal(60)
            found = pilot(x, y, rng.standard_normal(60), seed=seed, device="cpu")
        passed += found.gain.low > 0 and found.over_smoothing.low > 0
    assert passed <= 4


def test_units_rotations_and_names_of_classes_do_not_matter():
    x, y, teacher = classes(150)
    reference = pilot(x, y, teacher, **FAST)
    scaled = pilot(1e6 * x * [1, 10, 1e-9, 3] + 7, y, teacher + 5.0, **FAST)
    assert scaled.gain.mean == pytest.approx(reference.gain.mean, abs=2e-4)
    order = [2, 0, 1]
    renamed = pilot(x, np.argsort(order)[y], teacher[:, order], **FAST)
    assert renamed.plain_error == pytest.approx(reference.plain_error, abs=0.02)
    named = pilot(x, np.array(["a", "b", "c"])[y], teacher, **FAST)
    assert named.gain.mean == reference.gain.mean
    odds = np.exp(teacher)
    odds /= odds.sum(1, keepdims=True)
    assert pilot(x, y, odds, **FAST).gain.mean == pytest.approx(
        reference.gain.mean, abs=2e-4
    )


def test_groups_are_held_out_whole_and_folds_are_even():
    y = np.arange(60) % 3
    groups = np.repeat(np.arange(12), 5)
    target = target_of(y)
    fold = folds_of(target, 4, groups, np.random.default_rng(0))
    assert all(len(set(fold[groups == g])) == 1 for g in range(12))
    assert np.bincount(fold).tolist() == [15] * 4
    fold = folds_of(target, 4, None, np.random.default_rng(0))
    assert all(np.bincount(fold[y == k]).tolist() == [5] * 4 for k in range(3))


def test_leaked_groups_widen_when_they_are_named():
    """Copies of subjects across folds: a head that knows them by heart looks good."""
    x, y, teacher = classes(50, p=30)
    again = [
        np.tile(a, (4, 1)) if a.ndim > 1 else np.tile(a, 4) for a in (x, y, teacher)
    ]
    again[0] = again[0] + 1e-6 * np.arange(200)[:, None] / 200  # almost the same
    groups = np.tile(np.arange(50), 4)
    leaked = pilot(*again, **FAST)
    honest = pilot(*again, groups=groups, **FAST)
    assert honest.plain_error > 2 * leaked.plain_error


def test_several_teachers_share_folds_and_wide_features_work():
    x, y, teacher = classes(60, p=100)
    found = pilot(x, y, {"a": teacher, "b": teacher, "c": -teacher}, **FAST)
    assert (found["a"].gain.by_fold == found["b"].gain.by_fold).all()
    assert found["c"].gain.mean < found["a"].gain.mean
    assert found["a"].plain.shape == found["a"].imitator.shape == (60, 3)
    np.testing.assert_allclose(found["a"].plain.sum(1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(teacher_outputs=np.zeros((60, 2))), "labels. must hold 2 classes"),
        (dict(teacher_outputs={}), "`teacher_outputs`.*got none"),
        (dict(lams=[0.0]), "`lams`.*got 0.0"),
        (dict(lams=[1.5]), "`lams`.*got 1.5"),
        (dict(temperatures=[0]), "`temperatures`.*got 0"),
        (dict(temperatures=[]), "`temperatures` must hold"),
        (dict(folds=2), "`folds`.*got 2"),
        (dict(groups=np.zeros(60)), "groups. must hold at least 10 groups"),
        (dict(groups=[1]), "groups. must have shape"),
        (dict(student_features=np.zeros((60, 2))), "`student_features` must vary"),
        (dict(student_features=np.zeros((6, 2))), "inconsistent numbers"),
        (dict(labels=np.array([0] * 58 + [1, 2])), "`labels`.*got class 1 with 1"),
        (dict(confidence=95), "`confidence`.*got 95"),
    ],
)
def test_bad_input_is_refused_by_name(change, message):
    x, y, teacher = classes(60)
    arguments = dict(student_features=x, labels=y, teacher_outputs=teacher)
    with pytest.raises(ValueError, match=message):
        pilot(**(arguments | change))


def test_outputs_of_one_column_and_of_absent_classes():
    y = np.array([0, 1] * 20)
    target = target_of(y, 1)
    odds = np.linspace(-2, 3, 40)[:, None]
    log = outputs_of("teacher", odds, target)
    np.testing.assert_allclose(log[:, 1] - log[:, 0], odds[:, 0])
    probability = 1 / (1 + np.exp(-odds))
    np.testing.assert_allclose(outputs_of("teacher", probability, target), log)
    assert target_of(np.array([0, 2] * 10), 4).y.shape == (20, 4)
    assert target_of(np.array([1, 2] * 10), 2).codes.tolist() == [0, 1] * 10
