"""Closing and undoing: once, whoever asks; to its end, whoever cancels; hiding no earlier error."""

from __future__ import annotations

import asyncio
import functools
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from asyncvddk._worker import Hold, hold_cancellation

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


async def undo(close: Callable[[], Awaitable[object]], because: BaseException) -> None:
    """Undo a step because of an error that the caller raises next; a second error becomes a note of the first."""
    try:
        await close()
    except Exception as error:  # noqa: BLE001  (whatever it is, the first one counts)
        because.add_note("\n".join((f"undoing it failed too: {error}", *getattr(error, "__notes__", ()))))


class Steps(AsyncExitStack):
    """Steps of an end, the last one first: each is made whatever the others raise.

    The first error counts, be it the block's or a step's; those behind it become notes of it.
    """

    def step(self, close: Callable[..., Awaitable[object]], *args: Any, **options: Any) -> None:  # noqa: ANN401
        """Have ``close`` called with these arguments."""

        async def leave(_kind: object, exc: BaseException | None, _trace: object) -> None:
            if exc is None:
                await close(*args, **options)
            else:
                await undo(functools.partial(close, *args, **options), exc)

        self.push_async_exit(leave)


@asynccontextmanager
async def undone_on_error() -> AsyncIterator[Steps]:
    """Undo what the block has pushed, in reverse order, if it fails; else leave it to the caller."""
    steps = Steps()
    try:
        yield steps
    except BaseException as exc:
        await steps.__aexit__(type(exc), exc, exc.__traceback__)
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

        Runs to its end when cancelled, then goes on cancelling. Raises what ``close`` raises, to the first caller.
        """
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
