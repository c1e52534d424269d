"""Raw images and block devices, read as disks."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Self

from asyncvddk.errors import ClosedError
from asyncvddk.models import Block
from asyncvddk.repository import _threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from typing_extensions import Buffer


class RawImage:
    """A raw image or a block device: byte n of the file is byte n of the disk. Read-only.

    Used as ``async with RawImage(path) as disk``; has the reading half of ``AsyncDisk``'s interface. Holes of a file
    are not allocated; of a block device, and where the file system does not tell holes, everything is.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Describe it; nothing is opened before the block is entered."""
        self.path = os.fspath(path)
        self._fd = -1
        self._size = 0
        self._holes = False

    async def __aenter__(self) -> Self:
        """Open. Raises OSError, which names the file: missing, unreadable, neither file nor device, or empty."""
        try:
            await _threads.run(self._open)
        except BaseException:  # cancelled, it is opened nevertheless
            await self.aclose()
            raise
        return self

    def _open(self) -> None:
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe must not keep us waiting
        try:
            self._size = self._checked_size(fd)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd

    def _checked_size(self, fd: int) -> int:
        """Return the size of what was opened, if it is something to read."""
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), self.path)
        if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
            raise OSError(errno.EINVAL, "neither a regular file nor a block device", self.path)
        self._holes = stat.S_ISREG(mode)
        if size := os.lseek(fd, 0, os.SEEK_END):
            return size
        raise OSError(errno.EINVAL, "empty: a disk has at least one byte", self.path)

    @property
    def size(self) -> int:
        """Bytes; those there were when it was opened."""
        return self._size

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Fill all of ``buffer``, which is writable and contiguous, from byte ``offset`` on; return its length.

        Several calls run at once. Raises ValueError (the range leaves ``[0, size]``), OSError (also for a file that was
        cut meanwhile), ClosedError. Cancelled: the read is waited for, then the buffer is the caller's again.
        """
        self._check_open("readinto_at")
        view = memoryview(buffer).cast("B")
        if offset < 0 or offset + len(view) > self._size:
            raise ValueError(f"offset={offset}, length={len(view)}: outside a disk of {self._size} bytes")
        await _threads.run(partial(self.fill, offset, view))
        return len(view)

    def fill(self, offset: int, view: memoryview) -> None:
        """Fill all of ``view``, which is writable bytes within the disk, from byte ``offset`` on. Blocks, for threads.

        Raises OSError.
        """
        done = 0
        while done < len(view):
            count = os.preadv(self._fd, [view[done:]], offset + done)
            if not count:
                raise OSError(
                    errno.EIO, f"the file ends at byte {offset + done}; it was cut while it was read", self.path
                )
            done += count

    def will_read(self, offset: int, length: int) -> None:
        """Have the system fetch what is read soon; nothing waits for it. For threads."""
        with suppress(OSError):  # a file system that takes no advice
            os.posix_fadvise(self._fd, offset, length, os.POSIX_FADV_WILLNEED)

    async def read_at(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes from byte ``offset``. Raises, and is cancelled, as ``readinto_at``."""
        data = bytearray(length)
        await self.readinto_at(offset, data)
        return bytes(data)

    async def allocated_blocks(self, start: int = 0, length: int | None = None) -> AsyncIterator[Block]:
        """Iterate over what is no hole in ``length`` bytes (default: to the end) from byte ``start``, ascending.

        Raises ValueError (the range leaves ``[0, size]``), OSError, ClosedError. Cancellation: between two blocks.
        """
        self._check_open("allocated_blocks")
        end = self._size if length is None else start + length
        if not 0 <= start <= end <= self._size:
            raise ValueError(f"start={start}, length={length}: outside a disk of {self._size} bytes")
        while (block := await _threads.run(partial(self._next, start, end))) is not None:
            yield block
            start = block.end

    def _next(self, start: int, end: int) -> Block | None:
        """Return the next block that is no hole."""
        if start >= end:
            return None
        if not self._holes:
            return Block(start, end - start)
        try:
            first = os.lseek(self._fd, start, os.SEEK_DATA)
            stop = os.lseek(self._fd, first, os.SEEK_HOLE)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return None
            if error.errno != errno.EINVAL:
                raise
            self._holes = False
            return Block(start, end - start)
        return Block(first, min(stop, end) - first) if first < end else None

    async def aclose(self) -> None:
        """Close. A second time does nothing. Nobody may be reading; cancellation does not reach it."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        await self.aclose()

    def _check_open(self, call: str) -> None:
        if self._fd < 0:
            raise ClosedError(f"RawImage.{call}(): {self.path} is closed")
