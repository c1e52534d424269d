"""A disk as an async file: as io.BytesIO where a disk can be, exact with many tasks, and nothing lost by a failure."""

from __future__ import annotations

import array
import asyncio
import io
import os
import random
from itertools import pairwise
from typing import TYPE_CHECKING

import anyio
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from asyncvddk import AccessDeniedError, AsyncDisk, ClosedError, Connection, CreateParams, DiskStream, NativeError, Vddk
from tests.fix_disks import DISK_SIZE, MIB

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.fix_stub import Stub

SIZE = 9 * 512
POSITIONS = st.integers(-SIZE - 600, SIZE + 600) | st.sampled_from([0, 512, SIZE - 1, SIZE, -(2**63), 2**64])
LENGTHS = st.integers(0, 1600) | st.sampled_from([0, 512, 1024, SIZE, SIZE + 1])
STEPS = st.one_of(
    st.tuples(st.just("read"), st.just(-1) | LENGTHS),
    st.tuples(st.just("readinto"), LENGTHS),
    st.tuples(st.just("write"), st.binary(max_size=40) | LENGTHS.map(lambda length: b"\xa5" * length)),
    st.tuples(st.just("seek"), POSITIONS, st.sampled_from([0, 1, 2])),
)


def model_step(model: io.BytesIO, name: str, *args: int | bytes) -> object:
    """Do to a file in memory what a stream does to a disk; None for what a disk refuses."""
    position = model.tell()
    if name == "readinto":
        buffer = bytearray(b"\xee" * int(args[0]))
        return model.readinto(buffer), buffer
    if name == "write" and isinstance(args[0], bytes) and len(args[0]) > SIZE - position:
        return None
    if name == "seek" and not 0 <= (0, position, SIZE)[int(args[1])] + int(args[0]) <= SIZE:
        return None
    return getattr(model, name)(*args)


async def stream_step(stream: DiskStream, name: str, *args: int | bytes) -> object:
    """Do the same to a stream."""
    if name == "readinto":
        buffer = bytearray(b"\xee" * int(args[0]))
        return await stream.readinto(buffer), buffer
    try:
        return await getattr(stream, name)(*args)
    except ValueError:
        return None


@settings(max_examples=25, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_a_stream_behaves_as_a_file_in_memory(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str]]
) -> None:
    """Every answer and every position, refusals included, and in the end every byte of the disk."""

    async def play() -> None:
        path = tmp_path_factory.mktemp("model") / "disk.vmdk"
        async with Vddk() as vddk, vddk.connect() as connection:
            await connection.create(path, CreateParams(size=SIZE))
            async with connection.open(path) as disk, disk.stream() as stream:
                for step in steps:
                    assert await stream_step(stream, *step) == model_step(model, *step), step
                    assert await stream.tell() == model.tell(), step
                assert await disk.read_at(0, SIZE) == model.getvalue()

    model = io.BytesIO(bytes(SIZE))
    asyncio.run(play())


@pytest.fixture
async def filled(connection: Connection, tmp_path: Path) -> AsyncIterator[tuple[AsyncDisk, bytes]]:
    """Return a disk full of random bytes, and these."""
    path, data = tmp_path / "filled.vmdk", random.Random(1).randbytes(200 * 512)
    await connection.create(path, CreateParams(size=len(data)))
    async with connection.open(path) as disk:
        await disk.write_at(0, data)
        yield disk, data


@pytest.mark.parametrize("start", [0, 5, 512])
@pytest.mark.parametrize("piece", [1000, 512, 4097])
async def test_a_copy_loop_gets_every_byte_once(filled: tuple[AsyncDisk, bytes], start: int, piece: int) -> None:
    """Unaligned ends are counted right; the last piece is short, and nothing comes behind it."""
    disk, data = filled
    got = []
    async with disk.stream(start) as stream:
        while chunk := await stream.read(piece):
            got.append(chunk)
        assert await stream.tell() == len(data)
    assert b"".join(got) == data[start:]
    assert {len(chunk) for chunk in got[:-1]} == {piece}


async def test_a_read_at_the_end_is_short_and_fills_no_more_than_it_has(filled: tuple[AsyncDisk, bytes]) -> None:
    """What lies behind in the caller's buffer stays as it was; buffers may be of any kind."""
    disk, data = filled
    async with disk.stream(len(data) - 10) as stream:
        buffer = array.array("H", b"\xee" * 40)
        assert await stream.readinto(buffer) == 10
        assert buffer.tobytes() == data[-10:] + b"\xee" * 30
        assert await stream.readinto(buffer) == 0
        assert await stream.read(1) == await stream.read() == b""


