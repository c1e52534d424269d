"""What a backup tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from asyncvddk.repository import DiskStats

if TYPE_CHECKING:
    from asyncvddk.backup._disk import BackupDisk
    from asyncvddk.repository import DiskEntry


@dataclass(slots=True)
class BackupProgress:
    """Where the backup of a disk stands. An observer gets the same object each time: take out what you keep."""

    size: int
    """Bytes of the disk."""
    mode: str
    """How it is read: ``full``, ``allocated`` or ``changed``."""
    bytes_done: int = 0
    """Bytes of the disk that need no more work, whether read or not; ``size`` at the end."""
    stats: DiskStats = field(default_factory=DiskStats)
    """What was read, changed, stored."""


class BackupObserver(Protocol):
    """Is told what happens, on the event loop; must not block."""

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Take note: the disk is open, and it is known how it is read."""
        ...

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Take note: a piece is done. Also after a change of mode, which begins the disk anew."""
        ...

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Take note: the disk is done, or failed, perhaps before it ``started``."""
        ...
