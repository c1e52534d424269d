"""The library's life, connections and access locks: everything that is begun is ended, whatever fails in between."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from asyncvddk import (
    AccessLockedError,
    ClosedError,
    ConnectParams,
    CreateParams,
    LibraryLoadError,
    NativeError,
    Secret,
    Vddk,
    VddkError,
)
from asyncvddk.native import _log

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fix_stub import Stub

PASSWORD = "correct horse battery"  # noqa: S105  (the one that must not be seen)
PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password=Secret(PASSWORD))


async def test_library_is_initialised_once_and_ended_by_its_last_user(stub: Stub) -> None:
    """Several objects share it."""
    async with Vddk(stub.root) as first, Vddk(stub.root) as second:
        assert stub.calls("InitEx") == 1
        assert first.transport_modes == second.transport_modes == ("file", "nbdssl", "nbd")
    assert stub.calls("Exit") == 1


def test_event_loops_in_several_threads_share_the_library(stub: Stub) -> None:
    """Each thread reads; the library is initialised and ended in turn, never twice at once."""
    errors: list[BaseException] = []

    async def use() -> None:
        for _ in range(20):
            async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
                await disk.read_at(0, 4096)

    def run() -> None:
        try:
            asyncio.run(use())
        except BaseException as exc:  # noqa: BLE001  (shown by the assertion)
            errors.append(exc)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert stub.balanced()


async def test_second_library_in_the_same_process_is_refused(stub: Stub) -> None:
    """VDDK allows one; the error names both and the way out."""
    async with Vddk(stub.root):
        with pytest.raises(LibraryLoadError, match="another process"):
            Vddk()


async def test_second_configuration_is_refused_while_the_first_is_in_use(stub: Stub, tmp_path: Path) -> None:
    """The library reads its file once."""
    config = tmp_path / "vddk.conf"
    config.write_text("")
    async with Vddk(stub.root):
        with pytest.raises(VddkError, match=r"vddk\.conf"):
            await Vddk(stub.root, config=config).__aenter__()
    async with Vddk(stub.root, config=config):
        pass


def test_missing_configuration_file_is_an_error_before_anything_runs(stub: Stub, tmp_path: Path) -> None:
    """The library itself would only log it."""
    with pytest.raises(FileNotFoundError, match=r"none\.conf"):
        Vddk(stub.root, config=tmp_path / "none.conf")


@pytest.mark.usefixtures("other_library")
def test_folder_without_a_library_is_an_error_that_says_what_to_give(tmp_path: Path) -> None:
    """As libdir and through the variable."""
    with pytest.raises(LibraryLoadError, match="ASYNCVDDK_LIBDIR"):
        Vddk(tmp_path)


@pytest.mark.usefixtures("other_library")
def test_library_that_cannot_be_loaded_says_how_to_start_the_program(tmp_path: Path) -> None:
    """VMware's needs LD_LIBRARY_PATH before Python starts."""
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64" / "libvixDiskLib.so.8").write_bytes(b"no library")
    with pytest.raises(LibraryLoadError, match=f"LD_LIBRARY_PATH={tmp_path}/lib64"):
        Vddk(tmp_path)


