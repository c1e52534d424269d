"""A bytearray is the disk: whatever is shrunk and defragmented in between, and meanwhile, reads agree with it."""

from __future__ import annotations

import random
import threading
from ctypes import c_char, c_uint64
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import GRAIN
from tests.engine.driver import READ_ONLY, SECTOR, Disk, Engine, EngineError
from tests.engine.grain_tables import GRAIN_BYTES, grains, in_order
from tests.engine.session import VIX_ASYNC, CompletionFunction

if TYPE_CHECKING:
    import ctypes
    from collections.abc import Iterator
    from pathlib import Path

    from tests.engine.qemu import Qemu

SIZES = (65536 + 8000 + 3, 3000, 7 * GRAIN)
OPTIONS: tuple[tuple[str, ...], ...] = ((), ("zeroed_grain=on",))
CANCELLED = 10
LANE = 40 * GRAIN + 50  # sectors of the disk that one thread uses: two threads share a grain
LANES = 4


@pytest.fixture
def small_steps(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Load an engine that syncs after every third grain."""
    loaded = Engine(library, tmp_path_factory.mktemp("steps"), f"openEngine.compactStepBytes={3 * GRAIN_BYTES}")
    yield loaded
    loaded.close()


class Model:
    """What the disk, or one lane of it, must hold."""

    def __init__(self, seed: int, sectors: int, start: int = 0) -> None:
        """Begin with zeros."""
        self.random = random.Random(seed)
        self.start, self.sectors = start, sectors
        self.content = bytearray(sectors * SECTOR)

    def area(self) -> tuple[int, int]:
        """Return a random start and count."""
        start = self.random.randrange(self.sectors)
        return start, min(self.random.choice((1, 5, 128, 300, 2000)), self.sectors - start)

    def write(self, disk: Disk) -> None:
        """Write bytes or zeros to both."""
        start, count = self.area()
        if self.random.random() < 0.4:
            start = start // GRAIN * GRAIN
            count = min(-(-count // GRAIN) * GRAIN, self.sectors - start)
            data = bytes(count * SECTOR)
        else:
            data = self.random.randbytes(count * SECTOR)
        disk.write(self.start + start, data)
        self.content[start * SECTOR : (start + count) * SECTOR] = data

    def check(self, disk: Disk) -> None:
        """Compare everything."""
        assert disk.read(self.start, self.sectors) == self.content

    def compact(self, disk: Disk) -> None:
        """Shrink or defragment; writes come in its pauses, and it may be cancelled."""

        def progress(_percent: int) -> bool:
            if self.random.random() < 0.3:
                self.write(disk)
            return self.random.random() > 0.1

        try:
            self.random.choice((disk.shrink, disk.defragment))(progress)
        except EngineError as error:
            if error.code != CANCELLED:
                raise

    def used(self) -> list[int]:
        """Return the grains that hold anything."""
        ends = range(0, self.sectors, GRAIN)
        return [start // GRAIN for start in ends if any(self.content[start * SECTOR : (start + GRAIN) * SECTOR])]


@pytest.mark.parametrize("seed", range(8))
def test_compaction_between_random_writes_changes_nothing(
    seed: int, small_steps: Engine, qemu: Qemu, tmp_path: Path
) -> None:
    """And both together leave exactly the grains that hold anything, in order."""
    sectors = SIZES[seed % len(SIZES)]
    model = Model(seed, sectors)
    path = qemu.create(tmp_path / "disk.vmdk", sectors * SECTOR, *OPTIONS[seed % len(OPTIONS)])
    for _ in range(3):
        with small_steps.open(path) as disk:
            for _ in range(20):
                model.random.choices((model.write, model.check, model.compact, Disk.flush), (8, 1, 2, 1))[0](disk)
            disk.shrink()
            disk.defragment()
            model.check(disk)
        in_order(path.read_bytes(), model.used())
        assert small_steps.read(path) == model.content
    qemu.check(path)
    qemu.same(path, bytes(model.content))


def asynchronous(disk: Disk, call: str, start: int, buffer: ctypes.Array[c_char]) -> None:
    """Make an asynchronous call and wait for its end; other threads have requests of their own."""
    results: list[int] = []
    done = threading.Event()

    def receive(_data: int, result: int) -> None:
        results.append(result)
        done.set()

    function = CompletionFunction(receive)
    count = len(buffer) // SECTOR
    arguments = (c_uint64(start), c_uint64(count), buffer, function, None)
    assert disk.engine.code(call, disk.handle, *arguments) == VIX_ASYNC
    done.wait()
    assert results == [0]


def lane(disk: Disk, model: Model, stop: threading.Event) -> None:
    """Write and compare until told to stop."""
    while not stop.is_set():
        model.write(disk)
        start, count = model.area()
        found = (c_char * (count * SECTOR))()
        asynchronous(disk, "ReadAsync", model.start + start, found)
        assert found.raw == model.content[start * SECTOR : (start + count) * SECTOR]
        data = model.random.randbytes(SECTOR)
        asynchronous(disk, "WriteAsync", model.start + start, (c_char * SECTOR).from_buffer_copy(data))
        model.content[start * SECTOR : (start + 1) * SECTOR] = data


def test_reads_and_writes_go_on_meanwhile(small_steps: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Threads with plain and asynchronous calls, on parts of the disk that share grains, find what they wrote."""
    path = small_steps.create(tmp_path / "disk.vmdk", LANES * LANE)
    models = [Model(seed, LANE, seed * LANE) for seed in range(LANES)]
    failures: list[BaseException] = []
    stop = threading.Event()

    def work(disk: Disk, model: Model) -> None:
        try:
            lane(disk, model, stop)
        except BaseException as error:  # noqa: BLE001 (handed to the test)
            failures.append(error)

    with small_steps.open(path) as disk:
        threads = [threading.Thread(target=work, args=(disk, model)) for model in models]
        for thread in threads:
            thread.start()
        for _ in range(12):
            disk.defragment()
            disk.shrink()
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        disk.shrink()
        disk.defragment()
    content = b"".join(model.content for model in models)
    with small_steps.open(path, READ_ONLY) as disk:
        assert disk.read(0, LANES * LANE) == content
    assert list(grains(path.read_bytes()).values()) == sorted(grains(path.read_bytes()).values())
    qemu.check(path)
    qemu.same(path, content)
