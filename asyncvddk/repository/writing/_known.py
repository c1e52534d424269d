"""Which chunks the store holds already: a table beside the repository, which can be lost and is made anew.

It must never claim what the store does not have. So an id is remembered for good only after the store was synced;
what collections have deleted since is dropped first (their ``done`` lists); and if lists are missing, or a chunk of
the last flush is gone because somebody put an older copy of the store in place, all of it is forgotten. Several
processes may share the file; each follows the lists for what it has in memory itself.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.errors import ClosedError
from asyncvddk.repository.collection._collections import Collections, read_done
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._ids import ID_SIZE

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from asyncvddk.repository.store._vault import Vault

_logger = structlog.get_logger()

_WITNESSES: Final = 16
_BATCH: Final = 10_000
_WAITING: Final = 1000
_TABLES: Final = """
    CREATE TABLE IF NOT EXISTS known (id BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS witness (id BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value TEXT) WITHOUT ROWID;
    ATTACH ':memory:' AS young;
    CREATE TABLE young.fresh (id BLOB PRIMARY KEY) WITHOUT ROWID;
    CREATE TABLE young.settling (id BLOB PRIMARY KEY) WITHOUT ROWID;
"""
_LOOK_UP: Final = (
    "SELECT 1 FROM known WHERE id = ?1 UNION ALL SELECT 1 FROM young.fresh WHERE id = ?1 "
    "UNION ALL SELECT 1 FROM young.settling WHERE id = ?1 LIMIT 1"
)


class Known:
    """Ids of chunks that the store holds. For any thread."""

    def __init__(self, path: Path | None) -> None:
        """Use the file, which is made with its folder (0700) if it is missing; without one, memory.

        A file that cannot be used costs speed, never a backup: the log says so, and memory is used.
        """
        self._lock = threading.Lock()
        self._settling = threading.Lock()
        self._path = path
        self._closed = False
        self._seen: int | None = None
        """The last collection whose list was applied to what is in memory here; the file may be ahead or behind."""
        self._waiting: set[bytes] = set()
        """Added, but not in a table yet: one by one they would cost the data path too much."""
        try:
            self._base = self._open(path)
        except (OSError, sqlite3.Error) as error:
            self._fall_back(error)

    @staticmethod
    def _open(path: Path | None) -> sqlite3.Connection:
        if path:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.touch(mode=0o600)
        base = sqlite3.connect(path or ":memory:", isolation_level=None, check_same_thread=False, timeout=30)
        try:
            base.execute("PRAGMA journal_mode = WAL")
            base.execute("PRAGMA synchronous = NORMAL")
            base.executescript(_TABLES)
        except sqlite3.Error:
            base.close()
            raise
        return base

    def _fall_back(self, error: Exception) -> None:
        """Go on in memory, and remove the file, which could claim too much."""
        _logger.warning("known_chunks_unusable", path=str(self._path), reason=str(error), effect="slower backups")
        if self._path:
            for suffix in ("", "-wal", "-shm"):
                with suppress(OSError):
                    self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
        self._path = None
        self._base = self._open(None)

    def _give_up(self, error: sqlite3.Error) -> None:
        """Close the table, which cannot be used any more, and go on in memory; the caller has the lock."""
        with suppress(sqlite3.Error):
            self._base.close()
        self._fall_back(error)

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError("the repository is closed")

    def __contains__(self, identifier: bytes) -> bool:
        """Tell whether the store is known to hold a chunk."""
        with self._lock:
            self._check_open()
            if identifier in self._waiting:
                return True
            try:
                return self._base.execute(_LOOK_UP, (identifier,)).fetchone() is not None
            except sqlite3.DatabaseError as error:
                self._give_up(error)
                return False

    def add(self, identifier: bytes) -> None:
        """Note a chunk that was stored, or found there and whole, but may not be on stable storage yet."""
        with self._lock:
            self._check_open()
            self._waiting.add(identifier)
            if len(self._waiting) >= _WAITING:
                self._store_waiting()

    def _store_waiting(self) -> None:
        """Put what waits into its table; the caller has the lock."""
        try:
            self._base.execute("BEGIN")
            self._base.executemany("INSERT OR IGNORE INTO young.fresh VALUES (?)", ((one,) for one in self._waiting))
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            self._give_up(error)
        self._waiting.clear()

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Remember for good what was added before the block; the block brings it to stable storage."""
        with self._settling:  # another one's block may have begun before
            yield from self._settled()

    def _settled(self) -> Iterator[None]:
        with self._lock:
            self._check_open()
            self._store_waiting()
            self._base.execute("INSERT OR IGNORE INTO young.settling SELECT id FROM young.fresh")
            self._base.execute("DELETE FROM young.fresh")
        try:
            yield
        except BaseException:
            with self._lock:  # nobody knows which of them are on storage
                self._base.execute("DELETE FROM young.settling")
            raise
        with self._changing():
            if not self._is_current():  # another process has dropped already what may be among these
                self._base.execute("DELETE FROM young.settling")
            self._base.execute("DELETE FROM witness WHERE EXISTS (SELECT 1 FROM young.settling)")
            self._base.execute("INSERT INTO witness SELECT id FROM young.settling LIMIT ?", (_WITNESSES,))
            self._base.execute("INSERT OR IGNORE INTO known SELECT id FROM young.settling")
            self._base.execute("DELETE FROM young.settling")

    def drop(self, ids: Collection[bytes]) -> None:
        """Forget chunks that are gone."""
        with self._changing():
            self._waiting.difference_update(ids)
            for table in ("known", "witness", "young.fresh", "young.settling"):
                self._base.executemany(f"DELETE FROM {table} WHERE id = ?", ((one,) for one in ids))  # noqa: S608

    def refresh(self, vault: Vault) -> None:
        """Bring the table up to date with what collections and checks have taken away since it was used last."""
        try:
            self._refresh(vault)
        except sqlite3.Error as error:
            with self._lock:
                self._give_up(error)
            self._refresh(vault)

    def _refresh(self, vault: Vault) -> None:
        collections = Collections.of(vault.store)
        applied = self._applied(vault)
        if applied is not None and self._seen is not None:
            applied = min(applied, self._seen)
        if applied is None or not collections.complete_since(applied):
            self._rebuild(vault, collections)
            return
        for number in collections.done_since(applied):
            self.drop(list(_cut(read_done(vault, number).chunks)))
            self._note("applied", str(number))
        self._seen = collections.last_done
        bad = vault.store.list(f"{_layout.QUARANTINE}/{_layout.CHUNKS}")
        self.drop([identifier for item in bad if (identifier := _layout.id_of(item.name))])
        with self._lock:
            witnesses = [row[0] for row in self._base.execute("SELECT id FROM witness")]
        if not all(vault.map(lambda one: vault.store.exists(_layout.chunk(one)), witnesses)):
            self._rebuild(vault, collections)

    def _rebuild(self, vault: Vault, collections: Collections) -> None:
        """Start anew: with what the store lists, or with nothing where a look costs little.

        A local store may hold chunks that a power cut left torn; they are looked at when they are met.
        """
        with self._changing():
            self._waiting.clear()
            for table in ("known", "witness", "state", "young.fresh", "young.settling"):
                self._base.execute(f"DELETE FROM {table}")  # noqa: S608
        if not vault.store.local:
            batch: list[tuple[bytes]] = []
            for item in vault.store.list(_layout.CHUNKS):
                if identifier := _layout.id_of(item.name):
                    batch.append((identifier,))
                if len(batch) == _BATCH:
                    self._insert(batch)
                    batch = []
            self._insert(batch)
        self._note("applied", str(collections.last_done))
        self._seen = collections.last_done
        self._note("repository", vault.config.id)  # last: a table that was cut off is made anew

    def _insert(self, batch: list[tuple[bytes]]) -> None:
        with self._changing():
            self._base.executemany("INSERT OR IGNORE INTO known VALUES (?)", batch)

    def _applied(self, vault: Vault) -> int | None:
        """Return the last collection whose list was applied; None for a table that is new, or another repository's."""
        return int(self._state("applied") or 0) if self._state("repository") == vault.config.id else None

    def _is_current(self) -> bool:
        """Tell whether what is in memory here is as far as the file; the caller has the lock."""
        row = self._base.execute("SELECT value FROM state WHERE name = 'applied'").fetchone()
        return row is not None and self._seen is not None and int(row[0]) <= self._seen

    def _state(self, name: str) -> str | None:
        with self._lock:
            self._check_open()
            row = self._base.execute("SELECT value FROM state WHERE name = ?", (name,)).fetchone()
            return str(row[0]) if row else None

    def _note(self, name: str, value: str) -> None:
        with self._changing():
            self._base.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (name, value))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change the table as a whole or not at all; when it cannot be changed, it is given up."""
        with self._lock:
            self._check_open()
            try:
                self._base.execute("BEGIN IMMEDIATE")
                yield
                self._base.execute("COMMIT")
            except sqlite3.Error as error:
                self._give_up(error)

    def close(self) -> None:
        """Close the table; its use raises ClosedError then. A second time does nothing."""
        with self._lock:
            self._closed = True
            self._base.close()


def _cut(ids: bytes) -> Iterator[bytes]:
    """Cut ids that stand one behind the other."""
    return (ids[start : start + ID_SIZE] for start in range(0, len(ids), ID_SIZE))
