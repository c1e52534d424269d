"""Backups of many disks at once into a repository, and the way back. Needs the extra ``backup``.

``backup`` reads disks and makes a snapshot; ``restore`` writes a snapshot's disk to a file, a VMDK, an existing disk or a
stream; ``compare`` and ``verify_disks`` prove that what is stored is what was read. All sizes and offsets are bytes.
"""

from asyncvddk.backup._disk import BackupDisk, ChangedBlocks, ReadableDisk
from asyncvddk.backup._observer import BackupObserver, BackupProgress

__all__ = [
    "BackupDisk",
    "BackupObserver",
    "BackupProgress",
    "ChangedBlocks",
    "ReadableDisk",
]
