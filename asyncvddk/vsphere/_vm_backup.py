"""Backups of machines: lock, snapshot, changed blocks, copy, and back, whatever happens in between."""

from __future__ import annotations

import re
import secrets
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import structlog

from asyncvddk.backup import BackupDisk, BackupLimits, backup, find_parent
from asyncvddk.errors import DiskChangedError, VddkError
from asyncvddk.repository import RepositoryError, Snapshot
from asyncvddk.vsphere import _inventory, _snapshots
from asyncvddk.vsphere._access import locked
from asyncvddk.vsphere._budget import Budget, is_short
from asyncvddk.vsphere._changes import Changes, changes_of
from asyncvddk.vsphere._configuration import describe
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._journal import Journal, default_folder
from asyncvddk.vsphere._properties import properties
from asyncvddk.vsphere._reading import disks_of
from asyncvddk.vsphere._results import Feasible, MachineBackupOptions, MachineResult, feasible
from asyncvddk.vsphere._vim import Managed, vim
from asyncvddk.vsphere.errors import FaultError, NotPossibleError, ObjectGoneError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from asyncvddk import Vddk
    from asyncvddk.backup import BackupObserver, ReadableDisk
    from asyncvddk.repository import DiskEntry, Repository
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._observer import MachineObserver, Step
    from asyncvddk.vsphere._selection import Selection
    from asyncvddk.vsphere._session import VSphere

_EXPECTED: Final = (OSError, VddkError, ValueError, MemoryError)
"""What a machine may fail of without failing the others; all else is a bug."""
_VMX_LIMIT: Final = 4 << 20
_NVRAM_LIMIT: Final = 8 << 20
_NVRAM: Final = re.compile(rb'^nvram\s*=\s*"([^"/\r\n]+)"', re.MULTILINE)

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
            changes=self.changes,
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
            if self.options.enable_tracking:
                await self._enable_tracking(under)
            self._tell(under, "freezing")
            async with self._frozen(under) as frozen:
                await self._copy(under, frozen)

    def _feasible(self, machine: VirtualMachine) -> Feasible:
        encrypted = self.repository.config.encryption != "none"
        return feasible(machine, self.selection, self.options, encrypted_repository=encrypted)

    def _tell(self, under: _Under, step: Step) -> None:
        if self.observer is not None:
            self.observer.step(under.machine, step)

    async def _enable_tracking(self, under: _Under) -> None:
        """Switch on changed-block tracking; that it cannot be is no reason not to back up."""
        machine = under.machine
        if machine.tracking:
            return
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
                await self._stun(under)
                under.machine = await _inventory.machine(self.vsphere, machine)
            except ObjectGoneError:
                raise
            except FaultError as error:
                reason = str(error)
        if reason is not None:
            _logger.warning("tracking_stays_off", machine=machine.name, reason=reason, effect="each backup reads all")

    async def _stun(self, under: _Under) -> None:
        """Let tracking begin, by a snapshot that is removed at once: else the one to come might have no change ids."""
        made = await _snapshots.create(self.vsphere, self.journal, under.machine, "never")
        await self._thaw(under, made)

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

    async def _copy(self, under: _Under, frozen: _snapshots.Frozen) -> None:
        self._tell(under, "looking")
        machine = under.machine
        config = await self._config(machine, frozen)
        there = {disk.key: disk for disk in disks_of(config.hardware.device or ())}
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
            opened=partial(self._opened, under.machine, frozen, disk),
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

    @asynccontextmanager
    async def _opened(
        self, machine: VirtualMachine, frozen: _snapshots.Frozen, disk: VirtualMachineDisk
    ) -> AsyncIterator[ReadableDisk]:
        """Open a disk in the snapshot when the budget allows it, again while its host is short."""
        async with AsyncExitStack() as opened:
            source = await self._open_in_turn(opened, machine, frozen, disk)
            if source.size != disk.capacity:
                raise DiskChangedError(f"{disk.path} has {source.size} bytes, its configuration says {disk.capacity}")
            yield source

    async def _open_in_turn(
        self, opened: AsyncExitStack, machine: VirtualMachine, frozen: _snapshots.Frozen, disk: VirtualMachineDisk
    ) -> ReadableDisk:
        """Open a disk; ``opened`` closes it and gives its part of the budget back."""
        delays = (self.options.retry or self.vsphere.retry).delays()
        while True:
            async with AsyncExitStack() as turn:
                part = self.budget.disk(vcenter=self.vsphere.server, host=machine.host, datastore=disk.datastore)
                lease = await turn.enter_async_context(part)
                try:
                    source = await turn.enter_async_context(self._open(machine, frozen, disk))
                except VddkError as error:
                    delay = next(delays, None) if is_short(error) else None
                    if delay is None:
                        raise
                    lease.failed(error)
                    _logger.info("opened_later", host=machine.host, disk=disk.path, delay_s=delay, reason=str(error))
                else:
                    opened.push_async_exit(turn.pop_all())
                    return source
            await anyio.sleep(delay)

    @asynccontextmanager
    async def _open(
        self, machine: VirtualMachine, frozen: _snapshots.Frozen, disk: VirtualMachineDisk
    ) -> AsyncIterator[ReadableDisk]:
        open_disk = partial(
            self.vddk.open_disk,
            disk.path,
            params=self.vsphere.connect_params(machine.moref),
            snapshot=frozen.moref,
            transport_modes=self.options.transport_modes,
            identity=None,
        )
        if self.options.retry is None:
            async with open_disk() as plain:
                yield plain
        else:
            async with open_disk(retry=self.options.retry) as retrying:
                yield retrying

    async def _describe(self, under: _Under, frozen: _snapshots.Frozen, config: Managed) -> bytes:
        """Return what is stored besides the disks; a file that cannot be read is noted there."""
        machine = under.machine
        files, missing = await self._files(machine)
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

    async def _files(self, machine: VirtualMachine) -> tuple[dict[str, bytes], dict[str, str]]:
        """Return the files that belong to a machine's configuration, and why one is missing."""
        files: dict[str, bytes] = {}
        missing: dict[str, str] = {}

        async def read(name: str, path: str, limit: int) -> None:
            try:
                files[name] = await self.vsphere.read_file(path, machine.datacenter, limit=limit)
            except (FaultError, ValueError) as error:
                missing[name] = str(error)

        await read("vmx", machine.vmx, _VMX_LIMIT)
        if (nvram := await self._nvram(machine, files.get("vmx", b""))) is not None:
            await read("nvram", nvram, _NVRAM_LIMIT)
        else:
            missing["nvram"] = "it is not known where it is"
        return files, missing

    async def _nvram(self, machine: VirtualMachine, vmx: bytes) -> str | None:
        """Return the path of the file with the firmware's variables."""
        if match := _NVRAM.search(vmx):
            return f"{machine.vmx.rpartition('/')[0]}/{match[1].decode('utf-8', 'replace')}"
        thing = self.vsphere.managed(vim.VirtualMachine, machine.moref)
        what = f"files of {machine.name}"
        try:
            found = await self.vsphere.call(
                lambda: properties(self.vsphere.content, thing, ["layoutEx.file"]), what=what
            )
        except FaultError:
            return None
        return next((str(file.name) for file in found.get("layoutEx.file") or () if file.type == "nvram"), None)


def _entry(parent: Snapshot, disk: VirtualMachineDisk) -> DiskEntry | None:
    """Return the disk's backup in a snapshot."""
    return next((entry for entry in parent.disks if entry.key == str(disk.key)), None)
