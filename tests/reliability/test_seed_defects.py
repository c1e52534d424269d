"""What the Go library that this package follows gets wrong, as promises of ours.

Covered where their subject is: a snapshot and ports in the connection (``native/test_marshal.py``), structures that the
library fills (``native/test_marshal.py``), text that drives a terminal (``test_errors.py``), threads that rules forbid
(``test_server.py``, on the engine that checks them), every partial failure of opening and closing
(``reliability/test_failing_calls.py``).
"""

from __future__ import annotations

import asyncio
import mmap
import random
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import (
    AsyncDisk,
    Block,
    ClosedError,
    CreateParams,
    DiskType,
    NativeError,
    OpenFlags,
    OutOfRangeError,
    Vddk,
)
from asyncvddk.disks._ranges import RangeLocks
from tests.reliability.operations import PARAMS

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk import Connection
    from asyncvddk.disks._ranges import Range
    from tests.fix_stub import Stub

MIB = 1 << 20
GIB = 1 << 30


@pytest.mark.parametrize(("offset", "length"), [(0, 513), (100, 1000), (511, 2), (MIB - 7, 7), (512, 1100)])
async def test_an_unaligned_tail_is_counted_and_read_once(disk: AsyncDisk, offset: int, length: int) -> None:
    """The count is that of the bytes asked for, so that a loop over a disk repeats none and skips none."""
    pattern = random.Random(1).randbytes(MIB)
    await disk.write_at(0, pattern)
    buffer = bytearray(length)
    assert await disk.readinto_at(offset, buffer) == length
    assert await disk.read_at(offset, length) == buffer == pattern[offset : offset + length]
    assert await disk.write_at(offset, buffer) == length


async def test_a_loop_of_odd_reads_copies_a_disk_byte_for_byte(disk: AsyncDisk) -> None:
    """What a copying program does with the counts it gets."""
    pattern = random.Random(2).randbytes(64 * 1024)
    await disk.write_at(disk.size - len(pattern), pattern)
    copied, at = bytearray(), disk.size - len(pattern)
    buffer = bytearray(1001)
    while at < disk.size:
        part = memoryview(buffer)[: min(len(buffer), disk.size - at)]
        at += await disk.readinto_at(at, part)
        copied += part
    assert copied == pattern


async def test_nothing_is_read_or_written_in_part_at_the_end_of_a_disk(disk: AsyncDisk) -> None:
    """All that was asked for, or ValueError before anything has happened; never a short count without an error."""
    await disk.write_at(disk.size - 10, b"unchanged!")
    with pytest.raises(ValueError, match=str(disk.size)):
        await disk.read_at(disk.size - 10, 11)
    with pytest.raises(ValueError, match=str(disk.size)):
        await disk.write_at(disk.size - 10, b"short write")
    assert await disk.read_at(disk.size - 10, 10) == b"unchanged!"


@pytest.mark.parametrize("offset", [-1, -512, -(1 << 63), 1 << 63, (1 << 64) - 512, 1 << 64, 1 << 80])
async def test_negative_and_huge_offsets_are_errors_and_never_another_sector(disk: AsyncDisk, offset: int) -> None:
    """No 32 or 64 bits in which an offset could wrap to a place inside the disk."""
    for call in (
        disk.read_at(offset, 512),
        disk.write_at(offset, bytes(512)),
        disk.readinto_at(offset, bytearray(512)),
    ):
        with pytest.raises(ValueError, match="range offset="):
            await call
    with pytest.raises(ValueError, match="range offset="):
        disk.allocated_blocks(offset, 512)
    with pytest.raises(ValueError, match="range offset="):
        await disk.read_at(0, -1 if offset < 0 else offset)


