"""A notebook file as its author wrote it: code, declared parameters, the data it may
read.

Plain JSON is enough for that, and light: the running of things plans thousands of jobs
without importing Jupyter.
"""

from __future__ import annotations

import ast
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

TYPES = {
    "int": int,
    "float": int | float,
    "str": str,
    "bool": bool,
    "list": list,
    "dict": dict,
    "None": type(None),
}


@dataclass(frozen=True)
class Parameter:
    """One line of the `parameters` cell: its default, its type as written,
    its comment.
    """

    default: Any
    type: str
    comment: str

    def accepts(self, value: Any) -> bool:
        """Whether `value` is of the declared type, as far as the outermost names say
        ("list[float]" is a list).
        """
        names = [name.split("[")[0].strip() for name in self.type.split("|")]
        allowed = [TYPES.get(name, object) for name in names]
        if isinstance(value, bool):  # which Python counts among the integers
            return "bool" in names or object in allowed
        return any(isinstance(value, type_) for type_ in allowed)


@dataclass(frozen=True)
class Notebook:
    """A notebook file; `content` is its JSON."""

    path: Path
    content: dict

    @staticmethod
    def read(path: str | Path) -> Notebook:
        """The notebook in a file; ValueError where it holds none."""
        path = Path(path)
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
            content["cells"], content["metadata"]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"notebook {path} must be of format 4, and can't be read "
                f"({type(error).__name__}: {error})"
            ) from None
        return Notebook(path, content)

    @property
    def name(self) -> str:
        """Its file name without the suffix."""
        return self.path.stem

    @property
    def code_cells(self) -> list[dict]:
        """Its code cells, without those that papermill puts in."""
        return [
            cell
            for cell in self.content["cells"]
            if cell["cell_type"] == "code" and not injected(cell)
        ]

    @property
    def datasets(self) -> list[str]:
        """Names of the data sets that it may read (metadata `cch.datasets`)."""
        return self.content["metadata"].get("cch", {}).get("datasets", [])

    @property
    def after(self) -> list[str] | str:
        """Notebooks whose records it reads (metadata `cch.after`): names, or "all"."""
        return self.content["metadata"].get("cch", {}).get("after", [])

    @property
    def reads(self) -> list[str]:
        """Files of the checkout that it reads, as globs (metadata `cch.reads`): their
        content is part of the run's key.
        """
        return self.content["metadata"].get("cch", {}).get("reads", [])

    @property
    def files(self) -> list[str]:
        """Parameters that name a file of the user's (metadata `cch.files`): its content
        is part of the run's key.
        """
        return self.content["metadata"].get("cch", {}).get("files", [])

    @property
    def split(self) -> dict[str, dict]:
        """Parameters along which a run may be cut (metadata `cch.split`), and how: see
        `cchbook.runs.pieces`.
        """
        return self.content["metadata"].get("cch", {}).get("split", {})

    @cached_property
    def parameters_cell(self) -> dict:
        """The one cell tagged `parameters`;
        ValueError where there is none or several.
        """
        cells = [cell for cell in self.code_cells if "parameters" in tags(cell)]
        if len(cells) != 1:
            raise ValueError(
                f"notebook {self.name} must have one cell tagged `parameters`, got "
                f"{len(cells)}"
            )
        return cells[0]

    @cached_property
    def parameters(self) -> dict[str, Parameter]:
        """What the cell tagged `parameters` declares, in order.

        Raises
        ------
        ValueError
            The cell is missing, or one of its lines is not `name: type = literal  #
            comment`.
        """
        return {name: parameter for name, parameter, _ in self._declarations()}

    def with_values(self, values: dict[str, Any]) -> str:
        """The text of the parameters cell with other values: what a run was given, in
        the author's words.
        """
        lines = source(self.parameters_cell).splitlines()
        for name, parameter, (first, last) in reversed(self._declarations()):
            if values[name] != parameter.default:
                comment = f"  # {parameter.comment}" if parameter.comment else ""
                lines[first:last] = [
                    f"{name}: {parameter.type} = {values[name]!r}{comment}"
                ]
        return "\n".join(lines)

    def _declarations(self) -> list[tuple[str, Parameter, tuple[int, int]]]:
        text = source(self.parameters_cell)
        lines, found = text.splitlines(), []
        for node in ast.parse(text).body:
            try:
                typed = isinstance(node, ast.AnnAssign)
                name = (node.target if typed else node.targets[0]).id
                default = ast.literal_eval(node.value)
            except (AttributeError, ValueError):
                line = lines[node.lineno - 1]
                raise ValueError(
                    f"parameters of {self.name} must be declared as "
                    f"`name: type = literal  # comment`, got {line!r}"
                ) from None
            kind = ast.unparse(node.annotation) if typed else type(default).__name__
            rest = lines[node.end_lineno - 1].encode()[node.end_col_offset :].decode()
            found.append(
                (
                    name,
                    Parameter(default, kind, rest.strip().lstrip("#").strip()),
                    (node.lineno - 1, node.end_lineno),
                )
            )
        return found


def source(cell: dict) -> str:
    """The text of a cell; the format allows a string or a list of lines."""
    return "".join(cell["source"])


def tags(cell: dict) -> list[str]:
    """The tags of a cell."""
    return cell["metadata"].get("tags", [])


def injected(cell: dict) -> bool:
    """Whether papermill put this cell in: parameters, or the banner over an error."""
    return "injected-parameters" in tags(cell) or "papermill-error-cell-tag" in tags(
        cell
    )
