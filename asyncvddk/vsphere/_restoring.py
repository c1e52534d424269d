"""The way back into a virtual machine that is there: its disks get the content of a backup."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from asyncvddk.backup import DiskTarget, restore
from asyncvddk.errors import VddkError
from asyncvddk.vsphere._access import locked
from asyncvddk.vsphere._inventory import machine as look_at
from asyncvddk.vsphere._journal import Journal, default_folder
from asyncvddk.vsphere._machines import Obstacle
from asyncvddk.vsphere._vim import vim
from asyncvddk.vsphere.errors import NotFoundError, NotPossibleError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from asyncvddk import AsyncDisk, Vddk
    from asyncvddk.backup import EmptyDiskTarget, RestoreProgress, RestoreResult
    from asyncvddk.repository import DiskEntry, Repository, Snapshot
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._session import VSphere

JOBS: Final = 4
_EXPECTED: Final = (OSError, VddkError, ValueError, MemoryError)


@dataclass(frozen=True, slots=True)
class DiskPair:
    """A disk of a backup, and the machine's disk that it goes to."""

    entry: DiskEntry
    disk: VirtualMachineDisk


@dataclass(frozen=True, slots=True)
class RestoredDisk:
    """How the restore of one disk ended."""

    pair: DiskPair
    result: RestoreResult | None = None
    error: Exception | None = None
    """What it failed of: the disk is a mixture of old and new then, if writing had begun. Restore it again."""


def pair_disks(snapshot: Snapshot, machine: VirtualMachine, keys: Iterable[str] = ()) -> list[DiskPair]:
    """Return which disk of ``snapshot`` goes to which disk of ``machine``: the one with the same device key.

    ``keys``: only these. Pure. Raises NotFoundError (no such disk, there or here), NotPossibleError (it is smaller
    than its backup, or cannot be written).
    """
    wanted = list(keys)
    if strange := sorted(set(wanted) - {entry.key for entry in snapshot.disks}):
        raise NotFoundError(f"snapshot {snapshot.id} has no disk {strange[0]}")
    disks = {str(disk.key): disk for disk in machine.disks}
    pairs = []
    for entry in snapshot.disks:
        if wanted and entry.key not in wanted:
            continue
        disk = disks.get(entry.key)
        if disk is None:
            raise NotFoundError(
                f"{machine.path} has no disk with the device key {entry.key} ({entry.name}): attach one of "
                f"{entry.capacity} bytes, or leave it out"
            )
        if disk.obstacle in {Obstacle.PHYSICAL_RDM, Obstacle.UNKNOWN_BACKING}:
            raise NotPossibleError(f"{machine.path}, {disk.label}: {disk.obstacle.value}")
        if disk.capacity < entry.capacity:
            raise NotPossibleError(
                f"{machine.path}, {disk.label}: it has {disk.capacity} bytes, its backup {entry.capacity}: grow it"
            )
        pairs.append(DiskPair(entry, disk))
    if not pairs:
        raise NotFoundError(f"snapshot {snapshot.id} has no disks")
    return pairs


