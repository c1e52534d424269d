"""Build and run the fuzzer of the engine.

By hand, for an hour on one processor; figures go to ``WORK/FORMAT.log``, findings to ``WORK/findings``::

    python -m tests.fuzz.harness /tmp/fuzz --seconds 3600
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from asyncvddk.engine import build
from tests.compiling import objects
from tests.fuzz import seeds

HERE = Path(__file__).parent
CORPUS = HERE / "corpus"
"""Inputs that once were findings, a folder for each format."""

SANITIZE = "-fsanitize=fuzzer,address,undefined"
LIMITS = ("-max_len=16384", "-timeout=10", "-rss_limit_mb=1024", "-malloc_limit_mb=256", "-verbosity=1")
MEMORY = Path("/dev/shm")  # noqa: S108 (a folder with a random name is made there)


@dataclass(frozen=True, slots=True)
class Figures:
    """What a run says at its end."""

    executions: int
    coverage: int
    log: str


def compile_harness(clang: str, folder: Path) -> Path:
    """Compile engine and harness into one program with libFuzzer and two sanitizers."""
    program = folder / "fuzz_engine"
    sources = [*sorted((build.PACKAGE / build.ENGINE.sources).rglob("*.c")), *sorted(HERE.glob("*.c"))]
    includes = [f"-I{build.PACKAGE / part}" for part in (build.ENGINE.sources, *build.ENGINE.headers)]
    flags = ["-std=c17", "-D_GNU_SOURCE=", "-pthread", "-O1", "-g", "-fno-omit-frame-pointer"]
    flags += [SANITIZE, "-fno-sanitize-recover=all", '-DENGINE_VERSION="fuzz"']
    compiled = objects([clang, *flags, *includes], sources, folder / "objects")
    subprocess.run([clang, SANITIZE, "-pthread", *compiled, "-ldl", "-o", program], check=True)
    return program


def run(program: Path, arguments: list[str | Path], findings: Path) -> tuple[int, str]:
    """Run the fuzzer in a folder in memory; return its exit code and what it said."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        environment = os.environ | {"FUZZ_FOLDER": folder, "LD_PRELOAD": ""}
        command = [program, *LIMITS, f"-artifact_prefix={findings}/", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, check=False)
    return done.returncode, done.stderr.decode(errors="replace")


def replay(program: Path, inputs: list[Path], findings: Path) -> None:
    """Run inputs once; AssertionError with the sanitizer's report if one is a finding."""
    code, log = run(program, ["-runs=1", *inputs], findings)
    assert code == 0, log


def fuzz(program: Path, fmt: str, work: Path, *options: str) -> Figures:
    """Fuzz one format from its seeds and old findings; AssertionError with the report if something is found."""
    corpus, findings = work / "corpus" / fmt, work / "findings"
    seeds.write(fmt, work / "seeds" / fmt)
    for folder in (corpus, findings):
        folder.mkdir(parents=True, exist_ok=True)
    old = [CORPUS / fmt] if (CORPUS / fmt).is_dir() else []
    code, log = run(program, [*options, corpus, work / "seeds" / fmt, *old], findings)
    (work / f"{fmt}.log").write_text(log, "utf-8")
    assert code == 0, f"{fmt}: see {work}\n{log[-6000:]}"
    executions = re.findall(r"^#(\d+)", log, re.MULTILINE)
    coverage = re.findall(r" cov: (\d+)", log)
    return Figures(int(executions[-1]), int(coverage[-1]), log)


def main() -> int:
    """Fuzz one format after the other, several rounds; go on after a finding."""
    parser = argparse.ArgumentParser(description="Fuzz the engine.")
    parser.add_argument("work", type=Path, help="folder for the program, corpus, findings and logs")
    parser.add_argument("--seconds", type=int, default=60, help="in all")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--format", choices=seeds.FORMATS, action="append")
    arguments = parser.parse_args()
    formats = arguments.format or seeds.FORMATS
    arguments.work.mkdir(parents=True, exist_ok=True)
    program = compile_harness(shutil.which("clang") or "clang", arguments.work)
    each = max(1, arguments.seconds // len(formats) // arguments.rounds)
    failed = 0
    for number in range(arguments.rounds):
        for fmt in formats:
            try:
                figures = fuzz(program, fmt, arguments.work, f"-max_total_time={each}", f"-seed={number + 1}")
                line = f"{figures.executions} executions, {figures.coverage} edges, no finding"
            except AssertionError as found:
                line = str(found)
                failed = 1
            sys.stdout.write(f"round {number + 1}, {fmt}: {line}\n")
            sys.stdout.flush()
    return failed


if __name__ == "__main__":
    sys.exit(main())
