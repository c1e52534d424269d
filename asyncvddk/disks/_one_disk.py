"""Opening one disk with all that it needs, and undoing that when a step fails."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncvddk.disks._closing import undo, undone_on_error
from asyncvddk.disks._retry import retried
from asyncvddk.disks._retrying import RetryingDisk

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk.disks._access import Access
    from asyncvddk.disks._closing import Steps
    from asyncvddk.disks._connection import Connection
    from asyncvddk.disks._disk import AsyncDisk
    from asyncvddk.disks._opening import Opening
    from asyncvddk.disks._retry import RetryPolicy
    from asyncvddk.models import OpenFlags


@dataclass(frozen=True, slots=True)
class OneDisk:
    """How one disk is opened: access lock (on a server), connection, disk; see ``Vddk.open_disk``."""

    path: str | os.PathLike[str]
    flags: OpenFlags
    lock: Callable[[], Opening[Access]] | None
    connect: Callable[[], Opening[Connection]]

    async def open(self) -> AsyncDisk:
        """Make all steps; closing the disk undoes them."""
        async with undone_on_error() as steps:
            await self._lock(steps)
            return await self._connect(steps)

    async def _lock(self, steps: Steps) -> None:
        if self.lock is not None:
            await steps.enter(self.lock())

    async def _connect(self, steps: Steps) -> AsyncDisk:
        connection = await steps.enter(self.connect())
        disk = await connection.open(self.path, self.flags)
        disk.close_after(steps.move())
        return disk

    async def _connect_anew(self) -> AsyncDisk:
        async with undone_on_error() as steps:
            return await self._connect(steps)

    async def open_retrying(self, policy: RetryPolicy, *, read_only: bool, timed: bool) -> RetryingDisk:
        """Make all steps, connection and disk as often as ``policy`` says; the lock is held all the time."""
        async with undone_on_error() as steps:
            await self._lock(steps)
            first = await retried(policy, self._connect_anew, "open_disk", os.fspath(self.path), anew=True)
            owned = steps.move()
        disk = RetryingDisk(self._connect_anew, first, policy, owned, read_only=read_only, timed=timed)
        try:
            await disk.load()
        except BaseException as exc:
            await undo(disk.aclose, exc)
            raise
        return disk
