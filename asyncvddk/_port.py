"""The asyncio side of one event loop's completion ring: tags of commands under way -> the futures that wait."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Final, TypeAlias
from weakref import WeakKeyDictionary

from asyncvddk.native import _core, _log, _memory

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH: Final = 256
_TAGS: Final = itertools.count(1)
_ports: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Port]] = WeakKeyDictionary()


class Answer(int):
    """What a native function returned, with the warnings that the library gave during the call."""

    said: tuple[str, ...] = ()


Pending: TypeAlias = tuple[asyncio.Future[int], object, object]
"""A command under way: who waits, whose it is, and the memory that C uses even when nobody waits any more."""


class Port:
    """Completions of one event loop. Made with the loop's first worker, closed with its last."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the ring and let ``loop`` watch it."""
        native = _core.port_new()
        if not native:
            raise OSError("no memory or file descriptor left for the completion ring")
        self.native: int = native
        self._loop = loop
        self._pending: dict[int, Pending] = {}
        self._progress: dict[int, Callable[[int], object]] = {}
        self._users = 0
        self._ring, self._ring_address = _memory.array_of(_core.COMPLETION.size, _BATCH)
        loop.add_reader(_core.port_fd(native), self._drain)
        _core.log_attach(native)

    @classmethod
    def acquire(cls) -> Port:
        """Return the running loop's port for one more user."""
        loop = asyncio.get_running_loop()
        port = _ports.get(loop)
        if port is None:
            port = _ports[loop] = cls(loop)
        port._users += 1
        return port

    def release(self) -> None:
        """Let one user go; close with the last."""
        self._users -= 1
        if self._users:
            return
        _ports.pop(self._loop, None)
        self._close()

    def _close(self) -> None:
        if not self._loop.is_closed():
            self._loop.remove_reader(_core.port_fd(self.native))
        _log.drain()
        _core.log_attach(next((port.native for port in _ports.values()), None))
        _core.port_close(self.native)

    def expect(self, owner: object, keep: object, tag: int = 0) -> tuple[int, asyncio.Future[int]]:
        """Return a tag (a new one for 0) and the future of its answer; ``keep`` lives until the answer is there."""
        tag = tag or next(_TAGS)
        future: asyncio.Future[int] = asyncio.Future(loop=self._loop)
        self._pending[tag] = (future, owner, keep)
        return tag, future

    def expect_again(self, tag: int) -> asyncio.Future[int] | None:
        """Return a new future for a tag whose first one was cancelled; ``None`` when the answer was lost with it."""
        pending = self._pending.get(tag)
        if pending is None:
            return None
        future = self._loop.create_future()
        self._pending[tag] = (future, *pending[1:])
        return future

    def forget(self, tag: int) -> None:
        """Drop a tag whose command was withdrawn: no answer comes."""
        del self._pending[tag]

    def fail(self, owner: object, error: Exception) -> list[object]:
        """Give everybody who waits for ``owner``'s commands the error; return the memory that C may use for ever."""
        tags = [tag for tag, pending in self._pending.items() if pending[1] is owner]
        abandoned = [self._pending.pop(tag) for tag in tags]
        for future, _, _ in abandoned:
            if not future.done():
                future.set_exception(error)
        return [keep for _, _, keep in abandoned]

    def watch_progress(self, callback: Callable[[int], object]) -> int:
        """Return a new tag whose percentages ``callback`` gets, on the loop."""
        tag = next(_TAGS)
        self._progress[tag] = callback
        return tag

    def unwatch_progress(self, tag: int) -> None:
        """Stop telling percentages."""
        self._progress.pop(tag, None)

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Run ``callback`` at the loop's next turn."""
        self._loop.call_soon(callback)

    def _drain(self) -> None:
        count = _BATCH
        while count == _BATCH:
            state = _core.port_drain(self.native, self._ring_address, _BATCH)
            count = state & ~_core.LOGGED
            if state & _core.LOGGED:
                _log.drain()
            pop = self._pending.pop
            for tag, result in _core.COMPLETION.iter_unpack(self._ring[: count * _core.COMPLETION.size]):
                pending = pop(tag, None)
                if pending is None or _log.said:
                    self._complete(tag, result, pending)
                elif not pending[0].done():
                    pending[0].set_result(result)

    def _complete(self, tag: int, result: int, pending: Pending | None) -> None:
        """Handle what is rare: progress, answers that nobody waits for, answers with warnings."""
        if tag & _core.PROGRESS:
            if tell := self._progress.get(tag ^ _core.PROGRESS):
                tell(result)
            return
        said = _log.said.pop(tag, None)
        if pending is None or pending[0].done():
            return
        if said and not result:
            _log.warn(said)
        elif said:
            result = Answer(result)
            result.said = tuple(said)
        pending[0].set_result(result)
