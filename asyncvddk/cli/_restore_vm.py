"""Disks of a snapshot into a virtual machine: one that is off, or one that is made anew."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._output import say
from asyncvddk.cli._snapshot_disks import chosen
from asyncvddk.cli.copy_cmd import exit_status, reporter_for
from asyncvddk.copy import CopyJob, CopyOutcome, CopyProgress, CopyResult
from asyncvddk.errors import VddkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.backup import RestoreProgress
    from asyncvddk.cli._report import Reporter
    from asyncvddk.cli._repository import Place
    from asyncvddk.cli._server import Server
    from asyncvddk.repository import Repository
    from asyncvddk.vsphere import DiskPair, RestoredDisk, VirtualMachine, VSphere


@Parameter(name="*")
@dataclass(frozen=True)
class ToMachine:
    """Which machine gets the disks."""

    vm: str | None = None
    """Machine of the server that is off and has no snapshots: a name, or a rule as for vms. Each disk goes to the one
    with the same device key; what is there already is not written again. The latest snapshot is then the machine's own,
    unless --source names another one."""
    new_vm: str | None = None
    """Make the machine anew under this name, from its stored configuration; it stays off."""
    datastore: str | None = None
    """With --new-vm: where its disks are made."""
    host: str | None = None
    """With --new-vm: ESXi host that has the datastore (default: the old machine's, else any that works)."""

    def wanted(self) -> bool:
        """Tell whether there is one. Raises a CycloptsError for what does not fit together."""
        if self.new_vm is None and (self.datastore or self.host):
            raise CycloptsError(msg="--datastore and --host go with --new-vm")
        if self.new_vm is not None and self.datastore is None:
            raise CycloptsError(msg="--new-vm needs --datastore, for its disks")
        return bool(self.vm or self.new_vm)


MACHINE = ToMachine()


@dataclass(frozen=True)
class Wanted:
    """What is restored: a snapshot as the user calls it, and which of its disks."""

    snapshot: str
    source: str | None
    keys: tuple[str, ...]


async def restore_to_machine(  # noqa: PLR0913  (what the user asks for)
    repository: Repository, wanted: Wanted, to: ToMachine, server: Server, place: Place, *, quiet: bool
) -> int:
    """Restore, tell, and return the exit status; the latest snapshot is the machine's own, unless a source is named."""
    from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that usage errors and --help need no library)
    from asyncvddk.vsphere import restore_as_new, restore_disks  # noqa: PLC0415  (pyVmomi takes its time to load)

    began = time.perf_counter()
    async with server.session() as vsphere, Vddk(libdir=place.libdir, config=place.config) as vddk:
        machine = None if to.vm is None else await _machine(vsphere, to.vm)
        source = wanted.source
        if machine is not None and source is None and wanted.snapshot == "latest":
            source = machine.source
        snapshot = await repository.find(wanted.snapshot, source=source)
        keys = [entry.key for entry in chosen(snapshot, wanted.keys)]
        names = {entry.key: entry.name for entry in snapshot.disks}
        whose = machine.name if machine is not None else to.new_vm
        jobs = {key: CopyJob(Path(key), Path(f"{whose} {names[key]}")) for key in keys}
        failed = () if wanted.keys else snapshot.failed
        for one in failed:
            say(f"asyncvddk: {one.key}: not in the snapshot, its backup failed: {one.reason}")
        with reporter_for(list(jobs.values()), json=place.json, quiet=quiet) as reporter:
            told = _Teller(reporter, jobs)
            if machine is not None:
                found = await restore_disks(vsphere, vddk, repository, snapshot, machine, keys=keys, progress=told)
            else:
                made = await restore_as_new(
                    vsphere,
                    vddk,
                    repository,
                    snapshot,
                    name=str(to.new_vm),
                    datastore=str(to.datastore),
                    host=to.host,
                    progress=told,
                )
                found = made.disks
                for text in made.left_out:
                    say(f"asyncvddk: {made.machine.path}: left out: {text}")
                say(f"{made.machine.path} ({made.machine.moref}) made; it is off")
            outcomes = [_outcome(jobs[one.pair.entry.key], one) for one in found]
            for outcome in outcomes:
                reporter.ended(outcome)
            reporter.summary(outcomes, time.perf_counter() - began)
    status = exit_status(outcomes)
    return _exit.PARTIAL if failed and status == _exit.DONE else status


class _Teller:
    """Tells a reporter of copies how far disks are."""

    def __init__(self, reporter: Reporter, jobs: dict[str, CopyJob]) -> None:
        self._reporter = reporter
        self._jobs = jobs
        self._states: dict[str, CopyProgress] = {}

    def __call__(self, pair: DiskPair, progress: RestoreProgress) -> None:
        """Tell."""
        key = pair.entry.key
        if key not in self._states:
            self._states[key] = CopyProgress(progress.size)
            self._reporter.started(self._jobs[key], progress.size)
        state = self._states[key]
        state.bytes_read, state.bytes_written = progress.bytes_done, progress.bytes_written
        self._reporter.progressed(self._jobs[key], state)


async def _machine(vsphere: VSphere, rule: str) -> VirtualMachine:
    """Return the one machine that a rule names."""
    from asyncvddk.vsphere import Selection, machines  # noqa: PLC0415  (pyVmomi takes its time to load)

    return _only(Selection.parse([rule], templates=True).machines(await machines(vsphere)), rule)


def _only(found: Sequence[VirtualMachine], rule: str) -> VirtualMachine:
    """Return the one machine that a rule names."""
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{machine.path} ({machine.moref})" for machine in found)
    raise VddkError(f"--vm {rule}: several machines are named: {names}")


def _outcome(job: CopyJob, restored: RestoredDisk) -> CopyOutcome:
    if restored.result is None:
        return CopyOutcome(job, error=restored.error)
    result = restored.result
    skipped = result.size - result.bytes_read
    return CopyOutcome(
        job, result=CopyResult(result.size, result.bytes_read, result.bytes_written, skipped, result.seconds)
    )
