"""One setting decides whether pages lead to a repository."""

import yaml

from cchbook.publish import colab
from cchbook.runs import records

URL = "https://forge.example/someone/book"


def test_without_an_address_nothing_leads_to_one():
    root = records.repository()
    config = yaml.safe_load((root / "_config.yml").read_text(encoding="utf-8"))
    assert colab.address(config) is None
    assert colab.with_buttons(config) == config
    for notebook in (root / "notebooks").glob("*.ipynb"):
        assert "git clone" not in notebook.read_text(encoding="utf-8")


def test_with_an_address_pages_get_buttons_and_notebooks_the_cell():
    config = {"repository": {"url": URL}, "html": {"extra_footer": "x"}}
    there = colab.with_buttons(config)
    assert there["html"] == {
        "extra_footer": "x",
        "use_issues_button": True,
        "use_repository_button": True,
    }
    assert there["launch_buttons"]["binderhub_url"]

    text = {"cell_type": "markdown", "id": "a", "metadata": {}, "source": "# Title"}
    code = {"cell_type": "code", "id": "b", "metadata": {}, "source": "x = 1"}
    page = colab.with_install_cell({"cells": [text, code]}, URL)
    kinds = [cell["id"] for cell in page["cells"]]
    assert kinds == ["a", "install", "b"]
    installs = page["cells"][1]["source"]
    compile(installs, "install", "exec")
    assert f'git clone -q --depth 1 "\n            "{URL} /content/cch' in installs
