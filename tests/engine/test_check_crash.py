"""A repair that is interrupted at any moment: another one ends it, and nothing is lost."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN, SECTOR, Sparse
from tests.engine.crash import certain, events, load, store
from tests.engine.driver import READ_ONLY, EngineError
from tests.engine.test_check import code

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.crash import Files, Runner
    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

NEEDS_REPAIR = 16006
SECTORS = 4 * 65536
FULL = {0: 0xA1, 2: 0xA2, 3: 0xA3, 700: 0xA4, 1100: 0xA5, 1600: 0xA6}
FIRST = 128  # sector of the first grain

DAMAGE = {
    "tables": Sparse(
        sectors=SECTORS,
        grains=dict(FULL),
        gt_entries={2: 0, 9: FIRST, 10: FIRST, 1200: 1 << 20},
        rgt_entries={3: 1 << 20, 9: FIRST, 10: FIRST, 1600: 0},
    ),
    "directories": Sparse(
        sectors=SECTORS,
        grains=dict(FULL),
        gd_entries={0: 1 << 20, 1: 27},
        rgd_entries={2: 0, 3: 23},
        gt_entries={1100: 5},
    ),
    "lost directory": Sparse(
        sectors=SECTORS, grains=dict(FULL), header={"rgd_offset": 1 << 20}, rgd_entries={0: 5}, gt_entries={9: FIRST}
    ),
    "header": Sparse(sectors=SECTORS, grains=dict(FULL), header={"capacity": 0, "grain_size": 7}, gt_entries={700: 0}),
    "unfinished grain": Sparse(
        sectors=SECTORS, grains=dict(FULL), header={"unclean": 1}, size=(FIRST + 5 * 128 + 64) * SECTOR
    ),
}


def shown(engine: Engine, path: Path) -> dict[int, bytearray]:
    """Return what a reader sees of the grains that are damaged or could be; all of the disk would take long."""
    with engine.open(path, READ_ONLY) as disk:
        return {grain: disk.read(grain * GRAIN, GRAIN) for grain in sorted({*range(12), *FULL, 1200})}


def moments(runner: Runner, commands: tuple[str, ...]) -> list[Files]:
    """Return the files as they may be after each change: all writes made it, or any sectors of those not synced."""
    choose, log = random.Random(1), runner.folder.parent / "log"
    before, storage = load(runner.folder), certain(runner.folder)
    outcome = runner.run("log", log, commands)
    assert outcome.returned == len(commands), outcome
    found = [before]
    for event in events(log):
        if event.kind != "K":
            storage.take(event)
            found.append(storage.files_with(choose, 1.0))
            found += [storage.after_power_cut(choose) for _ in range(3)]
    return found


@pytest.mark.parametrize("case", DAMAGE)
def test_an_interrupted_repair_is_ended_by_the_next_one(case: str, engine: Engine, runner: Runner, qemu: Qemu) -> None:
    """At every change that the repair makes, the process dies or the power goes."""
    store(runner.folder, {"disk.vmdk": DAMAGE[case].build()})
    path = runner.folder / "disk.vmdk"
    images = moments(runner, ("check disk.vmdk 1",))
    content = shown(engine, path)
    for grain, fill in FULL.items():
        assert content[grain][: 64 * SECTOR] == bytes([fill]) * (64 * SECTOR)
    assert len(images) > 12
    for image in images:
        store(runner.folder, image)
        assert code(engine, path) in {0, NEEDS_REPAIR}
        engine.check(path, repair=True)
        engine.check(path)
        assert shown(engine, path) == content
        assert engine.open_error(path, 0) is None
    qemu.check(path)


def test_a_repair_without_room_leaves_the_file_as_it_was(engine: Engine, tmp_path: Path) -> None:
    """What a repair adds comes first, and goes again if it cannot be completed."""
    path = DAMAGE["tables"].save(tmp_path / "disk.vmdk")
    before = path.read_bytes()
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal = pytest.importorskip("signal")
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 1000, hard))
    try:
        with pytest.raises(EngineError) as caught:
            engine.check(path, repair=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)
    assert "disk.vmdk" in caught.value.text
    assert path.read_bytes() == before
