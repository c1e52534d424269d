"""Compressed streams and the redo logs of ESXi: read byte for byte, never written to, refused when they are damaged."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import SECTOR, Sparse, descriptor
from tests.engine.craft_esx import Cowd, SeSparse, Stream
from tests.engine.driver import READ_ONLY, SINGLE_LINK, EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

MIB = 1 << 20
INVALID_DISK, NEEDS_REPAIR = 16063, 16006


def save(folder: Path, disk: Cowd | SeSparse | Stream, *, child: bool = False) -> Path:
    """Write the disk and its descriptor; a child's parent is base.vmdk."""
    path = folder / "disk.vmdk"
    keys = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"', "CID": "00000002"} if child else {}
    if isinstance(disk, Stream):
        path.write_bytes(disk.build())
    elif isinstance(disk, Cowd):
        (folder / "disk-delta.vmdk").write_bytes(disk.build())
        line = f'RW {disk.sectors} VMFSSPARSE "disk-delta.vmdk"'
        path.write_text(descriptor(line, create_type="vmfsSparse", **keys))
    else:
        (folder / "disk-sesparse.vmdk").write_bytes(disk.build())
        line = f'RW {disk.sectors} SESPARSE "disk-sesparse.vmdk"'
        path.write_text(descriptor(line, create_type="seSparse", **keys))
    return path


def content(disk: Cowd | SeSparse, below: bytes) -> bytes:
    """Return what a redo log shows on top of ``below``."""
    size = (disk.grain_size if isinstance(disk, Cowd) else 8) * SECTOR
    shown = bytearray(below)
    fills = disk.grains if isinstance(disk, Cowd) else dict.fromkeys(disk.zeroed, 0) | disk.grains
    for grain, fill in fills.items():
        shown[grain * size : (grain + 1) * size] = bytes([fill]) * size
    return bytes(shown[: disk.sectors * SECTOR])


REDO_LOGS: dict[str, Cowd | SeSparse] = {
    "COWD, grains of a sector": Cowd(),
    "COWD, grains of 8 sectors": Cowd(sectors=8 * 8192, grain_size=8),
    "COWD, grains of 16 sectors": Cowd(
        sectors=16 * 4200 - 5, grain_size=16, grains={0: 1, 9: 3, 4095: 4, 4096: 5, 4199: 6}
    ),
    "seSparse": SeSparse(),
    "seSparse, many grains": SeSparse(grains={i * 2: i % 251 + 1 for i in range(4096)}, zeroed={1: 1, 3: 2}),
}


