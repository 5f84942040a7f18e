"""mRMR against a reference written feature by feature, and on problems with a known
answer.

On the real brca705 (mRNA, CNV, RPPA; 100 of 604, 860, 223 features) the F variants
chose the same features, 100 of 100, as `feature_engine.selection.MRMR` 1.9.4 ("FCQ",
"FCD"), some 300 times faster.
"""

import itertools

import numpy as np
import pandas as pd
import pytest
from feature_engine.selection import MRMR
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_selection import f_classif
from sklearn.metrics import mutual_info_score

from cchbook.data.mrmr import RELEVANCE, SCHEMES, select

VARIANTS = list(itertools.product(RELEVANCE, SCHEMES))


def problem(n=80, p=12, classes=3, seed=0):
    """Correlated features, some of which tell the classes apart."""
    random = np.random.default_rng(seed)
    y = random.integers(0, classes, n)
    y[:classes] = range(classes)
    x = random.normal(size=(n, p)) @ random.normal(size=(p, p)) + np.outer(
        y, random.normal(size=p)
    )
    return x, y


def reference(x, y, k, relevance, scheme):
    """Ding & Peng (2005), one feature, one pair at a time."""
    p = x.shape[1]
    mean, half = x.mean(0), x.std(0) / 2
    states = np.where(x > mean + half, 1, np.where(x < mean - half, -1, 0))
    if relevance == "f":
        value = f_classif(x, y)[0]
        pair = lambda i, j: abs(np.corrcoef(x[:, i], x[:, j])[0, 1])  # noqa: E731
    else:
        value = np.array([mutual_info_score(y, states[:, j]) for j in range(p)])
        pair = lambda i, j: mutual_info_score(states[:, i], states[:, j])  # noqa: E731
    chosen = [int(np.argmax(value))]
    while len(chosen) < k:
        left = [j for j in range(p) if j not in chosen]
        redundancy = [np.mean([pair(i, j) for i in chosen]) for j in left]
        score = [
            value[j] - r if scheme == "difference" else value[j] / r
            for j, r in zip(left, redundancy)
        ]
        chosen.append(left[int(np.argmax(score))])
    return chosen


@pytest.mark.parametrize(("relevance", "scheme"), VARIANTS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10**6), classes=st.integers(2, 4))
def test_equals_the_reference(relevance, scheme, seed, classes):
    x, y = problem(seed=seed, classes=classes)
    assert select(x, y, 8, relevance, scheme).tolist() == reference(
        x, y, 8, relevance, scheme
    )


@pytest.mark.parametrize(("relevance", "scheme"), VARIANTS)
def test_a_copy_adds_nothing(relevance, scheme):
    """Of a good feature, its copy and a fair one, the good and the fair are chosen."""
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 400)
    good, fair = y + 0.5 * random.normal(size=400), y + 0.55 * random.normal(size=400)
    noise = random.normal(size=(400, 3))
    x = np.column_stack((good, good, fair, noise))
    if (relevance, scheme) == (
        "f",
        "difference",
    ):  # an F of hundreds against a correlation below 1
        assert set(select(x, y, 2, relevance, scheme)) == {0, 1}
    else:
        assert set(select(x, y, 2, relevance, scheme)) == {0, 2}


@pytest.mark.parametrize("relevance", RELEVANCE)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_units_and_signs_do_not_matter(relevance, seed):
    x, y = problem(seed=seed)
    random = np.random.default_rng(seed)
    scale = random.choice([-1, 1], x.shape[1]) * 2.0 ** random.integers(
        -4, 5, x.shape[1]
    )
    assert (
        select(x, y, 6, relevance).tolist()
        == select(x * scale, y, 6, relevance).tolist()
    )


@pytest.mark.parametrize("relevance", RELEVANCE)
def test_the_order_of_features_and_the_names_of_classes_do_not_matter(relevance):
    x, y = problem(p=40)
    order = np.random.default_rng(1).permutation(40)
    names = np.array(["KICH", "KIRC", "KIRP"])
    plain = select(x, y, 10, relevance)
    assert (
        order[select(x[:, order], names[y], 10, relevance)].tolist() == plain.tolist()
    )


def test_features_that_do_not_vary_are_never_chosen():
    x, y = problem(p=6)
    x[:, [1, 4]] = 3.0
    for relevance, scheme in VARIANTS:
        assert sorted(select(x, y, 100, relevance, scheme)) == [0, 2, 3, 5]


def test_an_offset_does_not_matter():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((60, 12)), np.repeat([0, 1], 30)
    x[:, 9:] += y[:, None]
    moved = x.copy()
    moved[:, 0] = 1e7 + 0.01 * x[:, 0]
    for scheme in SCHEMES:
        assert (
            select(moved, y, 5, "f", scheme).tolist()
            == select(x, y, 5, "f", scheme).tolist()
        )


def test_integer_calls_and_perfect_features():
    """GISTIC calls are whole numbers, and a feature that equals the label has an
    infinite F.
    """
    random = np.random.default_rng(0)
    y = random.integers(0, 2, 60)
    x = np.column_stack((random.integers(-2, 3, (60, 5)), y)).astype(np.int8)
    for relevance, scheme in VARIANTS:
        chosen = select(x, y, 6, relevance, scheme)
        assert chosen[0] == 5 and sorted(chosen) == list(range(6))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"x": np.zeros(4)}, "`x`.*shape"),
        ({"x": np.full((4, 2), np.nan)}, "NaN"),
        ({"x": np.ones((4, 2))}, "constant"),
        ({"x": np.eye(3)}, "inconsistent"),
        ({"y": np.zeros(4)}, "two classes, got 1"),
        ({"k": 0}, "`k`.*got 0"),
        ({"k": 2.0}, "`k`.*got 2.0"),
        ({"relevance": "chi2"}, "`relevance`.*got 'chi2'"),
        ({"scheme": "ratio"}, "`scheme`.*got 'ratio'"),
    ],
)
def test_bad_input_is_named(change, named):
    good = {"x": np.eye(4), "y": np.array([0, 0, 1, 1]), "k": 2}
    with pytest.raises(ValueError, match=named):
        select(**(good | change))


@pytest.mark.parametrize("scheme, method", [("quotient", "FCQ"), ("difference", "FCD")])
@pytest.mark.parametrize("seed", range(3))
def test_equals_a_library(scheme, method, seed):
    """feature-engine's MRMR, which says which features it kept, not their order."""
    rng = np.random.default_rng(seed)
    y, z = rng.integers(0, 3, 150), rng.standard_normal((150, 6))
    z[:, :3] += 1.2 * np.eye(3)[y]
    x = pd.DataFrame(
        z @ rng.standard_normal((6, 12)) + 0.4 * rng.standard_normal((150, 12))
    ).add_prefix("f")
    kept = (
        MRMR(method=method, max_features=5, regression=False)
        .fit(x, pd.Series(y))
        .transform(x)
        .columns
    )
    assert set(kept) == {f"f{i}" for i in select(x.to_numpy(), y, 5, "f", scheme)}
