"""The asyncio side of one connection's thread: submit, cancel, end. The thread itself is C (``native/core``).

Rules of cancellation: a queued call is withdrawn and never runs; a running one is waited for, because C still owns the
buffers, then the cancellation goes on. Calls that clean up are made whatever happens: see ``hold_cancellation``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import os
import warnings
import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import anyio

from asyncvddk._events import Events
from asyncvddk.errors import AbortedError, CallTimeoutError, ClosedError
from asyncvddk.native import _core, _log
from asyncvddk.threads import _fork
from asyncvddk.threads._port import Port, new_tag
from asyncvddk.threads._watch import LOOKS, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_FLUSH_AT: Final = 32
"""Commands that are handed to the thread without waiting for the loop's next turn."""

_NUMBERS: Final = itertools.count(1)
_logger: Final = Events("asyncvddk")

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

    @property
    def told(self) -> int:
        """How often the library has called, with whatever percentage."""
        return _core.progress_told(self._native)  # type: ignore[no-any-return]

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
        if getattr(self, "_native", 0) and not _fork.forked():
            _core.progress_free(self._native)


@dataclass(frozen=True, slots=True)
class _Abort:
    """Why a worker was given up, and as which error everybody hears of it."""

    error: type[AbortedError]
    label: str
    reason: str

    def of(self, call: str | None, path: str | None) -> AbortedError:
        """Return the error for one who waits or asks for ``call``."""
        return self.error(f"{self.label}: {_said(call, path)}: {self.reason}", call=call, path=path, reason=self.reason)


def _said(call: str | None, path: str | None) -> str:
    return f"{call or 'a call'} of {path!r}" if path is not None else call or "a call"


def _kept(call: Any) -> object:  # noqa: ANN401  (see Worker.call and transfer)
    """Return the ``keep`` of a call."""
    return call[0]


def _do_nothing(running: list[object]) -> None:
    """Stand in for a callback that nobody gave."""


