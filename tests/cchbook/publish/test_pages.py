"""The pages as their readers meet them: routes that are as short as they say, and no
bars of code over what only presents. From the sources: nothing is built.
"""

import re
from collections import Counter

import pytest
import yaml

from cchbook.publish.build import BARS, GLUED, leave_open, text_only, toc_files
from cchbook.runs import records
from cchbook.runs.notebook import Notebook, source, tags

ROOT = records.repository()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
READ_IN_TEN_MINUTES = 1500  # words, at 150 a minute
READ_IN_AN_HOUR = 7000


def text_of(file):
    """What a page says in words: its Markdown, as one text."""
    path = ROOT / f"{file}.ipynb"
    if not path.is_file():
        return (ROOT / f"{file}.md").read_text(encoding="utf-8")
    cells = Notebook.read(path).content["cells"]
    return "\n\n".join(source(c) for c in cells if c["cell_type"] == "markdown")


def section(label):
    """From a label to the next heading of the same level or a higher one."""
    found = []
    for file in toc_files(ROOT):
        match = re.search(
            rf"^\({label}\)=\n(#+) [^\n]*\n(.*?)(?=^#{{1,2}} |\Z)",
            text_of(file),
            re.M | re.S,
        )
        if match:
            found.append(match[2])
    assert len(found) == 1, f"{label} stands {len(found)} times"
    return found[0]


def words(text):
    """How many words a reader reads; a number pasted in counts as one."""
    text = re.sub(
        r"^```.*?^```", "", text, flags=re.M | re.S
    )  # figures, lists, scripts
    text = re.sub(r"^\([\w-]+\)=$", "", text, flags=re.M)
    text = re.sub(r"\{glue:\w+\}`[^`]*`", "1", text)
    text = re.sub(r"\{[\w:]+\}`([^`<]*)(<[^`]*>)?`", r"\1", text)
    return len(re.findall(r"[^\W_][\w’'-]*", text))


def test_the_route_of_ten_minutes_is_three_links_to_paragraphs_and_short():
    front = text_of("book/index")
    route = re.search(r"^\* - ten minutes\n(.*?)^\* - ", front, re.M | re.S)[1]
    labels = re.findall(r"\{ref\}`[^`<]*<([\w-]+)>`", route)
    assert len(labels) == 3 and route.count("{ref}") == 3
    read = {label: words(section(label)) for label in labels}
    assert min(read.values()) > 20
    assert sum(read.values()) <= READ_IN_TEN_MINUTES, read


def labelled(label):
    """All of the page that begins with a label."""
    texts = [text_of(file) for file in toc_files(ROOT)]
    (page,) = [text for text in texts if text.lstrip().startswith(f"({label})=")]
    return page


def route_of_an_hour():
    """What is read in an hour, by label in the order of the route. Where only the
    answer of a page is named it goes to the end of the page's first cell; the scorecard
    is there with its exercises.
    """
    front = text_of("book/index")
    route = re.search(r"^\* - an hour\n(.*?)^\* - ", front, re.M | re.S)[1]
    tops = re.findall(r"\{ref\}`(ch-[\w-]+)`", route.split(";")[1])
    read = {"front page": front}
    for page, part in re.findall(r"\{ref\}`(?:([\w-]+)`|[^`<]*<([\w-]+)>`)", route):
        if part:
            read[part] = section(part)
        elif page in tops:
            read[page] = labelled(page).split("\n## ")[0]
        else:
            read[page] = labelled(page)
    assert tops and len(read) > len(tops) + 3
    return read


def test_the_route_of_an_hour_is_read_in_an_hour():
    read = {label: words(text) for label, text in route_of_an_hour().items()}
    assert min(read.values()) > 20
    assert sum(read.values()) <= READ_IN_AN_HOUR, read


GREEK = {"alpha", "beta", "gamma", "delta", "kappa", "lambda", "rho", "sigma", "Sigma"}


def letters(text):
    """The single letters of a text's formulas, whatever stands below or above them."""
    code = re.compile(r"^(`{3,})(?!\{).*?^\1", re.M | re.S)
    formulas = re.findall(r"\$\$.*?\$\$|\$[^$]+\$", code.sub("", text), re.S)
    found = set()
    for formula in formulas:
        plain = re.sub(r"\\(?:text|mathrm|operatorname)\{\w*\}", "", formula)
        runs = re.findall(r"[A-Za-z]+", plain)
        found |= {run for run in runs if len(run) == 1 or run in GREEK}
    return found


