"""The cancellation matrix where the whole loop ends: asyncio.run returns, Ctrl-C once or twice, loop.close under way."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.reliability.operations import CASES, OPERATIONS, Scene
from tests.reliability.ways import settle

if TYPE_CHECKING:
    from tests.fix_stub import Gate, Stub
    from tests.reliability.operations import Operation


@pytest.fixture
def any_stub(request: pytest.FixtureRequest, fixture: str) -> Stub:
    """Return the stub library of that fixture."""
    stub: Stub = request.getfixturevalue(fixture)
    return stub


async def _use(stub: Stub, operation: Operation, gates: list[Gate]) -> None:
    """Make the call, at its gate, inside blocks that close everything, as a program has them."""
    scene = Scene(stub)
    async with scene.stack:
        call = await operation.begin(scene)
        with stub.gate(operation.function) as gate:
            gates.append(gate)
            await call()


async def _release_when_cancelled(gates: list[Gate]) -> None:
    """Let C return once everything is being cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        gates[0].release(10)


async def _begin(stub: Stub, operation: Operation) -> tuple[list[asyncio.Task[None]], Gate]:
    gates: list[Gate] = []
    using = asyncio.create_task(_use(stub, operation, gates))
    releasing = asyncio.create_task(_release_when_cancelled(gates))
    while not gates:
        await asyncio.sleep(0)
    await gates[0].arrival()
    return [using, releasing], gates[0]


@pytest.mark.parametrize(("fixture", "name"), CASES)
def test_loop_that_ends_under_a_call_closes_everything(any_stub: Stub, name: str) -> None:
    """asyncio.run cancels what is left when main returns; what the library has opened is closed all the same."""
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        tasks.extend((await _begin(any_stub, OPERATIONS[name]))[0])

    asyncio.run(main())
    assert all(task.cancelled() for task in tasks)
    any_stub.nothing_left()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize(("fixture", "name"), CASES)
def test_interrupted_program_closes_everything(any_stub: Stub, name: str, times: int) -> None:
    """Ctrl-C cancels the main task, a second one breaks out of the loop: both times asyncio.run cleans up."""

    async def main() -> None:
        tasks, gate = await _begin(any_stub, OPERATIONS[name])
        loop = asyncio.get_running_loop()
        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
        if times > 1:
            loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
        try:
            await tasks[0]
        finally:
            tasks[1].cancel()
            assert gate

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(main())
    any_stub.nothing_left()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(("fixture", "name"), CASES)
def test_loop_that_is_closed_under_a_call_leaves_the_end_to_the_threads(any_stub: Stub, name: str) -> None:
    """Nobody can await any more: each thread ends its call, closes what is open, and goes."""
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: None)  # asyncio tells of the tasks that were forgotten
    tasks, gate = loop.run_until_complete(_begin(any_stub, OPERATIONS[name]))
    loop.close()
    gate.release(10)
    del tasks
    gc.collect()
    any_stub.nothing_left()


assert settle
