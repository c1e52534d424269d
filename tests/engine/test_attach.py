"""Attach and IsAttachPossible: an open child gets an open parent."""

from __future__ import annotations

import threading
from ctypes import byref, c_uint32, c_uint64, c_void_p
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.craft_esx import Cowd
from tests.engine.driver import MONOLITHIC_FLAT, READ_ONLY, SECTOR, SINGLE_LINK, Disk, Engine, EngineError
from tests.engine.session import VIX_ASYNC, Completions, Session, sectors

if TYPE_CHECKING:
    from pathlib import Path

SECTORS = 8192
ALONE = READ_ONLY | SINGLE_LINK
CLOSED = 3  # what every call says of a handle that is none (any more)


def made(engine: Engine, folder: Path, links: int = 3) -> list[Path]:
    """Return a chain of disks, each in a folder of its own, whose hints lead nowhere: the folders were renamed."""
    paths: list[Path] = []
    for number in range(links):
        place = folder / f"old{number}"
        place.mkdir()
        path = place / f"{number}.vmdk"
        if number == 0:
            engine.create(path, SECTORS)
        else:
            with engine.open(paths[-1], READ_ONLY) as disk:
                disk.create_child(path)
        with engine.open(path) as disk:
            disk.write(number * 128 + 5, bytes([number + 1]) * SECTOR)
        paths.append(path)
    return [path.parent.rename(folder / f"new{number}") / path.name for number, path in enumerate(paths)]


def expected(links: int = 3) -> bytearray:
    """Return what the chain holds."""
    content = bytearray(SECTORS * SECTOR)
    for number in range(links):
        at = (number * 128 + 5) * SECTOR
        content[at : at + SECTOR] = bytes([number + 1]) * SECTOR
    return content


def opened(engine: Engine, *paths: Path) -> list[c_void_p]:
    """Return handles of links alone."""
    handles = [c_void_p() for _ in paths]
    for handle, path in zip(handles, paths, strict=True):
        assert engine.code("Open", engine.connection, bytes(path), c_uint32(ALONE), byref(handle)) == 0
    return handles


def refused(parent: Disk, child: Disk) -> int:
    """Return the code with which both functions refuse; the parent can only be closed afterwards, and is."""
    code = parent.is_attach_possible(child)
    with pytest.raises(EngineError) as caught:
        parent.attach(child)
    assert caught.value.code == code
    assert parent.engine.code("Flush", parent.handle) == CLOSED
    return code


def test_the_child_represents_the_whole_chain(engine: Engine, tmp_path: Path) -> None:
    """Content, number of links, allocated areas, metadata of all links; the disk alone could not be opened."""
    base, middle, top = made(engine, tmp_path)
    error = engine.open_error(top)
    assert error
    assert error.code == 16012
    with engine.open(base) as disk:
        disk.set_metadata("only.base", "1")
    with engine.open(base, READ_ONLY) as b, engine.open(middle, ALONE) as m, engine.open(top, ALONE) as disk:
        assert b.is_attach_possible(m) == 0
        b.attach(m)
        assert m.info()["links"] == 2
        m.attach(disk)
        assert disk.info()["links"] == 3
        assert disk.read(0, SECTORS) == expected()
        assert disk.allocated() == [(0, 3 * 128)]
        assert disk.metadata("only.base") == "1"


def test_the_upper_part_may_be_joined_first(engine: Engine, tmp_path: Path) -> None:
    """A chain that is still partial takes whole grains only and can get its root later."""
    base, middle, top = made(engine, tmp_path)
    content = expected()
    with engine.open(base, READ_ONLY) as b, engine.open(middle, ALONE) as m, engine.open(top, SINGLE_LINK) as disk:
        m.attach(disk)
        assert disk.info()["links"] == 2
        assert disk.allocated() == [(128, 256)]
        with pytest.raises(EngineError) as caught:
            disk.write(10, b"\7" * SECTOR)
        assert caught.value.code == 16003
        b.attach(disk)
        disk.write(10, b"\7" * SECTOR)
        content[10 * SECTOR : 11 * SECTOR] = b"\7" * SECTOR
        assert disk.read(0, SECTORS) == content
    assert engine.open_error(top, ALONE) is None


def test_nothing_is_changed_on_disk(engine: Engine, tmp_path: Path) -> None:
    """The hints still lead nowhere: the client attaches again the next time."""
    paths = made(engine, tmp_path, 2)
    before = [path.read_bytes() for path in paths]
    for _ in range(2):
        with engine.open(paths[0]) as parent, engine.open(paths[1], SINGLE_LINK) as child:
            parent.attach(child)
            assert child.read(0, SECTORS) == expected(2)
    assert [path.read_bytes() for path in paths] == before


