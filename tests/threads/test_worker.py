"""One worker: order, batches, end, abandonment."""

from __future__ import annotations

import asyncio
import ctypes
import os
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncvddk import ClosedError
from asyncvddk.native import _core, _memory
from asyncvddk.threads._worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator

_LIBC = ctypes.CDLL(None)


def libc(name: str) -> int:
    """Return the address of a function of the C library."""
    return ctypes.cast(getattr(_LIBC, name), ctypes.c_void_p).value or 0


LABS, READ, WRITE = libc("labs"), libc("read"), libc("write")


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Return a pipe: a call of read() on it stands until the test writes."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


async def test_calls_return_what_c_returns() -> None:
    """64 bits, unsigned."""
    async with aclosing(Worker("vddk-test")) as worker:
        assert await worker.call(LABS, (1 << 64) - 5) == 5
        assert await worker.call(READ, (1 << 64) - 1, 0, 0) == (1 << 64) - 1


async def test_calls_are_made_in_the_order_of_their_asking(pipe: tuple[int, int]) -> None:
    """Hundreds at once, more than a batch holds."""
    async with aclosing(Worker("vddk-test")) as worker:
        letters = [bytes([65 + n % 26]) for n in range(700)]
        await asyncio.gather(
            *(worker.call(WRITE, pipe[1], _memory.bytes_address(letter), 1, keep=letter) for letter in letters)
        )
        assert os.read(pipe[0], 1000) == b"".join(letters)


async def test_busy_loop_does_not_hold_the_thread_up(pipe: tuple[int, int]) -> None:
    """The thread goes on to the second call while Python computes: no Python runs on it."""
    async with aclosing(Worker("vddk-test")) as worker:
        done = os.pipe()
        waiting = asyncio.gather(
            worker.call(READ, pipe[0], *_room(), 1),
            worker.call(WRITE, done[1], _memory.bytes_address(b"!"), 1),
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        os.write(pipe[1], b"x")
        assert os.read(done[0], 1) == b"!", "this loop is blocked, and the second call was made"
        await waiting
        for end in done:
            os.close(end)


_ROOM = bytearray(16)


def _room() -> tuple[int]:
    return (_memory.Pinned(_ROOM, writable=True).address,)


async def test_close_waits_for_the_calls_that_it_has(pipe: tuple[int, int]) -> None:
    """Queued before the close: made."""
    worker = Worker("vddk-test")
    call = asyncio.create_task(worker.call(WRITE, pipe[1], _memory.bytes_address(b"late"), 4))
    await asyncio.sleep(0)
    await worker.aclose()
    assert await call == 4
    assert worker.closed


async def test_closed_worker_refuses_calls_and_a_second_close_is_nothing() -> None:
    """The error names the worker."""
    worker = Worker("vddk-mine")
    await worker.aclose()
    await worker.aclose()
    with pytest.raises(ClosedError, match="vddk-mine"):
        await worker.call(LABS, 1)


async def test_abandoned_worker_gives_everybody_an_error_at_once(pipe: tuple[int, int]) -> None:
    """A call that hangs for ever: those who wait for it, and behind it, hear of it; the thread frees itself later."""
    worker = Worker("vddk-test")
    calls = [asyncio.create_task(worker.call(READ, pipe[0], *_room(), 1)) for _ in range(3)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    worker.abandon("the library hangs")
    for call in calls:
        with pytest.raises(ClosedError, match="the library hangs"):
            await call
    os.write(pipe[1], b"x")  # let the thread end
    await ended("vddk-test")


async def ended(name: str) -> None:
    """Wait until no thread of that name is left: one that frees itself tells nobody."""
    while any(_comm(task) == name for task in Path("/proc/self/task").iterdir()):  # noqa: ASYNC110
        await asyncio.sleep(0)


def _comm(task: Path) -> str:
    try:
        return (task / "comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):  # it ends just now
        return ""


async def test_forgotten_worker_is_reported_and_its_thread_ends() -> None:
    """ResourceWarning names it."""
    worker = Worker("vddk-lost")
    await worker.call(LABS, 1)
    forgotten = [worker]
    del worker
    with pytest.warns(ResourceWarning, match="vddk-lost"):
        forgotten.clear()
    await ended("vddk-lost")


async def test_wrong_arguments_never_reach_c() -> None:
    """Too many, or no integers: an error here and now, and the worker goes on."""
    async with aclosing(Worker("vddk-test")) as worker:
        with pytest.raises(IndexError):
            await worker.call(LABS, *range(9))
        assert await worker.call(LABS, 7) == 7


def test_nonzero_runs_are_found_at_the_granularity_asked_for() -> None:
    """Runs are whole granules, clipped to the length; zeros between them are left out."""
    data = bytearray(10_000)
    data[4096] = data[9_999] = 1
    memory, out = _memory.Pinned(data), (ctypes.c_uint64 * 8)()
    found = ctypes.CDLL(str(_core.PATH)).core_nonzero_runs(
        ctypes.c_void_p(memory.address),
        ctypes.c_size_t(10_000),
        ctypes.c_size_t(1024),
        out,
        ctypes.c_uint64(4),
    )
    assert list(out[: 2 * found]) == [4096, 1024, 9216, 784]
