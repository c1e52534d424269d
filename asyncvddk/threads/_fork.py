"""A forked child of a process that uses the library: refused, because threads do not survive a fork.

A child of a process that has merely imported the package may use it.
"""

from __future__ import annotations

import os
from typing import Final

_state: Final = {"used": False, "forked": False}


def note_use() -> None:
    """Note that this process has threads of ours. Raises RuntimeError in a child of such a process."""
    refuse("asyncvddk")
    _state["used"] = True


def forked() -> bool:
    """Tell whether this process was forked from one that uses the library."""
    return _state["forked"]


def error(what: str) -> RuntimeError:
    """Return what a child gets for calling ``what``."""
    return RuntimeError(
        f"{what}: this process was forked from one that uses asyncvddk, and threads do not survive a fork: "
        "start processes with multiprocessing's 'spawn' or 'forkserver', or fork before the first 'async with Vddk()'"
    )


def refuse(what: str) -> None:
    """Raise RuntimeError in a forked child."""
    if _state["forked"]:
        raise error(what)


def _in_child() -> None:
    _state["forked"] = _state["used"]


os.register_at_fork(after_in_child=_in_child)
