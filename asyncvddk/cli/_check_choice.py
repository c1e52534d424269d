"""Who tells how far a check or a comparison is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from asyncvddk.cli._check_report import CheckJson, CheckLines, QuietCheck

if TYPE_CHECKING:
    from asyncvddk.cli._check_report import CheckReporter


def check_reporter(disks: int, *, json: bool, quiet: bool) -> CheckReporter:
    """Return who tells how far it is; ``disks``: those to compare, 0 for a check of the repository."""
    if json:
        return CheckJson()
    if quiet:
        return QuietCheck()
    if not sys.stderr.isatty():
        return CheckLines()
    from asyncvddk.cli._check_bars import CheckBar, CompareBars  # noqa: PLC0415  (rich takes time to load)

    return CompareBars(disks) if disks else CheckBar()
