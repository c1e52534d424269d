"""``asyncvddk diff``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, NamedTuple

from cyclopts import Parameter

from asyncvddk.cli import _areas, _exit
from asyncvddk.cli._options import Flag
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, run_with_repository, table, when
from asyncvddk.cli._snapshot_disks import areas_of, chosen
from asyncvddk.cli._text import count_of, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.models import Block
    from asyncvddk.repository import DiskEntry, Repository, Snapshot


def diff(
    old: Annotated[str, Parameter(name="OLD", help="Beginning of a snapshot's id, or latest.")],
    new: Annotated[str, Parameter(name="NEW", help="The same of the newer one.")],
    /,
    *keys: Annotated[str, Parameter(name="KEY", help="Keys of disks, or their names; default: all disks.")],
    blocks: Annotated[bool, Flag] = False,
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    place: Place = PLACE,
) -> int:
    """Show what became of the disks between two snapshots: added, gone, grown, changed, and how many bytes differ.

    Compares indexes and reads no data, so it counts in whole chunks: of a chunk, one byte or all may differ.

    Parameters
    ----------
    blocks
        List the areas that differ, in bytes.
    source
        Only snapshots of this source, as for latest.
    """

    async def command(repository: Repository) -> int:
        one, two = [await repository.find(text, source=source) for text in (old, new)]
        changes = [await _change(repository, one, two, key) for key in _keys(one, two, keys)]
        if place.json:
            _emit(one, two, changes, blocks=blocks)
        else:
            _show(one, two, changes, blocks=blocks)
        return _exit.DONE

    return run_with_repository(command, place, read_only=True)


class _Change(NamedTuple):
    """What became of a disk."""

    key: str
    state: str
    old: DiskEntry | None
    new: DiskEntry | None
    areas: list[Block]
    """Of the new disk, where it differs; all that is stored of an added one."""

    @property
    def differs(self) -> bool:
        """True unless both snapshots have the same content, or none has any."""
        return self.state != "same" and (self.old is not None or self.new is not None)

    @property
    def different(self) -> int:
        """Bytes."""
        return sum(area.length for area in self.areas)


def _keys(old: Snapshot, new: Snapshot, wanted: Sequence[str]) -> list[str]:
    """Return the keys of the disks to compare. Raises ValueError for one that neither snapshot has."""
    if not wanted:
        keys = [*(disk.key for disk in (*new.disks, *old.disks)), *(disk.key for disk in new.failed)]
        return list(dict.fromkeys(keys))
    found = []
    for text in wanted:
        try:
            (entry,) = chosen(new, [text])
        except ValueError:
            (entry,) = chosen(old, [text])
        found.append(entry.key)
    return list(dict.fromkeys(found))


async def _change(repository: Repository, old: Snapshot, new: Snapshot, key: str) -> _Change:
    before, after = [next((disk for disk in one.disks if disk.key == key), None) for one in (old, new)]
    if after is None:
        failed = any(disk.key == key for disk in new.failed)
        return _Change(key, "failed" if failed else "gone", before, None, [])
    if before is None:
        return _Change(key, "added", None, after, await areas_of(repository, new, after))
    areas = await repository.diff(before.root, after.root)
    if before.capacity != after.capacity:
        state = "grown" if before.capacity < after.capacity else "shrunk"
    else:
        state = "same" if before.root == after.root else "changed"
    return _Change(key, state, before, after, areas)


def _show(old: Snapshot, new: Snapshot, changes: list[_Change], *, blocks: bool) -> None:
    tell(f"from {old.id} of {old.source}, {when(old.time)}")
    tell(f"to   {new.id} of {new.source}, {when(new.time)}")
    if not blocks:
        table(("KEY", "STATE", "OLD SIZE", "NEW SIZE", "DIFFERENT"), [_row(change) for change in changes])
    for change in changes if blocks else ():
        tell(f"{change.key}: {change.state}")
        if change.new is not None and change.areas:
            _areas.head()
            for area in change.areas:
                _areas.line(area)
            _areas.total(len(change.areas), change.different, change.new.capacity, "different")
    tell(_summary(changes))


def _row(change: _Change) -> tuple[str, ...]:
    sizes = [format_size(disk.capacity) if disk else "-" for disk in (change.old, change.new)]
    return (change.key, change.state, *sizes, "-" if change.new is None else format_size(change.different))


def _summary(changes: list[_Change]) -> str:
    other = sum(change.differs for change in changes)
    if not other:
        return f"no difference in {count_of(len(changes), 'disk')}"
    different = format_size(sum(change.different for change in changes))
    return f"{other} of {count_of(len(changes), 'disk')} differ{'s' * (other == 1)}: {different}"


def _emit(old: Snapshot, new: Snapshot, changes: list[_Change], *, blocks: bool) -> None:
    for change in changes:
        for area in change.areas if blocks else ():
            emit("area", key=change.key, **_areas.as_json(area))
        emit(
            "disk",
            key=change.key,
            state=change.state,
            old_size=change.old.capacity if change.old else None,
            new_size=change.new.capacity if change.new else None,
            different=change.different if change.new else None,
            areas=len(change.areas),
        )
    emit(
        "summary",
        old=old.id,
        new=new.id,
        disks=len(changes),
        different_disks=sum(change.differs for change in changes),
        different=sum(change.different for change in changes),
    )
