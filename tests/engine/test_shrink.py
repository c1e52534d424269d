"""Shrink: what holds zeros goes, the file gets smaller, the disk reads the same."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN, Sparse, descriptor
from tests.engine.craft_esx import Cowd
from tests.engine.driver import (
    LSILOGIC,
    MONOLITHIC_FLAT,
    READ_ONLY,
    SECTOR,
    SINGLE_LINK,
    SPLIT_SPARSE,
    VMFS_THIN,
    Engine,
    EngineError,
)
from tests.engine.grain_tables import GRAIN_BYTES, entries, first_grain, grains

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.driver import Disk
    from tests.engine.qemu import Qemu

SECTORS = 65536 + 1000
FILLS = {3: 0xA3, 600 - 88: 0, 1: 0, 5: 0xA5, 0: 0, 7: 0xA7, 512: 0xB2, 2: 0xA2, 9: 0}
"""Grains of two tables, in the order in which they lie in the file."""
KEPT = {3, 5, 7, 512, 2}


def cid(path: Path) -> bytes:
    """Return the content id."""
    found = re.search(rb"\nCID=([0-9a-f]{8})", path.read_bytes())
    assert found
    return found[1]


def shrink_code(engine: Engine, path: Path, flags: int = 0) -> int:
    """Return the code of Shrink."""
    with engine.open(path, flags) as disk:
        return engine.code("Shrink", disk.handle, None, None)


@pytest.fixture
def small_steps(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Load an engine that syncs after every second grain."""
    loaded = Engine(library, tmp_path_factory.mktemp("steps"), f"openEngine.compactStepBytes={2 * GRAIN_BYTES}")
    yield loaded
    loaded.close()


