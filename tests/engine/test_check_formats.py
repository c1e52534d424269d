"""CheckRepair of everything that is no hosted sparse disk, and of files that no honest program writes."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import SECTOR, Sparse, descriptor, flat, flat_line
from tests.engine.craft_esx import Cowd, SeSparse, Stream
from tests.engine.driver import MONOLITHIC_FLAT, SPLIT_SPARSE, EngineError
from tests.engine.test_check import code
from tests.engine.test_hostile import BAD_CHAINS, BAD_DESCRIPTORS, BAD_FOR_WRITING, BAD_HEADERS
from tests.engine.test_read_only_formats import save

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

NEEDS_REPAIR, CANNOT_REPAIR, INVALID_DISK, NO_FILE, NO_SUCH_VERSION = 16006, 16062, 16063, 4, 16011

SOUND: dict[str, Cowd | SeSparse | Stream] = {
    "COWD": Cowd(),
    "seSparse": SeSparse(),
    "stream": Stream(),
}


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder."""
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.is_file() and not file.is_symlink()}


@pytest.mark.parametrize("name", SOUND)
def test_sound_disks_of_formats_that_are_only_read_are_clean(name: str, engine: Engine, tmp_path: Path) -> None:
    """A repair has nothing to do then."""
    path = save(tmp_path, SOUND[name])
    before = folder_bytes(tmp_path)
    assert code(engine, path) == 0
    assert code(engine, path, repair=True) == 0
    assert folder_bytes(tmp_path) == before


DAMAGED: dict[str, Cowd | SeSparse | Stream] = {
    "COWD entry behind the end": Cowd(gt_entries={1: 1 << 30}),
    "seSparse entry that is none": SeSparse(gt_entries={1: 9 << 60}),
    "seSparse journal not replayed": SeSparse(dirty=1),
    "stream grain of another place": Stream(lba={2: 384}),
    "stream grain of no size": Stream(size={2: 0}),
    "stream grain that leaves the file": Stream(size={2: 100000}),
    "stream without its directory": Stream(footer={"gd_offset": 1 << 40}),
}


@pytest.mark.parametrize("repair", [False, True])
@pytest.mark.parametrize("case", DAMAGED)
def test_damage_to_them_is_found_and_left_alone(case: str, engine: Engine, tmp_path: Path, *, repair: bool) -> None:
    """16062: what is never written in place cannot be mended in place."""
    path = save(tmp_path, DAMAGED[case])
    before = folder_bytes(tmp_path)
    assert code(engine, path, repair=repair) == CANNOT_REPAIR
    assert folder_bytes(tmp_path) == before


def test_two_directory_entries_on_one_table_of_a_sesparse_disk_are_refused(engine: Engine, tmp_path: Path) -> None:
    """A walk over the tables must end soon, whatever the file says."""
    path = save(tmp_path, SeSparse(gd_entries={0: 0x10000000 << 32, 1: 0x10000000 << 32}))
    assert code(engine, path) == INVALID_DISK
    error = engine.open_error(path)
    assert error
    assert error.code == INVALID_DISK


