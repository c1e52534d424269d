"""The operations of the cancellation matrix: what is set up, which call is made, what can be told afterwards."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import pytest

from asyncvddk import ClosedError, ConnectParams, CreateParams, Secret, Vddk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import TypeAlias

    from asyncvddk import AsyncDisk, Connection
    from asyncvddk.threads._worker import Worker
    from tests.fix_stub import Stub

    Call: TypeAlias = Callable[[], Awaitable[object]]

PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret("geheim"))


class Scene:
    """What an operation needs, made on demand and closed in the end."""

    def __init__(self, stub: Stub) -> None:
        """Start with nothing."""
        self.stub = stub
        self.stack = AsyncExitStack()
        self.worker: Worker | None = None
        """Thread that will make the call; ``None``: one that the operation starts."""
        self._connection: Connection | None = None
        self._disk: AsyncDisk | None = None

    async def vddk(self) -> Vddk:
        """Initialise the library."""
        vddk = await self.stack.enter_async_context(Vddk(self.stub.root))
        assert vddk._calls is not None
        return vddk

    async def connection(self) -> Connection:
        """Connect to local disks."""
        self._connection = await self.stack.enter_async_context((await self.vddk()).connect())
        self.worker = self._connection._calls.worker
        return self._connection

    async def disk(self) -> AsyncDisk:
        """Open a disk."""
        self._disk = await self.stack.enter_async_context((await self.connection()).open("/disk.vmdk"))
        return self._disk

    async def check_usable(self) -> None:
        """Fail unless each object is either usable or says that it is closed."""
        if self._disk is not None:
            await _either(partial(self._disk.read_at, 0, 512), closed=self._disk.closed)
        if self._connection is not None:
            await _either(self._open_another, closed=self._connection.closed)

    async def _open_another(self) -> None:
        assert self._connection is not None
        async with self._connection.open("/another.vmdk") as disk:
            assert await disk.read_at(1, 2) == bytes(2)


async def _either(use: Call, *, closed: bool) -> None:
    if closed:
        with pytest.raises(ClosedError):
            await use()
    else:
        await use()


async def _init(scene: Scene) -> Call:
    return lambda: scene.stack.enter_async_context(Vddk(scene.stub.root))


async def _prepare(scene: Scene) -> Call:
    vddk = await scene.vddk()
    return lambda: scene.stack.enter_async_context(vddk.access(PARAMS))


async def _connect(scene: Scene) -> Call:
    vddk = await scene.vddk()
    return lambda: scene.stack.enter_async_context(vddk.connect())


async def _connect_with_access(scene: Scene) -> Call:
    vddk = await scene.vddk()
    return lambda: scene.stack.enter_async_context(vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS))


async def _open(scene: Scene) -> Call:
    connection = await scene.connection()
    return lambda: scene.stack.enter_async_context(connection.open("/opened.vmdk"))


async def _create(scene: Scene) -> Call:
    connection = await scene.connection()
    return lambda: connection.create("/new.vmdk", CreateParams(size=512))


async def _clone(scene: Scene) -> Call:
    connection = await scene.connection()
    return lambda: connection.clone("/new.vmdk", "/disk.vmdk")


async def _grow(scene: Scene) -> Call:
    connection = await scene.connection()
    return lambda: connection.grow("/disk.vmdk", 4096)


async def _rename(scene: Scene) -> Call:
    connection = await scene.connection()
    return lambda: connection.rename("/disk.vmdk", "/other.vmdk")


async def _check(scene: Scene) -> Call:
    connection = await scene.connection()
    return lambda: connection.check_repair("/disk.vmdk")


async def _unlink(scene: Scene) -> Call:
    connection = await scene.connection()
    return lambda: connection.unlink("/disk.vmdk")


async def _read(scene: Scene) -> Call:
    disk = await scene.disk()
    return lambda: disk.read_at(100, 1000)


async def _write(scene: Scene) -> Call:
    disk = await scene.disk()
    return lambda: disk.write_at(512, bytes(5120))


async def _query(scene: Scene) -> Call:
    disk = await scene.disk()

    async def query() -> list[object]:
        return [block async for block in disk.allocated_blocks()]

    return query


async def _flush(scene: Scene) -> Call:
    return (await scene.disk()).flush


async def _info(scene: Scene) -> Call:
    return (await scene.disk()).info


async def _create_child(scene: Scene) -> Call:
    disk = await scene.disk()
    return lambda: disk.create_child("/child.vmdk")


async def _shrink(scene: Scene) -> Call:
    return (await scene.disk()).shrink


async def _defragment(scene: Scene) -> Call:
    return (await scene.disk()).defragment


async def _space(scene: Scene) -> Call:
    return (await scene.disk()).space_needed_for_clone


async def _write_metadata(scene: Scene) -> Call:
    disk = await scene.disk()
    return lambda: disk.metadata.set("name", "value")


async def _close(scene: Scene) -> Call:
    return (await scene.disk()).aclose


async def _disconnect(scene: Scene) -> Call:
    return (await scene.connection()).aclose


async def _end_access(scene: Scene) -> Call:
    access = await (await scene.vddk()).access(PARAMS)
    scene.stack.push_async_callback(access.aclose)
    scene.worker = access._calls.worker
    return access.aclose


async def _exit(scene: Scene) -> Call:
    vddk = await scene.vddk()
    assert vddk._calls is not None
    scene.worker = vddk._calls.worker
    return lambda: vddk.__aexit__(None, None, None)


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation of the matrix."""

    function: str
    """Function of the library in which it is cancelled."""
    begin: Callable[[Scene], Awaitable[Call]]
    """Sets up, and returns what makes the call."""
    serial: bool = False
    """Whether VDDK wants the function to be called by one thread at a time."""
    always: bool = False
    """Whether it runs although it is cancelled while queued: it ends something."""
    undone_by: str | None = None
    """What has to be called when the function was and its caller went."""


