"""Level 3 of ``asyncvddk verify``: disks of snapshots against their sources as they are now."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from asyncvddk.cli import _exit
from asyncvddk.cli._check_choice import check_reporter
from asyncvddk.cli._check_report import ComparedDisk
from asyncvddk.cli._comparing import Comparison, compare_disks, only_disk
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._run import EXPECTED
from asyncvddk.cli._text import count_of, describe, format_seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.backup import BackupDisk
    from asyncvddk.cli._check_report import CheckReporter
    from asyncvddk.cli._repository import Place
    from asyncvddk.disks._library import Vddk
    from asyncvddk.repository import DiskEntry, Repository, Snapshot


@dataclass(frozen=True)
class _Pair:
    """A disk of a snapshot, and what to compare it with."""

    snapshot: Snapshot
    entry: DiskEntry
    disk: BackupDisk | None
    """None: whatever is at the path that is its key."""


async def verify_sources(
    repository: Repository, snapshots: Sequence[Snapshot], paths: Sequence[str], place: Place, *, quiet: bool
) -> int:
    """Compare, tell, and return the exit status; a disk that cannot be read does not stop the others."""
    from asyncvddk.disks._library import Vddk  # noqa: PLC0415  (only where it is needed)

    began = time.perf_counter()
    async with Vddk(libdir=place.libdir, config=place.config) as vddk:
        pairs = [pair for snapshot in snapshots for pair in _pairs(vddk, snapshot, paths)]
        with check_reporter(len(pairs), json=place.json, quiet=quiet) as reporter:
            results = [(pair, await _result(vddk, repository, pair, reporter)) for pair in pairs]
    wrong = sum(isinstance(result, Exception) or not result.equal for _, result in results)
    for pair, result in results:
        if place.json:
            _emit(pair, result)
        elif not quiet or isinstance(result, Exception) or not result.equal:
            tell(_text(pair, result))
    _close(len(pairs), wrong, time.perf_counter() - began, json=place.json, quiet=quiet)
    return _exit.FAILED if wrong else _exit.DONE


def _pairs(vddk: Vddk, snapshot: Snapshot, paths: Sequence[str]) -> list[_Pair]:
    """Return what to compare. Raises ValueError for a disk that the snapshot does not have."""
    from asyncvddk.backup import find_disks  # noqa: PLC0415  (numpy and others take their time to load)

    if not paths:
        return [_Pair(snapshot, entry, None) for entry in snapshot.disks]
    entries = {entry.key: entry for entry in snapshot.disks}
    disks = find_disks(vddk, paths)
    if missing := [disk.key for disk in disks if disk.key not in entries]:
        raise ValueError(
            f"snapshot {snapshot.id} has no disk {missing[0]!r}, but {', '.join(entries)}; "
            "asyncvddk compare takes a disk at another path"
        )
    return [_Pair(snapshot, entries[disk.key], disk) for disk in disks]


async def _result(vddk: Vddk, repository: Repository, pair: _Pair, reporter: CheckReporter) -> Comparison | Exception:
    key = pair.entry.key
    subject = ComparedDisk(key, pair.snapshot.id)
    try:
        disk = pair.disk or only_disk(vddk, key)
        async with disk.opened() as now, await repository.open_disk(pair.snapshot, key) as stored:
            return await compare_disks(stored, now, subject, reporter)
    except EXPECTED as error:
        return error
    finally:
        reporter.ended(subject)


def _text(pair: _Pair, result: Comparison | Exception) -> str:
    text = f"not compared, {describe(result)}" if isinstance(result, Exception) else result.text()
    return f"snapshot {pair.snapshot.id}, {pair.entry.key}: {text}"


def _emit(pair: _Pair, result: Comparison | Exception) -> None:
    names = {"snapshot": pair.snapshot.id, "key": pair.entry.key}
    if isinstance(result, Exception):
        emit("error", **names, type=type(result).__name__, message=describe(result))
    else:
        emit("compared", **names, **result.facts())


def _close(disks: int, wrong: int, seconds: float, *, json: bool, quiet: bool) -> None:
    if json:
        emit("summary", level=3, disks=disks, different=wrong, seconds=round(seconds, 3))
    elif wrong:
        tell(f"{wrong} of {count_of(disks, 'disk')} not as backed up: changed since then, or not readable")
    elif not quiet:
        tell(f"all as backed up: {count_of(disks, 'disk')}, every byte compared in {format_seconds(seconds)}")
