"""``asyncvddk backup``, ``restore`` and ``dump``: what goes into a repository comes back, and what is told of it."""

from __future__ import annotations

import dataclasses
import errno
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cyclopts import CycloptsError

from asyncvddk.cli._config_file import KEEP_COUNTS, find_job, find_repository, find_server
from asyncvddk.cli._snapshot_disks import file_name, stdout_for_bytes
from asyncvddk.repository import DiskEntry
from tests.cli.conftest import MIB, TEXT, change, names, raw, run_process
from tests.fix_package import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cli.conftest import Command, Repo

pytestmark = pytest.mark.usefixtures("repo")


@pytest.mark.parametrize("name", ["init", "backup", "snapshots", "restore", "dump"])
def test_commands_of_repositories_explain_themselves(command: Command, name: str) -> None:
    """Each is in the list, too."""
    assert f"Usage: asyncvddk {name}" in command(name, "--help").out
    assert f" {name} " in command("--help").out


def test_each_snapshot_gives_back_the_disk_of_its_moment(
    command: Command, run: Repo, small: Path, tmp_path: Path
) -> None:
    """As a raw image, and as a VMDK; of the second backup only the change is new."""
    before = raw(command, small, "before")
    first = run.backup(small, "--tag", "before")
    change(small, 5 * MIB + 512, b"\1" * 3 * MIB)
    after = raw(command, small, "after")
    ran = run("backup", small, "--json")
    done, summary = ran.events[-2:]
    assert (done["event"], summary["event"], summary["parent"]) == ("done", "summary", first)
    assert summary["new"] <= summary["changed"] == 4 * MIB
    for identifier, content in ((first, before), (summary["snapshot"], after)):
        for kind in ("raw", "vmdk"):
            path = tmp_path / f"{identifier}.{kind}"
            restored = run("restore", identifier, "--to", path)
            assert restored.status == 0, restored.err
            assert (path.read_bytes() if kind == "raw" else raw(command, path, kind)) == content
    listed = run("snapshots", "--json").events
    assert [(one["id"], one["source"], one["tags"]) for one in listed] == [
        (first, "a.vmdk", ["before"]),
        (summary["snapshot"], "a.vmdk", []),
    ]


def test_folder_is_a_source_of_its_name_and_comes_back_as_a_folder(
    command: Command, run: Repo, small: Path, tmp_path: Path
) -> None:
    """VMDKs and raw images in it; their files have the names of the disks."""
    (small.parent / "b.img").write_text(TEXT)
    run.backup(small.parent)
    assert run("snapshots", "--json").events[0]["source"] == "vm"
    ran = run("restore", "latest", "--to", f"{tmp_path}/out/")
    assert ran.status == 0, ran.err
    assert names(tmp_path / "out") == ["a.raw", "b.raw"]
    assert (tmp_path / "out" / "b.raw").read_text() == TEXT
    assert (tmp_path / "out" / "a.raw").read_bytes() == raw(command, small, "a")


def test_missing_disk_of_two_makes_a_partial_snapshot(run: Repo, small: Path, tmp_path: Path) -> None:
    """Status 3, of the restore of all disks as well; stdout has nothing but events."""
    missing = tmp_path / "missing.vmdk"
    ran = run("backup", missing, small, "--source", "vm", "--json")
    assert ran.status == 3
    assert str(missing) in ran.error
    assert {event["event"] for event in ran.events} == {"start", "progress", "done", "error", "summary"}
    assert (ran.events[-1]["partial"], ran.events[-1]["disks"], ran.events[-1]["failed"]) == (True, 1, 1)
    (snapshot,) = run("snapshots", "--json").events
    assert (snapshot["partial"], [disk["key"] for disk in snapshot["failed"]]) == (True, [str(missing)])
    restored = run("restore", "latest", "--to", f"{tmp_path}/out/", "--quiet")
    assert restored.status == 3
    assert f"{missing}: not in the snapshot" in restored.error
    assert names(tmp_path / "out") == ["a.raw"]
    asked = run("restore", "latest", "missing.vmdk", "--to", tmp_path / "x.raw")
    assert asked.status == 1
    assert "its backup failed" in asked.error


