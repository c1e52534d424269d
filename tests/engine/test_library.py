"""Life of the library, connections, handles and asynchronous calls, as a C client sees them."""

from __future__ import annotations

import re
from collections import Counter
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
    cast,
    create_string_buffer,
)
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import asyncvddk
from tests.engine.session import VIX_ASYNC, CompletionFunction, Completions, Session, remote, sectors

if TYPE_CHECKING:
    from collections.abc import Iterator

OK, FAIL, INVALID, BUSY, NOT_SUPPORTED, ACCESS, OUT_OF_RANGE = 0, 1, 3, 5, 6, 13, 16007
INVALID_CONNECTION, NOT_INITIALISED, DISABLED = 16054, 16001, 20005
HEADER = Path(asyncvddk.__file__).parent / "engine" / "include" / "vixDiskLib.h"
FOREIGN = (None, 0x10, 0x7FFF_0000_1234)


@pytest.fixture
def session(library: Path, tmp_path: Path) -> Iterator[Session]:
    """Library without configuration file."""
    with Session(library, tmp_path) as session:
        yield session


def test_client_that_needs_a_newer_generation_is_refused(library: Path, tmp_path: Path) -> None:
    """InitEx fails for a major version above ours and takes every other."""
    session = Session(library, tmp_path)
    assert session.init(9) == NOT_SUPPORTED
    assert [session.init(major) for major in (8, 7, 6, 1)] == [OK] * 4
    for _ in range(5):  # one Exit too many is no harm
        session.exit()


def test_nothing_connects_before_init_or_behind_exit(library: Path, tmp_path: Path) -> None:
    """Connect outside of Init and Exit has the code for it."""
    session, connection = Session(library, tmp_path), c_void_p()
    assert session.code("Connect", None, byref(connection)) == NOT_INITIALISED
    with session:
        assert session.code("Connect", None, byref(connection)) == OK
    assert session.code("Connect", None, byref(connection)) == NOT_INITIALISED


def test_version_line_has_the_form_that_clients_parse(session: Session) -> None:
    """The first line tells name, version and build."""
    assert re.match(r"VMware VixDiskLib \(8\.0\.1\) Release build-\d+ .*open engine \d+\.\d+", session.logged[0])
    assert session.logged[0].endswith("\n")


def test_every_code_of_the_header_has_a_text(session: Session) -> None:
    """No code of the header is unknown to GetErrorText; the text depends on the low 16 bits only."""
    names = re.findall(r"^  (VIX_\w+) = (\d+),$", HEADER.read_text("utf-8"), re.MULTILINE)
    assert len(names) == 268
    session.dll.VixDiskLib_GetErrorText.restype = c_void_p

    def text(code: int) -> str:
        found = session.dll.VixDiskLib_GetErrorText(c_uint64(code), None)
        result = cast(found, c_char_p).value
        session.dll.VixDiskLib_FreeErrorText(c_void_p(found))
        return (result or b"").decode()

    texts = {int(number): text(int(number)) for _, number in names}
    assert [code for code, said in texts.items() if not said or str(code) in said] == []
    assert [said for said, times in Counter(texts.values()).items() if times > 1] == []
    assert text(7 << 32 | 16007) == texts[16007]
    assert text(9999) == "Unknown error 9999"


@pytest.mark.parametrize("pointer", FOREIGN)
def test_foreign_pointer_is_answered_and_not_followed(session: Session, pointer: int | None) -> None:
    """NULL and addresses that we never gave out get a code, from every function that takes one."""
    wrong, found = c_void_p(pointer), c_void_p()
    buffer = sectors(1)
    assert session.code("Read", wrong, c_uint64(0), c_uint64(1), buffer) == INVALID
    assert session.code("GetInfo", wrong, byref(found)) == INVALID
    assert session.code("Close", wrong) == INVALID
    assert session.code("Wait", wrong) == INVALID
    assert session.code("Shrink", wrong, None, None) == INVALID
    assert session.code("Open", wrong, b"/x", c_uint32(0), byref(found)) == INVALID_CONNECTION
    assert session.code("Disconnect", wrong) == INVALID_CONNECTION
    session.dll.VixDiskLib_GetTransportMode.restype = c_char_p
    assert session.dll.VixDiskLib_GetTransportMode(wrong) is None


