"""Backups of virtual machines: what the user chooses, and what is told."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._backup_report import BackupJson
from asyncvddk.cli._options import Flag
from asyncvddk.cli._output import emit, say, tell
from asyncvddk.cli._repository import table
from asyncvddk.cli._text import count_of, describe, format_seconds, format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from asyncvddk.backup import BackupDisk, BackupObserver, BackupProgress
    from asyncvddk.cli._backup_report import BackupReporter
    from asyncvddk.cli._repository import Place
    from asyncvddk.cli._server import Server
    from asyncvddk.repository import DiskEntry
    from asyncvddk.vsphere import MachineBackupOptions, MachinePlan, MachineResult, Selection, VirtualMachine

_Texts = Annotated[tuple[str, ...], Parameter(negative="", show_default=False)]

_LEVELS = {
    "application": "application-consistent",
    "file-system": "file systems consistent",
    "crash": "as after a power cut",
    "off": "it was off",
}


@Parameter(name="*")
@dataclass(frozen=True)
class Machines:
    """Which virtual machines, and how their snapshots are made."""

    vm: _Texts = ()
    """Virtual machine: a name (with * and ?), vm-16, folder:PATH, cluster:NAME, host:NAME; repeatable."""
    all: Annotated[bool, Flag] = False
    """All virtual machines that the user sees."""
    datastore: _Texts = ()
    """All that have files on this datastore; repeatable."""
    exclude_vm: _Texts = ()
    """Leave these out, as for --vm."""
    disk: _Texts = ()
    """Only these disks of each: a device key, scsi0:1, a label, or [datastore] path."""
    exclude_disk: _Texts = ()
    """Leave these disks out."""
    quiesce: Literal["try", "always", "never"] = "try"
    """Let VMware Tools bring file systems to rest: try, else as after a power cut; always: or not at all; never."""
    track: Annotated[bool, Parameter(negative="--no-track", show_default=False)] = True
    """Switch on changed-block tracking where it is off (default)."""
    allow_encrypted: Annotated[bool, Flag] = False
    """Take encrypted disks, too: they are read decrypted, so the repository has to be encrypted."""
    transport: Annotated[str | None, Parameter(show_default=False)] = None
    """Transport modes in their order, as hotadd:nbdssl (default: the library's)."""
    dry_run: Annotated[bool, Flag] = False
    """Say what would be done with each machine, and how many bytes would be read at most; change nothing."""
    disks_per_host: int = 4
    """Disks that are read from one ESXi host at once, to begin with."""

    @property
    def wanted(self) -> bool:
        """True: machines are named."""
        return bool(self.vm or self.all or self.datastore)

    def selection(self) -> Selection:
        """Return the rules. Raises ValueError."""
        from asyncvddk.vsphere import Selection  # noqa: PLC0415  (pyVmomi takes its time to load)

        rules = [*self.vm, *(["all"] if self.all else []), *(f"datastore:{name}" for name in self.datastore)]
        return Selection.parse(rules, exclude=self.exclude_vm, include_disks=self.disk, exclude_disks=self.exclude_disk)

    def options(self, mode: Literal["auto", "allocated", "full"]) -> MachineBackupOptions:
        """Return how they are backed up."""
        from asyncvddk.backup import BackupOptions  # noqa: PLC0415
        from asyncvddk.vsphere import MachineBackupOptions  # noqa: PLC0415

        return MachineBackupOptions(
            quiesce=self.quiesce,
            enable_tracking=self.track,
            allow_encrypted=self.allow_encrypted,
            transport_modes=self.transport.split(":") if self.transport else None,
            backup=BackupOptions(mode=mode),
        )


MACHINES = Machines()


async def back_up(  # noqa: PLR0913  (what the user asks for)
    wanted: Machines,
    server: Server,
    place: Place,
    mode: Literal["auto", "allocated", "full"],
    reporter_for: Callable[[int], BackupReporter],
    *,
    quiet: bool,
) -> int:
    """Back up the machines, tell, and return the exit status."""
    from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that usage errors and --help need no library)
    from asyncvddk.vsphere import Budget, BudgetLimits, back_up_machines, machines, plan_machines  # noqa: PLC0415

    if wanted.disks_per_host < 1:
        raise CycloptsError(msg="--disks-per-host takes a number from 1 on")
    began = time.perf_counter()
    selection = wanted.selection()
    per_host = wanted.disks_per_host
    budget = Budget(BudgetLimits(per_host=per_host, per_host_most=max(per_host, BudgetLimits().per_host_most)))
    async with server.session() as vsphere, Vddk(libdir=place.libdir, config=place.config) as vddk:
        found = selection.machines(await machines(vsphere))  # first: what is wrong with rules costs no password
        async with place.opened(read_only=wanted.dry_run) as repository:
            if wanted.dry_run:
                return _plan(
                    await plan_machines(repository, found, selection=selection, options=wanted.options(mode)),
                    json=place.json,
                )
            with reporter_for(sum(len(selection.disks(machine)) for machine in found)) as reporter:
                teller = MachineTeller(reporter, found, json=place.json, quiet=quiet)
                results = await back_up_machines(
                    vsphere,
                    vddk,
                    repository,
                    found,
                    selection=selection,
                    options=wanted.options(mode),
                    budget=budget,
                    observer=teller,
                )
    teller.summary(results, time.perf_counter() - began)
    outcomes = Counter(result.outcome for result in results)
    if outcomes["failed"] == len(results):
        return _exit.FAILED
    return _exit.DONE if outcomes["done"] == len(results) else _exit.PARTIAL


