"""Where the parent that a child names is looked for, and where it may lie."""

from __future__ import annotations

import os
from ctypes import byref, c_uint32, c_void_p
from typing import TYPE_CHECKING

import pytest

from tests.engine.craft import Sparse, descriptor
from tests.engine.driver import READ_ONLY, SECTOR
from tests.engine.session import Session

if TYPE_CHECKING:
    from pathlib import Path

    from tests.engine.driver import Engine
    from tests.engine.qemu import Qemu


def parent(path: Path, cid: str = "00000005", fill: int = 1) -> Path:
    """Make a disk without parent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return Sparse(text=descriptor('RW 8192 SPARSE "x"', CID=cid), grains={0: fill}).save(path)


def child(path: Path, hint: str, cid: str = "00000005") -> Path:
    """Make an empty link that names its parent by ``hint``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = {"CID": "7", "parentCID": cid, "parentFileNameHint": f'"{hint}"'}
    return Sparse(text=descriptor('RW 8192 SPARSE "x"', **keys), grains={}).save(path)


def code(engine: Engine, path: Path) -> int:
    """Return what opening gives."""
    error = engine.open_error(path)
    return error.code if error else 0


@pytest.mark.parametrize(
    "hint",
    [
        "base.vmdk",
        "./base.vmdk",
        "../vm/base.vmdk",
        "/elsewhere/of/another/machine/base.vmdk",
        "/vmfs/volumes/datastore1/vm/base.vmdk",
        "C:\\\\disks\\\\base.vmdk",
        "C:\\disks\\base.vmdk",
        "\\\\server\\share\\base.vmdk",
        "..\\vm\\base.vmdk",
        "gone\\base.vmdk",
        "old/place/base.vmdk",
        "C:base.vmdk\\base.vmdk",
    ],
)
def test_a_parent_beside_the_child_is_found_whatever_the_old_path(hint: str, engine: Engine, tmp_path: Path) -> None:
    """Chains that came from elsewhere lie in one folder; the content id guards against a stranger of that name."""
    path = child(tmp_path / "vm" / "top.vmdk", hint)
    assert code(engine, path) == 16012
    parent(tmp_path / "vm" / "base.vmdk", cid="00000006")
    assert code(engine, path) == 16008
    parent(tmp_path / "vm" / "base.vmdk")
    assert engine.read(path)[:SECTOR] == b"\1" * SECTOR


def test_the_place_that_the_hint_names_comes_first(engine: Engine, tmp_path: Path) -> None:
    """Also where it is a disk that does not fit: then it was changed, and no other is taken in its stead."""
    parent(tmp_path / "vm" / "base.vmdk", fill=2)
    there = parent(tmp_path / "there" / "base.vmdk", fill=1)
    for hint in (str(there), "../there/base.vmdk"):
        assert engine.read(child(tmp_path / "vm" / "top.vmdk", hint))[0] == 1
    assert engine.read(child(tmp_path / "vm" / "top.vmdk", "..\\there\\base.vmdk"))[0] == 1
    parent(there, cid="00000009")
    assert code(engine, child(tmp_path / "vm" / "top.vmdk", str(there))) == 16008


def test_the_path_is_one_from_the_real_folder_of_the_child(engine: Engine, tmp_path: Path) -> None:
    """A symbolic link to a disk is as good as the disk."""
    parent(tmp_path / "vm" / "base.vmdk")
    path = child(tmp_path / "vm" / "top.vmdk", "base.vmdk")
    (tmp_path / "linked.vmdk").symlink_to(path)
    assert engine.read(tmp_path / "linked.vmdk")[0] == 1


@pytest.mark.parametrize(
    "hint",
    ["json:{}", "nbd://localhost/base.vmdk/", "/dev/zero", "/proc/self/mem", "folder", "/", ".", "..", "a\\", " "],
)
def test_what_is_no_file_of_a_disk_is_no_parent(hint: str, engine: Engine, tmp_path: Path) -> None:
    """A hint is a path and nothing else."""
    (tmp_path / "folder").mkdir()
    assert code(engine, child(tmp_path / "top.vmdk", hint)) == 16012


def test_a_child_is_never_taken_for_its_own_lost_parent(engine: Engine, tmp_path: Path) -> None:
    """A clone often has its parent's name; even the content id may be the same."""
    keys = {"CID": "5", "parentCID": "5", "parentFileNameHint": '"/gone/disk.vmdk"'}
    path = Sparse(text=descriptor('RW 8192 SPARSE "x"', **keys)).save(tmp_path / "disk.vmdk")
    assert code(engine, path) == 16012


