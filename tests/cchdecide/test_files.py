"""`cch assess FILE`: what is read, what is refused and where, what is written."""

import html.parser
import json
import re
import sys

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cchdecide import Representations
from cchdecide.cli import app
from cchdecide.files import (
    assess_file,
    decide_file,
    read,
    read_contents,
    write_example,
)
from cchlib.criterion import assess

QUICK = dict(method="gaussian", runs=1, repeats=1, lams=(0.5,), temperatures=(1.0,))


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(params=[".npz", ".csv"])
def example(request, tmp_path):
    return write_example(tmp_path / f"example{request.param}")


def test_the_example_is_read_and_decided(example):
    held = read_contents(example)
    assert list(held.teachers) == list(held.teacher_outputs) == ["good", "poor"]
    assert held.student.shape == (300, 6) and held.student_output.shape == (300, 2)
    assert held.labels.dtype.kind == "i"
    teachers, student, labels = read(example)  # the old call
    assert list(teachers) == ["good", "poor"] and len(student) == len(labels) == 300
    with pytest.raises(ValueError, match="which is there"):
        write_example(example)


def test_report_is_self_contained_and_has_alt_texts(tmp_path):
    path = write_example(tmp_path / "example.npz")
    console = Console(file=(tmp_path / "said.txt").open("w"), width=80)
    ranking = decide_file(path, html=tmp_path / "out.html", console=console, **QUICK)
    console.file.close()
    said = (tmp_path / "said.txt").read_text()
    assert max(map(len, said.splitlines())) <= 80 and "…" not in said
    assert ranking.best == "good" and set(ranking.mixture) == {"label", "good", "poor"}
    page = (tmp_path / "out.html").read_text()
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 5  # the gains, and two folded figures a teacher
    assert all('alt="' in i and 'src="data:image/png;base64,' in i for i in images)
    assert not re.search(r"(src|href)=.(https?:|/)", page)
    parser = html.parser.HTMLParser()
    parser.feed(page)
    assert "not known" in page and ranking.decisions["good"].verdict[:20] in page
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "example.cch.png",
        "example.npz",
        "out.html",
        "said.txt",
    ]


def test_command_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(app, ["assess", "--example"]).exit_code == 0
    fast = ["--method", "gaussian", "--runs", "1", "--device", "cpu"]
    done = run(app, ["assess", "example.npz", *fast, "--json", "out.json", "--no-cch"])
    assert done.exit_code == 0, done.output
    told = json.loads((tmp_path / "out.json").read_text())
    assert told["best"] == "good" and told["teachers"]["poor"]["rows"]
    assert run(app, ["assess"]).exit_code == 2
    assert run(app, ["assess", "none.npz"]).exit_code == 2
    said = run(app, ["assess", "--help"]).output
    for name in ("teacher_output", "student_output", "groups", "130", "--example"):
        assert name in said


def test_names_with_brackets_and_dollars_survive(tmp_path):
    path = write_example(tmp_path / "example.npz")
    with np.load(path) as file:
        arrays = dict(file)
    names = ("net[/x]", "net[large]", "cost$^$")
    odd = {f"teacher_{name}": arrays["teacher_good"] for name in names}
    odd["teacher_output_net[large]"] = arrays["teacher_output_good"]
    odd |= {"student": arrays["student"], "labels": arrays["labels"]}
    np.savez(tmp_path / "odd.npz", **odd)
    console = Console(file=(tmp_path / "said.txt").open("w"), width=200)
    page = tmp_path / "odd.html"
    ranking = decide_file(tmp_path / "odd.npz", html=page, console=console, **QUICK)
    console.file.close()
    assert ranking.best == "net[large]"  # the one that could be asked
    for text in ((tmp_path / "said.txt").read_text(), page.read_text()):
        assert all(name in text for name in names)
    without = ranking.decisions["cost$^$"]
    assert "by the CCH alone" in without.verdict and without.not_asked
    assert without.to_dict()["lam"] is None


HEADER = "teacher.a,student.a,label\n"