def test_the_parents_handle_can_only_be_closed(engine: Engine, tmp_path: Path) -> None:
    """Every call on it fails; Close is fine, once, before or after the child's, and Disconnect does without."""
    base, top = made(engine, tmp_path, 2)
    for first in ("parent", "child"):
        parent, child = c_void_p(), c_void_p()
        assert engine.code("Open", engine.connection, bytes(base), c_uint32(READ_ONLY), byref(parent)) == 0
        assert engine.code("Open", engine.connection, bytes(top), c_uint32(SINGLE_LINK), byref(child)) == 0
        assert engine.code("Attach", parent, child) == 0
        assert engine.code("Read", parent, c_uint64(0), c_uint64(1), sectors(1)) == CLOSED
        assert engine.code("GetInfo", parent, byref(c_void_p())) == CLOSED
        assert engine.code("Attach", parent, child) == CLOSED
        assert engine.code("IsAttachPossible", parent, child) == CLOSED
        if first == "child":
            assert engine.code("Close", child) == 0
        assert engine.code("Close", parent) == 0
        assert engine.code("Close", parent) == CLOSED
        if first == "parent":
            assert engine.code("Read", child, c_uint64(0), c_uint64(1), sectors(1)) == 0
            assert engine.code("Close", child) == 0


def test_disconnect_closes_what_was_attached_and_forgotten(library: Path, tmp_path: Path) -> None:
    """The place of its handle is free again; other connections keep theirs."""
    engine = Engine(library, tmp_path)
    base, top = made(engine, tmp_path, 2)
    kept, child = opened(engine, base, top)
    assert engine.code("Attach", kept, child) == 0
    connection, parent, other = c_void_p(), c_void_p(), c_void_p()
    assert engine.code("Connect", None, byref(connection)) == 0
    for handle, path in ((parent, base), (other, top)):
        assert engine.code("Open", connection, bytes(path), c_uint32(ALONE), byref(handle)) == 0
    assert engine.code("Attach", parent, other) == 0
    assert engine.code("Close", other) == 0
    assert engine.code("Disconnect", connection) == 0
    assert engine.code("Close", parent) == CLOSED
    assert engine.code("Close", child) == 0
    assert engine.code("Close", kept) == 0
    engine.close()


def test_two_roots_cannot_be_joined(engine: Engine, tmp_path: Path) -> None:
    """Nor a child whose parents are all open: 16069."""
    one, other = made(engine, tmp_path, 2)[0], engine.create(tmp_path / "other.vmdk", SECTORS)
    with engine.open(one, READ_ONLY) as parent, engine.open(other, READ_ONLY) as child:
        assert refused(parent, child) == 16069
        assert child.read(0, 1) == bytes(SECTOR)
        with engine.open(one, READ_ONLY) as whole:
            whole.create_child(tmp_path / "whole.vmdk")
        with engine.open(tmp_path / "whole.vmdk", READ_ONLY) as whole, engine.open(one, READ_ONLY) as again:
            assert refused(again, whole) == 16069


def test_what_does_not_belong_together_is_refused(engine: Engine, tmp_path: Path) -> None:
    """Another content id: 16008. Another capacity: 16067. A link of ESX: 16068. The child stays as it was."""
    _, top = made(engine, tmp_path, 2)
    cid = next(line for line in top.read_bytes()[512:1024].split(b"\n") if line.startswith(b"parentCID"))
    others = {
        16008: Sparse(text=descriptor('RW 8192 SPARSE "x"')),
        16067: Sparse(sectors=8191, text=descriptor('RW 8191 SPARSE "x"', CID=cid.decode()[10:])),
    }
    for code, other in others.items():
        other.save(tmp_path / "other.vmdk")
        with engine.open(tmp_path / "other.vmdk", READ_ONLY) as parent, engine.open(top, ALONE) as child:
            assert refused(parent, child) == code
            assert child.info()["links"] == 1
            assert child.read(128 + 5, 1) == b"\2" * SECTOR
    (tmp_path / "esx-delta.vmdk").write_bytes(Cowd().build())
    line = f'RW {Cowd().sectors} VMFSSPARSE "esx-delta.vmdk"'
    (tmp_path / "esx.vmdk").write_text(descriptor(line, create_type="vmfsSparse", CID=cid.decode()[10:]))
    with engine.open(tmp_path / "esx.vmdk", READ_ONLY) as parent, engine.open(top, SINGLE_LINK) as child:
        assert refused(parent, child) == 16068


def test_the_same_file_in_both_chains_is_refused(engine: Engine, tmp_path: Path) -> None:
    """Its own parent, or its child's: 16030; and the same handle twice: 3, which leaves it alone."""
    keys = {"CID": "00000005", "parentCID": "00000005", "parentFileNameHint": '"gone.vmdk"'}
    path = Sparse(text=descriptor('RW 8192 SPARSE "x"', **keys)).save(tmp_path / "d.vmdk")
    flags = ALONE
    with engine.open(path, flags) as parent, engine.open(path, flags) as child:
        assert child.engine.code("Attach", child.handle, child.handle) == CLOSED
        assert child.info()["links"] == 1
        assert refused(parent, child) == 16030


