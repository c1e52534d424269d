"""A backup that is killed at a moment: run as a process of its own, it takes what it needs to know as JSON.

The n-th line of its journal is the moment: just before it is written (the act before it is done), or just after.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from asyncvddk import LibraryConfig, Secret, Vddk
from asyncvddk.repository import Repository
from asyncvddk.vsphere import Selection, VSphere, back_up_machines, machines
from asyncvddk.vsphere._journal import JournalFile


def die_at(line: int, *, after: bool) -> None:
    """End the process, as a power cut does, with the ``line``-th line of its journal."""
    write = JournalFile._write
    written = 0

    def counted(self: JournalFile, **facts: object) -> None:
        nonlocal written
        written += 1
        if written == line and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, **facts)
        if written == line:
            os.kill(os.getpid(), signal.SIGKILL)

    JournalFile._write = counted  # type: ignore[method-assign]


async def main(facts: dict[str, Any]) -> None:
    """Back up one machine."""
    session = VSphere(
        facts["server"],
        port=facts["port"],
        user=facts["user"],
        password=Secret(facts["password"]),
        thumbprint=facts["thumbprint"],
    )
    library = Vddk(config=LibraryConfig(extra=facts["library"]))
    store = Repository.open(facts["repository"], password=None, cache="")
    async with session as vsphere, library as vddk, store as repository:
        chosen = Selection.parse([facts["machine"]]).machines(await machines(vsphere))
        await back_up_machines(vsphere, vddk, repository, chosen, journal=Path(facts["journal"]))


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    die_at(given["line"], after=given["after"])
    asyncio.run(main(given))
