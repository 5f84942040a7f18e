"""What is made of the recorded runs and committed: how often each criterion was right,
for `cchdecide` to ship, and the figure of the front page.

    python -m cchbook.chapters.worth

writes `cchdecide/worth.csv` and `book/_static/gap_and_gain.png` anew from
`data/recorded`.
"""

from __future__ import annotations

import pandas as pd

from cchbook.chapters import plots, scorecard, scorecard_tables
from cchbook.chapters.metrics import with_test_error
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
    """A row a criterion and kind: conditions with a decided gain, and in how many the
    criterion's sign was the gain's; "always" and "never" distil beside them.
    """
    parts = []
    for notebook, kind in KINDS.items():
        run = records.leading(notebook)
        if run is not None:
            frame = scorecard.conditions(
                with_test_error(run.metrics),
                ["i_ts", "i_sl", *(m for m in METRICS.values() if m != "gap")],
                parameters=run.record["parameters"],
                student=["cohort"] if notebook == "06_fusion" else scorecard.STUDENT,
            )
            source = f"{notebook}/{run.record['key']}"
            parts.append(frame.assign(kind=kind, source=source))
    every = pd.concat(parts, ignore_index=True)
    every = every[scorecard.decided(every, "gain", "gain_se")]
    rows = []
    for kind, frame in every.groupby("kind", sort=True):
        helped = frame["gain"] > 0
        said = {name: frame[metric] for name, metric in METRICS.items()}
        for name, score in said.items():
            known = score.notna()
            right = (score[known] > 0) == helped[known]
            rows.append(_row(name, kind, right, frame[known]))
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


def leading() -> dict[str, records.Record]:
    """The run that speaks for each chapter."""
    found = {name: records.leading(name) for name in KINDS}
    return {name: run for name, run in found.items() if run is not None}


def sources() -> str:
    """Which runs the figure shows."""
    return " ".join(f"{name}/{run.record['key']}" for name, run in leading().items())


def main() -> None:
    """Write the table that `cchdecide` ships, and the front page's figure."""
    counts().to_csv(TABLE, index=False)
    print(f"Wrote {TABLE}")
    root = records.repository()
    if root is None:
        raise FileNotFoundError("no checkout to write the front page's figure into")
    plots.use_style()
    figure = scorecard_tables.gap_and_gain(scorecard_tables.conditions_of(leading()))
    path = root / FIGURE
    figure.savefig(path, dpi=150, metadata={"Source": sources()})
    print(f"Wrote {path}")


if __name__ == "__main__":
    main()
