"""Compressed streams whose writer did not finish, or that were cut: CheckRepair finds every grain that was flushed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft_esx import Stream
from tests.engine.driver import READ_ONLY, SECTOR, STREAM_OPTIMIZED, EngineError

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Disk, Engine
    from tests.engine.qemu import Qemu

TABLE = 65536  # sectors
SECTORS = 2 * TABLE + 77
NEEDS_REPAIR, CANNOT_REPAIR = 16006, 16062


@dataclass
class Flushed:
    """A flush: all that the file had then is on storage, and what each sector may hold afterwards."""

    size: int
    values: dict[int, list[int]]


@dataclass
class Writer:
    """Writes areas of one value each; remembers the values that a sector had since each flush."""

    disk: Disk
    path: Path
    values: dict[int, int] = field(default_factory=dict)
    flushes: list[Flushed] = field(default_factory=list)

    def write(self, start: int, count: int, value: int) -> None:
        """Write to the disk, and into the history of all flushes before."""
        self.disk.write(start, bytes([value]) * (count * SECTOR))
        for sector in range(start, start + count):
            for flushed in self.flushes:
                flushed.values.setdefault(sector, [0]).append(value)
            self.values[sector] = value

    def flush(self) -> None:
        """Flush, and note what is certain from now on."""
        self.disk.flush()
        size = self.path.stat().st_size
        self.flushes.append(Flushed(size, {sector: [value] for sector, value in self.values.items()}))


def session(disk: Disk, path: Path, choose: random.Random) -> Writer:
    """Write and flush: in the middle of grains, over the border of tables, out of order, zeros."""
    writer = Writer(disk, path)
    position = 0
    for round_ in range(1, 40):
        count = choose.choice((1, 7, 64, 128, 300, 700))
        start = max(0, min(position, SECTORS - count) - choose.choice((0, 0, 0, 5, 700)))
        writer.write(start, count, choose.choice((round_, round_, 0)))
        position = start + count + choose.choice((0, 0, 3, 200, 6000))
        if choose.random() < 0.3:
            writer.flush()
    return writer


def check_content(engine: Engine, path: Path, values: dict[int, list[int]]) -> None:
    """Every sector has one of its values; those that never had any are zeros."""
    content = engine.read(path)
    for sector in range(SECTORS):
        found = content[sector * SECTOR : (sector + 1) * SECTOR]
        allowed = values.get(sector, [0])
        assert found in [bytes([value]) * SECTOR for value in allowed], f"sector {sector}: {found[0]}, not {allowed}"


def mend(engine: Engine, path: Path) -> None:
    """Without repair the file is left alone; afterwards it is a disk."""
    image = path.read_bytes()
    for call in (engine.check, engine.read):
        with pytest.raises(EngineError) as caught:
            call(path)
        assert caught.value.code == NEEDS_REPAIR
        assert "repair" in caught.value.text
    assert path.read_bytes() == image
    engine.check(path, repair=True)
    engine.check(path)


@pytest.mark.parametrize("seed", range(4))
def test_what_was_flushed_survives_a_crash(seed: int, engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """The file has all that was flushed, and any sectors of what was appended later, the end of the disk among them."""
    choose = random.Random(seed)
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    with engine.open(path) as disk:
        writer = session(disk, path, choose)
        writer.flush()
        unfinished = path.read_bytes()
    finished = path.read_bytes()
    check_content(engine, path, {sector: [value] for sector, value in writer.values.items()})
    for flushed in (writer.flushes[0], *choose.sample(writer.flushes, 4)):
        last = choose.choice((unfinished, finished[:-SECTOR]))
        image = bytearray(last[: flushed.size])
        for at in range(flushed.size, len(last), SECTOR):
            image += last[at : at + SECTOR] if choose.random() < 0.8 else bytes(SECTOR)
        path.write_bytes(image)
        mend(engine, path)
        check_content(engine, path, flushed.values)
        qemu.same(path, bytes(engine.read(path)))


def test_grains_that_came_out_of_order_are_all_found(engine: Engine, tmp_path: Path) -> None:
    """Of a table before the one that was begun, and after the next one was begun."""
    grains = (512, 511, 520, 1024, 1000)
    path = engine.create(tmp_path / "d.vmdk", 3 * TABLE, STREAM_OPTIMIZED)
    with engine.open(path) as disk:
        for value, grain in enumerate(grains, 1):
            disk.write(grain * 128, bytes([value]) * SECTOR)
            disk.flush()
        unfinished = path.read_bytes()
    path.write_bytes(unfinished)
    mend(engine, path)
    content = engine.read(path)
    assert [content[grain * TABLE] for grain in grains] == [1, 2, 3, 4, 5]


def test_a_process_that_is_killed_leaves_a_disk_that_can_be_repaired(engine: Engine, tmp_path: Path) -> None:
    """Nothing but the first write has happened; or the end was being written."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    with engine.open(path) as disk:
        disk.write(1, b"x" * SECTOR)
        unfinished = path.read_bytes()
    finished = path.read_bytes()
    for image in (unfinished, *(finished[: at * SECTOR] for at in range(128, len(finished) // SECTOR))):
        path.write_bytes(image)
        mend(engine, path)
        content = engine.read(path)
        assert content in (bytes(len(content)), bytes(SECTOR) + b"x" * SECTOR + bytes(len(content) - 2 * SECTOR))


def test_a_stream_that_was_cut_keeps_the_grains_before_the_cut(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """At any byte; another program's, too. A repair that is cut itself is repaired again."""
    disk = Stream()
    path = tmp_path / "d.vmdk"
    whole = disk.build()
    for size in (128 * SECTOR, 128 * SECTOR + 9, 130 * SECTOR + 100, len(whole) - 3 * SECTOR, len(whole) - 1):
        path.write_bytes(whole[:size])
        mend(engine, path)
        content, repaired = engine.read(path), path.read_bytes()
        qemu.same(path, bytes(content))
        assert content == disk.content() or size < len(whole) - 4000
        path.write_bytes(repaired[: -2 * SECTOR])
        mend(engine, path)
        assert engine.read(path) == content
        assert path.read_bytes() == repaired


def test_a_damaged_grain_is_left_out_and_named(engine: Engine, tmp_path: Path) -> None:
    """Those behind it are kept."""
    disk = Stream(grains={0: b"\1", 1: b"\2", 513: b"\3"})
    image = bytearray(disk.build())[: -3 * SECTOR]
    image[129 * SECTOR + 30] ^= 1
    path = tmp_path / "d.vmdk"
    path.write_bytes(image)
    engine.check(path, repair=True)
    assert any("the grain of sector 128 is damaged" in warning for warning in engine.warnings)
    content = engine.read(path)
    assert [content[grain * 128 * SECTOR] for grain in (0, 1, 513)] == [1, 0, 3]


@pytest.mark.parametrize("byte", [0, 7, 8, 9, 11], ids="byte {}".format)
def test_a_damaged_marker_costs_its_grain_only(byte: int, engine: Engine, tmp_path: Path) -> None:
    """Whether the sector in it is wrong or the size; what is left out is told."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    data = [random.Random(grain).randbytes(128 * SECTOR) for grain in range(10)]
    with engine.open(path) as disk:
        disk.write(0, b"".join(data))
    image = bytearray(path.read_bytes()[:-SECTOR])
    image[image.index(data[2][:1000]) // SECTOR * SECTOR + byte] ^= 0x81
    path.write_bytes(image)
    engine.check(path, repair=True)
    assert any("left out" in warning for warning in engine.warnings)
    content = engine.read(path)
    grains = [content[grain * 128 * SECTOR : (grain + 1) * 128 * SECTOR] for grain in range(10)]
    assert grains == [*data[:2], bytes(128 * SECTOR), *data[3:]]


def test_grains_in_no_order_are_left_alone(engine: Engine, tmp_path: Path) -> None:
    """A repair that could not keep them all does not cut them off."""
    path = tmp_path / "d.vmdk"
    moved = {0: 1024 * 128, 512: 512 * 128, 1024: 0}
    grains = {0: b"\1", 512: b"\2", 1024: b"\3"}
    path.write_bytes(Stream(sectors=3 * TABLE, grains=grains, lba=moved).build()[:-SECTOR])
    before = path.read_bytes()
    with pytest.raises(EngineError) as caught:
        engine.check(path, repair=True)
    assert caught.value.code == CANNOT_REPAIR
    assert path.read_bytes() == before


def test_what_lies_behind_the_footer_is_not_taken(engine: Engine, tmp_path: Path) -> None:
    """Grains of an older, longer file in the same place are not those of the disk."""
    path = tmp_path / "d.vmdk"
    older = Stream(grains={0: b"\1", 1: b"\1", 2: b"\1", 3: b"\1"}).build()
    path.write_bytes(Stream(grains={0: b"\2"}).build() + older[128 * SECTOR : -SECTOR])
    mend(engine, path)
    content = engine.read(path)
    assert [content[grain * 128 * SECTOR] for grain in range(4)] == [2, 0, 0, 0]


def test_a_repaired_stream_is_read_and_not_written(engine: Engine, tmp_path: Path) -> None:
    """It has grains; one without any can be written again."""
    path = tmp_path / "d.vmdk"
    image = Stream().build()
    path.write_bytes(image[: -2 * SECTOR])
    mend(engine, path)
    error = engine.open_error(path, 0)
    assert error
    assert error.code == 6
    path.write_bytes(image[: 128 * SECTOR])
    mend(engine, path)
    with engine.open(path) as disk:
        disk.write(0, b"x" * SECTOR)
    assert engine.read(path)[:SECTOR] == b"x" * SECTOR


@pytest.mark.parametrize("seed", range(60))
def test_damaged_streams_are_repaired_or_refused(seed: int, engine: Engine, tmp_path: Path) -> None:
    """Bytes of headers and markers changed at random: no crash, and what was repaired is read."""
    choose = random.Random(seed)
    image = bytearray(Stream().build()[: -choose.choice((1, 2, 3, 6)) * SECTOR])
    for _ in range(choose.choice((1, 2, 5))):
        sector = choose.choice((0, *range(128, len(image) // SECTOR)))
        image[sector * SECTOR + choose.randrange(80 if sector == 0 else 16)] = choose.choice((0, 1, 0x80, 0xFF))
    path = tmp_path / "d.vmdk"
    path.write_bytes(image)
    if engine.code("CheckRepair", engine.connection, bytes(path), b"\1"):
        assert engine.warnings
    elif error := engine.open_error(path):
        assert error.code != NEEDS_REPAIR
    else:
        with engine.open(path, READ_ONLY) as disk:
            disk.read(0, min(disk.capacity, 4 * TABLE))
