"""Failures switched on by number: VixDiskLib_SetInjectedFault and VixDiskLib_IsFaultEnabled."""

from __future__ import annotations

import ctypes
import re
from ctypes import POINTER, byref, c_char, c_int, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import asyncvddk
from tests.engine.driver import LSILOGIC, MONOLITHIC_FLAT, CreateParams
from tests.engine.session import FCD, SESSION_ID, Session, remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HEADER = Path(asyncvddk.__file__).parent / "engine" / "include" / "vddkFaultInjection.h"
LAST = 87
ERROR = 14009
DISK = b"[ds] disk.vmdk"
NOWHERE = b"/there/is/no/such/folder/x.vmdk"


def places() -> dict[int, str]:
    """Return what the header says of each number."""
    found = re.findall(r"^  VDDK_\w+ = (\d+), /\* (.*) \*/$", HEADER.read_text("utf-8"), re.MULTILINE)
    return {int(number): text for number, text in found}


@pytest.fixture(name="session")
def _session(library: Path, tmp_path: Path) -> Iterator[Session]:
    """Library with a disk in a datastore."""
    with Session(library, tmp_path, f"openEngine.datastore.ds = {tmp_path}\n") as session:
        assert session.code("Close", session.open(session.connect())) == 0
        yield session


def inject(session: Session, number: int, *, enabled: bool = True, error: int = ERROR) -> bool:
    """Call SetInjectedFault."""
    call = session.dll.VixDiskLib_SetInjectedFault
    call.restype = c_char
    return bool(ord(call(c_int(number), c_char(enabled), c_int(error))))


def clone(session: Session, to: c_void_p, to_path: bytes, source: c_void_p, path: bytes) -> int:
    """Call Clone."""
    params = CreateParams(MONOLITHIC_FLAT, LSILOGIC, 13, 8, 0, 0)
    return session.code("Clone", to, to_path, source, path, byref(params), None, None, 0)


def calls(session: Session) -> dict[str, Callable[[], int]]:
    """Return a way to pass the places that the header names, by its words."""
    local = session.connect()
    path = bytes(session.folder / "disk.vmdk")
    handle, parent, child = (session.open_path(local, path) for _ in range(3))
    network = session.open_path(session.connect_to(remote()), DISK)

    def init() -> int:
        code = session.init()
        if code == 0:
            session.exit()
        return code

    def connect(**fields: Any) -> int:  # noqa: ANN401
        return session.code("Connect", byref(remote(**fields)), byref(c_void_p()))

    def open_remote(**fields: Any) -> int:  # noqa: ANN401
        return session.open_code(session.connect_to(remote(**fields)), DISK)

    def query(disk: c_void_p) -> int:
        limits = (c_uint64(0), c_uint64(128), c_uint64(128))
        return session.code("QueryAllocatedBlocks", disk, *limits, byref(POINTER(c_uint32)()))

    fcd = {"vmx_spec": None, "spec_type": FCD, "spec": (b"id", b"ds-1", None)}
    datastore = {"vmx_spec": None, "spec_type": 2, "spec": (b"ds-1", b"folder", None)}
    metadata = (handle, b"adapterType", None, c_size_t(0), None)
    return {
        "Init, InitEx": init,
        "Clone between local disks": lambda: clone(session, local, NOWHERE, local, path),
        "CreateChild": lambda: session.code("CreateChild", handle, NOWHERE, 1, None, None),
        "GetInfo": lambda: session.code("GetInfo", handle, byref(c_void_p())),
        "Connect, ConnectEx: by vmxSpec": connect,
        "Connect, ConnectEx: to a first-class disk": lambda: connect(**fcd),
        "Connect, ConnectEx: to a datastore": lambda: connect(**datastore),
        "Connect, ConnectEx: to a server": connect,
        "Connect, ConnectEx": lambda: session.code("Connect", None, byref(c_void_p())),
        "Connect, ConnectEx: with user and password": connect,
        "Connect, ConnectEx: with a session's cookie": lambda: connect(cred_type=SESSION_ID),
        "Open": lambda: session.open_code(local, path),
        "Clone to a server": lambda: clone(session, session.connect_to(remote()), b"[ds] new.vmdk", local, path),
        "Clone from a server": lambda: clone(session, local, NOWHERE, session.connect_to(remote()), DISK),
        "SpaceNeededForClone": lambda: session.code("SpaceNeededForClone", handle, 1, byref(c_uint64())),
        "Attach": lambda: session.code("Attach", parent, child),
        "Wait, after it has waited": lambda: session.code("Wait", handle),
        "Open on a server": open_remote,
        "Open on a server, with a thumbprint": lambda: open_remote(thumb_print=b"AA"),
        "ReadMetadata": lambda: session.code("ReadMetadata", *metadata),
        "Unlink": lambda: session.code("Unlink", local, NOWHERE),
        "QueryAllocatedBlocks": lambda: query(handle),
        "QueryAllocatedBlocks over nbd or nbdssl": lambda: query(network),
        "Close over nbd or nbdssl, which closes all the same": lambda: session.code("Close", network),
        "Open on a server, over nbd or nbdssl": open_remote,
    }


