"""Failing closes: the first error is the one that is raised, nothing that follows hides it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import ConnectParams, NativeError, Opening, Secret, Vddk
from asyncvddk.disks._closing import Steps

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.fix_stub import Stub

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))
CLOSES = ("Close", "Disconnect", "EndAccess")


def fail_all(stub: Stub, *names: str) -> None:
    """Have the functions fail with 7."""
    for name in names:
        stub.fail(name, 7)


async def test_first_of_several_failing_closes_is_raised_the_others_are_its_notes(stub: Stub) -> None:
    """Disk, connection and access lock; all were tried."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
        fail_all(stub, *CLOSES)
        with pytest.raises(NativeError, match="VixDiskLib_Close") as caught:
            await disk.aclose()
        notes = [next(name for name in CLOSES if name in note) for note in caught.value.__notes__]
        assert notes == ["Disconnect", "EndAccess"]
    assert [stub.calls(name) for name in CLOSES] == [1, 1, 1]


async def test_disks_of_a_connection_are_all_closed_whichever_fail(stub: Stub) -> None:
    """Every disk's error is told."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        for n in range(3):
            await connection.open(f"/{n}.vmdk")
        fail_all(stub, "Close", "Disconnect")
        with pytest.raises(NativeError, match="VixDiskLib_Close") as caught:
            await connection.aclose()
    assert (stub.calls("Close"), stub.calls("Disconnect"), len(caught.value.__notes__)) == (3, 1, 3)


@pytest.mark.parametrize("what", ["library", "connection", "disk", "access", "open_disk"])
async def test_error_of_the_block_wins_over_that_of_the_close(stub: Stub, what: str) -> None:
    """The close's error is a note of it."""

    async def use() -> None:
        async with Vddk(stub.root) as vddk:
            connection = await vddk.connect()
            opened: dict[str, Opening[Any]] = {
                "connection": vddk.connect(),
                "disk": connection.open("/disk.vmdk"),
                "access": vddk.access(PARAMS),
                "open_disk": vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS),
            }
            if what == "library":
                fail_all(stub, *CLOSES)
                raise KeyError("the block's own")
            async with opened[what]:
                fail_all(stub, *CLOSES)
                raise KeyError("the block's own")

    with pytest.raises(KeyError, match="the block's own") as caught:
        await use()
    assert any(name in note for note in caught.value.__notes__ for name in CLOSES)


async def test_failing_undo_of_an_open_tells_every_step(stub: Stub) -> None:
    """The failed Open is raised; Disconnect and EndAccess, which failed behind it, are its notes."""
    fail_all(stub, "Open", "Disconnect", "EndAccess")
    async with Vddk(stub.root) as vddk:
        with pytest.raises(NativeError, match="VixDiskLib_Open") as caught:
            await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
    text = "\n".join(caught.value.__notes__)
    assert "Disconnect" in text
    assert "EndAccess" in text


async def test_disk_that_is_left_open_is_closed_with_the_library(stub: Stub) -> None:
    """Its connection is among what it closes, and it is among what its connection closes: no deadlock."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
    assert disk.closed
    await disk.aclose()
    assert [stub.calls(name) for name in (*CLOSES, "Exit")] == [1, 1, 1, 1]


async def test_disk_and_connection_closed_at_once_by_two_tasks_wait_for_each_other_only_one_way(stub: Stub) -> None:
    """Whoever comes first."""
    async with Vddk(stub.root) as vddk:
        for order in (1, -1):
            disk = await vddk.open_disk("/disk.vmdk")
            (connection,) = vddk._live
            with stub.gate("Close") as gate:
                tasks = [asyncio.ensure_future(thing.aclose()) for thing in (disk, connection)[::order]]
                await gate.arrival()
                gate.release()
                await asyncio.gather(*tasks)
    assert stub.balanced()


async def _steps(*errors: BaseException | None) -> BaseException:
    made: list[int] = []
    steps = Steps()

    def step(n: int, error: BaseException | None) -> Callable[[], Awaitable[None]]:
        async def make() -> None:
            made.append(n)
            if error is not None:
                raise error

        return make

    for n, error in reversed(list(enumerate(errors))):
        steps.push(step(n, error))
    with pytest.raises(BaseException) as caught:  # noqa: PT011  (whatever it is, the caller looks at it)
        await steps.aclose()
    assert made == list(range(len(errors)))
    return caught.value


async def test_all_steps_are_made_and_notes_of_later_errors_are_kept() -> None:
    """A later error brings its own notes."""
    later = ValueError("later")
    later.add_note("why it came")
    error = await _steps(None, KeyError("first"), later, None)
    assert repr(error) == "KeyError('first')"
    assert error.__notes__ == ["closing failed at another step, too: later", "why it came"]


@pytest.mark.parametrize("urgent", [KeyboardInterrupt(), asyncio.CancelledError()])
async def test_interrupt_in_the_middle_of_closing_goes_before_errors(urgent: BaseException) -> None:
    """The program is told to end: that must not become a note."""
    error = await _steps(ValueError("first"), urgent, ValueError("last"))
    assert error is urgent
    assert error.__notes__ == [
        "closing failed at another step, too: first",
        "closing failed at another step, too: last",
    ]
