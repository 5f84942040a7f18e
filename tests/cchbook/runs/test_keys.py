"""A key covers all that a page depends on, and nothing else."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_checkout import complete, run, write_notebook

from cchbook.runs import keys, places, records
from cchbook.runs.notebook import Notebook, source

CHECKOUT = Path(__file__).parents[3]
CHAPTERS = sorted((CHECKOUT / "notebooks").glob("*.ipynb"))
HERE = [name for name in keys.PACKAGES if (CHECKOUT / name).is_dir()]


# The closure --------------------------------------------------------------------------


def test_for_every_chapter_what_is_in_its_closure_changes_the_key_and_nothing_else(
    monkeypatch,
):
    """All pairs of a chapter and a file of our packages."""
    monkeypatch.setattr(Notebook, "datasets", [])  # whose sums are not looked at here
    every = [f for name in HERE for f in (CHECKOUT / name).rglob("*.*") if f.is_file()]
    files = {f for f in every if "__pycache__" not in f.parts}
    assert len(files) > 100
    began = time.process_time()
    for path in CHAPTERS:
        notebook = Notebook.read(path)
        known, closure = keys.ingredients(notebook), keys.closure(notebook)
        assert closure < files
        before = keys.run_key(known, {"file": ""})
        for file in files:
            name = file.relative_to(CHECKOUT).as_posix()
            edited = {n: "x" if n == name else s for n, s in known["modules"].items()}
            changed = keys.run_key({**known, "modules": edited}, {"file": ""})
            assert (changed != before) == (file in closure), (path, file)
    assert time.process_time() - began < 5


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A copy of our packages and of what lies beside them, of which keys are made."""
    for folder in (*HERE, "notebooks", "benchmarks/results"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(CHECKOUT / folder, tmp_path / folder, ignore=ignored)
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "cchbook")
    monkeypatch.setattr(Notebook, "datasets", [])
    monkeypatch.setenv("CCH_ROOT", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("file", "of", "others"),
    [
        ("cchdecide/worth.csv", "08_choose_a_teacher", None),
        ("benchmarks/results/decide_rates.csv", "08_choose_a_teacher", "03_image"),
        ("cchdecide/files.py", "08_choose_a_teacher", "10_what_decides"),
        ("cchbook/chapters/plots.py", "01_gaussian_theory", None),
        ("cchbook/data/omics.py", "05_cancer", "02_synthetic"),
        ("cchbook/data/sentiment/new.csv", "04_sentiment", "02_synthetic"),
        ("cchbook/publish/figures/bias.js", "07_mutual_information", "05_cancer"),
        ("notebooks/profiles/03_image.paper.yaml", "09_scorecard", "03_image"),
    ],
)
def test_an_edit_of_what_a_page_shows_changes_its_key(house, file, of, others):
    def key(name):
        notebook = Notebook.read(house / "notebooks" / f"{name}.ipynb")
        return keys.run_key(keys.ingredients(notebook), {"file": ""})

    before, other = key(of), others and key(others)
    with open(house / file, "a") as stream:
        stream.write("# another line\n")
    assert key(of) != before
    if others:
        assert key(others) == other


def test_what_a_chapter_loads_is_in_its_closure():
    """Python's own import system says what importing loads."""
    imports = {}
    for path in CHAPTERS:
        cells = [source(cell) for cell in Notebook.read(path).code_cells]
        imports[path.stem] = next(text for text in cells if "import records" in text)
    code = f"""
import json, sys
sys.path.insert(0, {str(CHECKOUT)!r})
found = {{}}
for name, text in json.loads(sys.stdin.read()).items():
    for module in [m for m in sys.modules if m.partition(".")[0] in {HERE}]:
        del sys.modules[module]
    exec(text.partition("run = ")[0], {{}})
    found[name] = [
        m.__file__ for n, m in sys.modules.items() if n.partition(".")[0] in {HERE}
    ]
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(imports),
        capture_output=True,
        text=True,
        check=True,
    )
    for path in CHAPTERS:
        loaded = {Path(f) for f in json.loads(done.stdout.splitlines()[-1])[path.stem]}
        assert len(loaded) > 10
        assert loaded <= keys.closure(Notebook.read(path)), path.stem


def names(text, tmp_path):
    write_notebook(tmp_path / "n.ipynb", ["a: int = 1", text])
    found = keys.closure(Notebook.read(tmp_path / "n.ipynb"))
    return {str(f.relative_to(places.PACKAGE.parent)) for f in found}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Two packages of which one loads late, as ours do."""
    files = {
        "cchlib/__init__.py": "_NAMES = {'assess': 'criterion'}\n",
        "cchlib/criterion/__init__.py": "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    from cchlib.slow import late\n"
        "_NAMES = {'assess': 'cch'}\n",
        "cchlib/criterion/cch.py": "from . import _own\nfrom .. import check\n",
        "cchlib/criterion/_own.py": "",
        "cchlib/criterion/worth.csv": "a\n1\n",
        "cchlib/criterion/pages/report.html": "",
        "cchlib/check.py": "def f():\n    import cchlib.losses\n",
        "cchlib/losses.py": "import numpy",
        "cchlib/slow.py": "",
        "cchlib/tables/deep.csv": "",
        "cchbook/__init__.py": "",
        "cchbook/draw.py": "from cchlib.losses import *\n",
    }
    for name, text in files.items():
        records.write_text(tmp_path / name, text)
    monkeypatch.setattr(places, "PACKAGE", tmp_path / "cchbook")
    return {name for name in files if name.startswith("cchlib")} - {"cchlib/slow.py"}


