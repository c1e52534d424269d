"""One disk: its chunks are read, and stored by the worker threads.

A piece is some chunks side by side: one read by the disk's connection and one hop to a worker for all of them, so that
the event loop has little to do. Each piece has a buffer of the shared memory from its read until all its chunks are
stored. A raw image has no connection: the worker that stores a chunk reads it, too, just before, so that it never
leaves the processor's cache; that is worth a tenth of the time.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial
from itertools import islice, tee, zip_longest
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio

from asyncvddk.backup._image import RawImage
from asyncvddk.backup._pieces import pieces_for
from asyncvddk.backup._plan import runs
from asyncvddk.repository import RepositoryError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from asyncvddk.backup._buffers import Buffers
    from asyncvddk.backup._disk import ReadableDisk
    from asyncvddk.backup._plan import Mask
    from asyncvddk.backup._workers import Workers
    from asyncvddk.repository import DiskWriter, Grid

_AHEAD: Final = 4
"""Pieces of an image behind those in work that the system is asked to fetch, so that workers do not wait for it."""

Piece: TypeAlias = tuple[int, int]
"""The first chunk, and how many there are."""


class StoringError(Exception):
    """Wraps what a store raised, which is not the disk's fault: it ends the backup of all disks."""

    def __init__(self, error: RepositoryError) -> None:
        """Take what was raised."""
        super().__init__(str(error))
        self.error = error


def _put(writer: DiskWriter, first: int, count: int, data: memoryview) -> None:
    """Store some chunks that ``data`` holds."""
    size = writer.chunk_size
    with storing():
        for number in range(first, first + count):
            place = (number - first) * size
            writer.put(number, data[place : place + writer.grid.length(number)])


def _read_and_put(image: RawImage, writer: DiskWriter, workers: Workers, piece: Piece, later: Piece | None) -> None:
    """Read and store the chunks of ``piece``; ``later`` is one that is read some time after it."""
    size = writer.chunk_size
    if later is not None:
        image.will_read(later[0] * size, later[1] * size)
    memory = workers.scratch(size)
    for number in range(piece[0], sum(piece)):
        data = memory[: writer.grid.length(number)]
        image.fill(number * size, data)
        with storing():
            writer.put(number, data)


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
    size, count = pieces_for(writer.chunk_size, local=workers.local)
    pieces = runs(mask, most=size // writer.chunk_size)
    try:
        async with anyio.create_task_group() as lanes:
            if isinstance(disk, RawImage) and workers.local:
                now, later = tee(pieces)
                ahead = zip_longest(now, islice(later, workers.count + _AHEAD, None))
                for _ in range(workers.count + 1):
                    lanes.start_soon(_image_lane, disk, writer, ahead, workers, told)
            else:
                for _ in range(count):
                    lanes.start_soon(_lane, disk, writer, pieces, partial(buffers.lend, size), workers, told)
    except BaseExceptionGroup as group:
        raise first_of(group) from None


async def _lane(  # noqa: PLR0913, PLR0917  (those of read_chunks)
    disk: ReadableDisk,
    writer: DiskWriter,
    pieces: Iterator[Piece],
    lend: Callable[[], AbstractAsyncContextManager[memoryview]],
    workers: Workers,
    told: Callable[[int], None],
) -> None:
    """Take the next piece until none is left."""
    grid = writer.grid
    while True:
        async with lend() as buffer:
            piece = next(pieces, None)
            if piece is None:
                return
            data = buffer[: _bytes_of(grid, piece)]
            await disk.readinto_at(piece[0] * grid.chunk_size, data)
            await workers.run(partial(_put, writer, *piece, data))
            told(len(data))


async def _image_lane(
    image: RawImage,
    writer: DiskWriter,
    pieces: Iterator[tuple[Piece, Piece | None]],
    workers: Workers,
    told: Callable[[int], None],
) -> None:
    """Have the workers take the next piece until none is left."""
    for piece, later in pieces:
        await workers.run(partial(_read_and_put, image, writer, workers, piece, later))
        told(_bytes_of(writer.grid, piece))


def _bytes_of(grid: Grid, piece: Piece) -> int:
    """Return the bytes that a piece has."""
    first, count = piece
    return min(count * grid.chunk_size, grid.capacity - first * grid.chunk_size)


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