async def test_a_write_that_does_not_fit_is_refused_before_anything_is_written(disk: AsyncDisk) -> None:
    """Not even its first part; the message says how much room is left, and the position stays."""
    async with disk.stream() as stream:
        await stream.seek(-100, os.SEEK_END)
        with pytest.raises(ValueError, match=f"101 bytes: 100 are left from position {DISK_SIZE - 100}"):
            await stream.write(b"x" * 101)
        assert await stream.tell() == DISK_SIZE - 100
        assert await stream.read() == bytes(100)
        await stream.seek(-100, os.SEEK_CUR)
        assert await stream.write(array.array("H", b"y" * 100)) == 100
    assert await disk.read_at(DISK_SIZE - 101, 101) == b"\0" + b"y" * 100


async def test_reading_and_writing_nothing_calls_nothing(stub: Stub) -> None:
    """At the start, at an unaligned position and at the end."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk, disk.stream() as stream:
        for position in (0, 7, disk.size):
            await stream.seek(position)
            assert await stream.read(0) == b""
            assert await stream.write(b"") == await stream.readinto(bytearray()) == 0
            assert await stream.tell() == position
        assert await stream.read() == b""
    assert stub.calls("Read") == stub.calls("Write") == 0


@pytest.mark.parametrize(
    ("offset", "whence", "reached"), [(7, 0, 7), (-3, 1, 97), (3, 1, 103), (0, 2, DISK_SIZE), (-DISK_SIZE, 2, 0)]
)
async def test_seek_counts_from_start_position_and_end(disk: AsyncDisk, offset: int, whence: int, reached: int) -> None:
    """And tells where it leads."""
    stream = disk.stream(100)
    assert await stream.seek(offset, whence) == reached
    assert await stream.tell() == reached


@pytest.mark.parametrize(
    ("offset", "whence"), [(-1, 0), (DISK_SIZE + 1, 0), (2**70, 0), (-101, 1), (1, 2), (-(2**70), 2), (0, 3), (0, -1)]
)
async def test_a_seek_out_of_the_disk_is_refused_and_moves_nothing(disk: AsyncDisk, offset: int, whence: int) -> None:
    """So that no later read or write begins at a nonsense place."""
    stream = disk.stream(100)
    with pytest.raises(ValueError, match="whence" if whence in {3, -1} else f"{DISK_SIZE} bytes"):
        await stream.seek(offset, whence)
    assert await stream.tell() == 100


async def test_what_a_stream_cannot_do_is_refused(disk: AsyncDisk) -> None:
    """With the name of the argument, or of what can do it."""
    stream = disk.stream()
    with pytest.raises(io.UnsupportedOperation, match=r"Connection\.grow"):
        await stream.truncate(0)
    with pytest.raises(ValueError, match="size=-2"):
        await stream.read(-2)
    with pytest.raises(ValueError, match="max_bytes=0"):
        await stream.receive(0)
    with pytest.raises(ValueError, match="chunk_size=0"):
        disk.stream(chunk_size=0)
    for position in (-1, DISK_SIZE + 1):
        with pytest.raises(ValueError, match=f"position={position}"):
            disk.stream(position)
    with pytest.raises(BufferError):
        await stream.readinto(b"read-only")
    with pytest.raises(TypeError):
        await stream.write("text")  # type: ignore[arg-type]
    assert await stream.tell() == 0


async def test_reading_and_writing_say_nothing_in_the_log(disk: AsyncDisk) -> None:
    """A log line for every call would be the slowest part of it."""
    with capture_logs() as logs:
        async with disk.stream() as stream:
            await stream.write(b"x" * 1000)
            await stream.seek(-512, os.SEEK_END)
            await stream.read()
            await stream.flush()
    assert logs == []


async def test_two_tasks_on_one_stream_never_get_the_same_bytes(disk: AsyncDisk) -> None:
    """Together they get all of them."""
    numbers = [number.to_bytes(8, "big") for number in range(10_000)]
    await disk.write_at(DISK_SIZE - 80_000, b"".join(numbers))
    got: list[bytes] = []

    async def drain(stream: DiskStream, piece: int) -> None:
        while chunk := await stream.read(piece):
            got.extend(chunk[at : at + 8] for at in range(0, len(chunk), 8))

    async with disk.stream(DISK_SIZE - 80_000) as stream:
        await asyncio.gather(*(drain(stream, piece) for piece in (704, 512, 8, 1000)))
    assert sorted(got) == numbers


async def test_writes_of_many_tasks_on_one_stream_do_not_overlap(disk: AsyncDisk) -> None:
    """They lie one behind the other, whole, in the order of their asking, although all share sectors."""
    pieces = [bytes([number]) * (number * 7 % 300 + 1) for number in range(1, 120)]
    async with disk.stream(3) as stream:
        await asyncio.gather(*map(stream.write, pieces))
        end = await stream.tell()
    assert await disk.read_at(0, end + 1) == bytes(3) + b"".join(pieces) + b"\0"


async def test_aligned_and_unaligned_writes_of_several_streams_lose_nothing(disk: AsyncDisk) -> None:
    """Neighbours in one sector, whole sectors among them: no write undoes another one."""
    source = random.Random(5)
    cuts = sorted({0, 64 * 512, *(512 * source.randrange(64) for _ in range(30)), *source.sample(range(64 * 512), 200)})
    pieces = [(start, source.randbytes(end - start)) for start, end in pairwise(cuts)]
    await asyncio.gather(*(disk.stream(start).write(data) for start, data in source.sample(pieces, len(pieces))))
    assert await disk.read_at(0, 64 * 512) == b"".join(data for _, data in pieces)


CALLS: dict[str, Callable[[DiskStream], Awaitable[object]]] = {
    "read": lambda stream: stream.read(1000),
    "readinto": lambda stream: stream.readinto(bytearray(1000)),
    "write": lambda stream: stream.write(bytes(1000)),
    "receive": lambda stream: stream.receive(1000),
    "send": lambda stream: stream.send(bytes(1000)),
}


@pytest.mark.parametrize("name", CALLS)
async def test_a_failed_call_leaves_the_position_where_it_was(stub: Stub, name: str) -> None:
    """So that trying again continues without a gap."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        stream = disk.stream(100)
        for function in ("Read", "Write"):
            stub.fail(function, 13)
        with pytest.raises(AccessDeniedError) as caught:
            await CALLS[name](stream)
        assert await stream.tell() == 100
        assert not getattr(caught.value, "__notes__", [])
        for function in ("Read", "Write"):
            stub.fail(function, 0)
        await CALLS[name](stream)
        assert await stream.tell() == 1100


