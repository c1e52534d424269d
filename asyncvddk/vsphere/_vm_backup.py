"""Backups of machines: lock, snapshot, changed blocks, copy, and back, whatever happens in between."""

from __future__ import annotations

import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from asyncvddk.backup import BackupDisk, BackupLimits, backup, find_parent
from asyncvddk.errors import VddkError
from asyncvddk.repository import RepositoryError, Snapshot
from asyncvddk.vsphere import _inventory, _snapshots
from asyncvddk.vsphere._access import locked
from asyncvddk.vsphere._budget import Budget
from asyncvddk.vsphere._changes import Changes, changes_of
from asyncvddk.vsphere._configuration import describe
from asyncvddk.vsphere._configuration_files import read_files
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._journal import Journal, default_folder
from asyncvddk.vsphere._opening import DiskOpener
from asyncvddk.vsphere._properties import properties
from asyncvddk.vsphere._reading import disks_of
from asyncvddk.vsphere._results import Feasible, MachineBackupOptions, MachineResult, feasible
from asyncvddk.vsphere._vim import Managed, vim
from asyncvddk.vsphere.errors import FaultError, NotPossibleError, ObjectGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.backup import BackupObserver
    from asyncvddk.repository import DiskEntry, Repository
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._observer import MachineObserver, Step
    from asyncvddk.vsphere._selection import Selection
    from asyncvddk.vsphere._session import VSphere

_EXPECTED: Final = (OSError, VddkError, ValueError, MemoryError)
"""What a machine may fail of without failing the others; all else is a bug."""

_logger = structlog.get_logger()


async def back_up_machines(  # noqa: PLR0913  (each is a fact of its own)
    vsphere: VSphere,
    vddk: Vddk,
    repository: Repository,
    machines: Sequence[VirtualMachine],
    *,
    selection: Selection | None = None,
    options: MachineBackupOptions | None = None,
    limits: BackupLimits | None = None,
    budget: Budget | None = None,
    journal: Path | None = None,
    observer: MachineObserver | None = None,
) -> list[MachineResult]:
    """Back up machines of an inventory, each into a snapshot of its own; return what became of each, in their order.

    A machine's snapshots have the source ``VirtualMachine.source``, and its disks their device keys as keys.
    ``selection`` chooses among its disks. What does not work with one machine is in its result, and stops no other.

    All share ``limits`` (memory, threads) and ``budget`` (disks of a host, a datastore, a vCenter at once). ``journal``
    is the folder in which it is noted, before it is done, what will have to be undone (default:
    ``$XDG_STATE_HOME/asyncvddk/journal``); after a crash ``cleanup`` undoes it.

    Cancelled: copying ends at once, then each snapshot is removed and each lock ended before the cancellation goes on.
    Raises ValueError (a machine that is given twice), JournalError (no journal can be kept).
    """
    if len({machine.moref for machine in machines}) < len(machines):
        raise ValueError("a machine is given twice")
    options = options or MachineBackupOptions()
    budget = budget or Budget()
    # turns are given by the budget: a disk that waits for its host must not hold one of these
    limits = limits or BackupLimits(jobs=max(1, sum(len(machine.disks) for machine in machines)))
    folder = journal or default_folder()
    results: list[MachineResult | None] = [None] * len(machines)
    async with Journal.open(folder, server=vsphere.server, instance=vsphere.about.instance) as kept:
        run = _Run(vsphere, vddk, repository, selection, options, limits, budget, kept, observer)
        try:
            async with anyio.create_task_group() as tasks:
                for number, machine in enumerate(machines):
                    tasks.start_soon(_into, results, number, run, machine)
        except BaseExceptionGroup as group:
            raise _first(group) from None
    return [result for result in results if result is not None]


async def _into(results: list[MachineResult | None], number: int, run: _Run, machine: VirtualMachine) -> None:
    results[number] = await run.machine(machine)


def _first(group: BaseExceptionGroup) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@dataclass(slots=True)
class _Under:
    """A machine under way: what is known of it so far."""

    machine: VirtualMachine
    can: Feasible = field(default_factory=lambda: Feasible((), (), None))
    frozen: _snapshots.Frozen | None = None
    changes: dict[int, Changes] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    error: Exception | None = None
    left: list[str] = field(default_factory=list)

    def result(self) -> MachineResult:
        return MachineResult(
            machine=self.machine,
            snapshot=self.snapshot,
            level=self.frozen.level if self.frozen else None,
            level_reason=self.frozen.reason if self.frozen else None,
            changes={key: replace(changes, blocks=None) for key, changes in self.changes.items()},
            skipped=self.can.skipped,
            error=self.error,
            left=tuple(self.left),
        )


