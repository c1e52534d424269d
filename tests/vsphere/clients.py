"""What tests of the bench itself do at it: pyVmomi alone, nothing of ours."""

from __future__ import annotations

import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pyVim.connect import Disconnect, SmartConnect
from pyVim.task import WaitForTask
from pyVmomi import vim

from tests.fix_vsphere import PASSWORD, USER

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


def remove(taken: Any, *, children: bool = False) -> None:  # noqa: ANN401
    """Remove a snapshot."""
    WaitForTask(taken.RemoveSnapshot_Task(removeChildren=children))


def changed(vm: Any, taken: Any, since: str, *, key: int = 2000) -> list[tuple[int, int]]:  # noqa: ANN401
    """Return all changed areas up to a snapshot, window by window."""
    found, start = [], 0
    size = disks(taken.config)[key].capacityInBytes
    while start < size:
        window = vm.QueryChangedDiskAreas(snapshot=taken, deviceKey=key, startOffset=start, changeId=since)
        assert window.startOffset == start
        assert window.length > 0
        found += [(area.start, area.length) for area in window.changedArea]
        start += window.length
    return found
