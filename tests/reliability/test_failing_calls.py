"""Every call of a whole path fails in turn: each error comes as itself, and everything that was begun is ended."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from asyncvddk import CreateParams, DiskError, NativeError, Vddk
from asyncvddk.copy import CopyOptions, copy_disks, plan_copies
from tests.reliability.operations import PARAMS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.fix_stub import Stub

FIRST, SECOND = 7, 8
"""VIX_E_FILE_ERROR and VIX_E_DISK_FULL: codes of different classes."""

ENDS = {"Open": "Close", "ConnectEx": "Disconnect", "PrepareForAccess": "EndAccess", "InitEx": "Exit"}
CLEANING_UP = (*ENDS.values(), "Wait")


@pytest.fixture(params=["stub", "async_stub"])
def any_stub(request: pytest.FixtureRequest) -> Stub:
    """Return the stub library without and with asynchronous reads and writes."""
    stub: Stub = request.getfixturevalue(request.param)
    return stub


async def whole_path(stub: Stub) -> None:
    """Open with access lock and connection, use every kind of call, close."""
    async with Vddk(stub.root) as vddk, vddk.open_disk("[ds] disk.vmdk", params=PARAMS, read_only=False) as disk:
        await disk.read_at(100, 2000)
        await disk.write_at(100, bytes(2000))
        assert [block async for block in disk.allocated_blocks()] != []
        await disk.write_metadata("name", "value")
        assert await disk.metadata() == {"name": "value"}
        await disk.flush()


async def local_path(stub: Stub) -> None:
    """Create, grow, clone, check, open, rebuild, remove."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        await connection.create("/a.vmdk", CreateParams(size=512))
        await connection.grow("/a.vmdk", 1024)
        await connection.clone("/b.vmdk", "/a.vmdk")
        await connection.check_repair("/a.vmdk")
        async with connection.open("/a.vmdk") as disk:
            await disk.shrink()
            await disk.defragment()
            await disk.create_child("/c.vmdk")
            await disk.space_needed_for_clone()
        await connection.rename("/a.vmdk", "/d.vmdk")
        await connection.unlink("/d.vmdk")


async def failing(
    stub: Stub, path: Callable[[Stub], Awaitable[None]], *more: int
) -> AsyncIterator[tuple[str, NativeError]]:
    """Walk ``path`` with its 1st, 2nd, ... call failing, and those ``more`` calls later; give function and error."""
    for number in count(1):
        stub.reset()
        stub.fail_calls({number: FIRST, **{number + later: SECOND for later in more}})
        try:
            await path(stub)
        except NativeError as error:
            failed = [name for name in stub.journal() if name != "Exit"][number - 1]
            stub.nothing_left()
            yield failed.removesuffix("Async"), error  # a read is a Read in errors, however it was made
        else:
            return


def check_ended(stub: Stub, failed: str) -> None:
    """Fail unless each thing that was opened was ended, last one first."""
    begun = [ENDS[name] for name in stub.journal() if name in ENDS and (name != failed or name == "PrepareForAccess")]
    ended = [name for name in stub.journal() if name in ENDS.values()]
    assert ended == begun[::-1]


def said_with(error: BaseException) -> str:
    """Return everything that is told with an error: itself, its notes, what it came from."""
    parts = [str(error), *getattr(error, "__notes__", ())]
    other = error.__context__ or error.__cause__
    return " ".join(parts) + (said_with(other) if other is not None else "")


@pytest.mark.parametrize("path", [whole_path, local_path])
async def test_every_failing_call_surfaces_as_itself_and_all_is_closed(
    any_stub: Stub, path: Callable[[Stub], Awaitable[None]]
) -> None:
    """Class, code and function of the call that failed; disk, connection, access lock and library ended in order."""
    seen = set()
    async for failed, error in failing(any_stub, path):
        seen.add(failed)
        function = error.function.removeprefix("VixDiskLib_")
        assert function == failed
        assert (type(error), error.code) == (DiskError, FIRST)
        assert f"says {FIRST} times no" in str(error) or failed in {"Read", "Write"}, "said by the thread of the call"
        assert error.path is not None or failed in {
            "InitEx",
            "ConnectEx",
            "Disconnect",
            *CLEANING_UP,
            "PrepareForAccess",
        }
        check_ended(any_stub, failed)
    assert len(seen) > 9, seen


