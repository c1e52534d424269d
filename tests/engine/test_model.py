"""A bytearray is the disk: random reads, writes and reopenings of every type must agree with it."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_SPARSE,
    VMFS_THIN,
    Disk,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SECTORS = 65536 + 8000 + 3  # two tables; the last grain is a fraction
LENGTHS = (1, 2, 7, 64, 128, 129, 300, 1000, 5000)
TYPES = {"sparse": MONOLITHIC_SPARSE, "flat": MONOLITHIC_FLAT, "split": SPLIT_SPARSE, "thin": VMFS_THIN}


class Model:
    """What the disk must hold."""

    def __init__(self, seed: int, content: bytes | None = None) -> None:
        self.random = random.Random(seed)
        self.content = bytearray(content if content is not None else SECTORS * SECTOR)

    def area(self) -> tuple[int, int]:
        """Return a random start and count."""
        count = self.random.choice(LENGTHS)
        start = self.random.choice((self.random.randrange(SECTORS), self.random.randrange(0, SECTORS, 128), 65536 - 3))
        return start, min(count, SECTORS - start)

    def write(self, disk: Disk) -> None:
        """Write to both."""
        start, count = self.area()
        data = self.random.randbytes(count * SECTOR)
        disk.write(start, data)
        self.content[start * SECTOR : (start + count) * SECTOR] = data

    def read(self, disk: Disk) -> None:
        """Read from both and compare."""
        start, count = self.area()
        assert disk.read(start, count) == self.content[start * SECTOR : (start + count) * SECTOR]

    def covers(self, areas: list[tuple[int, int]]) -> None:
        """Everything outside of the areas must be zero; the last fraction of a chunk cannot be asked for."""
        position = 0
        for start, count in [*areas, (SECTORS // 128 * 128, 0)]:
            assert not any(self.content[position * SECTOR : start * SECTOR])
            position = start + count

    def step(self, disk: Disk) -> None:
        """One random operation."""
        self.random.choices((self.write, self.read, lambda disk: disk.flush()), (5, 4, 1))[0](disk)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("name", TYPES)
def test_random_operations_agree_with_a_bytearray(name: str, seed: int, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Overlapping, unaligned, over tables and to the last sector; also after reopening and for QEMU."""
    path = engine.create(tmp_path / "disk.vmdk", SECTORS, TYPES[name])
    model = Model(seed)
    for _ in range(3):
        with engine.open(path) as disk:
            for _ in range(50):
                model.step(disk)
            model.covers(disk.allocated())
        assert engine.read(path) == model.content
    qemu.check(path)
    qemu.same(path, bytes(model.content))


@pytest.mark.parametrize("seed", range(2))
def test_random_operations_on_a_snapshot_chain_agree_with_a_bytearray(
    seed: int, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """Each link covers part of its parents; writes go to the top one and leave the parents as they are."""
    path = engine.create(tmp_path / "base.vmdk", SECTORS, MONOLITHIC_FLAT if seed else MONOLITHIC_SPARSE)
    model = Model(seed)
    for level in range(3):
        with engine.open(path) as disk:
            for _ in range(25):
                model.step(disk)
            model.covers(disk.allocated())
        below = {file: file.read_bytes() for file in tmp_path.iterdir() if level == 2}
        parent, path = path, tmp_path / f"level{level}.vmdk"
        qemu.create(path, SECTORS * SECTOR, backing=parent.name)
    with engine.open(path) as disk:
        for _ in range(40):
            model.step(disk)
        model.covers(disk.allocated())
        assert disk.info()["links"] == 4
    assert engine.read(path) == model.content
    qemu.same(path, bytes(model.content))
    assert below == {file: file.read_bytes() for file in below}


@pytest.mark.parametrize("name", ["sparse", "flat"])
def test_threads_that_write_distinct_sectors_of_the_same_grains_lose_nothing(name: str, engine: Engine, tmp_path: Path) -> None:
    """Thread i owns every sector s with s mod 4 == i; all of them allocate the same grains at the same time."""
    path = engine.create(tmp_path / "disk.vmdk", SECTORS, TYPES[name])
    failures: list[BaseException] = []

    def work(disk: Disk, mine: int) -> None:
        choose = random.Random(mine)
        sectors = [sector for sector in range(mine, 128 * 14, 4) if choose.random() < 0.5]
        choose.shuffle(sectors)
        try:
            for done, sector in enumerate(sectors):
                disk.write(sector * 40, bytes([mine + 1]) * SECTOR)
                assert disk.read(sector * 40, 1) == bytes([mine + 1]) * SECTOR
                if done % 100 == 0:
                    disk.flush()
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            failures.append(error)

    with engine.open(path) as disk:
        threads = [threading.Thread(target=work, args=(disk, mine)) for mine in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    expected = bytearray(SECTORS * SECTOR)
    for mine in range(4):
        choose = random.Random(mine)
        for sector in range(mine, 128 * 14, 4):
            if choose.random() < 0.5:
                expected[sector * 40 * SECTOR : (sector * 40 + 1) * SECTOR] = bytes([mine + 1]) * SECTOR
    assert engine.read(path, READ_ONLY) == expected
