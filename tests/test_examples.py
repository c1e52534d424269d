"""Every example runs and prints what its docstring says."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.fix_package import ROOT

if TYPE_CHECKING:
    from pathlib import Path

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

PYTEST = ("-q", "-p", "no:cacheprovider", "-c", os.devnull, "-o", "asyncio_default_fixture_loop_scope=function")
"""Options of pytest for an example that is a test, run outside of this repository."""


def is_test(example: Path) -> bool:
    """Tell whether an example is run by pytest."""
    return example.stem.startswith("test_")


def command(example: Path) -> list[str]:
    """Return what a user types to run it, warnings being errors."""
    options = ["-m", "pytest", *PYTEST] if is_test(example) else ["-X", "dev"]
    return [sys.executable, "-W", "error", *options, str(example)]


def expected(docstring: str) -> str:
    """Return what stands below ``Output::``."""
    return textwrap.dedent(docstring.partition("Output::\n")[2]).strip()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    """Run as users run it, warnings are errors, and nothing is left in the folder."""
    docstring = ast.get_docstring(ast.parse(example.read_text()))
    assert docstring is not None
    ran = subprocess.run(
        command(example),
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    printed = ran.stdout.splitlines()[-1].partition(" in ")[0] if is_test(example) else ran.stdout.strip()
    assert printed == expected(docstring)
    assert list(tmp_path.iterdir()) == []


def test_examples_are_short() -> None:
    """One screen each, a question on top."""
    for example in EXAMPLES:
        text = example.read_text()
        assert len(text.splitlines()) < 70, example
        assert text.splitlines()[0].endswith("?"), example
