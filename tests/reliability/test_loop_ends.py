"""The cancellation matrix where the whole loop ends: asyncio.run returns, Ctrl-C once or twice, loop.close."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fix_package import ROOT
from tests.reliability.operations import CASES, OPERATIONS, Scene

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_stub import Gate, Stub
    from tests.reliability.operations import Operation

TOO_LONG = 60
"""Seconds after which a process counts as hanging; it ends in a fraction of one."""


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


PROGRAM = """
import asyncio, sys
from pathlib import Path
from asyncvddk.disks._runtime import RUNTIME
from tests.fix_stub import Stub
from tests.reliability.operations import OPERATIONS
from tests.reliability.test_loop_ends import _begin

stub = Stub(Path(sys.argv[1]))
for name, operation in OPERATIONS.items():
    stub.reset()
    RUNTIME.users, RUNTIME._busy, RUNTIME._hung = 0, None, None  # each as if in a process of its own
    loop = asyncio.new_event_loop()
    tasks, gate = loop.run_until_complete(_begin(stub, operation))
    loop.close()
    gate.release(10)
    for task in tasks:
        task._log_destroy_pending = False
    print(name, flush=True)
print(stub.calls("Exit"), "at the end")
"""


def test_loop_closed_under_calls_neither_crashes_nor_hangs_the_process(stub_root: Path) -> None:
    """Nobody can await any more, but C still has its buffers: they live as long as the process, which ends at once."""
    command = [sys.executable, "-W", "ignore", "-X", "faulthandler", "-c", PROGRAM, str(stub_root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TOO_LONG)
    assert (done.returncode, done.stdout.splitlines()[:-1]) == (0, list(OPERATIONS)), done.stderr


NEXT_USER = """
import asyncio, sys
from pathlib import Path
from asyncvddk import AbortedError, Vddk
from tests.fix_stub import Stub
from tests.reliability.operations import OPERATIONS
from tests.reliability.test_loop_ends import _begin

async def use(stub):
    try:
        async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
            print(await disk.read_at(1, 2))
    except AbortedError as error:
        print(error)

stub = Stub(Path(sys.argv[1]))
loop = asyncio.new_event_loop()
tasks, gate = loop.run_until_complete(_begin(stub, OPERATIONS[sys.argv[2]]))
loop.close()
gate.release(10)
asyncio.run(use(stub))
"""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("init", "InitEx: its event loop was closed during the call; the library cannot be used any more"),
        ("read", "b'"),
    ],
)
def test_the_next_user_of_a_process_whose_loop_was_closed_does_not_wait_for_ever(
    stub_root: Path, name: str, told: str
) -> None:
    """Who comes after a loop that was closed inside of InitEx is told so; after any other call the library is there."""
    command = [sys.executable, "-W", "ignore", "-c", NEXT_USER, str(stub_root), name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=TOO_LONG)
    assert done.returncode == 0, done.stderr
    assert told in done.stdout
