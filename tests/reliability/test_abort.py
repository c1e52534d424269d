"""Giving up: a library that hangs costs one connection, never the program."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import AbortedError, ConnectParams, CreateParams, Secret, Vddk, VddkError
from asyncvddk.native import _log
from asyncvddk.threads._port import library_is_busy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.fix_stub import Gate, Stub

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))


@contextmanager
def hanging(stub: Stub, name: str) -> Iterator[Gate]:
    """Have calls of a function hang for the block."""
    with stub.gate(name) as gate:
        yield gate


async def come_back(gate: Gate, calls: int = 1) -> None:
    """Let the hung call return, and the thread that was left with it end."""
    gate.release(calls)
    while library_is_busy():  # noqa: ASYNC110  (the thread tells the loop, and nobody else)
        await asyncio.sleep(0)


async def started(call: Awaitable[object]) -> asyncio.Task[object]:
    """Begin to wait for ``call`` in a task."""

    async def wait() -> object:
        return await call

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    return task


async def test_everybody_who_waits_hears_of_it_at_once(stub: Stub) -> None:
    """The one whose call hangs and those behind it; the error says connection, call, disk and reason."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        disk = await connection.open("/disk.vmdk")
        with hanging(stub, "Read") as gate:
            tasks = [await started(disk.read_at(0, 512)), await started(disk.info())]
            await gate.arrival()
            connection.abort("the operator has lost patience")
            for task, call in zip(tasks, ("Read", "GetInfo"), strict=True):
                with pytest.raises(AbortedError) as caught:
                    await task
                assert str(caught.value) == (
                    f"connection to local disks: VixDiskLib_{call} of '/disk.vmdk': the operator has lost patience"
                )
                assert (caught.value.path, caught.value.reason) == ("/disk.vmdk", "the operator has lost patience")
            await come_back(gate)


async def test_later_use_says_the_same_and_closing_asks_the_library_for_nothing(stub: Stub) -> None:
    """Disks and connection are broken for good; aclose returns, twice if need be."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        disk = await connection.open("/disk.vmdk")
        connection.abort("enough")
        connection.abort("again")
        uses: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: disk.read_at(0, 512),
            lambda: disk.readinto_at(0, bytearray(512)),
            lambda: disk.write_at(1, b"x"),
            disk.info,
            disk.flush,
            lambda: connection.open("/other.vmdk"),
            lambda: connection.create("/new.vmdk", CreateParams(size=512)),
            lambda: connection.unlink("/old.vmdk"),
        )
        for use in uses:
            with pytest.raises(AbortedError, match="enough"):
                await use()
        with pytest.raises(AbortedError, match=r"allocated_blocks.*enough"):
            disk.allocated_blocks()
        await disk.aclose()
        await connection.aclose()
        await connection.aclose()
        assert (stub.calls("Close"), stub.calls("Disconnect")) == (0, 0)


async def test_close_that_hangs_is_given_up_too(stub: Stub) -> None:
    """Who waits for the close hears of it; the rest of the close goes on."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
        with hanging(stub, "Close") as gate:
            closing = await started(disk.aclose())
            await gate.arrival()
            disk.abort("it hangs")
            with pytest.raises(AbortedError, match=r"VixDiskLib_Close of .*it hangs"):
                await closing
            assert (stub.calls("Disconnect"), stub.calls("EndAccess")) == (0, 1)
            await come_back(gate)


async def test_access_lock_is_ended_although_the_connection_was_given_up(stub: Stub) -> None:
    """EndAccess has a thread of its own, so the virtual machine does not stay locked."""
    async with Vddk(stub.root) as vddk:
        async with vddk.access(PARAMS):
            async with vddk.connect(PARAMS) as connection, connection.open("[ds] vm/disk.vmdk") as disk:
                with hanging(stub, "Read") as gate:
                    reading = await started(disk.read_at(0, 512))
                    await gate.arrival()
                    connection.abort()
                    with pytest.raises(AbortedError):
                        await reading
                    await come_back(gate)
            assert stub.calls("EndAccess") == 0
        assert stub.calls("EndAccess") == 1


