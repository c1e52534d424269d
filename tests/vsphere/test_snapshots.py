"""Snapshots of machines: whatever becomes of their making, none is left that the journal does not know."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from asyncvddk.vsphere import FaultError, ServerConnectionError, VirtualMachine, VSphere, machines
from asyncvddk.vsphere import _snapshots as snapshots
from asyncvddk.vsphere._journal import Journal
from asyncvddk.vsphere._vim import vim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from tests.fix_vsphere import Bench


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    """Return a journal, which must have nothing left at the end of the test."""
    async with Journal.open(tmp_path / "journal", server="bench", instance="i") as opened:
        yield opened
        assert list(opened.left) == []


@pytest.fixture
async def web(vsphere: VSphere) -> VirtualMachine:
    """Return the machine that runs."""
    return (await machines(vsphere))[1]


async def test_a_snapshot_is_made_and_removed(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """The journal has it in between, with its reference."""
    made = await snapshots.create(vsphere, journal, web, "try")
    (entry,) = journal.left
    assert (entry.facts["moref"], entry.facts["name"]) == (made.moref, made.name)
    assert bench.snapshots() == [made.moref]
    assert await snapshots.discard(vsphere, journal, made.entry)
    assert bench.snapshots() == []
    assert [call.object for call in bench.calls("RemoveSnapshot_Task")] == [made.moref]


async def test_the_level_that_was_got_is_told(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """Quiesced, or not and why; a machine that is off is not asked to quiesce."""
    db, _ = await machines(vsphere)
    found = []
    for machine, quiesce, failures in ((web, "try", 0), (web, "never", 0), (web, "try", 1), (db, "always", 1)):
        bench.faults(fail_quiesce=failures)
        made = await snapshots.create(vsphere, journal, machine, quiesce)  # type: ignore[arg-type]
        found.append((made.level, made.reason is not None))
        await snapshots.discard(vsphere, journal, made.entry)
    assert found == [("file-system", False), ("crash", False), ("crash", True), ("off", False)]
    bench.faults(fail_quiesce=1)
    with pytest.raises(FaultError, match="ApplicationQuiesceFault"):
        await snapshots.create(vsphere, journal, web, "always")
    assert bench.snapshots() == []


async def test_a_snapshot_that_fails_is_not_left(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """Neither on the server nor in the journal."""
    bench.faults(fail_snapshot=2)
    with pytest.raises(FaultError, match="SnapshotFault"):
        await snapshots.create(vsphere, journal, web, "try")
    assert bench.snapshots() == []


async def test_an_answer_that_is_lost_leaves_no_snapshot(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server made it, but nobody was told: it is found by its name, and removed by its reference."""
    call = VSphere.call

    async def lossy(self: VSphere, function: Callable[[], object], *, what: str, again: bool = True) -> object:
        result = await call(self, function, what=what, again=again)
        if not again and bench.snapshots():
            monkeypatch.undo()
            raise ServerConnectionError("the answer was lost")
        return result

    monkeypatch.setattr(VSphere, "call", lossy)
    with pytest.raises(ServerConnectionError, match="the answer was lost"):
        await snapshots.create(vsphere, journal, web, "never")
    assert bench.snapshots() == []
    assert len(bench.calls("CreateSnapshot_Task")) == len(bench.calls("RemoveSnapshot_Task")) == 1


async def test_a_making_that_is_cancelled_leaves_no_snapshot(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """At whatever moment: before the call, while the task runs, just after it."""
    bench.faults(slow_ms=1)
    for turns in (0, 1, 2, 3, 5, 8, 13, 30, 100):
        making = asyncio.ensure_future(snapshots.create(vsphere, journal, web, "never"))
        for _ in range(turns):
            await asyncio.sleep(0)
        for _ in range(1000):  # an impatient caller
            making.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await making
        assert list(journal.left) == []
    assert bench.snapshots() == []


async def test_what_cannot_be_removed_stays_in_the_journal(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """And is removed by the next try."""
    made = await snapshots.create(vsphere, journal, web, "never")
    bench.faults(fail_remove=1)
    assert not await snapshots.discard(vsphere, journal, made.entry)
    assert [entry.number for entry in journal.left] == [made.entry]
    bench.faults(task_in_progress=3)
    assert await snapshots.discard(vsphere, journal, made.entry)
    assert bench.snapshots() == []


async def test_a_snapshot_of_somebody_else_is_never_removed(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """Not even if it has the reference that the journal says: references may be given anew."""
    vm = vsphere.managed(vim.VirtualMachine, web.moref)
    await vsphere.task(
        lambda: vm.CreateSnapshot_Task(name="theirs", description="", memory=False, quiesce=False), what="theirs"
    )
    (theirs,) = bench.snapshots()
    entry = await journal.begin("snapshot", vm=web.moref, name="asyncvddk-gone", moref=theirs)
    assert await snapshots.discard(vsphere, journal, entry)
    assert bench.snapshots() == [theirs]


async def test_a_machine_that_is_gone_has_no_snapshot(vsphere: VSphere, journal: Journal) -> None:
    """Nothing is left to be undone."""
    entry = await journal.begin("snapshot", vm="vm-9999", name="asyncvddk-x")
    assert await snapshots.discard(vsphere, journal, entry)
