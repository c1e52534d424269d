"""Events for the program's log, by structlog, which is imported when there is something to say.

Importing it costs as much as a fifth of a short command, and most runs have nothing to say.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_configure: list[Callable[[], object]] = []


def configure_before_first(configure: Callable[[], object]) -> None:
    """Have ``configure`` called once, before the first event that is said."""
    _configure[:] = [configure]


class Events:
    """A named source of events, each a verb with fields."""

    def __init__(self, name: str) -> None:
        """Take the logger's name."""
        self._name = name

    def debug(self, event: str, **fields: object) -> None:
        """Log for whoever has configured structlog: as it comes, it prints debug messages to standard output."""
        structlog = sys.modules.get("structlog")
        if structlog is not None and structlog.is_configured():
            structlog.get_logger(self._name).debug(event, **fields)

    def warning(self, event: str, **fields: object) -> None:
        """Log what a user should see."""
        import structlog  # noqa: PLC0415  (see above)

        while _configure:
            _configure.pop()()
        structlog.get_logger(self._name).warning(event, **fields)
