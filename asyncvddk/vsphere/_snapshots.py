"""Snapshots of machines: made, found again, removed; each known to the journal before it exists."""

from __future__ import annotations

import asyncio
import platform
import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import structlog

from asyncvddk.vsphere._calls import IN_PROGRESS
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere._properties import properties
from asyncvddk.vsphere._reading import snapshots_of
from asyncvddk.vsphere._vim import Managed, moref, vim, vmodl
from asyncvddk.vsphere.errors import FaultError, NotPossibleError, ObjectGoneError, ServerConnectionError, VSphereError

if TYPE_CHECKING:
    from asyncvddk.vsphere._journal import Journal
    from asyncvddk.vsphere._machines import MachineSnapshot, VirtualMachine
    from asyncvddk.vsphere._session import VSphere

Quiesce: TypeAlias = Literal["try", "always", "never"]
Level: TypeAlias = Literal["application", "file-system", "crash", "off"]
"""How consistent a snapshot is: with the applications' part (VSS), with flushed file systems, as after a power cut, or
of a machine that is off."""

PREFIX: Final = "asyncvddk-"
_NOT_QUIESCED: Final = "the server made a snapshot that is not quiesced, as where VMware Tools do not run"
_RUNNING: Final = frozenset({"queued", "running"})

_logger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Frozen:
    """A snapshot that we made."""

    moref: str
    name: str
    level: Level
    reason: str | None
    """Why the level is lower than what was asked for."""
    entry: int
    """Number in the journal."""


async def create(vsphere: VSphere, journal: Journal, machine: VirtualMachine, quiesce: Quiesce) -> Frozen:
    """Make a snapshot of a machine, without its memory.

    ``try``: quiesced; if that fails, as after a power cut. A machine that is off or suspended is not quiesced. Servers
    make one that is not quiesced, and say nothing, where VMware Tools do not run: with ``always`` it is removed again.

    Raises NotPossibleError (that), FaultError and others of ``VSphere.task``, JournalError; then, and when cancelled,
    no snapshot is left, or the journal has it.
    """
    if quiesce == "never" or not machine.running:
        return await _create(vsphere, journal, machine, quiesced=False, reason=None)
    try:
        made = await _create(vsphere, journal, machine, quiesced=True, reason=None)
    except (ObjectGoneError, ServerConnectionError):
        raise
    except FaultError as error:
        if quiesce == "always" or error.fault in IN_PROGRESS:
            raise
        _logger.warning("not_quiesced", machine=machine.name, reason=str(error), effect="as after a power cut")
        return await _create(vsphere, journal, machine, quiesced=False, reason=str(error))
    if made.level != "crash":
        return made
    if quiesce == "always":
        await to_its_end(discard(vsphere, journal, made.entry))
        raise NotPossibleError(f"{machine.name}: {_NOT_QUIESCED}")
    _logger.warning("not_quiesced", machine=machine.name, reason=_NOT_QUIESCED, effect="as after a power cut")
    return replace(made, reason=_NOT_QUIESCED)


async def _create(
    vsphere: VSphere, journal: Journal, machine: VirtualMachine, *, quiesced: bool, reason: str | None
) -> Frozen:
    name = f"{PREFIX}{secrets.token_hex(16)}"
    entry = await journal.begin("snapshot", vm=machine.moref, machine=machine.name, name=name)
    vm = vsphere.managed(vim.VirtualMachine, machine.moref)
    about = f"Made by asyncvddk on {platform.node()} for a backup. If no backup runs there: asyncvddk cleanup."

    def start() -> Managed:
        return vm.CreateSnapshot_Task(name=name, description=about, memory=False, quiesce=quiesced)

    what = f"snapshot of {machine.name}"
    try:
        made = await vsphere.task(
            start,
            what=what,
            began=lambda task: journal.know(entry, task=task),
            ended=lambda result: journal.know(entry, moref=moref(result)),
        )
        shown = await vsphere.call(lambda: _find(vsphere, machine.moref, name), what=what)
    except BaseException:
        await to_its_end(discard(vsphere, journal, entry))
        raise
    return Frozen(moref(made), name, _level(machine, shown), reason, entry)