@pytest.mark.parametrize(
    "text, message",
    [
        (HEADER + "1,2,0\n3,4,NA\n", r"bad.csv, row 2, column label: NA among numbers"),
        (HEADER + "1,2,0\n3,4,\n", r"column label of bad.csv .* 1 empty cells.*row 2"),
        (
            HEADER + "1,2,0,\n3,4,1,\n",
            r"bad.csv, line 2: 4 cells under 3.*ends in a comma",
        ),
        (HEADER + "1,2,0\n3,4\n", r"line 3: 2 cells under 3 column names.*student.a"),
        (HEADER + "1,2,0\n3,4,1,5\n", r"line 3: 4 cells under 3 column names"),
        (HEADER + "1,2,0\nx,4,1\n", r"row 2: column teacher.a .* holds text, 'x'"),
        (HEADER + "1,2,0\n3,NA,1\n", r"row 2: column student.a .* is empty or missing"),
        ("teacher.a,teacher.a,student.a,label\n1,2,3,0\n", "got two teacher.a"),
        ("teacher.a,teacher_0,student.a,label\n1,2,3,0\n", "teacher.a and teacher_0"),
        ("teacher,student,label\n1,2,0\n", "got no teacher and no student"),
        (
            "teacher.a,student.a,teacher_output_b.0,label\n1,2,0,0\n",
            "teacher_output_b and no teacher_b",
        ),
    ],
)
def test_a_csv_of_another_form_is_refused_with_row_and_column(tmp_path, text, message):
    path = write(tmp_path / "bad.csv", text)
    with pytest.raises(ValueError, match=message) as refused:
        read_contents(path)
    assert not str(refused.value).startswith("`path`")


def test_labels_are_read_as_they_are_written(tmp_path):
    def labels(*values):
        rows = "".join(f"1,2,{value}\n" for value in values)
        return read(write(tmp_path / "a.csv", HEADER + rows))[2]

    assert labels("01", "1", "02").tolist() == ["01", "1", "02"]
    assert labels("0", "10", "-2").tolist() == [0, 10, -2]
    assert labels("0.5", "1", "2e3").tolist() == [0.5, 1.0, 2000.0]
    assert labels("NA", "None", "x").tolist() == ["NA", "None", "x"]
    assert labels("1", "x", "NA").tolist() == ["1", "x", "NA"]
    assert labels("True", "False", "True").tolist() == ["True", "False", "True"]


def test_label_columns_are_a_target_whatever_their_numbers(tmp_path):
    header = "teacher.0,student.0,label.0,label.1\n"
    held = read(write(tmp_path / "a.csv", header + "1,2,0,1\n3,4,1,0.5\n"))[2]
    assert held.dtype == float and held.tolist() == [[0, 1], [1, 0.5]]
    both = write(tmp_path / "b.csv", "teacher.0,student.0,label,label.0\n1,2,0,1\n")
    with pytest.raises(ValueError, match="columns label and label.0"):
        read(both)


def test_numbered_columns_and_a_byte_order_mark(tmp_path):
    text = "\ufeffteacher_0,teacher_1,student0,label,group\n1,2,3,a,7\n4,5,6,b,08\n"
    held = read_contents(write(tmp_path / "a.csv", text))
    assert held.teachers["teacher"].tolist() == [[1, 2], [4, 5]]
    assert held.student.tolist() == [[3], [6]]
    assert held.groups.tolist() == ["7", "08"]


def test_csv_and_npz_say_the_same(tmp_path):
    made = [read_contents(write_example(tmp_path / f"e{s}")) for s in (".npz", ".csv")]
    for name in ("good", "poor"):
        np.testing.assert_allclose(*[m.teachers[name] for m in made])
        np.testing.assert_allclose(*[m.teacher_outputs[name] for m in made])
    assert (made[0].labels == made[1].labels).all()


def test_one_output_belongs_to_the_one_teacher(tmp_path):
    rng = np.random.default_rng(0)
    arrays = dict(student=rng.random((9, 2)), labels=np.arange(9) % 2)
    np.savez(
        tmp_path / "a.npz",
        teacher_x=rng.random((9, 2)),
        teacher_output=rng.random((9, 2)),
        **arrays,
    )
    assert list(read_contents(tmp_path / "a.npz").teacher_outputs) == ["x"]
    frame = pd.DataFrame({"teacher.a": [1.0, 2.0], "student.a": [1.0, 2.0]})
    frame["label"] = ["x", "y"]
    frame.to_csv(tmp_path / "spaces in name.csv", index=False)
    assert read(tmp_path / "spaces in name.csv")[0]["teacher"].shape == (2, 1)


# The CCH alone, by `assess_file`


