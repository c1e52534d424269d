"""The engine as a test wants it: failing, hanging, slow, a server; what it cannot do is refused by name."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from asyncvddk import (
    ConnectionFailedError,
    DiskError,
    DiskFullError,
    DiskLockedError,
    DiskNotFoundError,
    NativeError,
    Secret,
    StorageObject,
    Vddk,
)
from asyncvddk.native._functions import FUNCTIONS
from asyncvddk.native._structs import VixError
from asyncvddk.testing import EngineConfig, EngineServer, Fail, Hang, engine, make_disk_sync

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

LOST = 14009


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a scratch disk."""
    return make_disk_sync(tmp_path / "disk.vmdk", b"hello")


async def test_without_a_configuration_the_engine_is_sound(path: Path) -> None:
    """It runs for the block and is usable as any ``Vddk``."""
    async with engine() as vddk, vddk.open_disk(path) as disk:
        assert await disk.read_at(0, 5) == b"hello"


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_the_nth_read_fails_whichever_way_it_is_made(path: Path, asynchronous: bool) -> None:  # noqa: FBT001
    """Others do not; the error is the one of its code."""
    config = EngineConfig(fail=[Fail("Read", LOST, call=2)], asynchronous=asynchronous)
    async with engine(config) as vddk, vddk.open_disk(path) as disk:
        assert await disk.read_at(0, 5) == b"hello"
        with pytest.raises(ConnectionFailedError, match=f"Read.*{LOST}"):
            await disk.read_at(0, 5)
        assert await disk.read_at(0, 5) == b"hello"


async def test_a_failure_is_named_by_its_class_and_meets_every_call(path: Path) -> None:
    """A class stands for its first code; each failure has its function."""
    config = EngineConfig(fail=[Fail("Open", DiskLockedError, call=1), Fail("VixDiskLib_Write", DiskFullError)])
    async with engine(config) as vddk:
        with pytest.raises(DiskLockedError):
            await vddk.open_disk(path)
        async with vddk.open_disk(path, read_only=False) as disk:
            for _ in range(2):
                with pytest.raises(DiskFullError):
                    await disk.write_at(0, b"x" * 512)


async def test_an_accepted_request_fails_in_its_callback(path: Path) -> None:
    """As over a network that breaks while data is under way."""
    async with engine(EngineConfig(fail=[Fail("ReadAsync.callback", LOST)])) as vddk, vddk.open_disk(path) as disk:
        with pytest.raises(ConnectionFailedError):
            await disk.read_at(0, 5)


@pytest.mark.parametrize(
    ("function", "error", "call", "told"),
    [
        ("Reed", 1, None, "not one of Attach, "),
        ("InitEx", 1, None, "not one of"),
        ("Exit", 1, None, "not one of"),
        ("Read", 0, None, "1..65535"),
        ("Read", 65536, None, "1..65535"),
        ("Read", 1, 0, "1 is the first"),
        ("Read", NativeError, None, "stands for no code"),
    ],
)
def test_a_failure_that_could_not_happen_is_refused(
    function: str, error: int | type[NativeError], call: int | None, told: str
) -> None:
    """Names, codes and numbers that the engine would leave out with a line in its log."""
    with pytest.raises(ValueError, match=told):
        Fail(function, error, call=call)


async def test_every_function_and_every_class_of_errors_has_its_failure(path: Path) -> None:
    """The engine takes all of them, and the code leads to the class."""
    names = [f.name for f in FUNCTIONS if f.restype is VixError and "Init" not in f.name]
    config = EngineConfig(fail=[Fail(name, 1, call=1000) for name in (*names, "WriteAsync.callback")])
    async with engine(config) as vddk, vddk.open_disk(path):
        pass
    for cls in (*NativeError.__subclasses__(), *DiskError.__subclasses__()):
        config = EngineConfig(fail=[Fail("Open", cls, call=1)])
        async with engine(config) as vddk:
            with pytest.raises(cls) as caught:
                await vddk.open_disk(path)
            assert type(caught.value) is cls


