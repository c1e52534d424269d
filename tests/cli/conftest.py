"""The command line, in this process or as one of its own, and disks to give to it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from asyncvddk import Vddk
from asyncvddk.cli import main
from tests.engine.qemu import Qemu
from tests.fix_package import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
TEXT = "".join(f"this is line {number:>10}\n" for number in range(80_000))
"""What a raw image holds whose bytes go to stdout: capturing decodes them."""


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """What it wrote as JSON, object by object."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The one line on stderr."""
        (line,) = self.err.splitlines()
        return line


@dataclass(frozen=True, slots=True)
class Command:
    """Runs ``asyncvddk`` in this process."""

    capture: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str | Path) -> Ran:
        """Run it to its end."""
        self.capture.readouterr()
        status = main([str(argument) for argument in arguments])
        said = self.capture.readouterr()
        return Ran(status, said.out, said.err)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Iterator[Command]:
    """Return the command line; what it sets for logs ends with the test."""
    yield Command(capfd)
    structlog.reset_defaults()


def spawn(*arguments: str | Path, before: tuple[str, ...] = (), **options: Any) -> subprocess.Popen[str]:  # noqa: ANN401
    """Start ``asyncvddk`` as a process; ``before`` is a program that runs it, as ``prlimit --fsize=1000``."""
    process: subprocess.Popen[str] = subprocess.Popen(
        [*before, sys.executable, "-m", "asyncvddk", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )
    return process


def run_process(*arguments: str | Path, before: tuple[str, ...] = ()) -> Ran:
    """Run ``asyncvddk`` as a process to its end."""
    with spawn(*arguments, before=before) as process:
        out, err = process.communicate()
    return Ran(process.returncode, out, err)


def names(folder: Path) -> list[str]:
    """Return all names in ``folder``, hidden ones too."""
    return sorted(file.name for file in folder.iterdir())


@pytest.fixture(scope="session")
def qemu(qemu_img: str, qemu_io: str) -> Qemu:
    """Return QEMU's tools, or leave the test where they are missing."""
    return Qemu(qemu_img, qemu_io)


@pytest.fixture
def disk(command: Command, tmp_path: Path) -> Path:
    """Make a sparse disk of 64 MiB with 16 pieces of data, ``src/disk.vmdk``."""
    path = tmp_path / "src" / "disk.vmdk"
    path.parent.mkdir()
    made = command("create", path, "--size", "64M", "--example")
    assert made.status == 0, made.err
    return path


@pytest.fixture
def repo(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a repository, and let nothing of the user's own reach the tests."""
    for name in ("REPOSITORY", "PASSWORD", "PASSWORD_FILE", "NEW_PASSWORD", "LIBDIR", "DEBUG"):
        monkeypatch.delenv(f"ASYNCVDDK_{name}", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("ASYNCVDDK_CONFIG", str(tmp_path / "config.toml"))
    made = command("init", "--repo", tmp_path / "repo", "--no-password")
    assert made.status == 0, made.err
    return tmp_path / "repo"


@pytest.fixture
def small(command: Command, tmp_path: Path) -> Path:
    """Make a disk of 16 MiB, ``vm/a.vmdk``, with 16 pieces of data of 256 KiB."""
    path = tmp_path / "vm" / "a.vmdk"
    path.parent.mkdir()
    made = command("create", path, "--size", "16M", "--example")
    assert made.status == 0, made.err
    return path


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Make a raw image of text."""
    path = tmp_path / "text.img"
    path.write_text(TEXT)
    return path


def change(disk: Path, offset: int, data: bytes) -> None:
    """Write to a disk."""

    async def write() -> None:
        async with Vddk() as vddk, vddk.open_disk(disk, read_only=False) as opened:
            await opened.write_at(offset, data)

    asyncio.run(write())


class Repo:
    """Runs commands of one repository."""

    def __init__(self, command: Command, place: Path) -> None:
        """Take the place."""
        self._command = command
        self._place = place

    def __call__(self, name: str, *arguments: str | Path) -> Ran:
        """Run a command to its end."""
        return self._command(name, *arguments, "--repo", self._place, "--no-password")

    def backup(self, *arguments: str | Path, status: int = 0) -> str:
        """Back up and return the snapshot's id."""
        ran = self("backup", *arguments, "--json")
        assert ran.status == status, ran.err
        identifier: str = ran.events[-1]["snapshot"]
        return identifier


@pytest.fixture
def run(command: Command, repo: Path) -> Repo:
    """Return the repository's commands."""
    return Repo(command, repo)


def raw(command: Command, disk: Path, name: str) -> bytes:
    """Return all bytes of a disk, through ``asyncvddk copy``."""
    copy = disk.parent / f"{name}.copy"
    ran = command("copy", "--quiet", "--force", disk, copy)
    assert ran.status == 0, ran.err
    content = copy.read_bytes()
    copy.unlink()
    return content
