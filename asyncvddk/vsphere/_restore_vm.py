"""Disks of a backup written back into the disks of a machine that is off."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from asyncvddk.backup import DiskTarget, restore
from asyncvddk.vsphere import _inventory
from asyncvddk.vsphere._access import locked
from asyncvddk.vsphere._journal import Journal, default_folder
from asyncvddk.vsphere._machines import Obstacle
from asyncvddk.vsphere._vim import vim
from asyncvddk.vsphere.errors import NotPossibleError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.backup import RestoreProgress, RestoreResult
    from asyncvddk.repository import DiskEntry, Repository, Snapshot
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._session import VSphere

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DiskPair:
    """A disk of a backup, and the disk of a machine that it is written into."""

    entry: DiskEntry
    disk: VirtualMachineDisk


def pairs(snapshot: Snapshot, machine: VirtualMachine, keys: Mapping[str, int] | None = None) -> list[DiskPair]:
    """Return which disk goes where; ``keys``: those to restore, and the device keys of their targets.

    Default: all, each into the disk of its own key. Raises NotPossibleError before anything is changed: the machine is
    not off, it has snapshots, a disk is missing, too small, or cannot be written. Pure.
    """
    if machine.power != "poweredOff":
        raise NotPossibleError(f"{machine.name} is {machine.power}: shut it down first, its disks would be overwritten")
    if machine.snapshots:
        raise NotPossibleError(
            f"{machine.name} has {len(machine.snapshots)} snapshots: remove them first, what is written below them "
            "would make nonsense of them"
        )
    there = {disk.key: disk for disk in machine.disks}
    found = []
    for key, target in (keys if keys is not None else {disk.key: int(disk.key) for disk in snapshot.disks}).items():
        try:
            entry = snapshot.disk(key)
        except KeyError as error:
            raise NotPossibleError(str(error.args[0])) from None
        disk = there.get(target)
        if disk is None:
            raise NotPossibleError(f"{machine.name} has no disk {target}, but {sorted(there)}: say which one to write")
        if disk.capacity < entry.capacity:
            raise NotPossibleError(
                f"{disk.label} of {machine.name} has {disk.capacity} bytes, the backup of {entry.name} has "
                f"{entry.capacity}: grow it first"
            )
        if disk.obstacle not in {None, Obstacle.INDEPENDENT, Obstacle.ENCRYPTED} and disk.obstacle is not None:
            raise NotPossibleError(f"{disk.label} of {machine.name} is {disk.obstacle.value}")
        found.append(DiskPair(entry, disk))
    if len({pair.disk.key for pair in found}) < len(found):
        raise NotPossibleError("two disks of the backup would be written into the same disk")
    if not found:
        raise NotPossibleError(f"snapshot {snapshot.id} has no disks")
    return found


async def restore_into(  # noqa: PLR0913  (each is a fact of its own)
    vsphere: VSphere,
    vddk: Vddk,
    repository: Repository,
    snapshot: Snapshot,
    machine: VirtualMachine,
    *,
    keys: Mapping[str, int] | None = None,
    only_different: bool = True,
    transport_modes: Sequence[str] | None = None,
    journal: Path | None = None,
    progress: Callable[[DiskPair, RestoreProgress], object] | None = None,
) -> list[tuple[DiskPair, RestoreResult]]:
    """Write disks of ``snapshot`` (of a repository) into the disks of a machine that is off; see ``pairs``.

    A disk that is larger than its backup keeps its end. ``only_different``: what is there is read and compared before.
    Changed-block tracking is switched off before: what it says would not fit what is on the disks; the next backup
    switches it on again and reads all. The machine is locked against relocation meanwhile.

    Raises NotPossibleError before anything is changed, NativeError, DamagedError, ObjectMissingError, FaultError,
    JournalError. After an error, or cancelled, the disks are a mixture of old and new: restore again.
    """
    machine = await _inventory.machine(vsphere, machine)
    wanted = pairs(snapshot, machine, keys)
    results: list[tuple[DiskPair, RestoreResult]] = []
    folder = journal or default_folder()
    async with (
        Journal.open(folder, server=vsphere.server, instance=vsphere.about.instance) as kept,
        AsyncExitStack() as undone,
    ):
        if vsphere.about.vcenter:
            identity = f"asyncvddk-{secrets.token_hex(8)}"
            await undone.enter_async_context(locked(vsphere, vddk, kept, machine, identity))
        if machine.tracking:
            vm = vsphere.managed(vim.VirtualMachine, machine.moref)
            spec = vim.vm.ConfigSpec(changeTrackingEnabled=False)
            await vsphere.task(lambda: vm.ReconfigVM_Task(spec), what=f"switch off tracking of {machine.name}")
        params = vsphere.connect_params(machine.moref)
        for pair in wanted:
            pairs(snapshot, await _inventory.machine(vsphere, machine), keys)  # nobody has switched it on meanwhile
            told = None if progress is None else _teller(progress, pair)
            opening = vddk.open_disk(
                pair.disk.path, params=params, read_only=False, transport_modes=transport_modes, identity=None
            )
            async with await repository.open_disk(snapshot, pair.entry.key) as source, opening as disk:
                target = DiskTarget(disk, only_different=only_different)
                result = await restore(source, target, progress=told)
                await disk.flush()
            results.append((pair, result))
            _logger.info("disk_restored", machine=machine.name, disk=pair.disk.path, written=result.bytes_written)
    return results


def _teller(
    progress: Callable[[DiskPair, RestoreProgress], object], pair: DiskPair
) -> Callable[[RestoreProgress], object]:
    return lambda state: progress(pair, state)
