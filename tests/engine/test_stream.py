"""Compressed streams, written from front to back: complete disks, before, between and after the writes."""

from __future__ import annotations

import random
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.craft import Sparse
from tests.engine.craft_esx import Stream
from tests.engine.driver import READ_ONLY, SECTOR, STREAM_OPTIMIZED, Disk, EngineError
from tests.engine.grain_tables import header

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

TABLE = 65536  # sectors
SECTORS = 2 * TABLE + 300 + 7  # the last grain is a fraction


def extracted(seven_zip: str, path: Path) -> bytes:
    """Return what 7-Zip reads."""
    return subprocess.run([seven_zip, "x", "-so", "-tvmdk", path], capture_output=True, check=True).stdout


def elements(image: bytes) -> list[tuple[str, int]]:
    """Walk over the markers as a reader of a pipe does: ("grain", its sector) or (kind, sector of the file)."""
    found: list[tuple[str, int]] = []
    at = 128
    while at * SECTOR < len(image):
        value, size, kind = struct.unpack_from("<QII", image, at * SECTOR)
        if size:
            found.append(("grain", value))
            at += -(-(12 + size) // SECTOR)
        else:
            found.append((("end", "table", "directory", "footer")[kind], at + 1))
            at += 1 + value
    return found


def test_an_empty_stream_is_a_complete_disk(engine: Engine, qemu: Qemu, seven_zip: str, tmp_path: Path) -> None:
    """Header, descriptor, directory, footer and end, as the format says; every reader sees zeros."""
    path = engine.create(tmp_path / "d.vmdk", 2 * TABLE, STREAM_OPTIMIZED)
    image = path.read_bytes()
    expected = {"version": 3, "flags": 0x30001, "gd_offset": (1 << 64) - 1, "rgd_offset": 0, "overhead": 128}
    expected |= {"compression": 1, "capacity": 2 * TABLE, "descriptor_offset": 1, "descriptor_size": 20}
    assert expected.items() <= header(image[:SECTOR]).items()
    assert header(image[131 * SECTOR : 132 * SECTOR]) == header(image[:SECTOR]) | {"gd_offset": 129}
    assert elements(image) == [("directory", 129), ("footer", 131), ("end", 133)]
    assert engine.read(path) == bytes(2 * TABLE * SECTOR)
    qemu.same(path, bytes(2 * TABLE * SECTOR))
    assert extracted(seven_zip, path) == bytes(2 * TABLE * SECTOR)
    with engine.open(path, READ_ONLY) as disk:
        assert disk.allocated() == []


def test_opening_without_writing_changes_nothing(engine: Engine, tmp_path: Path) -> None:
    """Nor does metadata anything but the descriptor; the disk stays one that can be written."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    before = path.read_bytes()
    with engine.open(path) as disk:
        disk.flush()
    assert path.read_bytes() == before
    with engine.open(path) as disk:
        disk.set_metadata("comment", "mine")
    with engine.open(path) as disk:
        assert disk.metadata("comment") == "mine"
        disk.write(5, b"x" * SECTOR)
    assert engine.read(path)[5 * SECTOR : 6 * SECTOR] == b"x" * SECTOR


def test_grains_come_in_order_and_tables_behind_them(
    engine: Engine, qemu: Qemu, seven_zip: str, tmp_path: Path
) -> None:
    """Zeros and empty tables take no space; the last grain is whole, so that every reader takes it."""
    path = engine.create(tmp_path / "d.vmdk", 4 * TABLE + 8 * 128 + 64, STREAM_OPTIMIZED)
    content = bytearray((4 * TABLE + 8 * 128 + 64) * SECTOR)
    noise = random.Random(1).randbytes(128 * SECTOR)
    with engine.open(path) as disk:
        undone = ((50000, b"x" * SECTOR), (50000, bytes(SECTOR)))
        for start, data in ((0, noise), (300, b"a" * 1000 * SECTOR), *undone, (2000, bytes(TABLE * SECTOR))):
            disk.write(start, data)
            content[start * SECTOR : start * SECTOR + len(data)] = data
        for start in (3 * TABLE + 7, 4 * TABLE + 8 * 128 + 63):
            disk.write(start, b"b" * SECTOR)
            content[start * SECTOR : (start + 1) * SECTOR] = b"b" * SECTOR
    kinds = elements(path.read_bytes())
    grains = [sector for kind, sector in kinds if kind == "grain"]
    assert grains == [0, *range(256, 1300, 128), 3 * TABLE, 4 * TABLE + 8 * 128]
    names = [kind for kind, _ in kinds if kind != "grain"]
    assert names == ["table", "table", "table", "directory", "footer", "end"]
    assert engine.read(path) == content
    qemu.same(path, bytes(content))
    assert extracted(seven_zip, path) == content


def test_what_has_left_the_window_is_read_back_before_its_table_is_written(engine: Engine, tmp_path: Path) -> None:
    """Also by a read that begins in front of it, where the disk has no table."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    with engine.open(path) as disk:
        disk.write(TABLE + 500, b"x" * SECTOR)
        disk.write(SECTORS - 1, b"y" * SECTOR)
        content = disk.read(0, SECTORS)
        assert [content[sector * SECTOR : sector * SECTOR + 1] for sector in (TABLE + 500, SECTORS - 1)] == [b"x", b"y"]


class Model:
    """What the disk must hold, and how far the writer got."""

    def __init__(self) -> None:
        """Begin with zeros."""
        self.content = bytearray(SECTORS * SECTOR)
        self.position = 0

    def write(self, disk: Disk, skip: int, back: int, what: tuple[int, int]) -> None:
        """Write some sectors on, or back by less than what is held."""
        self.position = min(self.position + skip, SECTORS - 1)
        start = max(0, self.position - back)
        data = make_data(*what)[: (SECTORS - start) * SECTOR]
        disk.write(start, data)
        self.content[start * SECTOR : start * SECTOR + len(data)] = data
        self.position = max(self.position, start + len(data) // SECTOR)

    def read(self, disk: Disk, start: int, count: int) -> None:
        """Compare."""
        count = min(count, SECTORS - start)
        assert disk.read(start, count) == self.content[start * SECTOR : (start + count) * SECTOR]


DATA = st.tuples(st.sampled_from((1, 2, 5, 64, 127, 128, 129, 300, 2000)), st.integers(0, 6))


def make_data(count: int, seed: int) -> bytes:
    """Return sectors of zeros, of what can be compressed, or of what cannot."""
    if seed < 3:
        return (b"%4d" % seed if seed else bytes(4)) * (count * 128)
    return random.Random(seed).randbytes(count * SECTOR)


WRITES = st.tuples(
    st.just("write"), st.sampled_from((0, 0, 0, 1, 60, 500, 40000, TABLE)), st.sampled_from((0, 0, 0, 1, 9000)), DATA
)
READS = st.tuples(st.just("read"), st.integers(0, SECTORS - 1), st.sampled_from((1, 128, 3000)))
STEPS = st.lists(st.one_of(WRITES, WRITES, READS, st.just(("flush",))), max_size=20)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(steps=STEPS)
def test_any_writes_from_front_to_back_agree_with_a_bytearray(
    steps: list[tuple[object, ...]], engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """Parts of grains, gaps, zeros, small steps back, flushes in the middle of a grain, reads of what was written."""
    path = tmp_path / "d.vmdk"
    path.unlink(missing_ok=True)
    engine.create(path, SECTORS, STREAM_OPTIMIZED)
    model = Model()
    with engine.open(path) as disk:
        for name, *arguments in steps:
            if name == "flush":
                disk.flush()
            else:
                getattr(model, str(name))(disk, *arguments)
        model.read(disk, 0, SECTORS)
    assert engine.read(path) == model.content
    qemu.same(path, bytes(model.content))


def test_a_stream_with_content_is_not_opened_for_writing(engine: Engine, tmp_path: Path) -> None:
    """Neither ours nor another writer's; it is not changed."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    with engine.open(path) as disk:
        disk.write(0, b"x" * SECTOR)
    other = tmp_path / "other.vmdk"
    other.write_bytes(Stream().build())
    for file in (path, other):
        before = file.read_bytes()
        error = engine.open_error(file, 0)
        assert error
        assert error.code == 6
        assert "clone" in error.text
        assert file.read_bytes() == before


def test_a_stream_that_is_a_child_is_not_written(engine: Engine, tmp_path: Path) -> None:
    """Its zeros would show the parent."""
    Sparse(sectors=SECTORS).save(tmp_path / "base.vmdk")
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    image = path.read_bytes()
    text = image[SECTOR : 21 * SECTOR].rstrip(b"\0")
    child = text.replace(b"parentCID=ffffffff", b'parentCID=12345678\nparentFileNameHint="base.vmdk"')
    path.write_bytes(image[:SECTOR] + child.ljust(20 * SECTOR, b"\0") + image[21 * SECTOR :])
    with engine.open(path) as disk, pytest.raises(EngineError) as caught:
        disk.write(0, b"x" * SECTOR)
    assert caught.value.code == 6
