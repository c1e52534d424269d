"""Backups from end to end, against zstd alone, restic and borg on the same bytes.

By hand, on a quiet machine::

    python -m tests.benchmarks.backups [--folder /dev/shm] [--mib 512] [--rounds 3] [--only data restic ...]

The data are files of this system in four raw images of ``--mib`` each, in memory; the repository is encrypted, chunks
have 1 MiB. The floor of the first line is what zstd level 1 alone makes of the same bytes on all processors. restic and
borg are measured where they are installed: the four images, one after the other, through a pipe. Rounds of each take
turns; the best counts, the median beside it tells how noisy the machine was. The sparse disk has 1 TiB, of which 2 GiB
are allocated and 1 GiB changes. Memory is the peak of a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncvddk.backup import BackupLimits, ChangedBlocks, RawTarget, backup, raw_disk, restore
from asyncvddk.backup._disk import BackupDisk
from asyncvddk.models import Block
from asyncvddk.repository import Argon2Cost, Repository
from asyncvddk.repository.format._codec import compress
from tests.benchmarks.bench import MIB, judge
from tests.benchmarks.repository import system_files

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from asyncvddk.repository import Snapshot

PASSWORD: Final = "benchmark"  # noqa: S105
DISKS: Final = 4
GIB: Final = 1 << 30


def opened(folder: Path) -> AbstractAsyncContextManager[Repository]:
    """Return the repository in a folder."""
    return Repository.open(folder / "repository", password=PASSWORD, cache=folder / "cache")


async def new_repository(folder: Path) -> None:
    """Make a repository in a folder."""
    await Repository.init(folder / "repository", password=PASSWORD, cost=Argon2Cost(64, 1, 1))


async def seconds(work: Awaitable[object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    await work
    return time.perf_counter() - began


def zstd_alone(images: Sequence[Path]) -> float:
    """Return the seconds zstd takes for the images, on all processors."""
    pieces = [(path, offset) for path in images for offset in range(0, path.stat().st_size, MIB)]

    def one(piece: tuple[Path, int]) -> None:
        with piece[0].open("rb") as file:
            compress(os.pread(file.fileno(), MIB, piece[1]), 1)

    began = time.perf_counter()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        list(pool.map(one, pieces))
    return time.perf_counter() - began


async def ours(folder: Path, images: Sequence[Path]) -> dict[str, float]:
    """Return the seconds of a full backup, one of unchanged disks, a check, and a restore of all."""
    await new_repository(folder)
    found: dict[str, float] = {}
    disks = [raw_disk(path) for path in images]
    async with opened(folder) as repository:
        found["full"] = await seconds(backup(repository, disks, source="benchmark"))
    async with opened(folder) as repository:
        found["unchanged"] = await seconds(backup(repository, disks, source="benchmark"))
        found["verify"] = await seconds(repository.verify(2))
        snapshot = await repository.find()
        found["restore"] = await seconds(restored(repository, snapshot, folder))
    return found


async def restored(repository: Repository, snapshot: Snapshot, folder: Path) -> None:
    """Restore the disks of a snapshot, one after the other."""
    for entry in snapshot.disks:
        path = folder / entry.name
        disk = await repository.open_disk(snapshot, entry.key)
        async with disk, RawTarget(path, entry.capacity) as target:
            await restore(disk, target)
        path.unlink()


def theirs(folder: Path, images: Sequence[Path], init: str, store: str) -> dict[str, float]:
    """Return the seconds of two passes of another program; ``{name}`` is the image, ``{run}`` the pass."""
    home = {"HOME": str(folder), "BORG_BASE_DIR": str(folder), "RESTIC_CACHE_DIR": str(folder / "cache")}
    env = os.environ | home | {"BORG_PASSPHRASE": PASSWORD, "RESTIC_PASSWORD": PASSWORD}
    subprocess.run(init.split(), cwd=folder, env=env, check=True)
    found = {}
    for number, name in enumerate(("full", "unchanged")):
        began = time.perf_counter()
        for path in images:
            with path.open("rb") as file:
                command = store.format(name=path.name, run=f"{path.name}-{number}").split()
                subprocess.run(command, cwd=folder, env=env, stdin=file, check=True)
        found[name] = time.perf_counter() - began
    return found


OTHERS: Final = {
    "restic": ("restic init -q -r r", "restic backup -q -r r --stdin --stdin-filename {name}"),
    "borg": ("borg init -e repokey-blake2 b", "borg create --compression zstd,1 --stdin-name {name} b::{run} -"),
}
"""How they are called."""


async def data(options: argparse.Namespace, folder: Path) -> None:
    """Measure backups of data, ours and others'."""
    size = DISKS * options.mib * MIB
    content = memoryview(system_files(size))
    images = [folder / f"disk{number}.raw" for number in range(DISKS)]
    for number, path in enumerate(images):
        path.write_bytes(content[number * options.mib * MIB : (number + 1) * options.mib * MIB])
    del content
    rounds: dict[str, list[float]] = {}

    def note(who: str, found: Mapping[str, float]) -> None:
        for what, value in found.items():
            rounds.setdefault(f"{who} {what}", []).append(value)

    for _ in range(options.rounds):
        note("zstd", {"full": zstd_alone(images)})
        note("ours", await within(folder, lambda place: ours(place, images)))
        for name, commands in OTHERS.items():
            if shutil.which(name) and not options.quick:
                note(
                    name,
                    await within(folder, partial(other, images, commands)),
                )
    best = {name: min(values) for name, values in rounds.items()}
    for name, value in best.items():
        middle = statistics.median(rounds[name])
        print(f"  {name:20} {value:7.2f} s {size / value / 1e9:6.2f} GB/s, median {middle:.2f} s", flush=True)
    judge("full backup, of zstd 1 alone", best["zstd full"] / best["ours full"], 0.75)
    judge("unchanged backup, GB/s", size / best["ours unchanged"] / 1e9, 2.0)
    judge("restore, GB/s", size / best["ours restore"] / 1e9, 1.0)
    judge("verify level 2, GB/s", size / best["ours verify"] / 1e9, 1.5)
    for name in OTHERS:
        if f"{name} full" in best:
            judge(f"full backup, times {name}", best[f"{name} full"] / best["ours full"], 4.0)
            judge(f"unchanged backup, times {name}", best[f"{name} unchanged"] / best["ours unchanged"], 3.0)