async def test_other_connections_go_on_while_one_hangs(stub: Stub) -> None:
    """Also when the hung call has the turn that VDDK wants for Open and Close."""
    async with Vddk(stub.root) as vddk:
        hung, healthy = await vddk.connect(), await vddk.connect()
        with hanging(stub, "Open") as gate:
            opening = await started(hung.open("/slow.vmdk"))
            await gate.arrival()
            hung.abort("it hangs in Open")
            with pytest.raises(AbortedError, match=r"Open of '/slow\.vmdk': it hangs in Open"):
                await opening
            gate.release()  # for whoever comes first: the hung one is in the way of nobody
            other = await started(healthy.open("/other.vmdk"))
            gate.release()
            disk = await other
            assert await disk.read_at(0, 512) == bytes(512)  # type: ignore[attr-defined]
            await come_back(gate, 0)


async def test_cancelled_call_that_hangs_ends_as_cancelled_when_it_is_given_up(stub: Stub) -> None:
    """The cancellation was waiting for C; it goes on."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        disk = await connection.open("/disk.vmdk")
        with hanging(stub, "Read") as gate:
            reading = await started(disk.read_at(0, 512))
            await gate.arrival()
            reading.cancel()
            await asyncio.sleep(0)
            connection.abort()
            with pytest.raises(asyncio.CancelledError):
                await reading
            await come_back(gate)


async def test_cancelled_close_that_hangs_ends_as_cancelled_when_it_is_given_up(stub: Stub) -> None:
    """A timeout round aclose is not swallowed by the error of giving up."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("/disk.vmdk")
        with hanging(stub, "Close") as gate:
            closing = await started(disk.aclose())
            await gate.arrival()
            closing.cancel()
            await asyncio.sleep(0)
            disk.abort("it hangs")
            with pytest.raises(asyncio.CancelledError) as caught:
                await closing
            assert isinstance(caught.value.__cause__, AbortedError)
            await come_back(gate)