def test_warnings_do_not_get_between_the_events(repo: Path, tmp_path: Path) -> None:
    """In a process in which nothing has loaded structlog before."""
    ran = run_process("backup", tmp_path / "x.vmdk", "--json", "--repo", repo, "--no-password")
    assert ran.status == 1
    assert [event["event"] for event in ran.events] == ["error", "summary"]


def test_no_disk_at_all_makes_no_snapshot(run: Repo, tmp_path: Path) -> None:
    """Status 1; each disk is told, then that."""
    ran = run("backup", tmp_path / "x.vmdk", tmp_path / "y.vmdk", "--quiet")
    assert ran.status == 1
    *disks, end = ran.err.splitlines()
    assert len(disks) == 2
    assert end == "asyncvddk: no disk could be read, so there is no snapshot"
    assert run("snapshots", "--json").out == ""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "no disk" in run("backup", empty).error


def test_parent_is_the_newest_of_the_source_or_the_one_given_or_none(run: Repo, small: Path) -> None:
    """By the beginning of its id."""
    first = run.backup(small)
    second = run.backup(small)
    run.backup(small, "--parent", first[:10])
    run.backup(small, "--parent", "none")
    listed = run("snapshots", "--json").events
    assert [one["parent"] for one in listed] == [None, first, first, None]
    assert listed[1]["id"] == second
    assert run("backup", small, "--parent", "ffff").status == 1
    assert run("restore", "latest", "--source", "nobody", "--to", "x.raw").status == 1


def test_full_mode_reads_every_byte(run: Repo, command: Command, tmp_path: Path) -> None:
    """Of a disk in which nothing is allocated."""
    disk = tmp_path / "empty.vmdk"
    assert command("create", disk, "--size", "5M").status == 0
    assert [
        run("backup", disk, "--json", "--mode", mode).events[-1]["read"] for mode in ("auto", "allocated", "full")
    ] == [0, 0, 5 * MIB]


def test_bytes_go_to_stdout(run: Repo, text: Path) -> None:
    """A range of a disk, its end, all of it; nothing else is there."""
    run.backup(text)
    ran = run("dump", "latest", "text.img", "--offset", "1M", "--length", "1000")
    assert (ran.status, ran.out, ran.err) == (0, TEXT[MIB : MIB + 1000], "")
    assert run("dump", "latest", text, "--offset", str(len(TEXT) - 5)).out == TEXT[-5:]
    whole = run("restore", "latest", "--to", "-")
    assert (whole.status, whole.out) == (0, TEXT)
    beyond = run("dump", "latest", "text.img", "--offset", str(len(TEXT)), "--length", "1")
    assert (beyond.status, beyond.out) == (1, "")
    assert "outside a disk" in beyond.error


def test_existing_disk_takes_what_differs(command: Command, run: Repo, small: Path, tmp_path: Path) -> None:
    """What it had in other places is gone; a second time nothing is written. A larger disk is left alone."""
    run.backup(small)
    content = raw(command, small, "small")
    change(small, 9 * MIB, b"\2" * MIB)
    for written in (4 * MIB, 0):
        ran = run("restore", "latest", "--into", small, "--only-different", "--json")
        assert ran.status == 0, ran.err
        assert ran.events[-1]["written"] == written
        assert raw(command, small, "again") == content
    larger = tmp_path / "larger.vmdk"
    assert command("create", larger, "--size", "17M").status == 0
    refused = run("restore", "latest", "--into", larger, "--quiet")
    assert refused.status == 1
    assert "--force" in refused.error
    assert raw(command, larger, "larger") == bytes(17 * MIB)
    assert run("restore", "latest", "--into", larger, "--force").status == 0
    assert raw(command, larger, "larger") == content + bytes(MIB)


def test_restore_replaces_nothing_unasked(run: Repo, text: Path, tmp_path: Path) -> None:
    """Only with --force."""
    run.backup(text)
    taken = tmp_path / "taken.raw"
    taken.write_text("old")
    refused = run("restore", "latest", "--to", taken)
    assert (refused.status, refused.error) == (1, f"asyncvddk: {taken}: destination exists (--force replaces it)")
    assert taken.read_text() == "old"
    assert run("restore", "latest", "--to", taken, "--force").status == 0
    assert taken.read_text() == TEXT


