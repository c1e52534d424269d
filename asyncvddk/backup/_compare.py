"""Two disks, byte by byte."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import anyio
import numpy as np

from asyncvddk.backup._pipeline import first_of
from asyncvddk.backup._plan import ChunkMask, runs
from asyncvddk.backup._workers import Workers
from asyncvddk.models import Block
from asyncvddk.native import _memory
from asyncvddk.repository import Grid, _threads

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from asyncvddk.backup._disk import ReadableDisk
    from asyncvddk.backup._plan import Mask

SECTOR = 512

_Buffers: TypeAlias = tuple[memoryview, memoryview]
"""For a piece of each disk."""


@dataclass(slots=True)
class CompareProgress:
    """Where a comparison stands. A callback gets the same object each time: take out what you keep."""

    size: int
    """Bytes of each disk."""
    bytes_done: int = 0
    """Bytes that need no more work; ``size`` at the end."""
    bytes_read: int = 0
    """Bytes read of each disk; the others are allocated in neither."""


async def compare(
    one: ReadableDisk,
    other: ReadableDisk,
    *,
    most: int | None = None,
    progress: Callable[[CompareProgress], object] | None = None,
) -> list[Block]:
    """Return the ranges in which two disks differ, ascending, in whole sectors of 512 bytes; empty if none.

    Reads what is allocated in one of them, each byte once. To prove a backup, give it a disk of a snapshot and the disk
    itself. ``most``: return when so many ranges are known; the last of them may go on behind its end. ``progress`` is
    called on the event loop, must not block. Memory: 16 MiB for each disk, as for ``restore``.

    Raises ValueError for disks of different sizes, and what reading raises. Cancelled, it waits for the reads under
    way.
    """
    if one.size != other.size:
        raise ValueError(f"the disks have {one.size} and {other.size} bytes: they are not the same disk")
    if most is not None and most < 1:
        raise ValueError(f"most={most}: expected 1 or more")
    state = CompareProgress(one.size)
    tell = progress or _tell_nobody
    workers, piece_size = Workers.reading(one, other)
    wanted = ChunkMask(Grid(one.size, piece_size))
    for disk in (one, other):
        async for block in disk.allocated_blocks():
            wanted.add(block)
    found: list[Block] = []
    with workers:
        async with aclosing(_Pieces(one, other, workers, piece_size).differing(wanted.mask)) as pieces:
            async for piece, differences in pieces:
                for block in differences:
                    if found and found[-1].end == block.offset:
                        block = Block(found[-1].offset, found.pop().length + block.length)  # noqa: PLW2901
                    found.append(block)
                if most is not None and len(found) >= most:
                    return found[:most]
                state.bytes_done = piece.end
                state.bytes_read += piece.length
                tell(state)
    state.bytes_done = state.size
    tell(state)
    return found


def _tell_nobody(_: CompareProgress) -> None:
    """Stand in for a callback."""


class _Pieces:
    """Two disks of one size, piece by piece; some pieces are read before those in front of them are done."""

    def __init__(self, one: ReadableDisk, other: ReadableDisk, workers: Workers, size: int) -> None:
        self._disks = one, other
        self._workers = workers
        self._size = size

    async def differing(self, mask: Mask) -> AsyncGenerator[tuple[Block, list[Block]]]:
        """Iterate over the marked pieces, ascending, each with the ranges of it that differ."""
        free = [(_memory.new_pages(self._size), _memory.new_pages(self._size)) for _ in range(self._workers.lanes)]
        under_way: deque[tuple[Block, _Buffers, asyncio.Task[list[Block]]]] = deque()
        try:
            for number, _ in runs(mask, most=1):
                if not free:
                    piece, buffers, task = under_way.popleft()
                    yield piece, await task
                    free.append(buffers)
                offset = number * self._size
                piece = Block(offset, min(self._size, self._disks[0].size - offset))
                buffers = free.pop()
                under_way.append((piece, buffers, asyncio.create_task(self._compare(piece, buffers))))
            while under_way:
                piece, _, task = under_way.popleft()
                yield piece, await task
        finally:
            await _threads.stopped([task for _, _, task in under_way])

    async def _compare(self, piece: Block, buffers: _Buffers) -> list[Block]:
        """Read a piece of both disks at once, and compare."""
        first, second = (buffer[: piece.length] for buffer in buffers)
        try:
            async with anyio.create_task_group() as reads:
                for disk, view in zip(self._disks, (first, second), strict=True):
                    reads.start_soon(self._workers.read, disk, piece.offset, view)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        return await self._workers.run(partial(_differences, piece.offset, first, second))


def _differences(offset: int, one: memoryview, other: memoryview) -> list[Block]:
    """Return the ranges in which two buffers of one length differ."""
    a, b = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    if np.array_equal(a, b):
        return []
    sectors = np.logical_or.reduceat(a != b, range(0, len(a), SECTOR))
    return [
        Block(offset + first * SECTOR, min(count * SECTOR, len(a) - first * SECTOR)) for first, count in runs(sectors)
    ]
