"""Closing: once, whoever asks; to its end, whoever cancels."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from asyncvddk._worker import Hold, hold_cancellation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


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
