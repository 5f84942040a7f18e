"""Numbers typed by hand into the text: results that nothing keeps true.

A number that the book measures is glued into the text from the run that measured it. A
numeral beside a result word (accuracy, gain, nats, seconds, …) is *typed*, unless

- it is one that the paper prints (`data/paper`), rounded perhaps, and its paragraph
  says so ("the paper", "Table 3"), or
- its paragraph (in a table: its row) names where it was measured: a citation, a link, a
  file of the repository, or, where readers need not see it, a comment
  ``<!-- source: benchmarks/bench_mi.py -->``.

``<!-- source: exact -->`` marks what follows from a formula or is a made-up example,
and ``<!-- source: trial 03_image momentum=0 -->`` what one gets by running a notebook
so. A number within a formula is the formula's; a page that ends in "Measured by
`benchmarks/…`" is written by that script. `python -m cchbook.publish.typed` lists what
is typed.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from cchbook.runs import records
from cchbook.runs.notebook import Notebook

UNITS = r"bits?|hours?|minutes?|nats?|points?|seconds?|times (?:as|faster|slower)"
WORDS = rf"accurac(?:y|ies)|AUC|F1|gains?|gaps?|MSE|risks?|RMSE|{UNITS}"
#: so many characters may lie between a numeral and its result word
NEAR = 30
NUMERAL = re.compile(
    r"(?<![\w.,–-])[-+−]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e-?\d+)?(?:\s?%)?(?!\w|\.?\d)"
)
FENCE = re.compile(r"\s*(`{3,}|~{3,})\s*(?:\{([\w-]+)\})?(.*)")
#: what is no text of results, in the order in which it is taken out
NOT_TEXT = (
    r"\$\$[\s\S]*?\$\$|\$[^$]*\$",
    r"\{(?:glue|ref|eq|numref|prf|doc|math|cite)[\w:]*\}`[^`]*`",
    r"^:\w[\w-]*:[^\n]*$|^\([\w-]+\)=$",
    r"`[^`]*`",
    r"\]\([^)]*\)",
    r"https?://\S+",
    r"<!--[\s\S]*?-->",
    # what is counted or cited, not measured
    r"\b(?:Tables?|Sections?|Figures?|Eqs?\.|Theorems?|Appendix|Algorithms?|Python|"
    r"version|Chapters?|Corollar(?:y|ies)|Propositions?|Lemmas?|page|pp?\.|seeds?)"
    r"[\s~](?:[A-Z]\.?)?\d[\d.]*(?:(?:,| and| to| or|–)\s?\d[\d.]*)*",
    r"\d+\s?%\s(?:confidence\s)?intervals?",
)
CITED = re.compile(r"\{cite[\w:]*\}`([^`]+)`")
LINKED = re.compile(r"https?://\S+")
MARKED = re.compile(r"<!-- source: (.+?) -->")
FILE = re.compile(r"`((?:benchmarks|cchbook|cchlib|data|notebooks|tests)/[\w./-]+)`")
WRITTEN = re.compile(
    r"^Measured by `(benchmarks/[\w./]+)` on [^\n]*\s*\Z", re.MULTILINE
)
PAPER = re.compile(r"\bpaper|\bTables? \d|\bprint(?:ed|s)\b|\bauthors")


@dataclass(frozen=True)
class Typed:
    """A numeral that nothing keeps true, and the text about it."""

    place: str
    numeral: str
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.numeral!r} in “…{self.text}…”"


def typed(root: Path) -> list[Typed]:
    """What is typed by hand in the pages and notebooks of a checkout."""
    found = []
    for path in sorted([*root.glob("book/**/*.md"), *root.glob("notebooks/*.ipynb")]):
        place = str(path.relative_to(root))
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".md":
            found += in_text(text, root, place)
            continue
        for number, cell in enumerate(json.loads(text)["cells"]):
            if cell["cell_type"] == "markdown":
                source = "".join(cell["source"])
                found += in_text(source, root, f"{place}, cell {number}")
    return found


def in_text(text: str, root: Path, place: str = "") -> Iterator[Typed]:
    """What is typed by hand in a text of MyST Markdown.

    Raises
    ------
    ValueError
        A source that is not there.
    """
    written = WRITTEN.search(text)
    if written and (root / written[1]).is_file():
        return
    for paragraph in _paragraphs(text):
        if _has_source(paragraph, root, place):
            continue
        plain = _plain(paragraph)
        for numeral in NUMERAL.finditer(plain):
            begin, end = numeral.span()
            value, decimals = _value(numeral[0])
            if value == 0 or not _beside_result(plain, begin, end):
                continue
            # of two digits rounding would find something for every number
            rounded = (
                decimals if len(re.sub(r"\D", "", numeral[0]).lstrip("0")) > 2 else 0
            )
            if PAPER.search(paragraph) and value in _printed(rounded):
                continue
            about = " ".join(plain[max(0, begin - 40) : end + 40].split())
            yield Typed(place, numeral[0].strip(), about)


def _paragraphs(text: str) -> list[str]:
    """Paragraphs, each with the comment before it, and rows of tables; no code."""
    text = _without_code(text)
    text = re.sub(r"(<!-- source: [^\n]*-->)\n+", r"\1\n", text)
    return re.split(r"\n\s*\n|\n(?=\|)", text)


def _without_code(text: str) -> str:
    """A text without blocks of code; of MyST's other directives the text stays."""
    kept = []
    open_fences: list[
        tuple[str, bool]
    ] = []  # what ends a block, and whether it is code
    for line in text.splitlines():
        fence = FENCE.fullmatch(line)
        in_code = bool(open_fences) and open_fences[-1][1]
        if not fence:
            kept.append("" if in_code else line)
            continue
        kept.append("")
        ticks, directive, rest = fence.groups()
        ends = not directive and not rest.strip()
        if open_fences and ends and ticks.startswith(open_fences[-1][0]):
            open_fences.pop()
        elif not in_code:
            is_code = not directive or directive.startswith("code")
            open_fences.append((ticks, is_code))
    return "\n".join(kept)


