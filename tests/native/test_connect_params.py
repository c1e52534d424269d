"""Connection parameters become a C structure and come back, and no secret stays behind."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from asyncvddk import ConnectParams, DatastoreFolder, NotSupportedError, Secret, StorageObject
from asyncvddk.native import _constants as c
from asyncvddk.native import _log, _structs
from asyncvddk.native._connect_params import NativeConnectParams, connect_params, read_connect_params
from asyncvddk.native._functions import Bound, bind
from asyncvddk.native._loader import Library
from tests.native.fix_c import engine_library

if TYPE_CHECKING:
    from collections.abc import Callable

THUMBPRINT = "A9:99:3E:36:47:06:81:6A:BA:3E:25:71:78:50:C2:6C:9C:D0:D8:9D"


@pytest.fixture(params=["allocates", "old"])
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Library:
    """Return a library that allocates the structure, as from 6.7 on, and one that cannot."""
    monkeypatch.setattr(_log, "library_version", None)
    if request.param == "old":
        return old_library()
    path = engine_library()
    return Library(path, path.parent.parent, bind(ctypes.CDLL(str(path))), (8, 0, 1))


def old_library() -> Library:
    """Return a library as before 6.7."""
    return Library(Path("/lib64/libvixDiskLib.so.6.5.0"), Path("/"), Bound("libvixDiskLib.so.6.5.0", {}), (6, 5, 0))


@pytest.fixture
def new_library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """Return the bundled engine."""
    monkeypatch.setattr(_log, "library_version", None)
    path = engine_library()
    return Library(path, path.parent.parent, bind(ctypes.CDLL(str(path))), (8, 0, 1))


def by_password() -> ConnectParams:
    """Return the parameters of a virtual machine, reached with user and password."""
    return ConnectParams(
        server="vc.example",
        vmx_spec="moref=vm-16",
        user="jürgen",
        password=Secret("pässword"),
        thumbprint=THUMBPRINT,
        port=8443,
        nfc_port=9902,
    )


def by_cookie() -> ConnectParams:
    """Return the parameters of a session."""
    return ConnectParams("vc", vmx_spec="moref=2", user="u", cookie=Secret("cook"), key=Secret("pass"))


def address_in(native: NativeConnectParams, offset: int) -> int:
    """Return the pointer at ``offset`` of the structure."""
    return ctypes.c_uint64.from_address(native.address + offset).value


def test_user_and_password_fill_their_arm(library: Library) -> None:
    """Every field of a virtual machine's parameters arrives in UTF-8, the others stay zero."""
    native = connect_params(by_password(), library)
    struct = native.struct
    assert (struct.vmxSpec, struct.serverName, struct.thumbPrint) == (
        b"moref=vm-16",
        b"vc.example",
        THUMBPRINT.encode(),
    )
    assert struct.credType == c.VIXDISKLIB_CRED_UID
    assert struct.creds.uid.userName == "jürgen".encode()
    assert struct.creds.uid.password == "pässword".encode()
    assert (struct.port, struct.nfcHostPort) == (8443, 9902)
    assert struct.specType == c.VIXDISKLIB_SPEC_VMX
    assert (struct.privateUse, struct.vimApiVer, struct.reserved, struct.state) == (0, None, b"", None)
    assert struct.spec.vStorageObjSpec.id is None
    native.wipe()


def test_a_session_cookie_fills_its_arm(library: Library) -> None:
    """A cookie comes before user and password; its key is the one that was given, else the password."""
    password = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("p"), cookie=Secret("cook"))
    for params, key in ((by_cookie(), b"pass"), (password, b"p")):
        native = connect_params(params, library)
        creds = native.struct.creds.sessionId
        assert native.struct.credType == c.VIXDISKLIB_CRED_SESSIONID
        assert (creds.cookie, creds.userName, creds.key) == (b"cook", b"u", key)
        native.wipe()


