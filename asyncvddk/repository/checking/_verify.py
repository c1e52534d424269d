"""Checks of a repository. Blocking.

Level 0 reads all snapshots, roots and pages, and looks for their chunks in the listing; level 1 reads every object
and compares its checksum, which needs no key; level 2 decodes every object and compares its content with its id.
"""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from asyncvddk.repository import _snapshots, _threads
from asyncvddk.repository.checking._damage import MISSING, Damage, Finding
from asyncvddk.repository.collection._marks import read_snapshot
from asyncvddk.repository.errors import DamagedError, ObjectMissingError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind, check_stored, kind_of
from asyncvddk.repository.format._ids import IdSet, nonzero
from asyncvddk.repository.format._index import stored_pages
from asyncvddk.repository.format._manifests import checked_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from typing_extensions import Buffer

    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.store._store import Store
    from asyncvddk.repository.store._vault import Vault

LEVELS: Final = range(3)
_TELL_EVERY_S: Final = 0.1
_AT_ONCE: Final = 8 << 20
"""Bytes of a local store's chunks that a thread checks before it answers."""
_SHARES: Final = 4
"""Answers of each thread at least, so that all have something to do."""
_EMPTY: Final = ("/sweep", "/beat-", "/ack-")
_BY_CHUNK: Final = (f"{_layout.CHUNKS}/", f"{_layout.QUARANTINE}/", "probe/")


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """What a check found."""

    level: int
    snapshots: int
    """Snapshots that were looked at."""
    objects: int
    """Objects that were read to their end."""
    bytes: int
    """Bytes of them, as stored."""
    findings: tuple[Finding, ...]
    quarantined: int = 0

    @property
    def damaged_snapshots(self) -> tuple[str, ...]:
        """Ids of the snapshots that are hit."""
        return tuple(sorted({hit.snapshot for finding in self.findings for hit in finding.hits}))


@dataclass(frozen=True, slots=True)
class VerifyProgress:
    """Where a check stands."""

    objects: int
    """Objects that were read to their end."""
    bytes: int
    """Bytes of them, as stored."""
    total: int | None
    """Objects to read in all; None until that is known."""


class StoppedError(Exception):
    """Nobody waits for the check any more."""


