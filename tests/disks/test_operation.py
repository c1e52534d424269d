"""Operations on whole disks: awaited or watched, stopped when nobody watches any more, their errors told once."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import anyio
import pytest

from asyncvddk import (
    ClosedError,
    Connection,
    CreateParams,
    DiskExistsError,
    DiskType,
    NativeError,
    OpenFlags,
    Operation,
    Vddk,
)
from tests.fix_disks import DISK_SIZE, MIB
from tests.reliability.ways import cancel_while_running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from tests.fix_stub import Gate, Stub

    Tell = Callable[[int], object] | None

SMALL = CreateParams(size=512)


@pytest.fixture
async def source(connection: Connection, tmp_path: Path) -> Path:
    """Return the path of a closed disk with some data."""
    path = tmp_path / "source.vmdk"
    await connection.create(path, CreateParams(size=DISK_SIZE))
    async with connection.open(path) as disk:
        await disk.write_at(MIB, b"data" * MIB)
    return path


def telling(*percentages: int, result: str = "done") -> Operation[str]:
    """Return an operation that tells percentages, one in each turn of the loop."""

    async def start(tell: Tell) -> str:
        for percent in percentages:
            if tell:
                tell(percent)
            await asyncio.sleep(0)
        return result

    return Operation(start)


async def watched(operation: Operation[str]) -> list[int]:
    """Return all percentages that a loop gets which is as fast as the operation."""
    async with operation as progress:
        return [percent async for percent in progress]


async def test_a_watched_clone_gives_rising_percentages_and_100_at_its_end(
    connection: Connection, source: Path
) -> None:
    """The copy is complete when 100 is there."""
    target = source.with_name("target.vmdk")
    seen: list[int] = []
    async with connection.clone(target, source) as progress:
        async for percent in progress:
            seen.append(percent)
            if percent == 100:
                break  # leaving now stops nothing
    assert progress.succeeded
    assert seen == sorted(set(seen))
    assert seen[-1] == 100
    async with connection.open(target, OpenFlags.READ_ONLY) as copy:
        assert await copy.read_at(MIB, 4 * MIB) == b"data" * MIB


async def test_every_operation_can_be_watched(connection: Connection, source: Path) -> None:
    """Creation, growth, a child, shrinking, defragmenting; clones are above."""
    made = source.with_name("made.vmdk")
    for before in (connection.create(made, SMALL), connection.grow(made, MIB)):
        async with before as progress:
            assert [percent async for percent in progress][-1] == 100
    async with connection.open(source) as disk:
        for rebuilt in (disk.shrink(), disk.defragment(), disk.create_child(source.with_name("child.vmdk"))):
            async with rebuilt as progress:
                assert [percent async for percent in progress][-1] == 100


async def test_a_watched_operation_tells_its_callback_too(connection: Connection, source: Path) -> None:
    """Both ways at once."""
    told: list[int] = []
    async with connection.clone(source.with_name("target.vmdk"), source, progress=told.append) as progress:
        seen = [percent async for percent in progress]
    assert set(seen) <= {*told, 100}
    assert told


async def test_percentages_rise_whatever_the_library_says() -> None:
    """Neither lower ones, nor nonsense, nor 100 before the end."""
    assert await watched(telling(-1, 0, 50, 30, 50, 200, 60, 100)) == [0, 50, 60, 100]
    assert await watched(telling()) == [100]


async def test_a_slow_loop_misses_percentages_and_gets_the_latest() -> None:
    """Nothing is stored for it."""
    told = asyncio.Event()
    go_on = asyncio.Event()

    async def start(tell: Tell) -> None:
        assert tell
        for percent in (*range(90), 10):
            tell(percent)
        told.set()
        await go_on.wait()

    async with Operation(start) as progress:
        await told.wait()
        assert await anext(progress) == 89
        go_on.set()
        assert [percent async for percent in progress] == [100]


async def test_100_is_not_given_before_the_work_has_succeeded() -> None:
    """A library says 100 before its call returns; who leaves at 100 must not stop it."""
    go_on = asyncio.Event()

    async def start(tell: Tell) -> None:
        assert tell
        tell(100)
        await go_on.wait()

    async with Operation(start) as progress:
        getting = asyncio.ensure_future(anext(progress))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not getting.done()
        assert not progress.succeeded
        go_on.set()
        assert await getting == 100
        assert progress.succeeded
        with pytest.raises(StopAsyncIteration):
            await anext(progress)


AWAITING: dict[str, Callable[[Operation[str]], Awaitable[str]]] = {
    "await": lambda operation: operation,
    "run": lambda operation: operation.run(),
    "ensure_future": asyncio.ensure_future,
    "wait_for": lambda operation: asyncio.wait_for(operation, 60),
    "create_task": lambda operation: asyncio.create_task(operation.run()),
}


@pytest.mark.parametrize("way", AWAITING)
async def test_an_operation_can_be_awaited_in_every_usual_way(way: str) -> None:
    """And gives its result."""
    assert await AWAITING[way](telling(1, 2)) == "done"


async def test_operations_run_together(connection: Connection, tmp_path: Path) -> None:
    """In gather, in asyncio's task groups and in anyio's."""
    first, second, third, fourth = (tmp_path / f"{number}.vmdk" for number in range(4))
    await asyncio.gather(connection.create(first, SMALL), connection.create(second, SMALL))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(connection.create(third, SMALL).run())
    async with anyio.create_task_group() as group:
        group.start_soon(connection.create(fourth, SMALL).run)
    assert len(list(tmp_path.iterdir())) == 4


async def test_an_operation_that_never_runs_does_nothing_and_does_not_complain(stub: Stub) -> None:
    """No call, no warning (which would fail this test), also when what should have awaited it was cancelled."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        connection.create("/new.vmdk", SMALL)
        waiting = asyncio.ensure_future(connection.create("/new.vmdk", SMALL))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gc.collect()
    assert stub.calls("Create") == 0


