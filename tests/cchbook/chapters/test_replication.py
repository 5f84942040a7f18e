"""Printed cells find their counterparts, and only among real data."""

import numpy as np
import pandas as pd
import pytest

from cchbook.chapters import replication
from cchbook.chapters.inference import moderation_prior
from cchbook.runs import records


def run(tmp_path, notebook, rows, data, profile="paper", overrides=None, **parameters):
    about = {
        "key": f"key of {len(rows)} rows",
        "notebook": notebook,
        "profile": profile,
        "overrides": overrides or {},
        "parameters": parameters,
        "data": [
            {"name": name, "kind": kind, "sha256": None} for name, kind in data.items()
        ],
    }
    record = records.Record(tmp_path, about)
    record.__dict__["metrics"] = pd.DataFrame([{"unit": ""} | row for row in rows])
    return {notebook: [record]}


def cell(frame, table, quantity, **where):
    rows = frame[(frame["table"] == table) & (frame["quantity"] == quantity)]
    for name, value in where.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows.iloc[0]


def image(metric, values, **where):
    return [
        {"metric": metric, "value": v, "seed": s, "alpha": 0.2, "gamma": 0.0} | where
        for s, v in enumerate(values)
    ]


REAL = {"mnist": "real", "bsds500": "real"}


def test_every_printed_cell_stands_there_once_and_without_runs_nothing_is_claimed():
    cells = replication.printed_cells({}, {})
    assert len(cells) == sum(len(records.paper(table)) for table in replication.TABLES)
    assert (
        set(cells["verdict"]) == {"not run"}
        and set(cells["remark"]) == {"no run on real data"}
        and cells["ours"].isna().all()
    )


def test_a_recorded_number_goes_before_a_live_one_which_fills_in(tmp_path):
    gain = image("gain", (0.030, 0.032, 0.034), temperature=3)
    recorded = run(tmp_path, "03_image", gain, REAL)
    gap = [row | {"estimator": "lmi"} for row in image("gap", (0.4, 0.5))]
    also = image("gain", (9.0, 9.0), temperature=3) + gap
    live = run(tmp_path, "03_image", also, REAL, "quick")
    cells = replication.printed_cells(recorded, live)
    found = cell(cells, "table1", "accuracy_difference", gamma=0, temperature=3)
    said = found[["run", "seeds", "remark", "verdict"]].tolist()
    assert said == ["recorded", 3, "", "compatible"]
    assert found["ours"] == pytest.approx(0.032)
    # two degrees of freedom of the recorded run, and the live run's one, which is still
    assert found["our_error"] == pytest.approx(np.sqrt(2 / 3) * 0.002 / np.sqrt(3))
    assert found["df"] == pytest.approx(3)
    found = cell(cells, "table1", "mi_gap", gamma=0)
    said = found[["run", "remark", "data"]].tolist()
    assert said == ["live", "", "bsds500, mnist"]
    other = cell(cells, "table1", "mi_gap", gamma=0.5)
    assert other["remark"] == "not at this condition"


def test_other_settings_are_named_and_never_called_compatible(tmp_path):
    """Fewer seeds and a part of the grid are the paper's settings;
    an epoch less isn't.
    """
    gain = image("gain", (0.030, 0.032, 0.034), temperature=3)
    printed = {"epochs": 100, "lr": 0.002, "seeds": 3, "gammas": [0.0]}
    for changed, remark, verdict in (
        ({}, "", "compatible"),
        ({"epochs": 20}, "epochs = 20 (the paper: 100)", "other settings"),
    ):
        found = run(tmp_path, "03_image", gain, REAL, **printed | changed)
        row = cell(
            replication.printed_cells(found, {}),
            "table1",
            "accuracy_difference",
            gamma=0,
            temperature=3,
        )
        assert row[["remark", "verdict"]].tolist() == [remark, verdict]


