"""Other programs read what the engine writes, format by format."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.conformance.disks import KIB, MIB, SUBFORMATS, make_raw, run
from tests.conformance.readers import READERS
from tests.engine.driver import (
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    SECTOR,
    SPLIT_FLAT,
    SPLIT_SPARSE,
    STREAM_OPTIMIZED,
    VMFS_FLAT,
    VMFS_THIN,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Disk, Engine

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # dissect's

CREATED = """
                          qemu-img  libvmdk  dissect  7-Zip
monolithicSparse          reads     reads    reads    reads
monolithicFlat            reads     reads    reads    reads
twoGbMaxExtentSparse      reads     reads    reads    reads
twoGbMaxExtentFlat        reads     reads    reads    reads
vmfs                      reads     reads    reads    reads
vmfs,thin                 reads     reads    reads    reads
streamOptimized           reads     reads    reads    reads
monolithicSparse,odd      reads     reads    -        reads
twoGbMaxExtentSparse,odd  reads     reads    -        reads
monolithicFlat,odd        reads     reads    -        reads
"""
"""Who reads what. "-": it fails, or gives other bytes, and the fault is its own: dissect reads 8 KiB at a time and
fails at the end of a disk of another size, such as the odd one."""

TYPES = {
    "monolithicSparse": MONOLITHIC_SPARSE,
    "monolithicFlat": MONOLITHIC_FLAT,
    "twoGbMaxExtentSparse": SPLIT_SPARSE,
    "twoGbMaxExtentFlat": SPLIT_FLAT,
    "vmfs": VMFS_FLAT,
    "vmfs,thin": VMFS_THIN,
    "streamOptimized": STREAM_OPTIMIZED,
}

CHANGED = """
                          qemu-img  libvmdk  dissect  7-Zip
