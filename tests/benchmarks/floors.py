"""What no design can beat: bare calls, by ctypes and in C threads, and bare hand-overs (``floors.c``)."""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
import subprocess
import time
from ctypes import POINTER, c_int, c_uint64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Final

from asyncvddk.native import _memory, _structs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk import AsyncDisk

SECTOR: Final = 512


class Floors:
    """``floors.c``, compiled and loaded."""

    def __init__(self, folder: Path) -> None:
        """Compile it into ``folder``; needs gcc."""
        target = folder / "floors.so"
        source = Path(__file__).with_name("floors.c")
        subprocess.run(["gcc", "-O2", "-shared", "-fPIC", "-pthread", source, "-o", target], check=True)
        self.dll = ctypes.CDLL(str(target))  # waits without the interpreter
        self.quick_dll = ctypes.PyDLL(str(target))  # what returns at once
        for dll in (self.dll, self.quick_dll):
            dll.echo_start.restype = c_void_p
            dll.echo_start.argtypes = (c_int,)
            dll.echo_ask.argtypes = dll.echo_stop.argtypes = (c_void_p,)
            dll.echo_ping_pong.argtypes = (c_void_p, POINTER(c_uint64), c_uint64)
            dll.stamp_into.argtypes = (c_void_p, POINTER(c_uint64), c_uint64)
            dll.floor_threads.restype = c_uint64
            dll.floor_threads.argtypes = (c_void_p, POINTER(c_void_p), *(c_uint64,) * 4)

    def threads(self, disks: Sequence[AsyncDisk], size: int, reads: int) -> float:
        """Return the seconds per read of a C thread for each disk, that makes ``reads`` plain calls of Read."""
        handles = (c_void_p * len(disks))(*(disk._handle for disk in disks))
        function = disks[0]._calls.address("Read")
        started = time.perf_counter()
        if self.dll.floor_threads(function, handles, len(disks), size, reads, disks[0].size):
            raise SystemExit("a read failed")
        return (time.perf_counter() - started) / (len(disks) * reads)

    def ping_pong(self, rounds: int) -> list[float]:
        """Return the seconds of each bare hand-over to a waiting C thread and back."""
        fd = os.eventfd(0)
        echo, times = self.dll.echo_start(fd), (c_uint64 * rounds)()
        self.dll.echo_ping_pong(echo, times, rounds)
        self.dll.echo_stop(echo)
        os.close(fd)
        return [nanoseconds / 1e9 for nanoseconds in times]


def new_buffer(size: int) -> memoryview:
    """Return memory for ``readinto_at`` and floors alike, all of it touched."""
    buffer = _memory.new_pages(size)
    buffer[:] = bytes(size)
    return buffer


@functools.cache
def buffers_of(size: int, count: int) -> list[memoryview]:
    """Return so many buffers, the same ones each time."""
    return [new_buffer(size) for _ in range(count)]


def ctypes_loop(disk: AsyncDisk, offsets: Sequence[int], size: int, buffers: int = 1) -> float:
    """Return the seconds of each bare ctypes call of Read, over the disk's own handle into buffers in turn."""
    read = disk._calls.library.bound["VixDiskLib_Read"]
    pinned = [_memory.Pinned(buffer) for buffer in buffers_of(size, buffers)]
    addresses = itertools.cycle(memory.address for memory in pinned)
    handle, count = _structs.Handle(disk._handle), size // SECTOR
    started = time.perf_counter()
    for offset, address in zip(offsets, addresses, strict=False):
        read(handle, offset // SECTOR, count, address)
    return (time.perf_counter() - started) / len(offsets)
