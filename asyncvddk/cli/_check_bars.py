"""Progress bars of a check, and of comparisons, on a terminal; they leave nothing there."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Final, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.text import Text

from asyncvddk.cli._bars import Bars
from asyncvddk.cli._check_report import QuietCheck
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from rich.progress import Task

    from asyncvddk.backup import CompareProgress
    from asyncvddk.cli._check_report import ComparedDisk
    from asyncvddk.repository import VerifyProgress

_REFRESH_PER_S: Final = 8


class _ObjectsColumn(ProgressColumn):
    """Objects checked, their bytes, and how fast that goes."""

    def render(self, task: Task) -> Text:
        """Return ``120/1000, 57 MiB, 410 MiB/s``."""
        of = "" if task.total is None else f"/{task.total:.0f}"
        size = task.fields.get("size", 0)
        rate = format_size(size / task.elapsed) if task.elapsed else "0 B"
        return Text(f"{task.completed:.0f}{of}, {format_size(size)}, {rate}/s")


class CheckBar(QuietCheck):
    """One bar for all objects."""

    def __init__(self) -> None:
        """Prepare; how many objects there are turns out."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            _ObjectsColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
            redirect_stdout=False,
        )
        self._task = self._progress.add_task("indexes", total=None)

    def __enter__(self) -> Self:
        """Show the bar."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bar away."""
        self._progress.stop()

    def checked(self, progress: VerifyProgress) -> None:
        """Move the bar."""
        what = "indexes" if progress.total is None else "objects"
        self._progress.update(
            self._task, description=what, completed=progress.objects, total=progress.total, size=progress.bytes
        )


class CompareBars(QuietCheck):
    """A bar per disk under way and, of several, one for all."""

    def __init__(self, disks: int) -> None:
        """Prepare for so many disks."""
        self._bars = Bars(disks)

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._bars.__exit__()

    def began(self, disk: ComparedDisk, size: int) -> None:
        """Show a bar for the disk."""
        self._bars.begin(disk, PurePath(disk.key).name, size)

    def compared(self, disk: ComparedDisk, progress: CompareProgress) -> None:
        """Move the bars."""
        self._bars.move(disk, progress.bytes_done, bytes_read=progress.bytes_read)

    def ended(self, disk: ComparedDisk) -> None:
        """Take the disk's bar away."""
        self._bars.end(disk)
