"""One disk streams as fast as the bare library, and a small read costs little above it.

::

    python -m tests.benchmarks.reads [--disk disk.vmdk] [--rounds 7] [--quick]

The floor is a loop of plain ctypes calls of VixDiskLib_Read over the same open disk, in one thread, into one buffer.
Goals: streaming with 8 in flight reaches 0.97 of it at 4 MiB and 0.9 at 1 MiB; random 4 KiB reads with 64 in flight
cost at most 3 us more than the floor on one connection, and 5 us over eight. Streams are read twice: into buffers that
each task reuses (``readinto_at``), and into new ``bytes`` (``read_at``). Eight reads in flight need eight buffers, and
what does not stay in the processor's cache costs more to write to: the same loop over eight buffers stands beside. For
4 KiB, the time from asking to having is shown, too.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING

from tests.benchmarks.bench import KIB, MIB, Bench, judge, judge_ratio, percentile, run, stream
from tests.benchmarks.floors import ctypes_loop

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk import AsyncDisk

IN_FLIGHT = 64


async def streaming(bench: Bench, disk: AsyncDisk) -> None:
    """Whole disk, in order."""
    for size, goal in ((4 * MIB, 0.97), (MIB, 0.9)):
        offsets = range(0, (16 if bench.quick else 1024) * MIB, size)
        for into in (True, False):
            figures = await bench.race(
                floor=partial(ctypes_loop, disk, offsets, size),
                eight_buffers=partial(ctypes_loop, disk, offsets, size, 8),
                ours=partial(stream, [disk], size, min(8, len(offsets)), len(offsets), into=into),
            )
            judge_ratio(f"{size // MIB} MiB, 8 in flight, {'readinto_at' if into else 'read_at'}", figures, goal)


async def small(bench: Bench, disks: Sequence[AsyncDisk], goal: float) -> None:
    """4 KiB at random places."""
    offsets = [random.randrange(disks[0].size // (4 * KIB)) * 4 * KIB for _ in range(bench.scaled(20000))]
    times: list[float] = []

    async def read_all(*, note: bool) -> float:
        todo = iter(offsets)

        async def lane(disk: AsyncDisk) -> None:
            for offset in todo:
                await disk.read_at(offset, 4 * KIB)

        async def noting_lane(disk: AsyncDisk) -> None:
            for offset in todo:
                asked = time.perf_counter()
                await disk.read_at(offset, 4 * KIB)
                times.append(time.perf_counter() - asked)

        run = noting_lane if note else lane
        started = time.perf_counter()
        await asyncio.gather(*(run(disks[n % len(disks)]) for n in range(IN_FLIGHT)))
        return (time.perf_counter() - started) / len(offsets)

    figures = await bench.race(
        floor=partial(ctypes_loop, disks[0], offsets, 4 * KIB), ours=partial(read_all, note=False)
    )
    await read_all(note=True)
    above = [ours - floor for floor, ours in zip(figures["floor"], figures["ours"], strict=True)]
    floor = min(figures["floor"])
    p50, p99 = (percentile(times, share) * 1e6 for share in (0.5, 0.99))
    more = f"floor {floor * 1e6:.2f} us, median {statistics.median(above) * 1e6:.2f} above"
    what = f"4 KiB above floor, 64 in flight, {len(disks)} connections"
    judge(what, (min(figures["ours"]) - floor) * 1e6, goal, "us", more=f"{more}; p50 {p50:.0f} us, p99 {p99:.0f} us")


async def measure(bench: Bench) -> None:
    """Measure all."""
    async with bench.disks(8) as disks:
        await streaming(bench, disks[0])
        await small(bench, disks[:1], 3)
        await small(bench, disks, 5)


if __name__ == "__main__":
    run(__doc__, {"": measure})
