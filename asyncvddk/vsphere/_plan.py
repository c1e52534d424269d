"""What a backup of machines would do, and how much it would read at most; nothing is changed for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from asyncvddk.repository import SnapshotNotFoundError
from asyncvddk.vsphere._changes import another_disk
from asyncvddk.vsphere._results import MachineBackupOptions, Skipped, feasible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.repository import DiskEntry, Repository, Snapshot
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._selection import Selection


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """How a disk would be read."""

    disk: VirtualMachineDisk
    how: Literal["changes", "all"]
    """``changes``: only what changed since the last backup, if the server then tells; ``all``: what is allocated."""
    reason: str | None
    """Why all of it."""
    most: int
    """Bytes that are read at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """What would be done with a machine."""

    machine: VirtualMachine
    parent: Snapshot | None
    """The last backup."""
    disks: tuple[DiskPlan, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    reason: str | None = None
    """Why nothing would be done; None: it would be backed up."""
    steps: tuple[str, ...] = ()
    """What would be changed on the server, in order, in words."""

    @property
    def most(self) -> int:
        """Bytes that are read at most."""
        whole = sum(disk.most for disk in self.disks)
        return min(whole, self.machine.used) if self.machine.used else whole


async def plan_backup(
    repository: Repository,
    machines: Sequence[VirtualMachine],
    *,
    selection: Selection | None = None,
    options: MachineBackupOptions | None = None,
) -> list[MachinePlan]:
    """Return what ``back_up_machines`` would do with these machines of an inventory; asks the repository alone.

    How much changed, or is allocated, cannot be known before there is a snapshot: the bytes are the disks' capacities,
    but no more than the machine's files take on their datastores. Raises StoreError, DamagedError.
    """
    options = options or MachineBackupOptions()
    encrypted = repository.config.encryption != "none"
    plans = []
    for machine in machines:
        can = feasible(machine, selection, options, encrypted_repository=encrypted)
        parent = await _parent(repository, machine)
        if can.reason is not None:
            plans.append(MachinePlan(machine=machine, parent=parent, skipped=can.skipped, reason=can.reason))
            continue
        disks = tuple(_disk(machine, disk, parent, options) for disk in can.disks)
        steps = tuple(_steps(machine, options))
        plans.append(MachinePlan(machine=machine, parent=parent, disks=disks, skipped=can.skipped, steps=steps))
    return plans


async def _parent(repository: Repository, machine: VirtualMachine) -> Snapshot | None:
    try:
        return await repository.find(source=machine.source)
    except SnapshotNotFoundError:
        return None


def _disk(
    machine: VirtualMachine, disk: VirtualMachineDisk, parent: Snapshot | None, options: MachineBackupOptions
) -> DiskPlan:
    base = next((entry for entry in parent.disks if entry.key == str(disk.key)), None) if parent else None
    reason = _why_all(machine, disk, base, options)
    return DiskPlan(disk, "all" if reason else "changes", reason, disk.capacity)


def _why_all(
    machine: VirtualMachine, disk: VirtualMachineDisk, base: DiskEntry | None, options: MachineBackupOptions
) -> str | None:
    if options.backup.mode != "auto":
        return f"mode {options.backup.mode}"
    if base is None:
        return "no earlier backup of this disk"
    if not machine.tracking:
        return "changes are not tracked"
    if base.change_id is None:
        return "changes were not tracked at the last backup"
    return another_disk(base, disk)


def _steps(machine: VirtualMachine, options: MachineBackupOptions) -> list[str]:
    """Return what would be changed on the server."""
    steps = ["lock against relocation"] if options.lock else []
    if options.enable_tracking and not machine.tracking and machine.tracking_possible and not machine.snapshots:
        steps.append("switch on changed-block tracking")
    how = {"try": ", quiesced if that works", "always": ", quiesced", "never": ""}[options.quiesce]
    return [*steps, f"make a snapshot{how if machine.running else ''}", "read", "remove the snapshot"]
