"""Requests of one disk in flight together, and answers that arrive without detours through the loop."""

from __future__ import annotations

import asyncio
import os
import select
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest

from asyncvddk import AsyncDisk, CreateParams, Vddk
from asyncvddk.native import _core, _memory
from asyncvddk.threads._worker import Worker
from tests.threads.test_worker import LABS, WRITE

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path

AT_ONCE = 16
GIVE_UP_S = 20


async def test_sixteen_reads_are_with_the_library_before_it_has_answered_one(tmp_path: Path) -> None:
    """With asynchronous calls a slow library is waited for once, not sixteen times."""
    last, answers = tmp_path / "last", tmp_path / "answers"
    for fifo in (last, answers):
        os.mkfifo(fifo)
    config = tmp_path / "engine.conf"
    hangs = f"ReadAsync:{AT_ONCE}:{last},ReadAsync.callback:0:{answers}"
    config.write_text(f"openEngine.latencyMs = 1\nopenEngine.hang = {hangs}\n")  # slow: nothing is answered at once
    async with Vddk(config=config) as vddk, vddk.connect() as connection:
        await connection.create(tmp_path / "disk.vmdk", CreateParams(size=1 << 20))
        async with connection.open(tmp_path / "disk.vmdk") as disk:
            reads = [asyncio.create_task(disk.read_at(512 * n, 512)) for n in range(AT_ONCE)]
            try:
                async with asyncio.timeout(GIVE_UP_S):
                    at_last = await asyncio.to_thread(os.open, last, os.O_WRONLY)  # returns when the 16th is asked for
                assert not any(read.done() for read in reads)
            finally:
                both = [os.open(fifo, os.O_RDWR) for fifo in (last, answers)]  # frees who waits, however this ended
                answers.unlink()
                last.unlink()
                for end in both:
                    os.close(end)
            os.close(at_last)
            assert await asyncio.gather(*reads) == [bytes(512)] * AT_ONCE


async def test_buffer_is_free_as_soon_as_its_read_is_done(disk: AsyncDisk) -> None:
    """Nothing holds it still any longer when the task goes on."""
    buffer = bytearray(4096)
    await disk.readinto_at(0, buffer)
    buffer.clear()


async def outside_of_tasks(act: Coroutine[None, None, None]) -> None:
    """Run ``act``, which awaits nothing, as a callback of the loop."""
    done = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            act.send(None)
        except StopIteration:
            done.set_result(None)
        except Exception as exc:  # noqa: BLE001  (the test is to see it)
            done.set_exception(exc)

    asyncio.get_running_loop().call_soon(run)
    await done


async def test_task_goes_on_while_its_answer_is_fetched() -> None:
    """Not a turn of the loop later: beside a thread that computes in Python each turn costs 5 ms."""
    async with aclosing(Worker("vddk-test")) as worker:
        port, got = worker._port, []

        async def ask(tag: int) -> None:
            got.append(await port.expect(worker, None, tag))

        async def deliver() -> None:
            port._deliver(iter([(1 << 40, 3), (1 << 41, 0)]))
            assert got == [3, 0]

        tasks = [asyncio.create_task(ask(1 << 40)), asyncio.create_task(ask(1 << 41))]
        await asyncio.sleep(0)
        await outside_of_tasks(deliver())
        await asyncio.gather(*tasks)


async def test_progress_is_told_before_the_call_returns() -> None:
    """Also the last of it, and also when the callback fails: that is reported, and no answer is lost."""
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    async with aclosing(Worker("vddk-test")) as worker:
        port, told, tag = worker._port, [], 1 << 40

        def tell(percent: int) -> None:
            told.append(f"{percent} percent")
            raise ValueError(percent)

        async def ask() -> None:
            told.append(f"answer {await port.expect(worker, None, tag)}")

        async def deliver() -> None:
            port._deliver(iter([(tag | _core.PROGRESS, 99), (tag | _core.PROGRESS, 100), (tag, 0)]))

        port.watch_progress(tag, tell)
        task = asyncio.create_task(ask())
        await asyncio.sleep(0)
        await outside_of_tasks(deliver())
        await task
    assert told == ["99 percent", "100 percent", "answer 0"]
    assert [str(context["exception"]) for context in reported] == ["99", "100"]


async def test_interrupt_in_a_task_that_goes_on_loses_no_other_answer() -> None:
    """The rest is delivered in the next turn."""
    async with aclosing(Worker("vddk-test")) as worker:
        port = worker._port

        async def interrupted() -> None:
            await port.expect(worker, None, 1 << 40)
            raise KeyboardInterrupt

        async def ask() -> int:
            return await port.expect(worker, None, 1 << 41)

        async def deliver() -> None:
            with pytest.raises(KeyboardInterrupt):
                port._deliver(iter([(1 << 40, 0), (1 << 41, 7)]))

        tasks = asyncio.create_task(interrupted()), asyncio.create_task(ask())
        await asyncio.sleep(0)
        await outside_of_tasks(deliver())
        async with asyncio.timeout(GIVE_UP_S):
            assert await tasks[1] == 7
        assert isinstance(tasks[0].exception(), KeyboardInterrupt)


@pytest.mark.parametrize("before", [0, 1], ids=["first", "after another"])
async def test_call_is_handed_over_before_the_next_turn(before: int) -> None:
    """The first one of an idle loop at once, those of tasks that go on when all of them have gone on."""
    ends = os.pipe()
    written: list[bool] = []

    def look() -> None:  # the loop stands here
        written.append(bool(select.select(ends[:1], (), (), GIVE_UP_S)[0]))

    async with aclosing(Worker("vddk-test")) as worker:
        for _ in range(before):
            await worker.call(LABS, 1)
        asyncio.get_running_loop().call_soon(look)
        assert await worker.call(WRITE, ends[1], _memory.bytes_address(b"!"), 1) == 1
        await asyncio.sleep(0)  # it may have been answered before the next turn, even
    assert written == [True]
    for end in ends:
        os.close(end)
