"""Collection of what no snapshot uses, beside running backups: plan, keep, acknowledge, sweep. Blocking.

One run publishes a plan: what is stored and not marked. It deletes nothing. Every session, when it starts, at each
sign of life and before it commits, looks for plans, keeps what it uses of them, and acknowledges. A later run sweeps:
only when all live sessions have acknowledged; it marks again, and deletes what is planned, not kept and not marked.
No clock decides what is safe. Marking lists sessions before snapshots: what a session pins is safe until its snapshot
is seen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import structlog

from asyncvddk.repository.collection import _lock, _sessions
from asyncvddk.repository.collection._collections import Collections
from asyncvddk.repository.collection._marks import Marks, mark
from asyncvddk.repository.errors import ObjectMissingError, RepositoryBusyError
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._crypto import Kind
from asyncvddk.repository.format._ids import IdSet, rows
from asyncvddk.repository.format._manifests import Ids, Plan
from asyncvddk.repository.store._vault import LIST_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import numpy.typing as npt

    from asyncvddk.repository.collection._lock import Lock
    from asyncvddk.repository.collection._sessions import LiveSession
    from asyncvddk.repository.format._ids import Rows
    from asyncvddk.repository.store._vault import Vault

_logger = structlog.get_logger()

GRACE_S: Final = 24 * 3600.0
TRASH_S: Final = 7 * 24 * 3600.0
_DONE_LISTS: Final = 64
"""Lists of what was deleted that are left for the tables of known chunks."""
_PROBES_S: Final = 86400.0
_BATCH: Final = 1000
_LISTED: Final = 10_000


@dataclass(frozen=True, slots=True)
class GcReport:
    """What a collection did."""

    swept: int = 0
    """Objects deleted."""
    freed: int = 0
    """Bytes of them."""
    planned: int = 0
    """Objects that the next run deletes unless they are used again."""
    planned_bytes: int = 0
    postponed: tuple[str, ...] = ()
    """Sessions that did not say yet what they keep; the sweep waits for them."""
    waiting_s: float = 0.0
    """Seconds until the plan may be swept."""
    expired_sessions: int = 0
    purged_snapshots: int = 0


def collect(vault: Vault, *, grace_s: float, trash_s: float, expiry_s: float) -> GcReport:
    """Make one run. Raises RepositoryBusyError, DamagedError (nothing is deleted then), StoreError."""
    with _lock.locked(vault) as lock:
        expired = _expire_sessions(vault, expiry_s)
        purged = _purge_trash(vault, trash_s)
        report = _collect(vault, lock, grace_s)
        _forget_lists(vault)
        _remove_probes(vault)
        vault.store.tidy()
    return replace(report, expired_sessions=expired, purged_snapshots=purged)


def _collect(vault: Vault, lock: Lock, grace_s: float) -> GcReport:
    collections = Collections.of(vault.store)
    number, report = collections.pending, GcReport()
    if number is not None:
        plan = read_plan(vault, number)
        swept_before = "sweep" in collections.parts[number]
        waiting = plan.created + grace_s - vault.clock()
        if waiting > 0 and not swept_before:
            return waiting_for(plan, waiting)
        report = sweep(vault, lock, number)
        if report.postponed:
            return report
    count, size = _publish(vault, lock, number or collections.last_done)
    return GcReport(report.swept, report.freed, count, size)


def waiting_for(plan: Plan, waiting_s: float) -> GcReport:
    """Return the report on a plan whose time has not come."""
    sizes = np.frombuffer(plan.chunk_sizes + plan.meta_sizes, np.uint64)
    return GcReport(planned=len(sizes), planned_bytes=int(sizes.sum()), waiting_s=waiting_s)


def read_plan(vault: Vault, number: int) -> Plan:
    """Return a plan. Raises ObjectMissingError when it is done meanwhile."""
    return vault.get_manifest(Kind.PLAN, _layout.collection(number, "plan"), Plan, limit=LIST_LIMIT)


def _publish(vault: Vault, lock: Lock, last: int) -> tuple[int, int]:
    """Mark, and publish what is stored and not marked. Return how many objects and bytes that are."""
    marks = mark(vault, lock.confirm)
    chunks, chunk_sizes = unused(vault, lock.confirm, _layout.CHUNKS, marks.chunks)
    meta, meta_sizes = unused(vault, lock.confirm, _layout.META, marks.meta)
    count, size = len(chunk_sizes) + len(meta_sizes), int(chunk_sizes.sum() + meta_sizes.sum())
    if count:
        plan = Plan(
            created=vault.clock(),
            chunks=chunks.tobytes(),
            chunk_sizes=chunk_sizes.tobytes(),
            meta=meta.tobytes(),
            meta_sizes=meta_sizes.tobytes(),
        )
        lock.confirm(at_once=True)
        vault.create_manifest(Kind.PLAN, _layout.collection(last + 1, "plan"), plan, stable=True)
        _logger.info("collection_planned", number=last + 1, objects=count, bytes=size)
    return count, size


def unused(vault: Vault, alive: Callable[[], None], folder: str, used: IdSet) -> tuple[Rows, npt.NDArray[np.uint64]]:
    """Return ids and sizes of what a folder holds and ``used`` does not."""
    ids: list[Rows] = [rows(b"")]
    sizes = [np.zeros(0, np.uint64)]
    stored = ((identifier, item.size) for item in vault.store.list(folder) if (identifier := _layout.id_of(item.name)))
    while batch := list(itertools.islice(stored, _LISTED)):
        alive()
        found = rows(b"".join(identifier for identifier, _ in batch))
        free = ~used.holds(found)
        ids.append(found[free])
        sizes.append(np.array([size for _, size in batch], np.uint64)[free])
    return np.concatenate(ids), np.concatenate(sizes)


def sweep(vault: Vault, lock: Lock, number: int) -> GcReport:
    """Delete what plan ``number`` names and nothing uses, or go on with it; not before all sessions have kept."""
    flag = _layout.collection(number, "sweep")
    vault.store.create(flag, b"", stable=True)
    if waits_for := silent(_sessions.list_sessions(vault.store), number):
        vault.store.delete([flag])
        return GcReport(postponed=waits_for)
    try:
        plan = read_plan(vault, number)
        kept = kept_of(vault, Collections.of(vault.store).keeps(number))
        marks = mark(vault, lock.confirm)
    except ObjectMissingError:
        lock.confirm(at_once=True)  # or another collector has taken our place, and finished
        raise
    chunks, freed_chunks = doomed(plan.chunks, plan.chunk_sizes, kept.chunks, marks.chunks)
    meta, freed_meta = doomed(plan.meta, plan.meta_sizes, kept.meta, marks.meta)
    _delete(vault, lock, [_layout.chunk(one) for one in chunks] + [_layout.meta(one) for one in meta])
    freed = freed_chunks + freed_meta
    lock.confirm(at_once=True)
    done = Ids(chunks=plan.chunks, meta=plan.meta)  # more than was deleted; but all that another collector may have
    vault.create_manifest(Kind.DONE, _layout.collection(number, "done"), done, stable=True)
    over = Collections.of(vault.store)
    vault.store.delete([name for name in over.names(number) if not name.endswith("/done")])
    _logger.info("collection_swept", number=number, objects=len(chunks) + len(meta), bytes=freed)
    return GcReport(swept=len(chunks) + len(meta), freed=freed)


def silent(sessions: Iterable[LiveSession], number: int) -> tuple[str, ...]:
    """Return the sessions that did not say yet what they keep of a plan."""
    return tuple(session.session for session in sessions if session.pinned and number not in session.acknowledged)


def doomed(planned: bytes, sizes: bytes, kept: IdSet, marked: IdSet) -> tuple[IdSet, int]:
    """Return which of the planned ids go, and the bytes they free."""
    ids = rows(planned)
    goes = ~kept.holds(ids) & ~marked.holds(ids)
    return IdSet(ids[goes]), int(np.frombuffer(sizes, np.uint64)[goes].sum())


def kept_of(vault: Vault, names: list[str]) -> Marks:
    """Return what sessions keep."""
    chunks: list[bytes] = []
    meta: list[bytes] = []
    for keep in vault.map(lambda name: vault.get_manifest(Kind.KEEP, name, Ids, limit=LIST_LIMIT), names):
        chunks.append(keep.chunks)
        meta.append(keep.meta)
    return Marks(IdSet(rows(b"".join(chunks))), IdSet(rows(b"".join(meta))))


def _delete(vault: Vault, lock: Lock, names: list[str]) -> None:
    """Delete in batches, as long as the lock is ours: not one when another collector may have finished the plan."""
    for start in range(0, len(names), _BATCH):
        lock.confirm(at_once=True)
        vault.store.delete(names[start : start + _BATCH])


def rescue(vault: Vault, number: int) -> bool:
    """Finish a sweep whose collector has died; tell whether it was. For sessions that wait for it."""
    if _lock.is_held(vault):
        return False
    try:
        with _lock.locked(vault) as lock:
            collections = Collections.of(vault.store)
            if collections.pending == number and "sweep" in collections.parts[number]:
                sweep(vault, lock, number)
    except RepositoryBusyError:
        return False
    return True


def _expire_sessions(vault: Vault, expiry_s: float) -> int:
    """Remove sessions that gave no sign of life for too long, and what killed ones left."""
    expired = 0
    for session in _sessions.list_sessions(vault.store):
        if vault.clock() - session.heard() < expiry_s:
            continue
        _sessions.remove(vault.store, session)
        expired += session.pinned
        _logger.warning("session_expired", session=session.session, silent_s=int(vault.clock() - session.heard()))
    return expired


def _purge_trash(vault: Vault, trash_s: float) -> int:
    """Delete snapshots that were forgotten long ago. Before marking, so that what they used is marked no more."""
    names = old_trash(vault, trash_s)
    vault.store.delete(names)
    return len(names)


def old_trash(vault: Vault, trash_s: float) -> list[str]:
    """Return the names of the snapshots that were forgotten long ago."""
    return [
        item.name
        for item in vault.store.list(_layout.TRASH)
        if (since := _layout.trashed_since(item.name)) is not None and vault.clock() - since >= trash_s
    ]


def _remove_probes(vault: Vault) -> None:
    """Delete what a benchmark that was killed has left."""
    vault.store.delete(
        [
            item.name
            for item in vault.store.list(_layout.PROBE)
            if (since := _layout.benchmark_since(item.name)) is not None and vault.clock() - since >= _PROBES_S
        ]
    )


def _forget_lists(vault: Vault) -> None:
    """Delete the oldest lists of what was deleted, and what is left of older collections."""
    collections = Collections.of(vault.store)
    names: list[str] = []
    for number in collections.parts:
        if number <= collections.last_done:
            old = number <= collections.last_done - _DONE_LISTS
            names += [name for name in collections.names(number) if old or not name.endswith("/done")]
    vault.store.delete(names)
