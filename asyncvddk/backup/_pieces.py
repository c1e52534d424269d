"""Pieces: what is moved at a time, and how many of one disk at once."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from asyncvddk.models import Block
from asyncvddk.repository import SnapshotDisk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from asyncvddk.backup._disk import ReadableDisk


class Pieces(NamedTuple):
    """How a disk is moved."""

    size: int
    """Bytes of a piece: whole chunks, side by side."""
    lanes: int
    """Pieces under way at once, each with memory of its size."""


_LOCAL: Final = Pieces(4 << 20, 4)
_NETWORK: Final = Pieces(1 << 20, 16)


def pieces_for(chunk_size: int, *, local: bool) -> Pieces:
    """Return how chunks go to or come from a repository: large pieces; many, where each answer takes its time."""
    size, lanes = _LOCAL if local else _NETWORK
    return Pieces(max(1, size // chunk_size) * chunk_size, lanes)


def pieces_of(*disks: ReadableDisk) -> Pieces:
    """Return how disks are read: those of snapshots in whole chunks of all."""
    stored = [disk for disk in disks if isinstance(disk, SnapshotDisk)]
    chunk_size = max((disk.grid.chunk_size for disk in stored), default=1)
    return pieces_for(chunk_size, local=all(disk.local for disk in stored))


async def read(disk: ReadableDisk, offset: int, view: memoryview) -> None:
    """Fill ``view`` from byte ``offset`` on: of a snapshot's disk by one thread, without its cache.

    Raises, and is cancelled, as ``readinto_at``.
    """
    if isinstance(disk, SnapshotDisk):
        await disk.in_thread(partial(disk.fill, offset, view))
    else:
        await disk.readinto_at(offset, view)


async def cut_up(disk: ReadableDisk, span: Block, size: int, *, holes: bool) -> AsyncIterator[Block]:
    """Iterate over a range of a disk in pieces of ``size``, ascending; without ``holes`` over what is allocated.

    Pieces end where multiples of their size do, so that no chunk is read twice.
    """
    if holes:
        for piece in cut(span, size):
            yield piece
        return
    async for block in disk.allocated_blocks(span.offset, span.length):
        for piece in cut(block, size):
            yield piece


def cut(block: Block, size: int) -> Iterator[Block]:
    """Cut a block where multiples of ``size`` are."""
    cuts = [block.offset, *range(block.offset - block.offset % size + size, block.end, size), block.end]
    return (Block(first, end - first) for first, end in pairwise(cuts) if end > first)
