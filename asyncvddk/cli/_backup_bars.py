"""Progress bars of a backup on a terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from rich.progress import ProgressColumn
from rich.text import Text

from asyncvddk.cli._backup_report import changed, failure, figures, total
from asyncvddk.cli._bars import Bars
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from rich.progress import Task

    from asyncvddk.backup import BackupDisk, BackupProgress
    from asyncvddk.repository import DiskEntry, DiskStats, Snapshot

_AMOUNTS: Final = {"bytes_read": "read", "changed": "changed", "stored": "stored"}


class _AmountsColumn(ProgressColumn):
    """What was read, changed and stored so far."""

    def render(self, task: Task) -> Text:
        """Return ``1.5 GiB read, 20 MiB changed, 9 MiB stored``."""
        return Text(", ".join(f"{format_size(task.fields.get(key, 0))} {word}" for key, word in _AMOUNTS.items()))


class BackupBars:
    """A bar per running disk (bytes; read, changed, stored; rate, time left) and one for all; results stay."""

    def __init__(self, disks: int) -> None:
        """Prepare for so many disks."""
        self._bars = Bars(disks, _AmountsColumn())
        self._began: dict[str, float] = {}

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._bars.__exit__()

    def started(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Show a bar for the disk."""
        self._began[disk.key] = time.monotonic()
        self._bars.begin(disk.key, disk.name, progress.size)

    def progressed(self, disk: BackupDisk, progress: BackupProgress) -> None:
        """Move the bars."""
        self._bars.move(disk.key, progress.bytes_done, **_fields(progress.stats))

    def ended(self, disk: BackupDisk, result: DiskEntry | Exception) -> None:
        """Replace the bar by a line."""
        if isinstance(result, Exception):
            self._bars.end(disk.key)
            self._bars.say(f"asyncvddk: {failure(disk, result)}", style="red")
            return
        self._bars.end(disk.key, result.capacity, **_fields(result.stats))
        self._bars.say(f"{disk.key}: {figures(result, time.monotonic() - self._began[disk.key])}")

    def summary(self, snapshot: Snapshot | None, seconds: float) -> None:
        """Say what was done in all."""
        if snapshot is not None:
            self._bars.say(total(snapshot, seconds))


def _fields(stats: DiskStats) -> dict[str, int]:
    return {"bytes_read": stats.read, "changed": changed(stats), "stored": stats.stored}
