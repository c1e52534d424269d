"""The commands of a vCenter, at the bench."""

from __future__ import annotations

import asyncio
import random
import sys
import types
from typing import TYPE_CHECKING

import pytest

from asyncvddk import Vddk
from asyncvddk.backup import backup, raw_disk
from asyncvddk.repository import Repository
from tests.fix_vsphere import MIB, PASSWORD, USER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command
    from tests.fix_vsphere import Bench


@pytest.fixture
def at_bench(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Bench:
    """Let the environment name the bench, by a name in the configuration file."""
    config = tmp_path / "config.toml"
    lines = [
        "[servers.bench]",
        f'host = "{bench.server}"',
        f"port = {bench.port}",
        f'user = "{USER}"',
        f'thumbprint = "{bench.sha256.upper()}"',
    ]
    config.write_text("\n".join(lines))
    monkeypatch.setenv("ASYNCVDDK_CONFIG", str(config))
    monkeypatch.setenv("ASYNCVDDK_SERVER", "bench")
    monkeypatch.setenv("ASYNCVDDK_SERVER_PASSWORD", PASSWORD)
    return bench


def test_vms_lists_machines_and_their_disks(at_bench: Bench, command: Command) -> None:
    """As a table, with disks, as JSON; a rule selects."""
    at_bench.set_mode(at_bench.machines["web"], "independent_persistent", key=2001)
    ran = command("vms")
    assert ran.status == 0, ran.err
    assert ran.out.splitlines()[0].split()[:3] == ["MACHINE", "REF", "POWER"]
    (web,) = [line for line in ran.out.splitlines() if line.startswith("/DC0/vm/web ")]
    assert at_bench.machines["web"] in web
    assert "1 disk left out" in web
    assert ran.out.splitlines()[-1].startswith("2 machines, 3 disks, ")
    ran = command("vms", "w*", "--disks")
    assert len(ran.out.splitlines()) == 3
    assert "independent: snapshots leave it out" in ran.out.splitlines()[2]
    found = {event["name"]: event for event in command("vms", "--json").events}
    assert found["web"]["disks"][0]["size"] == 4 * MIB
    assert (found["web"]["disks"][1]["obstacle"], found["db"]["power"]) == ("independent", "poweredOff")


@pytest.mark.parametrize(
    ("arguments", "text", "status"),
    [
        (("nope",), "name:nope: none of 2 machines", 1),
        (("--thumbprint", "00" * 20), "thumbprint", 1),
        (("--port", "1"), "refused", 1),
        (("--user", "somebody@else"), "log in to", 1),
        (("--server-password-file", "missing"), "missing: No such file", 1),
    ],
)
def test_what_is_wrong_is_one_line(
    at_bench: Bench, command: Command, arguments: tuple[str, ...], text: str, status: int
) -> None:
    """Of usage, of the server, of the user; the password is in none."""
    del at_bench
    ran = command("vms", *arguments)
    assert (ran.status, text in ran.error, PASSWORD in ran.error) == (status, True, False), ran.err


def test_the_password_comes_from_a_file_or_the_keyring(
    at_bench: Bench, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In this order: file, environment, keyring; without any, and without a terminal, usage is explained."""
    monkeypatch.delenv("ASYNCVDDK_SERVER_PASSWORD")
    ran = command("vms")
    assert (ran.status, "ASYNCVDDK_SERVER_PASSWORD" in ran.error) == (2, True)
    (tmp_path / "password").write_text(PASSWORD + "\n")
    assert command("vms", "--server-password-file", tmp_path / "password").status == 0
    keyring = types.ModuleType("keyring")
    asked: list[tuple[str, str]] = []

    def get_password(service: str, name: str) -> str:
        asked.append((service, name))
        return PASSWORD

    keyring.get_password = get_password  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    assert command("vms").status == 0
    assert asked == [("asyncvddk", f"{USER}@{at_bench.server}")]


def test_which_server_and_who_asks_must_be_said(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is loaded or sent."""
    for name in ("ASYNCVDDK_SERVER", "ASYNCVDDK_USER"):
        monkeypatch.delenv(name, raising=False)
    ran = command("vms")
    assert (ran.status, "which server?" in ran.error) == (2, True)
    ran = command("vms", "--server", "vc.example")
    assert (ran.status, "who asks vc.example?" in ran.error) == (2, True)


def test_doctor_without_a_server_looks_at_this_machine(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    """And says that all is well; each line has its state first."""
    monkeypatch.delenv("ASYNCVDDK_SERVER", raising=False)
    ran = command("doctor")
    assert ran.status == 0, ran.out
    assert {line.split()[0] for line in ran.out.splitlines()[:-1]} <= {"ok", "warn", "->"}
    assert "local disks: one was made, written and read" in ran.out


def test_doctor_says_what_is_wrong_and_what_to_do(at_bench: Bench, command: Command, tmp_path: Path) -> None:
    """Library, repository, hosts' names, tracking, disks that are left out; each finding has its advice."""
    at_bench.set_mode(at_bench.machines["web"], "independent_persistent", key=2001)
    ran = command("doctor", "--json", "--repo", tmp_path / "missing", "--no-password")
    assert ran.status == 1
    *findings, summary = ran.events
    found = {event["subject"]: event for event in findings}
    states = {
        f"repository {tmp_path / 'missing'}": "fail",
        "host DC0_C0_H0": "fail",
        "server": "ok",
        "clock": "ok",
        "privileges": "ok",
        "versions": "warn",
        "changed blocks": "warn",
        "disks": "warn",
    }
    assert {subject: found[subject]["health"] for subject in states} == states
    assert all(event["advice"] for event in findings if event["health"] != "ok")
    assert summary["fail"] == sum(event["health"] == "fail" for event in findings)
    ran = command("doctor", "--libdir", tmp_path, "web")
    assert f"fail  library: {tmp_path}" in ran.out
    assert command("doctor", "--port", "1").status == 1


@pytest.fixture
def library(at_bench: Bench, tmp_path: Path) -> Path:
    """Return the configuration with which the engine plays the bench's hosts."""
    path = tmp_path / "vddk.conf"
    path.write_bytes(at_bench.library().render())
    return path


def test_disks_go_back_into_a_machine_that_is_off(
    at_bench: Bench, command: Command, library: Path, tmp_path: Path
) -> None:
    """By device key; one that runs is refused, and so are rules that name several."""
    content = random.Random(8).randbytes(2 * MIB)
    (tmp_path / "disk.raw").write_bytes(content)
    place = ("--repo", tmp_path / "repository", "--no-password")
    assert command("init", *place).status == 0

    async def back_up() -> None:
        async with Repository.open(tmp_path / "repository", password=None, cache="") as repository:
            await backup(repository, [raw_disk(tmp_path / "disk.raw", key="2000")], source="vm")

    asyncio.run(back_up())
    restore = ("restore", "latest", "--source", "vm", *place, "--config", library)
    ran = command(*restore, "--vm", "db")
    assert ran.status == 0, ran.err
    assert at_bench.guest_reads(at_bench.machines["db"]) == content
    ran = command(*restore, "--vm", "db", "--json")
    assert (ran.events[-1]["written"], ran.events[-1]["failed"]) == (0, 0)
    for rule, text in (("web", "not off"), ("*", "several machines"), ("nope", "none of 2")):
        ran = command(*restore, "--vm", rule)
        assert (ran.status, text in ran.err) == (1, True), ran.err
    assert command(*restore, "--vm", "db", "--to", "x").status == 2


@pytest.fixture
def place(command: Command, tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str | Path, ...]:
    """Return the options that name a new repository, and let the engine play the hosts."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    chosen = ("--repo", tmp_path / "repository", "--no-password")
    assert command("init", *chosen).status == 0
    return (*chosen, "--config", library)


def guest_writes(bench: Bench, machine: str, offset: int, data: bytes, *, key: int = 2000) -> None:
    """Write to a disk as the guest."""

    async def write() -> None:
        async with Vddk() as vddk:
            await bench.guest_writes(vddk, bench.machines[machine], offset, data, key=key)

    asyncio.run(write())


def test_machines_are_backed_up_by_what_changed_and_come_back(
    at_bench: Bench, command: Command, place: tuple[str | Path, ...], tmp_path: Path
) -> None:
    """All of them; the second time only what changed is read; no snapshot stays; a disk goes back as it was."""
    first = random.Random(1).randbytes(MIB)
    guest_writes(at_bench, "db", 0, first)
    ran = command("backup", "--all", *place)
    assert ran.status == 0, ran.err
    assert "2 machines, 3 disks" in ran.err.splitlines()[-1]
    assert "db: done, snapshot" in ran.err
    assert at_bench.snapshots() == []
    guest_writes(at_bench, "db", 100, b"changed")
    ran = command("backup", "--datastore", "ds1", "--exclude-vm", "web", "--json", *place)
    assert ran.status == 0, ran.err
    *_, machine, summary = ran.events
    assert (machine["path"], machine["outcome"], machine["level"]) == ("/DC0/vm/db", "done", "off")
    assert machine["changes"] == {"2000": {"size": 65536, "reason": None}}
    assert (summary["machines"], summary["done"], summary["read"]) == (1, 1, MIB)
    snapshots = [event for event in command("snapshots", "--json", *place[:3]).events if "vm=db" in event["tags"]]
    ran = command("restore", snapshots[0]["id"], "--vm", "db", *place)
    assert ran.status == 0, ran.err
    assert at_bench.guest_reads(at_bench.machines["db"])[:MIB] == first
    assert command("restore", "latest", "--vm", "db", *place).status == 0
    assert at_bench.guest_reads(at_bench.machines["db"])[100:107] == b"changed"
    assert list((tmp_path / "state" / "asyncvddk" / "journal").iterdir()) == []


def test_a_machine_that_fails_does_not_stop_the_others(
    at_bench: Bench, command: Command, place: tuple[str | Path, ...]
) -> None:
    """Status 3, and 1 when all fail; each is told."""
    at_bench.set_mode(at_bench.machines["web"], "independent_persistent")
    at_bench.set_mode(at_bench.machines["db"], "independent_persistent")
    ran = command("backup", "--all", *place)
    assert ran.status == 3
    assert "asyncvddk: db: " in ran.err
    assert "web: Hard disk" in ran.err or "is left out: independent" in ran.err
    assert "2 machines (1 failed), 1 disk" in ran.err.splitlines()[-1]
    assert command("backup", "--vm", "db", *place).status == 1
    assert at_bench.snapshots() == []


def test_what_a_backup_could_not_remove_is_removed_by_cleanup(
    at_bench: Bench, command: Command, place: tuple[str | Path, ...]
) -> None:
    """It says so, and cleanup does no more than the journal says."""
    at_bench.faults(fail_remove=1000)
    ran = command("backup", "--vm", "db", "--no-track", *place)
    assert ran.status == 3
    assert "left behind: snapshot asyncvddk-" in ran.err
    assert len(at_bench.snapshots()) == 1
    assert command("cleanup", *place[3:]).status == 1
    at_bench.faults()
    ran = command("cleanup", "--json", *place[3:])
    assert (ran.status, ran.events[0]["snapshots"]) == (0, ["db"])
    assert at_bench.snapshots() == []
    assert command("cleanup", *place[3:]).out == "nothing was left behind\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("disk.vmdk", "--vm", "db"), "by themselves"),
        (("--vm", "db", "--source", "x"), "by themselves"),
        (("--vm", "db", "--disks-per-host", "0"), "--disks-per-host"),
        (("--vm", "db", "--quiesce", "maybe"), "quiesce"),
    ],
)
def test_machines_and_disks_are_not_mixed(command: Command, arguments: tuple[str, ...], text: str) -> None:
    """Wrong usage is told before anything else."""
    ran = command("backup", *arguments, "--repo", "none", "--no-password", "--server", "none.invalid", "--user", "x")
    assert (ran.status, text in ran.err) == (2, True), ran.err


def test_a_machine_is_made_anew_from_its_backup(
    at_bench: Bench, command: Command, place: tuple[str | Path, ...]
) -> None:
    """Under another name, with the same disks; usage that does not fit together is told."""
    data = random.Random(3).randbytes(MIB)
    guest_writes(at_bench, "db", 0, data)
    assert command("backup", "--vm", "db", *place).status == 0
    ran = command("restore", "latest", "--new-vm", "db2", "--datastore", "ds1", *place)
    assert ran.status == 0, ran.err
    assert "/DC0/vm/db2 (vm-" in ran.err
    (made,) = command("vms", "--json", "db2").events
    (disk,) = made["disks"]
    assert at_bench.guest_reads(made["moref"], disk["key"]) == at_bench.guest_reads(at_bench.machines["db"])
    assert made["power"] == "poweredOff"
    for arguments, text in (
        (("--new-vm", "x"), "needs --datastore"),
        (("--datastore", "ds1", "--to", "x"), "go with --new-vm"),
        (("--new-vm", "x", "--datastore", "ds1", "--vm", "db"), "give one of"),
    ):
        ran = command("restore", "latest", *arguments, *place)
        assert (ran.status, text in ran.err) == (2, True), ran.err
    ran = command("restore", "latest", "--new-vm", "x", "--datastore", "nowhere", *place)
    assert (ran.status, "datastore nowhere" in ran.err) == (1, True)


def test_a_dry_run_says_what_would_be_done_and_does_nothing(
    at_bench: Bench, command: Command, place: tuple[str | Path, ...]
) -> None:
    """Before the first backup, after it, and for machines that cannot be."""
    at_bench.set_mode(at_bench.machines["db"], "independent_persistent")
    ran = command("backup", "--all", "--dry-run", *place)
    assert ran.status == 0, ran.err
    (web,) = [line for line in ran.out.splitlines() if line.startswith("/DC0/vm/web ")]
    assert web.endswith("switched on  quiesced")
    (db,) = [line for line in ran.out.splitlines() if line.startswith("/DC0/vm/db ")]
    assert "none: none of its disks" in db
    assert ran.out.splitlines()[-1].startswith("1 of 2 machines would be backed up, about ")
    assert at_bench.calls("CreateSnapshot_Task", "ReconfigVM_Task") == []
    assert command("snapshots", "--json", *place[:3]).events == []
    ran = command("backup", "--vm", "web", "--quiet", *place)
    assert (ran.status, ran.out, ran.err) == (0, "", "")
    (plan,) = command("backup", "--vm", "web", "--dry-run", "--json", *place).events
    assert [disk["mode"] for disk in plan["disks"]] == ["changed", "changed"]
    assert plan["parent"] is not None
    at_bench.grow(at_bench.machines["web"], 5 * MIB)
    (plan,) = command("backup", "--vm", "web", "--dry-run", "--json", *place).events
    assert [disk["mode"] for disk in plan["disks"]] == ["allocated", "changed"]
    assert "its size changed" in plan["disks"][0]["reason"]
    assert command("backup", "--vm", "db", "--dry-run", *place).status == 1
