"""Problems of known mutual information, at the sizes of the paper's representations.

Every problem has a population from which `sample(n, seed)` draws, and its mutual
information in nats in closed form or by quadrature in one dimension. Half of them
("tune") chose the settings of `latent`; the other half ("report") was
kept for reporting. The halves hold the same families with other sizes, truths and maps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.special import digamma, expit, gammaln

from cchlib import check

Sampler = Callable[[int, np.random.Generator], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """A population with known I(x; y).

    Attributes
    ----------
    name, family : str
    half : "tune" or "report"
    truth : float
        Nats.
    """

    name: str
    family: str
    half: str
    truth: float
    sampler: Sampler

    def sample(self, n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """X (n, p) and y: (n, q) or (n,) floats, or (n,) integer classes."""
        return self.sampler(
            check.integer("n", n, 1), np.random.default_rng(check.integer("seed", seed))
        )


def problems(half: str | None = None) -> list[Problem]:
    """The panel, or one half of it ("tune", "report")."""
    if half is not None:
        check.one_of("half", half, ("tune", "report"))
    return [p for p in PANEL if half in (None, p.half)]


# ---------------------------------------------------------------- truths


def correlations(mi: float, pairs: int = 1) -> np.ndarray:
    """Equal correlations of `pairs` Gaussian pairs whose information adds to `mi`: -½
    log(1 - ρ²) each.
    """
    return np.full(pairs, np.sqrt(1 - np.exp(-2 * mi / pairs)))


def student_excess(dof: float, p: int, q: int) -> float:
    """What a common Student scale adds to the Gaussian I(x; y), x in p and y in q
    dimensions (Czyż et al., 2023).
    """

    def f(v: float) -> float:
        return gammaln(v / 2) - v / 2 * digamma(v / 2)

    return float(f(dof) + f(dof + p + q) - f(dof + p) - f(dof + q))


def logistic_information(slope: float) -> float:
    """I(x; y) of x ~ N(0, 1) and y ~ Bernoulli(expit(slope x)): log 2 - E H(y|x)."""

    def integrand(t: float) -> float:
        p = expit(slope * t)
        entropy = -sum(v * np.log(v) for v in (p, 1 - p) if v > 0)
        return entropy * np.exp(-t * t / 2) / np.sqrt(2 * np.pi)

    return float(np.log(2) - quad(integrand, -12, 12, limit=200)[0])


def channel_information(flip: float, classes: int = 2) -> float:
    """A uniform class through a symmetric channel that replaces it, with probability
    `flip`, by one of the others.
    """
    stay = 1 - flip
    noise = flip * np.log(flip / (classes - 1)) if flip > 0 else 0.0
    return float(np.log(classes) + (stay * np.log(stay) if stay > 0 else 0.0) + noise)


def regression_information(
    curve: Callable[[np.ndarray], np.ndarray], noise: float
) -> float:
    """I(t; y) of t ~ N(0, 1) and y = curve(t) + noise · N(0, 1): h(y) - h(y|t), on a
    grid.
    """
    t = np.linspace(-9, 9, 6001)
    weight = np.exp(-t * t / 2)
    weight /= weight.sum()
    centre = curve(t)
    y = np.linspace(centre.min() - 10 * noise, centre.max() + 10 * noise, 4001)
    density = (
        np.exp(-0.5 * ((y[:, None] - centre) / noise) ** 2)
        @ weight
        / (noise * np.sqrt(2 * np.pi))
    )
    return float(
        -np.trapezoid(
            np.where(density > 0, density * np.log(np.maximum(density, 1e-300)), 0.0), y
        )
        - 0.5 * np.log(2 * np.pi * np.e * noise**2)
    )


# ---------------------------------------------------------------- populations


def _map(seed: int, rows: int, columns: int) -> np.ndarray:
    """A fixed random linear map of the population with orthonormal columns (rows ≥
    columns) or rows.
    """
    q = np.linalg.qr(
        np.random.default_rng(seed).standard_normal(
            (max(rows, columns), min(rows, columns))
        )
    )[0]
    return q if rows >= columns else q.T


def gaussian_pairs(
    rho: np.ndarray,
    p: int,
    q: int,
    *,
    warp_x: Callable | None = None,
    warp_y: Callable | None = None,
) -> Sampler:
    """Correlated pairs among independent noise, rotated into p and q columns, then
    warped invertibly.
    """
    turns = _map(1, p, p), _map(2, q, q)

    def sample(n: int, rng: np.random.Generator):
        u, v = rng.standard_normal((n, p)), rng.standard_normal((n, q))
        r = len(rho)
        v[:, :r] = rho * u[:, :r] + np.sqrt(1 - rho**2) * v[:, :r]
        x, y = u @ turns[0], v @ turns[1]
        return (warp_x(x) if warp_x else x), (warp_y(y) if warp_y else y)

    return sample


def feature_pairs(rho: np.ndarray, p: int, q: int) -> Sampler:
    """Correlated Gaussian latents, each side seen through random ReLU features:
    injective for p, q >> latents.
    """
    rng = np.random.default_rng(3)
    maps = [
        (rng.standard_normal((len(rho), size)), rng.standard_normal(size))
        for size in (p, q)
    ]

    def sample(n: int, rng: np.random.Generator):
        u, v = rng.standard_normal((2, n, len(rho)))
        v = rho * u + np.sqrt(1 - rho**2) * v
        return tuple(np.maximum(z @ a + b, 0.0) for z, (a, b) in zip((u, v), maps))

    return sample


def student_pairs(rho: np.ndarray, dof: float, p: int, q: int) -> Sampler:
    """Student latents (Gaussian pairs over a common scale), lifted linearly into p and
    q columns.
    """
    lifts = _map(4, len(rho), p), _map(5, len(rho), q)

    def sample(n: int, rng: np.random.Generator):
        u, v = rng.standard_normal((2, n, len(rho)))
        v = rho * u + np.sqrt(1 - rho**2) * v
        scale = np.sqrt(rng.chisquare(dof, (n, 1)) / dof)
        return (u / scale) @ lifts[0], (v / scale) @ lifts[1]

    return sample


def regression_pair(
    curve: Callable[[np.ndarray], np.ndarray], noise: float, p: int
) -> Sampler:
    """P Gaussian columns; y is a curve of one direction, which need not correlate with
    it, plus noise.
    """
    direction = _map(6, p, 1)[:, 0]

    def sample(n: int, rng: np.random.Generator):
        x = rng.standard_normal((n, p))
        return x, curve(x @ direction) + noise * rng.standard_normal(n)

    return sample


def logistic_label(slope: float, p: int, *, relu: bool = False) -> Sampler:
    """P Gaussian columns (or 2p ReLU halves of them, which is injective); a binary
    label depends on one direction.
    """
    direction = _map(6, p, 1)[:, 0]

    def sample(n: int, rng: np.random.Generator):
        x = rng.standard_normal((n, p))
        y = (rng.random(n) < expit(slope * x @ direction)).astype(int)
        return (np.hstack([np.maximum(x, 0), np.maximum(-x, 0)]) if relu else x), y

    return sample


def channel_label(
    flip: float, classes: int, p: int, *, separation: float = 10.0
) -> Sampler:
    """Well separated clusters in p columns; the label is the cluster through a
    symmetric channel.
    """
    centres = separation * _map(7, p, classes).T

    def sample(n: int, rng: np.random.Generator):
        cluster = rng.integers(classes, size=n)
        shift = rng.integers(1, classes, size=n) * (rng.random(n) < flip)
        return centres[cluster] + rng.standard_normal((n, p)), (
            cluster + shift
        ) % classes

    return sample


def resampled_images(images: np.ndarray, labels: np.ndarray, flip: float) -> Sampler:
    """The resampled-images test of Gowri et al. (2024): x and y are images of digits 0
    or 1, drawn independently given their classes, and the classes are coupled by a
    binary symmetric channel, whose information is the truth.

    `images` (N, ...) with `labels` (N,); images of other labels are not used.
    """
    pools = [
        images[labels == c].reshape((labels == c).sum(), -1).astype(float)
        for c in (0, 1)
    ]

    def sample(n: int, rng: np.random.Generator):
        first = rng.integers(2, size=n)
        second = first ^ (rng.random(n) < flip)
        draw = [
            np.where(
                c[:, None] == 0,
                pools[0][rng.integers(len(pools[0]), size=n)],
                pools[1][rng.integers(len(pools[1]), size=n)],
            )
            for c in (first, second)
        ]
        return draw[0], draw[1]

    return sample


def _digits() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # 8 x 8, ships with scikit-learn

    return load_digits(return_X_y=True)


def _digit_pairs(flip: float) -> Sampler:
    def sample(
        n: int, rng: np.random.Generator
    ):  # read the images only when a sample is wanted
        x, y = resampled_images(*_digits(), flip)(n, rng)
        return x + rng.normal(0, 0.5, x.shape), y + rng.normal(
            0, 0.5, y.shape
        )  # a draw may repeat an image

    return sample


def _cube(x: np.ndarray) -> np.ndarray:
    return np.cbrt(x)


def _wave(t: np.ndarray) -> np.ndarray:
    return np.cos(1.5 * t)


def _heavy(x: np.ndarray) -> np.ndarray:
    return np.sinh(1.5 * x)


def _mix(x: np.ndarray) -> np.ndarray:
    """Two invertible layers: leaky ReLU, rotation, leaky ReLU."""
    turn = _map(8, x.shape[1], x.shape[1])
    x = np.where(x > 0, x, 0.2 * x) @ turn
    return np.where(x > 0, x, 0.2 * x)


def _panel() -> list[Problem]:
    rho = correlations
    tune = [
        ("gaussian 64-1 weak", "gaussian", 0.047, gaussian_pairs(rho(0.047), 64, 1)),
        ("gaussian 64-1", "gaussian", 0.83, gaussian_pairs(rho(0.83), 64, 1)),
        ("gaussian 64-64", "gaussian", 0.575, gaussian_pairs(rho(0.575, 4), 64, 64)),
        ("warped 64-1", "warped", 0.4, gaussian_pairs(rho(0.4), 64, 1, warp_y=_heavy)),
        (
            "warped 64-64",
            "warped",
            1.0,
            gaussian_pairs(rho(1.0, 2), 64, 64, warp_x=_mix, warp_y=_cube),
        ),
        ("features 64-64", "features", 2.043, feature_pairs(rho(2.043, 4), 64, 64)),
        ("features 128-64", "features", 0.5, feature_pairs(rho(0.5, 2), 128, 64)),
        (
            "student 64-64",
            "heavy tails",
            0.3 + student_excess(3, 2, 2),
            student_pairs(rho(0.3, 2), 3, 64, 64),
        ),
        (
            "even 16-1",
            "regression",
            regression_information(np.abs, 0.3),
            regression_pair(np.abs, 0.3, 16),
        ),
        ("logistic 64", "label", logistic_information(3.5), logistic_label(3.5, 64)),
        (
            "channel 10 in 64",
            "label",
            channel_information(0.4, 10),
            channel_label(0.4, 10, 64, separation=6.0),
        ),
        ("digits .1", "images", channel_information(0.1), _digit_pairs(0.1)),
        ("independent 64-64", "independent", 0.0, gaussian_pairs(np.zeros(0), 64, 64)),
        ("independent label", "independent", 0.0, logistic_label(0.0, 64)),
    ]
    report = [
        ("gaussian 128-1", "gaussian", 0.223, gaussian_pairs(rho(0.223), 128, 1)),
        ("gaussian 32-1", "gaussian", 1.2, gaussian_pairs(rho(1.2), 32, 1)),
        ("gaussian 48-96", "gaussian", 1.2, gaussian_pairs(rho(1.2, 3), 48, 96)),
        ("warped 96-1", "warped", 0.7, gaussian_pairs(rho(0.7), 96, 1, warp_y=_cube)),
        (
            "warped 64-32",
            "warped",
            0.8,
            gaussian_pairs(rho(0.8, 3), 64, 32, warp_x=_heavy, warp_y=_mix),
        ),
        ("features 128-128", "features", 1.2, feature_pairs(rho(1.2, 3), 128, 128)),
        ("features 256-256", "features", 0.575, feature_pairs(rho(0.575, 4), 256, 256)),
        (
            "student 32-64",
            "heavy tails",
            0.6 + student_excess(2, 3, 3),
            student_pairs(rho(0.6, 3), 2, 32, 64),
        ),
        (
            "wave 24-1",
            "regression",
            regression_information(_wave, 0.4),
            regression_pair(_wave, 0.4, 24),
        ),
        (
            "logistic ReLU 128",
            "label",
            logistic_information(2.0),
            logistic_label(2.0, 64, relu=True),
        ),
        (
            "channel 5 in 128",
            "label",
            channel_information(0.2, 5),
            channel_label(0.2, 5, 128, separation=6.0),
        ),
        ("digits .25", "images", channel_information(0.25), _digit_pairs(0.25)),
        ("independent 128-1", "independent", 0.0, gaussian_pairs(np.zeros(0), 128, 1)),
        (
            "independent label 128",
            "independent",
            0.0,
            logistic_label(0.0, 64, relu=True),
        ),
    ]
    return [
        Problem(name, family, half, float(truth), sampler)
        for half, rows in (("tune", tune), ("report", report))
        for name, family, truth, sampler in rows
    ]


PANEL = _panel()
