"""``asyncvddk forget``, ``gc`` and ``key``: what they take away is what was asked for, and nothing else."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from asyncvddk import Secret
from asyncvddk.cli._text import parse_duration
from asyncvddk.repository import Argon2Cost, open_store
from asyncvddk.repository._opening import make, new_config
from tests.cli.conftest import MIB
from tests.fix_package import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command, Ran, Repo

pytestmark = pytest.mark.usefixtures("repo")

CTRL_C = b"\x03"
CHEAP = Argon2Cost(memory_kib=64, iterations=1, lanes=1)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Make a raw image of two MiB."""
    path = tmp_path / "a.img"
    path.write_bytes(b"\1" * MIB + b"\2" * MIB)
    return path


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make an encrypted repository whose password, ``sesame``, is quick to try; new ones are so, too."""
    monkeypatch.setattr("asyncvddk.repository._repository.Argon2Cost", lambda: CHEAP)
    monkeypatch.setenv("ASYNCVDDK_PASSWORD", "sesame")
    store = open_store(tmp_path / "locked", create=True)
    secret = Secret("sesame")
    make(store, secret, new_config(secret, chunk_size=MIB, level=1), CHEAP)
    store.close()
    return tmp_path / "locked"


def ids(ran: Ran) -> list[str]:
    """Return the ids of the snapshots that a command listed."""
    assert ran.status == 0, ran.err
    return [one["id"] for one in ran.events]


def test_rules_say_what_is_kept_and_why(run: Repo, image: Path) -> None:
    """Of each source by itself; a dry run changes nothing; the table tells the reason."""
    first, second = run.backup(image, "--tag", "yearly"), run.backup(image)
    third, other = run.backup(image), run.backup(image, "--source", "other")
    words = ("forget", "--keep-last", "1", "--keep-tag", "yearly")
    for dry_run in (True, False):
        ran = run(*words, "--json", *(["--dry-run"] if dry_run else []))
        kept = {one["id"]: one["reasons"] for one in ran.events if one["event"] == "snapshot" and one["keep"]}
        assert kept == {first: ["tag"], third: ["last"], other: ["last"]}
        assert ran.events[-1] == {"event": "summary", "forgotten": 1, "kept": 3, "dry_run": dry_run}
        assert (second in ids(run("snapshots", "--json"))) == dry_run
    run.backup(image)
    lines = run("forget", "--source", "a.img", "--keep-last", "2").out.splitlines()
    assert lines[0].split() == ["SNAPSHOT", "TIME", "SOURCE", "TAGS", "STATE"]
    assert [line.split("  ")[-1].strip() for line in lines[1:-1]] == ["kept: last", "kept: last", "forgotten"]
    assert lines[-1].startswith("1 snapshot forgotten, 2 kept; for 7 days asyncvddk forget --undelete ID")
    assert other in ids(run("snapshots", "--json"))


def test_given_snapshots_are_forgotten_and_brought_back(run: Repo, image: Path) -> None:
    """By the beginnings of their ids."""
    first, second = run.backup(image), run.backup(image)
    tried = run("forget", first[:8], "--dry-run")
    assert tried.out.startswith(f"would be forgotten: snapshot {first} of a.img, ")
    assert tried.out.endswith("1 snapshot would be forgotten\n")
    assert ids(run("snapshots", "--json")) == [first, second]
    assert f"forgotten: snapshot {first} of" in run("forget", first[:8], first).out
    assert ids(run("snapshots", "--json")) == [second]
    assert ids(run("snapshots", "--trash", "--json")) == [first]
    assert run("forget", "--undelete", first[:8]).out.startswith(f"brought back: snapshot {first} of a.img, ")
    assert ids(run("snapshots", "--json")) == [first, second]
    assert run("forget", first, "0000", "--json").events[-1]["type"] == "SnapshotNotFoundError"
    assert ids(run("snapshots", "--json")) == [first, second]


def test_rules_never_leave_a_source_without_a_snapshot(run: Repo, image: Path) -> None:
    """Nothing is forgotten then, of the other sources neither."""
    run.backup(image, "--tag", "yearly")
    run.backup(image, "--source", "other")
    before = ids(run("snapshots", "--json"))
    for words in (("--keep-tag", "yearly"), ("--keep-tag", "yearly", "--dry-run")):
        ran = run("forget", *words)
        assert ran.status == 1
        assert "these rules keep no snapshot of other, so nothing was forgotten" in ran.error
    assert ids(run("snapshots", "--json")) == before
    assert run("forget", "--keep-tag", "yearly", "--source", "a.img").status == 0
    assert run("forget", "--source", "nobody", "--keep-last", "1").out == "0 snapshots forgotten, 0 kept\n"


def test_job_has_rules_source_and_repository(
    command: Command, run: Repo, repo: Path, image: Path, tmp_path: Path
) -> None:
    """The rules of the file are checked, those of the command line come first."""
    (tmp_path / "config.toml").write_text(
        f'[repositories.here]\nurl = "{repo}"\n'
        f'[jobs.nightly]\nrepository = "here"\ndisks = ["{image}"]\nkeep = {{last = 2, tags = ["yearly"]}}\n'
        '[jobs.bare]\nrepository = "here"\n'
        '[jobs.wrong]\nrepository = "here"\nkeep = {lst = 2}\n'
        '[jobs.worse]\nrepository = "here"\nkeep = {last = "2"}\n'
        '[jobs.worst]\nrepository = "here"\nkeep = {tags = "yearly"}\n'
    )
    made = [run.backup(image, "--source", "other"), *(run.backup(image) for _ in range(4))]
    ran = command("forget", "--job", "nightly", "--no-password")
    assert ran.status == 0, ran.err
    assert ids(run("snapshots", "--json")) == [made[0], *made[3:]]
    assert command("forget", "--job", "nightly", "--keep-last", "1", "--no-password").status == 0
    assert ids(run("snapshots", "--json")) == [made[0], made[4]]
    for job, status, told in (
        ("bare", 2, "says not what to keep"),
        ("wrong", 1, "keep.lst is unknown"),
        ("worse", 1, "keep.last has to be a number"),
        ("worst", 1, "keep.tags has to be a list of text"),
        ("none", 1, "there is no job"),
    ):
        refused = command("forget", "--job", job, "--no-password")
        assert (refused.status, told in refused.error) == (status, True), refused.error


def test_snapshot_that_cannot_be_read_is_removed_by_its_id(run: Repo, repo: Path, image: Path) -> None:
    """And only such a one."""
    first, second = run.backup(image), run.backup(image)
    assert "can be read" in run("forget", "--damaged", first).error
    (file,) = [path for path in (repo / "snapshots").rglob("*") if path.name.endswith(first)]
    file.chmod(0o600)
    file.write_bytes(b"gone")
    verified = run("verify")
    assert (verified.status, f"snapshot {first}: all of it" in verified.out) == (1, True)
    assert run("forget", "--damaged", first).out == f"removed for good: snapshot {first}\n"
    assert ids(run("snapshots", "--json")) == [second]


def test_collection_plans_waits_and_frees(run: Repo, repo: Path, image: Path) -> None:
    """In so many runs, each told in words; a dry run says what the run after it does."""

    def chunks() -> int:
        return sum(file.is_file() for file in (repo / "chunks").rglob("*"))

    first = run.backup(image)
    image.write_bytes(b"\3" * MIB + b"\2" * MIB)
    run.backup(image)
    kept = run("forget", first, "--prune").out.splitlines()[-1]
    assert kept == "nothing to free yet: 1 forgotten snapshot can still be brought back"
    assert run("gc", "--trash", "0", "--dry-run").out.startswith("to purge: 1 forgotten snapshot\nto plan: ")
    planned = run("gc", "--trash", "0").out
    assert planned.startswith("purged: 1 forgotten snapshot\nplanned: ")
    assert planned.endswith("in 3 objects, which a gc in 24 h or later deletes unless they are used again\n")
    waiting = run("gc").out
    assert waiting.startswith("waiting: ")
    assert chunks() == 3
    assert run("gc", "--grace", "0", "--dry-run").out.startswith("to free: ")
    assert chunks() == 3
    (freed,) = run("gc", "--grace", "0", "--json").events
    assert (freed["swept"], freed["planned"], freed["dry_run"]) == (3, 0, False)
    assert freed["freed"] > 0
    assert chunks() == 2
    assert run("gc").out == "nothing to free\n"


def test_collection_beside_another_is_refused_and_a_backup_is_waited_for(run: Repo, repo: Path, image: Path) -> None:
    """Status 11; and the name of the backup that did not say yet what it keeps."""
    first = run.backup(image)
    image.write_bytes(b"\3" * MIB)
    run.backup(image)
    run("forget", first)
    run("gc", "--trash", "0")
    session = "29990101T000000Z-0123456789abcdef"
    (repo / "sessions" / session).mkdir(parents=True)
    (repo / "sessions" / session / "pin").write_bytes(b"")
    assert run("gc", "--grace", "0").out.startswith(
        f"postponed: nothing is deleted before 1 running backup ({session})"
    )
    (repo / "gc" / "lock" / "ab").mkdir(parents=True)
    (repo / "gc" / "lock" / "ab" / "99999999999").write_bytes(b"")
    busy = run("gc")
    assert busy.status == 11
    assert "another collection is at work" in busy.error


def test_keys_are_added_changed_listed_and_removed(
    command: Command, locked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each password opens all; removed and replaced ones do not; the last key stays; no password is told."""

    def key(*words: str, password: str) -> Ran:
        monkeypatch.setenv("ASYNCVDDK_PASSWORD", password)
        ran = command("key", *words, "--repo", locked)
        assert not any(word in ran.out + ran.err for word in ("sesame", "second", "third"))
        return ran

    def opens(password: str) -> bool:
        return key("list", password=password).status == 0

    (first,) = [line.split()[0] for line in key("list", password="sesame").out.splitlines()[1:]]  # noqa: S106
    last = key("remove", first, password="sesame")  # noqa: S106
    assert (last.status, "the last key slot" in last.error) == (1, True)
    monkeypatch.setenv("ASYNCVDDK_NEW_PASSWORD", "second")
    assert key("add", password="sesame").out.endswith("added: both passwords open the repository\n")  # noqa: S106
    assert [opens("sesame"), opens("second")] == [True, True]
    (tmp_path / "new").write_text("third\n")
    changed = key("change-password", "--new-password-file", str(tmp_path / "new"), "--json", password="second")  # noqa: S106
    assert [event["event"] for event in changed.events] == ["changed"]
    assert [opens("sesame"), opens("second"), opens("third")] == [True, False, True]
    found = [event["id"] for event in key("list", "--json", password="third").events]  # noqa: S106
    assert (len(found), found[0]) == (2, first)
    assert key("remove", first[:6], password="third").out.startswith(f"key {first} removed")  # noqa: S106
    assert [opens("sesame"), opens("third")] == [False, True]
    assert key("add", password="sesame").status == 12  # noqa: S106
    assert "no such key slot" in key("remove", "zz", password="third").error  # noqa: S106


