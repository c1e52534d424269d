"""What goes wrong on demand at the bench, and what it tells of clients."""

from __future__ import annotations

import http.client
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.fix_vsphere import MIB
from tests.vsphere.clients import disks, machine, remove, session, snapshot

if TYPE_CHECKING:
    from tests.fix_vsphere import Bench


def test_what_goes_wrong_on_demand(bench: Bench) -> None:
    """So many times, then all is well; or always."""
    with session(bench) as client:
        vm = machine(client, bench, "db")
        bench.faults(task_in_progress=1, fail_snapshot=1)
        for fault in (vim.fault.TaskInProgress, vim.fault.SnapshotFault):
            with pytest.raises(fault):
                snapshot(vm)
        frozen = snapshot(vm)
        bench.faults(fail_quiesce=-1, fail_remove=2)
        for _ in range(2):
            with pytest.raises(vim.fault.ApplicationQuiesceFault):
                WaitForTask(vm.CreateSnapshot_Task(name="quiet", memory=False, quiesce=True))
            with pytest.raises(vim.fault.GenericVmConfigFault):
                remove(frozen)
        snapshot(vm)
        assert len(bench.snapshots()) == 2
        remove(frozen)
        assert len(bench.snapshots()) == 1


def test_privileges_are_denied(bench: Bench) -> None:
    """Asked for, they are missing, and what needs them is refused."""
    names = ["VirtualMachine.State.CreateSnapshot", "VirtualMachine.State.RemoveSnapshot"]
    with session(bench) as client:
        vm = machine(client, bench, "db")
        manager, key = client.content.authorizationManager, client.content.sessionManager.currentSession.key
        assert list(manager.HasPrivilegeOnEntity(vm, key, names)) == [True, True]
        bench.faults(deny=names[1:])
        assert list(manager.HasPrivilegeOnEntity(vm, key, names)) == [True, False]
        (entity,) = manager.HasPrivilegeOnEntities([vm], key, names)
        assert [one.isGranted for one in entity.privAvailability] == [True, False]
        frozen = snapshot(vm)
        with pytest.raises(vim.fault.NoPermission) as caught:
            remove(frozen)
        assert caught.value.privilegeId == names[1]
        bench.faults()
        remove(frozen)


def test_a_snapshot_is_not_quiesced_although_asked(bench: Bench) -> None:
    """As without VMware Tools; only the snapshot tells."""
    with session(bench) as client:
        vm = machine(client, bench, "db")
        for ignored in (False, True):
            bench.faults(ignore_quiesce=ignored)
            WaitForTask(vm.CreateSnapshot_Task(name="quiet", memory=False, quiesce=True))
            (shown,) = vm.snapshot.rootSnapshotList
            assert shown.quiesced is not ignored
            remove(shown.snapshot)


def test_a_disk_is_called_encrypted(bench: Bench) -> None:
    """With the machine; the other disk is not."""
    with session(bench) as client:
        vm = machine(client, bench, "web")
        bench.encrypt(vm._moId, key=2001)
        assert vm.config.keyId.providerId.id == "provider"
        keys = {key: disk.backing.keyId is not None for key, disk in disks(snapshot(vm).config).items()}
        assert keys == {2000: False, 2001: True}


def test_a_multi_writer_disk_stops_snapshots(bench: Bench) -> None:
    """An independent one is left out of them."""
    with session(bench) as client:
        vm = machine(client, bench, "web")
        bench.set_mode(vm._moId, "persistent", sharing="sharingMultiWriter", key=2001)
        with pytest.raises(vim.fault.SnapshotFault):
            snapshot(vm)
        bench.set_mode(vm._moId, "independent_persistent", key=2001)
        assert list(disks(snapshot(vm).config)) == [2000]


def test_a_task_is_held(bench: Bench) -> None:
    """Its call returns, the machine can be looked at, another task is refused, and it ends when it may."""
    with session(bench) as client:
        vm = machine(client, bench, "web")
        bench.faults(hold="CreateSnapshot_Task")
        task = vm.CreateSnapshot_Task(name="slow", memory=False, quiesce=False)
        assert (task.info.state, task.info.descriptionId) == ("running", "VirtualMachine.createSnapshot")
        assert vm.snapshot is None
        with pytest.raises(vim.fault.TaskInProgress):
            WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(annotation="x")))
        other = snapshot_later(machine(client, bench, "db"))
        assert bench.snapshots() == []
        bench.faults(slow_ms=1)
        WaitForTask(task)
        WaitForTask(other)
        assert sorted(bench.snapshots()) == sorted([task.info.result._moId, other.info.result._moId])


def test_each_session_is_told_of_its_task(bench: Bench) -> None:
    """Of several that wait at the same time."""
    with session(bench) as one, session(bench) as two, ThreadPoolExecutor() as pool:
        bench.faults(hold="all")
        tasks = [snapshot_later(machine(one, bench, "web")), snapshot_later(machine(two, bench, "db"))]
        waiting = [pool.submit(WaitForTask, task, si=client) for task, client in zip(tasks, (one, two), strict=True)]
        while len(bench.calls("WaitForUpdates")) < 4:  # both have looked, and wait for what changes
            pass
        bench.faults()
        assert [future.result() for future in waiting] == ["success", "success"]