@pytest.fixture
def classes():
    """Two Gaussian classes 2 apart, seen by the student with noise and by the teacher
    through the student.
    """
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 600)
    student = 2.0 * labels + rng.standard_normal(600)
    return student + 0.3 * rng.standard_normal(600), student, labels


@pytest.fixture
def npz(tmp_path, classes):
    teacher, student, labels = classes
    np.savez(
        tmp_path / "mine.npz",
        teacher_mrna=teacher,
        teacher_rppa=teacher[::-1],
        student=student,
        labels=labels,
        patient=np.arange(600),
    )
    return tmp_path / "mine.npz"


def test_assess_file_prints_a_verdict_and_saves_a_figure(npz, classes, capsys):
    found = assess_file(npz, method="ksg", runs=1)
    assert list(found) == ["mrna", "rppa"]
    alone = assess(*classes, "ksg")
    assert found["mrna"].gap_interval == alone.gap_interval
    assert found["mrna"].half_gaps.tolist() == alone.half_gaps.tolist()
    said = " ".join(capsys.readouterr().out.split())
    assert (
        "mrna: distil" in said
        and "rppa: do not distil" in said
        and "95% interval" in said
        and "in nats" in said
    )
    assert npz.with_name("mine.cch.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in npz.parent.iterdir()) == [
        "mine.cch.png",
        "mine.npz",
    ]
    assess_file(npz, method="gaussian", figure=npz.parent / "out" / "gap.svg")
    assert b"<svg" in (npz.parent / "out" / "gap.svg").read_bytes()
    with pytest.raises(ValueError, match="`figure` must end in .* got gap.doc"):
        assess_file(npz, method="gaussian", figure=npz.parent / "out" / "gap.doc")
    assert sorted(path.name for path in (npz.parent / "out").iterdir()) == ["gap.svg"]


def test_csv_columns_are_grouped_by_prefix(tmp_path, npz, classes):
    teacher, student, labels = classes
    frame = pd.DataFrame(
        {
            "id": range(600),
            "teacher_mrna.a": teacher,
            "teacher_mrna.b.c": teacher**2,
            "student.x": student,
            "label": np.where(labels == 1, "sick", "healthy"),
            "teachers": 0,
        }
    )
    frame.to_csv(tmp_path / "mine.csv", index=False)
    teachers, found, named = read(tmp_path / "mine.csv")
    assert (
        list(teachers) == ["mrna"]
        and teachers["mrna"].shape == (600, 2)
        and found.shape == (600, 1)
    )
    assert set(named) == {"sick", "healthy"}
    assert assess_file(tmp_path / "mine.csv", method="ksg")["mrna"].verdict == "distil"
    assert list(read(npz)[0]) == ["mrna", "rppa"]


def test_a_class_may_be_called_na(tmp_path):
    (tmp_path / "mine.csv").write_text(
        "teacher.a,student.a,label\n1,1,NA\n2,1,None\n3,1,NA\n"
    )
    assert list(read(tmp_path / "mine.csv")[2]) == ["NA", "None", "NA"]


@pytest.mark.parametrize(
    "arrays, message",
    [
        (
            dict(student=np.ones(30), labels=np.ones(30)),
            "must hold arrays teacher.*got no teacher;",
        ),
        (dict(teacher=np.ones(30), labels=np.ones(30)), "got no student"),
        (dict(teacher=np.ones(30), student=np.ones(30)), "got no labels"),
        (
            dict(teacher=np.ones(30), student=np.ones(30), labels=np.array([{}] * 30)),
            "plain arrays.* could not be read",
        ),
        (
            dict(teacher=np.ones(30), student=np.ones(30), labels=np.array(1)),
            "labels is a single value",
        ),
        (
            dict(
                teacher=np.ones(30),
                teacher_teacher=np.ones(30),
                student=np.ones(30),
                labels=np.ones(30),
            ),
            "teacher_teacher",
        ),
    ],
)
def test_npz_of_another_form_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        assess_file(tmp_path / "bad.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.npz"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "could not be read as a table"),
        (
            "a,b\n1,2\n",
            "columns teacher.* got no teacher and no student and no labels",
        ),
        (
            "teacher.a,student.a,label\nx,1,0\n",
            "bad.csv, row 1: column teacher.a .* holds text",
        ),
        (
            "teacher.a,student.a,label\n1,1,0\n1,1,\n",
            "column label of bad.csv .* 1 empty cell",
        ),
    ],
)
def test_csv_of_another_form_is_refused(tmp_path, text, message):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        assess_file(tmp_path / "bad.csv")


