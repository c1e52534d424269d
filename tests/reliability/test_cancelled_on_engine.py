"""The cancellation matrix on the engine: what is left on disk when a call is cancelled while it runs, locks, too."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import pytest

from asyncvddk import AsyncDisk, Connection, ConnectParams, CreateParams, OpenFlags, Secret, Vddk
from tests.reliability.ways import Canceller, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

MIB = 1 << 20
CONTENT = b"content" * 10_000
PARAMS = ConnectParams("vc.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))


@dataclass(frozen=True, slots=True)
class Scene:
    """An open disk, one that is closed, and what they belong to."""

    vddk: Vddk
    connection: Connection
    disk: AsyncDisk
    folder: Path

    @property
    def closed(self) -> Path:
        """The disk that is not open."""
        return self.folder / "closed.vmdk"

    @property
    def new(self) -> Path:
        """Where no disk is."""
        return self.folder / "new.vmdk"


async def _query(disk: AsyncDisk) -> None:
    async for _ in disk.allocated_blocks():
        pass


async def _enter(vddk: Vddk) -> None:
    async with vddk.access(PARAMS):
        pass


Make: TypeAlias = "Callable[[Scene], Awaitable[object]]"

CALLS: dict[str, Make] = {
    "PrepareForAccess:1": lambda s: _enter(s.vddk),
    "EndAccess:1": lambda s: _enter(s.vddk),
    "ConnectEx:2": lambda s: s.vddk.connect(PARAMS).__aenter__(),
    "Open:2": lambda s: s.connection.open(s.closed).__aenter__(),
    "GetInfo:2": lambda s: s.connection.open(s.closed, OpenFlags.READ_ONLY).__aenter__(),
    "ReadAsync:1": lambda s: s.disk.read_at(1, 1000),
    "ReadAsync.callback:1": lambda s: s.disk.read_at(1, 1000),
    "WriteAsync:1": lambda s: s.disk.write_at(0, CONTENT),
    "WriteAsync.callback:1": lambda s: s.disk.write_at(0, CONTENT),
    "QueryAllocatedBlocks:1": lambda s: _query(s.disk),
    "Flush:1": lambda s: s.disk.flush(),
    "Create:1": lambda s: s.connection.create(s.new, CreateParams(size=MIB)),
    "Clone:1": lambda s: s.connection.clone(s.new, s.closed),
    "CreateChild:1": lambda s: s.disk.create_child(s.new),
    "Grow:1": lambda s: s.connection.grow(s.closed, 2 * MIB),
    "Shrink:1": lambda s: s.disk.shrink(),
    "Defragment:1": lambda s: s.disk.defragment(),
    "CheckRepair:1": lambda s: s.connection.check_repair(s.closed),
    "WriteMetadata:1": lambda s: s.disk.write_metadata("backup.note", "x"),
    "Close:1": lambda s: s.disk.aclose(),
    "Disconnect:1": lambda s: s.connection.aclose(),
    "Exit:1": lambda s: s.vddk.__aexit__(None, None, None),
}
"""Function and number of the call that hangs, and what makes it."""


@pytest.fixture
async def folder(tmp_path: Path) -> Path:
    """Return a folder with two disks."""
    folder = tmp_path / "disks"
    folder.mkdir()
    async with Vddk() as vddk, vddk.connect() as connection:
        for name in ("open.vmdk", "closed.vmdk"):
            await connection.create(folder / name, CreateParams(size=MIB))
            async with connection.open(folder / name) as disk:
                await disk.write_at(0, CONTENT)
    return folder


@pytest.mark.parametrize("hanging", CALLS)
async def test_call_cancelled_while_it_runs_leaves_disks_that_open_and_no_other_file(
    folder: Path, tmp_path: Path, hanging: str
) -> None:
    """It is waited for; afterwards no lock and no new disk is left, and the disks have their content and size."""
    fifo, config = tmp_path / "fifo", tmp_path / "vddk.conf"
    config.write_text(f"openEngine.hang = {hanging}:{fifo}\nopenEngine.checkThreads = abort\n")
    before = sorted(folder.iterdir())
    for way in ("task", "scope"):
        os.mkfifo(fifo)
        async with (
            Vddk(config=config) as vddk,
            vddk.connect() as connection,
            connection.open(folder / "open.vmdk") as disk,
        ):
            scene = Scene(vddk, connection, disk, folder)
            canceller = Canceller(way, partial(CALLS[hanging], scene))
            hung = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)
            try:
                fifo.unlink()
                canceller.now()
                await settle()
                assert not canceller.task.done()
            finally:
                os.close(hung)  # lets the call go on
            assert await canceller.cancelled(), way
        assert sorted(folder.iterdir()) == before
    async with Vddk() as vddk, vddk.connect() as connection:
        for path in before:
            async with connection.open(path) as disk:
                assert (disk.size, await disk.read_at(0, len(CONTENT))) == (MIB, CONTENT)
