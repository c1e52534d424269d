"""Attach where it must not wait, and with handles that are none."""

from __future__ import annotations

import threading
from ctypes import c_uint64, c_void_p
from typing import TYPE_CHECKING

from tests.engine.driver import READ_ONLY, SINGLE_LINK, Engine
from tests.engine.session import VIX_ASYNC, CompletionFunction, Session, sectors

if TYPE_CHECKING:
    from pathlib import Path

INVALID, BUSY = 3, 5


def chain(engine: Engine, folder: Path) -> tuple[bytes, bytes]:
    """Return the paths of a disk and of its child."""
    base = engine.create(folder / "base.vmdk", 8192)
    with engine.open(base, READ_ONLY) as disk:
        child = disk.create_child(folder / "child.vmdk")
    return bytes(base), bytes(child)


def test_no_handle_is_an_invalid_argument(engine: Engine, tmp_path: Path) -> None:
    """On either side: code 3, and the other disk goes on."""
    base, child = chain(engine, tmp_path)
    with engine.open(base.decode(), READ_ONLY) as parent, engine.open(child.decode(), READ_ONLY | SINGLE_LINK) as top:
        for function in ("IsAttachPossible", "Attach"):
            assert engine.code(function, None, top.handle) == INVALID
            assert engine.code(function, parent.handle, None) == INVALID
        assert parent.read(0, 1) == top.read(0, 1)


def test_a_callback_is_told_that_attach_is_busy_and_waits_for_nobody(
    engine: Engine, library: Path, tmp_path: Path
) -> None:
    """One that runs while its disk is being attached elsewhere, where both would wait for each other."""
    base, child = chain(engine, tmp_path)
    running, codes = threading.Event(), list[int]()
    with Session(library, tmp_path, "openEngine.latencyMs = 1\n") as session:  # so that a thread of the pool calls back
        connection, alone = session.connect(), READ_ONLY | SINGLE_LINK
        parent, other = (session.open_path(connection, base, alone) for _ in range(2))
        one, two = (session.open_path(connection, child, alone) for _ in range(2))

        def receive(_data: int, _result: int) -> None:
            running.set()
            while session.transport(parent) is not None:  # until Attach has taken the disk
                pass
            codes.extend(session.code(function, other, two) for function in ("IsAttachPossible", "Attach"))

        callback, buffer = CompletionFunction(receive), sectors(1)
        assert session.code("ReadAsync", parent, c_uint64(0), c_uint64(1), buffer, callback, None) == VIX_ASYNC
        assert running.wait(60)
        assert session.code("Attach", parent, one) == 0
        assert codes == [BUSY, BUSY]
        assert session.code("Attach", other, two) == 0
        for handle in (parent, other, one, two, connection):
            code = session.code("Disconnect" if handle is connection else "Close", c_void_p(handle.value))
            assert code == 0