def snapshot_later(vm: Any) -> Any:  # noqa: ANN401  (pyVmomi's objects have no types)
    """Begin a snapshot."""
    return vm.CreateSnapshot_Task(name="later", memory=False, quiesce=False)


def test_an_answer_gets_lost(bench: Bench) -> None:
    """The snapshot is there, and nobody has its reference."""
    with session(bench) as client:
        vm = machine(client, bench, "web")
        bench.faults(lose_answer="CreateSnapshot_Task")
        with pytest.raises(http.client.RemoteDisconnected):
            snapshot(vm)
        assert len(bench.snapshots()) == len(bench.calls("CreateSnapshot_Task")) == 1
        assert vm.snapshot.rootSnapshotList[0].name == "test"


def file(bench: Bench, path: str, cookie: str = "") -> tuple[int, bytes]:
    """Return status and content of a file of the datastore."""
    context = ssl.create_default_context(cadata=bench.certificate)
    connection = http.client.HTTPSConnection(bench.server, bench.port, context=context)
    try:
        connection.request("GET", f"/folder/{path}?dcPath=DC0&dsName=ds1", headers={"Cookie": cookie})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_files_and_calls_want_a_session(bench: Bench) -> None:
    """Logged out or expired, there is none."""
    with session(bench) as client:
        cookie = client._stub.cookie
        vm = machine(client, bench, "web")
        assert [key in cookie for key in bench.sessions()] == [True]
        assert file(bench, "web/web.vmx") == (401, b"")
        status, text = file(bench, "web/web.vmx", cookie)
        assert status == 200
        assert b'displayName = "web"\n' in text
        assert b'scsi0:1.fileName = "web_1.vmdk"\n' in text
        assert file(bench, "web/web.nvram", cookie)[1].startswith(b"MRVNweb\0")
        assert file(bench, "web/../../secret", cookie)[0] == 404
        bench.expire_sessions()
        assert bench.sessions() == []
        assert file(bench, "web/web.vmx", cookie)[0] == 401
        with pytest.raises(vim.fault.NotAuthenticated):
            snapshot(vm)
        client.content.sessionManager.Login(bench.user, bench.password)
        snapshot(vm)
    assert bench.sessions() == []


ENVELOPE = """<?xml version="1.0"?><Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>
<{method} xmlns="urn:vim25"><_this type="AuthorizationManager">AuthorizationManager</_this>
<entity type="VirtualMachine">{vm}</entity>{disabled}<sourceId>backup</sourceId></{method}></Body></Envelope>"""


def test_methods_are_disabled(bench: Bench) -> None:
    """As VMware's library does it before a backup; pyVmomi has no such call."""

    def call(method: str, disabled: str) -> bytes:
        body = ENVELOPE.format(method=method, vm=vm._moId, disabled=disabled)
        context = ssl.create_default_context(cadata=bench.certificate)
        connection = http.client.HTTPSConnection(bench.server, bench.port, context=context)
        try:
            connection.request("POST", "/sdk", body, {"Cookie": client._stub.cookie, "Content-Type": "text/xml"})
            return connection.getresponse().read()
        finally:
            connection.close()

    with session(bench) as client:
        vm = machine(client, bench, "web")
        answer = call("DisableMethods", "<method><method>RelocateVM_Task</method><reasonId>x</reasonId></method>")
        assert b"DisableMethodsResponse" in answer
        assert list(vm.disabledMethod) == ["RelocateVM_Task"]
        assert bench.disabled_methods(vm._moId) == {"backup": ["RelocateVM_Task"]}
        bench.disable_methods(vm._moId, "somebody", "CreateSnapshot_Task")
        with pytest.raises(vim.fault.MethodDisabled):
            snapshot(vm)
        assert b"EnableMethodsResponse" in call("EnableMethods", "<method>RelocateVM_Task</method>")
        assert bench.disabled_methods(vm._moId) == {"somebody": ["CreateSnapshot_Task"]}
        bench.disable_methods(vm._moId, "somebody")
        assert list(vm.disabledMethod) == []


def test_a_grown_disk_is_larger_for_everybody(bench: Bench) -> None:
    """By a reconfiguration too."""
    with session(bench) as client:
        vm = machine(client, bench, "db")
        bench.grow(vm._moId, 3 * MIB)
        disk = disks(vm.config)[2000]
        assert disk.capacityInBytes == 3 * MIB
        disk.capacityInBytes = 5 * MIB
        edit = vim.vm.device.VirtualDeviceSpec(operation="edit", device=disk)
        WaitForTask(vm.ReconfigVM_Task(vim.vm.ConfigSpec(deviceChange=[edit])))
        assert disks(vm.config)[2000].capacityInKB == 5 * 1024
        assert len(bench.guest_reads(vm._moId)) == 5 * MIB
