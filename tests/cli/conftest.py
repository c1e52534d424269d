"""The command line, in this process or as one of its own, and disks to give to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from asyncvddk.cli import main
from tests.engine.qemu import Qemu
from tests.fix_package import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20


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
