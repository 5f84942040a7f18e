"""cchlib: the Cross-modal Complementarity Hypothesis as code one can run.

Mutual information is in nats everywhere. See the book for the theory and the results.
"""

__version__ = "0.1.0"