def test_damage_is_named_to_the_range_and_leaves_no_file(run: Repo, repo: Path, text: Path, tmp_path: Path) -> None:
    """Status 1."""
    run.backup(text)
    for file in (repo / "chunks").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.write_bytes(file.read_bytes()[:-100])
    ran = run("restore", "latest", "--to", f"{tmp_path}/out/", "--quiet")
    assert ran.status == 1
    assert re.search(rf"[0-9]+ bytes from [0-9]+ on of disk '{re.escape(str(text))}'", ran.error)
    assert not (tmp_path / "out").exists()


def test_several_disks_need_a_choice_where_one_can_go(run: Repo, small: Path, text: Path, tmp_path: Path) -> None:
    """And names of their own."""
    run.backup(small, text, "--source", "vm")
    assert "only one disk" in run("restore", "latest", "--to", "-").error
    assert run("restore", "latest", "text.img", "--to", "-").out == TEXT
    (tmp_path / "other").mkdir()
    other = text.rename(tmp_path / "other" / "a.img")
    run.backup(small, other, "--source", "vm")
    twins = run("restore", "latest", "--to", tmp_path)
    assert twins.status == 1
    assert f"both copies would be {tmp_path}/a.raw" in twins.error


@pytest.mark.parametrize("name", ["", "..", "/", "../../etc/passwd", "a/.."])
def test_name_in_a_snapshot_does_not_lead_out_of_a_folder(name: str) -> None:
    """Whoever could write the repository could have chosen it."""
    found = file_name(DiskEntry(key="2000", name=name, capacity=512, root=bytes(32), mode="full"))
    assert "/" not in found
    assert found not in {"", ".", ".."}


def test_job_of_the_configuration_file_says_what_goes_where(
    command: Command, repo: Path, small: Path, tmp_path: Path
) -> None:
    """What is given on the command line comes first, but another repository is refused."""
    (tmp_path / "config.toml").write_text(
        f'[repositories.here]\nurl = "{repo}"\n'
        f'[jobs.nightly]\nrepository = "here"\ndisks = ["{small}"]\nsource = "vm-1"\ntags = ["nightly"]\n'
        '[jobs.bad]\nrepository = "here"\ndisks = [5]\n'
    )
    assert command("backup", "--job", "nightly", "--no-password").status == 0
    assert command("backup", "--job", "nightly", "--no-password", "--source", "vm-2", "--tag", "by hand").status == 0
    listed = command("snapshots", "--repo", "here", "--no-password", "--json").events
    assert [(one["source"], one["tags"]) for one in listed] == [("vm-1", ["nightly"]), ("vm-2", ["by hand"])]
    assert command("backup", "--job", "nightly", "--repo", "there", "--no-password").status == 2
    assert "there is no job 'weekly'" in command("backup", "--job", "weekly").error
    assert "list of text" in command("backup", "--job", "bad").error


