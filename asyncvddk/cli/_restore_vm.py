"""Disks of a snapshot into a virtual machine that is off."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from asyncvddk.cli import _exit
from asyncvddk.cli._output import say
from asyncvddk.cli._snapshot_disks import chosen
from asyncvddk.cli.copy_cmd import exit_status, reporter_for
from asyncvddk.copy import CopyJob, CopyOutcome, CopyProgress, CopyResult
from asyncvddk.errors import VddkError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.backup import RestoreProgress
    from asyncvddk.cli._repository import Place
    from asyncvddk.cli._server import Server
    from asyncvddk.repository import Repository
    from asyncvddk.vsphere import DiskPair, RestoredDisk, VirtualMachine


async def restore_to_machine(  # noqa: PLR0913, PLR0917  (what the user asks for)
    repository: Repository,
    text: str,
    source: str | None,
    keys: Sequence[str],
    rule: str,
    server: Server,
    place: Place,
    *,
    quiet: bool,
) -> int:
    """Restore, tell, and return the exit status; the latest snapshot is the machine's own, unless a source is named."""
    from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that usage errors and --help need no library)
    from asyncvddk.vsphere import Selection, machines, pair_disks, restore_disks  # noqa: PLC0415  (pyVmomi is slow)

    began = time.perf_counter()
    async with server.session() as vsphere, Vddk(libdir=place.libdir, config=place.config) as vddk:
        machine = _only(Selection.parse([rule], templates=True).machines(await machines(vsphere)), rule)
        source = source or (machine.source if text == "latest" else None)
        snapshot = await repository.find(text, source=source)
        wanted = [entry.key for entry in chosen(snapshot, keys)]
        pairs = pair_disks(snapshot, machine, wanted)
        jobs = {pair.entry.key: _job(machine, pair) for pair in pairs}
        states: dict[str, CopyProgress] = {}
        for failed in () if keys else snapshot.failed:
            say(f"asyncvddk: {failed.key}: not in the snapshot, its backup failed: {failed.reason}")
        with reporter_for(list(jobs.values()), json=place.json, quiet=quiet) as reporter:

            def told(pair: DiskPair, progress: RestoreProgress) -> None:
                job = jobs[pair.entry.key]
                if pair.entry.key not in states:
                    states[pair.entry.key] = CopyProgress(progress.size)
                    reporter.started(job, progress.size)
                state = states[pair.entry.key]
                state.bytes_read, state.bytes_written = progress.bytes_done, progress.bytes_written
                reporter.progressed(job, state)

            found = await restore_disks(vsphere, vddk, repository, snapshot, machine, keys=wanted, progress=told)
            outcomes = [_outcome(jobs[one.pair.entry.key], one) for one in found]
            for outcome in outcomes:
                reporter.ended(outcome)
            reporter.summary(outcomes, time.perf_counter() - began)
    status = exit_status(outcomes)
    return _exit.PARTIAL if snapshot.failed and not keys and status == _exit.DONE else status


def _only(found: Sequence[VirtualMachine], rule: str) -> VirtualMachine:
    """Return the one machine that a rule names."""
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{machine.path} ({machine.moref})" for machine in found)
    raise VddkError(f"--vm {rule}: several machines are named: {names}")


def _job(machine: VirtualMachine, pair: DiskPair) -> CopyJob:
    return CopyJob(Path(pair.entry.key), Path(f"{machine.name} {pair.disk.path}"))


def _outcome(job: CopyJob, restored: RestoredDisk) -> CopyOutcome:
    if restored.result is None:
        return CopyOutcome(job, error=restored.error)
    result = restored.result
    skipped = result.size - result.bytes_read
    return CopyOutcome(
        job, result=CopyResult(result.size, result.bytes_read, result.bytes_written, skipped, result.seconds)
    )
