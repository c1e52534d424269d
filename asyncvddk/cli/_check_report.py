"""How far a check or a comparison is: JSON events for programs, lines for logs, nothing for the quiet."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple, Protocol, Self

from asyncvddk.cli._output import emit, say
from asyncvddk.cli._report import JSON_EVERY_S, LINE_EVERY_S
from asyncvddk.cli._text import format_size

if TYPE_CHECKING:
    from asyncvddk.backup import CompareProgress
    from asyncvddk.repository import VerifyProgress


class ComparedDisk(NamedTuple):
    """A disk under comparison, as it is called."""

    key: str
    snapshot: str | None = None
    """Id of the one that has it; None for a file."""


class CheckReporter(Protocol):
    """Tells how far it is; results are not its business."""

    def __enter__(self) -> Self:
        """Begin."""
        ...

    def __exit__(self, *_: object) -> None:
        """End, also after an error."""
        ...

    def checked(self, progress: VerifyProgress) -> None:
        """Tell how far the check of a repository is."""
        ...

    def began(self, disk: ComparedDisk, size: int) -> None:
        """Tell that the comparison of a disk begins."""
        ...

    def compared(self, disk: ComparedDisk, progress: CompareProgress) -> None:
        """Tell how far it is."""
        ...

    def ended(self, disk: ComparedDisk) -> None:
        """Tell that it is over, in whatever way."""
        ...


class QuietCheck:
    """Says nothing."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """End."""

    def checked(self, progress: VerifyProgress) -> None:
        """Say nothing."""

    def began(self, disk: ComparedDisk, size: int) -> None:
        """Say nothing."""

    def compared(self, disk: ComparedDisk, progress: CompareProgress) -> None:
        """Say nothing."""

    def ended(self, disk: ComparedDisk) -> None:
        """Say nothing."""


class _Rare(QuietCheck):
    """Does not tell of every step."""

    def __init__(self, every_s: float, *, at_once: bool = False) -> None:
        self._every_s = every_s
        self._told = 0.0 if at_once else time.monotonic()

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._told < self._every_s:
            return False
        self._told = now
        return True


class CheckLines(_Rare):
    """A line every five seconds, on stderr."""

    def __init__(self) -> None:
        """Begin."""
        super().__init__(LINE_EVERY_S)

    def checked(self, progress: VerifyProgress) -> None:
        """Say how many objects were read."""
        if self._is_time():
            of = "" if progress.total is None else f" of {progress.total}"
            say(f"{progress.objects}{of} objects checked, {format_size(progress.bytes)}")

    def compared(self, disk: ComparedDisk, progress: CompareProgress) -> None:
        """Say which part of the disk was compared."""
        if self._is_time():
            say(f"{disk.key}: {progress.bytes_done / progress.size:.0%} compared")


class CheckJson(_Rare):
    """A JSON object at most five times a second, on stdout; the first step is always told."""

    def __init__(self) -> None:
        """Begin."""
        super().__init__(JSON_EVERY_S, at_once=True)

    def checked(self, progress: VerifyProgress) -> None:
        """Write ``progress``."""
        if self._is_time():
            emit("progress", objects=progress.objects, total=progress.total, bytes=progress.bytes)

    def compared(self, disk: ComparedDisk, progress: CompareProgress) -> None:
        """Write ``progress``."""
        if self._is_time():
            facts = {"size": progress.size, "done": progress.bytes_done, "read": progress.bytes_read}
            emit("progress", **disk._asdict(), **facts)
