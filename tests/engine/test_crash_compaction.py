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
from tests.engine.grain_tables import GRAIN_BYTES, entries, grains, with_table_between_grains

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


def by_grain(content: bytes | bytearray) -> dict[int, bytes]:
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
    """Open for reading, then for writing, which mends the disk; the work can be done again."""
    assert engine.read(path) == wanted
    with engine.open(path) as opened:
        getattr(opened, call)()
        opened.write(SECTORS - 1, b"\xfe" * SECTOR)
        assert opened.read(0, SECTORS - 1) == wanted[:-SECTOR]
    assert path.read_bytes()[72] == 0
    with engine.open(path, READ_ONLY) as opened:
        assert opened.read(0, SECTORS) == wanted[:-SECTOR] + b"\xfe" * SECTOR


@dataclass
class Recorded:
    """A disk, and all that was done to its file."""

    call: str
    path: Path
    image: bytes
    wanted: bytearray
    changes: list[Change]


@pytest.fixture(params=["shrink", "defragment", "shrink around tables", "defragment around tables"])
def recorded(request: pytest.FixtureRequest, recorder: Path, library: Path, engine: Engine, tmp_path: Path) -> Recorded:
    """Record one run, of a disk whose tables come first or lie between the grains."""
    call, _, around = request.param.partition(" ")
    image = disk().build()
    if around:
        image, _ = with_table_between_grains(image)
    path, log, settings = tmp_path / "disk.vmdk", tmp_path / "log", tmp_path / "settings"
    path.write_bytes(image)
    settings.write_text(f"openEngine.compactStepBytes={STEP}\n", "utf-8")
    wanted = engine.read(path)
    command: list[str | Path] = [recorder, library, settings, path, log, f"VixDiskLib_{call.capitalize()}"]
    subprocess.run(command, check=True, env=LOADER_ENVIRONMENT)
    return Recorded(call, path, image, wanted, list(changes(log)))


def test_no_grain_is_lost_when_the_power_fails(recorded: Recorded, engine: Engine, qemu: Qemu) -> None:
    """At random ones of the changes, with any sectors since the last sync lost.

    Both copies of the tables lead to the content, each by itself, and the engine mends what differs.
    """
    path, wanted, present = recorded.path, recorded.wanted, by_grain(recorded.wanted)
    choose, storage, synced = random.Random(recorded.call), Storage(bytearray(recorded.image)), 0
    assert lost_grains(recorded.image, present) == set()
    for change in recorded.changes:
        storage.take(change)
        synced += change[0] == "S"
        if choose.random() > SHARE:
            continue
        for crash in (storage.applied(storage.pending), storage.after_power_cut(choose)):
            assert lost_grains(crash, present) == set()
            if choose.random() < OPENED:
                path.write_bytes(crash)
                survive(engine, path, wanted, recorded.call)
    assert synced > 4
    path.write_bytes(storage.applied(storage.pending))
    qemu.check(path)
    assert path.stat().st_size < len(recorded.image)
    if recorded.call == "defragment":
        places = list(grains(path.read_bytes()).values())
        assert places == sorted(places)
