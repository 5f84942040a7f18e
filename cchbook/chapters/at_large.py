"""What chapter 11 alone does: what it keeps of each study, and what the protocol
(`book/protocol.md`) makes of all of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats
from sklearn.metrics import roc_auc_score

from cchbook.chapters import plots
from cchbook.chapters.inference import judge, shared_sample_error
from cchbook.data import multiview
from cchbook.data.multiview import MultiView
from cchbook.data.multiview_originals import READERS
from cchbook.runs import records
from cchbook.runs.predictions import Predictions
from cchbook.runs.records import Measurements
from cchdecide.figures import COLORS
from cchdecide.studies import (
    DISTILLED,
    ITSELF,
    ITSELF_ON_PAIRS,
    ON_PAIRS,
    STUDENT,
    TEST,
)
from cchdecide.study_report import Study

#: metrics of an arm, with their units
SCORES = {"accuracy": "", "log_loss": "nats", "error": "of Var y"}
#: what tells one condition from the others; `hidden` is the share of hidden labels
KEYS = ["hidden", "set", "teacher", "student"]
#: the rules of the protocol, by the metric whose mean over splits says "distil" above 0
RULES = {
    "CCH": "cch_latent",
    "teacher better": "teacher_advantage",
    "predicted gain": "predicted_gain",
    "slope test": "slope_test",
    "shrinkage test": "shrinkage_test",
}
#: asked in the regime of all labels, of sets of few pairs
QUICK_LOOKS = {"pilot": "pilot", "decide": "decide_verdict"}
OTHER_ESTIMATORS = {"CCH, gaussian": "cch_gaussian", "CCH, ksg": "cch_ksg"}
FLIPS = 20_000
RATES = "benchmarks/results/study_rates.csv"
#: what the page says of each regime
COUNTED = (
    "pairs",
    "helps",
    "helps_better",
    "harms",
    "saturated",
    "missing",
    "yes",
    "B",
    "always",
    "auc",
    "best",
)
#: the protocol's outcomes, the primary one first
OUTCOMES = {
    "gain over the control": "gain",
    "log loss, over the control": "log_loss",
    "gain over the plain student": "over_student",
}
#: what only ranks, beside the rules
SCORES_ALONE = {
    "agreement": "agreement",
    "CKA": "cka",
    "LogME": "logme",
    "label information of both": "label_information_of_both",
}


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


# ------------------------------------------------------------------ which run leads


def leading(run: Measurements) -> tuple[pd.DataFrame, Predictions | None, str]:
    """Metrics and predictions of the recorded run, or of this run where none is, and
    the run in words.
    """
    record = records.leading("11_at_large")
    if record is None:
        return run.frame(), None, "the run of this page (none is recorded)"
    about = record.record
    minutes = about["seconds"] / 60
    words = f"the run recorded on {about['start'][:10]} ({minutes:.0f} min)"
    return record.metrics, record.predictions, words


# ------------------------------------------------------------------ pairs of views


def gains(metrics: pd.DataFrame) -> pd.DataFrame:
    """A row a pair, regime and split: columns `KEYS`, seed, kind ("classes" or
    "regression"), gain (over the control), over_student, log_loss (gain, nats).
    """
    frames = []
    for hidden, part in metrics.groupby("hidden"):
        ours, control = (ON_PAIRS, ITSELF_ON_PAIRS) if hidden else (DISTILLED, ITSELF)
        found = {}
        for metric, sign in (("accuracy", 1), ("error", -1), ("log_loss", -1)):
            rows = part[part["metric"] == metric]
            if not len(rows):
                continue
            wide = rows.pivot(index=[*KEYS, "seed"], columns="arm", values="value")
            found[metric] = pd.DataFrame(
                {
                    "gain": sign * (wide[ours] - wide[control]),
                    "over_student": sign * (wide[ours] - wide[STUDENT]),
                }
            )
        kinds = {"accuracy": "classes", "error": "regression"}
        for metric, kind in kinds.items():
            if metric not in found:
                continue
            frame = found[metric].assign(kind=kind)
            if metric == "accuracy":
                frame["log_loss"] = found["log_loss"]["gain"]
            frames.append(frame.reset_index())
    return pd.concat(frames, ignore_index=True)


def pairs(metrics: pd.DataFrame, said: Predictions | None = None) -> pd.DataFrame:
    """A row a pair and regime: `KEYS`, kind, gain, over_student, log_loss, std_error,
    verdict by `judge`, and the mean of every criterion.

    With `said`, what the networks said of the test rows, the luck of test rows that all
    splits of a set share is in the standard error.
    """
    each = gains(metrics)
    shared = _shared_errors(said) if said is not None else {}
    keys = [tuple(row) for row in each[KEYS].itertuples(index=False)]
    asked = pd.DataFrame(
        {
            "chapter": each["kind"],
            "baseline": each["hidden"].astype(str) + each["set"] + each["student"],
            "condition": [str(key) for key in keys],
            "seed": each["seed"],
            "gain": each["gain"],
            "sample_error": [shared.get(key, 0.0) for key in keys],
            "test_share": [0.0 if shared.get(key) else TEST for key in keys],
        }
    )
    called = judge(asked).set_index("condition")
    scores = ["gain", "over_student", "log_loss"]
    scores = [name for name in scores if name in each]
    table = each.groupby([*KEYS, "kind"], sort=False)[scores].mean().reset_index()
    names = [str(tuple(row)) for row in table[KEYS].itertuples(index=False)]
    for column in ("std_error", "p_value", "verdict"):
        table[column] = called.loc[names, column].to_numpy()
    measured = metrics[~metrics["metric"].isin([*SCORES, "lam", "temperature"])]
    means = measured.pivot_table(
        index=KEYS, columns="metric", values="value", aggfunc="mean"
    )
    return table.merge(means.reset_index(), on=KEYS, how="left")


def _shared_errors(said: Predictions) -> dict[tuple, float]:
    """The error of a mean gain from test rows that all splits share, by pair."""
    right: dict[tuple, dict[str, dict[int, np.ndarray]]] = {}
    truths: dict[tuple, set[bytes]] = {}
    for each in said:
        where = each.conditions
        key = tuple(where[name] for name in KEYS)
        scores = each.right.astype(float)
        if each.probability is None:
            scores = -((each.predicted.astype(float) - each.truth) ** 2)
        right.setdefault(key, {}).setdefault(where["arm"], {})[where["seed"]] = scores
        truths.setdefault(key, set()).add(each.truth.tobytes())
    found = {}
    for key, arms in right.items():
        if len(truths[key]) > 1:
            continue  # test rows of their own
        ours, control = (ON_PAIRS, ITSELF_ON_PAIRS) if key[0] else (DISTILLED, ITSELF)
        seeds = sorted(arms[ours])
        differences = [arms[ours][seed] - arms[control][seed] for seed in seeds]
        found[key] = float(shared_sample_error(np.array(differences)))
    return found


# ------------------------------------------------------------------ rules


def says(table: pd.DataFrame, rules: Mapping[str, str] = RULES) -> pd.DataFrame:
    """What each rule says of each row of `pairs`: True to distil, False not to, nan
    where it was not asked. A CCH that is saturated says not to: it is undecided.
    """
    said = {}
    for name, metric in rules.items():
        values = table.get(metric, pd.Series(np.nan, index=table.index))
        yes = (values > 0).astype(float)
        if metric.startswith("cch_"):
            yes[saturated(table, metric)] = 0.0
        said[name] = yes.where(values.notna())
    return pd.DataFrame(said, index=table.index)


def saturated(table: pd.DataFrame, metric: str = "cch_latent") -> pd.Series:
    """Where I(H1; H2) was at its ceiling in more than half of the estimates."""
    return table["saturated_" + metric.removeprefix("cch_")] > 0.5


def benefits(
    table: pd.DataFrame,
    rules: Mapping[str, str] = RULES,
    outcome: str = "gain",
) -> pd.DataFrame:
    """Net benefit B of every rule on every set: columns hidden, set, the rules,
    "always" and "never".
    """
    said = says(table, rules).assign(always=1.0, never=0.0)
    worth = said.mul(table[outcome], axis=0)
    worth[["hidden", "set"]] = table[["hidden", "set"]]
    return worth.groupby(["hidden", "set"], sort=False).mean().reset_index()


def rule_tests(benefit: pd.DataFrame) -> pd.DataFrame:
    """The protocol's tests of every rule, by regime: B and its standard error over
    sets, B of "always" on the same sets, the differences from "always" and "never"
    with p-values, and `p_value`, the larger of the two; `flipped` is its check by sign
    flips.
    """
    rows = []
    for hidden, part in benefit.groupby("hidden", sort=False):
        for name in part.columns.drop(["hidden", "set", "always", "never"]):
            known = part.dropna(subset=[name])
            if len(known) < 2:
                continue
            row = dict(hidden=hidden, rule=name, sets=len(known), B=known[name].mean())
            row["always"] = known["always"].mean()
            row["std_error"] = known[name].std(ddof=1) / np.sqrt(len(known))
            for other in ("always", "never"):
                difference = (known[name] - known[other]).to_numpy()
                row[f"error_{other}"] = stats.sem(difference)
                row[f"over_{other}"] = difference.mean()
                row[f"p_{other}"] = _one_sided(difference)
                row[f"flipped_{other}"] = sign_flip(difference)
            row["p_value"] = max(row["p_always"], row["p_never"])
            row["flipped"] = max(row["flipped_always"], row["flipped_never"])
            rows.append(row)
    return pd.DataFrame(rows)


def holm(p_values: pd.Series) -> pd.Series:
    """Holm's adjusted p-values."""
    order = p_values.sort_values()
    count = len(order)
    adjusted = (order * np.arange(count, 0, -1)).cummax().clip(upper=1.0)
    return adjusted.reindex(p_values.index)