class _Check:
    """One run."""

    def __init__(
        self,
        store: Store,
        tell: Callable[[VerifyProgress], object] | None = None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        """Start with nothing found."""
        self.store = store
        self.damage = Damage()
        self.objects = 0
        self.bytes = 0
        self.total: int | None = None
        self._tell = tell
        self._stopped = stopped
        self._told = 0.0

    def tell(self) -> None:
        """Say where it stands."""
        self._told = time.monotonic()
        if self._tell is not None:
            self._tell(VerifyProgress(self.objects, self.bytes, self.total))

    def stored(self, names: Iterable[str]) -> None:
        """Check objects of any kind as far as one can without a key."""
        for name in names:
            self._count(self.damage.attempt(name, partial(self._read, name)))

    def _read(self, name: str) -> int:
        data = self.store.get(name)
        if name == _layout.CONFIG or name.startswith(f"{_layout.KEYS}/"):
            checked_text(name, data)
        else:
            check_stored(name, data)
        return memoryview(data).nbytes

    def chunks(self, vault: Vault, ids: Rows, *, decode: bool) -> None:
        """Check chunks, several at once."""
        most = _AT_ONCE // vault.config.chunk_size if vault.store.local else 1
        step = max(1, min(most, len(ids) // (_SHARES * vault.threads)))
        parts = (ids[start : start + step] for start in range(0, len(ids), step))
        scratch = _threads.Scratch(vault.config.chunk_size) if decode else None
        with closing(vault.map(partial(self._chunks, vault, scratch), parts)) as answers:
            for sizes in answers:
                self._go_on()  # a thread that was stopped has nothing to count
                for size in sizes:
                    self._count(size)

    def _chunks(self, vault: Vault, scratch: _threads.Scratch | None, ids: Rows) -> list[int | None]:
        return [self._chunk(vault, scratch, row.tobytes()) for row in ids if not self._stopped()]

    def _chunk(self, vault: Vault, scratch: _threads.Scratch | None, identifier: bytes) -> int | None:
        return self.damage.attempt(_layout.chunk(identifier), partial(self._read_chunk, vault, scratch, identifier))

    def _read_chunk(self, vault: Vault, scratch: _threads.Scratch | None, identifier: bytes) -> int:
        data = self.store.get(_layout.chunk(identifier))
        check_stored(_layout.chunk(identifier), data)
        if scratch:
            vault.check_chunk(identifier, data, scratch.memory)
        return memoryview(data).nbytes

    def _go_on(self) -> None:
        """Raise StoppedError if nobody waits any more."""
        if self._stopped():
            raise StoppedError

    def _count(self, size: int | None) -> None:
        self._go_on()
        if size is not None:
            self.objects += 1
            self.bytes += size
            if time.monotonic() - self._told >= _TELL_EVERY_S:
                self.tell()

    def structure(self, vault: Vault, names: list[str]) -> IdSet:
        """Read snapshots, blobs, roots and pages; return the ids of all chunks."""
        damage = self.damage
        for name in names:
            if snapshot := damage.attempt(name, partial(read_snapshot, vault, name)):
                damage.snapshots[name] = snapshot
        blobs = {snapshot.config for snapshot in damage.snapshots.values() if snapshot.config}
        for blob in blobs:
            damage.attempt(_layout.meta(blob), partial(vault.get_meta, Kind.BLOB, blob))
        for identifier in {disk.root for snapshot in damage.snapshots.values() for disk in snapshot.disks}:
            if root := damage.attempt(_layout.meta(identifier), partial(vault.get_root, identifier)):
                damage.roots[identifier] = root
        return IdSet.union(nonzero(page) for page in self._pages(vault))

    def _pages(self, vault: Vault) -> Iterator[Rows]:
        """Iterate over the contents of the pages that can be read, each once."""
        roots = self.damage.roots.values()
        places = {root.page(number): (root, number) for root in roots for number in stored_pages(root)}

        def read(identifier: bytes) -> Rows | None:
            return self.damage.attempt(_layout.meta(identifier), partial(vault.get_page, *places[identifier]))

        return (page for page in vault.map(read, list(places)) if page is not None)


def verify_store(store: Store) -> VerifyReport:
    """Compare the checksums of all objects; needs no key, so it can run where the store is. Names objects only.

    Blocks. Raises StoreError.
    """
    check = _Check(store)
    check.stored(_with_content(store, skip=(f"{_layout.QUARANTINE}/", "probe/")))
    findings = (Finding(name, reason) for name, reason in sorted(check.damage.bad.items()) if reason != MISSING)
    return VerifyReport(1, 0, check.objects, check.bytes, tuple(findings))


def verify(  # noqa: PLR0913  (those of Repository.verify)
    vault: Vault,
    *,
    level: int,
    subset: tuple[int, int],
    quarantine: bool,
    wanted: list[str] | None,
    tell: Callable[[VerifyProgress], object] | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> VerifyReport:
    """Check all, or what the snapshots of the names ``wanted`` use; see ``Repository.verify``.

    Raises StoppedError soon after ``stopped`` says so.
    """
    check = _Check(vault.store, tell, stopped)
    check.tell()
    names = _snapshots.names(vault) if wanted is None else wanted
    used = check.structure(vault, names)
    stored = IdSet.of(one for item in vault.store.list(_layout.CHUNKS) if (one := _layout.id_of(item.name)))
    missing = used.without(stored)
    check.damage.bad.update((_layout.chunk(one), MISSING) for one in missing)
    if level:
        if wanted is None:
            check.stored(_with_content(vault.store, skip=(*_BY_CHUNK, *check.damage.bad)))
        ids = (stored if wanted is None else used.without(missing)).rows
        part, parts = subset
        ids = ids[ids[:, 0] % np.uint64(parts) == part - 1]
        check.total = check.objects + len(ids)
        check.chunks(vault, ids, decode=level > 1)
        check.tell()
    findings = check.damage.findings(vault, set(_snapshots.names(vault)))
    report = VerifyReport(level, len(names), check.objects, check.bytes, findings)
    if not quarantine:
        return report
    return replace(report, quarantined=sum(_quarantine(vault, finding) for finding in findings))


def _with_content(store: Store, *, skip: tuple[str, ...]) -> Iterator[str]:
    """Iterate over the names of objects that hold something; flags are empty."""
    for item in store.list(""):
        flag = any(part in item.name for part in _EMPTY) or item.name.startswith(f"{_layout.LOCK}/")
        if not flag and not item.name.startswith(skip):
            yield item.name


def _quarantine(vault: Vault, finding: Finding) -> bool:
    """Put a bad chunk or page aside, so that the next backup that reads the same data stores it anew.

    Unless it is whole at a second look: damaged on the way only, or healed meanwhile. For a missing one an empty note
    is left: whoever believes to know it must look.
    """
    identifier = _layout.id_of(finding.name)
    if identifier is None:
        return False
    place = f"{_layout.QUARANTINE}/{finding.name}"
    try:
        data = vault.store.get(finding.name)
    except ObjectMissingError:
        return vault.store.create(place, b"")
    if _is_whole(vault, finding.name, identifier, data):
        return False
    vault.store.replace(place, data)
    vault.store.delete([finding.name])
    return True


def _is_whole(vault: Vault, name: str, identifier: bytes, stored: Buffer) -> bool:
    """Tell whether a chunk, page, root or blob holds what its name says."""
    try:
        check_stored(name, stored)
        if name.startswith(f"{_layout.CHUNKS}/"):
            vault.check_chunk(identifier, stored, memoryview(bytearray(vault.config.chunk_size)))
        else:
            vault.open_meta(kind_of(name, stored), identifier, stored)
    except DamagedError:
        return False
    return True
