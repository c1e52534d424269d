"""The cancellation matrix: {operation} x {queued, running} x {Task.cancel, asyncio.timeout, anyio scope, deadline}.

Afterwards an object is usable or closed, and whatever was begun in the library was ended there.
"""

from __future__ import annotations

import asyncio
import select
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import anyio
import pytest

from asyncvddk.native import _core
from asyncvddk.threads._port import _ports
from asyncvddk.threads._worker import Worker
from tests.reliability.operations import CASES, OPERATIONS, QUEUED, Scene
from tests.reliability.ways import WAYS, Canceller, settle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.fix_stub import Stub
    from tests.reliability.operations import Call

TOO_LONG = 20
"""Seconds after which a test fails instead of hanging; nothing waits for that long when all is well."""


@pytest.fixture
def any_stub(request: pytest.FixtureRequest, fixture: str) -> Stub:
    """Return the stub library of that fixture."""
    stub: Stub = request.getfixturevalue(fixture)
    return stub


@asynccontextmanager
async def scene_of(stub: Stub) -> AsyncIterator[Scene]:
    """Return a scene; at its end everything is usable or closed, then closed, and nothing is left in the library."""
    stub.reset()
    scene = Scene(stub)
    async with scene.stack:
        yield scene
        await scene.check_usable()
    stub.nothing_left()


@asynccontextmanager
async def occupied(stub: Stub, worker: Worker | None) -> AsyncIterator[None]:
    """Keep the thread of ``worker`` busy; ``None``: a thread of its own, with the turn of the whole process."""
    async with AsyncExitStack() as stack:
        mine = worker if worker is not None else await stack.enter_async_context(aclosing(Worker("vddk-blocker")))
        with stub.gate("Block") as gate:
            blocking = asyncio.create_task(mine.call(stub.block, mode=0 if worker else _core.SERIAL))
            await gate.arrival()
            yield
        await blocking


@pytest.mark.parametrize(("fixture", "name"), CASES)
async def test_cancelled_running_call_is_waited_for_and_what_it_began_is_ended(any_stub: Stub, name: str) -> None:
    """The cancellation arrives, but only after C has returned, however often the caller is cancelled meanwhile."""
    operation = OPERATIONS[name]
    for way in WAYS:
        async with scene_of(any_stub) as scene:
            call = await operation.begin(scene)
            with any_stub.gate(operation.function) as gate:
                canceller = Canceller(way, call)
                await gate.arrival()
                for _ in range(3):
                    canceller.now()
                    await settle()
                    assert not canceller.task.done(), "the caller went on while C still had its buffers"
                gate.release(10)
                assert await canceller.cancelled(), way
            if operation.undone_by:
                assert any_stub.calls(operation.undone_by) == 1, way


@pytest.mark.parametrize(("fixture", "name", "place"), QUEUED)
async def test_cancelled_queued_call_never_runs_unless_it_ends_something(any_stub: Stub, name: str, place: str) -> None:
    """It is withdrawn at once; a close waits for its turn, runs, and then the cancellation goes on."""
    operation = OPERATIONS[name]
    for way in WAYS:
        async with scene_of(any_stub) as scene:
            call = await operation.begin(scene)
            before = any_stub.calls(operation.function)
            async with occupied(any_stub, scene.worker if place == "thread" else None):
                canceller = Canceller(way, call)
                await settle()
                canceller.now()
                if operation.always:
                    await settle()
                else:
                    await asyncio.wait([canceller.task], timeout=TOO_LONG)
                assert canceller.task.done() is not operation.always, way
                assert any_stub.calls(operation.function) == before
            assert await canceller.cancelled(), way
            assert any_stub.calls(operation.function) == before + operation.always


async def test_call_that_is_cancelled_before_its_task_has_started_does_nothing(stub: Stub) -> None:
    """Not even a close: its object is usable, and can be closed later."""
    for name, operation in OPERATIONS.items():
        async with scene_of(stub) as scene:
            call = await operation.begin(scene)
            before = stub.journal()
            canceller = Canceller("task", call)
            canceller.now()
            assert await canceller.cancelled(), name
            assert stub.journal() == before, name


@pytest.mark.parametrize(("fixture", "name"), CASES)
async def test_cancellation_before_the_thread_has_the_call_leaves_nothing(any_stub: Stub, name: str) -> None:
    """The task has run one turn, or two, or three: the call may have begun, or even ended, or not."""
    for way in WAYS:
        for turns in range(1, 4):
            async with scene_of(any_stub) as scene:
                call = await OPERATIONS[name].begin(scene)
                canceller = Canceller(way, call)
                for _ in range(turns):
                    await asyncio.sleep(0)
                ended = canceller.task.done()
                canceller.now()
                assert await canceller.cancelled() or ended or way != "task"


@pytest.mark.parametrize(("fixture", "name"), CASES)
async def test_cancellation_in_the_turn_of_the_answer_leaves_nothing(any_stub: Stub, name: str) -> None:
    """The answer is there when the caller is cancelled: it counts, or it is undone, but nothing gets lost."""
    operation = OPERATIONS[name]
    for way, answer_first in product(("task", "scope"), (False, True)):
        async with scene_of(any_stub) as scene:
            call = await operation.begin(scene)
            with any_stub.gate(operation.function) as gate:
                canceller = Canceller(way, call)
                await gate.arrival()
                loop = asyncio.get_running_loop()
                port = _ports[loop]
                gate.release(10)
                select.select([_core.port_fd(port.native)], [], [])  # the loop stands still
                steps = (port._drain, canceller.now) if answer_first else (canceller.now, port._drain)
                for step in steps:
                    loop.call_soon(step)
                await canceller.cancelled()


async def test_shield_inside_a_cancelled_scope_lets_the_call_end_well(stub: Stub) -> None:
    """The timeout of an outer scope does not reach a call that its caller has shielded."""
    for name, operation in OPERATIONS.items():
        async with scene_of(stub) as scene:
            shielded = Shielded(await operation.begin(scene))
            with stub.gate(operation.function) as gate:
                canceller = Canceller("deadline", shielded)
                await gate.arrival()
                canceller.now()
                await settle()
                assert not canceller.task.done(), name
                gate.release(10)
                assert await canceller.cancelled(), "behind the shield the cancellation goes on"
            assert shielded.ended, name


class Shielded:
    """A call inside a shield of its caller's."""

    def __init__(self, call: Call) -> None:
        """Wrap ``call``."""
        self._call = call
        self.ended = False

    async def __call__(self) -> None:
        """Make the call."""
        with anyio.CancelScope(shield=True):
            await self._call()
        self.ended = True


async def test_cancelled_unaligned_write_leaves_old_or_new_bytes_and_an_unlocked_range(stub: Stub) -> None:
    """A write cancelled between its read and its write has changed nothing, and others may write there."""
    async with scene_of(stub) as scene:
        disk = await scene.disk()
        await disk.write_at(4096, b"\x11" * 2048)
        with stub.gate("Read") as gate:
            canceller = Canceller("task", partial(disk.write_at, 4196, b"\x22" * 100))
            await gate.arrival()
            canceller.now()
            gate.release(10)
            assert await canceller.cancelled()
        assert await disk.read_at(4096, 2048) == b"\x11" * 2048
        await disk.write_at(4196, b"\x33" * 100)
        assert await disk.read_at(4195, 102) == b"\x11" + b"\x33" * 100 + b"\x11"
