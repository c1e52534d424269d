"""The threads that work on chunks: one for each processor, each with memory of its own that stays in its cache."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, Self, TypeVar

from asyncvddk.native import _memory
from asyncvddk.repository import _threads

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

T = TypeVar("T")

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
        self._users = 0
        self._own = threading.local()

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

    async def run(self, call: Callable[[], T]) -> T:
        """Return what ``call`` returns, from one of the threads. Cancelled: a call that has begun is waited for."""
        return await _threads.run_in(self._pool, call)

    def scratch(self, size: int) -> memoryview:
        """Return memory of the thread that asks, of ``size`` bytes; their content is undefined."""
        memory: memoryview | None = getattr(self._own, "memory", None)
        if memory is None or len(memory) < size:
            memory = self._own.memory = _memory.new_pages(size)
        return memory[:size]
