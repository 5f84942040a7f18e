"""What the book's scorecard found each criterion to be worth: `worth.csv`, beside this
file, which `cchbook.chapters.worth` makes from the recorded runs.
"""

from __future__ import annotations

import functools
from pathlib import Path

import pandas as pd

TABLE = Path(__file__).with_name("worth.csv")
#: with fewer decided conditions than this the worth is not known
FEWEST = 10


@functools.cache
def worth_table() -> pd.DataFrame:
    """A row for each criterion and kind of label: criterion, kind, conditions (with a
    decided gain), right (of which the criterion's sign said so), source.
    """
    return pd.read_csv(TABLE)


def worth_of(criterion: str, discrete: bool) -> str:
    """The worth of a criterion on conditions of this kind, in words."""
    kind = "classes" if discrete else "regression"
    table = worth_table()
    rows = table[(table["criterion"] == criterion) & (table["kind"] == kind)]
    if rows.empty or int(rows["conditions"].iloc[0]) < FEWEST:
        return "not known"
    row = rows.iloc[0]
    always = table[(table["criterion"] == "always") & (table["kind"] == kind)].iloc[0]
    share = f"{always['right']} of {always['conditions']}"
    never = int(always["conditions"]) - int(always["right"])
    return (
        f"right in {row['right']} of {row['conditions']} conditions ({kind}); "
        f"“always distil” in {share}, “never” in {never}"
    )
