"""Every line of code on the errata page gives what stands below it."""

import doctest
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "book" / "errata.md"


def test_errata_page():
    text = re.sub(
        r"^```.*$", "", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE
    )  # keeps the line numbers
    examples = doctest.DocTestParser().get_doctest(text, {}, PAGE.name, str(PAGE), 0)
    assert len(examples.examples) > 50
    result = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(examples)
    assert result.failed == 0
