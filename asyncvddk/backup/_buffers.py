"""Memory for data on their way: so much and not more, shared by all disks of all backups that share their limits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from asyncvddk.native import _memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Buffers:
    """Buffers that are used again. Who finds none free waits: so a slow store holds up the reading of disks."""

    def __init__(self, *, limit: int) -> None:
        """Lend at most ``limit`` bytes at once, but at least one buffer."""
        self._limit = limit
        self._used = 0
        self._free: dict[int, list[memoryview]] = {}
        self._first = anyio.Lock()
        """Held by the one that waits longest."""
        self._returned = anyio.Event()

    @asynccontextmanager
    async def lend(self, size: int) -> AsyncIterator[memoryview]:
        """Lend ``size`` bytes for the block; their content is undefined. Nobody may use them afterwards."""
        async with self._first:
            while self._used and self._used + size > self._limit:
                self._returned = anyio.Event()
                await self._returned.wait()
            self._used += size
        try:
            buffer = self._taken(size)
            try:
                yield buffer
            finally:
                self._free.setdefault(size, []).append(buffer)
        finally:
            self._used -= size
            self._returned.set()

    def _taken(self, size: int) -> memoryview:
        """Return a free buffer, or a new one; free ones of other sizes go if they would be too much."""
        if free := self._free.get(size):
            return free.pop()
        if self._used + sum(size * len(free) for size, free in self._free.items()) > self._limit:
            self._free.clear()
        return _memory.new_pages(size)
