"""Run with interrupt.c preloaded: a call that changes files is interrupted at each of its steps.

``python -m tests.engine.interrupt LIBRARY CASE`` makes the folder of CASE again and again; in a process of its own each
time, the n-th step fails, or the process dies there; then the case looks at what is left.
"""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engine.driver import Engine, EngineError, names
from tests.engine.interrupt_cases import CASES, DIES, content_of, files_of

if TYPE_CHECKING:
    from tests.engine.interrupt_cases import Case


def run_child(case: Case, folder: Path, step: int, error: int) -> tuple[int | None, bool]:
    """Make the call in a process of its own; return its code and whether it got to the step."""
    shim = ctypes.CDLL(None)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 0
        shim.interrupt_arm(ctypes.c_long(step), error)
        try:
            case.call(folder)
        except EngineError as failed:
            code = failed.code
        calls = shim.interrupt_calls()
        os.write(writer, f"{code} {calls}".encode())
        os._exit(0)
    os.close(writer)
    os.waitpid(child, 0)
    with os.fdopen(reader) as result:
        text = result.read()
    if not text:
        return DIES, True
    code, calls = map(int, text.split())
    return code, calls >= step


def main() -> None:
    """Interrupt one step after the other until there is none left."""
    library, chosen = sys.argv[1:]
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        engine = Engine(Path(library), root)
        case = CASES[chosen](engine)
        model = root / "model"
        model.mkdir()
        case.make(model)
        case.before = files_of(model)
        case.content = content_of(engine, model / "d.vmdk")
        for error in (0, errno.EIO):
            step, reached = 0, True
            while reached:
                step += 1
                folder = root / "folder"
                shutil.copytree(model, folder)
                code, reached = run_child(case, folder, step, error)
                try:
                    case.check(folder, code)
                except Exception as failed:
                    what = "failed" if error else "killed"
                    failed.add_note(f"{chosen}: {what} at step {step}, code {code}: {names(folder)}")
                    failed.add_note(" | ".join(engine.warnings))
                    raise
                shutil.rmtree(folder)
            assert step > 5, f"{chosen}: no step was counted: is interrupt.c preloaded?"


if __name__ == "__main__":
    main()
