"""A disk and a target in memory, that count and fail as they are told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from asyncvddk.models import Block

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from asyncvddk import AsyncDisk


class MemoryDisk:
    """What ``copy_disk`` needs of a disk, over ``content``; only ``blocks`` may be read."""

    def __init__(self, content: bytes, blocks: Sequence[Block], *, fail_at: int | None = None) -> None:
        """Read ``content``; fail where ``fail_at`` is read."""
        self.size = len(content)
        self.reads: list[Block] = []
        self.in_flight = self.most_in_flight = 0
        self.gate: asyncio.Barrier | None = None
        self.four_in_flight = asyncio.Event()
        self._content = content
        self._blocks = blocks
        self._fail_at = fail_at

    @property
    def as_disk(self) -> AsyncDisk:
        """Itself, for the type checker."""
        return cast("AsyncDisk", self)

    async def allocated_blocks(self) -> AsyncIterator[Block]:
        """Yield the blocks, other tasks in between."""
        for block in self._blocks:
            await asyncio.sleep(0)
            yield block

    async def readinto_at(self, offset: int, buffer: memoryview) -> int:
        """Read, or fail, or wait at the gate."""
        self.reads.append(Block(offset, len(buffer)))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.in_flight == 4:
            self.four_in_flight.set()
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
            if self._fail_at is not None and offset <= self._fail_at < offset + len(buffer):
                raise OSError(5, "medium error", "disk")
            buffer[:] = self._content[offset : offset + len(buffer)]
        finally:
            self.in_flight -= 1
        return len(buffer)


class MemoryTarget:
    """A target that skips zeros as the real ones do."""

    def __init__(self, size: int) -> None:
        """Begin with zeros."""
        self.content = bytearray(size)

    async def write(self, offset: int, data: memoryview) -> int:
        """Take what is not all zero."""
        await asyncio.sleep(0)
        if not any(data):
            return 0
        self.content[offset : offset + len(data)] = data
        return len(data)
