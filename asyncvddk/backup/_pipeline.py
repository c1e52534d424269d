"""One disk: chunks are read by its connection's thread, and stored by one worker thread for each processor.

A piece is some chunks side by side: one read and one hop to a worker for all of them, so that the event loop has little
to do. Each piece has a buffer of the shared memory from its read until all its chunks are stored.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from asyncvddk.backup._plan import runs
from asyncvddk.repository import RepositoryError, _threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncvddk.backup._buffers import Buffers
    from asyncvddk.backup._disk import ReadableDisk
    from asyncvddk.backup._plan import Mask
    from asyncvddk.repository import DiskWriter

PIECE_SIZE: Final = 4 << 20
"""Bytes of a read, unless a chunk is larger."""
LANES: Final = 4
"""Pieces of one disk under way at once."""
NETWORK_PUTS: Final = 32
"""Requests to a store that is not a local folder at once, as ``Repository.open`` has threads for them."""


class StoringError(Exception):
    """Wraps what a store raised, which is not the disk's fault: it ends the backup of all disks."""

    def __init__(self, error: RepositoryError) -> None:
        """Take what was raised."""
        super().__init__(str(error))
        self.error = error


class Workers:
    """The threads that store chunks, shared by all disks of a backup."""

    def __init__(self, *, local: bool) -> None:
        """One for each processor; with a store behind a network one for each request under way."""
        self._limiter = anyio.CapacityLimiter(len(os.sched_getaffinity(0)) if local else NETWORK_PUTS)

    async def put(self, writer: DiskWriter, first: int, count: int, data: memoryview) -> None:
        """Store ``count`` chunks from ``first`` on, which ``data`` holds. Raises StoringError."""
        await _threads.run(partial(_put, writer, first, count, data), limiter=self._limiter)

    async def is_same(self, writer: DiskWriter, number: int, data: memoryview) -> bool:
        """Tell whether a chunk is what the index says."""
        return await _threads.run(partial(writer.is_same, number, data), limiter=self._limiter)


def _put(writer: DiskWriter, first: int, count: int, data: memoryview) -> None:
    size = writer.chunk_size
    with storing():
        for number in range(first, first + count):
            place = (number - first) * size
            writer.put(number, data[place : place + writer.grid.length(number)])


@contextmanager
def storing() -> Iterator[None]:
    """Wrap what the store raises in the block, so that it is not taken for an error of the disk."""
    try:
        yield
    except RepositoryError as error:
        raise StoringError(error) from error


async def read_chunks(  # noqa: PLR0913  (each is a thing of its own)
    disk: ReadableDisk,
    writer: DiskWriter,
    mask: Mask,
    *,
    buffers: Buffers,
    workers: Workers,
    told: Callable[[int], None],
) -> None:
    """Read the marked chunks of ``disk`` and give them to ``writer``; ``told`` gets the bytes of each piece done.

    Raises what the disk raises, and StoringError. Cancelled, or after an error, what is under way is waited for.
    """
    pieces = runs(mask, most=piece_chunks(writer.chunk_size))
    try:
        async with anyio.create_task_group() as lanes:
            for _ in range(LANES):
                lanes.start_soon(_lane, disk, writer, pieces, buffers, workers, told)
    except BaseExceptionGroup as group:
        raise first_of(group) from None


async def _lane(  # noqa: PLR0913, PLR0917  (those of read_chunks)
    disk: ReadableDisk,
    writer: DiskWriter,
    pieces: Iterator[tuple[int, int]],
    buffers: Buffers,
    workers: Workers,
    told: Callable[[int], None],
) -> None:
    """Take the next piece until none is left."""
    grid = writer.grid
    while True:
        async with buffers.lend(max(PIECE_SIZE, grid.chunk_size)) as buffer:
            piece = next(pieces, None)
            if piece is None:
                return
            first, count = piece
            offset = first * grid.chunk_size
            data = buffer[: min(count * grid.chunk_size, grid.capacity - offset)]
            await disk.readinto_at(offset, data)
            await workers.put(writer, first, count, data)
            told(len(data))


def first_of(group: BaseExceptionGroup) -> BaseException:
    """Return the first error of a group, the store's before a disk's: the others follow from it."""
    flat: list[BaseException] = []
    rest: list[BaseException] = [group]
    while rest:
        error = rest.pop(0)
        if isinstance(error, BaseExceptionGroup):
            rest[:0] = error.exceptions
        else:
            flat.append(error)
    return next((error for error in flat if isinstance(error, StoringError)), flat[0])


def piece_chunks(chunk_size: int) -> int:
    """Return how many chunks of ``chunk_size`` bytes a piece has."""
    return max(1, PIECE_SIZE // chunk_size)
