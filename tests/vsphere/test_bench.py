"""The bench is a fair opponent: pyVmomi and the engine see in it what they would see in a vCenter."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim, vmodl

from asyncvddk import ConnectParams, Secret, Vddk
from tests.fix_vsphere import MIB, PASSWORD, USER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.fix_vsphere import Bench


@contextmanager
def session(bench: Bench) -> Iterator[Any]:
    """Log in; the certificate is checked."""
    context = ssl.create_default_context(cadata=bench.certificate)
    client = SmartConnect(host=bench.server, port=bench.port, user=USER, pwd=PASSWORD, sslContext=context)
    try:
        yield client
    finally:
        Disconnect(client)


def machine(client: Any, bench: Bench, name: str) -> Any:  # noqa: ANN401  (pyVmomi's objects have no types)
    """Return a machine."""
    return vim.VirtualMachine(bench.machines[name], client._stub)


def disks(config: Any) -> dict[int, Any]:  # noqa: ANN401
    """Return the disks of a configuration, by key."""
    return {one.key: one for one in config.hardware.device if isinstance(one, vim.vm.device.VirtualDisk)}


def snapshot(vm: Any) -> Any:  # noqa: ANN401
    """Make a snapshot."""
    task = vm.CreateSnapshot_Task(name="test", description="", memory=False, quiesce=False)
    WaitForTask(task)
    return task.info.result


def enable_tracking(vm: Any) -> None:  # noqa: ANN401
    """Let changes be tracked."""
    WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(changeTrackingEnabled=True)))


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


def test_what_goes_wrong_on_demand(bench: Bench) -> None:
    """So many times, then all is well."""
    with session(bench) as client:
        vm = machine(client, bench, "db")
        bench.faults(task_in_progress=1, fail_snapshot=1)
        for fault in (vim.fault.TaskInProgress, vim.fault.SnapshotFault):
            with pytest.raises(fault):
                snapshot(vm)
        frozen = snapshot(vm)
        bench.expire_sessions()
        with pytest.raises(vim.fault.NotAuthenticated):
            frozen.RemoveSnapshot_Task(removeChildren=False)
        assert bench.snapshots() == [frozen._moId]
