"""The transcription of the paper agrees with itself, with the networks, and with the
`paper` profiles.
"""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from torch import nn

from cchlib import models

ROOT = Path(__file__).parents[3]
PAPER = ROOT / "data" / "paper"
PROFILES = ROOT / "notebooks" / "profiles"
TABLES = ["1", "2", "3", "4", "5", "6", "7", "8", "13", "16", "20"]
# Cells and caption numbers of each table, counted on the page.
PRINTED = {
    "1": 25,
    "2": 16,
    "3": 15,
    "4": 20,
    "5": 32,
    "6": 32,
    "7": 32,
    "8": 22,
    "13": 32,
    "16": 11,
    "20": 22,
}


def rows(name):
    with open(PAPER / f"{name}.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(name):
    return pd.read_csv(PAPER / f"table{name}.csv")


def wide(name, *conditions):
    """One row a condition, one column a quantity;
    caption rows (no condition) left out.
    """
    frame = table(name).dropna(subset=list(conditions))
    return frame.pivot(index=list(conditions), columns="quantity", values="value")


SETTINGS = rows("settings")


@pytest.mark.parametrize("name", TABLES)
def test_every_printed_number_once(name):
    frame = table(name)
    assert list(frame)[0] == "table" and [c for c in frame if c != "note"][-3:] == [
        "quantity",
        "value",
        "std_error",
    ]
    assert len(frame) == PRINTED[name]
    assert not frame.duplicated(
        [c for c in frame if c not in ("value", "std_error", "note")]
    ).any()
    assert np.isfinite(frame["value"]).all() and (frame["std_error"].dropna() > 0).all()


@pytest.mark.parametrize("name", ["1", "2", "3", "4", "13"])
def test_spread_is_printed_where_the_paper_prints_it(name):
    frame = table(name)
    bare = frame[frame["std_error"].isna()]
    expected = {
        "1": {"mi_gap"},
        "2": {"runs"},
        "3": set(),
        "4": set(),
        "13": {"i_ts", "i_sl", "i_tl", "mi_gap"},
    }
    assert set(bare["quantity"]) == expected[name]


@pytest.mark.parametrize(
    "name, condition, score",
    [
        ("5", "noise_level", "weighted_f1"),
        ("6", "noise_level", "weighted_f1"),
        ("7", "noise_level", "weighted_f1"),
        ("13", "gamma", "accuracy"),
    ],
)
def test_printed_differences_are_differences(name, condition, score):
    frame = wide(name, condition)
    assert len(frame) == 5
    np.testing.assert_allclose(
        frame["mi_gap"], frame["i_ts"] - frame["i_sl"], atol=1e-9
    )
    np.testing.assert_allclose(
        frame[f"{score}_difference"],
        frame[f"{score}_kd"] - frame[f"{score}_no_kd"],
        atol=1e-9,
    )


def test_tables_that_repeat_a_number_agree():
    """I of the same pair in Tables 2-4, 5-6 and 8, 20; the one exception (Table 5
    against 20) is on the errata page.
    """
    mi = table("2").query("estimator == 'latentmi'").set_index(["x", "y"])["value"]
    three = wide("3", "student")
    for student in ("vision", "audio"):
        assert (
            three.loc[student, "i_ts"] == mi["text", student]
            and three.loc[student, "i_sl"] == mi[student, "label"]
        )
    four = wide("4", "noise_level")
    assert four.loc[0, "i_ts"] == three.loc["vision", "i_ts"] and set(four["i_sl"]) == {
        three.loc["vision", "i_sl"]
    }
    for fused, distilled in (("8", "6"), ("20", "5")):
        assert set(wide(fused, "teacher")["i_sl"]) == set(
            wide(distilled, "noise_level")["i_sl"]
        )
    assert (
        wide("8", "teacher").loc["mRNA", "i_ts"]
        == wide("6", "noise_level").loc[0, "i_ts"]
    )
    assert (
        wide("20", "teacher").loc["mRNA", "i_ts"]
        != wide("5", "noise_level").loc[0, "i_ts"]
    )


def test_table_4_has_its_headers_swapped():
    """Transcribed as printed: what Table 4 calls KD is what Table 3 calls no KD, and
    the other way round.
    """
    three, four = wide("3", "student").loc["vision"], wide("4", "noise_level")
    assert set(four["weighted_f1_kd"]) == {three["weighted_f1_no_kd"]}
    assert four.loc[0, "weighted_f1_no_kd"] == three["weighted_f1_kd"]


def test_fusion_accuracies_are_counts_of_table_16s_tenth():
    patients = table("16").groupby("cohort")["value"].sum()
    assert patients.to_dict() == {"BRCA": 827, "KIPAN": 767, "LIHC": 170}
    for name, cohort in (("8", "KIPAN"), ("20", "BRCA")):
        tested = round(patients[cohort] / 10)
        right = (
            wide(name, "teacher")[["accuracy_fusion", "accuracy_fusion_kd"]].to_numpy()
            * tested
        )
        np.testing.assert_allclose(right, right.round(), atol=tested * 5.1e-5)


def test_networks_have_the_printed_sizes():
    printed = {(row["where"], row["setting"]): row["value"] for row in SETTINGS}

    def sizes(network):
        return [
            layer.out_features
            for layer in network.modules()
            if isinstance(layer, nn.Linear)
        ]

    def wanted(where, *names):
        return [int(printed[where, name]) for name in names]

    deep = ("first hidden units", "second hidden units", "output units")
    assert sizes(models.tabular_network()) == wanted(
        "Table 9", "hidden units", "output units"
    )
    assert models.tabular_network().inputs == int(printed["Table 9", "input units"])
    assert sizes(models.image_network()) == wanted("Table 11", *deep)
    assert sizes(models.sentiment_network(5)) == wanted("Table 14", *deep)
    fusion = models.FusionNetwork(5, 4, 3)
    assert sizes(fusion.encoders) == 2 * wanted("Appendix E", "encoder units")
    for where, network in (
        ("Table 9", models.tabular_network()),
        ("Table 11", models.image_network()),
        ("Table 14", models.sentiment_network(5)),
        ("Table 18", fusion),
    ):
        kind = (
            printed.get((where, "hidden activation"))
            or printed[where, "encoder activation"]
        )
        assert any(isinstance(layer, getattr(nn, kind)) for layer in network.modules())
        dropouts = {
            layer.p for layer in network.modules() if isinstance(layer, models.Dropout)
        }
        assert dropouts == (
            {float(printed[where, "dropout"])}
            if (where, "dropout") in printed
            else set()
        )


def printed_settings():
    """{(notebook, parameter): its rows} for the settings that a notebook takes as a
    parameter.
    """
    settings = {}
    for row in SETTINGS:
        if row["parameter"]:
            settings.setdefault((row["notebook"], row["parameter"]), []).append(row)
    return settings


@pytest.mark.parametrize("notebook, parameter", sorted(printed_settings()))
def test_paper_profile_is_as_printed(notebook, parameter):
    profile = yaml.safe_load(
        (PROFILES / f"{notebook}.paper.yaml").read_text(encoding="utf-8")
    )
    assert parameter in profile, (
        f"{notebook}.paper.yaml lacks {parameter}, which the paper prints"
    )
    ours = profile[parameter]
    values = [
        yaml.safe_load(row["value"]) for row in printed_settings()[notebook, parameter]
    ]
    if any(row["type"] == "range" for row in printed_settings()[notebook, parameter]):
        assert [[min(ours), max(ours)]] == values
    elif any(row["type"] == "among" for row in printed_settings()[notebook, parameter]):
        assert set(sum(values, [])) <= set(ours)  # ours beside the paper's
    elif isinstance(ours, list):
        assert set(ours) == {
            v
            for value in values
            for v in (value if isinstance(value, list) else [value])
        }
        assert len(ours) == len(set(ours))
    else:
        assert all(ours == value for value in values), f"the paper prints {values}"
