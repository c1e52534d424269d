"""``asyncvddk ls``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from cyclopts import Parameter

from asyncvddk.cli import _areas, _exit
from asyncvddk.cli._options import Flag
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, run_with_repository, table, when
from asyncvddk.cli._snapshot_disks import areas_of, chosen
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from asyncvddk.models import Block
    from asyncvddk.repository import DiskEntry, Repository, Snapshot

_HEAD: Final = ("KEY", "NAME", "SIZE", "ALLOCATED", "CHUNKS", "MODE", "CHANGE ID", "ROOT")
_DIGITS: Final = 16
"""Of a root, in the table."""


def ls(
    snapshot: Annotated[str, Parameter(name="SNAPSHOT", help="Beginning of its id, or latest.")],
    /,
    *keys: Annotated[str, Parameter(name="KEY", help="Keys of disks, or their names; default: all disks.")],
    blocks: Annotated[bool, Flag] = False,
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    place: Place = PLACE,
) -> int:
    """List the disks of a snapshot, and how much of each is stored.

    Reads indexes and no data. Disks with the same root have the same content, bit for bit.

    Parameters
    ----------
    blocks
        List the stored areas of each disk, in bytes; all others read as zeros.
    source
        Only snapshots of this source, as for latest.
    """

    async def command(repository: Repository) -> int:
        found = await repository.find(snapshot, source=source)
        size = repository.chunk_size
        disks = [_Disk(entry, await areas_of(repository, found, entry), size) for entry in chosen(found, keys)]
        if place.json:
            _emit(found, disks, blocks=blocks, failed=not keys)
        elif blocks:
            _list_areas(disks)
        else:
            _list(found, disks, failed=not keys)
        return _exit.DONE

    return run_with_repository(command, place, read_only=True)


class _Disk(NamedTuple):
    """A disk, and what of it is stored."""

    entry: DiskEntry
    areas: list[Block]
    chunk_size: int

    @property
    def allocated(self) -> int:
        """Bytes."""
        return sum(area.length for area in self.areas)

    @property
    def chunks(self) -> int:
        """Chunks that are not zero."""
        return sum(-(-area.length // self.chunk_size) for area in self.areas)


def _list(snapshot: Snapshot, disks: list[_Disk], *, failed: bool) -> None:
    parent = f", compared with {snapshot.parent}" if snapshot.parent else ""
    tags = f", tags {', '.join(snapshot.tags)}" if snapshot.tags else ""
    tell(f"snapshot {snapshot.id} of {snapshot.source}, {when(snapshot.time)}, made on {snapshot.host}{parent}{tags}")
    table(_HEAD, [_row(disk) for disk in disks])
    for disk in snapshot.failed if failed else ():
        tell(f"{disk.key}: not in the snapshot, its backup failed: {disk.reason}")


def _row(disk: _Disk) -> tuple[str, ...]:
    entry = disk.entry
    mode = entry.mode + (" (mistrusted)" if entry.mistrusted else "")
    sizes = format_size(entry.capacity), format_size(disk.allocated)
    root = entry.root.hex()[:_DIGITS]
    return (entry.key, entry.name, *sizes, str(disk.chunks), mode, entry.change_id or "-", root)


def _list_areas(disks: list[_Disk]) -> None:
    for disk in disks:
        if len(disks) > 1:
            tell(f"{disk.entry.key}:")
        _areas.head()
        for area in disk.areas:
            _areas.line(area)
        _areas.total(len(disk.areas), disk.allocated, disk.entry.capacity, "stored")


def _emit(snapshot: Snapshot, disks: list[_Disk], *, blocks: bool, failed: bool) -> None:
    for disk in disks:
        entry = disk.entry
        if blocks:
            for area in disk.areas:
                emit("area", key=entry.key, **_areas.as_json(area))
        emit(
            "disk",
            snapshot=snapshot.id,
            key=entry.key,
            name=entry.name,
            size=entry.capacity,
            allocated=disk.allocated,
            chunks=disk.chunks,
            areas=len(disk.areas),
            mode=entry.mode,
            mistrusted=entry.mistrusted,
            change_id=entry.change_id,
            uuid=entry.uuid,
            root=entry.root.hex(),
        )
    for missing in snapshot.failed if failed else ():
        emit("failed", snapshot=snapshot.id, key=missing.key, name=missing.name, reason=missing.reason)
