"""Clone from and to a server: what a disk on a datastore says of files elsewhere leads nowhere."""

from __future__ import annotations

import os
from ctypes import byref, c_char
from typing import TYPE_CHECKING

import pytest

from tests.engine.driver import LSILOGIC, MONOLITHIC_SPARSE, CreateParams, names
from tests.engine.session import Session, remote
from tests.engine.test_server import ACCESS, NO_PARENT, NOT_FOUND, first_bytes, make_child, make_disk

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
