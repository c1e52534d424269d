"""Imitating a network: latency and bandwidth. Times are checked from below only: a slow machine makes nothing fail."""

from __future__ import annotations

import time
from ctypes import c_uint64
from typing import TYPE_CHECKING

import pytest

from tests.engine.session import VIX_ASYNC, Completions, Session, sectors

if TYPE_CHECKING:
    from pathlib import Path


def test_bandwidth_is_shared_by_the_calls_of_a_disk(library: Path, tmp_path: Path) -> None:
    """1 MiB in parts at 10 MiB/s takes a tenth of a second, read or written, one after the other or all at once."""
    with Session(library, tmp_path, f"openEngine.bandwidth = {10 << 20}\n") as session:
        handle, buffer, done = session.open(session.connect()), sectors(512), Completions()
        begin = time.monotonic()
        for i in range(4):
            name = "Read" if i % 2 else "Write"
            assert session.code(name, handle, c_uint64(i * 512), c_uint64(512), buffer) == 0
        assert time.monotonic() - begin >= 0.1
        begin, buffers = time.monotonic(), [sectors(256) for _ in range(8)]
        for i, part in enumerate(buffers):
            where = (handle, c_uint64(i * 256), c_uint64(256), part, done.function, None)
            assert session.code("WriteAsync" if i % 2 else "ReadAsync", *where) == VIX_ASYNC
        assert session.code("Wait", handle) == 0
        assert time.monotonic() - begin >= 0.1
        assert done.results == [0] * 8


def test_small_transfers_pass_no_faster_than_large_ones(library: Path, tmp_path: Path) -> None:
    """Many small ones, all at once, take as long as one of all their bytes."""
    rate = 3 * 1024 * 1024 + 1
    with Session(library, tmp_path, f"openEngine.bandwidth = {rate}\n") as session:
        handle, done, count = session.open(session.connect()), Completions(), 300
        buffer = sectors(1)
        begin = time.monotonic()
        for i in range(count):
            where = (handle, c_uint64(i), c_uint64(1), buffer, done.function, None)
            assert session.code("ReadAsync", *where) == VIX_ASYNC
        assert session.code("Wait", handle) == 0
        assert time.monotonic() - begin >= count * 512 / rate
        assert done.results == [0] * count


@pytest.mark.parametrize("asynchronous", ["on", "off"])
def test_latency_is_waited_for_by_every_transfer(library: Path, tmp_path: Path, asynchronous: str) -> None:
    """Synchronous ones add up; asynchronous ones wait together, unless they are made synchronous."""
    text = f"openEngine.latencyMs = 20\nopenEngine.async = {asynchronous}\n"
    with Session(library, tmp_path, text) as session:
        handle, done, buffer = session.open(session.connect()), Completions(), sectors(1)
        begin = time.monotonic()
        for _ in range(2):
            assert session.code("Read", handle, c_uint64(0), c_uint64(1), buffer) == 0
        assert time.monotonic() - begin >= 0.04
        begin = time.monotonic()
        for _ in range(4):
            where = (handle, c_uint64(0), c_uint64(1), buffer, done.function, None)
            assert session.code("ReadAsync", *where) == VIX_ASYNC
        assert session.code("Wait", handle) == 0
        assert time.monotonic() - begin >= (0.02 if asynchronous == "on" else 0.08)
