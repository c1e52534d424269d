"""C files of a test's program, compiled side by side."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def processors() -> int:
    """Return how many processors this process may use."""
    return len(os.sched_getaffinity(0))


def objects(command: Sequence[str], sources: Sequence[Path], folder: Path) -> list[str]:
    """Compile each source by ``command`` into an object in ``folder``, as many at a time as there are processors.

    Return the objects, in the order of the sources. CalledProcessError if the compiler refuses one.
    """

    def compiled(number: int) -> str:
        target = str(folder / f"{number}.o")
        subprocess.run([*command, "-c", str(sources[number]), "-o", target], check=True)
        return target

    folder.mkdir(exist_ok=True)
    with ThreadPoolExecutor(processors()) as pool:
        return list(pool.map(compiled, range(len(sources))))
