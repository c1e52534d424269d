"""Changed blocks: never less than what changed, whatever a server says; or a reason why all is read."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk.models import Block
from asyncvddk.repository import DiskEntry
from asyncvddk.vsphere import ObjectGoneError, VirtualMachineDisk, machines
from asyncvddk.vsphere._changes import ChangedAreas, ChangesInvalidError, Window, changes_of, since
from asyncvddk.vsphere._ranges import Ranges
from asyncvddk.vsphere._reading import disks_of
from asyncvddk.vsphere._vim import moref, vim
from tests.fix_vsphere import MIB
from tests.vsphere.fakes import a_disk, an_entry

if TYPE_CHECKING:
    from asyncvddk import Vddk
    from asyncvddk.vsphere import VSphere
    from tests.fix_vsphere import Bench

CAPACITY = 100
PIECES = st.lists(st.tuples(st.integers(0, CAPACITY - 1), st.integers(1, 30)), max_size=4)


def marked(blocks: Any) -> set[int]:  # noqa: ANN401  (blocks, or pairs of start and length)
    """Return every byte of some ranges."""
    pairs = [(block.offset, block.length) if isinstance(block, Block) else block for block in blocks]
    return {byte for start, length in pairs for byte in range(start, min(start + length, CAPACITY))}


@given(st.lists(PIECES, max_size=4))
def test_ranges_are_merged(batches: list[list[tuple[int, int]]]) -> None:
    """Added in any order, they are ascending and apart, and have the same bytes."""
    ranges = Ranges()
    for batch in batches:
        ranges.add([(start, min(start + length, CAPACITY)) for start, length in batch])
    found = list(ranges)
    assert marked(found) == {byte for batch in batches for byte in marked(batch)}
    assert all(one.end < other.offset for one, other in pairwise(found))
    assert ranges.bytes == len(marked(found))
    assert found == [ranges[number] for number in range(len(ranges))] == list(ranges[:])


@given(PIECES, st.data())
def test_no_change_is_lost_between_windows(truth: list[tuple[int, int]], data: st.DataObject) -> None:
    """Windows of any length, empty ones, overlapping ones, areas in any order, too many, in parts, rounded up."""
    areas, asked = ChangedAreas(CAPACITY), []
    while (offset := areas.next) is not None:
        asked.append(offset)
        start = data.draw(st.integers(max(0, offset - 9), offset))
        end = min(CAPACITY, offset + data.draw(st.sampled_from([1, 3, 30, CAPACITY])))
        inside = [byte for byte in marked(truth) if start <= byte < end]
        found = [(byte, data.draw(st.sampled_from([1, 1, 1, 7]))) for byte in inside] + data.draw(PIECES)
        areas.take(Window(start, end - start, data.draw(st.permutations(found))))
    assert marked(areas.ranges) >= marked(truth)
    assert all(block.end <= CAPACITY for block in areas.ranges)
    assert asked == sorted(set(asked))
    assert all(0 <= offset < CAPACITY for offset in asked)


def test_nothing_is_asked_for_at_the_end() -> None:
    """Servers refuse an offset that is the capacity."""
    areas = ChangedAreas(CAPACITY)
    areas.take(Window(0, CAPACITY, []))
    assert areas.next is None
    assert list(areas.ranges) == []


def test_areas_far_behind_are_not_cut() -> None:
    """Beyond 2 TiB, where 32 bits of sectors end."""
    tib = 1 << 40
    areas = ChangedAreas(62 * tib)
    areas.take(Window(0, 3 * tib, [(2 * tib - 512, 1024)]))
    assert areas.next == 3 * tib
    areas.take(Window(3 * tib, 59 * tib, [(62 * tib - 512, 512)]))
    assert list(areas.ranges) == [Block(2 * tib - 512, 1024), Block(62 * tib - 512, 512)]
    assert areas.next is None


@pytest.mark.parametrize(
    "window",
    [
        Window(51, 49, []),
        Window(0, 50, []),
        Window(50, 0, []),
        Window(50, -1, []),
        Window(50, 51, []),
        Window(50, 50, [(-1, 5)]),
        Window(50, 50, [(60, -5)]),
        Window(50, 50, [(100, 1)]),
    ],
)
def test_an_answer_that_cannot_be_right_is_refused(window: Window) -> None:
    """A gap, no progress, another size, an area that is nowhere: all might hide a change."""
    areas = ChangedAreas(CAPACITY)
    areas.take(Window(0, 50, [(10, 10)]))
    with pytest.raises(ChangesInvalidError):
        areas.take(window)


@pytest.mark.parametrize(
    ("base", "disk", "reason"),
    [
        (None, {}, "no earlier backup"),
        (an_entry(change_id=None), {}, "not tracked then"),
        (an_entry(), {"change_id": None}, "changes are not tracked"),
        (an_entry(uuid="other"), {}, "another disk"),
        (an_entry(uuid=None), {"uuid": None}, "another disk"),
        (an_entry(capacity=2 * MIB), {}, f"from {2 * MIB} to {4 * MIB} bytes"),
        (an_entry(capacity=8 * MIB), {}, "size changed"),
        (an_entry(change_id="53 aa/7"), {}, "begun anew"),
        (an_entry(change_id="52 aa/9"), {}, "reverted"),
        (an_entry(change_id="*"), {}, "not as expected"),
        (an_entry(change_id="52 aa/x"), {}, "not as expected"),
        (an_entry(), {"change_id": "*"}, "not as expected"),
    ],
)
def test_why_all_is_read(base: DiskEntry | None, disk: dict[str, Any], reason: str) -> None:
    """Each case has words of its own."""
    start, why = since(base, a_disk(**{"change_id": "52 aa/8"} | disk))
    assert start is None
    assert reason in str(why)


@pytest.mark.parametrize("now", ["52 aa/7", "52 aa/8", "52 aa/10"])
def test_since_when_changes_are_asked_for(now: str) -> None:
    """The last backup's id; numbers are compared as numbers."""
    assert since(an_entry(), a_disk(change_id=now)) == ("52 aa/7", None)


