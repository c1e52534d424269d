"""What is handed out: a source distribution that builds anywhere, one wheel for all versions of Python."""

from __future__ import annotations

import tomllib
import zipfile
from email.parser import Parser
from typing import TYPE_CHECKING

import asyncvddk
from tests.fix_package import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_source_distribution_holds_sources_and_nothing_built(source_tree: Path) -> None:
    """Every C file is there, no compiled one, and the tests come along."""
    for pattern in (
        "asyncvddk/**/*.[ch]",
        "asyncvddk/**/*.py",
        "*.py",
        "asyncvddk/py.typed",
        "examples/*.py",
        "tests/**/*.py",
        "tests/**/*.c",
    ):
        ours = {path.relative_to(ROOT) for path in ROOT.glob(pattern)}
        assert ours
        assert ours == {path.relative_to(source_tree) for path in source_tree.glob(pattern)}
    assert not [path for path in source_tree.rglob("*") if ".so" in path.suffixes]


def test_wheel_is_for_every_python_3_on_its_platform(wheel: Path) -> None:
    """The compiled parts use no interface of Python: the tag names no version and no ABI."""
    name, version, python, abi, platform = wheel.stem.split("-")
    assert (name, version, python, abi) == ("asyncvddk", asyncvddk.__version__, "py3", "none")
    assert platform.startswith(("linux_", "manylinux", "musllinux"))


def test_wheel_holds_engine_core_types_command_and_fixtures(wheel: Path) -> None:
    """Installed, the package is complete: nothing is compiled or fetched later."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry = next(name for name in names if name.endswith(".dist-info/entry_points.txt"))
        commands = archive.read(entry).decode()
    library = {"asyncvddk/engine/lib64/libvixDiskLib.so.8", "asyncvddk/engine/include/vixDiskLib.h"}
    assert library | {"asyncvddk/native/lib_core.so", "asyncvddk/py.typed", "_asyncvddk_pytest.py"} <= names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "asyncvddk = asyncvddk.cli:main" in commands
    assert "[pytest11]\nasyncvddk = _asyncvddk_pytest" in commands


def test_version_is_written_in_one_place(wheel: Path) -> None:
    """Wheel and package tell the version of ``_version.py``."""
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(archive.read(metadata).decode())["Version"]
    assert told == asyncvddk.__version__
    assert "version" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"]


def test_all_extra_brings_every_extra() -> None:
    """``asyncvddk[all]`` names each of the others."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert extras["all"] == [f"asyncvddk[{','.join(sorted(set(extras) - {'all'}))}]"]
