"""The order in which a compressed stream is written: from front to back, nearly."""

from __future__ import annotations

import random
import threading
from ctypes import c_uint64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import SECTOR, STREAM_OPTIMIZED, Disk, EngineError
from tests.engine.session import VIX_ASYNC, Completions

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

SECTORS = 2 * 65536 + 300 + 7
WINDOW = 512 * 128  # sectors that are held back, so that writes may come out of order


def test_a_write_that_goes_back_too_far_is_refused(engine: Engine, tmp_path: Path) -> None:
    """The message says what to do; what was written stays, and writing goes on."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    with engine.open(path) as disk:
        disk.write(WINDOW + 10 * 128, b"x" * SECTOR)
        disk.write(WINDOW, b"y" * SECTOR)
        with pytest.raises(EngineError) as caught:
            disk.write(0, b"z" * SECTOR)
        assert caught.value.code == 6
        assert "front to back" in caught.value.text
        disk.write(WINDOW + 20 * 128, b"z" * SECTOR)
    content = engine.read(path)
    found = {i: content[i * SECTOR : i * SECTOR + 1] for i in (0, *(WINDOW + i * 128 for i in (0, 10, 20)))}
    assert list(found.values()) == [b"\0", b"y", b"x", b"z"]


@dataclass
class Racers:
    """Threads that share the work of writing one disk from front to back; none is ahead of another by 16 pieces."""

    disk: Disk
    pieces: int
    changed: threading.Condition = field(default_factory=threading.Condition)
    next: int = 0
    running: set[int] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)

    def take(self) -> int:
        """Return the next piece when the others are near enough."""
        with self.changed:
            self.changed.wait_for(lambda: self.next < min(self.running, default=self.next) + 16)
            piece, self.next = self.next, self.next + 1
            self.running.add(piece)
            return piece

    def end(self, piece: int) -> None:
        """Let the others go on."""
        with self.changed:
            self.running.discard(piece)
            self.changed.notify_all()

    def run(self) -> None:
        """Take the next piece until there is none."""
        while (piece := self.take()) < self.pieces:
            try:
                data = (piece + 1).to_bytes(4, "little") * (500 * 128)
                self.disk.write(piece * 500, data)
                assert self.disk.read(piece * 500, 500) == data
                if piece >= 16:
                    assert self.disk.read((piece - 16) * 500, 1)[:4] == (piece - 15).to_bytes(4, "little")
            except BaseException as error:  # noqa: BLE001 (reported by the test)
                self.failures.append(error)
            finally:
                self.end(piece)
        self.end(piece)


def test_threads_that_write_side_by_side_never_go_back_too_far(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """As programs do that keep several requests under way: their order is not that of the disk, but nearly."""
    pieces = SECTORS // 500
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    with engine.open(path) as disk:
        racers = Racers(disk, pieces)
        threads = [threading.Thread(target=racers.run) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert racers.failures == []
    content = b"".join((piece + 1).to_bytes(4, "little") * (500 * 128) for piece in range(pieces))
    qemu.same(path, content.ljust(SECTORS * SECTOR, b"\0"))


def test_requests_that_are_under_way_together_keep_their_order(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Each is done on the thread that asks, so that however many there are none is overtaken."""
    path = engine.create(tmp_path / "d.vmdk", SECTORS, STREAM_OPTIMIZED)
    content = random.Random(1).randbytes(1 << 20) * (SECTORS * SECTOR >> 20)
    completions = Completions()
    count = len(content) // (500 * SECTOR)
    with engine.open(path) as disk:
        for piece in range(count):
            data = content[piece * 500 * SECTOR : (piece + 1) * 500 * SECTOR]
            arguments = (disk.handle, c_uint64(piece * 500), c_uint64(500), data, completions.function, None)
            assert engine.code("WriteAsync", *arguments) == VIX_ASYNC
        assert engine.code("Wait", disk.handle) == 0
    assert completions.results == [0] * count
    assert completions.threads == {threading.get_native_id()}
    qemu.same(path, content[: count * 500 * SECTOR].ljust(SECTORS * SECTOR, b"\0"))
