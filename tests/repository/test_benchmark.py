"""The benchmark measures what it says, and leaves nothing behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from asyncvddk.repository import Repository, open_store
from asyncvddk.repository._benchmark import sample
from asyncvddk.repository.format import _codec
from tests.repository.faults import DictStore, calm
from tests.repository.helpers import CHUNK, PASSWORD, new_repository, opened

if TYPE_CHECKING:
    from tests.fix_repository import Place


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["plain", "encrypted"])
async def test_a_benchmark_stores_and_reads_every_byte_and_removes_it(password: str | None) -> None:
    """Rounded up to chunks; the data pass through the store in both directions."""
    store = DictStore()
    new_repository(store, password)
    counts = dict.fromkeys(("create", "get"), 0)

    def count(operation: str, name: str) -> None:
        if name.startswith("probe/") and operation in counts:
            counts[operation] += 1

    async with opened(store, password) as repository:
        before, store.before = dict(store.objects), count
        report = await repository.benchmark(3 * CHUNK - 1)
    assert counts == {"create": 3, "get": 3}
    assert report.size == 3 * CHUNK
    assert 0.3 < report.stored / report.size < 0.7
    assert min(report.pack, report.write, report.read, report.unpack) > 0
    assert store.objects == before


async def test_a_benchmark_works_at_every_kind_of_place(place: Place) -> None:
    """A folder and a bucket; neither has an object more."""
    await Repository.init(place.url, password=None, chunk_size=CHUNK, options=place.options)
    async with Repository.open(place.url, password=None, options=place.options, cache="") as repository:
        report = await repository.benchmark(2 * CHUNK)
    assert (report.size, report.threads >= 1) == (2 * CHUNK, True)
    store = open_store(place.url, options=place.options)
    assert [item.name for item in store.list("")] == ["config"]
    store.close()


@pytest.mark.parametrize("how", ["cancelled", "failed"])
async def test_a_benchmark_that_is_stopped_leaves_nothing(how: str) -> None:
    """At any moment."""
    store = DictStore()
    new_repository(store)
    async with opened(store) as repository:
        before = dict(store.objects)
        loop = asyncio.get_running_loop()

        def stop(operation: str, name: str) -> None:
            if operation == "create" and name.endswith("-5"):
                store.before = calm
                if how == "failed":
                    raise MemoryError
                loop.call_soon_threadsafe(running.cancel)

        store.before = stop
        running = asyncio.ensure_future(repository.benchmark(1000 * CHUNK))
        with suppress(asyncio.CancelledError, MemoryError):
            await running
            pytest.fail("must not end well")
    assert store.objects == before


async def test_what_a_killed_benchmark_has_left_goes_with_a_collection() -> None:
    """A day later; that of a running one stays."""
    store = DictStore()
    new_repository(store)
    async with opened(store) as repository:
        store.objects |= {f"probe/{since}-0123456789abcdef-7": b"" for since in (1_600_000_000, 99_999_999_999)}
        await repository.gc()
    assert [name for name in store.objects if name.startswith("probe/")] == ["probe/99999999999-0123456789abcdef-7"]


def test_samples_are_reproducible_different_and_of_any_size() -> None:
    """They compress about to the half, whatever the size of a chunk."""
    assert bytes(sample(1, 1000)) == bytes(sample(1, 1000)) != bytes(sample(2, 1000))
    data = sample(3, 1 << 20)
    assert len(bytes(data)) == 1 << 20
    assert 0.3 < len(memoryview(_codec.compress(data, 1)[1]).cast("B")) / (1 << 20) < 0.6