shrunk                    reads     reads    reads    reads
shrunk,split              reads     reads    reads    reads
defragmented              reads     reads    reads    reads
defragmented,split        reads     reads    reads    reads
cloned,monolithicSparse   reads     reads    reads    reads
cloned,twoGbMaxExtentFlat reads     reads    reads    reads
cloned,streamOptimized    reads     reads    reads    reads
grown                     reads     reads    reads    reads
grown,split               reads     reads    reads    reads
grown,flat                reads     reads    reads    reads
child                     reads     reads    reads    -
child,grandchild          reads     reads    reads    -
"""
"""7-Zip knows no parents."""

SIZE = 40 * MIB
ODD_SIZE = SIZE + 3 * KIB + SECTOR


def cells(table: str) -> list[tuple[str, str]]:
    """Return (row, reader) of every cell that says "reads"."""
    head, *rows = (line.split() for line in table.strip().splitlines())
    return [(row[0], name) for row in rows for name, cell in zip(head, row[1:], strict=True) if cell == "reads"]


def assert_reads(reader: str, path: Path, content: bytes) -> None:
    """Check that a program sees these bytes and no more."""
    with READERS[reader](path) as stream:
        stream.seek(0)
        assert stream.read(len(content)) == content
        assert stream.read(1) == b""


def fill(disk: Disk, size: int, *, seed: int = 0) -> bytes:
    """Write in parts of grains, across grains, tables and to the last sector; return the whole content."""
    generator = random.Random(seed)
    content = bytearray(size)
    for start, length in ((0, SECTOR), (60 * KIB, 9 * KIB), (MIB, 200 * KIB), (32 * MIB - 5 * KIB, 10 * KIB)):
        content[start : start + length] = generator.randbytes(length)
        disk.write(start // SECTOR, bytes(content[start : start + length]))
    content[-SECTOR:] = generator.randbytes(SECTOR)
    disk.write(size // SECTOR - 1, bytes(content[-SECTOR:]))
    return bytes(content)


def pour(disk: Disk, size: int) -> bytes:
    """Write everything once, from front to back; return it."""
    content = random.Random(2).randbytes(3 * MIB) + bytes(size - 6 * MIB) + b"stream" * (MIB // 2)
    for start in range(0, size, MIB):
        disk.write(start // SECTOR, content[start : start + MIB])
    return content


def make(engine: Engine, path: Path, form: str) -> bytes:
    """Create and fill a disk of a row of CREATED; return its content."""
    size = ODD_SIZE if form.endswith(",odd") else SIZE
    engine.create(path, size // SECTOR, TYPES[form.removesuffix(",odd")])
    with engine.open(path) as disk:
        return pour(disk, size) if form == "streamOptimized" else fill(disk, size)


def make_chain(engine: Engine, path: Path, links: int) -> bytes:
    """Make a chain of ``links`` with the last one at ``path``; return its content."""
    below = path.with_stem("base")
    content = bytearray(make(engine, below, "monolithicSparse"))
    for number in range(2, links + 1):
        above = path if number == links else path.with_stem(f"link{number}")
        with engine.open(below) as disk:
            disk.create_child(above)
        with engine.open(above) as disk:
            start, data = number * 5 * MIB + SECTOR, random.Random(number).randbytes(100 * KIB)
            disk.write(start // SECTOR, data)
            content[start : start + len(data)] = data
        below = above
    return bytes(content)


def make_grown(engine: Engine, path: Path, kind: str) -> bytes:
    """Make a disk that was grown and written to behind its old end; return its content."""
    types = {"": "monolithicSparse", "split": "twoGbMaxExtentSparse", "flat": "monolithicFlat"}
    content = make(engine, path, types[kind])
    engine.grow(path, 2 * SIZE // SECTOR)
    with engine.open(path) as disk:
        disk.write(2 * SIZE // SECTOR - 1, b"\xee" * SECTOR)
    return content + bytes(SIZE - SECTOR) + b"\xee" * SECTOR


def make_changed(engine: Engine, path: Path, form: str) -> bytes:
    """Make a disk of a row of CHANGED; return its content."""
    change, _, kind = form.partition(",")
    if change == "grown":
        return make_grown(engine, path, kind)
    if change == "child":
        return make_chain(engine, path, 3 if kind else 2)
    source = path.with_stem("source") if change == "cloned" else path
    content = bytearray(make(engine, source, "twoGbMaxExtentSparse" if kind == "split" else "monolithicSparse"))
    if change == "cloned":
        engine.clone(path, source, TYPES[kind])
        return bytes(content)
    with engine.open(path) as disk:
        disk.write(20 * MIB // SECTOR, b"later" * (64 * KIB))
        content[20 * MIB : 20 * MIB + 320 * KIB] = b"later" * (64 * KIB)
        disk.write(MIB // SECTOR, bytes(192 * KIB))
        content[MIB : MIB + 192 * KIB] = bytes(192 * KIB)
        if change == "shrunk":
            disk.shrink()
        else:
            disk.defragment()
    return bytes(content)


@pytest.mark.parametrize(("form", "reader"), cells(CREATED))
def test_a_created_disk_reads_everywhere(form: str, reader: str, engine: Engine, tmp_path: Path) -> None:
    """Byte for byte, and with the same size."""
    path = tmp_path / "disk.vmdk"
    assert_reads(reader, path, make(engine, path, form))


@pytest.mark.parametrize(("form", "reader"), cells(CHANGED))
def test_a_changed_disk_reads_everywhere(form: str, reader: str, engine: Engine, tmp_path: Path) -> None:
    """What moves grains or rewrites tables keeps to the format."""
    path = tmp_path / "disk.vmdk"
    assert_reads(reader, path, make_changed(engine, path, form))


CHECKED = ["monolithicSparse", "twoGbMaxExtentSparse", "monolithicSparse,odd", *dict(cells(CHANGED))]


@pytest.mark.parametrize("form", CHECKED)
def test_qemu_img_finds_no_fault(form: str, engine: Engine, qemu_img: str, tmp_path: Path) -> None:
    """Tables inside of the file, every grain once."""
    path = tmp_path / "disk.vmdk"
    (make if form.removesuffix(",odd") in TYPES else make_changed)(engine, path, form)
    if not form.lower().endswith("flat"):  # it has no check for these
        run(qemu_img, "check", "-q", "-f", "vmdk", path)


QEMU_WRITES = {
    **{name: [f"subformat={name}"] for name in SUBFORMATS},
    "streamOptimized": ["subformat=streamOptimized"],
    "SCSI": ["subformat=monolithicSparse", "adapter_type=lsilogic", "hwversion=13"],
    "version 2": ["subformat=monolithicSparse", "zeroed_grain=on"],
}


@pytest.mark.parametrize("form", QEMU_WRITES)
@pytest.mark.parametrize("size", [SIZE, ODD_SIZE], ids=["even", "odd"])
def test_what_qemu_img_writes_reads_as_it_was(
    form: str, size: int, engine: Engine, qemu_img: str, tmp_path: Path
) -> None:
    """Every subformat that it knows, and the options that change the header or the descriptor."""
    raw, path = make_raw(tmp_path / "disk.raw", size), tmp_path / "disk.vmdk"
    options = [word for option in QEMU_WRITES[form] for word in ("-o", option)]
    run(qemu_img, "convert", "-f", "raw", "-O", "vmdk", *options, raw, path)
    assert engine.read(path) == raw.read_bytes()


@pytest.mark.parametrize("reader", ["qemu-img", "libvmdk", "dissect"])
def test_many_extents_are_one_disk(reader: str, engine: Engine, tmp_path: Path) -> None:
    """Data that begins in one file and ends in the next is found where it belongs."""
    path, seam, mark = tmp_path / "disk.vmdk", 4192256 * SECTOR, random.Random(1).randbytes(96 * KIB)
    engine.create(path, (5 << 30) // SECTOR, SPLIT_SPARSE)
    with engine.open(path) as disk:
        for number in (1, 2):
            disk.write((number * seam - 48 * KIB) // SECTOR, mark)
    with READERS[reader](path) as stream:
        for number in (1, 2):
            stream.seek(number * seam - 64 * KIB)
            assert stream.read(128 * KIB) == bytes(16 * KIB) + mark + bytes(16 * KIB)
        stream.seek(5 << 30)
        assert stream.read(1) == b""
