"""Models become C structures and come back without loss, and no secret stays behind."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from asyncvddk.models import (
    AdapterType,
    ConnectParams,
    CreateParams,
    DiskInfo,
    DiskType,
    Geometry,
    Secret,
    StorageObject,
)
from asyncvddk.native import _constants as c
from asyncvddk.native import _structs
from asyncvddk.native._marshal import (
    block_list,
    block_pairs,
    c_path,
    c_text,
    connect_params,
    create_params,
    disk_info,
    metadata_keys,
)

ALL_ONES = 0xFFFF_FFFF


def by_password() -> ConnectParams:
    """Return the parameters of a virtual machine, reached with user and password."""
    return ConnectParams(
        server="vc.example",
        vmx_spec="moref=vm-16",
        user="jürgen",
        password=Secret("pässword"),
        thumbprint="AA:BB",
        port=8443,
        nfc_port=9902,
    )


def string_bytes(pointer: int, length: int) -> bytes:
    """Return memory as it is."""
    return ctypes.string_at(pointer, length)


def address_in(struct: ctypes.Structure, offset: int) -> int:
    """Return the pointer at ``offset`` of a structure."""
    return ctypes.c_uint64.from_address(ctypes.addressof(struct) + offset).value


def test_user_and_password_fill_their_arm() -> None:
    """Every field of a virtual machine's parameters arrives in UTF-8, the others stay zero."""
    struct = connect_params(by_password()).struct
    assert struct.vmxSpec == b"moref=vm-16"
    assert struct.serverName == b"vc.example"
    assert struct.thumbPrint == b"AA:BB"
    assert struct.credType == c.VIXDISKLIB_CRED_UID
    assert struct.creds.uid.userName == "jürgen".encode()
    assert struct.creds.uid.password == "pässword".encode()
    assert (struct.port, struct.nfcHostPort) == (8443, 9902)
    assert struct.specType == c.VIXDISKLIB_SPEC_VMX
    assert (struct.privateUse, struct.vimApiVer, struct.reserved, struct.state) == (0, None, b"", None)
    assert struct.spec.vStorageObjSpec.id is None


def test_a_session_cookie_fills_its_arm() -> None:
    """A cookie comes before user and password, which accompany it."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("p"), cookie=Secret("52e2"))
    struct = connect_params(params).struct
    assert struct.credType == c.VIXDISKLIB_CRED_SESSIONID
    creds = struct.creds.sessionId
    assert (creds.cookie, creds.userName, creds.key) == (b"52e2", b"u", b"p")


def test_a_cookie_alone_leaves_user_and_password_null() -> None:
    """What was not given is NULL, not an empty text."""
    struct = connect_params(ConnectParams("vc", vmx_spec="moref=2", cookie=Secret("52e2"))).struct
    assert (struct.thumbPrint, struct.creds.sessionId.userName, struct.creds.sessionId.key) == (None,) * 3


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [("snap-1", b"snap-1"), ("", None), (None, None)],
    ids=["given", "empty", "none"],
)
def test_a_first_class_disk_fills_its_spec(snapshot: str | None, expected: bytes | None) -> None:
    """The spec type says first-class disk and no virtual machine is named; no snapshot is NULL."""
    disk = StorageObject("fcd-1", "datastore-15", snapshot)
    params = ConnectParams("vc", user="u", password=Secret("p"), storage_object=disk)
    struct = connect_params(params).struct
    spec = struct.spec.vStorageObjSpec
    assert struct.specType == c.VIXDISKLIB_SPEC_VSTORAGE_OBJECT
    assert struct.vmxSpec is None
    assert (spec.id, spec.datastoreMoRef, spec.ssId) == (b"fcd-1", b"datastore-15", expected)


def test_parameters_can_fill_a_structure_that_the_library_allocated() -> None:
    """The fields that are the library's own stay as it set them."""
    theirs = _structs.ConnectParams(state=77)
    native = connect_params(by_password(), at=ctypes.addressof(theirs))
    assert native.address == ctypes.addressof(theirs)
    assert (theirs.serverName, theirs.state) == (b"vc.example", 77)


