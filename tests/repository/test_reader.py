"""A disk of a snapshot reads as a disk does."""

from __future__ import annotations

import asyncio
import random
import threading

import pytest

from asyncvddk import AsyncDisk, ClosedError
from asyncvddk.models import Block
from asyncvddk.repository import ObjectMissingError, SnapshotDisk
from tests.repository.faults import DictStore
from tests.repository.helpers import SMALL, back_up, new_repository, opened

pytestmark = pytest.mark.usefixtures("small_chunks")

DATA = (
    b"".join(
        random.Random(number).randbytes(SMALL) if kind == "x" else bytes(SMALL)
        for number, kind in enumerate("x..xx.x....xx")
    )
    + b"end"
)
BLOCKS = [Block(0, SMALL), Block(3 * SMALL, 2 * SMALL), Block(6 * SMALL, SMALL), Block(11 * SMALL, 2 * SMALL + 3)]


async def made() -> tuple[DictStore, object]:
    """Return a store with a snapshot of the data."""
    store = DictStore()
    new_repository(store, chunk_size=SMALL)
    async with opened(store) as repository:
        return store, await back_up(repository, DATA)


def chunk_reads(store: DictStore) -> list[str]:
    """Return the list to which each read of a chunk is added from now on."""
    reads: list[str] = []

    def note(operation: str, name: str) -> None:
        if operation == "get" and name.startswith("chunks/"):
            reads.append(name)

    store.before = note
    return reads


async def test_any_range_is_what_was_put() -> None:
    """Random ranges, within chunks and across them, zeros and the short end; into buffers, by threads, too."""
    store, snapshot = await made()
    source = random.Random(1)
    async with opened(store) as repository, await repository.open_disk(snapshot, "1", cache_size=3 * SMALL) as disk:  # type: ignore[arg-type]
        assert disk.size == len(DATA)
        for _ in range(200):
            start = source.randrange(len(DATA) + 1)
            length = source.choice((0, 1, 511, SMALL, 5 * SMALL))
            length = min(length, len(DATA) - start)
            assert await disk.read_at(start, length) == DATA[start : start + length]
            buffer = bytearray(length)
            assert await disk.readinto_at(start, buffer) == length
            assert buffer == DATA[start : start + length]
            buffer = bytearray(b"\xee" * (length + 2))
            disk.fill(start, memoryview(buffer)[1:-1])
            assert buffer == b"\xee" + DATA[start : start + length] + b"\xee"
        for start, length in ((-1, 1), (0, -1), (len(DATA), 1)):
            with pytest.raises(ValueError, match="outside"):
                await disk.read_at(start, length)
        with pytest.raises(ValueError, match="outside"):
            disk.fill(len(DATA), memoryview(bytearray(1)))
        with pytest.raises(BufferError):
            await disk.readinto_at(0, b"read-only")


async def test_a_buffer_is_the_callers_again_at_once() -> None:
    """After success and after an error: it can be resized, which no buffer can that somebody looks at."""
    store, snapshot = await made()
    async with opened(store) as repository, await repository.open_disk(snapshot, "1") as disk:  # type: ignore[arg-type]
        buffer = bytearray(5 * SMALL - 3)
        await disk.readinto_at(SMALL + 1, buffer)
        buffer.append(1)
        for name in [name for name in store.objects if name.startswith("chunks/")]:
            del store.objects[name]
        with pytest.raises(ObjectMissingError) as caught:
            await disk.readinto_at(SMALL + 1, buffer)
        buffer.append(1)
        assert caught.value.__notes__


async def test_closing_waits_for_threads_that_read() -> None:
    """They use the store and the keys."""
    store, snapshot = await made()
    async with opened(store) as repository:
        disk = await repository.open_disk(snapshot, "1")  # type: ignore[arg-type]
        began, may_end = threading.Event(), threading.Event()

        def wait(operation: str, name: str) -> None:
            if operation == "get" and name.startswith("chunks/"):
                began.set()
                may_end.wait()

        store.before = wait
        memory = memoryview(bytearray(SMALL))
        reading = asyncio.create_task(disk.in_thread(lambda: disk.fill(0, memory)))
        await asyncio.to_thread(began.wait)
        closing = asyncio.create_task(disk.aclose())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not closing.done()
        may_end.set()
        await closing
        assert reading.done()
        assert memory == DATA[:SMALL]


