"""Access locks that the journal knows."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from asyncvddk.errors import AbortedError, AccessLockedError, DiskNotFoundError, VddkError
from asyncvddk.vsphere._endings import to_its_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from asyncvddk import Vddk
    from asyncvddk.vsphere._journal import Entry, Journal
    from asyncvddk.vsphere._machines import VirtualMachine
    from asyncvddk.vsphere._session import VSphere

_logger = structlog.get_logger()


@asynccontextmanager
async def locked(
    vsphere: VSphere, vddk: Vddk, journal: Journal, machine: VirtualMachine, identity: str
) -> AsyncIterator[None]:
    """Keep a machine from being relocated during the block, under an identity that nobody else has.

    Raises AccessLockedError (somebody else has locked it, or a migration runs), another NativeError, JournalError. A
    lock that cannot be ended is logged, and stays in the journal.
    """
    entry = await journal.begin("access", vm=machine.moref, machine=machine.name, identity=identity)
    try:
        access = await vddk.access(vsphere.connect_params(machine.moref), identity)
    except AbortedError:
        raise  # it may be locked
    except BaseException:
        await to_its_end(journal.end(entry))
        raise
    try:
        yield
    finally:
        try:
            await access.aclose()
        except VddkError as error:
            _logger.warning("access_lock_left", machine=machine.name, identity=identity, reason=str(error))
        else:
            await to_its_end(journal.end(entry))


async def unlock(vsphere: VSphere, vddk: Vddk, journal: Journal, entry: Entry) -> None:
    """End a lock that a process has left, whose identity no other process has. Raises NativeError, JournalError."""
    params = vsphere.connect_params(entry.facts["vm"])
    try:
        async with vddk.access(params, entry.facts["identity"], end_stale_lock=True):
            pass
    except (AccessLockedError, DiskNotFoundError):
        pass  # ours is ended, and somebody else has locked it; or the machine is gone
    await journal.end(entry.number)
