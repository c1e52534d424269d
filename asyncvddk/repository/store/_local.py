"""A local folder as a store: files of mode 0600 that appear whole, under their final names, or not at all.

An object is written to a nameless file, which is then linked: ``link`` fails if the name is taken, which is the
exclusive create that everything rests on. obstore's own local store keeps the process's umask and never calls fsync.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from asyncvddk.native._files import syncfs
from asyncvddk.repository.errors import (
    ObjectMissingError,
    RepositoryNotFoundError,
    StoreAccessError,
    StoreError,
    StoreFullError,
    StoreUnsuitableError,
)
from asyncvddk.repository.store._store import StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Buffer

_PENDING: Final = ".pending-"
"""Start of the names of unfinished files, where the file system has no nameless ones."""
_STALE_S: Final = 86400
_EMPTIED: Final = {"sessions", "gc", "lock"}
"""Folders whose folders come and go."""
_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_DENIED: Final = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_NAMELESS: Final = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}
_NO_LINK: Final = {errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK}


class LocalStore:
    """A folder of mode 0700. See ``Store`` for the methods."""

    local = True

    def __init__(self, folder: Path, *, create: bool = False) -> None:
        """Open the folder, or make it."""
        self.place = str(folder)
        self._root = str(folder.absolute())
        self._nameless = True
        self._unsynced = ""
        with self._translated("the folder"):
            if create:
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                self._fd = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                raise RepositoryNotFoundError(f"{folder}: no such folder") from None

    def create(self, name: str, data: Buffer, *, stable: bool = False) -> bool:
        """As ``Store.create``."""
        path = self._path(name)
        with self._translated(name):
            try:
                return self._create(path, data, stable=stable)
            except FileNotFoundError:
                self._make_folder(os.path.dirname(path))  # noqa: PTH120
                return self._create(path, data, stable=stable)

    def _make_folder(self, folder: str) -> None:
        """Make a folder and those above it, up to the store's own, all of mode 0700."""
        try:
            os.mkdir(folder, 0o700)  # noqa: PTH102
        except FileExistsError:
            pass
        except FileNotFoundError:
            if folder == self._root:
                raise
            self._make_folder(os.path.dirname(folder))  # noqa: PTH120
            self._make_folder(folder)

    def replace(self, name: str, data: Buffer) -> None:
        """As ``Store.replace``."""
        path = self._path(name)
        folder = os.path.dirname(path)  # noqa: PTH120
        with self._translated(name):
            self._make_folder(folder)
            fd, pending = self._open_named(folder)
            try:
                try:
                    _write(fd, data)
                    os.fsync(fd)
                finally:
                    os.close(fd)
                os.replace(pending, path)  # noqa: PTH105
            except BaseException:
                os.unlink(pending)  # noqa: PTH108
                raise

    def _create(self, path: str, data: Buffer, *, stable: bool) -> bool:
        folder = os.path.dirname(path)  # noqa: PTH120  (thousands of them a second)
        fd, pending = self._open_new(folder)
        try:
            _write(fd, data)
            if stable:
                os.fsync(fd)
            try:
                self._link(pending or f"/proc/self/fd/{fd}", path)
            except FileExistsError:
                return False
        finally:
            os.close(fd)
            if pending:
                os.unlink(pending)  # noqa: PTH108
        if stable:
            self._sync_folders(folder)
        return True

    def _open_new(self, folder: str) -> tuple[int, str]:
        """Open a new file for writing: a nameless one, or one of the returned name."""
        if self._nameless:
            try:
                return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600), ""
            except OSError as error:
                if error.errno not in _NO_NAMELESS:
                    raise
                self._nameless = False
        return self._open_named(folder)

    @staticmethod
    def _open_named(folder: str) -> tuple[int, str]:
        pending = f"{folder}/{_PENDING}{secrets.token_hex(8)}"
        return os.open(pending, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), pending

    def _link(self, source: str, path: str) -> None:
        try:  # only with a folder's descriptor does os.link follow the link that /proc is
            os.link(source, path, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=True)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            raise StoreUnsuitableError(
                f"{self.place}: the file system has no hard links, without which no object can be created "
                f"exclusively; use another one ({error.strerror})"
            ) from error

    def _sync_folders(self, folder: str) -> None:
        """Make the names of a folder, and its own, survive a power cut."""
        while folder.startswith(self._root):
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            folder = os.path.dirname(folder)  # noqa: PTH120

    def get(self, name: str) -> bytes:
        """As ``Store.get``."""
        with self._translated(name):
            fd = os.open(self._path(name), os.O_RDONLY | os.O_CLOEXEC)
            try:
                return _read(fd, os.fstat(fd).st_size)
            finally:
                os.close(fd)

    def exists(self, name: str) -> bool:
        """As ``Store.exists``."""
        with self._translated(name):
            try:
                os.stat(self._path(name))  # noqa: PTH116
            except FileNotFoundError:
                return False
            return True

    def list(self, folder: str) -> Iterator[StoredObject]:
        """As ``Store.list``."""
        with self._translated(folder):
            yield from self._walk(self._path(folder), f"{folder}/" if folder else "")

    def _walk(self, path: str, prefix: str) -> Iterator[StoredObject]:
        try:
            entries = list(os.scandir(path))
        except (FileNotFoundError, NotADirectoryError):
            return
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from self._walk(entry.path, f"{prefix}{entry.name}/")
            elif not entry.name.startswith(_PENDING):
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield StoredObject(prefix + entry.name, entry.stat(follow_symlinks=False).st_size)

    def delete(self, names: Sequence[str]) -> None:
        """As ``Store.delete``."""
        for name in names:
            with self._translated(name), contextlib.suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self._path(name))  # noqa: PTH108

    def sync(self) -> None:
        """As ``Store.sync``. Once failed, it fails for good: the kernel tells only once of what it could not write."""
        if self._unsynced:
            raise StoreError(f"{self.place}: an earlier write to storage failed ({self._unsynced}); open it again")
        with self._translated("syncfs"):
            try:
                syncfs(self._fd)
            except OSError as error:
                self._unsynced = str(error)
                raise

    def tidy(self) -> None:
        """As ``Store.tidy``: unfinished files older than a day, and empty folders of sessions and collections."""
        with self._translated("the folder"):
            for path, folders, files in os.walk(self._root, topdown=False):
                for file in files:
                    if file.startswith(_PENDING):
                        _remove_stale(f"{path}/{file}")
                if not folders and not files and os.path.basename(os.path.dirname(path)) in _EMPTIED:  # noqa: PTH119, PTH120
                    with contextlib.suppress(OSError):  # somebody puts something there just now
                        os.rmdir(path)  # noqa: PTH106

    def close(self) -> None:
        """Close the folder. A second time does nothing."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _path(self, name: str) -> str:
        if self._fd < 0:
            raise ValueError(f"{self.place}: the store is closed")
        return f"{self._root}/{name}"

    @contextmanager
    def _translated(self, name: str) -> Iterator[None]:
        """Turn the block's OSError into the repository's error for it."""
        try:
            yield
        except FileNotFoundError:
            raise ObjectMissingError(name, self.place) from None
        except OSError as error:
            kind = StoreError
            if error.errno in _FULL:
                kind = StoreFullError
            elif error.errno in _DENIED:
                kind = StoreAccessError
            raise kind(f"{self.place}: {name}: {error.strerror}") from error


def _read(fd: int, length: int) -> bytes:
    data = os.read(fd, length)
    while 0 < len(data) < length and (more := os.read(fd, length - len(data))):
        data += more
    return data


def _write(fd: int, data: Buffer) -> None:
    view = memoryview(data).cast("B")
    while len(view):
        view = view[os.write(fd, view) :]


def _remove_stale(path: str) -> None:
    """Remove an unfinished file that nobody works on any more."""
    with contextlib.suppress(FileNotFoundError):  # it was finished meanwhile
        if time.time() - os.stat(path).st_mtime > _STALE_S:  # noqa: PTH116
            os.unlink(path)  # noqa: PTH108
