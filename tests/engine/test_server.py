"""Disks of a server, served from folders that the configuration file maps to its datastores."""

from __future__ import annotations

import os
from ctypes import byref, c_uint32, c_uint64, c_void_p, create_string_buffer
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import LSILOGIC, MONOLITHIC_FLAT, MONOLITHIC_SPARSE, SECTOR, CreateParams
from tests.engine.session import DATASTORE, FCD, Session, remote, sectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOT_FOUND, INVALID, NOT_SUPPORTED, ACCESS, REMOTE_OBJECT, BAD_NAME, NO_OBJECT = 4, 3, 6, 13, 20, 22, 25
NO_PARENT = 16012
FCD_ID = b"0F4F9F9C-67b1-4a4c-9d6b-8d2b6e2a1f5e"
DISK = b"[My store (1)] vm/disk.vmdk"


def make_disk(session: Session, path: Path, first: bytes, disk_type: int = MONOLITHIC_SPARSE) -> None:
    """Create a disk whose first sector begins with ``first``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    params = CreateParams(disk_type, LSILOGIC, 13, 1024, 0, 0)
    local = session.connect()
    assert session.code("Create", local, os.fsencode(path), byref(params), None, None) == 0
    handle = session.open_path(local, os.fsencode(path), 0)
    buffer = create_string_buffer(first, SECTOR)
    assert session.code("Write", handle, c_uint64(0), c_uint64(1), buffer) == 0
    assert session.code("Close", handle) == 0
    assert session.code("Disconnect", local) == 0


def make_child(path: Path, parent: Path, hint: str) -> None:
    """Make an empty sparse child."""
    content = parent.read_bytes()
    cid = content[content.index(b"\nCID=") + 5 :][:8].decode()
    line = f'RW 1024 SPARSE "{path.name}"'
    text = descriptor(line, CID="0badcafe", parentCID=cid, parentFileNameHint=f'"{hint}"')
    Sparse(sectors=1024, grains={}, text=text).save(path)


def first_bytes(session: Session, handle: c_void_p, count: int = 5) -> bytes:
    """Read from the beginning of a disk, and close it."""
    buffer = sectors(1)
    assert session.code("Read", handle, c_uint64(0), c_uint64(1), buffer) == 0
    assert session.code("Close", handle) == 0
    return buffer.raw[:count]


@pytest.fixture
def stores(tmp_path: Path) -> Path:
    """Return the folder that holds the datastores' folders."""
    for name in ("one", "two"):
        (tmp_path / "stores" / name).mkdir(parents=True)
    return tmp_path / "stores"


@pytest.fixture
def session(library: Path, tmp_path: Path, stores: Path) -> Iterator[Session]:
    """Library with two datastores and a first-class disk."""
    text = (
        f"openEngine.datastore.My store (1) = {stores}/one\nopenEngine.datastore.two = {stores}/two\n"
        f"openEngine.fcd.{FCD_ID.decode().lower()} = [two] fcd/x.vmdk\n"
        f"openEngine.fcd.{FCD_ID.decode()}.snap-1 = {stores}/../objects/snap.vmdk\n"
    )
    (tmp_path / "objects").mkdir()
    with Session(library, tmp_path, text) as session:
        make_disk(session, stores / "one/vm/disk.vmdk", b"hello")
        yield session


