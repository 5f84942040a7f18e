"""Sets of several views: what is found, what stands in, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from cchbook.data import catalogue, multiview


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("CCH_DATA", str(tmp_path))
    (tmp_path / "multiview").mkdir()
    return tmp_path / "multiview"


def write(path, views, **arrays):
    named = {f"view_{name}": np.ones((6, k + 1)) for k, name in enumerate(views)}
    np.savez(path, **named, label=np.arange(6) % 2, **arrays)


def test_whatever_lies_there_is_found_few_views_first(home):
    write(home / "three.npz", "abc")
    write(home / "two.npz", "ab", group=np.arange(6), extra=np.zeros(600))
    assert multiview.found() == ["two", "three"]
    one, other = multiview.load_sets(["all"])
    assert one.pairs == [("a", "b"), ("b", "a")]
    assert len(other.pairs) == 6
    assert one.groups.tolist() == list(range(6)) and other.groups is None
    assert one.source.kind == "real" and len(one.source.sha256) == 64


def test_float_labels_are_a_regression_whatever_their_number(home):
    np.savez(
        home / "few.npz",
        view_a=np.ones((6, 2)),
        view_b=np.ones(6),
        label=np.array([0, 1, 0, 1, 0, 1], np.float32),
    )
    (one,) = multiview.load_sets(["few"])
    assert one.labels.shape == (6, 1)
    assert one.views["b"].shape == (6, 1)


def test_without_data_scikit_learn_stands_in(home):
    sets = multiview.load_sets()
    assert len(sets) == 3
    for one in sets:
        assert one.source.kind == "embedded"
        assert {len(view) for view in one.views.values()} == {len(one.labels)}
    with pytest.raises(FileNotFoundError, match="nothing.*at hand"):
        multiview.load("nothing")


def test_every_set_of_the_catalogue_has_its_source():
    table = multiview.sources()
    files = catalogue.get("multiview").files
    assert {f"multiview/{name}.npz" for name in table["set"]} == set(files)
    assert (
        table[["views", "original", "licence", "repository"]].notna().to_numpy().all()
    )
