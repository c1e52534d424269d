"""The command line as a whole, and its smaller commands."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from asyncvddk import __version__
from asyncvddk.cli.create_cmd import example_data
from tests.cli.conftest import MIB, names, spawn
from tests.engine.qemu import SUBFORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command
    from tests.engine.qemu import Qemu


def test_help_lists_the_commands(command: Command) -> None:
    """With what they are for."""
    ran = command("--help")
    assert ran.status == 0
    for name in ("copy", "info", "map", "create", "write"):
        assert f" {name} " in ran.out


@pytest.mark.parametrize("name", ["copy", "info", "map", "create", "write"])
def test_every_command_explains_itself(command: Command, name: str) -> None:
    """Without loading a library."""
    ran = command(name, "--help")
    assert ran.status == 0
    assert f"Usage: asyncvddk {name}" in ran.out


def test_version_is_the_package_s(command: Command) -> None:
    """And nothing else."""
    assert command("--version").out == f"{__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("frobnicate",), "Unknown command"),
        (("info",), "requires an argument"),
        (("info", "--nope", "a"), "Unknown option"),
        (("create", "a.vmdk"), "--size"),
        (("create", "a.vmdk", "--size", "100"), "multiple of 512"),
        (("create", "a.vmdk", "--size", "1Q"), "no size"),
    ],
)
def test_wrong_usage_is_one_line(command: Command, arguments: tuple[str, ...], text: str) -> None:
    """Status 2."""
    ran = command(*arguments)
    assert ran.status == 2
    assert text in ran.error


@pytest.mark.parametrize("name", ["info", "map"])
def test_missing_disk_is_one_line(command: Command, tmp_path: Path, name: str) -> None:
    """Status 1, the file is named."""
    ran = command(name, tmp_path / "missing.vmdk")
    assert ran.status == 1
    assert str(tmp_path / "missing.vmdk") in ran.error
    assert ran.out == ""


def test_library_that_is_not_there_is_one_line(command: Command, disk: Path, tmp_path: Path) -> None:
    """As another VDDK's folder that does not exist."""
    ran = command("info", disk, "--libdir", tmp_path / "vddk")
    assert ran.status == 1
    assert str(tmp_path / "vddk") in ran.error


def test_configuration_that_is_not_there_is_one_line(command: Command, disk: Path, tmp_path: Path) -> None:
    """Its name is in it."""
    ran = command("info", disk, "--config", tmp_path / "vddk.conf")
    assert ran.status == 1
    assert str(tmp_path / "vddk.conf") in ran.error


def test_command_line_without_its_extra_says_what_to_install() -> None:
    """No traceback when cyclopts is missing."""
    script = "import sys; sys.modules['cyclopts'] = None; from asyncvddk.cli import main; sys.exit(main(['info']))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr == "asyncvddk: the command line needs cyclopts: pip install 'asyncvddk[cli]'\n"


@pytest.mark.parametrize("kind", SUBFORMATS)
def test_info_tells_what_qemu_made(command: Command, qemu: Qemu, tmp_path: Path, kind: str) -> None:
    """Size, kind, adapter, chain."""
    base = qemu.create(tmp_path / "base.vmdk", 3 * MIB, f"subformat={kind}", "adapter_type=lsilogic")
    ran = command("info", "--json", base)
    assert ran.status == 0, ran.err
    facts = json.loads(ran.out)
    expected = {"path": str(base), "size": 3 * MIB, "type": kind, "adapter": "lsilogic", "links": 1, "parent": None}
    assert {key: facts[key] for key in expected} == expected
    assert facts["metadata"]["adapterType"] == "lsilogic"


def test_info_of_a_snapshot_names_its_parent(command: Command, qemu: Qemu, tmp_path: Path) -> None:
    """And counts the links."""
    qemu.create(tmp_path / "base.vmdk", MIB)
    qemu.create(tmp_path / "top.vmdk", MIB, backing="base.vmdk")
    ran = command("info", tmp_path / "top.vmdk")
    assert ran.status == 0, ran.err
    rows = {line.split()[0]: line.split(maxsplit=1)[1].strip() for line in ran.out.splitlines()}
    assert rows["links"] == "2"
    assert rows["parent"] == "base.vmdk"
    assert rows["size"] == "1.0 MiB (1048576 bytes)"


def test_map_lists_what_was_written(command: Command, qemu: Qemu, tmp_path: Path) -> None:
    """In 64 KiB, for people and for programs."""
    disk = qemu.create(tmp_path / "a.vmdk", 3 * MIB)
    qemu.write(disk, (65536, 512, 1), (2 * MIB, MIB, 2))
    areas = [(65536, 65536), (2 * MIB, MIB)]
    ran = command("map", disk)
    head, *lines, last = ran.out.splitlines()
    assert head.split() == ["OFFSET", "LENGTH", "END"]
    assert [tuple(map(int, line.split())) for line in lines] == [(at, size, at + size) for at, size in areas]
    assert last == "2 areas: 1.1 MiB of 3.0 MiB allocated (35.4%)"
    *objects, totals = command("map", "--json", disk).events
    assert [(area["offset"], area["length"]) for area in objects] == areas
    assert totals == {"areas": 2, "allocated": MIB + 65536, "size": 3 * MIB}