async def test_an_operation_runs_once() -> None:
    """A second run is an error of the program, in whatever way; so is iterating without the block."""
    operation = telling()
    with pytest.raises(RuntimeError, match="async with"):
        await anext(operation)
    await operation
    with pytest.raises(RuntimeError, match="once"):
        await operation
    with pytest.raises(RuntimeError, match="once"):
        async with operation:
            pass


async def test_arguments_are_checked_when_it_runs(connection: Connection, tmp_path: Path) -> None:
    """Making the object is no error; a closed connection is one when it runs."""
    growing = connection.grow(tmp_path / "disk.vmdk", 7)
    creating = connection.create(tmp_path / "new.vmdk", SMALL)
    with pytest.raises(ValueError, match="multiple of 512"):
        await growing
    await connection.aclose()
    with pytest.raises(ClosedError, match="create"):
        await watch_to_the_end(creating)


async def test_leaving_early_stops_the_library_and_leaves_no_file(connection: Connection, source: Path) -> None:
    """A clone that was complete by then is the exception, and says so; the connection goes on."""
    target = source.with_name("target.vmdk")
    async with connection.clone(target, source, disk_type=DiskType.MONOLITHIC_FLAT) as progress:
        async for _ in progress:
            break
    names = {file.name for file in source.parent.iterdir()}
    assert names == ({"source.vmdk", "target.vmdk", "target-flat.vmdk"} if progress.succeeded else {"source.vmdk"})
    await connection.clone(target, source, overwrite=True)


async def test_leaving_early_waits_for_the_library_and_removes_what_it_made(stub: Stub) -> None:
    """The stub does not heed the request to stop, so the disk is there when its call returns."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        with stub.gate("Create") as gate:

            async def watch() -> Operation[None]:
                async with connection.create("/new.vmdk", SMALL) as progress:
                    async for percent in progress:
                        assert percent == 10
                        break
                return progress

            watching = asyncio.create_task(watch())
            await gate.arrival()
            for _ in range(20):
                await asyncio.sleep(0)
            assert not watching.done(), "the block was left while C was at work"
            gate.release()
            assert not (await watching).succeeded
    assert stub.calls("Unlink") == 1


@pytest.mark.parametrize("way", ["task", "timeout", "scope"])
@pytest.mark.parametrize("inside", [True, False], ids=["in the loop", "beside it"])
async def test_a_cancelled_watcher_waits_for_the_library_and_goes_on_cancelling(
    stub: Stub,
    way: str,
    inside: bool,  # noqa: FBT001
) -> None:
    """Waiting for a percentage or for something else: the disk is removed."""

    async def watch() -> None:
        async with connection.create("/new.vmdk", SMALL) as progress:
            if inside:
                await exhausted(progress)
            await asyncio.Event().wait()

    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        with stub.gate("Create") as gate:
            assert await cancel_while_running(way, gate, watch)
    assert stub.calls("Unlink") == 1
    assert stub.balanced()


async def test_a_watcher_that_is_cancelled_again_and_again_still_waits(stub: Stub) -> None:
    """Every further cancel changes nothing until C has returned."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        with stub.gate("Create") as gate:
            watching = asyncio.create_task(watch_to_the_end(connection.create("/new.vmdk", SMALL)))
            await gate.arrival()
            for _ in range(5):
                watching.cancel()
                await asyncio.sleep(0)
                assert not watching.done()
            gate.release()
            with pytest.raises(asyncio.CancelledError):
                await watching
    assert stub.calls("Unlink") == 1


