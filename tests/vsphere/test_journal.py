"""The journal: on disk before the act, readable after any crash, deleted when all is undone."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from asyncvddk.vsphere import JournalError
from asyncvddk.vsphere._journal import Journal, JournalFile, Record, default_folder, journals

if TYPE_CHECKING:
    from pathlib import Path

FACTS = {"vm": "vm-1", "machine": "web", "name": "asyncvddk-1"}


def new(folder: Path) -> JournalFile:
    """Return a new journal."""
    return JournalFile.create(folder, server="vc.test", instance="uuid-1")


def test_what_was_begun_and_not_ended_is_left(tmp_path: Path) -> None:
    """With all that was learnt of it; the others are forgotten. Only the owner may read it."""
    journal = new(tmp_path / "deep" / "journal")
    one, two = journal.begin("snapshot", FACTS), journal.begin("access", {"vm": "vm-1", "identity": "me"})
    journal.know(one, {"moref": "snapshot-7"})
    journal.end(two)
    record = Record.read(journal.path.read_bytes())
    assert (record.server, record.instance, record.pid, record.damage) == ("vc.test", "uuid-1", os.getpid(), None)
    assert [(entry.kind, entry.facts) for entry in record.entries.values()] == [
        ("snapshot", FACTS | {"moref": "snapshot-7"})
    ]
    assert (journal.path.stat().st_mode & 0o777, journal.path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert not journal.close()
    assert journals(journal.path.parent) == [journal.path]


def test_a_journal_of_nothing_is_deleted(tmp_path: Path) -> None:
    """All is undone, so nobody has to look at it; a folder that does not exist has none."""
    journal = new(tmp_path)
    journal.end(journal.begin("snapshot", FACTS))
    assert journal.close()
    assert journal.close()
    assert journals(tmp_path) == journals(tmp_path / "none") == []


def test_any_prefix_of_it_can_be_read(tmp_path: Path) -> None:
    """Cut wherever: what is whole counts, and a last line that is cut was not acted upon."""
    journal = new(tmp_path)
    journal.know(journal.begin("snapshot", FACTS), {"moref": "snapshot-7"})
    journal.end(journal.begin("access", {"vm": "vm-1"}))
    journal.close()
    data = journal.path.read_bytes()
    lines = data.splitlines(keepends=True)
    for length in range(len(data)):
        record = Record.read(data[:length])
        whole = sum(len(b"".join(lines[: number + 1])) <= length for number in range(len(lines)))
        assert record.damage is None
        assert len(record.entries) == (0, 0, 1, 1, 2, 1)[whole]


def test_one_that_was_cut_is_gone_on_with(tmp_path: Path) -> None:
    """The next line is whole again, and so is the number of the next entry."""
    journal = new(tmp_path)
    first = journal.begin("snapshot", FACTS)
    journal.close()
    with journal.path.open("ab") as file:
        file.write(b'{"act": "begin", "entry": 2, "ki')
    again = JournalFile.take_over(journal.path)
    assert again is not None
    assert again.begin("access", {"vm": "vm-2"}) == first + 1
    again.end(first)
    again.close()
    record = Record.read(again.path.read_bytes())
    assert record.damage is None
    assert [entry.kind for entry in record.entries.values()] == ["access"]


@pytest.mark.parametrize(
    "line", ["nonsense", "[]", '{"act": "dance", "entry": 1}', '{"act": "begin", "entry": 1, "kind": "x"}', "{}"]
)
def test_damage_is_told_and_the_rest_is_read(tmp_path: Path, line: str) -> None:
    """The file stays then: somebody has to look."""
    journal = new(tmp_path)
    journal.begin("snapshot", FACTS)
    journal.close()
    data = journal.path.read_bytes()
    journal.path.write_bytes(data + line.encode() + b"\n" + data.splitlines(keepends=True)[1].replace(b": 1", b": 9"))
    again = JournalFile.take_over(journal.path)
    assert again is not None
    assert str(again.record.damage).startswith("line 3")
    assert sorted(again.record.entries) == [1, 9]
    for number in (1, 9):
        again.end(number)
    assert not again.close()


def test_a_journal_of_another_version_is_not_guessed_at() -> None:
    """It is damage, as far as we know."""
    line = json.dumps({"act": "run", "version": 2, "server": "s", "instance": "i", "began": 0, "pid": 1})
    assert "version 2" in str(Record.read(line.encode() + b"\n").damage)


def test_where_no_journal_can_be_kept_nothing_is_begun(tmp_path: Path) -> None:
    """Said with the folder's name."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JournalError, match=r"file.*nothing is begun"):
        new(tmp_path / "file" / "journal")


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be announced is not in the journal."""
    journal = new(tmp_path)
    before = journal.path.read_bytes()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:5]))
        with pytest.raises(JournalError, match="No space left"):
            journal.begin("snapshot", FACTS)
    assert journal.path.read_bytes() == before
    journal.begin("snapshot", FACTS)
    journal.close()
    assert len(Record.read(journal.path.read_bytes()).entries) == 1


def test_the_journal_of_a_process_that_lives_is_left_alone(tmp_path: Path) -> None:
    """One that was killed is taken over; it holds what was fsynced before."""
    script = """
        import sys, pathlib, signal
        from asyncvddk.vsphere._journal import JournalFile
        journal = JournalFile.create(pathlib.Path(sys.argv[1]), server="vc.test", instance="uuid-1")
        journal.begin("snapshot", {"vm": "vm-1"})
        print("ready", flush=True)
        signal.pause()
    """
    script = "\n".join(line.strip() for line in script.splitlines())
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.readline()
        (path,) = journals(tmp_path)
        try:
            assert JournalFile.take_over(path) is None
        finally:
            process.kill()
    taken = JournalFile.take_over(path)
    assert taken is not None
    assert [entry.facts for entry in taken.record.entries.values()] == [{"vm": "vm-1"}]
    taken.end(1)
    assert taken.close()
    assert JournalFile.take_over(path) is None


async def test_a_line_is_on_disk_before_the_act(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call ends with fsync; a cancelled one announces nothing."""
    order: list[str] = []
    write, sync = os.write, os.fsync
    go, arrived = threading.Event(), threading.Event()

    def slow_sync(fd: int) -> None:
        arrived.set()
        go.wait(30)
        sync(fd)
        order.append("fsync")

    def noted_write(fd: int, data: bytes) -> int:
        order.append("write")
        return write(fd, data)

    async with Journal.open(tmp_path, server="s", instance="i") as journal:
        monkeypatch.setattr(os, "write", noted_write)
        monkeypatch.setattr(os, "fsync", slow_sync)
        begun = asyncio.ensure_future(journal.begin("snapshot", **FACTS))
        assert await asyncio.to_thread(arrived.wait, 30)
        begun.cancel()
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await begun
        assert list(journal.left) == []
        assert order == ["write", "fsync"] * 2
    assert journals(tmp_path) == []


def test_its_place_is_the_users_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As the XDG rules have it."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert default_folder() == tmp_path / "asyncvddk" / "journal"
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".local" / "state" / "asyncvddk" / "journal"