def test_new_password_is_needed_and_a_plain_repository_has_no_keys(run: Repo, command: Command, locked: Path) -> None:
    """Before anything changes; the password in use is no new one."""
    ran = command("key", "add", "--repo", locked)
    assert ran.status == 2
    assert "--new-password-file" in ran.error
    plain = run("key", "list")
    assert plain.status == 1
    assert "not encrypted, so it has no keys" in plain.error


@pytest.mark.parametrize(
    ("answers", "status", "told"),
    [
        ([b"sesame\n", b"new\n", b"new\n"], 0, b"added: both passwords open"),
        ([b"sesame\n", b"new\n", b"other\n"], 1, b"two different passwords"),
        ([b"\n"], 1, b"the password is empty"),
        ([b"\x04"], 1, b"the password is empty"),
        ([CTRL_C], 130, b""),
    ],
    ids=["right", "different", "none", "end", "Ctrl-C"],
)
def test_passwords_are_asked_for_on_a_terminal(
    locked: Path, monkeypatch: pytest.MonkeyPatch, answers: list[bytes], status: int, told: bytes
) -> None:
    """The new one twice; none is shown; Ctrl-C is heard at once."""
    monkeypatch.delenv("ASYNCVDDK_PASSWORD")
    said, left = talk(["key", "add", "--repo", str(locked)], [b"password: ", b"new password: ", b"more: "], answers)
    assert left == status
    assert told in said
    assert b"Traceback" not in said
    assert b"sesame" not in said


