"""A collection's dry run says what a collection then does, and changes nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from asyncvddk.repository import GcReport
from tests.repository.faults import DictStore
from tests.repository.helpers import SMALL, back_up, new_repository, opened

if TYPE_CHECKING:
    from asyncvddk.repository import Repository

pytestmark = pytest.mark.usefixtures("small_chunks")

ONE, TWO, THREE = (bytes([number]) * SMALL for number in (1, 2, 3))
DAY_S = 86400.0


async def collect(
    repository: Repository, store: DictStore, *, grace_s: float = 0, trash_s: float = 0, session_expiry_s: float = DAY_S
) -> GcReport:
    """Try, compare, collect; ``waiting_s`` shrinks while one looks, so it is rounded."""
    before = dict(store.objects)
    tried = await repository.gc(grace_s=grace_s, trash_s=trash_s, session_expiry_s=session_expiry_s, dry_run=True)
    assert store.objects == before
    done = await repository.gc(grace_s=grace_s, trash_s=trash_s, session_expiry_s=session_expiry_s)
    assert replace(tried, waiting_s=round(tried.waiting_s, -2)) == replace(done, waiting_s=round(done.waiting_s, -2))
    return done


async def test_a_dry_run_foretells_every_step_of_a_collection() -> None:
    """Nothing to do, purge of the trash, plan, grace, sweep with what is planned next; the store is as before."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with opened(store) as repository:
        assert await collect(repository, store) == GcReport()
        first = await back_up(repository, ONE + TWO)
        await back_up(repository, TWO + THREE)
        await repository.forget([first])
        kept = await collect(repository, store, trash_s=DAY_S)
        assert (kept.planned, kept.purged_snapshots) == (0, 0)
        planned = await collect(repository, store)
        assert (planned.planned, planned.purged_snapshots) == (3, 1)
        waiting = await collect(repository, store, grace_s=DAY_S)
        assert (waiting.planned, waiting.planned_bytes) == (3, planned.planned_bytes)
        assert waiting.waiting_s > 0
        await repository.forget([await back_up(repository, ONE * 3)])
        swept = await collect(repository, store)
        assert (swept.swept, swept.planned) == (2, 3)  # the backup kept the chunk, not the page and the root


async def test_a_dry_run_counts_sessions_that_would_expire_or_are_waited_for() -> None:
    """The objects of one that has died are free as soon as it is taken for dead."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with opened(store) as repository:
        await repository.forget([await back_up(repository, ONE)])
        await collect(repository, store)
        pin = "sessions/20200101T000000Z-0123456789abcdef/pin"
        store.objects[pin] = b""
        waited = await collect(repository, store, session_expiry_s=1e12)
        assert waited.postponed == (pin.split("/")[1],)
        assert (await collect(repository, store)).expired_sessions == 1
