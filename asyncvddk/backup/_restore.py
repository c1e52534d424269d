"""The way back: a disk of a snapshot, or a part of it, to a target."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio

from asyncvddk.backup._pipeline import first_of
from asyncvddk.backup._targets import WholeTarget
from asyncvddk.backup._workers import Workers
from asyncvddk.copy import RawTarget
from asyncvddk.models import Block
from asyncvddk.native import _memory
from asyncvddk.repository import SnapshotDisk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from asyncvddk.backup._disk import ReadableDisk
    from asyncvddk.copy import Target


@dataclass(slots=True)
class RestoreProgress:
    """Where a restore stands. A callback gets the same object each time: take out what you keep."""

    size: int
    """Bytes of the range."""
    bytes_done: int = 0
    """Bytes that need no more work; ``size`` at the end."""
    bytes_written: int = 0


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a finished restore did."""

    size: int
    """Bytes of the range."""
    bytes_read: int
    """Bytes taken from the repository; the others are zero."""
    bytes_written: int
    seconds: float


async def restore(
    disk: ReadableDisk,
    target: Target | WholeTarget,
    *,
    start: int = 0,
    length: int | None = None,
    progress: Callable[[RestoreProgress], object] | None = None,
) -> RestoreResult:
    """Write ``length`` bytes (default: to the end) from byte ``start`` of ``disk`` to the same place of ``target``.

    ``disk`` is mostly a ``SnapshotDisk``: every byte comes from a chunk whose content has the id that the index names,
    and the index has the id of the snapshot's root, so what ends well is the whole disk of that moment, bit for bit. A
    new target (``RawTarget``, ``VmdkTarget``) gets no zeros; others (``DiskTarget``, ``StreamTarget``) get all.

    Memory: 16 MiB, and the cache of ``disk``; with large chunks that of four of them, or 16 if they come through a
    network. ``progress`` is called on the event loop, must not block.

    Raises ValueError (the range leaves the disk, or does not fit on the target) before anything is written,
    DamagedError and ObjectMissingError with the range that is lost, and what the target raises. Cancelled, or after an
    error, reads and writes under way are waited for; the target is incomplete.
    """
    length = disk.size - start if length is None else length
    if start < 0 or length < 0 or start + length > disk.size:
        raise ValueError(f"start={start}, length={length}: outside a disk of {disk.size} bytes")
    if isinstance(target, WholeTarget):
        target.check(start, length)
    began = time.perf_counter()
    run = _Restore(disk, target, Block(start, length), progress)
    try:
        with run.workers as workers:
            async with anyio.create_task_group() as lanes:
                for _ in range(workers.lanes):
                    lanes.start_soon(run.lane)
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    state = run.state
    return RestoreResult(state.size, run.read, state.bytes_written, time.perf_counter() - began)


class _Restore:
    """State shared by the lanes of one restore; only the loop's thread touches it."""

    def __init__(
        self,
        disk: ReadableDisk,
        target: Target | WholeTarget,
        span: Block,
        progress: Callable[[RestoreProgress], object] | None,
    ) -> None:
        self.state = RestoreProgress(span.length)
        self.read = 0
        self.workers, self._piece_size = Workers.reading(disk)
        self._disk = disk
        self._target = target
        self._progress = progress
        self._pieces = pieces(disk, span, self._piece_size, holes=isinstance(target, WholeTarget))
        self._turn = anyio.Lock()
        self._ordered = isinstance(target, WholeTarget) and target.ordered
        self._last = anyio.Event()
        """Set when the piece taken last may be followed by the next, if they have an order."""
        self._last.set()
        self._start = span.offset

    async def lane(self) -> None:
        """Take the next piece until none is left."""
        buffer = _memory.new_pages(self._piece_size)
        while True:
            async with self._turn:
                piece = await anext(self._pieces, None)
                before, self._last = self._last, anyio.Event()
                written_here = self._last
            if piece is None:
                break
            written = await self._move(piece, buffer[: piece.length], before)
            written_here.set()
            self.read += piece.length
            self.state.bytes_written += written
            self.state.bytes_done = max(self.state.bytes_done, piece.end - self._start)
            self._tell()
        self.state.bytes_done = self.state.size
        self._tell()

    async def _move(self, piece: Block, data: memoryview, before: anyio.Event) -> int:
        """Read and write a piece; return how many bytes were written."""
        if isinstance(self._disk, SnapshotDisk) and isinstance(self._target, RawTarget):
            return await self.workers.run(partial(self._copy, self._disk, self._target, piece))
        await self.workers.read(self._disk, piece.offset, data)
        if self._ordered:
            await before.wait()
        return await self._target.write(piece.offset, data)

    def _copy(self, disk: SnapshotDisk, target: RawTarget, piece: Block) -> int:
        """Copy a piece, a chunk at a time: it does not leave the processor's cache in between."""
        size = disk.grid.chunk_size
        memory = self.workers.scratch(size)
        written = 0
        for part in _cut(piece, size):
            data = memory[: part.length]
            disk.fill(part.offset, data)
            written += target.put(part.offset, data)
        return written

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.state)


async def pieces(disk: ReadableDisk, span: Block, size: int, *, holes: bool) -> AsyncIterator[Block]:
    """Iterate over a range of a disk in pieces of ``size``, ascending; without ``holes`` over what is allocated.

    Pieces end where multiples of their size do, so that no chunk is read twice.
    """
    if holes:
        for piece in _cut(span, size):
            yield piece
        return
    async for block in disk.allocated_blocks(span.offset, span.length):
        for piece in _cut(block, size):
            yield piece


def _cut(block: Block, size: int) -> Iterator[Block]:
    """Cut a block where multiples of ``size`` are."""
    cuts = [block.offset, *range(block.offset - block.offset % size + size, block.end, size), block.end]
    return (Block(first, end - first) for first, end in pairwise(cuts) if end > first)