@pytest.mark.parametrize("role", ["base", "child"])
@pytest.mark.parametrize("name", REDO_LOGS)
def test_a_redo_log_reads_as_qemu_reads_it(name: str, role: str, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Alone and on top of a parent."""
    disk = REDO_LOGS[name]
    base = Sparse(sectors=disk.sectors, grains={0: 0xAA, 33 if disk.sectors > 34 * 128 else 1: 0xBB})
    base.save(tmp_path / "base.vmdk")
    path = save(tmp_path, disk, child=role == "child")
    expected = content(disk, base.content() if role == "child" else bytes(disk.sectors * SECTOR))
    assert engine.read(path) == expected
    qemu.same(path, expected)


def test_allocated_areas_of_redo_logs_are_their_grains(engine: Engine, tmp_path: Path) -> None:
    """At the granularity asked for; what hides the parent counts in a single link alone."""
    path = save(tmp_path, SeSparse(grains={0: 1, 400: 2}, zeroed={64: 1}), child=True)
    Sparse(sectors=65536, grains={4: 9}).save(tmp_path / "base.vmdk")
    with engine.open(path, READ_ONLY) as disk:
        assert disk.allocated() == [(0, 128), (512, 128), (3200, 128)]
    with engine.open(path, READ_ONLY | SINGLE_LINK) as disk:
        assert disk.allocated() == [(0, 128), (512, 128), (3200, 128)]
    Sparse(sectors=65536, grains={}).save(tmp_path / "base.vmdk")
    with engine.open(path, READ_ONLY) as disk:
        assert disk.allocated() == [(0, 128), (3200, 128)]


def test_a_stream_reads_as_qemu_reads_it(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """With the directory at the end; whole grains, parts of grains, and the fraction at the end."""
    disk = Stream()
    path = save(tmp_path, disk)
    assert engine.read(path) == disk.content()
    qemu.same(path, disk.content())
    with engine.open(path, READ_ONLY) as opened:
        for start, count in ((1, 1), (255, 3), (250, 140), (65535, 2), (65536 + 299, 1)):
            assert opened.read(start, count) == disk.content()[start * SECTOR : (start + count) * SECTOR]
        assert opened.allocated() == [(0, 128), (256, 128), (511 * 128, 256)]


def test_a_stream_that_qemu_wrote_reads_byte_for_byte(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Directory at the front, no footer, last grain packed short."""
    data = bytearray(random.Random(1).randbytes(3 * MIB) + bytes(40 * MIB) + b"disk" * 50 * 128)
    (tmp_path / "raw").write_bytes(data)
    path = tmp_path / "disk.vmdk"
    command = ("convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized")
    qemu._run(qemu.img, *command, tmp_path / "raw", path)
    assert engine.read(path) == data


@pytest.mark.parametrize("disk", [Cowd(), SeSparse(), Stream()], ids=["COWD", "seSparse", "stream"])
def test_these_formats_are_not_opened_for_writing(
    disk: Cowd | SeSparse | Stream, engine: Engine, tmp_path: Path
) -> None:
    """The message says what to do instead."""
    error = engine.open_error(save(tmp_path, disk), 0)
    assert error
    assert error.code == 6
    assert "read-only" in error.text


FULL = zlib.compress(Stream().grain(0))
BAD_GRAINS = {
    "other sector": Stream(lba={0: 128}),
    "size 0": Stream(size={0: 0}),
    "size beyond two grains": Stream(size={0: 131073}),
    "size 2^32 - 1": Stream(size={0: (1 << 32) - 1}),
    "bytes behind the stream": Stream(packed={0: FULL + b"x"}),
    "stream cut": Stream(packed={0: FULL[:-3]}),
    "more than a grain": Stream(packed={0: zlib.compress(bytes(65537))}),
    "bomb": Stream(packed={0: zlib.compress(bytes(64 << 20))}),
    "less than a grain": Stream(packed={0: zlib.compress(bytes(1000))}),
    "bad checksum": Stream(packed={0: FULL[:-1] + bytes([FULL[-1] ^ 1])}),
    "raw deflate": Stream(packed={0: FULL[2:-4]}),
}


@pytest.mark.parametrize("case", BAD_GRAINS)
def test_a_damaged_compressed_grain_fails_its_own_sectors(case: str, engine: Engine, tmp_path: Path) -> None:
    """In bounded memory; the other grains are read."""
    with engine.open(save(tmp_path, BAD_GRAINS[case]), READ_ONLY) as disk:
        with pytest.raises(EngineError) as caught:
            disk.read(0, 1)
        assert caught.value.code == NEEDS_REPAIR
        assert "disk.vmdk" in caught.value.text
        assert disk.read(256, 128) == Stream().grain(2)


BAD_DISKS: dict[str, tuple[Cowd | SeSparse | Stream, int]] = {
    "stream: no footer": (Stream(markers={"footer": Stream.marker(1, 2)}), NEEDS_REPAIR),
    "stream: no end": (Stream(markers={"end": b"x" * SECTOR}), NEEDS_REPAIR),
    "stream: a sector behind the end": (Stream(tail=bytes(SECTOR)), NEEDS_REPAIR),
    "stream: footer without directory": (Stream(footer={"gd_offset": (1 << 64) - 1}), INVALID_DISK),
    "stream: footer's directory outside": (Stream(footer={"gd_offset": 1 << 40}), INVALID_DISK),
    "stream: footer with another capacity": (Stream(footer={"capacity": 1 << 30}), INVALID_DISK),
    "stream: footer with another grain size": (Stream(footer={"grain_size": 256}), INVALID_DISK),
    "COWD: version 2": (Cowd(header={"version": 2}), 16011),
    "COWD: grain size 0": (Cowd(header={"grain_size": 0}), INVALID_DISK),
    "COWD: grain size 3": (Cowd(header={"grain_size": 3}), INVALID_DISK),
    "COWD: capacity 0": (Cowd(header={"sectors": 0}), INVALID_DISK),
    "COWD: no tables": (Cowd(header={"gd_entries": 0}), INVALID_DISK),
    "COWD: too many tables": (Cowd(header={"gd_entries": (1 << 32) - 1}), INVALID_DISK),
    "COWD: directory behind the end": (Cowd(header={"gd_offset": 1 << 30}), INVALID_DISK),
    "COWD: directory in the header": (Cowd(header={"gd_offset": 3}), INVALID_DISK),
    "COWD: table behind the end": (Cowd(gd_entries={0: 1 << 31}), INVALID_DISK),
    "COWD: table in the header": (Cowd(gd_entries={0: 2}), INVALID_DISK),
    "seSparse: version": (SeSparse(header={1: 1}), 16011),
    "seSparse: grain size": (SeSparse(header={3: 16}), INVALID_DISK),
    "seSparse: flags": (SeSparse(header={5: 1}), INVALID_DISK),
    "seSparse: capacity": (SeSparse(header={2: 1 << 60}), INVALID_DISK),
    "seSparse: directory outside": (SeSparse(header={16: 1 << 62}), INVALID_DISK),
    "seSparse: directory too small": (SeSparse(header={17: 0}), INVALID_DISK),
    "seSparse: tables outside": (SeSparse(header={18: 1 << 62}), INVALID_DISK),
    "seSparse: grains outside": (SeSparse(header={24: 1 << 62}), INVALID_DISK),
    "seSparse: no second header": (SeSparse(header={10: 2}), INVALID_DISK),
    "seSparse: journal": (SeSparse(dirty=1), NEEDS_REPAIR),
    "seSparse: unknown directory entry": (SeSparse(gd_entries={0: 2 << 60}), INVALID_DISK),
    "seSparse: table behind the tables": (SeSparse(gd_entries={0: 0x10000000 << 32 | 2}), INVALID_DISK),
}


@pytest.mark.parametrize("case", BAD_DISKS)
def test_a_bad_file_is_refused(case: str, engine: Engine, tmp_path: Path) -> None:
    """With the file's name and the place."""
    disk, code = BAD_DISKS[case]
    error = engine.open_error(save(tmp_path, disk))
    assert error
    assert error.code == code
    assert "disk" in error.text


BAD_ENTRIES: dict[str, Cowd | SeSparse] = {
    "COWD: behind the end": Cowd(gt_entries={9: 1 << 31}),
    "COWD: in the header": Cowd(gt_entries={9: 1}),
    "seSparse: unknown kind": SeSparse(gt_entries={9: 4 << 60}),
    "seSparse: unallocated but not zero": SeSparse(gt_entries={9: 5}),
    "seSparse: behind the end": SeSparse(gt_entries={9: 3 << 60 | 1 << 40}),
}


@pytest.mark.parametrize("case", BAD_ENTRIES)
def test_a_bad_entry_fails_its_own_sectors(case: str, engine: Engine, tmp_path: Path) -> None:
    """The others are read."""
    disk = BAD_ENTRIES[case]
    size = disk.grain_size if isinstance(disk, Cowd) else 8
    with engine.open(save(tmp_path, disk), READ_ONLY) as opened:
        with pytest.raises(EngineError) as caught:
            opened.read(9 * size, 1)
        assert caught.value.code == NEEDS_REPAIR
        assert opened.read(0, size) == b"\1" * size * SECTOR
