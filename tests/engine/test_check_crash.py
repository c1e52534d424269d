"""A repair that is interrupted at any moment: another one ends it, and nothing is lost."""

from __future__ import annotations

import random
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN, SECTOR, Sparse
from tests.engine.driver import LOADER_ENVIRONMENT, EngineError
from tests.engine.test_check import code
from tests.engine.test_crash import HERE, INCLUDE, Event, Storage, events

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.fixture(scope="module")
def recorder(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the recorder."""
    program = tmp_path_factory.mktemp("recorder") / "check_recorder"
    flags = ["-Wall", "-Wextra", "-Werror", "-rdynamic", f"-I{INCLUDE}"]
    subprocess.run([gcc, *flags, HERE / "check_recorder.c", "-o", program, "-ldl"], check=True)
    return program


def moments(before: bytes, recorded: list[Event]) -> list[bytearray]:
    """Return the file as it may be after each change: all writes made it, or any sectors of those not synced."""
    choose = random.Random(1)
    file = Storage(bytearray(before))
    images = [bytearray(before)]
    for event in recorded:
        if event.kind == "S":
            file.sync()
        else:
            file.pending.append((event.offset, event.data))
        images.append(file.with_writes(file.pending))
        images += [file.after_power_cut(choose) for _ in range(3)]
    return images


@pytest.fixture(params=DAMAGE)
def recorded(request: pytest.FixtureRequest, library: Path, recorder: Path, tmp_path: Path) -> tuple[Path, bytes, Path]:
    """Repair a disk; its path, its bytes before, and the log."""
    path, log = DAMAGE[request.param].save(tmp_path / "disk.vmdk"), tmp_path / "log"
    before = path.read_bytes()
    subprocess.run([recorder, library, path, log], check=True, env=LOADER_ENVIRONMENT)
    return path, before, log


def test_an_interrupted_repair_is_ended_by_the_next_one(
    recorded: tuple[Path, bytes, Path], engine: Engine, qemu: Qemu
) -> None:
    """At every change that the repair makes, the process dies or the power goes."""
    path, before, log = recorded
    content = engine.read(path)
    for grain, fill in FULL.items():
        start = grain * GRAIN * SECTOR
        assert content[start : start + 64 * SECTOR] == bytes([fill]) * (64 * SECTOR)
    images = moments(before, list(events(log)))
    assert len(images) > 12
    for image in images:
        path.write_bytes(image)
        assert code(engine, path) in {0, NEEDS_REPAIR}
        engine.check(path, repair=True)
        engine.check(path)
        assert engine.read(path) == content
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
