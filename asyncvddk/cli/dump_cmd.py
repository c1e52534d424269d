"""``asyncvddk dump``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._repository import PLACE, Place, run_with_repository
from asyncvddk.cli._snapshot_disks import WHOLE, Part, chosen, stdout_for_bytes

if TYPE_CHECKING:
    from asyncvddk.repository import Repository


def dump(
    snapshot: Annotated[str, Parameter(name="SNAPSHOT", help="Beginning of its id, or latest.")],
    key: Annotated[str, Parameter(name="KEY", help="Key of a disk, or its name.")],
    /,
    *,
    part: Part = WHOLE,
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    place: Place = PLACE,
) -> int:
    """Write bytes of a snapshot's disk to stdout; every byte is checked, only chunks that hold some are read.

    Exit status: 1 if the range leaves the disk, or its data are damaged; what came before has been written.

    Parameters
    ----------
    source
        Only snapshots of this source, as for latest.
    """
    stdout = stdout_for_bytes(json=place.json)

    async def command(repository: Repository) -> int:
        from asyncvddk.backup import StreamTarget, restore  # noqa: PLC0415  (numpy and others take their time to load)

        found = await repository.find(snapshot, source=source)
        (entry,) = chosen(found, [key])
        length = part.of(entry)
        async with await repository.open_disk(found, entry.key) as disk:
            await restore(disk, StreamTarget(stdout), start=part.offset, length=length)
        return _exit.DONE

    return run_with_repository(command, place, read_only=True)
