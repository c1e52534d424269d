"""The cancellation matrix: {call} x {queued, running} x {Task.cancel, asyncio.timeout, anyio scope}.

Afterwards an object is usable or closed, and whatever was begun in the library was ended there.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest

from asyncvddk import ConnectParams, CreateParams, Secret, Vddk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

    from asyncvddk import AsyncDisk, Connection
    from tests.fix_stub import Gate, Stub

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))


class Canceller:
    """One way to cancel; ``now`` does it, ``run`` makes the call and tells whether it was cancelled."""

    def __init__(self, way: str) -> None:
        """Remember the way."""
        self.way = way
        self.now: Callable[[], object] = lambda: None

    async def run(self, call: Coroutine[Any, Any, object]) -> bool:
        """Make the call in a task that can be cancelled."""
        ready = asyncio.Event()
        task = asyncio.create_task(getattr(self, f"_{self.way}")(call, ready))
        await ready.wait()
        if self.way == "task":
            self.now = task.cancel
        try:
            return bool(await task)
        except asyncio.CancelledError:
            return True

    async def _task(self, call: Coroutine[Any, Any, object], ready: asyncio.Event) -> bool:
        ready.set()
        await call
        return False

    async def _timeout(self, call: Coroutine[Any, Any, object], ready: asyncio.Event) -> bool:
        try:
            async with asyncio.timeout(None) as limit:
                self.now = lambda: limit.reschedule(asyncio.get_running_loop().time() - 1)
                ready.set()
                await call
        except TimeoutError:
            return True
        return False

    async def _scope(self, call: Coroutine[Any, Any, object], ready: asyncio.Event) -> bool:
        with anyio.CancelScope() as scope:
            self.now = scope.cancel
            ready.set()
            await call
            await anyio.lowlevel.checkpoint()  # a close is shielded: the cancellation goes on behind it
        return scope.cancelled_caught


@pytest.fixture(params=["task", "timeout", "scope"])
def canceller(request: pytest.FixtureRequest) -> Canceller:
    """Return each of the ways to cancel in turn."""
    return Canceller(request.param)


async def cancel_while_running(canceller: Canceller, gate: Gate, call: Coroutine[Any, Any, object]) -> bool:
    """Cancel when the native call stands at its gate; check that it is waited for; let it go."""
    running = asyncio.create_task(canceller.run(call))
    await gate.arrival()
    canceller.now()
    for _ in range(20):
        await asyncio.sleep(0)
    assert not running.done(), "the caller went on while C still had its buffers"
    gate.release(10)
    return await running


async def _init(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    return lambda: stack.enter_async_context(Vddk(stub.root))


async def _prepare(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    vddk = await stack.enter_async_context(Vddk(stub.root))
    return lambda: stack.enter_async_context(vddk.access(PARAMS))


async def _connect(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    vddk = await stack.enter_async_context(Vddk(stub.root))
    return lambda: stack.enter_async_context(vddk.connect())


async def _connection(stub: Stub, stack: AsyncExitStack) -> Connection:
    vddk = await stack.enter_async_context(Vddk(stub.root))
    return await stack.enter_async_context(vddk.connect())


async def _disk(stub: Stub, stack: AsyncExitStack) -> AsyncDisk:
    return await stack.enter_async_context((await _connection(stub, stack)).open("/disk.vmdk"))


async def _open(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    connection = await _connection(stub, stack)
    return lambda: stack.enter_async_context(connection.open("/disk.vmdk"))


async def _open_disk(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    vddk = await stack.enter_async_context(Vddk(stub.root))
    return lambda: stack.enter_async_context(vddk.open_disk("/disk.vmdk", params=PARAMS))


async def _create(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    connection = await _connection(stub, stack)
    return lambda: connection.create("/new.vmdk", CreateParams(size=512))


async def _read(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    disk = await _disk(stub, stack)
    return lambda: disk.read_at(100, 1000)


async def _write(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    disk = await _disk(stub, stack)
    return lambda: disk.write_at(100, bytes(5000))


async def _query(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    disk = await _disk(stub, stack)

    async def query() -> list[object]:
        return [block async for block in disk.allocated_blocks()]

    return query


async def _flush(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    return (await _disk(stub, stack)).flush


async def _close(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    return (await _disk(stub, stack)).aclose


async def _disconnect(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    return (await _connection(stub, stack)).aclose


async def _end_access(stub: Stub, stack: AsyncExitStack) -> Callable[[], Awaitable[object]]:
    vddk = await stack.enter_async_context(Vddk(stub.root))
    return (await vddk.access(PARAMS)).aclose


CASES = {
    "InitEx": _init,
    "PrepareForAccess": _prepare,
    "ConnectEx": _connect,
    "Open": _open,
    "GetInfo": _open_disk,
    "Create": _create,
    "Read": _read,
    "Write": _write,
    "QueryAllocatedBlocks": _query,
    "Flush": _flush,
    "Close": _close,
    "Disconnect": _disconnect,
    "EndAccess": _end_access,
}


@pytest.mark.parametrize("name", CASES)
async def test_cancelled_running_call_is_waited_for_and_what_it_began_is_ended(
    name: str, stub: Stub, canceller: Canceller
) -> None:
    """The cancellation arrives, but only after C has returned; handles, connections and access locks are given back."""
    async with AsyncExitStack() as stack:
        call = await CASES[name](stub, stack)

        async def make() -> None:
            await call()

        with stub.gate(name) as gate:
            assert await cancel_while_running(canceller, gate, make())
    assert stub.balanced()
    assert stub.calls("PrepareForAccess") <= stub.calls("EndAccess") <= 1
    if name == "Create":
        assert stub.calls("Unlink") == 1, "a disk that nobody waits for is removed"


@pytest.mark.parametrize("name", ["Open", "Read", "QueryAllocatedBlocks", "Flush"])
async def test_cancelled_queued_call_never_runs(name: str, stub: Stub, canceller: Canceller) -> None:
    """A call that waits behind another one is withdrawn, at once; the connection stays usable."""
    async with AsyncExitStack() as stack:
        connection = await _connection(stub, stack)
        disk = await stack.enter_async_context(connection.open("/first.vmdk"))
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "Open": lambda: connection.open("/second.vmdk").__aenter__(),
            "Read": lambda: disk.read_at(0, 512),
            "QueryAllocatedBlocks": lambda: anext(aiter(disk.allocated_blocks())),
            "Flush": disk.flush,
        }

        async def make() -> None:
            await calls[name]()

        before = stub.calls(name)
        with stub.gate("GetInfo") as gate:
            blocking = asyncio.create_task(disk.info())
            await gate.arrival()
            queued = asyncio.create_task(canceller.run(make()))
            for _ in range(5):
                await asyncio.sleep(0)
            canceller.now()
            assert await queued
            gate.release(10)
            await blocking
        assert stub.calls(name) == before
        assert await disk.read_at(0, 512) == bytes(512)
    assert stub.balanced()


async def test_cancelling_again_and_again_does_not_free_a_buffer_that_c_uses(stub: Stub) -> None:
    """Every further cancel of a waiting task changes nothing until C has returned."""
    async with AsyncExitStack() as stack:
        disk = await _disk(stub, stack)
        with stub.gate("Read") as gate:
            task = asyncio.create_task(disk.read_at(0, 4096))
            await gate.arrival()
            for _ in range(5):
                task.cancel()
                await asyncio.sleep(0)
                assert not task.done()
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert len(await disk.read_at(0, 4096)) == 4096


async def test_cancelled_unaligned_write_leaves_old_or_new_bytes_and_an_unlocked_range(stub: Stub) -> None:
    """A write cancelled between its read and its write has changed nothing, and others may write there."""
    async with AsyncExitStack() as stack:
        disk = await _disk(stub, stack)
        await disk.write_at(0, b"\x11" * 2048)
        with stub.gate("Read") as gate:
            task = asyncio.create_task(disk.write_at(100, b"\x22" * 100))
            await gate.arrival()
            task.cancel()
            gate.release(10)
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await disk.read_at(0, 2048) == b"\x11" * 2048
        await disk.write_at(100, b"\x33" * 100)
        assert await disk.read_at(99, 102) == b"\x11" + b"\x33" * 100 + b"\x11"


def test_loop_that_ends_in_the_middle_of_a_read_closes_everything(stub: Stub) -> None:
    """asyncio.run cancels what is left when main returns: disk, connection and library are closed all the same."""

    async def use() -> None:
        async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
            await disk.read_at(0, 512)
            using.set()
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(use())
        await using.wait()
        assert not task.done()

    using = asyncio.Event()
    asyncio.run(main())
    assert stub.balanced()
    assert stub.calls("Exit") == 1
