"""A student's notebook keeps the experiment, loses the bookkeeping, and runs."""

import ast

import nbclient
import nbformat
import pytest
from typer.testing import CliRunner

from cchbook.publish import student
from cchbook.runs import records
from cchbook.runs.notebook import Notebook, source
from cchdecide.cli import app

CHAPTER = [
    "from cchbook.chapters.glue import glue_all\n"
    "import numpy as np\nimport pandas as pd",
    'run = records.start("02_toy", globals())\nx, table = {}, {}',
    "# Measure\nfor s in range(2):\n    x[s] = np.sqrt(s)\n"
    '    run.log("i_ts", x[s], run=s)\n'
    '    run.log("for the record only", 1.0)\n'
    "found = rival_criteria(x)\nfor name in found:\n    run.log(name, found[name])",
    "told = evidence.of(run)\nbest = max(x)\nof_page = best + 1\n"
    "# for the text\nglue_all({'best': of_page})",
    'rows = []\nold = records.leading("02_toy")\nplots.show_table(rows)',
    "print(old)",
    "for found in x:\n    print(found)\nrun.finish()",
]
LEAN = [
    "import numpy as np",
    "results = records.measurements(globals())\nx, table = {}, {}",
    "# Measure\nfor s in range(2):\n    x[s] = np.sqrt(s)\n"
    '    results.log("i_ts", x[s], run=s)',
    "told = evidence.of(results)",
    "",
    "",
    "for found in x:\n    print(found)",
]


def test_what_is_kept_for_the_page_goes_and_what_was_computed_for_it_alone():
    assert student.without_bookkeeping(CHAPTER) == LEAN


def markdown(text, name="m"):
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text}


def code(text, **metadata):
    return {"cell_type": "code", "id": "c", "metadata": metadata, "source": text}


def test_exercises_stay_without_their_solutions():
    cells = [
        markdown("```{exercise} One\n:label: ex-1\n\nWhy?\n```"),
        markdown("```{solution-start} ex-1\n:class: dropdown\n```\n\nBecause."),
        code("answer = 42"),
        markdown(
            "So.\n\n```{solution-end}\n```\n\n```{exercise} Two\n:label: ex-2\n\nAnd?"
        ),
    ]
    page = [
        part
        for cell in student.without_solutions(cells)
        for part in student._prose(source(cell), cell["id"], {})
    ]
    assert [cell["source"] for cell in page] == [
        "### Exercise: One\n\nWhy?",
        student.YOURS,
        "### Exercise: Two\n\nAnd?",
        student.YOURS,
    ]


@pytest.mark.parametrize(
    "written, plain",
    [
        ("in {glue:text}`hits:.2f` of 4", "in ____ of 4"),
        ("{ref}`ch-image` has it", "*Images* has it"),
        ("{ref}`the page <ch-image>`", "the page"),
        ("{term}`held out`", "held out"),
        ("{cite:p}`cch2025`", "[cch2025]"),
    ],
)
def test_roles_become_plain_text(written, plain):
    assert (
        student.ROLE.sub(
            lambda role: student._plain_role(role, {"ch-image": "Images"}), written
        )
        == plain
    )


@pytest.mark.parametrize("name", ["02_synthetic", "08_choose_a_teacher"])
def test_the_sessions_notebooks_run_by_themselves(name, tmp_path):
    """At smoke settings, in a folder that is no checkout, leaving nothing behind."""
    path = tmp_path / "student.ipynb"
    words = ["student", name, "-o", str(path), "--profile", "smoke"]
    assert CliRunner().invoke(app, words).exit_code == 0
    page = nbformat.read(path, as_version=4)
    nbformat.validate(page)
    text = "\n".join(cell.source for cell in page.cells)
    for word in (
        "glue",
        "rival_criteria",
        "run.log",
        "run.finish",
        "{ref}",
        "solution-",
    ):
        assert word not in text
    nbclient.NotebookClient(page, timeout=600).execute(cwd=str(tmp_path))
    left = {file.name for file in tmp_path.rglob("*") if file.is_file()}
    assert left <= {"student.ipynb", "report.html"}


@pytest.mark.parametrize(
    "path",
    sorted((records.repository() / "notebooks").glob("*.ipynb")),
    ids=lambda path: path.stem,
)
def test_every_chapter_makes_one_that_python_reads(path):
    page = student.student(Notebook.read(path), {})
    cells = [source(c) for c in page["cells"] if c["cell_type"] == "code"]
    for text in cells:
        ast.parse(text)
    exercises = {"11_at_large": 2}.get(path.stem, 5)
    assert sum(text == student.YOURS for text in cells) == exercises
    names = [cell["id"] for cell in page["cells"]]
    assert len(names) == len(set(names))