async def test_a_call_hangs_until_it_is_released(path: Path) -> None:
    """Its arrival can be awaited, by many and again; other disks go on meanwhile; a cancelled one is waited for."""
    hang = Hang("Read", call=2)
    async with engine(EngineConfig(hang=[hang])) as vddk, vddk.open_disk(path) as disk, vddk.open_disk(path) as other:
        await disk.read_at(0, 5)
        reading = asyncio.create_task(disk.read_at(0, 5))
        await asyncio.gather(hang.arrived(), hang.arrived())
        await hang.arrived()
        assert await other.read_at(0, 5) == b"hello"
        reading.cancel()
        await asyncio.sleep(0)
        assert not reading.done()
        hang.release()
        hang.release()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert await disk.read_at(0, 5) == b"hello"


async def test_several_calls_hang_one_after_the_other(path: Path) -> None:
    """Each is met and let go on its own."""
    hangs = [Hang("GetInfo", call=2), Hang("Close", call=1)]
    async with engine(EngineConfig(hang=hangs)) as vddk:
        disk = await vddk.open_disk(path)  # the first GetInfo
        for hang, work in zip(hangs, (disk.info, disk.aclose), strict=True):
            task = asyncio.ensure_future(work())
            async with hang:
                assert not task.done()
            await task


async def test_a_wait_for_a_call_can_be_cancelled_and_repeated(path: Path) -> None:
    """The call is still met afterwards."""
    hang = Hang("Read")
    async with engine(EngineConfig(hang=[hang])) as vddk, vddk.open_disk(path) as disk:
        waiting = asyncio.create_task(hang.arrived())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        reading = asyncio.create_task(disk.read_at(0, 5))
        async with hang:
            assert not reading.done()
        assert await reading == b"hello"


async def test_a_call_that_is_released_early_goes_through(path: Path) -> None:
    """And whoever waits for it is told that it will not come."""
    hang = Hang("Read")
    async with engine(EngineConfig(hang=[hang])) as vddk, vddk.open_disk(path) as disk:
        waiting = asyncio.create_task(hang.arrived())
        await asyncio.sleep(0)
        hang.release()
        with pytest.raises(RuntimeError, match="before it came"):
            await waiting
        assert await disk.read_at(0, 5) == b"hello"


async def test_the_end_of_the_block_releases_what_hangs(path: Path) -> None:
    """After an error in it, too; a hanging Exit is the test's own, unless the block fails."""
    read, leave = Hang("Read"), Hang("Exit")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012  (the block fails with a call under way)
        async with engine(EngineConfig(hang=[read, leave])) as vddk:
            disk = await (await vddk.connect()).open(path)
            reading = asyncio.create_task(disk.read_at(0, 5))
            await read.arrived()
            raise ZeroDivisionError
    assert await reading == b"hello"


async def test_the_end_of_the_library_can_hang(path: Path) -> None:
    """The block is left when it is released."""
    hang = Hang("Exit")

    async def use() -> None:
        async with engine(EngineConfig(hang=[hang])) as vddk, vddk.open_disk(path):
            pass

    using = asyncio.create_task(use())
    async with hang:
        assert not using.done()
    await using


def test_a_hanging_call_is_one_call_of_one_engine(tmp_path: Path) -> None:
    """Another number, name or engine is refused."""
    for function, call, told in (("Read", 0, "1 is the first"), ("Reed", 1, "not one of")):
        with pytest.raises(ValueError, match=told):
            Hang(function, call=call)
    hang = Hang("Read")
    with EngineConfig(hang=[hang]).file(), pytest.raises(RuntimeError, match="another one"):
        EngineConfig(hang=[hang]).write(tmp_path / "engine.conf")
    with pytest.raises(ValueError, match="comma"):
        EngineConfig(hang=[Hang("Read")]).write(tmp_path / "a,b")


async def test_slowness_is_given_in_seconds_and_bytes(path: Path) -> None:
    """Times are checked from below only."""
    for config, least in ((EngineConfig(latency_s=0.03), 0.03), (EngineConfig(bandwidth=20 << 20), 0.05)):
        async with engine(config) as vddk, vddk.open_disk(path) as disk:
            begin = time.monotonic()
            await disk.read_at(0, 1 << 20)
            assert time.monotonic() - begin >= least


