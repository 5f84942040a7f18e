"""Mutual information, in nats, by four estimators behind one function."""

from cchlib.mi.interface import METHODS, MIEstimate, estimate_mi, estimate_mi_many
from cchlib.mi.probe import probe_bound

__all__ = ["METHODS", "MIEstimate", "estimate_mi", "estimate_mi_many", "probe_bound"]