def test_the_letters_of_an_hour_are_in_symbols_and_lead_there():
    """A page with letters that no page before it had says what they are, or leads
    there.
    """
    known = letters(text_of("book/symbols"))
    met = set()
    for label, text in route_of_an_hour().items():
        used = letters(text.split("\n## Exercises")[0])  # they name their own
        assert used <= known, (label, used - known)
        new = used - met - set(re.findall(r"\$\\?(\w+)\$ is ", text))
        assert not new or "{ref}`symbols`" in text, (label, new)
        met |= used


def test_chapters_have_the_numbers_of_their_notebooks():
    """The book's numbers run on over the numbered parts: a page between two chapters
    would shift them.
    """
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]
    numbered = [
        chapter["file"]
        for part in parts
        if part.get("numbered")
        for chapter in part["chapters"]
    ]
    names = [path.stem for path in NOTEBOOKS]
    assert [file.removeprefix("notebooks/") for file in numbered][: len(names)] == names
    assert [int(name[:2]) for name in names] == list(range(1, len(names) + 1))


def test_each_chapter_says_what_comes_next_and_it_does():
    files = toc_files(ROOT)
    label_of = {}
    for file in files:
        match = re.match(r"\s*\(([\w-]+)\)=", text_of(file))
        label_of[file] = match[1] if match else None
    chapters = [file for file in files if file.startswith("notebooks/")]
    for file in chapters:
        following = files[files.index(file) + 1]
        said = re.search(r"^\*\*Next:\*\*(.*)$", text_of(file), re.M)[1]
        assert f"{{ref}}`{label_of[following]}`" in said, file


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_folded_code_is_named_and_there_is_little_of_it(path):
    """Few bars over code, beside the settings and what may be skipped: the same
    experiment for all conditions, and checks. All other folded code is a link below its
    figure.
    """
    written = Notebook.read(path)
    kinds = Counter()
    for cell in written.code_cells:
        named = [tag for tag in tags(cell) if tag in BARS]
        folded = bool({"hide-input", "hide-cell"} & set(tags(cell)))
        assert len(named) == folded, cell["id"]
        kinds.update(named)
    assert kinds["parameters"] == kinds["setup"] == 1
    assert kinds["computes"] <= 2


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_what_shows_nothing_is_not_on_the_page(path):
    last = Notebook.read(path).code_cells[-1]
    assert source(last) == "run.finish()" and tags(last) == ["remove-cell"]


@pytest.mark.parametrize("path", NOTEBOOKS[1:8], ids=lambda path: path.stem)
def test_a_chapter_opens_with_the_claim_and_the_answer(path):
    """The answer in numbers of its run, none of them written by hand."""
    first = source(Notebook.read(path).content["cells"][0])
    claim, box = first.index("**The claim"), first.index("{admonition} The answer")
    assert claim < box
    answer = re.search(r"^```\{admonition\}.*?^```", first, re.M | re.S)[0]
    assert answer.count("{glue:text}") >= 4
    by_hand = re.sub(r"\{glue:text\}`[^`]*`|\$[^$]*\$|Eq\. \d+|F1", "", answer)
    assert not re.search(r"[1-9]", by_hand)


def test_numbers_of_runs_that_were_not_asked_for_are_left_open(tmp_path):
    page = text_only(Notebook.read(NOTEBOOKS[1]))
    assert {cell["cell_type"] for cell in page["cells"]} == {"markdown"}
    assert not any(GLUED.search(source(cell)) for cell in page["cells"])
    (tmp_path / "book").mkdir()
    text = (
        "{glue:text}`../notebooks/a.ipynb::x:s` of {glue:text}`../notebooks/b.ipynb::y`"
    )
    (tmp_path / "book" / "p.md").write_text(text)
    leave_open(tmp_path, {"b"})
    said = (tmp_path / "book" / "p.md").read_text(encoding="utf-8")
    assert said == "… of {glue:text}`../notebooks/b.ipynb::y`"
