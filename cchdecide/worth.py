"""What chapter 11 of the book found each criterion to be worth on real networks:
`worth.csv`, beside this file, which `cchbook.chapters.worth` makes from the record.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("worth.csv")
#: on fewer data sets than this the worth is not known
FEWEST = 5


@functools.cache
def worth_table() -> pd.DataFrame:
    """A row a criterion: criterion, sets (of data, over which the mean is taken),
    pairs (of views), benefit (mean gain of distilling where the criterion says so; a
    share, of test samples or of the variance of Y), std_error, always (the same of
    always distilling; of never it is 0), p_value (that the benefit is above both, with
    Holm's correction over the criteria), source (the run).
    """
    return pd.read_csv(TABLE, index_col="criterion")


def worth_of(criterion: str) -> str:
    """The worth of a criterion on real networks, in words."""
    table = worth_table()
    if criterion not in table.index or table.loc[criterion, "sets"] < FEWEST:
        return "not known"
    row = table.loc[criterion]
    return (
        f"{100 * row['benefit']:+.2f} ± {100 * row['std_error']:.2f} points a pair on "
        f"{row['sets']} data sets; “always” {100 * row['always']:+.2f}, “never” 0"
    )
