"""Backups of many disks at once into a repository, and the way back. Needs the extra ``backup``.

``backup`` reads disks and makes a snapshot; ``restore`` writes a disk of a snapshot to a file, a VMDK, another disk or
a stream; ``compare`` proves that what is stored is what is read. All sizes and offsets are bytes.
"""

from asyncvddk.backup._backup import BackupFailedError, BackupOptions, backup
from asyncvddk.backup._disk import BackupDisk, ChangedBlocks, ReadableDisk
from asyncvddk.backup._observer import BackupObserver, BackupProgress

__all__ = [
    "BackupDisk",
    "BackupFailedError",
    "BackupObserver",
    "BackupOptions",
    "BackupProgress",
    "ChangedBlocks",
    "ReadableDisk",
    "backup",
]
