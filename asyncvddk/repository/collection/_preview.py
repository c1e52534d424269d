"""What a collection would do now. Blocking; changes nothing, and takes no lock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from asyncvddk.repository.collection import _sessions
from asyncvddk.repository.collection._collections import Collections
from asyncvddk.repository.collection._gc import (
    GcReport,
    doomed,
    kept_of,
    old_trash,
    read_plan,
    silent,
    unused,
    waiting_for,
)
from asyncvddk.repository.collection._marks import Marks, mark
from asyncvddk.repository.format import _layout
from asyncvddk.repository.format._ids import IdSet

if TYPE_CHECKING:
    import numpy.typing as npt

    from asyncvddk.repository.collection._sessions import LiveSession
    from asyncvddk.repository.store._vault import Vault


def preview(vault: Vault, *, grace_s: float, trash_s: float, expiry_s: float) -> GcReport:
    """Return the report that ``collect`` would give now. Raises as it does, but for a lock."""
    sessions = _sessions.list_sessions(vault.store)
    expired = [one for one in sessions if vault.clock() - one.heard() >= expiry_s]
    purged = old_trash(vault, trash_s)
    report = _preview(
        vault,
        grace_s,
        alive=[one for one in sessions if one not in expired],
        gone={*purged, *(one.session for one in expired)},
    )
    return replace(report, expired_sessions=sum(one.pinned for one in expired), purged_snapshots=len(purged))


def _preview(vault: Vault, grace_s: float, *, alive: list[LiveSession], gone: set[str]) -> GcReport:
    collections = Collections.of(vault.store)
    freed, freed_bytes = Marks(IdSet(), IdSet()), 0
    marks = None
    if (number := collections.pending) is not None:
        plan = read_plan(vault, number)
        waiting = plan.created + grace_s - vault.clock()
        if waiting > 0 and "sweep" not in collections.parts[number]:
            return waiting_for(plan, waiting)
        if waits_for := silent(alive, number):
            return GcReport(postponed=waits_for)
        kept = kept_of(vault, collections.keeps(number))
        marks = mark(vault, _nothing, without=gone)
        chunks, chunk_bytes = doomed(plan.chunks, plan.chunk_sizes, kept.chunks, marks.chunks)
        meta, meta_bytes = doomed(plan.meta, plan.meta_sizes, kept.meta, marks.meta)
        freed, freed_bytes = Marks(chunks, meta), chunk_bytes + meta_bytes
    marks = marks or mark(vault, _nothing, without=gone)
    sizes = np.concatenate(
        [
            _left(vault, _layout.CHUNKS, marks.chunks, freed.chunks),
            _left(vault, _layout.META, marks.meta, freed.meta),
        ]
    )
    return GcReport(len(freed.chunks) + len(freed.meta), freed_bytes, len(sizes), int(sizes.sum()))


def _left(vault: Vault, folder: str, used: IdSet, freed: IdSet) -> npt.NDArray[np.uint64]:
    """Return the sizes of the objects of a folder that are neither used nor freed."""
    ids, sizes = unused(vault, _nothing, folder, used)
    return sizes[~freed.holds(ids)]


def _nothing() -> None:
    """Hold no lock that could be lost."""
