"""What a copy tells while it runs: JSON events for programs, lines for logs, nothing for the quiet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

from asyncvddk.cli._output import emit, say
from asyncvddk.cli._text import describe, format_seconds, format_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.copy import CopyJob, CopyOutcome, CopyProgress, CopyResult

JSON_EVERY_S: Final = 0.2
LINE_EVERY_S: Final = 5.0
LINE_EVERY_PART: Final = 0.1


class Reporter(Protocol):
    """A ``CopyObserver`` with a beginning and an end."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *_: object) -> None:
        """End, also after an error."""
        ...

    def started(self, job: CopyJob, size: int) -> None:
        """Tell that a disk's copy begins."""
        ...

    def progressed(self, job: CopyJob, progress: CopyProgress) -> None:
        """Tell how far it is."""
        ...

    def ended(self, outcome: CopyOutcome) -> None:
        """Tell how it ended; errors always go to stderr."""
        ...

    def summary(self, outcomes: Sequence[CopyOutcome], seconds: float) -> None:
        """Tell what was done in all."""
        ...


class QuietReporter:
    """Errors only."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def started(self, job: CopyJob, size: int) -> None:
        """Say nothing."""

    def progressed(self, job: CopyJob, progress: CopyProgress) -> None:
        """Say nothing."""

    def ended(self, outcome: CopyOutcome) -> None:
        """Say what failed."""
        if outcome.error is not None:
            say(f"asyncvddk: {failure(outcome.job, outcome.error)}")

    def summary(self, outcomes: Sequence[CopyOutcome], seconds: float) -> None:
        """Say nothing."""


class LineReporter(QuietReporter):
    """A line for each beginning and end, and about ten between, on stderr."""

    def __init__(self) -> None:
        """Begin with no disk known."""
        self._told: dict[CopyJob, tuple[float, float]] = {}

    def started(self, job: CopyJob, size: int) -> None:
        """Say what goes where."""
        self._told[job] = (time.monotonic(), 0.0)
        say(f"{job.source} -> {job.destination}: {format_size(size)}")

    def progressed(self, job: CopyJob, progress: CopyProgress) -> None:
        """Say how far it is after every tenth, but not more often than every five seconds."""
        told_at, told = self._told[job]
        part = progress.bytes_done / progress.size
        if part - told >= LINE_EVERY_PART and time.monotonic() - told_at >= LINE_EVERY_S:
            self._told[job] = (time.monotonic(), part)
            say(f"{job.source}: {part:.0%}, {format_size(progress.bytes_read)} read")

    def ended(self, outcome: CopyOutcome) -> None:
        """Say how it ended."""
        super().ended(outcome)
        if outcome.result is not None:
            say(f"{outcome.job.source}: done, {figures(outcome.result)}")

    def summary(self, outcomes: Sequence[CopyOutcome], seconds: float) -> None:
        """Say what was done in all, when there were several disks."""
        if len(outcomes) > 1:
            say(total(outcomes, seconds))


class JsonReporter(QuietReporter):
    """One JSON object per line on stdout: start, progress, done, error, summary. Sizes are bytes."""

    def __init__(self) -> None:
        """Begin with no disk known."""
        self._told: dict[CopyJob, float] = {}

    def started(self, job: CopyJob, size: int) -> None:
        """Write ``start``."""
        emit("start", **_names(job), size=size)

    def progressed(self, job: CopyJob, progress: CopyProgress) -> None:
        """Write ``progress``, at most five times a second and disk; the first chunk is always told."""
        now = time.monotonic()
        if now - self._told.get(job, 0.0) < JSON_EVERY_S:
            return
        self._told[job] = now
        emit(
            "progress",
            **_names(job),
            size=progress.size,
            done=progress.bytes_done,
            read=progress.bytes_read,
            written=progress.bytes_written,
            skipped=progress.bytes_skipped,
        )

    def ended(self, outcome: CopyOutcome) -> None:
        """Write ``done`` or ``error``."""
        super().ended(outcome)
        if outcome.error is not None:
            kind, message = type(outcome.error).__name__, failure(outcome.job, outcome.error)
            emit("error", **_names(outcome.job), type=kind, message=message)
        if outcome.result is not None:
            emit("done", **_names(outcome.job), **_figures(outcome.result))

    def summary(self, outcomes: Sequence[CopyOutcome], seconds: float) -> None:
        """Write ``summary``."""
        results = [outcome.result for outcome in outcomes if outcome.result is not None]
        emit(
            "summary",
            disks=len(outcomes),
            copied=len(results),
            failed=len(outcomes) - len(results),
            read=sum(result.bytes_read for result in results),
            written=sum(result.bytes_written for result in results),
            skipped=sum(result.bytes_skipped for result in results),
            seconds=round(seconds, 3),
        )


def failure(job: CopyJob, error: Exception) -> str:
    """Return a line that names the source, and whatever file is to blame."""
    text = describe(error)
    return text if str(job.source) in text else f"{job.source}: {text}"


def figures(result: CopyResult) -> str:
    """Return the figures of one copy."""
    rate = format_size(result.bytes_read / max(result.seconds, 1e-6))
    return (
        f"{format_size(result.size)} in {format_seconds(result.seconds)}: "
        f"{format_size(result.bytes_read)} read ({rate}/s), {format_size(result.bytes_written)} written"
    )


def total(outcomes: Sequence[CopyOutcome], seconds: float) -> str:
    """Return the figures of all copies together."""
    results = [outcome.result for outcome in outcomes if outcome.result is not None]
    read = sum(result.bytes_read for result in results)
    written = sum(result.bytes_written for result in results)
    failed = f", {len(outcomes) - len(results)} failed" if len(results) < len(outcomes) else ""
    return (
        f"{len(results)} of {len(outcomes)} disks copied{failed} in {format_seconds(seconds)}: "
        f"{format_size(read)} read, {format_size(written)} written"
    )


def _names(job: CopyJob) -> dict[str, str]:
    return {"source": str(job.source), "destination": str(job.destination)}


def _figures(result: CopyResult) -> dict[str, Any]:
    return {
        "size": result.size,
        "read": result.bytes_read,
        "written": result.bytes_written,
        "skipped": result.bytes_skipped,
        "seconds": round(result.seconds, 3),
    }
