"""The stub library: counted calls, failures on demand, gates at which a call stands until the test lets it go."""

from __future__ import annotations

import asyncio
import ctypes
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from asyncvddk.disks._runtime import RUNTIME, Runtime
from asyncvddk.native._structs import ConnectParams
from tests.fix_tools import GCC, find

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = [Path(__file__).with_name(f"stub_{part}.c") for part in ("library", "control", "maintenance")]
ASYNC_SOURCE = Path(__file__).with_name("stub_async.c")
INCLUDE = Path(__file__).parent.parent / "asyncvddk" / "engine" / "include"


class Gate:
    """Where calls of one function stand: each tells that it has come, and goes on when the test says so."""

    def __init__(self) -> None:
        """Open both pipes."""
        self.arrivals, self.reached = os.pipe()
        self.gate, self._release = os.pipe()

    async def arrival(self) -> None:
        """Wait until a call stands at the gate."""
        loop = asyncio.get_running_loop()
        arrived = loop.create_future()
        loop.add_reader(self.arrivals, lambda: None if arrived.done() else arrived.set_result(None))
        try:
            await arrived
        finally:
            loop.remove_reader(self.arrivals)
        os.read(self.arrivals, 1)

    def release(self, calls: int = 1) -> None:
        """Let so many calls go, now or when they come."""
        os.write(self._release, b"g" * calls)

    def close(self) -> None:
        """Close the pipes."""
        for fd in (self.arrivals, self.reached, self.gate, self._release):
            os.close(fd)


class Stub:
    """The loaded stub library as the tests steer it."""

    def __init__(self, root: Path) -> None:
        """Load it from ``root/lib64``."""
        self.root = root
        self._dll = ctypes.CDLL(str(root / "lib64" / "libvixDiskLib.so.8"))
        self._dll.stub_fail.argtypes = (ctypes.c_char_p, ctypes.c_uint64)
        self._dll.stub_fail_call.argtypes = (ctypes.c_uint, ctypes.c_uint64)
        self._dll.stub_capacity.argtypes = self._dll.stub_allocated.argtypes = (ctypes.c_uint64,)
        self._dll.stub_chat.argtypes = (ctypes.c_char_p, ctypes.c_int, ctypes.c_ulonglong, ctypes.c_char_p)
        self._dll.stub_sectors.restype = ctypes.c_uint64
        self._dll.stub_params.restype = ctypes.c_void_p
        for name in ("stub_journal", "stub_misuse"):
            getattr(self._dll, name).restype = ctypes.c_char_p

    def calls(self, name: str) -> int:
        """How often ``VixDiskLib_<name>`` was called."""
        count: int = self._dll.stub_calls(name.encode())
        return count

    def journal(self) -> list[str]:
        """Names of all calls, in their order."""
        text: bytes = self._dll.stub_journal()
        return text.decode().split()

    def fail(self, name: str, code: int) -> None:
        """Have every call of the function fail with ``code``; 0: no more."""
        self._dll.stub_fail(name.encode(), code)

    def fail_calls(self, codes: dict[int, int]) -> None:
        """Have the n-th calls from now on (1 is the next, whatever it is) fail with these codes, and no others."""
        self._dll.stub_fail_call(0, 0)
        for call, code in codes.items():
            self._dll.stub_fail_call(call, code)

    def obey(self, *, yes: bool = True) -> None:
        """Have long calls end with VIX_E_CANCELLED when their progress function says so; a real library may not."""
        self._dll.stub_obey(yes)

    def capacity(self, sectors: int) -> None:
        """Give disks opened from now on so many sectors; what is behind the first MiB is only counted."""
        self._dll.stub_capacity(sectors)

    def allocated(self, sectors: int) -> None:
        """Have that many sectors, from the first on, be allocated."""
        self._dll.stub_allocated(sectors)

    def sectors(self) -> int:
        """How many sectors were read and written."""
        count: int = self._dll.stub_sectors()
        return count

    def params(self) -> ConnectParams:
        """Return the parameters of the last connection, as they are in its owner's memory now."""
        return ConnectParams.from_address(self._dll.stub_params())

    def chat(self, text: bytes, number: int, large: int, long_text: bytes) -> None:
        """Log a message that formats the first three, and warn with ``long_text|end``."""
        self._dll.stub_chat(text, number, large, long_text)

    @property
    def block(self) -> int:
        """Address of a C function that does nothing but stand at the gate ``Block``."""
        return ctypes.cast(self._dll.stub_block, ctypes.c_void_p).value or 0

    @contextmanager
    def gate(self, name: str) -> Iterator[Gate]:
        """Put a gate before the function; calls go through again behind the block, those that stand there, too."""
        gate = Gate()
        self._dll.stub_gate(name.encode(), gate.reached, gate.gate)
        try:
            yield gate
        finally:
            self._dll.stub_gate(name.encode(), 0, 0)
            gate.release(1000)
            gate.close()

    def pass_gate(self, name: str) -> None:
        """Let further calls go through; those that stand at the gate stay there."""
        self._dll.stub_gate(name.encode(), 0, 0)

    def reset(self) -> None:
        """Forget counts, failures and data."""
        self._dll.stub_reset()

    def balanced(self) -> bool:
        """Tell whether everything that was begun was ended."""
        pairs = (("InitEx", "Exit"), ("ConnectEx", "Disconnect"), ("Open", "Close"))
        return all(self.calls(begin) == self.calls(end) for begin, end in pairs)

    def nothing_left(self) -> None:
        """Fail unless all that was opened, locked or given out was ended, in the right order and on its thread."""
        misuse: bytes = self._dll.stub_misuse()
        assert misuse.decode() == "", self.journal()
        assert self._dll.stub_left() == 0, self.journal()
        assert self.calls("PrepareForAccess") <= self.calls("EndAccess"), self.journal()


