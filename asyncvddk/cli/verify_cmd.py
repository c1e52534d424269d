"""``asyncvddk verify``."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._check_choice import check_reporter
from asyncvddk.cli._options import Flag
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, run_with_repository
from asyncvddk.cli._text import count_of, format_seconds, format_size
from asyncvddk.cli._verify_sources import verify_sources

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cyclopts import Token

    from asyncvddk.repository import Finding, Repository, Snapshot, VerifyReport

_SOURCES: Final = 3
"""The level that compares with the sources."""
_SHOWN: Final = 10
"""Hits of a finding that are named; JSON has all."""


def _part(_: object, tokens: Sequence[Token]) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", tokens[0].value)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        raise ValueError(f"{tokens[0].value!r} is no part: write N/M with N from 1 to M, as 1/10")
    return part, parts


def verify(  # noqa: PLR0913  (the options of a command)
    *snapshots: Annotated[str, Parameter(name="SNAPSHOT", help="Beginnings of ids, or latest; default: all.")],
    level: Annotated[Literal[0, 1, 2, 3], Parameter(show_default=False)] = 2,
    subset: Annotated[
        tuple[int, int] | None, Parameter(converter=_part, n_tokens=1, metavar="N/M", negative="", show_default=False)
    ] = None,
    quarantine: Annotated[bool, Flag] = False,
    disk: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    quiet: Annotated[bool, Parameter(alias="-q", negative="", show_default=False)] = False,
    place: Place = PLACE,
) -> int:
    """Prove that what was backed up is what can be restored, and name what is damaged, to the byte range.

    Level 0: snapshots and indexes are whole, and all their data are there. 1: every object has its checksum. 2: every
    byte has the content that its snapshot names. 3: the disks of a
    snapshot are what their sources hold now, byte for byte.

    Exit status: 0 nothing is wrong, 1 damage or a difference, 2 wrong usage, 10 no repository, 12 wrong password.

    Parameters
    ----------
    level
        How much is read (default: 2).
    subset
        Read the N-th of M parts of the data: another one each day.
    quarantine
        Put damaged objects aside: the next backup that reads the same data stores them anew, for all snapshots.
    disk
        With --level 3: only these disks, or those in these folders, given as for the backup; can be given several
        times. Default: all, at the paths that are their keys.
    source
        Only snapshots of this source, as for latest; with --level 3 its newest is the default.
    quiet
        Say only what is wrong.
    """
    if level == _SOURCES and (subset or quarantine):
        raise CycloptsError(msg="--subset and --quarantine are for levels up to 2")
    if level != _SOURCES and disk:
        raise CycloptsError(msg="--disk is for --level 3")
    if level == 0 and subset:
        raise CycloptsError(msg="--subset is for levels 1 and 2: level 0 reads no data")

    async def command(repository: Repository) -> int:
        if level == _SOURCES:
            wanted = [await repository.find(text, source=source) for text in snapshots or ("latest",)]
            return await verify_sources(repository, wanted, disk, place, quiet=quiet)
        found = await _wanted(repository, snapshots, source)
        began = time.perf_counter()
        with check_reporter(0, json=place.json, quiet=quiet) as reporter:
            report = await repository.verify(
                level, subset=subset or (1, 1), snapshots=found, quarantine=quarantine, progress=reporter.checked
            )
        _tell(report, time.perf_counter() - began, json=place.json, quiet=quiet)
        return _exit.FAILED if report.findings else _exit.DONE

    return run_with_repository(command, place, read_only=not quarantine)


async def _wanted(repository: Repository, texts: Sequence[str], source: str | None) -> list[Snapshot] | None:
    """Return the snapshots to check, None for all, and for what belongs to none."""
    if texts:
        return [await repository.find(text, source=source) for text in texts]
    return await repository.snapshots(source) if source is not None else None


def _tell(report: VerifyReport, seconds: float, *, json: bool, quiet: bool) -> None:
    """Tell what was found."""
    if json:
        for finding in report.findings:
            emit("finding", object=finding.name, reason=finding.reason, hits=_hits(finding))
        emit(
            "summary",
            level=report.level,
            snapshots=report.snapshots,
            objects=report.objects,
            bytes=report.bytes,
            findings=len(report.findings),
            damaged_snapshots=list(report.damaged_snapshots),
            quarantined=report.quarantined,
            seconds=round(seconds, 3),
        )
        return
    for finding in report.findings:
        _tell_finding(finding)
    if report.findings or not quiet:
        for line in _closing(report, seconds):
            tell(line)


def _hits(finding: Finding) -> list[dict[str, object]]:
    return [
        {
            "snapshot": hit.snapshot,
            "disk": hit.disk,
            "offset": hit.block.offset if hit.block else None,
            "length": hit.block.length if hit.block else None,
        }
        for hit in finding.hits
    ]


def _tell_finding(finding: Finding) -> None:
    tell(f"damaged: {finding.name}: {finding.reason}")
    for hit in finding.hits[:_SHOWN]:
        if hit.block is None:
            tell(f"  snapshot {hit.snapshot}: all of it")
        else:
            tell(f"  snapshot {hit.snapshot}: {hit.block.length} bytes from {hit.block.offset} on of disk {hit.disk}")
    if len(finding.hits) > _SHOWN:
        tell(f"  and {len(finding.hits) - _SHOWN} more (--json names all)")
    if not finding.hits:
        tell("  no snapshot uses it")


def _closing(report: VerifyReport, seconds: float) -> list[str]:
    """Return the last lines: what was looked at, the result, and what to do."""
    read = f", {count_of(report.objects, 'object')} with {format_size(report.bytes)} read" if report.level else ""
    looked = f"{count_of(report.snapshots, 'snapshot')}{read} in {format_seconds(seconds)}"
    if not report.findings:
        return [f"no damage found at level {report.level}: {looked}"]
    objects = count_of(len(report.findings), "object")
    damaged = report.damaged_snapshots
    hit = f"they hit {count_of(len(damaged), 'snapshot')}: {', '.join(damaged)}" if damaged else "no snapshot is hit"
    lines = [f"DAMAGE found, {objects}; {hit} ({looked})"]
    manifests = [finding.name for finding in report.findings if finding.name.startswith("snapshots/")]
    if manifests:
        lines.append("snapshots that cannot be read are lost; asyncvddk forget --damaged ID removes them")
    if report.quarantined:
        lines.append(f"{count_of(report.quarantined, 'object')} put aside: back up again, to heal what the disks have")
    elif len(manifests) < len(report.findings):
        lines.append("verify --quarantine puts them aside; a backup after that heals what the disks still have")
    return lines
