"""No result in the text that was typed by hand: see `cchbook.publish.typed`."""

import re
from pathlib import Path

import pytest

from cchbook.publish import typed

ROOT = Path(__file__).parents[2]


def found(text):
    return [one.numeral for one in typed.in_text(text, ROOT)]


def test_nothing_is_typed_in_this_book():
    assert [str(one) for one in typed.typed(ROOT)] == []


@pytest.mark.parametrize(
    ("text", "numerals"),
    [
        ("The gain is 0.034 ± 0.012 here.", ["0.034", "0.012"]),
        ("The student reaches an accuracy of .53 now.", [".53"]),
        ("an accuracy of 71 % at batch 32", ["71 %"]),
        ("It took 12 seconds and 3 epochs.", ["12"]),
        ("The gap fell by −0.4 nats.", ["−0.4"]),
        (
            "| row | the MSE was 1.25 |\n|---|---|\n| other | F1 of 0.7 |",
            ["1.25", "0.7"],
        ),
        # in the same clause only
        ("The accuracy rose. We had 0.25 of the samples.", []),
        # printed by the paper, and said so: Figure 2's I(H1; Y)
        ("The paper has 2.0485 nats there.", []),
        ("Ours has 2.0485 nats there.", ["2.0485"]),
        ("The paper has 2.0475 nats there.", ["2.0475"]),
        ("In Table 3 it is 1.35 nats.", []),  # 1.3530, rounded
        # pasted, formulas, code, references, settings
        ("The gain is {glue:text}`gain:.3f`, $\\ln 2 = 0.693$ nats.", []),
        ("```python\ngain = 0.25\n```\n\n`gain 0.25`, accuracy of Table 13", []),
        ("```{exercise}\n:label: gain-0.25\n\nHow large is the gain?\n```", []),
        ("A 95 % interval of the gain.", []),
        # what stands between directives, and in them
        (
            "```{include} a.md\n```\n\nA gain of 0.25.\n\n```{include} b.md\n```",
            ["0.25"],
        ),
        ("```{admonition} The answer\nA gain of 0.25.\n```", ["0.25"]),
        ("````{tip}\n```\ngain = 0.25\n```\nA gain of 0.5.\n````", ["0.5"]),
        # with a source
        ("A gain of 0.25 {cite}`pearl2009`.", []),
        ("A gain of 0.25, by [them](https://example.org/x).", []),
        ("A gain of 0.25, by `benchmarks/bench_mi.py`.", []),
        ("A gain of 0.25, by `benchmarks/no_such.py`.", ["0.25"]),
        ("<!-- source: benchmarks/bench_mi.py -->\nA gain of 0.25.", []),
        ("<!-- source: exact -->\n\nA gain of 0.25.\n\nA gain of 0.5.", ["0.5"]),
        (
            "| a | gain 0.25 <!-- source: trial 03_image lr=0.1 --> |\n"
            "| b | gain 0.5 |",
            ["0.5"],
        ),
        ("A gain of 0.25.\n\nMeasured by `benchmarks/bench_mi.py` on a day.\n", []),
        (
            "Measured by `benchmarks/bench_mi.py` on a day.\n\nA gain of 0.25.\n",
            ["0.25"],
        ),
    ],
)
def test_what_is_typed(text, numerals):
    assert found(text) == numerals


@pytest.mark.parametrize(
    "source",
    ["benchmarks/no_such.py", "somewhere", "trial 03_image no_such=1", "book"],
)
def test_a_source_that_is_not_there_is_refused(source):
    with pytest.raises(ValueError, match=f"source must be .*got '{re.escape(source)}'"):
        found(f"<!-- source: {source} -->\nA gain of 0.25.")


def test_the_command_lists_what_was_planted(tmp_path, monkeypatch, capsys):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "book").mkdir()
    monkeypatch.setenv("CCH_ROOT", str(tmp_path))
    page = tmp_path / "book" / "page.md"
    page.write_text("# Title\n\nNo number.\n")
    assert typed.main() == 0
    page.write_text("# Title\n\nThe gain was 0.25 in all.\n")
    assert typed.main() == 1
    assert "book/page.md: '0.25' in “…The gain was 0.25" in capsys.readouterr().out
