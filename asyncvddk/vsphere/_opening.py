"""Disks in snapshots of machines, opened when the budget allows it."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio
import structlog

from asyncvddk.errors import DiskChangedError, VddkError
from asyncvddk.vsphere._budget import is_short

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncvddk import Vddk
    from asyncvddk.backup import ReadableDisk
    from asyncvddk.vsphere._budget import Budget
    from asyncvddk.vsphere._machines import VirtualMachine, VirtualMachineDisk
    from asyncvddk.vsphere._results import MachineBackupOptions
    from asyncvddk.vsphere._session import VSphere

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DiskOpener:
    """Opens disks of machines whose access lock is held."""

    vsphere: VSphere
    vddk: Vddk
    budget: Budget
    options: MachineBackupOptions

    @asynccontextmanager
    async def opened(
        self, machine: VirtualMachine, snapshot: str, disk: VirtualMachineDisk
    ) -> AsyncIterator[ReadableDisk]:
        """Open a disk in the snapshot when the budget allows it, again while its host is short."""
        async with AsyncExitStack() as opened:
            source = await self._open_in_turn(opened, machine, snapshot, disk)
            if source.size != disk.capacity:
                raise DiskChangedError(f"{disk.path} has {source.size} bytes, its configuration says {disk.capacity}")
            yield source

    async def _open_in_turn(
        self, opened: AsyncExitStack, machine: VirtualMachine, snapshot: str, disk: VirtualMachineDisk
    ) -> ReadableDisk:
        """Open a disk; ``opened`` closes it and gives its part of the budget back."""
        delays = (self.options.retry or self.vsphere.retry).delays()
        while True:
            async with AsyncExitStack() as turn:
                part = self.budget.disk(vcenter=self.vsphere.server, host=machine.host, datastore=disk.datastore)
                lease = await turn.enter_async_context(part)
                try:
                    source = await turn.enter_async_context(self._open(machine, snapshot, disk))
                except VddkError as error:
                    delay = next(delays, None) if is_short(error) else None
                    if delay is None:
                        raise
                    lease.failed(error)
                    _logger.info("opened_later", host=machine.host, disk=disk.path, delay_s=delay, reason=str(error))
                else:
                    opened.push_async_exit(turn.pop_all())
                    return source
            await anyio.sleep(delay)

    @asynccontextmanager
    async def _open(
        self, machine: VirtualMachine, snapshot: str, disk: VirtualMachineDisk
    ) -> AsyncIterator[ReadableDisk]:
        open_disk = partial(
            self.vddk.open_disk,
            disk.path,
            params=self.vsphere.connect_params(machine.moref),
            snapshot=snapshot,
            transport_modes=self.options.transport_modes,
            identity=None,
        )
        if self.options.retry is None:
            async with open_disk() as plain:
                yield plain
        else:
            async with open_disk(retry=self.options.retry) as retrying:
                yield retrying
