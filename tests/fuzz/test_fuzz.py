"""A minute of fuzzing: whatever stands in the files, the engine answers with a code, in bounded time and memory."""

from __future__ import annotations

import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.compiling import processors
from tests.fix_tools import Tool, find, unavailable
from tests.fuzz import harness, seeds

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from pathlib import Path

CLANG = Tool("clang", "clang")
SECONDS = 8
"""Per format."""


class Run(NamedTuple):
    """The fuzzing of one format."""

    work: Path
    figures: Future[harness.Figures]
    """Raises AssertionError with the report if something is found."""


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


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, fuzzer: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Run]]:
    """Fuzz the formats of the tests that were chosen, each on a processor of its own, in the order of the tests."""
    chosen = [
        str(item.callspec.params["fmt"])
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.path == request.path
    ]
    options = f"-max_total_time={SECONDS}", "-seed=1"
    with ThreadPoolExecutor(processors()) as pool:
        works = {fmt: tmp_path_factory.mktemp(fmt) for fmt in chosen}
        yield {fmt: Run(work, pool.submit(harness.fuzz, fuzzer, fmt, work, *options)) for fmt, work in works.items()}
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("fmt", seeds.FORMATS)
def test_no_input_crashes_hangs_or_exhausts_the_engine(fmt: str, runs: dict[str, Run]) -> None:
    """Some seconds of mutations of sound disks, and all inputs that once were findings."""
    figures = runs[fmt].figures.result()
    assert figures.executions > len(list((runs[fmt].work / "seeds" / fmt).iterdir()))