def test_a_datastore_path_opens_below_its_folder(session: Session) -> None:
    """The name is the datastore's, blanks and brackets included; the disk is read and written as a local one."""
    connection = session.connect_to(remote())
    handle = session.open_path(connection, DISK, 0)
    assert session.transport(handle) == "nbdssl"
    buffer = create_string_buffer(b"world", SECTOR)
    assert session.code("Write", handle, c_uint64(0), c_uint64(1), buffer) == 0
    assert session.code("WriteMetadata", handle, b"uuid", b"60 00") == 0
    assert first_bytes(session, handle) == b"world"
    assert first_bytes(session, session.open_path(connection, b"[My store (1)]vm/disk.vmdk")) == b"world"
    assert session.code("Disconnect", connection) == 0


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"[My store (1)] vm/missing.vmdk", NOT_FOUND),
        (b"[My store (1)] missing/disk.vmdk", NOT_FOUND),
        (b"[my store (1)] vm/disk.vmdk", ACCESS),
        (b"[unknown] vm/disk.vmdk", ACCESS),
        (b"[] vm/disk.vmdk", ACCESS),
        (b"[My store (1) vm/disk.vmdk", NOT_FOUND),
        (b"[My store (1)]", BAD_NAME),
        (b"[My store (1)] vm/", BAD_NAME),
        (b"[My store (1)] /etc/passwd", BAD_NAME),
        (b"[two] ../one/vm/disk.vmdk", BAD_NAME),
        (b"[My store (1)] vm/..", BAD_NAME),
        (b"[My store (1)] vm/../vm/disk.vmdk", BAD_NAME),
        (b"vm/disk.vmdk", NOT_FOUND),
        (b"", NOT_FOUND),
        (None, INVALID),
    ],
)
def test_any_other_path_is_refused(session: Session, path: bytes | None, code: int) -> None:
    """Unknown datastores, paths that leave them, and what is no datastore path; each has its code."""
    assert session.open_code(session.connect_to(remote()), path) == code


def test_local_and_datastore_paths_do_not_mix(session: Session, stores: Path) -> None:
    """A local path on a server's connection fails in Open, and so does a datastore path on a local one."""
    assert session.open_code(session.connect_to(remote()), os.fsencode(stores / "one/vm/disk.vmdk")) == NOT_FOUND
    assert session.open_code(session.connect(), DISK) == NOT_FOUND
    assert "connection is local" in session.warned[-1]


def test_symbolic_links_may_not_leave_the_datastore(session: Session, stores: Path) -> None:
    """Neither a linked file nor a linked folder; links that stay inside are followed."""
    make_disk(session, stores / "two/vm/other.vmdk", b"other")
    (stores / "one/out.vmdk").symlink_to(stores / "two/vm/other.vmdk")
    (stores / "one/out").symlink_to(stores / "two/vm")
    (stores / "one/in.vmdk").symlink_to("vm/disk.vmdk")
    connection = session.connect_to(remote())
    for path in (b"[My store (1)] out.vmdk", b"[My store (1)] out/other.vmdk"):
        assert session.open_code(connection, path) == ACCESS
        assert "symbolic link" in session.warned[-1]
    assert first_bytes(session, session.open_path(connection, b"[My store (1)] in.vmdk")) == b"hello"


@pytest.mark.parametrize(
    ("hint", "code"),
    [
        ("disk.vmdk", 0),
        ("../vm/disk.vmdk", 0),
        ("/vmfs/volumes/two/base/esx.vmdk", 0),
        ("/vmfs/volumes/unknown/vm/disk.vmdk", 0),  # one of that name is beside the child
        ("{stores}/one/vm/disk.vmdk", 0),
        ("../../../outside.vmdk", NO_PARENT),
        ("{stores}/../outside.vmdk", NO_PARENT),
        ("/vmfs/volumes/unknown/base/esx.vmdk", NO_PARENT),
    ],
)
def test_parents_are_followed_inside_the_mapped_folders_only(
    session: Session, stores: Path, hint: str, code: int
) -> None:
    """By relative names, host paths and real ones; the same hint that leads outside works on a local connection."""
    make_disk(session, stores.parent / "outside.vmdk", b"hello")
    make_disk(session, stores / "two/base/esx.vmdk", b"hello")
    outside, elsewhere = stores.parent / "outside.vmdk", stores / "two/base/esx.vmdk"
    parent = outside if "outside" in hint else elsewhere if "esx" in hint else stores / "one/vm/disk.vmdk"
    child = stores / "one/vm/child.vmdk"
    make_child(child, parent, hint.format(stores=stores))
    assert session.open_code(session.connect_to(remote()), b"[My store (1)] vm/child.vmdk") == code
    assert session.open_code(session.connect(), os.fsencode(child)) == (NO_PARENT if "esx" in hint else 0)