def test_each_cell_is_told_by_the_run_nearest_the_paper_that_measured_it(tmp_path):
    """The newest is 80 epochs short of the paper, the oldest has the paper's settings
    and no other blur; what only the middle one measured, it tells.
    """

    def one(value, epochs, gammas, lr=0.002, seeds=3):
        rows = []
        for gamma in gammas:
            rows += image("gain", (value,) * seeds, temperature=3, gamma=gamma)
        settings = {"epochs": epochs, "lr": lr}
        return run(tmp_path, "03_image", rows, REAL, **settings)["03_image"][0]

    oldest = one(1.0, 100, [0.0])
    middle = one(2.0, 20, [0.0, 0.5, 1.5])
    newer = one(3.0, 20, [0.0, 1.5])
    fewer = one(5.0, 20, [0.0, 1.5], seeds=2)
    newest = one(4.0, 3, [0.0, 1.5], lr=0.01)
    every = [oldest, middle, newer, fewer, newest]
    cells = replication.printed_cells({"03_image": every}, {})
    table = "table1", "accuracy_difference"
    told = {g: cell(cells, *table, gamma=g, temperature=3) for g in (0, 0.5, 1.5, 2.5)}
    assert [told[g]["ours"] for g in (0, 0.5, 1.5)] == [1.0, 2.0, 3.0]
    assert told[0]["remark"] == "" and told[0]["key"] == oldest.record["key"]
    assert told[1.5]["remark"] == "epochs = 20 (the paper: 100)"
    assert told[2.5]["remark"] == "not at this condition"
    assert told[2.5]["verdict"] == "not run"


def test_information_counts_by_the_papers_estimator_only(tmp_path):
    """0.4399 is printed; ours in nats, and as a second reading in bits."""
    rows = image("gap", (0.44, 0.44, 0.45))
    ours = [row | {"estimator": "latent"} for row in rows]
    by_ours = run(tmp_path, "03_image", ours, REAL)
    row = cell(replication.printed_cells(by_ours, {}), "table1", "mi_gap", gamma=0)
    assert row["verdict"] == "other settings" and "estimator" in row["remark"]

    columns = [row | {"estimator": "lmi"} for row in rows]
    columns += [row | {"estimator": "latent", "value": 4.0} for row in rows]
    found = run(tmp_path, "03_image", columns, REAL)
    row = cell(replication.printed_cells(found, {}), "table1", "mi_gap", gamma=0)
    assert row["ours"] == pytest.approx(0.44333, abs=1e-4)
    assert row["verdict"] == "compatible" and row["close"]
    assert row["verdict_bits"] == "differs"  # 0.64 bits


def test_stand_ins_are_never_set_beside_the_papers_numbers(tmp_path):
    embedded = run(
        tmp_path,
        "03_image",
        image("gain", (0.03, 0.03), temperature=3),
        REAL | {"bsds500": "embedded"},
    )
    assert set(replication.printed_cells(embedded, embedded)["verdict"]) == {"not run"}


def omics(cohort, value):
    return {
        "metric": "gain",
        "value": value,
        "seed": 0,
        "cohort": cohort,
        "teacher": "mRNA",
        "student": "CNV",
        "noise_level": 0.0,
    }


@pytest.mark.parametrize(
    "cohorts, data, verdict",
    [
        (["brca705"], "brca705", "other data"),
        (["brca705", "tcga_brca"], "tcga_brca", "compatible"),
    ],
)
def test_the_papers_own_cohort_goes_before_its_substitute(
    tmp_path, cohorts, data, verdict
):
    rows = [
        omics("brca705", -1.0),
        *(
            [omics("tcga_brca", 0.0477) | {"seed": s} for s in range(3)]
            if len(cohorts) > 1
            else []
        ),
    ]
    found = run(
        tmp_path,
        "05_cancer",
        rows,
        dict.fromkeys(cohorts, "real"),
        cohorts=cohorts,
        seeds=1,
        test_fraction=0.1,
        mi_fraction=0.5,
    )
    found = cell(
        replication.printed_cells(found, {}),
        "table5",
        "weighted_f1_difference",
        noise_level=0,
    )
    assert (found["data"], found["verdict"]) == (data, verdict)


