"""Exclusion of overlapping byte ranges: what makes an unaligned write exact beside every other write."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import NamedTuple


class Range(NamedTuple):
    """Held ``[start, end)``."""

    start: int
    end: int


class RangeLocks:
    """Ranges that are held by one task each; overlapping ones wait for each other in the order of their asking."""

    def __init__(self) -> None:
        """Start with nothing held."""
        self._held: list[Range] = []
        self._waiting: deque[tuple[Range, asyncio.Future[None]]] = deque()

    async def acquire(self, start: int, end: int) -> Range:
        """Wait until nobody who came before holds a part of ``[start, end)``; hold it.

        Cancelled while waiting: nothing is held.
        """
        wanted = Range(start, end)
        if self._free(wanted, len(self._waiting)):
            self._held.append(wanted)
            return wanted
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((wanted, future))
        try:
            await future
        except BaseException:
            self._give_up(wanted, future)
            raise
        return wanted

    def release(self, held: Range) -> None:
        """Give a range back and wake whom it kept waiting."""
        self._held.remove(held)
        self._wake()

    def _free(self, wanted: Range, before: int) -> bool:
        """Tell whether ``wanted`` meets no held range and none of the first ``before`` waiting ones."""
        start, end = wanted
        if any(held.start < end and start < held.end for held in self._held):
            return False
        return not any(
            other.start < end and start < other.end
            for index, (other, future) in enumerate(self._waiting)
            if index < before and not future.done()
        )

    def _wake(self) -> None:
        still: deque[tuple[Range, asyncio.Future[None]]] = deque()
        for index, (wanted, future) in enumerate(self._waiting):
            if future.done():
                continue
            if self._free(wanted, index):
                self._held.append(wanted)
                future.set_result(None)
            else:
                still.append((wanted, future))
        self._waiting = still

    def _give_up(self, wanted: Range, future: asyncio.Future[None]) -> None:
        if future.done() and not future.cancelled():
            self.release(wanted)  # it was granted in the same turn
        else:
            future.cancel()
            self._wake()  # those behind may go on
