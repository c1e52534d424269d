"""A disk that is opened with a policy: reads go on after failures, over a new connection if need be."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from asyncvddk import (
    AbortedError,
    Block,
    CallTimeoutError,
    ClosedError,
    ConnectionFailedError,
    CreateParams,
    DiskChangedError,
    MetadataKeyError,
    OutOfMemoryError,
    RetryingDisk,
    RetryPolicy,
    Vddk,
)
from tests.reliability.test_abort import come_back, started

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.fix_stub import Gate, Stub

STAY = RetryPolicy(attempts=3, delay_s=0)
RECONNECT = dataclasses.replace(STAY, reconnect=True)
LOST, NO_MEMORY = 36, 2
SOON = 0.02


@asynccontextmanager
async def opened(
    stub: Stub, policy: RetryPolicy, *, read_only: bool = True, limit: float | None = None
) -> AsyncIterator[RetryingDisk]:
    """Open the stub's disk."""
    async with (
        Vddk(stub.root) as vddk,
        vddk.open_disk("/disk.vmdk", read_only=read_only, retry=policy, call_timeout_s=limit) as disk,
    ):
        yield disk


async def let_it_fail(stub: Stub, gate: Gate, name: str) -> None:
    """Have the call that is coming to the gate fail as it was told, and the further ones go well."""
    await gate.arrival()
    stub.fail(name, 0)
    gate.release(100)


async def test_read_that_fails_in_passing_is_made_again_on_the_same_handle(stub: Stub) -> None:
    """The host was short of memory: no new connection."""
    async with opened(stub, RECONNECT) as disk:
        with stub.gate("Read") as gate:
            stub.fail("Read", NO_MEMORY)
            reading = await started(disk.read_at(100, 1000))
            await let_it_fail(stub, gate, "Read")
            assert await reading == bytes(1000)
        assert (stub.calls("Read"), stub.calls("ConnectEx")) == (2, 1)
    assert stub.balanced()


async def test_read_that_goes_on_failing_raises_the_last_error_as_itself(stub: Stub) -> None:
    """With notes of the earlier ones."""
    async with opened(stub, STAY) as disk:
        stub.fail("Read", NO_MEMORY)
        with pytest.raises(OutOfMemoryError) as caught:
            await disk.read_at(0, 512)
        assert len(caught.value.__notes__) == 2
        assert stub.calls("Read") == 3


async def test_reads_share_one_new_connection_when_theirs_is_lost(stub: Stub) -> None:
    """Five reads fail; the connection is made again once, the old one closed first."""
    async with opened(stub, RECONNECT) as disk:
        stub.fail("Read", LOST)
        with stub.gate("Read") as gate:
            reads = [await started(disk.read_at(n * 512, 512)) for n in range(5)]
            for _ in range(4):
                await gate.arrival()
                gate.release()
            await let_it_fail(stub, gate, "Read")
            assert await asyncio.gather(*reads) == [bytes(512)] * 5
        assert (stub.calls("ConnectEx"), stub.calls("Open"), stub.calls("Close")) == (2, 2, 1)
        assert await disk.read_at(0, 512) == bytes(512)
    assert stub.balanced()


async def test_lost_connection_without_reconnect_is_tried_as_it_is(stub: Stub) -> None:
    """The library may mend it itself."""
    async with opened(stub, STAY) as disk:
        stub.fail("Read", LOST)
        with pytest.raises(ConnectionFailedError):
            await disk.read_at(0, 512)
        assert (stub.calls("Read"), stub.calls("ConnectEx")) == (3, 1)


async def test_failures_of_the_new_connection_count_as_tries(stub: Stub) -> None:
    """A server that stays away ends it; the error is that of connecting, the lost read its note."""
    async with opened(stub, RECONNECT) as disk:
        stub.fail("Read", LOST)
        stub.fail("ConnectEx", 14009)
        with pytest.raises(ConnectionFailedError, match="ConnectEx") as caught:
            await disk.read_at(0, 512)
        assert ["Read" in note for note in caught.value.__notes__] == [True, False]
        stub.fail("Read", 0)
        stub.fail("ConnectEx", 0)
        assert await disk.read_at(0, 512) == bytes(512)
    assert stub.calls("ConnectEx") == 4


