"""A server end to end: the public objects on the bundled engine, which serves a vCenter's disks from folders."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import (
    AccessDeniedError,
    AccessLockedError,
    CleanupResult,
    ClosedError,
    ConnectParams,
    CreateParams,
    DatastoreFolder,
    DiskNotFoundError,
    NativeError,
    Secret,
    StorageObject,
    UnsupportedError,
    Vddk,
)

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
PASSWORD = "correct horse battery"  # noqa: S105  (of a test)
THUMBPRINT = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"
PARAMS = ConnectParams(
    "vc.example", vmx_spec="moref=vm-16", user="backup", password=Secret(PASSWORD), thumbprint=THUMBPRINT
)
FCD_ID = str(uuid.UUID(int=7))


@pytest.fixture
async def config(tmp_path: Path) -> Path:
    """Return a configuration of a server with a datastore of two disks, whose callers' threads are checked."""
    folder = tmp_path / "nfs"
    folder.mkdir()
    path = tmp_path / "vddk.conf"
    path.write_text(
        f"openEngine.datastore.ds 1 = {folder}\nopenEngine.fcd.{FCD_ID} = [ds 1] b.vmdk\n"
        "openEngine.server = vc.example\n"
        f"openEngine.user = backup\nopenEngine.password = {PASSWORD}\nopenEngine.thumbPrint = {THUMBPRINT}\n"
        "openEngine.vm = vm-16\nopenEngine.checkThreads = abort\n"
    )
    async with Vddk() as vddk, vddk.connect() as local:
        for name in ("a", "b"):
            await local.create(folder / f"{name}.vmdk", CreateParams(4 * MIB))
            async with local.open(folder / f"{name}.vmdk") as disk:
                await disk.write_at(MIB, name.encode() * MIB)
    return path


async def test_one_call_opens_a_disk_of_a_virtual_machine(config: Path) -> None:
    """Access lock, connection, snapshot and disk; read through the imitated network; nothing secret in the log."""
    with capture_logs() as logs:
        async with (
            Vddk(config=config) as vddk,
            vddk.open_disk("[ds 1] a.vmdk", params=PARAMS, snapshot="snapshot-3") as disk,
        ):
            assert vddk.transport_modes == ("file", "nbdssl", "nbd")
            assert await disk.read_at(MIB - 1, 3) == b"\0aa"
            assert [block.offset async for block in disk.allocated_blocks()] == [MIB]
    assert PASSWORD not in str(logs)


async def test_many_disks_at_once_keep_the_rules_for_threads(config: Path) -> None:
    """Connections of their own and one shared, opened, read, written and closed by many tasks together."""
    async with Vddk(config=config) as vddk:

        async def use(number: int) -> bytes:
            async with vddk.connect(PARAMS, read_only=True) as connection, connection.open("[ds 1] b.vmdk") as disk:
                parts = await asyncio.gather(*(disk.read_at(MIB + i * 4096, 4096) for i in range(16)))
                return b"".join(parts)[number : number + 1]

        assert await asyncio.gather(*(use(number) for number in range(12))) == [b"b"] * 12
        async with vddk.connect(PARAMS) as connection, connection.open("[ds 1] a.vmdk") as disk:
            await asyncio.gather(*(disk.write_at(i * 1000, b"w" * 1000) for i in range(32)), disk.flush())
            assert await disk.read_at(0, 32_000) == b"w" * 32_000


async def test_a_first_class_disk_is_opened_by_its_id(config: Path) -> None:
    """With the specification of the disk in the place of a machine."""
    params = ConnectParams(
        "vc.example",
        user="backup",
        password=Secret(PASSWORD),
        thumbprint=THUMBPRINT,
        storage_object=StorageObject(FCD_ID, "datastore-15"),
    )
    async with Vddk(config=config) as vddk, vddk.open_disk(FCD_ID, params=params) as disk:
        assert await disk.read_at(MIB, 1) == b"b"


async def test_a_disk_in_a_folder_of_a_datastore_needs_no_machine(config: Path) -> None:
    """With the specification of 8.0.1, which the engine has, in the place of a machine."""
    params = ConnectParams(
        "vc.example",
        user="backup",
        password=Secret(PASSWORD),
        thumbprint=THUMBPRINT,
        datastore=DatastoreFolder("datastore-15", "vm"),
    )
    async with Vddk(config=config) as vddk, vddk.connect(params) as connection:
        async with connection.open("[ds 1] b.vmdk") as disk:
            assert await disk.read_at(MIB, 1) == b"b"
        found = await connection.connect_params()
        assert found is not None
        assert found.datastore == params.datastore


