"""Estimators by their names on the pages."""

import numpy as np
import pytest

from cchbook.chapters.information import estimates, sample_size, saturation


@pytest.mark.parametrize("estimator", ["latent", "ksg"])
def test_saturation_is_where_an_estimate_says_that_it_is_saturated(estimator):
    x = np.random.default_rng(0).standard_normal((100, 3))
    alike = x + 1e-6 * np.random.default_rng(1).standard_normal((100, 3))
    found = estimates({"same": (x, alike), "other": (x, x[::-1])}, estimator)
    assert found["same"].saturated and not found["other"].saturated
    start = saturation(estimator, 100)
    assert found["other"].value < start <= found["same"].value
    assert start == pytest.approx(0.75 * found["same"].ceiling)


def test_saturation_of_an_unknown_estimator():
    with pytest.raises(ValueError, match="estimator"):
        saturation("binning", 100)


def test_the_package_sees_fewer_samples():
    parameters = dict(mi_split="test", n_test=900, n_train=50, package_samples=500)
    assert sample_size(parameters, "latent") == 900
    assert sample_size(parameters, "lmi") == 500
    assert sample_size(parameters | {"mi_split": "train"}, "lmi") == 50