def _one_sided(differences: np.ndarray) -> float:
    """P-value of a t-test of a mean above 0; 1 where nothing differs."""
    if not differences.any():
        return 1.0
    return float(stats.ttest_1samp(differences, 0.0, alternative="greater").pvalue)


def sign_flip(differences: np.ndarray, seed: int = 0) -> float:
    """The same by flipping signs at random."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(FLIPS, len(differences)))
    means = (signs * differences).mean(1)
    reached = (means >= differences.mean() - 1e-12).sum()
    return float((reached + 1) / (FLIPS + 1))


def within_set_auc(table: pd.DataFrame, metric: str) -> pd.DataFrame:
    """AUC of a score for the sign of the gain within each set that has both signs:
    columns hidden, set, auc.
    """
    rows = []
    for (hidden, name), part in table.groupby(["hidden", "set"], sort=False):
        part = part.dropna(subset=[metric])
        helped = part["gain"] > 0
        if 0 < helped.sum() < len(part):
            rows.append((hidden, name, roc_auc_score(helped, part[metric])))
    return pd.DataFrame(rows, columns=["hidden", "set", "auc"])


def by_set(table: pd.DataFrame) -> pd.DataFrame:
    """A row a set: pairs, and for each regime the mean gain and how many pairs help and
    harm.
    """
    rows = []
    for name, part in table.groupby("set", sort=False):
        row: dict[str, object] = {"set": name, "kind": part["kind"].iloc[0]}
        row["pairs"] = len(part[KEYS[2:]].drop_duplicates())
        for hidden, own in part.groupby("hidden"):
            regime = "a fifth" if hidden else "all labels"
            row[f"gain, {regime}"] = own["gain"].mean()
            counts = own["verdict"].value_counts()
            row[f"helps, {regime}"] = int(counts.get("helps", 0))
            row[f"harms, {regime}"] = int(counts.get("harms", 0))
        rows.append(row)
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame) -> Figure:
    """Gap against gain, a panel a set; filled with all labels, open with a fifth."""
    names = list(table["set"].unique())
    columns = min(4, len(names))
    height = int(np.ceil(len(names) / columns))
    figure, axes = plt.subplots(
        height,
        columns,
        figsize=(8.0, 1.7 * height + 0.5),
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[len(names) :]:
        ax.set_visible(False)
    for ax, name in zip(axes.flat, names):
        own = table[table["set"] == name]
        for hidden, part in own.groupby("hidden"):
            full = saturated(part)
            color = COLORS["kd"] if hidden else COLORS["no_kd"]
            for mask, marker in ((~full, "o"), (full, "^")):
                ax.errorbar(
                    part.loc[mask, "cch_latent"],
                    part.loc[mask, "gain"],
                    yerr=part.loc[mask, "std_error"],
                    fmt=marker,
                    ms=3.5,
                    lw=0.8,
                    color=color,
                    mfc="white" if hidden else color,
                )
        ax.axhline(0, color="0.3", lw=0.6)
        ax.axvline(0, color="0.3", lw=0.6)
        ax.set_title(name.split("_")[0], fontsize=8)
        ax.tick_params(labelsize=7)
    figure.supxlabel("gap $I(H_1;H_2) - I(H_2;Y)$ (nats)", fontsize=9)
    figure.supylabel("gain over the control", fontsize=9)
    return figure


# ------------------------------------------------------------------ on the page


def regime(hidden: float) -> str:
    """A regime in words."""
    return f"{1 - hidden:.0%} of the labels" if hidden else "all labels"


def answer(table: pd.DataFrame) -> dict[str, str | int]:
    """What the page says first, for `glue_all`."""
    tests = rule_tests(benefits(table, RULES | QUICK_LOOKS))
    cch = tests[tests["rule"] == "CCH"].set_index("hidden")
    said: dict[str, str | int] = {
        "sets": table["set"].nunique(),
        "pairs": len(table[KEYS[1:]].drop_duplicates()),
        "primary": _primary(cch),
    }
    for hidden, part in table.groupby("hidden"):
        name = "few" if hidden else "all"
        counts = part["verdict"].value_counts()
        said[f"{name}_pairs"] = len(part)
        said[f"{name}_helps"] = int(counts.get("helps", 0))
        helped = part[part["verdict"] == "helps"]
        said[f"{name}_helps_better"] = int((helped["teacher_advantage"] > 0).sum())
        said[f"{name}_harms"] = int(counts.get("harms", 0))
        said[f"{name}_saturated"] = int(saturated(part).sum())
        said[f"{name}_missing"] = int(part["cch_latent"].isna().sum())
        said[f"{name}_yes"] = int((part["cch_latent"] > 0).sum())
        if hidden in cch.index:
            row = cch.loc[hidden]
            said[f"{name}_B"] = f"{row['B']:+.4f} ± {row['std_error']:.4f}"
            said[f"{name}_always"] = f"{row['always']:+.4f}"
            aucs = within_set_auc(part, "cch_latent")["auc"]
            said[f"{name}_auc"] = plots.pm(aucs.mean(), aucs.sem(), digits=2)
            said[f"{name}_best"] = _best_rival(tests[tests["hidden"] == hidden])
    for name in ("all", "few"):
        for what in COUNTED:
            said.setdefault(f"{name}_{what}", "not measured")
    return said


def _best_rival(tests: pd.DataFrame) -> str:
    """The rule with the largest net benefit beside the CCH, in words."""
    rivals = tests[tests["rule"] != "CCH"].set_index("rule")
    name = rivals["B"].idxmax()
    row, p = rivals.loc[name], holm(rivals["p_value"])[name]
    return (
        f"{name}, {row['B']:+.4f} ± {row['std_error']:.4f} (Holm-corrected p = {p:.2g})"
    )


def _primary(cch: pd.DataFrame) -> str:
    """The primary result in a sentence, with Holm's p-values over the regimes."""
    if not len(cch):
        return "The primary test needs two sets at least."
    adjusted = holm(cch["p_value"])
    parts = [f"{regime(hidden)}: p = {p:.2g}" for hidden, p in adjusted.items()]
    words = "; ".join(parts)
    if (adjusted < 0.05).any():
        where = " and ".join(regime(h) for h, p in adjusted.items() if p < 0.05)
        return f"The CCH did better than both always and never with {where} ({words})."
    return (
        "The CCH was not shown to do better than both always distilling and never "
        f"distilling ({words}, Holm-corrected)."
    )