async def test_the_parameters_of_a_connection_are_good_for_another_one(config: Path) -> None:
    """They outlive it; a local connection has none, and a closed one tells none."""
    async with Vddk(config=config) as vddk, vddk.connect() as local:
        async with vddk.connect(PARAMS) as connection:
            found = await connection.connect_params()
        assert await local.connect_params() is None
        with pytest.raises(ClosedError):
            await connection.connect_params()
        assert found is not None
        assert found.password is not PARAMS.password
        async with vddk.open_disk("[ds 1] a.vmdk", params=found) as disk:
            assert disk.size == 4 * MIB
        found.wipe()
        with pytest.raises(ValueError, match="this Secret was wiped"):
            await vddk.connect(found)


async def test_clean_up_logs_in_and_tells_what_was_left(config: Path) -> None:
    """The engine leaves nothing behind; whoever cannot log in learns it."""
    async with Vddk(config=config) as vddk:
        result = await vddk.cleanup(PARAMS)
        assert result == CleanupResult(cleaned=0, remaining=0)
        with pytest.raises(NativeError, match="VixDiskLib_Cleanup"):
            await vddk.cleanup(replace(PARAMS, password=Secret("wrong")))
    with pytest.raises(ClosedError):
        await vddk.cleanup(PARAMS)


@pytest.mark.parametrize(
    ("changes", "path", "error", "code"),
    [
        ({"password": Secret("wrong")}, "[ds 1] a.vmdk", NativeError, 1),
        ({"thumbprint": None}, "[ds 1] a.vmdk", NativeError, 1),
        ({"server": "other"}, "[ds 1] a.vmdk", NativeError, 18000),
        ({"vmx_spec": "moref=vm-17"}, "[ds 1] a.vmdk", DiskNotFoundError, 4000),
        ({}, "[ds 1] c.vmdk", DiskNotFoundError, 4),
        ({}, "[ds 2] a.vmdk", AccessDeniedError, 13),
        ({}, "/a.vmdk", DiskNotFoundError, 4),
    ],
)
async def test_wrong_parameters_fail_when_the_disk_is_opened(
    config: Path, changes: dict[str, str | Secret | None], path: str, error: type[NativeError], code: int
) -> None:
    """Connecting succeeds, as with VMware's library; the error is the one to expect by its code."""
    fields = {name: getattr(PARAMS, name) for name in ("server", "vmx_spec", "user", "password", "thumbprint")}
    params = ConnectParams(**(fields | changes))
    async with Vddk(config=config) as vddk, vddk.connect(params) as connection:
        with pytest.raises(error) as caught:
            await connection.open(path)
        assert caught.value.code == code


async def test_what_is_for_local_disks_is_refused_on_a_server(config: Path) -> None:
    """The error class is that of unsupported calls."""
    async with Vddk(config=config) as vddk, vddk.connect(PARAMS) as connection:
        with pytest.raises(UnsupportedError):
            await connection.create("[ds 1] c.vmdk", CreateParams(MIB))
        with pytest.raises(UnsupportedError):
            await connection.unlink("[ds 1] a.vmdk")


async def test_access_is_locked_once_for_a_machine(config: Path) -> None:
    """A second lock by the same identity is refused until the first ends."""
    async with Vddk(config=config) as vddk:
        async with vddk.access(PARAMS, "me"):
            with pytest.raises(AccessLockedError):
                await vddk.access(PARAMS, "me")
        async with vddk.access(PARAMS, "me"):
            pass


async def test_disks_of_a_machine_share_one_lock(config: Path) -> None:
    """Each opens inside of it without one of its own; with one it is refused."""
    async with Vddk(config=config) as vddk, vddk.access(PARAMS, "me"):
        async with (
            vddk.open_disk("[ds 1] a.vmdk", params=PARAMS, identity=None) as one,
            vddk.open_disk("[ds 1] a.vmdk", params=PARAMS, identity=None) as two,
        ):
            assert one.size == two.size
        with pytest.raises(AccessLockedError):
            await vddk.open_disk("[ds 1] a.vmdk", params=PARAMS, identity="me")