def test_a_first_class_disk_is_found_by_its_id(session: Session, stores: Path) -> None:
    """Open gets no path, or the id in any letter case; a snapshot is another disk; unknown ids have a code."""
    make_disk(session, stores / "two/fcd/x.vmdk", b"first")
    make_disk(session, stores.parent / "objects/snap.vmdk", b"older")

    def connect(fcd: bytes, snapshot: bytes | None = None) -> c_void_p:
        return session.connect_to(remote(None, spec_type=FCD, spec=(fcd, b"datastore-2", snapshot)))

    connection = connect(FCD_ID)
    for path in (None, b"", FCD_ID, FCD_ID.upper()):
        assert first_bytes(session, session.open_path(connection, path)) == b"first"
    assert first_bytes(session, session.open_path(connect(FCD_ID, b""), None)) == b"first"
    assert first_bytes(session, session.open_path(connect(FCD_ID, b"snap-1"), None)) == b"older"
    assert session.open_code(connect(FCD_ID, b"snap-2"), None) == NO_OBJECT
    assert session.open_code(connect(b"another"), None) == NO_OBJECT
    assert session.open_code(connection, b"another") == NOT_FOUND


@pytest.mark.parametrize("spec_type", [DATASTORE, 128])
def test_a_datastore_connection_opens_disks_without_a_machine(session: Session, spec_type: int) -> None:
    """The specification of 8.0.1, under both numbers that sources give."""
    connection = session.connect_to(remote(None, spec_type=spec_type, spec=(b"datastore-1", b"vm", None)))
    assert session.open_code(connection, DISK) == 0
    assert session.open_code(connection, None) == INVALID


def test_reading_connections_refuse_writes_on_a_server_too(session: Session) -> None:
    """ReadOnly of ConnectEx holds; a flat disk serves as a sparse one."""
    handle = session.open_path(session.connect_to(remote(), read_only=True), DISK, 0)
    assert session.code("Write", handle, c_uint64(0), c_uint64(1), sectors(1)) == ACCESS


def test_what_is_for_local_disks_is_refused_on_a_server(session: Session, stores: Path) -> None:
    """Creating, growing, deleting, checking, shrinking and defragmenting: code 20, and no file has changed."""
    connection, params = session.connect_to(remote()), CreateParams(MONOLITHIC_FLAT, LSILOGIC, 13, 8, 0, 0)
    before = (stores / "one/vm/disk.vmdk").read_bytes()
    calls = {
        "Create": (b"[two] new.vmdk", byref(params), None, None),
        "Grow": (DISK, c_uint64(4096), 0, None, None),
        "Unlink": (DISK,),
        "CheckRepair": (DISK, 1),
    }
    assert session.code("Rename", DISK, b"[two] new.vmdk") == REMOTE_OBJECT
    assert {session.code(name, connection, *arguments) for name, arguments in calls.items()} == {REMOTE_OBJECT}
    handle = session.open_path(connection, DISK, 0)
    assert [session.code(name, handle, None, None) for name in ("Shrink", "Defragment")] == [REMOTE_OBJECT] * 2
    assert session.code("Close", handle) == 0
    assert (stores / "one/vm/disk.vmdk").read_bytes() == before
    assert list((stores / "two").iterdir()) == []


def test_a_handle_left_open_is_closed_with_its_server(session: Session) -> None:
    """Disconnect closes it; the file lock is free afterwards."""
    connection = session.connect_to(remote())
    session.open_path(connection, DISK, 0)
    assert session.code("Disconnect", connection) == 0
    handle = c_void_p()
    assert session.code("Open", session.connect_to(remote()), DISK, c_uint32(0), byref(handle)) == 0


def test_a_folder_that_is_missing_is_named_and_left_out(library: Path, tmp_path: Path) -> None:
    """Also a relative one; the rest of the configuration holds, and the last of two lines for a name wins."""
    (tmp_path / "there").mkdir()
    text = (
        f"openEngine.datastore.gone = {tmp_path}/missing\nopenEngine.datastore.relative = there\n"
        f"openEngine.datastore.ok = {tmp_path}/missing\nopenEngine.datastore.ok = {tmp_path}/there\n"
        "openEngine.fcd.x = relative.vmdk\n"
    )
    with Session(library, tmp_path, text) as session:
        assert [line.split(" ")[0].removeprefix("openEngine.") for line in session.warned] == [
            "datastore.relative",
            "datastore.gone",
            "fcd.x",
        ]
        connection = session.connect_to(remote())
        paths = (b"[gone] x.vmdk", b"[relative] x.vmdk", b"[ok] x.vmdk")
        assert [session.open_code(connection, path) for path in paths] == [ACCESS, ACCESS, NOT_FOUND]
