"""A bytearray is the disk: random reads and writes of any alignment, many at once, the disk reopened in between."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from asyncvddk import Connection, CreateParams, DiskType, Vddk

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk import AsyncDisk

SIZE = 3 * 1024 * 1024 + 1536
TYPES = (DiskType.MONOLITHIC_SPARSE, DiskType.MONOLITHIC_FLAT, DiskType.VMFS_FLAT)


def a_range(source: random.Random) -> tuple[int, int]:
    """Return offset and length: small ones, large ones, sometimes aligned, sometimes at the end."""
    length = source.choice([1, 7, 511, 512, 513, 4096, 65536, 65537, 300_000])
    offset = source.randrange(SIZE - length + 1)
    if source.random() < 0.3:
        offset -= offset % 512
    return (SIZE - length if source.random() < 0.1 else offset), length


async def one_round(disk: AsyncDisk, model: bytearray, source: random.Random) -> None:
    """Write several ranges at once, in a known order; then read several at once and compare."""
    writes = []
    for _ in range(source.randrange(1, 12)):
        offset, length = a_range(source)
        data = source.randbytes(length) if source.random() < 0.8 else bytes(length)
        model[offset : offset + length] = data
        writes.append(disk.write_at(offset, data))
    await asyncio.gather(*writes)
    ranges = [a_range(source) for _ in range(8)]
    got = await asyncio.gather(*(disk.read_at(offset, length) for offset, length in ranges))
    for (offset, length), data in zip(ranges, got, strict=True):
        assert data == model[offset : offset + length], f"bytes {offset}..{offset + length}"


@pytest.mark.parametrize("disk_type", TYPES, ids=lambda t: t.name.lower())
@pytest.mark.parametrize("seed", range(4))
async def test_disk_behaves_as_a_bytearray(
    connection: Connection, tmp_path: Path, disk_type: DiskType, seed: int
) -> None:
    """Whatever is written comes back, also after a close, and holes read as zeros."""
    source, model = random.Random(seed), bytearray(SIZE)
    path = tmp_path / "model.vmdk"
    await connection.create(path, CreateParams(size=SIZE, disk_type=disk_type))
    for _ in range(4):
        async with connection.open(path) as disk:
            for _ in range(5):
                await one_round(disk, model, source)
            covered = bytearray(SIZE)
            async for block in disk.allocated_blocks():
                covered[block.offset : block.end] = model[block.offset : block.end]
            assert covered == model, "data outside the allocated blocks"
    async with connection.open(path) as disk:
        assert await disk.read_at(0, SIZE) == bytes(model)


async def test_two_disks_of_one_connection_do_not_mix(vddk: Vddk, tmp_path: Path) -> None:
    """Handles share a thread, not their bytes."""
    async with vddk.connect() as connection:
        paths = [tmp_path / f"{n}.vmdk" for n in range(4)]
        for path in paths:
            await connection.create(path, CreateParams(size=SIZE))
        disks = [await connection.open(path) for path in paths]
        await asyncio.gather(*(disk.write_at(n * 1000, bytes([n + 1]) * 5000) for n, disk in enumerate(disks)))
        for n, disk in enumerate(disks):
            assert await disk.read_at(n * 1000, 5000) == bytes([n + 1]) * 5000