def test_the_example_of_a_configuration_file_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its entries; and it shows all there are."""
    monkeypatch.setenv("ASYNCVDDK_CONFIG", str(ROOT / "examples" / "config.toml"))
    office, away = find_repository("office"), find_repository("away")
    assert (office.url, away.url) == ("/srv/backups/office", "s3://bucket/prefix")
    assert office.password_file
    assert away.options == {"endpoint": "https://s3.example.com", "region": "eu-1"}
    job = find_job("nightly")
    assert all(getattr(job, field.name) for field in dataclasses.fields(job))
    assert {*job.keep} == {*KEEP_COUNTS, "tags"}
    server = find_server("vcenter")
    assert {name for name in ("host", "user", "password_file", "ca_file") if getattr(server, name)}


def test_what_would_be_another_repository_than_meant_is_refused(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty name, another program's way to write a bucket, two answers for one password; nothing is made."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pw").write_text("sesame\n")
    before = names(tmp_path)
    for status, told, *words in (
        (2, "which repository", "--repo", ""),
        (1, "expected s3://", "--repo", "s3:s3.amazonaws.com/bucket"),
        (1, "expected s3://", "--repo", "sftp:user@host:/backups"),
        (2, "not both", "--repo", "new", "--password-file", "pw"),
        (1, "chunk_size", "--repo", "new", "--chunk-size", "3M"),
    ):
        ran = command("init", "--no-password", *words)
        assert (ran.status, told in ran.error) == (status, True), ran.err
    assert names(tmp_path) == before
    monkeypatch.setenv("ASYNCVDDK_PASSWORD_FILE", "pw")
    assert command("init", "--no-password", "--repo", "./s3:plain").status == 0


def test_a_folder_that_cannot_be_searched_makes_the_backup_partial(
    run: Repo, monkeypatch: pytest.MonkeyPatch, small: Path
) -> None:
    """Its disks are missing, and that is told."""
    locked = small.parent / "locked"
    locked.mkdir()
    real = os.scandir

    def scandir(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path) == locked:  # tests may be run by root, who may search all
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    ran = run("backup", small.parent)
    assert ran.status == 3
    assert f"{locked}: Permission denied" in ran.err or f"'{locked}'" in ran.err
    (one,) = run("snapshots", "--json").events
    assert [disk["key"] for disk in one["failed"]] == [str(locked)]
    assert [disk["key"] for disk in one["disks"]] == [str(small)]


def test_a_range_is_restored_to_its_place(run: Repo, command: Command, small: Path, text: Path, tmp_path: Path) -> None:
    """Into a disk, of which the rest stays; into a new file, of which the rest is zero; of one disk, within it."""
    run.backup(small)
    before = raw(command, small, "before")
    change(small, 0, b"\1" * 16 * MIB)
    ran = run("restore", "latest", "--into", small, "--offset", "5M", "--length", "2M", "--json")
    assert ran.status == 0
    (done,) = [event for event in ran.events if event["event"] == "done"]
    assert done["size"] == 2 * MIB
    after = raw(command, small, "after")
    assert after == b"\1" * 5 * MIB + before[5 * MIB : 7 * MIB] + b"\1" * 9 * MIB
    assert run("restore", "latest", "--to", tmp_path / "part.raw", "--offset", "15M").status == 0
    assert (tmp_path / "part.raw").read_bytes() == bytes(15 * MIB) + before[15 * MIB :]
    outside = run("restore", "latest", "--to", tmp_path / "no.raw", "--offset", "15M", "--length", "2M")
    assert outside.status == 1
    assert f"{2 * MIB} bytes from byte {15 * MIB} on: outside a disk of {16 * MIB} bytes" in outside.error
    far = run("restore", "latest", "--to", tmp_path / "no.raw", "--offset", "99M")
    assert f"byte {99 * MIB}: outside a disk" in far.error
    assert far.err.count("\n") == 1
    assert not (tmp_path / "no.raw").exists()
    run.backup(small, text, "--source", "two")
    several = run("restore", "latest", "--to", f"{tmp_path}/out/", "--offset", "1M")
    assert "a range is one of a single disk" in several.error
    assert not (tmp_path / "out").exists()
    assert run("restore", "latest", "--vm", "web", "--offset", "1M").status == 2
    assert "at least one byte" in run("restore", "latest", "--to", tmp_path / "no.raw", "--length", "0").error


@pytest.mark.parametrize(
    ("head", "kind"), [(b"QFI\xfb", "qcow2"), (b"vhdxfile", "vhdx"), (bytes(64) + b"\x7f\x10\xda\xbe", "vdi")]
)
def test_an_image_of_another_kind_is_stored_with_a_warning(run: Repo, tmp_path: Path, head: bytes, kind: str) -> None:
    """Who backs it up may think that the disk in it is."""
    image = tmp_path / "disk.img"
    image.write_bytes(head.ljust(MIB, b"\0"))
    ran = run("backup", image)
    assert ran.status == 0
    assert f"kind={kind}" in ran.err


def test_bytes_of_a_disk_need_a_stdout(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed as ``>&-`` closes it: Python has none then."""
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(CycloptsError, match="stdout is closed"):
        stdout_for_bytes(json=False)


def test_names_change_nothing_on_a_terminal(run: Repo, text: Path) -> None:
    """Whoever could write the repository could have chosen them."""
    run.backup(text, "--source", "new\nline \x1b[31mred ü")
    shown = run("snapshots").out
    assert "new\\nline \\x1b[31mred ü" in shown
    assert len(shown.splitlines()) == 2