def test_sentiment_speaks_of_mosei_where_run_and_reads_table_4_by_table_3s_header(
    tmp_path,
):
    where = {
        "teacher": "text",
        "student": "vision",
        "noise": "relative",
        "level": 0.2,
        "seed": 0,
    }
    rows = [
        where | {"metric": m, "value": v, "data": d}
        for d in ("mosi", "mosei")
        for m, v in (("weighted_f1_no_kd", 0.62), ("weighted_f1_kd", 0.63))
        for seed in range(3)
    ]
    for names, verdict in (
        (["mosi"], "other data"),
        (["mosi", "mosei"], "uninformative"),
    ):
        cells = replication.printed_cells(
            run(tmp_path, "04_sentiment", rows, dict.fromkeys(names, "real")), {}
        )
        found = cell(
            cells, "table4", "weighted_f1_kd", noise_level=0.2
        )  # printed there: 0.6204 at every level
        assert (
            found["ours"] == 0.62
            and found["data"] == names[-1]
            and found["verdict"] == verdict
        )
    printed = records.paper("table2").query("quantity == 'mutual_information'").iloc[0]
    errors = cells[cells["table"] == "table2"]["paper_error"].dropna()
    assert errors.iloc[0] == printed["std_error"]  # a deviation, as printed
    assert set(cells["verdict"]) <= set(replication.VERDICTS)


def test_table_4_is_told_by_every_reading_of_the_noise(tmp_path):
    at = dict(data="mosei", teacher="text", student="vision", level=0.4)
    rows = [
        dict(at, noise=noise, metric="weighted_f1_no_kd", value=value, seed=seed)
        for noise, value in (("relative", 0.6), ("convex", 0.5), ("absolute", 0.7))
        for seed in range(2)
    ]
    runs = run(tmp_path, "04_sentiment", rows, {"mosei": "real"})
    cells = replication.printed_cells(runs, {})
    found = cell(cells, "table4", "weighted_f1_kd", noise_level=0.4)
    assert found["ours"] == 0.6
    convex, absolute = found["other_readings"].split("; ")
    assert convex == "convex: 0.5" and absolute == "absolute: 0.7"
    none = cell(cells, "table4", "weighted_f1_kd", noise_level=0.0)
    assert none["other_readings"] == ""


# The rule -----------------------------------------------------------------------------


def judged(paper, ours, df=1e9, signed=True, informs=False, **more):
    """One cell's verdict; `paper` and `ours` are a value and its error."""
    frame = pd.DataFrame(
        {
            "paper": [paper[0]],
            "paper_error": [paper[1]],
            "paper_spread": [0.0],
            "ours": [ours[0]],
            "our_error": [ours[1]],
            "df": [df],
            "informs": [informs],
            "signed": [signed],
            "same_data": [True],
            "remark": [""],
        }
        | {name: [value] for name, value in more.items()}
    )
    return replication.with_verdicts(frame).iloc[0]


@pytest.mark.parametrize(
    "paper, ours, said",
    [
        # half-width 1.96 · √(.003² + .004²) = .0098: within .01
        ((0.032, 0.004), (0.030, 0.003), "compatible"),
        ((0.032, 0.004), (0.007, 0.003), "differs"),
        # .0139 is more than .01 and half of .020, and less than half of .032
        ((0.020, 0.005), (0.015, 0.005), "uninformative"),
        ((0.032, 0.005), (0.025, 0.005), "compatible"),
        ((0.032, 0.004), (np.nan, np.nan), "not run"),
        ((0.032, 0.004), (0.030, np.nan), "uninformative"),
    ],
)
def test_verdict_by_hand(paper, ours, said):
    assert judged(paper, ours)["verdict"] == said


def test_the_verdict_on_other_terms():
    pair = (0.98, 0.001), (0.98, 0.001)
    assert judged(*pair, same_data=False)["verdict"] == "other data"
    assert judged(*pair, remark="epochs")["verdict"] == "other settings"
    # an accuracy of .98 is no gain: half of it is no margin
    wide = (0.98, 0.006), (0.98, 0.006)
    assert judged(*wide, signed=False)["verdict"] == "uninformative"
    assert judged(*wide, signed=False, informs=True)["verdict"] == "compatible"


def test_close_is_schuirmanns():
    """|difference| + 1.645 · √2 · .001 = .0073 for .005, .0103 for .008."""
    assert judged((0.800, 0.001), (0.805, 0.001))["close"]
    assert not judged((0.800, 0.001), (0.808, 0.001))["close"]