def test_a_cookie_alone_leaves_user_and_key_null(library: Library) -> None:
    """What was not given is NULL, not an empty text."""
    native = connect_params(ConnectParams("vc", vmx_spec="moref=2", cookie=Secret("52e2")), library)
    creds = native.struct.creds.sessionId
    assert (native.struct.thumbPrint, creds.userName, creds.key) == (None,) * 3
    native.wipe()


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [("snap-1", b"snap-1"), ("", None), (None, None)],
    ids=["given", "empty", "none"],
)
def test_a_first_class_disk_fills_its_spec(new_library: Library, snapshot: str | None, expected: bytes | None) -> None:
    """The spec type says first-class disk and no virtual machine is named; no snapshot is NULL."""
    disk = StorageObject("fcd-1", "datastore-15", snapshot)
    native = connect_params(ConnectParams("vc", cookie=Secret("c"), storage_object=disk), new_library)
    spec = native.struct.spec.vStorageObjSpec
    assert (native.struct.specType, native.struct.vmxSpec) == (c.VIXDISKLIB_SPEC_VSTORAGE_OBJECT, None)
    assert (spec.id, spec.datastoreMoRef, spec.ssId) == (b"fcd-1", b"datastore-15", expected)
    native.wipe()


@pytest.mark.parametrize("number", [c.VIXDISKLIB_SPEC_DATASTORE, 128])
def test_a_datastore_folder_fills_its_spec(new_library: Library, number: int) -> None:
    """Under the number that the user believes in."""
    folder = DatastoreFolder("datastore-15", "backups", number)
    native = connect_params(ConnectParams("vc", cookie=Secret("c"), datastore=folder), new_library)
    spec = native.struct.spec.dsSpec
    assert (native.struct.specType, native.struct.vmxSpec) == (number, None)
    assert (spec.datastoreMoRef, spec.diskFolder) == (b"datastore-15", b"backups")
    native.wipe()


def test_the_default_number_of_a_datastore_folder_is_the_headers() -> None:
    """Models and binding do not drift apart."""
    assert DatastoreFolder("datastore-15", "backups").spec_type == c.VIXDISKLIB_SPEC_DATASTORE


