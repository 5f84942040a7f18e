"""A student's notebook, made from a chapter: the experiment and the exercises, without
the bookkeeping of the book.

What a chapter keeps for its page and its record goes: the numbers in the prose, which
become blanks to fill in, the criteria that only the scorecard asks for, the record
itself, and the solutions. What is measured stays in a table, `results`, from which the
chapter's figures are drawn.
"""

from __future__ import annotations

import ast
import copy
import io
import re
import textwrap
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cchbook.publish.build import GLUED, toc_files
from cchbook.runs import places, plan, records
from cchbook.runs.files import write_json
from cchbook.runs.notebook import Notebook, source, tags

BLANK = "____"
YOURS = "# Yours"
#: calls that keep something for the page or the scorecard; `records.start` is replaced
KEEPS = ("glue", "glue_all", "rival_criteria", "run.finish", "DataSource")
#: calls that read what only the book's checkout has: their cells go whole
READS = ("records.leading", "records.recorded", "records.repository")
#: modules whose calls show something, so that their results may go unused
SHOWS = ("tables", "plots", "show", "theory")
LOGS = ("run.log", "run.log_frame")
START = "results = records.measurements(globals())"
LINE = 88
HEAD = (
    "*Made from the chapter by `cch student {name}`. The numbers in the text are left\n"
    "open ({blank}): fill them in from your own run. Settings are in the first cell; "
    "predict\nbefore you run.*"
)
ROLE = re.compile(r"\{(?P<role>[a-z:]+)\}`(?P<text>[^`]*)`")
SOURCE = re.compile(r"\s*<!-- source: .*? -->\n?")
LABEL = re.compile(r"^\((?P<label>[\w-]+)\)=\n", re.M)
DIRECTIVE = re.compile(
    r"^(?P<fence>`{3,})\{(?P<name>[\w:-]+)\} ?(?P<title>[^\n]*)\n"
    r"(?P<options>(?::[^\n]*\n)*)(?P<body>.*?)(?:^(?P=fence)\n?|\Z)",
    re.M | re.S,
)


def write(
    name: str, out: Path, profile: str = "quick", settings: Sequence[str] = ()
) -> Path:
    """The student's notebook of a chapter, with the settings of a profile, in `out`.

    Raises
    ------
    ValueError
        There is no such chapter, it has no such settings, or `out` is there: it may be
        a chapter, or what a student wrote.
    """
    if out.exists():
        raise ValueError(f"`-o` must be a new file, got {out}, which is there")
    (written,) = plan.notebooks([name])
    changes = plan.overrides(settings, [written])[written.name]
    values = plan.parameters(written, profile, changes)
    root = records.repository()
    titled = titles(root) if root and (root / "_toc.yml").is_file() else {}
    write_json(out, student(written, titled, values))
    return out


def student(
    written: Notebook,
    titled: Mapping[str, str],
    values: Mapping[str, Any] | None = None,
) -> dict:
    """The content of the student's notebook.

    Parameters
    ----------
    written
        The chapter, as its author wrote it.
    titled
        What the labels of the book mean, of `titles`.
    values
        Of its parameters; by default as declared.
    """
    page = {**copy.deepcopy(written.content), "cells": []}
    page["metadata"].pop("cch", None)
    for cell in without_solutions(written.content["cells"]):
        if cell["cell_type"] == "markdown":
            page["cells"] += _prose(source(cell), cell["id"], titled)
        elif "remove-cell" not in tags(cell) or "install" in tags(cell):
            kept = {"tags": tags(cell)} if "parameters" in tags(cell) else {}
            if {"hide-input", "hide-cell"} & set(tags(cell)):
                kept["jupyter"] = {"source_hidden": True}
            page["cells"].append(_code(source(cell), cell["id"], kept))
    code = [cell for cell in page["cells"] if cell["cell_type"] == "code"]
    if values is not None:
        for cell in code:
            if "parameters" in cell["metadata"].get("tags", ()):
                cell["source"] = written.with_values(dict(values))
    for cell, text in zip(code, without_bookkeeping(list(map(source, code)))):
        cell["source"] = text
    # without the cells of which nothing is left
    page["cells"] = [cell for cell in page["cells"] if cell["source"].strip()]
    head = HEAD.format(name=written.name, blank=BLANK)
    page["cells"][0]["source"] += f"\n\n{head}"
    return page


