"""The command ``asyncvddk``. Needs the extra ``cli`` (cyclopts and rich)."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (``sys.argv`` unless given) and return the exit status.

    0 done, 1 failed (or damage, or a difference, was found), 2 wrong usage, 3 done in part, 10 no repository, 11
    another collection is at work, 12 wrong password, 130 and 143 ended by Ctrl-C and SIGTERM.
    """
    try:
        from asyncvddk.cli._app import run  # noqa: PLC0415  (tells of the missing extra instead of a traceback)
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "rich"}:
            raise
        message = f"asyncvddk: the command line needs {error.name}: pip install 'asyncvddk[cli]'"
        print(message, file=sys.stderr)  # noqa: T201
        return 1
    return run(sys.argv[1:] if arguments is None else arguments)
