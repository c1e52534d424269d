"""The lock folder beside a disk: writers see each other and VMware's programs, and the dead keep nobody out."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import (
    LOADER_ENVIRONMENT,
    MONOLITHIC_FLAT,
    MONOLITHIC_SPARSE,
    READ_ONLY,
    SECTOR,
    SPLIT_SPARSE,
    EngineError,
    names,
)
from tests.engine.test_access import HOLDER, unprivileged

if TYPE_CHECKING:
    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu

ROOT = Path(__file__).resolve().parents[2]
TYPES = {"sparse": MONOLITHIC_SPARSE, "flat": MONOLITHIC_FLAT, "split": SPLIT_SPARSE}
ENTRY = re.compile(r"uuid=(\S+) (\d+)-(\d+)\(\S+\) (\d+) X (\d+) lc=(\d+) boot=(\S+) pidns=(\d+)")


def entry_of(path: Path) -> str:
    """Return the only entry in the lock folder of a disk."""
    folder = path.with_name(path.name + ".lck")
    (file,) = folder.iterdir()
    assert re.fullmatch(r"M\d{5}\.lck", file.name)
    content = file.read_bytes()
    assert len(content) == 512
    return content.rstrip(b"\0").decode()


def enter(path: Path, line: str | bytes, name: str = "M00001.lck") -> Path:
    """Make an entry for somebody else."""
    file = path.with_name(path.name + ".lck") / name
    file.parent.mkdir()
    file.write_bytes(line if isinstance(line, bytes) else line.encode().ljust(512, b"\0"))
    return file


@pytest.mark.parametrize("name", TYPES)
def test_a_writer_is_entered_as_vmware_programs_are(name: str, engine: Engine, tmp_path: Path) -> None:
    """Machine, process with its start, number, X, start, checksum of the folder's path; gone after close."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[name])
    files = names(tmp_path)
    with engine.open(path) as disk:
        found = ENTRY.fullmatch(entry_of(path))
        assert found
        assert int(found[2]) == os.getpid()
        assert found[3] == found[5] == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        checksum = 5381
        for byte in bytes(tmp_path / "d.vmdk.lck"):
            checksum = (checksum * 33 + byte) % (1 << 32)
        assert int(found[6]) == checksum
        assert found[4] == "1"
        disk.write(0, b"x" * SECTOR)
        assert len(list((tmp_path / "d.vmdk.lck").iterdir())) == 1
    assert names(tmp_path) == files


