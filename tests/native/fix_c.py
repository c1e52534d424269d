"""C in tests: our header parsed, and small programs and libraries compiled on the spot."""

from __future__ import annotations

import ctypes
import re
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.fix_tools import GCC, find, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable

ENGINE = Path(__file__).resolve().parents[2] / "asyncvddk" / "engine"
HEADER = ENGINE / "include" / "vixDiskLib.h"
LIBRARY = ENGINE / "lib64" / "libvixDiskLib.so.8"


@dataclass(frozen=True)
class Header:
    """What ``vixDiskLib.h`` declares, as text."""

    constants: frozenset[str]
    """Enumerators, and macros without arguments, that begin with VIX."""
    structs: dict[str, tuple[str, ...]]
    """Fields of each structure and union; those of an unnamed member as ``member.field``."""
    prototypes: dict[str, tuple[str, tuple[str, ...]]]
    """Type of the result and of each argument."""


@cache
def parse_header() -> Header:
    """Read the header of the engine."""
    text = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)
    enumerators = re.findall(r"^ +(VIX\w+) =", text, re.MULTILINE)
    macros = re.findall(r"^#define (VIX\w+) +\S", text, re.MULTILINE)
    bodies = re.findall(r"^typedef (?:struct|union) \{(.*?)^\} (\w+);", text, re.MULTILINE | re.DOTALL)
    prototypes = re.findall(r"^(\w[\w ]*?[ *]+)(VixDiskLib_\w+) \(([^;]*)\);", text, re.MULTILINE)
    return Header(
        constants=frozenset(enumerators + macros),
        structs={name: tuple(_fields(body)) for body, name in bodies},
        prototypes={name: (result.strip(), _arguments(args)) for result, name, args in prototypes},
    )


def _fields(body: str) -> Iterable[str]:
    """Yield the names of the fields in the body of a structure."""
    inner = re.compile(r"union \{(.*?)\} (\w+);", re.DOTALL)
    for fields, member in inner.findall(body):
        yield from (f"{member}.{name}" for name in _fields(fields))
    yield from re.findall(r"(\w+)(?:\[\d+\])?;", inner.sub("", body))


def _arguments(text: str) -> tuple[str, ...]:
    """Return the types of arguments, without their names."""
    if text == "void":
        return ()
    return tuple(re.sub(r"\w+$", "", " ".join(argument.split())).strip() for argument in text.split(","))


def run_c(folder: Path, statements: Iterable[str], *defines: str) -> list[str]:
    """Compile a program that includes the header and runs ``statements``; return the lines that it prints."""
    source, program = folder / "probe.c", folder / "probe"
    body = "\n".join(f"  {statement}" for statement in statements)
    source.write_text(f'#include <stdio.h>\n#include "vixDiskLib.h"\nint\nmain (void)\n{{\n{body}\n}}\n')
    warnings = ("-std=c17", "-Wall", "-Wextra", "-Werror")
    _compile(*warnings, *(f"-D{macro}" for macro in defines), f"-I{HEADER.parent}", source, "-o", program)
    return subprocess.run([program], check=True, capture_output=True, text=True).stdout.splitlines()


def load_c(folder: Path, source: str) -> ctypes.CDLL:
    """Compile ``source`` to a shared library and load it."""
    path = folder / "libstub.so"
    path.with_suffix(".c").write_text(source)
    _compile("-shared", "-fPIC", path.with_suffix(".c"), "-o", path)
    return ctypes.CDLL(str(path))


def _compile(*args: str | Path) -> None:
    """Run the compiler; what it complains about is the test's failure."""
    done = subprocess.run([find(GCC), *args], check=False, capture_output=True, text=True)
    if done.returncode:
        pytest.fail(done.stderr, pytrace=False)


def exported_symbols(library: Path) -> frozenset[str]:
    """Return the names that a shared library offers to others."""
    command = ["nm", "--dynamic", "--defined-only", "--format=posix", str(library)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return frozenset(line.split()[0].partition("@")[0] for line in done.stdout.splitlines())


def engine_library() -> Path:
    """Return the path of the built engine, or leave the test by ``unavailable``."""
    if not LIBRARY.exists():
        unavailable(f"{LIBRARY} is not built: python asyncvddk/engine/build.py")
    return LIBRARY
