"""What is backed up: a disk that can be opened for reading, and what is known about it beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from typing_extensions import Buffer

    from asyncvddk.models import Block


class ReadableDisk(Protocol):
    """The reading half of a disk: ``AsyncDisk``, ``RetryingDisk``, ``SnapshotDisk`` and ``RawImage`` have it."""

    @property
    def size(self) -> int:
        """Capacity in bytes."""
        ...

    async def readinto_at(self, offset: int, buffer: Buffer) -> int:
        """Fill all of ``buffer`` from byte ``offset`` on; return its length. Several calls run at once."""
        ...

    def allocated_blocks(self, start: int = 0, length: int | None = None) -> AsyncIterator[Block]:
        """Iterate over what may hold data, ascending; all the rest reads as zeros."""
        ...


@dataclass(frozen=True, slots=True)
class ChangedBlocks:
    """Changed-block information: the only bytes that differ from an earlier state of the disk."""

    ranges: Sequence[Block]
    """In any order; they may overlap and touch. Bytes."""
    since: str
    """The earlier state, as the ``change_id`` of its backup names it; for a parent of another state it is not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupDisk:
    """A disk to back up. ``vmdk_disk``, ``remote_disk``, ``raw_disk`` and ``find_disks`` make them."""

    key: str
    """Names the disk among those of its source, in each backup alike: a device key, or a path."""
    name: str
    """For people."""
    opened: Callable[[], AbstractAsyncContextManager[ReadableDisk]]
    """Opens the disk for reading. Called once for each attempt."""
    uuid: str | None = None
    """A parent's index is inherited only from a disk with the same one."""
    host: str | None = None
    """What ``BackupLimits.jobs_per_host`` counts, as the name of an ESXi host; None: no limit applies."""
    change_id: str | None = None
    """Names the state that is being read, for ``ChangedBlocks.since`` of a later backup."""
    state: Callable[[], str | None] | None = None
    """Returns a name of the content as it is now, which another content never has; a backup that was interrupted is
    gone on with only when it is the same. Called in a thread before each opening; may block. Without it, or where it
    returns None, ``change_id`` is that name, and without one the disk is read from its beginning."""
    changed: ChangedBlocks | None = None
    """What differs from an earlier state; None: all that is allocated is read."""
