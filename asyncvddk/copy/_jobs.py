"""Many disks: a bounded number of copies at once; one that fails does not stop the others."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import anyio

from asyncvddk.copy._pipeline import CopyProgress, CopyResult, copy_disk
from asyncvddk.copy._targets import RawTarget, VmdkTarget
from asyncvddk.errors import VddkError
from asyncvddk.models import AdapterType, CreateParams

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk.copy._destinations import CopyJob, CopyOptions, CopyPlan
    from asyncvddk.disks._disk import AsyncDisk
    from asyncvddk.disks._library import Vddk

JOBS = 4
"""Disks copied at once unless told otherwise."""


@dataclass(frozen=True, slots=True)
class CopyOutcome:
    """How a job ended: either ``result`` or ``error``."""

    job: CopyJob
    result: CopyResult | None = None
    error: Exception | None = None


class CopyObserver(Protocol):
    """Is told what happens, on the event loop; must not block."""

    def started(self, job: CopyJob, size: int) -> None:
        """Take note: source and target are open."""
        ...

    def progressed(self, job: CopyJob, progress: CopyProgress) -> None:
        """Take note: a chunk is done."""
        ...

    def ended(self, outcome: CopyOutcome) -> None:
        """Take note: the job is done, or failed, perhaps before it ``started``."""
        ...


async def copy_disks(
    vddk: Vddk,
    plan: CopyPlan,
    options: CopyOptions,
    *,
    jobs: int = JOBS,
    observer: CopyObserver | None = None,
) -> list[CopyOutcome]:
    """Copy all disks of ``plan``, ``jobs`` at once, and return how each ended, in the plan's order.

    A disk that fails does not stop the others and leaves nothing behind. Cancellation ends all, drops what is
    incomplete and keeps copies that are complete. Raises OSError when the plan's new folder cannot be made.
    """
    outcomes: dict[CopyJob, CopyOutcome] = {}
    limiter = anyio.CapacityLimiter(jobs)

    async def run(job: CopyJob) -> None:
        async with limiter:
            outcomes[job] = await _outcome(vddk, job, options, observer)
        if observer is not None:
            observer.ended(outcomes[job])

    if plan.new_folder is not None:
        plan.new_folder.mkdir()
    try:
        async with anyio.create_task_group() as tasks:
            for job in plan.jobs:
                tasks.start_soon(run, job)
    finally:
        if plan.new_folder is not None:
            with suppress(OSError):  # it stays when there is something in it
                plan.new_folder.rmdir()
    return [outcomes[job] for job in plan.jobs]


async def _outcome(vddk: Vddk, job: CopyJob, options: CopyOptions, observer: CopyObserver | None) -> CopyOutcome:
    """Copy one disk; errors that concern it alone become its outcome."""
    try:
        return CopyOutcome(job, result=await _copy(vddk, job, options, observer))
    except (OSError, VddkError, ValueError, MemoryError) as error:
        return CopyOutcome(job, error=error)


async def _copy(vddk: Vddk, job: CopyJob, options: CopyOptions, observer: CopyObserver | None) -> CopyResult:
    """Open source and target, copy, close both."""
    refuse_unreadable(job.source)
    async with (
        vddk.open_disk(str(job.source.absolute())) as disk,
        await _target(vddk, job, options, disk) as target,
    ):
        if observer is not None:
            observer.started(job, disk.size)
        return await copy_disk(
            disk,
            target,
            progress=None if observer is None else lambda progress: observer.progressed(job, progress),
            chunk_size=options.chunk_size,
            in_flight=options.in_flight,
        )


async def _target(vddk: Vddk, job: CopyJob, options: CopyOptions, disk: AsyncDisk) -> RawTarget | VmdkTarget:
    """Return the target of a job, not entered yet."""
    path = job.destination.absolute()
    if not options.vmdk:
        return RawTarget(path, disk.size, overwrite=options.overwrite, sync=options.sync)
    adapter = (await disk.info()).adapter
    adapter = AdapterType.SCSI_LSILOGIC if adapter is AdapterType.UNKNOWN else adapter
    params = CreateParams(size=disk.size, disk_type=options.disk_type, adapter=adapter)
    return VmdkTarget(vddk, path, params, overwrite=options.overwrite, sync=options.sync)


def refuse_unreadable(path: Path) -> None:
    """Raise the OSError, naming ``path``, for a file that is missing, a folder or not readable.

    The library would refuse it too, but the system's own words are the clearer ones.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb"):
        pass
