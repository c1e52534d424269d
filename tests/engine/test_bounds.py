"""What large disks may take: bytes read by Open, memory of an open disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import READ_ONLY, SECTOR, SPLIT_SPARSE

if TYPE_CHECKING:
    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

MIB = 1 << 20
TIB = 1 << 40
TABLE = 65536
"""Sectors that one grain table covers."""


def read_so_far() -> int:
    """Return the bytes that this process has read from files."""
    lines = Path("/proc/self/io").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("rchar")).split()[1])


def memory() -> int:
    """Return the bytes of memory that are this process's own."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("RssAnon")).split()[1])


@pytest.mark.parametrize("flags", [0, READ_ONLY], ids=["read-write", "read-only"])
def test_open_of_a_huge_disk_does_not_read_its_tables(engine: Engine, qemu: Qemu, tmp_path: Path, flags: int) -> None:
    """Two million grain tables and their copies are 8 GB; the directories, 8 MB each, are read."""
    path = qemu.create(tmp_path / "disk.vmdk", 62 * TIB)
    before = read_so_far()
    with engine.open(path, flags) as disk:
        assert disk.read(62 * TIB // SECTOR - 1, 1) == bytes(SECTOR)
    assert read_so_far() - before < 20 * MIB


@pytest.mark.skipif("ASYNCVDDK_TEST_ENGINE" in os.environ, reason="a sanitizer keeps freed memory for itself")
@pytest.mark.parametrize("split", [False, True], ids=["monolithic", "split"])
def test_memory_of_an_open_disk_is_bounded(engine: Engine, qemu: Qemu, tmp_path: Path, *, split: bool) -> None:
    """Reading from every table of 1 TiB would leave 64 MiB of tables; 8 MiB are kept, in one extent or in many."""
    path, sectors = tmp_path / "disk.vmdk", TIB // SECTOR
    if split:
        engine.create(path, sectors, SPLIT_SPARSE)
    else:
        qemu.create(path, TIB)
    with engine.open(path, READ_ONLY) as disk:
        disk.read(0, 1)
        before = memory()
        for start in range(0, sectors, TABLE):
            disk.read(start, 1)
        assert memory() - before < 16 * MIB