@pytest.mark.parametrize(
    "text",
    [
        "from cchlib import assess",
        "from cchlib.criterion import assess",
        "import cchlib.criterion as c\nc.assess()",
        "from cchlib import criterion\ncriterion.assess()",
        "%matplotlib inline\n!ls\nimport cchlib\ncchlib.assess",
        "def f():\n    from cchlib.criterion.cch import anything",
    ],
)
def test_imports_in_every_spelling(tmp_path, small, text):
    assert names(text, tmp_path) == small


def test_what_is_not_imported_is_not_there(tmp_path, small):
    only = {"cchlib/__init__.py", "cchlib/tables/deep.csv", "cchlib/losses.py"}
    assert names("import cchlib.losses", tmp_path) == only
    drawn = {"cchbook/__init__.py", "cchbook/draw.py"}
    assert names("from cchbook import draw", tmp_path) == only | drawn
    assert names("import numpy, os\n", tmp_path) == set()
    assert names("%%bash\nls cchlib | wc", tmp_path) == set()


# The key ------------------------------------------------------------------------------

BASE = {
    "notebook": "n",
    "code": "c",
    "modules": {"cchlib/losses.py": "s"},
    "data": {"mnist": "s"},
    "catalogue": {},
    "files": [],
    "reads": {},
    "own": {},
}
values = (
    st.booleans()
    | st.integers(-2, 2)
    | st.floats(-2, 2, width=16)
    | st.sampled_from(["", "1", None])
)
parameters = st.dictionaries(
    st.sampled_from("ab"), values | st.lists(values, max_size=2), max_size=2
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parameters, parameters)
def test_the_key_is_that_of_the_parameters_in_any_order(one, other):
    def canonical(value):  # True == 1 in Python, but not for a notebook
        return json.dumps(keys._plain(value), sort_keys=True)

    assert keys.run_key(BASE, one) == keys.run_key(BASE, dict(reversed(one.items())))
    same = canonical(one) == canonical(other)
    assert (keys.run_key(BASE, one) == keys.run_key(BASE, other)) == same


def test_whole_floats_and_integers_make_one_key():
    whole = keys.run_key(BASE, {"T": 3.0, "l": [1.0]})
    assert whole == keys.run_key(BASE, {"T": 3, "l": [1]})
    assert keys.run_key(BASE, {"T": 3.5}) != keys.run_key(BASE, {"T": 3})


def test_each_ingredient_changes_the_key_and_nothing_else_does():
    found = {keys.run_key(BASE, {})}
    changed = (
        {"notebook": "m"},
        {"code": "d"},
        {"modules": {"cchlib/losses.py": "t"}},
        {"data": {"mnist": "absent"}},
        {"catalogue": {"mnist": "another note"}},
        {"reads": {"data/paper/table3.csv": "s"}},
    )
    found |= {keys.run_key({**BASE, **change}, {}) for change in changed}
    found |= {keys.run_key(BASE, {"a": 1}), keys.run_key(BASE, {}, after=["k"])}
    assert len(found) == len(changed) + 3
    assert keys.run_key(BASE, {}, ["a", "b"]) == keys.run_key(BASE, {}, ["b", "a"])
    # real data change nothing for a run that is told not to look
    embedded = {"source": "embedded"}
    other = {**BASE, "data": {"mnist": "t"}}
    assert keys.run_key(other, embedded) == keys.run_key(BASE, embedded)


