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

from asyncvddk._runtime import RUNTIME, Runtime
from tests.fix_tools import GCC, find

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = Path(__file__).with_name("stub_library.c")
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

    def calls(self, name: str) -> int:
        """How often ``VixDiskLib_<name>`` was called."""
        count: int = self._dll.stub_calls(name.encode())
        return count

    def fail(self, name: str, code: int) -> None:
        """Have every call of the function fail with ``code``; 0: no more."""
        self._dll.stub_fail(name.encode(), code)

    @contextmanager
    def gate(self, name: str) -> Iterator[Gate]:
        """Put a gate before the function; calls go through again behind the block."""
        gate = Gate()
        self._dll.stub_gate(name.encode(), gate.reached, gate.gate)
        try:
            yield gate
        finally:
            self._dll.stub_gate(name.encode(), 0, 0)
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


@pytest.fixture(scope="session")
def stub_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Installation root of the stub library, compiled once."""
    root = tmp_path_factory.mktemp("stub")
    (root / "lib64").mkdir()
    target = root / "lib64" / "libvixDiskLib.so.8"
    flags = ("-std=c17", "-D_GNU_SOURCE", "-shared", "-fPIC", "-pthread", "-Wall", "-Wextra", "-Werror")
    subprocess.run([find(GCC), *flags, f"-I{INCLUDE}", SOURCE, "-o", target], check=True)
    return root


@pytest.fixture
def other_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test load a library of its own: a process has one, and tests share a process."""
    fresh = Runtime()
    for name, value in vars(fresh).items():
        monkeypatch.setattr(RUNTIME, name, value)


@pytest.fixture
def stub(stub_root: Path, other_library: None) -> Stub:  # noqa: ARG001  (makes room for this library)
    """Return the stub library, nothing counted yet; open it with ``Vddk(stub.root)``."""
    loaded = Stub(stub_root)
    loaded.reset()
    return loaded
