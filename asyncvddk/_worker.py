"""The asyncio side of one connection's thread: submit, cancel, end. The thread itself is C (``native/core``).

Rules of cancellation: a queued call is withdrawn and never runs; a running one is waited for, because C still owns the
buffers, then the cancellation goes on. Calls that clean up are made whatever happens: see ``hold_cancellation``.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import itertools
import os
import warnings
from typing import TYPE_CHECKING, Final, Self, TypeAlias

import anyio

from asyncvddk._port import Port, new_tag
from asyncvddk.errors import ClosedError
from asyncvddk.native import _core, _log, _memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FLUSH_AT: Final = 32
"""Commands that are handed to the thread without waiting for the loop's next turn."""

_NUMBERS: Final = itertools.count(1)
_abandoned: Final[list[object]] = []
"""Memory of calls that never came back; C may write there as long as the process lives."""

Hold: TypeAlias = list[asyncio.CancelledError]


@contextlib.contextmanager
def hold_cancellation(*, shield: bool = True) -> Iterator[Hold]:
    """Let a clean-up run to its end: calls given the yielded list note cancellations there; they go on at the end.

    An error of the block becomes the cause of the cancellation. With ``shield`` anyio's scopes are kept out as long.
    """
    held: Hold = []
    try:
        with anyio.CancelScope(shield=shield):
            yield held
    except Exception as exc:
        if held:
            raise held[0] from exc
        raise
    if held:
        raise held[0]


_PACK: Final = _core.COMMAND.pack
_PADDING: Final = tuple((0,) * (_core.ARGUMENTS - n) for n in range(_core.ARGUMENTS + 1))


def _ignore(percent: int) -> None:
    """Stand in for a progress callback that nobody gave."""


class Progress:
    """Progress of one native call: its callback in C (``arguments``), and the way to ask the call to stop.

    Used as a context manager round that one call, which keeps it until C has returned, whatever happens to the caller.
    """

    def __init__(self, port: Port, callback: Callable[[int], object]) -> None:
        """Tell ``callback`` the percentages; see ``Worker.progress``."""
        self._port = port
        self.tag = new_tag()
        self._native: int = _core.progress_new(port.native, self.tag) or 0
        if not self._native:
            raise MemoryError
        self.arguments = (_core.PROGRESS_CALLBACK, self._native)
        port.watch_progress(self.tag, callback)

    def stop(self) -> None:
        """Ask the call to end early; it then answers with VIX_E_CANCELLED where the library heeds it."""
        _core.progress_stop(self._native)

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Tell nobody any more."""
        self._port.unwatch_progress(self.tag)

    def __del__(self) -> None:
        """Free the callback's data: nothing holds this object once C has returned."""
        if getattr(self, "_native", 0):
            _core.progress_free(self._native)


