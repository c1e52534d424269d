"""What happens at the edges: answers in the turn of their cancellation, errors in callbacks, ends in the middle."""

from __future__ import annotations

import asyncio
import dataclasses
import select
import subprocess
import sys
import textwrap
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncvddk import AccessDeniedError, ClosedError, ConnectParams, CreateParams, NativeError, Secret, Vddk
from asyncvddk.native import _core, _log

if TYPE_CHECKING:
    from tests.fix_stub import Stub

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))


async def test_failed_creation_that_is_cancelled_in_its_last_turn_removes_nothing(stub: Stub) -> None:
    """The answer comes when its task is cancelled already: it still counts, and the disk of another stays."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        stub.fail("Create", 12)
        with stub.gate("Create") as gate:
            creating = asyncio.ensure_future(connection.create("/there.vmdk", CreateParams(size=512)))
            await gate.arrival()
            drain = connection._calls.worker._port._drain
            gate.release()
            select.select([_core.port_fd(connection._calls.worker._port.native)], [], [])  # the loop stands still
            creating.cancel()
            drain()
            with pytest.raises(asyncio.CancelledError):
                await creating
    assert stub.calls("Unlink") == 0


async def test_error_in_a_progress_callback_is_the_loops_and_stops_nobody(stub: Stub) -> None:
    """The creation goes on, and so do the reads whose answers came with it."""
    reported: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(str(context["exception"])))

    def broken(percent: int) -> None:
        raise RuntimeError(f"user bug at {percent}")

    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk, vddk.connect() as connection:
        creating = connection.create("/new.vmdk", CreateParams(size=512), progress=broken)
        await asyncio.gather(creating, *(disk.read_at(0, 512) for _ in range(50)))
    assert reported == ["user bug at 10", "user bug at 100"]


async def test_many_disks_that_fail_with_warnings_at_once_do_not_block_each_other(stub: Stub) -> None:
    """Messages and answers come from several threads while the loop fetches both; every error has its own message."""
    async with AsyncExitStack() as stack:
        vddk = await stack.enter_async_context(Vddk(stub.root))
        disks = [await stack.enter_async_context(vddk.open_disk(f"/{n}.vmdk")) for n in range(4)]
        stub.fail("Read", 7)
        errors: list[object] = []
        for _ in range(20):
            reads = [disk.read_at(0, 512) for disk in disks for _ in range(50)]
            errors += await asyncio.gather(*reads, return_exceptions=True)
        stub.fail("Read", 0)
    assert [error for error in errors if "Read says 7 times no" not in str(error)] == []


async def test_connection_closed_while_a_disk_opens_closes_the_disk_first(stub: Stub) -> None:
    """No handle outlives its connection."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        with stub.gate("Open") as gate:
            opening = asyncio.ensure_future(connection.open("/disk.vmdk")._open())
            await gate.arrival()
            closing = asyncio.create_task(connection.aclose())
            gate.release()
            with suppress(ClosedError):
                assert (await opening).closed
            await closing
    assert (stub.calls("Close"), stub.calls("Disconnect")) == (1, 1)


async def test_connection_that_is_just_being_made_is_closed_before_the_library_ends(stub: Stub) -> None:
    """Whoever asked for it gets a closed one."""
    vddk = await Vddk(stub.root).__aenter__()
    with stub.gate("ConnectEx") as gate:
        connecting = asyncio.ensure_future(vddk.connect()._open())
        await gate.arrival()
        leaving = asyncio.create_task(vddk.__aexit__(None, None, None))
        await asyncio.sleep(0)
        gate.release()
        await leaving
        assert (await connecting).closed
    assert stub.balanced()
    assert stub.journal()[-1] == "Exit"


async def test_access_lock_that_is_just_being_taken_is_ended_before_the_library_ends(stub: Stub) -> None:
    """Nobody else would end it, and the virtual machine would stay where it is for ever."""
    vddk = await Vddk(stub.root).__aenter__()
    with stub.gate("PrepareForAccess") as gate:
        locking = asyncio.ensure_future(vddk.access(PARAMS)._open())
        await gate.arrival()
        leaving = asyncio.create_task(vddk.__aexit__(None, None, None))
        await asyncio.sleep(0)
        gate.release()
        await leaving
        await locking
    assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (1, 1)
    assert stub.journal()[-1] == "Exit"


