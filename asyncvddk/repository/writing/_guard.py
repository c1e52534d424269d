"""A session's side of collection: it loads plans, keeps what it uses of them, and acknowledges. Blocking.

The rule that makes it safe without a clock: an id that a plan names is kept first, then a sweep in progress is waited
for, then the object is stored again unless it is there. A sweep reads what is kept after its flag is up, so either the
session sees the flag, or the sweep sees the keep.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.repository.collection import _gc
from asyncvddk.repository.collection._collections import Collections, read_done
from asyncvddk.repository.collection._marks import Marks
from asyncvddk.repository.errors import ObjectMissingError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._ids import ID_SIZE, IdSet, rows
from asyncvddk.repository.format._manifests import Ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from asyncvddk.repository.store._vault import Vault
    from asyncvddk.repository.writing._known import Known

_logger = structlog.get_logger()

_PAUSE_S: Final = 1.0


@dataclass(slots=True)
class _Watched:
    """A plan that is not done, and what this session keeps of it."""

    number: int
    planned: Marks
    kept: set[tuple[str, bytes]] = field(default_factory=set)
    acknowledged: bool = False

    def names(self, folder: str, identifier: bytes) -> bool:
        """Tell whether the plan names an id."""
        return identifier in (self.planned.chunks if folder == _layout.CHUNKS else self.planned.meta)


class Guard:
    """Made with the session, before it uses anything."""

    def __init__(self, vault: Vault, known: Known, session: str, used: Callable[[], Marks]) -> None:
        """Watch over what ``used`` returns: all that the session relies on at that moment."""
        self._vault = vault
        self._known = known
        self._session = session
        self._used = used
        self._watched: _Watched | None = None
        self._lock = threading.RLock()

    def refresh(self) -> IdSet:
        """Look for a plan, keep what is used of it, acknowledge it.

        Returns the chunks in use that a sweep has deleted: of one that began before this session could keep them.
        """
        with self._lock:
            number = Collections.of(self._vault.store).pending
            if self._watched and number != self._watched.number:
                self._over(self._watched)
            if number is None or not self._load(number):
                return IdSet()
            return self._keep_used()

    def _load(self, number: int) -> bool:
        """Learn what a plan names; tell whether it is still there."""
        if self._watched is None:
            try:
                plan = _gc.read_plan(self._vault, number)
            except ObjectMissingError:
                return False
            self._watched = _Watched(number, Marks(IdSet(rows(plan.chunks)), IdSet(rows(plan.meta))))
        return True

    def _keep_used(self) -> IdSet:
        """Keep what is used of the plan; then, unless it is over, acknowledge it."""
        watched = self._watched
        assert watched is not None  # noqa: S101  (its callers have loaded it)
        used = self._used()  # after the plan was made known to ``before_put``: an id used from now on is seen there
        chunks = used.chunks.rows[watched.planned.chunks.holds(used.chunks.rows)]
        meta = used.meta.rows[watched.planned.meta.holds(used.meta.rows)]
        fresh = [("chunks", row.tobytes()) for row in chunks] + [("meta", row.tobytes()) for row in meta]
        self._keep(watched, [one for one in fresh if one not in watched.kept])
        self._wait_for_sweep(watched)
        if self._watched is not None:
            self._acknowledge(watched)
            return IdSet()
        present = self._vault.map(lambda row: self._vault.store.exists(_layout.chunk(row.tobytes())), list(chunks))
        return IdSet.of(row.tobytes() for row, there in zip(chunks, present, strict=True) if not there)

    def before_put(self, folder: str, identifier: bytes) -> bool:
        """Tell whether a plan names an id that is used from now on: then it must be stored, known or not.

        Call it when the id is among what ``used`` returns, and before the object is looked for or stored.
        """
        watched = self._watched
        if watched is None or not watched.names(folder, identifier):
            return False
        with self._lock:
            if (folder, identifier) not in watched.kept:
                self._keep(watched, [(folder, identifier)])
            self._wait_for_sweep(watched)
        return True

    def _keep(self, watched: _Watched, ids: list[tuple[str, bytes]]) -> None:
        """Tell collections to leave some ids alone."""
        if not ids:
            return
        chunks = b"".join(one for folder, one in ids if folder == _layout.CHUNKS)
        meta = b"".join(one for folder, one in ids if folder == _layout.META)
        name = _layout.collection(watched.number, f"keep-{_layout.new_id()}")
        self._vault.create_manifest(Kind.KEEP, name, Ids(chunks=chunks, meta=meta))
        watched.kept.update(ids)

    def _acknowledge(self, watched: _Watched) -> None:
        if not watched.acknowledged:
            self._vault.store.create(_layout.acknowledgement(self._session, watched.number), b"")
            watched.acknowledged = True

    def _wait_for_sweep(self, watched: _Watched) -> None:
        """Return when no sweep of the plan is under way."""
        store = self._vault.store
        flag, end = (_layout.collection(watched.number, what) for what in ("sweep", "done"))
        told = False
        while store.exists(flag) and not store.exists(end):
            if not told:
                _logger.info("waiting_for_sweep", number=watched.number, session=self._session)
                told = True
            if not _gc.rescue(self._vault, watched.number):
                self._vault.pause(_PAUSE_S)
        if self._watched is watched and store.exists(end):
            self._over(watched)

    def _over(self, watched: _Watched) -> None:
        """Take note that a plan is done: what it named is not known any more."""
        done = read_done(self._vault, watched.number).chunks
        self._known.drop([done[start : start + ID_SIZE] for start in range(0, len(done), ID_SIZE)])
        self._watched = None