class Worker:
    """One OS thread that makes every native call of one connection, in order.

    Made and used on one event loop. It must be closed: a forgotten one is reported as ``ResourceWarning``; its
    thread then drops queued calls and ends after the running one.
    """

    def __init__(self, name: str) -> None:
        """Start the thread; ``name`` is shown in logs, and its first 15 bytes by ``ps -L``."""
        _refuse_fork()
        self.name = name
        self.number = next(_NUMBERS)
        self._port = Port.acquire()
        self._batch: list[bytes] = []
        native = _core.worker_start(self._port.native, self.number, name.encode("utf-8", "replace"))
        self._native: int | None = native
        self._taking = bool(native)
        if not native:
            self._port.release()
            raise OSError(f"{name}: the system has no thread or memory left")
        _log.names[self.number] = name

    @property
    def closed(self) -> bool:
        """True once ``aclose`` or ``abandon`` has begun: no call is taken any more."""
        return not self._taking

    async def call(
        self,
        function: int,
        *args: int,
        mode: int = 0,
        keep: object = None,
        hold: Hold | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Have the thread call the C function at address ``function`` and return its 64-bit value.

        ``args`` are at most eight integers or addresses; ``keep`` is any object that owns the memory they point to.
        It lives until C has returned, whatever happens to the caller. ``mode`` is of ``native._core``.

        Cancelled while queued: it never runs. Cancelled while running: waits for the native return, then raises
        ``CancelledError``; with ``progress`` the library is asked to stop first. With ``hold`` the call always runs to
        its end, and the cancellation is noted there instead of raised.

        Raises ClosedError after ``aclose`` or ``abandon``.
        """
        if not self._taking:
            raise ClosedError(f"{self.name}: closed")
        tag = progress.tag if progress else new_tag()
        command = _PACK(tag, function, mode, *args, *_PADDING[len(args)])
        future = self._port.expect(self, (keep, progress), tag)
        self._push(command)
        try:
            return await future
        except asyncio.CancelledError as exc:
            if hold is None and self._withdraw(tag):
                raise
            if progress is not None:
                progress.stop()
            if hold is None:
                await self._wait_out_quietly(tag, future)
                raise
            answer = await self._wait_out(tag, future)
            hold.append(exc)
            return answer

    async def transfer(  # noqa: PLR0913, PLR0917  (positional and flat: it is the hot path)
        self, function: int, handle: int, first: int, count: int, address: int, mode: int, keep: object
    ) -> int:
        """As ``call``, for the call that is made a million times: read or write ``count`` sectors from ``first``."""
        if not self._taking:
            raise ClosedError(f"{self.name}: closed")
        tag = new_tag()
        command = _PACK(tag, function, mode, handle, first, count, address, 0, 0, 0, 0)
        future = self._port.expect(self, keep, tag)
        self._push(command)
        try:
            return await future
        except asyncio.CancelledError:
            if not self._withdraw(tag):
                await self._wait_out_quietly(tag, future)
            raise

    def _push(self, command: bytes) -> None:
        """Hand commands over in batches: waking the thread costs more than making the call."""
        batch = self._batch
        batch.append(command)
        if len(batch) == 1:
            self._port.flush_soon(self._flush)
        elif len(batch) >= _FLUSH_AT:
            self._flush()

    def _flush(self) -> None:
        batch, native = self._batch, self._native
        if not batch or native is None:
            return
        if not _core.worker_submit(native, b"".join(batch), len(batch)):
            self._port.loop.call_soon(self._flush)
            raise MemoryError
        batch.clear()

    def _withdraw(self, tag: int) -> bool:
        self._flush()
        if self._native is None or not _core.worker_withdraw(self._native, tag):
            return False
        self._port.forget(tag)
        return True

    async def _wait_out(self, tag: int, first: asyncio.Future[int]) -> int:
        """Wait for C to return, however often the caller is cancelled meanwhile; return the answer."""
        with anyio.CancelScope(shield=True):
            future = self._port.expect_again(tag) or first
            while not future.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait([future])
        return self._port.late(tag) if future.cancelled() else future.result()

    async def _wait_out_quietly(self, tag: int, first: asyncio.Future[int]) -> None:
        """Wait for C to return; a worker that is abandoned meanwhile ends the wait."""
        with contextlib.suppress(ClosedError):
            await self._wait_out(tag, first)

    def post(self, function: int, *args: int) -> None:
        """Have the thread make a call for which nobody waits: freeing what the library allocated. No-op when closed."""
        if self._taking:
            self._push(_PACK(0, function, _core.POST, *args, *_PADDING[len(args)]))

    def progress(self, callback: Callable[[int], object] | None) -> Progress:
        """Return what a call with a progress callback needs; ``callback`` gets percentages, on the loop."""
        if not self._taking:
            raise ClosedError(f"{self.name}: closed")
        return Progress(self._port, callback or _ignore)

    async def aclose(self) -> None:
        """End the thread after the calls it has; cancellation is delivered when it has ended. Once closed, a no-op."""
        if not self._taking or self._native is None:
            return
        self._flush()
        self._taking = False
        tag = new_tag()
        future = self._port.expect(self, None, tag)
        _core.worker_stop(self._native, tag)
        with hold_cancellation() as held:
            try:
                await self._ended(tag, future, held)
            except ClosedError:
                return  # abandoned meanwhile
            native, self._native = self._native, None
            _core.worker_join(native)
            self._leave()

    async def _ended(self, tag: int, future: asyncio.Future[int], held: Hold) -> None:
        try:
            await future
        except asyncio.CancelledError as exc:
            held.append(exc)
            await self._wait_out(tag, future)

    def abandon(self, reason: str) -> None:
        """Give the thread up without waiting: everybody who waits for a call gets ClosedError at once.

        The way out of a library that hangs, also while closing. The thread, and the memory that its call may still
        use, stay behind.
        """
        native, self._native = self._native, None
        if native is None:
            return
        self._taking = False
        self._batch.clear()
        _core.worker_abandon(native)
        _abandoned.extend(self._port.fail(self, f"{self.name}: {reason}"))
        self._leave()

    def _leave(self) -> None:
        _log.names.pop(self.number, None)
        self._port.release()

    def __del__(self) -> None:
        """Let the thread of a forgotten worker end by itself, and report it."""
        native = getattr(self, "_native", None)
        if native is None or _forked:
            return
        self._native = None
        _core.worker_abandon(native)
        self._port.release_later()
        warnings.warn(f"unclosed {self.name}: use 'async with' or await aclose()", ResourceWarning, stacklevel=2)


_forked: Final[list[bool]] = []
os.register_at_fork(after_in_child=lambda: _forked.append(True))


def _refuse_fork() -> None:
    if _forked:
        raise RuntimeError(
            "this process was forked from one that uses asyncvddk, and threads do not survive a fork: "
            "start processes with multiprocessing's 'spawn' or 'forkserver'"
        )


@atexit.register
def _outlive_python() -> None:
    """Keep the memory of abandoned calls while the interpreter takes itself down."""
    _memory.keep_for_ever(_abandoned)
