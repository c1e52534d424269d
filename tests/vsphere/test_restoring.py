"""Disks of a machine get the content of a backup, and nothing else is touched."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING

import pytest
from pyVmomi import vim

from asyncvddk import Vddk
from asyncvddk.backup import backup
from asyncvddk.repository import Repository
from asyncvddk.vsphere import NotFoundError, NotPossibleError, machines, pair_disks, restore_disks
from tests.backup.fakes import MemoryDisk
from tests.fix_vsphere import MIB, Machine
from tests.repository.faults import DictStore
from tests.vsphere.conftest import session_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from asyncvddk.repository import Snapshot
    from asyncvddk.vsphere import VirtualMachine, VSphere
    from tests.fix_vsphere import Bench

CHANCE = random.Random(12)


@pytest.fixture(autouse=True)
def journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where journals are kept."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "asyncvddk" / "journal"


@pytest.fixture
def bench(new_bench: Callable[..., Bench]) -> Bench:
    """Return a vCenter with a machine that is off and has two disks, and one that runs."""
    return new_bench(Machine("off", (3 * MIB, 2 * MIB), on=False), Machine("running", (MIB,)))


async def opened() -> AbstractAsyncContextManager[Repository]:
    """Return a new repository, to be entered."""
    store = DictStore()
    await Repository.init(store, password=None, chunk_size=1 << 18)
    return Repository.open(store, password=None, cache="")


async def one_of(vsphere: VSphere, name: str) -> VirtualMachine:
    """Return a machine by its name."""
    return next(machine for machine in await machines(vsphere) if machine.name == name)


async def stored(repository: Repository, *contents: bytes, first: int = 2000) -> Snapshot:
    """Make a backup of disks with these contents, under device keys."""
    disks = [MemoryDisk(bytearray(data)).disk(str(first + number)) for number, data in enumerate(contents)]
    return await backup(repository, disks, source="vm")


async def test_disks_get_what_the_backup_has(bench: Bench, journal: Path) -> None:
    """Only what differs is written; the machine is locked against being moved meanwhile, and free afterwards."""
    contents = CHANCE.randbytes(3 * MIB), bytes(MIB) + CHANCE.randbytes(MIB)
    moref = bench.machines["off"]
    async with await opened() as repository, Vddk(config=bench.library()) as vddk, session_at(bench) as vsphere:
        snapshot = await stored(repository, *contents)
        await bench.guest_writes(vddk, moref, 0, contents[0][: 2 * MIB])
        await bench.guest_writes(vddk, moref, 5, b"garbage", key=2001)
        told: list[str] = []
        outcomes = await restore_disks(
            vsphere,
            vddk,
            repository,
            snapshot,
            await one_of(vsphere, "off"),
            progress=lambda pair, state: told.append(f"{pair.disk.key} {state.size}"),
        )
        assert [(one.pair.entry.key, one.error) for one in outcomes] == [("2000", None), ("2001", None)]
        assert (bench.guest_reads(moref), bench.guest_reads(moref, 2001)) == contents
        assert {f"2000 {3 * MIB}", f"2001 {2 * MIB}"} == set(told)
        again = await restore_disks(vsphere, vddk, repository, snapshot, await one_of(vsphere, "off"))
        assert [one.result.bytes_written for one in again if one.result] == [0, 0]
    assert list(journal.iterdir()) == []


async def test_tracking_is_switched_off_before_disks_are_written(bench: Bench) -> None:
    """What it says of changes would not fit what was written past it."""
    async with await opened() as repository, Vddk(config=bench.library()) as vddk, session_at(bench) as vsphere:
        vm = vsphere.managed(vim.VirtualMachine, bench.machines["off"])
        spec = vim.vm.ConfigSpec(changeTrackingEnabled=True)
        await vsphere.task(lambda: vm.ReconfigVM_Task(spec), what="test")
        assert (await one_of(vsphere, "off")).tracking
        snapshot = await stored(repository, b"x" * 3 * MIB)
        await restore_disks(vsphere, vddk, repository, snapshot, await one_of(vsphere, "off"))
        assert not (await one_of(vsphere, "off")).tracking


async def test_one_disk_can_be_restored_alone(bench: Bench) -> None:
    """The others stay as they are."""
    moref = bench.machines["off"]
    async with await opened() as repository, Vddk(config=bench.library()) as vddk, session_at(bench) as vsphere:
        snapshot = await stored(repository, b"x" * 3 * MIB, b"y" * 2 * MIB)
        await restore_disks(vsphere, vddk, repository, snapshot, await one_of(vsphere, "off"), keys=["2001"])
        assert (bench.guest_reads(moref), bench.guest_reads(moref, 2001)) == (bytes(3 * MIB), b"y" * 2 * MIB)


async def test_a_disk_that_fails_does_not_stop_the_others(bench: Bench) -> None:
    """Its error is its outcome."""
    async with await opened() as repository, Vddk(config=bench.library()) as vddk, session_at(bench) as vsphere:
        snapshot = await stored(repository, b"x" * 3 * MIB, b"y" * 2 * MIB)
        store = repository._vault.store
        root = snapshot.disk("2000").root.hex()
        store.delete([item.name for item in store.list("meta") if root in item.name])
        one, two = await restore_disks(vsphere, vddk, repository, snapshot, await one_of(vsphere, "off"))
        assert (one.result, two.error) == (None, None)
        assert "no such object" in str(one.error)
        assert bench.guest_reads(bench.machines["off"], 2001) == b"y" * 2 * MIB


async def test_a_machine_that_runs_or_has_snapshots_is_refused(bench: Bench) -> None:
    """Before anything is written, and as it is now, not as it was when the inventory was read."""
    async with await opened() as repository, Vddk(config=bench.library()) as vddk, session_at(bench) as vsphere:
        snapshot = await stored(repository, b"x" * MIB)
        running = await one_of(vsphere, "running")
        with pytest.raises(NotPossibleError, match="not off"):
            await restore_disks(vsphere, vddk, repository, snapshot, dataclasses.replace(running, power="poweredOff"))
        off = await one_of(vsphere, "off")
        vm = vsphere.managed(vim.VirtualMachine, off.moref)
        await vsphere.task(
            lambda: vm.CreateSnapshot_Task(name="mine", description="", memory=False, quiesce=False), what="test"
        )
        with pytest.raises(NotPossibleError, match=r"snapshots \(mine\)"):
            await restore_disks(vsphere, vddk, repository, snapshot, off)
        assert bench.guest_reads(off.moref) == bytes(3 * MIB)


async def test_disks_that_do_not_fit_are_refused(bench: Bench) -> None:
    """Too small, not there, not in the backup."""
    async with await opened() as repository, session_at(bench) as vsphere:
        off = await one_of(vsphere, "off")
        with pytest.raises(NotPossibleError, match=f"has {3 * MIB} bytes, its backup {3 * MIB + 1}: grow it"):
            pair_disks(await stored(repository, b"x" * (3 * MIB + 1)), off)
        with pytest.raises(NotFoundError, match="no disk with the device key 2002"):
            pair_disks(await stored(repository, b"x", first=2002), off)
        with pytest.raises(NotFoundError, match="has no disk 2001"):
            pair_disks(await stored(repository, b"x"), off, ["2001"])
