"""Nearest neighbours on laws that are not continuous, against closed forms."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.spatial.distance import cdist
from scipy.special import digamma
from scipy.stats import norm, poisson

from cchlib.mi import estimate_mi, ties

N = 800


def ksg(x, y, **options):
    return estimate_mi(x, y, "ksg", parts=0, **options).value


def mean_of(draw, draws=3, **options):
    values = []
    for seed in range(draws):
        values.append(ksg(*draw(np.random.default_rng(seed)), **options))
    return np.mean(values)


def gaussian_pair(rng, rho, columns=1):
    x, e = rng.standard_normal((2, N, columns))
    return x, rho * x + np.sqrt(1 - rho**2) * e


def rounded(values, step):
    return np.round(values / step) * step if step else values


def cells(step):
    edge = (np.arange(np.ceil(8 / step) + 1) - 0.5) * step
    return np.concatenate([-edge[:0:-1], edge])


def information_after_rounding(rho, step):
    """I(x; y rounded) of a Gaussian pair: the integral over x of the entropy lost."""
    if step < 0.05:  # what that costs is of the order of step²
        return -0.5 * np.log(1 - rho**2)
    edges = cells(step)
    of_y = np.diff(norm.cdf(edges))

    x = np.linspace(-7, 7, 701)
    p = np.diff(norm.cdf((edges - rho * x[:, None]) / np.sqrt(1 - rho**2)))
    some = (p > 0) & (of_y > 0)
    ratio = np.divide(p, of_y, out=np.ones_like(p), where=some)
    lost = (p * np.log(ratio)).sum(1)
    return np.trapezoid(norm.pdf(x) * lost, x)


def information_of_both_rounded(rho, step):
    """The same of both sides: probabilities of the cells by quadrature over x."""
    if step < 0.05:
        return -0.5 * np.log(1 - rho**2)
    edges = cells(step)
    nodes = np.linspace(edges[:-1], edges[1:], 5 + int(50 * step))
    density = norm.pdf(nodes)[..., None] * np.diff(
        norm.cdf((edges - rho * nodes[..., None]) / np.sqrt(1 - rho**2)), axis=-1
    )
    return information_of_table(np.trapezoid(density, nodes[..., None], axis=0))


def information_of_table(p):
    """Of two discrete variables with the joint probabilities p."""
    independent = p.sum(1, keepdims=True) * p.sum(0)
    some = p > 0
    return float((p[some] * np.log(p[some] / independent[some])).sum())


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("step", [0.01, 0.1, 0.3, 1.0])
def test_one_side_rounded(rho, step):
    def draw(rng):
        x, y = gaussian_pair(rng, rho)
        return x, rounded(y, step)

    truth = information_after_rounding(rho, step)
    assert mean_of(draw) == pytest.approx(truth, abs=0.05)


@pytest.mark.parametrize("rho", [0.0, 0.6, 0.9])
@pytest.mark.parametrize("step", [0.01, 0.1, 0.3, 1.0])
def test_both_sides_rounded(rho, step):
    def draw(rng):
        x, y = gaussian_pair(rng, rho)
        return rounded(x, step), rounded(y, step)

    assert mean_of(draw) == pytest.approx(
        information_of_both_rounded(rho, step), abs=0.05
    )


@pytest.mark.parametrize("columns", [2, 8])
@pytest.mark.parametrize("shift", [0.0, 1.0, 1.5])
def test_independent_columns_after_a_relu_share_nothing(columns, shift):
    def draw(rng):
        return np.maximum(rng.standard_normal((2, N, columns)) - shift, 0)

    assert mean_of(draw) == pytest.approx(0, abs=0.06)


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_independent_columns_of_one_decimal_share_nothing(columns):
    def draw(rng):
        return rng.standard_normal((2, N, columns)).round(1)

    assert mean_of(draw) == pytest.approx(0, abs=0.05)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng: rng.integers(20, 90, (2, N)).astype(float),
        lambda rng: rng.poisson(100, (2, N)).astype(float),
        lambda rng: rng.poisson(3, (2, N)).astype(float),
        lambda rng: rng.integers(-9, 10, (2, N)) / 3,
        lambda rng: rng.permuted(np.tile(np.arange(N), (2, 1)), axis=1).astype(float),
        lambda rng: rng.standard_normal((2, N)).astype(np.float16),
    ],
    ids=["ages", "counts", "rare counts", "thirds", "ranks", "half precision"],
)
def test_independent_grids_share_nothing(draw):
    assert mean_of(draw) == pytest.approx(0, abs=0.05)


def test_counts_with_a_common_part():
    """Poisson(2) + Poisson(1) on both sides, the first the same."""
    k = np.arange(40)
    table = np.zeros((40, 40))
    for common in range(25):
        own = poisson.pmf(k - common, 1)
        table += poisson.pmf(common, 2) * np.outer(own, own)

    def draw(rng):
        common = rng.poisson(2, N)
        return common + rng.poisson(1, (2, N)).astype(float)

    assert mean_of(draw) == pytest.approx(information_of_table(table), abs=0.03)


@pytest.mark.parametrize("shared", [True, False])
def test_zero_inflated_pairs(shared):
    """Zero or a Gaussian pair of .51 nats; both zero together, or each by itself."""
    q = 0.4
    within = -0.5 * np.log(1 - 0.8**2)
    truth = q**2 * within
    if shared:
        truth = -q * np.log(q) - (1 - q) * np.log(1 - q) + q * within

    def draw(rng):
        x, y = gaussian_pair(rng, 0.8)
        lit = rng.random((2, N, 1)) < q
        return np.where(lit[0], x, 0), np.where(lit[0 if shared else 1], y, 0)

    assert mean_of(draw) == pytest.approx(truth, abs=0.04)


def test_one_discrete_column_among_continuous_ones():
    def draw(rng):
        x, y = gaussian_pair(rng, 0.5, 2)
        x[:, 0] = np.round(x[:, 0])
        return x, y

    truth = information_after_rounding(0.5, 1.0) - 0.5 * np.log(0.75)
    assert mean_of(draw) == pytest.approx(truth, abs=0.05)


def test_rounded_columns_against_classes():
    def draw(rng):
        labels = rng.integers(2, size=N)
        return (rng.standard_normal(N) + 2 * labels).round(1), labels

    def surprise(x):
        mixture = 0.5 * (norm.pdf(x) + norm.pdf(x - 2))
        return norm.pdf(x) * np.log(norm.pdf(x) / mixture)

    assert mean_of(draw) == pytest.approx(quad(surprise, -8, 8)[0], abs=0.03)


@pytest.mark.parametrize("step", [0.1, 0.5])
def test_rounded_and_conditional(step):
    """x and y share z, and nothing else, or also a common part."""
    values = {0.0: [], 1.0: []}
    for seed in range(4):
        rng = np.random.default_rng(seed)
        z, a, b, c = rng.standard_normal((4, N))
        for weight, found in values.items():
            x, y = z + a + weight * c, z + b + weight * c
            found.append(ksg(rounded(x, step), rounded(y, step), given=z))
    assert np.mean(values[0.0]) == pytest.approx(0, abs=0.06)
    assert np.mean(values[1.0]) == pytest.approx(0.5 * np.log(4 / 3), abs=0.06)


def test_a_discrete_law_is_the_plug_in_less_its_bias():
    """Miller and Madow's, (cells - rows - columns + 1) / 2n, to the first order."""
    rng = np.random.default_rng(0)
    x = rng.integers(3, size=N)
    y = (x + rng.integers(2, size=N)) % 4
    table = np.zeros((3, 4))
    np.add.at(table, (x, y), 1 / N)
    used = (np.count_nonzero(table) - 3 - 4 + 1) / (2 * N)
    expected = information_of_table(table) - used
    assert ksg(x.astype(float), y.astype(float)) == pytest.approx(expected, abs=1e-3)