def test_every_place_of_the_header_fails_with_the_given_error(session: Session) -> None:
    """Each number lets the function fail that the header names behind it, until it is disabled."""
    ways = calls(session)
    assert set(ways) == set(places().values())
    for number, text in places().items():
        assert inject(session, number)
        assert ways[text]() == ERROR, (number, text)
        assert f"fault {number} of" in session.warned[-1]
        assert inject(session, number, enabled=False)
        if "Close" not in text:
            assert ways[text]() != ERROR, (number, text)


def test_a_number_without_a_place_is_refused(session: Session) -> None:
    """And so is an error that would mean success."""
    refused = {number for number in range(-1, LAST + 1) if not inject(session, number, enabled=False)}
    assert refused == set(range(-1, LAST + 1)) - set(places())
    for error in (0, -1):
        assert not inject(session, min(places()), error=error)


def test_places_of_servers_leave_local_disks_alone(session: Session) -> None:
    """A fault of the network makes no local Open fail, and direct access has no tickets."""
    for number, text in places().items():
        assert not text.startswith("Open on") or inject(session, number)
    assert session.code("Close", session.open(session.connect())) == 0
    for number in range(79):
        inject(session, number, enabled=False)
    inject(session, 83, enabled=False)
    inject(session, 84, enabled=False)
    assert session.open_code(session.connect_to(remote(), modes=b"file"), DISK) == 0
    assert session.open_code(session.connect_to(remote(), modes=b"nbd"), DISK) == ERROR
    for number in range(79, LAST):
        inject(session, number, enabled=False)


def test_clients_ask_and_answer_by_the_function_pointer(session: Session) -> None:
    """It tells what is enabled; one of the client's own in its place decides; NULL: nothing fails."""
    asker = ctypes.CFUNCTYPE(c_char, c_int, POINTER(c_int))
    pointer = c_void_p.in_dll(session.dll, "VixDiskLib_IsFaultEnabled")
    ours = pointer.value
    ask, found = asker(ours or 0), c_int()
    assert inject(session, 29)
    assert (ask(29, byref(found)), found.value) == (b"\x01", ERROR)
    assert (ask(30, byref(found)), ask(-1, None), ask(1000, None)) == (b"\0", b"\0", b"\0")

    def answer(number: int, error: Any) -> bytes:  # noqa: ANN401 (a pointer)
        error[0] = 16 + number
        return b"\x01"

    theirs = asker(answer)
    pointer.value = ctypes.cast(theirs, c_void_p).value
    local, path = session.connect_failing(), bytes(session.folder / "disk.vmdk")
    assert local == 16 + 24
    pointer.value = None
    assert session.open_code(session.connect(), path) == 0
    pointer.value = ours
    assert inject(session, 29, enabled=False)


def test_faults_outlive_the_library(library: Path, tmp_path: Path) -> None:
    """They can be set before the first Init, and the last Exit leaves them."""
    session = Session(library, tmp_path)
    assert inject(session, 10)
    assert session.init() == ERROR
    assert inject(session, 10, enabled=False)
    assert inject(session, 24)
    for _ in range(2):
        with session:
            assert session.connect_failing() == ERROR
