"""What is made of the recorded runs and committed: how often each criterion was right,
for `cchdecide` to ship, and the figure of the front page.

    python -m cchbook.chapters.worth

writes `cchdecide/worth.csv` and `book/_static/gap_and_gain.png` anew from
`data/recorded`.
"""

from __future__ import annotations

import pandas as pd

from cchbook.chapters import gains, plots, scorecard_tables
from cchbook.runs import records
from cchdecide.worth import TABLE

FIGURE = "book/_static/gap_and_gain.png"
#: chapters whose labels are classes, and those of a regression
KINDS = {
    "02_synthetic": "regression",
    "03_image": "classes",
    "04_sentiment": "classes",
    "05_cancer": "classes",
    "06_fusion": "classes",
}
#: what `decide` asks, by the metric that the chapters log
METRICS = {
    "teacher_better": "teacher_advantage",
    "slope_test": "residual_test",
    "predicted_gain": "predicted_gain",
    "cch": "gap",
}


def counts() -> pd.DataFrame:
    """A row a criterion and kind: the conditions whose gain is called
    (`gains.judged`) and under which every criterion was measured, and in how many of
    these the criterion's sign was the gain's; "always" and "never" distil beside them.
    """
    found = gains.leading()
    every = scorecard_tables.conditions_of(found)
    keys = {name: run.record["key"] for name, run in found.items()}
    every = every.assign(
        kind=every["notebook"].map(KINDS),
        source=[f"{name}/{keys[name]}" for name in every["notebook"]],
    )
    called = every[every["verdict"] != "undecided"]
    # criteria are compared on the same conditions
    called = called.dropna(subset=list(METRICS.values()))
    rows = []
    for kind, frame in called.groupby("kind", sort=True):
        helped = frame["gain"] > 0
        for name, metric in METRICS.items():
            rows.append(_row(name, kind, (frame[metric] > 0) == helped, frame))
        rows.append(_row("always", kind, helped, frame))
        rows.append(_row("never", kind, ~helped, frame))
    return pd.DataFrame(rows)


def _row(criterion: str, kind: str, right: pd.Series, frame: pd.DataFrame) -> dict:
    return {
        "criterion": criterion,
        "kind": kind,
        "conditions": len(right),
        "right": int(right.sum()),
        "source": " ".join(sorted(frame["source"].unique())),
    }


def sources() -> str:
    """Which runs the figure shows."""
    return " ".join(
        f"{name}/{run.record['key']}" for name, run in gains.leading().items()
    )


def main() -> None:
    """Write the table that `cchdecide` ships, and the front page's figure."""
    counts().to_csv(TABLE, index=False)
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
