"""A process that dies, or a machine that loses power, at any moment: what was flushed is there, and the disk opens."""

from __future__ import annotations

import random
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import LOADER_ENVIRONMENT, READ_ONLY, SECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.driver import Disk, Engine
    from tests.engine.qemu import Qemu

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "asyncvddk" / "engine" / "include"
RECORD = struct.Struct("<cQQQ")
ROUNDS = 30
SHARE = 0.25  # of the moments that are tried
SECTORS = 65536 + 77


@dataclass(frozen=True, slots=True)
class Event:
    """One record of crash_recorder.c."""

    kind: str
    inode: int
    offset: int
    data: bytes


@dataclass
class Storage:
    """One file as storage has it: what was synced for certain, what was written since perhaps."""

    durable: bytearray
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def sync(self) -> None:
        """All of it is on storage."""
        self.durable = self.with_writes(self.pending)
        self.pending = []

    def with_writes(self, writes: list[tuple[int, bytes]]) -> bytearray:
        """Return the file with some writes that came after the last sync."""
        image = bytearray(self.durable)
        for offset, data in writes:
            image.extend(bytes(max(0, offset + len(data) - len(image))))
            image[offset : offset + len(data)] = data
        return image

    def after_power_cut(self, choose: random.Random) -> bytearray:
        """Any sector of any write since the last sync may have reached storage, or not."""
        pieces = [
            (offset + at, data[at : at + SECTOR]) for offset, data in self.pending for at in range(0, len(data), SECTOR)
        ]
        keep = choose.choice((0.1, 0.5, 0.9))
        return self.with_writes([piece for piece in pieces if choose.random() < keep])


@dataclass
class Expected:
    """For each sector the values that it may have: the flushed one, and those written since."""

    values: dict[int, list[int]] = field(default_factory=dict)
    areas: set[tuple[int, int]] = field(default_factory=set)

    def write(self, start: int, count: int, value: int) -> None:
        """Any of the sectors may change from now on."""
        self.areas.add((start, count + 1))
        for sector in range(start, start + count):
            self.values.setdefault(sector, [0]).append(value)

    def flush(self) -> None:
        """Make what was written last certain."""
        for values in self.values.values():
            del values[:-1]

    def check(self, disk: Disk, below: bytes) -> None:
        """Compare all sectors that were ever written, and the one behind each write."""
        for start, count in self.areas:
            content = disk.read(start, count)
            for i in range(count):
                old = part(below, start + i)
                values = self.values.get(start + i, [0])
                allowed = [bytes([value]) * SECTOR if value else old for value in values]
                found = part(content, i)
                assert found in allowed, f"sector {start + i} is {found[0]}, expected one of {values}"


def part(content: bytes | bytearray, sector: int) -> bytes | bytearray:
    """Return one sector."""
    return content[sector * SECTOR : (sector + 1) * SECTOR]


def events(log: Path) -> Iterator[Event]:
    """Read the recorder's log."""
    data = memoryview(log.read_bytes())
    position = 0
    while position < len(data):
        kind, inode, offset, length = RECORD.unpack_from(data, position)
        position += RECORD.size
        yield Event(kind.decode(), inode, offset, bytes(data[position : position + length]))
        position += length


@pytest.fixture(scope="module")
def recorder(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the recorder."""
    program = tmp_path_factory.mktemp("recorder") / "crash_recorder"
    flags = ["-Wall", "-Wextra", "-Werror", "-rdynamic", f"-I{INCLUDE}"]
    subprocess.run([gcc, *flags, HERE / "crash_recorder.c", "-o", program, "-ldl"], check=True)
    return program


def survive(engine: Engine, path: Path, expected: Expected, below: bytes) -> None:
    """Open as a reader, then as a writer, who mends; write something; all is well afterwards."""
    with engine.open(path, READ_ONLY) as disk:
        expected.check(disk, below)
    with engine.open(path) as disk:
        expected.check(disk, below)
        disk.write(SECTORS - 1, b"\xfe" * SECTOR)
    assert path.read_bytes()[72] == 0
    with engine.open(path) as disk:
        expected.check(disk, below)
        assert disk.read(SECTORS - 1, 1) == b"\xfe" * SECTOR


@dataclass
class Recorded:
    """A disk of whose life all events were recorded, and what it showed before."""

    path: Path
    below: bytes
    before: bytes
    events: list[Event]


@pytest.fixture(params=["base", "child"])
def recorded(request: pytest.FixtureRequest, engine: Engine, library: Path, recorder: Path, tmp_path: Path) -> Recorded:
    """Record writes to an empty disk, or to one whose parent shows through."""
    base = Sparse(sectors=SECTORS, grains={i * 23: i for i in range(1, 20)})
    path = tmp_path / "disk.vmdk"
    if request.param == "child":
        base.save(tmp_path / "base.vmdk")
        keys = {"parentCID": "12345678", "parentFileNameHint": '"base.vmdk"'}
        Sparse(sectors=SECTORS, grains={}, text=descriptor(f'RW {SECTORS} SPARSE "disk.vmdk"', **keys)).save(path)
    else:
        engine.create(path, SECTORS)
    below = base.content() if request.param == "child" else bytes(SECTORS * SECTOR)
    before, log = path.read_bytes(), tmp_path / "log"
    subprocess.run([recorder, library, path, log, "1", str(ROUNDS)], check=True, env=LOADER_ENVIRONMENT)
    return Recorded(path, below, before, list(events(log)))


def test_flushed_data_survives_a_crash_at_any_moment(recorded: Recorded, engine: Engine, qemu: Qemu) -> None:
    """At random ones of the recorded changes, the process dies and the power goes.

    When the process dies, all writes so far are in the file; when the power goes, any sectors of those since the last
    sync are.
    """
    choose = random.Random(1)
    file, expected, crashes = Storage(bytearray(recorded.before)), Expected(), 0
    for event in recorded.events:
        if event.kind == "C":
            expected.write(event.inode, int.from_bytes(event.data, "little"), event.offset)
        elif event.kind == "F":
            expected.flush()
        elif event.kind == "S":
            file.sync()
        else:
            file.pending.append((event.offset, event.data))
        if event.kind == "F" or choose.random() > SHARE:
            continue
        for image in (file.with_writes(file.pending), file.after_power_cut(choose)):
            recorded.path.write_bytes(image)
            survive(engine, recorded.path, expected, recorded.below)
            crashes += 1
    assert crashes > 10
    qemu.check(recorded.path)
