"""What killed backups and restores have left on a server is removed, by what their journals say and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import structlog

from asyncvddk.errors import VddkError
from asyncvddk.repository import _threads
from asyncvddk.vsphere._access import unlock
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._journal import Journal, JournalFile, default_folder, journals
from asyncvddk.vsphere._new_machine import discard_machine
from asyncvddk.vsphere._snapshots import remove

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk import CleanupResult, Vddk
    from asyncvddk.vsphere._journal import Entry
    from asyncvddk.vsphere._session import VSphere

_logger = structlog.get_logger()


@dataclass(slots=True)
class CleanupReport:
    """What a cleanup found and did."""

    snapshots: list[str] = field(default_factory=list)
    """Machines of which a snapshot was removed."""
    made: list[str] = field(default_factory=list)
    """Machines that were being made anew, and were removed."""
    locks: list[str] = field(default_factory=list)
    """Machines whose access lock was ended."""
    running: list[Path] = field(default_factory=list)
    """Journals of backups and restores that run: left alone."""
    elsewhere: list[Path] = field(default_factory=list)
    """Journals that speak of another vCenter."""
    problems: list[str] = field(default_factory=list)
    """What could not be undone, and why; it is tried again by the next cleanup."""
    disks: CleanupResult | None = None
    """What VDDK's own cleanup says of attached disks; None: it was not asked."""


async def cleanup(vsphere: VSphere, vddk: Vddk | None, *, journal: Path | None = None) -> CleanupReport:
    """Finish what backups and restores did not that were killed on this machine.

    Their snapshots are removed, machines that were being made anew too, and their access locks end. ``journal`` is the
    folder of journals (default: that of ``back_up_machines``). Journals of those that run are left alone, and so is
    every snapshot and machine that no journal names. Without ``vddk`` locks stay. Then VDDK's own cleanup is
    called, which detaches disks that were attached to this machine (HotAdd).

    Raises JournalError (the folder cannot be read), ServerConnectionError, LoginError. Cancelled between two steps.
    """
    report = CleanupReport()
    for path in await _threads.run(partial(journals, journal or default_folder())):
        await _one(vsphere, vddk, path, report)
    if vddk is not None and vsphere.about.vcenter:
        try:
            report.disks = await vddk.cleanup(vsphere.connect_params("vm-0"))
        except VddkError as error:
            report.problems.append(f"disks that were attached to this machine: {error}")
    return report


async def _one(vsphere: VSphere, vddk: Vddk | None, path: Path, report: CleanupReport) -> None:
    taken: list[JournalFile] = []

    def take() -> None:
        file = JournalFile.take_over(path)
        if file is not None:
            taken.append(file)

    try:
        await _threads.run(take)
        if not taken:
            report.running.append(path)
            return
        await _undo(vsphere, vddk, taken[0], report)
    finally:
        for file in taken:
            await to_its_end(_threads.run(file.close))


async def _undo(vsphere: VSphere, vddk: Vddk | None, file: JournalFile, report: CleanupReport) -> None:
    record = file.record
    if record.damage is not None:
        report.problems.append(
            f"{file.path}: {record.damage}: it is damaged; look for snapshots named 'asyncvddk-...' by hand, then "
            "delete the file"
        )
    if record.entries and record.instance != vsphere.about.instance:
        report.elsewhere.append(file.path)
        return
    journal = Journal(file)
    for entry in sorted(journal.left, key=lambda entry: entry.kind, reverse=True):  # snapshots, machines, then locks
        try:
            await _undo_one(vsphere, vddk, journal, entry, report)
        except VddkError as error:
            report.problems.append(f"{entry.kind} of {entry.facts.get('machine', entry.facts.get('vm'))}: {error}")


async def _undo_one(vsphere: VSphere, vddk: Vddk | None, journal: Journal, entry: Entry, report: CleanupReport) -> None:
    machine = entry.facts.get("machine", entry.facts["vm"])
    if entry.kind == "snapshot":
        if await to_its_end(remove(vsphere, journal, entry.number, entry.facts)):
            report.snapshots.append(machine)
            _logger.info("snapshot_removed", machine=machine, snapshot=entry.facts["name"])
    elif entry.kind == "machine":
        await to_its_end(discard_machine(vsphere, journal, entry))
        report.made.append(machine)
    elif vddk is not None:
        await unlock(vsphere, vddk, journal, entry)
        report.locks.append(machine)
    else:
        report.problems.append(f"the access lock of {machine} stays: no library was given to end it")