async def frozen(vsphere: VSphere, machine: str) -> tuple[str, VirtualMachineDisk]:
    """Make a snapshot; return it, and the first disk in it."""
    vm = vsphere.managed(vim.VirtualMachine, machine)
    made = await vsphere.task(
        lambda: vm.CreateSnapshot_Task(name="s", description="", memory=False, quiesce=False), what="snapshot"
    )
    disks = await vsphere.call(lambda: disks_of(made.config.hardware.device), what="look")
    return moref(made), disks[0]


def backed_up(disk: VirtualMachineDisk) -> DiskEntry:
    """Return the entry of a backup of a disk."""
    return an_entry(uuid=disk.uuid, capacity=disk.capacity, change_id=disk.change_id)


@pytest.fixture
async def tracked(bench: Bench, vsphere: VSphere, vddk: Vddk) -> tuple[str, str, VirtualMachineDisk, DiskEntry]:
    """Return a machine, its second snapshot, the disk in it, and the backup of the first; in between it was written."""
    _, web = await machines(vsphere)
    vm = vsphere.managed(vim.VirtualMachine, web.moref)
    spec = vim.vm.ConfigSpec(changeTrackingEnabled=True)
    await vsphere.task(lambda: vm.ReconfigVM_Task(spec), what="tracking")
    _, first = await frozen(vsphere, web.moref)
    for offset in (70_000, 3 * MIB, 4 * MIB - 1):
        await bench.guest_writes(vddk, web.moref, offset, b"x")
    snapshot, second = await frozen(vsphere, web.moref)
    return web.moref, snapshot, second, backed_up(first)


WRITTEN = [Block(65536, 65536), Block(3 * MIB, 65536), Block(4 * MIB - 65536, 65536)]
Tracked = tuple[str, str, VirtualMachineDisk, DiskEntry]


@pytest.mark.parametrize(
    "faults", [{}, {"window": 65536}, {"window": 100_000}, {"window": 700_000, "gaps": True}, {"areas": 1}]
)
async def test_all_windows_are_asked_for(
    bench: Bench, vsphere: VSphere, tracked: Tracked, faults: dict[str, Any]
) -> None:
    """In one answer, in small ones, with empty ones between: always the same areas."""
    bench.faults(**faults)
    found = await changes_of(vsphere, *tracked)
    assert found.blocks is not None
    assert (list(found.blocks.ranges), found.blocks.since, found.reason) == (WRITTEN, tracked[3].change_id, None)
    assert found.size == 3 * 65536


async def test_a_server_that_cannot_tell_is_a_reason(bench: Bench, vsphere: VSphere, tracked: Tracked) -> None:
    """A fault, or tracking that was begun anew; but a snapshot that is gone is an error, as it cannot be read."""
    vm, snapshot, disk, base = tracked
    bench.faults(query="fault")
    found = await changes_of(vsphere, vm, snapshot, disk, base)
    assert found.blocks is None
    assert "FileFault" in str(found.reason)
    bench.faults()
    bench.reset_tracking(vm)
    assert "FileFault" in str((await changes_of(vsphere, vm, snapshot, disk, base)).reason)
    _, later = await frozen(vsphere, vm)
    assert "begun anew" in str((await changes_of(vsphere, vm, snapshot, later, base)).reason)
    with pytest.raises(ObjectGoneError):
        await changes_of(vsphere, vm, "snapshot-9999", disk, base)
