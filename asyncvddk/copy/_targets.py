"""Where a copy goes. A target is complete under its final name, or not there at all."""

from __future__ import annotations

import os
from array import array
from contextlib import AsyncExitStack, aclosing, contextmanager, suppress
from typing import TYPE_CHECKING, Protocol, Self

from asyncvddk.copy import _places
from asyncvddk.copy._plan import GRANULE
from asyncvddk.errors import NativeError, VddkError
from asyncvddk.models import DiskType, OpenFlags
from asyncvddk.native import _core, _memory
from asyncvddk.threads._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

    from asyncvddk.disks._disk import AsyncDisk
    from asyncvddk.disks._library import Vddk
    from asyncvddk.models import CreateParams

VMDK_GRANULE = 65536
"""Bytes in which a VMDK target tells zeros from data: the grain, in which a sparse disk takes space."""


class Target(Protocol):
    """What ``copy_disk`` writes to; reads as zeros wherever nothing was written.

    With an attribute ``ordered`` that is true it is written from front to back, one piece after the other.
    """

    async def write(self, offset: int, data: memoryview) -> int:
        """Write the parts of ``data`` that are not zero and return how many bytes that were.

        Several calls for different places run at once. ``data`` is contiguous, writable and the caller's
        again afterwards, also when cancelled. What it raises ends the copy.
        """
        ...


