"""What chapter 11 alone does: what it keeps of each study, and what it makes of all."""

from __future__ import annotations

import numpy as np

from cchbook.data.multiview import MultiView
from cchbook.runs.records import Measurements
from cchdecide.studies import STUDENT, Study

#: metrics of an arm, with their units
SCORES = {"accuracy": "", "log_loss": "nats", "error": "of Var y"}


def log(run: Measurements, one: MultiView, hidden: float, study: Study) -> None:
    """Keep a study's scores and criteria by repeat, and what the student, the control
    and the distilled student said of each test row.
    """
    where = dict(
        set=one.name, hidden=hidden, teacher=study.teacher, student=study.student
    )
    scores = study.by_repeat.rename(columns={"repeat": "seed"})
    for metric, unit in SCORES.items():
        if metric not in scores:
            continue
        rows = scores[["seed", "arm", metric]].rename(columns={metric: "value"})
        run.log_frame(rows.assign(metric=metric, unit=unit, **where))
    criteria = study.criteria_by_repeat
    if len(criteria):
        rows = criteria.rename(columns={"repeat": "seed", "criterion": "metric"})
        run.log_frame(rows.assign(unit="", **where))
    run.log("lam", study.lam, **where)
    run.log("temperature", study.temperature, **where)
    labels = np.asarray(one.labels)
    if study.discrete:
        _, labels = np.unique(labels, return_inverse=True)
    for arm in (STUDENT, study.control, study.distilled):
        for repeat, rows in enumerate(study.test_rows):
            output = study.outputs[arm][repeat]
            truth = labels[rows]
            if not study.discrete:
                output, truth = output[:, 0], truth[:, 0]
            run.log_predictions(output, truth, repeat, arm=arm, **where)
