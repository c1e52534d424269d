"""Files that no honest program writes: each is refused with a code and one line that names the file and the place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import SECTOR, Sparse, descriptor, flat, flat_line
from tests.engine.driver import READ_ONLY, EngineError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.engine.driver import Engine

UNSUPPORTED_VERSION, NOT_SUPPORTED, INVALID_DISK, NEEDS_REPAIR, END_OF_FILE = 16011, 16013, 16063, 16006, 14005
OPEN_PARENT, INVALID_CHAIN, CID_MISMATCH, CAPACITY_MISMATCH = 16012, 16030, 16008, 16067


def header(**fields: int | bytes) -> Sparse:
    """Return a disk with these header fields."""
    return Sparse(header=dict(fields))


BAD_HEADERS = {
    "unfinished": (header(magic=b"kdmv"), INVALID_DISK),
    "version 0": (header(version=0), INVALID_DISK),
    "version 4": (header(version=4), UNSUPPORTED_VERSION),
    "unknown incompatible flag": (header(flags=3 | 1 << 18), UNSUPPORTED_VERSION),
    "newlines altered": (header(newlines=b"\n \n\n"), INVALID_DISK),
    "capacity 0": (header(capacity=0), INVALID_DISK),
    "capacity 2^63": (header(capacity=1 << 63), INVALID_DISK),
    "capacity 2^64 - 1": (header(capacity=(1 << 64) - 1), INVALID_DISK),
    "capacity of too many tables": (header(capacity=1 << 40), INVALID_DISK),
    "capacity below the line": (header(capacity=8191), INVALID_DISK),
    "capacity a grain above the line": (header(capacity=8192 + 128), INVALID_DISK),
    "grain size 0": (header(grain_size=0), INVALID_DISK),
    "grain size 3": (header(grain_size=3), INVALID_DISK),
    "grain size 100": (header(grain_size=100), INVALID_DISK),
    "grain size 4096": (header(grain_size=4096), INVALID_DISK),
    "grain size 2^32": (header(grain_size=1 << 32), INVALID_DISK),
    "grain size 2^55": (header(grain_size=1 << 55), INVALID_DISK),
    "no entries in a table": (header(gtes_per_gt=0), INVALID_DISK),
    "100 entries in a table": (header(gtes_per_gt=100), INVALID_DISK),
    "2^31 entries in a table": (header(gtes_per_gt=1 << 31), INVALID_DISK),
    "2^32 - 1 entries in a table": (header(gtes_per_gt=(1 << 32) - 1), INVALID_DISK),
    "directory at 0": (header(gd_offset=0), INVALID_DISK),
    "directory in the descriptor": (header(gd_offset=20), INVALID_DISK),
    "directory behind the end": (header(gd_offset=1 << 20), INVALID_DISK),
    "directory offset overflows": (header(gd_offset=(1 << 55) + 26), INVALID_DISK),
    "directory at the end, uncompressed": (header(gd_offset=(1 << 64) - 1), INVALID_DISK),
    "first grain behind the end": (header(overhead=1 << 30), INVALID_DISK),
    "descriptor behind the end": (header(descriptor_offset=1 << 20), INVALID_DISK),
    "descriptor offset overflows": (header(descriptor_offset=1 << 63), INVALID_DISK),
    "descriptor of size 0": (header(descriptor_size=0), INVALID_DISK),
    "descriptor of size 2^40": (header(descriptor_size=1 << 40), INVALID_DISK),
    "compression 2": (header(flags=0x30003, compression=2), INVALID_DISK),
    "compression flag without algorithm": (header(flags=0x10003), INVALID_DISK),
    "algorithm without compression flag": (header(compression=1), INVALID_DISK),
    "markers without compression": (header(flags=0x20003), INVALID_DISK),
    "table behind the end": (Sparse(gd_entries={0: 1 << 24}), INVALID_DISK),
    "table at the last sector number": (Sparse(gd_entries={0: (1 << 32) - 1}), INVALID_DISK),
    "table in the header": (Sparse(gd_entries={0: 1}), INVALID_DISK),
    "two entries to one table": (Sparse(sectors=1 << 17, gd_entries={1: 31}), INVALID_DISK),
    "file cut in the tables": (Sparse(size=27 * SECTOR), INVALID_DISK),
    "file of one byte": (Sparse(size=1), INVALID_DISK),
    "file of 511 bytes": (Sparse(size=511), INVALID_DISK),
    "empty file": (Sparse(size=0), INVALID_DISK),
}


@pytest.mark.parametrize("case", BAD_HEADERS)
def test_a_bad_header_or_directory_is_refused(case: str, engine: Engine, tmp_path: Path) -> None:
    """Every field is judged before it is used; the message names the file."""
    disk, code = BAD_HEADERS[case]
    error = engine.open_error(disk.save(tmp_path / "disk.vmdk"))
    assert error
    assert error.code == code
    assert "disk.vmdk" in error.text


BAD_FOR_WRITING = {
    "redundant directory at 0": (header(rgd_offset=0), INVALID_DISK),
    "redundant directory behind the end": (header(rgd_offset=1 << 20), INVALID_DISK),
    "both directories at one place": (header(rgd_offset=26), INVALID_DISK),
    "redundant table is the table": (Sparse(rgd_entries={0: 27}), INVALID_DISK),
    "redundant table behind the end": (Sparse(rgd_entries={0: 1 << 24}), INVALID_DISK),
    "tables differ": (Sparse(rgt_entries={5: 256}), NEEDS_REPAIR),
    "directories differ": (Sparse(rgd_entries={0: 0}), NEEDS_REPAIR),
    "entry not aligned": (Sparse(gt_entries={0: 129}, rgt_entries={0: 129}), NEEDS_REPAIR),
    "two entries on one grain": (Sparse(gt_entries={9: 128}, rgt_entries={9: 128}), NEEDS_REPAIR),
    "entry in the metadata": (Sparse(gt_entries={9: 26}, rgt_entries={9: 26}), NEEDS_REPAIR),
    "entry behind the end": (Sparse(gt_entries={9: 1 << 20}, rgt_entries={9: 1 << 20}), NEEDS_REPAIR),
    "zeroed entry without the flag": (Sparse(gt_entries={9: 1}, rgt_entries={9: 1}), NEEDS_REPAIR),
    "grain on the tables": (
        Sparse(header={"overhead": 0}, gt_entries={9: 0, 0: 0, 2: 24}, rgt_entries={9: 0, 0: 0, 2: 24}),
        NEEDS_REPAIR,
    ),
}


@pytest.mark.parametrize("case", BAD_FOR_WRITING)
def test_tables_that_make_writing_unsafe_are_read_but_not_written(case: str, engine: Engine, tmp_path: Path) -> None:
    """Readers need one copy of the tables; who wants to write must find them sound."""
    disk, code = BAD_FOR_WRITING[case]
    path = disk.save(tmp_path / "disk.vmdk")
    before = path.read_bytes()
    assert engine.open_error(path, READ_ONLY) is None
    error = engine.open_error(path, 0)
    assert error
    assert error.code == code
    assert "disk.vmdk" in error.text
    assert path.read_bytes() == before


BAD_ENTRIES = {
    "behind the end": (1 << 20, NEEDS_REPAIR),
    "the last sector number": ((1 << 32) - 1, NEEDS_REPAIR),
    "in the metadata": (26, NEEDS_REPAIR),
    "zeroed without the flag": (1, NEEDS_REPAIR),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_grain_entry_fails_the_sectors_it_covers_and_no_others(case: str, engine: Engine, tmp_path: Path) -> None:
    """Never zeros, never metadata as data."""
    entry, code = BAD_ENTRIES[case]
    disk = Sparse(gt_entries={1: entry})
    with engine.open(disk.save(tmp_path / "disk.vmdk"), READ_ONLY) as opened:
        with pytest.raises(EngineError) as caught:
            opened.read(128, 1)
        assert caught.value.code == code
        assert "disk.vmdk" in caught.value.text
        assert opened.read(0, 128) + opened.read(256, 128) == b"\xa1" * 65536 + b"\xa2" * 65536


def test_a_file_cut_in_its_last_grain_fails_from_the_cut_on(engine: Engine, tmp_path: Path) -> None:
    """What is there is read; what is not there is an error, not zeros."""
    disk = Sparse()
    disk.size = len(disk.build()) - 64 * SECTOR
    with engine.open(disk.save(tmp_path / "disk.vmdk"), READ_ONLY) as opened:
        assert opened.read(256, 64) == b"\xa2" * 64 * SECTOR
        with pytest.raises(EngineError) as caught:
            opened.read(256, 65)
    assert caught.value.code == END_OF_FILE


def test_entries_behind_the_capacity_are_ignored(engine: Engine, tmp_path: Path) -> None:
    """They are no part of the disk."""
    disk = Sparse(gt_entries={100: 1 << 20})
    assert engine.read(disk.save(tmp_path / "disk.vmdk")) == disk.content()


NESTED = 'RW 8192 SPARSE "inner.vmdk"'
ZERO_CHARACTER = descriptor(flat_line()).replace("ide", "i\0de")

BAD_DESCRIPTORS: dict[str, tuple[str | bytes, int]] = {
    "no extent": (descriptor(create_type="monolithicFlat"), INVALID_DISK),
    "no createType": (descriptor(flat_line(), createType=None), INVALID_DISK),
    "createType twice": (descriptor(flat_line(), 'createType="vmfs"', create_type="monolithicFlat"), INVALID_DISK),
    "createType contradicts": (descriptor(flat_line()), INVALID_DISK),
    "unknown createType": (descriptor(flat_line(), create_type="nonsense"), NOT_SUPPORTED),
    "no version": (descriptor(flat_line(), create_type="monolithicFlat", version=None), INVALID_DISK),
    "version 4": (descriptor(flat_line(), create_type="monolithicFlat", version="4"), UNSUPPORTED_VERSION),
    "no CID": (descriptor(flat_line(), create_type="monolithicFlat", CID=None), INVALID_DISK),
    "CID not hexadecimal": (descriptor(flat_line(), create_type="monolithicFlat", CID="xyz"), INVALID_DISK),
    "CID of nine digits": (descriptor(flat_line(), create_type="monolithicFlat", CID="123456789"), INVALID_DISK),
    "CID twice": (descriptor(flat_line(), "CID=1", create_type="monolithicFlat"), INVALID_DISK),
    "negative size": (descriptor('RW -128 FLAT "disk-flat.vmdk" 0', create_type="monolithicFlat"), INVALID_DISK),
    "size 0": (descriptor(flat_line(0), create_type="monolithicFlat"), INVALID_DISK),
    "size 2^63": (descriptor(flat_line(1 << 63), create_type="monolithicFlat"), INVALID_DISK),
    "size 2^64": (descriptor(flat_line(1 << 64), create_type="monolithicFlat"), INVALID_DISK),
    "sizes add up to more than 2^40": (
        descriptor(flat_line(1 << 40), flat_line(1 << 40), create_type="twoGbMaxExtentFlat"),
        INVALID_DISK,
    ),
    "negative offset": (descriptor(flat_line(offset=" -1"), create_type="monolithicFlat"), INVALID_DISK),
    "offset behind the end": (descriptor(flat_line(offset=" 1"), create_type="monolithicFlat"), INVALID_DISK),
    "offset overflows": (descriptor(flat_line(offset=f" {(1 << 64) - 1}"), create_type="monolithicFlat"), INVALID_DISK),
    "file shorter than the line": (descriptor(flat_line(129), create_type="monolithicFlat"), INVALID_DISK),
    "absolute name": (descriptor(flat_line(file="/etc/passwd"), create_type="monolithicFlat"), INVALID_DISK),
    "device": (descriptor(flat_line(file="/dev/zero"), create_type="monolithicFlat"), INVALID_DISK),
    "name leaves the folder": (
        descriptor(flat_line(file="../outside.vmdk"), create_type="monolithicFlat"),
        INVALID_DISK,
    ),
    "name in a folder": (descriptor(flat_line(file="inside/x.vmdk"), create_type="monolithicFlat"), INVALID_DISK),
    "name with a backslash": (descriptor(flat_line(file="..\\x.vmdk"), create_type="monolithicFlat"), INVALID_DISK),
    "name is a dot": (descriptor(flat_line(file="."), create_type="monolithicFlat"), INVALID_DISK),
    "name is empty": (descriptor(flat_line(file=""), create_type="monolithicFlat"), INVALID_DISK),
    "name of 256 characters": (descriptor(flat_line(file="x" * 256), create_type="monolithicFlat"), 20004),
    "name is a link": (descriptor(flat_line(file="link.vmdk"), create_type="monolithicFlat"), INVALID_DISK),
    "name is a pipe": (descriptor(flat_line(file="pipe"), create_type="monolithicFlat"), 20001),
    "name is a folder": (descriptor(flat_line(file="inside"), create_type="monolithicFlat"), 20001),
    "extent missing": (descriptor(flat_line(file="nothing.vmdk"), create_type="monolithicFlat"), 4),
    "extent is the descriptor": (
        descriptor(flat_line(1, file="disk.vmdk"), create_type="monolithicFlat"),
        INVALID_DISK,
    ),
    "sparse extent is the descriptor": (descriptor('RW 1 SPARSE "disk.vmdk"'), INVALID_DISK),
    "one extent twice": (descriptor(flat_line(), flat_line(), create_type="twoGbMaxExtentFlat"), INVALID_DISK),
    "extents overlap": (
        descriptor(flat_line(100), flat_line(64, offset=" 64"), create_type="twoGbMaxExtentFlat"),
        INVALID_DISK,
    ),
    "a disk as extent": (descriptor(NESTED, create_type="twoGbMaxExtentSparse"), INVALID_DISK),
    "no sparse file as sparse extent": (descriptor('RW 128 SPARSE "disk-flat.vmdk"'), INVALID_DISK),
    "open quote in an extent": (
        descriptor('RW 128 FLAT "disk-flat.vmdk 0', create_type="monolithicFlat"),
        INVALID_DISK,
    ),
    "open quote in a value": (descriptor(flat_line(), createType='"monolithicFlat'), INVALID_DISK),
    "raw device": (descriptor('RW 128 VMFSRDM "disk-flat.vmdk"', create_type="custom"), 16066),
    "unknown type of extent": (descriptor('RW 128 QCOW "disk-flat.vmdk"', create_type="custom"), INVALID_DISK),
    "zero character in a line": (ZERO_CHARACTER, INVALID_DISK),
    "control character": (
        descriptor(flat_line(), create_type="monolithicFlat").replace("ide", "i\x1bde"),
        INVALID_DISK,
    ),
    "20000 extents": (descriptor(*[flat_line()] * 20000, create_type="twoGbMaxExtentFlat"), INVALID_DISK),
    "a megabyte": (descriptor(flat_line(), "#" * (1 << 20), create_type="monolithicFlat"), INVALID_DISK),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 8, INVALID_DISK),
    "text": ("Dear reader,\nthis is no disk.\n", INVALID_DISK),
    "a shell script": ("#!/bin/sh\nfoo=bar\n", INVALID_DISK),
    "COWD cut short": (b"COWD" + bytes(20), INVALID_DISK),
}


@pytest.mark.parametrize("case", BAD_DESCRIPTORS)
def test_a_bad_descriptor_is_refused(case: str, engine: Engine, tmp_path: Path) -> None:
    """Names stay in the folder, numbers in their ranges, text is text."""
    text, code = BAD_DESCRIPTORS[case]
    (tmp_path.parent / "outside.vmdk").write_bytes(bytes(65536))
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "x.vmdk").write_bytes(bytes(65536))
    (tmp_path / "link.vmdk").symlink_to(tmp_path.parent / "outside.vmdk")
    os.mkfifo(tmp_path / "pipe")
    Sparse().save(tmp_path / "inner.vmdk")
    error = engine.open_error(flat(tmp_path, text))
    assert error
    assert error.code == code
    assert str(tmp_path) in error.text


def test_a_sparse_file_that_names_itself_in_a_long_list_is_no_recursion(engine: Engine, tmp_path: Path) -> None:
    """A descriptor inside a sparse file lists that file and nothing else."""
    disk = Sparse(
        text=descriptor('RW 4096 SPARSE "disk.vmdk"', 'RW 4096 SPARSE "disk.vmdk"', create_type="twoGbMaxExtentSparse")
    )
    error = engine.open_error(disk.save(tmp_path / "disk.vmdk"))
    assert error
    assert error.code == INVALID_DISK


def child(folder: Path, name: str, hint: str | None, *, sectors: int = 8192, **keys: str) -> Path:
    """Write an empty sparse child; ``keys`` as for ``descriptor``."""
    ids = {"CID": "00000001", "parentCID": "12345678"}
    if hint is not None:
        ids["parentFileNameHint"] = f'"{hint}"'
    text = descriptor(f'RW {sectors} SPARSE "{name}"', **(ids | keys))
    return Sparse(sectors=sectors, grains={}, text=text).save(folder / name)


def loop(folder: Path) -> Path:
    """Two links that name each other."""
    child(folder, "disk.vmdk", "other.vmdk", CID="00000001", parentCID="00000002")
    return child(folder, "other.vmdk", "disk.vmdk", CID="00000002", parentCID="00000001")


def deep(folder: Path) -> Path:
    """More links than any chain may have, all distinct files."""
    for i in range(300):
        child(folder, f"{i}.vmdk", f"{i + 1}.vmdk", CID="00000005", parentCID="00000005")
    return folder / "0.vmdk"


BAD_CHAINS: dict[str, tuple[Callable[[Path], Path], int]] = {
    "parent missing": (lambda folder: child(folder, "disk.vmdk", "nothing.vmdk"), OPEN_PARENT),
    "parent is a folder": (lambda folder: child(folder, "disk.vmdk", "."), OPEN_PARENT),
    "parent is a device": (lambda folder: child(folder, "disk.vmdk", "/dev/zero"), OPEN_PARENT),
    "parent is a URL": (lambda folder: child(folder, "disk.vmdk", "nbd://localhost/x"), OPEN_PARENT),
    "parent is a QEMU expression": (lambda folder: child(folder, "disk.vmdk", "json:{}"), OPEN_PARENT),
    "parent is another format": (lambda folder: child(folder, "disk.vmdk", "raw.img"), OPEN_PARENT),
    "own parent": (lambda folder: child(folder, "disk.vmdk", "disk.vmdk", CID="1", parentCID="1"), INVALID_CHAIN),
    "loop": (loop, INVALID_CHAIN),
    "too deep": (deep, 16028),
    "parentCID without hint": (lambda folder: child(folder, "disk.vmdk", None), INVALID_CHAIN),
    "hint without parentCID": (
        lambda folder: child(folder, "disk.vmdk", "base.vmdk", parentCID="ffffffff"),
        INVALID_CHAIN,
    ),
    "parent was changed": (lambda folder: child(folder, "disk.vmdk", "base.vmdk", parentCID="87654321"), CID_MISMATCH),
    "other capacity": (lambda folder: child(folder, "disk.vmdk", "base.vmdk", sectors=4096), CAPACITY_MISMATCH),
}


@pytest.mark.parametrize("case", BAD_CHAINS)
def test_a_bad_chain_is_refused(case: str, engine: Engine, tmp_path: Path) -> None:
    """Parents are VMDK files with the content that the child was made from, and chains end."""
    make, code = BAD_CHAINS[case]
    Sparse().save(tmp_path / "base.vmdk")
    (tmp_path / "raw.img").write_bytes(bytes(8192))
    error = engine.open_error(make(tmp_path))
    assert error
    assert error.code == code
    assert str(tmp_path) in error.text


def test_sound_neighbours_of_the_bad_files_open(engine: Engine, tmp_path: Path) -> None:
    """The files above differ from accepted ones in nothing but the fault."""
    disk = Sparse()
    assert engine.read(disk.save(tmp_path / "base.vmdk")) == disk.content()
    assert engine.open_error(tmp_path / "base.vmdk", 0) is None
    assert engine.read(child(tmp_path, "child.vmdk", "base.vmdk")) == disk.content()
    text = descriptor(flat_line(64), flat_line(64, offset=" 64"), create_type="twoGbMaxExtentFlat")
    assert engine.read(flat(tmp_path, text)) == b"\xaa" * 65536


@pytest.mark.parametrize(
    ("path", "code"),
    [("nothing.vmdk", 4), ("", 20001), ("no/folder.vmdk", 4), ("disk.vmdk/x.vmdk", 4)],
)
def test_what_is_no_file_is_named(path: str, code: int, engine: Engine, tmp_path: Path) -> None:
    """Missing files and folders are told apart from bad disks."""
    Sparse().save(tmp_path / "disk.vmdk")
    error = engine.open_error(tmp_path / path)
    assert error
    assert error.code == code
    assert str(tmp_path / path).rstrip("/") in error.text
