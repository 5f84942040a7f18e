"""Let the search rank by `book/_static/scorer.js`: Sphinx looks for that file in the
folder in which it happens to be started, here it is the book's own.
"""

from pathlib import Path


def setup(app):
    app.connect("config-inited", find)
    return {"parallel_read_safe": True}


def find(app, config):
    config.html_search_scorer = str(Path(app.srcdir) / "book" / "_static" / "scorer.js")
