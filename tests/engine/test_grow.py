"""Grow: more sectors behind the end, zeros in them, everything else as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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
