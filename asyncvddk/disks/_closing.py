"""Closing and undoing: once, whoever asks; to its end, whoever cancels; hiding no earlier error."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

from asyncvddk.threads import _fork
from asyncvddk.threads._worker import Hold, hold_cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


class Closable(Protocol):
    """What can be closed by awaiting ``aclose()``."""

    def aclose(self) -> Awaitable[None]:
        """Close; idempotent."""


class Abortable(Closable, Protocol):
    """What can be given up, too."""

    def abort(self, reason: str) -> None:
        """Give it up without waiting."""


T = TypeVar("T", bound=Closable)


async def undo(close: Callable[[], Awaitable[object]], because: BaseException) -> None:
    """Undo a step because of an error that the caller raises next; a second error becomes a note of the first."""
    try:
        await close()
    except Exception as error:  # noqa: BLE001  (whatever it is, the first one counts)
        _add_note(because, "undoing it failed too", error)


def _add_note(first: BaseException, what: str, later: BaseException) -> None:
    """Note a later error, and what it notes itself, with the first."""
    first.add_note(f"{what}: {str(later) or type(later).__name__}")
    for note in getattr(later, "__notes__", ()):
        first.add_note(note)


class Steps:
    """Steps of a close, made last first. All are made; the first error is raised, later ones become its notes."""

    def __init__(self) -> None:
        """Start with none."""
        self._steps: list[Callable[[], Awaitable[object] | None]] = []

    def push(self, step: Callable[[], Awaitable[object] | None]) -> None:
        """Have ``step`` made before those that were pushed earlier."""
        self._steps.append(step)

    async def enter(self, opening: Awaitable[T]) -> T:
        """Open; have it closed."""
        thing = await opening
        self.push(thing.aclose)
        return thing

    def move(self) -> Steps:
        """Return the steps, for another owner; none are left here."""
        moved = Steps()
        moved._steps, self._steps = self._steps, []
        return moved

    async def aclose(self) -> None:
        """Make all steps. An interrupt in the middle (KeyboardInterrupt) goes before errors."""
        first: BaseException | None = None
        while self._steps:
            try:
                result = self._steps.pop()()
                if result is not None:
                    await result
            except BaseException as error:  # noqa: BLE001  (raised below)
                first = _more_important(first, error)
        if first is not None:
            raise first


def _more_important(first: BaseException | None, later: BaseException) -> BaseException:
    if first is None:
        return later
    if isinstance(first, Exception) and not isinstance(later, Exception):
        first, later = later, first
    _add_note(first, "closing failed at another step, too", later)
    return first


@asynccontextmanager
async def undone_on_error() -> AsyncIterator[Steps]:
    """Undo what the block has pushed, in reverse order, if it fails; else leave it to the caller."""
    steps = Steps()
    try:
        yield steps
    except BaseException as exc:
        await undo(steps.aclose, exc)
        raise


class CloseOnce:
    """The close of one object. The first caller closes, others wait for it."""

    def __init__(self) -> None:
        """Start open."""
        self._done: asyncio.Future[None] | None = None

    @property
    def begun(self) -> bool:
        """True from the first call on."""
        return self._done is not None

    async def run(self, close: Callable[[Hold], Awaitable[None]]) -> None:
        """Run ``close``, which takes the list for its calls' cancellations, unless somebody has.

        Runs to its end when cancelled, then goes on cancelling. Raises what ``close`` raises, to the first caller. In a
        forked child nothing is done: all belongs to the parent.
        """
        if _fork.forked():
            return
        if self._done is not None:
            await asyncio.shield(self._done)
            return
        self._done = asyncio.get_running_loop().create_future()
        try:
            with hold_cancellation() as hold:
                await close(hold)
        finally:
            self._done.set_result(None)


class Busy:
    """Steps under way (``with busy:``) that a close must let end first: they make what it has to close."""

    def __init__(self) -> None:
        """Start with none."""
        self._count = 0
        self._waiting: asyncio.Future[None] | None = None

    def __enter__(self) -> None:
        """Begin a step."""
        self._count += 1

    def __exit__(self, *exc_info: object) -> None:
        """End it."""
        self._count -= 1
        if not self._count and self._waiting and not self._waiting.done():
            self._waiting.set_result(None)

    async def over(self, hold: Hold) -> None:
        """Wait until no step is under way; a cancellation is noted in ``hold``, and the wait goes on."""
        while self._count:
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                await self._waiting
            except asyncio.CancelledError as exc:
                hold.append(exc)
