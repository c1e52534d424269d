"""Backups of machines at the bench: what comes back is what the guest had, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
import random
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from structlog.testing import capture_logs

from asyncvddk import Secret, Vddk
from asyncvddk.backup import BackupOptions
from asyncvddk.repository import Repository, StoreFullError
from asyncvddk.testing import Fail
from asyncvddk.vsphere import (
    Budget,
    BudgetLimits,
    FaultError,
    MachineConfiguration,
    MachineResult,
    NotPossibleError,
    Obstacle,
    Selection,
    back_up_machines,
    cleanup,
    machines,
)
from asyncvddk.vsphere._journal import Record, journals
from asyncvddk.vsphere._vim import vim
from tests.fix_vsphere import MIB, PASSWORD, USER, Machine
from tests.vsphere.backups import CHUNK, Backups
from tests.vsphere.conftest import session_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from asyncvddk.backup import BackupObserver
    from asyncvddk.vsphere import VirtualMachine
    from tests.fix_vsphere import Bench


async def test_full_and_incremental(backups: Backups) -> None:
    """The first one reads what is allocated, the next one what changed; both come back as the guest had them."""
    await backups.write("web", 70_000, b"first")
    before = backups.guest("web")
    _, first = await backups.make()
    assert (first.machine.name, first.outcome, first.level) == ("web", "done", "file-system")
    assert first.changes[2000].reason == "no earlier backup of this disk"
    await backups.write("web", 3 * MIB, b"second")
    (second,) = await backups.make("web")
    assert second.snapshot
    assert (second.changes[2000].reason, second.changes[2000].size) == (None, 65536)
    assert second.changes[2000].blocks is None, "results of many machines must not hold all ranges"
    entry = second.snapshot.disk("2000")
    assert (entry.mode, entry.stats.new, entry.mistrusted) == ("changed", CHUNK, False)
    assert await backups.stored(first.snapshot) == before
    for key in (2000, 2001):
        assert await backups.stored(second.snapshot, key) == backups.guest("web", key)
    backups.assert_nothing_left()


async def test_the_configuration_is_stored(backups: Backups) -> None:
    """Hardware, disks, networks, the files that can be read, and what is missing with the reason."""
    folder = backups.bench.folders["ds1"] / "web"
    (folder / "web.nvram").write_bytes(b"\0variables")
    (result,) = await backups.make("web")
    found = await backups.configuration(result.snapshot)
    assert (found.name, found.level, found.nvram) == ("web", "file-system", b"\0variables")
    assert 'displayName = "web"\n' in str(found.vmx)
    assert [(disk["key"], disk["path"], disk["stored"]) for disk in found.disks] == [
        (2000, "[ds1] web/web.vmdk", True),
        (2001, "[ds1] web/web_1.vmdk", True),
    ]
    assert [one["name"] for one in found.controllers] == ["scsi0"]
    assert found.hardware["processors"] >= 1
    assert len(found.networks) == 1
    assert "changeTrackingEnabled" in found.data["config_xml"]
    (folder / "web.nvram").unlink()
    (later,) = await backups.make("web")
    without = await backups.configuration(later.snapshot)
    assert without.nvram is None
    assert "nvram" in without.data["missing"]
    assert result.snapshot
    assert result.snapshot.tags == ("vm=web", "level=file-system")
    assert result.snapshot.source == result.machine.source
    for wrong in (b"", b"[]", b'{"format": 2}'):
        with pytest.raises(ValueError, match="no configuration"):
            MachineConfiguration.read(wrong)


async def test_what_cannot_be_backed_up_is_told(backups: Backups) -> None:
    """A disk with its reason, in the result and in the configuration; a machine, before anything is done to it."""
    bench = backups.bench
    bench.set_mode(bench.machines["web"], "independent_persistent", key=2001)
    bench.set_mode(bench.machines["db"], "persistent", sharing="sharingMultiWriter")
    bench.forget_calls()
    db, web = await backups.make()
    assert [(one.disk.key, one.reason) for one in web.skipped] == [(2001, Obstacle.INDEPENDENT.value)]
    assert (web.outcome, [disk.key for disk in (web.snapshot.disks if web.snapshot else ())]) == ("done", ["2000"])
    found = await backups.configuration(web.snapshot)
    assert [(disk["stored"], disk["reason"]) for disk in found.disks] == [
        (True, None),
        (False, Obstacle.INDEPENDENT.value),
    ]
    assert isinstance(db.error, NotPossibleError)
    assert "shared by several machines" in str(db.error)
    assert {call.object for call in bench.calls("CreateSnapshot_Task")} == {web.machine.moref}
    (partly,) = await backups.make("web", selection=Selection.parse(["all"], exclude_disks=["2000"]))
    assert "none of its disks" in str(partly.error)
    backups.assert_nothing_left()


async def test_a_long_chain_of_snapshots_is_read_whole(backups: Backups) -> None:
    """What was written after the snapshots of others is in the backup, too; theirs stay."""
    vm = backups.vsphere.managed(vim.VirtualMachine, backups.bench.machines["web"])
    for number in range(4):
        await backups.write("web", number * 300_000, bytes([number + 1]) * 200_000)
        await backups.vsphere.task(
            lambda: vm.CreateSnapshot_Task(name="theirs", description="", memory=False, quiesce=False), what="theirs"
        )
    theirs = backups.bench.snapshots()
    for offset in (0, 3 * MIB):
        await backups.write("web", offset, b"new" * 1000)
        (result,) = await backups.make("web")
        assert await backups.stored(result.snapshot) == backups.guest("web")
    assert backups.bench.snapshots() == theirs


async def test_a_machine_that_fails_stops_no_other(backups: Backups) -> None:
    """Its error is in its result."""
    backups.bench.faults(fail_snapshot=-1)
    (failed,) = await backups.make("web")
    assert isinstance(failed.error, FaultError)
    assert failed.outcome == "failed"
    backups.bench.faults()
    (done,) = await backups.make("db")
    assert (done.outcome, done.level) == ("done", "off")
    backups.assert_nothing_left()
    with pytest.raises(ValueError, match="twice"):
        await back_up_machines(
            backups.vsphere, backups.vddk, backups.repository, [done.machine, done.machine], journal=backups.folder
        )


@pytest.mark.parametrize(
    ("privilege", "outcome"),
    [
        ("VirtualMachine.State.CreateSnapshot", "failed"),
        ("VirtualMachine.State.RemoveSnapshot", "partial"),
        ("VirtualMachine.Config.ChangeTracking", "done"),
        ("VirtualMachine.Provisioning.DiskRandomRead", "done"),
    ],
)
async def test_a_privilege_that_is_missing_is_named(backups: Backups, privilege: str, outcome: str) -> None:
    """Without some of them there is a backup all the same."""
    if "ChangeTracking" not in privilege:
        await backups.make("web")
    backups.bench.faults(deny=[privilege])
    with capture_logs() as logs:
        (result,) = await backups.make("web")
    assert result.outcome == outcome
    assert privilege in f"{result.error} {logs} {result.changes}"
    if result.snapshot:
        assert await backups.stored(result.snapshot) == backups.guest("web")
    backups.bench.faults()
    await cleanup(backups.vsphere, backups.vddk, journal=backups.folder)
    backups.assert_nothing_left()


async def test_tracking_is_switched_on_when_asked(backups: Backups) -> None:
    """Not with foreign snapshots; then, and when nobody asks, all is read each time."""
    (result,) = await backups.make("web", enable_tracking=False)
    assert backups.bench.calls("ReconfigVM_Task") == []
    assert result.snapshot
    assert result.snapshot.disk("2000").change_id is None
    vm = backups.vsphere.managed(vim.VirtualMachine, result.machine.moref)
    theirs = await backups.vsphere.task(
        lambda: vm.CreateSnapshot_Task(name="theirs", description="", memory=False, quiesce=False), what="theirs"
    )
    await backups.make("web")
    assert backups.bench.calls("ReconfigVM_Task") == []
    assert backups.bench.snapshots() == [theirs._moId]
    await backups.vsphere.task(lambda: theirs.RemoveSnapshot_Task(removeChildren=False), what="remove")
    (third,) = await backups.make("web")
    assert len(backups.bench.calls("ReconfigVM_Task")) == 1
    assert third.snapshot
    assert third.snapshot.disk("2000").change_id
    assert third.changes[2000].reason == "the last backup has no change id: changes were not tracked then"
    (fourth,) = await backups.make("web")
    assert fourth.changes[2000].reason is None


async def test_tracking_that_begins_late_costs_no_second_full_backup(backups: Backups) -> None:
    """The first snapshot has no change ids: it is removed, and the one that is backed up has them."""
    backups.bench.faults(late_tracking=True)
    (first,) = await backups.make("web")
    assert len(backups.bench.calls("CreateSnapshot_Task")) == 2
    assert first.snapshot
    assert first.snapshot.disk("2000").change_id
    (second,) = await backups.make("web")
    assert second.changes[2000].reason is None
    assert len(backups.bench.calls("CreateSnapshot_Task")) == 3
    backups.assert_nothing_left()


async def test_a_server_that_lies_about_changes_is_found_out(backups: Backups) -> None:
    """It leaves an area out: of a small disk all that should be unchanged is read, so none of its lies is believed."""
    await backups.make("web")
    await backups.write("web", 100, b"one", key=2001)
    await backups.write("web", MIB - 1000, b"two", key=2001)
    backups.bench.faults(query="lie")
    (result,) = await backups.make("web")
    assert result.snapshot
    entry = result.snapshot.disk("2001")
    assert (entry.mode, entry.mistrusted) == ("allocated", True)
    assert await backups.stored(result.snapshot, 2001) == backups.guest("web", 2001)
    backups.assert_nothing_left()


@pytest.mark.parametrize("trouble", ["reset", "grown", "fault", "lie", "all", "window", "allocated", "reverted"])
async def test_changes_that_cannot_be_known_lead_to_reading_all(backups: Backups, trouble: str) -> None:
    """And the backup is right, with the reason told."""
    web = backups.bench.machines["web"]
    await backups.make("web")
    for number in range(4):
        await backups.write("web", number * MIB + 5, bytes([number + 1]) * 300_000)
    expected = ""
    options: dict[str, Any] = {}
    match trouble:
        case "reset":
            backups.bench.reset_tracking(web)
            expected = "begun anew"
        case "grown":
            backups.bench.grow(web, 6 * MIB)
            expected = "size changed"
        case "fault":
            backups.bench.faults(query="fault")
            expected = "cannot tell"
        case "allocated":
            options = {"backup": BackupOptions(mode="allocated")}
            expected = "mode allocated"
        case "window":
            backups.bench.faults(window=200_000, gaps=True)
        case "reverted":
            (entry,) = await backups.make("web")
            backups.bench.reset_tracking(web)
            assert entry.snapshot
            expected = "begun anew"
        case _:
            backups.bench.faults(query=trouble)
    (result,) = await backups.make("web", **options)
    assert expected in str(result.changes[2000].reason)
    if trouble != "lie":  # that one only the guard finds, by chance
        assert await backups.stored(result.snapshot) == backups.guest("web")
    backups.assert_nothing_left()


async def test_every_generation_is_right_whatever_goes_wrong(backups: Backups) -> None:
    """Random writes and random troubles: a backup equals the guest's bytes, or fails with a reason."""
    chance = random.Random(11)
    web, made = backups.bench.machines["web"], 0
    for _ in range(14):
        for key, size in ((2000, 4 * MIB), (2001, MIB)):
            for _ in range(chance.randrange(3)):
                start = chance.randrange(size)
                data = chance.randbytes(min(chance.randrange(1, 200_000), size - start))
                await backups.write("web", start, data if chance.random() < 0.7 else bytes(len(data)), key=key)
        troubles: dict[str, Any] = chance.choice(
            [{}, {}, {"fail_snapshot": 1}, {"fail_quiesce": 1}, {"task_in_progress": 2}, {"query": "fault"}]
        )
        backups.bench.faults(**troubles, window=chance.choice([0, 65536, 300_000]), gaps=chance.random() < 0.5)
        if chance.random() < 0.2:
            backups.bench.expire_sessions()
        if chance.random() < 0.1:
            backups.bench.reset_tracking(web)
        (result,) = await backups.make("web", quiesce=chance.choice(["try", "always", "never"]))
        backups.assert_nothing_left()
        if result.snapshot is None:
            assert str(result.error)
            continue
        made += 1
        for key in (2000, 2001):
            assert await backups.stored(result.snapshot, key) == backups.guest("web", key)
    assert made > 7


