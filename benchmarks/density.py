"""How much code there is, and how dense: code lines, tokens a line and lines beyond 88
columns of each package, the tests and the benchmarks; of the running of things alone;
and the visible code of each notebook.

A report and no cap: a cap on numbers is met by packing what is below it. Run it with
`python benchmarks/density.py [ROOT]`.
"""

from __future__ import annotations

import io
import json
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

WIDTH = 88
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}
PACKAGES = ("cchlib", "cchdecide", "cchbook")
# Files and folders that make a row together
PARTS = {
    **{package: (package,) for package in PACKAGES},
    "all packages": PACKAGES,
    "cchbook/runs and its cli": ("cchbook/runs", "cchbook/cli.py", "cchbook/cli"),
    "tests": ("tests",),
    "benchmarks": ("benchmarks",),
}
HIDDEN = {"hide-input", "remove-input", "remove-cell", "hide-cell"}


def counted(text: str) -> tuple[int, int, int]:
    """Lines that hold code, tokens on them, and lines longer than `WIDTH`.

    Docstrings count as no code; a string over several lines counts as one token.
    """
    lines: set[int] = set()
    tokens = 0
    previous = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        statement_begins = previous in (
            tokenize.NEWLINE,
            tokenize.INDENT,
            tokenize.DEDENT,
            tokenize.NL,
        )
        docstring = token.type == tokenize.STRING and statement_begins
        if token.type not in LAYOUT and not docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
            tokens += 1
        if token.type != tokenize.COMMENT:
            previous = token.type
    long = sum(len(line) > WIDTH for line in text.splitlines())
    return len(lines), tokens, long


def sources(root: Path, places: Iterable[str]) -> Iterator[str]:
    """The Python below the places that there are."""
    for place in places:
        path = root / place
        for file in [path] if path.suffix == ".py" else sorted(path.rglob("*.py")):
            if file.is_file():
                yield file.read_text(encoding="utf-8")


def visible_code(notebook: Path) -> Iterator[str]:
    """The code cells that a reader of the page sees: none of a solution, and none that
    a tag hides.
    """
    in_solution = False
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            for gate in re.findall(r"\{solution-(start|end)\}", text):
                in_solution = gate == "start"
            continue
        tags = set(cell["metadata"].get("tags", []))
        if cell["cell_type"] == "code" and not in_solution and not tags & HIDDEN:
            # what IPython adds to the language is no Python to be counted
            yield re.sub(r"^[%!].*", "", text, flags=re.M)


def row(name: str, texts: Iterable[str]) -> None:
    """Print a row, where there is anything to count."""
    counts = [counted(text) for text in texts]
    lines = sum(lines for lines, _, _ in counts)
    tokens = sum(tokens for _, tokens, _ in counts)
    long = sum(long for _, _, long in counts)
    if lines:
        print(f"{name:28} {lines:7} {tokens / lines:14.1f} {long:10}")


def report(root: Path) -> None:
    """Print a row for each part and each notebook's visible cells."""
    print(f"{'part':28} {'lines':>7} {'tokens a line':>14} {f'beyond {WIDTH}':>10}")
    for name, places in PARTS.items():
        row(name, sources(root, places))
    print("visible code of a notebook")
    for notebook in sorted((root / "notebooks").glob("*.ipynb")):
        row(f"  {notebook.stem}", visible_code(notebook))


if __name__ == "__main__":
    report(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
