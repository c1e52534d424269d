"""``asyncvddk copy``."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._options import COMMON, DISK_TYPES, Common, Flag, TypeName, size_parameter
from asyncvddk.cli._output import emit, say
from asyncvddk.cli._report import JsonReporter, LineReporter, QuietReporter
from asyncvddk.cli._run import EXPECTED, run_with_library
from asyncvddk.cli._text import describe
from asyncvddk.copy import CHUNK_SIZE, IN_FLIGHT, JOBS, CopyOptions, copy_disks, plan_copies
from asyncvddk.models import DiskType

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.cli._report import Reporter
    from asyncvddk.copy import CopyJob, CopyOutcome, CopyPlan
    from asyncvddk.disks._library import Vddk


def copy(  # noqa: PLR0913  (the options of a command)
    *paths: Annotated[str, Parameter(name="SOURCE... DESTINATION", help="Disks, then where they go.")],
    format: Annotated[Literal["raw", "vmdk"] | None, Parameter(show_default=False)] = None,  # noqa: A002
    disk_type: Annotated[TypeName, Parameter(show_default=False)] = "monolithicSparse",
    jobs: int = JOBS,
    force: Annotated[bool, Flag] = False,
    sync: Annotated[bool, Flag] = False,
    json: Annotated[bool, Flag] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False,
    chunk_size: Annotated[int, size_parameter(show_default=False)] = CHUNK_SIZE,
    in_flight: int = IN_FLIGHT,
    common: Common = COMMON,
) -> int:
    """Copy disks, several at once, to raw images or VMDKs.

    DESTINATION is an existing folder, or one to make if its name ends in a slash: each copy then has its
    source's name with the ending .raw or .vmdk. For a single source it can also be the name of the copy.

    Only what was ever written is read, and zeros take no space in the copy. A snapshot is copied with all it has from
    its parents. A copy appears under its name when it is complete; a disk that fails, or Ctrl-C, leaves nothing behind
    and does not touch the copies that are complete. As with cp, --sync is needed to force them to the device.

    Exit status: 0 all copied, 1 none, 2 wrong usage, 3 some copied and some failed, 130 after Ctrl-C.

    Parameters
    ----------
    format
        What the copies are (default: vmdk if DESTINATION ends in .vmdk, else raw).
    disk_type
        Kind of VMDK (default: monolithicSparse).
    jobs
        Disks copied at once.
    force
        Replace existing destinations.
    sync
        Wait until the copies are on stable storage.
    json
        Write events to stdout, a JSON object a line.
    quiet
        Tell errors only.
    chunk_size
        Bytes of one read (default: 2M); a multiple of 4K.
    in_flight
        Reads of one disk at once.
    """
    if len(paths) < 2:  # noqa: PLR2004
        raise CycloptsError(msg="copy needs at least one disk and a destination")
    if jobs < 1 or in_flight < 1:
        raise CycloptsError(msg="--jobs and --in-flight take a number from 1 on")
    *sources, destination = paths
    vmdk, kind = format_and_type(destination, format, disk_type)
    options = CopyOptions(
        vmdk=vmdk, disk_type=kind, overwrite=force, sync=sync, chunk_size=chunk_size, in_flight=in_flight
    )

    what = _What(sources, destination, options, jobs)
    return run_with_library(lambda vddk: _plan_and_copy(vddk, what, json=json, quiet=quiet), common)


def format_and_type(destination: str, format_: str | None, disk_type: TypeName) -> tuple[bool, DiskType]:
    """Return whether the copies are VMDKs, and their type."""
    named_vmdk = destination.endswith(".vmdk") and not Path(destination).is_dir()
    vmdk = named_vmdk if format_ is None else format_ == "vmdk"
    kind = DISK_TYPES[disk_type]
    if kind is not DiskType.MONOLITHIC_SPARSE and not vmdk:
        raise CycloptsError(msg=f"--disk-type {disk_type} goes with --format vmdk: a raw image has no type")
    return vmdk, kind


class _What(NamedTuple):
    """What the user asks for."""

    sources: list[str]
    destination: str
    options: CopyOptions
    jobs: int


async def _plan_and_copy(vddk: Vddk, what: _What, *, json: bool, quiet: bool) -> int:
    """Check everything, then copy; return the exit status."""
    try:
        plan = plan_copies(what.sources, what.destination, what.options)
    except EXPECTED as error:
        if json:
            emit("error", type=type(error).__name__, message=describe(error))
        raise
    with reporter_for(plan.jobs, json=json, quiet=quiet) as reporter:
        return await _copy(vddk, plan, what.options, what.jobs, reporter)


async def _copy(vddk: Vddk, plan: CopyPlan, options: CopyOptions, jobs: int, reporter: Reporter) -> int:
    """Copy, tell, and return the exit status."""
    started = time.perf_counter()
    for extent in plan.extents:
        say(f"{extent}: part of another source, copied with that")
    outcomes = await copy_disks(vddk, plan, options, jobs=jobs, observer=reporter)
    reporter.summary(outcomes, time.perf_counter() - started)
    return exit_status(outcomes)


def exit_status(outcomes: Sequence[CopyOutcome]) -> int:
    """Return the status for how the copies ended."""
    failed = sum(outcome.error is not None for outcome in outcomes)
    if not failed:
        return _exit.DONE
    return _exit.FAILED if failed == len(outcomes) else _exit.PARTIAL


def reporter_for(jobs: Sequence[CopyJob], *, json: bool, quiet: bool) -> Reporter:
    """Return who tells about copies."""
    if json:
        return JsonReporter()
    if quiet:
        return QuietReporter()
    if not sys.stderr.isatty():
        return LineReporter()
    from asyncvddk.cli._bars import BarReporter  # noqa: PLC0415  (rich takes a tenth of a second to load)

    return BarReporter(jobs)
