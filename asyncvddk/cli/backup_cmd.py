"""``asyncvddk backup``."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._backup_report import BackupJson, BackupLines, QuietBackup
from asyncvddk.cli._backup_vms import MACHINES, Machines, back_up
from asyncvddk.cli._output import say
from asyncvddk.cli._repository import PLACE, Place, errors_as_json
from asyncvddk.cli._run import run_command
from asyncvddk.cli._server import SERVER, Server
from asyncvddk.cli._snapshot_disks import source_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.backup import BackupDisk
    from asyncvddk.cli._backup_report import BackupReporter
    from asyncvddk.repository import Repository, Snapshot

Mode = Literal["auto", "allocated", "full"]


def backup(  # noqa: PLR0913  (the options of a command)
    *disks: Annotated[str, Parameter(name="DISK", help="VMDKs, raw images, block devices, or folders with such.")],
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    tag: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    jobs: int = 4,
    mode: Mode = "auto",
    parent: Annotated[str | None, Parameter(show_default=False)] = None,
    job: Annotated[str | None, Parameter(show_default=False)] = None,
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False,
    machines: Machines = MACHINES,
    server: Server = SERVER,
    place: Place = PLACE,
) -> int:
    """Back up disks, or virtual machines of a vCenter, into a repository, several at once; only what is new is stored.

    Disks become one snapshot of the repository. A disk is known by its path as given: back up the same disks with the
    same words, or with absolute paths.

    Machines (--vm, --all, --datastore) become one snapshot each: they are frozen by a snapshot, only what changed is
    read, and that snapshot is removed, whatever happens; after a crash by asyncvddk cleanup.

    Exit status: 0 all, 1 none and no snapshot, 2 wrong usage, 3 some disks or machines failed, 10 no repository, 12
    wrong password, 130 after Ctrl-C.

    Parameters
    ----------
    source
        Name for what is backed up (default: that of the folder or disk); snapshots of one source follow each other.
    tag
        Note for the snapshot; can be given several times.
    jobs
        Disks read at once.
    mode
        auto: only what changed, where a disk tells that, else what is allocated; allocated: that in any case; full:
        every byte.
    parent
        Snapshot to compare with (default: the newest of the source), or none.
    job
        Job of the configuration file, for the repository, disks, source and tags that are not given.
    """
    if jobs < 1:
        raise CycloptsError(msg="--jobs takes a number from 1 on")
    what = _What(list(disks), source, tag, jobs, mode, parent)
    if machines.wanted and (disks or source or tag or parent or job):
        raise CycloptsError(msg="machines are backed up by themselves: without DISK, --source, --tag, --parent, --job")

    async def command() -> int:
        with errors_as_json(place):
            if machines.wanted:
                told = partial(_reporter, json=place.json, quiet=quiet)
                return await back_up(machines, server, place, mode, told, quiet=quiet)
            return await _open_and_back_up(*_completed(what, place, job), quiet=quiet)

    return run_command(command, place, logs=True)


@dataclass(frozen=True)
class _What:
    """What the user asks for."""

    disks: list[str]
    source: str | None
    tags: tuple[str, ...]
    jobs: int
    mode: Mode
    parent: str | None


def _completed(what: _What, place: Place, job: str | None) -> tuple[_What, Place]:
    """Take from a job what is not given. Raises CycloptsError, ValueError, OSError."""
    if job is not None:
        found, place = place.for_job(job)
        disks = what.disks or found.disks
        what = replace(what, disks=disks, source=what.source or found.source, tags=what.tags or tuple(found.tags))
    if not what.disks:
        raise CycloptsError(msg="which disks? give some, or --job, or machines by --vm, --all or --datastore")
    return what, place


async def _open_and_back_up(what: _What, place: Place, *, quiet: bool) -> int:
    """Open library and repository, back up, and return the exit status."""
    from asyncvddk.backup import find_disks  # noqa: PLC0415  (numpy and others take their time to load)
    from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that usage errors and --help need no library)

    source = what.source or source_of(what.disks)
    async with Vddk(libdir=place.libdir, config=place.config) as vddk:
        disks = find_disks(vddk, what.disks)  # first: a folder without disks is told before a password is asked for
        async with place.opened() as repository:
            with _reporter(len(disks), json=place.json, quiet=quiet) as reporter:
                return await _back_up(repository, disks, what, source, reporter)


async def _back_up(
    repository: Repository, disks: Sequence[BackupDisk], what: _What, source: str, reporter: BackupReporter
) -> int:
    """Back up, tell, and return the exit status."""
    from asyncvddk.backup import BackupFailedError, BackupLimits, BackupOptions, backup  # noqa: PLC0415

    began = time.perf_counter()
    try:
        snapshot = await backup(
            repository,
            disks,
            source=source,
            parent=await _parent(repository, what.parent),
            tags=what.tags,
            options=BackupOptions(mode=what.mode),
            limits=BackupLimits(jobs=what.jobs),
            observer=reporter,
        )
    except BackupFailedError:  # the reporter has told of each disk
        reporter.summary(None, time.perf_counter() - began)
        say("asyncvddk: no disk could be read, so there is no snapshot")
        return _exit.FAILED
    reporter.summary(snapshot, time.perf_counter() - began)
    return _exit.PARTIAL if snapshot.partial else _exit.DONE


async def _parent(repository: Repository, text: str | None) -> Snapshot | Literal["latest"] | None:
    """Return the snapshot to compare with."""
    if text == "none":
        return None
    return "latest" if text in {None, "latest"} else await repository.find(str(text))


def _reporter(disks: int, *, json: bool, quiet: bool) -> BackupReporter:
    """Return who tells about the backup."""
    if json:
        return BackupJson()
    if quiet:
        return QuietBackup()
    if not sys.stderr.isatty():
        return BackupLines()
    from asyncvddk.cli._backup_bars import BackupBars  # noqa: PLC0415  (rich takes a tenth of a second to load)

    return BackupBars(disks)