def test_a_loop_that_ends_while_somebody_watches_removes_the_disk(stub: Stub) -> None:
    """asyncio.run cancels the watcher and the operation's own task at once: the library is waited for all the same."""

    async def watch() -> None:
        async with Vddk(stub.root) as vddk, vddk.connect() as connection:
            await watch_to_the_end(connection.create("/new.vmdk", SMALL))

    async def main(gate: Gate) -> None:
        tasks.append(asyncio.create_task(watch()))
        await gate.arrival()
        release_later(10)

    def release_later(turns: int) -> None:
        if turns:
            asyncio.get_running_loop().call_soon(release_later, turns - 1)
        else:
            gate.release()

    tasks: list[asyncio.Task[None]] = []
    with stub.gate("Create") as gate:
        asyncio.run(main(gate))
    assert tasks[0].cancelled()
    assert stub.calls("Unlink") == 1
    assert stub.balanced()


async def exhausted(progress: AsyncIterator[int]) -> None:
    """Iterate to the end."""
    async for _ in progress:
        pass


async def watch_to_the_end(operation: Operation[None]) -> None:
    """Watch as most programs do."""
    async with operation as progress:
        await exhausted(progress)


async def test_an_error_comes_out_of_the_loop_once(stub: Stub) -> None:
    """The block does not raise it a second time, also when the program has handled it inside."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        stub.fail("Create", 12)
        with pytest.raises(DiskExistsError) as caught:
            await watch_to_the_end(connection.create("/there.vmdk", SMALL))
        assert not getattr(caught.value, "__notes__", [])
        async with connection.create("/there.vmdk", SMALL) as progress:
            with pytest.raises(DiskExistsError):
                await exhausted(progress)
            assert [percent async for percent in progress] == []
        assert not progress.succeeded


async def test_an_error_that_no_loop_was_told_comes_at_the_end_of_the_block(stub: Stub) -> None:
    """By itself, or as a note of the error that the block has already."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        stub.fail("Create", 12)
        with pytest.raises(DiskExistsError):
            await leave_when_ended(connection.create("/there.vmdk", SMALL), None)
        with pytest.raises(KeyError) as caught:
            await leave_when_ended(connection.create("/there.vmdk", SMALL), KeyError("mine"))
        assert "Create" in caught.value.__notes__[0]


async def leave_when_ended(operation: Operation[None], error: Exception | None) -> None:
    """Leave a block when its operation has ended, not knowing how; perhaps by an error of one's own."""
    async with operation:
        assert operation._task is not None
        await asyncio.wait([operation._task])
        if error:
            raise error


async def test_an_error_while_it_is_undone_is_told(stub: Stub) -> None:
    """A disk that could not be removed is not kept quiet about when the block is left early."""
    async with Vddk(stub.root) as vddk, vddk.connect() as connection:
        stub.fail("Unlink", 13)
        with stub.gate("Create") as gate:

            async def watch() -> None:
                async with connection.create("/new.vmdk", SMALL) as progress:
                    await anext(progress)

            watching = asyncio.create_task(watch())
            await gate.arrival()
            for _ in range(5):
                await asyncio.sleep(0)
            gate.release()
            with pytest.raises(NativeError, match="Unlink"):
                await watching


async def test_an_operation_whose_task_is_cancelled_from_outside_cancels_its_watcher() -> None:
    """As awaiting a cancelled task does: the end of a loop cancels all tasks."""
    async with telling(*range(90)) as progress:
        await anext(progress)
        assert progress._task is not None
        progress._task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await exhausted(progress)
        assert not progress.succeeded