def show_rules(table: pd.DataFrame) -> None:
    """Net benefit of every rule, by regime."""
    benefit = benefits(table, RULES | QUICK_LOOKS | OTHER_ESTIMATORS)
    tests = rule_tests(benefit)
    if not len(tests):
        return
    primary = tests["rule"] == "CCH"
    rivals = tests["rule"].isin([*RULES, *QUICK_LOOKS]) & ~primary
    tests["corrected"] = np.nan
    tests.loc[primary, "corrected"] = holm(tests.loc[primary, "p_value"])
    for _, part in tests[rivals].groupby("hidden"):
        tests.loc[part.index, "corrected"] = holm(part["p_value"])
    shown = pd.DataFrame(
        {
            "regime": [regime(h) for h in tests["hidden"]],
            "rule": tests["rule"],
            "sets": tests["sets"],
            "B, in points": [
                f"{100 * b:+.2f} ± {100 * e:.2f}"
                for b, e in zip(tests["B"], tests["std_error"])
            ],
            "over always": [f"{100 * v:+.2f}" for v in tests["over_always"]],
            "p": [f"{p:.2g}" for p in tests["p_value"]],
            "Holm": ["–" if np.isnan(p) else f"{p:.2g}" for p in tests["corrected"]],
        }
    )
    plots.show_table(
        shown,
        "Net benefit B of every rule: mean over the sets of what it gains where it "
        "says “distil”, in points (hundredths of accuracy, or of Var y); the larger "
        "p-value of the tests against “always” and “never”.",
    )


