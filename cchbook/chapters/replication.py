"""The paper's printed cells beside our own numbers, found in run records by code alone,
and whether the two agree.

Is the printed number what a repetition of ours would give? Its prediction interval says
so (Patil, Peng & Leek, 2016): our mean, give or take the errors of both. Where that
interval is too wide to tell a gain from half of it, the answer is worth nothing, and
says so.

References
----------
Patil, Peng & Leek (2016). What should researchers expect when they replicate studies? A
statistical view of replicability in psychological science. Perspectives on
Psychological Science 11(4).
Schuirmann (1987). A comparison of the two one-sided tests procedure and the power
approach. J. Pharmacokinet. Biopharm. 15(6).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from cchbook.chapters import gains, scorecard
from cchbook.chapters.inference import (
    effective_df,
    false_discovery,
    moderation_prior,
)
from cchbook.runs import plan, records
from cchbook.runs.notebook import Notebook
from cchbook.runs.records import Record

SHARP, CLEAN = {"gamma": 0.0}, {"noise": "none", "level": 0.0}
OMICS = {
    "mi_gap": "gap",
    "teacher_weighted_f1": "teacher_f1",
    "weighted_f1_no_kd": "student_f1",
    "weighted_f1_kd": "student_f1_kd",
    "weighted_f1_difference": "gain",
}
IMAGE = {
    "mi_gap": "gap",
    "accuracy_difference": "gain",
    "accuracy_kd": "student_accuracy_kd",
    "accuracy_no_kd": "student_accuracy",
}
# Table 4's headers, by Table 3's
SWAPPED = {
    "weighted_f1_kd": "weighted_f1_no_kd",
    "weighted_f1_no_kd": "weighted_f1_kd",
}
# Of a notebook's parameters those that change how much is run or looked at, not what
COUNTS = frozenset(
    {
        "curve_every",
        "device",
        "first_seed",
        "imitators",
        "mi_repetitions",
        "mi_runs",
        "mi_seeds",
        "resamples",
        "seeds",
        "source",
        "splits",
    }
)
#: table -> notebook, quantities that it logs under another name, conditions that the
#: table implies
TABLES: dict[str, tuple[str, dict[str, str], dict[str, Any]]] = {
    "figure2": ("03_image", {}, SHARP),
    "table1": ("03_image", IMAGE, {}),
    "table13": ("03_image", IMAGE, {"temperature": 3.0}),
    "table2": ("04_sentiment", {}, {"split": "held-out"}),
    "table3": ("04_sentiment", {}, CLEAN),
    "table4": ("04_sentiment", SWAPPED, CLEAN | {"noise": "relative"}),
    "table5": ("05_cancer", OMICS, {}),
    "table6": ("05_cancer", OMICS, {}),
    "table7": ("05_cancer", OMICS, {}),
    "table16": ("05_cancer", {}, {}),
    "table8": ("06_fusion", {}, {}),
    "table20": ("06_fusion", {}, {}),
}
WITHOUT_ERRORS = ("table5", "table6", "table7", "table8", "table16", "table20")
VERDICTS = (
    "compatible",
    "differs",
    "uninformative",
    "other settings",
    "other data",
    "not run",
)
#: how close is close, fixed before any run: nats, and points of accuracy or F1. A
#: prediction interval that reaches further to each side says too little, of a gain one
#: that reaches further than half the printed value.
MARGINS = {"information": 0.1, "score": 0.01}
#: runs behind a printed number whose error is not printed
PAPER_RUNS = {"05_cancer": 5}
#: of the quantities that the paper prints, those that follow from two others
DIFFERENCES = {
    "mi_gap": ("i_ts", "i_sl"),
    "accuracy_difference": ("accuracy_kd", "accuracy_no_kd"),
    "weighted_f1_difference": ("weighted_f1_kd", "weighted_f1_no_kd"),
}
#: the paper's own data (no public table has LIHC's labels), ...
PAPERS = frozenset({"mnist", "bsds500", "mosei", "tcga_brca", "tcga_kipan"})
#: ... and what stands in for a cohort of it, the nearest first
SUBSTITUTES = {
    "BRCA": ("tcga_brca", "joined:BRCA", "brca705"),
    "KIPAN": ("tcga_kipan", "joined:KIPAN", "firehose:KIPAN"),
    "LIHC": ("tcga_lihc", "firehose:LIHC"),
}
Runs = Mapping[str, Sequence[Record]]


class Real(NamedTuple):
    """A run on real data, "recorded" or "live", with its metrics by the estimator that
    is compared with the paper's.
    """

    run: Record
    kind: str
    metrics: pd.DataFrame


_NOT_CONDITIONS = ("table", "quantity", "value", "std_error", "note")


def printed_cells(recorded: Runs, live: Runs) -> pd.DataFrame:
    """Every printed cell of `TABLES` with our number for it and the verdict.

    Parameters
    ----------
    recorded, live : mapping of notebook -> records
        Oldest first. The number comes from a recorded run, or else from a live one; of
        the runs that measured this very cell, from the one whose settings differ from
        the paper's in the fewest names; of equals the one with the most seeds, of these
        the newest. Runs with a stand-in among their data are not looked at.

    Returns
    -------
    DataFrame
        ``table``, the cell's conditions, ``quantity``, ``paper`` and ``paper_error``;
        ``ours``, ``our_error``, ``seeds`` (or splits) behind it, ``df`` (of the spread
        over seeds, see `moderated_spread`), ``data``, ``run`` ("recorded", "live" or
        "–"), ``key`` of that run, ``other_readings`` of the noise, ``remark`` (why
        there is no number, or what differs from the paper's settings), ``distinct``
        (False for a number that is printed elsewhere too, or follows from two others);
        and the columns of `with_verdicts`, for information also ``verdict_bits`` (the
        same with our number in bits, in case the paper printed those).
    """
    runs = {
        notebook: [
            Real(run, kind, scorecard.of_estimator(gains.measured(run)))
            for kind, found in (("live", live), ("recorded", recorded))
            for run in found.get(notebook, ())
            if all(data["kind"] == "real" for data in run.record["data"])
        ]
        for notebook in dict.fromkeys(place[0] for place in TABLES.values())
    }
    spreads_of = cache(lambda notebook, metric: spreads(runs[notebook], metric))
    rows = []
    for table in TABLES:
        for _, cell in records.paper(table).iterrows():
            rows.append(_row(table, cell, runs[TABLES[table][0]], spreads_of))
    cells = pd.DataFrame(rows)
    cells["distinct"] = _distinct(cells)
    told = with_verdicts(cells)
    nats = cells.assign(
        ours=cells["ours"] / np.log(2), our_error=cells["our_error"] / np.log(2)
    )
    in_bits = with_verdicts(nats)["verdict"]
    told["verdict_bits"] = in_bits.where(cells["informs"], "")
    return told


def with_verdicts(cells: pd.DataFrame, rate: float = 0.05) -> pd.DataFrame:
    """Cells with what is said of them.

    Parameters
    ----------
    cells : DataFrame
        ``paper``, ``paper_error`` (as printed), ``paper_spread`` (what counts for it
        where none is printed), ``ours``, ``our_error``, ``df``, ``informs`` (an
        information, nats), ``signed`` (a gap or a gain), ``same_data``, ``remark``.
    rate : float
        False discovery rate over the cells that can be compared.

    Returns
    -------
    DataFrame
        With ``half_width`` of the 95 % prediction interval, ``p_value`` and ``q_value``
        of the difference (Student's t by Welch and Satterthwaite, a printed error as
        known; Benjamini and Hochberg), ``verdict``, ``close``
        (both one-sided tests at 5 % put the difference within `MARGINS`; Schuirmann,
        1987), and of signed ones ``ratio`` to the printed value with ``ratio_low`` and
        ``ratio_high`` (Fieller, 95 %).

        The verdict is ``not run`` without a value of ours; ``other data`` or ``other
        settings`` where these are not the paper's; else ``differs`` at a q-value of at
        most `rate`; else ``uninformative`` where the half-width is above the margin
        (.01, or half the printed gain where that is more; .1 nats); else
        ``compatible``.

    Notes
    -----
    Our error holds the luck of our test samples. Both read the same 10,000 MNIST
    digits, so that some of that luck is in the printed number too: intervals are rather
    too wide, and *differs* too rare. The error of an information lacks the sampling of
    the images that it was estimated on, which errs the other way.
    """
    printed = cells["paper_error"].fillna(cells["paper_spread"])
    error = np.hypot(cells["our_error"], printed)
    difference = (cells["ours"] - cells["paper"]).abs()
    # a printed error counts as known: the sum has more degrees of freedom than ours
    more = (error / cells["our_error"].where(cells["our_error"] > 0)) ** 4
    df = cells["df"] * more.where(cells["paper_error"].notna(), 1.0).fillna(1.0)
    half_width = stats.t.isf(0.025, df) * error
    p = pd.Series(2 * stats.t.sf(difference / error, df), index=cells.index)
    p = p.mask((difference == 0) & error.notna(), 1.0)

    there = cells["ours"].notna()
    comparable = there & cells["same_data"] & (cells["remark"] == "")
    p = p.where(comparable)
    q = false_discovery(p)
    margin = np.where(cells["informs"], MARGINS["information"], MARGINS["score"])
    half_gain = np.where(
        cells["signed"] & ~cells["informs"], cells["paper"].abs() / 2, 0.0
    )
    limit = np.maximum(margin, half_gain)
    verdict = np.select(
        [
            ~there,
            ~cells["same_data"],
            cells["remark"] != "",
            q <= rate,
            ~(half_width <= limit),
        ],
        ["not run", "other data", "other settings", "differs", "uninformative"],
        "compatible",
    )
    one_sided = stats.t.isf(0.05, df) * error
    intervals = [
        ratio_interval(*numbers) if signed else (np.nan,) * 3
        for signed, *numbers in zip(
            cells["signed"], cells["ours"], cells["our_error"], cells["paper"], printed
        )
    ]
    ratio, low, high = zip(*intervals) if intervals else ((), (), ())
    return cells.assign(
        half_width=half_width,
        p_value=p,
        q_value=q,
        verdict=verdict,
        close=comparable & (difference + one_sided <= margin),
        ratio=ratio,
        ratio_low=low,
        ratio_high=high,
    )


def ratio_interval(
    ours: float, our_error: float, paper: float, paper_error: float, z: float = 1.96
) -> tuple[float, float, float]:
    """The ratio ours / paper, and Fieller's interval of it; infinite where the printed
    value can't be told from 0, nan without a value or an error.
    """
    if not np.isfinite([ours, our_error, paper, paper_error]).all() or paper == 0:
        return np.nan, np.nan, np.nan
    a = paper**2 - z**2 * paper_error**2
    c = ours**2 - z**2 * our_error**2
    if a <= 0:
        return ours / paper, -np.inf, np.inf
    # a ρ² − 2 ours paper ρ + c ≤ 0
    root = np.sqrt(max((ours * paper) ** 2 - a * c, 0.0))
    return ours / paper, (ours * paper - root) / a, (ours * paper + root) / a


def expected_verdicts(
    cells: pd.DataFrame, draws: int = 200, seed: int = 0
) -> pd.Series:
    """How many distinct cells would get each verdict, on average, if all printed values
    were the truth and we had run the paper's settings on its data.

    Both numbers are drawn anew around the printed value with the errors that they have;
    cells without an error of ours are left out.
    """
    known = cells[cells["distinct"] & cells["our_error"].notna()]
    printed = known["paper_error"].fillna(known["paper_spread"]).fillna(0)
    rng = np.random.default_rng(seed)
    same = known.assign(same_data=True, remark="", paper_error=printed)
    counts = []
    for _ in range(draws):
        two = rng.standard_normal((2, len(known)))
        drawn = same.assign(
            paper=known["paper"] + two[0] * printed,
            ours=known["paper"] + two[1] * known["our_error"],
        )
        counts.append(with_verdicts(drawn)["verdict"].value_counts())
    names = ["compatible", "differs", "uninformative"]
    return pd.DataFrame(counts).reindex(columns=names).fillna(0).mean()


def _distinct(cells: pd.DataFrame) -> pd.Series:
    """False for a number that stands in the tables before, and for a difference whose
    two terms are printed under the same conditions.
    """
    what = [TABLES[table][0] for table in cells["table"]]
    named = [
        TABLES[table][1].get(quantity, quantity)
        for table, quantity in zip(cells["table"], cells["quantity"])
    ]
    own = cells.assign(chapter=what, metric=named)
    # conditions on which a student's number without a teacher does not depend are left
    # out: the same value is the same number
    place = ["chapter", "cohort", "alpha", "student", "estimator", "x", "y", "subtype"]
    place = [name for name in place if name in own]
    alone = own["metric"].isin(["i_sl", "i_tl"]) | own["metric"].str.endswith(
        ("accuracy", "student_f1", "teacher_f1", "no_kd", "i_ts")
    )
    again = own.duplicated([*place, "metric", "paper"]) & alone

    conditions = [
        name
        for name in ("cohort", "alpha", "teacher", "student", "gamma", "noise_level")
        if name in own
    ]
    # NaN is unequal to itself: a condition that isn't there has a name
    where = own[["table", *conditions]].astype(object).fillna("–")
    places = list(where.itertuples(index=False, name=None))
    there = set(zip(places, own["quantity"]))
    follows = [
        quantity in DIFFERENCES
        and all((place, term) in there for term in DIFFERENCES[quantity])
        for place, quantity in zip(places, own["quantity"])
    ]
    return ~again & ~np.array(follows)


def _row(
    table: str,
    cell: pd.Series,
    runs: Sequence[Real],
    spreads_of: Callable[[str, str], pd.DataFrame],
) -> dict[str, Any]:
    """One printed cell and our number.

    Table 2's ± is a standard deviation over runs on one data set; they are not
    independent, so it is not divided by their root.
    """
    notebook, renamed, _ = TABLES[table]
    metric = renamed.get(cell["quantity"], cell["quantity"])
    own = _ours(table, cell, runs)
    known = spreads_of(notebook, metric)
    spread, df, overlap = moderated_spread(known, own.pop("where"))
    n = max(own["seeds"], 1)
    over_seeds = spread * np.sqrt(1 / n + overlap)
    over_samples = np.nan_to_num(own.pop("sample_error"))
    return {
        "table": table,
        **_conditions(cell),
        "quantity": cell["quantity"],
        "paper": cell["value"],
        "paper_error": cell["std_error"],
        "paper_spread": spread / np.sqrt(PAPER_RUNS.get(notebook, 1)),
        **own,
        "our_error": np.hypot(over_seeds, over_samples),
        "df": df,
        "informs": metric in (*scorecard.INFORMATION, "mutual_information"),
        "signed": metric in ("gap", "gain"),
        "same_data": set(own["data"].split(", ")) <= PAPERS,
    }


def spreads(runs: Sequence[Real], metric: str) -> pd.DataFrame:
    """How much a metric varies from seed to seed, a row a run and condition with two
    seeds (or splits) or more.

    Returns
    -------
    DataFrame
        The conditions, a column each, ``variance`` and its ``df``, ``effective`` (of
        all conditions of the run together, `inference.effective_df`), and ``overlap``,
        what overlapping splits add to 1/n (Nadeau & Bengio).
    """
    parts = []
    for run, _, metrics in runs:
        runs_a_split, held_out = scorecard._protocol(metric, run.record["parameters"])
        for columns, rows in scorecard._levels(metrics, metric):
            rows = rows[rows["seed"].notna()]
            if rows.empty:
                continue
            rows = rows.assign(
                split=rows["seed"].astype(int) // runs_a_split,
                condition=scorecard.in_words(rows, columns),
            )
            each = rows.groupby(["condition", "split"], sort=False)["value"].mean()
            wide = each.unstack(0)
            n = wide.count()
            whole = wide.dropna(axis=1).to_numpy()
            if len(whole) < 2 or not whole.size:
                continue
            part = rows.drop_duplicates("condition").set_index("condition")[columns]
            part = part.assign(
                variance=wide.var(),
                df=n - 1,
                effective=effective_df(whole),
                overlap=held_out / (1 - held_out),
            )
            parts.append(part[part["df"] > 0].reset_index(drop=True))
    if not parts:
        return pd.DataFrame(columns=["variance", "df", "effective", "overlap"])
    return pd.concat(parts, ignore_index=True)


def moderated_spread(
    known: pd.DataFrame, where: Mapping[str, Any]
) -> tuple[float, float, float]:
    """The spread over seeds that counts under conditions: that of all runs there,
    moderated by the chapter's other conditions (`inference.moderation_prior`).

    So a run of one seed has the spread that others had at its condition, and one at a
    condition of its own that of the chapter.

    Returns
    -------
    (spread, df, overlap)
        nan where no condition of the chapter has two seeds.
    """
    if known.empty:
        return float("nan"), float("nan"), 0.0
    overlap = float(known["overlap"].iloc[0])
    varied = known[known["variance"] > 0]
    if varied.empty:
        return 0.0, float(known["df"].sum()), overlap
    location, prior_df = moderation_prior(varied["variance"], varied["df"])

    here = pd.Series(True, index=known.index)
    for name, value in where.items():
        if name in known:
            here &= known[name].isna() | (known[name] == value)
    # the same networks may lie in several records
    own = known[here].drop_duplicates("variance")
    own_df = float(own["df"].sum())
    most = float(known["effective"].drop_duplicates().sum())
    prior_df = float(np.clip(most - own_df, 0, prior_df))
    if prior_df + own_df == 0:
        return float(np.sqrt(location[0])), float(varied["df"].min()), overlap
    squares = prior_df * location[0] + (own["df"] * own["variance"]).sum()
    df = prior_df + own_df
    return float(np.sqrt(squares / df)), df, overlap


def _conditions(cell: pd.Series) -> dict[str, Any]:
    return {
        name: value
        for name, value in cell.items()
        if name not in _NOT_CONDITIONS and pd.notna(value)
    }


def _ours(table: str, cell: pd.Series, runs: Sequence[Real]) -> dict[str, Any]:
    """Our number for a printed cell, by the rule of `printed_cells`."""
    _, renamed, _ = TABLES[table]
    metric = renamed.get(cell["quantity"], cell["quantity"])
    nothing = {
        "ours": np.nan,
        "sample_error": np.nan,
        "seeds": 0,
        "data": "–",
        "run": "–",
        "key": "–",
        "remark": "no run on real data",
        "other_readings": "",
        "where": {},
    }
    for kind in ("recorded", "live"):
        measured = []
        for real in reversed(runs):  # the newest first
            if real.kind != kind:
                continue
            found, known = _measured(real, table, cell, metric)
            if np.isfinite(found["ours"]):
                measured.append((differences(real.run, metric), found | {"run": kind}))
            elif nothing["remark"] != "not at this condition":
                remark = "not at this condition" if known else "not measured"
                nothing |= {"data": found["data"], "remark": remark}
        if measured:
            # of equals `min` takes the first
            changed, found = min(
                measured, key=lambda one: (len(one[0]), -one[1]["seeds"])
            )
            return found | {"remark": "; ".join(changed)}
    return nothing


def _measured(
    real: Real, table: str, cell: pd.Series, metric: str
) -> tuple[dict[str, Any], bool]:
    """What one run says of a printed cell, and whether it knows the metric at all."""
    where, data = counterpart(table, cell, real.run.record)
    found = {
        **_value(real, metric, where),
        "data": ", ".join(sorted(data)),
        "key": real.run.record["key"],
        "other_readings": "",
        "where": where,
    }
    said = []
    for name, (other, at) in _other_readings(metric, where).items():
        read = _value(real, other, at)
        if np.isfinite(read["ours"]):
            said.append(f"{name}: {read['ours']:.3g}")
    found["other_readings"] = "; ".join(said)
    return found, metric in set(real.metrics["metric"])


def _value(real: Real, metric: str, where: Mapping[str, Any]) -> dict[str, Any]:
    """A metric's mean under conditions, the error that all its seeds share by their
    test samples, and their number.
    """
    parameters, metrics = real.run.record["parameters"], real.metrics
    value, _, n = scorecard.measured(metrics, metric, where, parameters)
    over_samples = scorecard.sampling_error(metrics, metric, where, parameters, value)
    return {"ours": value, "sample_error": over_samples, "seeds": n}


def _other_readings(
    metric: str, where: Mapping[str, Any]
) -> dict[str, tuple[str, dict[str, Any]]]:
    """The metric and conditions of the other readings of the noise, of which the paper
    does not say what a level is a fraction of.
    """
    if where.get("noise") == "relative":
        return {
            name: (metric, {**where, "noise": name}) for name in ("convex", "absolute")
        }
    if where.get("noise_level"):
        return {"convex": (f"{metric}_convex", dict(where))}
    return {}


def differences(run: Record, metric: str) -> list[str]:
    """What of a run's settings is not the paper's, as far as `metric` depends on it.

    The paper's settings are the notebook's `paper` profile: printed values, and where
    nothing is printed the book's choice (see the page on choices). Grids and counts may
    be smaller; an information must come from the paper's estimator.
    """
    about = run.record
    found = []
    for name, value in paper_settings(about["notebook"]).items():
        own = about["parameters"].get(name, value)
        single = not isinstance(value, (list, dict))
        informs = metric in (*scorecard.INFORMATION, "mutual_information")
        matters = name not in COUNTS and (informs or not name.startswith("mi_"))
        if single and matters and own != value:
            found.append(f"{name} = {own} (the paper: {value})")
    if metric in scorecard.INFORMATION:
        used = scorecard.estimators(run.metrics)
        if used[:1] != ["lmi"]:
            found.append("another estimator than the paper's")
    return found


@cache
def paper_settings(notebook: str) -> dict[str, Any]:
    """All parameters of a chapter's `paper` profile; empty outside of a checkout."""
    root = records.repository()
    path = root / "notebooks" / f"{notebook}.ipynb" if root else None
    if path is None or not path.is_file():
        return {}
    return plan.parameters(Notebook.read(path), "paper", {})


def counterpart(
    table: str, cell: pd.Series, about: Mapping[str, Any]
) -> tuple[dict[str, Any], set[str]]:
    """The conditions under which a run logs what a printed cell says, and the data sets
    that the number then speaks of.

    `about` is the run's record: the paper's own data go before what stands in for them,
    where the run had both.
    """
    notebook, _, implied = TABLES[table]
    where = implied | _conditions(cell)
    names = {data["name"] for data in about["data"]}
    if cell["quantity"] in ("teacher_accuracy", "teacher_weighted_f1", "i_tl"):
        # captions speak of clean inputs
        clean = {"03_image": SHARP, "05_cancer": {"noise_level": 0.0}}
        where = clean.get(notebook, {}) | where
    if notebook == "04_sentiment":
        where["data"] = next(
            (name for name in ("mosei", "mosi") if name in names), "mmmo"
        )
        if "noise_level" in where:
            where |= {"level": where["noise_level"]} | (
                {"noise": "none"} if where["noise_level"] == 0 else {}
            )
    if where.get("estimator") == "latentmi":
        where["estimator"] = "lmi"
    if where.get("cohort") in SUBSTITUTES:
        known = SUBSTITUTES[where["cohort"]]
        there = about["parameters"].get("cohorts", ())
        where["cohort"] = next((name for name in known if name in there), known[-1])
    return where, {where[name] for name in ("cohort", "data") if name in where} or names
