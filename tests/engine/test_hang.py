"""Calls that hang until a FIFO is written: whoever opens it for writing meets the call, whoever closes it frees it."""

from __future__ import annotations

import os
import threading
from ctypes import byref, c_uint64, c_void_p
from typing import TYPE_CHECKING

import pytest

from tests.engine.session import VIX_ASYNC, Completions, Session, sectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FULL = 8


class Call(threading.Thread):
    """A call on a thread of its own."""

    def __init__(self, call: Callable[[], int]) -> None:
        """Start it."""
        super().__init__(daemon=True)
        self._call, self.code = call, -1
        self.start()

    def run(self) -> None:
        """Make the call."""
        self.code = self._call()

    def result(self) -> int:
        """Wait for its end."""
        self.join()
        return self.code


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Return the path of a FIFO, with a blank in it."""
    path = tmp_path / "the fifo"
    os.mkfifo(path)
    return path


def test_the_nth_call_hangs_and_no_other(library: Path, tmp_path: Path, fifo: Path) -> None:
    """Opening the FIFO returns only when the call hangs; other calls go on meanwhile; closing frees it."""
    text = f"openEngine.hang = Connect:7:/missing, VixDiskLib_Read:2:{fifo} ,\nopenEngine.fail = Read:3:8\n"
    with Session(library, tmp_path, text) as session:
        handle, buffer = session.open(session.connect()), sectors(1)

        def read() -> int:
            return session.code("Read", handle, c_uint64(0), c_uint64(1), buffer)

        assert read() == 0
        hung = Call(read)
        with fifo.open("wb"):
            assert hung.is_alive()
            assert session.code("Flush", handle) == 0
            assert "VixDiskLib_Read hangs until" in session.warned[-1]
        assert hung.result() == 0
        assert [read(), read()] == [FULL, 0]


def test_every_call_hangs_with_number_0_until_the_file_is_gone(library: Path, tmp_path: Path, fifo: Path) -> None:
    """Each needs a writer; without the file calls go on."""
    with Session(library, tmp_path, f"openEngine.hang = Connect:0:{fifo}\n") as session:
        for _ in range(2):
            hung = Call(lambda: session.code("Connect", None, byref(c_void_p())))
            with fifo.open("wb") as writer:
                writer.write(b"what is written does not matter")
            assert hung.result() == 0
        fifo.unlink()
        assert session.code("Connect", None, byref(c_void_p())) == 0
        assert "goes on" in session.warned[-1]


def test_an_accepted_request_hangs_before_its_callback(library: Path, tmp_path: Path, fifo: Path) -> None:
    """The submission returned; Wait and Close wait for the request."""
    with Session(library, tmp_path, f"openEngine.hang = WriteAsync.callback:1:{fifo}\n") as session:
        handle, buffer, done = session.open(session.connect()), sectors(1), Completions()
        where = (handle, c_uint64(0), c_uint64(1), buffer, done.function, None)
        assert session.code("WriteAsync", *where) == VIX_ASYNC
        closing = Call(lambda: session.code("Close", handle))
        with fifo.open("wb"):
            assert done.results == []
            assert closing.is_alive()
        assert closing.result() == 0
        assert done.results == [0]


def test_the_end_of_the_library_can_hang(library: Path, tmp_path: Path, fifo: Path) -> None:
    """Exit, which returns no code: VMware's has been seen to."""
    session = Session(library, tmp_path, f"openEngine.hang = Exit:1:{fifo}\n")
    assert session.init() == 0
    connection = session.connect()

    def leave() -> int:
        session.exit()
        return 0

    hung = Call(leave)
    with fifo.open("wb"):
        assert session.code("Disconnect", connection) == 0
    assert hung.result() == 0


@pytest.mark.parametrize("rule", ["Read:1:relative", "Read:1", "Read:x:/fifo", ":1:/fifo"])
def test_a_rule_of_another_form_is_named_and_left_out(library: Path, tmp_path: Path, rule: str) -> None:
    """Like those of openEngine.fail."""
    with Session(library, tmp_path, f"openEngine.hang = {rule}\n") as session:
        assert session.warned[-1].startswith("openEngine.hang:")
        handle = session.open(session.connect())
        assert session.code("Read", handle, c_uint64(0), c_uint64(1), sectors(1)) == 0
