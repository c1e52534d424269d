"""Snapshots of machines: whatever becomes of their making, none is left that the journal does not know."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

import pytest

from asyncvddk.vsphere import FaultError, NotPossibleError, ServerConnectionError, VirtualMachine, VSphere, machines
from asyncvddk.vsphere import _snapshots as snapshots
from asyncvddk.vsphere._journal import Journal
from asyncvddk.vsphere._vim import moref, vim

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
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


async def test_a_wish_to_quiesce_that_is_ignored_is_noticed(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """Without VMware Tools servers say nothing: it is told, and who wants it always gets no snapshot."""
    bench.faults(ignore_quiesce=True)
    made = await snapshots.create(vsphere, journal, web, "try")
    assert (made.level, made.reason) == ("crash", snapshots._NOT_QUIESCED)
    await snapshots.discard(vsphere, journal, made.entry)
    with pytest.raises(NotPossibleError, match="not quiesced"):
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
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """The server made it, but nobody was told: it is found by its name, and removed by its reference."""
    bench.faults(lose_answer="CreateSnapshot_Task")
    with pytest.raises(ServerConnectionError):
        await snapshots.create(vsphere, journal, web, "never")
    assert bench.snapshots() == []
    assert len(bench.calls("CreateSnapshot_Task")) == len(bench.calls("RemoveSnapshot_Task")) == 1


async def test_a_removal_whose_answer_is_lost_is_asked_for_again(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """A second time does no harm."""
    made = await snapshots.create(vsphere, journal, web, "never")
    bench.faults(lose_answer="RemoveSnapshot_Task")
    assert await snapshots.discard(vsphere, journal, made.entry)
    assert bench.snapshots() == []


async def test_a_making_that_still_runs_is_waited_for(
    bench: Bench, vsphere: VSphere, journal: Journal, web: VirtualMachine
) -> None:
    """What a killed process began may end after a cleanup has begun, with or without a note of its task."""
    vm = vsphere.managed(vim.VirtualMachine, web.moref)
    for known in (True, False):
        bench.faults(hold="CreateSnapshot_Task")
        name = f"asyncvddk-{known}"
        start = functools.partial(vm.CreateSnapshot_Task, name=name, description="", memory=False, quiesce=False)
        task = await vsphere.call(start, what="begin", again=False)
        entry = await journal.begin("snapshot", vm=web.moref, name=name)
        if known:
            await journal.know(entry, task=moref(task))
        removing = asyncio.ensure_future(snapshots.discard(vsphere, journal, entry))
        looks = len(bench.calls("RetrievePropertiesEx"))
        while not removing.done() and len(bench.calls("RetrievePropertiesEx")) < looks + 5:
            await vsphere.call(lambda: None, what="let others run")
        assert not removing.done()
        bench.faults()
        assert await removing
        assert bench.snapshots() == []


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