def test_wiping_overwrites_the_memory_of_every_secret() -> None:
    """Where password and cookie were there are zeros, while the memory is still ours."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("pass"), cookie=Secret("cook"))
    native = connect_params(params)
    creds = _structs.ConnectParams.creds.offset
    cookie, key = (address_in(native.struct, creds + offset) for offset in (0, 16))
    assert (string_bytes(cookie, 5), string_bytes(key, 5)) == (b"cook\0", b"pass\0")
    kept = native._secrets.copy()
    native.wipe()
    assert (string_bytes(cookie, 5), string_bytes(key, 5)) == (bytes(5), bytes(5))
    assert len(kept) == 2


def test_wiping_leaves_no_pointer_to_freed_memory() -> None:
    """After a wipe the structure names nothing; a second wipe is harmless."""
    native = connect_params(by_password())
    native.wipe()
    native.wipe()
    struct = native.struct
    assert (struct.vmxSpec, struct.serverName, struct.thumbPrint) == (None, None, None)
    assert string_bytes(ctypes.addressof(struct.creds), 24) == bytes(24)
    assert string_bytes(ctypes.addressof(struct.spec), 24) == bytes(24)


def test_a_wiped_structure_of_the_library_names_none_of_our_memory() -> None:
    """The library may read or free its structure afterwards without meeting a pointer of ours."""
    theirs = _structs.ConnectParams()
    connect_params(by_password(), at=ctypes.addressof(theirs)).wipe()
    assert theirs.serverName is None
    assert theirs.creds.uid.password is None


def test_an_embedded_nul_is_refused_without_showing_the_text() -> None:
    """C would cut the text there: the error names the field, never its content."""
    params = ConnectParams("vc", vmx_spec="moref=2", user="u", password=Secret("hun\0ter2"))
    with pytest.raises(ValueError, match=r"^password: it has an embedded NUL character$"):
        connect_params(params)


def test_refused_parameters_leave_nothing_in_the_librarys_structure() -> None:
    """A failure half way does not leave pointers behind."""
    theirs = _structs.ConnectParams()
    with pytest.raises(ValueError, match=r"^user: "):
        connect_params(
            ConnectParams("vc", vmx_spec="moref=2", user="\0", password=Secret("p")),
            at=ctypes.addressof(theirs),
        )
    assert theirs.serverName is None


def test_text_is_utf8_and_path_is_the_file_systems() -> None:
    """A path that is no valid UTF-8 reaches C byte for byte."""
    name = b"/vm/\xff.vmdk"
    assert c_text("ä", "identity") == b"\xc3\xa4"
    assert c_path(os.fsdecode(name)) == name
    assert c_path(Path("/vm/ä.vmdk")) == os.fsencode("/vm/ä.vmdk")
    assert c_path("[ds 1] vm/vm.vmdk") == b"[ds 1] vm/vm.vmdk"


@pytest.mark.parametrize("path", ["", "/vm/a\0b.vmdk"], ids=["empty", "nul"])
def test_a_path_that_c_would_misread_is_refused(path: str) -> None:
    """An empty path and one that C would cut are wrong arguments."""
    with pytest.raises(ValueError, match=r"^path: "):
        c_path(path)


def test_create_params_count_sectors_and_keep_sector_sizes_at_the_default() -> None:
    """Bytes become sectors; the fields that older libraries do not know are zero."""
    params = CreateParams(3 << 40, DiskType.VMFS_FLAT, AdapterType.IDE, hw_version=10)
    struct = create_params(params)
    assert (struct.diskType, struct.adapterType, struct.hwVersion) == (5, 1, 10)
    assert struct.capacity == (3 << 40) // 512
    assert (struct.logicalSectorSize, struct.physicalSectorSize) == (0, 0)


def native_info(**fields: object) -> _structs.Info:
    """Return an info structure as a library fills it."""
    return _structs.Info(
        biosGeo=_structs.Geometry(1, 2, 3),
        physGeo=_structs.Geometry(4, 5, 6),
        capacity=1 << 33,
        adapterType=3,
        numLinks=2,
        **fields,
    )


def test_disk_info_is_copied_in_bytes() -> None:
    """Everything that the library tells arrives; the size is bytes, above 32 bits too."""
    info = native_info(parentFileNameHint=b"base.vmdk", uuid=b"60 00", logicalSectorSize=512, physicalSectorSize=4096)
    assert disk_info(ctypes.addressof(info), 7) == DiskInfo(
        size=1 << 42,
        adapter=AdapterType.SCSI_LSILOGIC,
        links=2,
        bios_geometry=Geometry(1, 2, 3),
        physical_geometry=Geometry(4, 5, 6),
        parent_hint="base.vmdk",
        uuid="60 00",
        logical_sector_size=512,
        physical_sector_size=4096,
    )


@pytest.mark.parametrize("major", [6, None], ids=["old", "unknown"])
def test_sector_sizes_of_a_library_that_may_be_older_than_7_are_not_read(major: int | None) -> None:
    """Its structure ends before them: what is there is somebody else's memory."""
    info = native_info(logicalSectorSize=ALL_ONES, physicalSectorSize=ALL_ONES)
    found = disk_info(ctypes.addressof(info), major)
    assert (found.logical_sector_size, found.physical_sector_size) == (None, None)


