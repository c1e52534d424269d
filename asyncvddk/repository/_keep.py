"""Which snapshots to keep. Pure."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from asyncvddk.repository.format._manifests import Snapshot

_PERIODS: Final[dict[str, Callable[[datetime], object]]] = {
    "hourly": lambda when: (when.date(), when.hour, when.utcoffset()),
    "daily": lambda when: when.date(),
    "weekly": lambda when: when.isocalendar()[:2],
    "monthly": lambda when: (when.year, when.month),
    "yearly": lambda when: when.year,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRules:
    """What ``plan_forget`` keeps of each source; a snapshot stays if any rule wants it.

    ``daily=7`` keeps the last snapshot of each of the last seven days on which there is one.
    """

    last: int = 0
    """The newest ones."""
    hourly: int = 0
    daily: int = 0
    weekly: int = 0
    """Weeks as ISO 8601 counts them: from Monday."""
    monthly: int = 0
    yearly: int = 0
    tags: tuple[str, ...] = ()
    """All that have one of these tags."""

    def __post_init__(self) -> None:
        """Refuse rules that keep nothing, and negative numbers."""
        counts = {name: getattr(self, name) for name in ("last", *_PERIODS)}
        if wrong := {name: count for name, count in counts.items() if count < 0}:
            raise ValueError(f"{wrong}: expected 0 or more")
        if not any(counts.values()) and not self.tags:
            raise ValueError("these rules keep nothing: name at least one, as last=1, or forget snapshots by their ids")


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of a snapshot, and why."""

    snapshot: Snapshot
    reasons: tuple[str, ...]
    """Rules that want it, as ``daily``; empty: it goes."""

    @property
    def keep(self) -> bool:
        """True if it stays."""
        return bool(self.reasons)


def plan_forget(snapshots: Iterable[Snapshot], rules: KeepRules, *, zone: tzinfo = UTC) -> list[Decision]:
    """Decide about snapshots of any sources, each source by itself; newest first. ``zone`` says when a day ends.

    A partial snapshot fills no place of a rule: it stays while it is newer than the newest complete one of its source
    (or if a tag wants it), so that a bad night never pushes out a good backup.
    """
    sources: defaultdict[str, list[Snapshot]] = defaultdict(list)
    for snapshot in snapshots:
        sources[snapshot.source].append(snapshot)
    found = [decision for group in sources.values() for decision in _decide(group, rules, zone)]
    return sorted(found, key=lambda decision: decision.snapshot.time, reverse=True)


def _decide(group: Sequence[Snapshot], rules: KeepRules, zone: tzinfo) -> list[Decision]:
    """Decide about the snapshots of one source."""
    newest_first = sorted(group, key=lambda snapshot: snapshot.time, reverse=True)
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    complete = [snapshot for snapshot in newest_first if not snapshot.partial]
    for snapshot in complete[: rules.last]:
        reasons[snapshot.id].append("last")
    for name, period_of in _PERIODS.items():
        for snapshot in _one_each(complete, getattr(rules, name), period_of, zone):
            reasons[snapshot.id].append(name)
    for snapshot in newest_first:
        if not snapshot.partial:
            break
        reasons[snapshot.id].append("newest, partial")
    for snapshot in newest_first:
        if set(snapshot.tags) & set(rules.tags):
            reasons[snapshot.id].append("tag")
    return [Decision(snapshot, tuple(reasons[snapshot.id])) for snapshot in newest_first]


def _one_each(
    newest_first: Sequence[Snapshot], count: int, period_of: Callable[[datetime], object], zone: tzinfo
) -> list[Snapshot]:
    """Return the newest snapshot of each of the last ``count`` periods that have one."""
    periods: dict[object, Snapshot] = {}
    for snapshot in newest_first:
        periods.setdefault(period_of(datetime.fromtimestamp(snapshot.time, zone)), snapshot)
    return list(periods.values())[:count]