def compile_stub(root: Path, *more: str | Path) -> Path:
    """Compile the stub library, with ``more`` flags and sources, into the new installation root ``root``."""
    (root / "lib64").mkdir()
    target = root / "lib64" / "libvixDiskLib.so.8"
    flags = ("-std=c17", "-D_GNU_SOURCE", "-shared", "-fPIC", "-pthread", "-fvisibility=hidden")
    warnings = ("-Wall", "-Wextra", "-Werror")
    subprocess.run([find(GCC), *flags, *warnings, *more, f"-I{INCLUDE}", *SOURCES, "-o", target], check=True)
    return root


@pytest.fixture(scope="session")
def stub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installation root of the stub library, compiled once."""
    return compile_stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture(scope="session")
def async_stub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installation root of the stub library that offers ReadAsync and WriteAsync, compiled once."""
    return compile_stub(tmp_path_factory.mktemp("async_stub"), "-DSTUB_ASYNC", ASYNC_SOURCE)


@pytest.fixture
def other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test load a library of its own: a process has one, and tests share a process."""
    fresh = Runtime()
    for name, value in vars(fresh).items():
        monkeypatch.setattr(RUNTIME, name, value)


def _loaded(root: Path) -> Iterator[Stub]:
    loaded = Stub(root)
    loaded.reset()
    yield loaded
    assert RUNTIME.users == 0, "the library is left initialised"


@pytest.fixture
def stub(stub_root: Path, other_library: None) -> Iterator[Stub]:  # noqa: ARG001  (makes room for this library)
    """Return the stub library, nothing counted yet; open it with ``Vddk(stub.root)``."""
    yield from _loaded(stub_root)


@pytest.fixture
def async_stub(async_stub_root: Path, other_library: None) -> Iterator[Stub]:  # noqa: ARG001  (as above)
    """Return the stub library whose reads and writes are asynchronous, nothing counted yet."""
    yield from _loaded(async_stub_root)
