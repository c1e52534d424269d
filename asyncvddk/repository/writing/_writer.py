"""One backup under way, from its pin to its commit. Blocking, for threads; ``_session`` is its asynchronous face.

The order in which things are stored is what makes a crash harmless: pin; chunks; pages, then root; ``syncfs``; what
collection wants to know; the snapshot. Whatever stops it before the last step leaves objects that nothing refers to.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

import structlog

from asyncvddk.repository.collection import _sessions
from asyncvddk.repository.collection._marks import Marks
from asyncvddk.repository.errors import (
    ChunksLostError,
    DamagedError,
    ObjectMissingError,
    RepositoryError,
    SessionLostError,
    SnapshotNotFoundError,
    StoreError,
)
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind, check_stored
from asyncvddk.repository.format._ids import IdSet, nonzero, places_of, rows
from asyncvddk.repository.format._index import stored_pages
from asyncvddk.repository.format._manifests import Checkpoint, Pin, Snapshot
from asyncvddk.repository.writing import _interrupted
from asyncvddk.repository.writing._guard import Guard
from asyncvddk.repository.writing._interrupted import Interrupted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.format._index import Root
    from asyncvddk.repository.format._manifests import PartialDisk
    from asyncvddk.repository.store._vault import Vault
    from asyncvddk.repository.writing._known import Known


_logger = structlog.get_logger()


class Index(Protocol):
    """The index of a disk that a session relies on."""

    key: str

    def used(self) -> Rows:
        """Return the ids of the chunks that are not zero."""
        ...

    def places_of(self, ids: IdSet) -> list[int]:
        """Return the numbers of the chunks whose ids are in a set."""
        ...


class Adopted:
    """The chunks of a disk that are used as they are."""

    def __init__(self, key: str, ids: Rows) -> None:
        """Take the index."""
        self.key = key
        self._ids = ids

    def used(self) -> Rows:
        """Return the ids of the chunks that are not zero."""
        return nonzero(self._ids)

    def places_of(self, ids: IdSet) -> list[int]:
        """Return the numbers of the chunks whose ids are in a set."""
        return places_of(self._ids, ids)


class Writer:
    """What a session has stored and relies on."""

    def __init__(self, vault: Vault, known: Known, *, source: str, host: str) -> None:
        """Choose a name; nothing is stored before ``begin``."""
        self.vault = vault
        self.known = known
        self.started = vault.clock()
        self.name = _layout.stamped(self.started, _layout.new_id())
        self.disks: list[Index] = []
        self.suspects = IdSet()
        """Chunks and metadata that may be gone or damaged, whoever claims to know them."""
        self.interrupted = Interrupted(found=False, parts={})
        """Sessions before this one that were not committed."""
        self.checkpoint = 0
        """When it was noted last how far this session is, in seconds since 1970; 0: never."""
        self._source = source
        self.doubtful = False
        """True: what is there of the metadata may be damaged; whoever would store the same reads it before."""
        self._host = host
        self._guard = Guard(vault, known, self.name, self._used)
        self._meta: set[bytes] = set()
        """Used: pages, roots and blobs, stored or about to be."""
        self._there: set[bytes] = set()
        """Pages, roots and blobs that the store has, for certain."""
        self._lock = threading.Lock()
        self._life = threading.Lock()
        """Held for a sign of life and for the end: nothing is left behind by the one after the other."""
        self._beat = ""

    def begin(self, parents: Sequence[str], roots: Sequence[bytes], blobs: Sequence[bytes] = ()) -> None:
        """Pin ``roots``, which belong to the snapshots whose names are ``parents``.

        Raises SnapshotNotFoundError if one of them is gone.
        """
        self.interrupted = _interrupted.find(self.vault, self._source)
        roots = [*roots, *self.interrupted.roots]
        pin = Pin(host=self._host, started=self.started, roots=tuple(roots), blobs=tuple(blobs), source=self._source)
        with self._lock:
            self._meta.update(roots, blobs)
        self.vault.create_manifest(Kind.SESSION, _layout.pin(self.name), pin)
        self._sign()
        self.interrupted.drop_missing(self.vault)
        gone = [name for name in parents if not self.vault.store.exists(name)]
        if gone:  # only now: a collection that looked before we pinned found it
            raise SnapshotNotFoundError(f"snapshot {_layout.snapshot_id(gone[0])}: forgotten meanwhile")
        self.protect()
        self.known.refresh(self.vault)
        self._doubt(self._quarantined())

    def protect(self) -> None:
        """Keep from collection what is used now; what is lost already becomes suspect."""
        self._doubt(self._guard.refresh())

    def before_put(self, folder: str, identifier: bytes) -> bool:
        """Tell whether an id that is used from now on must be stored, known or not."""
        return self._guard.before_put(folder, identifier) or identifier in self.suspects

    def heartbeat(self) -> None:
        """Give a sign of life, acknowledge plans, remember what is stored. Raises SessionLostError."""
        with self._life:
            self._check_alive()
            self.protect()
            old = self._beat
            self._sign()
            if old != self._beat:
                self.vault.store.delete([old])
        with self.known.settled():
            self.vault.store.sync()

    def note(self, disks: Sequence[PartialDisk]) -> None:
        """Store how far the session is; what it has stored is on stable storage then. Raises SessionLostError."""
        with self._life:
            self._check_alive()
            self.protect()
            with self.known.settled():
                self.vault.store.sync()
            before, self.checkpoint = self.checkpoint, max(int(self.vault.clock()), self.checkpoint + 1)
            part = Checkpoint(source=self._source, disks=tuple(disks))
            self.vault.create_manifest(Kind.SESSION, _layout.part(self.name, self.checkpoint), part, stable=True)
            if before:
                self.vault.store.delete([_layout.part(self.name, before)])

    def put_meta(self, kind: Kind, data: Buffer) -> bytes:
        """Store a page, root or blob unless it is there, and return its id."""
        identifier = self.vault.keys.meta_id(data)
        with self._lock:
            self._meta.add(identifier)
        if not self.before_put(_layout.META, identifier) and identifier in self._there:
            return identifier
        name = _layout.meta(identifier)
        if not (self.vault.store.local and self.vault.store.exists(name) and self.is_whole(name)):
            self.store(name, self.vault.seal_meta(kind, identifier, data))
        if self.doubtful and not self._is_readable(kind, identifier):
            self.vault.store.replace(name, self.vault.seal_meta(kind, identifier, data))
        with self._lock:
            self._there.add(identifier)
        return identifier

    def uses(self, identifier: bytes) -> bool:
        """Tell whether a blob, page or root is this session's or its parent's."""
        with self._lock:
            return identifier in self._meta

    def rely_on(self, root: Root) -> None:
        """Take the pages of a root for stored: it is pinned, so they stay as long as the session lives."""
        with self._lock:
            self._there.update(root.page(number) for number in stored_pages(root))

    def adopt(self, key: str, root: Root) -> None:
        """Rely on a disk as it is. Raises ObjectMissingError if its index is not whole, once it is protected."""
        pages = [root.page(number) for number in stored_pages(root)]
        with self._lock:
            self._meta.update(pages)
        self.disks.append(Adopted(key, self.vault.get_ids(root)))
        self.protect()
        for page, there in zip(
            pages, self.vault.map(lambda one: self.vault.store.exists(_layout.meta(one)), pages), strict=True
        ):
            if not there:
                raise ObjectMissingError(_layout.meta(page), self.vault.store.place)

    def store(self, name: str, sealed: Buffer) -> bool:
        """Store an object; tell whether it was not there. One that a power cut left torn is replaced."""
        if self.vault.store.create(name, sealed):
            return True
        if self.vault.store.local and not self.is_whole(name):
            self.vault.store.replace(name, sealed)
            return True
        return False

    def _is_readable(self, kind: Kind, identifier: bytes) -> bool:
        """Tell whether a page, root or blob is there and what its name says."""
        try:
            self.vault.get_meta(kind, identifier)
        except (DamagedError, ObjectMissingError):
            return False
        return True

    def is_whole(self, name: str) -> bool:
        """Tell whether an object is as it was stored: a power cut may have left a torn one, which nothing used yet."""
        try:
            check_stored(name, self.vault.store.get(name))
        except (DamagedError, ObjectMissingError):
            return False
        return True

    def commit(self, snapshot: Snapshot) -> str:
        """Store the snapshot, whose roots are stored; return its name. Then the session is over.

        Raises ChunksLostError, SessionLostError, StoreError; then there is no snapshot, or the store could neither
        say so nor remove it.
        """
        name = self.vault.snapshot_name(snapshot)
        with self.known.settled():
            self.vault.store.sync()
        self.protect()
        self._doubt(self._quarantined())
        self._refuse_lost()
        self._check_alive()
        try:
            self.vault.create_manifest(Kind.SNAPSHOT, name, snapshot, stable=True)
            self._check_alive()  # removed between the two looks? Then a sweep may have begun without us
        except RepositoryError:
            with suppress(StoreError):
                self.vault.store.delete([name])
            raise
        try:
            self.end()
            self.vault.store.delete(self.interrupted.names)  # this snapshot has all that they had
        except StoreError as error:
            _logger.warning("session_left_behind", session=self.name, reason=str(error))
        return name

    def end(self, *, interrupted: bool = False) -> None:
        """Remove the session; what it stored and did not commit is collected some day.

        ``interrupted``: its last checkpoint stays, for the next one.
        """
        with self._life:
            self.vault.store.delete([_layout.pin(self.name)])
            stays = _layout.part(self.name, self.checkpoint) if interrupted else None
            left = [item.name for item in self.vault.store.list(f"{_layout.SESSIONS}/{self.name}")]
            self.vault.store.delete([name for name in left if name != stays])

    def _sign(self) -> None:
        self._beat = _layout.beat(self.name, self.vault.clock())
        self.vault.store.create(self._beat, b"")

    def _check_alive(self) -> None:
        if not self.vault.store.exists(_layout.pin(self.name)):
            raise SessionLostError(
                f"session {self.name}: a collection removed it, because it gave no sign of life for "
                f"{_sessions.EXPIRY_S / 3600:.0f} hours; start the backup again"
            )

    def _used(self) -> Marks:
        """Return all that the session relies on."""
        with self._lock:
            meta = IdSet.of(self._meta)
        return Marks(IdSet.union(disk.used() for disk in list(self.disks)), meta)

    def _quarantined(self) -> IdSet:
        """Return what checks have found damaged or missing."""
        listed = self.vault.store.list(_layout.QUARANTINE)
        return IdSet.of(identifier for item in listed if (identifier := _layout.id_of(item.name)))

    def _doubt(self, ids: IdSet) -> None:
        if len(ids):
            self.suspects = IdSet(rows(self.suspects.rows.tobytes() + ids.rows.tobytes()))
            self.known.drop(list(ids))

    def _refuse_lost(self) -> None:
        """Raise ChunksLostError for suspects in use that the store does not have."""
        if not len(self.suspects):
            return
        used = self._used().chunks
        doubtful = IdSet(used.rows[self.suspects.holds(used.rows)])
        exists = self.vault.map(lambda one: self.vault.store.exists(_layout.chunk(one)), list(doubtful))
        lost = IdSet.of(one for one, there in zip(doubtful, exists, strict=True) if not there)
        if len(lost):
            raise ChunksLostError({disk.key: numbers for disk in self.disks if (numbers := disk.places_of(lost))})