def _plain(paragraph: str) -> str:
    """A paragraph without formulas, code, references."""
    for pattern in NOT_TEXT:
        paragraph = re.sub(pattern, " ", paragraph, flags=re.MULTILINE)
    return paragraph


def _beside_result(text: str, begin: int, end: int) -> bool:
    """Whether a result word is near, in the same clause; of a whole number its unit."""
    before = re.split(r"[.;|](?:\s|$)", text[max(0, begin - NEAR) : begin])[-1]
    after = re.split(r"[.;|](?:\s|$)", text[end : end + NEAR])[0]
    if not re.search(r"[.%]", text[begin:end]):
        return bool(re.match(rf"\s(?:{UNITS})\b", after))
    word = rf"\b(?:{WORDS})\b"
    return bool(re.search(word, before) or re.search(word, after))


def _has_source(paragraph: str, root: Path, place: str) -> bool:
    """Whether a paragraph says where its numbers are from."""
    marks = MARKED.findall(paragraph)
    for said in marks:
        _refuse_no_source(said, root, place)
    named = any((root / file).exists() for file in FILE.findall(paragraph))
    return bool(marks or named or CITED.search(paragraph) or LINKED.search(paragraph))


def _refuse_no_source(said: str, root: Path, place: str) -> None:
    """Refuse a source that is no file, no trial of a notebook, and not `exact`."""
    kind, _, trial = said.partition(" ")
    if kind == "trial":
        name, *settings = trial.split()
        notebook = Notebook.read(root / "notebooks" / f"{name}.ipynb")
        names = {setting.partition("=")[0] for setting in settings}
        if names <= set(notebook.parameters):
            return
    elif said == "exact" or (root / said).is_file():
        return
    raise ValueError(
        f"{place}: source must be a file of this checkout, `exact`, or `trial NOTEBOOK "
        f"parameter=value`, got {said!r}"
    )


def _value(numeral: str) -> tuple[float, int]:
    """A numeral's value and its number of decimals; 98.1 % has three."""
    text = numeral.replace(",", "").replace("−", "-").replace(" ", "")
    percent = text.endswith("%")
    text = text.rstrip("%")
    decimals = len(text.partition(".")[2]) + 2 * percent
    return round(float(text) / 100**percent, decimals), decimals


@cache
def _printed(decimals: int) -> frozenset[float]:
    """All numbers that the paper prints, and these rounded to so many
    decimals, if any.
    """
    found: set[float] = set()
    for path in records._paper_folder().glob("*.csv"):
        for _, column in pd.read_csv(path).items():
            found |= set(pd.to_numeric(column, errors="coerce").dropna())
    if decimals:
        found |= {round(value, decimals) for value in found}
    return frozenset(found | {-value for value in found})


def main() -> int:
    """List what is typed by hand in this checkout; exit code 1 where there is any."""
    found = typed(records.repository() or Path.cwd())
    for one in found:
        print(one)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
