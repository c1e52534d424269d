"""A program that uses a library through the public objects alone and prints what it found, as JSON."""

from __future__ import annotations

import asyncio
import ctypes
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from asyncvddk import (
    AsyncDisk,
    Connection,
    ConnectParams,
    CreateParams,
    DatastoreFolder,
    DiskNotFoundError,
    LibraryConfig,
    NotSupportedError,
    OpenFlags,
    Secret,
    StorageObject,
    Vddk,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

MACHINE = ConnectParams("vc.example", vmx_spec="moref=vm-16", user="u", password=Secret("p"), port=8443, nfc_port=9902)
SESSION = ConnectParams("vc.example", vmx_spec="moref=vm-16", user="u", cookie=Secret("c"), key=Secret("k"))
FCD = ConnectParams(
    "vc", user="u", password=Secret("p"), storage_object=StorageObject("fcd-1", "datastore-1", "snap-1")
)
FOLDER = ConnectParams("vc", user="u", password=Secret("p"), datastore=DatastoreFolder("datastore-1", "backups"))


class Library:
    """What the library itself tells, past the public objects."""

    def __init__(self, file: Path) -> None:
        """Find the functions for tests."""
        dll = ctypes.CDLL(str(file))
        self._journal, self._created = dll.library_journal, dll.library_created
        self._journal.restype = self._created.restype = ctypes.c_char_p

    def journal(self) -> list[str]:
        """Return the functions that were called since the last question."""
        return [name.decode() for name in self._journal().split()]

    def created(self) -> str:
        """Return what Create read."""
        text: bytes = self._created()
        return text.decode()


def told(params: ConnectParams | None) -> dict[str, object]:
    """Return parameters with their secrets, for comparison."""
    names = ("server", "vmx_spec", "user", "port", "nfc_port")
    found: dict[str, object] = {name: getattr(params, name) for name in names}
    for name in ("password", "cookie", "key"):
        secret = getattr(params, name)
        found[name] = secret and secret.reveal()
    return found | {"fcd": repr(params and params.storage_object), "folder": repr(params and params.datastore)}


async def outcome(doing: Awaitable[object]) -> object:
    """Return what comes of it: its result, or what is not supported and why."""
    try:
        return await doing
    except NotSupportedError as exc:
        return f"not supported: {exc}"


async def echoed(vddk: Vddk, params: ConnectParams) -> dict[str, object]:
    """Connect, and return the parameters as the library has them."""
    async with vddk.connect(params) as connection:
        return told(await connection.connect_params())


async def use_disk(connection: Connection) -> dict[str, Any]:
    """Open, look, write, read, ask what is allocated."""
    async with connection.open("/a.vmdk") as disk:
        info = await disk.info()
        data = bytes(range(256)) * 16
        await asyncio.gather(*(disk.write_at(1000 + n * 5000, data) for n in range(8)))
        await disk.flush()
        back = await asyncio.gather(*(disk.read_at(1000 + n * 5000, 4096) for n in range(8)))
        return {
            "size": disk.size,
            "sectors": [info.logical_sector_size, info.physical_sector_size],
            "info": [info.links, info.uuid, info.parent_hint, info.adapter.name],
            "equal": back == [data] * 8,
            "blocks": [(block.offset, block.length) async for block in disk.allocated_blocks()],
        }


async def create(connection: Connection, library: Library, params: CreateParams) -> str:
    """Create, and return what the library read."""
    await connection.create("/new.vmdk", params)
    return library.created()


async def use(root: Path) -> dict[str, Any]:
    """Use everything that depends on the version."""
    vddk = Vddk(root)
    library = Library(vddk.library_file)
    found: dict[str, Any] = {"version by name": vddk.version}
    async with vddk, vddk.connect() as local:
        found |= {"version": vddk.version, "modes": vddk.transport_modes, "file": vddk.library_file.name}
        found |= {"disk": await use_disk(local)}
        try:
            await local.open("/missing.vmdk")
        except DiskNotFoundError as exc:
            found["error"] = exc.text
        found["create"] = await create(local, library, CreateParams(1 << 20))
        large = CreateParams(1 << 20, logical_sector_size=4096)
        found["create with sectors"] = await outcome(create(local, library, large))
        found["local"] = await local.connect_params()
        for name, params in {"machine": MACHINE, "session": SESSION, "fcd": FCD, "folder": FOLDER}.items():
            found[name] = await outcome(echoed(vddk, params))
        found["cleanup"] = await vddk.cleanup(MACHINE)
    found["journal"] = library.journal()
    return found


@asynccontextmanager
async def opened(vddk: Vddk) -> AsyncIterator[tuple[Connection, AsyncDisk]]:
    """Open a disk of a local connection."""
    async with vddk.connect() as connection, connection.open("/a.vmdk") as disk:
        yield connection, disk


def on_disk(act: Callable[[AsyncDisk], Awaitable[object]]) -> Callable[[Vddk], Awaitable[None]]:
    """Return the action on an open disk."""

    async def run(vddk: Vddk) -> None:
        async with opened(vddk) as (_, disk):
            await act(disk)

    return run


def on_connection(act: Callable[[Connection], Awaitable[object]]) -> Callable[[Vddk], Awaitable[None]]:
    """Return the action on a local connection."""

    async def run(vddk: Vddk) -> None:
        async with vddk.connect() as connection:
            await act(connection)

    return run


async def fail_to_open(vddk: Vddk) -> None:
    """Meet an error of the library."""
    async with vddk.connect() as connection:
        assert isinstance(await outcome(quietly(connection)), DiskNotFoundError)


async def quietly(connection: Connection) -> Exception:
    """Return the error."""
    try:
        await connection.open("/missing.vmdk")
    except DiskNotFoundError as exc:
        return exc
    raise AssertionError("it opens")


async def ask_for_params(vddk: Vddk) -> None:
    """Have the library tell the parameters."""
    await echoed(vddk, MACHINE)


async def lock_access(vddk: Vddk) -> None:
    """Lock a machine, and let it go."""
    async with vddk.access(MACHINE):
        pass


async def read_blocks(disk: AsyncDisk) -> None:
    """Iterate to the end."""
    async for _ in disk.allocated_blocks():
        pass


async def attach(vddk: Vddk) -> None:
    """Join two disks."""
    async with opened(vddk) as (connection, parent), connection.open("/b.vmdk", OpenFlags.SINGLE_LINK) as child:
        assert await child.is_attach_possible(parent)
        await child.attach(parent)


async def nothing(_: Vddk) -> None:
    """Only begin and end."""


ACTIONS: dict[str, Callable[[Vddk], Awaitable[object]]] = {
    "Vddk": nothing,
    "Vddk.cleanup": lambda vddk: vddk.cleanup(MACHINE),
    "Vddk.connect": lambda vddk: echoed(vddk, MACHINE),
    "Vddk.access": lock_access,
    "NativeError.text": fail_to_open,
    "Connection.connect_params": ask_for_params,
    "Connection.open": on_connection(lambda connection: connection.open("/a.vmdk")._open()),
    "Connection.create": on_connection(lambda connection: connection.create("/n.vmdk", CreateParams(512))),
    "Connection.clone": on_connection(lambda connection: connection.clone("/n.vmdk", "/a.vmdk")),
    "Connection.grow": on_connection(lambda connection: connection.grow("/a.vmdk", 1 << 30)),
    "Connection.rename": on_connection(lambda connection: connection.rename("/a.vmdk", "/b.vmdk")),
    "Connection.check_repair": on_connection(lambda connection: connection.check_repair("/a.vmdk")),
    "Connection.unlink": on_connection(lambda connection: connection.unlink("/a.vmdk")),
    "AsyncDisk.info": on_disk(AsyncDisk.info),
    "AsyncDisk.read_at": on_disk(lambda disk: disk.read_at(0, 512)),
    "AsyncDisk.write_at": on_disk(lambda disk: disk.write_at(0, bytes(512))),
    "AsyncDisk.flush": on_disk(AsyncDisk.flush),
    "AsyncDisk.allocated_blocks": on_disk(read_blocks),
    "DiskMetadata.as_dict": on_disk(lambda disk: disk.metadata.as_dict()),
    "DiskMetadata.set": on_disk(lambda disk: disk.metadata.set("uuid", "60 00")),
    "AsyncDisk.create_child": on_disk(lambda disk: disk.create_child("/child.vmdk")),
    "AsyncDisk.attach": attach,
    "AsyncDisk.space_needed_for_clone": on_disk(AsyncDisk.space_needed_for_clone),
    "AsyncDisk.shrink": on_disk(AsyncDisk.shrink),
    "AsyncDisk.defragment": on_disk(AsyncDisk.defragment),
}
"""Public method -> a use of it."""


async def reach(root: Path) -> dict[str, list[str]]:
    """Return for each public method the functions of the library that it called."""
    library = Library(Vddk(root).library_file)
    found = {}
    for name, act in ACTIONS.items():
        async with Vddk(root) as vddk:
            await act(vddk)
        found[name] = library.journal()
    return found


async def refuse(root: Path) -> list[object]:
    """Return what a library without the extended functions says to what needs them."""

    async def begin(config: LibraryConfig) -> str:
        async with Vddk(root, config=config):
            return "begun"

    async def connect(**choices: Any) -> str:  # noqa: ANN401
        async with Vddk(root) as vddk, vddk.connect(**choices) as connection, connection.open("/a.vmdk") as disk:
            try:
                await disk.write_at(0, bytes(512))
            except Exception as exc:  # noqa: BLE001  (its name is the answer)
                return type(exc).__name__
            return "written"

    return [
        await outcome(begin(LibraryConfig(fips=True))),
        await outcome(connect(params=MACHINE, snapshot="snapshot-1")),
        await outcome(connect(transport_modes=["nbd"])),
        await outcome(connect(read_only=True)),
        await outcome(connect()),
    ]


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the answer alone is printed
    asked = {"use": use, "reach": reach, "refuse": refuse}[sys.argv[2]]
    print(json.dumps(asyncio.run(asked(Path(sys.argv[1])))))  # noqa: T201
