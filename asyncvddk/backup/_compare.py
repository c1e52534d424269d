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

from asyncvddk.backup._pieces import pieces_of, read
from asyncvddk.backup._pipeline import first_of
from asyncvddk.backup._plan import ChunkMask, runs
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
    size, lanes = pieces_of(one, other)
    wanted = ChunkMask(Grid(one.size, size))
    for disk in (one, other):
        async for block in disk.allocated_blocks():
            wanted.add(block)
    found: list[Block] = []
    async with aclosing(_differing(one, other, size, lanes, wanted.mask)) as pieces:
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


async def _differing(
    one: ReadableDisk, other: ReadableDisk, size: int, lanes: int, mask: Mask
) -> AsyncGenerator[tuple[Block, list[Block]]]:
    """Iterate over the marked pieces, ascending, each with the ranges of it in which two disks differ.

    Up to ``lanes`` are read before those in front of them are done.
    """
    free = [(_memory.new_pages(size), _memory.new_pages(size)) for _ in range(lanes)]
    under_way: deque[tuple[Block, _Buffers, asyncio.Task[list[Block]]]] = deque()
    numbers = (number for number, _ in runs(mask, most=1))
    try:
        while True:
            while free and (number := next(numbers, None)) is not None:
                piece = Block(number * size, min(size, one.size - number * size))
                buffers = free.pop()
                under_way.append((piece, buffers, asyncio.create_task(_compare(one, other, piece, buffers))))
            if not under_way:
                return
            piece, buffers, task = under_way[0]
            await asyncio.wait([task])
            yield piece, task.result()
            free.append(under_way.popleft()[1])
    finally:
        await _threads.stopped([task for _, _, task in under_way])


async def _compare(one: ReadableDisk, other: ReadableDisk, piece: Block, buffers: _Buffers) -> list[Block]:
    """Read a piece of both disks at once, and compare."""
    first, second = (buffer[: piece.length] for buffer in buffers)
    try:
        async with anyio.create_task_group() as reads:
            reads.start_soon(read, one, piece.offset, first)
            reads.start_soon(read, other, piece.offset, second)
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    return await _threads.run(partial(_differences, piece.offset, first, second))


def _differences(offset: int, one: memoryview, other: memoryview) -> list[Block]:
    """Return the ranges in which two buffers of one length differ."""
    a, b = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    if np.array_equal(a, b):
        return []
    sectors = np.logical_or.reduceat(a != b, range(0, len(a), SECTOR))
    return [
        Block(offset + first * SECTOR, min(count * SECTOR, len(a) - first * SECTOR)) for first, count in runs(sectors)
    ]
