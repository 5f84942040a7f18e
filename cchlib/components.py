"""Principal components, for whoever standardises a block and turns it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def principal_components(x: Array, tolerance: float) -> tuple[Array, Array]:
    """Scores on the principal axes, the strongest first.

    By the eigenvectors of the smaller of xᵀx and xxᵀ, which takes min(n, p)³ steps.

    Parameters
    ----------
    x : ndarray (n, p)
        Centred columns.
    tolerance : float
        Components whose variance is at most this share of the largest are rounding and
        left out; a negative number keeps all min(n, p).

    Returns
    -------
    scores : ndarray (n, q)
        Uncorrelated columns; their squares sum to `values`.
    values : ndarray (q,)
        Eigenvalues, from the largest down.
    """
    n, p = x.shape
    values, vectors = np.linalg.eigh(x.T @ x if p <= n else x @ x.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = values > tolerance * values[0]
    values, vectors = values[kept], vectors[:, kept]
    if p <= n:
        return x @ vectors, values
    return vectors * np.sqrt(np.maximum(values, 0.0)), values