async def test_read_that_hangs_is_given_up_and_made_again(stub: Stub) -> None:
    """The limit ends it, another connection answers; nobody waits for the hung thread."""
    async with opened(stub, RECONNECT, limit=SOON) as disk:
        with stub.gate("Read") as gate:
            reading = await started(disk.read_at(0, 512))
            await gate.arrival()
            stub.pass_gate("Read")
            assert await reading == bytes(512)
            assert stub.calls("ConnectEx") == 2
            await come_back(gate)


async def test_buffer_is_the_callers_again_although_a_hung_call_may_still_write(stub: Stub) -> None:
    """With a time limit the library never gets the caller's own memory."""
    async with opened(stub, RECONNECT, limit=SOON) as disk:
        buffer = bytearray(b"\xff" * 512)
        with stub.gate("Read") as gate:
            reading = await started(disk.readinto_at(0, buffer))
            await gate.arrival()
            stub.pass_gate("Read")
            assert await reading == 512
            assert buffer == bytes(512)
            buffer[:] = b"\xee" * 512
            await come_back(gate)
            assert buffer == b"\xee" * 512
            buffer.append(0)


async def test_read_into_a_buffer_without_a_limit_goes_straight_there(stub: Stub) -> None:
    """And is made again as well."""
    async with opened(stub, STAY) as disk:
        buffer = bytearray(b"\xff" * 512)
        with stub.gate("Read") as gate:
            stub.fail("Read", NO_MEMORY)
            reading = await started(disk.readinto_at(0, buffer))
            await let_it_fail(stub, gate, "Read")
            assert await reading == 512
        assert buffer == bytes(512)


async def test_writes_are_not_made_again_unless_asked_for(stub: Stub) -> None:
    """The error is raised at once."""
    async with opened(stub, RECONNECT, read_only=False) as disk:
        stub.fail("Write", NO_MEMORY)
        with pytest.raises(OutOfMemoryError):
            await disk.write_at(0, bytes(512))
        assert stub.calls("Write") == 1


async def test_writes_are_made_again_if_asked_for(stub: Stub) -> None:
    """Over a new connection, too, as long as no other write was lost with the old one."""
    async with opened(stub, dataclasses.replace(RECONNECT, writes=True), read_only=False) as disk:
        with stub.gate("Write") as gate:
            stub.fail("Write", LOST)
            writing = await started(disk.write_at(100, b"x" * 512))
            await let_it_fail(stub, gate, "Write")
            assert await writing == 512
        await disk.flush()
        assert await disk.read_at(99, 514) == b"\0" + b"x" * 512 + b"\0"
        assert stub.calls("ConnectEx") == 2


async def test_connection_with_unflushed_writes_is_not_made_again(stub: Stub) -> None:
    """They may be lost, and going on would hide it."""
    async with opened(stub, dataclasses.replace(RECONNECT, writes=True), read_only=False) as disk:
        await disk.write_at(0, b"x" * 512)
        stub.fail("Read", LOST)
        with pytest.raises(ConnectionFailedError) as caught:
            await disk.read_at(0, 512)
        assert any("writes since the last flush may be lost" in note for note in caught.value.__notes__)
        assert stub.calls("ConnectEx") == 1
        stub.fail("Read", 0)
        await disk.flush()
        stub.fail("Read", LOST)
        stub.fail("ConnectEx", 13)
        with pytest.raises(Exception, match="ConnectEx"):
            await disk.read_at(0, 512)


async def test_write_that_hangs_is_never_made_again(stub: Stub) -> None:
    """The library may still be at it, and would put old data over newer."""
    policy = dataclasses.replace(RECONNECT, writes=True)
    async with opened(stub, policy, read_only=False, limit=SOON) as disk:
        with stub.gate("Write") as gate:
            writing = await started(disk.write_at(0, b"x" * 512))
            await gate.arrival()
            stub.pass_gate("Write")
            with pytest.raises(CallTimeoutError):
                await writing
            assert stub.calls("Write") == 1
            await come_back(gate)


