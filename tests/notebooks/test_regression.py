"""pytest-notebook: cells whose output is deterministic still print what is stored."""

from pathlib import Path

FOLDER = Path(__file__).parent


def test_closed_forms(nb_regression):
    nb_regression.exec_cwd = str(FOLDER)
    nb_regression.diff_ignore = (
        "/metadata",
        "/cells/*/execution_count",
        "/cells/*/metadata",
        "/nbformat_minor",
        "/cells/*/outputs/*/execution_count",
    )
    nb_regression.check(str(FOLDER / "closed_forms.ipynb"))