def test_other_files_are_refused(tmp_path):
    np.save(tmp_path / "plain.npy", np.ones(3))
    for content in (
        b"PK not a zip",
        b"",
        b"\x93NUMPY\x01\x00\x05\x00((((\n",
        (tmp_path / "plain.npy").read_bytes(),
    ):
        (tmp_path / "broken.npz").write_bytes(content)
        with pytest.raises(ValueError, match="could not be read"):
            assess_file(tmp_path / "broken.npz")
    with pytest.raises(FileNotFoundError):
        assess_file(tmp_path / "nowhere" / "absent.npz")
    assert not (tmp_path / "nowhere").exists()
    with pytest.raises(ValueError, match="`path` must be a .npz.* got a.txt"):
        assess_file(tmp_path / "a.txt")
    with pytest.raises(FileNotFoundError, match="none.npz is not there"):
        assess_file(tmp_path / "none.npz")


# Names of arrays and columns, separators, and places for results.


def arrays(n=60, k=3):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, k, n)
    said = 3 * np.eye(k)[labels] + rng.standard_normal((n, k))
    features = rng.standard_normal((2, n, 2)).round(3)
    return dict(
        teacher=features[0], student=features[1], labels=labels, teacher_output=said
    )


def frame(outputs=("0", "1", "2"), order=(0, 1, 2), **changes):
    held = arrays()
    columns = {}
    for name in ("teacher", "student"):
        columns |= {f"{name}.{j}": held[name][:, j] for j in range(2)}
    columns |= {
        f"teacher_output.{outputs[j]}": held["teacher_output"][:, j] for j in order
    }
    return pd.DataFrame(columns | {"label": held["labels"]} | changes)


def test_known_suffixes_say_what_outputs_are_and_others_are_named(tmp_path):
    held = arrays()
    said = held.pop("teacher_output")
    np.savez(
        tmp_path / "a.npz",
        teacher_logits=said,
        student_probs=np.full((60, 3), 1 / 3),
        teacher_ids=np.arange(60),
        view_a=said,
        **held,
    )
    found = read_contents(tmp_path / "a.npz")
    assert list(found.teachers) == list(found.teacher_outputs) == ["teacher"]
    assert found.outputs == ("logits", "probabilities")
    assert found.ignored == ["teacher_ids", "view_a"]
    np.savez(tmp_path / "b.npz", Teacher=held.pop("teacher"), **held)
    with pytest.raises(ValueError, match="no teacher .but Teacher, which are not read"):
        read_contents(tmp_path / "b.npz")
    both = arrays() | {"teacher_probs": said}
    np.savez(tmp_path / "c.npz", **both)
    with pytest.raises(ValueError, match="got several of teacher"):
        read_contents(tmp_path / "c.npz")


@pytest.mark.parametrize(
    "name, order",
    [
        (("0", "1", "2"), (2, 0, 1)),
        (("1", "2", "10"), (2, 1, 0)),  # by number, where classes are 0, 1, 2
        (("b", "a", "c"), (0, 1, 2)),  # names of the classes 0, 1, 2
    ],
)
def test_columns_of_outputs_are_matched_by_name_not_by_place(tmp_path, name, order):
    table = frame(name, order)
    if name[0] == "b":
        table["label"] = np.array(name)[table["label"]]
    table.to_csv(tmp_path / "a.csv", index=False)
    console = Console(file=(tmp_path / "said.txt").open("w"), width=300)
    found = decide_file(tmp_path / "a.csv", console=console, cch=False, **QUICK)
    console.file.close()
    held = arrays()
    right = (held["teacher_output"].argmax(1) == held["labels"]).mean()
    checks = found.decisions["teacher"].checks
    assert any(f"{right:.0%} of the subjects right" in check for check in checks)
    assert "teacher_output: logits; columns" in (tmp_path / "said.txt").read_text()