def test_readers_and_parents_are_not_entered(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Reading needs no lock, so it works in folders that cannot be written and beside a writer."""
    qemu.create(tmp_path / "base.vmdk", 1 << 20)
    qemu.create(tmp_path / "top.vmdk", 1 << 20, backing="base.vmdk")
    files = names(tmp_path)
    with engine.open(tmp_path / "top.vmdk", READ_ONLY):
        assert names(tmp_path) == files
    with engine.open(tmp_path / "top.vmdk"):
        assert names(tmp_path) == [*files, "top.vmdk.lck"]


@pytest.mark.parametrize("name", TYPES)
def test_the_entry_of_a_killed_writer_is_recovered(
    name: str, engine: Engine, library: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A process killed by -9 leaves it; the next writer removes it, says so, and leaves nothing; so does Unlink."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[name])
    files = names(tmp_path)
    for end in ("open", "unlink"):
        folder = tmp_path_factory.mktemp("holder")
        command: list[str | Path] = [sys.executable, "-c", HOLDER, library, folder, path]
        with subprocess.Popen(
            command, cwd=ROOT, env=LOADER_ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder:
            assert holder.stdout
            assert holder.stdout.readline() == "open\n"
            holder.send_signal(signal.SIGKILL)
        assert f" {holder.pid}-" in entry_of(path)
        assert engine.open_error(path, READ_ONLY) is None
        if end == "open":
            with engine.open(path) as disk:
                assert any("left behind" in warning for warning in engine.warnings)
                disk.write(0, b"y" * SECTOR)
            assert names(tmp_path) == files
        else:
            engine.unlink(path)
            assert names(tmp_path) == []


VMWARE = "AbCdEfGhIjKlMnOp 4711-99(vmware-vmx) 3 X 99 lc=12345"
OTHERS: dict[str, tuple[str | bytes, str, str]] = {
    "exclusive": (VMWARE, "M00001.lck", "4711-99(vmware-vmx)"),
    "shared": (VMWARE.replace(" X ", " S "), "M00001.lck", "4711-99(vmware-vmx)"),
    "without properties": ("AbCdEfGhIjKlMnOp 4711 1 X", "M00001.lck", "4711"),
    "unknown": (b"something else", "M12345.lck", "unknown program"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_somebody_elses_entry_refuses_writers_and_stays(case: str, engine: Engine, tmp_path: Path) -> None:
    """15, with the owner and the place; reading goes on; Unlink deletes nothing."""
    line, name, told = OTHERS[case]
    path = engine.create(tmp_path / "d.vmdk", 8192)
    file = enter(path, line, name)
    before = file.read_bytes()
    for _ in range(2):
        error = engine.open_error(path, 0)
        assert error
        assert error.code == 15
        assert told in error.text
        assert str(file) in error.text
        with pytest.raises(EngineError) as caught:
            engine.unlink(path)
        assert caught.value.code == 15
    assert engine.open_error(path, READ_ONLY) is None
    assert names(file.parent) == [name]
    assert file.read_bytes() == before


def test_a_program_of_vmware_that_is_entering_refuses_writers(engine: Engine, tmp_path: Path) -> None:
    """Its folder D announces an entry; a plain file is an old kind of lock."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    lock = tmp_path / "d.vmdk.lck"
    (lock / "D00007.lck").mkdir(parents=True)
    error = engine.open_error(path, 0)
    assert error
    assert error.code == 15
    assert names(lock) == ["D00007.lck"]
    (lock / "D00007.lck").rmdir()
    lock.rmdir()
    lock.write_text("17")
    error = engine.open_error(path, 0)
    assert error
    assert error.code == 15
    assert lock.read_text() == "17"


def altered(line: str, case: str) -> str | bytes:
    """Return this process's entry with another owner."""
    found = ENTRY.fullmatch(line)
    assert found
    pid, start = found[2], found[3]
    lines: dict[str, str | bytes] = {
        "of a process that is gone": line.replace(f" {pid}-", " 4194305-"),
        "of an earlier process of the same number": line.replace(f"-{start}(", "-1("),
        "before the last boot": line.replace(found[7], "00000000-0000-0000-0000-000000000000"),
        "of another container": line.replace(f"pidns={found[8]}", "pidns=1"),
        "copied with the folder": line.replace(f"lc={found[6]}", "lc=1"),
        "without content, after a power cut": b"",
        "of zeros, after a power cut": bytes(512),
        "of this living process": line,
        "of another machine": line.replace(found[1], "0123456789abcdef0123456789abcdef"),
        "of another machine, process gone": line.replace(found[1], "0" * 32).replace(f" {pid}-", " 4194305-"),
    }
    return lines[case]


@pytest.mark.parametrize(
    ("case", "gone"),
    [
        ("of a process that is gone", True),
        ("of an earlier process of the same number", True),
        ("before the last boot", True),
        ("of another container", True),
        ("copied with the folder", True),
        ("without content, after a power cut", True),
        ("of zeros, after a power cut", True),
        ("of this living process", False),
        ("of another machine", False),
        ("of another machine, process gone", False),
    ],
)
def test_an_entry_is_removed_only_if_its_owner_is_certainly_gone(
    case: str, *, gone: bool, engine: Engine, tmp_path: Path
) -> None:
    """The kernel's lock is free in all of these cases, which is what the process of another container would hold."""
    path = engine.create(tmp_path / "d.vmdk", 8192, MONOLITHIC_FLAT)
    with engine.open(path):
        line = entry_of(path)
    file = enter(path, altered(line, case))
    error = engine.open_error(path, 0)
    assert (error is None) is gone
    assert file.exists() is not gone
    if error:
        assert error.code == 15


def test_what_was_never_finished_is_cleared_away(engine: Engine, tmp_path: Path) -> None:
    """An empty lock folder, an entry without its name yet."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    for name in (None, "E00003.lck"):
        (tmp_path / "d.vmdk.lck").mkdir()
        if name:
            (tmp_path / "d.vmdk.lck" / name).touch()
        assert engine.open_error(path, 0) is None
        assert names(tmp_path) == ["d.vmdk"]


def test_a_folder_that_cannot_be_written_is_warned_about(engine: Engine, tmp_path: Path) -> None:
    """The kernel's lock still keeps writers apart there."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    path.chmod(0o666)
    tmp_path.chmod(0o555)
    with unprivileged(tmp_path), engine.open(path) as disk:
        assert any("d.vmdk.lck" in warning for warning in engine.warnings)
        disk.write(0, b"x" * SECTOR)
        error = engine.open_error(path, 0)
        assert error
        assert error.code == 15


def test_a_forked_child_leaves_the_entry_alone(engine: Engine, tmp_path: Path) -> None:
    """It has a copy of the handle, but the lock is its parent's."""
    path = engine.create(tmp_path / "d.vmdk", 8192)
    with engine.open(path) as disk:
        child = os.fork()
        if child == 0:
            os._exit(engine.code("Close", disk.handle))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert f" {os.getpid()}-" in entry_of(path)
        error = engine.open_error(path, 0)
        assert error
        assert error.code == 15


RACER = """
import os, sys, tempfile
from pathlib import Path
from tests.engine.driver import Engine
library, disk, inside, rounds = sys.argv[1:]
with tempfile.TemporaryDirectory() as folder:
    engine = Engine(Path(library), Path(folder))
    won = 0
    while won < int(rounds):
        try:
            with engine.open(disk):
                os.mkdir(inside)
                won += 1
                os.rmdir(inside)
        except Exception as e:
            if getattr(e, "code", 0) != 15:
                raise
    print(won)
"""


@pytest.mark.parametrize("name", TYPES)
def test_of_eight_processes_one_has_the_disk_at_a_time(
    name: str, engine: Engine, library: Path, tmp_path: Path
) -> None:
    """Each has it thirty times; whoever is inside while another is fails on the marker."""
    path = engine.create(tmp_path / "d.vmdk", 8192, TYPES[name])
    files = names(tmp_path)
    command: list[str | Path] = [sys.executable, "-c", RACER, library, path, tmp_path / "inside", "30"]
    racers = [
        subprocess.Popen(command, cwd=ROOT, env=LOADER_ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(8)
    ]
    results = [racer.communicate() for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 8, results
    assert names(tmp_path) == files
