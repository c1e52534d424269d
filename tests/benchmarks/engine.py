"""The engine's own speed, in the page cache: ``python tests/benchmarks/engine.py [--mib 1024] [--rounds 7]``.

Sequential transfers of 1 MiB, one at a time, against a loop of pread or pwrite over as many bytes and against
``qemu-img bench``, which keeps 1 or 8 in flight and syncs nothing; the table has the faster. Everybody takes turns, and
the best round of each counts: beside other programs ratios hold better than figures, but a quiet machine is better.
Goals: at least as fast as qemu-img, at least 0.8 of the loop.

Large disks: allocated areas of 8 TiB with 16384 grains all over, the first answer and the best one (goal: 50 ms), and
Open of an empty disk of 62 TiB, which must not read its 8 GB of tables.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tests.engine.driver import READ_ONLY, SECTOR, SPLIT_SPARSE, BlockList, Engine  # noqa: E402 (found by the path)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MIB = 1 << 20
TIB = 1 << 40
SECTORS = MIB // SECTOR
BUFFER = ctypes.create_string_buffer(os.urandom(MIB), MIB)
VIEW = memoryview(BUFFER)
GRAINS = 16384
DEPTHS = (1, 8)


def qemu_img(*words: str | Path) -> str:
    """Run qemu-img and return what it said."""
    return subprocess.run(["qemu-img", *words], check=True, capture_output=True, text=True).stdout


def transfer(engine: Engine, path: Path, mib: int, function: str) -> float:
    """Return the seconds of ``mib`` calls of Read or Write.

    Opening does not count, nor the first call, which may wait until the device has the new content id, nor closing.
    """
    call = engine.dll[f"VixDiskLib_{function}"]
    call.restype = ctypes.c_uint64
    call.argtypes = (ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_void_p)
    with engine.open(path, READ_ONLY if function == "Read" else 0) as disk:
        call(disk.handle, 0, 1, BUFFER)
        started = time.perf_counter()
        for start in range(0, mib * SECTORS, SECTORS):
            if call(disk.handle, start, SECTORS, BUFFER):
                raise SystemExit(f"{function} failed: {engine.warnings}")
        return time.perf_counter() - started


def loop(path: Path, mib: int, *, write: bool) -> float:
    """Return the seconds of plain system calls over the same bytes."""
    fd = os.open(path, os.O_RDWR)
    try:
        started = time.perf_counter()
        for offset in range(0, mib * MIB, MIB):
            if write:
                os.pwrite(fd, VIEW, offset)
            else:
                os.preadv(fd, [VIEW], offset)
        return time.perf_counter() - started
    finally:
        os.close(fd)


def bench(path: Path, mib: int, depth: int, *options: str) -> float:
    """Return the seconds of ``qemu-img bench``, which measures itself."""
    command = ("bench", "-f", "vmdk", "-t", "unsafe", "-c", str(mib), "-s", str(MIB), "-d", str(depth), *options)
    found = re.search(r"in ([0-9.]+) seconds", qemu_img(*command, path))
    return float(found.group(1)) if found else float("inf")


def race(title: str, mib: int, rounds: int, runs: Mapping[str, Callable[[], float]]) -> None:
    """Print the best round of each, and ours relative to the others."""
    best = dict.fromkeys(runs, float("inf"))
    for _ in range(rounds):
        for name, run in runs.items():
            best[name] = min(best[name], run())
    speeds = " ".join(f"{name} {mib / 1024 / seconds:5.2f} GiB/s" for name, seconds in best.items())
    ours = best["engine"]
    print(f"{title:24} {speeds}  x qemu-img {best['qemu-img'] / ours:.2f}  x loop {best['loop'] / ours:.2f}")


def full(engine: Engine, folder: Path, mib: int) -> tuple[Path, Path]:
    """Return a sparse disk and a file, both full of data."""
    disk, raw = folder / "disk.vmdk", folder / "disk.raw"
    engine.create(disk, mib * SECTORS)
    raw.touch()
    transfer(engine, disk, mib, "Write")
    loop(raw, mib, write=True)
    return disk, raw


def transfers(engine: Engine, folder: Path, mib: int, rounds: int) -> None:
    """Read, write in place, write into an empty disk."""
    disk, raw = full(engine, folder, mib)
    reads = {
        "engine": lambda: transfer(engine, disk, mib, "Read"),
        "qemu-img": lambda: min(bench(disk, mib, depth) for depth in DEPTHS),
        "loop": lambda: loop(raw, mib, write=False),
    }
    race("read", mib, rounds, reads)
    writes = {
        "engine": lambda: transfer(engine, disk, mib, "Write"),
        "qemu-img": lambda: min(bench(disk, mib, depth, "-w") for depth in DEPTHS),
        "loop": lambda: loop(raw, mib, write=True),
    }
    race("write in place", mib, rounds, writes)
    fresh, fresh_raw = folder / "fresh.vmdk", folder / "fresh.raw"

    def ours() -> float:
        fresh.unlink(missing_ok=True)
        engine.create(fresh, mib * SECTORS)
        return transfer(engine, fresh, mib, "Write")

    def qemus() -> float:
        results = []
        for depth in DEPTHS:
            qemu_img("create", "-q", "-f", "vmdk", fresh, f"{mib}M")
            results.append(bench(fresh, mib, depth, "-w"))
        return min(results)

    def floor() -> float:
        fresh_raw.unlink(missing_ok=True)
        fresh_raw.touch()
        return loop(fresh_raw, mib, write=True)

    race("write into an empty disk", mib, rounds, {"engine": ours, "qemu-img": qemus, "loop": floor})


def scattered(engine: Engine, folder: Path, kind: str) -> Path:
    """Return a disk of 8 TiB with grains all over."""
    path, sectors = folder / f"{kind}.vmdk", 8 * TIB // SECTOR
    if kind == "split":
        engine.create(path, sectors, SPLIT_SPARSE)
    else:
        qemu_img("create", "-q", "-f", "vmdk", path, "8T")
    with engine.open(path) as disk:
        for number in range(GRAINS):
            disk.write(sectors // GRAINS * number, bytes(VIEW[:65536]))
    return path


def query(engine: Engine, path: Path, rounds: int) -> None:
    """Print how long the question for all allocated areas takes."""
    call = engine.dll.VixDiskLib_QueryAllocatedBlocks
    times = []
    with engine.open(path, READ_ONLY) as disk:
        for _ in range(3 * rounds):
            answer = ctypes.POINTER(BlockList)()
            numbers = (ctypes.c_uint64(number) for number in (0, 8 * TIB // SECTOR, 32768))
            started = time.perf_counter()
            if call(disk.handle, *numbers, ctypes.byref(answer)) or answer.contents.count != GRAINS:
                raise SystemExit("QueryAllocatedBlocks failed")
            times.append(time.perf_counter() - started)
            engine.dll.VixDiskLib_FreeBlockList(answer)
    print(f"areas of 8 TiB, {path.stem:10} first {times[0] * 1000:.1f} ms, best {min(times) * 1000:.1f} ms")


def opening(engine: Engine, path: Path, rounds: int) -> None:
    """Print how long Open takes."""
    for title, flags in (("read-only", READ_ONLY), ("read-write", 0)):
        times = []
        for _ in range(3 * rounds):
            started = time.perf_counter()
            with engine.open(path, flags):
                times.append(time.perf_counter() - started)
        print(f"Open of {path.stem}, {title}: {min(times) * 1000:.1f} ms")


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--library", type=Path, default=ROOT / "asyncvddk/engine/lib64/libvixDiskLib.so.8")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        folder = Path(name)
        engine = Engine(wanted.library, folder)
        transfers(engine, folder, wanted.mib, wanted.rounds)
        for kind in ("monolithic", "split"):
            query(engine, scattered(engine, folder, kind), wanted.rounds)
        huge = folder / "62-TiB.vmdk"
        qemu_img("create", "-q", "-f", "vmdk", huge, "62T")
        opening(engine, huge, wanted.rounds)
        engine.close()


if __name__ == "__main__":
    main()
