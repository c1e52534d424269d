"""``asyncvddk info``."""

from __future__ import annotations

import json as json_text
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._options import COMMON, Common, Flag, adapter_name
from asyncvddk.cli._run import run_with_library
from asyncvddk.cli._text import format_size
from asyncvddk.copy import create_type

if TYPE_CHECKING:
    from asyncvddk.disks._disk import AsyncDisk
    from asyncvddk.disks._library import Vddk
    from asyncvddk.models import Geometry


def info(
    disk: Annotated[str, Parameter(name="DISK", help="VMDK to look at.")],
    /,
    *,
    json: Annotated[bool, Flag] = False,
    common: Common = COMMON,
) -> int:
    """Show what a disk is: size, kind, adapter, snapshot chain, geometry, metadata.

    Parameters
    ----------
    json
        Write one JSON object.
    """

    async def command(vddk: Vddk) -> int:
        async with vddk.open_disk(disk) as source:
            facts = await _facts(source, Path(disk))
        if json:
            sys.stdout.write(json_text.dumps(facts, indent=2) + "\n")
        else:
            _show(facts)
        return _exit.DONE

    return run_with_library(command, common)


async def _facts(disk: AsyncDisk, path: Path) -> dict[str, Any]:
    """Collect what is known of the disk, under the names of the JSON output."""
    facts = await disk.info()
    return {
        "path": str(path),
        "size": facts.size,
        "type": create_type(path),
        "adapter": adapter_name(facts.adapter),
        "links": facts.links,
        "parent": facts.parent_hint,
        "uuid": facts.uuid,
        "geometry": _geometry(facts.physical_geometry),
        "bios_geometry": _geometry(facts.bios_geometry),
        "logical_sector_size": facts.logical_sector_size,
        "physical_sector_size": facts.physical_sector_size,
        "transport": disk.transport_mode,
        "metadata": await disk.metadata.as_dict(),
    }


def _geometry(geometry: Geometry) -> dict[str, int]:
    return {"cylinders": geometry.cylinders, "heads": geometry.heads, "sectors": geometry.sectors}


def _show(facts: dict[str, Any]) -> None:
    """Write the facts as a table; what the disk does not tell is left out."""
    from rich.console import Console  # noqa: PLC0415  (rich takes a tenth of a second to load)
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in facts.items():
        if value is not None and name != "metadata":
            table.add_row(Text(name.replace("_", " "), style="bold"), Text(_readable(name, value)))
    for key, value in facts["metadata"].items():
        table.add_row(Text(key, style="dim"), Text(value))
    Console(soft_wrap=True).print(table)


def _readable(name: str, value: Any) -> str:  # noqa: ANN401  (what JSON can hold)
    """Return a fact as people read it."""
    if name == "size":
        return f"{format_size(value)} ({value} bytes)"
    if isinstance(value, dict):
        return ", ".join(f"{number} {unit}" for unit, number in value.items())
    return str(value)
