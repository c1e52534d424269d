"""The asyncio side of one event loop's completion ring: tags of commands under way -> the futures that wait."""

from __future__ import annotations

import asyncio
import atexit
import itertools
import os
import threading
from typing import TYPE_CHECKING, Final, TypeAlias, final
from weakref import WeakKeyDictionary

from asyncvddk.errors import AbortedError
from asyncvddk.native import _core, _log, _memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextvars import Context

_BATCH: Final = 256
_LOOKS: Final = 6 if len(os.sched_getaffinity(0)) > 1 else 1
"""How often the ring is looked at before the loop goes to sleep, when one command alone is under way: 10 us in all.

A small read is back sooner than a sleeping loop is awake again: 24 instead of 32 us for 4 KiB, with a quarter less
processor time. On one processor the thread could not run meanwhile.
"""

new_tag: Final = itertools.count(1).__next__
"""Returns a number for a command; no two of one process are the same."""

_lock: Final = threading.RLock()
"""Guards ``_ports`` and which of them fetches the log; a finaliser may release one while its thread acquires."""

_ports: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, Port]] = WeakKeyDictionary()


_orphans: Final[dict[int, tuple[Port, object]]] = {}
"""Calls that were given up and that the library has not come back from: tag -> ring, and memory that C may use."""


def library_is_busy() -> bool:
    """Tell whether a call that was given up may still be inside the library."""
    with _lock:  # nobody else fetches from the ring of a loop that is gone
        for port in {port for port, _ in list(_orphans.values())}:
            if port.loop.is_closed():
                port.drain_late()
    return bool(_orphans)


class Answer(int):
    """What a native function returned, with the warnings that the library gave during the call."""

    said: tuple[str, ...] = ()


@final
class Reply(asyncio.Future[int]):
    """What a task waits on for the answer to a command: it goes on at once when the answer is fetched.

    An ordinary future has its task go on one turn of the loop later: one more system call for each read that is alone,
    100 us beside a task that computes so long, and 5 ms beside a thread that computes in Python, as each turn gives the
    interpreter up. Only tasks wait on it, by ``await``.
    """

    __slots__ = ("waiter",)
    waiter: tuple[Callable[[Reply], object], Context] | None
    """How the task goes on; None: nobody waits. Set by who makes the object, as a constructor would cost more."""

    def add_done_callback(self, fn: Callable[[Reply], object], *, context: Context | None = None) -> None:
        """Note the task that waits."""
        if context is not None and self.waiter is None and not self.done():
            self.waiter = (fn, context)
        else:
            super().add_done_callback(fn, context=context)

    def answer(self, result: int) -> None:
        """Set the result and let the task go on, now; not to be called by a task."""
        self.set_result(result)
        if waiter := self.waiter:
            self.waiter = None
            waiter[1].run(waiter[0], self)

    def cancel(self, msg: object = None) -> bool:
        """As every future: the task goes on in the next turn."""
        cancelled = super().cancel(msg)
        if cancelled:
            self.wake_later()
        return cancelled

    def set_exception(self, exception: type[BaseException] | BaseException) -> None:
        """As every future: the task goes on in the next turn."""
        super().set_exception(exception)
        self.wake_later()

    def wake_later(self) -> None:
        """Have the task of a future that is done go on in the next turn, unless it has."""
        if waiter := self.waiter:
            self.waiter = None
            super().add_done_callback(waiter[0], context=waiter[1])


Pending: TypeAlias = tuple[Reply, object, object]
"""A command under way: who waits, whose it is, and the memory that C uses even when nobody waits any more."""


