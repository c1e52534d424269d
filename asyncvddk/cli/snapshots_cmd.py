"""``asyncvddk snapshots``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from asyncvddk.cli import _exit
from asyncvddk.cli._options import Flag
from asyncvddk.cli._output import emit, say
from asyncvddk.cli._repository import PLACE, Place, run_with_repository, table, when
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from asyncvddk.repository import DamagedError, Repository, Snapshot


def snapshots(
    *,
    source: Annotated[str | None, "Only those of this source."] = None,
    disks: Annotated[bool, Flag] = False,
    trash: Annotated[bool, Flag] = False,
    place: Place = PLACE,
) -> int:
    """List the snapshots of a repository, the oldest first.

    Exit status: 1 if some cannot be read; the others are listed.

    Parameters
    ----------
    source
        Only those of this source.
    disks
        List the disks of each, with their keys.
    trash
        List those that were forgotten and can be brought back.
    """

    async def command(repository: Repository) -> int:
        damaged: dict[str, DamagedError] = {}
        found = await (repository.trash() if trash else repository.snapshots(source, damaged=damaged))
        found = [one for one in found if source in {None, one.source}]
        if place.json:
            for one in found:
                emit("snapshot", **facts(one))
        elif disks:
            head = ("SNAPSHOT", "KEY", "SIZE", "MODE", "READ", "NEW", "STORED")
            table(head, [row for one in found for row in _disk_rows(one)])
        else:
            table(("SNAPSHOT", "TIME", "SOURCE", "DISKS", "SIZE", "NEW", "TAGS"), map(_row, found))
        for identifier, error in damaged.items():
            say(f"asyncvddk: {error}; it can only be removed: asyncvddk forget --damaged {identifier}")
            if place.json:
                emit("error", type=type(error).__name__, message=str(error), snapshot=identifier)
        return _exit.FAILED if damaged else _exit.DONE

    return run_with_repository(command, place, read_only=True)


def facts(snapshot: Snapshot) -> dict[str, object]:
    """Return what JSON says of a snapshot."""
    return {
        "id": snapshot.id,
        "source": snapshot.source,
        "time": when(snapshot.time),
        "finished": when(snapshot.finished),
        "partial": snapshot.partial,
        "parent": snapshot.parent,
        "tags": list(snapshot.tags),
        "host": snapshot.host,
        "disks": [
            {
                "key": disk.key,
                "name": disk.name,
                "size": disk.capacity,
                "mode": disk.mode,
                "mistrusted": disk.mistrusted,
                "root": disk.root.hex(),
                "read": disk.stats.read,
                "new": disk.stats.new,
                "stored": disk.stats.stored,
            }
            for disk in snapshot.disks
        ],
        "failed": [{"key": disk.key, "name": disk.name, "reason": disk.reason} for disk in snapshot.failed],
    }


def _row(snapshot: Snapshot) -> tuple[str, ...]:
    disks = snapshot.disks
    missing = f" ({len(snapshot.failed)} failed)" if snapshot.partial else ""
    return (
        snapshot.id,
        when(snapshot.time),
        snapshot.source,
        f"{len(disks)}{missing}",
        format_size(sum(disk.capacity for disk in disks)),
        format_size(sum(disk.stats.new for disk in disks)),
        ",".join(snapshot.tags),
    )


def _disk_rows(snapshot: Snapshot) -> list[tuple[str, ...]]:
    rows = [
        (
            snapshot.id,
            disk.key,
            format_size(disk.capacity),
            disk.mode + (" (mistrusted)" if disk.mistrusted else ""),
            *(format_size(size) for size in (disk.stats.read, disk.stats.new, disk.stats.stored)),
        )
        for disk in snapshot.disks
    ]
    return rows + [(snapshot.id, disk.key, "-", f"failed: {disk.reason}", "-", "-", "-") for disk in snapshot.failed]
