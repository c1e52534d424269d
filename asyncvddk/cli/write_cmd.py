"""``asyncvddk write``."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path  # noqa: TC003  (cyclopts reads the annotations)
from typing import TYPE_CHECKING, Annotated, Final

import anyio
from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._options import COMMON, Common, size_parameter
from asyncvddk.cli._output import say
from asyncvddk.cli._run import run_with_library
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from asyncvddk.disks._library import Vddk

_PIECE: Final = 4 << 20


def write(
    disk: Annotated[Path, Parameter(name="DISK", help="VMDK to write to.")],
    file: Annotated[Path | None, Parameter(name="FILE", help="Where the bytes are; default: stdin.")] = None,
    /,
    *,
    offset: Annotated[int, size_parameter(show_default=False)] = 0,
    common: Common = COMMON,
) -> int:
    """Write bytes from a file, or from stdin, to a place in a disk; the rest of the disk stays as it is.

    Exit status: 1 if the bytes do not fit. Those of a file are not begun then; those of a pipe stop at the disk's end.

    Parameters
    ----------
    offset
        First byte of the disk that is written (default: 0): 4096, 64K, 10G.
    """
    if file is None and sys.stdin.isatty():
        raise CycloptsError(msg="which bytes? give a file, or send them through a pipe")

    async def command(vddk: Vddk) -> int:
        fd = os.dup(sys.stdin.fileno()) if file is None else os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            count = await _write(vddk, disk, fd, offset)
        finally:
            os.close(fd)
        say(f"{disk}: {count} bytes written from byte {offset} on")
        return _exit.DONE

    return run_with_library(command, common)


async def _write(vddk: Vddk, path: Path, fd: int, offset: int) -> int:
    """Write all that comes from a file descriptor; return how many bytes that were."""
    known = os.fstat(fd)
    async with vddk.open_disk(path, read_only=False) as disk:
        room = disk.size - offset
        size = known.st_size if stat.S_ISREG(known.st_mode) else 0
        if room < 0 or size > room:
            raise ValueError(
                f"{path}: {size or 'the'} bytes from byte {offset} on do not fit: the disk has {disk.size} bytes"
            )
        done = 0
        while data := await _read(fd, known.st_mode):
            if done + len(data) > room:
                await disk.write_at(offset + done, data[: room - done])
                fitting = f"its last {format_size(room)} were written, and there were more bytes"
                raise ValueError(f"{path}: the disk ends at {disk.size}: {fitting}")
            done += await disk.write_at(offset + done, data)
        await disk.flush()
        return done


async def _read(fd: int, mode: int) -> bytes:
    """Return the next piece of a file or pipe: full unless it is the last one."""
    if not stat.S_ISFIFO(mode) and not stat.S_ISSOCK(mode):
        return await anyio.to_thread.run_sync(os.read, fd, _PIECE)
    data = bytearray()
    while len(data) < _PIECE:
        await anyio.wait_readable(fd)  # not in a thread: nobody could end it
        part = os.read(fd, _PIECE - len(data))
        if not part:
            break
        data += part
    return bytes(data)
