"""``asyncvddk map``."""

from __future__ import annotations

import json as json_text
import sys
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from asyncvddk.cli import _areas, _exit
from asyncvddk.cli._options import COMMON, Common, Flag
from asyncvddk.cli._output import tell
from asyncvddk.cli._run import run_with_library

if TYPE_CHECKING:
    from asyncvddk.disks._library import Vddk


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
        async with vddk.open_disk(disk) as source:
            if not json:
                _areas.head()
            async for block in source.allocated_blocks():
                if json:
                    tell(json_text.dumps(_areas.as_json(block)))
                else:
                    _areas.line(block)
                count += 1
                allocated += block.length
            if json:
                tell(json_text.dumps({"areas": count, "allocated": allocated, "size": source.size}))
            else:
                _areas.total(count, allocated, source.size, "allocated")
        sys.stdout.flush()
        return _exit.DONE

    return run_with_library(command, common)