# Prose --------------------------------------------------------------------------------


def titles(root: Path) -> dict[str, str]:
    """What a reader calls the target of each label of the book: the heading below it,
    or the title of its exercise or theorem.
    """
    found = {}
    for file in toc_files(root):
        for text in _texts(root / file):
            for match in re.finditer(r"^\(([\w-]+)\)=\n+#+ (.*)$", text, re.M):
                found[match[1]] = match[2]
            for match in DIRECTIVE.finditer(text):
                label = re.search(r"^:label: *(\S+)", match["options"], re.M)
                if label:
                    found[label[1]] = match["title"] or label[1]
    return found


def _texts(path: Path) -> list[str]:
    """The text of a page, a string a cell; `path` without its suffix."""
    if path.with_suffix(".ipynb").is_file():
        cells = Notebook.read(path.with_suffix(".ipynb")).content["cells"]
        return [source(c) for c in cells if c["cell_type"] == "markdown"]
    return [path.with_suffix(".md").read_text(encoding="utf-8")]


def without_solutions(cells: Sequence[dict]) -> Iterator[dict]:
    """The cells outside of solutions; of a cell with both, the part outside."""
    inside = False
    for cell in cells:
        if cell["cell_type"] != "markdown":
            if not inside:
                yield cell
            continue
        kept = []
        for line in source(cell).splitlines(keepends=True):
            if "{solution-start}" in line:
                inside = True
            elif "{solution-end}" in line:
                inside = None  # until the fence below closes
            elif inside is None and line.strip() == "```":
                inside = False
            elif inside is False:
                kept.append(line)
        if "".join(kept).strip():
            yield {**cell, "source": "".join(kept).strip()}


def _prose(text: str, name: str, titled: Mapping[str, str]) -> list[dict]:
    """A text cell as cells of plain Markdown: after each exercise an empty one to
    answer in.
    """
    text = SOURCE.sub("", LABEL.sub("", text))
    parts, end = [], 0
    for match in DIRECTIVE.finditer(text):
        parts.append((text[end : match.start()], ""))
        parts.append((match["body"], match["name"] + " " + match["title"]))
        end = match.end()
    parts.append((text[end:], ""))
    cells = []
    for number, (body, directive) in enumerate(parts):
        kind, _, title = directive.partition(" ")
        # a box with the answer is what a student is to find
        if not body.strip() or kind in ("raw", "admonition"):
            continue
        body = ROLE.sub(lambda role: _plain_role(role, titled), body.strip())
        if title:
            body = f"### {kind.capitalize()}: {title}\n\n{body}"
        identity = f"{name}-{number}" if number else name
        cells.append(
            {
                "cell_type": "markdown",
                "id": identity,
                "metadata": {},
                "source": body,
            }
        )
        if kind == "exercise":
            cells.append(_code(YOURS, f"{identity}-yours", {}))
    return cells


def _plain_role(role: re.Match, titled: Mapping[str, str]) -> str:
    if GLUED.fullmatch(role[0]):
        return BLANK
    if role["role"] == "eq":
        return "that equation"
    text, _, label = role["text"].rstrip(">").rpartition("<")
    if text:
        return text.strip()
    if role["role"].startswith("cite"):
        return f"[{label}]"
    return f"*{titled[label]}*" if label in titled else label


def _code(text: str, name: str, metadata: dict) -> dict:
    return {
        "cell_type": "code",
        "id": name,
        "metadata": metadata,
        "source": text,
        "outputs": [],
        "execution_count": None,
    }


# Code ---------------------------------------------------------------------------------


