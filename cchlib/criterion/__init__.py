"""Should I distil? The CCH, and the criteria that the theory adds to it."""

from cchlib.criterion.cch import Assessment, assess, assess_teachers, rank_teachers

__all__ = ["Assessment", "assess", "assess_teachers", "rank_teachers"]
