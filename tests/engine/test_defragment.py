"""Defragment: grains in the order of the disk, without gaps, and no space that nothing leads to."""

from __future__ import annotations

import random
import resource
import signal
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN, Sparse, descriptor
from tests.engine.driver import MONOLITHIC_FLAT, READ_ONLY, SECTOR, SPLIT_SPARSE, VMFS_THIN, Engine, EngineError
from tests.engine.grain_tables import GRAIN_BYTES, first_grain, grains, header, in_order, with_table_between_grains

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.driver import Progress
    from tests.engine.qemu import Qemu

SECTORS = 65536 * 2 + 77


def shuffled(seed: int, n: int = 60) -> dict[int, int]:
    """Return grains of three tables in the order of their places, and what fills them."""
    choose = random.Random(seed)
    found = choose.sample([*range(n), *range(500, 500 + n), 1023, 1024], n)
    return {grain: 0 if grain % 7 == 0 else grain % 250 + 1 for grain in found}


def noting(told: list[int]) -> Progress:
    """Return a progress function that never cancels."""

    def note(percent: int) -> bool:
        told.append(percent)
        return True

    return note


@pytest.fixture(params=[1, 3, 1000], ids=lambda grains: f"steps of {grains}")
def stepping(
    request: pytest.FixtureRequest, library: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """Load an engine that syncs after so many grains."""
    config = f"openEngine.compactStepBytes={request.param * GRAIN_BYTES}"
    loaded = Engine(library, tmp_path_factory.mktemp("steps"), config)
    yield loaded
    loaded.close()


@pytest.mark.parametrize("seed", range(3))
def test_grains_lie_in_order_afterwards(seed: int, stepping: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """From the first place on, each behind the one before; zeros stay stored; the handle goes on to work."""
    fills = shuffled(seed)
    path = Sparse(sectors=SECTORS, grains=fills).save(tmp_path / "disk.vmdk")
    content, text = stepping.read(path), path.read_bytes()[SECTOR : 21 * SECTOR]
    with stepping.open(path) as disk:
        disk.defragment()
        in_order(path.read_bytes(), sorted(fills))
        assert disk.read(0, SECTORS) == content
        disk.write(300 * GRAIN, b"\x42" * SECTOR)
        disk.flush()
        assert len(grains(path.read_bytes())) == len(fills) + 1
        disk.defragment()
        assert disk.read(300 * GRAIN, 2) == b"\x42" * SECTOR + bytes(SECTOR)
    in_order(path.read_bytes(), sorted([*fills, 300]))
    content[300 * GRAIN_BYTES : 300 * GRAIN_BYTES + SECTOR] = b"\x42" * SECTOR
    qemu.check(path)
    qemu.same(path, bytes(content))
    assert path.read_bytes()[72] == 0
    changed_cid = slice(
        len(b"# Disk DescriptorFile\nversion=1\nCID="), len(b"# Disk DescriptorFile\nversion=1\nCID=") + 8
    )
    after = path.read_bytes()[SECTOR : 21 * SECTOR]
    assert after[changed_cid] != text[changed_cid]  # because of the write


def test_content_id_stays_and_an_ordered_disk_is_not_touched(stepping: Engine, tmp_path: Path) -> None:
    """Content does not change; and a second time nothing is written at all."""
    path = Sparse(sectors=SECTORS, grains=shuffled(9)).save(tmp_path / "disk.vmdk")
    text = path.read_bytes()[SECTOR : 21 * SECTOR]
    with stepping.open(path) as disk:
        disk.defragment()
    assert path.read_bytes()[SECTOR : 21 * SECTOR] == text
    before = path.read_bytes(), path.stat().st_mtime_ns
    with stepping.open(path) as disk:
        disk.defragment()
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_space_that_nothing_leads_to_goes(stepping: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Between grains, and behind the last one."""
    lost = {0: 0, 9: 0}
    path = tmp_path / "disk.vmdk"
    disk = Sparse(sectors=SECTORS, grains={0: 1, 5: 5, 9: 9, 600: 6, 3: 3}, gt_entries=lost, rgt_entries=lost)
    path.write_bytes(disk.build() + b"\x55" * 2 * GRAIN_BYTES)
    content = stepping.read(path)
    with stepping.open(path) as opened:
        opened.defragment()
    in_order(path.read_bytes(), [3, 5, 600])
    qemu.same(path, bytes(content))


def test_tables_between_grains_stay_where_they_are(stepping: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Grains go around them."""
    fills = shuffled(4)
    lost = dict.fromkeys([*fills][10:12], 0)
    image = Sparse(sectors=SECTORS, grains=fills, gt_entries=lost, rgt_entries=lost).build()
    image, moved = with_table_between_grains(image)
    path = tmp_path / "disk.vmdk"
    path.write_bytes(image)
    content, wanted = stepping.read(path), sorted(grains(image))
    with stepping.open(path) as disk:
        disk.defragment()
        assert disk.read(0, SECTORS) == content
    after = path.read_bytes()
    start = first_grain(after)
    places = [place for place in range(start, start + (len(wanted) + 2) * GRAIN, GRAIN) if place not in moved]
    assert list(grains(after).items()) == list(zip(wanted, places, strict=False))
    qemu.same(path, bytes(content))


def test_a_cancelled_defragmentation_loses_nothing(stepping: Engine, tmp_path: Path) -> None:
    """Cancelled at any percentage the disk is whole and no larger than before."""
    fills = shuffled(5, 30)
    image, path = Sparse(sectors=SECTORS, grains=fills).build(), tmp_path / "disk.vmdk"
    path.write_bytes(image)
    content = stepping.read(path)[: 600 * GRAIN_BYTES]
    told: list[int] = []
    with stepping.open(path) as disk:
        disk.defragment(noting(told))
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (0, 100)
    for last in told:
        path.write_bytes(image)
        with stepping.open(path) as disk:
            with pytest.raises(EngineError, match="10:"):
                disk.defragment(last.__gt__)
            assert disk.read(0, 600 * GRAIN) == content
        assert path.stat().st_size <= len(image)
        assert sorted(grains(path.read_bytes())) == sorted(fills)


def test_a_child_keeps_hiding_its_parent(stepping: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Zeros of a child stay; the parent's file is not touched."""
    base = Sparse(sectors=SECTORS, grains=dict.fromkeys(range(30), 153)).save(tmp_path / "base.vmdk")
    keys = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"'}
    text = descriptor(f'RW {SECTORS} SPARSE "disk.vmdk"', **keys)
    fills = shuffled(6, 20)
    path = Sparse(sectors=SECTORS, grains=fills, text=text).save(tmp_path / "disk.vmdk")
    below, content = base.read_bytes(), stepping.read(path)
    with stepping.open(path) as disk:
        disk.defragment()
        assert disk.read(0, SECTORS) == content
    in_order(path.read_bytes(), sorted(fills))
    assert base.read_bytes() == below
    qemu.same(path, bytes(content))


def test_every_extent_of_a_split_disk_is_put_into_order(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Each file by itself."""
    path = engine.create(tmp_path / "disk.vmdk", 4192256 + 5000, SPLIT_SPARSE)
    with engine.open(path) as disk:
        for grain in (9, 4, 7):
            for start in (0, 4192256):
                disk.write(start + grain * GRAIN, bytes([grain]) * GRAIN_BYTES)
        disk.defragment()
        for grain in (9, 4, 7):
            assert disk.read(4192256 + grain * GRAIN, GRAIN) == bytes([grain]) * GRAIN_BYTES
    for file in sorted(tmp_path.glob("disk-s*")):
        in_order(file.read_bytes(), [4, 7, 9])
    qemu.check(path)


def test_flat_disks_are_in_order_as_they_are(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Nothing is done, for reading neither; formats that are only read and handles that only read are refused."""
    told: list[int] = []
    for disk_type in (MONOLITHIC_FLAT, VMFS_THIN):
        path = engine.create(tmp_path / f"flat{disk_type}.vmdk", 1000, disk_type)
        for flags in (0, READ_ONLY):
            with engine.open(path, flags) as disk:
                disk.defragment(noting(told))
    assert told == [0, 100] * 4
    sparse = engine.create(tmp_path / "sparse.vmdk", 1000)
    stream = qemu.create(tmp_path / "stream.vmdk", 1000 * SECTOR, "subformat=streamOptimized")
    for path, code in ((sparse, 13), (stream, 6)):
        with engine.open(path, READ_ONLY) as disk:
            assert engine.code("Defragment", disk.handle, None, None) == code


def test_a_file_that_cannot_grow_is_left_as_large_as_it_was(engine: Engine, tmp_path: Path) -> None:
    """Sorting needs room for grains that are in the way; without it nothing is lost and nothing left behind."""
    path = Sparse(sectors=SECTORS, grains=shuffled(3)).save(tmp_path / "disk.vmdk")
    image, content = path.read_bytes(), engine.read(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    with engine.open(path) as disk:
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(image), before[1]))
        try:
            with pytest.raises(EngineError, match="cannot write"):
                disk.defragment()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
            signal.signal(signal.SIGXFSZ, handler)
        assert path.stat().st_size == len(image)
        assert disk.read(0, SECTORS) == content
        disk.defragment()
    in_order(path.read_bytes(), sorted(shuffled(3)))


def test_copies_of_tables_are_compared_on_disks_too_large_to_look_through_at_opening(
    engine: Engine, tmp_path: Path
) -> None:
    """A redundant table that differs is for CheckRepair; without it the grains are moved."""
    path = engine.create(tmp_path / "disk.vmdk", 3 << 30)
    with engine.open(path) as disk:
        for grain in (9 << 20, 4):
            disk.write(grain * GRAIN, b"\x11" * SECTOR)
    with path.open("r+b") as file:
        fields = header(file.read(SECTOR))
        place = (fields["rgd_offset"] * SECTOR) + -(-4 * fields["capacity"] // (GRAIN * 512) // SECTOR) * SECTOR + 40
        for value, code in ((b"\1\2\0\0", 16006), (bytes(4), 0)):
            file.seek(place)
            file.write(value)
            file.flush()
            with engine.open(path) as disk:
                assert engine.code("Defragment", disk.handle, None, None) == code
    with engine.open(path) as disk:
        assert disk.read(4 * GRAIN, 1) == disk.read((9 << 20) * GRAIN, 1) == b"\x11" * SECTOR


def test_holes_of_the_file_take_no_memory(engine: Engine, tmp_path: Path) -> None:
    """A file that claims 256 GiB of grains is compacted in the memory that its grains need."""
    path = Sparse(header={"grain_size": 8}).save(tmp_path / "disk.vmdk")
    with path.open("r+b") as file:
        file.truncate(1 << 38)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with engine.open(path) as disk:
        disk.defragment()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
    assert path.stat().st_size < 1 << 20