def without_bookkeeping(cells: Sequence[str]) -> list[str]:
    """The code of a chapter without what it keeps for its page, cell by cell.

    A statement that calls one of `KEEPS` goes, and a cell that calls one of `READS`,
    with what uses their results, and then whatever was computed for them alone.
    """
    trees = [ast.parse(text) for text in cells]
    read = _read_by_figures() | set().union(*map(_texts_in, trees))
    gone: set[str] = set()
    texts, wanted = [], set()
    for text, tree in zip(cells, trees):
        if _calls(tree, READS):
            dropped = tree.body
            gone |= set().union(*map(_bound, dropped))
        else:
            dropped = _dropped(tree.body, gone, read)
        for statement in dropped:
            wanted |= _loaded(statement)
        texts.append(_without(text, dropped))

    # what was computed for them alone, until nothing more is
    while True:
        lean = []
        statements = [ast.parse(text).body for text in texts]
        for number, text in enumerate(texts):
            unused = []
            for place, statement in enumerate(statements[number]):
                later = [*statements[number][place + 1 :]]
                later += sum(statements[number + 1 :], [])
                alone = _only_assigns(statement) and not _shows(statement)
                if alone and _targets(statement) & wanted:
                    if not _used_later(_targets(statement), later):
                        unused.append(statement)
            for statement in unused:
                wanted |= _loaded(statement)
            lean.append(_without(text, unused))
        if lean == texts:
            break
        texts = lean

    texts = [_renamed(text) for text in texts]
    used = set().union(*(_loaded(ast.parse(text)) for text in texts))
    return [_with_imports(text, used) for text in texts]


def _read_by_figures() -> set[str]:
    """Texts in the code that draws and tabulates, names of metrics among them."""
    folder = places.PACKAGE / "chapters"
    files = [folder / f"{name}.py" for name in ("evidence", "images", *SHOWS)]
    parsed = [ast.parse(f.read_text(encoding="utf-8")) for f in files if f.is_file()]
    return set().union(*map(_texts_in, parsed))


def _texts_in(tree: ast.AST) -> set[str]:
    """All text literals, but for what measurements are logged as."""
    logged = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in LOGS:
            logged |= {part for part in ast.walk(node)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node not in logged
    }


def _used_later(names: set[str], statements: Sequence[ast.stmt]) -> bool:
    """Whether one of the names is read before something else is bound to it."""
    for statement in statements:
        own = {
            name
            for node in ast.walk(statement)
            if isinstance(node, (ast.comprehension, ast.For))
            for name in _bound(node.target)
        }
        if names & (_loaded(statement) - own):
            return True
        if isinstance(statement, (ast.Assign, ast.For)):
            names = names - _bound(statement)
    return False


def _only_assigns(statement: ast.stmt) -> bool:
    """An assignment to names, or a loop of nothing else."""
    if isinstance(statement, ast.For):
        return all(map(_only_assigns, statement.body))
    if not isinstance(statement, ast.Assign):
        return False
    # an entry of something is no name of its own
    parts = (part for target in statement.targets for part in ast.walk(target))
    return not any(isinstance(p, (ast.Subscript, ast.Attribute)) for p in parts)


def _targets(statement: ast.stmt) -> set[str]:
    """The names that an assignment binds, or those of a loop."""
    if isinstance(statement, ast.For):
        return _bound(statement.target).union(*map(_targets, statement.body))
    return set().union(*map(_bound, statement.targets))


def _unread(statement: ast.stmt, read: set[str]) -> bool:
    """Whether a statement logs what nothing shows."""
    call = getattr(statement, "value", None)
    if not isinstance(call, ast.Call) or ast.unparse(call.func) not in LOGS:
        return False
    named = call.args[:1] if ast.unparse(call.func) == LOGS[0] else []
    for node in ast.walk(call):
        if isinstance(node, ast.keyword) and node.arg == "metric":
            named = [node.value]
    texts = [part.left if isinstance(part, ast.BinOp) else part for part in named]
    literal = [part.value for part in texts if isinstance(part, ast.Constant)]
    return bool(literal) and not set(literal) & read