async def other(images: Sequence[Path], commands: tuple[str, str], place: Path) -> dict[str, float]:
    """Measure another program in a folder."""
    return await asyncio.to_thread(theirs, place, images, *commands)


async def within(folder: Path, work: Callable[[Path], Awaitable[dict[str, float]]]) -> dict[str, float]:
    """Await work in a folder of its own, which is removed."""
    with tempfile.TemporaryDirectory(dir=folder) as place:
        return await work(Path(place))


async def changes(options: argparse.Namespace, folder: Path) -> None:
    """Measure a backup by a list of changes: its time goes with the change."""
    part = MIB if options.quick else GIB
    path, random = folder / "sparse.raw", os.urandom(64 << 10) * 16
    step = 512 * MIB
    places = [number * step for number in range(2 * part // MIB)]
    with path.open("wb") as file:
        file.truncate(1 << 40)
        for number, place in enumerate(places):
            os.pwrite(file.fileno(), number.to_bytes(8, "big") + random[8:], place)
    await new_repository(folder)
    async with opened(folder) as repository:
        whole = await seconds(backup(repository, [known(path, "1", None)], source="sparse"))
        changed = [Block(place, MIB) for place in places[::2]]
        with path.open("r+b") as file:
            for block in changed:
                os.pwrite(file.fileno(), b"changed" + block.offset.to_bytes(8, "big"), block.offset)
        disk = known(path, "2", ChangedBlocks(changed, since="1"))
        taken = await seconds(backup(repository, [disk], source="sparse"))
    print(f"  1 TiB, {2 * part // MIB} MiB allocated: first backup {whole:.2f} s")
    judge("1 TiB, half of what is allocated changed", taken, 10.0, "s")


def known(path: Path, change_id: str, changed: ChangedBlocks | None) -> BackupDisk:
    """Return a raw image with changed-block information."""
    plain = raw_disk(path)
    return BackupDisk(key="1", name=plain.name, opened=plain.opened, uuid="1", change_id=change_id, changed=changed)


async def many(options: argparse.Namespace, folder: Path) -> None:
    """Measure a thousand small disks in one backup."""
    count = 20 if options.quick else 1000
    for number in range(count):
        (folder / f"{number}.raw").write_bytes(os.urandom(MIB))
    await new_repository(folder)
    disks = [raw_disk(folder / f"{number}.raw") for number in range(count)]
    async with opened(folder) as repository:
        taken = await seconds(backup(repository, disks, source="many", limits=BackupLimits(jobs=16)))
        assert len((await repository.find()).disks) == count
    judge(f"{count} disks of 1 MiB", taken, 60.0, "s")


async def memory(options: argparse.Namespace, folder: Path) -> None:
    """Measure the memory of a process that backs up 16 disks at once, and of one with a disk of many chunks."""
    size = MIB if options.quick else 128 * MIB
    for number in range(16):
        (folder / f"{number}.raw").write_bytes(os.urandom(size))
    await new_repository(folder)
    judge("16 disks at once", peak(folder, *(f"{number}.raw" for number in range(16))) / MIB, 400.0, "MiB")
    peaks = {}
    for name, capacity in (("small", 1 << 30), ("large", 1 << 34 if options.quick else 1 << 41)):
        with (folder / name).open("wb") as file:
            file.truncate(capacity)
            file.write(b"x")
        peaks[capacity] = peak(folder, name)
    (small, one), (large, two) = peaks.items()
    judge("memory for each chunk of a disk", (two - one) / ((large - small) / MIB), 40.0, "B")


def peak(folder: Path, *names: str) -> int:
    """Return the most memory that a process takes to back up some images at once."""
    command = [sys.executable, "-m", "tests.benchmarks.backups", "--child", str(folder), *names]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def child(folder: Path, names: Sequence[str]) -> None:
    """Back up some images, and print the most memory that took."""
    async with opened(folder) as repository:
        disks = [raw_disk(folder / name) for name in names]
        await backup(repository, disks, source="child", limits=BackupLimits(jobs=len(disks)))
    status = Path("/proc/self/status").read_text()
    print(int(status.partition("VmHWM:")[2].split()[0]) << 10)


PARTS: Final = {"data": data, "changes": changes, "many": many, "memory": memory}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=None, help="default: the folder for temporary files")
    parser.add_argument("--mib", type=int, default=512, help="of each of the four disks")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--quick", action="store_true", help="little of everything, for a test; figures mean nothing")
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        asyncio.run(child(Path(options.child[0]), options.child[1:]))
        return
    if options.quick:
        options.mib, options.rounds = 2, 1
    load = ", ".join(f"{figure:.1f}" for figure in os.getloadavg())
    print(f"load {load}; {len(os.sched_getaffinity(0))} processors", flush=True)
    for name in options.only:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            asyncio.run(PARTS[name](options, Path(folder)))


if __name__ == "__main__":
    main()