async def test_secrets_of_a_cleanup_are_overwritten_although_the_library_is_left_meanwhile(stub: Stub) -> None:
    """Leaving waits for the call, so nobody uses them any more."""
    other = await Vddk(stub.root).__aenter__()  # Exit would come first, and the thread's end behind it
    vddk = await Vddk(stub.root).__aenter__()
    with stub.gate("Cleanup") as gate:
        cleaning = asyncio.create_task(vddk.cleanup(dataclasses.replace(PARAMS, password=Secret("only here"))))
        await gate.arrival()
        assert _log.masked(bytearray(b"only here")) == "***"
        leaving = asyncio.create_task(vddk.__aexit__(None, None, None))
        await asyncio.sleep(0)
        gate.release()
        await leaving
        await cleaning
    await other.__aexit__(None, None, None)
    assert _log.masked(bytearray(b"only here")) == "only here"


async def test_library_closes_what_was_left_open_before_it_ends(stub: Stub) -> None:
    """Connections and access locks; what was asked for inside the block cannot be opened behind it."""
    async with Vddk(stub.root) as vddk:
        await vddk.connect()
        await vddk.access(PARAMS)
        late = vddk.connect()
    assert (stub.calls("Disconnect"), stub.calls("EndAccess"), stub.calls("Exit")) == (1, 1, 1)
    with pytest.raises(ClosedError):
        await late


async def test_error_of_undoing_does_not_hide_the_first_error(stub: Stub) -> None:
    """Why there is no lock is what the caller must see; that EndAccess failed too is a note of it."""
    stub.fail("PrepareForAccess", 13)
    stub.fail("EndAccess", 7)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(AccessDeniedError) as caught:
            await vddk.access(PARAMS)
    assert any("EndAccess" in note for note in caught.value.__notes__)


async def test_error_of_undoing_does_not_hide_a_timeout(stub: Stub) -> None:
    """A cancelled open whose Close fails is still cancelled."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        stub.fail("Close", 7)
        with stub.gate("Open") as gate:
            opening = asyncio.ensure_future(connection.open("/disk.vmdk")._open())
            await gate.arrival()
            opening.cancel()
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await opening
        stub.fail("Close", 0)
        await connection.aclose()


async def test_connection_that_waits_for_anothers_open_can_be_cancelled(stub: Stub) -> None:
    """VDDK wants one Open at a time; waiting for the turn is not running."""
    async with Vddk(stub.root) as vddk:
        first, second = await vddk.connect(), await vddk.connect()
        with stub.gate("Open") as gate:
            hanging = asyncio.ensure_future(first.open("/slow.vmdk")._open())
            await gate.arrival()
            waiting = asyncio.ensure_future(second.open("/other.vmdk")._open())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            gate.release()
            await (await hanging).aclose()
        assert stub.calls("Open") == 1


async def test_abandoned_connection_that_hangs_in_open_leaves_the_turn_to_others(stub: Stub) -> None:
    """One hung library call must not stop every other connection."""
    async with Vddk(stub.root) as vddk:
        first, second = await vddk.connect(), await vddk.connect()
        with stub.gate("Open") as gate:
            hanging = asyncio.ensure_future(first.open("/slow.vmdk")._open())
            await gate.arrival()
            first._calls.worker.abandon("it hangs")
            with pytest.raises(ClosedError, match="it hangs"):
                await hanging
            gate.release(2)
            disk = await second.open("/other.vmdk")
            await disk.aclose()
        await first.aclose()


PROGRAM = """
import asyncio, os, sys
from asyncvddk import Vddk
from tests.fix_stub import Gate, Stub
from pathlib import Path

async def main():
    stub = Stub(Path(sys.argv[1]))
    vddk = await Vddk(stub.root).__aenter__()
    disk = await vddk.open_disk("/disk.vmdk")
    gate = Gate()
    stub._dll.stub_gate(b"Read", gate.reached, gate.gate)
    asyncio.ensure_future(disk.read_at(0, 1 << 20))
    await gate.arrival()
    print("reading", flush=True)
    disk._calls.worker.abandon("the program ends")

asyncio.run(main())
"""


def test_process_ends_although_a_call_never_returns(stub_root: Path) -> None:
    """Neither a hang nor a crash: the abandoned thread and its buffer die with the process."""
    source = textwrap.dedent(PROGRAM)
    folder = Path(__file__).parent.parent.parent
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", source, str(stub_root)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "reading\n"), done.stderr


async def test_error_that_the_library_explains_keeps_its_words(stub: Stub) -> None:
    """Function, code, and what was warned during this very call."""
    async with Vddk(stub.root) as vddk:
        stub.fail("ConnectEx", 14009)
        with pytest.raises(NativeError, match="ConnectEx says 14009 times no") as caught:
            await vddk.connect()
        stub.fail("ConnectEx", 0)
    assert caught.value.detail == "ConnectEx says 14009 times no"
