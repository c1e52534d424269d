"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from asyncvddk.copy import _places

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["nameless", "named"])
def _kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways to make a file: with O_TMPFILE, and on a file system that has none."""
    if request.param == "nameless":
        return
    real = os.open

    def refuse(path: str, flags: int, mode: int = 0o777, **options: int) -> int:
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        return real(path, flags, mode, **options)

    monkeypatch.setattr(os, "open", refuse)


def names(folder: Path) -> list[str]:
    """Return all names in ``folder``, hidden ones too."""
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.usefixtures("_kind")
class TestPendingFile:
    """One file."""

    def test_has_its_name_only_after_commit(self, tmp_path: Path) -> None:
        """Until then nobody finds it there; then it has its whole size and the usual permissions."""
        file = _places.PendingFile(tmp_path / "a.raw", size=8192, overwrite=False)
        os.pwrite(file.fd, b"data", 4096)
        assert "a.raw" not in names(tmp_path)
        file.commit()
        file.discard()
        assert names(tmp_path) == ["a.raw"]
        assert (tmp_path / "a.raw").read_bytes() == bytes(4096) + b"data" + bytes(4092)
        mask = os.umask(0)
        os.umask(mask)
        assert (tmp_path / "a.raw").stat().st_mode & 0o777 == 0o666 & ~mask

    def test_discarded_leaves_nothing(self, tmp_path: Path) -> None:
        """Neither the name nor a temporary one."""
        file = _places.PendingFile(tmp_path / "a.raw", size=8192, overwrite=False)
        file.discard()
        file.discard()
        assert names(tmp_path) == []

    def test_existing_file_is_refused_at_once(self, tmp_path: Path) -> None:
        """Nothing is made when the name is taken."""
        (tmp_path / "a.raw").write_text("mine")
        with pytest.raises(FileExistsError, match="destination exists"):
            _places.PendingFile(tmp_path / "a.raw", size=1, overwrite=False)
        assert names(tmp_path) == ["a.raw"]

    def test_file_that_appears_meanwhile_is_not_replaced(self, tmp_path: Path) -> None:
        """Whoever takes the name during the copy keeps it."""
        file = _places.PendingFile(tmp_path / "a.raw", size=1, overwrite=False)
        (tmp_path / "a.raw").write_text("mine")
        with pytest.raises(FileExistsError, match=r"a\.raw"):
            file.commit()
        file.discard()
        assert names(tmp_path) == ["a.raw"]
        assert (tmp_path / "a.raw").read_text() == "mine"

    def test_overwrite_replaces_at_commit_and_not_before(self, tmp_path: Path) -> None:
        """The old file is whole until the new one is."""
        (tmp_path / "a.raw").write_text("old")
        file = _places.PendingFile(tmp_path / "a.raw", size=1, overwrite=True)
        assert (tmp_path / "a.raw").read_text() == "old"
        file.commit()
        file.discard()
        assert names(tmp_path) == ["a.raw"]
        assert (tmp_path / "a.raw").read_bytes() == b"\0"

    def test_errors_name_the_file_that_was_asked_for(self, tmp_path: Path) -> None:
        """Not the folder, not a temporary name."""
        wanted = tmp_path / "nowhere" / "a.raw"
        with pytest.raises(FileNotFoundError) as caught:
            _places.PendingFile(wanted, size=1, overwrite=False)
        assert caught.value.filename == str(wanted)


def test_file_moves_without_links_where_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On FAT and some network file systems a rename does it."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("new")
    _places.move(tmp_path / "a", tmp_path / "b", overwrite=False)
    assert names(tmp_path) == ["b"]
    (tmp_path / "a").write_text("newer")
    with pytest.raises(FileExistsError):
        _places.move(tmp_path / "a", tmp_path / "b", overwrite=False)
    assert (tmp_path / "b").read_text() == "new"


class TestPendingFolder:
    """Several files that belong together."""

    def test_all_files_move_to_their_places(self, tmp_path: Path) -> None:
        """And the hidden folder goes."""
        folder = _places.PendingFolder(tmp_path / "a.vmdk", overwrite=False)
        folder.inner.write_text("descriptor")
        (folder.folder / "a-flat.vmdk").write_text("data")
        folder.commit()
        folder.discard()
        assert names(tmp_path) == ["a-flat.vmdk", "a.vmdk"]

    def test_discarded_leaves_nothing(self, tmp_path: Path) -> None:
        """Whatever was made in it."""
        folder = _places.PendingFolder(tmp_path / "a.vmdk", overwrite=False)
        folder.inner.write_text("descriptor")
        folder.discard()
        assert names(tmp_path) == []

    def test_extent_that_exists_stops_the_commit_and_stays(self, tmp_path: Path) -> None:
        """Somebody else's extent is not replaced, and no descriptor appears beside it."""
        (tmp_path / "a-flat.vmdk").write_text("mine")
        folder = _places.PendingFolder(tmp_path / "a.vmdk", overwrite=False)
        folder.inner.write_text("descriptor")
        for name in ("a-flat.vmdk", "a-1.vmdk"):
            (folder.folder / name).write_text("data")
        with pytest.raises(FileExistsError, match="a-flat"):
            folder.commit()
        folder.discard()
        assert names(tmp_path) == ["a-flat.vmdk"]
        assert (tmp_path / "a-flat.vmdk").read_text() == "mine"

    def test_overwrite_replaces_all_files(self, tmp_path: Path) -> None:
        """Descriptor and extents."""
        for name in ("a.vmdk", "a-flat.vmdk"):
            (tmp_path / name).write_text("old")
        folder = _places.PendingFolder(tmp_path / "a.vmdk", overwrite=True)
        for name in ("a.vmdk", "a-flat.vmdk"):
            (folder.folder / name).write_text("new")
        folder.commit()
        folder.discard()
        assert {file.read_text() for file in tmp_path.iterdir()} == {"new"}
