"""Whatever goes wrong with a copy: one clear line, an exit status that tells, nothing half-written."""

from __future__ import annotations

import os
import shutil
import signal
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import MIB, names, run_process, spawn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

FORMATS = ("raw", "vmdk")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Make an empty folder for the copies."""
    path = tmp_path / "out"
    path.mkdir()
    return path


@pytest.fixture
def bad(tmp_path: Path, disk: Path) -> dict[str, Path]:
    """Make files that cannot be copied."""
    files = {
        name: tmp_path / f"{name}.vmdk" for name in ("missing", "folder", "garbage", "truncated", "pipe", "outside")
    }
    files["folder"].mkdir()
    files["garbage"].write_bytes(os.urandom(65536))
    files["truncated"].write_bytes(disk.read_bytes()[:1000])
    os.mkfifo(files["pipe"])
    lines = ["# Disk DescriptorFile", "version=1", "CID=12345678", "parentCID=ffffffff", 'createType="vmfs"']
    files["outside"].write_text("\n".join([*lines, 'RW 2048 VMFS "../../etc/passwd"', ""]))
    return files


@pytest.mark.parametrize("name", ["missing", "folder", "garbage", "truncated", "pipe", "outside"])
def test_bad_source_is_one_line_that_names_it(command: Command, bad: dict[str, Path], out: Path, name: str) -> None:
    """Status 1; nothing appears."""
    ran = command("copy", "--quiet", bad[name], out)
    assert ran.status == 1
    assert str(bad[name]) in ran.error
    assert names(out) == []


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("function", ["Open", "GetInfo", "QueryAllocatedBlocks", "ReadAsync", "Close", "Disconnect"])
def test_every_failing_call_is_told_and_leaves_the_copy_absent_or_complete(
    command: Command, tmp_path: Path, out: Path, function: str, format_: str
) -> None:
    """The 1st, 2nd, ... call of a function: status 1, a line with the function; another try then succeeds."""
    source, target, config = tmp_path / "source.vmdk", out / f"copy.{format_}", tmp_path / "vddk.conf"
    assert command("create", source, "--size", "2M", "--example").status == 0
    for number in count(1):
        config.write_text(f"openEngine.fail = {function}:{number}:7\n")
        ran = command("copy", "--quiet", "--config", config, source, target)
        if ran.status == 0:
            break
        assert ran.status == 1
        assert f"VixDiskLib_{function.removesuffix('Async')}" in ran.err
        assert names(out) in ([], [target.name])
        assert not target.exists() or function in {"Close", "Disconnect"}, "complete, then something did not close"
        target.unlink(missing_ok=True)
    assert number > 1
    assert names(tmp_path) == ["out", "source.vmdk", "vddk.conf"]


def test_bad_disks_do_not_stop_the_good_one(command: Command, bad: dict[str, Path], disk: Path, out: Path) -> None:
    """Status 3; each failure is told, the good copy is there."""
    ran = command("copy", "--quiet", *bad.values(), disk, out)
    assert ran.status == 3
    assert len(ran.err.splitlines()) == len(bad)
    assert names(out) == ["disk.raw"]


def test_errors_are_events_too(command: Command, bad: dict[str, Path], out: Path) -> None:
    """With kind and message; the summary counts them."""
    ran = command("copy", "--json", bad["missing"], out)
    error, summary = ran.events
    assert (error["event"], error["type"]) == ("error", "FileNotFoundError")
    assert str(bad["missing"]) in error["message"]
    assert summary["failed"] == 1


def test_folder_made_for_nothing_is_removed(command: Command, bad: dict[str, Path], tmp_path: Path) -> None:
    """When no disk could be copied into it."""
    before = names(tmp_path)
    assert command("copy", "--quiet", bad["garbage"], f"{tmp_path}/new/").status == 1
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("only.vmdk",),
        ("a", "b", "--format", "qcow2"),
        ("a", "b", "--jobs", "0"),
        ("a", "b", "--chunk-size", "1X"),
        ("a", "b.raw", "--disk-type", "vmfs"),
    ],
)
def test_wrong_usage_is_status_2(command: Command, arguments: tuple[str, ...]) -> None:
    """One line, and where to read more."""
    ran = command("copy", *arguments)
    assert ran.status == 2
    assert ran.error.endswith("(see asyncvddk copy --help)")


def test_disk_names_that_collide_are_refused_before_anything_is_made(command: Command, disk: Path, out: Path) -> None:
    """Status 1."""
    twin = out.parent / "disk.vmdk"
    shutil.copy(disk, twin)
    ran = command("copy", disk, twin, out)
    assert ran.status == 1
    assert "both copies would be" in ran.error
    assert names(out) == []


def test_copy_onto_itself_is_refused(command: Command, disk: Path) -> None:
    """Even by force."""
    content = disk.read_bytes()
    ran = command("copy", "--force", "--format", "vmdk", disk, disk.parent)
    assert ran.status == 1
    assert "destination is a file of the source" in ran.error
    assert disk.read_bytes() == content


@pytest.mark.parametrize("kind", FORMATS)
def test_error_in_the_middle_leaves_nothing(command: Command, disk: Path, out: Path, tmp_path: Path, kind: str) -> None:
    """A read that fails: the source is named, the code and the library's text are there."""
    (tmp_path / "config").write_text("openEngine.fail=VixDiskLib_ReadAsync:5:16,VixDiskLib_Read:5:16\n")
    ran = command("copy", "--quiet", "--config", tmp_path / "config", "--format", kind, disk, out)
    assert ran.status == 1
    assert str(disk) in ran.error
    assert "16" in ran.error
    assert names(out) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_file_size_limit_leaves_nothing(disk: Path, out: Path, kind: str) -> None:
    """What ``ulimit -f`` allows is less than the copy needs; a full disk needs no root this way."""
    limit = ("prlimit", f"--fsize={8 * MIB}")
    ran = run_process("copy", "--quiet", "--format", kind, disk, out, before=limit)
    assert ran.status == 1
    assert f"{out}/disk.{kind}" in ran.error
    assert names(out) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_full_disk_leaves_nothing(disk: Path, out: Path, kind: str) -> None:
    """A file system of 8 MiB, in a mount namespace of the test's own."""
    namespace = ("unshare", "--mount") if os.geteuid() == 0 else ("unshare", "--mount", "--map-root-user")
    script = f'mount -t tmpfs -o size=8M none "{out}" || exit 99; "$0" "$@"; s=$?; ls -A "{out}"; exit $s'
    ran = run_process("copy", "--quiet", "--format", kind, disk, out, before=(*namespace, "bash", "-c", script))
    if ran.status == 99 or "unshare" in ran.err:
        pytest.skip(f"no file system can be mounted here ({ran.err.strip()}): the tests beside this one stand for it")
    assert ran.status == 1
    assert f"{out}/disk.{kind}" in ran.error
    assert "space" in ran.error
    assert ran.out == ""


