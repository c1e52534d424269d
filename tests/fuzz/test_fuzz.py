"""A minute of fuzzing: whatever stands in the files, the engine answers with a code, in bounded time and memory."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.fix_tools import Tool, find, unavailable
from tests.fuzz import harness, seeds

if TYPE_CHECKING:
    from pathlib import Path

CLANG = Tool("clang", "clang")
SECONDS = 8
"""Per format."""


@pytest.fixture(scope="session")
def fuzzer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compile the harness; leave the test where clang or its libFuzzer is missing."""
    clang, folder = find(CLANG), tmp_path_factory.mktemp("fuzz")
    empty = folder / "empty.c"
    empty.write_text("int LLVMFuzzerTestOneInput (const char *data, unsigned long size) { return !data && size; }\n")
    probe = [clang, harness.SANITIZE, str(empty), "-o", str(folder / "empty")]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        unavailable("clang cannot link libFuzzer (Debian package libclang-rt-dev)")
    return harness.compile_harness(clang, folder)


@pytest.mark.parametrize("fmt", seeds.FORMATS)
def test_no_input_crashes_hangs_or_exhausts_the_engine(fmt: str, fuzzer: Path, tmp_path: Path) -> None:
    """Some seconds of mutations of sound disks, and all inputs that once were findings."""
    figures = harness.fuzz(fuzzer, fmt, tmp_path, f"-max_total_time={SECONDS}", "-seed=1")
    assert figures.executions > len(list((tmp_path / "seeds" / fmt).iterdir()))