@pytest.mark.parametrize("separator", [";", "\t", "sep=,", "; decimal"])
def test_separators_are_seen(tmp_path, separator):
    wanted = read_contents(write(tmp_path / "a.csv", frame().to_csv(index=False)))
    text = frame().to_csv(
        index=False,
        sep=separator[0] if separator != "sep=," else ",",
        decimal="," if "decimal" in separator else ".",
    )
    if separator == "sep=,":
        text = "sep=,\n" + text
    found = read_contents(write(tmp_path / "b.csv", text))
    np.testing.assert_allclose(found.teachers["teacher"], wanted.teachers["teacher"])
    assert (found.labels == wanted.labels).all()


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("a.csv", "teacher.0,student.0,label\n", "column names and no rows"),
        (
            "a.csv",
            "# by R\nteacher.0,student.0,label\n1,2,0\n",
            "got a comment",
        ),
        ("a.xlsx", "PK", "save the sheet as .csv"),
    ],
)
def test_tables_of_another_form_are_told(tmp_path, name, text, message):
    with pytest.raises(ValueError, match=message):
        read_contents(write(tmp_path / name, text))


def test_parquet_by_the_names_of_its_columns(tmp_path):
    wanted = arrays()
    names = np.array(["b", "a", "c"])
    table = frame(("b", "a", "c"), (2, 0, 1), label=names[wanted["labels"]])
    pytest.importorskip("pyarrow", reason="reads .parquet")
    table.to_parquet(tmp_path / "a.parquet")
    found = read_contents(tmp_path / "a.parquet")
    np.testing.assert_allclose(found.teachers["teacher"], wanted["teacher"])
    outputs = found.teacher_outputs["teacher"][names]
    np.testing.assert_allclose(outputs, wanted["teacher_output"])


def test_an_h5ad_by_the_names_of_its_entries(tmp_path):
    wanted = arrays()
    names = np.array(["b", "a", "c"])
    anndata = pytest.importorskip("anndata", reason="reads .h5ad")
    held = anndata.AnnData(
        X=wanted["teacher"],
        obs=pd.DataFrame({"label": names[wanted["labels"]], "age": 3.0}),
        obsm={name: wanted[name] for name in ("teacher", "student", "teacher_output")},
    )
    held.write_h5ad(tmp_path / "a.h5ad")
    found = read_contents(tmp_path / "a.h5ad")
    assert (np.asarray(found.labels) == names[wanted["labels"]]).all()
    assert found.ignored == ["age"]


def test_a_file_whose_reader_is_missing_says_which(tmp_path, monkeypatch):
    for module in ("pyarrow", "fastparquet", "polars", "anndata"):
        monkeypatch.setitem(sys.modules, module, None)
    for name, said in (("a.parquet", "pyarrow"), ("a.h5ad", "anndata")):
        with pytest.raises(ValueError, match=f"{name} can be read .* {said}"):
            read_contents(write(tmp_path / name, "x"))


@pytest.mark.parametrize("option", ["--json", "--figure", "--html"])
def test_results_are_never_written_over_the_input(tmp_path, monkeypatch, option):
    monkeypatch.chdir(tmp_path)
    path = write_example(tmp_path / "m.npz")
    before = path.read_bytes()
    (tmp_path / "link.html").symlink_to(path)
    place = {"--json": "./m.npz", "--figure": "m.npz", "--html": "link.html"}[option]
    run = CliRunner().invoke(app, ["assess", "m.npz", option, place])
    assert run.exit_code == 2 and "a file of its own" in run.output
    assert path.read_bytes() == before


def test_two_results_never_go_to_one_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_example(tmp_path / "m.npz")
    places = ["--html", "o.html", "--json", str(tmp_path / "o.html")]
    run = CliRunner().invoke(app, ["assess", "m.npz", "--no-cch", *places])
    assert run.exit_code == 2 and "`html` is written to" in run.output
    assert not (tmp_path / "o.html").exists()
    run = CliRunner().invoke(app, ["assess", "m.npz", "--json", str(tmp_path)])
    assert run.exit_code == 2 and "json" in run.output


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert write_example("~/e.npz") == tmp_path / "e.npz"
    held = read_contents("~/e.npz")
    Representations(held.teachers["good"], held.student, held.labels).save("~/r.npz")
    assert (tmp_path / "r.npz").is_file()


def test_classes_travel_with_the_arrays(tmp_path):
    held = arrays()
    names = ("normal", "benign", "malignant")
    made = Representations(
        held["teacher"],
        held["student"],
        held["labels"],
        teacher_output=held["teacher_output"],
        classes=names,
    )
    found = read_contents(made.save(tmp_path / "r.npz"))
    assert found.classes == list(names) and found.ignored == []