OPERATIONS = {
    "init": Operation("InitEx", _init, serial=True, undone_by="Exit"),
    "prepare": Operation("PrepareForAccess", _prepare, serial=True, undone_by="EndAccess"),
    "connect": Operation("ConnectEx", _connect, serial=True, undone_by="Disconnect"),
    "connect with access": Operation("ConnectEx", _connect_with_access, undone_by="EndAccess"),
    "open": Operation("Open", _open, serial=True, undone_by="Close"),
    "info of open_disk": Operation("GetInfo", _connect_with_access, undone_by="EndAccess"),
    "create": Operation("Create", _create, serial=True, undone_by="Unlink"),
    "clone": Operation("Clone", _clone, serial=True, undone_by="Unlink"),
    "create child": Operation("CreateChild", _create_child, serial=True, undone_by="Unlink"),
    "grow": Operation("Grow", _grow, serial=True),
    "rename": Operation("Rename", _rename, serial=True),
    "check": Operation("CheckRepair", _check, serial=True),
    "unlink": Operation("Unlink", _unlink, serial=True),
    "read": Operation("Read", _read),
    "write": Operation("Write", _write),
    "query": Operation("QueryAllocatedBlocks", _query),
    "flush": Operation("Flush", _flush),
    "info": Operation("GetInfo", _info),
    "shrink": Operation("Shrink", _shrink),
    "defragment": Operation("Defragment", _defragment),
    "space": Operation("SpaceNeededForClone", _space),
    "metadata": Operation("WriteMetadata", _write_metadata),
    "close": Operation("Close", _close, serial=True, always=True),
    "disconnect": Operation("Disconnect", _disconnect, serial=True, always=True),
    "end access": Operation("EndAccess", _end_access, serial=True, always=True),
    "exit": Operation("Exit", _exit, serial=True, always=True),
}

CASES = [("stub", name) for name in OPERATIONS] + [
    ("async_stub", name) for name in ("read", "write", "flush", "close", "disconnect")
]
"""Operations with the fixture of the stub library: only these differ where reads and writes are asynchronous."""

STARTED_BY_ITSELF = ("init", "prepare", "connect", "connect with access", "info of open_disk")
"""Operations whose calls are made by a thread that they start: nothing can be queued there before them."""

QUEUED = [
    (fixture, name, place)
    for fixture, name in CASES
    for place, possible in (("thread", name not in STARTED_BY_ITSELF), ("turn", OPERATIONS[name].serial))
    if possible
]
"""The same with what they can wait for: their thread, or the turn of the process."""