async def test_empty_reads_and_writes_touch_no_sector(stub: Stub) -> None:
    """At any offset, the end of the disk included; the buffer may be empty, too."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        for offset in (0, 7, 512, disk.size):
            assert await disk.read_at(offset, 0) == b""
            assert await disk.readinto_at(offset, bytearray()) == 0
            assert await disk.write_at(offset, b"") == 0
    assert (stub.calls("Read"), stub.calls("Write")) == (0, 0)


@pytest.mark.parametrize("seed", range(3))
async def test_an_aligned_write_beside_an_unaligned_one_of_the_same_sector_is_not_lost(
    disk: AsyncDisk, seed: int
) -> None:
    """On the engine, whose requests overtake each other: each byte is the last one asked for."""
    source, model = random.Random(seed), bytearray(8 * 512)
    for _ in range(20):
        writes = []
        for _ in range(32):
            sector = source.randrange(8)
            start, length = source.choice([(0, 512), (0, 1), (511, 1), (100, 300)])
            writes.append((sector * 512 + start, bytes([source.randrange(256)]) * length))
        for offset, data in writes:
            model[offset : offset + len(data)] = data
        await asyncio.gather(*(disk.write_at(offset, data) for offset, data in writes))
        assert await disk.read_at(0, len(model)) == model


@pytest.mark.parametrize("seed", range(20))
async def test_held_ranges_never_overlap_and_nobody_is_forgotten(seed: int) -> None:
    """A model of the exclusion under unaligned writes: random ranges, random ends, random cancellations."""
    source, locks = random.Random(seed), RangeLocks()
    held: list[Range] = []

    async def use(start: int, end: int, turns: int) -> None:
        mine = await locks.acquire(start, end)
        try:
            assert not [other for other in held if other.start < end and start < other.end]
            held.append(mine)
            for _ in range(turns):
                await asyncio.sleep(0)
        finally:
            held.remove(mine)
            locks.release(mine)

    tasks = []
    for _ in range(100):
        start = source.randrange(50)
        tasks.append(asyncio.create_task(use(start, start + source.randrange(1, 20), source.randrange(4))))
        if source.random() < 0.3:
            source.choice(tasks).cancel()
        if source.random() < 0.5:
            await asyncio.sleep(0)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert [end for end in ended if end is not None and not isinstance(end, asyncio.CancelledError)] == []
    assert held == []
    locks.release(await locks.acquire(0, 100))  # all is free


async def test_a_disk_without_allocated_blocks_has_an_empty_list(stub: Stub) -> None:
    """No block is no error, and the library's list is freed."""
    stub.allocated(0)
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
        assert [block async for block in disk.allocated_blocks()] == []
    stub.nothing_left()


async def test_a_tail_that_is_no_whole_chunk_is_asked_for_within_the_librarys_limits(stub: Stub) -> None:
    """At least 128 sectors a chunk, nothing behind the last whole chunk: what cannot be asked counts as allocated."""
    stub.capacity(1000)
    stub.allocated(100)
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
        blocks = [block async for block in disk.allocated_blocks()]
        with pytest.raises(ValueError, match="chunk_size"):
            disk.allocated_blocks(chunk_size=512)
    assert blocks == [Block(0, 100 * 512), Block(896 * 512, 104 * 512)]


@pytest.mark.parametrize("length", [0, 1, 511, 4000])
async def test_a_metadata_value_of_any_length_is_read_whole(stub: Stub, length: int) -> None:
    """The length is asked for first, with no buffer at all, then the value is read."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        await disk.metadata.set("note", "v" * length)
        assert await disk.metadata["note"] == "v" * length
    assert stub.calls("ReadMetadata") == 2


async def test_the_space_needed_for_a_clone_is_told(stub: Stub) -> None:
    """What the library writes to its out-argument arrives, and the type that was asked for got there."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
        assert await disk.space_needed_for_clone(DiskType.MONOLITHIC_FLAT) == MIB + DiskType.MONOLITHIC_FLAT


async def test_progress_is_told_and_a_cancelled_clone_is_stopped_by_it(stub: Stub) -> None:
    """The callback that C gets answers "stop" once the caller is cancelled, and its percentages reach the caller."""
    stub.obey()
    told: list[int] = []
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        with stub.gate("Clone") as gate:
            cloning = asyncio.ensure_future(_clone(connection, told))
            await gate.arrival()
            cloning.cancel()
            await asyncio.sleep(0)
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await cloning
    assert told[:1] == [10]
    assert stub.calls("Unlink") == 0, "the library stopped: there is nothing to remove"


async def _clone(connection: Connection, told: list[int]) -> None:
    await connection.clone("/copy.vmdk", "/disk.vmdk", progress=told.append)


async def test_a_disk_whose_size_cannot_be_learned_is_closed_again(stub: Stub) -> None:
    """The last step of opening fails: the handle that is open already does not stay so."""
    stub.fail("GetInfo", 13)
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        with pytest.raises(NativeError, match="VixDiskLib_GetInfo"):
            await connection.open("/disk.vmdk")
        assert stub.calls("Close") == 1
    stub.nothing_left()


async def test_a_second_close_is_nothing_and_one_beside_it_waits(stub: Stub) -> None:
    """One Close, one Disconnect, one EndAccess, whoever asks and how often; no use of what is closed reaches C."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("[ds] disk.vmdk", params=PARAMS)
        reading = asyncio.ensure_future(disk.read_at(0, 4096))
        await asyncio.sleep(0)
        await asyncio.gather(*(disk.aclose() for _ in range(5)))
        await disk.aclose()
        assert await reading == bytes(4096), "what was in flight has ended before the disk was closed"
        with pytest.raises(ClosedError):
            await disk.read_at(0, 512)
    assert [stub.calls(name) for name in ("Close", "Disconnect", "EndAccess")] == [1, 1, 1]
    stub.nothing_left()


async def test_a_failing_close_still_disconnects_and_unlocks_the_machine(stub: Stub) -> None:
    """Every step is made; the first error is raised, and the others are its notes."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("[ds] disk.vmdk", params=PARAMS)
        for name in ("Close", "Disconnect", "EndAccess"):
            stub.fail(name, 7)
        with pytest.raises(NativeError, match="VixDiskLib_Close") as caught:
            await disk.aclose()
    notes = "\n".join(caught.value.__notes__)
    assert "VixDiskLib_Disconnect" in notes
    assert "VixDiskLib_EndAccess" in notes
    stub.nothing_left()


