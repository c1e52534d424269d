"""What a check finds, and whose data that is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar

from asyncvddk.models import Block
from asyncvddk.repository.errors import DamagedError, ObjectMissingError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._ids import IdSet, places_of
from asyncvddk.repository.format._index import merged, stored_pages

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from asyncvddk.repository.format._index import Root
    from asyncvddk.repository.format._manifests import DiskEntry, Snapshot
    from asyncvddk.repository.store._vault import Vault

T = TypeVar("T")

MISSING: Final = "missing"


@dataclass(frozen=True, slots=True)
class Hit:
    """Data of a snapshot that cannot be read."""

    snapshot: str
    """Id of the snapshot."""
    disk: str | None
    """Key of the disk; None for the snapshot as a whole, or the configuration of its machine."""
    block: Block | None
    """Bytes of the disk; None with ``disk``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A damaged or missing object, and what it hits."""

    name: str
    """Name in the store."""
    reason: str
    hits: tuple[Hit, ...] = ()
    """Empty: no snapshot uses it."""


@dataclass(frozen=True, slots=True)
class _Disk:
    """A disk of a snapshot, and its root unless that cannot be read."""

    snapshot: Snapshot
    entry: DiskEntry
    root: Root | None


@dataclass(slots=True)
class Damage:
    """What a check knows so far."""

    bad: dict[str, str] = field(default_factory=dict)
    """Reasons by the names of objects."""
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    """By their names in the store."""
    roots: dict[bytes, Root] = field(default_factory=dict)

    def attempt(self, name: str, read: Callable[[], T]) -> T | None:
        """Return what ``read`` returns, or None when the object is bad, which is noted."""
        try:
            return read()
        except ObjectMissingError:
            self.bad[name] = MISSING
        except DamagedError as error:
            self.bad[name] = error.reason
        return None

    def findings(self, vault: Vault, present: set[str]) -> tuple[Finding, ...]:
        """Say what the bad objects hit. Of snapshots, those that are still ``present`` count."""
        hits: dict[str, list[Hit]] = {name: [] for name in self.bad}
        for name in self.bad:
            if name.startswith(_layout.SNAPSHOTS) and name in present:
                hits[name].append(Hit(_layout.snapshot_id(name) or name, None, None))
        for name, snapshot in self.snapshots.items():
            if name in present:
                self._add_hits(vault, snapshot, hits)
        found = [Finding(name, reason, tuple(hits[name])) for name, reason in sorted(self.bad.items())]
        return tuple(finding for finding in found if finding.hits or finding.reason != MISSING)

    def _add_hits(self, vault: Vault, snapshot: Snapshot, hits: dict[str, list[Hit]]) -> None:
        if snapshot.config and (name := _layout.meta(snapshot.config)) in hits:
            hits[name].append(Hit(snapshot.id, None, None))
        for entry in snapshot.disks:
            disk = _Disk(snapshot, entry, self.roots.get(entry.root))
            for name, block in self._blocks(vault, disk):
                hits[name].append(Hit(snapshot.id, entry.key, block))

    def _blocks(self, vault: Vault, disk: _Disk) -> Iterator[tuple[str, Block]]:
        """Iterate over the bad objects of a disk and the bytes that each takes away."""
        if disk.root is None:
            yield _layout.meta(disk.entry.root), Block(0, disk.entry.capacity)
            return
        chunks = IdSet.of(one for name in self.bad if name.startswith(_layout.CHUNKS) and (one := _layout.id_of(name)))
        for number in stored_pages(disk.root):
            start, end = disk.root.grid.page_span(number)
            if (name := _layout.meta(disk.root.page(number))) in self.bad:
                yield from ((name, block) for block in merged(disk.root.grid, iter(range(start, end))))
            elif len(chunks):
                yield from self._chunk_blocks(vault, disk.root, number, chunks)

    @staticmethod
    def _chunk_blocks(vault: Vault, root: Root, number: int, bad: IdSet) -> Iterator[tuple[str, Block]]:
        """Iterate over the bad chunks of a page."""
        ids = vault.get_page(root, number)
        start, _ = root.grid.page_span(number)
        places: dict[bytes, list[int]] = {}
        for place in places_of(ids, bad):
            places.setdefault(ids[place].tobytes(), []).append(start + place)
        for identifier, numbers in places.items():
            yield from ((_layout.chunk(identifier), block) for block in merged(root.grid, iter(numbers)))
