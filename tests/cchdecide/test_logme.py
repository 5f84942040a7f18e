"""LogME: the evidence by direct maximisation, the published algorithm, and a peer."""

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from scipy.stats import multivariate_normal

from cchdecide import logme

SPEC = importlib.util.find_spec("transformer_ranker")  # `make parity` has it


def features(n, p, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, p))
    return x, x[:, 0] + 0.5 * rng.standard_normal(n)


def published(x, targets):
    """You et al. (2021), Algorithm 1 with their fixed point (2022), as published, to
    convergence; for n ≥ p.
    """
    n, p = x.shape
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    scores = []
    for y in targets.T:
        z, ratio = (u.T @ y) ** 2, 1.0
        for _ in range(1000):
            gamma = (s**2 / (s**2 + ratio)).sum()
            m = (s**2 * z / (s**2 + ratio) ** 2).sum()
            residual = y @ y - z.sum() + (z / (1 + s**2 / ratio) ** 2).sum()
            alpha, beta = gamma / m, (n - gamma) / residual
            ratio = alpha / beta
        evidence = p * np.log(alpha) + n * np.log(beta / (2 * np.pi))
        evidence -= np.log(alpha + beta * s**2).sum() + beta * residual + alpha * m
        scores.append(evidence / (2 * n))
    return np.mean(scores)


def test_it_is_the_largest_evidence():
    """At its α and β it is log N(y; 0, I/β + FFᵀ/α) / n,
    and no other pair is better.
    """
    x, y = features(30, 4)

    def against(logs):
        alpha, beta = np.exp(logs)
        covariance = np.eye(30) / beta + x @ x.T / alpha
        return -multivariate_normal.logpdf(y, np.zeros(30), covariance) / 30

    best = -minimize(against, [0.0, 0.0], method="Nelder-Mead", tol=1e-10).fun
    assert logme(x, y) == pytest.approx(best, abs=1e-6)


def test_it_is_the_published_algorithm():
    x, y = features(60, 5)
    assert logme(x, y) == pytest.approx(published(x, y[:, None]), abs=1e-6)
    classes = (y > 0).astype(int)
    truth = published(x, np.eye(2)[classes])
    assert logme(x, classes) == pytest.approx(truth, abs=1e-6)


def test_more_columns_than_subjects():
    """Columns that repeat others, each at half the variance, change no evidence."""
    x, y = features(12, 8)
    twice = np.hstack([x, x]) / np.sqrt(2)
    assert logme(twice, y) == pytest.approx(logme(x, y), abs=1e-6)
    wide, _ = features(10, 40, seed=1)
    assert np.isfinite(logme(wide, np.arange(10) % 2))


@pytest.mark.skipif(SPEC is None, reason="transformer-ranker is not installed")
def test_it_is_that_of_transformer_ranker(monkeypatch):
    """By its one file: the package asks for transformers."""
    package = types.ModuleType("estimators")
    package.__path__ = [str(Path(SPEC.submodule_search_locations[0]) / "estimators")]
    monkeypatch.setitem(sys.modules, "estimators", package)
    peer = importlib.import_module("estimators.logme")
    x, y = features(300, 20)
    for labels in (y, (y > 0).astype(int)):
        theirs = peer.LogME(regression=labels is y).fit(
            torch.from_numpy(x), torch.from_numpy(labels), max_iter=200, tol=1e-10
        )
        # its denominators carry 1e-5
        assert logme(x, labels) == pytest.approx(theirs, abs=1e-5)


@pytest.mark.parametrize("unit", [1e-150, 1e-6, 1e6, 1e150])
def test_the_unit_of_the_features_does_not_matter(unit):
    x, y = features(60, 5)
    assert logme(unit * x, y) == pytest.approx(logme(x, y), abs=1e-9)
    with pytest.raises(ValueError, match="features.* must vary"):
        logme(np.full((60, 3), unit), y)
