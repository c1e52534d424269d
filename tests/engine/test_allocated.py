"""QueryAllocatedBlocks of large disks, and beside writers."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from tests.engine.driver import READ_ONLY, SECTOR, SPLIT_SPARSE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Disk, Engine
    from tests.engine.qemu import Qemu

GRAIN = 128
TABLE = 512 * GRAIN
TIB = 1 << 40


def scatter(disk: Disk, sectors: int, count: int, fill: bytes) -> list[int]:
    """Write ``count`` grains all over the disk, the first and the last one among them; return where."""
    grains = random.Random(count).sample(range(1, sectors // GRAIN - 1), count - 2)
    places = sorted(grain * GRAIN for grain in [0, *grains, sectors // GRAIN - 1])
    for place in places:
        disk.write(place, fill * (GRAIN * SECTOR))
    return places


def merged(places: list[int], chunk: int) -> list[tuple[int, int]]:
    """Return the areas of whole chunks that grains at ``places`` make."""
    found: list[tuple[int, int]] = []
    for start in sorted({place // chunk * chunk for place in places}):
        if found and start == sum(found[-1]):
            found[-1] = (found[-1][0], found[-1][1] + chunk)
        else:
            found.append((start, chunk))
    return found


def test_areas_of_a_large_monolithic_disk_are_its_grains(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Several threads look at once, tables lie scattered over a hole of gigabytes: nothing is lost or told twice."""
    path = qemu.create(tmp_path / "disk.vmdk", 8 * TIB)
    sectors = 8 * TIB // SECTOR
    with engine.open(path) as disk:
        places = scatter(disk, sectors, 500, b"a")
        for chunk in (32768, 131072):
            assert disk.allocated(chunk=chunk) == merged(places, chunk)
    with engine.open(path, READ_ONLY) as disk:
        assert disk.allocated(chunk=32768) == merged(places, 32768)


def test_areas_of_a_large_split_disk_are_its_grains(engine: Engine, tmp_path: Path) -> None:
    """Areas that begin and end inside extents, and that touch where two threads meet."""
    sectors = 3 * TIB // SECTOR
    path = engine.create(tmp_path / "disk.vmdk", sectors, SPLIT_SPARSE)
    with engine.open(path) as disk:
        places = scatter(disk, sectors, 100, b"b")
        for seam in range(1, 24):
            around = (seam * sectors // 24 // GRAIN - 1) * GRAIN
            disk.write(around, b"c" * (2 * GRAIN * SECTOR))
            places += [around, around + GRAIN]
        for chunk in (32768, 131072):
            assert disk.allocated(chunk=chunk) == merged(places, chunk)


def test_what_was_written_before_the_question_is_in_the_answer(engine: Engine, tmp_path: Path) -> None:
    """Also while flushes bring the tables from memory into the file, and the file is what the answer comes from."""
    tables = 64
    path = engine.create(tmp_path / "disk.vmdk", tables * TABLE)
    places = [(i * 37 % tables) * TABLE + i // tables * GRAIN for i in range(24 * tables)]
    written = 0

    with engine.open(path) as disk:

        def write() -> None:
            nonlocal written
            for place in places:
                disk.write(place, b"d" * (GRAIN * SECTOR))
                written += 1
                if written % 4 == 0:
                    disk.flush()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            while writer.is_alive():
                expected = set(places[:written])
                told = {at for start, count in disk.allocated() for at in range(start, start + count, GRAIN)}
                assert expected <= told
        finally:
            writer.join()
