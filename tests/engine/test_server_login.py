"""Who may connect to a server: incomplete parameters are refused at once, wrong ones in Open, as VDDK does."""

from __future__ import annotations

import ctypes
from contextlib import contextmanager
from ctypes import byref, c_uint32, c_void_p
from typing import TYPE_CHECKING, Any

import pytest

from tests.engine.driver import LSILOGIC, MONOLITHIC_SPARSE, CreateParams
from tests.engine.session import (
    COOKIE,
    DATASTORE,
    FCD,
    PASSWORD,
    SESSION_ID,
    USER,
    ConnectParams,
    Session,
    remote,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

OK, FAIL, INVALID, NOT_SUPPORTED, ACCESS, NO_MACHINE, NO_HOST = 0, 1, 3, 6, 13, 4000, 18000
THUMBPRINT = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"
DISK = b"[ds] disk.vmdk"
TICKET, SSPI = 3, 4

SERVER = f"""
openEngine.server = vc.example, vc
openEngine.thumbPrint = {THUMBPRINT}
openEngine.user = {USER.decode()}
openEngine.password = "{PASSWORD.decode()}"  # of a test
openEngine.cookie = {COOKIE.decode()}
openEngine.vm = vm-1,vm-2, a folder/x.vmx
openEngine.snapshot = snapshot-7
"""


@contextmanager
def serving(library: Path, folder: Path, text: str = "") -> Iterator[Session]:
    """Return a library with one datastore that holds one disk."""
    (folder / "store").mkdir()
    with Session(library, folder, f"openEngine.datastore.ds = {folder}/store\n{text}") as session:
        params = CreateParams(MONOLITHIC_SPARSE, LSILOGIC, 13, 8192, 0, 0)
        path = bytes(folder / "store/disk.vmdk")
        assert session.code("Create", session.connect(), path, byref(params), None, None) == OK
        yield session


@pytest.fixture(name="session")
def _session(library: Path, tmp_path: Path) -> Iterator[Session]:
    """Library with the datastore and whatever comes."""
    with serving(library, tmp_path) as session:
        yield session


@pytest.fixture
def strict(library: Path, tmp_path: Path) -> Iterator[Session]:
    """Library with the datastore of a server that knows what it wants."""
    with serving(library, tmp_path, SERVER) as session:
        yield session


def complete(**fields: Any) -> ConnectParams:  # noqa: ANN401
    """Return parameters that the strict server takes."""
    return remote(**({"thumb_print": THUMBPRINT.encode()} | fields))


@pytest.mark.parametrize(
    ("params", "missing"),
    [
        (remote(server=None), "serverName"),
        (remote(server=b""), "serverName"),
        (remote(None), "vmxSpec"),
        (remote(b""), "vmxSpec"),
        (remote(creds=(None, PASSWORD, None)), "creds.uid.userName"),
        (remote(creds=(USER, None, None)), "creds.uid.password"),
        (remote(creds=(None, None, None), server=None), "serverName, creds.uid.userName, creds.uid.password"),
        (remote(cred_type=SESSION_ID, creds=(None, USER, PASSWORD)), "creds.sessionId.cookie"),
        (remote(cred_type=0), "credType is 0"),
        (remote(cred_type=256), "credType is 256"),
        (remote(None, spec_type=FCD, spec=(None, None, b"s")), "spec.vStorageObjSpec.id, spec.vStorageObjSpec.datast"),
        (remote(None, spec_type=DATASTORE, spec=(b"datastore-1", None, None)), "spec.dsSpec.diskFolder"),
        (remote(None, spec_type=77), "specType is 77"),
    ],
)
def test_incomplete_parameters_are_refused_by_name(session: Session, params: ConnectParams, missing: str) -> None:
    """VMware's library would crash: here every call that takes them says what is missing, and no secret."""
    found = c_void_p(1)
    assert session.code("ConnectEx", byref(params), 0, None, None, byref(found)) == INVALID
    assert found.value is None
    assert missing in session.warned[-1]
    assert session.code("Connect", byref(params), byref(found)) == INVALID
    assert session.code("PrepareForAccess", byref(params), b"me") == INVALID
    assert session.code("EndAccess", byref(params), b"me") == INVALID
    assert PASSWORD.decode() not in "".join(session.warned + session.logged)


@pytest.mark.parametrize("kind", [TICKET, SSPI])
def test_credentials_that_only_vmware_knows_are_not_supported(session: Session, kind: int) -> None:
    """Tickets and SSPI: their pointers are not even looked at."""
    params = remote(cred_type=kind)
    assert session.code("Connect", byref(params), byref(c_void_p())) == NOT_SUPPORTED


def test_optional_fields_may_be_missing(session: Session) -> None:
    """A cookie without user and key, an empty password, no thumbprint: nothing is wrong until a server says so."""
    for params in (remote(cred_type=SESSION_ID, creds=(COOKIE, None, None)), remote(creds=(USER, b"", None))):
        assert session.open_code(session.connect_to(params), DISK) == OK


@pytest.mark.parametrize(
    ("params", "snapshot", "code"),
    [
        (complete(), b"snapshot-7", OK),
        (complete(vmx_spec=b"MoRef=vm-2"), None, OK),
        (complete(vmx_spec=b"a folder/x.vmx?dcPath=dc&dsName=ds"), b"", OK),
        (complete(thumb_print=THUMBPRINT.replace(":", "").lower().encode()), None, OK),
        (complete(server=b"vc.example"), None, OK),
        (complete(cred_type=SESSION_ID, creds=(COOKIE, None, None)), None, OK),
        (complete(server=b"other"), None, NO_HOST),
        (complete(server=b"vc.exam"), None, NO_HOST),
        (complete(thumb_print=None), None, FAIL),
        (complete(thumb_print=b"A9:99"), None, FAIL),
        (complete(thumb_print=THUMBPRINT.replace("A9", "AA").encode()), None, FAIL),
        (complete(creds=(b"other", PASSWORD, None)), None, FAIL),
        (complete(creds=(USER, b"wrong secret", None)), None, FAIL),
        (complete(cred_type=SESSION_ID, creds=(b"wrong secret", USER, PASSWORD)), None, FAIL),
        (complete(vmx_spec=b"moref=vm-3"), None, NO_MACHINE),
        (complete(vmx_spec=b"moref=vm-"), None, NO_MACHINE),
        (complete(vmx_spec=b"a folder/y.vmx?dsName=ds"), None, NO_MACHINE),
        (complete(), b"snapshot-8", ACCESS),
    ],
)
def test_wrong_parameters_fail_in_open_and_not_before(
    strict: Session, params: ConnectParams, snapshot: bytes | None, code: int
) -> None:
    """ConnectEx takes them, as VDDK does; the warning gives the reason and never the secret."""
    connection = strict.connect_to(params, snapshot=snapshot)
    assert strict.open_code(connection, DISK) == code
    said = "".join(strict.warned + strict.logged)
    for secret in (PASSWORD.decode(), COOKIE.decode(), "wrong secret"):
        assert secret not in said


def test_access_and_cleanup_log_in_at_once(strict: Session) -> None:
    """They need the server now; Cleanup needs no machine, has nothing to remove and says so."""
    wrong = complete(creds=(USER, b"wrong", None))
    assert strict.code("PrepareForAccess", byref(wrong), b"me") == FAIL
    assert strict.code("EndAccess", byref(wrong), b"me") == FAIL
    cleaned, left = c_uint32(9), c_uint32(9)
    assert strict.code("Cleanup", byref(wrong), byref(cleaned), byref(left)) == FAIL
    assert strict.code("Cleanup", byref(complete(vmx_spec=None)), byref(cleaned), byref(left)) == OK
    assert (cleaned.value, left.value) == (0, 0)
    assert strict.code("Cleanup", byref(complete()), None, None) == OK
    assert strict.code("Cleanup", None, None, None) == OK


def test_a_snapshot_needs_a_machine(session: Session) -> None:
    """A first-class disk names its snapshot in its own specification."""
    params = remote(None, spec_type=FCD, spec=(b"id", b"datastore-1", None))
    assert session.code("ConnectEx", byref(params), 0, b"snapshot-7", None, byref(c_void_p())) == INVALID
    assert "ssId" in session.warned[-1]


@pytest.mark.parametrize(("major", "minor", "code"), [(6, 5, INVALID), (6, 7, OK), (7, 0, OK)])
def test_old_clients_have_no_specification_behind_their_structure(
    library: Path, tmp_path: Path, major: int, minor: int, code: int
) -> None:
    """80 bytes are theirs: what follows is read only for a client of 6.7 or newer, and only without vmxSpec."""
    text = f"openEngine.datastore.ds = {tmp_path}\n"
    session, found = Session(library, tmp_path, text), c_void_p()
    assert session.init(major, minor) == OK
    params = remote(None, spec_type=FCD, spec=(b"id", b"datastore-1", None))
    assert session.code("ConnectEx", byref(params), 0, None, None, byref(found)) == code
    short = ctypes.create_string_buffer(bytes(remote())[:80] + b"\xff" * 48, 128)
    keep = remote()  # the strings that both point to live as long as the module
    assert keep.server == b"vc"
    assert session.code("ConnectEx", short, 0, None, None, byref(found)) == OK
    session.exit()


@pytest.mark.parametrize(
    ("asked", "mode"),
    [
        (None, "nbdssl"),
        (b"", "nbdssl"),
        (b"nbd", "nbd"),
        (b"nbd:nbdssl", "nbd"),
        (b"file:nbdssl:nbd", "nbdssl"),
        (b"san:hotadd:nbd", "nbd"),
        (b"file", "file"),
        (b"NBDSSL", "nbdssl"),
        (b"hotadd:file", "file"),
        (b"san:hotadd", None),
        (b"nbdsslx:", None),
    ],
)
def test_the_transport_mode_is_the_first_of_those_asked_for(session: Session, asked: bytes | None, mode: str) -> None:
    """File only where no network mode is asked for; a list without any that is there fails in Open with 13."""
    connection = session.connect_to(remote(), modes=asked)
    if mode is None:
        assert session.open_code(connection, DISK) == ACCESS
        return
    handle = session.open_path(connection, DISK)
    assert session.transport(handle) == mode
    assert any("vpxa-nfc" in line for line in session.logged) is (mode != "file")


def test_transport_modes_are_listed_as_configured(session: Session, library: Path, tmp_path: Path) -> None:
    """Network modes exist where a datastore is mapped; a local connection is file whatever is asked for."""
    list_modes: Callable[[], bytes] = session.dll.VixDiskLib_ListTransportModes
    session.dll.VixDiskLib_ListTransportModes.restype = ctypes.c_char_p
    assert list_modes() == b"file:nbdssl:nbd"
    (tmp_path / "other").mkdir()
    with Session(library, tmp_path / "other") as plain:
        plain.dll.VixDiskLib_ListTransportModes.restype = ctypes.c_char_p
        assert plain.dll.VixDiskLib_ListTransportModes() == b"file"
    handle = session.open_path(session.connect_to(None, modes=b"nbdssl"), bytes(tmp_path / "store/disk.vmdk"))
    assert session.transport(handle) == "file"


@pytest.mark.parametrize(("size", "count"), [(16, 16), (32, 8), (32, 9), (257, 1)])
def test_nfc_buffers_of_more_than_16_mib_fail_in_open(library: Path, tmp_path: Path, size: int, count: int) -> None:
    """As in VDDK 7.0.3 and newer; local disks and direct access do not use them."""
    aio, code = "vixDiskLib.nfcAio.Session", OK if size * count <= 256 else INVALID
    text = f"{aio}.BufSizeIn64KB = {size}\nVixDiskLib.NfcAio.session.bufcount = {count}\n"
    with serving(library, tmp_path, text) as session:
        assert session.open_code(session.connect_to(remote()), DISK) == code
        assert session.open_code(session.connect_to(remote(), modes=b"file"), DISK) == OK
        assert session.open_code(session.connect(), bytes(tmp_path / "store/disk.vmdk")) == OK