def test_qemu_finds_what_we_find(engine: Engine, qemu: Qemu, tmp_path: Path) -> None:
    """Relative and absolute hints that QEMU writes."""
    qemu.create(tmp_path / "base.vmdk", 8192 * SECTOR)
    qemu.write(tmp_path / "base.vmdk", (0, 65536, 1))
    for number, backing in enumerate(("base.vmdk", "./base.vmdk", str(tmp_path / "base.vmdk"))):
        path = qemu.create(tmp_path / f"{number}.vmdk", 8192 * SECTOR, backing=backing)
        assert engine.read(path) == qemu.content(path, tmp_path / "raw")


def roots(library: Path, folder: Path, setting: str, path: Path) -> tuple[int, list[str]]:
    """Open a disk with openEngine.parentRoots set; return the code and the warnings."""
    (folder / "session").mkdir(exist_ok=True)
    with Session(library, folder / "session", f'openEngine.parentRoots = "{setting}"\n') as session:
        connection, handle = session.connect(), c_void_p()
        found = session.code("Open", connection, bytes(path), c_uint32(READ_ONLY), byref(handle))
        if found == 0:
            assert session.code("Close", handle) == 0
        session.code("Disconnect", connection)
        return found, session.warned


@pytest.mark.parametrize(
    ("setting", "here", "there"),
    [
        (".", 0, 16012),
        ("{}/there", 16012, 0),
        ("{}/there:.", 0, 0),
        ("/nowhere:{}", 0, 0),
        ("/", 0, 0),
        ("{}/the", 16012, 16012),
        ("{}/vm/sub", 16012, 16012),
        ("there", 16012, 16012),
        ("", 16012, 16012),
        ("{}/by-link", 16012, 0),
    ],
)
def test_parents_are_confined_to_the_configured_folders(
    setting: str, here: int, there: int, library: Path, tmp_path: Path
) -> None:
    """A list with colons, a dot stands for the child's own folder; what is no folder allows nothing."""
    (tmp_path / "by-link").symlink_to(tmp_path / "there")
    parent(tmp_path / "vm" / "base.vmdk")
    parent(tmp_path / "there" / "base.vmdk")
    one = child(tmp_path / "vm" / "one.vmdk", "base.vmdk")
    other = child(tmp_path / "vm" / "other.vmdk", "../there/base.vmdk")
    assert roots(library, tmp_path, setting.format(tmp_path), one)[0] == here
    code, warned = roots(library, tmp_path, setting.format(tmp_path), other)
    assert code == there
    if code:
        assert "openEngine.parentRoots" in "".join(warned)
        assert os.fspath(tmp_path / "there" / "base.vmdk") in "".join(warned)


def test_a_symbolic_link_leads_to_no_parent_outside(library: Path, tmp_path: Path) -> None:
    """Neither the file nor a folder on the way may be one that leads out; a link that leads in is fine."""
    secret = parent(tmp_path / "secret" / "base.vmdk")
    (tmp_path / "vm").mkdir()
    (tmp_path / "vm" / "base.vmdk").symlink_to(secret)
    (tmp_path / "vm" / "sub").symlink_to(secret.parent)
    (tmp_path / "outside.vmdk").symlink_to(parent(tmp_path / "vm" / "inside.vmdk"))
    expected = {"base.vmdk": 16012, "sub/base.vmdk": 16012, "../vm/inside.vmdk": 0, "../outside.vmdk": 0}
    for hint, code in expected.items():
        path = child(tmp_path / "vm" / "top.vmdk", hint)
        assert roots(library, tmp_path, ".", path)[0] == code


def test_every_link_of_a_chain_is_confined(library: Path, tmp_path: Path) -> None:
    """Not the first parent alone; with SINGLE_LINK none is looked for."""
    secret = parent(tmp_path / "secret" / "base.vmdk")
    child(tmp_path / "vm" / "middle.vmdk", str(secret))
    path = child(tmp_path / "vm" / "top.vmdk", "middle.vmdk", cid="00000007")
    assert roots(library, tmp_path, ".", path)[0] == 16012
    assert roots(library, tmp_path, f".:{tmp_path}/secret", path)[0] == 0