def _level(machine: VirtualMachine, shown: MachineSnapshot | None) -> Level:
    if not machine.running:
        return "off"
    if shown is None or not shown.quiesced:
        return "crash"
    return "application" if shown.manifest else "file-system"


def _find(vsphere: VSphere, vm: str, name: str) -> MachineSnapshot | None:
    """Return the snapshot of that name, which is one that nobody else can have given. Blocking."""
    shown = properties(vsphere.content, vsphere.managed(vim.VirtualMachine, vm), ["snapshot"])
    return next((one for one in snapshots_of(shown.get("snapshot")) if one.name == name), None)


async def discard(vsphere: VSphere, journal: Journal, entry: int) -> bool:
    """Remove the snapshot of a journal's entry, wherever its making has got to; tell whether it is gone.

    What cannot be done is logged, and stays in the journal.
    """
    facts = next((one.facts for one in journal.left if one.number == entry), None)
    if facts is None:
        return True
    try:
        await remove(vsphere, journal, entry, facts)
    except VSphereError as error:
        _logger.warning("snapshot_left", machine=facts.get("machine"), snapshot=facts.get("name"), reason=str(error))
        return False
    return True


async def remove(vsphere: VSphere, journal: Journal, entry: int, facts: dict[str, str]) -> bool:
    """Remove the snapshot of an entry; tell whether there was one. It must have the name that the journal has, too.

    Raises FaultError and others of ``VSphere.task``, JournalError.
    """
    vm, name = facts["vm"], facts["name"]
    try:
        if "moref" not in facts:
            await _settle(vsphere, vm, facts.get("task"))
        found = await vsphere.call(lambda: _find(vsphere, vm, name), what=f"look for the snapshot {name}")
        if found is not None:
            if "moref" not in facts:
                await journal.know(entry, moref=found.moref)
            await _remove(vsphere, found.moref, facts)
    except ObjectGoneError:  # the machine
        found = None
    await journal.end(entry)
    return found is not None


async def _remove(vsphere: VSphere, snapshot: str, facts: dict[str, str]) -> None:
    thing = vsphere.managed(vim.vm.Snapshot, snapshot)
    what = f"remove the snapshot {facts['name']} of {facts.get('machine', facts['vm'])}"
    delays = vsphere.retry.delays()
    while True:
        try:
            await vsphere.task(lambda: thing.RemoveSnapshot_Task(removeChildren=False, consolidate=True), what=what)
        except ObjectGoneError:
            return
        except ServerConnectionError as error:  # a second time does no harm
            delay = next(delays, None)
            if delay is None:
                raise
            _logger.warning("vsphere_retried", call=what, delay_s=round(delay, 3), reason=str(error))
            await asyncio.sleep(delay)
        else:
            return


async def _settle(vsphere: VSphere, vm: str, task: str | None) -> None:
    """Wait for the making of snapshots that is under way on a machine: one of them may be ours."""

    def under_way() -> list[str]:
        content = vsphere.content
        lists = (
            properties(content, vsphere.managed(vim.VirtualMachine, vm), ["recentTask"]),
            properties(content, content.taskManager, ["recentTask"]),  # the machine's own list may be cut short
        )
        tasks = {moref(one) for found in lists for one in found.get("recentTask") or ()}
        return [one for one in sorted(tasks) if _makes_snapshot(vsphere.managed(vim.Task, one), vm)]

    waiting = [task] if task is not None else await vsphere.call(under_way, what=f"look at the tasks of {vm}")
    for one in waiting:
        try:
            await vsphere.outcome(one, what=f"a snapshot of {vm}")
        except (FaultError, ObjectGoneError):
            continue  # it failed, or is long over: what there is will be seen


def _makes_snapshot(task: Managed, vm: str) -> bool:
    """Tell whether a task makes a snapshot of a machine, now. Blocking."""
    try:
        info = task.info
    except vmodl.fault.ManagedObjectNotFound:  # it is long over
        return False
    if info.state not in _RUNNING or info.entity is None or moref(info.entity) != vm:
        return False
    return "createsnapshot" in str(info.descriptionId or info.name or "").casefold()
