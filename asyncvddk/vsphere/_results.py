"""What is asked of a backup of machines, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal

from asyncvddk.backup import BackupOptions
from asyncvddk.disks._retry import RetryPolicy
from asyncvddk.vsphere._machines import STOPS_SNAPSHOTS, Obstacle

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from asyncvddk.repository import Snapshot
    from asyncvddk.vsphere._changes import Changes
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._selection import Selection
    from asyncvddk.vsphere._snapshots import Level, Quiesce

MOST_SNAPSHOTS: Final = 28
"""A chain bears 32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineBackupOptions:
    """How machines are backed up."""

    quiesce: Quiesce = "try"
    """``try``: quiesced by VMware Tools if that works; ``always``: or not at all; ``never``."""
    enable_tracking: bool = True
    """Switch on changed-block tracking where it is off and can be; the next backup can use it."""
    allow_encrypted: bool = False
    """Take encrypted disks, too, which are read decrypted; only into a repository that is encrypted."""
    lock: bool = True
    """Keep vCenter from relocating a machine that is backed up (PrepareForAccess)."""
    most_snapshots: int = MOST_SNAPSHOTS
    """A machine with so many snapshots is not given another one."""
    transport_modes: Sequence[str] | None = None
    """As for ``Vddk.connect``; None: the library's own list, the next one where one does not work."""
    retry: RetryPolicy | None = field(default_factory=lambda: RetryPolicy(reconnect=True))
    """What is tried again when disks are opened and read."""
    backup: BackupOptions = field(default_factory=BackupOptions)
    """How disks are read."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A disk that is not backed up."""

    disk: VirtualMachineDisk
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineResult:
    """What became of a machine."""

    machine: VirtualMachine
    snapshot: Snapshot | None = None
    """Of the repository; None: there is none, see ``error``."""
    level: Level | None = None
    """How consistent it is."""
    level_reason: str | None = None
    """Why less than was asked for."""
    changes: Mapping[int, Changes] = field(default_factory=dict)
    """By device key: how much changed, or why all was read; without the ranges, which may be many."""
    skipped: tuple[Skipped, ...] = ()
    error: Exception | None = None
    left: tuple[str, ...] = ()
    """What could not be undone: ``cleanup`` does it."""

    @property
    def outcome(self) -> Literal["done", "partial", "failed"]:
        """Return ``partial`` if a disk could not be read, or something was left behind."""
        if self.snapshot is None:
            return "failed"
        return "partial" if self.snapshot.partial or self.left else "done"


@dataclass(frozen=True, slots=True)
class Feasible:
    """What of a machine can be backed up."""

    disks: tuple[VirtualMachineDisk, ...]
    skipped: tuple[Skipped, ...]
    reason: str | None
    """Why nothing of the machine can; None: the disks can."""


def feasible(
    machine: VirtualMachine, selection: Selection | None, options: MachineBackupOptions, *, encrypted_repository: bool
) -> Feasible:
    """Tell what of a machine can be backed up. Pure."""
    allowed = options.allow_encrypted and encrypted_repository
    taken: list[VirtualMachineDisk] = []
    skipped: list[Skipped] = []
    for disk in machine.disks:
        if selection is not None and not selection.takes_disk(disk):
            skipped.append(Skipped(disk, "not selected"))
        elif disk.obstacle is None or (disk.obstacle is Obstacle.ENCRYPTED and allowed):
            taken.append(disk)
        else:
            skipped.append(Skipped(disk, disk.obstacle.value))
    return Feasible(tuple(taken), tuple(skipped), _why_not(machine, taken, options))


def _why_not(machine: VirtualMachine, taken: Sequence[VirtualMachineDisk], options: MachineBackupOptions) -> str | None:
    if machine.connection != "connected":
        return f"it is {machine.connection}: its host or its files cannot be reached"
    for disk in machine.disks:
        if disk.obstacle in STOPS_SNAPSHOTS and disk.obstacle is not None:
            return f"{disk.label} is {disk.obstacle.value}"
    if len(machine.snapshots) >= options.most_snapshots:
        return f"it has {len(machine.snapshots)} snapshots already, a chain bears 32: remove some"
    if not machine.disks:
        return "it has no disks"
    if not taken:
        return "none of its disks can be backed up, or is selected"
    return None
