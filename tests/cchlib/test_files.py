"""`cch assess FILE`: what is read, what is refused and where, what is written."""

import html.parser
import json
import re

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from cchlib.cli import app
from cchlib.criterion.files import (
    decide_file,
    read,
    read_contents,
    write_example,
)

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
    console = Console(file=(tmp_path / "said.txt").open("w"), width=120)
    ranking = decide_file(path, html=tmp_path / "out.html", console=console, **QUICK)
    console.file.close()
    said = (tmp_path / "said.txt").read_text()
    assert said.index("before the CCH") < said.index("mutual information")
    assert ranking.best == "good" and set(ranking.mixture) == {"label", "good", "poor"}
    page = (tmp_path / "out.html").read_text()
    images = re.findall(r"<img [^>]*>", page)
    assert len(images) == 5  # the bars, and two figures a teacher
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
        (HEADER + "1,2,0\n3,4,\n", r"column label of bad.csv has 1 empty cells.*row 2"),
        (
            HEADER + "1,2,0,\n3,4,1,\n",
            r"bad.csv, line 2: 4 cells under 3.*ends in a comma",
        ),
        (HEADER + "1,2,0\n3,4\n", r"line 3: 2 cells under 3 column names.*student.a"),
        (HEADER + "1,2,0\n3,4,1,5\n", r"line 3: 4 cells under 3 column names"),
        (HEADER + "1,2,0\nx,4,1\n", r"row 2: column teacher.a holds text, 'x'"),
        (HEADER + "1,2,0\n3,NA,1\n", r"row 2: column student.a is empty or missing"),
        ("teacher.a,teacher.a,student.a,label\n1,2,3,0\n", "two columns teacher.a"),
        ("teacher.a,teacher_0,student.a,label\n1,2,3,0\n", "teacher.a and teacher_0"),
        ("teacher,student,label\n1,2,0\n", "holds no teacher and no student"),
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
    assert not str(refused.value).startswith("path")


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
