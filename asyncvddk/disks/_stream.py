"""DiskStream: an open disk as an async file with a position."""

from __future__ import annotations

import io
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, NoReturn, Protocol

import anyio
from anyio.abc import ByteReceiveStream, ByteSendStream

from asyncvddk.disks._closing import Busy, CloseOnce
from asyncvddk.errors import ClosedError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Buffer


CHUNK_SIZE: Final = 1 << 20
"""What ``receive`` returns at most, in bytes, unless told otherwise."""


class Disk(Protocol):
    """What a stream needs of its disk: a part of ``AsyncDisk`` and of ``RetryingDisk``."""

    path: str

    @property
    def size(self) -> int:
        """Capacity in bytes."""

    @property
    def closed(self) -> bool:
        """True once it is being closed."""

    async def read_at(self, offset: int, length: int) -> bytes:
        """Read exactly so many bytes."""

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Fill all of ``buffer``."""

    async def write_at(self, offset: int, data: Buffer) -> int:
        """Write all of ``data``."""

    async def flush(self) -> None:
        """Bring what was written to storage."""


class _Place:
    """A position. A new object for every move: which one is the stream's tells whether somebody has moved it since."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        """Take the position in bytes."""
        self.position = position


class DiskStream(ByteReceiveStream, ByteSendStream):
    """A disk as an async file: read and write from a position on, which they move. Made by a disk's ``stream``.

    ::

        async with disk.stream() as stream:
            await stream.seek(-512, os.SEEK_END)
            last = await stream.read()

    Any number of tasks may use one stream, and one disk may have many. Each read and write takes its range and moves
    the position before it waits for anything, so no two calls get the same bytes or write to the same place, and all
    are in flight together. A call that fails or is cancelled gives its range back: the position is where it was before,
    so that calling again continues without a gap. Only when another call has moved the position meanwhile does it stay;
    then the error has a note with the range that was skipped.

    Its methods raise what those of ``AsyncDisk`` raise, and ClosedError. It is also a byte stream of anyio
    (``receive``, ``send``), and ``async for`` gives the rest of the disk in chunks.

    Closing a stream waits for its calls and leaves the disk open. Nothing is read ahead or kept back: a read sees what
    was written last, by whatever stream, and ``flush`` is for storage alone. One task that reads chunk after chunk
    waits for each; where every request takes its time, several tasks on one stream are faster, and ``asyncvddk.copy``
    does that for whole disks.
    """

    def __init__(self, disk: Disk, position: int, chunk_size: int) -> None:
        """Belongs to ``AsyncDisk.stream`` and ``RetryingDisk.stream``."""
        if chunk_size < 1:
            raise ValueError(f"chunk_size={chunk_size}: it is at least one byte")
        self._disk = disk
        self._chunk_size = chunk_size
        self._place = _Place(self._checked(position))
        self._busy = Busy()
        self._closing = CloseOnce()

    @property
    def size(self) -> int:
        """Capacity of the disk in bytes."""
        return self._disk.size

    @property
    def closed(self) -> bool:
        """True once the stream or the disk is being closed."""
        return self._closing.begun or self._disk.closed

    async def tell(self) -> int:
        """Return the position: where the next read or write begins, in bytes."""
        self._require_open("tell")
        return self._place.position

    async def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move the position, and return it; calls under way keep their ranges.

        ``offset`` in bytes counts from the start (``whence`` = 0, ``os.SEEK_SET``), from the position (1) or from the
        end (2). Raises ValueError, and moves nothing, when that leads out of ``[0, size]``.
        """
        self._require_open("seek")
        if (offset, whence) == (0, os.SEEK_CUR):
            return self._place.position  # asked, not moved: calls under way may still give their ranges back
        origins = {os.SEEK_SET: 0, os.SEEK_CUR: self._place.position, os.SEEK_END: self.size}
        if whence not in origins:
            raise ValueError(f"whence={whence}: 0 (from the start), 1 (from the position) or 2 (from the end)")
        self._place = _Place(self._checked(origins[whence] + offset))
        return self._place.position

    async def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end of the disk, ``b""`` behind it.

        -1 reads all the rest into memory, which takes up to twice its size; read large disks in chunks. Raises
        ValueError for other negative sizes.
        """
        self._require_open("read")
        if size < -1:
            raise ValueError(f"size={size}: a number of bytes, or -1 for the rest")
        left = self._left()
        with self._taken(left if size == -1 else min(size, left)) as (offset, length):
            return await self._disk.read_at(offset, length)

    async def readinto(self, buffer: Buffer) -> int:
        """Fill ``buffer``, at the end of the disk only its first part, and return how many bytes that are.

        The buffer is any that ``AsyncDisk.readinto_at`` takes, and as much the library's until this returns.
        """
        self._require_open("readinto")
        view = memoryview(buffer)
        with self._taken(min(view.nbytes, self._left())) as (offset, length):
            return await self._disk.readinto_at(offset, view if length == view.nbytes else view.cast("B")[:length])

    async def write(self, data: Buffer) -> int:
        """Write all of ``data`` and return its length in bytes. A disk does not grow by writing.

        Raises ValueError, before anything is written, when less room is left. ``data`` must not change until this
        returns. After an error or a cancellation the range may hold old and new bytes.
        """
        self._require_open("write")
        length, left = memoryview(data).nbytes, self._left()
        if length > left:
            raise ValueError(
                f"write of {length} bytes: {left} are left from position {self._place.position} to the disk's end at "
                f"{self.size}; Connection.grow makes it larger"
            )
        with self._taken(length) as (offset, _):
            return await self._disk.write_at(offset, data)

    async def truncate(self, size: int | None = None) -> NoReturn:
        """Refuse: a disk keeps its size. Raises ``io.UnsupportedOperation``, a ValueError and an OSError."""
        raise io.UnsupportedOperation(f"truncate({size}): a disk keeps its size; Connection.grow makes it larger")

    async def flush(self) -> None:
        """Return when everything written before is on storage: ``AsyncDisk.flush``."""
        self._require_open("flush")
        with self._busy:
            await self._disk.flush()

    async def receive(self, max_bytes: int | None = None) -> bytes:
        """Return the next ``max_bytes`` (default: the stream's ``chunk_size``), fewer only at the end of the disk.

        Raises ``anyio.EndOfStream`` behind it.
        """
        size = self._chunk_size if max_bytes is None else max_bytes
        if size < 1:
            raise ValueError(f"max_bytes={size}: at least one byte is needed")
        data = await self.read(size)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: Buffer) -> None:
        """Write all of ``item``: ``write`` under anyio's name."""
        await self.write(item)

    async def aclose(self) -> None:
        """Refuse further calls and wait for those under way; the disk stays open.

        Idempotent. Runs to its end when cancelled, then goes on cancelling.
        """
        await self._closing.run(self._busy.over)

    def _left(self) -> int:
        return self.size - self._place.position

    def _checked(self, position: int) -> int:
        if not 0 <= position <= self.size:
            raise ValueError(f"position={position}: it must lie within the disk's {self.size} bytes (0..{self.size})")
        return position

    def _require_open(self, what: str) -> None:
        if self._closing.begun:
            raise ClosedError(f"DiskStream.{what}: the stream of {self._disk.path} is closed")

    @contextmanager
    def _taken(self, length: int) -> Iterator[tuple[int, int]]:
        """Move the position over ``length`` bytes, which are the caller's; give them back if the block fails."""
        before = self._place
        if length:
            self._place = _Place(before.position + length)
        after = self._place
        try:
            with self._busy:
                yield before.position, length
        except BaseException as exc:
            if self._place is after:
                self._place = before
            elif length:
                exc.add_note(f"the stream has moved on, and skips bytes {before.position} to {after.position}")
            raise