def _plan(plans: Sequence[MachinePlan], *, json: bool) -> int:
    """Tell what would be done."""
    if json:
        for plan in plans:
            emit("plan", **_plan_facts(plan))
    else:
        table(("MACHINE", "DISKS", "READ ABOUT", "AT MOST", "TRACKING", "SNAPSHOT"), map(_plan_row, plans))
        for plan in plans:
            for line in _plan_notes(plan):
                tell(f"{plan.machine.name}: {line}")
        expected = format_size(sum(plan.expected for plan in plans))
        most = format_size(sum(plan.at_most for plan in plans))
        would = sum(plan.reason is None for plan in plans)
        tell(
            f"{would} of {count_of(len(plans), 'machine')} would be backed up, about {expected} read, {most} at most; "
            "nothing is done"
        )
    return _exit.DONE if any(plan.reason is None for plan in plans) else _exit.FAILED


def _plan_row(plan: MachinePlan) -> tuple[str, ...]:
    if plan.reason:
        return (plan.machine.path, "0", "-", "-", "-", f"none: {plan.reason}")
    sizes = format_size(plan.expected), format_size(plan.at_most)
    return (plan.machine.path, str(len(plan.disks)), *sizes, plan.tracking, "quiesced" if plan.quiesced else "plain")


def _plan_notes(plan: MachinePlan) -> list[str]:
    """Return what a reader should know of it."""
    notes = [f"{one.disk.label} is left out: {one.reason}" for one in plan.skipped]
    if plan.foreign_snapshots:
        notes.append(f"it has {count_of(plan.foreign_snapshots, 'snapshot')} already, which stay")
    if plan.parent is not None:
        notes += [f"{one.disk.label} would be read whole: {one.reason}" for one in plan.disks if one.reason]
    return notes


def _plan_facts(plan: MachinePlan) -> dict[str, object]:
    return {
        "path": plan.machine.path,
        "moref": plan.machine.moref,
        "reason": plan.reason,
        "parent": plan.parent,
        "tracking": plan.tracking,
        "quiesced": plan.quiesced,
        "foreign_snapshots": plan.foreign_snapshots,
        "expected": plan.expected,
        "at_most": plan.at_most,
        "disks": [
            {"key": one.disk.key, "mode": one.mode, "reason": one.reason, "at_most": one.at_most, "last": one.last}
            for one in plan.disks
        ],
        "skipped": [{"key": one.disk.key, "label": one.disk.label, "reason": one.reason} for one in plan.skipped],
    }


