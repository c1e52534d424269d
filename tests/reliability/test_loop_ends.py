"""The cancellation matrix where the whole loop ends: asyncio.run returns, Ctrl-C once or twice, loop.close."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests.reliability.operations import CASES, OPERATIONS, Scene

if TYPE_CHECKING:
    from tests.fix_stub import Gate, Stub
    from tests.reliability.operations import Operation


@pytest.fixture
def any_stub(request: pytest.FixtureRequest, fixture: str) -> Stub:
    """Return the stub library of that fixture."""
    stub: Stub = request.getfixturevalue(fixture)
    return stub


async def _use(stub: Stub, operation: Operation, gates: asyncio.Queue[Gate]) -> None:
    """Make the call, at its gate, inside blocks that close everything, as a program has them."""
    scene = Scene(stub)
    async with scene.stack:
        call = await operation.begin(scene)
        with stub.gate(operation.function) as gate:
            gates.put_nowait(gate)
            await call()


async def _release_when_cancelled(gate: Gate) -> None:
    """Let C return once everything is being cancelled."""
    try:
        await asyncio.Event().wait()
    finally:
        gate.release(10)


async def _begin(stub: Stub, operation: Operation) -> tuple[list[asyncio.Task[None]], Gate]:
    gates: asyncio.Queue[Gate] = asyncio.Queue()
    using = asyncio.create_task(_use(stub, operation, gates))
    gate = await gates.get()
    await gate.arrival()
    releasing = asyncio.create_task(_release_when_cancelled(gate))
    await asyncio.sleep(0)
    return [using, releasing], gate


@pytest.mark.parametrize(("fixture", "name"), CASES)
def test_loop_that_ends_under_a_call_closes_everything(any_stub: Stub, name: str) -> None:
    """asyncio.run cancels what is left when main returns; what the library has opened is closed all the same."""
    tasks: list[asyncio.Task[None]] = []

    async def main() -> None:
        tasks.extend((await _begin(any_stub, OPERATIONS[name]))[0])

    asyncio.run(main())
    assert all(task.cancelled() for task in tasks)
    any_stub.nothing_left()


@pytest.mark.parametrize(("fixture", "name"), CASES)
def test_interrupted_program_closes_everything(any_stub: Stub, name: str) -> None:
    """Ctrl-C cancels the main task, a second one breaks out of the loop: both times asyncio.run cleans up."""

    async def main(times: int) -> None:
        gates: asyncio.Queue[Gate] = asyncio.Queue()
        interrupting = asyncio.create_task(_interrupt(gates, times))
        await _use(any_stub, OPERATIONS[name], gates)
        await interrupting

    for times in (1, 2):
        any_stub.reset()
        with pytest.raises(KeyboardInterrupt):
            asyncio.run(main(times))
        any_stub.nothing_left()


async def _interrupt(gates: asyncio.Queue[Gate], times: int) -> None:
    """Send SIGINT when the call stands at its gate, then let it go."""
    gate = await gates.get()
    await gate.arrival()
    loop = asyncio.get_running_loop()
    for _ in range(times):
        loop.call_soon(os.kill, os.getpid(), signal.SIGINT)
    loop.call_soon(gate.release, 10)
