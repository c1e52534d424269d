"""Power that fails while grains are moved: each of them is where either copy of its table says."""

from __future__ import annotations

import os
import random
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN, Sparse
from tests.engine.driver import LOADER_ENVIRONMENT, READ_ONLY, SECTOR
from tests.engine.grain_tables import GRAIN_BYTES, entries, grains, header

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

HERE = Path(__file__).parent
INCLUDE = HERE.parents[1] / "asyncvddk" / "engine" / "include"
RECORD = struct.Struct("<cQQQ")
SECTORS = 65536 + 77
STEP = 5 * GRAIN_BYTES
SHARE = float(os.environ.get("ASYNCVDDK_CRASH_SHARE", "0.3"))  # of the moments that are tried
OPENED = 0.1  # share of them where the engine opens what is left

Change = tuple[str, int, bytes]
"""Kind, offset and bytes of one record."""


def disk() -> Sparse:
    """Return a disk in disorder: grains of two tables mixed, some of zeros, some that nothing leads to."""
    choose = random.Random(7)
    places = [*range(0, 60, 2), *range(490, 513)]
    choose.shuffle(places)
    fills = {grain: 0 if grain % 5 == 0 else grain % 250 + 1 for grain in places}
    lost = dict.fromkeys(places[10:16], 0)
    return Sparse(sectors=SECTORS, grains=fills, gt_entries=lost, rgt_entries=lost)


def with_table_between_grains(image: bytes) -> bytes:
    """Move the second grain table, and its copy, to where grains were that nothing leads to."""
    old = bytearray(image)
    fields = header(image)
    places = sorted(set(range(fields["overhead"], len(image) // SECTOR, GRAIN)) - set(entries(image).values()))
    for directory, sector in zip((fields["gd_offset"], fields["rgd_offset"]), places, strict=False):
        (table,) = struct.unpack_from("<I", image, directory * SECTOR + 4)
        old[sector * SECTOR : (sector + 4) * SECTOR] = image[table * SECTOR : (table + 4) * SECTOR]
        struct.pack_into("<I", old, directory * SECTOR + 4, sector)
    return bytes(old)


@dataclass
class Storage:
    """A file as storage has it for certain, and what was changed since the last sync."""

    durable: bytearray
    pending: list[Change] = field(default_factory=list)

    def take(self, change: Change) -> None:
        """Go on."""
        if change[0] == "S":
            self.durable = self.applied(self.pending)
            self.pending = []
        else:
            self.pending.append(change)

    def applied(self, changes: list[Change]) -> bytearray:
        """Return the file with some of the changes."""
        image = bytearray(self.durable)
        for kind, offset, data in changes:
            if kind == "T":
                del image[offset:]
            image.extend(bytes(max(0, offset + len(data) - len(image))))
            image[offset : offset + len(data)] = data
        return image

    def after_power_cut(self, choose: random.Random) -> bytearray:
        """Any sector of any write, and any cut, since the last sync may have reached storage, or not."""
        keep = choose.choice((0.1, 0.5, 0.9))
        pieces = [
            (kind, offset + at, data[at : at + SECTOR])
            for kind, offset, data in self.pending
            for at in range(0, max(len(data), 1), SECTOR)
        ]
        return self.applied([piece for piece in pieces if choose.random() < keep])


def changes(log: Path) -> Iterator[Change]:
    """Read the recorder's log."""
    data = memoryview(log.read_bytes())
    position = 0
    while position < len(data):
        kind, _inode, offset, length = RECORD.unpack_from(data, position)
        position += RECORD.size
        yield kind.decode(), offset, bytes(data[position : position + length])
        position += length


def by_grain(content: bytes) -> dict[int, bytes]:
    """Return the grains that are not all zeros; the last one is cut short."""
    found = {}
    for grain in range(-(-SECTORS // GRAIN)):
        part = content[grain * GRAIN_BYTES : (grain + 1) * GRAIN_BYTES]
        if any(part):
            found[grain] = bytes(part)
    return found


def lost_grains(image: bytes | bytearray, wanted: dict[int, bytes]) -> set[int]:
    """Return the grains that one of the two copies of the tables does not lead to, or to something else."""
    lost = set()
    for directory in ("gd_offset", "rgd_offset"):
        found = entries(image, directory)
        lost |= wanted.keys() - found.keys()
        for grain, sector in found.items():
            content = wanted.get(grain, bytes(GRAIN_BYTES))
            if not image.startswith(content, sector * SECTOR):
                lost.add(grain)
    return lost


@pytest.fixture(scope="module")
def recorder(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the recorder."""
    program = tmp_path_factory.mktemp("recorder") / "recorder"
    flags = ["-Wall", "-Wextra", "-Werror", "-rdynamic", f"-I{INCLUDE}"]
    subprocess.run([gcc, *flags, HERE / "compaction_recorder.c", "-o", program, "-ldl"], check=True)
    return program


def survive(engine: Engine, path: Path, wanted: bytearray, call: str) -> None:
    """The disk opens for reading, and for writing, which mends it; the work can be done again."""
    assert engine.read(path) == wanted
    with engine.open(path) as opened:
        getattr(opened, call)()
        opened.write(SECTORS - 1, b"\xfe" * SECTOR)
        assert opened.read(0, SECTORS - 1) == wanted[:-SECTOR]
    assert path.read_bytes()[72] == 0
    with engine.open(path, READ_ONLY) as opened:
        assert opened.read(0, SECTORS) == wanted[:-SECTOR] + b"\xfe" * SECTOR


@pytest.mark.parametrize("layout", ["tables first", "table between grains"])
@pytest.mark.parametrize("call", ["shrink", "defragment"])
def test_no_grain_is_lost_when_the_power_fails(
    call: str, layout: str, recorder: Path, library: Path, engine: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """At random ones of the changes, with any sectors since the last sync lost: both copies of the tables lead to the content."""
    image = disk().build() if layout == "tables first" else with_table_between_grains(disk().build())
    path, log, settings = tmp_path / "disk.vmdk", tmp_path / "log", tmp_path / "settings"
    path.write_bytes(image)
    settings.write_text(f"openEngine.compactStepBytes={STEP}\n", "utf-8")
    wanted = engine.read(path)
    present = by_grain(wanted)
    assert lost_grains(image, present) == set()
    command = [recorder, library, settings, path, log, f"VixDiskLib_{call.capitalize()}"]
    subprocess.run(command, check=True, env=LOADER_ENVIRONMENT)
    choose, storage, synced = random.Random(call), Storage(bytearray(image)), 0
    for change in changes(log):
        storage.take(change)
        synced += change[0] == "S"
        if choose.random() > SHARE:
            continue
        for crash in (storage.applied(storage.pending), storage.after_power_cut(choose)):
            assert lost_grains(crash, present) == set()
            if choose.random() < OPENED:
                path.write_bytes(crash)
                survive(engine, path, wanted, call)
    assert synced > 4  # noqa: PLR2004 (more than one step)
    path.write_bytes(storage.applied(storage.pending))
    qemu.check(path)
    assert len(path.read_bytes()) < len(image)
    if call == "defragment":
        assert list(grains(path.read_bytes()).values()) == sorted(grains(path.read_bytes()).values())
