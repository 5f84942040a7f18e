"""Should I distil? The CCH, and the criteria that the theory adds to it."""

from cchlib.criterion.cch import Assessment, assess, assess_teachers, rank_teachers
from cchlib.criterion.collect import Representations, collect

__all__ = [
    "Assessment",
    "Representations",
    "assess",
    "assess_teachers",
    "collect",
    "rank_teachers",
]