def test_what_an_older_library_would_take_for_a_local_disk_is_refused(
    new_library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """First-class disks before 6.7, folders of a datastore before 8.0.1; the error says which library it is."""
    disk = ConnectParams("vc", cookie=Secret("c"), storage_object=StorageObject("fcd-1", "datastore-15"))
    folder = ConnectParams("vc", cookie=Secret("c"), datastore=DatastoreFolder("datastore-15", "backups"))
    with pytest.raises(NotSupportedError, match=r"storage_object: .* 6\.7, .*so\.6\.5\.0 is 6\.5\.0$"):
        connect_params(disk, old_library())
    monkeypatch.setattr(_log, "library_version", "8.0.0")
    with pytest.raises(NotSupportedError, match=r"datastore: .* 8\.0\.1, .* is 8\.0\.0$"):
        connect_params(folder, new_library)


def test_host_only_parameters_lead_to_nothing(new_library: Library) -> None:
    """For Cleanup: VMware wants no machine there."""
    native = connect_params(by_password(), new_library, host_only=True)
    assert (native.struct.serverName, native.struct.vmxSpec) == (b"vc.example", None)
    native.wipe()


@pytest.mark.parametrize("params", [by_password, by_cookie], ids=["password", "cookie"])
def test_parameters_come_back_as_they_went(library: Library, params: Callable[[], ConnectParams]) -> None:
    """Every field; the secrets are new ones, with the same content."""
    wanted = params()
    native = connect_params(wanted, library)
    native.struct.vimApiVer = b"ignored"
    found = read_connect_params(native.address, library)
    native.wipe()
    for name in ("server", "vmx_spec", "user", "thumbprint", "port", "nfc_port", "storage_object", "datastore"):
        assert getattr(found, name) == getattr(wanted, name)
    for name in ("password", "cookie", "key"):
        given, got = getattr(wanted, name), getattr(found, name)
        assert (given and given.reveal()) == (got and got.reveal())


@pytest.mark.parametrize(
    "changes",
    [
        {"storage_object": StorageObject("fcd-1", "datastore-15", "snap-1")},
        {"datastore": DatastoreFolder("datastore-15", "backups", 128)},
    ],
    ids=["fcd", "datastore"],
)
def test_where_a_connection_leads_comes_back(new_library: Library, changes: dict[str, Any]) -> None:
    """The other arms of the specification, and its number."""
    wanted = ConnectParams("vc", cookie=Secret("c"), **changes)
    native = connect_params(wanted, new_library)
    found = read_connect_params(native.address, new_library)
    native.wipe()
    assert (found.storage_object, found.datastore) == (wanted.storage_object, wanted.datastore)


def test_incomplete_parameters_of_a_library_are_an_error_that_says_what_is_missing(library: Library) -> None:
    """A library may keep the password to itself; and there are kinds of credentials that we do not have."""
    struct = _structs.ConnectParams(serverName=b"vc", vmxSpec=b"moref=2", credType=c.VIXDISKLIB_CRED_UID)
    struct.creds.uid.userName = b"u"
    with pytest.raises(NotSupportedError, match="user and password"):
        read_connect_params(ctypes.addressof(struct), library)
    struct.credType = c.VIXDISKLIB_CRED_TICKETID
    with pytest.raises(NotSupportedError, match="kind 3"):
        read_connect_params(ctypes.addressof(struct), library)


def test_wiping_overwrites_the_memory_of_every_secret(library: Library) -> None:
    """Where cookie and key were there are zeros, while the memory is still ours."""
    native = connect_params(by_cookie(), library)
    creds = _structs.ConnectParams.creds.offset
    cookie, key = (address_in(native, creds + offset) for offset in (0, 16))
    assert (ctypes.string_at(cookie, 5), ctypes.string_at(key, 5)) == (b"cook\0", b"pass\0")
    kept = native._secrets.copy()
    native.wipe()
    assert (ctypes.string_at(cookie, 5), ctypes.string_at(key, 5)) == (bytes(5), bytes(5))
    assert len(kept) == 2


def test_wiping_leaves_no_pointer_to_freed_memory(library: Library) -> None:
    """After a wipe the structure names nothing; a second wipe is harmless."""
    native = connect_params(by_password(), library)
    native.wipe()
    native.wipe()
    assert ctypes.string_at(native.address, 80) in {bytes(80), bytes(_structs.ConnectParams(**KEPT))[:80]}


KEPT = {"port": 8443, "nfcHostPort": 9902, "credType": c.VIXDISKLIB_CRED_UID}
"""Numbers that a wipe of our own memory leaves."""


def test_a_library_gets_its_structure_back_empty(new_library: Library) -> None:
    """It frees a structure that names none of our memory, once."""
    freed: list[tuple[bytes | None, bytes]] = []
    real = new_library.bound["VixDiskLib_FreeConnectParams"]

    def free(pointer: ctypes._Pointer[_structs.ConnectParams]) -> None:
        freed.append((pointer.contents.serverName, bytes(pointer.contents.creds)))
        real(pointer)

    new_library.bound._pointers["VixDiskLib_FreeConnectParams"] = free
    native = connect_params(by_password(), new_library)
    native.wipe()
    native.wipe()
    assert freed == [(None, bytes(24))]


def test_secrets_are_masked_in_the_log_until_the_wipe(library: Library) -> None:
    """Also when their owner has wiped his own meanwhile: the library still has them."""
    params = by_password()
    native = connect_params(params, library)
    params.wipe()
    assert _log.masked(bytearray("login with pässword".encode())) == "login with ***"
    native.wipe()
    assert _log.masked(bytearray("login with pässword".encode())) == "login with pässword"


@pytest.mark.parametrize("name", ["password", "cookie", "key"])
def test_a_wiped_secret_is_refused_by_name(library: Library, name: str) -> None:
    """Nobody logs in with an empty password by accident, nor by another way than was meant."""
    params = by_cookie() if name != "password" else by_password()
    getattr(params, name).wipe()
    with pytest.raises(ValueError, match=rf"^{name}: this Secret was wiped"):
        connect_params(params, library)


def test_an_embedded_nul_is_refused_without_showing_the_text(library: Library) -> None:
    """C would cut the text there: the error names the field, never its content."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("hun\0ter2"))
    with pytest.raises(ValueError, match=r"^password: it has an embedded NUL character$"):
        connect_params(params, library)


def test_refused_parameters_leave_nothing_behind(new_library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure half way gives the library's structure back and masks nothing for ever."""
    freed: list[object] = []
    monkeypatch.setitem(new_library.bound._pointers, "VixDiskLib_FreeConnectParams", freed.append)
    with pytest.raises(ValueError, match=r"^vmx_spec: "):
        connect_params(ConnectParams("vc", vmx_spec="\0", user="u", password=Secret("geheim")), new_library)
    assert len(freed) == 1
    assert _log.masked(bytearray(b"geheim")) == "geheim"