async def test_buffer_of_a_call_that_was_given_up_is_neither_freed_nor_resized(stub: Stub) -> None:
    """C may still write there, until it comes back."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("/disk.vmdk")
        buffer = bytearray(512)
        with hanging(stub, "Read") as gate:
            reading = await started(disk.readinto_at(0, buffer))
            await gate.arrival()
            disk.abort()
            with pytest.raises(AbortedError):
                await reading
            del reading
            with pytest.raises(BufferError):
                buffer.append(0)
            await come_back(gate)
            gc.collect()  # the error's traceback has held it, too
            buffer.append(0)


async def test_secrets_of_a_call_that_was_given_up_are_overwritten_when_it_has_come_back(stub: Stub) -> None:
    """Until then the library may read them, and the log masks them."""
    params = dataclasses.replace(PARAMS, password=Secret("nowhere else"))
    async with Vddk(stub.root) as vddk:
        with hanging(stub, "ConnectEx") as gate:
            connecting = await started(vddk.connect(params))
            await gate.arrival()
            vddk.abort()
            await asyncio.wait([connecting])
            assert isinstance(connecting.exception(), AbortedError)
            del connecting
            gc.collect()
            assert _log.masked(bytearray(b"nowhere else")) == "***"
            await come_back(gate)
    gc.collect()
    assert _log.masked(bytearray(b"nowhere else")) == "nowhere else"


async def test_signal_can_give_up_everything(stub: Stub) -> None:
    """As a program does it that is told to end: even a connection that nobody holds yet is given up."""
    async with Vddk(stub.root) as vddk:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, vddk.abort, "the program is told to end")
        with hanging(stub, "ConnectEx") as gate:
            opening = await started(vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS))
            await gate.arrival()
            os.kill(os.getpid(), signal.SIGUSR1)
            with pytest.raises(AbortedError, match="the program is told to end"):
                await opening
            assert stub.calls("EndAccess") == 1
            await come_back(gate)
        asyncio.get_running_loop().remove_signal_handler(signal.SIGUSR1)


@pytest.mark.parametrize("name", ["PrepareForAccess", "EndAccess"])
async def test_access_lock_that_hangs_is_given_up_and_the_log_says_so(stub: Stub, name: str) -> None:
    """Whoever waits gets the error; what may be left in vCenter is said."""
    async with Vddk(stub.root) as vddk:
        with hanging(stub, name) as gate, capture_logs() as logs:
            if name == "PrepareForAccess":
                waiting = await started(vddk.access(PARAMS))
            else:
                access = await vddk.access(PARAMS)
                access.abort("at rest nothing happens")
                waiting = await started(access.aclose())
            await gate.arrival()
            vddk.abort("it hangs")
            with pytest.raises(AbortedError, match=f"access lock of vcenter.test: VixDiskLib_{name}: it hangs"):
                await waiting
            await come_back(gate)
    left = [log for log in logs if log["event"] == "access_lock_left"]
    assert [(log["vm"], log["identity"]) for log in left] == [("moref=vm-1", "asyncvddk")]


async def test_library_is_not_ended_while_a_call_may_be_inside_and_its_next_user_ends_it(stub: Stub) -> None:
    """VDDK tears down what the hung thread uses; what it had open is closed first, once it has come back."""
    with hanging(stub, "Read") as gate:
        with capture_logs() as logs:
            async with Vddk(stub.root) as vddk:
                connection = await vddk.connect()
                disk = await connection.open("/disk.vmdk")
                reading = await started(disk.read_at(0, 512))
                await gate.arrival()
                connection.abort()
                with pytest.raises(AbortedError):
                    await reading
            assert stub.calls("Exit") == 0
        assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["library_not_ended"]
        async with Vddk(stub.root) as vddk, vddk.connect():
            assert stub.calls("InitEx") == 1
            await come_back(gate)
        assert stub.calls("InitEx") == stub.calls("Exit") == 1
        assert (stub.calls("Close"), stub.calls("Disconnect")) == (1, 2)


async def test_other_configuration_is_taken_once_the_hung_call_has_come_back(stub: Stub, tmp_path: Path) -> None:
    """Until then the old one holds, and the error says so."""
    config = tmp_path / "vddk.conf"
    config.write_text("")
    with hanging(stub, "ConnectEx") as gate:
        async with Vddk(stub.root) as vddk:
            connecting = await started(vddk.connect())
            await gate.arrival()
            vddk.abort()
            with pytest.raises(AbortedError):
                await connecting
        with pytest.raises(VddkError, match="given up"):
            await Vddk(stub.root, config=config).__aenter__()
        await come_back(gate)
    async with Vddk(stub.root, config=config):
        assert (stub.calls("InitEx"), stub.calls("Exit"), stub.calls("Disconnect")) == (2, 1, 1)


@pytest.mark.parametrize("kind", ["stub", "async_stub"])
async def test_disk_whose_close_waits_when_it_is_given_up_is_closed_before_the_end(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """Its close stood behind the call that hung, or behind the wait for reads in flight, so nobody has made it."""
    stub: Stub = request.getfixturevalue(kind)
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        disk = await connection.open("/disk.vmdk")
        with hanging(stub, "Read") as gate:
            reading = await started(disk.read_at(0, 512))
            await gate.arrival()
            closing = await started(disk.aclose())
            connection.abort()
            for task in (reading, closing):
                with pytest.raises(AbortedError):
                    await task
            await come_back(gate)
        assert stub.calls("Close") == 0
    assert stub.balanced()


@pytest.mark.parametrize("name", ["Close", "Disconnect"])
async def test_close_that_hung_is_not_made_again_before_the_end(stub: Stub, name: str) -> None:
    """The library may have freed the handle when it comes back."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        await connection.open("/disk.vmdk")
        with hanging(stub, name) as gate:
            closing = await started(connection.aclose())
            await gate.arrival()
            connection.abort()
            with pytest.raises(AbortedError):
                await closing
            await come_back(gate)
    assert stub.balanced()


