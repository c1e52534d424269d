"""Progress bars on a terminal, one per running disk, one for all; and what a copy shows with them."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from asyncvddk.cli._report import failure, figures, total
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from rich.progress import Task, TaskID

    from asyncvddk.copy import CopyJob, CopyOutcome, CopyProgress

_REFRESH_PER_S: Final = 8


class _BytesColumn(ProgressColumn):
    """Bytes done and size; holes count as done."""

    def render(self, task: Task) -> Text:
        """Return ``1.5 GiB/10 GiB``."""
        return Text(f"{format_size(task.completed)}/{format_size(task.total or 0)}", style="progress.download")


class _RateColumn(ProgressColumn):
    """Bytes read per second, since the disk's start."""

    def render(self, task: Task) -> Text:
        """Return ``1.1 GiB/s``."""
        elapsed = task.finished_time or task.elapsed or 0
        rate = task.fields.get("bytes_read", 0) / elapsed if elapsed else 0
        return Text(f"{format_size(rate)}/s", style="progress.data.speed")


class Bars:
    """A bar per running disk and, of several, one for all; what is said stays above them."""

    def __init__(self, disks: int, *columns: ProgressColumn) -> None:
        """Prepare for ``disks`` disks; what they add up to is known when all have begun. ``columns``: more of them."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20 if columns else 40),
            TaskProgressColumn(),
            _BytesColumn(),
            *columns,
            _RateColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
        )
        self._tasks: dict[Hashable, TaskID] = {}
        self._done: dict[Hashable, Counter[str]] = {}
        self._told: dict[Hashable, float] = {}
        self._size = 0
        self._waiting = disks
        self._total = self._progress.add_task("total", total=None) if disks > 1 else None

    def __enter__(self) -> Self:
        """Show the bars."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._progress.stop()

    def begin(self, disk: Hashable, name: str, size: int) -> None:
        """Show a bar for a disk."""
        self._tasks[disk] = self._progress.add_task(escape(name), total=size)
        self._size += size
        self._waiting -= 1
        if self._total is not None and self._waiting == 0:
            self._progress.update(self._total, total=self._size)

    def move(self, disk: Hashable, done: int, **figures: int) -> None:
        """Move the bars, not more often than they are drawn; ``figures`` is what columns show, as ``bytes_read``."""
        now = time.monotonic()
        self._done[disk] = Counter(completed=done, **figures)
        if now - self._told.get(disk, 0.0) < 1 / _REFRESH_PER_S:
            return
        self._told[disk] = now
        self._update(self._tasks[disk], self._done[disk])
        if self._total is not None:
            total: Counter[str] = Counter()
            for one in self._done.values():
                total.update(one)
            self._update(self._total, total)

    def end(self, disk: Hashable, done: int | None = None, **figures: int) -> None:
        """Take a disk's bar away; ``done`` and ``figures`` are its last ones, unless it failed."""
        if (task := self._tasks.pop(disk, None)) is not None:
            self._progress.remove_task(task)
        else:
            self._waiting -= 1
        if done is not None:
            self._done[disk] = Counter(completed=done, **figures)

    def say(self, text: str, style: str = "") -> None:
        """Write a line above the bars."""
        self._progress.console.print(Text(text, style=style), soft_wrap=True)

    def _update(self, task: TaskID, state: Counter[str]) -> None:
        figures: dict[str, Any] = dict(state)
        self._progress.update(task, **figures)


class BarReporter:
    """A bar per running disk (name, bytes, rate of reading, time left) and one for all; results stay."""

    def __init__(self, jobs: Sequence[CopyJob]) -> None:
        """Prepare for ``jobs``."""
        self._bars = Bars(len(jobs))

    def __enter__(self) -> Self:
        """Show the bars."""
        self._bars.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._bars.__exit__()

    def started(self, job: CopyJob, size: int) -> None:
        """Show a bar for the disk."""
        self._bars.begin(job, job.source.name, size)

    def progressed(self, job: CopyJob, progress: CopyProgress) -> None:
        """Move the bars."""
        self._bars.move(job, progress.bytes_done, bytes_read=progress.bytes_read)

    def ended(self, outcome: CopyOutcome) -> None:
        """Replace the bar by a line."""
        job = outcome.job
        if outcome.result is not None:
            self._bars.end(job, outcome.result.size, bytes_read=outcome.result.bytes_read)
            self._bars.say(f"{job.source} -> {job.destination}: {figures(outcome.result)}")
        elif outcome.error is not None:
            self._bars.end(job)
            self._bars.say(f"asyncvddk: {failure(job, outcome.error)}", style="red")

    def summary(self, outcomes: Sequence[CopyOutcome], seconds: float) -> None:
        """Say what was done in all, when there were several disks."""
        if len(outcomes) > 1:
            self._bars.say(total(outcomes, seconds))