async def test_allocated_blocks_go_on_behind_the_last_one(stub: Stub) -> None:
    """Each is told once."""
    async with opened(stub, RECONNECT) as disk:
        with stub.gate("QueryAllocatedBlocks") as gate:
            stub.fail("QueryAllocatedBlocks", LOST)
            asking = await started(_blocks(disk))
            await let_it_fail(stub, gate, "QueryAllocatedBlocks")
            assert await asking == [Block(0, disk.size)]
        assert stub.calls("ConnectEx") == 2
        stub.fail("QueryAllocatedBlocks", NO_MEMORY)
        with pytest.raises(OutOfMemoryError):
            await _blocks(disk)
        stub.fail("QueryAllocatedBlocks", 0)
        with pytest.raises(ValueError, match="chunk"):
            disk.allocated_blocks(chunk_size=1)


async def _blocks(disk: RetryingDisk) -> list[Block]:
    return [block async for block in disk.allocated_blocks()]


async def test_metadata_is_read_on_over_a_new_connection(stub: Stub) -> None:
    """Keys and values are calls of their own: each is made again by itself."""
    async with opened(stub, RECONNECT, read_only=False) as disk:
        await disk._disk.metadata.update({"one": "1", "two": "2"})
        for name in ("GetMetadataKeys", "ReadMetadata"):
            with stub.gate(name) as gate:
                stub.fail(name, LOST)
                asking = await started(disk.metadata.as_dict())
                await let_it_fail(stub, gate, name)
                assert await asking == {"one": "1", "two": "2"}
        assert stub.calls("ConnectEx") == 3
        stub.fail("ReadMetadata", NO_MEMORY)
        with pytest.raises(OutOfMemoryError) as caught:
            await disk.metadata["one"]
        assert len(caught.value.__notes__) == 2
        assert stub.calls("ConnectEx") == 3
        metadata = disk.metadata
    with pytest.raises(ClosedError, match=r"RetryingDisk\.metadata"):
        await metadata.keys()
    assert stub.balanced()


async def test_missing_entry_is_an_answer_and_a_wrong_key_no_reason_to_connect_again(stub: Stub) -> None:
    """Neither is tried again; the answer is that of the new connection."""
    async with opened(stub, RECONNECT, read_only=False) as disk:
        asked = stub.calls("ReadMetadata")
        assert await disk.metadata.get("no.such", 7) == 7
        assert stub.calls("ReadMetadata") == asked + 1
        disk._lost = True
        with pytest.raises(ValueError, match="key"):
            await disk.metadata[""]
        assert stub.calls("ConnectEx") == 1
        with pytest.raises(MetadataKeyError):
            await disk.metadata["no.such"]
        assert stub.calls("ConnectEx") == 2
    assert stub.balanced()


async def test_cancelled_reader_takes_nobodys_new_connection_away(stub: Stub) -> None:
    """The one who began to connect again is cancelled; the other gets its data over it."""
    async with opened(stub, RECONNECT) as disk:
        stub.fail("Read", LOST)
        with stub.gate("ConnectEx") as gate:
            reads = [await started(disk.read_at(0, 512)) for _ in range(2)]
            await gate.arrival()
            stub.fail("Read", 0)
            reads[0].cancel()
            with pytest.raises(asyncio.CancelledError):
                await reads[0]
            gate.release(10)
            assert await reads[1] == bytes(512)
        assert stub.calls("ConnectEx") == 2
    assert stub.balanced()


async def test_long_read_goes_on_although_another_one_has_lost_the_connection(stub: Stub) -> None:
    """Its disk is closed between two of its requests; that is no failure of its own."""
    async with opened(stub, RECONNECT) as disk:
        disk._disk._request_sectors = 1
        with stub.gate("Read") as gate:
            long = await started(disk.read_at(0, disk.size))
            await gate.arrival()
            short = await started(disk.read_at(0, 512))
            stub.fail("Read", LOST)
            gate.release()
            await gate.arrival()
            stub.fail("Read", 0)
            stub.pass_gate("Read")
            gate.release()
            assert await short == bytes(512)
            assert await long == bytes(disk.size)
        assert stub.calls("ConnectEx") == 2
    assert stub.balanced()


