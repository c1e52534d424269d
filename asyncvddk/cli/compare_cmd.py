"""``asyncvddk compare``."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _areas, _exit
from asyncvddk.cli._check_choice import check_reporter
from asyncvddk.cli._check_report import ComparedDisk
from asyncvddk.cli._comparing import compare_disks, only_disk
from asyncvddk.cli._options import Flag
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, errors_as_json
from asyncvddk.cli._run import run_command
from asyncvddk.cli._snapshot_disks import chosen

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.backup import ReadableDisk
    from asyncvddk.cli._comparing import Comparison

_FILES: Final = 2
_OF_SNAPSHOT: Final = 3


def compare(
    *what: Annotated[str, Parameter(name="DISK", help="Two disks; or a snapshot, the key of its disk, and a disk.")],
    first: Annotated[bool, Flag] = False,
    blocks: Annotated[bool, Flag] = False,
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False,
    place: Place = PLACE,
) -> int:
    """Compare two disks byte by byte, or a disk of a snapshot with a disk: VMDKs, raw images, block devices.

    Only what is allocated is read: the rest of both is zeros.

    Exit status: 0 equal, 1 different, or one could not be read, 2 wrong usage, 10 no repository, 12 wrong password.

    Parameters
    ----------
    first
        Stop at the first difference.
    blocks
        List all areas that differ, in bytes, by sectors of 512.
    source
        Only snapshots of this source, as for latest.
    quiet
        Say nothing: the exit status tells.
    """
    if len(what) not in {_FILES, _OF_SNAPSHOT}:
        raise CycloptsError(msg="what with what? give two disks, or SNAPSHOT KEY DISK")
    if first and blocks:
        raise CycloptsError(msg="--first knows of no more than one area: give it or --blocks")

    async def command() -> int:
        with errors_as_json(place):
            found = await _compare(what, source, place, first=first, quiet=quiet)
        if place.json:
            emit("compared", **found.facts())
        elif blocks and found.areas:
            _areas.head()
            for area in found.areas:
                _areas.line(area)
            _areas.total(len(found.areas), sum(area.length for area in found.areas), found.sizes[0], "different")
        elif not quiet:
            tell(found.text())
        return _exit.DONE if found.equal else _exit.FAILED

    return run_command(command, place, logs=True)


async def _compare(what: Sequence[str], source: str | None, place: Place, *, first: bool, quiet: bool) -> Comparison:
    """Open both disks and compare them."""
    from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that usage errors and --help need no library)

    async with AsyncExitStack() as stack:
        vddk = await stack.enter_async_context(Vddk(libdir=place.libdir, config=place.config))
        if len(what) == _FILES:
            one: ReadableDisk = await stack.enter_async_context(only_disk(vddk, what[0]).opened())
        else:
            repository = await stack.enter_async_context(place.opened(read_only=True))
            snapshot = await repository.find(what[0], source=source)
            (entry,) = chosen(snapshot, [what[1]])
            one = await stack.enter_async_context(await repository.open_disk(snapshot, entry.key))
        other = await stack.enter_async_context(only_disk(vddk, what[-1]).opened())
        reporter = stack.enter_context(check_reporter(1, json=place.json, quiet=quiet))
        return await compare_disks(one, other, ComparedDisk(what[-1]), reporter, first=first)