async def test_a_cancelled_call_leaves_the_position_where_it_was(stub: Stub) -> None:
    """Its bytes were seen by nobody; the next call gets them."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        await disk.write_at(100, b"seen once")
        stream = disk.stream(100)
        with stub.gate("Read") as gate:
            reading = asyncio.create_task(stream.read(4))
            await gate.arrival()
            reading.cancel()
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await reading
        assert await stream.read(9) == b"seen once"


class SlowDisk:
    """A disk in memory whose reads are answered when, and in the order in which, the test says."""

    path = "slow.vmdk"
    size = 100
    closed = False

    def __init__(self) -> None:
        """Start with no reads."""
        self.reads: dict[int, asyncio.Future[bytes]] = {}

    async def read_at(self, offset: int, length: int) -> bytes:
        """Wait for the test's answer."""
        if not length:
            return b""
        self.reads[offset] = asyncio.get_running_loop().create_future()
        return await self.reads[offset]

    async def readinto_at(self, offset: int, buffer: object) -> int:
        """Do nothing."""
        raise NotImplementedError(f"{offset} {buffer}")

    async def write_at(self, offset: int, data: object) -> int:
        """Do nothing."""
        raise NotImplementedError(f"{offset} {data}")

    async def flush(self) -> None:
        """Do nothing."""


async def three_reads(disk: SlowDisk) -> tuple[DiskStream, list[asyncio.Task[bytes]]]:
    """Return a stream and reads of ten bytes each that are under way at 0, 10 and 20."""
    stream = DiskStream(disk, 0, 10)
    tasks = [asyncio.create_task(stream.read(10)) for _ in range(3)]
    await asyncio.sleep(0)
    assert list(disk.reads) == [0, 10, 20]
    return stream, tasks


