"""Principal components against the singular value decomposition."""

import numpy as np
import pytest

from cchlib.components import principal_components


@pytest.mark.parametrize("shape", [(40, 7), (7, 40), (12, 12)])
def test_they_are_those_of_the_singular_values(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    x = np.column_stack([x, x[:, 0]])
    x -= x.mean(0)
    scores, values = principal_components(x, 1e-10)
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    rank = min(shape[0] - 1, shape[1])
    assert scores.shape == (shape[0], rank)
    np.testing.assert_allclose(values, s[:rank] ** 2, rtol=1e-9)
    expected = u[:, :rank] * s[:rank]
    signs = np.sign((scores * expected).sum(0))
    np.testing.assert_allclose(scores * signs, expected, atol=1e-7)
    everything, _ = principal_components(x, -1.0)
    assert everything.shape == (shape[0], min(x.shape))
