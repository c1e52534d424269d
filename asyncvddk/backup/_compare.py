"""Two disks, byte by byte."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import numpy as np

from asyncvddk.backup._pipeline import PIECE_SIZE, first_of
from asyncvddk.backup._plan import ChunkMask, runs
from asyncvddk.models import Block
from asyncvddk.native import _memory
from asyncvddk.repository import Grid, _threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk.backup._disk import ReadableDisk

SECTOR = 512


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

    Reads what is allocated in one of them, each byte once, into two buffers of 4 MiB. To prove a backup, give it a disk
    of a snapshot and the disk itself. ``most``: return when so many ranges are known; the last of them may go on behind
    its end. ``progress`` is called on the event loop, must not block.

    Raises ValueError for disks of different sizes, and what reading raises. Cancelled, it waits for the reads under
    way.
    """
    if one.size != other.size:
        raise ValueError(f"the disks have {one.size} and {other.size} bytes: they are not the same disk")
    if most is not None and most < 1:
        raise ValueError(f"most={most}: expected 1 or more")
    state = CompareProgress(one.size)
    tell = progress or _tell_nobody
    pieces = ChunkMask(Grid(one.size, PIECE_SIZE))
    for disk in (one, other):
        async for block in disk.allocated_blocks():
            pieces.add(block)
    buffers = _memory.new_pages(PIECE_SIZE), _memory.new_pages(PIECE_SIZE)
    found: list[Block] = []
    for piece, _ in runs(pieces.mask, most=1):
        offset = piece * PIECE_SIZE
        first, second = (buffer[: min(PIECE_SIZE, one.size - offset)] for buffer in buffers)
        await _read_both((one, first), (other, second), offset)
        for block in await _threads.run(partial(_differences, offset, first, second)):
            if found and found[-1].end == block.offset:
                block = Block(found[-1].offset, found.pop().length + block.length)  # noqa: PLW2901
            found.append(block)
        if most is not None and len(found) >= most:
            return found[:most]
        state.bytes_done = offset + len(first)
        state.bytes_read += len(first)
        tell(state)
    state.bytes_done = state.size
    tell(state)
    return found


def _tell_nobody(_: CompareProgress) -> None:
    """Stand in for a callback."""


async def _read_both(one: tuple[ReadableDisk, memoryview], other: tuple[ReadableDisk, memoryview], offset: int) -> None:
    """Read the same place of two disks at once, each into its buffer."""
    try:
        async with anyio.create_task_group() as reads:
            for disk, buffer in (one, other):
                reads.start_soon(disk.readinto_at, offset, buffer)
    except BaseExceptionGroup as group:
        raise first_of(group) from None


def _differences(offset: int, one: memoryview, other: memoryview) -> list[Block]:
    """Return the ranges in which two buffers of one length differ."""
    a, b = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    if np.array_equal(a, b):
        return []
    sectors = np.logical_or.reduceat(a != b, range(0, len(a), SECTOR))
    return [
        Block(offset + first * SECTOR, min(count * SECTOR, len(a) - first * SECTOR)) for first, count in runs(sectors)
    ]
