"""Two disks, byte by byte."""

from __future__ import annotations

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
    from asyncvddk.backup._disk import ReadableDisk

SECTOR = 512


async def compare(one: ReadableDisk, other: ReadableDisk) -> list[Block]:
    """Return the ranges in which two disks differ, ascending, in whole sectors of 512 bytes; empty if none.

    Reads what is allocated in one of them, each byte once, into two buffers of 4 MiB. To prove a backup, give it a disk
    of a snapshot and the disk itself. Raises ValueError for disks of different sizes, and what reading raises.
    Cancelled, it waits for the reads under way.
    """
    if one.size != other.size:
        raise ValueError(f"the disks have {one.size} and {other.size} bytes: they are not the same disk")
    pieces = ChunkMask(Grid(one.size, PIECE_SIZE))
    for disk in (one, other):
        async for block in disk.allocated_blocks():
            pieces.add(block)
    buffers = _memory.new_pages(PIECE_SIZE), _memory.new_pages(PIECE_SIZE)
    found: list[Block] = []
    for piece, _ in runs(pieces.mask, most=1):
        offset = piece * PIECE_SIZE
        first, second = (buffer[: min(PIECE_SIZE, one.size - offset)] for buffer in buffers)
        try:
            async with anyio.create_task_group() as reads:
                reads.start_soon(one.readinto_at, offset, first)
                reads.start_soon(other.readinto_at, offset, second)
        except BaseExceptionGroup as group:
            raise first_of(group) from None
        for block in await _threads.run(partial(_differences, offset, first, second)):
            if found and found[-1].end == block.offset:
                block = Block(found[-1].offset, found.pop().length + block.length)  # noqa: PLW2901
            found.append(block)
    return found


def _differences(offset: int, one: memoryview, other: memoryview) -> list[Block]:
    """Return the ranges in which two buffers of one length differ."""
    a, b = np.frombuffer(one, np.uint8), np.frombuffer(other, np.uint8)
    if np.array_equal(a, b):
        return []
    sectors = np.logical_or.reduceat(a != b, range(0, len(a), SECTOR))
    return [
        Block(offset + first * SECTOR, min(count * SECTOR, len(a) - first * SECTOR)) for first, count in runs(sectors)
    ]
