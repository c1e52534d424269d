"""``asyncvddk cleanup``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from asyncvddk.cli import _exit
from asyncvddk.cli._options import COMMON, Common, Flag
from asyncvddk.cli._output import emit, say, tell
from asyncvddk.cli._run import run_command
from asyncvddk.cli._server import SERVER, Server

if TYPE_CHECKING:
    from asyncvddk.vsphere import CleanupReport


def cleanup(*, json: Annotated[bool, Flag] = False, server: Server = SERVER, common: Common = COMMON) -> int:
    """Remove what backups of virtual machines left on a server that were killed on this machine.

    They note what they make in a journal before they make it; only what is in there is removed: snapshots, access
    locks, disks that were attached to this machine, machines that were being made anew. What runs is left alone.

    Exit status: 0 nothing is left, 1 something is, and why.

    Parameters
    ----------
    json
        Write one JSON object.
    """

    async def command() -> int:
        from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (so that --help needs no library)
        from asyncvddk.vsphere import cleanup as clean_up  # noqa: PLC0415  (pyVmomi takes its time to load)

        async with server.session() as vsphere, Vddk(libdir=common.libdir, config=common.config) as vddk:
            report = await clean_up(vsphere, vddk)
        if json:
            emit("cleanup", **_facts(report))
        else:
            _show(report)
        return _exit.FAILED if report.problems else _exit.DONE

    return run_command(command, common, logs=True)


def _show(report: CleanupReport) -> None:
    for machine in report.snapshots:
        tell(f"{machine}: snapshot removed")
    for machine in report.made:
        tell(f"{machine}: removed, it was being made anew")
    for machine in report.locks:
        tell(f"{machine}: access lock ended")
    for path in report.running:
        tell(f"left alone: {path}, whose backup runs")
    for path in report.elsewhere:
        tell(f"left alone: {path}, which speaks of another server")
    for problem in report.problems:
        say(f"asyncvddk: {problem}")
    if not (report.snapshots or report.made or report.locks or report.problems):
        tell("nothing was left behind")


def _facts(report: CleanupReport) -> dict[str, object]:
    return {
        "snapshots": report.snapshots,
        "made": report.made,
        "locks": report.locks,
        "running": [str(path) for path in report.running],
        "elsewhere": [str(path) for path in report.elsewhere],
        "problems": report.problems,
    }
