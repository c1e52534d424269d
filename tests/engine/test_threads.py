"""openEngine.checkThreads: clients that break VDDK's rules for threads are told, or ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from ctypes import byref, c_uint64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import LOADER_ENVIRONMENT
from tests.engine.session import VIX_ASYNC, Completions, Session, sectors
from tests.engine.test_hang import Call

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]

CLIENT = """
import sys
from pathlib import Path
from tests.engine.session import Session
from tests.engine.test_hang import Call

class Told(list):
    def append(self, line):
        Path(sys.argv[3]).write_text(line)

class Client(Session):
    @staticmethod
    def _logger(lines):
        return Session._logger(Told())

with Client(Path(sys.argv[1]), Path(sys.argv[2]), "openEngine.checkThreads = abort") as session:
    connection = session.connect()
    Call(lambda: session.code("Disconnect", connection)).result()
"""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Return the path of a FIFO."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


@pytest.fixture(name="session")
def _session(library: Path, tmp_path: Path, fifo: Path) -> Iterator[Session]:
    """Library that warns; asynchronous calls are synchronous, the second callback and the first Cleanup hang."""
    text = f"openEngine.async = off\nopenEngine.hang = ReadAsync.callback:2:{fifo},Cleanup:1:{fifo}\n"
    with Session(library, tmp_path, f"openEngine.checkThreads = warn\n{text}") as session:
        yield session


def complaints(session: Session) -> list[str]:
    """Return the warnings about threads, without the numbers of the threads."""
    return [line for line in session.warned if "checkThreads" in line]


def test_a_client_that_keeps_the_rules_is_not_warned(library: Path, tmp_path: Path) -> None:
    """One thread, requests in flight together, a call that may come from anywhere, a disk used by another thread."""
    with Session(library, tmp_path, "openEngine.checkThreads = abort\n") as session:
        connection = session.connect()
        handle, done, buffers = session.open(connection), Completions(), [sectors(256) for _ in range(8)]
        for i, buffer in enumerate(buffers):
            where = (handle, c_uint64(i * 256), c_uint64(256), buffer, done.function, None)
            assert session.code("ReadAsync", *where) == VIX_ASYNC
        assert Call(lambda: int(session.transport(handle) != "file")).result() == 0
        assert Call(lambda: session.code("Wait", handle)).result() == 0
        assert session.code("Close", handle) == 0
        assert session.code("Disconnect", connection) == 0
        assert session.warned + session.panicked == []


def test_calls_that_open_and_close_run_one_at_a_time(session: Session, fifo: Path) -> None:
    """A Connect while another thread is in Cleanup: both are named."""
    hung = Call(lambda: session.code("Cleanup", None, None, None))
    with fifo.open("wb"):
        assert session.code("Connect", None, byref(c_void_p())) == 0
    assert hung.result() == 0
    (said,) = complaints(session)
    assert said.startswith("VixDiskLib_Connect on thread")
    assert "while VixDiskLib_Cleanup runs" in said


def test_a_connection_and_its_disks_live_on_one_thread(session: Session) -> None:
    """Opening, closing and disconnecting elsewhere are three complaints; reading elsewhere is none."""
    connection = session.connect()
    path = bytes(session.folder / "disk.vmdk")
    handle = session.open(connection)
    buffer = sectors(1)
    assert Call(lambda: session.code("Read", handle, c_uint64(0), c_uint64(1), buffer)).result() == 0
    assert complaints(session) == []
    assert Call(lambda: session.code("Close", handle)).result() == 0
    assert Call(lambda: session.open_code(connection, path)).result() == 0
    assert Call(lambda: session.code("Disconnect", connection)).result() == 0
    said = [line.split(" on thread")[0] + line.split("but the")[1].split(" was")[0] for line in complaints(session)]
    assert said == ["VixDiskLib_Close disk", "VixDiskLib_Open connection", "VixDiskLib_Disconnect connection"]


def test_one_call_at_a_time_uses_a_disk(session: Session, fifo: Path) -> None:
    """A Flush while another thread is in ReadAsync; asking for the transport mode is free."""
    handle, done, buffer = session.open(session.connect()), Completions(), sectors(1)

    def read() -> int:
        return session.code("ReadAsync", handle, c_uint64(0), c_uint64(1), buffer, done.function, None)

    assert read() == VIX_ASYNC
    hung = Call(read)
    with fifo.open("wb"):
        assert session.transport(handle) == "file"
        assert complaints(session) == []
        assert session.code("Flush", handle) == 0
    assert hung.result() == VIX_ASYNC
    (said,) = complaints(session)
    assert said.startswith("VixDiskLib_Flush on thread")
    assert "while VixDiskLib_ReadAsync runs" in said


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_is_told(session: Session) -> None:
    """The library's threads are not there any more."""
    child = os.fork()
    if child == 0:
        session.warned.clear()
        session.code("Connect", None, byref(c_void_p()))
        os._exit(0 if any("do not survive fork" in line for line in session.warned) else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_abort_ends_the_process_through_the_panic_callback(library: Path, tmp_path: Path) -> None:
    """The message comes first, then the signal."""
    said = tmp_path / "said"
    command: list[str | Path] = [sys.executable, "-c", CLIENT, library, tmp_path, said]
    done = subprocess.run(command, cwd=ROOT, env=LOADER_ENVIRONMENT, capture_output=True, check=False)
    assert done.returncode == -signal.SIGABRT
    assert said.read_text().startswith("VixDiskLib_Disconnect on thread")


def test_another_value_is_named_and_nothing_checked(library: Path, tmp_path: Path) -> None:
    """Off is the default."""
    for value, warned in (("maybe", 1), ("off", 0)):
        with Session(library, tmp_path, f"openEngine.checkThreads = {value}\n") as session:
            connection = session.connect()
            assert Call(lambda: session.code("Disconnect", connection)).result() == 0  # noqa: B023 (joined here)
            assert len(session.warned) == warned
