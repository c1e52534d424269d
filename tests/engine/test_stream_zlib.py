"""A system without zlib: what needs it is refused before anything is made or lost."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine.craft_esx import Stream
from tests.engine.driver import LOADER_ENVIRONMENT, SECTOR

if TYPE_CHECKING:
    from tests.engine.driver import Engine

ROOT = Path(__file__).parents[2]

WITHOUT_ZLIB = """
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

void *
dlopen (const char *name, int flags)
{
  void *(*next) (const char *, int) = (void *(*) (const char *, int)) dlsym (RTLD_NEXT, "dlopen");

  return name && strstr (name, "libz.so") ? NULL : next (name, flags);
}
"""

PROGRAM = """
import sys
from pathlib import Path
from tests.engine.driver import STREAM_OPTIMIZED, Engine, EngineError

library, folder = Path(sys.argv[1]), Path(sys.argv[2])
engine = Engine(library, folder.parent)
before = {file: file.read_bytes() for file in folder.iterdir()}

def refused(function, *arguments, **options):
    try:
        function(*arguments, **options)
    except EngineError as error:
        return error.code == 16053 and "libz" in error.text
    return False

assert refused(engine.create, folder / "new.vmdk", 8, STREAM_OPTIMIZED)
assert refused(engine.clone, folder / "new.vmdk", folder / "sparse.vmdk", STREAM_OPTIMIZED)
assert refused(engine.read, folder / "stream.vmdk")
assert refused(engine.check, folder / "cut.vmdk", repair=True)
assert engine.open_error(folder / "empty.vmdk", 0).code == 16053
assert before == {file: file.read_bytes() for file in folder.iterdir()}
"""


def test_without_zlib_nothing_is_made_and_nothing_is_lost(
    gcc: str, engine: Engine, library: Path, tmp_path: Path
) -> None:
    """Creating, cloning, reading, writing and repairing a stream: the message names the library that is missing."""
    preload = tmp_path / "without_zlib.so"
    command = [gcc, "-shared", "-fPIC", "-x", "c", "-", "-o", str(preload), "-ldl"]
    subprocess.run(command, input=WITHOUT_ZLIB.encode(), check=True)
    folder = tmp_path / "disks"
    folder.mkdir()
    engine.create(folder / "sparse.vmdk", 8192)
    engine.create(folder / "empty.vmdk", 8192, 6)
    (folder / "stream.vmdk").write_bytes(Stream().build())
    (folder / "cut.vmdk").write_bytes(Stream().build()[: -2 * SECTOR])
    preloaded = f"{LOADER_ENVIRONMENT['LD_PRELOAD']} {preload}".strip()
    environment = LOADER_ENVIRONMENT | {"LD_PRELOAD": preloaded}
    subprocess.run([sys.executable, "-c", PROGRAM, library, folder], env=environment, cwd=ROOT, check=True)
