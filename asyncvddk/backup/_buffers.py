"""Memory for data on their way: so much and not more, shared by all disks of a backup."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from asyncvddk.native import _memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Buffers:
    """Buffers of one size. Who finds none free waits: so a slow store holds up the reading of disks."""

    def __init__(self, *, size: int, limit: int) -> None:
        """Lend buffers of ``size`` bytes, together at most ``limit`` bytes, but at least one."""
        self._size = size
        self._free: list[memoryview] = []
        self._slots = anyio.Semaphore(max(1, limit // size))

    @asynccontextmanager
    async def lend(self) -> AsyncIterator[memoryview]:
        """Lend a buffer for the block; its content is undefined. Nobody may use it afterwards."""
        async with self._slots:
            buffer = self._free.pop() if self._free else _memory.new_pages(self._size)
            try:
                yield buffer
            finally:
                self._free.append(buffer)