def test_grains_of_zeros_go_and_the_file_gets_smaller(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Content, capacity and content id stay; the file holds tables and the other grains, and no more."""
    path = Sparse(sectors=SECTORS, grains=FILLS).save(tmp_path / "disk.vmdk")
    content, before = engine.read(path), cid(path)
    with engine.open(path) as disk:
        disk.shrink()
        assert disk.read(0, SECTORS) == content
        assert disk.capacity == SECTORS
    image = path.read_bytes()
    assert set(grains(image)) == KEPT
    assert len(image) == (first_grain(image) + len(KEPT) * GRAIN) * SECTOR
    assert (cid(path), image[72]) == (before, 0)
    qemu.check(path)
    qemu.same(path, bytes(content))


def test_written_zeros_and_space_that_nothing_leads_to_go(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Zeros of a client, and what a crash left behind the end of the file; the handle goes on to work."""
    path = qemu.create(tmp_path / "disk.vmdk", SECTORS * SECTOR)
    qemu.write(path, (0, 20 * GRAIN_BYTES, 0x11))
    with path.open("ab") as file:
        file.write(b"\x77" * 3 * GRAIN_BYTES)
    with engine.open(path) as disk:
        disk.write(0, bytes(15 * GRAIN_BYTES))
        disk.shrink()
        assert path.stat().st_size == (first_grain(path.read_bytes()) + 5 * GRAIN) * SECTOR
        disk.write(65536, b"\x22" * SECTOR)
        assert disk.read(65536, 2) == b"\x22" * SECTOR + bytes(SECTOR)
        disk.shrink()
    expected = bytearray(SECTORS * SECTOR)
    expected[15 * GRAIN_BYTES : 20 * GRAIN_BYTES] = b"\x11" * 5 * GRAIN_BYTES
    expected[65536 * SECTOR : 65537 * SECTOR] = b"\x22" * SECTOR
    assert path.stat().st_size == (first_grain(path.read_bytes()) + 6 * GRAIN) * SECTOR
    qemu.check(path)
    qemu.same(path, bytes(expected))


def test_entries_that_say_zeros_become_empty(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """A base has nothing below that they would hide."""
    path = qemu.create(tmp_path / "disk.vmdk", SECTORS * SECTOR, "zeroed_grain=on")
    qemu.write(path, (0, 2 * GRAIN_BYTES, 0x11))
    qemu._run(qemu.io, "-f", "vmdk", "-c", f"write -q -z 0 {GRAIN_BYTES}", path)
    assert entries(path.read_bytes())[0] == 1
    with engine.open(path) as disk:
        disk.shrink()
    image = path.read_bytes()
    assert grains(image) == {1: first_grain(image)}
    qemu.same(path, (bytes(GRAIN_BYTES) + b"\x11" * GRAIN_BYTES).ljust(SECTORS * SECTOR, b"\0"))


def test_a_disk_without_zeros_is_not_touched(engine: Engine, tmp_path: Path) -> None:
    """Not one byte of the file changes."""
    path = Sparse(sectors=SECTORS, grains={5: 1, 3: 2}).save(tmp_path / "disk.vmdk")
    before = path.read_bytes(), path.stat().st_mtime_ns
    assert shrink_code(engine, path) == 0
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_every_extent_of_a_split_disk_shrinks(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Each file by itself."""
    path = engine.create(tmp_path / "disk.vmdk", 4192256 + 5000, SPLIT_SPARSE)
    empty = {file: file.stat().st_size for file in tmp_path.glob("disk-s*")}
    with engine.open(path) as disk:
        for start in (0, 1280, 4192256):
            disk.write(start, b"\x11" * GRAIN_BYTES)
            disk.write(start, bytes(GRAIN_BYTES))
        disk.write(4192256 + 256, b"\x22" * GRAIN_BYTES)
        disk.shrink()
    first, second = sorted(empty)
    assert first.stat().st_size == empty[first]
    assert second.stat().st_size == empty[second] + GRAIN_BYTES
    qemu.check(path)
    with engine.open(path, READ_ONLY) as disk:
        assert disk.read(4192256 + 256, 128) == b"\x22" * GRAIN_BYTES


def test_progress_rises_and_a_cancelled_shrink_loses_nothing(small_steps: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Cancelled at any percentage the disk is whole, no larger than before, and can be shrunk again."""
    path, told = tmp_path / "disk.vmdk", [0]
    image = Sparse(sectors=SECTORS, grains=FILLS).build()
    for last in range(101):
        path.write_bytes(image)
        with small_steps.open(path) as disk:
            before = disk.read(0, 2000)
            seen: list[int] = []
            told = seen

            def note(percent: int, last: int = last, seen: list[int] = seen) -> bool:
                seen.append(percent)
                return percent < last

            with pytest.raises(EngineError, match="10:"):
                disk.shrink(note)
            assert disk.read(0, 2000) == before
        assert path.stat().st_size <= len(image)
        assert set(KEPT) <= set(grains(path.read_bytes()))
    qemu.check(path)
    assert (told[0], told[-1]) == (0, 100)
    assert told == sorted(set(told))
    assert len(told) > 4


def test_disks_that_cannot_be_shrunk_are_refused(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """CANTSHRINK for children and flat disks; what is only read, by its format or its handle, has its codes."""
    base = qemu.create(tmp_path / "base.vmdk", SECTORS * SECTOR)
    child = qemu.create(tmp_path / "child.vmdk", SECTORS * SECTOR, backing=base.name)
    for flags in (0, SINGLE_LINK, READ_ONLY):
        assert shrink_code(engine, child, flags) == 16009
    for disk_type in (MONOLITHIC_FLAT, VMFS_THIN):
        flat = engine.create(tmp_path / f"flat{disk_type}.vmdk", 1000, disk_type, adapter=LSILOGIC)
        assert shrink_code(engine, flat) == 16009
    assert shrink_code(engine, base, READ_ONLY) == 13
    stream = qemu.create(tmp_path / "stream.vmdk", SECTORS * SECTOR, "subformat=streamOptimized")
    assert shrink_code(engine, stream, READ_ONLY) == 6
    (tmp_path / "cowd-delta.vmdk").write_bytes(Cowd().build())
    cowd = tmp_path / "cowd.vmdk"
    cowd.write_text(descriptor('RW 8192 VMFSSPARSE "cowd-delta.vmdk"', create_type="vmfsSparse"), "utf-8")
    assert shrink_code(engine, cowd, READ_ONLY) == 6


@pytest.mark.parametrize("call", ["Shrink", "Defragment"])
def test_damaged_tables_are_left_alone(call: str, engine: Engine, tmp_path: Path) -> None:
    """A grain behind the end of the disk, or half a grain, is for CheckRepair: NEEDSREPAIR, and nothing changes."""
    behind = Sparse(sectors=1000, grains={0: 1, 2: 0, 9: 5}).build()
    short = Sparse(sectors=SECTORS, grains={0: 1, 1: 0, 2: 3}).build()[: -100 * SECTOR]
    for image in (behind, short):
        path = tmp_path / "disk.vmdk"
        path.write_bytes(image)
        with engine.open(path) as disk:
            assert engine.code(call, disk.handle, None, None) == 16006
            assert "repair the disk first" in engine.warnings[-1]
        assert path.read_bytes() == image


def test_a_second_shrink_of_the_same_handle_is_refused(small_steps: Engine, tmp_path: Path) -> None:
    """From the progress function, or another thread: OBJECT_IS_BUSY; reads and writes go on."""
    path = Sparse(sectors=SECTORS, grains=FILLS).save(tmp_path / "disk.vmdk")
    codes: set[int] = set()

    def others(disk: Disk) -> None:
        codes.add(small_steps.code("Shrink", disk.handle, None, None))
        codes.add(small_steps.code("Defragment", disk.handle, None, None))
        disk.write(0, b"\x42" * SECTOR)

    with small_steps.open(path) as disk:

        def note(_percent: int) -> bool:
            thread = threading.Thread(target=others, args=(disk,))
            thread.start()
            thread.join()
            return True

        disk.shrink(note)
        assert disk.read(0, 2) == b"\x42" * SECTOR + bytes(SECTOR)
    assert codes == {5}
