"""The policy of trying again: when, how often, and what everybody hears of it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from asyncvddk import AccessDeniedError, ConnectionFailedError, ConnectParams, RetryPolicy, Secret, Vddk
from asyncvddk.disks._retry import Tries
from asyncvddk.errors import native_error

if TYPE_CHECKING:
    from tests.fix_stub import Stub

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))
AT_ONCE = RetryPolicy(attempts=3, delay_s=0)


def test_delays_grow_by_the_factor_up_to_the_longest() -> None:
    """One fewer than tries."""
    policy = RetryPolicy(attempts=6, delay_s=1, factor=3, max_delay_s=10, jitter=0)
    assert list(policy.delays()) == [1, 3, 9, 10, 10]


def test_chance_takes_a_share_of_each_delay_away() -> None:
    """Never more than the share."""
    policy = RetryPolicy(attempts=4, delay_s=8, factor=1, jitter=0.5)
    chances = iter([0.0, 0.5, 1.0])
    assert list(policy.delays(lambda: next(chances))) == [8, 6, 4]


def test_one_attempt_is_no_retry() -> None:
    """Nothing to wait for."""
    assert list(RetryPolicy(attempts=1).delays()) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("attempts", 0), ("delay_s", -1), ("factor", 0.5), ("max_delay_s", -1), ("jitter", 1.5), ("jitter", -0.1)],
)
def test_policy_that_makes_no_sense_is_refused(field: str, value: float) -> None:
    """The error names the field."""
    wrong: dict[str, Any] = {field: value}
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(RetryPolicy(), **wrong)


@pytest.mark.parametrize("code", [2, 36, 14009, 14014, 18000])
def test_codes_that_pass_by_are_tried_again(code: int) -> None:
    """What the field calls transient, by the low 16 bits."""
    assert RetryPolicy().heals(native_error("VixDiskLib_Open", 77 << 16 | code, "text"))


@pytest.mark.parametrize("code", [1, 4, 13, 15, 3014, 16008, 20005])
def test_codes_that_stay_are_not_tried_again(code: int) -> None:
    """Wrong thumbprint, path, rights, a lock: unless asked for."""
    error = native_error("VixDiskLib_Open", code, "text")
    assert not RetryPolicy().heals(error)
    assert RetryPolicy(codes=frozenset({code})).heals(error)


async def test_waits_as_the_policy_says_and_then_raises_the_last_error_with_notes() -> None:
    """The error is itself; what failed before is in its notes, and in the log with attempt, code, delay and disk."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    policy = RetryPolicy(attempts=3, delay_s=1, jitter=0)
    tries = Tries(policy, "read_at", "/disk.vmdk", sleep=sleep)
    with capture_logs() as logs:
        await tries.again(native_error("VixDiskLib_Read", 14009, "one"))
        await tries.again(native_error("VixDiskLib_Read", 18000, "two"))
        last = native_error("VixDiskLib_Read", 36, "three")
        with pytest.raises(ConnectionFailedError) as caught:
            await tries.again(last)
    assert slept == [1, 2]
    assert caught.value is last
    assert [note[:36] for note in last.__notes__] == [
        "try 1 failed with: VixDiskLib_Read: ",
        "try 2 failed with: VixDiskLib_Read: ",
    ]
    seen = [(log["event"], log["attempt"], log["attempts"], log["code"], log["delay_s"], log["disk"]) for log in logs]
    assert seen == [("retried", 2, 3, 14009, 1, "/disk.vmdk"), ("retried", 3, 3, 18000, 2, "/disk.vmdk")]


async def test_connecting_and_opening_are_tried_again(stub: Stub) -> None:
    """Until it goes well."""
    async with Vddk(stub.root) as vddk:
        for name, code in (("ConnectEx", 14009), ("Open", 18000)):
            stub.fail(name, code)
            with pytest.raises(ConnectionFailedError) as caught:
                async with vddk.connect(retry=AT_ONCE) as connection, connection.open("/disk.vmdk"):
                    pass
            assert len(caught.value.__notes__) == 2
            stub.fail(name, 0)
        async with vddk.connect(retry=AT_ONCE) as connection, connection.open("/disk.vmdk"):
            pass
    assert (stub.calls("ConnectEx"), stub.calls("Disconnect"), stub.calls("Open")) == (5, 2, 4)


async def test_without_a_policy_nothing_is_tried_again(stub: Stub) -> None:
    """Off unless asked for."""
    stub.fail("ConnectEx", 14009)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(ConnectionFailedError):
            await vddk.connect()
    assert stub.calls("ConnectEx") == 1


async def test_error_that_stays_is_raised_at_once(stub: Stub) -> None:
    """Missing rights do not heal."""
    stub.fail("ConnectEx", 13)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(AccessDeniedError):
            await vddk.connect(retry=RetryPolicy(attempts=100))
    assert stub.calls("ConnectEx") == 1


async def test_open_disk_keeps_the_access_lock_while_it_tries_again(stub: Stub) -> None:
    """Only connection and disk are made anew; in the end everything is given back."""
    stub.fail("Open", 14009)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(ConnectionFailedError):
            await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS, retry=AT_ONCE)
    assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (1, 1)
    assert (stub.calls("ConnectEx"), stub.calls("Disconnect")) == (3, 3)


async def test_cancellation_ends_the_wait_for_another_try_at_once(stub: Stub) -> None:
    """However long the delay is."""
    stub.fail("ConnectEx", 14009)
    async with Vddk(stub.root) as vddk:
        with capture_logs() as logs:
            connecting = asyncio.ensure_future(_opened(vddk))
            while not any(log["event"] == "retried" for log in logs):  # noqa: ASYNC110  (the log is what tells)
                await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
    assert (stub.calls("ConnectEx"), stub.calls("Disconnect")) == (1, 0)


async def _opened(vddk: Vddk) -> object:
    return await vddk.connect(retry=RetryPolicy(delay_s=86400, max_delay_s=86400))
