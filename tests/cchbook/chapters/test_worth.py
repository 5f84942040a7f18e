"""The table that the tool ships is what the recorded runs say."""

import pandas as pd

from cchbook.chapters.worth import worth
from cchdecide.worth import TABLE


def test_worth_is_what_the_recorded_run_of_chapter_11_says():
    pd.testing.assert_frame_equal(
        worth().reset_index(drop=True), pd.read_csv(TABLE), check_dtype=False
    )
