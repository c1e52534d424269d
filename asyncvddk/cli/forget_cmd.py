"""``asyncvddk forget``."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import CycloptsError, Parameter

from asyncvddk.cli import _exit
from asyncvddk.cli._config_file import KEEP_COUNTS
from asyncvddk.cli._options import Flag
from asyncvddk.cli._output import emit, tell
from asyncvddk.cli._repository import PLACE, Place, errors_as_json, table, when
from asyncvddk.cli._run import run_command
from asyncvddk.cli._snapshot_disks import source_of
from asyncvddk.cli._text import count_of
from asyncvddk.cli.gc_cmd import collect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from asyncvddk.repository import Decision, Repository, Snapshot

_Number = Annotated[int, Parameter(show_default=False, metavar="N")]


@Parameter(name="*")
@dataclass(frozen=True)
class Keep:
    """Which snapshots of each source stay: those that any rule wants."""

    keep_last: _Number = 0
    """The newest N."""
    keep_hourly: _Number = 0
    """The last one of each of N hours."""
    keep_daily: _Number = 0
    """The last one of each of N days (UTC)."""
    keep_weekly: _Number = 0
    """The last one of each of N weeks."""
    keep_monthly: _Number = 0
    """The last one of each of N months."""
    keep_yearly: _Number = 0
    """The last one of each of N years."""
    keep_tag: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = ()
    """All with this tag; can be given several times."""

    def rules(self) -> dict[str, Any]:
        """Return the rules that are given. Raises a CycloptsError for a number that keeps nothing."""
        found = {name: getattr(self, f"keep_{name}") for name in KEEP_COUNTS}
        for name, count in found.items():
            if count < 0:
                raise CycloptsError(msg=f"--keep-{name} takes a number from 0 on")
        return {name: value for name, value in (found | {"tags": self.keep_tag}).items() if value}


_KEEP = Keep()


def forget(  # noqa: PLR0913  (the options of a command)
    *snapshots: Annotated[str, Parameter(name="SNAPSHOT", help="Beginnings of ids; without rules.")],
    keep: Keep = _KEEP,
    source: Annotated[str | None, Parameter(show_default=False)] = None,
    job: Annotated[str | None, Parameter(show_default=False)] = None,
    dry_run: Annotated[bool, Flag] = False,
    undelete: Annotated[tuple[str, ...], Parameter(negative="", show_default=False)] = (),
    damaged: Annotated[bool, Flag] = False,
    gc: Annotated[bool, Parameter(alias="--prune", negative="", show_default=False)] = False,
    place: Place = PLACE,
) -> int:
    """Forget snapshots: those given, or those that no rule wants to keep.

    For seven days --undelete brings them back; gc frees their space after that. Rules that would leave nothing of a
    source are refused. A partial snapshot takes no place of a rule: it stays while it is the newest of its source.

    Parameters
    ----------
    source
        Only snapshots of this source.
    job
        Job of the configuration file, for repository, source and rules; --keep-... take the place of its rules.
    dry_run
        Show what would be kept and forgotten, and change nothing.
    undelete
        Bring a forgotten snapshot back; can be given several times.
    damaged
        For snapshots whose own object cannot be read (see verify): remove them for good.
    gc
        Collect afterwards, as asyncvddk gc does.
    """
    rules = keep.rules()
    others = [word for word, given in (("--dry-run", dry_run), ("--damaged", damaged)) if given]
    _check_use(snapshots, undelete, others, ruled=bool(rules or job))

    async def command() -> int:
        with errors_as_json(place):
            wanted, where, of = (rules, place, source) if job is None else _of_job(job, rules, place, source)
            async with where.opened(read_only=dry_run) as repository:
                if undelete:
                    await _undelete(repository, undelete, json=place.json)
                elif damaged:
                    await _remove(repository, snapshots, json=place.json)
                elif snapshots:
                    await _forget_given(repository, snapshots, of, dry_run=dry_run, json=place.json)
                else:
                    await _forget_by_rules(repository, wanted, of, dry_run=dry_run, json=place.json)
                if gc:
                    await collect(repository, where, dry_run=dry_run)
        return _exit.DONE

    return run_command(command, place, logs=True)


def _of_job(
    job: str, rules: dict[str, Any], place: Place, source: str | None
) -> tuple[dict[str, Any], Place, str | None]:
    """Take from a job what is not given. Raises CycloptsError, ValueError, OSError."""
    found, place = place.for_job(job)
    rules = rules or {name: value for name, value in found.keep.items() if value}
    if not rules:
        raise CycloptsError(msg=f"job {job} says not what to keep: write a keep table for it, or give --keep-...")
    return rules, place, source or found.source or (source_of(found.disks) if found.disks else None)


def _check_use(snapshots: Sequence[str], undelete: Sequence[str], others: list[str], *, ruled: bool) -> None:
    """Raise a CycloptsError unless it is clear what to do."""
    if undelete and (snapshots or ruled or others):
        raise CycloptsError(msg="--undelete goes alone")
    if snapshots and ruled:
        raise CycloptsError(msg="give snapshots or rules (--keep-..., --job), not both")
    if "--damaged" in others and (not snapshots or "--dry-run" in others):
        raise CycloptsError(msg="--damaged takes the ids of snapshots, and knows no --dry-run")
    if not (snapshots or ruled or undelete):
        raise CycloptsError(msg="which snapshots? give some, or rules what to keep, as --keep-daily 7")


async def _undelete(repository: Repository, identifiers: Sequence[str], *, json: bool) -> None:
    for identifier in identifiers:
        snapshot = await repository.undelete(identifier)
        if json:
            emit("undeleted", **_facts(snapshot))
        else:
            tell(f"brought back: {_line(snapshot)}")


async def _remove(repository: Repository, identifiers: Sequence[str], *, json: bool) -> None:
    for identifier in identifiers:
        await repository.forget_damaged(identifier)
        if json:
            emit("removed", id=identifier)
        else:
            tell(f"removed for good: snapshot {identifier}")


async def _forget_given(
    repository: Repository, texts: Sequence[str], source: str | None, *, dry_run: bool, json: bool
) -> None:
    found = [await repository.find(text, source=source) for text in texts]
    snapshots = list({snapshot.id: snapshot for snapshot in found}.values())
    if not dry_run:
        await repository.forget(snapshots)
    for snapshot in snapshots:
        if json:
            emit("snapshot", **_facts(snapshot), keep=False, reasons=[])
        else:
            tell(f"{'would be forgotten' if dry_run else 'forgotten'}: {_line(snapshot)}")
    _summary(len(snapshots), None, dry_run=dry_run, json=json)


async def _forget_by_rules(
    repository: Repository, rules: dict[str, Any], source: str | None, *, dry_run: bool, json: bool
) -> None:
    from asyncvddk.repository import KeepRules, plan_forget  # noqa: PLC0415  (numpy and others take their time to load)

    decisions = plan_forget(await repository.snapshots(source), KeepRules(**rules))
    _refuse_to_empty(decisions)
    doomed = [decision.snapshot for decision in decisions if not decision.keep]
    if not dry_run:
        await repository.forget(doomed)
    if json:
        for decision in decisions:
            emit("snapshot", **_facts(decision.snapshot), keep=decision.keep, reasons=list(decision.reasons))
    elif decisions:
        word = "to forget" if dry_run else "forgotten"
        table(("SNAPSHOT", "TIME", "SOURCE", "TAGS", "STATE"), [_row(decision, word) for decision in decisions])
    _summary(len(doomed), len(decisions) - len(doomed), dry_run=dry_run, json=json)


def _refuse_to_empty(decisions: Sequence[Decision]) -> None:
    """Raise ValueError if nothing of a source would be left: no rule is meant so."""
    kept = Counter({decision.snapshot.source: 0 for decision in decisions})
    kept.update(decision.snapshot.source for decision in decisions if decision.keep)
    if emptied := sorted(source for source, count in kept.items() if not count):
        raise ValueError(
            f"these rules keep no snapshot of {', '.join(emptied)}, so nothing was forgotten: add --keep-last 1, "
            "or give the ids of what should go"
        )


def _summary(forgotten: int, kept: int | None, *, dry_run: bool, json: bool) -> None:
    if json:
        emit("summary", forgotten=forgotten, kept=kept, dry_run=dry_run)
        return
    others = f", {kept} kept" if kept is not None else ""
    way_back = "" if dry_run or not forgotten else "; for 7 days asyncvddk forget --undelete ID brings one back"
    tell(f"{count_of(forgotten, 'snapshot')} {'would be forgotten' if dry_run else 'forgotten'}{others}{way_back}")


def _facts(snapshot: Snapshot) -> dict[str, object]:
    return {
        "id": snapshot.id,
        "source": snapshot.source,
        "time": when(snapshot.time),
        "partial": snapshot.partial,
        "tags": list(snapshot.tags),
    }


def _line(snapshot: Snapshot) -> str:
    return f"snapshot {snapshot.id} of {snapshot.source}, {when(snapshot.time)}"


def _row(decision: Decision, word: str) -> tuple[str, ...]:
    snapshot = decision.snapshot
    state = f"kept: {', '.join(decision.reasons)}" if decision.keep else word
    return (snapshot.id, when(snapshot.time), snapshot.source, ",".join(snapshot.tags), state)
