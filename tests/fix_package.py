"""The package as users get it: source distribution and wheel, built once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def hatchling_build(target: str, source: Path, out: Path) -> Path:
    """Build ``sdist`` or ``wheel`` of a source tree with the hatchling of this environment."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Source distribution of this tree."""
    return hatchling_build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="session")
def source_tree(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked source distribution: a tree in which nothing was built."""
    folder = tmp_path_factory.mktemp("source")
    subprocess.run([sys.executable, "-m", "tarfile", "--extract", sdist, folder], check=True)
    (tree,) = folder.iterdir()
    return tree


@pytest.fixture(scope="session")
def wheel(source_tree: Path, gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel, built from the source distribution as installers do."""
    del gcc  # hatchling called without isolation brings no compiler
    return hatchling_build("wheel", source_tree, tmp_path_factory.mktemp("wheel"))