class Watcher:
    """Does something at a step of a machine."""

    def __init__(self, step: str, act: Callable[[], object]) -> None:
        """Take both."""
        self.steps: list[str] = []
        self._step, self._act = step, act

    def step(self, machine: VirtualMachine, step: str) -> None:
        """Do it."""
        del machine
        self.steps.append(step)
        if step == self._step:
            self._act()

    def disks(self, machine: VirtualMachine) -> BackupObserver | None:
        """Return nobody."""
        del machine
        return None

    def ended(self, result: MachineResult) -> None:
        """Take note."""
        self.steps.append(result.outcome)


@pytest.mark.parametrize("way", ["task", "again and again", "scope"])
@pytest.mark.parametrize("step", ["checking", "freezing", "looking", "copying", "thawing"])
async def test_a_backup_that_is_cancelled_leaves_nothing(backups: Backups, step: str, way: str) -> None:
    """At each step, by asyncio or anyio: the snapshot is removed, the lock ended; the next backup works."""
    with anyio.CancelScope() as scope:
        cancelled = False
        making: list[asyncio.Future[list[MachineResult]]] = []

        def cancel() -> None:
            if way == "scope":
                scope.cancel()
            elif making[0].cancel() and way == "again and again":
                asyncio.get_running_loop().call_soon(cancel)

        watcher = Watcher(step, cancel)
        try:
            if way != "scope":
                making.append(asyncio.ensure_future(backups.make("web", observer=watcher)))
                await making[0]
            else:
                await backups.make("web", observer=watcher)
        except asyncio.CancelledError:
            cancelled = True
            if way == "scope":
                raise
    assert cancelled or scope.cancelled_caught
    backups.assert_nothing_left()
    (result,) = await backups.make("web")
    assert await backups.stored(result.snapshot) == backups.guest("web")


