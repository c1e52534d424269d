"""Files that appear under their name only when they are complete. Plain file system calls, no waiting."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXISTS = "destination exists"
"""Reason in the FileExistsError for a name that is taken and may be overwritten on demand."""

_NO_TMPFILE = {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOSYS}
_NO_LINK = {errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EMLINK}


class PendingFile:
    """A file without a name until ``commit``: an interruption, even a power cut, leaves nothing behind.

    Where the file system has no nameless files it is a hidden file beside the final name, which a killed
    process leaves.
    """

    def __init__(self, path: Path, *, size: int, overwrite: bool) -> None:
        """Make the file, ``size`` bytes of zeros that take no space. Raises OSError naming ``path``."""
        self.path = path
        self._overwrite = overwrite
        self._temporary: Path | None = None
        with naming(path):
            if not overwrite:
                refuse_existing(path)
            self.fd = self._open()
            try:
                os.ftruncate(self.fd, size)
            except OSError:
                self.discard()
                raise

    def _open(self) -> int:
        """Return a file descriptor of a new file that only we know."""
        try:
            return os.open(self.path.parent, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _NO_TMPFILE:
                raise
        self._temporary = hidden_name(self.path)
        return os.open(self._temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o666)

    def commit(self) -> None:
        """Give the file its name; FileExistsError if it was taken meanwhile, unless ``overwrite``."""
        with naming(self.path):
            if self._temporary is None and self._overwrite:
                self._temporary = hidden_name(self.path)
                _link_nameless(self.fd, self._temporary)
            if self._temporary is None:
                _link_nameless(self.fd, self.path)
            else:
                move(self._temporary, self.path, overwrite=self._overwrite)
                self._temporary = None

    def discard(self) -> None:
        """Close the file; unless committed it is gone. Idempotent."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        if self._temporary is not None:
            with suppress(OSError):
                self._temporary.unlink()


class PendingFolder:
    """A hidden folder beside ``path`` whose files move to the folder of ``path`` together."""

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        """Make the folder. Raises OSError naming ``path``."""
        self.path = path
        self._overwrite = overwrite
        with naming(path):
            if not overwrite:
                refuse_existing(path)
            self.folder = hidden_name(path)
            self.folder.mkdir(0o700)

    @property
    def inner(self) -> Path:
        """Where the file that becomes ``path`` has to be made."""
        return self.folder / self.path.name

    def commit(self) -> None:
        """Move all files to their places, ``path`` itself last, so that what it refers to is there."""
        others = sorted(file for file in self.folder.iterdir() if file != self.inner)
        moved: list[Path] = []
        try:
            if self._overwrite:
                self.path.unlink(missing_ok=True)
            for file in (*others, self.inner):
                final = self.path.with_name(file.name)
                with naming(final):
                    move(file, final, overwrite=self._overwrite)
                moved.append(final)
        except OSError:
            for final in moved:
                final.unlink(missing_ok=True)
            raise

    def discard(self) -> None:
        """Remove the folder with all that is still in it. Idempotent."""
        with suppress(OSError):
            for file in self.folder.iterdir():
                file.unlink()
            self.folder.rmdir()


def hidden_name(path: Path) -> Path:
    """Return an unused name beside ``path`` that starts with a dot."""
    return path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.part")


def refuse_existing(path: Path) -> None:
    """Raise FileExistsError if there is anything, a dangling link included, under ``path``."""
    if os.path.lexists(path):
        raise FileExistsError(errno.EEXIST, EXISTS, str(path))


def move(source: Path, final: Path, *, overwrite: bool) -> None:
    """Rename, replacing an existing file only with ``overwrite``; FileExistsError otherwise."""
    if overwrite:
        source.replace(final)
        return
    try:
        os.link(source, final)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        refuse_existing(final)  # no links here: between this look and the rename a file could still appear
        source.replace(final)
    else:
        source.unlink()


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an OSError of the block name ``path`` and nothing else: temporary names say nothing to the user."""
    try:
        yield
    except OSError as error:
        if isinstance(error, FileExistsError):
            raise FileExistsError(errno.EEXIST, EXISTS, str(path)) from None
        raise OSError(error.errno, error.strerror, str(path)) from error


def _link_nameless(fd: int, path: Path) -> None:
    """Give the nameless file ``fd`` a name."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:  # only with a folder's descriptor does os.link follow the link that /proc is
        os.link(f"/proc/self/fd/{fd}", path.name, dst_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)