def _dropped(
    statements: Sequence[ast.stmt], gone: set[str], read: set[str]
) -> list[ast.stmt]:
    """Of a block the statements to be left out, those of inner blocks among them;
    `gone` collects the names that they would have bound, `read` are metrics that some
    figure or table reads.
    """
    found = []
    for statement in statements:
        inner = [getattr(statement, name, []) for name in ("body", "orelse")]
        block = isinstance(statement, (ast.For, ast.If, ast.With, ast.While))
        head = statement
        if block:
            head = ast.Module([], [])
            head.body = [
                ast.Expr(part)
                for part in (
                    getattr(statement, "iter", None),
                    getattr(statement, "test", None),
                )
                if part is not None
            ]
        if isinstance(statement, ast.For):
            gone -= _bound(statement.target)
        if _calls(head, KEEPS) or _unread(head, read) or _loaded(head) & gone:
            found.append(statement)
            gone |= _bound(statement)
            continue
        if block:
            within = [_dropped(part, gone, read) for part in inner]
            if len(within[0]) and set(within[0]) >= set(statement.body):
                found.append(statement)
            else:
                found += within[0] + within[1]
            continue
        gone -= _bound(statement)
    return found


def _calls(tree: ast.AST, names: Sequence[str]) -> bool:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(ast.unparse(call.func) in names for call in calls)


def _shows(tree: ast.AST) -> bool:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(ast.unparse(call.func).split(".")[0] in SHOWS for call in calls)


def _loaded(tree: ast.AST) -> set[str]:
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Load)}


def _bound(tree: ast.AST) -> set[str]:
    names = (node for node in ast.walk(tree) if isinstance(node, ast.Name))
    return {name.id for name in names if isinstance(name.ctx, ast.Store)}


def _without(text: str, statements: Sequence[ast.stmt]) -> str:
    """The text without these statements, the comments right above them and the gaps
    that they leave.
    """
    lines = text.splitlines()
    for statement in sorted(statements, key=lambda s: s.lineno, reverse=True):
        first, last = statement.lineno - 1, statement.end_lineno
        while first and lines[first - 1].lstrip().startswith("#"):
            first -= 1
        lines[first:last] = []
    text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines))
    return text.strip("\n")


def _renamed(text: str) -> str:
    """With `results`, a table in memory, where the chapter has its run."""
    text = re.sub(r"^run = records\.start\(.*\)$", START, text, flags=re.M)
    lines = text.splitlines(keepends=True)
    tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    for before, token, after in reversed(list(zip(tokens, tokens[1:], tokens[2:]))):
        named = before.string == "." or after.string == "="  # an attribute, an argument
        if token.string == "run" and token.type == tokenize.NAME and not named:
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + "results" + line[column + 3 :]
    return "".join(lines)


def _with_imports(text: str, used: set[str]) -> str:
    """With those names imported only that are used in some cell."""
    lines = text.splitlines()
    for node in reversed(ast.parse(text).body):
        if not isinstance(node, (ast.Import, ast.ImportFrom)):
            continue
        kept = [
            name
            for name in node.names
            if (name.asname or name.name).split(".")[0] in used
        ]
        if len(kept) == len(node.names):
            continue
        lines[node.lineno - 1 : node.end_lineno] = _import(node, kept)
    return "\n".join(lines).strip("\n")


def _import(node: ast.Import | ast.ImportFrom, names: list[ast.alias]) -> list[str]:
    if not names:
        return []
    node = copy.copy(node)
    node.names = names
    line = ast.unparse(node)
    if len(line) <= LINE:
        return [line]
    head, _, listed = line.partition(" import ")
    body = [f"{name}," for name in listed.split(", ")]
    return [
        f"{head} import (",
        *textwrap.indent("\n".join(body), "    ").split("\n"),
        ")",
    ]
