"""``asyncvddk map``."""

from __future__ import annotations

import json as json_text
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._options import COMMON, Common, Flag
from asyncvddk.cli._run import run_with_library
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from asyncvddk.disks._library import Vddk
    from asyncvddk.models import Block


def map(  # noqa: A001  (the command's name)
    disk: Annotated[str, Parameter(name="DISK", help="VMDK to look at.")],
    /,
    *,
    json: Annotated[bool, Flag] = False,
    common: Common = COMMON,
) -> int:
    """List the areas of a disk that were ever written, in bytes, and their total.

    All other areas read as zeros. A snapshot's areas include those of its parents.

    Parameters
    ----------
    json
        Write a JSON object a line: one per area, then the totals.
    """

    async def command(vddk: Vddk) -> int:
        count = allocated = 0
        write, finish = (_json_area, _json_total) if json else (_line, _total)
        async with vddk.open_disk(disk) as source:
            if not json:
                _write(f"{'OFFSET':>20} {'LENGTH':>20} {'END':>20}")
            async for block in source.allocated_blocks():
                write(block)
                count += 1
                allocated += block.length
            finish(count, allocated, source.size)
        sys.stdout.flush()
        return _exit.DONE

    return run_with_library(command, common)


def _line(block: Block) -> None:
    _write(f"{block.offset:>20} {block.length:>20} {block.end:>20}")


def _total(count: int, allocated: int, size: int) -> None:
    part = allocated / size
    areas = "1 area" if count == 1 else f"{count} areas"
    _write(f"{areas}: {format_size(allocated)} of {format_size(size)} allocated ({part:.1%})")


def _json_area(block: Block) -> None:
    _write(json_text.dumps({"offset": block.offset, "length": block.length, "end": block.end}))


def _json_total(count: int, allocated: int, size: int) -> None:
    _write(json_text.dumps({"areas": count, "allocated": allocated, "size": size}))


def _write(text: str) -> None:
    sys.stdout.write(f"{text}\n")
