"""Grow: more sectors behind the end, zeros in them, everything else as it was."""

from __future__ import annotations

import resource
import signal
import struct
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import (
    IDE,
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    VMFS_FLAT,
    VMFS_THIN,
    EngineError,
    names,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SPLIT = 4192256
TYPES = {
    "sparse": MONOLITHIC_SPARSE,
    "flat": MONOLITHIC_FLAT,
    "split sparse": SPLIT_SPARSE,
    "split flat": SPLIT_FLAT,
    "vmfs": VMFS_FLAT,
    "thin": VMFS_THIN,
}
SIZES = [(1000, 1001), (1000, 65536), (65536, 65537), (70000, 16 * 65536 * 128 + 5)]
"""In the last grain, in the last table, another table, a directory of another size."""


def filled(engine: Engine, path: Path, disk_type: int, sectors: int) -> tuple[Path, bytes]:
    """Create a disk with data at both ends; return its last sector."""
    engine.create(path, sectors, disk_type)
    last = bytes([sectors % 255 + 1]) * SECTOR
    with engine.open(path) as disk:
        disk.write(0, b"\x01" * SECTOR)
        disk.write(sectors - 1, last)
    return path, last


def state(folder: Path) -> dict[str, bytes]:
    """Return all files; large ones as their size."""
    return {
        file.name: file.read_bytes() if file.stat().st_size < 1 << 21 else struct.pack("<Q", file.stat().st_size)
        for file in folder.iterdir()
    }


def refused(engine: Engine, path: Path, sectors: int) -> EngineError:
    """Grow, which must fail and leave every byte as it was."""
    before = state(path.parent)
    with pytest.raises(EngineError) as caught:
        engine.grow(path, sectors)
    assert state(path.parent) == before
    return caught.value


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("name", [name for name in TYPES if name not in ("flat", "vmfs")])
def test_a_grown_disk_has_its_data_and_zeros_behind(
    name: str, sizes: tuple[int, int], engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """It is written to at its new end, grown again, and QEMU agrees about all of it."""
    old, new = sizes
    if name == "split flat" and new > 1 << 22:
        new = SPLIT + 5  # what it takes on storage
    path, last = filled(engine, tmp_path / "d.vmdk", TYPES[name], old)
    files = names(tmp_path)
    for before, sectors in ((old, new), (new, new + 9)):
        engine.grow(path, sectors)
        with engine.open(path) as disk:
            assert disk.capacity == sectors
            assert disk.read(0, 1) == b"\x01" * SECTOR
            assert disk.read(old - 1, 1) == last
            assert not any(disk.read(before, min(sectors - before, 200)))
            disk.write(sectors - 1, b"\x03" * SECTOR)
            assert disk.read(sectors - 1, 1) == b"\x03" * SECTOR
        assert qemu.info(path)["virtual-size"] == sectors * SECTOR
        if "sparse" in name:
            qemu.check(path)
        if sectors < 1 << 18:
            qemu.same(path, bytes(engine.read(path)))
    if "split" not in name:
        assert names(tmp_path) == files


@pytest.mark.parametrize("name", ["flat", "vmfs", "thin"])
def test_a_flat_disk_is_reserved_on_storage_unless_it_is_thin(name: str, engine: Engine, tmp_path: Path) -> None:
    """As when it is created."""
    path, _ = filled(engine, tmp_path / "d.vmdk", TYPES[name], 1000)
    engine.grow(path, 20000)
    extent = (tmp_path / "d-flat.vmdk").stat()
    assert extent.st_size == 20000 * SECTOR
    assert (extent.st_blocks >= 19000) is (name != "thin")


def lines(path: Path) -> list[str]:
    """Return the extent lines."""
    return [line for line in path.read_text().splitlines() if line.startswith("RW")]


def test_split_disks_fill_their_last_extent_and_get_more(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Each extent has the size at which the disk is split; new ones count on."""
    path, last = filled(engine, tmp_path / "d.vmdk", SPLIT_SPARSE, SPLIT + 8)
    engine.grow(path, 4 * SPLIT + 16)
    assert lines(path) == [
        *(f'RW {SPLIT} SPARSE "d-s00{i}.vmdk"' for i in (1, 2, 3, 4)),
        'RW 16 SPARSE "d-s005.vmdk"',
    ]
    assert names(tmp_path) == [*(f"d-s00{i}.vmdk" for i in (1, 2, 3, 4, 5)), "d.vmdk"]
    with engine.open(path) as disk:
        assert disk.read(SPLIT + 7, 2) == last + bytes(SECTOR)
        for sector in (2 * SPLIT - 1, 3 * SPLIT, 4 * SPLIT + 15):
            disk.write(sector, b"x" * SECTOR)
    qemu.check(path)
    engine.unlink(path)
    assert names(tmp_path) == []


@pytest.mark.parametrize(("subformat", "kind"), [("twoGbMaxExtentSparse", "SPARSE"), ("twoGbMaxExtentFlat", "FLAT")])
def test_a_disk_of_qemu_stays_split_as_it_was(
    subformat: str, kind: str, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """2 GiB instead of 2047 MiB; a single extent that is larger than VMware's is not cut."""
    offset = " 0" if kind == "FLAT" else ""
    for size in (4194304, 4194304 + 8):
        path = qemu.create(tmp_path / f"{size}.vmdk", size * SECTOR, f"subformat={subformat}")
        engine.grow(path, 2 * 4194304 + 8)
        assert [line.split('"')[0] for line in lines(path)] == [f"RW 4194304 {kind} "] * 2 + [f"RW 8 {kind} "]
        assert all(line.endswith(f'.vmdk"{offset}') for line in lines(path))
        assert qemu.info(path)["virtual-size"] == (2 * 4194304 + 8) * SECTOR


@pytest.mark.parametrize("grain", ["", ",zeroed_grain=on"])
def test_a_sparse_disk_of_qemu_grows(grain: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Its content is the same, in QEMU as well."""
    path = qemu.create(tmp_path / "d.vmdk", 33 << 20, f"subformat=monolithicSparse{grain}")
    qemu.write(path, (1 << 20, 65536, 7), ((33 << 20) - 512, 512, 8))
    content = bytes(engine.read(path))
    engine.grow(path, 200000)
    grown = content + bytes(200000 * SECTOR - len(content))
    assert bytes(engine.read(path)) == grown
    qemu.same(path, grown)
    qemu.check(path)


def test_geometry_follows_in_cylinders_only_and_only_if_asked(engine: Engine, tmp_path: Path) -> None:
    """Heads and sectors stay; IDE ends at 16383; the content id is a new one."""
    for adapter, old, new, geometry in (
        (3, 204800, 409600, (200, 64, 32)),
        (IDE, 204800, 1 << 25, (16383, 16, 63)),
    ):
        path = engine.create(tmp_path / f"{adapter}.vmdk", old, VMFS_THIN, adapter=adapter)
        with engine.open(path, READ_ONLY) as disk:
            before, content_id = disk.info()["geometry"], disk.metadata("longContentID")
        engine.grow(path, new - 8, geometry=False)
        with engine.open(path, READ_ONLY) as disk:
            assert disk.info()["geometry"] == before
            assert disk.metadata("longContentID") != content_id
        engine.grow(path, new)
        with engine.open(path, READ_ONLY) as disk:
            assert disk.info()["geometry"] == geometry
            assert disk.metadata("longContentID")[-8:] in path.read_text().split("parentCID")[0]


@pytest.mark.parametrize("name", TYPES)
def test_the_same_size_changes_nothing_and_a_smaller_one_is_refused(name: str, engine: Engine, tmp_path: Path) -> None:
    """Not a byte; 3."""
    path, _ = filled(engine, tmp_path / "d.vmdk", TYPES[name], 1000)
    before = state(tmp_path)
    engine.grow(path, 1000)
    assert state(tmp_path) == before
    for sectors in (999, 0, (1 << 40) + 1, (1 << 64) - 1):
        assert refused(engine, path, sectors).code == 3


def test_chains_do_not_grow(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """A child must be as large as its parent; a parent's children could not be opened any more."""
    base = qemu.create(tmp_path / "base.vmdk", 1 << 20)
    top = qemu.create(tmp_path / "top.vmdk", 1 << 20, backing="base.vmdk")
    for path, told in ((top, "parent"), (base, "top.vmdk")):
        error = refused(engine, path, 4096)
        assert error.code == 6
        assert told in error.text
    top.unlink()
    engine.grow(base, 4096)


def test_what_cannot_grow_is_refused(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """In use, only readable, too large for a sparse file, of parts, no disk."""
    path, _ = filled(engine, tmp_path / "d.vmdk", MONOLITHIC_SPARSE, 1000)
    with engine.open(path), pytest.raises(EngineError) as caught:
        engine.grow(path, 2000)
    assert caught.value.code == 15
    assert refused(engine, path, (1 << 32) + 1).code == 21
    stream = qemu.create(tmp_path / "stream.vmdk", 1 << 20, "subformat=streamOptimized")
    assert refused(engine, stream, 4096).code == 6
    parts = [flat_line(64), flat_line(64, offset=" 64")]
    assert refused(engine, flat(tmp_path, descriptor(*parts, create_type="custom")), 4096).code == 16013
    assert refused(engine, tmp_path / "no.vmdk", 4096).code == 4


@pytest.mark.parametrize("name", TYPES)
def test_progress_rises_to_100_and_cancelling_leaves_everything_as_it_was(
    name: str, engine: Engine, tmp_path: Path
) -> None:
    """At whatever call; no new extent, no longer file, no changed byte."""
    path, _ = filled(engine, tmp_path / "d.vmdk", TYPES[name], 1000)
    before = state(tmp_path)
    told: list[int] = []

    def note(percent: int) -> bool:
        told.append(percent)
        return percent != 100

    with pytest.raises(EngineError):
        engine.grow(path, SPLIT + 1000, progress=note)
    assert state(tmp_path) == before
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (0, 100)
    for last in told:
        with pytest.raises(EngineError) as caught:
            engine.grow(path, SPLIT + 1000, progress=last.__gt__)
        assert caught.value.code == 10
        assert state(tmp_path) == before


@pytest.mark.parametrize("name", TYPES)
def test_a_failure_on_the_way_leaves_everything_as_it_was(name: str, engine: Engine, tmp_path: Path) -> None:
    """A limit on the size of files, met at the last extent or at a new one."""
    path, _ = filled(engine, tmp_path / "d.vmdk", TYPES[name], 1000)
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, limit[1]))
    try:
        assert refused(engine, path, 2 * SPLIT).code == 21
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, handler)
    engine.grow(path, 2000)


def test_an_extent_that_is_there_already_is_not_touched(engine: Engine, tmp_path: Path) -> None:
    """12, and its name; what an interrupted call left under its temporary name is removed."""
    path, _ = filled(engine, tmp_path / "d.vmdk", SPLIT_SPARSE, 1000)
    (tmp_path / "d-s002.vmdk").write_bytes(b"mine")
    error = refused(engine, path, SPLIT + 8)
    assert error.code == 12
    assert "d-s002.vmdk" in error.text
    (tmp_path / "d-s002.vmdk").rename(tmp_path / ".d-s002.vmdk.new")
    engine.grow(path, SPLIT + 8)
    assert names(tmp_path) == ["d-s001.vmdk", "d-s002.vmdk", "d.vmdk"]


def test_what_lay_behind_the_end_never_becomes_content(engine: Engine, tmp_path: Path) -> None:
    """The rest of the last grain is cleared; grains and bytes that nobody can explain refuse the call."""
    path = Sparse(sectors=200, grains={0: 1, 1: 2}).save(tmp_path / "d.vmdk")
    engine.grow(path, 300)
    assert bytes(engine.read(path)) == b"\1" * 65536 + b"\2" * (72 * SECTOR) + bytes(100 * SECTOR)
    path = Sparse(sectors=200, grains={0: 1, 5: 2}).save(tmp_path / "e.vmdk")
    assert refused(engine, path, 1000).code == 16006
    path = flat(tmp_path, descriptor(flat_line(100), create_type="monolithicFlat"))
    assert refused(engine, path, 1000).code == 16063
    with (tmp_path / "disk-flat.vmdk").open("r+b") as file:
        file.truncate(100 * SECTOR)
        file.truncate(200 * SECTOR)
    engine.grow(path, 1000)
    assert bytes(engine.read(path)) == b"\xaa" * (100 * SECTOR) + bytes(900 * SECTOR)


def test_a_growth_that_was_interrupted_is_taken_back(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The header is ahead of the extent line and says that its writer is at work; without that it is refused."""
    for unclean in (1, 0):
        header: dict[str, int | bytes] = {"capacity": 20000, "unclean": unclean}
        path = Sparse(sectors=8192, header=header).save(tmp_path / f"{unclean}.vmdk")
        if not unclean:
            assert refused(engine, path, 20000).code == 16063
            continue
        with engine.open(path, READ_ONLY) as disk:
            assert disk.capacity == 8192
        with engine.open(path) as disk:
            assert disk.read(0, 8192) == Sparse().content()
        assert struct.unpack_from("<Q", path.read_bytes(), 12) == (8192,)
        assert path.read_bytes()[72] == 0
        qemu.same(path, Sparse().content())
        engine.grow(path, 20000)
        qemu.same(path, Sparse().content() + bytes((20000 - 8192) * SECTOR))
