"""CheckRepair of sparse disks: what is found, what a repair makes of it, and that a check alone writes nothing."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN, SECTOR, Sparse, descriptor
from tests.engine.driver import READ_ONLY, SPLIT_SPARSE, EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

NEEDS_REPAIR, CANNOT_REPAIR, INVALID_DISK, IN_USE = 16006, 16062, 16063, 15
GRAIN_BYTES = GRAIN * SECTOR
BEYOND = 1 << 20  # a sector behind the end of the crafted files
TWO_TABLES = 2 * 65536
FULL = {0: 0xA1, 2: 0xA2, 700: 0xA3}


@dataclass(frozen=True, slots=True)
class Case:
    """A damaged disk, and the bytes that fill grains after the repair where they differ from the disk's own."""

    disk: Sparse
    grains: dict[int, int] = field(default_factory=dict)
    says: str = ""


def both(**entries: int) -> Sparse:
    """Return a disk with entries (``e9=...``) that the table and its copy agree on."""
    chosen = {int(name[1:]): value for name, value in entries.items()}
    return Sparse(gt_entries=dict(chosen), rgt_entries=dict(chosen))


def large(gd: dict[int, int], rgd: dict[int, int] | None = None) -> Sparse:
    """Return a disk of two grain tables with these entries of its directories."""
    return Sparse(sectors=TWO_TABLES, grains=dict(FULL), gd_entries=gd, rgd_entries=rgd or {})


def header(**fields: int | bytes) -> Sparse:
    """Return a disk with these header fields."""
    return Sparse(header=dict(fields))


MENDABLE = {
    "unclean flag": Case(header(unclean=1), says="did not end properly"),
    "table lost an entry": Case(Sparse(gt_entries={2: 0})),
    "copy lost an entry": Case(Sparse(rgt_entries={2: 0})),
    "table leads behind the end": Case(Sparse(gt_entries={2: BEYOND})),
    "copy leads behind the end": Case(Sparse(rgt_entries={2: BEYOND})),
    "table leads into the metadata": Case(Sparse(gt_entries={2: 26})),
    "table entry not aligned": Case(Sparse(gt_entries={2: 257})),
    "copy not aligned": Case(Sparse(rgt_entries={2: 257})),
    "table says zeroed without the flag": Case(Sparse(gt_entries={2: 1})),
    "table leads to the grain of another": Case(Sparse(gt_entries={2: 128})),
    "copy leads to the grain of another": Case(Sparse(rgt_entries={2: 128})),
    "damaged entry of an empty grain": Case(Sparse(gt_entries={9: BEYOND})),
    "empty grain leads to the grain of another": Case(Sparse(gt_entries={9: 128})),
    "both usable but different": Case(
        Sparse(grains={0: 0xA1, 2: 0xA2, 5: 0xA5}, gt_entries={5: 0, 2: 256}, rgt_entries={5: 0, 2: 384}), {5: 0}
    ),
    "interrupted defragmentation": Case(
        Sparse(
            grains={0: 0xA1, 2: 0xA2, 5: 0xA2},
            header={"unclean": 1},
            gt_entries={5: 0, 2: 256},
            rgt_entries={5: 0, 2: 384},
        ),
        {5: 0},
    ),
    "two entries on one grain": Case(both(e9=128), {9: 0xA1}, "in use twice"),
    "three entries on one grain": Case(both(e9=256, e10=256), {9: 0xA2, 10: 0xA2}),
    "grain not aligned": Case(
        Sparse(grains={0: 0xA1, 2: 0xA1}, gt_entries={9: 129}, rgt_entries={9: 129}), {9: 0xA1}, "no multiple"
    ),
    "grains behind the end of the disk": Case(both(e100=128, e500=BEYOND), says="behind the end"),
    "grain behind the end in the copy only": Case(Sparse(rgt_entries={100: BEYOND})),
    "directory leads behind the end": Case(Sparse(gd_entries={0: BEYOND})),
    "directory leads into the header": Case(Sparse(gd_entries={0: 0})),
    "redundant directory leads behind the end": Case(Sparse(rgd_entries={0: BEYOND})),
    "redundant directory lost an entry": Case(Sparse(rgd_entries={0: 0})),
    "both directories lead to one table": Case(Sparse(rgd_entries={0: 27})),
    "directory leads into a grain": Case(large({1: 512})),
    "two entries lead to one table": Case(large({1: 31})),
    "both directories lost an entry": Case(large({1: BEYOND}, {1: 5})),
    "both directories lost an entry and one table a grain": Case(
        Sparse(gd_entries={0: BEYOND}, rgd_entries={0: 0}, gt_entries={2: 0})
    ),
    "one entry a sector off, its copy lost": Case(large({1: 36}, {0: 0, 1: 0})),
    "entry leads to the copy of another table": Case(large({0: 26}, {0: 0, 1: 0})),
    "entries of both directories in each other's places": Case(large({0: 23, 1: 21}, {0: 256, 1: 31})),
    "directory at 0": Case(header(gd_offset=0)),
    "directory in the descriptor": Case(header(gd_offset=20)),
    "directory behind the end": Case(header(gd_offset=BEYOND)),
    "redundant directory at 0": Case(header(rgd_offset=0)),
    "both directories at one place": Case(header(rgd_offset=26)),
    "directory at 0 and an entry lost": Case(Sparse(header={"gd_offset": 0}, rgd_entries={0: 22})),
    "header of zeros": Case(header(**dict.fromkeys(("magic", "newlines"), b""), version=0, flags=0, capacity=0)),
    "magic number": Case(header(magic=b"KDNV")),
    "capacity 0": Case(header(capacity=0)),
    "capacity above the line": Case(header(capacity=8192 + 128)),
    "capacity of one more table": Case(Sparse(header={"capacity": TWO_TABLES, "unclean": 1})),
    "grain size": Case(header(grain_size=100)),
    "entries in a table": Case(header(gtes_per_gt=0)),
    "first grain behind the end": Case(header(overhead=1 << 30)),
    "descriptor of size 0": Case(header(descriptor_size=0)),
}


