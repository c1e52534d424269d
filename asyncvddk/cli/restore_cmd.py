"""``asyncvddk restore``."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._options import Flag, TypeName
from asyncvddk.cli._output import say
from asyncvddk.cli._repository import PLACE, Place, run_with_repository
from asyncvddk.cli._restore_vm import MACHINE, ToMachine, Wanted, restore_to_machine
from asyncvddk.cli._run import EXPECTED
from asyncvddk.cli._server import SERVER, Server
from asyncvddk.cli._snapshot_disks import WHOLE, Part, chosen, file_name, stdout_for_bytes
from asyncvddk.cli.copy_cmd import exit_status, format_and_type, reporter_for
from asyncvddk.copy import (
    CopyJob,
    CopyOptions,
    CopyOutcome,
    CopyProgress,
    CopyResult,
    RawTarget,
    VmdkTarget,
    refuse_unreadable,
)
from asyncvddk.copy._destinations import name_copies
from asyncvddk.copy._places import refuse_existing
from asyncvddk.models import CreateParams

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncvddk.backup import RestoreProgress, WholeTarget
    from asyncvddk.cli._report import Reporter
    from asyncvddk.copy import Target
    from asyncvddk.disks._library import Vddk
    from asyncvddk.repository import DiskEntry, Repository, Snapshot

_STDOUT = "-"


def restore(  # noqa: PLR0913  (the options of a command)
    snapshot: Annotated[str, Parameter(name="SNAPSHOT", help="Beginning of its id, or latest.")],
    /,
    *keys: Annotated[str, Parameter(name="KEY", help="Keys of disks, or their names; default: all disks.")],
    to: Annotated[str | None, Parameter(allow_leading_hyphen=True, show_default=False)] = None,
    into: Annotated[Path | None, Parameter(show_default=False)] = None,
    machine: ToMachine = MACHINE,
    only_different: Annotated[bool, Flag] = False,
    part: Part = WHOLE,
    format: Annotated[Literal["raw", "vmdk"] | None, Parameter(show_default=False)] = None,  # noqa: A002
    disk_type: Annotated[TypeName, Parameter(show_default=False)] = "monolithicSparse",
    force: Annotated[bool, Flag] = False,
    sync: Annotated[bool, Flag] = False,
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False,
    server: Server = SERVER,
    place: Place = PLACE,
) -> int:
    """Write disks of a snapshot to raw images, VMDKs, a disk that exists, a virtual machine, or stdout.

    Every byte is checked against the snapshot. A new file appears under its name when it is complete; a disk that
    fails, or Ctrl-C, leaves none. With --into or --vm a disk is a mixture of old and new until the restore has ended
    well. With --offset or --length the rest of a new file is zero, that of a disk given by --into as it was.

    Exit status: 0 all restored, 1 none, 2 wrong usage, 3 some failed, or are missing in a partial snapshot, 10 no
    repository, 12 wrong password, 130 after Ctrl-C.

    Parameters
    ----------
    to
        Existing folder, or one to make if its name ends in a slash; for a single disk also the name of its file, or -
        for stdout.
    into
        Existing VMDK of the same size that takes the place of a new one, for a single disk.
    only_different
        With --into: read what is there, and write only what differs.
    format
        What is made (default: vmdk if the name after --to ends in .vmdk, else raw).
    disk_type
        Kind of VMDK (default: monolithicSparse).
    force
        Replace existing files; with --into: write into a disk that is larger.
    sync
        Wait until new files are on stable storage.
    source
        Only snapshots of this source, as for latest.
    """
    to_machine = machine.wanted()
    _check_place([to, into, machine.vm, machine.new_vm], to, into, only_different=only_different)
    _check_part(part, to_machine=to_machine)
    if (into or to_machine or to == _STDOUT) and (format or sync or disk_type != "monolithicSparse"):
        raise CycloptsError(msg="--format, --disk-type and --sync are for new files")
    options = CopyOptions(*format_and_type(to or "", format, disk_type), overwrite=force, sync=sync)
    stdout = stdout_for_bytes(json=place.json) if to == _STDOUT else None
    what = _What(keys, to or "", into, stdout, options, only_different, part)

    async def command(repository: Repository) -> int:
        if to_machine:
            wanted = Wanted(snapshot, source, keys)
            return await restore_to_machine(repository, wanted, machine, server, place, quiet=quiet)
        found = await repository.find(snapshot, source=source)
        return await _plan_and_restore(repository, found, what, place, quiet=quiet)

    return run_with_repository(command, place, read_only=True)


def _check_place(places: Sequence[object], to: str | None, into: Path | None, *, only_different: bool) -> None:
    """Raise a CycloptsError unless there is one place to restore to."""
    if sum(place is not None for place in places) != 1:
        raise CycloptsError(msg="where to? give one of --to, --into, --vm and --new-vm")
    if to is not None and to.startswith("-") and to != _STDOUT:
        raise CycloptsError(msg=f"--to needs a place, and {to} is none; write ./{to} for a file of this name")
    if only_different and into is None:
        raise CycloptsError(msg="--only-different goes with --into: a new file has nothing to compare with")


def _check_part(part: Part, *, to_machine: bool) -> None:
    """Raise a CycloptsError for a range that makes no sense."""
    if part != WHOLE and to_machine:
        raise CycloptsError(msg="--offset and --length are for --to and --into")
    if part.length is not None and part.length < 1:
        raise CycloptsError(msg="--length: at least one byte")


class _What(NamedTuple):
    """What the user asks for."""

    keys: tuple[str, ...]
    to: str
    into: Path | None
    stdout: int | None
    options: CopyOptions
    only_different: bool
    part: Part

    @property
    def needs_library(self) -> bool:
        """True if VMDKs are written."""
        return self.into is not None or (self.stdout is None and self.options.vmdk)


@dataclass(frozen=True)
class _Task:
    """A disk to restore, and how its target opens."""

    job: CopyJob
    entry: DiskEntry
    target: Callable[[], AbstractAsyncContextManager[Target | WholeTarget]]


async def _plan_and_restore(
    repository: Repository, snapshot: Snapshot, what: _What, place: Place, *, quiet: bool
) -> int:
    """Check everything, then restore; return the exit status."""
    began = time.perf_counter()
    async with AsyncExitStack() as stack:
        vddk: Vddk | None = None
        entries = chosen(snapshot, what.keys)
        if len(entries) > 1 and (what.into is not None or what.stdout is not None):
            keys = ", ".join(entry.key for entry in entries)
            raise ValueError(f"only one disk can go there: choose from {keys}")
        if len(entries) > 1 and what.part != WHOLE:
            raise ValueError(
                f"a range is one of a single disk: choose from {', '.join(entry.key for entry in entries)}"
            )
        if what.needs_library:
            from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (only where it is needed)

            vddk = await stack.enter_async_context(Vddk(libdir=place.libdir, config=place.config))
        for entry in entries:
            what.part.of(entry)
        tasks, new_folder = _plan(vddk, entries, what)
        missing = () if what.keys else snapshot.failed
        for failed in missing:
            say(f"asyncvddk: {failed.key}: not in the snapshot, its backup failed: {failed.reason}")
        reporter = stack.enter_context(reporter_for([task.job for task in tasks], json=place.json, quiet=quiet))
        stack.enter_context(_made(new_folder))
        outcomes = await _restore_all(repository, snapshot, tasks, what.part, reporter)
        reporter.summary(outcomes, time.perf_counter() - began)
    status = exit_status(outcomes)
    return _exit.PARTIAL if missing and status == _exit.DONE else status


def _plan(vddk: Vddk | None, entries: list[DiskEntry], what: _What) -> tuple[list[_Task], Path | None]:
    """Decide where each disk goes, and which folder to make first; changes nothing. Raises OSError, ValueError."""
    options = what.options
    if what.stdout is not None:
        target = partial(_stream, what.stdout)
        return [_Task(CopyJob(Path(entries[0].key), Path(_STDOUT)), entries[0], target)], None
    if what.into is not None and vddk is not None:
        refuse_unreadable(what.into)
        existing = partial(_existing, vddk, what.into.absolute(), entries[0].capacity, what)
        return [_Task(CopyJob(Path(entries[0].key), what.into), entries[0], existing)], None
    jobs, new_folder = name_copies([Path(file_name(entry)) for entry in entries], what.to, options)
    if not options.overwrite:
        for job in jobs:
            refuse_existing(job.destination)
    return [
        _Task(CopyJob(Path(entry.key), job.destination), entry, _new_file(vddk, entry, job.destination, options))
        for entry, job in zip(entries, jobs, strict=True)
    ], new_folder


def _new_file(
    vddk: Vddk | None, entry: DiskEntry, path: Path, options: CopyOptions
) -> Callable[[], AbstractAsyncContextManager[Target | WholeTarget]]:
    """Return what opens a new file."""

    def opened() -> RawTarget | VmdkTarget:
        if vddk is None:
            return RawTarget(path.absolute(), entry.capacity, overwrite=options.overwrite, sync=options.sync)
        params = CreateParams(size=entry.capacity, disk_type=options.disk_type)
        return VmdkTarget(vddk, path.absolute(), params, overwrite=options.overwrite, sync=options.sync)

    return opened


@asynccontextmanager
async def _stream(fd: int) -> AsyncIterator[WholeTarget]:
    """Open stdout as a target."""
    from asyncvddk.backup import StreamTarget  # noqa: PLC0415  (numpy and others take their time to load)

    yield StreamTarget(fd)


@asynccontextmanager
async def _existing(vddk: Vddk, path: Path, size: int, what: _What) -> AsyncIterator[WholeTarget]:
    """Open an existing disk as a target. Raises ValueError for one of another size."""
    from asyncvddk.backup import DiskTarget  # noqa: PLC0415  (numpy and others take their time to load)

    async with vddk.open_disk(path, read_only=False) as disk:
        if disk.size > size and not what.options.overwrite:
            raise ValueError(
                f"{what.into}: the disk has {disk.size} bytes, the snapshot's {size}; --force leaves the rest as it is"
            )
        yield DiskTarget(disk, only_different=what.only_different)


async def _restore_all(
    repository: Repository, snapshot: Snapshot, tasks: list[_Task], part: Part, reporter: Reporter
) -> list[CopyOutcome]:
    """Restore one disk after the other; one that fails does not stop the others."""
    outcomes: list[CopyOutcome] = []
    for task in tasks:
        try:
            outcome = CopyOutcome(task.job, result=await _restore(repository, snapshot, task, part, reporter))
        except BrokenPipeError:  # stdout is the target, and its reader has seen enough
            raise
        except EXPECTED as error:
            outcome = CopyOutcome(task.job, error=error)
        reporter.ended(outcome)
        outcomes.append(outcome)
    return outcomes


@contextmanager
def _made(folder: Path | None) -> Iterator[None]:
    """Make a folder, if there is one to make, that stays when something is in it."""
    if folder is not None:
        folder.mkdir()
    try:
        yield
    finally:
        if folder is not None:
            with suppress(OSError):
                folder.rmdir()


async def _restore(
    repository: Repository, snapshot: Snapshot, task: _Task, part: Part, reporter: Reporter
) -> CopyResult:
    """Restore one disk, or a part of it; tell how far it is as of a copy."""
    from asyncvddk.backup import restore  # noqa: PLC0415  (numpy and others take their time to load)

    async with await repository.open_disk(snapshot, task.entry.key) as stored, task.target() as target:
        state = CopyProgress(part.of(task.entry))

        def told(progress: RestoreProgress) -> None:
            state.bytes_read = min(progress.bytes_read, progress.bytes_done)
            state.bytes_skipped = progress.bytes_done - state.bytes_read
            state.bytes_written = progress.bytes_written
            reporter.progressed(task.job, state)

        reporter.started(task.job, state.size)
        result = await restore(stored, target, start=part.offset, length=state.size, progress=told)
    skipped = result.size - result.bytes_read
    return CopyResult(result.size, result.bytes_read, result.bytes_written, skipped, result.seconds)