def test_few_degrees_of_freedom_widen_our_part_only():
    known = judged((0.0, 0.01), (0.0, 1e-6), df=1)
    assert known["half_width"] == pytest.approx(1.96 * 0.01, rel=1e-3)
    ours = judged((0.0, 1e-9), (0.0, 0.01), df=1)
    assert ours["half_width"] == pytest.approx(12.706 * 0.01, rel=1e-3)


def test_cells_share_one_false_discovery_rate():
    cells = pd.concat(
        [judged((0.0, 1e-9), (z, 1.0)).to_frame().T for z in (2.1, 0.1, 0.2, 0.3)]
    ).infer_objects()
    told = replication.with_verdicts(cells.reset_index(drop=True))
    assert told["p_value"][0] < 0.05 < told["q_value"][0]
    assert set(told["verdict"]) == {"uninformative"}


def test_fiellers_interval():
    """Errors that are small make it the delta method's; a printed value that can't be
    told from 0 leaves it open.
    """
    ratio, low, high = replication.ratio_interval(0.5, 0.01, 1.0, 0.01)
    spread = 1.96 * np.sqrt(0.01**2 + 0.5**2 * 0.01**2)
    assert ratio == 0.5
    assert [low, high] == pytest.approx([0.5 - spread, 0.5 + spread], rel=1e-3)
    assert replication.ratio_interval(0.5, 0.1, 0.1, 0.1)[1:] == (-np.inf, np.inf)
    assert np.isnan(replication.ratio_interval(0.5, np.nan, 1.0, 0.1)).all()


def test_numbers_that_are_printed_twice_or_follow_from_others_count_once():
    """Table 13: a teacher's accuracy and information, and of five blurs I(H1;H2) and
    the accuracy with distillation; I(H2;Y) and the accuracy without it stand there five
    times, and all gaps and gains are differences.
    """
    cells = replication.printed_cells({}, {})
    assert cells[cells["table"] == "table13"]["distinct"].sum() == 14
    assert cells[cells["table"] == "table1"]["distinct"].all()


def test_what_the_rule_would_say_of_the_truth():
    """Printed values as the truth, both numbers drawn around them: next to nothing
    differs, and what is uninformative is so by its errors alone.
    """
    cells = pd.concat(
        [judged((0.03, 0.003), (0.0, e)).to_frame().T for e in [0.003] * 6 + [0.03] * 4]
    ).infer_objects()
    cells = cells.reset_index(drop=True).assign(distinct=True)
    counts = replication.expected_verdicts(cells, draws=200)
    assert counts["differs"] < 0.1
    assert counts["compatible"] == pytest.approx(6, abs=0.1)
    assert counts["uninformative"] == pytest.approx(4, abs=0.1)


def test_a_single_run_borrows_the_spread_of_its_chapter(tmp_path):
    """Three seeds of a shorter run say how much one of the paper's length may vary."""
    shorter = image("gain", (0.01, 0.02, 0.03), temperature=3)
    short = run(tmp_path, "03_image", shorter, REAL, epochs=20)
    one = image("gain", (0.0,), temperature=3)
    long = run(tmp_path, "03_image", one, REAL, epochs=100)
    both = {"03_image": short["03_image"] + long["03_image"]}
    cells = replication.printed_cells(both, {})
    row = cell(cells, "table1", "accuracy_difference", gamma=0, temperature=3)
    assert row["seeds"] == 1 and row["our_error"] == pytest.approx(0.01)
    assert row["df"] == pytest.approx(2)


def test_a_condition_of_its_own_has_the_spread_of_the_chapter():
    known = pd.DataFrame(
        {
            "gamma": [0.0, 1.0, 2.0],
            "variance": [4e-4] * 3,
            "df": [2] * 3,
            "effective": [6.0] * 3,
            "overlap": [0.0] * 3,
        }
    )
    elsewhere, df, _ = replication.moderated_spread(known, {"gamma": 9.0})
    # equal variances: their common location, with all that they know
    location, prior = moderation_prior(known["variance"], known["df"])
    assert prior == np.inf and df == 6.0
    assert elsewhere == pytest.approx(np.sqrt(location[0]))
    wide = known.assign(variance=[4e-4, 4e-2, 4e-6])
    spread = [replication.moderated_spread(wide, {"gamma": g})[0] for g in (0, 1, 2)]
    assert spread[1] > spread[0] > spread[2]