def damaged(path: Path, case: Case) -> bytes:
    """Write the damaged disk and return its bytes."""
    case.disk.save(path)
    return path.read_bytes()


def code(engine: Engine, path: Path, *, repair: bool = False) -> int:
    """Return the result of CheckRepair."""
    try:
        engine.check(path, repair=repair)
    except EngineError as error:
        return error.code if str(path.parent) in error.text else -1
    return 0


def expected(case: Case) -> bytearray:
    """Return what the repaired disk holds."""
    content = bytearray(case.disk.content())
    for grain, fill in case.grains.items():
        content[grain * GRAIN_BYTES : (grain + 1) * GRAIN_BYTES] = bytes([fill]) * GRAIN_BYTES
    return content


def sound(engine: Engine, qemu: Qemu, path: Path, content: bytes | bytearray) -> None:
    """Fail unless the disk is clean for us and for QEMU, holds ``content`` and can be written."""
    assert code(engine, path) == 0
    qemu.check(path)
    qemu.same(path, bytes(content))
    with engine.open(path) as disk:
        assert disk.read(0, disk.capacity) == content
        disk.write(40 * GRAIN, b"\xee" * SECTOR)
    changed = bytearray(content)
    changed[40 * GRAIN_BYTES : 40 * GRAIN_BYTES + SECTOR] = b"\xee" * SECTOR
    assert engine.read(path) == changed
    assert code(engine, path) == 0


@pytest.mark.parametrize("case", MENDABLE)
def test_a_check_finds_damage_and_writes_nothing(case: str, engine: Engine, tmp_path: Path) -> None:
    """16006; the file has its bytes and its times."""
    path = tmp_path / "disk.vmdk"
    before = damaged(path, MENDABLE[case])
    path.chmod(0o400)
    times = path.stat().st_mtime_ns, path.stat().st_ctime_ns
    with pytest.raises(EngineError) as caught:
        engine.check(path)
    assert caught.value.code == NEEDS_REPAIR
    assert "disk.vmdk" in caught.value.text
    assert MENDABLE[case].says in caught.value.text
    assert path.read_bytes() == before
    assert (path.stat().st_mtime_ns, path.stat().st_ctime_ns) == times


