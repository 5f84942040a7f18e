"""Mutual information, in nats, by several estimators behind one function."""

from cchlib.mi.estimators import ESTIMATORS, Estimator
from cchlib.mi.interface import MIEstimate, estimate_mi, estimate_mi_many
from cchlib.mi.probe import probe_bound

__all__ = [
    "ESTIMATORS",
    "Estimator",
    "MIEstimate",
    "estimate_mi",
    "estimate_mi_many",
    "probe_bound",
]
