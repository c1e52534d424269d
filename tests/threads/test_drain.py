"""What tasks and logs may do while answers are given: a task goes on inside of the drain."""

from __future__ import annotations

import asyncio
import ctypes
from contextlib import aclosing

import pytest

from asyncvddk.errors import AbortedError
from asyncvddk.native import _core, _log
from asyncvddk.threads._worker import Worker
from tests.threads.test_worker import ended

LABS = ctypes.cast(ctypes.CDLL(None).labs, ctypes.c_void_p).value or 0


def interrupt() -> None:
    """Press Ctrl-C, as a handler of signals does it in a task."""
    raise KeyboardInterrupt


async def test_log_that_gives_the_last_worker_up_leaves_its_ring_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """More messages wait, but the ring that would be woken for them is freed."""
    worker = Worker("vddk-test")
    woken: list[int] = []

    def give_up() -> bool:
        worker.abandon("the log says so")
        return True

    monkeypatch.setattr(_log, "drain", give_up)
    monkeypatch.setattr(_core, "port_drain", lambda *_: _core.LOGGED)
    monkeypatch.setattr(_core, "port_wake", woken.append)
    worker._port._drain()
    assert worker.given_up
    assert woken == []
    await ended("vddk-test")


async def test_log_that_fails_at_the_end_closes_the_ring_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop's exception handler hears of it; nothing is left."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    worker, closed = Worker("vddk-test"), list[int]()
    native, close, error = worker._port.native, _core.port_close, ValueError("no room for logs")

    def note(port: int) -> None:
        closed.append(port)
        close(port)

    def fail() -> bool:
        raise error

    monkeypatch.setattr(_log, "said", {})
    monkeypatch.setattr(_log, "drain", fail)
    monkeypatch.setattr(_core, "port_close", note)
    await worker.aclose()
    assert closed == [native]
    assert errors == [error]


async def test_log_that_fails_with_an_answer_loses_neither_it_nor_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Warnings of another call are noted, so each answer asks the log for its own; the answer comes once, as it is."""
    errors: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context["exception"]))
    error = ValueError("no room for logs")

    def fail(_: int) -> list[str]:
        raise error

    async with aclosing(Worker("vddk-test")) as worker:
        monkeypatch.setattr(_log, "said", {0: ["of another call"]})
        monkeypatch.setattr(_log, "taken", fail)
        assert await worker.call(LABS, 5) == 5
        monkeypatch.undo()
    assert errors == [error]


async def test_task_may_close_or_give_up_all_workers_with_its_answer() -> None:
    """Answers that came with it are given, or those who wait hear that they were given up."""
    for ways in ((True, True), (True, False), (False, True), (False, False)):
        workers = [Worker("vddk-test") for _ in ways]

        async def use(worker: Worker, other: Worker, *, close: bool) -> int:
            answer = await worker.call(LABS, 5)
            if close:
                await asyncio.gather(worker.aclose(), other.aclose())
            else:
                worker.abandon("enough")
                other.abandon("enough")
            return answer

        uses = (use(*pair, close=way) for pair, way in zip((workers, workers[::-1]), ways, strict=True))
        answers = await asyncio.gather(*uses, return_exceptions=True)
        assert 5 in answers
        assert all(answer == 5 or isinstance(answer, AbortedError) for answer in answers)
        assert all(worker.closed for worker in workers)
    await ended("vddk-test")


def test_interrupt_of_a_task_loses_no_answer_of_another() -> None:
    """Both answers come in one drain; the second waits for the next turn of the loop."""
    loop = asyncio.new_event_loop()
    results: list[int] = []

    async def prepare() -> Worker:
        return Worker("vddk-test")

    async def use(worker: Worker, *, interrupted: bool) -> None:
        answer = await worker.call(LABS, 5)
        if interrupted:
            interrupt()
        results.append(answer)

    async def end(worker: Worker, other: asyncio.Task[None]) -> None:
        async with aclosing(worker):
            await other

    worker = loop.run_until_complete(prepare())
    tasks = [loop.create_task(use(worker, interrupted=first)) for first in (True, False)]
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.run_until_complete(end(worker, tasks[1]))
    with pytest.raises(KeyboardInterrupt):
        tasks[0].result()
    assert results == [5]
    loop.close()
