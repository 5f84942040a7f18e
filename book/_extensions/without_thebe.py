"""Keep sphinx-thebe out of the pages: jupyter-book always loads it, and its script is
put in twice, a console error.

The book's live code goes through the launch buttons; nothing on a page calls Thebe.
"""


def setup(app):
    app.connect("builder-inited", disconnect)
    return {"parallel_read_safe": True}


def disconnect(app):
    for listeners in app.events.listeners.values():
        for listener in [
            item for item in listeners if item.handler.__module__ == "sphinx_thebe"
        ]:
            listeners.remove(listener)
