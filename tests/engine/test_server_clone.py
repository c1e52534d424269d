"""Clone from and to a server: what a disk on a datastore says of files elsewhere leads nowhere."""

from __future__ import annotations

import os
from ctypes import byref, c_char, c_uint64
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import LSILOGIC, MONOLITHIC_SPARSE, SECTOR, SINGLE_LINK, CreateParams, names
from tests.engine.session import Session, remote
from tests.engine.test_server import ACCESS, NO_PARENT, NOT_FOUND, REMOTE_OBJECT, first_bytes, make_child, make_disk

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ctypes import c_void_p
    from pathlib import Path

ALREADY_EXISTS = 12


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Return the folder of the only datastore; beside it is one that nobody mapped."""
    for name in ("store/vm", "outside"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path / "store"


@pytest.fixture
def session(library: Path, tmp_path: Path, store: Path) -> Iterator[Session]:
    """Library with that datastore."""
    with Session(library, tmp_path, f"openEngine.datastore.ds = {store}\n") as session:
        yield session


def clone(
    session: Session, to: tuple[c_void_p, bytes], source: tuple[c_void_p, bytes], *, overwrite: bool = False
) -> int:
    """Return what Clone says."""
    params = CreateParams(MONOLITHIC_SPARSE, LSILOGIC, 13, 0, 0, 0)
    return session.code("Clone", *to, *source, byref(params), None, None, c_char(overwrite))


@pytest.mark.parametrize(
    "hint",
    [
        "{outside}/base.vmdk",
        "../../outside/base.vmdk",
        "link.vmdk",  # to the file
        "linked/base.vmdk",  # to its folder
        "/vmfs/volumes/ds/../outside/base.vmdk",
        "/vmfs/volumes/ds/vm/link.vmdk",
        "..\\..\\outside\\base.vmdk",
        "C:\\disks\\link.vmdk",  # beside the child is a link of that name
    ],
)
def test_a_parent_outside_of_the_mapped_folders_is_refused(hint: str, session: Session, store: Path) -> None:
    """In Open and in Clone, however the child names it; as a parent's parent, too.  No clone is left."""
    outside = store.parent / "outside"
    make_disk(session, outside / "base.vmdk", b"secret")
    (store / "vm/link.vmdk").symlink_to(outside / "base.vmdk")
    (store / "vm/linked").symlink_to(outside)
    make_child(store / "vm/child.vmdk", outside / "base.vmdk", hint.format(outside=outside))
    make_child(store / "vm/grandchild.vmdk", store / "vm/child.vmdk", "child.vmdk")
    server, local, before = session.connect_to(remote()), session.connect(), names(store / "vm")
    for name in (b"[ds] vm/child.vmdk", b"[ds] vm/grandchild.vmdk"):
        assert session.open_code(server, name) == NO_PARENT
        assert clone(session, (local, os.fsencode(outside / "copy.vmdk")), (server, name)) == NO_PARENT
        assert clone(session, (server, b"[ds] vm/copy.vmdk"), (server, name)) == NO_PARENT
    assert names(outside) == ["base.vmdk"]
    assert names(store / "vm") == before


