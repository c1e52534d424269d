"""What has to be undone, on disk before it is done: snapshots, access locks and machines that we make on a server.

A journal is a file of JSON lines, one for each backup that runs, mode 0600, locked for as long as its process lives.
Each line is on stable storage before the act that it announces, and after the act another one says so. A process that
is killed leaves its journal, and ``cleanup`` does what it says. Secrets are in none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import secrets
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from asyncvddk.repository import _threads
from asyncvddk.vsphere._endings import to_its_end
from asyncvddk.vsphere.errors import JournalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_VERSION: Final = 1
_SUFFIX: Final = ".journal"
_KINDS: Final = frozenset({"snapshot", "access", "machine"})

_logger = structlog.get_logger()


def default_folder() -> Path:
    """Return ``$XDG_STATE_HOME/asyncvddk/journal``, or that of ``~/.local/state``."""
    state = os.environ.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state).expanduser() / "asyncvddk" / "journal"


@dataclass(slots=True)
class Entry:
    """Something on a server that has to be undone."""

    number: int
    kind: str
    """``snapshot``, ``access``, or ``machine`` for one that is made anew and not complete yet."""
    facts: dict[str, str] = field(default_factory=dict)
    """``vm`` (moref), ``machine`` (its name); of a snapshot ``name`` and, as soon as they are known, ``task`` and
    ``moref``; of an access lock ``identity``."""


@dataclass(slots=True)
class Record:
    """What a journal says."""

    server: str = ""
    instance: str = ""
    """Of the vCenter, to which the morefs belong."""
    began: float = 0.0
    pid: int = 0
    entries: dict[int, Entry] = field(default_factory=dict)
    """What is still to be undone, by number."""
    damage: str | None = None
    """What of it cannot be read."""

    @classmethod
    def read(cls, data: bytes) -> Record:
        """Read a journal. A last line that is cut announces what was not begun, so it says nothing."""
        found = cls()
        *lines, _ = data.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                found._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                found.damage = f"line {number}: {type(error).__name__}: {error}"
        return found

    def _take(self, line: dict[str, object]) -> None:
        act = line.pop("act")
        if act == "run":
            if line["version"] != _VERSION:
                raise ValueError(f"version {line['version']}; this program reads {_VERSION}")
            self.server, self.instance = str(line["server"]), str(line["instance"])
            self.began, self.pid = float(str(line["began"])), int(str(line["pid"]))
            return
        number = int(str(line.pop("entry")))
        if act == "begin":
            kind = str(line.pop("kind"))
            if kind not in _KINDS:
                raise ValueError(f"kind {kind!r}")
            self.entries[number] = Entry(number, kind, {key: str(value) for key, value in line.items()})
        elif act == "know":
            if number in self.entries:
                self.entries[number].facts |= {key: str(value) for key, value in line.items()}
        elif act == "end":
            self.entries.pop(number, None)
        else:
            raise ValueError(f"act {act!r}")


class JournalFile:
    """A journal, open and locked. Blocking; its methods may be called from any thread."""

    def __init__(self, path: Path, fd: int, record: Record) -> None:
        """Use ``create`` or ``take_over``."""
        self.path = path
        self.record = record
        self._fd = fd
        self._next = max(record.entries, default=0) + 1
        self._lock = threading.Lock()

    @classmethod
    def create(cls, folder: Path, *, server: str, instance: str) -> JournalFile:
        """Make one in ``folder``, which is made with mode 0700. Raises JournalError."""
        record = Record(server=server, instance=instance, began=time.time(), pid=os.getpid())
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            while True:
                path = folder / f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}-{secrets.token_hex(4)}{_SUFFIX}"
                fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND | os.O_CLOEXEC, 0o600)
                if _lock(fd, path):  # else a cleanup found it empty, just now
                    break
                os.close(fd)
            made = cls(path, fd, record)
            made._write(
                act="run",
                version=_VERSION,
                server=server,
                instance=instance,
                began=record.began,
                pid=record.pid,
            )
            _sync_folder(folder)
        except OSError as error:
            raise JournalError(f"{folder}: no journal can be kept here, so nothing is begun: {error}") from error
        return made

    @classmethod
    def take_over(cls, path: Path) -> JournalFile | None:
        """Take a journal that a process has left; None: that process lives, or the journal is gone by now."""
        try:
            fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(f"{path}: {error}") from error
        try:
            if not _lock(fd, path):
                os.close(fd)
                return None
            data = path.read_bytes()
            os.ftruncate(fd, data.rfind(b"\n") + 1)
        except OSError as error:
            os.close(fd)
            raise JournalError(f"{path}: {error}") from error
        return cls(path, fd, Record.read(data))

    def begin(self, kind: str, facts: dict[str, str]) -> int:
        """Announce something that will have to be undone; return its number. Raises JournalError: do not begin."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._write(act="begin", entry=number, kind=kind, **facts)
            self.record.entries[number] = Entry(number, kind, dict(facts))
        return number

    def know(self, number: int, facts: dict[str, str]) -> None:
        """Note what is known of it by now. Raises JournalError."""
        with self._lock:
            self._write(act="know", entry=number, **facts)
            self.record.entries[number].facts |= facts

    def end(self, number: int) -> None:
        """Note that it is undone. Raises JournalError."""
        with self._lock:
            self._write(act="end", entry=number)
            self.record.entries.pop(number, None)

    def _write(self, **line: object) -> None:
        data = json.dumps(line, ensure_ascii=False).encode() + b"\n"
        end = os.fstat(self._fd).st_size
        try:
            written = os.write(self._fd, data)
            os.fsync(self._fd)
        except OSError as error:
            self._cut(end)
            raise JournalError(f"{self.path}: the journal cannot be written: {error}") from error
        if written != len(data):
            self._cut(end)
            raise JournalError(f"{self.path}: the journal cannot be written: {os.strerror(errno.ENOSPC)}")

    def _cut(self, end: int) -> None:
        """Leave no half line: what it announces is not begun."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._fd, end)

    def close(self) -> bool:
        """Unlock it, and delete it if nothing is left to be undone; tell whether it was. A second time does nothing."""
        with self._lock:
            if self._fd < 0:
                return True
            done = not self.record.entries and self.record.damage is None
            if done:
                with contextlib.suppress(FileNotFoundError):
                    self.path.unlink()
            fd, self._fd = self._fd, -1
            os.close(fd)
            return done


def journals(folder: Path) -> list[Path]:
    """Return the journals in a folder, the oldest first; none if there is no such folder."""
    return sorted(folder.glob(f"*{_SUFFIX}"))


def _lock(fd: int, path: Path) -> bool:
    """Lock a file; False: another process has it, or it is not at its path any more."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        there = path.stat()
    except (BlockingIOError, FileNotFoundError):
        return False
    mine = os.fstat(fd)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class Journal:
    """The asynchronous face of a journal: each call returns when it is on stable storage; cancelled, it is done."""

    def __init__(self, file: JournalFile) -> None:
        """Use ``open``."""
        self._file = file

    @classmethod
    @asynccontextmanager
    async def open(cls, folder: Path, *, server: str, instance: str) -> AsyncIterator[Journal]:
        """Keep a new journal for the block. It stays behind if something is left to be undone. Raises JournalError."""
        made: list[JournalFile] = []
        create = partial(JournalFile.create, folder, server=server, instance=instance)
        try:
            await _threads.run(lambda: made.append(create()))  # cancelled, it is made nevertheless
            yield cls(made[0])
        finally:
            for file in made:
                if not await to_its_end(_threads.run(file.close)):
                    left = [f"{entry.kind} of {entry.facts.get('machine')}" for entry in file.record.entries.values()]
                    _logger.warning("left_behind", what=left, journal=str(file.path), remedy="asyncvddk cleanup")

    @property
    def path(self) -> Path:
        """The file."""
        return self._file.path

    @property
    def left(self) -> Iterator[Entry]:
        """What is not undone yet."""
        return iter(list(self._file.record.entries.values()))

    async def begin(self, kind: str, **facts: str) -> int:
        """As ``JournalFile.begin``. Cancelled, nothing is announced."""
        made: list[int] = []
        try:
            await _threads.run(lambda: made.append(self._file.begin(kind, facts)))
        except BaseException:
            for number in made:
                await to_its_end(self.end(number))
            raise
        return made[0]

    async def know(self, number: int, **facts: str) -> None:
        """As ``JournalFile.know``."""
        await _threads.run(partial(self._file.know, number, facts))

    async def end(self, number: int) -> None:
        """As ``JournalFile.end``."""
        await _threads.run(partial(self._file.end, number))
