"""What backups that run at once share: turns, memory, threads."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

import anyio

from asyncvddk.backup._buffers import Buffers
from asyncvddk.backup._workers import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

JOBS: Final = 4
MEMORY_LIMIT: Final = 128 << 20


class BackupLimits:
    """How much is done at once. Give one object to all backups of a process, and they keep its limits together.

    Belongs to one event loop. Holds memory that was used for data, up to its limit, for as long as it lives.
    """

    def __init__(self, *, jobs: int = JOBS, jobs_per_host: int = 0, memory_limit: int = MEMORY_LIMIT) -> None:
        """Limit to ``jobs`` disks, ``jobs_per_host`` of one host (``BackupDisk.host``; 0: as many as in all).

        ``memory_limit``: bytes of data on their way; at least one piece of 4 MiB, or one chunk, is. Raw images that go
        to a local folder need none of it, but one chunk for each processor. Raises ValueError.
        """
        if jobs < 1 or jobs_per_host < 0 or memory_limit < 1:
            raise ValueError(
                f"jobs={jobs}, jobs_per_host={jobs_per_host}, memory_limit={memory_limit}: expected at least 1, 0 and 1"
            )
        self.jobs = jobs
        self.jobs_per_host = jobs_per_host
        self.memory_limit = memory_limit
        self._jobs = anyio.CapacityLimiter(jobs)
        self._hosts: dict[str, anyio.CapacityLimiter] = {}
        self.buffers = Buffers(limit=memory_limit)
        """Memory, for ``backup``."""
        self._workers: dict[bool, Workers] = {}

    @asynccontextmanager
    async def turn(self, host: str | None) -> AsyncIterator[None]:
        """Wait until a disk of ``host`` may be read, and let it be in the block."""
        async with AsyncExitStack() as turns:
            if host is not None and self.jobs_per_host:
                limiter = self._hosts.setdefault(host, anyio.CapacityLimiter(self.jobs_per_host))
                await turns.enter_async_context(limiter)  # first: who waits for a host keeps nobody else waiting
            await turns.enter_async_context(self._jobs)
            yield

    def workers(self, *, local: bool) -> Workers:
        """Return the threads that store chunks in a folder, or behind a network; enter them to use them."""
        return self._workers.setdefault(local, Workers(local=local))