@pytest.mark.parametrize("kind", ["stub", "async_stub"])
async def test_buffers_over_2_gib_are_transferred_to_their_last_byte(kind: str, request: pytest.FixtureRequest) -> None:
    """No length is cut to 31 or 32 bits, unaligned or not. The disk only counts, nobody touches the mapped buffer."""
    stub: Stub = request.getfixturevalue(kind)
    stub.capacity(6 * GIB // 512)
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        with mmap.mmap(-1, 5 * GIB) as buffer:
            assert await disk.readinto_at(GIB, buffer) == 5 * GIB
            assert stub.sectors() == 5 * GIB // 512
            assert await disk.write_at(1000, buffer) == 5 * GIB
            assert stub.sectors() == 2 * 5 * GIB // 512 + 3, "two sectors in part: read and written each, one more"


async def test_a_block_beyond_2_gib_is_told_where_it_is(connection: Connection, tmp_path: Path) -> None:
    """On a sparse disk of the engine: written, found and read beyond 4 GiB."""
    path, far = tmp_path / "large.vmdk", 5 * GIB + 65536
    await connection.create(path, CreateParams(size=6 * GIB))
    async with connection.open(path) as disk:
        await disk.write_at(far, b"far")
        assert [block async for block in disk.allocated_blocks()] == [Block(far, 65536)]
        assert await disk.read_at(far - 1, 5) == b"\0far\0"


async def test_a_buffer_is_never_written_behind_its_end(disk: AsyncDisk) -> None:
    """The length of the transfer is that of the buffer; what lies behind a slice of it stays."""
    await disk.write_at(0, b"x" * 8192)
    whole = bytearray(b"." * 8192)
    await disk.readinto_at(0, memoryview(whole)[512:1536])
    await disk.readinto_at(3, memoryview(whole)[4096:4107])
    assert whole.count(b"x") == 1024 + 11
    assert whole[511:513] == b".x"
    assert whole[1535:1537] == b"x."


async def test_log_messages_are_formatted_with_all_their_arguments_whatever_their_length(stub: Stub) -> None:
    """Text, int, 64-bit number and a percent sign through C's va_list; 10 KiB are cut, and never written too far."""
    with capture_logs() as logs:
        async with Vddk(stub.root):
            stub.chat(b"caf\xc3\xa9 %s", -5, (1 << 64) - 1, b"y" * 10240)
    said = [event["text"] for event in logs]
    assert said[0] == "text café %s number -5 large 18446744073709551615 percent % done"
    assert said[1] == "y" * 4095


async def test_error_codes_are_compared_by_their_low_16_bits(stub: Stub) -> None:
    """The upper bits carry something else: the class, and what depends on the code, follow from the lower ones."""
    high = 1 << 32
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        stub.fail("Read", high | 16007)
        with pytest.raises(OutOfRangeError) as caught:
            await disk.read_at(0, 512)
        assert (caught.value.code, caught.value.raw_code) == (16007, high | 16007)
        stub.fail("Read", 0)
        stub.fail("QueryAllocatedBlocks", high | 6)  # not supported: everything is allocated
        assert [block async for block in disk.allocated_blocks()] == [Block(0, MIB)]


async def test_a_write_behind_the_end_that_only_the_library_sees_is_an_error(stub: Stub) -> None:
    """Its refusal is an error for writes as for reads, never an end of file."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        stub.fail("Write", 16007)
        with pytest.raises(OutOfRangeError, match=r"disk\.vmdk"):
            await disk.write_at(0, bytes(512))


async def test_connection_parameters_are_given_back_to_the_library(stub: Stub) -> None:
    """What it allocated for them is freed with the connection; that secrets are overwritten is in ``test_secret``."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect(PARAMS)
        assert stub.params().creds.uid.password == b"geheim"
        await connection.aclose()
    stub.nothing_left()


async def test_text_with_percent_signs_is_text(connection: Connection, tmp_path: Path) -> None:
    """A path is no format: errors show it as it is."""
    with pytest.raises(NativeError, match="100%s%n"):
        await connection.open(tmp_path / "100%s%n.vmdk", OpenFlags.READ_ONLY)


async def test_the_library_ends_after_all_that_was_opened_in_it(stub: Stub) -> None:
    """A second user does not initialise it again, and the last one does not end it under an open handle."""
    async with Vddk(stub.root) as first:
        disk = await first.open_disk("/disk.vmdk")
        async with Vddk(stub.root):
            pass
        assert await disk.read_at(0, 3) == bytes(3)
        assert (stub.calls("InitEx"), stub.calls("Exit")) == (1, 0)
    stub.nothing_left()
