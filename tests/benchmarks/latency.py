"""One read that has the machine to itself is near to a bare hand-over; requests of one disk do not wait for each other.

::

    python -m tests.benchmarks.latency [--disk disk.vmdk] [--rounds 7] [--quick]

One 4 KiB read at a time, beside three floors of the same run: the bare ctypes call; a hand-over to a waiting C thread
and back (``floors.c``), with no work in it; the same hand-over from a task of asyncio, answered through an eventfd,
which is the least that any design with a thread and a loop pays. Then 16 reads at once of a library that takes 1 ms for
each, with asynchronous calls and without: goals 1.5 and 16 latencies.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.benchmarks.bench import KIB, Bench, judge, percentile, run
from tests.benchmarks.floors import ctypes_loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from asyncvddk import AsyncDisk
    from tests.benchmarks.floors import Floors

LATENCY_MS = 1
AT_ONCE = 16


@contextmanager
def echoing(floors: Floors) -> Iterator[tuple[int, int]]:
    """Start a thread that answers; yield it and the descriptor of its answers."""
    fd = os.eventfd(0, os.EFD_NONBLOCK)
    echo = floors.dll.echo_start(fd)
    yield echo, fd
    floors.dll.echo_stop(echo)
    os.close(fd)


async def asyncio_floor(floors: Floors, rounds: int) -> list[float]:
    """Return the seconds of each hand-over from a task to a C thread and back."""
    loop, times = asyncio.get_running_loop(), []
    waiting: list[asyncio.Future[None]] = []
    with echoing(floors) as (echo, fd):

        def answered() -> None:
            os.eventfd_read(fd)
            waiting.pop().set_result(None)

        loop.add_reader(fd, answered)
        for _ in range(rounds):
            asked = time.perf_counter()
            waiting.append(loop.create_future())
            floors.quick_dll.echo_ask(echo)
            await waiting[0]
            times.append(time.perf_counter() - asked)
        loop.remove_reader(fd)
    return times


def bare_calls(disk: AsyncDisk, offsets: Sequence[int]) -> list[float]:
    """Return the seconds of each bare ctypes call."""
    return [ctypes_loop(disk, (offset,), 4 * KIB) for offset in offsets]


async def read_each(disk: AsyncDisk, offsets: Sequence[int]) -> list[float]:
    """Return the seconds of each read, one at a time."""
    times = []
    for offset in offsets:
        asked = time.perf_counter()
        await disk.read_at(offset, 4 * KIB)
        times.append(time.perf_counter() - asked)
    return times


async def alone(bench: Bench) -> None:
    """One read at a time."""
    names = ("bare call", "hand-over, C", "hand-over, asyncio", "read_at")
    best = {name: (float("inf"), float("inf")) for name in names}
    async with bench.disks(1) as (disk,):
        offsets = [random.randrange(disk.size // (4 * KIB)) * 4 * KIB for _ in range(bench.scaled(3000))]
        for _ in range(bench.rounds):
            taken = (
                bare_calls(disk, offsets),
                bench.floors.ping_pong(len(offsets)),
                await asyncio_floor(bench.floors, len(offsets)),
                await read_each(disk, offsets),
            )
            for name, times in zip(names, taken, strict=True):
                best[name] = min(best[name], (percentile(times, 0.5), percentile(times, 0.99)))
    for name, (p50, p99) in best.items():
        print(f"one 4 KiB read at a time: {name:20} p50 {p50 * 1e6:6.1f} us, p99 {p99 * 1e6:6.1f} us")
    least = best["bare call"][0] + best["hand-over, asyncio"][0]
    judge("read_at above bare call and asyncio hand-over", (best["read_at"][0] - least) * 1e6, 10, "us")


async def at_once(bench: Bench, goal: float, kind: str) -> None:
    """16 reads at once of a slow library."""
    times = []
    async with bench.disks(1) as (disk,):
        for _ in range(4 * bench.rounds):
            started = time.perf_counter()
            await asyncio.gather(*(disk.read_at(n * 4 * KIB, 4 * KIB) for n in range(AT_ONCE)))
            times.append((time.perf_counter() - started) * 1000 / LATENCY_MS)
    what = f"{AT_ONCE} reads of {LATENCY_MS} ms at once, {kind}"
    judge(what, min(times), goal, "latencies", more=f"median {percentile(times, 0.5):.2f}")


async def at_once_async(bench: Bench) -> None:
    """Read from a library that offers asynchronous calls."""
    await at_once(bench, 1.5, "asynchronous")


async def at_once_synchronous(bench: Bench) -> None:
    """Read from one that makes each call wait, as with HotAdd."""
    await at_once(bench, 1.1 * AT_ONCE, "synchronous")


SLOW = f"openEngine.latencyMs = {LATENCY_MS}\n"
STEPS = {"": alone, SLOW: at_once_async, SLOW + "openEngine.async = off\n": at_once_synchronous}

if __name__ == "__main__":
    run(__doc__, STEPS)
