"""Backups of many disks at once into a repository, and the way back. Needs the extra ``backup``.

``backup`` reads disks and makes a snapshot; ``restore`` writes a disk of a snapshot to a file, a VMDK, another disk or
a stream; ``compare`` proves that what is stored is what is read. All sizes and offsets are bytes.
"""

from asyncvddk.backup._backup import BackupFailedError, BackupOptions, backup
from asyncvddk.backup._compare import CompareProgress, compare
from asyncvddk.backup._disk import BackupDisk, ChangedBlocks, ReadableDisk
from asyncvddk.backup._image import RawImage
from asyncvddk.backup._limits import BackupLimits
from asyncvddk.backup._observer import BackupObserver, BackupProgress
from asyncvddk.backup._parent import find_parent
from asyncvddk.backup._restore import RestoreProgress, RestoreResult, restore
from asyncvddk.backup._sources import find_disks, raw_disk, remote_disk, vmdk_disk
from asyncvddk.backup._targets import DiskTarget, EmptyDiskTarget, StreamTarget, WholeTarget
from asyncvddk.copy import RawTarget, VmdkTarget

__all__ = [
    "BackupDisk",
    "BackupFailedError",
    "BackupLimits",
    "BackupObserver",
    "BackupOptions",
    "BackupProgress",
    "ChangedBlocks",
    "CompareProgress",
    "DiskTarget",
    "EmptyDiskTarget",
    "RawImage",
    "RawTarget",
    "ReadableDisk",
    "RestoreProgress",
    "RestoreResult",
    "StreamTarget",
    "VmdkTarget",
    "WholeTarget",
    "backup",
    "compare",
    "find_disks",
    "find_parent",
    "raw_disk",
    "remote_disk",
    "restore",
    "vmdk_disk",
]
