"""``asyncvddk stats``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from asyncvddk.cli import _exit
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, run_with_repository
from asyncvddk.cli._text import count_of, format_size

if TYPE_CHECKING:
    from asyncvddk.repository import Repository, RepositoryStats


def stats(*, place: Place = PLACE) -> int:
    """Show how much a repository holds, and how little of the store that takes.

    Lists the whole store. What no snapshot uses any more counts as well, until a collection (gc) frees it.
    """

    async def command(repository: Repository) -> int:
        found = await repository.stats()
        if place.json:
            emit("stats", **_facts(found))
        else:
            _show(found)
        return _exit.DONE

    return run_with_repository(command, place, read_only=True)


def _facts(found: RepositoryStats) -> dict[str, int]:
    names = (*found.__slots__, "stored")
    return {name: getattr(found, name) for name in names}


def _show(found: RepositoryStats) -> None:
    times = f", {found.logical / found.stored:.1f} times what is stored" if found.logical and found.stored else ""
    lines = {
        "snapshots": f"{found.snapshots} of {count_of(found.sources, 'source')}, {count_of(found.disks, 'disk')}",
        "in the trash": f"{count_of(found.trash, 'forgotten snapshot')}",
        "disks": f"{format_size(found.logical)} if all were restored{times}",
        "stored": f"{format_size(found.stored)}",
        "  chunks": f"{format_size(found.chunk_bytes)} in {count_of(found.chunks, 'object')}",
        "  indexes": f"{format_size(found.meta_bytes)} in {count_of(found.meta, 'object')}",
    }
    for name, value in lines.items():
        tell(f"{name:<14}{value}")