async def test_library_stays_usable_when_a_cleanup_that_was_given_up_has_come_back(stub: Stub) -> None:
    """Its thread cannot end the library any more; the next user does."""
    with capture_logs() as logs, hanging(stub, "Cleanup") as gate:
        async with Vddk(stub.root) as vddk:
            cleaning = await started(vddk.cleanup(PARAMS))
            await gate.arrival()
            vddk.abort()
            with pytest.raises(AbortedError):
                await cleaning
            await come_back(gate)
    assert stub.calls("Exit") == 0
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == ["library_not_ended"]
    async with Vddk(stub.root), Vddk(stub.root):
        assert (stub.calls("InitEx"), stub.calls("Exit")) == (2, 1)
    assert stub.balanced()


def test_call_that_comes_back_after_its_loop_has_ended_is_noticed(stub: Stub, tmp_path: Path) -> None:
    """The next program part, on a loop of its own, can start the library anew."""
    config = tmp_path / "vddk.conf"
    config.write_text("")
    with hanging(stub, "Read") as gate:

        async def hang() -> None:
            async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
                reading = await started(disk.read_at(0, 512))
                await gate.arrival()
                disk.abort()
                with pytest.raises(AbortedError):
                    await reading

        asyncio.run(hang())
        assert library_is_busy()
        gate.release()
        while library_is_busy():
            pass  # the thread tells nobody but the ring of the loop that is gone

        async def again() -> None:
            async with Vddk(stub.root, config=config):
                pass

        asyncio.run(again())
    assert stub.calls("InitEx") == stub.calls("Exit") == 2
    assert stub.balanced()


async def test_library_whose_start_hangs_is_unusable_and_says_so(stub: Stub) -> None:
    """Nobody may call InitEx beside another InitEx."""
    vddk = Vddk(stub.root)
    with hanging(stub, "InitEx") as gate:
        starting = await started(vddk.__aenter__())
        await gate.arrival()
        vddk.abort("it does not start")
        with pytest.raises(AbortedError, match="library: VixDiskLib_InitEx: it does not start"):
            await starting
        with pytest.raises(AbortedError, match="start another one"):
            await Vddk(stub.root).__aenter__()
        await come_back(gate)
    assert (stub.calls("InitEx"), stub.calls("Exit")) == (1, 0)


async def test_library_whose_end_hangs_can_be_left(stub: Stub) -> None:
    """VMware's has been seen to hang there."""
    vddk = await Vddk(stub.root).__aenter__()
    with hanging(stub, "Exit") as gate:
        leaving = await started(vddk.__aexit__(None, None, None))
        await gate.arrival()
        vddk.abort("it does not end")
        with pytest.raises(AbortedError, match="VixDiskLib_Exit: it does not end"):
            await leaving
        await come_back(gate)


async def test_reads_in_flight_inside_the_engine_are_given_up_together(tmp_path: Path) -> None:
    """With ReadAsync the calls are on the library's own threads while ours is idle; the engine hangs in one."""
    fifo, config = tmp_path / "fifo", tmp_path / "engine.conf"
    os.mkfifo(fifo)
    config.write_text(f"openEngine.hang = ReadAsync.callback:1:{fifo}\n")
    async with Vddk(config=config) as vddk, vddk.connect() as connection:
        await connection.create(tmp_path / "disk.vmdk", CreateParams(size=1 << 20))
        disk = await connection.open(tmp_path / "disk.vmdk")
        reads = [await started(disk.read_at(n * 512, 4096)) for n in range(20)]
        with await asyncio.to_thread(fifo.open, "wb"):
            connection.abort()
            for read in reads[1:]:
                with suppress(AbortedError):
                    await read
            with pytest.raises(AbortedError, match="VixDiskLib_ReadAsync of"):
                await reads[0]
            assert library_is_busy()
        while library_is_busy():  # noqa: ASYNC110  (as above)
            await asyncio.sleep(0)