class RawTarget:
    """A raw image: byte n of the file is byte n of the disk; what is zero takes no space.

    Used as ``async with RawTarget(...) as target``. The file gets its name when the block ends well; after an
    error or a cancellation there is none. Without ``overwrite`` an existing file is left alone and
    FileExistsError raised. ``sync`` waits until data and name are on stable storage. Every OSError names
    ``path``.
    """

    def __init__(self, path: Path, size: int, *, overwrite: bool = False, sync: bool = False) -> None:
        """Describe the file; nothing is made before the block is entered."""
        self.path = path
        self.size = size
        self._overwrite = overwrite
        self._sync = sync

    async def __aenter__(self) -> Self:
        """Make the file, without a name yet. Raises FileExistsError, another OSError."""
        self._file = _places.PendingFile(self.path, size=self.size, overwrite=self._overwrite)
        try:
            self._worker = Worker(f"to {self.path.name}")
        except BaseException:
            self._file.discard()
            raise
        return self

    async def write(self, offset: int, data: memoryview) -> int:
        """As ``Target.write``; the writes are made one after the other by a thread of this target.

        Raises OSError, as when the file system is full.
        """
        memory = _memory.Pinned(data)
        args = (self._file.fd, memory.address, memory.length, offset, GRANULE)
        return self._checked(await self._worker.call(_core.WRITE_SPARSE, *args, keep=memory))

    def put(self, offset: int, data: memoryview) -> int:
        """As ``write``, at once and by the thread that calls. Blocks; several threads may."""
        memory = _memory.Pinned(data)
        return self._checked(_core.write_sparse(self._file.fd, memory.address, memory.length, offset, GRANULE))

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the file its name, or drop it."""
        try:
            if kind is None:
                if self._sync:
                    self._checked(await self._worker.call(_core.SYNC, self._file.fd))
                self._file.commit()
                if self._sync:
                    await _sync_folder(self._worker, self.path.parent)
        finally:
            try:
                await self._worker.aclose()
            finally:
                self._file.discard()

    def _checked(self, result: int) -> int:
        """Return what a C helper returned, or raise the errno that it is."""
        return _checked(result, self.path)


class VmdkTarget:
    """A VMDK that the library makes.

    Used as ``async with VmdkTarget(...) as target``. The disk is made in a hidden folder beside its place and
    moves there, all its files, when the block ends well; after an error or a cancellation nothing is left.
    ``overwrite`` and ``sync`` as for ``RawTarget``.
    """

    def __init__(
        self, vddk: Vddk, path: Path, params: CreateParams, *, overwrite: bool = False, sync: bool = False
    ) -> None:
        """Describe the disk; nothing is made before the block is entered."""
        self.path = path
        self.params = params
        self._vddk = vddk
        self._overwrite = overwrite
        self._sync = sync

    async def __aenter__(self) -> Self:
        """Make the disk, not yet at its place, and open it. Raises FileExistsError, another OSError, NativeError."""
        self._folder = _places.PendingFolder(self.path, overwrite=self._overwrite)
        self._open = AsyncExitStack()
        try:
            with self._naming():
                self._worker = await self._open.enter_async_context(aclosing(Worker(f"to {self.path.name}")))
                self._disk = await self._open_new()
        except BaseException:
            await self._close_failed()
            raise
        return self

    async def _open_new(self) -> AsyncDisk:
        """Create the disk and open it for writing."""
        inner = str(self._folder.inner)
        connection = await self._open.enter_async_context(self._vddk.connect())
        await connection.create(inner, self.params)
        return await self._open.enter_async_context(connection.open(inner, flags=OpenFlags.NONE))

    @property
    def ordered(self) -> bool:
        """True for a streamOptimized disk: it is written from front to back."""
        return self.params.disk_type is DiskType.STREAM_OPTIMIZED

    async def write(self, offset: int, data: memoryview) -> int:
        """As ``Target.write``; in whole grains. Raises DiskFullError, another NativeError by code."""
        most = len(data) // VMDK_GRANULE // 2 + 2
        runs = array("Q", bytes(16 * most))
        address, _ = runs.buffer_info()
        memory = _memory.Pinned(data)
        args = (memory.address, memory.length, VMDK_GRANULE, address, most)
        found = await self._worker.call(_core.NONZERO_RUNS, *args, keep=(memory, runs))
        written = 0
        with self._naming():
            for start, length in zip(runs[: 2 * found : 2], runs[1 : 2 * found : 2], strict=True):
                written += await self._disk.write_at(offset + start, data[start : start + length])
        return written

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Move the disk to its place, or drop it."""
        if kind is not None:
            await self._close_failed()
            return
        try:
            with self._naming():
                await self._open.aclose()  # closing writes what the library kept in memory: this may fail
            await self._commit()
        finally:
            self._folder.discard()

    async def _commit(self) -> None:
        """Give the closed disk its name."""
        if not self._sync:
            self._folder.commit()
            return
        async with aclosing(Worker(f"sync {self.path.name}")) as worker:
            for file in self._folder.folder.iterdir():
                await _sync_path(worker, file, os.O_RDONLY)
            self._folder.commit()
            await _sync_folder(worker, self.path.parent)

    async def _close_failed(self) -> None:
        """Close what is open, and drop the disk; the error that led here counts, not those that follow."""
        try:
            with suppress(VddkError):
                await self._open.aclose()
        finally:
            self._folder.discard()

    @contextmanager
    def _naming(self) -> Iterator[None]:
        """Let the library's errors speak of the disk's place, not of the hidden folder."""
        try:
            yield
        except NativeError as error:
            hidden, shown = str(self._folder.folder), str(self.path.parent)
            error.path = str(self.path)
            error.detail = error.detail and error.detail.replace(hidden, shown)
            raise


async def _sync_path(worker: Worker, path: Path, flags: int) -> None:
    """Bring a file or folder to stable storage; the worker's thread waits for it."""
    fd = os.open(path, flags | os.O_CLOEXEC)
    try:
        _checked(await worker.call(_core.SYNC, fd), path)
    finally:
        os.close(fd)


async def _sync_folder(worker: Worker, folder: Path) -> None:
    """Make new names in ``folder`` survive a power cut."""
    await _sync_path(worker, folder, os.O_RDONLY | os.O_DIRECTORY)


def _checked(result: int, path: Path) -> int:
    """Return what a C helper returned, or raise the negative errno that it is as OSError naming ``path``."""
    if result >> 63:
        number = (1 << 64) - result
        raise OSError(number, os.strerror(number), str(path))
    return result
