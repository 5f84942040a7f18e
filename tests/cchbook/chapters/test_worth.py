"""The table that the tool ships is what the recorded runs say."""

import pandas as pd

from cchbook.chapters.worth import counts
from cchdecide.worth import TABLE


def test_worth_is_counted_from_the_records():
    pd.testing.assert_frame_equal(counts(), pd.read_csv(TABLE))