class MachineTeller:
    """A ``MachineObserver`` that tells of machines, and lets a ``BackupReporter`` tell of their disks."""

    def __init__(
        self, reporter: BackupReporter, machines: Sequence[VirtualMachine], *, json: bool, quiet: bool
    ) -> None:
        """Begin; ``quiet``: only what went wrong is told."""
        self._reporter = reporter
        self._json = json
        self._quiet = quiet
        names = Counter(machine.name for machine in machines)
        self._names = {
            machine.moref: machine.name if names[machine.name] == 1 else f"{machine.name} ({machine.moref})"
            for machine in machines
        }

    def step(self, machine: VirtualMachine, step: str) -> None:
        """Tell programs how far a machine is."""
        if self._json:
            emit("step", machine=machine.path, moref=machine.moref, step=step)

    def disks(self, machine: VirtualMachine) -> BackupObserver:
        """Return who tells of a machine's disks."""
        return _Renamed(self._reporter, self._names[machine.moref])

    def ended(self, result: MachineResult) -> None:
        """Tell what became of a machine."""
        if self._json:
            emit("machine", **_facts(result))
            return
        name = self._names[result.machine.moref]
        if result.error is not None:
            say(f"asyncvddk: {name}: {describe(result.error)}")
        for line in (*(() if self._quiet else _notes(result)), *_left(result)):
            say(f"{name}: {line}")
        if result.snapshot is not None and not self._quiet:
            say(f"{name}: {result.outcome}, snapshot {result.snapshot.id}, {_LEVELS.get(str(result.level), '')}")

    def summary(self, results: Sequence[MachineResult], seconds: float) -> None:
        """Tell of all together."""
        outcomes = Counter(result.outcome for result in results)
        disks = [disk for result in results if result.snapshot for disk in result.snapshot.disks]
        read, stored = sum(disk.stats.read for disk in disks), sum(disk.stats.stored for disk in disks)
        if self._json:
            counts = {name: outcomes[name] for name in ("done", "partial", "failed")}
            emit("summary", machines=len(results), **counts, read=read, stored=stored, seconds=round(seconds, 3))
            return
        if self._quiet:
            return
        bad = ", ".join(f"{outcomes[name]} {name}" for name in ("partial", "failed") if outcomes[name])
        machines = count_of(len(results), "machine") + (f" ({bad})" if bad else "")
        amounts = f"{format_size(read)} read, {format_size(stored)} stored"
        say(f"{machines}, {count_of(len(disks), 'disk')} in {format_seconds(seconds)}: {amounts}")


@dataclass(frozen=True)
class _Renamed:
    """Gives disks names that say whose they are."""

    reporter: BackupReporter
    machine: str

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Pass on."""
        self.reporter.started(self._named(disk), progress)

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Pass on."""
        self.reporter.progressed(self._named(disk), progress)

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Pass on."""
        self.reporter.ended(self._named(disk), result)

    def _named(self, disk: BackupDisk) -> BackupDisk:
        name = f"{self.machine} {disk.name}"
        key = f"{self.machine} {disk.key}" if isinstance(self.reporter, BackupJson) else name
        return dataclasses.replace(disk, key=key, name=name)


def _notes(result: MachineResult) -> list[str]:
    """Return what a reader should know of a machine's backup."""
    labels = {disk.key: disk.label for disk in result.machine.disks}
    notes = [f"{skipped.disk.label} is left out: {skipped.reason}" for skipped in result.skipped]
    notes += [
        f"{labels.get(key, key)} is read whole: {changes.reason}"
        for key, changes in result.changes.items()
        if changes.reason and result.snapshot is not None and result.snapshot.parent is not None
    ]
    if result.level_reason:
        notes.append(f"not quiesced: {result.level_reason}")
    return notes


def _left(result: MachineResult) -> list[str]:
    """Return what could not be removed."""
    return [f"left behind: {left}; asyncvddk cleanup removes it" for left in result.left]


def _facts(result: MachineResult) -> dict[str, object]:
    return {
        "path": result.machine.path,
        "moref": result.machine.moref,
        "outcome": result.outcome,
        "snapshot": result.snapshot.id if result.snapshot else None,
        "source": result.machine.source,
        "level": result.level,
        "level_reason": result.level_reason,
        "changes": {str(key): {"size": one.size, "reason": one.reason} for key, one in result.changes.items()},
        "skipped": [{"key": one.disk.key, "label": one.disk.label, "reason": one.reason} for one in result.skipped],
        "error": describe(result.error) if result.error else None,
        "left": list(result.left),
    }