@pytest.mark.parametrize("kind", ["monolithicSparse", "monolithicFlat", "vmfs"])
def test_created_disk_is_what_was_asked_for(command: Command, qemu: Qemu, tmp_path: Path, kind: str) -> None:
    """By qemu's word: size, zeros."""
    path = tmp_path / "a.vmdk"
    ran = command("create", path, "--size", "3M", "--type", kind, "--adapter", "ide")
    assert ran.status == 0, ran.err
    assert qemu.content(path, tmp_path / "a.raw") == bytes(3 * MIB)
    assert command("info", "--json", path).out.count('"ide"') == 2


def test_example_data_is_the_same_each_time(command: Command, qemu: Qemu, tmp_path: Path) -> None:
    """In several places, and with room between them."""
    for name in ("one", "two"):
        assert command("create", tmp_path / f"{name}.vmdk", "--size", "96M", "--example").status == 0
    contents = [qemu.content(tmp_path / f"{name}.vmdk", tmp_path / f"{name}.raw") for name in ("one", "two")]
    assert contents[0] == contents[1]
    for block, data in example_data(96 * MIB):
        assert contents[0][block.offset : block.end] == data
    allocated = sum(block.length for block, _ in example_data(96 * MIB))
    assert 0 < allocated < 96 * MIB


@pytest.mark.parametrize("size", [512, 1024, 8192, 65536 + 512, MIB])
def test_example_fits_into_small_disks(command: Command, tmp_path: Path, size: int) -> None:
    """From a single sector on."""
    assert command("create", tmp_path / "a.vmdk", "--size", str(size), "--example").status == 0
    assert command("map", tmp_path / "a.vmdk").status == 0


def test_create_replaces_only_by_force(command: Command, tmp_path: Path) -> None:
    """The old disk stays otherwise."""
    path = tmp_path / "a.vmdk"
    path.write_text("old")
    ran = command("create", path, "--size", "1M")
    assert ran.status == 1
    assert ran.error == f"asyncvddk: {path}: destination exists (--force replaces it)"
    assert path.read_text() == "old"
    assert command("create", path, "--size", "1M", "--force").status == 0
    assert names(tmp_path) == ["a.vmdk"]


@pytest.mark.parametrize("piped", [False, True], ids=["file", "pipe"])
def test_written_bytes_are_there_and_the_rest_stays(disk: Path, tmp_path: Path, qemu: Qemu, *, piped: bool) -> None:
    """More than a piece, from a place inside of a sector; qemu-img reads them."""
    before = qemu.content(disk, tmp_path / "before.raw")
    data = random.Random(5).randbytes(9 * MIB + 7)
    file = tmp_path / "data"
    file.write_bytes(data)
    with spawn("write", disk, *([] if piped else [file]), "--offset", "1000001", stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        if piped:
            process.stdin.buffer.write(data)  # type: ignore[attr-defined]
        _, err = process.communicate()
    assert process.returncode == 0, err
    assert f"{len(data)} bytes written from byte 1000001 on" in err
    after = qemu.content(disk, tmp_path / "after.raw")
    assert after == before[:1000001] + data + before[1000001 + len(data) :]


def test_bytes_that_do_not_fit_are_refused(command: Command, disk: Path, tmp_path: Path) -> None:
    """Those of a file before anything is written, those of a pipe at the end of the disk."""
    file = tmp_path / "data"
    file.write_bytes(b"x" * 1001)
    before = disk.read_bytes()
    ran = command("write", disk, file, "--offset", str(64 * MIB - 1000))
    assert (ran.status, f"the disk has {64 * MIB} bytes" in ran.error) == (1, True)
    ran = command("write", disk, file, "--offset", "65M")
    assert ran.status == 1
    assert disk.read_bytes() == before
    with (
        file.open() as stream,
        spawn("write", disk, "--offset", str(64 * MIB - 1000), stdin=subprocess.PIPE) as process,
    ):
        _, err = process.communicate(stream.read())
    assert process.returncode == 1
    assert "there were more bytes" in err
    ran = command("write", disk, tmp_path / "missing")
    assert (ran.status, "missing: No such file" in ran.error) == (1, True)


def test_write_that_waits_for_a_pipe_can_be_interrupted(disk: Path) -> None:
    """Ctrl-C, and the lock of the disk is gone."""
    with spawn("write", disk, "-v", stdin=subprocess.PIPE) as process:
        assert process.stderr is not None
        assert any("Using transport modes" in line for line in process.stderr)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert process.stdin is not None
        process.stdin.close()
    assert names(disk.parent) == ["disk.vmdk"]


def test_verbose_shows_what_the_library_says(command: Command, disk: Path) -> None:
    """Its version line for instance; on stderr, so that output stays clean."""
    assert "VixDiskLib" in command("map", "-v", disk).err
    assert command("map", disk).err == ""