def outcomes(table: pd.DataFrame) -> pd.DataFrame:
    """The CCH's net benefit by the protocol's three outcomes: `rule_tests` with a
    column outcome. Log loss is of sets of classes alone.
    """
    frames = []
    for name, column in OUTCOMES.items():
        known = table.dropna(subset=[column]) if column in table else table.iloc[:0]
        tests = rule_tests(benefits(known, {"CCH": RULES["CCH"]}, column))
        frames.append(tests.assign(outcome=name))
    return pd.concat(frames, ignore_index=True)


def show_outcomes(table: pd.DataFrame) -> None:
    """The CCH against "always" and "never" by each outcome of the protocol."""
    tests = outcomes(table)
    if not len(tests):
        return
    tests = tests.sort_values("hidden", kind="stable")
    reach = stats.t.ppf(0.975, tests["sets"] - 1)
    shown = pd.DataFrame(
        {
            "regime": [regime(h) for h in tests["hidden"]],
            "outcome": tests["outcome"],
            "sets": tests["sets"],
        }
    )
    for other in ("always", "never"):
        middle, half = tests[f"over_{other}"], reach * tests[f"error_{other}"]
        shown[f"over {other}"] = [
            f"{100 * m:+.2f} [{100 * (m - h):+.2f}, {100 * (m + h):+.2f}]"
            for m, h in zip(middle, half)
        ]
    shown["p"] = [f"{p:.2g}" for p in tests["p_value"]]
    shown["sign flips"] = [f"{p:.2g}" for p in tests["flipped"]]
    plots.show_table(
        shown,
        "The CCH's net benefit less that of “always” and of “never”, with 95 % "
        "intervals over sets, in hundredths of the outcome (accuracy, or Var y; log "
        "loss in nats, sets of classes alone); the larger p-value by t-tests and by "
        "sign flips, uncorrected. The first outcome is primary.",
    )


