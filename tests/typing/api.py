"""A user's program that uses every public name, for mypy --strict alone: it is never run.

``assert_type`` says what a call gives; a line with ``type: ignore`` is a mistake that mypy must find, as an unneeded
ignore is an error, too.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import assert_type

import asyncvddk
from asyncvddk import (
    AbortedError,
    Access,
    AccessDeniedError,
    AccessLockedError,
    AdapterType,
    AsyncDisk,
    AuthenticationError,
    Block,
    CallTimeoutError,
    ChainError,
    CleanupResult,
    ClosedError,
    Connection,
    ConnectionFailedError,
    ConnectParams,
    CreateParams,
    DatastoreFolder,
    DiskChangedError,
    DiskError,
    DiskExistsError,
    DiskFullError,
    DiskInfo,
    DiskLockedError,
    DiskMetadata,
    DiskNotFoundError,
    DiskStream,
    DiskType,
    EncryptedDiskError,
    Geometry,
    HardwareVersion,
    InvalidArgumentError,
    InvalidDiskError,
    LibraryConfig,
    LibraryLoadError,
    MetadataKeyError,
    NativeError,
    NeedsRepairError,
    NotSupportedError,
    OpenFlags,
    Opening,
    Operation,
    OperationCancelledError,
    OutOfMemoryError,
    OutOfRangeError,
    ReadableMetadata,
    RetryingDisk,
    RetryPolicy,
    Secret,
    StorageObject,
    UnsupportedError,
    Vddk,
    VddkError,
)
from asyncvddk.testing import (
    Content,
    DiskFactory,
    EngineConfig,
    EngineFactory,
    EngineServer,
    Fail,
    Hang,
    Image,
    Readable,
    assert_content,
    assert_same_content,
    engine,
    make_chain,
    make_chain_sync,
    make_disk,
    make_disk_sync,
    no_leaks,
    random_blocks,
    random_bytes,
    run_local,
)

assert_type(asyncvddk.__version__, str)

DISK_ERRORS: list[type[DiskError]] = [
    ChainError,
    DiskExistsError,
    DiskFullError,
    DiskLockedError,
    DiskNotFoundError,
    EncryptedDiskError,
    InvalidDiskError,
    MetadataKeyError,
    NeedsRepairError,
    OutOfRangeError,
]
NATIVE_ERRORS: list[type[NativeError]] = [
    *DISK_ERRORS,
    AccessDeniedError,
    AccessLockedError,
    AuthenticationError,
    ConnectionFailedError,
    InvalidArgumentError,
    OperationCancelledError,
    OutOfMemoryError,
    UnsupportedError,
]
GIVEN_UP: list[type[AbortedError]] = [AbortedError, CallTimeoutError]
ERRORS: list[type[VddkError]] = [
    *NATIVE_ERRORS,
    *GIVEN_UP,
    ClosedError,
    DiskChangedError,
    LibraryLoadError,
    NotSupportedError,
    UnsupportedError,
]
WRONG_ERRORS: list[type[DiskError]] = [ClosedError]  # type: ignore[list-item]


def values() -> ConnectParams:
    """Make and read the values."""
    create = CreateParams(size=1 << 30, disk_type=DiskType.VMFS_THIN, adapter=AdapterType.SCSI_LSILOGIC)
    assert_type(create.size, int)
    create.size = 5  # type: ignore[misc]
    CreateParams(size="1G")  # type: ignore[arg-type]
    assert_type(Block(0, 512).end, int)
    assert_type(OpenFlags.READ_ONLY | OpenFlags.SINGLE_LINK, OpenFlags)
    CreateParams(512, hw_version=HardwareVersion.ESX65, logical_sector_size=4096, physical_sector_size=4096)
    with Secret("geheim") as secret:
        assert_type(secret.reveal(), str)
    ConnectParams("vc", datastore=DatastoreFolder("datastore-15", "vm"), user="u", password=secret).wipe()
    RetryPolicy(attempts=3, codes={14009})  # type: ignore[arg-type]
    ConnectParams("vc", storage_object=StorageObject("id", "datastore-15"), cookie=Secret("x"))
    ConnectParams(host="vc")  # type: ignore[call-arg]
    return ConnectParams("vc", vmx_spec="moref=vm-1", user="u", password=Secret("p"), thumbprint="AA", port=443)


def failure(error: NativeError) -> None:
    """Ask an error."""
    assert_type(error.code, int)
    assert_type(error.symbol, str)
    assert_type(error.hint, str | None)
    assert_type((error.function, error.text), tuple[str, str])
    assert_type((error.path, error.detail), tuple[str | None, str | None])


async def library(params: ConnectParams) -> None:
    """Open and close by both ways."""
    Vddk(5)  # type: ignore[arg-type]
    Vddk(config=LibraryConfig(extra={"vixDiskLib.key": "1"}), call_timeout_s=60)
    assert_type(await Vddk.thumbprint_of("vc", algorithm="sha256", timeout_s=5), str)
    await Vddk.thumbprint_of("vc", algorithm="md5")  # type: ignore[arg-type]
    async with Vddk("/opt/vddk", config=Path("vddk.conf")) as vddk:
        assert_type(vddk, Vddk)
        assert_type((vddk.version, vddk.library_file), tuple[str | None, Path])
        assert_type(vddk.transport_modes, tuple[str, ...])
        assert_type(vddk.connect(), Opening[Connection])
        assert_type(await vddk.connect(), Connection)
        assert_type(vddk.open_disk("x"), Opening[AsyncDisk])
        assert_type(vddk.open_disk("x", retry=RetryPolicy(reconnect=True)), Opening[RetryingDisk])
        async with vddk.open_disk("x", retry=RetryPolicy()) as retrying:
            assert_type(retrying.metadata, ReadableMetadata)
            assert_type(await retrying.metadata.get("uuid"), str | None)
            await retrying.metadata.set("uuid", "60 00")  # type: ignore[attr-defined]
        vddk.open_disk(b"x")  # type: ignore[call-overload]
        async with vddk.access(params, "backup") as access:
            assert_type(access, Access)
        assert_type(await vddk.cleanup(params), CleanupResult)
        assert_type((await vddk.cleanup(params)).remaining, int)
        modes = ("san", "nbdssl")
        async with vddk.open_disk("[ds] a.vmdk", params=params, snapshot="snapshot-1", transport_modes=modes) as disk:
            assert_type(disk, AsyncDisk)
        async with vddk.connect(params, read_only=True, snapshot="snapshot-1", transport_modes=["nbd"]) as connection:
            await maintenance(connection, Path("disk.vmdk"))
        async with vddk.open_disk("a.vmdk", retry=RetryPolicy()) as again:
            assert_type(await again.read_at(0, 5), bytes)
            assert_type(again.allocated_blocks(), AsyncGenerator[Block, None])
            assert_type(again.stream(), DiskStream)
        vddk.abort("it hangs")
        vddk.connect(None, True)  # type: ignore[call-arg]  # noqa: FBT003


async def maintenance(connection: Connection, path: Path) -> None:
    """Make and change disks."""
    await connection.create(path, CreateParams(512), progress=print)
    async with connection.grow(path, 1 << 30) as growing:
        assert_type(growing, Operation[None])
        assert_type([percent async for percent in growing], list[int])
    await connection.clone("copy.vmdk", path, disk_type=DiskType.STREAM_OPTIMIZED, source_connection=connection)
    await connection.grow(path, 1024, update_geometry=False, progress=lambda percent: percent + 1)
    await connection.grow(path, 1.5)  # type: ignore[arg-type]
    await connection.rename(path, "other.vmdk")
    await connection.check_repair("other.vmdk", repair=True)
    await connection.unlink("other.vmdk")
    assert_type(connection.closed, bool)
    assert_type(await connection.connect_params(), ConnectParams | None)
    assert_type(await connection.open(path, OpenFlags.READ_ONLY), AsyncDisk)
    connection.abort("it hangs")
    await connection.aclose()


async def disk_calls(disk: AsyncDisk, parent: AsyncDisk) -> None:
    """Read, write and ask."""
    assert_type((disk.path, disk.size, disk.transport_mode, disk.closed), tuple[str, int, str, bool])
    assert_type(await disk.read_at(0, 5), bytes)
    assert_type(await disk.readinto_at(0, bytearray(5)), int)
    assert_type(await disk.write_at(0, memoryview(b"x")), int)
    await disk.write_at(0, "text")  # type: ignore[arg-type]
    await disk.flush()
    disk.size = 5  # type: ignore[misc]
    assert_type(disk.allocated_blocks(0, 512, chunk_size=65536), AsyncGenerator[Block, None])
    assert_type([block async for block in disk.allocated_blocks()], list[Block])
    info = await disk.info()
    assert_type(info, DiskInfo)
    assert_type((info.bios_geometry, info.uuid, info.logical_sector_size), tuple[Geometry, str | None, int | None])
    assert_type(disk.metadata, DiskMetadata)
    assert_type(await disk.metadata.as_dict(), dict[str, str])
    assert_type(await disk.metadata["uuid"], str)
    assert_type(await disk.metadata.get("uuid"), str | None)
    assert_type(await disk.metadata.get("uuid", 5), str | int)
    assert_type([key async for key in disk.metadata], list[str])
    await disk.metadata.set("uuid", "60 00")
    await disk.metadata.set("uuid", 5)  # type: ignore[arg-type]
    async with disk.stream(512) as stream:
        assert_type(stream, DiskStream)
        assert_type((await stream.read(5), await stream.seek(0), await stream.write(b"x")), tuple[bytes, int, int])
    await disk.create_child("child.vmdk", disk_type=DiskType.SPLIT_SPARSE, progress=print)
    assert_type(await disk.is_attach_possible(parent), bool)
    await disk.attach(parent)
    assert_type(await disk.space_needed_for_clone(DiskType.VMFS_FLAT), int)
    await disk.shrink(progress=print)
    await disk.defragment(progress=print)
    disk.abort("it hangs")
    await disk.aclose()


async def scratch(connection: Connection, disk: AsyncDisk) -> None:
    """Test with asyncvddk.testing."""
    content: Content = random_blocks(1 << 20, count=2)
    other: Content = random_bytes(512, seed=1)
    wrong: Content = "text"  # type: ignore[assignment]
    assert_type(await make_disk(connection, "x.vmdk", content, size=1 << 20), Path)
    assert_type(await make_chain(connection, "x.vmdk", [content, other, {0: b"x"}, wrong]), list[Path])
    assert_type(make_disk_sync("x.vmdk", disk_type=DiskType.SPLIT_FLAT), Path)
    assert_type(make_chain_sync("x.vmdk", [b"", b""]), list[Path])
    assert_type(run_local(lambda c: make_disk(c, "x.vmdk")), Path)
    expected: Readable = Image(1 << 20, content)
    await assert_same_content(disk, expected)
    await assert_content(disk, content, other)
    with no_leaks("/tmp/x"):  # noqa: S108
        pass


async def own_engine(vddk_engine: EngineFactory, vddk_disk: DiskFactory) -> None:
    """Test with an engine of one's own, and with the fixtures."""
    hang = Hang("Read", call=2)
    server = EngineServer(datastores={"ds1": "/ds1"}, storage_objects={StorageObject("id", "ds"): "[ds1] x.vmdk"})
    assert_type(server.connect_params("vm-1"), ConnectParams)
    config = EngineConfig(
        latency_s=0.5, fail=[Fail("Open", DiskLockedError), Fail("Read", 7)], hang=[hang], server=server
    )
    EngineConfig(check_threads="maybe")  # type: ignore[arg-type]
    EngineConfig(0.5)  # type: ignore[call-arg]
    Fail("Open", ClosedError)  # type: ignore[arg-type]
    assert_type(config.write("engine.conf"), Path)
    factory: EngineFactory = engine
    assert_type(factory(config), AbstractAsyncContextManager[Vddk])
    async with vddk_engine(config) as vddk, hang as same:
        assert_type((vddk, same), tuple[Vddk, Hang])
        await hang.arrived()
        hang.release()
    assert_type(vddk_disk(b"x", name="a.vmdk"), Path)
    assert_type(vddk_disk.chain([b"x"]), list[Path])


def fixture_of_ones_own(vddk_disk: DiskFactory) -> Iterator[Path]:
    """Build on a fixture."""
    yield vddk_disk(size=1 << 20)
