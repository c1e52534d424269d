"""The one library of this process: loaded once, initialised by its first user, ended by its last.

VDDK allows one library and one initialisation for each process, so this state is global; a lock makes it safe for
programs with several event loops.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from asyncvddk.errors import LibraryLoadError, VddkError
from asyncvddk.native import _loader

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asyncvddk._config import LibraryConfig
    from asyncvddk._worker import Hold
    from asyncvddk.native._loader import Library

_lock: Final = threading.Lock()


class Runtime:
    """What the process holds of its library."""

    def __init__(self) -> None:
        """Start with nothing loaded."""
        self.library: Library | None = None
        self.config: Path | LibraryConfig | None = None
        self.users = 0
        self._busy: concurrent.futures.Future[None] | None = None

    def load(self, libdir: str | os.PathLike[str] | None) -> Library:
        """Load the library, or return the loaded one. Raises LibraryLoadError when that is another one."""
        with _lock:
            file = _loader.find(libdir)
            if self.library is None:
                self.library = _loader.load(libdir)
            elif file != self.library.file:
                raise LibraryLoadError(
                    f"{file}: this process has {self.library.file} loaded already, and VDDK allows one "
                    "library for each process; use another process for the other one"
                )
            return self.library

    def check_config(self, config: Path | LibraryConfig | None) -> None:
        """Refuse a second user who wants another configuration file than the first."""
        if self.users and config != self.config:
            raise VddkError(
                f"config={config}: the library is initialised with config={self.config}, "
                "which holds until its last user has closed it"
            )

    @asynccontextmanager
    async def turn(self, hold: Hold | None = None) -> AsyncIterator[None]:
        """Have the right to initialise or end the library, or to count oneself in, to oneself for the block.

        With ``hold`` a cancellation while waiting is noted there, and the wait goes on.
        """
        mine: concurrent.futures.Future[None] = concurrent.futures.Future()
        mine.set_running_or_notify_cancel()  # a waiter's cancellation must not cancel it for the others
        while busy := self._take_turn(mine):
            try:
                await asyncio.wrap_future(busy)
            except asyncio.CancelledError as exc:
                if hold is None:
                    raise
                hold.append(exc)
        try:
            yield
        finally:
            with _lock:
                self._busy = None
            mine.set_result(None)

    def _take_turn(self, mine: concurrent.futures.Future[None]) -> concurrent.futures.Future[None] | None:
        with _lock:
            if self._busy is None:
                self._busy = mine
                return None
            return self._busy


RUNTIME: Final = Runtime()