def test_a_pipe_is_no_disk_and_nobody_waits_for_it(run: Repo, command: Command, tmp_path: Path, text: Path) -> None:
    """It would be opened as soon as somebody writes to it, which may be never."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    ran = run("backup", pipe, text, "--source", "x")
    assert ran.status == 3
    assert "neither a regular file nor a block device" in ran.err
    assert "neither a regular file nor a block device" in command("compare", pipe, text).err


def test_a_snapshot_that_cannot_be_read_hides_no_other(run: Repo, repo: Path, text: Path) -> None:
    """The others are listed; the way out is told, and works."""
    first, second = run.backup(text), run.backup(text)
    (file,) = repo.glob(f"snapshots/*/*{first}*")
    file.chmod(0o600)
    file.write_bytes(b"damaged" + file.read_bytes()[7:])
    ran = run("snapshots", "--json")
    assert ran.status == 1
    listed, error = ran.events
    assert (listed["id"], error["snapshot"]) == (second, first)
    assert f"forget --damaged {first}" in ran.err
    checked = run("verify", "--level", "0")
    assert "forget --damaged" in checked.out + checked.err
    assert "quarantine" not in checked.out + checked.err
    assert run("forget", "--damaged", first).status == 0
    assert run("snapshots").status == 0


def test_statuses_are_restics(command: Command, tmp_path: Path, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10 where there is no repository, 12 for a wrong password; the password of a variable is nowhere told."""
    (tmp_path / "nothing").mkdir()
    assert command("backup", small, "--repo", tmp_path / "nothing", "--no-password").status == 10
    monkeypatch.setenv("ASYNCVDDK_PASSWORD", "open sesame")
    assert command("init", "--repo", tmp_path / "locked").status == 0
    assert command("backup", small, "--repo", tmp_path / "locked").status == 0
    monkeypatch.setenv("ASYNCVDDK_PASSWORD", "closed sesame")
    wrong = command("restore", "latest", "--repo", tmp_path / "locked", "--to", tmp_path)
    assert wrong.status == 12
    assert "sesame" not in wrong.err


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("backup",), "which disks"),
        (("backup", "a.vmdk", "--jobs", "0"), "--jobs"),
        (("backup", "a.vmdk", "--mode", "some"), "--mode"),
        (("restore", "latest"), "where to"),
        (("restore", "latest", "--to", "a.raw", "--into", "a.vmdk"), "where to"),
        (("restore", "latest", "--to", "--force"), "needs a place"),
        (("restore", "latest", "--to", "a.raw", "--only-different"), "--into"),
        (("restore", "latest", "--into", "a.vmdk", "--sync"), "new files"),
        (("restore", "latest", "--to", "-", "--json"), "--json"),
        (("restore", "latest", "--to", "a.raw", "--disk-type", "vmfs"), "--format vmdk"),
        (("dump", "latest", "a", "--json"), "--json"),
        (("dump", "latest", "a", "--length", "1Q"), "no size"),
    ],
)
def test_wrong_usage_of_repositories_is_one_line(run: Repo, arguments: tuple[str, ...], told: str) -> None:
    """Status 2."""
    ran = run(*arguments)
    assert ran.status == 2
    assert told in ran.error


def test_lines_tell_a_backup_from_its_beginning_to_its_end(run: Repo, small: Path) -> None:
    """On stderr; with --quiet nothing is said."""
    ran = run("backup", small)
    first, done, end = ran.err.splitlines()
    assert first == f"{small}: 16.0 MiB, allocated"
    assert done.startswith(f"{small}: done, 16.0 MiB in ")
    assert "16.0 MiB read, 16.0 MiB changed, " in done
    assert end.startswith("snapshot ")
    assert " of a.vmdk: 1 disk in " in end
    assert ran.out == ""
    quiet = run("backup", small, "-q")
    assert (quiet.status, quiet.out, quiet.err) == (0, "", "")


def test_bars_tell_a_backup_on_a_terminal(repo: Path, small: Path, text: Path) -> None:
    """Results of the disks stay on the screen."""
    words = ["backup", str(small), str(text), "--source", "vm", "--repo", str(repo), "--no-password"]
    done = subprocess.run(
        ["script", "-qec", shlex.join([sys.executable, "-m", "asyncvddk", *words]), "/dev/null"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert f"{small}: 16.0 MiB in" in done.stdout
    assert "of vm: 2 disks in" in done.stdout
