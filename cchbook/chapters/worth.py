"""What is made of the recorded runs and committed: what each criterion is worth on real
networks, for `cchdecide` to ship, and the figure of the front page.

    python -m cchbook.chapters.worth

writes `cchdecide/worth.csv` and `book/_static/gap_and_gain.png` anew from
`data/recorded`.
"""

from __future__ import annotations

import pandas as pd

from cchbook.chapters import at_large, gains, plots, scorecard_tables
from cchbook.runs import records
from cchdecide.worth import TABLE

FIGURE = "book/_static/gap_and_gain.png"
#: what `decide` asks, by the metric that chapter 11 logs
METRICS = {
    "teacher_better": "teacher_advantage",
    "slope_test": "slope_test",
    "shrinkage_test": "shrinkage_test",
    "predicted_gain": "predicted_gain",
    "pilot": "pilot",
    "verdict": "decide_verdict",
    "cch": "cch_latent",
}


def worth() -> pd.DataFrame:
    """The table of `cchdecide.worth.worth_table`, from the recorded run of chapter 11,
    all labels. Nothing is fitted, so that no set is left out.

    Raises
    ------
    FileNotFoundError
        The chapter has no recorded run.
    """
    record = records.leading("11_at_large")
    if record is None:
        raise FileNotFoundError("no run of 11_at_large below data/recorded")
    pairs = at_large.pairs(record.metrics, record.predictions)
    pairs = pairs[pairs["hidden"] == 0]
    asked = {name: metric for name, metric in METRICS.items() if metric in pairs}
    tests = at_large.rule_tests(at_large.benefits(pairs, asked))
    return pd.DataFrame(
        {
            "criterion": tests["rule"],
            "sets": tests["sets"],
            "pairs": [int(pairs[asked[name]].notna().sum()) for name in tests["rule"]],
            "benefit": tests["B"].round(6),
            "std_error": tests["std_error"].round(6),
            "always": tests["always"].round(6),
            "p_value": at_large.holm(tests["p_value"]).round(4),
            "source": f"11_at_large/{record.record['key']}",
        }
    )


def sources() -> str:
    """Which runs the figure shows."""
    return " ".join(
        f"{name}/{run.record['key']}" for name, run in gains.leading().items()
    )


def main() -> None:
    """Write the table that `cchdecide` ships, and the front page's figure."""
    worth().to_csv(TABLE, index=False)
    print(f"Wrote {TABLE}")
    root = records.repository()
    if root is None:
        raise FileNotFoundError("no checkout to write the front page's figure into")
    plots.use_style()
    figure = scorecard_tables.gap_and_gain(
        scorecard_tables.conditions_of(gains.leading())
    )
    path = root / FIGURE
    figure.savefig(path, dpi=150, metadata={"Source": sources()})
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
