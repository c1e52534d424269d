"""An open disk: bytes in, bytes out, at any offset; what is allocated; errors that name the disk."""

from __future__ import annotations

import array
import asyncio
import mmap
import random
from typing import TYPE_CHECKING

import pytest

from asyncvddk import (
    AccessDeniedError,
    AdapterType,
    AsyncDisk,
    Block,
    ClosedError,
    Connection,
    CreateParams,
    DiskNotFoundError,
    OpenFlags,
    Vddk,
)
from tests.fix_disks import DISK_SIZE, MIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Buffer


async def blocks_of(disk: AsyncDisk, start: int = 0, length: int | None = None, chunk: int = 65536) -> list[Block]:
    """Return all allocated blocks."""
    return [block async for block in disk.allocated_blocks(start, length, chunk_size=chunk)]


async def test_new_disk_reads_as_zeros_to_its_last_byte(disk: AsyncDisk) -> None:
    """Also the tail that is no multiple of anything."""
    assert disk.size == DISK_SIZE
    assert await disk.read_at(0, DISK_SIZE) == bytes(DISK_SIZE)


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, 1),
        (511, 2),
        (512, 512),
        (1, 511),
        (1000, 100_000),
        (65536 - 7, 14),
        (DISK_SIZE - 1, 1),
        (DISK_SIZE - 700, 700),
    ],
)
async def test_any_range_comes_back_and_its_neighbours_stay(disk: AsyncDisk, offset: int, length: int) -> None:
    """Bytes before and behind an unaligned write keep their value."""
    data = random.Random(offset).randbytes(length)
    low, high = max(0, offset - 600), min(DISK_SIZE, offset + length + 600)
    await disk.write_at(low, b"\xee" * (high - low))
    assert await disk.write_at(offset, data) == length
    expected = b"\xee" * (offset - low) + data + b"\xee" * (high - offset - length)
    assert await disk.read_at(low, high - low) == expected


def _mapped(data: bytes) -> mmap.mmap:
    mapped = mmap.mmap(-1, len(data))
    mapped[:] = data
    return mapped


BUFFERS: dict[str, Callable[[bytes], Buffer]] = {
    "bytearray": bytearray,
    "memoryview": lambda data: memoryview(bytearray(data)),
    "slice": lambda data: memoryview(bytearray(b"xx" + data))[2:],
    "array": lambda data: array.array("H", data),
    "mmap": _mapped,
}


@pytest.mark.parametrize("kind", BUFFERS)
@pytest.mark.parametrize("offset", [0, 4096, 3])
async def test_any_writable_buffer_is_filled(disk: AsyncDisk, kind: str, offset: int) -> None:
    """Aligned directly, unaligned through a copy; the length comes back."""
    data = random.Random(1).randbytes(8192)
    await disk.write_at(offset, data)
    buffer = BUFFERS[kind](bytes(8192))
    assert await disk.readinto_at(offset, buffer) == 8192
    assert bytes(memoryview(buffer).cast("B")) == data


@pytest.mark.parametrize("kind", [*BUFFERS, "bytes", "slice of bytes"])
async def test_any_buffer_is_written(disk: AsyncDisk, kind: str) -> None:
    """Read-only ones and slices too, without a copy of the whole."""
    data = random.Random(2).randbytes(3000)
    readable = BUFFERS | {"bytes": bytes, "slice of bytes": lambda data: memoryview(b"xx" + data)[2:]}
    assert await disk.write_at(77, readable[kind](data)) == 3000
    assert await disk.read_at(77, 3000) == data


async def test_buffer_in_flight_cannot_be_resized(disk: AsyncDisk) -> None:
    """C writes into it: Python refuses to move it, until the read is over."""
    buffer = bytearray(MIB)
    reading = asyncio.create_task(disk.readinto_at(0, buffer))
    await asyncio.sleep(0)
    with pytest.raises(BufferError):
        buffer.clear()
    await reading
    buffer.clear()


async def test_wrong_buffers_are_refused_before_anything_is_read(disk: AsyncDisk) -> None:
    """Read-only, not contiguous, no buffer at all."""
    with pytest.raises(BufferError):
        await disk.readinto_at(0, b"x" * 512)
    with pytest.raises(BufferError):
        await disk.readinto_at(0, memoryview(bytearray(1024))[::2])
    with pytest.raises(TypeError):
        await disk.readinto_at(0, "text")  # type: ignore[arg-type]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (DISK_SIZE, 1), (DISK_SIZE - 1, 2), (2**63, 1), (0, -1)])
async def test_range_beyond_the_disk_is_refused(disk: AsyncDisk, offset: int, length: int) -> None:
    """Reads and writes say which range and how large the disk is."""
    with pytest.raises(ValueError, match=str(DISK_SIZE)):
        await disk.read_at(offset, length)
    if length > 0:
        with pytest.raises(ValueError, match=str(DISK_SIZE)):
            await disk.write_at(offset, bytes(length))
        with pytest.raises(ValueError, match=str(DISK_SIZE)):
            await disk.readinto_at(offset, bytearray(length))