@pytest.mark.parametrize("case", MENDABLE)
def test_a_repair_mends_it_and_keeps_the_content(case: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Afterwards the disk is clean, has the content promised, the same CID, and can be written."""
    path = tmp_path / "disk.vmdk"
    damaged(path, MENDABLE[case])
    engine.check(path, repair=True)
    assert b"CID=12345678" in path.read_bytes()[:10240]
    sound(engine, qemu, path, expected(MENDABLE[case]))


HOPELESS = {
    "entry behind the end": both(e2=BEYOND),
    "entry in the metadata": both(e2=26),
    "zeroed without the flag": both(e2=1),
    "both copies bad in their own way": Sparse(gt_entries={2: BEYOND}, rgt_entries={2: 26}),
    "both tables lost": Sparse(
        gd_entries={0: BEYOND}, rgd_entries={0: BEYOND}, gt_entries={0: 0, 2: 0}, rgt_entries={0: 0, 2: 0}
    ),
    "both directories lost": header(gd_offset=0, rgd_offset=BEYOND, overhead=0, descriptor_size=19),
    "file cut in the tables": Sparse(size=27 * SECTOR),
    "file cut before a grain": Sparse(size=(128 + 128) * SECTOR),
    "file cut in a grain": Sparse(size=(128 + 128 + 64) * SECTOR),
    "unfinished": header(magic=b"kdmv"),
    "compression that is none": header(flags=0x10003),
    "descriptor lost": Sparse(text="\x01\x02garbage"),
    "damage and a loss": Sparse(gt_entries={2: BEYOND, 0: 0}, rgt_entries={2: BEYOND}),
}
HOPELESS["both directories lost"].gd_entries = {0: 5}


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("case", HOPELESS)
def test_what_cannot_be_mended_without_loss_is_left_alone(
    case: str, engine: Engine, tmp_path: Path, *, repair: bool
) -> None:
    """16062, and the file is as before, also where some of the damage could be mended."""
    path = HOPELESS[case].save(tmp_path / "disk.vmdk")
    before = path.read_bytes()
    assert code(engine, path, repair=repair) == CANNOT_REPAIR
    assert path.read_bytes() == before


def test_a_grain_that_an_interrupted_writer_did_not_finish_is_filled(
    engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """The file ends in it and the header says unclean: what is there is kept, the rest is zeros."""
    disk = Sparse(header={"unclean": 1}, size=(128 + 128 + 64) * SECTOR)
    path = disk.save(tmp_path / "disk.vmdk")
    assert code(engine, path) == NEEDS_REPAIR
    engine.check(path, repair=True)
    content = bytearray(disk.content())
    content[2 * GRAIN_BYTES + 64 * SECTOR : 3 * GRAIN_BYTES] = bytes(64 * SECTOR)
    sound(engine, qemu, path, content)


def test_the_end_of_a_grain_behind_the_end_of_the_disk_may_be_missing(engine: Engine, tmp_path: Path) -> None:
    """Some programs do not store it."""
    disk = Sparse(sectors=8192 - 64, grains={63: 0xA1})
    disk.size = (128 + 64) * SECTOR
    assert code(engine, disk.save(tmp_path / "disk.vmdk")) == 0


def test_space_that_nothing_uses_is_no_damage(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """A leaked grain costs space only."""
    disk = Sparse(gt_entries={2: 0}, rgt_entries={2: 0})
    path = disk.save(tmp_path / "disk.vmdk")
    assert code(engine, path) == 0
    before = path.read_bytes()
    engine.check(path, repair=True)
    assert path.read_bytes() == before
    qemu.check(path)


def test_a_child_keeps_what_its_parent_shows(engine: Engine, tmp_path: Path) -> None:
    """Its parent is not needed to check it."""
    parent = Sparse().save(tmp_path / "base.vmdk")
    keys = {"CID": "00000001", "parentCID": "12345678", "parentFileNameHint": '"base.vmdk"'}
    text = descriptor('RW 8192 SPARSE "child.vmdk"', **keys)
    child = Sparse(text=text, grains={1: 0xC1}, gt_entries={2: BEYOND}).save(tmp_path / "child.vmdk")
    hidden = parent.rename(tmp_path / "hidden.vmdk")
    assert code(engine, child) == NEEDS_REPAIR
    engine.check(child, repair=True)
    hidden.rename(parent)
    content = engine.read(child)
    assert content == b"\xa1" * GRAIN_BYTES + b"\xc1" * GRAIN_BYTES + b"\xa2" * GRAIN_BYTES + bytes(61 * GRAIN_BYTES)


def test_a_split_disk_is_repaired_as_a_whole_or_not_at_all(engine: Engine, tmp_path: Path) -> None:
    """A loss in one extent keeps the repair off the others."""
    path = engine.create(tmp_path / "disk.vmdk", 4192256 + 8192, SPLIT_SPARSE)
    with engine.open(path) as disk:
        disk.write(0, b"\x01" * GRAIN_BYTES)
        disk.write(4192256, b"\x02" * GRAIN_BYTES)
    first, second = tmp_path / "disk-s001.vmdk", tmp_path / "disk-s002.vmdk"
    sound_first, sound_second = first.read_bytes(), second.read_bytes()
    first.write_bytes(sound_first[:72] + b"\x01" + sound_first[73:])
    second.write_bytes(sound_second[:-GRAIN_BYTES])
    before = first.read_bytes(), second.read_bytes()
    assert code(engine, path, repair=True) == CANNOT_REPAIR
    assert (first.read_bytes(), second.read_bytes()) == before
    second.write_bytes(sound_second)
    second_header = bytearray(sound_second)
    second_header[:SECTOR] = bytes(SECTOR)
    second.write_bytes(second_header)
    engine.check(path, repair=True)
    assert (first.read_bytes(), second.read_bytes()) == (sound_first, sound_second)


def test_a_disk_in_use_by_a_writer_is_not_judged(engine: Engine, tmp_path: Path) -> None:
    """15 while it is open for writing; readers do not matter to a check."""
    path = Sparse().save(tmp_path / "disk.vmdk")
    with engine.open(path):
        assert code(engine, path) == IN_USE
        assert code(engine, path, repair=True) == IN_USE
    with engine.open(path, READ_ONLY) as disk:
        assert code(engine, path) == 0
        assert disk.read(0, 1) == b"\xa1" * SECTOR


def test_entries_of_a_table_are_found_where_the_message_says(engine: Engine, tmp_path: Path) -> None:
    """Table, entry, byte of the file, sectors of the disk."""
    path = Sparse(gt_entries={2: BEYOND}).save(tmp_path / "disk.vmdk")
    with pytest.raises(EngineError) as caught:
        engine.check(path)
    offset = 27 * SECTOR + 8
    assert struct.unpack_from("<I", path.read_bytes(), offset) == (BEYOND,)
    for part in ("disk.vmdk", "grain table 0", "entry 2", f"byte {offset}", "sectors 256 to 383"):
        assert part in caught.value.text
