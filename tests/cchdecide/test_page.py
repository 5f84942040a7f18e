"""The page on arrays shows what `decide` says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "book" / "arrays.md"


def test_the_page_on_arrays_shows_what_is_said(capsys):
    text = PAGE.read_text(encoding="utf-8")
    code, shown = re.search(
        r"```python\n(.*?)```\n+```text\n(.*?)```", text, re.S
    ).groups()
    exec(code, {})  # as a reader runs it
    assert capsys.readouterr().out == shown