def show_aucs(table: pd.DataFrame) -> None:
    """Within-set AUC of every score: the mean over sets against a half."""
    rows = []
    asked = RULES | SCORES_ALONE
    for name, metric in asked.items():
        if metric not in table:
            continue
        for hidden, part in within_set_auc(table, metric).groupby("hidden"):
            count, mean = len(part), part["auc"].mean()
            error = part["auc"].std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
            p = stats.ttest_1samp(part["auc"], 0.5).pvalue if error > 0 else np.nan
            worth = plots.pm(mean, error, digits=2)
            rows.append(
                (regime(hidden), name, count, worth, "–" if np.isnan(p) else f"{p:.2g}")
            )
    shown = pd.DataFrame(rows, columns=["regime", "score", "sets", "AUC", "p"])
    plots.show_table(
        shown.sort_values("regime", kind="stable", ascending=False),
        "How well a score ranks the pairs of a set, whatever its zero: AUC for the "
        "sign of the gain, mean over the sets whose pairs have both signs; .5 is a "
        "coin. p: two-sided t-test over sets against .5, uncorrected. In a set of two "
        "pairs the AUC is 0 or 1, or .5 at a tie.",
    )


def show_when(table: pd.DataFrame) -> None:
    """Where distilling helps: by regime and by whether the teacher is better."""
    rows = []
    better = np.where(table["teacher_advantage"] > 0, "yes", "no")
    for (hidden, yes), part in table.groupby(["hidden", better]):
        of_sets = part.groupby("set")["gain"].mean()
        counts = part["verdict"].value_counts()
        rows.append(
            {
                "regime": regime(hidden),
                "teacher better": yes,
                "sets": len(of_sets),
                "pairs": len(part),
                "gain, in points": plots.pm(100 * of_sets.mean(), 100 * of_sets.sem()),
                "helps": int(counts.get("helps", 0)),
                "harms": int(counts.get("harms", 0)),
            }
        )
    plots.show_table(
        pd.DataFrame(rows),
        "Where it helps: mean gain over the control, a set counted once, and how many "
        "pairs clearly gain and lose, by whether the teacher is better on the "
        "validation rows.",
    )


def _rates() -> pd.DataFrame:
    """What `benchmarks/study_rates.py` found, a row a call of `study`."""
    root = records.repository()
    if root is None:
        raise FileNotFoundError(f"no checkout that holds {RATES}")
    drawn = pd.read_csv(root / RATES)
    return drawn.assign(regime=drawn["hidden"].map(regime))