def without_override() -> tuple[str, ...]:
    """Return a program that runs others without root's right to ignore permissions."""
    if os.geteuid() != 0:
        return ()
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search")


@pytest.mark.parametrize("kind", FORMATS)
def test_no_permission_to_write(disk: Path, out: Path, kind: str) -> None:
    """The folder of the copies is read-only."""
    out.chmod(0o500)
    ran = run_process("copy", "--quiet", "--format", kind, disk, out, before=without_override())
    assert ran.status == 1
    assert "Permission denied" in ran.error
    assert f"{out}/disk.{kind}" in ran.error
    out.chmod(0o700)
    assert names(out) == []


def test_no_permission_to_read(disk: Path, out: Path) -> None:
    """The source is named."""
    disk.chmod(0)
    ran = run_process("copy", "--quiet", disk, out, before=without_override())
    assert ran.status == 1
    assert ran.error == f"asyncvddk: {disk}: Permission denied"
    assert names(out) == []


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signal_ends_the_copy_and_leaves_nothing(
    disk: Path, out: Path, kind: str, number: signal.Signals, status: int
) -> None:
    """In the middle of a copy; a file that was to be replaced is whole, and so is a copy that is complete."""
    config = out.parent / "config"
    config.write_text("openEngine.latencyMs=100\n")
    (out / f"disk.{kind}").write_text("old")
    slow = ("--config", config, "--chunk-size", "64K", "--in-flight", "1")
    with spawn("copy", "--json", "--force", *slow, "--format", kind, disk, out) as process:
        assert process.stdout is not None
        assert any('"progress"' in line for line in process.stdout)
        process.send_signal(number)
        _, err = process.communicate()
    assert process.returncode == status
    assert err.splitlines() == [f"asyncvddk: {signal.strsignal(number)}: cleaning up"]
    assert names(out) == [f"disk.{kind}"]
    assert (out / f"disk.{kind}").read_text() == "old"


def test_killed_copy_leaves_nothing(disk: Path, out: Path) -> None:
    """A raw image has no name until it is complete, so that not even SIGKILL leaves one."""
    config = out.parent / "config"
    config.write_text("openEngine.latencyMs=100\n")
    with spawn("copy", "--json", "--config", config, "--chunk-size", "64K", disk, out) as process:
        assert process.stdout is not None
        assert any('"progress"' in line for line in process.stdout)
        process.kill()
    assert names(out) == []


def test_traceback_is_shown_only_when_asked_for(command: Command, disk: Path, tmp_path: Path) -> None:
    """``--debug`` is for those who look for a bug."""
    bad = tmp_path / "no" / "where" / "a.raw"
    assert "Traceback" not in command("copy", disk, bad).err
    assert "Traceback" in command("copy", "--debug", disk, bad).err