@pytest.mark.parametrize("later", [1, 2, 3])
@pytest.mark.parametrize("path", [whole_path, local_path])
async def test_second_failure_while_cleaning_up_does_not_hide_the_first(
    any_stub: Stub, path: Callable[[Stub], Awaitable[None]], later: int
) -> None:
    """Whatever the first one was: both are told, and the rest of the clean-up is done all the same."""
    async for failed, error in failing(any_stub, path, later):
        told = said_with(error)
        assert f"VixDiskLib_{failed}" in told, told
        if failed not in CLEANING_UP:
            assert (error.function, error.code) == (f"VixDiskLib_{failed}", FIRST), told
        check_ended(any_stub, failed)


async def copy(vddk: Vddk, source: Path, target: Path) -> None:
    """Copy one disk; its error, if any, is raised."""
    options = CopyOptions(vmdk=target.suffix == ".vmdk")
    for outcome in await copy_disks(vddk, plan_copies([source], target, options), options):
        if outcome.error is not None:
            raise outcome.error


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Make an empty folder for copies."""
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("later", [0, 1, 2])
async def test_every_failing_call_of_a_copy_leaves_the_copy_absent_or_complete(
    any_stub: Stub, tmp_path: Path, out: Path, later: int
) -> None:
    """Also with a second failure during clean-up; the error is the outcome's, all is closed, no other file is left."""
    source, target = tmp_path / "source.vmdk", out / "copy.raw"
    source.write_bytes(b"the stub does not look")

    async def copy_it(stub: Stub) -> None:
        async with Vddk(stub.root) as vddk:
            await copy(vddk, source, target)

    async for failed, error in failing(any_stub, copy_it, *([later] if later else [])):
        assert f"VixDiskLib_{failed}" in said_with(error)
        check_ended(any_stub, failed)
        assert [path.name for path in out.iterdir()] in ([], [target.name])
        if target.exists():
            assert failed in CLEANING_UP, "complete, and then something could not be closed"
            assert target.stat().st_size == 1 << 20
            target.unlink()


ENGINE_CALLS = [
    *("ConnectEx", "Open", "GetInfo", "QueryAllocatedBlocks", "ReadAsync", "ReadAsync.callback"),
    *("Create", "WriteAsync", "WriteAsync.callback", "Wait", "Close", "Disconnect"),
]


@pytest.mark.parametrize("function", ENGINE_CALLS)
async def test_every_failing_call_of_a_copy_to_vmdk_leaves_the_copy_absent_or_complete(
    tmp_path: Path, out: Path, function: str
) -> None:
    """On the engine: the 1st, 2nd, ... call of each function; then source and copy open, for writing, too."""
    source, target, config = tmp_path / "source.vmdk", out / "copy.vmdk", tmp_path / "vddk.conf"
    async with Vddk() as vddk, vddk.connect() as connection:
        await connection.create(source, CreateParams(size=1 << 20))
        async with connection.open(source) as disk:
            await disk.write_at(70_000, b"data" * 1000)
    for number in count(1):
        config.write_text(f"openEngine.fail = {function}:{number}:{FIRST}\n")
        error: NativeError | None = None
        try:
            async with Vddk(config=config) as vddk:
                await copy(vddk, source, target)
        except NativeError as exc:
            error = exc
        if error is None:
            break
        assert (error.code, error.function.removeprefix("VixDiskLib_") in function) == (FIRST, True)
        assert [path.name for path in out.iterdir()] in ([], [target.name])
        target.unlink(missing_ok=True)
    assert number > 1
    async with Vddk() as vddk, vddk.connect() as connection:
        for path in (source, target):
            async with connection.open(path) as disk:
                assert await disk.read_at(70_000, 4000) == b"data" * 1000
