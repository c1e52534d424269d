"""A dry run: what a backup of machines would do, and how much it would read. Changes nothing anywhere."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from asyncvddk.backup import find_parent
from asyncvddk.vsphere._changes import since
from asyncvddk.vsphere._results import MachineBackupOptions, feasible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from asyncvddk.repository import DiskEntry, Repository, Snapshot
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._results import Skipped
    from asyncvddk.vsphere._selection import Selection

Tracking: TypeAlias = Literal["on", "off", "switched on"]


@dataclass(frozen=True, slots=True)
class DiskPlan:
    """What would be read of a disk."""

    disk: VirtualMachineDisk
    mode: Literal["full", "allocated", "changed"]
    reason: str | None
    """Why it is not only what changed."""
    at_most: int
    """Bytes that would be read at most: how many exactly, only a snapshot could tell."""
    last: int | None
    """Bytes that were read the last time in this mode; None: there was no such time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachinePlan:
    """What would be done with a machine."""

    machine: VirtualMachine
    reason: str | None
    """Why nothing would be backed up; None: the disks would."""
    disks: tuple[DiskPlan, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    tracking: Tracking = "off"
    quiesced: bool = False
    """A quiesced snapshot would be asked for."""
    parent: str | None = None
    """Id of the snapshot in the repository that it would be compared with."""
    foreign_snapshots: int = 0
    """Snapshots that the machine has: they stay, but they slow it down, and keep tracking from being switched on."""

    @property
    def at_most(self) -> int:
        """Bytes that would be read at most, of all disks."""
        return sum(disk.at_most for disk in self.disks)

    @property
    def expected(self) -> int:
        """Bytes, if each disk is as the last time."""
        return sum(disk.at_most if disk.last is None else min(disk.last, disk.at_most) for disk in self.disks)


async def plan_machines(
    repository: Repository,
    machines: Iterable[VirtualMachine],
    *,
    selection: Selection | None = None,
    options: MachineBackupOptions | None = None,
) -> list[MachinePlan]:
    """Tell what ``back_up_machines`` would do with machines of an inventory that was just read, in their order.

    Reads the repository's newest snapshot of each machine. Raises DamagedError, StoreError.
    """
    options = options or MachineBackupOptions()
    encrypted = repository.config.encryption != "none"
    plans = []
    for machine in machines:
        can = feasible(machine, selection, options, encrypted_repository=encrypted)
        if can.reason is not None:
            plans.append(MachinePlan(machine=machine, reason=can.reason, skipped=can.skipped))
            continue
        parent = await find_parent(repository, machine.source)
        plans.append(plan(machine, can.disks, can.skipped, parent, options))
    return plans


def plan(
    machine: VirtualMachine,
    disks: Sequence[VirtualMachineDisk],
    skipped: Sequence[Skipped],
    parent: Snapshot | None,
    options: MachineBackupOptions,
) -> MachinePlan:
    """Plan one machine whose disks can be backed up. Pure but for the time of day."""
    bases = {entry.key: entry for entry in parent.disks} if parent is not None else {}
    tracking: Tracking = "on" if machine.tracking else "off"
    if not machine.tracking and options.enable_tracking and machine.tracking_possible and not machine.snapshots:
        tracking = "switched on"
    return MachinePlan(
        machine=machine,
        reason=None,
        disks=tuple(_plan_disk(machine, disk, bases.get(str(disk.key)), options) for disk in disks),
        skipped=tuple(skipped),
        tracking=tracking,
        quiesced=machine.running and options.quiesce != "never",
        parent=parent.id if parent is not None else None,
        foreign_snapshots=len(machine.snapshots),
    )


def _plan_disk(
    machine: VirtualMachine, disk: VirtualMachineDisk, base: DiskEntry | None, options: MachineBackupOptions
) -> DiskPlan:
    if options.backup.mode == "full":
        return DiskPlan(disk, "full", "mode full", disk.capacity, disk.capacity)
    if options.backup.mode == "allocated":
        return DiskPlan(disk, "allocated", "mode allocated", _allocated(machine, disk), _read(base, "allocated"))
    _, reason = since(base, disk)
    if reason is None and base is not None:
        if time.time() - base.read_whole > options.backup.read_whole_every_s:
            reason = "it is time to read all"
        else:
            return DiskPlan(disk, "changed", None, _allocated(machine, disk), _read(base, "changed"))
    return DiskPlan(disk, "allocated", reason, _allocated(machine, disk), _read(base, "allocated"))


def _allocated(machine: VirtualMachine, disk: VirtualMachineDisk) -> int:
    """Return how much of a disk is allocated at most: a thin one takes no more than all files of its machine."""
    return min(disk.capacity, machine.used) if disk.thin and machine.used else disk.capacity


def _read(base: DiskEntry | None, mode: str) -> int | None:
    return base.stats.read if base is not None and base.mode == mode else None
