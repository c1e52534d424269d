"""How much a repository holds. Blocking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncvddk.repository import _snapshots
from asyncvddk.repository.format import _layout

if TYPE_CHECKING:
    from asyncvddk.repository.store._vault import Vault


@dataclass(frozen=True, slots=True)
class RepositoryStats:
    """Counts and bytes."""

    snapshots: int
    sources: int
    disks: int
    """Disks of all snapshots."""
    logical: int
    """Bytes of their capacities: what restoring everything would give."""
    chunks: int
    chunk_bytes: int
    """Bytes of the chunks as stored; those that no snapshot uses any more included."""
    meta: int
    meta_bytes: int
    trash: int
    """Forgotten snapshots that can be undeleted."""

    @property
    def stored(self) -> int:
        """Bytes of chunks, pages and roots."""
        return self.chunk_bytes + self.meta_bytes


def stats(vault: Vault) -> RepositoryStats:
    """Count; lists the whole store."""
    snapshots = _snapshots.load(vault, _snapshots.names(vault))
    disks = [disk for snapshot in snapshots for disk in snapshot.disks]
    chunks, chunk_bytes = _count(vault, _layout.CHUNKS)
    meta, meta_bytes = _count(vault, _layout.META)
    return RepositoryStats(
        snapshots=len(snapshots),
        sources=len({snapshot.source for snapshot in snapshots}),
        disks=len(disks),
        logical=sum(disk.capacity for disk in disks),
        chunks=chunks,
        chunk_bytes=chunk_bytes,
        meta=meta,
        meta_bytes=meta_bytes,
        trash=len(_snapshots.names(vault, _layout.TRASH)),
    )


def _count(vault: Vault, folder: str) -> tuple[int, int]:
    count = size = 0
    for item in vault.store.list(folder):
        count, size = count + 1, size + item.size
    return count, size
