"""Many connections use the processors as well as C threads do.

::

    python -m tests.benchmarks.connections [--disk disk.vmdk] [--rounds 7] [--quick]

The floor is as many C threads, each with a handle of its own that it reads with plain calls of VixDiskLib_Read into one
buffer, from places spread over the same disk. Goal: 0.9 of it with 4 and 8 connections on two processors, at 4 MiB and
1 MiB. Two tasks read on each connection, so that one read is under way while the loop handles the other.
"""

from __future__ import annotations

from functools import partial

from tests.benchmarks.bench import MIB, Bench, judge_ratio, run, stream

TASKS = 2


async def measure(bench: Bench) -> None:
    """Measure all."""
    async with bench.disks(8) as disks:
        for count in (4, 8):
            for size in (4 * MIB, MIB):
                reads = max(bench.scaled(1024 * MIB // size), count * TASKS)
                for into in (True, False):
                    figures = await bench.race(
                        floor=partial(bench.floors.threads, disks[:count], size, reads // count),
                        ours=partial(stream, disks[:count], size, TASKS, reads, into=into),
                    )
                    how = "readinto_at" if into else "read_at"
                    judge_ratio(f"{count} connections, {size // MIB} MiB, {how}", figures, 0.9)


if __name__ == "__main__":
    run(__doc__, {"": measure})
