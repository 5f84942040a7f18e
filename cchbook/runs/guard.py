"""Note which files below some folders this Python process opens for reading.

`cch run` copies this file to the start-up folder of a job's kernel, so that it imports
nothing of ours. A file that the process wrote itself is not noted.
"""

import os
import sys


def watch(folders: list[str], to: str) -> None:
    """Append each path once, ended by a NUL, to the file `to`; the file's folder is
    real, links in it resolved.
    """
    below = tuple(os.path.join(os.path.realpath(folder), "") for folder in folders)
    installed = os.path.join(os.path.realpath(sys.prefix), "")
    notes = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    known = set()  # noted, or its own

    def note(event: str, arguments: tuple) -> None:
        if event != "open" or not isinstance(arguments[0], (str, bytes, os.PathLike)):
            return
        path, mode, flags = arguments
        folder, name = os.path.split(os.path.abspath(os.fsdecode(path)))
        path = os.path.join(os.path.realpath(folder), name)
        if path in known or not path.startswith(below) or path.startswith(installed):
            return
        if mode is None:  # of os.open
            reads = not flags & os.O_WRONLY
        else:
            reads = "r" in mode or "a+" in mode.replace("b", "")
        if not reads:
            known.add(path)
        elif os.path.isfile(path):
            known.add(path)
            os.write(notes, os.fsencode(path) + b"\0")

    sys.addaudithook(note)


if "CCH_GUARD" in os.environ:
    folders = os.environ.pop("CCH_GUARD").split(os.pathsep)
    watch(folders[1:], to=folders[0])