@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 3))
def test_without_ties_it_is_the_estimator_of_kraskov(seed, k, columns):
    rng = np.random.default_rng(seed)
    x, y = rng.standard_normal((2, 60, columns))
    y = y + x
    apart_x, apart_y = (cdist(v, v, "chebyshev") for v in (x, y))
    radius = np.sort(np.maximum(apart_x, apart_y), axis=1)[:, [k]]
    counts = [(apart < radius).sum(1) for apart in (apart_x, apart_y)]
    expected = digamma(60) + digamma(k) - sum(digamma(c).mean() for c in counts)
    assert ksg(x, y, k=k, rescale="none") == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 2**32 - 1))
def test_order_of_tied_samples_does_not_matter(seed):
    rng = np.random.default_rng(seed)
    x, y = rng.poisson(3, (2, 80)).astype(float)
    order = rng.permutation(80)
    assert ksg(x[order], y[order]) == pytest.approx(ksg(x, y), abs=1e-12)
    # nor which side is called x
    assert ksg(y, x) == pytest.approx(ksg(x, y), abs=1e-12)


def test_rounding_errors_break_no_ties():
    """0.3 - 0.2 is not 0.2 - 0.1 to a processor."""
    x, y = np.random.default_rng(0).integers(0, 30, (2, N))
    tenths = ksg(x * 0.1, y * 0.1)
    assert tenths == pytest.approx(ksg(x.astype(float), y.astype(float)), abs=1e-12)
    single = ksg((x * 0.1).astype(np.float32), (y * 0.1).astype(np.float32))
    assert single == pytest.approx(tenths, abs=1e-12)


@pytest.mark.parametrize("k, inside, within", [(3, 0, 7), (3, 1, 4), (3, 2, 30)])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_log_mass_of_a_closed_ball(k, inside, within, share):
    """Against draws of where in the tied shell the k-th neighbour lies."""
    rng = np.random.default_rng(0)
    reached = rng.beta(k - inside, within - k + 1, 200_000)
    expected = digamma(k) - np.log(share + (1 - share) * reached).mean()
    counts = [np.array([count]) for count in (k, inside + 1, within + 1)]
    assert ties.log_mass(*counts, np.array([share])) == pytest.approx(
        expected, abs=0.03
    )


@pytest.mark.parametrize("scale", [1e-3, 10.0, 1e3])
def test_units_of_a_column_do_not_matter(scale):
    x, y = gaussian_pair(np.random.default_rng(0), 0.8)
    alike = ksg(x, y)
    assert alike == ksg(x, y, rescale="none")
    assert ksg(x * scale, y) == pytest.approx(alike, abs=0.02)
    both = np.hstack([x, x[::-1]])
    assert ksg(both * [1.0, scale], y) == pytest.approx(ksg(both, y), abs=0.05)
