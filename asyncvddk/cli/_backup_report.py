"""What a backup tells while it runs: JSON events for programs, lines for logs, nothing for the quiet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol, Self

from asyncvddk.cli._output import emit, say
from asyncvddk.cli._report import JSON_EVERY_S, LINE_EVERY_PART, LINE_EVERY_S
from asyncvddk.cli._text import describe, format_seconds, format_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from asyncvddk.backup import BackupDisk, BackupProgress
    from asyncvddk.repository import DiskEntry, DiskStats, Snapshot


class BackupReporter(Protocol):
    """A ``BackupObserver`` with a beginning and an end."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *_: object) -> None:
        """End, also after an error."""
        ...

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Tell that a disk's backup begins."""
        ...

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Tell how far it is."""
        ...

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Tell how it ended; errors always go to stderr."""
        ...

    def summary(self, snapshot: Snapshot | None, seconds: float) -> None:
        """Tell what was done in all; without a snapshot no disk could be read."""
        ...


class QuietBackup:
    """Errors only."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Say nothing."""

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Say nothing."""

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Say what failed."""
        if isinstance(result, Exception):
            say(f"asyncvddk: {failure(disk, result)}")

    def summary(self, snapshot: Snapshot | None, seconds: float) -> None:
        """Say nothing."""


class BackupLines(QuietBackup):
    """A line for each beginning and end, and about ten between, on stderr."""

    def __init__(self) -> None:
        """Begin with no disk known."""
        self._told: dict[str, tuple[float, float]] = {}
        self._began: dict[str, float] = {}

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Say what is read, and how."""
        self._began[disk.key] = now = time.monotonic()
        self._told[disk.key] = (now, progress.bytes_done / progress.size)
        say(f"{disk.key}: {format_size(progress.size)}, {progress.mode}")

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Say how far it is after every tenth, but not more often than every five seconds."""
        told_at, told = self._told[disk.key]
        part = progress.bytes_done / progress.size
        if part - told >= LINE_EVERY_PART and time.monotonic() - told_at >= LINE_EVERY_S:
            self._told[disk.key] = (time.monotonic(), part)
            say(f"{disk.key}: {part:.0%}, {amounts([progress.stats])}")

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Say how it ended."""
        super().ended(disk, result)
        if not isinstance(result, Exception):
            seconds = time.monotonic() - self._began[disk.key]
            say(f"{disk.key}: done, {figures(result, seconds)}")

    def summary(self, snapshot: Snapshot | None, seconds: float) -> None:
        """Say what was done in all."""
        if snapshot is not None:
            say(total(snapshot, seconds))


class BackupJson(QuietBackup):
    """One JSON object per line on stdout: start, progress, done, error, summary. Sizes are bytes."""

    def __init__(self) -> None:
        """Begin with no disk known."""
        self._told: dict[str, float] = {}

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Write ``start``."""
        emit("start", **_names(disk), size=progress.size, mode=progress.mode)

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Write ``progress``, at most five times a second and disk; the first piece is always told."""
        now = time.monotonic()
        if now - self._told.get(disk.key, 0.0) < JSON_EVERY_S:
            return
        self._told[disk.key] = now
        done, mode = progress.bytes_done, progress.mode
        emit("progress", **_names(disk), size=progress.size, done=done, mode=mode, **_amounts([progress.stats]))

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Write ``done`` or ``error``."""
        super().ended(disk, result)
        if isinstance(result, Exception):
            emit("error", **_names(disk), type=type(result).__name__, message=failure(disk, result))
        else:
            facts = {"size": result.capacity, "mode": result.mode, "mistrusted": result.mistrusted}
            emit("done", **_names(disk), **facts, **_amounts([result.stats]))

    def summary(self, snapshot: Snapshot | None, seconds: float) -> None:
        """Write ``summary``; ``snapshot`` is null when no disk could be read."""
        disks = () if snapshot is None else snapshot.disks
        emit(
            "summary",
            snapshot=None if snapshot is None else snapshot.id,
            source=None if snapshot is None else snapshot.source,
            parent=None if snapshot is None else snapshot.parent,
            partial=snapshot is None or snapshot.partial,
            disks=len(disks),
            failed=None if snapshot is None else len(snapshot.failed),
            **_amounts([disk.stats for disk in disks]),
            seconds=round(seconds, 3),
        )


def changed(stats: DiskStats) -> int:
    """Return how many of the bytes read are data that the parent does not have there."""
    return stats.known + stats.new


def failure(disk: BackupDisk, error: Exception) -> str:
    """Return a line that names the disk, and whatever file is to blame."""
    text = describe(error)
    return text if disk.key in text else f"{disk.key}: {text}"


def amounts(stats: Iterable[DiskStats]) -> str:
    """Return what was read, changed and stored of some disks together."""
    found = _amounts(stats)
    return ", ".join(f"{format_size(found[name])} {name}" for name in ("read", "changed", "stored"))


def figures(disk: DiskEntry, seconds: float) -> str:
    """Return the figures of one disk."""
    rate = format_size(disk.stats.read / max(seconds, 1e-6))
    mistrusted = "; its changed-block information was wrong and is not used" if disk.mistrusted else ""
    size = f"{format_size(disk.capacity)} in {format_seconds(seconds)}"
    resumed = f"; {format_size(disk.stats.resumed)} had been read before" if disk.stats.resumed else ""
    return f"{size}: {amounts([disk.stats])} ({rate}/s){resumed}{mistrusted}"


def total(snapshot: Snapshot, seconds: float) -> str:
    """Return the snapshot's id, and the figures of all its disks together."""
    disks = snapshot.disks
    count = len(disks) + len(snapshot.failed)
    saved = f"{count} disk{'' if count == 1 else 's'}"
    if snapshot.failed:
        saved = f"partial, {len(disks)} of {saved}, {len(snapshot.failed)} failed"
    took = f"in {format_seconds(seconds)}: {amounts(disk.stats for disk in disks)}"
    return f"snapshot {snapshot.id} of {snapshot.source}: {saved} {took}"


def _names(disk: BackupDisk) -> dict[str, str]:
    return {"key": disk.key, "name": disk.name}


def _amounts(stats: Iterable[DiskStats]) -> dict[str, int]:
    """Return sums, under the names of the JSON output."""
    every = list(stats)
    return {
        "read": sum(one.read for one in every),
        "changed": sum(map(changed, every)),
        "new": sum(one.new for one in every),
        "stored": sum(one.stored for one in every),
        "resumed": sum(one.resumed for one in every),
    }