def test_what_a_library_leaves_out_of_disk_info_is_none() -> None:
    """NULL and empty texts and sector sizes of 0 mean that nothing was told."""
    info = native_info(uuid=b"")
    found = disk_info(ctypes.addressof(info), 8)
    assert (found.parent_hint, found.uuid) == (None, None)
    assert (found.logical_sector_size, found.physical_sector_size) == (None, None)


def test_an_adapter_that_no_header_names_is_unknown() -> None:
    """A number of a newer library does not fail the call."""
    info = native_info()
    info.adapterType = 4711
    assert disk_info(ctypes.addressof(info), 8).adapter is AdapterType.UNKNOWN


@pytest.mark.parametrize("count", [0, 1, 3, 524_288], ids=["none", "one", "some", "most"])
def test_a_block_list_is_copied_whole(count: int) -> None:
    """As many pairs as the list says, in 64 bits, none read when there is none, and the copy is ours."""
    memory = (ctypes.c_uint64 * (1 + 2 * count))(count, *range(1 << 40, (1 << 40) + 2 * count))
    found = block_list(ctypes.addressof(memory))
    ctypes.memset(memory, 0xFF, ctypes.sizeof(memory))
    assert found.tolist() == list(range(1 << 40, (1 << 40) + 2 * count))


def test_block_pairs_count_bytes_and_outlive_the_list() -> None:
    """The library's list may be freed before the first pair is taken."""
    memory = (ctypes.c_uint64 * 5)(2, 128, 256, 1 << 40, 1)
    pairs = block_pairs(ctypes.addressof(memory))
    ctypes.memset(memory, 0xFF, ctypes.sizeof(memory))
    assert list(pairs) == [(128 * 512, 256 * 512), (512 << 40, 512)]


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"\0", [], id="one-nul"),
        pytest.param(b"\0\0", [], id="two-nuls"),
        pytest.param(b"adapterType\0uuid\0\0", ["adapterType", "uuid"], id="two"),
        pytest.param(b"uuid\0", ["uuid"], id="end-missing"),
        pytest.param(b"uuid\0\0rubbish\0\0", ["uuid"], id="memory-behind"),
    ],
)
def test_metadata_keys_end_at_the_first_empty_name(data: bytes, keys: list[str]) -> None:
    """An empty list has one NUL or two, and what stands behind the end is not read."""
    assert metadata_keys(data) == keys
