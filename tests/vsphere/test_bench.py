"""The bench is a fair opponent: pyVmomi and the engine see in it what they would see in a vCenter."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from asyncvddk import ConnectParams, Secret, Vddk
from tests.fix_vsphere import MIB, PASSWORD, USER
from tests.vsphere.clients import changed, disks, enable_tracking, machine, remove, session, snapshot

if TYPE_CHECKING:
    from tests.fix_vsphere import Bench


async def test_a_snapshot_keeps_its_content_while_the_guest_goes_on(bench: Bench) -> None:
    """Read by the engine under the name that the snapshot's configuration has; removed, the guest's content stays."""
    params = ConnectParams(
        bench.server,
        vmx_spec=f"moref={bench.machines['web']}",
        user=USER,
        password=Secret(PASSWORD),
        thumbprint=bench.sha1,
    )
    with session(bench) as client:
        vm = machine(client, bench, "web")
        async with Vddk(config=bench.library()) as vddk:
            await bench.guest_writes(vddk, vm._moId, 70_000, b"before")
            frozen = snapshot(vm)
            await bench.guest_writes(vddk, vm._moId, 70_000, b"behind")
            assert bench.snapshots(vm._moId) == [frozen._moId]
            name = disks(frozen.config)[2000].backing.fileName
            assert name == "[ds1] web/web.vmdk"
            assert disks(vm.config)[2000].backing.fileName == "[ds1] web/web-000001.vmdk"
            async with vddk.open_disk(name, params=params, snapshot=frozen._moId) as disk:
                assert await disk.read_at(70_000, 6) == b"before"
            WaitForTask(frozen.RemoveSnapshot_Task(removeChildren=False))
            assert bench.snapshots() == []
            assert disks(vm.config)[2000].backing.fileName == name
            assert bench.guest_reads(vm._moId)[70_000:70_006] == b"behind"
    assert [call.method for call in bench.calls("CreateSnapshot_Task", "RemoveSnapshot_Task", "Logout")] == [
        "CreateSnapshot_Task",
        "RemoveSnapshot_Task",
        "Logout",
    ]


async def test_changed_areas_are_what_changed(bench: Bench) -> None:
    """Since a changeId, since ``*``, and faults for ids and offsets that a server does not know."""
    with session(bench) as client:
        vm = machine(client, bench, "web")
        enable_tracking(vm)
        async with Vddk() as vddk:
            await bench.guest_writes(vddk, vm._moId, 70_000, b"first")
            first = snapshot(vm)
            await bench.guest_writes(vddk, vm._moId, 3 * MIB, b"second")
            second = snapshot(vm)
        old, new = (disks(one.config)[2000].backing.changeId for one in (first, second))
        assert old.partition("/")[0] == new.partition("/")[0]

        def areas(since: str, start: int = 0) -> list[tuple[int, int]]:
            found = vm.QueryChangedDiskAreas(snapshot=second, deviceKey=2000, startOffset=start, changeId=since)
            assert (found.startOffset, found.startOffset + found.length) == (start, 4 * MIB)
            return [(area.start, area.length) for area in found.changedArea]

        assert areas(old) == [(3 * MIB, 65536)]
        assert areas("*") == [(65536, 65536), (3 * MIB, 65536)]
        assert areas(new) == []
        with pytest.raises(vmodl.fault.InvalidArgument):
            areas(old, 4 * MIB)
        bench.reset_tracking(vm._moId)
        with pytest.raises(vim.fault.FileFault):
            areas(old)


async def test_snapshots_are_a_chain(bench: Bench) -> None:
    """Each keeps its content and its changes when one before it goes; the machine's configuration names all files."""
    with session(bench) as client:
        vm = machine(client, bench, "web")
        enable_tracking(vm)
        taken = []
        async with Vddk(config=bench.library()) as vddk:
            for number in range(3):
                await bench.guest_writes(vddk, vm._moId, number * MIB, b"%d" % number)
                taken.append(snapshot(vm))
            first, second, third = taken
            (root,) = vm.snapshot.rootSnapshotList
            assert root.snapshot._moId == first._moId
            assert root.childSnapshotList[0].childSnapshotList[0].snapshot._moId == third._moId
            assert vm.snapshot.currentSnapshot._moId == third._moId
            assert [child._moId for child in first.childSnapshot] == [second._moId]
            names = [disks(one.config)[2000].backing.fileName for one in taken]
            assert names == ["[ds1] web/web.vmdk", "[ds1] web/web-000001.vmdk", "[ds1] web/web-000002.vmdk"]
            backing = disks(vm.config)[2000].backing
            assert [backing.parent.fileName, backing.parent.parent.fileName] == [names[2], names[1]]

            since = disks(first.config)[2000].backing.changeId
            remove(first)
            assert changed(vm, third, since) == [(MIB, 65536), (2 * MIB, 65536)]
            assert [disks(one.config)[2000].backing.fileName for one in (second, third)] == names[::2]
            assert bench.snapshots() == [second._moId, third._moId]
            for name, content in (("web", [b"0", b"1", b"\0"]), ("web-000002", [b"0", b"1", b"2"])):
                async with vddk.open_disk(bench.folders["ds1"] / "web" / f"{name}.vmdk") as disk:
                    assert [await disk.read_at(number * MIB, 1) for number in range(3)] == content
            with pytest.raises(vmodl.fault.ManagedObjectNotFound):
                str(first.config)

            remove(second, children=True)
        assert vm.snapshot is None
        snapshot(vm)
        snapshot(vm)
        WaitForTask(vm.RemoveAllSnapshots_Task())
        assert bench.snapshots() == []
        files = {path.name for path in (bench.folders["ds1"] / "web").glob("*.vmdk")}
        assert files == {"web.vmdk", "web-flat.vmdk", "web_1.vmdk", "web_1-flat.vmdk"}