def test_a_stream_that_qemu_wrote_is_clean(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Its tables come before the data, and it has no footer."""
    raw = tmp_path / "raw"
    raw.write_bytes(os.urandom(200 * SECTOR) + bytes(20000 * SECTOR) + b"x" * (100 * SECTOR))
    path = tmp_path / "disk.vmdk"
    qemu._run(qemu.img, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, path)
    assert code(engine, path) == 0


def test_a_flat_disk_is_clean_until_its_file_is_cut(engine: Engine, tmp_path: Path) -> None:
    """What was behind the cut is lost: a repair changes nothing. A longer file is none of our business."""
    path = engine.create(tmp_path / "disk.vmdk", 4096, MONOLITHIC_FLAT)
    extent = tmp_path / "disk-flat.vmdk"
    assert code(engine, path) == 0
    extent.write_bytes(extent.read_bytes() + b"x")
    assert code(engine, path) == 0
    extent.write_bytes(extent.read_bytes()[: 4096 * SECTOR - 1])
    assert code(engine, path, repair=True) == CANNOT_REPAIR
    assert extent.stat().st_size == 4096 * SECTOR - 1
    extent.unlink()
    assert code(engine, path) == NO_FILE


def test_an_extent_that_qemu_gave_an_empty_descriptor_is_rebuilt(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """QEMU leaves room for a descriptor in each extent of a split disk; VMware and we do not."""
    path = qemu.create(tmp_path / "disk.vmdk", 1 << 20, "subformat=twoGbMaxExtentSparse")
    qemu.write(path, (0, 65536, 1))
    extent = tmp_path / "disk-s001.vmdk"
    before = extent.read_bytes()
    extent.write_bytes(bytes(SECTOR) + before[SECTOR:])
    assert code(engine, path) == NEEDS_REPAIR
    engine.check(path, repair=True)
    assert extent.read_bytes() == before
    qemu.check(path)


@pytest.mark.parametrize("case", [*BAD_HEADERS, *BAD_FOR_WRITING])
def test_every_bad_sparse_file_gets_a_code_and_no_byte_of_it_changes(case: str, engine: Engine, tmp_path: Path) -> None:
    """Those that are refused when opened are refused here, or can be mended; mended ones open."""
    disk, refused = (BAD_HEADERS | BAD_FOR_WRITING)[case]
    path = disk.save(tmp_path / "disk.vmdk")
    before = path.read_bytes()
    found = code(engine, path)
    assert path.read_bytes() == before
    assert found in {NEEDS_REPAIR, CANNOT_REPAIR, INVALID_DISK, NO_SUCH_VERSION, refused}
    assert found != 0
    result = code(engine, path, repair=True)
    if found == NEEDS_REPAIR:
        assert result == 0
        assert engine.open_error(path, 0) is None
    else:
        assert result == found
        assert path.read_bytes() == before


@pytest.mark.parametrize("case", BAD_DESCRIPTORS)
def test_a_bad_descriptor_is_no_disk_to_a_check_either(case: str, engine: Engine, tmp_path: Path) -> None:
    """A repair does not guess what its author meant."""
    text, refused = BAD_DESCRIPTORS[case]
    (tmp_path.parent / "outside.vmdk").write_bytes(bytes(65536))
    (tmp_path / "inside").mkdir()
    (tmp_path / "link.vmdk").symlink_to(tmp_path.parent / "outside.vmdk")
    os.mkfifo(tmp_path / "pipe")
    Sparse().save(tmp_path / "inner.vmdk")
    path = flat(tmp_path, text)
    before = {name: data for name, data in folder_bytes(tmp_path).items() if name != "pipe"}
    for repair in (False, True):
        assert code(engine, path, repair=repair) in {refused, CANNOT_REPAIR}
    assert {name: data for name, data in folder_bytes(tmp_path).items() if name != "pipe"} == before


@pytest.mark.parametrize("case", BAD_CHAINS)
def test_a_link_is_checked_without_its_parents(case: str, engine: Engine, tmp_path: Path) -> None:
    """Each link is checked by itself: a chain that does not open may have sound links."""
    make, _ = BAD_CHAINS[case]
    Sparse().save(tmp_path / "base.vmdk")
    (tmp_path / "raw.img").write_bytes(bytes(8192))
    assert code(engine, make(tmp_path)) == 0


@pytest.mark.parametrize("name", ["nothing.vmdk", "no/folder.vmdk"])
def test_a_file_that_is_missing_is_named(name: str, engine: Engine, tmp_path: Path) -> None:
    """As everywhere."""
    with pytest.raises(EngineError) as caught:
        engine.check(tmp_path / name)
    assert caught.value.code == NO_FILE
    assert str(tmp_path / name) in caught.value.text


def test_an_extent_without_a_descriptor_is_no_disk(engine: Engine, tmp_path: Path) -> None:
    """Its disk is checked by the file that lists it."""
    engine.create(tmp_path / "disk.vmdk", 8192, SPLIT_SPARSE)
    assert code(engine, tmp_path / "disk-s001.vmdk") == INVALID_DISK
    assert code(engine, tmp_path / "disk.vmdk") == 0


def test_a_disk_in_a_disk_is_refused(engine: Engine, tmp_path: Path) -> None:
    """Also by a check."""
    Sparse().save(tmp_path / "inner.vmdk")
    path = tmp_path / "disk.vmdk"
    path.write_text(descriptor('RW 8192 SPARSE "inner.vmdk"', create_type="twoGbMaxExtentSparse"))
    assert code(engine, path) == INVALID_DISK


def test_flat_extents_that_share_a_file_are_checked(engine: Engine, tmp_path: Path) -> None:
    """They do not keep each other out."""
    text = descriptor(flat_line(64), flat_line(64, offset=" 64"), create_type="twoGbMaxExtentFlat")
    path = flat(tmp_path, text)
    assert code(engine, path) == 0
    assert code(engine, path, repair=True) == 0


def test_every_table_of_a_large_disk_is_looked_at(engine: Engine, tmp_path: Path) -> None:
    """2 TiB less a table, every table stored, one entry in each, the last one damaged in one copy."""
    disk = Sparse(sectors=(1 << 32) - (1 << 24), grains={})
    tables = disk.tables()
    redundant, directory, overhead = disk.layout()
    path = tmp_path / "disk.vmdk"
    text = descriptor(f'RW {disk.sectors} SPARSE "disk.vmdk"').encode()
    first = -(-4 * tables // SECTOR)
    with path.open("wb") as file:
        file.write(disk.header_bytes() + text.ljust(20 * SECTOR, b"\0"))
        for start in (redundant, directory):
            file.seek(start * SECTOR)
            file.write(struct.pack(f"<{tables}I", *(start + first + 4 * i for i in range(tables))))
            file.seek((start + first) * SECTOR)
            for i in range(tables):
                file.write(struct.pack("<I", overhead + 128 * i).ljust(2048, b"\0"))
        file.truncate((overhead + 128 * tables) * SECTOR)
        file.seek((directory + first + 4 * (tables - 1)) * SECTOR)
        file.write(struct.pack("<I", 7))
    assert code(engine, path) == NEEDS_REPAIR
    engine.check(path, repair=True)
    with path.open("rb") as file:
        file.seek((directory + first + 4 * (tables - 1)) * SECTOR)
        assert file.read(4) == struct.pack("<I", overhead + 128 * (tables - 1))