def test_its_own_recorded_result_changes_no_key_and_anothers_does(toy):
    path = toy.add("02_toy", cch={"reads": ["data/recorded"]})

    def key(**values):
        final = {"i": 0, "wait": 0.0, "device": "cpu"} | values
        return keys.run_key(keys.ingredients(Notebook.read(path)), final)

    before, other = key(), key(i=9)
    record = toy.root / "data/recorded/02_toy/k/record.json"
    about = {"key": "k", "parameters": {"i": 9.0, "wait": 0, "device": "cpu"}}
    records.write_json(record, about)
    records.write_text(record.with_name("metrics.csv"), "a")
    assert key() != before and key(i=9) == other
    between = key()
    records.write_text(record.with_name("metrics.csv"), "b")
    assert key() != between and key(i=9) == other


def test_code_counts_and_prose_does_not(tmp_path):
    path = tmp_path / "n.ipynb"
    write_notebook(path, ["a: int = 1", "x = a"])
    before = keys.ingredients(Notebook.read(path))
    content = json.loads(path.read_text())
    content["cells"][0]["source"] = "# Another title"
    content["cells"][2]["metadata"] = {"tags": ["hide-input"]}
    content["cells"][2]["outputs"] = [
        {"output_type": "stream", "name": "stdout", "text": "1"}
    ]
    content["cells"][2]["source"] = ["x ", "= a"]  # the same text, as a list
    path.write_text(json.dumps(content))
    assert keys.ingredients(Notebook.read(path)) == before
    content["cells"][2]["source"] = "x = a + 1"
    path.write_text(json.dumps(content))
    assert keys.ingredients(Notebook.read(path)) != before


def test_plain_papermill_and_a_batch_agree_on_the_key(toy, monkeypatch):
    monkeypatch.chdir(toy.root)
    notebook = Notebook.read(toy.add("02_toy"))
    final = {name: parameter.default for name, parameter in notebook.parameters.items()}
    by_hand = records.start("02_toy", final).key
    assert by_hand == keys.run_key(keys.ingredients(notebook), final)


# The guard ----------------------------------------------------------------------------


def test_a_read_that_the_key_does_not_cover_fails_the_run_and_one_declared_is_keyed(
    toy,
):
    table = toy.root / "tables" / "mine.csv"
    records.write_text(table, "a\n1\n")
    records.write_text(toy.root / "notebooks" / "profiles" / "x.txt", "")
    code = (
        "import pandas as pd\n"
        f"pd.read_csv({str(table)!r})\n"
        f"own = {str(toy.root / 'scratch.txt')!r}\n"
        "open(own, 'w').write('x')\n"
        "assert open(own).read() == 'x'\n"  # what it wrote itself is nobody's input
        "open('here.txt', 'w').write('y')\n"
        "open('here.txt').read()"
    )
    toy.add("01_toy", code)
    (outcome,) = run(["01_toy"])
    assert outcome.status == "failed"
    assert outcome.why.startswith("read tables/mine.csv, which its key does not cover")
    assert complete(toy) == {}

    toy.add("01_toy", code, cch={"reads": ["tables/*.csv"]})
    (outcome,) = run(["01_toy"])
    assert outcome.status == "done", outcome.why
    assert [one.status for one in run(["01_toy"])] == ["kept"]
    records.write_text(table, "a\n2\n")
    (again,) = run(["01_toy"])
    assert again.status == "done" and again.job.key != outcome.job.key


def test_a_module_that_is_loaded_by_a_name_made_up_at_run_time_is_caught(toy):
    name = "'.'.join(['cchbook', 'publish', 'colab'])"
    toy.add("01_toy", f"import importlib\nimportlib.import_module({name})")
    (outcome,) = run(["01_toy"])
    assert outcome.status == "failed" and "cchbook/publish/colab.py" in outcome.why


def test_the_guard_notes_reads_below_its_folders_only(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    for folder in (inside, outside):
        records.write_text(folder / "a.txt", "a")
    (tmp_path / "link").symlink_to(inside)
    code = f"""
import os, pathlib
from cchbook.runs.guard import watch
watch([{str(inside)!r}], {str(tmp_path / "notes")!r})
os.close(os.open({str(inside / "by_os.txt")!r}, os.O_CREAT | os.O_WRONLY))
open({str(outside / "a.txt")!r}).close()
for _ in range(2):
    pathlib.Path({str(tmp_path / "link" / "a.txt")!r}).read_bytes()
open({str(inside / "new.txt")!r}, "w").close()
open({str(inside / "new.txt")!r}, "a+").close()
try:
    open({str(inside / "none.txt")!r})
except FileNotFoundError:
    pass
os.chdir({str(inside)!r})
os.close(os.open("by_os_too.txt", os.O_CREAT | os.O_RDWR))
os.close(os.open(b"a.txt", os.O_RDONLY))
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=CHECKOUT)
    assert (tmp_path / "notes").read_text() == f"{inside / 'a.txt'}\0"
