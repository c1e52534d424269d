"""Grow, Rename, Unlink and the lock, interrupted at each step that changes files."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.engine.driver import LOADER_ENVIRONMENT
from tests.engine.interrupt_cases import CASES

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(scope="module")
def interrupt(gcc: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the library that interrupts."""
    library = tmp_path_factory.mktemp("interrupt") / "interrupt.so"
    flags = ["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([gcc, *flags, HERE / "interrupt.c", "-o", library, "-ldl"], check=True)
    return library


@pytest.mark.parametrize("case", CASES)
def test_a_call_that_is_interrupted_leaves_a_disk(case: str, library: Path, interrupt: Path) -> None:
    """The process dies at each of its steps, or the step fails: the disk is there, as before or as meant.

    After a failure every file has its old bytes; after a death the call can be made again. ``interrupt_cases.py`` has
    what each case promises.
    """
    preload = " ".join(filter(None, [LOADER_ENVIRONMENT["LD_PRELOAD"], str(interrupt)]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.interrupt", library, case],
        cwd=ROOT,
        env=LOADER_ENVIRONMENT | {"LD_PRELOAD": preload},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