async def test_disk_that_is_closed_while_it_connects_again_leaves_nothing_open(stub: Stub) -> None:
    """Who waits for the read hears that it is closed."""
    async with opened(stub, RECONNECT) as disk:
        stub.fail("Read", LOST)
        with stub.gate("ConnectEx") as gate:
            reading = await started(disk.read_at(0, 512))
            await gate.arrival()
            closing = await started(disk.aclose())
            gate.release(10)
            await closing
            assert (stub.calls("ConnectEx"), stub.calls("Disconnect")) == (2, 2)
            with pytest.raises(ClosedError):
                await reading
        assert disk.closed
    assert stub.balanced()


async def test_read_hears_of_a_close_that_comes_before_connecting_again_has_begun(stub: Stub) -> None:
    """The task that was to connect never runs, and nobody waits for it for ever."""
    async with opened(stub, RECONNECT) as disk:
        disk._lost = True
        reading = await started(disk.read_at(0, 512))
        await disk.aclose()
        with pytest.raises(ClosedError):
            await reading
        assert stub.calls("ConnectEx") == 1
    assert stub.balanced()


async def test_stream_goes_on_over_a_new_connection(stub: Stub) -> None:
    """A stream is one of the ways to read a disk."""
    async with opened(stub, RECONNECT) as disk, disk.stream(512) as stream:
        stub.fail("Read", LOST)
        with stub.gate("Read") as gate:
            reading = await started(stream.read(1024))
            await let_it_fail(stub, gate, "Read")
            assert await reading == bytes(1024)
        assert (await stream.tell(), stub.calls("ConnectEx")) == (1536, 2)
    with pytest.raises(ClosedError):
        disk.stream()


async def test_abort_ends_all_tries(stub: Stub) -> None:
    """Also of who waits for a new connection; nothing is connected any more."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", retry=RECONNECT) as disk:
        stub.fail("Read", LOST)
        with stub.gate("ConnectEx") as gate:
            reading = await started(disk.read_at(0, 512))
            await gate.arrival()
            disk.abort("enough")
            with pytest.raises(AbortedError, match="enough"):
                await reading
            with pytest.raises(AbortedError, match="enough"):
                await disk.read_at(0, 512)
            await disk.aclose()
            vddk.abort("the new connection, too")
            await come_back(gate)
    assert stub.calls("ConnectEx") == 2


ENGINE_READ_FAILS = f"openEngine.fail = ReadAsync:1:{LOST}\n"


async def test_engine_disk_is_read_on_over_a_new_connection(tmp_path: Path) -> None:
    """The same disk: size, identity and content are what they were."""
    async with _engine_disk(tmp_path) as disk:
        assert await disk.read_at(1000, 5) == b"hello"
        assert disk.transport_mode == "file"
        assert (await disk.info()).size == disk.size == 1 << 20


@pytest.mark.parametrize("size", [1 << 20, 2 << 20])
async def test_other_disk_at_the_same_path_is_refused(tmp_path: Path, size: int) -> None:
    """Of another size, or of the same: its uuid or content identifier tells."""
    async with _engine_disk(tmp_path) as disk:
        async with Vddk(config=tmp_path / "engine.conf") as vddk, vddk.connect() as connection:
            await connection.rename(tmp_path / "disk.vmdk", tmp_path / "old.vmdk")
            await connection.create(tmp_path / "disk.vmdk", CreateParams(size=size))
            async with connection.open(tmp_path / "disk.vmdk") as other:
                await other.write_at(1024, b"x" * 512)  # whole sectors: nothing is read
        with pytest.raises(DiskChangedError, match="another disk was found"):
            await disk.read_at(1000, 5)


@asynccontextmanager
async def _engine_disk(folder: Path) -> AsyncIterator[RetryingDisk]:
    """Make a disk, and open it on an engine whose first read loses the connection."""
    config = folder / "engine.conf"
    config.write_text("")
    async with Vddk(config=config) as vddk, vddk.connect() as connection:
        await connection.create(folder / "disk.vmdk", CreateParams(size=1 << 20))
        async with connection.open(folder / "disk.vmdk") as disk:
            await disk.write_at(1000, b"hello")
    config.write_text(ENGINE_READ_FAILS)
    async with Vddk(config=config) as vddk, vddk.open_disk(folder / "disk.vmdk", retry=RECONNECT) as retrying:
        yield retrying