async def test_a_server_lets_in_who_knows_what_it_asks(tmp_path: Path, path: Path) -> None:
    """By machine and as a first-class disk; each wrong parameter has its error."""
    fcd = StorageObject("6f7e", "datastore-1")
    server = EngineServer(
        datastores={"ds 1": tmp_path}, storage_objects={fcd: "[ds 1] disk.vmdk"}, snapshots=["snapshot-1"],
        thumbprint=":".join(["AB"] * 20),
    )  # fmt: skip
    params = server.connect_params()
    async with engine(EngineConfig(server=server, check_threads="abort")) as vddk:
        for good, name in ((params, f"[ds 1] {path.name}"), (server.connect_params(storage_object=fcd), fcd.disk_id)):
            async with vddk.open_disk(name, params=good) as disk:
                assert await disk.read_at(0, 5) == b"hello"
        wrong: Mapping[type[NativeError], list[dict[str, str | Secret]]] = {
            NativeError: [{"password": Secret("wrong")}, {"user": "wrong"}, {"thumbprint": "AA:" * 19 + "AA"}],
            ConnectionFailedError: [{"server": "other.test"}],
            DiskNotFoundError: [{"vmx_spec": "moref=vm-2"}],
        }
        for error, changes in wrong.items():
            for change in changes:
                with pytest.raises(error):
                    await vddk.open_disk(f"[ds 1] {path.name}", params=replace(params, **change))  # type: ignore[arg-type]
        with pytest.raises(NativeError):
            await vddk.open_disk(f"[ds 1] {path.name}", params=params, snapshot="snapshot-2")


def test_secrets_are_in_the_file_alone(tmp_path: Path) -> None:
    """Which its owner only can read."""
    secret = Secret("geheim # 1")
    server = EngineServer(datastores={"ds1": tmp_path}, password=secret, cookie=secret)
    config = EngineConfig(server=server, extra={"vixDiskLib.nfc.LogLevel": "4"})
    file = config.write(tmp_path / "engine.conf")
    assert file.stat().st_mode & 0o777 == 0o600
    assert 'openEngine.password = "geheim # 1"\n' in file.read_text()
    assert 'vixDiskLib.nfc.LogLevel = "4"\n' in file.read_text()
    assert "geheim" not in repr(config)
    with pytest.raises(FileExistsError):
        config.write(file)
    with pytest.raises(ValueError, match=r"openEngine\.password") as caught:
        EngineConfig(server=replace(server, password=Secret('"quoted"'))).write(tmp_path / "other.conf")
    assert "quoted" not in str(caught.value)
    assert not (tmp_path / "other.conf").exists()


@pytest.mark.parametrize(
    "config",
    [
        EngineConfig(latency_s=-1),
        EngineConfig(latency_s=0.0001),
        EngineConfig(latency_s=601),
        EngineConfig(bandwidth=0),
        EngineConfig(threads=257),
        EngineConfig(fail=[Fail("Read", 1)] * 65),
        EngineConfig(extra={"two = equals": "1"}),
        EngineConfig(extra={"#key": "1"}),
        EngineConfig(extra={"key": "two\nlines"}),
        EngineConfig(server=EngineServer(datastores={"ds=1": "/tmp"})),  # noqa: S108  (nothing is made there)
        EngineConfig(server=EngineServer(datastores={}, vms=["a,b"])),
    ],
    ids=str,
)
def test_what_the_engine_would_leave_out_is_refused(config: EngineConfig, tmp_path: Path) -> None:
    """Before any file is made."""
    with pytest.raises(ValueError, match=r"engine takes|at most 64|cannot stand|neither quotes|comma"):
        config.write(tmp_path / "engine.conf")
    assert list(tmp_path.iterdir()) == []


def test_a_server_has_a_name_and_a_machine() -> None:
    """Without them nobody could ask it for anything."""
    for lack in ({"names": ()}, {"vms": ()}):
        with pytest.raises(ValueError, match="at least one"):
            EngineServer(datastores={}, **lack)  # type: ignore[arg-type]


async def test_nothing_of_an_engine_is_left(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its configuration is removed with all that is in it; the next engine may have another one."""
    monkeypatch = pytest.MonkeyPatch()
    with monkeypatch.context() as patched:
        temporary = tmp_path_factory.mktemp("tmp")
        patched.setattr("tempfile.tempdir", str(temporary))
        async with engine(EngineConfig(hang=[Hang("Clone")], parent_roots=["."], threads=2)):
            assert len(list(temporary.rglob("*"))) == 3
        assert list(temporary.iterdir()) == []
    async with Vddk() as vddk, vddk.open_disk(path):
        pass
