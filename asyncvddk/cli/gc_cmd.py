"""``asyncvddk gc``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from asyncvddk.cli import _exit
from asyncvddk.cli._options import Flag, duration_parameter
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, run_with_repository
from asyncvddk.cli._text import count_of, format_seconds, format_size

if TYPE_CHECKING:
    from asyncvddk.repository import GcReport, Repository

GRACE_S = 24 * 3600.0
TRASH_S = 7 * 24 * 3600.0


def gc(
    *,
    dry_run: Annotated[bool, Flag] = False,
    grace: Annotated[float, duration_parameter(show_default=False)] = GRACE_S,
    trash: Annotated[float, duration_parameter(show_default=False)] = TRASH_S,
    place: Place = PLACE,
) -> int:
    """Free what no snapshot uses any more; backups may run meanwhile.

    It takes two runs: one plans, a later one deletes what is still unused. Run it every day, or after each forget.

    Exit status: 11 if another collection is at work.

    Parameters
    ----------
    dry_run
        Say what would be done now, and change nothing.
    grace
        Time between the run that plans and the one that deletes (default: 24h).
    trash
        Time for which forgotten snapshots can be brought back (default: 7d).
    """

    async def command(repository: Repository) -> int:
        await collect(repository, place, grace_s=grace, trash_s=trash, dry_run=dry_run)
        return _exit.DONE

    return run_with_repository(command, place, read_only=dry_run)


async def collect(
    repository: Repository, place: Place, *, grace_s: float = GRACE_S, trash_s: float = TRASH_S, dry_run: bool = False
) -> None:
    """Make one run, and tell of it."""
    report = await repository.gc(grace_s=grace_s, trash_s=trash_s, dry_run=dry_run)
    if place.json:
        emit(
            "gc",
            dry_run=dry_run,
            swept=report.swept,
            freed=report.freed,
            planned=report.planned,
            planned_bytes=report.planned_bytes,
            waiting_s=round(report.waiting_s),
            postponed=list(report.postponed),
            expired_sessions=report.expired_sessions,
            purged_snapshots=report.purged_snapshots,
        )
        return
    lines = _lines(report, grace_s, dry_run=dry_run)
    if not lines:
        trash = len(await repository.trash())
        kept = f" yet: {count_of(trash, 'forgotten snapshot')} can still be brought back" if trash else ""
        lines = [f"nothing to free{kept}"]
    for line in lines:
        tell(line)


def _lines(report: GcReport, grace_s: float, *, dry_run: bool) -> list[str]:
    """Return what was done, or would be, a line each; none for nothing."""
    lines = []
    if report.purged_snapshots:
        lines.append(
            f"{'to purge' if dry_run else 'purged'}: {count_of(report.purged_snapshots, 'forgotten snapshot')}"
        )
    if report.expired_sessions:
        silent = f"{count_of(report.expired_sessions, 'backup')} that gave no sign of life"
        lines.append(f"{'to end' if dry_run else 'ended'}: {silent}")
    if report.swept:
        swept = f"{format_size(report.freed)} in {count_of(report.swept, 'object')}"
        lines.append(f"{'to free' if dry_run else 'freed'}: {swept}")
    if report.planned:
        word = "waiting" if report.waiting_s else "to plan" if dry_run else "planned"
        planned = f"{format_size(report.planned_bytes)} in {count_of(report.planned, 'object')}"
        wait = report.waiting_s or grace_s
        when = f"a gc in {_time(wait)} or later" if wait else "the next gc"
        lines.append(f"{word}: {planned}, which {when} deletes unless they are used again")
    if report.postponed:
        waits_for = f"{count_of(len(report.postponed), 'running backup')} ({', '.join(report.postponed)})"
        lines.append(f"postponed: nothing is deleted before {waits_for} told what they keep; run gc again later")
    return lines


def _time(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:.0f} h" if hours >= 1 else format_seconds(seconds)
