"""Writes in the order of their places, for targets that are written from front to back."""

from __future__ import annotations

from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager


class Order:
    """Lanes take a turn with each piece; in the block of a turn they are alone, one behind the other.

    Only for a target whose attribute ``ordered`` is true; with others nobody waits.
    """

    def __init__(self, target: object) -> None:
        """Begin with the first turn."""
        self._needed = bool(getattr(target, "ordered", False))
        self._last = anyio.Event()
        self._last.set()

    def turn(self) -> AbstractAsyncContextManager[None]:
        """Take the next turn; whoever takes one enters it, or fails and takes all the others along."""
        if not self._needed:
            return nullcontext()
        before, self._last = self._last, anyio.Event()
        return _entered(before, self._last)


@asynccontextmanager
async def _entered(before: anyio.Event, own: anyio.Event) -> AsyncIterator[None]:
    """Wait until the turn before has ended; end this one after the block."""
    await before.wait()
    yield
    own.set()