async def test_reads_that_fail_in_turn_from_the_last_give_all_their_ranges_back() -> None:
    """The position is where the first one began."""
    disk = SlowDisk()
    stream, tasks = await three_reads(disk)
    for offset in (20, 10, 0):
        disk.reads[offset].set_exception(NativeError("Read", 7, "broken"))
        with pytest.raises(NativeError):
            await tasks[offset // 10]
        assert await stream.tell() == offset


async def test_a_failed_range_that_others_have_passed_is_named_in_the_error() -> None:
    """The position stays, because those behind have their bytes already."""
    disk = SlowDisk()
    stream, tasks = await three_reads(disk)
    disk.reads[10].set_exception(NativeError("Read", 7, "broken"))
    with pytest.raises(NativeError) as caught:
        await tasks[1]
    assert caught.value.__notes__ == ["the stream has moved on, and skips bytes 10 to 20"]
    assert await stream.tell() == 30
    for offset in (0, 20):
        disk.reads[offset].set_result(bytes(10))
    assert await tasks[0] == await tasks[2] == bytes(10)
    assert await stream.tell() == 30


async def test_asking_and_reading_nothing_do_not_count_as_moves() -> None:
    """A range is given back in spite of them; a seek is a move even when it leads to the same place."""
    disk = SlowDisk()
    stream = DiskStream(disk, 0, 10)
    for move, position in ((False, 0), (True, 10)):
        reading = asyncio.create_task(stream.read(10))
        await asyncio.sleep(0)
        await stream.tell()
        await stream.seek(0, os.SEEK_CUR)
        await stream.read(0)
        if move:
            await stream.seek(10)
        disk.reads[0].set_exception(NativeError("Read", 7, "broken"))
        with pytest.raises(NativeError):
            await reading
        assert await stream.tell() == position


async def test_iterating_gives_the_rest_in_chunks(filled: tuple[AsyncDisk, bytes]) -> None:
    """From the position on, the last one shorter; a loop that was left early can be taken up again."""
    disk, data = filled
    async with disk.stream(7, chunk_size=10_000) as stream:
        async for chunk in stream:
            assert chunk == data[7:10_007]
            break
        rest = [chunk async for chunk in stream]
    assert b"".join(rest) == data[10_007:]
    assert {len(chunk) for chunk in rest[:-1]} == {10_000}


async def test_a_stream_is_a_byte_stream_of_anyio(filled: tuple[AsyncDisk, bytes]) -> None:
    """What is made for these works on a disk."""
    disk, data = filled
    async with disk.stream() as stream:
        lines = BufferedByteReceiveStream(stream)
        assert await lines.receive_exactly(1000) == data[:1000]
        await stream.seek(0, os.SEEK_END)
        with pytest.raises(anyio.EndOfStream):
            await stream.receive()
        await stream.seek(100)
        await stream.send(b"sent")
        assert await stream.tell() == 104
    assert await disk.read_at(100, 4) == b"sent"


async def test_closing_waits_for_calls_under_way_and_leaves_the_disk_open(stub: Stub) -> None:
    """Also when it is cancelled; afterwards every method says that the stream is closed."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", read_only=False) as disk:
        stream = disk.stream()
        with stub.gate("Read") as gate:
            reading = asyncio.create_task(stream.read(512))
            await gate.arrival()
            closing = asyncio.create_task(stream.aclose())
            await asyncio.sleep(0)
            closing.cancel()
            await asyncio.sleep(0)
            assert stream.closed
            assert not closing.done()
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await closing
            assert await reading == bytes(512)
        await stream.aclose()
        for call in (*CALLS.values(), DiskStream.tell, DiskStream.flush, lambda s: s.seek(0), anext):
            with pytest.raises(ClosedError, match=r"DiskStream\..*disk\.vmdk is closed"):
                await call(stream)
        assert len(await disk.read_at(0, 512)) == 512


async def test_a_stream_of_a_closed_disk_says_so(disk: AsyncDisk) -> None:
    """Whatever its position is, and before a new one is made."""
    stream, at_end = disk.stream(), disk.stream(DISK_SIZE)
    await disk.aclose()
    assert stream.closed
    for call in (stream.read(10), stream.read(0), at_end.read(), stream.write(b""), stream.flush()):
        with pytest.raises(ClosedError, match=r"disk\.vmdk is closed"):
            await call
    with pytest.raises(ClosedError, match="stream"):
        disk.stream()


async def test_large_reads_and_writes_cross_the_borders_of_requests(connection: Connection, tmp_path: Path) -> None:
    """A read of all is one call for the user, however many it is for the library."""
    path = tmp_path / "large.vmdk"
    await connection.create(path, CreateParams(size=34 * MIB))
    async with connection.open(path) as disk, disk.stream() as stream:
        await stream.seek(32 * MIB - 5)
        await stream.write(b"across the border")
        await stream.seek(1)
        data = await stream.read()
        assert len(data) == 34 * MIB - 1
        assert data[32 * MIB - 6 :][:17] == b"across the border"
