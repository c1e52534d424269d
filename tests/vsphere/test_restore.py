"""The way back: tracking begins anew after it; a new machine is made whole or not at all."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk.vsphere import (
    NewMachine,
    VirtualMachine,
    machines,
    restore_as_new,
    restore_disks,
)
from asyncvddk.vsphere._journal import journals
from asyncvddk.vsphere._vim import Managed, moref, vim
from tests.fix_vsphere import MIB

if TYPE_CHECKING:
    from pathlib import Path

    from asyncvddk.repository import Snapshot
    from tests.vsphere.backups import Backups


async def power(backups: Backups, name: str, *, on: bool) -> None:
    """Switch a machine on or off."""
    vm = backups.vsphere.managed(vim.VirtualMachine, backups.bench.machines[name])
    await backups.vsphere.task(vm.PowerOnVM_Task if on else vm.PowerOffVM_Task, what="power")


async def named(backups: Backups, name: str) -> VirtualMachine:
    """Return a machine of the inventory."""
    return next(one for one in await machines(backups.vsphere) if one.name == name)


async def saved(backups: Backups) -> Snapshot:
    """Write something to both disks of ``web`` and back it up."""
    await backups.write("web", 70_000, b"good")
    await backups.write("web", MIB, b"good, too", key=2001)
    (result,) = await backups.make("web")
    assert result.snapshot
    return result.snapshot


async def test_a_restored_machine_is_backed_up_right(backups: Backups) -> None:
    """What tracking says does not fit what was written past it: it begins anew. Nothing is left in the journal."""
    made = await saved(backups)
    before = {key: backups.guest("web", key) for key in (2000, 2001)}
    await backups.write("web", 70_000, b"evil")
    await backups.write("web", 3 * MIB, b"x" * MIB)
    await backups.make("web")
    await power(backups, "web", on=False)
    locks: list[list[Path]] = []
    machine = await named(backups, "web")
    outcomes = await restore_disks(
        backups.vsphere,
        backups.vddk,
        backups.repository,
        made,
        machine,
        journal=backups.folder,
        progress=lambda *_: locks.append(journals(backups.folder)),
    )
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert locks
    assert all(len(found) == 1 for found in locks)
    assert {key: backups.guest("web", key) for key in (2000, 2001)} == before
    (later,) = await backups.make("web")
    assert later.changes[2000].reason is not None
    for key in (2000, 2001):
        assert await backups.stored(later.snapshot, key) == before[key]
    backups.assert_nothing_left()


async def as_new(backups: Backups, made: Snapshot, **more: Any) -> NewMachine:  # noqa: ANN401
    """Make ``new`` of a backup."""
    return await restore_as_new(
        backups.vsphere,
        backups.vddk,
        backups.repository,
        made,
        name="new",
        datastore="ds1",
        journal=backups.folder,
        **more,
    )


async def test_a_machine_that_was_made_too_late_is_unmade(backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancelled while the server makes it: it is unregistered, and its files are gone."""
    made = await saved(backups)
    making: list[asyncio.Future[NewMachine]] = []

    def told(machine: Managed) -> str:
        making[0].cancel()
        return moref(machine)

    monkeypatch.setattr("asyncvddk.vsphere._new_machine.moref", told)
    making.append(asyncio.ensure_future(as_new(backups, made)))
    with pytest.raises(asyncio.CancelledError):
        await making[0]
    assert len(backups.bench.calls("CreateVM_Task")) == len(backups.bench.calls("Destroy_Task")) == 1
    assert {one.name for one in await machines(backups.vsphere)} == {"web", "db"}


async def test_variables_of_the_firmware_are_told_to_be_left_out(backups: Backups) -> None:
    """They are in the backup; nothing is left in the journal."""
    (backups.bench.folders["ds1"] / "web" / "web.nvram").write_bytes(b"variables")
    new = await as_new(backups, await saved(backups))
    assert any(text.startswith("NVRAM") for text in new.left_out)
    assert journals(backups.folder) == []
