"""How dense the code is: tokens a line and lines beyond 88 columns, a row a part.

A report and no cap: a cap on numbers is met by packing what is below it. Run it with
`python benchmarks/density.py [ROOT]`.
"""

from __future__ import annotations

import io
import json
import sys
import tokenize
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
PARTS = ("cchlib", "cchbook", "tests", "benchmarks")


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
            lines.add(token.start[0])
            tokens += 1
        if token.type != tokenize.COMMENT:
            previous = token.type
    long = sum(len(line) > WIDTH for line in text.splitlines())
    return len(lines), tokens, long


def visible_code(notebook: Path) -> list[str]:
    """The code cells that a reader of the page sees."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    hidden = {"hide-input", "remove-input", "remove-cell", "hide-cell"}
    found = []
    for cell in cells:
        tags = set(cell["metadata"].get("tags", []))
        text = "".join(cell["source"])
        if cell["cell_type"] == "code" and not tags & hidden and "%" != text[:1]:
            found.append(text)
    return found


def total(texts: list[str]) -> tuple[int, int, int]:
    """Sums of `counted` over texts."""
    rows = [counted(text) for text in texts]
    return (
        sum(lines for lines, _, _ in rows),
        sum(tokens for _, tokens, _ in rows),
        sum(long for _, _, long in rows),
    )


def report(root: Path) -> None:
    """Print a row for each package and for the notebooks' visible cells."""
    print(f"{'part':28} {'lines':>7} {'tokens a line':>14} {f'beyond {WIDTH}':>10}")
    groups = {
        name: [
            p.read_text(encoding="utf-8") for p in sorted((root / name).rglob("*.py"))
        ]
        for name in PARTS
    }
    groups["notebooks, visible cells"] = [
        text
        for path in sorted((root / "notebooks").glob("*.ipynb"))
        for text in visible_code(path)
    ]
    for name, texts in groups.items():
        lines, tokens, long = total(texts)
        if lines:
            print(f"{name:28} {lines:7} {tokens / lines:14.1f} {long:10}")


if __name__ == "__main__":
    report(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1])