def test_a_chain_that_would_be_too_long_is_refused(engine: Engine, tmp_path: Path) -> None:
    """255 links together are the most."""
    for i in range(255):
        keys = {"parentCID": "00000005", "parentFileNameHint": f'"{i + 1}.vmdk"'} if i < 254 else {}
        Sparse(text=descriptor('RW 8192 SPARSE "x"', CID="00000005", **keys), grains={}).save(tmp_path / f"{i}.vmdk")
    with engine.open(tmp_path / "0.vmdk", ALONE) as child:
        with engine.open(tmp_path / "1.vmdk", READ_ONLY) as parent:
            parent.attach(child)
        assert child.info()["links"] == 255
    keys = {"parentCID": "00000005", "parentFileNameHint": '"gone.vmdk"', "CID": "7"}
    Sparse(text=descriptor('RW 8192 SPARSE "x"', **keys)).save(tmp_path / "more.vmdk")
    with engine.open(tmp_path / "more.vmdk", ALONE) as child, engine.open(tmp_path / "0.vmdk", READ_ONLY) as parent:
        assert refused(parent, child) == 16028


@pytest.mark.parametrize("config", ["", "openEngine.latencyMs = 20\n"])
def test_requests_in_flight_on_both_are_finished_first(config: str, library: Path, tmp_path: Path) -> None:
    """Each gets its callback and its data; none is lost, none runs on a disk that is gone."""
    engine = Engine(library, tmp_path)
    base, top = made(engine, tmp_path, 2)
    engine.close()
    (tmp_path / "sessions").mkdir()
    with Session(library, tmp_path / "sessions", config) as session:
        connection, done = session.connect(), Completions()
        parent, child = c_void_p(), c_void_p()
        assert session.code("Open", connection, bytes(base), c_uint32(READ_ONLY), byref(parent)) == 0
        assert session.code("Open", connection, bytes(top), c_uint32(ALONE), byref(child)) == 0
        buffers = [sectors(SECTORS) for _ in range(20)]
        for number, buffer in enumerate(buffers):
            arguments = (c_uint64(0), c_uint64(SECTORS), buffer, done.function, None)
            assert session.code("ReadAsync", parent if number % 2 else child, *arguments) == VIX_ASYNC
        assert session.code("Attach", parent, child) == 0
        assert done.results == [0] * 20
        assert all(buffer.raw == expected(1) for buffer in buffers[1::2])
        assert session.code("ReadAsync", parent, c_uint64(0), c_uint64(1), buffers[0], done.function, None) == CLOSED
        assert session.code("Read", child, c_uint64(0), c_uint64(SECTORS), buffers[0]) == 0
        assert buffers[0].raw == expected(2)
        assert session.code("Close", child) == 0
        assert session.code("Close", parent) == 0
        assert session.code("Disconnect", connection) == 0


def test_threads_may_go_on_reading_and_attaching(engine: Engine, tmp_path: Path) -> None:
    """A reader of the child sees it alone or with its parent, one of the parent its content or an error."""
    base, top = made(engine, tmp_path, 2)
    one = b"\1" * SECTOR
    failures: list[tuple[int, bytes]] = []

    def read(handle: c_void_p, start: threading.Barrier, *allowed: bytes) -> None:
        buffer = sectors(1)
        start.wait()
        for _ in range(50):
            code = engine.dll.VixDiskLib_Read(handle, c_uint64(5), c_uint64(1), buffer)
            if code not in {0, CLOSED} or (code == 0 and buffer.raw not in allowed):
                failures.append((code, buffer.raw[:1]))

    def attach(parent: c_void_p, child: c_void_p, start: threading.Barrier) -> None:
        start.wait()
        if (code := engine.dll.VixDiskLib_Attach(parent, child)) not in {0, CLOSED}:
            failures.append((code, b""))

    for _ in range(20):
        start = threading.Barrier(4)
        parent, child, other = opened(engine, base, top, top)
        threads = [
            threading.Thread(target=read, args=(child, start, bytes(SECTOR), one)),
            threading.Thread(target=read, args=(parent, start, one)),
            threading.Thread(target=attach, args=(parent, child, start)),
            threading.Thread(target=attach, args=(parent, other, start)),
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for handle in (other, parent, child):
            assert engine.code("Close", handle) == 0
    assert failures == []


def test_a_child_on_a_flat_parent_elsewhere(engine: Engine, tmp_path: Path) -> None:
    """What attaching is for: VDDK's documents say so of a parent that the child cannot name."""
    (tmp_path / "a").mkdir()
    base = engine.create(tmp_path / "a" / "base.vmdk", SECTORS, MONOLITHIC_FLAT)
    with engine.open(base) as disk:
        disk.write(0, b"\1" * SECTOR)
        disk.create_child(tmp_path / "child.vmdk")
    (tmp_path / "a").rename(tmp_path / "b")
    with engine.open(tmp_path / "child.vmdk", SINGLE_LINK) as child:
        with engine.open(tmp_path / "b" / "base.vmdk", READ_ONLY) as parent:
            parent.attach(child)
        child.write(1, b"\2" * SECTOR)
        assert child.read(0, 3) == b"\1" * SECTOR + b"\2" * SECTOR + bytes(SECTOR)
