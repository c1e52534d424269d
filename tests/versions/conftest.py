"""Libraries of every generation, compiled from our header, installed as VMware's archives unpack."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.fix_tools import GCC, find

if TYPE_CHECKING:
    from collections.abc import Callable

    Install = Callable[..., Path]

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent
INCLUDE = ROOT / "asyncvddk" / "engine" / "include"


def install(root: Path, version: str, *defines: str) -> Path:
    """Compile the library of ``version`` with ``defines`` into ``root``, with its links; return ``root``."""
    numbers = [*map(int, version.split(".")), 0][:3]
    generation = numbers[0] * 10000 + numbers[1] * 100 + numbers[2]
    (root / "lib64").mkdir(parents=True)
    file = root / "lib64" / f"libvixDiskLib.so.{version}"
    flags = (
        "-std=c17",
        "-D_GNU_SOURCE",
        "-shared",
        "-fPIC",
        "-pthread",
        "-Wall",
        "-Wextra",
        "-Wno-unused-parameter",
        "-Werror",
    )
    named = (f"VDDK_GENERATION={generation}", f'LIBRARY_VERSION="{version}"')
    limits = (f"LIBRARY_MAJOR={numbers[0]}", f"LIBRARY_MINOR={numbers[1]}")
    macros = [f"-D{macro}" for macro in (*named, *limits, *defines)]
    subprocess.run([find(GCC), *flags, *macros, f"-I{INCLUDE}", FOLDER / "library.c", "-o", file], check=True)
    (file.parent / f"libvixDiskLib.so.{numbers[0]}").symlink_to(file.name)
    (file.parent / "libvixDiskLib.so").symlink_to(f"libvixDiskLib.so.{numbers[0]}")
    return root


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Install:
    """Return a function that installs a version and returns its root; each is compiled once."""
    made: dict[tuple[str, ...], Path] = {}

    def get(version: str, *defines: str) -> Path:
        key = (version, *defines)
        if key not in made:
            made[key] = install(tmp_path_factory.mktemp("vddk") / "vmware-vix-disklib-distrib", version, *defines)
        return made[key]

    return get


def run_client(root: Path, what: str) -> Any:  # noqa: ANN401  (what the client's JSON says)
    """Have a process of its own use the library, as a crash is a possible outcome; return what it found."""
    environment = os.environ | {"LD_LIBRARY_PATH": str(root / "lib64")}
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.versions.client", str(root), what]
    done = subprocess.run(command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