class Port:
    """Completions of one event loop. Made with the loop's first worker, closed with its last."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Open the ring and let ``loop`` watch it."""
        native = _core.port_new()
        if not native:
            raise OSError("no memory or file descriptor left for the completion ring")
        self.native: int = native
        self.loop = loop
        self._pending: dict[int, Pending] = {}
        self._late: dict[int, int] = {}
        self._progress: dict[int, Callable[[int], object]] = {}
        self._flushes: list[Callable[[], None]] | None = None
        self._users = 0
        self._ring, self._ring_address = _memory.array_of(_core.COMPLETION.size, _BATCH)
        loop.add_reader(_core.port_fd(native), self._drain)
        _core.log_attach(native)

    @classmethod
    def acquire(cls) -> Port:
        """Return the running loop's port for one more user."""
        loop = asyncio.get_running_loop()
        with _lock:
            port = _ports.get(loop)
            if port is None:
                port = _ports[loop] = cls(loop)
            port._users += 1
            return port

    def release(self) -> None:
        """Let one user go; close with the last."""
        with _lock:
            self._users -= 1
            if not self._users:
                _ports.pop(self.loop, None)
                self._close()

    def release_later(self) -> None:
        """Let one user go, from a finaliser: it may run on any thread, where the loop must not be touched."""
        try:
            self.loop.call_soon_threadsafe(self.release)
        except RuntimeError:
            self.release()  # the loop is closed

    def _close(self) -> None:
        if not self.loop.is_closed():
            self.loop.remove_reader(_core.port_fd(self.native))
        self._drain_log()
        _core.log_attach(next((port.native for port in _ports.values() if not port.loop.is_closed()), None))
        _core.port_close(self.native)

    def expect(self, owner: object, keep: object, tag: int) -> Reply:
        """Return the future of the answer to command ``tag``; ``keep`` lives until the answer is there."""
        reply = Reply(loop=self.loop)
        reply.waiter = None
        self._pending[tag] = (reply, owner, keep)
        return reply

    def expect_again(self, tag: int) -> Reply | None:
        """Return a new future for a tag whose first one was cancelled; ``None`` when the answer has come meanwhile."""
        pending = self._pending.get(tag)
        if pending is None:
            return None
        return self.expect(*pending[1:], tag)

    def late(self, tag: int) -> int:
        """Return the answer that came for a future already cancelled. Raises AbortedError when none will come."""
        answer = self._late.pop(tag, None)
        if answer is None:
            raise AbortedError("the call was given up")
        return answer

    def flush_soon(self, flush: Callable[[], None]) -> None:
        """Call ``flush`` when the tasks that can go on have gone on: with what they ask for, one wake-up does for all.

        While answers are given that is at their end; when no other command is under way, now; else in the next turn.
        """
        if self._flushes is not None:
            self._flushes.append(flush)
        elif len(self._pending) > 1:
            self.loop.call_soon(flush)
        else:
            flush()

    def forget(self, tag: int) -> None:
        """Drop a tag whose command was withdrawn: no answer comes."""
        del self._pending[tag]

    def under_way(self, owner: object, oldest: int) -> list[tuple[int, object]]:
        """Return tag and ``keep`` of the owner's calls that run: all that came before ``oldest``, the first queued."""
        mine = ((tag, pending[2]) for tag, pending in self._pending.items() if pending[1] is owner)
        return list(itertools.takewhile(lambda call: call[0] != oldest, mine))

    def waits_for(self, owner: object) -> bool:
        """Tell whether anybody waits for a command of ``owner``."""
        return any(pending[1] is owner for pending in self._pending.values())

    def fail(self, owner: object, error: Callable[[object], Exception]) -> None:
        """Give everybody who waits for ``owner``'s commands ``error(keep)``."""
        tags = [tag for tag, pending in self._pending.items() if pending[1] is owner]
        for tag in tags:
            future, _, keep = self._pending.pop(tag)
            if not future.done():
                future.set_exception(error(keep))

    def adopt(self, orphans: Iterable[tuple[int, object]]) -> None:
        """Keep the memory of calls that were given up until the library comes back; the ring stays open as long."""
        for tag, keep in orphans:
            _orphans[tag] = self, keep
            self._users += 1

    def _came_back(self, tag: int) -> None:
        if _orphans.pop(tag, None) is not None:
            self.release()

    def drain_late(self) -> None:
        """Fetch what came after the end of the loop."""
        self._users += 1  # the ring stays open while we look
        while count := _core.port_drain(self.native, self._ring_address, _BATCH) & ~_core.LOGGED:
            for tag, _ in _core.COMPLETION.iter_unpack(self._ring[: count * _core.COMPLETION.size].tobytes()):
                self._came_back(tag)
        self.release()

    def in_flight(self) -> object:
        """Return what must outlive the interpreter when calls are still under way."""
        return self._pending

    def watch_progress(self, tag: int, callback: Callable[[int], object]) -> None:
        """Have ``callback`` told the percentages of command ``tag``, on the loop."""
        self._progress[tag] = callback

    def unwatch_progress(self, tag: int) -> None:
        """Stop telling percentages."""
        self._progress.pop(tag, None)

    def _drain(self) -> None:
        for _ in range(_LOOKS):
            self._drain_once()
            if len(self._pending) != 1 or not self._users:  # the second: a task has closed this port
                break

    def _drain_once(self) -> None:
        state = _core.port_drain(self.native, self._ring_address, _BATCH)
        count = state & ~_core.LOGGED
        answers = _core.COMPLETION.iter_unpack(self._ring[: count * _core.COMPLETION.size].tobytes())
        try:
            if state & _core.LOGGED and self._drain_log() and self._users:  # the log may give the last worker up
                _core.port_wake(self.native)
        except BaseException:
            self.loop.call_soon(self._deliver, answers)
            raise
        self._deliver(answers)

    def _drain_log(self) -> bool:
        """Hand messages on; True when more wait. A program's log must not lose a disk's answers, or leave a ring."""
        try:
            return _log.drain()
        except Exception as exc:  # noqa: BLE001  (see above)
            self.loop.call_exception_handler({"message": "asyncvddk: the log failed", "exception": exc})
            return False

    def _deliver(self, answers: Iterator[tuple[int, int]]) -> None:
        """Give each answer to who waits for it; an interrupt in the middle leaves the rest for the next turn.

        What is kept for a command is let go before its task goes on: the task may want to resize its buffer.
        """
        pop = self._pending.pop
        tag = result = 0
        reply: Reply | None = None
        flushes = self._flushes = []
        try:
            for tag, result in answers:
                reply = None
                if (pending := pop(tag, None)) is None:
                    self._tell(tag, result)
                    continue
                reply, pending = pending[0], None
                if result or _log.said or reply.done():
                    self._complete(tag, result, reply)
                else:
                    reply.answer(result)
        except BaseException:
            if reply is not None and not reply.done():
                self._pending[tag] = (reply, None, None)
                answers = itertools.chain([(tag, result)], answers)
            elif reply is not None:
                reply.wake_later()
            self.loop.call_soon(self._deliver, answers)
            raise
        finally:
            self._flushes = None
            self._flush_all(flushes)

    def _flush_all(self, flushes: list[Callable[[], None]]) -> None:
        try:
            while flushes:
                flushes.pop()()
        finally:
            if flushes:
                self.loop.call_soon(self._flush_all, flushes)

    def _tell(self, tag: int, percent: int) -> None:
        """Handle what is no answer: progress, and commands that were given up and have come back."""
        if not tag & _core.PROGRESS:
            self._came_back(tag)
            return
        if (tell := self._progress.get(tag ^ _core.PROGRESS)) is None:
            return
        try:
            tell(percent)  # now: the task may go on with the next answer, and all has been told then
        except Exception as exc:  # noqa: BLE001  (the program's callback must not lose a disk's answers)
            self.loop.call_exception_handler({"message": "asyncvddk: a progress callback failed", "exception": exc})

    def _complete(self, tag: int, result: int, reply: Reply) -> None:
        """Handle what is rare: failures with the library's warnings, answers that come too late."""
        try:
            answer = _answer(tag, result)
        except Exception as exc:  # noqa: BLE001  (a program's log must not lose an answer, or have it given for ever)
            self.loop.call_exception_handler({"message": "asyncvddk: the log failed", "exception": exc})
            answer = result
        if not reply.done():
            reply.answer(answer)
        elif reply.cancelled():
            self._late[tag] = answer


def _answer(tag: int, result: int) -> int:
    """Return the result with the warnings of the call, if it failed; else log them."""
    said = _log.taken(tag)
    if not said:
        return result
    if not result:
        _log.warn(said)
        return result
    answer = Answer(result)
    answer.said = tuple(said)
    return answer


def _in_child() -> None:
    """Let a forked child neither take its parent's completions nor wait for a lock that a lost thread holds."""
    for port in list(_ports.values()):
        port.native = 0


os.register_at_fork(after_in_child=_in_child)


@atexit.register
def _outlive_python() -> None:
    """Keep the buffers of calls under way: C may write into them while the interpreter takes itself down."""
    _memory.keep_for_ever(_orphans)
    for port in list(_ports.values()):
        _memory.keep_for_ever(port.in_flight())
