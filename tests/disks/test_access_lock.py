"""A lock that is held already (20005): whose it is decides what may be done."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import AccessLockedError, ConnectParams, NativeError, RetryPolicy, Secret, Vddk
from tests.reliability.test_abort import started

if TYPE_CHECKING:
    from tests.fix_stub import Gate, Stub

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))
LOCKED = 20005


async def locked_once(stub: Stub, gate: Gate) -> None:
    """Have the PrepareForAccess that is coming to the gate fail as it was told, and the further ones go well."""
    await gate.arrival()
    stub.fail("PrepareForAccess", 0)
    gate.release(10)


async def test_lock_of_somebody_is_never_ended_by_default(stub: Stub) -> None:
    """EndAccess would unlock the machine under a backup that runs, of whoever has the same identity."""
    stub.fail("PrepareForAccess", LOCKED)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(AccessLockedError):
            await vddk.access(PARAMS)
        with pytest.raises(AccessLockedError):
            await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
    assert stub.calls("EndAccess") == 0


async def test_who_holds_the_lock_opens_disks_without_another(stub: Stub) -> None:
    """One ``access`` for all disks of a machine: a second lock would be refused."""
    async with Vddk(stub.root) as vddk, vddk.access(PARAMS, "nightly"):
        for retry in (None, RetryPolicy()):
            opening = functools.partial(vddk.open_disk, "[ds] vm/disk.vmdk", params=PARAMS, identity=None)
            async with opening(retry=retry) if retry else opening():
                pass
    assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (1, 1)


async def test_lock_of_somebody_is_not_ended_by_a_cancelled_preparation(stub: Stub) -> None:
    """The answer counts although nobody wants it any more."""
    stub.fail("PrepareForAccess", LOCKED)
    async with Vddk(stub.root) as vddk:
        with stub.gate("PrepareForAccess") as gate:
            preparing = await started(vddk.access(PARAMS, "nightly", end_stale_lock=True))
            await gate.arrival()
            preparing.cancel()
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await preparing
    assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (1, 0)


async def test_own_stale_lock_is_ended_and_taken_anew_if_asked_for(stub: Stub) -> None:
    """EndAccess once with the same identity, PrepareForAccess once more; the log says whose lock was ended."""
    async with Vddk(stub.root) as vddk:
        with stub.gate("PrepareForAccess") as gate, capture_logs() as logs:
            stub.fail("PrepareForAccess", LOCKED)
            preparing = await started(vddk.access(PARAMS, "nightly@host-7", end_stale_lock=True))
            await locked_once(stub, gate)
            await preparing
        assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (2, 1)
    assert stub.calls("EndAccess") == 2
    (ended,) = [log for log in logs if log["event"] == "stale_access_lock_ended"]
    assert (ended["identity"], ended["vm"], ended["server"]) == ("nightly@host-7", "moref=vm-1", "vcenter.test")


async def test_open_disk_ends_a_stale_lock_if_asked_for(stub: Stub) -> None:
    """The same choice as for access."""
    async with Vddk(stub.root) as vddk:
        with stub.gate("PrepareForAccess") as gate:
            stub.fail("PrepareForAccess", LOCKED)
            opening = await started(
                vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS, identity="nightly", end_stale_lock=True)
            )
            await locked_once(stub, gate)
            await opening
    assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (2, 2)


async def test_lock_that_stays_is_an_error_and_is_not_ended_again(stub: Stub) -> None:
    """It is another identity's, or a migration runs: the error says that EndAccess was tried."""
    stub.fail("PrepareForAccess", LOCKED)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(AccessLockedError) as caught:
            await vddk.access(PARAMS, "nightly", end_stale_lock=True)
    assert any("EndAccess was called" in note for note in caught.value.__notes__)
    assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (2, 1)


async def test_lock_that_this_process_holds_is_never_ended(stub: Stub) -> None:
    """Two disks of one machine: the second must not unlock it under the first."""
    async with Vddk(stub.root) as vddk, vddk.access(PARAMS, "nightly"):
        stub.fail("PrepareForAccess", LOCKED)
        with pytest.raises(AccessLockedError) as caught:
            await vddk.access(PARAMS, "nightly", end_stale_lock=True)
        assert any("this process holds that lock" in note for note in caught.value.__notes__)
        assert stub.calls("EndAccess") == 0
    assert stub.calls("EndAccess") == 1


async def test_everybodys_identity_cannot_end_locks(stub: Stub) -> None:
    """The default one may be in use on another machine."""
    async with Vddk(stub.root) as vddk:
        with pytest.raises(ValueError, match="identity"):
            vddk.access(PARAMS, end_stale_lock=True)
        with pytest.raises(ValueError, match="identity"):
            vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS, end_stale_lock=True)
    assert stub.calls("PrepareForAccess") == 0


async def test_end_of_a_migration_can_be_waited_for(stub: Stub) -> None:
    """With a policy that names the code."""
    policy = RetryPolicy(attempts=2, delay_s=0, codes=frozenset({LOCKED}))
    async with Vddk(stub.root) as vddk:
        with stub.gate("PrepareForAccess") as gate:
            stub.fail("PrepareForAccess", LOCKED)
            preparing = await started(vddk.access(PARAMS, retry=policy))
            await locked_once(stub, gate)
            await preparing
    assert (stub.calls("PrepareForAccess"), stub.calls("EndAccess")) == (2, 1)


async def test_failed_preparation_is_ended_all_the_same(stub: Stub) -> None:
    """VMware's guide wants EndAccess then, too, unless the lock is another's."""
    stub.fail("PrepareForAccess", 13)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(NativeError):
            await vddk.access(PARAMS)
    assert stub.calls("EndAccess") == 1


async def test_locks_that_were_left_open_are_ended_after_their_connections(stub: Stub) -> None:
    """Leaving the library closes what is open in the order that VMware's guide wants."""
    async with Vddk(stub.root) as vddk:
        for n in range(5):
            await vddk.access(PARAMS, f"nightly {n}")
            await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
        with stub.gate("Disconnect") as gate:
            leaving = asyncio.ensure_future(vddk.__aexit__(None, None, None))
            for _ in range(5):
                await gate.arrival()
                assert stub.calls("EndAccess") == 0
                gate.release()
            await leaving
    assert (stub.calls("EndAccess"), stub.calls("Disconnect"), stub.calls("Exit")) == (10, 5, 1)
