"""The threads that work on chunks: one for each processor, each with memory of its own that stays in its cache."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, Self, TypeVar

from asyncvddk.native import _memory
from asyncvddk.repository import SnapshotDisk, _threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from asyncvddk.backup._disk import ReadableDisk

T = TypeVar("T")

_PIECE: Final = 4 << 20
_LANES: Final = 4
_NETWORK_PIECE: Final = 1 << 20
_NETWORK_LANES: Final = 16
_NETWORK_THREADS: Final = 32
"""Requests to a store that is not a local folder at once, as ``Repository.open`` has threads for them."""


class Workers:
    """Threads with a queue. Used as ``with workers``, by several at once; they are there until the last one leaves.

    A pool of its own, because a thread takes the next call off the queue by itself, without the event loop. Belongs to
    one loop.
    """

    def __init__(self, *, local: bool) -> None:
        """One for each processor; with a store behind a network one for each request under way."""
        self.local = local
        self.count = len(os.sched_getaffinity(0)) if local else _NETWORK_THREADS
        self.lanes = _LANES if local else _NETWORK_LANES
        """Pieces of one disk under way at once."""
        self._piece = _PIECE if local else _NETWORK_PIECE
        self._users = 0
        self._own = threading.local()

    @classmethod
    def reading(cls, *disks: ReadableDisk) -> tuple[Self, int]:
        """Return threads to read ``disks`` with, and the bytes of a piece of them: whole chunks of all."""
        stored = [disk for disk in disks if isinstance(disk, SnapshotDisk)]
        workers = cls(local=all(disk.local for disk in stored))
        return workers, workers.piece_size(max((disk.grid.chunk_size for disk in stored), default=1))

    def __enter__(self) -> Self:
        """Start the threads, unless somebody has."""
        if not self._users:
            self._pool = ThreadPoolExecutor(self.count, "chunks")
        self._users += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the threads if nobody else is there; whoever leaves has no call under way."""
        self._users -= 1
        if not self._users:
            self._pool.shutdown()

    def piece_size(self, chunk_size: int) -> int:
        """Return the bytes of a piece, which has whole chunks of ``chunk_size``: what a thread takes at a time."""
        return max(1, self._piece // chunk_size) * chunk_size

    async def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, from one of the threads. Cancelled: a call that has begun is waited for."""
        return await _threads.run_in(self._pool, call)

    async def read(self, disk: ReadableDisk, offset: int, view: memoryview) -> None:
        """Fill ``view`` from byte ``offset`` on; a disk of a snapshot is read by one of the threads.

        Raises, and is cancelled, as ``readinto_at``.
        """
        if isinstance(disk, SnapshotDisk):
            await self.run(partial(disk.fill, offset, view))
        else:
            await disk.readinto_at(offset, view)

    def scratch(self, size: int) -> memoryview:
        """Return memory of the thread that asks, of ``size`` bytes; their content is undefined."""
        memory: memoryview | None = getattr(self._own, "memory", None)
        if memory is None or len(memory) < size:
            memory = self._own.memory = _memory.new_pages(size)
        return memory[:size]