def test_library_is_found_through_the_variable_and_through_its_lib64_folder(
    stub: Stub, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installation root is meant; its lib64 is understood."""
    monkeypatch.setenv("ASYNCVDDK_LIBDIR", str(stub.root / "lib64"))
    assert Vddk().library_file == stub.root / "lib64" / "libvixDiskLib.so.8"


async def test_version_of_a_library_that_tells_none_is_its_files(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not that of a library that was in use before."""
    monkeypatch.setattr(_log, "library_version", "6.5.0")
    async with Vddk(stub.root) as vddk:
        assert vddk.version == "8"


async def test_library_is_not_usable_outside_its_block(stub: Stub) -> None:
    """Before and after."""
    vddk = Vddk(stub.root)
    with pytest.raises(ClosedError):
        vddk.connect()
    async with vddk:
        pass
    with pytest.raises(ClosedError):
        vddk.open_disk("/disk.vmdk")


async def test_failed_initialisation_leaves_nothing(stub: Stub) -> None:
    """No Exit without Init; a later try succeeds."""
    stub.fail("InitEx", 1)
    with pytest.raises(NativeError, match="VixDiskLib_InitEx"):
        await Vddk(stub.root).__aenter__()
    assert stub.calls("Exit") == 0
    stub.fail("InitEx", 0)
    async with Vddk(stub.root):
        pass


async def test_older_library_is_asked_for_older_interfaces(stub: Stub) -> None:
    """8.0, 7.0, 6.7, 6.5: a library refuses what is newer than itself."""
    stub.fail("InitEx", 6)
    with pytest.raises(NativeError):
        await Vddk(stub.root).__aenter__()
    assert stub.calls("InitEx") == 4


STEPS = ("PrepareForAccess", "ConnectEx", "Open", "GetInfo")


@pytest.mark.parametrize("step", STEPS)
async def test_open_disk_undoes_the_steps_before_the_one_that_failed(stub: Stub, step: str) -> None:
    """The error is the step's own, with code and the library's warning; the access lock is always given back."""
    stub.fail(step, 13)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(NativeError, match=f"VixDiskLib_{step}.*13.*{step} says 13 times no"):
            await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
    stub.fail(step, 0)
    assert stub.calls("EndAccess") == 1
    assert stub.calls("Disconnect") == (1 if STEPS.index(step) > 1 else 0)
    assert stub.calls("Close") == (1 if step == "GetInfo" else 0)
    assert stub.calls("Exit") == 1


@pytest.mark.parametrize("step", ["Close", "Disconnect", "EndAccess"])
async def test_close_goes_on_past_a_failing_step_and_raises_its_error(stub: Stub, step: str) -> None:
    """The virtual machine does not stay locked because a disk could not be closed."""
    async with Vddk(stub.root) as vddk:
        disk = await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
        stub.fail(step, 7)
        with pytest.raises(NativeError, match=f"VixDiskLib_{step}"):
            await disk.aclose()
        await disk.aclose()
    assert [stub.calls(name) for name in ("Close", "Disconnect", "EndAccess", "Exit")] == [1, 1, 1, 1]


async def test_library_closes_a_forgotten_disk_with_all_that_was_opened_for_it(stub: Stub) -> None:
    """In order, the access lock last, and without waiting for itself: disk and connection close each other."""
    async with Vddk(stub.root) as vddk:
        await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
    assert stub.journal()[-4:] == ["Close", "Disconnect", "EndAccess", "Exit"]
    stub.nothing_left()


async def test_disk_and_its_library_can_be_closed_at_the_same_time(stub: Stub) -> None:
    """By two tasks, whichever comes first: neither waits for the other for ever, and each thing is ended once."""
    for disk_first in (True, False):
        stub.reset()
        vddk = await Vddk(stub.root).__aenter__()
        disk = await vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS)
        closes = [disk.aclose(), vddk.__aexit__(None, None, None)]
        await asyncio.gather(*(closes if disk_first else reversed(closes)))
        assert [stub.calls(name) for name in ("Close", "Disconnect", "EndAccess", "Exit")] == [1, 1, 1, 1]
        stub.nothing_left()


async def test_stale_access_lock_has_an_error_of_its_own(stub: Stub) -> None:
    """20005: what the field calls a stale lock."""
    stub.fail("PrepareForAccess", 20005)
    async with Vddk(stub.root) as vddk:
        with pytest.raises(AccessLockedError):
            await vddk.access(PARAMS)


@pytest.mark.parametrize("identity", ["", "x" * 51])
async def test_identity_that_vcenter_would_cut_is_refused(stub: Stub, identity: str) -> None:
    """1 to 50 bytes."""
    async with Vddk(stub.root) as vddk:
        with pytest.raises(ValueError, match="50 bytes"):
            await vddk.access(PARAMS, identity)
    assert stub.calls("PrepareForAccess") == 0


async def test_closing_a_connection_closes_its_disks_first(stub: Stub) -> None:
    """In the order that the library wants; the disks know it."""
    async with Vddk(stub.root) as vddk:
        connection = await vddk.connect()
        disks = [await connection.open(f"/{n}.vmdk") for n in range(3)]
        await asyncio.gather(connection.aclose(), connection.aclose())
        assert all(disk.closed for disk in disks)
        with pytest.raises(ClosedError):
            await connection.open("/late.vmdk")
    assert stub.calls("Close") == 3
    assert stub.balanced()


async def test_error_has_only_the_low_16_bits_as_its_code(stub: Stub) -> None:
    """VixError carries more above them."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
        stub.fail("Read", (77 << 16) | 16007)
        with pytest.raises(NativeError) as caught:
            await disk.read_at(0, 512)
        stub.fail("Read", 0)
    assert (caught.value.code, caught.value.symbol) == (16007, "VIX_E_DISK_OUTOFRANGE")


async def test_password_is_in_no_log_repr_or_error(stub: Stub) -> None:
    """Not even when the library's own message has it."""
    stub.fail("ConnectEx", 1)
    with capture_logs() as logs:
        async with Vddk(stub.root) as vddk:
            with pytest.raises(NativeError) as caught:
                await vddk.connect(PARAMS)
    assert PASSWORD not in repr(logs) + repr(caught.value) + str(caught.value) + repr(PARAMS)


async def test_progress_of_a_creation_arrives_on_the_loop(stub: Stub) -> None:
    """Percentages, in order, on the thread of the caller."""
    told: list[tuple[int, int]] = []
    async with AsyncExitStack() as stack:
        vddk = await stack.enter_async_context(Vddk(stub.root))
        connection = await stack.enter_async_context(vddk.connect())
        await connection.create(
            "/new.vmdk", CreateParams(size=512), progress=lambda p: told.append((p, threading.get_ident()))
        )
    assert told == [(10, threading.get_ident()), (100, threading.get_ident())]


async def test_failed_creation_removes_nothing(stub: Stub) -> None:
    """A disk that was there before must survive the attempt to create it again."""
    stub.fail("Create", 12)
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        with pytest.raises(NativeError):
            await connection.create("/there.vmdk", CreateParams(size=512))
    assert stub.calls("Unlink") == 0