async def test_nothing_is_read_and_written_without_touching_the_disk(disk: AsyncDisk) -> None:
    """Zero bytes at any offset, the end included, change nothing."""
    assert await disk.read_at(DISK_SIZE, 0) == b""
    assert await disk.readinto_at(7, bytearray()) == 0
    assert await disk.write_at(7, b"") == 0
    assert await blocks_of(disk, 0, 8 * MIB) == []


async def test_unaligned_and_aligned_writes_of_one_sector_lose_nothing(disk: AsyncDisk) -> None:
    """Many small writes that share sectors, all in flight at once, some of whole sectors: every byte arrives."""
    model = bytearray(64 * 512)
    source = random.Random(3)
    writes = [(start, bytes([source.randrange(1, 256)]) * 64) for start in range(0, len(model), 64)]
    for sector in range(0, 64, 8):
        writes = [(o, d) for o, d in writes if not sector * 512 <= o < (sector + 1) * 512]
        writes.append((sector * 512, bytes([source.randrange(1, 256)]) * 512))
    source.shuffle(writes)
    for offset, data in writes:
        model[offset : offset + len(data)] = data
    await asyncio.gather(*(disk.write_at(offset, data) for offset, data in writes))
    assert await disk.read_at(0, len(model)) == bytes(model)


async def test_overlapping_writes_happen_in_the_order_of_their_asking(disk: AsyncDisk) -> None:
    """The last one asked for wins, aligned or not."""
    await asyncio.gather(*(disk.write_at(100 + n % 3, bytes([n + 1]) * 2000) for n in range(50)))
    assert await disk.read_at(102, 1998) == bytes([50]) * 1998


async def test_allocated_blocks_are_merged_clipped_and_end_with_the_disk(disk: AsyncDisk) -> None:
    """Blocks that touch are one; the last chunk, which the library cannot be asked for, counts as allocated."""
    await disk.write_at(MIB, b"a" * 65536 * 3)
    await disk.write_at(5 * MIB + 7, b"b")
    tail = Block(8 * MIB, 512)
    assert await blocks_of(disk) == [Block(MIB, 3 * 65536), Block(5 * MIB, 65536), tail]
    assert await blocks_of(disk, MIB + 100, 65536) == [Block(MIB + 100, 65536)]
    assert await blocks_of(disk, 2 * MIB, MIB) == []
    assert await blocks_of(disk, chunk=MIB) == [Block(MIB, MIB), Block(5 * MIB, MIB), tail]


async def test_disk_smaller_than_a_chunk_is_all_allocated(connection: Connection, tmp_path: Path) -> None:
    """There is nothing to ask the library."""
    path = tmp_path / "tiny.vmdk"
    await connection.create(path, CreateParams(size=1024))
    async with connection.open(path) as tiny:
        assert await blocks_of(tiny) == [Block(0, 1024)]


async def test_info_tells_what_was_asked_for_at_creation(connection: Connection, tmp_path: Path) -> None:
    """Size, adapter, links; no parent."""
    path = tmp_path / "ide.vmdk"
    await connection.create(path, CreateParams(size=MIB, adapter=AdapterType.IDE))
    async with connection.open(path) as disk:
        info = await disk.info()
    assert (info.size, info.adapter, info.links, info.parent_hint) == (MIB, AdapterType.IDE, 1, None)


async def test_read_only_disk_refuses_writes_and_keeps_its_bytes(connection: Connection, disk: AsyncDisk) -> None:
    """The library's refusal names the disk."""
    await disk.write_at(0, b"kept")
    await disk.aclose()
    async with connection.open(disk.path, OpenFlags.READ_ONLY) as frozen:
        with pytest.raises(AccessDeniedError, match=r"disk\.vmdk"):
            await frozen.write_at(0, b"lost")
        assert await frozen.read_at(0, 4) == b"kept"


async def test_closed_disk_says_so(disk: AsyncDisk) -> None:
    """Every method, by name; a second close is nothing."""
    await disk.aclose()
    await disk.aclose()
    for call in (disk.read_at(0, 1), disk.write_at(0, b"x"), disk.flush(), disk.info(), disk.metadata.keys()):
        with pytest.raises(ClosedError, match=r"disk\.vmdk is closed"):
            await call
    with pytest.raises(ClosedError):
        disk.allocated_blocks()


async def test_missing_disk_has_an_error_that_names_it_and_says_what_to_do(connection: Connection) -> None:
    """Class, path, symbol, code, hint."""
    with pytest.raises(DiskNotFoundError) as caught:
        await connection.open("/no/such/disk.vmdk")
    text = str(caught.value)
    assert "/no/such/disk.vmdk" in text
    assert "VIX_E_FILE_NOT_FOUND (4)" in text
    assert "Hint" in text


async def test_relative_paths_start_from_the_current_folder(
    vddk: Vddk, disk: AsyncDisk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VDDK wants absolute ones; users give relative ones."""
    await disk.aclose()
    monkeypatch.chdir(tmp_path)
    async with vddk.open_disk("disk.vmdk") as opened:
        assert opened.path == str(tmp_path / "disk.vmdk")
