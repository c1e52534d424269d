"""The way back: a disk of a snapshot, or a part of it, to a target."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from asyncvddk.backup._pieces import cut, cut_up, pieces_of, read
from asyncvddk.backup._pipeline import first_of
from asyncvddk.backup._targets import WholeTarget
from asyncvddk.copy import RawTarget
from asyncvddk.copy._order import Order
from asyncvddk.models import Block
from asyncvddk.native import _memory
from asyncvddk.repository import SnapshotDisk, _threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk.backup._disk import ReadableDisk
    from asyncvddk.copy import Target


@dataclass(slots=True)
class RestoreProgress:
    """Where a restore stands. A callback gets the same object each time: take out what you keep."""

    size: int
    """Bytes of the range."""
    bytes_done: int = 0
    """Bytes at the beginning of the range that need no more work; ``size`` at the end."""
    bytes_read: int = 0
    """Bytes taken from the repository; the others are zero."""
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

    Memory: 16 MiB; with chunks of more than 4 MiB that of four of them, of more than 1 MiB that come through a network
    16 of them; for a ``RawTarget`` a chunk for each thread of the repository. ``progress`` is called on the event loop,
    must not block.

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
        await run.all()
    except BaseExceptionGroup as group:
        raise first_of(group) from None
    state = run.state
    return RestoreResult(state.size, state.bytes_read, state.bytes_written, time.perf_counter() - began)


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
        self.pieces = pieces_of(disk)
        self._disk = disk
        self._target = target
        self._progress = progress
        self._blocks = cut_up(disk, span, self.pieces.size, holes=isinstance(target, WholeTarget))
        self._turn = anyio.Lock()
        self._order = Order(target)
        self._start = self._end = span.offset
        self._under_way: set[int] = set()

    async def all(self) -> None:
        """Move all pieces, several at once."""
        lanes, lane = self.pieces.lanes, self._lane
        if isinstance(self._disk, SnapshotDisk) and isinstance(self._target, RawTarget):
            scratch = _threads.Scratch(self._disk.grid.chunk_size)
            lanes, lane = self._disk.threads + 1, partial(self._thread_lane, self._disk, self._target, scratch)
        async with anyio.create_task_group() as tasks:
            for _ in range(lanes):
                tasks.start_soon(lane)
        self.state.bytes_done = self.state.size
        self._tell()

    async def _lane(self) -> None:
        """Take the next piece until none is left: read it to memory of this lane, write it."""
        memory = _memory.new_pages(self.pieces.size)
        while True:
            async with self._turn:
                piece = await self._next()
                turn = self._order.turn()
            if piece is None:
                break
            data = memory[: piece.length]
            await read(self._disk, piece.offset, data)
            async with turn:
                written = await self._target.write(piece.offset, data)
            self._done(piece, written)

    async def _thread_lane(self, disk: SnapshotDisk, target: RawTarget, scratch: _threads.Scratch) -> None:
        """Take the next piece until none is left: have a thread read and write it."""
        while True:
            async with self._turn:
                piece = await self._next()
            if piece is None:
                break
            self._done(piece, await disk.in_thread(partial(_copy, disk, target, scratch, piece)))

    async def _next(self) -> Block | None:
        """Return the next piece, which is under way from now on."""
        piece = await anext(self._blocks, None)
        if piece is not None:
            self._under_way.add(piece.offset)
            self._end = piece.end
        return piece

    def _done(self, piece: Block, written: int) -> None:
        """Count a piece; all that lies in front of the first one under way is done."""
        self._under_way.remove(piece.offset)
        self.state.bytes_read += piece.length
        self.state.bytes_written += written
        self.state.bytes_done = min(self._under_way, default=self._end) - self._start
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.state)


def _copy(disk: SnapshotDisk, target: RawTarget, scratch: _threads.Scratch, piece: Block) -> int:
    """Copy a piece, a chunk at a time: it does not leave the processor's cache in between."""
    written = 0
    for part in cut(piece, disk.grid.chunk_size):
        data = scratch.memory[: part.length]
        disk.fill(part.offset, data)
        written += target.put(part.offset, data)
    return written
