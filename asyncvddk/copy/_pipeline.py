"""One disk: allocated chunks are read, and written to a target, by a few lanes at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from asyncvddk.copy._order import Order
from asyncvddk.copy._plan import ReadPlan
from asyncvddk.native import _memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncvddk.copy._targets import Target
    from asyncvddk.disks._disk import AsyncDisk
    from asyncvddk.models import Block

CHUNK_SIZE = 2 << 20
"""Bytes of one read, by measurement (tests/benchmarks/copy_against_qemu.py)."""
IN_FLIGHT = 4
"""Chunks of one disk in flight at once, by measurement."""


@dataclass(slots=True)
class CopyProgress:
    """Where a running copy stands. A callback gets the same object each time: take out what you keep."""

    size: int
    """Bytes of the disk."""
    bytes_read: int = 0
    bytes_written: int = 0
    """Of those read, the bytes that went to the target; the others are zero."""
    bytes_skipped: int = 0
    """Never written in the source, so not read."""

    @property
    def bytes_done(self) -> int:
        """Bytes of the disk that need no more work; ``size`` at the end."""
        return self.bytes_read + self.bytes_skipped


@dataclass(frozen=True, slots=True)
class CopyResult:
    """What a finished copy did; ``bytes_read + bytes_skipped == size``."""

    size: int
    bytes_read: int
    bytes_written: int
    bytes_skipped: int
    seconds: float


async def copy_disk(
    disk: AsyncDisk,
    target: Target,
    *,
    progress: Callable[[CopyProgress], object] | None = None,
    chunk_size: int = CHUNK_SIZE,
    in_flight: int = IN_FLIGHT,
) -> CopyResult:
    """Copy what is allocated of ``disk`` to ``target``, which reads as zeros where nothing is written.

    ``in_flight`` chunks of ``chunk_size`` bytes (a multiple of 4096) are read or written at any time, each in
    a buffer of its own, so memory is their product whatever the disk's size. ``progress`` is called on the
    event loop after each chunk and must not block. Raises what the source or the target raises first; the
    target is then incomplete. Cancellation: reads and writes that run are waited for.
    """
    if in_flight < 1:
        raise ValueError(f"in_flight={in_flight}: at least one chunk has to be in flight")
    started = time.perf_counter()
    copy = _Copy(disk, target, progress, chunk_size)
    try:
        async with anyio.create_task_group() as lanes:
            for _ in range(in_flight):
                lanes.start_soon(copy.lane)
    except BaseExceptionGroup as group:
        raise _first(group) from None
    state = copy.state
    elapsed = time.perf_counter() - started
    return CopyResult(state.size, state.bytes_read, state.bytes_written, state.bytes_skipped, elapsed)


class _Copy:
    """State shared by the lanes of one copy; only the loop's thread touches it."""

    def __init__(
        self,
        disk: AsyncDisk,
        target: Target,
        progress: Callable[[CopyProgress], object] | None,
        chunk_size: int,
    ) -> None:
        self.state = CopyProgress(disk.size)
        self._disk = disk
        self._target = target
        self._progress = progress
        self._plan = ReadPlan(disk.size, chunk_size=chunk_size)
        self._blocks = disk.allocated_blocks()
        self._reads: Iterator[Block] = iter(())
        self._turn = anyio.Lock()
        self._order = Order(target)

    async def lane(self) -> None:
        """Take the next read until none is left."""
        buffer = _memory.new_pages(min(self._plan.chunk_size, self._disk.size))
        while (read := await self._next_read()) is not None:
            turn = self._order.turn()
            chunk = buffer[: read.length]
            await self._disk.readinto_at(read.offset, chunk)
            async with turn:
                written = await self._target.write(read.offset, chunk)
            self.state.bytes_read += read.length
            self.state.bytes_written += written
            if self._progress is not None:
                self._progress(self.state)

    async def _next_read(self) -> Block | None:
        """Return the next piece to read; the lanes ask one after the other."""
        if (read := next(self._reads, None)) is not None:
            return read
        async with self._turn:
            while (read := next(self._reads, None)) is None:
                block = await anext(self._blocks, None)
                if block is None:
                    self._plan.finish()
                else:
                    self._reads = self._plan.feed(block)
                self.state.bytes_skipped = self._plan.skipped
                if block is None:
                    return None
            return read


def _first(group: BaseExceptionGroup) -> BaseException:
    """Return the first error of a group: the others follow from the same cause."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
