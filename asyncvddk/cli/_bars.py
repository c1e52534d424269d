"""Progress bars of a copy on a terminal: one per running disk, one for all."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

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
    from collections.abc import Sequence

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


class BarReporter:
    """A bar per running disk (name, bytes, rate of reading, time left) and one for all; results stay."""

    def __init__(self, jobs: Sequence[CopyJob]) -> None:
        """Prepare for ``jobs``; what they add up to is known when all have started."""
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            _BytesColumn(),
            _RateColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            refresh_per_second=_REFRESH_PER_S,
            transient=True,
        )
        self._tasks: dict[CopyJob, TaskID] = {}
        self._done: dict[CopyJob, tuple[int, int]] = {}
        self._told: dict[CopyJob, float] = {}
        self._size = 0
        self._waiting = len(jobs)
        self._total = self._progress.add_task("total", total=None) if len(jobs) > 1 else None

    def __enter__(self) -> Self:
        """Show the bars."""
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take the bars away."""
        self._progress.stop()

    def started(self, job: CopyJob, size: int) -> None:
        """Show a bar for the disk."""
        self._tasks[job] = self._progress.add_task(escape(job.source.name), total=size)
        self._size += size
        self._waiting -= 1
        if self._total is not None and self._waiting == 0:
            self._progress.update(self._total, total=self._size)

    def progressed(self, job: CopyJob, progress: CopyProgress) -> None:
        """Move the bars, not more often than they are drawn."""
        now = time.monotonic()
        self._done[job] = (progress.bytes_done, progress.bytes_read)
        if now - self._told.get(job, 0.0) < 1 / _REFRESH_PER_S:
            return
        self._told[job] = now
        self._move(self._tasks[job], *self._done[job])
        if self._total is not None:
            done, read = (sum(column) for column in zip(*self._done.values(), strict=True))
            self._move(self._total, done, read)

    def ended(self, outcome: CopyOutcome) -> None:
        """Replace the bar by a line."""
        job = outcome.job
        if (task := self._tasks.pop(job, None)) is not None:
            self._progress.remove_task(task)
        else:
            self._waiting -= 1
        if outcome.result is not None:
            self._done[job] = (outcome.result.size, outcome.result.bytes_read)
            self._say(f"{job.source} -> {job.destination}: {figures(outcome.result)}")
        elif outcome.error is not None:
            self._say(f"asyncvddk: {failure(job, outcome.error)}", style="red")

    def summary(self, outcomes: Sequence[CopyOutcome], seconds: float) -> None:
        """Say what was done in all, when there were several disks."""
        if len(outcomes) > 1:
            self._say(total(outcomes, seconds))

    def _move(self, task: TaskID, done: int, read: int) -> None:
        self._progress.update(task, completed=done, bytes_read=read)

    def _say(self, text: str, style: str = "") -> None:
        self._progress.console.print(Text(text, style=style), soft_wrap=True)