async def test_a_store_that_is_full_begins_nothing_more(backups: Backups, monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine that met it is thawed; those that wait get no snapshot."""

    async def full(*_: object, **__: object) -> None:
        raise StoreFullError("full")

    monkeypatch.setattr("asyncvddk.vsphere._vm_backup.backup", full)
    chosen = await machines(backups.vsphere)
    results = await back_up_machines(
        backups.vsphere,
        backups.vddk,
        backups.repository,
        [replace(machine, host=None) for machine in chosen],
        budget=Budget(BudgetLimits(machines_per_host=1)),
        journal=backups.folder,
    )
    assert [result.outcome for result in results] == ["failed", "failed"]
    assert isinstance(results[0].error, StoreFullError)
    assert len({call.object for call in backups.bench.calls("CreateSnapshot_Task")}) == 1
    backups.assert_nothing_left()


async def test_many_machines_keep_the_budget(
    new_bench: Callable[..., Bench], repository: Repository, tmp_path: Path
) -> None:
    """All are done, and no place had more at once than it bears; a host that is short is asked again, for less."""
    bench = new_bench(*(Machine(f"m{number}", (MIB,) * 3, host=number % 3) for number in range(9)), hosts=3)
    short = ",".join(Fail("Open", 2, call=call).rule for call in (2, 3, 11))
    budget = Budget(BudgetLimits(per_host=2, per_host_most=2, machines_per_host=2, total=5))
    async with session_at(bench) as vsphere, Vddk(config=bench.library(**{"openEngine.fail": short})) as vddk:
        many = Backups(bench, vsphere, vddk, repository, tmp_path / "journal")
        results = await many.make(budget=budget, retry=None)
        assert [result.outcome for result in results] == ["done"] * 9
        for place, peak in budget.peak.items():
            assert peak <= {"total": 5, "vcenter": 32, "datastore": 8}.get(place[0], 2)
        assert budget.peak["total", ""] > 2
        assert {name for kind, name in budget.peak if kind == "host"} == {one.machine.host for one in results}
        assert budget.used == {}
        many.assert_nothing_left()


async def test_a_snapshot_that_stays_is_told_and_cleaned_up(backups: Backups) -> None:
    """The backup itself is good; cleanup removes that snapshot, and no other one."""
    bench = backups.bench
    await backups.make("web")
    bench.faults(fail_remove=1)
    (result,) = await backups.make("web")
    assert (result.outcome, len(result.left)) == ("partial", 1)
    assert await backups.stored(result.snapshot) == backups.guest("web")
    vm = backups.vsphere.managed(vim.VirtualMachine, result.machine.moref)
    theirs = await backups.vsphere.task(
        lambda: vm.CreateSnapshot_Task(name="theirs", description="", memory=False, quiesce=False), what="theirs"
    )
    bench.faults(fail_remove=1)
    report = await cleanup(backups.vsphere, backups.vddk, journal=backups.folder)
    assert (report.snapshots, len(report.problems)) == ([], 1)
    report = await cleanup(backups.vsphere, backups.vddk, journal=backups.folder)
    assert (report.snapshots, report.problems, report.running) == (["web"], [], [])
    assert bench.snapshots() == [theirs._moId]
    assert journals(backups.folder) == []


@pytest.mark.parametrize(("step", "outcome"), [("checking", "failed"), ("looking", "failed"), ("copying", "partial")])
async def test_a_server_that_is_lost_ends_no_backup_in_silence(backups: Backups, step: str, outcome: str) -> None:
    """The result tells; what could not be undone is in the journal, for a cleanup when the server is back."""
    await backups.make("web")
    (result,) = await backups.make("web", observer=Watcher(step, backups.bench.process.kill))
    assert result.outcome == outcome
    if step == "checking":
        assert journals(backups.folder) == []
        return
    assert len(result.left) == 1
    (path,) = journals(backups.folder)
    assert [entry.kind for entry in Record.read(path.read_bytes()).entries.values()] == ["snapshot"]


async def test_the_snapshot_that_begins_tracking_is_no_exception(backups: Backups) -> None:
    """It, too, is told when it stays, and no second one is made."""
    backups.bench.faults(fail_remove=1, late_tracking=True)
    (result,) = await backups.make("web")
    assert (result.outcome, len(result.left)) == ("failed", 1)
    assert "no other one is made" in str(result.error)
    assert len(backups.bench.snapshots()) == 1
    report = await cleanup(backups.vsphere, backups.vddk, journal=backups.folder)
    assert report.snapshots == ["web"]
    backups.assert_nothing_left()


async def test_the_journal_of_another_vcenter_is_left_alone(backups: Backups, new_bench: Callable[..., Bench]) -> None:
    """Its references mean other things there."""
    await backups.make("web")
    backups.bench.faults(fail_remove=1)
    await backups.make("web")
    async with session_at(new_bench(Machine("web"))) as other:
        object.__setattr__(other.about, "instance", "another one")  # govmomi's simulators all have the same
        report = await cleanup(other, None, journal=backups.folder)
    assert (report.elsewhere, report.snapshots) == (journals(backups.folder), [])
    assert len(backups.bench.snapshots()) == 1
    report = await cleanup(backups.vsphere, backups.vddk, journal=backups.folder)
    assert report.snapshots == ["web"]


async def test_killed_at_any_step_cleanup_leaves_nothing(
    new_bench: Callable[..., Bench], repository: Repository, tmp_path: Path
) -> None:
    """Before and after each line of the journal; then the next backup works, and has the guest's bytes."""
    moments = [*((line, False) for line in range(1, 8)), (2, True), (3, True), (7, True)]
    names = [f"vm{line}{'after' if after else 'before'}" for line, after in moments]
    bench = new_bench(*(Machine(name, (MIB,)) for name in names), hosts=1)
    folder = tmp_path / "journal"
    facts = {
        "server": bench.server,
        "port": bench.port,
        "user": USER,
        "password": PASSWORD,
        "thumbprint": bench.sha1,
        "library": {
            key: value.reveal() if isinstance(value, Secret) else value for key, value in bench.library().extra.items()
        },
        "repository": str(tmp_path / "repository"),
        "journal": str(folder),
    }

    async def killed(name: str, line: int, *, after: bool) -> int:
        told = json.dumps({**facts, "machine": name, "line": line, "after": after})
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "tests.vsphere.killed", told)
        return await process.wait()

    limiter = anyio.CapacityLimiter(3)

    async def one(name: str, moment: tuple[int, bool]) -> int:
        async with limiter:
            return await killed(name, moment[0], after=moment[1])

    codes = await asyncio.gather(*(one(name, moment) for name, moment in zip(names, moments, strict=True)))
    assert set(codes) == {-9}
    assert len(bench.snapshots()) >= 2
    async with session_at(bench) as vsphere, Vddk(config=bench.library()) as vddk:
        report = await cleanup(vsphere, vddk, journal=folder)
        assert report.problems == []
        after = Backups(bench, vsphere, vddk, repository, folder)
        after.assert_nothing_left()
        for result in await after.make():
            assert result.outcome == "done"
            assert await after.stored(result.snapshot) == after.guest(result.machine.name)
        after.assert_nothing_left()