def test_a_clone_of_a_chain_inside_is_made(session: Session, store: Path) -> None:
    """From the server to a local folder, and back with the type of a datastore's disk."""
    make_disk(session, store / "vm/base.vmdk", b"hello")
    make_child(store / "vm/child.vmdk", store / "vm/base.vmdk", "/vmfs/volumes/ds/vm/base.vmdk")
    server, local = session.connect_to(remote()), session.connect()
    copy = os.fsencode(store.parent / "outside/copy.vmdk")
    assert clone(session, (local, copy), (server, b"[ds] vm/child.vmdk")) == 0
    assert clone(session, (server, b"[ds] vm/back.vmdk"), (local, copy)) == 0
    assert first_bytes(session, session.open_path(server, b"[ds] vm/back.vmdk")) == b"hello"
    assert b'createType="vmfs"' in (store / "vm/back.vmdk").read_bytes()


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_clone_is_made_in_its_datastore_or_nowhere(overwrite: bool, session: Session, store: Path) -> None:  # noqa: FBT001
    """A linked folder or file, or "..", in the target's path, whether there is something to overwrite or not."""
    outside = store.parent / "outside"
    make_disk(session, store / "base.vmdk", b"hello")
    make_disk(session, outside / "old.vmdk", b"older")
    (store / "linked").symlink_to(outside)
    (store / "old.vmdk").symlink_to(outside / "old.vmdk")
    (store / "new.vmdk").symlink_to(outside / "new.vmdk")
    server, old, before = session.connect_to(remote()), (outside / "old.vmdk").read_bytes(), names(store)
    source = server, b"[ds] base.vmdk"
    for target, code in (
        (b"[ds] linked/new.vmdk", ACCESS),
        (b"[ds] linked/old.vmdk", ACCESS),
        (b"[ds] old.vmdk", ACCESS),
        (b"[ds] new.vmdk", ALREADY_EXISTS),
        (b"[ds] vm/../../outside/new.vmdk", 22),
        (b"[ds] missing/new.vmdk", NOT_FOUND),
        (os.fsencode(outside / "new.vmdk"), NOT_FOUND),
    ):
        assert (target, clone(session, (server, target), source, overwrite=overwrite)) == (target, code)
    assert names(outside) == ["old.vmdk"]
    assert (outside / "old.vmdk").read_bytes() == old
    assert names(store) == before


def test_a_local_child_is_put_on_a_disk_of_the_server(session: Session, store: Path) -> None:
    """As VDDK's guide has it: create the child from the server's handle, open it alone, attach it, write to it."""
    make_disk(session, store / "vm/base.vmdk", b"hello")
    before, child = (store / "vm/base.vmdk").read_bytes(), os.fsencode(store.parent / "outside/redo.vmdk")
    server, local = session.connect_to(remote()), session.connect()
    parent = session.open_path(server, b"[ds] vm/base.vmdk")
    assert session.code("CreateChild", parent, child, MONOLITHIC_SPARSE, None, None) == 0
    redo = session.open_path(local, child, SINGLE_LINK)
    assert session.code("Attach", parent, redo) == 0
    assert session.code("Close", parent) == 0
    assert session.code("Disconnect", server) == 0
    assert session.code("Write", redo, c_uint64(1), c_uint64(1), b"1" * SECTOR) == 0
    assert first_bytes(session, redo) == b"hello"
    assert session.code("Unlink", local, child) == 0
    assert (store / "vm/base.vmdk").read_bytes() == before


def test_functions_for_local_disks_make_no_file_with_the_name_of_a_datastore(
    session: Session, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a local connection too: code 20, where a file of that name in the current folder could not be opened."""
    make_disk(session, store / "base.vmdk", b"hello")
    monkeypatch.chdir(store)
    (store / "[ds] old.vmdk").write_bytes((store / "base.vmdk").read_bytes())
    local, name, before = session.connect(), b"[ds] new.vmdk", names(store)
    parent, params = session.open_path(local, b"base.vmdk"), CreateParams(MONOLITHIC_SPARSE, LSILOGIC, 13, 1024, 0, 0)
    assert session.code("Create", local, name, byref(params), None, None) == REMOTE_OBJECT
    assert session.code("CreateChild", parent, name, MONOLITHIC_SPARSE, None, None) == REMOTE_OBJECT
    assert session.code("Close", parent) == 0
    assert session.code("Rename", b"base.vmdk", name) == REMOTE_OBJECT
    for function, rest in (("Unlink", ()), ("Grow", (c_uint64(2048), 0, None, None)), ("CheckRepair", (c_char(0),))):
        assert session.code(function, local, b"[ds] old.vmdk", *rest) == REMOTE_OBJECT
    assert names(store) == before
