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

    def __init__(self, seed: int) -> None:
        """Begin with zeros."""
        self.random = random.Random(seed)
        self.content = bytearray(SECTORS * SECTOR)

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


@pytest.mark.parametrize("name", TYPES)
def test_random_operations_agree_with_a_bytearray(name: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Overlapping, unaligned, over tables and to the last sector; also after reopening and for QEMU."""
    path = engine.create(tmp_path / "disk.vmdk", SECTORS, TYPES[name])
    model = Model(TYPES[name])
    for _ in range(3):
        with engine.open(path) as disk:
            for _ in range(60):
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
    below: dict[Path, bytes] = {}
    for level in range(3):
        with engine.open(path) as disk:
            for _ in range(25):
                model.step(disk)
            model.covers(disk.allocated())
        below = {file: file.read_bytes() for file in tmp_path.iterdir()}
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
def test_threads_that_fill_the_same_new_grains_lose_nothing(name: str, engine: Engine, tmp_path: Path) -> None:
    """Four threads write each a quarter of the same grain, which none of them finds allocated."""
    path = engine.create(tmp_path / "disk.vmdk", SECTORS, TYPES[name])
    together = threading.Barrier(4)
    failures: list[BaseException] = []

    def work(disk: Disk, mine: int) -> None:
        data = bytes([mine + 1]) * 32 * SECTOR
        try:
            for grain in range(400):
                together.wait()
                disk.write(grain * 128 + mine * 32, data)
                assert disk.read(grain * 128 + mine * 32, 32) == data
                if grain % 100 == mine:
                    disk.flush()
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            failures.append(error)
            together.abort()

    with engine.open(path) as disk:
        threads = [threading.Thread(target=work, args=(disk, mine)) for mine in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        areas = disk.allocated()
    assert failures == []
    grain = b"".join(bytes([mine + 1]) * 32 * SECTOR for mine in range(4))
    with engine.open(path, READ_ONLY) as disk:
        assert disk.read(0, 400 * 128) == grain * 400
    assert areas == [(0, 400 * 128)]
