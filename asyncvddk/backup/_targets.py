"""Where a restored disk goes, if not to a new file: a disk that exists, or a stream."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from asyncvddk.native import _memory
from asyncvddk.repository import _threads

if TYPE_CHECKING:
    from asyncvddk import AsyncDisk


class WholeTarget(ABC):
    """A target that gets zeros, too, because it does not read as zeros where nothing was written."""

    ordered = False
    """True: it gets the bytes in their order, one piece after the other."""

    @abstractmethod
    def check(self, start: int, length: int) -> None:
        """Raise ValueError unless ``length`` bytes from byte ``start`` of the disk can go here."""

    @abstractmethod
    async def write(self, offset: int, data: memoryview) -> int:
        """Write ``data`` for byte ``offset`` of the disk; return how many bytes were written."""


class DiskTarget(WholeTarget):
    """A disk that exists, opened for writing: what is restored takes the place of what it holds there.

    ``only_different``: each piece is read before, and written only if it differs. After an error, or when it is
    cancelled, the disk is a mixture of old and new: restore again.
    """

    def __init__(self, disk: AsyncDisk, *, only_different: bool = False) -> None:
        """Write to ``disk``, which stays the caller's."""
        self._disk = disk
        self._only_different = only_different

    def check(self, start: int, length: int) -> None:
        """Raise ValueError for a disk that is too small."""
        if start + length > self._disk.size:
            raise ValueError(
                f"{start + length} bytes do not fit on a disk of {self._disk.size} bytes: {self._disk.path}"
            )

    async def write(self, offset: int, data: memoryview) -> int:
        """Write, unless it is there. Raises a NativeError; cancelled, it waits for calls under way."""
        if self._only_different:
            there = _memory.new_pages(len(data))
            await self._disk.readinto_at(offset, there)
            if np.array_equal(np.frombuffer(there, np.uint8), np.frombuffer(data, np.uint8)):
                return 0
        return await self._disk.write_at(offset, data)


class EmptyDiskTarget:
    """A disk that exists and was never written: it reads as zeros, so it gets none, and a thin one stays thin."""

    def __init__(self, disk: AsyncDisk) -> None:
        """Write to ``disk``, which stays the caller's."""
        self._disk = disk

    async def write(self, offset: int, data: memoryview) -> int:
        """Write. Raises a NativeError; cancelled, it waits for calls under way."""
        return await self._disk.write_at(offset, data)


class StreamTarget(WholeTarget):
    """A pipe, or anything else with a file descriptor, as standard output: bytes in their order, zeros included."""

    ordered = True

    def __init__(self, fd: int) -> None:
        """Write to ``fd``, which stays the caller's."""
        self._fd = fd

    def check(self, start: int, length: int) -> None:
        """Take all."""

    async def write(self, offset: int, data: memoryview) -> int:
        """Write all of ``data``. Raises OSError, as BrokenPipeError; cancelled, it waits for the reader."""
        del offset
        await _threads.run(partial(self._write_all, data))
        return len(data)

    def _write_all(self, data: memoryview) -> None:
        done = 0
        while done < len(data):
            done += os.write(self._fd, data[done:])
