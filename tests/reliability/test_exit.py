"""The end of the process: by an interrupt, in the middle of calls, with a thread that never comes back."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent.parent

PROGRAM = """
import asyncio, os, signal, sys, threading
from pathlib import Path
from asyncvddk import AbortedError, CallTimeoutError, ConnectParams, Vddk
from tests.fix_stub import Gate, Stub

stub = Stub(Path(sys.argv[1]))
PARAMS = ConnectParams("vcenter.test", vmx_spec="moref=vm-1", user="backup", password="geheim")
NAMES = ("ConnectEx", "Disconnect", "Open", "Close", "PrepareForAccess", "EndAccess", "InitEx", "Exit")
gate = Gate()

def hang(name):
    stub._dll.stub_gate(name.encode(), gate.reached, gate.gate)

def report():
    print({name: stub.calls(name) for name in NAMES}, flush=True)

def interrupt_and_release(task):
    os.kill(os.getpid(), signal.SIGINT)
    while not task.cancelling():
        pass
    gate.release(100)
"""

BALANCED = dict.fromkeys(
    ("ConnectEx", "Disconnect", "Open", "Close", "PrepareForAccess", "EndAccess", "InitEx", "Exit"), 1
)


def run(program: str, stub_root: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end; only a hang needs the time limit."""
    source = textwrap.dedent(PROGRAM) + textwrap.dedent(program)
    command = [sys.executable, "-W", "ignore", "-c", source, str(stub_root)]
    return subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("name", ["ConnectEx", "Read", "Close", "EndAccess"])
def test_interrupt_in_the_middle_of_a_call_closes_everything(stub_root: Path, name: str) -> None:
    """Ctrl-C: the running call is waited for, what was begun is ended, KeyboardInterrupt comes out."""
    program = f"""
    async def main():
        hang({name!r})
        async def interrupt():
            await gate.arrival()
            threading.Thread(target=interrupt_and_release, args=(main_task,)).start()
        main_task = asyncio.current_task()
        interrupting = asyncio.create_task(interrupt())
        async with Vddk(stub.root) as vddk, vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS) as disk:
            await disk.read_at(0, 512)

    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        begun = [stub.calls(begin) for begin in NAMES[::2]]
        assert begun == [stub.calls(end) for end in NAMES[1::2]], report()
        print("interrupted")
    """
    done = run(program, stub_root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted\n", "")


def test_program_with_a_hung_call_that_is_told_to_end_ends(stub_root: Path) -> None:
    """By the signal that service managers send: the access lock is ended, the stuck thread stops nobody."""
    program = """
    async def main():
        async with Vddk(stub.root) as vddk:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, vddk.abort, "told to end")
            async with vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS) as disk:
                hang("Read")
                reading = asyncio.create_task(disk.read_at(0, 512))
                await gate.arrival()
                os.kill(os.getpid(), signal.SIGTERM)
                await reading

    try:
        asyncio.run(main())
    except AbortedError as error:
        print(error)
        report()
        sys.exit(3)
    """
    done = run(program, stub_root)
    assert done.returncode == 3, done.stderr
    text, counts = done.stdout.splitlines()[-2:]
    assert text.endswith("VixDiskLib_Read of '[ds] vm/disk.vmdk': told to end")
    assert counts == str(BALANCED | {"Disconnect": 0, "Close": 0, "Exit": 0})


@pytest.mark.parametrize("name", ["ConnectEx", "Read", "Exit"])
def test_program_whose_library_hangs_ends_by_its_time_limit(stub_root: Path, name: str) -> None:
    """Wherever it hangs: an error, and the process ends, its stuck thread with it."""
    program = f"""
    async def main():
        hang({name!r})
        async with Vddk(stub.root, call_timeout_s=0.05) as vddk:
            async with vddk.open_disk("[ds] vm/disk.vmdk", params=PARAMS) as disk:
                await disk.read_at(0, 512)

    try:
        asyncio.run(main())
    except CallTimeoutError as error:
        print(error.call)
    """
    done = run(program, stub_root)
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, [f"VixDiskLib_{name}"]), done.stderr


def test_program_that_leaves_its_loop_in_the_middle_of_a_call_ends(stub_root: Path) -> None:
    """Nothing was closed, a call runs: the process ends all the same, without a crash."""
    program = """
    async def begin():
        vddk = await Vddk(stub.root).__aenter__()
        disk = await vddk.open_disk("/disk.vmdk")
        hang("Read")
        things.extend([vddk, disk, asyncio.ensure_future(disk.read_at(0, 1 << 20))])
        await gate.arrival()

    things = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(begin())
    loop.close()
    print("left")
    """
    done = run(program, stub_root)
    assert (done.returncode, done.stdout) == (0, "left\n"), done.stderr


def test_call_that_was_given_up_may_come_back_while_python_ends(stub_root: Path) -> None:
    """Its memory outlives the interpreter."""
    program = """
    import atexit
    import asyncvddk.threads._port

    async def main():
        async with Vddk(stub.root) as vddk, vddk.open_disk("/disk.vmdk") as disk:
            hang("Read")
            reading = asyncio.create_task(disk.read_at(0, 1 << 20))
            await gate.arrival()
            disk.abort()
            try:
                await reading
            except AbortedError:
                print("aborted", flush=True)

    class Late:
        def __del__(self):
            gate.release(1)

    late = Late()
    sys.late = late
    asyncio.run(main())
    """
    done = run(program, stub_root)
    assert (done.returncode, done.stdout.splitlines()[:1]) == (0, ["aborted"]), done.stderr
