"""Tables lay out what was logged: the same numbers, in the right rows."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cchbook.chapters import tables
from cchbook.chapters.evidence import Evidence, leading_estimator


@pytest.fixture
def shown(monkeypatch):
    """Frames that would stand on the page, with their captions."""
    found = []
    monkeypatch.setattr(
        tables.plots, "show_table", lambda frame, caption="", **_: found.append(frame)
    )
    return found


def rows(metric, values, **where):
    return [
        {**where, "seed": seed, "metric": metric, "value": value}
        for seed, value in enumerate(values)
    ]


def evidence(*parts, **parameters):
    frame = pd.DataFrame(sum(parts, []))
    return Evidence("this run", frame, parameters, "a test")


OMICS = {"cohort": "a", "teacher": "mRNA", "student": "CNV", "noise_level": 0.0}


def test_signs_of_the_synthetic_chapter(shown):
    at = {"reading": "scaled", "sigma12": 0.3, "batch_size": 0}
    one = evidence(
        rows("gain", [0.10, 0.11, 0.12], lam=0.3, **at),
        rows("gain_over_control", [-0.2, -0.2, -0.2], lam=0.3, **at),
        rows("i_ts", [0.1, 0.1], estimator="lmi", **at),
        rows("i_ts", [9.0, 9.0], estimator="latent", **at),
        rows("i_sl", [0.3, 0.3], estimator="lmi", **at),
        rows("linear_helps", [1.0], reading="scaled", sigma12=0.3),
    )
    small = evidence(rows("gain", [0.5, 0.7], lam=0.3, **at))
    table = tables.synthetic_signs([one, small], 0.3)
    assert shown[0].loc[0, "gain, this run"] == "0.6 ± 0.1"
    assert table["gap"].tolist() == pytest.approx([-0.2])
    assert not table["agrees"].item() and table["clear"].item()
    assert shown[0].loc[0, "gap (nats)"] == "-0.200"
    assert shown[0].loc[0, "over the control"] == "-0.2 ± 0"


def test_the_papers_estimator_leads_where_it_was_run():
    one = evidence(
        rows("i_ts", [1.0], estimator="lmi", level=0.0),
        rows("i_ts", [1.0], estimator="latent", level=0.5),
    )
    assert leading_estimator(one) == "lmi"
    assert leading_estimator(one, level=0.5) == "latent"


def test_conditions_hold_the_error_over_test_samples():
    one = evidence(
        rows("gain", [0.2, 0.4], level=0.0),
        rows("gain", [0.2, 0.4], level=0.8),
        [{"metric": "gain_test_se", "value": 0.3, "level": 0.0, "seed": None}],
        rows("i_ts", [1.5, 1.5], level=0.0, estimator="latent"),
        rows("gap", [1.0, 1.1, 0.9], level=0.0, estimator="latent"),
    )
    table = tables.conditions(one, ["level"]).set_index("level")
    assert table.loc[0.0, "gain_se"] == pytest.approx(np.hypot(0.1, 0.3))
    assert table.loc[0.8, "gain_se"] == pytest.approx(0.1)
    assert table.loc[0.0, "gap"] == pytest.approx(1.0) and np.isnan(
        table.loc[0.8, "gap"]
    )


def test_form_of_tables_5_to_7(shown):
    one = evidence(
        rows("gain", [0.02, 0.04], **OMICS),
        rows("gain_over_control", [0.01, 0.01], **OMICS),
        rows("student_f1", [0.5, 0.5], **OMICS),
        rows("student_f1_kd", [0.52, 0.54], **OMICS),
        rows("student_f1_kd", [0.9, 0.9], control="smoothing", **OMICS),
        rows("gap", [0.1, 0.1], estimator="latent", **OMICS),
        rows("i_ts", [0.4, 0.4], estimator="latent", **OMICS),
        rows("i_sl", [0.3, 0.3], estimator="latent", **OMICS),
    )
    tables.noise_levels([one], "a", ("mRNA", "CNV"), "A", "table5")
    (row,) = shown[0].to_dict("records")
    assert row["F1 with KD"] == "0.53 ± 0.01" and row["gain"] == "0.03 ± 0.01"
    assert row["paper: gap"] == "+0.2248" and row["paper: gain"] == "+0.0477"
    tables.pairs([one], {"a": "A"})
    assert shown[1]["pair"].tolist() == ["mRNA → CNV"]
    assert shown[1]["gap (nats)"].tolist() == ["0.1 ± 0"]


def test_fusion_counts_whole_patients():
    one = evidence(rows("accuracy_fusion", [60 / 77, 61 / 77], **OMICS))
    assert tables.patients_tested(one, {}) == {"a": 77}
    assert tables.patients_tested(one, {"a": 154}) == {"a": 154}
    recorded = replace(one, name="recorded")
    assert tables.patients_tested(recorded, {"a": 154}) == {
        "a": 77
    }  # not the stand-in's


def test_a_recorded_cohort_is_called_a_stand_in_nowhere():
    def cohort(name, kind):
        return SimpleNamespace(name=name, source=SimpleNamespace(kind=kind))

    both = rows("gain", [0.1], cohort="a") + rows("gain", [0.1], cohort="b")
    recorded = replace(evidence(both), name="recorded")
    live = evidence(rows("gain", [0.0], cohort="a"), rows("gain", [0.0], cohort="c"))
    data = {"a": cohort("stand-in", "embedded"), "c": cohort("stand-in", "embedded")}
    found = tables.cohort_names([recorded, live], data)
    assert found == {"a": "a", "b": "b", "c": "stand-in"}
    data["a"] = cohort("A", "real")
    assert tables.cohort_names([recorded, live], data)["a"] == "A"


def test_the_papers_numbers_stand_beside_recorded_or_real_cohorts_only(shown):
    def gains(cohort):
        at = {"cohort": cohort, "teacher": "mRNA", "student": "CNV", "noise_level": 0.0}
        return rows("gain", [0.1, 0.2], **at) + rows(
            "i_ts", [0.5, 0.6], estimator="latent", **at
        )

    protocol = {"seeds": 1, "test_fraction": 0.1, "mi_fraction": 0.5}
    recorded = replace(evidence(gains("brca705"), **protocol), name="recorded")
    live = evidence(gains("joined:KIPAN"), **protocol)
    names = {"brca705": "brca705", "joined:KIPAN": "stand-in"}
    tables.cancer([recorded, live], names, real=False)
    tables.cancer([recorded, live], names, real=True)
    beside = ["paper: gap" in table for table in shown]
    assert beside == [True, False, True, True]
