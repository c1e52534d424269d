"""What disks feel of a program that computes in Python all the time.

::

    python -m tests.benchmarks.busy [--disk disk.vmdk] [--rounds 7] [--quick]

1 MiB reads with 8 in flight, and open, a query of all allocated areas, and close, one after the other; beside a task
that computes 100 us and yields, for ever, and beside a thread that computes in Python without a pause. Goals: a p99 of
2 ms for the reads, 20 ms for the rest.

What a read takes is told in two parts: until the library has completed it, and from there until the task has it. The
second is the interpreter's: while a thread computes, it is handed over every 5 ms, and no design can get below that;
``sys.setswitchinterval`` can, as the last case shows. Bare reads, one at a time and before all else, tell
how quiet the machine is: eight in flight take at least eight times that.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from tests.benchmarks.bench import MIB, Bench, judge, percentile, run
from tests.benchmarks.floors import ctypes_loop, new_buffer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from asyncvddk import AsyncDisk

IN_FLIGHT = 8
READS = 2000


@contextmanager
def busy_loop() -> Iterator[None]:
    """Keep a task that computes 100 us and yields, for ever."""

    async def hog() -> None:
        while True:
            until = time.perf_counter() + 100e-6
            while time.perf_counter() < until:
                pass
            await asyncio.sleep(0)

    task = asyncio.get_running_loop().create_task(hog())
    yield
    task.cancel()


@contextmanager
def busy_thread() -> Iterator[None]:
    """Keep a thread that computes without a pause."""
    stop = False

    def compute() -> None:
        while not stop:
            sum(range(100))

    thread = threading.Thread(target=compute)
    thread.start()
    yield
    stop = True
    thread.join()


@contextmanager
def busy_thread_that_gives_way() -> Iterator[None]:
    """Do the same in a program that has its interpreter handed over every 0.1 ms."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    with busy_thread():
        yield
    sys.setswitchinterval(before)


@contextmanager
def nothing() -> Iterator[None]:
    """Keep the machine quiet."""
    yield


CASES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "nothing": nothing,
    "a busy loop": busy_loop,
    "a busy thread": busy_thread,
    "one, switched every 0.1 ms": busy_thread_that_gives_way,
}


class Times(NamedTuple):
    """Milliseconds of many reads, of one share."""

    whole: float
    library: float
    """Until the library has completed the read."""
    delivery: float
    """From there until the task has it."""


async def reads(bench: Bench, disk: AsyncDisk) -> tuple[Times, Times]:
    """Return p99 and p50."""
    slots = disk.size // MIB
    stamps = (ctypes.c_uint64 * slots)()
    bench.floors.dll.stamp_into(disk._calls.address("ReadAsync"), stamps, MIB)
    disk._read = ctypes.cast(bench.floors.dll.stamped_read_async, ctypes.c_void_p).value or 0
    taken: list[tuple[int, int, int]] = []

    async def lane(number: int) -> None:
        buffer = new_buffer(MIB)
        for n in range(bench.scaled(READS) // IN_FLIGHT):
            slot = (n * IN_FLIGHT + number) % slots
            asked = time.perf_counter_ns()
            await disk.readinto_at(slot * MIB, buffer)
            had = time.perf_counter_ns()
            taken.append((had - asked, stamps[slot] - asked, had - stamps[slot]))

    await asyncio.gather(*(lane(n) for n in range(IN_FLIGHT)))
    p99, p50 = (Times(*(percentile(times, share) / 1e6 for times in zip(*taken, strict=True))) for share in (0.99, 0.5))
    return p99, p50


async def open_and_close(bench: Bench) -> tuple[float, float, float]:
    """Return p99 of open, query and close, in ms."""
    times: tuple[list[float], list[float], list[float]] = ([], [], [])
    async with bench.vddk.connect() as connection:
        for _ in range(bench.scaled(200)):
            moments = [time.perf_counter()]
            disk = await connection.open(bench.path)
            moments.append(time.perf_counter())
            async for _ in disk.allocated_blocks():
                pass
            moments.append(time.perf_counter())
            await disk.aclose()
            moments.append(time.perf_counter())
            for kind, before, after in zip(times, moments, moments[1:], strict=False):
                kind.append((after - before) * 1e3)
    return tuple(percentile(kind, 0.99) for kind in times)  # type: ignore[return-value]


async def bare(bench: Bench) -> None:
    """Print how quiet the machine is."""
    async with bench.disks(1) as (disk,):
        times = [ctypes_loop(disk, (n * MIB,), MIB) * 1e3 for n in range(bench.scaled(1000))]
    print(f"bare 1 MiB reads, one at a time: p50 {percentile(times, 0.5):.2f} ms, p99 {percentile(times, 0.99):.2f} ms")


async def measure(bench: Bench) -> None:
    """Measure all."""
    await bare(bench)
    for name, busy in CASES.items():
        read_rounds, other_rounds = [], []
        for _ in range(bench.rounds):
            async with bench.disks(1) as (disk,):
                with busy():
                    read_rounds.append(await reads(bench, disk))
            with busy():
                other_rounds.append(await open_and_close(bench))
        report(name, read_rounds, other_rounds)


def report(name: str, reads: list[tuple[Times, Times]], others: list[tuple[float, float, float]]) -> None:
    """Print the best round and the median of all."""
    best, middle = min(reads), sorted(reads)[len(reads) // 2]
    parts = f"library {best[0].library:.2f}, delivery {best[0].delivery:.2f}, p50 {best[1].whole:.2f}"
    what = f"p99 beside {name}"
    judge(f"{what}: 1 MiB reads", best[0].whole, 2, "ms", more=f"{parts}; median of rounds {middle[0].whole:.2f}")
    for call, times in zip(("open", "query", "close"), zip(*others, strict=True), strict=True):
        judge(f"{what}: {call}", min(times), 20, "ms", more=f"median of rounds {sorted(times)[len(times) // 2]:.2f}")


if __name__ == "__main__":
    run(__doc__, {"": measure})