async def restore_disks(  # noqa: PLR0913  (each is a fact of its own)
    vsphere: VSphere,
    vddk: Vddk,
    repository: Repository,
    snapshot: Snapshot,
    known: VirtualMachine,
    *,
    keys: Sequence[str] = (),
    only_different: bool = True,
    transport_modes: Sequence[str] | None = None,
    jobs: int = JOBS,
    journal: Path | None = None,
    progress: Callable[[DiskPair, RestoreProgress], object] | None = None,
) -> list[RestoredDisk]:
    """Write the disks of ``snapshot`` into the machine ``known``, which is off; return how each disk ended.

    The machine is looked at anew, and nothing is written unless all that is to be written can be: it is off, has no
    snapshots (whose content would not fit any more), and each disk is there and large enough. It is kept from being
    moved meanwhile (PrepareForAccess; noted in ``journal``, as by ``back_up_machines``). Changed-block tracking is
    switched off before: what it says would not fit; the next backup switches it on again, and reads all.
    ``only_different``: what a disk has already is read, and not written. ``progress`` is called on the event loop, must
    not block.

    Raises NotFoundError, NotPossibleError, FaultError, AccessLockedError before anything is written. Cancelled, reads
    and writes under way are waited for; the disks are mixtures of old and new then: restore again.
    """
    machine = await look_at(vsphere, known)
    _refuse_unfit(machine)
    pairs = pair_disks(snapshot, machine, keys)
    async with AsyncExitStack() as undone:
        folder = journal or default_folder()
        kept = await undone.enter_async_context(
            Journal.open(folder, server=vsphere.server, instance=vsphere.about.instance)
        )
        if vsphere.about.vcenter:
            identity = f"asyncvddk-{secrets.token_hex(8)}"
            await undone.enter_async_context(locked(vsphere, vddk, kept, machine, identity))
        if machine.tracking:
            await _stop_tracking(vsphere, machine)
        writing = Writing(
            vsphere,
            vddk,
            repository,
            snapshot,
            machine,
            partial(DiskTarget, only_different=only_different),
            transport_modes,
            jobs=jobs,
            progress=progress,
        )
        return await writing.all(pairs)


async def _stop_tracking(vsphere: VSphere, machine: VirtualMachine) -> None:
    """Switch changed-block tracking off: what it says would not fit what is written past it."""
    vm = vsphere.managed(vim.VirtualMachine, machine.moref)
    spec = vim.vm.ConfigSpec(changeTrackingEnabled=False)
    await vsphere.task(lambda: vm.ReconfigVM_Task(spec), what=f"switch off tracking of {machine.name}")


@dataclass(frozen=True, slots=True)
class Writing:
    """Disks of a snapshot on their way into a machine, whose access lock is held."""

    vsphere: VSphere
    vddk: Vddk
    repository: Repository
    snapshot: Snapshot
    machine: VirtualMachine
    target: Callable[[AsyncDisk], DiskTarget | EmptyDiskTarget]
    transport_modes: Sequence[str] | None
    jobs: int = JOBS
    progress: Callable[[DiskPair, RestoreProgress], object] | None = None

    async def all(self, pairs: Sequence[DiskPair]) -> list[RestoredDisk]:
        """Write them, ``jobs`` at once; return how each ended."""
        limiter = anyio.CapacityLimiter(self.jobs)
        outcomes: dict[str, RestoredDisk] = {}

        async def one(pair: DiskPair) -> None:
            async with limiter:
                try:
                    outcomes[pair.entry.key] = RestoredDisk(pair, result=await self._one(pair))
                except _EXPECTED as error:
                    outcomes[pair.entry.key] = RestoredDisk(pair, error=error)

        async with anyio.create_task_group() as tasks:
            for pair in pairs:
                tasks.start_soon(one, pair)
        return [outcomes[pair.entry.key] for pair in pairs]

    async def _one(self, pair: DiskPair) -> RestoreResult:
        """Write one disk."""

        def told(state: RestoreProgress) -> None:
            if self.progress is not None:
                self.progress(pair, state)

        stored = await self.repository.open_disk(self.snapshot, pair.entry.key)
        opening = self.vddk.open_disk(
            pair.disk.path,
            params=self.vsphere.connect_params(self.machine.moref),
            transport_modes=self.transport_modes,
            read_only=False,
            identity=None,
        )
        async with stored, opening as disk:
            result = await restore(stored, self.target(disk), progress=told)
            await disk.flush()
        return result


def _refuse_unfit(machine: VirtualMachine) -> None:
    """Raise NotPossibleError for a machine whose disks must not be written."""
    if machine.connection != "connected":
        raise NotPossibleError(f"{machine.path}: its state is {machine.connection}: look at its host")
    if machine.power != "poweredOff":
        raise NotPossibleError(f"{machine.path}: it is not off ({machine.power}): shut it down first")
    if machine.snapshots:
        names = ", ".join(snapshot.name for snapshot in machine.snapshots)
        raise NotPossibleError(
            f"{machine.path}: it has snapshots ({names}), which would not fit its disks any more: remove them first"
        )