def test_connection_is_no_handle_and_a_handle_no_connection(session: Session) -> None:
    """Each kind of pointer is known for what it is, and only by its exact value."""
    connection = session.connect()
    handle = session.open(connection)
    assert session.code("Flush", connection) == INVALID
    assert session.code("Flush", c_void_p((handle.value or 0) + 8)) == INVALID
    assert session.code("Disconnect", handle) == INVALID_CONNECTION
    assert session.code("Close", handle) == OK


def test_handle_is_invalid_after_close_and_is_not_given_out_again_soon(session: Session) -> None:
    """A stale handle gets a code and never reaches a disk opened later."""
    connection = session.connect()
    stale = session.open(connection)
    assert session.code("Close", stale) == OK
    later = session.open(connection)
    assert later.value != stale.value
    assert session.code("Close", stale) == INVALID
    assert session.code("Flush", later) == OK
    assert session.code("Close", later) == OK


def test_disconnect_closes_what_is_open_and_says_so(session: Session) -> None:
    """A handle that its connection outlived is closed, its file named in a warning."""
    connection = session.connect()
    handle = session.open(connection)
    assert session.code("Disconnect", connection) == OK
    assert any("disk.vmdk is still open" in line for line in session.warned)
    assert session.code("Close", handle) == INVALID


def test_exit_closes_what_is_open_and_only_the_last_does(library: Path, tmp_path: Path) -> None:
    """Exit is counted; the last closes forgotten disks and connections."""
    session = Session(library, tmp_path)
    assert (session.init(), session.init()) == (OK, OK)
    connection = session.connect()
    handle = session.open(connection)
    session.exit()
    assert session.code("Flush", handle) == OK
    session.exit()
    assert session.code("Flush", handle) == INVALID
    assert session.code("Disconnect", connection) == INVALID_CONNECTION


def test_a_server_without_mapped_folders_is_refused_with_the_way_out(session: Session) -> None:
    """What cannot be served is not promised; parameters without a server are local, whatever stands behind them."""
    found = c_void_p()
    params = remote(server=b"vc.example")
    assert session.code("ConnectEx", byref(params), 0, None, None, byref(found)) == NOT_SUPPORTED
    assert "vc.example" in session.warned[-1]
    assert "openEngine.datastore" in session.warned[-1]
    short = create_string_buffer(b"\0" * 16 + b"\xff" * 112, 128)
    assert session.code("ConnectEx", short, 0, None, None, byref(found)) == OK


def test_prepare_and_end_are_pairs(session: Session) -> None:
    """A second Prepare of one machine by one identity is refused until its End; End alone is no error."""
    one, two = remote(b"moref=vm-1"), remote(b"moref=vm-2")
    prepare = [session.code("PrepareForAccess", byref(vm), b"me") for vm in (one, one, two)]
    assert prepare == [OK, DISABLED, OK]
    assert [session.code("EndAccess", byref(one), b"me") for _ in range(2)] == [OK, OK]
    assert session.code("PrepareForAccess", byref(one), b"me") == OK
    assert session.code("PrepareForAccess", byref(one), b"x" * 51) == INVALID
    assert session.code("PrepareForAccess", byref(one), "ä".encode() * 50) == OK
    assert session.code("PrepareForAccess", None, None) == OK


@pytest.mark.parametrize(
    ("start", "count", "code"),
    [
        (0, 0, OK),
        (1000, 0, OK),
        (999, 1, OK),
        (1000, 1, OUT_OF_RANGE),
        (0, 1001, OUT_OF_RANGE),
        (2**64 - 1, 2, OUT_OF_RANGE),
        (2, 2**64 - 1, OUT_OF_RANGE),
    ],
)
def test_transfer_outside_of_the_disk_is_refused(session: Session, start: int, count: int, code: int) -> None:
    """All four transfers check the range without overflow; a refused one is never called back."""
    handle = session.open(session.connect(), sectors=1000)
    buffer, done = sectors(1), Completions()
    where = (handle, c_uint64(start), c_uint64(count), buffer)
    assert session.code("Read", *where) == code
    assert session.code("Write", *where) == code
    accepted = code or VIX_ASYNC
    assert session.code("ReadAsync", *where, done.function, None) == accepted
    assert session.code("WriteAsync", *where, done.function, None) == accepted
    assert session.code("Wait", handle) == OK
    assert done.results == [] if code else [OK, OK]


