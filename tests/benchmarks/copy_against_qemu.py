"""``asyncvddk copy`` against ``qemu-img convert``: one disk full of data, eight at once, and peak memory.

By hand, on a quiet machine::

    python tests/benchmarks/copy_against_qemu.py [--folder /dev/shm] [--gib 2] [--rounds 5] [-- OPTIONS OF copy]

Rounds of both programs alternate; the ratio of the fastest rounds counts, above 1 we are the faster. Everything is in
the page cache, as far as the memory allows; copies are removed between rounds.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROOT = Path(__file__).resolve().parents[2]
MIB = 1 << 20
DISKS = 8


def make_disk(path: Path, size: int) -> Path:
    """Make a sparse VMDK that is full of data."""
    raw = path.with_suffix(".full")
    source = random.Random(1)
    with raw.open("wb") as file:
        for _ in range(size // MIB):
            file.write(source.randbytes(MIB))  # little at once: children begin with our peak memory as theirs
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, path], check=True)
    raw.unlink()
    return path


def ours(disks: Sequence[Path], out: Path, options: Sequence[str]) -> list[list[str]]:
    """Return the one command that copies all disks."""
    words = [sys.executable, "-m", "asyncvddk", "copy", "--quiet", *options, *map(str, disks), f"{out}/"]
    return [words]


def qemu(disks: Sequence[Path], out: Path) -> list[list[str]]:
    """Return the commands that convert one disk each."""
    return [["qemu-img", "convert", "-O", "raw", str(disk), str(out / f"{disk.stem}.raw")] for disk in disks]


def run_together(commands: Sequence[Sequence[str]]) -> tuple[float, float, int]:
    """Return seconds, processor seconds and the largest peak memory in bytes of commands that run at once."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    started = time.perf_counter()
    processes = [subprocess.Popen(command, env=environment) for command in commands]
    used, peak = 0.0, 0
    for process in processes:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise SystemExit(f"failed: {process.args!r}")
        used += usage.ru_utime + usage.ru_stime
        peak = max(peak, usage.ru_maxrss * 1024)
    return time.perf_counter() - started, used, peak


def measure(commands: Callable[[Path], Sequence[Sequence[str]]], folder: Path) -> tuple[float, float, int]:
    """Run what ``commands`` returns for an empty folder of copies."""
    out = folder / "out"
    out.mkdir()
    try:
        return run_together(commands(out))
    finally:
        shutil.rmtree(out)


def race(title: str, disks: Sequence[Path], folder: Path, rounds: int, options: Sequence[str]) -> None:
    """Print how both programs do with ``disks``."""
    figures: dict[str, list[tuple[float, float, int]]] = {"qemu-img": [], "asyncvddk": []}
    for _ in range(rounds):
        figures["qemu-img"].append(measure(lambda out: qemu(disks, out), folder))
        figures["asyncvddk"].append(measure(lambda out: ours(disks, out, options), folder))
    print(f"{title}, {rounds} rounds")
    for name, rows in figures.items():
        wall, used = sorted(row[0] for row in rows), min(row[1] for row in rows)
        middle = wall[len(wall) // 2]
        print(f"  {name:10} {wall[0]:6.2f} s fastest {middle:6.2f} s median {used:6.2f} s of processors")
    best = {name: min(row[0] for row in rows) for name, rows in figures.items()}
    print(f"  ratio {best['qemu-img'] / best['asyncvddk']:.2f}")


def memory(folder: Path, options: Sequence[str]) -> None:
    """Print the peak memory of copies of a small and a large disk."""
    print("peak memory")
    for mib in (64, 1024):
        disk = make_disk(folder / f"memory{mib}.vmdk", mib * MIB)
        _, _, peak = measure(lambda out, disk=disk: ours([disk], out, options), folder)  # type: ignore[misc]
        print(f"  {mib:5} MiB of data: {peak / MIB:6.1f} MiB")
        disk.unlink()


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--gib", type=float, default=2.0, help="size of the single disk; the eight have a quarter")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("options", nargs="*", help="options of copy, behind --")
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder) as name:
        folder = Path(name)
        size = int(wanted.gib * 1024) * MIB
        disk = make_disk(folder / "one.vmdk", size)
        race(f"one disk of {wanted.gib} GiB", [disk], folder, wanted.rounds, wanted.options)
        disk.unlink()
        disks = [make_disk(folder / f"disk{number}.vmdk", size // 4) for number in range(DISKS)]
        race(f"{DISKS} disks of {wanted.gib / 4} GiB", disks, folder, wanted.rounds, wanted.options)
        memory(folder, wanted.options)


if __name__ == "__main__":
    main()
