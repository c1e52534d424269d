"""The benchmarks run, so that they can be trusted to run when somebody needs them; their figures mean nothing here."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.fix_package import ROOT
from tests.fix_tools import GCC, find

if TYPE_CHECKING:
    from pathlib import Path

SCRIPTS = {"reads": 6, "connections": 8, "latency": 3, "busy": 16, "backups": 8}
"""Script -> how many goals it judges."""


@pytest.mark.parametrize(("script", "goals"), SCRIPTS.items(), ids=SCRIPTS)
def test_benchmark_measures_all_its_goals(script: str, goals: int, tmp_path: Path) -> None:
    """Little of everything, warnings are errors, and no file is left behind."""
    find(GCC)
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"tests.benchmarks.{script}", "--quick"],
        cwd=ROOT,
        env={"TMPDIR": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert sum("PASS" in line or "MISS" in line for line in ran.stdout.splitlines()) == goals, ran.stdout
    assert list(tmp_path.iterdir()) == []
