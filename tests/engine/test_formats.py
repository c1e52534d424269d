"""Every format, against QEMU: what it writes we read, what we write it reads."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor, flat, flat_line
from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    VMFS_FLAT,
    VMFS_THIN,
    EngineError,
)
from tests.engine.qemu import SUBFORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

MIB = 1 << 20
TYPES = {
    "monolithic sparse": MONOLITHIC_SPARSE,
    "monolithic flat": MONOLITHIC_FLAT,
    "split sparse": SPLIT_SPARSE,
    "split flat": SPLIT_FLAT,
    "VMFS flat": VMFS_FLAT,
    "VMFS thin": VMFS_THIN,
}
ODD_SIZE = 33 * MIB + 5 * SECTOR  # two tables, the last grain a fraction
PATTERN = ((0, 512, 1), (65536, 65536, 2), (3 * MIB + 512, 3 * MIB, 3), (ODD_SIZE - 1024, 1024, 4))


def patterned() -> bytes:
    """Return a disk of ODD_SIZE with PATTERN."""
    disk = bytearray(ODD_SIZE)
    for offset, length, fill in PATTERN:
        disk[offset : offset + length] = bytes([fill]) * length
    return bytes(disk)


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_a_disk_that_qemu_filled_reads_byte_for_byte(
    subformat: str, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """Each format that QEMU writes and we support."""
    path = qemu.create(tmp_path / "disk.vmdk", ODD_SIZE, f"subformat={subformat}")
    qemu.write(path, *PATTERN)
    assert engine.read(path) == patterned()


@pytest.mark.parametrize("subformat", SUBFORMATS)
def test_qemu_reads_what_we_write_into_its_disks(subformat: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Writing on keeps the file sound."""
    path = qemu.create(tmp_path / "disk.vmdk", ODD_SIZE, f"subformat={subformat}")
    qemu.write(path, PATTERN[0])
    with engine.open(path) as disk:
        for offset, length, fill in PATTERN[1:]:
            disk.write(offset // SECTOR, bytes([fill]) * length)
    qemu.check(path)
    qemu.same(path, patterned())


@pytest.mark.parametrize("name", TYPES)
def test_qemu_reads_the_disks_we_create_and_fill(name: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Each type that we create."""
    path = engine.create(tmp_path / "disk.vmdk", ODD_SIZE // SECTOR, TYPES[name])
    with engine.open(path) as disk:
        for offset, length, fill in PATTERN:
            disk.write(offset // SECTOR, bytes([fill]) * length)
    qemu.check(path)
    qemu.same(path, patterned())
    assert engine.read(path) == patterned()


@pytest.mark.parametrize("name", TYPES)
def test_qemu_writes_into_the_disks_we_create(name: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Its writes are found again by us."""
    path = engine.create(tmp_path / "disk.vmdk", ODD_SIZE // SECTOR, TYPES[name])
    qemu.write(path, *PATTERN)
    qemu.check(path)
    assert engine.read(path) == patterned()


@pytest.mark.parametrize("disk_type", [SPLIT_SPARSE, SPLIT_FLAT], ids=["sparse", "flat"])
def test_a_split_disk_continues_over_the_border_of_its_extents(
    disk_type: int, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """One call reads and writes both sides; a foreign split size is as good as ours."""
    border = {SPLIT_SPARSE: 4192256, SPLIT_FLAT: 4194304}[disk_type]
    path = tmp_path / "disk.vmdk"
    if disk_type == SPLIT_SPARSE:
        engine.create(path, 2 * border + 1000, disk_type)
    else:
        qemu.create(path, (2 * border + 1000) * SECTOR, "subformat=twoGbMaxExtentFlat")
    data = random.Random(1).randbytes(600 * SECTOR)
    with engine.open(path) as disk:
        disk.write(border - 300, data)
        disk.write(2 * border + 999, data[:SECTOR])
        assert disk.read(border - 300, 600) == data
        assert disk.capacity == 2 * border + 1000
    qemu.check(path)
    with engine.open(path, READ_ONLY) as disk:
        assert disk.read(border - 301, 602) == bytes(SECTOR) + data + bytes(SECTOR)
        assert disk.read(2 * border + 999, 1) == data[:SECTOR]
        areas = disk.allocated()
    assert any(start <= border - 300 and border + 300 <= start + count for start, count in areas)
    assert sum(count for _, count in areas) < 2000


@pytest.mark.parametrize("spelling", ["twoGbMaxExtent", "2GbMaxExtent"])
def test_both_spellings_of_the_split_types_are_read(spelling: str, engine: Engine, tmp_path: Path) -> None:
    """Older documents write the number as a digit."""
    text = descriptor(flat_line(100), flat_line(28, offset=" 100"), create_type=f"{spelling}Flat")
    assert engine.read(flat(tmp_path, text)) == b"\xaa" * 65536
    Sparse().save(tmp_path / "disk-s001.vmdk")
    raw = Sparse(text="").save(tmp_path / "disk-s001.vmdk")
    assert raw.exists()
    sparse = descriptor('RW 8192 SPARSE "disk-s001.vmdk"', create_type=f"{spelling}Sparse")
    assert engine.read(flat(tmp_path, sparse, file="")) == Sparse().content()


TOLERATED = {
    "line ends of Windows": lambda text: text.replace("\n", "\r\n"),
    "zeros behind the text": lambda text: text + "\0" * 500,
    "blanks at the end of lines": lambda text: text.replace("\n", "  \n"),
    "blanks before the extent": lambda text: text.replace("RW ", "  RW "),
    "tabs in the extent line": lambda text: text.replace("RW 128 ", "RW\t128\t"),
    "byte order mark": lambda text: "\ufeff" + text,
    "blank first line": lambda text: "\n" + text,
    "no signature line": lambda text: text.partition("\n")[2],
    "blanks around equals": lambda text: text.replace("createType=", "createType = "),
    "lower case": lambda text: text.lower(),
    "encoding and unknown keys": lambda text: text.replace("CID=1", 'encoding="GBK"\nfoo="b=r"\nCID=1', 1),
    "parentCID first": lambda text: text.replace(
        "CID=12345678\nparentCID=ffffffff", "parentCID=ffffffff\nCID=12345678"
    ),
    "no line end at the end": lambda text: text.rstrip("\n"),
    "no offset": lambda text: text.replace('.vmdk" 0', '.vmdk"'),
    "VMFS with offset": lambda text: text.replace("FLAT", "VMFS").replace("monolithicFlat", "vmfs"),
    "version 3": lambda text: text.replace("version=1", "version=3"),
    "thin type of ESX": lambda text: text.replace("FLAT", "VMFS").replace("monolithicFlat", "vmfsThin"),
    "name with a blank and an umlaut": lambda text: text.replace("disk-flat", "d\u00efsk flat"),
}


@pytest.mark.parametrize("case", TOLERATED)
def test_descriptors_as_other_programs_write_them_are_read(case: str, engine: Engine, tmp_path: Path) -> None:
    """Harmless differences in the text make no difference."""
    text = TOLERATED[case](descriptor(flat_line(), create_type="monolithicFlat"))
    (tmp_path / "d\u00efsk flat.vmdk").write_bytes(b"\xaa" * 65536)
    assert engine.read(flat(tmp_path, text)) == b"\xaa" * 65536


def test_zero_extents_read_as_zeros_and_refuse_writes(engine: Engine, tmp_path: Path) -> None:
    """They take part in the size of the disk, and are no allocated area."""
    text = descriptor(flat_line(128), "RW 256 ZERO", flat_line(128, file="b-flat.vmdk"), create_type="custom")
    (tmp_path / "b-flat.vmdk").write_bytes(b"\xbb" * 65536)
    path = flat(tmp_path, text)
    with engine.open(path) as disk:
        assert disk.read(0, 512) == b"\xaa" * 65536 + bytes(2 * 65536) + b"\xbb" * 65536
        assert disk.allocated() == [(0, 128), (384, 128)]
        disk.write(384, bytes(65536))
        with pytest.raises(EngineError) as caught:
            disk.write(300, bytes(SECTOR))
    assert caught.value.code == 11


def test_zeroed_grains_read_as_zeros_and_are_written_over(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Version 2, where an entry of 1 means zeros."""
    path = qemu.create(tmp_path / "disk.vmdk", 4 * MIB, "zeroed_grain=on")
    qemu.write(path, (0, 4 * 65536, 7))
    qemu._run(qemu.io, "-f", "vmdk", "-c", "write -z 65536 65536", path)
    expected = bytearray(4 * MIB)
    expected[: 4 * 65536] = b"\7" * 4 * 65536
    expected[65536 : 2 * 65536] = bytes(65536)
    assert engine.read(path) == expected
    with engine.open(path) as disk:
        assert disk.allocated() == [(0, 128), (256, 256)]
        disk.write(130, b"\5" * SECTOR)
    expected[130 * SECTOR : 131 * SECTOR] = b"\5" * SECTOR
    qemu.check(path)
    qemu.same(path, bytes(expected))


@pytest.mark.parametrize("grain", [8, 16, 512, 2048])
def test_other_grain_sizes_are_read_and_written(grain: int, engine: Engine, tmp_path: Path) -> None:
    """Powers of two from 4 KiB to 1 MiB."""
    sectors = 3 * grain * 512
    tables = 3
    fields: dict[str, int | bytes] = {"grain_size": grain}
    first = 21 + 2 * (1 + tables * 4)
    overhead = -(-first // grain) * grain
    text = descriptor(f'RW {sectors} SPARSE "disk.vmdk"')
    disk = Sparse(
        sectors=tables * 65536, grains={}, header={**fields, "capacity": sectors, "overhead": overhead}, text=text
    )
    disk.size = overhead * SECTOR
    path = disk.save(tmp_path / "disk.vmdk")
    data = random.Random(grain).randbytes((grain + 10) * SECTOR)
    with engine.open(path) as opened:
        opened.write(grain * 512 - 5, data)
        assert opened.read(grain * 512 - 6, grain + 12) == bytes(SECTOR) + data + bytes(SECTOR)
    with engine.open(path, READ_ONLY) as opened:
        assert opened.read(grain * 512 - 6, grain + 12) == bytes(SECTOR) + data + bytes(SECTOR)


def test_a_directory_without_tables_gets_them_when_it_is_written_to(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Tables may be missing where nothing was written; the new ones go to the end of the file, never to its start."""
    disk = Sparse(sectors=1 << 17, gd_entries={1: 0}, rgd_entries={1: 0})
    path = disk.save(tmp_path / "disk.vmdk")
    expected = bytearray(disk.content())
    with engine.open(path) as opened:
        assert opened.read(65536, 65536) == bytes(65536 * SECTOR)
        opened.write(65537, b"x" * SECTOR)
        opened.write(0, b"y" * SECTOR)
    expected[65537 * SECTOR : 65538 * SECTOR] = b"x" * SECTOR
    expected[:SECTOR] = b"y" * SECTOR
    assert engine.read(path) == expected
    assert engine.open_error(path, 0) is None
    qemu.check(path)
    qemu.same(path, bytes(expected))


def test_both_copies_of_the_tables_are_kept_equal(engine: Engine, tmp_path: Path) -> None:
    """VirtualBox refuses a disk whose copies differ."""
    path = engine.create(tmp_path / "disk.vmdk", 1 << 17)
    with engine.open(path) as disk:
        disk.write(5, b"x" * SECTOR)
        disk.write(65536 * 1 + 700, b"x" * SECTOR)
    image = path.read_bytes()
    redundant, directory = struct.unpack_from("<QQ", image, 48)
    for table in range(2):
        (first,) = struct.unpack_from("<I", image, redundant * SECTOR + 4 * table)
        (second,) = struct.unpack_from("<I", image, directory * SECTOR + 4 * table)
        assert first != second
        copy = image[first * SECTOR : first * SECTOR + 2048]
        assert copy == image[second * SECTOR : second * SECTOR + 2048]
        assert any(copy)
