"""``asyncvddk create``."""

from __future__ import annotations

import random
from pathlib import Path  # noqa: TC003  (cyclopts reads the annotations)
from typing import TYPE_CHECKING, Annotated

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._options import (
    ADAPTERS,
    COMMON,
    DISK_TYPES,
    AdapterName,
    Common,
    Flag,
    TypeName,
    size_parameter,
)
from asyncvddk.cli._output import say
from asyncvddk.cli._run import run_with_library
from asyncvddk.cli._text import format_size
from asyncvddk.copy import VmdkTarget
from asyncvddk.models import SECTOR_SIZE, Block, CreateParams

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asyncvddk.disks._library import Vddk

_EXAMPLE_PLACES = 16
_EXAMPLE_LENGTH = 4 << 20
_EXAMPLE_TITLE = b"asyncvddk example data\n"


def create(  # noqa: PLR0913  (the options of a command)
    path: Annotated[Path, Parameter(name="PATH", help="VMDK to make.")],
    /,
    *,
    size: Annotated[int, size_parameter(help="Bytes, or with K, M, G, T: 10G.")],
    type: Annotated[TypeName, Parameter(help="Kind of disk.")] = "monolithicSparse",  # noqa: A002
    adapter: AdapterName = "lsilogic",
    force: Annotated[bool, Flag] = False,
    example: Annotated[bool, Flag] = False,
    common: Common = COMMON,
) -> int:
    """Make a disk of zeros.

    Parameters
    ----------
    adapter
        Controller that the disk notes.
    force
        Replace an existing disk.
    example
        Fill a part of the disk, the same in every disk of that size, to try things with.
    """
    if size < SECTOR_SIZE or size % SECTOR_SIZE:
        raise CycloptsError(msg=f"--size {size}: a disk has a positive multiple of {SECTOR_SIZE} bytes")
    params = CreateParams(size=size, disk_type=DISK_TYPES[type], adapter=ADAPTERS[adapter])

    async def command(vddk: Vddk) -> int:
        written = 0
        async with VmdkTarget(vddk, path.absolute(), params, overwrite=force) as target:
            for block, data in example_data(size) if example else ():
                written += await target.write(block.offset, data)
        filled = f", {format_size(written)} of example data" if example else ""
        say(f"{path}: {format_size(size)}, {type}{filled}")
        return _exit.DONE

    return run_with_library(command, common)


def example_data(size: int) -> Iterator[tuple[Block, memoryview]]:
    """Yield where the example data of a disk of ``size`` bytes lie, and the data; the same at every call."""
    source = random.Random(size)  # noqa: S311  (example data, no secret)
    step = -(-size // _EXAMPLE_PLACES)
    step += -step % SECTOR_SIZE
    length = max(min(_EXAMPLE_LENGTH, step // 4), SECTOR_SIZE)
    for offset in range(0, size, step):
        block = Block(offset, min(length, size - offset))
        data = bytearray(source.randbytes(block.length))
        data[: len(_EXAMPLE_TITLE)] = _EXAMPLE_TITLE
        yield block, memoryview(data)
