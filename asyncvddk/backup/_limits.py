"""What backups that run at once share: turns, memory, threads."""

from __future__ import annotations

import math
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.backup._buffers import Buffers
from asyncvddk.backup._pipeline import Workers
from asyncvddk.backup._turns import Turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncvddk.backup._disk import BackupDisk

_logger = structlog.get_logger()

JOBS: Final = 4
MEMORY_LIMIT: Final = 128 << 20
OVERLOADED: Final = frozenset({2, 14009, 14015, 18000})
"""Codes with which hosts refuse a disk while they serve too many: no memory for NFC, connections refused, no answer."""
ATTEMPTS: Final = 5
_MOST_PAUSE_S: Final = 60.0


class BackupLimits:
    """How much is done at once. Give one object to all backups of a process, and they keep its limits together.

    A host that refuses a disk for lack of resources gets half as many from then on, and the disk is tried again; when
    all is well for a while, it gets one more at a time, up to its limit. Belongs to one event loop. Holds memory that
    was used for data, up to its limit, for as long as it lives.
    """

    def __init__(  # noqa: PLR0913  (each is a limit of its own)
        self,
        *,
        jobs: int = JOBS,
        jobs_per_host: int = 0,
        jobs_per_datastore: int = 0,
        jobs_per_server: int = 0,
        memory_limit: int = MEMORY_LIMIT,
        pause_s: float = 5.0,
    ) -> None:
        """Limit to ``jobs`` disks, and to so many of one host, datastore and server; 0: as many as in all.

        ``memory_limit``: bytes of data on their way; at least one piece of 4 MiB, or one chunk, is. ``pause_s``: time
        before a disk is tried again that a host refused, twice as long each time. Raises ValueError.
        """
        values: dict[str, float] = {"jobs_per_host": jobs_per_host, "jobs_per_datastore": jobs_per_datastore}
        values |= {"jobs_per_server": jobs_per_server, "pause_s": pause_s}
        if jobs < 1 or memory_limit < 1 or min(values.values()) < 0:
            given = ", ".join(f"{name}={value}" for name, value in values.items())
            raise ValueError(f"jobs={jobs}, memory_limit={memory_limit}, {given}: expected at least 1, 1 and 0")
        self.jobs = jobs
        self.jobs_per_host = jobs_per_host
        self.jobs_per_datastore = jobs_per_datastore
        self.jobs_per_server = jobs_per_server
        self.memory_limit = memory_limit
        self.pause_s = pause_s
        self.buffers = Buffers(limit=memory_limit)
        """Memory, for ``backup``."""
        self._turns = Turns()
        self._workers: dict[bool, Workers] = {}

    @asynccontextmanager
    async def turn(self, disk: BackupDisk) -> AsyncIterator[None]:
        """Wait until a disk may be read, and let it be in the block; whoever waits keeps nobody else waiting."""
        places = (
            ("host", disk.host, self.jobs_per_host),
            ("datastore", disk.datastore, self.jobs_per_datastore),
            ("server", disk.server, self.jobs_per_server),
        )
        names: list[tuple[str, float]] = [
            (f"{kind} {name}", most or math.inf) for kind, name, most in places if name is not None
        ]
        async with self._turns.turn([("all", self.jobs), *names]):
            yield

    def ended(self, disk: BackupDisk, result: object, attempt: int) -> float | None:
        """Take note of how a disk's turn ended; return the seconds after which to try again, None: not at all.

        Called in its turn.
        """
        if disk.host is None:
            return None
        if getattr(result, "code", None) not in OVERLOADED:
            if not isinstance(result, Exception):
                self._turns.well(f"host {disk.host}")
            return None
        limit = self._turns.overloaded(f"host {disk.host}")
        pause = min(self.pause_s * 2 ** (attempt - 1), _MOST_PAUSE_S) * random.uniform(0.5, 1)  # noqa: S311
        again = attempt < ATTEMPTS
        _logger.warning(
            "host_overloaded",
            host=disk.host,
            disk=disk.name,
            reason=str(result),
            effect=f"{limit} at once from now on" + (f"; tried again in {pause:.1f} s" if again else ""),
        )
        return pause if again else None

    def workers(self, *, local: bool) -> Workers:
        """Return the threads that store chunks in a folder, or behind a network."""
        if local not in self._workers:
            self._workers[local] = Workers(local=local)
        return self._workers[local]
