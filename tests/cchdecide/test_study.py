"""`study`: splits, planted sets, leaks, errors, the file command."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from typer.testing import CliRunner

from cchdecide import decide, studies, study, study_views
from cchdecide.cli import app
from cchdecide.outputs import target_of
from cchdecide.studies import draw_parts
from cchdecide.views import read_views

SMALL = dict(repeats=3, estimates=0, epochs=8, learning_rates=(0.03,), lams=(0.5, 0.9))


def planted(seed, n=240, noise=1.0):
    """A teacher's view that is the law of three classes, a student's that is noisy."""
    rng = np.random.default_rng(seed)
    latent = rng.standard_normal((n, 6))
    labels = (latent[:, :3] + 0.7 * rng.standard_normal((n, 3))).argmax(1)
    return latent, latent + noise * rng.standard_normal((n, 6)), labels


@pytest.fixture(scope="module")
def found():
    """A small study of a planted set, which several tests look at."""
    return study(*planted(5), **SMALL)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("official", [False, True])
def test_parts_are_disjoint_and_keep_groups_and_official_splits(grouped, official):
    n = 300
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, n)
    groups = np.arange(n) // 10 if grouped else None
    split = (np.arange(n) >= 200).astype(int) if official else None
    parts = draw_parts(
        target_of(labels), groups=groups, split=split, repeats=5, pairs=0.8
    )
    for part in parts:
        rows = [set(part.train), set(part.validation), set(part.test)]
        assert not (rows[0] & rows[1] or rows[0] & rows[2] or rows[1] & rows[2])
        assert part.labelled.mean() == pytest.approx(0.2, abs=0.02)
        if official:
            assert rows[2] == set(np.flatnonzero(split == 1))
        else:
            assert len(part.test) == pytest.approx(0.2 * n, abs=5)
            assert len(part.validation) == pytest.approx(0.2 * n, abs=10)
        if grouped:
            of = [set(groups[list(part_rows)]) for part_rows in rows]
            assert not (of[0] & of[1] or of[0] & of[2] or of[1] & of[2])
    assert {tuple(part.train) for part in parts}.__len__() == 5


def test_stratified_parts_hold_every_class_in_its_proportion():
    labels = np.repeat([0, 1, 2], [600, 300, 100])
    (part,) = draw_parts(target_of(labels), repeats=1)
    for rows in (part.train, part.validation, part.test):
        shares = np.bincount(labels[rows]) / len(rows)
        assert shares == pytest.approx([0.6, 0.3, 0.1], abs=0.01)


def test_large_data_are_drawn_from():
    labels = np.arange(5000) % 2
    (part,) = draw_parts(target_of(labels), repeats=1, max_rows=500, max_test_rows=300)
    assert [len(part.train), len(part.validation), len(part.test)] == [300, 100, 300]


def test_a_teacher_that_knows_the_law_helps_where_labels_are_few():
    latent, noisy, labels = planted(0, n=1000)
    found = study(
        latent, noisy, labels, pairs=0.95, repeats=5, estimates=0, epochs=20,
        lams=(0.9,), temperatures=(1.0,), learning_rates=(0.02,),
    )  # fmt: skip
    table = found.table.set_index("arm")
    # the plain student has 30 labels; the teacher's own view is the latent one
    plain = table.loc["student", "accuracy"]
    assert table.loc["distilled on pairs", "accuracy"] > plain + 0.02
    assert found.gain > 0
    assert found.control == "self-training"
    assert found.interval[0] < found.gain < found.interval[1]


def test_a_teacher_that_knows_nothing_does_not_help():
    rng = np.random.default_rng(1)
    _, noisy, labels = planted(1)
    found = study(rng.standard_normal((240, 4)), noisy, labels, **SMALL)
    assert found.verdict != "helps"
    assert found.gain < 0.02


def test_hidden_labels_never_reach_the_teacher():
    # the teacher's view names the sample: who memorises the hidden labels tells them
    rng = np.random.default_rng(2)
    n = 200
    labels = rng.integers(0, 2, n)
    names = np.eye(n)
    views = {"names": names, "noise": rng.standard_normal((n, 3))}
    target = target_of(labels)
    parts = draw_parts(target, repeats=3, pairs=0.8)
    settings = studies.Settings(components=n, epochs=40, patience=40)
    bench = studies._Bench(views, studies._Data(target, parts, settings, 0), True)
    teacher = bench.plain("names")
    for part, said in zip(parts, teacher.train):
        right = said.argmax(1).numpy() == labels[part.train]
        hidden = ~part.labelled
        spread = 3 * 0.5 / np.sqrt(hidden.sum())
        assert abs(right[hidden].mean() - 0.5) < spread + 0.05
    changed = labels.copy()
    changed[parts[0].train[~parts[0].labelled]] ^= 1
    other = studies._Data(target_of(changed), parts, settings, 0)
    again = studies._Bench(views, other, True).plain("names")
    torch.testing.assert_close(again.train[0], teacher.train[0])


def test_all_pairs_share_splits_and_the_same_seed_gives_the_same_study(found):
    latent, noisy, labels = planted(5)
    both = study_views({"a": latent, "b": noisy}, labels, **SMALL)
    assert list(both) == [("a", "b"), ("b", "a")]
    assert both["a", "b"].by_repeat.equals(found.by_repeat)
    other = study(latent, noisy, labels, seed=8, **SMALL)
    assert not found.by_repeat.equals(other.by_repeat)


def test_a_regression_is_scored_over_the_variance_and_keeps_units():
    latent, noisy, _ = planted(4)
    target = 100 + 10 * latent[:, 0]
    found = study(latent, noisy, target, **SMALL)
    table = found.table.set_index("arm")
    assert list(found.table) == ["arm", "error", "gain", "std_error"]
    assert table.loc["teacher", "error"] < table.loc["student", "error"] < 1.5
    assert np.isnan(found.temperature)
    rows = found.test_rows[0]
    square = (found.outputs["student"][0][:, 0] - target[rows]) ** 2
    first = found.by_repeat.query("repeat == 0 and arm == 'student'")
    assert square.mean() / target.var() == pytest.approx(first["error"].iloc[0])


def test_the_interval_is_the_corrected_resampled_t(found):
    wide = found.by_repeat.pivot(index="repeat", columns="arm", values="accuracy")
    gains = wide["distilled"] - wide["self-distillation"]
    error = np.sqrt(gains.var(ddof=1) * (1 / 3 + 1 / 3))
    assert found.gain == pytest.approx(gains.mean())
    assert found.std_error == pytest.approx(error)


def test_criteria_come_with_signs_and_saturation_is_undecided():
    latent, noisy, labels = planted(6)
    found = study(latent, noisy, labels, **(SMALL | {"estimates": 2, "decisions": 0}))
    table = found.criteria.set_index("criterion")
    assert {"cch_latent", "cch_ksg", "predicted_gain", "cka"} <= set(table.index)
    gap = table.loc["i_ts_ksg", "value"] - table.loc["i_sl_ksg", "value"]
    assert table.loc["cch_ksg", "value"] == pytest.approx(gap)
    assert table.loc["cka", "says"] == ""
    saturated = table["value"].copy()
    saturated["saturated_latent"] = 1.0
    shown = saturated.rename_axis("criterion").reset_index()
    assert studies._says("cch_latent", shown) == "undecided"


def test_the_verdict_of_decide_is_kept_as_a_number(monkeypatch):
    latent, noisy, labels = planted(6)
    verdicts = []

    def heard(*arguments, **options):
        decision = decide(*arguments, **options)
        verdicts.append(decision.code)
        return decision

    monkeypatch.setattr(studies, "decide", heard)
    found = study(latent, noisy, labels, **(SMALL | {"estimates": 1}))
    said = found.criteria.set_index("criterion").loc["decide_verdict", "value"]
    signs = {"distil": 1.0, "undecided": 0.0, "do not distil": -1.0}
    assert said == signs[verdicts[0]]


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(teacher_view=np.zeros((3, 2))), "unequal|same|samples"),
        (dict(student_view=np.full((240, 2), np.nan)), "NaN|nan|finite"),
        (dict(groups=np.arange(240) % 2), "groups"),
        (dict(groups=np.zeros(5)), "groups"),
        (dict(split=np.full(240, 2)), "split"),
        (dict(labels=np.zeros(240, int)), "single class|two"),
        (dict(labels=np.arange(240) // 239), "single class"),
        (dict(pairs=1.0), "pairs"),
        (dict(repeats=1), "repeats"),
        (dict(lams=(1.0,)), "lams"),
        (dict(nonsense=1), "nonsense"),
    ],
)
def test_bad_input_is_named(change, message):
    latent, noisy, labels = planted(7)
    given = dict(teacher_view=latent, student_view=noisy, labels=labels) | SMALL
    with pytest.raises(ValueError, match=message):
        study(**(given | change))


def test_the_command_reads_a_file_and_writes_report_and_numbers(tmp_path, monkeypatch):
    short = {k: SMALL[k] for k in ("epochs", "learning_rates", "lams")}
    monkeypatch.setattr(studies, "Settings", partial(studies.Settings, **short))
    latent, noisy, labels = planted(9)
    path = tmp_path / "two.npz"
    np.savez(path, view_one=latent, view_two=noisy, label=labels)
    report, numbers = tmp_path / "report.html", tmp_path / "numbers.json"
    said = CliRunner().invoke(
        app,
        f"study {path} --teacher one --student two --repeats 3 --estimates 0 "
        f"--html {report} --json {numbers}".split(),
    )
    assert said.exit_code == 0, said.output
    assert max(len(line) for line in said.stdout.splitlines()) <= 80 + len(str(path))
    (one,) = json.loads(numbers.read_text())
    assert (one["teacher"], one["student"]) == ("one", "two")
    assert "<img" in report.read_text()
    refused = CliRunner().invoke(app, f"study {path} --teacher three".split())
    assert refused.exit_code == 2


def test_rows_of_tables_are_matched_and_no_state_matters():
    latent, noisy, labels = planted(10)
    ids = [f"s{i}" for i in range(len(labels))]
    teacher, student = pd.DataFrame(latent, ids), pd.DataFrame(noisy, ids)
    alone = study(latent, noisy, labels, **SMALL)
    known = pd.Series(labels, ids)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            named = study(teacher, student.iloc[::-1], known, **SMALL)
    finally:
        torch.set_default_dtype(torch.float32)
    assert named.by_repeat.equals(alone.by_repeat)
    assert named.checks[0] == "Rows: matched by the index of view_teacher, " + (
        "view_student, labels."
    )
    assert "matched by the index" in named._repr_html_()
    with pytest.raises(ValueError, match="239 of 240 names"):
        study(teacher, student.rename({"s3": "other"}), known, **SMALL)


@pytest.mark.parametrize("official", [False, True])
def test_copies_of_a_row_stay_on_one_side(official):
    latent, noisy, labels = planted(11, n=120)
    again = np.repeat(np.arange(120), 2)
    split = (np.arange(240) >= 180).astype(int) if official else None
    found = study(latent[again], noisy[again], labels[again], split=split, **SMALL)
    assert any("120 of 240 repeat others" in check for check in found.checks)
    for rows in found.test_rows:
        assert set(np.bincount(again[rows])) <= {0, 2}
    if not official:
        assert found.gain != study(latent, noisy, labels, **SMALL).gain
    with pytest.raises(ValueError, match="groups.* 2 missing entries"):
        study(latent, noisy, labels, groups=[*"abcde" * 23, *"abc", "NA", ""], **SMALL)


def test_a_file_s_other_spellings_are_read_and_other_arrays_named(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("HOME", str(tmp_path))
    latent, noisy, labels = planted(12, n=120)
    people = np.arange(120) // 4
    arrays = dict(view_a=latent, view_b=noisy, labels=labels, groups=people)
    path = tmp_path / "two.npz"
    np.savez(path, **arrays, fold=people)
    assert np.array_equal(read_views(path)["groups"], people)
    command = ["study", str(path), *"--teacher a --repeats 3 --estimates 0".split()]
    for place in (path, "~/two.npz"):
        over = CliRunner().invoke(app, [*command, "--json", str(place)])
        assert over.exit_code == 2 and np.load(path)["view_a"].shape == (120, 6)
    twice = CliRunner().invoke(app, [*command, "--html", "~/x", "--json", "~/x"])
    assert twice.exit_code == 2 and not (tmp_path / "x").exists()
    said = CliRunner().invoke(app, [*command, "--json", "~/x"])
    assert said.exit_code == 0 and "Left alone in the file: fold" in said.stdout
    assert "Groups: 30, each held out whole." in said.stdout
    (one,) = json.loads((tmp_path / "x").read_text())
    assert "Repeated rows: none." in one["checks"]
    np.savez(path, **arrays, label=labels)
    with pytest.raises(ValueError, match="label and labels"):
        read_views(path)


def test_files_without_two_views_or_with_pickles_are_refused(tmp_path):
    np.savez(tmp_path / "one.npz", view_a=np.zeros((3, 2)), label=np.arange(3))
    with pytest.raises(ValueError, match="two"):
        read_views(tmp_path / "one.npz")
    pickled = np.array([{}, {}], object)
    np.savez(tmp_path / "p.npz", view_a=pickled, view_b=pickled, label=np.arange(2))
    with pytest.raises(ValueError, match="could not be read"):
        read_views(tmp_path / "p.npz")