async def test_allocated_blocks_are_the_chunks_that_are_not_zero() -> None:
    """They ascend, touch nobody, and are cut to the range asked for."""
    store, snapshot = await made()
    async with opened(store) as repository, await repository.open_disk(snapshot, "1") as disk:  # type: ignore[arg-type]
        assert [block async for block in disk.allocated_blocks()] == BLOCKS
        some = [block async for block in disk.allocated_blocks(3 * SMALL + 5, 4 * SMALL, chunk_size=65536)]
        assert some == [Block(3 * SMALL + 5, 2 * SMALL - 5), Block(6 * SMALL, SMALL)]
        assert [block async for block in disk.allocated_blocks(SMALL, SMALL)] == []
        assert [block async for block in disk.allocated_blocks(0, 0)] == []
        with pytest.raises(ValueError, match="outside"):
            disk.allocated_blocks(1, len(DATA))


async def test_it_has_the_reading_interface_of_a_disk() -> None:
    """Programs that read an ``AsyncDisk`` read a backup: the same names, the same parameters."""
    for name in ("size", "read_at", "readinto_at", "allocated_blocks", "aclose", "closed"):
        theirs, ours = getattr(AsyncDisk, name), getattr(SnapshotDisk, name)
        if callable(theirs):
            assert (
                theirs.__code__.co_varnames[: theirs.__code__.co_argcount]
                == ours.__code__.co_varnames[: ours.__code__.co_argcount]
            )


async def test_chunks_are_cached_and_fetched_once_for_many_readers() -> None:
    """Readers of the same chunk share one request; the cache keeps the last ones."""
    store, snapshot = await made()
    async with opened(store) as repository, await repository.open_disk(snapshot, "1", cache_size=2 * SMALL) as disk:  # type: ignore[arg-type]
        reads = chunk_reads(store)
        await asyncio.gather(*(disk.read_at(10, 10) for _ in range(20)))
        assert len(reads) == 1
        await disk.read_at(3 * SMALL, SMALL)
        await disk.read_at(0, 1)
        assert len(reads) == 2
        await disk.read_at(4 * SMALL, SMALL)  # chunk 3 was used longest ago
        await disk.read_at(0, 1)
        assert len(reads) == 3
        await disk.read_at(3 * SMALL, 1)
        assert len(reads) == 4


async def test_reading_in_sequence_fetches_ahead() -> None:
    """The chunks behind a second read in sequence are on their way before they are asked for."""
    store, snapshot = await made()
    async with opened(store) as repository, await repository.open_disk(snapshot, "1") as disk:  # type: ignore[arg-type]
        reads = chunk_reads(store)
        await disk.read_at(3 * SMALL, SMALL)
        await disk.read_at(4 * SMALL, SMALL)
        while disk._running:
            await asyncio.wait(list(disk._running.values()))
        assert len(reads) == 3  # chunk 6, too: of the four ahead the only one that is not zero


async def test_an_error_is_raised_to_each_reader_and_not_remembered() -> None:
    """A chunk that could not be fetched is fetched again."""
    store, snapshot = await made()
    async with opened(store) as repository, await repository.open_disk(snapshot, "1") as disk:  # type: ignore[arg-type]
        whole = dict(store.objects)
        for name in [name for name in whole if name.startswith("chunks/")]:
            del store.objects[name]
        found = await asyncio.gather(*(disk.read_at(0, 1) for _ in range(3)), return_exceptions=True)
        assert [type(error) for error in found] == [ObjectMissingError] * 3
        store.objects.update(whole)
        assert await disk.read_at(0, 1) == DATA[:1]


async def test_a_cancelled_reader_disturbs_no_other() -> None:
    """Two wait for the same chunk, one is cancelled, the other one gets it."""
    store, snapshot = await made()
    async with opened(store) as repository, await repository.open_disk(snapshot, "1") as disk:  # type: ignore[arg-type]
        one, two = (asyncio.ensure_future(disk.read_at(0, 10)) for _ in range(2))
        await asyncio.sleep(0)
        one.cancel()
        assert await two == DATA[:10]
        with pytest.raises(asyncio.CancelledError):
            await one


async def test_a_closed_disk_says_so() -> None:
    """Every method names itself and the disk."""
    store, snapshot = await made()
    async with opened(store) as repository:
        disk = await repository.open_disk(snapshot, "1")  # type: ignore[arg-type]
        await disk.aclose()
        await disk.aclose()
        assert disk.closed
        with pytest.raises(ClosedError, match=r"read_at\(\)"):
            await disk.read_at(0, 1)
        with pytest.raises(ClosedError, match=r"chunk\(\)"):
            disk.chunk(0)
        with pytest.raises(KeyError, match=r"but \['1'\]"):
            await repository.open_disk(snapshot, "2")  # type: ignore[arg-type]
    with pytest.raises(ClosedError, match=r"Repository.snapshots"):
        await repository.snapshots()
