"""``asyncvddk copy``: many disks, what they become, what is told."""

from __future__ import annotations

import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.cli.conftest import MIB, names, run_process
from tests.engine.qemu import SUBFORMATS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command
    from tests.engine.qemu import Qemu

WRITES = ((0, MIB, 1), (5 * MIB + 512, 3 * MIB, 2), (10 * MIB, MIB, 0), (20 * MIB - 512, 512, 3))


@pytest.fixture(scope="module")
def mixed(qemu: Qemu, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Make eight disks by qemu: every kind, a chain of two, one of more than two extents, an empty one, odd sizes."""
    folder = tmp_path_factory.mktemp("mixed")
    disks = [qemu.create(folder / f"{kind}.vmdk", 20 * MIB, f"subformat={kind}") for kind in SUBFORMATS]
    disks.append(qemu.create(folder / "split.vmdk", 5 << 30, "subformat=twoGbMaxExtentSparse"))
    for disk in disks:
        qemu.write(disk, *WRITES)
    qemu.write(disks[-1], ((2 << 30) - MIB, 2 * MIB, 4), ((5 << 30) - 512, 512, 5))
    disks.append(qemu.create(folder / "empty.vmdk", MIB + 512))
    disks.append(qemu.create(folder / "snapshot.vmdk", 20 * MIB, backing=disks[0]))
    qemu.write(disks[-1], (512, 70144, 6))  # before there is a child: a write changes the content identifier
    disks.append(qemu.create(folder / "top.vmdk", 20 * MIB, backing=disks[-1]))
    qemu.write(disks[-1], (6 * MIB, MIB, 0), (15 * MIB, 512, 7))
    return disks


def compare(qemu: Qemu, disk: Path, copy: Path, kind: str) -> None:
    """Fail unless qemu-img finds the same bytes in both."""
    command = [qemu.img, "compare", "-f", "vmdk", "-F", kind, str(disk), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["raw", "vmdk"])
def test_eight_disks_of_all_kinds_equal_their_copies(
    command: Command, qemu: Qemu, mixed: list[Path], tmp_path: Path, kind: str
) -> None:
    """By qemu-img's word, and with nothing else in the folder."""
    ran = command("copy", *mixed, f"{tmp_path}/out/", "--format", kind)
    assert ran.status == 0, ran.err
    copies = [tmp_path / "out" / f"{disk.stem}.{kind}" for disk in mixed]
    assert names(tmp_path / "out") == sorted(copy.name for copy in copies)
    for disk, copy in zip(mixed, copies, strict=True):
        compare(qemu, disk, copy, kind)
        assert copy.stat().st_blocks * 512 < 16 * MIB


@pytest.mark.parametrize("kind", ["monolithicFlat", "vmfs"])
def test_flat_vmdk_has_its_extent_beside_it(
    command: Command, qemu: Qemu, mixed: list[Path], tmp_path: Path, kind: str
) -> None:
    """And qemu-img reads it."""
    ran = command("copy", mixed[0], tmp_path / "a.vmdk", "--disk-type", kind)
    assert ran.status == 0, ran.err
    assert names(tmp_path) == ["a-flat.vmdk", "a.vmdk"]
    compare(qemu, mixed[0], tmp_path / "a.vmdk", "vmdk")


def test_extents_among_the_sources_are_left_out_aloud(command: Command, mixed: list[Path], tmp_path: Path) -> None:
    """What ``*.vmdk`` matches is copied without errors."""
    ran = command("copy", *sorted(mixed[0].parent.glob("*.vmdk")), f"{tmp_path}/out/")
    assert ran.status == 0, ran.err
    assert len(names(tmp_path / "out")) == 8
    assert "monolithicFlat-flat.vmdk: part of another source" in ran.err


def test_json_events_tell_all(command: Command, disk: Path, tmp_path: Path) -> None:
    """start, progress, done, summary; the figures add up."""
    ran = command("copy", "--json", disk, tmp_path / "a.raw")
    kinds = [event["event"] for event in ran.events]
    assert (kinds[0], *kinds[-2:]) == ("start", "done", "summary")
    assert set(kinds[1:-2]) == {"progress"}
    start, *_, done, summary = ran.events
    assert start == {"event": "start", "source": str(disk), "destination": str(tmp_path / "a.raw"), "size": 64 * MIB}
    assert done["read"] + done["skipped"] == done["size"] == 64 * MIB
    assert done["written"] == done["read"] == 16 * MIB
    assert {key: summary[key] for key in ("disks", "copied", "failed")} == {"disks": 1, "copied": 1, "failed": 0}
    assert ran.err == ""


def test_lines_tell_beginning_end_and_total(command: Command, disk: Path, tmp_path: Path) -> None:
    """On stderr, when that is no terminal; stdout stays empty."""
    other = tmp_path / "src" / "other.vmdk"
    assert command("create", other, "--size", "1M").status == 0
    ran = command("copy", disk, other, tmp_path)
    lines = ran.err.splitlines()
    assert len(lines) == 5
    assert f"{disk} -> {tmp_path}/disk.raw: 64.0 MiB" in lines
    assert lines[-1].startswith("2 of 2 disks copied in ")
    assert ran.out == ""


def test_quiet_says_nothing(command: Command, disk: Path, tmp_path: Path) -> None:
    """Unless something fails."""
    ran = command("copy", "--quiet", disk, tmp_path / "a.raw")
    assert (ran.status, ran.out, ran.err) == (0, "", "")


def test_force_replaces(command: Command, disk: Path, tmp_path: Path) -> None:
    """And without it the old file stays."""
    (tmp_path / "a.raw").write_text("old")
    refused = command("copy", disk, tmp_path / "a.raw")
    assert refused.status == 1
    assert refused.error == f"asyncvddk: {tmp_path}/a.raw: destination exists (--force replaces it)"
    assert (tmp_path / "a.raw").read_text() == "old"
    assert command("copy", "--force", disk, tmp_path / "a.raw").status == 0
    assert (tmp_path / "a.raw").stat().st_size == 64 * MIB


def test_sync_and_tuning_options_change_nothing_in_the_copy(
    command: Command, qemu: Qemu, disk: Path, tmp_path: Path
) -> None:
    """Odd chunks, one in flight, brought to storage."""
    options = ("--sync", "--chunk-size", "12K", "--in-flight", "1", "--jobs", "1")
    for kind in ("raw", "vmdk"):
        ran = command("copy", *options, "--format", kind, disk, tmp_path)
        assert ran.status == 0, ran.err
        compare(qemu, disk, tmp_path / f"disk.{kind}", kind)


def test_copy_goes_on_when_the_reader_of_its_events_has_gone(disk: Path, tmp_path: Path) -> None:
    """The disk is worth more than the report."""
    ran = run_process(
        "copy", "--json", disk, tmp_path / "a.raw", before=("bash", "-c", '"$0" "$@" | true; exit ${PIPESTATUS[0]}')
    )
    assert ran.status == 0, ran.err
    assert (tmp_path / "a.raw").stat().st_size == 64 * MIB


def test_bars_are_shown_on_a_terminal(disk: Path, tmp_path: Path) -> None:
    """``script`` gives the command a terminal; the disk's result stays on the screen."""
    words = [sys.executable, "-m", "asyncvddk", "copy", str(disk), str(tmp_path / "a.raw")]
    done = subprocess.run(
        ["script", "-qec", shlex.join(words), "/dev/null"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    assert "64.0 MiB in" in done.stdout
