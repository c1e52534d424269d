"""Time limits of native calls: what runs too long is given up with its connection; what waits is not running."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import AbortedError, CallTimeoutError, ConnectParams, CreateParams, Secret, Vddk
from asyncvddk.threads._watch import LOOKS, Watch
from tests.reliability.test_abort import come_back, started

if TYPE_CHECKING:
    from tests.fix_stub import Stub

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))
SOON = 0.02


def test_what_is_seen_during_the_whole_limit_has_run_too_long() -> None:
    """Looks, an eighth of the limit apart: the first one sees it begin."""
    watch: Watch[str] = Watch()
    assert [watch.look(["slow", f"quick {n}"]) for n in range(LOOKS)] == [None] * LOOKS
    assert watch.look(["slow", "quick"]) == "slow"


def test_what_ends_and_begins_anew_begins_to_count_anew() -> None:
    """A call that tells progress is another one each time."""
    watch: Watch[tuple[int, int]] = Watch()
    for told in range(5):
        assert [watch.look([(7, told)]) for _ in range(LOOKS)] == [None] * LOOKS


async def test_call_that_runs_too_long_gives_its_connection_up(stub: Stub) -> None:
    """The error names call, disk and seconds, to everybody who waits; it is a TimeoutError, too, and is logged."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect(call_timeout_s=SOON)
        disk = await connection.open("/disk.vmdk")
        with stub.gate("Read") as gate, capture_logs() as logs:
            reading, waiting = await started(disk.read_at(0, 512)), await started(disk.info())
            await gate.arrival()
            text = r"VixDiskLib_Read of '/disk\.vmdk' ran longer than 0\.02 s"
            with pytest.raises(TimeoutError, match=f"VixDiskLib_Read of .*: {text}") as caught:
                await reading
            with pytest.raises(CallTimeoutError, match=f"VixDiskLib_GetInfo of .*: {text}"):
                await waiting
            assert isinstance(caught.value, AbortedError)
            assert (caught.value.call, caught.value.path) == ("VixDiskLib_Read", "/disk.vmdk")
            with pytest.raises(CallTimeoutError, match=text):
                await disk.read_at(0, 512)
            await disk.aclose()
            await connection.aclose()
            await come_back(gate)
    events = [log for log in logs if log["event"] == "call_timed_out"]
    assert [(log["call"], log["disk"], log["seconds"]) for log in events] == [("VixDiskLib_Read", "/disk.vmdk", SOON)]


async def test_call_that_waits_for_others_is_not_running(stub: Stub) -> None:
    """However often the limit passes: behind a call of its connection, and for the turn that another connection has."""
    async with Vddk(stub.root) as vddk:
        patient, limited = await vddk.connect(), await vddk.connect(call_timeout_s=3600)
        disk = await limited.open("/disk.vmdk")
        with stub.gate("Open") as gate:
            first = await started(patient.open("/first.vmdk"))
            await gate.arrival()
            behind = [await started(limited.open("/second.vmdk")), await started(disk.read_at(0, 512))]
            await asyncio.sleep(0)
            for _ in range(3 * LOOKS):
                limited._calls.worker.look()
            assert not limited.closed
            assert not any(task.done() for task in behind)
            gate.release(2)
            await asyncio.gather(first, *behind)


async def test_call_that_is_cancelled_and_waited_for_has_its_limit_all_the_same(stub: Stub) -> None:
    """A timeout round a hung read ends."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("/disk.vmdk", call_timeout_s=SOON)
        with stub.gate("Read") as gate:
            reading = await started(disk.read_at(0, 512))
            await gate.arrival()
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            with pytest.raises(CallTimeoutError):
                await disk.read_at(0, 512)
            await come_back(gate)


async def test_long_operation_must_only_tell_progress_in_time(stub: Stub) -> None:
    """Every call of the progress function counts, of the same percentage as well: only silence is a hang."""
    async with Vddk(stub.root) as vddk, vddk.connect(call_timeout_s=3600) as connection:
        worker = connection._calls.worker
        with stub.gate("Create") as gate:
            creating = await started(connection.create("/new.vmdk", CreateParams(size=512)))
            await gate.arrival()
            (progress,) = worker._long.values()
            for _ in range(3):
                for _ in range(LOOKS):
                    worker.look()
                tell(progress.arguments, 10)
            assert not worker.closed
            gate.release()
            await creating


async def test_long_operation_that_falls_silent_is_given_up(stub: Stub) -> None:
    """It told something at its begin, and then no more."""
    async with Vddk(stub.root) as vddk, vddk.connect(call_timeout_s=SOON) as connection:
        with stub.gate("Create") as gate:
            creating = await started(connection.create("/new.vmdk", CreateParams(size=512)))
            await gate.arrival()
            with pytest.raises(CallTimeoutError, match=r"Create of '/new\.vmdk' ran longer"):
                await creating
            await come_back(gate)


def tell(arguments: tuple[int, int], percent: int) -> None:
    """Call a progress function as the library does."""
    from ctypes import CFUNCTYPE, c_char, c_int, c_void_p  # noqa: PLC0415

    CFUNCTYPE(c_char, c_void_p, c_int)(arguments[0])(arguments[1], percent)


@pytest.mark.parametrize("name", ["ConnectEx", "Open", "GetInfo", "PrepareForAccess"])
async def test_opening_has_the_limit_of_the_library_object(stub: Stub, name: str) -> None:
    """Nobody holds a connection yet that could be aborted; what was done is undone as far as can be."""
    async with Vddk(stub.root, call_timeout_s=SOON) as vddk:
        with stub.gate(name) as gate:
            opening = await started(vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS))
            await gate.arrival()
            with pytest.raises(CallTimeoutError, match=f"VixDiskLib_{name}"):
                await opening
            assert stub.calls("EndAccess") == (0 if name == "PrepareForAccess" else 1)
            await come_back(gate)


@pytest.mark.parametrize("name", ["InitEx", "Exit"])
async def test_start_and_end_of_the_library_have_a_limit(stub: Stub, name: str) -> None:
    """A hung one is an error, no hang of the program."""
    with stub.gate(name) as gate:

        async def use() -> None:
            async with Vddk(stub.root, call_timeout_s=SOON):
                pass

        using = await started(use())
        await gate.arrival()
        with pytest.raises(CallTimeoutError, match=f"library: VixDiskLib_{name}"):
            await using
        await come_back(gate)


async def test_limit_given_for_one_connection_goes_before_the_common_one(stub: Stub) -> None:
    """Infinity is none."""
    async with Vddk(stub.root, call_timeout_s=5) as vddk, vddk.connect(call_timeout_s=math.inf) as connection:
        assert connection._calls.worker.call_timeout_s == math.inf
        async with vddk.connect() as other:
            assert other._calls.worker.call_timeout_s == 5


@pytest.mark.parametrize("limit", [0, -1, math.nan])
async def test_limit_that_is_none_is_refused(stub: Stub, limit: float) -> None:
    """Before anything happens."""
    with pytest.raises(ValueError, match="call_timeout_s"):
        Vddk(stub.root, call_timeout_s=limit)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(ValueError, match="call_timeout_s"):
            vddk.connect(call_timeout_s=limit)


async def test_idle_connection_has_no_timer(stub: Stub) -> None:
    """One look after the last call, and then none until the next one."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk", call_timeout_s=3600) as disk:
        worker = disk._calls.worker
        await asyncio.gather(*(disk.read_at(0, 512) for _ in range(100)))
        assert not worker._unwatched
        worker.look()
        assert worker._unwatched
        await disk.read_at(0, 512)
        assert not worker._unwatched
