"""Power that fails while grains are moved: each of them is where either copy of its table says."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN, Sparse
from tests.engine.crash import certain, events, store
from tests.engine.driver import READ_ONLY, SECTOR
from tests.engine.grain_tables import GRAIN_BYTES, entries, grains, with_table_between_grains

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.crash import Event, Runner, Storage
    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SECTORS = 65536 + 77
STEP = 5 * GRAIN_BYTES
SHARE = float(os.environ.get("ASYNCVDDK_CRASH_SHARE", "0.3"))  # of the moments that are tried
OPENED = 0.1  # share of them where the engine opens what is left


def disk() -> Sparse:
    """Return a disk in disorder: grains of two tables mixed, some of zeros, some that nothing leads to."""
    choose = random.Random(7)
    places = [*range(0, 60, 2), *range(490, 513)]
    choose.shuffle(places)
    fills = {grain: 0 if grain % 5 == 0 else grain % 250 + 1 for grain in places}
    lost = dict.fromkeys(places[10:16], 0)
    return Sparse(sectors=SECTORS, grains=fills, gt_entries=lost, rgt_entries=lost)


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
    storage: Storage
    changes: list[Event]


@pytest.fixture(params=["shrink", "defragment", "shrink around tables", "defragment around tables"])
def recorded(request: pytest.FixtureRequest, runner: Runner, engine: Engine, tmp_path: Path) -> Recorded:
    """Record one run, of a disk whose tables come first or lie between the grains."""
    call, _, around = request.param.partition(" ")
    image = disk().build()
    if around:
        image, _ = with_table_between_grains(image)
    path, log, settings = runner.folder / "disk.vmdk", tmp_path / "log", tmp_path / "settings"
    store(runner.folder, {path.name: image})
    settings.write_text(f"openEngine.compactStepBytes={STEP}\n", "utf-8")
    wanted, storage = engine.read(path), certain(runner.folder)
    outcome = replace(runner, settings=settings).run("log", log, (f"open {path.name} 0", call, "close"))
    assert outcome.returned == 3, outcome
    return Recorded(call, path, image, wanted, storage, [event for event in events(log) if event.kind != "K"])


def test_no_grain_is_lost_when_the_power_fails(recorded: Recorded, engine: Engine, qemu: Qemu) -> None:
    """At random ones of the changes, with any sectors since the last sync lost.

    Both copies of the tables lead to the content, each by itself, and the engine mends what differs.
    """
    path, wanted, present = recorded.path, recorded.wanted, by_grain(recorded.wanted)
    choose, storage, synced = random.Random(recorded.call), recorded.storage, 0
    assert lost_grains(recorded.image, present) == set()
    for change in recorded.changes:
        storage.take(change)
        synced += change.kind == "S"
        if choose.random() > SHARE:
            continue
        for files in (storage.files_with(choose, 1.0), storage.after_power_cut(choose)):
            assert lost_grains(files[path.name], present) == set()
            if choose.random() < OPENED:
                store(path.parent, files)
                survive(engine, path, wanted, recorded.call)
    assert synced > 4
    store(path.parent, storage.files_with(choose, 1.0))
    qemu.check(path)
    assert path.stat().st_size < len(recorded.image)
    if recorded.call == "defragment":
        places = list(grains(path.read_bytes()).values())
        assert places == sorted(places)