def test_read_only_connection_and_handle_refuse_writes(session: Session) -> None:
    """ReadOnly of ConnectEx is inherited by Open; buffers and keys that are NULL are wrong arguments."""
    connection, buffer, done = c_void_p(), sectors(1), Completions()
    session.open(session.connect())
    assert session.code("ConnectEx", None, 1, None, None, byref(connection)) == OK
    handle = session.open(connection)
    assert session.code("Write", handle, c_uint64(0), c_uint64(1), buffer) == ACCESS
    assert session.code("WriteAsync", handle, c_uint64(0), c_uint64(1), buffer, done.function, None) == ACCESS
    assert session.code("WriteMetadata", handle, b"key", b"value") == ACCESS
    assert session.code("Read", handle, c_uint64(0), c_uint64(1), None) == INVALID
    assert session.code("ReadAsync", handle, c_uint64(0), c_uint64(1), buffer, None, None) == INVALID
    assert session.code("ReadMetadata", handle, None, None, c_size_t(0), None) == INVALID


@pytest.mark.parametrize(
    ("start", "count", "chunk", "code"),
    [
        (0, 65536, 128, OK),
        (65536, 0, 128, OK),
        (0, 65536 + 128, 128, INVALID),
        (1, 128, 128, INVALID),
        (0, 100, 128, INVALID),
        (0, 64, 64, INVALID),
        (0, 384, 384, INVALID),
        (0, 262144, 262144, INVALID),
        (2**64 - 128, 128, 128, INVALID),
        (0, 0, 0, INVALID),
    ],
)
def test_query_keeps_the_limits_strictly(session: Session, start: int, count: int, chunk: int, code: int) -> None:
    """Start and count are multiples of the chunk, inside the disk; the tail cannot be asked for."""
    handle, found = session.open(session.connect()), POINTER(c_uint32)()
    limits = (c_uint64(start), c_uint64(count), c_uint64(chunk))
    assert session.code("QueryAllocatedBlocks", handle, *limits, byref(found)) == code
    assert bool(found) is (code == OK)
    assert session.code("FreeBlockList", found) == OK


def test_query_of_the_tail_can_be_allowed(library: Path, tmp_path: Path) -> None:
    """With openEngine.queryTail the last chunk may leave the disk, and no further."""
    with Session(library, tmp_path, "openEngine.queryTail = on") as session:
        handle, found = session.open(session.connect()), POINTER(c_uint32)()
        for count, code in ((65536 + 128, OK), (65536 + 256, INVALID)):
            limits = (c_uint64(0), c_uint64(count), c_uint64(128))
            assert session.code("QueryAllocatedBlocks", handle, *limits, byref(found)) == code
            session.code("FreeBlockList", found)


def test_close_waits_for_the_requests_in_flight(library: Path, tmp_path: Path) -> None:
    """Every accepted request was called back once when Close returns, whatever the pool's size."""
    with Session(library, tmp_path, "openEngine.threads = 2\nopenEngine.latencyMs = 1") as session:
        handle, done = session.open(session.connect()), Completions()
        buffers = [sectors(2048) for _ in range(16)]
        for buffer in buffers:
            where = (handle, c_uint64(0), c_uint64(2048), buffer)
            assert session.code("ReadAsync", *where, done.function, None) == VIX_ASYNC
        assert session.code("Close", handle) == OK
        assert done.results == [OK] * 16
        assert len(done.threads) <= 2


def test_waiting_for_oneself_is_refused(session: Session) -> None:
    """Wait and Close of a handle inside its own callback would never end: they say busy."""
    handle, buffer, said = session.open(session.connect()), sectors(1), []
    call = CompletionFunction(
        lambda _data, _result: said.extend([session.code("Wait", handle), session.code("Close", handle)])
    )
    assert session.code("ReadAsync", handle, c_uint64(0), c_uint64(1), buffer, call, None) == VIX_ASYNC
    assert session.code("Wait", handle) == OK
    assert said == [BUSY, BUSY]
