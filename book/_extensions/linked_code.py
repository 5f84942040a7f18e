"""Links from the code of a page to the library's pages and back, by
sphinx-codeautolink.

It takes every section to have a title and every title to be a section's; sections made
by sphinx-proof have none, and admonitions and tables have titles too. Here only the
titles of sections count.
"""

from docutils import nodes
from sphinx_codeautolink.extension.block import CodeBlockAnalyser


class Analyser(CodeBlockAnalyser):
    def visit_title(self, node: nodes.title) -> None:
        if isinstance(node.parent, nodes.section):
            super().visit_title(node)

    def depart_section(self, node: nodes.section) -> None:
        if any(isinstance(child, nodes.title) for child in node):
            super().depart_section(node)


def setup(app) -> dict:
    import sphinx_codeautolink.extension as extension

    extension.CodeBlockAnalyser = Analyser
    app.setup_extension("sphinx_codeautolink")
    return {"parallel_read_safe": True, "parallel_write_safe": True}