@dataclass(slots=True)
class _Run:
    """What the machines of a backup share; only the loop's thread touches it."""

    vsphere: VSphere
    vddk: Vddk
    repository: Repository
    selection: Selection | None
    options: MachineBackupOptions
    limits: BackupLimits
    budget: Budget
    journal: Journal
    observer: MachineObserver | None
    identity: str = field(default_factory=lambda: f"asyncvddk-{secrets.token_hex(8)}")
    store: RepositoryError | None = None
    """What the store failed of: nothing more is begun."""

    @property
    def opener(self) -> DiskOpener:
        """Opens disks in snapshots."""
        return DiskOpener(self.vsphere, self.vddk, self.budget, self.options)

    async def machine(self, machine: VirtualMachine) -> MachineResult:
        """Back up one machine when it is its turn; what it alone fails of is in the result."""
        under = _Under(machine)
        try:
            async with self.budget.machine(machine.host):
                await self._back_up(under)
        except RepositoryError as error:
            self.store = self.store or error
            under.error = error
        except _EXPECTED as error:
            under.error = error
        if under.error is not None:
            _logger.warning("machine_failed", machine=machine.name, reason=str(under.error))
        result = under.result()
        if self.observer is not None:
            self.observer.ended(result)
        return result

    async def _back_up(self, under: _Under) -> None:
        if self.store is not None:
            raise NotPossibleError(f"not begun, since the repository failed: {self.store}")
        self._tell(under, "checking")
        under.machine = await _inventory.machine(self.vsphere, under.machine)
        under.can = self._feasible(under.machine)
        if under.can.reason is not None:
            raise NotPossibleError(f"{under.machine.name}: {under.can.reason}")
        async with AsyncExitStack() as undone:
            if self.options.lock and self.vsphere.about.vcenter:
                lock = locked(self.vsphere, self.vddk, self.journal, under.machine, self.identity)
                await undone.enter_async_context(lock)
            begun = self.options.enable_tracking and await self._enable_tracking(under)
            if await self._freeze_and_copy(under, unless_late=begun):
                return
            if under.left:
                raise NotPossibleError(f"{under.machine.name}: its snapshot cannot be removed, so no other one is made")
            await self._freeze_and_copy(under, unless_late=False)

    async def _freeze_and_copy(self, under: _Under, *, unless_late: bool) -> bool:
        """Make a snapshot, copy its disks, remove it.

        ``unless_late``: nothing is copied, and False returned, if it has no change ids, since tracking began only with
        it: the next snapshot has them, and is the one to copy, else the next backup would read all once more.
        """
        self._tell(under, "freezing")
        async with self._frozen(under) as frozen:
            self._tell(under, "looking")
            config = await self._config(under.machine, frozen)
            there = {disk.key: disk for disk in disks_of(config.hardware.device or ())}
            if unless_late and any(there[disk.key].change_id is None for disk in under.can.disks if disk.key in there):
                return False
            await self._copy(under, frozen, config, there)
            return True

    def _feasible(self, machine: VirtualMachine) -> Feasible:
        encrypted = self.repository.config.encryption != "none"
        return feasible(machine, self.selection, self.options, encrypted_repository=encrypted)

    def _tell(self, under: _Under, step: Step) -> None:
        if self.observer is not None:
            self.observer.step(under.machine, step)

    async def _enable_tracking(self, under: _Under) -> bool:
        """Switch on changed-block tracking, and tell whether that was done; it need not be for a backup."""
        machine = under.machine
        if machine.tracking:
            return False
        reason = None
        if not machine.tracking_possible:
            reason = f"virtual hardware {machine.hardware_version} or the host cannot do it"
        elif machine.snapshots:
            reason = f"it has {len(machine.snapshots)} snapshots; remove them first"
        else:
            vm = self.vsphere.managed(vim.VirtualMachine, machine.moref)
            spec = vim.vm.ConfigSpec(changeTrackingEnabled=True)
            what = f"switch on changed-block tracking of {machine.name}"
            try:
                await self.vsphere.task(lambda: vm.ReconfigVM_Task(spec), what=what)
            except ObjectGoneError:
                raise
            except FaultError as error:
                reason = str(error)
            else:
                return True
        _logger.warning("tracking_stays_off", machine=machine.name, reason=reason, effect="each backup reads all")
        return False

    @asynccontextmanager
    async def _frozen(self, under: _Under) -> AsyncIterator[_snapshots.Frozen]:
        """Have a snapshot for the block."""
        frozen = await _snapshots.create(self.vsphere, self.journal, under.machine, self.options.quiesce)
        under.frozen = frozen
        try:
            yield frozen
        finally:
            self._tell(under, "thawing")
            await self._thaw(under, frozen)

    async def _thaw(self, under: _Under, frozen: _snapshots.Frozen) -> None:
        """Remove a snapshot; that it cannot be removed is noted in the result, and in the journal."""
        if not await to_its_end(_snapshots.discard(self.vsphere, self.journal, frozen.entry)):
            under.left.append(f"snapshot {frozen.name} ({frozen.moref})")

    async def _copy(
        self, under: _Under, frozen: _snapshots.Frozen, config: Managed, there: Mapping[int, VirtualMachineDisk]
    ) -> None:
        """Copy the disks ``there`` are in a snapshot, and what belongs to them."""
        machine = under.machine
        taken = [there[disk.key] for disk in under.can.disks if disk.key in there]
        if lost := [disk.label for disk in under.can.disks if disk.key not in there]:
            raise NotPossibleError(f"{machine.name}: the snapshot has no {', '.join(lost)}")
        parent = await find_parent(self.repository, machine.source)
        disks = [await self._disk(under, frozen, disk, parent) for disk in taken]
        blob = await self._describe(under, frozen, config)
        self._tell(under, "copying")
        under.snapshot = await backup(
            self.repository,
            disks,
            source=machine.source,
            parent=parent,
            tags=[f"vm={machine.name}", f"level={frozen.level}"],
            config=blob,
            options=self.options.backup,
            limits=self.limits,
            observer=self._disk_observer(machine),
        )

    def _disk_observer(self, machine: VirtualMachine) -> BackupObserver | None:
        return self.observer.disks(machine) if self.observer is not None else None

    async def _config(self, machine: VirtualMachine, frozen: _snapshots.Frozen) -> Managed:
        """Return the configuration that the snapshot froze: only there disks have the names that can be read."""
        thing = self.vsphere.managed(vim.vm.Snapshot, frozen.moref)
        what = f"look at the snapshot of {machine.name}"
        found = await self.vsphere.call(lambda: properties(self.vsphere.content, thing, ["config"]), what=what)
        if "config" not in found:
            raise NotPossibleError(f"{machine.name}: the snapshot's configuration cannot be read")
        return found["config"]

    async def _disk(
        self, under: _Under, frozen: _snapshots.Frozen, disk: VirtualMachineDisk, parent: Snapshot | None
    ) -> BackupDisk:
        base = _entry(parent, disk) if parent is not None else None
        changes = await self._changes(under.machine, frozen, disk, base)
        under.changes[disk.key] = changes
        return BackupDisk(
            key=str(disk.key),
            name=disk.path.rpartition("/")[2],
            opened=partial(self.opener.opened, under.machine, frozen.moref, disk),
            uuid=disk.uuid,
            change_id=disk.change_id,
            changed=changes.blocks,
        )

    async def _changes(
        self, machine: VirtualMachine, frozen: _snapshots.Frozen, disk: VirtualMachineDisk, base: DiskEntry | None
    ) -> Changes:
        if self.options.backup.mode != "auto":
            return Changes(None, f"mode {self.options.backup.mode}", disk.capacity)
        return await changes_of(self.vsphere, machine.moref, frozen.moref, disk, base)

    async def _describe(self, under: _Under, frozen: _snapshots.Frozen, config: Managed) -> bytes:
        """Return what is stored besides the disks; a file that cannot be read is noted there."""
        machine = under.machine
        files, missing = await read_files(self.vsphere, machine)
        described = describe(
            machine,
            config,
            stored={disk.key: None for disk in under.can.disks}
            | {skipped.disk.key: skipped.reason for skipped in under.can.skipped},
            snapshot={"moref": frozen.moref, "name": frozen.name, "reason": frozen.reason or ""},
            level=frozen.level,
            server=self.vsphere.server,
            xml=self.vsphere.to_xml(config),
            files=files,
            missing=missing,
        )
        return described.to_bytes()


def _entry(parent: Snapshot, disk: VirtualMachineDisk) -> DiskEntry | None:
    """Return the disk's backup in a snapshot."""
    return next((entry for entry in parent.disks if entry.key == str(disk.key)), None)
