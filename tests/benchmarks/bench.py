"""What the scripts beside this file share: a disk full of data, streams, rounds, and the verdict.

Floors and ours take turns in one process, over the same open disks. Other programs can only make a round slower, never
faster, so goals are judged by the best round of each; medians stand beside them and tell how noisy the machine was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from asyncvddk import AsyncDisk, CreateParams, Vddk
from tests.benchmarks.floors import Floors, buffers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KIB: Final = 1 << 10
MIB: Final = 1 << 20

Round: TypeAlias = Callable[[], float] | Callable[[], Awaitable[float]]
Measure: TypeAlias = "Callable[[Bench], Awaitable[None]]"


@dataclass(frozen=True, slots=True)
class Bench:
    """What a script works with."""

    vddk: Vddk
    path: Path
    """A sparse disk full of data, in the page cache."""
    floors: Floors
    rounds: int
    quick: bool
    """Run by a test, which has no time."""

    def scaled(self, number: int) -> int:
        """Return ``number``, or little enough that a test need not wait for it."""
        return max(number // 100, 8) if self.quick else number

    @asynccontextmanager
    async def disks(self, count: int) -> AsyncIterator[list[AsyncDisk]]:
        """Open the disk ``count`` times, each on a connection of its own."""
        async with AsyncExitStack() as stack:
            yield [await stack.enter_async_context(self.vddk.open_disk(self.path)) for _ in range(count)]

    async def race(self, **runs: Round) -> dict[str, list[float]]:
        """Return what the rounds of each gave, taken in turn."""
        results: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(self.rounds):
            for name, run in runs.items():
                figure = run()
                results[name].append(figure if isinstance(figure, float) else await figure)
        return results


async def stream(disks: Sequence[AsyncDisk], size: int, in_flight: int, reads: int, *, into: bool) -> float:
    """Return the seconds per read of ``in_flight`` tasks on each disk; ``into``: with readinto_at, else read_at."""
    each = reads // (len(disks) * in_flight)

    async def lane(disk: AsyncDisk, first: int) -> None:
        buffer = buffers[first]
        for n in range(first * each, (first + 1) * each):
            offset = n * size % (disk.size - size + 1)
            if into:
                await disk.readinto_at(offset, buffer)
            else:
                await disk.read_at(offset, size)

    buffers = buffers_of(size if into else 1, len(disks) * in_flight)
    lanes = [lane(disk, n * in_flight + m) for n, disk in enumerate(disks) for m in range(in_flight)]
    started = time.perf_counter()
    await asyncio.gather(*lanes)
    return (time.perf_counter() - started) / (each * len(lanes))


async def make_disk(vddk: Vddk, path: Path, size: int) -> None:
    """Fill a sparse disk with data."""
    async with vddk.connect() as connection:
        await connection.create(path, CreateParams(size=size))
        async with connection.open(path) as disk:
            for offset in range(0, size, MIB):
                await disk.write_at(offset, random.randbytes(4 * KIB) * 256)


def percentile(times: Sequence[float], share: float) -> float:
    """Return what ``share`` of ``times`` do not exceed."""
    ordered = sorted(times)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def judge(what: str, value: float, goal: float, unit: str = "", *, more: str = "") -> None:
    """Print one figure and whether it meets its goal: to be no larger, or without a unit, a ratio, no smaller."""
    met, sign = (value <= goal, "<=") if unit else (value >= goal, ">=")
    print(f"{what:52} {value:7.2f} {sign} {goal:.2f} {unit:2}  {'PASS' if met else 'MISS'}  {more}", flush=True)


def judge_ratio(what: str, figures: Mapping[str, list[float]], goal: float) -> None:
    """Print how near ``ours`` comes to ``floor``; 1 is as fast. Other figures are for comparison."""
    best = {name: min(times) for name, times in figures.items()}
    middle = {name: statistics.median(times) for name, times in figures.items()}
    seen = ", ".join(f"{name} {seconds * 1e6:.0f} us" for name, seconds in best.items())
    more = f"{seen}; medians' ratio {middle['floor'] / middle['ours']:.2f}"
    judge(what, best["floor"] / best["ours"], goal, more=more)


def run(doc: str | None, steps: Mapping[str, Measure]) -> None:
    """Run a script: make the disk, unless it is named, and measure. ``steps``: lines for the engine -> what then."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--disk", type=Path, help="a disk of 1 GiB full of data; made here when it does not exist")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--quick", action="store_true", help="little of everything, for a test; figures mean nothing")
    wanted = parser.parse_args()

    async def main(folder: Path) -> None:
        path, floors = wanted.disk or folder / "bench.vmdk", Floors(folder)
        for number, (lines, measure) in enumerate(steps.items()):
            config = folder / f"engine{number}.conf"
            config.write_text(lines)
            async with Vddk(config=config) as vddk:
                if not path.exists():
                    await make_disk(vddk, path, (16 if wanted.quick else 1024) * MIB)
                await measure(Bench(vddk, path, floors, 1 if wanted.quick else wanted.rounds, wanted.quick))

    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    print(f"load {load}; {len(os.sched_getaffinity(0))} processors", flush=True)
    with tempfile.TemporaryDirectory(prefix="asyncvddk-") as name:
        asyncio.run(main(Path(name)))
