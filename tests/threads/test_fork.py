"""Forked children of a process that uses the library: refused everywhere, silent at their end, no harm to others."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parent.parent.parent

PARENT = """
import asyncio, gc, multiprocessing, os, sys, traceback, warnings
from pathlib import Path
from asyncvddk import ConnectParams, Vddk
from tests.fix_stub import Gate, Stub

warnings.simplefilter("error")
warnings.filterwarnings("ignore", message=".*multi-threaded", category=DeprecationWarning)  # Python 3.12: of any fork
stub = Stub(Path(sys.argv[1]))
PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password="geheim")
CALLS = ("InitEx", "Exit", "ConnectEx", "Disconnect", "Open", "Close", "Read", "Write", "PrepareForAccess", "EndAccess")

def counts():
    return [stub.calls(name) for name in CALLS]

def in_child(body):
    before = counts()
    pid = os.fork()
    if pid == 0:
        try:
            body()
            gc.collect()
            assert counts() == before, (before, counts())
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0

async def refused(make):
    try:
        await make()
    except RuntimeError as error:
        assert "spawn" in str(error) and "forked" in str(error), error
    else:
        raise AssertionError(f"not refused: {make}")
"""


def run(program: str, stub_root: Path) -> str:
    """Run a program, which forks, and return what it printed; it has to end well and to say nothing on stderr."""
    source = textwrap.dedent(PARENT) + textwrap.dedent(program)
    done = subprocess.run(
        [sys.executable, "-c", source, str(stub_root)],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_every_way_in_is_refused_in_the_child_and_closing_does_nothing(stub_root: Path) -> None:
    """New objects and inherited ones; on a new loop, as a child uses them. The parent goes on as if nothing were."""
    program = """
    async def use(vddk, connection, disk, access, lent):
        await refused(lambda: asyncio.sleep(0, Vddk()))
        await refused(lambda: asyncio.sleep(0, vddk.connect()))
        await refused(lambda: asyncio.sleep(0, vddk.open_disk("/disk.vmdk")))
        await refused(lambda: asyncio.sleep(0, vddk.access(PARAMS)))
        await refused(lent.__aenter__)
        await refused(lambda: connection.open("/disk.vmdk").__aenter__())
        await refused(lambda: connection.unlink("/disk.vmdk"))
        await refused(lambda: disk.read_at(0, 512))
        await refused(lambda: disk.readinto_at(0, bytearray(512)))
        await refused(lambda: disk.write_at(1, b"x"))
        await refused(disk.info)
        await refused(disk.flush)
        await disk.aclose()
        await connection.aclose()
        await access.aclose()
        await vddk.__aexit__(None, None, None)

    async def main():
        async with Vddk(stub.root) as vddk, vddk.access(PARAMS) as access, vddk.connect() as connection:
            async with connection.open("/disk.vmdk") as disk:
                lent = vddk.connect()
                things = [vddk, connection, disk, access, lent]
                await asyncio.to_thread(in_child, lambda: asyncio.run(use(*things)))
                assert await disk.read_at(0, 512) == bytes(512)
    asyncio.run(main())
    assert stub.balanced()
    """
    run(program, stub_root)


def test_fork_in_the_middle_of_calls_neither_hangs_the_child_nor_loses_the_parents_answers(stub_root: Path) -> None:
    """A read hangs, a write holds its range, an open is under way, a close has begun: the child closes at once."""
    program = """
    async def main():
        async with Vddk(stub.root) as vddk:
            connection, closing = await vddk.connect(), await vddk.connect()
            disk = await connection.open("/disk.vmdk")
            gate = Gate()
            for name in (b"Write", b"Disconnect"):
                stub._dll.stub_gate(name, gate.reached, gate.gate)
            tasks = [asyncio.ensure_future(call) for call in (
                disk.write_at(0, bytes(512)), disk.read_at(0, 512), connection.open("/other.vmdk").__aenter__(),
                closing.aclose())]
            await gate.arrival()
            await gate.arrival()

            async def use():
                await refused(lambda: disk.write_at(0, bytes(512)))
                await disk.aclose()
                await connection.aclose()
                await closing.aclose()

            in_child(lambda: run_new_loop(use))
            gate.release(10)
            results = await asyncio.gather(*tasks)
            assert results[:2] == [512, bytes(512)]
            await results[2].aclose()
            await disk.aclose()
            stub._dll.stub_gate(b"Write", 0, 0)
            stub._dll.stub_gate(b"Disconnect", 0, 0)

    def run_new_loop(use):
        # forked inside a running loop: a child leaves the parent's loop alone and makes its own, in a thread
        import threading
        failed = []
        def run():
            try:
                asyncio.run(use())
            except BaseException as error:
                failed.append(error)
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
        assert failed == [], failed

    asyncio.run(main())
    assert stub.balanced()
    """
    run(program, stub_root)


def test_garbage_in_the_child_is_silent(stub_root: Path) -> None:
    """Forgotten objects are the parent's: no warning, no call, no lock that a lost thread holds."""
    program = """
    async def main():
        async with Vddk(stub.root) as vddk:
            objects = [await vddk.open_disk("/disk.vmdk"), await vddk.connect()]
            objects.append(objects[1]._calls.worker.progress(None))
            def drop():
                vddk._live.clear()
                objects.clear()
                gc.collect()
            in_child(drop)
            await objects[0].aclose()
    asyncio.run(main())
    assert stub.balanced()
    """
    run(program, stub_root)


def test_child_of_multiprocessing_is_refused_with_advice_and_ends(stub_root: Path) -> None:
    """The context 'fork': the child gets the error, runs its atexit functions, and is joined."""
    program = """
    def work(queue):
        async def use():
            async with Vddk(stub.root):
                pass
        try:
            asyncio.run(use())
        except RuntimeError as error:
            queue.put(str(error))

    async def main():
        async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
            context = multiprocessing.get_context("fork")
            queue = context.SimpleQueue()
            child = context.Process(target=work, args=(queue,))
            child.start()
            print(await asyncio.to_thread(queue.get))
            await asyncio.to_thread(child.join)
            assert child.exitcode == 0, child.exitcode
            assert await disk.read_at(0, 512) == bytes(512)
    asyncio.run(main())
    """
    printed = run(program, stub_root)
    assert "forked from one that uses asyncvddk" in printed
    assert "'spawn' or 'forkserver'" in printed


def test_child_that_exits_in_the_usual_way_ends_without_a_word(stub_root: Path) -> None:
    """sys.exit in the child runs atexit functions and finalisers over everything that it inherited."""
    program = """
    vddks = []

    async def open_all():
        vddk = await Vddk(stub.root).__aenter__()
        vddks.extend([vddk, await vddk.open_disk("/disk.vmdk")])

    async def close_all():
        await vddks[1].aclose()
        await vddks[0].__aexit__(None, None, None)

    with asyncio.Runner() as runner:
        runner.run(open_all())
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
        runner.run(close_all())
    assert stub.balanced()
    """
    run(program, stub_root)


def test_process_that_has_only_imported_the_package_may_fork_and_use_it_in_the_child(stub_root: Path) -> None:
    """As servers do that import first and fork their workers then."""
    program = """
    async def use():
        async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
            assert await disk.read_at(0, 512) == bytes(512)

    Vddk(stub.root)
    pid = os.fork()
    if pid == 0:
        asyncio.run(use())
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    """
    run(program, stub_root)
