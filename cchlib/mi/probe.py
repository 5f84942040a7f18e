"""A lower bound on I(x; y) for a discrete y that any estimate should respect."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cchlib import check
from cchlib.ambient import own_state
from cchlib.mi._common import continuous, is_discrete, variable, with_prior


@own_state()
def probe_bound(
    x: Any, y: Any, *, folds: int = 5, regularisation: float = 1.0, seed: int = 0
) -> tuple[float, float]:
    """H(y) minus the held-out cross-entropy of a linear probe: a lower bound on I(x; y)
    in nats, and its error.

    For any probabilities q(y|x), ``I(x; y) = H(y) - H(y|x) ≥ H(y) - E[-log q(y|x)]``;
    held out, the bound holds in expectation (up to the plug-in entropy's O(K / n)). It
    may be negative: then it says nothing. One part in n of the prior is mixed into q,
    so that one sample that the probe is sure of and wrong about does not decide it.

    Parameters
    ----------
    x : (n,) or (n, p); y : (n,) discrete
    folds : int
        Of the cross-validation, stratified.
    regularisation : float
        The logistic regression's C.

    Returns
    -------
    bound, std_error : float
        Nats; the error is that of the mean over samples.

    Raises
    ------
    ValueError
        As `estimate_mi`; also for a continuous y and for a class of fewer samples than
        folds.
    """
    x, y = continuous("x", x), variable("y", y)
    check.same_length(x=x, y=y)
    check.integer("folds", folds, 2)
    seed = check.integer("seed", seed)
    regularisation = check.number("regularisation", regularisation, 0.0, open_low=True)
    if not is_discrete(y):
        raise ValueError("y is continuous; expected integer, boolean or string classes")
    counts = np.bincount(y)
    if counts.min() < folds:
        raise ValueError(
            f"y has a class of {counts.min()} samples, expected at least {folds}, one "
            "a fold"
        )
    n = len(y)
    gain = np.empty(n)
    log_prior = np.log(counts / n)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    for train, test in splitter.split(x, y):
        classifier = LogisticRegression(C=regularisation, max_iter=2000)
        probe = make_pipeline(StandardScaler(), classifier)
        probe.fit(x[train], y[train])
        with np.errstate(divide="ignore"):  # of a probability 0, see below
            log_q = probe.predict_log_proba(x[test])
        own = y[test]
        log_own = with_prior(log_q[np.arange(len(test)), own], log_prior[own], n)
        gain[test] = log_own - log_prior[own]
    error = gain.std(ddof=1) / np.sqrt(n)
    return float(gain.mean()), float(error)