async def test_a_snapshot_waits_for_the_guest(bench: Bench) -> None:
    """It has all of a write or nothing, although the guest's program is another one."""
    with session(bench) as client:
        vm = machine(client, bench, "web")
        with bench.guest(vm._moId) as path:
            making = asyncio.create_task(asyncio.to_thread(snapshot, vm))
            while not bench.calls("CreateSnapshot_Task"):  # noqa: ASYNC110  (another process)
                await asyncio.sleep(0)
            async with Vddk() as vddk, vddk.open_disk(path, read_only=False) as disk:
                await disk.write_at(0, b"all of it")
            assert bench.snapshots() == []
        await making
        assert (bench.folders["ds1"] / "web" / "web-flat.vmdk").read_bytes()[:9] == b"all of it"


def test_tracking_begins_with_a_snapshot(bench: Bench) -> None:
    """But not while there are older ones, and each time with another UUID."""

    def tracked() -> str | None:
        taken = snapshot(vm)
        found = disks(taken.config)[2000].backing.changeId
        assert disks(vm.config)[2000].backing.changeId == found
        remove(taken)
        return str(found) if found else None

    with session(bench) as client:
        vm = machine(client, bench, "web")
        assert vm.capability.changeTrackingSupported
        assert tracked() is None
        old = snapshot(vm)
        enable_tracking(vm)
        assert tracked() is None
        remove(old)
        first, second = tracked(), tracked()
        assert first
        assert second
        assert first.partition("/")[0] == second.partition("/")[0]
        WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=False)))
        assert tracked() is None
        bench.faults(late_tracking=True)
        enable_tracking(vm)
        taken = snapshot(vm)
        assert disks(taken.config)[2000].backing.changeId is None
        remove(taken)
        third = tracked()
        assert third
        assert third.partition("/")[0] != first.partition("/")[0]


async def test_changed_areas_come_in_windows(bench: Bench) -> None:
    """Of limited bytes or areas, with empty ones between: together always the same; a lie is shorter."""
    places = [MIB // 2, MIB, 2 * MIB + 65536, 4 * MIB - 65536]
    with session(bench) as client:
        vm = machine(client, bench, "web")
        enable_tracking(vm)
        first = snapshot(vm)
        async with Vddk() as vddk:
            for place in places:
                await bench.guest_writes(vddk, vm._moId, place, b"x")
        second = snapshot(vm)
        since = disks(first.config)[2000].backing.changeId
        bench.forget_calls()
        for faults in ({}, {"window": MIB}, {"areas": 1}, {"window": 65536 * 3, "gaps": True}):
            bench.faults(**faults)
            assert changed(vm, second, since) == [(place, 65536) for place in places]
        assert len(bench.calls("QueryChangedDiskAreas")) > 1 + 4 + 4 + 20
        bench.faults(query="lie")
        assert changed(vm, second, since) == [(place, 65536) for place in places[:-1]]
        bench.faults(query="all")
        assert changed(vm, second, since) == [(0, 4 * MIB)]
        bench.faults(query="fault")
        with pytest.raises(vim.fault.FileFault):
            changed(vm, second, since)
        bench.faults()
        with pytest.raises(vim.fault.FileFault):
            changed(vm, second, "nobody/7")
