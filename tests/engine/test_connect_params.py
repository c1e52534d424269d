"""Who owns the strings of connection parameters, and that secrets do not outlive their use."""

from __future__ import annotations

import ctypes
import os
import secrets
from ctypes import POINTER, byref, c_char_p, c_void_p
from typing import TYPE_CHECKING

import pytest

from tests.engine.session import FCD, PASSWORD, SESSION_ID, UID, USER, ConnectParams, Session, remote
from tests.fix_memory import copies_in_memory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OK, INVALID, INVALID_CONNECTION = 0, 3, 16054


@pytest.fixture
def session(library: Path, tmp_path: Path) -> Iterator[Session]:
    """Library with a datastore."""
    with Session(library, tmp_path, f"openEngine.datastore.ds = {tmp_path}\n") as session:
        session.dll.VixDiskLib_AllocateConnectParams.restype = POINTER(ConnectParams)
        yield session


def params_of(session: Session, connection: c_void_p) -> ctypes._Pointer[ConnectParams]:
    """Call GetConnectParams."""
    found = POINTER(ConnectParams)()
    assert session.code("GetConnectParams", connection, byref(found)) == OK
    return found


def test_a_local_connection_has_empty_parameters(session: Session) -> None:
    """All zero: connecting with them gives a local connection again; wrong arguments have their codes."""
    connection, found = session.connect(), POINTER(ConnectParams)()
    copy = params_of(session, connection)
    assert bytes(copy.contents) == bytes(ctypes.sizeof(ConnectParams))
    session.dll.VixDiskLib_FreeConnectParams(copy)
    assert session.code("GetConnectParams", connection, None) == INVALID
    assert session.code("GetConnectParams", c_void_p(16), byref(found)) == INVALID_CONNECTION
    assert not bool(found)


def test_the_copy_is_complete_and_its_own(session: Session) -> None:
    """Every string, port and kind; valid after the connection is gone; good for connecting again."""
    params = remote(thumb_print=b"AA:BB", port=8443, nfc_port=9902)
    connection = session.connect_to(params)
    copy = params_of(session, connection)
    assert session.code("Disconnect", connection) == OK
    got = copy.contents
    assert (got.vmx_spec, got.server, got.thumb_print) == (b"moref=vm-1", b"vc", b"AA:BB")
    assert (got.cred_type, got.creds[0], got.creds[1], got.port, got.nfc_port) == (UID, USER, PASSWORD, 8443, 9902)
    assert session.code("Disconnect", session.connect_to(got)) == OK
    session.dll.VixDiskLib_FreeConnectParams(copy)


def test_the_copy_has_sessions_and_first_class_disks(session: Session) -> None:
    """The other arms of both unions."""
    params = remote(None, cred_type=SESSION_ID, creds=(b"c", b"u", b"k"), spec_type=FCD, spec=(b"id", b"ds-1", b"snap"))
    copy = params_of(session, session.connect_to(params))
    got = copy.contents
    assert (got.cred_type, list(got.creds)) == (SESSION_ID, [b"c", b"u", b"k"])
    assert (got.spec_type, list(got.spec)) == (FCD, [b"id", b"ds-1", b"snap"])
    assert not got.vmx_spec
    session.dll.VixDiskLib_FreeConnectParams(copy)


def test_strings_in_allocated_parameters_stay_the_callers(session: Session) -> None:
    """Freed before or after the structure, or never: the library frees the structure alone."""
    text = ctypes.create_string_buffer(b"vc")
    params = session.dll.VixDiskLib_AllocateConnectParams()
    assert bytes(params.contents) == bytes(ctypes.sizeof(ConnectParams))
    params.contents.server = ctypes.cast(text, c_char_p)
    session.dll.VixDiskLib_FreeConnectParams(params)
    assert text.value == b"vc"
    session.dll.VixDiskLib_FreeConnectParams(None)


def test_fields_that_the_caller_replaced_are_not_freed(session: Session) -> None:
    """The library frees what it allocated, not what the structure points to by then, nor a copy's copy."""
    text = ctypes.create_string_buffer(b"theirs")
    copy = params_of(session, session.connect_to(remote()))
    copy.contents.server = ctypes.cast(text, c_char_p)
    copy.contents.creds[1] = None
    second = session.dll.VixDiskLib_AllocateConnectParams()
    ctypes.memmove(second, copy, ctypes.sizeof(ConnectParams))
    session.dll.VixDiskLib_FreeConnectParams(second)
    assert copy.contents.vmx_spec == b"moref=vm-1"
    session.dll.VixDiskLib_FreeConnectParams(copy)
    assert text.value == b"theirs"


@pytest.mark.skipif("ASYNCVDDK_TEST_ENGINE" in os.environ, reason="sanitizers keep what Python itself has freed")
def test_secrets_are_overwritten_when_they_are_not_needed_any_more(library: Path, tmp_path: Path) -> None:
    """After Disconnect, FreeConnectParams and Exit no copy of password, cookie or configuration is left in memory."""
    text = secrets.token_hex(100)
    wanted, tail = text.encode(), text[-64:].encode()  # the allocator itself overwrites the beginning of what is freed
    config = tmp_path / "secret.conf"
    config.write_text(f"openEngine.datastore.ds = {tmp_path}\nopenEngine.password = {text}\n")
    session = Session(library, tmp_path)
    session._file = config
    params = remote(creds=(USER, wanted, None))
    by_cookie = remote(cred_type=SESSION_ID, creds=(wanted, USER, wanted))
    before = copies_in_memory(tail)
    assert session.init() == OK
    connections = [session.connect_to(params), session.connect_to(by_cookie)]
    copies = [params_of(session, connection) for connection in connections]
    assert session.code("PrepareForAccess", byref(params), b"me") == OK
    assert session.code("EndAccess", byref(params), b"me") == OK
    assert copies_in_memory(tail) - before  # each connection and each copy its own, and the configuration
    for copy in copies:
        session.dll.VixDiskLib_FreeConnectParams(copy)
    for connection in connections:
        assert session.code("Disconnect", connection) == OK
    session.exit()
    assert copies_in_memory(tail) - before == set()
