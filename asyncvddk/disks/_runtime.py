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

from asyncvddk._events import Events
from asyncvddk.errors import AbortedError, LibraryLoadError, VddkError
from asyncvddk.native import _loader
from asyncvddk.threads import _fork
from asyncvddk.threads._port import library_is_busy

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncIterator
    from pathlib import Path

    from asyncvddk._config import LibraryConfig
    from asyncvddk.native import _memory
    from asyncvddk.native._loader import Library
    from asyncvddk.threads._calls import Calls
    from asyncvddk.threads._worker import Hold

_logger: Final = Events("asyncvddk")
_lock: Final = threading.Lock()


class Runtime:
    """What the process holds of its library."""

    def __init__(self) -> None:
        """Start with nothing loaded."""
        self.library: Library | None = None
        self.config: Path | LibraryConfig | None = None
        self.users = 0
        self.initialised = False
        self.left_open: list[tuple[str, int | _memory.Cell]] = []
        """What connections that were given up have not closed: function that does it, and handle."""
        self._hung: AbortedError | None = None
        self._beginning_or_ending: str | None = None
        self._busy: concurrent.futures.Future[None] | None = None
        self._busy_on: asyncio.AbstractEventLoop | None = None

    def load(self, libdir: str | os.PathLike[str] | None) -> Library:
        """Load the library, or return the loaded one. Raises LibraryLoadError when that is another one."""
        _fork.refuse("Vddk")
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
        if self.initialised and config != self.config:
            raise VddkError(
                f"config={config}: the library is initialised with config={self.config}, "
                "which holds until its last user has closed it and no call that was given up is left in it"
            )

    async def lifecycle(self, calls: Calls, name: str, *args: int, keep: object = None, hold: Hold | None) -> None:
        """Call InitEx or Exit. One that is given up leaves a library that nobody can use any more."""
        if self._hung is not None:
            raise AbortedError(f"{self._hung}; the library cannot be used any more in this process: start another one")
        self._beginning_or_ending = name
        try:
            if name == "Exit":
                await calls.raw(name, hold=hold)
            else:
                await calls(name, *args, keep=keep, hold=hold, needed=False)
        except AbortedError as error:
            self._hung = error
            raise
        except GeneratorExit:
            self._hung = _closed_under(name)
            raise
        finally:
            self._beginning_or_ending = None
        self.initialised = name != "Exit"
        if not self.initialised:
            self.config = None  # it may hold secrets

    async def end(self, calls: Calls, hold: Hold) -> None:
        """Call Exit, unless a call that was given up may still be inside the library.

        VDDK wants everything closed before Exit, and nothing in it during. So a library that hangs stays initialised
        until the process ends, or until the hung call has come back and the next user of the library is done: what the
        given-up connection had open is closed then, first. The same holds when it was the thread of ``calls`` that was
        given up, in another call.
        """
        if library_is_busy():
            _logger.warning("library_not_ended", reason="a call that was given up may still be inside the library")
            return
        if calls.worker.given_up:
            _logger.warning("library_not_ended", reason="the thread that would end it was given up")
            return
        while self.left_open:
            name, place = self.left_open.pop(0)
            if handle := place if isinstance(place, int) else place.value:
                await calls.raw(name, handle, hold=hold)
        await self.lifecycle(calls, "Exit", hold=hold)

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
                if self._busy is mine:
                    self._busy = self._busy_on = None
            mine.set_result(None)

    def _take_turn(self, mine: concurrent.futures.Future[None]) -> concurrent.futures.Future[None] | None:
        with _lock:
            if self._busy is not None and not self._holder_is_lost():
                return self._busy
            self._busy, self._busy_on = mine, asyncio.get_running_loop()
            return None

    def _holder_is_lost(self) -> bool:
        """Tell whether the loop of the one whose turn it is was closed under it: it never goes on."""
        if self._busy_on is None or not self._busy_on.is_closed():
            return False
        if name := self._beginning_or_ending:
            self._hung = _closed_under(name)
        return True


def _closed_under(name: str) -> AbortedError:
    return AbortedError(f"VixDiskLib_{name}: its event loop was closed during the call")


RUNTIME: Final = Runtime()