def talk(words: list[str], questions: list[bytes], answers: list[bytes]) -> tuple[bytes, int]:
    """Run the command on a terminal, answer its questions, and return what it said, and its status."""
    ours, theirs = pty.openpty()
    said, heard = b"", b""
    with subprocess.Popen(
        ["setsid", "--ctty", sys.executable, "-m", "asyncvddk", *words],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        with suppress(OSError):  # how the end of a terminal looks
            for question, answer in zip(questions, answers, strict=False):
                while question not in heard:
                    heard += os.read(ours, 1000)
                said, heard = said + heard, b""
                os.write(ours, answer)
            part = b"more"
            while part:
                if select.select([ours], [], [], 1)[0]:
                    part = os.read(ours, 1000)
                    said += part
                elif answers[-1] == CTRL_C:  # Python misses one that comes just before it waits: users press again
                    os.write(ours, CTRL_C)
        os.close(ours)
    return said + heard, process.returncode


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("forget",), "which snapshots"),
        (("forget", "--gc"), "which snapshots"),
        (("forget", "--keep-last", "0"), "which snapshots"),
        (("forget", "--keep-last=-1"), "--keep-last"),
        (("forget", "abcd", "--keep-last", "1"), "not both"),
        (("forget", "abcd", "--undelete", "abcd"), "--undelete"),
        (("forget", "--damaged", "--keep-last", "1"), "--damaged"),
        (("forget", "abcd", "--damaged", "--dry-run"), "--damaged"),
        (("gc", "--grace", "soon"), "no duration"),
        (("key",), "ACTION"),
        (("key", "rename"), "ACTION"),
        (("key", "remove"), "ID"),
        (("key", "list", "abcd"), "ID"),
        (("key", "list", "--new-password-file", "x"), "no new password"),
    ],
)
def test_wrong_usage_is_one_line(run: Repo, arguments: tuple[str, ...], told: str) -> None:
    """Status 2."""
    ran = run(*arguments)
    assert ran.status == 2
    assert told in ran.error


def test_durations_are_read() -> None:
    """With a unit, but for none at all."""
    assert [parse_duration(text) for text in ("0", "90s", "30m", "12H", "7d")] == [0, 90, 1800, 43200, 604800]
    for text in ("", "5", "1.5h", "-1d", "d"):
        with pytest.raises(ValueError, match="no duration"):
            parse_duration(text)
