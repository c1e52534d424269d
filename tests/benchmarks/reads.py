"""What a read costs above the bare library: `python tests/benchmarks/reads.py [disk.vmdk]`, on a quiet machine.

The floor is a loop of plain ctypes calls of VixDiskLib_Read over the same open disk, in one thread, in the same run.
Each figure is the best of several rounds, floor and ours taken in turn. Goals: streaming with 8 in flight reaches 0.95
of the floor at 4 MiB and 0.85 at 1 MiB; random 4 KiB reads with 64 in flight cost at most 6 us more than the floor, on
one connection and on eight; beside a task that computes 100 us and yields, for ever, 1 MiB reads with 8 in flight keep
a p99 under 5 ms.
"""

from __future__ import annotations

import asyncio
import ctypes
import random
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from asyncvddk import AsyncDisk, CreateParams, Vddk
from asyncvddk.native import _structs

if TYPE_CHECKING:
    from collections.abc import Sequence

MIB = 1 << 20
DISK_SIZE = 1024 * MIB
ROUNDS = 7


def floor_seconds(disk: AsyncDisk, offsets: Sequence[int], size: int) -> float:
    """Return the seconds per read of a bare ctypes loop over the disk's own handle."""
    read = disk._calls.library.bound["VixDiskLib_Read"]
    buffer = ctypes.create_string_buffer(size)
    handle, address, count = _structs.Handle(disk._handle), ctypes.addressof(buffer), size // 512
    started = time.perf_counter()
    for offset in offsets:
        read(handle, offset // 512, count, address)
    return (time.perf_counter() - started) / len(offsets)


async def our_seconds(disks: Sequence[AsyncDisk], offsets: Sequence[int], size: int, in_flight: int) -> float:
    """Return the seconds per read of ``in_flight`` tasks spread over the disks."""
    todo = iter(offsets)
    buffers = [bytearray(size) for _ in range(in_flight)]

    async def lane(disk: AsyncDisk) -> None:
        buffer = buffers.pop()
        for offset in todo:
            await disk.readinto_at(offset, buffer)

    async def lane_of_bytes(disk: AsyncDisk) -> None:
        for offset in todo:
            await disk.read_at(offset, size)

    started = time.perf_counter()
    run = lane if size >= MIB else lane_of_bytes
    await asyncio.gather(*(run(disks[n % len(disks)]) for n in range(in_flight)))
    return (time.perf_counter() - started) / len(offsets)


async def compare(disks: Sequence[AsyncDisk], size: int, in_flight: int, offsets: Sequence[int]) -> tuple[float, float]:
    """Return the best (floor, ours) in microseconds per read."""
    rounds = []
    for _ in range(ROUNDS):
        floor = floor_seconds(disks[0], offsets, size)
        rounds.append((floor, await our_seconds(disks, offsets, size, in_flight)))
    return min(f for f, _ in rounds) * 1e6, min(o for _, o in rounds) * 1e6


async def busy_p99(disk: AsyncDisk) -> tuple[float, float]:
    """Return (p50, p99) in milliseconds of 1 MiB reads, 8 in flight, beside a task that hogs the loop."""
    stop = False
    latencies: list[float] = []

    async def hog() -> None:
        while not stop:
            until = time.perf_counter() + 100e-6
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    async def lane(number: int) -> None:
        buffer = bytearray(MIB)
        for n in range(250):
            started = time.perf_counter()
            await disk.readinto_at((number * 250 + n) % 1000 * MIB, buffer)
            latencies.append(time.perf_counter() - started)

    hogging = asyncio.create_task(hog())
    await asyncio.gather(*(lane(n) for n in range(8)))
    stop = True
    await hogging
    latencies.sort()
    return latencies[len(latencies) // 2] * 1e3, latencies[len(latencies) * 99 // 100] * 1e3


async def make_disk(vddk: Vddk, path: Path) -> None:
    """Fill a sparse disk of 1 GiB with data."""
    async with vddk.connect() as connection:
        await connection.create(path, CreateParams(size=DISK_SIZE))
        async with connection.open(path) as disk:
            for offset in range(0, DISK_SIZE, MIB):
                await disk.write_at(offset, random.randbytes(4096) * 256)


async def measure(path: Path) -> None:
    """Print one line for each case."""
    async with AsyncExitStack() as stack:
        vddk = await stack.enter_async_context(Vddk())
        if not path.exists():
            await make_disk(vddk, path)
        disks = [await stack.enter_async_context(vddk.open_disk(path)) for _ in range(8)]
        for size, in_flight in ((4 * MIB, 8), (MIB, 8)):
            offsets = [n * size % (DISK_SIZE - size) for n in range(DISK_SIZE // size)]
            floor, ours = await compare(disks[:1], size, in_flight, offsets)
            what = f"{size // MIB} MiB, {in_flight} in flight"
            print(f"{what}: floor {floor:.0f} us, ours {ours:.0f} us, ratio {floor / ours:.2f}")
        offsets = [random.randrange(DISK_SIZE // 4096) * 4096 for _ in range(20000)]
        for count in (1, 8):
            floor, ours = await compare(disks[:count], 4096, 64, offsets)
            what = f"4 KiB, 64 in flight, {count} connections"
            print(f"{what}: floor {floor:.2f} us, ours {ours:.2f} us, above {ours - floor:.2f} us")
        p50, p99 = await busy_p99(disks[0])
        print(f"1 MiB, 8 in flight, busy loop: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(measure(Path(sys.argv[1])))
    else:
        with tempfile.TemporaryDirectory(prefix="asyncvddk-") as folder:
            asyncio.run(measure(Path(folder) / "bench.vmdk"))
