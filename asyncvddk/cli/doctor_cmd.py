"""``asyncvddk doctor``."""

from __future__ import annotations

import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from asyncvddk._health import Finding, Health, fail
from asyncvddk.cli import _exit, _local_health
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place
from asyncvddk.cli._run import EXPECTED, run_command
from asyncvddk.cli._server import SERVER, Server
from asyncvddk.cli._text import count_of, describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

_COLOURS: Final = {Health.OK: "\033[32m", Health.WARN: "\033[33m", Health.FAIL: "\033[31m"}
_PLAIN: Final = "\033[0m"


def doctor(
    *vms: Annotated[str, Parameter(name="RULE", help="Machines to look at, as for vms; default: all.")],
    server: Server = SERVER,
    place: Place = PLACE,
) -> int:
    """Examine this machine, its VDDK, the repository and the vCenter: a line for each thing, and what to do.

    Without --server only what is here is looked at. Nothing is changed.

    Exit status: 0 nothing is wrong (warnings do not count), 1 something is.
    """

    async def command() -> int:
        counts = dict.fromkeys(Health, 0)
        async for finding in _examine(vms, server, place):
            counts[finding.health] += 1
            _show(finding, json=place.json)
        if place.json:
            emit("summary", **{health.value: count for health, count in counts.items()})
        else:
            wrong, odd = counts[Health.FAIL], counts[Health.WARN]
            tell(f"{count_of(wrong, 'thing')} wrong, {count_of(odd, 'warning')}" if wrong or odd else "all is well")
        return _exit.FAILED if counts[Health.FAIL] else _exit.DONE

    return run_command(command, place, logs=True)


async def _examine(rules: Sequence[str], server: Server, place: Place) -> AsyncIterator[Finding]:
    """Look at everything."""
    for finding in _local_health.python_and_packages():
        yield finding
    version: str | None = None
    async with AsyncExitStack() as stack:
        from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that --help needs no library)

        try:
            vddk = await stack.enter_async_context(Vddk(libdir=place.libdir, config=place.config))
        except EXPECTED as error:
            yield fail("library", describe(error), "give --libdir or ASYNCVDDK_LIBDIR, the folder that holds lib64")
        else:
            version = vddk.version
            async for finding in _local_health.library(vddk):
                yield finding
        async for finding in _local_health.repository(place):
            yield finding
        if server.server is not None:
            async for finding in _at_server(rules, server, version):
                yield finding


async def _at_server(rules: Sequence[str], server: Server, library: str | None) -> AsyncIterator[Finding]:
    """Look at the server."""
    from asyncvddk.vsphere import Selection, machines  # noqa: PLC0415  (pyVmomi takes its time to load)
    from asyncvddk.vsphere._doctor import examine  # noqa: PLC0415

    try:
        async with server.session() as vsphere:
            found = Selection.parse(rules or ["all"], templates=True).machines(await machines(vsphere))
            async for finding in examine(vsphere, found, library=library):
                yield finding
    except EXPECTED as error:
        yield fail(f"server {server.server}", describe(error), "look at its address, port 443, thumbprint and user")


def _show(finding: Finding, *, json: bool) -> None:
    if json:
        facts = {"subject": finding.subject, "health": finding.health.value}
        emit("finding", **facts, text=finding.text, advice=finding.advice)
        return
    word = f"{finding.health.value:<5}"
    if sys.stdout.isatty():
        word = f"{_COLOURS[finding.health]}{word}{_PLAIN}"
    tell(f"{word} {finding.subject}: {finding.text}")
    if finding.advice:
        tell(f"      -> {finding.advice}")