class Worker:
    """One OS thread that makes every native call of one connection, in order.

    Made and used on one event loop. It must be closed: a forgotten one is reported as ``ResourceWarning``; its
    thread then drops queued calls and ends after the running one.
    """

    def __init__(self, name: str, *, label: str | None = None, call_timeout_s: float | None = None) -> None:
        """Start the thread; ``name`` is shown in logs, and its first 15 bytes by ``ps -L``; ``label`` is for errors.

        A call that runs for ``call_timeout_s`` gives the worker up. What waits does not run: behind other calls, or for
        the turn that the library wants for Connect, Open and Close. A call that tells progress has to tell it as often.
        """
        _fork.note_use()
        self.name = name
        self.number = next(_NUMBERS)
        self.label = label or name
        self.call_timeout_s = call_timeout_s if call_timeout_s is not None else math.inf
        self.paths: dict[int, str] = {}
        """Handle of an open disk -> its path, for errors."""
        self.function_name: Callable[[int], str | None] = lambda _: None
        """Returns the name of the function at an address, for errors."""
        self.on_abandon: Callable[[list[object]], None] = _do_nothing
        """Called once when the worker is given up, with what the calls ``keep`` that run."""
        self._abort: _Abort | None = None
        self._port = Port.acquire()
        self._batch: list[bytes] = []
        self._stop_tag = 0
        self._watch: Watch[tuple[int, int]] = Watch()
        self._long: weakref.WeakValueDictionary[int, Progress] = weakref.WeakValueDictionary()
        self._looking: asyncio.TimerHandle | None = None
        self._unwatched = self.call_timeout_s < math.inf
        native = _core.worker_start(self._port.native, self.number, name.encode("utf-8", "replace"))
        self._native: int | None = native
        self._taking = bool(native)
        if not native:
            self._port.release()
            raise OSError(f"{name}: the system has no thread or memory left")
        _log.names[self.number] = name
        _workers.add(self)

    @property
    def closed(self) -> bool:
        """True once ``aclose`` or ``abandon`` has begun: no call is taken any more."""
        return not self._taking

    async def call(  # noqa: PLR0913  (each is a choice of its own)
        self,
        function: int,
        *args: int,
        mode: int = 0,
        keep: object = None,
        hold: Hold | None = None,
        needed: bool = True,
        progress: Progress | None = None,
        path: str | None = None,
    ) -> int:
        """Have the thread call the C function at address ``function`` and return its 64-bit value.

        ``args`` are at most eight integers or addresses; ``keep`` is any object that owns the memory they point to.
        It lives until C has returned, whatever happens to the caller. ``mode`` is of ``native._core``. ``path`` is the
        disk concerned, for errors.

        Cancelled while queued: it never runs. Cancelled while running: waits for the native return, then raises
        ``CancelledError``; with ``progress`` the library is asked to stop first. With ``hold`` the call always runs to
        its end, and the cancellation is noted there instead of raised; one that is not ``needed`` is still withdrawn
        while queued.

        Raises ClosedError after ``aclose``, AbortedError after ``abandon`` and because of it.
        """
        if not self._taking:
            raise self.refusal(self.function_name(function), path)
        tag = progress.tag if progress else new_tag()
        command = _PACK(tag, function, mode, *args, *_PADDING[len(args)])
        if progress is not None:
            self._long[tag] = progress
        future = self._port.expect(self, (keep, function, path, progress), tag)
        self._push(command)
        try:
            return await future
        except asyncio.CancelledError as exc:
            if (hold is None or not needed) and self._withdraw(tag):
                raise
            if progress is not None:
                progress.stop()
            if hold is None:
                await self._wait_out_quietly(tag, future)
                raise
            hold.append(exc)
            return await self._wait_out(tag, future)

    async def transfer(  # noqa: PLR0913, PLR0917  (positional and flat: it is the hot path)
        self, function: int, handle: int, first: int, count: int, address: int, mode: int, keep: object
    ) -> int:
        """As ``call``, for the call that is made a million times: read or write ``count`` sectors from ``first``."""
        if not self._taking:
            raise self.refusal(self.function_name(function), self.paths.get(handle))
        tag = new_tag()
        command = _PACK(tag, function, mode, handle, first, count, address, 0, 0, 0, 0)
        future = self._port.expect(self, (keep, function, handle), tag)
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
        if self._unwatched:
            self._look_later()

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
            raise self.refusal(None, None)
        return Progress(self._port, callback or _ignore)

    async def aclose(self) -> None:
        """End the thread after the calls it has; cancellation is delivered when it has ended. Once closed, a no-op."""
        if not self._taking or self._native is None:
            return
        self._flush()
        self._taking = False
        tag = self._stop_tag = new_tag()
        future = self._port.expect(self, (None, 0, None), tag)
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
        """Give the thread up without waiting: everybody who waits for a call gets AbortedError at once.

        The way out of a library that hangs, also while closing. The thread, and the memory that its call may still use,
        stay behind until the library comes back, if it ever does. Closed or abandoned before, a no-op.
        """
        self._give_up(_Abort(AbortedError, self.label, reason))

    def _give_up(self, abort: _Abort) -> None:
        native, self._native = self._native, None
        if native is None:
            return
        self._taking = False
        self._abort = abort
        tags = (_core.COMMAND.unpack(command)[0] for command in self._batch)
        oldest = _core.worker_abandon(native) or next(filter(None, tags), 0)
        self._batch.clear()
        running = [call for call in self._port.under_way(self, oldest) if call[0] != self._stop_tag]
        self._port.adopt(running)
        self._port.fail(self, lambda call: abort.of(*self._described(call)))
        self.on_abandon([_kept(call) for _, call in running])
        self._leave()

    @property
    def given_up(self) -> bool:
        """True after ``abandon``."""
        return self._abort is not None

    @property
    def in_call(self) -> bool:
        """True while anybody waits for a call."""
        return self._port.waits_for(self)

    def _described(self, call: Any) -> tuple[str | None, str | None]:  # noqa: ANN401  (see call and transfer)
        """Return function and disk of what ``call`` and ``transfer`` leave with the port."""
        _, function, where, *_ = call
        return self.function_name(function), self.paths.get(where) if isinstance(where, int) else where

    def refusal(self, call: str | None, path: str | None) -> Exception:
        """Return the error for one who asks for ``call`` when no calls are taken any more."""
        if _fork.forked():
            return _fork.error(call or self.name)
        if self._abort is not None:
            return self._abort.of(call, path)
        return ClosedError(f"{self.name}: closed")

    def forget_path(self, handle: int) -> None:
        """Forget the path of a disk that is closed."""
        self.paths.pop(handle, None)

    def _look_later(self) -> None:
        self._unwatched = False
        step = self.call_timeout_s / LOOKS
        self._looking = self._port.loop.call_later(step, _look, weakref.ref(self))

    def look(self) -> None:
        """Give the worker up if a call has run too long; look again as long as there are calls."""
        native = self._native
        if native is None:
            return
        self._flush()
        running = dict(self._port.under_way(self, _core.worker_oldest(native)))
        told = {tag: call.told for tag, call in self._long.items()}
        overdue = self._watch.look((tag, told.get(tag, 0)) for tag in running if tag != self._stop_tag)
        if overdue is not None:
            self._time_out(*self._described(running[overdue[0]]))
        elif self._port.waits_for(self):
            self._look_later()
        else:
            self._unwatched = True

    def _time_out(self, call: str | None, path: str | None) -> None:
        reason = f"{_said(call, path)} ran longer than {self.call_timeout_s:g} s, so the connection was given up"
        _logger.warning("call_timed_out", connection=self.label, call=call, disk=path, seconds=self.call_timeout_s)
        self._give_up(_Abort(CallTimeoutError, self.label, reason))

    def lose(self) -> None:
        """Forget the thread, in a forked child."""
        self._native, self._taking = None, False

    def _leave(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
        self.on_abandon = _do_nothing  # its owner is let go
        _log.names.pop(self.number, None)
        self._port.release()

    def __del__(self) -> None:
        """Let the thread of a forgotten worker end by itself, and report it."""
        native = getattr(self, "_native", None)
        if native is None:
            return
        self._native = None
        _core.worker_abandon(native)
        self._port.release_later()
        warnings.warn(f"unclosed {self.name}: use 'async with' or await aclose()", ResourceWarning, stacklevel=2)


def _look(reference: weakref.ref[Worker]) -> None:
    """Look, unless the worker was forgotten: a timer keeps none alive."""
    if worker := reference():
        worker.look()


_workers: Final[weakref.WeakSet[Worker]] = weakref.WeakSet()


def _in_child() -> None:
    """Let a forked child, which has none of the threads, call nothing of its parent's."""
    for worker in list(_workers) if _fork.forked() else ():
        worker.lose()


os.register_at_fork(after_in_child=_in_child)
