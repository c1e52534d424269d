"""Keep rules against tables made by hand, and properties that hold for all of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncvddk.repository import KeepRules, Snapshot, plan_forget


def snapshot(when: str, *, source: str = "vm", tags: tuple[str, ...] = (), partial: bool = False) -> Snapshot:
    """Return a snapshot of a moment in UTC."""
    time = datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()
    return Snapshot(
        id=f"{source} {when}", source=source, time=time, finished=time, disks=(), tags=tags, partial=partial
    )


def kept(snapshots: list[Snapshot], rules: KeepRules, **options: timezone) -> list[str]:
    """Return when those that are kept were made, the oldest first."""
    decisions = plan_forget(snapshots, rules, **options)
    return [decision.snapshot.id.partition(" ")[2] for decision in reversed(decisions) if decision.keep]


DAYS = [
    "2025-12-31 23:00",
    "2026-01-01 01:00",
    "2026-01-05 08:00",  # a Monday
    "2026-01-11 22:00",  # the Sunday of that week
    "2026-01-12 03:00",
    "2026-01-12 03:40",
    "2026-01-12 17:00",
    "2026-02-01 00:30",
]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (KeepRules(last=2), DAYS[-2:]),
        (KeepRules(last=100), DAYS),
        (KeepRules(hourly=3), [DAYS[5], DAYS[6], DAYS[7]]),
        (KeepRules(daily=3), [DAYS[3], DAYS[6], DAYS[7]]),
        (KeepRules(weekly=3), [DAYS[3], DAYS[6], DAYS[7]]),
        (KeepRules(weekly=4), [DAYS[1], DAYS[3], DAYS[6], DAYS[7]]),  # 1 January lies in a week of its own year
        (KeepRules(monthly=2), [DAYS[6], DAYS[7]]),
        (KeepRules(yearly=5), [DAYS[0], DAYS[7]]),
        (KeepRules(last=1, yearly=2), [DAYS[0], DAYS[7]]),
    ],
)
def test_each_rule_keeps_the_newest_of_its_periods(rules: KeepRules, expected: list[str]) -> None:
    """As many periods as the rule says, counted from the newest that has a snapshot."""
    snapshots = [snapshot(when) for when in DAYS]
    assert kept(snapshots, rules) == expected
    assert kept(snapshots[::-1], rules) == expected


def test_days_end_where_the_user_lives() -> None:
    """What is one day in UTC may be two elsewhere."""
    snapshots = [snapshot("2026-01-01 22:00"), snapshot("2026-01-01 23:30")]
    assert kept(snapshots, KeepRules(daily=2)) == ["2026-01-01 23:30"]
    assert len(kept(snapshots, KeepRules(daily=2), zone=timezone(timedelta(hours=1)))) == 2


def test_sources_are_decided_by_themselves() -> None:
    """The newest of each machine stays, however old."""
    snapshots = [snapshot(when, source=source) for source in ("a", "b") for when in DAYS[:3]]
    assert kept(snapshots, KeepRules(last=1)) == [DAYS[2]] * 2


def test_tags_keep_and_reasons_say_why() -> None:
    """One reason is enough; all are told."""
    snapshots = [snapshot(DAYS[0], tags=("gold", "x")), snapshot(DAYS[1], tags=("y",)), snapshot(DAYS[2])]
    decisions = plan_forget(snapshots, KeepRules(last=1, yearly=1, tags=("gold",)))
    assert [decision.reasons for decision in decisions] == [("last", "yearly"), (), ("tag",)]


def test_partial_snapshots_push_no_complete_one_out() -> None:
    """They stay while nothing better is newer, and fill no rule."""
    snapshots = [
        snapshot(DAYS[0], partial=True),
        snapshot(DAYS[1]),
        snapshot(DAYS[2], partial=True),
        snapshot(DAYS[3], partial=True),
    ]
    assert kept(snapshots, KeepRules(last=1)) == [DAYS[1], DAYS[2], DAYS[3]]


@pytest.mark.parametrize("rules", [{}, {"last": 0}, {"daily": -1, "last": 1}])
def test_rules_that_keep_nothing_are_refused(rules: dict[str, int]) -> None:
    """A slip must not forget everything."""
    with pytest.raises(ValueError, match=r"expected 0 or more|keep nothing"):
        KeepRules(**rules)  # type: ignore[arg-type]


moments = st.lists(st.datetimes(datetime(2024, 1, 1), datetime(2027, 1, 1)), min_size=1, max_size=40, unique=True)  # noqa: DTZ001


@given(moments, st.sampled_from(["last", "hourly", "daily", "weekly", "monthly", "yearly"]), st.integers(1, 10))
def test_rules_keep_as_many_as_they_say_and_the_newest_always(times: list[datetime], rule: str, count: int) -> None:
    """Never more than the count, never less than there is, and a larger count keeps a superset."""
    snapshots = [snapshot(when.isoformat()) for when in times]
    found = kept(snapshots, KeepRules(**{rule: count}))  # type: ignore[arg-type]
    more = kept(snapshots, KeepRules(**{rule: count + 1}))  # type: ignore[arg-type]
    assert max(times).isoformat() in found
    assert 1 <= len(found) <= min(count, len(times))
    assert set(found) <= set(more)
    assert kept([one for one in snapshots if one.id.partition(" ")[2] in found], KeepRules(**{rule: count})) == found  # type: ignore[arg-type]