def show_rates() -> None:
    """Verdicts of `study` on planted sets."""
    drawn = _rates().query("teacher in ['nothing', 'law']")
    groups = drawn.groupby(["teacher", "regime"])
    counts = groups["verdict"].value_counts().unstack()
    shown = counts.reindex(columns=["helps", "undecided", "harms"]).fillna(0)
    shown = shown.astype(int).reset_index()
    gains = [f"{100 * gain:+.2f}" for gain in groups["gain"].mean()]
    shown["mean gain, in points"] = gains
    plots.show_table(
        shown.rename(columns={"teacher": "the teacher knows"}),
        "Verdicts of `study` on planted sets of 400 samples, each drawn anew.",
    )


def show_example() -> None:
    """What distilling gives on the file that `cch assess --example` writes."""
    drawn = _rates().query("teacher in ['good', 'poor']")
    scores = ("gain", "low", "high")
    shown = drawn[["teacher", "regime", "verdict"]].assign(
        **{f"{name}, in points": 100 * drawn[name] for name in scores}
    )
    plots.show_table(
        shown.round(1),
        "The example of `cch assess --example`: its teacher `good` sees without noise "
        "what the student sees with it, its teacher `poor` sees noise. Networks "
        "distilled by `study` on 20 splits of its 300 subjects, gain over "
        "self-distillation (over self-training with a fifth of the labels), interval.",
    )


def show_sources(table: pd.DataFrame) -> None:
    """What the views of each set are, and where it comes from."""
    known = multiview.sources()
    shown = known[known["set"].isin(table["set"])]
    made = np.where(shown["set"].isin(READERS), "yes", "no")
    shown = shown.assign(fetched=made)
    plots.show_table(
        shown[["set", "views", "original", "licence", "repository", "fetched"]],
        "The sets: what their views are, whose they are, under which licence as far as "
        "it is stated, the public file that was read, and whether `cch data fetch "
        "multiview` makes the set from it. Any other needs a file of the same layout: "
        "arrays `view_NAME` (n, p), `label` (n,), and `group` or `split` where there "
        "are any.",
    )


def show_sets(table: pd.DataFrame) -> None:
    """A row a set."""
    shown = by_set(table)
    for column in shown:
        if column.startswith("gain"):
            shown[column] = [f"{100 * v:+.2f}" for v in shown[column]]
    plots.show_table(
        shown,
        "Every set: mean gain over the control in points, and how many of its pairs "
        "clearly help and harm, with all labels and with a fifth of them.",
    )


def quick_look(table: pd.DataFrame) -> pd.DataFrame:
    """What `decide` said of heads on frozen features, against what the networks did."""
    metric = QUICK_LOOKS["decide"]
    if metric not in table:
        return pd.DataFrame()
    asked = table[table[metric].notna()]
    words = {1.0: "distil", 0.0: "undecided", -1.0: "do not distil"}
    said = asked[metric].map(words)
    return asked.groupby([said, asked["verdict"]]).size().unstack(fill_value=0)


def every_arm(
    metrics: pd.DataFrame, table: pd.DataFrame
) -> tuple[pd.DataFrame, list[str]]:
    """What every arm of every study scored, for `publish.interactive.arms_explorer`."""
    scores = metrics[metrics["metric"].isin(["accuracy", "error"])]
    wide = scores.pivot_table(index=KEYS, columns="arm", values="value", aggfunc="mean")
    arms = list(wide)
    found = table.set_index(KEYS)
    rows = pd.DataFrame(
        {
            "set": found.index.get_level_values("set"),
            "pair": [f"{key[2]} → {key[3]}" for key in found.index],
            "regime": [regime(key[0]) for key in found.index],
            "unit": [
                "accuracy" if kind == "classes" else "squared error over Var y"
                for kind in found["kind"]
            ],
            "scores": [
                [None if np.isnan(v) else round(v, 4) for v in wide.loc[key]]
                for key in found.index
            ],
            "control": [
                arms.index(ITSELF_ON_PAIRS if key[0] else ITSELF) for key in found.index
            ],
            "gap": found["cch_latent"].to_numpy(),
            "saturated": saturated(found).to_numpy(),
            **{
                name: found[name].to_numpy()
                for name in ("gain", "std_error", "verdict")
            },
        }
    )
    return rows, arms


def show_quick_look(table: pd.DataFrame) -> None:
    """The same as a table of the page."""
    counts = quick_look(table)
    if len(counts):
        plots.show_table(
            counts.rename_axis("decide said").rename_axis(columns=None).reset_index(),
            "What `decide` said of heads on the student's frozen features, and what "
            "distilling the network did, over self-distillation. Pairs, all labels.",
        )
