"""The repository's data path against its parts: put, put again, verify, restore.

By hand, on a quiet machine::

    python tests/benchmarks/repository.py [--folder /dev/shm] [--mib 1024] [--rounds 3] [--threads 2] [--plain]

The data are files of this system, one behind the other, in memory. The first line is what zstd level 1 alone makes of
them on as many threads; the fused path (zero test, hash, known?, zstd, AES-GCM, store) does that and all the rest.
Rounds alternate; the fastest of each counts, in wall time and in processor time: on a machine that others use, the
second column tells more. Goals: put at least 0.75 of zstd alone, put again 2 GB/s, verify 1.5 GB/s.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from asyncvddk.repository import Argon2Cost, Repository
from asyncvddk.repository.format._codec import compress, decompress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from asyncvddk.repository import Snapshot

MIB = 1 << 20
Seconds: TypeAlias = tuple[float, float]


def system_files(size: int) -> bytearray:
    """Return ``size`` bytes of programs, libraries, data and texts of this system, as a disk holds them."""
    data = bytearray()
    for folder in ("/usr/bin", "/usr/lib", "/usr/share"):
        for path in sorted(Path(folder).rglob("*")):
            if len(data) >= size:
                return data[:size]
            if path.is_file() and not path.is_symlink():
                data += path.read_bytes()
                data += bytes(-len(data) % 4096)
    sys.exit(f"this system has only {len(data)} bytes of files; take a smaller --mib")


class Clock:
    """Seconds since it was made, of the wall and of the processors."""

    def __init__(self) -> None:
        """Start."""
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> Seconds:
        """Return both."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


def timed(threads: int, call: Callable[[int], object], numbers: Iterable[int]) -> Seconds:
    """Return the seconds that all calls take."""
    clock = Clock()
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(call, numbers):
            pass
    return clock.read()


class Round:
    """One measurement of everything, in an empty repository."""

    def __init__(self, data: memoryview, chunk_size: int, threads: int, password: str | None) -> None:
        """Note what to do."""
        self.data = data
        self.size = chunk_size
        self.threads = threads
        self.password = password
        self.numbers = range(-(-len(data) // chunk_size))

    def chunk(self, number: int) -> memoryview:
        """Return a chunk of the data."""
        return self.data[number * self.size : (number + 1) * self.size]

    async def run(self, folder: Path) -> dict[str, Seconds]:
        """Return the seconds of each part."""
        await Repository.init(folder, password=self.password, chunk_size=self.size, cost=Argon2Cost(64, 1, 1))
        async with Repository.open(folder, password=self.password, cache="", threads=self.threads) as repository:
            found = {"zstd 1 alone": timed(self.threads, lambda n: compress(self.chunk(n), 1), self.numbers)}
            packed = [compress(self.chunk(number), 1) for number in self.numbers]
            found["unzstd alone"] = timed(self.threads, lambda n: decompress(*packed[n], self.size), self.numbers)
            found["put"], first = await self.backup(repository, None)
            found["put again"], second = await self.backup(repository, first)
            found["put again, no parent"], _ = await self.backup(repository, None)
            assert first.disks[0].root == second.disks[0].root
            clock = Clock()
            assert not (await repository.verify(2)).findings
            found["verify 2"] = clock.read()
            async with await repository.open_disk(second, "1") as disk:
                found["read"] = timed(self.threads, disk.chunk, self.numbers)
            stored = (await repository.stats()).stored
        print(f"   ratio {len(self.data) / stored:.2f}", end="")
        return found

    async def backup(self, repository: Repository, parent: Snapshot | None) -> tuple[Seconds, Snapshot]:
        """Put all chunks, commit; return the seconds of both and the snapshot."""
        clock = Clock()
        async with repository.session("benchmark", parent=parent) as session:
            disk = await session.add_disk(key="1", name="data", capacity=len(self.data))
            timed(self.threads, lambda number: disk.put(number, self.chunk(number)), self.numbers)
            snapshot = await session.commit()
        return clock.read(), snapshot


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm"))  # noqa: S108
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--kib", type=int, nargs="+", default=[1024, 4096, 256], help="sizes of chunks")
    parser.add_argument("--plain", action="store_true", help="without encryption")
    options = parser.parse_args()
    data = memoryview(system_files(options.mib * MIB))
    for kib in options.kib:
        best: dict[str, Seconds] = {}
        for _ in range(options.rounds):
            folder = Path(tempfile.mkdtemp(dir=options.folder))
            try:
                measured = Round(data, kib << 10, options.threads, None if options.plain else "benchmark")
                found = asyncio.run(measured.run(folder / "repository"))
            finally:
                shutil.rmtree(folder)
            for name, (wall, cpu) in found.items():
                before = best.get(name, (wall, cpu))
                best[name] = min(wall, before[0]), min(cpu, before[1])
        print(f"\nchunks of {kib} KiB, {options.threads} threads          GB/s   of zstd     GB/s/core   of zstd")
        for name, (wall, cpu) in best.items():
            alone = best["zstd 1 alone"]
            speeds = f"{len(data) / wall / 1e9:6.2f} {alone[0] / wall:9.2f} {len(data) / cpu / 1e9:13.2f}"
            print(f"  {name:36} {speeds} {alone[1] / cpu:9.2f}")


if __name__ == "__main__":
    main()
